/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backend.c - a backend of one kernel, built as several kinds, most of them wrong (KIND). */
#include <bridge/backend.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum {
    KIND_plain,
    KIND_short,    /* older: it ends before `plane` */
    KIND_tiny,     /* no backend is that short */
    KIND_long,     /* newer: a member behind the end, and it is set */
    KIND_longrow,  /* the same of a kernel's row */
    KIND_lacks,    /* no copy */
    KIND_align,    /* no power of two */
    KIND_misnamed, /* another file's name */
    KIND_unusable
};

static int probe(char *why, size_t size)
{
    static const char text[] = "no such device";
    if (size >= sizeof text)
        memcpy(why, text, sizeof text);
    return KIND == KIND_unusable ? 0 : 1;
}

static uint32_t count(void)
{
    return 2;
}

static int open_device(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                       struct br_err *err)
{
    static int devices[2];
    (void)n_threads;
    (void)err;
    devices[index] = (int)index;
    *device = &devices[index];
    *features = 0;
    return BR_OK;
}

static void close_device(void *device)
{
    (void)device;
}

static void *alloc(void *device, size_t n)
{
    (void)device;
    return calloc(1, n);
}

static void free_memory(void *device, void *p)
{
    (void)device;
    free(p);
}

static int copy(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    (void)device;
    (void)err;
    memcpy(dst, src, n);
    return BR_OK;
}

static void run(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg)
{
    const struct br_stream s = {.impl = device, .n_threads = 1};
    fn(arg, &s);
}

/* x * f0, of contiguous float32. */
static void scale(const struct br_call *c)
{
    const float *x = c->in[0].data;
    float *out = c->out->data;
    int64_t n = 1;
    for (uint32_t i = 0; i < c->out->n_dim; i++)
        n *= c->out->shape[i];
    for (int64_t i = 0; i < n; i++)
        out[i] = x[i] * (float)c->attr.f[0];
}

static const struct newer_row {
    struct br_kernel row;
    int64_t more;
} rows[] = {{{.op = BR_OP_SCALE, .run = scale}, KIND == KIND_longrow}};

#define STRING_(x) #x
#define STRING(x) STRING_(x)

static const struct newer {
    struct br_backend b;
    int64_t more;
} self = {
    .b = {.struct_size = KIND == KIND_short  ? offsetof(struct br_backend, plane)
                         : KIND == KIND_tiny ? 8
                         : KIND == KIND_long ? sizeof self
                                             : sizeof(struct br_backend),
          .built_with = BR_VERSION,
          .name = KIND == KIND_misnamed ? "other" : STRING(NAME),
          .align = KIND == KIND_align ? 48 : 0,
          .kernels = {&rows[0].row, 1, sizeof rows[0]},
          .probe = probe,
          .count = count,
          .open = open_device,
          .close = close_device,
          .alloc = alloc,
          .free = free_memory,
          .upload = copy,
          .download = copy,
          .copy = KIND == KIND_lacks ? NULL : copy,
          .run = run,
          /* An older backend may have any bytes behind its end. */
          .plane = KIND == KIND_short ? (const struct br_plane *)rows : NULL},
    .more = 1,
};

br_backend_fn bridge_backend_v1;
__attribute__((visibility("default"))) const struct br_backend *bridge_backend_v1(void)
{
    return &self.b;
}
