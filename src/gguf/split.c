/* Opening a model of one or of several files.
 *
 * A split model is a set of GGUF files PREFIX-00001-of-0000N.gguf. Each holds the tensors of its
 * share and three keys: split.no (from 0), split.count (N) and split.tensors.count (of all parts).
 * The metadata of the model is that of the first part; the others usually have nothing else. Any
 * part names all others, so any may be opened. llama.cpp's loader and gguf-split define this.
 *
 * What is checked: each part exists, says the number its name says, the same count and the same
 * total; names are unique over all parts; the total is met; and `general.*` texts that two parts
 * both have are equal, which catches parts of another model.
 *
 * A merged file keeps the keys with split.count 0 (gguf-split --merge writes that). It is taken as
 * whole when split.tensors.count says that it is and its name does not claim to be a part. */
#include "gguf/split.h"

#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "gguf/part.h"

enum {
    SHARDS_MAX = 1024, /* the largest models of 2026 come in under 200 */
    SUFFIX_BYTES = sizeof "-00001-of-00002.gguf" - 1,
};

/* The three keys of one part. */
struct split_keys {
    bool has_count, has_total;
    uint64_t number, count, total;
};

static bool parse_digits(struct str text, uint32_t *out)
{
    uint32_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9') {
            return false;
        }
        value = value * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    *out = value;
    return true;
}

bool gguf_split_parse(struct str path, struct gguf_split_name *name)
{
    if (path.len <= SUFFIX_BYTES) {
        return false;
    }
    size_t at = path.len - SUFFIX_BYTES;
    return path.ptr[at] == '-' && parse_digits(str_slice(path, at + 1, at + 6), &name->number) &&
           str_eq(str_slice(path, at + 6, at + 10), STR("-of-")) &&
           parse_digits(str_slice(path, at + 10, at + 15), &name->count) &&
           str_eq(str_slice(path, at + 15, path.len), STR(".gguf")) && name->number >= 1 &&
           name->number <= name->count && ((void)(name->prefix = str_slice(path, 0, at)), true);
}

static char *split_path(const struct gguf_split_name *name, size_t number, struct err *err)
{
    struct buf path = {0};
    buf_add(&path, name->prefix);
    buf_add_format(&path, "-%05zu-of-%05u.gguf", number, (unsigned)name->count);
    char *text = buf_take(&path, NULL);
    if (!text) {
        err_set_memory(err, name->prefix.len + SUFFIX_BYTES + 1);
    }
    return text;
}

static bool read_key(const struct gguf_part *part, struct str key, uint64_t max, uint64_t *out,
                     bool *found, struct err *err)
{
    const struct gguf_entry *entry = gguf_table_find(&part->entry_table, key);
    *found = entry != NULL;
    if (entry && !gguf_value_u64(&entry->value, max, out)) {
        err_set(err, ERR_FORMAT, "is not an integer from 0 to %llu", (unsigned long long)max);
        return gguf_wrap_key(err, entry);
    }
    return true;
}

static bool read_keys(const struct gguf_part *part, struct split_keys *keys, struct err *err)
{
    bool has_number;
    *keys = (struct split_keys){0};
    return read_key(part, STR("split.count"), UINT16_MAX, &keys->count, &keys->has_count, err) &&
           read_key(part, STR("split.no"), UINT16_MAX, &keys->number, &has_number, err) &&
           read_key(part, STR("split.tensors.count"), INT32_MAX, &keys->total, &keys->has_total,
                    err);
}

