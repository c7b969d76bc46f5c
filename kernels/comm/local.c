/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* local.c - communicators whose ranks are threads of this process.
 *
 * For checking tensor, pipeline and expert parallelism on one machine, so it promises no more than
 * NCCL and MPI do and adds what a test wants: sums are the same bits on every rank and in every
 * run (in the order of the ranks; float32 inside, rounded once to bfloat16 or float16), calls that
 * do not match are errors, and no rank waits for one that has left.
 *
 * A collective has an entry and an exit barrier.  Before entry each rank posts its buffers; between
 * the two it reads those of its peers and writes its own; after exit no rank reads another's.  An
 * aborting or leaving rank fails waiters at entry only: ranks past entry still read peers' buffers,
 * and always reach exit.
 *
 * A rank that does not come is found by those that wait (br__local_watch).  They count the seconds
 * in which no rank does anything, so that a process that is stopped for a while is not blamed.
 *
 * Ranks in messages are those of the world.  Buffers may overlap only as NCCL has it: the input of
 * all_gather and the output of reduce_scatter at this rank's part of the other buffer. */
#include "sum.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RANKS 1024
#define NOBODY UINT32_MAX

enum op { ALL_REDUCE, ALL_GATHER, REDUCE_SCATTER, ALL_TO_ALL, BROADCAST, SPLIT, SEND, RECV };
static const char *const op_names[] = {
    [ALL_REDUCE] = "all_reduce",
    [ALL_GATHER] = "all_gather",
    [REDUCE_SCATTER] = "reduce_scatter",
    [ALL_TO_ALL] = "all_to_all",
    [BROADCAST] = "broadcast",
    [SPLIT] = "split",
    [SEND] = "send",
    [RECV] = "recv",
};

/* What a rank brings to a collective.  Fields that an operation does not have are zero. */
struct posted {
    enum op op;
    uint32_t dtype, root;
    size_t n; /* elements: of the buffer, or of each rank's part */
    const void *in;
    void *out;
    const size_t *send_counts, *recv_counts;
    uint32_t color, key;
    struct group *made; /* split's answer, which the first rank of a color writes for all of it */
    uint32_t made_rank;
    int made_rc; /* -1: not yet */
};

/* From one rank to another.  The sender posts and empties it, the receiver does the rest. */
enum state { EMPTY, POSTED, TAKING, TAKEN, REFUSED };
struct message {
    enum state state;
    struct br_p2p sent, wanted; /* wanted: by a receiver who refused it */
};

struct member {
    struct br_comm comm;
    struct group *group;
    uint32_t world_rank;
    int left;
    int is_waiting;
    uint64_t active_at; /* world's activity when this rank came last */
    enum op last_op;
    size_t last_n;
    char name[40]; /* " (tp: ranks 0, 2)", or "" */
    struct posted posted;
};

struct group {
    struct world *world;
    struct group *next;
    pthread_cond_t changed;
    uint32_t size, n_open;
    uint32_t leaver;                                       /* world rank, or NOBODY */
    uint32_t n_entered, entry_round, n_exited, exit_round; /* the two barriers */
    struct message *messages;                              /* [from * size + to] */
    struct member members[];
};

/* All groups that were split from one world.  Its lock guards everything but the bytes of
 * buffers, and what is posted between two barriers. */
struct world {
    pthread_mutex_t lock;
    struct group *groups;
    uint32_t quitter;  /* world rank, or NOBODY */
    uint64_t activity; /* counts what ranks do here */
    int seconds;       /* that a rank may keep others waiting; 0: for ever */
    void (*lost)(const char *text);
    char why[160]; /* of the quitter; "": its own error says it */
};

/* Of the worlds that are made next. */
static struct {
    int seconds;
    void (*lost)(const char *text);
} watch;

void br__local_watch(int seconds, void (*lost)(const char *text))
{
    watch.seconds = seconds;
    watch.lost = lost;
}

/* ---- a rank that does not come --------------------------------------------------------------- */

