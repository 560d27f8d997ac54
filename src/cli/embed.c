/* hearth embed: the vector of a text; hearth rerank: how well documents answer a query. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "route/bundled.h"
#include "route/texts.h"

enum { STDIN_BYTES_MAX = 64 << 20, TEXTS_MAX = 2 * CLI_TEXTS_MAX };

struct options {
    struct route_local_params local;
    struct cli_texts texts, documents;
    const char *query, *prompt_name, *tokens;
    uint32_t dimensions, top_n;
    bool is_raw, is_json;
};

#define AT(field) .offset = offsetof(struct options, field)

static const struct cli_option embed_options[] = {
    {"text", NULL, 't', CLI_TEXTS, AT(texts), .value_name = "TEXT",
     .help = "a text; may be given several times (standard input)"},
    {"tokens", NULL, 0, CLI_TEXT, AT(tokens), .value_name = "1,2,3",
     .help = "token ids instead of a text; needs no tokenizer"},
    {"prompt-name", NULL, 0, CLI_TEXT, AT(prompt_name), .value_name = "NAME",
     .help = "what the text is for (query, document ...): the model's words for it go in front"},
    {"dimensions", NULL, 0, CLI_COUNT, AT(dimensions), .low = 1, .high = 1 << 20, .value_name = "N",
     .help = "only the first N numbers, brought to length 1 again"},
    {"raw", NULL, 0, CLI_FLAG, AT(is_raw),
     .help = "as the model gives it, not brought to length 1"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json), .help = "{\"embedding\":[...]}, a line for each text"},
};

static const struct cli_option rerank_options[] = {
    {"query", NULL, 'q', CLI_TEXT, AT(query), .value_name = "TEXT",
     .help = "what the documents are compared with"},
    {"document", NULL, 0, CLI_TEXTS, AT(documents), .value_name = "TEXT",
     .help = "a document; may be given several times, or as further operands"},
    {"top-n", NULL, 0, CLI_COUNT, AT(top_n), .low = 1, .high = 1 << 20, .value_name = "N",
     .help = "only the best N"},
    {"json", NULL, 0, CLI_FLAG, AT(is_json),
     .help = "{\"results\":[{\"index\":0,\"relevance_score\":1.5}]}, best first"},
};

#undef AT

/* What both commands work on. */
struct job {
    struct options o;
    struct route_local *local;
    struct engine_embed *embed, *own_embed; /* own: of a model without a tokenizer */
    struct text_ids ids[TEXTS_MAX];
    struct engine_embed_text texts[TEXTS_MAX];
    size_t count;
    struct engine_embed_task *task;
    struct buf out;
};

static void close_job(struct job *job)
{
    engine_embed_close(job->task);
    engine_embed_destroy(job->own_embed);
    for (size_t i = 0; i < job->count; i++) {
        text_ids_deinit(&job->ids[i]);
    }
    route_local_close(job->local);
    buf_deinit(&job->out);
}

static bool open_model(struct job *job, const char *name, struct err *err)
{
    struct cli_progress progress;
    char *path = NULL;
    if (name ? !(path = cli_find_model(name, err)) : !route_bundled_encoder(&path, err)) {
        return false;
    }
    job->o.local.path = path;
    job->o.local.model_only = job->o.tokens != NULL;
    cli_progress_start(&progress, "loading", 0);
    job->local = route_local_open(&job->o.local, cli_show_progress, &progress, err);
    cli_progress_end(&progress);
    mem_free(path);
    if (!job->local) {
        return false;
    }
    if (job->o.local.model_only) {
        const struct engine_embed_params params = {.model = route_local_model(job->local)};
        job->embed = job->own_embed = engine_embed_create(&params, err);
    } else {
        job->embed = route_local_embed(job->local, err);
    }
    return job->embed != NULL;
}

static bool run_job(struct job *job, struct err *err)
{
    for (size_t i = 0; i < job->count; i++) {
        job->texts[i].ids = job->ids[i].ids;
        job->texts[i].count = job->ids[i].count;
    }
    job->task = engine_embed_submit(job->embed, job->texts, job->count, NULL, NULL, err);
    return job->task && engine_embed_wait(job->task, err);
}

static bool print(struct job *job, struct err *err)
{
    return job->out.failed ? err_set_memory(err, job->out.len)
                           : cli_write(job->out.ptr, job->out.len, err);
}

static int finish(struct job *job, bool ok, const struct err *err)
{
    close_job(job);
    mem_free(job);
    return ok ? 0 : cli_fail(err);
}

static const struct model_encoder_info *info_of(const struct job *job)
{
    return engine_embed_info(job->embed);
}

/* ---- embed ---- */

