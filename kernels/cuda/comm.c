/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* comm.c - communicators by NCCL.
 *
 * A collective is enqueued on the device's stream and has not run when the call returns.  Those of
 * a communicator go one after another, on whichever of the device's streams. Communicators do not
 * block: a call that NCCL has not finished setting up is polled, and so is the device while it
 * waits (br__cuda_wait), so that a rank that failed ends the others.  A communicator is used by the
 * thread of its rank only; ranks that are threads of one process share a flag that says that one
 * gave up, and each then aborts its own. */
#include "comm.h"
#include "libs.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Static_assert(sizeof(ncclUniqueId) == BR_COMM_ID, "a world's name is NCCL's");

#define DEFAULT_TIMEOUT 600 /* seconds; BRIDGE_COMM_TIMEOUT or --comm-timeout say others */
#define POLL_NS 50000

/* Ranks of a world that are threads of this process.  One that gave up before all ranks have come
 * stays in the list, for those who come later. */
struct world {
    unsigned char id[BR_COMM_ID];
    uint32_t users;   /* communicators */
    uint32_t missing; /* ranks that have not come */
    int gave_up;
    struct world *next;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list and what is in it */
static struct world *worlds;
static _Atomic uint64_t turns; /* operations that were enqueued */

struct br__cuda_comm {
    struct br_comm comm;
    struct br__cuda *d;
    struct world *world;
    ncclComm_t nccl;
    int is_dead;
    int is_watched;             /* somebody else finds who waits too long */
    const char *op;             /* the last that was enqueued */
    uint64_t turn;              /* of it */
    char group[160];            /* " (tp: ranks 0, 2)", or "" */
    cudaEvent_t done;           /* what was on the second stream */
    int on_second;              /* the last one was */
    struct br__cuda_comm *next; /* of the device */
};

/* ---- worlds ---------------------------------------------------------------------------------- */

/* size: of a rank that comes; 0: of one that is there, for a part of the world. */
static struct world *world_enter(const unsigned char id[BR_COMM_ID], uint32_t size)
{
    pthread_mutex_lock(&lock);
    struct world *w = worlds;
    while (w && memcmp(w->id, id, BR_COMM_ID) != 0)
        w = w->next;
    if (!w && (w = calloc(1, sizeof *w))) {
        memcpy(w->id, id, BR_COMM_ID);
        w->missing = size;
        w->next = worlds;
        worlds = w;
    }
    if (w) {
        w->users++;
        w->missing -= size > 0;
    }
    pthread_mutex_unlock(&lock);
    return w;
}

static void world_leave(struct world *w)
{
    pthread_mutex_lock(&lock);
    if (--w->users == 0 && !(w->gave_up && w->missing)) {
        struct world **at = &worlds;
        while (*at != w)
            at = &(*at)->next;
        *at = w->next;
        free(w);
    }
    pthread_mutex_unlock(&lock);
}

static int world_gave_up(struct world *w)
{
    pthread_mutex_lock(&lock);
    int gave_up = w->gave_up;
    pthread_mutex_unlock(&lock);
    return gave_up;
}

static void world_give_up(struct world *w)
{
    pthread_mutex_lock(&lock);
    w->gave_up = 1;
    pthread_mutex_unlock(&lock);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double timeout(void)
{
    const char *text = getenv("BRIDGE_COMM_TIMEOUT");
    double s = text ? strtod(text, NULL) : 0;
    return s > 0 ? s : DEFAULT_TIMEOUT;
}

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
}

/* This rank's end of the world is of no more use, and the other ranks will find out. */
static void comm_kill(struct br__cuda_comm *m)
{
    world_give_up(m->world);
    for (struct br__cuda_comm *o = m->d->comms; o; o = o->next)
        if (!o->is_dead && o->world == m->world) {
            o->is_dead = 1;
            if (o->nccl)
                br__cuda_libs.ncclCommAbort(o->nccl);
        }
}

/* Why a communicator cannot go on: its own error, another rank's, or the time since `from`. */
static int comm_broken(struct br__cuda_comm *m, ncclResult_t state, double from, struct br_err *err)
{
    double waited = seconds() - from;
    const char *op = m->op ? m->op : "setting up";
    int rc = BR_OK;
    if (m->is_dead || world_gave_up(m->world))
        rc = br_fail(err, BR_E_COMM, "rank %u of %u%s: %s: another rank gave up", m->comm.rank,
                     m->comm.size, m->group, op);
    else if (state != ncclSuccess && state != ncclInProgress)
        rc = br_fail(err, BR_E_COMM, "rank %u of %u%s: %s: NCCL: %s (%s)", m->comm.rank,
                     m->comm.size, m->group, op, br__cuda_libs.ncclGetErrorString(state),
                     br__cuda_libs.ncclGetLastError(m->nccl));
    else if (!m->is_watched && waited > timeout())
        rc = br_fail(err, BR_E_COMM,
                     "rank %u of %u%s: %s: no answer from the others for %.0f s "
                     "(--comm-timeout)",
                     m->comm.rank, m->comm.size, m->group, op, waited);
    if (rc)
        comm_kill(m);
    return rc;
}

/* Until NCCL has taken a call. */
static int comm_settle(struct br__cuda_comm *m, ncclResult_t rc, struct br_err *err)
{
    double from = seconds();
    while (rc == ncclInProgress) {
        int broken = comm_broken(m, rc, from, err);
        if (broken)
            return broken;
        nap();
        ncclResult_t asked = br__cuda_libs.ncclCommGetAsyncError(m->nccl, &rc);
        rc = asked == ncclSuccess ? rc : asked;
    }
    return rc == ncclSuccess ? BR_OK : comm_broken(m, rc, from, err);
}

/* That whose operation was enqueued last. */
static struct br__cuda_comm *latest(const struct br__cuda *d)
{
    struct br__cuda_comm *last = d->comms;
    for (struct br__cuda_comm *m = d->comms; m; m = m->next)
        if (m->turn > last->turn)
            last = m;
    return last;
}

static cudaError_t is_done(const struct br__cuda *d, cudaEvent_t until)
{
    return until ? cudaEventQuery(until) : cudaStreamQuery(d->stream);
}

/* *rc: the runtime's answer, when it has one. */
static int wait_for(struct br__cuda *d, cudaEvent_t until, cudaError_t *rc, struct br_err *err)
{
    double from = seconds();
    *rc = d->comms ? is_done(d, until)
          : until  ? cudaEventSynchronize(until)
                   : cudaStreamSynchronize(d->stream);
    for (; *rc == cudaErrorNotReady; *rc = is_done(d, until)) {
        cudaGetLastError();
        for (struct br__cuda_comm *m = d->comms; m; m = m->next) {
            ncclResult_t state = ncclSuccess;
            if (!m->is_dead && br__cuda_libs.ncclCommGetAsyncError(m->nccl, &state) != ncclSuccess)
                state = ncclInternalError;
            if (state != ncclSuccess && state != ncclInProgress)
                return comm_broken(m, state, from, err);
        }
        int broken = comm_broken(latest(d), ncclSuccess, from, err);
        if (broken)
            return broken;
        nap();
    }
    return BR_OK;
}

int br__cuda_wait(struct br__cuda *d, cudaEvent_t until, struct br_err *err)
{
    cudaError_t rc;
    int broken = wait_for(d, until, &rc, err);
    if (broken)
        return broken;
    return until && rc == cudaSuccess ? BR_OK : br__cuda_check(d, rc, "waiting", err);
}

void br__cuda_settle(struct br__cuda *d)
{
    cudaError_t rc;
    if (d->comms)
        (void)wait_for(d, NULL, &rc, NULL);
}

/* ---- collectives ----------------------------------------------------------------------------- */

static int type_of(uint32_t dtype, ncclDataType_t *type, struct br_err *err)
{
    switch (dtype) {
    case BR_F32:
        *type = ncclFloat32;
        return BR_OK;
    case BR_BF16:
        *type = ncclBfloat16;
        return BR_OK;
    case BR_F16:
        *type = ncclFloat16;
        return BR_OK;
    case BR_I32:
        *type = ncclInt32;
        return BR_OK;
    case BR_I64:
        *type = ncclInt64;
        return BR_OK;
    default:
        return br_fail(err, BR_E_COMM,
                       "dtype %u, expected float32, bfloat16, float16, int32 or int64", dtype);
    }
}

/* What every call begins with. */
static int comm_begin(struct br__cuda_comm *m, const char *op, uint32_t dtype, ncclDataType_t *type,
                      struct br_err *err)
{
    int rc = type_of(dtype, type, err);
    if (rc)
        return rc;
    m->op = op;
    m->turn = atomic_fetch_add(&turns, 1) + 1;
    if (m->is_dead || world_gave_up(m->world))
        return comm_broken(m, ncclSuccess, seconds(), err);
    if ((rc = br__cuda_enter(m->d, err)) != 0)
        return rc;
    if (!m->on_second || m->d->stream != m->d->first)
        return BR_OK;
    m->on_second = 0;
    return br__cuda_check(m->d, cudaStreamWaitEvent(m->d->first, m->done, 0),
                          "an order of collectives", err);
}

/* What every call that was enqueued ends with.  The second stream comes after the first one as it
 * is. */
static int comm_end(struct br__cuda_comm *m, ncclResult_t enqueued, struct br_err *err)
{
    int rc = comm_settle(m, enqueued, err);
    if (rc || m->d->stream == m->d->first)
        return rc;
    cudaError_t made =
        m->done ? cudaSuccess : cudaEventCreateWithFlags(&m->done, cudaEventDisableTiming);
    if (made == cudaSuccess)
        made = cudaEventRecord(m->done, m->d->stream);
    m->on_second = made == cudaSuccess;
    return br__cuda_check(m->d, made, "an order of collectives", err);
}

static int all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype, struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclDataType_t type;
    int rc = comm_begin(m, "all_reduce", dtype, &type, err);
    if (rc || n == 0)
        return rc;
    return comm_end(
        m, br__cuda_libs.ncclAllReduce(buf, buf, n, type, ncclSum, m->nccl, m->d->stream), err);
}

