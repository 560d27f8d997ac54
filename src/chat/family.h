/* What is known of a model's family once its template and vocabulary are: its formats in the words
 * of the vocabulary, and the grammars that requests asked for, kept for those that ask the same. */
#ifndef CHAT_FAMILY_H
#define CHAT_FAMILY_H

#include <pthread.h>

#include "chat/reply.h"

enum { CHAT_GRAMMARS_MAX = 64, CHAT_GRAMMAR_BYTES_MAX = 128 << 20 };

struct chat_kept_grammar {
    struct buf key; /* all that the grammar was made of */
    struct constrain_grammar *grammar;
    uint64_t used; /* when, in requests */
};

struct chat_family {
    const struct text *text;
    struct arena arena;
    struct chat_controls controls;
    struct chat_spelling spelling;
    const struct chat_think_format *think; /* NULL: none */

    pthread_mutex_t lock; /* guards what follows */
    struct chat_kept_grammar kept[CHAT_GRAMMARS_MAX];
    uint64_t requests;
};

/* `source`: the template's text. */
bool chat_family_init(struct chat_family *family, struct str source, const struct text *text,
                      struct err *err);
void chat_family_deinit(struct chat_family *family);

/* The grammar of a reply, from those that are kept or new; a reference. */
struct constrain_grammar *chat_family_grammar(struct chat_family *family, struct chat_reply *reply,
                                              struct err *err);

/* chat.c */
struct chat_family *chat_family_of(const struct chat *chat);

#endif
