/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* read.c - gather a range of a global tensor from the boxes that hold it.
 *
 * A tensor is tiled by N-dimensional boxes, each stored row-major in its own item.  A box is a
 * sequence of runs: stretches contiguous both in the box and in the global tensor, at rising
 * global offsets.  A box cut on the first axes only is one run; a tensor-parallel split of columns
 * has a run per row, which may be as short as 64 bytes.  Long runs are read straight into place;
 * short ones in blocks of many runs, which are then scattered. */
#include "torchdist.h"

#include <stdint.h>
#include <string.h>

#define BLOCK_BYTES (64u << 10) /* on the stack; stays in the L2 cache between read and scatter */
#define DIRECT_BYTES (8u << 10) /* runs from here on are cheaper to read one by one */

struct box {
    int n_axes;                   /* axes that select the run */
    uint64_t count[BR_MAX_DIMS];  /* of the box along such an axis */
    uint64_t stride[BR_MAX_DIMS]; /* bytes in the global tensor */
    uint64_t base;                /* global offset of run 0 */
    uint64_t run;                 /* bytes of a run */
    uint64_t n_runs;
};

static void make_box(struct box *b, const struct br__tensor *t, const struct br__td_chunk *c)
{
    uint64_t global = br_dtype_size(t->dtype); /* bytes of the axes done so far in the tensor */
    int d = t->ndim;

    while (d > 0 && c->size[d - 1] == t->shape[d - 1])
        global *= (uint64_t)t->shape[--d];
    b->run = global;
    if (d > 0) { /* the innermost axis that is cut still gives contiguous bytes */
        d--;
        b->run = global * (uint64_t)c->size[d];
        global *= (uint64_t)t->shape[d];
    }
    b->n_axes = d;
    b->n_runs = 1;
    while (d-- > 0) {
        b->count[d] = (uint64_t)c->size[d];
        b->stride[d] = global;
        b->n_runs *= b->count[d];
        global *= (uint64_t)t->shape[d];
    }
    b->base = c->flat;
}

static uint64_t run_start(const struct box *b, uint64_t r)
{
    uint64_t at = b->base;

    for (int d = b->n_axes; d-- > 0;) {
        at += r % b->count[d] * b->stride[d];
        r /= b->count[d];
    }
    return at;
}

