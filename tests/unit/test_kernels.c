/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_kernels.c - what goldens of a few rows cannot show: long rows and many tokens against plain
 * loops in double, passes that are cut in two, and unusual indices, numbers and sizes. */
#include "../../core/base/base.h"
#include "libkernel.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static struct br_tensor random_tensor(uint32_t n_dim, const int64_t *shape, uint32_t seed,
                                      float scale)
{
    struct br_tensor t = tensor(BR_F32, n_dim, shape);
    fill_random(&t, seed, scale);
    return t;
}
#define RANDOM(seed, scale, ...)                                                                   \
    random_tensor(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                        \
                  (const int64_t[]){__VA_ARGS__}, seed, scale)

static struct br_tensor int_tensor(int64_t n, int64_t m, const int32_t *v)
{
    struct br_tensor t = m ? TENSOR(BR_I32, n, m) : TENSOR(BR_I32, n);
    memcpy(t.data, v, (size_t)count(&t) * sizeof *v);
    return t;
}
#define INTS(...)                                                                                  \
    int_tensor(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t), 0,                        \
               (const int32_t[]){__VA_ARGS__})
#define SEQS(n, ...) int_tensor(n, 5, (const int32_t[]){__VA_ARGS__})

static void free_call(struct kern_call *c)
{
    for (uint32_t i = 0; i < c->n_in; i++)
        if (c->in[i].data != c->out.data)
            tensor_free(&c->in[i]);
    tensor_free(&c->out);
}

static double off_by(const float *got, const double *want, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(
                got[i])) /* check writes a pipe for each assertion, so there is none per element */
            ck_abort_msg("[%ld] is %g", (long)i, (double)got[i]);
        diff += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(diff / norm);
}

/* ---- large ----------------------------------------------------------------------------------- */

/* Head h of query t, which sees keys [from, to), all in double. */
static void attend_slowly(const struct kern_call *c, const float *k, const float *v, int64_t t,
                          int64_t h, int64_t from, int64_t to, double *o)
{
    int64_t d = c->in[0].shape[2], hq = c->in[0].shape[1], hk = c->in[1].shape[1];
    const float *q = floats(&c->in[0]) + (t * hq + h) * d;
    int64_t head = h * hk / hq;
    double max = -INFINITY, sum = 0, *s = calloc((size_t)to, sizeof *s);
    for (int64_t j = from; j < to; j++) {
        for (int64_t i = 0; i < d; i++)
            s[j] += (double)q[i] * (double)k[(j * hk + head) * d + i] * c->attr.f[0];
        max = s[j] > max ? s[j] : max;
    }
    memset(o, 0, (size_t)d * sizeof *o);
    for (int64_t j = from; j < to; j++) {
        double p = exp(s[j] - max);
        sum += p;
        for (int64_t i = 0; i < d; i++)
            o[i] += p * (double)v[(j * hk + head) * d + i];
    }
    for (int64_t i = 0; i < d; i++)
        o[i] /= sum;
    free(s);
}

static void long_attention(const struct kern_place *p, void *arg)
{
    (void)arg;
    const int64_t T = 333, hq = 6, hk = 2, d = 64;
    struct kern_call c = {.op = BR_OP_ATTENTION, .n_in = 4, .attr.f = {0.125}};
    c.in[0] = RANDOM(1, 2, T, hq, d);
    c.in[1] = RANDOM(2, 2, T, hk, d);
    c.in[2] = RANDOM(3, 1, T, hk, d);
    c.in[3] = SEQS(1, 0, (int32_t)T, 0, (int32_t)T, 0);
    c.out = TENSOR(BR_F32, T, hq, d);
    run_call(p, &c);
    double want[64];
    for (int64_t t = 0; t < T; t += 13)
        for (int64_t h = 0; h < hq; h++) {
            attend_slowly(&c, floats(&c.in[1]), floats(&c.in[2]), t, h, 0, t + 1, want);
            ck_assert_double_lt(off_by(floats(&c.out) + (t * hq + h) * d, want, d), 5e-6);
        }
    free_call(&c);
}

START_TEST(attention_over_many_blocks)
{
    in_each_place(long_attention, NULL);
}
END_TEST

/* x in bfloat16, cut off; x itself becomes what that holds. */
static struct br_tensor as_bf16(struct br_tensor *x)
{
    struct br_tensor t = tensor(BR_BF16, x->n_dim, x->shape);
    float *f = floats(x);
    for (int64_t i = 0; i < count(x); i++) {
        uint32_t u;
        memcpy(&u, f + i, sizeof u);
        ((uint16_t *)t.data)[i] = (uint16_t)(u >> 16);
        u &= 0xFFFF0000u;
        memcpy(f + i, &u, sizeof u);
    }
    return t;
}

struct attending {
    int64_t d, group, window;
    int bf16, n_seqs, nq[4], nk[4];
};

