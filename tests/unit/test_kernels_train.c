/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_train.c - kernels that only training uses, against plain loops in double: the output
 * layer with its loss, the backward pass of attention, sums that ops add to, and the optimizer.
 * Every combination of a tier and a number of threads gives the bits of the tier's first one: no
 * result depends on the number of threads. */
#include "../../core/train/train.h"
#include "libadamw.h"
#include "libkernel.h"
#include "librun.h"
#include "train/optim.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- tensors --------------------------------------------------------------------------------- */

static double round_to(uint32_t dtype, double x)
{
    uint16_t h;
    float f;
    if (dtype == BR_F32) {
        f = (float)x;
        return (double)f;
    }
    br_cast(&h, (int)dtype, &x, BR_F64, 1, 0);
    br_cast(&x, BR_F64, &h, (int)dtype, 1, 0);
    return x;
}

static double get(const struct br_tensor *t, int64_t i)
{
    double x;
    if (t->dtype ==
        BR_F32) /* most are, and a call for each number takes most of this test's time */
        return (double)((const float *)t->data)[i];
    size_t size = br_dtype_size((int)t->dtype);
    br_cast(&x, BR_F64, (const char *)t->data + (size_t)i * size, (int)t->dtype, 1, 0);
    return x;
}

static void set(struct br_tensor *t, int64_t i, double x)
{
    size_t size = br_dtype_size((int)t->dtype);
    br_cast((char *)t->data + (size_t)i * size, (int)t->dtype, &x, BR_F64, 1, 0);
}

/* Multiples of 1/8 below 2: bfloat16 holds them, and float32 sums of their products are exact. */
static struct br_tensor grid(uint32_t dtype, int64_t rows, int64_t cols, uint64_t seed)
{
    struct br_tensor t = TENSOR(dtype, rows, cols);
    for (int64_t i = 0; i < rows * cols; i++)
        set(&t, i, round((double)kern_random(&seed) * 15) / 8);
    return t;
}

static double off_by(const double *got, const double *want, int64_t n)
{
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(got[i]))
            ck_abort_msg("[%ld] is %g", (long)i, got[i]);
        diff += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(diff / (norm > 0 ? norm : 1));
}

static double off_tensor(const struct br_tensor *got, const double *want)
{
    int64_t n = count(got);
    double *g = calloc((size_t)n, sizeof *g);
    br_cast(g, BR_F64, got->data, (int)got->dtype, (size_t)n, 0);
    double off = off_by(g, want, n);
    free(g);
    return off;
}

/* Compare bits with the tier's first run. */
struct first {
    const char *tier;
    void *bits;
    size_t n;
};
static void same_as_first(const struct kern_place *p, struct first *f, const struct br_tensor *t)
{
    size_t n = (size_t)count(t) * br_dtype_size((int)t->dtype);
    if (f->tier != p->tier) {
        free(f->bits);
        *f = (struct first){p->tier, malloc(n), n};
        memcpy(f->bits, t->data, n);
    }
    ck_assert_msg(f->n == n && memcmp(f->bits, t->data, n) == 0, "%s: other bits on %u threads",
                  p->tier, p->threads);
}

/* ---- the output layer with its loss ---------------------------------------------------------- */

struct head_case {
    int64_t T, h, V, parts;
    uint32_t x, w;             /* dtypes */
    int64_t precision, native; /* attributes i0, i2 */
    struct first loss, dx, dw;
};

struct head {
    struct br_tensor x, w, labels, y;
    double *loss, *dx, *dw; /* what is wanted */
};

/* Loss and gradients of one token, by the definition. */
static void head_token(const struct head_case *k, struct head *d, int64_t t, double *logits)
{
    const int rounded = k->x == BR_BF16;
    double max = -INFINITY, sum = 0, y = get(&d->y, t);
    int32_t label = ints(&d->labels)[t];
    for (int64_t v = 0; v < k->V; v++) {
        double s = 0;
        for (int64_t i = 0; i < k->h; i++)
            s += get(&d->x, t * k->h + i) * get(&d->w, v * k->h + i);
        logits[v] = rounded ? round_to(BR_BF16, s) : s;
        max = logits[v] > max ? logits[v] : max;
    }
    if (label < 0 || label >= k->V)
        return;
    for (int64_t v = 0; v < k->V; v++)
        sum += exp(logits[v] - max);
    d->loss[t] = log(sum) + max - logits[label];
    for (int64_t v = 0; v < k->V; v++) {
        double g = y * (exp(logits[v] - max) / sum - (v == label));
        if (rounded || k->native)
            g = round_to(BR_BF16, g);
        for (int64_t i = 0; i < k->h; i++) {
            d->dx[t * k->h + i] += g * get(&d->w, v * k->h + i);
            d->dw[v * k->h + i] += g * get(&d->x, t * k->h + i);
        }
    }
}

static struct head head_make(const struct head_case *k)
{
    struct head d = {.x = grid(k->x, k->T, k->h, 3), .w = grid(k->w, k->V, k->h, 5)};
    d.labels = TENSOR(BR_I32, k->T);
    d.y = TENSOR(BR_F32, k->T);
    d.loss = calloc((size_t)k->T, sizeof *d.loss);
    d.dx = calloc((size_t)(k->T * k->h), sizeof *d.dx);
    d.dw = calloc((size_t)(k->V * k->h), sizeof *d.dw);
    for (int64_t i = 0; i < k->V * k->h; i++)
        d.dw[i] = 0.5; /* what the sum begins with */
    double *logits = calloc((size_t)k->V, sizeof *logits);
    for (int64_t t = 0; t < k->T; t++) {
        ints(&d.labels)[t] = t % 7 == 2 ? -1 : t % 7 == 4 ? INT32_MAX : (int32_t)(t * 977 % k->V);
        floats(&d.y)[t] = t % 5 == 3 ? 0 : 0.25f * (float)(t % 3 + 1);
        head_token(k, &d, t, logits);
    }
    free(logits);
    return d;
}

