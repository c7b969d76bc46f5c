/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* trainer.h - what store.c, offload.c and trainer.c share: the weights of a model as they are
 * trained.
 */
#ifndef BRIDGE_CORE_TRAINER_H
#define BRIDGE_CORE_TRAINER_H

#include "llm.h"

/* ---- store.c: weights in memory of their own ------------------------------------------------- */

/* What a source was before it was trained. */
struct br__frozen {
    struct br__source *source;
    int dtype;
    const void *data;
    float *wide; /* its copy in float32 that is rounded to bfloat16, if kernels read that one */
};
struct br__store {
    struct br__arena arena;
    struct br__trained *list;  /* [n] in the order of the model's files */
    struct br__frozen *frozen; /* [n] */
    size_t n;
    float *main, *grad; /* [elems] of all tensors */
    int half;           /* BR_BF16 or BR_F16: the model has copies of that dtype; 0: it has none */
    uint16_t *bf16;     /* [elems] the copies, or NULL */
    float *wide;        /* [n_wide] of those that are no matrices: widened again */
    size_t elems, n_wide;
    int threads;
    uint32_t *of_source; /* [sources of weights, then of their adapter] index in list, if trained */
    struct br__device *device; /* whose memory the blocks are; NULL: addresses alone, for a plan */
};
/* All weights, or those of an adapter if there is one beside them. */
int br__is_trained(const struct br__weights *w, const struct br__param *p);
/* Trains what the params of the rank that are trained are made of, and makes it the source of the
 * params that are opened from now on.  host: a device whose memory is the host's; values: BR_F32,
 * or BR_BF16 or BR_F16 for copies that are rounded. */
int br__store_open(struct br__store *s, struct br__rank *r, struct br__device *host, int values,
                   struct br_err *err) BR_MUST_CHECK;
/* The copies follow the main weights; `rounded`: those of 16 bits do already. */
int br__store_round(struct br__store *s, int rounded, struct br_err *err) BR_MUST_CHECK;
int br__store_zero_grads(struct br__store *s, struct br_err *err) BR_MUST_CHECK;
void br__store_close(struct br__store *s); /* sources are as before */
/* Gradients become what bfloat16 holds of them. */
int br__store_round_grads(struct br__store *s, struct br_err *err) BR_MUST_CHECK;
/* Where the gradient of a part begins. */
float *br__store_grad(const struct br__store *s, const struct br__part *q);

/* ---- offload.c: optimizer offload, where the device has memory of its own -------------------- */

struct br__offload {
    struct br__device *device; /* that computes */
    struct br__device *host;   /* whose memory the store takes: the same one, or `cpu` */
    struct br__device cpu;
    float *sums; /* [elems of the store] in memory of `device`: gradients; NULL: they are added to
                    those of the store */
};
int br__offload_open(struct br__offload *o, struct br__rank *r, struct br_err *err) BR_MUST_CHECK;
void br__offload_close(struct br__offload *o); /* after the store */
int br__offload_make_sums(struct br__offload *o, const struct br__store *s,
                          struct br_err *err) BR_MUST_CHECK;
/* Where the device adds the gradient of a part. */
float *br__offload_grad(const struct br__offload *o, const struct br__store *s,
                        const struct br__part *q);
int br__offload_zero(struct br__offload *o, const struct br__store *s,
                     struct br_err *err) BR_MUST_CHECK;
/* What the device has added up joins the gradients of the store, and begins at 0 again. */
int br__offload_fetch(struct br__offload *o, const struct br__store *s,
                      struct br_err *err) BR_MUST_CHECK;
/* The device's copies of what is trained follow the host's. */
int br__offload_renew(struct br__offload *o, const struct br__params *params,
                      struct br_err *err) BR_MUST_CHECK;

#endif
