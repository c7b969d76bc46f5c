/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_comm.c - the collectives of threads, in groups of one to eight ranks.
 *
 * Every rank is a thread and reports what it saw; check's own asserts are for the main thread.
 * What a collective must give is computed here from what all ranks put in. */
#include "../../core/base/base.h"
#include "librun.h"
#include <bridge/backend.h>

#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_RANKS 8
#define MAX_N 3000 /* more than a block of the sums, for each of eight ranks */

/* ---- ranks as threads ------------------------------------------------------------------------ */

struct rank {
    struct br_comm *comm;
    void (*fn)(struct rank *r);
    const void *arg;
    pthread_t thread;
    int rc; /* of the last call, for those who expect an error */
    struct br_err err;
    char wrong[1100]; /* "": all was well */
};

#define MUST(r, cond, ...)                                                                         \
    do {                                                                                           \
        if (!(cond) && !(r)->wrong[0])                                                             \
            snprintf((r)->wrong, sizeof(r)->wrong, __VA_ARGS__);                                   \
    } while (0)
#define CALL(r, call)                                                                              \
    do {                                                                                           \
        int rc_ = (call);                                                                          \
        MUST(r, rc_ == 0, "line %d: %s", __LINE__, (r)->err.msg);                                  \
    } while (0)

static void *start(void *arg)
{
    struct rank *r = arg;
    r->fn(r);
    r->comm->ops->close(r->comm);
    return NULL;
}

/* The ends of a world of n ranks. */
static int make_world(struct br_comm **comms, uint32_t n, struct br_err *err)
{
    unsigned char id[BR_COMM_ID];
    int rc = br__local_plane.id(id, err);
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = br__local_plane.join(NULL, id, i, n, &comms[i], err);
    return rc;
}

static void run(uint32_t n, void (*fn)(struct rank *r), const void *arg, struct rank ranks[])
{
    struct br_comm *comms[MAX_RANKS];
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(make_world(comms, n, &err) == 0, "%s", err.msg);
    for (uint32_t i = 0; i < n; i++) {
        ranks[i] = (struct rank){.comm = comms[i], .fn = fn, .arg = arg};
        ck_assert_int_eq(pthread_create(&ranks[i].thread, NULL, start, &ranks[i]), 0);
    }
    for (uint32_t i = 0; i < n; i++)
        ck_assert_int_eq(pthread_join(ranks[i].thread, NULL), 0);
}

static void run_well(uint32_t n, void (*fn)(struct rank *r), const void *arg)
{
    struct rank ranks[MAX_RANKS];
    run(n, fn, arg, ranks);
    for (uint32_t i = 0; i < n; i++)
        ck_assert_msg(!ranks[i].wrong[0], "rank %" PRIu32 " of %" PRIu32 ": %s", i, n,
                      ranks[i].wrong);
}

/* ---- values ---------------------------------------------------------------------------------- */

static const uint32_t dtypes[] = {BR_F32, BR_BF16, BR_F16, BR_I32, BR_I64};

/* Element i of rank r: values whose float sums depend on the order in which they are added. */
static double value(uint32_t dtype, uint32_t r, size_t i)
{
    uint64_t h = (r * UINT64_C(0x9E3779B97F4A7C15)) ^ (i * UINT64_C(0xBF58476D1CE4E5B9));
    h ^= h >> 31;
    h *= UINT64_C(0x94D049BB133111EB);
    h ^= h >> 29;
    if (!br_dtype_is_float((int)dtype))
        return (double)(int32_t)(h & 0xFFFFF) - 0x80000;
    int exponents = dtype == BR_F16 ? 8 : 32; /* sums must not overflow */
    return ldexp((double)(h & 0xFFFFF) - 0x7FFFF.8p0, (int)(h >> 20 & 31) % exponents - 20);
}

static void put(void *p, uint32_t dtype, size_t i, double v)
{
    char *at = (char *)p + i * br_dtype_size((int)dtype);
    if (dtype == BR_I32)
        memcpy(at, &(int32_t){(int32_t)v}, 4);
    else if (dtype == BR_I64)
        memcpy(at, &(int64_t){(int64_t)v}, 8);
    else
        br_cast(at, (int)dtype, &v, BR_F64, 1, 0);
}

