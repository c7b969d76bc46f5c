/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_decode_fuzz.c - libFuzzer target: ids to text.  Two bytes are an id; some name no
 * token, many are parts of characters. */
#include "tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct br_tokenizer *t = tok_built_in();
    struct br_ids ids = {0};
    for (size_t i = 0; i + 1 < size; i += 2) {
        if (br__tok_ids_reserve(&ids, 1))
            abort();
        ids.p[ids.n++] = (data[i] | data[i + 1] << 8) % 420 - 4;
    }
    tok_check_decode(t, &ids, 0);
    tok_check_decode(t, &ids, BR_TOK_SKIP_SPECIAL);
    br_ids_free(&ids);
    return 0;
}
