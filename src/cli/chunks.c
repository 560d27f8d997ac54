#include "cli/chunks.h"

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"
#include "base/str.h"
#include "cli/cli.h"
#include "cli/options.h"

enum {
    CALL_ROWS = 64, /* of one forward call, each with logits */
    TEXT_BYTES_MAX = 1 << 30,
};

static char *read_text(const char *path, size_t *len, struct err *err)
{
    if (str_eq(str_of(path), STR("-"))) {
        return cli_read_stdin(TEXT_BYTES_MAX, len, err);
    }
    return os_file_slurp(path, TEXT_BYTES_MAX, len, err);
}

static bool tokenize(struct cli_chunks *c, const char *path, struct err *err)
{
    const struct text_encode_opts opts = {.add_special = true, .parse_special = true};
    char quoted[STR_QUOTE_MAX];
    size_t len = 0;
    char *bytes = read_text(path, &len, err);
    bool ok = bytes && text_encode(c->text, (struct str){bytes, len}, &opts, &c->ids, err);

    mem_free(bytes);
    if (ok && text_adds_eos(c->text) && c->ids.count > 0) {
        c->ids.count--; /* the text goes on as far as the model is concerned */
    }
    if (ok && c->ids.count < 2 * (size_t)c->ctx_tokens) {
        ok = err_set(err, ERR_INVALID,
                     "%s has %zu tokens; at least two chunks of %u tokens are needed (--ctx)",
                     str_quote(quoted, str_of(path)), c->ids.count, c->ctx_tokens);
    }
    return ok;
}

static bool load(struct cli_chunks *c, const struct gguf *gguf,
                 const struct cli_chunks_params *params, struct err *err)
{
    const struct model_params mp = {
        .cpu_level = params->cpu_level,
        .kv_type = params->kv_type,
        .ctx_tokens = c->ctx_tokens,
        .kv_tokens = c->ctx_tokens,
        .sequences_max = 1,
        .batch_rows_max = CALL_ROWS,
        .logits_rows_max = CALL_ROWS,
        .observer = params->observer,
    };
    struct cli_progress progress;

    cli_progress_start(&progress, "loading", 0);
    c->model = model_load(gguf, &mp, c->pool, cli_show_progress, &progress, err);
    cli_progress_end(&progress);
    if (!c->model) {
        return false;
    }
    c->vocab_count = model_info(c->model)->vocab_count;
    if (text_vocab_count(c->text) > c->vocab_count) {
        return err_set(err, ERR_FORMAT, "the tokenizer has %zu tokens, the model %zu",
                       text_vocab_count(c->text), c->vocab_count);
    }
    size_t logits_bytes = CALL_ROWS * c->vocab_count * sizeof(float);
    c->rows = MEM_ARRAY(struct model_row, CALL_ROWS);
    c->pages = MEM_ARRAY(uint32_t, c->ctx_tokens / KV_PAGE_TOKENS + 1);
    c->logits = mem_alloc(CALL_ROWS * c->vocab_count, sizeof(float));
    return (c->rows && c->pages && c->logits) || err_set_memory(err, logits_bytes);
}

bool cli_chunks_open(struct cli_chunks *c, const struct cli_chunks_params *params, struct err *err)
{
    char *path = cli_find_model(params->model, err);
    struct gguf *gguf = path ? gguf_open(path, err) : NULL;
    bool ok = gguf != NULL;

    *c = (struct cli_chunks){.ctx_tokens = params->ctx_tokens};
    ok = ok && (c->text = text_open(gguf, err)) != NULL;
    ok = ok && tokenize(c, params->text, err);
    ok = ok && (c->pool = pool_create(params->threads ? params->threads : os_cpu_cores(), err));
    ok = ok && load(c, gguf, params, err);
    gguf_close(gguf);
    mem_free(path);
    return ok;
}

void cli_chunks_close(struct cli_chunks *c)
{
    model_destroy(c->model);
    pool_destroy(c->pool);
    text_close(c->text);
    text_ids_deinit(&c->ids);
    mem_free(c->rows);
    mem_free(c->pages);
    mem_free(c->logits);
}

void cli_chunks_run(struct cli_chunks *c, const text_id *tokens, size_t count, size_t first,
                    cli_chunk_fn *fn, void *arg)
{
    const struct model_seq seq = {.pages = c->pages,
                                  .page_count = (count + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS};

    for (size_t i = 0; i < seq.page_count; i++) {
        c->pages[i] = (uint32_t)i;
    }
    for (size_t at = 0; at < count; at += CALL_ROWS) {
        size_t n = size_min(CALL_ROWS, count - at), wanted = 0;
        for (size_t i = 0; i < n; i++) {
            c->rows[i] = (struct model_row){.token = tokens[at + i],
                                            .pos = (uint32_t)(at + i),
                                            .wants_logits = at + i >= first};
        }
        const struct model_batch batch = {
            .rows = c->rows, .row_count = n, .seqs = &seq, .seq_count = 1};
        model_forward(c->model, &batch, c->logits);
        for (size_t i = 0; i < n; i++) {
            if (c->rows[i].wants_logits) {
                fn(arg, at + i, c->logits + c->vocab_count * wanted++);
            }
        }
    }
}
