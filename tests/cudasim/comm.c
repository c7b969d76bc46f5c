/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* comm.c - the collectives of the CUDA backend between simulated devices: what they give, groups,
 * what is refused, and what becomes of ranks when one gives up or does not come.
 *
 * Every rank is a thread with a device, and keeps what went wrong; check's asserts are for the main
 * thread. */
#include "../unit/librun.h"
#include "graph/graph.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANKS 4
#define N 24 /* elements of a rank */

struct rank {
    uint32_t index, size;
    unsigned char id[BR_COMM_ID];
    void (*fn)(struct rank *r);
    pthread_t thread;
    struct br__device dev;
    struct br_comm *comm;
    struct br_err err;
    char wrong[1200];
};

#define MUST(r, cond, ...)                                                                         \
    do {                                                                                           \
        if (!(cond) && !(r)->wrong[0])                                                             \
            snprintf((r)->wrong, sizeof(r)->wrong, __VA_ARGS__);                                   \
    } while (0)
#define CALL(r, call) MUST(r, (call) == BR_OK, "line %d: %s", __LINE__, (r)->err.msg)
/* The call is refused with this text. */
#define REFUSED(r, call, text)                                                                     \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        MUST(r, rc_ == BR_E_COMM && strstr((r)->err.msg, text) != NULL, "line %d: %d: %s",         \
             __LINE__, rc_, (r)->err.msg);                                                         \
    } while (0)

static pthread_barrier_t joined;

static void *start(void *arg)
{
    struct rank *r = arg;
    const char *dir = getenv("BRIDGE_PLUGIN_PATH");
    r->err = (struct br_err)BR_ERR_INIT;
    CALL(r, br__device_open(&r->dev, "cuda", &(struct br__dirs){&dir, 1}, r->index, 1, &r->err));
    if (!r->wrong[0])
        CALL(r, r->dev.backend.plane->join(r->dev.device, r->id, r->index, r->size, &r->comm,
                                           &r->err));
    pthread_barrier_wait(&joined); /* one that gives up ends also who has not joined */
    if (!r->wrong[0])
        r->fn(r);
    if (r->comm)
        r->comm->ops->close(r->comm);
    br__device_close(&r->dev);
    return NULL;
}

