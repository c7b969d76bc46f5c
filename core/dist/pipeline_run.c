/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pipeline_run.c - the schedules of all stages played in time, with rendezvous sends.
 *
 * It finds what would hang, whatever the communicator: between two stages messages meet in the
 * order in which both sides name them (struct br_comm_ops, exchange), and no send is over before
 * its receiver is there. */
#include "dist.h"

#include <inttypes.h>

/* One side of a message: which of which stage. */
struct end {
    uint32_t stage, message;
};

struct player {
    const struct br__pipe *stages;
    uint32_t pp;
    const struct br__pipe_costs *costs;
    struct br__pipe_times *out;
    struct end *sent, *received; /* by tag; stage UINT32_MAX: nobody does */
    uint32_t *at;                /* [pp] jobs that are done */
    uint8_t *posted;             /* [pp] whether the exchange before the next job has begun */
    double *now;                 /* [pp] seconds */
    double **ready;              /* [pp][n_messages] when the message was posted, < 0: not yet */
};

/* ---- has every message its other side, and in the same order? -------------------------------- */

static const char *name_of(const struct br__message *m)
{
    return m->is_grad ? "gradient" : "activation";
}

static int fail_message(uint32_t stage, const struct br__message *m, const char *what,
                        struct br_err *err)
{
    return br_fail(err, BR_E_COMM,
                   "stage %" PRIu32 " %s stage %" PRIu32 " the %s of micro batch %" PRIu32
                   ", chunk %" PRIu32 ", %s",
                   stage, m->is_send ? "sends" : "expects of", m->peer, name_of(m), m->micro_batch,
                   m->chunk, what);
}

static int note_end(struct player *p, uint32_t stage, uint32_t i, struct br_err *err)
{
    const struct br__message *m = &p->stages[stage].messages[i];
    struct end *e = m->is_send ? &p->sent[m->tag] : &p->received[m->tag];
    if (e->stage != UINT32_MAX)
        return fail_message(stage, m, "twice", err);
    *e = (struct end){stage, i};
    return BR_OK;
}

/* The next message from `i` on that goes from `stage` to `peer`, or the other way; n_messages:
 * none. */
static uint32_t next_between(const struct br__pipe *t, uint32_t peer, uint32_t is_send, uint32_t i)
{
    while (i < t->n_messages && (t->messages[i].peer != peer || t->messages[i].is_send != is_send))
        i++;
    return i;
}

/* All that `from` sends to `to`, against what that expects. */
static int check_order(const struct player *p, uint32_t from, uint32_t to, struct br_err *err)
{
    const struct br__pipe *a = &p->stages[from], *b = &p->stages[to];
    uint32_t i = 0, j = 0;
    for (;; i++, j++) {
        i = next_between(a, to, 1, i);
        j = next_between(b, from, 0, j);
        if (i == a->n_messages && j == b->n_messages)
            return BR_OK;
        if (i == a->n_messages)
            return fail_message(to, &b->messages[j], "which is not sent", err);
        if (j == b->n_messages)
            return fail_message(from, &a->messages[i], "which is not expected", err);
        if (a->messages[i].tag != b->messages[j].tag)
            return fail_message(from, &a->messages[i], "where another one is expected", err);
    }
}

static int match_ends(struct player *p, struct br_err *err)
{
    int rc = 0;
    for (uint32_t s = 0; s < p->pp && !rc; s++)
        for (uint32_t i = 0; i < p->stages[s].n_messages && !rc; i++)
            rc = note_end(p, s, i, err);
    for (uint32_t s = 0; s < p->pp && !rc && p->pp > 1; s++) {
        rc = check_order(p, s, (s + 1) % p->pp, err);
        if (!rc)
            rc = check_order(p, s, (s + p->pp - 1) % p->pp, err);
    }
    return rc;
}

/* ---- playing --------------------------------------------------------------------------------- */

/* When the exchange before job at[s] is over, or < 0: a peer is not there yet. */
static double exchange_end(const struct player *p, uint32_t s)
{
    const struct br__pipe *t = &p->stages[s];
    double end = p->now[s];
    for (uint32_t i = t->exchange[p->at[s]]; i < t->exchange[p->at[s] + 1]; i++) {
        uint32_t tag = t->messages[i].tag;
        const struct end *from = &p->sent[tag], *to = &p->received[tag];
        double a = p->ready[from->stage][from->message], b = p->ready[to->stage][to->message];
        if (a < 0 || b < 0)
            return -1;
        const struct br__message *sent = &p->stages[from->stage].messages[from->message];
        double done = BR__MAX(a, b) + p->costs->message(p->costs->arg, from->stage, sent);
        end = BR__MAX(end, done);
    }
    return end;
}

