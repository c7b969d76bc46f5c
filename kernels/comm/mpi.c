/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* mpi.c - communicators whose ranks are processes that an MPI started; buffers are host memory.
 *
 * A module, built once against each MPI: comm_mpich.so, comm_openmpi.so.  All calls of MPI are of
 * one thread, the one that joined.  MPI moves bytes and adds nothing: sums are those of sum.h, so
 * they have the bits of local.c.  Only non-blocking transfers are used, and a rank that waits looks
 * whether another has given up; MPI_Comm_split alone blocks.
 *
 * After an error a transfer may still be under way in buffers of the caller: such a world is
 * broken, every later call of it fails, and the process can only end. */
#include "sum.h"

#include <inttypes.h>
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#define CHUNK ((size_t)1 << 30)      /* bytes of one transfer; MPI counts in int */
#define SUM_STEP ((size_t)256 << 10) /* elements of each rank that are in transit for a sum */
enum { TAG_COLLECTIVE = 1, TAG_EXCHANGE, TAG_ABORT };

struct mpi_group {
    struct br_comm comm;
    MPI_Comm mpi;
    int *world_rank; /* [size] */
};

/* Of a process there is one world, MPI_COMM_WORLD, and it can be begun once. */
static struct {
    int begun, broken, gave_up;
    pthread_t thread;
    MPI_Comm control;  /* carries TAG_ABORT */
    int rank, quitter; /* quitter: who gave up, or -1 */
    unsigned n_open;
} world = {.quitter = -1};

/* A message, or what a rank has for another in a collective. */
struct transfer {
    void *buf;
    size_t bytes;
    int peer, is_send;
};

/* ---- errors ---------------------------------------------------------------------------------- */

static int mpi_failed(int code, const char *what, struct br_err *err)
{
    char text[MPI_MAX_ERROR_STRING] = "?";
    int n = 0;
    MPI_Error_string(code, text, &n);
    world.broken = 1;
    return br_fail(err, BR_E_COMM, "%s: MPI: %s", what, text);
}

static int check_usable(const char *what, struct br_err *err)
{
    if (!pthread_equal(pthread_self(), world.thread))
        return br_fail(err, BR_E_COMM, "%s: not of the thread that joined, as MPI needs", what);
    if (world.quitter >= 0)
        return br_fail(err, BR_E_COMM, "%s: rank %d gave up; its own error says why", what,
                       world.quitter);
    if (world.broken)
        return br_fail(err, BR_E_COMM, "%s: a transfer failed before", what);
    return BR_OK;
}

static int check_size(const struct br_comm *c, size_t n, uint32_t dtype, const char *what,
                      struct br_err *err)
{
    int rc = check_usable(what, err);
    return rc ? rc : br__comm_check(what, n, dtype, c->size, err);
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* Between two looks: at first none, since most messages are near; then let others run. */
static void relax(unsigned turn)
{
    static const struct timespec pause = {0, 50000};
    if (turn > 2000)
        nanosleep(&pause, NULL);
    else if (turn > 50)
        sched_yield();
}

/* Has a rank given up?  Its number arrives on the control communicator. */
static void look_for_abort(void)
{
    int there = 0, who;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, TAG_ABORT, world.control, &there, &status) || !there)
        return;
    if (!MPI_Recv(&who, 1, MPI_INT, status.MPI_SOURCE, TAG_ABORT, world.control, &status))
        world.quitter = who;
}

static int wait_all(MPI_Request *requests, int n, MPI_Status *statuses, const char *what,
                    struct br_err *err)
{
    int done = 0;
    for (unsigned turn = 0; !done; turn++) {
        int code = MPI_Testall(n, requests, &done, statuses);
        if (code == MPI_ERR_IN_STATUS)
            for (int i = 0; i < n; i++)
                if (statuses[i].MPI_ERROR && statuses[i].MPI_ERROR != MPI_ERR_PENDING)
                    code = statuses[i].MPI_ERROR;
        if (code)
            return mpi_failed(code, what, err);
        if (!done && turn % 64 == 63) {
            look_for_abort();
            int rc = check_usable(what, err);
            if (rc) {
                world.broken = 1;
                return rc;
            }
        }
        if (!done)
            relax(turn);
    }
    return BR_OK;
}

