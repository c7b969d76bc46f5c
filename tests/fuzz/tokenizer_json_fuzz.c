/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_json_fuzz.c - libFuzzer target: tokenizer.json.
 *
 * What is accepted must encode any text to ids that it has, and decode them. */
#include "tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "the caf\x65\xCC\x81's aaaa\n\n 12 \xE4\xB8\xAD\xFF<|x|> <y> end";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br_err err = BR_ERR_INIT;
    struct br_ids ids = {0};
    size_t n;
    struct br_tokenizer *t = tok_from_json((const char *)data, size, &err);
    if (!t)
        return 0;
    int rc = br_tokenizer_encode(t, text, sizeof text - 1, 0, &ids, &err);
    if (rc && rc != BR_E_UNSUPPORTED) /* a pattern may run out of its limits */
        abort();
    for (size_t i = 0; i < ids.n; i++)
        if (!br_tokenizer_bytes(t, ids.p[i], &n) || ids.p[i] >= br_tokenizer_n_vocab(t))
            abort();
    tok_check_decode(t, &ids, 0);
    br_ids_free(&ids);
    br_tokenizer_close(t);
    return 0;
}
