/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* staged.c - a device's communicator for buffers in host memory: what is sent is copied to the
 * device, what comes from there back, a piece at a time.
 *
 * So ranks that have GPUs and no MPI talk to each other.  A call is over when it returns, as those
 * of the other planes for host memory. */
#include "processes.h"

#define PIECE ((size_t)16 << 20) /* bytes on the device, of a call that can be cut */

/* Room on the device, of all communicators of a rank. */
struct room {
    const struct br_backend *backend;
    void *device;
    char *at;
    size_t n;
    uint32_t users;
};
struct staged {
    struct br_comm comm, *under;
    struct room *room;
};

static size_t size_of(uint32_t dtype)
{
    return br_dtype_size((int)dtype);
}

/* Elements of each rank that a piece has. */
static size_t piece_of(uint32_t dtype, uint32_t parts)
{
    return BR__MAX(PIECE / size_of(dtype) / parts, (size_t)1);
}

/* Bytes that a buffer takes up where others follow it. */
static size_t aligned(size_t n)
{
    return (n + 255) & ~(size_t)255;
}

static int room_for(struct room *r, size_t n, struct br_err *err)
{
    if (n <= r->n)
        return BR_OK;
    if (r->at)
        r->backend->free(r->device, r->at);
    r->n = 0;
    r->at = r->backend->alloc(r->device, n);
    if (!r->at)
        return br_fail(err, BR_E_NOMEM, "the device has no room for %zu bytes between ranks", n);
    r->n = n;
    return BR_OK;
}

static int put(const struct staged *s, size_t at, const void *from, size_t n, struct br_err *err)
{
    const struct room *r = s->room;
    return n ? r->backend->upload(r->device, r->at + at, from, n, err) : BR_OK;
}

/* Waits for what came before. */
static int fetch(const struct staged *s, void *to, size_t at, size_t n, struct br_err *err)
{
    const struct room *r = s->room;
    return n ? r->backend->download(r->device, to, r->at + at, n, err) : BR_OK;
}

#define EVERY_RANK UINT32_MAX

/* The sum over all ranks, or what `root` has. */
static int in_place(const struct staged *s, void *buf, size_t n, uint32_t dtype, uint32_t root,
                    struct br_err *err)
{
    const struct br_comm_ops *ops = s->under->ops;
    size_t size = size_of(dtype), most = BR__MIN(n, piece_of(dtype, 1)), k;
    int is_sum = root == EVERY_RANK, rc = room_for(s->room, most * size, err);
    for (size_t at = 0; at < n && !rc; at += k) {
        char *p = (char *)buf + at * size;
        k = BR__MIN(n - at, most);
        if (is_sum || s->comm.rank == root)
            rc = put(s, 0, p, k * size, err);
        if (!rc)
            rc = is_sum ? ops->all_reduce(s->under, s->room->at, k, dtype, err)
                        : ops->broadcast(s->under, s->room->at, k, dtype, root, err);
        if (!rc)
            rc = fetch(s, p, 0, k * size, err);
    }
    return rc;
}

static int staged_all_reduce(struct br_comm *c, void *buf, size_t n, uint32_t dtype,
                             struct br_err *err)
{
    return in_place(c->self, buf, n, dtype, EVERY_RANK, err);
}

static int staged_broadcast(struct br_comm *c, void *buf, size_t n, uint32_t dtype, uint32_t root,
                            struct br_err *err)
{
    return in_place(c->self, buf, n, dtype, root, err);
}

/* On the device: a piece of every rank's, then this rank's. */
static int staged_all_gather(struct br_comm *c, void *out, const void *in, size_t n, uint32_t dtype,
                             struct br_err *err)
{
    const struct staged *s = c->self;
    size_t size = size_of(dtype), most = BR__MIN(n, piece_of(dtype, c->size)), k;
    size_t mine = c->size * most * size;
    int rc = room_for(s->room, mine + most * size, err);
    for (size_t at = 0; at < n && !rc; at += k) {
        k = BR__MIN(n - at, most);
        rc = put(s, mine, (const char *)in + at * size, k * size, err);
        if (!rc)
            rc =
                s->under->ops->all_gather(s->under, s->room->at, s->room->at + mine, k, dtype, err);
        for (uint32_t r = 0; r < c->size && !rc; r++)
            rc = fetch(s, (char *)out + (r * n + at) * size, r * k * size, k * size, err);
    }
    return rc;
}

static int staged_reduce_scatter(struct br_comm *c, void *out, const void *in, size_t n,
                                 uint32_t dtype, struct br_err *err)
{
    const struct staged *s = c->self;
    size_t size = size_of(dtype), most = BR__MIN(n, piece_of(dtype, c->size)), k;
    size_t mine = c->size * most * size;
    int rc = room_for(s->room, mine + most * size, err);
    for (size_t at = 0; at < n && !rc; at += k) {
        k = BR__MIN(n - at, most);
        for (uint32_t r = 0; r < c->size && !rc; r++)
            rc = put(s, r * k * size, (const char *)in + (r * n + at) * size, k * size, err);
        if (!rc)
            rc = s->under->ops->reduce_scatter(s->under, s->room->at + mine, s->room->at, k, dtype,
                                               err);
        if (!rc)
            rc = fetch(s, (char *)out + at * size, mine, k * size, err);
    }
    return rc;
}

