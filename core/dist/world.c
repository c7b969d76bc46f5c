/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* world.c - the ranks of this process: threads that stay, or one of several processes, and the
 * communicators of their groups.
 *
 * Each run increments a counter.  A thread sleeps on that counter (futex), executes the run, and
 * reports that it is done.  It does not spin before it sleeps: ranks may outnumber cores, and a
 * spinning thread would occupy the core that the rank it waits for needs.
 *
 * A rank that keeps the others waiting for the end of a run is found by those: they count the
 * seconds in which no rank does anything, as kernels/comm/local.c does within a call. */
#include "processes.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct rank_thread {
    struct br__world *world;
    struct br__rank_info info;
    pthread_t thread;
    _Atomic uint32_t ended; /* number of the last run that it finished */
    int rc;
    struct br_err err;
};

struct br__world {
    struct br_topo topo;
    struct rank_thread *ranks;                               /* [topo.world] */
    uint32_t first, n_here;                                  /* those that run here */
    enum br_group same[BR_N_GROUPS];                         /* whose communicator a group has */
    uint32_t n_threads;                                      /* that were started */
    int owns_queues;                                         /* of its ranks */
    int (*fn)(void *arg, uint32_t rank, struct br_err *err); /* NULL: leave */
    void *arg;
    pthread_mutex_t turn;    /* one run at a time */
    _Atomic uint32_t run;    /* goes up with each run; threads wait for it */
    _Atomic uint32_t active; /* ranks here that have not ended this run; the caller waits for 0 */
    int patience;            /* seconds that a rank may keep the others waiting; 0: for ever */
    void (*lost)(const char *text);
    atomic_int is_lost; /* it was called */
};

/* ---- waiting --------------------------------------------------------------------------------- */

/* Wait while *word is `value`. */
static void wait_while(_Atomic uint32_t *word, uint32_t value)
{
    while (atomic_load(word) == value)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

/* Wait while *word is `value`, for at most a second.  1: the second is over. */
static int wait_second(_Atomic uint32_t *word, uint32_t value)
{
    const struct timespec second = {.tv_sec = 1};
    return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &second, NULL, 0) &&
           errno == ETIMEDOUT;
}

