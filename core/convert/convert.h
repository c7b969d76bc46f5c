/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* convert.h - the door of core/convert: conversion plans, the jobs that carry them out, and looking
 * at checkpoints.
 *
 * A job is: registry -> architecture -> config -> rules expanded into moves of rows -> plan, where
 * every check happens -> write.  The verbs themselves are public: br_import, br_export, br_verify
 * of <bridge/bridge.h>.  This folder knows models and formats; it knows no graph, no device and
 * never prints. */
#ifndef BRIDGE_CORE_CONVERT_H
#define BRIDGE_CORE_CONVERT_H

#include "../model/model.h"
#include <pthread.h>

/* ---- a plan: which bytes of the source become which bytes of the destination ----------------- */

enum br__exactness {
    BR__EXACT,       /* bytes move                                       */
    BR__EXACT_SHIFT, /* w - 1 / w + 1, and back gives every bit          */
    BR__WIDENED,     /* w - 1 kept exact in a wider dtype                */
    BR__DEQUANT,     /* e4m3 * scale, rounded once                       */
    BR__ROUNDED      /* a cast asked for by --torch-dtype, or w - 1 that is not exact */
};
const char *br__exactness_text(int e);

enum br__direction { BR__IMPORT = 1, BR__EXPORT = 2 };

/* n rows of the piece from dst_row are n rows of source tensor `src` from src_row. */
struct br__seg {
    uint32_t src; /* BR__SRC_ZERO = zeros */
    uint32_t reserved;
    uint64_t src_row, dst_row, n;
};
#define BR__SRC_ZERO UINT32_MAX

/* What is stored as one unit: a box of a Megatron tensor (import), a whole HF tensor (export). */
struct br__piece {
    uint32_t out;
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
    uint64_t bytes;
    size_t first_seg;
    uint32_t n_segs;
    int repeats; /* the values of the piece before it: one adapter for all experts of a layer */
};

struct br__plan_out { /* one output tensor */
    const char *name;
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    uint64_t row_elems;
    uint32_t rule;
    uint8_t exactness;
    int8_t add;    /* -1, 0, +1 */
    uint32_t file; /* export: which of out_files */
};

struct br__plan {
    int direction;
    struct br__arena arena;
    struct br__binding b; /* the source's tensors and the rules */
    struct br__plan_out *outs;
    size_t n_outs;
    struct br__piece *pieces; /* in storage order */
    size_t n_pieces;
    struct br__seg *segs;
    size_t n_segs;
    uint64_t out_bytes;        /* tensor bytes written */
    const char **out_files;    /* export: shard names */
    const char **out_metadata; /* export: "__metadata__" JSON of each, or NULL */
    size_t n_out_files;
};

struct br__plan_opts {
    unsigned flags;              /* enum br_job_flags */
    int dtype;                   /* cast every float tensor; BR_NONE = keep */
    int64_t pad_vocab_to;        /* import: rows become a multiple of this; 0 = no padding */
    const struct br__ckpt *like; /* verify: follow the layout of this torch_dist checkpoint */
    const struct br__ckpt
        *ref; /* export: HF reference whose shard map, dtypes and layout are kept, or NULL */
    uint64_t max_shard_size;
};
/* Every check of a conversion happens here, before a byte is written.  BR_E_PLAN names missing,
 * unexpected, misshapen tensors; BR_E_UNSUPPORTED foreign dialects. */