static void head_drop(struct head *d)
{
    struct br_tensor *all[] = {&d->x, &d->w, &d->labels, &d->y};
    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        tensor_free(all[i]);
    free(d->loss);
    free(d->dx);
    free(d->dw);
}

/* A call about part i of the words. */
static struct kern_call head_call(const struct head_case *k, const struct head *d, uint32_t op,
                                  int64_t i)
{
    int64_t n = k->V / k->parts;
    struct kern_call c = {.op = op, .n_in = 3, .in = {d->x, d->w, d->labels}};
    c.attr.i[0] = k->precision;
    c.attr.i[1] = i * n;
    c.attr.i[2] = k->native;
    c.in[1].shape[0] = n;
    c.in[1].data = (char *)d->w.data + (size_t)(i * n * k->h) * br_dtype_size((int)k->w);
    return c;
}

static void head_in_place(const struct kern_place *p, void *arg)
{
    struct head_case *k = arg;
    struct head d = head_make(k);
    int64_t n = k->V / k->parts;
    struct br_tensor stats = TENSOR(BR_F32, k->parts * k->T, 3), dw = TENSOR(BR_F32, k->V, k->h);
    double *dx = calloc((size_t)(k->T * k->h), sizeof *dx);
    for (int64_t i = 0; i < k->parts; i++) {
        struct kern_call c = head_call(k, &d, BR_OP_LM_HEAD_STATS, i);
        c.out = TENSOR(BR_F32, k->T, 3);
        run_call(p, &c);
        memcpy(floats(&stats) + i * k->T * 3, c.out.data, (size_t)(k->T * 3) * sizeof(float));
        tensor_free(&c.out);
    }
    struct kern_call loss = head_call(k, &d, BR_OP_LM_HEAD_LOSS, 0);
    loss.in[loss.n_in++] = stats;
    loss.out = TENSOR(BR_F32, k->T);
    run_call(p, &loss);
    for (int64_t t = 0; t < k->T; t++)
        ck_assert_msg(fabs((double)floats(&loss.out)[t] - d.loss[t]) <= 2e-6 * (1 + d.loss[t]),
                      "%s: loss %ld is %g, not %g", p->tier, (long)t, (double)floats(&loss.out)[t],
                      d.loss[t]);
    same_as_first(p, &k->loss, &loss.out);
    for (int64_t i = 0; i < k->V * k->h; i++)
        floats(&dw)[i] = 0.5f;
    for (int64_t i = 0; i < k->parts; i++) {
        struct kern_call c = head_call(k, &d, BR_OP_LM_HEAD_GRAD, i);
        c.in[c.n_in++] = stats;
        c.in[c.n_in++] = d.y;
        c.in[c.n_in] = dw;
        c.in[c.n_in].shape[0] = n;
        c.in[c.n_in++].data = floats(&dw) + i * n * k->h;
        c.out = TENSOR(k->x, k->T, k->h);
        run_call(p, &c);
        for (int64_t j = 0; j < k->T * k->h; j++)
            dx[j] += get(&c.out, j);
        if (i == 0)
            same_as_first(p, &k->dx, &c.out);
        tensor_free(&c.out);
    }
    same_as_first(p, &k->dw, &dw);
    /* Products of the gradient may round it, unless they are exact.  A rounding that the op
     * promises is in the reference too, where an element near a tie may round the other way. */
    int promised = k->x == BR_BF16 || k->native;
    double allowed = promised ? 2e-4 : k->precision == BR_BF16 ? 4e-3 : 2e-6;
    double off = off_tensor(&dw, d.dw), off_x = off_by(dx, d.dx, k->T * k->h);
    ck_assert_msg(off <= allowed, "%s: gradient by w off by %g, not %g", p->tier, off, allowed);
    ck_assert_msg(off_x <= (k->x == BR_BF16 ? 4e-3 : allowed), "%s: gradient by x off by %g",
                  p->tier, off_x);
    free(dx);
    tensor_free(&loss.out);
    tensor_free(&stats);
    tensor_free(&dw);
    head_drop(&d);
}

/* Rows and words around the blocks; more words than a panel; words of two ranks. */
static struct head_case head_cases[] = {
    {.T = 5, .h = 24, .V = 50, .parts = 1, .x = BR_F32, .w = BR_F32, .precision = BR_F32},
    {.T = 35, .h = 40, .V = 1100, .parts = 1, .x = BR_F32, .w = BR_BF16, .precision = BR_F32},
    {.T = 35, .h = 40, .V = 1100, .parts = 2, .x = BR_F32, .w = BR_F32, .precision = BR_F32},
    {.T = 35,
     .h = 33,
     .V = 130,
     .parts = 1,
     .x = BR_F32,
     .w = BR_F32,
     .precision = BR_F32,
     .native = 1},
    {.T = 35,
     .h = 33,
     .V = 130,
     .parts = 1,
     .x = BR_F32,
     .w = BR_BF16,
     .precision = BR_BF16,
     .native = 1},
    {.T = 18, .h = 64, .V = 77, .parts = 1, .x = BR_F32, .w = BR_BF16, .precision = BR_BF16},
    {.T = 35, .h = 40, .V = 1100, .parts = 1, .x = BR_BF16, .w = BR_BF16, .precision = BR_BF16},
    {.T = 67, .h = 31, .V = 62, .parts = 2, .x = BR_BF16, .w = BR_BF16, .precision = BR_BF16},
    {.T = 9, .h = 20, .V = 64, .parts = 1, .x = BR_BF16, .w = BR_F32, .precision = BR_BF16},
};