/* ---- transfers ------------------------------------------------------------------------------- */

/* In at least one piece, so that a message without bytes is one too. */
static size_t pieces_of(const struct transfer *t)
{
    return t->bytes ? (t->bytes + CHUNK - 1) / CHUNK : 1;
}

static int post_piece(const struct mpi_group *g, const struct transfer *t, size_t at, int tag,
                      MPI_Request *out)
{
    char *p = t->bytes ? (char *)t->buf + at : NULL;
    int n = (int)(t->bytes - at < CHUNK ? t->bytes - at : CHUNK);
    return t->is_send ? MPI_Isend(p, n, MPI_BYTE, t->peer, tag, g->mpi, out)
                      : MPI_Irecv(p, n, MPI_BYTE, t->peer, tag, g->mpi, out);
}

/* A longer message than expected is MPI's error; a shorter one is found here. */
static int check_received(const struct mpi_group *g, const struct transfer *t, size_t at,
                          const MPI_Status *s, const char *what, struct br_err *err)
{
    int n = 0, want = (int)(t->bytes - at < CHUNK ? t->bytes - at : CHUNK);
    if (t->is_send || (!MPI_Get_count(s, MPI_BYTE, &n) && n == want))
        return BR_OK;
    world.broken = 1;
    return br_fail(err, BR_E_COMM, "%s: rank %d sent %d bytes, expected %d", what,
                   g->world_rank[t->peer], n, want);
}

/* Carry out all of them at once. */
static int transfer_all(const struct mpi_group *g, const struct transfer *t, size_t n, int tag,
                        const char *what, struct br_err *err)
{
    size_t pieces = 0, k = 0;
    for (size_t i = 0; i < n; i++)
        pieces += pieces_of(&t[i]);
    MPI_Request *requests = calloc(pieces + 1, sizeof *requests);
    MPI_Status *statuses = calloc(pieces + 1, sizeof *statuses);
    int rc = requests && statuses ? BR_OK
                                  : br_fail(err, BR_E_NOMEM, "out of memory for %zu transfers", n);
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t j = 0; j < pieces_of(&t[i]) && !rc; j++) {
            int code = post_piece(g, &t[i], j * CHUNK, tag, &requests[k++]);
            rc = code ? mpi_failed(code, what, err) : BR_OK;
        }
    if (!rc)
        rc = wait_all(requests, (int)pieces, statuses, what, err);
    k = 0;
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t j = 0; j < pieces_of(&t[i]) && !rc; j++)
            rc = check_received(g, &t[i], j * CHUNK, &statuses[k++], what, err);
    free(requests);
    free(statuses);
    return rc;
}

/* What every rank has for every other: mine[r] goes to rank r, theirs[r] comes from it; r itself is
 * copied.  mine and theirs are [size]; the caller has set buf and bytes. */
