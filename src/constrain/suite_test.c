/* The JSON-Schema-Test-Suite (draft 2020-12): each instance that is valid for a schema we compile,
 * keys in the order of the schema, passes byte by byte and token by token; no invalid one does.
 * A schema may only be refused for a reason of the table below. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/buf.h"
#include "constrain/constrain.h"

/* What a message may say when a group is skipped. */
static const char *const reasons[] = {
    "the keyword ",                      /* a keyword that the automaton cannot say */
    "remote references are not fetched", /* also embedded resources with their own $id */
    "oneOf is supported where",          /* branches that overlap */
    "multipleOf is supported for whole", /* 0.01 */
    "Unicode properties",                /* \p{Letter} */
    "does not exist",                    /* $ref relative to an embedded $id */
    "can never be satisfied",            /* schemas that no value satisfies: false, ... */
    "no number lies between",
    "form a circle",
    "enum must be a list of at least one value",
};

static struct constrain_vocab *vocab;
static uint32_t bits[16];
static size_t passed, skipped, groups_run;

/* All bytes, and some tokens that cross the borders of what a lexer would call tokens. */
static const char *const longer[] = {"{\"", "\":", "\": ", "\",\"", "\"}",      "[[",   "]]",
                                     "},{", "foo", "bar",  "ba",    "null",     "true", "false",
                                     ", ",  "[1",  "1,",   "12",    "\"foo\":", "\\u",  "oo",
                                     "\"f", "}]",  "1}",   "]}",    ",\"",      "é"};

static int open_vocab(void **state)
{
    enum { LONGER = sizeof longer / sizeof longer[0] };
    static char bytes[256];
    struct str pieces[256 + LONGER + 1] = {{0}};
    bool ends[256 + LONGER + 1] = {false};
    (void)state;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (char)i;
        pieces[i] = (struct str){.ptr = &bytes[i], .len = 1};
    }
    for (size_t i = 0; i < LONGER; i++) {
        pieces[256 + i] = str_of(longer[i]);
    }
    ends[256 + LONGER] = true;
    vocab = constrain_vocab_of(pieces, ends, 256 + LONGER + 1, NULL);
    return vocab == NULL;
}

static int close_vocab(void **state)
{
    (void)state;
    constrain_vocab_destroy(vocab);
    return 0;
}

/* Object keys in the order in which `properties` names them, others behind. */
static json_t *ordered(const json_t *schema, const json_t *root, json_t *value)
{
    const char *key;
    json_t *member;
    const char *ref = json_string_value(json_object_get(schema, "$ref"));
    if (ref && strcmp(ref, "#") == 0) {
        schema = root;
    }
    if (json_is_array(value)) {
        json_t *out = json_array();
        for (size_t i = 0; i < json_array_size(value); i++) {
            const json_t *prefix = json_object_get(schema, "prefixItems");
            const json_t *one = i < json_array_size(prefix) ? json_array_get(prefix, i)
                                                            : json_object_get(schema, "items");
            json_array_append_new(out, ordered(one, root, json_array_get(value, i)));
        }
        return out;
    }
    if (!json_is_object(value)) {
        return json_incref(value);
    }
    if (json_equal(value, json_object_get(schema, "const"))) {
        return json_incref(json_object_get(schema, "const"));
    }
    json_t *out = json_object();
    const json_t *all = json_object_get(schema, "allOf");
    for (size_t i = 0; i <= json_array_size(all); i++) { /* its own come first */
        const json_t *part = i ? json_array_get(all, i - 1) : schema;
        json_object_foreach((json_t *)(uintptr_t)json_object_get(part, "properties"), key, member)
        {
            json_t *found = json_object_get(value, key);
            if (found && !json_object_get(out, key)) {
                json_object_set_new(out, key, ordered(member, root, found));
            }
        }
    }
    const json_t *required = json_object_get(schema, "required");
    for (size_t i = 0; i < json_array_size(required); i++) {
        key = json_string_value(json_array_get(required, i));
        if (key && json_object_get(value, key) && !json_object_get(out, key)) {
            json_object_set(out, key, json_object_get(value, key));
        }
    }
    json_object_foreach(value, key, member)
    {
        if (!json_object_get(out, key)) {
            json_object_set(out, key, member);
        }
    }
    return out;
}

