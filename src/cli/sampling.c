#include "cli/sampling.h"

#include <math.h>

#include "base/os.h"

#define AT(field)     .offset = offsetof(struct cli_sampling, field)
#define NUMBER(field) .kind = CLI_NUMBER, AT(engine.field), .low = -1e9, .high = 1e9
#define COUNT(field)  .kind = CLI_COUNT, AT(field), .low = 0, .high = INT32_MAX

const struct cli_option cli_sampling_options[] = {
    {.kind = CLI_TITLE, .help = "Sampling, in the order in which it is applied"},
    {"seed", NULL, 's', CLI_SEED, AT(engine.seed),
     .is_set = offsetof(struct cli_sampling, has_seed), .value_name = "S",
     .help = "same seed, same answer (default: random)"},
    {"logit-bias", NULL, 'l', CLI_TEXTS, AT(bias_texts), .value_name = "ID+B",
     .help = "adds B (-100..100) to the logit of a token: 15043+1, 15043-inf; repeatable"},
    {"repeat-last-n", NULL, 0, CLI_WINDOW, AT(engine.repeat_last_n), .value_name = "N",
     .help = "tokens that the three penalties look back (64; 0: off, -1: all)"},
    {"repeat-penalty", NULL, 0, NUMBER(repeat_penalty), .value_name = "X",
     .help = "divides the logit of what was said (1: off)"},
    {"presence-penalty", NULL, 0, NUMBER(presence_penalty), .value_name = "X",
     .help = "subtracts it once (0: off)"},
    {"frequency-penalty", NULL, 0, NUMBER(frequency_penalty), .value_name = "X",
     .help = "subtracts it per occurrence (0: off)"},
    {"dry-multiplier", NULL, 0, NUMBER(dry_multiplier), .value_name = "X",
     .help = "DRY: penalty for going on with a repetition (0: off)"},
    {"dry-base", NULL, 0, NUMBER(dry_base), .value_name = "X",
     .help = "DRY: growth per token (1.75)"},
    {"dry-allowed-length", NULL, 0, COUNT(engine.dry_allowed_length), .value_name = "N",
     .help = "DRY: repetitions up to this length are free (2)"},
    {"dry-penalty-last-n", NULL, 0, CLI_WINDOW, AT(engine.dry_penalty_last_n), .value_name = "N",
     .help = "DRY: tokens to look back (-1: all)"},
    {"dry-sequence-breaker", NULL, 0, CLI_TEXTS, AT(breakers), .value_name = "TEXT",
     .help = "DRY: replaces the default breakers; \"none\" for none; repeatable"},
    {"top-nsigma", "top-n-sigma", 0, NUMBER(top_n_sigma), .value_name = "X",
     .help = "keeps logits within X standard deviations of the best (-1: off)"},
    {"top-k", NULL, 0, COUNT(engine.top_k), .value_name = "N",
     .help = "keeps the N best (40; 0: off)"},
    {"typical", "typical-p", 0, NUMBER(typical_p), .value_name = "P",
     .help = "keeps the typical ones up to mass P (1: off)"},
    {"top-p", NULL, 0, NUMBER(top_p), .value_name = "P",
     .help = "keeps the best up to mass P (0.95; 1: off)"},
    {"min-p", NULL, 0, NUMBER(min_p), .value_name = "P",
     .help = "keeps those with P times the best's probability (0.05; 0: off)"},
    {"min-keep", NULL, 0, COUNT(engine.min_keep), .value_name = "N",
     .help = "candidates that truncation leaves at least (1)"},
    {"xtc-probability", NULL, 0, NUMBER(xtc_probability), .value_name = "P",
     .help = "chance to leave out the top choices (0: off)"},
    {"xtc-threshold", NULL, 0, NUMBER(xtc_threshold), .value_name = "P",
     .help = "what counts as a top choice (0.1)"},
    {"temp", "temperature", 0, NUMBER(temperature), .value_name = "T", .help = "0 is greedy (0.8)"},
    {"dynatemp-range", NULL, 0, NUMBER(dynatemp_range), .value_name = "X",
     .help = "temperature moves by X with the entropy (0: off)"},
    {"dynatemp-exp", NULL, 0, NUMBER(dynatemp_exponent), .value_name = "X",
     .help = "exponent of that movement (1)"},
    {"mirostat", NULL, 0, CLI_COUNT, AT(mirostat), .low = 0, .high = 2, .value_name = "N",
     .help = "2: mirostat v2 in place of truncation (0: off)"},
    {"mirostat-lr", NULL, 0, NUMBER(mirostat_eta), .value_name = "X",
     .help = "its learning rate (0.1)"},
    {"mirostat-ent", NULL, 0, NUMBER(mirostat_tau), .value_name = "X",
     .help = "its target surprise (5)"},
    {.kind = CLI_TITLE, .help = "Where an answer ends"},
    {"stop", NULL, 0, CLI_TEXTS, AT(stops), .value_name = "TEXT",
     .help = "ends the answer before this text; repeatable"},
    {"ban", NULL, 0, CLI_TEXTS, AT(banned), .value_name = "TEXT",
     .help = "the answer goes round this text; repeatable"},
    {"min-tokens", NULL, 0, COUNT(min_tokens), .value_name = "N", .help = "no end before N tokens"},
    {"ignore-eos", NULL, 0, CLI_FLAG, AT(ignore_eos), .help = "no end but the token limit"},
};

