/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* input.c - input files in batches of bounded size. */
#include "input.h"

#include <inttypes.h>
#include <string.h>

/* A batch has about this many bytes, and no line may be longer than the limit. */
#define BATCH ((size_t)4 << 20)
#define LINE_MAX_BYTES ((size_t)1 << 30)
/* A text file goes to the tokenizer in pieces of about this size. */
#define PIECE ((size_t)64 << 10)

static int kind_of(const char *path)
{
    if (br__ends(path, ".parquet") || br__ends(path, ".pq"))
        return BR__INPUT_PARQUET;
    return br__ends(path, ".jsonl") || br__ends(path, ".nvjsonl") || br__ends(path, ".ndjson") ||
                   br__ends(path, ".json")
               ? BR__INPUT_JSONL
               : BR__INPUT_TEXT;
}

int br__input_open(struct br__input *f, const char *path, const char *const *keys, size_t n_keys,
                   struct br_err *err)
{
    *f = (struct br__input){.kind = kind_of(path), .first = 1};
    f->block.max = LINE_MAX_BYTES + BATCH;
    int rc = br__file_open(&f->file, path, err);
    if (!rc && f->kind == BR__INPUT_PARQUET)
        rc = br__parquet_open(&f->rows, path, err);
    if (!rc && f->rows)
        rc = br__parquet_select(f->rows, keys, n_keys, err);
    if (rc)
        br__input_close(f);
    return rc;
}

void br__input_close(struct br__input *f)
{
    br__parquet_close(f->rows);
    br__file_close(&f->file);
    br__buf_free(&f->block);
    br__free(f->ends);
    *f = (struct br__input){0};
}

/* The last place at or before `n` where the block may be cut, 0 if there is none.  A text is cut
 * where a line begins that does not begin with white space: no token of byte-level BPE reaches over
 * that place, as words and runs of white space both end there. */
static size_t last_cut(const struct br__input *f, size_t n)
{
    const char *p = f->block.p;
    for (; n > 0; n--)
        if (p[n - 1] == '\n' &&
            (f->kind == BR__INPUT_JSONL || (n < f->block.n && (unsigned char)p[n] > ' ')))
            return n;
    return 0;
}

static int add_end(struct br__input *f, size_t end)
{
    if (br__grow(&f->ends, &f->cap, f->n, sizeof *f->ends))
        return BR_E_NOMEM;
    f->ends[f->n++] = end;
    return BR_OK;
}

static int cut_records(struct br__input *f, size_t n)
{
    int rc = BR_OK;
    for (size_t at = 0; at < n && !rc;) {
        const char *nl = memchr(f->block.p + at, '\n', n - at);
        size_t end = nl ? (size_t)(nl - f->block.p) + 1 : n;
        while (f->kind == BR__INPUT_TEXT && end < n &&
               (end - at < PIECE || (unsigned char)f->block.p[end] <= ' ')) {
            nl = memchr(f->block.p + end, '\n', n - end);
            end = nl ? (size_t)(nl - f->block.p) + 1 : n;
        }
        rc = add_end(f, end);
        at = end;
    }
    return rc;
}

static int next_rows(struct br__input *f, struct br_err *err)
{
    int more = 1, rc = BR_OK;
    while (!rc && more && f->block.n < BATCH) {
        rc = br__parquet_next(f->rows, &f->block, &more, err);
        if (!rc && more && add_end(f, f->block.n))
            rc = br__nomem(err, "reading '%s'", f->file.path);
    }
    return rc;
}

int br__input_next(struct br__input *f, struct br_err *err)
{
    size_t cut = 0;
    f->first += (int64_t)f->n;
    f->n = f->block.n = 0;
    if (f->rows)
        return next_rows(f, err);
    while (f->at < f->file.size && !cut) {
        size_t n = (size_t)BR__MIN(f->file.size - f->at, (uint64_t)BATCH);
        if (f->block.n > LINE_MAX_BYTES)
            return br_fail(err, BR_E_UNSUPPORTED, "'%s', record %" PRId64 ": longer than %zu bytes",
                           f->file.path, f->first, LINE_MAX_BYTES);
        char *to = br__buf_room(&f->block, n);
        if (!to)
            return br__nomem(err, "reading '%s'", f->file.path);
        int rc = br__file_read(&f->file, f->at, to, n, err);
        if (rc)
            return rc;
        f->block.n += n;
        f->at += n;
        cut = f->at == f->file.size ? f->block.n : last_cut(f, f->block.n);
    }
    f->at -= f->block.n - cut;
    if (cut_records(f, cut))
        return br__nomem(err, "reading '%s'", f->file.path);
    return BR_OK;
}
