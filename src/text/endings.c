/* Which tokens are control tokens, and at which a generation ends.
 *
 * Files name one eos token, some an eot and an eom token; chat models end their turns with others
 * that the metadata does not name. So the names that models are known to use count as well, where
 * the token is a control token. Source: the lists of llama.cpp (llama-vocab.cpp, special_eog_ids).
 *
 * Files also get kinds wrong: "<|im_end|>" as an ordinary or user-defined token. User-defined
 * tokens are found in all text, so a user could end or forge a turn by typing one. A name in the
 * list that no text could mean otherwise (<|...|> and the like) is therefore a control token
 * whatever the file says, and so is a user-defined token that metadata names as bos, eos, eot or
 * eom. */
#include "base/mem.h"
#include "text/vocab.h"

enum {
    NAME_ENDS = 1,   /* a generation ends here */
    NAME_STRONG = 2, /* never ordinary text: its kind is corrected */
    NAME_RETURN = 4, /* <|end|> is no end in vocabularies with these two (gpt-oss, solar) */
    NAME_CALL = 8,
    NAME_NO_END = 16, /* not an end when <|return|> or <|flush|> and <|call|> are there */
    NAME_TOOL = 32,   /* </s> is no end in vocabularies with this (gemma 4) */
    NAME_NO_EOS = 64
};

static const struct {
    const char *name;
    unsigned flags;
} names[] = {
    {"<|eot_id|>", NAME_ENDS | NAME_STRONG},
    {"<|im_end|>", NAME_ENDS | NAME_STRONG},
    {"<|im_start|>", NAME_STRONG},
    {"<|start_header_id|>", NAME_STRONG},
    {"<|end_header_id|>", NAME_STRONG},
    {"<|begin_of_text|>", NAME_STRONG},
    {"<|end|>", NAME_ENDS | NAME_STRONG | NAME_NO_END},
    {"<|return|>", NAME_ENDS | NAME_STRONG | NAME_RETURN},
    {"<|flush|>", NAME_ENDS | NAME_STRONG | NAME_RETURN},
    {"<|call|>", NAME_ENDS | NAME_STRONG | NAME_CALL},
    {"<|calls|>", NAME_ENDS | NAME_STRONG | NAME_CALL},
    {"<|start|>", NAME_STRONG},
    {"<|channel|>", NAME_STRONG},
    {"<|message|>", NAME_STRONG},
    {"<|constrain|>", NAME_STRONG},
    {"<start_of_turn>", NAME_STRONG},
    {"<end_of_turn>", NAME_ENDS | NAME_STRONG},
    {"<|endoftext|>", NAME_ENDS | NAME_STRONG},
    {"<|end_of_text|>", NAME_ENDS | NAME_STRONG},
    {"<|eom_id|>", NAME_ENDS | NAME_STRONG},
    {"<end_of_utterance>", NAME_ENDS | NAME_STRONG},
    {"<｜end▁of▁sentence｜>", NAME_ENDS | NAME_STRONG},
    {"<turn|>", NAME_ENDS | NAME_STRONG},
    {"<|tool_response>", NAME_ENDS | NAME_STRONG | NAME_TOOL},
    {"<|fim_pad|>", NAME_ENDS | NAME_STRONG},
    {"<|repo_name|>", NAME_ENDS | NAME_STRONG},
    {"<|fim_repo|>", NAME_ENDS | NAME_STRONG},
    {"<|file_sep|>", NAME_ENDS | NAME_STRONG},
    {"</s>", NAME_ENDS | NAME_NO_EOS},
    {"<eos>", NAME_ENDS},
    {"<EOT>", NAME_ENDS},
    {"_<EOT>", NAME_ENDS},
    {"[EOT]", NAME_ENDS},
    {"[EOS]", NAME_ENDS},
};

#define NAME_COUNT (sizeof names / sizeof *names)

static void mark(struct text *text, text_id id)
{
    text->flags[id] |= TEXT_FLAG_END;
    if (text->kinds[id] == TEXT_USER_DEFINED) {
        text->kinds[id] = TEXT_CONTROL;
    }
}

