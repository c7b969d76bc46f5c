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

/* One direction of one chunk on a rank: seconds by cost, and bytes sent by group. */
struct pass {
    double seconds[BR__N_SIM], bytes[BR_N_GROUPS];
};

struct sim {
    const struct br__recipe *r;
    const struct br__sim_opts *opts;
    struct br__sim *out;
    struct br__recipe_part *parts; /* [vpp * pp] */
    struct pass *passes;           /* [vpp * pp][2]: forward, backward */
    double value_bytes;            /* of an activation */
    int sp;
    uint32_t n[BR_N_GROUPS]; /* ranks of the groups */
    double message_bytes;    /* between two stages */
};

static int64_t sim_int(const struct sim *s, uint32_t id)
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

static int is_across(const struct sim *s, const uint32_t *ranks, uint32_t n)
{
    double node = s->opts->network.node_gpus;
    for (uint32_t i = 1; i < n; i++)
        if (floor(ranks[i] / node) != floor(ranks[0] / node))
            return 1;
    return 0;
}

/* Seconds in which a rank sends so many bytes, in so many messages one after another. */
static double send_seconds(const struct sim *s, int across, double bytes, double messages)
{
    const struct br__sim_network *w = &s->opts->network;
    return across ? bytes / w->net_bandwidth + messages * w->net_latency
                  : bytes / w->node_bandwidth + messages * w->node_latency;
}

static int find_groups(struct sim *s, struct br_err *err)
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

