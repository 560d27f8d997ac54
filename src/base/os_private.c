#include "base/os_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

static const char *quote(char out[STR_QUOTE_MAX], const char *path)
{
    return str_quote(out, str_of(path));
}

bool os_private_folder(const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct stat st;
    char *copy = mem_copy(path, strlen(path));
    if (!copy) {
        return err_set_memory(err, strlen(path));
    }
    for (char *at = copy + 1; *copy && *at; at++) {
        if (*at == '/') {
            *at = 0;
            (void)mkdir(copy, 0700); /* what is missing shows below */
            *at = '/';
        }
    }
    mem_free(copy);
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_set_errno(err, errno, "create the folder %s", quote(quoted, path));
    }
    if (stat(path, &st) != 0) {
        return err_set_errno(err, errno, "open the folder %s", quote(quoted, path));
    }
    if (!S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_IO, "%s is not a folder", quote(quoted, path));
    }
    if (st.st_uid != geteuid()) {
        return err_set(err, ERR_IO, "the folder %s belongs to another user", quote(quoted, path));
    }
    if ((st.st_mode & 077) != 0 && chmod(path, 0700) != 0) {
        return err_set_errno(err, errno, "make the folder %s private", quote(quoted, path));
    }
    return true;
}

int os_private_lock(const char *folder, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct buf path = {0};
    buf_add_text(&path, folder);
    buf_add_text(&path, "/lock");
    if (path.failed) {
        err_set_memory(err, strlen(folder));
        return -1;
    }
    int fd = open(path.ptr, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int fault = errno;
    buf_deinit(&path);
    if (fd < 0) {
        err_set_errno(err, fault, "open the lock of %s", quote(quoted, folder));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        fault = errno;
        close(fd);
        if (fault == EWOULDBLOCK) {
            err_set(err, ERR_BUSY, "the folder %s is in use by another process",
                    quote(quoted, folder));
        } else {
            err_set_errno(err, fault, "lock %s", quote(quoted, folder));
        }
        return -1;
    }
    return fd;
}

void os_private_unlock(int lock)
{
    if (lock >= 0) {
        close(lock);
    }
}

static bool write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len < 1u << 30 ? len : 1u << 30);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

bool os_private_write(const char *path, const struct os_part *parts, size_t part_count,
                      struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct buf temp = {0};
    buf_add_text(&temp, path);
    buf_add_text(&temp, ".new");
    if (temp.failed) {
        return err_set_memory(err, strlen(path));
    }
    (void)unlink(temp.ptr); /* of a process that was killed, or a link put there */
    int fd = open(temp.ptr, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0;
    for (size_t i = 0; ok && i < part_count; i++) {
        ok = write_all(fd, parts[i].bytes, parts[i].len);
    }
    int fault = errno;
    if (fd >= 0 && close(fd) != 0 && ok) {
        fault = errno;
        ok = false;
    }
    if (ok && rename(temp.ptr, path) != 0) {
        fault = errno;
        ok = false;
    }
    if (!ok) {
        (void)unlink(temp.ptr);
        err_set_errno(err, fault, "write %s", quote(quoted, path));
    }
    buf_deinit(&temp);
    return ok;
}

bool os_private_open(struct os_file *file, const char *path, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    struct stat st;
    *file = (struct os_file){.fd = -1};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return err_set_errno(err, errno, "open %s", quote(quoted, path));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid()) {
        close(fd);
        return err_set(err, ERR_IO, "%s is not a file of this user", quote(quoted, path));
    }
#if defined(__APPLE__)
    const struct timespec changed = st.st_mtimespec;
#else
    const struct timespec changed = st.st_mtim;
#endif
    *file = (struct os_file){.fd = fd,
                             .size = (uint64_t)st.st_size,
                             .device = (uint64_t)st.st_dev,
                             .inode = (uint64_t)st.st_ino,
                             .mtime_ns = (int64_t)changed.tv_sec * 1000000000 + changed.tv_nsec};
    return true;
}

void os_private_touch(const struct os_file *file)
{
    (void)futimens(file->fd, NULL);
}

bool os_private_remove(const char *path)
{
    return unlink(path) == 0;
}
