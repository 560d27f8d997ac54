#include "cli/line.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "cli/wake.h"

enum { HISTORY_LINES = 1000 };

struct cli_line {
    EditLine *edit;
    History *history;
    char *history_path;
    bool is_continued, was_interrupted;
};

/* ---- history file ---- */

char *cli_line_history_path(const char *state_home, const char *home)
{
    struct buf path = {0};
    /* The XDG base directory specification: a relative path counts as not set. */
    if (state_home && state_home[0] == '/') {
        buf_add_text(&path, state_home);
    } else if (home && home[0] == '/') {
        buf_add_text(&path, home);
        buf_add_text(&path, "/.local/state");
    } else {
        return NULL;
    }
    buf_add_text(&path, "/hearth/history");
    size_t len;
    return buf_take(&path, &len);
}

/* Makes the directories of a path; what fails shows when the file is written. */
static void make_directories(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0700);
        *slash = '/';
    }
}

static void load_history(struct cli_line *line)
{
    HistEvent event;
    line->history_path = cli_line_history_path(getenv("XDG_STATE_HOME"), getenv("HOME"));
    history(line->history, &event, H_SETSIZE, HISTORY_LINES);
    history(line->history, &event, H_SETUNIQUE, 1);
    if (line->history_path) {
        history(line->history, &event, H_LOAD, line->history_path);
    }
    el_set(line->edit, EL_HIST, history, line->history);
}

static void add_history(struct cli_line *line, const char *text)
{
    HistEvent event;
    history(line->history, &event, H_ENTER, text);
    if (line->history_path) {
        mode_t kept = umask(077);
        make_directories(line->history_path);
        history(line->history, &event, H_SAVE, line->history_path);
        umask(kept);
    }
}

/* ---- keys ---- */

static const char *show_prompt(EditLine *edit)
{
    struct cli_line *line = NULL;
    el_get(edit, EL_CLIENTDATA, &line);
    return line && line->is_continued ? "... " : ">>> ";
}

/* One byte from the terminal; false when it has ended or the user pressed Ctrl-C. */
static bool read_byte(struct cli_line *line, char *byte)
{
    for (;;) {
        bool is_ready = cli_wake_wait(STDIN_FILENO, -1);
        if (cli_wake_must_leave() || cli_wake_take_interrupt()) {
            line->was_interrupted = true;
            return false;
        }
        if (is_ready) {
            ssize_t n = read(STDIN_FILENO, byte, 1);
            if (n == 1) {
                return true;
            }
            if (n == 0 || errno != EINTR) {
                return false;
            }
        }
    }
}

/* libedit asks for characters here, so that a signal can end the wait. */
static int read_character(EditLine *edit, wchar_t *out)
{
    struct cli_line *line = NULL;
    char bytes[4];
    uint32_t code = 0;
    el_get(edit, EL_CLIENTDATA, &line);
    for (size_t len = 1; len <= sizeof bytes; len++) {
        if (!read_byte(line, &bytes[len - 1])) {
            return line->was_interrupted ? -1 : 0;
        }
        if (utf8_decode((struct str){bytes, len}, 0, &code) == len) {
            *out = (wchar_t)code;
            return 1;
        }
        if (utf8_incomplete_tail((struct str){bytes, len}) != len) {
            break;
        }
    }
    *out = 0xfffd;
    return 1;
}

struct cli_line *cli_line_open(struct err *err)
{
    struct cli_line *line = MEM_NEW(struct cli_line);
    if (!line) {
        err_set_memory(err, sizeof *line);
        return NULL;
    }
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX < 4) {
        setlocale(LC_CTYPE, "C.UTF-8"); /* libedit draws through the locale */
    }
    line->edit = el_init("hearth", stdin, stdout, stderr);
    line->history = history_init();
    if (!line->edit || !line->history) {
        cli_line_close(line);
        err_set(err, ERR_IO, "line editing could not be set up on this terminal");
        return NULL;
    }
    el_set(line->edit, EL_CLIENTDATA, line);
    el_set(line->edit, EL_PROMPT, show_prompt);
    el_set(line->edit, EL_SIGNAL, 0);
    el_set(line->edit, EL_EDITOR, "emacs");
    el_wset(line->edit, EL_GETCFN, read_character);
    load_history(line);
    return line;
}

void cli_line_close(struct cli_line *line)
{
    if (!line) {
        return;
    }
    if (line->edit) {
        el_end(line->edit);
    }
    if (line->history) {
        history_end(line->history);
    }
    mem_free(line->history_path);
    mem_free(line);
}

enum cli_line_end cli_line_read(struct cli_line *line, struct buf *out)
{
    buf_clear(out);
    line->is_continued = false;
    line->was_interrupted = false;
    for (;;) {
        int len = 0;
        /* libedit shows the prompt first and changes the terminal's mode then: a Ctrl-D between the
         * two would be eaten as the end of a cooked line. */
        el_set(line->edit, EL_PREP_TERM, 1);
        const char *text = el_gets(line->edit, &len);
        if (!text || len <= 0) {
            return line->was_interrupted ? CLI_LINE_INTERRUPTED : CLI_LINE_EOF;
        }
        struct str entry = {text, (size_t)len};
        if (str_ends(entry, STR("\n"))) {
            entry.len--;
        }
        line->is_continued = str_ends(entry, STR("\\"));
        entry.len -= line->is_continued;
        buf_add(out, entry);
        if (!line->is_continued) {
            break;
        }
        buf_add_char(out, '\n');
    }
    if (str_trim(buf_view(out)).len > 0 && !out->failed) {
        add_history(line, out->ptr);
    }
    return CLI_LINE_TEXT;
}
