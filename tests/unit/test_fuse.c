/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_fuse.c - ops that stand for several: a graph gives the same before and after br__fuse, in
 * its results and its caches, on the device of BRIDGE_TEST_DEVICE.  A device without such ops
 * keeps its graphs as they are. */
#include "graph/graph_internal.h"
#include "libgolden.h"
#include "librun.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST 16
static struct br__device dev;

static void open_device(void)
{
    open_tested_device(&dev);
}

static void close_device(void)
{
    br__device_close(&dev);
}

/* ---- a graph, what it reads and what it remembers -------------------------------------------- */

struct bench {
    struct br_graph g;
    struct br__stored stored[MOST];
    br_val input[MOST], state[MOST];
    void *data[MOST], *memory[MOST];
    size_t n_stored, n_inputs, n_states, state_bytes[MOST];
    uint32_t seed;
    uint32_t weights; /* dtype of weights */
    int64_t T;
};

/* In -2 .. 2, with few enough bits that each is a bfloat16. */
static float next_value(struct bench *b)
{
    b->seed = b->seed * 1664525u + 1013904223u;
    return (float)((int)(b->seed >> 24) - 128) / 64;
}

static void *random_values(struct bench *b, size_t n, uint32_t dtype)
{
    float *x = malloc(n * sizeof *x);
    void *y = malloc(n * br_dtype_size((int)dtype));
    ck_assert(x && y);
    for (size_t i = 0; i < n; i++)
        x[i] = next_value(b);
    br_cast(y, (int)dtype, x, BR_F32, n, 0);
    free(x);
    return y;
}

static br_val keep_input(struct bench *b, br_val v, void *data)
{
    b->data[b->n_inputs] = data;
    return b->input[b->n_inputs++] = v;
}

/* [n, m] of the graph's dtype of values. */
static br_val values(struct bench *b, int64_t n, int64_t m)
{
    br_val v = keep_input(b, br__leaf(&b->g, BR_OP_INPUT, BR_F32, "x", 2, (const int64_t[]){n, m}),
                          random_values(b, (size_t)(n * m), BR_F32));
    return b->g.values ? BR__OP(&b->g, CAST, BR__I(BR_BF16), v) : v;
}

static br_val numbers(struct bench *b, int64_t n, int64_t m, const int32_t *v)
{
    const int64_t shape[2] = {n, m};
    size_t bytes = (size_t)(n * (m ? m : 1)) * sizeof *v;
    void *copy = malloc(bytes);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, v, bytes);
    return keep_input(b, br__leaf(&b->g, BR_OP_INPUT, BR_I32, "i", m ? 2 : 1, shape), copy);
}

static br_val weight(struct bench *b, uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br__stored *s = &b->stored[b->n_stored++];
    size_t n = 1;
    *s = (struct br__stored){.dtype = dtype, .n_dim = n_dim};
    for (uint32_t i = 0; i < n_dim; i++)
        n *= (size_t)(s->shape[i] = shape[i]);
    s->data = random_values(b, n, dtype);
    return br__param_leaf(&b->g, s);
}
#define MATRIX(b, n, m) weight(b, (b)->weights, 2, (const int64_t[]){n, m})
#define VECTOR(b, n) weight(b, BR_F32, 1, (const int64_t[]){n})

static br_val cache(struct bench *b, uint32_t dtype, int64_t rows, int64_t heads, int64_t d)
{
    size_t n = (size_t)(rows * heads * d);
    struct br_err err = BR_ERR_INIT;
    void *x = random_values(b, n, dtype);
    b->state_bytes[b->n_states] = n * br_dtype_size((int)dtype);
    void *p = br__device_alloc(&dev, b->state_bytes[b->n_states]);
    ck_assert_ptr_nonnull(p);
    must(dev.backend.upload(dev.device, p, x, b->state_bytes[b->n_states], &err), &err);
    free(x);
    b->memory[b->n_states] = p;
    return b->state[b->n_states++] =
               br__leaf(&b->g, BR_OP_STATE, dtype, "s", 3, (const int64_t[]){rows, heads, d});
}

