/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* zip_fuzz.c - libFuzzer target: one torch.save archive, from the ZIP to the tensor in it.
 *
 * Input: the archive.  Every record, and the bytes of the tensor that data.pkl describes, must lie
 * inside the input. */
#include "../../core/format/torchdist/torchdist.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(uint64_t off, uint64_t n, size_t size)
{
    if (off > size || n > size - off)
        abort();
}

static void check_records(const struct br__zip_rec *recs, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        check_inside(recs[i].off, recs[i].size, size);
        if (!br__zip_find(recs, n, recs[i].name))
            abort();
    }
}

static void check_tensor(const struct br__torch_file *tf, size_t size)
{
    struct br_err err = BR_ERR_INIT;
    struct br__torch_tensor t;
    uint64_t bytes;
    int rc = br__torch_tensor_read(tf, tf->root, &t, &err);

    if (rc) {
        if (!err.msg[0] || err.code != rc)
            abort();
        return;
    }
    check_inside(t.data_off, t.bytes, size);
    if (br_shape_bytes(t.shape, t.ndim, br_dtype_size(t.dtype), &bytes) || bytes != t.bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__file f = {.fd = -1, .map = size ? data : NULL, .size = size};
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__torch_file tf;
    struct br__zip_rec *recs;
    size_t n;

    int rc = br__zip_read(&a, f.map, size, 0, size, &recs, &n, &err);
    if (rc == BR_OK)
        check_records(recs, n, size);
    else if (!err.msg[0] || err.code != rc)
        abort();
    if (br__torch_load(&a, &f, 0, size, &tf, &err) == BR_OK)
        check_tensor(&tf, size);
    br__arena_free(&a);
    return 0;
}
