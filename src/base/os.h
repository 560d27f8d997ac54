/* The seam to the operating system: os_linux.c or os_macos.c implement it (what both share is in
 * os_posix.c), nothing else in the house calls the kernel for files, memory or machine facts. */
#ifndef BASE_OS_H
#define BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

/* ---- files ---- */

struct os_file {
    int fd; /* -1: closed */
    uint64_t size;
    uint64_t device, inode;
    int64_t mtime_ns;
};

/* Opens a regular file for reading; symbolic links are followed. A directory, FIFO, device or
 * socket is ERR_IO and never blocks. The message names the path (quoted). */
bool os_file_open(struct os_file *file, const char *path, struct err *err);
void os_file_close(struct os_file *file);

/* True when the file's size or time of change differs from when it was opened. */
bool os_file_has_changed(const struct os_file *file);

/* Reads exactly len bytes at offset; a short file is ERR_FORMAT ("ends at byte N"). */
bool os_file_read(const struct os_file *file, uint64_t offset, void *out, size_t len,
                  struct err *err);

/* Reads a whole file of at most max bytes; mem_free the result, which is NUL-terminated. */
char *os_file_slurp(const char *path, size_t max, size_t *len, struct err *err);

/* A read-only view of a part of a file. When the file shrinks while mapped, the lost pages read as
 * zero instead of killing the process with SIGBUS, and os_map_is_lost says so. */
struct os_map {
    const unsigned char *ptr; /* the byte at the asked offset; NULL: closed */
    size_t len;
    void *base; /* page-aligned start and length of the mapping */
    size_t base_len;
    int slot; /* in the guard's table */
};

bool os_map_open(struct os_map *map, const struct os_file *file, uint64_t offset, size_t len,
                 struct err *err);
void os_map_close(struct os_map *map);
bool os_map_is_lost(const struct os_map *map);

/* A file that appears whole or not at all: written to a temporary name beside `path`, then fsync
 * and rename. */
struct os_out {
    int fd;
    uint64_t written;
    char *path, *temp_path;
};

bool os_out_open(struct os_out *out, const char *path, struct err *err);
bool os_out_write(struct os_out *out, const void *bytes, size_t len, struct err *err);
bool os_out_write_at(struct os_out *out, uint64_t offset, const void *bytes, size_t len,
                     struct err *err); /* does not move `written` */
bool os_out_commit(struct os_out *out, struct err *err);
void os_out_abort(struct os_out *out); /* removes the temporary file; fine after commit */

/* Bytes that may still be written beside `path`, which need not exist; UINT64_MAX if unknown. */
uint64_t os_disk_available(const char *path);

/* Calls fn for each directory entry (no "." and ".."), sorted by name. */
bool os_dir_each(const char *path, bool (*fn)(void *arg, const char *name), void *arg,
                 struct err *err);

bool os_path_exists(const char *path);

/* Path of the running executable with links resolved; mem_free it. */
char *os_exe_path(struct err *err);

/* ---- memory ---- */

/* Zeroed memory aligned to 2 MiB, backed by huge pages where the system grants them. Counted by
 * os_pages_total. */
void *os_pages_alloc(size_t bytes, struct err *err);
void os_pages_free(void *pages, size_t bytes);

/* What os_pages_alloc takes for so many bytes. */
uint64_t os_pages_rounded(uint64_t bytes);

/* Bytes this process may still allocate: the smallest of free RAM, its cgroup's limit and
 * RLIMIT_AS, less what is in use. */
uint64_t os_memory_available(void);
uint64_t os_memory_total(void); /* installed RAM */
uint64_t os_memory_rss(void);   /* resident bytes of this process now */

/* For a process that runs long: what it frees goes back to the system, blocks from 1 MiB at once,
 * the rest with os_memory_trim, which takes milliseconds. */
void os_memory_keep_small(void);
void os_memory_trim(void);

/* ---- machine ---- */

size_t os_cpu_count(void);      /* logical CPUs this process may run on (affinity, cgroup quota) */
size_t os_cpu_cores(void);      /* physical cores among them; the default thread count */
void os_cpu_name(char out[96]); /* "AMD EPYC ..." or "unknown" */
size_t os_fd_count(void);       /* open descriptors of this process; 0 if unknown */

/* The calling thread works from now on only when no other has anything to do, or nearly so. */
void os_thread_yield_to_others(void);

/* Random bytes from the kernel; aborts if it has none. */
void os_random(void *out, size_t len);

#endif
