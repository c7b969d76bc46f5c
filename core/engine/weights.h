/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* weights.h - the tensors of a model, its adapter, and the part of each that a rank owns. */
#ifndef BRIDGE_CORE_WEIGHTS_H
#define BRIDGE_CORE_WEIGHTS_H

#include "engine.h"
#include <string.h>

/* ---- weights.c: a model's Hugging Face tensors, wherever they come from ---------------------- */

/* Set shape, rows and cols. */
static inline void br__source_shape(struct br__source *s, int ndim, const int64_t *shape)
{
    s->ndim = ndim;
    memcpy(s->shape, shape, (size_t)ndim * sizeof *shape);
    s->rows = 1;
    s->cols = ndim ? shape[ndim - 1] : 1;
    for (int i = 0; i + 1 < ndim; i++)
        s->rows *= shape[i];
}
/* Where in s->data element (row, col) is, which must be there. */
static inline size_t br__source_place(const struct br__source *s, int64_t row, int64_t col)
{
    if (!s->held)
        return (size_t)(row * s->cols + col);
    if (s->ndim == 1) {
        row = col;
        col = 0;
    }
    const struct br__rows *r = s->held;
    while (row >= r->row + r->n)
        r++;
    return r->at + (size_t)((row - r->row) * s->held_cols + col - s->held_col);
}
/* Elements from one row in memory to the next. */
static inline int64_t br__source_stride(const struct br__source *s)
{
    return s->held ? s->held_cols : s->cols;
}
int br__weights_open(struct br__weights **out, const struct br__weights_opts *o,
                     struct br_err *err) BR_MUST_CHECK;
void br__weights_close(struct br__weights *w);
/* The weights own the adapter from now on; its tensors are numbered behind those of the model. */
void br__weights_take_adapter(struct br__weights *w, struct br__adapter *a);
struct br__source *br__weights_find(const struct br__weights *w, const char *name);
/* Make s->data valid: a pointer into the mapped safetensors file where the bytes can be used as
 * they are; else memory filled once (FP8 blocks dequantised to bfloat16, rows gathered from a
 * Megatron checkpoint, a merged adapter). */
int br__weights_load(struct br__weights *w, struct br__source *s, struct br_err *err) BR_MUST_CHECK;
/* Make s->data valid if the values are in memory already, else mark s as read by blocks: off the
 * host they are needed once, so no copy is kept. */
int br__weights_find_values(struct br__weights *w, struct br__source *s,
                            struct br_err *err) BR_MUST_CHECK;
#define BR__READ_BLOCK (BR__OUT_BUF / 4) /* bytes that a source reads at once, at most */
/* Free the memory that load filled, if it did: 1, and s->data is to be loaded again.  Not of a
 * merged adapter's. */
int br__weights_unload(struct br__weights *w, struct br__source *s);
/* Name of a tensor of the model or its adapter with a NaN or infinity, or NULL. */
const char *br__weights_not_finite(struct br__weights *w);

/* ---- lora.c: an adapter that is to be trained ------------------------------------------------ */

