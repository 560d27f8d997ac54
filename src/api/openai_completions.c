/* POST /v1/completions, the legacy endpoint: continues texts or token lists. */
#include <math.h>
#include <stdio.h>

#include "api/fields.h"
#include "api/openai.h"
#include "api/prompts.h"
#include "base/json.h"
#include "base/utf8.h"

enum { TOKENS_DEFAULT = 16, LOGPROBS_MAX = 5 }; /* OpenAI's */

static bool apply_prompt(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    return api_read_prompts(request, field, value, API_CHOICES_MAX, err);
}

/* ---- other fields ---- */

static bool apply_logprobs(struct gen_request *request, const struct api_field *field,
                           const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t top = json_integer_value(value);
    if (top < 0 || top > LOGPROBS_MAX) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for 'logprobs': must be between 0 and %d",
                             LOGPROBS_MAX);
    }
    request->wants_logprobs = true;
    request->top_logprobs = (uint32_t)top;
    return true;
}

/* With n in parse(), because the order of keys is the client's. */
static bool apply_best_of(struct gen_request *request, const struct api_field *field,
                          const json_t *value, struct err *err)
{
    if (!json_is_integer(value)) {
        return api_type_error(field->name, "an integer", value, err);
    }
    json_int_t best_of = json_integer_value(value);
    if (best_of < 1 || best_of > API_CHOICES_MAX) {
        return err_set_param(err, ERR_INVALID, field->name,
                             "invalid value for 'best_of': must be between 1 and %d",
                             API_CHOICES_MAX);
    }
    request->best = (uint32_t)best_of;
    return true;
}

static bool apply_suffix(struct gen_request *request, const struct api_field *field,
                         const json_t *value, struct err *err)
{
    (void)request;
    return json_is_string(value) || api_type_error(field->name, "a string", value, err);
}

/* best_of answers are generated for each prompt and n of them told. */
static bool check_best_of(struct gen_request *request, struct err *err)
{
    uint32_t best_of = request->best, n = request->n;
    request->best = 0;
    if (best_of == 0 || best_of == n) {
        return true;
    }
    if (best_of < n) {
        return err_set_param(err, ERR_INVALID, "best_of", "'best_of' must not be less than 'n'");
    }
    if (request->stream) {
        return err_set_param(err, ERR_INVALID, "best_of",
                             "the best answers are known at the end: 'best_of' cannot be streamed");
    }
    request->n = best_of;
    request->best = n;
    return true;
}

/* The same for every prompt, and of texts only. */
static bool take_suffix(struct gen_request *request, struct err *err)
{
    const json_t *suffix = json_object_get(request->body, "suffix");
    for (size_t i = 0; json_string_length(suffix) > 0 && i < request->prompt_count; i++) {
        if (request->prompts[i].is_ids || request->echo) {
            return err_set_param(err, ERR_INVALID, "suffix",
                                 "'suffix' needs a prompt of text, and no 'echo'");
        }
        request->prompts[i].has_suffix = true;
        request->prompts[i].suffix = json_str(suffix);
    }
    return true;
}

static const struct api_field completion_fields[] = {
    {.name = "prompt", .kind = API_CUSTOM, .apply = apply_prompt, .is_required = true},
    {.name = "echo", .kind = API_BOOL, .offset = offsetof(struct gen_request, echo)},
    {.name = "logprobs", .kind = API_CUSTOM, .apply = apply_logprobs},
    {.name = "best_of",
     .kind = API_CUSTOM,
     .apply = apply_best_of,
     .note = "generated, of which n are told by their mean log probability; not streamed"},
    {.name = "suffix",
     .kind = API_CUSTOM,
     .apply = apply_suffix,
     .note = "where the model has tokens to fill in text; else refused"},
    {0},
};

static const struct api_field *const tables[] = {completion_fields, api_openai_format_fields,
                                                 api_fields_shared, api_fields_sampling, NULL};

