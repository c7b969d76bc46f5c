/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_shard.c - the optimizer shared out over ranks: who has what, how gradients are added, and
 * that all ranks end with the weights that one rank with the sum of the gradients has. */
#include "dist/dist.h"
#include "libadamw.h"
#include "libgolden.h"
#include "librun.h"
#include "train/optim.h"
#include "train/shard.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

#define MAX_RANKS 4
#define N 960 /* elements of the bank: five tensors and padding between them */
#define STEPS 3

static const struct br__shard_tensor tensors[] = {
    {0, 0, 7, 1}, {0, 16, 300, 1}, {0, 320, 1, 1}, {0, 336, 200, 0}, {0, 544, 400, 1}};
#define N_TENSORS BR_COUNTOF(tensors)

struct setting {
    uint32_t ranks;
    int half, whole, sums, average;
};
static const struct setting settings[] = {
    {1, BR_NONE, 0, BR_F32, 0},  {2, BR_NONE, 0, BR_F32, 0},  {4, BR_NONE, 0, BR_F32, 1},
    {2, BR_NONE, 1, BR_F32, 0},  {4, BR_NONE, 1, BR_BF16, 1}, {1, BR_BF16, 0, BR_F32, 0},
    {2, BR_BF16, 0, BR_F32, 0},  {4, BR_BF16, 0, BR_BF16, 0}, {4, BR_F16, 0, BR_F32, 0},
    {2, BR_BF16, 0, BR_BF16, 1},
};

static int is_padding(size_t i)
{
    for (size_t k = 0; k < N_TENSORS; k++)
        if (i >= tensors[k].at && i < tensors[k].at + tensors[k].n)
            return 0;
    return 1;
}

static float begin_of(size_t i)
{
    return is_padding(i) ? 0 : (float)sin((double)i);
}

static float grad_of(uint32_t rank, int step, size_t i)
{
    return is_padding(i) ? 0 : (float)cos((double)i * (rank + 2) + step);
}

static float rounded(float x, int dtype)
{
    uint16_t half;

    if (dtype == BR_NONE || dtype == BR_F32)
        return x;
    br_cast(&half, dtype, &x, BR_F32, 1, 0);
    br_cast(&x, BR_F32, &half, dtype, 1, 0);
    return x;
}

/* The gradient of a step by the rules alone. */
static float want_grad(const struct setting *s, int step, size_t i)
{
    float sum = 0, scale = 1 / (float)s->ranks;

    for (uint32_t r = 0; r < s->ranks; r++) {
        float g = grad_of(r, step, i) * (s->average ? 1 : scale);
        sum += rounded(g, s->ranks > 1 ? s->sums : BR_F32);
    }
    if (s->ranks > 1)
        sum = rounded(sum, s->sums);
    return s->average ? sum * scale : sum;
}

static struct br__adamw hyper_of(int step)
{
    const struct br__adamw_opts o = {.lr = 0.01,
                                     .weight_decay = 0.1,
                                     .beta1 = 0.9,
                                     .beta2 = 0.95,
                                     .eps = 1e-8,
                                     .step = step + 1,
                                     .grad_scale = 1};
    return br__adamw_make(&o);
}

/* ---- ranks ----------------------------------------------------------------------------------- */

struct rank {
    struct br__shard shard;
    float main[N], grad[N];
    uint16_t half[N];
};
struct job {
    const struct setting *s;
    struct br__world *world;
    struct br__device dev[MAX_RANKS];
    struct rank *ranks;
};

static int rank_open(void *arg, uint32_t rank, struct br_err *e)
{
    struct job *j = arg;
    struct rank *r = &j->ranks[rank];
    int sharded = j->s->half != BR_NONE && !j->s->whole;

    for (size_t i = 0; i < N; i++) {
        r->main[i] = rounded(begin_of(i), j->s->half);
        if (j->s->half)
            br_cast(&r->half[i], j->s->half, &r->main[i], BR_F32, 1, 0);
    }
    const struct br__bank bank = {.comm = br__world_rank(j->world, rank)->comms[BR_GROUP_DP_CP],
                                  .n = N,
                                  .grad = r->grad,
                                  .main = sharded ? NULL : r->main,
                                  .half = j->s->half ? r->half : NULL,
                                  .scale = 1 / (float)j->s->ranks};
    const struct br__shard_opts o = {.device = &j->dev[rank],
                                     .banks = &bank,
                                     .n_banks = 1,
                                     .tensors = tensors,
                                     .n_tensors = N_TENSORS,
                                     .whole = j->s->whole,
                                     .half = j->s->half,
                                     .sums = j->s->sums,
                                     .average = j->s->average};
    return br__shard_open(&r->shard, &o, e);
}

static int rank_steps(void *arg, uint32_t rank, struct br_err *e)
{
    struct job *j = arg;
    struct rank *r = &j->ranks[rank];
    int rc = BR_OK;

    for (int step = 0; step < STEPS && !rc; step++) {
        const struct br__adamw h = hyper_of(step);
        for (size_t i = 0; i < N; i++)
            r->grad[i] = grad_of(rank, step, i);
        rc = br__shard_reduce(&r->shard, 0, e);
        for (size_t i = 0; i < r->shard.n_shares && !rc; i++) {
            const struct br__share *x = &r->shard.shares[i];
            const struct br__adamw_arrays a = {x->n, x->main, x->m, x->v, x->grad, NULL};
            for (size_t k = 0; k < x->n && !rc; k++)
                if (x->grad[k] != want_grad(j->s, step, tensors[x->tensor].at + x->from + k))
                    rc = br_fail(e, BR_E_NUMERIC, "step %d: a gradient is %.9g", step, x->grad[k]);
            if (!rc)
                rc = br__adamw_step(&j->dev[rank], &h, &a, e);
        }
        if (!rc)
            rc = br__shard_gather(&r->shard, 0, 0, e);
    }
    return rc;
}