/* With the lock held: what this rank comes with. */
static void local_came(struct member *m, enum op op, size_t n)
{
    m->active_at = ++m->group->world->activity;
    m->last_op = op;
    m->last_n = n;
}

/* With the lock held: the last thing that rank r did, and whether it waits anywhere. */
static const struct member *last_of(const struct world *w, uint32_t r, int *is_waiting)
{
    const struct member *last = NULL;
    *is_waiting = 0;
    for (const struct group *g = w->groups; g; g = g->next)
        for (uint32_t i = 0; i < g->size; i++) {
            const struct member *m = &g->members[i];
            if (m->world_rank != r)
                continue;
            *is_waiting |= m->is_waiting;
            if (!last || m->active_at > last->active_at)
                last = m;
        }
    return last;
}

/* With the lock held: the rank that waits for nobody, or else the one that came least recently. */
static const struct member *find_staller(const struct world *w)
{
    const struct member *staller = NULL, *m;
    int waits, staller_waits = 0;
    for (uint32_t r = 0; (m = last_of(w, r, &waits)) != NULL; r++)
        if (!staller || waits < staller_waits ||
            (waits == staller_waits && m->active_at < staller->active_at)) {
            staller = m;
            staller_waits = waits;
        }
    return staller;
}

static void blame(struct world *w)
{
    const struct member *m = find_staller(w);
    int n = snprintf(w->why, sizeof w->why,
                     "rank %" PRIu32 " keeps others waiting for more than %d s (--comm-timeout)",
                     m->world_rank, w->seconds);
    if (m->active_at)
        snprintf(w->why + n, sizeof w->why - (size_t)n, "; last: %s of %zu%s", op_names[m->last_op],
                 m->last_n, m->name);
    w->quitter = m->world_rank;
    if (w->lost)
        w->lost(w->why);
    for (struct group *g = w->groups; g; g = g->next)
        pthread_cond_broadcast(&g->changed);
}

/* What a waiting rank has seen. */
struct patience {
    uint64_t activity;
    int idle; /* seconds */
};