static void some_attention(const struct kern_place *p, void *arg)
{
    const struct attending *a = arg;
    const int tiles = a->bf16 && (p->features & BR__CPU_AMX || kern_device());
    const int64_t hk = 3, hq = hk * a->group;
    int64_t T = 0, S = 0, k0 = 0, t = 0;
    struct kern_call c = {
        .op = BR_OP_ATTENTION, .n_in = 4, .attr.f = {0.25}, .attr.i = {a->window}};
    int32_t seqs[4][5];
    for (int i = 0; i < a->n_seqs; T += a->nq[i], S += a->nk[i], i++)
        memcpy(seqs[i], (const int32_t[]){(int32_t)T, a->nq[i], (int32_t)S, a->nk[i], i}, 20);
    struct br_tensor k = RANDOM(2, 1, S, hk, a->d), v = RANDOM(3, 1, S, hk, a->d);
    c.in[0] = RANDOM(1, 1, T, hq, a->d);
    struct br_tensor q_bf16 = as_bf16(&c.in[0]); /* what rounding leaves as it is */
    tensor_free(&q_bf16);
    c.in[1] = a->bf16 ? as_bf16(&k) : k;
    c.in[2] = a->bf16 ? as_bf16(&v) : v;
    c.in[3] = int_tensor(a->n_seqs, 5, seqs[0]);
    c.out = TENSOR(BR_F32, T, hq, a->d);
    run_call(p, &c);
    double want[256];
    for (int i = 0; i < a->n_seqs; k0 += a->nk[i], i++) {
        /* Prefill on tiles may round weights of values to bfloat16 (docs/engine.md: "with AMX also
         * those of attention in prefill"); a key too many, or too few, of a few hundred is off by
         * several hundredths.  Decoding, one query of a sequence, rounds nothing, but that a device
         * may take a batch as a whole. */
        const int many = a->nq[i] > 1 || (kern_device() && T > a->n_seqs);
        const double allowed = tiles && many ? 1e-2 : 5e-6;
        for (int64_t q = 0; q < a->nq[i]; q++, t++) {
            int64_t to = a->nk[i] - a->nq[i] + q + 1, from = a->window ? to - a->window : 0;
            for (int64_t h = 0; h < hq; h++) {
                attend_slowly(&c, floats(&k) + k0 * hk * a->d, floats(&v) + k0 * hk * a->d, t, h,
                              from > 0 ? from : 0, to, want);
                ck_assert_double_lt(off_by(floats(&c.out) + (t * hq + h) * a->d, want, a->d),
                                    allowed);
            }
        }
    }
    if (a->bf16) {
        tensor_free(&k);
        tensor_free(&v);
    }
    free_call(&c);
}

/* Decode shapes, then prefill shapes: whole and partial blocks of rows, whole, short and empty
 * quarters of the keys, single rows and several. */
static struct attending attendings[] = {
    {128, 2, 0, 1, 1, {1}, {613}},
    {128, 2, 0, 0, 1, {1}, {613}},
    {64, 7, 0, 1, 4, {1, 1, 1, 1}, {1, 2, 64, 1001}},
    {256, 1, 0, 1, 2, {5, 1}, {77, 129}},
    {24, 3, 0, 1, 3, {3, 1, 2}, {3, 50, 66}},
    {7, 4, 0, 1, 2, {1, 2}, {35, 17}},
    {7, 4, 0, 0, 2, {1, 2}, {35, 17}},
    {32, 2, 40, 1, 3, {1, 4, 1}, {300, 90, 12}},
    {16, 5, 1, 1, 2, {2, 1}, {80, 33}},
    {128, 16, 0, 1, 1, {1}, {300}},
    {128, 2, 0, 1, 2, {150, 1}, {150, 70}},
    {64, 5, 0, 1, 3, {40, 7, 3}, {175, 7, 9}},
    {24, 3, 0, 1, 1, {131}, {200}},
    {7, 6, 0, 1, 2, {33, 3}, {33, 130}},
    {7, 6, 0, 0, 2, {33, 3}, {33, 130}},
    {256, 8, 0, 1, 1, {30}, {41}},
    {32, 2, 40, 1, 2, {129, 20}, {300, 90}},
    {64, 2, 40, 1, 2, {129, 20}, {300, 90}},
    {128, 1, 130, 1, 3, {65, 1, 64}, {65, 1, 300}},
    {16, 1, 1, 1, 1, {100}, {100}},
};

START_TEST(attention_of_few_and_many)
{
    in_each_place(some_attention, &attendings[_i]);
}
END_TEST

static void large_vocabulary(const struct kern_place *p, void *arg)
{
    (void)arg;
    const int64_t T = 2, V = 151936;
    struct kern_call c = {.op = BR_OP_CROSS_ENTROPY, .n_in = 2};
    c.in[0] = RANDOM(1, 6, T, V);
    c.in[1] = INTS(150000, 3);
    c.out = TENSOR(BR_F32, 1);
    double want = 0;
    for (int64_t t = 0; t < T; t++) {
        const float *x = floats(&c.in[0]) + t * V;
        double sum = 0;
        for (int64_t i = 0; i < V; i++)
            sum += exp((double)x[i]);
        want += (log(sum) - (double)x[ints(&c.in[1])[t]]) / (double)T;
    }
    run_call(p, &c);
    ck_assert_double_lt(off_by(floats(&c.out), &want, 1), 2e-7);
    free_call(&c);
}

START_TEST(cross_entropy_of_a_large_vocabulary)
{
    in_each_place(large_vocabulary, NULL);
}
END_TEST

/* ---- a pass cut in two ----------------------------------------------------------------------- */

/* Rows [from, from + n) of a sequence of T, its state in slot 1. */
static void delta_part(const struct kern_place *p, const struct kern_call *whole,
                       struct br_tensor state, int64_t from, int64_t n, float *out)
{
    struct kern_call c = *whole;
    for (uint32_t i = 0; i < 5; i++) {
        c.in[i].data = floats(&c.in[i]) + from * c.in[i].stride[0];
        c.in[i].shape[0] = n;
    }
    c.in[5] = SEQS(1, 0, (int32_t)n, 0, (int32_t)(from + n), 1);
    c.in[6] = state;
    c.n_in = 7;
    c.out.shape[0] = n;
    c.out.data = out + from * c.out.stride[0];
    run_call(p, &c);
    tensor_free(&c.in[5]);
}