static double get(const void *p, uint32_t dtype, size_t i)
{
    const char *at = (const char *)p + i * br_dtype_size((int)dtype);
    int32_t narrow;
    int64_t wide;
    double v;
    if (dtype == BR_I32) {
        memcpy(&narrow, at, 4);
        return narrow;
    }
    if (dtype == BR_I64) {
        memcpy(&wide, at, 8);
        return (double)wide;
    }
    br_cast(&v, BR_F64, at, (int)dtype, 1, 0);
    return v;
}

/* The sum of ranks 0..n-1: added in their order, in float32, rounded once. */
static double sum(uint32_t dtype, uint32_t n, size_t i)
{
    uint64_t out;
    double whole = 0;
    float f = 0;
    for (uint32_t r = 0; r < n; r++) {
        uint64_t cell;
        put(&cell, dtype, 0, value(dtype, r, i));
        double v = get(&cell, dtype, 0);
        whole += v;
        f = r ? f + (float)v : (float)v;
    }
    put(&out, dtype, 0, br_dtype_is_float((int)dtype) ? (double)f : whole);
    return get(&out, dtype, 0);
}

static void *filled(const struct rank *r, uint32_t dtype, size_t n)
{
    void *p = calloc(n + 1, 8);
    for (size_t i = 0; i < n; i++)
        put(p, dtype, i, value(dtype, r->comm->rank, i));
    return p;
}

/* ---- collectives ----------------------------------------------------------------------------- */

static const size_t counts[] = {0, 1, 2, 7, 64, MAX_N};

static void do_all_reduce(struct rank *r)
{
    for (size_t t = 0; t < BR_COUNTOF(dtypes); t++)
        for (size_t k = 0; k < BR_COUNTOF(counts); k++) {
            uint32_t dtype = dtypes[t];
            size_t n = counts[k];
            void *buf = filled(r, dtype, n);
            CALL(r, r->comm->ops->all_reduce(r->comm, buf, n, dtype, &r->err));
            for (size_t i = 0; i < n; i++)
                MUST(r, get(buf, dtype, i) == sum(dtype, r->comm->size, i),
                     "%s %zu of %zu: %.9g is not %.9g", br_dtype_st((int)dtype), i, n,
                     get(buf, dtype, i), sum(dtype, r->comm->size, i));
            free(buf);
        }
}

static void do_reduce_scatter(struct rank *r)
{
    size_t size = r->comm->size;
    for (size_t t = 0; t < BR_COUNTOF(dtypes); t++)
        for (size_t k = 0; k < 2 * BR_COUNTOF(counts); k++) {
            uint32_t dtype = dtypes[t];
            size_t n = counts[k / 2] / MAX_RANKS, first = n * r->comm->rank;
            char *in = filled(r, dtype, n * size), *fresh = calloc(n + 1, 8);
            char *out = k % 2 ? in + first * br_dtype_size((int)dtype) : fresh; /* in place */
            CALL(r, r->comm->ops->reduce_scatter(r->comm, out, in, n, dtype, &r->err));
            for (size_t i = 0; i < n; i++)
                MUST(r, get(out, dtype, i) == sum(dtype, r->comm->size, first + i), "%s %zu of %zu",
                     br_dtype_st((int)dtype), i, n);
            free(in);
            free(fresh);
        }
}

static void do_all_gather(struct rank *r)
{
    size_t size = r->comm->size;
    for (size_t t = 0; t < BR_COUNTOF(dtypes); t++)
        for (size_t k = 0; k < 2 * BR_COUNTOF(counts); k++) {
            uint32_t dtype = dtypes[t];
            size_t n = counts[k / 2], bytes = n * br_dtype_size((int)dtype);
            char *in = filled(r, dtype, n), *out = calloc(n * size + 1, 8);
            char *mine = out + r->comm->rank * bytes;
            if (k % 2)
                memcpy(mine, in, bytes);
            CALL(r, r->comm->ops->all_gather(r->comm, out, k % 2 ? mine : in, n, dtype, &r->err));
            for (size_t i = 0; i < n * size; i++) {
                uint64_t want;
                put(&want, dtype, 0, value(dtype, (uint32_t)(i / n), i % n));
                MUST(r, get(out, dtype, i) == get(&want, dtype, 0), "%s %zu of %zu",
                     br_dtype_st((int)dtype), i, n);
            }
            free(in);
            free(out);
        }
}

