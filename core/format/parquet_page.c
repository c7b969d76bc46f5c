/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet_page.c - pages to levels and values.
 *
 * A page is: repetition levels, definition levels, values.  Levels are runs of equal numbers or
 * packed bits (the RLE / bit-packing hybrid), as are the indices of dictionary-encoded values.  One
 * page and the dictionary are in memory at a time. */
#include "parquet.h"

#include <inttypes.h>
#include <string.h>

/* What a page may ask for: writers stay at about 1 MiB and some 10^4 values. */
#define PAGE_MAX ((int64_t)256 << 20)
#define VALUES_MAX ((int64_t)16 << 20)
#define HEADER_MAX ((size_t)64 << 10)

enum {
    PLAIN = 0,
    PLAIN_DICTIONARY = 2,
    RLE = 3,
    DELTA_PACKED = 5,
    DELTA_LENGTH = 6,
    DELTA_BYTES = 7,
    RLE_DICTIONARY = 8
};

struct bytes {
    const unsigned char *p, *end;
};

static int ends_early(struct br_err *err)
{
    return br_fail(err, BR_E_FORMAT, "a page ends before its values");
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int read_varint(struct bytes *b, uint64_t *out)
{
    *out = 0;
    for (int shift = 0; shift < 64 && b->p < b->end; shift += 7) {
        unsigned v = *b->p++;
        *out |= (uint64_t)(v & 0x7F) << shift;
        if (!(v & 0x80))
            return 1;
    }
    return 0;
}

static uint32_t u32_at(const unsigned char *p)
{
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* `width` bits from bit `at` on, the lowest first. */
static uint64_t bits_at(const unsigned char *p, size_t at, unsigned width)
{
    uint64_t v = 0;
    for (unsigned got = 0; got < width;) {
        unsigned shift = (unsigned)(at & 7), n = BR__MIN(8 - shift, width - got);
        v |= (uint64_t)((p[at >> 3] >> shift) & ((1u << n) - 1)) << got;
        got += n;
        at += n;
    }
    return v;
}

/* n numbers of `width` bits in the hybrid encoding. */
static int read_hybrid(struct bytes b, unsigned width, uint32_t *out, size_t n, struct br_err *err)
{
    for (size_t done = 0; done < n;) {
        uint64_t head;
        if (!read_varint(&b, &head))
            return ends_early(err);
        uint64_t count = head >> 1;
        size_t left = (size_t)(b.end - b.p), m;
        if (head & 1) { /* groups of eight, packed; the last may be cut short by writers */
            if (count == 0 || count > VALUES_MAX)
                return br_fail(err, BR_E_FORMAT, "a run of %" PRIu64 " packed groups", count);
            size_t need = (size_t)count * width;
            m = BR__MIN((size_t)count * 8, n - done);
            if ((m * width + 7) / 8 > left)
                return ends_early(err);
            for (size_t i = 0; i < m; i++)
                out[done + i] = (uint32_t)bits_at(b.p, i * width, width);
            b.p += BR__MIN(need, left);
        } else {
            size_t size = (width + 7) / 8;
            uint32_t v = 0;
            if (count == 0 || size > left)
                return count ? ends_early(err) : br_fail(err, BR_E_FORMAT, "a run of no values");
            for (size_t i = 0; i < size; i++)
                v |= (uint32_t)b.p[i] << (8 * i);
            b.p += size;
            m = (size_t)BR__MIN(count, (uint64_t)(n - done));
            for (size_t i = 0; i < m; i++)
                out[done + i] = v;
        }
        done += m;
    }
    return BR_OK;
}

/* ---- DELTA_BINARY_PACKED --------------------------------------------------------------------- */

/* Numbers as a first one and differences, in blocks of miniblocks with a width of bits each.  into:
 * room for n numbers; more or fewer are an error. */
static int read_deltas(struct bytes *b, union br__pq_value *out, size_t n, struct br_err *err)
{
    uint64_t block, minis, total, zig;
    if (!read_varint(b, &block) || !read_varint(b, &minis) || !read_varint(b, &total) ||
        !read_varint(b, &zig))
        return ends_early(err);
    if (block == 0 || block % 128 || block > (1 << 20) || minis == 0 || minis > block / 8 ||
        block % minis || block / minis % 8 || total != n)
        return br_fail(err, BR_E_FORMAT,
                       "delta encoding of %" PRIu64 " values, expected %zu, in blocks of %" PRIu64
                       "/%" PRIu64,
                       total, n, block, minis);
    uint64_t v = (zig >> 1) ^ -(zig & 1), per = block / minis;
    size_t done = 0;
    if (n)
        out[done++].i = (int64_t)v;
    while (done < n) {
        uint64_t least;
        if (!read_varint(b, &least) || (uint64_t)(b->end - b->p) < minis)
            return ends_early(err);
        least = (least >> 1) ^ -(least & 1);
        const unsigned char *widths = b->p;
        b->p += minis;
        for (uint64_t k = 0; k < minis && done < n; k++) {
            unsigned width = widths[k];
            if (width > 64 || per * width / 8 > (uint64_t)(b->end - b->p))
                return ends_early(err);
            for (uint64_t i = 0; i < per && done < n; i++) {
                v += least + bits_at(b->p, (size_t)(i * width), width);
                out[done++].i = (int64_t)v;
            }
            b->p += per * width / 8;
        }
    }
    return BR_OK;
}

/* ---- values ---------------------------------------------------------------------------------- */

static int plain_texts(struct bytes *b, union br__pq_value *out, size_t n, struct br_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (b->end - b->p < 4)
            return ends_early(err);
        uint32_t len = u32_at(b->p);
        b->p += 4;
        if (len > (uint64_t)(b->end - b->p))
            return ends_early(err);
        out[i].s.p = b->p;
        out[i].s.n = len;
        b->p += len;
    }
    return BR_OK;
}

static int plain_values(int type, struct bytes *b, union br__pq_value *out, size_t n,
                        struct br_err *err)
{
    static const uint8_t sizes[] = {
        [PQ_INT32] = 4, [PQ_INT64] = 8, [PQ_FLOAT] = 4, [PQ_DOUBLE] = 8};
    if (type == PQ_BYTE_ARRAY)
        return plain_texts(b, out, n, err);
    if (type == PQ_BOOLEAN) {
        if ((n + 7) / 8 > (size_t)(b->end - b->p))
            return ends_early(err);
        for (size_t i = 0; i < n; i++)
            out[i].i = b->p[i / 8] >> i % 8 & 1;
        return BR_OK;
    }
    size_t size = sizes[type];
    if (n > (size_t)(b->end - b->p) / size)
        return ends_early(err);
    for (size_t i = 0; i < n; i++, b->p += size) {
        int32_t i32;
        float f32;
        if (type == PQ_INT32) {
            memcpy(&i32, b->p, 4);
            out[i].i = i32;
        } else if (type == PQ_FLOAT) {
            memcpy(&f32, b->p, 4);
            out[i].f = f32;
        } else { /* the same eight bytes */
            memcpy(&out[i], b->p, 8);
        }
    }
    return BR_OK;
}

/* Lengths by deltas, then the bytes of all. */
static int delta_texts(struct bytes *b, union br__pq_value *out, size_t n, struct br_err *err)
{
    int rc = read_deltas(b, out, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        int64_t len = out[i].i;
        if (len < 0 || len > b->end - b->p)
            return ends_early(err);
        out[i].s.p = b->p;
        out[i].s.n = (size_t)len;
        b->p += len;
    }
    return rc;
}

/* How much of the text before each begins with, and the rest of each. */
static int front_coded(struct br__pq_column *c, struct bytes *b, size_t n, struct br_err *err)
{
    union br__pq_value *prefix = br__calloc(n, sizeof *prefix), *out = c->values;
    if (!prefix)
        return br__nomem(err, "for a page");
    int rc = read_deltas(b, prefix, n, err);
    if (!rc)
        rc = delta_texts(b, out, n, err);
    uint64_t total = 0, before = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        if (prefix[i].i < 0 || (uint64_t)prefix[i].i > before)
            rc = br_fail(err, BR_E_FORMAT, "a text repeats more than there is before it");
        before = (uint64_t)prefix[i].i + out[i].s.n;
        total += before;
        if (!rc && total > (uint64_t)PAGE_MAX)
            rc = br_fail(err, BR_E_UNSUPPORTED, "a page of more than %" PRId64 " bytes", PAGE_MAX);
    }
    c->joined.n = 0;
    c->joined.max = SIZE_MAX;
    char *to = rc ? NULL : br__buf_room(&c->joined, (size_t)total + 1);
    if (!rc && !to)
        rc = br__nomem(err, "for a page");
    const char *last = to;
    for (size_t i = 0; i < n && !rc; i++) {
        size_t keep = (size_t)prefix[i].i;
        memmove(to, last, keep);
        if (out[i].s.n)
            memcpy(to + keep, out[i].s.p, out[i].s.n);
        last = to;
        out[i].s.p = (unsigned char *)to;
        out[i].s.n += keep;
        to += out[i].s.n;
    }
    br__free(prefix);
    return rc;
}

