/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* nccl.c - libnccl.so.2 of the simulator: ranks are threads of one process, or processes, each with
 * a device.
 *
 * A rank whose stream has come to an operation puts there what it brings and says of it
 * (nccl_world.h), and goes on when all have; what they say must agree.  Sums are made in the order
 * of ranks backwards and rounded at each step: a program must not rely on another order.  A rank
 * that aborts or dies is not noticed by the others, as on a machine; who waits for ever is reported
 * after CUDASIM_PATIENCE seconds. */
#include "nccl_world.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
    uint64_t number; /* of a collective of its communicator, from 1; 0: it has not begun */
    bool is_begun, is_posted, is_done;
    size_t moved; /* bytes of a send or a receive */
};

struct ncclComm {
    ncclUniqueId id;         /* of one that is no part of another */
    struct mapping *mapping; /* NULL: nobody has it yet, or it is closed */
    struct world *world;     /* NULL: a split that not all have asked for */
    int rank, size, device;
    const void *pc; /* where it was asked for */
    bool is_complete, is_aborted, is_destroyed;
    int under_way;                             /* operations that have begun and are not done */
    uint64_t n_begun, n_done;                  /* collectives */
    struct op *sending[RANKS], *taking[RANKS]; /* the ones under way, by peer */
    uint64_t n_splits;
    struct ncclComm *parent; /* of a split that not all have asked for */
    struct ncclComm *child;  /* the last split, while not all have asked for it */
};

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
    return sim_fails() || !world_name(id) ? ncclSystemError : ncclSuccess;
}

static void *make(size_t n)
{
    void *p = calloc(1, n);
    if (!p)
        abort();
    return p;
}

/* Where the seat of a rank was taken must be another device than this rank's, in a world as large.
 */
static void must_fit(const struct ncclComm *c, int rank)
{
    const struct seat *s = &c->world->seats[rank];
    if (rank == c->rank || atomic_load(&s->state) != 2)
        return;
    if (s->size != c->size)
        sim_report("nccl", c->pc, "a rank says that there are %d, another %d", c->size, s->size);
    if (s->device == c->device)
        sim_report("nccl", c->pc, "ranks %d and %d are on device %d", rank, c->rank, c->device);
    if (s->pid != (int)getpid())
        sim_meets_others();
}

static void take_seat(ncclComm_t c, struct world *w)
{
    struct seat *s = &w->seats[c->rank];
    uint32_t free_seat = 0;
    c->world = w;
    if (!atomic_compare_exchange_strong(&s->state, &free_seat, 1))
        sim_report("nccl", c->pc, "two ranks %d", c->rank);
    s->pid = (int)getpid();
    s->device = c->device;
    s->size = c->size;
    atomic_store(&s->state, 2);
    for (int r = 0; r < c->size; r++)
        must_fit(c, r);
    pthread_cond_broadcast(&sim_changed);
}

static const struct split *split_of(const struct ncclComm *parent, int rank)
{
    const struct split *s = &parent->world->seats[rank].splits[parent->n_splits & 1];
    return atomic_load(&s->number) == parent->n_splits ? s : NULL;
}

/* The lowest rank of a color takes a world for all of it. */
static struct world *world_of_part(const struct ncclComm *parent, int lowest)
{
    struct worlds *all = parent->mapping->all;
    struct split *s = &parent->world->seats[lowest].splits[parent->n_splits & 1];
    uint32_t part = atomic_load(&s->part);
    if (!part && lowest == parent->rank) {
        part = atomic_fetch_add(&all->taken, 1) + 1;
        if (part >= WORLDS)
            sim_report("nccl", parent->pc, "more than %d communicators of one name", WORLDS);
        atomic_store(&s->part, part);
    }
    return part ? &all->world[part] : NULL;
}

