/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cast.c - conversion between float dtypes, and e4m3 dequantisation.
 *
 * Called by conversion for every element that changes dtype; knows rows of elements only.  Three
 * pairs are hot (f32 -> bf16, bf16 -> f32, e4m3 -> bf16) and have AVX2 and AVX-512 forms, which
 * must give the scalar form's bits: they use the same integer arithmetic, eight or sixteen lanes
 * wide. Everything else goes through double, which holds every value of the other types.
 *
 * NaN: narrowing keeps sign and upper payload and sets the quiet bit.  A NaN product of
 * dequantisation becomes the positive quiet NaN, as in torch: which operand's payload survives a
 * multiplication depends on the compiler's operand order.
 *
 * No expression here has a product feeding a sum, so that contraction to FMA cannot change a bit.
 */
#include "cpu.h"
#include <float.h>
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

_Static_assert(FLT_EVAL_METHOD == 0, "float arithmetic must not use excess precision");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "elements are little-endian");

/* ---- one element ----------------------------------------------------------------------------- */

static uint32_t f32_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static float f32_from(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static int f32_is_nan(uint32_t u)
{
    return (u & 0x7FFFFFFFu) > 0x7F800000u;
}

static uint16_t bf16_from_f32(uint32_t u)
{
    if (f32_is_nan(u))
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

/* x rounded once, to nearest even, to a 16-bit float with that many exponent and mantissa bits. */
static uint16_t narrow16(double x, int exp_bits, int man_bits)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    uint64_t man = u & (((uint64_t)1 << 52) - 1);
    uint32_t sign = (uint32_t)(u >> 63) << 15, inf = ((1u << exp_bits) - 1) << man_bits;
    int exp = (int)(u >> 52 & 0x7FF), shift = 52 - man_bits;
    if (exp == 0x7FF)
        return (uint16_t)(sign | inf | (man ? (uint32_t)(man >> shift) | 1u << (man_bits - 1) : 0));
    if (exp == 0) /* zero, or a double subnormal: far below half of either type's smallest value */
        return (uint16_t)sign;
    man |= (uint64_t)1 << 52;
    exp += (1 << (exp_bits - 1)) - 1 - 1023;
    if (exp >= (1 << exp_bits) - 1)
        return (uint16_t)(sign | inf);
    if (exp < 1) {
        shift += 1 - exp; /* subnormal: fewer mantissa bits */
        exp = 1;
        if (shift > 53)
            return (uint16_t)sign;
    }
    uint64_t half = (uint64_t)1 << (shift - 1), rest = man & (2 * half - 1);
    uint64_t q = man >> shift;
    q += rest > half || (rest == half && (q & 1));
    /* q has the implicit bit, if any: adding lets a carry run into the exponent, up to infinity. */
    return (uint16_t)(sign | (((uint32_t)(exp - 1) << man_bits) + (uint32_t)q));
}

static double f16_value(uint16_t h)
{
    uint32_t exp = h >> 10 & 31, man = h & 0x3FF, sign = (uint32_t)h >> 15 << 31;
    if (exp == 31)
        return (double)f32_from(sign | 0x7F800000u | man << 13);
    if (exp == 0) {
        double v = (double)man * 0x1p-24;
        return sign ? -v : v;
    }
    return (double)f32_from(sign | (exp + 112) << 23 | man << 13);
}

static float e4m3_value(uint8_t b)
{
    uint32_t sign = (uint32_t)b >> 7 << 31, mag = b & 0x7F;
    if (mag == 0x7F)
        return f32_from(0x7FC00000u | sign);
    if (mag < 8) /* subnormal, in units of 2^-9 */
        return f32_from(f32_bits((float)mag * 0x1p-9f) | sign);
    return f32_from(((mag << 20) + (120u << 23)) | sign); /* bias 7 -> 127 */
}

/* ---- scalar tier ----------------------------------------------------------------------------- */

/* n elements; returns how many changed. */
static size_t f32_to_bf16_scalar(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t changed = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, src + 4 * i, 4);
        uint16_t h = bf16_from_f32(u);
        memcpy(dst + 2 * i, &h, 2);
        changed += (u & 0xFFFF) != 0 && !f32_is_nan(u);
    }
    return changed;
}

static void bf16_to_f32_scalar(uint8_t *dst, const uint8_t *src, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, src + 2 * i, 2);
        uint32_t u = (uint32_t)h << 16;
        memcpy(dst + 4 * i, &u, 4);
    }
}

