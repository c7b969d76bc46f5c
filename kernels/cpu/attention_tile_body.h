/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_tile_body.h - many rows meet a block of keys in tiles: queries and weights are rounded
 * to bfloat16, which keys and values are.
 *
 * Rows are padded with zeros to whole panels of 32, their width and the keys to multiples of 32.
 * Packed is as gemm_body.h does it:
 *   w->q   panels of queries, [rows][pairs of d]
 *   w->kt  panels of 32 keys, [pairs of d][keys]
 *   w->kv  panels of 32 columns of values, [pairs of keys][columns], each of KEYS / 2 pairs
 *   w->p   weights, [rows][pairs of keys] */

#define PANEL 32

/* Row `row` of head h and those after it. */
BR__INLINE struct mat head_rows(const struct br_tensor *x, int64_t row, int64_t h, int k_major)
{
    const uint16_t *data = x->data;
    return (struct mat){(const char *)(data + row * x->stride[0] + h * x->stride[1]), BR_BF16,
                        k_major, x->stride[0]};
}

static struct block block_begin(const struct attention *a, const struct rows *w,
                                const struct br__seq *s, int64_t k, int64_t n, int64_t kv_head)
{
    struct mat keys = head_rows(a->k, s->k0 + k, kv_head, 0);
    struct mat values = head_rows(a->v, s->k0 + k, kv_head, 1);
    for (int64_t j = 0; j < n; j += PANEL)
        pack(w->kt + j * units(a->d), PANEL, &keys, BR_BF16, j, min_of(PANEL, n - j), 0,
             units(a->d), a->d);
    for (int64_t j = 0; j < a->d; j += PANEL)
        pack(w->kv + j * (KEYS / 2), PANEL, &values, BR_BF16, j, min_of(PANEL, a->d - j), 0,
             units(n), n);
    return (struct block){.k = k, .n = n};
}

static void rows_begin(const struct attention *a, const struct rows *w, const struct br__seq *s,
                       int64_t query, int64_t n, int64_t kv_head)
{
    int64_t m = n * a->group, width = WIDTH(a->d);
    for (int64_t i = 0; i < m; i += PANEL) {
        float *room = w->o + i * width;
        struct mat rows = {(const char *)room, BR_F32, 0, width};
        for (int64_t r = i; r < m && r < i + PANEL; r++)
            row_begin(a, w, s, query, kv_head, r, room + (r - i) * width);
        pack_rows(w->q + i * units(a->d), &rows, BR_F32, 0, min_of(PANEL, m - i), 0, units(a->d),
                  a->d);
        zero(room, PANEL * width);
    }
}

/* Rows i .. i + m of a work item and a block of keys. */
static void meet(const struct attention *a, const struct rows *w, const struct block *b, int64_t i,
                 int64_t m, int64_t own)
{
    int64_t pairs = units(seen_by(a, b, i, m, own)), keys = 2 * pairs;
    int64_t ku = units(a->d), width = WIDTH(a->d);
    if (keys == 0)
        return;
    for (int64_t j = 0; j < keys; j += PANEL)
        tiles_multiply(ku, w->q + i * ku, ku, w->kt + j * ku, w->s + j, KEYS, 0);
    weigh_rows(a, w, b, i, m, own, keys);
    struct mat weights = {(const char *)w->s, BR_F32, 0, KEYS};
    pack_rows(w->p, &weights, BR_F32, 0, m, 0, pairs, keys);
    for (int64_t j = 0; j < width; j += PANEL)
        tiles_multiply(pairs, w->p, pairs, w->kv + j * (KEYS / 2), w->o + i * width + j, width, 1);
}
