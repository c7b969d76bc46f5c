/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* optim.h - what happens between the gradients of one step and the weights of the next.
 *
 * Learning rate and weight decay are pure functions of the position in the run, so a resumed run
 * needs no state for them but a counter.  The optimizer works on plain arrays of a device's memory,
 * which has done with them when it says so: calls may return before. */
#ifndef BRIDGE_CORE_TRAIN_OPTIM_H
#define BRIDGE_CORE_TRAIN_OPTIM_H

#include "train.h"

/* ---- schedule.c: learning rate and weight decay ---------------------------------------------- */

/* Value of the enum, or -1 if there is no style of that name. */
int br__lr_style(const char *name);
int br__wsd_style(const char *name);
int br__wd_style(const char *name);
const char *br__lr_style_name(int style);
const char *br__wd_style_name(int style);

/* BR_E_CONFIG and what contradicts what: the conditions that Megatron asserts. */
int br__schedule_check(const struct br__schedule *s, struct br_err *err) BR_MUST_CHECK;
/* Learning rate and weight decay of the optimizer step that begins after `samples` samples.  The
 * first step has samples = 0, so with a warmup its learning rate is init_lr. */
double br__lr_at(const struct br__schedule *s, const struct br__schedule_group *g, int64_t samples);
double br__wd_at(const struct br__schedule *s, const struct br__schedule_group *g, int64_t samples);

/* ---- scaler.c: the loss scale of float16 ----------------------------------------------------- */

/* Megatron's DynamicGradScaler.  Multiply the loss by `scale`, divide the gradients by it. */
struct br__scaler {
    float scale, min_scale, growth_factor, backoff_factor;
    int growth_interval, hysteresis; /* settings: good steps until growth, bad ones until backoff */
    int good_steps, hysteresis_left; /* state; hysteresis_left may fall below 0, as in Megatron */
};
/* After a step: found_inf says that a gradient was infinite or NaN, so the step was skipped. */
void br__scaler_update(struct br__scaler *s, int found_inf);

/* ---- optim.c: AdamW, gradient norm, clipping ------------------------------------------------- */

/* Constants of one step and one parameter group, as the element loop needs them. */
struct br__adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float correct1, correct2; /* 1 - beta^step; 1 without bias correction */
    float grad_scale;         /* every gradient is multiplied by it: clipping */
};
struct br__adamw_opts {
    double lr, weight_decay; /* of this step: br__lr_at, br__wd_at */
    double beta1, beta2, eps;
    int64_t step; /* optimizer steps of the group, this one included: from 1 */
    int no_bias_correction;
    float grad_scale;
};
struct br__adamw br__adamw_make(const struct br__adamw_opts *o);
/* One tensor, in memory of the device: param, m and v change; `copy` (NULL: none) becomes param
 * rounded to bfloat16, to nearest even. */
struct br__adamw_arrays {
    size_t n;
    float *param, *m, *v;
    const float *grad;
    uint16_t *copy;
};
/* h: in memory of the device, too. */
int br__adamw_step(struct br__device *d, const struct br__adamw *h,
                   const struct br__adamw_arrays *x, struct br_err *err) BR_MUST_CHECK;

/* Gradients of one tensor, in memory of the device. */
struct br__grad_span {
    float *data;
    size_t n;
};
/* The sum of the squares of all gradients: the sums of SQUARE_SUMS (ops.def) in order, so it does
 * not depend on the number of threads.  Infinite or NaN if an element is. */
int br__grad_squares(struct br__device *d, const struct br__grad_span *g, size_t n, double *squares,
                     struct br_err *err) BR_MUST_CHECK;
/* Its root, their L2 norm. */
int br__grad_norm(struct br__device *d, const struct br__grad_span *g, size_t n, double *norm,
                  struct br_err *err) BR_MUST_CHECK;
/* Every gradient times `scale`. */
int br__scale_grads(struct br__device *d, const struct br__grad_span *g, size_t n, float scale,
                    struct br_err *err) BR_MUST_CHECK;
/* Whether one is infinite or NaN; it stops there. */
int br__grad_not_finite(struct br__device *d, const struct br__grad_span *g, int *found,
                        struct br_err *err) BR_MUST_CHECK;
/* What clipping multiplies the gradients by: at most 1; max_norm 0 turns it off. */
float br__clip_scale(double norm, double max_norm);
/* Elements that are zero after multiplication by `scale`, which can make a small gradient zero. */
int br__count_zeros(struct br__device *d, const struct br__grad_span *g, size_t n, float scale,
                    uint64_t *zeros, struct br_err *err) BR_MUST_CHECK;

/* Whether weight decay acts on a parameter, by Megatron's rule: not on vectors, not on biases.
 * `name` is the Megatron key, ndim that of its tensor in a checkpoint, where the layers may be
 * stacked. qk_norm: apply_wd_to_qk_layernorm. */
int br__is_decayed(const char *name, int ndim, int qk_norm);

#endif