/* With the lock held, by a rank that others have to do something for: until something changes. */
static void wait_for_others(struct member *m, struct patience *p)
{
    struct world *w = m->group->world;
    struct timespec until;
    if (!w->seconds) {
        pthread_cond_wait(&m->group->changed, &w->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    m->is_waiting = 1;
    int rc = pthread_cond_timedwait(&m->group->changed, &w->lock, &until);
    if (p->activity != w->activity)
        *p = (struct patience){.activity = w->activity};
    else if (rc == ETIMEDOUT && ++p->idle >= w->seconds && w->quitter == NOBODY)
        blame(w);
    m->is_waiting = 0;
}

/* ---- entry and exit barriers ----------------------------------------------------------------- */

static int local_broken(const struct group *g)
{
    return g->world->quitter != NOBODY || g->leaver != NOBODY;
}

static int fail_broken(const struct group *g, enum op op, uint32_t leaver, struct br_err *err)
{
    if (g->world->why[0])
        return br_fail(err, BR_E_COMM, "%s: %s", op_names[op], g->world->why);
    if (g->world->quitter != NOBODY)
        return br_fail(err, BR_E_COMM, "%s: rank %" PRIu32 " gave up; its own error says why",
                       op_names[op], g->world->quitter);
    return br_fail(err, BR_E_COMM, "%s: rank %" PRIu32 " has closed its communicator", op_names[op],
                   leaver);
}

/* Entry barrier: post, and wait until all ranks have. */
static int enter_collective(struct member *m, const struct posted *p, struct br_err *err)
{
    struct group *g = m->group;
    pthread_mutex_lock(&g->world->lock);
    uint32_t round = g->entry_round;
    struct patience patience = {0};
    if (!local_broken(g)) {
        m->posted = *p;
        local_came(m, p->op, p->n);
        if (++g->n_entered == g->size) {
            g->n_entered = 0;
            g->entry_round++;
            pthread_cond_broadcast(&g->changed);
        }
        while (g->entry_round == round && !local_broken(g))
            wait_for_others(m, &patience);
    }
    int rc = g->entry_round != round ? BR_OK : fail_broken(g, p->op, g->leaver, err);
    pthread_mutex_unlock(&g->world->lock);
    return rc;
}

/* Exit barrier: after it no rank reads this rank's buffers. */
static void exit_collective(struct member *m)
{
    struct group *g = m->group;
    pthread_mutex_lock(&g->world->lock);
    uint32_t round = g->exit_round;
    struct patience patience = {0};
    m->active_at = ++g->world->activity;
    if (++g->n_exited == g->size) {
        g->n_exited = 0;
        g->exit_round++;
        pthread_cond_broadcast(&g->changed);
    }
    while (g->exit_round == round)
        wait_for_others(m, &patience);
    pthread_mutex_unlock(&g->world->lock);
}

/* ---- do the calls match?  Every rank checks all posts and reaches the same verdict ----------- */

static int check_counts(const struct group *g, struct br_err *err)
{
    for (uint32_t from = 0; from < g->size; from++)
        for (uint32_t to = 0; to < g->size; to++) {
            const struct member *a = &g->members[from], *b = &g->members[to];
            size_t sent = a->posted.send_counts[to], expected = b->posted.recv_counts[from];
            if (sent != expected)
                return br_fail(err, BR_E_COMM,
                               "all_to_all: rank %" PRIu32 " sends %zu elements to rank %" PRIu32
                               ", which expects %zu",
                               a->world_rank, sent, b->world_rank, expected);
        }
    return BR_OK;
}

static int check_match(const struct group *g, struct br_err *err)
{
    const struct member *a = &g->members[0];
    const struct posted *p = &a->posted;
    for (uint32_t i = 1; i < g->size; i++) {
        const struct member *b = &g->members[i];
        const struct posted *q = &b->posted;
        if (p->op == q->op && p->n == q->n && p->dtype == q->dtype && p->root == q->root)
            continue;
        return br_fail(err, BR_E_COMM,
                       "rank %" PRIu32 " calls %s(%zu %s, root %" PRIu32 ") where rank %" PRIu32
                       " calls %s(%zu %s, root %" PRIu32 ")",
                       b->world_rank, op_names[q->op], q->n, br_dtype_torch((int)q->dtype), q->root,
                       a->world_rank, op_names[p->op], p->n, br_dtype_torch((int)p->dtype),
                       p->root);
    }
    return p->op == ALL_TO_ALL ? check_counts(g, err) : BR_OK;
}

/* Of one call by itself. */
static int check_call(const struct member *m, enum op op, uint32_t dtype, size_t n, uint32_t peer,
                      struct br_err *err)
{
    int rc = br__comm_check(op_names[op], n, dtype, m->group->size, err);
    if (rc)
        return rc;
    if (peer >= m->group->size)
        return br_fail(err, BR_E_USAGE, "%s: rank %" PRIu32 " of a group of %" PRIu32, op_names[op],
                       peer, m->group->size);
    return BR_OK;
}

static int local_collective(struct br_comm *c, const struct posted *p,
                            void (*move)(const struct member *m), struct br_err *err)
{
    struct member *m = c->self;
    int rc = check_call(m, p->op, p->dtype, p->n, p->root, err);
    if (!rc)
        rc = enter_collective(m, p, err);
    if (rc)
        return rc;
    rc = check_match(m->group, err);
    if (!rc)
        move(m);
    exit_collective(m);
    return rc;
}

/* ---- sums ------------------------------------------------------------------------------------ */

/* Elements [from, from + n) of all ranks' inputs, n <= BR__SUM_BLOCK. */
static void sum_ranks(union br__sum_block *sum, const struct group *g, size_t from, size_t n)
{
    uint32_t dtype = g->members[0].posted.dtype;
    br__sum_load(sum, br__elem_at(g->members[0].posted.in, from, dtype), n, dtype);
    for (uint32_t i = 1; i < g->size; i++)
        br__sum_add(sum, br__elem_at(g->members[i].posted.in, from, dtype), n, dtype);
}

/* Each rank sums its share of the elements, and writes it to everybody. */
static void move_all_reduce(const struct member *m)
{
    const struct group *g = m->group;
    size_t n = m->posted.n, rank = m->comm.rank;
    size_t end = n * (rank + 1) / g->size;
    union br__sum_block sum;
    for (size_t i = n * rank / g->size, k; i < end; i += k) {
        k = end - i < BR__SUM_BLOCK ? end - i : BR__SUM_BLOCK;
        sum_ranks(&sum, g, i, k);
        for (uint32_t r = 0; r < g->size; r++)
            br__sum_store(br__elem_mut(g->members[r].posted.out, i, m->posted.dtype), &sum, k,
                          m->posted.dtype);
    }
}

static void move_reduce_scatter(const struct member *m)
{
    size_t n = m->posted.n, first = n * m->comm.rank;
    union br__sum_block sum;
    for (size_t i = 0, k; i < n; i += k) {
        k = n - i < BR__SUM_BLOCK ? n - i : BR__SUM_BLOCK;
        sum_ranks(&sum, m->group, first + i, k);
        br__sum_store(br__elem_mut(m->posted.out, i, m->posted.dtype), &sum, k, m->posted.dtype);
    }
}

static int all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype, struct br_err *err)
{
    struct posted p = {.op = ALL_REDUCE, .dtype = dtype, .n = n, .in = buf, .out = buf};
    return local_collective(c, &p, move_all_reduce, err);
}

static int reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n_each,
                          uint32_t dtype, struct br_err *err)
{
    struct posted p = {.op = REDUCE_SCATTER, .dtype = dtype, .n = n_each, .in = in, .out = out};
    return local_collective(c, &p, move_reduce_scatter, err);
}

