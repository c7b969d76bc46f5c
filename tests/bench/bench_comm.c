/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bench_comm MODULE [ROUNDS [MIB]] - all_reduce and all_to_all of 1 to MIB (256) MiB over the ranks
 * of an MPI, beside loops over MPI_Allreduce and MPI_Alltoall, which the same processes run in
 * turn. Rank 0 prints a line of JSON per operation and size, with medians.  MODULE is of the MPI
 * that this program is linked with; float32. */
#include "../../core/dist/dist.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_ROUNDS 101
#define MAX_RANKS 64
#define BATCH ((size_t)64 << 20) /* bytes of the calls that are timed together */

struct bench {
    struct br_comm *comm;
    float *a, *b;
    size_t n;   /* elements of the buffer */
    int n_call; /* calls that are timed together */
    int is_sum, rounds;
    double seconds; /* of them */
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* All are here, and have left the round before. */
static int meet(const struct bench *b, struct br_err *err)
{
    int32_t one = 1;
    return b->comm->ops->all_reduce(b->comm, &one, 1, BR_I32, err);
}

static int run_bridge(struct bench *b, struct br_err *err)
{
    struct br_comm *c = b->comm;
    size_t each[MAX_RANKS];
    int rc = BR_OK;
    for (uint32_t r = 0; r < c->size; r++)
        each[r] = b->n / c->size;
    double begin = now();
    for (int i = 0; i < b->n_call && !rc; i++)
        rc = b->is_sum ? c->ops->all_reduce(c, b->a, b->n, BR_F32, err)
                       : c->ops->all_to_all(c, b->b, each, b->a, each, BR_F32, err);
    b->seconds = (now() - begin) / b->n_call;
    return rc;
}

static int run_plain(struct bench *b, struct br_err *err)
{
    int code = 0, each = (int)(b->n / b->comm->size);
    double begin = now();
    for (int i = 0; i < b->n_call && !code; i++)
        code =
            b->is_sum
                ? MPI_Allreduce(MPI_IN_PLACE, b->a, (int)b->n, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD)
                : MPI_Alltoall(b->a, each, MPI_FLOAT, b->b, each, MPI_FLOAT, MPI_COMM_WORLD);
    b->seconds = (now() - begin) / b->n_call;
    return code ? br_fail(err, BR_E_COMM, "MPI fails with code %d", code) : BR_OK;
}

static int time_one(struct bench *b, int (*loop)(struct bench *b, struct br_err *err),
                    struct br_err *err)
{
    memset(b->a, 0, b->n * sizeof *b->a); /* sums do not grow without end */
    int rc = meet(b, err);
    return rc ? rc : loop(b, err);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static int measure(struct bench *b, struct br_err *err)
{
    double ours[MAX_ROUNDS], plain[MAX_ROUNDS], ratio[MAX_ROUNDS];
    int rc = time_one(b, run_bridge, err); /* warm up */
    if (!rc)
        rc = time_one(b, run_plain, err);
    for (int i = 0; i < b->rounds && !rc; i++) {
        for (int turn = 0; turn < 2 && !rc; turn++) { /* neither always comes first */
            int is_plain = (i + turn) % 2;
            rc = time_one(b, is_plain ? run_plain : run_bridge, err);
            (is_plain ? plain : ours)[i] = b->seconds;
        }
        ratio[i] = plain[i] / ours[i];
    }
    if (rc || b->comm->rank)
        return rc;
    qsort(ours, (size_t)b->rounds, sizeof *ours, by_value);
    qsort(plain, (size_t)b->rounds, sizeof *plain, by_value);
    qsort(ratio, (size_t)b->rounds, sizeof *ratio, by_value);
    printf("{\"op\":\"%s\",\"mib\":%zu,\"bridge_s\":%.6g,\"mpi_s\":%.6g,\"ratio\":%.4g}\n",
           b->is_sum ? "all_reduce" : "all_to_all", b->n * sizeof *b->a >> 20, ours[b->rounds / 2],
           plain[b->rounds / 2], ratio[b->rounds / 2]);
    fflush(stdout);
    return BR_OK;
}

struct settings {
    struct br__world *world;
    int64_t rounds, mib;
};

static int run(void *arg, uint32_t rank, struct br_err *err)
{
    const struct settings *s = arg;
    const struct br__rank_info *r = br__world_rank(s->world, rank);
    struct bench b = {.comm = r->comms[BR_GROUP_WORLD], .rounds = (int)s->rounds};
    size_t most = (size_t)s->mib << 20;
    b.a = calloc(most, 1);
    b.b = calloc(most, 1);
    int rc = b.a && b.b && r->topo.world <= MAX_RANKS ? BR_OK : br__nomem(err, "for the buffers");
    for (b.is_sum = 1; b.is_sum >= 0 && !rc; b.is_sum--)
        for (size_t bytes = 1 << 20; bytes <= most && !rc; bytes *= 4) {
            b.n = bytes / sizeof *b.a;
            b.n_call = bytes < BATCH ? (int)(BATCH / bytes) : 1;
            rc = measure(&b, err);
        }
    free(b.a);
    free(b.b);
    return rc;
}

static void say(const char *text)
{
    fprintf(stderr, "bench_comm: %s\n", text);
}

static void leave(int rc)
{
    _Exit(rc);
}

int main(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    struct br__procs_opts o = {.timeout = 600, .say = say, .leave = leave};
    struct settings s = {.rounds = 11, .mib = 256};
    struct br_topo topo;
    if (argc < 2 || (argc > 2 && br__parse_i64(argv[2], &s.rounds)) ||
        (argc > 3 && br__parse_i64(argv[3], &s.mib)) || s.rounds < 1 || s.rounds > MAX_ROUNDS)
        return BR_E_USAGE;
    o.module = argv[1];
    int rc = br__launch_find(&o.launch, &err);
    if (!rc)
        rc = br__procs_open(&o, &err);
    if (!rc)
        rc = br_topo_make(&topo, 1, 1, 1, 1, 1, br__procs_size(), &err);
    if (!rc)
        rc = br__world_open(&s.world, &topo, NULL, NULL, 0, &err);
    if (!rc) {
        rc = br__world_run(s.world, run, &s, &err);
        br__world_close(s.world);
    }
    rc = br__procs_end(rc, &err);
    if (rc && br__procs_rank() == 0)
        say(err.msg);
    return rc;
}
