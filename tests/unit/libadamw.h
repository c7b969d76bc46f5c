/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libadamw.h - the optimizer one element at a time, which kernels are compared with bit by bit. */
#ifndef BRIDGE_TEST_LIBADAMW_H
#define BRIDGE_TEST_LIBADAMW_H

#include "train/optim.h"

/* One step of n elements in the order of Transformer Engine's FusedAdam; copy may be NULL. */
void adamw_reference(const struct br__adamw *h, const struct br__adamw_arrays *x);
/* The sum of the squares of at most 65536 elements: 16 sums of every 16th one, added in order. */
double squares_reference(const float *x, size_t n);
/* A CPU device that stays open until the process ends. */
struct br__device *cpu_device(uint32_t threads);

#endif
