/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* overlap.c - what ranks exchange in a step, bank by bank, while they compute: sums of gradients
 * from the last backward pass on, new weights while those of the next bank are made.
 *
 * The same is done in the same order without overlap, but by the rank's own thread when all is
 * there: results are the same bits.  Where the host's memory is exchanged, the rank's queue has a
 * thread for it; a device is given it beside the rest, on its second stream, by the rank's thread,
 * the only one to use the communicators. */
#include "state.h"

enum { REDUCE, GATHER };
struct br__bank_job {
    struct br__comm_job job;
    struct br__train *t;
    uint32_t i; /* rank */
    size_t bank;
    int is_posted;
};

static struct br__bank_job *job_of(const struct br__train *t, uint32_t i, size_t bank, int what)
{
    return &t->ranks[i].jobs[2 * bank + (size_t)what];
}

static int run_reduce(void *arg, struct br_err *err)
{
    const struct br__bank_job *x = arg;
    int rc = br__trainer_bank(x->t->trainer, x->i, x->bank, err);

    return rc ? rc : br__shard_reduce(&x->t->ranks[x->i].shard, x->bank, err);
}

static int run_gather(void *arg, struct br_err *err)
{
    const struct br__bank_job *x = arg;

    return br__shard_gather(&x->t->ranks[x->i].shard, x->bank, br__train_is_narrow(x->t), err);
}

int br__overlap_open(struct br__train *t, uint32_t i, struct br_err *err)
{
    size_t n = t->ranks[i].shard.o.n_banks;

    t->ranks[i].jobs = br__arena_alloc(&t->arena, (2 * n + 1) * sizeof(struct br__bank_job));
    for (size_t k = 0; k < 2 * n && t->ranks[i].jobs; k++) {
        struct br__bank_job *x = &t->ranks[i].jobs[k];
        x->job.run = k % 2 == REDUCE ? run_reduce : run_gather;
        x->job.arg = x;
        x->t = t;
        x->i = i;
        x->bank = k / 2;
    }
    return t->ranks[i].jobs ? BR_OK : br__nomem(err, "for the ranks");
}

static struct br__device *device_of(const struct br__bank_job *x)
{
    return br__trainer_device(x->t->trainer, x->i);
}

/* What was given to the device before is what the job works on. */
static int give_job(struct br__bank_job *x, struct br_err *err)
{
    int rc = br__device_stream(device_of(x), BR_STREAM_SECOND, err);

    if (rc)
        return rc;
    rc = x->job.run(x, err);
    int back = br__device_stream(device_of(x), BR_STREAM_FIRST, rc ? NULL : err);
    return rc ? rc : back;
}

static int overlap_post(struct br__bank_job *x, struct br_err *err)
{
    int rc = br__device_is_host(device_of(x))
                 ? br__commq_post(x->t->ranks[x->i].info->queue, &x->job, err)
                 : give_job(x, err);

    x->is_posted = !rc;
    return rc;
}

static int overlap_wait(struct br__bank_job *x, struct br_err *err)
{
    x->is_posted = 0;
    return br__device_is_host(device_of(x)) ? br__commq_wait(&x->job, err)
                                            : br__device_stream(device_of(x), BR_STREAM_JOIN, err);
}

int br__overlap_ready(void *arg, uint32_t i, size_t bank, struct br_err *err)
{
    struct br__train *t = arg;

    return overlap_post(job_of(t, i, bank, REDUCE), err);
}

int br__overlap_reduce(struct br__train *t, uint32_t i, struct br_err *err)
{
    struct br__train_rank *r = &t->ranks[i];
    int rc = BR_OK;

    for (size_t b = 0; b < r->shard.o.n_banks && !rc; b++)
        if (!job_of(t, i, b, REDUCE)->is_posted)
            rc = br__shard_reduce(&r->shard, b, err);
    for (size_t b = 0; b < r->shard.o.n_banks && !rc; b++)
        if (job_of(t, i, b, REDUCE)->is_posted)
            rc = overlap_wait(job_of(t, i, b, REDUCE), err);
    return rc;
}

int br__overlap_gather(struct br__train *t, uint32_t i, size_t bank, struct br_err *err)
{
    struct br__bank_job *x = job_of(t, i, bank, GATHER);

    if (!br__shard_is_shared(&t->ranks[i].shard))
        return BR_OK;
    return t->run->overlap_gather && t->ranks[i].info->queue ? overlap_post(x, err)
                                                             : run_gather(x, err);
}

int br__overlap_gathered(struct br__train *t, uint32_t i, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t b = 0; b < t->ranks[i].shard.o.n_banks && !rc; b++)
        if (job_of(t, i, b, GATHER)->is_posted)
            rc = overlap_wait(job_of(t, i, b, GATHER), err);
    return rc;
}

/* With the queue empty no job is anybody's. */
static int settle_rank(void *arg, uint32_t i, struct br_err *err)
{
    struct br__train *t = arg;

    (void)err;
    br__commq_settle(t->ranks[i].info->queue, BR_E_COMM);
    for (size_t k = 0; k < 2 * t->ranks[i].shard.o.n_banks; k++)
        t->ranks[i].jobs[k].is_posted = 0;
    return BR_OK;
}

void br__overlap_settle(struct br__train *t)
{
    if (br__train_each(t, settle_rank, t, NULL))
        BR_BUG("ranks do not settle");
}