static int swap_parts(const struct mpi_group *g, struct transfer *mine, struct transfer *theirs,
                      const char *what, struct br_err *err)
{
    size_t n = 0, size = g->comm.size, self = g->comm.rank;
    struct transfer *t = calloc(2 * size, sizeof *t);
    if (!t)
        return br_fail(err, BR_E_NOMEM, "out of memory for %s", what);
    for (size_t i = 1; i < size; i++) { /* each begins with another peer */
        size_t to = (self + i) % size, from = (self + size - i) % size;
        t[n] = theirs[from];
        t[n].peer = (int)from;
        t[n++].is_send = 0;
        t[n] = mine[to];
        t[n].peer = (int)to;
        t[n++].is_send = 1;
    }
    if (mine[self].bytes && mine[self].buf != theirs[self].buf)
        memmove(theirs[self].buf, mine[self].buf, mine[self].bytes);
    int rc = transfer_all(g, t, n, TAG_COLLECTIVE, what, err);
    free(t);
    return rc;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* One part of the sum that a rank makes: of all ranks' elements, beside each other in `parts`. */
static void add_parts(void *out, const void *parts, size_t n, uint32_t size, uint32_t dtype)
{
    union br__sum_block sum, one;
    for (size_t i = 0, k; i < n; i += k) {
        k = n - i < BR__SUM_BLOCK ? n - i : BR__SUM_BLOCK;
        br__sum_load(&sum, br__elem_at(parts, i, dtype), k, dtype);
        for (uint32_t r = 1; r < size; r++) {
            br__sum_load(&one, br__elem_at(parts, r * n + i, dtype), k, dtype);
            br__sum_add(&sum, &one, k, dtype);
        }
        br__sum_store(br__elem_mut(out, i, dtype), &sum, k, dtype);
    }
}

struct sum {
    const struct mpi_group *g;
    uint32_t dtype;
    size_t width;                   /* bytes of an element */
    struct transfer *mine, *theirs; /* [size] */
    char *parts;                    /* [size][SUM_STEP] */
};

static int sum_begin(struct sum *s, struct br_comm *c, uint32_t dtype, size_t n, struct br_err *err)
{
    size_t step = n < SUM_STEP ? n : SUM_STEP;
    *s = (struct sum){.g = c->self, .dtype = dtype, .width = br_dtype_size((int)dtype)};
    s->mine = calloc(c->size, sizeof *s->mine);
    s->theirs = calloc(c->size, sizeof *s->theirs);
    s->parts = malloc(c->size * step * s->width + 1);
    return s->mine && s->theirs && s->parts ? BR_OK
                                            : br_fail(err, BR_E_NOMEM, "out of memory for a sum");
}

static void sum_end(struct sum *s)
{
    free(s->mine);
    free(s->theirs);
    free(s->parts);
}

/* Rank r sums elements [at[r], at[r] + n) of all ranks' `in`, with n <= SUM_STEP, into its `out`.
 */
static int sum_step(struct sum *s, void *out, const char *in, size_t stride, size_t n,
                    const char *what, struct br_err *err)
{
    uint32_t size = s->g->comm.size;
    for (uint32_t r = 0; r < size; r++) {
        s->mine[r] = (struct transfer){(char *)in + r * stride * s->width, n * s->width, 0, 0};
        s->theirs[r] = (struct transfer){s->parts + r * n * s->width, n * s->width, 0, 0};
    }
    int rc = swap_parts(s->g, s->mine, s->theirs, what, err);
    if (!rc)
        add_parts(out, s->parts, n, size, s->dtype);
    return rc;
}

static int mpi_reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n_each,
                              uint32_t dtype, struct br_err *err)
{
    static const char what[] = "reduce_scatter";
    struct sum s;
    int rc = check_size(c, n_each, dtype, what, err);
    if (rc)
        return rc;
    rc = sum_begin(&s, c, dtype, n_each, err);
    for (size_t i = 0, k; i < n_each && !rc; i += k) {
        k = n_each - i < SUM_STEP ? n_each - i : SUM_STEP;
        rc = sum_step(&s, br__elem_mut(out, i, dtype), (const char *)in + i * s.width, n_each, k,
                      what, err);
    }
    sum_end(&s);
    return rc;
}

static int gather(struct br_comm *c, void *out, const void *in, size_t bytes, const char *what,
                  struct br_err *err)
{
    struct transfer *mine = calloc(2 * (size_t)c->size, sizeof *mine), *theirs = mine + c->size;
    if (!mine)
        return br_fail(err, BR_E_NOMEM, "out of memory for %s", what);
    for (uint32_t r = 0; r < c->size; r++) {
        mine[r] = (struct transfer){(void *)in, bytes, 0, 0};
        theirs[r] = (struct transfer){(char *)out + r * bytes, bytes, 0, 0};
    }
    int rc = swap_parts(c->self, mine, theirs, what, err);
    free(mine);
    return rc;
}

