/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* graph.h - the door of core/graph: tensor programs, their gradients, and the device that runs
 * them.
 *
 * A caller builds nodes, asks for gradients, plans memory and kernels for the outputs it wants,
 * fills inputs and runs.  This folder knows the ops of <bridge/ops.def>, shapes and backends; it
 * knows no model, no checkpoint and no plugin.
 *
 * A graph says what is computed, a program how on one kind of device, a frame where; a frame runs.
 */
#ifndef BRIDGE_CORE_GRAPH_H
#define BRIDGE_CORE_GRAPH_H

#include "../dist/dist.h"
#include <bridge/backend.h>
#include <bridge/graph.h>

/* ---- nodes ----------------------------------------------------------------------------------- */

/* The values of a PARAM, rows one after another.  A host device uses them where they lie, in `data`
 * or `parts`; any other gets a copy once, of what `bytes` makes, or of data or parts without it. */
struct br__stored {
    const void *data;         /* NULL if in parts, or only to be made */
    const void *const *parts; /* experts: one pointer per index of the first axis */
    uint32_t dtype, n_dim;
    int64_t shape[BR_VIEW_DIMS];
    struct br_source_bytes bytes; /* make may be NULL */
};
struct br__node {
    uint32_t op, n_in; /* enum br_op */
    br_val in[BR_MAX_IN];
    uint32_t dtype, n_dim;
    int64_t shape[BR_VIEW_DIMS], stride[BR_VIEW_DIMS];
    struct br_attr attr;
    br_val base;       /* a view: the node that owns the memory; else the node itself */
    br_val ragged;     /* the MOE_ROUTE that says how many of its rows there are; 0: all are */
    int64_t offset;    /* of a view: elements from the base's first */
    const char *name;  /* of an INPUT or STATE; of a PARAM for messages, or NULL */
    const float *data; /* of a CONST (arena) */
    const struct br__stored *stored; /* of a PARAM */
};
/* Nodes [from, to) whose values are not kept for a backward pass, which makes them again. */
struct br__segment {
    br_val from, to;
    int all; /* also those that nodes behind it use */
};
struct br_graph {
    struct br__arena arena;
    struct br__node *nodes; /* [0] is poison */
    size_t n, cap;
    struct br__segment *segments; /* in order; they do not meet */
    size_t n_segments, cap_segments;
    /* Where values are bfloat16: ops that this device has no kernel for are carried out in float32,
     * from values that are widened, and the result rounded.  NULL: they stay as they are. */
    const struct br__device *device;
    br_val *wide; /* [n_wide] the float32 value that a bfloat16 one was widened to; 0: none */
    size_t n_wide, cap_wide;
    /* Nodes from here on are run by themselves, later than those before, which other frames' runs
     * may part them from; 0: all at once. */
    br_val cut;
    uint32_t values;         /* BR_BF16: dtype of activations and of products of such; 0: float32 */
    struct br_err err;       /* sticky: code != 0 */
    struct br__build *build; /* what the layer builders know; NULL in a bare graph */
};

/* Add a node; its shape comes from the op's rule.  0 once the graph has failed. */
br_val br__op(struct br_graph *g, uint32_t op, const br_val *in, uint32_t n_in,
              const struct br_attr *attr);
/* BR__OP(g, MATMUL, attr or NULL, x, w) */
#define BR__OP(g, op, attr, ...)                                                                   \
    br__op(g, BR_OP_##op, (const br_val[]){__VA_ARGS__},                                           \
           (uint32_t)(sizeof((const br_val[]){__VA_ARGS__}) / sizeof(br_val)), attr)
/* Attributes by position: BR__I(i0, i1, i2), BR__F(f0), both: BR__IF(i0, f0). */
#define BR__I(...) (&(const struct br_attr){.i = {__VA_ARGS__}})
#define BR__F(x) (&(const struct br_attr){.f = {x}})
#define BR__IF(n, x) (&(const struct br_attr){.i = {n}, .f = {x}})
/* name is kept, not copied. */
br_val br__leaf(struct br_graph *g, uint32_t op, uint32_t dtype, const char *name, uint32_t n_dim,
                const int64_t *shape);
