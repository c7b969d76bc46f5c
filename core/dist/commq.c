/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* commq.c - a rank's queue of communication, carried out by a thread of its own while the rank
 * computes.
 *
 * Jobs run one after another, in the order of posting, whatever their communicators: ranks whose
 * calls in that order would not wait for each other for ever do not do so here.  The rank's
 * communicators know the queue: while it has jobs, a call queues behind them; else its caller
 * carries it out.  So calls are made by one thread at a time, as MPI wants them.
 *
 * Who waits looks a few times before it sleeps: most calls are short, and a wake-up costs more. */
#include "processes.h"

#include <stdio.h>
#include <string.h>

#define LOOKS 5000 /* some microseconds */

struct br__commq {
    pthread_mutex_t lock;
    pthread_cond_t posted, done;
    struct br__comm_job *first, **last;
    _Atomic uint32_t n_posted; /* that are not done */
    int is_started, is_over;
    pthread_t thread;
    struct br_comm *world; /* aborted when a job fails; NULL: not known yet */
    /* The last call of the rank; another thread reads. */
    _Atomic uint64_t n_calls;
    _Atomic(const char *) op, group;
    atomic_size_t n;
};

/* The queue whose thread this is. */
static _Thread_local const struct br__commq *served;

/* ---- the thread ------------------------------------------------------------------------------ */

/* NULL: the queue is to end, and is empty. */
static struct br__comm_job *commq_take(struct br__commq *q)
{
    for (int i = 0; i < LOOKS && !atomic_load(&q->n_posted); i++)
        ;
    pthread_mutex_lock(&q->lock);
    while (!q->first && !q->is_over)
        pthread_cond_wait(&q->posted, &q->lock);
    struct br__comm_job *job = q->first;
    if (job && !(q->first = job->next))
        q->last = &q->first;
    pthread_mutex_unlock(&q->lock);
    return job;
}

static void *commq_serve(void *arg)
{
    struct br__commq *q = arg;
    served = q;
    for (struct br__comm_job *job; (job = commq_take(q)) != NULL;) {
        job->rc = job->run(job->arg, &job->err);
        if (job->rc && job->is_background && q->world) /* nobody shall wait for this rank */
            q->world->ops->abort(q->world);
        pthread_mutex_lock(&q->lock);
        atomic_fetch_sub(&q->n_posted, 1);
        atomic_store(&job->is_done, 1); /* from here on it is the caller's again */
        pthread_cond_broadcast(&q->done);
        pthread_mutex_unlock(&q->lock);
    }
    return NULL;
}

/* ---- posting --------------------------------------------------------------------------------- */

static int commq_put(struct br__commq *q, struct br__comm_job *job, struct br_err *err)
{
    if (!q->is_started && pthread_create(&q->thread, NULL, commq_serve, q))
        return br_fail(err, BR_E_NOMEM, "cannot start a rank's thread of communication");
    q->is_started = 1;
    job->queue = q;
    job->next = NULL;
    job->rc = BR_OK;
    memset(&job->err, 0, sizeof job->err);
    atomic_store(&job->is_done, 0);
    pthread_mutex_lock(&q->lock);
    *q->last = job;
    q->last = &job->next;
    atomic_fetch_add(&q->n_posted, 1);
    pthread_cond_signal(&q->posted);
    pthread_mutex_unlock(&q->lock);
    return BR_OK;
}

int br__commq_post(struct br__commq *q, struct br__comm_job *job, struct br_err *err)
{
    job->is_background = 1;
    return commq_put(q, job, err);
}

int br__commq_wait(struct br__comm_job *job, struct br_err *err)
{
    struct br__commq *q = job->queue;
    for (int i = 0; i < LOOKS && !atomic_load(&job->is_done); i++)
        ;
    if (!atomic_load(&job->is_done)) {
        pthread_mutex_lock(&q->lock);
        while (!atomic_load(&job->is_done))
            pthread_cond_wait(&q->done, &q->lock);
        pthread_mutex_unlock(&q->lock);
    }
    if (job->rc && err)
        *err = job->err;
    return job->rc;
}

void br__commq_settle(struct br__commq *q, int rc)
{
    if (!q)
        return;
    if (rc && q->world && atomic_load(&q->n_posted))
        q->world->ops->abort(q->world);
    pthread_mutex_lock(&q->lock);
    while (atomic_load(&q->n_posted))
        pthread_cond_wait(&q->done, &q->lock);
    pthread_mutex_unlock(&q->lock);
}

/* ---- open and close -------------------------------------------------------------------------- */

int br__commq_open(struct br__commq **out, struct br_err *err)
{
    struct br__commq *q = *out = br__calloc(1, sizeof *q);
    if (!q)
        return br__nomem(err, "for a rank's queue");
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->posted, NULL);
    pthread_cond_init(&q->done, NULL);
    q->last = &q->first;
    return BR_OK;
}

void br__commq_abort_with(struct br__commq *q, struct br_comm *world)
{
    q->world = world;
}

uint64_t br__commq_calls(const struct br__commq *q)
{
    return atomic_load(&q->n_calls);
}

void br__commq_last(const struct br__commq *q, char *text, size_t size)
{
    const char *op = atomic_load(&q->op), *group = atomic_load(&q->group);
    text[0] = '\0';
    if (op && group)
        snprintf(text, size, "%s of %zu (%s)", op, atomic_load(&q->n), group);
}

void br__commq_close(struct br__commq *q)
{
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    q->is_over = 1;
    pthread_cond_signal(&q->posted);
    pthread_mutex_unlock(&q->lock);
    if (q->is_started)
        pthread_join(q->thread, NULL);
    pthread_cond_destroy(&q->done);
    pthread_cond_destroy(&q->posted);
    pthread_mutex_destroy(&q->lock);
    br__free(q);
}