static void delta_in_parts(const struct kern_place *p, void *arg)
{
    (void)arg;
    const int64_t T = 150, hk = 2, hv = 4, dk = 32, dv = 48;
    struct kern_call c = {.op = BR_OP_DELTA_RULE, .n_in = 6, .attr.f = {0.2}};
    c.in[0] = RANDOM(1, 0.2f, T, hk, dk);
    c.in[1] = RANDOM(2, 0.2f, T, hk, dk);
    c.in[2] = RANDOM(3, 1, T, hv, dv);
    c.in[3] = RANDOM(4, 0.1f, T, hv);
    c.in[4] = RANDOM(5, 0.1f, T, hv);
    for (int64_t i = 0; i < T * hv; i++) {
        floats(&c.in[3])[i] = -fabsf(floats(&c.in[3])[i]);
        floats(&c.in[4])[i] += 0.5f;
    }
    c.in[5] = SEQS(1, 0, (int32_t)T, 0, (int32_t)T, 0);
    c.out = TENSOR(BR_F32, T, hv, dv);
    struct br_tensor state = RANDOM(9, 5, 2, hv, dk, dv), parts = TENSOR(BR_F32, T, hv, dv);
    run_call(p, &c);
    const int64_t cuts[] = {0, 1, 2, 34, 98, 150};
    for (size_t i = 0; i + 1 < BR_COUNTOF(cuts); i++)
        delta_part(p, &c, state, cuts[i], cuts[i + 1] - cuts[i], floats(&parts));
    double *want = calloc((size_t)count(&parts), sizeof *want);
    for (int64_t i = 0; i < count(&parts); i++)
        want[i] = (double)floats(&c.out)[i];
    ck_assert_double_lt(off_by(floats(&parts), want, count(&parts)), 1e-6);
    free(want);
    tensor_free(&state);
    tensor_free(&parts);
    free_call(&c);
}

START_TEST(delta_rule_hands_its_state_over)
{
    in_each_place(delta_in_parts, NULL);
}
END_TEST

/* ---- the delta rule in chunks ---------------------------------------------------------------- */

enum { DELTA_T = 84, DELTA_HV = 2, DELTA_D = 128 }; /* one key head */

/* A value head of tokens [from, to), token by token in double; state[D, D] before and after. */
static void delta_slowly(const struct kern_call *c, int head, int from, int to, double *state,
                         double *o)
{
    for (int t = from; t < to; t++) {
        const float *q = floats(&c->in[0]) + t * DELTA_D, *k = floats(&c->in[1]) + t * DELTA_D;
        const int64_t at = (t * DELTA_HV + head) * DELTA_D;
        const double fade = exp((double)floats(&c->in[3])[t * DELTA_HV + head]);
        const double beta = (double)floats(&c->in[4])[t * DELTA_HV + head];
        for (int col = 0; col < DELTA_D; col++) {
            double sum = 0;
            for (int i = 0; i < DELTA_D; i++)
                sum += (state[i * DELTA_D + col] *= fade) * (double)k[i];
            const double d = beta * ((double)floats(&c->in[2])[at + col] - sum);
            o[at + col] = 0;
            for (int i = 0; i < DELTA_D; i++) {
                state[i * DELTA_D + col] += (double)k[i] * d;
                o[at + col] += state[i * DELTA_D + col] * (double)q[i] * c->attr.f[0];
            }
        }
    }
}

/* Keys and queries of length 1, as a model has them. */
static struct br_tensor unit_rows(uint32_t seed)
{
    struct br_tensor x = RANDOM(seed, 1, DELTA_T, 1, DELTA_D);
    for (int t = 0; t < DELTA_T; t++) {
        double sum = 0;
        for (int i = 0; i < DELTA_D; i++)
            sum += (double)floats(&x)[t * DELTA_D + i] * (double)floats(&x)[t * DELTA_D + i];
        for (int i = 0; i < DELTA_D; i++)
            floats(&x)[t * DELTA_D + i] /= (float)sqrt(sum);
    }
    return x;
}

static struct kern_call delta_call(void)
{
    struct kern_call c = {.op = BR_OP_DELTA_RULE, .n_in = 7, .attr.f = {0.0883883476}};
    c.in[0] = unit_rows(1);
    c.in[1] = unit_rows(2);
    c.in[2] = RANDOM(3, 1, DELTA_T, DELTA_HV, DELTA_D);
    c.in[3] = RANDOM(4, 0.1f, DELTA_T, DELTA_HV);
    c.in[4] = RANDOM(5, 0.2f, DELTA_T, DELTA_HV);
    for (int64_t i = 0; i < (int64_t)DELTA_T * DELTA_HV; i++) {
        floats(&c.in[3])[i] = -fabsf(floats(&c.in[3])[i]);
        floats(&c.in[4])[i] += 0.5f;
    }
    return c;
}

/* Two sequences, of which the second goes on from its state, and one that is none; some tokens are
 * no one's. */
