/* A record:
 *
 *     {"hearth_record":1,
 *      "version":"0.1.0", "cpu_level":"avx512", "kv_type":"f16", "ctx_tokens":4096,
 *      "model":{"path":"/m/x.gguf", "digest":"<64 hex digits>"},
 *      "request":{"id":"..", "prompt":[1, 15043], "max_tokens":20, "min_tokens":0, ..
 *                 "has_grammar":false, "has_adapters":false, "stops":["\n"], "banned":[],
 *                 "sampling":{"seed":"7", "temperature":0.8, .., "biases":[[5, -1]]}},
 *      "answer":{"tokens":[310], "finish":"stop", "has_end_token":true}}
 *
 * Tokens, not text: what the text was follows from them. The seed is a string, since JSON's numbers
 * are doubles for most readers. A bias of null bans. A grammar is not in a record: it was compiled
 * from tools, a schema or a template's format; such a record says so and cannot be replayed, nor
 * can one of an answer under adapters. */
#include "engine/record.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "engine/state.h"

/* ---- fields of a request ---- */

enum field_kind { FIELD_BOOL, FIELD_U32, FIELD_FLOAT };

struct field {
    const char *name;
    enum field_kind kind;
    size_t offset;
};

#define AT(member) offsetof(struct engine_request, member)
#define IN(member) offsetof(struct engine_sampling, member)

static const struct field request_fields[] = {
    {"has_max_tokens", FIELD_BOOL, AT(has_max_tokens)},
    {"max_tokens", FIELD_U32, AT(max_tokens)},
    {"min_tokens", FIELD_U32, AT(min_tokens)},
    {"ignore_eos", FIELD_BOOL, AT(ignore_eos)},
    {"wants_logprobs", FIELD_BOOL, AT(wants_logprobs)},
    {"top_logprobs", FIELD_U32, AT(top_logprobs)},
    {"prompt_logprobs", FIELD_BOOL, AT(prompt_logprobs)},
    {"special", FIELD_BOOL, AT(special)},
    {"marks", FIELD_BOOL, AT(marks)},
    {NULL, FIELD_BOOL, 0},
};

static const struct field sampling_fields[] = {
    {"repeat_last_n", FIELD_U32, IN(repeat_last_n)},
    {"repeat_penalty", FIELD_FLOAT, IN(repeat_penalty)},
    {"presence_penalty", FIELD_FLOAT, IN(presence_penalty)},
    {"frequency_penalty", FIELD_FLOAT, IN(frequency_penalty)},
    {"dry_multiplier", FIELD_FLOAT, IN(dry_multiplier)},
    {"dry_base", FIELD_FLOAT, IN(dry_base)},
    {"dry_allowed_length", FIELD_U32, IN(dry_allowed_length)},
    {"dry_penalty_last_n", FIELD_U32, IN(dry_penalty_last_n)},
    {"top_n_sigma", FIELD_FLOAT, IN(top_n_sigma)},
    {"top_k", FIELD_U32, IN(top_k)},
    {"typical_p", FIELD_FLOAT, IN(typical_p)},
    {"top_p", FIELD_FLOAT, IN(top_p)},
    {"min_p", FIELD_FLOAT, IN(min_p)},
    {"min_keep", FIELD_U32, IN(min_keep)},
    {"xtc_probability", FIELD_FLOAT, IN(xtc_probability)},
    {"xtc_threshold", FIELD_FLOAT, IN(xtc_threshold)},
    {"temperature", FIELD_FLOAT, IN(temperature)},
    {"dynatemp_range", FIELD_FLOAT, IN(dynatemp_range)},
    {"dynatemp_exponent", FIELD_FLOAT, IN(dynatemp_exponent)},
    {"mirostat", FIELD_BOOL, IN(mirostat)},
    {"mirostat_tau", FIELD_FLOAT, IN(mirostat_tau)},
    {"mirostat_eta", FIELD_FLOAT, IN(mirostat_eta)},
    {NULL, FIELD_BOOL, 0},
};

#undef AT
#undef IN

/* ---- writing ---- */

static void add_fields(const struct field *fields, const void *from, struct buf *out)
{
    for (; fields->name; fields++) {
        const void *slot = (const char *)from + fields->offset;
        char number[32];
        buf_add_format(out, "\"%s\":", fields->name);
        if (fields->kind == FIELD_BOOL) {
            buf_add_text(out, *(const bool *)slot ? "true," : "false,");
        } else if (fields->kind == FIELD_U32) {
            buf_add_format(out, "%lu,", (unsigned long)*(const uint32_t *)slot);
        } else {
            json_format_float(*(const float *)slot, number);
            buf_add_format(out, "%s,", number);
        }
    }
}