/* ---- the test -------------------------------------------------------------------------------- */

static void want_weights(const struct setting *s, float *want)
{
    float m[N] = {0}, v[N] = {0}, grad[N];

    for (size_t i = 0; i < N; i++)
        want[i] = rounded(begin_of(i), s->half);
    for (int step = 0; step < STEPS; step++) {
        const struct br__adamw h = hyper_of(step);
        const struct br__adamw_arrays a = {N, want, m, v, grad, NULL};
        for (size_t i = 0; i < N; i++)
            grad[i] = want_grad(s, step, i);
        adamw_reference(&h, &a);
    }
}

/* Each element of each tensor is updated, and counted where its tensor is, by one rank, or by all
 * of which one counts it. */
static void check_shares(const struct job *j)
{
    for (size_t k = 0; k < N_TENSORS; k++)
        for (size_t i = 0; i < tensors[k].n; i++) {
            uint32_t has = 0, counts = 0;
            for (uint32_t r = 0; r < j->s->ranks; r++)
                for (size_t x = 0; x < j->ranks[r].shard.n_shares; x++) {
                    const struct br__share *sp = &j->ranks[r].shard.shares[x];
                    int in = sp->tensor == k && i >= sp->from && i < sp->from + sp->n;
                    has += in != 0;
                    counts += in && sp->counts;
                }
            ck_assert_uint_eq(has, j->s->whole ? j->s->ranks : 1);
            ck_assert_uint_eq(counts, (uint32_t)tensors[k].counts);
        }
}

/* Twelve bytes a parameter, shared out: main weights of the banks among it. */
static void check_bytes(const struct job *j)
{
    size_t params = 0, share = j->s->whole ? 1 : j->s->ranks;
    int has_main = j->s->half == BR_NONE || j->s->whole;
    uint64_t all = 0;

    for (size_t k = 0; k < N_TENSORS; k++)
        params += tensors[k].n;
    for (uint32_t r = 0; r < j->s->ranks; r++) {
        all += j->ranks[r].shard.bytes;
        ck_assert_uint_le(j->ranks[r].shard.bytes, (has_main ? 8 : 12) * N / share);
    }
    ck_assert_uint_eq(all, (has_main ? 8 : 12) * params * (j->s->whole ? j->s->ranks : 1));
}

START_TEST(test_sharing)
{
    const struct setting *s = &settings[_i];
    struct job j = {.s = s, .ranks = calloc(s->ranks, sizeof(struct rank))};
    void *devices[MAX_RANKS];
    struct br_topo topo;
    float want[N];

    for (uint32_t r = 0; r < s->ranks; r++) {
        must(br__device_open(&j.dev[r], "cpu", NULL, r, 1, &err), &err);
        devices[r] = j.dev[r].device;
    }
    must(br_topo_make(&topo, 1, 1, 1, 1, 1, s->ranks, &err), &err);
    must(br__world_open(&j.world, &topo, j.dev[0].backend.plane, devices, 0, &err), &err);
    must(br__world_run(j.world, rank_open, &j, &err), &err);
    check_shares(&j);
    check_bytes(&j);
    must(br__world_run(j.world, rank_steps, &j, &err), &err);
    want_weights(s, want);
    for (uint32_t r = 0; r < s->ranks; r++) {
        for (size_t i = 0; i < N; i++) {
            float got = j.ranks[r].main[i];
            if (s->half)
                br_cast(&got, BR_F32, &j.ranks[r].half[i], s->half, 1, 0);
            ck_assert_msg(is_padding(i) || got == rounded(want[i], s->half),
                          "rank %u: weight %zu is %.9g, expected %.9g", r, i, got, want[i]);
        }
        br__shard_close(&j.ranks[r].shard);
    }
    br__world_close(j.world);
    for (uint32_t r = 0; r < s->ranks; r++)
        br__device_close(&j.dev[r]);
    free(j.ranks);
}
END_TEST

/* ---- numbers --------------------------------------------------------------------------------- */

static const double numbers[3] = {1e300, 1.0, -1e300};
static double got[3];

static int rank_sum(void *arg, uint32_t rank, struct br_err *e)
{
    double x[2] = {numbers[rank], rank};
    int rc = br__sum_doubles(br__world_rank(arg, rank)->comms[BR_GROUP_WORLD], x, 2, e);

    got[rank] = x[0] + x[1];
    return rc;
}

/* In the order of the ranks, in float64: (1e300 + 1) - 1e300 is 0. */
START_TEST(test_doubles)
{
    struct br__world *w;
    struct br__device dev;
    struct br_topo topo;
    double alone = 7;

    must(br__device_open(&dev, "cpu", NULL, 0, 1, &err), &err);
    void *devices[3] = {dev.device, dev.device, dev.device};
    must(br_topo_make(&topo, 1, 1, 1, 1, 1, 3, &err), &err);
    must(br__world_open(&w, &topo, dev.backend.plane, devices, 0, &err), &err);
    must(br__world_run(w, rank_sum, w, &err), &err);
    for (int r = 0; r < 3; r++)
        ck_assert_double_eq(got[r], 3);
    br__world_close(w);
    br__device_close(&dev);
    must(br__sum_doubles(NULL, &alone, 1, &err), &err);
    ck_assert_double_eq(alone, 7);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("shard");
    TCase *tc = tcase_create("shard");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, test_sharing, 0, BR_COUNTOF(settings));
    tcase_add_test(tc, test_doubles);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
