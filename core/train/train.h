/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train.h - the door of core/train: a recipe carried out on one machine.
 *
 * run.c makes a typed run of a recipe, which is all that the loop reads.  This folder never prints.
 */
#ifndef BRIDGE_CORE_TRAIN_H
#define BRIDGE_CORE_TRAIN_H

#include "../data/data.h"
#include "../infer/infer.h"
#include "../recipe/recipe.h"

/* ---- schedule.c: learning rate and weight decay ---------------------------------------------- */

/* The names are Megatron's: lr_decay_style, lr_wsd_decay_style, weight_decay_incr_style. */
#define BR__LR_STYLE_MAP(X)                                                                        \
    X(CONSTANT, "constant")                                                                        \
    X(LINEAR, "linear")                                                                            \
    X(COSINE, "cosine")                                                                            \
    X(INVERSE_SQRT, "inverse-square-root")                                                         \
    X(WSD, "WSD")
#define BR__WSD_STYLE_MAP(X)                                                                       \
    X(LINEAR, "linear")                                                                            \
    X(COSINE, "cosine")                                                                            \
    X(EXPONENTIAL, "exponential")                                                                  \
    X(MINUS_SQRT, "minus_sqrt")
#define BR__WD_STYLE_MAP(X)                                                                        \
    X(CONSTANT, "constant")                                                                        \
    X(LINEAR, "linear")                                                                            \
    X(COSINE, "cosine")

#define BR_X(id, name) BR__LR_##id,
enum br__lr_style { BR__LR_STYLE_MAP(BR_X) BR__N_LR_STYLES };
#undef BR_X
#define BR_X(id, name) BR__WSD_##id,
enum br__wsd_style { BR__WSD_STYLE_MAP(BR_X) BR__N_WSD_STYLES };
#undef BR_X
#define BR_X(id, name) BR__WD_##id,
enum br__wd_style { BR__WD_STYLE_MAP(BR_X) BR__N_WD_STYLES };
#undef BR_X

/* Megatron's OptimizerParamScheduler.  Lengths and positions are in its own unit: samples, which is
 * iterations times global batch size. */
struct br__schedule {
    int style, wsd_style, wd_style; /* enum br__lr_style, br__wsd_style, br__wd_style */
    double init_lr, max_lr, min_lr; /* init_lr: at the first sample of the warmup */
    double start_wd, end_wd;
    int64_t warmup, decay; /* samples from the start */
    int64_t wsd_decay;     /* WSD: the last samples of `decay` */
    int64_t wd_incr;       /* samples over which start_wd becomes end_wd */
};
/* What a parameter group changes of it. */
struct br__schedule_group {
    double max_lr, min_lr;
    double lr_mult, wd_mult;
};

/* ---- run.c, run_data.c: a recipe as a run ---------------------------------------------------- */

/* What a key of a recipe means here: run_keys.def. */
enum br__key_use { BR__KEY_NONE, BR__KEY_USED, BR__KEY_MODEL, BR__KEY_IDLE, BR__KEY_ONLY };
struct br__run_key {
    uint8_t use;
    const char *values, *why; /* of ONLY: a|b; of IDLE and ONLY */
};
extern const struct br__run_key br__run_keys[BR__N_RK];

enum br__run_data_kind {
    BR__RUN_MOCK,
    BR__RUN_TOKENS, /* .bin and .idx; texts are made into such files first */
    BR__RUN_PRETOK, /* JSONL with "input_ids" */
    BR__RUN_SFT
};
/* Words of a blend: paths, or weights and paths in turn. */
struct br__run_blend {
    const char **words;
    size_t n;
};
struct br__run_data {
    int kind;                                     /* enum br__run_data_kind */
    struct br__run_blend all, each[BR__N_SPLITS]; /* TOKENS: one for all splits, or one for each */
    const char *split;                            /* shares of the splits; NULL with `each` */
    const char *file[BR__N_SPLITS];               /* PRETOK, SFT; NULL: none */
    struct br__hub_set_opts hub; /* SFT: a data set of the hub in place of files, but for where it
                                    is kept; id NULL: it is not */
    uint32_t seed;
    int sampler; /* of training, enum br__data_sampler_kind */
    int file_order, reset_position_ids, reset_attention_mask, eod_mask_loss;
    int pad_is_set;
    int32_t pad;             /* -1: none */
    struct br__sft_opts sft; /* but for path, tokenizer and template */
    int chat, pad_to_max;
    int form_said; /* whether records are conversations is said */
    int skip_bad;
};
struct br__run_peft {
    int64_t dim, alpha;
    double dropout;
    int dropout_post; /* dropout after the adapter, not before it */
    int bias_inside;  /* DoRA: the magnitude scales the bias, too */
    const char **targets, **excluded;
    size_t n_targets, n_excluded;
    const char *a_init, *b_init;
    const char *init; /* where the adapter begins from, or NULL */
};
/* Everything that a run is told, with every default resolved; texts in its arena or the recipe's.
 */
