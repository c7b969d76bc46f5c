/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* progress.c - telling a listener what happens, and how far a job is. */
#include "base.h"

static void progress_say(void (*fn)(void *, const char *), void *ud, const char *fmt, va_list ap)
{
    char text[1024];
    if (!fn)
        return;
    vsnprintf(text, sizeof text, fmt, ap);
    fn(ud, text);
}

void br__note(const struct br_listener *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (l)
        progress_say(l->note, l->ud, fmt, ap);
    va_end(ap);
}

void br__warn(const struct br_listener *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (l)
        progress_say(l->warning, l->ud, fmt, ap);
    va_end(ap);
}

void br__progress_init(struct br__progress *g, const struct br_listener *l, const char *phase,
                       uint64_t total)
{
    *g = (struct br__progress){.listener = l, .phase = phase, .total = total};
    pthread_mutex_init(&g->lock, NULL);
}

/* At most ~20 reports a second, and never a worker waiting for the terminal. */
void br__progress_add(struct br__progress *g, uint64_t n)
{
    uint64_t done = atomic_fetch_add(&g->done, n) + n;
    if (!g->listener || !g->listener->progress || pthread_mutex_trylock(&g->lock))
        return;
    int64_t now = br__clock_ns();
    if (now - g->last_ns > 50000000) {
        g->last_ns = now;
        g->listener->progress(g->listener->ud, g->phase, done, g->total);
    }
    pthread_mutex_unlock(&g->lock);
}

void br__progress_end(struct br__progress *g)
{
    if (g->listener && g->listener->progress)
        g->listener->progress(g->listener->ud, g->phase, atomic_load(&g->done), g->total);
    pthread_mutex_destroy(&g->lock);
}
