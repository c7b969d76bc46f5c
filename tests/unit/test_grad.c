/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_grad.c - every gradient rule of ops.def against finite differences.
 *
 * A row makes a small example of an op.  The loss is the sum of the op's result times fixed random
 * numbers; the derivative along a random direction of each input must be what the rule says. */
#include "graph/graph_internal.h"
#include "libgolden.h"
#include "librun.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEP 4e-3
#define TOLERANCE 4e-3 /* of |gradient| * |direction|: float32 differences of float32 sums */
#define MAX_INPUTS 7
#define MAX_ELEMS 512

/* An input: float32 to differentiate (d), float32 not (c), or integers (i) from a generator. */
struct example_in {
    char kind;
    int n_dim;
    int64_t shape[3];
    int (*make)(int i); /* integer i */
    float low, high;    /* floats; both 0: -1 to 1 */
};
struct example {
    uint32_t op;
    struct example_in in[MAX_INPUTS];
    struct br_attr attr;
    int n_dim; /* RESHAPE: wanted shape */
    int64_t shape[3];
};

static int two_sequences(int i) /* seqs of 6 rows: 4 and 2 */
{
    static const int v[] = {0, 4, 0, 4, 0, 4, 2, 4, 2, 1};
    return v[i];
}
static int id_of(int i)
{
    return (i * 5 + 1) % 7;
}
static int position(int i)
{
    return i * 3;
}
static int choice(int i) /* [6, 2] experts of 4, two different ones a row */
{
    return (i / 2 + (i % 2) * (1 + i / 2 % 3)) % 4;
}
/* order of slots by expert for choice(): MOE_SORT's result, by counting. */
static int order(int r)
{
    for (int e = 0, k = 0; e < 4; e++)
        for (int s = 0; s < 12; s++)
            if (choice(s) == e && k++ == r)
                return s;
    return -1;
}
static int offset(int e)
{
    int n = 0;
    for (int s = 0; s < 12; s++)
        n += choice(s) < e;
    return n;
}
static int label(int i)
{
    return i == 1 ? -1 : (i * 3) % 5;
}

#define D2(a, b)                                                                                   \
    {                                                                                              \
        'd', 2, {a, b}, NULL, 0, 0                                                                 \
    }
#define D1(a)                                                                                      \
    {                                                                                              \
        'd', 1, {a}, NULL, 0, 0                                                                    \
    }
#define D3(a, b, c)                                                                                \
    {                                                                                              \
        'd', 3, {a, b, c}, NULL, 0, 0                                                              \
    }
#define I1(a, f)                                                                                   \
    {                                                                                              \
        'i', 1, {a}, f, 0, 0                                                                       \
    }
#define I2(a, b, f)                                                                                \
    {                                                                                              \
        'i', 2, {a, b}, f, 0, 0                                                                    \
    }
#define SEQS I2(2, 5, two_sequences)
#define F32A                                                                                       \
    {                                                                                              \
        .i = { BR_F32 }                                                                            \
    }