struct br__run {
    const struct br__recipe *recipe; /* with the model's sizes and single_rank put in */
    uint8_t read[BR__N_RK];          /* keys that had a say */
    const char **notes;              /* sentences for the plan */
    size_t n_notes, cap_notes;
    int mode; /* enum br__run_mode */

    const char *dir;         /* <dir>/<name> */
    const char *checkpoints; /* below it */
    const char *cache;       /* below it: texts as token files, index arrays */

    const char *hf_model; /* id or directory; its config.json is the model if has_config */
    const char
        *config_text;      /* config.json of hf_model where it is not the recipe's own; else NULL */
    const char *weights;   /* to begin from: a directory or an id; NULL: random */
    int weights_megatron;  /* it is a torch_dist checkpoint */
    const char *tokenizer; /* directory or id; NULL: there is none */
    int64_t null_vocab;    /* without one: ids of the data */
    uint64_t seed;

    const char *load;  /* training checkpoint to go on from, if `checkpoints` has none; or NULL */
    int64_t ckpt_step; /* -1: the latest */
    int finetune, load_optim, keep_schedule; /* keep_schedule: the checkpoint's, not the recipe's */

    int64_t seq_length, micro_batch, global_batch, train_iters;
    int64_t rampup[3]; /* start, increment, samples; [0] 0: none */
    int64_t eval_interval, eval_iters, save_interval,
        log_interval;      /* save_interval 0: only at the end */
    int64_t exit_interval; /* 0: none */
    double exit_minutes;   /* 0: none */
    int64_t patience;      /* seconds that a process waits for others that do nothing */
    int skip_train, per_token, check_nan;
    struct br_topo topo;   /* all ranks: threads of this process, or processes of a launcher */
    int sequence_parallel; /* tensor-parallel ranks share the rows between products */
    struct br__stage_opts stages; /* which layers pipeline stages have */
    uint32_t stage_group; /* micro batches that go through a chunk of a stage in a row; 0: pp */
    int sharded;    /* the distributed optimizer: data-parallel ranks have parts of its state */
    int average;    /* gradients are divided after they are added, not before */
    int64_t bucket; /* elements of a bank, which gradients are summed and weights are told by */
    int overlap_reduce, overlap_gather; /* while the ranks compute */
    int64_t most_recent_k;              /* checkpoints kept; 0: all */
    int async_save;

    int values;       /* BR_F32 or BR_BF16: activations */
    int params_dtype; /* the model's copy of the weights; BR_F32, BR_BF16 or BR_F16 */
    int grads;        /* BR_F32 or BR_BF16: main gradients */
    int fp16;         /* weights in float16 under a loss scale; values are BR_F32 */
    double initial_scale, min_scale;  /* of fp16: the loss scale */
    int64_t scale_window, hysteresis; /* good steps before it grows, bad ones before it falls */
    int native_ce;                    /* the logits' gradient is rounded to bfloat16 */
    int router;                       /* dtype of the router, BR_NONE: that of the values */
    int aux;                          /* enum br__aux_kind */
    double aux_coeff, z_coeff, mtp_scale;
    int64_t mtp_layers;  /* -1: as many as the weights have */
    int recompute;       /* 0, 'f'ull or 's'elective */
    int recompute_block; /* full: the first recompute_layers, not groups of so many */
    int64_t recompute_layers;
    const char **recompute_modules;
    size_t n_recompute_modules;

