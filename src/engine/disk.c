/* The store of cache pages on disk.
 *
 *     FOLDER/lock                       one process at a time (flock)
 *     FOLDER/<own>-<parent>.kv          a page; digests in hex, 64 digits each
 *     FOLDER/<own>-<parent>.kv.new      being written
 *
 * A file, little endian:
 *
 *     offset  bytes
 *          0      8  "hearthKV"
 *          8      4  version of the format: 1
 *         12      4  tokens of a page: 64
 *         16      8  bytes of the page
 *         24      8  0
 *         32     32  identity: SHA-256 of the model and of what its numerics depend on (identity.c)
 *         64     32  parent
 *         96     32  own = SHA-256("hearth page 1", identity, parent, tokens)
 *        128    256  tokens
 *        384     32  SHA-256 of the page
 *        416     32  SHA-256 of bytes 0 to 415
 *        448     64  0
 *        512         the page, as in memory
 *
 * The parent of a first page is SHA-256("hearth root 1", identity, salt), so a digest stands for
 * the whole prefix, the model and the tenant. Keys and values of a page depend on all tokens before
 * it; to forge a page that another prompt would take, one needs a collision of SHA-256. The header
 * is compared in full with what was asked for nevertheless, tokens included: a name promises
 * nothing.
 *
 * No write waits for the disk (no fsync): what is lost in a power failure is a file whose checksums
 * are wrong, and that is an entry less. kill -9 loses nothing that was renamed.
 *
 * Quota: the entries form a list by last use. A page in use puts all pages before it in front of
 * itself, since without them it cannot be found; so the end of the list is always a leaf. The
 * parent stands in the name to rebuild that at start, when files come in the order of their times,
 * without opening them. */
#include "engine/disk.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/os_private.h"

enum {
    HEADER_BYTES = 512,
    AT_TOKENS = 128,
    AT_PAGE_SUM = 384,
    AT_HEADER_SUM = 416,
    VERSION = 1,
    HEX = 2 * ENGINE_DIGEST_BYTES,
    NAME_BYTES = HEX + 1 + HEX + 3,
    BUCKETS = 1 << 14,
};

#define PAUSE_NS 60000000000 /* after a fault, a full disk mostly */

struct entry {
    struct engine_digest own, parent;
    uint64_t bytes;
    int64_t mtime_ns; /* while the folder is read */
    bool is_placed;   /* the same */
    struct entry *next_in_bucket, *older, *newer;
};

struct engine_disk {
    char *folder;
    int lock_fd;
    uint64_t bytes_max;

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t work;
    struct entry *buckets[BUCKETS];
    struct entry *oldest, *newest;
    struct engine_disk_stats stats;
    struct engine_disk_job *first, *last, *urgent_first, *urgent_last;
    bool is_stopping;

    pthread_t thread;
    bool is_started;
    int64_t paused_until_ns; /* the thread's */
};

/* ---- digests ---- */

/* Cannot fail with the SHA-256 that OpenSSL 3 always has; if it did, a digest of zeros would be
 * compared with the page's contents and refused. */
static void hash_parts(const struct os_part *parts, size_t count, struct engine_digest *out)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned len = 0;
    bool ok = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    for (size_t i = 0; ok && i < count; i++) {
        ok = EVP_DigestUpdate(md, parts[i].bytes, parts[i].len) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(md, out->bytes, &len) == 1 && len == ENGINE_DIGEST_BYTES;
    if (!ok) {
        memset(out, 0, sizeof *out);
    }
    EVP_MD_CTX_free(md);
}

void engine_disk_root(const struct engine_digest *identity, const void *salt, size_t salt_len,
                      struct engine_digest *out)
{
    const struct os_part parts[] = {
        {"hearth root 1", 13}, {identity, sizeof *identity}, {salt, salt_len}};
    hash_parts(parts, 3, out);
}

static void put_u32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> 8 * i);
    }
}

static void put_tokens(uint8_t *at, const text_id *tokens)
{
    for (int i = 0; i < KV_PAGE_TOKENS; i++) {
        put_u32(at + 4 * (size_t)i, (uint32_t)tokens[i]);
    }
}

void engine_disk_seal(struct engine_page_key *key)
{
    uint8_t tokens[4 * KV_PAGE_TOKENS];
    put_tokens(tokens, key->tokens);
    const struct os_part parts[] = {{"hearth page 1", 13},
                                    {&key->identity, sizeof key->identity},
                                    {&key->parent, sizeof key->parent},
                                    {tokens, sizeof tokens}};
    hash_parts(parts, 4, &key->own);
}

