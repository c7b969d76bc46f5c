/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet.h - a Parquet file inside: its footer, its pages, its columns.
 *
 * What data sets use is read: columns of texts, whole numbers, floats and booleans, flat or in
 * lists and structs; PLAIN, dictionary and delta encodings, data pages of versions 1 and 2; no
 * compression, Snappy, gzip and Zstandard.  Source: github.com/apache/parquet-format, version 2.10.
 */
#ifndef BRIDGE_CORE_FORMAT_PARQUET_H
#define BRIDGE_CORE_FORMAT_PARQUET_H

#include "format.h"

enum { PQ_BOOLEAN, PQ_INT32, PQ_INT64, PQ_INT96, PQ_FLOAT, PQ_DOUBLE, PQ_BYTE_ARRAY, PQ_FIXED };
enum { PQ_REQUIRED, PQ_OPTIONAL, PQ_REPEATED };

/* A node of the schema, in the file's order: parents come before their children. */
struct br__pq_node {
    const char *name;
    int type;                 /* PQ_..., -1: a group */
    int repetition;           /* PQ_REQUIRED ... */
    int converted;            /* ConvertedType, -1: none */
    int logical;              /* field of LogicalType, 0: none */
    uint32_t n_children, end; /* end: the first node that is not below this one */
    uint8_t def, rep;         /* levels at which it is there */
    int leaf;                 /* column number, -1: a group */
};
/* A column chunk: one column in one row group. */
struct br__pq_chunk {
    int codec;
    int64_t n_values, begin, bytes; /* begin: of its first page */
};
struct br__pq_meta {
    struct br__pq_node *nodes; /* nodes[0] is the root */
    size_t n_nodes, n_leaves, n_groups;
    int64_t n_rows, *group_rows; /* [n_groups] */
    struct br__pq_chunk *chunks; /* [n_groups * n_leaves] */
};
/* parquet_thrift.c.  `end`: bytes of the file before the footer. */
int br__pq_footer(struct br__arena *a, struct br__pq_meta *m, const unsigned char *p, size_t n,
                  uint64_t end, struct br_err *err) BR_MUST_CHECK;

enum { PQ_DATA_PAGE, PQ_INDEX_PAGE, PQ_DICTIONARY_PAGE, PQ_DATA_PAGE_V2 };
struct br__pq_page {
    int type, encoding, def_encoding, rep_encoding;
    int64_t size, stored, n_values; /* bytes as they are, as stored; values with nulls */
    int64_t def_bytes, rep_bytes;   /* version 2 */
    int compressed;                 /* version 2 */
};
/* *used: bytes of the header. */
int br__pq_page_header(struct br__pq_page *h, const unsigned char *p, size_t n, size_t *used,
                       struct br_err *err) BR_MUST_CHECK;

/* parquet_codec.c: n bytes to exactly size bytes. */
int br__pq_inflate(int codec, const unsigned char *p, size_t n, unsigned char *to, size_t size,
                   struct br_err *err) BR_MUST_CHECK;

/* parquet_page.c: a column of a row group, a page at a time. */
union br__pq_value {
    int64_t i;
    double f;
    struct {
        const unsigned char *p;
        size_t n;
    } s;
};
struct br__pq_column {
    const struct br__file *file;
    const struct br__pq_node *node;
    struct br__pq_chunk chunk;
    int64_t at, left; /* next page, values that are in later pages */
    struct br__buf stored, page, dict_bytes, joined;
    union br__pq_value *dict, *values;
    size_t n_dict, cap_dict, cap_values;
    uint32_t *levels; /* scratch */
    uint8_t *def, *rep;
    size_t cap_levels;
    size_t n, k, v; /* values of this page with nulls; the next one; the next that is there */
};
void br__pq_column_begin(struct br__pq_column *c, const struct br__file *f,
                         const struct br__pq_node *node, const struct br__pq_chunk *chunk);
/* 1: c->k is a value; 0: the chunk has ended; or an error in *rc. */
int br__pq_column_peek(struct br__pq_column *c, int *rc, struct br_err *err);
void br__pq_column_free(struct br__pq_column *c);

#endif
