/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train.h - what the files that read and write training state share. */
#ifndef BRIDGE_CORE_TORCHDIST_TRAIN_H
#define BRIDGE_CORE_TORCHDIST_TRAIN_H

#include "torchdist.h"

#define BR__OPTIM_KEYS "optimizer.state."

/* ---- train_common.c: groups and scheduler from the common state ------------------------------ */

int br__train_read_common(struct br__train_state *s, struct br_err *err) BR_MUST_CHECK;

/* ---- train_layout.c: where Megatron's gradient buffers hold the parameters ------------------- */

/* One parameter of one model-parallel rank. */
struct br__train_local {
    uint32_t param;        /* of the state; BR__NOT_FOUND: a copy that another rank stores */
    uint32_t bucket;       /* dp_reshardable: in layout->buckets */
    int64_t layer, expert; /* -1: none */
    uint64_t n;            /* elements */
    uint64_t pos;          /* dp_reshardable: of the first, in the bucket */
    uint64_t shift;        /* repair: stored[i] is the true element i + shift */
    uint64_t gap;          /* repair: elements between the one before and this, not stored */
    int is_lost;           /* repair: nothing stored explains it */
};
/* The parameters of one rank in the order of its buffer. */
struct br__train_rank {
    uint32_t chain;   /* 0; 1: experts under expert parallelism */
    int64_t pp, part; /* pipeline stage; tensor-parallel or expert-parallel rank */
    struct br__train_local *list;
    size_t n;
};
struct br__train_bucket {
    uint32_t chain, group, bucket;
    const struct br__tensor *tensor[BR__N_OPTIM_KINDS];
};
struct br__train_layout {
    int64_t tp, pp, ep, n_layers, n_experts; /* n_experts 0: dense */
    struct br__train_rank *ranks;
    size_t n_ranks;
    struct br__train_bucket *buckets; /* by chain, group, bucket */
    size_t n_buckets;
};
/* BR_E_UNSUPPORTED: sizes or keys whose order in the buffers is not known. */
int br__train_layout_make(struct br__train_state *s, struct br_err *err) BR_MUST_CHECK;
/* Whether a rank stores a parameter: of what all tensor-parallel ranks have, only the first. */
int br__train_is_stored(const struct br__train_state *s, const struct br__train_rank *r,
                        const struct br__train_local *x);
/* The boxes of the global tensor that a local parameter is, in order; returns how many. */
size_t br__train_local_boxes(const struct br__train_state *s, uint32_t rank, size_t local,
                             struct br__td_chunk out[2]);
/* Boxes of parameter i, one list for all ranks: file = rank, item_off = its local parameter,
 * data_off = bytes into that. */
int br__train_layout_boxes(struct br__train_state *s, struct br__arena *a, size_t i,
                           struct br__td_chunk **boxes, size_t *n,
                           struct br_err *err) BR_MUST_CHECK;

/* ---- train_buckets.c: dp_reshardable --------------------------------------------------------- */

int br__train_bind_buckets(struct br__train_state *s, struct br_err *err) BR_MUST_CHECK;

/* ---- train_shift.c --------------------------------------------------------------------------- */

/* Where elements of a parameter are whose rank's tensors are stored shifted. */
struct br__train_piece {
    size_t local;   /* whose stored tensor holds them */
    uint64_t first; /* there */
    uint64_t n;
    int is_lost;
};
/* The longest range from element `first` of a local parameter that is in one place. */
struct br__train_piece br__train_find_piece(const struct br__train_state *s, uint32_t rank,
                                            size_t local, uint64_t first);
/* Elements [first, first + n) of a local parameter, from a tensor of the global shape. */
int br__train_read_local(const struct br__train_state *s, uint32_t rank, size_t local,
                         const struct br__tensor *tensor, uint64_t first, float *dst, size_t n,
                         struct br_err *err) BR_MUST_CHECK;
/* The same of the optimizer state: true values where they are stored, else the weight or zero. */
int br__train_read_shifted(const struct br__train_state *s, uint32_t rank, size_t local, int kind,
                           uint64_t first, float *dst, size_t n, struct br_err *err) BR_MUST_CHECK;

/* ---- train_write.c --------------------------------------------------------------------------- */

/* Values of the common state's keys 'optimizer' and 'opt_param_scheduler'. */
void br__td_put_optimizer(struct br__pkw *w, const struct br__train_save *t);
void br__td_put_scheduler(struct br__pkw *w, const struct br__optim_scheduler *s);

/* ---- train_values.c -------------------------------------------------------------------------- */

/* A tensor of the weight's shape in float32: what optimizer state of parameter i is read as. */
struct br__tensor br__train_view(const struct br__train_state *s, size_t i);
/* Elements of a floating tensor, as float32. */
int br__train_read_as_f32(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t first,
                          float *dst, size_t n, struct br_err *err) BR_MUST_CHECK;

#endif
