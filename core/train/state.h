/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* state.h - what the files of the train loop share: the run that is going on. */
#ifndef BRIDGE_CORE_TRAIN_STATE_H
#define BRIDGE_CORE_TRAIN_STATE_H

#include "optim.h"
#include "shard.h"
#include "train.h"

#include <stdatomic.h>

/* ---- corpus.c: the data of a run, opened ----------------------------------------------------- */

struct br__corpus {
    const struct br__run *run;
    struct br__arena arena;
    struct br_tokenizer *tok; /* NULL: data are ids */
    const char *tok_dir;      /* its directory, or NULL */
    struct br_chat *chat;     /* NULL unless records are conversations */
    struct br__special_ids special;
    struct br__pretrain *pretrain;
    struct br__pretok *pretok[BR__N_SPLITS];
    struct br__sft *sft[BR__N_SPLITS];
    const char *file[BR__N_SPLITS]; /* of finetuning and pretokenised records; NULL: none */
    int64_t samples[BR__N_SPLITS];  /* that the run reads; 0: the split is not there */
    const char *temp;               /* folder of a dry run, removed at the end; or NULL */
};
int br__corpus_open(struct br__corpus *c, const struct br__run *run, int64_t n_vocab,
                    const struct br__training_opts *o, struct br_err *err) BR_MUST_CHECK;
void br__corpus_close(struct br__corpus *c);
/* BR_E_CONFIG unless the training data has a sample for every step that is left of a run that has
 * done `done` steps with `consumed` samples. */
int br__corpus_lasts(const struct br__corpus *c, int64_t done, int64_t consumed,
                     struct br_err *err) BR_MUST_CHECK;
/* What it consists of: a line for each file of a split, with its size, samples and a digest of its
 * ends.  Other data has another text. */
int br__corpus_text(const struct br__corpus *c, struct br__buf *out,
                    struct br_err *err) BR_MUST_CHECK;
/* Steps of `batch` samples of a split, after `consumed`; n_steps 0: no end. */
struct br__corpus_steps {
    int split;
    int64_t batch, consumed, n_steps;
};
/* What data-parallel rank `dp` reads of them. */
int br__corpus_loader(const struct br__corpus *c, const struct br__corpus_steps *s, uint32_t dp,
                      struct br__loader **out, struct br_err *err) BR_MUST_CHECK;

/* ---- the run --------------------------------------------------------------------------------- */