/* ---- entries (lock held) ---- */

static struct entry **bucket_of(struct engine_disk *disk, const struct engine_digest *own)
{
    uint32_t hash;
    memcpy(&hash, own->bytes, sizeof hash);
    return &disk->buckets[hash % BUCKETS];
}

static bool same(const struct engine_digest *a, const struct engine_digest *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static struct entry *find(struct engine_disk *disk, const struct engine_digest *own)
{
    struct entry *entry = *bucket_of(disk, own);
    while (entry && !same(&entry->own, own)) {
        entry = entry->next_in_bucket;
    }
    return entry;
}

static void take_off(struct engine_disk *disk, struct entry *entry)
{
    *(entry->older ? &entry->older->newer : &disk->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &disk->newest) = entry->older;
}

static void put_newest(struct engine_disk *disk, struct entry *entry)
{
    entry->older = disk->newest;
    entry->newer = NULL;
    *(disk->newest ? &disk->newest->newer : &disk->oldest) = entry;
    disk->newest = entry;
}

/* The entry and those before it, each newer than the one behind it. */
static void touch(struct engine_disk *disk, struct entry *entry)
{
    /* Counted, since forged names may form a circle. */
    for (uint64_t left = disk->stats.files; entry && left > 0; left--) {
        take_off(disk, entry);
        put_newest(disk, entry);
        entry = find(disk, &entry->parent);
    }
}

static struct entry *add_entry(struct engine_disk *disk, const struct engine_digest *own,
                               const struct engine_digest *parent, uint64_t bytes)
{
    struct entry *entry = MEM_NEW(struct entry), **bucket = bucket_of(disk, own);
    if (entry) {
        entry->own = *own;
        entry->parent = *parent;
        entry->bytes = bytes;
        entry->next_in_bucket = *bucket;
        *bucket = entry;
        disk->stats.bytes += bytes;
        disk->stats.files++;
    }
    return entry;
}

static void drop_entry(struct engine_disk *disk, struct entry *entry)
{
    struct entry **link = bucket_of(disk, &entry->own);
    while (*link != entry) {
        link = &(*link)->next_in_bucket;
    }
    *link = entry->next_in_bucket;
    take_off(disk, entry);
    disk->stats.bytes -= entry->bytes;
    disk->stats.files--;
    mem_free(entry);
}

/* ---- names ---- */

static void add_hex(struct buf *out, const struct engine_digest *digest)
{
    for (int i = 0; i < ENGINE_DIGEST_BYTES; i++) {
        buf_add_format(out, "%02x", digest->bytes[i]);
    }
}

static char *path_of(const struct engine_disk *disk, const struct engine_digest *own,
                     const struct engine_digest *parent)
{
    struct buf path = {0};
    buf_add_format(&path, "%s/", disk->folder);
    add_hex(&path, own);
    buf_add_char(&path, '-');
    add_hex(&path, parent);
    buf_add_text(&path, ".kv");
    char *taken = buf_take(&path, NULL);
    buf_deinit(&path);
    return taken;
}

static bool parse_hex(const char *text, struct engine_digest *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HEX; i++) {
        const char *digit = text[i] ? strchr(digits, text[i]) : NULL;
        if (!digit) {
            return false;
        }
        unsigned value = (unsigned)(digit - digits);
        out->bytes[i / 2] = (uint8_t)(i % 2 ? out->bytes[i / 2] | value : value << 4);
    }
    return true;
}

static bool parse_name(const char *name, struct engine_digest *own, struct engine_digest *parent)
{
    return strlen(name) == NAME_BYTES && parse_hex(name, own) && name[HEX] == '-' &&
           parse_hex(name + HEX + 1, parent) && strcmp(name + 2 * HEX + 1, ".kv") == 0;
}

static void remove_file(struct engine_disk *disk, const struct engine_digest *own,
                        const struct engine_digest *parent)
{
    char *path = path_of(disk, own, parent);
    if (path) {
        (void)os_private_remove(path);
    }
    mem_free(path);
}

/* ---- at start ---- */

struct scan {
    struct engine_disk *disk;
    struct entry **found; /* [count] */
    size_t count, capacity, foreign;
    bool failed;
};

