/* The tokenizer of a checkpoint as GGUF metadata: tokenizer.json of byte-level BPE, or a
 * SentencePiece file with the tokens that were added to it. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "gguf/pieces.h"
#include "model/convert_work.h"

enum { TOKENS_MAX = 1 << 22, KIND_NORMAL = 1, KIND_CONTROL = 3, KIND_USER = 4, KIND_UNUSED = 5 };

struct vocab {
    struct str *tokens; /* [count], owned array; texts borrowed from the files */
    int32_t *kinds;
    float *scores;
    size_t count;
    struct buf fill; /* texts of the tokens that no file names */
};

static bool fail(const char *what, struct err *err)
{
    return err_set(err, ERR_FORMAT, "tokenizer.json: %s", what);
}

static bool init_vocab(struct vocab *v, size_t count, struct err *err)
{
    *v = (struct vocab){.count = count};
    if (count == 0 || count > TOKENS_MAX) {
        return err_set(err, ERR_FORMAT, "config.json: vocab_size %zu is out of range", count);
    }
    v->tokens = MEM_ARRAY(struct str, count);
    v->kinds = MEM_ARRAY(int32_t, count);
    v->scores = MEM_ARRAY(float, count);
    return (v->tokens && v->kinds && v->scores) || err_set_memory(err, count * 24);
}

static void deinit_vocab(struct vocab *v)
{
    mem_free(v->tokens);
    mem_free(v->kinds);
    mem_free(v->scores);
    buf_deinit(&v->fill);
}

static bool set_token(struct vocab *v, const json_t *id, struct str text, int32_t kind,
                      struct err *err)
{
    char quoted[STR_QUOTE_MAX];

    if (!json_is_integer(id) || json_integer_value(id) < 0 ||
        (uint64_t)json_integer_value(id) >= v->count) {
        return err_set(err, ERR_FORMAT, "tokenizer: the id of \"%s\" is none of %zu tokens",
                       str_quote(quoted, text), v->count);
    }
    size_t at = (size_t)json_integer_value(id);
    v->tokens[at] = text;
    v->kinds[at] = kind;
    return true;
}

static bool add_added(struct vocab *v, const json_t *list, struct err *err)
{
    size_t i;
    json_t *item;

    json_array_foreach((json_t *)(uintptr_t)list, i, item)
    {
        bool is_special = json_is_true(json_object_get(item, "special"));
        if (!set_token(v, json_object_get(item, "id"), json_str(json_object_get(item, "content")),
                       is_special ? KIND_CONTROL : KIND_USER, err)) {
            return false;
        }
    }
    return true;
}

/* Rows of the embedding that stand for nothing get names of their own. */
static bool fill_holes(struct vocab *v, struct err *err)
{
    size_t at = 0, need = 0;

    for (size_t i = 0; i < v->count; i++) {
        if (v->kinds[i] == 0) {
            buf_add_format(&v->fill, "[PAD%zu]", i);
        }
    }
    if (v->fill.failed) {
        return err_set_memory(err, v->fill.len);
    }
    for (size_t i = 0; i < v->count; i++) {
        if (v->kinds[i] != 0) {
            continue;
        }
        need = (size_t)snprintf(NULL, 0, "[PAD%zu]", i);
        v->tokens[i] = (struct str){v->fill.ptr + at, need};
        v->kinds[i] = KIND_UNUSED;
        v->scores[i] = -10000;
        at += need;
    }
    return true;
}

static bool put_vocab(struct converter *c, const struct vocab *v, bool has_scores, struct err *err)
{
    const struct gguf_value tokens = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_STRING, .count = v->count, .texts = v->tokens};
    const struct gguf_value kinds = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_I32, .count = v->count, .items = v->kinds};
    const struct gguf_value scores = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_F32, .count = v->count, .items = v->scores};

    return gguf_writer_set(c->writer, STR("tokenizer.ggml.tokens"), &tokens, err) &&
           gguf_writer_set(c->writer, STR("tokenizer.ggml.token_type"), &kinds, err) &&
           (!has_scores || gguf_writer_set(c->writer, STR("tokenizer.ggml.scores"), &scores, err));
}

/* ---- byte-level BPE ---- */

/* The pre-tokenizers whose pattern is known to the letter. */
static const struct {
    const char *pattern, *name;
} patterns[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "llama-bpe"},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
     "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "qwen2"},
    {"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|"
     "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|"
     "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
     "tekken"},
};