static void add_ids(const text_id *ids, size_t count, struct buf *out)
{
    for (size_t i = 0; i < count; i++) {
        buf_add_format(out, "%s%ld", i ? "," : "", (long)ids[i]);
    }
}

static void add_strings(const char *name, const struct str *strings, size_t count, struct buf *out)
{
    buf_add_format(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        buf_add_text(out, i ? "," : "");
        json_write_string(out, strings[i]);
    }
    buf_add_text(out, "],");
}

static void add_sampling(const struct engine_sampling *s, struct buf *out)
{
    buf_add_text(out, "\"sampling\":{");
    add_fields(sampling_fields, s, out);
    add_strings("dry_sequence_breakers", s->dry_sequence_breakers, s->dry_breaker_count, out);
    buf_add_text(out, "\"biases\":[");
    for (size_t i = 0; i < s->bias_count; i++) {
        char number[32];
        json_format_float(s->biases[i].bias, number); /* null: banned */
        buf_add_format(out, "%s[%ld,%s]", i ? "," : "", (long)s->biases[i].id, number);
    }
    buf_add_format(out, "],\"seed\":\"%llu\"}", (unsigned long long)s->seed);
}

void engine_record_describe(const char *path, const struct engine_digest *model,
                            const char *cpu_level, const char *kv_type, uint32_t ctx_tokens,
                            struct buf *out)
{
    buf_add_format(out,
                   "\"version\":\"%s\",\"cpu_level\":\"%s\",\"kv_type\":\"%s\",\"ctx_tokens\":%lu,"
                   "\"model\":{\"path\":",
                   HEARTH_VERSION, cpu_level, kv_type, (unsigned long)ctx_tokens);
    json_write_string(out, str_of(path));
    buf_add_text(out, ",\"digest\":\"");
    for (int i = 0; i < ENGINE_DIGEST_BYTES; i++) {
        buf_add_format(out, "%02x", model->bytes[i]);
    }
    buf_add_text(out, "\"}");
}

void engine_record_write(const struct engine *engine, const struct engine_sequence *seq,
                         enum engine_finish finish, struct buf *out)
{
    const struct engine_request *r = &seq->request;
    const bool has_grammar = seq->guide.run || seq->guide.has_budget;
    buf_add_format(out, "{\"hearth_record\":1,%s,\"request\":{\"id\":",
                   engine->params.record_head ? engine->params.record_head : "\"model\":null");
    json_write_string(out, r->id);
    buf_add_text(out, ",\"prompt\":[");
    add_ids(seq->tokens, seq->prompt_count, out);
    buf_add_text(out, "],");
    add_fields(request_fields, r, out);
    buf_add_format(out, "\"has_grammar\":%s,\"has_adapters\":%s,", has_grammar ? "true" : "false",
                   seq->is_adapted ? "true" : "false");
    add_strings("stops", r->stops, r->stop_count, out);
    add_strings("banned", r->banned, r->banned_count, out);
    add_sampling(&r->sampling, out);
    buf_add_text(out, "},\"answer\":{\"tokens\":[");
    add_ids(seq->tokens + seq->prompt_count, seq->token_count - seq->prompt_count, out);
    buf_add_format(out, "],\"finish\":\"%s\",\"has_end_token\":%s}}\n",
                   finish == ENGINE_STOP ? "stop" : "length",
                   seq->has_end_token ? "true" : "false");
}

/* ---- reading ---- */

static bool bad(const char *name, const char *wanted, struct err *err)
{
    return err_set(err, ERR_FORMAT, "the record's \"%s\" is not %s", name, wanted);
}

static bool read_fields(const json_t *object, const struct field *fields, void *to, struct err *err)
{
    for (; fields->name; fields++) {
        const json_t *value = json_object_get(object, fields->name);
        void *slot = (char *)to + fields->offset;
        if (fields->kind == FIELD_BOOL) {
            if (!json_is_boolean(value)) {
                return bad(fields->name, "true or false", err);
            }
            *(bool *)slot = json_is_true(value);
        } else if (fields->kind == FIELD_U32) {
            const json_int_t number = json_integer_value(value);
            if (!json_is_integer(value) || number < 0 || number > UINT32_MAX) {
                return bad(fields->name, "a count", err);
            }
            *(uint32_t *)slot = (uint32_t)number;
        } else if (json_is_number(value)) {
            *(float *)slot = (float)json_number_value(value);
        } else {
            return bad(fields->name, "a number", err);
        }
    }
    return true;
}

