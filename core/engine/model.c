/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* model.c - a model that can run: its weights, and the ranks that hold them. */
#include "llm.h"
#include <string.h>

#define MAX_RANKS 1024 /* threads of one process */

/* ---- ranks ----------------------------------------------------------------------------------- */

struct rank_run {
    struct br__llm *m;
    int (*fn)(struct br__rank *r, void *arg, struct br_err *err);
    void *arg;
};

/* rank: of the world. */
static int run_rank(void *arg, uint32_t rank, struct br_err *err)
{
    const struct rank_run *run = arg;
    uint32_t i = 0;
    while (run->m->ranks[i].info->rank != rank)
        i++;
    return run->fn(&run->m->ranks[i], run->arg, err);
}

int br__ranks_run(struct br__llm *m, int (*fn)(struct br__rank *r, void *arg, struct br_err *err),
                  void *arg, struct br_err *err)
{
    struct rank_run run = {m, fn, arg};
    return br__world_run(m->world, run_rank, &run, err);
}

uint32_t br__llm_n_ranks(const struct br__llm *m)
{
    return m->n_ranks;
}

const struct br__rank_info *br__llm_rank(const struct br__llm *m, uint32_t i)
{
    return m->ranks[i].info;
}

struct index_run {
    int (*fn)(void *arg, uint32_t i, struct br_err *err);
    void *arg;
};

static int run_index(struct br__rank *r, void *arg, struct br_err *err)
{
    const struct index_run *run = arg;
    return run->fn(run->arg, r->index, err);
}

int br__llm_run(struct br__llm *m, int (*fn)(void *arg, uint32_t i, struct br_err *err), void *arg,
                struct br_err *err)
{
    return br__ranks_run(m, run_index, &(struct index_run){fn, arg}, err);
}

static int open_rank(struct br__llm *m, uint32_t i, const char *device, uint32_t threads,
                     struct br_err *err)
{
    const struct br__registry *reg = m->weights->src->registry;
    const struct br__dirs dirs = {reg->dirs, reg->n_dirs};
    struct br__rank *r = &m->ranks[i];
    r->m = m;
    r->index = i;
    int rc = br__device_open(&r->dev, device, &dirs, i + br__procs_local(), threads, err);
    return rc ? rc : br__params_open(&r->params, m->weights, br__device_is_host(&r->dev), err);
}

/* Every rank has a device, and all have devices of one kind. */
static int agree_on_device(const struct br__llm *m, int rc, struct br_err *err)
{
    rc = br__procs_agree(rc, err);
    return rc ? rc : br__procs_same("device", m->ranks[0].dev.backend.name, err);
}

/* Over processes the plane of host memory is that of the processes. */
static int open_world(struct br__llm *m, struct br_err *err)
{
    const struct br_backend *b = &m->ranks[0].dev.backend;
    int off_host = !br__device_is_host(&m->ranks[0].dev);
    int by_procs = br__procs_size() > 1 && !off_host;
    void **devices = br__calloc(m->n_ranks, sizeof *devices);
    if (!devices)
        return br__nomem(err, "for the model");
    for (uint32_t i = 0; i < m->n_ranks; i++)
        devices[i] = m->ranks[i].dev.device;
    int rc = m->topo.world > 1 && !b->plane
                 ? br_fail(err, BR_E_UNSUPPORTED, "backend '%s' has no communicator", b->name)
                 : br__world_open(&m->world, &m->topo, by_procs ? NULL : b->plane, devices,
                                  off_host, err);
    for (uint32_t i = 0; i < m->n_ranks && !rc; i++)
        m->ranks[i].info = br__world_rank(m->world, br__world_first(m->world) + i);
    br__free(devices);
    return rc;
}

static int open_ranks(struct br__llm *m, const struct br__llm_opts *o, struct br_err *err)
{
    uint32_t first, n;
    int rc = br__ranks_here(&m->topo, &first, &n, err);
    if (rc)
        return rc;
    uint32_t each =
        o->threads > 0 ? (uint32_t)o->threads / m->topo.world : (uint32_t)br__cpu_count() / n;
    m->ranks = br__calloc(n, sizeof *m->ranks);
    if (!m->ranks)
        return br__nomem(err, "for the model");
    m->n_ranks = n;
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = open_rank(m, i, o->device, BR__MAX(each, 1), err);
    rc = agree_on_device(m, rc, err);
    return rc ? rc : open_world(m, err);
}

/* ---- open, close ----------------------------------------------------------------------------- */