static int dictionary_values(struct br__pq_column *c, struct bytes b, size_t n, struct br_err *err)
{
    if (n == 0)
        return BR_OK;
    if (b.p == b.end || *b.p > 32)
        return ends_early(err);
    unsigned width = *b.p++;
    int rc = read_hybrid(b, width, c->levels, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (c->levels[i] >= c->n_dict)
            rc = br_fail(err, BR_E_FORMAT, "value %" PRIu32 " of a dictionary of %zu", c->levels[i],
                         c->n_dict);
        else
            c->values[i] = c->dict[c->levels[i]];
    }
    return rc;
}

static int read_values(struct br__pq_column *c, struct bytes b, int encoding, size_t n,
                       struct br_err *err)
{
    int type = c->node->type;
    if (encoding == PLAIN)
        return plain_values(type, &b, c->values, n, err);
    if (encoding == PLAIN_DICTIONARY || encoding == RLE_DICTIONARY)
        return dictionary_values(c, b, n, err);
    if (encoding == DELTA_PACKED && (type == PQ_INT32 || type == PQ_INT64))
        return read_deltas(&b, c->values, n, err);
    if (encoding == DELTA_LENGTH && type == PQ_BYTE_ARRAY)
        return delta_texts(&b, c->values, n, err);
    if (encoding == DELTA_BYTES && type == PQ_BYTE_ARRAY)
        return front_coded(c, &b, n, err);
    if (encoding == RLE && type == PQ_BOOLEAN) {
        if (b.end - b.p < 4 || u32_at(b.p) > (uint64_t)(b.end - b.p - 4))
            return ends_early(err);
        int rc = read_hybrid((struct bytes){b.p + 4, b.p + 4 + u32_at(b.p)}, 1, c->levels, n, err);
        for (size_t i = 0; i < n && !rc; i++)
            c->values[i].i = c->levels[i];
        return rc;
    }
    return br_fail(err, BR_E_UNSUPPORTED,
                   "encoding %d of values, expected plain, dictionary or delta", encoding);
}

