/* hearth eval MODEL --tokens 1,2,3: the logits of token ids, for people who debug models. The ids
 * go in as they are and no tokenizer is needed; the numbers come out with the fewest digits that
 * read back as the same float. The cache is F32 unless asked otherwise, so that nothing is rounded
 * that the model itself does not round. */
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "model/model.h"

enum {
    FLUSH_BYTES = 64 << 10,
    LIST_BYTES_MAX = 64 << 20,
    CHUNK_LAST = 512, /* rows in one forward call */
    CHUNK_ALL = 32,   /* the same when each row has logits: 20 MB of them at 152K entries */
    TOP_SHOWN = 5,
};

struct options {
    const char *tokens, *positions;
    bool is_json, is_last;
    enum kv_type kv_type;
    enum cpu_level cpu_level;
    uint32_t ctx_tokens, threads, chunk; /* 0: not given */
    const char *path;
    struct cli_texts lora;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option rows[] = {
    {"tokens", NULL, 0, CLI_TEXT, AT(tokens), .value_name = "IDS",
     .help = "\"1,2,3\", or @FILE with such a list, or - for standard input"},
    {"positions", NULL, 0, CLI_TEXT, AT(positions), .value_name = "WHICH",
     .help = "all (default) or last"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json),
     .help = "all logits for programs; without it the best five"},
    {"kv", "kv-type", 0, CLI_KV, AT(kv_type), .value_name = "TYPE",
     .help = "cache type: f32 (default), f16, bf16, q8_0, q4_0"},
    {"ctx", "ctx-size", 'c', CLI_COUNT, AT(ctx_tokens), .low = 0, .high = INT32_MAX,
     .value_name = "N", .help = "context in tokens (0: the model's own)"},
    {"chunk", NULL, 0, CLI_COUNT, AT(chunk), .low = 0, .high = 1 << 16, .value_name = "N",
     .help = "rows in one forward call; does not change the result"},
    {"threads", NULL, 't', CLI_COUNT, AT(threads), .low = 0, .high = 256, .value_name = "N",
     .help = "compute threads (0: one per physical core)"},
    {"cpu-level", NULL, 0, CLI_LEVEL, AT(cpu_level), .value_name = "L",
     .help = "reference, avx2, avx512, neon; lowers the level, never raises it"},
    {"lora", NULL, 0, CLI_TEXTS, AT(lora), .value_name = "FILE[=SCALE]",
     .help = "a LoRA adapter of the model; may be given several times"},
};

#undef AT

struct ids {
    int32_t *items; /* owned */
    size_t count;
};

/* ---- the command line ---- */

static bool parse_options(struct options *o, const struct cli_table *table, int argc, char **argv,
                          struct err *err)
{
    const char *operands[1];
    size_t operand_count;
    char quoted[STR_QUOTE_MAX];
    *o = (struct options){.kv_type = KV_F32, .cpu_level = cpu_level_detect(), .positions = "all"};
    if (!cli_level_from_environment(&o->cpu_level, err) ||
        !cli_options_parse(table, o, argc, argv, operands, 1, &operand_count, err)) {
        return false;
    }
    if (operand_count == 0) {
        return err_set(err, ERR_USAGE, "a model is needed");
    }
    if (!o->tokens) {
        return err_set(err, ERR_USAGE, "--tokens is needed");
    }
    o->path = operands[0];
    o->is_last = strcmp(o->positions, "last") == 0;
    if (!o->is_last && strcmp(o->positions, "all") != 0) {
        return err_set(err, ERR_USAGE, "--positions: \"%s\" is not all or last",
                       str_quote(quoted, str_of(o->positions)));
    }
    return true;
}

/* ---- token ids ---- */

static bool parse_ids(struct str text, struct ids *ids, struct err *err)
{
    size_t commas = 0;
    text = str_trim(text);
    if (text.len == 0) {
        return err_set(err, ERR_USAGE, "--tokens is empty: at least one token id is needed");
    }
    for (size_t i = 0; i < text.len; i++) {
        commas += text.ptr[i] == ',';
    }
    ids->items = MEM_ARRAY(int32_t, commas + 1);
    if (!ids->items) {
        return err_set_memory(err, (commas + 1) * sizeof(int32_t));
    }
    for (size_t i = 0; i <= commas; i++) {
        struct str item = str_trim(str_cut(&text, ','));
        uint64_t id;
        if (!str_to_u64(item, &id) || id > INT32_MAX) {
            char quoted[STR_QUOTE_MAX];
            return err_set(err, ERR_USAGE, "--tokens: item %zu, \"%s\", is not a token id", i + 1,
                           str_quote(quoted, item));
        }
        ids->items[ids->count++] = (int32_t)id;
    }
    return true;
}