/* ---- copies ---------------------------------------------------------------------------------- */

static void local_copy(void *dst, const void *src, size_t n, uint32_t dtype)
{
    if (n > 0 && dst != src)
        memcpy(dst, src, n * br_dtype_size((int)dtype));
}

static void move_all_gather(const struct member *m)
{
    const struct posted *p = &m->posted;
    for (uint32_t r = 0; r < m->group->size; r++)
        local_copy(br__elem_mut(p->out, r * p->n, p->dtype), m->group->members[r].posted.in, p->n,
                   p->dtype);
}

static void move_broadcast(const struct member *m)
{
    const struct posted *p = &m->posted;
    local_copy(p->out, m->group->members[p->root].posted.in, p->n, p->dtype);
}

/* The parts lie side by side, in the order of the ranks, on both sides. */
static void move_all_to_all(const struct member *m)
{
    const struct posted *p = &m->posted;
    for (size_t r = 0, to = 0; r < m->group->size; to += p->recv_counts[r++]) {
        const struct posted *q = &m->group->members[r].posted;
        size_t from = 0;
        for (uint32_t i = 0; i < m->comm.rank; i++)
            from += q->send_counts[i];
        local_copy(br__elem_mut(p->out, to, p->dtype), br__elem_at(q->in, from, p->dtype),
                   p->recv_counts[r], p->dtype);
    }
}

static int all_gather(struct br_comm *c, void *out, const void *in, size_t n_each, uint32_t dtype,
                      struct br_err *err)
{
    struct posted p = {.op = ALL_GATHER, .dtype = dtype, .n = n_each, .in = in, .out = out};
    return local_collective(c, &p, move_all_gather, err);
}

static int local_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                           struct br_err *err)
{
    struct posted p = {
        .op = BROADCAST, .dtype = dtype, .root = root, .n = n, .in = buf, .out = buf};
    return local_collective(c, &p, move_broadcast, err);
}

