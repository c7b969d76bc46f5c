/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* librecorded.h - runs of Megatron Bridge that were recorded: fixtures train/<kind>/<case> of the
 * folder that BRIDGE_SHARED names.  Its README says what is in the files. */
#ifndef BRIDGE_TEST_LIBRECORDED_H
#define BRIDGE_TEST_LIBRECORDED_H

#include "libgolden.h"
#include "train/optim.h"
#include "train/train.h"

struct recorded {
    char dir[1024];
    br__json *config, *steps, *batches; /* case.json, steps.json, batches.json */
    struct br__schedule schedule;
    int per_token;
};
/* name: "runs/qwen2_fp32" */
void recorded_open(struct recorded *r, const char *name);
void recorded_close(struct recorded *r);
const char *recorded_path(const struct recorded *r, const char *file, char *out, size_t size);
double recorded_opt(const br__json *j, const char *key, double dflt);

/* One micro batch as the model saw it. */
#define RECORDED_MAX 1024
struct recorded_micro {
    int32_t ids[RECORDED_MAX], labels[RECORDED_MAX], positions[RECORDED_MAX];
    float mask[RECORDED_MAX];
    int32_t seqs[RECORDED_MAX]; /* first row of each sequence */
    int64_t n_tokens, n_seqs;
    double counted; /* sum of the mask */
};
void recorded_micro(struct recorded_micro *m, const br__json *micro_batch);

/* AdamW of step number `step` (from 1) with the given gradient norm; the rates are compared with
 * those of the run.  o->weight_decay is for tensors that decay. */
struct br__adamw_opts recorded_adamw(const struct recorded *r, const br__json *want, int step,
                                     double norm);
void near_recorded(const char *what, int step, double got, double want, double tolerance);

#endif
