/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_matmul - the matrix products against sums in double precision.
 *
 * Every tier, dtype of weights and of values, op, thread count; shapes that end in the middle of
 * every block; strided inputs and outputs with sentinels between the rows; experts with none, few
 * and many rows.  Where inputs may be rounded to bfloat16 the reference rounds them too, so the
 * tolerance is that of the order of summation alone. */
#include "../../core/base/base.h"
#include "libkernel.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SENTINEL 12352.0f /* which bfloat16 holds */

/* One operand: its values as the kernel must see them, and as doubles. */
struct matrix {
    void *data;
    double *v, *r; /* [rows, ld]: what data holds, and that rounded to bfloat16 */
    int64_t rows, cols, ld;
    uint32_t dtype;
};

static struct matrix make(int64_t rows, int64_t cols, int64_t pad, uint32_t dtype, uint64_t *seed)
{
    struct matrix m = {NULL, NULL, NULL, rows, cols, cols + pad, dtype};
    size_t n = (size_t)(rows * m.ld);
    double *v = br__calloc(n + 1, sizeof *v);
    uint16_t *h = br__calloc(n + 1, sizeof *h);
    m.data = br__calloc(n + 1, br_dtype_size((int)dtype));
    m.v = br__calloc(n + 1, sizeof *v);
    m.r = br__calloc(n + 1, sizeof *v);
    /* What lies between the rows must not be used. */
    for (size_t i = 0; i < n; i++)
        v[i] = (int64_t)i % m.ld < cols ? (double)kern_random(seed) : (double)NAN;
    br_cast(m.data, (int)dtype, v, BR_F64, n, 0);
    br_cast(m.v, BR_F64, m.data, (int)dtype, n, 0);
    br_cast(h, BR_BF16, m.v, BR_F64, n, 0);
    br_cast(m.r, BR_F64, h, BR_BF16, n, 0);
    br__free(v);
    br__free(h);
    return m;
}

static void drop(struct matrix *m)
{
    br__free(m->data);
    br__free(m->v);
    br__free(m->r);
}

static struct br_tensor view(const struct matrix *m)
{
    struct br_tensor t = kern_tensor(m->data, m->dtype, 2, (const int64_t[]){m->rows, m->cols});
    t.stride[0] = m->ld;
    return t;
}

/* The shape of one test: x[t, k], w[n, k], of E experts if E > 0. */
struct shape {
    int64_t t, n, k;
};

struct run {
    const struct br__cpu_tier *tier;
    uint32_t op, dtype, threads;
    uint32_t values; /* dtype of x, and of the result unless it is a gradient of weights */
    int64_t exact;   /* attr i0 */
    struct shape s;
    int64_t pad;
    uint64_t seed;
};

/* out[i, j] must be the sum over l < n of f(i, l) g(j, l), with strides in elements of the
 * operands. */
struct want {
    const struct matrix *a, *b;
    int64_t a0, b0;     /* first row */
    int a_down, b_down; /* l walks down the rows */
    int64_t rows, cols, n;
    double before; /* initial value of each element, if the op adds */
};

/* x as bfloat16 holds it. */
static double as_bf16(double x)
{
    uint16_t h;
    br_cast(&h, BR_BF16, &x, BR_F64, 1, 0);
    br_cast(&x, BR_F64, &h, BR_BF16, 1, 0);
    return x;
}

static int is_tn(uint32_t op)
{
    return op == BR_OP_MATMUL_TN || op == BR_OP_GROUPED_MATMUL_TN || op == BR_OP_MATMUL_TN_ADD ||
           op == BR_OP_GROUPED_MATMUL_TN_ADD;
}

static int adds(uint32_t op)
{
    return op == BR_OP_MATMUL_TN_ADD || op == BR_OP_GROUPED_MATMUL_TN_ADD;
}

/* Is got equal to want, up to the order of its sums, and rounded if the result is bfloat16? */
static int is_near(const struct run *r, double got, double want, double tolerance)
{
    double low = want - tolerance, high = want + tolerance;
    if (r->values == BR_BF16 && !is_tn(r->op))
        return got >= as_bf16(low) && got <= as_bf16(high);
    return got >= low && got <= high;
}