static bool read_ids(const char *from, struct ids *ids, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    if (from[0] != '@' && str_of(from).len != 0 && !str_eq(str_of(from), STR("-"))) {
        return parse_ids(str_of(from), ids, err);
    }
    if (from[0] == '@') {
        text = os_file_slurp(from + 1, LIST_BYTES_MAX, &len, err);
    } else if (from[0] == '-') {
        text = cli_read_stdin(LIST_BYTES_MAX, &len, err);
    } else {
        return parse_ids((struct str){0}, ids, err);
    }
    bool ok = text && parse_ids((struct str){text, len}, ids, err);
    mem_free(text);
    return ok;
}

static bool check_ids(const struct model *model, const struct options *o, const struct ids *ids,
                      struct err *err)
{
    const struct model_info *info = model_info(model);
    for (size_t i = 0; i < ids->count; i++) {
        if ((uint32_t)ids->items[i] >= info->vocab_count) {
            return err_set(err, ERR_INVALID,
                           "--tokens: item %zu, %d, is outside the vocabulary of %u tokens", i + 1,
                           ids->items[i], info->vocab_count);
        }
    }
    if (o->ctx_tokens == 0 && ids->count > info->ctx_train_tokens) {
        return err_set(err, ERR_CONTEXT,
                       "%zu tokens do not fit the model's context of %u tokens (--ctx raises it)",
                       ids->count, info->ctx_train_tokens);
    }
    return true;
}

/* ---- output ---- */

struct output {
    struct buf text;
    bool is_json;
    size_t positions; /* written */
};

static bool flush(struct output *out, size_t least, struct err *err)
{
    if (out->text.failed) {
        return err_set_memory(err, FLUSH_BYTES);
    }
    if (out->text.len < least) {
        return true;
    }
    bool ok = cli_write(out->text.ptr, out->text.len, err);
    buf_clear(&out->text);
    return ok;
}

static void write_best(struct output *out, size_t pos, const float *logits, size_t count)
{
    size_t best[TOP_SHOWN], found = 0;
    for (size_t i = 0; i < count; i++) {
        size_t at = found;
        while (at > 0 && logits[i] > logits[best[at - 1]]) {
            at--;
        }
        if (at < TOP_SHOWN) {
            found += found < TOP_SHOWN;
            for (size_t j = found - 1; j > at; j--) {
                best[j] = best[j - 1];
            }
            best[at] = i;
        }
    }
    buf_add_format(&out->text, "%zu:", pos);
    for (size_t i = 0; i < found; i++) {
        buf_add_format(&out->text, "  %zu %.4f", best[i], (double)logits[best[i]]);
    }
    buf_add_char(&out->text, '\n');
}

static bool write_position(struct output *out, size_t pos, const float *logits, size_t count,
                           struct err *err)
{
    char digits[32];
    if (!out->is_json) {
        write_best(out, pos, logits, count);
        return flush(out, FLUSH_BYTES, err);
    }
    buf_add_format(&out->text, "%s{\"pos\":%zu,\"logits\":[", out->positions++ ? "," : "", pos);
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_add_char(&out->text, ',');
        }
        size_t len = json_format_float(logits[i], digits);
        buf_add(&out->text, (struct str){digits, len});
        if (!flush(out, FLUSH_BYTES, err)) {
            return false;
        }
    }
    buf_add_text(&out->text, "]}");
    return true;
}

/* ---- evaluation ---- */

struct eval {
    struct model *model;
    const struct options *options;
    const struct route_adapters *adapters;
    const struct ids *ids;
    struct output out;
    struct model_row *rows; /* [chunk] */
    float *logits;          /* [chunk or 1, vocab_count] */
    uint32_t *pages;
};

