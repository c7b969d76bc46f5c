/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkernel.h - run kernels of the CPU backend as the engine would: on every tier of this machine
 * and on one to three threads; or, with BRIDGE_TEST_DEVICE, those of that device, in its memory.
 *
 * Tests of kernels are built twice: against the kernels as compiled, where a tier is tested if this
 * machine has it, and against tiers compiled for an emulation of their instructions
 * (tests/emulate), where those are tested that the machine lacks. */
#ifndef LIBKERNEL_H
#define LIBKERNEL_H

#include "../../kernels/cpu/cpu.h"
#include <stdlib.h>

#define MAX_THREADS 3

/* A call with room for its tensors. */
struct kern_call {
    uint32_t op, n_in;
    struct br_tensor in[BR_MAX_IN], out;
    struct br_attr attr;
};

/* Where a call runs: the kernels of a tier, a device of `threads`. */
struct kern_place {
    const char *tier;
    uint64_t features;
    uint32_t threads;
    void *device;
};

struct br__device;
/* The device that BRIDGE_TEST_DEVICE names; NULL: it names none, or the CPU. */
struct br__device *kern_device(void);
/* The tiers to test, slowest first, or one that stands for the device; those that this machine
 * lacks are named on stdout, once. */
size_t kern_tiers(const struct br__cpu_tier **out, size_t max);
/* Call fn in each place, tiers slowest first, threads 1 to MAX_THREADS, of a sample MAX_THREADS. */
void in_each_place(void (*fn)(const struct kern_place *p, void *arg), void *arg);

/* The row that serves float32 values there, or NULL; weight: dtype of the stored weight. */
const struct br_kernel *kernel_of(const struct kern_place *p, uint32_t op, uint32_t weight);
/* Run the call (op, n_in, in, out, attr are set); c->out is filled.  Scratch is as large as the
 * kernel asked for, filled with NaN, and checked for writes beyond it. */
void run_call(const struct kern_place *p, struct kern_call *c);
/* The same on a device of that tier and number of threads, at most MAX_ON, which stays open. */
#define MAX_ON 4
void run_call_on(const struct br__cpu_tier *tier, uint32_t threads, struct kern_call *c);

/* A contiguous tensor over the caller's memory. */
struct br_tensor kern_tensor(void *data, uint32_t dtype, uint32_t n_dim, const int64_t *shape);
/* A contiguous tensor of zeros, an allocation of exactly its size, so that the address sanitizer
 * sees a kernel that leaves it. */
struct br_tensor tensor(uint32_t dtype, uint32_t n_dim, const int64_t *shape);
#define TENSOR(dtype, ...)                                                                         \
    tensor(dtype, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                        \
           (const int64_t[]){__VA_ARGS__})
void tensor_free(struct br_tensor *t);
int64_t count(const struct br_tensor *t);
float *floats(const struct br_tensor *t);
int32_t *ints(const struct br_tensor *t);
/* The same values with `gap` elements of 0xFF bytes (NaN, -1) between the rows. */
struct br_tensor with_gaps(const struct br_tensor *t, int64_t gap);
/* Reproducible numbers of about normal distribution. */
void fill_random(struct br_tensor *t, uint32_t seed, float scale);
/* Uniform in -1 .. 1, the same on every machine. */
float kern_random(uint64_t *state);

#endif