/* The bits of e4m3(b) * scale in f32. */
static uint32_t scaled(uint8_t b, float scale)
{
    uint32_t u = f32_bits(e4m3_value(b) * scale);
    return f32_is_nan(u) ? 0x7FC00000u : u;
}

static void e4m3_to_bf16_scalar(uint8_t *dst, const uint8_t *src, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h = bf16_from_f32(scaled(src[i], scale));
        memcpy(dst + 2 * i, &h, 2);
    }
}

/* ---- vector tiers: same arithmetic, wider; the scalar form takes the tail -------------------- */

#if defined(__x86_64__)

#define AVX2 __attribute__((target("avx2,popcnt")))
#define AVX512 __attribute__((target("avx512f")))

/* bf16 in the low half of each lane. */
AVX2 static __m256i round_avx2(__m256i u)
{
    __m256i mag = _mm256_and_si256(u, _mm256_set1_epi32(0x7FFFFFFF));
    __m256i nan = _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(0x7F800000));
    __m256i top = _mm256_srli_epi32(u, 16);
    __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    __m256i sum = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7FFF)), odd);
    __m256i quiet = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    return _mm256_blendv_epi8(_mm256_srli_epi32(sum, 16), quiet, nan);
}

/* Sixteen low halves, in order. */
AVX2 static __m256i pack_avx2(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xD8);
}

/* How many of eight f32 are finite or infinite and have bits below bf16's. */
AVX2 static size_t inexact_avx2(__m256i u)
{
    __m256i mag = _mm256_and_si256(u, _mm256_set1_epi32(0x7FFFFFFF));
    __m256i nan = _mm256_cmpgt_epi32(mag, _mm256_set1_epi32(0x7F800000));
    __m256i low = _mm256_and_si256(u, _mm256_set1_epi32(0xFFFF));
    __m256i same = _mm256_or_si256(nan, _mm256_cmpeq_epi32(low, _mm256_setzero_si256()));
    return 8 - (size_t)__builtin_popcount((unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(same)));
}

AVX2 static size_t f32_to_bf16_avx2(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t i = 0, changed = 0;
    for (; n - i >= 16; i += 16) {
        __m256i a = _mm256_loadu_si256((const void *)(src + 4 * i));
        __m256i b = _mm256_loadu_si256((const void *)(src + 4 * i + 32));
        changed += inexact_avx2(a) + inexact_avx2(b);
        _mm256_storeu_si256((void *)(dst + 2 * i), pack_avx2(round_avx2(a), round_avx2(b)));
    }
    return changed + f32_to_bf16_scalar(dst + 2 * i, src + 4 * i, n - i);
}

AVX2 static void bf16_to_f32_avx2(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        __m256i u = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(src + 2 * i)));
        _mm256_storeu_si256((void *)(dst + 4 * i), _mm256_slli_epi32(u, 16));
    }
    bf16_to_f32_scalar(dst + 4 * i, src + 2 * i, n - i);
}

/* `scaled` for eight bytes. */
AVX2 static __m256i scaled_avx2(const uint8_t *src, __m256 scale)
{
    __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)src));
    __m256i mag = _mm256_and_si256(b, _mm256_set1_epi32(0x7F));
    __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(b, 7), 31);
    __m256i normal = _mm256_add_epi32(_mm256_slli_epi32(mag, 20), _mm256_set1_epi32(120 << 23));
    __m256 small = _mm256_mul_ps(_mm256_cvtepi32_ps(mag), _mm256_set1_ps(0x1p-9f));
    __m256i is_small = _mm256_cmpgt_epi32(_mm256_set1_epi32(8), mag);
    __m256i is_nan = _mm256_cmpeq_epi32(mag, _mm256_set1_epi32(0x7F));
    __m256i v = _mm256_blendv_epi8(normal, _mm256_castps_si256(small), is_small);
    v = _mm256_blendv_epi8(v, _mm256_set1_epi32(0x7FC00000), is_nan);
    __m256 p = _mm256_mul_ps(_mm256_castsi256_ps(_mm256_or_si256(v, sign)), scale);
    __m256 nan = _mm256_cmp_ps(p, p, _CMP_UNORD_Q);
    p = _mm256_blendv_ps(p, _mm256_castsi256_ps(_mm256_set1_epi32(0x7FC00000)), nan);
    return _mm256_castps_si256(p);
}

