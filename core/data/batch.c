/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* batch.c - samples to rows of one length. */
#include "data.h"
#include "samples.h"

#include <inttypes.h>
#include <string.h>

static int batch_room(struct br__batch *b, int64_t tokens, int64_t rows, int64_t ends,
                      struct br_err *err)
{
    if (tokens <= b->cap && rows <= b->cap_rows && ends <= b->cap)
        return BR_OK;
    br__batch_free(b);
    tokens = BR__MAX(tokens, ends);
    b->ids = br__calloc((size_t)tokens, sizeof *b->ids);
    b->labels = br__calloc((size_t)tokens, sizeof *b->labels);
    b->positions = br__calloc((size_t)tokens, sizeof *b->positions);
    b->weights = br__calloc((size_t)tokens, sizeof *b->weights);
    b->ends = br__calloc((size_t)tokens, sizeof *b->ends);
    b->n_real = br__calloc((size_t)rows, sizeof *b->n_real);
    if (!b->ids || !b->labels || !b->positions || !b->weights || !b->ends || !b->n_real) {
        br__batch_free(b);
        return br__nomem(err, "for a batch of %" PRId64 " tokens", tokens);
    }
    b->cap = tokens;
    b->cap_rows = rows;
    return BR_OK;
}

int64_t br__batch_length(const struct br__sample *s, int64_t n, const struct br__collate *c)
{
    int64_t len = 1, m = BR__MAX(1, c->multiple);
    for (int64_t i = 0; i < n; i++)
        len = BR__MAX(len, s[i].span);
    len = (len + m - 1) / m * m;
    return c->max && (c->to_max || len > c->max) ? c->max : len;
}

static void put_row(struct br__batch *b, int64_t row, const struct br__sample *s,
                    const struct br__collate *c)
{
    int64_t at = row * b->length, n = BR__MIN(s->n, b->length);
    memcpy(b->ids + at, s->ids, (size_t)n * sizeof *b->ids);
    memcpy(b->labels + at, s->labels, (size_t)n * sizeof *b->labels);
    memcpy(b->positions + at, s->positions, (size_t)n * sizeof *b->positions);
    memcpy(b->weights + at, s->weights, (size_t)n * sizeof *b->weights);
    for (int64_t i = n; i < b->length; i++) {
        b->ids[at + i] = b->labels[at + i] = c->pad_id;
        b->positions[at + i] = c->packed ? 0 : (int32_t)i;
        b->weights[at + i] = 0;
    }
    b->n_real[row] = (int32_t)n;
    for (int64_t k = 0; k < s->n_ends; k++) {
        int64_t end = BR__MIN(s->ends[k], n);
        if (b->n_ends == 0 || b->ends[b->n_ends - 1] < at + end)
            b->ends[b->n_ends++] = (int32_t)(at + end);
    }
    if (n < b->length)
        b->ends[b->n_ends++] = (int32_t)(at + b->length);
    for (int64_t i = 0; i < n; i++)
        b->n_loss += (double)s->weights[i];
}

int br__batch_fill(struct br__batch *b, const struct br__sample *samples, int64_t n,
                   const struct br__collate *c, struct br_err *err)
{
    int64_t length = br__batch_length(samples, n, c), ends = 0;
    for (int64_t i = 0; i < n; i++)
        ends += samples[i].n_ends + 1;
    if (length > INT32_MAX / BR__MAX(1, n))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "a batch of %" PRId64 " rows of %" PRId64 " tokens; 2^31 are the limit", n,
                       length);
    int rc = batch_room(b, n * length, n, ends, err);
    if (rc)
        return rc;
    b->n_rows = n;
    b->length = length;
    b->n_ends = 0;
    b->n_loss = 0;
    for (int64_t i = 0; i < n; i++)
        put_row(b, i, &samples[i], c);
    return BR_OK;
}

void br__batch_free(struct br__batch *b)
{
    br__free(b->ids);
    br__free(b->labels);
    br__free(b->positions);
    br__free(b->weights);
    br__free(b->ends);
    br__free(b->n_real);
    *b = (struct br__batch){0};
}