static void do_broadcast(struct rank *r)
{
    for (size_t k = 0; k < BR_COUNTOF(counts); k++)
        for (uint32_t root = 0; root < r->comm->size; root++) {
            size_t n = counts[k];
            float *buf = filled(r, BR_F32, n);
            CALL(r, r->comm->ops->broadcast(r->comm, buf, n, BR_F32, root, &r->err));
            for (size_t i = 0; i < n; i++)
                MUST(r, buf[i] == (float)value(BR_F32, root, i), "%zu of %zu from %" PRIu32, i, n,
                     root);
            free(buf);
        }
}

/* Rank a sends (a * 3 + b * 5) % 7 elements to rank b in round 0, none or many later. */
static size_t sent(uint32_t a, uint32_t b, size_t round)
{
    return round == 0 ? (a * 3 + b * 5) % 7 : round == 1 ? 0 : (a + b) % 2 * 100;
}

static void do_all_to_all(struct rank *r)
{
    uint32_t size = r->comm->size, me = r->comm->rank;
    for (size_t round = 0; round < 3; round++) {
        size_t send_counts[MAX_RANKS], recv_counts[MAX_RANKS], n_in = 0, n_out = 0;
        for (uint32_t i = 0; i < size; i++) {
            n_in += send_counts[i] = sent(me, i, round);
            n_out += recv_counts[i] = sent(i, me, round);
        }
        int64_t *in = calloc(n_in + 1, sizeof *in), *out = calloc(n_out + 1, sizeof *out);
        size_t at = 0;
        for (uint32_t i = 0; i < size; i++)
            for (size_t j = 0; j < send_counts[i]; j++)
                in[at++] = (int64_t)(me * 10000 + i * 1000 + j);
        CALL(r, r->comm->ops->all_to_all(r->comm, n_out ? out : NULL, recv_counts, n_in ? in : NULL,
                                         send_counts, BR_I64, &r->err));
        at = 0;
        for (uint32_t i = 0; i < size; i++)
            for (size_t j = 0; j < recv_counts[i]; j++, at++)
                MUST(r, out[at] == (int64_t)(i * 10000 + me * 1000 + j), "%zu from %" PRIu32, j, i);
        free(in);
        free(out);
    }
}

START_TEST(collectives)
{
    static void (*const all[])(struct rank * r) = {do_all_reduce, do_reduce_scatter, do_all_gather,
                                                   do_broadcast, do_all_to_all};
    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        run_well((uint32_t)_i, all[i], NULL);
}
END_TEST

/* ---- integers wrap, all values of a NaN are NaN ---------------------------------------------- */

static void do_extremes(struct rank *r)
{
    int32_t narrow = INT32_MAX;
    int64_t wide = INT64_MIN;
    float f[2] = {r->comm->rank ? INFINITY : -INFINITY, 1};
    CALL(r, r->comm->ops->all_reduce(r->comm, &narrow, 1, BR_I32, &r->err));
    CALL(r, r->comm->ops->all_reduce(r->comm, &wide, 1, BR_I64, &r->err));
    CALL(r, r->comm->ops->all_reduce(r->comm, f, 2, BR_F32, &r->err));
    MUST(r, narrow == -2, "int32: %" PRId32, narrow);
    MUST(r, wide == 0, "int64: %" PRId64, wide);
    MUST(r, isnan(f[0]) && f[1] == 2, "%g %g", (double)f[0], (double)f[1]);
}

START_TEST(extremes)
{
    run_well(2, do_extremes, NULL);
}
END_TEST

/* ---- send and recv --------------------------------------------------------------------------- */

enum { ROUNDS = 50, LONGEST = 600 };

static int send_one(struct br_comm *c, const void *buf, size_t n, uint32_t dtype, uint32_t peer,
                    struct br_err *err)
{
    const struct br_p2p op = {(void *)(uintptr_t)buf, n, dtype, peer, .is_send = 1};
    return c->ops->exchange(c, &op, 1, err);
}
static int recv_one(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t peer,
                    struct br_err *err)
{
    return c->ops->exchange(c, &(struct br_p2p){buf, n, dtype, peer, .is_send = 0}, 1, err);
}