/* Kernels may choose exact products where rounding is allowed. */
static int near(const struct run *r, const struct want *w, int64_t i, int64_t j, double got)
{
    int64_t a_step = w->a_down ? w->a->ld : 1, b_step = w->b_down ? w->b->ld : 1;
    int64_t a = w->a_down ? w->a0 * w->a->ld + i : (w->a0 + i) * w->a->ld;
    int64_t b = w->b_down ? w->b0 * w->b->ld + j : (w->b0 + j) * w->b->ld;
    double exact = w->before, size = fabs(w->before), rounded = w->before;
    for (int64_t l = 0; l < w->n; l++) {
        double term = w->a->v[a + l * a_step] * w->b->v[b + l * b_step];
        exact += term;
        size += fabs(term);
    }
    double tolerance = 1e-6 * size + 1e-30;
    if (is_near(r, got, exact, tolerance) || r->exact != BR_BF16)
        return is_near(r, got, exact, tolerance);
    for (int64_t l = 0; l < w->n; l++)
        rounded += w->a->r[a + l * a_step] * w->b->r[b + l * b_step];
    return is_near(r, got, rounded, tolerance);
}

static void compare(const struct run *r, const struct want *w, const float *out, int64_t ldo)
{
    for (int64_t i = 0; i < w->rows; i++) {
        for (int64_t j = 0; j < w->cols; j++)
            if (!near(r, w, i, j, (double)out[i * ldo + j]))
                ck_abort_msg("%s op %u %s, %u threads, t %ld n %ld k %ld: [%ld, %ld] is %g",
                             r->tier->name, r->op, br_dtype_st((int)r->dtype), r->threads,
                             (long)r->s.t, (long)r->s.n, (long)r->s.k, (long)i, (long)j,
                             (double)out[i * ldo + j]);
        for (int64_t j = w->cols; j < ldo; j++)
            if (out[i * ldo + j] != SENTINEL)
                ck_abort_msg("%s op %u: wrote beyond row %ld", r->tier->name, r->op, (long)i);
    }
}

#define BEFORE 0.75f

/* The memory of the result: sentinels between rows, initial values in its elements. */
static float *filled(const struct run *r, int64_t rows, int64_t cols, int64_t ldo)
{
    float *p = br__alloc((size_t)(rows * ldo) * sizeof *p + 1);
    for (int64_t i = 0; i < rows * ldo; i++)
        p[i] = adds(r->op) && i % ldo < cols ? BEFORE : SENTINEL;
    return p;
}

/* Run the call, whose result is float32 memory, as the run's dtype of values has it. */
static void run_as(const struct run *r, struct kern_call *c, float *out, int64_t n)
{
    uint16_t *half = br__alloc((size_t)n * sizeof *half + 1);
    int rounds = r->values == BR_BF16 && !is_tn(r->op);
    br_cast(half, BR_BF16, out, BR_F32, (size_t)n, 0);
    c->out.dtype = rounds ? BR_BF16 : BR_F32;
    c->out.data = rounds ? (void *)half : out;
    if (adds(r->op))
        c->in[c->n_in++] = c->out;
    run_call_on(r->tier, r->threads, c);
    if (rounds)
        br_cast(out, BR_F32, half, BR_BF16, (size_t)n, 0);
    br__free(half);
}

/* MATMUL, _NN, _TN, _TN_ADD */
static void plain(const struct run *r)
{
    uint64_t seed = r->seed;
    int nn = r->op == BR_OP_MATMUL_NN, tn = is_tn(r->op);
    struct matrix x = make(r->s.t, nn || tn ? r->s.n : r->s.k, r->pad, r->values, &seed);
    struct matrix w = make(tn ? r->s.t : r->s.n, r->s.k, r->pad, r->dtype, &seed);
    struct want want = {&x,
                        &w,
                        0,
                        0,
                        tn,
                        nn || tn,
                        tn ? r->s.n : r->s.t,
                        nn || tn ? r->s.k : r->s.n,
                        tn   ? r->s.t
                        : nn ? r->s.n
                             : r->s.k,
                        adds(r->op) ? BEFORE : 0};
    int64_t ldo = want.cols + r->pad;
    float *out = filled(r, want.rows, want.cols, ldo);
    struct kern_call c = {.op = r->op, .n_in = 2, .in = {view(&x), view(&w)}, .attr.i = {r->exact}};
    c.out = kern_tensor(out, BR_F32, 2, (const int64_t[]){want.rows, want.cols});
    c.out.stride[0] = ldo;
    run_as(r, &c, out, want.rows * ldo);
    compare(r, &want, out, ldo);
    drop(&x);
    drop(&w);
    br__free(out);
}

