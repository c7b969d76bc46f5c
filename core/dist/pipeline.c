/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pipeline.c - pipeline schedules as data: jobs of a stage, and what is exchanged between them.
 *
 * 1F1B (vpp 1) and interleaved 1F1B, job for job and message for message those of Megatron-LM
 * megatron/core/pipeline_parallel/schedules.py (core 0.19.2) without overlap_p2p_comm; what it
 * sends and receives one after another between two jobs goes on together here.
 *
 * Interleaved, all stages go through passes 0, 1, ... of one table (get_schedule_table): micro
 * batches in groups, a group through all chunks before the next.  Backward passes take the same
 * table with the chunks in reverse. */
#include "dist.h"

#include <inttypes.h>

/* Passes of all micro batches through all chunks of a stage, and of all stages: tags have 32 bits.
 */
#define MAX_PASSES (UINT32_C(1) << 24)
#define MAX_ALL_PASSES (UINT32_C(1) << 30)

struct pass {
    uint32_t micro_batch, chunk;
};

struct builder {
    const struct br__pipe_opts *o;
    struct br__pipe *out;
    struct pass *passes; /* [n], interleaved: the table of forward passes */
    uint32_t n, group;
    uint32_t *frame_of;            /* [micro_batches * vpp] */
    uint32_t *free_frames, n_free; /* a stack */
};

/* ---- what goes together ---------------------------------------------------------------------- */

static uint32_t group_of(const struct br__pipe_opts *o)
{
    return o->group ? o->group : o->pp;
}

int br__pipe_check(const struct br__pipe_opts *o, struct br_err *err)
{
    uint32_t m = o->micro_batches, group = group_of(o);
    uint64_t passes = (uint64_t)m * o->vpp;
    if (!passes || !o->pp || passes > MAX_PASSES || o->pp > MAX_ALL_PASSES / passes)
        return br_fail(err, BR_E_CONFIG,
                       "a pipeline of %" PRIu32 " stages × %" PRIu32 " chunks with %" PRIu32
                       " micro batches: expected at least 1 each, and at most %" PRIu32
                       " passes of a stage and %" PRIu32 " of all",
                       o->pp, o->vpp, m, MAX_PASSES, MAX_ALL_PASSES);
    if (o->vpp == 1)
        return BR_OK;
    if (group < o->pp || group > m)
        return br_fail(err, BR_E_CONFIG,
                       "vpp %" PRIu32 " needs pp %" PRIu32
                       " ≤ microbatch_group_size_per_vp_stage %" PRIu32 " ≤ micro batches %" PRIu32,
                       o->vpp, o->pp, group, m);
    if (m % group && m % group < o->pp)
        return br_fail(err, BR_E_CONFIG,
                       "micro batches %" PRIu32 " %% microbatch_group_size_per_vp_stage %" PRIu32
                       " = %" PRIu32 ", and vpp %" PRIu32 " needs 0 or at least pp %" PRIu32,
                       m, group, m % group, o->vpp, o->pp);
    return BR_OK;
}

/* ---- putting jobs and messages --------------------------------------------------------------- */

static void put_job(struct builder *b, const struct pass *p, int backward)
{
    struct br__pipe *t = b->out;
    uint32_t *frame = &b->frame_of[p->micro_batch * b->o->vpp + p->chunk];
    if (!backward)
        *frame = b->n_free ? b->free_frames[--b->n_free] : t->n_frames++;
    t->jobs[t->n_jobs] = (struct br__job){p->micro_batch, p->chunk, (uint32_t)backward, *frame};
    if (backward || b->o->forward_only)
        b->free_frames[b->n_free++] = *frame;
    t->exchange[++t->n_jobs] = t->n_messages;
}

/* A message for or of pass p of this stage.  Numbered in the model's order, chunk v hands its
 * activation to v + 1, and v + 1 the gradient of it back. */
static void put_message(struct builder *b, int is_send, int is_grad, const struct pass *p)
{
    struct br__pipe *t = b->out;
    uint32_t pp = b->o->pp, number = p->chunk * pp + t->stage;
    int to_next = is_send != is_grad; /* is the peer the next stage? */
    uint32_t before = to_next ? number : number - 1;
    if (to_next ? number == pp * b->o->vpp - 1 : number == 0)
        return; /* the model's ends */
    t->messages[t->n_messages++] = (struct br__message){
        .peer = (t->stage + (to_next ? 1 : pp - 1)) % pp,
        .is_send = (uint32_t)is_send,
        .is_grad = (uint32_t)is_grad,
        .micro_batch = p->micro_batch,
        .chunk = p->chunk,
        .tag = (before * b->o->micro_batches + p->micro_batch) * 2 + (uint32_t)is_grad,
    };
}

#define SEND_ACT(b, p) put_message(b, 1, 0, p)
#define SEND_GRAD(b, p) put_message(b, 1, 1, p)
#define RECV_ACT(b, p) put_message(b, 0, 0, p)
#define RECV_GRAD(b, p) put_message(b, 0, 1, p)

/* ---- 1F1B ------------------------------------------------------------------------------------ */