/* Every pair of ranks at once, three messages both ways, receives first: ranks that block would
 * deadlock. */
static void do_all_pairs(struct rank *r)
{
    enum { EACH = 3, N = 400 };
    static float out[MAX_RANKS][MAX_RANKS][EACH][N], in[MAX_RANKS][MAX_RANKS][EACH][N];
    struct br_p2p ops[2 * MAX_RANKS * EACH];
    uint32_t size = r->comm->size, me = r->comm->rank;
    for (int round = 0; round < ROUNDS / 5; round++) {
        size_t n = 0;
        for (int way = 0; way < 2; way++)
            for (uint32_t i = 0; i < size; i++)
                for (uint32_t k = 0; i != me && k < EACH; k++) {
                    float *buf = way ? out[me][i][k] : in[me][i][k];
                    for (int j = 0; way && j < N; j++)
                        buf[j] = (float)(me * 10000 + i * 1000 + k * 100 + (uint32_t)round);
                    ops[n++] =
                        (struct br_p2p){buf, N - k, BR_F32, i, .is_send = (uint32_t)way, .tag = k};
                }
        CALL(r, r->comm->ops->exchange(r->comm, ops, n, &r->err));
        for (uint32_t i = 0; i < size; i++)
            for (uint32_t k = 0; i != me && k < EACH; k++)
                for (uint32_t j = 0; j < N - k; j++)
                    MUST(r,
                         in[me][i][k][j] ==
                             (float)(i * 10000 + me * 1000 + k * 100 + (uint32_t)round),
                         "round %d: %g from %" PRIu32, round, (double)in[me][i][k][j], i);
    }
}

/* Round by round, the ring and every pair of it that is ready; sizes differ, some are zero. */
static void do_ring(struct rank *r)
{
    uint32_t size = r->comm->size, me = r->comm->rank;
    uint32_t to = (me + 1) % size, from = (me + size - 1) % size;
    for (uint32_t round = 0; size > 1 && round < ROUNDS; round++) {
        uint64_t scratch[LONGEST / 2];
        float *buf = (float *)scratch;
        size_t n = round % 3 * (LONGEST / 3 - 1);
        for (int step = 0; step < 2; step++) {
            if ((me % 2 == 0) == (step == 0)) { /* the even ones send first */
                for (size_t i = 0; i < n; i++)
                    buf[i] = (float)(me * 1000 + round);
                CALL(r, send_one(r->comm, buf, n, BR_F32, to, &r->err));
            } else {
                CALL(r, recv_one(r->comm, buf, n, BR_F32, from, &r->err));
                for (size_t i = 0; i < n; i++)
                    MUST(r, buf[i] == (float)(from * 1000 + round), "round %" PRIu32, round);
            }
        }
    }
}

/* Rank 0 receives from all others, which send in any order, each in its own. */
static void do_fan_in(struct rank *r)
{
    if (r->comm->rank > 0) {
        for (int64_t i = 0; i < ROUNDS; i++)
            CALL(r, send_one(r->comm, &(int64_t){i * 100 + r->comm->rank}, 1, BR_I64, 0, &r->err));
        return;
    }
    for (int64_t i = 0; i < ROUNDS; i++)
        for (uint32_t j = 1; j < r->comm->size; j++) {
            uint32_t peer = i % 2 ? j : r->comm->size - j;
            int64_t got = -1;
            CALL(r, recv_one(r->comm, &got, 1, BR_I64, peer, &r->err));
            MUST(r, got == i * 100 + peer, "%" PRId64 " from %" PRIu32, got, peer);
        }
}

/* A pipeline: what rank 0 sends arrives at the last rank; each rank leaves after passing it on. */
static void do_pipeline(struct rank *r)
{
    float x[3] = {1, 2, 3};
    for (int i = 0; i < ROUNDS; i++) {
        if (r->comm->rank > 0)
            CALL(r, recv_one(r->comm, x, 3, BR_F32, r->comm->rank - 1, &r->err));
        if (r->comm->rank + 1 < r->comm->size)
            CALL(r, send_one(r->comm, x, 3, BR_F32, r->comm->rank + 1, &r->err));
    }
    MUST(r, x[0] == 1 && x[1] == 2 && x[2] == 3, "%g %g %g", (double)x[0], (double)x[1],
         (double)x[2]);
}