static int mpi_all_gather(struct br_comm *c, void *out, const void *in, size_t n_each,
                          uint32_t dtype, struct br_err *err)
{
    static const char what[] = "all_gather";
    int rc = check_size(c, n_each, dtype, what, err);
    return rc ? rc : gather(c, out, in, n_each * br_dtype_size((int)dtype), what, err);
}

/* In slabs: each rank sums its part of the slab, then all gather the parts.  The last elements, too
 * few to be shared out, everybody sums. */
static int mpi_all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype,
                          struct br_err *err)
{
    static const char what[] = "all_reduce";
    struct sum s;
    char *all = buf;
    int rc = check_size(c, n, dtype, what, err);
    if (rc)
        return rc;
    rc = sum_begin(&s, c, dtype, n, err);
    char *part = malloc((n < SUM_STEP ? n : SUM_STEP) * s.width + 1);
    if (!rc && !part)
        rc = br_fail(err, BR_E_NOMEM, "out of memory for a sum");
    for (size_t i = 0, k; i < n && !rc; i += k * c->size) {
        k = (n - i) / c->size < SUM_STEP ? (n - i) / c->size : SUM_STEP;
        if (k == 0) {
            rc = gather(c, s.parts, all + i * s.width, (n - i) * s.width, what, err);
            if (!rc)
                add_parts(all + i * s.width, s.parts, n - i, c->size, dtype);
            break;
        }
        rc = sum_step(&s, part, all + i * s.width, k, k, what, err);
        if (!rc)
            rc = gather(c, all + i * s.width, part, k * s.width, what, err);
    }
    free(part);
    sum_end(&s);
    return rc;
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* Down a binomial tree. */
static int mpi_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                         struct br_err *err)
{
    static const char what[] = "broadcast";
    size_t bytes = n * br_dtype_size((int)dtype);
    int rc = check_size(c, n, dtype, what, err);
    if (!rc && root >= c->size)
        return br_fail(err, BR_E_USAGE, "broadcast: rank %" PRIu32 " of a group of %" PRIu32, root,
                       c->size);
    uint32_t self = (c->rank + c->size - root) % c->size, bit = 1;
    while (bit < c->size && !(self & bit))
        bit <<= 1;
    if (!rc && self) {
        struct transfer t = {buf, bytes, (int)((self - bit + root) % c->size), 0};
        rc = transfer_all(c->self, &t, 1, TAG_COLLECTIVE, what, err);
    }
    for (bit >>= 1; bit && !rc; bit >>= 1) {
        struct transfer t = {buf, bytes, (int)((self + bit + root) % c->size), 1};
        if (self + bit < c->size)
            rc = transfer_all(c->self, &t, 1, TAG_COLLECTIVE, what, err);
    }
    return rc;
}

static int mpi_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                          const size_t *send_counts, uint32_t dtype, struct br_err *err)
{
    static const char what[] = "all_to_all";
    size_t width = br_dtype_size((int)dtype);
    int rc = check_size(c, 0, dtype, what, err);
    for (uint32_t r = 0; r < c->size && !rc; r++) {
        rc = check_size(c, send_counts[r], dtype, what, err);
        if (!rc)
            rc = check_size(c, recv_counts[r], dtype, what, err);
    }
    if (!rc && send_counts[c->rank] != recv_counts[c->rank])
        rc = br_fail(err, BR_E_COMM,
                     "all_to_all: rank %d sends %zu elements to itself, which "
                     "expects %zu",
                     world.rank, send_counts[c->rank], recv_counts[c->rank]);
    if (rc)
        return rc;
    struct transfer *mine = calloc(2 * (size_t)c->size, sizeof *mine), *theirs = mine + c->size;
    if (!mine)
        return br_fail(err, BR_E_NOMEM, "out of memory for all_to_all");
    char *from = (char *)in, *to = out;
    for (uint32_t r = 0; r < c->size; r++) {
        mine[r] = (struct transfer){from, send_counts[r] * width, 0, 0};
        theirs[r] = (struct transfer){to, recv_counts[r] * width, 0, 0};
        from += mine[r].bytes;
        to += theirs[r].bytes;
    }
    rc = swap_parts(c->self, mine, theirs, what, err);
    free(mine);
    return rc;
}

