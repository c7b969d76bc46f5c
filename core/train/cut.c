/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cut.c - what one of several processes writes of a checkpoint: boxes of the plan's pieces, cut
 * where what it has ends.
 *
 * A process has runs of elements: rows or columns of a tensor with tensor parallelism, any stretch
 * of it with the distributed optimizer.  A piece is a matrix here, its last dimension by all
 * others; what the process has of it becomes rectangles, and these become boxes.  Every element is
 * of one process: copies are left out. */
#include "ckpt.h"

#include <stdlib.h>
#include <string.h>

/* Elements of a piece. */
struct stretch {
    uint64_t from, n;
};
/* Rows [row, row + rows) of columns [col, col + cols). */
struct rect {
    uint64_t row, rows, col, cols;
};
struct cutter {
    const struct br__live_plan *live;
    const struct br__live_model *m;
    const struct br__td_plan *td;
    struct stretch *stretches;
    size_t n_stretches, cap_stretches;
    struct br__td_item *items; /* [n] */
    struct br__cut *cuts;      /* [n] */
    size_t n, cap_items, cap_cuts;
};

/* ---- what is here of a piece ----------------------------------------------------------------- */

static int add_stretch(struct cutter *c, uint64_t from, uint64_t n)
{
    if (br__grow(&c->stretches, &c->cap_stretches, c->n_stretches, sizeof *c->stretches))
        return BR_E_NOMEM;
    c->stretches[c->n_stretches++] = (struct stretch){from, n};
    return BR_OK;
}

static int by_start(const void *x, const void *y)
{
    uint64_t a = ((const struct stretch *)x)->from, b = ((const struct stretch *)y)->from;
    return (a > b) - (a < b);
}

/* In order, those that touch each other made one. */
static void join_stretches(struct cutter *c)
{
    size_t n = 0;

    if (c->n_stretches)
        qsort(c->stretches, c->n_stretches, sizeof *c->stretches, by_start);
    for (size_t i = 0; i < c->n_stretches; i++) {
        struct stretch *last = n ? &c->stretches[n - 1] : NULL;
        if (last && last->from + last->n == c->stretches[i].from)
            last->n += c->stretches[i].n;
        else
            c->stretches[n++] = c->stretches[i];
    }
    c->n_stretches = n;
}

/* Rows that no tensor has, which are zero, are rank 0's. */
static int find_stretches(struct cutter *c, size_t piece, uint64_t total)
{
    int rc = BR_OK;

    c->n_stretches = 0;
    for (uint64_t e = 0, take; e < total && !rc; e += take) {
        const struct br__range r = br__piece_range(c->live->plan, piece, e);
        take = BR__MIN(total - e, r.n);
        if (r.src == BR__SRC_ZERO) {
            rc = br__procs_rank() ? BR_OK : add_stretch(c, e, take);
            continue;
        }
        struct br__live_walk w = {
            .t = &c->m->list[r.src], .from = r.from, .end = r.from + (size_t)take};
        while (!rc && br__live_next(&w))
            if (!w.is_copy)
                rc = add_stretch(c, e + (w.at - r.from), w.n);
    }
    join_stretches(c);
    return rc;
}

/* ---- boxes ----------------------------------------------------------------------------------- */

/* Rows of r from its first on that are a box of the piece: some of a matrix, or whole matrices of
 * the dimension before. */
static uint64_t box_rows(const struct br__piece *pc, int ndim, const struct rect *r, uint64_t cols)
{
    uint64_t all = ndim > 1 ? (uint64_t)pc->size[ndim - 2] : 1, at = r->row % all;
    uint64_t n = BR__MIN(r->rows, all - at);

    if (ndim < 3 || at || r->cols != cols || r->rows < all)
        return n;
    uint64_t stack = (uint64_t)pc->size[ndim - 3], layer = r->row / all % stack;
    return BR__MIN(r->rows / all, stack - layer) * all;
}

/* The first rows of r as an item; r goes on behind them. */
static int add_box(struct cutter *c, size_t piece, struct rect *r, uint64_t cols)
{
    const struct br__piece *pc = &c->live->plan->pieces[piece];
    const struct br__td_out *t = &c->td->tensors[pc->out];
    uint64_t n = box_rows(pc, t->ndim, r, cols), at = r->row, left = n;

    if (br__grow(&c->items, &c->cap_items, c->n, sizeof *c->items) ||
        br__grow(&c->cuts, &c->cap_cuts, c->n, sizeof *c->cuts))
        return BR_E_NOMEM;
    struct br__td_item *it = &c->items[c->n];
    *it = (struct br__td_item){.tensor = pc->out,
                               .data_bytes = n * r->cols * br_dtype_size(t->dtype)};
    memcpy(it->off, pc->off, sizeof it->off);
    for (int d = 0; d < t->ndim; d++)
        it->size[d] = 1;
    if (t->ndim) {
        it->off[t->ndim - 1] += (int64_t)r->col;
        it->size[t->ndim - 1] = (int64_t)r->cols;
    }
    for (int d = t->ndim - 2; d >= 0; d--) {
        uint64_t size = (uint64_t)pc->size[d];
        it->off[d] += (int64_t)(at % size);
        it->size[d] = (int64_t)BR__MIN(left, size);
        at /= size;
        left = BR__MAX(left / size, (uint64_t)1);
    }
    c->cuts[c->n++] = (struct br__cut){piece, r->row * cols + r->col, r->cols, cols};
    r->row += n;
    r->rows -= n;
    return BR_OK;
}