static bool run_chunks(struct eval *e, struct err *err)
{
    const struct ids *ids = e->ids;
    size_t vocab = model_info(e->model)->vocab_count, chunk = e->options->chunk;
    size_t page_count = (ids->count + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
    float scales[MODEL_ADAPTERS_MAX];
    const struct model_seq seq = {.pages = e->pages, .page_count = page_count, .scales = scales};
    for (size_t i = 0; i < e->adapters->count; i++) {
        scales[i] = e->adapters->items[i].scale;
    }
    for (size_t i = 0; i < page_count; i++) {
        e->pages[i] = (uint32_t)i;
    }
    for (size_t first = 0; first < ids->count; first += chunk) {
        size_t count = size_min(chunk, ids->count - first), wanted = 0;
        for (size_t i = 0; i < count; i++) {
            bool wants = !e->options->is_last || first + i + 1 == ids->count;
            e->rows[i] = (struct model_row){.token = ids->items[first + i],
                                            .pos = (uint32_t)(first + i),
                                            .wants_logits = wants};
        }
        const struct model_batch batch = {
            .rows = e->rows, .row_count = count, .seqs = &seq, .seq_count = 1};
        model_forward(e->model, &batch, e->logits);
        for (size_t i = 0; i < count; i++) {
            if (e->rows[i].wants_logits &&
                !write_position(&e->out, first + i, e->logits + vocab * wanted++, vocab, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool run_eval(struct eval *e, struct err *err)
{
    size_t chunk = e->options->chunk, vocab = model_info(e->model)->vocab_count;
    size_t logits_rows = e->options->is_last ? 1 : chunk;
    e->rows = MEM_ARRAY(struct model_row, chunk);
    e->pages = MEM_ARRAY(uint32_t, e->ids->count / KV_PAGE_TOKENS + 1);
    e->logits = MEM_ARRAY(float, logits_rows *vocab);
    bool ok = e->rows && e->pages && e->logits;
    if (!ok) {
        err_set_memory(err, logits_rows * vocab * sizeof(float));
    }
    if (ok && e->out.is_json) {
        buf_add_text(&e->out.text, "{\"positions\":[");
    }
    ok = ok && run_chunks(e, err);
    if (ok && e->out.is_json) {
        buf_add_text(&e->out.text, "]}\n");
    }
    ok = ok && flush(&e->out, 1, err);
    buf_deinit(&e->out.text);
    mem_free(e->rows);
    mem_free(e->pages);
    mem_free(e->logits);
    return ok;
}

static bool load_and_run(struct options *o, const struct route_adapters *adapters,
                         const struct ids *ids, struct err *err)
{
    struct gguf *files[MODEL_ADAPTERS_MAX] = {0};
    struct cli_progress progress;
    bool ok = false;
    if (!o->chunk) {
        o->chunk = o->is_last ? CHUNK_LAST : CHUNK_ALL;
    }
    o->chunk = (uint32_t)size_min(o->chunk, ids->count);
    if ((o->ctx_tokens && ids->count > o->ctx_tokens) || ids->count > INT32_MAX) {
        return err_set(err, ERR_CONTEXT, "%zu tokens do not fit the context of %u tokens (--ctx)",
                       ids->count, o->ctx_tokens ? o->ctx_tokens : INT32_MAX);
    }
    const struct model_params params = {
        .cpu_level = o->cpu_level,
        .kv_type = o->kv_type,
        .ctx_tokens = (uint32_t)ids->count,
        .kv_tokens = (uint32_t)ids->count,
        .sequences_max = 1,
        .batch_rows_max = o->chunk,
        .logits_rows_max = o->is_last ? 1 : o->chunk,
        .adapters = (const struct gguf *const *)files,
        .adapter_count = adapters->count,
    };
    struct gguf *gguf = gguf_open(o->path, err);
    struct pool *pool = gguf ? pool_create(o->threads ? o->threads : os_cpu_cores(), err) : NULL;
    struct model *model = NULL;
    if (pool && route_adapters_open(adapters, files, err)) {
        cli_progress_start(&progress, "loading", 0);
        model = model_load(gguf, &params, pool, cli_show_progress, &progress, err);
        cli_progress_end(&progress);
    }
    gguf_close(gguf);
    for (size_t i = 0; i < adapters->count; i++) {
        gguf_close(files[i]);
    }
    if (model && check_ids(model, o, ids, err)) {
        struct eval eval = {.model = model,
                            .options = o,
                            .adapters = adapters,
                            .ids = ids,
                            .out = {.is_json = o->is_json}};
        ok = run_eval(&eval, err);
    }
    model_destroy(model);
    pool_destroy(pool);
    return ok;
}

int cli_eval(int argc, char **argv)
{
    struct options options;
    struct cli_table table = {0};
    struct route_adapters adapters = {0};
    struct ids ids = {0};
    struct err err = {0};
    cli_table_add(&table, rows, sizeof rows / sizeof *rows, 0);
    if (cli_options_want_help(argc, argv)) {
        printf("usage: hearth eval MODEL --tokens IDS [OPTIONS]\n\n"
               "Prints the logits that a model gives for token ids. Ids are taken as they are:\n"
               "nothing is added, no tokenizer is needed.\n\n");
        cli_options_print(&table, stdout);
        return 0;
    }
    bool ok =
        parse_options(&options, &table, argc, argv, &err) && read_ids(options.tokens, &ids, &err);
    for (size_t i = 0; ok && i < options.lora.count; i++) {
        ok = route_adapters_add(&adapters, options.lora.items[i], &err);
    }
    ok = ok && load_and_run(&options, &adapters, &ids, &err);
    route_adapters_deinit(&adapters);
    mem_free(ids.items);
    if (!ok && err.code == ERR_USAGE) {
        return cli_usage_error("eval", "%s", err.text);
    }
    return ok ? 0 : cli_fail(&err);
}
