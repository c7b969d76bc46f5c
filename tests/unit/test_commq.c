/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_commq.c - jobs of communication beside what the ranks do themselves: the same numbers, the
 * order of posting, and an end whoever fails. */
#include "dist/dist.h"
#include "libgolden.h"
#include "librun.h"

#include <check.h>

#define RANKS 4 /* tp 2, dp 2 */
#define TP 2
#define JOBS 20
#define N 1000

static struct br_err err;

/* A sum over the ranks of a group, and which job of its rank ran before it. */
struct sum {
    struct br__comm_job job;
    struct br_comm *comm;
    int *n_run, number;
    float x[N];
};

static int run_sum(void *arg, struct br_err *e)
{
    struct sum *s = arg;
    s->number = (*s->n_run)++;
    return s->comm->ops->all_reduce(s->comm, s->x, N, BR_F32, e);
}

static float value(uint32_t rank, int job, int i)
{
    return (float)rank + 0.1f * (float)job + 1e-3f * (float)i;
}

/* Even jobs sum over DP, odd ones over all. */
static int check_sum(const struct sum *s, uint32_t rank, int job, struct br_err *e)
{
    uint32_t first = job % 2 ? 0 : rank % TP, step = job % 2 ? 1 : TP;
    for (int i = 0; i < N; i++) {
        float want = value(first, job, i);
        for (uint32_t r = first + step; r < RANKS; r += step)
            want += value(r, job, i);
        if (s->x[i] != want)
            return br_fail(e, BR_E_NUMERIC, "job %d: element %d is %.9g, expected %.9g", job, i,
                           s->x[i], want);
    }
    return BR_OK;
}

static struct sum *new_sums(const struct br__rank_info *r, int *n_run)
{
    struct sum *s = br__calloc(JOBS, sizeof *s);
    ck_assert_ptr_nonnull(s);
    for (int k = 0; k < JOBS; k++) {
        s[k].comm = r->comms[k % 2 ? BR_GROUP_WORLD : BR_GROUP_DP];
        s[k].n_run = n_run;
        s[k].job = (struct br__comm_job){.run = run_sum, .arg = &s[k]};
        for (int i = 0; i < N; i++)
            s[k].x[i] = value(r->rank, k, i);
    }
    return s;
}

/* Half of the jobs, sums of the rank's own in between, the other half; all as without a queue. */
static int rank_sums(void *arg, uint32_t rank, struct br_err *e)
{
    const struct br__rank_info *r = br__world_rank(arg, rank);
    struct br_comm *world = r->comms[BR_GROUP_WORLD];
    int rc = BR_OK, n_run = 0;
    struct sum *s = new_sums(r, &n_run);
    for (int k = 0; k < JOBS && !rc; k++) {
        int32_t one = k;
        rc = br__commq_post(r->queue, &s[k].job, e);
        if (!rc && k % 5 == 4)
            rc = world->ops->all_reduce(world, &one, 1, BR_I32, e);
        if (!rc && k % 5 == 4 && one != k * RANKS)
            rc = br_fail(e, BR_E_NUMERIC, "the ranks' own sum is %d after job %d", one, k);
    }
    for (int k = JOBS; k-- > 0 && !rc;) { /* a later one is waited for first */
        rc = br__commq_wait(&s[k].job, e);
        if (!rc)
            rc = check_sum(&s[k], rank, k, e);
        if (!rc && s[k].number != k)
            rc = br_fail(e, BR_E_NUMERIC, "job %d ran as number %d", k, s[k].number);
    }
    br__commq_settle(r->queue, rc);
    br__free(s);
    return rc;
}

static int fail_now(void *arg, struct br_err *e)
{
    (void)arg;
    return br_fail(e, BR_E_NOSPC, "the disk is full");
}

/* Rank 1 has a job that fails where the others have a sum. */
static int rank_job_fails(void *arg, uint32_t rank, struct br_err *e)
{
    const struct br__rank_info *r = br__world_rank(arg, rank);
    int n_run = 0;
    struct sum *s = new_sums(r, &n_run);
    struct br__comm_job bad = {.run = fail_now};
    int rc = br__commq_post(r->queue, rank == 1 ? &bad : &s[0].job, e);
    if (!rc)
        rc = br__commq_wait(rank == 1 ? &bad : &s[0].job, e);
    br__commq_settle(r->queue, rc);
    br__free(s);
    return rc;
}

/* Rank 1 fails with jobs posted that the others never post: they wait for it in a sum. */
static int rank_fails(void *arg, uint32_t rank, struct br_err *e)
{
    const struct br__rank_info *r = br__world_rank(arg, rank);
    struct br_comm *world = r->comms[BR_GROUP_WORLD];
    int rc = BR_OK, n_run = 0;
    struct sum *s = new_sums(r, &n_run);
    float x[4] = {0};
    for (int k = 0; k < JOBS && rank == 1 && !rc; k++)
        rc = br__commq_post(r->queue, &s[k].job, e);
    if (!rc)
        rc = rank == 1 ? br_fail(e, BR_E_NOSPC, "the disk is full")
                       : world->ops->all_reduce(world, x, 4, BR_F32, e);
    br__commq_settle(r->queue, rc);
    br__free(s);
    return rc;
}

static struct br__world *open_world(void)
{
    struct br__world *w;
    struct br_topo topo;
    void *devices[RANKS] = {0};
    must(br_topo_make(&topo, TP, 1, 1, 1, 1, RANKS, &err), &err);
    must(br__world_open(&w, &topo, &br__local_plane, devices, 0, &err), &err);
    return w;
}

START_TEST(test_sums)
{
    struct br__world *w = open_world();
    for (int i = 0; i < 3; i++)
        must(br__world_run(w, rank_sums, w, &err), &err);
    br__world_close(w);
}
END_TEST

START_TEST(test_failures)
{
    int (*const fns[])(void *, uint32_t, struct br_err *) = {rank_job_fails, rank_fails};
    for (size_t i = 0; i < BR_COUNTOF(fns); i++) {
        struct br__world *w = open_world();
        ck_assert_int_eq(br__world_run(w, fns[i], w, &err), BR_E_NOSPC);
        ck_assert_str_eq(err.msg, "the disk is full");
        br__world_close(w);
    }
}
END_TEST

/* A queue that nobody used, and one that a rank alone has not. */
START_TEST(test_none)
{
    struct br__world *w = open_world();
    ck_assert_ptr_nonnull(br__world_rank(w, 0)->queue);
    br__world_close(w);
    struct br_topo topo;
    must(br_topo_make(&topo, 1, 1, 1, 1, 1, 1, &err), &err);
    must(br__world_open(&w, &topo, &br__local_plane, NULL, 0, &err), &err);
    ck_assert_ptr_null(br__world_rank(w, 0)->queue);
    br__commq_settle(br__world_rank(w, 0)->queue, BR_E_IO);
    br__world_close(w);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("commq");
    TCase *tc = tcase_create("commq");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, test_sums);
    tcase_add_test(tc, test_failures);
    tcase_add_test(tc, test_none);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
