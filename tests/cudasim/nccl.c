/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* nccl.c - libnccl.so.2 of the simulator: ranks are threads of one process, each with a device.
 *
 * An operation is carried out when the streams of all its ranks have come to it; what each rank
 * says of it must agree.  Sums are made in the order of ranks backwards and rounded at each step: a
 * program must not rely on another order.  A rank that aborts is not noticed by the others, as on a
 * machine; who waits for ever is reported after CUDASIM_PATIENCE seconds. */
#include "sim.h"

#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANKS SIM_DEVICES
#define GROUP_OPS 256

enum kind { ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, BROADCAST, SEND, RECV };
static const char *const kind_names[] = {"ncclAllReduce", "ncclAllGather", "ncclReduceScatter",
                                         "ncclBroadcast", "ncclSend",      "ncclRecv"};

struct op {
    enum kind kind;
    const char *in;
    char *out;
    size_t n;
    ncclDataType_t type;
    int root; /* or peer, or enum ncclRedOp_t */
    ncclComm_t comm;
    cudaStream_t stream;
    const void *pc;
    bool is_posted, is_done;
    struct op *next; /* in a queue of sends or receives */
};

/* A collective that some ranks have come to. */
struct meeting {
    unsigned long number;
    int n;
    struct op *ops[RANKS];
    struct meeting *next;
};
struct queue {
    struct op *head, *tail;
};

/* A split that some ranks have asked for. */
struct split {
    unsigned long number;
    int n, color[RANKS], key[RANKS];
    ncclComm_t out[RANKS];
    struct split *next;
};

struct world {
    ncclUniqueId id;
    int size, joined, left;
    ncclComm_t ranks[RANKS];
    struct meeting *meetings;
    struct split *splits;
    struct queue sends[RANKS][RANKS], recvs[RANKS][RANKS]; /* [from][to] */
    struct world *next;
};

struct ncclComm {
    struct world *world; /* NULL: a split that not all have asked for */
    int rank, device;
    bool is_aborted, is_destroyed;
    int under_way;            /* operations that have begun and are not done */
    unsigned long n_meetings; /* collectives it has come to */
    unsigned long n_splits;
    struct ncclComm *child; /* the last split, while not all have asked for it */
};

static struct world *worlds;

/* Operations of the group that this thread has open. */
static __thread int depth;
static __thread struct op group[GROUP_OPS];
static __thread int n_group;

/* ---- communicators --------------------------------------------------------------------------- */

SIM_API ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

SIM_API const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const texts[] = {"no error",
                                        "unhandled cuda error",
                                        "unhandled system error",
                                        "internal error",
                                        "invalid argument",
                                        "invalid usage",
                                        "remote process exited or there was a network error",
                                        "NCCL operation in progress"};
    return result <= ncclInProgress ? texts[result] : "unknown result code";
}

SIM_API const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "";
}

SIM_API ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    static unsigned next;
    if (sim_fails())
        return ncclSystemError;
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "cudasim %u",
             __atomic_add_fetch(&next, 1, __ATOMIC_RELAXED));
    return ncclSuccess;
}

static void *make(size_t n)
{
    void *p = calloc(1, n);
    if (!p)
        abort();
    return p;
}

static struct world *world_of(const ncclUniqueId *id, int size, const void *pc)
{
    struct world *w = worlds;
    while (w && memcmp(&w->id, id, sizeof *id))
        w = w->next;
    if (!w) {
        w = make(sizeof *w);
        w->id = *id;
        w->size = size;
        w->next = worlds;
        worlds = w;
    }
    if (w->size != size)
        sim_report("nccl", pc, "a rank says that there are %d, another %d", size, w->size);
    return w;
}

