/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sum.h - what communicators take, and how they add: in the order of the ranks, float32 inside,
 * rounded once.  Threads and processes use this, so that both give the same bits. */
#ifndef BRIDGE_KERNELS_COMM_SUM_H
#define BRIDGE_KERNELS_COMM_SUM_H

#include <bridge/backend.h>

#include <string.h>

#define BR__SUM_BLOCK 512
union br__sum_block {
    float f[BR__SUM_BLOCK];
    uint64_t i[BR__SUM_BLOCK]; /* wraps, as the device's integers do */
};

/* Can the ranks of a group move, and add, n elements of that dtype from each?  `what`: the call. */
static inline int br__comm_check(const char *what, size_t n, uint32_t dtype, uint32_t group_size,
                                 struct br_err *err)
{
    static const uint32_t known =
        BR_BIT(BR_F32) | BR_BIT(BR_BF16) | BR_BIT(BR_F16) | BR_BIT(BR_I32) | BR_BIT(BR_I64);
    if (dtype >= BR_N_DTYPES || !(known & BR_BIT(dtype)))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "%s: dtype '%s', expected float32, bfloat16, float16, int32 or int64", what,
                       br_dtype_torch((int)dtype));
    if (n > SIZE_MAX / 8 / group_size)
        return br_fail(err, BR_E_USAGE, "%s: %zu elements are more than memory has", what, n);
    return BR_OK;
}

static inline const void *br__elem_at(const void *p, size_t i, uint32_t dtype)
{
    return (const char *)p + i * br_dtype_size((int)dtype);
}

static inline void *br__elem_mut(void *p, size_t i, uint32_t dtype)
{
    return (char *)p + i * br_dtype_size((int)dtype);
}

static inline void br__sum_load(union br__sum_block *b, const void *src, size_t n, uint32_t dtype)
{
    if (br_dtype_is_float((int)dtype)) {
        br_cast(b->f, BR_F32, src, (int)dtype, n, 0);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        int32_t narrow;
        if (dtype == BR_I64) {
            memcpy(&b->i[i], br__elem_at(src, i, dtype), 8);
        } else {
            memcpy(&narrow, br__elem_at(src, i, dtype), 4);
            b->i[i] = (uint64_t)narrow;
        }
    }
}

/* sum += the n <= BR__SUM_BLOCK elements at src. */
static inline void br__sum_add(union br__sum_block *sum, const void *src, size_t n, uint32_t dtype)
{
    union br__sum_block one;
    if (dtype == BR_F32) {
        br_sum_f32(sum->f, sum->f, src, n);
        return;
    }
    br__sum_load(&one, src, n, dtype);
    if (br_dtype_is_float((int)dtype)) {
        br_sum_f32(sum->f, sum->f, one.f, n);
    } else {
        for (size_t i = 0; i < n; i++)
            sum->i[i] += one.i[i];
    }
}

static inline void br__sum_store(void *dst, const union br__sum_block *b, size_t n, uint32_t dtype)
{
    if (br_dtype_is_float((int)dtype)) {
        br_cast(dst, (int)dtype, b->f, BR_F32, n, 0);
        return;
    }
    for (size_t i = 0; i < n; i++) /* little-endian: the low bytes are the narrow value */
        memcpy(br__elem_mut(dst, i, dtype), &b->i[i], br_dtype_size((int)dtype));
}

#endif
