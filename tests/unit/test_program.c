/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_program.c - one program and many frames, on any device. */
#include "graph/graph_internal.h"
#include "libgolden.h"
#include "librun.h"

#include <stdlib.h>
#include <string.h>

static struct br__device dev;

static void open_device(void)
{
    open_tested_device(&dev);
}

static void close_device(void)
{
    br__device_close(&dev);
}

/* y = a + b c of n elements, where b is a constant and c a weight. */
struct example {
    struct br_graph g;
    struct br__stored c;
    struct br__program *p;
    br_val a, y;
    int64_t n;
};

static void make_example(struct example *e, int64_t n, const float *b, const float *c)
{
    struct br_err err = BR_ERR_INIT;
    *e = (struct example){.n = n, .c = {.data = c, .dtype = BR_F32, .n_dim = 1, .shape = {n}}};
    e->a = br__leaf(&e->g, BR_OP_INPUT, BR_F32, "a", 1, &n);
    br_val product = BR__OP(&e->g, MUL, NULL, br__const(&e->g, b, n), br__param_leaf(&e->g, &e->c));
    e->y = BR__OP(&e->g, ADD, NULL, e->a, product);
    must(br__program_make(&e->p, &e->g, &dev, &e->y, 1, &err), &err);
}

static void free_example(struct example *e)
{
    br__program_free(e->p);
    br__graph_free(&e->g);
}

static struct br__frame *frame_of(struct example *e, float value)
{
    struct br_err err = BR_ERR_INIT;
    struct br__frame *f;
    must(br__frame_make(&f, e->p, &dev, NULL, &err), &err);
    float *a = br__frame_input(f, e->a);
    for (int64_t i = 0; i < e->n; i++)
        a[i] = value;
    return f;
}

static void check_frame(struct br__frame *f, const struct example *e, float value, const float *b,
                        const float *c)
{
    struct br_err err = BR_ERR_INIT;
    float *y = malloc((size_t)e->n * sizeof *y);
    ck_assert_ptr_nonnull(y);
    must(br__frame_run(f, &err), &err);
    must(br__frame_read(f, e->y, y, &err), &err);
    for (int64_t i = 0; i < e->n; i++)
        ck_assert_msg(y[i] == value + b[i] * c[i], "element %ld of %ld: %g", (long)i, (long)e->n,
                      (double)y[i]);
    free(y);
}

#define MANY 5000
static float ramp[MANY], steps[MANY];

/* Frames have inputs of their own, and still run after another graph made work memory grow. */
START_TEST(frames)
{
    struct example small, large;
    for (int i = 0; i < MANY; i++) {
        ramp[i] = (float)i;
        steps[i] = (float)(i % 7) / 4;
    }
    make_example(&small, 10, ramp, steps);
    struct br__frame *one = frame_of(&small, 1), *two = frame_of(&small, 2);
    check_frame(one, &small, 1, ramp, steps);
    make_example(&large, MANY, steps, ramp);
    struct br__frame *three = frame_of(&large, 3);
    check_frame(two, &small, 2, ramp, steps);
    check_frame(three, &large, 3, steps, ramp);
    check_frame(one, &small, 1, ramp, steps);
    br__frame_free(three);
    check_frame(two, &small, 2, ramp, steps);
    br__frame_free(one);
    br__frame_free(two);
    free_example(&small);
    free_example(&large);
}
END_TEST

/* A graph of many steps that runs again and again: a device may record it.  Inputs change, and so
 * does the memory that it works in. */
START_TEST(again_and_again)
{
    enum { STEPS = 40, N = 33 };
    struct br_graph g = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__program *p;
    struct br__frame *f;
    struct example large;
    float got[N];
    br_val x = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 1, (const int64_t[]){N}), y = x;
    for (int i = 0; i < STEPS; i++)
        y = i % 2 ? BR__OP(&g, ADD, NULL, y, x) : BR__OP(&g, SCALE, BR__F(0.5), y);
    must(br__program_make(&p, &g, &dev, &y, 1, &err), &err);
    must(br__frame_make(&f, p, &dev, NULL, &err), &err);
    for (int run = 0; run < 8; run++) {
        if (run == 4) { /* after it was recorded and replayed */
            make_example(&large, MANY, steps, ramp);
            struct br__frame *other = frame_of(&large, 3);
            check_frame(other, &large, 3, steps, ramp);
            br__frame_free(other);
            free_example(&large);
        }
        for (int i = 0; i < N; i++)
            ((float *)br__frame_input(f, x))[i] = (float)(i + run);
        must(br__frame_run(f, &err), &err);
        must(br__frame_read(f, y, got, &err), &err);
        for (int i = 0; i < N; i++) {
            float want = (float)(i + run);
            for (int k = 0; k < STEPS; k++)
                want = k % 2 ? want + (float)(i + run) : 0.5f * want;
            ck_assert_msg(got[i] == want, "run %d, element %d: %g, not %g", run, i, (double)got[i],
                          (double)want);
        }
    }
    br__frame_free(f);
    br__program_free(p);
    br__graph_free(&g);
}
END_TEST

