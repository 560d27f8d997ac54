/* hearth imatrix MODEL FILE -o OUT: an importance matrix. The text runs through the model in
 * chunks; for each weight tensor the squares of what it is multiplied with are summed, column by
 * column. */
#include <string.h>

#include "base/mem.h"
#include "base/size.h"
#include "cli/chunks.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "gguf/importance.h"

struct options {
    enum cpu_level cpu_level;
    enum kv_type kv_type;
    uint32_t ctx_tokens, chunks, threads;
    const char *out;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"output", "output-file", 'o', CLI_TEXT, AT(out), .value_name = "FILE",
     .help = "where to write (imatrix.gguf)"},
    {"ctx", "ctx-size", 'c', CLI_COUNT, AT(ctx_tokens), .low = 8, .high = 1 << 20,
     .value_name = "N", .help = "tokens of a chunk (512)"},
    {"chunks", NULL, 0, CLI_COUNT, AT(chunks), .low = 0, .high = INT32_MAX, .value_name = "N",
     .help = "at most so many (0: all)"},
    {"threads", NULL, 't', CLI_COUNT, AT(threads), .low = 0, .high = 256, .value_name = "N",
     .help = "compute threads (0: one per physical core)"},
    {"cpu-level", NULL, 0, CLI_LEVEL, AT(cpu_level), .value_name = "L",
     .help = "reference, avx2, avx512, neon; lowers the level, never raises it"},
};

#undef AT

enum { TENSORS_MAX = 1 << 16 };

/* What was seen of the tensors, in the order in which the model comes to them. */
struct tensor {
    char *name;
    size_t name_len, cols, planes;
    double *sums, *counts; /* [planes][cols], [planes] */
};

struct collector {
    struct tensor *tensors;   /* owned, with what they point to */
    size_t count, room, last; /* last: where the last product was found */
    bool failed;
};

static struct tensor *add_tensor(struct collector *c, const struct model_product_seen *seen)
{
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 256;
        struct tensor *more = room > TENSORS_MAX ? NULL : MEM_ARRAY(struct tensor, room);
        if (!more) {
            return NULL;
        }
        if (c->count > 0) {
            memcpy(more, c->tensors, c->count * sizeof *more);
        }
        mem_free(c->tensors);
        c->tensors = more;
        c->room = room;
    }
    struct tensor *t = &c->tensors[c->count++];
    *t = (struct tensor){.name = mem_alloc(seen->name.len + 1, 1),
                         .name_len = seen->name.len,
                         .cols = seen->cols,
                         .planes = seen->planes,
                         .sums = mem_alloc(seen->planes * seen->cols, sizeof *t->sums),
                         .counts = mem_alloc(seen->planes, sizeof *t->counts)};
    if (!t->name || !t->sums || !t->counts) {
        return NULL;
    }
    memcpy(t->name, seen->name.ptr, seen->name.len);
    return t;
}

/* Passes come to the tensors in about the same order, so the next is mostly near the last. */
static struct tensor *find_tensor(struct collector *c, const struct model_product_seen *seen)
{
    for (size_t i = 0; i < c->count; i++) {
        size_t at = (c->last + i) % c->count;
        struct tensor *t = &c->tensors[at];
        if (str_eq((struct str){t->name, t->name_len}, seen->name)) {
            c->last = at;
            return t;
        }
    }
    return NULL;
}

/* Makes room for a tensor before the first pass. */
static void expect_product(void *arg, const struct model_product_seen *seen)
{
    struct collector *c = arg;
    /* Quantisers keep these at more bits anyway. */
    bool is_left_out =
        str_eq(seen->name, STR("output.weight")) || str_eq(seen->name, STR("token_embd.weight"));

    if (!is_left_out && !c->failed && !find_tensor(c, seen)) {
        c->failed = !add_tensor(c, seen);
    }
}

static void take_product(void *arg, const struct model_product_seen *seen)
{
    struct tensor *t = find_tensor(arg, seen);

    if (!t) {
        return;
    }
    double *sums = t->sums + seen->plane * seen->cols;
    t->counts[seen->plane] += (double)seen->rows;
    for (size_t r = 0; r < seen->rows; r++) {
        const float *x = seen->x + r * seen->cols;
        for (size_t i = 0; i < seen->cols; i++) {
            sums[i] += (double)x[i] * x[i];
        }
    }
}

static void forget_logits(void *arg, size_t pos, const float *logits)
{
    (void)arg;
    (void)pos;
    (void)logits;
}

