/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* idx_fuzz.c - libFuzzer target: Megatron's .idx.  Input: 8 bytes, little-endian size of the .bin,
 * then the .idx.  What is accepted lies within both. */
#include "../../core/format/indexed.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__indexed x = {0};
    struct br_err err = BR_ERR_INIT;
    uint64_t bin;
    if (size < 8)
        return 0;
    memcpy(&bin, data, 8);
    if (br__idx_parse(&x, data + 8, size - 8, bin, &err)) {
        if (!err.msg[0])
            abort();
        return 0;
    }
    int64_t tokens = 0;
    for (int64_t i = 0; i < x.n_seq; i++)
        tokens += br__indexed_len(&x, i);
    if (tokens != x.n_tokens || br__indexed_doc(&x, 0) != 0 ||
        br__indexed_doc(&x, x.n_doc) != x.n_seq)
        abort();
    return 0;
}
