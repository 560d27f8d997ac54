/* Loading a vocabulary. Everything is copied out of the metadata, so that the file may be closed.
 *
 * Order: model kind -> token texts, kinds, scores -> special ids and flags -> control names and end
 * tokens (endings.c) -> pieces -> the kind's own tables -> the finder of special tokens. */
#include "text/text.h"

#include <math.h>
#include <stdio.h>

#include "base/mem.h"
#include "text/vocab.h"

static const struct text_model *const models[] = {
    &text_model_bpe, &text_model_spm, &text_model_merged, &text_model_unigram, &text_model_wpm};

#define MODEL_COUNT (sizeof models / sizeof *models)

static const struct gguf_value *find_array(const struct gguf *gguf, const char *key,
                                           enum gguf_kind item_kind, bool *ok, struct err *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, str_of(key));
    if (!entry) {
        return NULL;
    }
    const struct gguf_value *value = &entry->value;
    const bool is_number = item_kind != GGUF_STRING && value->item_kind != GGUF_STRING;
    if (value->kind != GGUF_ARRAY || (value->item_kind != item_kind && !is_number)) {
        *ok = err_set(err, ERR_FORMAT, "%s is not a list of %s", key,
                      item_kind == GGUF_STRING ? "strings" : "numbers");
        return NULL;
    }
    return value;
}

/* A list beside the tokens must be as long as they are. */
static bool check_count(const struct text *text, const char *key, const struct gguf_value *value,
                        struct err *err)
{
    return value->count == text->count ||
           err_set(err, ERR_FORMAT, "%s has %llu items, but there are %zu tokens", key,
                   (unsigned long long)value->count, text->count);
}

static bool is_float(enum gguf_kind kind)
{
    return kind == GGUF_F32 || kind == GGUF_F64;
}

static bool load_tokens(struct text *text, const struct gguf *gguf, struct err *err)
{
    bool ok = true;
    const struct gguf_value *tokens =
        find_array(gguf, "tokenizer.ggml.tokens", GGUF_STRING, &ok, err);
    if (!ok) {
        return false;
    }
    if (!tokens || tokens->count == 0) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.tokens is %s",
                       tokens ? "empty" : "missing");
    }
    if (tokens->count > TEXT_COUNT_MAX) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.tokens has %llu items, more than %d",
                       (unsigned long long)tokens->count, TEXT_COUNT_MAX);
    }
    text->count = (size_t)tokens->count;
    size_t bytes = 0;
    for (size_t i = 0; i < text->count; i++) {
        bytes += tokens->texts[i].len;
    }
    if (!text_strings_init(&text->raw, text->count, bytes, err) ||
        !text_table_init(&text->by_raw, &text->raw, text->count, err)) {
        return false;
    }
    for (size_t i = 0; i < text->count; i++) {
        const struct str token = tokens->texts[i];
        if (token.len > 0) {
            memcpy(text_strings_next(&text->raw, i), token.ptr, token.len);
        }
        text_strings_end(&text->raw, i, token.len);
        const int64_t before = token.len > 0 ? text_table_add(&text->by_raw, (uint32_t)i) : -1;
        char quote[STR_QUOTE_MAX];
        if (before >= 0) {
            return err_set(err, ERR_FORMAT,
                           "tokenizer.ggml.tokens: items %lld and %zu are the same, \"%s\"",
                           (long long)before, i, str_quote(quote, token));
        }
    }
    return true;
}

static bool load_kinds(struct text *text, const struct gguf *gguf, struct err *err)
{
    static const char key[] = "tokenizer.ggml.token_type";
    text->kinds = MEM_ARRAY(uint8_t, text->count);
    text->flags = MEM_ARRAY(uint8_t, text->count);
    if (!text->kinds || !text->flags) {
        return err_set_memory(err, 2 * (unsigned long long)text->count);
    }
    memset(text->kinds, TEXT_NORMAL, text->count);
    bool ok = true;
    const struct gguf_value *kinds = find_array(gguf, key, GGUF_I32, &ok, err);
    if (!kinds) {
        return ok;
    }
    if (is_float(kinds->item_kind)) {
        return err_set(err, ERR_FORMAT, "%s is not a list of integers", key);
    }
    if (!check_count(text, key, kinds, err)) {
        return false;
    }
    for (size_t i = 0; i < text->count; i++) {
        const int64_t kind = gguf_item_i64(kinds, i);
        if (kind < 0 || kind > TEXT_BYTE) {
            return err_set(err, ERR_FORMAT, "%s: item %zu is %lld, which is no kind of token", key,
                           i, (long long)kind);
        }
        text->kinds[i] = kind == 0 ? TEXT_NORMAL : (uint8_t)kind; /* 0: "undefined" */
    }
    return true;
}