/* `times` collectives over group g, each of a buffer of so many bytes in all. */
static void add_ring(struct sim *s, struct pass *p, enum br_group g, enum br__sim_cost cost,
                     double times, double bytes)
{
    double n = s->n[g];
    if (n < 2)
        return;
    double sent = bytes * (n - 1) / n;
    p->bytes[g] += times * sent;
    p->seconds[cost] += times * send_seconds(s, s->out->across[g], sent, n - 1);
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Ranks that share an expert's channels gather their tokens and scatter what comes of them.  Then
 * each token's row goes to each of its experts with its share, and comes back; forward, how many
 * rows there are goes ahead.  That is what core/engine/block_moe.c does. */
static void add_experts(struct sim *s, struct pass *p, const struct br__recipe_part *part,
                        double layers, int backward)
{
    double etp = s->n[BR_GROUP_ETP], hidden = (double)INT(s, hidden_size);
    double tokens = etp * part->hidden / (s->sp ? (double)s->n[BR_GROUP_TP] : 1) / hidden;
    double rows = tokens * (double)INT(s, moe_router_topk);

    add_ring(s, p, BR_GROUP_ETP, BR__SIM_EP, 2 * layers, tokens * hidden * s->value_bytes);
    add_ring(s, p, BR_GROUP_EP, BR__SIM_EP, 2 * layers, rows * hidden * s->value_bytes);
    add_ring(s, p, BR_GROUP_EP, BR__SIM_EP, layers, rows * sizeof(float));
    if (!backward)
        add_ring(s, p, BR_GROUP_EP, BR__SIM_EP, layers,
                 (double)INT(s, num_moe_experts) * sizeof(int32_t));
}

/* Tensor parallelism: each of a layer's two halves gathers its input and scatters its output, or
 * sums its output, which is the same bytes.  Attention gathers keys and values; delta nets exchange
 * heads for tokens. */
static void add_collectives(struct sim *s, const struct br__chunk *c, struct pass *p, int backward)
{
    const struct br__recipe_part *part = &s->parts[c - s->out->stages.chunks];
    int routed = INT(s, num_moe_experts) > 0,
        shared = INT(s, moe_shared_expert_intermediate_size) > 0;
    double all = part->hidden * s->value_bytes, layers = c->n_layers + c->n_mtp;
    double halves = layers * (!routed || shared ? 2 : 1);
    /* With sequence parallelism a backward pass gathers each input again, for the weights'
     * gradient. */
    double turns = backward && s->sp ? 3 : 2;
    add_ring(s, p, BR_GROUP_TP, BR__SIM_TP,
             halves * turns + c->embedding + (c->head ? turns - 1 : 0), all);
    if (routed)
        add_experts(s, p, part, layers, backward);
    for (uint32_t i = 0; i < c->n_layers + c->n_mtp; i++) {
        int delta = i < c->n_layers && br__recipe_is_delta(s->r, c->first + i);
        double bytes = delta ? part->hidden / (double)s->n[BR_GROUP_TP] : part->key_values;
        add_ring(s, p, BR_GROUP_CP, BR__SIM_CP, delta ? 2 : 1,
                 bytes * s->value_bytes * (delta ? 1 : s->n[BR_GROUP_CP]));
    }
}

/* How many times the products of a forward pass a backward pass is. */
static double backward_products(const struct sim *s)
{
    const struct br__recipe_value *granularity = &s->r->v[BR__RK_recompute_granularity];
    double times = s->r->v[BR__RK_peft_class].tag == 'T' ? 1 : 2; /* frozen weights have none */
    return times + (granularity->tag == 'T' && !strcmp(granularity->text, "full"));
}

static void make_pass(struct sim *s, const struct br__chunk *c, struct pass *p, int backward)
{
    const struct br__sim_gpu *gpu = &s->opts->gpu;
    const struct br__recipe_part *part = &s->parts[c - s->out->stages.chunks];
    double times = backward ? backward_products(s) : 1;
    double products = times * part->flops / (gpu->flops * gpu->efficiency);
    double reads = times * part->weights_read / gpu->bandwidth;

    p->seconds[BR__SIM_COMPUTE] = fmax(products, reads);
    add_collectives(s, c, p, backward);
    if (backward && times > 2) /* computed again, with what that exchanges */
        add_collectives(s, c, p, 0);
    if (s->r->v[BR__RK_comm_overlap].tag ==
        'T') /* hidden, as far as there is something to hide it */
        p->seconds[BR__SIM_TP] = fmax(0, p->seconds[BR__SIM_TP] - p->seconds[BR__SIM_COMPUTE]);
    if (INT(s, overlap_moe_ep_comm))
        p->seconds[BR__SIM_EP] = fmax(0, p->seconds[BR__SIM_EP] - p->seconds[BR__SIM_COMPUTE]);
}

static const struct pass *pass_of(const struct sim *s, uint32_t stage, uint32_t chunk, int backward)
{
    return &s->passes[2 * ((size_t)chunk * s->out->stages.pp + stage) + (backward != 0)];
}

static double pass_seconds(const struct pass *p)
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

static double cost_message(void *arg, uint32_t stage, const struct br__message *m)
{
    const struct sim *s = arg;
    uint32_t ends[] = {s->out->stage[stage].rank, s->out->stage[m->peer].rank};
    return send_seconds(s, is_across(s, ends, 2), s->message_bytes, 1);
}

/* ---- memory and bytes of a stage ------------------------------------------------------------- */

/* Activations in flight at their highest. */
static double peak_activations(const struct sim *s, uint32_t stage)
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
static int trains_embedding(const struct sim *s, uint32_t stage)
{
    const struct br__stages *x = &s->out->stages;
    int has = 0;
    for (uint32_t c = stage; c < x->pp * x->vpp; c += x->pp)
        has |= x->chunks[c].table;
    return has && s->r->v[BR__RK_peft_class].tag != 'T';
}

/* The end of a step: gradients are reduced and scattered over the data-parallel ranks, parameters
 * gathered; without a distributed optimizer, gradients are summed everywhere. */
static void reduce_stage(struct sim *s, uint32_t stage, double experts)
{
    struct br__sim_stage *x = &s->out->stage[stage];
    double grad = INT(s, eff_grad_reduce_in_fp32) ? 4 : 2, param = s->value_bytes;
    int split = (int)INT(s, eff_use_distributed_optimizer);
    double dense = x->memory.trained_params - experts;
    struct pass scatter = {0}, gather = {0}, rest = {0};

    add_ring(s, &scatter, BR_GROUP_DP_CP, BR__SIM_REDUCE, 1, dense * grad);
    add_ring(s, &scatter, BR_GROUP_EDP, BR__SIM_REDUCE, 1, experts * grad);
    add_ring(s, &gather, BR_GROUP_DP_CP, BR__SIM_REDUCE, 1, dense * (split ? param : grad));
    add_ring(s, &gather, BR_GROUP_EDP, BR__SIM_REDUCE, 1, experts * (split ? param : grad));
    if (trains_embedding(s, stage)) /* scattered and gathered */
        add_ring(s, &rest, BR_GROUP_EMBED, BR__SIM_REDUCE, 2, s->parts[stage].embedding * grad);
    for (int g = 0; g < BR_N_GROUPS; g++)
        x->bytes[g] += scatter.bytes[g] + gather.bytes[g] + rest.bytes[g];
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

static void fill_stage(struct sim *s, uint32_t stage)
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
        const struct pass *p = pass_of(s, stage, t->jobs[i].chunk, (int)t->jobs[i].backward);
        for (int k = 0; k < BR__N_SIM; k++)
            x->seconds[k] += p->seconds[k];
        for (int g = 0; g < BR_N_GROUPS; g++)
            x->bytes[g] += p->bytes[g];
    }
    for (uint32_t i = 0; i < t->n_messages; i++)
        x->bytes[BR_GROUP_PP] += t->messages[i].is_send ? s->message_bytes : 0;
    /* State, gradient and weights are read, state and weights written. */
    x->seconds[BR__SIM_OPTIMIZER] =
        (2 * x->memory.optimizer + x->memory.gradients + x->memory.weights) /
        s->opts->gpu.bandwidth;
    reduce_stage(s, stage, experts);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int sim_topo(struct sim *s, struct br_err *err)
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

static int sim_schedule(struct br__arena *a, struct sim *s, struct br_err *err)
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
    s->passes = br__arena_alloc(a, 2 * n * sizeof *s->passes);
    o->frame_bytes = br__arena_alloc(a, n * sizeof *o->frame_bytes);
    o->pipes = br__arena_alloc(a, o->stages.pp * sizeof *o->pipes);
    o->stage = br__arena_alloc(a, o->stages.pp * sizeof *o->stage);
    if (!s->parts || !s->passes || !o->frame_bytes || !o->pipes || !o->stage)
        return br__nomem(err, "for the simulation");
    for (uint32_t i = 0; i < o->stages.pp && !rc; i++)
        rc = br__pipe_make(a, &o->schedule, i, &o->pipes[i], err);
    return rc;
}

static int sim_passes(struct sim *s, struct br_err *err)
{
    struct br__sim *o = s->out;
    size_t n = (size_t)o->stages.vpp * o->stages.pp;
    int rc = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        rc = br__recipe_part(s->r, s->opts->world, &o->stages.chunks[i], &s->parts[i], err);
        o->frame_bytes[i] = s->parts[i].memory.activations;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        make_pass(s, &o->stages.chunks[i], &s->passes[2 * i], 0);
        make_pass(s, &o->stages.chunks[i], &s->passes[2 * i + 1], 1);
    }
    if (!rc)
        s->message_bytes =
            s->parts[0].hidden * s->value_bytes / (s->sp ? (double)s->n[BR_GROUP_TP] : 1);
    return rc;
}

/* The pipeline, then the slowest stage's reduction and optimizer; the others wait. */
static void sim_sum(struct sim *s)
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
    struct sim s = {.r = r, .opts = opts, .out = out};
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