/* What a checkpoint keeps beside the tensors. */
struct br__run_state {
    int64_t iteration;        /* steps done, skipped ones too */
    int64_t consumed;         /* samples of training data: Megatron's consumed_train_samples */
    int64_t consumed_valid;   /* samples that evaluations have read */
    int64_t skipped;          /* steps without an optimizer step */
    int64_t adam_steps;       /* `step` of the optimizer's groups */
    int64_t sched_samples;    /* the scheduler's num_steps, in samples */
    double flops;             /* so far */
    struct br__scaler scaler; /* scale 1 unless fp16 */
};
/* What a rank of this process has of the run. */
struct br__train_rank {
    const struct br__rank_info *info;
    const struct br__trained *list; /* [n], the trainer's */
    size_t n;
    uint8_t *decayed; /* [n] 1: weight decay acts on it */
    struct br__shard shard;
    struct br__grad_span *grads;   /* [shard.n_shares] gradients of the shares */
    struct br__grad_span *counted; /* [n_counted] of those that no other rank counts */
    size_t n_counted;
    struct br__bank_job *jobs;     /* [2 * banks], overlap.c */
    struct br__micro_room **rooms; /* [n_rooms] of micro batches that run at once, step.c */
    size_t n_rooms;
};
struct br__train_ckpt;
/* Seconds of a step and of an evaluation, as a sample of the model says; 0: not measured. */
struct br__pace {
    double step, eval;
};
struct br__train {
    const struct br__run *run;
    struct br__training_opts o;
    struct br_listener listener;    /* of several processes: that of `o`, which passes on to */
    const struct br_listener *told; /* the caller's */
    struct br__arena arena;
    struct br__llm *model;
    struct br__trainer *trainer;
    struct br__train_rank *ranks; /* [n_ranks] of this process */
    uint32_t n_ranks;
    struct br__corpus corpus;
    struct br__run_state s;
    struct br__recipe_memory memory;
    struct br__trainer_memory bytes; /* with a full micro batch */
    double program_bytes;            /* private memory before weights and their state */
    double total_bytes;              /* with them and a full micro batch */
    double most_bytes;               /* that a rank needs, of several processes; that rank */
    uint32_t most_rank;
    struct br__pace pace;
    int is_sample;       /* begins from random weights, whatever the run says */
    double peak_flops;   /* of the device; 0: not measured */
    const char *resumed; /* checkpoint that the run goes on from, or NULL */
    int moe, n_mtp;      /* the model has routed experts; prediction layers that are trained */
    struct br__train_ckpt *ckpt; /* resume.c */
    atomic_int stop;
};
/* Threads of this process, of those of all; 0: one per CPU. */
static inline int br__train_threads(const struct br__train *t)
{
    return t->o.threads > 0 ? BR__MAX(t->o.threads / (int)br__procs_size(), 1) : 0;
}
/* Run fn on each rank of this process, on its own thread, where it may call collectives. */
static inline int br__train_each(struct br__train *t,
                                 int (*fn)(void *arg, uint32_t i, struct br_err *err), void *arg,
                                 struct br_err *err)
{
    return br__llm_run(t->model, fn, arg, err);
}

/* ---- parts.c, pace.c ------------------------------------------------------------------------- */

