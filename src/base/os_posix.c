/* What Linux and macOS share: files, guarded maps, atomic output files.
 *
 * The guard. A page of a mapped file that no longer exists (somebody truncated the file) raises
 * SIGBUS on access. Every live map stands in a fixed table; the handler finds the map that holds
 * the faulting address, replaces that page and all behind it by zero pages, marks the map as lost
 * and returns, so the read goes on with zeros. Readers check os_map_is_lost after a piece of work
 * and then throw that work away. A SIGBUS elsewhere is a real fault and ends the process as usual.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/size.h"

/* ---- files ---- */

static const char *quote_path(char out[STR_QUOTE_MAX], const char *path)
{
    struct str s = str_of(path);
    if (s.len > STR_QUOTE_MAX - 8) { /* the end of a path tells more than its start */
        s = str_slice(s, s.len - (STR_QUOTE_MAX - 8), s.len);
    }
    return str_quote(out, s);
}

static int64_t mtime_of(const struct stat *st)
{
#ifdef __APPLE__
    return (int64_t)st->st_mtimespec.tv_sec * 1000000000 + st->st_mtimespec.tv_nsec;
#else
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
#endif
}

bool os_file_open(struct os_file *file, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct stat st;
    *file = (struct os_file){.fd = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return err_set_errno(err, errno, "open %s", quote_path(quoted, path));
    }
    if (fstat(fd, &st) != 0) {
        int fault = errno;
        close(fd);
        return err_set_errno(err, fault, "stat %s", quote_path(quoted, path));
    }
    if (!S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_IO, "%s is not a regular file", quote_path(quoted, path));
    }
    *file = (struct os_file){.fd = fd,
                             .size = (uint64_t)st.st_size,
                             .device = (uint64_t)st.st_dev,
                             .inode = (uint64_t)st.st_ino,
                             .mtime_ns = mtime_of(&st)};
    return true;
}

void os_file_close(struct os_file *file)
{
    if (file->fd >= 0) {
        close(file->fd);
    }
    *file = (struct os_file){.fd = -1};
}

bool os_file_has_changed(const struct os_file *file)
{
    struct stat st;
    return fstat(file->fd, &st) != 0 || (uint64_t)st.st_size != file->size ||
           mtime_of(&st) != file->mtime_ns;
}