START_TEST(head_with_its_loss)
{
    in_each_place(head_in_place, &head_cases[_i]);
    free(head_cases[_i].loss.bits);
    free(head_cases[_i].dx.bits);
    free(head_cases[_i].dw.bits);
}
END_TEST

/* Loss and gradients at once: those of the ops that make the logits twice.  Where one block holds
 * all tokens also their bits. */
static void pass_in_place(const struct kern_place *p, void *arg)
{
    struct head_case *k = arg;
    struct head d = head_make(k);
    struct br_tensor dw = TENSOR(BR_F32, k->V, k->h), loss = TENSOR(BR_F32, k->T);
    struct kern_call c = head_call(k, &d, BR_OP_LM_HEAD_PASS, 0);
    for (int64_t i = 0; i < k->V * k->h; i++)
        floats(&dw)[i] = 0.5f;
    c.in[c.n_in++] = d.y;
    c.in[c.n_in++] = loss;
    c.in[c.n_in++] = dw;
    c.out = TENSOR(k->x, k->T, k->h);
    run_call(p, &c);
    same_as_first(p, &k->loss, &loss);
    same_as_first(p, &k->dx, &c.out);
    same_as_first(p, &k->dw, &dw);
    double allowed = k->x == BR_BF16 ? 4e-3 : 2e-6;
    ck_assert_double_le(off_tensor(&loss, d.loss), 2e-6);
    ck_assert_double_le(off_tensor(&dw, d.dw), allowed);
    ck_assert_double_le(off_tensor(&c.out, d.dx), allowed);
    struct kern_call s = head_call(k, &d, BR_OP_LM_HEAD_STATS, 0);
    s.out = TENSOR(BR_F32, k->T, 3);
    run_call(p, &s);
    struct kern_call g = head_call(k, &d, BR_OP_LM_HEAD_GRAD, 0);
    g.in[g.n_in++] = s.out;
    g.in[g.n_in++] = d.y;
    g.out = TENSOR(k->x, k->T, k->h);
    run_call(p, &g);
    if (k->T <= 512)
        ck_assert_mem_eq(g.out.data, c.out.data, (size_t)(k->T * k->h) * br_dtype_size((int)k->x));
    c.n_in--; /* without a sum: of frozen words */
    same_as_first(p, &k->dx, &c.out);
    run_call(p, &c);
    same_as_first(p, &k->dx, &c.out);
    tensor_free(&s.out);
    tensor_free(&g.out);
    tensor_free(&c.out);
    tensor_free(&loss);
    tensor_free(&dw);
    head_drop(&d);
}

/* Tokens of one block and of several, the last one smaller. */
static struct head_case pass_cases[] = {
    {.T = 35, .h = 40, .V = 1100, .parts = 1, .x = BR_F32, .w = BR_BF16, .precision = BR_F32},
    {.T = 35, .h = 40, .V = 1100, .parts = 1, .x = BR_BF16, .w = BR_BF16, .precision = BR_BF16},
    {.T = 2060, .h = 16, .V = 24, .parts = 1, .x = BR_F32, .w = BR_F32, .precision = BR_F32},
    {.T = 2060, .h = 16, .V = 24, .parts = 1, .x = BR_BF16, .w = BR_BF16, .precision = BR_BF16},
};

START_TEST(head_in_one_pass)
{
    in_each_place(pass_in_place, &pass_cases[_i]);
    free(pass_cases[_i].loss.bits);
    free(pass_cases[_i].dx.bits);
    free(pass_cases[_i].dw.bits);
}
END_TEST

/* Without a sum, the gradient by x alone. */
static void head_frozen(const struct kern_place *p, void *arg)
{
    struct head_case k = head_cases[1];
    (void)arg;
    struct head d = head_make(&k);
    struct kern_call s = head_call(&k, &d, BR_OP_LM_HEAD_STATS, 0);
    s.out = TENSOR(BR_F32, k.T, 3);
    run_call(p, &s);
    struct kern_call c = head_call(&k, &d, BR_OP_LM_HEAD_GRAD, 0);
    c.in[c.n_in++] = s.out;
    c.in[c.n_in++] = d.y;
    c.out = TENSOR(BR_F32, k.T, k.h);
    run_call(p, &c);
    ck_assert_double_lt(off_tensor(&c.out, d.dx), 2e-6);
    tensor_free(&s.out);
    tensor_free(&c.out);
    head_drop(&d);
}

START_TEST(head_of_frozen_words)
{
    in_each_place(head_frozen, NULL);
}
END_TEST

/* ---- the gradient of attention --------------------------------------------------------------- */

struct back_case {
    int64_t d, group, window;
    uint32_t dtype;
    int kept; /* the forward pass left its result and log sums */
    int n_seqs, n[3];
    int before; /* keys of each sequence before its first query */
    struct first dx;
};

