/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_values.c - optimizer state as float32 of the weight's shape, whatever the dtype on disk. */
#include "train.h"

struct br__tensor br__train_view(const struct br__train_state *s, size_t i)
{
    struct br__tensor t = *s->params[i].weight;

    t.bytes = t.bytes / br_dtype_size(t.dtype) * sizeof(float);
    t.dtype = BR_F32;
    return t;
}

int br__train_read_as_f32(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t first,
                          float *dst, size_t n, struct br_err *err)
{
    unsigned char block[4096];
    size_t size = br_dtype_size(t->dtype), most = sizeof block / size;

    if (t->dtype == BR_F32)
        return br__ckpt_read(ck, t, first * size, dst, n * size, err);
    while (n) {
        size_t k = BR__MIN(n, most);
        int rc = br__ckpt_read(ck, t, first * size, block, k * size, err);
        if (rc)
            return rc;
        br_cast(dst, BR_F32, block, t->dtype, k, 0);
        first += k;
        dst += k;
        n -= k;
    }
    return BR_OK;
}
