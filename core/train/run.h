/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* run.h - what run.c and run_data.c share: reading a recipe's values. */
#ifndef BRIDGE_CORE_TRAIN_RUN_H
#define BRIDGE_CORE_TRAIN_RUN_H

#include "train.h"

struct br__run_maker {
    struct br__arena *a;
    struct br__registry *registry;
    struct br__recipe *r;
    const struct br__run_opts *o;
    struct br__run *out;
    struct br_err *err;
    int failed; /* of memory, sticky */
};
/* The value of a key, which then had a say. */
const struct br__recipe_value *br__run_get(struct br__run_maker *k, uint32_t id);
int64_t br__run_int(struct br__run_maker *k, uint32_t id, int64_t dflt);
double br__run_float(struct br__run_maker *k, uint32_t id, double dflt);
const char *br__run_text(struct br__run_maker *k, uint32_t id); /* NULL: null or absent */
/* Elements of a list as texts; NULL and 0 if there is none. */
const char **br__run_list(struct br__run_maker *k, uint32_t id, size_t *n);
const char *br__run_printf(struct br__run_maker *k, const char *fmt, ...) BR_PRINTF(2, 3);
void br__run_note(struct br__run_maker *k, const char *fmt, ...) BR_PRINTF(2, 3);
/* run_data.c: k->out->data, and the tokenizer's settings are there already. */
int br__run_make_data(struct br__run_maker *k) BR_MUST_CHECK;

int br__run_has_adapters(const struct br__run *r);
/* Samples of the step that begins after `consumed` samples: the batch may grow at first. */
int64_t br__run_batch(const struct br__run *r, int64_t consumed);

#endif