static int mpi_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *err)
{
    static const char what[] = "exchange";
    struct transfer *t = calloc(n + 1, sizeof *t);
    int rc = t ? check_usable(what, err)
               : br_fail(err, BR_E_NOMEM, "out of memory for an exchange of %zu messages", n);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = check_size(c, ops[i].n, ops[i].dtype, what, err);
        if (!rc && (ops[i].peer >= c->size || ops[i].peer == c->rank))
            rc = br_fail(err, BR_E_USAGE,
                         "exchange: rank %" PRIu32 " with rank %" PRIu32 " of a group of %" PRIu32,
                         c->rank, ops[i].peer, c->size);
        t[i] = (struct transfer){ops[i].buf, ops[i].n * br_dtype_size((int)ops[i].dtype),
                                 (int)ops[i].peer, (int)ops[i].is_send};
    }
    if (!rc)
        rc = transfer_all(c->self, t, n, TAG_EXCHANGE, what, err);
    free(t);
    return rc;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* This rank gives up.  The others may be anywhere: each is sent a word, and a tenth of a second has
 * to do for the words to leave. */
static void mpi_abort(struct br_comm *c)
{
    static const struct timespec pause = {0, 1000000};
    int size = 0, done = 0, me = world.rank;
    (void)c;
    if (world.gave_up || !pthread_equal(pthread_self(), world.thread))
        return;
    world.gave_up = world.broken = 1;
    if (world.quitter >= 0 || MPI_Comm_size(world.control, &size))
        return;
    MPI_Request *requests = calloc((size_t)size, sizeof *requests);
    MPI_Status *statuses = calloc((size_t)size, sizeof *statuses);
    int n = 0, able = requests && statuses;
    for (int r = 0; able && r < size; r++)
        if (r != me && !MPI_Isend(&me, 1, MPI_INT, r, TAG_ABORT, world.control, &requests[n]))
            n++;
    for (int turn = 0; turn < 100 && !done && able; turn++) {
        if (MPI_Testall(n, requests, &done, statuses))
            break;
        nanosleep(&pause, NULL);
    }
    free(requests);
    free(statuses);
}

static void mpi_close(struct br_comm *c)
{
    struct mpi_group *g = c ? c->self : NULL;
    int unharmed = !world.broken && world.quitter < 0;
    if (!g)
        return;
    /* What a failed transfer left behind would be waited for. */
    if (unharmed && g->mpi != MPI_COMM_WORLD)
        MPI_Comm_free(&g->mpi);
    free(g->world_rank);
    free(g);
    if (--world.n_open == 0 && unharmed) {
        MPI_Comm_free(&world.control);
        MPI_Finalize();
    }
}

static int mpi_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                     struct br_err *err);

static const struct br_comm_ops ops = {
    .struct_size = sizeof ops,
    .all_reduce = mpi_all_reduce,
    .all_gather = mpi_all_gather,
    .reduce_scatter = mpi_reduce_scatter,
    .all_to_all = mpi_all_to_all,
    .broadcast = mpi_broadcast,
    .exchange = mpi_exchange,
    .split = mpi_split,
    .abort = mpi_abort,
    .close = mpi_close,
};

