/* The command line: one file per subcommand, each a function `int cli_NAME(int argc, char **argv)`
 * with argv[0] = NAME, returning the exit status. Only this folder prints and exits.
 *
 * Convention for all: results go to stdout, everything else (progress, notes, errors) to stderr;
 * errors are one line "hearth: ...", status 1..63 from the table in base/err.h; --help prints usage
 * to stdout and returns 0; a wrong command line is status 2 with a hint at --help. Options may
 * stand before or after operands. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/attr.h"
#include "base/err.h"
#include "base/str.h"

int cli_bench(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_embed(int argc, char **argv);
int cli_eval(int argc, char **argv);
int cli_list(int argc, char **argv);
int cli_lora(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_convert(int argc, char **argv);
int cli_imatrix(int argc, char **argv);
int cli_merge(int argc, char **argv);
int cli_perplexity(int argc, char **argv);
int cli_quantize(int argc, char **argv);
int cli_rerank(int argc, char **argv);
int cli_replay(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_serve(int argc, char **argv);
int cli_show(int argc, char **argv);
int cli_template(int argc, char **argv);
int cli_tokenize(int argc, char **argv);

/* Prints "hearth: TEXT" (<= 4 KiB) to stderr and returns the exit status of the error's code. */
int cli_fail(const struct err *err);

/* A wrong command line: prints the message and "try: hearth COMMAND --help"; returns 2. */
int cli_usage_error(const char *command, const char *format, ...) ATTR_PRINTF(2, 3);

/* Writes all bytes to stdout; false (and an error) when stdout is closed or full. */
bool cli_write(const void *bytes, size_t len, struct err *err);

/* Reads stdin to its end, at most max bytes; mem_free the result, NUL-terminated. */
char *cli_read_stdin(size_t max, size_t *len, struct err *err);

/* A progress bar on stderr, drawn only when stderr is a terminal and the work is longer than a
 * moment. `total` 0 hides it. Call from one thread. */
struct cli_progress {
    const char *label;
    uint64_t total, done;
    int64_t started_ns, drawn_ns;
    bool is_terminal, is_drawn;
};

void cli_progress_start(struct cli_progress *progress, const char *label, uint64_t total);
void cli_progress_update(struct cli_progress *progress, uint64_t done);
void cli_progress_end(struct cli_progress *progress);

#endif
