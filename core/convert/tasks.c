/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tasks.c - the tasks of a job, shared by bytes among the ranks of several processes.
 *
 * Every rank makes the same plan and takes a run of tasks with as many bytes as the others have.
 * Rank 0 hears what the others do: it shows one progress, and alone writes the journal. */
#include "job.h"

#include <string.h>

#define TELL_MS 200 /* between two reports of a rank */

/* ---- which are this rank's ------------------------------------------------------------------- */

static uint64_t bytes_of(const struct br__tasks *t)
{
    uint64_t total = 0;
    for (size_t i = 0; i < t->n; i++)
        total += t->bytes(t->arg, i);
    return total;
}

/* A task belongs to the share that holds its middle; without any bytes to the first. */
static void find_share(const struct br__tasks *t, uint64_t total, size_t *first, size_t *n)
{
    uint32_t rank = br__procs_rank(), size = br__procs_size();
    uint64_t at = 0;
    *first = *n = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint64_t bytes = t->bytes(t->arg, i);
        double middle = total ? ((double)at + (double)bytes / 2) / (double)total : 0;
        if ((uint32_t)(middle * size) == rank && !(*n)++)
            *first = i;
        at += bytes;
    }
}

/* ---- what rank 0 hears ----------------------------------------------------------------------- */

struct hearing {
    struct br__progress *progress;
    struct br__work *work;
    int rc; /* of the journal */
    struct br_err err;
};

static void hear_tasks(void *ud, uint32_t rank, uint32_t kind, const void *p, size_t n)
{
    struct hearing *h = ud;
    uint64_t bytes;
    if (rank == 0)
        return;
    if (kind == BR__TOLD_BYTES && n == sizeof bytes) {
        memcpy(&bytes, p, n);
        br__progress_add(h->progress, bytes);
    } else if (kind == BR__TOLD_PART && h->work && !h->rc && n >= sizeof(uint64_t)) {
        uint64_t *told = br__alloc(n); /* the part, and its digests */
        if (!told) {
            h->rc = br__nomem(&h->err, "for the journal");
            return;
        }
        memcpy(told, p, n);
        h->rc = br__work_done(h->work, (size_t)told[0], told + 1, n / sizeof *told - 1, &h->err);
        br__free(told);
    }
}

/* ---- what the others tell -------------------------------------------------------------------- */

struct telling {
    uint64_t told;
    int64_t told_ms;
};

static void tell_bytes(void *ud, const char *phase, uint64_t done, uint64_t total)
{
    struct telling *t = ud;
    int64_t now = br__clock_ms();
    uint64_t more = done - t->told;
    (void)phase;
    if (now - t->told_ms < TELL_MS && done < total)
        return;
    t->told_ms = now;
    t->told = done;
    (void)!br__procs_tell(BR__TOLD_BYTES, &more, sizeof more, NULL); /* it is only shown */
}

/* ---- running --------------------------------------------------------------------------------- */

struct share {
    const struct br__tasks *tasks;
    size_t first;
};

static int run_one(void *arg, size_t i, int worker, struct br_err *err)
{
    const struct share *s = arg;
    return s->tasks->run(s->tasks->arg, s->first + i, worker, err);
}

int br__job_threads(const struct br_job *job)
{
    int n = (int)br__procs_size();
    return job->threads > 0 ? BR__MAX(job->threads / n, 1) : job->threads;
}

int br__tasks_run(const struct br__tasks *t, struct br__progress *g, struct br_err *err)
{
    struct telling telling = {0};
    const struct br_listener tell = {.ud = &telling, .progress = tell_bytes};
    struct hearing hearing = {.progress = g, .work = t->work};
    struct share s = {.tasks = t};
    uint64_t total = bytes_of(t);
    size_t n;
    find_share(t, total, &s.first, &n);
    br__progress_init(g, br__procs_rank() ? &tell : t->job->listener, t->phase, total);
    br__procs_listen(hear_tasks, &hearing);
    br__procs_doing(t->phase);
    int rc = br__pool_run(br__job_threads(t->job), n, run_one, &s, err);
    rc = br__procs_agree(rc, err);
    br__procs_listen(NULL, NULL);
    br__progress_end(g);
    if (!rc && hearing.rc) {
        if (err)
            *err = hearing.err;
        rc = hearing.rc;
    }
    return br__procs_agree(rc, err);
}

void br__task_did(struct br__progress *g, uint64_t n)
{
    br__progress_add(g, n);
    br__procs_progress(n);
}
