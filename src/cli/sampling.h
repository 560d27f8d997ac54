/* Sampling on the command line, by llama-server's option names. */
#ifndef CLI_SAMPLING_H
#define CLI_SAMPLING_H

#include "cli/options.h"

struct cli_sampling {
    struct engine_sampling engine; /* biases and breakers are filled by cli_sampling_finish */
    struct engine_bias biases[CLI_TEXTS_MAX];
    struct cli_texts bias_texts, breakers, stops, banned;
    uint32_t mirostat;
    uint32_t min_tokens;
    bool has_seed, ignore_eos;
};

extern const struct cli_option cli_sampling_options[]; /* offsets in struct cli_sampling */
extern const size_t cli_sampling_option_count;

/* llama-server's defaults: temperature 0.8, top-k 40, top-p 0.95, min-p 0.05, DRY breakers. */
void cli_sampling_init(struct cli_sampling *sampling);

/* Reads the texts, draws a seed if none was given, checks ranges (ERR_INVALID, ERR_USAGE). Token
 * ids are checked by the engine. */
bool cli_sampling_finish(struct cli_sampling *sampling, struct err *err);

#endif