static const struct example examples[] = {
    {BR_OP_SLICE, {D2(5, 6)}, {.i = {1, 2, 3}}, 0, {0}},
    {BR_OP_SLICE, {D3(4, 2, 6)}, {.i = {2, 1, 4}}, 0, {0}},
    {BR_OP_SLICE, {D2(5, 6)}, {.i = {0, 1, 3}}, 0, {0}},
    {BR_OP_RESHAPE, {D2(4, 6)}, {.i = {0}}, 3, {4, 2, 3}},
    {BR_OP_MATMUL, {D2(5, 8), D2(6, 8)}, F32A, 0, {0}},
    {BR_OP_GROUPED_MATMUL, {D2(12, 5), D3(4, 3, 5), I1(5, offset)}, F32A, 0, {0}},
    {BR_OP_EMBED, {D2(7, 5), I1(6, id_of)}, {.i = {0}}, 0, {0}},
    {BR_OP_GATHER_ROWS, {D2(7, 5), I1(4, id_of)}, {.i = {0}}, 0, {0}},
    {BR_OP_CONCAT, {D2(4, 3), D3(4, 2, 3), D2(4, 1)}, {.i = {0}}, 0, {0}},
    {BR_OP_INTERLEAVE, {D2(6, 3)}, {.i = {2}}, 0, {0}},
    {BR_OP_DEINTERLEAVE, {D2(3, 6)}, {.i = {2}}, 0, {0}},
    {BR_OP_ADD, {D2(3, 5), D2(3, 5)}, {.i = {0}}, 0, {0}},
    {BR_OP_MUL, {D2(3, 5), D2(3, 5)}, {.i = {0}}, 0, {0}},
    {BR_OP_SCALE, {D2(3, 5)}, {.f = {1.7}}, 0, {0}},
    {BR_OP_ADD_ROW, {D2(4, 5), D1(5)}, {.i = {0}}, 0, {0}},
    {BR_OP_MUL_ROW, {D2(4, 5), D1(5)}, {.i = {0}}, 0, {0}},
    {BR_OP_SUM_ROWS, {D2(4, 5)}, {.i = {0}}, 0, {0}},
    {BR_OP_FILL_ROWS, {D1(5)}, {.i = {3}}, 0, {0}},
    {BR_OP_MUL_COL, {D2(4, 5), D2(4, 1)}, {.i = {0}}, 0, {0}},
    {BR_OP_DOT_ROWS, {D2(4, 5), D2(4, 5)}, {.i = {0}}, 0, {0}},
    {BR_OP_SWIGLU, {D2(4, 9), D2(4, 9)}, {.i = {0}}, 0, {0}},
    {BR_OP_SIGMOID, {D2(4, 9)}, {.i = {0}}, 0, {0}},
    {BR_OP_SOFTMAX, {D2(4, 9)}, {.i = {0}}, 0, {0}},
    {BR_OP_RMSNORM, {D2(4, 9), D1(9)}, {.f = {1e-6}}, 0, {0}},
    {BR_OP_RMSNORM, {D3(3, 2, 8), D1(8)}, {.i = {1}, .f = {1e-6}}, 0, {0}},
    {BR_OP_L2NORM, {D3(3, 2, 8)}, {.f = {1e-6}}, 0, {0}},
    {BR_OP_ROPE,
     {D3(4, 2, 8), I1(4, position), {'c', 1, {3}, NULL, 0.1f, 1.0f}},
     {.f = {1.3}},
     0,
     {0}},
    {BR_OP_ATTENTION, {D3(6, 4, 8), D3(6, 2, 8), D3(6, 2, 8), SEQS}, {.f = {0.5}}, 0, {0}},
    {BR_OP_ATTENTION,
     {D3(6, 2, 8), D3(6, 2, 8), D3(6, 2, 8), SEQS},
     {.i = {2}, .f = {0.5}},
     0,
     {0}},
    {BR_OP_GATHER_COLS, {D2(6, 4), I2(6, 2, choice)}, {.i = {0}}, 0, {0}},
    {BR_OP_MOE_GATHER, {D2(6, 5), I1(12, order)}, {.i = {2}}, 0, {0}},
    {BR_OP_MOE_GATHER_GRAD, {D2(12, 5), I1(12, order)}, {.i = {2, 6}}, 0, {0}},
    {BR_OP_MOE_COMBINE, {D2(12, 5), D2(6, 2), I1(12, order)}, {.i = {0}}, 0, {0}},
    {BR_OP_CONV1D_SILU, {D2(6, 9), D2(9, 4), SEQS}, {.i = {0}}, 0, {0}},
    {BR_OP_GDN_DECAY, {D2(5, 3), D1(3), D1(3)}, {.i = {0}}, 0, {0}},
    {BR_OP_DELTA_RULE,
     {D3(6, 2, 4),
      D3(6, 2, 4),
      D3(6, 4, 4),
      {'d', 2, {6, 4}, NULL, -1.0f, -0.1f},
      {'d', 2, {6, 4}, NULL, 0.1f, 0.9f},
      SEQS},
     {.f = {0.5}},
     0,
     {0}},
    {BR_OP_CROSS_ENTROPY, {D2(4, 5), I1(4, label)}, {.i = {0}}, 0, {0}},
    {BR_OP_CAST, {D2(3, 5)}, F32A, 0, {0}},
    {BR_OP_LOG_SUM_EXP, {D2(4, 9)}, {.i = {0}}, 0, {0}},
    {BR_OP_DROPOUT, {D2(6, 9), I1(2, position)}, {.i = {5}, .f = {0.4}}, 0, {0}},
    {BR_OP_DROPOUT,
     {D2(6, 9), I1(2, position), {'c', 2, {6, 2}, NULL, 0.0f, 9.0f}},
     {.i = {5}, .f = {0.4}},
     0,
     {0}},
    {BR_OP_LM_HEAD_LOSS, {D2(4, 6), D2(5, 6), I1(4, label)}, F32A, 0, {0}},
};