static void run_ranks(uint32_t size, void (*fn)(struct rank *r))
{
    static struct rank ranks[MAX_RANKS];
    const char *dir = getenv("BRIDGE_PLUGIN_PATH");
    struct br__device dev;
    struct br_err err = BR_ERR_INIT;
    unsigned char id[BR_COMM_ID];
    /* The module stays loaded when this device is closed. */
    ck_assert_msg(!br__device_open(&dev, "cuda", &(struct br__dirs){&dir, 1}, 0, 1, &err), "%s",
                  err.msg);
    ck_assert_msg(!dev.backend.plane->id(id, &err), "%s", err.msg);
    br__device_close(&dev);
    pthread_barrier_init(&joined, NULL, size);
    for (uint32_t i = 0; i < size; i++) {
        ranks[i] = (struct rank){.index = i, .size = size, .fn = fn};
        memcpy(ranks[i].id, id, sizeof id);
        ck_assert_int_eq(pthread_create(&ranks[i].thread, NULL, start, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < size; i++)
        pthread_join(ranks[i].thread, NULL);
    pthread_barrier_destroy(&joined);
    for (uint32_t i = 0; i < size; i++)
        ck_assert_msg(!ranks[i].wrong[0], "rank %u of %u: %s", i, size, ranks[i].wrong);
}

/* ---- memory of a rank's device --------------------------------------------------------------- */

/* What rank r brings: 100 r + i. */
static float brought(uint32_t r, size_t i)
{
    return 100.0f * (float)r + (float)i;
}

/* What ranks first, first + step, ... bring to element i. */
static float sum_of(uint32_t first, uint32_t step, uint32_t size, size_t i)
{
    float sum = 0;
    for (uint32_t k = first; k < size; k += step)
        sum += brought(k, i);
    return sum;
}

static float *make(struct rank *r, size_t n)
{
    float host[MAX_RANKS * N];
    float *p = br__device_alloc(&r->dev, n * sizeof *p);
    MUST(r, p != NULL, "no memory");
    for (size_t i = 0; i < n; i++)
        host[i] = brought(r->index, i);
    if (p)
        CALL(r, r->dev.backend.upload(r->dev.device, p, host, n * sizeof *p, &r->err));
    return p;
}

/* Waits for the device, and compares; drops p. */
static void check(struct rank *r, float *p, const float *want, size_t n, const char *what)
{
    float host[MAX_RANKS * N];
    CALL(r, br__device_fetch(&r->dev, host, p, n * sizeof *p, &r->err));
    for (size_t i = 0; i < n; i++)
        MUST(r, host[i] == want[i], "%s: element %zu is %g, expected %g", what, i, (double)host[i],
             (double)want[i]);
    br__device_free(&r->dev, p);
}

/* ---- what collectives give ------------------------------------------------------------------- */

static void sums(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    float want[MAX_RANKS * N], *x = make(r, N), *all = make(r, r->size * N), *mine = make(r, N);
    for (size_t i = 0; i < N; i++)
        want[i] = sum_of(0, 1, r->size, i);
    CALL(r, o->all_reduce(r->comm, x, N, BR_F32, &r->err));
    CALL(r, o->all_reduce(r->comm, x, 0, BR_F32, &r->err));
    check(r, x, want, N, "all_reduce");
    CALL(r, o->reduce_scatter(r->comm, mine, all, N, BR_F32, &r->err));
    for (size_t i = 0; i < N; i++)
        want[i] = sum_of(0, 1, r->size, r->index * N + i);
    check(r, mine, want, N, "reduce_scatter");
    br__device_free(&r->dev, all);
}

static void copies(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    const uint32_t root = r->size - 1;
    float want[MAX_RANKS * N], *x = make(r, N), *all = make(r, r->size * N);
    for (size_t i = 0; i < r->size * N; i++)
        want[i] = brought((uint32_t)(i / N), i % N);
    CALL(r, o->all_gather(r->comm, all, x, N, BR_F32, &r->err));
    check(r, all, want, r->size * N, "all_gather");
    for (size_t i = 0; i < N; i++)
        want[i] = brought(root, i);
    CALL(r, o->broadcast(r->comm, x, N, BR_F32, root, &r->err));
    check(r, x, want, N, "broadcast");
}

/* Rank r sends k + 1 elements to rank k, and nothing to rank 0; of 16 bits, two in a float. */
static void exchanged(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    size_t send[MAX_RANKS], recv[MAX_RANKS], n = 0, at = 0;
    float want[MAX_RANKS * N], *in = make(r, N), *out = make(r, N);
    for (uint32_t k = 0; k < r->size; k++) {
        send[k] = k ? 2 * (k + 1) : 0;
        recv[k] = r->index ? 2 * (r->index + 1) : 0;
    }
    for (uint32_t k = 1; k < r->index; k++)
        at += k + 1;
    for (uint32_t k = 0; k < r->size; k++)
        for (size_t i = 0; i < recv[k] / 2; i++)
            want[n++] = brought(k, at + i);
    CALL(r, o->all_to_all(r->comm, out, recv, in, send, BR_BF16, &r->err));
    check(r, out, want, n, "all_to_all");
    br__device_free(&r->dev, in);
}

/* Around a ring, and in groups of even and odd ranks. */
static void rings(struct rank *r)
{
    const uint32_t next = (r->index + 1) % r->size, before = (r->index + r->size - 1) % r->size;
    float want[N], *in = make(r, N), *out = make(r, N);
    const struct br_p2p ops[] = {{in, N, BR_F32, next, 1, 0}, {out, N, BR_F32, before, 0, 0}};
    struct br_comm *group = NULL;
    CALL(r, r->comm->ops->exchange(r->comm, ops, 2, &r->err));
    for (size_t i = 0; i < N; i++)
        want[i] = brought(before, i);
    check(r, out, want, N, "exchange");
    CALL(r, r->comm->ops->split(r->comm, r->index % 2, 9 - r->index, &group, &r->err));
    MUST(r, group && group->size == r->size / 2, "a group of %u", group ? group->size : 0);
    MUST(r, group && group->rank == group->size - 1 - r->index / 2, "rank %u of its group",
         group ? group->rank : 0);
    if (!group)
        return;
    CALL(r, group->ops->all_reduce(group, in, N, BR_F32, &r->err));
    for (size_t i = 0; i < N; i++)
        want[i] = sum_of(r->index % 2, 2, r->size, i);
    check(r, in, want, N, "all_reduce of a group");
    group->ops->close(group);
}

/* One communicator's calls on both streams of the device: they go one after another, and what the
 * second was given is there once the first has joined it. */
static void streams(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    float want[N], twice[N], *x = make(r, N), *y = make(r, N);
    for (size_t i = 0; i < N; i++) {
        want[i] = sum_of(0, 1, r->size, i);
        twice[i] = want[i] * (float)r->size;
    }
    for (int k = 0; k < 2; k++) {
        CALL(r, br__device_stream(&r->dev, BR_STREAM_SECOND, &r->err));
        CALL(r, o->all_reduce(r->comm, x, N, BR_F32, &r->err));
        CALL(r, br__device_stream(&r->dev, BR_STREAM_FIRST, &r->err));
        if (k == 0)
            CALL(r, o->all_reduce(r->comm, y, N, BR_F32, &r->err));
    }
    CALL(r, br__device_stream(&r->dev, BR_STREAM_JOIN, &r->err));
    check(r, x, twice, N, "all_reduce on the second stream");
    check(r, y, want, N, "all_reduce on the first stream");
}

static void (*const results[])(struct rank *r) = {sums, copies, exchanged, rings, streams};

START_TEST(test_results)
{
    for (uint32_t size = 2; size <= MAX_RANKS; size += 2)
        run_ranks(size, results[_i]);
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* Every rank asks for the same, so that none waits. */
static void asks_for_wrong(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    float want[N], *x = make(r, N);
    const struct br_p2p far_away = {x, N, BR_F32, 9, 1, 0}, odd = {x, N, BR_F8_E4M3, 0, 1, 0};
    const size_t counts[MAX_RANKS] = {0};
    REFUSED(r, o->all_reduce(r->comm, x, N, BR_F8_E4M3, &r->err), "expected float32, bfloat16");
    REFUSED(r, o->all_gather(r->comm, x, x, N, BR_F8_E4M3, &r->err), "expected float32");
    REFUSED(r, o->reduce_scatter(r->comm, x, x, N, BR_F8_E4M3, &r->err), "expected float32");
    REFUSED(r, o->broadcast(r->comm, x, N, BR_F32, 7, &r->err), "broadcast: rank 7 of 2");
    REFUSED(r, o->exchange(r->comm, &far_away, 1, &r->err), "exchange: rank 9 of 2");
    REFUSED(r, o->exchange(r->comm, &odd, 1, &r->err), "expected float32");
    /* and goes on */
    CALL(r, o->all_to_all(r->comm, x, counts, x, counts, BR_I64, &r->err));
    CALL(r, o->all_reduce(r->comm, x, N, BR_I32, &r->err));
    CALL(r, o->all_gather(r->comm, x, x, 0, BR_F16, &r->err));
    br__device_free(&r->dev, x);
    x = make(r, N);
    for (size_t i = 0; i < N; i++)
        want[i] = brought(r->index, i);
    check(r, x, want, N, "memory");
}

/* Rank 0 gives up; the others find out while they wait, and so does a call after that. */
static void gives_up(struct rank *r)
{
    const struct br_comm_ops *o = r->comm->ops;
    float *x = make(r, N);
    if (r->index == 0) {
        o->abort(r->comm);
        br__device_free(&r->dev, x);
        return;
    }
    int rc = o->all_reduce(r->comm, x, N, BR_F32, &r->err);
    if (!rc)
        rc = r->dev.backend.sync(r->dev.device, &r->err);
    MUST(r, rc == BR_E_COMM && strstr(r->err.msg, "another rank gave up"), "%d: %s", rc,
         r->err.msg);
    REFUSED(r, o->all_reduce(r->comm, x, N, BR_F32, &r->err), "another rank gave up");
    br__device_free(&r->dev, x);
}

/* Rank 0 does not come. */
static void stays_away(struct rank *r)
{
    float *x = make(r, N);
    r->comm->ops->describe(r->comm, "tp: ranks 4, 6", 0);
    if (r->index != 0) {
        CALL(r, r->comm->ops->all_reduce(r->comm, x, N, BR_F32, &r->err));
        REFUSED(r, r->dev.backend.sync(r->dev.device, &r->err),
                "rank 1 of 2 (tp: ranks 4, 6): all_reduce: no answer from the others for");
    }
    br__device_free(&r->dev, x);
}

/* Rank 0 has given up and is gone before rank 1 comes. */
START_TEST(test_gave_up_before)
{
    const char *dir = getenv("BRIDGE_PLUGIN_PATH");
    struct br_err err = BR_ERR_INIT;
    struct br_comm *c;
    unsigned char id[BR_COMM_ID];
    setenv("BRIDGE_COMM_TIMEOUT", "0.5", 1);
    for (uint32_t i = 0; i < 2; i++) {
        struct br__device d;
        ck_assert_int_eq(br__device_open(&d, "cuda", &(struct br__dirs){&dir, 1}, i, 1, &err), 0);
        if (i == 0)
            ck_assert_int_eq(d.backend.plane->id(id, &err), 0);
        ck_assert_int_eq(d.backend.plane->join(d.device, id, i, 2, &c, &err), BR_E_COMM);
        ck_assert_msg(strstr(err.msg, i ? "another rank gave up" : "no answer from the others"),
                      "rank %u: %s", i, err.msg);
        br__device_close(&d);
    }
}
END_TEST

static void (*const faults[])(struct rank *r) = {asks_for_wrong, gives_up, stays_away};

START_TEST(test_faults)
{
    setenv("BRIDGE_COMM_TIMEOUT", "0.5", 1);
    run_ranks(2, faults[_i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cuda comm");
    TCase *tc = tcase_create("comm");
    tcase_add_loop_test(tc, test_results, 0, BR_COUNTOF(results));
    tcase_add_test(tc, test_gave_up_before);
    tcase_add_loop_test(tc, test_faults, 0, BR_COUNTOF(faults));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
