/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_simulate.c - what the simulator says that each rank sends in a step, pass by pass, against
 * what ranks send that train the same recipe: every collective and message of theirs is counted on
 * its way. */
#include "librun.h"
#include "recipe/recipe_internal.h"
#include "train/run.h"
#include "train/state.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

/* ---- what ranks send ------------------------------------------------------------------------- */

#define RANKS 8
/* A collective, or one message of an exchange. */
struct event {
    const struct br_comm *comm;
    double bytes; /* that the rank sends */
    int is_exchange, is_swap;
    uint32_t peer, is_send; /* of an exchange */
};
static struct rank_log {
    struct event *list;
    size_t n, cap;
} logs[RANKS];
struct spy {
    struct br_comm *comm;
    const struct br_comm_ops *real;
    struct br_comm_ops ops;
    uint32_t rank;
};
static struct spy spies[RANKS * BR_N_GROUPS];
static size_t n_spies;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static const struct spy *spy_of(const struct br_comm *c)
{
    size_t i = 0;
    while (spies[i].comm != c)
        i++;
    return &spies[i];
}

static const struct br_comm_ops *note(const struct event *e)
{
    const struct spy *s = spy_of(e->comm);
    struct rank_log *l = &logs[s->rank];
    pthread_mutex_lock(&lock); /* a rank's queue has a thread of its own */
    if (l->n == l->cap) {
        l->cap = 2 * l->cap + 64;
        l->list = realloc(l->list, l->cap * sizeof *l->list);
        ck_assert_ptr_nonnull(l->list);
    }
    l->list[l->n++] = *e;
    pthread_mutex_unlock(&lock);
    return s->real;
}

/* `parts` of n elements each go to other ranks. */
static const struct br_comm_ops *note_parts(const struct br_comm *c, size_t n, uint32_t dtype,
                                            double parts)
{
    return note(
        &(struct event){.comm = c, .bytes = (double)(n * br_dtype_size((int)dtype)) * parts});
}

/* As rings do it: each rank has 1 / size of the sum, which it passes on. */
static int spy_all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype, struct br_err *e)
{
    double parts = 2.0 * (c->size - 1) / c->size;
    return note_parts(c, n, dtype, parts)->all_reduce(c, buf, n, dtype, e);
}

static int spy_all_gather(struct br_comm *c, void *out, const void *in, size_t n, uint32_t dtype,
                          struct br_err *e)
{
    return note_parts(c, n, dtype, c->size - 1)->all_gather(c, out, in, n, dtype, e);
}

static int spy_reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n,
                              uint32_t dtype, struct br_err *e)
{
    return note_parts(c, n, dtype, c->size - 1)->reduce_scatter(c, out, in, n, dtype, e);
}

/* As if all ranks were sent the same, which they are but for rows of experts. */
static int spy_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                          const size_t *send_counts, uint32_t dtype, struct br_err *e)
{
    size_t n = 0;
    for (uint32_t r = 0; r < c->size; r++)
        n += send_counts[r];
    const struct event event = {.comm = c,
                                .bytes = (double)(n * br_dtype_size((int)dtype)) * (c->size - 1) /
                                         c->size,
                                .is_swap = 1};
    return note(&event)->all_to_all(c, out, recv_counts, in, send_counts, dtype, e);
}

static int spy_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                         struct br_err *e)
{
    return note_parts(c, n, dtype, 1)->broadcast(c, buf, n, dtype, root, e);
}

static int spy_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *e)
{
    for (size_t i = 0; i < n; i++)
        (void)note(&(struct event){.comm = c,
                                   .bytes = (double)(ops[i].n * br_dtype_size((int)ops[i].dtype)),
                                   .is_exchange = 1,
                                   .peer = ops[i].peer,
                                   .is_send = ops[i].is_send});
    return spy_of(c)->real->exchange(c, ops, n, e);
}

static void spy_on(struct br_comm *c, uint32_t rank)
{
    for (size_t i = 0; i < n_spies || !c; i++)
        if (!c || spies[i].comm == c)
            return;
    struct spy *s = &spies[n_spies++];
    *s = (struct spy){.comm = c, .real = c->ops, .ops = *c->ops, .rank = rank};
    s->ops.all_reduce = spy_all_reduce;
    s->ops.all_gather = spy_all_gather;
    s->ops.reduce_scatter = spy_reduce_scatter;
    s->ops.all_to_all = spy_all_to_all;
    s->ops.broadcast = spy_broadcast;
    s->ops.exchange = spy_exchange;
    c->ops = &s->ops;
}