static int all_gather(struct br_comm *c, void *out, const void *in, size_t n, uint32_t dtype,
                      struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclDataType_t type;
    int rc = comm_begin(m, "all_gather", dtype, &type, err);
    if (rc || n == 0)
        return rc;
    return comm_end(m, br__cuda_libs.ncclAllGather(in, out, n, type, m->nccl, m->d->stream), err);
}

static int reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n, uint32_t dtype,
                          struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclDataType_t type;
    int rc = comm_begin(m, "reduce_scatter", dtype, &type, err);
    if (rc || n == 0)
        return rc;
    return comm_end(
        m, br__cuda_libs.ncclReduceScatter(in, out, n, type, ncclSum, m->nccl, m->d->stream), err);
}

static int broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                     struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclDataType_t type;
    int rc = comm_begin(m, "broadcast", dtype, &type, err);
    if (!rc && root >= c->size)
        rc = br_fail(err, BR_E_COMM, "broadcast: rank %u of %u", root, c->size);
    if (rc || n == 0)
        return rc;
    return comm_end(
        m, br__cuda_libs.ncclBroadcast(buf, buf, n, type, (int)root, m->nccl, m->d->stream), err);
}

/* One group of sends and receives; those of nothing are left out. */
static int exchange(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclDataType_t type;
    ncclResult_t sent = ncclSuccess;
    int rc = comm_begin(m, "exchange", BR_F32, &type, err);
    for (size_t i = 0; i < n && !rc; i++) {
        rc = type_of(ops[i].dtype, &type, err);
        if (!rc && ops[i].peer >= c->size)
            rc = br_fail(err, BR_E_COMM, "exchange: rank %u of %u", ops[i].peer, c->size);
    }
    if (rc)
        return rc;
    rc = comm_settle(m, br__cuda_libs.ncclGroupStart(), err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const struct br_p2p *p = &ops[i];
        if (p->n == 0 || type_of(p->dtype, &type, err))
            continue;
        ncclResult_t r =
            p->is_send
                ? br__cuda_libs.ncclSend(p->buf, p->n, type, (int)p->peer, m->nccl, m->d->stream)
                : br__cuda_libs.ncclRecv(p->buf, p->n, type, (int)p->peer, m->nccl, m->d->stream);
        if (sent == ncclSuccess && r != ncclInProgress)
            sent = r;
    }
    ncclResult_t ended = br__cuda_libs.ncclGroupEnd();
    return comm_end(m, sent != ncclSuccess ? sent : ended, err);
}