static bool load_scores(struct text *text, const struct gguf *gguf, struct err *err)
{
    static const char key[] = "tokenizer.ggml.scores";
    bool ok = true;
    const struct gguf_value *scores = find_array(gguf, key, GGUF_F32, &ok, err);
    if (!scores) {
        return ok;
    }
    if (!check_count(text, key, scores, err)) {
        return false;
    }
    text->scores = MEM_ARRAY(float, text->count);
    if (!text->scores) {
        return err_set_memory(err, 4 * (unsigned long long)text->count);
    }
    for (size_t i = 0; i < text->count; i++) {
        text->scores[i] = is_float(scores->item_kind) ? (float)gguf_item_f64(scores, i)
                                                      : (float)gguf_item_i64(scores, i);
        if (isnan(text->scores[i])) {
            return err_set(err, ERR_FORMAT, "%s: item %zu is not a number", key, i);
        }
    }
    return true;
}

bool text_id_read(const struct text *text, const struct gguf *gguf, const char *key, bool needed,
                  text_id *out, struct err *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, str_of(key));
    if (!entry) {
        return true;
    }
    uint64_t id = UINT64_MAX;
    switch (entry->value.kind) {
    case GGUF_U8:
    case GGUF_U16:
    case GGUF_U32:
    case GGUF_U64:
        id = entry->value.u64;
        break;
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        id = (uint64_t)entry->value.i64; /* negative: beyond every vocabulary */
        break;
    default:
        return err_set(err, ERR_FORMAT, "%s is not an integer", key);
    }
    if (id < text->count) {
        *out = (text_id)id;
    } else if (needed) {
        return err_set(err, ERR_FORMAT, "%s is %lld, but the ids are 0 to %zu", key, (long long)id,
                       text->count - 1);
    }
    return true;
}

static bool load_settings(struct text *text, const struct gguf *gguf, struct err *err)
{
    text->bos = text->eos = text->unk = text->sep = text->cls = TEXT_NONE;
    text->model->defaults(text, gguf);
    return text_id_read(text, gguf, "tokenizer.ggml.bos_token_id", true, &text->bos, err) &&
           text_id_read(text, gguf, "tokenizer.ggml.eos_token_id", true, &text->eos, err) &&
           text_id_read(text, gguf, "tokenizer.ggml.unknown_token_id", true, &text->unk, err) &&
           text_id_read(text, gguf, "tokenizer.ggml.seperator_token_id", false, &text->sep, err) &&
           text_id_read(text, gguf, "tokenizer.ggml.cls_token_id", false, &text->cls, err) &&
           gguf_get_bool(gguf, STR("tokenizer.ggml.add_bos_token"), &text->add_bos, NULL, err) &&
           gguf_get_bool(gguf, STR("tokenizer.ggml.add_eos_token"), &text->add_eos, NULL, err) &&
           gguf_get_bool(gguf, STR("tokenizer.ggml.add_sep_token"), &text->add_sep, NULL, err) &&
           gguf_get_bool(gguf, STR("tokenizer.ggml.add_space_prefix"), &text->add_space_prefix,
                         NULL, err) &&
           gguf_get_bool(gguf, STR("tokenizer.ggml.remove_extra_whitespaces"),
                         &text->remove_extra_spaces, NULL, err);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int text_byte_parse(struct str raw)
{
    if (raw.len != 6 || !str_starts(raw, STR("<0x")) || raw.ptr[5] != '>') {
        return -1;
    }
    const int high = hex_digit(raw.ptr[3]), low = hex_digit(raw.ptr[4]);
    return high < 0 || low < 0 ? -1 : 16 * high + low;
}

/* Pieces, and the byte tokens on the way. */
static bool load_pieces(struct text *text, struct err *err)
{
    if (!text_strings_init(&text->pieces, text->count, text->raw.offsets[text->count], err)) {
        return false;
    }
    for (size_t i = 0; i < 256; i++) {
        text->bytes[i] = TEXT_NONE;
    }
    for (size_t i = 0; i < text->count; i++) {
        const struct str raw = text_strings_get(&text->raw, i);
        char *out = text_strings_next(&text->pieces, i);
        size_t len = raw.len;
        if (text->kinds[i] == TEXT_BYTE) {
            const int byte = text_byte_parse(raw);
            char quote[STR_QUOTE_MAX];
            if (byte < 0) {
                return err_set(err, ERR_FORMAT,
                               "tokenizer.ggml.tokens: item %zu is a byte token, but \"%s\" is "
                               "not of the form <0x41>",
                               i, str_quote(quote, raw));
            }
            *out = (char)byte;
            len = 1;
            text->bytes[byte] = (text_id)i;
        } else if (text->kinds[i] == TEXT_NORMAL) {
            len = text->model->spell(raw, out);
        } else if (len > 0) {
            memcpy(out, raw.ptr, len);
        }
        text_strings_end(&text->pieces, i, len);
    }
    return true;
}

static const struct text_model *find_model(const struct gguf *gguf, struct err *err)
{
    struct str name = {0};
    bool found;
    if (!gguf_get_str(gguf, STR("tokenizer.ggml.model"), &name, &found, err)) {
        return NULL;
    }
    if (!found) {
        err_set(err, ERR_FORMAT, "tokenizer.ggml.model is missing: the file has no tokenizer");
        return NULL;
    }
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        if (str_eq(name, str_of(models[i]->name))) {
            return models[i];
        }
    }
    struct buf known = {0};
    for (size_t i = 0; i < MODEL_COUNT; i++) {
        buf_add_format(&known, "%s%s (%s)", i > 0 ? ", " : "", models[i]->name, models[i]->what);
    }
    char quote[STR_QUOTE_MAX];
    err_set(err, ERR_ARCH, "tokenizer model \"%s\" is not supported; supported are: %s",
            str_quote(quote, name), known.ptr ? known.ptr : "");
    buf_deinit(&known);
    return NULL;
}