START_TEST(messages)
{
    if (_i % 2 == 0)
        run_well((uint32_t)_i, do_ring, NULL);
    run_well((uint32_t)_i, do_all_pairs, NULL);
    run_well((uint32_t)_i, do_fan_in, NULL);
    run_well((uint32_t)_i, do_pipeline, NULL);
}
END_TEST

/* ---- split ----------------------------------------------------------------------------------- */

/* Rows and columns of a grid of two columns, then the columns backwards, all at work at once. */
static void do_split(struct rank *r)
{
    uint32_t me = r->comm->rank, size = r->comm->size;
    struct br_comm *row, *column, *back;
    CALL(r, r->comm->ops->split(r->comm, me / 2, 0, &row, &r->err));
    CALL(r, r->comm->ops->split(r->comm, me % 2, me, &column, &r->err));
    if (r->wrong[0])
        return;
    CALL(r, column->ops->split(column, 7, size - me, &back, &r->err));
    MUST(r, row->rank == me % 2 && column->rank == me / 2, "ranks");
    MUST(r, back->rank == column->size - 1 - column->rank && back->size == column->size, "back");
    for (int i = 0; i < ROUNDS; i++) {
        int32_t x = (int32_t)me, y = (int32_t)me, who = (int32_t)me;
        CALL(r, row->ops->all_reduce(row, &x, 1, BR_I32, &r->err));
        CALL(r, column->ops->all_reduce(column, &y, 1, BR_I32, &r->err));
        CALL(r, back->ops->broadcast(back, &who, 1, BR_I32, 0, &r->err));
        int32_t want_x = 0, want_y = 0, last = 0;
        for (int32_t j = 0; j < (int32_t)size; j++) {
            want_x += j / 2 == (int32_t)me / 2 ? j : 0;
            want_y += j % 2 == (int32_t)me % 2 ? j : 0;
            last = j % 2 == (int32_t)me % 2 ? j : last;
        }
        MUST(r, x == want_x && y == want_y && who == last, "%d %d %d", x, y, who);
    }
    row->ops->close(row);
    back->ops->close(back);
    column->ops->close(column);
}

START_TEST(splits)
{
    run_well((uint32_t)_i, do_split, NULL);
}
END_TEST

/* ---- calls that do not match, or make no sense ----------------------------------------------- */

struct mismatch {
    const char *text;
    int (*call)(struct rank *r, void *buf);
};

static int other_count(struct rank *r, void *buf)
{
    return r->comm->ops->all_reduce(r->comm, buf, 4 + r->comm->rank / 2, BR_F32, &r->err);
}
static int other_dtype(struct rank *r, void *buf)
{
    return r->comm->ops->all_reduce(r->comm, buf, 4, r->comm->rank == 2 ? BR_I32 : BR_F32, &r->err);
}
static int other_root(struct rank *r, void *buf)
{
    return r->comm->ops->broadcast(r->comm, buf, 4, BR_F32, r->comm->rank == 2, &r->err);
}
static int other_op(struct rank *r, void *buf)
{
    if (r->comm->rank == 2)
        return r->comm->ops->broadcast(r->comm, buf, 4, BR_F32, 0, &r->err);
    return r->comm->ops->all_reduce(r->comm, buf, 4, BR_F32, &r->err);
}
static int other_pair(struct rank *r, void *buf)
{
    size_t send[] = {1, 1, 1}, recv[] = {1, r->comm->rank == 2 ? 2 : 1, 1};
    return r->comm->ops->all_to_all(r->comm, buf, recv, (char *)buf + 64, send, BR_F32, &r->err);
}
static int other_split(struct rank *r, void *buf)
{
    struct br_comm *out = buf;
    if (r->comm->rank == 2)
        return r->comm->ops->all_reduce(r->comm, buf, 0, BR_F32, &r->err);
    int rc = r->comm->ops->split(r->comm, 0, 0, &out, &r->err);
    MUST(r, !out, "a group in spite of the error");
    return rc;
}
static const struct mismatch mismatches[] = {
    {"rank 2 calls all_reduce(5 float32, root 0) where rank 0 calls all_reduce(4 float32, root 0)",
     other_count},
    {"rank 2 calls all_reduce(4 int32, root 0) where rank 0", other_dtype},
    {"rank 2 calls broadcast(4 float32, root 1) where rank 0 calls broadcast(4 float32, root 0)",
     other_root},
    {"rank 2 calls broadcast(4 float32, root 0) where rank 0 calls all_reduce(4", other_op},
    {"all_to_all: rank 1 sends 1 elements to rank 2, which expects 2", other_pair},
    {"rank 2 calls all_reduce(0 float32, root 0) where rank 0 calls split(", other_split},
};

