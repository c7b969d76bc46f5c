/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_panel_body.h - many rows meet a block of keys in float32, through panel_body.h. */

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

/* t[d, KEYS] = x[n, d] turned round */
static void turn_round(float *t, const float *x, int64_t ld, int64_t n, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) {
        const float *r = x + j * ld;
        for (int64_t i = 0; i < d; i++)
            for (int64_t u = 0; u < 8; u++)
                t[i * KEYS + j + u] = r[u * ld + i];
    }
    for (; j < n; j++)
        for (int64_t i = 0; i < d; i++)
            t[i * KEYS + j] = x[j * ld + i];
}

/* kt[d, KEYS] = the keys turned round; values as they lie, or widened */
static struct block block_begin(const struct attention *a, const struct rows *w,
                                const struct br__seq *s, int64_t k, int64_t n, int64_t kv_head)
{
    struct block b = {.k = k, .n = n};
    int64_t ld;
    const float *x = float_rows(a->k, s->k0 + k, n, kv_head, w->kv, &ld);
    turn_round(w->kt, x, ld, n, a->d);
    b.v = float_rows(a->v, s->k0 + k, n, kv_head, w->kv, &b.ldv);
    return b;
}

static void rows_begin(const struct attention *a, const struct rows *w, const struct br__seq *s,
                       int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0; r < n * a->group; r++)
        row_begin(a, w, s, query, kv_head, r, w->q + r * a->d);
    zero(w->o, n * a->group * a->d);
}

/* Rows i .. i + m of a work item and a block of keys. */
static void meet(const struct attention *a, const struct rows *w, const struct block *b, int64_t i,
                 int64_t m, int64_t own)
{
    int64_t n = seen_by(a, b, i, m, own), d = a->d;
    if (n == 0)
        return;
    multiply(&(struct panel_product){w->q + i * d, d, 1, w->kt, KEYS, w->s, KEYS, 0}, m, n, d);
    weigh_rows(a, w, b, i, m, own, n);
    multiply(&(struct panel_product){w->s, KEYS, 1, b->v, b->ldv, w->o + i * d, d, 1}, m, d, n);
}