/* A file that says nothing about splitting, or that it is whole. */
static bool check_whole(const struct gguf_part *part, const struct split_keys *keys,
                        struct str path, struct err *err)
{
    struct gguf_split_name name;
    bool names_parts = gguf_split_parse(path, &name) && name.count > 1;
    if (!keys->has_count) {
        return !names_parts ||
               err_set(err, ERR_FORMAT, "is named part %u of %u, but has no key split.count",
                       (unsigned)name.number, (unsigned)name.count);
    }
    if (names_parts) {
        return err_set(err, ERR_FORMAT, "is named part %u of %u, but its key split.count is %llu",
                       (unsigned)name.number, (unsigned)name.count,
                       (unsigned long long)keys->count);
    }
    if (keys->number != 0 || (keys->count == 0 && !keys->has_total)) {
        return err_set(err, ERR_FORMAT, "key split.count is %llu and split.no %llu: no such part",
                       (unsigned long long)keys->count, (unsigned long long)keys->number);
    }
    return !keys->has_total || keys->total == part->tensor_count ||
           err_set(err, ERR_FORMAT, "key split.tensors.count is %llu, but the file has %zu tensors",
                   (unsigned long long)keys->total, part->tensor_count);
}

/* Part i of the set that `first` (which part it is does not matter) belongs to. */
static bool check_part(const struct gguf_part *part, size_t i, const struct split_keys *set,
                       struct err *err)
{
    struct split_keys keys;
    if (!read_keys(part, &keys, err)) {
        return false;
    }
    if (!keys.has_count) {
        return err_set(err, ERR_FORMAT, "is named part %zu of %llu, but has no key split.count",
                       i + 1, (unsigned long long)set->count);
    }
    if (keys.count != set->count) {
        return err_set(err, ERR_FORMAT, "key split.count is %llu, in another part it is %llu",
                       (unsigned long long)keys.count, (unsigned long long)set->count);
    }
    if (keys.number != i) {
        return err_set(err, ERR_FORMAT, "is named part %zu of %llu, but its key split.no is %llu",
                       i + 1, (unsigned long long)set->count, (unsigned long long)keys.number);
    }
    if (keys.has_total != set->has_total || keys.total != set->total) {
        return err_set(err, ERR_FORMAT,
                       "key split.tensors.count is %llu, in another part it is %llu",
                       (unsigned long long)keys.total, (unsigned long long)set->total);
    }
    return true;
}

/* Two parts that both carry a description of the model must carry the same. */
static bool check_same_model(const struct gguf_part *a, const struct gguf_part *b, struct err *err)
{
    for (size_t i = 0; i < b->entry_count; i++) {
        const struct gguf_entry *entry = &b->entries[i];
        if (!str_starts(entry->key, STR("general.")) || entry->value.kind != GGUF_STRING) {
            continue;
        }
        const struct gguf_entry *other = gguf_table_find(&a->entry_table, entry->key);
        if (other && other->value.kind == GGUF_STRING &&
            !str_eq(other->value.text, entry->value.text)) {
            char here[STR_QUOTE_MAX], there[STR_QUOTE_MAX];
            err_set(err, ERR_FORMAT, "is \"%s\", in the first part \"%s\": a part of another model",
                    str_quote(here, entry->value.text), str_quote(there, other->value.text));
            return gguf_wrap_key(err, entry);
        }
    }
    return true;
}

/* ---- putting the parts together ---- */

struct opener {
    struct gguf *gguf;
    struct gguf_part *parts;
    size_t part_count;
    struct gguf_budget budget;
};

