#include "model/rewrite.h"

#include <inttypes.h>

enum { ALIGNMENT_KEPT_MAX = 64 << 10 };

bool model_rewrite_check(const struct gguf *gguf, const char *out_path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct os_file file;
    struct err ignored;
    if (!os_path_exists(out_path) || !os_file_open(&file, out_path, &ignored)) {
        return true; /* opening it for writing says what is wrong */
    }
    bool is_input = false;
    for (size_t i = 0; i < gguf->shard_count; i++) {
        is_input |= gguf->shards[i].device == file.device && gguf->shards[i].inode == file.inode;
    }
    os_file_close(&file);
    return !is_input || err_set(err, ERR_INVALID, "%s is the input itself; name another output",
                                str_quote(quoted, str_of(out_path)));
}

static bool is_copied(const struct gguf_entry *entry, uint32_t alignment)
{
    return !str_eq(entry->key, STR("split.no")) && !str_eq(entry->key, STR("split.count")) &&
           !str_eq(entry->key, STR("split.tensors.count")) &&
           (!str_eq(entry->key, STR("general.alignment")) || alignment <= ALIGNMENT_KEPT_MAX);
}

bool model_rewrite_metadata(struct gguf_writer *writer, const struct gguf *gguf, struct str dropped,
                            struct err *err)
{
    for (size_t i = 0; i < gguf->entry_count; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        bool is_dropped = dropped.len > 0 && str_starts(entry->key, dropped);
        if (!is_dropped && is_copied(entry, gguf->alignment) &&
            !gguf_writer_set(writer, entry->key, &entry->value, err)) {
            return false;
        }
    }
    return true;
}

bool model_rewrite_room(const char *out_path, uint64_t bytes, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    uint64_t room = os_disk_available(out_path);
    return bytes <= room ||
           err_set(err, ERR_IO,
                   "%s needs %" PRIu64 " bytes, but its disk has only %" PRIu64 " left",
                   str_quote(quoted, str_of(out_path)), bytes, room);
}
