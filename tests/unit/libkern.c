/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkern.c - see libkern.h */
#include "libkern.h"
#include "graph/graph_internal.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#define TESTED ~(uint64_t)BR__CPU_NEON
#else
#define TESTED (uint64_t) BR__CPU_NEON
#endif

size_t kern_tiers(const struct br__cpu_tier **out, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < br__n_cpu_tiers && n < max; i++) {
        const struct br__cpu_tier *t = &br__cpu_tiers[i];
        if (t->features && !(t->features & TESTED))
            continue;
        static int told;
        if ((t->features & br__cpu_detect()) == t->features)
            out[n++] = t;
        else if (told++ < (int)br__n_cpu_tiers)
            printf("this machine has no %s: only its emulation is tested\n", t->name);
    }
    return n;
}

/* As the engine chooses. */
const struct br_kernel *kern_row(uint64_t features, uint32_t op, uint32_t weight)
{
    const struct br_backend *b = br__cpu_backend();
    const struct br__device d = {
        .features = features, .kernels = b->kernels.rows, .n_kernels = b->kernels.n};
    return br__device_kernel(&d, op, weight);
}

struct job {
    const struct br_kernel *row;
    struct br_call call;
    uint32_t late; /* a lane that is slow to begin, and after each meeting: others do its share */
};

/* A lane's team, as it sees it. */
struct seen {
    struct br_team team;
    void (*sync)(struct br_team *team, uint32_t lane);
    uint32_t late;
};

static void come_late(const struct seen *s, uint32_t lane)
{
    if (s->team.n_lanes > 1 && lane == s->late)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void late_sync(struct br_team *team, uint32_t lane)
{
    const struct seen *s = (const struct seen *)team;
    s->sync(team, lane);
    come_late(s, lane);
}

static void on_lane(void *arg, struct br_team *team, uint32_t lane)
{
    struct job *j = arg;
    struct seen s = {.team = *team, .sync = team->sync, .late = j->late};
    struct br_call c = j->call;
    s.team.sync = late_sync;
    c.team = &s.team;
    c.lane = lane;
    come_late(&s, lane);
    j->row->run(&c);
}

#define GUARD 256

void kern_run_on(void *device, const char *tier, uint64_t features, uint32_t n_lanes,
                 struct br_call *call)
{
    uint32_t weight = call->op == BR_OP_EMBED || call->n_in < 2 ? 0 : 1;
    static uint32_t n_jobs;
    struct job job = {kern_row(features, call->op, call->in[weight].dtype), *call,
                      n_jobs++ % n_lanes};
    ck_assert_msg(job.row != NULL, "%s has no kernel for op %u", tier, call->op);
    struct br_team sized = {.n_lanes = n_lanes};
    job.call.team = &sized;
    job.call.device = device;
    size_t n = job.row->scratch ? job.row->scratch(&job.call) : 0;
    unsigned char *scratch = aligned_alloc(64, (n + GUARD + 63) / 64 * 64);
    ck_assert_ptr_nonnull(scratch);
    memset(scratch, 0xFF, n + GUARD);
    job.call.scratch = scratch;
    br__cpu_backend()->run(device, on_lane, &job);
    for (size_t i = n; i < n + GUARD; i++)
        ck_assert_msg(scratch[i] == 0xFF, "op %u on %s wrote beyond its %zu bytes of scratch",
                      call->op, tier, n);
    free(scratch);
}

void kern_run(const struct br__cpu_tier *tier, uint32_t n_lanes, struct br_call *call)
{
    const struct br_backend *b = br__cpu_backend();
    struct br_err err = BR_ERR_INIT;
    uint64_t features;
    void *device;
    ck_assert_msg(b->open(&device, n_lanes, &features, &err) == 0, "%s", err.msg);
    kern_run_on(device, tier->name, tier->features, n_lanes, call);
    b->close(device);
}

struct br_tensor kern_tensor(void *data, uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = {.data = data, .dtype = dtype, .n_dim = n_dim};
    int64_t stride = 1;
    for (uint32_t i = n_dim; i-- > 0;) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

float kern_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int32_t)(*state >> 32)) * 0x1p-31f;
}