/* The end of a communicator, which it owns from now on. */
static int group_make(MPI_Comm mpi, struct br_comm **out, struct br_err *err)
{
    int rank = 0, size = 0, code = MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    code = code ? code : MPI_Comm_rank(mpi, &rank);
    code = code ? code : MPI_Comm_size(mpi, &size);
    if (code)
        return mpi_failed(code, "a group of ranks", err);
    struct mpi_group *g = calloc(1, sizeof *g);
    int *ranks = calloc(2 * (size_t)size, sizeof *ranks);
    if (!g || !ranks) {
        free(g);
        free(ranks);
        return br_fail(err, BR_E_NOMEM, "out of memory for a group of %d ranks", size);
    }
    MPI_Group mine, all;
    for (int i = 0; i < size; i++)
        ranks[size + i] = i;
    code = MPI_Comm_group(mpi, &mine);
    code = code ? code : MPI_Comm_group(MPI_COMM_WORLD, &all);
    code = code ? code : MPI_Group_translate_ranks(mine, size, ranks + size, all, ranks);
    if (code) {
        free(g);
        free(ranks);
        return mpi_failed(code, "a group of ranks", err);
    }
    MPI_Group_free(&mine);
    MPI_Group_free(&all);
    *g = (struct mpi_group){.mpi = mpi, .world_rank = ranks};
    g->comm = (struct br_comm){&ops, g, (uint32_t)rank, (uint32_t)size};
    world.n_open++;
    *out = &g->comm;
    return BR_OK;
}

static int mpi_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                     struct br_err *err)
{
    const struct mpi_group *g = c->self;
    MPI_Comm made;
    int rc = check_usable("split", err);
    *out = NULL;
    if (rc)
        return rc;
    int code = MPI_Comm_split(g->mpi, (int)(color & INT32_MAX), (int)(key & INT32_MAX), &made);
    return code ? mpi_failed(code, "split", err) : group_make(made, out, err);
}

/* ---- the world ------------------------------------------------------------------------------- */

/* MPI names its own world. */
static int mpi_id(unsigned char id[BR_COMM_ID], struct br_err *err)
{
    (void)err;
    memset(id, 0, BR_COMM_ID);
    return BR_OK;
}

static int mpi_join(void *device, const unsigned char id[BR_COMM_ID], uint32_t rank, uint32_t size,
                    struct br_comm **out, struct br_err *err)
{
    int have = 0, me = 0, n = 0, code;
    (void)device;
    (void)id;
    *out = NULL;
    if (world.begun)
        return br_fail(err, BR_E_COMM, "MPI can be begun once in a process");
    world.begun = 1;
    world.thread = pthread_self();
    code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &have);
    if (code || have < MPI_THREAD_FUNNELED)
        return br_fail(err, BR_E_COMM, "MPI_Init_thread fails: code %d, thread level %d", code,
                       have);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    world.rank = me;
    if ((size_t)n > SUM_STEP)
        return br_fail(err, BR_E_COMM, "%d ranks are more than %zu", n, SUM_STEP);
    if ((uint32_t)me != rank || (uint32_t)n != size)
        return br_fail(err, BR_E_COMM,
                       "MPI says rank %d of %d, the environment rank %" PRIu32 " of %" PRIu32
                       ": was the program started by another MPI's mpirun?",
                       me, n, rank, size);
    code = MPI_Comm_dup(MPI_COMM_WORLD, &world.control);
    if (code)
        return mpi_failed(code, "the control communicator", err);
    MPI_Comm_set_errhandler(world.control, MPI_ERRORS_RETURN);
    return group_make(MPI_COMM_WORLD, out, err);
}

BR_API const struct br_plane *bridge_plane_v1(void);
BR_API const struct br_plane *bridge_plane_v1(void)
{
    static const struct br_plane plane = {
        .struct_size = sizeof plane,
        .built_with = BR_VERSION,
        .name = BRIDGE_MPI_NAME,
        .id = mpi_id,
        .join = mpi_join,
    };
    return &plane;
}
