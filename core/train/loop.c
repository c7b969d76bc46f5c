/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* loop.c - steps, evaluations, checkpoints and the end of a run, in the order of Megatron Bridge's
 * train() (megatron.bridge.training.train). */
#include "run.h"
#include "state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

void br__train_stop(struct br__train *t)
{
    atomic_store(&t->stop, 1);
}

int br__train_is_finished(const struct br__train *t)
{
    return !t->run->skip_train && t->s.iteration >= t->run->train_iters;
}

/* ---- evaluation ------------------------------------------------------------------------------ */

static int loop_evaluate(struct br__train *t, int split, int64_t consumed, struct br_err *err)
{
    const struct br__run *run = t->run;
    struct br__eval_report r = {.split = split, .iteration = t->s.iteration};
    const struct br__corpus_steps steps = {split, run->global_batch, consumed, run->eval_iters};
    struct br__loss_sums total, *sums = br__calloc(t->n_ranks, sizeof *sums);
    struct br__readers f = {0};
    double began = br__now();
    int rc = sums ? br__readers_open(&f, t, &steps, err) : br__nomem(err, "for an evaluation");

    for (int64_t i = 0; i < run->eval_iters && !rc; i++) {
        rc = br__readers_next(&f, t, br__split_names[split], err);
        if (!rc)
            rc = br__train_batches(t, f.step, 0, sums, err);
        r.samples += rc ? 0 : f.step[0]->consumes;
    }
    br__readers_close(&f);
    if (!rc)
        rc = br__train_total(t, sums, &total, err);
    br__free(sums);
    if (rc)
        return rc;
    r.loss_tokens = (int64_t)total.counted;
    r.lm_loss = total.loss / BR__MAX(total.counted, 1.0);
    r.seconds = br__now() - began;
    if (t->o.events && t->o.events->eval)
        t->o.events->eval(t->o.events->ud, &r);
    return BR_OK;
}

/* Validation goes on where the last one ended. */
static int loop_validate(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;

    if (!t->corpus.samples[BR__VALID] || !run->eval_iters)
        return BR_OK;
    int rc = loop_evaluate(t, BR__VALID, t->s.consumed_valid, err);
    if (!rc)
        t->s.consumed_valid += run->eval_iters * run->global_batch;
    return rc;
}

static int last_evaluations(struct br__train *t, struct br_err *err)
{
    int rc = loop_validate(t, err);

    if (!rc && t->corpus.samples[BR__TEST] && t->run->eval_iters)
        rc = loop_evaluate(t, BR__TEST, 0, err);
    return rc;
}

/* ---- the loop -------------------------------------------------------------------------------- */

struct loop {
    struct br__train *t;
    struct br__readers readers;
    int64_t batch; /* samples of a step that the readers give */
    double began, waited;
};

/* The readers of a batch of this size; the batch may grow at first. */
static int get_readers(struct loop *l, struct br_err *err)
{
    struct br__train *t = l->t;
    const struct br__corpus_steps s = {BR__TRAIN, br__run_batch(t->run, t->s.consumed),
                                       t->s.consumed, 0};

    if (l->readers.n && s.batch == l->batch)
        return BR_OK;
    br__readers_close(&l->readers);
    l->batch = s.batch;
    l->waited = 0;
    return br__readers_open(&l->readers, t, &s, err);
}

static int one_step(struct loop *l, struct br_err *err)
{
    struct br__train *t = l->t;
    struct br__step_report r;
    char doing[64];
    double began = br__now();
    int rc = get_readers(l, err);

    snprintf(doing, sizeof doing, "step %" PRId64, t->s.iteration + 1);
    br__procs_doing(doing);
    if (!rc)
        rc = br__readers_next(&l->readers, t, br__split_names[BR__TRAIN], err);
    if (!rc)
        rc = br__train_step(t, l->readers.step, &r, err);
    if (rc)
        return rc;
    r.seconds = br__now() - began;
    r.waited = br__readers_waited(&l->readers) - l->waited;
    l->waited += r.waited;
    r.private_bytes = br__private_memory();
    if (t->o.events && t->o.events->step)
        t->o.events->step(t->o.events->ud, &r);
    return BR_OK;
}

/* What ranks see each for itself, and do together: each is a number of ranks. */
struct seen {
    int32_t stopped, late; /* got a signal; the time is over */
    int32_t writes;        /* still write a checkpoint */
};

/* At a step's boundary, of all processes. */
static int look(const struct loop *l, struct seen *s, struct br_err *err)
{
    struct br__train *t = l->t;
    double most = 60 * t->run->exit_minutes;
    int32_t x[] = {atomic_load(&t->stop) != 0, most > 0 && br__now() - l->began > most,
                   br__train_writes(t)};
    int rc = br__procs_sum(x, BR_COUNTOF(x), BR_I32, err);

    *s = (struct seen){x[0], x[1], x[2]};
    return rc;
}

/* Why the run ends after this step, if it does. */
static enum br__train_end loop_ends(const struct loop *l, const struct seen *s)
{
    struct br__train *t = l->t;
    const struct br__run *run = t->run;

    if (s->stopped)
        return BR__END_STOPPED;
    if (t->s.iteration >= run->train_iters)
        return BR__END_DONE;
    if (s->late)
        return BR__END_TIME;
    if (run->exit_interval && t->s.iteration % run->exit_interval == 0)
        return BR__END_INTERVAL;
    return BR__END_NOT;
}

static int after_step(struct loop *l, enum br__train_end *end, struct br_err *err)
{
    struct br__train *t = l->t;
    const struct br__run *run = t->run;
    struct seen seen = {0};
    int rc = BR_OK;

    if (run->eval_interval && t->s.iteration % run->eval_interval == 0)
        rc = loop_validate(t, err);
    if (!rc)
        rc = look(l, &seen, err);
    /* A process that is alone takes note of its checkpoint when the next one is due. */
    if (!rc && br__procs_size() > 1 && br__train_saves(t) && !seen.writes)
        rc = br__train_save_finish(t, err);
    *end = loop_ends(l, &seen);
    int is_due = run->save_interval && t->s.iteration % run->save_interval == 0;
    if (!rc && (is_due || *end != BR__END_NOT))
        rc = br__train_save(t, err);
    return rc;
}

static int run_loop(struct loop *l, enum br__train_end *end, struct br_err *err)
{
    struct br__train *t = l->t;
    int rc = BR_OK;

    *end = t->run->skip_train || br__train_is_finished(t) ? BR__END_DONE : BR__END_NOT;
    while (!rc && *end == BR__END_NOT) {
        rc = one_step(l, err);
        if (!rc)
            rc = after_step(l, end, err);
    }
    if (!rc && *end == BR__END_DONE)
        rc = last_evaluations(t, err);
    return rc ? rc : br__train_save_finish(t, err);
}

int br__train_run(struct br__train *t, enum br__train_end *end, struct br_err *err)
{
    struct loop l = {.t = t, .began = br__now()};
    int rc = run_loop(&l, end, err);

    br__readers_close(&l.readers);
    return rc;
}