static void spies_go(void)
{
    for (size_t i = 0; i < n_spies; i++)
        spies[i].comm->ops = spies[i].real;
    n_spies = 0;
}

/* ---- a step ---------------------------------------------------------------------------------- */

struct training {
    struct br__arena arena;
    struct br__registry *registry;
    struct br__run run;
    struct br__train *t;
};

#define MAX_SETS 64
/* The words of a text, as settings. */
static size_t add_sets(struct br__arena *a, const char *text, const char **sets, size_t n)
{
    char *copy = br__arena_strdup(a, text), *rest = NULL;
    for (char *w = strtok_r(copy, " ", &rest); w; w = strtok_r(NULL, " ", &rest)) {
        ck_assert_uint_lt(n, MAX_SETS);
        sets[n++] = w;
    }
    return n;
}

/* Of 8 layers, whose tensors and rows are whole cache lines of each rank: nothing is padded. */
static const char toy[] =
    "num_layers=8 hidden_size=64 num_attention_heads=8 num_query_groups=4 kv_channels=16 "
    "ffn_hidden_size=32 vocab_size=128 max_position_embeddings=128 seq_length=128 "
    "micro_batch_size=1 global_batch_size=8 train_iters=4 lr_warmup_iters=0 eval_iters=0 "
    "save_interval=null mixed_precision=fp32 tokenizer_type=NullTokenizer tokenizer_vocab_size=96 "
    "tp=1 pp=1 cp=1 vpp=null sequence_parallel=false ddp_overlap_grad_reduce=false "
    "ddp_overlap_param_gather=false recompute_granularity=null recompute_modules=null "
    "recompute_method=null recompute_num_layers=null mtp_num_layers=0";
static const char routed[] = "num_moe_experts=8 moe_router_topk=2 moe_ffn_hidden_size=8 ep=1 etp=1 "
                             "moe_aux_loss_coeff=0.01";
static const char nets[] =
    "linear_attention_freq=4 linear_conv_kernel_dim=4 linear_key_head_dim=4 "
    "linear_value_head_dim=32 linear_num_key_heads=4 linear_num_value_heads=32 "
    "moe_shared_expert_intermediate_size=8";

struct way {
    const char *recipe;
    uint32_t ranks;
    const char *sets;
    int is_sample; /* CI takes it */
};

static void open_training(struct training *x, const struct way *w)
{
    const char *sets[MAX_SETS];
    size_t n = add_sets(&x->arena, toy, sets, 0);
    if (!strstr(w->recipe, "_8b_") && !strstr(w->recipe, "_600m_"))
        n = add_sets(&x->arena, routed, sets, n);
    if (strstr(w->recipe, "next"))
        n = add_sets(&x->arena, nets, sets, n);
    n = add_sets(&x->arena, w->sets, sets, n);
    struct br__recipe *r = br__arena_alloc(&x->arena, sizeof *r);
    const struct br__recipe_opts ro = {
        .name = w->recipe, .sets = sets, .n_sets = n, .incomplete = 1};
    const struct br__run_opts o = {.ranks = w->ranks};
    const struct br__training_opts to = {.threads = 1, .device = "cpu"};
    must(br__registry_open(&x->registry, NULL, &err));
    must(br__registry_load_all(x->registry, &err));
    must(br__recipe_open(&x->arena, x->registry, &ro, r, &err));
    must(br__run_make(&x->arena, x->registry, r, &o, &x->run, &err));
    must(br__train_open(&x->t, &x->run, &to, &err));
    ck_assert_uint_eq(x->t->n_ranks, w->ranks);
}

static void close_training(struct training *x)
{
    br__train_close(x->t);
    br__registry_close(x->registry);
    br__arena_free(&x->arena);
}

/* One step, listened to. */
static void run_step(struct training *x)
{
    const struct br__corpus_steps steps = {BR__TRAIN, x->run.global_batch, 0, 0};
    struct br__readers f = {0};
    struct br__step_report report;
    must(br__readers_open(&f, x->t, &steps, &err));
    must(br__readers_next(&f, x->t, "train", &err));
    for (uint32_t i = 0; i < x->t->n_ranks; i++)
        for (int g = 0; g < BR_N_GROUPS; g++)
            spy_on(x->t->ranks[i].info->host[g], i);
    must(br__train_step(x->t, f.step, &report, &err));
    spies_go();
    br__readers_close(&f);
}

/* ---- compared -------------------------------------------------------------------------------- */