static int all_to_all(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                      const size_t *send_counts, uint32_t dtype, struct br_err *err)
{
    struct posted p = {.op = ALL_TO_ALL,
                       .dtype = dtype,
                       .in = in,
                       .out = out,
                       .send_counts = send_counts,
                       .recv_counts = recv_counts};
    return local_collective(c, &p, move_all_to_all, err);
}

/* ---- from one rank to another ---------------------------------------------------------------- */

/* How far one op of an exchange is. */
enum stage { WAITING, IN_SLOT, DONE };
struct exchange {
    struct member *m;
    const struct br_p2p *ops;
    size_t n;
    unsigned char *stage; /* [n] enum stage */
};

static void set_state(struct group *g, struct message *msg, enum state state)
{
    msg->state = state;
    g->world->activity++;
    pthread_cond_broadcast(&g->changed);
}

static struct message *slot_of(const struct member *m, const struct br_p2p *op)
{
    uint32_t from = op->is_send ? m->comm.rank : op->peer;
    uint32_t to = op->is_send ? op->peer : m->comm.rank;
    return &m->group->messages[(size_t)from * m->group->size + to];
}

static int fail_refused(const struct message *msg, const struct member *from,
                        const struct member *to, struct br_err *err)
{
    const struct br_p2p *a = &msg->sent, *b = &msg->wanted;
    if (a->tag != b->tag)
        return br_fail(err, BR_E_COMM,
                       "rank %" PRIu32 " sends number %" PRIu32 " to rank %" PRIu32
                       ", which expects number %" PRIu32,
                       from->world_rank, a->tag, to->world_rank, b->tag);
    return br_fail(err, BR_E_COMM,
                   "rank %" PRIu32 " sends %zu %s to rank %" PRIu32 ", which expects %zu %s",
                   from->world_rank, a->n, br_dtype_torch((int)a->dtype), to->world_rank, b->n,
                   br_dtype_torch((int)b->dtype));
}

/* With the lock held: post a message, and empty its slot when the receiver is done with it. */
static int advance_send(struct exchange *x, size_t i, struct br_err *err)
{
    struct group *g = x->m->group;
    struct message *msg = slot_of(x->m, &x->ops[i]);
    if (x->stage[i] == WAITING && msg->state == EMPTY) {
        msg->sent = x->ops[i];
        set_state(g, msg, POSTED);
        x->stage[i] = IN_SLOT;
    } else if (x->stage[i] == IN_SLOT && (msg->state == TAKEN || msg->state == REFUSED)) {
        int is_refused = msg->state == REFUSED;
        set_state(g, msg, EMPTY);
        x->stage[i] = DONE;
        return is_refused ? fail_refused(msg, x->m, &g->members[x->ops[i].peer], err) : BR_OK;
    }
    return BR_OK;
}

/* With the lock held, which is open while bytes are copied: the sender stays until that is over. */
static int advance_recv(struct exchange *x, size_t i, struct br_err *err)
{
    struct group *g = x->m->group;
    const struct br_p2p *op = &x->ops[i];
    struct message *msg = slot_of(x->m, op);
    if (msg->state != POSTED)
        return BR_OK;
    x->stage[i] = DONE;
    if (msg->sent.n != op->n || msg->sent.dtype != op->dtype || msg->sent.tag != op->tag) {
        msg->wanted = *op;
        set_state(g, msg, REFUSED);
        return fail_refused(msg, &g->members[op->peer], x->m, err);
    }
    msg->state = TAKING;
    pthread_mutex_unlock(&g->world->lock);
    local_copy(op->buf, msg->sent.buf, op->n, op->dtype);
    pthread_mutex_lock(&g->world->lock);
    set_state(g, msg, TAKEN);
    return BR_OK;
}

/* Whether an op between the same two ranks, in the same direction, comes before op i. */
static int has_to_wait(const struct exchange *x, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (x->stage[k] != DONE && x->ops[k].peer == x->ops[i].peer &&
            x->ops[k].is_send == x->ops[i].is_send)
            return 1;
    return 0;
}

