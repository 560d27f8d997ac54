#include "api/render.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"

/* Ids and names of calls. */
enum { ARENA_BYTES_MAX = 16 << 20 };

bool api_render_init(struct api_render *render, const struct api_dialect *dialect,
                     const struct gen_request *request, const struct text *text, struct str model,
                     struct str fingerprint_of, struct err *err)
{
    uint64_t random[2];
    os_random(random, sizeof random);
    *render = (struct api_render){.request = request,
                                  .text = text,
                                  .model = model,
                                  .created_s = clock_wall_s(),
                                  .started_ns = clock_now_ns(),
                                  .choice_count = api_request_choices(request),
                                  .arena = arena_init(ARENA_BYTES_MAX)};
    snprintf(render->id, sizeof render->id, "%s%016llx%08llx", dialect->id_prefix,
             (unsigned long long)random[0], (unsigned long long)(random[1] >> 32));
    snprintf(render->fingerprint, sizeof render->fingerprint, "fp_%012llx",
             (unsigned long long)(str_hash(fingerprint_of) >> 16));
    render->choices = MEM_ARRAY(struct api_choice, render->choice_count);
    if (!render->choices) {
        return err_set_memory(err, render->choice_count * sizeof(struct api_choice));
    }
    for (size_t i = 0; i < render->choice_count; i++) {
        if (!api_parts_init(&render->choices[i].told, request)) {
            return err_set_memory(err, sizeof(struct api_parts));
        }
    }
    return true;
}

void api_render_deinit(struct api_render *render)
{
    for (size_t i = 0; render->choices && i < render->choice_count; i++) {
        struct api_choice *choice = &render->choices[i];
        for (size_t k = 0; k < choice->part_count; k++) {
            buf_deinit(&choice->parts[k].text);
        }
        mem_free(choice->parts);
        api_parts_deinit(&choice->told);
        buf_deinit(&choice->raw);
        mem_free(choice->tokens);
    }
    mem_free(render->choices);
    arena_deinit(&render->arena);
    *render = (struct api_render){0};
}

static void keep_tokens(struct api_render *render, struct api_choice *choice,
                        const struct gen_event *event)
{
    size_t need = choice->token_count + event->token_count;
    if (need > choice->token_cap) {
        size_t cap = need + need / 2 + 16;
        struct engine_token *grown = mem_resize(choice->tokens, cap, sizeof *grown);
        if (!grown) {
            render->failed = true;
            return;
        }
        choice->tokens = grown;
        choice->token_cap = cap;
    }
    memcpy(choice->tokens + choice->token_count, event->tokens,
           event->token_count * sizeof *event->tokens);
    choice->token_count = need;
}

/* The event borrows from its stream; the request's own text lives longer. */
static void keep_stop(const struct gen_request *request, struct api_choice *choice, struct str hit)
{
    for (size_t i = 0; hit.len > 0 && i < request->stop_count; i++) {
        if (str_eq(request->stops[i], hit)) {
            choice->stop_hit = request->stops[i];
        }
    }
}

/* Text follows text; whatever else comes begins a part. NULL: no memory. */
static struct api_part *part_for(struct api_choice *choice, enum gen_part_kind kind)
{
    if (choice->part_count > 0 && kind != GEN_PART_CALL &&
        choice->parts[choice->part_count - 1].kind == kind) {
        return &choice->parts[choice->part_count - 1];
    }
    if (choice->part_count == choice->part_cap) {
        size_t cap = choice->part_cap * 2 + 4;
        struct api_part *grown = mem_resize(choice->parts, cap, sizeof *grown);
        if (!grown) {
            return NULL;
        }
        choice->parts = grown;
        choice->part_cap = cap;
    }
    struct api_part *part = &choice->parts[choice->part_count++];
    *part = (struct api_part){.kind = kind};
    return part;
}