/* An output that is a view is read row by row, an INPUT as it was written, integers as integers. */
START_TEST(reading)
{
    struct br_graph g = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__program *p;
    struct br__frame *f;
    const int64_t shape[] = {3, 2, 4};
    br_val x = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 3, shape);
    br_val twice = BR__OP(&g, SCALE, BR__F(2), x);
    br_val part = br__slice(&g, br__slice(&g, twice, 2, 1, 2), 1, 1, 1);
    br_val top = BR__OP(&g, TOPK, BR__I(2), BR__RESHAPE(&g, twice, 6, 4));
    const br_val outputs[] = {part, top, x};
    float got[24];
    int32_t best[12];
    must(br__program_make(&p, &g, &dev, outputs, 3, &err), &err);
    must(br__frame_make(&f, p, &dev, NULL, &err), &err);
    for (int i = 0; i < 24; i++)
        ((float *)br__frame_input(f, x))[i] = (float)i;
    must(br__frame_run(f, &err), &err);
    must(br__frame_read(f, part, got, &err), &err);
    static const float want[] = {10, 12, 26, 28, 42, 44};
    ck_assert_mem_eq(got, want, sizeof want);
    must(br__frame_read_i32(f, top, best, &err), &err);
    for (int i = 0; i < 12; i++)
        ck_assert_int_eq(best[i], 3 - i % 2);
    must(br__frame_read(f, x, got, &err), &err);
    for (int i = 0; i < 24; i++)
        ck_assert(got[i] == (float)i);
    br__frame_free(f);
    br__program_free(p);
    br__graph_free(&g);
}
END_TEST

/* Weights off the host are kept once for all graphs, in parts or in one block. */
START_TEST(weights)
{
    static const float w[2][6] = {{1, 2, 3, 4, 5, 6}, {7, 8, 9, 10, 11, 12}};
    const void *const parts[] = {w[0], w[1]};
    const struct br__stored experts = {
        .parts = parts, .dtype = BR_F32, .n_dim = 3, .shape = {2, 3, 2}};
    struct br_err err = BR_ERR_INIT;
    for (int round = 0; round < 2; round++) {
        struct br_graph g = {0};
        struct br__program *p;
        struct br__frame *f;
        br_val x = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 2, (const int64_t[]){2, 2});
        br_val offsets = br__leaf(&g, BR_OP_INPUT, BR_I32, "offsets", 1, (const int64_t[]){3});
        br_val y =
            BR__OP(&g, GROUPED_MATMUL, BR__I(BR_F32), x, br__param_leaf(&g, &experts), offsets);
        must(br__program_make(&p, &g, &dev, &y, 1, &err), &err);
        must(br__frame_make(&f, p, &dev, NULL, &err), &err);
        memcpy(br__frame_input(f, x), (const float[]){1, 0, 0, 1}, 4 * sizeof(float));
        memcpy(br__frame_input(f, offsets), (const int32_t[]){0, 1, 2}, 3 * sizeof(int32_t));
        float got[6];
        must(br__frame_run(f, &err), &err);
        must(br__frame_read(f, y, got, &err), &err);
        ck_assert_mem_eq(got, ((const float[]){1, 3, 5, 8, 10, 12}), sizeof got);
        ck_assert_uint_eq(dev.n_placed, br__device_is_host(&dev) ? 0 : 1);
        br__frame_free(f);
        br__program_free(p);
        br__graph_free(&g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("program");
    TCase *c = tcase_create("frames");
    tcase_add_checked_fixture(c, open_device, close_device);
    tcase_add_test(c, frames);
    tcase_add_test(c, again_and_again);
    tcase_add_test(c, reading);
    tcase_add_test(c, weights);
    suite_add_tcase(s, c);
    return run_suite(s);
}
