/* How long masks and compilations take, or what random weights write under them.
 *
 *     constrain_bench VOCAB.gguf SCHEMAS.json            figures over all schemas
 *     constrain_bench VOCAB.gguf SCHEMAS.json print N    N texts of each, a line of JSON per text
 *
 * SCHEMAS.json is a list of {"name", "schema"}. The "model" is a uniform choice among the allowed
 * tokens, which is what random weights at a high temperature come to; after TOKENS_LONG tokens it
 * takes the end, a closing quote or bracket where it can, so that recursive schemas end too. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "constrain/constrain.h"

enum {
    TOKENS_MAX = 4000,
    TOKENS_LONG = 60,
    ROUNDS = 4,
    TIMES_MAX = 1 << 20,
    PICKS = 64,
    SLOW_MS = 10
};

static uint64_t random_state = 1;

static uint32_t random_u32(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

struct figures {
    double *mask_us, *compile_ms;
    size_t masks, compiles;
};

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double quantile(double *values, size_t count, double q)
{
    qsort(values, count, sizeof *values, ascending);
    return count ? values[(size_t)(q * (double)(count - 1))] : 0;
}

/* One of the allowed tokens; with `hurry` preferably one that begins by closing something. */
static text_id pick(const struct text *text, const uint32_t *bits, size_t words, size_t allowed,
                    bool hurry)
{
    text_id chosen = TEXT_NONE;
    for (int try = 0; try < (hurry ? PICKS : 1); try++) {
        size_t skip = random_u32() % allowed;
        for (size_t i = 0; i < words; i++) {
            const size_t here = (size_t)__builtin_popcount(bits[i]);
            if (skip >= here) {
                skip -= here;
                continue;
            }
            uint32_t word = bits[i];
            while (skip-- > 0) {
                word &= word - 1;
            }
            chosen = (text_id)(i * 32 + (size_t)__builtin_ctz(word));
            break;
        }
        const struct str piece = text_piece(text, chosen, false);
        if (text_is_end(text, chosen) || (piece.len && strchr("\"]}", piece.ptr[0]))) {
            break;
        }
    }
    return chosen;
}

/* The shortest way out of a string or list, token by token, if there is one. */
static text_id closing(const struct text *text, const uint32_t *bits)
{
    static const char *const texts[] = {"}", "]", "\"", "null", "1", "0", "\"\"", "[]", "{}", "-1"};
    const text_id eos = text_eos(text);
    if (eos >= 0 && (bits[eos / 32] >> (eos % 32) & 1)) {
        return eos;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const text_id id = text_find(text, str_of(texts[i]));
        if (id >= 0 && (bits[id / 32] >> (id % 32) & 1)) {
            return id;
        }
    }
    return TEXT_NONE;
}

static bool walk(const struct text *text, const struct constrain_vocab *vocab,
                 struct constrain_grammar *grammar, struct figures *figures, struct buf *out)
{
    const size_t words = constrain_vocab_words(vocab);
    uint32_t *bits = MEM_ARRAY(uint32_t, words);
    struct constrain_run *run = constrain_run_create(grammar, vocab, NULL);
    bool ended = false;
    for (size_t n = 0; n < TOKENS_MAX && bits && run; n++) {
        const int64_t start = clock_now_ns();
        const size_t allowed = constrain_mask(run, bits);
        if (figures->masks < TIMES_MAX) {
            figures->mask_us[figures->masks++] = (double)(clock_now_ns() - start) / 1e3;
        }
        if (allowed == 0) {
            break;
        }
        text_id id = n > TOKENS_LONG * 4 ? closing(text, bits) : TEXT_NONE;
        id = id == TEXT_NONE ? pick(text, bits, words, allowed, n > TOKENS_LONG) : id;
        if (!constrain_accept(run, id)) {
            fprintf(stderr, "a token of the mask was refused\n");
            exit(1);
        }
        if (text_is_end(text, id)) {
            ended = true;
            break;
        }
        buf_add(out, text_piece(text, id, false));
    }
    constrain_run_destroy(run);
    mem_free(bits);
    return ended;
}

