/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet.c - a Parquet file as rows: each becomes a JSON object, whatever lists and structs it
 * has.
 *
 * Columns are stored apart, every value with two levels: how much of its path is there (definition)
 * and at which list a new element begins (repetition).  A row is put together by walking the schema
 * and taking values from the columns in step. */
#include "parquet.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define FOOTER_MAX ((uint64_t)256 << 20)

enum { C_UTF8 = 0, C_MAP = 1, C_MAP_KEY_VALUE = 2, C_LIST = 3, C_DECIMAL = 5 };
enum { L_MAP = 2, L_LIST = 3, L_DECIMAL = 5 };

struct br__parquet {
    struct br__file file;
    struct br__arena arena;
    struct br__pq_meta meta;
    struct br__pq_column *columns; /* [n_leaves] */
    uint8_t *wanted;               /* [n_nodes] of top-level nodes */
    size_t group;
    int64_t left, row; /* rows of this row group; rows read */
};

/* ---- opening --------------------------------------------------------------------------------- */

static int read_footer(struct br__parquet *p, struct br_err *err)
{
    const struct br__file *f = &p->file;
    const unsigned char *m = f->map;
    uint32_t len;
    if (f->size < 12 || memcmp(m, "PAR1", 4) != 0 || memcmp(m + f->size - 4, "PAR1", 4) != 0)
        return br_fail(err, BR_E_FORMAT, "it does not begin and end with 'PAR1'");
    memcpy(&len, m + f->size - 8, 4);
    if (len > f->size - 12 || len > FOOTER_MAX)
        return br_fail(err, BR_E_FORMAT, "a footer of %" PRIu32 " bytes in a file of %" PRIu64, len,
                       f->size);
    uint64_t end = f->size - 8 - len;
    return br__pq_footer(&p->arena, &p->meta, m + end, len, end, err);
}

int br__parquet_open(struct br__parquet **out, const char *path, struct br_err *err)
{
    struct br__parquet *p = br__calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return br__nomem(err, "for '%s'", path);
    int rc = br__file_open(&p->file, path, err);
    if (!rc) {
        rc = read_footer(p, err);
        if (rc)
            br_wrap(err, "'%s'", path);
    }
    if (!rc) {
        p->columns = br__arena_alloc(&p->arena, (p->meta.n_leaves + 1) * sizeof *p->columns);
        p->wanted = br__arena_alloc(&p->arena, p->meta.n_nodes + 1);
        if (!p->columns || !p->wanted)
            rc = br__nomem(err, "for '%s'", path);
    }
    if (rc)
        br__parquet_close(p);
    else
        *out = p;
    return rc;
}

void br__parquet_close(struct br__parquet *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->meta.n_leaves && p->columns; i++)
        br__pq_column_free(&p->columns[i]);
    br__file_close(&p->file);
    br__arena_free(&p->arena);
    br__free(p);
}

int64_t br__parquet_rows(const struct br__parquet *p)
{
    return p->meta.n_rows;
}

/* ---- which columns --------------------------------------------------------------------------- */

/* Why a node cannot be read; NULL if it can. */
static const char *parquet_obstacle(const struct br__pq_meta *m, uint32_t node)
{
    for (uint32_t i = node; i < m->nodes[node].end; i++) {
        const struct br__pq_node *x = &m->nodes[i];
        if (x->converted == C_MAP || x->converted == C_MAP_KEY_VALUE || x->logical == L_MAP)
            return "a map";
        if (x->type == PQ_INT96 || x->type == PQ_FIXED)
            return "neither texts, numbers nor booleans";
        if (x->converted == C_DECIMAL || x->logical == L_DECIMAL)
            return "decimal numbers";
    }
    return NULL;
}

static uint32_t top_level(const struct br__pq_meta *m, const char *name)
{
    for (uint32_t i = 1; i < m->n_nodes; i = m->nodes[i].end)
        if (strcmp(m->nodes[i].name, name) == 0)
            return i;
    return 0;
}