static bool run_chunks(struct cli_chunks *c, size_t count, struct err *err)
{
    bool puts_bos = text_adds_bos(c->text) && text_bos(c->text) != TEXT_NONE;
    text_id *tokens = MEM_ARRAY(text_id, c->ctx_tokens);
    struct cli_progress progress;

    if (!tokens) {
        return err_set_memory(err, c->ctx_tokens * sizeof *tokens);
    }
    cli_progress_start(&progress, "imatrix", count);
    for (size_t i = 0; i < count; i++) {
        memcpy(tokens, c->ids.ids + i * c->ctx_tokens, c->ctx_tokens * sizeof *tokens);
        tokens[0] = puts_bos ? text_bos(c->text) : tokens[0];
        /* All rows want logits, so that the last layer sees them all. */
        cli_chunks_run(c, tokens, c->ctx_tokens, 0, forget_logits, NULL);
        cli_progress_update(&progress, i + 1);
    }
    cli_progress_end(&progress);
    mem_free(tokens);
    return true;
}

static bool write(const struct collector *c, const struct options *o, const char *text,
                  size_t chunks, struct err *err)
{
    struct gguf_importance_entry *entries = MEM_ARRAY(struct gguf_importance_entry, c->count + 1);

    if (!entries) {
        return err_set_memory(err, c->count * sizeof *entries);
    }
    for (size_t i = 0; i < c->count; i++) {
        const struct tensor *t = &c->tensors[i];
        entries[i] = (struct gguf_importance_entry){.name = {t->name, t->name_len},
                                                    .cols = t->cols,
                                                    .planes = t->planes,
                                                    .sums = t->sums,
                                                    .counts = t->counts};
    }
    bool ok = gguf_importance_write(o->out, entries, c->count, str_of(text), (uint32_t)chunks,
                                    o->ctx_tokens, err);
    mem_free(entries);
    return ok;
}

static void deinit_collector(struct collector *c)
{
    for (size_t i = 0; i < c->count; i++) {
        mem_free(c->tensors[i].name);
        mem_free(c->tensors[i].sums);
        mem_free(c->tensors[i].counts);
    }
    mem_free(c->tensors);
}

static bool run(const struct options *o, const char *const *operands, struct err *err)
{
    struct collector collector = {0};
    struct model_observer observer = {take_product, &collector};
    struct cli_chunks chunks;
    const struct cli_chunks_params params = {.model = operands[0],
                                             .text = operands[1],
                                             .cpu_level = o->cpu_level,
                                             .kv_type = o->kv_type,
                                             .ctx_tokens = o->ctx_tokens,
                                             .threads = o->threads,
                                             .observer = &observer};
    char text[256];
    bool ok = cli_chunks_open(&chunks, &params, err);
    size_t count = ok ? chunks.ids.count / chunks.ctx_tokens : 0;

    count = o->chunks > 0 ? size_min(count, o->chunks) : count;
    if (ok) {
        model_each_product(chunks.model, expect_product, &collector);
        ok = !collector.failed || err_set_memory(err, collector.room * sizeof *collector.tensors);
    }
    ok = ok && run_chunks(&chunks, count, err);
    ok = ok && write(&collector, o, operands[1], count, err);
    if (ok) {
        int n = snprintf(text, sizeof text, "%zu tensors from %zu chunks of %u tokens\n",
                         collector.count, count, o->ctx_tokens);
        ok = cli_write(text, (size_t)n, err);
    }
    cli_chunks_close(&chunks);
    deinit_collector(&collector);
    return ok;
}

int cli_imatrix(int argc, char **argv)
{
    struct options o = {.kv_type = KV_F16,
                        .cpu_level = cpu_level_detect(),
                        .ctx_tokens = 512,
                        .out = "imatrix.gguf"};
    struct cli_table table = {0};
    struct err err = {0};
    const char *operands[2];
    size_t count = 0;

    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        printf("usage: hearth imatrix MODEL FILE -o OUT [OPTIONS]\n\n"
               "Runs the text in FILE (- for standard input) through a model and writes how much\n"
               "each column of its weights matters: an importance matrix for hearth quantize\n"
               "--imatrix, in the format of llama.cpp.\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    bool ok = cli_level_from_environment(&o.cpu_level, &err) &&
              cli_options_parse(&table, &o, argc, argv, operands, 2, &count, &err);
    if (ok && count != 2) {
        ok = err_set(&err, ERR_USAGE, "a model and a text are needed");
    }
    ok = ok && run(&o, operands, &err);
    if (!ok && err.code == ERR_USAGE) {
        return cli_usage_error("imatrix", "%s", err.text);
    }
    return ok ? 0 : cli_fail(&err);
}