/* JSON.stringify writes 1.0 as 1. */
static void normalize(json_t *value)
{
    const char *key;
    void *next;
    json_t *member;
    for (size_t i = 0; i < json_array_size(value); i++) {
        member = json_array_get(value, i);
        if (json_is_real(member) &&
            json_real_value(member) == (double)(int64_t)json_real_value(member)) {
            json_array_set_new(value, i, json_integer((json_int_t)json_real_value(member)));
        } else {
            normalize(member);
        }
    }
    json_object_foreach_safe(value, next, key, member)
    {
        if (json_is_real(member) &&
            json_real_value(member) == (double)(int64_t)json_real_value(member)) {
            json_object_set_new(value, key, json_integer((json_int_t)json_real_value(member)));
        } else {
            normalize(member);
        }
    }
}

static bool passes_bytes(struct constrain_grammar *grammar, struct str text)
{
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    bool ok = run != NULL;
    for (size_t i = 0; i < text.len && ok; i++) {
        const uint8_t byte = (uint8_t)text.ptr[i];
        constrain_mask(run, bits);
        const bool allowed = bits[byte / 32] >> (byte % 32) & 1;
        ok = constrain_accept(run, byte);
        assert_int_equal(ok, allowed);
    }
    ok = ok && constrain_can_end(run);
    constrain_run_destroy(run);
    return ok;
}

/* Greedy: the longest token at each place. */
static bool passes_tokens(struct constrain_grammar *grammar, struct str text)
{
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    bool ok = run != NULL;
    for (size_t at = 0; at < text.len && ok;) {
        text_id id = (uint8_t)text.ptr[at];
        size_t len = 1;
        for (size_t i = 0; i < sizeof longer / sizeof longer[0]; i++) {
            const struct str piece = str_of(longer[i]);
            if (piece.len > len && str_starts(str_slice(text, at, text.len), piece)) {
                id = (text_id)(256 + i);
                len = piece.len;
            }
        }
        constrain_mask(run, bits);
        const bool allowed = bits[id / 32] >> (id % 32) & 1;
        ok = constrain_accept(run, id);
        assert_int_equal(ok, allowed);
        at += len;
    }
    ok = ok && constrain_can_end(run);
    constrain_run_destroy(run);
    return ok;
}

static void run_group(const json_t *group, size_t *wrong)
{
    const char *what = json_string_value(json_object_get(group, "description"));
    const json_t *schema = json_object_get(group, "schema");
    const json_t *tests = json_object_get(group, "tests"), *test;
    struct err err = {0};
    struct constrain_grammar *grammar = constrain_compile_schema(schema, true, &err);
    if (!grammar) {
        bool known = false, any_valid = false;
        for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
            known |= strstr(err.text, reasons[i]) != NULL;
        }
        for (size_t i = 0; (test = json_array_get(tests, i)) != NULL; i++) {
            any_valid |= json_is_true(json_object_get(test, "valid"));
        }
        if (!known || (any_valid && strstr(err.text, "can never be satisfied"))) {
            print_message("%s: %s: %s\n", json_string_value(json_object_get(group, "file")), what,
                          err.text);
            ++*wrong;
        }
        skipped++;
        return;
    }
    groups_run++;
    for (size_t i = 0; (test = json_array_get(tests, i)) != NULL; i++) {
        json_t *box = json_array();
        json_array_append_new(box, ordered(schema, schema, json_object_get(test, "data")));
        normalize(box);
        const json_t *value = json_array_get(box, 0);
        struct buf text = {0};
        json_write(&text, value);
        const bool valid = json_is_true(json_object_get(test, "valid"));
        const bool bytes = passes_bytes(grammar, buf_view(&text));
        const bool tokens = passes_tokens(grammar, buf_view(&text));
        if (bytes != valid || tokens != valid) {
            print_message("%s: %s: %s: %s should be %s: bytes %d, tokens %d\n",
                          json_string_value(json_object_get(group, "file")), what,
                          json_string_value(json_object_get(test, "description")), text.ptr,
                          valid ? "valid" : "invalid", bytes, tokens);
            ++*wrong;
        } else {
            passed++;
        }
        buf_deinit(&text);
        json_decref(box);
    }
    constrain_grammar_unref(grammar);
}

static void the_suite(void **state)
{
    (void)state;
    json_error_t error;
    json_t *suite = json_load_file(TEST_DATA "/constrain/suite.json", JSON_ALLOW_NUL, &error);
    size_t wrong = 0;
    assert_non_null(suite);
    const json_t *groups = json_object_get(suite, "groups"), *group;
    for (size_t i = 0; (group = json_array_get(groups, i)) != NULL; i++) {
        run_group(group, &wrong);
    }
    print_message("%zu groups run, %zu refused; %zu instances as they should be, %zu not\n",
                  groups_run, skipped, passed, wrong);
    assert_int_equal(wrong, 0);
    assert_true(passed > 500);
    json_decref(suite);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_suite)};
    return cmocka_run_group_tests_name("constrain/suite", tests, open_vocab, close_vocab);
}