static void mark_names(struct text *text)
{
    unsigned seen = 0;
    for (size_t i = 0; i < NAME_COUNT; i++) {
        const text_id id = text_find(text, str_of(names[i].name));
        if (id == TEXT_NONE) {
            continue;
        }
        if (names[i].flags & NAME_STRONG) {
            text->kinds[id] = TEXT_CONTROL;
        }
        if (text->kinds[id] == TEXT_CONTROL) {
            seen |= names[i].flags;
        }
    }
    const bool has_return = (seen & NAME_RETURN) && (seen & NAME_CALL);
    for (size_t i = 0; i < NAME_COUNT; i++) {
        const text_id id = text_find(text, str_of(names[i].name));
        if (id == TEXT_NONE || text->kinds[id] != TEXT_CONTROL || !(names[i].flags & NAME_ENDS) ||
            ((names[i].flags & NAME_NO_END) && has_return) ||
            ((names[i].flags & NAME_NO_EOS) && (seen & NAME_TOOL))) {
            continue;
        }
        text->flags[id] |= TEXT_FLAG_END;
    }
}

/* A key that holds one id or a list of them. */
static bool mark_key(struct text *text, const struct gguf *gguf, const char *key, struct err *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, str_of(key));
    if (!entry) {
        return true;
    }
    if (entry->value.kind != GGUF_ARRAY) {
        text_id id = TEXT_NONE;
        if (!text_id_read(text, gguf, key, true, &id, err)) {
            return false;
        }
        mark(text, id);
        return true;
    }
    const enum gguf_kind kind = entry->value.item_kind;
    if (kind == GGUF_STRING || kind == GGUF_F32 || kind == GGUF_F64 || kind == GGUF_BOOL) {
        return err_set(err, ERR_FORMAT, "%s is not a list of integers", key);
    }
    for (uint64_t i = 0; i < entry->value.count; i++) {
        const int64_t id = gguf_item_i64(&entry->value, i);
        if (id < 0 || (uint64_t)id >= text->count) {
            return err_set(err, ERR_FORMAT, "%s: item %llu is %lld, but the ids are 0 to %zu", key,
                           (unsigned long long)i, (long long)id, text->count - 1);
        }
        mark(text, (text_id)id);
    }
    return true;
}

/* Phi-3's special tokens take the white space behind them; the file format cannot say so. */
static void mark_rstrip(struct text *text, const struct gguf *gguf)
{
    struct str name = {0};
    if (!gguf_get_str(gguf, STR("general.name"), &name, NULL, NULL)) {
        return;
    }
    bool is_phi3 = false;
    for (size_t i = 0; i < name.len; i++) {
        is_phi3 = is_phi3 || str_eq_nocase(str_slice(name, i, i + 5), STR("phi-3")) ||
                  str_eq_nocase(str_slice(name, i, i + 4), STR("phi3"));
    }
    if (!is_phi3) {
        return;
    }
    for (size_t id = 0; id < text->count; id++) {
        if (text->kinds[id] == TEXT_CONTROL || text->kinds[id] == TEXT_USER_DEFINED) {
            text->flags[id] |= TEXT_FLAG_RSTRIP;
        }
    }
    static const char *const others[] = {"<unk>", "<s>", "<|endoftext|>"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        const text_id id = text_find(text, str_of(others[i]));
        if (id != TEXT_NONE) {
            text->flags[id] &= (uint8_t)~TEXT_FLAG_RSTRIP;
        }
    }
}

bool text_endings_mark(struct text *text, const struct gguf *gguf, struct err *err)
{
    static const char *const keys[] = {
        "tokenizer.ggml.eos_token_id",     "tokenizer.ggml.eos_token_ids",
        "tokenizer.ggml.eot_token_id",     "tokenizer.ggml.eom_token_id",
        "tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id",
        "tokenizer.ggml.fim_sep_token_id",
    };
    mark_names(text);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!mark_key(text, gguf, keys[i], err)) {
            return false;
        }
    }
    if (text->eos != TEXT_NONE) {
        mark(text, text->eos);
    }
    if (text->bos != TEXT_NONE && text->kinds[text->bos] == TEXT_USER_DEFINED) {
        text->kinds[text->bos] = TEXT_CONTROL;
    }
    mark_rstrip(text, gguf);
    return true;
}
