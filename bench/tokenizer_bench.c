/* Megabytes per second of text_encode, and how long a vocabulary takes to load.
 *
 *     tokenizer_bench VOCAB.gguf TEXT [MEGABYTES]
 *
 * TEXT is repeated until it has MEGABYTES (default 8). The word cache sees each word again then, as
 * it does in natural text of that length; give a large text to measure without that help. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"
#include "text/text.h"

enum { ROUNDS = 5 };

static double seconds_since(int64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) / 1e9;
}

static bool measure(const struct text *text, const char *what, struct str s, struct err *err)
{
    const struct text_encode_opts opts = {.add_special = true};
    double best_s = 1e9;
    size_t count = 0;
    for (int round = 0; round < ROUNDS; round++) {
        struct text_ids ids = {0};
        const int64_t start_ns = clock_now_ns();
        const bool ok = text_encode(text, s, &opts, &ids, err);
        const double s_now = seconds_since(start_ns);
        best_s = s_now < best_s ? s_now : best_s;
        count = ids.count;
        text_ids_deinit(&ids);
        if (!ok) {
            return false;
        }
    }
    printf("%-24s %8.1f MB/s  %9zu bytes %9zu tokens\n", what, (double)s.len / best_s / 1e6, s.len,
           count);
    return true;
}

static bool measure_all(const struct text *text, struct str unit, size_t bytes, struct err *err)
{
    struct buf all = {0}, letters = {0}, spaces = {0}, lines = {0};
    while (all.len < bytes && !all.failed) {
        buf_add(&all, unit);
    }
    for (size_t i = 0; i < 1 << 20; i++) {
        buf_add_char(&letters, 'a');
        buf_add_char(&spaces, ' ');
        buf_add_char(&lines, '\n');
    }
    const bool ok = measure(text, "text", buf_view(&all), err) &&
                    measure(text, "text, 4 KiB", str_slice(buf_view(&all), 0, 4096), err) &&
                    measure(text, "1 MiB of one letter", buf_view(&letters), err) &&
                    measure(text, "1 MiB of spaces", buf_view(&spaces), err) &&
                    measure(text, "1 MiB of line ends", buf_view(&lines), err);
    buf_deinit(&all);
    buf_deinit(&letters);
    buf_deinit(&spaces);
    buf_deinit(&lines);
    return ok;
}

int main(int argc, char **argv)
{
    struct err err = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: tokenizer_bench VOCAB.gguf TEXT [MEGABYTES]\n");
        return 2;
    }
    struct gguf *gguf = gguf_open(argv[1], &err);
    const int64_t start_ns = clock_now_ns();
    struct text *text = gguf ? text_open(gguf, &err) : NULL;
    const double load_s = seconds_since(start_ns);
    gguf_close(gguf);
    size_t len = 0;
    char *unit = text ? os_file_slurp(argv[2], 1 << 30, &len, &err) : NULL;
    bool ok = unit && len > 0;
    if (ok) {
        printf("%s: %zu tokens, loaded in %.0f ms\n", text_name(text), text_vocab_count(text),
               load_s * 1e3);
        const size_t megabytes = argc > 3 ? strtoul(argv[3], NULL, 10) : 8;
        ok = measure_all(text, (struct str){.ptr = unit, .len = len}, megabytes * 1000000, &err);
    }
    if (!ok) {
        fprintf(stderr, "tokenizer_bench: %s\n", err.text[0] ? err.text : "the text is empty");
    }
    mem_free(unit);
    text_close(text);
    return ok ? 0 : 1;
}