static void do_mismatch(struct rank *r)
{
    const struct mismatch *t = r->arg;
    char buf[128] = {0};
    int rc = t->call(r, buf);
    MUST(r, rc == BR_E_COMM && strstr(r->err.msg, t->text), "%d: %s", rc, r->err.msg);
    /* Every rank reached the same answer, so the group is still in step. */
    int64_t one = 1;
    CALL(r, r->comm->ops->all_reduce(r->comm, &one, 1, BR_I64, &r->err));
    MUST(r, one == 3, "%" PRId64, one);
}

START_TEST(mismatched_calls)
{
    run_well(3, do_mismatch, &mismatches[_i]);
}
END_TEST

static void do_mismatched_message(struct rank *r)
{
    int32_t x[4] = {5, 6, 7, 8};
    static const char text[] = "rank 0 sends 3 int32 to rank 1, which expects 4 int32";
    int rc = r->comm->rank ? recv_one(r->comm, x, 4, BR_I32, 0, &r->err)
                           : send_one(r->comm, x, 3, BR_I32, 1, &r->err);
    MUST(r, rc == BR_E_COMM && strcmp(r->err.msg, text) == 0, "%d: %s", rc, r->err.msg);
    if (r->comm->rank)
        CALL(r, recv_one(r->comm, x, 1, BR_I32, 0, &r->err));
    else
        CALL(r, send_one(r->comm, x, 1, BR_I32, 1, &r->err));
}

static void do_mismatched_tag(struct rank *r)
{
    int32_t x[2] = {0};
    static const char text[] = "rank 0 sends number 3 to rank 1, which expects number 2";
    const struct br_p2p ops[] = {
        {&x[0], 1, BR_I32, 1 - r->comm->rank, .is_send = !r->comm->rank, .tag = 1},
        {&x[1], 1, BR_I32, 1 - r->comm->rank, .is_send = !r->comm->rank, .tag = 3 - r->comm->rank}};
    int rc = r->comm->ops->exchange(r->comm, ops, 2, &r->err);
    MUST(r, rc == BR_E_COMM && strcmp(r->err.msg, text) == 0, "%d: %s", rc, r->err.msg);
}

START_TEST(mismatched_message)
{
    run_well(2, do_mismatched_message, NULL);
    run_well(2, do_mismatched_tag, NULL);
}
END_TEST

START_TEST(senseless_calls)
{
    struct br_comm *c[2];
    struct br_err err = BR_ERR_INIT;
    float x[2] = {0};
    const struct br_plane *plane = br__cpu_backend()->plane;
    unsigned char id[BR_COMM_ID];
    ck_assert_int_eq(plane->id(id, &err), 0);
    ck_assert_int_eq(plane->join(NULL, id, 0, 0, &c[0], &err), BR_E_USAGE);
    ck_assert_int_eq(plane->join(NULL, id, 2, 2, &c[0], &err), BR_E_USAGE);
    ck_assert_int_eq(plane->join(NULL, id, 0, UINT32_MAX, &c[0], &err), BR_E_USAGE);
    ck_assert_int_eq(plane->join(NULL, id, 0, 2, &c[0], &err), 0);
    ck_assert_int_eq(plane->join(NULL, id, 0, 2, &c[1], &err), BR_E_COMM);
    ck_assert_int_eq(plane->join(NULL, id, 1, 3, &c[1], &err), BR_E_COMM);
    ck_assert_int_eq(plane->join(NULL, id, 1, 2, &c[1], &err), 0);
    ck_assert_int_eq(c[0]->ops->all_reduce(c[0], x, 1, BR_U8, &err), BR_E_UNSUPPORTED);
    ck_assert_int_eq(c[0]->ops->all_reduce(c[0], x, 1, UINT32_MAX, &err), BR_E_UNSUPPORTED);
    ck_assert_int_eq(c[0]->ops->all_gather(c[0], x, x, SIZE_MAX / 8, BR_F32, &err), BR_E_USAGE);
    ck_assert_int_eq(c[0]->ops->broadcast(c[0], x, 1, BR_F32, 2, &err), BR_E_USAGE);
    ck_assert_int_eq(send_one(c[0], x, 1, BR_F32, 2, &err), BR_E_USAGE);
    ck_assert_int_eq(recv_one(c[0], x, 1, BR_F32, 0, &err), BR_E_USAGE);
    ck_assert_str_eq(err.msg, "recv: rank 0 to itself");
    c[1]->ops->close(c[1]);
    c[0]->ops->close(c[0]);
    c[0] = NULL;
}
END_TEST

