/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* safetensors.c - the header of a safetensors file: read, checked, written.
 *
 * A file is a little-endian u64 length, that many bytes of JSON, then the data section.  The
 * header alone says where every tensor lies, so it is believed only after its entries are shown
 * to tile the data section exactly: no overlap, no hole, nothing past the end. */
#include "hf.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ST_METADATA "__metadata__"

/* ---- parsing --------------------------------------------------------------------------------- */

/* The value of "__metadata__" as compact JSON text.  The reference allows strings only. */
static int parse_metadata(struct br__arena *a, const br__json *meta, const char **text,
                          struct br_err *err)
{
    struct br__buf b = {0};
    int rc = BR_OK;

    if (br__json_kind(meta) != 'o')
        return br_fail(err, BR_E_FORMAT, "'" ST_METADATA "' is not a JSON object");
    br__buf_putc(&b, '{');
    for (const br__json *m = br__json_first(meta); m; m = br__json_next(m)) {
        const char *value = br__json_str(m, NULL);
        if (!value) {
            rc = br_fail(err, BR_E_FORMAT, "member '%s' of '" ST_METADATA "' is not a string",
                         br__json_key(m));
            goto out;
        }
        if (b.n > 1)
            br__buf_putc(&b, ',');
        br__buf_json_str(&b, br__json_key(m));
        br__buf_putc(&b, ':');
        br__buf_json_str(&b, value);
    }
    br__buf_putc(&b, '}');
    *text = b.failed ? NULL : br__arena_strndup(a, b.p, b.n);
    if (!*text)
        rc = br__nomem(err, "reading '" ST_METADATA "'");
out:
    br__buf_free(&b);
    return rc;
}

static int parse_dtype(const br__json *j, struct br__st_entry *e, struct br_err *err)
{
    const char *name = br__json_str(j, NULL);

    if (!name)
        return br_fail(err, BR_E_FORMAT, "tensor '%s' has no 'dtype', or one that is no string",
                       e->name);
    e->dtype = br_dtype_from_st(name);
    if (e->dtype == BR_NONE)
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s' has the unknown dtype '%s'; expected F32, F16, BF16, F8_E4M3 "
                       "or another of the safetensors format but F6",
                       e->name, name);
    return BR_OK;
}

static int parse_shape(const br__json *j, struct br__st_entry *e, struct br_err *err)
{
    if (br__json_kind(j) != 'a')
        return br_fail(err, BR_E_FORMAT, "tensor '%s' has no 'shape', or one that is no array",
                       e->name);
    for (const br__json *d = br__json_first(j); d; d = br__json_next(d)) {
        uint64_t dim;
        if (e->ndim == BR_MAX_DIMS)
            return br_fail(err, BR_E_FORMAT, "tensor '%s' has more than %d dimensions", e->name,
                           BR_MAX_DIMS);
        if (br__json_u64(d, &dim))
            return br_fail(err, BR_E_FORMAT,
                           "dimension %d of tensor '%s' is not an integer from 0 to 2^53 - 1",
                           e->ndim, e->name);
        e->shape[e->ndim++] = (int64_t)dim;
    }
    return BR_OK;
}

static int parse_offsets(const br__json *j, struct br__st_entry *e, struct br_err *err)
{
    const br__json *begin = br__json_first(j);
    const br__json *end = begin ? br__json_next(begin) : NULL;

    if (br__json_kind(j) != 'a' || !end || br__json_next(end) || br__json_u64(begin, &e->begin) ||
        br__json_u64(end, &e->end))
        return br_fail(err, BR_E_FORMAT,
                       "'data_offsets' of tensor '%s' is not an array of two integers [begin, end]",
                       e->name);
    return BR_OK;
}

/* Bytes of a tensor.  Two values of four bits share a byte, so there must be an even number. */
static int st_bytes(const struct br__st_entry *e, uint64_t *bytes)
{
    int rc = br_shape_bytes(e->shape, e->ndim, BR__MAX(br_dtype_size(e->dtype), 1U), bytes);

    if (rc || e->dtype != BR_F4)
        return rc;
    rc = *bytes % 2 ? BR_E_FORMAT : BR_OK;
    *bytes /= 2;
    return rc;
}

