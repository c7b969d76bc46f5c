/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_ranks_formulas.c - what the train loop makes of unequal masks, and of the global
 * load-balancing loss, over ranks that are threads, against formulas of its own. */
#include "libranked.h"
#include "librun.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct br_err err;

/* ---- the train loop's normalisation, against formulas ---------------------------------------- */

#define ROW 16 /* tokens of a sequence; two make a micro batch */

/* What the train loop makes of batches[micros * dp] before its optimizer: gradients of all ranks
 * together as they enter the norm, and sums of the losses. */
static void run_batches(struct trainer *x, struct batch *batches, int per_token, struct result *r,
                        struct br__loss_sums *total)
{
    struct br__batch micro[2][MICROS];
    struct br__step steps[2];
    static int32_t ends[] = {ROW, TOKENS}, n_real[] = {ROW, ROW}, positions[TOKENS];
    const struct br_topo *topo = br__llm_topo(x->m);
    struct br__run run = {
        .topo = *topo, .micro_batch = 2, .seq_length = ROW, .per_token = per_token};
    run.aux = ranked_aux(MOE, &ranked_alone);
    struct br__train_rank ranks[8] = {0};
    struct br__loss_sums sums[8] = {0};
    const struct br__step *of[8];
    struct br__train t = {.run = &run,
                          .model = x->m,
                          .trainer = x->t,
                          .ranks = ranks,
                          .n_ranks = br__llm_n_ranks(x->m),
                          .moe = 1};
    uint32_t dp = topo->size[BR_AXIS_DP], shares = per_token ? 1 : dp * topo->size[BR_AXIS_CP];
    t.s.scaler.scale = 1;
    for (int i = 0; i < TOKENS; i++)
        positions[i] = i % ROW;
    for (uint32_t d = 0; d < dp; d++) {
        for (uint32_t k = 0; k < MICROS; k++) {
            struct batch *b = &batches[k * dp + d];
            micro[d][k] = (struct br__batch){.n_rows = 2,
                                             .length = ROW,
                                             .ids = b->ids,
                                             .labels = b->labels,
                                             .positions = positions,
                                             .weights = b->mask,
                                             .n_real = n_real,
                                             .ends = ends,
                                             .n_ends = 2,
                                             .n_loss = b->counted};
        }
        steps[d] = (struct br__step){.n_micro = MICROS, .micro = micro[d]};
    }
    for (uint32_t i = 0; i < t.n_ranks; i++) {
        ranks[i].info = br__llm_rank(x->m, i);
        of[i] = &steps[ranked_coordinate(x, i, BR_AXIS_DP)];
    }
    memset(r, 0, sizeof *r);
    must(br__trainer_zero(x->t, &err), &err);
    must(br__train_batches(&t, of, 1, sums, &err), &err);
    must(br__train_total(&t, sums, total, &err), &err);
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
    ranked_add_gradients(x, r);
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->elems[i]; k++)
            r->grad[i][k] /= (float)shares;
    for (uint32_t i = 0; i < t.n_ranks; i++)
        br__train_rooms_free(&ranks[i]);
}

/* The rank of cp that has a token: a sequence is cut into 2 cp chunks, rank r has numbers r and
 * 2 cp - 1 - r. */
static uint32_t owner_of(int token, uint32_t cp)
{
    uint32_t chunk = (uint32_t)(token % ROW) / (ROW / (2 * cp));
    return chunk < cp ? chunk : 2 * cp - 1 - chunk;
}

/* How much the loss of each token of a batch weighs in the whole: Megatron's mean over micro
 * batches, data-parallel and context-parallel ranks of the mean over the tokens of each; or, per
 * token, 1 (what comes after divides by how many there are). */
static void weigh(const struct batch *b, const struct sharing *s, int per_token, float *weight)
{
    double counted[4] = {0};
    for (int i = 0; i < TOKENS; i++)
        counted[owner_of(i, s->cp)] += (double)b->mask[i];
    for (int i = 0; i < TOKENS; i++)
        weight[i] = per_token ? b->mask[i]
                              : (float)((double)b->mask[i] / fmax(1, counted[owner_of(i, s->cp)]) /
                                        (MICROS * s->dp * s->cp));
}

