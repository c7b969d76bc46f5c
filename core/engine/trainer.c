/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* trainer.c - the trainer: on each rank of this process a store of weights and graphs of micro
 * batches, which run together. */
#include "trainer.h"
#include <string.h>

/* What ranks do together. */
struct together {
    struct br__trainer *t;
    int (*fn)(struct br__rank_trainer *r, struct together *x, struct br_err *err);
    const struct br__train_batches *b; /* of rank 0; the others' follow it */
    int rounded;
};

static int run_one(struct br__rank *r, void *arg, struct br_err *err)
{
    struct together *x = arg;
    return x->fn(&x->t->ranks[r->index], x, err);
}

static int run_ranks(struct together *x, struct br_err *err)
{
    return br__ranks_run(x->t->m, run_one, x, err);
}

/* ---- micro batches --------------------------------------------------------------------------- */

static int check_sequences(const struct br__trainer *t, const struct br__micro *mb,
                           struct br_err *err)
{
    int64_t max = br_cfg_i(t->m->weights->cfg, BR_CFG_SEQ_LENGTH), n;
    if (mb->n_seqs < 1 || mb->n_tokens < mb->n_seqs || mb->n_tokens > INT32_MAX)
        return br_fail(err, BR_E_USAGE, "a micro batch of %lld sequences with %lld tokens",
                       (long long)mb->n_seqs, (long long)mb->n_tokens);
    if (mb->n_tokens % mb->n_seqs && (!mb->seqs || t->o.aux_kind == BR__AUX_SEQ))
        return br_fail(err, BR_E_USAGE, "%lld tokens are not %lld sequences of one length",
                       (long long)mb->n_tokens, (long long)mb->n_seqs);
    for (int64_t s = 0, cp = t->m->topo.size[BR_AXIS_CP]; s < mb->n_seqs && cp > 1; s++)
        if ((n = br__first_row(mb, s + 1) - br__first_row(mb, s)) % (2 * cp) &&
            t->m->weights->cfg->n_experts)
            return br_fail(err, BR_E_USAGE,
                           "sequence %lld of the micro batch has %lld tokens; with cp %lld and "
                           "routed experts expected a multiple of %lld",
                           (long long)s, (long long)n, (long long)cp, (long long)(2 * cp));
    for (int64_t s = 0; s < mb->n_seqs; s++)
        if ((n = br__first_row(mb, s + 1) - br__first_row(mb, s)) < 1 || n > max)
            return br_fail(err, BR_E_USAGE,
                           "sequence %lld of the micro batch has %lld tokens; expected 1 to "
                           "max_position_embeddings %lld",
                           (long long)s, (long long)n, (long long)max);
    return 0;
}

static int check_tokens(const struct br__trainer *t, const struct br__micro *mb, struct br_err *err)
{
    int64_t vocab = br_cfg_i(t->m->weights->cfg, BR_CFG_VOCAB_SIZE);
    for (int64_t i = 0; i < mb->n_tokens; i++) {
        int counts = mb->mask[i] != 0 || t->o.mtp;
        if (mb->ids[i] < 0 || mb->ids[i] >= vocab)
            return br_fail(err, BR_E_USAGE, "token id %d is outside the vocabulary of %lld",
                           mb->ids[i], (long long)vocab);
        if (counts && (mb->labels[i] < 0 || mb->labels[i] >= vocab))
            return br_fail(err, BR_E_USAGE, "label %d is outside the vocabulary of %lld",
                           mb->labels[i], (long long)vocab);
    }
    return 0;
}

static int run_step(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    struct br__train_batches mine = *x->b;
    mine.mb += r->rank->index;
    mine.out += r->rank->index;
    return br__rank_step(r, &mine, err);
}

int br__trainer_step(struct br__trainer *t, const struct br__micro *mb, size_t n, int backward,
                     struct br__micro_out *out, struct br_err *err)
{
    int rc = n <= UINT32_MAX ? 0 : br_fail(err, BR_E_USAGE, "%zu micro batches in a step", n);
    size_t all = rc ? 0 : n * t->m->n_ranks;
    memset(out, 0, all * sizeof *out);
    for (size_t i = 0; i < all && !rc; i++) {
        rc = check_sequences(t, &mb[i], err);
        if (!rc)
            rc = check_tokens(t, &mb[i], err);
    }
    const struct br__train_batches b = {
        mb, out, n, t->m->n_ranks, backward != 0, backward == BR__BACKWARD_LAST};
    return rc ? rc : run_ranks(&(struct together){.t = t, .fn = run_step, .b = &b}, err);
}

