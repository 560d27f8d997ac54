#include "engine/match.h"

static char fold(const struct engine_matcher *matcher, char c)
{
    return matcher->ignores_case && c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* fail[n]: longest proper beginning of the string that also ends its first n bytes. */
static void fill_fail(struct engine_pattern *p)
{
    uint32_t state = 0;
    p->fail[0] = 0;
    p->fail[1] = 0;
    for (size_t i = 1; i < p->text.len; i++) {
        while (state > 0 && p->text.ptr[i] != p->text.ptr[state]) {
            state = p->fail[state];
        }
        state += p->text.ptr[i] == p->text.ptr[state];
        p->fail[i + 1] = state;
    }
}

bool engine_matcher_init(struct engine_matcher *matcher, const struct str *strings, size_t count,
                         bool ignores_case, struct arena *arena)
{
    *matcher = (struct engine_matcher){.ignores_case = ignores_case};
    if (count == 0) {
        return true;
    }
    matcher->patterns = ARENA_ARRAY(arena, struct engine_pattern, count);
    if (!matcher->patterns) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct engine_pattern *p = &matcher->patterns[i];
        char *copy = arena_copy(arena, strings[i]);
        p->fail = ARENA_ARRAY(arena, uint32_t, strings[i].len + 1);
        if (!copy || !p->fail) {
            return false;
        }
        for (size_t at = 0; at < strings[i].len; at++) {
            copy[at] = fold(matcher, copy[at]);
        }
        p->text = (struct str){copy, strings[i].len};
        fill_fail(p);
        matcher->count++;
    }
    return true;
}

void engine_matcher_reset(struct engine_matcher *matcher)
{
    for (size_t i = 0; i < matcher->count; i++) {
        matcher->patterns[i].state = 0;
    }
}

size_t engine_matcher_feed(struct engine_matcher *matcher, char byte)
{
    size_t found = SIZE_MAX, longest = 0;
    byte = fold(matcher, byte);
    for (size_t i = 0; i < matcher->count; i++) {
        struct engine_pattern *p = &matcher->patterns[i];
        if (p->state == p->text.len) {
            p->state = p->fail[p->state];
        }
        while (p->state > 0 && p->text.ptr[p->state] != byte) {
            p->state = p->fail[p->state];
        }
        p->state += p->text.ptr[p->state] == byte;
        if (p->state == p->text.len && p->text.len > longest) {
            found = i;
            longest = p->text.len;
        }
    }
    return found;
}

size_t engine_matcher_held(const struct engine_matcher *matcher)
{
    size_t held = 0;
    for (size_t i = 0; i < matcher->count; i++) {
        held = matcher->patterns[i].state > held ? matcher->patterns[i].state : held;
    }
    return held;
}