int br__train_open_model(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* With the model open: t->trainer, t->ranks, and what all of it takes. */
int br__train_open_trainer(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* Model, trainer and optimizer, without data. */
int br__train_open_parts(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
struct br__scaler br__train_scaler(const struct br__run *run); /* at its first step */
/* Bytes of moments and shared main weights, of the ranks of this process together. */
double br__train_state_bytes(const struct br__train *t);
/* Bytes that a thread writes while the run goes on: main weights and two moments, once. */
double br__train_copy_bytes(const struct br__train *t);
/* Measure t->pace; what would take too much memory stays unknown. */
int br__train_pace(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* plan_ranks.c: of several processes t->most_*, and of a dry run t->pace. */
int br__train_plan_ranks(struct br__train *t, struct br_err *err) BR_MUST_CHECK;

/* ---- rank.c ---------------------------------------------------------------------------------- */

/* With model and trainer open: t->ranks and their lists. */
int br__train_ranks_open(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* Elements of the whole tensor, and of one of its rows; and x->main becomes what the rank has of
 * it. */
size_t br__trained_size(const struct br__trained *x);
size_t br__trained_row(const struct br__trained *x);
void br__trained_put(const struct br__trained *x, const float *whole);
/* The optimizer's state of each. */
int br__train_ranks_optimizer(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* What the shares keep in host memory is what the devices have, before it is saved or read. */
int br__train_ranks_fetch(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* It was read from a checkpoint: the devices have it, and what the model computes with follows. */
int br__train_ranks_changed(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
void br__train_ranks_close(struct br__train *t); /* before the trainer */

/* ---- peft.c ---------------------------------------------------------------------------------- */

struct br__lora_opts br__peft_opts(const struct br__run *run);
/* Where the adapter of a run that trains one begins from. */
int br__peft_begin(struct br__train *t, struct br_err *err) BR_MUST_CHECK;

/* ---- resume.c: the run and its checkpoints --------------------------------------------------- */

/* The checkpoint to go on from, if there is one: t->resumed (the run's own comes before `load`),
 * and from which step: t->s.iteration and consumed. */
int br__train_find(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* With trainer and optimizer open: where checkpoints will go is checked, and t->resumed loaded. */
int br__train_resume(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* The state after this step; with async_save a thread writes it while the run goes on. */
int br__train_save(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
/* A save is going on; this process still writes its part of it. */
int br__train_saves(const struct br__train *t);
int br__train_writes(const struct br__train *t);
/* No save is running any more. */
int br__train_save_finish(struct br__train *t, struct br_err *err) BR_MUST_CHECK;
void br__train_ckpt_free(struct br__train_ckpt *c); /* NULL is fine */

/* ---- readers.c: what the ranks of this process read ------------------------------------------ */

/* A loader for each data-parallel rank that is here. */
struct br__readers {
    struct br__loader **loaders; /* [n] */
    uint32_t n;
    uint32_t *of_rank;            /* [ranks] whose loader */
    const struct br__step **step; /* [ranks] the last ones */
};
int br__readers_open(struct br__readers *f, const struct br__train *t,
                     const struct br__corpus_steps *s, struct br_err *err) BR_MUST_CHECK;
/* f->step: the next step of each rank, until the next call. */
int br__readers_next(struct br__readers *f, const struct br__train *t, const char *split,
                     struct br_err *err) BR_MUST_CHECK;
double br__readers_waited(const struct br__readers *f); /* seconds for the slowest */
void br__readers_close(struct br__readers *f);          /* a zeroed one, too */

/* ---- overlap.c: exchange while the ranks compute --------------------------------------------- */

/* What rank i needs for it; its shard is open. */
int br__overlap_open(struct br__train *t, uint32_t i, struct br_err *err) BR_MUST_CHECK;
/* br__train_opts.bank_ready of a trainer whose bank_arg is the run. */
int br__overlap_ready(void *arg, uint32_t i, size_t bank, struct br_err *err) BR_MUST_CHECK;
/* These are called on rank i's thread, by all ranks alike.  All gradients are sums, of banks that
 * are on their way and of the others. */
int br__overlap_reduce(struct br__train *t, uint32_t i, struct br_err *err) BR_MUST_CHECK;
/* The shares in a bank have new main weights, which all ranks get; and all have got them. */
int br__overlap_gather(struct br__train *t, uint32_t i, size_t bank,
                       struct br_err *err) BR_MUST_CHECK;
int br__overlap_gathered(struct br__train *t, uint32_t i, struct br_err *err) BR_MUST_CHECK;
/* A step has failed: what is on its way is given up. */
void br__overlap_settle(struct br__train *t);

/* ---- step.c ---------------------------------------------------------------------------------- */

/* Sums over the micro batches of a step or an evaluation. */
struct br__loss_sums {
    double loss, counted; /* sum of mask * loss; sum of the masks */
    double aux, z;        /* summed over routed layers and micro batches */
    double mtp;
    double tokens, routed; /* routed: layers with such losses, of each micro batch */
    int64_t n_micro;       /* of a rank */
    int has_aux, has_z;
};
/* Whether the optimizer rounds new weights to the copies that the model computes with. */
static inline int br__train_is_narrow(const struct br__train *t)
{
    return t->run->values == BR_BF16;
}
/* Forward, and backward where gradients are wanted (BR__BACKWARD_LAST: and then used), of all micro
 * batches of a step: rank i of this process takes those of step[i] and adds to sums[i]. */
int br__train_batches(struct br__train *t, const struct br__step *const *step, int backward,
                      struct br__loss_sums *sums, struct br_err *err) BR_MUST_CHECK;
/* The ranks' sums of this process, and of all others, become one. */
int br__train_total(struct br__train *t, const struct br__loss_sums *sums,
                    struct br__loss_sums *total, struct br_err *err) BR_MUST_CHECK;
/* One step: gradients, norm, clipping, optimizer, counters. */
int br__train_step(struct br__train *t, const struct br__step *const *step,
                   struct br__step_report *r, struct br_err *err) BR_MUST_CHECK;
void br__train_rooms_free(struct br__train_rank *r);

#endif
