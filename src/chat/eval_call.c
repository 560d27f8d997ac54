/* Calls in expressions: the arguments are evaluated left to right, then *args, then **kwargs, and
 * go to a callee, a filter or a test. */
#include <string.h>

#include "chat/eval.h"

static bool add_stars(struct render *r, struct call *call, struct val star, struct val star_star,
                      size_t room)
{
    struct list *l;
    if (!val_is_missing(star)) {
        if (!chat_to_list(r, star, &l)) {
            return false;
        }
        struct val *args = chat_alloc(r, call->count + l->count, sizeof(*args));
        if (!args) {
            return false;
        }
        if (call->count) {
            memcpy(args, call->args, call->count * sizeof(*args));
        }
        for (size_t i = 0; i < l->count; i++) {
            args[call->count + i] = l->items[i];
        }
        call->args = args;
        call->count += l->count;
    }
    if (val_is_missing(star_star)) {
        return true;
    }
    if (star_star.kind != VAL_DICT) {
        return chat_fail(r, "argument after ** must be a mapping, not %s",
                         chat_type_name(star_star));
    }
    struct dict *d = star_star.dict;
    if (!chat_dict_load(r, d)) {
        return false;
    }
    struct keyword *keywords = chat_alloc(r, room + d->count, sizeof(*keywords));
    if (!keywords) {
        return false;
    }
    if (call->keyword_count) {
        memcpy(keywords, call->keywords, call->keyword_count * sizeof(*keywords));
    }
    for (size_t i = 0; i < d->count; i++) {
        if (d->entries[i].key.kind != VAL_TEXT) {
            return chat_fail(r, "keywords must be strings");
        }
        struct str name = chat_str(d->entries[i].key.text);
        for (size_t j = 0; j < call->keyword_count; j++) {
            if (str_eq(keywords[j].name, name)) {
                return chat_fail(r, "got multiple values for a keyword argument");
            }
        }
        keywords[call->keyword_count++] = (struct keyword){name, d->entries[i].value};
    }
    call->keywords = keywords;
    return true;
}

/* Evaluates arguments; `caller` (may be NULL) is added as the keyword of that name. */
static bool eval_args(struct render *r, struct activation *act, const struct signature *sig,
                      const struct val *caller, struct call *call)
{
    struct val star = val_missing(), star_star = val_missing();
    size_t room = sig->keyword_count + 1;
    *call = (struct call){0};
    if (sig->args.count) {
        call->args = chat_alloc(r, sig->args.count, sizeof(*call->args));
        if (!call->args) {
            return false;
        }
    }
    for (; call->count < sig->args.count; call->count++) {
        if (!chat_eval(r, act, sig->args.items[call->count], &call->args[call->count])) {
            return false;
        }
    }
    if (sig->keyword_count || caller) {
        call->keywords = chat_alloc(r, room, sizeof(*call->keywords));
        if (!call->keywords) {
            return false;
        }
    }
    for (size_t i = 0; i < sig->keyword_count; i++) {
        call->keywords[i].name = sig->keywords[i].name;
        if (!chat_eval(r, act, sig->keywords[i].value, &call->keywords[i].value)) {
            return false;
        }
        call->keyword_count++;
    }
    if (caller) {
        call->keywords[call->keyword_count++] = (struct keyword){STR("caller"), *caller};
    }
    if (!sig->star && !sig->star_star) {
        return true;
    }
    if ((sig->star && !chat_eval(r, act, sig->star, &star)) ||
        (sig->star_star && !chat_eval(r, act, sig->star_star, &star_star))) {
        return false;
    }
    return add_stars(r, call, star, star_star, room);
}

bool chat_eval_call(struct render *r, struct activation *act, const struct node *n,
                    const struct val *caller, struct val *out)
{
    struct val callee;
    struct call call;
    if (!chat_eval(r, act, n->a, &callee) || !eval_args(r, act, n->sig, caller, &call)) {
        return false;
    }
    r->line = n->line;
    return chat_call(r, callee, &call, out);
}

bool chat_eval_filter(struct render *r, struct activation *act, const struct node *n,
                      struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    struct val value = r->block_text;
    struct call call;
    if (n->a && !chat_eval(r, act, n->a, &value)) {
        return false;
    }
    if (!eval_args(r, act, n->sig, NULL, &call)) {
        return false;
    }
    r->line = n->line;
    if (!n->callee) {
        return chat_fail(r, "No filter named '%s' found.", str_quote(quoted, n->name));
    }
    return chat_filter_apply(r, n->callee, value, &call, out);
}

bool chat_eval_test(struct render *r, struct activation *act, const struct node *n, struct val *out)
{
    char quoted[STR_QUOTE_MAX];
    struct val value;
    struct call call;
    bool truth;
    if (!chat_eval(r, act, n->a, &value) || !eval_args(r, act, n->sig, NULL, &call)) {
        return false;
    }
    r->line = n->line;
    if (!n->callee) {
        return chat_fail(r, "No test named '%s' found.", str_quote(quoted, n->name));
    }
    if (!chat_test_apply(r, n->callee, value, &call, &truth)) {
        return false;
    }
    *out = val_bool(truth != n->negated);
    return true;
}
