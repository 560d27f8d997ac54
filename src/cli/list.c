/* hearth list: the models that `serve` and `run` find by name. */
#include <getopt.h>
#include <stdio.h>

#include "base/json.h"
#include "cli/cli.h"
#include "gguf/gguf.h"
#include "gguf/summary.h"
#include "route/places.h"

static const char help[] =
    "usage: hearth list [--json]\n\n"
    "Lists the models in the folder of the bundled model, in the folders of $HEARTH_MODELS\n"
    "(separated by ':'), and in $XDG_DATA_HOME/hearth/models (~/.local/share/hearth/models).\n\n"
    "  --json   {\"models\":[...],\"places\":[...]} for programs\n"
    "  --help   this text\n";

struct row {
    struct str id;
    struct str architecture;
    const char *quantization;
    uint64_t file_bytes, elements;
    const char *path;
    const char *fault; /* why the file cannot be read; NULL: it can */
};

struct list {
    struct buf out;
    bool is_json;
    size_t count;
};

static void add_json(struct list *list, const struct row *row)
{
    struct buf *out = &list->out;
    buf_add_text(out, list->count ? ",{\"id\":" : "{\"id\":");
    json_write_string(out, row->id);
    buf_add_text(out, ",\"path\":");
    json_write_string(out, str_of(row->path));
    if (row->fault) {
        buf_add_text(out, ",\"error\":");
        json_write_string(out, str_of(row->fault));
    } else {
        buf_add_text(out, ",\"architecture\":");
        json_write_string(out, row->architecture);
        buf_add_text(out, ",\"quantization\":");
        json_write_string(out, str_of(row->quantization));
        buf_add_format(out, ",\"bytes\":%llu,\"parameters\":%llu",
                       (unsigned long long)row->file_bytes, (unsigned long long)row->elements);
    }
    buf_add_char(out, '}');
}

static void add_line(struct list *list, const struct row *row)
{
    char id[STR_QUOTE_MAX], architecture[STR_QUOTE_MAX], path[STR_QUOTE_MAX];
    if (list->count == 0) {
        buf_add_format(&list->out, "%-28s %10s  %-8s %-12s %s\n", "NAME", "SIZE", "TYPE",
                       "ARCHITECTURE", "PATH");
    }
    str_quote(id, row->id);
    if (row->fault) {
        buf_add_format(&list->out, "%-28s unreadable: %s\n", id, row->fault);
        return;
    }
    buf_add_format(&list->out, "%-28s %6.1f MiB  %-8s %-12s %s\n", id,
                   (double)row->file_bytes / (1 << 20), row->quantization,
                   str_quote(architecture, row->architecture), str_quote(path, str_of(row->path)));
}

static bool on_model(void *arg, const char *path)
{
    struct list *list = arg;
    struct err err = {0};
    struct row row = {.id = gguf_model_id(path), .path = path, .quantization = "-"};
    struct gguf_summary summary = {0};
    struct gguf *gguf = gguf_open(path, &err);
    if (gguf) {
        gguf_get_str(gguf, STR("general.architecture"), &row.architecture, NULL, NULL);
        gguf_summarize(gguf, &summary);
        row.quantization =
            summary.type_count ? dtype_info(summary.types[0].type)->name : "vocabulary";
        row.file_bytes = gguf->file_bytes;
        row.elements = summary.elements;
    } else {
        row.fault = err.text;
    }
    if (list->is_json) {
        add_json(list, &row);
    } else {
        add_line(list, &row);
    }
    list->count++;
    gguf_close(gguf);
    return true;
}

static void add_places(struct list *list, const struct route_places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        char quoted[STR_QUOTE_MAX];
        if (list->is_json) {
            buf_add_text(&list->out, i ? "," : "");
            json_write_string(&list->out, str_of(places->folders[i]));
        } else {
            buf_add_format(&list->out, "  %s\n", str_quote(quoted, str_of(places->folders[i])));
        }
    }
}

static bool print_list(struct list *list, struct err *err)
{
    struct route_places places;
    if (!route_places_init(&places, err)) {
        return false;
    }
    if (list->is_json) {
        buf_add_text(&list->out, "{\"models\":[");
    }
    bool ok = route_places_each(&places, on_model, list, err);
    if (list->is_json) {
        buf_add_text(&list->out, "],\"places\":[");
        add_places(list, &places);
        buf_add_text(&list->out, "]}\n");
    } else if (list->count == 0) {
        buf_add_text(&list->out, "no models; looked in\n");
        add_places(list, &places);
    }
    route_places_deinit(&places);
    if (ok && list->out.failed) {
        ok = err_set_memory(err, list->out.len);
    }
    return ok && cli_write(list->out.ptr, list->out.len, err);
}

int cli_list(int argc, char **argv)
{
    static const struct option options[] = {
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {0}};
    struct list list = {0};
    struct err err = {0};
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            list.is_json = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return cli_usage_error("list", "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc) {
        return cli_usage_error("list", "list takes no operand");
    }
    bool ok = print_list(&list, &err);
    buf_deinit(&list.out);
    return ok ? 0 : cli_fail(&err);
}
