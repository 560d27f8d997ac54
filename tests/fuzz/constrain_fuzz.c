/* Schemas, grammars and regexes from arbitrary bytes: compile, then a random walk. What the mask
 * allows must be accepted, what it forbids refused, and each way must lead on or end. The first
 * byte picks the language, the second seeds the walk. */
#include <stdio.h>
#include <stdlib.h>

#include "constrain/constrain.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { BYTES = 256, STEPS = 200, TRIES = 8 };

static void check(bool is_true, const char *what)
{
    if (!is_true) {
        fprintf(stderr, "constrain_fuzz: %s\n", what);
        abort();
    }
}

static const struct constrain_vocab *vocab(void)
{
    static struct constrain_vocab *made;
    static const char *const longer[] = {"{\"", "\":", "\",\"", "\"}", "}}", "ab", "12", "[[", "é"};
    enum { LONGER = sizeof longer / sizeof longer[0] };
    if (!made) {
        char one[BYTES];
        struct str pieces[BYTES + LONGER];
        for (int i = 0; i < BYTES; i++) {
            one[i] = (char)i;
            pieces[i] = (struct str){.ptr = &one[i], .len = 1};
        }
        for (int i = 0; i < LONGER; i++) {
            pieces[BYTES + i] = str_of(longer[i]);
        }
        made = constrain_vocab_of(pieces, NULL, BYTES + LONGER, NULL);
        check(made != NULL, "no vocabulary");
    }
    return made;
}

static struct constrain_grammar *compile(uint8_t kind, struct str source, struct err *err)
{
    const struct json_limits limits = {.depth_max = 300, .values_max = 100000};
    if (kind % 4 == 2) {
        return constrain_compile_gbnf(source, err);
    }
    if (kind % 4 == 3) {
        return constrain_compile_regex(source, err);
    }
    json_t *schema = json_parse(source, &limits, err);
    if (!schema) {
        return NULL;
    }
    struct constrain_grammar *grammar = constrain_compile_schema(schema, kind % 4 == 0, err);
    json_decref(schema);
    return grammar;
}

static void walk(struct constrain_grammar *grammar, uint32_t seed)
{
    struct constrain_run *run = constrain_run_create(grammar, vocab(), NULL);
    uint32_t bits[(BYTES + 16 + 31) / 32];
    const size_t count = constrain_vocab_count(vocab());
    check(run != NULL, "no run");
    for (int step = 0; step < STEPS; step++) {
        const size_t allowed = constrain_mask(run, bits);
        const struct constrain_state here = constrain_save(run);
        check(allowed > 0 || constrain_can_end(run), "a dead end");
        for (int i = 0; i < TRIES; i++) {
            seed = seed * 1664525u + 1013904223u;
            const text_id id = (text_id)((seed >> 8) % count);
            const bool is_allowed = bits[id / 32] >> (id % 32) & 1;
            check(constrain_accept(run, id) == is_allowed, "mask and machine differ");
            constrain_restore(run, here);
        }
        if (allowed == 0) {
            break;
        }
        size_t skip = (seed >> 8) % allowed;
        text_id id = 0;
        while (!(bits[id / 32] >> (id % 32) & 1) || skip-- > 0) {
            id++;
        }
        check(constrain_accept(run, id), "an allowed token was refused");
    }
    constrain_run_destroy(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = {0};
    if (len < 2) {
        return 0;
    }
    const struct str source = {.ptr = (const char *)bytes + 2, .len = len - 2};
    struct constrain_grammar *grammar = compile(bytes[0], source, &err);
    check(grammar || err.code != ERR_NONE, "refused without a reason");
    if (grammar) {
        walk(grammar, bytes[1]);
        constrain_grammar_unref(grammar);
    }
    return 0;
}
