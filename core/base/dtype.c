/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* dtype.c - the element type table and shape arithmetic. */
#include "base.h"

#include <string.h>

static const struct {
    const char *st, *torch, *storage;
    uint32_t bytes;
    int is_float;
} dtypes[BR_N_DTYPES] = {
#define BR_X(name, st, torch, storage, bytes, is_float)                                            \
    [BR_##name] = {st, torch, storage, bytes, is_float},
    BR_DTYPE_MAP(BR_X)
#undef BR_X
};

static int dtype_known(int dtype)
{
    return dtype > BR_NONE && dtype < BR_N_DTYPES ? dtype : BR_NONE;
}

uint32_t br_dtype_size(int dtype)
{
    return dtypes[dtype_known(dtype)].bytes;
}

int br_dtype_is_float(int dtype)
{
    return dtypes[dtype_known(dtype)].is_float;
}

const char *br_dtype_st(int dtype)
{
    return dtypes[dtype_known(dtype)].st;
}

const char *br_dtype_torch(int dtype)
{
    return dtypes[dtype_known(dtype)].torch;
}

const char *br_dtype_storage(int dtype)
{
    return dtypes[dtype_known(dtype)].storage;
}

int br_dtype_from_st(const char *name)
{
    for (int i = BR_NONE + 1; i < BR_N_DTYPES; i++)
        if (strcmp(dtypes[i].st, name) == 0)
            return i;
    return BR_NONE;
}

int br_dtype_from_torch(const char *name)
{
    if (br__starts(name, "torch."))
        name += strlen("torch.");
    for (int i = BR_NONE + 1; i < BR_N_DTYPES; i++)
        if (dtypes[i].bytes && strcmp(dtypes[i].torch, name) == 0)
            return i;
    return BR_NONE;
}

int br_shape_bytes(const int64_t *shape, int n, uint32_t elem_bytes, uint64_t *out)
{
    int64_t product = elem_bytes;
    int empty = elem_bytes == 0;
    *out = 0;
    if (n < 0)
        return BR_E_FORMAT;
    for (int i = 0; i < n; i++) {
        if (shape[i] < 0)
            return BR_E_FORMAT;
        /* A zero dim counts as one here: strides of an empty tensor must not overflow either. */
        empty |= shape[i] == 0;
        if (__builtin_mul_overflow(BR__MAX(product, 1), BR__MAX(shape[i], 1), &product))
            return BR_E_FORMAT;
    }
    *out = empty ? 0 : (uint64_t)product;
    return BR_OK;
}
