/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* shard.c - see shard.h.
 *
 * Source: mcore's DistributedDataParallel and DistributedOptimizer: gradients are multiplied by the
 * scale before they are added, unless average_in_collective, and are added in float32 or in the
 * parameters' dtype (grad_reduce_in_fp32).  How buffers are cut is not Megatron's: no file shows
 * it. */
#include "shard.h"

#include "optim.h"

#include <string.h>

/* ---- opening --------------------------------------------------------------------------------- */

static uint32_t bank_ranks(const struct br__bank *b)
{
    return b->comm ? b->comm->size : 1;
}

/* Elements [*from, *from + *n) of a bank are this rank's. */
static void bank_part(const struct br__shard *s, const struct br__bank *b, size_t *from, size_t *n)
{
    int all = s->o.whole || !b->comm;

    *n = all ? b->n : b->n / b->comm->size;
    *from = all ? 0 : *n * b->comm->rank;
}

static int copy_opts(struct br__shard *s, const struct br__shard_opts *o, struct br_err *err)
{
    struct br__bank *banks = br__arena_alloc(&s->arena, (o->n_banks + 1) * sizeof *banks);
    struct br__shard_tensor *tensors =
        br__arena_alloc(&s->arena, (o->n_tensors + 1) * sizeof *tensors);

    s->o = *o;
    s->shares = br__arena_alloc(&s->arena, (o->n_tensors + 1) * sizeof *s->shares);
    if (!banks || !tensors || !s->shares)
        return br__nomem(err, "for the optimizer's state");
    for (size_t i = 0; i < o->n_banks; i++) {
        banks[i] = o->banks[i];
        if (banks[i].n % bank_ranks(&banks[i]))
            BR_BUG("a bank of %zu elements for %u ranks", banks[i].n, bank_ranks(&banks[i]));
    }
    for (size_t i = 0; i < o->n_tensors; i++)
        tensors[i] = o->tensors[i];
    s->o.banks = banks;
    s->o.tensors = tensors;
    return BR_OK;
}

/* What of tensor i this rank updates, if it is anything. */
static void add_share(struct br__shard *s, uint32_t i)
{
    const struct br__shard_tensor *t = &s->o.tensors[i];
    const struct br__bank *b = &s->o.banks[t->bank];
    size_t first, n;

    bank_part(s, b, &first, &n);
    size_t from = BR__MAX(t->at, first), end = BR__MIN(t->at + t->n, first + n);
    if (from >= end)
        return;
    int is_copy = s->o.whole && b->comm && b->comm->rank; /* the first of equals counts */
    s->shares[s->n_shares++] = (struct br__share){.tensor = i,
                                                  .from = from - t->at,
                                                  .n = end - from,
                                                  .main = b->main ? b->main + from : NULL,
                                                  .grad = b->grad + from,
                                                  .half = b->half ? b->half + from : NULL,
                                                  .counts = t->counts && !is_copy};
}

/* Main weights where banks have none, then both moments, share by share. */
static int make_state(struct br__shard *s, struct br_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_shares; i++)
        n += s->shares[i].n * (s->shares[i].main ? 2 : 3);
    s->bytes = n * sizeof *s->state;
    float *at = s->state = br__device_alloc(s->o.device, (n + 1) * sizeof *s->state);
    if (!at)
        return br__nomem(err, "for the optimizer's state");
    for (size_t i = 0; i < s->n_shares; i++) {
        struct br__share *x = &s->shares[i];
        if (!x->main) {
            x->main = at;
            br_cast(x->main, BR_F32, x->half, s->o.half, x->n, 0);
            at += x->n;
        }
        x->m = at;
        x->v = at + x->n;
        at += 2 * x->n;
    }
    return BR_OK;
}

int br__shard_open(struct br__shard *s, const struct br__shard_opts *o, struct br_err *err)
{
    memset(s, 0, sizeof *s);
    int rc = copy_opts(s, o, err);
    for (uint32_t i = 0; i < o->n_tensors && !rc; i++)
        add_share(s, i);
    if (!rc)
        rc = make_state(s, err);
    if (rc)
        br__shard_close(s);
    return rc;
}

int br__shard_is_shared(const struct br__shard *s)
{
    int shared = 0;

    for (size_t i = 0; i < s->o.n_banks; i++)
        shared |= s->o.banks[i].comm != NULL;
    return shared && !s->o.whole;
}

