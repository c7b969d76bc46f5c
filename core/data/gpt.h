/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gpt.h - pretraining data as Megatron orders it: documents of a split, shuffled over epochs and
 * cut into samples of seq_length + 1 tokens, datasets blended.
 *
 * Source: gpt_dataset.py, blended_dataset.py, blended_megatron_dataset_builder.py and helpers.cpp
 * of megatron/core/datasets, versions 0.8 to 0.19. */
#ifndef BRIDGE_CORE_DATA_GPT_H
#define BRIDGE_CORE_DATA_GPT_H

#include "../format/format.h"
#include "data.h"

/* ---- token sources --------------------------------------------------------------------------- */

/* Sequences of tokens: an indexed file or Megatron's mock data. */
struct br__tokens {
    const char *name; /* for messages; borrowed */
    int64_t n_seq;
    struct br__indexed x;  /* unless mock */
    int32_t *mock_lengths; /* mock: of each sequence */
    int32_t vocab, eod;    /* mock */
};
int br__tokens_open(struct br__tokens *t, const char *prefix, struct br_err *err) BR_MUST_CHECK;
int br__tokens_mock(struct br__tokens *t, int32_t vocab, int32_t eod,
                    struct br_err *err) BR_MUST_CHECK;
void br__tokens_close(struct br__tokens *t);
int64_t br__tokens_len(const struct br__tokens *t, int64_t seq);
int br__tokens_read(const struct br__tokens *t, int64_t seq, int64_t from, int64_t n, int32_t *out,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- one dataset of one split ---------------------------------------------------------------- */

/* What a sample looks like. */
struct br__gpt_shape {
    int64_t seq_length;
    uint32_t seed;
    int32_t eod, pad; /* pad: -1 = none */
    int extra; /* 1: a sample is read with one token more, so that labels are its tokens shifted
                  by one; 0: the last label is a pad */
    int reset_position_ids, reset_attention_mask, eod_mask_loss;
};
struct br__gpt_index {
    int32_t *documents; /* [n_documents] sequences in reading order, all epochs */
    int64_t n_documents;
    int64_t (*starts)[2]; /* [n_samples + 1] where a sample begins: index into documents, token */
    int64_t *order;       /* [n_samples] which sample is read as number i */
    int64_t n_samples, n_epochs;
};
/* Sequences [first, end) of t; n_samples: at least so many, or -1 for one epoch. */
int br__gpt_index_make(struct br__gpt_index *x, const struct br__tokens *t, int64_t first,
                       int64_t end, int64_t n_samples, const struct br__gpt_shape *s,
                       struct br_err *err) BR_MUST_CHECK;
/* The same, kept below dir as .npy files.  split: its name. */
int br__gpt_index_cached(struct br__gpt_index *x, const char *dir, const char *split,
                         const struct br__tokens *t, int64_t first, int64_t end, int64_t n_samples,
                         const struct br__gpt_shape *s, struct br_err *err) BR_MUST_CHECK;
void br__gpt_index_free(struct br__gpt_index *x);
/* Sample number i into *out. */
int br__gpt_sample(const struct br__gpt_index *x, const struct br__tokens *t,
                   const struct br__gpt_shape *s, int64_t i, struct br__sample *out,
                   struct br_err *err) BR_MUST_CHECK;

/* ---- blends and splits ----------------------------------------------------------------------- */

/* Divide by the sum, which numpy adds pairwise. */
void br__normalize(double *w, size_t n);
/* Which dataset gives sample i, and which of its samples; by weights, or (samples of each) until
 * all are used up.  0, or BR_E_NOMEM. */
int br__blend_by_weight(const double *w, size_t n, int64_t size, int16_t *dataset,
                        int64_t *sample) BR_MUST_CHECK;
int br__blend_all(const int64_t *sizes, size_t n, int16_t *dataset, int64_t *sample) BR_MUST_CHECK;
/* ceil(ceil(target * weight) * (1 + surplus)): what a blend of `target` asks of one dataset. */
int64_t br__blend_share(int64_t target, double weight, double surplus);
#define BR__BLEND_SURPLUS 0.005

#endif
