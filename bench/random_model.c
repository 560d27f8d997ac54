/* Writes a GGUF model of real shape with random weights: for speed, memory and start-up, where the
 * values do not matter but every byte must be a valid block of its type.
 *
 *     random_model SHAPE TYPE OUT [SEED]
 *     random_model llama-1b Q4_K_M /tmp/1b.gguf
 *
 * Shapes: see the table. Types: a type of hearth, or Q4_K_M / Q5_K_M for the customary mixes (Q6_K
 * for half of the value and down matrices and for the head). The vocabulary is one byte token for
 * each byte and padding, so that any text can be tokenized and any engine loads the file. Quantised
 * blocks are random bits under scales chosen so that a weight has the standard deviation
 * 1 / sqrt(columns), as a trained matrix has. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "gguf/writer.h"
#include "tensor/codec.h"

static const struct shape {
    const char *name, *architecture;
    uint32_t layers, embed, ffn, heads, kv_heads, vocab, ctx;
    double rope_base;
    bool is_tied, has_qkv_bias;
    bool is_encoder; /* norms behind the sums, everything with biases, no output matrix */
} shapes[] = {
    {"qwen2-0.5b", "qwen2", 24, 896, 4864, 14, 2, 151936, 32768, 1e6, true, true, false},
    {"llama-1b", "llama", 16, 2048, 8192, 32, 8, 32000, 131072, 5e5, true, false, false},
    {"llama-3b", "llama", 28, 3072, 8192, 24, 8, 128256, 131072, 5e5, true, false, false},
    {"mistral-7b", "llama", 32, 4096, 14336, 32, 8, 32000, 32768, 1e4, false, false, false},
    {"tiny", "llama", 2, 256, 512, 4, 2, 512, 2048, 1e4, true, false, false},
    {"minilm-22m", "bert", 6, 384, 1536, 12, 12, 30522, 512, 0, true, true, true},
    {"nomic-137m", "nomic-bert", 12, 768, 3072, 12, 12, 30528, 2048, 1e3, true, false, true},
};

struct maker {
    const struct shape *shape;
    struct gguf_writer *writer;
    enum dtype type;
    bool is_mix;
    uint64_t seed;
    struct err err;
};

static uint64_t next_random(struct maker *m)
{
    m->seed ^= m->seed << 13; /* xorshift64, Marsaglia 2003 */
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return m->seed;
}

static void fill_random(struct maker *m, uint8_t *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t r = next_random(m);
        memcpy(out + i, &r, bytes - i < 8 ? bytes - i : 8);
    }
}

static void put_f16(uint8_t *out, double value)
{
    uint16_t bits = codec_f32_to_f16((float)value);
    out[0] = (uint8_t)bits;
    out[1] = (uint8_t)(bits >> 8);
}

/* ---- rows ---- */

/* Scale and min of the eight parts: 6-bit numbers with the top bit of the scale set, the min just
 * below it, so that weights are spread around zero. Bytes 0-7 hold two bits of the later four. */
static void put_scales(struct maker *m, uint8_t *out, unsigned levels)
{
    unsigned scale[8], low[8];
    uint64_t r = next_random(m);
    for (int i = 0; i < 8; i++) {
        scale[i] = 32 + (unsigned)(r >> (5 * i) & 31);
        low[i] = scale[i] * (levels - 1) / levels;
    }
    for (int i = 0; i < 4; i++) {
        out[i] = (uint8_t)(scale[i] | scale[i + 4] >> 4 << 6);
        out[i + 4] = (uint8_t)(low[i] | low[i + 4] >> 4 << 6);
        out[i + 8] = (uint8_t)((scale[i + 4] & 15) | (low[i + 4] & 15) << 4);
    }
}

/* One block whose weights have the standard deviation `spread`. `block` holds random bits. */
static void finish_block(struct maker *m, enum dtype type, uint8_t *block, double spread)
{
    const double uniform =
        0.2887; /* standard deviation of a uniform number per unit of its range */
    switch (type) {
    case DTYPE_Q8_0:
        put_f16(block, spread / (256 * uniform));
        break;
    case DTYPE_Q4_0:
        put_f16(block, spread / (16 * uniform));
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K: {
        unsigned levels = type == DTYPE_Q4_K ? 16 : 32;
        double d = spread / (levels * uniform * 47.5); /* mean scale 47.5 */
        put_f16(block, d);
        put_f16(block + 2, d * levels / 2);
        put_scales(m, block + 4, levels);
        break;
    }
    case DTYPE_Q6_K:
        put_f16(block + 208, spread / (64 * uniform * 74)); /* RMS of int8 */
        break;
    default:
        break;
    }
}