static void add_found(struct scan *scan, const char *path, const char *name)
{
    struct engine_digest own, parent;
    struct os_file file;
    struct err err;
    if (!parse_name(name, &own, &parent) || !os_private_open(&file, path, &err)) {
        scan->foreign++;
        return;
    }
    const uint64_t bytes = file.size;
    const int64_t mtime_ns = file.mtime_ns;
    os_file_close(&file);
    if (scan->count == scan->capacity) {
        size_t capacity = scan->capacity ? 2 * scan->capacity : 64;
        struct entry **grown = mem_resize(scan->found, capacity, sizeof(struct entry *));
        if (!grown) {
            scan->failed = true;
            return;
        }
        scan->found = grown;
        scan->capacity = capacity;
    }
    if (find(scan->disk, &own)) { /* the same with another parent: one of them lies */
        scan->foreign++;
        return;
    }
    struct entry *entry = add_entry(scan->disk, &own, &parent, bytes);
    scan->failed = scan->failed || !entry;
    if (entry) {
        entry->mtime_ns = mtime_ns;
        scan->found[scan->count++] = entry;
    }
}

static bool see_file(void *arg, const char *name)
{
    struct scan *scan = arg;
    struct buf path = {0};
    if (strcmp(name, "lock") == 0) {
        return true;
    }
    buf_add_format(&path, "%s/%s", scan->disk->folder, name);
    if (path.failed) {
        scan->failed = true;
    } else if (str_ends(str_of(name), STR(".kv.new"))) {
        (void)os_private_remove(path.ptr);
    } else {
        add_found(scan, path.ptr, name);
    }
    buf_deinit(&path);
    return !scan->failed;
}

static int compare_times(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return (x->mtime_ns < y->mtime_ns) - (x->mtime_ns > y->mtime_ns); /* newest first */
}

static void put_oldest(struct engine_disk *disk, struct entry *entry)
{
    entry->newer = disk->oldest;
    entry->older = NULL;
    *(disk->oldest ? &disk->oldest->older : &disk->newest) = entry;
    disk->oldest = entry;
}

/* Newest first; before each the pages before it, that have not been placed. */
static void place_found(struct scan *scan)
{
    struct entry **chain = mem_alloc(scan->count, sizeof *chain);
    if (!chain) {
        scan->failed = true;
        return;
    }
    if (scan->count) {
        qsort(scan->found, scan->count, sizeof *scan->found, compare_times);
    }
    for (size_t i = 0; i < scan->count; i++) {
        size_t length = 0;
        struct entry *entry = scan->found[i];
        for (; entry && !entry->is_placed; entry = find(scan->disk, &entry->parent)) {
            entry->is_placed = true; /* also ends a circle of forged names */
            chain[length++] = entry;
        }
        while (length > 0) {
            put_oldest(scan->disk, chain[--length]);
        }
    }
    mem_free(chain);
}

static bool scan_folder(struct engine_disk *disk, struct err *err)
{
    struct scan scan = {.disk = disk};
    bool ok = os_dir_each(disk->folder, see_file, &scan, err);
    if (ok && !scan.failed) {
        place_found(&scan);
    }
    for (size_t i = 0; i < scan.count && (!ok || scan.failed); i++) {
        mem_free(scan.found[i]); /* in no list yet */
    }
    if (!ok || scan.failed) {
        memset(disk->buckets, 0, sizeof disk->buckets);
    }
    mem_free(scan.found);
    if (ok && scan.failed) {
        return err_set_memory(err, scan.count * sizeof(struct entry));
    }
    if (scan.foreign) {
        log_write(LOG_WARN, "files in the cache folder that are no cache pages are ignored",
                  LOG_FIELDS(LOG_C("folder", disk->folder), LOG_I("files", scan.foreign)));
    }
    return ok;
}

/* ---- quota ---- */

/* Removes the longest unused until `more` bytes fit; false if they never do. */
static bool make_room(struct engine_disk *disk, uint64_t more)
{
    if (more > disk->bytes_max) {
        return false;
    }
    pthread_mutex_lock(&disk->lock);
    while (disk->oldest && disk->stats.bytes + more > disk->bytes_max) {
        struct engine_digest own = disk->oldest->own, parent = disk->oldest->parent;
        drop_entry(disk, disk->oldest);
        disk->stats.evicted++;
        pthread_mutex_unlock(&disk->lock);
        remove_file(disk, &own, &parent);
        pthread_mutex_lock(&disk->lock);
    }
    pthread_mutex_unlock(&disk->lock);
    return true;
}

/* ---- a page ---- */