static bool parse(struct gen_request *request, struct str body, struct err *err)
{
    api_request_init(request, GEN_TEXT);
    if (!api_request_read(request, body, err) ||
        !api_fields_apply(request, request->body, tables, err)) {
        return false;
    }
    if (!check_best_of(request, err) || !take_suffix(request, err)) {
        return false;
    }
    if (request->include_usage && !request->stream) {
        return err_set_param(err, ERR_INVALID, "stream_options",
                             "'stream_options' needs 'stream' to be true");
    }
    if (api_request_choices(request) > API_CHOICES_MAX) {
        return err_set_param(err, ERR_INVALID, "n",
                             "%zu answers were asked for, at most %d are "
                             "allowed",
                             api_request_choices(request), API_CHOICES_MAX);
    }
    if (!request->has_max_tokens) {
        request->has_max_tokens = true;
        request->max_tokens = TOKENS_DEFAULT;
    }
    return true;
}

/* ---- answers ---- */

static const char object[] = "text_completion";

static void add_echo(const struct api_render *render, size_t choice, struct buf *out)
{
    const struct gen_prompt *prompt = &render->request->prompts[choice / render->request->n];
    if (prompt->is_ids) {
        text_decode(render->text, prompt->ids.ids, prompt->ids.count, true, true, out);
    } else {
        buf_add(out, prompt->text);
    }
}

static struct str piece_of(const struct api_render *render, text_id id)
{
    return text_piece(render->text, id, true);
}

/* ,"logprobs":{"tokens":[],"token_logprobs":[],"top_logprobs":[],"text_offset":[]} or null. The
 * offsets count characters of the answer, which with echo begins with the prompt. */
static void add_logprobs(const struct api_render *render, struct api_choice *choice,
                         const struct engine_token *tokens, size_t count, struct buf *out)
{
    if (!render->request->wants_logprobs) {
        buf_add_text(out, ",\"logprobs\":null");
        return;
    }
    buf_add_text(out, ",\"logprobs\":{\"tokens\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        json_write_string(out, piece_of(render, tokens[i].chosen.id));
    }
    buf_add_text(out, "],\"token_logprobs\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        api_openai_logprob(tokens[i].chosen.logprob, out);
    }
    buf_add_text(out, "],\"top_logprobs\":");
    buf_add_text(out, render->request->top_logprobs ? "[" : "null");
    for (size_t i = 0; render->request->top_logprobs && i < count; i++) {
        bool is_first = isnan(tokens[i].chosen.logprob); /* nothing precedes it */
        buf_add_text(out, i ? "," : "");
        buf_add_text(out, is_first ? "null" : "{");
        for (uint32_t j = 0; !is_first && j < tokens[i].top_count; j++) {
            buf_add_text(out, j ? "," : "");
            json_write_string(out, piece_of(render, tokens[i].top[j].id));
            buf_add_char(out, ':');
            api_openai_logprob(tokens[i].top[j].logprob, out);
        }
        buf_add_text(out, is_first ? "" : "}");
    }
    buf_add_text(out, render->request->top_logprobs ? "]" : "");
    /* A BOS that the tokenizer put before a text is a token, but no part of the text. */
    size_t index = (size_t)(choice - render->choices);
    bool special = render->request->prompts[index / render->request->n].is_ids;
    buf_add_text(out, ",\"text_offset\":[");
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, i ? ",%zu" : "%zu", choice->text_offset);
        choice->text_offset += utf8_count(text_piece(render->text, tokens[i].chosen.id, special));
    }
    buf_add_text(out, "]}");
}

static void frame(struct api_render *render, size_t index, struct str text,
                  const struct engine_token *tokens, size_t count, const char *finish,
                  struct buf *out)
{
    buf_add_text(out, "data: ");
    api_openai_head(render, object, out);
    buf_add_format(out, ",\"choices\":[{\"index\":%zu,\"text\":", index);
    json_write_string(out, text);
    add_logprobs(render, &render->choices[index], tokens, count, out);
    buf_add_format(out, ",\"finish_reason\":%s}]", finish);
    if (render->request->pads_deltas && text.len) {
        api_openai_obfuscate(text.len, out);
    }
    buf_add_text(out, render->request->include_usage ? ",\"usage\":null}\n\n" : "}\n\n");
}

