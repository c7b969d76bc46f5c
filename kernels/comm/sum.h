/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sum.h - how communicators add: in the order of the ranks, float32 inside, rounded once.  All of
 * them use this, so that threads and processes give the same bits. */
#ifndef BRIDGE_KERNELS_COMM_SUM_H
#define BRIDGE_KERNELS_COMM_SUM_H

#include <bridge/backend.h>

#include <string.h>

#define BR__SUM_BLOCK 512
union br__sum_block {
    float f[BR__SUM_BLOCK];
    uint64_t i[BR__SUM_BLOCK]; /* wraps, as the device's integers do */
};

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

static inline void br__sum_add(union br__sum_block *sum, const union br__sum_block *b, size_t n,
                               uint32_t dtype)
{
    if (br_dtype_is_float((int)dtype))
        for (size_t i = 0; i < n; i++)
            sum->f[i] += b->f[i];
    else
        for (size_t i = 0; i < n; i++)
            sum->i[i] += b->i[i];
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
