/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* first.c - a backend with two kernels: the start of one for a device with memory of its own.
 *
 * The device is played by this process: its memory is malloc's and its queue is done at once. Where
 * a real one differs, a comment says how. */
#include <bridge/backend.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct device {
    uint32_t index;
    /* A real one has a queue, and the first error of what was enqueued. */
};

/* ---- memory ---------------------------------------------------------------------------------- */

static void *alloc(void *device, size_t n)
{
    (void)device;
    return calloc(1, n ? n : 1);
}

static void release(void *device, void *p)
{
    (void)device;
    free(p);
}

/* Real ones: to the device, and back after all that was enqueued before.  download and sync return
 * the error that a kernel or a copy left behind. */
static int copy(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    (void)device;
    (void)err;
    memcpy(dst, src, n);
    return BR_OK;
}

static int sync(void *device, struct br_err *err)
{
    (void)device;
    (void)err;
    return BR_OK;
}

/* ---- kernels --------------------------------------------------------------------------------- */

/* Row r of a tensor that may be strided in every axis but the last. */
static float *row_of(const struct br_tensor *t, int64_t r)
{
    int64_t at = 0;
    for (uint32_t i = t->n_dim - 1; i-- > 0; r /= t->shape[i])
        at += r % t->shape[i] * t->stride[i];
    return (float *)t->data + at;
}

static int64_t rows_of(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i + 1 < t->n_dim; i++)
        n *= t->shape[i];
    return n;
}

/* A real one launches its kernel on c->stream->impl here, and returns. */
static void add(const struct br_call *c)
{
    int64_t cols = c->out->shape[c->out->n_dim - 1];
    for (int64_t r = 0; r < rows_of(c->out); r++) {
        const float *a = row_of(&c->in[0], r), *b = row_of(&c->in[1], r);
        float *out = row_of(c->out, r);
        for (int64_t i = 0; i < cols; i++)
            out[i] = a[i] + b[i];
    }
}

static void scale(const struct br_call *c)
{
    int64_t cols = c->out->shape[c->out->n_dim - 1];
    for (int64_t r = 0; r < rows_of(c->out); r++) {
        const float *x = row_of(&c->in[0], r);
        float *out = row_of(c->out, r);
        for (int64_t i = 0; i < cols; i++)
            out[i] = x[i] * (float)c->attr.f[0];
    }
}

static const struct br_kernel kernels[] = {
    {.op = BR_OP_ADD, .run = add},
    {.op = BR_OP_SCALE, .run = scale},
};

/* ---- the device ------------------------------------------------------------------------------ */

static int probe(char *why, size_t size)
{
    snprintf(why, size, "one imagined device");
    return 1; /* no more than the CPU's, so --device auto does not choose it */
}

static uint32_t count(void)
{
    return 1;
}

static int open_device(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                       struct br_err *err)
{
    struct device *d = calloc(1, sizeof *d);
    (void)n_threads;
    if (!d)
        return br_fail(err, BR_E_NOMEM, "first:%u: out of memory", index);
    d->index = index;
    *features = 0; /* bits that a row's `needs` may ask for */
    *device = d;
    return BR_OK;
}

static void close_device(void *device)
{
    free(device);
}

/* One stream.  The engine's function calls kernels on it, one after another. */
static void run(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg)
{
    const struct br_stream s = {.impl = device, .n_threads = 1};
    fn(arg, &s);
}

/* ---- what bridge asks for -------------------------------------------------------------------- */

br_backend_fn bridge_backend_v1;
BR_API const struct br_backend *bridge_backend_v1(void)
{
    static const struct br_backend self = {
        .struct_size = sizeof self,
        .built_with = BR_VERSION,
        .name = "first",
        .align = 256,
        .kernels = BR_ROWS(kernels),
        .probe = probe,
        .count = count,
        .open = open_device,
        .close = close_device,
        .alloc = alloc,
        .free = release,
        .upload = copy,
        .download = copy,
        .copy = copy,
        .sync = sync,
        .run = run,
    };
    return &self;
}