static void join_world(struct world *w, ncclComm_t c, int rank, const void *pc)
{
    if (w->ranks[rank])
        sim_report("nccl", pc, "two ranks %d", rank);
    for (int i = 0; i < w->size; i++)
        if (w->ranks[i] && w->ranks[i]->device == c->device)
            sim_report("nccl", pc, "ranks %d and %d are on device %d", i, rank, c->device);
    c->world = w;
    c->rank = rank;
    w->ranks[rank] = c;
    w->joined++;
    pthread_cond_broadcast(&sim_changed);
}

static bool is_complete(const struct ncclComm *c)
{
    return c->world && c->world->joined == c->world->size;
}

static int blocking_of(const ncclConfig_t *config, const void *pc)
{
    if (config && (config->size != sizeof *config || config->magic != 0xcafebeef))
        sim_report("nccl", pc, "a configuration without NCCL_CONFIG_INITIALIZER");
    return !config || config->blocking != 0;
}

/* Wait until all ranks of the communicator have come. */
static void wait_for_all(const struct ncclComm *c, const void *pc)
{
    double since = sim_now();
    while (!is_complete(c))
        if (!sim_wait(since))
            sim_report("nccl", pc, "rank %d of %d waits for others to join, %d have", c->rank,
                       c->world ? c->world->size : 0, c->world ? c->world->joined : 0);
}

SIM_API ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int n_ranks, ncclUniqueId id,
                                            int rank, ncclConfig_t *config)
{
    int blocking = blocking_of(config, SIM_CALLER);
    *comm = NULL;
    if (n_ranks < 1 || n_ranks > RANKS || rank < 0 || rank >= n_ranks)
        sim_report("nccl", SIM_CALLER, "rank %d of %d", rank, n_ranks);
    if (sim_fails())
        return ncclSystemError;
    ncclComm_t c = make(sizeof *c);
    cudaGetDevice(&c->device);
    pthread_mutex_lock(&sim_lock);
    join_world(world_of(&id, n_ranks, SIM_CALLER), c, rank, SIM_CALLER);
    if (blocking)
        wait_for_all(c, SIM_CALLER);
    *comm = c;
    pthread_mutex_unlock(&sim_lock);
    return blocking ? ncclSuccess : ncclInProgress;
}

static void must_be_usable(const struct ncclComm *c, const char *call, const void *pc)
{
    if (!c)
        sim_report("nccl", pc, "%s without a communicator", call);
    if (c->is_aborted || c->is_destroyed)
        sim_report("nccl", pc, "%s with a communicator that was aborted or destroyed", call);
    if (!is_complete(c))
        sim_report("nccl", pc, "%s with a communicator that is still being made", call);
}

/* Ranks of one color in the order of keys, of equals in that of ranks. */
static void make_parts(struct world *w, const struct split *s, const void *pc)
{
    for (int i = 0; i < w->size; i++) {
        struct world *part = NULL;
        int size = 0, rank = 0;
        if (!s->out[i])
            continue;
        for (int k = 0; k < w->size; k++) {
            if (s->color[k] != s->color[i])
                continue;
            size++;
            rank += s->key[k] < s->key[i] || (s->key[k] == s->key[i] && k < i);
            if (k < i)
                part = s->out[k]->world;
        }
        if (!part) {
            part = make(sizeof *part);
            part->size = size;
            part->next = worlds;
            worlds = part;
        }
        join_world(part, s->out[i], rank, pc);
    }
}

SIM_API ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *out,
                                   ncclConfig_t *config)
{
    int blocking = blocking_of(config, SIM_CALLER);
    *out = NULL;
    pthread_mutex_lock(&sim_lock);
    must_be_usable(comm, "ncclCommSplit", SIM_CALLER);
    struct world *w = comm->world;
    struct split **at = &w->splits;
    while (*at && (*at)->number != comm->n_splits)
        at = &(*at)->next;
    if (!*at) {
        *at = make(sizeof **at);
        (*at)->number = comm->n_splits;
    }
    struct split *s = *at;
    comm->n_splits++;
    s->color[comm->rank] = color;
    s->key[comm->rank] = key;
    if (color != NCCL_SPLIT_NOCOLOR) {
        *out = s->out[comm->rank] = make(sizeof **out);
        (*out)->device = comm->device;
        comm->child = *out;
    }
    bool is_last = ++s->n == w->size;
    if (is_last) {
        make_parts(w, s, SIM_CALLER);
        *at = s->next;
        free(s);
    }
    if (blocking && *out)
        wait_for_all(*out, SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    return blocking || is_last ? ncclSuccess : ncclInProgress;
}

SIM_API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    must_be_usable(comm, "ncclCommUserRank", SIM_CALLER);
    *rank = comm->rank;
    return ncclSuccess;
}

