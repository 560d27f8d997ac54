#include "api/digests.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cond.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "gguf/split.h"

enum { CHUNK_BYTES = 1 << 20, BODY_DEPTH_MAX = 4 };

enum state { WANTED, KNOWN, UNREADABLE };

/* Of all parts of a model: when it is the same, so are the bytes. */
struct stamp {
    uint64_t bytes;
    int64_t changed_ns; /* of the part that changed last */
};

struct entry {
    char *path;
    struct stamp stamp;
    enum state state;
    char hex[API_DIGEST_HEX + 1];
    struct entry *next;
};

struct api_digests {
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t wanted, known;
    struct entry *entries; /* one per path that was asked for */
    bool stopping;
};

/* ---- the files of a model ---- */

static uint32_t part_count(const char *path)
{
    struct gguf_split_name name;
    return gguf_split_parse(str_of(path), &name) ? name.count : 1;
}

/* Part `index`, from 0. */
static bool open_part(const char *path, uint32_t index, struct os_file *file, struct err *err)
{
    struct gguf_split_name name;
    struct buf text = {0};
    if (!gguf_split_parse(str_of(path), &name)) {
        return os_file_open(file, path, err);
    }
    buf_add(&text, name.prefix);
    buf_add_format(&text, "-%05u-of-%05u.gguf", index + 1, name.count);
    buf_add_char(&text, '\0');
    bool ok = text.failed ? err_set_memory(err, text.len) : os_file_open(file, text.ptr, err);
    buf_deinit(&text);
    return ok;
}

static bool read_stamp(const char *path, struct stamp *stamp, struct err *err)
{
    *stamp = (struct stamp){0};
    for (uint32_t i = 0; i < part_count(path); i++) {
        struct os_file file;
        if (!open_part(path, i, &file, err)) {
            return false;
        }
        stamp->bytes += file.size;
        if (file.mtime_ns > stamp->changed_ns) {
            stamp->changed_ns = file.mtime_ns;
        }
        os_file_close(&file);
    }
    return true;
}

static bool is_same(const struct stamp *a, const struct stamp *b)
{
    return a->bytes == b->bytes && a->changed_ns == b->changed_ns;
}

/* ---- the store ---- */

static void keep(struct api_digests *digests, const struct entry *entry)
{
    struct buf body = {0};
    struct err ignored; /* it is computed again after a restart */
    buf_add_format(&body, "{\"bytes\":%llu,\"changed_ns\":%lld,\"sha256\":\"%s\"}",
                   (unsigned long long)entry->stamp.bytes, (long long)entry->stamp.changed_ns,
                   entry->hex);
    const struct store_object object = {.kind = STORE_DIGEST,
                                        .id = str_of(entry->path),
                                        .created_s = clock_wall_s(),
                                        .body = buf_view(&body)};
    if (digests->store && !body.failed) {
        store_put(digests->store, &object, 1, &ignored);
    }
    buf_deinit(&body);
}

static bool recall(struct api_digests *digests, const char *path, const struct stamp *stamp,
                   char hex[API_DIGEST_HEX + 1])
{
    struct arena arena = arena_init(0);
    struct store_object object;
    struct err ignored;
    const struct json_limits limits = {.depth_max = BODY_DEPTH_MAX};
    bool found = digests->store && store_get(digests->store, STORE_DIGEST, STR(""), STR(""),
                                             str_of(path), false, &arena, &object, &ignored);
    json_t *body = found ? json_parse(object.body, &limits, &ignored) : NULL;
    const json_t *sha256 = json_object_get(body, "sha256");
    found = json_string_length(sha256) == API_DIGEST_HEX &&
            (uint64_t)json_integer_value(json_object_get(body, "bytes")) == stamp->bytes &&
            json_integer_value(json_object_get(body, "changed_ns")) == stamp->changed_ns;
    if (found) {
        memcpy(hex, json_string_value(sha256), API_DIGEST_HEX + 1);
    }
    json_decref(body);
    arena_deinit(&arena);
    return found;
}

/* ---- the thread ---- */

static bool is_stopping(struct api_digests *digests)
{
    pthread_mutex_lock(&digests->lock);
    bool stopping = digests->stopping;
    pthread_mutex_unlock(&digests->lock);
    return stopping;
}

static bool add_part(struct api_digests *digests, const struct os_file *file, EVP_MD_CTX *sha,
                     unsigned char *chunk, struct err *err)
{
    for (uint64_t at = 0; at < file->size; at += CHUNK_BYTES) {
        uint64_t left = file->size - at;
        size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        if (is_stopping(digests)) {
            return err_set(err, ERR_CANCELLED, "the server stops");
        }
        if (!os_file_read(file, at, chunk, len, err)) {
            return false;
        }
        if (EVP_DigestUpdate(sha, chunk, len) != 1) {
            return err_set_memory(err, len);
        }
    }
    return true;
}

static bool compute(struct api_digests *digests, const char *path, char hex[API_DIGEST_HEX + 1],
                    struct err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    unsigned char *chunk = MEM_ARRAY(unsigned char, CHUNK_BYTES);
    EVP_MD_CTX *sha = EVP_MD_CTX_new();
    bool ok = (chunk && sha && EVP_DigestInit_ex(sha, EVP_sha256(), NULL) == 1) ||
              err_set_memory(err, CHUNK_BYTES);
    for (uint32_t i = 0; ok && i < part_count(path); i++) {
        struct os_file file;
        ok = open_part(path, i, &file, err);
        if (ok) {
            ok = add_part(digests, &file, sha, chunk, err);
            os_file_close(&file);
        }
    }
    ok = ok && (EVP_DigestFinal_ex(sha, digest, &len) == 1 || err_set_memory(err, sizeof digest));
    for (unsigned i = 0; ok && i < len; i++) {
        snprintf(hex + 2 * (size_t)i, 3, "%02x", digest[i]);
    }
    EVP_MD_CTX_free(sha);
    mem_free(chunk);
    return ok;
}

