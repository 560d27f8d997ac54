/* Truncation samplers: each takes away candidates that are too unlikely, by its own idea of
 * unlikely. Formulas, order and names are those of llama.cpp (src/llama-sampler.cpp), which is what
 * people tune their settings against; where its float sums depend on the order of candidates ours
 * are in double.
 *
 *     top_n_sigma  logit >= max - n * standard deviation of the logits   arXiv 2411.07641
 *     top_k        the k best
 *     typical      surprise close to the entropy, up to mass p            arXiv 2202.00666
 *     top_p        the best up to mass p                                  arXiv 1904.09751
 *     min_p        p >= min_p * p of the best                             arXiv 2407.01082
 *     xtc          with a chance, drop all but the least of those above a threshold
 *                  (p-e-w, text-generation-webui pull request 6335)
 *
 * All leave at least max(1, min_keep) candidates where llama.cpp does, do nothing at their neutral
 * value, and never bring a candidate back. */
#ifndef ENGINE_TRUNCATE_H
#define ENGINE_TRUNCATE_H

#include "engine/candidates.h"

/* Masks with -INFINITY, removes nothing. n <= 0: off. */
void engine_top_n_sigma(struct engine_candidates *c, float n);

/* 0: off. */
void engine_top_k(struct engine_candidates *c, size_t k);

/* p >= 1: off. */
void engine_typical(struct engine_candidates *c, float p, size_t min_keep);
void engine_top_p(struct engine_candidates *c, float p, size_t min_keep);

/* p <= 0: off. */
void engine_min_p(struct engine_candidates *c, float p, size_t min_keep);

/* The caller has drawn the chance. threshold > 0.5: off (no two tokens can be above). */
void engine_xtc(struct engine_candidates *c, float threshold, size_t min_keep);

#endif
