/* hearth quantize IN OUT TYPE: converts the weights of a model (model/quantize.h). */
#include <getopt.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/os.h"
#include "base/pool.h"
#include "base/size.h"
#include "cli/cli.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "gguf/importance.h"
#include "model/quantize.h"

enum { THREADS_MAX = 256 };

static const char help[] =
    "usage: hearth quantize IN OUT TYPE [--imatrix FILE] [--quiet] [--threads N]\n\n"
    "Writes the model IN (any part of a split one) to the single file OUT with its weights as\n"
    "TYPE. Norms and other small tensors keep their types; a TYPE names a mix: the output matrix,\n"
    "the values and some other tensors get more bits, as is customary. For each tensor the error\n"
    "it takes is printed, as a share of its values' root mean square. OUT appears only when it is\n"
    "complete; an existing OUT is replaced then.\n\n"
    "  --imatrix FILE  which weights matter, as hearth imatrix writes it; types of three bits and\n"
    "                less need one\n"
    "  --quiet       no line for each tensor\n"
    "  --threads N   threads that convert; default: the processor's cores\n"
    "  --help        this text\n\n"
    "types:";

struct progress {
    struct cli_progress bar;
    struct err err; /* of writing the lines */
};

static void show_progress(void *arg, uint64_t done, uint64_t all)
{
    struct progress *progress = arg;
    cli_show_progress(&progress->bar, done, all);
}

static void show_tensor(void *arg, const struct model_quantized *done)
{
    struct progress *progress = arg;
    char name[STR_QUOTE_MAX], text[STR_QUOTE_MAX + 128];
    const char *from = dtype_info(done->tensor->type)->name, *to = dtype_info(done->type)->name;
    if (done->tensor->type == done->type) {
        return;
    }
    double share = done->loss.squares > 0 ? sqrt(done->loss.differences / done->loss.squares) : 0;
    int n = snprintf(text, sizeof text, "%-32s %7s -> %-7s error %.4f %%\n",
                     str_quote(name, done->tensor->name), from, to, 100 * share);
    cli_progress_end(&progress->bar);
    if (progress->err.code == ERR_NONE) {
        cli_write(text, (size_t)n, &progress->err);
    }
}

static bool report(const struct model_quantize_result *result, const char *out_path,
                   struct err *err)
{
    char quoted[STR_QUOTE_MAX], text[512];
    double mib = 1024.0 * 1024.0, bits = 8.0 / (double)result->elements;
    int n = snprintf(text, sizeof text,
                     "%s: %.2f MiB of weights, %.2f bits each (was %.2f MiB, %.2f bits)\n",
                     str_quote(quoted, str_of(out_path)), (double)result->bytes_out / mib,
                     (double)result->bytes_out * bits, (double)result->bytes_in / mib,
                     (double)result->bytes_in * bits);
    return cli_write(text, (size_t)n, err);
}

struct request {
    const char *in, *out, *imatrix;
    const struct gguf_mix_target *target;
    bool is_quiet;
    size_t thread_count;
};

static int run(const struct request *r)
{
    struct err err = {0};
    struct cli_interrupt interrupt;
    struct model_quantize_result result = {0};
    struct progress progress = {0};
    struct model_quantize how = {.target = r->target,
                                 .importance_name = r->imatrix,
                                 .progress = show_progress,
                                 .done = r->is_quiet ? NULL : show_tensor,
                                 .is_cancelled = cli_is_interrupted,
                                 .arg = &progress};
    cli_interrupt_watch(&interrupt);
    struct gguf_importance *importance = r->imatrix ? gguf_importance_open(r->imatrix, &err) : NULL;
    bool ok = !r->imatrix || importance;
    how.importance = importance;
    how.pool = ok ? pool_create(r->thread_count, &err) : NULL;
    cli_progress_start(&progress.bar, "quantize", 0);
    ok = how.pool && model_quantize(r->in, r->out, &how, &result, &err);
    cli_progress_end(&progress.bar);
    cli_interrupt_end(&interrupt);
    if (ok && progress.err.code != ERR_NONE) {
        err = progress.err;
        ok = false;
    }
    ok = ok && report(&result, r->out, &err);
    pool_destroy(how.pool);
    gguf_importance_close(importance);
    return ok ? 0 : cli_fail(&err);
}

/* The names of the targets, for --help and for messages. */
static void list_targets(struct buf *out)
{
    for (int i = 0; i < GGUF_MIX_COUNT; i++) {
        buf_add_char(out, i % 12 == 0 && i > 0 ? '\n' : ' ');
        buf_add_text(out, gguf_mix_target((enum gguf_mix_id)i)->name);
    }
}

static int print_help(void)
{
    struct buf text = {0};
    struct err err = {0};
    buf_add_text(&text, help);
    list_targets(&text);
    buf_add_char(&text, '\n');
    bool ok = text.failed ? err_set_memory(&err, text.len) : cli_write(text.ptr, text.len, &err);
    buf_deinit(&text);
    return ok ? 0 : cli_fail(&err);
}

int cli_quantize(int argc, char **argv)
{
    static const struct option options[] = {{"threads", required_argument, NULL, 't'},
                                            {"imatrix", required_argument, NULL, 'i'},
                                            {"quiet", no_argument, NULL, 'q'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    char quoted[STR_QUOTE_MAX];
    struct request r = {0};
    uint64_t thread_count = size_min(os_cpu_cores(), THREADS_MAX);
    opterr = 0;
    optind = 0; /* glibc: start over, also when another command has parsed before */
    for (int c; (c = getopt_long(argc, argv, "hi:qt:", options, NULL)) != -1;) {
        switch (c) {
        case 't':
            if (!str_to_u64(str_of(optarg), &thread_count) || thread_count < 1 ||
                thread_count > THREADS_MAX) {
                return cli_usage_error("quantize", "--threads must be 1 to %d, not \"%s\"",
                                       THREADS_MAX, str_quote(quoted, str_of(optarg)));
            }
            break;
        case 'i':
            r.imatrix = optarg;
            break;
        case 'q':
            r.is_quiet = true;
            break;
        case 'h':
            return print_help();
        default:
            return cli_usage_error("quantize", "unknown option or missing value: %s",
                                   str_quote(quoted, str_of(argv[optind - 1])));
        }
    }
    if (argc - optind != 3) {
        return cli_usage_error("quantize", "quantize needs an input, an output and a type");
    }
    const struct gguf_mix_target *target = gguf_mix_find(str_of(argv[optind + 2]));
    if (!target) {
        return cli_usage_error("quantize", "unknown type \"%s\"; hearth quantize --help lists them",
                               str_quote(quoted, str_of(argv[optind + 2])));
    }
    r.in = argv[optind];
    r.out = argv[optind + 1];
    r.target = target;
    r.thread_count = (size_t)thread_count;
    return run(&r);
}