static bool read_ids(const json_t *object, const char *name, struct arena *arena,
                     const text_id **ids, size_t *count, struct err *err)
{
    const json_t *list = json_object_get(object, name);
    *count = json_array_size(list);
    text_id *out = ARENA_ARRAY(arena, text_id, *count);
    for (size_t i = 0; out && i < *count; i++) {
        const json_t *item = json_array_get(list, i);
        const json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX) {
            return bad(name, "a list of token ids", err);
        }
        out[i] = (text_id)id;
    }
    *ids = out;
    return out ? json_is_array(list) || bad(name, "a list of token ids", err)
               : err_set_memory(err, *count * sizeof *out);
}

static bool read_strings(const json_t *object, const char *name, struct arena *arena,
                         const struct str **strings, size_t *count, struct err *err)
{
    const json_t *list = json_object_get(object, name);
    *count = json_array_size(list);
    struct str *out = ARENA_ARRAY(arena, struct str, *count);
    for (size_t i = 0; out && i < *count; i++) {
        out[i] = json_str(json_array_get(list, i));
        if (!json_is_string(json_array_get(list, i))) {
            return bad(name, "a list of texts", err);
        }
    }
    *strings = out;
    return out ? json_is_array(list) || bad(name, "a list of texts", err)
               : err_set_memory(err, *count * sizeof *out);
}

static bool read_biases(const json_t *sampling, struct arena *arena, struct engine_sampling *out,
                        struct err *err)
{
    const json_t *list = json_object_get(sampling, "biases");
    const size_t count = json_array_size(list);
    struct engine_bias *biases = ARENA_ARRAY(arena, struct engine_bias, count);
    for (size_t i = 0; biases && i < count; i++) {
        const json_t *pair = json_array_get(list, i), *bias = json_array_get(pair, 1);
        const json_t *id = json_array_get(pair, 0);
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX || !(json_is_number(bias) || json_is_null(bias))) {
            return bad("biases", "a list of pairs", err);
        }
        biases[i] =
            (struct engine_bias){(text_id)json_integer_value(id),
                                 json_is_null(bias) ? -INFINITY : (float)json_number_value(bias)};
    }
    out->biases = biases;
    out->bias_count = count;
    return biases || err_set_memory(err, count * sizeof *biases);
}

static bool read_sampling(const json_t *sampling, struct arena *arena, struct engine_sampling *out,
                          struct err *err)
{
    if (!str_to_u64(json_str(json_object_get(sampling, "seed")), &out->seed)) {
        return bad("seed", "a number in a text", err);
    }
    return read_fields(sampling, sampling_fields, out, err) &&
           read_biases(sampling, arena, out, err) &&
           read_strings(sampling, "dry_sequence_breakers", arena, &out->dry_sequence_breakers,
                        &out->dry_breaker_count, err);
}

bool engine_record_read(const json_t *record, struct arena *arena, struct engine_request *out,
                        struct err *err)
{
    const json_t *request = json_object_get(record, "request");
    *out = (struct engine_request){.sampling = engine_sampling_default()};
    if (json_integer_value(json_object_get(record, "hearth_record")) != 1 ||
        !json_is_object(request)) {
        return err_set(err, ERR_FORMAT, "this is no record of hearth, or one of a later version");
    }
    if (json_is_true(json_object_get(request, "has_grammar"))) {
        return err_set(
            err, ERR_UNSUPPORTED,
            "the answer followed a grammar (tools, a format or a budget to think), which "
            "a record does not hold");
    }
    if (json_is_true(json_object_get(request, "has_adapters"))) {
        return err_set(err, ERR_UNSUPPORTED,
                       "the answer was given under LoRA adapters, which a record does not hold");
    }
    out->id = json_str(json_object_get(request, "id"));
    return read_fields(request, request_fields, out, err) &&
           read_ids(request, "prompt", arena, &out->prompt, &out->prompt_count, err) &&
           read_strings(request, "stops", arena, &out->stops, &out->stop_count, err) &&
           read_strings(request, "banned", arena, &out->banned, &out->banned_count, err) &&
           read_sampling(json_object_get(request, "sampling"), arena, &out->sampling, err);
}