/* With the lock held: one round over all ops.  *left: those that are not done; *moved: whether one
 * came further. */
static int local_advance(struct exchange *x, size_t *left, int *moved, struct br_err *err)
{
    *left = 0;
    *moved = 0;
    for (size_t i = 0; i < x->n; i++) {
        if (x->stage[i] == DONE)
            continue;
        unsigned char before = x->stage[i];
        if (!has_to_wait(x, i)) {
            int rc = x->ops[i].is_send ? advance_send(x, i, err) : advance_recv(x, i, err);
            if (rc)
                return rc;
        }
        *moved |= x->stage[i] != before;
        *left += x->stage[i] != DONE;
    }
    return BR_OK;
}

/* With the lock held: BR_E_COMM if an op that is not done waits for a rank that has left. */
static int check_peers(const struct exchange *x, struct br_err *err)
{
    const struct group *g = x->m->group;
    for (size_t i = 0; i < x->n; i++) {
        const struct member *peer = &g->members[x->ops[i].peer];
        /* Once the receiver reads the buffer it will come to an end, whatever else happens. */
        int is_read = x->stage[i] == IN_SLOT && slot_of(x->m, &x->ops[i])->state == TAKING;
        if (x->stage[i] != DONE && !is_read && (g->world->quitter != NOBODY || peer->left))
            return fail_broken(g, x->ops[i].is_send ? SEND : RECV, peer->world_rank, err);
    }
    return BR_OK;
}

/* With the lock held: withdraw what was posted and not yet taken. */
static void local_withdraw(struct exchange *x)
{
    struct group *g = x->m->group;
    for (size_t i = 0; i < x->n; i++) {
        if (!x->ops[i].is_send || x->stage[i] != IN_SLOT)
            continue;
        struct message *msg = slot_of(x->m, &x->ops[i]);
        while (msg->state == TAKING)
            pthread_cond_wait(&g->changed, &g->world->lock);
        set_state(g, msg, EMPTY);
    }
}

static int run_exchange(struct exchange *x, struct br_err *err)
{
    struct group *g = x->m->group;
    struct patience patience = {0};
    size_t left;
    int moved, rc;
    pthread_mutex_lock(&g->world->lock);
    if (x->n)
        local_came(x->m, x->ops[0].is_send ? SEND : RECV, x->ops[0].n);
    while (!(rc = local_advance(x, &left, &moved, err)) && left > 0 &&
           (moved || !(rc = check_peers(x, err))))
        if (!moved)
            wait_for_others(x->m, &patience);
    if (rc)
        local_withdraw(x);
    pthread_mutex_unlock(&g->world->lock);
    return rc;
}

static int local_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *err)
{
    struct exchange x = {.m = c->self, .ops = ops, .n = n};
    for (size_t i = 0; i < n; i++) {
        enum op op = ops[i].is_send ? SEND : RECV;
        int rc = check_call(x.m, op, ops[i].dtype, ops[i].n, ops[i].peer, err);
        if (rc)
            return rc;
        if (ops[i].peer == c->rank)
            return br_fail(err, BR_E_USAGE, "%s: rank %" PRIu32 " to itself", op_names[op],
                           ops[i].peer);
    }
    unsigned char few[8] = {0};
    x.stage = n <= sizeof few ? few : calloc(n, 1);
    if (!x.stage)
        return br_fail(err, BR_E_NOMEM, "out of memory for an exchange of %zu messages", n);
    int rc = run_exchange(&x, err);
    if (x.stage != few)
        free(x.stage);
    return rc;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static void describe(struct br_comm *c, const char *group, int is_watched)
{
    struct member *m = c->self;
    (void)is_watched;
    snprintf(m->name, sizeof m->name, " (%s)", group);
}

static void abort_world(struct br_comm *c)
{
    struct member *m = c->self;
    struct world *w = m->group->world;
    pthread_mutex_lock(&w->lock);
    if (w->quitter == NOBODY)
        w->quitter = m->world_rank;
    for (struct group *g = w->groups; g; g = g->next)
        pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&w->lock);
}

