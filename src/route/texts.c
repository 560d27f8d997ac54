#include "route/texts.h"

#include <stdio.h>

#include "base/mem.h"

/* ---- names ---- */

/* A model is of a row when its name or architecture has the word in it. The first row that fits. */
struct prompts {
    const char *word, *not_word;
    struct {
        const char *name, *prefix;
    } items[8];
};

#define BGE_QUERY "Represent this sentence for searching relevant passages: "
#define QWEN_QUERY                                                                                 \
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"

static const struct prompts known[] = {
    {"hearth-nano-embed", NULL, {{"query", ""}, {"document", ""}}},
    {"nomic",
     NULL,
     {{"query", "search_query: "},
      {"document", "search_document: "},
      {"classification", "classification: "},
      {"clustering", "clustering: "}}},
    {"gemma-embedding",
     NULL,
     {{"query", "task: search result | query: "},
      {"document", "title: none | text: "},
      {"classification", "task: classification | query: "},
      {"clustering", "task: clustering | query: "},
      {"similarity", "task: sentence similarity | query: "},
      {"code", "task: code retrieval | query: "}}},
    {"e5", "instruct", {{"query", "query: "}, {"document", "passage: "}}},
    {"arctic-embed", "v2", {{"query", BGE_QUERY}, {"document", ""}}},
    {"arctic-embed", NULL, {{"query", "query: "}, {"document", ""}}},
    {"mxbai-embed", NULL, {{"query", BGE_QUERY}, {"document", ""}}},
    {"bge", "m3", {{"query", BGE_QUERY}, {"document", ""}}},
    {"qwen3-embedding", NULL, {{"query", QWEN_QUERY}, {"document", ""}}},
    {"minilm", NULL, {{"query", ""}, {"document", ""}}},
    {"gte", "qwen", {{"query", ""}, {"document", ""}}},
    {"jina-embeddings-v2", NULL, {{"query", ""}, {"document", ""}}},
};

/* The names of Cohere, Voyage, NVIDIA, Gemini and sentence-transformers for the same thing. */
static const char *const aliases[][2] = {
    {"search_query", "query"},       {"retrieval_query", "query"},
    {"search_document", "document"}, {"retrieval_document", "document"},
    {"passage", "document"},         {"semantic_similarity", "similarity"},
    {"sts", "similarity"},           {"code_retrieval_query", "code"},
};

/* "Nomic Embed Text v1.5" has "nomic": case, spaces and underscores do not count. */
static bool has_word(struct str name, const char *word)
{
    size_t len = strlen(word);
    for (size_t at = 0; at + len <= name.len; at++) {
        size_t i = 0;
        for (; i < len; i++) {
            char c = name.ptr[at + i];
            c = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c == ' ' || c == '_' ? '-' : c;
            if (c != word[i]) {
                break;
            }
        }
        if (i == len) {
            return true;
        }
    }
    return false;
}

static struct str meta_text(const struct gguf *gguf, const char *key)
{
    struct str value = {0};
    struct err ignored;
    gguf_get_str(gguf, str_of(key), &value, NULL, &ignored);
    return value;
}

static bool is_called(const struct gguf *gguf, const char *word)
{
    return has_word(meta_text(gguf, "general.architecture"), word) ||
           has_word(meta_text(gguf, "general.name"), word) ||
           has_word(meta_text(gguf, "general.basename"), word);
}

static const struct prompts *find_known(const struct gguf *gguf)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (is_called(gguf, known[i].word) &&
            !(known[i].not_word && is_called(gguf, known[i].not_word))) {
            return &known[i];
        }
    }
    return NULL;
}

/* ---- prefixes ---- */

/* Calls for the names of the file's own prefixes: "ARCH.prompt.NAME". */
static bool find_own(const struct gguf *gguf, struct str name, struct str *prefix, struct buf *list)
{
    struct buf start = {0};
    bool found = false;
    buf_add(&start, meta_text(gguf, "general.architecture"));
    buf_add_text(&start, ".prompt.");
    for (size_t i = 0; i < gguf->entry_count && !start.failed; i++) {
        struct str key = gguf->entries[i].key;
        if (gguf->entries[i].value.kind != GGUF_STRING || !str_eat(&key, buf_view(&start))) {
            continue;
        }
        if (str_eq(key, name)) {
            *prefix = gguf->entries[i].value.text;
            found = true;
        }
        char quoted[STR_QUOTE_MAX];
        buf_add_format(list, "%s%s", list->len ? ", " : "", str_quote(quoted, key));
    }
    buf_deinit(&start);
    return found;
}

static bool find_listed(const struct prompts *prompts, struct str name, struct str *prefix,
                        struct buf *list)
{
    for (size_t i = 0;
         prompts && i < sizeof prompts->items / sizeof prompts->items[0] && prompts->items[i].name;
         i++) {
        if (str_eq(str_of(prompts->items[i].name), name)) {
            *prefix = str_of(prompts->items[i].prefix);
            return true;
        }
        buf_add_format(list, "%s%s", list->len ? ", " : "", prompts->items[i].name);
    }
    return false;
}