static struct br__device dev;

static uint32_t state;
static float uniform(float low, float high)
{
    state = state * 1664525 + 1013904223;
    return low + (high - low) * (float)(state >> 8) / (float)(1 << 24);
}

static void fill(const struct example_in *e, br_val v, const struct br__frame *x,
                 const struct br_graph *g)
{
    void *p = br__frame_input(x, v);
    int64_t n = br__node_elems(br__node(g, v));
    int is_default = e->low == 0 && e->high == 0;
    for (int64_t i = 0; i < n; i++)
        if (e->kind == 'i')
            ((int32_t *)p)[i] = e->make((int)i);
        else
            ((float *)p)[i] = is_default ? uniform(-1, 1) : uniform(e->low, e->high);
}

/* loss = sum(y * weights); y may be of any shape. */
static br_val weighted_sum(struct br_graph *g, br_val y)
{
    float w[MAX_ELEMS];
    int64_t n = br__node_elems(br__node(g, y));
    ck_assert_int_le(n, MAX_ELEMS);
    for (int64_t i = 0; i < n; i++)
        w[i] = uniform(-1, 1);
    const struct br__node *node = br__node(g, y);
    int64_t shape[BR_VIEW_DIMS];
    uint32_t n_dim = node->n_dim;
    memcpy(shape, node->shape, sizeof shape);
    if (br__node(g, y)->base != y) /* a view: make it contiguous by adding zeros */
        y = BR__OP(g, SCALE, BR__F(1), y);
    (void)n_dim;
    br_val dot = BR__OP(g, DOT_ROWS, NULL, BR__RESHAPE(g, y, 1, n),
                        BR__RESHAPE(g, br__const(g, w, n), 1, n));
    return BR__RESHAPE(g, dot, 1);
}

static double loss_of(struct br__frame *x, br_val loss)
{
    struct br_err err = BR_ERR_INIT;
    must(br__frame_run(x, &err), &err);
    float value;
    must(br__frame_read(x, loss, &value, &err), &err);
    return value;
}

/* The derivative along a random direction, by differences and by the gradient. */
static void check_input(struct br__frame *x, const struct br_graph *g, br_val in, br_val grad,
                        br_val loss, const char *op, int which)
{
    float *p = br__frame_input(x, in), keep[MAX_ELEMS], d[MAX_ELEMS], dx[MAX_ELEMS];
    int64_t n = br__node_elems(br__node(g, in));
    double along = 0, norm_d = 0, norm_g = 0;
    (void)loss_of(x, loss);
    struct br_err err = BR_ERR_INIT;
    must(br__frame_read(x, grad, dx, &err), &err);
    for (int64_t i = 0; i < n; i++) {
        d[i] = uniform(-1, 1);
        along += (double)dx[i] * d[i];
        norm_d += (double)d[i] * d[i];
        norm_g += (double)dx[i] * dx[i];
    }
    memcpy(keep, p, (size_t)n * sizeof *p);
    double l[2];
    for (int s = 0; s < 2; s++) {
        for (int64_t i = 0; i < n; i++)
            p[i] = keep[i] + (float)(s ? -STEP : STEP) * d[i];
        l[s] = loss_of(x, loss);
    }
    memcpy(p, keep, (size_t)n * sizeof *p);
    double differences = (l[0] - l[1]) / (2 * STEP), scale = sqrt(norm_d * norm_g);
    ck_assert_msg(norm_g > 1e-8, "%s: the gradient of input %d is zero", op, which);
    ck_assert_msg(fabs(differences - along) <= TOLERANCE * scale,
                  "%s: input %d: differences give %g, the rule %g (scale %g)", op, which,
                  differences, along, scale);
}