/* Shape and dtype against the extent that the offsets claim. */
static int check_extent(const struct br__st_entry *e, uint64_t data_bytes, struct br_err *err)
{
    uint64_t bytes;
    char shape[200];

    br__shape_str(e->shape, e->ndim, shape, sizeof shape);
    if (st_bytes(e, &bytes))
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s' is %s %s, which is no whole number of bytes, or more than 63 "
                       "bits can count",
                       e->name, br_dtype_st(e->dtype), shape);
    if (e->end < e->begin || e->end - e->begin != bytes)
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s' is %s %s, which takes %" PRIu64
                       " bytes, but its data_offsets are [%" PRIu64 ", %" PRIu64 "]",
                       e->name, br_dtype_st(e->dtype), shape, bytes, e->begin, e->end);
    if (e->end > data_bytes)
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s' ends at byte %" PRIu64 " of the data section, which has only "
                       "%" PRIu64 " bytes; is the download complete?",
                       e->name, e->end, data_bytes);
    return BR_OK;
}

static int parse_entry(struct br__arena *a, const br__json *m, uint64_t data_bytes,
                       struct br__st_entry *e, struct br_err *err)
{
    int rc;

    e->name = br__arena_strdup(a, br__json_key(m));
    if (!e->name)
        return br__nomem(err, "reading a header");
    if (br__json_kind(m) != 'o')
        return br_fail(err, BR_E_FORMAT, "header entry '%s' is not a JSON object", e->name);
    rc = parse_dtype(br__json_get(m, "dtype"), e, err);
    if (!rc)
        rc = parse_shape(br__json_get(m, "shape"), e, err);
    if (!rc)
        rc = parse_offsets(br__json_get(m, "data_offsets"), e, err);
    if (!rc && br__json_count(m) != 3)
        rc = br_fail(err, BR_E_FORMAT,
                     "header entry '%s' has members other than dtype, shape and data_offsets",
                     e->name);
    return rc ? rc : check_extent(e, data_bytes, err);
}

/* ---- layout ---------------------------------------------------------------------------------- */

/* Offset order; an empty tensor stands before the one that starts where it does. */
static int by_offset(const void *pa, const void *pb)
{
    const struct br__st_entry *a = pa, *b = pb;

    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    if (a->end != b->end)
        return a->end < b->end ? -1 : 1;
    return strcmp(a->name, b->name);
}

static int in_offset_order(const struct br__st_entry *e, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (e[i].begin < e[i - 1].begin ||
            (e[i].begin == e[i - 1].begin && e[i].end < e[i - 1].end))
            return 0;
    return 1;
}

/* Entries in offset order must tile [0, data_bytes). */
static int check_tiling(const struct br__st_entry *e, size_t n, uint64_t data_bytes,
                        struct br_err *err)
{
    uint64_t at = 0;

    for (size_t i = 0; i < n; i++) {
        if (e[i].begin < at)
            return br_fail(err, BR_E_FORMAT,
                           "tensors '%s' and '%s' overlap: the second starts at byte %" PRIu64
                           " of the data section, the first ends at %" PRIu64,
                           e[i - 1].name, e[i].name, e[i].begin, at);
        if (e[i].begin > at)
            return br_fail(err, BR_E_FORMAT,
                           "bytes %" PRIu64 " to %" PRIu64 " of the data section, before tensor "
                           "'%s', belong to no tensor",
                           at, e[i].begin, e[i].name);
        at = e[i].end;
    }
    if (at != data_bytes)
        return br_fail(err, BR_E_FORMAT,
                       "the tensors end at byte %" PRIu64 " of the data section, which has %" PRIu64
                       " bytes",
                       at, data_bytes);
    return BR_OK;
}

static int parse_root(struct br__arena *a, const br__json *root, uint64_t data_bytes,
                      struct br__st_entry **entries, size_t *n_entries, const char **metadata_json,
                      struct br_err *err)
{
    size_t n = 0;
    int rc;

    if (br__json_kind(root) != 'o')
        return br_fail(err, BR_E_FORMAT, "the header is not a JSON object");
    struct br__st_entry *e = br__arena_alloc(a, (br__json_count(root) + 1) * sizeof *e);
    if (!e)
        return br__nomem(err, "for %zu header entries", br__json_count(root));
    for (const br__json *m = br__json_first(root); m; m = br__json_next(m)) {
        if (strcmp(br__json_key(m), ST_METADATA) == 0)
            rc = parse_metadata(a, m, metadata_json, err);
        else
            rc = parse_entry(a, m, data_bytes, &e[n++], err);
        if (rc)
            return rc;
    }
    /* Writers already sort by offset; leaving their order alone keeps that of empty tensors. */
    if (!in_offset_order(e, n))
        qsort(e, n, sizeof *e, by_offset);
    rc = check_tiling(e, n, data_bytes, err);
    if (rc)
        return rc;
    *entries = e;
    *n_entries = n;
    return BR_OK;
}

