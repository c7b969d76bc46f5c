/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* device_store.c - where a rank's device has what is trained: main weights, the copies of 16 bits
 * that the model computes with, and the sums of the gradients, laid out as the store.
 *
 * Where the device is the host they are the store's own.  Any other has blocks in its memory; the
 * store is then what training begins from, and what is read of it afterwards.  Weights that follow
 * one another in a block, in the dtype that kernels read, are used where they lie; of others the
 * device has copies. */
#include "trainer.h"
#include <string.h>

#define PIECE ((size_t)1 << 20) /* elements that are handled at once */
#define BEHIND 64               /* elements that a kernel may fetch beyond the last one */

static int is_away(const struct br__dstore *b)
{
    return b->host != b->device;
}

/* ---- making ---------------------------------------------------------------------------------- */

int br__dstore_open(struct br__dstore *b, struct br__rank *r, struct br_err *err)
{
    memset(b, 0, sizeof *b);
    b->device = &r->dev;
    b->host = &r->dev;
    if (br__device_is_host(&r->dev))
        return 0;
    b->host = &b->cpu;
    return br__device_open(&b->cpu, "cpu", NULL, 0, (uint32_t)r->m->weights->threads, err);
}

void br__dstore_close(struct br__dstore *b)
{
    if (is_away(b) && b->is_made) {
        br__device_free(b->device, b->main);
        br__device_free(b->device, b->half);
        br__device_free(b->device, b->grad);
        br__device_free(b->device, b->room);
    }
    if (b->host == &b->cpu)
        br__device_close(&b->cpu);
    memset(b, 0, sizeof *b);
}

static int no_room(const struct br__dstore *b, const struct br__store *s, struct br_err *err)
{
    size_t each = sizeof *b->grad + (s->main ? sizeof *b->main : 0) + (s->half ? 2 : 0);
    return br_fail(err, BR_E_NOMEM,
                   "device '%s' is out of memory for gradients and weights of %zu bytes",
                   b->device->backend.name, s->elems * each);
}

static int make_blocks(struct br__dstore *b, const struct br__store *s, struct br_err *err)
{
    b->is_made = 1;
    size_t n = s->elems + BEHIND;
    b->grad = br__device_alloc(b->device, n * sizeof *b->grad);
    b->main = s->main ? br__device_alloc(b->device, n * sizeof *b->main) : NULL;
    b->half = s->half ? br__device_alloc(b->device, n * sizeof *b->half) : NULL;
    b->room = br__device_alloc(b->device, PIECE * sizeof *b->room);
    if (!b->grad || (s->main && !b->main) || (s->half && !b->half) || !b->room)
        return no_room(b, s, err);
    return br__dstore_take(b, s, err);
}

int br__dstore_make(struct br__dstore *b, struct br__store *s, struct br_err *err)
{
    int rc = 0;
    b->main = s->main;
    b->half = s->bf16;
    b->grad = s->grad;
    b->banks = br__arena_alloc(&s->arena, (s->n_banks + 1) * sizeof *b->banks);
    if (!b->banks)
        return br__nomem(err, "for training");
    if (is_away(b) && s->device)
        rc = make_blocks(b, s, err);
    for (size_t i = 0, at = 0; i < s->n_banks; at += s->banks[i++].n)
        b->banks[i] = (struct br__trained_bank){.expert = s->banks[i].expert,
                                                .n = s->banks[i].n,
                                                .main = b->main ? b->main + at : NULL,
                                                .grad = b->grad + at,
                                                .half = b->half ? b->half + at : NULL};
    return rc;
}

/* ---- gradients ------------------------------------------------------------------------------- */

float *br__dstore_grad(const struct br__dstore *b, const struct br__store *s, const float *of_store)
{
    return b->grad + (of_store - s->grad);
}

static struct br_tensor flat(float *x, size_t n)
{
    return (struct br_tensor){
        .data = x, .dtype = BR_F32, .n_dim = 1, .shape = {(int64_t)n}, .stride = {1}};
}

int br__dstore_zero(struct br__dstore *b, struct br__store *s, struct br_err *err)
{
    const struct br_tensor all = flat(b->grad, s->elems);
    const struct br_call call = {.op = BR_OP_ZEROS, .n_out = 1, .in = &all, .out = &all};
    if (!is_away(b))
        return br__store_zero_grads(s, err);
    return s->elems ? br__device_give(b->device, &call, err) : 0;
}

/* Both are of the device. */
static int add_on_device(struct br__dstore *b, float *to, float *d, size_t n, struct br_err *err)
{
    const struct br_tensor in[] = {flat(to, n), flat(d, n)};
    const struct br_call call = {
        .op = BR_OP_ADD_TO, .n_in = 2, .n_out = 1, .in = in, .out = &in[0]};
    return n ? br__device_give(b->device, &call, err) : 0;
}

int br__dstore_add(struct br__dstore *b, float *to, const float *d, size_t n, struct br_err *err)
{
    int rc = 0;
    for (size_t k = 0; k < n && !is_away(b); k++)
        to[k] += d[k];
    for (size_t at = 0; at < n && is_away(b) && !rc; at += PIECE) {
        size_t k = BR__MIN(PIECE, n - at);
        rc = br__device_put(b->device, b->room, d + at, k * sizeof *d, err);
        if (!rc)
            rc = add_on_device(b, to + at, b->room, k, err);
    }
    return rc;
}