static void delta_in_chunks(const struct kern_place *p, void *arg)
{
    static const int seqs[2][3] = {{1, 71, 0}, {72, 84, 1}}; /* tokens, slot */
    (void)arg;
    struct kern_call c = delta_call();
    struct br_tensor half[3], state = RANDOM(6, 0.3f, 2, DELTA_HV, DELTA_D, DELTA_D);
    double *want = calloc((size_t)DELTA_T * DELTA_HV * DELTA_D, sizeof *want);
    double *states = calloc((size_t)count(&state), sizeof *states);
    for (int i = 0; i < 3; i++)
        half[i] = as_bf16(&c.in[i]);
    const int64_t size = (int64_t)DELTA_D * DELTA_D;
    for (int s = 0; s < 2; s++)
        for (int head = 0; head < DELTA_HV; head++) {
            double *mine = states + (s * DELTA_HV + head) * size;
            for (int64_t i = 0; i < size && s; i++)
                mine[i] = (double)floats(&state)[(s * DELTA_HV + head) * size + i];
            delta_slowly(&c, head, seqs[s][0], seqs[s][1], mine, want);
        }
    for (int i = 0; i < 3; i++) {
        tensor_free(&c.in[i]);
        c.in[i] = half[i];
    }
    c.in[5] = SEQS(3, 1, 70, 0, 70, 0, 80, 70, 0, 70, 0, 72, 12, 0, 20, 1);
    c.in[6] = state;
    c.out = TENSOR(BR_BF16, DELTA_T, DELTA_HV, DELTA_D);
    run_call(p, &c);
    struct br_tensor got = TENSOR(BR_F32, DELTA_T, DELTA_HV, DELTA_D);
    br_cast(got.data, BR_F32, c.out.data, BR_BF16, (size_t)count(&got), 0);
    ck_assert_double_lt(off_by(floats(&got), want, count(&got)), 6e-3);
    ck_assert_double_lt(off_by(floats(&state), states, count(&state)), 6e-3);
    for (int i = 0; i < DELTA_HV * DELTA_D; i++)
        ck_assert(floats(&got)[i] == 0);
    free(want);
    free(states);
    tensor_free(&got);
    free_call(&c);
}

START_TEST(delta_rule_in_chunks)
{
    in_each_place(delta_in_chunks, NULL);
}
END_TEST

/* Of a value head, from states[t - from], the state before token t. */
struct delta_back {
    const struct kern_call *c;
    const double *states;
    double *ds; /* gradient of the state, [D, D] */
    double *out;
    int head;
};

#define DELTA_COLS (2 * DELTA_D + DELTA_HV * (DELTA_D + 2))

static void delta_back_token(const struct delta_back *b, int t, const double *state)
{
    const struct kern_call *c = b->c;
    const float *q = floats(&c->in[0]) + t * DELTA_D, *k = floats(&c->in[1]) + t * DELTA_D;
    const int64_t at = (t * DELTA_HV + b->head) * DELTA_D;
    const float *v = floats(&c->in[2]) + at, *y = floats(&c->in[6]) + at;
    const double fade = exp((double)floats(&c->in[3])[t * DELTA_HV + b->head]);
    const double beta = (double)floats(&c->in[4])[t * DELTA_HV + b->head], scale = c->attr.f[0];
    double *dq = b->out + t * DELTA_COLS, *dk = dq + DELTA_D, *dv = dk + DELTA_D;
    double *dg = dv + DELTA_HV * DELTA_D + b->head, *dbeta = dg + DELTA_HV;
    dv += b->head * DELTA_D;
    for (int col = 0; col < DELTA_D; col++) {
        const double *s = state + col;
        double *ds = b->ds + col, miss = (double)v[col], dd = 0;
        for (int i = 0; i < DELTA_D; i++)
            miss -= fade * s[i * DELTA_D] * (double)k[i];
        for (int i = 0; i < DELTA_D; i++) {
            const double after = fade * s[i * DELTA_D] + (double)k[i] * beta * miss;
            dq[i] += scale * after * (double)y[col];
            ds[i * DELTA_D] += scale * (double)q[i] * (double)y[col];
            dd += ds[i * DELTA_D] * (double)k[i];
        }
        dv[col] = beta * dd;
        *dbeta += dd * miss;
        for (int i = 0; i < DELTA_D; i++) {
            const double was = fade * s[i * DELTA_D];
            dk[i] += ds[i * DELTA_D] * beta * miss - was * beta * dd;
            ds[i * DELTA_D] -= (double)k[i] * beta * dd;
            *dg += ds[i * DELTA_D] * was;
            ds[i * DELTA_D] *= fade;
        }
    }
}

static void delta_back_slowly(const struct kern_call *c, int head, int from, int to, double *out)
{
    const size_t size = (size_t)DELTA_D * DELTA_D;
    double *states = calloc(size * (size_t)(to - from + 1), sizeof *states);
    double *o = calloc((size_t)DELTA_T * DELTA_HV * DELTA_D, sizeof *o);
    struct delta_back b = {c, states, calloc(size, sizeof *b.ds), out, head};
    for (int t = from; t < to; t++) {
        double *next = states + (size_t)(t - from + 1) * size;
        memcpy(next, next - size, size * sizeof *next);
        delta_slowly(c, head, t, t + 1, next, o);
    }
    for (int t = to; t-- > from;)
        delta_back_token(&b, t, states + (size_t)(t - from) * size);
    free(b.ds);
    free(states);
    free(o);
}

