/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* shard.c - see shard.h.
 *
 * Source: mcore's DistributedDataParallel and DistributedOptimizer: gradients are multiplied by the
 * scale before they are added, unless average_in_collective, and are added in float32 or in the
 * parameters' dtype (grad_reduce_in_fp32).  How buffers are cut is not Megatron's: no file shows
 * it. */
#include "shard.h"

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

/* Of the shares' main weights and moments in host memory: zeros, whose pages come as they are used.
 */
static int make_kept(struct br__shard *s, struct br_err *err)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_shares; i++)
        n += 3 * s->shares[i].n;
    if (!br__device_is_host(s->o.device) && !(s->kept = br__calloc(n + 1, sizeof *s->kept)))
        return br__nomem(err, "for the optimizer's state");
    float *at = s->kept;
    for (size_t i = 0; i < s->n_shares; i++) {
        struct br__share *x = &s->shares[i];
        float *const own[3] = {x->main, x->m, x->v};
        for (int k = 0; k < 3; k++, at += at ? x->n : 0)
            x->kept[k] = at ? at : own[k];
    }
    return BR_OK;
}

#define NARROW_AT_ONCE ((size_t)1 << 20) /* elements of each rank's part */

/* For the sum of a bank in bfloat16. */
static size_t narrow_room(const struct br__shard *s)
{
    size_t most = 0;

    for (size_t i = 0; i < s->o.n_banks && s->o.sums == BR_BF16; i++) {
        size_t ranks = bank_ranks(&s->o.banks[i]);
        size_t part = BR__MIN(s->o.banks[i].n / ranks, NARROW_AT_ONCE) + 1;
        most = BR__MAX(most, ranks > 1 ? (ranks + 1) * part : 0);
    }
    return most;
}

/* Main weights where banks have none, then both moments, share by share. */
static int make_state(struct br__shard *s, struct br_err *err)
{
    size_t n = 0, room = narrow_room(s);
    int rc = BR_OK;

    for (size_t i = 0; i < s->n_shares; i++)
        n += s->shares[i].n * (s->shares[i].main ? 2 : 3);
    s->bytes = n * sizeof *s->state;
    float *at = s->state = br__device_alloc(s->o.device, (n + 1) * sizeof *s->state);
    s->hyper = br__device_alloc(s->o.device, 2 * sizeof(struct br__adamw));
    s->room = room ? br__device_alloc(s->o.device, room * sizeof *s->room) : NULL;
    if (!at || !s->hyper || (room && !s->room))
        return br__nomem(err, "for the optimizer's state");
    for (size_t i = 0; i < s->n_shares && !rc; i++) {
        struct br__share *x = &s->shares[i];
        if (!x->main) {
            x->main = at;
            rc = br__device_cast(s->o.device, x->main, BR_F32, x->half, s->o.half, x->n, err);
            at += x->n;
        }
        x->m = at;
        x->v = at + x->n;
        at += 2 * x->n;
    }
    return rc ? rc : make_kept(s, err);
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
    if (s->o.device) {
        br__device_free(s->o.device, s->state);
        br__device_free(s->o.device, s->hyper);
        br__device_free(s->o.device, s->room);
    }
    br__free(s->kept);
    br__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

/* ---- gradients ------------------------------------------------------------------------------- */

static int scale_bank(const struct br__shard *s, const struct br__bank *b, size_t from, size_t n,
                      struct br_err *err)
{
    const struct br__grad_span g = {b->grad + from, n};

    return br__scale_grads(s->o.device, &g, 1, b->scale, err);
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

/* The same in bfloat16, some of each rank's part at once: the gradients are rounded, added and
 * rounded again. */
static int sum_narrow(const struct br__shard *s, const struct br__bank *b, struct br_err *err)
{
    size_t ranks = b->comm->size, part = b->n / ranks, most = BR__MIN(part, NARROW_AT_ONCE);
    struct br__device *d = s->o.device;
    int rc = BR_OK;

    for (size_t at = 0, n; at < part && !rc; at += n) {
        n = BR__MIN(most, part - at);
        uint16_t *all = s->room, *sum = all + ranks * n;
        for (size_t r = 0; r < ranks && !rc; r++)
            rc = br__device_cast(d, all + r * n, BR_BF16, b->grad + r * part + at, BR_F32, n, err);
        if (rc)
            break;
        if (s->o.whole)
            rc = b->comm->ops->all_reduce(b->comm, all, ranks * n, BR_BF16, err);
        else
            rc = b->comm->ops->reduce_scatter(b->comm, sum, all, n, BR_BF16, err);
        for (size_t r = 0; r < ranks && !rc; r++)
            if (s->o.whole || r == b->comm->rank)
                rc = br__device_cast(d, b->grad + r * part + at, BR_F32,
                                     s->o.whole ? all + r * n : sum, BR_BF16, n, err);
    }
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
    int rc = BR_OK;

    for (size_t i = 0; i < s->n_shares && !rounded && !rc; i++) {
        const struct br__share *x = &s->shares[i];
        if (x->half && s->o.tensors[x->tensor].bank == bank)
            rc = br__device_cast(s->o.device, x->half, s->o.half, x->main, BR_F32, x->n, err);
    }
    if (rc || s->o.whole || !b->comm)
        return rc;
    bank_part(s, b, &from, &n);
    if (b->half)
        return b->comm->ops->all_gather(b->comm, b->half, b->half + from, n, (uint32_t)s->o.half,
                                        err);
    return b->comm->ops->all_gather(b->comm, b->main, b->main + from, n, BR_F32, err);
}

/* ---- host memory ----------------------------------------------------------------------------- */

int br__shard_fetch(struct br__shard *s, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; i < s->n_shares && s->kept && !rc; i++) {
        const struct br__share *x = &s->shares[i];
        float *const own[3] = {x->main, x->m, x->v};
        for (int k = 0; k < 3 && !rc; k++)
            rc = br__device_fetch(s->o.device, x->kept[k], own[k], x->n * sizeof(float), err);
    }
    return rc;
}

int br__shard_put(struct br__shard *s, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; i < s->n_shares && s->kept && !rc; i++) {
        const struct br__share *x = &s->shares[i];
        float *const own[3] = {x->main, x->m, x->v};
        for (int k = 0; k < 3 && !rc; k++)
            rc = br__device_put(s->o.device, own[k], x->kept[k], x->n * sizeof(float), err);
    }
    return rc;
}

int br__shard_hyper(struct br__shard *s, const struct br__adamw h[2], const struct br__adamw **at,
                    struct br_err *err)
{
    int is_host = br__device_is_host(s->o.device);

    *at = is_host ? h : (const struct br__adamw *)s->hyper;
    return is_host ? BR_OK : br__device_put(s->o.device, s->hyper, h, 2 * sizeof *h, err);
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
