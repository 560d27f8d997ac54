/* hearth show FILE: what is in a GGUF file. Needs neither tensors nor a supported architecture.
 * Output is built in a buffer that is written out whenever it is full, so that a vocabulary of any
 * size costs no memory; every text of the file is escaped before it reaches a terminal. */
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "gguf/gguf.h"
#include "gguf/summary.h"
#include "tensor/path.h"

enum { FLUSH_BYTES = 64 << 10, PIECE_BYTES = 16 << 10, ITEMS_SHOWN = 6, TEXT_SHOWN = 160 };

static const char help[] =
    "usage: hearth show FILE [--json] [--full]\n\n"
    "Shows metadata, tensors, sizes, the mix of types and the chat template of a GGUF file.\n"
    "Any part of a split model shows the whole model.\n\n"
    "  --json   one JSON object for programs; nothing is abbreviated\n"
    "  --full   do not abbreviate long arrays and texts\n"
    "  --help   this text\n";

/* ---- output ---- */

struct output {
    struct buf text;
    bool is_full; /* --full */
    struct err *err;
    bool failed; /* err is set */
};

static void flush(struct output *o, size_t least)
{
    if (o->failed || (o->text.len < least && !o->text.failed)) {
        return;
    }
    if (o->text.failed) {
        o->failed = !err_set_memory(o->err, FLUSH_BYTES);
    } else {
        o->failed = !cli_write(o->text.ptr, o->text.len, o->err);
    }
    buf_clear(&o->text);
}

/* Control bytes, invalid UTF-8 and deceptive characters come out as escapes; with `lines`, line
 * breaks and tabs stay. At most `max` bytes of s. */
static void add_escaped(struct output *o, struct str s, size_t max, bool lines)
{
    size_t i = 0;
    while (i < s.len && i < max) {
        char quoted[STR_QUOTE_MAX];
        uint32_t code;
        size_t len = utf8_decode(s, i, &code);
        char c = s.ptr[i];
        bool is_plain = c >= ' ' && c <= '~' && (lines || (c != '"' && c != '\\'));
        if (is_plain || (lines && (c == '\n' || c == '\t'))) {
            buf_add_char(&o->text, c);
        } else if (c == '\n') {
            buf_add_text(&o->text, "\\n");
        } else {
            buf_add_text(&o->text, str_quote(quoted, str_slice(s, i, i + (len ? len : 1))));
        }
        i += len ? len : 1;
        flush(o, FLUSH_BYTES);
    }
    if (i < s.len) {
        buf_add_format(&o->text, "... (%zu bytes)", s.len);
    }
}

/* ---- for programs ---- */

/* A text of any length in pieces, so that the buffer stays small. */
static void add_json_string(struct output *o, struct str s)
{
    struct buf piece = {0};
    buf_add_char(&o->text, '"');
    while (s.len > 0 && !o->failed) {
        struct str part = str_slice(s, 0, PIECE_BYTES);
        if (part.len < s.len) {
            part.len -= utf8_incomplete_tail(part);
        }
        buf_clear(&piece);
        json_write_string(&piece, part);
        o->text.failed |= piece.failed;
        buf_add(&o->text, str_slice(buf_view(&piece), 1, piece.len - 1)); /* without the quotes */
        s = str_slice(s, part.len, s.len);
        flush(o, FLUSH_BYTES);
    }
    buf_deinit(&piece);
    buf_add_char(&o->text, '"');
}