SIM_API ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    must_be_usable(comm, "ncclCommCount", SIM_CALLER);
    *count = comm->world->size;
    return ncclSuccess;
}

SIM_API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    pthread_mutex_lock(&sim_lock);
    if (comm->child && is_complete(comm->child))
        comm->child = NULL;
    *error = is_complete(comm) && !comm->child ? ncclSuccess : ncclInProgress;
    pthread_mutex_unlock(&sim_lock);
    if (sim_fails())
        *error = ncclRemoteError;
    return ncclSuccess;
}

/* The last of a world takes it along. */
static void leave(ncclComm_t c)
{
    struct world *w = c->world, **at = &worlds;
    if (!w)
        return;
    w->ranks[c->rank] = NULL;
    if (++w->left < w->size)
        return;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    free(w);
}

/* The memory of a communicator stays, since work that is still to come may name it. */
SIM_API ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    pthread_mutex_lock(&sim_lock);
    if (comm->under_way)
        sim_report("nccl", SIM_CALLER, "ncclCommDestroy with %d operations under way",
                   comm->under_way);
    leave(comm);
    comm->is_destroyed = true;
    pthread_mutex_unlock(&sim_lock);
    return ncclSuccess;
}

/* What is enqueued ends without an effect. */
SIM_API ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    pthread_mutex_lock(&sim_lock);
    comm->is_aborted = true;
    pthread_cond_broadcast(&sim_changed);
    pthread_mutex_unlock(&sim_lock);
    return ncclSuccess;
}

/* ---- carrying out ---------------------------------------------------------------------------- */

static size_t bytes_of(ncclDataType_t type)
{
    static const size_t bytes[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2};
    return bytes[type];
}

static double read_number(const char *p, ncclDataType_t type)
{
    union {
        int32_t i;
        float f;
        double d;
        uint32_t u;
    } x = {0};
    uint16_t half;
    switch (type) {
    case ncclInt32:
        memcpy(&x.i, p, 4);
        return x.i;
    case ncclFloat64:
        memcpy(&x.d, p, 8);
        return x.d;
    case ncclBfloat16:
        memcpy(&half, p, 2);
        x.u = (uint32_t)half << 16;
        return (double)x.f;
    default:
        memcpy(&x.f, p, 4);
        return (double)x.f;
    }
}

static void write_number(char *p, ncclDataType_t type, double v)
{
    union {
        int32_t i;
        float f;
        uint32_t u;
    } x;
    uint16_t half;
    switch (type) {
    case ncclInt32:
        x.i = (int32_t)v;
        memcpy(p, &x.i, 4);
        break;
    case ncclFloat64:
        memcpy(p, &v, 8);
        break;
    case ncclBfloat16:
        x.f = (float)v;
        half = (uint16_t)((x.u + 0x7fff + (x.u >> 16 & 1)) >> 16);
        memcpy(p, &half, 2);
        break;
    default:
        x.f = (float)v;
        memcpy(p, &x.f, 4);
    }
}

/* Element i of the sum, of all ranks' inputs. */
static void add_up(char *out, struct op *const *ops, int size, size_t i)
{
    ncclDataType_t type = ops[0]->type;
    size_t at = i * bytes_of(type);
    memcpy(out, ops[size - 1]->in + at, bytes_of(type));
    for (int r = size - 1; r-- > 0;)
        write_number(out, type, read_number(out, type) + read_number(ops[r]->in + at, type));
}

