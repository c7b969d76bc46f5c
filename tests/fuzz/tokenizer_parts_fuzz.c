/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer_parts_fuzz.c - libFuzzer target: normalizers, pre-tokenizers, post-processors and
 * decoders around two models, and a text.
 *
 * Input: a byte that chooses the model, the members of tokenizer.json as JSON, a NUL, the text.
 * What is accepted encodes any text to ids that it has, the same twice, and decodes them; where it
 * says which bytes a token is, they lie in the text, in order. */
#include "tok.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_ranges(const struct br_tokenizer *t, const char *text, size_t n,
                         const struct br_ids *want)
{
    struct br_err err = BR_ERR_INIT;
    struct br__tok_ranges r = {0};
    struct br_ids ids = {0};
    size_t at = 0;
    int rc = br__tok_encode_ranges(t, text, n, &ids, &r, &err);
    if (!rc && (r.n != ids.n || ids.n != want->n))
        abort();
    for (size_t i = 0; i < r.n && !rc; at = r.p[i++].begin)
        if (r.p[i].begin < at || r.p[i].end < r.p[i].begin || r.p[i].end > n)
            abort();
    if (rc && !err.msg[0])
        abort();
    br__free(r.p);
    br_ids_free(&ids);
}

static void check_text(const struct br_tokenizer *t, const char *text, size_t n, unsigned flags)
{
    struct br_err err = BR_ERR_INIT;
    struct br_ids ids = {0}, again = {0};
    size_t len;
    int rc = br_tokenizer_encode(t, text, n, flags, &ids, &err);
    if (rc && rc != BR_E_UNSUPPORTED) /* a pattern runs out of its limits, a byte has no token */
        abort();
    if (rc != br_tokenizer_encode(t, text, n, flags, &again, &err) || ids.n != again.n ||
        (ids.n && memcmp(ids.p, again.p, ids.n * sizeof *ids.p) != 0))
        abort();
    for (size_t i = 0; i < ids.n && !(flags & BR_TOK_ADD_SPECIAL); i++)
        if (!br_tokenizer_bytes(t, ids.p[i], &len))
            abort();
    tok_check_decode(t, &ids, 0);
    tok_check_decode(t, &ids, BR_TOK_SKIP_SPECIAL);
    if (!rc && !flags)
        check_ranges(t, text, n, &ids);
    br_ids_free(&ids);
    br_ids_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br_err err = BR_ERR_INIT;
    struct br__buf b = {0};
    const uint8_t *nul = size ? memchr(data + 1, 0, size - 1) : NULL;
    if (!nul || size > 4096)
        return 0;
    br__buf_putc(&b, '{');
    br__buf_put(&b, data + 1, (size_t)(nul - data) - 1);
    br__buf_puts(&b, nul - data > 1 ? "," : "");
    (*data & 1 ? tok_plain_model : tok_model)(&b);
    br__buf_putc(&b, '}');
    struct br_tokenizer *t = tok_from_json(b.p, b.n, &err);
    br__buf_free(&b);
    if (!t)
        return 0;
    const char *text = (const char *)nul + 1;
    size_t n = size - (size_t)(nul + 1 - data);
    check_text(t, text, n, 0);
    check_text(t, text, n, BR_TOK_NO_ADDED);
    check_text(t, text, n, BR_TOK_ADD_SPECIAL);
    br_tokenizer_close(t);
    return 0;
}
