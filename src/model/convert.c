#include "model/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/size.h"
#include "model/convert_work.h"
#include "tensor/codec.h"

enum { CONFIG_BYTES_MAX = 16 << 20, TOKENIZER_BYTES_MAX = 256 << 20, NAME_MAX_BYTES = 96 };

static const struct convert_family families[] = {
    {"LlamaForCausalLM", "llama", true, false, false},
    {"MistralForCausalLM", "llama", true, false, false},
    {"MixtralForCausalLM", "llama", true, false, false},
    {"Qwen2ForCausalLM", "qwen2", false, false, false},
    {"Qwen3ForCausalLM", "qwen3", false, false, false},
    {"Phi3ForCausalLM", "phi3", false, false, false},
    {"GemmaForCausalLM", "gemma", false, true, false},
    {"Gemma2ForCausalLM", "gemma2", false, true, true},
};

const char *model_convert_family(size_t i)
{
    return i < sizeof families / sizeof families[0] ? families[i].hf : NULL;
}

/* ---- names ---- */

struct name_pair {
    const char *hf, *gguf;
};

static const struct name_pair outer_names[] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"lm_head.weight", "output.weight"},
};

/* Behind "model.layers.N." and "blk.N.". */
static const struct name_pair layer_names[] = {
    {"input_layernorm.weight", "attn_norm.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"self_attn.qkv_proj.weight", "attn_qkv.weight"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight"},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate_up_proj.weight", "ffn_up.weight"},
    {"block_sparse_moe.gate.weight", "ffn_gate_inp.weight"},
    {"block_sparse_moe.experts.0.w1.weight", "ffn_gate_exps.weight"},
    {"block_sparse_moe.experts.0.w2.weight", "ffn_down_exps.weight"},
    {"block_sparse_moe.experts.0.w3.weight", "ffn_up_exps.weight"},
};

/* Where a tensor of the checkpoint goes. */
struct target {
    char name[NAME_MAX_BYTES];
    bool is_skipped; /* not needed, or told by another: the experts from 1 on */
    bool is_stacked; /* experts */
    uint32_t layer;
    uint32_t permute_heads; /* 0: none */
    bool adds_one;
};

static const char *find_name(const struct name_pair *pairs, size_t count, struct str name)
{
    for (size_t i = 0; i < count; i++) {
        if (str_eq(name, str_of(pairs[i].hf))) {
            return pairs[i].gguf;
        }
    }
    return NULL;
}

static bool is_later_expert(struct str name)
{
    const struct str prefix = STR("block_sparse_moe.experts.");
    return str_starts(name, prefix) && name.len > prefix.len && name.ptr[prefix.len] != '0';
}

static bool fail_name(struct str name, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    return err_set(err, ERR_UNSUPPORTED, "tensor \"%s\" is none that this family has",
                   str_quote(quoted, name));
}

static bool find_target(const struct converter *c, struct str name, struct target *t,
                        struct err *err)
{
    const struct str layers = STR("model.layers.");
    const char *found = find_name(outer_names, sizeof outer_names / sizeof *outer_names, name);
    uint64_t layer;

    *t = (struct target){0};
    if (found) {
        snprintf(t->name, sizeof t->name, "%s", found);
        t->adds_one = c->family->adds_one && strcmp(found, "output_norm.weight") == 0;
        return true;
    }
    size_t dot = str_starts(name, layers) ? str_find(name, STR("."), layers.len) : SIZE_MAX;
    if (dot == SIZE_MAX ||
        !str_to_u64((struct str){name.ptr + layers.len, dot - layers.len}, &layer) ||
        layer > 65535) {
        return fail_name(name, err);
    }
    struct str rest = {name.ptr + dot + 1, name.len - dot - 1};
    t->layer = (uint32_t)layer;
    t->is_skipped = str_eq(rest, STR("self_attn.rotary_emb.inv_freq")) || is_later_expert(rest);
    if (t->is_skipped) {
        return true;
    }
    found = find_name(layer_names, sizeof layer_names / sizeof *layer_names, rest);
    if (str_eq(rest, STR("post_attention_layernorm.weight"))) {
        found = c->family->has_post_norms ? "post_attention_norm.weight" : "ffn_norm.weight";
    }
    if (!found) {
        return fail_name(name, err);
    }
    snprintf(t->name, sizeof t->name, "blk.%u.%s", t->layer, found);
    t->is_stacked = strstr(found, "_exps.") != NULL;
    t->adds_one = c->family->adds_one && strstr(found, "norm.weight") != NULL;
    if (c->family->permutes) {
        bool is_q = strncmp(found, "attn_q.", 7) == 0, is_k = strncmp(found, "attn_k.", 7) == 0;
        t->permute_heads = is_q ? c->head_count : is_k ? c->kv_head_count : 0;
    }
    return true;
}

