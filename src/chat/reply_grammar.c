/* A reply as a grammar:
 *
 *     [reasoning] text [section]            tools may be called
 *     [reasoning] section                   they must be
 *     [reasoning] value                     response_format
 *
 * A text never holds the words that begin a section, so what begins one is one, and its arguments
 * are valid. What all tools share of a call stands before the choice among them: the automaton is
 * in one place until the name. */
#include <string.h>

#include "chat/reply.h"

struct maker {
    struct chat_reply *reply;
    struct arena arena; /* of the parts */
    bool failed;
};

typedef const struct constrain_part part;

static part *make(struct maker *m, struct constrain_part p)
{
    struct constrain_part *copy = ARENA_NEW(&m->arena, struct constrain_part);
    static const struct constrain_part nothing = {.kind = CONSTRAIN_BYTES};
    if (!copy) {
        m->failed = true;
        return &nothing;
    }
    *copy = p;
    return copy;
}

static part *bytes(struct maker *m, struct str text)
{
    return make(m, (struct constrain_part){.kind = CONSTRAIN_BYTES, .text = text});
}

static part *regex(struct maker *m, const char *source)
{
    return make(m, (struct constrain_part){.kind = CONSTRAIN_REGEX, .text = str_of(source)});
}

/* A list of parts, ended by NULL, those that are "nothing" left out. */
static part *list(struct maker *m, enum constrain_part_kind kind, part *const *parts)
{
    size_t count = 0;
    while (parts[count]) {
        count++;
    }
    part **copy = ARENA_ARRAY(&m->arena, part *, count);
    if (!copy) {
        m->failed = true;
        return bytes(m, (struct str){0});
    }
    memcpy(copy, parts, count * sizeof *copy);
    return make(m, (struct constrain_part){.kind = kind, .parts = copy, .count = count});
}

#define ALL(m, ...) list((m), CONSTRAIN_ALL, (part *const[]){__VA_ARGS__, NULL})
#define ANY(m, ...) list((m), CONSTRAIN_ANY, (part *const[]){__VA_ARGS__, NULL})

static part *many(struct maker *m, part *one, uint64_t min, uint64_t max)
{
    part **copy = ARENA_ARRAY(&m->arena, part *, 1);
    if (!copy) {
        m->failed = true;
        return one;
    }
    copy[0] = one;
    return make(m, (struct constrain_part){
                       .kind = CONSTRAIN_MANY, .parts = copy, .count = 1, .min = min, .max = max});
}

static part *maybe(struct maker *m, part *one)
{
    return many(m, one, 0, 1);
}

static part *space(struct maker *m)
{
    return regex(m, "[ \\n]{0,3}");
}

/* Text without some words; empty words count for nothing. */
static part *text_without(struct maker *m, struct str a, struct str b)
{
    struct str *words = ARENA_ARRAY(&m->arena, struct str, 2);
    if (!words) {
        m->failed = true;
        return bytes(m, a);
    }
    words[0] = a;
    words[1] = b;
    return make(m,
                (struct constrain_part){.kind = CONSTRAIN_FREE, .texts = words, .text_count = 2});
}

/* ---- arguments ---- */

static part *schema_part(struct maker *m, const json_t *schema, const json_t *root, bool is_strict,
                         const char *path)
{
    return make(m, (struct constrain_part){.kind = CONSTRAIN_SCHEMA,
                                           .schema = schema,
                                           .root = root,
                                           .is_strict = is_strict,
                                           .path = path});
}

static const char *path_of(struct maker *m, const char *key)
{
    struct buf b = {0};
    char quoted[STR_QUOTE_MAX];
    buf_add_format(&b, "/properties/%s", str_quote(quoted, str_of(key)));
    const char *path = b.failed ? NULL : arena_copy(&m->arena, buf_view(&b));
    m->failed = m->failed || !path;
    buf_deinit(&b);
    return path ? path : "";
}

