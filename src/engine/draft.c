/* A decode step reads all weights for one row; further rows cost little. So when the next tokens
 * can be guessed, their rows are computed in the same step:
 *
 *     tokens    ... the cat sat on                 drafts   the mat .
 *     rows                     on | the mat .
 *     sampled                  the  mat and        from the logits behind each row, in order, by
 * the same samplers with the same numbers kept                     the  mat and        "and" was no
 * guess: its row is due next
 *
 * A row's logits depend on the tokens before it and on nothing else, bit for bit, so what is
 * sampled behind a right guess is what would have been sampled one step later: the bytes cannot
 * change, with a grammar, log probabilities or any sampler. Keys and values of a wrong guess lie
 * behind kv_count and are written over.
 *
 * Guesses come, in this order, from the request (engine_request.draft, by position), from what the
 * client expects (prediction) and from the conversation itself: what followed the last time that
 * the last tokens stood there.
 *
 * How many: with the share p of guesses that come true and the cost r of a row in steps, k guesses
 * give (1 + p + ... + p^k) / (1 + k r) of the tokens per time without. k is where that is largest,
 * 0 when nothing wins. p is learned for each sequence, r from the clock for all. Whoever has lost
 * so far may waste no more than WASTE_FREE guesses and one in WASTE_PER tokens. */
#include "engine/draft.h"

#include <string.h>

#include "engine/state.h"

enum {
    GRAM_MIN = 3,  /* tokens that must agree */
    GRAM_MAX = 16, /* more do not make a guess better */
    WASTE_FREE = 3,
    WASTE_PER = 128
};

static const float share_at_first = 0.3f, learn_hit = 0.2f, learn_miss = 0.35f;
/* A row never costs more than a step of its own, so sure guesses are always tried: a step that the
 * machine interrupted must not end them. */
static const double row_share_at_first = 0.1, row_share_min = 0.01, row_share_max = 0.9;

void engine_drafter_init(struct engine_drafter *drafter)
{
    *drafter = (struct engine_drafter){.hit_share = share_at_first};
}

/* ---- guesses ---- */

/* Where in `text` the end of `tokens` stands last, longest first; gives the place behind it. */
static size_t find_gram(const text_id *text, size_t text_count, const text_id *tokens, size_t count)
{
    size_t best = 0, place = 0;
    const text_id last = tokens[count - 1];
    for (size_t end = text_count; end-- > 0 && best < GRAM_MAX;) {
        if (text[end] != last) {
            continue;
        }
        size_t same = 1;
        while (same < GRAM_MAX && same <= end && same < count &&
               text[end - same] == tokens[count - 1 - same]) {
            same++;
        }
        if (same > best) {
            best = same;
            place = end + 1;
        }
    }
    return best >= GRAM_MIN ? place : text_count;
}

static uint32_t guess(const struct engine_sequence *seq, uint32_t most, text_id *out)
{
    const struct engine_request *r = &seq->request;
    const size_t at = seq->token_count - seq->prompt_count;
    const text_id *from = NULL;
    size_t count = 0;
    if (r->draft_count > at) {
        from = r->draft + at;
        count = r->draft_count - at;
    }
    if (count == 0 && r->prediction_count > 0 && !r->only_draft) {
        const size_t place =
            find_gram(r->prediction, r->prediction_count, seq->tokens, seq->token_count);
        from = r->prediction + place;
        count = r->prediction_count - place;
    }
    if (count == 0 && r->draft_count == 0 && !r->only_draft) {
        const size_t place =
            find_gram(seq->tokens, seq->token_count - 1, seq->tokens, seq->token_count);
        from = seq->tokens + place;
        count = place < seq->token_count - 1 ? seq->token_count - place : 0;
    }
    count = count < most ? count : most;
    if (count) {
        memcpy(out, from, count * sizeof *out);
    }
    return (uint32_t)count;
}

/* ---- how many ---- */

static uint32_t best_count(double hit_share, double row_share)
{
    double gain = 1, best = 1, power = 1;
    uint32_t count = 0;
    for (uint32_t k = 1; k <= ENGINE_DRAFT_MAX; k++) {
        power *= hit_share;
        gain += power;
        const double rate = gain / (1 + k * row_share);
        if (rate > best) {
            best = rate;
            count = k;
        }
    }
    return count;
}

static double row_share(const struct engine *engine)
{
    const double given = (double)engine->params.row_share;
    return given > 0 ? given : engine->row_cost.row_share;
}

void engine_draft(struct engine *engine, struct engine_sequence *seq, uint32_t most)
{
    struct engine_drafter *d = &seq->drafter;
    const uint32_t generated = seq->token_count - seq->prompt_count;
    const uint32_t left = seq->token_max - seq->token_count;
    d->count = 0;
    if (left < 2) {
        return;
    }
    uint32_t count = best_count(d->hit_share, row_share(engine));
    if (d->wasted > d->accepted + WASTE_FREE + generated / WASTE_PER) {
        return;
    }
    if (count == 0 && generated - d->probed_at >= WASTE_PER) {
        count = 1;
        d->probed_at = generated;
    }
    count = count < left - 1 ? count : left - 1;
    most = most < engine->params.drafts_max ? most : engine->params.drafts_max;
    count = count < most ? count : most;
    if (count > 0) {
        d->count = guess(seq, count, d->tokens);
    }
}

/* ---- learning ---- */

void engine_draft_learn(struct engine *engine, struct engine_sequence *seq, uint32_t accepted)
{
    struct engine_drafter *d = &seq->drafter;
    for (uint32_t i = 0; i < accepted; i++) {
        d->hit_share += (1 - d->hit_share) * learn_hit;
    }
    if (accepted < d->count) {
        d->hit_share -= d->hit_share * learn_miss;
    }
    d->accepted += accepted;
    d->wasted += d->count - accepted;
    engine->step_stats.drafted += d->count;
    engine->step_stats.accepted += accepted;
}

void engine_row_cost_note(struct engine_row_cost *cost, uint32_t rows, uint32_t drafts, int64_t ns)
{
    const double time = (double)ns;
    if (drafts == 0) {
        const bool is_same = cost->rows == rows && cost->step_ns > 0;
        cost->step_ns = is_same ? cost->step_ns + (time - cost->step_ns) / 8 : time;
        cost->rows = rows;
    } else if (cost->rows == rows - drafts && cost->step_ns > 0) {
        double share = (time / cost->step_ns - 1) / drafts;
        share = share < row_share_min ? row_share_min : share;
        share = share > row_share_max ? row_share_max : share;
        cost->row_share += (share - cost->row_share) / 8;
    }
    if (cost->row_share <= 0) {
        cost->row_share = row_share_at_first;
    }
}
