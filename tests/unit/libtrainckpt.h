/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtrainckpt.h - the state of a training run in memory, without a run. */
#ifndef BRIDGE_TEST_LIBTRAINCKPT_H
#define BRIDGE_TEST_LIBTRAINCKPT_H

#include "libgolden.h"
#include "train/ckpt.h"

struct live_run {
    struct br__arena arena;
    struct br__model_source *source; /* for names, shapes and configuration */
    struct br__live *list;
    struct br__live_model model;
    size_t elements; /* of all tensors */
};
/* The tensors of a Hugging Face model, or of a safetensors file of adapters, all zero. */
void live_open(struct live_run *r, const char *hf_dir, const char *adapters, int dtype);
void live_close(struct live_run *r);
/* Numbers that depend on `seed`; the weights are those of `dtype`, as after a step. */
void live_fill(struct live_run *r, uint64_t seed);
int live_same(const struct live_run *a, const struct live_run *b);

/* Count the differences between two checkpoints; each is printed. */
size_t count_differences(const char *a, const char *b);

/* A checkpoint of step `step`, four samples each. */
struct saved_state {
    struct br__optim_group groups[2];
    struct br__optim_scheduler scheduler;
    struct br__saved saved;
};
void saved_make(struct saved_state *s, int64_t step);

#endif