/* ---- ranks that give up or leave ------------------------------------------------------------- */

struct loss {
    int (*call)(struct rank *r, void *buf);
    int aborts; /* the last rank aborts, else it leaves */
};

static int wait_reduce(struct rank *r, void *buf)
{
    return r->comm->ops->all_reduce(r->comm, buf, 2, BR_F32, &r->err);
}
static int wait_split(struct rank *r, void *buf)
{
    struct br_comm *out = buf;
    return r->comm->ops->split(r->comm, 0, 0, &out, &r->err);
}
static int wait_send(struct rank *r, void *buf)
{
    return send_one(r->comm, buf, 2, BR_F32, r->comm->size - 1, &r->err);
}
static int wait_recv(struct rank *r, void *buf)
{
    return recv_one(r->comm, buf, 2, BR_F32, r->comm->size - 1, &r->err);
}
static int (*const waits[])(struct rank *r, void *buf) = {wait_reduce, wait_split, wait_send,
                                                          wait_recv};

static void do_loss(struct rank *r)
{
    const struct loss *t = r->arg;
    char buf[64] = {0}, want[64];
    uint32_t last = r->comm->size - 1;
    CALL(r, wait_reduce(r, buf));
    if (r->comm->rank == last) {
        usleep(2000); /* most others wait by now */
        if (t->aborts)
            r->comm->ops->abort(r->comm);
        else
            return;
        int rc = t->call(r, buf);
        MUST(r, rc == BR_E_COMM || rc == BR_E_USAGE, "%d: %s", rc, r->err.msg);
        return;
    }
    snprintf(want, sizeof want, "rank %" PRIu32 " %s", last,
             t->aborts ? "gave up; its own error says why" : "has closed its communicator");
    for (int again = 0; again < 2; again++) {
        int rc = t->call(r, buf);
        MUST(r, rc == BR_E_COMM && strstr(r->err.msg, want), "%d: %s", rc, r->err.msg);
    }
}

START_TEST(losses)
{
    struct loss t = {waits[_i / 2], _i % 2};
    for (uint32_t n = 2; n <= MAX_RANKS; n += 2)
        run_well(n, do_loss, &t);
}
END_TEST

/* Pairs communicate; rank 3 aborts in its pair, and all pairs get the error. */
static void do_abort_in_pair(struct rank *r)
{
    struct br_comm *pair;
    CALL(r, r->comm->ops->split(r->comm, r->comm->rank / 2, 0, &pair, &r->err));
    if (r->wrong[0])
        return;
    int32_t x = 0;
    int rc = 0;
    for (int i = 0; rc == 0; i++) {
        if (r->comm->rank == 3 && i == 20)
            pair->ops->abort(pair);
        rc = pair->ops->all_reduce(pair, &x, 1, BR_I32, &r->err);
    }
    MUST(r, rc == BR_E_COMM && strstr(r->err.msg, "rank 3 gave up"), "%d: %s", rc, r->err.msg);
    pair->ops->close(pair);
}

START_TEST(abort_reaches_all_groups)
{
    run_well(6, do_abort_in_pair, NULL);
}
END_TEST

