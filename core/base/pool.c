/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pool.c - run n independent tasks on a fixed set of threads.
 *
 * Indexes are handed out in order and an index taken is always run, so when task i fails every
 * smaller index has been started and will finish.  The lowest failing index is therefore the same
 * for any number of threads and any timing. */
#include "base.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

struct pool {
    int (*fn)(void *arg, size_t i, int worker, struct br_err *err);
    void *arg;
    size_t n;
    atomic_size_t next;
    atomic_int stop;
    pthread_mutex_t lock; /* guards the three below */
    size_t failed_i;
    int rc;
    struct br_err err;
};

struct worker {
    struct pool *pool;
    pthread_t thread;
    int id;
};

static void note_failure(struct pool *p, size_t i, int rc, const struct br_err *err)
{
    pthread_mutex_lock(&p->lock);
    if (p->rc == BR_OK || i < p->failed_i) {
        p->failed_i = i;
        p->rc = rc;
        p->err = *err;
    }
    pthread_mutex_unlock(&p->lock);
    atomic_store(&p->stop, 1);
}

static void *pool_work(void *arg)
{
    struct worker *w = arg;
    struct pool *p = w->pool;
    while (!atomic_load(&p->stop)) {
        size_t i = atomic_fetch_add(&p->next, 1);
        if (i >= p->n)
            break;
        struct br_err err = BR_ERR_INIT;
        int rc = p->fn(p->arg, i, w->id, &err);
        if (rc)
            note_failure(p, i, rc, &err);
    }
    return NULL;
}

int br__pool_run(int n_threads, size_t n,
                 int (*fn)(void *arg, size_t i, int worker, struct br_err *err), void *arg,
                 struct br_err *err)
{
    struct pool p = {.fn = fn, .arg = arg, .n = n, .lock = PTHREAD_MUTEX_INITIALIZER};
    struct worker workers[BR__MAX_CPUS];
    size_t want = (size_t)(n_threads > 0 ? n_threads : br__cpu_count());
    want = BR__MIN(BR__MIN(want, n), BR__MAX_CPUS);

    /* The calling thread is worker 0.  A thread that cannot be started only costs time. */
    int made = 1;
    workers[0] = (struct worker){.pool = &p, .id = 0};
    for (; (size_t)made < want; made++) {
        workers[made] = (struct worker){.pool = &p, .id = made};
        if (pthread_create(&workers[made].thread, NULL, pool_work, &workers[made]) != 0)
            break;
    }
    pool_work(&workers[0]);
    for (int i = 1; i < made; i++)
        pthread_join(workers[i].thread, NULL);
    pthread_mutex_destroy(&p.lock);
    if (p.rc && err)
        *err = p.err;
    return p.rc;
}

/* What BRIDGE_CPUS says: 0 where it is unset or empty, -1 where it is no number of CPUs. */
static int forced_cpus(const char **text)
{
    int64_t n;
    *text = getenv("BRIDGE_CPUS");
    if (!*text || !**text)
        return 0;
    return br__parse_i64(*text, &n) == 0 && n >= 1 && n <= BR__MAX_CPUS ? (int)n : -1;
}

static _Atomic int cpu_sharers = 1;

void br__cpu_share(int n_processes)
{
    atomic_store(&cpu_sharers, BR__MAX(1, n_processes));
}

/* Of this machine, or the one that BRIDGE_CPUS pretends. */
static int all_cpus(void)
{
    const char *text;
    cpu_set_t set;
    int n = forced_cpus(&text);
    if (n > 0)
        return n;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        n = CPU_COUNT(&set);
    else /* more CPUs than cpu_set_t holds */
        n = (int)BR__MIN(sysconf(_SC_NPROCESSORS_ONLN), BR__MAX_CPUS);
    return BR__MAX(1, BR__MIN(n, BR__MAX_CPUS));
}

int br__cpu_count(void)
{
    return BR__MAX(1, all_cpus() / atomic_load(&cpu_sharers));
}

int br__cpu_count_check(struct br_err *err)
{
    const char *text;
    if (forced_cpus(&text) >= 0)
        return BR_OK;
    return br_fail(err, BR_E_USAGE, "BRIDGE_CPUS is '%s', expected a whole number from 1 to %d",
                   text, BR__MAX_CPUS);
}
