/* Replays a fuzz corpus without a fuzzer, so that every compiler and every test run proves again
 * what a fuzzer once found:
 *
 *     replay_NAME DIR...      each file of each folder, in the order of their names
 *
 * Each file is fed as it is, and then in 48 variants: cut short, a byte flipped, a byte replaced, a
 * stretch doubled. The variants come from a generator seeded by the file's bytes, so two runs do
 * the same. The input lies in a block of exactly its size, so the address sanitizer sees a read one
 * byte too far. Exit status: 0, or 77 (meson: skipped) when there is no file; a fault ends in a
 * signal. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VARIANTS = 48, FILE_BYTES_MAX = 1 << 24, VARIED_BYTES_MAX = 1 << 16, PATH_BYTES = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

/* xorshift64* (Vigna 2016); the state is never 0. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

static uint64_t seed_of(const uint8_t *bytes, size_t len)
{
    uint64_t hash = 0xCBF29CE484222325ULL; /* FNV-1a */
    for (size_t i = 0; i < len; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001B3ULL;
    }
    return hash | 1;
}

/* Runs the target on a copy whose block ends where the input ends. */
static void feed(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = calloc(len > 0 ? len : 1, 1);
    if (exact == NULL) {
        fprintf(stderr, "replay: out of memory\n");
        exit(1);
    }
    if (len > 0) {
        memcpy(exact, bytes, len);
    }
    LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static void feed_variants(const uint8_t *bytes, size_t len)
{
    uint64_t state = seed_of(bytes, len);
    uint8_t *work = malloc(2 * len);
    if (work == NULL) {
        fprintf(stderr, "replay: out of memory\n");
        exit(1);
    }
    for (int i = 0; i < VARIANTS; i++) {
        memcpy(work, bytes, len);
        size_t at = (size_t)(next_random(&state) % len);
        size_t work_len = len;
        switch (i % 4) {
        case 0:
            work_len = at;
            break;
        case 1:
            work[at] ^= (uint8_t)(1U << (next_random(&state) % 8));
            break;
        case 2:
            work[at] = (uint8_t)next_random(&state);
            break;
        default: { /* bytes at..at+n stand twice */
            size_t n = (size_t)(next_random(&state) % (len - at)) + 1;
            memcpy(work + at + n, bytes + at, len - at);
            work_len = len + n;
            break;
        }
        }
        feed(work, work_len);
    }
    free(work);
}

static void replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(FILE_BYTES_MAX);
    if (file == NULL || bytes == NULL) {
        fprintf(stderr, "replay: cannot read %s\n", path);
        exit(1);
    }
    size_t len = fread(bytes, 1, FILE_BYTES_MAX, file);
    fclose(file);
    feed(bytes, len);
    if (len > 0 && len <= VARIED_BYTES_MAX) {
        feed_variants(bytes, len);
    }
    free(bytes);
}

static int is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

int main(int argc, char **argv)
{
    int files = 0;
    feed(NULL, 0);
    for (int i = 1; i < argc; i++) {
        struct dirent **entries = NULL;
        int count = scandir(argv[i], &entries, is_input, alphasort);
        for (int j = 0; j < count; j++) {
            char path[PATH_BYTES];
            int len = snprintf(path, sizeof path, "%s/%s", argv[i], entries[j]->d_name);
            if (len < 0 || (size_t)len >= sizeof path) {
                fprintf(stderr, "replay: the path of %s is too long\n", entries[j]->d_name);
                return 1;
            }
            printf("%s\n", path);
            fflush(stdout); /* the last line names the file that crashed */
            replay_file(path);
            free(entries[j]);
            files++;
        }
        free(entries);
    }
    if (files == 0) {
        printf("skipped: the corpus is empty\n");
        return 77;
    }
    printf("replayed %d files and their variants\n", files);
    return 0;
}
