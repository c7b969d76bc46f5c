/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ckpt.h - training checkpoints: what goes from a run to disk and back.
 *
 * Everything here works on plain arrays of host memory.  Their values are Megatron's: what it
 * centres on zero lies here as w - 1, too. */
#ifndef BRIDGE_CORE_TRAIN_CKPT_H
#define BRIDGE_CORE_TRAIN_CKPT_H

#include "train.h"

/* ---- live.c: the tensors of a run as a plan of conversion ------------------------------------ */

/* Elements of a tensor that lie in memory: `count` times n of them, of which the first are those
 * from element `from` on, and each n begins `stride` elements after the n before it. */
struct br__live_run {
    size_t from, n, count, stride;
    float *state[BR__N_OPTIM_KINDS]; /* [count * n] main weights and both moments */
    int is_copy;                     /* of elements that are in another run, too */
};
/* One trained tensor, borrowed: n float32 of each kind, row-major. */
struct br__live {
    const char *name; /* Hugging Face's; of adapters Megatron's, per layer */
    int ndim;
    int64_t shape[BR_MAX_DIMS];
    size_t n;
    float *state[BR__N_OPTIM_KINDS]; /* [n], without runs */
    const struct br__live_run *runs; /* [n_runs] that hold all of it, or NULL */
    size_t n_runs;
};
/* Where elements [from, end) of a kind are; begin with zeros behind `end`. */
struct br__live_walk {
    const struct br__live *t;
    int kind;
    size_t from, end;
    size_t run, row; /* where the walk is */
    size_t at, n;    /* elements [at, at + n) are here: */
    float *data;
    int is_copy;
};
/* The next stretch of them, or 0. */
int br__live_next(struct br__live_walk *w);
/* All of them and what they are parts of. */
struct br__live_model {
    const struct br_config *cfg;
    const struct br__live *list;
    size_t n;
    int dtype;    /* of the weights in a checkpoint: BR_F32, BR_BF16, BR_F16 */
    int adapters; /* nothing else is trained, nor stored */
};
struct br__live_plan {
    struct br_config cfg;   /* a copy, which the plan settles */
    struct br__ckpt *names; /* the tensors without bytes */
    struct br__plan *plan;
};
/* Which rows of which tensor are which rows of Megatron's; `like`: laid out as that checkpoint, or
 * NULL. */
int br__live_plan_open(struct br__live_plan *p, const struct br__live_model *m,
                       const struct br__ckpt *like, struct br_err *err) BR_MUST_CHECK;
void br__live_plan_close(struct br__live_plan *p);

/* Of DoRA, among br__td_common's extra entries: 'inside' or 'outside' what the magnitude scales. */
#define BR__DORA_BIAS "dora_bias"
/* What the extra entries say; NULL, which Megatron Bridge's own checkpoints have: 1. */
int br__dora_bias_inside(const struct br__pk *extra);

/* ---- cut.c: what one of several processes writes --------------------------------------------- */

/* An item of a piece: its element k is element first + k / n_cols * stride + k % n_cols of that. */
struct br__cut {
    size_t piece;
    uint64_t first, n_cols, stride;
};
struct br__cut_tables {
    struct br__td_plan *td; /* items of whole pieces after n_objects others */
    size_t n_objects;       /* afterwards 0 but on rank 0 */
    struct br__cut *cuts;   /* [n] of the items behind these (arena) */
    size_t n;
};
/* In place of the pieces td gets what this process has of them, and no other process writes. */
int br__cut_tables(struct br__arena *a, const struct br__live_plan *live,
                   const struct br__live_model *m, struct br__cut_tables *out,
                   struct br_err *err) BR_MUST_CHECK;
/* All ranks: td is laid out.  Rank 0 gets the items of all others (arena), for .metadata. */
int br__cut_gather(struct br__arena *a, const struct br__td_plan *td, struct br__td_item **out,
                   size_t *n, struct br_err *err) BR_MUST_CHECK;

/* ---- save.c ---------------------------------------------------------------------------------- */