const size_t cli_sampling_option_count = sizeof cli_sampling_options / sizeof *cli_sampling_options;

#undef AT
#undef NUMBER
#undef COUNT

void cli_sampling_init(struct cli_sampling *sampling)
{
    *sampling = (struct cli_sampling){.engine = engine_sampling_default()};
    struct engine_sampling *e = &sampling->engine;
    e->temperature = 0.8f;
    e->top_k = 40;
    e->top_p = 0.95f;
    e->min_p = 0.05f;
}

/* "15043+1.5", "15043-inf" */
static bool read_bias(struct str text, struct engine_bias *out, struct err *err)
{
    char quoted[STR_QUOTE_MAX];
    size_t sign = 0;
    uint64_t id;
    double bias;
    while (sign < text.len && text.ptr[sign] != '+' && text.ptr[sign] != '-') {
        sign++;
    }
    struct str value = str_slice(text, sign + (sign < text.len && text.ptr[sign] == '+'), text.len);
    bool is_ban = str_eq_nocase(value, STR("-inf"));
    if (!str_to_u64(str_slice(text, 0, sign), &id) || id > INT32_MAX ||
        (!is_ban && !str_to_f64(value, &bias))) {
        return err_set(err, ERR_USAGE, "--logit-bias: \"%s\" is not ID+BIAS or ID-BIAS",
                       str_quote(quoted, text));
    }
    *out = (struct engine_bias){(text_id)id, is_ban ? -INFINITY : (float)bias};
    return true;
}

static void take_breakers(struct cli_sampling *s)
{
    static const struct str usual[] = {STR("\n"), STR(":"), STR("\""), STR("*")};
    if (s->breakers.count == 0) {
        for (size_t i = 0; i < 4; i++) {
            s->breakers.items[s->breakers.count++] = usual[i];
        }
    } else if (s->breakers.count == 1 && str_eq(s->breakers.items[0], STR("none"))) {
        s->breakers.count = 0;
    }
    s->engine.dry_sequence_breakers = s->breakers.items;
    s->engine.dry_breaker_count = s->breakers.count;
}

bool cli_sampling_finish(struct cli_sampling *s, struct err *err)
{
    if (s->mirostat == 1) {
        return err_set(err, ERR_USAGE, "--mirostat: version 1 is not there; 2 is");
    }
    s->engine.mirostat = s->mirostat == 2;
    for (size_t i = 0; i < s->bias_texts.count; i++) {
        if (!read_bias(s->bias_texts.items[i], &s->biases[i], err)) {
            return false;
        }
    }
    s->engine.biases = s->biases;
    s->engine.bias_count = s->bias_texts.count;
    take_breakers(s);
    if (!s->has_seed) {
        os_random(&s->engine.seed, sizeof s->engine.seed);
        s->engine.seed &= INT64_MAX; /* so that --json can print it */
    }
    return engine_sampling_check(&s->engine, (size_t)INT32_MAX + 1, err);
}
