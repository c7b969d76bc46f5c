/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* device.c - memory of a device that its graphs share: weights, work memory, scratch. */
#include "graph_internal.h"

#include <string.h>

#define UPLOAD_BYTES ((size_t)4 << 20) /* bytes of a weight that are made and uploaded at once */

/* What holds the device's memory, and what to do about it. */
static int no_room(const struct br__device *d, const char *what, size_t n, struct br_err *err)
{
    if (br__device_is_host(d))
        return br__nomem(err, "for %s (%zu bytes)", what, n);
    return br_fail(
        err, BR_E_NOMEM,
        "device '%s' is out of memory for %s of %zu bytes, beside %zu of weights and %zu "
        "of activations and scratch; use a shorter --context, fewer prompts at once or "
        "more ranks",
        d->backend.name, what, n, d->placed_bytes, d->work_bytes + d->scratch_bytes);
}

/* ---- weights --------------------------------------------------------------------------------- */

static size_t stored_bytes(const struct br__stored *s)
{
    size_t n = br_dtype_size((int)s->dtype);
    for (uint32_t i = 0; i < s->n_dim; i++)
        n *= (size_t)s->shape[i];
    return n;
}

/* Piece by piece through host memory. */
static int device_fill(struct br__device *d, unsigned char *to, size_t n,
                       const struct br_source_bytes *from, struct br_err *err)
{
    unsigned char *piece = br__alloc(BR__MIN(n, UPLOAD_BYTES));
    int rc = piece ? 0 : br__nomem(err, "for a piece of a weight");
    for (size_t at = 0, k; at < n && !rc; at += k) {
        k = BR__MIN(n - at, UPLOAD_BYTES);
        rc = from->make(from->arg, piece, at, k, err);
        if (!rc)
            rc = d->backend.upload(d->device, to + at, piece, k, err);
    }
    br__free(piece);
    return rc;
}

static int device_upload(struct br__device *d, const struct br__stored *s, unsigned char *to,
                         size_t n, struct br_err *err)
{
    const struct br_backend *b = &d->backend;
    if (s->bytes.make)
        return b->fill ? b->fill(d->device, to, n, &s->bytes, d->n_threads, err)
                       : device_fill(d, to, n, &s->bytes, err);
    if (s->data)
        return b->upload(d->device, to, s->data, n, err);
    size_t each = n / (size_t)s->shape[0];
    int rc = 0;
    for (int64_t i = 0; i < s->shape[0] && !rc; i++)
        rc = b->upload(d->device, to + (size_t)i * each, s->parts[i], each, err);
    return rc;
}

/* NULL: it is not there. */
static struct br__placed *placed_of(const struct br__device *d, const struct br__stored *s)
{
    for (size_t i = 0; i < d->n_placed; i++)
        if (d->placed[i].stored == s)
            return &d->placed[i];
    return NULL;
}

int br__device_place(struct br__device *d, const struct br__stored *s, void **data,
                     struct br_err *err)
{
    const struct br__placed *there = placed_of(d, s);
    if (there) {
        *data = there->data;
        return 0;
    }
    size_t n = stored_bytes(s);
    if (br__grow(&d->placed, &d->cap_placed, d->n_placed, sizeof *d->placed))
        return br__nomem(err, "for weights");
    *data = d->backend.alloc(d->device, n);
    if (!*data)
        return no_room(d, "a weight", n, err);
    int rc = device_upload(d, s, *data, n, err);
    if (rc) {
        d->backend.free(d->device, *data);
        return rc;
    }
    d->placed[d->n_placed++] = (struct br__placed){.stored = s, .data = *data};
    d->placed_bytes += n;
    return 0;
}

int br__device_lend(struct br__device *d, const struct br__stored *s, void *data,
                    struct br_err *err)
{
    if (placed_of(d, s))
        BR_BUG("a weight that has a copy");
    if (br__grow(&d->placed, &d->cap_placed, d->n_placed, sizeof *d->placed))
        return br__nomem(err, "for weights");
    d->placed[d->n_placed++] = (struct br__placed){s, data, 1};
    return 0;
}

void br__device_drop_weights(struct br__device *d)
{
    for (size_t i = 0; i < d->n_placed; i++)
        if (!d->placed[i].is_lent)
            d->backend.free(d->device, d->placed[i].data);
    d->n_placed = d->placed_bytes = 0;
}

/* ---- work memory ----------------------------------------------------------------------------- */

static int device_grow(struct br__device *d, void **p, size_t *have, size_t want, const char *what,
                       struct br_err *err)
{
    if (*p && want <= *have)
        return 0;
    if (*p)
        d->backend.free(d->device, *p);
    *have = 0;
    d->generation++;
    /* A kernel may fetch a little beyond its last element. */
    *p = d->backend.alloc(d->device, want + 64);
    if (!*p)
        return no_room(d, what, want, err);
    *have = want;
    return 0;
}

int br__device_reserve(struct br__device *d, size_t work, size_t scratch, struct br_err *err)
{
    int rc = device_grow(d, &d->work, &d->work_bytes, work, "activations", err);
    return rc ? rc
              : device_grow(d, &d->scratch, &d->scratch_bytes, scratch, "kernels' scratch", err);
}

void *br__device_alloc(struct br__device *d, size_t n)
{
    return d->backend.alloc(d->device, n);
}

void br__device_free(struct br__device *d, void *p)
{
    if (p)
        d->backend.free(d->device, p);
}

int br__device_fetch(struct br__device *d, void *to, const void *from, size_t n, struct br_err *err)
{
    br__procs_waiting(1);
    int rc = d->backend.download(d->device, to, from, n, err);
    br__procs_waiting(0);
    return rc;
}

