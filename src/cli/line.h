/* Lines from a person at a terminal: editing and history through libedit. The history is kept in
 * $XDG_STATE_HOME/hearth/history, or ~/.local/state/hearth/history; without either there is none.
 */
#ifndef CLI_LINE_H
#define CLI_LINE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"

struct cli_line;

enum cli_line_end {
    CLI_LINE_TEXT,
    CLI_LINE_EOF,        /* Ctrl-D, or the terminal is gone */
    CLI_LINE_INTERRUPTED /* Ctrl-C or a signal to leave */
};

/* NULL: out of memory, or no terminal that libedit can use. */
struct cli_line *cli_line_open(struct err *err);
void cli_line_close(struct cli_line *line);

/* Reads one entry; a line that ends with a backslash goes on in the next. `out` is replaced. */
enum cli_line_end cli_line_read(struct cli_line *line, struct buf *out);

/* Path of the history file for the given values of the variables (NULL: not set); mem_free it. NULL
 * when there is none. */
char *cli_line_history_path(const char *state_home, const char *home);

#endif
