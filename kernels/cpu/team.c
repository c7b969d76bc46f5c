/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* team.c - the threads of a device: threads that stay, and a barrier for them.
 *
 * The barrier spins briefly, since the next op usually follows within microseconds, then sleeps on
 * a futex: with fewer cores than threads, a spinning thread occupies the core that the thread it
 * waits for needs.  The same barrier starts and ends a run, so idle threads sleep too. */
#include "cpu.h"
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPINS 2000

struct worker {
    struct br_stream stream; /* what kernels see; impl is the team */
    pthread_t thread;
    uint32_t loops; /* calls of br__share; the parity picks the count */
    char pad[4];
    _Atomic int64_t taken[2]; /* pieces of this thread's range taken, by any thread */
    char pad_end[8];
};
_Static_assert(sizeof(struct worker) == 64, "a cache line of its own for each thread");

struct br__team {
    struct worker *workers;
    uint32_t n_threads;
    void (*fn)(void *arg, const struct br_stream *s); /* NULL: leave */
    void *arg;
    _Alignas(64) _Atomic uint32_t arrived;
    _Alignas(64) _Atomic uint32_t round; /* the futex */
    _Atomic uint32_t sleepers;
};

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void sleep_while(struct br__team *t, uint32_t round)
{
    atomic_fetch_add(&t->sleepers, 1);
    while (atomic_load(&t->round) == round)
        syscall(SYS_futex, &t->round, FUTEX_WAIT_PRIVATE, round, NULL, NULL, 0);
    atomic_fetch_sub(&t->sleepers, 1);
}

static void team_barrier(struct br__team *t)
{
    uint32_t round = atomic_load(&t->round);
    if (atomic_fetch_add(&t->arrived, 1) + 1 == t->n_threads) {
        atomic_store(&t->arrived, 0);
        atomic_store(&t->round, round + 1);
        /* A thread not counted yet reads the new round before it sleeps. */
        if (atomic_load(&t->sleepers) > 0)
            syscall(SYS_futex, &t->round, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
        return;
    }
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&t->round, memory_order_acquire) != round)
            return;
        pause_briefly();
    }
    sleep_while(t, round);
}

static void sync_team(const struct br_stream *s)
{
    team_barrier(s->impl);
}

static void *team_work(void *arg)
{
    struct worker *l = arg;
    struct br__team *t = l->stream.impl;
    for (;;) {
        team_barrier(t);
        if (!t->fn)
            return NULL;
        t->fn(t->arg, &l->stream);
        team_barrier(t);
    }
}

void br__team_run(struct br__team *t, void (*fn)(void *arg, const struct br_stream *s), void *arg)
{
    if (t->n_threads == 1) {
        fn(arg, &t->workers[0].stream);
        return;
    }
    t->fn = fn;
    t->arg = arg;
    team_barrier(t);
    fn(arg, &t->workers[0].stream);
    team_barrier(t);
}

static void team_stop(struct br__team *t)
{
    t->fn = NULL;
    team_barrier(t);
    for (uint32_t i = 1; i < t->n_threads; i++)
        pthread_join(t->workers[i].thread, NULL);
}

void br__team_free(struct br__team *t)
{
    if (!t)
        return;
    if (t->n_threads > 1)
        team_stop(t);
    free(t->workers);
    free(t);
}

struct br__team *br__team_new(uint32_t n)
{
    struct br__team *t = aligned_alloc(64, sizeof *t);
    struct worker *workers = aligned_alloc(64, n * sizeof *workers);
    if (!t || !workers) {
        free(t);
        free(workers);
        return NULL;
    }
    *t = (struct br__team){.workers = workers, .n_threads = n};
    for (uint32_t i = 0; i < n; i++)
        workers[i] = (struct worker){.stream = {t, sync_team, i, n}};
    uint32_t made = 1;
    for (; made < n; made++) {
        if (pthread_create(&workers[made].thread, NULL, team_work, &workers[made]) != 0)
            break;
    }
    if (made == n)
        return t;
    /* The threads that started wait in the barrier for n: arrive for those that did not. */
    atomic_fetch_add(&t->arrived, n - made);
    team_barrier(t);
    for (uint32_t i = 1; i < made; i++)
        pthread_join(workers[i].thread, NULL);
    free(workers);
    free(t);
    return NULL;
}

uint32_t br__team_threads(const struct br__team *t)
{
    return t->n_threads;
}

/* Two counts alternate.  A barrier separates two loops, so no thread counts for loop i + 1 while
 * loop i runs, and each thread can reset its own count for it. */
struct br__share br__share(const struct br_call *c, int64_t n)
{
    struct br__team *t = c->stream->impl;
    struct worker *l = &t->workers[c->stream->thread];
    uint32_t loop = l->loops++ & 1;
    atomic_store_explicit(&l->taken[loop ^ 1], 0, memory_order_relaxed);
    return (struct br__share){.team = t, .n = n, .thread = c->stream->thread, .loop = loop};
}

int br__share_next(struct br__share *s, int64_t *i)
{
    int64_t threads = s->team->n_threads;
    for (; s->helped < threads; s->helped++) {
        int64_t of = (s->thread + s->helped) % threads;
        _Atomic int64_t *taken = &s->team->workers[of].taken[s->loop];
        *i = s->n * of / threads + atomic_fetch_add_explicit(taken, 1, memory_order_relaxed);
        if (*i < s->n * (of + 1) / threads)
            return 1;
    }
    return 0;
}
