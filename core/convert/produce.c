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
            uint64_t wide = br_dtype_size(p->b.src->tensors[seg->src].dtype);
            take = BR__MIN(take, BR__OUT_BUF / BR__MAX(wide, (uint64_t)size));
            const struct br__elements from = {seg->src, out->dtype,
                                              seg->src_row * out->row_elems + at, take, out->add};
            int rc = br__elements_read(&p->b, &from, to, s, err);
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
