#include "toolkit/load_print.h"

#include <math.h>

#include "base/json.h"

enum { BAR_CELLS = 40 };

/* ---- table ---- */

static double best_rate(const struct toolkit_stage_result *results, size_t count)
{
    double best = 0;
    for (size_t i = 0; i < count; i++) {
        best = fmax(best, results[i].tokens_per_second);
    }
    return best;
}

void toolkit_load_table(const struct toolkit_stage_result *results, size_t count, struct buf *out)
{
    double best = best_rate(results, count);
    buf_add_text(out, "users  answers  failed  tokens/s   first token p50 / p99   "
                      "between tokens p50 / p99\n");
    for (size_t i = 0; i < count; i++) {
        const struct toolkit_stage_result *r = &results[i];
        buf_add_format(out, "%5u  %7llu  %6llu  %8.1f   %8.1f / %8.1f ms   %8.2f / %8.2f ms\n",
                       r->users, (unsigned long long)r->completed, (unsigned long long)r->failed,
                       r->tokens_per_second, r->ttft.p50, r->ttft.p99, r->gap.p50, r->gap.p99);
    }
    buf_add_text(out, "\ntokens/s\n");
    for (size_t i = 0; i < count; i++) {
        int cells = best > 0 ? (int)(BAR_CELLS * results[i].tokens_per_second / best + 0.5) : 0;
        buf_add_format(out, "%5u |", results[i].users);
        for (int cell = 0; cell < cells; cell++) {
            buf_add_char(out, '#');
        }
        buf_add_format(out, " %.1f\n", results[i].tokens_per_second);
    }
    for (size_t i = 0; i < count; i++) {
        if (results[i].first_error[0]) {
            buf_add_format(out, "\n%u users, the first failure: %s\n", results[i].users,
                           results[i].first_error);
        }
    }
}

/* ---- JSON ---- */

static json_t *times_json(const struct toolkit_times *times)
{
    return json_pack("{sI sf sf sf sf}", "count", (json_int_t)times->count, "p50_ms", times->p50,
                     "p90_ms", times->p90, "p99_ms", times->p99, "max_ms", times->max);
}

void toolkit_load_json(const struct toolkit_stage_result *results, size_t count, struct buf *out)
{
    json_t *stages = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct toolkit_stage_result *r = &results[i];
        json_t *stage = json_pack(
            "{sI sf sI sI sI sf sf so so so ss*}", "users", (json_int_t)r->users, "seconds",
            r->seconds, "completed", (json_int_t)r->completed, "failed", (json_int_t)r->failed,
            "cut", (json_int_t)r->cut, "tokens_per_second", r->tokens_per_second,
            "requests_per_second", r->requests_per_second, "ttft", times_json(&r->ttft), "gap",
            times_json(&r->gap), "whole", times_json(&r->whole), "first_error",
            r->first_error[0] ? r->first_error : NULL);
        json_array_append_new(stages, stage);
    }
    json_t *all = json_pack("{so}", "stages", stages);
    json_write_indent(out, all, 2);
    buf_add_char(out, '\n');
    json_decref(all);
}

/* ---- SVG ---- */

enum { WIDTH = 640, PANEL = 220, LEFT = 70, RIGHT = 20, TOP = 40, GAP = 60 };

/* 1, 2 or 5 times a power of ten, at least `value`: the end of an axis. */
static double round_up(double value)
{
    double power = pow(10, floor(log10(fmax(value, 1e-3))));
    double digit = value / power;
    return power * (digit <= 1 ? 1 : digit <= 2 ? 2 : digit <= 5 ? 5 : 10);
}

/* Users on a logarithmic axis from 1 to the most. */
static double x_of(double users, double most)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (most > 1 ? log(users) / log(most) : 0.5);
}

static void add_escaped(struct buf *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            buf_add_text(out, "&lt;");
            break;
        case '&':
            buf_add_text(out, "&amp;");
            break;
        default:
            buf_add_char(out, *text);
        }
    }
}

static void add_axes(struct buf *out, int top, double high, const char *name,
                     const struct toolkit_stage_result *results, size_t count, double most)
{
    buf_add_format(out, "<text x=\"%d\" y=\"%d\">%s</text>\n", LEFT, top - 10, name);
    for (int i = 0; i <= 4; i++) {
        int y = top + PANEL - PANEL * i / 4;
        buf_add_format(out,
                       "<path class=\"grid\" d=\"M%d %dH%d\"/><text class=\"end\" x=\"%d\" "
                       "y=\"%d\">%g</text>\n",
                       LEFT, y, WIDTH - RIGHT, LEFT - 8, y + 4, high * i / 4);
    }
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, "<text class=\"mid\" x=\"%.1f\" y=\"%d\">%u</text>\n",
                       x_of(results[i].users, most), top + PANEL + 18, results[i].users);
    }
}

static void add_line(struct buf *out, const char *class, int top, double high, size_t count,
                     const struct toolkit_stage_result *results, const double *values, double most)
{
    buf_add_format(out, "<path class=\"%s\" d=\"", class);
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, "%c%.1f %.1f", i ? 'L' : 'M', x_of(results[i].users, most),
                       top + PANEL * (1 - values[i] / high));
    }
    buf_add_text(out, "\"/>\n");
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", class,
                       x_of(results[i].users, most), top + PANEL * (1 - values[i] / high));
    }
}

void toolkit_load_svg(const struct toolkit_stage_result *results, size_t count, const char *title,
                      struct buf *out)
{
    double rates[TOOLKIT_STAGES_MAX], firsts[TOOLKIT_STAGES_MAX], lates[TOOLKIT_STAGES_MAX];
    double most = 1, slowest = 1;
    count = count < TOOLKIT_STAGES_MAX ? count : TOOLKIT_STAGES_MAX;
    for (size_t i = 0; i < count; i++) {
        rates[i] = results[i].tokens_per_second;
        firsts[i] = results[i].ttft.p50;
        lates[i] = results[i].ttft.p99;
        most = fmax(most, results[i].users);
        slowest = fmax(slowest, results[i].ttft.p99);
    }
    int second = TOP + PANEL + GAP + 20;
    buf_add_format(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                   "viewBox=\"0 0 %d %d\">\n<style>svg{background:#fff;font:13px sans-serif}"
                   "path{fill:none;stroke-width:2}.grid{stroke:#ddd;stroke-width:1}"
                   ".rate{stroke:#b3400f;fill:none}.first{stroke:#20639b;fill:none}"
                   ".late{stroke:#7a8691;fill:none}.end{text-anchor:end}.mid{text-anchor:middle}"
                   "</style>\n<title>",
                   WIDTH, second + PANEL + 40, WIDTH, second + PANEL + 40);
    add_escaped(out, title);
    buf_add_text(out, "</title>\n");
    double high = round_up(best_rate(results, count));
    add_axes(out, TOP, high, "tokens/s, by users", results, count, most);
    add_line(out, "rate", TOP, high, count, results, rates, most);
    high = round_up(slowest);
    add_axes(out, second, high, "first token in ms, p50 (blue) and p99 (grey), by users", results,
             count, most);
    add_line(out, "first", second, high, count, results, firsts, most);
    add_line(out, "late", second, high, count, results, lates, most);
    buf_add_text(out, "</svg>\n");
}
