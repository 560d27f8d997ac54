#include "cli/logits_file.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

enum { HEAD_BYTES = 20 };

static uint32_t load_u32(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void store_u32(unsigned char *p, uint32_t x)
{
    for (int i = 0; i < 4; i++) {
        p[i] = (unsigned char)(x >> (8 * i));
    }
}

/* u16 of one distribution. */
static size_t row_units(const struct logits_file *f)
{
    return 4 + ((size_t)f->vocab + 1) / 2 * 2;
}

static bool fail_file(const char *what, struct err *err)
{
    return err_set(err, ERR_IO, "%s the file of logits: %s", what, strerror(errno));
}

static bool make_row(struct logits_file *f, struct err *err)
{
    f->row = mem_alloc(row_units(f), sizeof *f->row);
    return f->row || err_set_memory(err, row_units(f) * sizeof *f->row);
}

/* ---- writing ---- */

bool cli_logits_create(struct logits_file *f, const char *path, uint32_t ctx, uint32_t vocab,
                       uint32_t chunks, const text_id *tokens, struct err *err)
{
    unsigned char head[HEAD_BYTES] = "_logits_", id[4];

    *f = (struct logits_file){.ctx = ctx, .vocab = vocab, .chunks = chunks};
    if (!make_row(f, err)) {
        return false;
    }
    if (!(f->file = fopen(path, "wb"))) {
        return fail_file("cannot create", err);
    }
    store_u32(head + 8, ctx);
    store_u32(head + 12, vocab);
    store_u32(head + 16, chunks);
    bool ok = fwrite(head, sizeof head, 1, f->file) == 1;
    for (size_t i = 0; ok && i < (size_t)ctx * chunks; i++) {
        store_u32(id, (uint32_t)tokens[i]);
        ok = fwrite(id, sizeof id, 1, f->file) == 1;
    }
    return ok || fail_file("cannot write", err);
}

bool cli_logits_put(struct logits_file *f, const float *logits, struct err *err)
{
    float most = logits[0], least = logits[0];
    double sum = 0;

    for (size_t i = 0; i < f->vocab; i++) {
        most = logits[i] > most ? logits[i] : most;
        least = logits[i] < least ? logits[i] : least;
    }
    least = least > most - 16 ? least : most - 16;
    for (size_t i = 0; i < f->vocab; i++) {
        sum += exp((double)logits[i] - most);
    }
    float scale = (most - least) / 65535, low = least - most - (float)log(sum);
    memset(f->row, 0, row_units(f) * sizeof *f->row);
    memcpy(f->row, &scale, 4);
    memcpy(f->row + 2, &low, 4);
    for (size_t i = 0; scale > 0 && i < f->vocab; i++) {
        float q = logits[i] > least ? rintf((logits[i] - least) / scale) : 0;
        f->row[4 + i] = (uint16_t)(q < 65535 ? q : 65535);
    }
    return fwrite(f->row, sizeof *f->row, row_units(f), f->file) == row_units(f) ||
           fail_file("cannot write", err);
}

/* ---- reading ---- */

bool cli_logits_parse(struct logits_file *f, const unsigned char head[HEAD_BYTES],
                      uint64_t file_bytes, struct err *err)
{
    uint64_t row, rows, tokens, need;

    if (memcmp(head, "_logits_", 8) != 0) {
        return err_set(err, ERR_FORMAT,
                       "not a file of logits: it does not begin with \"_logits_\"");
    }
    f->ctx = load_u32(head + 8);
    f->vocab = load_u32(head + 12);
    f->chunks = load_u32(head + 16);
    if (f->ctx < 4 || f->ctx > LOGITS_CTX_MAX || f->vocab < 1 || f->vocab > LOGITS_VOCAB_MAX ||
        f->chunks < 1 || f->chunks > INT32_MAX) {
        return err_set(
            err, ERR_FORMAT,
            "file of logits: %u chunks of %u tokens of a vocabulary of %u is out of range",
            f->chunks, f->ctx, f->vocab);
    }
    row = row_units(f) * sizeof *f->row;
    if (!size_mul_u64(f->chunks, f->ctx - 1 - f->ctx / 2, &rows) ||
        !size_mul_u64(f->chunks, f->ctx * (uint64_t)4, &tokens) ||
        !size_mul_u64(rows, row, &need) || !size_add_u64(need, tokens, &need) ||
        !size_add_u64(need, HEAD_BYTES, &need) || need > file_bytes) {
        return err_set(err, ERR_FORMAT,
                       "file of logits: %u chunks of %u tokens do not fit the file's %llu bytes",
                       f->chunks, f->ctx, (unsigned long long)file_bytes);
    }
    return true;
}

static bool read_tokens(struct logits_file *f, struct err *err)
{
    size_t count = (size_t)f->ctx * f->chunks;
    unsigned char id[4];

    f->tokens = MEM_ARRAY(text_id, count);
    if (!f->tokens) {
        return err_set_memory(err, count * sizeof *f->tokens);
    }
    for (size_t i = 0; i < count; i++) {
        if (fread(id, sizeof id, 1, f->file) != 1) {
            return err_set(err, ERR_FORMAT, "file of logits: it ends in its tokens");
        }
        f->tokens[i] = (text_id)load_u32(id);
        if (load_u32(id) >= f->vocab) {
            return err_set(err, ERR_FORMAT, "file of logits: token %zu, %u, is none of %u", i,
                           load_u32(id), f->vocab);
        }
    }
    return true;
}

bool cli_logits_open(struct logits_file *f, const char *path, struct err *err)
{
    unsigned char head[HEAD_BYTES];
    char quoted[STR_QUOTE_MAX];
    struct os_file file;

    *f = (struct logits_file){0};
    if (!os_file_open(&file, path, err)) {
        return false;
    }
    uint64_t bytes = file.size;
    os_file_close(&file);
    bool ok = (f->file = fopen(path, "rb")) != NULL || fail_file("cannot open", err);
    if (ok && fread(head, sizeof head, 1, f->file) != 1) {
        ok = err_set(err, ERR_FORMAT, "file of logits: it ends in its head");
    }
    ok = ok && cli_logits_parse(f, head, bytes, err) && make_row(f, err) && read_tokens(f, err);
    return ok || err_wrap(err, "%s", str_quote(quoted, str_of(path)));
}

bool cli_logits_get(struct logits_file *f, float *out, struct err *err)
{
    float scale, low;

    if (fread(f->row, sizeof *f->row, row_units(f), f->file) != row_units(f)) {
        return err_set(err, ERR_FORMAT, "file of logits: it ends early");
    }
    memcpy(&scale, f->row, 4);
    memcpy(&low, f->row + 2, 4);
    if (!isfinite(scale) || !isfinite(low)) {
        return err_set(err, ERR_FORMAT, "file of logits: a scale is no number");
    }
    for (size_t i = 0; i < f->vocab; i++) {
        out[i] = low + scale * f->row[4 + i];
    }
    return true;
}

bool cli_logits_close(struct logits_file *f, struct err *err)
{
    bool ok = !f->file || fclose(f->file) == 0;

    mem_free(f->tokens);
    mem_free(f->row);
    *f = (struct logits_file){0};
    return ok || fail_file("cannot write", err);
}