/* When all have asked: ranks of one color in the order of keys, of equals in that of ranks. */
static void join_part(ncclComm_t c)
{
    const struct ncclComm *parent = c->parent;
    const struct split *mine = split_of(parent, parent->rank), *other;
    int size = 0, rank = 0, lowest = -1;
    for (int r = 0; r < parent->size; r++) {
        if (!(other = split_of(parent, r)))
            return;
        if (other->color != mine->color)
            continue;
        size++;
        lowest = lowest < 0 ? r : lowest;
        rank += other->key < mine->key || (other->key == mine->key && r < parent->rank);
    }
    struct world *w = world_of_part(parent, lowest);
    if (!w)
        return;
    c->mapping = parent->mapping;
    c->mapping->refs++;
    c->rank = rank;
    c->size = size;
    take_seat(c, w);
}

/* Whether all ranks have come; goes on as far as it can. */
static bool is_complete(ncclComm_t c)
{
    if (c->is_complete)
        return true;
    if (!c->world && c->parent) {
        if (c->parent->world)
            join_part(c);
    } else if (!c->world && (c->mapping = world_map(&c->id, c->rank))) {
        take_seat(c, &c->mapping->all->world[0]);
    }
    if (!c->world)
        return false;
    for (int r = 0; r < c->size; r++)
        if (atomic_load(&c->world->seats[r].state) != 2)
            return false;
    for (int r = 0; r < c->size; r++)
        must_fit(c, r);
    if (c->rank == 0 && !c->parent)
        world_forget(&c->id);
    if (c->rank == 0)
        atomic_store(&c->world->is_open, 1);
    c->is_complete = atomic_load(&c->world->is_open);
    return c->is_complete;
}

static int blocking_of(const ncclConfig_t *config, const void *pc)
{
    if (config && (config->size != sizeof *config || config->magic != 0xcafebeef))
        sim_report("nccl", pc, "a configuration without NCCL_CONFIG_INITIALIZER");
    return !config || config->blocking != 0;
}

/* Wait until all ranks of the communicator have come. */
static void wait_for_all(ncclComm_t c, const void *pc)
{
    double since = sim_now();
    while (!is_complete(c))
        if (!sim_wait(since))
            sim_report("nccl", pc, "rank %d of %d waits for others to join", c->rank, c->size);
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
    *c = (struct ncclComm){.id = id, .rank = rank, .size = n_ranks, .pc = SIM_CALLER};
    cudaGetDevice(&c->device);
    pthread_mutex_lock(&sim_lock);
    if (!is_complete(c) && blocking)
        wait_for_all(c, SIM_CALLER);
    *comm = c;
    pthread_mutex_unlock(&sim_lock);
    return blocking ? ncclSuccess : ncclInProgress;
}

/* A split is over when all ranks of the part have it. */
static bool is_splitting(ncclComm_t c)
{
    if (c->child && is_complete(c->child)) {
        c->child->parent = NULL;
        c->child = NULL;
    }
    return c->child != NULL;
}

static void must_be_usable(ncclComm_t c, const char *call, const void *pc)
{
    if (!c)
        sim_report("nccl", pc, "%s without a communicator", call);
    if (c->is_aborted || c->is_destroyed)
        sim_report("nccl", pc, "%s with a communicator that was aborted or destroyed", call);
    if (!is_complete(c))
        sim_report("nccl", pc, "%s with a communicator that is still being made", call);
}

SIM_API ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *out,
                                   ncclConfig_t *config)
{
    int blocking = blocking_of(config, SIM_CALLER);
    *out = NULL;
    if (color == NCCL_SPLIT_NOCOLOR)
        sim_report("nccl", SIM_CALLER, "the simulator has no NCCL_SPLIT_NOCOLOR");
    pthread_mutex_lock(&sim_lock);
    must_be_usable(comm, "ncclCommSplit", SIM_CALLER);
    if (is_splitting(comm))
        sim_report("nccl", SIM_CALLER, "ncclCommSplit while the one before is under way");
    ncclComm_t part = make(sizeof *part);
    *part = (struct ncclComm){.device = comm->device, .parent = comm, .pc = SIM_CALLER};
    comm->child = part;
    uint64_t number = ++comm->n_splits;
    struct split *mine = &comm->world->seats[comm->rank].splits[number & 1];
    mine->color = color;
    mine->key = key;
    atomic_store(&mine->part, 0);
    atomic_store(&mine->number, number);
    if (blocking)
        wait_for_all(part, SIM_CALLER);
    *out = part;
    bool is_done = !is_splitting(comm);
    pthread_cond_broadcast(&sim_changed);
    pthread_mutex_unlock(&sim_lock);
    return is_done ? ncclSuccess : ncclInProgress;
}