/* Gradients of the sum of weight * loss, on one rank. */
static void run_weighted(enum toy toy, const struct sharing *s, const struct batch *batches,
                         int per_token, struct result *r)
{
    static float weight[MICROS * 2][TOKENS];
    struct trainer x = ranked_open(toy, &ranked_alone);
    struct br__micro mb[MICROS * 2];
    struct br__micro_out out[MICROS * 2];
    size_t n = MICROS * s->dp;
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < n; i++) {
        weigh(&batches[i], s, per_token, weight[i]);
        mb[i] = (struct br__micro){.n_tokens = TOKENS,
                                   .n_seqs = 2,
                                   .ids = batches[i].ids,
                                   .labels = batches[i].labels,
                                   .mask = weight[i],
                                   .loss_scale = 1};
    }
    must(br__trainer_zero(x.t, &err), &err);
    must(br__trainer_step(x.t, mb, n, 1, out, &err), &err);
    must(br__trainer_gradients(x.t, &err), &err);
    must(br__trainer_fetch(x.t, &err), &err);
    ranked_add_gradients(&x, r);
    ranked_close(&x);
}

START_TEST(test_masks)
{
    static const struct sharing list[] = {{1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {2, 1, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0}};
    static const enum toy families[] = {QWEN2, QWEN3, NEXT};
    static struct batch batches[MICROS * 2];
    static struct result got, want;
    const struct sharing *s = &list[_i / 6];
    int per_token = _i % 2;
    enum toy toy = families[_i / 2 % 3];
    struct br__loss_sums total;
    double counted = 0;
    ranked.aux = ranked.z = 0;
    for (uint32_t i = 0; i < MICROS * s->dp; i++) { /* one of them counts no token */
        ranked_batch(&batches[i], i + 3, MTP);
        counted += batches[i].counted;
    }
    struct trainer x = ranked_open(toy, s);
    run_batches(&x, batches, per_token, &got, &total);
    ranked_close(&x);
    run_weighted(toy, s, batches, per_token, &want);
    ranked_compare(&got, &want, 1e-4, 1e-5);
    ck_assert_double_eq(total.counted, counted);
    ranked_free(&got);
    ranked_free(&want);
    ranked.aux = ranked.z = 0.01;
}
END_TEST

/* ---- a loss of routers that is known --------------------------------------------------------- */

/* Attention and experts add nothing, so that a router sees the tokens' embeddings, normed; and
 * routers that are sure. */
static void bare_routers(struct trainer *x)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++) {
            int adds = ranked_ends(list[k].name, ".o_proj.weight") ||
                       ranked_ends(list[k].name, ".down_proj.weight");
            float factor = adds ? 0 : ranked_ends(list[k].name, ".mlp.gate.weight") ? 20 : 1;
            for (size_t j = 0; j < list[k].n; j++)
                list[k].main[j] *= factor;
        }
    }
    must(br__trainer_updated(x->t, 0, &err), &err);
}

/* out[rows * cols]: a tensor, of the parts that ranks have. */
static void fetch(const struct trainer *x, const char *name, float *out)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++)
            for (size_t r = 0; r < list[k].n_rows && !strcmp(list[k].name, name); r++)
                memcpy(out + list[k].rows[r].row * list[k].shape[1],
                       list[k].main + list[k].rows[r].at,
                       (size_t)(list[k].rows[r].n * list[k].n_cols) * sizeof *out);
    }
}

/* Of a token with that embedding: x what a router of weights w sees, p its probabilities; the two
 * experts that it chooses are counted. */
static void route(const float *embedding, const float *w, double *x, double *p, double *counts)
{
    double squares = 0, sum = 0;
    for (int h = 0; h < HIDDEN; h++)
        squares += (double)embedding[h] * embedding[h];
    for (int h = 0; h < HIDDEN; h++)
        x[h] = embedding[h] / sqrt(squares / HIDDEN + 1e-6);
    for (int e = 0; e < EXPERTS; e++) {
        double logit = 0;
        for (int h = 0; h < HIDDEN; h++)
            logit += w[e * HIDDEN + h] * x[h];
        sum += p[e] = exp(logit);
    }
    for (int e = 0; e < EXPERTS; e++)
        p[e] /= sum;
    for (int j = 0, first = -1; j < CHOSEN; j++) {
        int best = first == 0;
        for (int e = 0; e < EXPERTS; e++)
            best = e != first && p[e] > p[best] ? e : best;
        counts[best]++;
        first = best;
    }
}