int br__st_parse(struct br__arena *a, const char *json, size_t n, uint64_t data_bytes,
                 struct br__st_entry **entries, size_t *n_entries, const char **metadata_json,
                 struct br_err *err)
{
    br__json *root = NULL;

    *entries = NULL;
    *n_entries = 0;
    *metadata_json = NULL;
    int rc = br__json_parse(&root, json, n, err); /* refuses a name given twice */
    if (rc) {
        br_wrap(err, "safetensors header");
        return rc;
    }
    rc = parse_root(a, root, data_bytes, entries, n_entries, metadata_json, err);
    br__json_free(root);
    return rc;
}

static uint64_t le64(const unsigned char *p)
{
    uint64_t v = 0;

    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

/* Length of the JSON text, from the first 8 bytes. */
static int header_length(const struct br__file *f, uint64_t *n, struct br_err *err)
{
    if (f->size < 8)
        return br_fail(err, BR_E_FORMAT,
                       "file has %" PRIu64 " bytes, a safetensors header needs at least 8; is the "
                       "download complete?",
                       f->size);
    if (memcmp(f->map, "version ", 8) == 0)
        return br_fail(err, BR_E_FORMAT,
                       "file is a Git LFS pointer, not the weights; run 'git lfs pull' first");
    *n = le64(f->map);
    if (*n > f->size - 8)
        return br_fail(err, BR_E_FORMAT,
                       "header length %" PRIu64 " at byte 0 exceeds the file (%" PRIu64
                       " bytes); is it a safetensors file, and the download complete?",
                       *n, f->size);
    if (*n > BR__ST_HEADER_MAX)
        return br_fail(err, BR_E_FORMAT,
                       "header length %" PRIu64 " at byte 0 exceeds the format's limit of %u", *n,
                       BR__ST_HEADER_MAX);
    return BR_OK;
}

int br__st_open(struct br__arena *a, const struct br__file *f, struct br__st_entry **entries,
                size_t *n_entries, uint64_t *data_off, const char **metadata_json,
                struct br_err *err)
{
    uint64_t n = 0;
    int rc = header_length(f, &n, err);

    if (!rc)
        rc = br__st_parse(a, (const char *)f->map + 8, (size_t)n, f->size - 8 - n, entries,
                          n_entries, metadata_json, err);
    if (rc) {
        br_wrap(err, "'%s'", f->path);
        return rc;
    }
    *data_off = 8 + n;
    return BR_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_entry(struct br__buf *out, const struct br__st_entry *e)
{
    br__buf_json_str(out, e->name);
    br__buf_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", br_dtype_st(e->dtype));
    for (int i = 0; i < e->ndim; i++)
        br__buf_printf(out, i ? ",%" PRId64 : "%" PRId64, e->shape[i]);
    br__buf_printf(out, "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", e->begin, e->end);
}

int br__st_header(struct br__buf *out, struct br__st_entry *entries, size_t n,
                  const char *metadata_json)
{
    size_t start = out->n;
    uint64_t at = 0;
    const char *sep = "";

    br__buf_put(out, "\0\0\0\0\0\0\0\0", 8); /* the length, known at the end */
    br__buf_putc(out, '{');
    if (metadata_json) {
        br__buf_printf(out, "\"" ST_METADATA "\":%s", metadata_json);
        sep = ",";
    }
    for (size_t i = 0; i < n; i++) {
        struct br__st_entry *e = &entries[i];
        uint64_t bytes;
        if (st_bytes(e, &bytes) || bytes > (uint64_t)INT64_MAX - at)
            return BR_E_FORMAT;
        e->begin = at;
        e->end = at += bytes;
        br__buf_puts(out, sep);
        put_entry(out, e);
        sep = ",";
    }
    br__buf_putc(out, '}');
    while (!out->failed && (out->n - start) % 8)
        br__buf_putc(out, ' ');
    if (out->failed)
        return out->failed;
    uint64_t len = out->n - start - 8;
    for (int i = 0; i < 8; i++)
        out->p[start + (size_t)i] = (char)(unsigned char)(len >> (8 * i));
    return BR_OK;
}