/* A and B are zeros, magnitudes the lengths of the rows of w's weights. */
int br__lora_make(struct br__adapter **out, struct br__weights *w, const struct br__lora_opts *o,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- params.c: the part of each weight that a rank owns -------------------------------------- */

enum br__split {
    BR__SPLIT_NONE, /* the whole                                               */
    BR__SPLIT_EACH, /* the same, but ranks apply it to heads or rows of their own: its gradient is
                       the sum of theirs */
    BR__SPLIT_ROWS, /* an equal share of the rows: column-parallel in Megatron */
    BR__SPLIT_KV,   /* the same of key or value heads, of which several ranks may share one */
    BR__SPLIT_COLS, /* an equal share of the columns: row-parallel             */
    BR__SPLIT_CONV  /* conv1d of the delta net: a share of the query, key and value channels */
};
/* n rows and m columns of a source, which are consecutive rows of the param. */
struct br__part {
    struct br__source *source;
    int64_t row, n_rows, col, n_cols;
};
struct br__param {
    struct br__stored stored;     /* first: nodes of a graph hold its address */
    const char *key;              /* by which it is found again */
    uint32_t index;               /* in params->list */
    const struct br__part *parts; /* where its gradient belongs, in its own row order */
    size_t n_parts;
    struct br__weights *weights; /* whose parts they are */
    int adapter;                 /* 0; else 'A', 'B' or 'M' of a pair */
    int split;                   /* enum br__split */
    int shared;                  /* all ranks of the tensor-parallel group hold the same */
    int expert;                  /* belongs to the expert grid */
    int partial;                 /* shared, and each rank computes a part of its gradient */
    int centred;                 /* Megatron's tensor is this one minus 1 */
    int copied;                  /* stored.data is a copy of the parts */
};
/* The param that a PARAM node was made of; NULL for other nodes. */
static inline const struct br__param *br__node_param(const struct br__node *n)
{
    return (const struct br__param *)n->stored;
}
struct br__params {
    struct br__arena arena;
    struct br__weights *w;
    struct br__param **list;
    size_t n, cap;
    struct br__map by_key;
    void **owned;
    size_t n_owned, cap_owned;
    int host; /* params are used in place, in host memory; else their bytes are made on demand */
    struct br__source *const *trained; /* [sources of w, then of its adapter] what takes the place
                                          of a source for this rank, or NULL; NULL: nothing does */
};
/* Ranks see one weights object and each has its own params.  Loading takes a lock. */
int br__params_open(struct br__params **out, struct br__weights *w, int host,
                    struct br_err *err) BR_MUST_CHECK;
void br__params_close(struct br__params *p);
/* The sources' values have changed: so do the copies of them. */
void br__params_refresh(struct br__params *p);
/* How ranks share a weight: this is rank `rank` of `size`. */
struct br__sharing {
    enum br__split split;
    uint32_t rank, size;
};
/* A weight that a block asks for. */
struct br__param_want {
    const char *mcore; /* its Megatron name */
    int item; /* of the rule's Hugging Face list, where the layout merges several (q, k, v) */
    int64_t first, n; /* n > 0: experts [first, first + n), as one [n, rows, cols] */
    struct br__sharing sharing;
};
#define BR__MAX_ITEMS 3
/* A vector (one axis, or conv1d) is converted to float32, a matrix keeps its dtype. */
int br__param_get(struct br__params *p, const struct br__param_want *want,
                  const struct br__param **out, struct br_err *err) BR_MUST_CHECK;
/* Items 0 .. n_items of a list, one below the other, of experts in each; item i is shared as
 * splits[i], want->item and the split of want->sharing are not looked at.  NULL where they differ
 * in dtype, or an adapter works beside the weights.  For devices off the host alone: its bytes are
 * made on demand. */
int br__param_get_merged(struct br__params *p, const struct br__param_want *want,
                         const enum br__split *splits, int n_items, const struct br__param **out,
                         struct br_err *err) BR_MUST_CHECK;
/* A tensor of an adapter pair, in float32: of A its columns, of B and M their rows go with those of
 * the weight, which is shared so. */
int br__param_adapter(struct br__params *p, const struct br__adapter_pair *pair, int which,
                      const struct br__sharing *weight, const struct br__param **out,
                      struct br_err *err) BR_MUST_CHECK;
/* The adapters' tensor of each expert of `weights` (a param of experts), as one [n, rows, cols] in
 * float32. BR_E_UNSUPPORTED: some of them have none, or have magnitudes. */
int br__param_expert_adapters(struct br__params *p, const struct br__param *weights, int which,
                              const struct br__sharing *sharing, const struct br__param **out,
                              struct br_err *err) BR_MUST_CHECK;

#endif