/* ---- levels ---------------------------------------------------------------------------------- */

static unsigned width_of(unsigned max)
{
    unsigned w = 0;
    while (max >> w)
        w++;
    return w;
}

static int read_levels(struct br__pq_column *c, struct bytes b, unsigned max, uint8_t *out,
                       size_t n, struct br_err *err)
{
    if (n == 0) /* a page may be empty, and then there is no room either */
        return BR_OK;
    if (max == 0) {
        memset(out, 0, n);
        return BR_OK;
    }
    int rc = read_hybrid(b, width_of(max), c->levels, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (c->levels[i] > max)
            return br_fail(err, BR_E_FORMAT, "level %" PRIu32 ", at most %u was expected",
                           c->levels[i], max);
        out[i] = (uint8_t)c->levels[i];
    }
    return rc;
}

/* Version 1 puts the number of bytes before the levels. */
static int counted_levels(struct br__pq_column *c, struct bytes *b, unsigned max, int encoding,
                          uint8_t *out, size_t n, struct br_err *err)
{
    if (max == 0)
        return read_levels(c, *b, 0, out, n, err);
    if (encoding != RLE)
        return br_fail(err, BR_E_UNSUPPORTED, "encoding %d of levels, expected 3 (RLE)", encoding);
    if (b->end - b->p < 4 || u32_at(b->p) > (uint64_t)(b->end - b->p - 4))
        return ends_early(err);
    struct bytes own = {b->p + 4, b->p + 4 + u32_at(b->p)};
    b->p = own.end;
    return read_levels(c, own, max, out, n, err);
}

