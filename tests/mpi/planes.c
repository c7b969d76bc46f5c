/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* planes.c local N | MODULE [exercise | abort | unequal | thread] - what collectives give on every
 * rank, as checksums: threads of this process, or one rank of an MPI's.
 *
 * Each line names a call and has the CRC-32 of its result on each rank.  planes.sh compares the
 * lines of threads, MPICH and Open MPI: they have the same bits.  What the numbers must be is
 * unit/test_comm.c's business.  The other words break something, and the ranks say what they see.
 */
#include "../../core/dist/processes.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANKS 16
#define MOST 600000 /* elements: more than what is in transit for a sum at once, over two ranks */

static const uint32_t dtypes[] = {BR_F32, BR_BF16, BR_F16, BR_I32, BR_I64};
static const size_t lengths[] = {0, 1, 7, 1000, MOST};

static void die(const char *what, const struct br_err *err)
{
    printf("%s: %s\n", what, err->msg);
    fflush(stdout);
    _Exit(1);
}

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if (call)                                                                                  \
            die(#call, err);                                                                       \
    } while (0)

/* Values whose float sums depend on the order in which they are added. */
static void fill(void *p, uint32_t dtype, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t h = (seed + 1) * UINT64_C(0x9E3779B97F4A7C15) ^ i * UINT64_C(0xBF58476D1CE4E5B9);
        h = (h ^ h >> 31) * UINT64_C(0x94D049BB133111EB);
        double v = (double)(int64_t)(h >> 44) * (h & 1 ? 1e-3 : 1e-6) - 500;
        char *at = (char *)p + i * br_dtype_size((int)dtype);
        if (br_dtype_is_float((int)dtype))
            br_cast(at, (int)dtype, &v, BR_F64, 1, 0);
        else
            memcpy(at, &h, br_dtype_size((int)dtype));
    }
}

/* One line, by rank 0 of the world, of what each rank has. */
static void show(struct br_comm *world, const char *what, uint32_t dtype, const void *p, size_t n,
                 struct br_err *err)
{
    int64_t all[MAX_RANKS], mine = br__crc32(0, p, n * br_dtype_size((int)dtype));
    MUST(world->ops->all_gather(world, all, &mine, 1, BR_I64, err));
    if (world->rank != 0)
        return;
    printf("%s %s %zu:", what, br_dtype_torch((int)dtype), n);
    for (uint32_t r = 0; r < world->size; r++)
        printf(" %08" PRIx64, (uint64_t)all[r]);
    printf("\n");
}

struct bench {
    struct br_comm *world;
    char *in, *out; /* [MOST * MAX_RANKS] of 8 bytes */
    struct br_err *err;
};

static void sums(struct bench *b, uint32_t dtype, size_t n)
{
    struct br_comm *c = b->world;
    struct br_err *err = b->err;
    fill(b->in, dtype, n, c->rank);
    MUST(c->ops->all_reduce(c, b->in, n, dtype, err));
    show(c, "all_reduce", dtype, b->in, n, err);
    fill(b->in, dtype, n * c->size, c->rank);
    MUST(c->ops->reduce_scatter(c, b->out, b->in, n, dtype, err));
    show(c, "reduce_scatter", dtype, b->out, n, err);
    /* Into this rank's part of the input, which NCCL allows. */
    char *own = b->in + c->rank * n * br_dtype_size((int)dtype);
    MUST(c->ops->reduce_scatter(c, own, b->in, n, dtype, err));
    show(c, "reduce_scatter in place", dtype, own, n, err);
    fill(b->in, dtype, n, c->rank);
    MUST(c->ops->all_gather(c, b->out, b->in, n, dtype, err));
    show(c, "all_gather", dtype, b->out, n * c->size, err);
}

static void copies(struct bench *b, uint32_t dtype, size_t n)
{
    struct br_comm *c = b->world;
    struct br_err *err = b->err;
    size_t sent[MAX_RANKS], received[MAX_RANKS], total = 0;
    for (uint32_t root = 0; root < c->size; root++) {
        fill(b->in, dtype, n, c->rank);
        MUST(c->ops->broadcast(c, b->in, n, dtype, root, err));
        show(c, "broadcast", dtype, b->in, n, err);
    }
    /* Rank r has (r + 2 q) % 3 shares for rank q: for some none. */
    for (uint32_t q = 0; q < c->size; q++) {
        sent[q] = n / 4 * ((c->rank + 2 * q) % 3);
        received[q] = n / 4 * ((q + 2 * c->rank) % 3);
        total += received[q];
    }
    fill(b->in, dtype, 2 * n * c->size / 4 + n, c->rank);
    MUST(c->ops->all_to_all(c, b->out, received, b->in, sent, dtype, err));
    show(c, "all_to_all", dtype, b->out, total, err);
}

/* Round the ring in both directions, two messages a neighbour, all at once: with blocking sends and
 * messages too big to be buffered nobody would be the first to receive. */
static void ring(struct bench *b, uint32_t dtype, size_t n)
{
    struct br_comm *c = b->world;
    struct br_err *err = b->err;
    size_t bytes = n * br_dtype_size((int)dtype);
    uint32_t next = (c->rank + 1) % c->size, before = (c->rank + c->size - 1) % c->size;
    struct br_p2p ops[8];
    for (uint32_t i = 0; i < 4; i++) {
        fill(b->in + i * bytes, dtype, n, 10 * c->rank + i);
        ops[i] = (struct br_p2p){b->in + i * bytes, n, dtype, i < 2 ? next : before, 1, i};
    }
    for (uint32_t i = 0; i < 4; i++)
        ops[4 + i] = (struct br_p2p){b->out + i * bytes, n, dtype, i < 2 ? before : next, 0, i};
    MUST(c->ops->exchange(c, ops, 8, err));
    show(c, "exchange", dtype, b->out, 4 * n, err);
}

