/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* safetensors_fuzz.c - libFuzzer target: the header of a safetensors file.
 *
 * Input: 8 bytes, little-endian size of the data section, then the header's JSON text.  A header
 * that is accepted must come back unchanged from writing and parsing it again. */
#include "../../core/format/hf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_same(const struct br__st_entry *a, const struct br__st_entry *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(a[i].name, b[i].name) != 0 || a[i].dtype != b[i].dtype ||
            a[i].ndim != b[i].ndim || memcmp(a[i].shape, b[i].shape, sizeof a[i].shape) != 0 ||
            a[i].begin != b[i].begin || a[i].end != b[i].end)
            abort();
}

/* Entries tile [0, data_bytes), and written they read back the same. */
static void check_accepted(struct br__arena *a, struct br__st_entry *e, size_t n, const char *meta,
                           uint64_t data_bytes)
{
    struct br__buf text = {0};
    struct br__st_entry *again;
    const char *meta_again;
    size_t n_again;
    uint64_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (e[i].begin != at || e[i].end < at)
            abort();
        at = e[i].end;
    }
    if (at != data_bytes || br__st_header(&text, e, n, meta) || text.n % 8 != 0)
        abort();
    if (br__st_parse(a, text.p + 8, text.n - 8, data_bytes, &again, &n_again, &meta_again, NULL) ||
        n_again != n || !meta != !meta_again || (meta && strcmp(meta, meta_again) != 0))
        abort();
    check_same(e, again, n);
    br__buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__st_entry *e;
    const char *meta;
    uint64_t data_bytes = 0;
    size_t n;

    if (size < 8)
        return 0;
    for (int i = 7; i >= 0; i--)
        data_bytes = data_bytes << 8 | data[i];
    int rc = br__st_parse(&a, (const char *)data + 8, size - 8, data_bytes, &e, &n, &meta, &err);
    if (rc == BR_OK)
        check_accepted(&a, e, n, meta, data_bytes);
    else if (!err.msg[0] || err.code != rc)
        abort(); /* a refusal says why */
    br__arena_free(&a);
    return 0;
}