static void make_header(uint8_t *header, const struct engine_page_key *key, const void *bytes,
                        size_t size)
{
    struct engine_digest sum;
    memset(header, 0, HEADER_BYTES);
    memcpy(header, "hearthKV", 8);
    put_u32(header + 8, VERSION);
    put_u32(header + 12, KV_PAGE_TOKENS);
    put_u32(header + 16, (uint32_t)size);
    put_u32(header + 20, (uint32_t)((uint64_t)size >> 32));
    memcpy(header + 32, &key->identity, ENGINE_DIGEST_BYTES);
    memcpy(header + 64, &key->parent, ENGINE_DIGEST_BYTES);
    memcpy(header + 96, &key->own, ENGINE_DIGEST_BYTES);
    put_tokens(header + AT_TOKENS, key->tokens);
    hash_parts(&(struct os_part){bytes, size}, 1, &sum);
    memcpy(header + AT_PAGE_SUM, &sum, sizeof sum);
    hash_parts(&(struct os_part){header, AT_HEADER_SUM}, 1, &sum);
    memcpy(header + AT_HEADER_SUM, &sum, sizeof sum);
}

/* Reads and checks; `why` says what is wrong. */
static bool read_page(const struct os_file *file, const struct engine_page_key *key, void *bytes,
                      size_t size, const char **why)
{
    uint8_t header[HEADER_BYTES], want[HEADER_BYTES];
    struct err err;
    if (file->size != HEADER_BYTES + (uint64_t)size) {
        *why = "its size is wrong";
        return false;
    }
    if (!os_file_read(file, 0, header, HEADER_BYTES, &err) ||
        !os_file_read(file, HEADER_BYTES, bytes, size, &err)) {
        *why = "it cannot be read";
        return false;
    }
    make_header(want, key, bytes, size);
    if (memcmp(header, want, AT_PAGE_SUM) != 0) {
        *why = "it holds another page than its name says";
        return false;
    }
    if (memcmp(header, want, HEADER_BYTES) != 0) {
        *why = "its checksum is wrong";
        return false;
    }
    return true;
}

static void forget(struct engine_disk *disk, const struct engine_digest *own, bool is_damaged)
{
    pthread_mutex_lock(&disk->lock);
    struct entry *entry = find(disk, own);
    if (entry) {
        drop_entry(disk, entry);
    }
    disk->stats.damaged += is_damaged;
    pthread_mutex_unlock(&disk->lock);
}

bool engine_disk_read(struct engine_disk *disk, const struct engine_page_key *key, void *bytes,
                      size_t size)
{
    const char *why = "it cannot be opened";
    struct os_file file;
    struct err err;
    if (!engine_disk_has(disk, &key->own)) {
        return false;
    }
    char *path = path_of(disk, &key->own, &key->parent);
    bool ok = path && os_private_open(&file, path, &err);
    if (ok) {
        ok = read_page(&file, key, bytes, size, &why);
        if (ok) {
            os_private_touch(&file);
        }
        os_file_close(&file);
    }
    if (ok) {
        pthread_mutex_lock(&disk->lock);
        disk->stats.reads++;
        pthread_mutex_unlock(&disk->lock);
    } else if (path) {
        log_write(LOG_WARN, "a file of the prefix cache is ignored",
                  LOG_FIELDS(LOG_C("file", path), LOG_C("why", why)));
        forget(disk, &key->own, true);
        (void)os_private_remove(path);
    }
    mem_free(path);
    return ok;
}

void engine_disk_drop(struct engine_disk *disk, const struct engine_page_key *key)
{
    forget(disk, &key->own, false);
    remove_file(disk, &key->own, &key->parent);
}

void engine_disk_write(struct engine_disk *disk, const struct engine_page_key *key,
                       const void *bytes, size_t size)
{
    uint8_t header[HEADER_BYTES];
    const uint64_t file_bytes = HEADER_BYTES + (uint64_t)size;
    struct err err;
    if (engine_disk_has(disk, &key->own) || clock_now_ns() < disk->paused_until_ns ||
        !make_room(disk, file_bytes)) {
        return;
    }
    make_header(header, key, bytes, size);
    char *path = path_of(disk, &key->own, &key->parent);
    const struct os_part parts[] = {{header, HEADER_BYTES}, {bytes, size}};
    bool ok = path ? os_private_write(path, parts, 2, &err) : err_set_memory(&err, NAME_BYTES);
    if (ok) {
        pthread_mutex_lock(&disk->lock);
        struct entry *entry = add_entry(disk, &key->own, &key->parent, file_bytes);
        if (entry) {
            put_newest(disk, entry);
            touch(disk, entry);
            disk->stats.writes++;
        }
        pthread_mutex_unlock(&disk->lock);
        if (!entry) {
            (void)os_private_remove(path);
        }
    } else {
        log_write(LOG_WARN, "the prefix cache cannot be written; the next try is in a minute",
                  LOG_FIELDS(LOG_C("why", err.text)));
        disk->paused_until_ns = clock_now_ns() + PAUSE_NS;
    }
    mem_free(path);
}

