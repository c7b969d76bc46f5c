/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* watch.c - what this rank does: each call of a communicator is noted before it may wait, so that
 * of a rank that is gone or hangs the others can say where it was. */
#include "processes.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* One call at a time, see commq.c.  Another thread reads. */
static struct {
    _Atomic uint64_t begun, done, progress;
    _Atomic int harmed;
    pthread_mutex_t lock;                   /* of the two below */
    char doing[BR__DOING], call[BR__DOING]; /* call: "", or the last since then */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct watched {
    struct br_comm comm, *under;
    const char *group;
};

static struct br_comm *watch_begin(struct br_comm *c, const char *op, size_t n)
{
    const struct watched *w = c->self;
    char text[BR__DOING];
    uint64_t i = atomic_fetch_add(&watch.begun, 1) + 1;
    snprintf(text, sizeof text, "collective %" PRIu64 ", %s of %zu over %s", i, op, n, w->group);
    pthread_mutex_lock(&watch.lock);
    memcpy(watch.call, text, sizeof text);
    pthread_mutex_unlock(&watch.lock);
    return w->under;
}

static int watch_end(int rc)
{
    if (rc)
        atomic_store(&watch.harmed, 1);
    atomic_fetch_add(&watch.done, 1);
    return rc;
}

static int watch_all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype,
                            struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "all_reduce", n);
    return watch_end(u->ops->all_reduce(u, buf, n, dtype, err));
}

static int watch_all_gather(struct br_comm *c, void *out, const void *in, size_t n_each,
                            uint32_t dtype, struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "all_gather", n_each);
    return watch_end(u->ops->all_gather(u, out, in, n_each, dtype, err));
}

static int watch_reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n_each,
                                uint32_t dtype, struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "reduce_scatter", n_each);
    return watch_end(u->ops->reduce_scatter(u, out, in, n_each, dtype, err));
}

static int watch_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts, const void *in,
                            const size_t *send_counts, uint32_t dtype, struct br_err *err)
{
    size_t n = 0;
    for (uint32_t r = 0; r < c->size; r++)
        n += send_counts[r];
    struct br_comm *u = watch_begin(c, "all_to_all", n);
    return watch_end(u->ops->all_to_all(u, out, recv_counts, in, send_counts, dtype, err));
}

static int watch_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                           struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "broadcast", n);
    return watch_end(u->ops->broadcast(u, buf, n, dtype, root, err));
}

static int watch_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n, struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "exchange", n);
    return watch_end(u->ops->exchange(u, ops, n, err));
}

static int watch_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                       struct br_err *err)
{
    struct br_comm *u = watch_begin(c, "split", 1);
    return watch_end(u->ops->split(u, color, key, out, err));
}

static void watch_abort(struct br_comm *c)
{
    struct watched *w = c->self;
    atomic_store(&watch.harmed, 1);
    w->under->ops->abort(w->under);
}

static void watch_close(struct br_comm *c)
{
    struct watched *w = c->self;
    w->under->ops->close(w->under);
    br__free(w);
}

static const struct br_comm_ops ops = {
    .struct_size = sizeof ops,
    .all_reduce = watch_all_reduce,
    .all_gather = watch_all_gather,
    .reduce_scatter = watch_reduce_scatter,
    .all_to_all = watch_all_to_all,
    .broadcast = watch_broadcast,
    .exchange = watch_exchange,
    .split = watch_split,
    .abort = watch_abort,
    .close = watch_close,
};

int br__watch(struct br_comm *under, const char *group, struct br_comm **out, struct br_err *err)
{
    struct watched *w = br__calloc(1, sizeof *w);
    if (!w)
        return br__nomem(err, "for a group of ranks");
    *w = (struct watched){{&ops, w, under->rank, under->size}, under, group};
    *out = &w->comm;
    return BR_OK;
}

void br__watch_read(struct br__beat *out)
{
    memset(out, 0, sizeof *out);
    out->done = atomic_load(&watch.done); /* before begun: a rank never seems to be ahead */
    out->begun = atomic_load(&watch.begun);
    out->progress = atomic_load(&watch.progress);
    pthread_mutex_lock(&watch.lock);
    snprintf(out->doing, sizeof out->doing, "%s%s%s", watch.doing,
             *watch.doing && *watch.call ? ", " : "", watch.call);
    pthread_mutex_unlock(&watch.lock);
}

void br__comm_describe(struct br_comm *c, const char *group, int is_watched)
{
    if (c->ops->struct_size > offsetof(struct br_comm_ops, describe) && c->ops->describe)
        c->ops->describe(c, group, is_watched);
}

int br__watch_harmed(void)
{
    return atomic_load(&watch.harmed);
}

void br__procs_doing(const char *text)
{
    pthread_mutex_lock(&watch.lock);
    snprintf(watch.doing, sizeof watch.doing, "%s", text);
    *watch.call = '\0';
    pthread_mutex_unlock(&watch.lock);
    atomic_fetch_add(&watch.progress, 1);
}

void br__procs_waiting(int begins)
{
    atomic_fetch_add(begins ? &watch.begun : &watch.done, 1);
}

void br__procs_progress(uint64_t n)
{
    atomic_fetch_add(&watch.progress, n);
}
