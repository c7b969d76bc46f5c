/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_step.c - the micro batches of a step on one rank: one after another, or, where it is a
 * stage of a pipeline, in the order of its schedule (core/dist/pipeline.c). */
#include "trainer.h"
#include <string.h>

/* A rank's step. */
struct step {
    struct br__rank_trainer *t;
    const struct br__train_batches *b;
    struct br__arena arena;
    struct br__pipe pipe;
    uint32_t *frame;         /* [n * n_chunks] of the forward pass that was last */
    struct br__kept *in[2];  /* [n * n_chunks] received: hidden states, gradients */
    struct br__kept *out[2]; /* made, not sent yet */
    int has_last;            /* backward passes of the last micro batch have begun */
};

static const struct br__micro *micro_of(const struct step *s, size_t k)
{
    return &s->b->mb[k * s->b->stride];
}

static size_t place_of(const struct step *s, uint32_t micro_batch, uint32_t chunk)
{
    return (size_t)micro_batch * s->t->n_chunks + chunk;
}

/* ---- one pass -------------------------------------------------------------------------------- */

static int get_pass(const struct step *s, const struct br__job *job, struct br__train_pass **p,
                    struct br_err *err)
{
    const struct br__micro *mb = micro_of(s, job->micro_batch);
    const struct br__train_key key = {br__train_tokens(s->t, mb), mb->n_seqs, job->chunk,
                                      s->b->backward};
    return br__train_pass_get(s->t, &key, p, err);
}

static size_t value_bytes(const struct br__train_pass *p, br_val v)
{
    const struct br__node *n = br__node(&p->compiled->g, v);
    return (size_t)br__node_elems(n) * br_dtype_size((int)n->dtype);
}

/* Memory of n bytes for a message.  What earlier ones have left is taken first: a device may stop
 * all work for new memory. */
static int take_room(struct br__rank_trainer *t, size_t n, struct br__kept *out, struct br_err *err)
{
    struct br__device *d = &t->rank->dev;
    size_t i = 0;
    while (i < t->n_spare && t->spare[i].bytes < n)
        i++;
    if (t->n_spare) {
        i = i < t->n_spare ? i : 0;
        *out = t->spare[i];
        t->spare[i] = t->spare[--t->n_spare];
    }
    if (n > out->bytes) {
        br__device_free(d, out->memory);
        *out = (struct br__kept){br__device_alloc(d, n), n};
    }
    return out->memory ? 0 : br__nomem(err, "for hidden states of %zu bytes", n);
}

/* What was given to the device before may still use it, which comes before what will be. */
static void leave_room(struct br__rank_trainer *t, struct br__kept *room)
{
    if (room->memory && br__grow(&t->spare, &t->cap_spare, t->n_spare, sizeof *t->spare))
        br__device_free(&t->rank->dev, room->memory);
    else if (room->memory)
        t->spare[t->n_spare++] = *room;
    *room = (struct br__kept){0};
}

/* What came from a neighbour is what the graph sees. */
static void put_in(struct br__frame *f, br_val v, const struct br__kept *received)
{
    if (v)
        br__frame_bind(f, v, received->memory);
}

static int take_out(const struct step *s, const struct br__train_pass *p, const struct br__frame *f,
                    br_val v, struct br__kept *out, struct br_err *err)
{
    if (!v)
        return 0;
    int rc = take_room(s->t, value_bytes(p, v), out, err);
    return rc ? rc : br__frame_copy(f, v, out->memory, err);
}

static int pass_forward(struct step *s, const struct br__job *job, struct br_err *err)
{
    const struct br__micro *mb = micro_of(s, job->micro_batch);
    size_t at = place_of(s, job->micro_batch, job->chunk);
    struct br__train_pass *p;
    struct br__frame *f = NULL;
    int rc = get_pass(s, job, &p, err);
    if (!rc)
        rc = br__train_frame(s->t, p, job->frame, &f, err);
    if (rc)
        return rc;
    s->frame[at] = job->frame;
    rc = br__train_fill(s->t, p, f, mb, err);
    put_in(f, p->compiled->b.received, &s->in[0][at]);
    if (!rc)
        rc = s->b->backward ? br__frame_run_part(f, 0, err) : br__frame_run(f, err);
    if (!rc)
        rc = br__train_read_moe(s->t, p, f, mb, job->micro_batch, err);
    if (!rc && !s->b->backward)
        rc =
            br__train_read_losses(s->t, p, f, mb, &s->b->out[job->micro_batch * s->b->stride], err);
    if (!s->b->backward)
        leave_room(s->t, &s->in[0][at]);
    return rc ? rc : take_out(s, p, f, p->compiled->b.sent, &s->out[0][at], err);
}