static const int32_t experts[][9] = {
    {0, 0, 1, 1, 2, 5, 5, 5, 7},               /* decode: single rows, and once two */
    {0, 40, 40, 41, 80, 80, 112, 113, 120},    /* few and many */
    {0, 5, 105, 105, 105, 105, 105, 105, 105}, /* a few rows that threads share, then many */
    {0, 0, 0, 66, 66, 66, 66, 66, 66},         /* one has all */
    {0, 0, 0, 0, 0, 0, 0, 0, 0},
};
#define N_EXPERTS 8

/* The weights of the experts: one [E, N, K] block, or an address each. */
static struct br_tensor expert_weight(const struct run *r, const struct matrix *w,
                                      const void **parts)
{
    struct br_tensor t =
        kern_tensor(w->data, r->dtype, 3, (const int64_t[]){N_EXPERTS, r->s.n, r->s.k});
    if (r->pad > 0) { /* rows of the block are w's rows, so padding means strides */
        t.stride[1] = w->ld;
        t.stride[0] = w->ld * r->s.n;
        return t;
    }
    for (int e = 0; e < N_EXPERTS; e++)
        parts[e] = (const char *)w->data + e * r->s.n * r->s.k * br_dtype_size((int)r->dtype);
    t.data = NULL;
    t.parts = parts;
    return t;
}

static void compare_experts(const struct run *r, const struct matrix *x, const struct matrix *w,
                            const int32_t *offsets, const float *out, int64_t ldo)
{
    int nn = r->op == BR_OP_GROUPED_MATMUL_NN, tn = is_tn(r->op);
    for (int e = 0; e < N_EXPERTS; e++) {
        int64_t from = offsets[e], n = offsets[e + 1] - from;
        struct want want = {
            x, w, from, e * r->s.n, 0, nn, n, nn ? r->s.k : r->s.n, nn ? r->s.n : r->s.k, 0};
        if (tn)
            want =
                (struct want){x, w, from, from, 1, 1, r->s.n, r->s.k, n, adds(r->op) ? BEFORE : 0};
        compare(r, &want, out + (tn ? e * r->s.n : from) * ldo, ldo);
    }
    for (int64_t i = offsets[N_EXPERTS]; !tn && i < r->s.t; i++)
        for (int64_t j = 0; j < (nn ? r->s.k : r->s.n); j++)
            ck_assert_msg(out[i * ldo + j] == 0, "row %ld of no expert is not zero", (long)i);
}

static void grouped(const struct run *r, const int32_t *offsets)
{
    uint64_t seed = r->seed;
    int nn = r->op == BR_OP_GROUPED_MATMUL_NN, tn = is_tn(r->op);
    struct matrix x = make(r->s.t, nn || tn ? r->s.n : r->s.k, r->pad, r->values, &seed);
    struct matrix w = make(tn ? r->s.t : N_EXPERTS * r->s.n, r->s.k, r->pad, r->dtype, &seed);
    const void *parts[N_EXPERTS];
    int32_t copy[N_EXPERTS + 1];
    memcpy(copy, offsets, sizeof copy);
    int64_t rows = tn ? N_EXPERTS * r->s.n : r->s.t, cols = nn || tn ? r->s.k : r->s.n;
    int64_t ldo = cols + r->pad;
    float *out = filled(r, rows, cols, ldo);
    struct kern_call c = {.op = r->op, .n_in = 3, .attr.i = {r->exact}};
    c.in[0] = view(&x);
    c.in[1] = tn ? view(&w) : expert_weight(r, &w, parts);
    c.in[2] = kern_tensor(copy, BR_I32, 1, (const int64_t[]){N_EXPERTS + 1});
    c.out = tn ? kern_tensor(out, BR_F32, 3, (const int64_t[]){N_EXPERTS, r->s.n, r->s.k})
               : kern_tensor(out, BR_F32, 2, (const int64_t[]){rows, cols});
    c.out.stride[tn] = ldo;
    if (tn)
        c.out.stride[0] = ldo * r->s.n;
    run_as(r, &c, out, rows * ldo);
    compare_experts(r, &x, &w, copy, out, ldo);
    drop(&x);
    drop(&w);
    br__free(out);
}

static const uint32_t dtypes[] = {BR_F32, BR_BF16, BR_F16};

/* Of a sample on the CPU every third shape, dtype and kind of product is left: all are tried with
 * some shape. */