static bool read_tokens(struct job *job, struct err *err)
{
    struct str rest = str_of(job->o.tokens);
    const uint32_t vocab = model_info(route_local_model(job->local))->vocab_count;
    while (rest.len > 0) {
        char quoted[STR_QUOTE_MAX];
        struct str item = str_trim(str_cut(&rest, ','));
        uint64_t id;
        if (!str_to_u64(item, &id) || id >= vocab) {
            return err_set(err, ERR_USAGE, "--tokens: \"%s\" is no token id (0 to %u)",
                           str_quote(quoted, item), vocab - 1);
        }
        if (!text_ids_add(&job->ids[0], (text_id)id)) {
            return err_set_memory(err, sizeof id);
        }
    }
    job->count = 1;
    return true;
}

static bool encode_texts(struct job *job, struct err *err)
{
    struct str prefix = {0};
    if (job->o.prompt_name &&
        !route_prompt_find(job->local, str_of(job->o.prompt_name), &prefix, err)) {
        return err_wrap(err, "--prompt-name");
    }
    for (size_t i = 0; i < job->o.texts.count; i++) {
        job->count = i + 1;
        if (!route_text_encode(job->local, prefix, job->o.texts.items[i], &job->ids[i], err)) {
            return false;
        }
    }
    return true;
}

static void add_vector(struct job *job, float *v, size_t n)
{
    if (!job->o.is_raw) {
        engine_embed_normalize(v, n);
    }
    for (size_t i = 0; i < n; i++) {
        char number[32];
        json_format_float(v[i], number);
        buf_add_text(&job->out, i == 0 ? "" : job->o.is_json ? "," : " ");
        buf_add_text(&job->out, number);
    }
}

/* A line for each text; without pooling a text has a vector for each token. */
static bool write_vectors(struct job *job, struct err *err)
{
    const float *from = engine_embed_vectors(job->task);
    const size_t width = info_of(job)->width;
    const size_t wanted = job->o.dimensions ? job->o.dimensions : width;
    const bool has_rows = info_of(job)->pooling == MODEL_ENCODER_NONE;
    float *v = mem_alloc(wanted, sizeof *v);
    if (!v) {
        return err_set_memory(err, wanted * sizeof *v);
    }
    for (size_t i = 0; i < job->count; i++) {
        size_t rows = has_rows ? job->ids[i].count : 1;
        buf_add_text(&job->out, !job->o.is_json ? ""
                                : has_rows      ? "{\"embedding\":[["
                                                : "{\"embedding\":[");
        for (size_t row = 0; row < rows; row++, from += width) {
            memcpy(v, from, wanted * sizeof *v);
            buf_add_text(&job->out, row == 0 ? "" : job->o.is_json ? "],[" : "\n");
            add_vector(job, v, wanted);
        }
        buf_add_text(&job->out, !job->o.is_json ? "\n" : has_rows ? "]]}\n" : "]}\n");
    }
    mem_free(v);
    return print(job, err);
}

static bool check_width(const struct job *job, struct err *err)
{
    const struct model_encoder_info *info = info_of(job);
    if (info->pooling == MODEL_ENCODER_RANK && !job->o.tokens) {
        return err_set(err, ERR_UNSUPPORTED,
                       "the model ranks documents and gives no vectors; try: hearth rerank");
    }
    return job->o.dimensions <= info->width ||
           err_set(err, ERR_USAGE, "--dimensions %u: the model has %u", job->o.dimensions,
                   info->width);
}

static void print_embed_help(const struct cli_table *table)
{
    puts("usage: hearth embed [MODEL] --text TEXT [OPTIONS]\n\n"
         "Prints the vector of a text; texts of like meaning have like vectors. Without MODEL the\n"
         "small English encoder that comes with hearth. A text that is too long is an error.\n");
    cli_options_print(table, stdout);
}

/* Standard input is the text where none is given. */
static bool take_input(struct job *job, char **input, struct err *err)
{
    size_t len = 0;
    if (job->o.texts.count > 0 || job->o.tokens) {
        return true;
    }
    *input = cli_read_stdin(STDIN_BYTES_MAX, &len, err);
    job->o.texts.items[job->o.texts.count++] = (struct str){*input, len};
    return *input != NULL;
}

int cli_embed(int argc, char **argv)
{
    struct job *job = MEM_NEW(struct job);
    struct cli_table table = {.count = 0};
    const char *operand = NULL;
    size_t operand_count = 0;
    char *input = NULL;
    struct err err = {0};
    if (!job) {
        err_set_memory(&err, sizeof *job);
        return cli_fail(&err);
    }
    log_set_level(LOG_ERROR);
    job->o.local = route_local_params_default();
    cli_table_add(&table, embed_options, sizeof embed_options / sizeof *embed_options, 0);
    cli_table_add(&table, cli_local_options, cli_local_option_count,
                  offsetof(struct options, local));
    if (cli_options_want_help(argc, argv)) {
        print_embed_help(&table);
        mem_free(job);
        return 0;
    }
    if (!cli_level_from_environment(&job->o.local.cpu_level, &err) ||
        !cli_options_parse(&table, &job->o, argc, argv, &operand, 1, &operand_count, &err)) {
        mem_free(job);
        return cli_usage_error("embed", "%s", err.text);
    }
    bool ok = take_input(job, &input, &err) && open_model(job, operand, &err) &&
              check_width(job, &err) &&
              (job->o.tokens ? read_tokens(job, &err) : encode_texts(job, &err)) &&
              run_job(job, &err) && write_vectors(job, &err);
    mem_free(input);
    return finish(job, ok, &err);
}

