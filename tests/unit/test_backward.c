/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_backward.c - what a backward pass keeps, what it recomputes, and where gradients go; and ops
 * that a device has in float32 only. */
#include "graph/graph_internal.h"
#include "libgolden.h"
#include "librun.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define T 8
#define K 16
#define LAYERS 4

static struct br__device dev;

static void open_device(void)
{
    struct br_err err = BR_ERR_INIT;
    must(br__device_open(&dev, "cpu", NULL, 0, 2, &err), &err);
}

static void close_device(void)
{
    br__device_close(&dev);
}

static void numbers(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1;
    }
}

enum how { PLAIN = 0, SEGMENTS = 1, INTO = 2 };

/* Layers x + sigmoid(norm(x) w'), and the gradients of all w. */
struct stack {
    struct br_graph g;
    float weights[LAYERS][K * K], norm[K], sums[LAYERS][K * K], grads[LAYERS][K * K];
    struct br__stored w[LAYERS], norm_w;
    size_t work_bytes;
};

static void make_layers(struct stack *s, br_val *x, br_val *w, unsigned how)
{
    struct br_graph *g = &s->g;
    s->norm_w = (struct br__stored){.data = s->norm, .dtype = BR_F32, .n_dim = 1, .shape = {K}};
    numbers(s->norm, K, 7);
    br_val norm = br__param_leaf(g, &s->norm_w);
    for (int i = 0; i < LAYERS; i++) {
        numbers(s->weights[i], K * K, (uint32_t)i);
        s->w[i] = (struct br__stored){
            .data = s->weights[i], .dtype = BR_F32, .n_dim = 2, .shape = {K, K}};
        w[i] = br__param_leaf(g, &s->w[i]);
        br_val from = (br_val)g->n;
        br_val h = BR__OP(g, RMSNORM, BR__F(1e-6), *x, norm);
        h = BR__OP(g, SIGMOID, NULL, BR__OP(g, MATMUL, BR__I(BR_F32), h, w[i]));
        *x = BR__OP(g, ADD, NULL, *x, h);
        if (how & SEGMENTS)
            br__recompute(g, from, (br_val)g->n, 0);
    }
}

static void run_stack(struct stack *s, unsigned how)
{
    struct br_err err = BR_ERR_INIT;
    struct br__program *p;
    struct br__frame *f;
    struct br__want want[LAYERS] = {{0, 0}};
    br_val w[LAYERS], grad[LAYERS], into[LAYERS] = {0};
    memset(s, 0, sizeof *s);
    br_val in = br__leaf(&s->g, BR_OP_INPUT, BR_F32, "x", 2, (const int64_t[]){T, K}), x = in;
    br_val seed = br__leaf(&s->g, BR_OP_INPUT, BR_F32, "seed", 2, (const int64_t[]){T, K});
    make_layers(s, &x, w, how);
    for (int i = 0; i < LAYERS; i++) {
        if (how & INTO)
            into[i] = br__leaf(&s->g, BR_OP_STATE, BR_F32, "sum", 2, (const int64_t[]){K, K});
        want[i] = (struct br__want){w[i], into[i]};
    }
    must(br__grad(&s->g, &(struct br__root){x, seed}, 1, want, LAYERS, grad, &err), &err);
    must(br__program_make(&p, &s->g, &dev, grad, LAYERS, &err), &err);
    s->work_bytes = p->work_bytes;
    must(br__frame_make(&f, p, &dev, NULL, &err), &err);
    numbers(br__frame_input(f, in), (size_t)T * K, 11);
    numbers(br__frame_input(f, seed), (size_t)T * K, 13);
    for (int i = 0; i < LAYERS; i++) {
        numbers(s->sums[i], K * K, 17);
        if (how & INTO)
            br__frame_bind(f, into[i], s->sums[i]);
    }
    must(br__frame_run(f, &err), &err);
    for (int i = 0; i < LAYERS; i++)
        must(br__frame_read(f, grad[i], s->grads[i], &err), &err);
    br__frame_free(f);
    br__program_free(p);
    br__graph_free(&s->g);
}

static struct stack plain, other;

START_TEST(made_again)
{
    run_stack(&plain, PLAIN);
    run_stack(&other, SEGMENTS);
    ck_assert_mem_eq(plain.grads, other.grads, sizeof plain.grads);
    run_stack(&plain, INTO);
    run_stack(&other, INTO | SEGMENTS);
    ck_assert_mem_eq(plain.sums, other.sums, sizeof plain.sums);
    /* With recomputation the input of each layer is kept, instead of its norm and its sigmoid. */
    ck_assert_uint_lt(other.work_bytes, plain.work_bytes);
    size_t value = T * K * sizeof(float);
    ck_assert_uint_ge(plain.work_bytes - other.work_bytes, (LAYERS - 1) * value);
}
END_TEST

/* Gradients are added to what the given memory holds; it is no part of work memory. */
START_TEST(added)
{
    float before[K * K];
    numbers(before, K * K, 17);
    run_stack(&plain, PLAIN);
    run_stack(&other, INTO);
    for (int i = 0; i < LAYERS; i++)
        for (int k = 0; k < K * K; k++) {
            float want = before[k] + plain.grads[i][k];
            ck_assert_msg(fabsf(other.sums[i][k] - want) <= 1e-5f, "layer %d, %d: %g, expected %g",
                          i, k, (double)other.sums[i][k], (double)want);
        }
    ck_assert_uint_lt(other.work_bytes, plain.work_bytes);
}
END_TEST

/* ---- in float32 only ------------------------------------------------------------------------- */

/* RSQRT has a float32 kernel only, on every device here. */
START_TEST(in_float32)
{
    struct br_err err = BR_ERR_INIT;
    struct br_graph g = {.values = BR_BF16, .device = &dev};
    struct br__program *p;
    struct br__frame *f;
    float x[K], got[K];
    uint16_t half[K], want[K];
    br_val in = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 1, (const int64_t[]){K});
    br_val narrow = BR__OP(&g, CAST, BR__I(BR_BF16), in);
    br_val y = BR__OP(&g, RSQRT, NULL, narrow), z = BR__OP(&g, CAST, BR__I(BR_BF16), y);
    must(br__program_make(&p, &g, &dev, &z, 1, &err), &err);
    must(br__frame_make(&f, p, &dev, NULL, &err), &err);
    numbers(x, K, 3);
    for (int i = 0; i < K; i++)
        x[i] = fabsf(x[i]) + 0.1f;
    memcpy(br__frame_input(f, in), x, sizeof x);
    must(br__frame_run(f, &err), &err);
    must(br__frame_read(f, z, got, &err), &err);
    br_cast(half, BR_BF16, x, BR_F32, K, 0);
    br_cast(x, BR_F32, half, BR_BF16, K, 0);
    for (int i = 0; i < K; i++)
        x[i] = 1 / sqrtf(x[i]);
    br_cast(want, BR_BF16, x, BR_F32, K, 0);
    br_cast(half, BR_BF16, got, BR_F32, K, 0);
    for (int i = 0; i < K; i++)
        ck_assert_msg(abs((int)half[i] - (int)want[i]) <= 1, "element %d: %x, expected %x", i,
                      half[i], want[i]);
    br__frame_free(f);
    br__program_free(p);
    br__graph_free(&g);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backward");
    TCase *c = tcase_create("backward");
    tcase_add_checked_fixture(c, open_device, close_device);
    tcase_add_test(c, made_again);
    tcase_add_test(c, added);
    tcase_add_test(c, in_float32);
    suite_add_tcase(s, c);
    return run_suite(s);
}