/* p must outlive the graph. */
br_val br__param_leaf(struct br_graph *g, const struct br__stored *p);
br_val br__const(struct br_graph *g, const float *v, int64_t n); /* copied; shape [n] */
br_val br__slice(struct br_graph *g, br_val x, int axis, int64_t from, int64_t n);
br_val br__reshape(struct br_graph *g, br_val x, uint32_t n_dim, const int64_t *shape);
#define BR__RESHAPE(g, x, ...)                                                                     \
    br__reshape(g, x, (uint32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),              \
                (const int64_t[]){__VA_ARGS__})
/* Whether the graph's device has a kernel for an op of x and a stored weight w. */
int br__graph_has(const struct br_graph *g, uint32_t op, br_val x, br_val w);
/* Ops that the device has one kernel for become one, in place: nodes that `outputs` need keep their
 * numbers and what they give.  After that no gradient can be asked for. */
int br__fuse(struct br_graph *g, const br_val *outputs, size_t n_outputs,
             struct br_err *err) BR_MUST_CHECK;
/* Node of a value; of poison, a node of no elements. */
const struct br__node *br__node(const struct br_graph *g, br_val v);
int64_t br__node_elems(const struct br__node *n);
/* Record the first error; returns 0 (poison). */
br_val br__graph_fail(struct br_graph *g, int code, const char *fmt, ...) BR_PRINTF(3, 4);
int br__graph_status(const struct br_graph *g, struct br_err *err); /* the sticky error */
void br__graph_free(struct br_graph *g);

/* A node like v, with the inputs in[n_in of v]. */
br_val br__clone(struct br_graph *g, br_val v, const br_val *in);
/* Nodes [from, to) become a segment: later gradients read clones of them, made from what entered
 * the segment, and the planner frees the values themselves as soon as the forward pass is through
 * with them.  What nodes behind the segment use of it is kept for their gradients unless `all`. */
void br__recompute(struct br_graph *g, br_val from, br_val to, int all);

/* ---- gradients ------------------------------------------------------------------------------- */

/* Where the walk back starts: a value and the gradient that it gets there, of its shape.  seed 0:
 * 1, for a loss of shape [1].  A root that is a SEND stands for the loss of a later pipeline stage:
 * its gradient is received. */
struct br__root {
    br_val v, seed;
};
/* A value whose gradient is wanted.  into: float32 room of its shape in a STATE, to which the
 * gradient is added where it is made; 0: the gradient is a value of its own. */
struct br__want {
    br_val leaf, into;
};
/* Append to the graph the gradients of the sum of all roots, each times its seed: out[i] is a value
 * of the shape of wants[i].leaf (with `into` that room, after all was added to it), or 0 if no root
 * depends on it. */
int br__grad(struct br_graph *g, const struct br__root *roots, size_t n_roots,
             const struct br__want *wants, size_t n, br_val *out, struct br_err *err) BR_MUST_CHECK;

/* ---- devices --------------------------------------------------------------------------------- */

/* Folders that are searched for bridge_<name>.so, in this order. */
struct br__dirs {
    const char **list;
    size_t n;
};
/* An open device, used by one thread at a time, with the memory that all graphs on it share. */
struct br__device {
    struct br_backend backend; /* as this build knows it: a shorter one is filled up with zeros */
    void *device;
    uint64_t features;
    const struct br_kernel *kernels; /* adopted rows */
    uint32_t n_kernels, n_threads;
    struct br__placed *placed; /* copies of weights, off the host */
    size_t n_placed, cap_placed, placed_bytes;
    void *work, *scratch; /* values of the run in progress, and what its kernels scribble on */
    size_t work_bytes, scratch_bytes;
    uint64_t generation; /* counts the moves of work and scratch */
};
/* name: "cpu", "auto" (best probe), or a backend's, whose file is looked for in `dirs`; its device
 * is number `rank`, of "name:2" number 2 + rank.  n_threads 0 = one per CPU. */