/* ---- communicators that know it -------------------------------------------------------------- */

struct queued {
    struct br_comm comm, *under;
    struct br__commq *queue;
    const char *group;
};

/* One call; fields that it does not have are zero. */
struct call {
    const char *op; /* NULL: it is not noted */
    struct br_comm *c;
    void *out;
    const void *in;
    const size_t *recv_counts, *send_counts;
    const struct br_p2p *ops;
    struct br_comm **made;
    size_t n;
    uint32_t dtype, root, color, key;
};

/* Here, or by the queue's thread after what was posted before. */
static int carry_out(struct br_comm *c, int (*run)(void *arg, struct br_err *err),
                     struct call *call, struct br_err *err)
{
    struct queued *w = c->self;
    struct br__commq *q = w->queue;
    struct br__comm_job job = {.run = run, .arg = call};
    call->c = w->under;
    if (call->op) {
        atomic_store(&q->op, call->op);
        atomic_store(&q->group, w->group);
        atomic_store(&q->n, call->n);
        atomic_fetch_add(&q->n_calls, 1);
    }
    if (served == q || !atomic_load(&q->n_posted))
        return run(call, err);
    int rc = commq_put(q, &job, err);
    return rc ? rc : br__commq_wait(&job, err);
}

static int run_all_reduce(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->all_reduce(x->c, x->out, x->n, x->dtype, err);
}

static int queued_all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype,
                             struct br_err *err)
{
    struct call x = {.op = "all_reduce", .out = buf, .n = n, .dtype = dtype};
    return carry_out(c, run_all_reduce, &x, err);
}

static int run_all_gather(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->all_gather(x->c, x->out, x->in, x->n, x->dtype, err);
}

static int queued_all_gather(struct br_comm *c, void *out, const void *in, size_t n_each,
                             uint32_t dtype, struct br_err *err)
{
    struct call x = {.op = "all_gather", .out = out, .in = in, .n = n_each, .dtype = dtype};
    return carry_out(c, run_all_gather, &x, err);
}

static int run_reduce_scatter(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->reduce_scatter(x->c, x->out, x->in, x->n, x->dtype, err);
}

static int queued_reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n_each,
                                 uint32_t dtype, struct br_err *err)
{
    struct call x = {.op = "reduce_scatter", .out = out, .in = in, .n = n_each, .dtype = dtype};
    return carry_out(c, run_reduce_scatter, &x, err);
}

static int run_all_to_all(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->all_to_all(x->c, x->out, x->recv_counts, x->in, x->send_counts, x->dtype,
                                 err);
}

static int queued_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts,
                             const void *in, const size_t *send_counts, uint32_t dtype,
                             struct br_err *err)
{
    struct call x = {.op = "all_to_all",
                     .out = out,
                     .in = in,
                     .recv_counts = recv_counts,
                     .send_counts = send_counts,
                     .dtype = dtype};
    return carry_out(c, run_all_to_all, &x, err);
}

static int run_broadcast(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->broadcast(x->c, x->out, x->n, x->dtype, x->root, err);
}

static int queued_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                            struct br_err *err)
{
    struct call x = {.op = "broadcast", .out = buf, .n = n, .dtype = dtype, .root = root};
    return carry_out(c, run_broadcast, &x, err);
}

static int run_exchange(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->exchange(x->c, x->ops, x->n, err);
}

static int queued_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n,
                           struct br_err *err)
{
    struct call x = {.op = "exchange", .ops = ops, .n = n};
    return carry_out(c, run_exchange, &x, err);
}

static int run_split(void *arg, struct br_err *err)
{
    struct call *x = arg;
    return x->c->ops->split(x->c, x->color, x->key, x->made, err);
}

static int queued_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                        struct br_err *err)
{
    struct call x = {.op = "split", .made = out, .color = color, .key = key};
    *out = NULL;
    return carry_out(c, run_split, &x, err);
}

static int run_abort(void *arg, struct br_err *err)
{
    struct call *x = arg;
    (void)err;
    x->c->ops->abort(x->c);
    return BR_OK;
}

/* At once, so that whatever the queue waits for ends; and again behind that, to tell the others
 * where that was not possible. */
static void queued_abort(struct br_comm *c)
{
    struct queued *w = c->self;
    struct call x = {0};
    w->under->ops->abort(w->under);
    if (atomic_load(&w->queue->n_posted))
        (void)!carry_out(c, run_abort, &x, NULL);
}

static int run_close(void *arg, struct br_err *err)
{
    struct call *x = arg;
    (void)err;
    x->c->ops->close(x->c);
    return BR_OK;
}

static void queued_close(struct br_comm *c)
{
    struct call x = {0};
    if (!c)
        return;
    (void)!carry_out(c, run_close, &x, NULL);
    br__free(c->self);
}

static const struct br_comm_ops ops = {
    .struct_size = sizeof ops,
    .all_reduce = queued_all_reduce,
    .all_gather = queued_all_gather,
    .reduce_scatter = queued_reduce_scatter,
    .all_to_all = queued_all_to_all,
    .broadcast = queued_broadcast,
    .exchange = queued_exchange,
    .split = queued_split,
    .abort = queued_abort,
    .close = queued_close,
};

int br__commq_wrap(struct br__commq *q, struct br_comm *under, const char *group,
                   struct br_comm **out, struct br_err *err)
{
    struct queued *w = br__calloc(1, sizeof *w);
    if (!w)
        return br__nomem(err, "for a group of ranks");
    *w = (struct queued){{&ops, w, under->rank, under->size}, under, q, group};
    *out = &w->comm;
    return BR_OK;
}