static void world_wake(_Atomic uint32_t *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

/* ---- a rank that does not end its run -------------------------------------------------------- */

/* Goes up with all that the ranks here do. */
static uint64_t activity_of(struct br__world *w)
{
    struct br__beat beat;
    br__watch_read(&beat);
    uint64_t n = beat.progress + w->n_here - atomic_load(&w->active);
    for (uint32_t i = w->first; i < w->first + w->n_here; i++)
        n += br__commq_calls(w->ranks[i].info.queue);
    return n;
}

static void blame(struct br__world *w)
{
    uint32_t run = atomic_load(&w->run), i = w->first;
    char text[200], last[100];
    while (i + 1 < w->first + w->n_here && atomic_load(&w->ranks[i].ended) == run)
        i++;
    br__commq_last(w->ranks[i].info.queue, last, sizeof last);
    snprintf(text, sizeof text,
             "rank %" PRIu32 " keeps others waiting for more than %d s (--comm-timeout)%s%s",
             w->ranks[i].info.rank, w->patience, last[0] ? "; last: " : "", last);
    w->lost(text);
}

/* What a rank that waits has seen. */
struct patience {
    uint64_t activity;
    int idle; /* seconds */
};

/* A rank that has ended this run calls it after each second in which others have not. */
static void count_idle(struct br__world *w, struct patience *p)
{
    uint64_t now = activity_of(w);
    if (now != p->activity)
        *p = (struct patience){.activity = now};
    else if (++p->idle >= w->patience && w->lost && !atomic_exchange(&w->is_lost, 1))
        blame(w);
}

/* Wait while *word is `value`; while the others run, look what they do. */
static void wait_watching(struct br__world *w, _Atomic uint32_t *word, uint32_t value)
{
    struct patience p = {0};
    while (w->patience && atomic_load(word) == value && atomic_load(&w->active))
        if (wait_second(word, value))
            count_idle(w, &p);
    wait_while(word, value);
}

/* ---- running --------------------------------------------------------------------------------- */

static void run_rank(struct rank_thread *r, uint32_t run)
{
    struct br__world *w = r->world;
    memset(&r->err, 0, sizeof r->err);
    r->rc = w->fn(w->arg, r->info.rank, &r->err);
    struct br_comm *world = r->info.comms[BR_GROUP_WORLD], *host = r->info.host[BR_GROUP_WORLD];
    if (r->rc && world) /* nobody shall wait for this rank */
        world->ops->abort(world);
    if (r->rc && host && host != world)
        host->ops->abort(host);
    atomic_store(&r->ended, run);
    if (atomic_fetch_sub(&w->active, 1) == 1 && w->n_threads)
        world_wake(&w->active);
}

static void *world_serve(void *arg)
{
    struct rank_thread *r = arg;
    struct br__world *w = r->world;
    for (uint32_t seen = 0;; seen++) {
        wait_watching(w, &w->run, seen);
        if (!w->fn)
            return NULL;
        run_rank(r, seen + 1);
    }
}

/* Let the threads run w->fn, or leave. */
static void world_start(struct br__world *w)
{
    atomic_store(&w->active, w->n_threads + 1);
    atomic_fetch_add(&w->run, 1);
    if (w->n_threads)
        world_wake(&w->run);
}

/* Prefer the root cause over BR_E_COMM, which only reports that another rank failed. */
static int first_error(const struct br__world *w, struct br_err *err)
{
    const struct rank_thread *bad = NULL;
    for (uint32_t i = w->first; i < w->first + w->n_here; i++) {
        const struct rank_thread *r = &w->ranks[i];
        if (r->rc && (!bad || (bad->rc == BR_E_COMM && r->rc != BR_E_COMM)))
            bad = r;
    }
    if (bad && err)
        *err = bad->err;
    return bad ? bad->rc : 0;
}

int br__world_run(struct br__world *w, int (*fn)(void *arg, uint32_t rank, struct br_err *err),
                  void *arg, struct br_err *err)
{
    pthread_mutex_lock(&w->turn);
    w->fn = fn;
    w->arg = arg;
    world_start(w);
    run_rank(&w->ranks[w->first], atomic_load(&w->run));
    for (uint32_t left; (left = atomic_load(&w->active)) != 0;)
        wait_watching(w, &w->active, left);
    int rc = first_error(w, err);
    pthread_mutex_unlock(&w->turn);
    return rc;
}

/* ---- opening and closing --------------------------------------------------------------------- */

/* How the ranks of a world find each other. */
struct meeting {
    struct br__world *world;
    const struct br_plane *plane;
    void *const *devices;
    int on_host; /* buffers are host memory */
    unsigned char id[BR_COMM_ID];
    const struct br__stages *stages; /* NULL while they are not known */
    int from;                        /* the first group to be made */
};

/* The rank's communicators that the meeting makes. */
static struct br_comm **comms_of(const struct meeting *m, uint32_t rank)
{
    struct br__rank_info *p = &m->world->ranks[rank].info;
    return m->on_host ? p->host : p->comms;
}

/* What the communicator's messages say of it.  Of processes the control plane finds who waits too
 * long.  members: NULL: all ranks. */
static void describe(struct br_comm *c, enum br_group g, const uint32_t *members, uint32_t n)
{
    char text[160];
    size_t at = (size_t)snprintf(text, sizeof text, "%s: %s", br__group_name(g),
                                 members ? "ranks" : "all ranks");
    for (uint32_t i = 0; i < n && members && at < sizeof text - 16; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, i ? ", %u" : " %u", members[i]);
    br__comm_describe(c, text, br__procs_size() > 1);
}

/* Calls about host memory go through the rank's queue; what a rank of several processes does is
 * known by its calls. */
static int prepare_group(const struct meeting *m, uint32_t rank, enum br_group g,
                         struct br_err *err)
{
    struct br_comm **c = &comms_of(m, rank)[g];
    int rc = BR_OK;
    if (br__procs_size() > 1)
        rc = br__watch(*c, br__group_name(g), c, err);
    return rc || !m->on_host
               ? rc
               : br__commq_wrap(m->world->ranks[rank].info.queue, *c, br__group_name(g), c, err);
}

static int join_world(void *arg, uint32_t rank, struct br_err *err)
{
    struct meeting *m = arg;
    struct br__world *w = m->world;
    struct br_comm **out = &comms_of(m, rank)[BR_GROUP_WORLD];
    struct br_comm *all = br__procs_world();
    int rc;
    if (m->plane)
        rc = m->plane->join(m->devices[rank - w->first], m->id, rank, w->topo.world, out, err);
    else
        rc = all->ops->split(all, 0, rank, out, err);
    if (rc)
        return rc;
    describe(*out, BR_GROUP_WORLD, NULL, 0);
    return prepare_group(m, rank, BR_GROUP_WORLD, err);
}

/* Of a process there is one for its MPI. */
static int open_queues(struct br__world *w, struct br_err *err)
{
    int rc = BR_OK;
    w->owns_queues = br__procs_size() == 1;
    for (uint32_t i = w->first; i < w->first + w->n_here && !rc; i++) {
        struct br__rank_info *p = &w->ranks[i].info;
        p->queue = br__procs_queue();
        if (w->owns_queues)
            rc = br__commq_open(&p->queue, err);
    }
    return rc;
}

/* One rank names the world; the ranks of this process share the name already. */
static int name_world(struct meeting *m, struct br_err *err)
{
    int rc = m->plane && br__procs_rank() == 0 ? m->plane->id(m->id, err) : BR_OK;
    rc = br__procs_agree(rc, err);
    return rc ? rc : br__procs_share(m->id, sizeof m->id, 0, err);
}

/* The communicator of group g, of which no earlier group is the same.  A group's color is its
 * lowest rank; a rank that no group g has makes one of its own, which goes at once. */
static int split_group(const struct meeting *m, uint32_t rank, enum br_group g, uint32_t *members,
                       struct br_err *err)
{
    struct br_comm **comms = comms_of(m, rank), *world = comms[BR_GROUP_WORLD], *made;
    uint32_t n = br__group_ranks(&m->world->topo, m->stages, rank, g, members);
    int rc = world->ops->split(world, n ? members[0] : rank, rank, &made, err);
    if (rc)
        return rc;
    if (n > 1) {
        comms[g] = made;
        describe(made, g, members, n);
        return prepare_group(m, rank, g, err);
    }
    made->ops->close(made);
    return BR_OK;
}

static int split_groups(void *arg, uint32_t rank, struct br_err *err)
{
    const struct meeting *m = arg;
    const struct br__world *w = m->world;
    struct br_comm **comms = comms_of(m, rank);
    uint32_t *members = br__calloc(w->topo.world, sizeof *members);
    int rc = members ? 0 : br__nomem(err, "for the groups of ranks");
    for (int g = m->from; !rc && g < BR_N_GROUPS; g++)
        if (w->same[g] == (enum br_group)g &&
            br__group_ranks(&w->topo, m->stages, 0, (enum br_group)g, members) > 1)
            rc = split_group(m, rank, (enum br_group)g, members, err);
    for (int g = 0; g < BR_N_GROUPS && !rc; g++)
        comms[g] = comms[w->same[g]];
    if (!rc && w->owns_queues && m->on_host)
        br__commq_abort_with(w->ranks[rank].info.queue, comms[BR_GROUP_WORLD]);
    br__free(members);
    return rc;
}

static int start_threads(struct br__world *w, struct br_err *err)
{
    for (uint32_t i = w->first + 1; i < w->first + w->n_here; i++) {
        if (pthread_create(&w->ranks[i].thread, NULL, world_serve, &w->ranks[i]))
            return br_fail(err, BR_E_NOMEM, "cannot start a thread for rank %u", i);
        w->n_threads++;
    }
    return 0;
}

int br__ranks_here(const struct br_topo *t, uint32_t *first, uint32_t *n, struct br_err *err)
{
    uint32_t size = br__procs_size();
    *first = size > 1 ? br__procs_rank() : 0;
    *n = size > 1 ? 1 : t->world;
    if (size > 1 && size != t->world)
        return br_fail(err, BR_E_USAGE, "%u processes were started, and tp, pp, cp, ep ask for %u",
                       size, t->world);
    return BR_OK;
}

/* All ranks get their communicators of one kind. */
static int meet(struct meeting *m, struct br_err *err)
{
    int rc = name_world(m, err);
    if (!rc)
        rc = br__world_run(m->world, join_world, m, err);
    return rc ? rc : br__world_run(m->world, split_groups, m, err);
}

static int meet_all(struct br__world *w, const struct br_plane *plane, void *const *devices,
                    int off_host, struct br_err *err)
{
    const struct br_plane *threads = br__procs_size() > 1 ? NULL : &br__local_plane;
    struct meeting host = {
        .world = w, .plane = plane, .devices = devices, .on_host = 1, .from = BR_GROUP_WORLD + 1};
    struct meeting device = host;
    device.on_host = 0;
    if (off_host)
        host.plane = threads;
    int rc = meet(&host, err);
    if (!rc && off_host)
        return meet(&device, err);
    for (uint32_t i = w->first; i < w->first + w->n_here && !rc; i++)
        memcpy(w->ranks[i].info.comms, w->ranks[i].info.host, sizeof w->ranks[i].info.comms);
    return rc;
}

int br__world_open(struct br__world **out, const struct br_topo *t, const struct br_plane *plane,
                   void *const *devices, int off_host, struct br_err *err)
{
    *out = NULL;
    struct br__world *w = br__calloc(1, sizeof *w);
    if (!w)
        return br__nomem(err, "for the ranks");
    w->topo = *t;
    w->patience = br__procs_watched(&w->lost);
    pthread_mutex_init(&w->turn, NULL);
    w->ranks = br__calloc(t->world, sizeof *w->ranks);
    int rc =
        w->ranks ? br__ranks_here(t, &w->first, &w->n_here, err) : br__nomem(err, "for the ranks");
    for (uint32_t i = 0; !rc && i < t->world; i++)
        w->ranks[i] = (struct rank_thread){.world = w, .info = {.topo = *t, .rank = i}};
    if (!rc && t->world > 1 && !br__procs_pretends()) {
        rc = br__groups_same(t, NULL, w->same, err);
        if (!rc)
            rc = open_queues(w, err);
        if (!rc)
            rc = start_threads(w, err);
        if (!rc)
            rc = meet_all(w, plane, devices, off_host, err);
    }
    if (rc)
        br__world_close(w);
    else
        *out = w;
    return rc;
}

int br__world_embed(struct br__world *w, const struct br__stages *stages, struct br_err *err)
{
    struct meeting host = {.world = w, .stages = stages, .on_host = 1, .from = BR_GROUP_EMBED};
    struct meeting device = {.world = w, .stages = stages, .from = BR_GROUP_EMBED};
    struct rank_thread *here = &w->ranks[w->first];
    int off_host = here->info.comms[BR_GROUP_WORLD] != here->info.host[BR_GROUP_WORLD];
    if (!here->info.host[BR_GROUP_WORLD]) /* it is alone */
        return BR_OK;
    int rc = br__groups_same(&w->topo, stages, w->same, err);
    if (!rc)
        rc = br__world_run(w, split_groups, &host, err);
    if (!rc && off_host)
        rc = br__world_run(w, split_groups, &device, err);
    for (uint32_t i = 0; i < w->n_here && !off_host; i++)
        here[i].info.comms[BR_GROUP_EMBED] = here[i].info.host[BR_GROUP_EMBED];
    return rc;
}

void br__world_close(struct br__world *w)
{
    if (!w)
        return;
    w->fn = NULL;
    world_start(w);
    for (uint32_t i = 1; i <= w->n_threads; i++)
        pthread_join(w->ranks[w->first + i].thread, NULL);
    /* BR_GROUP_WORLD is 0: the world itself goes last. */
    for (uint32_t g = BR_N_GROUPS; g-- > 0;)
        for (uint32_t i = 0; w->ranks && i < w->topo.world; i++) {
            const struct br__rank_info *p = &w->ranks[i].info;
            if (w->same[g] != (enum br_group)g)
                continue;
            if (p->host[g] && p->host[g] != p->comms[g])
                p->host[g]->ops->close(p->host[g]);
            if (p->comms[g])
                p->comms[g]->ops->close(p->comms[g]);
        }
    for (uint32_t i = 0; i < w->n_here && w->owns_queues; i++)
        br__commq_close(w->ranks[w->first + i].info.queue);
    pthread_mutex_destroy(&w->turn);
    br__free(w->ranks);
    br__free(w);
}

uint32_t br__world_first(const struct br__world *w)
{
    return w->first;
}

const struct br__rank_info *br__world_rank(const struct br__world *w, uint32_t rank)
{
    return &w->ranks[rank].info;
}