/* As the rank whose operation it is. */
static void use(const struct op *o, const void *p, size_t n, enum sim_use how)
{
    if (!n)
        return;
    sim_act_as(o->stream);
    sim_access(p, n, how, false, o->pc);
}

/* What a rank reads and writes of a collective. */
static size_t in_bytes(const struct op *o, int size)
{
    return bytes_of(o->type) * o->n * (o->kind == REDUCE_SCATTER ? (size_t)size : 1);
}
static size_t out_bytes(const struct op *o, int size)
{
    return bytes_of(o->type) * o->n * (o->kind == ALL_GATHER ? (size_t)size : 1);
}

/* What all ranks get, or the parts of it one behind the other. */
static char *result_of(struct op *const *ops, int size)
{
    const struct op *o = ops[0];
    size_t unit = bytes_of(o->type), n = o->n * unit;
    char *all = make(n * (size_t)size + 1);
    switch (o->kind) {
    case ALL_REDUCE:
        for (size_t i = 0; i < o->n; i++)
            add_up(all + i * unit, ops, size, i);
        break;
    case REDUCE_SCATTER:
        for (size_t i = 0; i < o->n * (size_t)size; i++)
            add_up(all + i * unit, ops, size, i);
        break;
    case ALL_GATHER:
        for (int r = 0; r < size; r++)
            memcpy(all + (size_t)r * n, ops[r]->in, n);
        break;
    default:
        memcpy(all, ops[o->root]->in, n);
    }
    return all;
}

static void carry_out(struct op *const *ops, int size)
{
    for (int r = 0; r < size; r++)
        if (ops[r]->kind != BROADCAST || r == ops[r]->root)
            use(ops[r], ops[r]->in, in_bytes(ops[r], size), SIM_READ);
    char *all = result_of(ops, size);
    for (int r = 0; r < size; r++) {
        struct op *o = ops[r];
        size_t n = out_bytes(o, size), from = o->kind == REDUCE_SCATTER ? (size_t)r * n : 0;
        use(o, o->out, n, SIM_WRITE);
        memcpy(o->out, all + from, n);
        o->is_done = true;
    }
    free(all);
}

static void must_agree(const struct op *a, const struct op *b, int rank_a, int rank_b)
{
    if (a->kind != b->kind || a->n != b->n || a->type != b->type || a->root != b->root)
        sim_report(
            "nccl", a->pc,
            "rank %d: %s of %zu elements of type %d (%d); rank %d: %s of %zu of type %d (%d), "
            "at %s",
            rank_a, kind_names[a->kind], a->n, (int)a->type, a->root, rank_b, kind_names[b->kind],
            b->n, (int)b->type, b->root, sim_place(b->pc));
}

static struct meeting **meeting_of(struct world *w, unsigned long number)
{
    struct meeting **at = &w->meetings;
    while (*at && (*at)->number != number)
        at = &(*at)->next;
    if (!*at) {
        *at = make(sizeof **at);
        (*at)->number = number;
    }
    return at;
}

static void post_collective(struct op *o)
{
    struct world *w = o->comm->world;
    struct meeting **at = meeting_of(w, o->comm->n_meetings++), *m = *at;
    for (int r = 0; r < w->size; r++)
        if (m->ops[r])
            must_agree(o, m->ops[r], o->comm->rank, r);
    m->ops[o->comm->rank] = o;
    if (++m->n < w->size)
        return;
    carry_out(m->ops, w->size);
    *at = m->next;
    free(m);
}

static void put(struct queue *q, struct op *o)
{
    if (q->head)
        q->tail->next = o;
    else
        q->head = o;
    q->tail = o;
}

static struct op *take(struct queue *q)
{
    struct op *o = q->head;
    q->head = o->next;
    return o;
}