bool route_prompt_find(const struct route_local *local, struct str name, struct str *prefix,
                       struct err *err)
{
    const struct gguf *gguf = route_local_gguf(local);
    const struct prompts *prompts = find_known(gguf);
    struct buf list = {.limit = 512};
    struct str other = name;
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        if (str_eq_nocase(name, str_of(aliases[i][0]))) {
            other = str_of(aliases[i][1]);
        }
    }
    bool found = find_own(gguf, name, prefix, &list);
    if (!found) {
        buf_clear(&list);
        found = find_own(gguf, other, prefix, &list) || find_listed(prompts, other, prefix, &list);
    }
    if (!found) {
        char quoted[STR_QUOTE_MAX];
        err_set(err, ERR_INVALID, "the model has no prompt for '%s' (it has: %s)",
                str_quote(quoted, name), list.len ? list.ptr : "none");
    }
    buf_deinit(&list);
    return found;
}

/* ---- texts ---- */

bool route_text_encode(const struct route_local *local, struct str prefix, struct str text,
                       struct text_ids *out, struct err *err)
{
    const struct text_encode_opts opts = {.add_special = true};
    if (prefix.len == 0) {
        return text_encode(route_local_text(local), text, &opts, out, err);
    }
    struct buf whole = {0};
    buf_add(&whole, prefix);
    buf_add(&whole, text);
    bool ok = whole.failed
                  ? err_set_memory(err, prefix.len + text.len)
                  : text_encode(route_local_text(local), buf_view(&whole), &opts, out, err);
    buf_deinit(&whole);
    return ok;
}

/* ---- pairs ---- */

/* Of the card of Qwen3-Reranker; files that llama.cpp's converter made bring it along. */
static const char qwen_rerank[] =
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    "the Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n"
    "<|im_start|>user\n<Instruct>: Given a web search query, retrieve relevant passages that "
    "answer the query\n<Query>: {query}\n<Document>: {document}<|im_end|>\n"
    "<|im_start|>assistant\n<think>\n\n</think>\n\n";

static const char rerank_key[] = "tokenizer.chat_template.rerank";

static bool is_word_ranker(const struct gguf *gguf)
{
    struct str architecture = meta_text(gguf, "general.architecture");
    return str_starts(architecture, STR("qwen3")) &&
           (meta_text(gguf, rerank_key).len > 0 || is_called(gguf, "reranker"));
}

bool route_ranks_by_words(const struct gguf *gguf, const struct text *text, int32_t tokens[2])
{
    if (!is_word_ranker(gguf) || gguf_find_tensor(gguf, STR("cls.output.weight"))) {
        return false;
    }
    tokens[0] = text_find(text, STR("yes"));
    tokens[1] = text_find(text, STR("no"));
    return tokens[0] != TEXT_NONE && tokens[1] != TEXT_NONE;
}

/* The template around the two texts; only what the template wrote may be special tokens. */
static bool encode_template(const struct route_local *local, struct str template, struct str query,
                            struct str document, struct text_ids *out, struct err *err)
{
    static const struct str names[] = {{"{query}", 7}, {"{document}", 10}};
    const struct str values[] = {query, document};
    struct text_span spans[16];
    size_t count = 0, written = 0;
    struct buf whole = {0};
    for (size_t at = 0; at < template.len;) {
        size_t which = 2;
        for (size_t i = 0; i < 2; i++) {
            which = str_starts(str_slice(template, at, template.len), names[i]) ? i : which;
        }
        if (which == 2) {
            buf_add_char(&whole, template.ptr[at++]);
            continue;
        }
        if (count + 1 == sizeof spans / sizeof *spans) {
            buf_deinit(&whole);
            return err_set(err, ERR_FORMAT, "%s names the texts too often", rerank_key);
        }
        spans[count++] = (struct text_span){written, whole.len};
        buf_add(&whole, values[which]);
        written = whole.len;
        at += names[which].len;
    }
    spans[count++] = (struct text_span){written, whole.len};
    const struct text_encode_opts opts = {.special_spans = spans, .special_span_count = count};
    bool ok = whole.failed
                  ? err_set_memory(err, whole.len)
                  : text_encode(route_local_text(local), buf_view(&whole), &opts, out, err);
    buf_deinit(&whole);
    return ok;
}

bool route_pair_encode(const struct route_local *local, struct str query, struct str document,
                       struct text_ids *out, size_t *second_at, struct err *err)
{
    const struct gguf *gguf = route_local_gguf(local);
    struct str template = meta_text(gguf, rerank_key);
    *second_at = 0;
    if (template.len == 0 && is_word_ranker(gguf)) {
        template = str_of(qwen_rerank);
    }
    if (template.len > 0) {
        return encode_template(local, template, query, document, out, err);
    }
    return text_encode_pair(route_local_text(local), query, document, out, second_at, err);
}