static part *bare_value(struct maker *m, const json_t *schema, const char *path)
{
    struct str *words = ARENA_ARRAY(&m->arena, struct str, 1);
    if (!words) {
        m->failed = true;
        return bytes(m, (struct str){0});
    }
    words[0] = str_trim(m->reply->spelling->param[2]);
    return make(m, (struct constrain_part){.kind = CONSTRAIN_STRING,
                                           .schema = schema,
                                           .texts = words,
                                           .text_count = 1,
                                           .path = path});
}

/* One parameter: an element, or key=value. */
static part *parameter(struct maker *m, const struct chat_tool *tool, char kind, const char *key,
                       const json_t *schema)
{
    const struct str *param = m->reply->spelling->param;
    const struct str name = {arena_copy(&m->arena, str_of(key)), strlen(key)};
    const char *path = path_of(m, key);
    m->failed = m->failed || !name.ptr;
    if (kind == 'p') {
        return ALL(m, bytes(m, name), bytes(m, STR("=")),
                   schema_part(m, schema, tool->parameters, tool->is_strict, path));
    }
    part *value = chat_is_bare(schema)
                      ? bare_value(m, schema, path)
                      : schema_part(m, schema, tool->parameters, tool->is_strict, path);
    return ALL(m, bytes(m, param[0]), bytes(m, name), bytes(m, param[1]), value,
               bytes(m, param[2]));
}

static bool is_required(const json_t *schema, const char *key)
{
    const json_t *names = json_object_get(schema, "required");
    bool found = false;
    for (size_t i = 0; i < json_array_size(names); i++) {
        found = found || str_eq(json_str(json_array_get(names, i)), str_of(key));
    }
    return found;
}

/* Parameters in the order of the schema. */
static part *parameters(struct maker *m, const struct chat_tool *tool, char kind)
{
    json_t *properties = json_object_get(tool->parameters, "properties"), *schema;
    const size_t count = json_object_size(properties);
    part **parts = ARENA_ARRAY(&m->arena, part *, count);
    bool *required = ARENA_ARRAY(&m->arena, bool, count);
    const char *key;
    size_t i = 0;
    if (!parts || !required) {
        m->failed = true;
        return bytes(m, (struct str){0});
    }
    json_object_foreach(properties, key, schema)
    {
        required[i] = is_required(tool->parameters, key);
        parts[i++] = parameter(m, tool, kind, key, schema);
    }
    return make(m, (struct constrain_part){.kind = CONSTRAIN_SOME,
                                           .text = kind == 'p' ? STR(", ") : STR(""),
                                           .parts = parts,
                                           .required = required,
                                           .count = count});
}

static part *arguments(struct maker *m, const struct chat_tool *tool)
{
    return schema_part(m, tool->parameters, tool->parameters, tool->is_strict, "");
}

/* ---- calls ---- */

static part *piece_part(struct maker *m, const struct chat_tool *tool,
                        const struct chat_piece *piece)
{
    switch (piece->kind) {
    case 0:
        return bytes(m, piece->text);
    case 'n':
        return bytes(m, tool->name);
    case 'i':
        return regex(m, "[a-zA-Z0-9]{9}");
    case 'd':
        return regex(m, "0|[1-9][0-9]{0,2}");
    case 'a':
        return arguments(m, tool);
    case 'p':
    case 'x':
    default:
        return parameters(m, tool, piece->kind);
    }
}

static part *pieces(struct maker *m, const struct chat_tool *tool, size_t from, size_t to)
{
    part *parts[CHAT_PIECES_MAX + 1] = {0};
    for (size_t i = from; i < to; i++) {
        parts[i - from] = piece_part(m, tool, &m->reply->spelling->call[i]);
    }
    return list(m, CONSTRAIN_ALL, parts);
}

/* A choice of what `of` makes for each tool. */
static part *each_tool(struct maker *m, part *(*of)(struct maker *m, const struct chat_tool *tool))
{
    const struct chat_reply *reply = m->reply;
    part **parts = ARENA_ARRAY(&m->arena, part *, reply->tool_count + 1);
    if (!parts) {
        m->failed = true;
        return bytes(m, (struct str){0});
    }
    for (size_t i = 0; i < reply->tool_count; i++) {
        parts[i] = of(m, &reply->tools[i]);
    }
    return list(m, CONSTRAIN_ANY, parts);
}