static void post_p2p(struct op *o)
{
    struct world *w = o->comm->world;
    int self = o->comm->rank, from = o->kind == SEND ? self : o->root,
        to = o->kind == SEND ? o->root : self;
    struct queue *sends = &w->sends[from][to], *recvs = &w->recvs[from][to];
    put(o->kind == SEND ? sends : recvs, o);
    while (sends->head && recvs->head) {
        struct op *s = take(sends), *r = take(recvs);
        size_t n = s->n * bytes_of(s->type);
        if (s->n != r->n || s->type != r->type)
            sim_report("nccl", s->pc,
                       "rank %d sends %zu elements of type %d, rank %d receives %zu of type %d, at "
                       "%s",
                       from, s->n, (int)s->type, to, r->n, (int)r->type, sim_place(r->pc));
        use(s, s->in, n, SIM_READ);
        use(r, r->out, n, SIM_WRITE);
        memcpy(r->out, s->in, n);
        s->is_done = r->is_done = true;
    }
}

/* An operation that was posted and will not be done. */
static void withdraw(struct op *o)
{
    struct world *w = o->comm->world;
    if (o->kind == SEND || o->kind == RECV) {
        int self = o->comm->rank;
        struct queue *q = o->kind == SEND ? &w->sends[self][o->root] : &w->recvs[o->root][self];
        struct queue left = {NULL, NULL};
        while (q->head) {
            struct op *other = take(q);
            other->next = NULL;
            if (other != o)
                put(&left, other);
        }
        *q = left;
        return;
    }
    for (struct meeting *m = w->meetings; m; m = m->next)
        if (m->ops[o->comm->rank] == o) {
            m->ops[o->comm->rank] = NULL;
            m->n--;
        }
}

/* Who has not come to the operation. */
static void say_who_is_missing(const struct op *o)
{
    const struct world *w = o->comm->world;
    char list[100] = "";
    size_t n = 0;
    if (o->kind == SEND || o->kind == RECV) {
        snprintf(list, sizeof list, " %d", o->root);
    } else {
        const struct meeting *m = w->meetings;
        while (m && m->ops[o->comm->rank] != o)
            m = m->next;
        for (int r = 0; m && r < w->size && n < sizeof list - 8; r++)
            if (!m->ops[r])
                n += (size_t)snprintf(list + n, sizeof list - n, " %d", r);
    }
    sim_waits_for(o->pc, "rank %d of %d waits in %s for rank%s", o->comm->rank, w->size,
                  kind_names[o->kind], list);
}

/* Operations that were given as one. */
struct batch {
    int n;
    struct op ops[];
};