static size_t bytes_of(uint32_t dtype)
{
    return dtype == BR_I64 ? 8 : dtype == BR_F32 || dtype == BR_I32 ? 4 : 2;
}

static int all_to_all(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                      const size_t *send_counts, uint32_t dtype, struct br_err *err)
{
    struct br_p2p *ops = calloc(2 * (size_t)c->size, sizeof *ops);
    if (!ops)
        return br_fail(err, BR_E_NOMEM, "out of memory for an exchange of %u ranks", c->size);
    char *to = out, *from = (char *)(uintptr_t)in;
    for (uint32_t r = 0; r < c->size; r++) {
        ops[2 * r] = (struct br_p2p){from, send_counts[r], dtype, r, 1, 0};
        ops[2 * r + 1] = (struct br_p2p){to, recv_counts[r], dtype, r, 0, 0};
        from += send_counts[r] * bytes_of(dtype);
        to += recv_counts[r] * bytes_of(dtype);
    }
    int rc = exchange(c, ops, 2 * (size_t)c->size, err);
    free(ops);
    return rc;
}

/* From any thread: that which uses the communicators aborts them, as soon as it waits or calls. */
static void abort_world(struct br_comm *c)
{
    struct br__cuda_comm *m = c->self;
    world_give_up(m->world);
}

static void describe(struct br_comm *c, const char *group, int is_watched)
{
    struct br__cuda_comm *m = c->self;
    snprintf(m->group, sizeof m->group, " (%s)", group);
    m->is_watched = is_watched;
}

