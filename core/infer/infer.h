/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* infer.h - the door of core/infer: from logits to text.
 *
 * Chooses tokens, step by step, and turns them to text with a tokenizer.  It knows no
 * weights, no graph and no device. */
#ifndef BRIDGE_CORE_INFER_H
#define BRIDGE_CORE_INFER_H

#include "../engine/engine.h"
#include "../text/text.h"
#include <bridge/llm.h>

/* ---- choosing tokens ------------------------------------------------------------------------- */

/* As in generation_config.json; each step can be switched off. */
struct br__sample_opts {
    double temperature;        /* 0: greedy, the steps after it are skipped */
    uint64_t top_k;            /* 0: off */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off */
    uint64_t seed;
};
#define BR__SAMPLE_GREEDY                                                                          \
    {                                                                                              \
        0, 0, 1, 0, 1, 0                                                                           \
    }

/* Ids that end a sequence: generation_config.json's, config.json's where it names none.  How many.
 */
#define BR__MAX_EOS 64
size_t br__eos_ids(const struct br__llm *m, int32_t ids[BR__MAX_EOS]);

/* What generation_config.json asks for, as transformers reads it (do_sample, temperature, top_k,
 * top_p, min_p, repetition_penalty; the seed stays 0): 1 if it asks for sampling, else 0 and
 * greedy. */
int br__recommended_sampling(const struct br__llm *m, struct br__sample_opts *o);

/* ---- scores ---------------------------------------------------------------------------------- */

/* log p of each token given those before it, in windows of at most 2048 tokens that do not overlap;
 * NAN for the first of a window. */
int br__score(struct br__llm *m, const int32_t *ids, size_t n, double *logprob,
              struct br_err *err) BR_MUST_CHECK;

/* ---- prompts to text ------------------------------------------------------------------------- */

struct br__gen_opts {
    struct br__sample_opts sample;
    int64_t max_new_tokens;
    const int32_t *eos; /* any of these ends a sequence */
    size_t n_eos;
    const char *const *stop; /* so does any of these texts, which is then left out */
    size_t n_stop;
    const struct br_tokenizer *tok; /* NULL: ids only, no text and no stop texts */
    /* Text of a sequence as it comes, whole code points, without special tokens; may be NULL. */
    void (*on_text)(void *ud, size_t sequence, const char *text, size_t n);
    int (*cancelled)(
        void *ud); /* asked after each step, and within a long prompt: 1 ends all; may be NULL */
    void *ud;
};
struct br__gen_sequence {
    const int32_t *prompt; /* given */
    size_t n_prompt;
    int32_t *ids; /* the new ones, the one that ended it included; freed by br__gen_free */
    size_t n_ids, cap_ids;
    struct br__buf text;
    const char *finish; /* "eos", "stop", "length" or "cancelled" */
};
struct br__gen_stats {
    size_t prompt_tokens, new_tokens;
    double first_token;     /* seconds until the first token of the first sequence */
    double prefill, decode; /* seconds in steps that read prompts, and in the others */
    size_t decoded;         /* tokens that the latter gave */
};
/* Continue n sequences, as many at once as there are cache slots; a slot that becomes free takes
 * the next one.  The result of a sequence does not depend on the others. */
int br__generate(struct br__llm_session *s, const struct br__gen_opts *o,
                 struct br__gen_sequence *seqs, size_t n, struct br__gen_stats *stats,
                 struct br_err *err) BR_MUST_CHECK;
void br__gen_free(struct br__gen_sequence *seqs, size_t n);

#endif