/* By hand: an array may have 10^9 of them, and printf would take a minute. */
static void add_unsigned(struct output *o, uint64_t value)
{
    char digits[20], *at = digits + sizeof digits;
    do {
        *--at = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_add(&o->text, (struct str){.ptr = at, .len = (size_t)(digits + sizeof digits - at)});
}

static void add_signed(struct output *o, int64_t value)
{
    if (value < 0) {
        buf_add_char(&o->text, '-');
    }
    add_unsigned(o, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

static void add_number(struct output *o, double value, bool is_float, bool is_json)
{
    char digits[32];
    if (!isfinite(value)) {
        buf_add_text(&o->text, is_json        ? "null"
                               : isnan(value) ? "nan"
                               : value > 0    ? "inf"
                                              : "-inf");
        return;
    }
    if (is_float) {
        json_format_float((float)value, digits);
    } else {
        json_format_double(value, digits);
    }
    buf_add_text(&o->text, digits);
}

static void add_item(struct output *o, const struct gguf_value *array, uint64_t i, bool is_json)
{
    switch (array->item_kind) {
    case GGUF_STRING:
        if (is_json) {
            add_json_string(o, array->texts[i]);
        } else {
            buf_add_char(&o->text, '"');
            add_escaped(o, array->texts[i], o->is_full ? SIZE_MAX : TEXT_SHOWN, false);
            buf_add_char(&o->text, '"');
        }
        break;
    case GGUF_F32:
    case GGUF_F64:
        add_number(o, gguf_item_f64(array, i), array->item_kind == GGUF_F32, is_json);
        break;
    case GGUF_BOOL:
        buf_add_text(&o->text, gguf_item_i64(array, i) ? "true" : "false");
        break;
    case GGUF_U64:
        add_unsigned(o, (uint64_t)gguf_item_i64(array, i));
        break;
    default:
        add_signed(o, gguf_item_i64(array, i));
        break;
    }
    flush(o, FLUSH_BYTES);
}

static void add_array(struct output *o, const struct gguf_value *value, bool is_json)
{
    uint64_t shown = value->count;
    if (!is_json && !o->is_full && shown > ITEMS_SHOWN) {
        shown = ITEMS_SHOWN;
    }
    buf_add_char(&o->text, '[');
    for (uint64_t i = 0; i < shown && !o->failed; i++) {
        buf_add_text(&o->text, i == 0 ? "" : is_json ? "," : ", ");
        add_item(o, value, i, is_json);
    }
    if (shown < value->count) {
        buf_add_format(&o->text, ", ... (%" PRIu64 " items)", value->count);
    }
    buf_add_char(&o->text, ']');
}

static void add_value(struct output *o, const struct gguf_value *value, bool is_json)
{
    switch (value->kind) {
    case GGUF_STRING:
        if (is_json) {
            add_json_string(o, value->text);
        } else {
            buf_add_char(&o->text, '"');
            add_escaped(o, value->text, o->is_full ? SIZE_MAX : TEXT_SHOWN, false);
            buf_add_char(&o->text, '"');
        }
        break;
    case GGUF_ARRAY:
        add_array(o, value, is_json);
        break;
    case GGUF_F32:
    case GGUF_F64:
        add_number(o, value->f64, value->kind == GGUF_F32, is_json);
        break;
    case GGUF_BOOL:
        buf_add_text(&o->text, value->u64 ? "true" : "false");
        break;
    case GGUF_I8:
    case GGUF_I16:
    case GGUF_I32:
    case GGUF_I64:
        add_signed(o, value->i64);
        break;
    default:
        add_unsigned(o, value->u64);
        break;
    }
    flush(o, FLUSH_BYTES);
}

static void add_json_tensor(struct output *o, const struct gguf_tensor *tensor)
{
    buf_add_text(&o->text, "{\"name\":");
    add_json_string(o, tensor->name);
    buf_add_format(&o->text, ",\"type\":\"%s\",\"shape\":[", dtype_info(tensor->type)->name);
    for (uint32_t i = 0; i < tensor->dim_count; i++) {
        buf_add_format(&o->text, "%s%" PRIu64, i ? "," : "", tensor->dims[i]);
    }
    buf_add_format(&o->text, "],\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"shard\":%u}",
                   tensor->offset, tensor->bytes, (unsigned)tensor->shard);
    flush(o, FLUSH_BYTES);
}

static const struct gguf_value *chat_template(const struct gguf *gguf)
{
    const struct gguf_entry *entry = gguf_find(gguf, STR("tokenizer.chat_template"));
    return entry && entry->value.kind == GGUF_STRING ? &entry->value : NULL;
}

static void show_json(struct output *o, const struct gguf *gguf)
{
    struct gguf_summary summary;
    gguf_summarize(gguf, &summary);
    buf_add_text(&o->text, "{\"path\":");
    add_json_string(o, str_of(gguf->path));
    buf_add_format(&o->text, ",\"version\":%u,\"alignment\":%u,\"metadata\":{",
                   (unsigned)gguf->version, (unsigned)gguf->alignment);
    for (size_t i = 0; i < gguf->entry_count && !o->failed; i++) {
        buf_add_text(&o->text, i ? "," : "");
        add_json_string(o, gguf->entries[i].key);
        buf_add_char(&o->text, ':');
        add_value(o, &gguf->entries[i].value, true);
    }
    buf_add_text(&o->text, "},\"tensors\":[");
    for (size_t i = 0; i < gguf->tensor_count && !o->failed; i++) {
        buf_add_text(&o->text, i ? "," : "");
        add_json_tensor(o, &gguf->tensors[i]);
    }
    buf_add_text(&o->text, "],\"types\":{");
    for (size_t i = 0; i < summary.type_count; i++) {
        const struct gguf_type_share *share = &summary.types[i];
        char path[KERNEL_PATH_MAX];
        kernels_path(kernels_get(cpu_level_detect()), share->type, path);
        buf_add_format(&o->text,
                       "%s\"%s\":{\"tensors\":%" PRIu64 ",\"elements\":%" PRIu64
                       ",\"bytes\":%" PRIu64 ",\"kernel\":\"%s\"}",
                       i ? "," : "", dtype_info(share->type)->name, share->tensor_count,
                       share->elements, share->bytes, path);
    }
    buf_add_format(&o->text, "},\"parameters\":%" PRIu64 ",\"bits_per_weight\":", summary.elements);
    add_number(o, summary.bits_per_weight, false, true);
    buf_add_format(&o->text,
                   ",\"shards\":%zu,\"tensor_bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64
                   ",\"chat_template\":",
                   gguf->shard_count, gguf->tensor_bytes, gguf->file_bytes);
    const struct gguf_value *template = chat_template(gguf);
    if (template) {
        add_json_string(o, template->text);
    } else {
        buf_add_text(&o->text, "null");
    }
    buf_add_text(&o->text, "}\n");
}

/* ---- for people ---- */

static void add_size(struct output *o, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;
    while (value >= 1024 && unit < 6) {
        value /= 1024;
        unit++;
    }
    buf_add_format(&o->text, unit ? "%.2f %s" : "%.0f %s", value, units[unit]);
}

static void show_facts(struct output *o, const struct gguf *gguf, const struct gguf_summary *sum)
{
    static const struct {
        const char *label, *key;
    } rows[] = {{"architecture", "general.architecture"},
                {"name", "general.name"},
                {"size", "general.size_label"},
                {"license", "general.license"}};
    add_escaped(o, str_of(gguf->path), SIZE_MAX, false);
    buf_add_format(&o->text, "\n  format        GGUF version %u, alignment %u, %zu file%s, ",
                   (unsigned)gguf->version, (unsigned)gguf->alignment, gguf->shard_count,
                   gguf->shard_count == 1 ? "" : "s");
    add_size(o, gguf->file_bytes);
    buf_add_char(&o->text, '\n');
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct gguf_entry *entry = gguf_find(gguf, str_of(rows[i].key));
        if (entry && entry->value.kind == GGUF_STRING) {
            buf_add_format(&o->text, "  %-13s ", rows[i].label);
            add_escaped(o, entry->value.text, TEXT_SHOWN, false);
            buf_add_char(&o->text, '\n');
        }
    }
    if (sum->elements) {
        buf_add_format(&o->text, "  parameters    %" PRIu64 "\n  weights       ", sum->elements);
        add_size(o, gguf->tensor_bytes);
        buf_add_format(&o->text, ", %.2f bits per weight\n", sum->bits_per_weight);
    }
}

static void show_metadata(struct output *o, const struct gguf *gguf)
{
    buf_add_format(&o->text, "\nmetadata (%zu)\n", gguf->entry_count);
    for (size_t i = 0; i < gguf->entry_count && !o->failed; i++) {
        const struct gguf_entry *entry = &gguf->entries[i];
        buf_add_text(&o->text, "  ");
        add_escaped(o, entry->key, SIZE_MAX, false);
        buf_add_text(&o->text, " = ");
        if (&entry->value == chat_template(gguf)) {
            buf_add_format(&o->text, "(%zu bytes, below)", entry->value.text.len);
        } else {
            add_value(o, &entry->value, false);
        }
        buf_add_char(&o->text, '\n');
    }
}

static void show_tensors(struct output *o, const struct gguf *gguf)
{
    buf_add_format(&o->text, "\ntensors (%zu)\n", gguf->tensor_count);
    for (size_t i = 0; i < gguf->tensor_count && !o->failed; i++) {
        const struct gguf_tensor *tensor = &gguf->tensors[i];
        size_t start = o->text.len;
        buf_add_text(&o->text, "  ");
        add_escaped(o, tensor->name, SIZE_MAX, false);
        int pad = o->text.len - start < 36 ? (int)(36 - (o->text.len - start)) : 1;
        buf_add_format(&o->text, "%*s %-8s ", pad, "", dtype_info(tensor->type)->name);
        for (uint32_t j = 0; j < tensor->dim_count; j++) {
            buf_add_format(&o->text, "%s%" PRIu64, j ? " x " : "", tensor->dims[j]);
        }
        buf_add_text(&o->text, "  ");
        add_size(o, tensor->bytes);
        buf_add_format(&o->text, " at %" PRIu64, tensor->offset);
        if (gguf->shard_count > 1) {
            buf_add_format(&o->text, " of part %u", (unsigned)tensor->shard + 1);
        }
        buf_add_char(&o->text, '\n');
        flush(o, FLUSH_BYTES);
    }
}

static void show_types(struct output *o, const struct gguf *gguf, const struct gguf_summary *sum)
{
    buf_add_text(&o->text, "\ntypes\n");
    for (size_t i = 0; i < sum->type_count; i++) {
        const struct gguf_type_share *share = &sum->types[i];
        char path[KERNEL_PATH_MAX];
        kernels_path(kernels_get(cpu_level_detect()), share->type, path);
        buf_add_format(&o->text, "  %-8s %5" PRIu64 " tensors  %5.1f %%  ",
                       dtype_info(share->type)->name, share->tensor_count,
                       100.0 * (double)share->bytes / (double)gguf->tensor_bytes);
        add_size(o, share->bytes);
        buf_add_format(&o->text, "  %s\n", path);
    }
}

static void show_text(struct output *o, const struct gguf *gguf)
{
    struct gguf_summary summary;
    const struct gguf_value *template = chat_template(gguf);
    gguf_summarize(gguf, &summary);
    show_facts(o, gguf, &summary);
    show_metadata(o, gguf);
    if (gguf->tensor_count) {
        show_tensors(o, gguf);
        show_types(o, gguf, &summary);
    } else {
        buf_add_text(&o->text, "\nno tensors (a vocabulary file)\n");
    }
    if (template) {
        buf_add_text(&o->text, "\nchat template\n");
        add_escaped(o, template->text, SIZE_MAX, true);
        buf_add_char(&o->text, '\n');
    } else {
        buf_add_text(&o->text, "\nno chat template\n");
    }
}

int cli_show(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"full", no_argument, NULL, 'f'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    char quoted[STR_QUOTE_MAX];
    struct err err = {0};
    struct output o = {.err = &err};
    bool is_json = false;
    opterr = 0;
    optind = 0; /* glibc: start over, also when another command has parsed before */
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        switch (c) {
        case 'j':
            is_json = true;
            break;
        case 'f':
            o.is_full = true;
            break;
        case 'h':
            return cli_write(help, sizeof help - 1, &err) ? 0 : cli_fail(&err);
        default:
            return cli_usage_error("show", "unknown option %s",
                                   str_quote(quoted, str_of(argv[optind - 1])));
        }
    }
    if (argc - optind != 1) {
        return cli_usage_error("show", "show needs one file");
    }
    struct gguf *gguf = gguf_open(argv[optind], &err);
    if (!gguf) {
        return cli_fail(&err);
    }
    if (is_json) {
        show_json(&o, gguf);
    } else {
        show_text(&o, gguf);
    }
    flush(&o, 1);
    buf_deinit(&o.text);
    gguf_close(gguf);
    return o.failed ? cli_fail(&err) : 0;
}
