/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* mpi.c - communicators whose ranks are processes that an MPI started; buffers are host memory.
 *
 * A module, built once against each MPI: comm_mpich.so, comm_openmpi.so.  Calls of MPI are of
 * one thread at a time.  MPI moves bytes and adds nothing: sums are those of sum.h, so
 * they have the bits of local.c.  Only non-blocking transfers are used, and a rank that waits looks
 * whether another has given up.  Groups are bridge's own, for making MPI's would block: all
 * messages are of MPI_COMM_WORLD, and a group is told by its tags.
 *
 * After an error a transfer may still be under way in buffers of the caller: such a world is
 * broken, every later call of it fails, and the process can only end. */
#include "sum.h"

#include <inttypes.h>
#include <mpi.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)4 << 20) /* bytes of one transfer; whether one is done shows progress */
#define SUM_AT_ONCE ((size_t)1 << 20) /* elements of all ranks that are in transit for a sum */
/* Tags: TAG_ABORT, and of each group two, one for collectives and one for exchanges. */
enum { TAG_ABORT, TAG_FIRST };
#define LOOKS 5000U /* a millisecond or so */
enum { COLLECTIVE, EXCHANGE, TAGS_OF_GROUP };

struct mpi_group {
    struct br_comm comm;
    int tag;         /* of its collectives */
    int *world_rank; /* [size] */
};

/* Of a process there is one world, MPI_COMM_WORLD, and it can be begun once. */
static struct {
    int begun, broken, gave_up;
    _Atomic int leaving;     /* this rank gives up, maybe by another thread */
    pthread_mutex_t lock;    /* of the calls of MPI */
    int rank, size, quitter; /* quitter: who gave up, or -1 */
    int next_tag, last_tag;  /* that no group of this rank has */
    char *scratch;           /* of sums; kept, since new memory costs more than a small sum */
    size_t scratch_bytes;
    unsigned n_open, n_looks; /* n_looks: of who waits, before it lets others run */
} world = {.lock = PTHREAD_MUTEX_INITIALIZER, .quitter = -1};

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
    if (atomic_load(&world.leaving))
        world.broken = 1;
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

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* How long a rank has waited. */
struct pace {
    unsigned turn;      /* looks since a piece ended */
    double since, woke; /* when it first let others run, and when it last slept; 0: not yet */
};

/* Between two looks: at first none, since most messages are near; then let others run.  An MPI
 * moves bytes when it is looked at, so one does not sleep long while a piece may be under way; but
 * where others want the CPU, who yields it waits longer than who sleeps.  A long wait may become
 * longer by a part of itself, unless a look has taken its time, as one that moves bytes does: who
 * wakes up twenty thousand times a second takes a tenth of a core from those it waits for. */
static void relax(struct pace *p)
{
    static unsigned crowded; /* sleep so many times more */
    if (p->turn < world.n_looks)
        return;
    double now = seconds_now();
    if (p->since == 0 || (p->woke > 0 && now - p->woke > 1e-5))
        p->since = now;
    if (p->turn > 2 * world.n_looks || crowded) {
        double part = (now - p->since) / 32;
        struct timespec pause = {0, part < 5e-5   ? 50000
                                    : part > 1e-3 ? 1000000
                                                  : (long)(part * 1e9)};
        crowded -= crowded > 0;
        nanosleep(&pause, NULL);
        p->woke = seconds_now();
        return;
    }
    sched_yield();
    if (seconds_now() - now > 2e-4)
        crowded = 100;
}

/* Has a rank given up?  Its number arrives with TAG_ABORT. */
static void look_for_abort(void)
{
    int there = 0, who;
    MPI_Status status;
    if (MPI_Iprobe(MPI_ANY_SOURCE, TAG_ABORT, MPI_COMM_WORLD, &there, &status) || !there)
        return;
    if (!MPI_Recv(&who, 1, MPI_INT, status.MPI_SOURCE, TAG_ABORT, MPI_COMM_WORLD, &status))
        world.quitter = who;
}

/* Requests and what has become of them, [n] each; done: room for n numbers. */
struct waited {
    MPI_Request *requests;
    MPI_Status *statuses, *some;
    int *done, n;
};

/* Take those that have ended; how many, or -1. */
static int take_ended(struct waited *w, const char *what, struct br_err *err)
{
    int n = 0, code = MPI_Testsome(w->n, w->requests, &n, w->done, w->some);
    for (int i = 0; i < n && n != MPI_UNDEFINED; i++) {
        w->statuses[w->done[i]] = w->some[i];
        if (code == MPI_ERR_IN_STATUS && w->some[i].MPI_ERROR)
            code = w->some[i].MPI_ERROR;
    }
    if (!code)
        return n == MPI_UNDEFINED ? 0 : n;
    (void)!mpi_failed(code, what, err);
    return -1;
}

