/* The answer of the model is recorded once. Then runs without and with guesses alternate, the
 * guesses being the recorded tokens of which all, half or none are right. A pair gives a ratio of
 * speeds; shown are the median of the ratios and its 95 % interval by order statistics (of 20
 * ratios the 6th and the 15th), which needs no assumption about how the machine's load scatters. */
#include "cli/bench_draft.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "engine/random.h"

enum { PROMPT_TOKENS = 32, SHARES = 3 };

static const uint32_t shares[SHARES] = {100, 50, 0};

struct bench_draft {
    struct route_local *local;
    uint32_t count; /* tokens of the answer */
    text_id prompt[PROMPT_TOKENS];
    text_id *said, *guesses; /* [count] */
    uint32_t drafted, accepted;
};

/* One answer; gives its tokens per second behind the first, and the tokens when they are wanted. */
static bool answer(struct bench_draft *b, bool with_guesses, text_id *tokens, double *rate,
                   struct err *err)
{
    const struct engine_request request = {.prompt = b->prompt,
                                           .prompt_count = PROMPT_TOKENS,
                                           .sampling = {.typical_p = 1,
                                                        .top_p = 1,
                                                        .repeat_penalty = 1,
                                                        .min_keep = 1,
                                                        .dry_base = 1.75f,
                                                        .mirostat_tau = 5,
                                                        .mirostat_eta = 0.1f,
                                                        .dynatemp_exponent = 1},
                                           .has_max_tokens = true,
                                           .max_tokens = b->count,
                                           .ignore_eos = true,
                                           .wants_logprobs = tokens != NULL,
                                           .only_draft = true,
                                           .draft = b->guesses,
                                           .draft_count = with_guesses ? b->count : 0};
    struct engine_stream *stream =
        engine_submit(route_local_engine(b->local), &request, NULL, NULL, err);
    bool ok = stream != NULL;
    size_t got = 0;
    for (bool has_ended = !ok; !has_ended;) {
        struct engine_event event;
        engine_wait(stream, &event);
        has_ended = event.kind == ENGINE_EVENT_DONE || event.kind == ENGINE_EVENT_ERROR;
        for (size_t i = 0; tokens && event.tokens && i < event.token_count && got < b->count; i++) {
            tokens[got++] = event.tokens[i].chosen.id;
        }
        if (event.kind == ENGINE_EVENT_ERROR) {
            *err = event.error;
            ok = false;
        } else if (has_ended) {
            *rate = (event.completion_tokens - 1) * 1e3 / event.timing.decode_ms;
            b->drafted = event.drafted_tokens;
            b->accepted = event.accepted_tokens;
        }
        engine_event_deinit(&event);
    }
    engine_stream_close(stream);
    return ok;
}

/* `share` percent of the recorded tokens, the others replaced by what cannot come. */
static void corrupt(struct bench_draft *b, uint32_t share)
{
    const uint32_t vocab = model_info(route_local_model(b->local))->vocab_count;
    for (uint32_t i = 0; i < b->count; i++) {
        const bool is_right = engine_random(1, i, ENGINE_DRAW_TOKEN) * 100 < share;
        b->guesses[i] = is_right ? b->said[i] : (text_id)(((uint32_t)b->said[i] + 1) % vocab);
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct figure {
    double median, low, high;
    double drafted, accepted; /* per generated token */
};

static bool measure(struct bench_draft *b, uint32_t share, uint32_t pairs, double *ratios,
                    struct figure *out, struct err *err)
{
    corrupt(b, share);
    for (uint32_t i = 0; i < pairs; i++) {
        double rates[2];
        for (uint32_t k = 0; k < 2; k++) { /* who is first alternates too */
            const bool with_guesses = (i + k) % 2;
            if (!answer(b, with_guesses, NULL, &rates[with_guesses], err)) {
                return false;
            }
            if (with_guesses) {
                out->drafted = (double)b->drafted / b->count;
                out->accepted = (double)b->accepted / b->count;
            }
        }
        ratios[i] = rates[1] / rates[0];
    }
    qsort(ratios, pairs, sizeof *ratios, compare);
    const double half = 0.98 * sqrt(pairs); /* 1.96 standard deviations of the binomial's rank */
    const double first = floor(pairs / 2.0 - half), last = ceil(pairs / 2.0 + half) - 1;
    out->low = ratios[first < 0 ? 0 : (uint32_t)first];
    out->high = ratios[last > pairs - 1 ? pairs - 1 : (uint32_t)last];
    out->median = pairs % 2 ? ratios[pairs / 2] : (ratios[pairs / 2 - 1] + ratios[pairs / 2]) / 2;
    return true;
}

static void write(const struct figure figures[SHARES], uint32_t tokens, uint32_t pairs,
                  bool is_json, struct buf *out)
{
    if (!is_json) {
        buf_add_format(out,
                       "speculation: %u tokens, %u pairs; speed with guesses over without\n"
                       "right guesses   ratio (95 %% of the median)   guessed   in vain\n",
                       tokens, pairs);
    }
    for (int i = 0; i < SHARES; i++) {
        const struct figure *f = &figures[i];
        if (is_json) {
            buf_add_format(out,
                           "%s{\"right_percent\":%u,\"ratio\":%.4f,\"low\":%.4f,\"high\":%.4f,"
                           "\"drafted_per_token\":%.4f,\"wasted_per_token\":%.4f}",
                           i ? "," : "{\"speculation\":[", shares[i], f->median, f->low, f->high,
                           f->drafted, f->drafted - f->accepted);
        } else {
            buf_add_format(out, "%10u %%   %6.3f  (%.3f to %.3f)      %8.1f %% %8.1f %%\n",
                           shares[i], f->median, f->low, f->high, 100 * f->drafted,
                           100 * (f->drafted - f->accepted));
        }
    }
    buf_add_text(out, is_json ? "]}\n" : "");
}

bool cli_bench_draft_run(struct route_local *local, uint32_t tokens, uint32_t pairs, bool is_json,
                         struct buf *out, struct err *err)
{
    struct bench_draft b = {.local = local, .count = tokens};
    struct figure figures[SHARES] = {0};
    double *ratios = MEM_ARRAY(double, pairs), rate;
    const uint32_t vocab = model_info(route_local_model(local))->vocab_count;
    b.said = MEM_ARRAY(text_id, tokens);
    b.guesses = MEM_ARRAY(text_id, tokens);
    for (uint32_t i = 0; i < PROMPT_TOKENS; i++) {
        b.prompt[i] = (text_id)((i + 7) * 2654435761u % vocab);
    }
    bool ok = (ratios && b.said && b.guesses) || err_set_memory(err, tokens * sizeof *b.said);
    ok = ok && answer(&b, false, b.said, &rate, err);
    for (int i = 0; ok && i < SHARES; i++) {
        ok = measure(&b, shares[i], pairs, ratios, &figures[i], err);
    }
    if (ok) {
        write(figures, tokens, pairs, is_json, out);
    }
    mem_free(ratios);
    mem_free(b.said);
    mem_free(b.guesses);
    return ok;
}
