/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* simulate.c - a step of a recipe without its GPUs: the schedules that run (core/dist), played with
 * times by stated rates.
 *
 * A pass takes as long as its products at the GPU's rate, or as the reading of its weights, if that
 * is longer, and its collectives at the network's.  Collectives are rings: of a buffer over n ranks
 * each sends (n - 1) / n.  Taken for granted: all ranks of a stage are alike, experts get the same
 * number of tokens, and nothing else is slow. */
#include "recipe_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_PASSES (UINT64_C(1) << 22) /* of all stages: some hundred MB */

static int64_t sim_int(const struct br__sim_state *s, uint32_t id)
{
    return br__recipe_i(s->r, id, 0);
}
#define INT(s, key) sim_int((s), BR__RK_##key)

const char *br__sim_cost_name(enum br__sim_cost c)
{
    static const char *const names[BR__N_SIM] = {[BR__SIM_COMPUTE] = "compute",
                                                 [BR__SIM_TP] = "tp",
                                                 [BR__SIM_CP] = "cp",
                                                 [BR__SIM_EP] = "ep",
                                                 [BR__SIM_WAIT] = "wait",
                                                 [BR__SIM_REDUCE] = "reduce",
                                                 [BR__SIM_OPTIMIZER] = "optimizer"};
    return names[c];
}

/* ---- links ----------------------------------------------------------------------------------- */

static int is_across(const struct br__sim_state *s, const uint32_t *ranks, uint32_t n)
{
    double node = s->opts->network.node_gpus;
    for (uint32_t i = 1; i < n; i++)
        if (floor(ranks[i] / node) != floor(ranks[0] / node))
            return 1;
    return 0;
}