/* A rank's step, as it goes on in both. */
struct walk {
    const struct way *w;
    const struct br__rank_info *info;
    const struct br__sim *sim;
    const struct rank_log *log;
    size_t at;                /* the next event */
    double want[BR_N_GROUPS]; /* simulated since the last message, by group */
};
/* Rows that the experts of a stage's ranks get and give, in bytes: how many go to each depends on
 * the tokens. */
static struct rows {
    double sent, simulated;
} rows[RANKS];

/* Groups of the same ranks have one communicator: the first of them. */
static int first_of(const struct br__rank_info *info, const struct br_comm *c)
{
    int g = 0;
    while (info->host[g] != c)
        g++;
    return g;
}

/* Whether the next event is a collective; its bytes are added. */
static int pass_collective(struct walk *x, double got[BR_N_GROUPS])
{
    const struct event *e = &x->log->list[x->at];
    if (x->at == x->log->n || e->is_exchange)
        return 0;
    x->at++;
    if (e->is_swap && e->comm == x->info->host[BR_GROUP_EP])
        rows[br_topo_coord(&x->sim->topo, x->info->rank, BR_AXIS_PP)].sent += e->bytes;
    else
        got[first_of(x->info, e->comm)] += e->bytes;
    return 1;
}

/* All that the rank has sent up to the next message is what was simulated. */
static void compare(struct walk *x)
{
    double got[BR_N_GROUPS] = {0}, want[BR_N_GROUPS] = {0};
    rows[br_topo_coord(&x->sim->topo, x->info->rank, BR_AXIS_PP)].simulated += x->want[BR_GROUP_EP];
    x->want[BR_GROUP_EP] = 0;
    while (pass_collective(x, got))
        ;
    for (int g = 0; g < BR_N_GROUPS; g++)
        want[first_of(x->info, x->info->host[g])] += x->want[g];
    for (int g = 0; g < BR_N_GROUPS; g++)
        ck_assert_msg(fabs(got[g] - want[g]) < 0.5,
                      "%s over %u ranks, %s: rank %u before its event %zu: %.0f bytes are sent "
                      "over %s, %.0f simulated",
                      x->w->recipe, x->w->ranks, x->w->sets, x->info->rank, x->at, got[g],
                      br__group_name((enum br_group)g), want[g]);
    memset(x->want, 0, sizeof x->want);
}

static void add_bytes(struct walk *x, const double *bytes)
{
    for (int g = 0; g < BR_N_GROUPS; g++)
        x->want[g] += bytes[g];
}

/* Messages [from, to) of the schedule, in its order. */
static void compare_messages(struct walk *x, uint32_t stage, uint32_t from, uint32_t to)
{
    const struct br__pipe *pipe = &x->sim->pipes[stage];
    if (to > from)
        compare(x);
    for (uint32_t i = from; i < to; i++) {
        const struct br__message *m = &pipe->messages[i];
        ck_assert_uint_lt(x->at, x->log->n);
        const struct event *e = &x->log->list[x->at++];
        ck_assert(e->is_exchange && e->comm == x->info->host[BR_GROUP_PP]);
        ck_assert_uint_eq(e->peer, m->peer);
        ck_assert_uint_eq(e->is_send, m->is_send);
        ck_assert_double_eq(e->bytes, br__sim_message(x->sim, stage, m));
    }
}

static void compare_rank(const struct training *t, const struct way *w, uint32_t rank)
{
    struct br__arena a = {0};
    struct br__sim_opts o = {.world = w->ranks, .rank = rank};
    struct br__sim sim;
    must(br__sim_gpu_find(&a, NULL, &o.gpu, &err));
    must(br__sim_network_find(&a, NULL, &o.network, &err));
    must(br__recipe_simulate(&a, t->run.recipe, &o, &sim, &err));
    struct walk x = {w, t->t->ranks[rank].info, &sim, &logs[rank], 0, {0}};
    uint32_t stage = br_topo_coord(&sim.topo, rank, BR_AXIS_PP);
    const struct br__pipe *pipe = &sim.pipes[stage];
    for (uint32_t i = 0; i < pipe->n_jobs; i++) {
        const struct br__job *job = &pipe->jobs[i];
        size_t chunk = (size_t)job->chunk * sim.stages.pp + stage;
        compare_messages(&x, stage, pipe->exchange[i], pipe->exchange[i + 1]);
        add_bytes(&x, sim.passes[2 * chunk + job->backward].bytes);
    }
    compare_messages(&x, stage, pipe->exchange[pipe->n_jobs], pipe->n_messages);
    add_bytes(&x, sim.stage[stage].after);
    compare(&x);
    ck_assert_uint_eq(x.at, logs[rank].n);
    br__arena_free(&a);
}

