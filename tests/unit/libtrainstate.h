/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtrainstate.h - what the tests of Megatron's training checkpoints share.
 *
 * The cases of data/torch_dist_train of one family are independent runs of the same three steps on
 * other grids, so their optimizer states are equal bit for bit. */
#ifndef BRIDGE_TEST_LIBTRAINSTATE_H
#define BRIDGE_TEST_LIBTRAINSTATE_H

#include "libgolden.h"

#define TRAIN_CASES BRIDGE_TEST_DATA "/torch_dist_train/"

struct br__ckpt *open_case(const char *name);
struct br__train_state *open_state(const struct br__ckpt *ck);
uint64_t state_elements(const struct br__train_param *p);
/* All elements of one kind of parameter i; free() them. */
float *read_state(const struct br__train_state *s, size_t i, int kind);
/* The parameter whose weight has that name; the test fails if there is none. */
size_t find_state(const struct br__train_state *s, const char *name);
uint64_t round_up(uint64_t n, uint64_t to); /* to a multiple */

#endif