static bool is_made(enum dtype type)
{
    static const enum dtype types[] = {DTYPE_F32,  DTYPE_F16,  DTYPE_BF16, DTYPE_Q8_0,
                                       DTYPE_Q4_0, DTYPE_Q4_K, DTYPE_Q5_K, DTYPE_Q6_K};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (types[i] == type) {
            return true;
        }
    }
    return false;
}

static void fill_row(struct maker *m, enum dtype type, uint8_t *row, size_t cols, double spread)
{
    const struct dtype_info *info = dtype_info(type);
    size_t bytes = dtype_row_bytes(type, cols);
    if (type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16) {
        for (size_t i = 0; i < cols; i++) {
            float x = (float)(((double)(next_random(m) >> 11) / 9007199254740992.0 - 0.5) * spread *
                              3.4641);
            codec_encode_row(type, &x, row + i * info->block_bytes, 1);
        }
        return;
    }
    fill_random(m, row, bytes);
    for (size_t i = 0; i < bytes; i += info->block_bytes) {
        finish_block(m, type, row + i, spread);
    }
}

/* ---- tensors ---- */

struct tensor {
    char name[64];
    enum dtype type;
    uint64_t cols, rows; /* rows 0: a vector */
};

/* The customary mixes keep the tensors that matter most at six bits. */
static enum dtype type_of(const struct maker *m, const char *part, uint32_t layer)
{
    bool is_mixed = strcmp(part, "attn_v") == 0 || strcmp(part, "ffn_down") == 0;
    uint32_t layers = m->shape->layers;
    bool is_better = layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
    return m->is_mix && is_mixed && is_better ? DTYPE_Q6_K : m->type;
}

static void add(struct tensor *list, size_t *count, const char *name, enum dtype type,
                uint64_t cols, uint64_t rows)
{
    struct tensor *t = &list[(*count)++];
    snprintf(t->name, sizeof t->name, "%s", name);
    t->type = cols % dtype_info(type)->block_len == 0 ? type : DTYPE_Q8_0;
    t->cols = cols;
    t->rows = rows;
}

static void add_norm(const struct maker *m, struct tensor *list, size_t *count, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    add(list, count, full, DTYPE_F32, m->shape->embed, 0);
    snprintf(full, sizeof full, "%s.bias", name);
    add(list, count, full, DTYPE_F32, m->shape->embed, 0);
}

/* BERT has positions and biases, Nomic's has a gate. */
static size_t list_encoder(const struct maker *m, struct tensor *list)
{
    const struct shape *s = m->shape;
    const bool is_bert = strcmp(s->architecture, "bert") == 0;
    const struct {
        const char *part;
        uint64_t cols, rows;
    } parts[] = {{"attn_qkv", s->embed, 3ull * s->embed},
                 {"attn_output", s->embed, s->embed},
                 {"ffn_up", s->embed, s->ffn},
                 {"ffn_down", s->ffn, s->embed},
                 {"ffn_gate", s->embed, s->ffn}};
    size_t count = 0;
    add(list, &count, "token_embd.weight", m->type, s->embed, s->vocab);
    add(list, &count, "token_types.weight", DTYPE_F32, s->embed, 2);
    if (is_bert) {
        add(list, &count, "position_embd.weight", DTYPE_F32, s->embed, s->ctx);
    }
    add_norm(m, list, &count, "token_embd_norm");
    for (uint32_t i = 0; i < s->layers; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_output_norm", i);
        add_norm(m, list, &count, name);
        snprintf(name, sizeof name, "blk.%u.layer_output_norm", i);
        add_norm(m, list, &count, name);
        for (size_t p = 0; p < (is_bert ? 4 : 5); p++) {
            snprintf(name, sizeof name, "blk.%u.%s.weight", i, parts[p].part);
            add(list, &count, name, m->type, parts[p].cols, parts[p].rows);
            if (is_bert) {
                snprintf(name, sizeof name, "blk.%u.%s.bias", i, parts[p].part);
                add(list, &count, name, DTYPE_F32, parts[p].rows, 0);
            }
        }
    }
    return count;
}