static void free_bench(struct bench *b)
{
    for (size_t i = 0; i < b->n_inputs; i++)
        free(b->data[i]);
    for (size_t i = 0; i < b->n_stored; i++)
        free((void *)(uintptr_t)b->stored[i].data);
    for (size_t i = 0; i < b->n_states; i++)
        br__device_free(&dev, b->memory[i]);
    br__device_drop_weights(&dev);
    br__graph_free(&b->g);
}

/* ---- what is fused --------------------------------------------------------------------------- */

struct variant {
    const char *name;
    uint32_t values, weights;
    int64_t T, k;   /* rows, columns of x or channels of a head */
    int64_t flags;  /* of LINEAR; of HEADS: bit 0 norms, 1 plus one, 2 gates */
    int other_user; /* of the norm */
    double off;     /* relative L2 of the values; 0: the same bits */
};

/* Exact where values are float32. */
static const struct br_attr *product_of(const struct variant *v)
{
    static const struct br_attr exact = {.i = {BR_F32}}, rounded = {.i = {BR_BF16}};
    return v->values ? &rounded : &exact;
}

/* y = x w' with what the flags ask for around it. */
static br_val build_linear(struct bench *b, const struct variant *v)
{
    struct br_graph *g = &b->g;
    const int64_t n = 24;
    const int glu = (v->flags & BR_LINEAR_GLU) != 0;
    const struct br_attr norm = {.i = {(v->flags & BR_LINEAR_PLUS_ONE) != 0}, .f = {1e-5}};
    br_val x = values(b, v->T, v->k), normed = x;
    if (v->flags & BR_LINEAR_NORM)
        normed = BR__OP(g, RMSNORM, &norm, x, VECTOR(b, v->k));
    br_val y = BR__OP(g, MATMUL, product_of(v), normed, MATRIX(b, glu ? 2 * n : n, v->k));
    if (glu)
        y = BR__OP(g, SWIGLU, NULL, br__slice(g, y, 1, 0, n), br__slice(g, y, 1, n, n));
    if (v->flags & BR_LINEAR_BIAS)
        y = BR__OP(g, ADD_ROW, NULL, y, VECTOR(b, n));
    if (v->flags & BR_LINEAR_ADD)
        y = BR__OP(g, ADD, NULL, values(b, v->T, n), y);
    if (v->other_user)
        y = BR__OP(g, ADD, NULL, y, br__slice(g, normed, 1, 0, n));
    return y;
}

/* Two products of one norm, of which the second is exact, as a router's is. */
static br_val build_router(struct bench *b, const struct variant *v)
{
    struct br_graph *g = &b->g;
    br_val x = BR__OP(g, RMSNORM, BR__F(1e-6), values(b, v->T, v->k), VECTOR(b, v->k));
    br_val wide = v->values ? BR__OP(g, CAST, BR__I(BR_F32), x) : x;
    br_val a = BR__OP(g, MATMUL, BR__I(BR_F32), wide, MATRIX(b, 8, v->k));
    br_val c = BR__OP(g, MATMUL, product_of(v), x, MATRIX(b, 8, v->k));
    return BR__OP(g, CONCAT, NULL, a, v->values ? BR__OP(g, CAST, BR__I(BR_F32), c) : c);
}

static br_val head_part(struct bench *b, const struct variant *v, br_val x, br_val positions,
                        br_val inv_freq)
{
    const struct br_attr norm = {.i = {v->flags & 2 ? 1 : 0}, .f = {1e-6}};
    if (v->flags & 1)
        x = BR__OP(&b->g, RMSNORM, &norm, x, VECTOR(b, v->k));
    return BR__OP(&b->g, ROPE, BR__F(1.25), x, positions, inv_freq);
}