    struct br__schedule schedule;
    struct br__schedule_group group[2]; /* with weight decay, without */
    double beta1, beta2, eps, clip;
    int decay_qk_norms;

    struct br__run_data data;
    struct br__run_peft peft;
};
enum br__run_mode { BR__MODE_PRETRAIN, BR__MODE_SFT, BR__MODE_LORA, BR__MODE_DORA };
struct br__run_opts {
    int single_rank, skip_bad;
    int64_t ranks; /* how many there are to be; 0: one, which is all that the recipe may ask for */
};
/* A recipe (opened incomplete; sizes may change in it) as a run.  BR_E_UNSUPPORTED names a value
 * that cannot be had here, BR_E_CONFIG what contradicts.  Reads config.json of another model,
 * writes nothing. */
int br__run_make(struct br__arena *a, struct br__registry *reg, struct br__recipe *r,
                 const struct br__run_opts *o, struct br__run *out,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- loop.c: training ------------------------------------------------------------------------ */

/* One step: what Megatron's log line says of it, and more. */
struct br__step_report {
    int64_t iteration, consumed, batch; /* this step included; samples; samples of the step */
    double lm_loss;                     /* sum of mask * loss / sum of the masks */
    double aux; /* load balancing, divided by layers and micro batches; NAN: no such loss */
    double z;   /* router's z-loss, likewise */
    double mtp; /* multi-token prediction, likewise */
    double lr, weight_decay; /* as used in this step */
    double next_lr;
    double grad_norm, loss_scale;
    uint64_t zeros;    /* of the gradient after clipping */
    int skipped;       /* the gradient is infinite or NaN: no weight changed */
    int64_t n_skipped; /* steps so far that were */
    int64_t tokens,
        loss_tokens;       /* of the step; padding that is computed included; sum of the masks */
    double seconds, flops; /* flops: of the model, forward and backward */
    double waited;         /* seconds for data */
    double pass_seconds, update_seconds; /* of all micro batches; from gradients to weights */
    uint64_t private_bytes;
};
struct br__eval_report {
    int split; /* enum br__data_split */
    int64_t iteration, samples, loss_tokens;
    double lm_loss, seconds;
};
enum br__train_end {
    BR__END_NOT,      /* it has not ended */
    BR__END_DONE,     /* train_iters steps */
    BR__END_STOPPED,  /* br__train_stop */
    BR__END_INTERVAL, /* exit_interval */
    BR__END_TIME      /* exit_duration_in_mins */
};
struct br__train;
struct br__train_events {
    void *ud;
    void (*step)(void *ud, const struct br__step_report *r);
    void (*eval)(void *ud, const struct br__eval_report *r);
    void (*saved)(void *ud, int64_t iteration, const char *dir);
};
struct br__training_opts {
    const char *plugin, *device;        /* NULL: auto */
    int threads;                        /* 0: one per CPU */
    int dry;                            /* nothing is written, no weights are read: for the plan */
    int pace;                           /* measure how long a step takes, for the plan */
    int no_sync;                        /* do not wait until checkpoints are on the disk */
    const struct br_listener *listener; /* NULL: none */
    const struct br__train_events *events; /* NULL: none */
};
/* Opens data and model, goes to the checkpoint that there is, makes every check.  The run outlives
 * it.  Of a finished run that evaluates nothing, only its last checkpoint is looked at. */
int br__train_open(struct br__train **out, const struct br__run *run,
                   const struct br__training_opts *o, struct br_err *err) BR_MUST_CHECK;
void br__train_close(struct br__train *t); /* NULL is fine */
/* The checkpoint to go on from stands at train_iters or later: there is no step to do.  skip_train
 * is no finished run, it evaluates. */
int br__train_is_finished(const struct br__train *t);
/* Until train_iters, a stop, a limit or an error; *end says which.  A checkpoint is written at the
 * end if there is a folder for it. */
int br__train_run(struct br__train *t, enum br__train_end *end, struct br_err *err) BR_MUST_CHECK;
/* End after the step that is running.  May be called in a signal handler, and by any thread. */
void br__train_stop(struct br__train *t);

/* What will be done, for the plan. */
struct br__train_plan {
    const char *model, *weights, *resumed; /* weights: where they come from; resumed: or NULL */
    double params, active, trained;        /* active: per token */
    int64_t first, last;                   /* iterations: from the one after `first` */
    int64_t samples[BR__N_SPLITS];         /* that the run reads; 0: the split is not there */
    double tokens, flops_per_step;
    /* Private memory: trained weights and others that are not used in their file, ...; copy: what
     * async_save writes beside the run; program: before any of these; total: their sum. */
    double weight_bytes, gradient_bytes, optimizer_bytes, activation_bytes, copy_bytes,
        program_bytes, total_bytes;
    /* Over several processes these are rank 0's, and this is what the rank that needs most does. */
    double most_bytes; /* 0: one process */
    uint32_t most_rank;
    /* By the speed of a sample of the model: of a step, an evaluation, all of the run with the
     * evaluations; 0: not measured. */
    double step_seconds, eval_seconds, seconds;
    int64_t evals, saves; /* evaluations and checkpoints that are to come */
    double save_bytes;    /* of a checkpoint, about */
    double
        peak_flops; /* that the device can do a second; 0: the model is too small to measure it */
};
void br__train_plan(const struct br__train *t, struct br__train_plan *out);
/* The same of a run whose data and weights are not looked at: parameters, memory, operations. */
int br__train_estimate(const struct br__run *run, struct br__train_plan *out,
                       struct br_err *err) BR_MUST_CHECK;
/* Part k of a split's data for the plan; 0 past the last.  Finetuning data has one part without
 * sequences and tokens. */
int br__train_part(const struct br__train *t, int split, size_t k, struct br__pretrain_part *out);

/* ---- peft_jobs.c: adapters between Megatron and peft ----------------------------------------- */

struct br__peft_job {
    const char *plugin, *hf_model; /* the model that the adapter is of; plugin NULL: none named */
    const char *from, *to;
    int overwrite, no_sync, no_verify, threads;
    const struct br_listener *listener;       /* NULL: none */
    void (*line)(void *ud, const char *text); /* verify: each difference; or NULL */
    void *ud;
};
struct br__peft_done {
    uint64_t n_tensors, n_weights; /* of peft's form: tensors, and weights that they change */
    int64_t dim;
    int dora;
};
/* An adapters-only Megatron checkpoint `from` as a peft directory `to`, and the other way round:
 * the checkpoint's iteration 0, without optimizer.  BR_E_UNSUPPORTED: one of them cannot say it. */
int br__peft_export(const struct br__peft_job *o, struct br__peft_done *done,
                    struct br_err *err) BR_MUST_CHECK;
int br__peft_import(const struct br__peft_job *o, struct br__peft_done *done,
                    struct br_err *err) BR_MUST_CHECK;
/* hf_model with the adapter `from`, of either kind, added to its weights: directory `to`. */
int br__peft_merge(const struct br__peft_job *o, struct br__peft_done *done,
                   struct br_err *err) BR_MUST_CHECK;
/* BR_E_DIFF unless Megatron checkpoint `from` and peft directory `to` are the same adapter, bit for
 * bit. */
int br__peft_verify(const struct br__peft_job *o, struct br__peft_done *done,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- tb.c: event files of TensorBoard -------------------------------------------------------- */

struct br__tb {
    struct br__append file;
};
struct br__tb_scalar {
    const char *tag;
    double value;
};
/* A new file in dir, which is made; zeroed structs may be closed. */
int br__tb_open(struct br__tb *tb, const char *dir, struct br_err *err) BR_MUST_CHECK;
/* Scalars of one step; readers see them at once. */
int br__tb_write(struct br__tb *tb, int64_t step, const struct br__tb_scalar *v, size_t n,
                 struct br_err *err) BR_MUST_CHECK;
void br__tb_close(struct br__tb *tb);

/* ---- random weights -------------------------------------------------------------------------- */

/* A model of the sizes that a config.json (its text) says, whose weights are random numbers of
 * `dtype`, made where they are read and written nowhere: to measure how fast it runs.  The caller
 * closes it. */
int br__random_model(struct br__model_source **out, const char *config_text, int dtype,
                     struct br_err *err) BR_MUST_CHECK;

#endif
