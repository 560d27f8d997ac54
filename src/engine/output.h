/* From tokens to text: what a sequence has generated but not yet told its reader.
 *
 *     tokens    | Hel | lo | wor | ld, | EN            stop string "END"
 *     text       Hello world, EN
 *                            ^ released up to here; "EN" may become a stop string and is held
 *
 * Text is released as soon as no stop string and no banned string can begin in it. A stop string
 * that is complete ends the generation; its text and what follows are never released. A banned
 * string that is complete steps generation back to the token in which it began: text, detokeniser
 * and the sampler's state return to where they were before that token, the token is banned at that
 * position, and another is drawn. So with banned strings whole tokens are held, not bytes.
 *
 * Stepping back ends: at a position each step bans one more token for the same text before it, and
 * after ENGINE_STEP_BACKS_MAX steps without a released token the sequence fails with an error. */
#ifndef ENGINE_OUTPUT_H
#define ENGINE_OUTPUT_H

#include "engine/engine.h"
#include "engine/match.h"
#include "engine/point.h"
#include "engine/sampler.h"
#include "engine/stream.h"

enum { ENGINE_STEP_BACKS_MAX = 1000 };

struct engine_held {
    text_id id;
    size_t start, end;         /* its bytes in the held text */
    size_t reach;              /* bytes before it that may begin a banned string */
    struct text_stream before; /* the detokeniser before it */
    struct engine_point point; /* samplers and guide before it */
};

struct engine_output {
    struct engine_stream *stream; /* borrowed */
    struct text_stream detok, prompt_detok;
    struct buf text, prompt_text;
    struct engine_held *held;
    struct engine_token *tokens; /* of the held ones; NULL without log probabilities */
    size_t held_count, held_cap;
    bool wants_tokens, marks;

    struct engine_matcher stops, banned;
    uint64_t *banned_bits; /* tokens that hold a banned string by themselves; NULL: none */
    size_t banned_bit_count;

    uint32_t released; /* generated tokens that the reader was told about */
    uint32_t *ban_at;  /* [ban_count], ascending: at which generated token ... */
    text_id *ban_ids;  /* ... which token may not be taken */
    size_t ban_count;
    uint32_t step_backs; /* since the last released token */
};

/* `vocab_count` tokens exist. Everything that grows with the request lies in the arena. */
bool engine_output_init(struct engine_output *out, struct engine_stream *stream,
                        const struct engine_request *request, const struct text *text,
                        struct err *err);
void engine_output_deinit(struct engine_output *out);

enum engine_verdict {
    ENGINE_GO_ON,
    ENGINE_HIT_STOP,  /* `stop`: which; what is before it was released */
    ENGINE_STEP_BACK, /* keep only the first `keep` generated tokens; return to `point` */
    ENGINE_NO_WAY,    /* too many steps back */
    ENGINE_NO_MEMORY
};

struct engine_accepted {
    enum engine_verdict verdict;
    size_t stop;
    uint32_t keep;
    struct engine_point point;
};

/* One more generated token; `token` when log probabilities were asked for; `point`: where samplers
 * and guide were before it. */
struct engine_accepted engine_output_accept(struct engine_output *out, text_id id,
                                            const struct engine_token *token,
                                            const struct engine_point *point);

/* Bans of the generated token number `at`. */
void engine_output_bans(const struct engine_output *out, uint32_t at, struct engine_bans *bans);

/* A token that may not be the generated one number `at`, for banned strings. */
bool engine_output_is_banned(const struct engine_output *out, uint32_t at, text_id id);

/* Releases what is held, at the end of a generation. False: no memory. */
bool engine_output_flush(struct engine_output *out);

/* Tells a token of the prompt (prompt_logprobs). False: no memory. */
bool engine_output_prompt(struct engine_output *out, const struct engine_token *token);

#endif