/* Tokens of two sequences, of which the last has no row in the cache. */
static br_val build_heads(struct bench *b, const struct variant *v)
{
    enum { HQ = 6, HK = 2, ROWS = 24 };
    static const float freq[] = {1, 0.25f, 0.0625f};
    static const int32_t positions[] = {5, 0, 1, 2}, rows[] = {5, 12, 13, -1},
                         seqs[] = {0, 1, 0, 6, 0, 1, 3, 12, 3, 1};
    struct br_graph *g = &b->g;
    const int gated = (v->flags & 4) != 0;
    const int64_t d = v->k, q_cols = HQ * d * (gated ? 2 : 1), T = 4;
    br_val y =
        BR__OP(g, MATMUL, product_of(v), values(b, T, 32), MATRIX(b, q_cols + 2 * HK * d, 32));
    br_val pos = numbers(b, T, 0, positions), inv = br__const(g, freq, 3);
    br_val at = numbers(b, T, 0, rows), gate = 0;
    br_val q = BR__RESHAPE(g, br__slice(g, y, 1, 0, q_cols), T, HQ, gated ? 2 * d : d);
    br_val k = BR__RESHAPE(g, br__slice(g, y, 1, q_cols, HK * d), T, HK, d);
    br_val w = BR__RESHAPE(g, br__slice(g, y, 1, q_cols + HK * d, HK * d), T, HK, d);
    if (gated) {
        gate = br__slice(g, q, 2, d, d);
        q = br__slice(g, q, 2, 0, d);
    }
    q = head_part(b, v, q, pos, inv);
    k = head_part(b, v, k, pos, inv);
    k = BR__OP(g, CACHE_WRITE, NULL, cache(b, BR_BF16, ROWS, HK, d), k, at);
    w = BR__OP(g, CACHE_WRITE, NULL, cache(b, BR_BF16, ROWS, HK, d), w, at);
    br_val o = BR__OP(g, ATTENTION, BR__F(0.5), q, k, w, numbers(b, 2, 5, seqs));
    return gated ? BR__OP(g, MUL, NULL, o, BR__OP(g, SIGMOID, NULL, gate)) : o;
}

#define SHARE_ALL 256
#define SOME 512
/* Routed experts and the residual: of all experts, or of some. */
static br_val build_experts(struct bench *b, const struct variant *v)
{
    enum { E = 12, K = 3, WIDTH = 24, H = 36 };
    struct br_graph *g = &b->g;
    const int64_t first = v->flags & SOME ? 3 : 0, n = v->flags & SOME ? 5 : E;
    br_val x = values(b, v->T, v->k), p;
    if (v->flags & BR_LINEAR_NORM)
        x = BR__OP(g, RMSNORM, BR__F(1e-6), x, VECTOR(b, v->k));
    br_val wide = v->values ? BR__OP(g, CAST, BR__I(BR_F32), x) : x;
    br_val logits = BR__OP(g, MATMUL, BR__I(BR_F32), wide, MATRIX(b, E, v->k));
    br_val idx = BR__OP(g, TOPK, BR__I(K), logits);
    if (v->flags & SHARE_ALL)
        p = BR__OP(g, GATHER_COLS, NULL, BR__OP(g, SOFTMAX, NULL, logits), idx);
    else
        p = BR__OP(g, SOFTMAX, NULL, BR__OP(g, GATHER_COLS, NULL, logits, idx));
    br_val sorted = BR__OP(g, MOE_SORT, BR__I(first, n), idx);
    br_val offsets = br__slice(g, sorted, 0, 0, n + 1);
    br_val order = br__slice(g, sorted, 0, n + 1, v->T * K);
    br_val rows = BR__OP(g, MOE_GATHER, BR__I(K), x, order);
    br_val up = weight(b, b->weights, 3, (const int64_t[]){n, 2 * WIDTH, v->k});
    br_val down = weight(b, b->weights, 3, (const int64_t[]){n, H, WIDTH});
    br_val y = BR__OP(g, GROUPED_MATMUL, product_of(v), rows, up, offsets);
    y = BR__OP(g, SWIGLU, NULL, br__slice(g, y, 1, 0, WIDTH), br__slice(g, y, 1, WIDTH, WIDTH));
    y = BR__OP(g, GROUPED_MATMUL, product_of(v), y, down, offsets);
    y = BR__OP(g, MOE_COMBINE, NULL, y, p, order);
    return v->flags & BR_LINEAR_ADD ? BR__OP(g, ADD, NULL, values(b, v->T, H), y) : y;
}