static int staged_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts,
                             const void *in, const size_t *send_counts, uint32_t dtype,
                             struct br_err *err)
{
    const struct staged *s = c->self;
    size_t size = size_of(dtype), n_in = 0, n_out = 0;
    for (uint32_t r = 0; r < c->size; r++) {
        n_in += send_counts[r] * size;
        n_out += recv_counts[r] * size;
    }
    size_t at = aligned(n_out);
    int rc = room_for(s->room, at + n_in + 1, err);
    if (!rc)
        rc = put(s, at, in, n_in, err);
    if (!rc)
        rc = s->under->ops->all_to_all(s->under, s->room->at, recv_counts, s->room->at + at,
                                       send_counts, dtype, err);
    return rc ? rc : fetch(s, out, 0, n_out, err);
}

/* Each buffer has a place on the device. */
static int staged_exchange(struct br_comm *c, const struct br_p2p *ops, size_t n,
                           struct br_err *err)
{
    const struct staged *s = c->self;
    size_t bytes = 0;
    struct br_p2p *there = br__calloc(n + 1, sizeof *there);
    if (!there)
        return br__nomem(err, "for an exchange of ranks");
    for (size_t i = 0; i < n; i++)
        bytes += aligned(ops[i].n * size_of(ops[i].dtype));
    int rc = room_for(s->room, bytes + 1, err);
    bytes = 0;
    for (size_t i = 0; i < n && !rc; i++) {
        size_t k = ops[i].n * size_of(ops[i].dtype);
        there[i] = ops[i];
        there[i].buf = s->room->at + bytes;
        if (ops[i].is_send)
            rc = put(s, bytes, ops[i].buf, k, err);
        bytes += aligned(k);
    }
    if (!rc)
        rc = s->under->ops->exchange(s->under, there, n, err);
    for (size_t i = 0; i < n && !rc; i++)
        if (!ops[i].is_send)
            rc = fetch(s, ops[i].buf, (size_t)((char *)there[i].buf - s->room->at),
                       ops[i].n * size_of(ops[i].dtype), err);
    br__free(there);
    return rc;
}

static void staged_abort(struct br_comm *c)
{
    const struct staged *s = c->self;
    s->under->ops->abort(s->under);
}

static void staged_close(struct br_comm *c)
{
    struct staged *s = c->self;
    s->under->ops->close(s->under);
    if (--s->room->users == 0) {
        if (s->room->at)
            s->room->backend->free(s->room->device, s->room->at);
        br__free(s->room);
    }
    br__free(s);
}

static void staged_describe(struct br_comm *c, const char *group, int is_watched)
{
    const struct staged *s = c->self;
    br__comm_describe(s->under, group, is_watched);
}

static int staged_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                        struct br_err *err);

static const struct br_comm_ops ops_of_staged = {
    .struct_size = sizeof ops_of_staged,
    .all_reduce = staged_all_reduce,
    .all_gather = staged_all_gather,
    .reduce_scatter = staged_reduce_scatter,
    .all_to_all = staged_all_to_all,
    .broadcast = staged_broadcast,
    .exchange = staged_exchange,
    .split = staged_split,
    .abort = staged_abort,
    .close = staged_close,
    .describe = staged_describe,
};

/* It owns `under`, also where it fails. */
static int staged_make(struct room *room, struct br_comm *under, struct br_comm **out,
                       struct br_err *err)
{
    struct staged *s = br__calloc(1, sizeof *s);
    if (!s) {
        under->ops->close(under);
        return br__nomem(err, "for a group of ranks");
    }
    *s = (struct staged){{&ops_of_staged, s, under->rank, under->size}, under, room};
    room->users++;
    *out = &s->comm;
    return BR_OK;
}

static int staged_split(struct br_comm *c, uint32_t color, uint32_t key, struct br_comm **out,
                        struct br_err *err)
{
    const struct staged *s = c->self;
    struct br_comm *part;
    *out = NULL;
    int rc = s->under->ops->split(s->under, color, key, &part, err);
    return rc ? rc : staged_make(s->room, part, out, err);
}

int br__staged_open(const struct br_backend *backend, void *device, struct br_comm *under,
                    struct br_comm **out, struct br_err *err)
{
    struct room *room = br__calloc(1, sizeof *room);
    if (!room) {
        under->ops->close(under);
        return br__nomem(err, "for a group of ranks");
    }
    *room = (struct room){.backend = backend, .device = device};
    int rc = staged_make(room, under, out, err);
    if (rc)
        br__free(room);
    return rc;
}