static size_t name_at(const struct chat_spelling *s)
{
    size_t at = 0;
    while (at < s->call_count && s->call[at].kind != 'n') {
        at++;
    }
    return at;
}

static part *from_name(struct maker *m, const struct chat_tool *tool)
{
    const struct chat_spelling *s = m->reply->spelling;
    return pieces(m, tool, name_at(s), s->call_count);
}

static part *section(struct maker *m)
{
    const struct chat_spelling *s = m->reply->spelling;
    part *call = ALL(m, pieces(m, &m->reply->tools[0], 0, name_at(s)), each_tool(m, from_name));
    part *more = many(m, ALL(m, bytes(m, s->between), call), 0, CHAT_CALLS_MAX - 1);
    return ALL(m, bytes(m, s->open), call, m->reply->many_calls ? more : bytes(m, (struct str){0}),
               bytes(m, s->close));
}

/* ---- replies ---- */

static part *answer_value(struct maker *m)
{
    const struct chat_reply *reply = m->reply;
    switch (reply->answer) {
    case CHAT_JSON_OBJECT:
        return make(m, (struct constrain_part){.kind = CONSTRAIN_OBJECT});
    case CHAT_SCHEMA:
        return schema_part(m, reply->schema, reply->schema, reply->is_strict, "");
    case CHAT_GBNF:
        return make(m, (struct constrain_part){.kind = CONSTRAIN_GBNF, .text = reply->source});
    case CHAT_REGEX:
        return make(m, (struct constrain_part){.kind = CONSTRAIN_REGEX, .text = reply->source});
    case CHAT_TEXT:
    default:
        return NULL;
    }
}

/* Text that does not begin as a section does, for families without a word that begins one. */
static part *other_text(struct maker *m)
{
    const struct chat_reply *reply = m->reply;
    const struct chat_spelling *s = reply->spelling;
    const size_t count = s->call[0].kind == 'n' ? reply->tool_count : 1;
    struct str *starts = ARENA_ARRAY(&m->arena, struct str, count);
    if (!starts) {
        m->failed = true;
        return bytes(m, (struct str){0});
    }
    for (size_t i = 0; i < count; i++) {
        struct buf b = {0};
        buf_add(&b, s->open);
        buf_add(&b, s->call[0].kind == 'n' ? reply->tools[i].name : s->call[0].text);
        starts[i] = (struct str){arena_copy(&m->arena, buf_view(&b)), b.len};
        m->failed = m->failed || b.failed || !starts[i].ptr;
        buf_deinit(&b);
    }
    return make(
        m, (struct constrain_part){.kind = CONSTRAIN_FREE, .starts = starts, .start_count = count});
}

static part *body(struct maker *m)
{
    const struct chat_reply *reply = m->reply;
    const struct chat_spelling *s = reply->spelling;
    part *value = answer_value(m);
    part *shown = ALL(m, maybe(m, bytes(m, s->text_open)),
                      value ? value : text_without(m, s->trigger, s->text_close),
                      maybe(m, bytes(m, s->text_close)));
    if (!reply->may_call) {
        return shown;
    }
    part *calls = section(m);
    if (reply->must_call) {
        return ALL(m, space(m), calls);
    }
    if (s->text_name.len > 0) {
        part *text =
            ALL(m, bytes(m, s->text_open), value ? value : text_without(m, s->trigger, s->trigger));
        return ANY(m, calls, ALL(m, text, maybe(m, ALL(m, bytes(m, s->trigger), calls))));
    }
    if (value || s->text_open.len > 0) {
        return ANY(m, shown, ALL(m, space(m), calls));
    }
    return s->trigger.len > 0 ? ALL(m, shown, maybe(m, calls)) : ANY(m, other_text(m), calls);
}

