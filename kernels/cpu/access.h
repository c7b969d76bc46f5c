/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* access.h - how kernels walk over the tensors of a call: rows, ranges of rows, sequences.
 *
 * Inputs may be strided in every axis but the last.  Indices that come from i32 tensors are checked
 * here or where they are used: whatever they hold, no kernel reads or writes outside the shapes. */
#ifndef BR__ACCESS_H
#define BR__ACCESS_H

#include "cpu.h"

static inline int64_t br__cols(const struct br_tensor *t)
{
    return t->n_dim > 0 ? t->shape[t->n_dim - 1] : 1;
}

/* A row is one index of all axes but the last. */
static inline int64_t br__rows(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i + 1 < t->n_dim; i++)
        n *= t->shape[i];
    return n;
}

/* Elements from the tensor's first to the first of row r. */
static inline int64_t br__row_at(const struct br_tensor *t, int64_t r)
{
    if (t->n_dim < 2)
        return 0;
    int64_t at = 0;
    for (uint32_t i = t->n_dim - 2; i > 0; i--) {
        at += r % t->shape[i] * t->stride[i];
        r /= t->shape[i];
    }
    return at + r * t->stride[0];
}

static inline float *br__row(const struct br_tensor *t, int64_t r)
{
    return (float *)t->data + br__row_at(t, r);
}

/* Element `col` of row r, whatever the dtype. */
static inline char *br__place(const struct br_tensor *t, int64_t r, int64_t col)
{
    int64_t size = t->dtype == BR_BF16 || t->dtype == BR_F16 ? 2 : 4;
    return (char *)t->data + (br__row_at(t, r) + col) * size;
}

/* Head h of token t of x[T, H, d]; a missing head axis is one head. */
static inline float *br__head(const struct br_tensor *x, int64_t t, int64_t h)
{
    return (float *)x->data + t * x->stride[0] + h * x->stride[1];
}

static inline const int32_t *br__ints(const struct br_tensor *t)
{
    return t->data;
}

/* ---- row ranges: this thread's elements of a tensor, row by row ------------------------------ */

struct br__row_range {
    int64_t row, col, n; /* n elements of a row from col on */
    int64_t at, end, cols;
};

/* Of rows x cols elements; a range never starts inside of a cache line of a contiguous tensor. */
static inline struct br__row_range br__row_ranges(const struct br_call *c, int64_t rows,
                                                  int64_t cols)
{
    struct br__row_range s = {.cols = cols};
    br__thread_range(c, rows * cols, 16, &s.at, &s.end);
    return s;
}

static inline int br__row_range_next(struct br__row_range *s)
{
    if (s->at >= s->end)
        return 0;
    s->row = s->at / s->cols;
    s->col = s->at - s->row * s->cols;
    s->n = min_of(s->cols - s->col, s->end - s->at);
    s->at += s->n;
    return 1;
}

/* ---- sequences ------------------------------------------------------------------------------- */

struct br__seq {
    int64_t q0, nq, k0, nk, slot;
};

/* Row i of seqs; 0 if it names rows outside of T queries or S keys, or no query: such
 * an entry owns no rows. */
static inline int br__seq_at(const struct br_tensor *seqs, int64_t i, int64_t T, int64_t S,
                             struct br__seq *s)
{
    const int32_t *v = br__ints(seqs) + i * seqs->stride[0];
    *s = (struct br__seq){v[0], v[1], v[2], v[3], v[4]};
    return s->q0 >= 0 && s->nq > 0 && s->q0 + s->nq <= T && s->k0 >= 0 && s->nk >= s->nq &&
           s->k0 + s->nk <= S;
}

/* Whether the sequences hold every one of T query rows. */
static inline int br__seqs_cover(const struct br_tensor *seqs, int64_t T, int64_t S)
{
    struct br__seq s;
    int64_t n = 0;
    for (int64_t i = 0; i < seqs->shape[0]; i++)
        if (br__seq_at(seqs, i, T, S, &s))
            n += s.nq;
    return n == T;
}

/* Floats, rounded up to whole cache lines. */
static inline size_t br__line(int64_t n)
{
    return ((size_t)n + 15) / 16 * 16;
}

/* The next n floats of a scratch area. */
static inline float *br__carve(float **scratch, int64_t n)
{
    float *p = *scratch;
    *scratch += br__line(n);
    return p;
}

#endif