void br__shard_close(struct br__shard *s)
{
    if (s->state)
        br__device_free(s->o.device, s->state);
    br__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

/* ---- gradients ------------------------------------------------------------------------------- */

static int scale_bank(const struct br__shard *s, const struct br__bank *b, size_t from, size_t n,
                      struct br_err *err)
{
    const struct br__grad_span g = {b->grad + from, n};

    return br__scale_grads(&g, 1, b->scale, s->o.threads, err);
}

/* In place: the rank's part of the sum takes the place of its own gradients there. */
static int sum_wide(const struct br__shard *s, const struct br__bank *b, struct br_err *err)
{
    size_t from, n;

    bank_part(s, b, &from, &n);
    if (s->o.whole)
        return b->comm->ops->all_reduce(b->comm, b->grad, b->n, BR_F32, err);
    return b->comm->ops->reduce_scatter(b->comm, b->grad + from, b->grad, n, BR_F32, err);
}

#define NARROW_AT_ONCE ((size_t)1 << 20) /* elements of each rank's part */

/* The same in bfloat16, some of each rank's part at once: the gradients are rounded, added and
 * rounded again. */
static int sum_narrow(const struct br__shard *s, const struct br__bank *b, struct br_err *err)
{
    size_t ranks = b->comm->size, part = b->n / ranks, most = BR__MIN(part, NARROW_AT_ONCE);
    uint16_t *all = br__alloc((ranks + 1) * (most + 1) * sizeof *all), *sum;
    int rc = all ? BR_OK : br__nomem(err, "for the sum of the gradients");

    for (size_t at = 0, n; at < part && !rc; at += n) {
        n = BR__MIN(most, part - at);
        sum = all + ranks * n;
        for (size_t r = 0; r < ranks; r++)
            br_cast(all + r * n, BR_BF16, b->grad + r * part + at, BR_F32, n, 0);
        if (s->o.whole)
            rc = b->comm->ops->all_reduce(b->comm, all, ranks * n, BR_BF16, err);
        else
            rc = b->comm->ops->reduce_scatter(b->comm, sum, all, n, BR_BF16, err);
        for (size_t r = 0; r < ranks && !rc; r++)
            if (s->o.whole || r == b->comm->rank)
                br_cast(b->grad + r * part + at, BR_F32, s->o.whole ? all + r * n : sum, BR_BF16, n,
                        0);
    }
    br__free(all);
    return rc;
}

int br__shard_reduce(struct br__shard *s, size_t bank, struct br_err *err)
{
    const struct br__bank *b = &s->o.banks[bank];
    size_t from, n;
    int rc = s->o.average ? BR_OK : scale_bank(s, b, 0, b->n, err);

    if (!rc && b->comm)
        rc = s->o.sums == BR_BF16 ? sum_narrow(s, b, err) : sum_wide(s, b, err);
    bank_part(s, b, &from, &n);
    return rc || !s->o.average ? rc : scale_bank(s, b, from, n, err);
}

/* ---- weights --------------------------------------------------------------------------------- */

int br__shard_gather(struct br__shard *s, size_t bank, int rounded, struct br_err *err)
{
    const struct br__bank *b = &s->o.banks[bank];
    size_t from, n;

    for (size_t i = 0; i < s->n_shares && !rounded; i++)
        if (s->shares[i].half && s->o.tensors[s->shares[i].tensor].bank == bank)
            br_cast(s->shares[i].half, s->o.half, s->shares[i].main, BR_F32, s->shares[i].n, 0);
    if (s->o.whole || !b->comm)
        return BR_OK;
    bank_part(s, b, &from, &n);
    if (b->half)
        return b->comm->ops->all_gather(b->comm, b->half, b->half + from, n, (uint32_t)s->o.half,
                                        err);
    return b->comm->ops->all_gather(b->comm, b->main, b->main + from, n, BR_F32, err);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Communicators add no float64: its bits travel as integers, and every rank adds. */
int br__sum_doubles(struct br_comm *comm, double *x, size_t n, struct br_err *err)
{
    if (!comm)
        return BR_OK;
    double *all = br__calloc(comm->size * n + 1, sizeof *all);
    int rc = all ? comm->ops->all_gather(comm, all, x, n, BR_I64, err)
                 : br__nomem(err, "for sums over ranks");
    for (size_t i = 0; i < n && !rc; i++) {
        x[i] = 0;
        for (size_t r = 0; r < comm->size; r++)
            x[i] += all[r * n + i];
    }
    br__free(all);
    return rc;
}
