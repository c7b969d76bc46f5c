/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* infer_internal.h - from logits to the next token (sample.c), and its probability (score.c). */
#ifndef BRIDGE_CORE_INFER_INTERNAL_H
#define BRIDGE_CORE_INFER_INTERNAL_H

#include "infer.h"

struct br__sampler; /* has room for one vocabulary; serves any number of sequences, in one thread */
/* BR_E_USAGE names the value that is out of range. */
int br__sampler_new(struct br__sampler **out, const struct br__sample_opts *o, uint32_t vocab,
                    struct br_err *err) BR_MUST_CHECK;
void br__sampler_free(struct br__sampler *s);
/* Other options from now on; of another sequence, say. */
int br__sampler_set(struct br__sampler *s, const struct br__sample_opts *o,
                    struct br_err *err) BR_MUST_CHECK;

/* The next token of a sequence, from logits[vocab].  history: all ids so far, prompt and new ones.
 * (seed, sequence, step) decide the draw: number sequences from the user's point of view (the line
 * of a prompt, say) and steps from 0.  Greedy: the largest logit, of equals the lowest id.
 * BR_E_NUMERIC: a logit that is not finite. */
int br__sample(struct br__sampler *s, const float *logits, const int32_t *history, size_t n_history,
               uint64_t sequence, uint64_t step, int32_t *id, struct br_err *err) BR_MUST_CHECK;
/* What br__sample would draw from: ascending ids, the probability of each is weight / total.
 * Valid until the sampler's next call. */
struct br__choices {
    const int32_t *ids;
    const double *weights;
    uint32_t n;
    double total;
};
int br__sample_choices(struct br__sampler *s, const float *logits, const int32_t *history,
                       size_t n_history, struct br__choices *out, struct br_err *err) BR_MUST_CHECK;

/* log p of token `id` under n logits. */
double br__log_prob(const float *logits, size_t n, int32_t id);

#endif