static struct entry *find_wanted(struct api_digests *digests)
{
    struct entry *entry = digests->entries;
    while (entry && entry->state != WANTED) {
        entry = entry->next;
    }
    return entry;
}

/* Under the lock, which it leaves while it reads. Entries stay and so do their paths; their stamps
 * change when somebody asks for a file that has changed meanwhile. */
static void answer(struct api_digests *digests, struct entry *entry)
{
    struct entry done = {.path = entry->path, .stamp = entry->stamp};
    struct stamp after;
    struct err ignored;
    pthread_mutex_unlock(&digests->lock);
    bool ok = compute(digests, done.path, done.hex, &ignored) &&
              read_stamp(done.path, &after, &ignored) && is_same(&after, &done.stamp);
    if (ok) {
        keep(digests, &done);
    }
    pthread_mutex_lock(&digests->lock);
    if (is_same(&entry->stamp, &done.stamp)) { /* else it is wanted as it is now */
        entry->state = ok ? KNOWN : UNREADABLE;
        memcpy(entry->hex, done.hex, sizeof entry->hex);
    }
    pthread_cond_broadcast(&digests->known);
}

static void *run(void *arg)
{
    struct api_digests *digests = arg;
    os_thread_yield_to_others();
    pthread_mutex_lock(&digests->lock);
    while (!digests->stopping) {
        struct entry *entry = find_wanted(digests);
        if (entry) {
            answer(digests, entry);
        } else {
            cond_wait_until(&digests->wanted, &digests->lock, COND_NEVER);
        }
    }
    pthread_mutex_unlock(&digests->lock);
    return NULL;
}

/* ---- asking ---- */

struct api_digests *api_digests_create(struct store *store, struct err *err)
{
    struct api_digests *digests = MEM_NEW(struct api_digests);
    if (!digests) {
        err_set_memory(err, sizeof *digests);
        return NULL;
    }
    digests->store = store;
    pthread_mutex_init(&digests->lock, NULL);
    cond_init(&digests->wanted);
    cond_init(&digests->known);
    int code = pthread_create(&digests->thread, NULL, run, digests);
    if (code != 0) {
        err_set_errno(err, code, "start a thread for digests");
        pthread_cond_destroy(&digests->wanted);
        pthread_cond_destroy(&digests->known);
        pthread_mutex_destroy(&digests->lock);
        mem_free(digests);
        return NULL;
    }
    return digests;
}

void api_digests_destroy(struct api_digests *digests)
{
    if (!digests) {
        return;
    }
    pthread_mutex_lock(&digests->lock);
    digests->stopping = true;
    pthread_cond_broadcast(&digests->wanted);
    pthread_mutex_unlock(&digests->lock);
    pthread_join(digests->thread, NULL);
    while (digests->entries) {
        struct entry *entry = digests->entries;
        digests->entries = entry->next;
        mem_free(entry->path);
        mem_free(entry);
    }
    pthread_cond_destroy(&digests->wanted);
    pthread_cond_destroy(&digests->known);
    pthread_mutex_destroy(&digests->lock);
    mem_free(digests);
}

/* Under the lock: the entry of a path, made if there is none; NULL without memory. */
static struct entry *find(struct api_digests *digests, const char *path)
{
    struct entry *entry = digests->entries;
    while (entry && strcmp(entry->path, path) != 0) {
        entry = entry->next;
    }
    if (entry) {
        return entry;
    }
    entry = MEM_NEW(struct entry);
    char *copy = entry ? mem_copy(path, strlen(path)) : NULL;
    if (!copy) {
        mem_free(entry);
        return NULL;
    }
    *entry = (struct entry){.path = copy, .state = UNREADABLE, .next = digests->entries};
    digests->entries = entry;
    return entry;
}

bool api_digests_get(struct api_digests *digests, const char *path, int64_t deadline_ns,
                     char hex[API_DIGEST_HEX + 1])
{
    struct stamp stamp;
    struct err ignored;
    if (!digests || !read_stamp(path, &stamp, &ignored)) {
        return false;
    }
    pthread_mutex_lock(&digests->lock);
    struct entry *entry = find(digests, path);
    if (entry && !is_same(&entry->stamp, &stamp)) {
        entry->stamp = stamp;
        entry->state = recall(digests, path, &stamp, entry->hex) ? KNOWN : WANTED;
        pthread_cond_signal(&digests->wanted);
    }
    bool waits = stamp.bytes <= API_DIGESTS_WAIT_BYTES;
    while (entry && waits && entry->state == WANTED && is_same(&entry->stamp, &stamp) &&
           clock_now_ns() < deadline_ns) {
        cond_wait_until(&digests->known, &digests->lock, deadline_ns);
    }
    bool known = entry && entry->state == KNOWN && is_same(&entry->stamp, &stamp);
    if (known) {
        memcpy(hex, entry->hex, sizeof entry->hex);
    }
    pthread_mutex_unlock(&digests->lock);
    return known;
}