/* First run that ends after `off`; n_runs if none does. */
static uint64_t first_run(const struct box *b, uint64_t off)
{
    uint64_t lo = 0, hi = b->n_runs;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (run_start(b, mid) + b->run > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* First run that starts at or after `off`. */
static uint64_t end_run(const struct box *b, uint64_t off)
{
    uint64_t lo = 0, hi = b->n_runs;

    while (lo < hi) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (run_start(b, mid) >= off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* What a read wants: [off, end) of the tensor into dst. */
struct want {
    const struct br__td_chunk *chunk; /* the box in hand */
    br__td_get *get;
    void *ud;
    uint64_t off, end;
    unsigned char *dst;
};

/* Part of run r that is wanted: skip bytes into the run, and how many. */
static uint64_t clip(const struct want *w, uint64_t start, uint64_t run, uint64_t *skip)
{
    uint64_t lo = BR__MAX(start, w->off), hi = BR__MIN(start + run, w->end);

    *skip = lo - start;
    return hi - lo;
}

static int read_long_runs(const struct want *w, const struct box *b, uint64_t r, uint64_t end,
                          struct br_err *err)
{
    for (; r < end; r++) {
        uint64_t skip, start = run_start(b, r);
        uint64_t n = clip(w, start, b->run, &skip);
        int rc = w->get(w->ud, w->chunk, r * b->run + skip, w->dst + (start + skip - w->off),
                        (size_t)n, err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* Runs [r, end) lie in `block` back to back: put each in its place. */
static void scatter(const struct want *w, const struct box *b, const unsigned char *block,
                    uint64_t r, uint64_t end)
{
    while (r < end) {
        /* Along the innermost axis the place moves by a constant: one division per row. */
        uint64_t start = run_start(b, r), step = 0, left = 1;
        if (b->n_axes) {
            left = b->count[b->n_axes - 1] - r % b->count[b->n_axes - 1];
            step = b->stride[b->n_axes - 1];
        }
        for (left = BR__MIN(left, end - r); left; left--, r++) {
            uint64_t skip, n = clip(w, start, b->run, &skip);
            memcpy(w->dst + (start + skip - w->off), block + skip, (size_t)n);
            block += b->run;
            start += step;
        }
    }
}

static int read_short_runs(const struct want *w, const struct box *b, uint64_t r, uint64_t end,
                           struct br_err *err)
{
    unsigned char block[BLOCK_BYTES];
    uint64_t per_block = sizeof block / b->run;

    while (r < end) {
        uint64_t n = BR__MIN(per_block, end - r);
        int rc = w->get(w->ud, w->chunk, r * b->run, block, (size_t)(n * b->run), err);
        if (rc)
            return rc;
        scatter(w, b, block, r, r + n);
        r += n;
    }
    return BR_OK;
}

static int read_chunk(struct want *w, const struct br__tensor *t, const struct br__td_chunk *c,
                      struct br_err *err)
{
    struct box b;

    make_box(&b, t, c);
    uint64_t first = first_run(&b, w->off), end = end_run(&b, w->end);
    if (first >= end)
        return BR_OK;
    w->chunk = c;
    if (end - first == 1 || b.run >= DIRECT_BYTES)
        return read_long_runs(w, &b, first, end, err);
    return read_short_runs(w, &b, first, end, err);
}

/* First chunk that, or one before which, reaches past `off`. */
static size_t first_chunk(const struct br__td_chunk *c, size_t n, uint64_t off)
{
    size_t lo = 0, hi = n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c[mid].reach > off)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

int br__td_gather(const struct br__tensor *t, const struct br__td_boxes *b, uint64_t off, void *dst,
                  size_t n, struct br_err *err)
{
    struct want w = {.get = b->get, .ud = b->ud, .off = off, .end = off + n, .dst = dst};

    for (size_t i = first_chunk(b->list, b->n, off); i < b->n && b->list[i].flat < w.end; i++) {
        int rc = read_chunk(&w, t, &b->list[i], err);
        if (rc) {
            br_wrap(err, "tensor '%s'", t->name);
            return rc;
        }
    }
    return BR_OK;
}

int br__td_walk_box(const struct br__tensor *t, const struct br__td_chunk *c, uint64_t off,
                    uint64_t n, int (*take)(void *ud, uint64_t at, uint64_t n, struct br_err *err),
                    void *ud, struct br_err *err)
{
    struct box b;
    uint64_t flat = 0;

    make_box(&b, t, c);
    for (int i = 0; i < t->ndim; i++)
        flat = flat * (uint64_t)t->shape[i] + (uint64_t)c->off[i];
    b.base = flat * br_dtype_size(t->dtype);
    while (n) {
        uint64_t r = off / b.run, skip = off % b.run, k = BR__MIN(b.run - skip, n);
        int rc = take(ud, run_start(&b, r) + skip, k, err);
        if (rc)
            return rc;
        off += k;
        n -= k;
    }
    return BR_OK;
}

static int get_stored(void *ud, const struct br__td_chunk *c, uint64_t off, void *dst, size_t n,
                      struct br_err *err)
{
    const struct br__ckpt *ck = ud;

    return br__file_read(&ck->files[c->file], c->data_off + off, dst, n, err);
}

static int td_read(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                   size_t n, struct br_err *err)
{
    const struct br__td_boxes b = {ck->td->chunks[t->priv], ck->td->n_chunks[t->priv], get_stored,
                                   (void *)(uintptr_t)ck};

    return br__td_gather(t, &b, off, dst, n, err);
}

static void td_close(struct br__ckpt *ck)
{
    if (ck->td)
        br__free(ck->td->run_config_text);
}

const struct br__ckpt_ops br__td_ops = {td_read, td_close};