/* ---- pages ----------------------------------------------------------------------------------- */

static int room_for(struct br__pq_column *c, size_t n, struct br_err *err)
{
    if (n > c->cap_levels) {
        br__free(c->levels);
        br__free(c->def);
        br__free(c->rep);
        br__free(c->values);
        c->levels = br__calloc(n, sizeof *c->levels);
        c->def = br__calloc(n, 1);
        c->rep = br__calloc(n, 1);
        c->values = br__calloc(n, sizeof *c->values);
        c->cap_levels = c->levels && c->def && c->rep && c->values ? n : 0;
    }
    return n > c->cap_levels ? br__nomem(err, "for a page") : BR_OK;
}

/* The next page's header, and its bytes as stored in c->stored. */
static int page_fetch(struct br__pq_column *c, struct br__pq_page *h, struct br_err *err)
{
    unsigned char head[512];
    int64_t end = c->chunk.begin + c->chunk.bytes;
    size_t n = (size_t)BR__MIN((int64_t)sizeof head, end - c->at), used = 0;
    if (n == 0)
        return br_fail(err, BR_E_FORMAT, "a column ends before its values");
    int rc = br__file_read(c->file, (uint64_t)c->at, head, n, err);
    if (!rc)
        rc = br__pq_page_header(h, head, n, &used, NULL);
    if (rc && (size_t)(end - c->at) > n) { /* statistics can make it long */
        size_t more = (size_t)BR__MIN((int64_t)HEADER_MAX, end - c->at);
        c->stored.n = 0;
        unsigned char *p = (unsigned char *)br__buf_room(&c->stored, more);
        if (!p)
            return br__nomem(err, "for a page");
        rc = br__file_read(c->file, (uint64_t)c->at, p, more, err);
        if (!rc)
            rc = br__pq_page_header(h, p, more, &used, err);
    } else if (rc) {
        rc = br__pq_page_header(h, head, n, &used, err);
    }
    if (rc)
        return rc;
    c->at += (int64_t)used;
    if (h->size > PAGE_MAX || h->stored > PAGE_MAX || h->n_values > VALUES_MAX)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "a page of %" PRId64 " bytes and %" PRId64 " values; %" PRId64
                       " and %" PRId64 " are the limits",
                       h->size, h->n_values, PAGE_MAX, VALUES_MAX);
    if (h->stored > end - c->at)
        return br_fail(err, BR_E_FORMAT, "a page is longer than its column");
    c->stored.n = 0;
    char *to = br__buf_room(&c->stored, (size_t)h->stored + 1);
    if (!to)
        return br__nomem(err, "for a page");
    rc = br__file_read(c->file, (uint64_t)c->at, to, (size_t)h->stored, err);
    c->at += h->stored;
    return rc;
}

/* `skip` bytes are not compressed (the levels of version 2). */
static int inflate_page(struct br__pq_column *c, const struct br__pq_page *h, size_t skip,
                        struct br__buf *to, struct br_err *err)
{
    size_t stored = (size_t)h->stored - skip, size = (size_t)h->size - skip;
    int codec = h->type == PQ_DATA_PAGE_V2 && !h->compressed ? 0 : c->chunk.codec;
    to->n = 0;
    unsigned char *p = (unsigned char *)br__buf_room(to, size + 1);
    if (!p)
        return br__nomem(err, "for a page");
    to->n = size;
    return br__pq_inflate(codec, (unsigned char *)c->stored.p + skip, stored, p, size, err);
}