/* Whether this is a pass of the step's last micro batch.  Before the first of those backward passes
 * all chunks' graphs for it are there. */
static int begin_last(struct step *s, const struct br__job *job, int *is_last, struct br_err *err)
{
    struct br__job other = *job;
    int rc = 0;
    *is_last = s->b->is_last && job->micro_batch + 1 == s->b->n;
    if (!*is_last || s->has_last)
        return 0;
    s->has_last = 1;
    br__banks_begin(s->t);
    for (other.chunk = 0; other.chunk < s->t->n_chunks && !rc; other.chunk++) {
        struct br__train_pass *p;
        rc = get_pass(s, &other, &p, err);
        if (!rc)
            br__banks_expect(s->t, p);
    }
    return rc;
}

static int pass_backward(struct step *s, const struct br__job *job, struct br_err *err)
{
    const struct br__micro *mb = micro_of(s, job->micro_batch);
    size_t at = place_of(s, job->micro_batch, job->chunk);
    struct br__train_pass *p;
    int is_last, rc = begin_last(s, job, &is_last, err);
    if (!rc)
        rc = get_pass(s, job, &p, err);
    if (rc)
        return rc;
    struct br__frame *f = p->frames[s->frame[at]];
    struct br__last_pass last = {.t = s->t, .p = p};
    put_in(f, p->compiled->b.d_sent, &s->in[1][at]);
    if (is_last)
        br__last_pass_begin(&last, f);
    rc = br__frame_run_part(f, 1, err);
    if (!rc)
        rc =
            br__train_read_losses(s->t, p, f, mb, &s->b->out[job->micro_batch * s->b->stride], err);
    if (!rc)
        rc = br__train_add_gradients(s->t, p, f, err);
    if (is_last)
        rc = br__last_pass_end(&last, f, rc, err);
    for (int k = 0; k < 2; k++)
        leave_room(s->t, &s->in[k][at]);
    return rc ? rc : take_out(s, p, f, p->d_received, &s->out[1][at], err);
}

/* ---- a pipeline ------------------------------------------------------------------------------ */

/* Messages [from, to) at once. */
static int exchange(struct step *s, uint32_t from, uint32_t to, struct br_err *err)
{
    struct br__rank_trainer *t = s->t;
    struct br_comm *comm = t->rank->info->comms[BR_GROUP_PP];
    uint32_t tp = t->o->sequence_parallel ? t->rank->m->topo.size[BR_AXIS_TP] : 1;
    int64_t hidden = br_cfg_i(t->rank->m->weights->cfg, BR_CFG_HIDDEN_SIZE);
    uint32_t dtype = t->o->values == BR_BF16 ? BR_BF16 : BR_F32;
    struct br_p2p *ops = br__calloc(to - from + 1, sizeof *ops);
    int rc = ops ? 0 : br__nomem(err, "for messages");
    for (uint32_t i = from; i < to && !rc; i++) {
        const struct br__message *m = &s->pipe.messages[i];
        size_t at = place_of(s, m->micro_batch, m->chunk);
        int64_t tokens = br__train_tokens(t, micro_of(s, m->micro_batch));
        const struct br__chunk *chunk = t->chunks[m->chunk];
        int is_before =
            m->is_send == m->is_grad; /* the chunk's own hidden states, or what it got */
        uint32_t each = is_before ? chunk->n_in : BR__MAX(chunk->n_in, 1) + chunk->n_mtp;
        int64_t rows = br__train_rows(t, tokens) / tp * each;
        struct br__kept *room = &(m->is_send ? s->out : s->in)[m->is_grad][at];
        size_t n = (size_t)(rows * hidden);
        if (!m->is_send)
            rc = take_room(t, n * br_dtype_size((int)dtype), room, err);
        ops[i - from] = (struct br_p2p){room->memory, n, dtype, m->peer, m->is_send, m->tag};
    }
    if (!rc && to > from)
        rc = comm->ops->exchange(comm, ops, to - from, err);
    for (uint32_t i = from; i < to; i++) {
        const struct br__message *m = &s->pipe.messages[i];
        size_t at = place_of(s, m->micro_batch, m->chunk);
        if (m->is_send)
            leave_room(t, &s->out[m->is_grad][at]);
    }
    br__free(ops);
    return rc;
}