AVX2 static void e4m3_to_bf16_avx2(uint8_t *dst, const uint8_t *src, size_t n, float scale)
{
    size_t i = 0;
    __m256 s = _mm256_set1_ps(scale);
    for (; n - i >= 16; i += 16) {
        __m256i a = round_avx2(scaled_avx2(src + i, s));
        __m256i b = round_avx2(scaled_avx2(src + i + 8, s));
        _mm256_storeu_si256((void *)(dst + 2 * i), pack_avx2(a, b));
    }
    e4m3_to_bf16_scalar(dst + 2 * i, src + i, n - i, scale);
}

AVX512 static __mmask16 is_nan_avx512(__m512i u)
{
    __m512i mag = _mm512_and_si512(u, _mm512_set1_epi32(0x7FFFFFFF));
    return _mm512_cmpgt_epi32_mask(mag, _mm512_set1_epi32(0x7F800000));
}

AVX512 static __m256i round_avx512(__m512i u)
{
    __m512i top = _mm512_srli_epi32(u, 16);
    __m512i odd = _mm512_and_si512(top, _mm512_set1_epi32(1));
    __m512i sum = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7FFF)), odd);
    __m512i r = _mm512_srli_epi32(sum, 16);
    r = _mm512_mask_or_epi32(r, is_nan_avx512(u), top, _mm512_set1_epi32(0x40));
    return _mm512_cvtepi32_epi16(r);
}

AVX512 static size_t f32_to_bf16_avx512(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t i = 0, changed = 0;
    for (; n - i >= 16; i += 16) {
        __m512i u = _mm512_loadu_si512((const void *)(src + 4 * i));
        __mmask16 low = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0xFFFF));
        changed += (size_t)__builtin_popcount((unsigned)low & ~(unsigned)is_nan_avx512(u));
        _mm256_storeu_si256((void *)(dst + 2 * i), round_avx512(u));
    }
    return changed + f32_to_bf16_scalar(dst + 2 * i, src + 4 * i, n - i);
}

AVX512 static void bf16_to_f32_avx512(uint8_t *dst, const uint8_t *src, size_t n)
{
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(src + 2 * i)));
        _mm512_storeu_si512((void *)(dst + 4 * i), _mm512_slli_epi32(u, 16));
    }
    bf16_to_f32_scalar(dst + 4 * i, src + 2 * i, n - i);
}

/* `scaled` for sixteen bytes. */
AVX512 static __m512i scaled_avx512(const uint8_t *src, __m512 scale)
{
    __m512i quiet = _mm512_set1_epi32(0x7FC00000);
    __m512i b = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)src));
    __m512i mag = _mm512_and_si512(b, _mm512_set1_epi32(0x7F));
    __m512i sign = _mm512_slli_epi32(_mm512_srli_epi32(b, 7), 31);
    __m512i v = _mm512_add_epi32(_mm512_slli_epi32(mag, 20), _mm512_set1_epi32(120 << 23));
    __m512 small = _mm512_mul_ps(_mm512_cvtepi32_ps(mag), _mm512_set1_ps(0x1p-9f));
    __mmask16 is_small = _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(8), mag);
    v = _mm512_mask_mov_epi32(v, is_small, _mm512_castps_si512(small));
    v = _mm512_mask_mov_epi32(v, _mm512_cmpeq_epi32_mask(mag, _mm512_set1_epi32(0x7F)), quiet);
    __m512 p = _mm512_mul_ps(_mm512_castsi512_ps(_mm512_or_si512(v, sign)), scale);
    __m512i bits = _mm512_castps_si512(p);
    return _mm512_mask_mov_epi32(bits, is_nan_avx512(bits), quiet);
}

AVX512 static void e4m3_to_bf16_avx512(uint8_t *dst, const uint8_t *src, size_t n, float scale)
{
    size_t i = 0;
    __m512 s = _mm512_set1_ps(scale);
    for (; n - i >= 16; i += 16)
        _mm256_storeu_si256((void *)(dst + 2 * i), round_avx512(scaled_avx512(src + i, s)));
    e4m3_to_bf16_scalar(dst + 2 * i, src + i, n - i, scale);
}

#endif

/* ---- choosing a form ------------------------------------------------------------------------- */

struct form {
    uint64_t needs; /* enum br__cpu_feature */
    size_t (*f32_to_bf16)(uint8_t *dst, const uint8_t *src, size_t n);
    void (*bf16_to_f32)(uint8_t *dst, const uint8_t *src, size_t n);
    void (*e4m3_to_bf16)(uint8_t *dst, const uint8_t *src, size_t n, float scale);
};

