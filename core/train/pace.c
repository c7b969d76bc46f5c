/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pace.c - how long steps will take: models of few layers, few tokens and a small vocabulary take
 * some steps, and what is true of a layer, of the rest and of the update is scaled to the run. */
#include "run.h"
#include "state.h"

#include <math.h>
#include <string.h>

#define PACE_TOKENS 512  /* of the micro batch */
#define PACE_VOCAB 16384 /* rows of embedding and head */
#define PACE_EXPERTS 16  /* of a routed layer, or as many as a token is routed to */
#define PACE_STEPS 3     /* the first one builds the graph; the fastest of the others counts */
#define PACE_BYTES 1.0e9 /* of memory, or half of what the run will take */

/* A model of few layers, and what it took. */
struct sample {
    struct br__recipe recipe;
    struct br__run run;
    int64_t tokens, vocab;
    double forward, both, update; /* seconds of a micro batch; of the update */
    double params, flops;         /* trained; per token */
};

static void shrink(struct br__recipe *r, uint32_t id, int64_t most)
{
    if (br__recipe_has(r, id))
        r->v[id].i = BR__MIN(r->v[id].i, most);
}

/* The run with `layers` layers, on one micro batch of one sequence. */
static void make_sample(struct sample *s, const struct br__run *run, int64_t layers)
{
    int64_t topk = br__recipe_i(run->recipe, BR__RK_moe_router_topk, 1);

    s->recipe = *run->recipe;
    s->run = *run;
    s->tokens = BR__MIN(run->seq_length, PACE_TOKENS);
    shrink(&s->recipe, BR__RK_num_layers, layers);
    shrink(&s->recipe, BR__RK_vocab_size, PACE_VOCAB);
    shrink(&s->recipe, BR__RK_num_moe_experts, BR__MAX(topk, PACE_EXPERTS));
    shrink(&s->recipe, BR__RK_seq_length, s->tokens);
    shrink(&s->recipe, BR__RK_micro_batch_size, 1);
    shrink(&s->recipe, BR__RK_global_batch_size, 1);
    s->vocab = br__recipe_i(&s->recipe, BR__RK_vocab_size, 1);
    s->run.recipe = &s->recipe;
    s->run.config_text = NULL;
    s->run.weights = NULL;
    if (br_topo_make(&s->run.topo, 1, 1, 1, 1, 1, 1, NULL))
        BR_BUG("one rank is no topology");
    s->run.stages = (struct br__stage_opts){.pp = 1};
    s->run.stage_group = 0;
    s->run.seq_length = s->tokens;
    s->run.micro_batch = s->run.global_batch = 1;
    s->run.recompute_layers = BR__MIN(run->recompute_layers, layers);
    s->run.check_nan = 0;
}

/* One sequence of ids that are all different, as far as there are so many. */
static int fill_batch(struct br__arena *a, struct br__batch *b, const struct sample *s,
                      struct br_err *err)
{
    size_t n = (size_t)s->tokens;

    *b = (struct br__batch){.n_rows = 1, .length = s->tokens, .n_ends = 1, .n_loss = (double)n};
    b->ids = br__arena_alloc(a, n * sizeof *b->ids);
    b->labels = br__arena_alloc(a, n * sizeof *b->labels);
    b->positions = br__arena_alloc(a, n * sizeof *b->positions);
    b->weights = br__arena_alloc(a, n * sizeof *b->weights);
    b->n_real = br__arena_alloc(a, sizeof *b->n_real);
    b->ends = br__arena_alloc(a, sizeof *b->ends);
    if (!b->ids || !b->labels || !b->positions || !b->weights || !b->n_real || !b->ends)
        return br__nomem(err, "measuring the speed");
    for (size_t i = 0; i < n; i++) {
        b->ids[i] = (int32_t)(i % (size_t)s->vocab);
        b->labels[i] = (int32_t)((i + 1) % (size_t)s->vocab);
        b->positions[i] = (int32_t)i;
        b->weights[i] = 1;
    }
    b->n_real[0] = b->ends[0] = (int32_t)n;
    return BR_OK;
}

