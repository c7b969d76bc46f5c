/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* npy_fuzz.c - libFuzzer target: an array of numpy.save.  Its elements fill the file to its end. */
#include "../../core/format/format.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__npy x = {0};
    struct br_err err = BR_ERR_INIT;
    uint64_t off, bytes;
    if (br__npy_parse(&x, data, size, &off, &err)) {
        if (!err.msg[0])
            abort();
        return 0;
    }
    if (br_shape_bytes(x.shape, x.ndim, br_dtype_size(x.dtype), &bytes) || off + bytes != size)
        abort();
    return 0;
}
