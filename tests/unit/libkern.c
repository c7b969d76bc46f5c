/* libkern.c - see libkern.h */
#include "libkern.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef BRIDGE_EMULATED
#define TESTED (BR__CPU_AVX512 | BR__CPU_AVX512_BF16 | BR__CPU_AMX)
#elif defined(__x86_64__)
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
#ifdef BRIDGE_EMULATED
        if (t->features > BR__CPU_AVX2)
            out[n++] = t;
#else
        static int told;
        if ((t->features & br__cpu_detect()) == t->features)
            out[n++] = t;
        else if (told++ < (int)br__n_cpu_tiers)
            printf("this machine has no %s: only its emulation is tested\n", t->name);
#endif
    }
    return n;
}

const struct br_kernel *kern_row(const struct br__cpu_tier *tier, uint32_t op, uint32_t weight)
{
    const struct br_backend *b = br__cpu_backend();
    for (uint32_t i = 0; i < b->kernels.n; i++) {
        const struct br_kernel *k = &b->kernels.rows[i];
        if (k->op != op || (k->needs & ~tier->features) != 0)
            continue;
        if (k->weights == 0 || (k->weights & BR_BIT(weight)) != 0)
            return k;
    }
    return NULL;
}

struct job {
    const struct br_kernel *row;
    struct br_call call;
};

static void on_lane(void *arg, struct br_team *team, uint32_t lane)
{
    struct job *j = arg;
    struct br_call c = j->call;
    c.team = team;
    c.lane = lane;
    j->row->run(&c);
}

static void ask_scratch(void *arg, struct br_team *team, uint32_t lane)
{
    struct job *j = arg;
    struct br_call c = j->call;
    c.team = team;
    if (lane == 0 && j->row->scratch)
        *(size_t *)j->call.scratch = j->row->scratch(&c);
}

#define GUARD 256

void kern_run(const struct br__cpu_tier *tier, uint32_t n_lanes, struct br_call *call)
{
    const struct br_backend *b = br__cpu_backend();
    struct br_err err = BR_ERR_INIT;
    struct job job = {kern_row(tier, call->op, call->n_in > 1 ? call->in[1].dtype : BR_F32), *call};
    ck_assert_msg(job.row != NULL, "%s has no kernel for op %u", tier->name, call->op);
    uint64_t features;
    ck_assert_msg(b->open(&job.call.device, n_lanes, &features, &err) == 0, "%s", err.msg);
    size_t n = 0;
    job.call.scratch = &n;
    b->run(job.call.device, ask_scratch, &job);
    unsigned char *scratch = b->alloc(job.call.device, n + GUARD);
    ck_assert_ptr_nonnull(scratch);
    memset(scratch, 0xFF, n + GUARD);
    job.call.scratch = scratch;
    b->run(job.call.device, on_lane, &job);
    for (size_t i = n; i < n + GUARD; i++)
        ck_assert_msg(scratch[i] == 0xFF, "%s: wrote beyond its %zu bytes of scratch", tier->name,
                      n);
    b->free(job.call.device, scratch);
    b->close(job.call.device);
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