/* The global load-balancing loss of one router and its gradient by the router's weights: of micro
 * batch j, counted from 1, E / (k N^2 j) * sum over experts of (how often ranks chose it in micro
 * batches 1 to j) * (sum of its probabilities in j), N tokens of all data-parallel ranks; the mean
 * of it over micro batches, and Megatron's mean over data-parallel ranks. */
static double global_loss(const struct batch *batches, uint32_t dp, const float *table,
                          const float *w, double *grad)
{
    static double x[2 * TOKENS][HIDDEN], p[2 * TOKENS][EXPERTS];
    double counts[EXPERTS] = {0}, loss = 0, n = TOKENS * dp;
    memset(grad, 0, EXPERTS * HIDDEN * sizeof *grad);
    for (uint32_t j = 0; j < MICROS; j++) {
        double each = EXPERTS / (CHOSEN * n * n * (j + 1));
        for (uint32_t t = 0; t < TOKENS * dp; t++) {
            int32_t id = batches[j * dp + t / TOKENS].ids[t % TOKENS];
            route(table + id * HIDDEN, w, x[t], p[t], counts);
        }
        for (uint32_t t = 0; t < TOKENS * dp; t++) {
            double mean = 0;
            for (int e = 0; e < EXPERTS; e++)
                mean += p[t][e] * each * counts[e];
            loss += mean;
            for (int e = 0; e < EXPERTS; e++)
                for (int h = 0; h < HIDDEN; h++)
                    grad[e * HIDDEN + h] +=
                        p[t][e] * (each * counts[e] - mean) * x[t][h] / (MICROS * dp);
        }
    }
    return loss;
}

START_TEST(test_global_aux)
{
    static const struct sharing list[] = {{1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {2, 1, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 1, 2, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 2, 1, 1, 2, 1, 0, 0, 0, 0}};
    static struct batch batches[MICROS * 2];
    static struct result got;
    static float table[VOCAB * HIDDEN], w[EXPERTS * HIDDEN], want[EXPERTS * HIDDEN];
    double grad[EXPERTS * HIDDEN], loss = 0;
    const struct sharing *s = &list[_i];
    struct br__loss_sums total;
    char name[64];
    ranked.z = 0;
    ranked.always_global = 1;
    for (uint32_t i = 0; i < MICROS * s->dp; i++)
        ranked_batch(&batches[i], i + 3, MTP);
    struct trainer x = ranked_open(MOE, s);
    bare_routers(&x);
    run_batches(&x, batches, 0, &got, &total);
    fetch(&x, "model.embed_tokens.weight", table);
    for (int l = 0; l < LAYERS; l++) {
        size_t i = 0;
        snprintf(name, sizeof name, "model.layers.%d.mlp.gate.weight", l);
        fetch(&x, name, w);
        loss += global_loss(batches, s->dp, table, w, grad);
        while (strcmp(got.name[i], name))
            i++;
        for (int k = 0; k < EXPERTS * HIDDEN; k++)
            want[k] = (float)(0.01 * grad[k]);
        double d = rel_l2(got.grad[i], want, EXPERTS * HIDDEN);
        ck_assert_msg(d <= 1e-4, "%s: gradient is %g off", name, d);
    }
    ranked_near("global loss", total.aux, loss, 1e-5);
    ranked_close(&x);
    ranked_free(&got);
    ranked.z = 0.01;
    ranked.always_global = 0;
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ranks_formulas");
    TCase *tc = tcase_create("ranks_formulas");
    tcase_set_timeout(tc, 120);
    if (ranked_samples()) {
        tcase_add_loop_test(tc, test_masks, 12, 13); /* qwen2 over two data-parallel ranks */
    } else {
        tcase_add_loop_test(tc, test_masks, 0, 30);
        tcase_add_loop_test(tc, test_global_aux, 0, 5);
    }
    suite_add_tcase(s, tc);
    return run_suite(s);
}