/* With the lock held. */
static void free_group(struct group *g)
{
    struct group **p = &g->world->groups;
    while (*p != g)
        p = &(*p)->next;
    *p = g->next;
    pthread_cond_destroy(&g->changed);
    free(g->messages);
    free(g);
}

static void free_world(struct world *w)
{
    pthread_mutex_destroy(&w->lock);
    free(w);
}

static void close_comm(struct br_comm *c)
{
    if (!c)
        return;
    struct member *m = c->self;
    struct group *g = m->group;
    struct world *w = g->world;
    pthread_mutex_lock(&w->lock);
    m->left = 1;
    if (g->leaver == NOBODY)
        g->leaver = m->world_rank;
    pthread_cond_broadcast(&g->changed);
    if (--g->n_open == 0)
        free_group(g);
    int last = !w->groups;
    pthread_mutex_unlock(&w->lock);
    if (last)
        free_world(w);
}

static int local_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                       struct br_err *err);

static const struct br_comm_ops ops = {
    .struct_size = sizeof ops,
    .all_reduce = all_reduce,
    .all_gather = all_gather,
    .reduce_scatter = reduce_scatter,
    .all_to_all = all_to_all,
    .broadcast = local_broadcast,
    .exchange = local_exchange,
    .split = local_split,
    .abort = abort_world,
    .close = close_comm,
    .describe = describe,
};

/* One whose time no clock that is set changes. */
static int cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    if (pthread_condattr_init(&a))
        return -1;
    int rc = pthread_condattr_setclock(&a, CLOCK_MONOTONIC) || pthread_cond_init(c, &a);
    pthread_condattr_destroy(&a);
    return rc;
}

/* A group of size ranks, of which ranks[i] are the ranks in the world; with the lock held. */
static struct group *new_group(struct world *w, const uint32_t *ranks, uint32_t size)
{
    struct group *g = calloc(1, sizeof *g + size * sizeof g->members[0]);
    struct message *messages = calloc((size_t)size * size, sizeof *messages);
    if (!g || !messages || cond_init(&g->changed)) {
        free(messages);
        free(g);
        return NULL;
    }
    g->world = w;
    g->size = g->n_open = size;
    g->leaver = NOBODY;
    g->messages = messages;
    for (uint32_t i = 0; i < size; i++) {
        struct member *m = &g->members[i];
        m->group = g;
        m->world_rank = ranks[i];
        m->comm = (struct br_comm){.ops = &ops, .self = m, .rank = i, .size = size};
    }
    g->next = w->groups;
    w->groups = g;
    return g;
}

/* Make the group of a color, and tell its ranks; with the lock held, by the first of them. */
static void make_color(struct group *g, uint32_t color)
{
    uint32_t of[MAX_RANKS], n = 0; /* ranks in g, by key and then by rank */
    uint32_t ranks[MAX_RANKS] = {0};
    for (uint32_t i = 0; i < g->size; i++) {
        if (g->members[i].posted.color != color)
            continue;
        uint32_t j = n++;
        for (; j > 0 && g->members[of[j - 1]].posted.key > g->members[i].posted.key; j--)
            of[j] = of[j - 1];
        of[j] = i;
    }
    for (uint32_t i = 0; i < n; i++)
        ranks[i] = g->members[of[i]].world_rank;
    struct group *made = new_group(g->world, ranks, n);
    for (uint32_t i = 0; i < n; i++) {
        struct posted *p = &g->members[of[i]].posted;
        p->made_rc = made ? BR_OK : BR_E_NOMEM;
        p->made = made;
        p->made_rank = i;
    }
}