/* The first pattern to split by, and whether ByteLevel splits by its own. */
static void look_at(const json_t *pre, struct str *pattern, bool *is_plain)
{
    const json_t *list = json_object_get(pre, "pretokenizers");
    struct str type = json_str(json_object_get(pre, "type"));
    size_t i;
    json_t *item;

    json_array_foreach((json_t *)(uintptr_t)list, i, item)
    {
        look_at(item, pattern, is_plain);
    }
    if (str_eq(type, STR("Split")) && pattern->len == 0) {
        *pattern = json_str(json_object_get(json_object_get(pre, "pattern"), "Regex"));
    } else if (str_eq(type, STR("ByteLevel"))) {
        *is_plain = !json_is_false(json_object_get(pre, "use_regex"));
    }
}

static const char *find_pre(const struct converter *c, const json_t *root, struct err *err)
{
    struct str pattern = {0};
    bool is_plain = false;
    char quoted[STR_QUOTE_MAX];

    if (c->how->pre) {
        return c->how->pre;
    }
    look_at(json_object_get(root, "pre_tokenizer"), &pattern, &is_plain);
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        if (str_eq(pattern, str_of(patterns[i].pattern))) {
            return patterns[i].name;
        }
    }
    if (pattern.len == 0 && is_plain) {
        return "gpt-2";
    }
    err_set(
        err, ERR_UNSUPPORTED,
        "tokenizer.json: the pre-tokenizer's pattern \"%s\" is not known; --pre NAME says which "
        "it is",
        str_quote(quoted, pattern));
    return NULL;
}

/* "a b" and, in newer files, ["a", "b"]. */
static bool put_merges(struct converter *c, const json_t *list, struct err *err)
{
    size_t count = json_array_size(list), i, at = 0;
    struct str *merges = MEM_ARRAY(struct str, count + 1);
    struct buf text = {0};
    json_t *item;
    bool ok = merges != NULL;

    json_array_foreach((json_t *)(uintptr_t)list, i, item)
    {
        struct str a = json_str(item);
        size_t before = text.len;
        if (json_array_size(item) == 2) {
            buf_add(&text, json_str(json_array_get(item, 0)));
            buf_add_char(&text, ' ');
            buf_add(&text, json_str(json_array_get(item, 1)));
        } else {
            buf_add(&text, a);
        }
        ok = ok && text.len > before;
        if (merges) {
            merges[i].len = text.len - before;
        }
    }
    for (i = 0; ok && !text.failed && i < count; i++) {
        merges[i].ptr = text.ptr + at;
        at += merges[i].len;
    }
    const struct gguf_value value = {
        .kind = GGUF_ARRAY, .item_kind = GGUF_STRING, .count = count, .texts = merges};
    ok = ok && !text.failed ? gguf_writer_set(c->writer, STR("tokenizer.ggml.merges"), &value, err)
                            : fail("a merge that is none", err);
    buf_deinit(&text);
    mem_free(merges);
    return ok;
}

static bool put_bpe(struct converter *c, const json_t *root, struct vocab *v, struct err *err)
{
    const json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const char *pre = find_pre(c, root, err), *key;
    json_t *id;

    if (!pre) {
        return false;
    }
    if (!str_eq(json_str(json_object_get(model, "type")), STR("BPE")) || !json_is_object(vocab)) {
        return fail("a model that is not BPE, and there is no tokenizer.model", err);
    }
    if (json_is_true(json_object_get(model, "byte_fallback"))) {
        return fail("SentencePiece; its tokenizer.model is needed", err);
    }
    json_object_foreach((json_t *)(uintptr_t)vocab, key, id)
    {
        struct str text = {key, json_object_iter_key_len(json_object_key_to_iter(key))};
        if (!set_token(v, id, text, KIND_NORMAL, err)) {
            return false;
        }
    }
    return add_added(v, json_object_get(root, "added_tokens"), err) && fill_holes(v, err) &&
           gguf_writer_set_str(c->writer, STR("tokenizer.ggml.model"), STR("gpt2"), err) &&
           gguf_writer_set_str(c->writer, STR("tokenizer.ggml.pre"), str_of(pre), err) &&
           put_vocab(c, v, false, err) && put_merges(c, json_object_get(model, "merges"), err);
}

/* ---- SentencePiece ---- */