/* A token of each sequence, of which the first begins, the third has no state, and the
 * last is none. */
static br_val build_delta(struct bench *b, const struct variant *v)
{
    enum { HK = 2, PER = 2, HV = HK * PER, DV = 12, K = 4, SLOTS = 3 };
    static const int32_t seqs[] = {0, 1, 0, 1, 2, 1, 1, 9, 7, 0, 2, 1, 16, 4, 5, 3, 1, 20, 0, 2};
    struct br_graph *g = &b->g;
    const int64_t T = v->T, dk = v->k, block = 2 * dk + 2 * PER * DV;
    const int64_t channels = 2 * HK * dk + HV * DV;
    br_val y =
        BR__OP(g, MATMUL, product_of(v), values(b, T, 32), MATRIX(b, HK * (block + 2 * PER), 32));
    br_val all = BR__RESHAPE(g, br__slice(g, y, 1, 0, HK * block), T, HK, block);
    br_val ba = BR__RESHAPE(g, br__slice(g, y, 1, HK * block, 2 * HV), T, HK, 2 * PER);
    br_val beta = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, 0, PER));
    br_val a = BR__OP(g, CONCAT, NULL, br__slice(g, ba, 2, PER, PER));
    br_val x = BR__OP(g, CONCAT, NULL, br__slice(g, all, 2, 0, dk), br__slice(g, all, 2, dk, dk),
                      br__slice(g, all, 2, 2 * dk, PER * DV));
    br_val of = numbers(b, T, 5, seqs);
    x = BR__OP(g, CONV1D_SILU, NULL, x, weight(b, BR_F32, 2, (const int64_t[]){channels, K}), of,
               cache(b, BR_F32, SLOTS, K - 1, channels));
    br_val q = BR__RESHAPE(g, br__slice(g, x, 1, 0, HK * dk), T, HK, dk);
    br_val k = BR__RESHAPE(g, br__slice(g, x, 1, HK * dk, HK * dk), T, HK, dk);
    br_val w = BR__RESHAPE(g, br__slice(g, x, 1, 2 * HK * dk, HV * DV), T, HV, DV);
    br_val decay = BR__OP(g, GDN_DECAY, NULL, a, VECTOR(b, HV), VECTOR(b, HV));
    br_val state = cache(b, BR_F32, SLOTS, HV, dk * DV);
    b->g.nodes[state].n_dim = 4;
    const int64_t shape[4] = {SLOTS, HV, dk, DV}, stride[4] = {HV * dk * DV, dk * DV, DV, 1};
    memcpy(b->g.nodes[state].shape, shape, sizeof shape);
    memcpy(b->g.nodes[state].stride, stride, sizeof stride);
    return BR__OP(g, DELTA_RULE, BR__F(0.25), BR__OP(g, L2NORM, BR__F(1e-6), q),
                  BR__OP(g, L2NORM, BR__F(1e-6), k), w, decay, BR__OP(g, SIGMOID, NULL, beta), of,
                  state);
}