/* Columns [from, to) of rows of DELTA_COLS. */
static double columns_off_by(const float *got, const double *want, int from, int to)
{
    double diff = 0, norm = 0;
    for (int t = 0; t < DELTA_T; t++)
        for (int i = from; i < to; i++) {
            const double w = want[t * DELTA_COLS + i], d = (double)got[t * DELTA_COLS + i] - w;
            diff += d * d;
            norm += w * w;
        }
    return sqrt(diff / norm);
}

static void delta_back_in_chunks(const struct kern_place *p, void *arg)
{
    enum { V = 2 * DELTA_D, G = V + DELTA_HV * DELTA_D };
    static const int parts[] = {0, DELTA_D, V, G, G + DELTA_HV, DELTA_COLS};
    (void)arg;
    struct kern_call c = delta_call();
    double *want = calloc((size_t)DELTA_T * DELTA_COLS, sizeof *want);
    struct br_tensor half[7];
    c.op = BR_OP_DELTA_RULE_GRAD;
    c.in[6] = RANDOM(8, 1, DELTA_T, DELTA_HV, DELTA_D);
    for (int i = 0; i < 7; i++)
        if (i < 3 || i == 6)
            half[i] = as_bf16(&c.in[i]);
    for (int head = 0; head < DELTA_HV; head++) {
        delta_back_slowly(&c, head, 1, 71, want);
        delta_back_slowly(&c, head, 72, 84, want);
    }
    for (int i = 0; i < 7; i++)
        if (i < 3 || i == 6) {
            tensor_free(&c.in[i]);
            c.in[i] = half[i];
        }
    c.in[5] = SEQS(3, 1, 70, 1, 70, 0, 80, 70, 80, 70, 0, 72, 12, 72, 12, 1);
    c.out = TENSOR(BR_F32, DELTA_T, DELTA_COLS);
    run_call(p, &c);
    for (size_t i = 0; i + 1 < BR_COUNTOF(parts); i++) {
        const double d = columns_off_by(floats(&c.out), want, parts[i], parts[i + 1]);
        ck_assert_msg(d < 1e-2, "part %zu is off by %g", i, d);
    }
    free(want);
    free_call(&c);
}

START_TEST(delta_rule_gradient_in_chunks)
{
    in_each_place(delta_back_in_chunks, NULL);
}
END_TEST

/* ---- numbers that are none ------------------------------------------------------------------- */

static void nan_passes(const struct kern_place *p, void *arg)
{
    (void)arg;
    static const uint32_t ops[] = {BR_OP_SOFTMAX, BR_OP_SIGMOID, BR_OP_L2NORM, BR_OP_SCALE};
    for (size_t i = 0; i < BR_COUNTOF(ops); i++)
        for (int64_t at = 0; at < 19; at += 6) {
            struct kern_call c = {.op = ops[i], .n_in = 1, .attr.f = {1e-6}};
            c.in[0] = RANDOM(1, 1, 1, 19);
            floats(&c.in[0])[at] = NAN;
            c.out = TENSOR(BR_F32, 1, 19);
            run_call(p, &c);
            ck_assert_msg(isnan(floats(&c.out)[at]), "op %u at %d", ops[i], (int)at);
            free_call(&c);
        }
    struct kern_call c = {.op = BR_OP_TOPK, .n_in = 1, .attr.i = {3}};
    c.in[0] = RANDOM(1, 1, 1, 5);
    floats(&c.in[0])[2] = floats(&c.in[0])[4] = NAN;
    c.out = TENSOR(BR_I32, 1, 3);
    run_call(p, &c);
    const int32_t *best = ints(&c.out);
    ck_assert_msg(best[0] == 2 && best[1] == 4 && best[2] >= 0 && best[2] < 4 && best[2] != 2,
                  "%d %d %d", best[0], best[1], best[2]);
    free_call(&c);
}

START_TEST(nan_is_not_swallowed)
{
    in_each_place(nan_passes, NULL);
}
END_TEST

/* ---- the largest of a row -------------------------------------------------------------------- */

#define SELECT_COLS 700

/* Rows: random; many equals; zeros of both signs; falling; all equal; one NaN; one infinite. */
static void select_fill(float *x)
{
    for (int i = 0; i < SELECT_COLS; i++) {
        x[SELECT_COLS + i] = (float)(i * 37 % 11);
        x[2 * SELECT_COLS + i] = i % 3 ? -1 - (float)i : i % 2 ? -0.0f : 0.0f;
        x[3 * SELECT_COLS + i] = (float)-i;
        x[4 * SELECT_COLS + i] = 2;
        x[5 * SELECT_COLS + i] = x[6 * SELECT_COLS + i] = x[i];
    }
    x[5 * SELECT_COLS + 301] = NAN;
    x[6 * SELECT_COLS + 5] = -INFINITY;
}

static void check_selected(const float *x, const int32_t *got, int k, int room)
{
    int n = 0;
    if (!got[1]) {
        ck_assert(isnan(x[301]) || isinf(x[5]));
        ck_assert_int_eq(got[0], 0);
        return;
    }
    for (int i = 0; i < SELECT_COLS && !(k == 1 && n); i++) {
        int larger = 0;
        ck_assert(isfinite(x[i]));
        for (int j = 0; j < SELECT_COLS; j++)
            larger += x[j] > x[i];
        if (larger >= k)
            continue;
        float value;
        memcpy(&value, &got[2 + room + BR__MIN(n, room - 1)], sizeof value);
        if (got[0] >= 0)
            ck_assert_msg(n < room && got[2 + n] == i && value == x[i], "number %d of %d, %d", n,
                          got[0], i);
        n++;
    }
    ck_assert_int_eq(got[0], n > room ? -1 : n);
}