static const struct way ways[] = {
    {"qwen3_8b_pretrain_config", 4, "tp=2", 1},
    {"qwen3_8b_pretrain_config", 4, "tp=2 sequence_parallel=true", 0},
    {"qwen3_8b_pretrain_config", 4, "tp=4 sequence_parallel=true mixed_precision=bf16_mixed", 0},
    {"qwen3_8b_pretrain_config", 4, "pp=4", 0},
    {"qwen3_8b_pretrain_config", 4, "pp=2 vpp=2", 0},
    {"qwen3_8b_pretrain_config", 4, "cp=2 tp=2", 0},
    {"qwen3_8b_pretrain_config", 8, "tp=2 pp=2", 0},
    {"qwen3_8b_pretrain_config", 4, "ddp_use_distributed_optimizer=false", 0},
    {"qwen3_600m_pretrain_config", 4, "pp=4", 1},
    {"qwen3_600m_pretrain_config", 4, "pp=2 tp=2 mixed_precision=bf16_mixed", 0},
    {"qwen3_600m_pretrain_config", 4,
     "tp=2 recompute_granularity=full recompute_method=uniform recompute_num_layers=3", 0},
    {"qwen3_600m_pretrain_config", 2,
     "tp=2 sequence_parallel=true recompute_granularity=full recompute_method=block "
     "recompute_num_layers=3",
     0},
    {"qwen3_30b_a3b_pretrain_config", 4, "ep=2", 0},
    {"qwen3_30b_a3b_pretrain_config", 4, "ep=4 pp=1", 0},
    {"qwen3_30b_a3b_pretrain_config", 4, "etp=2", 0},
    {"qwen3_30b_a3b_pretrain_config", 4, "tp=2 ep=2 etp=2 sequence_parallel=true", 1},
    {"qwen3_30b_a3b_pretrain_config", 4, "tp=2 ep=2 sequence_parallel=true cp=2", 0},
    {"qwen3_30b_a3b_pretrain_config", 4, "pp=2 vpp=2 ep=2 mixed_precision=bf16_mixed", 0},
    {"qwen3_30b_a3b_pretrain_config", 4,
     "ep=2 recompute_granularity=full recompute_method=uniform recompute_num_layers=2", 0},
    {"qwen3_30b_a3b_pretrain_config", 4,
     "tp=2 ep=2 sequence_parallel=true moe_router_load_balancing_type=seq_aux_loss "
     "moe_z_loss_coeff=0.001",
     0},
    {"qwen3_next_80b_a3b_pretrain_config", 4, "tp=2 sequence_parallel=true", 0},
    {"qwen3_next_80b_a3b_pretrain_config", 4, "cp=2 tp=2 sequence_parallel=true", 0},
    {"qwen3_next_80b_a3b_pretrain_config", 4, "cp=2 pp=2 vpp=2", 0},
    {"qwen3_next_80b_a3b_pretrain_config", 4,
     "ep=2 tp=2 sequence_parallel=true recompute_granularity=selective "
     "recompute_modules=[layernorm,moe,moe_act]",
     0},
    {"qwen3_next_80b_a3b_pretrain_config", 4, "pp=2 tp=2 sequence_parallel=true mtp_num_layers=1",
     0},
    {"qwen3_next_80b_a3b_pretrain_config", 4,
     "pp=4 mtp_num_layers=1 pp_layout=Ettt|ttt|ttm|L global_batch_size=4", 1},
    {"qwen3_next_80b_a3b_pretrain_config", 4, "pp=2 vpp=2 ep=2 mtp_num_layers=1", 0},
};

START_TEST(sends_what_is_simulated)
{
    const struct way *w = &ways[_i];
    struct training x = {0};
    if (!w->is_sample && !getenv("BRIDGE_RANKS_ALL"))
        return;
    open_training(&x, w);
    run_step(&x);
    memset(rows, 0, sizeof rows);
    for (uint32_t i = 0; i < w->ranks; i++)
        compare_rank(&x, w, i);
    for (uint32_t s = 0; s < x.run.topo.size[BR_AXIS_PP]; s++)
        ck_assert_msg(fabs(rows[s].sent - rows[s].simulated) < 0.5,
                      "%s, %s: stage %u sends %.0f bytes of rows to experts, %.0f simulated",
                      w->recipe, w->sets, s, rows[s].sent, rows[s].simulated);
    for (uint32_t i = 0; i < w->ranks; i++)
        free(logs[i].list);
    close_training(&x);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("simulate");
    TCase *tc = tcase_create("simulate");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, sends_what_is_simulated, 0, (int)BR_COUNTOF(ways));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
