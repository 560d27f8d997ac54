#include "cli/bench_print.h"

#include <stdio.h>

#include "base/json.h"
#include "base/os.h"

static const char *const kind_names[] = {"prefill", "decode", "together", "encode"};

static const struct model_info *info_of(const struct route_local *local)
{
    return model_info(route_local_model((struct route_local *)(uintptr_t)local));
}

/* ---- JSON ---- */

static void add_number(struct buf *out, const char *key, double value)
{
    char digits[32];
    json_format_double(value, digits);
    buf_add_format(out, ",\"%s\":%s", key, digits);
}

static void add_figure(struct buf *out, const char *prefix, const struct bench_figure *f)
{
    char key[64];
    snprintf(key, sizeof key, "%stok_s", prefix);
    add_number(out, key, f->median);
    snprintf(key, sizeof key, "%stok_s_mad", prefix);
    add_number(out, key, f->deviation);
    snprintf(key, sizeof key, "%stok_s_min", prefix);
    add_number(out, key, f->low);
    snprintf(key, sizeof key, "%stok_s_max", prefix);
    add_number(out, key, f->high);
}

static void add_peaks(struct buf *out, const struct bench_row *row)
{
    add_number(out, "int8_gops", row->int8_gops);
    add_number(out, "f32_gflops", row->f32_gflops);
}

static void add_row(struct buf *out, const struct bench_row *row)
{
    buf_add_format(out, "{\"kind\":\"%s\",\"tokens\":%u,\"depth\":%u,\"sequences\":%u",
                   kind_names[row->kind], row->tokens, row->depth, row->sequences);
    add_figure(out, "", &row->rate);
    add_number(out, "read_gb_s", row->read.gb_s);
    add_peaks(out, row);
    if (row->fraction > 0) {
        add_number(out, "fraction", row->fraction);
    }
    buf_add_char(out, '}');
}

static const struct bench_row *find(const struct bench_row *rows, size_t count,
                                    enum bench_kind kind)
{
    for (size_t i = 0; i < count; i++) {
        if (rows[i].kind == kind) {
            return &rows[i];
        }
    }
    return NULL;
}

static void add_first(struct buf *out, const struct bench_row *rows, size_t count,
                      enum bench_kind kind)
{
    const struct bench_row *row = find(rows, count, kind);
    char key[64];
    if (row) {
        snprintf(key, sizeof key, "%s_", kind_names[kind]);
        buf_add_format(out, ",\"%stokens\":%u", key, row->tokens);
        add_figure(out, key, &row->rate);
        snprintf(key, sizeof key, "%s_fraction", kind_names[kind]);
        add_number(out, key, row->fraction);
    }
}

void cli_bench_print_json(const struct route_local *local, uint32_t reps,
                          const struct bench_row *rows, size_t count, struct buf *out)
{
    const struct model_info *info = info_of(local);
    const struct route_local_params *params = route_local_params_of(local);
    char cpu[96];
    os_cpu_name(cpu);
    buf_add_text(out, "{\"model\":");
    json_write_string(out, route_local_id(local));
    buf_add_text(out, ",\"architecture\":");
    json_write_string(out, str_of(info->architecture));
    buf_add_text(out, ",\"quantization\":");
    json_write_string(out, str_of(info->quantization));
    buf_add_format(out, ",\"parameters\":%llu,\"file_bytes\":%llu,\"read_bytes_per_token\":%llu",
                   (unsigned long long)info->parameter_count, (unsigned long long)info->file_bytes,
                   (unsigned long long)info->read_bytes_per_token);
    buf_add_text(out, ",\"cpu\":");
    json_write_string(out, str_of(cpu));
    buf_add_format(out, ",\"cpu_level\":\"%s\",\"kv\":\"%s\",\"threads\":%u,\"reps\":%u",
                   cpu_level_name(kernels_get(params->cpu_level)->level),
                   route_kv_type_name(params->kv_type), params->threads, reps);
    add_first(out, rows, count, BENCH_PREFILL);
    add_first(out, rows, count, BENCH_DECODE);
    const struct bench_row *prefill = find(rows, count, BENCH_PREFILL);
    const struct bench_row *decode = find(rows, count, BENCH_DECODE);
    const struct bench_row *first = prefill ? prefill : decode ? decode : rows;
    add_first(out, rows, count, BENCH_ENCODE);
    add_number(out, "read_gb_s", (decode ? decode : first)->read.gb_s);
    add_peaks(out, first);
    buf_add_text(out, ",\"rows\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        add_row(out, &rows[i]);
    }
    buf_add_format(out, "],\"version\":\"%s\"}\n", HEARTH_VERSION);
}

/* ---- table ---- */

static void add_line(struct buf *out, const struct bench_row *row)
{
    char name[48];
    if (row->kind == BENCH_TOGETHER) {
        snprintf(name, sizeof name, "%u together", row->sequences);
    } else if (row->kind == BENCH_ENCODE) {
        snprintf(name, sizeof name, "encode %u texts", row->sequences);
    } else {
        snprintf(name, sizeof name, "%s%s%.0u", kind_names[row->kind], row->depth ? " @ " : "",
                 row->depth);
    }
    buf_add_format(out, "%-16s %8u %12.1f %10.1f", name, row->tokens, row->rate.median,
                   row->rate.deviation);
    if (row->kind == BENCH_ENCODE) {
        buf_add_format(
            out, "   %5.1f %% of %.0f G int8 operations/s and %.0f Gflop/s in attention, %.2f ms",
            row->fraction * 100, row->int8_gops, row->f32_gflops,
            1e3 * row->tokens * row->sequences / row->rate.median);
    } else if (row->kind == BENCH_PREFILL) {
        buf_add_format(out, "   %5.1f %% of %.0f G int8 operations/s", row->fraction * 100,
                       row->int8_gops);
        if (row->depth) {
            buf_add_format(out, " and %.0f Gflop/s in attention", row->f32_gflops);
        }
    } else if (row->kind == BENCH_DECODE) {
        buf_add_format(out, "   %5.1f %% of %.1f GB/s (%zu streams)", row->fraction * 100,
                       row->read.gb_s, row->read.streams);
    }
    buf_add_char(out, '\n');
}

void cli_bench_print_table(const struct route_local *local, const struct bench_row *rows,
                           size_t count, struct buf *out)
{
    const struct model_info *info = info_of(local);
    const struct route_local_params *params = route_local_params_of(local);
    char cpu[96], quoted[STR_QUOTE_MAX];
    bool is_cached = false;
    os_cpu_name(cpu);
    buf_add_format(out, "%s  %s %s, %.2f M parameters, %.1f MB read per token\n",
                   str_quote(quoted, route_local_id(local)), info->architecture, info->quantization,
                   (double)info->parameter_count / 1e6, (double)info->read_bytes_per_token / 1e6);
    buf_add_format(out, "%s, %u threads, %s, cache %s\n\n", cpu, params->threads,
                   cpu_level_name(kernels_get(params->cpu_level)->level),
                   route_kv_type_name(params->kv_type));
    buf_add_format(out, "%-16s %8s %12s %10s    %s\n", "", "tokens", "tokens/s", "+/-",
                   "of the limit");
    for (size_t i = 0; i < count; i++) {
        add_line(out, &rows[i]);
        is_cached |= rows[i].kind == BENCH_DECODE && rows[i].fraction > 1;
    }
    if (is_cached) {
        buf_add_text(out, "\nMore than 100 %: weights stayed in the processor's cache.\n");
    }
}
