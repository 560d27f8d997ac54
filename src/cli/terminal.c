/* Printing for all subcommands. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/size.h"
#include "cli/cli.h"

int cli_fail(const struct err *err)
{
    if (err->param[0]) {
        fprintf(stderr, "hearth: %s (%s)\n", err->text, err->param);
    } else {
        fprintf(stderr, "hearth: %s\n", err->text);
    }
    return err_info(err->code)->exit_status;
}

int cli_usage_error(const char *command, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "hearth: %s\ntry: hearth %s --help\n", text, command);
    return err_info(ERR_USAGE)->exit_status;
}

bool cli_write(const void *bytes, size_t len, struct err *err)
{
    const char *at = bytes;
    fflush(stdout);
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, at, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EPIPE) { /* `hearth show F | head`: the reader has seen enough */
            _exit(err_info(ERR_IO)->exit_status);
        }
        if (n <= 0) {
            return err_set_errno(err, n < 0 ? errno : EIO, "write to standard output");
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

char *cli_read_stdin(size_t max, size_t *len, struct err *err)
{
    struct buf text = {.limit = max};
    for (;;) {
        if (!buf_reserve(&text, size_min(64 << 10, max - text.len + (max > text.len ? 0 : 1)))) {
            buf_deinit(&text);
            err_set(err, ERR_TOO_LARGE, "standard input has more than %zu bytes", max);
            return NULL;
        }
        ssize_t n = read(STDIN_FILENO, text.ptr + text.len, text.cap - text.len - 1);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            err_set_errno(err, errno, "read standard input");
            buf_deinit(&text);
            return NULL;
        }
        if (n == 0) {
            return buf_take(&text, len);
        }
        text.len += (size_t)n;
    }
}

/* ---- progress ---- */

enum { BAR_CELLS = 32 };
static const int64_t draw_after_ns = 300000000, draw_every_ns = 100000000;

void cli_progress_start(struct cli_progress *progress, const char *label, uint64_t total)
{
    *progress = (struct cli_progress){.label = label,
                                      .total = total,
                                      .started_ns = clock_now_ns(),
                                      .is_terminal = isatty(STDERR_FILENO) == 1};
}

static void draw(const struct cli_progress *progress)
{
    double share = (double)progress->done / (double)progress->total;
    double spent = (double)(clock_now_ns() - progress->started_ns) / 1e9;
    int full = (int)(share * (double)BAR_CELLS);
    char bar[BAR_CELLS + 1];
    memset(bar, ' ', BAR_CELLS);
    memset(bar, '#', (size_t)(full < 0 ? 0 : full > BAR_CELLS ? BAR_CELLS : full));
    bar[BAR_CELLS] = 0;
    fprintf(stderr, "\r\033[K%s [%s] %3.0f %%  %.0f s left", progress->label, bar, share * 100,
            share > 0 ? spent / share - spent : 0);
}

void cli_progress_update(struct cli_progress *progress, uint64_t done)
{
    int64_t now = clock_now_ns();
    progress->done = done > progress->total ? progress->total : done;
    if (progress->is_terminal && progress->total > 0 &&
        now - progress->started_ns > draw_after_ns && now - progress->drawn_ns > draw_every_ns) {
        draw(progress);
        progress->drawn_ns = now;
        progress->is_drawn = true;
    }
}

void cli_progress_end(struct cli_progress *progress)
{
    if (progress->is_drawn) {
        fprintf(stderr, "\r\033[K");
    }
    progress->is_drawn = false;
}