static int time_steps(struct br__train *t, struct sample *s, struct br_err *err)
{
    struct br__batch batch;
    const struct br__step one = {.consumes = 1, .n_micro = 1, .micro = &batch}, *step = &one;
    int rc = fill_batch(&t->arena, &batch, s, err);

    s->forward = s->both = s->update = INFINITY;
    for (int i = 0; i < PACE_STEPS && !rc; i++) {
        struct br__loss_sums sums = {0};
        struct br__step_report r;
        rc = br__train_step(t, &step, &r, err);
        double began = br__now();
        if (!rc)
            rc = br__train_batches(t, &step, 0, &sums, err);
        if (rc || !i)
            continue;
        s->forward = fmin(s->forward, br__now() - began);
        s->both = fmin(s->both, r.pass_seconds);
        s->update = fmin(s->update, r.update_seconds);
    }
    return rc;
}

static int take_sample(struct sample *s, const struct br__train *of, struct br_err *err)
{
    struct br__train *t = br__calloc(1, sizeof *t);

    if (!t)
        return br__nomem(err, "measuring the speed");
    t->run = &s->run;
    t->o = (struct br__training_opts){
        .plugin = of->o.plugin, .device = of->o.device, .threads = of->o.threads};
    t->is_sample = 1;
    int rc = br__recipe_memory(&s->recipe, 1, &t->memory, err);
    if (!rc)
        rc = br__train_open_parts(t, err);
    if (!rc)
        rc = time_steps(t, s, err);
    s->params = t->memory.trained_params;
    s->flops = t->memory.flops_per_token;
    br__train_close(t);
    return rc;
}

/* Would it take more memory than is good before a run? */
static int is_too_big(const struct br__train *t, const struct sample *s)
{
    struct br__recipe_memory m;
    double each = br__run_has_adapters(t->run) ? 4 : 18; /* bytes of a parameter */

    return br__recipe_memory(&s->recipe, 1, &m, NULL) ||
           m.total_params * each > fmax(PACE_BYTES, t->total_bytes / 2);
}

/* Seconds of `tokens` tokens of the run, of which samples a and b took these. */
static double scaled(const struct br__train *t, const struct sample *a, const struct sample *b,
                     const double seconds[2], double tokens)
{
    const struct br__run *run = t->run;
    double layers = (double)br__recipe_i(run->recipe, BR__RK_num_layers, 1);
    double na = (double)br__recipe_i(&a->recipe, BR__RK_num_layers, 1);
    double nb = (double)br__recipe_i(&b->recipe, BR__RK_num_layers, 1);
    double layer = nb > na ? fmax(seconds[1] - seconds[0], 0) / (nb - na) : seconds[0] / na;
    double rest = fmax(seconds[0] - na * layer, 0);
    struct br__recipe longer = b->recipe;
    struct br__recipe_memory m;

    /* What attention costs beyond, in sequences that are longer than the sample's. */
    longer.v[BR__RK_seq_length].i = run->seq_length;
    if (!br__recipe_memory(&longer, 1, &m, NULL) && b->flops > 0)
        layer *= m.flops_per_token / b->flops;
    rest *= (double)br__recipe_i(run->recipe, BR__RK_vocab_size, 1) / (double)b->vocab;
    return tokens / (double)b->tokens * (rest + layers * layer);
}

int br__train_pace(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    int64_t every = br__recipe_i(run->recipe, BR__RK_linear_attention_freq, 1);
    double tokens = (double)run->global_batch * (double)run->seq_length;
    struct sample a, b;

    make_sample(&a, run, BR__MAX(every, 1));
    make_sample(&b, run, 2 * BR__MAX(every, 1));
    if (is_too_big(t, &b))
        return BR_OK;
    int rc = take_sample(&a, t, err);
    if (!rc)
        rc = take_sample(&b, t, err);
    if (rc)
        return rc;
    const double both[] = {a.both, b.both}, forward[] = {a.forward, b.forward};
    t->pace.step = scaled(t, &a, &b, both, tokens) + b.update * t->memory.trained_params / b.params;
    t->pace.eval = scaled(t, &a, &b, forward, tokens) * (double)run->eval_iters;
    return BR_OK;
}