int br__device_open(struct br__device *d, const char *name, const struct br__dirs *dirs,
                    uint32_t rank, uint32_t n_threads, struct br_err *err) BR_MUST_CHECK;
void br__device_close(struct br__device *d);
/* Whether memory of the device is memory of the host. */
static inline int br__device_is_host(const struct br__device *d)
{
    return (d->backend.flags & BR_BACKEND_HOST) != 0;
}
uint64_t br__device_bytes(const struct br__device *d); /* work, scratch and weights that it holds */
/* Memory of the device, zeros; NULL if there is no more.  Of the host in large pages, taken as they
 * are written. */
void *br__device_alloc(struct br__device *d, size_t n);
void br__device_free(struct br__device *d, void *p); /* NULL is fine */
/* n bytes at `from` in the device's memory to the host's. */
int br__device_fetch(struct br__device *d, void *to, const void *from, size_t n,
                     struct br_err *err) BR_MUST_CHECK;
/* The bytes of a fetch that was begun (br_backend.fetched); `to` NULL: they are not wanted. */
int br__device_fetched(struct br__device *d, void *ticket, void *to, struct br_err *err);
/* Wait for all that was given to it. */
int br__device_sync(struct br__device *d, struct br_err *err) BR_MUST_CHECK;
/* The other way; `from` may change when it returns. */
int br__device_put(struct br__device *d, void *to, const void *from, size_t n,
                   struct br_err *err) BR_MUST_CHECK;
/* x[n] of the device as another dtype to memory of the device; float32, bfloat16 and float16. */
int br__device_cast(struct br__device *d, void *to, int to_dtype, const void *from, int from_dtype,
                    size_t n, struct br_err *err) BR_MUST_CHECK;
/* n bytes of the device for its next few calls, which need no scratch; the device's own. */
int br__device_room(struct br__device *d, size_t n, void **room, struct br_err *err) BR_MUST_CHECK;
/* Where the device's copy of a weight is, made of its bytes if there is none yet. */
int br__device_place(struct br__device *d, const struct br__stored *s, void **data,
                     struct br_err *err) BR_MUST_CHECK;
/* The same, but it is memory of the device that the caller has, until all copies are forgotten; of
 * a weight of which there is no copy yet. */
int br__device_lend(struct br__device *d, const struct br__stored *s, void *data,
                    struct br_err *err) BR_MUST_CHECK;
/* Forget all copies of weights.  No frame may be left that uses one. */
void br__device_drop_weights(struct br__device *d);
/* Run one op outside of any graph, on the device's memory: op, n_in, in, n_out, out and attr of the
 * call are set, shapes as ops.def has them.  BR_E_UNSUPPORTED: no kernel for these dtypes. */
int br__device_call(struct br__device *d, const struct br_call *c,
                    struct br_err *err) BR_MUST_CHECK;
/* The same without a wait: it is done before whatever the device is given next. */
int br__device_give(struct br__device *d, const struct br_call *c,
                    struct br_err *err) BR_MUST_CHECK;
/* Which stream the device's next calls go to; nothing where it has but one. */
int br__device_stream(struct br__device *d, enum br_which_stream which,
                      struct br_err *err) BR_MUST_CHECK;
/* Whether the GPU backend i, of those that "auto" tries, can be used here: its name, and in
 * `why` what it is or why not; NULL beyond the last.  Opens no device. */
const char *br__backend_state(size_t i, const struct br__dirs *dirs, int *usable, char *why,
                              size_t size);

/* ---- programs: which nodes run, by which kernels, where in memory ---------------------------- */

/* What `outputs` need of a graph, planned for a kind of device.  It holds no memory of the device
 * and no address, and does not change.  The graph and the device must outlive it. */
struct br__program;
/* BR_E_UNSUPPORTED names the ops that the device lacks. */
int br__program_make(struct br__program **out, const struct br_graph *g, const struct br__device *d,
                     const br_val *outputs, size_t n_outputs, struct br_err *err) BR_MUST_CHECK;
