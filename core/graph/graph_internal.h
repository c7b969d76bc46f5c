/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* graph_internal.h - what the files of core/graph share: the shape rules and the kernel table. */
#ifndef BRIDGE_CORE_GRAPH_INTERNAL_H
#define BRIDGE_CORE_GRAPH_INTERNAL_H

#include "graph.h"

/* ---- ops.c: the shape rules of ops.def ------------------------------------------------------- */

enum br__op_kind { BR__OP_LEAF, BR__OP_VIEW, BR__OP_COMPUTE, BR__OP_COMM };
enum br__op_kind br__op_kind(uint32_t op);
struct br__op_row {
    const char *name;
    uint32_t min_in, max_in;
    /* Set dtype, shape, stride (of a view also base and offset) from op, in and attr. */
    int (*shape)(const struct br_graph *g, struct br__node *n, struct br_err *err);
};
extern const struct br__op_row br__ops[BR_N_OPS];

/* ---- grad.c ---------------------------------------------------------------------------------- */

int br__op_has_grad(uint32_t op);

/* ---- backend.c ------------------------------------------------------------------------------- */

/* The first row that fits, or NULL. */
const struct br_kernel *br__device_kernel(const struct br__device *d, uint32_t op,
                                          uint32_t weight_dtype);

#endif
