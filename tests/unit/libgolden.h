/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libgolden.h - what tests of the engine share: fixture models and the results that transformers
 * wrote for them. */
#ifndef BRIDGE_TEST_LIBGOLDEN_H
#define BRIDGE_TEST_LIBGOLDEN_H

#include "../../core/engine/engine.h"
#include <check.h>

#define HF BRIDGE_TEST_DATA "/hf/"
#define HF_GOLDEN BRIDGE_TEST_DATA "/hf_golden/"

/* The test fails with the error's text. */
void must(int rc, const struct br_err *err);
/* The device of BRIDGE_TEST_DEVICE, by TEST_THREADS threads; br__device_close closes it. */
void open_tested_device(struct br__device *d);

/* Tolerances of the fixtures (measured against float64 there). */
struct tolerance {
    double logits, grads;
};
struct tolerance tolerance_of(const char *model);

/* A safetensors file of goldens. */
struct golden_file {
    struct br__arena arena;
    struct br__file file;
    struct br__st_entry *entries;
    size_t n;
    uint64_t data;
};
struct golden_file open_golden(const char *root, const char *model, const char *name);
void close_golden(struct golden_file *g);
const float *golden(const struct golden_file *g, const char *name, size_t *n); /* NULL: has none */
/* golden.json of a model. */
br__json *open_json(const char *root, const char *model);
int64_t ids_of(const br__json *j, const char *key, int32_t *ids, int64_t max);

/* Threads of a model in tests, on every machine: a barrier of hundreds of threads on few CPUs takes
 * milliseconds, and a graph has as many barriers as kernels.  test_engine_modes has more. */
#define TEST_THREADS 2
struct br__llm *open_model(const char *dir, const char *adapter, int merge); /* float32 */
void trace(struct br__llm *m, const int32_t *ids, int64_t n, unsigned flags, struct br__trace *t);

double max_diff(const float *a, const float *b, size_t n);
double rel_l2(const float *a, const float *b,
              size_t n); /* of a - b to b; absolute where b is zero */

#endif
