#include "api/interval.h"

#include <string.h>

#include "base/mem.h"

static bool has(const struct api_interval *interval)
{
    return interval->held.token_count > 0 || interval->held.text.len > 0;
}

bool api_interval_add(struct api_interval *interval, struct engine_event *event)
{
    struct engine_event *held = &interval->held;
    if (!has(interval)) {
        engine_event_deinit(held);
        *held = *event;
        *event = (struct engine_event){.kind = ENGINE_EVENT_TOKENS};
        return true;
    }
    if (event->tokens) {
        size_t all = held->token_count + event->token_count;
        struct engine_token *grown = mem_resize(held->tokens, all, sizeof *grown);
        if (!grown) {
            return false;
        }
        memcpy(grown + held->token_count, event->tokens, event->token_count * sizeof *grown);
        held->tokens = grown;
    }
    buf_add(&held->text, buf_view(&event->text));
    held->token_count += event->token_count;
    engine_event_deinit(event);
    return !held->text.failed;
}

bool api_interval_is_full(const struct api_interval *interval, uint32_t tokens)
{
    return interval->held.token_count >= tokens;
}

bool api_interval_take(struct api_interval *interval, struct engine_event *out)
{
    if (!has(interval)) {
        return false;
    }
    *out = interval->held;
    interval->held = (struct engine_event){.kind = ENGINE_EVENT_TOKENS};
    return true;
}

void api_interval_deinit(struct api_interval *interval)
{
    engine_event_deinit(&interval->held);
}