SIM_API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank)
{
    pthread_mutex_lock(&sim_lock);
    must_be_usable(comm, "ncclCommUserRank", SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    *rank = comm->rank;
    return ncclSuccess;
}

SIM_API ncclResult_t ncclCommCount(const ncclComm_t comm, int *count)
{
    pthread_mutex_lock(&sim_lock);
    must_be_usable(comm, "ncclCommCount", SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    *count = comm->size;
    return ncclSuccess;
}

SIM_API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *error)
{
    pthread_mutex_lock(&sim_lock);
    *error = is_complete(comm) && !is_splitting(comm) ? ncclSuccess : ncclInProgress;
    pthread_mutex_unlock(&sim_lock);
    if (sim_fails())
        *error = ncclRemoteError;
    return ncclSuccess;
}

static void leave(ncclComm_t c)
{
    if (c->mapping)
        world_unmap(c->mapping);
    c->mapping = NULL;
    c->world = NULL;
    pthread_cond_broadcast(&sim_changed);
}

/* The memory of a communicator stays, since work that is still to come may name it. */
SIM_API ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    pthread_mutex_lock(&sim_lock);
    if (comm->under_way)
        sim_report("nccl", SIM_CALLER, "ncclCommDestroy with %d operations under way",
                   comm->under_way);
    if (!comm->is_aborted)
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
    leave(comm);
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

static void add_number(char *sum, const char *p, ncclDataType_t type)
{
    int64_t a, b;
    if (type != ncclInt64) {
        write_number(sum, type, read_number(sum, type) + read_number(p, type));
        return;
    }
    memcpy(&a, sum, sizeof a);
    memcpy(&b, p, sizeof b);
    a += b;
    memcpy(sum, &a, sizeof a);
}

/* Element i of the sum of what all ranks have brought. */
static void add_up(char *out, const char *const *brought, int size, ncclDataType_t type, size_t i)
{
    size_t at = i * bytes_of(type);
    memcpy(out, brought[size - 1] + at, bytes_of(type));
    for (int r = size - 1; r-- > 0;)
        add_number(out, brought[r] + at, type);
}

static void use(const struct op *o, const void *p, size_t n, enum sim_use how)
{
    if (n)
        sim_access(p, n, how, false, o->pc);
}

/* What a rank reads and writes of a collective. */
static size_t in_bytes(const struct op *o)
{
    size_t n = bytes_of(o->type) * o->n;
    if (o->kind == BROADCAST)
        return o->comm->rank == o->root ? n : 0;
    return o->kind == REDUCE_SCATTER ? n * (size_t)o->comm->size : n;
}
static size_t out_bytes(const struct op *o)
{
    return bytes_of(o->type) * o->n * (o->kind == ALL_GATHER ? (size_t)o->comm->size : 1);
}

/* Addresses that other processes can make something of: from the beginning of the module, which is
 * the caller of all operations. */
static const char *module_of(const void *pc)
{
    Dl_info info;
    return dladdr(pc, &info) ? info.dli_fbase : NULL;
}

static uint64_t offset_of(const struct op *o)
{
    return (uint64_t)((const char *)o->pc - module_of(o->pc));
}

static const char *place_of(const struct op *o, uint64_t at)
{
    return sim_place(module_of(o->pc) + at);
}

/* Of rank r, once it has come to the same collective. */
static const struct posted *posted_of(const struct op *o, int r)
{
    const struct posted *p = &o->comm->world->seats[r].posted[o->number & 1];
    return atomic_load(&p->number) == o->number ? p : NULL;
}

static void must_agree(const struct op *o, int r)
{
    const struct posted *p = posted_of(o, r);
    if (p &&
        (p->kind != (int)o->kind || p->n != o->n || p->type != (int)o->type || p->root != o->root))
        sim_report("nccl", o->pc,
                   "rank %d: %s of %zu elements of type %d (%d); rank %d: %s of %zu of type %d "
                   "(%d), at %s",
                   o->comm->rank, kind_names[o->kind], o->n, (int)o->type, o->root, r,
                   kind_names[p->kind], (size_t)p->n, p->type, p->root, place_of(o, p->at));
}

/* What this rank gets of it. */
static void carry_out(const struct op *o)
{
    const struct ncclComm *c = o->comm;
    const char *brought[RANKS];
    size_t unit = bytes_of(o->type), n = o->n * unit;
    size_t first = o->kind == REDUCE_SCATTER ? (size_t)c->rank * o->n : 0;
    for (int r = 0; r < c->size; r++)
        brought[r] = c->world->brought[r][o->number & 1];
    use(o, o->out, out_bytes(o), SIM_WRITE);
    if (o->kind == BROADCAST)
        memcpy(o->out, brought[o->root], n);
    for (int r = 0; o->kind == ALL_GATHER && r < c->size; r++)
        memcpy(o->out + (size_t)r * n, brought[r], n);
    if (o->kind == ALL_REDUCE || o->kind == REDUCE_SCATTER)
        for (size_t i = 0; i < o->n; i++)
            add_up(o->out + i * unit, brought, c->size, o->type, first + i);
}

static void post(struct op *o)
{
    struct ncclComm *c = o->comm;
    struct posted *mine = &c->world->seats[c->rank].posted[o->number & 1];
    size_t n = in_bytes(o);
    if (n > ROOM)
        sim_report("nccl", o->pc, "%zu bytes; the simulator has room for %zu", n, ROOM);
    use(o, o->in, n, SIM_READ);
    memcpy(c->world->brought[c->rank][o->number & 1], o->in, n);
    mine->kind = (int)o->kind;
    mine->type = (int)o->type;
    mine->root = o->root;
    mine->n = o->n;
    mine->at = offset_of(o);
    atomic_store(&mine->number, o->number);
    o->is_posted = true;
}

/* True: something has happened.  Those of a communicator go one after another. */
static bool go_on_collective(struct op *o)
{
    struct ncclComm *c = o->comm;
    bool came = false;
    if (!o->number)
        o->number = ++c->n_begun;
    if (!o->is_posted && o->number == c->n_done + 1) {
        post(o);
        came = true;
    }
    if (!o->is_posted)
        return false;
    for (int r = 0; r < c->size; r++)
        must_agree(o, r);
    for (int r = 0; r < c->size; r++)
        if (!posted_of(o, r))
            return came;
    carry_out(o);
    c->n_done = o->number;
    o->is_done = true;
    return true;
}

/* ---- sends and receives ---------------------------------------------------------------------- */

static void ring_put(struct ring *r, const void *p, size_t n)
{
    uint64_t sent = atomic_load(&r->sent);
    for (size_t i = 0; i < n; i++)
        r->bytes[(sent + i) % RING] = ((const char *)p)[i];
    atomic_store(&r->sent, sent + n);
}

static void ring_take(struct ring *r, void *p, size_t n)
{
    uint64_t received = atomic_load(&r->received);
    for (size_t i = 0; i < n; i++)
        ((char *)p)[i] = r->bytes[(received + i) % RING];
    atomic_store(&r->received, received + n);
}

static bool go_on_send(struct op *o)
{
    struct ncclComm *c = o->comm;
    struct ring *ring = &c->world->rings[c->rank][o->root];
    size_t n = o->n * bytes_of(o->type);
    size_t room = RING - (size_t)(atomic_load(&ring->sent) - atomic_load(&ring->received));
    bool came = false;
    if (c->sending[o->root] && c->sending[o->root] != o)
        return false;
    c->sending[o->root] = o;
    if (!o->is_posted && room >= sizeof(struct head)) {
        const struct head h = {o->n, offset_of(o), o->type};
        use(o, o->in, n, SIM_READ);
        ring_put(ring, &h, sizeof h);
        room -= sizeof h;
        o->is_posted = came = true;
    }
    if (!o->is_posted)
        return false;
    size_t k = n - o->moved < room ? n - o->moved : room;
    ring_put(ring, o->in + o->moved, k);
    o->moved += k;
    o->is_done = o->moved == n;
    if (o->is_done)
        c->sending[o->root] = NULL;
    return came || k || o->is_done;
}

static bool go_on_receive(struct op *o)
{
    struct ncclComm *c = o->comm;
    struct ring *ring = &c->world->rings[o->root][c->rank];
    size_t n = o->n * bytes_of(o->type);
    size_t there = (size_t)(atomic_load(&ring->sent) - atomic_load(&ring->received));
    bool came = false;
    if (c->taking[o->root] && c->taking[o->root] != o)
        return false;
    c->taking[o->root] = o;
    if (!o->is_posted && there >= sizeof(struct head)) {
        struct head h;
        ring_take(ring, &h, sizeof h);
        there -= sizeof h;
        if (h.n != o->n || h.type != (int64_t)o->type)
            sim_report("nccl", o->pc,
                       "rank %d sends %zu elements of type %d, rank %d receives %zu of type %d; "
                       "the send is at %s",
                       o->root, (size_t)h.n, (int)h.type, c->rank, o->n, (int)o->type,
                       place_of(o, h.at));
        use(o, o->out, n, SIM_WRITE);
        o->is_posted = came = true;
    }
    if (!o->is_posted)
        return false;
    size_t k = n - o->moved < there ? n - o->moved : there;
    ring_take(ring, o->out + o->moved, k);
    o->moved += k;
    o->is_done = o->moved == n;
    if (o->is_done)
        c->taking[o->root] = NULL;
    return came || k || o->is_done;
}

/* Who has not come to the operation. */
static void say_who_is_missing(const struct op *o)
{
    char list[100] = "";
    size_t n = 0;
    if (o->kind == SEND || o->kind == RECV)
        snprintf(list, sizeof list, " %d", o->root);
    for (int r = 0; o->number && r < o->comm->size && n < sizeof list - 8; r++)
        if (!posted_of(o, r))
            n += (size_t)snprintf(list + n, sizeof list - n, " %d", r);
    sim_waits_for(o->pc, "rank %d of %d waits in %s for rank%s", o->comm->rank, o->comm->size,
                  kind_names[o->kind], list);
}

/* Operations that were given as one. */
struct batch {
    int n;
    struct op ops[];
};

/* True: something has happened. */
static bool go_on(struct op *o)
{
    if (o->comm->is_destroyed)
        sim_report("nccl", o->pc, "its communicator was destroyed before %s ran",
                   kind_names[o->kind]);
    if (!o->is_begun)
        o->comm->under_way++;
    o->is_begun = true;
    if (o->is_done)
        return false;
    if (o->comm->is_aborted) {
        o->is_done = true;
        return true;
    }
    return o->kind == SEND   ? go_on_send(o)
           : o->kind == RECV ? go_on_receive(o)
                             : go_on_collective(o);
}

static bool run(void *arg)
{
    struct batch *b = arg;
    bool all_done = false;
    for (bool came = true; came && !all_done;) {
        came = false;
        all_done = true;
        for (int i = 0; i < b->n; i++) {
            came = go_on(&b->ops[i]) || came;
            all_done = all_done && b->ops[i].is_done;
        }
        if (came)
            pthread_cond_broadcast(&sim_changed);
    }
    for (int i = 0; i < b->n && !all_done; i++)
        if (!b->ops[i].is_done) {
            say_who_is_missing(&b->ops[i]);
            return false;
        }
    for (int i = 0; i < b->n; i++)
        b->ops[i].comm->under_way--;
    return true;
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
        (o->root < 0 || o->root >= o->comm->size))
        sim_report("nccl", o->pc, "rank %d of %d", o->root, o->comm->size);
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