static bool open_others(struct opener *o, const char *path, const struct split_keys *set,
                        struct err *err)
{
    struct gguf_split_name name;
    char quoted[STR_QUOTE_MAX];
    struct str all = str_of(path);
    if (set->count > SHARDS_MAX) {
        err_set(err, ERR_FORMAT, "key split.count is %llu, the limit is %d",
                (unsigned long long)set->count, SHARDS_MAX);
        return err_wrap(err, "%s", gguf_quote_path(quoted, path));
    }
    if (!gguf_split_parse(all, &name) || name.count != set->count ||
        name.number != set->number + 1) {
        err_set(err, ERR_FORMAT,
                "is part %llu of %llu by its keys, so its name must end in -%05llu-of-%05llu.gguf",
                (unsigned long long)set->number + 1, (unsigned long long)set->count,
                (unsigned long long)set->number + 1, (unsigned long long)set->count);
        return err_wrap(err, "%s", gguf_quote_path(quoted, path));
    }
    struct gguf_part given = o->parts[0];
    struct gguf_part *parts = MEM_ARRAY(struct gguf_part, (size_t)set->count);
    if (!parts) {
        return err_set_memory(err, set->count * sizeof *parts);
    }
    mem_free(o->parts);
    o->parts = parts;
    o->part_count = (size_t)set->count;
    for (size_t i = 0; i < o->part_count; i++) {
        parts[i] = (struct gguf_part){.file = {.fd = -1}};
    }
    parts[set->number] = given;
    for (size_t i = 0; i < o->part_count; i++) {
        char *part_path = split_path(&name, i + 1, err);
        if (!part_path) {
            return false;
        }
        bool ok = (i == set->number ||
                   gguf_part_open(&parts[i], part_path, &o->budget, o->gguf->arena, err) ||
                   err_wrap(err, "part %zu of %zu", i + 1, o->part_count)) &&
                  ((check_part(&parts[i], i, set, err) &&
                    (i == 0 || check_same_model(&parts[0], &parts[i], err))) ||
                   err_wrap(err, "%s", gguf_quote_path(quoted, part_path)));
        if (i == 0 && ok) {
            o->gguf->path = part_path;
        } else {
            mem_free(part_path);
        }
        if (!ok) {
            return false;
        }
    }
    return true;
}

static bool merge_tensors(struct opener *o, const struct split_keys *set, struct err *err)
{
    struct gguf *g = o->gguf;
    size_t total = 0, first, second;
    for (size_t i = 0; i < o->part_count; i++) {
        total += o->parts[i].tensor_count;
    }
    if (o->part_count > 1 && set->has_total && set->total != total) {
        return err_set(err, ERR_FORMAT,
                       "key split.tensors.count is %llu, but the %zu parts have %zu",
                       (unsigned long long)set->total, o->part_count, total);
    }
    uint64_t bytes = (uint64_t)total * sizeof *g->tensors + gguf_table_bytes(total);
    if (!gguf_budget_take(&o->budget, bytes, err)) {
        return false;
    }
    g->tensors = MEM_ARRAY(struct gguf_tensor, total);
    if (!g->tensors) {
        return err_set_memory(err, bytes);
    }
    for (size_t i = 0; i < o->part_count; i++) {
        for (size_t j = 0; j < o->parts[i].tensor_count; j++) {
            struct gguf_tensor *tensor = &g->tensors[g->tensor_count++];
            *tensor = o->parts[i].tensors[j];
            tensor->shard = (uint32_t)i;
            g->tensor_bytes += tensor->bytes; /* disjoint ranges of real files: no overflow */
        }
    }
    if (!gguf_table_init(&g->index->tensors, g->tensors, total, total, sizeof *g->tensors, &first,
                         &second, err)) {
        return false;
    }
    if (second != SIZE_MAX) {
        char quoted[STR_QUOTE_MAX];
        return err_set(err, ERR_FORMAT, "tensor \"%s\" stands in part %u and in part %u",
                       str_quote(quoted, g->tensors[second].name), g->tensors[first].shard + 1,
                       g->tensors[second].shard + 1);
    }
    return true;
}