/* Odd and even ranks apart, in reverse order. */
static void halves(struct bench *b)
{
    struct br_comm *c = b->world, *half;
    struct br_err *err = b->err;
    MUST(c->ops->split(c, c->rank % 2, c->size - c->rank, &half, err));
    fill(b->in, BR_F32, 1000, c->rank);
    MUST(half->ops->all_reduce(half, b->in, 1000, BR_F32, err));
    show(c, "half", BR_F32, b->in, 1000, err);
    int32_t place[2] = {(int32_t)half->rank, (int32_t)half->size};
    half->ops->close(half);
    show(c, "place", BR_I32, place, 2, err);
}

static void exercise(struct br_comm *world, struct br_err *err)
{
    struct bench b = {world, malloc((size_t)MOST * MAX_RANKS * 8),
                      malloc((size_t)MOST * MAX_RANKS * 8), err};
    if (!b.in || !b.out)
        abort();
    for (size_t d = 0; d < BR_COUNTOF(dtypes); d++)
        for (size_t i = 0; i < BR_COUNTOF(lengths); i++) {
            if (lengths[i] == MOST && dtypes[d] != BR_F32 && dtypes[d] != BR_I64)
                continue;
            sums(&b, dtypes[d], lengths[i]);
            copies(&b, dtypes[d], lengths[i]);
            if (world->size > 2)
                ring(&b, dtypes[d], lengths[i]);
        }
    halves(&b);
    free(b.in);
    free(b.out);
}

/* ---- what goes wrong ------------------------------------------------------------------------- */

/* The last rank gives up; the others wait for it in a sum. */
static void give_up(struct br_comm *world, struct br_err *err)
{
    float x[4] = {0};
    if (world->rank == world->size - 1) {
        world->ops->abort(world);
        printf("rank %" PRIu32 " gives up\n", world->rank);
        return;
    }
    int rc = world->ops->all_reduce(world, x, 4, BR_F32, err);
    printf("rank %" PRIu32 ": %d %s\n", world->rank, rc, err->msg);
    rc = world->ops->broadcast(world, x, 4, BR_F32, 0, err);
    printf("rank %" PRIu32 ": %d %s\n", world->rank, rc, err->msg);
}

/* Rank 0 sends fewer elements than rank 1 expects, which then gives up. */
static void unequal(struct br_comm *world, struct br_err *err)
{
    float x[8] = {0};
    struct br_p2p p = {x, world->rank ? 8 : 5, BR_F32, !world->rank, !world->rank, 0};
    int rc = world->rank < 2 ? world->ops->exchange(world, &p, 1, err) : 0;
    if (rc)
        world->ops->abort(world);
    else
        rc = world->ops->all_reduce(world, x, 4, BR_F32, err);
    printf("rank %" PRIu32 ": %d %s\n", world->rank, rc, err->msg);
}

/* Calls are of one thread at a time, whichever it is. */
static void *other_thread(void *arg)
{
    struct br_comm *world = arg;
    struct br_err err = BR_ERR_INIT;
    float x[4] = {1, 1, 1, 1};
    int rc = world->ops->all_reduce(world, x, 4, BR_F32, &err);
    printf("rank %" PRIu32 ": %d %g\n", world->rank, rc, x[3]);
    return NULL;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

static struct br_comm *joined[MAX_RANKS];

static void *local_rank(void *arg)
{
    struct br_comm *world = arg;
    struct br_err err = BR_ERR_INIT;
    exercise(world, &err);
    world->ops->close(world);
    return NULL;
}

static int local(uint32_t n)
{
    struct br_err e = BR_ERR_INIT, *err = &e;
    unsigned char id[BR_COMM_ID];
    pthread_t threads[MAX_RANKS];
    MUST(br__local_plane.id(id, err));
    for (uint32_t i = 0; i < n; i++)
        MUST(br__local_plane.join(NULL, id, i, n, &joined[i], err));
    for (uint32_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, local_rank, joined[i]))
            abort();
    for (uint32_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    return 0;
}

int main(int argc, char **argv)
{
    struct br_err e = BR_ERR_INIT, *err = &e;
    struct br__launch launch;
    struct br_plane plane;
    struct br_comm *world;
    unsigned char id[BR_COMM_ID];
    if (argc == 3 && !strcmp(argv[1], "local"))
        return local((uint32_t)strtoul(argv[2], NULL, 10));
    if (argc != 3)
        return 2;
    MUST(br__launch_find(&launch, err));
    MUST(br__plane_open(argv[1], &plane, err));
    MUST(plane.id(id, err));
    MUST(plane.join(NULL, id, launch.rank, launch.size, &world, err));
    if (!strcmp(argv[2], "exercise"))
        exercise(world, err);
    else if (!strcmp(argv[2], "abort"))
        give_up(world, err);
    else if (!strcmp(argv[2], "unequal"))
        unequal(world, err);
    else if (!strcmp(argv[2], "thread")) {
        pthread_t t;
        if (pthread_create(&t, NULL, other_thread, world))
            abort();
        pthread_join(t, NULL);
    }
    fflush(stdout);
    world->ops->close(world);
    return 0;
}
