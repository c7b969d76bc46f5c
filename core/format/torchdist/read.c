/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* read.c - gather a range of a global tensor from the boxes that hold it.
 *
 * A tensor is tiled by N-dimensional boxes, each stored row-major in its own item.  A box is a
 * sequence of runs: stretches contiguous both in the box and in the global tensor, at rising
 * global offsets.  A box cut on the first axes only is one run; a tensor-parallel split of columns
 * has a run per row, which may be as short as 64 bytes.  Long runs are read straight into place;
 * short ones in blocks of many runs, which are then scattered.
 *
 * The bytes that a read takes of a box lie back to back in its ZIP record.  Each such range gets a
 * CRC-32 while it is warm and adds to the record's; when the last range is in, the sum is compared
 * with what the archive says. */
#include "torchdist.h"

#include <inttypes.h>
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
    br__td_get *get;
    void *ud;
    const struct br__ckpt *ck; /* get reads its records, which are checked; NULL: it does not */
    uint64_t off, end;
    unsigned char *dst;
    const struct br__td_chunk *chunk; /* the box in hand */
    int check;                        /* take the CRC-32 of what is read of the box */
    uint32_t crc;                     /* of that so far */
    uint64_t at, n;                   /* where it begins in the box, and its bytes */
};

/* The next n bytes, which begin at byte `at` of the box and follow what came before. */
static void take_crc(struct want *w, uint64_t at, const unsigned char *p, uint64_t n)
{
    if (!w->check)
        return;
    if (!w->n)
        w->at = at;
    w->crc = br__crc32(w->crc, p, (size_t)n);
    w->n += n;
}

/* Part of run r that is wanted: skip bytes into the run, and how many. */
static uint64_t td_clip(const struct want *w, uint64_t start, uint64_t run, uint64_t *skip)
{
    uint64_t lo = BR__MAX(start, w->off), hi = BR__MIN(start + run, w->end);

    *skip = lo - start;
    return hi - lo;
}

static int read_long_runs(struct want *w, const struct box *b, uint64_t r, uint64_t end,
                          struct br_err *err)
{
    for (; r < end; r++) {
        uint64_t skip, start = run_start(b, r);
        uint64_t n = td_clip(w, start, b->run, &skip), at = r * b->run + skip;
        unsigned char *dst = w->dst + (start + skip - w->off);
        int rc = w->get(w->ud, w->chunk, at, dst, (size_t)n, err);
        if (rc)
            return rc;
        take_crc(w, at, dst, n);
    }
    return BR_OK;
}

/* Runs [r, end) lie in `block` back to back: put each in its place. */
static void td_scatter(const struct want *w, const struct box *b, const unsigned char *block,
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
            uint64_t skip, n = td_clip(w, start, b->run, &skip);
            memcpy(w->dst + (start + skip - w->off), block + skip, (size_t)n);
            block += b->run;
            start += step;
        }
    }
}

static int read_short_runs(struct want *w, const struct box *b, uint64_t r, uint64_t end,
                           struct br_err *err)
{
    unsigned char block[BLOCK_BYTES];
    uint64_t per_block = sizeof block / b->run;

    while (r < end) {
        uint64_t n = BR__MIN(per_block, end - r);
        int rc = w->get(w->ud, w->chunk, r * b->run, block, (size_t)(n * b->run), err);
        if (rc)
            return rc;
        /* Of the first and the last run a part may be all that is wanted. */
        uint64_t skip, last;
        (void)td_clip(w, run_start(b, r), b->run, &skip);
        uint64_t stop = td_clip(w, run_start(b, r + n - 1), b->run, &last);
        stop += (n - 1) * b->run + last;
        take_crc(w, r * b->run + skip, block + skip, stop - skip);
        td_scatter(w, b, block, r, r + n);
        r += n;
    }
    return BR_OK;
}

/* ---- CRC-32 of records ----------------------------------------------------------------------- */