static int wait_all(struct waited *w, const char *what, struct br_err *err)
{
    int left = w->n;
    for (struct pace pace = {0}; left; pace.turn++) {
        int n = take_ended(w, what, err);
        if (n < 0)
            return BR_E_COMM;
        left -= n;
        if (n)
            pace = (struct pace){0};
        if (left && pace.turn % 64 == 63) {
            look_for_abort();
            int rc = check_usable(what, err);
            if (rc) {
                world.broken = 1;
                return rc;
            }
        }
        if (left)
            relax(&pace);
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
    int n = (int)(t->bytes - at < CHUNK ? t->bytes - at : CHUNK), peer = g->world_rank[t->peer];
    return t->is_send ? MPI_Isend(p, n, MPI_BYTE, peer, g->tag + tag, MPI_COMM_WORLD, out)
                      : MPI_Irecv(p, n, MPI_BYTE, peer, g->tag + tag, MPI_COMM_WORLD, out);
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
    struct waited w = {.requests = calloc(pieces + 1, sizeof *w.requests),
                       .statuses = calloc(2 * pieces + 1, sizeof *w.statuses),
                       .done = calloc(pieces + 1, sizeof *w.done),
                       .n = (int)pieces};
    int rc = w.requests && w.statuses && w.done
                 ? BR_OK
                 : br_fail(err, BR_E_NOMEM, "out of memory for %zu transfers", n);
    pthread_mutex_lock(&world.lock);
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t j = 0; j < pieces_of(&t[i]) && !rc; j++) {
            int code = post_piece(g, &t[i], j * CHUNK, tag, &w.requests[k++]);
            rc = code ? mpi_failed(code, what, err) : BR_OK;
        }
    if (!rc) {
        w.some = w.statuses + pieces;
        rc = wait_all(&w, what, err);
    }
    pthread_mutex_unlock(&world.lock);
    k = 0;
    for (size_t i = 0; i < n && !rc; i++)
        for (size_t j = 0; j < pieces_of(&t[i]) && !rc; j++)
            rc = check_received(g, &t[i], j * CHUNK, &w.statuses[k++], what, err);
    free(w.requests);
    free(w.statuses);
    free(w.done);
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
    int rc = transfer_all(g, t, n, COLLECTIVE, what, err);
    free(t);
    return rc;
}

/* ---- sums ------------------------------------------------------------------------------------ */

struct sum {
    struct mpi_group *g;
    uint32_t dtype;
    size_t width, step;             /* bytes of an element; elements of a rank at once */
    struct transfer *mine, *theirs; /* [size] */
    char *parts;                    /* [size][step] what came from the others; borrowed */
};

static char *scratch_of(size_t bytes)
{
    if (bytes <= world.scratch_bytes)
        return world.scratch;
    free(world.scratch);
    world.scratch = malloc(bytes);
    world.scratch_bytes = world.scratch ? bytes : 0;
    return world.scratch;
}

static int sum_begin(struct sum *s, struct br_comm *c, uint32_t dtype, size_t n, struct br_err *err)
{
    *s = (struct sum){.g = c->self,
                      .dtype = dtype,
                      .width = br_dtype_size((int)dtype),
                      .step = SUM_AT_ONCE / c->size};
    size_t step = n < s->step ? n : s->step;
    s->mine = calloc(c->size, sizeof *s->mine);
    s->theirs = calloc(c->size, sizeof *s->theirs);
    s->parts = scratch_of(c->size * step * s->width + 1);
    return s->mine && s->theirs && s->parts ? BR_OK
                                            : br_fail(err, BR_E_NOMEM, "out of memory for a sum");
}

static void sum_end(struct sum *s)
{
    free(s->mine);
    free(s->theirs);
}

/* out = the sum of the n elements that each rank has at theirs[r].buf, in the order of the ranks;
 * out may be one of them. */
static void add_parts(const struct sum *s, void *out, size_t n)
{
    union br__sum_block sum;
    uint32_t size = s->g->comm.size;
    if (s->dtype == BR_F32 && size == 2) { /* without a copy, which would take as long again */
        br_sum_f32(out, s->theirs[0].buf, s->theirs[1].buf, n);
        return;
    }
    for (size_t i = 0, k; i < n; i += k) {
        k = n - i < BR__SUM_BLOCK ? n - i : BR__SUM_BLOCK;
        br__sum_load(&sum, br__elem_at(s->theirs[0].buf, i, s->dtype), k, s->dtype);
        for (uint32_t r = 1; r < size; r++)
            br__sum_add(&sum, br__elem_at(s->theirs[r].buf, i, s->dtype), k, s->dtype);
        br__sum_store(br__elem_mut(out, i, s->dtype), &sum, k, s->dtype);
    }
}