static void select_in_place(const struct kern_place *p, void *arg)
{
    static const int32_t sizes[][2] = {{1, 17}, {20, 36}, {128, 140}};
    (void)arg;
    if (!kernel_of(p, BR_OP_SELECT, 0))
        return; /* the host chooses by itself */
    for (size_t i = 0; i < BR_COUNTOF(sizes); i++) {
        const int32_t k = sizes[i][0], room = sizes[i][1];
        struct br_tensor x = RANDOM(7, 3, 7, SELECT_COLS);
        select_fill(floats(&x));
        struct kern_call c = {.op = BR_OP_SELECT, .n_in = 1, .attr = {.i = {k, room}}};
        c.in[0] = with_gaps(&x, 3);
        c.out = TENSOR(BR_I32, 7, 2 + 2 * room);
        run_call(p, &c);
        for (int r = 0; r < 7; r++)
            check_selected(floats(&x) + r * SELECT_COLS, ints(&c.out) + r * (2 + 2 * room), k,
                           room);
        tensor_free(&x);
        free_call(&c);
    }
}

/* More numbers than a block has room for: it says so, but where one is asked for. */
static void select_of_equals(const struct kern_place *p, void *arg)
{
    (void)arg;
    if (!kernel_of(p, BR_OP_SELECT, 0))
        return;
    for (int k = 1; k <= 4; k += 3) {
        struct kern_call c = {.op = BR_OP_SELECT, .n_in = 1, .attr = {.i = {k, 8}}};
        c.in[0] = TENSOR(BR_F32, 1, 1500);
        c.out = TENSOR(BR_I32, 1, 18);
        run_call(p, &c);
        ck_assert_int_eq(ints(&c.out)[0], k == 1 ? 1 : -1);
        ck_assert_int_eq(ints(&c.out)[1], 1);
        ck_assert(k > 1 || ints(&c.out)[2] == 0);
        free_call(&c);
    }
}

/* Two of three tokens go on; the third is no sequence's. */
static void advance_in_place(const struct kern_place *p, void *arg)
{
    static const int32_t before[3][3] = {{7, 8, 9}, {3, 0, 1}, {11, 24, 48}};
    static const int32_t after[3][3] = {{40, 41, 9}, {4, 1, 1}, {12, 25, 48}};
    static const int32_t seqs[3][5] = {{0, 1, 8, 4, 1}, {1, 1, 24, 1, 3}, {2, 1, 48, 1, 6}};
    (void)arg;
    if (!kernel_of(p, BR_OP_ADVANCE, 0))
        return;
    struct kern_call c = {.op = BR_OP_ADVANCE, .n_in = 5};
    for (int i = 0; i < 3; i++) {
        c.in[i] = TENSOR(BR_I32, 3);
        memcpy(ints(&c.in[i]), before[i], sizeof before[i]);
    }
    c.in[3] = TENSOR(BR_I32, 3, 5);
    memcpy(ints(&c.in[3]), seqs, sizeof seqs);
    c.in[4] = TENSOR(BR_I32, 2, 6);
    ints(&c.in[4])[2] = 40;
    ints(&c.in[4])[6 + 2] = 41;
    c.out = c.in[0];
    run_call(p, &c);
    for (int i = 0; i < 3; i++)
        ck_assert_mem_eq(ints(&c.in[i]), after[i], sizeof after[i]);
    for (int i = 0; i < 15; i++)
        ck_assert_int_eq(ints(&c.in[3])[i], seqs[i / 5][i % 5] + (i % 5 == 3 && i < 10));
    free_call(&c);
}

START_TEST(a_choice_makes_the_next_step)
{
    in_each_place(advance_in_place, NULL);
}
END_TEST

START_TEST(the_largest_are_selected)
{
    in_each_place(select_in_place, NULL);
    in_each_place(select_of_equals, NULL);
}
END_TEST

/* ---- indices out of nowhere ------------------------------------------------------------------ */

static const int32_t wild[] = {INT32_MIN, INT32_MAX, -1, 5, 0, 1 << 20, -(1 << 20), 4};

enum { ROWS, SLOTS, WIDE, TALL, NARROW, PAIRS, ONE, NONE };
static struct br_tensor wild_input(int kind)
{
    switch (kind) {
    case ROWS:
        return int_tensor(8, 0, wild);
    case SLOTS:
        return int_tensor(4, 2, wild);
    case WIDE:
        return RANDOM(1, 1, 8, 6);
    case TALL:
        return RANDOM(2, 1, 4, 6);
    case NARROW:
        return RANDOM(3, 1, 4, 2);
    case PAIRS:
        return RANDOM(4, 1, 8, 2, 3);
    default:
        return RANDOM(5, 1, 1);
    }
}