/* What a conversion need not know of a model and the engine must. */
static int check_config(const struct br__weights *w, const struct br_listener *l,
                        struct br_err *err)
{
    const struct br_config *cfg = w->cfg;
    int64_t topk = br_cfg_i(cfg, BR_CFG_MOE_ROUTER_TOPK);
    if (cfg->n_experts && (topk < 1 || topk > cfg->n_experts))
        return br_fail(err, BR_E_CONFIG, "config.json: each token goes to %lld of %lld experts",
                       (long long)topk, (long long)cfg->n_experts);
    if (cfg->findings)
        return br_fail(err, BR_E_UNSUPPORTED, "%s", cfg->findings->text);
    if (cfg->unknown_keys)
        br__note(l, "%s", cfg->unknown_keys);
    return BR_OK;
}

static int add_lora(struct br__weights *w, const struct br__lora_opts *o, struct br_err *err)
{
    struct br__adapter *a;
    int rc = br__lora_make(&a, w, o, err);
    if (!rc)
        br__weights_take_adapter(w, a);
    return rc;
}

/* BR_F32 or BR_BF16: activations in inference. */
static uint32_t activations_of(const struct br__llm *m, const struct br__llm_opts *o)
{
    const uint32_t flags = m->ranks[0].dev.backend.flags;
    int half = o->activations ? o->activations == BR_BF16 : (flags & BR_BACKEND_BF16) != 0;
    return half && m->precision == BR_BF16 ? BR_BF16 : BR_F32;
}

/* Ranks of that many data-parallel ones; 0: as few as there can be. */
static uint32_t world_of(const struct br__llm_opts *o)
{
    const uint32_t sizes[] = {o->tp, o->cp, o->pp};
    uint64_t n = o->dp;
    for (size_t i = 0; i < BR_COUNTOF(sizes); i++)
        n = BR__MIN(n * BR__MAX(sizes[i], 1), UINT32_MAX);
    return (uint32_t)n;
}

static int open_model(struct br__llm *m, const struct br__llm_opts *o, struct br_err *err)
{
    int rc = br__weights_open(&m->weights, &o->weights, err);
    if (!rc && o->weights.lora && !o->weights.adapter)
        rc = add_lora(m->weights, o->weights.lora, err);
    if (rc)
        return rc;
    const struct br_config *cfg = m->weights->cfg;
    m->precision = o->precision ? (uint32_t)o->precision : cfg->dtype == BR_F32 ? BR_F32 : BR_BF16;
    rc = br_topo_make(&m->topo, o->tp, o->cp, o->pp, o->ep, o->etp, world_of(o), err);
    if (!rc && m->topo.world > MAX_RANKS)
        rc = br_fail(err, BR_E_USAGE, "the parallel sizes ask for %u ranks, expected 1 to %d",
                     m->topo.world, MAX_RANKS);
    if (!rc && !cfg->arch->layer)
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "plugin '%s' can convert %s but not run it: it has no layer builder",
                     cfg->arch->plugin->name, cfg->arch->model_type);
    if (!rc)
        rc = check_config(m->weights, o->weights.listener, err);
    if (!rc)
        rc = open_ranks(m, o, err);
    if (!rc)
        m->values = activations_of(m, o);
    return rc;
}

int br__llm_open(struct br__llm **out, const struct br__llm_opts *o, struct br_err *err)
{
    *out = NULL;
    struct br__llm *m = br__calloc(1, sizeof *m);
    if (!m)
        return br__nomem(err, "for the model");
    int rc = open_model(m, o, err);
    if (rc)
        br__llm_close(m);
    else
        *out = m;
    return rc;
}

void br__llm_close(struct br__llm *m)
{
    if (!m)
        return;
    br__world_close(m->world);
    for (uint32_t i = 0; m->ranks && i < m->n_ranks; i++) {
        br__pass_drop(&m->ranks[i]);
        br__params_close(m->ranks[i].params);
        br__device_close(&m->ranks[i].dev);
    }
    br__free(m->ranks);
    br__weights_close(m->weights);
    br__free(m);
}

const struct br_config *br__llm_config(const struct br__llm *m)
{
    return m->weights->cfg;
}
struct br__weights *br__llm_weights(const struct br__llm *m)
{
    return m->weights;
}
const struct br_topo *br__llm_topo(const struct br__llm *m)
{
    return &m->topo;
}
const char *br__llm_device(const struct br__llm *m)
{
    return m->ranks[0].dev.backend.name;
}

/* ---- health ---------------------------------------------------------------------------------- */

int br__llm_check_finite(const struct br__llm *m, const float *logits, size_t n, struct br_err *err)
{
    if (br__first_not_finite(logits, n) == n)
        return 0;
    const char *name = br__weights_not_finite(m->weights);
    if (name)
        return br_fail(err, BR_E_NUMERIC, "tensor '%s' has NaN or infinite values", name);
    return br_fail(err, BR_E_NUMERIC, "the logits are not finite although the weights are%s",
                   m->precision == BR_F32 ? ", in float32: the model overflows that, too"
                                          : "; try --dtype float32");
}
