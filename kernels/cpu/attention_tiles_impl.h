/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_tiles_impl.h - prefill of attention in tiles: queries and weights are rounded to
 * bfloat16, which keys and values are.
 *
 * Needs: what attention_impl.h has defined where it includes this, BR__TILES.  Defines:
 * key_block_begin, query_rows_begin, update_tile.
 *
 * Rows are padded with zeros to whole panels of 32, their width and the keys to multiples of 32.
 * Packed as gemm_impl.h does it:
 *   w->q   panels of queries, [rows][pairs of d]
 *   w->kt  panels of 32 keys, [pairs of d][keys]
 *   w->kv  panels of 32 columns of values, [pairs of keys][columns], each of KEY_BLOCK / 2 pairs
 *   w->p   weights, [rows][pairs of keys] */

#define TILE_PANEL 32

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
    struct mat keys = head_rows(a->k, s->k0 + k, kv_head, 0);
    struct mat values = head_rows(a->v, s->k0 + k, kv_head, 1);
    for (int64_t j = 0; j < n; j += TILE_PANEL)
        gemm_pack(w->kt + j * gemm_units(a->d), TILE_PANEL, &keys, BR_BF16, j,
                  min_of(TILE_PANEL, n - j), 0, gemm_units(a->d), a->d);
    for (int64_t j = 0; j < a->d; j += TILE_PANEL)
        gemm_pack(w->kv + j * (KEY_BLOCK / 2), TILE_PANEL, &values, BR_BF16, j,
                  min_of(TILE_PANEL, a->d - j), 0, gemm_units(n), n);
    return (struct key_block){.k = k, .n = n};
}

static void query_rows_begin(const struct attention *a, const struct workspace *w,
                             const struct br__seq *s, int64_t query, int64_t n, int64_t kv_head)
{
    int64_t m = n * a->group, width = WIDTH(a->d);
    for (int64_t i = 0; i < m; i += TILE_PANEL) {
        float *room = w->o + i * width;
        struct mat rows = {(const char *)room, BR_F32, 0, width};
        for (int64_t r = i; r < m && r < i + TILE_PANEL; r++)
            query_row_begin(a, w, s, query, kv_head, r, room + (r - i) * width);
        gemm_pack_rows(w->q + i * gemm_units(a->d), &rows, BR_F32, 0, min_of(TILE_PANEL, m - i), 0,
                       gemm_units(a->d), a->d);
        zero(room, TILE_PANEL * width);
    }
}

/* Rows i .. i + m of a work item and a block of keys. */
static void update_tile(const struct attention *a, const struct workspace *w,
                        const struct key_block *b, int64_t i, int64_t m, int64_t own)
{
    int64_t pairs = gemm_units(seen_by(a, b, i, m, own)), keys = 2 * pairs;
    int64_t ku = gemm_units(a->d), width = WIDTH(a->d);
    if (keys == 0)
        return;
    for (int64_t j = 0; j < keys; j += TILE_PANEL)
        tiles_multiply(ku, w->q + i * ku, ku, w->kt + j * ku, w->s + j, KEY_BLOCK, 0);
    softmax_update_rows(a, w, b, i, m, own, keys);
    struct mat weights = {(const char *)w->s, BR_F32, 0, KEY_BLOCK};
    gemm_pack_rows(w->p, &weights, BR_F32, 0, m, 0, pairs, keys);
    for (int64_t j = 0; j < width; j += TILE_PANEL)
        tiles_multiply(pairs, w->p, pairs, w->kv + j * (KEY_BLOCK / 2), w->o + i * width + j, width,
                       1);
}
