#include "chat/family.h"

#include "base/json.h"
#include "base/mem.h"

bool chat_family_init(struct chat_family *family, struct str source, const struct text *text,
                      struct err *err)
{
    *family = (struct chat_family){.text = text, .arena = arena_init(16 << 20)};
    pthread_mutex_init(&family->lock, NULL);
    family->think = chat_think_format_find(source);
    return (chat_controls_init(&family->controls, text, &family->arena) &&
            chat_spelling_init(&family->spelling, chat_tool_format_find(source), family->think,
                               &family->controls, &family->arena)) ||
           err_set_memory(err, sizeof *family);
}

static void forget(struct chat_kept_grammar *kept)
{
    constrain_grammar_unref(kept->grammar);
    buf_deinit(&kept->key);
    *kept = (struct chat_kept_grammar){0};
}

void chat_family_deinit(struct chat_family *family)
{
    if (family->text) {
        for (size_t i = 0; i < CHAT_GRAMMARS_MAX; i++) {
            forget(&family->kept[i]);
        }
        pthread_mutex_destroy(&family->lock);
        arena_deinit(&family->arena);
    }
}

/* Everything that chat_reply_compile reads of the reply. */
static void add_key(const struct chat_reply *reply, struct buf *key)
{
    buf_add_format(key, "%d%d%d%d%d%d,%zu:", (int)reply->thinking, reply->may_call,
                   reply->must_call, reply->many_calls, (int)reply->answer, reply->is_strict,
                   reply->source.len);
    buf_add(key, reply->source);
    for (size_t i = 0; i < reply->tool_count; i++) {
        const struct chat_tool *tool = &reply->tools[i];
        buf_add_format(key, "%d%zu:", tool->is_strict, tool->name.len);
        buf_add(key, tool->name);
        json_write(key, tool->parameters);
    }
    if (reply->answer == CHAT_SCHEMA) {
        json_write(key, reply->schema);
    }
}

static struct constrain_grammar *find_kept(struct chat_family *family, struct str key)
{
    family->requests++;
    for (size_t i = 0; i < CHAT_GRAMMARS_MAX; i++) {
        struct chat_kept_grammar *kept = &family->kept[i];
        if (kept->grammar && str_eq(buf_view(&kept->key), key)) {
            kept->used = family->requests;
            return constrain_grammar_ref(kept->grammar);
        }
    }
    return NULL;
}

/* The one whose use is longest ago; an empty place counts as never. */
static struct chat_kept_grammar *oldest(struct chat_family *family, size_t *bytes)
{
    struct chat_kept_grammar *old = NULL;
    *bytes = 0;
    for (size_t i = 0; i < CHAT_GRAMMARS_MAX; i++) {
        struct chat_kept_grammar *kept = &family->kept[i];
        *bytes += kept->grammar ? constrain_grammar_bytes(kept->grammar) + kept->key.cap : 0;
        if (kept->grammar && (!old || kept->used < old->used)) {
            old = kept;
        }
    }
    return old;
}

static void keep(struct chat_family *family, struct constrain_grammar *grammar, struct buf *key)
{
    const size_t more = constrain_grammar_bytes(grammar) + key->cap;
    size_t bytes;
    struct chat_kept_grammar *place = NULL, *old = oldest(family, &bytes);
    if (more > CHAT_GRAMMAR_BYTES_MAX) {
        return;
    }
    for (; old && bytes + more > CHAT_GRAMMAR_BYTES_MAX; old = oldest(family, &bytes)) {
        forget(old);
    }
    for (size_t i = 0; i < CHAT_GRAMMARS_MAX && !place; i++) {
        place = family->kept[i].grammar ? NULL : &family->kept[i];
    }
    if (!place) {
        forget(old);
        place = old;
    }
    *place = (struct chat_kept_grammar){
        .key = *key, .grammar = constrain_grammar_ref(grammar), .used = family->requests};
    *key = (struct buf){0};
}

struct constrain_grammar *chat_family_grammar(struct chat_family *family, struct chat_reply *reply,
                                              struct err *err)
{
    struct buf key = {0};
    add_key(reply, &key);
    if (key.failed) {
        err_set_memory(err, key.len);
        return NULL;
    }
    pthread_mutex_lock(&family->lock);
    struct constrain_grammar *grammar = find_kept(family, buf_view(&key));
    pthread_mutex_unlock(&family->lock);
    if (!grammar) {
        grammar = chat_reply_compile(reply, err); /* may take long: without the lock */
        pthread_mutex_lock(&family->lock);
        if (grammar) {
            keep(family, grammar, &key);
        }
        pthread_mutex_unlock(&family->lock);
    }
    buf_deinit(&key);
    return grammar;
}