static int dictionary_page(struct br__pq_column *c, const struct br__pq_page *h, struct br_err *err)
{
    int rc = inflate_page(c, h, 0, &c->dict_bytes, err);
    if (rc)
        return rc;
    if (h->encoding != PLAIN && h->encoding != PLAIN_DICTIONARY)
        return br_fail(err, BR_E_UNSUPPORTED, "encoding %d of a dictionary, expected 0 (plain)",
                       h->encoding);
    if ((size_t)h->n_values > c->cap_dict) {
        br__free(c->dict);
        c->dict = br__calloc((size_t)h->n_values, sizeof *c->dict);
        c->cap_dict = c->dict ? (size_t)h->n_values : 0;
        if (!c->dict)
            return br__nomem(err, "for a page");
    }
    struct bytes b = {(unsigned char *)c->dict_bytes.p, (unsigned char *)c->dict_bytes.p + h->size};
    c->n_dict = (size_t)h->n_values;
    return plain_values(c->node->type, &b, c->dict, c->n_dict, err);
}

static int data_page(struct br__pq_column *c, const struct br__pq_page *h, struct br_err *err)
{
    size_t n = (size_t)h->n_values, there = 0, skip = 0;
    struct bytes b;
    int rc = room_for(c, n, err);
    if (rc)
        return rc;
    if (h->type == PQ_DATA_PAGE_V2) {
        int64_t most = BR__MIN(h->size, h->stored);
        if (h->def_bytes < 0 || h->rep_bytes < 0 || h->rep_bytes > most ||
            h->def_bytes > most - h->rep_bytes)
            return ends_early(err);
        const unsigned char *p = (unsigned char *)c->stored.p;
        skip = (size_t)(h->def_bytes + h->rep_bytes);
        rc = read_levels(c, (struct bytes){p, p + h->rep_bytes}, c->node->rep, c->rep, n, err);
        if (!rc)
            rc = read_levels(c, (struct bytes){p + h->rep_bytes, p + skip}, c->node->def, c->def, n,
                             err);
    }
    if (!rc)
        rc = inflate_page(c, h, skip, &c->page, err);
    if (rc)
        return rc;
    b = (struct bytes){(unsigned char *)c->page.p, (unsigned char *)c->page.p + c->page.n};
    if (h->type == PQ_DATA_PAGE) {
        rc = counted_levels(c, &b, c->node->rep, h->rep_encoding, c->rep, n, err);
        if (!rc)
            rc = counted_levels(c, &b, c->node->def, h->def_encoding, c->def, n, err);
    }
    for (size_t i = 0; i < n && !rc; i++)
        there += c->def[i] == c->node->def;
    return rc ? rc : read_values(c, b, h->encoding, there, err);
}

/* Pages up to one that has values. */
static int next_page(struct br__pq_column *c, struct br_err *err)
{
    struct br__pq_page h;
    c->n = c->k = c->v = 0;
    while (c->n == 0) {
        int rc = page_fetch(c, &h, err);
        if (!rc && h.type == PQ_DICTIONARY_PAGE)
            rc = dictionary_page(c, &h, err);
        else if (!rc && (h.type == PQ_DATA_PAGE || h.type == PQ_DATA_PAGE_V2)) {
            if (h.n_values > c->left)
                return br_fail(err, BR_E_FORMAT, "a column has more values than it says");
            rc = data_page(c, &h, err);
            c->n = rc ? 0 : (size_t)h.n_values;
            c->left -= h.n_values;
        }
        if (rc)
            return rc;
    }
    return BR_OK;
}

void br__pq_column_begin(struct br__pq_column *c, const struct br__file *f,
                         const struct br__pq_node *node, const struct br__pq_chunk *chunk)
{
    c->file = f;
    c->node = node;
    c->chunk = *chunk;
    c->at = chunk->begin;
    c->left = chunk->n_values;
    c->n = c->k = c->v = c->n_dict = 0;
}

int br__pq_column_peek(struct br__pq_column *c, int *rc, struct br_err *err)
{
    if (c->k < c->n)
        return 1;
    if (c->left == 0)
        return 0;
    *rc = next_page(c, err);
    return *rc == BR_OK;
}

void br__pq_column_free(struct br__pq_column *c)
{
    br__buf_free(&c->stored);
    br__buf_free(&c->page);
    br__buf_free(&c->dict_bytes);
    br__buf_free(&c->joined);
    br__free(c->dict);
    br__free(c->values);
    br__free(c->levels);
    br__free(c->def);
    br__free(c->rep);
    *c = (struct br__pq_column){0};
}