bool os_file_read(const struct os_file *file, uint64_t offset, void *out, size_t len,
                  struct err *err)
{
    char *at = out;
    while (len > 0) {
        ssize_t n = pread(file->fd, at, size_min(len, 1 << 30), (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_set_errno(err, errno, "read at byte %llu", (unsigned long long)offset);
        }
        if (n == 0) {
            return err_set(err, ERR_FORMAT, "the file ends at byte %llu, %zu bytes too early",
                           (unsigned long long)offset, len);
        }
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

char *os_file_slurp(const char *path, size_t max, size_t *len, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct os_file file;
    if (!os_file_open(&file, path, err)) {
        return NULL;
    }
    char *bytes = NULL;
    if (file.size > max) {
        err_set(err, ERR_TOO_LARGE, "%s has %llu bytes, the limit is %zu", quote_path(quoted, path),
                (unsigned long long)file.size, max);
    } else if (!(bytes = mem_alloc((size_t)file.size + 1, 1))) {
        err_set_memory(err, file.size + 1);
    } else if (!os_file_read(&file, 0, bytes, (size_t)file.size, err)) {
        err_wrap(err, "%s", quote_path(quoted, path));
        mem_free(bytes);
        bytes = NULL;
    } else if (len) {
        *len = (size_t)file.size;
    }
    os_file_close(&file);
    return bytes;
}

bool os_path_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* ---- guarded maps ---- */

enum { GUARD_SLOTS = 256 };

static struct guard_slot {
    _Atomic uintptr_t from, to; /* [from, to); to == 0: free */
    atomic_bool lost;
} guard[GUARD_SLOTS];

static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER; /* taking and leaving slots */
static struct sigaction guard_previous; /* under guard_lock, read by the handler */
static uintptr_t page_bytes;

static void on_bus_error(int signal_number, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    uintptr_t at = (uintptr_t)info->si_addr;
    for (int i = 0; i < GUARD_SLOTS; i++) {
        uintptr_t from = atomic_load(&guard[i].from), to = atomic_load(&guard[i].to);
        if (to == 0 || at < from || at >= to) {
            continue;
        }
        uintptr_t page = at & ~(page_bytes - 1);
        void *zero = mmap((void *)page, to - page, PROT_READ,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (zero != MAP_FAILED) {
            atomic_store(&guard[i].lost, true);
            errno = saved;
            return;
        }
    }
    /* Not ours: fall back to what was installed before; the access faults again. */
    sigaction(signal_number, &guard_previous, NULL);
    errno = saved;
}

/* Checked at every map: a library (or a test framework) may have put its own handler over ours. */
static bool guard_install(struct err *err)
{
    struct sigaction current;
    if (sigaction(SIGBUS, NULL, &current) != 0) {
        return err_set_errno(err, errno, "read the SIGBUS handler");
    }
    if ((current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_bus_error) {
        return true;
    }
    page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    guard_previous = current;
    if (sigaction(SIGBUS, &action, NULL) != 0) {
        return err_set_errno(err, errno, "install the SIGBUS handler");
    }
    return true;
}

static int guard_take(const struct os_map *map)
{
    for (int i = 0; i < GUARD_SLOTS; i++) {
        if (atomic_load(&guard[i].to) == 0) {
            atomic_store(&guard[i].lost, false);
            atomic_store(&guard[i].from, (uintptr_t)map->base);
            atomic_store(&guard[i].to, (uintptr_t)map->base + map->base_len);
            return i;
        }
    }
    return -1;
}

bool os_map_open(struct os_map *map, const struct os_file *file, uint64_t offset, size_t len,
                 struct err *err)
{
    *map = (struct os_map){.slot = -1};
    uint64_t end;
    if (!size_add_u64(offset, len, &end) || end > file->size) {
        return err_set(err, ERR_FORMAT, "bytes %llu+%zu lie past the end of the file (%llu bytes)",
                       (unsigned long long)offset, len, (unsigned long long)file->size);
    }
    pthread_mutex_lock(&guard_lock);
    bool ok = guard_install(err);
    uint64_t skew = offset & (page_bytes - 1);
    void *base = MAP_FAILED;
    size_t base_len = size_max(len, 1) + (size_t)skew;
    if (ok) {
        base = mmap(NULL, base_len, PROT_READ, MAP_SHARED, file->fd, (off_t)(offset - skew));
        if (base == MAP_FAILED) {
            ok = errno == ENOMEM
                     ? err_set(err, ERR_MEMORY, "map %zu bytes of the file: out of address space",
                               base_len)
                     : err_set_errno(err, errno, "map %zu bytes of the file", base_len);
        }
    }
    if (ok) {
        size_t whole = (base_len + page_bytes - 1) & ~(page_bytes - 1);
        map->base = base;
        map->base_len = whole;
        map->slot = guard_take(map);
        if (map->slot < 0) {
            munmap(base, whole);
            ok = err_set(err, ERR_BUSY, "more than %d file maps at once", GUARD_SLOTS);
        } else {
            map->ptr = (const unsigned char *)base + skew;
            map->len = len;
        }
    }
    pthread_mutex_unlock(&guard_lock);
    return ok;
}

void os_map_close(struct os_map *map)
{
    if (map->ptr) {
        pthread_mutex_lock(&guard_lock);
        munmap(map->base, map->base_len);
        atomic_store(&guard[map->slot].to, 0);
        pthread_mutex_unlock(&guard_lock);
    }
    *map = (struct os_map){.slot = -1};
}

bool os_map_is_lost(const struct os_map *map)
{
    return map->ptr && atomic_load(&guard[map->slot].lost);
}

/* ---- output files ---- */

bool os_out_open(struct os_out *out, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct buf temp = {0};
    unsigned long long mark;
    struct stat st;
    *out = (struct os_out){.fd = -1};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        return err_set(err, ERR_IO, "%s exists and is not a regular file",
                       quote_path(quoted, path));
    }
    os_random(&mark, sizeof mark);
    buf_add_format(&temp, "%s.%016llx.part", path, mark);
    out->path = mem_copy(path, strlen(path));
    out->temp_path = buf_take(&temp, NULL);
    if (!out->path || !out->temp_path) {
        os_out_abort(out);
        return err_set_memory(err, strlen(path) + 1);
    }
    out->fd = open(out->temp_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (out->fd < 0) {
        int fault = errno;
        mem_free(out->temp_path);
        out->temp_path = NULL;
        os_out_abort(out);
        return err_set_errno(err, fault, "create %s", quote_path(quoted, path));
    }
    return true;
}

bool os_out_write_at(struct os_out *out, uint64_t offset, const void *bytes, size_t len,
                     struct err *err)
{
    const char *at = bytes;
    char quoted[STR_QUOTE_MAX];
    while (len > 0) {
        ssize_t n = pwrite(out->fd, at, size_min(len, 1 << 30), (off_t)offset);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return err_set_errno(err, n < 0 ? errno : EIO, "write %s at byte %llu",
                                 quote_path(quoted, out->path), (unsigned long long)offset);
        }
        at += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return true;
}

bool os_out_write(struct os_out *out, const void *bytes, size_t len, struct err *err)
{
    bool ok = os_out_write_at(out, out->written, bytes, len, err);
    out->written += ok ? len : 0;
    return ok;
}

/* The folder a path stands in; mem_free it. NULL when out of memory. */
static char *parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? mem_copy(path, slash == path ? 1 : (size_t)(slash - path)) : mem_copy(".", 1);
}

uint64_t os_disk_available(const char *path)
{
    struct statvfs st;
    char *dir = parent_of(path);
    uint64_t bytes = UINT64_MAX;
    if (dir && statvfs(dir, &st) == 0 &&
        !size_mul_u64((uint64_t)st.f_bavail, (uint64_t)st.f_frsize, &bytes)) {
        bytes = UINT64_MAX;
    }
    mem_free(dir);
    return bytes;
}

/* A rename is durable only when the directory that holds the names is. */
static void sync_directory(const char *path)
{
    char *dir = parent_of(path);
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd); /* some file systems refuse; the rename stands all the same */
        close(fd);
    }
    mem_free(dir);
}

bool os_out_commit(struct os_out *out, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    assert(out->fd >= 0);
    if (fsync(out->fd) != 0 || rename(out->temp_path, out->path) != 0) {
        int fault = errno;
        err_set_errno(err, fault, "finish %s", quote_path(quoted, out->path));
        os_out_abort(out);
        return false;
    }
    sync_directory(out->path);
    mem_free(out->temp_path);
    out->temp_path = NULL; /* nothing left to remove */
    os_out_abort(out);
    return true;
}

void os_out_abort(struct os_out *out)
{
    if (out->fd >= 0) {
        close(out->fd);
    }
    if (out->temp_path) {
        unlink(out->temp_path);
    }
    mem_free(out->temp_path);
    mem_free(out->path);
    *out = (struct os_out){.fd = -1};
}

/* ---- directories ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct name_list {
    char **names;
    size_t count, cap;
};

static bool name_list_add(struct name_list *list, const char *name)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 32;
        char **grown = mem_resize(list->names, cap, sizeof *grown);
        if (!grown) {
            return false;
        }
        list->names = grown;
        list->cap = cap;
    }
    char *copy = mem_copy(name, strlen(name));
    if (copy) {
        list->names[list->count++] = copy;
    }
    return copy != NULL;
}

bool os_dir_each(const char *path, bool (*fn)(void *arg, const char *name), void *arg,
                 struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    DIR *dir = opendir(path);
    if (!dir) {
        return err_set_errno(err, errno, "open directory %s", quote_path(quoted, path));
    }
    struct name_list list = {0};
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            !name_list_add(&list, entry->d_name)) {
            ok = err_set_memory(err, strlen(entry->d_name));
        }
    }
    closedir(dir);
    if (ok && list.count) {
        qsort(list.names, list.count, sizeof *list.names, compare_names);
    }
    bool going = ok;
    for (size_t i = 0; i < list.count; i++) {
        going = going && fn(arg, list.names[i]);
        mem_free(list.names[i]);
    }
    mem_free(list.names);
    return ok;
}

/* ---- memory ---- */

uint64_t os_pages_rounded(uint64_t bytes)
{
    const uint64_t align = 2 << 20; /* as os_pages_alloc does on every system */
    uint64_t rounded = bytes ? bytes : 1;
    return rounded > UINT64_MAX - align ? UINT64_MAX : (rounded + align - 1) / align * align;
}