/* Moves what the parts own into the model; the caller's close of the parts then frees the rest. */
static bool assemble(struct opener *o, const struct split_keys *set, struct err *err)
{
    struct gguf *g = o->gguf;
    struct gguf_part *front = &o->parts[0];
    g->shards = MEM_ARRAY(struct os_file, o->part_count);
    if (!g->shards) {
        return err_set_memory(err, o->part_count * sizeof *g->shards);
    }
    if (o->part_count > 1) {
        if (!merge_tensors(o, set, err)) {
            return false;
        }
    } else {
        g->tensors = front->tensors;
        g->tensor_count = front->tensor_count;
        g->index->tensors = front->tensor_table;
        front->tensors = NULL;
        front->tensor_table = (struct gguf_table){0};
        for (size_t i = 0; i < g->tensor_count; i++) {
            g->tensor_bytes += g->tensors[i].bytes;
        }
    }
    g->version = front->version;
    g->alignment = front->alignment;
    g->entries = front->entries;
    g->entry_count = front->entry_count;
    g->index->entries = front->entry_table;
    front->entries = NULL;
    front->entry_table = (struct gguf_table){0};
    for (size_t i = 0; i < o->part_count; i++) {
        g->shards[i] = o->parts[i].file;
        g->shard_count++;
        g->file_bytes += g->shards[i].size;
        o->parts[i].file = (struct os_file){.fd = -1};
    }
    return true;
}

static struct gguf_budget budget_now(void)
{
    uint64_t half = os_memory_available() / 2;
    bool is_short = half < GGUF_METADATA_BYTES_MAX;
    uint64_t total = is_short ? half : GGUF_METADATA_BYTES_MAX;
    return (struct gguf_budget){.left = total, .total = total, .is_memory_short = is_short};
}

static bool open_model(struct opener *o, const char *path, struct err *err)
{
    struct split_keys set;
    char quoted[STR_QUOTE_MAX];
    struct gguf *g = o->gguf;
    o->parts = MEM_NEW(struct gguf_part);
    g->index = MEM_NEW(struct gguf_index);
    g->arena = MEM_NEW(struct arena);
    if (!o->parts || !g->index || !g->arena) {
        return err_set_memory(err, sizeof *o->parts + sizeof *g->index + sizeof *g->arena);
    }
    *g->arena = arena_init(0); /* the budget bounds it */
    o->part_count = 1;
    if (!gguf_part_open(&o->parts[0], path, &o->budget, g->arena, err)) {
        return false;
    }
    bool ok = read_keys(&o->parts[0], &set, err) &&
              (set.count > 1 || check_whole(&o->parts[0], &set, str_of(path), err));
    if (!ok) {
        return err_wrap(err, "%s", gguf_quote_path(quoted, path));
    }
    if (set.count > 1) {
        if (!open_others(o, path, &set, err)) {
            return false;
        }
    } else if (!(g->path = mem_copy(path, strlen(path)))) {
        return err_set_memory(err, strlen(path) + 1);
    }
    return assemble(o, &set, err) || err_wrap(err, "%s", gguf_quote_path(quoted, path));
}

struct gguf *gguf_open(const char *path, struct err *err)
{
    struct opener o = {.gguf = MEM_NEW(struct gguf), .budget = budget_now()};
    if (!o.gguf) {
        err_set_memory(err, sizeof *o.gguf);
        return NULL;
    }
    bool ok = open_model(&o, path, err);
    for (size_t i = 0; i < o.part_count; i++) {
        gguf_part_close(&o.parts[i]);
    }
    mem_free(o.parts);
    if (!ok) {
        gguf_close(o.gguf);
        return NULL;
    }
    return o.gguf;
}

void gguf_close(struct gguf *gguf)
{
    if (!gguf) {
        return;
    }
    for (size_t i = 0; i < gguf->shard_count; i++) {
        os_file_close(&gguf->shards[i]);
    }
    if (gguf->index) {
        gguf_table_deinit(&gguf->index->entries);
        gguf_table_deinit(&gguf->index->tensors);
    }
    if (gguf->arena) {
        arena_deinit(gguf->arena);
    }
    mem_free(gguf->index);
    mem_free(gguf->arena);
    mem_free(gguf->entries);
    mem_free(gguf->tensors);
    mem_free(gguf->shards);
    mem_free(gguf->path);
    mem_free(gguf);
}