static void put_plain(struct builder *b)
{
    uint32_t m = b->o->micro_batches, warmup = b->out->warmup;
    int forward_only = b->o->forward_only;
    for (uint32_t i = 0; i < m; i++) {
        struct pass f = {i, 0}, back = {i - warmup, 0};
        RECV_ACT(b, &f);
        put_job(b, &f, 0);
        SEND_ACT(b, &f);
        if (forward_only || i < warmup)
            continue;
        RECV_GRAD(b, &back);
        put_job(b, &back, 1);
        SEND_GRAD(b, &back);
    }
    for (uint32_t i = m - warmup; !forward_only && i < m; i++) {
        struct pass back = {i, 0};
        RECV_GRAD(b, &back);
        put_job(b, &back, 1);
        SEND_GRAD(b, &back);
    }
}

/* ---- interleaved ----------------------------------------------------------------------------- */

static void fill_passes(struct builder *b)
{
    uint32_t m = b->o->micro_batches, n = 0;
    for (uint32_t first = 0; first < m; first += b->group)
        for (uint32_t c = 0; c < b->o->vpp; c++)
            for (uint32_t i = first; i < m && i - first < b->group; i++)
                b->passes[n++] = (struct pass){i, c};
}

static struct pass backward_pass(const struct builder *b, uint32_t k)
{
    return (struct pass){b->passes[k].micro_batch, b->o->vpp - 1 - b->passes[k].chunk};
}

/* What to receive after pass k.  Most stages take what their next pass needs.  The stage at the
 * front of the ring (first of forward, last of backward passes) takes what the stage at its end has
 * sent just now, pp - 1 passes behind. */
static void receive_act(struct builder *b, uint32_t k)
{
    uint32_t behind = b->o->pp - 1;
    if (b->out->stage != 0) {
        RECV_ACT(b, &b->passes[k + 1]);
    } else if (k >= behind && b->passes[k - behind].chunk != b->o->vpp - 1) {
        struct pass p = b->passes[k - behind];
        p.chunk++;
        RECV_ACT(b, &p);
    }
}

static void receive_grad(struct builder *b, uint32_t k)
{
    uint32_t behind = b->o->pp - 1;
    struct pass p;
    if (b->out->stage != b->o->pp - 1) {
        p = backward_pass(b, k + 1);
        RECV_GRAD(b, &p);
    } else if (k >= behind && (p = backward_pass(b, k - behind)).chunk != 0) {
        p.chunk--;
        RECV_GRAD(b, &p);
    }
}

static void put_interleaved(struct builder *b)
{
    uint32_t n = b->n, warmup = b->out->warmup, left = n - warmup;
    struct pass back = backward_pass(b, 0);
    RECV_ACT(b, &b->passes[0]);
    for (uint32_t k = 0; k < warmup; k++) {
        put_job(b, &b->passes[k], 0);
        SEND_ACT(b, &b->passes[k]);
        if (k < n - 1)
            receive_act(b, k);
    }
    if (b->o->forward_only)
        return;
    RECV_GRAD(b, &back);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t forward = k + warmup;
        if (k < left)
            put_job(b, &b->passes[forward], 0);
        back = backward_pass(b, k);
        put_job(b, &back, 1);
        if (k < left)
            SEND_ACT(b, &b->passes[forward]);
        SEND_GRAD(b, &back);
        if (forward < n - 1)
            receive_act(b, forward);
        if (k < n - 1)
            receive_grad(b, k);
    }
}

/* ---- both ------------------------------------------------------------------------------------ */

static uint32_t warmup_of(const struct builder *b)
{
    uint32_t behind = b->o->pp - 1 - b->out->stage;
    uint64_t warmup =
        b->o->vpp == 1 ? behind : 2 * (uint64_t)behind + (uint64_t)(b->o->vpp - 1) * b->group;
    return b->o->forward_only ? b->n : (uint32_t)BR__MIN(warmup, b->n);
}

static int pipe_alloc(struct br__arena *a, struct builder *b, struct br_err *err)
{
    struct br__pipe *t = b->out;
    size_t n = b->n, jobs = b->o->forward_only ? n : 2 * n;
    t->jobs = br__arena_alloc(a, jobs * sizeof *t->jobs);
    t->messages = br__arena_alloc(a, 2 * jobs * sizeof *t->messages);
    t->exchange = br__arena_alloc(a, (jobs + 2) * sizeof *t->exchange);
    b->passes = br__calloc(n, sizeof *b->passes);
    b->frame_of = br__calloc(n, sizeof *b->frame_of);
    b->free_frames = br__calloc(n, sizeof *b->free_frames);
    return t->jobs && t->messages && t->exchange && b->passes && b->frame_of && b->free_frames
               ? BR_OK
               : br__nomem(err, "for a pipeline's schedule");
}

int br__pipe_make(struct br__arena *a, const struct br__pipe_opts *o, uint32_t stage,
                  struct br__pipe *out, struct br_err *err)
{
    struct builder b = {.o = o, .out = out, .group = group_of(o)};
    *out = (struct br__pipe){.stage = stage};
    int rc = br__pipe_check(o, err);
    if (!rc && stage >= o->pp)
        rc = br_fail(err, BR_E_USAGE, "pipeline stage %" PRIu32 " of %" PRIu32, stage, o->pp);
    if (rc)
        return rc;
    b.n = o->micro_batches * o->vpp;
    out->warmup = warmup_of(&b);
    rc = pipe_alloc(a, &b, err);
    if (!rc && o->vpp == 1)
        put_plain(&b);
    if (!rc && o->vpp > 1) {
        fill_passes(&b);
        put_interleaved(&b);
    }
    if (!rc)
        out->exchange[out->n_jobs + 1] = out->n_messages;
    br__free(b.passes);
    br__free(b.frame_of);
    br__free(b.free_frames);
    return rc;
}