static void keep_part(struct api_render *render, struct api_choice *choice,
                      const struct gen_part *piece)
{
    if (piece->kind == GEN_PART_CALL_END) {
        return;
    }
    const bool is_arguments = piece->kind == GEN_PART_ARGUMENTS;
    struct api_part *part =
        is_arguments ? &choice->parts[choice->part_count - 1] : part_for(choice, piece->kind);
    if (!part) {
        render->failed = true;
        return;
    }
    if (piece->kind == GEN_PART_CALL) {
        part->id = (struct str){arena_copy(&render->arena, piece->id), piece->id.len};
        part->name = (struct str){arena_copy(&render->arena, piece->name), piece->name.len};
        part->is_custom = piece->is_custom;
        render->failed = render->failed || !part->id.ptr || !part->name.ptr;
    }
    buf_add(&part->text, piece->text);
    render->failed = render->failed || part->text.failed;
}

/* The end of the context is the reason only if max_tokens would have let it go on. */
static enum gen_finish finish_of(const struct gen_request *request, const struct api_choice *choice,
                                 const struct engine_event *done)
{
    if (done->finish != ENGINE_LENGTH) {
        const bool has_calls = api_parts_calls(&choice->told) > 0 && done->stop_hit.len == 0;
        return has_calls ? GEN_FINISH_CALLS : GEN_FINISH_STOP;
    }
    const bool is_limit = request->has_max_tokens && done->completion_tokens >= request->max_tokens;
    return is_limit ? GEN_FINISH_LENGTH : GEN_FINISH_CONTEXT;
}

static void note_end(struct api_render *render, struct api_choice *choice,
                     const struct engine_event *event)
{
    choice->is_done = true;
    choice->finish = finish_of(render->request, choice, event);
    choice->timing = event->timing;
    choice->near_miss = event->near_miss;
    choice->drafted_tokens = event->drafted_tokens;
    choice->accepted_tokens = event->accepted_tokens;
    keep_stop(render->request, choice, event->stop_hit);
    choice->prompt_tokens = event->prompt_tokens;
    choice->completion_tokens = event->completion_tokens;
    choice->cached_tokens = event->cached_tokens;
    choice->reasoning_tokens = event->reasoning_tokens;
    render->done_count++;
}

void api_render_collect(struct api_render *render, size_t index, const struct engine_event *event,
                        struct gen_event *out)
{
    const struct gen_request *request = render->request;
    struct api_choice *choice = &render->choices[index];
    render->failed = !api_parts_take(&choice->told, render, event, out) || render->failed;
    if (request->keeps_text && !event->is_prompt) {
        api_parts_plain(buf_view(&event->text), &choice->raw);
        render->failed = render->failed || choice->raw.failed;
    }
    for (size_t i = 0; (!request->stream || request->keeps_text) && i < out->part_count; i++) {
        keep_part(render, choice, &out->parts[i]);
    }
    if ((!request->stream || request->is_kept) && out->token_count) {
        keep_tokens(render, choice, out);
    }
    render->failed = render->failed || event->text.failed;
    if (out->is_done) {
        if (!choice->is_done) {
            note_end(render, choice, event);
        }
        out->finish = choice->finish;
    }
}

void api_choice_join(const struct api_choice *choice, enum gen_part_kind kind, struct buf *out)
{
    for (size_t i = 0; i < choice->part_count; i++) {
        if (choice->parts[i].kind == kind) {
            buf_add(out, buf_view(&choice->parts[i].text));
        }
    }
}

bool api_render_is_done(const struct api_render *render)
{
    return render->done_count == render->choice_count;
}

struct api_usage api_render_usage(const struct api_render *render)
{
    struct api_usage usage = {0};
    for (size_t i = 0; i < render->choice_count; i++) {
        const struct api_choice *choice = &render->choices[i];
        usage.completion_tokens += choice->completion_tokens;
        usage.reasoning_tokens += choice->reasoning_tokens;
        if (i % render->request->n == 0) {
            usage.prompt_tokens += choice->prompt_tokens;
            usage.cached_tokens += choice->cached_tokens;
        }
    }
    return usage;
}
