/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* amx_impl.h - the innermost loop of matrix products on AMX tiles.
 *
 * Needs: BR__TILES.  Defines: tiles_begin, tiles_end, tiles_multiply.
 *
 * Eight tiles of 16 rows of 64 bytes: four hold 32 x 32 sums, two 32 rows of a (row by row), two
 * 32 columns of b (pair by pair of k, as gemm_impl.h packs b anyway). */

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as ldtilecfg reads it");

/* Not the compiler's own intrinsic: gcc 12's reads 8 of the 64 bytes, and drops stores to the rest.
 */
#ifndef BR__TILE_CONFIG
#define BR__TILE_CONFIG(cfg) __asm__ volatile("ldtilecfg %0" : : "m"(*(cfg)))
#endif

static void tiles_begin(void)
{
    struct tile_config cfg = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        cfg.bytes_per_row[t] = 64;
        cfg.rows[t] = 16;
    }
    BR__TILE_CONFIG(&cfg);
}

/* So that the kernel need not save them. */
static void tiles_end(void)
{
    _tile_release();
}

/* c[32][32] (+)= a[32][kc] b[kc][32], all of 32 bits: floats, or pairs of bfloat16.  lda, ldc: from
 * row to row; kc is a multiple of 16. */
static void tiles_multiply(int64_t kc, const float *a, int64_t lda, const float *b, float *c,
                           int64_t ldc, int add)
{
    const size_t a_row = (size_t)lda * 4, b_row = 32 * 4, c_row = (size_t)ldc * 4;
    /* gcc 12's _tile_loadd does not say that it reads memory: what it reads must be there by now.
     */
    __asm__ volatile("" : : : "memory");
    if (add) {
        _tile_loadd(0, c, c_row);
        _tile_loadd(1, c + 16, c_row);
        _tile_loadd(2, c + 16 * ldc, c_row);
        _tile_loadd(3, c + 16 * ldc + 16, c_row);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < kc; k += 16) {
        _tile_loadd(4, a + k, a_row);
        _tile_loadd(6, b + k * 32, b_row);
        _tile_loadd(5, a + 16 * lda + k, a_row);
        _tile_loadd(7, b + k * 32 + 16, b_row);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, c_row);
    _tile_stored(1, c + 16, c_row);
    _tile_stored(2, c + 16 * ldc, c_row);
    _tile_stored(3, c + 16 * ldc + 16, c_row);
}