static int step_open(struct step *s, struct br_err *err)
{
    struct br__rank_trainer *t = s->t;
    const struct br__pipe_opts o = {.pp = t->pp,
                                    .vpp = t->n_chunks,
                                    .micro_batches = (uint32_t)s->b->n,
                                    .group = t->o->stage_group,
                                    .forward_only = !s->b->backward};
    size_t n = s->b->n * t->n_chunks + 1;
    s->frame = br__arena_alloc(&s->arena, n * sizeof *s->frame);
    for (int k = 0; k < 2; k++) {
        s->in[k] = br__arena_alloc(&s->arena, n * sizeof *s->in[k]);
        s->out[k] = br__arena_alloc(&s->arena, n * sizeof *s->out[k]);
    }
    if (!s->frame || !s->in[0] || !s->in[1] || !s->out[0] || !s->out[1])
        return br__nomem(err, "for a step");
    return br__pipe_make(&s->arena, &o, t->stage, &s->pipe, err);
}

static void step_close(struct step *s)
{
    size_t n = s->b->n * s->t->n_chunks;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < n && s->in[k] && s->out[k]; i++) {
            leave_room(s->t, &s->in[k][i]);
            leave_room(s->t, &s->out[k][i]);
        }
    br__arena_free(&s->arena);
}

static int run_pipeline(struct br__rank_trainer *t, const struct br__train_batches *b,
                        struct br_err *err)
{
    struct step s = {.t = t, .b = b};
    int rc = step_open(&s, err);
    const uint32_t *at = s.pipe.exchange;
    for (uint32_t i = 0; i < s.pipe.n_jobs && !rc; i++) {
        const struct br__job *job = &s.pipe.jobs[i];
        rc = exchange(&s, at[i], at[i + 1], err);
        if (!rc)
            rc = job->backward ? pass_backward(&s, job, err) : pass_forward(&s, job, err);
    }
    if (!rc)
        rc = exchange(&s, at[s.pipe.n_jobs], at[s.pipe.n_jobs + 1], err);
    step_close(&s);
    return rc;
}

/* ---- one after another ----------------------------------------------------------------------- */

static int run_micro(struct br__rank_trainer *t, const struct br__train_batches *b, size_t k,
                     struct br_err *err)
{
    const struct br__micro *mb = &b->mb[k * b->stride];
    const struct br__train_key key = {br__train_tokens(t, mb), mb->n_seqs, 0, b->backward};
    struct br__train_pass *p;
    struct br__frame *f = NULL;
    int rc = br__train_pass_get(t, &key, &p, err);
    if (!rc)
        rc = br__train_frame(t, p, 0, &f, err);
    if (rc)
        return rc;
    rc = br__train_fill(t, p, f, mb, err);
    struct br__last_pass last = {.t = t, .p = p};
    int is_last = b->is_last && k + 1 == b->n;
    if (is_last) {
        br__banks_begin(t);
        br__banks_expect(t, p);
        br__last_pass_begin(&last, f);
    }
    if (!rc)
        rc = br__frame_run(f, err);
    if (!rc)
        rc = br__train_read_losses(t, p, f, mb, &b->out[k * b->stride], err);
    if (!rc)
        rc = br__train_read_moe(t, p, f, mb, k, err);
    if (!rc && b->backward)
        rc = br__train_add_gradients(t, p, f, err);
    return is_last ? br__last_pass_end(&last, f, rc, err) : rc;
}

/* ---- a step ---------------------------------------------------------------------------------- */

/* Where the losses of routed layers are put. */
static int make_results(struct br__rank_trainer *t, const struct br__train_batches *b,
                        struct br_err *err)
{
    size_t n = b->n * t->n_moe + 1;
    int has_aux = t->o->aux_kind != BR__AUX_NONE && t->o->aux_coeff != 0;
    if (n > t->n_results) {
        br__free(t->aux);
        br__free(t->z);
        t->n_results = n;
        t->aux = br__calloc(n, sizeof *t->aux);
        t->z = br__calloc(n, sizeof *t->z);
        if (!t->aux || !t->z)
            return br__nomem(err, "for training");
    }
    for (size_t k = 0; k < b->n; k++) {
        struct br__micro_out *out = &b->out[k * b->stride];
        out->n_moe = t->n_moe;
        out->aux = t->n_moe && has_aux ? t->aux + k * t->n_moe : NULL;
        out->z = t->n_moe && t->o->z_coeff != 0 ? t->z + k * t->n_moe : NULL;
    }
    return 0;
}

int br__rank_step(struct br__rank_trainer *t, const struct br__train_batches *b, struct br_err *err)
{
    int rc = make_results(t, b, err);
    t->began = t->clock;
    if (!rc && t->pp > 1)
        return run_pipeline(t, b, err);
    for (size_t k = 0; k < b->n && !rc; k++)
        rc = run_micro(t, b, k, err);
    return rc;
}
