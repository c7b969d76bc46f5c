/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* records.c - a JSONL file as records by number: where each line begins is kept, lines are read
 * when they are wanted. */
#include "input.h"
#include "sft.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK ((size_t)1 << 20)
#define RECORD_MAX ((size_t)1 << 30)

struct scan {
    struct br__records *r;
    size_t cap_at, cap_line;
    int64_t begin, number; /* of the line that is being read */
    int blank;
};

static int line_ends(struct scan *s, int64_t end)
{
    struct br__records *r = s->r;
    if (!s->blank) {
        if (br__grow(&r->at, &s->cap_at, (size_t)r->n + 1, sizeof *r->at) ||
            br__grow(&r->line, &s->cap_line, (size_t)r->n, sizeof *r->line))
            return BR_E_NOMEM;
        r->at[r->n] = s->begin;
        r->line[r->n++] = s->number;
        r->at[r->n] = end;
    }
    s->begin = end;
    s->number++;
    s->blank = 1;
    return BR_OK;
}

static int scan_block(struct scan *s, const char *p, size_t n, int64_t base)
{
    for (size_t i = 0; i < n;) {
        const char *nl = memchr(p + i, '\n', n - i);
        size_t end = nl ? (size_t)(nl - p) : n;
        for (size_t k = i; k < end && s->blank; k++)
            s->blank = p[k] == ' ' || p[k] == '\t' || p[k] == '\r';
        if (nl && line_ends(s, base + (int64_t)end + 1))
            return BR_E_NOMEM;
        i = end + 1;
    }
    return BR_OK;
}

/* Rows are written as lines to a file that is gone when it is closed: rows by number would need the
 * whole of a column in memory. */
static int open_rows(struct br__records *r, const char *path, struct br_err *err)
{
    struct br__input in;
    struct br__arena a = {0};
    struct br__out o;
    const char *dir = NULL, *lines = NULL;
    int rc = br__input_open(&in, path, NULL, 0, err);
    if (rc)
        return rc;
    rc = br__temp_dir(&a, "bridge-rows", &dir, err);
    if (!rc && !(lines = br__path_join(&a, dir, "rows.jsonl")))
        rc = br__nomem(err, "for '%s'", path);
    if (!rc)
        rc = br__out_open(&o, lines, 0, 0, err);
    if (!rc) {
        while (!rc && !(rc = br__input_next(&in, err)) && in.n)
            for (size_t i = 0, at = 0; i < in.n && !rc; at = in.ends[i++]) {
                rc = br__out_write(&o, in.block.p + at, in.ends[i] - at, err);
                if (!rc)
                    rc = br__out_write(&o, "\n", 1, err);
            }
        if (rc)
            br__out_abort(&o);
        else
            rc = br__out_finish(&o, err);
    }
    if (!rc)
        rc = br__file_open(&r->file, lines, err);
    if (dir) {
        int gone = br__remove_tree(dir, rc ? NULL : err);
        rc = rc ? rc : gone;
    }
    br__input_close(&in);
    br__arena_free(&a);
    return rc;
}

int br__records_open(struct br__records *r, const char *path, struct br_err *err)
{
    *r = (struct br__records){.path = path};
    struct scan s = {.r = r, .number = 1, .blank = 1};
    r->rows = br__ends(path, ".parquet");
    int rc = r->rows ? open_rows(r, path, err) : br__file_open(&r->file, path, err);
    char *block = rc ? NULL : br__alloc(BLOCK);
    if (!rc && !block)
        rc = BR_E_NOMEM;
    for (uint64_t at = 0; at < r->file.size && !rc;) {
        size_t n = (size_t)BR__MIN(r->file.size - at, (uint64_t)BLOCK);
        rc = br__file_read(&r->file, at, block, n, err);
        if (!rc)
            rc = scan_block(&s, block, n, (int64_t)at);
        at += n;
    }
    if (!rc)
        rc = line_ends(&s, (int64_t)r->file.size);
    br__free(block);
    if (rc == BR_E_NOMEM)
        br_fail(err, rc, "out of memory for the lines of '%s'", path);
    if (rc)
        br__records_close(r);
    return rc;
}

void br__records_close(struct br__records *r)
{
    br__file_close(&r->file);
    br__free(r->at);
    br__free(r->line);
    *r = (struct br__records){0};
}

int br__records_read(const struct br__records *r, int64_t i, struct br__buf *room,
                     struct br_err *err)
{
    int64_t n = r->at[i + 1] - r->at[i];
    room->n = 0;
    room->max = RECORD_MAX;
    if ((uint64_t)n >= RECORD_MAX)
        return br_fail(err, BR_E_UNSUPPORTED, "a record of %" PRId64 " bytes, at most %zu", n,
                       RECORD_MAX);
    char *to = br__buf_room(room, (size_t)n);
    if (!to)
        return br__nomem(err, "for a record of %" PRId64 " bytes", n);
    int rc = br__file_read(&r->file, (uint64_t)r->at[i], to, (size_t)n, err);
    /* The line's end, and blank lines behind it, belong to no record. */
    const char *nl = rc ? NULL : memchr(to, '\n', (size_t)n);
    room->n = nl ? (size_t)(nl - to) : (size_t)n;
    return rc;
}

void br__records_wrap(const struct br__records *r, int64_t i, struct br_err *err)
{
    br_wrap(err, "%s, %s %" PRId64, r->path, r->rows ? "row" : "line", r->line[i]);
}