static bool run(void *arg)
{
    struct batch *b = arg;
    bool all_done = true;
    for (int i = 0; i < b->n; i++) {
        struct op *o = &b->ops[i];
        if (o->comm->is_destroyed)
            sim_report("nccl", o->pc, "its communicator was destroyed before %s ran",
                       kind_names[o->kind]);
        if (!o->is_posted)
            o->comm->under_way++;
        if (o->comm->is_aborted && !o->is_done) {
            if (o->is_posted)
                withdraw(o);
            o->is_done = true;
        }
        if (o->is_posted)
            continue;
        o->is_posted = true;
        if (o->is_done)
            continue;
        if (o->kind == SEND || o->kind == RECV)
            post_p2p(o);
        else
            post_collective(o);
    }
    for (int i = 0; i < b->n && all_done; i++) {
        all_done = b->ops[i].is_done;
        if (!all_done)
            say_who_is_missing(&b->ops[i]);
    }
    for (int i = 0; i < b->n && all_done; i++)
        b->ops[i].comm->under_way--;
    return all_done;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* All operations of one stream at once. */
static void submit(struct op *ops, int n)
{
    pthread_mutex_lock(&sim_lock);
    for (int i = 0; i < n; i++) {
        cudaStream_t stream = ops[i].stream;
        if (!stream) /* went along with an earlier one */
            continue;
        struct batch *b = make(sizeof *b + (size_t)n * sizeof *b->ops);
        for (int k = i; k < n; k++) {
            if (ops[k].stream != stream)
                continue;
            b->ops[b->n++] = ops[k];
            ops[k].stream = NULL;
        }
        sim_enqueue(stream, kind_names[ops[i].kind], "nccl", run, b,
                    sizeof *b + (size_t)b->n * sizeof *b->ops, ops[i].pc);
        free(b);
    }
    pthread_mutex_unlock(&sim_lock);
}

static ncclResult_t give(const struct op *o)
{
    pthread_mutex_lock(&sim_lock);
    must_be_usable(o->comm, kind_names[o->kind], o->pc);
    if (sim_stream_device(o->stream, kind_names[o->kind], o->pc) != o->comm->device)
        sim_report("nccl", o->pc, "a communicator of device %d in a stream of another",
                   o->comm->device);
    if ((o->kind == SEND || o->kind == RECV || o->kind == BROADCAST) &&
        (o->root < 0 || o->root >= o->comm->world->size))
        sim_report("nccl", o->pc, "rank %d of %d", o->root, o->comm->world->size);
    if (n_group == GROUP_OPS)
        sim_report("nccl", o->pc, "more than %d operations in a group", GROUP_OPS);
    pthread_mutex_unlock(&sim_lock);
    if (sim_fails())
        return ncclUnhandledCudaError;
    group[n_group++] = *o;
    if (!depth) {
        n_group = 0;
        submit(group, 1);
    }
    return ncclSuccess;
}

SIM_API ncclResult_t ncclGroupStart(void)
{
    depth++;
    return ncclSuccess;
}

SIM_API ncclResult_t ncclGroupEnd(void)
{
    if (!depth)
        sim_report("nccl", SIM_CALLER, "ncclGroupEnd without ncclGroupStart");
    if (--depth == 0) {
        submit(group, n_group);
        n_group = 0;
    }
    return ncclSuccess;
}

SIM_API ncclResult_t ncclAllReduce(const void *in, void *out, size_t n, ncclDataType_t type,
                                   ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    if (op != ncclSum)
        sim_report("nccl", SIM_CALLER, "the simulator has sums only");
    return give(&(struct op){.kind = ALL_REDUCE,
                             .in = in,
                             .out = out,
                             .n = n,
                             .type = type,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}

SIM_API ncclResult_t ncclAllGather(const void *in, void *out, size_t n, ncclDataType_t type,
                                   ncclComm_t comm, cudaStream_t stream)
{
    return give(&(struct op){.kind = ALL_GATHER,
                             .in = in,
                             .out = out,
                             .n = n,
                             .type = type,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}

SIM_API ncclResult_t ncclReduceScatter(const void *in, void *out, size_t n, ncclDataType_t type,
                                       ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    if (op != ncclSum)
        sim_report("nccl", SIM_CALLER, "the simulator has sums only");
    return give(&(struct op){.kind = REDUCE_SCATTER,
                             .in = in,
                             .out = out,
                             .n = n,
                             .type = type,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}

SIM_API ncclResult_t ncclBroadcast(const void *in, void *out, size_t n, ncclDataType_t type,
                                   int root, ncclComm_t comm, cudaStream_t stream)
{
    return give(&(struct op){.kind = BROADCAST,
                             .in = in,
                             .out = out,
                             .n = n,
                             .type = type,
                             .root = root,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}

SIM_API ncclResult_t ncclSend(const void *in, size_t n, ncclDataType_t type, int peer,
                              ncclComm_t comm, cudaStream_t stream)
{
    return give(&(struct op){.kind = SEND,
                             .in = in,
                             .n = n,
                             .type = type,
                             .root = peer,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}

SIM_API ncclResult_t ncclRecv(void *out, size_t n, ncclDataType_t type, int peer, ncclComm_t comm,
                              cudaStream_t stream)
{
    return give(&(struct op){.kind = RECV,
                             .out = out,
                             .n = n,
                             .type = type,
                             .root = peer,
                             .comm = comm,
                             .stream = stream,
                             .pc = SIM_CALLER});
}