static int all(const struct text *text, const struct constrain_vocab *vocab, const json_t *schemas,
               int prints)
{
    struct figures f = {.mask_us = MEM_ARRAY(double, TIMES_MAX),
                        .compile_ms = MEM_ARRAY(double, 65536)};
    int faults = 0;
    for (size_t i = 0; i < json_array_size(schemas) && f.mask_us && f.compile_ms; i++) {
        const json_t *row = json_array_get(schemas, i);
        const char *name = json_string_value(json_object_get(row, "name"));
        struct err err = {0};
        const int64_t start = clock_now_ns();
        struct constrain_grammar *grammar =
            constrain_compile_schema(json_object_get(row, "schema"), true, &err);
        f.compile_ms[f.compiles++] = (double)(clock_now_ns() - start) / 1e6;
        if (!prints && f.compile_ms[f.compiles - 1] > SLOW_MS) {
            printf("  %s: compiled in %.1f ms\n", name, f.compile_ms[f.compiles - 1]);
        }
        if (!grammar) {
            fprintf(stderr, "%s: %s\n", name, err.text);
            faults++;
            continue;
        }
        for (int round = 0; round < (prints ? prints : ROUNDS); round++) {
            struct buf out = {0};
            const size_t first = f.masks;
            const bool ended = walk(text, vocab, grammar, &f, &out);
            for (size_t k = first; k < f.masks && !prints; k++) {
                if (f.mask_us[k] > SLOW_MS * 100) {
                    printf("  %s: mask %zu took %.0f us\n", name, k - first, f.mask_us[k]);
                }
            }
            if (prints) {
                struct buf line = {0};
                buf_add_format(&line, "{\"schema\":%zu,\"ended\":%s,\"text\":", i,
                               ended ? "true" : "false");
                json_write_string(&line, buf_view(&out));
                buf_add_text(&line, "}\n");
                fwrite(line.ptr, 1, line.len, stdout);
                buf_deinit(&line);
            }
            buf_deinit(&out);
        }
        constrain_grammar_unref(grammar);
    }
    if (!prints) {
        printf("%zu schemas: compile median %.2f ms, p90 %.2f, largest %.2f\n", f.compiles,
               quantile(f.compile_ms, f.compiles, 0.5), quantile(f.compile_ms, f.compiles, 0.9),
               quantile(f.compile_ms, f.compiles, 1));
        printf("%zu masks of %zu tokens: median %.1f us, p99 %.1f, p99.9 %.1f, largest %.1f\n",
               f.masks, constrain_vocab_count(vocab), quantile(f.mask_us, f.masks, 0.5),
               quantile(f.mask_us, f.masks, 0.99), quantile(f.mask_us, f.masks, 0.999),
               quantile(f.mask_us, f.masks, 1));
    }
    mem_free(f.mask_us);
    mem_free(f.compile_ms);
    return faults ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    json_error_t fault;
    if (argc < 3) {
        fprintf(stderr, "usage: constrain_bench VOCAB.gguf SCHEMAS.json [print N]\n");
        return 2;
    }
    struct gguf *gguf = gguf_open(argv[1], &err);
    struct text *text = gguf ? text_open(gguf, &err) : NULL;
    json_t *schemas = json_load_file(argv[2], 0, &fault);
    if (!text || !schemas) {
        fprintf(stderr, "%s\n", text ? fault.text : err.text);
        return 1;
    }
    const int64_t start = clock_now_ns();
    struct constrain_vocab *vocab = constrain_vocab_create(text, &err);
    const double built_ms = (double)(clock_now_ns() - start) / 1e6;
    const int prints = argc > 4 ? atoi(argv[4]) : 0;
    if (!prints) {
        printf("tries of %zu tokens: %.1f ms\n", text_vocab_count(text), built_ms);
    }
    const int rc = vocab ? all(text, vocab, schemas, prints) : 1;
    constrain_vocab_destroy(vocab);
    json_decref(schemas);
    text_close(text);
    gguf_close(gguf);
    return rc;
}
