/* hearth doctor: what hearth found on this machine and what it makes of it. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/os.h"
#include "base/pool.h"
#include "cli/cli.h"
#include "route/bundled.h"
#include "route/places.h"
#include "tensor/cpu.h"
#include "tensor/kernels.h"
#include "tensor/limits.h"
#include "tensor/path.h"

static const char help[] =
    "usage: hearth doctor [--measure] [--json]\n\n"
    "Shows what hearth found on this machine: processor, kernels, memory and its limits, "
    "models.\n\n"
    "  --measure   also measure read bandwidth and int8 peak (about two seconds of full load)\n"
    "  --json      one object for programs\n"
    "  --help      this text\n";

struct facts {
    char cpu[96], features[256], huge_pages[64];
    const char *level;
    size_t cpus, cores, fds_max;
    uint64_t memory_total, memory_available;
    char *bundled; /* owned; NULL: none */
    struct route_places places;
    bool is_measured;
    struct cpu_bandwidth bandwidth;
    double int8_gops;
};

/* "always [madvise] never" -> "madvise" */
static void find_huge_pages(char out[64])
{
    snprintf(out, 64, "unknown");
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    char text[128];
    size_t len = file ? fread(text, 1, sizeof text, file) : 0;
    if (file) {
        fclose(file);
    }
    struct str rest = {text, len};
    str_cut(&rest, '[');
    struct str word = str_cut(&rest, ']');
    if (word.len > 0 && word.len < 64) {
        snprintf(out, 64, "%.*s", STR_ARG(word));
    }
}

static bool measure(struct facts *facts, struct err *err)
{
    struct pool *pool = pool_create(facts->cores, err);
    if (!pool) {
        return false;
    }
    facts->int8_gops = cpu_peak_int8(kernels_get(cpu_level_detect()), pool);
    bool ok = cpu_read_bandwidth(pool, 0, &facts->bandwidth, err);
    facts->is_measured = ok;
    pool_destroy(pool);
    return ok;
}

static bool find_facts(struct facts *facts, struct err *err)
{
    struct rlimit limit;
    struct err none;
    os_cpu_name(facts->cpu);
    cpu_feature_text(facts->features);
    find_huge_pages(facts->huge_pages);
    facts->level = cpu_level_name(kernels_get(cpu_level_detect())->level);
    facts->cpus = os_cpu_count();
    facts->cores = os_cpu_cores();
    facts->memory_total = os_memory_total();
    facts->memory_available = os_memory_available();
    facts->fds_max = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_max : 0;
    if (!route_bundled_model(&facts->bundled, &none)) {
        facts->bundled = NULL;
    }
    return route_places_init(&facts->places, err);
}

static double gib(uint64_t bytes)
{
    return (double)bytes / (1 << 30);
}

/* One line per kernel path, with the types that take it. */
static void write_types(struct buf *out)
{
    const struct kernels *k = kernels_get(cpu_level_detect());
    char path[KERNEL_PATH_MAX], other[KERNEL_PATH_MAX];
    bool is_told[KERNELS_TYPE_COUNT] = {false};
    bool is_first = true;
    for (uint32_t id = 0; id < KERNELS_TYPE_COUNT; id++) {
        if (is_told[id] || !dtype_find(id) || !k->panel[id].few[1]) {
            continue;
        }
        kernels_path(k, (enum dtype)id, path);
        buf_add_format(out, "%s %s:", is_first ? "types        " : "             ", path);
        is_first = false;
        for (uint32_t i = id; i < KERNELS_TYPE_COUNT; i++) {
            if (!dtype_find(i) || !k->panel[i].few[1]) {
                continue;
            }
            kernels_path(k, (enum dtype)i, other);
            if (strcmp(path, other) == 0) {
                is_told[i] = true;
                buf_add_format(out, " %s", dtype_find(i)->name);
            }
        }
        buf_add_char(out, '\n');
    }
}

static void write_types_json(struct buf *out)
{
    const struct kernels *k = kernels_get(cpu_level_detect());
    char path[KERNEL_PATH_MAX];
    bool any = false;
    buf_add_text(out, ",\"types\":{");
    for (uint32_t id = 0; id < KERNELS_TYPE_COUNT; id++) {
        if (dtype_find(id) && k->panel[id].few[1]) {
            kernels_path(k, (enum dtype)id, path);
            buf_add_format(out, "%s\"%s\":\"%s\"", any ? "," : "", dtype_find(id)->name, path);
            any = true;
        }
    }
    buf_add_char(out, '}');
}

