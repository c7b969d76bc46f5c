/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_f32_impl.h - prefill of attention in float32, through small_gemm_impl.h.
 *
 * Needs: what attention_impl.h has defined where it includes this.  Defines: key_block_begin,
 * query_rows_begin, update_tile. */

/* Rows of head h of x[S, H, d] from `row` on as float32, *ld apart: as they lie, or widened. */
static const float *float_rows(const struct br_tensor *x, int64_t row, int64_t n, int64_t h,
                               float *room, int64_t *ld)
{
    int64_t d = x->shape[2], at = row * x->stride[0] + h * x->stride[1];
    *ld = x->dtype == BR_F32 ? x->stride[0] : d;
    if (x->dtype == BR_F32)
        return (const float *)x->data + at;
    for (int64_t i = 0; i < n; i++)
        widen(room + i * d, x, at + i * x->stride[0], d);
    return room;
}

/* t[d, KEY_BLOCK] = x[n, d]' */
static void transpose(float *t, const float *x, int64_t ld, int64_t n, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) {
        const float *r = x + j * ld;
        for (int64_t i = 0; i < d; i++)
            for (int64_t u = 0; u < 8; u++)
                t[i * KEY_BLOCK + j + u] = r[u * ld + i];
    }
    for (; j < n; j++)
        for (int64_t i = 0; i < d; i++)
            t[i * KEY_BLOCK + j] = x[j * ld + i];
}

/* kt[d, KEY_BLOCK] = the keys transposed; values as they lie, or widened */
static struct key_block key_block_begin(const struct attention *a, const struct workspace *w,
                                        const struct br__seq *s, int64_t k, int64_t n,
                                        int64_t kv_head)
{
    struct key_block b = {.k = k, .n = n};
    int64_t ld;
    const float *x = float_rows(a->k, s->k0 + k, n, kv_head, w->kv, &ld);
    transpose(w->kt, x, ld, n, a->d);
    b.v = float_rows(a->v, s->k0 + k, n, kv_head, w->kv, &b.ldv);
    return b;
}

static void query_rows_begin(const struct attention *a, const struct workspace *w,
                             const struct br__seq *s, int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0; r < n * a->group; r++)
        query_row_begin(a, w, s, query, kv_head, r, w->q + r * a->d);
    zero(w->o, n * a->group * a->d);
}

/* Rows i .. i + m of a work item and a block of keys. */
static void update_tile(const struct attention *a, const struct workspace *w,
                        const struct key_block *b, int64_t i, int64_t m, int64_t own)
{
    int64_t n = seen_by(a, b, i, m, own), d = a->d;
    if (n == 0)
        return;
    small_gemm(&(struct small_gemm){w->q + i * d, d, 1, w->kt, KEY_BLOCK, w->s, KEY_BLOCK, 0}, m, n,
               d);
    softmax_update_rows(a, w, b, i, m, own, n);
    small_gemm(&(struct small_gemm){w->s, KEY_BLOCK, 1, b->v, b->ldv, w->o + i * d, d, 1}, m, d, n);
}
