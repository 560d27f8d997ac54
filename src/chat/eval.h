/* What the files that walk the tree share: frame.c (variables), eval.c (expressions), eval_call.c
 * (calls, filters, tests), macro.c, loop.c and exec.c (statements). `act` holds the variables of
 * the function that runs (see ast.h). Text goes to a builder: the output, or the capture of a
 * macro, set or filter block. All return false (FLOW_ERROR) with r->err filled. */
#ifndef CHAT_EVAL_H
#define CHAT_EVAL_H

#include <stdbool.h>

#include "chat/interp.h"

/* One level of expressions and statements, which bounds the C stack; pair with r->depth--. */
bool chat_eval_enter(struct render *r);

/* ---- variables ---- */

static inline struct val *chat_cell(struct activation *act, struct ref ref)
{
    while (ref.hops--) {
        act = act->parent;
    }
    return &act->cells[ref.cell];
}

struct activation *chat_activation_new(struct render *r, const struct func *func,
                                       struct activation *parent);
bool chat_frame_enter(struct render *r, struct activation *act, const struct frame *frame);
void chat_frame_leave(struct activation *act, const struct frame *frame);
bool chat_assign(struct render *r, struct activation *act, const struct node *target, struct val v);

/* ---- expressions ---- */

bool chat_eval(struct render *r, struct activation *act, const struct node *n, struct val *out);
/* `caller` (may be NULL) is added as the keyword of that name. */
bool chat_eval_call(struct render *r, struct activation *act, const struct node *n,
                    const struct val *caller, struct val *out);
bool chat_eval_filter(struct render *r, struct activation *act, const struct node *n,
                      struct val *out);
bool chat_eval_test(struct render *r, struct activation *act, const struct node *n,
                    struct val *out);

/* ---- statements ---- */

enum flow chat_exec(struct render *r, struct activation *act, struct nodes body,
                    struct builder *sink);
enum flow chat_exec_for(struct render *r, struct activation *act, const struct node *n,
                        struct builder *sink);
bool chat_exec_macro(struct render *r, struct activation *act, const struct node *n);
bool chat_macro_make(struct render *r, struct activation *act, const struct node *n,
                     struct val *out);
/* The text a macro, loop or block captured: markup where autoescape is on. */
bool chat_captured(struct render *r, struct builder *b, struct val *out);

#endif
