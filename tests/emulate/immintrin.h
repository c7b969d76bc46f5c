/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* immintrin.h - found instead of the compiler's when tiers are built for the emulated tests: AVX-512
 * and AMX in plain C, so that their logic is tested on machines without them.
 *
 * SIMDe has most of AVX-512; what it lacks is here, lane by lane as Intel's manual says, and so are the
 * tile instructions. */
#ifndef BRIDGE_TESTS_IMMINTRIN_H
#define BRIDGE_TESTS_IMMINTRIN_H

#define SIMDE_ENABLE_NATIVE_ALIASES
#define SIMDE_NO_NATIVE
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#pragma GCC diagnostic ignored "-Wundef"
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#pragma GCC diagnostic pop
#include <string.h>

#define EMULATED static inline __attribute__((unused))

typedef simde__mmask16 __mmask16;
#define _mm512_shuffle_f32x4(a, b, imm) simde_mm512_shuffle_f32x4(a, b, imm)

/* ---- AVX-512 --------------------------------------------------------------------------------- */

EMULATED __m512 emulated_loadu_ps(__mmask16 k, const void *p)
{
    float v[16] = {0};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            memcpy(&v[i], (const float *)p + i, sizeof v[i]);
    __m512 r;
    memcpy(&r, v, sizeof r);
    return r;
}
#define _mm512_maskz_loadu_ps(k, p) emulated_loadu_ps(k, p)

EMULATED void emulated_storeu_ps(void *p, __mmask16 k, __m512 a)
{
    float v[16];
    memcpy(v, &a, sizeof v);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            memcpy((float *)p + i, &v[i], sizeof v[i]);
}
#define _mm512_mask_storeu_ps(p, k, a) emulated_storeu_ps(p, k, a)

EMULATED __m256i emulated_loadu_epi16(__mmask16 k, const void *p)
{
    uint16_t v[16] = {0};
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            memcpy(&v[i], (const uint16_t *)p + i, sizeof v[i]);
    __m256i r;
    memcpy(&r, v, sizeof r);
    return r;
}
#define _mm256_maskz_loadu_epi16(k, p) emulated_loadu_epi16(k, p)

EMULATED void emulated_storeu_epi16(void *p, __mmask16 k, __m256i a)
{
    uint16_t v[16];
    memcpy(v, &a, sizeof v);
    for (int i = 0; i < 16; i++)
        if (k >> i & 1)
            memcpy((uint16_t *)p + i, &v[i], sizeof v[i]);
}
#define _mm256_mask_storeu_epi16(p, k, a) emulated_storeu_epi16(p, k, a)

EMULATED __m512i emulated_cvtepu16_epi32(__m256i a)
{
    uint16_t v[16];
    uint32_t w[16];
    memcpy(v, &a, sizeof v);
    for (int i = 0; i < 16; i++)
        w[i] = v[i];
    __m512i r;
    memcpy(&r, w, sizeof r);
    return r;
}
#define _mm512_cvtepu16_epi32(a) emulated_cvtepu16_epi32(a)

EMULATED __m256i emulated_cvtepi32_epi16(__m512i a)
{
    uint32_t v[16];
    uint16_t w[16];
    memcpy(v, &a, sizeof v);
    for (int i = 0; i < 16; i++)
        w[i] = (uint16_t)v[i];
    __m256i r;
    memcpy(&r, w, sizeof r);
    return r;
}
#define _mm512_cvtepi32_epi16(a) emulated_cvtepi32_epi16(a)

EMULATED __m512 emulated_cvtph_ps(__m256i a)
{
    __m128i half[2];
    __m256 wide[2];
    memcpy(half, &a, sizeof half);
    wide[0] = simde_mm256_cvtph_ps(half[0]);
    wide[1] = simde_mm256_cvtph_ps(half[1]);
    __m512 r;
    memcpy(&r, wide, sizeof r);
    return r;
}
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)

EMULATED float emulated_reduce_add(__m512 a)
{
    float v[16];
    memcpy(v, &a, sizeof v);
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++)
            v[i] += v[i + n];
    return v[0];
}
#define _mm512_reduce_add_ps(a) emulated_reduce_add(a)

EMULATED float emulated_reduce_max(__m512 a)
{
    float v[16];
    memcpy(v, &a, sizeof v);
    for (int i = 1; i < 16; i++)
        v[0] = v[i] > v[0] ? v[i] : v[0];
    return v[0];
}
#define _mm512_reduce_max_ps(a) emulated_reduce_max(a)