int br__dstore_round(struct br__dstore *b, struct br__store *s, struct br_err *err)
{
    int rc = 0;
    if (!is_away(b))
        return br__store_round_grads(s, err);
    for (size_t at = 0; at < s->elems && !rc; at += PIECE) {
        size_t n = BR__MIN(PIECE, s->elems - at);
        rc = br__device_cast(b->device, b->room, BR_BF16, b->grad + at, BR_F32, n, err);
        if (!rc)
            rc = br__device_cast(b->device, b->grad + at, BR_F32, b->room, BR_BF16, n, err);
    }
    return rc;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* Where part q begins in the blocks. */
static size_t place_of(const struct br__store *s, const struct br__part *q)
{
    return (size_t)(br__store_grad(s, q) - s->grad);
}

static size_t part_elems(const struct br__part *q)
{
    return (size_t)(q->n_rows * q->n_cols);
}

/* Where a weight is used as it lies in a block; NULL: it is not. */
static void *place_in_block(const struct br__dstore *b, const struct br__store *s,
                            const struct br__param *p)
{
    size_t at = place_of(s, p->parts);
    for (size_t i = 0; i + 1 < p->n_parts; i++)
        if (place_of(s, &p->parts[i + 1]) - place_of(s, &p->parts[i]) != part_elems(&p->parts[i]))
            return NULL;
    if (p->stored.dtype == BR_F32)
        return s->half ? NULL : b->main + at;
    return (int)p->stored.dtype == s->half ? b->half + at : NULL;
}

/* The copy of a weight that is not used in a block. */
static int copy_weight(const struct br__dstore *b, const struct br__store *s,
                       const struct br__param *p, struct br_err *err)
{
    void *data;
    size_t size = br_dtype_size((int)p->stored.dtype);
    int rc = br__device_place(b->device, &p->stored, &data, err);
    unsigned char *to = data;
    for (size_t i = 0; i < p->n_parts && !rc; i++) {
        size_t at = place_of(s, &p->parts[i]), n = part_elems(&p->parts[i]);
        const void *from = s->half ? (const void *)(b->half + at) : (const void *)(b->main + at);
        rc = br__device_cast(b->device, to, (int)p->stored.dtype, from, s->half ? s->half : BR_F32,
                             n, err);
        to += n * size;
    }
    return rc;
}

/* The copies of trained params that were placed, from the given one on. */
static int copy_weights(const struct br__dstore *b, const struct br__store *s,
                        const struct br__params *params, size_t from, struct br_err *err)
{
    int rc = 0;
    for (size_t i = from; i < b->n_placed && !rc; i++)
        if (br__is_trained(params->w, params->list[i]) && !place_in_block(b, s, params->list[i]))
            rc = copy_weight(b, s, params->list[i], err);
    return rc;
}

int br__dstore_place(struct br__dstore *b, const struct br__store *s,
                     const struct br__params *params, struct br_err *err)
{
    size_t from = b->n_placed;
    int rc = 0;
    if (!is_away(b))
        return 0;
    for (; b->n_placed < params->n && !rc; b->n_placed++) {
        const struct br__param *p = params->list[b->n_placed];
        void *data = br__is_trained(params->w, p) ? place_in_block(b, s, p) : NULL;
        rc = data ? br__device_lend(b->device, &p->stored, data, err) : 0;
    }
    return rc ? rc : copy_weights(b, s, params, from, err);
}

int br__dstore_follow(struct br__dstore *b, const struct br__store *s,
                      const struct br__params *params, struct br_err *err)
{
    return is_away(b) ? copy_weights(b, s, params, 0, err) : 0;
}

int br__dstore_widen(struct br__dstore *b, struct br__store *s, int rounded, struct br_err *err)
{
    if (!is_away(b))
        return br__store_round(s, rounded, err);
    return s->half && !rounded && b->main
               ? br__device_cast(b->device, b->half, s->half, b->main, BR_F32, s->elems, err)
               : 0;
}

/* ---- from and to the store ------------------------------------------------------------------- */

int br__dstore_take(struct br__dstore *b, const struct br__store *s, struct br_err *err)
{
    int rc = 0;
    if (is_away(b) && b->main)
        rc = br__device_put(b->device, b->main, s->main, s->elems * sizeof *b->main, err);
    if (is_away(b) && b->half && !rc)
        rc = br__device_put(b->device, b->half, s->bf16, s->elems * sizeof *b->half, err);
    return rc;
}

int br__dstore_give(struct br__dstore *b, const struct br__store *s, struct br_err *err)
{
    int rc = 0;
    if (!is_away(b))
        return 0;
    if (b->main)
        rc = br__device_fetch(b->device, s->main, b->main, s->elems * sizeof *b->main, err);
    if (b->half && !rc)
        rc = br__device_fetch(b->device, s->bf16, b->half, s->elems * sizeof *b->half, err);
    return rc ? rc : br__device_fetch(b->device, s->grad, b->grad, s->elems * sizeof *b->grad, err);
}