static part *reasoning(struct maker *m, part *rest)
{
    const struct chat_spelling *s = m->reply->spelling;
    part *inside =
        ALL(m, text_without(m, s->think_close, s->think_open), bytes(m, s->think_close), space(m));
    switch (m->reply->thinking) {
    case CHAT_IS_THINKING:
        return ALL(m, inside, rest);
    case CHAT_MAY_THINK:
        return ALL(m, maybe(m, ALL(m, space(m), bytes(m, s->think_open), inside)), rest);
    case CHAT_THINKS_NOT:
    default:
        return rest;
    }
}

/* ---- Harmony ---- */

static part *spelled(struct maker *m, const char *text)
{
    struct str out = {0};
    m->failed = m->failed || !chat_spell(m->reply->controls, str_of(text), &m->arena, &out);
    return bytes(m, out);
}

static part *harmony_call(struct maker *m, const struct chat_tool *tool)
{
    return ALL(m, bytes(m, tool->name), spelled(m, "<|channel|>commentary json<|message|>"),
               arguments(m, tool));
}

static part *harmony_channel_call(struct maker *m, const struct chat_tool *tool)
{
    return ALL(m, bytes(m, tool->name), spelled(m, " "), maybe(m, spelled(m, "<|constrain|>")),
               spelled(m, "json<|message|>"), arguments(m, tool));
}

/* Messages of one turn, each with a channel:
 *
 *     <|channel|>analysis<|message|>...<|end|><|start|>assistant     reasoning, any number of times
 *     <|channel|>commentary<|message|>...<|end|><|start|>assistant   words before a call
 *      to=functions.f<|channel|>commentary json<|message|>{...}      a call, ended by <|call|>
 *     <|channel|>commentary to=functions.f <|constrain|>json<|message|>{...}    the same
 *     <|channel|>final<|message|>...                                 the answer */
static part *harmony(struct maker *m)
{
    const struct chat_reply *reply = m->reply;
    const struct str none = {0};
    part *next = spelled(m, "<|end|><|start|>assistant");
    part *thought =
        ALL(m, spelled(m, "<|channel|>analysis<|message|>"), text_without(m, none, none), next);
    part *thoughts = reply->thinking == CHAT_THINKS_NOT ? bytes(m, none) : many(m, thought, 0, 4);
    part *value = answer_value(m);
    part *final = ALL(m, spelled(m, "<|channel|>final<|message|>"),
                      value ? value : text_without(m, none, none));
    if (!reply->may_call) {
        return ALL(m, thoughts, final);
    }
    part *words =
        ALL(m, spelled(m, "<|channel|>commentary<|message|>"), text_without(m, none, none), next);
    part *call = ANY(m, ALL(m, spelled(m, " to=functions."), each_tool(m, harmony_call)),
                     ALL(m, spelled(m, "<|channel|>commentary to=functions."),
                         each_tool(m, harmony_channel_call)));
    return ALL(m, thoughts, reply->must_call ? call : ANY(m, final, ALL(m, maybe(m, words), call)));
}

struct constrain_grammar *chat_reply_compile(struct chat_reply *reply, struct err *err)
{
    struct maker m = {.reply = reply, .arena = arena_init(CONSTRAIN_MEMORY_MAX)};
    struct constrain_grammar *grammar = NULL;
    const struct chat_spelling *s = reply->spelling;
    bool is_python = false;
    for (size_t i = 0; i < s->call_count; i++) {
        is_python = is_python || s->call[i].kind == 'p';
    }
    part *whole = s->format->is_harmony ? harmony(&m) : reasoning(&m, body(&m));
    if (m.failed) {
        err_set_memory(err, sizeof(struct constrain_part));
    } else {
        const struct constrain_style style = {.is_python = is_python && reply->may_call,
                                              .is_canonical = reply->may_call};
        grammar = constrain_compile_parts(whole, style, err);
    }
    arena_deinit(&m.arena);
    return grammar;
}
