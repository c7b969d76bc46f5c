/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_shift.c - reads a rank's buffer of which every stored tensor is shifted (train_repair.c
 * says why, and finds by how much). */
#include "train.h"

#include <string.h>

struct local_read {
    const struct br__ckpt *ck;
    const struct br__tensor *tensor; /* of the global shape, any float dtype */
    float *dst;
};

static int take_range(void *ud, uint64_t at, uint64_t n, struct br_err *err)
{
    struct local_read *r = ud;
    size_t elements = (size_t)(n / sizeof(float));
    int rc = br__train_read_as_f32(r->ck, r->tensor, at / sizeof(float), r->dst, elements, err);
    r->dst += elements;
    return rc;
}

int br__train_read_local(const struct br__train_state *s, uint32_t rank, size_t local,
                         const struct br__tensor *tensor, uint64_t first, float *dst, size_t n,
                         struct br_err *err)
{
    const struct br__train_local *x = &s->layout->ranks[rank].list[local];
    struct local_read r = {s->ck, tensor, dst};
    struct br__tensor view = br__train_view(s, x->param);
    struct br__td_chunk box[2];
    size_t n_boxes = br__train_local_boxes(s, rank, local, box);
    uint64_t each = x->n / n_boxes;

    for (size_t b = 0; b < n_boxes && n; b++) {
        if (first >= each) {
            first -= each;
            continue;
        }
        size_t k = (size_t)BR__MIN(each - first, (uint64_t)n);
        int rc = br__td_walk_box(&view, &box[b], first * sizeof(float), k * sizeof(float),
                                 take_range, &r, err);
        if (rc)
            return rc;
        first = 0;
        n -= k;
    }
    return BR_OK;
}

struct br__train_piece br__train_find_piece(const struct br__train_state *s, uint32_t rank,
                                            size_t local, uint64_t first)
{
    const struct br__train_rank *r = &s->layout->ranks[rank];
    const struct br__train_local *x = &r->list[local];

    if (x->is_lost)
        return (struct br__train_piece){0, 0, x->n - first, 1};
    if (first >= x->shift)
        return (struct br__train_piece){local, first - x->shift, x->n - first, 0};
    uint64_t back = x->shift - first, left = x->n - first; /* before the start of `local` */
    for (size_t j = local; j-- > 0;) {
        uint64_t gap = r->list[j + 1].gap, n = r->list[j].n;
        if (back <= gap)
            return (struct br__train_piece){0, 0, BR__MIN(back, left), 1};
        back -= gap;
        if (back <= n)
            return (struct br__train_piece){j, n - back, BR__MIN(back, left),
                                            !br__train_is_stored(s, r, &r->list[j])};
        back -= n;
    }
    return (struct br__train_piece){0, 0, BR__MIN(back, left), 1};
}

int br__train_read_shifted(const struct br__train_state *s, uint32_t rank, size_t local, int kind,
                           uint64_t first, float *dst, size_t n, struct br_err *err)
{
    const struct br__train_rank *r = &s->layout->ranks[rank];
    const struct br__train_param *p = &s->params[r->list[local].param];

    while (n) {
        struct br__train_piece x = br__train_find_piece(s, rank, local, first);
        size_t k = (size_t)BR__MIN(x.n, (uint64_t)n);
        const struct br__tensor *stored =
            x.is_lost ? NULL : s->params[r->list[x.local].param].tensor[kind];
        int rc = BR_OK;
        if (stored)
            rc = br__train_read_local(s, rank, x.local, stored, x.first, dst, k, err);
        else if (kind == BR__OPTIM_MAIN)
            rc = br__train_read_local(s, rank, local, p->weight, first, dst, k, err);
        else
            memset(dst, 0, k * sizeof *dst);
        if (rc)
            return rc;
        first += k;
        dst += k;
        n -= k;
    }
    return BR_OK;
}