/* clang-format off */
static const struct wild_case {
    uint32_t op;
    int in[3];
    uint32_t dtype, n_dim;
    int64_t out[3], i[2];
} wild_cases[] = {
    {BR_OP_EMBED,              {WIDE, ROWS, NONE},    BR_F32, 2, {8, 6},    {2, 0}},
    {BR_OP_EMBED_GRAD,         {WIDE, ROWS, NONE},    BR_F32, 2, {8, 6},    {3, 8}},
    {BR_OP_GATHER_ROWS,        {WIDE, ROWS, NONE},    BR_F32, 2, {8, 6},    {0, 0}},
    {BR_OP_SCATTER_ROWS,       {WIDE, ROWS, NONE},    BR_F32, 2, {8, 6},    {8, 0}},
    {BR_OP_CACHE_WRITE,        {PAIRS, PAIRS, ROWS},  BR_F32, 3, {8, 2, 3}, {0, 0}},
    {BR_OP_CACHE_WRITE,        {PAIRS, PAIRS, ROWS},  BR_BF16, 3, {8, 2, 3}, {0, 0}},
    {BR_OP_GATHER_COLS,        {TALL, SLOTS, NONE},   BR_F32, 2, {4, 2},    {0, 0}},
    {BR_OP_SCATTER_COLS,       {NARROW, SLOTS, NONE}, BR_F32, 2, {4, 6},    {6, 0}},
    {BR_OP_COUNT_COLS,         {SLOTS, NONE, NONE},   BR_F32, 1, {6},       {6, 0}},
    {BR_OP_MOE_SORT,           {SLOTS, NONE, NONE},   BR_I32, 1, {4 + 1 + 8}, {1, 4}},
    {BR_OP_MOE_GATHER,         {TALL, ROWS, NONE},    BR_F32, 2, {8, 6},    {2, 0}},
    {BR_OP_MOE_GATHER_GRAD,    {WIDE, ROWS, NONE},    BR_F32, 2, {4, 6},    {2, 4}},
    {BR_OP_MOE_COMBINE,        {WIDE, NARROW, ROWS},  BR_F32, 2, {4, 6},    {0, 0}},
    {BR_OP_MOE_COMBINE_DY,     {TALL, NARROW, ROWS},  BR_F32, 2, {8, 6},    {0, 0}},
    {BR_OP_MOE_COMBINE_DP,     {TALL, WIDE, ROWS},    BR_F32, 2, {4, 2},    {2, 0}},
    {BR_OP_CROSS_ENTROPY,      {WIDE, ROWS, NONE},    BR_F32, 1, {1},       {0, 0}},
    {BR_OP_CROSS_ENTROPY_GRAD, {WIDE, ROWS, ONE},     BR_F32, 2, {8, 6},    {0, 0}},
};
/* clang-format on */

static void wild_indices(const struct kern_place *p, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < BR_COUNTOF(wild_cases); i++) {
        const struct wild_case *w = &wild_cases[i];
        struct kern_call c = {.op = w->op, .attr = {{w->i[0], w->i[1]}, {1}}};
        for (; c.n_in < 3 && w->in[c.n_in] != NONE; c.n_in++)
            c.in[c.n_in] = wild_input(w->in[c.n_in]);
        c.out = tensor(w->dtype, w->n_dim, w->out);
        run_call(p, &c);
        for (int64_t j = 0; c.out.dtype == BR_F32 && j < count(&c.out); j++)
            ck_assert_msg(isfinite(floats(&c.out)[j]), "op %u", w->op);
        free_call(&c);
    }
}

START_TEST(wild_indices_stay_inside)
{
    in_each_place(wild_indices, NULL);
}
END_TEST

static struct br_tensor wild_seqs(void)
{
    return SEQS(9, INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX, /**/
                INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN,    /**/
                0, INT32_MAX, 0, INT32_MAX, 0,                            /**/
                7, 2, 7, 2, 0,                                            /**/
                0, -1, 0, -1, 0,                                          /**/
                0, 2, 0, 1, 0,                                            /**/
                2, 1, 2, 1, INT32_MAX,                                    /**/
                3, 2, 3, 2, -1,                                           /**/
                0, 2, -1, 3, 1);
}

static void wild_sequences(const struct kern_place *p, void *arg)
{
    (void)arg;
    const int64_t T = 8;
    static const uint32_t ops[] = {BR_OP_ATTENTION,      BR_OP_ATTENTION_GRAD, BR_OP_CONV1D_SILU,
                                   BR_OP_CONV1D_SILU_DX, BR_OP_CONV1D_SILU_DW, BR_OP_DELTA_RULE,
                                   BR_OP_DELTA_RULE_GRAD};
    for (size_t i = 0; i < BR_COUNTOF(ops); i++) {
        struct kern_call c = {.op = ops[i], .attr.f = {1}};
        int attention = i < 2, conv = i >= 2 && i < 5, at = attention ? 3 : conv ? 2 : 5;
        if (conv) {
            c.in[0] = RANDOM(1, 1, T, 6);
            c.in[1] = RANDOM(2, 1, 6, 4);
        } else {
            for (uint32_t j = 0; j < 3; j++)
                c.in[j] = RANDOM(j, 1, T, 2, 3);
            for (uint32_t j = 3; !attention && j < 5; j++)
                c.in[j] = RANDOM(j, 0.1f, T, 2);
        }
        c.in[at] = wild_seqs();
        c.in[at + 1] = ops[i] == BR_OP_CONV1D_SILU  ? TENSOR(BR_F32, 2, 3, 6)
                       : ops[i] == BR_OP_DELTA_RULE ? TENSOR(BR_F32, 2, 2, 3, 3)
                       : conv                       ? RANDOM(7, 1, T, 6)
                                                    : RANDOM(7, 1, T, 2, 3);
        c.n_in = (uint32_t)at + 2 - (ops[i] == BR_OP_ATTENTION);
        c.out = ops[i] == BR_OP_CONV1D_SILU_DW    ? TENSOR(BR_F32, 6, 4)
                : ops[i] == BR_OP_ATTENTION_GRAD  ? TENSOR(BR_F32, T, 3 * 6)
                : ops[i] == BR_OP_DELTA_RULE_GRAD ? TENSOR(BR_F32, T, 3 * 6 + 4)
                : conv                            ? TENSOR(BR_F32, T, 6)
                                                  : TENSOR(BR_F32, T, 2, 3);
        memset(c.out.data, 0xFF, (size_t)count(&c.out) * sizeof(float));
        run_call(p, &c);
        for (int64_t j = 0; j < count(&c.out); j++)
            ck_assert_msg(isfinite(floats(&c.out)[j]), "op %u", ops[i]);
        if (ops[i] == BR_OP_ATTENTION)
            tensor_free(&c.in[4]);
        free_call(&c);
    }
}