/* ---- making and closing ---------------------------------------------------------------------- */

static void comm_close(struct br_comm *c)
{
    struct br__cuda_comm *m = c->self, **at = &m->d->comms;
    br__cuda_enter_to_free(m->d);
    if (!m->is_dead && world_gave_up(m->world))
        comm_kill(m);
    if (m->nccl && !m->is_dead)
        br__cuda_libs.ncclCommDestroy(m->nccl);
    if (m->done)
        cudaEventDestroy(m->done);
    while (*at && *at != m)
        at = &(*at)->next;
    if (*at)
        *at = m->next;
    world_leave(m->world);
    free(m);
}

static int comm_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                      struct br_err *err);

static struct br__cuda_comm *comm_new(struct br__cuda *d, const unsigned char id[BR_COMM_ID],
                                      uint32_t size, struct br_err *err)
{
    static const struct br_comm_ops ops = {
        .struct_size = sizeof ops,
        .all_reduce = all_reduce,
        .all_gather = all_gather,
        .reduce_scatter = reduce_scatter,
        .all_to_all = all_to_all,
        .broadcast = broadcast,
        .exchange = exchange,
        .split = comm_split,
        .abort = abort_world,
        .close = comm_close,
        .describe = describe,
    };
    struct br__cuda_comm *m = calloc(1, sizeof *m);
    struct world *w = m ? world_enter(id, size) : NULL;
    if (!w) {
        free(m);
        br_fail(err, BR_E_NOMEM, "out of memory for a communicator");
        return NULL;
    }
    m->comm = (struct br_comm){.ops = &ops, .self = m};
    m->d = d;
    m->world = w;
    m->next = d->comms;
    d->comms = m;
    return m;
}

static ncclConfig_t config_of(void)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return config;
}

static int comm_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                      struct br_err *err)
{
    struct br__cuda_comm *m = c->self;
    ncclConfig_t config = config_of();
    ncclDataType_t type;
    int rank = 0, size = 0;
    *out = NULL;
    int rc = comm_begin(m, "split", BR_F32, &type, err);
    struct br__cuda_comm *part = rc ? NULL : comm_new(m->d, m->world->id, 0, err);
    if (!part)
        return rc ? rc : BR_E_NOMEM;
    rc = comm_settle(
        m, br__cuda_libs.ncclCommSplit(m->nccl, (int)color, (int)key, &part->nccl, &config), err);
    if (!rc)
        rc = comm_settle(part, br__cuda_libs.ncclCommUserRank(part->nccl, &rank), err);
    if (!rc)
        rc = comm_settle(part, br__cuda_libs.ncclCommCount(part->nccl, &size), err);
    if (rc) {
        comm_close(&part->comm);
        return rc;
    }
    part->comm.rank = (uint32_t)rank;
    part->comm.size = (uint32_t)size;
    *out = &part->comm;
    return BR_OK;
}

static int plane_id(unsigned char id[BR_COMM_ID], struct br_err *err)
{
    ncclUniqueId made;
    int rc = br__cuda_lib_open(BR__CUDA_LIB_nccl, err);
    if (rc)
        return rc;
    ncclResult_t r = br__cuda_libs.ncclGetUniqueId(&made);
    if (r != ncclSuccess)
        return br_fail(err, BR_E_COMM, "NCCL: %s", br__cuda_libs.ncclGetErrorString(r));
    memcpy(id, &made, BR_COMM_ID);
    return BR_OK;
}

static int plane_join(void *device, const unsigned char id[BR_COMM_ID], uint32_t rank,
                      uint32_t size, struct br_comm **out, struct br_err *err)
{
    struct br__cuda *d = device;
    ncclConfig_t config = config_of();
    ncclUniqueId name;
    *out = NULL;
    int rc = br__cuda_lib_open(BR__CUDA_LIB_nccl, err);
    if (rc)
        return rc;
    struct br__cuda_comm *m = comm_new(d, id, size, err);
    if (!m)
        return BR_E_NOMEM;
    memcpy(&name, id, BR_COMM_ID);
    m->comm.rank = rank;
    m->comm.size = size;
    rc = br__cuda_enter(d, err);
    if (!rc)
        rc = comm_settle(
            m, br__cuda_libs.ncclCommInitRankConfig(&m->nccl, (int)size, name, (int)rank, &config),
            err);
    if (rc) {
        world_give_up(m->world);
        comm_close(&m->comm);
        return rc;
    }
    *out = &m->comm;
    return BR_OK;
}

const struct br_plane br__cuda_plane = {
    .struct_size = sizeof br__cuda_plane,
    .built_with = BR_VERSION,
    .name = "nccl",
    .id = plane_id,
    .join = plane_join,
};