/* Ranks leave one by one, at different times and in the middle of different calls. */
static void do_dropout(struct rank *r)
{
    float x[64];
    int rc = 0;
    for (uint32_t i = 0; rc == 0; i++) {
        if (i == 5 + 3 * r->comm->rank)
            return;
        memset(x, 0, sizeof x);
        rc = i % 2 ? r->comm->ops->all_reduce(r->comm, x, 64, BR_F32, &r->err)
                   : r->comm->ops->broadcast(r->comm, x, 64, BR_F32, i % r->comm->size, &r->err);
    }
    MUST(r, rc == BR_E_COMM && strstr(r->err.msg, "has closed"), "%d: %s", rc, r->err.msg);
}

START_TEST(dropouts)
{
    for (int i = 0; i < 20; i++)
        run_well(1 + (uint32_t)i % MAX_RANKS, do_dropout, NULL);
}
END_TEST

/* ---- ranks that do not come ------------------------------------------------------------------ */

static char lost[160]; /* what was told last */
static size_t n_lost;

static void on_lost(const char *text)
{
    snprintf(lost, sizeof lost, "%s", text);
    n_lost++;
}

/* The last rank comes when the others have their error, which is its own then. */
static void do_stall(struct rank *r)
{
    pthread_barrier_t *over = *(pthread_barrier_t *const *)r->arg;
    uint32_t last = r->comm->size - 1, first = r->comm->rank < last - 1;
    struct br_comm *others, *pair;
    float x[7] = {0};
    CALL(r, r->comm->ops->split(r->comm, r->comm->rank == last, 0, &others, &r->err));
    CALL(r, r->comm->ops->split(r->comm, first, 0, &pair, &r->err));
    if (r->wrong[0])
        return;
    pair->ops->describe(pair, "tp: ranks 1, 2", 0);
    if (!first)
        CALL(r, pair->ops->all_reduce(pair, x, 7, BR_F32, &r->err));
    if (r->comm->rank == last)
        pthread_barrier_wait(over);
    struct br_comm *with = first ? others : pair; /* rank 0 waits for 1, which waits for 2 */
    r->rc = with->ops->broadcast(with, x, 2, BR_F32, 0, &r->err);
    MUST(r, r->rc == BR_E_COMM && strstr(r->err.msg, lost), "%d: %s", r->rc, r->err.msg);
    if (r->comm->rank != last)
        pthread_barrier_wait(over);
    pair->ops->close(pair);
    others->ops->close(others);
}

/* Two ranks, and three where one waits for one that waits.  A longer time in that case: a thread
 * that has not come for as long would be named with reason. */
START_TEST(stalls)
{
    pthread_barrier_t over, *arg = &over;
    char want[160];
    int seconds = _i ? 3 : 1;
    uint32_t n = 2 + (uint32_t)_i;
    n_lost = 0;
    pthread_barrier_init(&over, NULL, n);
    br__local_watch(seconds, on_lost);
    run_well(n, do_stall, &arg);
    br__local_watch(0, NULL);
    pthread_barrier_destroy(&over);
    snprintf(want, sizeof want,
             "rank %" PRIu32 " keeps others waiting for more than %d s (--comm-timeout); last: "
             "all_reduce of 7 (tp: ranks 1, 2)",
             n - 1, seconds);
    ck_assert_uint_eq(n_lost, 1);
    ck_assert_str_eq(lost, want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("comm");
    TCase *t = tcase_create("comm");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, collectives, 1, MAX_RANKS + 1);
    tcase_add_test(t, extremes);
    tcase_add_loop_test(t, messages, 1, MAX_RANKS + 1);
    tcase_add_loop_test(t, splits, 1, MAX_RANKS + 1);
    tcase_add_loop_test(t, mismatched_calls, 0, (int)BR_COUNTOF(mismatches));
    tcase_add_test(t, mismatched_message);
    tcase_add_test(t, senseless_calls);
    tcase_add_loop_test(t, losses, 0, 2 * (int)BR_COUNTOF(waits));
    tcase_add_test(t, abort_reaches_all_groups);
    tcase_add_test(t, dropouts);
    tcase_add_loop_test(t, stalls, 0, 2);
    suite_add_tcase(s, t);
    return run_suite(s);
}
