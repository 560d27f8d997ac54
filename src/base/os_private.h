/* Files that only this user may read: a folder of mode 0700 that one process at a time owns, and
 * files of mode 0600 in it that appear whole. For caches: nothing here waits for the disk, so after
 * a power failure a file may be damaged and the reader has to notice. Same on Linux and macOS. */
#ifndef BASE_OS_PRIVATE_H
#define BASE_OS_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/os.h"

/* Makes the folder and those above it; the last gets mode 0700. One that is another user's is
 * ERR_IO. */
bool os_private_folder(const char *path, struct err *err);

/* The lock of a folder: a descriptor, or -1. ERR_BUSY names the folder when another process has it.
 * The lock ends with the process, however that ends. */
int os_private_lock(const char *folder, struct err *err);
void os_private_unlock(int lock);

struct os_part {
    const void *bytes;
    size_t len;
};

/* Writes `path` from parts, by a name of its own (path and ".new") that is renamed at last. */
bool os_private_write(const char *path, const struct os_part *parts, size_t part_count,
                      struct err *err);

/* Like os_file_open, but a symbolic link or another user's file is ERR_IO. */
bool os_private_open(struct os_file *file, const char *path, struct err *err);

/* Sets the time of change to now, so that it is known as used. */
void os_private_touch(const struct os_file *file);

bool os_private_remove(const char *path);

#endif