static int add_rect(struct cutter *c, size_t piece, struct rect r, uint64_t cols)
{
    int rc = BR_OK;

    while (r.rows && !rc)
        rc = add_box(c, piece, &r, cols);
    return rc;
}

/* The rest of a row, rows, and the beginning of one. */
static struct rect first_rect(const struct stretch *s, uint64_t cols)
{
    uint64_t col = s->from % cols;

    if (!col && s->n >= cols)
        return (struct rect){s->from / cols, s->n / cols, 0, cols};
    return (struct rect){s->from / cols, 1, col, BR__MIN(cols - col, s->n)};
}

static int cut_piece(struct cutter *c, size_t piece)
{
    const struct br__piece *pc = &c->live->plan->pieces[piece];
    const struct br__td_out *t = &c->td->tensors[pc->out];
    uint64_t cols = t->ndim ? BR__MAX((uint64_t)pc->size[t->ndim - 1], (uint64_t)1) : 1;
    struct rect open = {0};
    int rc = find_stretches(c, piece, pc->bytes / br_dtype_size(t->dtype));

    for (size_t i = 0; i < c->n_stretches && !rc; i++)
        for (struct stretch s = c->stretches[i]; s.n && !rc;) {
            struct rect r = first_rect(&s, cols);
            s.from += r.rows * r.cols;
            s.n -= r.rows * r.cols;
            if (open.rows && open.col == r.col && open.cols == r.cols &&
                open.row + open.rows == r.row) {
                open.rows += r.rows;
                continue;
            }
            rc = add_rect(c, piece, open, cols);
            open = r;
        }
    return rc ? rc : add_rect(c, piece, open, cols);
}

int br__cut_tables(struct br__arena *a, const struct br__live_plan *live,
                   const struct br__live_model *m, struct br__cut_tables *out, struct br_err *err)
{
    struct br__td_plan *td = out->td;
    struct cutter c = {.live = live, .m = m, .td = td};
    int rc = BR_OK;

    if (br__procs_rank())
        out->n_objects = 0;
    for (size_t i = 0; i < live->plan->n_pieces && !rc; i++)
        rc = cut_piece(&c, i);
    out->n = c.n;
    out->cuts = br__arena_alloc(a, (c.n + 1) * sizeof *out->cuts);
    struct br__td_item *items = br__arena_alloc(a, (out->n_objects + c.n + 1) * sizeof *items);
    if (!rc && out->cuts && items) {
        memcpy(items, td->items, out->n_objects * sizeof *items);
        if (c.n) {
            memcpy(items + out->n_objects, c.items, c.n * sizeof *items);
            memcpy(out->cuts, c.cuts, c.n * sizeof *out->cuts);
        }
        td->items = items;
        td->n_items = out->n_objects + c.n;
    } else {
        rc = br__nomem(err, "laying out a checkpoint");
    }
    br__free(c.stretches);
    br__free(c.items);
    br__free(c.cuts);
    return rc;
}

/* ---- rank 0's table -------------------------------------------------------------------------- */

/* Where an item of another rank is. */
struct row {
    uint32_t tensor, file;
    uint64_t item_off, item_len, data_bytes;
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
};

static void put_rows(const struct br__td_plan *td, struct br__buf *b)
{
    for (size_t i = 0; i < td->n_items; i++) {
        const struct br__td_item *it = &td->items[i];
        struct row r = {.tensor = it->tensor,
                        .file = it->file,
                        .item_off = it->item_off,
                        .item_len = it->item_len,
                        .data_bytes = it->data_bytes};
        memcpy(r.off, it->off, sizeof r.off);
        memcpy(r.size, it->size, sizeof r.size);
        br__buf_put(b, &r, sizeof r);
    }
}

static void take_rows(const struct br__buf *b, const size_t *sizes, struct br__td_item *out)
{
    const char *at = b->p;

    for (uint32_t rank = 0; rank < br__procs_size(); rank++)
        for (size_t n = sizes[rank] / sizeof(struct row); n; n--, at += sizeof(struct row)) {
            struct row r;
            memcpy(&r, at, sizeof r);
            *out = (struct br__td_item){.tensor = r.tensor,
                                        .writer = rank,
                                        .file = r.file,
                                        .item_off = r.item_off,
                                        .item_len = r.item_len,
                                        .data_bytes = r.data_bytes};
            memcpy(out->off, r.off, sizeof r.off);
            memcpy(out++->size, r.size, sizeof r.size);
        }
}

int br__cut_gather(struct br__arena *a, const struct br__td_plan *td, struct br__td_item **out,
                   size_t *n, struct br_err *err)
{
    struct br__buf mine = {.max = SIZE_MAX / 2}, all = {.max = SIZE_MAX / 2};
    size_t *sizes = br__calloc(br__procs_size(), sizeof *sizes);

    if (br__procs_rank())
        put_rows(td, &mine);
    int rc = br__procs_agree(sizes ? BR_OK : br__nomem(err, "laying out a checkpoint"), err);
    if (!rc)
        rc = br__procs_gather(&mine, &all, sizes, err);
    *n = all.n / sizeof(struct row);
    *out = br__arena_alloc(a, (*n + 1) * sizeof **out);
    if (!rc && !*out)
        rc = br__nomem(err, "laying out a checkpoint");
    if (!rc && *n)
        take_rows(&all, sizes, *out);
    br__buf_free(&mine);
    br__buf_free(&all);
    br__free(sizes);
    return br__procs_agree(rc, err);
}