static void write_text(const struct facts *facts, struct buf *out)
{
    char quoted[STR_QUOTE_MAX];
    buf_add_format(out, "processor     %s\n", str_quote(quoted, str_of(facts->cpu)));
    buf_add_format(out, "cpus          %zu logical, %zu cores for hearth to use\n", facts->cpus,
                   facts->cores);
    buf_add_format(out, "features      %s\n", facts->features);
    buf_add_format(out, "kernels       %s\n", facts->level);
    write_types(out);
    buf_add_format(out, "memory        %.1f GiB, %.1f GiB may be used now\n",
                   gib(facts->memory_total), gib(facts->memory_available));
    buf_add_format(out, "huge pages    %s%s\n", facts->huge_pages,
                   str_eq(str_of(facts->huge_pages), STR("never"))
                       ? " (weights are read faster with \"madvise\")"
                       : "");
    buf_add_format(out, "descriptors   %zu at most\n", facts->fds_max);
    buf_add_format(out, "bundled model %s\n",
                   facts->bundled ? str_quote(quoted, str_of(facts->bundled)) : "not found");
    for (size_t i = 0; i < facts->places.count; i++) {
        const char *folder = facts->places.folders[i];
        buf_add_format(out, "%s %s%s\n", i ? "             " : "models in    ",
                       str_quote(quoted, str_of(folder)),
                       os_path_exists(folder) ? "" : " (does not exist)");
    }
    if (facts->is_measured) {
        buf_add_format(out, "reads memory  %.1f GB/s with %zu streams per thread\n",
                       facts->bandwidth.gb_s, facts->bandwidth.streams);
        buf_add_format(out, "int8 peak     %.0f Gop/s\n", facts->int8_gops);
    }
}

static void add_string(struct buf *out, const char *key, const char *value)
{
    buf_add_format(out, ",\"%s\":", key);
    json_write_string(out, str_of(value));
}

static void write_json(const struct facts *facts, struct buf *out)
{
    buf_add_text(out, "{\"version\":\"" HEARTH_VERSION "\"");
    add_string(out, "cpu", facts->cpu);
    add_string(out, "features", facts->features);
    add_string(out, "level", facts->level);
    write_types_json(out);
    buf_add_format(out,
                   ",\"cpus\":%zu,\"cores\":%zu,\"memory_total\":%llu,\"memory_available\":%llu,"
                   "\"descriptors_max\":%zu",
                   facts->cpus, facts->cores, (unsigned long long)facts->memory_total,
                   (unsigned long long)facts->memory_available, facts->fds_max);
    add_string(out, "huge_pages", facts->huge_pages);
    if (facts->bundled) {
        add_string(out, "bundled_model", facts->bundled);
    } else {
        buf_add_text(out, ",\"bundled_model\":null");
    }
    buf_add_text(out, ",\"model_folders\":[");
    for (size_t i = 0; i < facts->places.count; i++) {
        buf_add_text(out, i ? "," : "");
        json_write_string(out, str_of(facts->places.folders[i]));
    }
    buf_add_char(out, ']');
    if (facts->is_measured) {
        char number[32];
        json_format_double(facts->bandwidth.gb_s, number);
        buf_add_format(out, ",\"read_gb_s\":%s", number);
        json_format_double(facts->int8_gops, number);
        buf_add_format(out, ",\"int8_gops\":%s", number);
    }
    buf_add_text(out, "}\n");
}

int cli_doctor(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"measure", no_argument, NULL, 'm'},
                                            {"help", no_argument, NULL, 'h'},
                                            {0}};
    struct facts facts = {0};
    struct err err = {0};
    struct buf out = {0};
    bool is_json = false, measures = false;
    int option;
    optind = 1;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'j':
            is_json = true;
            break;
        case 'm':
            measures = true;
            break;
        case 'h':
            fputs(help, stdout);
            return 0;
        default:
            return cli_usage_error("doctor", "unknown option %s", argv[optind - 1]);
        }
    }
    if (optind < argc) {
        return cli_usage_error("doctor", "doctor takes no operand");
    }
    bool ok = find_facts(&facts, &err) && (!measures || measure(&facts, &err));
    if (ok && is_json) {
        write_json(&facts, &out);
    } else if (ok) {
        write_text(&facts, &out);
    }
    ok = ok && (!out.failed || err_set_memory(&err, out.len)) && cli_write(out.ptr, out.len, &err);
    route_places_deinit(&facts.places);
    mem_free(facts.bundled);
    buf_deinit(&out);
    return ok ? 0 : cli_fail(&err);
}