struct backward {
    int64_t T, S, hq, hk;
    struct br_tensor q, k, v, y, seqs;
    double *o, *log_sum, *dx; /* [T, hq, d], [T, hq], [S, (hq + 2 hk) d] */
};

static double inner(const struct br_tensor *a, int64_t i, const struct br_tensor *b, int64_t j,
                    int64_t d)
{
    double s = 0;
    for (int64_t c = 0; c < d; c++)
        s += get(a, i * d + c) * get(b, j * d + c);
    return s;
}

/* Head h of token t, which sees the keys [from, own], by the definition. */
static void back_token(const struct back_case *k, struct backward *b, int64_t t, int64_t h,
                       int64_t from, int64_t own, double *p)
{
    int64_t d = k->d, head = h / k->group, row = (b->hq + 2 * b->hk) * d;
    double max = -INFINITY, sum = 0, along = 0, *o = b->o + (t * b->hq + h) * d;
    for (int64_t j = from; j <= own; j++) {
        p[j] = 0.25 * inner(&b->q, t * b->hq + h, &b->k, j * b->hk + head, d);
        max = p[j] > max ? p[j] : max;
    }
    for (int64_t j = from; j <= own; j++)
        sum += exp(p[j] - max);
    b->log_sum[t * b->hq + h] = max + log(sum);
    for (int64_t j = from; j <= own; j++) {
        p[j] = exp(p[j] - max) / sum;
        for (int64_t c = 0; c < d; c++)
            o[c] += p[j] * get(&b->v, (j * b->hk + head) * d + c);
    }
    for (int64_t c = 0; c < d; c++)
        along += o[c] * get(&b->y, (t * b->hq + h) * d + c);
    for (int64_t j = from; j <= own; j++) {
        double *dk = b->dx + j * row + (b->hq + head) * d, *dv = dk + b->hk * d;
        double *dq = b->dx + t * row + h * d;
        double dp = inner(&b->y, t * b->hq + h, &b->v, j * b->hk + head, d);
        double ds = 0.25 * p[j] * (dp - along);
        for (int64_t c = 0; c < d; c++) {
            dv[c] += p[j] * get(&b->y, (t * b->hq + h) * d + c);
            dk[c] += ds * get(&b->q, (t * b->hq + h) * d + c);
            dq[c] += ds * get(&b->k, (j * b->hk + head) * d + c);
        }
    }
}

static struct br_tensor heads_of(uint32_t dtype, int64_t T, int64_t h, int64_t d, uint64_t seed)
{
    struct br_tensor t = TENSOR(dtype, T, h, d);
    for (int64_t i = 0; i < count(&t); i++)
        set(&t, i, (double)kern_random(&seed));
    return t;
}

static struct backward back_make(const struct back_case *k)
{
    struct backward b = {
        .T = 2, .S = 2, .hk = 2, .hq = 2 * k->group}; /* two tokens belong to no sequence */
    int32_t seqs[3][5];
    for (int i = 0; i < k->n_seqs; i++) {
        int32_t keys = k->before + k->n[i];
        memcpy(seqs[i], (const int32_t[]){(int32_t)b.T, k->n[i], (int32_t)b.S, keys, 0}, 20);
        b.T += k->n[i];
        b.S += keys;
    }
    b.q = heads_of(k->dtype, b.T, b.hq, k->d, 1);
    b.k = heads_of(k->dtype, b.S, b.hk, k->d, 2);
    b.v = heads_of(k->dtype, b.S, b.hk, k->d, 3);
    b.y = heads_of(k->dtype, b.T, b.hq, k->d, 4);
    b.seqs = TENSOR(BR_I32, k->n_seqs, 5);
    memcpy(b.seqs.data, seqs, (size_t)k->n_seqs * 20);
    b.o = calloc((size_t)(b.T * b.hq * k->d), sizeof *b.o);
    b.log_sum = calloc((size_t)(b.T * b.hq), sizeof *b.log_sum);
    b.dx = calloc((size_t)(b.S * (b.hq + 2 * b.hk) * k->d), sizeof *b.dx);
    double *p = calloc((size_t)b.S, sizeof *p);
    for (int i = 0; i < k->n_seqs; i++)
        for (int64_t t = seqs[i][0]; t < seqs[i][0] + k->n[i]; t++)
            for (int64_t h = 0; h < b.hq; h++) {
                int64_t own = t - seqs[i][0] + seqs[i][2] + k->before;
                int64_t from = k->window ? own - k->window + 1 : 0;
                back_token(k, &b, t, h, from > seqs[i][2] ? from : seqs[i][2], own, p);
            }
    free(p);
    return b;
}

struct back_arg {
    struct back_case *k;
    struct backward b;
};

