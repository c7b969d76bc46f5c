/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* json_fuzz.c - libFuzzer target: config.json and model.safetensors.index.json.
 *
 * What parses must print and parse again to the same print; an index that is accepted must name
 * plain files only and survive being written. */
#include "../../core/format/hf.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_json(const char *text, size_t n)
{
    struct br_err err = BR_ERR_INIT;
    struct br__buf once = {0}, twice = {0};
    br__json *j, *again;

    int rc = br__json_parse(&j, text, n, &err);
    if (rc) {
        if (!err.msg[0])
            abort(); /* a refusal says why */
        return;
    }
    if (br__json_print(j, 0, &once) || br__json_parse(&again, once.p, once.n, NULL) ||
        br__json_print(again, 0, &twice))
        abort();
    if (once.n != twice.n || memcmp(once.p, twice.p, once.n) != 0)
        abort();
    br__json_free(again);
    br__json_free(j);
    br__buf_free(&once);
    br__buf_free(&twice);
}

/* Written and read again, an index says the same; only its order may change. */
static void check_index(struct br__arena *a, const struct br__hf_index *ix)
{
    struct br__hf_index again;
    struct br__buf text = {0};
    uint64_t total = ix->total_size == UINT64_MAX ? 0 : ix->total_size;

    const char **files = br__arena_alloc(a, ix->n * sizeof *files);
    if (!files)
        abort();
    for (size_t i = 0; i < ix->n; i++) {
        if (ix->file_of[i] >= ix->n_files)
            abort();
        files[i] = ix->files[ix->file_of[i]];
        if (strchr(files[i], '/') || !br__ends(files[i], ".safetensors"))
            abort();
    }
    if (br__hf_index_text(&text, ix->names, files, ix->n, total) ||
        br__hf_index_parse(a, text.p, text.n, &again, NULL))
        abort();
    if (again.n != ix->n || again.n_files != ix->n_files || again.total_size != total)
        abort();
    for (size_t i = 0; i < ix->n_files; i++)
        if (strcmp(ix->files[i], again.files[i]) != 0)
            abort();
    br__buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__hf_index ix;

    try_json((const char *)data, size);
    if (br__hf_index_parse(&a, (const char *)data, size, &ix, &err) == BR_OK)
        check_index(&a, &ix);
    else if (!err.msg[0])
        abort();
    br__arena_free(&a);
    return 0;
}
