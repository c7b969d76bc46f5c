/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* roofline_impl.h - loops that do nothing but what the tier does at best; see roofline.c.
 *
 * Needs: matmul_impl.h.  Defines: br__roofline_read, _read_asked and _f32 of the tier, or
 * _rounded with BR__MATRIX_ONLY. */
#ifndef BR__MATRIX_ONLY

float BR__FN(roofline_read)(const void *p, size_t n);
float BR__FN(roofline_read_asked)(const void *p, size_t n);
double BR__FN(roofline_f32)(int64_t turns);

/* Four streams far apart: one is slower, and so are more. */
BR__INLINE float read_streams(const void *p, size_t n, const int asks)
{
    const float *base = p;
    const size_t length = n / 4 / sizeof(float);
    vf m[4];
    BR__UNROLL for (int s = 0; s < 4; s++) m[s] = v_zero();
    for (size_t i = 0; i < length; i += 16) {
        BR__UNROLL for (int s = 0; s < 4; s++)
        {
            const float *at = base + (size_t)s * length + i;
            if (asks)
                __builtin_prefetch((const char *)at + V_AHEAD, 0, V_CACHE);
            for (int u = 0; u < 16; u += VN)
                m[s] = v_max(m[s], v_load(at + u));
        }
    }
    BR__UNROLL for (int s = 1; s < 4; s++) m[0] = v_max(m[0], m[s]);
    return v_hmax(m[0]);
}

/* Read n bytes, a multiple of 256, as the core fetches them by itself. */
float BR__FN(roofline_read)(const void *p, size_t n)
{
    return read_streams(p, n, 0);
}

/* The same with a prefetch for every line. */
float BR__FN(roofline_read_asked)(const void *p, size_t n)
{
    return read_streams(p, n, 1);
}

/* Multiply-adds from registers; returns how many floating-point operations. */
double BR__FN(roofline_f32)(int64_t turns)
{
    vf acc[12], a = v_set1(1.0f), b = v_set1(1e-9f);
    BR__UNROLL for (int i = 0; i < 12; i++) acc[i] = v_set1((float)i);
    for (int64_t t = 0; t < turns; t++) {
        BR__UNROLL for (int i = 0; i < 12; i++)
        {
            acc[i] = v_fma(a, b, acc[i]);
            BR__KEEP(acc[i]);
        }
    }
    return 2.0 * VN * 12 * (double)turns;
}

#else

double BR__FN(roofline_rounded)(int64_t turns);

/* Products of pairs of bfloat16 from tiles or registers; returns how many floating-point
 * operations. */
double BR__FN(roofline_rounded)(int64_t turns)
{
#ifdef BR__TILES
    static const float zeros[16 * 16];
    tiles_begin();
    _tile_loadd(4, zeros, 64);
    _tile_loadd(5, zeros, 64);
    _tile_loadd(6, zeros, 64);
    _tile_loadd(7, zeros, 64);
    for (int64_t t = 0; t < turns; t++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 4.0 * 2 * 16 * 16 * 32 * (double)turns;
#else
    vf acc[12], a = v_zero(), b = v_zero();
    BR__UNROLL for (int i = 0; i < 12; i++) acc[i] = v_set1((float)i);
    for (int64_t t = 0; t < turns; t++) {
        BR__UNROLL for (int i = 0; i < 12; i++)
        {
            acc[i] = gemm_unit_fma(a, b, acc[i]);
            BR__KEEP(acc[i]);
        }
    }
    return 2.0 * 2 * VN * 12 * (double)turns;
#endif
}

#endif