static void back_in_place(const struct kern_place *p, void *arg)
{
    struct back_arg *a = arg;
    const struct back_case *k = a->k;
    struct backward *b = &a->b;
    struct br_tensor o = TENSOR(k->dtype, b->T, b->hq, k->d), sums = TENSOR(BR_F32, b->T, b->hq);
    struct kern_call f = {.op = BR_OP_ATTENTION, .n_in = 5, .attr.f = {0.25}, .out = o};
    memcpy(f.in, (struct br_tensor[]){b->q, b->k, b->v, b->seqs, sums}, 5 * sizeof o);
    f.attr.i[0] = k->window;
    run_call(p, &f);
    ck_assert_double_lt(off_tensor(&o, b->o), k->dtype == BR_BF16 ? 8e-3 : 1e-5);
    ck_assert_double_lt(off_tensor(&sums, b->log_sum), k->dtype == BR_BF16 ? 2e-3 : 1e-6);
    struct kern_call c = f;
    c.op = BR_OP_ATTENTION_GRAD;
    c.n_in = k->kept ? 7 : 5;
    c.in[4] = b->y;
    c.in[5] = o;
    c.in[6] = sums;
    c.out = TENSOR(k->dtype, b->S, (b->hq + 2 * b->hk) * k->d);
    memset(c.out.data, 0xFF, (size_t)count(&c.out) * br_dtype_size((int)k->dtype));
    run_call(p, &c);
    for (int64_t t = b->T; t < b->S; t++) /* of no query */
        for (int64_t i = 0; i < b->hq * k->d; i++)
            set(&c.out, t * c.out.stride[0] + i, 0);
    double off = off_tensor(&c.out, b->dx);
    ck_assert_msg(off < (k->dtype == BR_BF16 ? 1e-2 : 1e-5), "%s: off by %g", p->tier, off);
    same_as_first(p, &a->k->dx, &c.out);
    tensor_free(&o);
    tensor_free(&sums);
    tensor_free(&c.out);
}

/* Whole and partial blocks, single rows; several sequences; a window; odd widths; keys before. */
static struct back_case back_cases[] = {
    {.d = 16, .group = 2, .dtype = BR_F32, .kept = 1, .n_seqs = 1, .n = {300}},
    {.d = 16, .group = 2, .dtype = BR_BF16, .kept = 1, .n_seqs = 1, .n = {300}},
    {.d = 24, .group = 3, .dtype = BR_F32, .kept = 1, .n_seqs = 3, .n = {70, 1, 130}},
    {.d = 24, .group = 3, .dtype = BR_BF16, .kept = 0, .n_seqs = 3, .n = {70, 1, 130}},
    {.d = 7, .group = 5, .window = 30, .dtype = BR_F32, .kept = 0, .n_seqs = 2, .n = {150, 20}},
    {.d = 40, .group = 1, .window = 1, .dtype = BR_BF16, .kept = 1, .n_seqs = 1, .n = {140}},
    {.d = 64, .group = 7, .dtype = BR_BF16, .kept = 1, .n_seqs = 3, .n = {70, 1, 33}},
    {.d = 128, .group = 1, .window = 40, .dtype = BR_BF16, .kept = 0, .n_seqs = 2, .n = {131, 5}},
    {.d = 256, .group = 2, .dtype = BR_BF16, .kept = 1, .n_seqs = 1, .n = {40}},
    {.d = 12, .group = 2, .dtype = BR_F32, .kept = 0, .n_seqs = 2, .n = {17, 40}, .before = 50},
    {.d = 64, .group = 2, .dtype = BR_BF16, .kept = 1, .n_seqs = 2, .n = {33, 20}, .before = 70},
    {.d = 256,
     .group = 2,
     .window = 60,
     .dtype = BR_BF16,
     .kept = 1,
     .n_seqs = 2,
     .n = {35, 9},
     .before = 50},
};

START_TEST(attention_backwards)
{
    struct back_arg a = {&back_cases[_i], back_make(&back_cases[_i])};
    struct br_tensor *all[] = {&a.b.q, &a.b.k, &a.b.v, &a.b.y, &a.b.seqs};
    in_each_place(back_in_place, &a);
    for (size_t i = 0; i < BR_COUNTOF(all); i++)
        tensor_free(all[i]);
    free(a.b.o);
    free(a.b.log_sum);
    free(a.b.dx);
    free(a.k->dx.bits);
}
END_TEST

/* ---- sums that ops add to -------------------------------------------------------------------- */

static void add_to(const struct kern_place *p, void *arg)
{
    static const uint32_t dtypes[] = {BR_F32, BR_BF16};
    (void)arg;
    for (int k = 0; k < 4; k++) {
        struct br_tensor sum = grid(dtypes[k & 1], 5, 37, 7), x = grid(dtypes[k >> 1], 5, 37, 9);
        double *want = calloc(5 * 37, sizeof *want);
        for (int64_t i = 0; i < count(&sum); i++) {
            set(&x, i, get(&x, i) * 0.6);
            want[i] = round_to(sum.dtype, get(&sum, i) + get(&x, i));
        }
        struct kern_call c = {.op = BR_OP_ADD_TO, .n_in = 2, .in = {sum, x}, .out = sum};
        run_call(p, &c);
        ck_assert_double_eq(off_tensor(&sum, want), 0);
        tensor_free(&sum);
        tensor_free(&x);
        free(want);
    }
}

START_TEST(adding_to_a_sum)
{
    in_each_place(add_to, NULL);
}
END_TEST

