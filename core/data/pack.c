/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pack.c - several examples in one row: first fit, in decreasing order or shuffled.
 *
 * As Megatron Bridge does it, rows are first made of lengths alone; then each length's examples are
 * shuffled and handed out from the end.  All draws come from one generator (algorithms.py). */
#include "random.h"
#include "sft.h"

#include <string.h>

/* A tree over rows whose nodes hold the largest space that is left below them. */
struct tree {
    int64_t *space, width; /* width: leaves, a power of two */
};

static int64_t first_fit(const struct tree *t, int64_t need)
{
    int64_t k = 1;
    while (k < t->width)
        k = 2 * k + (t->space[2 * k] < need);
    return k - t->width;
}

static void pack_take(struct tree *t, int64_t row, int64_t n)
{
    int64_t k = row + t->width;
    t->space[k] -= n;
    for (k /= 2; k; k /= 2)
        t->space[k] = BR__MAX(t->space[2 * k], t->space[2 * k + 1]);
}

struct work {
    int64_t n, size;
    int32_t *length; /* [n] of the examples that fit, in the order in which they are placed */
    int64_t *row;    /* [n] where each went */
    int64_t *begin;  /* [size + 2] of each length in `by_length` */
    int64_t *by_length;
    struct tree tree;
};

static void pack_place(struct work *w, struct br__packing *p)
{
    for (int64_t k = 2 * w->tree.width - 1; k >= 1; k--)
        w->tree.space[k] = w->size;
    for (int64_t i = 0; i < w->n; i++) {
        w->row[i] = first_fit(&w->tree, w->length[i]);
        pack_take(&w->tree, w->row[i], w->length[i]);
        p->n_rows = BR__MAX(p->n_rows, w->row[i] + 1);
    }
}

/* Examples by length, in the order of the file, each length shuffled. */
static int sort_examples(struct work *w, const int32_t *lengths, int64_t n, struct br__mt19937 *r)
{
    int64_t *next = br__calloc((size_t)w->size + 2, sizeof *next);
    if (!next)
        return BR_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (lengths[i] <= w->size)
            w->begin[lengths[i] + 1]++;
    for (int64_t k = 0; k <= w->size; k++)
        w->begin[k + 1] += w->begin[k];
    memcpy(next, w->begin, ((size_t)w->size + 2) * sizeof *next);
    for (int64_t i = 0; i < n; i++)
        if (lengths[i] <= w->size)
            w->by_length[next[lengths[i]]++] = i;
    for (int64_t k = 0; k <= w->size; k++)
        br__np_shuffle_i64(r, w->by_length + w->begin[k], w->begin[k + 1] - w->begin[k]);
    br__free(next);
    return BR_OK;
}

static void fill_rows(struct work *w, struct br__packing *p, int64_t *left)
{
    for (int64_t i = 0; i < w->n; i++)
        p->first[w->row[i] + 1]++;
    for (int64_t r = 0; r < p->n_rows; r++) {
        p->max_items = BR__MAX(p->max_items, p->first[r + 1]);
        int64_t used = w->size - w->tree.space[w->tree.width + r];
        p->min_tokens = r ? BR__MIN(p->min_tokens, used) : used;
        p->first[r + 1] += p->first[r];
    }
    /* Rows are filled in their order, not in that of placing: which example of a length a row gets
     * depends on it.  left[k]: examples of length k that are not handed out. */
    int64_t *at = w->tree.space; /* no longer needed; holds at least n_rows numbers */
    memcpy(at, p->first, (size_t)p->n_rows * sizeof *at);
    for (int64_t i = 0; i < w->n; i++)
        p->item[at[w->row[i]]++] = w->length[i];
    for (int64_t k = 0; k < w->n; k++) {
        int64_t len = p->item[k];
        p->item[k] = w->by_length[w->begin[len] + --left[len]];
    }
}

static int pack_all(struct work *w, struct br__packing *p, const int32_t *lengths, int64_t n,
                    int shuffle, uint32_t seed)
{
    struct br__mt19937 r;
    int64_t at = 0;
    int64_t *count = br__calloc((size_t)w->size + 1, sizeof *count);
    if (!count)
        return BR_E_NOMEM;
    for (int64_t i = 0; i < n; i++)
        if (lengths[i] <= w->size)
            count[lengths[i]]++;
    for (int64_t k = 0; k <= w->size; k++)
        for (int64_t c = 0; c < count[shuffle ? k : w->size - k]; c++)
            w->length[at++] = (int32_t)(shuffle ? k : w->size - k);
    br__mt_seed(&r, seed);
    if (shuffle)
        br__np_shuffle_i32(&r, w->length, w->n);
    pack_place(w, p);
    int rc = sort_examples(w, lengths, n, &r);
    if (!rc)
        fill_rows(w, p, count);
    br__free(count);
    return rc;
}

int br__pack(struct br__packing *p, const int32_t *lengths, int64_t n, int64_t size, int shuffle,
             uint32_t seed, struct br_err *err)
{
    struct work w = {.size = size, .tree.width = 1};
    *p = (struct br__packing){0};
    for (int64_t i = 0; i < n; i++)
        w.n += lengths[i] <= size;
    while (w.tree.width < w.n + 1)
        w.tree.width *= 2;
    w.length = br__calloc((size_t)w.n, sizeof *w.length);
    w.row = br__calloc((size_t)w.n, sizeof *w.row);
    w.begin = br__calloc((size_t)size + 2, sizeof *w.begin);
    w.by_length = br__calloc((size_t)w.n, sizeof *w.by_length);
    w.tree.space = br__calloc(2 * (size_t)w.tree.width, sizeof *w.tree.space);
    p->first = br__calloc((size_t)w.n + 1, sizeof *p->first);
    p->item = br__calloc((size_t)w.n, sizeof *p->item);
    int rc = BR_E_NOMEM;
    if (w.length && w.row && w.begin && w.by_length && w.tree.space && p->first && p->item)
        rc = pack_all(&w, p, lengths, n, shuffle, seed);
    br__free(w.length);
    br__free(w.row);
    br__free(w.begin);
    br__free(w.by_length);
    br__free(w.tree.space);
    if (!rc)
        return BR_OK;
    br__packing_free(p);
    return br_fail(err, rc, "out of memory packing examples");
}

void br__packing_free(struct br__packing *p)
{
    br__free(p->first);
    br__free(p->item);
    *p = (struct br__packing){0};
}