static int local_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                       struct br_err *err)
{
    struct member *m = c->self;
    struct group *g = m->group;
    struct posted p = {.op = SPLIT, .color = color, .key = key, .made_rc = -1};
    *out = NULL;
    int rc = enter_collective(m, &p, err);
    if (rc)
        return rc;
    pthread_mutex_lock(&g->world->lock);
    rc = check_match(g, err);
    if (!rc) {
        if (m->posted.made_rc < 0)
            make_color(g, color);
        rc = m->posted.made_rc;
        if (rc)
            br_fail(err, rc, "split: out of memory for the group of color %" PRIu32, color);
        else
            *out = &m->posted.made->members[m->posted.made_rank].comm;
    }
    pthread_mutex_unlock(&g->world->lock);
    exit_collective(m);
    return rc;
}

/* ---- worlds ---------------------------------------------------------------------------------- */

/* Worlds that not all of their ranks have joined. */
static pthread_mutex_t pending_lock = PTHREAD_MUTEX_INITIALIZER;
static struct pending {
    struct pending *next;
    uint64_t number;
    uint32_t size, n_joined;
    struct group *group;
    unsigned char joined[MAX_RANKS];
} * pending;

static struct group *new_world(uint32_t size)
{
    uint32_t ranks[MAX_RANKS];
    for (uint32_t i = 0; i < size; i++)
        ranks[i] = i;
    struct world *w = calloc(1, sizeof *w);
    if (!w || pthread_mutex_init(&w->lock, NULL) != 0) {
        free(w);
        return NULL;
    }
    w->quitter = NOBODY;
    w->seconds = watch.seconds;
    w->lost = watch.lost;
    struct group *g = new_group(w, ranks, size);
    if (!g)
        free_world(w);
    return g;
}

/* With pending_lock held: the world of that number, new for its first rank. */
static struct pending *find_pending(uint64_t number, uint32_t size)
{
    struct pending *p = pending;
    while (p && p->number != number)
        p = p->next;
    if (p)
        return p;
    p = calloc(1, sizeof *p);
    if (!p || !(p->group = new_world(size))) {
        free(p);
        return NULL;
    }
    p->number = number;
    p->size = size;
    p->next = pending;
    return pending = p;
}

static void drop_pending(struct pending *p)
{
    struct pending **at = &pending;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    free(p);
}

static int new_id(unsigned char id[BR_COMM_ID], struct br_err *err)
{
    static uint64_t number;
    (void)err;
    memset(id, 0, BR_COMM_ID);
    pthread_mutex_lock(&pending_lock);
    number++;
    memcpy(id, &number, sizeof number);
    pthread_mutex_unlock(&pending_lock);
    return BR_OK;
}

/* Does not wait for the others: a collective does. */
static int local_join(void *device, const unsigned char id[BR_COMM_ID], uint32_t rank,
                      uint32_t size, struct br_comm **out, struct br_err *err)
{
    uint64_t number;
    (void)device;
    *out = NULL;
    if (size == 0 || size > MAX_RANKS || rank >= size)
        return br_fail(err, BR_E_USAGE,
                       "rank %" PRIu32 " of a world of %" PRIu32 " ranks, expected 1 to %d", rank,
                       size, MAX_RANKS);
    memcpy(&number, id, sizeof number);
    pthread_mutex_lock(&pending_lock);
    struct pending *p = find_pending(number, size);
    int rc = p ? BR_OK : BR_E_NOMEM;
    if (!p) {
        (void)br_fail(err, rc, "out of memory for a world of %" PRIu32 " ranks", size);
    } else if (p->size != size || p->joined[rank]) {
        rc = br_fail(err, BR_E_COMM,
                     "rank %" PRIu32 " of %" PRIu32 " joins a world of %" PRIu32 " ranks%s", rank,
                     size, p->size, p->joined[rank] ? " twice" : "");
    } else {
        p->joined[rank] = 1;
        *out = &p->group->members[rank].comm;
        if (++p->n_joined == size)
            drop_pending(p);
    }
    pthread_mutex_unlock(&pending_lock);
    return rc;
}

const struct br_plane br__local_plane = {
    .struct_size = sizeof br__local_plane,
    .built_with = BR_VERSION,
    .name = "local",
    .id = new_id,
    .join = local_join,
};
