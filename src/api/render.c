#include "api/render.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/os.h"

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
                                  .choice_count = api_request_choices(request)};
    snprintf(render->id, sizeof render->id, "%s%016llx%08llx", dialect->id_prefix,
             (unsigned long long)random[0], (unsigned long long)(random[1] >> 32));
    snprintf(render->fingerprint, sizeof render->fingerprint, "fp_%012llx",
             (unsigned long long)(str_hash(fingerprint_of) >> 16));
    render->choices = MEM_ARRAY(struct api_choice, render->choice_count);
    if (!render->choices) {
        return err_set_memory(err, render->choice_count * sizeof(struct api_choice));
    }
    return true;
}

void api_render_deinit(struct api_render *render)
{
    for (size_t i = 0; render->choices && i < render->choice_count; i++) {
        buf_deinit(&render->choices[i].text);
        mem_free(render->choices[i].tokens);
    }
    mem_free(render->choices);
    *render = (struct api_render){0};
}

static void keep_tokens(struct api_render *render, struct api_choice *choice,
                        const struct engine_event *event)
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

void api_render_collect(struct api_render *render, size_t index, const struct engine_event *event)
{
    struct api_choice *choice = &render->choices[index];
    bool whole = !render->request->stream;
    if ((whole || render->request->keeps_text) && !event->is_prompt) {
        buf_add(&choice->text, buf_view(&event->text));
        render->failed = render->failed || choice->text.failed || event->text.failed;
    }
    if (whole && event->tokens && event->token_count) {
        keep_tokens(render, choice, event);
    }
    if (event->kind == ENGINE_EVENT_DONE && !choice->is_done) {
        choice->is_done = true;
        choice->finish = event->finish;
        choice->timing = event->timing;
        choice->near_miss = event->near_miss;
        keep_stop(render->request, choice, event->stop_hit);
        choice->prompt_tokens = event->prompt_tokens;
        choice->completion_tokens = event->completion_tokens;
        choice->cached_tokens = event->cached_tokens;
        render->done_count++;
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
        if (i % render->request->n == 0) {
            usage.prompt_tokens += choice->prompt_tokens;
            usage.cached_tokens += choice->cached_tokens;
        }
    }
    return usage;
}