static int is_left_out(struct shape s, size_t dtype, int exact)
{
    return test_is_sampled() && !kern_device() &&
           ((uint64_t)(s.t + s.n + s.k + exact) + dtype) % 3 != 0;
}

/* Call fn for every tier, dtype and kind of product that op has, with varying threads and strides.
 */
static void each_of(uint32_t op, uint32_t values, struct shape s,
                    void (*fn)(const struct run *r, const int32_t *o), const int32_t *offsets)
{
    const struct br__cpu_tier *tiers[8];
    size_t n = kern_tiers(tiers, BR_COUNTOF(tiers));
    for (size_t i = 0; i < n; i++)
        for (size_t d = 0; d < (is_tn(op) ? 2 : BR_COUNTOF(dtypes)); d++)
            for (int exact = 0; exact < 2; exact++) {
                if (is_left_out(s, d, exact))
                    continue;
                uint64_t seed = (uint64_t)(s.t * 131 + s.n * 31 + s.k + exact) + d;
                struct run r = {tiers[i],  op,
                                dtypes[d], (uint32_t)(seed % 4 + 1),
                                values,    exact ? BR_F32 : BR_BF16,
                                s,         (int64_t)(seed / 4 % 3),
                                seed};
                fn(&r, offsets);
            }
}

static void each(uint32_t op, struct shape s, void (*fn)(const struct run *r, const int32_t *o),
                 const int32_t *offsets)
{
    each_of(op, BR_F32, s, fn, offsets);
    each_of(op, BR_BF16, s, fn, offsets);
}

static void plain_run(const struct run *r, const int32_t *offsets)
{
    (void)offsets;
    plain(r);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* Rows around every change of method, columns and k around every block. */
static const struct shape few_rows[] = {
    {1, 1, 1},   {1, 9, 33},  {1, 64, 128}, {2, 13, 40}, {3, 31, 65},  {4, 12, 64},
    {5, 17, 31}, {7, 24, 96}, {8, 29, 130}, {11, 8, 7},  {16, 35, 48}, {17, 33, 70},
};

static const struct shape many_rows[] = {
    {18, 40, 300}, {33, 70, 257}, {64, 64, 64}, {85, 97, 513}, {130, 300, 20}, {250, 36, 130},
};

START_TEST(small_products)
{
    each(BR_OP_MATMUL, few_rows[_i], plain_run, NULL);
}
END_TEST

START_TEST(large_products)
{
    each(BR_OP_MATMUL, many_rows[_i], plain_run, NULL);
}
END_TEST

START_TEST(transposed_products)
{
    each(BR_OP_MATMUL_NN, few_rows[_i], plain_run, NULL);
    each(BR_OP_MATMUL_TN, few_rows[_i], plain_run, NULL);
    each(BR_OP_MATMUL_TN_ADD, few_rows[_i], plain_run, NULL);
}
END_TEST

START_TEST(large_transposed_products)
{
    each(BR_OP_MATMUL_NN, many_rows[_i], plain_run, NULL);
    each(BR_OP_MATMUL_TN, many_rows[_i], plain_run, NULL);
    each(BR_OP_MATMUL_TN_ADD, many_rows[_i], plain_run, NULL);
}
END_TEST

START_TEST(expert_products)
{
    const int32_t *o = experts[_i];
    struct shape s = {o[N_EXPERTS] + 3, 37, 50};
    each(BR_OP_GROUPED_MATMUL, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_NN, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_TN, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_TN_ADD, s, grouped, o);
    /* Rows that are whole pieces of 16 bytes, and no whole blocks. */
    s = (struct shape){o[N_EXPERTS] + 3, 136, 72};
    each(BR_OP_GROUPED_MATMUL, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_NN, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_TN, s, grouped, o);
    each(BR_OP_GROUPED_MATMUL_TN_ADD, s, grouped, o);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kernels_matmul");
    TCase *tc = tcase_create("kernels_matmul");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, small_products, 0, BR_COUNTOF(few_rows));
    tcase_add_loop_test(tc, large_products, 0, BR_COUNTOF(many_rows));
    tcase_add_loop_test(tc, transposed_products, 0, BR_COUNTOF(few_rows));
    tcase_add_loop_test(tc, large_transposed_products, 0, BR_COUNTOF(many_rows));
    tcase_add_loop_test(tc, expert_products, 0, BR_COUNTOF(experts));
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