int br__td_check_record(const struct br__ckpt *ck, const struct br__tensor *t,
                        const struct br__td_chunk *c, struct br__xxh3 *hash, struct br_err *err)
{
    const struct br__td_record *rec = c->rec;
    unsigned char *buf = br__alloc(BR__OUT_BUF);
    uint32_t crc = 0;
    int rc = buf ? BR_OK : br__nomem(err, "checking '%s'", t->name);

    for (uint64_t off = 0; off < rec->size && !rc; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, rec->size - off);
        rc = br__file_read(&ck->files[c->file], rec->off + off, buf, n, err);
        if (!rc)
            crc = br__crc32(crc, buf, n);
        if (!rc && hash)
            br__xxh3_update(hash, buf, n);
    }
    br__free(buf);
    if (rc || !rec->crc || crc == rec->crc)
        return rc;
    char at[256];
    return br_fail(err, BR_E_FORMAT,
                   "chunk at %s: %" PRIu64 " bytes at %" PRIu64
                   " of '%s' are damaged: their CRC-32 is %08" PRIx32 ", the file says %08" PRIx32
                   "; take an undamaged copy, or give --no-verify to "
                   "use them as they are",
                   br__shape_str(c->off, t->ndim, at, sizeof at), rec->size, rec->off,
                   ck->file_names[c->file], crc, rec->crc);
}

/* Whether reads of a chunk are still of use to its record's sum. */
static int wants_crc(const struct br__ckpt *ck, const struct br__td_chunk *c)
{
    return !ck->td->no_verify && c->rec->crc &&
           atomic_load_explicit(&c->rec->seen, memory_order_relaxed) < c->rec->size;
}

/* Add what w read of a chunk to the sum of its record; the thread that adds the last byte compares.
 * Bytes that were read twice make the sum wrong, so a mismatch is believed only after the record
 * was read again in one go. */
static int add_crc(const struct want *w, const struct br__tensor *t, struct br_err *err)
{
    const struct br__td_chunk *c = w->chunk;
    struct br__td_record *rec = c->rec;

    if (!w->n)
        return BR_OK;
    uint64_t behind = rec->size - (c->data_off - rec->off + w->at + w->n);
    atomic_fetch_xor(&rec->sum, br__crc32_shift(w->crc, behind));
    uint64_t before = atomic_fetch_add(&rec->seen, w->n);
    if (before >= rec->size || before + w->n < rec->size || atomic_load(&rec->sum) == rec->crc)
        return BR_OK;
    return br__td_check_record(w->ck, t, c, NULL, err);
}

static int td_settle(const struct br__ckpt *ck, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; i < ck->n_tensors && !rc; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        const struct br__td_chunk *c = ck->td->chunks[t->priv];
        for (size_t k = 0; k < ck->td->n_chunks[t->priv] && !rc; k++)
            if (wants_crc(ck, &c[k]) && atomic_load(&c[k].rec->seen) &&
                (rc = br__td_check_record(ck, t, &c[k], NULL, err)))
                br_wrap(err, "tensor '%s'", t->name);
    }
    return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int read_chunk(struct want *w, const struct br__tensor *t, const struct br__td_chunk *c,
                      struct br_err *err)
{
    struct box b;
    int rc;

    make_box(&b, t, c);
    uint64_t first = first_run(&b, w->off), end = end_run(&b, w->end);
    if (first >= end)
        return BR_OK;
    w->chunk = c;
    w->check = w->ck && wants_crc(w->ck, c);
    w->crc = 0;
    w->n = 0;
    if (end - first == 1 || b.run >= DIRECT_BYTES)
        rc = read_long_runs(w, &b, first, end, err);
    else
        rc = read_short_runs(w, &b, first, end, err);
    return rc ? rc : add_crc(w, t, err);
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

static int td_gather(struct want *w, const struct br__tensor *t, const struct br__td_chunk *c,
                     size_t n_chunks, struct br_err *err)
{
    for (size_t i = first_chunk(c, n_chunks, w->off); i < n_chunks && c[i].flat < w->end; i++) {
        int rc = read_chunk(w, t, &c[i], err);
        if (rc) {
            br_wrap(err, "tensor '%s'", t->name);
            return rc;
        }
    }
    return BR_OK;
}

int br__td_gather(const struct br__tensor *t, const struct br__td_boxes *b, uint64_t off, void *dst,
                  size_t n, struct br_err *err)
{
    struct want w = {.get = b->get, .ud = b->ud, .off = off, .end = off + n, .dst = dst};

    return td_gather(&w, t, b->list, b->n, err);
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
    struct want w = {.get = get_stored,
                     .ud = (void *)(uintptr_t)ck,
                     .ck = ck,
                     .off = off,
                     .end = off + n,
                     .dst = dst};

    return td_gather(&w, t, ck->td->chunks[t->priv], ck->td->n_chunks[t->priv], err);
}

static void td_close(struct br__ckpt *ck)
{
    if (ck->td)
        br__free(ck->td->run_config_text);
}

const struct br__ckpt_ops br__td_ops = {.read = td_read, .settle = td_settle, .close = td_close};
