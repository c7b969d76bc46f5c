/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet_thrift.c - the footer and page headers: structs in Thrift's compact protocol.
 *
 * A struct is fields with numbers; those that are not known here are skipped.  Errors stick. */
#include "parquet.h"

#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH 32
#define MAX_NODES 100000

struct in {
    const unsigned char *p, *end;
    struct br_err *err;
    int rc;
};

enum {
    T_STOP,
    T_TRUE,
    T_FALSE,
    T_BYTE,
    T_I16,
    T_I32,
    T_I64,
    T_DOUBLE,
    T_BINARY,
    T_LIST,
    T_SET,
    T_MAP,
    T_STRUCT
};

static int thrift_broken(struct in *in, const char *what)
{
    if (!in->rc)
        in->rc = br_fail(in->err, BR_E_FORMAT, "its metadata is broken: %s", what);
    return in->rc;
}

static unsigned thrift_byte(struct in *in)
{
    if (in->rc || in->p == in->end) {
        thrift_broken(in, "it ends early");
        return 0;
    }
    return *in->p++;
}

static uint64_t thrift_varint(struct in *in)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        unsigned b = thrift_byte(in);
        v |= (uint64_t)(b & 0x7F) << shift;
        if (!(b & 0x80))
            return v;
    }
    thrift_broken(in, "a number does not end");
    return 0;
}

