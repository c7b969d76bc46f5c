/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkern.h - run one kernel of the CPU backend, of any tier, the way the engine would; or, with
 * BRIDGE_TEST_DEVICE, one of that device, in its memory.
 *
 * Tests of kernels are built twice: against the kernels as compiled, where a tier is tested if this
 * machine has it, and against tiers compiled for an emulation of their instructions
 * (tests/emulate), where all of them are. */
#ifndef BRIDGE_TESTS_LIBKERN_H
#define BRIDGE_TESTS_LIBKERN_H

#include "../../kernels/cpu/cpu.h"

/* A call with room for its tensors. */
struct kern_call {
    uint32_t op, n_in;
    struct br_tensor in[BR_MAX_IN], out;
    struct br_attr attr;
};

struct br__device;
/* The device that BRIDGE_TEST_DEVICE names; NULL: it names none, or the CPU. */
struct br__device *kern_device(void);

/* The tiers to test, slowest first, or one that stands for the device; those that this machine
 * lacks are named on stdout, once. */
size_t kern_tiers(const struct br__cpu_tier **out, size_t max);

/* The row that a device of those features would use, or NULL; weight: dtype of the stored weight.
 */
const struct br_kernel *kern_row(uint64_t features, uint32_t op, uint32_t weight);

/* Run call (in, out, op, attr, n_in set) on a device of n_threads with the kernels of a tier;
 * scratch is as large as asked for, filled with NaN, and checked for writes beyond it. */
void kern_run_on(void *device, const char *tier, uint64_t features, uint32_t n_threads,
                 struct kern_call *call);
/* The same on a device of its own. */
void kern_run(const struct br__cpu_tier *tier, uint32_t n_threads, struct kern_call *call);

/* A dense view; dims from the last. */
struct br_tensor kern_tensor(void *data, uint32_t dtype, uint32_t n_dim, const int64_t *shape);

/* Uniform in -1 .. 1, the same on every machine. */
float kern_random(uint64_t *state);

#endif