/* ---- the tensors ---- */

/* Shape and type in the GGUF file. A vector that is permuted is a matrix of one column here. */
struct shape {
    uint64_t cols, rows;
    enum dtype type;
};

static bool shape_of(const struct converter *c, const struct gguf_safetensor *s,
                     const struct target *t, struct shape *shape, struct err *err)
{
    bool is_vector = s->dim_count < 2;

    if (s->dim_count < 1 || s->dim_count > 2 || !codec_can_decode(s->type)) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_UNSUPPORTED,
                       "tensor \"%s\": %u dimensions of %s cannot be converted",
                       str_quote(quoted, s->name), s->dim_count, dtype_info(s->type)->name);
    }
    shape->cols = s->dims[s->dim_count - 1];
    shape->rows = is_vector ? 1 : s->dims[0];
    shape->type = is_vector ? DTYPE_F32 : c->how->has_type ? c->how->type : s->type;
    if (t->permute_heads != 0 && is_vector) {
        shape->rows = shape->cols;
        shape->cols = 1;
    }
    if (t->permute_heads != 0 && shape->rows % (2 * (uint64_t)t->permute_heads) != 0) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_FORMAT, "tensor \"%s\": %" PRIu64 " rows are not %u heads",
                       str_quote(quoted, s->name), shape->rows, t->permute_heads);
    }
    return true;
}

static bool declare(struct converter *c, const struct gguf_safetensor *s, const struct target *t,
                    struct err *err)
{
    struct shape shape = {0};
    uint64_t dims[3];

    if (!shape_of(c, s, t, &shape, err)) {
        return false;
    }
    bool is_vector = s->dim_count == 1;
    dims[0] = is_vector ? s->dims[0] : shape.cols;
    dims[1] = shape.rows;
    dims[2] = c->expert_count;
    return gguf_writer_add(c->writer, str_of(t->name), shape.type,
                           is_vector       ? 1
                           : t->is_stacked ? 3
                                           : 2,
                           dims, err);
}

/* The row of the checkpoint that becomes row r. The checkpoint has in each head first the first of
 * all rotated pairs, then the second ones; a GGUF file of this family has pair by pair. */
static uint64_t source_row(uint64_t r, uint64_t rows, uint32_t heads)
{
    uint64_t dim = heads == 0 ? rows : rows / heads, in_head = r % dim;
    return heads == 0 ? r : r - in_head + in_head / 2 + in_head % 2 * (dim / 2);
}

static bool write_rows(struct converter *c, const struct gguf_safetensor *s, const struct target *t,
                       const struct shape *shape, const unsigned char *bytes, struct err *err)
{
    size_t cols = (size_t)shape->cols, size = dtype_info(s->type)->block_bytes;
    size_t out_bytes = cols * dtype_info(shape->type)->block_bytes;
    float *row = MEM_ARRAY(float, cols);
    unsigned char *out = mem_alloc(out_bytes, 1);
    bool ok = (row && out) || err_set_memory(err, out_bytes);

    for (uint64_t r = 0; ok && r < shape->rows; r++) {
        const unsigned char *in =
            bytes + source_row(r, shape->rows, t->permute_heads) * cols * size;
        if (s->type == shape->type && !t->adds_one) {
            ok = gguf_writer_data(c->writer, in, out_bytes, err);
            continue;
        }
        codec_decode_row(s->type, in, row, cols);
        for (size_t i = 0; t->adds_one && i < cols; i++) {
            row[i] += 1;
        }
        codec_encode_row(shape->type, row, out, cols);
        ok = gguf_writer_data(c->writer, out, out_bytes, err);
    }
    mem_free(row);
    mem_free(out);
    return ok;
}

static bool write_one(struct converter *c, const struct gguf_safetensor *s, const struct target *t,
                      const struct shape *want, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct shape shape = {0};
    struct os_map map;

    if (!shape_of(c, s, t, &shape, err)) {
        return false;
    }
    if (shape.cols != want->cols || shape.rows != want->rows || shape.type != want->type) {
        return err_set(err, ERR_FORMAT,
                       "tensor \"%s\" differs in shape or type from the first expert",
                       str_quote(quoted, s->name));
    }
    if (s->bytes == 0) {
        return true;
    }
    if (s->bytes > SIZE_MAX ||
        !os_map_open(&map, &c->tensors.files[s->file], s->offset, (size_t)s->bytes, err)) {
        return false;
    }
    bool ok = write_rows(c, s, t, &shape, map.ptr, err);
    if (os_map_is_lost(&map)) {
        ok = err_set(err, ERR_IO, "tensor \"%s\": the file was changed while it was read",
                     str_quote(quoted, s->name));
    }
    os_map_close(&map);
    return ok;
}