#define NORM BR_LINEAR_NORM
#define ONE BR_LINEAR_PLUS_ONE
#define BF BR_BF16
/* An op that stands for several has rows here. */
static const struct fusion {
    uint32_t op;
    br_val (*build)(struct bench *b, const struct variant *v);
    uint32_t n; /* how many of them there are then */
    struct variant v;
} fusions[] = {
    {BR_OP_LINEAR, build_linear, 1, {"norm", BF, BF, 1, 64, NORM, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"norm of long rows", BF, BF, 3, 1104, NORM | ONE, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"norm, exact", 0, BR_F32, 2, 20, NORM, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"gate", BF, BF, 8, 32, NORM | BR_LINEAR_GLU, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"gate, exact", 0, BF, 1, 28, BR_LINEAR_GLU, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"bias", BF, BR_F16, 1, 32, NORM | BR_LINEAR_BIAS, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"residual", BF, BF, 5, 40, BR_LINEAR_ADD, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"residual, exact", 0, BR_F32, 1, 256, BR_LINEAR_ADD, 0, 0}},
    {BR_OP_LINEAR, build_linear, 0, {"too many rows", BF, BF, 9, 32, NORM | BR_LINEAR_GLU, 0, 0}},
    {BR_OP_LINEAR, build_linear, 0, {"a norm too large", 0, BF, 8, 2056, NORM, 0, 0}},
    {BR_OP_LINEAR, build_linear, 1, {"a norm used elsewhere", BF, BF, 2, 32, NORM, 1, 0}},
    {BR_OP_LINEAR, build_router, 2, {"router", BF, BF, 3, 48, 0, 0, 0}},
    {BR_OP_LINEAR, build_router, 2, {"router, exact", 0, BF, 2, 48, 0, 0, 0}},
    {BR_OP_HEADS, build_heads, 1, {"heads", BF, BF, 4, 6, 0, 0, 0}},
    {BR_OP_HEADS, build_heads, 1, {"heads with norms", BF, BF, 4, 16, 1, 0, 0}},
    {BR_OP_HEADS, build_heads, 1, {"heads with norms and gates", BF, BF, 4, 40, 1 | 2 | 4, 0, 0}},
    {BR_OP_HEADS, build_heads, 1, {"heads, float32", 0, BF, 4, 8, 1, 0, 0}},
    {BR_OP_ROUTE_SHARE, build_experts, 1, {"shares", BF, BF, 3, 48, NORM, 0, 3e-4}},
    {BR_OP_ROUTE_SHARE, build_experts, 1, {"shares of all", 0, BF, 8, 24, SHARE_ALL, 0, 3e-6}},
    {BR_OP_ROUTE_SORT, build_experts, 1, {"sorting some", BF, BF, 5, 32, NORM | SOME, 0, 3e-4}},
    {BR_OP_EXPERTS_UP, build_experts, 1, {"up", BF, BF, 1, 64, NORM, 0, 3e-4}},
    {BR_OP_EXPERTS_UP, build_experts, 1, {"up, exact", 0, BR_F32, 4, 20, NORM | SOME, 0, 3e-6}},
    {BR_OP_EXPERTS_UP, build_experts, 0, {"too many tokens", BF, BF, 9, 32, NORM, 0, 0}},
    {BR_OP_EXPERTS_DOWN, build_experts, 1, {"down", BF, BR_F16, 8, 32, 0, 0, 3e-4}},
    {BR_OP_EXPERTS_DOWN, build_experts, 1, {"down, a sum", BF, BF, 2, 32, BR_LINEAR_ADD, 0, 3e-4}},
    {BR_OP_GDN_STEP, build_delta, 1, {"delta net", BF, BF, 4, 16, 0, 0, 0}},
    {BR_OP_GDN_STEP, build_delta, 1, {"delta net, exact", 0, BF, 2, 40, 0, 0, 0}},
};

/* ---- before and after ------------------------------------------------------------------------ */

struct outcome {
    float *y;
    size_t n;
    unsigned char *states;
    uint32_t steps, fused; /* nodes that run, and those of the op */
};

static void run_program(struct bench *b, const struct br__program *p, br_val y, struct outcome *out)
{
    struct br_err err = BR_ERR_INIT;
    struct br__frame *f;
    must(br__frame_make(&f, p, &dev, NULL, &err), &err);
    for (size_t i = 0; i < b->n_states; i++)
        br__frame_bind(f, b->state[i], b->memory[i]);
    for (size_t i = 0; i < b->n_inputs; i++) {
        void *to = br__frame_input(f, b->input[i]);
        ck_assert_ptr_nonnull(to);
        memcpy(to, b->data[i], (size_t)br__node_elems(br__node(&b->g, b->input[i])) * 4);
    }
    must(br__frame_run(f, &err), &err);
    out->n = (size_t)br__node_elems(br__node(&b->g, y));
    out->y = malloc(out->n * sizeof *out->y);
    must(br__frame_read(f, y, out->y, &err), &err);
    br__frame_free(f);
}