static int find_groups(struct br__sim_state *s, struct br_err *err)
{
    uint32_t *ranks = br__calloc(s->out->topo.world, sizeof *ranks);
    if (!ranks)
        return br__nomem(err, "for the groups of ranks");
    (void)br__group_ranks(&s->out->topo, NULL, (uint32_t)s->opts->rank, BR_GROUP_PP, ranks);
    for (uint32_t i = 0; i < s->out->stages.pp; i++)
        s->out->stage[i].rank = ranks[i];
    for (int g = 0; g < BR_N_GROUPS; g++) {
        /* The first stage always has the embedding. */
        uint32_t rank = g == BR_GROUP_EMBED ? s->out->stage[0].rank : (uint32_t)s->opts->rank;
        s->n[g] = br__group_ranks(&s->out->topo, &s->out->stages, rank, (enum br_group)g, ranks);
        s->out->across[g] = is_across(s, ranks, s->n[g]);
    }
    br__free(ranks);
    return BR_OK;
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* How many times the products of a forward pass a backward pass is. */
static double backward_products(const struct br__sim_state *s)
{
    const struct br__recipe_value *granularity = &s->r->v[BR__RK_recompute_granularity];
    double times = s->r->v[BR__RK_peft_class].tag == 'T' ? 1 : 2; /* frozen weights have none */
    return times + (granularity->tag == 'T' && !strcmp(granularity->text, "full"));
}

static void make_pass(struct br__sim_state *s, const struct br__chunk *c, struct br__sim_pass *p,
                      int backward)
{
    const struct br__sim_gpu *gpu = &s->opts->gpu;
    const struct br__recipe_part *part = &s->parts[c - s->out->stages.chunks];
    double times = backward ? backward_products(s) : 1;
    double products = times * part->flops / (gpu->flops * gpu->efficiency);
    double reads = times * part->weights_read / gpu->bandwidth;

    p->seconds[BR__SIM_COMPUTE] = fmax(products, reads);
    br__sim_exchange(s, c, backward, p);
    if (s->r->v[BR__RK_comm_overlap].tag ==
        'T') /* hidden, as far as there is something to hide it */
        p->seconds[BR__SIM_TP] = fmax(0, p->seconds[BR__SIM_TP] - p->seconds[BR__SIM_COMPUTE]);
    if (INT(s, overlap_moe_ep_comm))
        p->seconds[BR__SIM_EP] = fmax(0, p->seconds[BR__SIM_EP] - p->seconds[BR__SIM_COMPUTE]);
}

static const struct br__sim_pass *pass_of(const struct br__sim_state *s, uint32_t stage,
                                          uint32_t chunk, int backward)
{
    return &s->out->passes[2 * ((size_t)chunk * s->out->stages.pp + stage) + (backward != 0)];
}

static double pass_seconds(const struct br__sim_pass *p)
{
    double sum = 0;
    for (int i = 0; i < BR__N_SIM; i++)
        sum += p->seconds[i];
    return sum;
}

static double cost_job(void *arg, uint32_t stage, const struct br__job *j)
{
    return pass_seconds(pass_of(arg, stage, j->chunk, (int)j->backward));
}

/* As core/engine/train_step.c: hidden states of the decoder, and of prediction behind it. */
double br__sim_message(const struct br__sim *o, uint32_t stage, const struct br__message *m)
{
    const struct br__chunk *c = &o->stages.chunks[m->chunk * o->stages.pp + stage];
    int is_before = m->is_send == m->is_grad; /* what comes into the chunk, or its gradient */
    return o->hidden_bytes * (is_before ? c->n_in : BR__MAX(c->n_in, 1) + c->n_mtp);
}

static double cost_message(void *arg, uint32_t stage, const struct br__message *m)
{
    const struct br__sim_state *s = arg;
    uint32_t ends[] = {s->out->stage[stage].rank, s->out->stage[m->peer].rank};
    return br__sim_send(s, is_across(s, ends, 2), br__sim_message(s->out, stage, m), 1);
}

/* ---- memory and bytes of a stage ------------------------------------------------------------- */

/* Activations in flight at their highest. */
static double peak_activations(const struct br__sim_state *s, uint32_t stage)
{
    const struct br__pipe *t = &s->out->pipes[stage];
    double now = 0, most = 0;
    for (uint32_t i = 0; i < t->n_jobs; i++) {
        double bytes = s->out->frame_bytes[t->jobs[i].chunk * s->out->stages.pp + stage];
        now += t->jobs[i].backward ? -bytes : bytes;
        most = fmax(most, now);
    }
    return most;
}

static void add_memory(struct br__recipe_memory *to, const struct br__recipe_memory *x)
{
    to->rank_params += x->rank_params;
    to->trained_params += x->trained_params;
    to->weights += x->weights;
    to->gradients += x->gradients;
    to->optimizer += x->optimizer;
}

/* Whether the stage has a copy of the embedding, and it is trained. */
static int trains_embedding(const struct br__sim_state *s, uint32_t stage)
{
    const struct br__stages *x = &s->out->stages;
    int has = 0;
    for (uint32_t c = stage; c < x->pp * x->vpp; c += x->pp)
        has |= x->chunks[c].table;
    return has && s->r->v[BR__RK_peft_class].tag != 'T';
}

/* The end of a step: gradients are reduced and scattered over the data-parallel ranks, parameters
 * gathered; without a distributed optimizer, gradients are summed everywhere. */
static void reduce_stage(struct br__sim_state *s, uint32_t stage, double experts)
{
    struct br__sim_stage *x = &s->out->stage[stage];
    double param = s->value_bytes, grad = INT(s, eff_grad_reduce_in_fp32) ? sizeof(float) : param;
    double replicated = 0;
    int split = (int)INT(s, eff_use_distributed_optimizer);
    double dense = x->memory.trained_params - experts;
    struct br__sim_pass scatter = {0}, gather = {0}, rest = {0};

    br__sim_ring(s, &scatter, BR_GROUP_DP_CP, BR__SIM_REDUCE, 1, dense * grad);
    br__sim_ring(s, &scatter, BR_GROUP_EDP, BR__SIM_REDUCE, 1, experts * grad);
    br__sim_ring(s, &gather, BR_GROUP_DP_CP, BR__SIM_REDUCE, 1, dense * (split ? param : grad));
    br__sim_ring(s, &gather, BR_GROUP_EDP, BR__SIM_REDUCE, 1, experts * (split ? param : grad));
    for (uint32_t c = 0; c < s->out->stages.vpp; c++)
        replicated += s->parts[c * s->out->stages.pp + stage].replicated;
    br__sim_ring(s, &rest, BR_GROUP_TP, BR__SIM_REDUCE, 2, replicated * sizeof(float));
    if (trains_embedding(s, stage))
        br__sim_ring(s, &rest, BR_GROUP_EMBED, BR__SIM_REDUCE, 2,
                     s->parts[stage].embedding * sizeof(float));
    br__sim_ring(s, &rest, BR_GROUP_WORLD, BR__SIM_REDUCE, 1,
                 BR__STEP_SUMS * sizeof(double) * s->n[BR_GROUP_WORLD]);
    for (int g = 0; g < BR_N_GROUPS; g++) {
        x->after[g] = scatter.bytes[g] + gather.bytes[g] + rest.bytes[g];
        x->bytes[g] += x->after[g];
    }
    double hidden[2] = {
        0, 0}; /* by a backward pass of the last, a forward pass of the first micro batch */
    for (uint32_t c = 0; c < s->out->stages.vpp; c++) {
        hidden[0] += INT(s, ddp_overlap_grad_reduce) ? pass_seconds(pass_of(s, stage, c, 1)) : 0;
        hidden[1] += INT(s, ddp_overlap_param_gather) ? pass_seconds(pass_of(s, stage, c, 0)) : 0;
    }
    x->seconds[BR__SIM_REDUCE] = fmax(0, scatter.seconds[BR__SIM_REDUCE] - hidden[0]) +
                                 fmax(0, gather.seconds[BR__SIM_REDUCE] - hidden[1]) +
                                 rest.seconds[BR__SIM_REDUCE];
}

static void fill_stage(struct br__sim_state *s, uint32_t stage)
{
    struct br__sim_stage *x = &s->out->stage[stage];
    const struct br__pipe *t = &s->out->pipes[stage];
    double experts = 0;

    for (uint32_t c = 0; c < s->out->stages.vpp; c++) {
        const struct br__recipe_part *p = &s->parts[c * s->out->stages.pp + stage];
        add_memory(&x->memory, &p->memory);
        experts += p->trained_experts;
    }
    x->memory.activations = peak_activations(s, stage);
    x->memory.total =
        x->memory.weights + x->memory.gradients + x->memory.optimizer + x->memory.activations;
    for (uint32_t i = 0; i < t->n_jobs; i++) {
        const struct br__sim_pass *p =
            pass_of(s, stage, t->jobs[i].chunk, (int)t->jobs[i].backward);
        for (int k = 0; k < BR__N_SIM; k++)
            x->seconds[k] += p->seconds[k];
        for (int g = 0; g < BR_N_GROUPS; g++)
            x->bytes[g] += p->bytes[g];
    }
    for (uint32_t i = 0; i < t->n_messages; i++)
        x->bytes[BR_GROUP_PP] +=
            t->messages[i].is_send ? br__sim_message(s->out, stage, &t->messages[i]) : 0;
    /* State, gradient and weights are read, state and weights written. */
    x->seconds[BR__SIM_OPTIMIZER] =
        (2 * x->memory.optimizer + x->memory.gradients + x->memory.weights) /
        s->opts->gpu.bandwidth;
    reduce_stage(s, stage, experts);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int sim_topo(struct br__sim_state *s, struct br_err *err)
{
    const struct br__recipe_grid *g = &s->out->grid;
    int dense = !br__recipe_has(s->r, BR__RK_num_moe_experts);
    if (!g->world)
        return br_fail(err, BR_E_CONFIG,
                       "the recipe does not say how many GPUs it is for; give --world-size");
    if (s->opts->rank >= g->world)
        return br_fail(err, BR_E_USAGE, "--rank %" PRId64 ": there are %" PRId64 " ranks",
                       s->opts->rank, g->world);
    return br_topo_make(&s->out->topo, (uint32_t)g->tp, (uint32_t)g->cp, (uint32_t)g->pp,
                        dense ? 1 : (uint32_t)g->ep, dense ? 1 : (uint32_t)g->etp,
                        (uint32_t)g->world, err);
}

static int sim_schedule(struct br__arena *a, struct br__sim_state *s, struct br_err *err)
{
    struct br__sim *o = s->out;
    int rc = br__recipe_stages(a, s->r, &o->stages, err);
    if (!rc)
        rc = br__recipe_pipe(s->r, &o->grid, o->stages.vpp, &o->schedule, err);
    uint64_t passes = rc ? 0 : (uint64_t)o->schedule.micro_batches * o->stages.vpp;
    if (!rc && passes > MAX_PASSES / o->stages.pp)
        rc = br_fail(err, BR_E_CONFIG,
                     "%" PRIu64 " passes of each of %" PRIu32 " stages are more than %" PRIu64
                     " in all, which is what is simulated",
                     passes, o->stages.pp, MAX_PASSES);
    if (rc)
        return rc;
    size_t n = (size_t)o->stages.vpp * o->stages.pp;
    s->parts = br__arena_alloc(a, n * sizeof *s->parts);
    o->passes = br__arena_alloc(a, 2 * n * sizeof *o->passes);
    o->frame_bytes = br__arena_alloc(a, n * sizeof *o->frame_bytes);
    o->pipes = br__arena_alloc(a, o->stages.pp * sizeof *o->pipes);
    o->stage = br__arena_alloc(a, o->stages.pp * sizeof *o->stage);
    if (!s->parts || !o->passes || !o->frame_bytes || !o->pipes || !o->stage)
        return br__nomem(err, "for the simulation");
    for (uint32_t i = 0; i < o->stages.pp && !rc; i++)
        rc = br__pipe_make(a, &o->schedule, i, &o->pipes[i], err);
    return rc;
}

static int sim_passes(struct br__sim_state *s, struct br_err *err)
{
    struct br__sim *o = s->out;
    size_t n = (size_t)o->stages.vpp * o->stages.pp;
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = br__recipe_part(s->r, s->opts->world, &o->stages.chunks[i], &s->parts[i], err);
        o->frame_bytes[i] = s->parts[i].memory.activations;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        make_pass(s, &o->stages.chunks[i], &o->passes[2 * i], 0);
        make_pass(s, &o->stages.chunks[i], &o->passes[2 * i + 1], 1);
    }
    if (!rc)
        o->hidden_bytes =
            s->parts[0].hidden * s->value_bytes / (s->sp ? (double)s->n[BR_GROUP_TP] : 1);
    return rc;
}

/* The pipeline, then the slowest stage's reduction and optimizer; the others wait. */
static void sim_sum(struct br__sim_state *s)
{
    struct br__sim *o = s->out;
    double after = 0, mean[BR__N_SIM] = {0}, busy = 0, pp = o->stages.pp;
    for (uint32_t i = 0; i < o->stages.pp; i++) {
        const struct br__sim_stage *x = &o->stage[i];
        after = fmax(after, x->seconds[BR__SIM_REDUCE] + x->seconds[BR__SIM_OPTIMIZER]);
    }
    o->step = o->times.total + after;
    for (uint32_t i = 0; i < o->stages.pp; i++) {
        struct br__sim_stage *x = &o->stage[i];
        double used = 0;
        for (int k = 0; k < BR__N_SIM; k++)
            used += x->seconds[k];
        x->seconds[BR__SIM_WAIT] = o->step - used;
        busy += used - x->seconds[BR__SIM_REDUCE] - x->seconds[BR__SIM_OPTIMIZER];
        for (int k = 0; k < BR__N_SIM; k++)
            mean[k] += x->seconds[k] / pp;
    }
    o->bubble = 1 - busy / pp / o->times.total;
    for (int k = 0; k < BR__N_SIM; k++)
        if (mean[k] > mean[o->limit])
            o->limit = (enum br__sim_cost)k;
    o->mfu = o->flops_per_step / (o->step * o->gpu.flops * (double)o->grid.world);
}

int br__recipe_simulate(struct br__arena *a, const struct br__recipe *r,
                        const struct br__sim_opts *opts, struct br__sim *out, struct br_err *err)
{
    struct br__sim_state s = {.r = r, .opts = opts, .out = out};
    struct br__recipe_memory m;

    *out = (struct br__sim){.gpu = opts->gpu, .network = opts->network};
    br__recipe_grid(r, opts->world, &out->grid);
    s.sp = br__recipe_i(r, BR__RK_sequence_parallel, 0) != 0;
    s.value_bytes = br__recipe_dtype_bytes(r, BR__RK_params_dtype);
    int rc = br__recipe_memory(r, opts->world, &m, err);
    if (!rc)
        rc = sim_topo(&s, err);
    if (!rc)
        rc = sim_schedule(a, &s, err);
    if (!rc)
        rc = find_groups(&s, err);
    if (!rc)
        rc = sim_passes(&s, err);
    const struct br__pipe_costs costs = {&s, cost_job, cost_message};
    if (!rc)
        rc = br__pipe_run(a, out->pipes, out->stages.pp, &costs, &out->times, err);
    if (rc)
        return rc;
    out->flops_per_step = m.flops_per_step;
    for (uint32_t i = 0; i < out->stages.pp; i++)
        fill_stage(&s, i);
    sim_sum(&s);
    return BR_OK;
}