static bool load(struct text *text, const struct gguf *gguf, struct err *err)
{
    text->model = find_model(gguf, err);
    if (!text->model) {
        return false;
    }
    snprintf(text->name, sizeof text->name, "%s", text->model->name);
    return load_tokens(text, gguf, err) && load_kinds(text, gguf, err) &&
           load_scores(text, gguf, err) && load_settings(text, gguf, err) &&
           text_endings_mark(text, gguf, err) && load_pieces(text, err) &&
           text->model->open(text, gguf, err) &&
           text_special_init(&text->special, &text->raw, text->kinds, err);
}

struct text *text_open(const struct gguf *gguf, struct err *err)
{
    struct text *text = MEM_NEW(struct text);
    if (!text) {
        err_set_memory(err, sizeof *text);
        return NULL;
    }
    if (load(text, gguf, err)) {
        return text;
    }
    err_wrap(err, "tokenizer");
    text_close(text);
    return NULL;
}

void text_close(struct text *text)
{
    if (!text) {
        return;
    }
    if (text->model) {
        text->model->close(text->state);
    }
    text_special_deinit(&text->special);
    text_table_deinit(&text->by_raw);
    text_strings_deinit(&text->raw);
    text_strings_deinit(&text->pieces);
    mem_free(text->kinds);
    mem_free(text->flags);
    mem_free(text->scores);
    mem_free(text);
}

/* ---- facts ---- */

static bool is_id(const struct text *text, text_id id)
{
    return id >= 0 && (size_t)id < text->count;
}

size_t text_vocab_count(const struct text *text)
{
    return text->count;
}

enum text_kind text_kind_of(const struct text *text, text_id id)
{
    return is_id(text, id) ? (enum text_kind)text->kinds[id] : TEXT_UNUSED;
}

text_id text_find(const struct text *text, struct str raw)
{
    return raw.len > 0 ? (text_id)text_table_find(&text->by_raw, raw.ptr, raw.len) : TEXT_NONE;
}

text_id text_bos(const struct text *text)
{
    return text->bos;
}

text_id text_eos(const struct text *text)
{
    return text->eos;
}

bool text_adds_bos(const struct text *text)
{
    return text->add_bos && text->bos != TEXT_NONE;
}

bool text_adds_eos(const struct text *text)
{
    return text->add_eos && text->eos != TEXT_NONE;
}

bool text_is_end(const struct text *text, text_id id)
{
    return is_id(text, id) && (text->flags[id] & TEXT_FLAG_END);
}

const char *text_name(const struct text *text)
{
    return text->name;
}

struct str text_raw(const struct text *text, text_id id)
{
    return is_id(text, id) ? text_strings_get(&text->raw, (size_t)id) : (struct str){0};
}

struct str text_piece(const struct text *text, text_id id, bool special)
{
    if (!is_id(text, id)) {
        return (struct str){0};
    }
    const uint8_t kind = text->kinds[id];
    const bool hidden = kind == TEXT_CONTROL || kind == TEXT_UNKNOWN || kind == TEXT_UNUSED;
    return hidden && !special ? (struct str){0} : text_strings_get(&text->pieces, (size_t)id);
}