static size_t fetch_states(const struct bench *b, unsigned char **to)
{
    struct br_err err = BR_ERR_INIT;
    size_t n = 0;
    for (size_t i = 0; i < b->n_states; i++)
        n += b->state_bytes[i];
    *to = malloc(n + 1);
    for (size_t i = 0, at = 0; i < b->n_states; at += b->state_bytes[i++])
        must(br__device_fetch(&dev, *to + at, b->memory[i], b->state_bytes[i], &err), &err);
    return n;
}

static size_t run_fusion(const struct fusion *x, int fuse, struct outcome *out)
{
    struct br_err err = BR_ERR_INIT;
    struct bench b = {.g = {.device = &dev, .values = x->v.values},
                      .weights = x->v.weights,
                      .T = x->v.T,
                      .seed = 7};
    struct br__program *p;
    br_val y = x->build(&b, &x->v);
    must(br__graph_status(&b.g, &err), &err);
    if (fuse)
        must(br__fuse(&b.g, &y, 1, &err), &err);
    must(br__program_make(&p, &b.g, &dev, &y, 1, &err), &err);
    *out = (struct outcome){0};
    for (br_val v = 1; v < b.g.n; v++) {
        out->steps += br__program_runs(p, v) != 0;
        out->fused += br__program_runs(p, v) && br__node(&b.g, v)->op == x->op;
    }
    run_program(&b, p, y, out);
    size_t n = fetch_states(&b, &out->states);
    br__program_free(p);
    free_bench(&b);
    return n;
}

static double off_by(const float *got, const float *want, size_t n)
{
    double diff = 0, norm = 0;
    if (memcmp(got, want, n * sizeof *got) == 0)
        return 0;
    for (size_t i = 0; i < n; i++) {
        diff += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    return diff > 0 ? sqrt(diff / norm) : 0; /* 0 and -0 */
}

static int has_op(uint32_t op)
{
    const struct br__kernel_key key = {op, BR_BF16, BR_F32};
    return br__device_kernel(&dev, key) != NULL;
}

START_TEST(same_values)
{
    const struct fusion *x = &fusions[_i];
    struct outcome apart, one;
    open_device();
    (void)run_fusion(x, 0, &apart);
    size_t n = run_fusion(x, 1, &one);
    ck_assert_uint_eq(apart.fused, 0);
    ck_assert_msg(one.fused == (has_op(x->op) ? x->n : 0), "%s: %u ops", x->v.name, one.fused);
    ck_assert_msg(one.fused ? one.steps < apart.steps : one.steps == apart.steps,
                  "%s: %u steps of %u", x->v.name, one.steps, apart.steps);
    ck_assert_msg(off_by(one.y, apart.y, one.n) <= x->v.off, "%s: off by %g", x->v.name,
                  off_by(one.y, apart.y, one.n));
    ck_assert_msg(memcmp(apart.states, one.states, n) == 0, "%s: another cache", x->v.name);
    free(apart.y);
    free(apart.states);
    free(one.y);
    free(one.states);
    close_device();
}
END_TEST

START_TEST(each_op_is_here)
{
    for (uint32_t op = 0; op < BR_N_OPS; op++) {
        int is_here = !br__is_fused(op);
        for (size_t i = 0; i < BR_COUNTOF(fusions); i++)
            is_here |= fusions[i].op == op && fusions[i].n > 0;
        ck_assert_msg(is_here, "%s is in no row of fusions", br__ops[op].name);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("fuse");
    TCase *t = tcase_create("fuse");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, same_values, 0, (int)BR_COUNTOF(fusions));
    tcase_add_test(t, each_op_is_here);
    suite_add_tcase(s, t);
    return run_suite(s);
}
