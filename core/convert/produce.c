/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* produce.c - the bytes of a plan's pieces: rows gathered from the source, dequantised, shifted,
 * cast.
 *
 * Import, export, verify and the digests of the manifest all read through here, so there is one
 * definition of what a converted tensor is. */
#include "convert.h"

#include <string.h>

/* ---- FP8 ------------------------------------------------------------------------------------- */

#define MAX_BLOCK_COLS 4096

/* The scales of one row of blocks, in float32. */
static int read_scales(const struct br__plan *p, uint32_t src, uint64_t block_row, uint64_t cols,
                       float *scales, struct br_err *err)
{
    const struct br__tensor *st = &p->src->tensors[p->scale_of[src]];
    uint32_t size = br_dtype_size(st->dtype);
    unsigned char raw[MAX_BLOCK_COLS * sizeof(double)];
    if (cols > MAX_BLOCK_COLS)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "'%s' has %llu blocks in a row, at most %d are "
                       "supported",
                       st->name, (unsigned long long)cols, MAX_BLOCK_COLS);
    int rc = br__ckpt_read(p->src, st, block_row * cols * size, raw, cols * size, err);
    if (!rc)
        br_cast(scales, BR_F32, raw, st->dtype, cols, 0);
    return rc;
}

/* Elements [e0, e0 + n) of a block-quantised matrix (or stack of matrices). */
static int read_fp8(const struct br__plan *p, uint32_t src, uint64_t e0, size_t n, int to,
                    unsigned char *dst, struct br__scratch *s, struct br_err *err)
{
    const struct br__tensor *t = &p->src->tensors[src];
    uint64_t cols = (uint64_t)t->shape[t->ndim - 1], rows = (uint64_t)t->shape[t->ndim - 2];
    uint64_t b0 = (uint64_t)p->cfg->fp8_block[0], b1 = (uint64_t)p->cfg->fp8_block[1];
    uint64_t block_cols = (cols + b1 - 1) / b1, block_rows = (rows + b0 - 1) / b0;
    uint64_t have = UINT64_MAX;
    float scales[MAX_BLOCK_COLS];
    int rc = br__ckpt_read(p->src, t, e0, s->buf, n, err);
    for (size_t done = 0; done < n && !rc;) {
        uint64_t row = (e0 + done) / cols, col = (e0 + done) % cols;
        uint64_t block_row = row / rows * block_rows + row % rows / b0;
        size_t run = BR__MIN(n - done, (size_t)(cols - col));
        if (block_row != have && (rc = read_scales(p, src, block_row, block_cols, scales, err)))
            break;
        have = block_row;
        br_dequant_e4m3(dst + done * br_dtype_size(to), to, s->buf + done, run, scales,
                        (int64_t)col, (int64_t)b1);
        done += run;
    }
    return rc;
}

/* ---- elements -------------------------------------------------------------------------------- */

int br__elements_read(const struct br__plan *p, uint32_t src, uint64_t e0, size_t n, int to,
                      double add, void *dst, struct br__scratch *s, struct br_err *err)
{
    const struct br__tensor *t = &p->src->tensors[src];
    uint32_t from = br_dtype_size(t->dtype);
    if (t->dtype == BR_F8_E4M3)
        return read_fp8(p, src, e0, n, to, dst, s, err);
    if (t->dtype == to && add == 0)
        return br__ckpt_read(p->src, t, e0 * from, dst, n * from, err);
    int rc = br__ckpt_read(p->src, t, e0 * from, s->buf, n * from, err);
    if (!rc)
        br_cast(dst, to, s->buf, t->dtype, n, add);
    return rc;
}

/* ---- pieces ---------------------------------------------------------------------------------- */

/* The segment that holds row `row` of a piece. */
static const struct br__seg *find_seg(const struct br__plan *p, const struct br__piece *piece,
                                      uint64_t row)
{
    const struct br__seg *segs = p->segs + piece->first_seg;
    size_t lo = 0, hi = piece->n_segs;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (segs[mid].dst_row <= row)
            lo = mid;
        else
            hi = mid;
    }
    return &segs[lo];
}

int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err)
{
    const struct br__piece *pc = &p->pieces[piece];
    const struct br__plan_out *out = &p->outs[pc->out];
    uint32_t size = br_dtype_size(out->dtype);
    unsigned char *to = dst;
    uint64_t e = off / size, left = n / size;
    const struct br__seg *seg = left ? find_seg(p, pc, e / out->row_elems) : NULL;
    while (left) {
        uint64_t at = e - seg->dst_row * out->row_elems; /* elements into the segment */
        uint64_t in_seg = seg->n * out->row_elems - at;
        uint64_t take = BR__MIN(left, in_seg);
        if (seg->src == BR__SRC_ZERO) {
            memset(to, 0, take * size);
        } else {
            /* A wide source fills the scratch sooner than the destination. */
            uint64_t wide = br_dtype_size(p->src->tensors[seg->src].dtype);
            take = BR__MIN(take, BR__OUT_BUF / BR__MAX(wide, (uint64_t)size));
            int rc = br__elements_read(p, seg->src, seg->src_row * out->row_elems + at, take,
                                       out->dtype, out->add, to, s, err);
            if (rc)
                return rc;
        }
        to += take * size;
        e += take;
        left -= take;
        seg += take == in_seg;
    }
    return BR_OK;
}