int br__trainer_run(struct br__trainer *t, const struct br__micro *mb, int backward,
                    struct br__micro_out *out, struct br_err *err)
{
    return br__trainer_step(t, mb, 1, backward, out, err);
}

/* ---- open, close ----------------------------------------------------------------------------- */

static int check_opts(const struct br__llm *m, const struct br__train_opts *o, struct br_err *err)
{
    const struct br_config *cfg = m->weights->cfg;
    uint32_t tp = m->topo.size[BR_AXIS_TP];
    int64_t groups = br_cfg_i(cfg, BR_CFG_NUM_QUERY_GROUPS);
    if (o->values != BR_NONE && o->values != BR_F32 && o->values != BR_BF16 && o->values != BR_F16)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "the engine cannot train with values that are no floats of 16 or 32 bits");
    if (o->mtp && cfg->n_mtp != 1)
        return br_fail(err, BR_E_USAGE,
                       "the model has %lld multi-token-prediction layers, training it needs 1",
                       (long long)cfg->n_mtp);
    if (tp > groups)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "tp %u is more than num_query_groups %lld; training needs a group of keys "
                       "and values for each rank",
                       tp, (long long)groups);
    if (tp > 1 && cfg->n_experts && !o->sequence_parallel)
        return br_fail(err, BR_E_USAGE,
                       "training routed experts with tp %u needs sequence_parallel", tp);
    return 0;
}

/* The rank's params are opened anew, of the trained sources or, if NULL, of the model's.
 * in_memory: from sources in host memory, also for a device that is not the host. */
static int reopen_params(struct br__rank *r, struct br__source *const *trained, int in_memory,
                         struct br_err *err)
{
    br__pass_drop(r);
    br__device_drop_weights(&r->dev);
    br__params_close(r->params);
    int rc =
        br__params_open(&r->params, r->m->weights, in_memory || br__device_is_host(&r->dev), err);
    if (!rc)
        r->params->trained = trained;
    return rc;
}

static int open_store(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    size_t experts = (size_t)x->t->m->weights->cfg->n_experts;
    int rc = br__dstore_open(&r->dstore, r->rank, err);
    if (!rc && !r->rank->params->host)
        rc = reopen_params(r->rank, NULL, 1, err);
    if (!rc)
        rc = br__rank_probe(r, err);
    if (!rc)
        rc = br__store_open(&r->store, r->rank, r->dstore.host, r->o, err);
    if (rc)
        return rc;
    r->past = br__calloc(r->n_moe * experts + 1, sizeof *r->past);
    r->n_past = br__calloc(r->n_chunks + 1, sizeof *r->n_past);
    r->row = br__calloc(experts + 1, sizeof *r->row);
    r->left = br__calloc(r->store.n_banks + 1, sizeof *r->left);
    r->handed = br__calloc(r->store.n_banks + 1, sizeof *r->handed);
    return r->past && r->n_past && r->row && r->left && r->handed ? 0
                                                                  : br__nomem(err, "for training");
}

static int take_params(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    (void)x;
    int rc = reopen_params(r->rank, r->store.trained, 1, err);
    return rc ? rc : br__dstore_make(&r->dstore, &r->store, err);
}

/* Which layers each stage trains. */
static int make_stages(struct br__trainer *t, struct br_err *err)
{
    const struct br_config *cfg = t->m->weights->cfg;
    struct br__stage_opts o = t->o.stages;
    o.n_layers = (uint32_t)cfg->n_layers;
    o.n_mtp = t->o.mtp != 0;
    o.pp = t->m->topo.size[BR_AXIS_PP];
    o.tied = !t->m->weights->src->untied;
    int rc = br__stages_make(&t->arena, &o, &t->stages, err);
    return rc ? rc : br__world_embed(t->m->world, &t->stages, err);
}