bool engine_disk_has(struct engine_disk *disk, const struct engine_digest *own)
{
    pthread_mutex_lock(&disk->lock);
    bool has = find(disk, own) != NULL;
    pthread_mutex_unlock(&disk->lock);
    return has;
}

void engine_disk_touch(struct engine_disk *disk, const struct engine_digest *own)
{
    pthread_mutex_lock(&disk->lock);
    touch(disk, find(disk, own));
    pthread_mutex_unlock(&disk->lock);
}

void engine_disk_stats_read(struct engine_disk *disk, struct engine_disk_stats *out)
{
    pthread_mutex_lock(&disk->lock);
    *out = disk->stats;
    pthread_mutex_unlock(&disk->lock);
    out->bytes_max = disk->bytes_max;
}

/* ---- the thread ---- */

static struct engine_disk_job *take_job(struct engine_disk_job **first,
                                        struct engine_disk_job **last)
{
    struct engine_disk_job *job = *first;
    if (job) {
        *first = job->next;
        *last = *first ? *last : NULL;
        job->next = NULL;
    }
    return job;
}

static void *disk_main(void *arg)
{
    struct engine_disk *disk = arg;
    pthread_mutex_lock(&disk->lock);
    for (;;) {
        struct engine_disk_job *job = take_job(&disk->urgent_first, &disk->urgent_last);
        job = job ? job : take_job(&disk->first, &disk->last);
        if (job) {
            pthread_mutex_unlock(&disk->lock);
            job->run(job);
            pthread_mutex_lock(&disk->lock);
        } else if (disk->is_stopping) {
            break;
        } else {
            pthread_cond_wait(&disk->work, &disk->lock);
        }
    }
    pthread_mutex_unlock(&disk->lock);
    return NULL;
}

void engine_disk_run(struct engine_disk *disk, struct engine_disk_job *job, bool is_urgent)
{
    struct engine_disk_job **first = is_urgent ? &disk->urgent_first : &disk->first;
    struct engine_disk_job **last = is_urgent ? &disk->urgent_last : &disk->last;
    job->next = NULL;
    pthread_mutex_lock(&disk->lock);
    *(*last ? &(*last)->next : first) = job;
    *last = job;
    pthread_cond_signal(&disk->work);
    pthread_mutex_unlock(&disk->lock);
}

struct engine_disk *engine_disk_open(const char *folder, uint64_t bytes_max, struct err *err)
{
    struct engine_disk *disk = MEM_NEW(struct engine_disk);
    if (!disk) {
        err_set_memory(err, sizeof *disk);
        return NULL;
    }
    disk->lock_fd = -1;
    disk->bytes_max = bytes_max;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->work, NULL);
    disk->folder = mem_copy(folder, strlen(folder));
    bool ok = disk->folder ? os_private_folder(folder, err) : err_set_memory(err, strlen(folder));
    disk->lock_fd = ok ? os_private_lock(folder, err) : -1;
    ok = disk->lock_fd >= 0 && scan_folder(disk, err) && make_room(disk, 0);
    if (ok) {
        int fault = pthread_create(&disk->thread, NULL, disk_main, disk);
        ok = fault == 0 || err_set_errno(err, fault, "start the cache's thread");
        disk->is_started = ok;
    }
    if (!ok) {
        engine_disk_close(disk);
        return NULL;
    }
    return disk;
}

void engine_disk_close(struct engine_disk *disk)
{
    if (!disk) {
        return;
    }
    if (disk->is_started) {
        pthread_mutex_lock(&disk->lock);
        disk->is_stopping = true;
        pthread_cond_signal(&disk->work);
        pthread_mutex_unlock(&disk->lock);
        pthread_join(disk->thread, NULL);
    }
    while (disk->oldest) {
        drop_entry(disk, disk->oldest);
    }
    os_private_unlock(disk->lock_fd);
    pthread_cond_destroy(&disk->work);
    pthread_mutex_destroy(&disk->lock);
    mem_free(disk->folder);
    mem_free(disk);
}