static void begin(struct api_render *render, struct buf *out)
{
    for (size_t i = 0; render->request->echo && i < render->choice_count; i++) {
        struct buf text = {0};
        add_echo(render, i, &text);
        frame(render, i, buf_view(&text), NULL, 0, "null", out);
        render->failed = render->failed || text.failed;
        buf_deinit(&text);
    }
}

static void event(struct api_render *render, size_t index, const struct gen_event *event,
                  struct buf *out)
{
    size_t count = event->token_count;
    struct str text = event->part_count > 0 ? event->parts[0].text : (struct str){0};
    if (event->is_done) {
        frame(render, index, text, event->tokens, count, api_openai_finish(&render->choices[index]),
              out);
    } else if (text.len > 0 || count > 0) {
        frame(render, index, text, event->tokens, count, "null", out);
    }
}

static void end(struct api_render *render, struct buf *out)
{
    api_openai_end(render, object, out);
}

static void add_choice(struct api_render *render, size_t from, size_t index, struct buf *out)
{
    struct api_choice *choice = &render->choices[from];
    struct buf text = {0};
    if (render->request->echo) {
        add_echo(render, from, &text);
    }
    api_choice_join(choice, GEN_PART_TEXT, &text);
    render->failed = render->failed || text.failed;
    buf_add_format(out, "%s{\"index\":%zu,\"text\":", index ? "," : "", index);
    json_write_string(out, buf_view(&text));
    buf_deinit(&text);
    add_logprobs(render, choice, choice->tokens, choice->token_count, out);
    buf_add_format(out, ",\"finish_reason\":%s}", api_openai_finish(choice));
}

/* Of what was generated; the tokens of an echoed prompt stand before it. */
static double mean_logprob(const struct api_render *render, size_t index)
{
    const struct gen_request *request = render->request;
    const struct api_choice *choice = &render->choices[index];
    bool has_prompt = request->echo && request->wants_logprobs;
    size_t from = has_prompt ? request->prompts[index / request->n].ids.count : 0;
    double sum = 0;
    for (size_t i = from; i < choice->token_count; i++) {
        sum += (double)choice->tokens[i].chosen.logprob;
    }
    return choice->token_count > from ? sum / (double)(choice->token_count - from) : 0;
}

/* The best of the prompt's answers that are not told yet; the first among equals. */
static size_t find_best(const struct api_render *render, size_t prompt,
                        const bool told[API_CHOICES_MAX])
{
    size_t n = render->request->n, best = SIZE_MAX;
    for (size_t i = prompt * n; i < (prompt + 1) * n; i++) {
        if (!told[i] &&
            (best == SIZE_MAX || mean_logprob(render, i) > mean_logprob(render, best))) {
            best = i;
        }
    }
    return best;
}

static void whole(struct api_render *render, struct buf *out)
{
    const struct gen_request *request = render->request;
    bool told[API_CHOICES_MAX] = {false};
    size_t per_prompt = request->best ? request->best : request->n;
    api_openai_head(render, object, out);
    buf_add_text(out, ",\"choices\":[");
    for (size_t i = 0; i < request->prompt_count * per_prompt; i++) {
        size_t from = request->best ? find_best(render, i / per_prompt, told) : i;
        told[from] = true;
        add_choice(render, from, i, out);
    }
    buf_add_char(out, ']');
    api_openai_usage(render, out);
    api_openai_timings(render, out);
    buf_add_char(out, '}');
}

const struct api_dialect api_openai_completions = {
    .id_prefix = "cmpl-",
    .parse = parse,
    .begin = begin,
    .event = event,
    .end = end,
    .broken = api_openai_broken,
    .loading = api_openai_loading,
    .queued = api_openai_queued,
    .whole = whole,
    .tables = tables,
};