/* Over several processes all ranks make these calls alike, but for br__saver_close. */
struct br__saver_opts {
    const char *root; /* of all checkpoints of the run; made when the first is written */
    struct br__live_model model;
    const char *run_config;    /* text of run_config.yaml */
    const char *hf_model;      /* id or directory of the model, or NULL */
    const char *tokenizer_dir; /* whose files go along, or NULL */
    int64_t keep;              /* checkpoints that stay; 0: all */
    int weights_only;          /* no optimizer state: moments need not be there */
    int has_rng;               /* generators as rng_seed leaves them go along, for Megatron */
    uint64_t rng_seed;
    int threads, no_sync;
    const struct br_listener *listener;
};
/* What is saved beside the tensors. */
struct br__saved {
    struct br__train_counters counters;
    struct br__train_save train;   /* groups and scheduler */
    const char *const (*extra)[2]; /* of br__td_common */
    size_t n_extra;
};
struct br__saver;
/* Every check, and the layout of all files; writes nothing.  Of several processes each writes what
 * it has, __<rank>_<k>.distcp, and rank 0 all else. */
int br__saver_open(struct br__saver **out, const struct br__saver_opts *o,
                   struct br_err *err) BR_MUST_CHECK;
/* Save iteration now->counters.step.  It appears whole or not at all, then the trackers name it,
 * then old ones go.  `later`: the state is copied, which takes as much memory again, and a thread
 * writes it; how that ended is what the next call, or br__saver_finish, returns. */
int br__saver_save(struct br__saver *s, const struct br__saved *now, int later,
                   struct br_err *err) BR_MUST_CHECK;
int br__saver_finish(struct br__saver *s, struct br_err *err) BR_MUST_CHECK;
/* Does a thread of this process write?  Not while nothing is being saved. */
int br__saver_writes(const struct br__saver *s);
/* Waits; NULL is fine.  Over several processes a save that was not finished is given up. */
void br__saver_close(struct br__saver *s);

/* ---- load.c ---------------------------------------------------------------------------------- */

/* The iteration directory (arena) to go on from: that of `step`, or (-1) the one that the trackers
 * name; NULL in *iter_dir if `root` has none. */
int br__ckpt_latest(struct br__arena *a, const char *root, int64_t step, const char **iter_dir,
                    struct br_err *err) BR_MUST_CHECK;
struct br__load_opts {
    const char *dir; /* root or iteration directory */
    struct br__live_model model;
    int weights_only; /* as Megatron starts a finetuning: main weights are those that the model
                         computes with, moments are zero */
    int threads, no_verify;
    const struct br_listener *listener; /* is told what was repaired, missing or left out */
};
struct br__loaded {
    struct br__arena arena;
    int64_t iteration, consumed_samples; /* -1 unknown */
    int64_t valid_samples;
    double flops;
    struct br__optim_group *groups; /* [n_groups]; none without optimizer state */
    size_t n_groups;
    int has_scheduler;
    struct br__optim_scheduler scheduler;
    const struct br__pk *extra;       /* dict of br__td_common's extra entries, or NULL */
    size_t n_repaired;                /* weights whose state Megatron had stored shifted */
    uint64_t lost_main, lost_moments; /* elements: taken from the weight, set to zero */
};
/* Fills the arrays of o->model.list from a checkpoint of ours or of Megatron, in any form and on
 * any grid.  BR_E_PLAN: it is of another model. */
int br__live_load(const struct br__load_opts *o, struct br__loaded *out,
                  struct br_err *err) BR_MUST_CHECK;
void br__loaded_free(struct br__loaded *l);

/* ---- init.c ---------------------------------------------------------------------------------- */

/* The model of a run that begins from nothing: run's configuration, values by its seed; blank: all
 * zero, for a run that reads them from a checkpoint. */
int br__init_source_open(struct br__model_source **out, const struct br__run *run, int blank,
                         struct br_err *err) BR_MUST_CHECK;

/* n elements of one tensor: normal, or uniform between -bound and bound. */
void br__init_normal(uint64_t seed, const char *name, double std, float *out, size_t n);
void br__init_uniform(uint64_t seed, const char *name, double bound, float *out, size_t n);

#endif