/* ---- rerank ---- */

struct ranked {
    size_t index;
    float score;
};

/* Best first, equals in their order. */
static int compare(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->score < y->score || x->score > y->score) {
        return x->score < y->score ? 1 : -1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool encode_pairs(struct job *job, struct err *err)
{
    if (info_of(job)->pooling != MODEL_ENCODER_RANK) {
        return err_set(err, ERR_UNSUPPORTED,
                       "the model has no head that ranks; it gives vectors: hearth embed");
    }
    for (size_t i = 0; i < job->o.documents.count; i++) {
        job->count = i + 1;
        if (!route_pair_encode(job->local, str_of(job->o.query), job->o.documents.items[i],
                               &job->ids[i], &job->texts[i].second_at, err)) {
            return false;
        }
    }
    return true;
}

static bool write_ranks(struct job *job, struct err *err)
{
    const float *scores = engine_embed_vectors(job->task);
    size_t count = job->count;
    struct ranked ranked[TEXTS_MAX];
    for (size_t i = 0; i < count; i++) {
        ranked[i] = (struct ranked){i, scores[i * info_of(job)->width]};
    }
    qsort(ranked, count, sizeof *ranked, compare);
    count = job->o.top_n && job->o.top_n < count ? job->o.top_n : count;
    buf_add_text(&job->out, job->o.is_json ? "{\"results\":[" : "");
    for (size_t i = 0; i < count; i++) {
        char number[32];
        json_format_float(ranked[i].score, number);
        if (job->o.is_json) {
            buf_add_format(&job->out, "%s{\"index\":%zu,\"relevance_score\":%s}", i ? "," : "",
                           ranked[i].index, number);
        } else {
            buf_add_format(&job->out, "%12s  ", number);
            buf_add(&job->out, job->o.documents.items[ranked[i].index]);
            buf_add_char(&job->out, '\n');
        }
    }
    buf_add_text(&job->out, job->o.is_json ? "]}\n" : "");
    return print(job, err);
}

static void print_rerank_help(const struct cli_table *table)
{
    puts("usage: hearth rerank MODEL --query TEXT --document TEXT ... [OPTIONS]\n\n"
         "Prints how well each document answers the query, best first. MODEL is a reranker: an\n"
         "encoder with a class head, or a Qwen3-Reranker. Scores of class heads have no bounds.\n");
    cli_options_print(table, stdout);
}

/* Further operands are documents, too. */
static void take_documents(struct options *o, const char *const *operands, size_t count)
{
    for (size_t i = 1; i < count && o->documents.count < CLI_TEXTS_MAX; i++) {
        o->documents.items[o->documents.count++] = str_of(operands[i]);
    }
}

int cli_rerank(int argc, char **argv)
{
    struct job *job = MEM_NEW(struct job);
    struct cli_table table = {.count = 0};
    const char *operands[CLI_TEXTS_MAX] = {NULL};
    size_t operand_count = 0;
    struct err err = {0};
    if (!job) {
        err_set_memory(&err, sizeof *job);
        return cli_fail(&err);
    }
    log_set_level(LOG_ERROR);
    job->o.local = route_local_params_default();
    cli_table_add(&table, rerank_options, sizeof rerank_options / sizeof *rerank_options, 0);
    cli_table_add(&table, cli_local_options, cli_local_option_count,
                  offsetof(struct options, local));
    if (cli_options_want_help(argc, argv)) {
        print_rerank_help(&table);
        mem_free(job);
        return 0;
    }
    bool ok = cli_level_from_environment(&job->o.local.cpu_level, &err) &&
              cli_options_parse(&table, &job->o, argc, argv, operands, CLI_TEXTS_MAX,
                                &operand_count, &err);
    take_documents(&job->o, operands, operand_count);
    if (ok && (operand_count == 0 || !job->o.query || job->o.documents.count == 0)) {
        ok = err_set(&err, ERR_USAGE, "a model, --query and at least one --document are needed");
    }
    if (!ok) {
        mem_free(job);
        return cli_usage_error("rerank", "%s", err.text);
    }
    ok = open_model(job, operands[0], &err) && encode_pairs(job, &err) && run_job(job, &err) &&
         write_ranks(job, &err);
    return finish(job, ok, &err);
}
