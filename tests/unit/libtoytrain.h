/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtoytrain.h - train a toy without a training loop: its weights are written to a directory after
 * each step and read again by the engine, whose trace gives the gradients.  Slow, and made of parts
 * that are tested on their own. */
#ifndef BRIDGE_TEST_LIBTOYTRAIN_H
#define BRIDGE_TEST_LIBTOYTRAIN_H

#include "libgolden.h"
#include "train/optim.h"
#include "train/train.h"

struct toy_tensor {
    const char *name;
    int ndim;
    int64_t shape[BR_MAX_DIMS];
    size_t n;
    float *param, *m, *v, *grad;
};
struct toy {
    struct br__arena arena;
    char dir[256]; /* the weights as they are now */
    struct toy_tensor *tensors;
    size_t n;
    struct br__grad_span *grads; /* of all tensors, for norm and zeros */
    struct br__llm *model;       /* of the current weights; NULL until asked */
};
void toy_open(struct toy *t, const char *hf_dir);
void toy_close(struct toy *t);
void toy_zero_grads(struct toy *t);
/* Loss of one sequence (labels NULL: the next token; -1: not counted); its gradients are multiplied
 * by `weight` and added. */
double toy_backward(struct toy *t, const int32_t *ids, const int32_t *labels, int64_t n,
                    double weight);
/* One AdamW step; o->weight_decay is for tensors that decay. */
void toy_step(struct toy *t, const struct br__adamw_opts *o);
const struct toy_tensor *toy_find(const struct toy *t, const char *name);

#endif
