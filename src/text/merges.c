#include "text/merges.h"

#include "base/mem.h"
#include "base/os.h"

static void merge_add(struct text_merges *merges, uint32_t left, uint32_t right, uint32_t rank,
                      text_id joined)
{
    size_t at = text_merges_hash(merges, left, right) & merges->mask;
    for (; merges->slots[at].rank_1 != 0; at = (at + 1) & merges->mask) {
        if (merges->slots[at].left == left && merges->slots[at].right == right) {
            return; /* listed twice: the first counts */
        }
    }
    merges->slots[at] = (struct text_merge_slot){left, right, rank + 1, joined};
}

int64_t text_plain_find(const struct text *text, const char *bytes, size_t len)
{
    const int64_t id = text_table_find(&text->by_raw, bytes, len);
    return id >= 0 && text_kind_is_plain(text->kinds[id]) ? id : -1;
}

/* "left right": the separator is the first space behind the first byte. `joint` has room for len.
 */
static bool merge_parse(const struct text *text, struct text_merges *merges, struct str merge,
                        uint32_t rank, char *joint, struct err *err)
{
    const size_t space = str_find(merge, STR(" "), 1);
    if (merge.len < 3 || space == SIZE_MAX || space + 1 == merge.len) {
        char quote[STR_QUOTE_MAX];
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges: item %u \"%s\" is not two parts",
                       rank, str_quote(quote, merge));
    }
    const size_t right_len = merge.len - space - 1;
    const int64_t left = text_plain_find(text, merge.ptr, space);
    const int64_t right = left < 0 ? -1 : text_plain_find(text, merge.ptr + space + 1, right_len);
    if (right < 0) {
        return true;
    }
    memcpy(joint, merge.ptr, space);
    memcpy(joint + space, merge.ptr + space + 1, right_len);
    const int64_t joined = text_plain_find(text, joint, merge.len - 1);
    if (joined >= 0) {
        merge_add(merges, (uint32_t)left, (uint32_t)right, rank, (text_id)joined);
    }
    return true;
}

bool text_merges_load(struct text_merges *merges, const struct text *text, const struct gguf *gguf,
                      struct err *err)
{
    const struct gguf_entry *entry = gguf_find(gguf, STR("tokenizer.ggml.merges"));
    if (!entry) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is missing");
    }
    const struct gguf_value *value = &entry->value;
    if (value->kind != GGUF_ARRAY || value->item_kind != GGUF_STRING) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges is not a list of strings");
    }
    if (value->count > TEXT_MERGES_MAX) {
        return err_set(err, ERR_FORMAT, "tokenizer.ggml.merges has %llu items, more than %d",
                       (unsigned long long)value->count, TEXT_MERGES_MAX);
    }
    size_t slot_count = 16, longest = 1;
    while (slot_count < 2 * value->count) {
        slot_count *= 2;
    }
    for (size_t i = 0; i < value->count; i++) {
        longest = value->texts[i].len > longest ? value->texts[i].len : longest;
    }
    merges->mask = slot_count - 1;
    os_random(&merges->seed, sizeof merges->seed);
    merges->slots = MEM_ARRAY(struct text_merge_slot, slot_count);
    char *joint = mem_alloc(longest, 1);
    bool ok = merges->slots && joint;
    if (!ok) {
        err_set_memory(err, slot_count * sizeof *merges->slots + longest);
    }
    for (size_t i = 0; ok && i < value->count; i++) {
        ok = merge_parse(text, merges, value->texts[i], (uint32_t)i, joint, err);
    }
    mem_free(joint);
    return ok;
}

void text_merges_deinit(struct text_merges *merges)
{
    mem_free(merges->slots);
    *merges = (struct text_merges){0};
}