int br__parquet_select(struct br__parquet *p, const char *const *names, size_t n,
                       struct br_err *err)
{
    const struct br__pq_meta *m = &p->meta;
    size_t found = 0;
    memset(p->wanted, 0, m->n_nodes);
    for (uint32_t i = 1; n == 0 && i < m->n_nodes; i = m->nodes[i].end)
        found += p->wanted[i] = parquet_obstacle(m, i) == NULL;
    for (size_t k = 0; k < n; k++) {
        uint32_t i = top_level(m, names[k]);
        if (!i)
            return br_fail(err, BR_E_FORMAT, "'%s' has no column \"%s\"", p->file.path, names[k]);
        if (parquet_obstacle(m, i))
            return br_fail(err, BR_E_UNSUPPORTED, "'%s': column \"%s\" holds %s", p->file.path,
                           names[k], parquet_obstacle(m, i));
        p->wanted[i] = 1;
        found++;
    }
    if (!found)
        return br_fail(err, BR_E_UNSUPPORTED, "'%s' has no column of texts, numbers or booleans",
                       p->file.path);
    return BR_OK;
}

/* ---- a row ----------------------------------------------------------------------------------- */

struct walk {
    struct br__parquet *p;
    struct br__buf *out;
    struct br_err *err;
    int rc;
};

static void put_node(struct walk *w, uint32_t i);

/* The column that the levels of a node are read from: its first leaf. */
static struct br__pq_column *column_of(struct walk *w, uint32_t i)
{
    const struct br__pq_node *nodes = w->p->meta.nodes;
    while (nodes[i].leaf < 0)
        i++;
    return &w->p->columns[nodes[i].leaf];
}

static int parquet_peek(struct walk *w, struct br__pq_column *c)
{
    if (w->rc)
        return 0;
    if (br__pq_column_peek(c, &w->rc, w->err))
        return 1;
    if (!w->rc)
        w->rc = br_fail(w->err, BR_E_FORMAT, "column \"%s\" ends before the others", c->node->name);
    return 0;
}

static int def_of(struct walk *w, uint32_t i)
{
    struct br__pq_column *c = column_of(w, i);
    return parquet_peek(w, c) ? c->def[c->k] : 0;
}

/* Does another element of the list at level `rep` follow? */
static int goes_on(struct walk *w, uint32_t i, int rep)
{
    struct br__pq_column *c = column_of(w, i);
    return !w->rc && br__pq_column_peek(c, &w->rc, w->err) && c->rep[c->k] == rep;
}

/* Nothing is there below this node: every column has one entry that says so. */
static void parquet_pass(struct walk *w, uint32_t i)
{
    const struct br__pq_node *nodes = w->p->meta.nodes;
    for (uint32_t k = i; k < nodes[i].end; k++) {
        struct br__pq_column *c = nodes[k].leaf < 0 ? NULL : &w->p->columns[nodes[k].leaf];
        if (!c || !parquet_peek(w, c))
            continue;
        c->v += c->def[c->k] == c->node->def;
        c->k++;
    }
}

static void put_text(struct walk *w, const union br__pq_value *v)
{
    if (br__utf8_valid((const char *)v->s.p, v->s.n))
        br__buf_json_text(w->out, (const char *)v->s.p, v->s.n);
    else
        w->rc = br_fail(w->err, BR_E_FORMAT, "a value is not UTF-8 text");
}

static void put_leaf(struct walk *w, uint32_t i)
{
    const struct br__pq_node *x = &w->p->meta.nodes[i];
    struct br__pq_column *c = &w->p->columns[x->leaf];
    if (!parquet_peek(w, c))
        return;
    if (c->def[c->k] != x->def) {
        w->rc = br_fail(w->err, BR_E_FORMAT, "column \"%s\" contradicts its neighbours", x->name);
        return;
    }
    const union br__pq_value *v = &c->values[c->v];
    if (x->type == PQ_BYTE_ARRAY)
        put_text(w, v);
    else if (x->type == PQ_BOOLEAN)
        br__buf_puts(w->out, v->i ? "true" : "false");
    else if (x->type == PQ_INT32 || x->type == PQ_INT64)
        br__buf_printf(w->out, "%" PRId64, v->i);
    else if (isfinite(v->f))
        br__buf_double(w->out, v->f);
    else
        br__buf_puts(w->out, "null"); /* JSON has no such number */
    c->v++;
    c->k++;
}

