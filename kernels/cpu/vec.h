/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vec.h - the one vector vocabulary in which the kernels are written.
 *
 * A tier file defines TIER and includes a vec_<tier>.h through this; a body then reads the same
 * for every instruction set.  Floats are IEEE binary32; nothing reorders or contracts but what is
 * written as v_fma.  Pointers need no alignment beyond their element's.
 *
 *   VN                     lanes of a vf
 *   v_load v_store         VN floats; the _n forms the first n < VN, the lanes beyond are zeros
 *   v_load_bf16 _f16       VN 16-bit floats widened, and their _n forms
 *   v_store_bf16           rounded to nearest even, NaN stays NaN; and its _n form
 *   v_set1 v_zero          all lanes alike
 *   v_add v_sub v_mul v_div v_sqrt v_abs
 *   v_fma(a, b, c)         a * b + c, rounded once
 *   v_acc(acc, a, b)       acc + a * b for the innermost loops of products: acc stays in a register
 *   v_max v_min            of (a, b): b where either is NaN
 *   v_pick_gt(a, b, x, y)  a > b ? x : y per lane
 *   v_pow2(n)              2^n for integral -126 <= n <= 127
 *   v_sum v_hmax           over the lanes; NaN in, NaN out for v_sum
 *   v_transpose(r[VN])     the VN x VN matrix of which r holds the rows
 *   v_load_transposed(r, p, ld)  r[i] = float i, or pair i of bf16, of VN rows, ld bytes apart
 *   v_low_bf16 _high_bf16  that half of each of VN pairs, widened
 *   v_load_now(p)          VN floats, loaded here and not where a compiler would rather
 *   v_half_bf16(p, h)      one half of 2 VN bfloat16, widened: the half in which V_PLACE has them
 *   v_half_rows(v, p, n, at, h)  v[j] = that half of what lies `at` bytes into p[j], for j < n;
 *                          only where a tier needs fewer registers for all than one by one
 *   v_split(dst, x)        2 VN floats of x, element u at V_PLACE(u): half 0, then half 1
 *   v_sum4(out, v)         the sums of four vectors
 *   v_exp                  below */
#ifndef BR__VEC_H
#define BR__VEC_H

#include <stdint.h>
#include <string.h>

#define BR__INLINE static inline __attribute__((always_inline, unused))
/* Before a loop of few, constant turns over an array of vectors, which then stays in registers. */
#ifdef __clang__
#define BR__UNROLL _Pragma("clang loop unroll(full)")
#else
#define BR__UNROLL _Pragma("GCC unroll 32")
#endif

#ifndef BR__KEEP
/* The compiler must have v in a register here, and forget where it came from. */
#if defined(BR__VEC_AVX512)
#define BR__KEEP(v) __asm__ volatile("" : "+v"(v))
#elif defined(__x86_64__)
#define BR__KEEP(v) __asm__ volatile("" : "+x"(v))
#elif defined(__aarch64__)
#define BR__KEEP(v) __asm__ volatile("" : "+w"(v))
#else
#define BR__KEEP(v) __asm__ volatile("" : "+m"(v))
#endif
#endif

/* Far streams that are read in order are asked for so many bytes ahead, and into which cache (as
 * __builtin_prefetch has it).  Of the cores whose best tier has eight lanes the one measured (Zen
 * 3) fetches what lies further ahead by itself, and is slower when told to; of those with sixteen,
 * one (Sapphire Rapids) is half again as fast for being told. */
#define V_AHEAD (VN == 8 ? 384 : 1024)
#define V_CACHE (VN == 8 ? 0 : 2)

/* An address in a register of its own: compilers would make it anew, from another and a distance,
 * each time round. */
#ifndef BR__KEEP_POINTER
#define BR__KEEP_POINTER(p) __asm__("" : "+r"(p))
#endif

/* One 16-bit float, for tails and for the scalar tier. */
BR__INLINE float s_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* Exponent and mantissa moved into place, then rebiased by a product: exact for subnormals too. */
BR__INLINE float s_f16(uint16_t h)
{
    uint32_t sign = (uint32_t)(h >> 15) << 31, u = (uint32_t)(h & 0x7FFF) << 13;
    float x;
    if (u >= 0x0F800000u) /* infinity or NaN: the exponent becomes all ones */
        u |= 0x7F800000u;
    memcpy(&x, &u, sizeof x);
    if (u < 0x0F800000u)
        x *= 0x1p112f;
    memcpy(&u, &x, sizeof u);
    u |= sign;
    memcpy(&x, &u, sizeof x);
    return x;
}

BR__INLINE uint16_t s_to_bf16(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)(u >> 16 | 0x40);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

#if defined(BR__VEC_AVX512)
#include "vec_avx512.h"
#elif defined(BR__VEC_AVX2)
#include "vec_avx2.h"
#elif defined(BR__VEC_NEON)
#include "vec_neon.h"
#else
#include "vec_scalar.h"
#endif

/* Even elements, then odd ones, unless the tier has a better order. */
#ifndef V_PLACE
#define V_PLACE(u) ((u) / 2 + ((u)&1) * VN)
#endif

#ifndef v_load_now
BR__INLINE vf v_load_now(const float *p)
{
    vf v = v_load(p);
    BR__KEEP(v);
    return v;
}
#endif

/* e^x with a relative error below 1.5e-7; 0 below -104, infinity above 89, NaN for NaN.
 * x = n ln 2 + r, |r| <= ln 2 / 2: e^r by the polynomial of degree 6 that meets e^r in the seven
 * Chebyshev points of that interval (2e-8), times 2^n in two steps, so that results which are
 * subnormal round once and those too large overflow. */
BR__INLINE vf v_exp(vf x)
{
    const vf magic = v_set1(0x1.8p23f); /* adding it rounds to an integer */
    x = v_min(v_set1(90.0f), v_max(v_set1(-110.0f), x));
    vf n = v_sub(v_fma(x, v_set1(0x1.715476p+0f), magic), magic);
    vf r = v_fma(n, v_set1(-0.693359375f), x);
    r = v_fma(n, v_set1(0x1.bd0106p-13f), r);
    vf p = v_set1(0x1.6d758cp-10f);
    p = v_fma(p, r, v_set1(0x1.127000p-7f));
    p = v_fma(p, r, v_set1(0x1.5554acp-5f));
    p = v_fma(p, r, v_set1(0x1.555404p-3f));
    p = v_fma(p, r, v_set1(0.5f));
    p = v_fma(p, r, v_set1(1.0f));
    p = v_fma(p, r, v_set1(1.0f));
    vf half = v_sub(v_fma(n, v_set1(0.5f), magic), magic);
    return v_mul(v_mul(p, v_pow2(half)), v_pow2(v_sub(n, half)));
}

#endif