static size_t list_tensors(const struct maker *m, struct tensor *list)
{
    const struct shape *s = m->shape;
    uint64_t kv = (uint64_t)s->embed / s->heads * s->kv_heads;
    const struct {
        const char *part;
        uint64_t cols, rows;
    } parts[] = {{"attn_q", s->embed, s->embed}, {"attn_k", s->embed, kv},
                 {"attn_v", s->embed, kv},       {"attn_output", s->embed, s->embed},
                 {"ffn_gate", s->embed, s->ffn}, {"ffn_up", s->embed, s->ffn},
                 {"ffn_down", s->ffn, s->embed}};
    if (s->is_encoder) {
        return list_encoder(m, list);
    }
    size_t count = 0;
    enum dtype head = m->is_mix ? DTYPE_Q6_K : m->type;
    add(list, &count, "token_embd.weight", s->is_tied ? head : m->type, s->embed, s->vocab);
    if (!s->is_tied) {
        add(list, &count, "output.weight", head, s->embed, s->vocab);
    }
    add(list, &count, "output_norm.weight", DTYPE_F32, s->embed, 0);
    for (uint32_t i = 0; i < s->layers; i++) {
        char name[64];
        snprintf(name, sizeof name, "blk.%u.attn_norm.weight", i);
        add(list, &count, name, DTYPE_F32, s->embed, 0);
        snprintf(name, sizeof name, "blk.%u.ffn_norm.weight", i);
        add(list, &count, name, DTYPE_F32, s->embed, 0);
        for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
            snprintf(name, sizeof name, "blk.%u.%s.weight", i, parts[p].part);
            add(list, &count, name, type_of(m, parts[p].part, i), parts[p].cols, parts[p].rows);
            if (s->has_qkv_bias && p < 3) {
                snprintf(name, sizeof name, "blk.%u.%s.bias", i, parts[p].part);
                add(list, &count, name, DTYPE_F32, parts[p].rows, 0);
            }
        }
    }
    return count;
}

static bool write_tensor(struct maker *m, const struct tensor *t, uint8_t *row)
{
    size_t bytes = dtype_row_bytes(t->type, t->cols);
    if (t->rows == 0) {
        bool is_norm = strstr(t->name, "norm") != NULL;
        for (size_t i = 0; i < t->cols; i++) {
            ((float *)(void *)row)[i] = is_norm ? 1.0f : 0.1f;
        }
        return gguf_writer_data(m->writer, row, bytes, &m->err);
    }
    bool is_embed = strcmp(t->name, "token_embd.weight") == 0 && !m->shape->is_tied;
    double spread = is_embed ? 1 : 1 / sqrt((double)t->cols);
    for (uint64_t r = 0; r < t->rows; r++) {
        fill_row(m, t->type, row, t->cols, spread);
        if (!gguf_writer_data(m->writer, row, bytes, &m->err)) {
            return false;
        }
    }
    return true;
}

/* ---- metadata ---- */

static bool set_u32(struct maker *m, const char *name, uint32_t value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->shape->architecture, name);
    return gguf_writer_set_u32(m->writer, str_of(key), value, &m->err);
}

static bool set_f32(struct maker *m, const char *name, double value)
{
    char key[96];
    snprintf(key, sizeof key, "%s.%s", m->shape->architecture, name);
    return gguf_writer_set_f32(m->writer, str_of(key), (float)value, &m->err);
}

/* A SentencePiece vocabulary of <unk> <s> </s>, 256 bytes, a space and padding. */
static bool set_tokenizer(struct maker *m)
{
    enum { UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6, NORMAL = 1, NAME = 16 };
    uint32_t count = m->shape->vocab;
    char(*names)[NAME] = mem_alloc(count, NAME);
    struct str *texts = MEM_ARRAY(struct str, count);
    int32_t *kinds = MEM_ARRAY(int32_t, count);
    float *scores = MEM_ARRAY(float, count);
    bool ok = names && texts && kinds && scores;
    for (uint32_t i = 0; ok && i < count; i++) {
        static const char *const first[] = {"<unk>", "<s>", "</s>"};
        if (i < 3) {
            snprintf(names[i], NAME, "%s", first[i]);
        } else if (i < 259) {
            snprintf(names[i], NAME, "<0x%02X>", i - 3);
        } else if (i == 259) {
            snprintf(names[i], NAME, "\xe2\x96\x81");
        } else {
            snprintf(names[i], NAME, "[pad%u]", i);
        }
        kinds[i] = i == 0 ? UNKNOWN : i < 3 ? CONTROL : i < 259 ? BYTE : i == 259 ? NORMAL : UNUSED;
        scores[i] = -(float)i;
        texts[i] = str_of(names[i]);
    }
    const struct gguf_value tokens = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_STRING, .count = count, .texts = texts};
    const struct gguf_value types = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_I32, .count = count, .items = kinds};
    const struct gguf_value ranks = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_F32, .count = count, .items = scores};
    ok = ok && gguf_writer_set_str(m->writer, STR("tokenizer.ggml.model"), STR("llama"), &m->err) &&
         gguf_writer_set(m->writer, STR("tokenizer.ggml.tokens"), &tokens, &m->err) &&
         gguf_writer_set(m->writer, STR("tokenizer.ggml.scores"), &ranks, &m->err) &&
         gguf_writer_set(m->writer, STR("tokenizer.ggml.token_type"), &types, &m->err) &&
         gguf_writer_set_u32(m->writer, STR("tokenizer.ggml.bos_token_id"), 1, &m->err) &&
         gguf_writer_set_u32(m->writer, STR("tokenizer.ggml.eos_token_id"), 2, &m->err) &&
         gguf_writer_set_u32(m->writer, STR("tokenizer.ggml.unknown_token_id"), 0, &m->err);
    mem_free(names);
    mem_free(texts);
    mem_free(kinds);
    mem_free(scores);
    return ok;
}