static void embed_grad_add(const struct kern_place *p, void *arg)
{
    const int32_t ids[] = {3, 9, 3, -5, 7, 1 << 30, 4, 3};
    const int64_t T = BR_COUNTOF(ids), h = 21, V = 6, first = 2;
    (void)arg;
    struct br_tensor y = grid(BR_F32, T, h, 11), sum = grid(BR_F32, V, h, 13);
    double *want = calloc((size_t)(V * h), sizeof *want);
    struct kern_call c = {.op = BR_OP_EMBED_GRAD_ADD, .n_in = 3, .attr.i = {first}};
    c.in[0] = y;
    c.in[1] = TENSOR(BR_I32, T);
    memcpy(c.in[1].data, ids, sizeof ids);
    c.in[2] = c.out = sum;
    for (int64_t i = 0; i < V * h; i++)
        want[i] = get(&sum, i);
    for (int64_t t = 0; t < T; t++)
        for (int64_t i = 0; i < h && ids[t] >= first && ids[t] < first + V; i++)
            want[(ids[t] - first) * h + i] += get(&y, t * h + i);
    run_call(p, &c);
    ck_assert_double_eq(off_tensor(&sum, want), 0);
    tensor_free(&c.in[1]);
    tensor_free(&y);
    tensor_free(&sum);
    free(want);
}

START_TEST(adding_to_an_embedding)
{
    in_each_place(embed_grad_add, NULL);
}
END_TEST

static void zeros(const struct kern_place *p, void *arg)
{
    (void)arg;
    struct kern_call c = {.op = BR_OP_ZEROS, .out = TENSOR(BR_F32, 7, 33)};
    memset(c.out.data, 0xFF, 7 * 33 * sizeof(float));
    run_call(p, &c);
    for (int64_t i = 0; i < 7 * 33; i++)
        ck_assert(floats(&c.out)[i] == 0);
    tensor_free(&c.out);
}

START_TEST(zeros_are_zeros)
{
    in_each_place(zeros, NULL);
}
END_TEST

/* ---- the optimizer --------------------------------------------------------------------------- */

static struct br_tensor random_of(uint32_t dtype, int64_t n, uint64_t seed)
{
    struct br_tensor t = TENSOR(dtype, n);
    for (int64_t i = 0; i < n; i++)
        set(&t, i, (double)kern_random(&seed));
    return t;
}

struct adam_case {
    int64_t n;
    uint32_t grad;
    int copy;
};

/* Bit by bit what the optimizer's reference makes of the same arrays. */
static void adamw_in_place(const struct kern_place *p, void *arg)
{
    const struct adam_case *k = arg;
    struct br__adamw h = br__adamw_make(&(struct br__adamw_opts){.lr = 3e-3,
                                                                 .weight_decay = 0.1,
                                                                 .beta1 = 0.9,
                                                                 .beta2 = 0.95,
                                                                 .eps = 1e-8,
                                                                 .step = 7,
                                                                 .grad_scale = 0.37f});
    struct br_tensor x[6], y[3], hyper = TENSOR(BR_F32, 8), grad = TENSOR(BR_F32, k->n);
    uint16_t *half = calloc((size_t)k->n, sizeof *half);
    for (uint64_t i = 0; i < 3; i++) {
        x[i] = random_of(BR_F32, k->n, i + 1);
        for (int64_t j = 0; i == 2 && j < k->n; j++)
            floats(&x[i])[j] = j % 9 ? fabsf(floats(&x[i])[j]) : 0;
        y[i] = with_gaps(&x[i], 0);
    }
    x[3] = random_of(k->grad, k->n, 9);
    br_cast(grad.data, BR_F32, x[3].data, (int)k->grad, (size_t)k->n, 0);
    memcpy(hyper.data, &h, sizeof h);
    x[4] = hyper;
    x[5] = TENSOR(BR_BF16, k->n);
    struct kern_call c = {.op = BR_OP_ADAMW, .n_in = k->copy ? 6 : 5, .out = x[0]};
    memcpy(c.in, x, sizeof x);
    run_call(p, &c);
    const struct br__adamw_arrays arrays = {.n = (size_t)k->n,
                                            .param = y[0].data,
                                            .m = y[1].data,
                                            .v = y[2].data,
                                            .grad = grad.data,
                                            .copy = half};
    adamw_reference(&h, &arrays);
    for (int i = 0; i < 3; i++)
        ck_assert_mem_eq(x[i].data, y[i].data, (size_t)k->n * sizeof(float));
    if (k->copy)
        ck_assert_mem_eq(x[5].data, half, (size_t)k->n * sizeof *half);
    for (int i = 0; i < 6; i++)
        tensor_free(&x[i]);
    for (int i = 0; i < 3; i++)
        tensor_free(&y[i]);
    tensor_free(&grad);
    free(half);
}

static struct adam_case adam_cases[] = {
    {5003, BR_F32, 1}, {5003, BR_F32, 0}, {64, BR_BF16, 1}, {7, BR_BF16, 0}};

START_TEST(adamw_is_the_reference)
{
    in_each_place(adamw_in_place, &adam_cases[_i]);
}
END_TEST

static void squares(const struct kern_place *p, void *arg)
{
    const int64_t sizes[] = {1, 15, 65536, 65537, 150001};
    (void)arg;
    for (size_t i = 0; i < BR_COUNTOF(sizes); i++) {
        struct br_tensor x = random_of(BR_F32, sizes[i], 21);
        struct kern_call c = {.op = BR_OP_SQUARE_SUMS, .n_in = 1, .in = {x}};
        c.out = TENSOR(BR_F64, (sizes[i] + 65535) / 65536);
        run_call(p, &c);
        for (int64_t j = 0; j < count(&c.out); j++) {
            int64_t at = j * 65536, left = sizes[i] - at;
            double want = squares_reference(floats(&x) + at, (size_t)BR__MIN(left, 65536));
            ck_assert_double_eq(((const double *)c.out.data)[j], want);
        }
        for (int64_t j = 0; j < sizes[i]; j += 3)
            floats(&x)[j] = j % 2 ? 0 : 1e-30F;
        c.attr = (struct br_attr){.i = {1}, .f = {1e-20}};
        run_call(p, &c);
        for (int64_t j = 0; j < count(&c.out); j++) {
            int64_t first = (j * 65536 + 2) / 3, end = BR__MIN(sizes[i], (j + 1) * 65536);
            ck_assert_double_eq(((const double *)c.out.data)[j], (double)((end + 2) / 3 - first));
        }
        tensor_free(&x);
        tensor_free(&c.out);
    }
}