static br_val example_node(struct br_graph *g, const struct example *e, br_val *in, uint32_t n)
{
    if (e->op == BR_OP_RESHAPE)
        return br__reshape(g, in[0], (uint32_t)e->n_dim, e->shape);
    if (e->op == BR_OP_LM_HEAD_LOSS) /* whose last input is what another op makes of the first */
        in[n] = br__op(g, BR_OP_LM_HEAD_STATS, in, n, &e->attr);
    return br__op(g, e->op, in, n + (e->op == BR_OP_LM_HEAD_LOSS), &e->attr);
}

START_TEST(test_example)
{
    const struct example *e = &examples[_i];
    struct br_graph g = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__program *p;
    struct br__frame *x;
    struct br__want wrt[MAX_INPUTS] = {{0, 0}};
    br_val in[MAX_INPUTS], grads[MAX_INPUTS], outputs[MAX_INPUTS + 1];
    uint32_t n = 0;
    size_t n_wrt = 0;
    const char *op = br__ops[e->op].name;
    /* A device may lack the op of adapters' dropout. */
    const struct br__kernel_key key = {.op = e->op, .weight = BR_NONE, .value = BR_F32};
    if (strcmp(dev.backend.name, "cpu") && e->op == BR_OP_DROPOUT && !br__device_kernel(&dev, key))
        return;
    state = 12345u + (uint32_t)_i;
    for (; n < MAX_INPUTS && e->in[n].kind; n++) {
        in[n] = br__leaf(&g, BR_OP_INPUT, e->in[n].kind == 'i' ? BR_I32 : BR_F32, "x",
                         (uint32_t)e->in[n].n_dim, e->in[n].shape);
        if (e->in[n].kind == 'd')
            wrt[n_wrt++].leaf = in[n];
    }
    br_val y = example_node(&g, e, in, n);
    br_val loss = e->op == BR_OP_CROSS_ENTROPY ? y : weighted_sum(&g, y);
    must(br__grad(&g, &(struct br__root){.v = loss}, 1, wrt, n_wrt, grads, &err), &err);
    outputs[0] = loss;
    for (size_t i = 0; i < n_wrt; i++) {
        ck_assert_msg(grads[i] != 0, "%s: no gradient for input %zu", op, i);
        outputs[i + 1] = grads[i];
    }
    must(br__program_make(&p, &g, &dev, outputs, n_wrt + 1, &err), &err);
    must(br__frame_make(&x, p, &dev, NULL, &err), &err);
    for (uint32_t i = 0; i < n; i++)
        fill(&e->in[i], in[i], x, &g);
    for (size_t i = 0; i < n_wrt; i++)
        check_input(x, &g, wrt[i].leaf, grads[i], loss, op, (int)i);
    br__frame_free(x);
    br__program_free(p);
    br__graph_free(&g);
}
END_TEST

/* A rule without an example is a rule without a test.  Collectives are covered by test_parallel.c.
 */
START_TEST(test_all_rules)
{
    for (uint32_t op = 0; op < BR_N_OPS; op++) {
        size_t i = 0;
        while (i < BR_COUNTOF(examples) && examples[i].op != op)
            i++;
        int needed = br__op_has_grad(op) && br__op_kind(op) != BR__OP_COMM && op != BR_OP_BRANCH;
        ck_assert_msg(!needed || i < BR_COUNTOF(examples), "no example for %s", br__ops[op].name);
    }
}
END_TEST

static void open_device(void)
{
    open_tested_device(&dev);
}
static void close_device(void)
{
    br__device_close(&dev);
}

int main(void)
{
    Suite *s = suite_create("grad");
    TCase *c = tcase_create("rules");
    tcase_add_checked_fixture(c, open_device, close_device);
    tcase_add_loop_test(c, test_example, 0, (int)BR_COUNTOF(examples));
    tcase_add_test(c, test_all_rules);
    suite_add_tcase(s, c);
    return run_suite(s);
}