int br__plan_make(struct br__plan **out, int direction, struct br_config *cfg,
                  const struct br__ckpt *src, const struct br__plan_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
/* The plan of an adapters-only checkpoint: tensors of `src` with Megatron's names per layer
 * ("decoder.layers.3.….adapter.linear_in.weight") are stored stacked, as Megatron Bridge does it.
 * Those of routed experts have an axis of n_experts there: a matrix of `src` is each of them, three
 * axes are all.  BR_E_PLAN: a tensor that not all layers have. */
int br__plan_adapters(struct br__plan **out, const struct br__ckpt *src, int64_t n_experts,
                      struct br_err *err) BR_MUST_CHECK;
void br__plan_free(struct br__plan *p);

/* ---- produce.c: the bytes of a plan's pieces ------------------------------------------------- */

/* A run of elements that are contiguous in a source tensor as in the piece. */
struct br__range {
    uint32_t src;     /* BR__SRC_ZERO: zeros */
    uint64_t from, n; /* elements of it */
};
/* The longest run that begins with element e of a piece. */
struct br__range br__piece_range(const struct br__plan *p, size_t piece, uint64_t e);

/* ---- side.c: files that travel with a model -------------------------------------------------- */

struct br__side {
    const char *dir; /* where they are */
    struct br__side_file {
        const char *name;
        uint64_t size, xxh3;
    } * files;
    size_t n;
};
/* Find the side files of directory `dir` (NULL: none) and read each: names, sizes and digests, in
 * the arena. */
int br__side_find(struct br__arena *a, const char *dir, int tokenizer_only, struct br__side *out,
                  struct br_err *err) BR_MUST_CHECK;
int br__side_copy(const struct br__side *side, const struct br__dir *to, int sync,
                  struct br_err *err) BR_MUST_CHECK;
uint64_t br__side_bytes(const struct br__side *side);

/* ---- a session: everything that a job opened ------------------------------------------------- */

/* Everything that a job opened, up to and including its plan: all checks are done, nothing is
 * written. */
struct br__session {
    struct br__arena arena;
    struct br_job job;
    struct br__registry *registry;
    const struct br__arch *arch;
    struct br_config cfg;
    struct br__ckpt *src; /* what is read */
    struct br__ckpt *ref; /* export: the HF reference, or NULL */
    struct br__plan *plan;
    const char
        *config_text; /* config.json of the HF side: verbatim, or rebuilt from the checkpoint */
    const char *generation_text; /* generation_config.json verbatim, or NULL */
    struct br__side side;        /* files that travel with the model */
};
/* job->config_file set: the source's headers are invented from that config.json (plan only). */
int br__session_open(struct br__session **out, const struct br_job *job, int direction,
                     struct br_err *err) BR_MUST_CHECK;
void br__session_close(struct br__session *s);

/* ---- work.c: a temporary directory that becomes the destination, or resumes ------------------ */

#define BR__JOURNAL ".bridge_journal"
#define BR__WORK_INSIDE                                                                            \
    ".bridge-partial" /* the temporary directory, where it is in the destination */
#define BR__NO_LOCKS                                                                               \
    "the file system of '%s' has no locks: nothing keeps a second process from the same "          \
    "destination"
struct br__names {
    const char **p;
    size_t n;
};
struct br__work {
    struct br__arena arena;
    const char *final, *name; /* the destination, and its name in its directory */
    const char *tmp_name, *old_name;
    struct br__dir parent; /* holds the temporary directory */
    struct br__dir tmp;    /* holds the lock */
    struct br__dir old;    /* the destination, locked while it is replaced */
    int inside;            /* the destination cannot be renamed: the temporary directory is in it */
    int unlocked;          /* the file system has no locks */
    int replace;           /* set by the caller: the existing destination may be replaced */
    int follows;           /* it is rank 0's, which holds the lock and commits */
    int same,
        publishing; /* the temporary directory of an earlier run is of this job; is complete */
    int open, begun, committed;
    const char *gone; /* where the replaced directory is now */
    const char *left; /* after a commit: a name that could not be removed */
    int journal_fd, sync;
    char head[48]; /* first line of the journal */
    char *text;    /* of the journal that was found */
    pthread_mutex_t lock;
    uint64_t **digests;     /* [n_parts] digests of a finished part (arena), or NULL */
    size_t n_parts, n_done; /* n_done: by this run */
};
/* Take the lock on the name `final`, a canonical path whose parent is made.  fingerprint identifies
 * the job.  BR_E_BUSY if another process has it, BR_E_EXISTS for a temporary directory of another
 * job.  The existing destination stays until the work is closed. */
int br__work_lock(struct br__work *w, const char *final, uint64_t fingerprint, int sync,
                  struct br_err *err) BR_MUST_CHECK;
/* Resume the temporary directory if it is of this job, else empty it. */
int br__work_begin(struct br__work *w, size_t n_parts, struct br_err *err) BR_MUST_CHECK;
/* Over several processes: what rank 0 has begun, on the other ranks, which may write its parts. */
int br__work_follow(struct br__work *w, size_t n_parts, struct br_err *err) BR_MUST_CHECK;
/* The destination's file system has `need` bytes, less what regular files of `dir` (in the
 * temporary directory) hold; else BR_E_NOSPC. */
int br__work_space(const struct br__work *w, const struct br__dir *dir, uint64_t need,
                   struct br_err *err) BR_MUST_CHECK;
/* Sync, rename to the destination, remove the journal and the replaced directory.  `names` are
 * those of the result, `last` the one without which it is no checkpoint. */
int br__work_commit(struct br__work *w, const struct br__names *names, const char *last,
                    struct br_err *err) BR_MUST_CHECK;
/* Keeps the temporary directory for a rerun unless committed. */
void br__work_close(struct br__work *w);
/* Remove what is left of a run that was killed after it had renamed its result. */
void br__work_tidy(const char *final);
/* What an interrupted run keeps of destination `final` to go on with. */
struct br__work_kept {
    const char *path; /* the temporary directory (arena); NULL: there is none */
    uint64_t bytes;   /* on disk */
    size_t n_parts;   /* finished: what the next run need not do again */
};
int br__work_kept(struct br__arena *a, const char *final, struct br__work_kept *out,
                  struct br_err *err) BR_MUST_CHECK;
/* Remove that.  BR_E_BUSY: a run is writing it. */
int br__work_discard(const char *final, struct br_err *err) BR_MUST_CHECK;

/* ---- iteration.c: an iteration directory of Megatron, and the trackers beside it ------------- */

#define BR__METADATA ".metadata"
#define BR__TRAIN_STATE "train_state.pt"
#define BR__TOKENIZER "tokenizer" /* folder of side files */
#define BR__TEXT_TRACKER "latest_checkpointed_iteration.txt"
#define BR__STATE_TRACKER "latest_train_state.pt"
/* The tables of an import plan for the writer: bytes items (_extra_state, then the common state),
 * then an item for each piece, in order.  Not laid out; td->common_pickle is the caller's. */
int br__iteration_tables(struct br__arena *a, const struct br__plan *p, struct br__td_plan *td,
                         size_t *n_objects, struct br_err *err) BR_MUST_CHECK;
/* .metadata, the last file: its presence says that the data is complete. */
int br__iteration_metadata(const struct br__td_plan *td, const struct br__dir *d, int sync,
                           struct br_err *err) BR_MUST_CHECK;
/* The tokenizer's folder, if there are files for it. */
int br__iteration_tokenizer(const struct br__side *side, const struct br__dir *d, int sync,
                            struct br_err *err) BR_MUST_CHECK;
/* As br__trackers_put, in a root that other processes may write iterations into: one at a time. */
int br__trackers_update(const char *root, const struct br__train_counters *c, int sync,
                        struct br_err *err) BR_MUST_CHECK;

/* ---- source_td.c: a torch_dist checkpoint as a model to be read ------------------------------ */

/* The model at o->megatron_path. */
int br__source_open_td(struct br__model_source **out, const struct br__source_opts *o,
                       struct br_err *err) BR_MUST_CHECK;

/* ---- looking at checkpoints ------------------------------------------------------------------ */

/* Compare two checkpoints of one format key by key; each difference is one line to `line` (NULL:
 * only counted), in key order.  *n_diff counts them; the return value is about failures only.
 * BR_E_USAGE if the formats differ. */
int br__ckpt_diff(const struct br__ckpt *a, const struct br__ckpt *b, int threads,
                  void (*line)(void *ud, const char *text), void *ud, size_t *n_diff,
                  struct br_err *err) BR_MUST_CHECK;
/* sha256 of the contiguous global tensor, hex. */
int br__ckpt_sha256(const struct br__ckpt *ck, const struct br__tensor *t, char hex[65],
                    struct br_err *err) BR_MUST_CHECK;
/* What a torch_dist checkpoint says of a training run: NULL fields when it is weights only. */
struct br__training {
    int present;                         /* any optimizer, rng or rerun item */
    int64_t iteration, consumed_samples; /* -1 unknown */
    const char *optimizer;               /* "adam (distributed)", ... or NULL */
    const char *sharding;                /* "fully_reshardable", "dp_reshardable", "none" or NULL */
    size_t n_optimizer_tensors, n_rng_items, n_rerun_items;
    int has_scheduler;
    const char **warnings; /* e.g. stored main parameters that do not round to the weights */
    size_t n_warnings;
};
/* check_main_params (enum br__main_check): whether to compare optimizer.state.param.X, rounded,
 * with X, and to warn where they differ: not at all, the two ends of each tensor (bounded reading,
 * and enough for the known defect, which shifts whole tensors), every element. */
int br__training_summary(struct br__arena *a, const struct br__ckpt *ck, int check_main_params,
                         struct br__training *out, struct br_err *err) BR_MUST_CHECK;

/* ---- repairing the training state of a checkpoint -------------------------------------------- */

struct br__repair_opts {
    const char *from, *to; /* root or iteration directory; root that must not exist, or be empty */
    int threads, no_sync;
    int no_verify; /* do not compare checksums of what is read */
    const struct br_listener *listener;
};
struct br__repair_result {
    int needed;                  /* 0: nothing is wrong, and nothing was written */
    int from_form;               /* enum br__optim_form */
    size_t n_params, n_repaired; /* weights with state; those whose state was shifted or lost */
    uint64_t lost_main, lost_moments; /* elements: taken from the weight, set to zero */
    uint64_t n_tensors, bytes;        /* written */
    char path[1024];                  /* the iteration directory */
};
/* Write a training checkpoint again, as fully_reshardable and with the optimizer state that
 * br__train_state_repair gives.  Weights, random states and all else stay as they are. */
int br__repair(const struct br__repair_opts *o, struct br__repair_result *r,
               struct br_err *err) BR_MUST_CHECK;

/* ---- Megatron Bridge's run_config.yaml, and config.json of a checkpoint without one ---------- */

struct br__run_config_opts {
    const char *hf_model_id; /* as the user gave it */
    const char *save;        /* destination root as given */
    int per_layer_moe_list;  /* moe_layer_freq as list + decoder block spec although no layer is
                                dense */
    int64_t pad_vocab_to;    /* --pad-vocab-to MULTIPLE; 0 = not padded */
    const struct br__train_counters *training; /* args: a run with optimizer state; or NULL */
};
/* The whole file as Megatron Bridge 0.6.2 writes it (every section and key, sorted), with the
 * model's facts. */
int br__run_config_text(struct br__buf *out, const struct br_config *cfg,
                        const struct br__run_config_opts *o, struct br_err *err) BR_MUST_CHECK;
/* Entries of Megatron-LM's args namespace for br__td_common (arena): what its own loader, slime,
 * miles and Megatron Bridge without a run_config.yaml look for. */
int br__mlm_args(struct br__arena *a, const struct br_config *cfg,
                 const struct br__run_config_opts *o, const char *const (**args)[2], size_t *n,
                 struct br_err *err) BR_MUST_CHECK;
/* The model section alone, without the lines that only repeat a default.  `value` may write " text"
 * for a key of its own and return 1. */
int br__run_config_model(struct br__buf *out, const struct br_config *cfg,
                         const struct br__run_config_opts *o,
                         int (*value)(void *ud, const char *key, struct br__buf *out), void *ud,
                         struct br_err *err) BR_MUST_CHECK;
/* config.json of an architecture from a checkpoint's run_config.yaml or, when that is NULL,
 * Megatron-LM args (which may be NULL too: BR_E_NOTFOUND).  BR_E_CONFIG when the checkpoint is of
 * another family, so that a caller may try all.  *guessed: sentences naming each value that had to
 * be guessed (arena).  Free *config with br__json_free. */
int br__config_rebuild(struct br__arena *a, const struct br__arch *arch,
                       const struct br__yaml *run_config, const struct br__pk *args,
                       br__json **config, const char ***guessed, size_t *n_guessed,
                       struct br_err *err) BR_MUST_CHECK;

#endif
