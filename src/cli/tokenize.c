/* hearth tokenize MODEL < TEXT: the token ids of a text. Needs only the vocabulary: no tensors, and
 * any architecture will do. */
#include <getopt.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "text/text.h"

static const char help[] =
    "usage: hearth tokenize MODEL [--no-special] [--special-text] [--json] < TEXT\n\n"
    "Prints the token ids of what stands on standard input, byte for byte.\n\n"
    "  --no-special     add no BOS and no EOS, whatever the model asks for\n"
    "  --special-text   special tokens written in the text become those tokens; without this\n"
    "                   they are text like any other\n"
    "  --json           {\"tokens\":[1,2,3]}; without this a table of ids and pieces\n"
    "  --help           this text\n";

enum { STDIN_BYTES_MAX = 1 << 30, PIECE_SHOWN = 100 };

static void add_json(struct buf *out, const struct text_ids *ids)
{
    buf_add_text(out, "{\"tokens\":[");
    for (size_t i = 0; i < ids->count; i++) {
        buf_add_format(out, "%s%d", i > 0 ? "," : "", (int)ids->ids[i]);
    }
    buf_add_text(out, "]}\n");
}

/* Letters as they are, everything that could disturb a terminal as an escape. */
static void add_quoted(struct buf *out, struct str piece)
{
    buf_add_char(out, '"');
    for (size_t at = 0, len; at < piece.len && at < PIECE_SHOWN; at += len) {
        char quote[STR_QUOTE_MAX];
        uint32_t code;
        len = utf8_decode(piece, at, &code);
        len = len > 0 ? len : 1;
        buf_add_text(out, piece.ptr[at] == '\n' ? "\\n"
                                                : str_quote(quote, str_slice(piece, at, at + len)));
    }
    buf_add_text(out, piece.len > PIECE_SHOWN ? "...\"" : "\"");
}

static const char *kind_name(enum text_kind kind)
{
    static const char *const names[] = {
        [TEXT_UNKNOWN] = "  unknown", [TEXT_CONTROL] = "  control", [TEXT_USER_DEFINED] = "  added",
        [TEXT_UNUSED] = "  unused",   [TEXT_BYTE] = "  byte",
    };
    return kind != TEXT_NORMAL && names[kind] ? names[kind] : "";
}

static void add_table(struct buf *out, const struct text *text, const struct text_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++) {
        const text_id id = ids->ids[i];
        buf_add_format(out, "%8d  ", (int)id);
        add_quoted(out, text_piece(text, id, true));
        buf_add_text(out, kind_name(text_kind_of(text, id)));
        buf_add_char(out, '\n');
    }
    buf_add_format(out, "%zu tokens, %s\n", ids->count, text_name(text));
}

static bool tokenize(const char *path, const struct text_encode_opts *opts, bool as_json,
                     struct err *err)
{
    struct text_ids ids = {0};
    struct buf out = {0};
    char *input = NULL;
    size_t len = 0;
    struct gguf *gguf = gguf_open(path, err);
    if (!gguf) {
        return false;
    }
    struct text *text = text_open(gguf, err);
    gguf_close(gguf);
    char quote[STR_QUOTE_MAX];
    bool ok = text || err_wrap(err, "%s", str_quote(quote, str_of(path)));
    if (ok) {
        input = cli_read_stdin(STDIN_BYTES_MAX, &len, err);
        ok = input && text_encode(text, (struct str){.ptr = input, .len = len}, opts, &ids, err);
    }
    if (ok) {
        if (as_json) {
            add_json(&out, &ids);
        } else {
            add_table(&out, text, &ids);
        }
        ok = out.failed ? err_set_memory(err, out.len) : cli_write(out.ptr, out.len, err);
    }
    buf_deinit(&out);
    text_ids_deinit(&ids);
    mem_free(input);
    text_close(text);
    return ok;
}

int cli_tokenize(int argc, char **argv)
{
    static const struct option options[] = {
        {"no-special", no_argument, NULL, 'n'},
        {"special-text", no_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct text_encode_opts opts = {.add_special = true};
    struct err err = {0};
    bool as_json = false;
    optind = 0; /* also restarts GNU getopt's permutation */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'n':
            opts.add_special = false;
            break;
        case 's':
            opts.parse_special = true;
            break;
        case 'j':
            as_json = true;
            break;
        case 'h':
            return cli_write(help, sizeof help - 1, &err) ? 0 : cli_fail(&err);
        default: {
            char quote[STR_QUOTE_MAX];
            return cli_usage_error("tokenize", "unknown option \"%s\"",
                                   str_quote(quote, str_of(argv[optind - 1])));
        }
        }
    }
    if (argc - optind != 1) {
        return cli_usage_error("tokenize", "one model file is needed, %d are given", argc - optind);
    }
    return tokenize(argv[optind], &opts, as_json, &err) ? 0 : cli_fail(&err);
}
