/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* samples.h - samples by number, their order, and batches of them: what the loader is made of. */
#ifndef BRIDGE_CORE_DATA_SAMPLES_H
#define BRIDGE_CORE_DATA_SAMPLES_H

#include "data.h"

int br__sample_room(struct br__sample *s, int64_t n, struct br_err *err) BR_MUST_CHECK;
void br__sample_free(struct br__sample *s);
/* Samples of a split; 0 if it was not opened. */
int64_t br__pretrain_count(const struct br__pretrain *p, int split);
/* Sample i of a split, and of which dataset of its blend; thread-safe. */
int br__pretrain_sample(const struct br__pretrain *p, int split, int64_t i, struct br__sample *out,
                        int *dataset, struct br_err *err) BR_MUST_CHECK;
/* The next batch after `consumed` samples (of all ranks): its indices into index[], the number of
 * them, and what it consumes.  SINGLE and CYCLIC: a micro batch; BATCH: this rank's part of a
 * global batch.  *n is 0 at the end of SINGLE; the others begin the next epoch. */
int br__data_sampler_next(struct br__data_sampler *s, int64_t consumed, int64_t *index, int64_t *n,
                          int64_t *consumes, struct br_err *err) BR_MUST_CHECK;
void br__data_sampler_free(struct br__data_sampler *s);
int64_t br__sft_skipped(const struct br__sft *s);
/* Sample i, or -1: one that only fills a batch; its weights are 0.  Thread-safe. */
int br__sft_sample(const struct br__sft *s, int64_t i, struct br__sample *out,
                   struct br_err *err) BR_MUST_CHECK;
/* How long the rows of these samples are. */
int64_t br__batch_length(const struct br__sample *samples, int64_t n, const struct br__collate *c);
int br__batch_fill(struct br__batch *b, const struct br__sample *samples, int64_t n,
                   const struct br__collate *c, struct br_err *err) BR_MUST_CHECK;
void br__batch_free(struct br__batch *b);
int br__pretok_sample(const struct br__pretok *p, int64_t i, struct br__sample *out,
                      struct br_err *err) BR_MUST_CHECK;

#endif