START_TEST(squares_are_the_reference)
{
    in_each_place(squares, NULL);
}
END_TEST

static void casts(const struct kern_place *p, void *arg)
{
    static const uint32_t dtypes[] = {BR_F32, BR_BF16};
    (void)arg;
    for (int k = 0; k < 8; k++) {
        const int64_t n = k & 4 ? 5 * 40 : 5 * 37; /* whole vectors, and not */
        const uint32_t to = dtypes[k >> 1 & 1];
        struct br_tensor x = random_of(dtypes[k & 1], n, 3);
        double *want = calloc((size_t)n, sizeof *want);
        for (int64_t i = 0; i < n; i++)
            want[i] = round_to(to, get(&x, i));
        struct kern_call c = {.op = BR_OP_CAST, .n_in = 1, .in = {x}};
        c.out = TENSOR(to, n);
        run_call(p, &c);
        ck_assert_double_eq(off_tensor(&c.out, want), 0);
        tensor_free(&x);
        tensor_free(&c.out);
        free(want);
    }
}

START_TEST(casts_round)
{
    in_each_place(casts, NULL);
}
END_TEST

static void log_sums(const struct kern_place *p, void *arg)
{
    (void)arg;
    struct br_tensor x = TENSOR(BR_F32, 9, 131);
    double want[9] = {0};
    fill_random(&x, 5, 8);
    for (int64_t t = 0; t < 9; t++) {
        for (int64_t i = 0; i < 131; i++)
            want[t] += exp(get(&x, t * 131 + i));
        want[t] = log(want[t]);
    }
    struct kern_call c = {.op = BR_OP_LOG_SUM_EXP, .n_in = 1, .in = {x}};
    c.out = TENSOR(BR_F32, 9, 1);
    run_call(p, &c);
    ck_assert_double_lt(off_tensor(&c.out, want), 2e-7);
    tensor_free(&x);
    tensor_free(&c.out);
}

START_TEST(log_of_sums)
{
    in_each_place(log_sums, NULL);
}
END_TEST

#define DROP_ROWS 37
#define DROP_COLS 300

/* Dropout of ones: what remains of each is 0 or 1 / (1 - p).  state: two keys, and from where on
 * rows are numbered. */
static struct br_tensor dropped(const struct kern_place *p, uint32_t dtype, const int32_t state[3],
                                int64_t stream)
{
    int64_t with_numbers = state[2] ? DROP_ROWS : 0;
    struct br_tensor x = TENSOR(dtype, DROP_ROWS, DROP_COLS), s = TENSOR(BR_I32, 2 + with_numbers);
    for (int64_t i = 0; i < DROP_ROWS * DROP_COLS; i++)
        set(&x, i, 1);
    memcpy(s.data, state, 2 * sizeof *state);
    for (int64_t i = 0; i < with_numbers; i++)
        ((int32_t *)s.data)[2 + i] = state[2] + (int32_t)i;
    struct kern_call c = {
        .op = BR_OP_DROPOUT, .n_in = 2, .in = {x, s}, .attr = {.i = {stream}, .f = {0.25}}};
    c.out = TENSOR(dtype, DROP_ROWS, DROP_COLS);
    run_call(p, &c);
    tensor_free(&x);
    tensor_free(&s);
    return c.out;
}

/* Rows of ones that have numbers, and columns [from, from + n) of DROP_COLS.  halves: numbers are
 * not in the state but beside it. */
static struct br_tensor dropped_part(const struct kern_place *p, const int32_t *state, int64_t rows,
                                     int64_t from, int64_t n, int halves)
{
    struct br_tensor x = TENSOR(BR_F32, rows, n), s = TENSOR(BR_I32, 2 + (halves ? 0 : rows)),
                     numbers = TENSOR(BR_F32, rows, 2);
    for (int64_t i = 0; i < rows * n; i++)
        set(&x, i, 1);
    memcpy(s.data, state, (size_t)(2 + (halves ? 0 : rows)) * sizeof *state);
    for (int64_t i = 0; i < rows; i++) {
        set(&numbers, 2 * i, state[2 + i] / 65536);
        set(&numbers, 2 * i + 1, state[2 + i] % 65536);
    }
    struct kern_call c = {.op = BR_OP_DROPOUT,
                          .n_in = halves ? 3 : 2,
                          .in = {x, s, numbers},
                          .attr = {.i = {3, 0, DROP_COLS, from}, .f = {0.25}}};
    c.out = TENSOR(BR_F32, rows, n);
    run_call(p, &c);
    tensor_free(&x);
    tensor_free(&s);
    tensor_free(&numbers);
    return c.out;
}