int br__device_sync(struct br__device *d, struct br_err *err)
{
    if (!d->backend.sync)
        return BR_OK;
    br__procs_waiting(1);
    int rc = d->backend.sync(d->device, err);
    br__procs_waiting(0);
    return rc;
}

int br__device_fetched(struct br__device *d, void *ticket, void *to, struct br_err *err)
{
    br__procs_waiting(1);
    int rc = d->backend.fetched(d->device, ticket, to, err);
    br__procs_waiting(0);
    return rc;
}

int br__device_put(struct br__device *d, void *to, const void *from, size_t n, struct br_err *err)
{
    return d->backend.upload(d->device, to, from, n, err);
}

int br__device_room(struct br__device *d, size_t n, void **room, struct br_err *err)
{
    int rc = br__device_reserve(d, 0, n, err);
    *room = d->scratch;
    return rc;
}

/* ---- one op by itself ------------------------------------------------------------------------ */

struct single {
    const struct br_kernel *kernel;
    struct br_call call;
    size_t scratch_bytes;
};

static void ask_single(void *arg, const struct br_stream *s)
{
    struct single *one = arg;
    struct br_call call = one->call;
    call.stream = s;
    if (s->thread == 0)
        one->scratch_bytes = one->kernel->scratch(&call);
}

static void run_single(void *arg, const struct br_stream *s)
{
    const struct single *one = arg;
    struct br_call call = one->call;
    call.stream = s;
    one->kernel->run(&call);
}

static const struct br_kernel *kernel_for(const struct br__device *d, const struct br_call *c)
{
    uint32_t in[BR_MAX_IN];
    for (uint32_t i = 0; i < c->n_in; i++)
        in[i] = c->in[i].dtype;
    return br__device_kernel(d, br__kernel_key(c->op, in, c->n_in, c->out->dtype));
}

int br__device_give(struct br__device *d, const struct br_call *c, struct br_err *err)
{
    struct single one = {.kernel = kernel_for(d, c), .call = *c};
    if (!one.kernel)
        return br_fail(err, BR_E_UNSUPPORTED, "device '%s' has no kernel for %s(%s)",
                       d->backend.name, br__ops[c->op].name, br_dtype_torch((int)c->in[0].dtype));
    one.call.struct_size = sizeof one.call;
    one.call.device = d->device;
    if (one.kernel->scratch)
        d->backend.run(d->device, ask_single, &one);
    int rc = br__device_reserve(d, 0, one.scratch_bytes, err);
    if (rc)
        return rc;
    one.call.scratch = d->scratch;
    d->backend.run(d->device, run_single, &one);
    return 0;
}

int br__device_stream(struct br__device *d, enum br_which_stream which, struct br_err *err)
{
    return d->backend.stream ? d->backend.stream(d->device, which, err) : 0;
}

int br__device_call(struct br__device *d, const struct br_call *c, struct br_err *err)
{
    int rc = br__device_give(d, c, err);
    return rc ? rc : br__device_sync(d, err);
}

/* ---- dtypes ---------------------------------------------------------------------------------- */

#define CAST_AT_ONCE ((size_t)1 << 20) /* elements that go through host memory */

/* Where the device has no kernel for it. */
static int cast_on_host(struct br__device *d, const struct br_tensor *to,
                        const struct br_tensor *from, struct br_err *err)
{
    size_t n = (size_t)to->shape[0], most = BR__MIN(n, CAST_AT_ONCE) + 1;
    size_t to_size = br_dtype_size((int)to->dtype), from_size = br_dtype_size((int)from->dtype);
    unsigned char *in = br__alloc(most * (from_size + to_size)), *out = in + most * from_size;
    int rc = in ? 0 : br__nomem(err, "for a piece of a tensor");
    for (size_t at = 0, k; at < n && !rc; at += k) {
        k = BR__MIN(n - at, CAST_AT_ONCE);
        rc = br__device_fetch(d, in, (const unsigned char *)from->data + at * from_size,
                              k * from_size, err);
        if (!rc) {
            br_cast(out, (int)to->dtype, in, (int)from->dtype, k, 0);
            rc = br__device_put(d, (unsigned char *)to->data + at * to_size, out, k * to_size, err);
        }
    }
    br__free(in);
    return rc;
}

int br__device_cast(struct br__device *d, void *to, int to_dtype, const void *from, int from_dtype,
                    size_t n, struct br_err *err)
{
    const struct br_tensor in = {.data = (void *)(uintptr_t)from,
                                 .dtype = (uint32_t)from_dtype,
                                 .n_dim = 1,
                                 .shape = {(int64_t)n},
                                 .stride = {1}};
    struct br_tensor out = in;
    out.data = to;
    out.dtype = (uint32_t)to_dtype;
    const struct br_call call = {
        .op = BR_OP_CAST, .n_in = 1, .n_out = 1, .in = &in, .out = &out, .attr.i = {to_dtype}};
    if (n == 0)
        return 0;
    if (from_dtype == to_dtype)
        return d->backend.copy(d->device, to, from, n * br_dtype_size(to_dtype), err);
    if (br__device_is_host(d)) {
        br_cast(to, to_dtype, from, from_dtype, n, 0);
        return 0;
    }
    return kernel_for(d, &call) ? br__device_give(d, &call, err) : cast_on_host(d, &out, &in, err);
}

void br__device_release(struct br__device *d)
{
    const struct br_backend *b = &d->backend;
    br__device_drop_weights(d);
    br__free(d->placed);
    if (d->work)
        b->free(d->device, d->work);
    if (d->scratch)
        b->free(d->device, d->scratch);
}

uint64_t br__device_bytes(const struct br__device *d)
{
    return d->work_bytes + d->scratch_bytes + d->placed_bytes;
}