static bool set_metadata(struct maker *m)
{
    const struct shape *s = m->shape;
    return gguf_writer_set_str(m->writer, STR("general.architecture"), str_of(s->architecture),
                               &m->err) &&
           gguf_writer_set_str(m->writer, STR("general.name"), str_of(s->name), &m->err) &&
           set_u32(m, "block_count", s->layers) && set_u32(m, "context_length", s->ctx) &&
           set_u32(m, "embedding_length", s->embed) && set_u32(m, "feed_forward_length", s->ffn) &&
           set_u32(m, "attention.head_count", s->heads) &&
           set_u32(m, "attention.head_count_kv", s->kv_heads) &&
           set_u32(m, "rope.dimension_count", s->embed / s->heads) &&
           set_u32(m, "vocab_size", s->vocab) &&
           (s->rope_base <= 0 || set_f32(m, "rope.freq_base", s->rope_base)) &&
           set_f32(m,
                   s->is_encoder ? "attention.layer_norm_epsilon"
                                 : "attention.layer_norm_rms_epsilon",
                   1e-5) &&
           (!s->is_encoder || set_u32(m, "pooling_type", 1)) &&
           gguf_writer_set_u32(m->writer, STR("tokenizer.ggml.token_type_count"), 2, &m->err) &&
           set_tokenizer(m);
}

static bool make(struct maker *m, const char *path)
{
    struct tensor *list = MEM_ARRAY(struct tensor, (size_t)m->shape->layers * 14 + 8);
    uint8_t *row = mem_alloc(1 << 20, 1);
    size_t count = list ? list_tensors(m, list) : 0;
    bool ok = list && row && (m->writer = gguf_writer_create(&m->err)) && set_metadata(m);
    for (size_t i = 0; i < count && ok; i++) {
        const uint64_t dims[] = {list[i].cols, list[i].rows};
        ok = gguf_writer_add(m->writer, str_of(list[i].name), list[i].type, list[i].rows ? 2 : 1,
                             dims, &m->err);
    }
    ok = ok && gguf_writer_begin(m->writer, path, &m->err);
    for (size_t i = 0; i < count && ok; i++) {
        ok = write_tensor(m, &list[i], row);
    }
    ok = ok && gguf_writer_commit(m->writer, &m->err);
    gguf_writer_destroy(m->writer);
    mem_free(list);
    mem_free(row);
    return ok;
}

static int fail_usage(void)
{
    fprintf(stderr, "usage: random_model SHAPE TYPE OUT [SEED]\nshapes:");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        fprintf(stderr, " %s", shapes[i].name);
    }
    fprintf(stderr, "\ntypes: F32 F16 BF16 Q8_0 Q4_0 Q4_K Q5_K Q6_K Q4_K_M Q5_K_M\n");
    return 2;
}

int main(int argc, char **argv)
{
    struct maker m = {.seed = 88172645463325252u};
    if (argc < 4 || argc > 5) {
        return fail_usage();
    }
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        m.shape = strcmp(argv[1], shapes[i].name) == 0 ? &shapes[i] : m.shape;
    }
    struct str type = str_of(argv[2]);
    m.is_mix = str_ends(type, STR("_K_M"));
    type.len -= m.is_mix ? 2 : 0;
    const struct dtype_info *info = dtype_find_name(type);
    uint64_t seed = 0;
    if (!m.shape || !info || !is_made(info->type) ||
        (argc == 5 && !str_to_u64(str_of(argv[4]), &seed))) {
        return fail_usage();
    }
    m.type = info->type;
    m.seed += seed * 0x9e3779b97f4a7c15u;
    m.seed += m.seed == 0;
    if (!make(&m, argv[3])) {
        fprintf(stderr, "random_model: %s\n", m.err.code ? m.err.text : "out of memory");
        return 1;
    }
    return 0;
}
