/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* produce.c - the bytes of a plan's pieces: rows gathered from the source, dequantised, shifted,
 * cast (core/model, elements.c).
 *
 * Import, export, verify and the digests of the manifest all read through here, so there is one
 * definition of what a converted tensor is. */
#include "job.h"

#include <string.h>

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

struct br__range br__piece_range(const struct br__plan *p, size_t piece, uint64_t e)
{
    const struct br__piece *pc = &p->pieces[piece];
    uint64_t row = p->outs[pc->out].row_elems;
    const struct br__seg *seg = find_seg(p, pc, e / row);
    uint64_t at = e - seg->dst_row * row; /* elements into the segment */
    return (struct br__range){seg->src, seg->src_row * row + at, seg->n * row - at};
}

int br__piece_read(const struct br__plan *p, size_t piece, uint64_t off, void *dst, size_t n,
                   struct br__scratch *s, struct br_err *err)
{
    const struct br__plan_out *out = &p->outs[p->pieces[piece].out];
    uint32_t size = br_dtype_size(out->dtype);
    unsigned char *to = dst;
    uint64_t e = off / size, left = n / size;
    while (left) {
        struct br__range run = br__piece_range(p, piece, e);
        uint64_t take = BR__MIN(left, run.n);
        if (run.src == BR__SRC_ZERO) {
            memset(to, 0, take * size);
        } else {
            /* A wide source fills the scratch before the destination is full. */
            uint64_t wide = br_dtype_size(p->b.src->tensors[run.src].dtype);
            take = BR__MIN(take, BR__OUT_BUF / BR__MAX(wide, (uint64_t)size));
            const struct br__elements from = {run.src, out->dtype, run.from, take, out->add};
            int rc = br__elements_read(&p->b, &from, to, s, err);
            if (rc)
                return rc;
        }
        to += take * size;
        e += take;
        left -= take;
    }
    return BR_OK;
}
