/* Text to ids: finds the special tokens that may be there, gives the text between them to the kind
 * of tokenizer, and adds BOS and EOS. */
#include "base/mem.h"
#include "text/vocab.h"

bool text_ids_add(struct text_ids *ids, text_id id)
{
    if (UNLIKELY(ids->count == ids->cap)) {
        const size_t cap = ids->cap < 64 ? 64 : ids->cap * 2;
        text_id *grown = mem_resize(ids->ids, cap, sizeof *grown);
        if (!grown) {
            return false;
        }
        ids->ids = grown;
        ids->cap = cap;
    }
    ids->ids[ids->count++] = id;
    return true;
}

void text_ids_deinit(struct text_ids *ids)
{
    mem_free(ids->ids);
    *ids = (struct text_ids){0};
}

bool text_run_byte(struct text_run *run, unsigned char byte)
{
    const text_id id = run->text->bytes[byte];
    if (id != TEXT_NONE) {
        return text_ids_add(run->out, id);
    }
    if (run->text->unk != TEXT_NONE) {
        return text_ids_add(run->out, run->text->unk);
    }
    /* DeepSeek's vocabulary has no tokens for the 13 bytes that UTF-8 never uses */
    static const unsigned char replacement[] = {0xEF, 0xBF, 0xBD};
    for (size_t i = 0; i < sizeof replacement; i++) {
        const text_id part = run->text->bytes[replacement[i]];
        if (part != TEXT_NONE && !text_ids_add(run->out, part)) {
            return false;
        }
    }
    return true;
}

/* Where in the text control tokens are looked for: walks the spans, joining those that touch. */
struct allowed {
    const struct text_encode_opts *opts;
    size_t next;     /* the span after the current one */
    size_t from, to; /* the current one */
};

/* End of the allowed range that holds `at`; 0 when none does. Called with ascending `at`. */
static size_t allowed_limit(struct allowed *allowed, size_t at)
{
    const struct text_encode_opts *opts = allowed->opts;
    while (at >= allowed->to && allowed->next < opts->special_span_count) {
        allowed->from = opts->special_spans[allowed->next].from;
        allowed->to = opts->special_spans[allowed->next++].to;
        while (allowed->next < opts->special_span_count &&
               opts->special_spans[allowed->next].from <= allowed->to) {
            const size_t to = opts->special_spans[allowed->next++].to;
            allowed->to = to > allowed->to ? to : allowed->to;
        }
    }
    return at >= allowed->from && at < allowed->to ? allowed->to : 0;
}

/* The next special token at or after `at`; false when there is none. */
static bool find_special(const struct text *text, struct str s, size_t at, struct allowed *allowed,
                         struct text_special_match *match)
{
    const struct text_special *special = &text->special;
    const bool nowhere = allowed->opts->special_span_count == 0 && !allowed->opts->parse_special;
    if (special->count == 0 || (nowhere && !special->has_free)) {
        return false;
    }
    for (; at < s.len; at++) {
        const unsigned byte = (unsigned char)s.ptr[at];
        if (special->first[byte] == special->first[byte + 1]) {
            continue;
        }
        const size_t limit = allowed_limit(allowed, at);
        if ((limit > 0 || special->free_first[byte]) &&
            text_special_match_at(special, s, at, limit, match)) {
            return true;
        }
    }
    return false;
}

static bool is_ascii_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool encode_all(struct text_run *run, struct str s, const struct text_encode_opts *opts,
                       struct err *err)
{
    const struct text *text = run->text;
    const text_id head = text->model->wraps    ? text->cls
                         : text_adds_bos(text) ? text->bos
                                               : TEXT_NONE;
    const text_id tail = text->model->wraps    ? text->sep
                         : text_adds_eos(text) ? text->eos
                                               : TEXT_NONE;
    const size_t start = run->out->count;
    const struct text_span whole = {0, s.len};
    struct text_encode_opts where = *opts;
    if (opts->parse_special) {
        where.special_spans = &whole;
        where.special_span_count = 1;
    }
    struct allowed allowed = {.opts = &where};
    struct text_special_match match = {0};
    size_t at = 0;
    bool found = find_special(text, s, at, &allowed, &match);
    const bool has_head = found && match.from == 0 && (text_id)match.id == head;
    if (opts->add_special && head != TEXT_NONE && !has_head && !text_ids_add(run->out, head)) {
        return err_set_memory(err, sizeof head);
    }
    for (;;) {
        const size_t to = found ? match.from : s.len;
        if (to > at && !text->model->encode(run, str_slice(s, at, to), err)) {
            return false;
        }
        if (!found) {
            break;
        }
        if (!text_ids_add(run->out, (text_id)match.id)) {
            return err_set_memory(err, sizeof match.id);
        }
        at = match.to;
        while (at < s.len && (text->flags[match.id] & TEXT_FLAG_RSTRIP) &&
               is_ascii_space(s.ptr[at])) {
            at++;
        }
        found = find_special(text, s, at, &allowed, &match);
    }
    const size_t count = run->out->count;
    const bool has_tail = count > start && run->out->ids[count - 1] == tail && match.to == s.len;
    if (opts->add_special && tail != TEXT_NONE && !has_tail && !text_ids_add(run->out, tail)) {
        return err_set_memory(err, sizeof tail);
    }
    return true;
}

bool text_encode(const struct text *text, struct str s, const struct text_encode_opts *opts,
                 struct text_ids *out, struct err *err)
{
    struct text_run run = {.text = text, .out = out};
    const size_t before = out->count;
    text_cache_init(&run.cache, s.len);
    const bool ok = encode_all(&run, s, opts, err);
    text->model->run_end(&run);
    text_cache_deinit(&run.cache);
    if (!ok) {
        out->count = before;
    }
    return ok;
}
