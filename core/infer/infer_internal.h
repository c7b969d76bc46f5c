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
/* How many of the largest logits are enough for it, as br__llm_forward_best counts: 1 if it is
 * greedy, 0 if it takes all. */
uint32_t br__sample_enough(const struct br__sample_opts *o);
/* br__sample, the same token, from at least as many. */
int32_t br__sample_best(struct br__sampler *s, const struct br__best *best, uint64_t sequence,
                        uint64_t step);
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

/* ---- generation by steps --------------------------------------------------------------------- */

/* Sequences of a session, each of which gets a token a step.  A sequence's tokens do not depend on
 * the others.  One thread at a time; the session belongs to it from begin to end. */
struct br__gen;
int br__gen_begin(struct br__gen **out, struct br__llm_session *s,
                  struct br_err *err) BR_MUST_CHECK;
void br__gen_end(struct br__gen *g); /* NULL is fine */
size_t br__gen_free_slots(const struct br__gen *g);

struct br__gen_request {
    const int32_t *prompt; /* copied */
    size_t n_prompt;
    const int32_t *eos; /* any of these ends the sequence; copied */
    size_t n_eos;
    struct br__sample_opts sample;
    uint64_t number;        /* with the seed and the step it decides the draw */
    int64_t max_new_tokens; /* >= 1 */
    int logprob;            /* compute the log-probability of each token */
};
/* A new sequence; its prompt is read in the next step.  BR_E_BUSY: no slot is free. */
int br__gen_add(struct br__gen *g, const struct br__gen_request *r, uint64_t *id,
                struct br_err *err) BR_MUST_CHECK;
/* Forget a sequence; nothing happens if it has ended. */
void br__gen_cancel(struct br__gen *g, uint64_t id);

struct br__gen_token {
    uint64_t sequence;
    int32_t id;
    int finish;     /* enum br_finish: the sequence has ended with this token */
    double logprob; /* log p of the token under the model's own distribution (temperature 1, nothing
                       cut off); NAN if it was not asked for */
};
struct br__gen_step {
    const struct br__gen_token *tokens; /* one of every sequence, until the next call */
    size_t n;
    size_t prompt_tokens; /* read in this step */
};
/* After an error only br__gen_end is left. */
int br__gen_step(struct br__gen *g, struct br__gen_step *step, struct br_err *err) BR_MUST_CHECK;

/* logits[n, vocab_size] of one pass over n tokens. */
int br__logits(struct br__llm *m, const int32_t *ids, size_t n, float *logits,
               struct br_err *err) BR_MUST_CHECK;

#endif