static bool put_pieces(struct converter *c, const json_t *root, struct str bytes, struct vocab *v,
                       struct err *err)
{
    struct gguf_pieces pieces;

    if (!gguf_pieces_parse(&pieces, bytes, err)) {
        return false;
    }
    bool ok =
        !pieces.is_unigram ||
        err_set(err, ERR_UNSUPPORTED, "tokenizer.model: it is unigram; only BPE can be converted");
    if (ok && pieces.count > v->count) {
        ok = err_set(err, ERR_FORMAT, "tokenizer.model: %zu pieces for a vocabulary of %zu",
                     pieces.count, v->count);
    }
    for (size_t i = 0; ok && i < pieces.count; i++) {
        v->tokens[i] = pieces.items[i].text;
        v->kinds[i] = (int32_t)pieces.items[i].type;
        v->scores[i] = pieces.items[i].score;
    }
    gguf_pieces_deinit(&pieces);
    return ok && add_added(v, json_object_get(root, "added_tokens"), err) && fill_holes(v, err) &&
           gguf_writer_set_str(c->writer, STR("tokenizer.ggml.model"), STR("llama"), err) &&
           gguf_writer_set_str(c->writer, STR("tokenizer.ggml.pre"), STR("default"), err) &&
           put_vocab(c, v, true, err);
}

/* ---- what stands beside ---- */

static bool put_id(struct converter *c, const char *name, const char *key, struct err *err)
{
    const json_t *value = json_object_get(c->config, name);
    uint32_t id = UINT32_MAX;

    if (json_is_array(value)) { /* several ends: the first is the main one */
        value = json_array_get(value, 0);
    }
    if (json_is_integer(value) && json_integer_value(value) >= 0 &&
        json_integer_value(value) < c->vocab_count) {
        id = (uint32_t)json_integer_value(value);
    }
    return id == UINT32_MAX || gguf_writer_set_u32(c->writer, str_of(key), id, err);
}

static bool put_beside(struct converter *c, struct err *err)
{
    size_t len = 0, template_len = 0;
    char *bytes = model_convert_read(c, "tokenizer_config.json", &len, err);
    json_t *root = bytes ? json_parse((struct str){bytes, len}, NULL, err) : NULL;
    bool ok = err->code == ERR_NONE;
    char *jinja = ok ? model_convert_read(c, "chat_template.jinja", &template_len, err) : NULL;
    struct str template = jinja ? (struct str){jinja, template_len}
                                : json_str(json_object_get(root, "chat_template"));
    const json_t *adds_bos = json_object_get(root, "add_bos_token");

    ok = ok && err->code == ERR_NONE &&
         (template.len == 0 ||
          gguf_writer_set_str(c->writer, STR("tokenizer.chat_template"), template, err)) &&
         (!json_is_boolean(adds_bos) ||
          gguf_writer_set_bool(c->writer, STR("tokenizer.ggml.add_bos_token"),
                               json_is_true(adds_bos), err)) &&
         put_id(c, "bos_token_id", "tokenizer.ggml.bos_token_id", err) &&
         put_id(c, "eos_token_id", "tokenizer.ggml.eos_token_id", err) &&
         put_id(c, "pad_token_id", "tokenizer.ggml.padding_token_id", err);
    json_decref(root);
    mem_free(bytes);
    mem_free(jinja);
    return ok;
}

bool model_convert_tokenizer(struct converter *c, struct err *err)
{
    const struct json_limits limits = {.values_max = 16 << 20};
    size_t len = 0, pieces_len = 0;
    struct vocab v = {0};
    char *bytes = model_convert_read(c, "tokenizer.json", &len, err);
    json_t *root = bytes ? json_parse((struct str){bytes, len}, &limits, err) : NULL;
    char *pieces =
        err->code == ERR_NONE ? model_convert_read(c, "tokenizer.model", &pieces_len, err) : NULL;
    bool ok = err->code == ERR_NONE;

    if (ok && !root && !pieces) {
        ok = err_set(err, ERR_FORMAT, "there is neither tokenizer.json nor tokenizer.model");
    }
    ok = ok && init_vocab(&v, c->vocab_count, err) &&
         (pieces ? put_pieces(c, root, (struct str){pieces, pieces_len}, &v, err)
                 : put_bpe(c, root, &v, err)) &&
         put_beside(c, err);
    deinit_vocab(&v);
    json_decref(root);
    mem_free(bytes);
    mem_free(pieces);
    return ok;
}
