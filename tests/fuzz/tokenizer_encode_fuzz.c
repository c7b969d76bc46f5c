/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_encode_fuzz.c - libFuzzer target: text to ids.
 *
 * Without added tokens the bytes of the ids are the text, normalized: encoding them again gives
 * the same ids, and ASCII comes back as it was. */
#include "tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void bytes_of(const struct br_tokenizer *t, const struct br_ids *ids, struct br__buf *out)
{
    br__buf_put(out, "", 0);
    for (size_t i = 0; i < ids->n; i++) {
        size_t n;
        const char *bytes = br_tokenizer_bytes(t, ids->p[i], &n);
        if (!bytes)
            abort();
        br__buf_put(out, bytes, n);
    }
}

static int is_ascii(const uint8_t *s, size_t n)
{
    unsigned all = 0;
    for (size_t i = 0; i < n; i++)
        all |= s[i];
    return all < 0x80;
}

static void check_plain(const struct br_tokenizer *t, const uint8_t *data, size_t size)
{
    struct br_ids ids = {0}, again = {0};
    struct br__buf bytes = {0};
    if (br_tokenizer_encode(t, (const char *)data, size, BR_TOK_NO_ADDED, &ids, NULL))
        abort();
    bytes_of(t, &ids, &bytes);
    if (is_ascii(data, size) && (bytes.n != size || memcmp(bytes.p, data, size) != 0))
        abort();
    if (br_tokenizer_encode(t, bytes.p, bytes.n, BR_TOK_NO_ADDED, &again, NULL))
        abort();
    if (ids.n != again.n || (ids.n && memcmp(ids.p, again.p, ids.n * sizeof *ids.p) != 0))
        abort();
    tok_check_decode(t, &ids, 0);
    br__buf_free(&bytes);
    br_ids_free(&ids);
    br_ids_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct br_tokenizer *t = tok_built_in();
    struct br_ids ids = {0};
    check_plain(t, data, size);
    if (br_tokenizer_encode(t, (const char *)data, size, 0, &ids, NULL))
        abort();
    tok_check_decode(t, &ids, BR_TOK_SKIP_SPECIAL);
    br_ids_free(&ids);
    return 0;
}
