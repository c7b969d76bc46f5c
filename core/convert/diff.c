/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* diff.c - compare two checkpoints of one format, key by key: names, dtypes, shapes, then bytes.
 * How the bytes are cut into chunks and files does not matter.  Tensors are compared on all
 * threads, in blocks; lines come out in key order, whichever tensor finishes first. */
#include "convert.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (1u << 20)

/* One key of either side. */
struct pair {
    const struct br__tensor *a, *b; /* NULL: that side lacks it      */
    uint64_t differ, first;         /* elements; index of the first */
};

struct job {
    const struct br__ckpt *a, *b;
    struct pair *pairs;
    size_t n;
};

static const char *pair_name(const struct pair *p)
{
    return p->a ? p->a->name : p->b->name;
}

static int by_name(const void *x, const void *y)
{
    return br__natural_cmp(pair_name(x), pair_name(y));
}

static int same_form(const struct pair *p)
{
    return p->a && p->b && p->a->dtype == p->b->dtype && p->a->ndim == p->b->ndim &&
           !memcmp(p->a->shape, p->b->shape, (size_t)p->a->ndim * sizeof *p->a->shape);
}

/* Union of the keys, in order. */
static int pair_up(struct job *j, struct br_err *err)
{
    j->pairs = br__calloc(j->a->n_tensors + j->b->n_tensors + 1, sizeof *j->pairs);
    if (!j->pairs)
        return br__nomem(err, "comparing");
    for (size_t i = 0; i < j->a->n_tensors; i++) {
        struct pair *p = &j->pairs[j->n++];
        p->a = &j->a->tensors[i];
        p->b = br__ckpt_find(j->b, p->a->name);
    }
    for (size_t i = 0; i < j->b->n_tensors; i++)
        if (!br__ckpt_find(j->a, j->b->tensors[i].name))
            j->pairs[j->n++].b = &j->b->tensors[i];
    qsort(j->pairs, j->n, sizeof *j->pairs, by_name);
    return BR_OK;
}

static void compare_block(struct pair *p, const unsigned char *x, const unsigned char *y,
                          uint64_t off, size_t n)
{
    size_t size = BR__MAX(br_dtype_size(p->a->dtype), 1u); /* of F4 a byte: two of them */

    if (!memcmp(x, y, n))
        return;
    for (size_t i = 0; i + size <= n; i += size) {
        if (!memcmp(x + i, y + i, size))
            continue;
        if (p->differ++ == 0)
            p->first = (off + i) / size;
    }
}

static int compare_one(void *arg, size_t i, int worker, struct br_err *err)
{
    struct job *j = arg;
    struct pair *p = &j->pairs[i];
    int rc = BR_OK;

    (void)worker;
    if (!same_form(p))
        return BR_OK;
    unsigned char *buf = br__alloc(2 * (size_t)BLOCK);
    if (!buf)
        return br__nomem(err, "comparing '%s'", p->a->name);
    for (uint64_t off = 0; !rc && off < p->a->bytes; off += BLOCK) {
        size_t n = (size_t)BR__MIN(p->a->bytes - off, (uint64_t)BLOCK);
        rc = br__ckpt_read(j->a, p->a, off, buf, n, err);
        if (!rc)
            rc = br__ckpt_read(j->b, p->b, off, buf + BLOCK, n, err);
        if (!rc)
            compare_block(p, buf, buf + BLOCK, off, n);
    }
    br__free(buf);
    return rc;
}

/* Describe the difference in one sentence, if there is one. */
static void diff_describe(struct br__buf *out, const struct pair *p)
{
    char a[160], b[160];

    if (!p->a || !p->b) {
        const struct br__tensor *t = p->a ? p->a : p->b;
        br__buf_printf(out, "only in %s: '%s' %s %s", p->a ? "A" : "B", t->name,
                       br_dtype_torch(t->dtype), br__shape_str(t->shape, t->ndim, a, sizeof a));
    } else if (p->a->dtype != p->b->dtype) {
        br__buf_printf(out, "dtype of '%s': %s in A, %s in B", p->a->name,
                       br_dtype_torch(p->a->dtype), br_dtype_torch(p->b->dtype));
    } else if (!same_form(p)) {
        br__buf_printf(out, "shape of '%s': %s in A, %s in B", p->a->name,
                       br__shape_str(p->a->shape, p->a->ndim, a, sizeof a),
                       br__shape_str(p->b->shape, p->b->ndim, b, sizeof b));
    } else if (p->differ) {
        br__buf_printf(
            out, "bytes of '%s': %" PRIu64 " of %" PRIu64 " elements differ, first at %" PRIu64,
            p->a->name, p->differ, p->a->bytes / BR__MAX(br_dtype_size(p->a->dtype), 1u), p->first);
    }
}

static int diff_report(const struct job *j, void (*line)(void *ud, const char *text), void *ud,
                       size_t *n_diff, struct br_err *err)
{
    for (size_t i = 0; i < j->n; i++) {
        struct br__buf b = {0};
        diff_describe(&b, &j->pairs[i]);
        int failed = b.failed;
        if (b.n) {
            ++*n_diff;
            if (!failed && line)
                line(ud, b.p);
        }
        br__buf_free(&b);
        if (failed)
            return br__nomem(err, "comparing");
    }
    return BR_OK;
}

int br__ckpt_diff(const struct br__ckpt *a, const struct br__ckpt *b, int threads,
                  void (*line)(void *ud, const char *text), void *ud, size_t *n_diff,
                  struct br_err *err)
{
    struct job j = {.a = a, .b = b};

    *n_diff = 0;
    if (a->format != b->format)
        return br_fail(err, BR_E_USAGE,
                       "'%s' and '%s' are of different formats and name their tensors differently; "
                       "to prove a conversion: bridge verify --hf-model '%s' --megatron-path '%s'",
                       a->dir, b->dir, a->format == BR__FMT_HF ? a->dir : b->dir,
                       a->format == BR__FMT_HF ? b->dir : a->dir);
    int rc = pair_up(&j, err);
    if (!rc)
        rc = br__pool_run(threads, j.n, compare_one, &j, err);
    if (!rc)
        rc = diff_report(&j, line, ud, n_diff, err);
    br__free(j.pairs);
    return rc;
}
