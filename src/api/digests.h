/* SHA-256 digests of model files, which Ollama's clients are told. A thread of low priority
 * computes one file at a time, and what it found stays in the store under path, size and time of
 * change, so that a restart reads no file again.
 *
 * The digest of a split model is that of its parts one behind the other, as of
 * `cat m-0000?-of-00003.gguf | sha256sum`. */
#ifndef API_DIGESTS_H
#define API_DIGESTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "store/store.h"

struct api_digests;

enum { API_DIGEST_HEX = 64 };

/* Files up to this size are worth a wait: they take a fraction of a second. */
#define API_DIGESTS_WAIT_BYTES ((uint64_t)64 << 20)

/* Starts the thread. store: borrowed; NULL: a restart computes again. */
struct api_digests *api_digests_create(struct store *store, struct err *err);
void api_digests_destroy(struct api_digests *digests); /* NULL is fine */

/* The digest in lower hex; false when it is not known yet: then it is being computed, and for a
 * file of at most API_DIGESTS_WAIT_BYTES this waits until deadline_ns (of clock_now_ns; 0: not at
 * all). A file that cannot be read has none. Reads the store; any thread that may wait for it. */
bool api_digests_get(struct api_digests *digests, const char *path, int64_t deadline_ns,
                     char hex[API_DIGEST_HEX + 1]);

#endif