static int place_rank(struct br__trainer *t, uint32_t i, struct br_err *err)
{
    struct br__rank_trainer *r = &t->ranks[i];
    r->rank = &t->m->ranks[i];
    r->o = &t->o;
    r->pp = t->stages.pp;
    r->stage = br_topo_coord(&t->m->topo, r->rank->info->rank, BR_AXIS_PP);
    r->n_chunks = t->stages.vpp;
    r->chunks = br__arena_alloc(&t->arena, r->n_chunks * sizeof *r->chunks);
    r->moe_from = br__arena_alloc(&t->arena, r->n_chunks * sizeof *r->moe_from);
    if (!r->chunks || !r->moe_from)
        return br__nomem(err, "for training");
    for (uint32_t c = 0; c < r->n_chunks; c++)
        r->chunks[c] = &t->stages.chunks[c * r->pp + r->stage];
    return 0;
}

/* Ranks are filled from sources that they share, which all of them must have read before any goes.
 */
static int open_ranks(struct br__trainer *t, struct br_err *err)
{
    int rc = make_stages(t, err);
    for (uint32_t i = 0; i < t->m->n_ranks && !rc; i++)
        rc = place_rank(t, i, err);
    if (!rc)
        rc = run_ranks(&(struct together){.t = t, .fn = open_store}, err);
    for (uint32_t i = 0; i < t->m->n_ranks && !rc; i++)
        br__store_unload(&t->ranks[i].store, t->m->weights);
    return rc ? rc : run_ranks(&(struct together){.t = t, .fn = take_params}, err);
}

int br__trainer_open(struct br__trainer **out, struct br__llm *m, const struct br__train_opts *o,
                     struct br_err *err)
{
    *out = NULL;
    int rc = check_opts(m, o, err);
    struct br__trainer *t = rc ? NULL : br__calloc(1, sizeof *t);
    if (rc || !t)
        return rc ? rc : br__nomem(err, "for training");
    t->m = m;
    t->o = *o;
    t->ranks = br__calloc(m->n_ranks, sizeof *t->ranks);
    rc = t->ranks ? open_ranks(t, err) : br__nomem(err, "for training");
    if (rc)
        br__trainer_close(t);
    else
        *out = t;
    return rc;
}

static void close_rank(struct br__rank_trainer *r)
{
    br__rank_drop_passes(r);
    if (reopen_params(r->rank, NULL, 0, NULL))
        r->rank->params = NULL;
    br__store_close(&r->store);
    br__dstore_close(&r->dstore);
    br__free(r->past);
    br__free(r->n_past);
    br__free(r->aux);
    br__free(r->z);
    br__free(r->row);
    br__free(r->rows);
    br__free(r->left);
    br__free(r->handed);
}

void br__trainer_close(struct br__trainer *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; t->ranks && i < t->m->n_ranks; i++)
        if (t->ranks[i].rank)
            close_rank(&t->ranks[i]);
    br__free(t->ranks);
    br__arena_free(&t->arena);
    br__free(t);
}

const struct br__trained *br__trainer_list(const struct br__trainer *t, uint32_t i, size_t *n)
{
    *n = t->ranks[i].store.n;
    return t->ranks[i].store.list;
}

const struct br__trained_bank *br__trainer_banks(const struct br__trainer *t, uint32_t i, size_t *n)
{
    *n = t->ranks[i].store.n_banks;
    return t->ranks[i].dstore.banks;
}

struct br__device *br__trainer_device(struct br__trainer *t, uint32_t i)
{
    return &t->ranks[i].rank->dev;
}

/* ---- memory ---------------------------------------------------------------------------------- */

