/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* trainer.h - what store.c, offload.c, train_pass.c and trainer.c share: the weights of a model as
 * they are trained. */
#ifndef BRIDGE_CORE_TRAINER_H
#define BRIDGE_CORE_TRAINER_H

#include "llm.h"

/* ---- store.c: weights in memory of their own ------------------------------------------------- */

struct br__store {
    struct br__arena arena;
    struct br__trained *list; /* [n] in the order of the model's files */
    struct br__source *own;   /* [n] the sources that params are made of */
    float **wide;     /* [n] copies in float32 of what is rounded, where kernels read those */
    uint8_t *partial; /* [n] tensor-parallel ranks have a part of its gradient each */
    size_t n;
    float *main, *grad; /* [elems] of all tensors */
    int half;           /* BR_BF16 or BR_F16: the model has copies of that dtype; 0: it has none */
    uint16_t *bf16;     /* [elems] the copies, or NULL */
    float *widened;     /* [n_wide] of those that are no matrices: widened again */
    size_t elems, n_wide;
    int threads;
    struct br__source **trained; /* [sources of weights, then of their adapter] of own, or NULL */
    struct br__device *device; /* whose memory the blocks are; NULL: addresses alone, for a plan */
};
/* All weights, or those of an adapter if there is one beside them. */
int br__is_trained(const struct br__weights *w, const struct br__param *p);
/* Trains what those params of the rank that are trained are made of.  Params that are given
 * s->trained are made of the store's.  host: a device whose memory is the host's; values: BR_F32,
 * or BR_BF16 or BR_F16 for copies that are rounded. */
int br__store_open(struct br__store *s, struct br__rank *r, struct br__device *host, int values,
                   struct br_err *err) BR_MUST_CHECK;
/* The copies follow the main weights; `rounded`: those of 16 bits do already. */
int br__store_round(struct br__store *s, int rounded, struct br_err *err) BR_MUST_CHECK;
int br__store_zero_grads(struct br__store *s, struct br_err *err) BR_MUST_CHECK;
void br__store_close(struct br__store *s);
/* Memory that loading made of what is trained now is not needed beside it.  No params may be left
 * that use it. */
void br__store_unload(const struct br__store *s, struct br__weights *w);
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

/* ---- train_pass.c: a rank's micro batches ---------------------------------------------------- */

#define BR__KEPT_GRAPHS 8

struct br__train_pass;
/* A rank of the trainer. */
struct br__rank_trainer {
    struct br__rank *rank;
    const struct br__train_opts *o;
    struct br__store store;
    struct br__offload offload;
    struct br__train_pass *passes[BR__KEPT_GRAPHS];
    uint64_t clock;
    size_t n_moe;    /* routed layers that it has */
    float *past;     /* [n_moe, n_experts] tokens of the step that each expert got */
    int64_t n_past;  /* micro batches in it */
    double *aux, *z; /* [n_moe] of the last micro batch */
    float *row;      /* [n_experts] */
};
/* First row of sequence s, and one past the last. */
static inline int64_t br__first_row(const struct br__micro *mb, int64_t s)
{
    if (s == mb->n_seqs)
        return mb->n_tokens;
    return mb->seqs ? mb->seqs[s] : s * (mb->n_tokens / mb->n_seqs);
}
/* Which params there are shows in a graph of the fewest tokens: after this the rank has them. */
int br__rank_probe(struct br__rank_trainer *t, struct br_err *err) BR_MUST_CHECK;
/* out: zeros. */
int br__rank_micro(struct br__rank_trainer *t, const struct br__micro *mb, int backward,
                   struct br__micro_out *out, struct br_err *err) BR_MUST_CHECK;
/* Memory of a pass of at most these sizes. */
int br__rank_activations(struct br__rank_trainer *t, int64_t n_tokens, int64_t n_seqs,
                         uint64_t *bytes, struct br_err *err) BR_MUST_CHECK;
void br__rank_drop_passes(struct br__rank_trainer *t);

#endif
