/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkernel.h - kernels called as the engine calls them, on every tier of this machine and on one
 * to three threads, or on the device that BRIDGE_TEST_DEVICE names.
 *
 * Each tensor is an allocation of its own, of exactly its size, so that the address sanitizer sees
 * a kernel that leaves it; scratch is as large as the kernel asked for and full of NaN. */
#ifndef LIBKERNEL_H
#define LIBKERNEL_H

#include "libkern.h"
#include <stdlib.h>

#define MAX_THREADS 3

struct kern_place {
    const char *tier;
    uint64_t features;
    uint32_t threads;
    void *device;
};

/* Call fn in each place, tiers slowest first, threads 1 to MAX_THREADS. */
void in_each_place(void (*fn)(const struct kern_place *p, void *arg), void *arg);

/* A contiguous tensor.  Its elements are zeros. */
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

/* The row that serves the call in that place, or NULL. */
const struct br_kernel *kernel_of(const struct kern_place *p, uint32_t op, uint32_t weight_dtype);
/* Run the call (op, n_in, in, out, attr are set); c->out is filled. */
void run_call(const struct kern_place *p, struct kern_call *c);

#endif