static bool write_experts(struct converter *c, const struct gguf_safetensor *first,
                          const struct target *t, const struct shape *shape, struct err *err)
{
    struct str name = first->name;
    size_t at = str_find(name, STR("experts.0."), 0);

    for (uint32_t e = 0; e < c->expert_count; e++) {
        char text[256];
        int n = snprintf(text, sizeof text, "%.*sexperts.%u.%.*s", (int)at, name.ptr, e,
                         (int)(name.len - at - 10), name.ptr + at + 10);
        const struct gguf_safetensor *s =
            n < (int)sizeof text ? gguf_safetensors_find(&c->tensors, str_of(text)) : NULL;
        if (!s) {
            return err_set(err, ERR_FORMAT, "expert %u of layer %u is missing", e, t->layer);
        }
        if (!write_one(c, s, t, shape, err)) {
            return false;
        }
    }
    return true;
}

/* Calls declare or write for each tensor. */
static bool each_tensor(struct converter *c, bool is_writing, size_t *count, struct err *err)
{
    uint64_t done = 0, all = 0;

    for (size_t i = 0; i < c->tensors.tensor_count; i++) {
        all += c->tensors.tensors[i].bytes;
    }
    *count = 0;
    for (size_t i = 0; i < c->tensors.tensor_count; i++) {
        const struct gguf_safetensor *s = &c->tensors.tensors[i];
        struct target t;
        struct shape shape = {0};
        done += s->bytes;
        if (!find_target(c, s->name, &t, err)) {
            return false;
        }
        if (t.is_skipped) {
            continue;
        }
        (*count)++;
        if (!is_writing) {
            if (!declare(c, s, &t, err)) {
                return false;
            }
            continue;
        }
        if (c->how->is_cancelled && c->how->is_cancelled(c->how->arg)) {
            return err_set(err, ERR_CANCELLED, "interrupted; nothing was written");
        }
        bool ok =
            shape_of(c, s, &t, &shape, err) && (t.is_stacked ? write_experts(c, s, &t, &shape, err)
                                                             : write_one(c, s, &t, &shape, err));
        if (!ok) {
            return false;
        }
        if (c->how->progress) {
            c->how->progress(c->how->arg, done, all);
        }
    }
    return true;
}

/* ---- the whole ---- */

char *model_convert_read(const struct converter *c, const char *name, size_t *len, struct err *err)
{
    struct buf path = {0};
    char *bytes = NULL;

    buf_add_text(&path, c->how->folder);
    buf_add_char(&path, '/');
    buf_add_text(&path, name);
    buf_add_char(&path, 0);
    if (!path.failed && os_path_exists(path.ptr)) {
        bytes = os_file_slurp(path.ptr, TOKENIZER_BYTES_MAX, len, err);
    }
    buf_deinit(&path);
    return bytes;
}

static bool find_family(struct converter *c, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct str name = json_str(json_array_get(json_object_get(c->config, "architectures"), 0));

    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (str_eq(name, str_of(families[i].hf))) {
            c->family = &families[i];
        }
    }
    return c->family ||
           err_set(err, ERR_ARCH,
                   "config.json: architecture \"%s\" cannot be converted (hearth convert --help "
                   "lists those that can)",
                   str_quote(quoted, name));
}

static bool read_config(struct converter *c, struct err *err)
{
    size_t len = 0;
    char *bytes = model_convert_read(c, "config.json", &len, err);
    bool ok = bytes || err->code != ERR_NONE || err_set(err, ERR_FORMAT, "there is no config.json");

    c->config =
        bytes && len <= CONFIG_BYTES_MAX ? json_parse((struct str){bytes, len}, NULL, err) : NULL;
    mem_free(bytes);
    ok = ok && c->config;
    return ok && find_family(c, err);
}

static bool convert(struct converter *c, struct model_convert_result *result, struct err *err)
{
    return read_config(c, err) && gguf_safetensors_open(&c->tensors, c->how->folder, err) &&
           (c->writer = gguf_writer_create(err)) && model_convert_metadata(c, err) &&
           model_convert_tokenizer(c, err) && each_tensor(c, false, &result->tensors, err) &&
           gguf_writer_begin(c->writer, c->how->out, err) &&
           each_tensor(c, true, &result->tensors, err) && gguf_writer_commit(c->writer, err);
}

bool model_convert(const struct model_convert *how, struct model_convert_result *result,
                   struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct converter c = {.how = how};

    *result = (struct model_convert_result){0};
    bool ok =
        convert(&c, result, err) || err_wrap(err, "%s", str_quote(quoted, str_of(how->folder)));
    for (size_t i = 0; i < c.tensors.tensor_count; i++) {
        result->bytes += c.tensors.tensors[i].bytes;
    }
    gguf_writer_destroy(c.writer);
    gguf_safetensors_close(&c.tensors);
    json_decref(c.config);
    return ok;
}
