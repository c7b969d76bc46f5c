/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rank.c - what each rank of this process has of a run: its tensors, and its part of the
 * optimizer's state. */
#include "state.h"

#include <string.h>

/* ---- banks ----------------------------------------------------------------------------------- */

/* Gradients of routed experts are added over fewer ranks than those of the rest, and divided by as
 * many: each of their tokens came from one of these. */
static float bank_scale(const struct br__train *t)
{
    const uint32_t *size = t->run->topo.size;

    return t->run->per_token ? 1 : 1 / (float)(size[BR_AXIS_DP] * size[BR_AXIS_CP]);
}

static struct br__bank make_bank(const struct br__train *t, const struct br__train_rank *r,
                                 const struct br__trained_bank *b)
{
    return (struct br__bank){.comm = r->info->comms[b->expert ? BR_GROUP_EDP : BR_GROUP_DP_CP],
                             .n = b->n,
                             .grad = b->grad,
                             .main = b->main,
                             .half = b->half,
                             .scale = bank_scale(t)};
}

/* Where tensor x is. */
static struct br__shard_tensor place_of(const struct br__train_rank *r, const struct br__trained *x)
{
    return (struct br__shard_tensor){
        .bank = x->bank,
        .at = x->at,
        .n = x->n,
        .counts = !x->copied &&
                  (!x->shared || br_topo_coord(&r->info->topo, r->info->rank, BR_AXIS_TP) == 0)};
}

static int open_shard(struct br__train *t, uint32_t i, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__train_rank *r = &t->ranks[i];
    size_t n_banks;
    const struct br__trained_bank *from = br__trainer_banks(t->trainer, i, &n_banks);
    struct br__bank *banks = br__calloc(n_banks + 1, sizeof *banks);
    struct br__shard_tensor *tensors = br__calloc(r->n + 1, sizeof *tensors);
    int rc = banks && tensors ? BR_OK : br__nomem(err, "for the optimizer's state");

    for (size_t k = 0; k < n_banks && !rc; k++)
        banks[k] = make_bank(t, r, &from[k]);
    for (size_t k = 0; k < r->n && !rc; k++)
        tensors[k] = place_of(r, &r->list[k]);
    const struct br__shard_opts o = {.device = br__trainer_device(t->trainer, i),
                                     .banks = banks,
                                     .n_banks = n_banks,
                                     .tensors = tensors,
                                     .n_tensors = r->n,
                                     .whole = !run->sharded,
                                     .half =
                                         run->params_dtype == BR_F32 ? BR_NONE : run->params_dtype,
                                     .sums = run->grads,
                                     .average = run->average};
    if (!rc)
        rc = br__shard_open(&r->shard, &o, err);
    br__free(banks);
    br__free(tensors);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------------------- */

size_t br__trained_size(const struct br__trained *x)
{
    size_t n = 1;

    for (int i = 0; i < x->ndim; i++)
        n *= (size_t)x->shape[i];
    return n;
}

size_t br__trained_row(const struct br__trained *x)
{
    return x->ndim == 1 ? 1 : (size_t)x->shape[x->ndim - 1];
}

void br__trained_put(const struct br__trained *x, const float *whole)
{
    size_t all = br__trained_row(x), cols = (size_t)x->n_cols;

    for (size_t i = 0; i < x->n_rows; i++)
        for (size_t k = 0; k < (size_t)x->rows[i].n; k++)
            memcpy(x->main + x->rows[i].at + k * cols,
                   whole + ((size_t)x->rows[i].row + k) * all + x->col, cols * sizeof *whole);
}

/* ---- lists ----------------------------------------------------------------------------------- */

static int list_shares(struct br__train *t, struct br__train_rank *r, struct br_err *err)
{
    size_t n = r->shard.n_shares + 1;

    r->decayed = br__arena_alloc(&t->arena, r->n + 1);
    r->grads = br__arena_alloc(&t->arena, n * sizeof *r->grads);
    r->counted = br__arena_alloc(&t->arena, n * sizeof *r->counted);
    if (!r->decayed || !r->grads || !r->counted)
        return br__nomem(err, "for the optimizer's state");
    for (size_t i = 0; i < r->n; i++)
        r->decayed[i] =
            (uint8_t)br__is_decayed(r->list[i].megatron, r->list[i].ndim, t->run->decay_qk_norms);
    for (size_t i = 0; i < r->shard.n_shares; i++) {
        const struct br__share *x = &r->shard.shares[i];
        r->grads[i] = (struct br__grad_span){x->grad, x->n};
        if (x->counts)
            r->counted[r->n_counted++] = r->grads[i];
    }
    return BR_OK;
}

int br__train_ranks_open(struct br__train *t, struct br_err *err)
{
    t->n_ranks = br__llm_n_ranks(t->model);
    t->ranks = br__arena_alloc(&t->arena, t->n_ranks * sizeof *t->ranks);
    if (!t->ranks)
        return br__nomem(err, "for the ranks");
    for (uint32_t i = 0; i < t->n_ranks; i++) {
        t->ranks[i].info = br__llm_rank(t->model, i);
        t->ranks[i].list = br__trainer_list(t->trainer, i, &t->ranks[i].n);
    }
    return BR_OK;
}

int br__train_ranks_optimizer(struct br__train *t, struct br_err *err)
{
    int rc = BR_OK;

    for (uint32_t i = 0; i < t->n_ranks && !rc; i++) {
        rc = open_shard(t, i, err);
        if (!rc)
            rc = list_shares(t, &t->ranks[i], err);
        if (!rc)
            rc = br__overlap_open(t, i, err);
    }
    return rc;
}

static int share_rank(void *arg, uint32_t i, struct br_err *err)
{
    struct br__shard *s = &((struct br__train *)arg)->ranks[i].shard;
    int rc = br__shard_put(s, err);

    for (size_t b = 0; b < s->o.n_banks && !rc; b++)
        rc = br__shard_gather(s, b, 0, err);
    return rc;
}

static int put_rank(void *arg, uint32_t i, struct br_err *err)
{
    return br__shard_put(&((struct br__train *)arg)->ranks[i].shard, err);
}

static int fetch_rank(void *arg, uint32_t i, struct br_err *err)
{
    return br__shard_fetch(&((struct br__train *)arg)->ranks[i].shard, err);
}

int br__train_ranks_fetch(struct br__train *t, struct br_err *err)
{
    return br__train_each(t, fetch_rank, t, err);
}

int br__train_ranks_changed(struct br__train *t, struct br_err *err)
{
    int shared = br__shard_is_shared(&t->ranks[0].shard);
    int rc = br__train_each(t, shared ? share_rank : put_rank, t, err);

    return rc ? rc : br__trainer_stepped(t->trainer, shared, err);
}

void br__train_ranks_close(struct br__train *t)
{
    for (uint32_t i = 0; i < t->n_ranks; i++) {
        br__shard_close(&t->ranks[i].shard);
        br__train_rooms_free(&t->ranks[i]);
    }
    t->n_ranks = 0;
}