EMULATED __m512i emulated_cvtps_epi32(__m512 a)
{
    float v[16];
    int32_t w[16];
    memcpy(v, &a, sizeof v);
    for (int i = 0; i < 16; i++)
        w[i] = (int32_t)__builtin_rintf(v[i]);
    __m512i r;
    memcpy(&r, w, sizeof r);
    return r;
}
#define _mm512_cvtps_epi32(a) emulated_cvtps_epi32(a)

/* ---- tiles ----------------------------------------------------------------------------------- */

/* Each thread has its own; a product before a configuration, or after a release, is a fault. */
struct emulated_tile {
    uint8_t row[16][64];
};
static _Thread_local struct {
    struct emulated_tile t[8];
    int rows[8], bytes[8];
} emulated_tiles;

EMULATED void emulated_tile_config(const uint8_t cfg[64])
{
    for (int t = 0; t < 8; t++) {
        emulated_tiles.bytes[t] = cfg[16 + 2 * t] | cfg[17 + 2 * t] << 8;
        emulated_tiles.rows[t] = cfg[48 + t];
        if (cfg[0] != 1 || emulated_tiles.bytes[t] > 64 || emulated_tiles.rows[t] > 16)
            __builtin_trap();
    }
    memset(emulated_tiles.t, 0, sizeof emulated_tiles.t);
}
#define BR__TILE_CONFIG(cfg) emulated_tile_config((const uint8_t *)(cfg))

EMULATED void emulated_tile_check(int t)
{
    if (emulated_tiles.rows[t] == 0)
        __builtin_trap();
}

EMULATED void emulated_tile_release(void)
{
    memset(&emulated_tiles, 0, sizeof emulated_tiles);
}
#define _tile_release() emulated_tile_release()

EMULATED void emulated_tile_zero(int t)
{
    emulated_tile_check(t);
    memset(&emulated_tiles.t[t], 0, sizeof emulated_tiles.t[t]);
}
#define _tile_zero(t) emulated_tile_zero(t)

EMULATED void emulated_tile_load(int t, const void *p, size_t stride)
{
    emulated_tile_check(t);
    for (int r = 0; r < emulated_tiles.rows[t]; r++)
        memcpy(emulated_tiles.t[t].row[r], (const uint8_t *)p + (size_t)r * stride,
               (size_t)emulated_tiles.bytes[t]);
}
#define _tile_loadd(t, p, stride) emulated_tile_load(t, p, stride)

EMULATED void emulated_tile_store(int t, void *p, size_t stride)
{
    emulated_tile_check(t);
    for (int r = 0; r < emulated_tiles.rows[t]; r++)
        memcpy((uint8_t *)p + (size_t)r * stride, emulated_tiles.t[t].row[r],
               (size_t)emulated_tiles.bytes[t]);
}
#define _tile_stored(t, p, stride) emulated_tile_store(t, p, stride)

EMULATED float emulated_bf16(const uint8_t *p)
{
    uint32_t u = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 24;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* c[m][n] += a[m][2k] b[k][2n] + a[m][2k + 1] b[k][2n + 1] */
EMULATED void emulated_tile_dpbf16ps(int c, int a, int b)
{
    emulated_tile_check(a);
    emulated_tile_check(b);
    emulated_tile_check(c);
    for (int m = 0; m < emulated_tiles.rows[c]; m++)
        for (int k = 0; k < emulated_tiles.bytes[a] / 4; k++)
            for (int n = 0; n < emulated_tiles.bytes[c] / 4; n++) {
                const uint8_t *x = &emulated_tiles.t[a].row[m][4 * k];
                const uint8_t *y = &emulated_tiles.t[b].row[k][4 * n];
                float sum;
                memcpy(&sum, &emulated_tiles.t[c].row[m][4 * n], sizeof sum);
                sum += emulated_bf16(x) * emulated_bf16(y);
                sum += emulated_bf16(x + 2) * emulated_bf16(y + 2);
                memcpy(&emulated_tiles.t[c].row[m][4 * n], &sum, sizeof sum);
            }
}
#define _tile_dpbf16ps(c, a, b) emulated_tile_dpbf16ps(c, a, b)

#endif
