/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tensor.h - element types and shapes, and the element kernels that conversion needs.
 *
 * Called by every floor and by plugins; knows nothing of files.  The kernels live in
 * kernels/cpu/cast.c, chosen at run time by CPUID bits (BRIDGE_CPU=scalar|avx2|... forces
 * a tier that the machine has); every tier gives the same bits. */
#ifndef BRIDGE_TENSOR_H
#define BRIDGE_TENSOR_H

#include <bridge/base.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BR_MAX_DIMS 8

/* X(name, safetensors name, torch name, torch storage, bytes per element, float?) */
#define BR_DTYPE_MAP(X)                                                                            \
    X(NONE, "", "", "", 0, 0)                                                                      \
    X(F32, "F32", "float32", "FloatStorage", 4, 1)                                                 \
    X(F16, "F16", "float16", "HalfStorage", 2, 1)                                                  \
    X(BF16, "BF16", "bfloat16", "BFloat16Storage", 2, 1)                                           \
    X(F64, "F64", "float64", "DoubleStorage", 8, 1)                                                \
    X(F8_E4M3, "F8_E4M3", "float8_e4m3fn", "UntypedStorage", 1, 1)                                 \
    X(F8_E5M2, "F8_E5M2", "float8_e5m2", "UntypedStorage", 1, 1)                                   \
    X(I64, "I64", "int64", "LongStorage", 8, 0)                                                    \
    X(I32, "I32", "int32", "IntStorage", 4, 0)                                                     \
    X(I16, "I16", "int16", "ShortStorage", 2, 0)                                                   \
    X(I8, "I8", "int8", "CharStorage", 1, 0)                                                       \
    X(U8, "U8", "uint8", "ByteStorage", 1, 0)                                                      \
    X(BOOL, "BOOL", "bool", "BoolStorage", 1, 0)                                                   \
    X(U16, "U16", "uint16", "UntypedStorage", 2, 0)                                                \
    X(U32, "U32", "uint32", "UntypedStorage", 4, 0)                                                \
    X(U64, "U64", "uint64", "UntypedStorage", 8, 0)                                                \
    /* these are listed and copied, never computed with; two F4 share a byte, hence no size */     \
    X(C64, "C64", "complex64", "ComplexFloatStorage", 8, 0)                                        \
    X(F8_E4M3FNUZ, "F8_E4M3FNUZ", "float8_e4m3fnuz", "UntypedStorage", 1, 0)                       \
    X(F8_E5M2FNUZ, "F8_E5M2FNUZ", "float8_e5m2fnuz", "UntypedStorage", 1, 0)                       \
    X(F8_E8M0, "F8_E8M0", "float8_e8m0fnu", "UntypedStorage", 1, 0)                                \
    X(F4, "F4", "float4_e2m1fn_x2", "UntypedStorage", 0, 0)

enum br_dtype {
#define BR_X(name, st, torch, storage, bytes, is_float) BR_##name,
    BR_DTYPE_MAP(BR_X)
#undef BR_X
        BR_N_DTYPES
};

/* Properties of a dtype; BR_NONE gives "", 0.  Safe for any int. */
BR_API uint32_t br_dtype_size(int dtype);         /* bytes per element */
BR_API int br_dtype_is_float(int dtype);          /* 1 for F8 too */
BR_API const char *br_dtype_st(int dtype);        /* "BF16", as safetensors spells it */
BR_API const char *br_dtype_torch(int dtype);     /* "bfloat16", torch's name without "torch." */
BR_API const char *br_dtype_storage(int dtype);   /* "BFloat16Storage" */
BR_API int br_dtype_from_st(const char *name);    /* BR_NONE if unknown */
BR_API int br_dtype_from_torch(const char *name); /* accepts "bfloat16" and "torch.bfloat16" */

/* Product of n dims times elem_bytes.  Returns 0 and sets *out, or BR_E_FORMAT on a
 * negative dim or overflow of int64 (then *out is 0). */
BR_API int br_shape_bytes(const int64_t *shape, int n, uint32_t elem_bytes,
                          uint64_t *out) BR_MUST_CHECK;

/* Convert n elements from dtype `from` to dtype `to`, both one of F32, F16, BF16, F64,
 * after adding `add` (0, or +-1 for the zero-centred norms) in float64; rounds once, to
 * nearest even.  src and dst must not overlap; any alignment.  Returns the number of elements
 * whose value changed (x + add not representable in `to`; NaN counts as unchanged). */
BR_API size_t br_cast(void *dst, int to, const void *src, int from, size_t n, double add);

/* out = a + b, of n elements each; out may be one of them, at the same place. */
BR_API void br_sum_f32(float *out, const float *a, const float *b, size_t n);

/* Dequantise a run of one row of a block-quantised e4m3 matrix: element j of the run is
 * column col0 + j; dst[j] = rne(e4m3(src[j]) * scale[(col0 + j) / block]) with the product in
 * float32, `to` one of F32, F16, BF16.  scale points at the row's block row.
 * Source: torch float8_e4m3fn (1-4-3, bias 7, no infinities, 0x7f/0xff NaN). */
BR_API void br_dequant_e4m3(void *dst, int to, const uint8_t *src, size_t n, const float *scale,
                            int64_t col0, int64_t block);

/* Name of the kernel tier in use ("scalar", "avx2", "avx512"), for `bridge doctor` and -v. */
BR_API const char *br_cpu_tier(void);

#ifdef __cplusplus
}
#endif
#endif
