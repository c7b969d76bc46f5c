/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sampler.c - which samples a batch has, from the number of samples consumed alone.
 *
 * Source: megatron/bridge/data/samplers.py, versions 0.2 to 0.6. */
#include "data.h"
#include "random.h"
#include "samples.h"

#include <inttypes.h>

static int sampler_check(const struct br__data_sampler *s, int64_t consumed, struct br_err *err)
{
    int64_t step = s->micro_batch * s->dp;
    if (s->total < 1)
        return br_fail(err, BR_E_CONFIG, "the data has no samples");
    if (s->micro_batch < 1 || s->dp < 1 || s->rank < 0 || s->rank >= s->dp || consumed < 0)
        BR_BUG("micro batch %" PRId64 ", rank %" PRId64 " of %" PRId64, s->micro_batch, s->rank,
               s->dp);
    if (s->kind == BR__SAMPLER_BATCH && (s->global_batch < 1 || s->global_batch % step))
        return br_fail(err, BR_E_CONFIG,
                       "global_batch_size %" PRId64 " is no multiple of micro_batch_size x "
                       "data-parallel size = %" PRId64,
                       s->global_batch, step);
    return BR_OK;
}

/* s->order = randperm(n) for this epoch; kept until another is asked for. */
static int sampler_shuffled(struct br__data_sampler *s, uint64_t seed, int64_t n, int64_t epoch,
                            struct br_err *err)
{
    if (s->order && s->order_n == n && s->order_epoch == epoch)
        return BR_OK;
    if (n >= BR__RANDPERM_MAX)
        return br_fail(err, BR_E_UNSUPPORTED, "%" PRId64 " samples to shuffle, at most %" PRId64, n,
                       BR__RANDPERM_MAX - 1);
    br__free(s->order);
    s->order = br__calloc((size_t)n, sizeof *s->order);
    if (!s->order)
        return br__nomem(err, "for the order of %" PRId64 " samples", n);
    br__torch_randperm(seed, n, s->order);
    s->order_n = n;
    s->order_epoch = epoch;
    return BR_OK;
}

/* ---- single ---------------------------------------------------------------------------------- */

static void next_single(const struct br__data_sampler *s, int64_t consumed, int64_t *index,
                        int64_t *n, int64_t *consumes)
{
    int64_t step = s->micro_batch * s->dp, left = s->total - consumed;
    *n = *consumes = 0;
    if (left <= 0 || (left < step && !s->keep_last))
        return;
    *consumes = BR__MIN(step, left);
    for (int64_t i = s->rank * s->micro_batch; i < (s->rank + 1) * s->micro_batch; i++)
        if (i < *consumes)
            index[(*n)++] = consumed + i;
}

/* ---- cyclic ---------------------------------------------------------------------------------- */

/* With sharding each rank shuffles a block of its own, by the same permutation. */
static int next_cyclic(struct br__data_sampler *s, int64_t consumed, int64_t *index, int64_t *n,
                       int64_t *consumes, struct br_err *err)
{
    int64_t step = s->micro_batch * s->dp, active = s->total - s->total % step;
    if (active == 0)
        return br_fail(err, BR_E_CONFIG, "%" PRId64 " samples are fewer than one batch of %" PRId64,
                       s->total, step);
    int64_t epoch = consumed / active, at = consumed % active;
    if (at % step)
        return br_fail(err, BR_E_CONFIG,
                       "%" PRId64 " samples consumed are no whole number of batches of %" PRId64,
                       consumed, step);
    int64_t block = active / s->dp;
    int64_t all = s->no_sharding ? s->total - s->total % s->micro_batch : block;
    int rc = sampler_shuffled(s, (uint64_t)epoch, all, epoch, err);
    for (int64_t i = 0; i < s->micro_batch && !rc; i++)
        index[i] = s->no_sharding ? s->order[at + i * s->dp + s->rank]
                                  : s->rank * block + s->order[at / s->dp + i];
    *n = s->micro_batch;
    *consumes = step;
    return rc;
}

/* ---- batch ----------------------------------------------------------------------------------- */

/* Ranks take every dp-th sample.  An epoch is what it consumes: whole batches, or all samples. */
static int next_batch(struct br__data_sampler *s, int64_t consumed, int64_t *index, int64_t *n,
                      int64_t *consumes, struct br_err *err)
{
    int64_t g = s->global_batch, active = s->total;
    if (!s->keep_last)
        active -= s->total % g;
    else if (s->pad_last)
        active = (s->total + g - 1) / g * g;
    if (active == 0)
        return br_fail(err, BR_E_CONFIG,
                       "%" PRId64 " samples are fewer than one global batch of %" PRId64, s->total,
                       g);
    int64_t epoch = consumed / active, at = consumed % active;
    int rc = sampler_shuffled(s, s->seed + (uint64_t)epoch, s->total, epoch, err);
    if (rc)
        return rc;
    int64_t left = BR__MIN(g, BR__MIN(active, s->total) - at);
    *n = 0;
    for (int64_t i = s->rank; i < left; i += s->dp)
        index[(*n)++] = s->order[at + i];
    while (s->keep_last && s->pad_last && *n < g / s->dp)
        index[(*n)++] = -1;
    *consumes = s->keep_last && s->pad_last ? g : left;
    return BR_OK;
}

int br__data_sampler_next(struct br__data_sampler *s, int64_t consumed, int64_t *index, int64_t *n,
                          int64_t *consumes, struct br_err *err)
{
    int rc = sampler_check(s, consumed, err);
    if (rc)
        return rc;
    if (s->kind == BR__SAMPLER_CYCLIC)
        return next_cyclic(s, consumed, index, n, consumes, err);
    if (s->kind == BR__SAMPLER_BATCH)
        return next_batch(s, consumed, index, n, consumes, err);
    next_single(s, consumed, index, n, consumes);
    return BR_OK;
}

void br__data_sampler_free(struct br__data_sampler *s)
{
    br__free(s->order);
    s->order = NULL;
}
