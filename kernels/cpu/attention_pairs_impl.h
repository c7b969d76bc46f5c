/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_pairs_impl.h - prefill of attention of bfloat16 queries, in pairs; weights are rounded
 * to bfloat16, which everything else is.
 *
 * Needs: what attention_impl.h has defined where it includes this, BR__PAIRS.  Defines:
 * key_block_begin, query_rows_begin, update_tile.
 *
 * Packed as gemm_impl.h does it:
 *   w->q   panels of GEMM_MR queries
 *   w->kt  panels of GEMM_NR keys
 *   w->kv  panels of GEMM_NR columns of values
 *   w->p   panels of GEMM_MR rows of weights */

/* Row `row` of head h and those after it. */
BR__INLINE struct mat head_rows(const struct br_tensor *x, int64_t row, int64_t h, int k_major)
{
    const uint16_t *data = x->data;
    return (struct mat){(const char *)(data + row * x->stride[0] + h * x->stride[1]), BR_BF16,
                        k_major, x->stride[0]};
}

static struct key_block key_block_begin(const struct attention *a, const struct workspace *w,
                                        const struct br__seq *s, int64_t k, int64_t n,
                                        int64_t kv_head)
{
    const struct product keys = {.b = head_rows(a->k, s->k0 + k, kv_head, 0), .k = a->d};
    const struct product values = {.b = head_rows(a->v, s->k0 + k, kv_head, 1), .k = n};
    gemm_pack_b(&keys, w->kt, 0, n, 0, gemm_units(a->d));
    gemm_pack_b(&values, w->kv, 0, a->d, 0, gemm_units(n));
    return (struct key_block){.k = k, .n = n};
}

/* The rows as they are stored, in the room of their outputs, are packed. */
static void query_rows_begin(const struct attention *a, const struct workspace *w,
                             const struct br__seq *s, int64_t query, int64_t n, int64_t kv_head)
{
    const int64_t m = n * a->group, ku = gemm_units(a->d);
    uint16_t *room = (uint16_t *)(void *)w->o;
    const struct mat rows = {(const char *)room, BR_BF16, 0, a->d};
    for (int64_t r = 0, t, head; r < m; r++) {
        item_row(a, s, query, kv_head, r, &t, &head);
        memcpy(room + r * a->d,
               (const uint16_t *)a->q->data + t * a->q->stride[0] + head * a->q->stride[1],
               (size_t)a->d * sizeof *room);
        w->max[r] = -INFINITY;
        w->sum[r] = 0;
    }
    for (int64_t i = 0; i < m; i += GEMM_MR)
        gemm_pack_panel(w->q + i * ku, &rows, i, min_of(GEMM_MR, m - i), 0, ku, a->d);
    zero(w->o, m * WIDTH(a->d));
}

/* Rows i .. i + m of a work item and a block of keys. */
static void update_tile(const struct attention *a, const struct workspace *w,
                        const struct key_block *b, int64_t i, int64_t m, int64_t own)
{
    const int64_t n = seen_by(a, b, i, m, own), ku = gemm_units(a->d), pairs = gemm_units(n);
    const int64_t width = WIDTH(a->d);
    const struct mat weights = {(const char *)w->s, BR_F32, 0, KEY_BLOCK};
    for (int64_t j = 0; j < n; j += GEMM_NR)
        for (int64_t r = 0; r < m; r += GEMM_MR)
            gemm_micro(min_of(GEMM_MR, m - r), ku, w->q + (i + r) * ku, w->kt + j * ku,
                       w->s + r * KEY_BLOCK + j, KEY_BLOCK, n - j, 0);
    if (n == 0)
        return;
    for (int64_t r = 0; r < m; r++)
        scaled(w->s + r * KEY_BLOCK, w->s + r * KEY_BLOCK, a->scale, n);
    softmax_update_rows(a, w, b, i, m, own, n);
    for (int64_t r = 0; r < m; r += GEMM_MR)
        gemm_pack_panel(w->p + r * pairs, &weights, r, min_of(GEMM_MR, m - r), 0, pairs, n);
    for (int64_t j = 0; j < a->d; j += GEMM_NR)
        for (int64_t r = 0; r < m; r += GEMM_MR)
            gemm_micro(min_of(GEMM_MR, m - r), pairs, w->p + r * pairs,
                       w->kv + j * gemm_units(b->n), w->o + (i + r) * width + j, width, a->d - j,
                       1);
}