static void put_members(struct walk *w, uint32_t i)
{
    const struct br__pq_node *nodes = w->p->meta.nodes;
    int n = 0;
    br__buf_putc(w->out, '{');
    for (uint32_t k = i + 1; k < nodes[i].end && !w->rc; k = nodes[k].end) {
        if (i == 0 && !w->p->wanted[k])
            continue;
        br__buf_puts(w->out, n++ ? ", " : "");
        br__buf_json_str(w->out, nodes[k].name);
        br__buf_puts(w->out, ": ");
        put_node(w, k);
    }
    br__buf_putc(w->out, '}');
}

static void put_value(struct walk *w, uint32_t i)
{
    if (w->p->meta.nodes[i].leaf < 0)
        put_members(w, i);
    else
        put_leaf(w, i);
}

/* A repeated node.  wrapped: its one child is the element, as in the standard's three-level lists.
 */
static void put_list(struct walk *w, uint32_t i, int wrapped)
{
    const struct br__pq_node *x = &w->p->meta.nodes[i];
    br__buf_putc(w->out, '[');
    if (def_of(w, i) < x->def) {
        parquet_pass(w, i);
    } else {
        do {
            if (wrapped)
                put_node(w, i + 1);
            else
                put_value(w, i);
            if (!goes_on(w, i, x->rep))
                break;
            br__buf_puts(w->out, ", ");
        } while (!w->rc);
    }
    br__buf_putc(w->out, ']');
}

/* Is the node a list by its annotation, and its child the repeated one? */
static int is_list(const struct br__pq_node *nodes, uint32_t i)
{
    return (nodes[i].converted == C_LIST || nodes[i].logical == L_LIST) && nodes[i].leaf < 0 &&
           nodes[i].n_children == 1 && nodes[i + 1].repetition == PQ_REPEATED;
}

/* Older writers let the repeated group be the element itself (LogicalTypes.md, backward
 * compatibility). */
static int is_wrapped(const struct br__pq_node *nodes, uint32_t list)
{
    const struct br__pq_node *x = &nodes[list + 1];
    size_t n = strlen(nodes[list].name);
    return x->leaf < 0 && x->n_children == 1 && strcmp(x->name, "array") != 0 &&
           !(strncmp(x->name, nodes[list].name, n) == 0 && strcmp(x->name + n, "_tuple") == 0);
}

static void put_node(struct walk *w, uint32_t i)
{
    const struct br__pq_node *nodes = w->p->meta.nodes, *x = &nodes[i];
    if (w->rc)
        return;
    if (x->repetition == PQ_REPEATED) {
        put_list(w, i, 0);
    } else if (x->repetition == PQ_OPTIONAL && def_of(w, i) < x->def) {
        br__buf_puts(w->out, "null");
        parquet_pass(w, i);
    } else if (is_list(nodes, i)) {
        put_list(w, i + 1, is_wrapped(nodes, i));
    } else {
        put_value(w, i);
    }
}

static void begin_group(struct br__parquet *p)
{
    const struct br__pq_meta *m = &p->meta;
    for (uint32_t top = 1; top < m->n_nodes; top = m->nodes[top].end)
        for (uint32_t i = top; i < m->nodes[top].end && p->wanted[top]; i++)
            if (m->nodes[i].leaf >= 0)
                br__pq_column_begin(&p->columns[m->nodes[i].leaf], &p->file, &m->nodes[i],
                                    &m->chunks[p->group * m->n_leaves + (size_t)m->nodes[i].leaf]);
    p->left = m->group_rows[p->group++];
}

int br__parquet_next(struct br__parquet *p, struct br__buf *json, int *more, struct br_err *err)
{
    struct walk w = {.p = p, .out = json, .err = err};
    *more = 0;
    while (p->left == 0 && p->group < p->meta.n_groups)
        begin_group(p);
    if (p->left == 0)
        return BR_OK;
    put_members(&w, 0);
    if (!w.rc && json->failed)
        w.rc = br_fail(err, BR_E_UNSUPPORTED, "it does not fit in memory");
    if (w.rc)
        br_wrap(err, "'%s', row %" PRId64, p->file.path, p->row + 1);
    p->left--;
    p->row++;
    *more = !w.rc;
    return w.rc;
}