START_TEST(wild_sequences_stay_inside)
{
    in_each_place(wild_sequences, NULL);
}
END_TEST

/* ---- nothing at all -------------------------------------------------------------------------- */

/* A rank without tokens, or an expert batch without rows. */
static void no_tokens(const struct kern_place *p, void *arg)
{
    (void)arg;
    struct kern_call add = {.op = BR_OP_ADD, .n_in = 2};
    add.in[0] = TENSOR(BR_F32, 0, 5);
    add.in[1] = TENSOR(BR_F32, 0, 5);
    add.out = TENSOR(BR_F32, 0, 5);
    run_call(p, &add);
    free_call(&add);
    struct kern_call a = {.op = BR_OP_ATTENTION, .n_in = 4, .attr.f = {1}};
    a.in[0] = TENSOR(BR_F32, 0, 2, 4);
    a.in[1] = TENSOR(BR_F32, 0, 2, 4);
    a.in[2] = TENSOR(BR_F32, 0, 2, 4);
    a.in[3] = TENSOR(BR_I32, 0, 5);
    a.out = TENSOR(BR_F32, 0, 2, 4);
    run_call(p, &a);
    free_call(&a);
    struct kern_call d = {.op = BR_OP_DELTA_RULE, .n_in = 6, .attr.f = {1}};
    for (int i = 0; i < 3; i++)
        d.in[i] = TENSOR(BR_F32, 0, 2, 4);
    for (int i = 3; i < 5; i++)
        d.in[i] = TENSOR(BR_F32, 0, 2);
    d.in[5] = TENSOR(BR_I32, 0, 5);
    d.out = TENSOR(BR_F32, 0, 2, 4);
    run_call(p, &d);
    free_call(&d);
    struct kern_call m = {.op = BR_OP_MOE_COMBINE, .n_in = 3};
    m.in[0] = TENSOR(BR_F32, 0, 6);
    m.in[1] = TENSOR(BR_F32, 0, 2);
    m.in[2] = TENSOR(BR_I32, 0);
    m.out = TENSOR(BR_F32, 0, 6);
    run_call(p, &m);
    free_call(&m);
    struct kern_call s = {.op = BR_OP_SUM_ROWS, .n_in = 1};
    s.in[0] = TENSOR(BR_F32, 0, 5);
    s.out = TENSOR(BR_F32, 5);
    memset(s.out.data, 0xFF, 20);
    run_call(p, &s);
    for (int i = 0; i < 5; i++)
        ck_assert(floats(&s.out)[i] == 0);
    free_call(&s);
}

START_TEST(no_rows_is_fine)
{
    in_each_place(no_tokens, NULL);
}
END_TEST

/* The ceilings read the buffer they are given and nothing beyond it, however small it is: the page
 * after it cannot be read. */
START_TEST(ceilings_stay_inside)
{
    const struct br_backend *b = br__cpu_backend();
    const size_t n = 1 << 20, page = 1 << 16;
    struct br_err err = {0};
    struct br_roofline roofline;
    void *device = NULL;
    uint64_t features;
    ck_assert_int_eq(b->open(&device, 0, 2, &features, &err), BR_OK);
    char *buf = mmap(NULL, n + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(buf, MAP_FAILED);
    ck_assert_int_eq(mprotect(buf + n, page, PROT_NONE), 0);
    ck_assert_int_eq(b->roofline(device, buf, n, &roofline, &err), BR_OK);
    ck_assert(roofline.read_bytes == 0 && roofline.f32_flops > 0 && roofline.matmul_flops > 0);
    munmap(buf, n + page);
    b->close(device);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kernels");
    TCase *t = tcase_create("kernels");
    tcase_set_timeout(t, 300);
    tcase_add_test(t, attention_over_many_blocks);
    tcase_add_loop_test(t, attention_of_few_and_many, 0, BR_COUNTOF(attendings));
    tcase_add_test(t, cross_entropy_of_a_large_vocabulary);
    tcase_add_test(t, delta_rule_hands_its_state_over);
    tcase_add_test(t, delta_rule_in_chunks);
    tcase_add_test(t, delta_rule_gradient_in_chunks);
    tcase_add_test(t, nan_is_not_swallowed);
    tcase_add_test(t, the_largest_are_selected);
    tcase_add_test(t, a_choice_makes_the_next_step);
    tcase_add_test(t, wild_indices_stay_inside);
    tcase_add_test(t, wild_sequences_stay_inside);
    tcase_add_test(t, no_rows_is_fine);
    tcase_add_test(t, ceilings_stay_inside);
    suite_add_tcase(s, t);
    return run_suite(s);
}