/* A part of the rows, in any order, and of the columns drops what the whole does. */
static void parts_drop(const struct kern_place *p, void *arg)
{
    (void)arg;
    if (kern_device() && !kernel_of(p, BR_OP_DROPOUT, BR_F32))
        return;
    const int32_t state[5] = {77, -5, 35, 2, 17}, first[3] = {77, -5, 0},
                  far[3] = {77, -5, 40000000}, places[5] = {77, -5, 40000005, 40000000, 40000036};
    for (int halves = 0; halves < 2; halves++) {
        struct br_tensor all[] = {dropped(p, BR_F32, first, 3), dropped(p, BR_F32, far, 3)};
        struct br_tensor part[] = {dropped_part(p, state, 3, 100, 130, halves),
                                   dropped_part(p, places, 3, 100, 130, halves)};
        for (int64_t i = 0; i < 3 * 130; i++) {
            int64_t r = i / 130, col = 100 + i % 130;
            ck_assert(get(&part[0], i) == get(&all[0], state[2 + r] * DROP_COLS + col));
            ck_assert(get(&part[1], i) == get(&all[1], (places[2 + r] - far[2]) * DROP_COLS + col));
        }
        for (int k = 0; k < 2; k++) {
            tensor_free(&all[k]);
            tensor_free(&part[k]);
        }
    }
}

START_TEST(parts_of_dropout)
{
    in_each_place(parts_drop, NULL);
}
END_TEST

/* Of how many elements one is dropped and the other is not. */
static int64_t differing(const struct br_tensor *a, const struct br_tensor *b, int64_t shift)
{
    int64_t n = 0;
    for (int64_t i = 0; i + shift < count(a); i++)
        n += (get(a, i + shift) != 0) != (get(b, i) != 0);
    return n;
}

/* Every place drops the same; another key, stream or row drops others; a quarter of each column is
 * dropped, in the mean over keys, so the expectation of every element is what it was. */
static void dropouts(const struct kern_place *p, void *arg)
{
    struct br_tensor *first = arg;
    if (kern_device() && !kernel_of(p, BR_OP_DROPOUT, BR_F32))
        return; /* a device may lack it */
    const int32_t state[3] = {77, -5, 4}, next[3] = {77, -5, 5}, other[3] = {78, -5, 4};
    int64_t n = DROP_ROWS * DROP_COLS;
    struct br_tensor a = dropped(p, BR_F32, state, 3), b = dropped(p, BR_BF16, state, 3),
                     down = dropped(p, BR_F32, next, 3), key = dropped(p, BR_F32, other, 3),
                     stream = dropped(p, BR_F32, state, 4);
    for (int64_t i = 0; i < n; i++) {
        ck_assert(get(&a, i) == 0 || get(&a, i) == (double)(float)(1 / 0.75));
        ck_assert_double_eq(get(&b, i), round_to(BR_BF16, get(&a, i)));
    }
    ck_assert_int_eq(differing(&a, &down, DROP_COLS), 0);
    ck_assert_int_gt(differing(&a, &key, 0), n / 4);
    ck_assert_int_gt(differing(&a, &stream, 0), n / 4);
    ck_assert_int_gt(differing(&a, &a, 1), n / 4);
    if (!first->data)
        *first = dropped(p, BR_F32, state, 3);
    ck_assert_int_eq(differing(&a, first, 0), 0);
    tensor_free(&a);
    tensor_free(&b);
    tensor_free(&down);
    tensor_free(&key);
    tensor_free(&stream);
}

START_TEST(dropout_by_counter)
{
    struct br_tensor first = {0};
    in_each_place(dropouts, &first);
    tensor_free(&first);
}
END_TEST

static void expectations(const struct kern_place *p, void *arg)
{
    enum { KEYS = 400 };
    double sum[DROP_COLS] = {0};
    int *done = arg;
    if ((*done)++)
        return; /* all places drop the same */
    for (int32_t k = 0; k < KEYS; k++) {
        struct br_tensor a = dropped(p, BR_F32, (const int32_t[3]){k, 9, 0}, 0);
        for (int64_t i = 0; i < DROP_ROWS * DROP_COLS; i++)
            sum[i % DROP_COLS] += get(&a, i) / (KEYS * DROP_ROWS);
        tensor_free(&a);
    }
    for (int c = 0; c < DROP_COLS; c++) /* 6 standard deviations */
        ck_assert_double_lt(fabs(sum[c] - 1), 6 * sqrt(0.25 / 0.75 / (KEYS * DROP_ROWS)));
}

START_TEST(dropout_keeps_the_expectation)
{
    int done = 0;
    in_each_place(expectations, &done);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kernels_train");
    TCase *t = tcase_create("kernels_train");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, head_with_its_loss, 0, BR_COUNTOF(head_cases));
    tcase_add_loop_test(t, head_in_one_pass, 0, BR_COUNTOF(pass_cases));
    tcase_add_test(t, head_of_frozen_words);
    tcase_add_loop_test(t, attention_backwards, 0, BR_COUNTOF(back_cases));
    tcase_add_test(t, adding_to_a_sum);
    tcase_add_test(t, adding_to_an_embedding);
    tcase_add_test(t, zeros_are_zeros);
    tcase_add_loop_test(t, adamw_is_the_reference, 0, BR_COUNTOF(adam_cases));
    tcase_add_test(t, squares_are_the_reference);
    tcase_add_test(t, casts_round);
    tcase_add_test(t, log_of_sums);
    tcase_add_test(t, parts_of_dropout);
    tcase_add_test(t, dropout_by_counter);
    tcase_add_test(t, dropout_keeps_the_expectation);
    suite_add_tcase(s, t);
    return run_suite(s);
}
