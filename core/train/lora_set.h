/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* lora_set.h - an adapter as Megatron has it: matrices of the fused linears of each layer, between
 * Megatron's checkpoints and peft's directories. */
#ifndef BRIDGE_CORE_TRAIN_LORA_SET_H
#define BRIDGE_CORE_TRAIN_LORA_SET_H

#include "ckpt.h"

/* ---- lora_set.c ------------------------------------------------------------------------------ */

/* A linear of Megatron, and its adapter if it has one. */
struct br__lora_linear {
    const char *module; /* "decoder.layers.0.mlp.linear_fc1" */
    const char *key; /* the same in checkpoints; of experts "….mlp.experts.experts.linear_fc1" */
    int64_t n;       /* matrices: experts; 1 of a linear that is none */
    int64_t in, out; /* of one */
    int is_experts;
    const struct br__move *moves; /* [n_moves] which of its n * out rows are which of Hugging
                                     Face's */
    size_t n_moves;
    unsigned char *a, *b, *m; /* [n, dim, in], [n, out, dim], [n, out] of the set's dtype; NULL:
                                 none */
};
struct br__lora_set {
    struct br__arena arena;
    struct br__expansion *x;
    struct br__lora_linear *list; /* all linears that could have one */
    size_t n;
    int64_t dim; /* of A's rows */
    int blocks;  /* more than 1: A holds as many of peft's, one below the other, and B's rows have
                    zeros for those of the other weights; dim and alpha are as many times as large */
    double alpha;
    int dora, dtype;
    int has_bias;    /* the model has one of query, key and value */
    int bias_inside; /* DoRA of a model that has such a bias: the magnitude scales it, too */
};
/* The linears of a model, without adapters. */
int br__lora_set_open(struct br__lora_set *s, const struct br_config *cfg,
                      struct br_err *err) BR_MUST_CHECK;
void br__lora_set_close(struct br__lora_set *s); /* a zeroed one is fine */
/* From an adapters-only checkpoint of Megatron Bridge or of ours; alpha is in its run_config.yaml.
 */
int br__lora_set_read(struct br__lora_set *s, const struct br__ckpt *ck,
                      struct br_err *err) BR_MUST_CHECK;
/* From peft's form, where q, k and v, and gate and up, may have an A each: see blocks. */
int br__lora_set_take(struct br__lora_set *s, const struct br__adapter *from,
                      struct br_err *err) BR_MUST_CHECK;
/* The same as peft has it: A repeated for each weight of a fused linear, B and magnitudes cut. */
int br__lora_set_give(const struct br__lora_set *s, struct br__adapter **out,
                      struct br_err *err) BR_MUST_CHECK;
/* Megatron Bridge's share_expert_adapters: the experts of each layer have the same adapter. */
int br__lora_set_is_shared(const struct br__lora_set *s);
/* The tensors of an adapter (arena) by Megatron's names per layer, as float32; of experts one, or,
 * where they are not shared, [n, ...]. */
int br__lora_set_tensors(const struct br__lora_set *s, struct br__arena *a, struct br__live **list,
                         size_t *n, struct br_err *err) BR_MUST_CHECK;

/* lora_alpha of peft's form, which keeps it divided by the rank, in float32; and its text. */
double br__peft_alpha(const struct br__adapter *a);
void br__peft_put_alpha(struct br__buf *out, double alpha);

/* ---- peft_dir.c: what is written ------------------------------------------------------------- */

struct br__peft_dest {
    const char *path, *source; /* of what is read, which it must not overlap */
    const char *marker;        /* the file without which it is none: adapter_config.json */
    int overwrite, sync;
};
/* adapter_config.json and adapter_model.safetensors. */
int br__peft_write(const struct br__peft_dest *d, const struct br__adapter *a, const char *base,
                   struct br_err *err) BR_MUST_CHECK;
/* A model with an adapter in its weights, in the same files, each value rounded once. */
int br__peft_write_merged(const struct br__peft_dest *d, const struct br__ckpt *model,
                          const struct br__adapter *a, const struct br__peft_job *job,
                          struct br_err *err) BR_MUST_CHECK;

#endif
