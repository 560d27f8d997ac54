/*     BOS [REPO name FILE path text ...] PREFIX text SUFFIX suffix MIDDLE begun
 *
 * The order of Bavarian et al., "Efficient Training of Language Models to Fill in the Middle"
 * (2022), prefix first; the files of a repository stand before it as Qwen2.5-Coder has them. A
 * model without tokens for files gets their texts as they are. */
#include "api/fill.h"

#include "base/json.h"

/* Names that models give these tokens, where the metadata is silent: Qwen, StarCoder, Granite,
 * CodeGemma, Code Llama, DeepSeek, GLM. */
static const char *const names[][3] = {
    {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},
    {"<fim_prefix>", "<fim_suffix>", "<fim_middle>"},
    {"<fim-prefix>", "<fim-suffix>", "<fim-middle>"},
    {"\xe2\x96\x81<PRE>", "\xe2\x96\x81<SUF>", "\xe2\x96\x81<MID>"},
    {"<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "begin\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "hole\xef\xbd\x9c>",
     "<\xef\xbd\x9c"
     "fim\xe2\x96\x81"
     "end\xef\xbd\x9c>"},
    {"<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"},
};

/* Keys of today and of earlier files. */
static const char *const keys[][2] = {
    {"tokenizer.ggml.fim_pre_token_id", "tokenizer.ggml.prefix_token_id"},
    {"tokenizer.ggml.fim_suf_token_id", "tokenizer.ggml.suffix_token_id"},
    {"tokenizer.ggml.fim_mid_token_id", "tokenizer.ggml.middle_token_id"},
    {"tokenizer.ggml.fim_rep_token_id", NULL},
    {"tokenizer.ggml.fim_sep_token_id", NULL},
};

static text_id find_key(const struct gguf *gguf, const struct text *text, size_t row)
{
    for (size_t i = 0; i < 2 && keys[row][i]; i++) {
        uint32_t id = 0;
        bool found = false;
        if (gguf_get_u32(gguf, str_of(keys[row][i]), &id, &found, NULL) && found &&
            id < text_vocab_count(text)) {
            return (text_id)id;
        }
    }
    return TEXT_NONE;
}

/* A control token of that name: an ordinary word of it is none. */
static text_id find_name(const struct text *text, const char *name)
{
    text_id id = text_find(text, str_of(name));
    return id != TEXT_NONE && text_kind_of(text, id) != TEXT_NORMAL ? id : TEXT_NONE;
}

bool api_fill_find(const struct gguf *gguf, const struct text *text, struct api_fill_tokens *out)
{
    *out = (struct api_fill_tokens){find_key(gguf, text, 0), find_key(gguf, text, 1),
                                    find_key(gguf, text, 2), find_key(gguf, text, 3),
                                    find_key(gguf, text, 4)};
    bool is_named =
        out->prefix != TEXT_NONE && out->suffix != TEXT_NONE && out->middle != TEXT_NONE;
    for (size_t i = 0; !is_named && i < sizeof names / sizeof *names; i++) {
        out->prefix = find_name(text, names[i][0]);
        out->suffix = find_name(text, names[i][1]);
        out->middle = find_name(text, names[i][2]);
        is_named = out->prefix != TEXT_NONE && out->suffix != TEXT_NONE && out->middle != TEXT_NONE;
    }
    out->repo = out->repo != TEXT_NONE ? out->repo : find_name(text, "<|repo_name|>");
    out->file = out->file != TEXT_NONE ? out->file : find_name(text, "<|file_sep|>");
    return is_named;
}

static bool add_text(const struct text *text, struct str s, struct text_ids *ids, struct err *err)
{
    const struct text_encode_opts plain = {0};
    return text_encode(text, s, &plain, ids, err);
}

static bool add_files(const struct text *text, const struct api_fill_tokens *tokens,
                      const json_t *extra, struct text_ids *ids, struct err *err)
{
    bool has_tokens = tokens->repo != TEXT_NONE && tokens->file != TEXT_NONE, ok = true;
    if (json_array_size(extra) > 0 && has_tokens) {
        ok = text_ids_add(ids, tokens->repo) && add_text(text, STR("myproject\n"), ids, err);
    }
    for (size_t i = 0; ok && i < json_array_size(extra); i++) {
        const json_t *file = json_array_get(extra, i);
        if (has_tokens) {
            ok = text_ids_add(ids, tokens->file) &&
                 add_text(text, json_str(json_object_get(file, "filename")), ids, err) &&
                 add_text(text, STR("\n"), ids, err);
        }
        ok = ok && add_text(text, json_str(json_object_get(file, "text")), ids, err);
    }
    if (ok && json_array_size(extra) > 0 && has_tokens) {
        ok = text_ids_add(ids, tokens->file) && add_text(text, STR("filename\n"), ids, err);
    }
    return ok;
}

bool api_fill_encode(const struct gguf *gguf, const struct text *text, struct gen_prompt *prompt,
                     struct err *err)
{
    struct api_fill_tokens tokens;
    struct text_ids *ids = &prompt->ids;
    if (!api_fill_find(gguf, text, &tokens)) {
        return err_set_param(err, ERR_UNSUPPORTED, "suffix",
                             "'suffix' is not supported: this model has no tokens to fill in text");
    }
    bool ok = !text_adds_bos(text) || text_ids_add(ids, text_bos(text));
    ok = ok && add_files(text, &tokens, prompt->extra, ids, err) &&
         text_ids_add(ids, tokens.prefix) && add_text(text, prompt->text, ids, err) &&
         text_ids_add(ids, tokens.suffix) && add_text(text, prompt->suffix, ids, err) &&
         text_ids_add(ids, tokens.middle) && add_text(text, prompt->begun, ids, err);
    return ok || err_set_memory(err, prompt->text.len + prompt->suffix.len);
}