/* Best last. */
static const struct form forms[] = {
    {0, f32_to_bf16_scalar, bf16_to_f32_scalar, e4m3_to_bf16_scalar},
#if defined(__x86_64__)
    {BR__CPU_AVX2, f32_to_bf16_avx2, bf16_to_f32_avx2, e4m3_to_bf16_avx2},
    {BR__CPU_AVX512, f32_to_bf16_avx512, bf16_to_f32_avx512, e4m3_to_bf16_avx512},
#endif
};

/* The best that the tier in use includes. */
static const struct form *form(void)
{
    uint64_t have = br__cpu_tier()->features;
    size_t i = BR_COUNTOF(forms) - 1;
    while (forms[i].needs & ~have)
        i--;
    return &forms[i];
}

/* ---- any pair, through double ---------------------------------------------------------------- */

#define CHUNK 256

static void widen(double *x, const uint8_t *src, int from, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t h;
        float f;
        switch (from) {
        case BR_F64:
            memcpy(&x[i], src + 8 * i, 8);
            break;
        case BR_F32:
            memcpy(&f, src + 4 * i, 4);
            x[i] = (double)f;
            break;
        case BR_BF16:
            memcpy(&h, src + 2 * i, 2);
            x[i] = (double)f32_from((uint32_t)h << 16);
            break;
        default:
            memcpy(&h, src + 2 * i, 2);
            x[i] = f16_value(h);
        }
    }
}

/* Round x to `to`, store it, and return the stored value. */
static double store(uint8_t *dst, int to, double x)
{
    uint16_t h;
    float f;
    switch (to) {
    case BR_F64:
        memcpy(dst, &x, 8);
        return x;
    case BR_F32:
        f = (float)x;
        memcpy(dst, &f, 4);
        return (double)f;
    case BR_BF16:
        h = narrow16(x, 8, 7);
        memcpy(dst, &h, 2);
        return (double)f32_from((uint32_t)h << 16);
    default:
        h = narrow16(x, 5, 10);
        memcpy(dst, &h, 2);
        return f16_value(h);
    }
}

/* What x + add lost when it was rounded to sum (Knuth's TwoSum); 0 if nothing. */
static double lost(double x, double add, double sum)
{
    if (!isfinite(x))
        return 0;
    double part = sum - x;
    return (x - (sum - part)) + (add - part);
}

static size_t cast_any(uint8_t *dst, int to, const uint8_t *src, int from, size_t n, double add)
{
    double x[CHUNK];
    size_t changed = 0, to_size = br_dtype_size(to), from_size = br_dtype_size(from);
    for (size_t done = 0; done < n; done += CHUNK) {
        size_t m = n - done < CHUNK ? n - done : CHUNK;
        widen(x, src + done * from_size, from, m);
        for (size_t i = 0; i < m; i++) {
            /* Not x + 0: that would turn -0 into +0. */
            double sum = add != 0 ? x[i] + add : x[i];
            double kept = store(dst + (done + i) * to_size, to, sum);
            changed += (kept != sum && !isnan(sum)) || (add != 0 && lost(x[i], add, sum) != 0);
        }
    }
    return changed;
}

/* ---- the two entry points -------------------------------------------------------------------- */

size_t br_cast(void *dst, int to, const void *src, int from, size_t n, double add)
{
    if (n == 0)
        return 0;
    if (add == 0 && from == to) {
        memcpy(dst, src, n * br_dtype_size(to));
        return 0;
    }
    if (add == 0 && from == BR_F32 && to == BR_BF16)
        return form()->f32_to_bf16(dst, src, n);
    if (add == 0 && from == BR_BF16 && to == BR_F32) {
        form()->bf16_to_f32(dst, src, n);
        return 0;
    }
    return cast_any(dst, to, src, from, n, add);
}

/* Elements that share one scale, in the dtypes that are not hot. */
static void dequant_any(uint8_t *dst, int to, const uint8_t *src, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t u = scaled(src[i], scale);
        if (to == BR_F32)
            memcpy(dst + 4 * i, &u, 4);
        else
            store(dst + 2 * i, BR_F16, (double)f32_from(u));
    }
}

void br_dequant_e4m3(void *dst, int to, const uint8_t *src, size_t n, const float *scale,
                     int64_t col0, int64_t block)
{
    uint8_t *out = dst;
    int64_t col = col0;
    while (n > 0) {
        int64_t left = block - col % block;
        size_t m = n < (uint64_t)left ? n : (size_t)left;
        float s = scale[col / block];
        if (to == BR_BF16)
            form()->e4m3_to_bf16(out, src, m, s);
        else
            dequant_any(out, to, src, m, s);
        out += m * br_dtype_size(to);
        src += m;
        n -= m;
        col += (int64_t)m;
    }
}