/* Each rank gets, at theirs[r].buf, what rank r has for it: n <= step elements, those for rank
 * q at in + q * stride.  Its own stay where they are. */
static int sum_swap(struct sum *s, const char *in, size_t stride, size_t n, const char *what,
                    struct br_err *err)
{
    uint32_t size = s->g->comm.size, self = s->g->comm.rank;
    for (uint32_t r = 0; r < size; r++) {
        s->mine[r] = (struct transfer){(char *)in + r * stride * s->width, n * s->width, 0, 0};
        s->theirs[r] = (struct transfer){s->parts + r * n * s->width, n * s->width, 0, 0};
    }
    s->theirs[self].buf = s->mine[self].buf;
    return swap_parts(s->g, s->mine, s->theirs, what, err);
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
        k = n_each - i < s.step ? n_each - i : s.step;
        rc = sum_swap(&s, (const char *)in + i * s.width, n_each, k, what, err);
        if (!rc)
            add_parts(&s, br__elem_mut(out, i, dtype), k);
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

/* Every rank sums n elements, fewer than there are ranks. */
static int sum_rest(struct sum *s, void *buf, size_t n, const char *what, struct br_err *err)
{
    int rc = gather(&s->g->comm, s->parts, buf, n * s->width, what, err);
    for (uint32_t r = 0; r < s->g->comm.size; r++)
        s->theirs[r].buf = s->parts + r * n * s->width;
    if (!rc)
        add_parts(s, buf, n);
    return rc;
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
    for (size_t i = 0, k; i < n && !rc; i += k * c->size) {
        char *slab = all + i * s.width;
        k = (n - i) / c->size < s.step ? (n - i) / c->size : s.step;
        if (k == 0) {
            rc = sum_rest(&s, slab, n - i, what, err);
            break;
        }
        char *part = slab + c->rank * k * s.width;
        rc = sum_swap(&s, slab, k, k, what, err);
        if (!rc) {
            add_parts(&s, part, k);
            rc = gather(c, slab, part, k * s.width, what, err);
        }
    }
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
        rc = transfer_all(c->self, &t, 1, COLLECTIVE, what, err);
    }
    for (bit >>= 1; bit && !rc; bit >>= 1) {
        struct transfer t = {buf, bytes, (int)((self + bit + root) % c->size), 1};
        if (self + bit < c->size)
            rc = transfer_all(c->self, &t, 1, COLLECTIVE, what, err);
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
        rc = transfer_all(c->self, t, n, EXCHANGE, what, err);
    free(t);
    return rc;
}

/* ---- groups ---------------------------------------------------------------------------------- */

/* With the lock held: each of the others, who may be anywhere, is sent a word, and a tenth of a
 * second has to do for the words to leave. */
static void tell_others(void)
{
    static const struct timespec pause = {0, 1000000};
    int done = 0, me = world.rank;
    MPI_Request *requests = calloc((size_t)world.size, sizeof *requests);
    MPI_Status *statuses = calloc((size_t)world.size, sizeof *statuses);
    int n = 0, able = requests && statuses;
    for (int r = 0; able && r < world.size; r++)
        if (r != me && !MPI_Isend(&me, 1, MPI_INT, r, TAG_ABORT, MPI_COMM_WORLD, &requests[n]))
            n++;
    for (int turn = 0; turn < 100 && !done && able; turn++) {
        if (MPI_Testall(n, requests, &done, statuses))
            break;
        nanosleep(&pause, NULL);
    }
    free(requests);
    free(statuses);
}

/* This rank gives up.  Where another thread waits in a call it stops doing so, and the others are
 * told by a second call of this. */
static void mpi_abort(struct br_comm *c)
{
    (void)c;
    atomic_store(&world.leaving, 1);
    if (pthread_mutex_trylock(&world.lock))
        return;
    if (!world.gave_up && world.quitter < 0)
        tell_others();
    world.gave_up = world.broken = 1;
    pthread_mutex_unlock(&world.lock);
}

/* A transfer that failed would be waited for: such a world is not ended. */
static void mpi_close(struct br_comm *c)
{
    struct mpi_group *g = c ? c->self : NULL;
    if (!g)
        return;
    free(g->world_rank);
    free(g);
    if (--world.n_open)
        return;
    free(world.scratch);
    world.scratch = NULL;
    world.scratch_bytes = 0;
    if (!world.broken && world.quitter < 0)
        MPI_Finalize();
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

/* This rank's end of a group of `size`, whose world ranks the caller fills in. */
static struct mpi_group *group_make(uint32_t rank, uint32_t size, int tag, struct br_err *err)
{
    struct mpi_group *g = calloc(1, sizeof *g);
    int *ranks = calloc(size, sizeof *ranks);
    if (!g || !ranks) {
        free(g);
        free(ranks);
        (void)br_fail(err, BR_E_NOMEM, "out of memory for a group of %" PRIu32 " ranks", size);
        return NULL;
    }
    *g = (struct mpi_group){.tag = tag, .world_rank = ranks};
    g->comm = (struct br_comm){&ops, g, rank, size};
    world.n_open++;
    return g;
}

/* What a rank tells the others of its group when it is split. */
struct part {
    int color, key;
    int next_tag; /* none from here on is in use at that rank */
};

/* Does rank a come before rank b in the group of their color? */
static int is_before(const struct part *all, uint32_t a, uint32_t b)
{
    return all[a].key != all[b].key ? all[a].key < all[b].key : a < b;
}

/* The group of this rank's color; all[c->size]: what each has told. */
static struct mpi_group *group_of(const struct br_comm *c, const struct part *all, int tag,
                                  struct br_err *err)
{
    const struct mpi_group *from = c->self;
    uint32_t me = c->rank, rank = 0, size = 0;
    for (uint32_t r = 0; r < c->size; r++) {
        size += all[r].color == all[me].color;
        rank += all[r].color == all[me].color && is_before(all, r, me);
    }
    struct mpi_group *g = group_make(rank, size, tag, err);
    for (uint32_t r = 0; r < c->size && g; r++) {
        uint32_t before = 0;
        for (uint32_t q = 0; q < c->size; q++)
            before += all[q].color == all[me].color && is_before(all, q, r);
        if (all[r].color == all[me].color)
            g->world_rank[before] = from->world_rank[r];
    }
    return g;
}

/* The new groups, which have no rank in common, have the same tags: the first that are in use
 * nowhere among their ranks. */
static int mpi_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                     struct br_err *err)
{
    int rc = check_usable("split", err), tag = TAG_FIRST;
    *out = NULL;
    if (rc)
        return rc;
    struct part mine = {(int)(color & INT32_MAX), (int)(key & INT32_MAX), world.next_tag};
    struct part *all = calloc(c->size, sizeof *all);
    rc = all ? gather(c, all, &mine, sizeof mine, "split", err)
             : br_fail(err, BR_E_NOMEM, "out of memory for a group of ranks");
    for (uint32_t r = 0; r < c->size && !rc; r++)
        tag = all[r].next_tag > tag ? all[r].next_tag : tag;
    if (!rc && tag > world.last_tag)
        rc = br_fail(err, BR_E_COMM, "split: the MPI has %d tags, and all are in use",
                     world.last_tag + TAGS_OF_GROUP);
    struct mpi_group *g = rc ? NULL : group_of(c, all, tag, err);
    if (g) {
        world.next_tag = tag + TAGS_OF_GROUP;
        *out = &g->comm;
    }
    free(all);
    return rc || g ? rc : BR_E_NOMEM;
}

/* ---- the world ------------------------------------------------------------------------------- */

/* MPI names its own world. */
static int mpi_id(unsigned char id[BR_COMM_ID], struct br_err *err)
{
    (void)err;
    memset(id, 0, BR_COMM_ID);
    return BR_OK;
}

/* The highest tag; MPI promises 32767. */
static int tag_limit(void)
{
    int *most = NULL, known = 0;
    return MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, &most, &known) || !known ? 32767 : *most;
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
    code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &have);
    if (code || have < MPI_THREAD_SERIALIZED)
        return br_fail(err, BR_E_COMM, "MPI_Init_thread fails: code %d, thread level %d", code,
                       have);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_rank(MPI_COMM_WORLD, &me);
    MPI_Comm_size(MPI_COMM_WORLD, &n);
    world.rank = me;
    if ((size_t)n > SUM_AT_ONCE)
        return br_fail(err, BR_E_COMM, "%d ranks are more than %zu", n, SUM_AT_ONCE);
    if ((uint32_t)me != rank || (uint32_t)n != size)
        return br_fail(err, BR_E_COMM,
                       "MPI says rank %d of %d, the environment rank %" PRIu32 " of %" PRIu32
                       ": was the program started by another MPI's mpirun?",
                       me, n, rank, size);
    struct mpi_group *g = group_make(rank, size, TAG_FIRST, err);
    if (!g)
        return BR_E_NOMEM;
    for (int r = 0; r < n; r++)
        g->world_rank[r] = r;
    world.size = n;
    world.n_looks = sysconf(_SC_NPROCESSORS_ONLN) < n ? 100 : LOOKS;
    world.next_tag = TAG_FIRST + TAGS_OF_GROUP;
    world.last_tag = tag_limit() - TAGS_OF_GROUP;
    *out = &g->comm;
    return BR_OK;
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
