/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train.c - a run opened: model, data, optimizer state; what the plan says of it. */
#include "run.h"
#include "state.h"

/* ---- measuring ------------------------------------------------------------------------------- */

/* Measuring takes longer than a step of a small model. */
#define MEASURE_FROM 1e8 /* parameters */
static int train_measure(struct br__train *t, struct br_err *err)
{
    struct br_roofline peaks;

    if (t->memory.total_params < MEASURE_FROM)
        return BR_OK;
    int rc = br__llm_roofline(t->model, &peaks, err);
    if (!rc)
        t->peak_flops =
            (t->run->values == BR_BF16 ? peaks.matmul_flops : peaks.f32_flops) * br__procs_size();
    return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Rank 0 first: it makes the files that the others then find.  All must read the same. */
static int open_corpus(struct br__train *t, struct br_err *err)
{
    int64_t n_vocab = br_cfg_i(br__llm_config(t->model), BR_CFG_VOCAB_SIZE);
    int first = br__procs_rank() == 0, alone = br__procs_size() == 1;
    struct br__buf b = {0};
    int rc = first || t->o.dry ? br__corpus_open(&t->corpus, t->run, n_vocab, &t->o, err) : BR_OK;

    if (alone || t->o.dry)
        return rc;
    rc = br__procs_agree(rc, err);
    if (!rc && !first)
        rc = br__corpus_open(&t->corpus, t->run, n_vocab, &t->o, err);
    if (!rc)
        rc = br__corpus_text(&t->corpus, &b, err);
    rc = br__procs_agree(rc, err);
    if (!rc)
        rc = br__procs_same("data", b.n ? b.p : "", err);
    br__buf_free(&b);
    return rc;
}

/* All that a rank needs beside the data. */
static int open_state(struct br__train *t, struct br_err *err)
{
    int rc = br__corpus_lasts(&t->corpus, t->s.iteration, t->s.consumed, err);

    if (!rc)
        rc = br__train_open_trainer(t, err);
    if (!rc && !t->o.dry)
        rc = br__train_ranks_optimizer(t, err);
    if (!rc && !t->o.dry)
        rc = br__peft_begin(t, err);
    return rc;
}

/* What may fail on one rank alone is agreed before the next, where ranks wait for each other. */
static int open_all(struct br__train *t, struct br_err *err)
{
    const struct br__run *run = t->run;
    int rc = br__recipe_memory(run->recipe, run->topo.world, &t->memory, err);

    if (!br__run_has_adapters(run))
        t->memory.trained_params = t->memory.total_params; /* not those of one rank */
    t->s.scaler = br__train_scaler(run);
    if (!rc)
        rc = br__train_find(t, err);
    if (rc || (br__train_is_finished(t) && !run->eval_iters))
        return rc;
    rc = br__procs_agree(br__train_open_model(t, err), err);
    if (!rc)
        rc = open_corpus(t, err);
    if (!rc)
        rc = br__procs_agree(open_state(t, err), err);
    if (!rc && !t->o.dry)
        rc = br__train_resume(t, err);
    if (!rc && !t->o.dry)
        rc = br__procs_agree(train_measure(t, err), err);
    if (!rc && br__procs_size() > 1)
        rc = br__train_plan_ranks(t, err);
    else if (!rc && t->o.pace)
        rc = br__train_pace(t, err);
    return rc;
}

/* What makes progress does not hang, while other ranks wait for it: token files take long. */
static void hear_progress(void *ud, const char *phase, uint64_t done, uint64_t total)
{
    const struct br_listener *l = ((const struct br__train *)ud)->told;

    br__procs_progress(1);
    if (l && l->progress)
        l->progress(l->ud, phase, done, total);
}

static void hear_note(void *ud, const char *text)
{
    const struct br_listener *l = ((const struct br__train *)ud)->told;

    if (l && l->note)
        l->note(l->ud, text);
}

static void hear_warning(void *ud, const char *text)
{
    const struct br_listener *l = ((const struct br__train *)ud)->told;

    if (l && l->warning)
        l->warning(l->ud, text);
}

static void listen_too(struct br__train *t)
{
    if (br__procs_size() == 1)
        return;
    t->told = t->o.listener;
    t->listener = (struct br_listener){t, hear_progress, hear_note, hear_warning};
    t->o.listener = &t->listener;
}

int br__train_open(struct br__train **out, const struct br__run *run,
                   const struct br__training_opts *o, struct br_err *err)
{
    struct br__train *t = br__calloc(1, sizeof *t);

    *out = NULL;
    if (!t)
        return br__nomem(err, "for the optimizer's state");
    t->run = run;
    t->o = *o;
    listen_too(t);
    int rc = open_all(t, err);
    if (rc)
        br__train_close(t);
    else
        *out = t;
    return rc;
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Multiples of `every` in (first, last]. */
static int64_t times(int64_t every, int64_t first, int64_t last)
{
    return every ? last / every - first / every : 0;
}

static double steps_left(const struct br__train *t)
{
    return (double)BR__MAX(t->run->train_iters - t->s.iteration, (int64_t)0);
}

/* Evaluations and checkpoints: at intervals, and once more when the run is done. */
static void plan_counts(const struct br__train *t, struct br__train_plan *p)
{
    const struct br__run *run = t->run;
    double copy = (double)br_dtype_size(run->params_dtype);

    if (run->eval_iters && p->samples[BR__VALID])
        p->evals = 1 + (run->skip_train || p->first >= p->last
                            ? 0
                            : times(run->eval_interval, p->first, p->last));
    p->evals += run->eval_iters && p->samples[BR__TEST];
    if (!run->skip_train && p->last > p->first)
        p->saves = times(run->save_interval, p->first, p->last) +
                   (!run->save_interval || p->last % run->save_interval != 0);
    /* weights, main weights and two moments; frozen weights are not written */
    p->save_bytes = p->trained * (copy + 12);
    if (!run->skip_train)
        p->seconds = p->step_seconds * steps_left(t);
    p->seconds += p->eval_seconds * (double)p->evals;
}

void br__train_plan(const struct br__train *t, struct br__train_plan *out)
{
    const struct br__run *run = t->run;
    const struct br__recipe_memory *m = &t->memory;
    const struct br__trainer_memory *bytes = &t->bytes;

    *out = (struct br__train_plan){.model = run->hf_model,
                                   .weights = run->weights,
                                   .resumed = t->resumed,
                                   .params = m->total_params,
                                   .active = m->active_params,
                                   .trained = m->trained_params,
                                   .first = t->s.iteration,
                                   .last = run->train_iters,
                                   .tokens = steps_left(t) * (double)run->global_batch *
                                             (double)run->seq_length,
                                   .flops_per_step = m->flops_per_step,
                                   .weight_bytes = (double)(bytes->model + bytes->weights),
                                   .gradient_bytes = (double)bytes->gradients,
                                   .optimizer_bytes = br__train_state_bytes(t),
                                   .activation_bytes = (double)bytes->activations,
                                   .copy_bytes = br__train_copy_bytes(t),
                                   .program_bytes = t->program_bytes,
                                   .total_bytes = t->total_bytes,
                                   .most_bytes = t->most_bytes,
                                   .most_rank = t->most_rank,
                                   .step_seconds = t->pace.step,
                                   .eval_seconds = t->pace.eval,
                                   .peak_flops = t->peak_flops};
    for (int i = 0; i < BR__N_SPLITS; i++)
        out->samples[i] = t->corpus.samples[i];
    plan_counts(t, out);
}

int br__train_estimate(const struct br__run *run, struct br__train_plan *out, struct br_err *err)
{
    struct br__train *t = br__calloc(1, sizeof *t);
    struct br__run random = *run;

    if (!t)
        return br__nomem(err, "for an estimate");
    random.weights = NULL;
    t->run = &random;
    t->o.dry = t->is_sample = 1;
    int rc = br__recipe_memory(run->recipe, 1, &t->memory, err);
    if (!rc)
        rc = br__train_open_parts(t, err);
    if (!rc && br__run_has_adapters(run)) {
        /* Random numbers are held; the weights under an adapter are used in their file. */
        t->total_bytes -= (double)t->bytes.model;
        t->bytes.model = 0;
    }
    if (!rc)
        br__train_plan(t, out);
    br__train_close(t);
    return rc;
}

int br__train_part(const struct br__train *t, int split, size_t k, struct br__pretrain_part *out)
{
    const struct br__corpus *c = &t->corpus;

    *out = (struct br__pretrain_part){0};
    if (c->pretrain)
        return br__pretrain_part(c->pretrain, split, k, out);
    if (k || !c->samples[split])
        return 0;
    out->path = c->file[split];
    out->samples = c->sft[split]      ? br__sft_count(c->sft[split])
                   : c->pretok[split] ? br__pretok_count(c->pretok[split])
                                      : 0;
    return 1;
}
