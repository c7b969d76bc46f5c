/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* elements.c - values of a bound tensor: as stored, dequantised, cast, shifted. */
#include "model.h"

#include <string.h>

/* ---- FP8 ------------------------------------------------------------------------------------- */

#define MAX_BLOCK_COLS 4096

/* The scales of one row of blocks, in float32. */
static int read_scales(const struct br__binding *b, uint32_t src, uint64_t block_row, uint64_t cols,
                       float *scales, struct br_err *err)
{
    const struct br__tensor *st = &b->src->tensors[b->scale_of[src]];
    uint32_t size = br_dtype_size(st->dtype);
    unsigned char raw[MAX_BLOCK_COLS * sizeof(double)];
    if (cols > MAX_BLOCK_COLS)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "'%s' has %llu blocks in a row, at most %d are "
                       "supported",
                       st->name, (unsigned long long)cols, MAX_BLOCK_COLS);
    int rc = br__ckpt_read(b->src, st, block_row * cols * size, raw, cols * size, err);
    if (!rc)
        br_cast(scales, BR_F32, raw, st->dtype, cols, 0);
    return rc;
}

/* Elements of a block-quantised matrix (or stack of matrices). */
static int read_fp8(const struct br__binding *b, const struct br__elements *e, unsigned char *dst,
                    struct br__scratch *s, struct br_err *err)
{
    const struct br__tensor *t = &b->src->tensors[e->src];
    uint64_t e0 = e->first;
    size_t n = e->n;
    uint64_t cols = (uint64_t)t->shape[t->ndim - 1], rows = (uint64_t)t->shape[t->ndim - 2];
    uint64_t b0 = (uint64_t)b->cfg->fp8_block[0], b1 = (uint64_t)b->cfg->fp8_block[1];
    uint64_t block_cols = (cols + b1 - 1) / b1, block_rows = (rows + b0 - 1) / b0;
    uint64_t have = UINT64_MAX;
    float scales[MAX_BLOCK_COLS];
    int rc = br__ckpt_read(b->src, t, e0, s->buf, n, err);
    for (size_t done = 0; done < n && !rc;) {
        uint64_t row = (e0 + done) / cols, col = (e0 + done) % cols;
        uint64_t block_row = row / rows * block_rows + row % rows / b0;
        size_t run = BR__MIN(n - done, (size_t)(cols - col));
        if (block_row != have && (rc = read_scales(b, e->src, block_row, block_cols, scales, err)))
            break;
        have = block_row;
        br_dequant_e4m3(dst + done * br_dtype_size(e->to), e->to, s->buf + done, run, scales,
                        (int64_t)col, (int64_t)b1);
        done += run;
    }
    return rc;
}

/* ---- elements -------------------------------------------------------------------------------- */

int br__elements_read(const struct br__binding *b, const struct br__elements *e, void *dst,
                      struct br__scratch *s, struct br_err *err)
{
    const struct br__tensor *t = &b->src->tensors[e->src];
    uint32_t from = br_dtype_size(t->dtype);
    if (t->dtype == BR_F8_E4M3)
        return read_fp8(b, e, dst, s, err);
    if (t->dtype == e->to && e->add == 0)
        return br__ckpt_read(b->src, t, e->first * from, dst, e->n * from, err);
    int rc = br__ckpt_read(b->src, t, e->first * from, s->buf, e->n * from, err);
    if (!rc)
        br_cast(dst, e->to, s->buf, t->dtype, e->n, e->add);
    return rc;
}