void br__program_free(struct br__program *p);
int br__program_runs(const struct br__program *p, br_val v); /* whether something runs for v */
/* What a frame of the program takes of a device with this number of threads: inputs, values and
 * scratch. */
int br__program_bytes(const struct br__program *p, struct br__device *d, uint64_t *bytes,
                      struct br_err *err) BR_MUST_CHECK;

/* last[v] of each node: the last step, counted from 1, that makes its memory's values, adds to them
 * or reads them; 0: none does. */
void br__program_last_steps(const struct br__program *p, size_t *last);

/* Of a graph with a cut: the bytes of what nodes behind it, or its reader, need of those before. */
size_t br__program_kept(const struct br__program *p);

/* ---- frames: a program's memory, and its run ------------------------------------------------- */

/* Inputs and states of its own; values lie in the device's work memory until the device's next run.
 * Nobody outside of this folder sees an address in memory of the device, but for states. */
struct br__frame;
/* comms[BR_N_GROUPS] may be NULL for a single rank. */
int br__frame_make(struct br__frame **out, const struct br__program *p, struct br__device *d,
                   struct br_comm *const *comms, struct br_err *err) BR_MUST_CHECK;
void br__frame_free(struct br__frame *f);
/* Host memory of an INPUT, to fill before a run; NULL if the graph has no such input (v is 0) or
 * needs it for none of its outputs (a stage without softmax attention needs no positions). */
void *br__frame_input(const struct br__frame *f, br_val v);
/* The memory of a STATE: of the device, the caller's, and perhaps shared by several graphs. */
void br__frame_bind(struct br__frame *f, br_val v, void *data);
/* Where a frame of a program with a cut keeps br__program_kept() bytes, of the device, from the run
 * of its first part to that of its second.  To be given before any run. */
void br__frame_keep(struct br__frame *f, void *memory);
/* To be called by whoever runs the frame, when step at[i] of the program (see
 * br__program_last_steps) is done, and before the next one. */
struct br__frame_hook {
    const size_t *at; /* [n] ascending */
    size_t n;
    int (*fn)(void *arg, size_t i, struct br_err *err);
    void *arg;
};
/* Of all runs until the next call; NULL: none.  h stays the caller's. */
void br__frame_hook(struct br__frame *f, const struct br__frame_hook *h);
/* All work is done when it returns. */
int br__frame_run(struct br__frame *f, struct br_err *err) BR_MUST_CHECK;
/* For devices with BR_BACKEND_AHEAD: a run that nobody waits for, and the backend's ticket of a
 * copy of v, contiguous, as it is then.  is_ahead: inputs are not brought to the device, where the
 * run before has left those of this one (ADVANCE). */
int br__frame_start(struct br__frame *f, br_val v, int is_ahead, void **ticket,
                    struct br_err *err) BR_MUST_CHECK;
/* Of a graph with a cut: the nodes before it (part 0), or those behind (1). */
int br__frame_run_part(struct br__frame *f, int part, struct br_err *err) BR_MUST_CHECK;
/* Values of an output (or an INPUT) after a run, rows one after another; floats as float32. */
int br__frame_read(const struct br__frame *f, br_val v, float *to,
                   struct br_err *err) BR_MUST_CHECK;
int br__frame_read_i32(const struct br__frame *f, br_val v, int32_t *to,
                       struct br_err *err) BR_MUST_CHECK;
/* In the dtype that they have. */
int br__frame_read_raw(const struct br__frame *f, br_val v, void *to,
                       struct br_err *err) BR_MUST_CHECK;
/* The same to memory of the device, in the order of what it is given; of a value whose rows follow
 * one another. */
int br__frame_copy(const struct br__frame *f, br_val v, void *to, struct br_err *err) BR_MUST_CHECK;
uint64_t br__frame_bytes(const struct br__frame *f); /* of its own: inputs and constants */

/* Where in x[n] the first number is that is NaN or infinite; n: nowhere. */
size_t br__first_not_finite(const float *x, size_t n);

#endif