int br__trainer_memory(struct br__trainer *t, int64_t n_tokens, int64_t n_seqs,
                       struct br__trainer_memory *out, struct br_err *err)
{
    int rc = 0;
    *out = (struct br__trainer_memory){.model = t->m->weights->owned_bytes};
    for (uint32_t i = 0; i < t->m->n_ranks && !rc; i++) {
        const struct br__store *s = &t->ranks[i].store;
        uint64_t activations = br__device_bytes(&t->ranks[i].rank->dev);
        if (n_tokens)
            rc = br__rank_activations(&t->ranks[i], n_tokens, n_seqs, &activations, err);
        out->gradients += s->elems * sizeof *s->grad;
        out->weights +=
            s->elems * ((s->main ? sizeof *s->main : 0) + (s->half ? sizeof *s->bf16 : 0)) +
            s->n_wide * sizeof *s->widened;
        out->activations += activations;
    }
    return rc;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static int zero(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    size_t experts = (size_t)x->t->m->weights->cfg->n_experts;
    memset(r->past, 0, r->n_moe * experts * sizeof *r->past);
    memset(r->n_past, 0, r->n_chunks * sizeof *r->n_past);
    memset(r->handed, 0, r->store.n_banks);
    return br__dstore_zero(&r->dstore, &r->store, err);
}

int br__trainer_zero(struct br__trainer *t, struct br_err *err)
{
    return run_ranks(&(struct together){.t = t, .fn = zero}, err);
}

/* Of weights that ranks hold alike and use apart, those of a bank: the whole gradient. */
static int add_partial(const struct br__rank_trainer *r, size_t bank, struct br_err *err)
{
    const struct br__store *s = &r->store;
    struct br_comm *comm = r->rank->info->comms[BR_GROUP_TP];
    int rc = 0;
    for (size_t i = 0; i < s->n && !rc; i++) {
        const struct br__trained *x = &s->list[i];
        if (s->partial[i] && x->bank == bank)
            rc = comm->ops->all_reduce(comm, br__dstore_grad(&r->dstore, s, x->grad), x->n, BR_F32,
                                       err);
    }
    return rc;
}

int br__trainer_bank(struct br__trainer *t, uint32_t i, size_t bank, struct br_err *err)
{
    return add_partial(&t->ranks[i], bank, err);
}

/* The embedding's gradient is the sum over the stages that compute with it. */
static int add_embedding(const struct br__rank_trainer *r, struct br_err *err)
{
    const struct br__store *s = &r->store;
    struct br_comm *comm = r->rank->info->comms[BR_GROUP_EMBED];
    int rc = 0;
    for (size_t i = 0; i < s->n && comm && !rc; i++)
        if (strcmp(s->list[i].megatron, BR__EMBEDDING) == 0)
            rc = comm->ops->all_reduce(comm, br__dstore_grad(&r->dstore, s, s->list[i].grad),
                                       s->list[i].n, BR_F32, err);
    return rc;
}

static int gradients(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    int rc = 0;
    (void)x;
    for (size_t b = 0; b < r->store.n_banks && !rc; b++)
        if (!r->handed[b])
            rc = add_partial(r, b, err);
    return rc ? rc : add_embedding(r, err);
}

int br__trainer_gradients(struct br__trainer *t, struct br_err *err)
{
    return run_ranks(&(struct together){.t = t, .fn = gradients}, err);
}

/* What graphs compute with follows the blocks. */
static int follow(struct br__rank_trainer *r, struct br_err *err)
{
    br__params_refresh(r->rank->params);
    return br__dstore_follow(&r->dstore, &r->store, r->rank->params, err);
}

static int updated(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    int rc = br__store_round(&r->store, x->rounded, err);
    if (!rc)
        rc = br__dstore_take(&r->dstore, &r->store, err);
    return rc ? rc : follow(r, err);
}

int br__trainer_updated(struct br__trainer *t, int rounded, struct br_err *err)
{
    return run_ranks(&(struct together){.t = t, .fn = updated, .rounded = rounded}, err);
}

static int stepped(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    int rc = br__dstore_widen(&r->dstore, &r->store, x->rounded, err);
    return rc ? rc : follow(r, err);
}

int br__trainer_stepped(struct br__trainer *t, int rounded, struct br_err *err)
{
    return run_ranks(&(struct together){.t = t, .fn = stepped, .rounded = rounded}, err);
}

static int fetch(struct br__rank_trainer *r, struct together *x, struct br_err *err)
{
    (void)x;
    return br__dstore_give(&r->dstore, &r->store, err);
}

int br__trainer_fetch(struct br__trainer *t, struct br_err *err)
{
    return run_ranks(&(struct together){.t = t, .fn = fetch}, err);
}
