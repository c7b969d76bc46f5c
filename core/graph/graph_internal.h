/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* graph_internal.h - what the files of core/graph share: the shape rules and the kernel table. */
#ifndef BRIDGE_CORE_GRAPH_INTERNAL_H
#define BRIDGE_CORE_GRAPH_INTERNAL_H

#include "graph.h"

/* ---- ops.c: the shape rules of ops.def ------------------------------------------------------- */

enum br__op_kind { BR__OP_LEAF, BR__OP_VIEW, BR__OP_COMPUTE, BR__OP_COMM };
enum br__op_kind br__op_kind(uint32_t op);
/* Column six of ops.def: the input that is a stored weight. */
enum br__weight { BR__WEIGHT_in0, BR__WEIGHT_in1, BR__WEIGHT_none };
/* Column seven: where the result's dtype comes from. */
enum br__value {
    BR__VALUE_own,
    BR__VALUE_view,
    BR__VALUE_in0,
    BR__VALUE_act,
    BR__VALUE_prod,
    BR__VALUE_f32,
    BR__VALUE_f64,
    BR__VALUE_i32
};
struct br__op_row {
    const char *name;
    uint32_t min_in, max_in;
    /* Set dtype, shape, stride (of a view also base and offset) from op, in and attr. */
    int (*shape)(const struct br_graph *g, struct br__node *n, struct br_err *err);
    enum br__weight weight;
    enum br__value value;
};
extern const struct br__op_row br__ops[BR_N_OPS];
static inline int br__is_step(uint32_t op) /* something runs: a kernel or a collective */
{
    return br__op_kind(op) == BR__OP_COMPUTE || br__op_kind(op) == BR__OP_COMM;
}

/* One that stands for several (fuse.c). */
static inline int br__is_fused(uint32_t op)
{
    return op >= BR_OP_LINEAR && op <= BR_OP_GDN_STEP;
}

/* ---- grad.c ---------------------------------------------------------------------------------- */

int br__op_has_grad(uint32_t op);

/* ---- backend.c ------------------------------------------------------------------------------- */

/* What chooses the kernel of a step. */
struct br__kernel_key {
    uint32_t op;
    int weight; /* dtype of the stored weight; BR_NONE: there is none */
    int value;  /* dtype of the other floats */
};
/* The first row that fits, or NULL. */
const struct br_kernel *br__device_kernel(const struct br__device *d, struct br__kernel_key key);

/* Of an op with inputs and a result of these dtypes. */
struct br__kernel_key br__kernel_key(uint32_t op, const uint32_t *in, uint32_t n_in, uint32_t out);

/* ---- device.c: memory that the graphs of a device share -------------------------------------- */

struct br__placed {
    const struct br__stored *stored;
    void *data;
    int is_lent; /* it is the caller's */
};
/* At least that much work memory and scratch.  What is in them is lost if they have to grow. */
int br__device_reserve(struct br__device *d, size_t work, size_t scratch,
                       struct br_err *err) BR_MUST_CHECK;
void br__device_release(struct br__device *d); /* all of it */

/* ---- program.c ------------------------------------------------------------------------------- */

struct br__step {
    const struct br_kernel *kernel; /* NULL: a collective */
    br_val node;
};
struct br__program {
    const struct br_graph *g;
    uint8_t *needed; /* [g->n] */
    br_val *last;    /* [g->n] of an owner of memory: its last user; UINT32_MAX = until the end */
    size_t *offset;  /* [g->n] bytes: of a step's value in work memory, of an INPUT or CONST in a
                        frame */
    uint8_t *kept; /* [g->n] of an owner: it lies in the frame's kept memory, not in work memory */
    struct br__step *steps;
    size_t n_steps, n_first; /* n_first: steps before the cut, or all */
    size_t work_bytes, kept_bytes, input_bytes, const_bytes, align;
    struct br__free_block { /* of work memory, while planning */
        size_t from, n;
    } * gaps;
    size_t n_gaps, cap_gaps;
};
size_t br__node_bytes(const struct br__program *p, const struct br__node *n); /* aligned */
int br__node_contiguous(const struct br__node *n);

#endif