static int64_t thrift_number(struct in *in)
{
    uint64_t v = thrift_varint(in);
    return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

static const unsigned char *thrift_bytes(struct in *in, size_t *n)
{
    uint64_t len = thrift_varint(in);
    if (in->rc || len > (uint64_t)(in->end - in->p)) {
        thrift_broken(in, "a text is longer than the rest");
        *n = 0;
        return NULL;
    }
    const unsigned char *p = in->p;
    in->p += len;
    *n = (size_t)len;
    return p;
}

/* The next field of a struct: its number and type; 0 at the end. */
static int thrift_field(struct in *in, int *id, int *type)
{
    unsigned b = thrift_byte(in);
    *type = (int)(b & 15);
    if (in->rc || *type == T_STOP)
        return 0;
    *id = b >> 4 ? *id + (int)(b >> 4) : (int)(int16_t)thrift_number(in);
    return !in->rc;
}

static uint32_t thrift_list(struct in *in, int *type)
{
    unsigned b = thrift_byte(in);
    uint64_t n = b >> 4 == 15 ? thrift_varint(in) : b >> 4;
    *type = (int)(b & 15);
    if (!in->rc && n > (uint64_t)(in->end - in->p)) /* an element has a byte at least */
        thrift_broken(in, "a list is longer than the rest");
    return in->rc ? 0 : (uint32_t)n;
}

static void thrift_skip(struct in *in, int type, int depth);

static void skip_list(struct in *in, int depth)
{
    int type;
    uint32_t n = thrift_list(in, &type);
    for (uint32_t i = 0; i < n && !in->rc; i++)
        if (type == T_TRUE || type == T_FALSE)
            thrift_byte(in);
        else
            thrift_skip(in, type, depth);
}

static void thrift_skip(struct in *in, int type, int depth)
{
    int id = 0, t;
    size_t n;
    if (depth > MAX_DEPTH) {
        thrift_broken(in, "it is nested too deep");
        return;
    }
    switch (type) {
    case T_TRUE:
    case T_FALSE:
        break;
    case T_BYTE:
        thrift_byte(in);
        break;
    case T_I16:
    case T_I32:
    case T_I64:
        thrift_varint(in);
        break;
    case T_DOUBLE:
        for (int i = 0; i < 8; i++)
            thrift_byte(in);
        break;
    case T_BINARY:
        thrift_bytes(in, &n);
        break;
    case T_LIST:
    case T_SET:
        skip_list(in, depth + 1);
        break;
    case T_STRUCT:
        while (thrift_field(in, &id, &t))
            thrift_skip(in, t, depth + 1);
        break;
    default: /* maps do not occur in Parquet's metadata */
        thrift_broken(in, "a field of an unknown type");
    }
}

/* A number field of the expected kind, else it is skipped. */
static int64_t int_field(struct in *in, int type, int64_t dflt)
{
    if (type == T_I32 || type == T_I64 || type == T_I16)
        return thrift_number(in);
    if (type == T_TRUE || type == T_FALSE)
        return type == T_TRUE;
    thrift_skip(in, type, 0);
    return dflt;
}

/* ---- the schema ------------------------------------------------------------------------------ */

static char *name_field(struct in *in, struct br__arena *a, int type)
{
    size_t n;
    if (type != T_BINARY) {
        thrift_broken(in, "a name is no text");
        return NULL;
    }
    const unsigned char *p = thrift_bytes(in, &n);
    char *s = p && br__utf8_valid((const char *)p, n) && !memchr(p, 0, n)
                  ? br__arena_strndup(a, (const char *)p, n)
                  : NULL;
    if (!s)
        thrift_broken(in, "a name is no text");
    return s;
}

static void read_node(struct in *in, struct br__arena *a, struct br__pq_node *x)
{
    int id = 0, type;
    *x = (struct br__pq_node){.type = -1, .converted = -1, .leaf = -1};
    while (thrift_field(in, &id, &type)) {
        if (id == 1)
            x->type = (int)int_field(in, type, -1);
        else if (id == 3)
            x->repetition = (int)int_field(in, type, 0);
        else if (id == 4)
            x->name = name_field(in, a, type);
        else if (id == 5)
            x->n_children = (uint32_t)int_field(in, type, 0);
        else if (id == 6)
            x->converted = (int)int_field(in, type, -1);
        else if (id == 10 && type == T_STRUCT) {
            int which = 0, t;
            while (thrift_field(in, &which, &t)) {
                x->logical = which;
                thrift_skip(in, t, 0);
            }
        } else
            thrift_skip(in, type, 0);
    }
    if (!in->rc && (!x->name || (x->type < 0) == (x->n_children == 0) || x->type > PQ_FIXED ||
                    x->repetition < PQ_REQUIRED || x->repetition > PQ_REPEATED))
        thrift_broken(in, "a column's description");
}

/* Levels and extents, with a stack of the groups that are open. */
static void link_nodes(struct in *in, struct br__pq_meta *m)
{
    uint32_t open[MAX_DEPTH], left[MAX_DEPTH];
    size_t depth = 0;
    for (uint32_t i = 0; i < m->n_nodes && !in->rc; i++) {
        struct br__pq_node *x = &m->nodes[i];
        if (i) {
            const struct br__pq_node *up = depth ? &m->nodes[open[depth - 1]] : NULL;
            if (!up) {
                thrift_broken(in, "a column belongs to no group");
                return;
            }
            x->def = (uint8_t)(up->def + (x->repetition != PQ_REQUIRED));
            x->rep = (uint8_t)(up->rep + (x->repetition == PQ_REPEATED));
            left[depth - 1]--;
        }
        x->end = i + 1;
        if (x->type >= 0) {
            x->leaf = (int)m->n_leaves++;
        } else if (depth == MAX_DEPTH) {
            thrift_broken(in, "columns are nested too deep");
        } else {
            open[depth] = i;
            left[depth++] = x->n_children;
        }
        while (depth && left[depth - 1] == 0)
            m->nodes[open[--depth]].end = i + 1;
    }
    if (!in->rc && depth)
        thrift_broken(in, "a group's columns are missing");
}

static void read_schema(struct in *in, struct br__arena *a, struct br__pq_meta *m)
{
    int type;
    uint32_t n = thrift_list(in, &type);
    if (type != T_STRUCT || n < 2 || n > MAX_NODES || m->nodes) {
        thrift_broken(in, "its schema");
        return;
    }
    m->nodes = br__arena_alloc(a, n * sizeof *m->nodes);
    if (!m->nodes) {
        in->rc = br__nomem(in->err, "for a schema");
        return;
    }
    m->n_nodes = n;
    for (uint32_t i = 0; i < n && !in->rc; i++)
        read_node(in, a, &m->nodes[i]);
    if (!in->rc && m->nodes[0].type >= 0)
        thrift_broken(in, "its schema has no root");
    link_nodes(in, m);
}

/* ---- row groups ------------------------------------------------------------------------------ */

static void read_chunk_meta(struct in *in, struct br__pq_chunk *c)
{
    int id = 0, type;
    int64_t data = -1, dict = -1;
    while (thrift_field(in, &id, &type)) {
        if (id == 4)
            c->codec = (int)int_field(in, type, -1);
        else if (id == 5)
            c->n_values = int_field(in, type, -1);
        else if (id == 7)
            c->bytes = int_field(in, type, -1);
        else if (id == 9)
            data = int_field(in, type, -1);
        else if (id == 11)
            dict = int_field(in, type, -1);
        else
            thrift_skip(in, type, 0);
    }
    c->begin = dict > 0 && dict < data ? dict : data;
}

static void read_chunk(struct in *in, struct br__pq_chunk *c, uint64_t end)
{
    int id = 0, type, elsewhere = 0;
    *c = (struct br__pq_chunk){.begin = -1};
    while (thrift_field(in, &id, &type)) {
        if (id == 3 && type == T_STRUCT)
            read_chunk_meta(in, c);
        else {
            elsewhere |= id == 1;
            thrift_skip(in, type, 0);
        }
    }
    if (!in->rc && elsewhere)
        in->rc = br_fail(in->err, BR_E_UNSUPPORTED, "a column is in another file");
    if (!in->rc && (c->begin < 4 || c->bytes < 0 || c->n_values < 0 || (uint64_t)c->begin > end ||
                    (uint64_t)c->bytes > end - (uint64_t)c->begin))
        thrift_broken(in, "a column lies outside of the file");
}

static void read_group(struct in *in, struct br__pq_meta *m, size_t g, uint64_t end)
{
    int id = 0, type, elem;
    m->group_rows[g] = -1;
    size_t n_read = 0;
    while (thrift_field(in, &id, &type)) {
        if (id == 1 && type == T_LIST && !n_read) {
            uint32_t n = thrift_list(in, &elem);
            if (!in->rc && (elem != T_STRUCT || n != m->n_leaves))
                thrift_broken(in, "a row group has not all columns");
            for (; n_read < n && !in->rc; n_read++)
                read_chunk(in, &m->chunks[g * m->n_leaves + n_read], end);
        } else if (id == 3) {
            m->group_rows[g] = int_field(in, type, -1);
        } else {
            thrift_skip(in, type, 0);
        }
    }
    if (!in->rc && (n_read != m->n_leaves || m->group_rows[g] < 0))
        thrift_broken(in, "a row group");
}

static void read_groups(struct in *in, struct br__arena *a, struct br__pq_meta *m, uint64_t end)
{
    int type;
    uint32_t n = thrift_list(in, &type);
    if (!in->rc && (!m->nodes || m->chunks || (n && type != T_STRUCT)))
        thrift_broken(in, "its row groups");
    if (in->rc)
        return;
    /* A chunk's description has some bytes at least: a short footer cannot ask for much memory. */
    if (n && m->n_leaves > (size_t)(in->end - in->p) / n) {
        thrift_broken(in, "row groups are missing");
        return;
    }
    m->group_rows = br__arena_alloc(a, (n + 1) * sizeof *m->group_rows);
    m->chunks = br__arena_alloc(a, (n * m->n_leaves + 1) * sizeof *m->chunks);
    if (!m->group_rows || !m->chunks) {
        in->rc = br__nomem(in->err, "for %" PRIu32 " row groups", n);
        return;
    }
    m->n_groups = n;
    for (uint32_t i = 0; i < n && !in->rc; i++)
        read_group(in, m, i, end);
}

int br__pq_footer(struct br__arena *a, struct br__pq_meta *m, const unsigned char *p, size_t n,
                  uint64_t end, struct br_err *err)
{
    struct in in = {p, p + n, err, BR_OK};
    int id = 0, type;
    *m = (struct br__pq_meta){.n_rows = -1};
    while (thrift_field(&in, &id, &type)) {
        if (id == 2 && type == T_LIST)
            read_schema(&in, a, m);
        else if (id == 3)
            m->n_rows = int_field(&in, type, -1);
        else if (id == 4 && type == T_LIST)
            read_groups(&in, a, m, end);
        else
            thrift_skip(&in, type, 0);
    }
    int64_t rows = 0;
    for (size_t i = 0; i < m->n_groups && !in.rc; i++) {
        if (m->group_rows[i] > INT64_MAX - rows)
            thrift_broken(&in, "the number of rows");
        else
            rows += m->group_rows[i];
    }
    if (!in.rc && (!m->nodes || !m->group_rows || m->n_rows != rows))
        thrift_broken(&in, "the number of rows");
    return in.rc;
}

/* ---- page headers ---------------------------------------------------------------------------- */

static void read_page_part(struct in *in, struct br__pq_page *h, int which)
{
    int id = 0, type;
    while (thrift_field(in, &id, &type)) {
        if (id == 1)
            h->n_values = int_field(in, type, -1);
        else if (which == 8 && id == 4)
            h->encoding = (int)int_field(in, type, -1);
        else if (which == 8 && id == 5)
            h->def_bytes = int_field(in, type, -1);
        else if (which == 8 && id == 6)
            h->rep_bytes = int_field(in, type, -1);
        else if (which == 8 && id == 7)
            h->compressed = (int)int_field(in, type, 1);
        else if (which != 8 && id == 2)
            h->encoding = (int)int_field(in, type, -1);
        else if (which == 5 && id == 3)
            h->def_encoding = (int)int_field(in, type, -1);
        else if (which == 5 && id == 4)
            h->rep_encoding = (int)int_field(in, type, -1);
        else
            thrift_skip(in, type, 0);
    }
}

int br__pq_page_header(struct br__pq_page *h, const unsigned char *p, size_t n, size_t *used,
                       struct br_err *err)
{
    struct in in = {p, p + n, err, BR_OK};
    int id = 0, type;
    *h = (struct br__pq_page){
        .type = -1, .encoding = -1, .n_values = -1, .compressed = 1, .size = -1, .stored = -1};
    while (thrift_field(&in, &id, &type)) {
        if (id == 1)
            h->type = (int)int_field(&in, type, -1);
        else if (id == 2)
            h->size = int_field(&in, type, -1);
        else if (id == 3)
            h->stored = int_field(&in, type, -1);
        else if ((id == 5 || id == 7 || id == 8) && type == T_STRUCT)
            read_page_part(&in, h, id);
        else
            thrift_skip(&in, type, 0);
    }
    if (!in.rc && (h->size < 0 || h->stored < 0 || h->type < 0 ||
                   (h->type != PQ_INDEX_PAGE && h->n_values < 0)))
        thrift_broken(&in, "a page's header");
    *used = (size_t)(in.p - p);
    return in.rc;
}