/* Take stage s as far as it gets; 1 if it got anywhere. */
static int play_stage(struct player *p, uint32_t s)
{
    const struct br__pipe *t = &p->stages[s];
    int moved = 0;
    while (p->at[s] <= t->n_jobs) {
        uint32_t job = p->at[s];
        if (!p->posted[s]) {
            for (uint32_t i = t->exchange[job]; i < t->exchange[job + 1]; i++)
                p->ready[s][i] = p->now[s];
            p->posted[s] = 1;
            moved = 1;
        }
        double end = exchange_end(p, s);
        if (end < 0)
            return moved;
        if (job < t->n_jobs) {
            p->out->start[s][job] = end;
            end += p->costs->job(p->costs->arg, s, &t->jobs[job]);
            p->out->end[s][job] = end;
        }
        p->now[s] = end;
        p->at[s]++;
        p->posted[s] = 0;
        moved = 1;
    }
    return moved;
}

static int fail_hang(const struct player *p, struct br_err *err)
{
    for (uint32_t s = 0; s < p->pp; s++)
        if (p->at[s] <= p->stages[s].n_jobs)
            return br_fail(err, BR_E_COMM,
                           "the pipeline hangs: stage %" PRIu32 " waits before job %" PRIu32
                           " of %" PRIu32 " for ever",
                           s, p->at[s], p->stages[s].n_jobs);
    return BR_OK;
}

static int play_all(struct player *p, struct br_err *err)
{
    for (int moved = 1; moved;) {
        moved = 0;
        for (uint32_t s = 0; s < p->pp; s++)
            moved |= play_stage(p, s);
    }
    for (uint32_t s = 0; s < p->pp; s++)
        p->out->total = BR__MAX(p->out->total, p->now[s]);
    return fail_hang(p, err);
}

static int player_alloc(struct br__arena *a, struct player *p, struct br_err *err)
{
    uint64_t n = 1;
    for (uint32_t s = 0; s < p->pp; s++)
        for (uint32_t i = 0; i < p->stages[s].n_messages; i++)
            n = BR__MAX(n, (uint64_t)p->stages[s].messages[i].tag + 1);
    p->sent = br__arena_alloc(a, n * sizeof *p->sent);
    p->received = br__arena_alloc(a, n * sizeof *p->received);
    p->at = br__arena_alloc(a, p->pp * sizeof *p->at);
    p->posted = br__arena_alloc(a, p->pp);
    p->now = br__arena_alloc(a, p->pp * sizeof *p->now);
    p->ready = br__arena_alloc(a, p->pp * sizeof *p->ready);
    p->out->start = br__arena_alloc(a, p->pp * sizeof *p->out->start);
    p->out->end = br__arena_alloc(a, p->pp * sizeof *p->out->end);
    int ok = p->sent && p->received && p->at && p->posted && p->now && p->ready && p->out->start &&
             p->out->end;
    for (uint32_t s = 0; ok && s < p->pp; s++) {
        const struct br__pipe *t = &p->stages[s];
        p->ready[s] = br__arena_alloc(a, t->n_messages * sizeof **p->ready + 1);
        p->out->start[s] = br__arena_alloc(a, t->n_jobs * sizeof(double) + 1);
        p->out->end[s] = br__arena_alloc(a, t->n_jobs * sizeof(double) + 1);
        ok = p->ready[s] && p->out->start[s] && p->out->end[s];
        for (uint32_t i = 0; ok && i < t->n_messages; i++)
            p->ready[s][i] = -1;
    }
    for (uint64_t i = 0; ok && i < n; i++)
        p->sent[i].stage = p->received[i].stage = UINT32_MAX;
    return ok ? BR_OK : br__nomem(err, "for playing a pipeline");
}

int br__pipe_run(struct br__arena *a, const struct br__pipe *stages, uint32_t pp,
                 const struct br__pipe_costs *costs, struct br__pipe_times *out, struct br_err *err)
{
    struct player p = {.stages = stages, .pp = pp, .costs = costs, .out = out};
    *out = (struct br__pipe_times){0};
    int rc = player_alloc(a, &p, err);
    if (!rc)
        rc = match_ends(&p, err);
    return rc ? rc : play_all(&p, err);
}
