/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* peaks.c - what a device can do at best, measured: copies within its memory, and cuBLASLt's
 * products.
 *
 * Sizes follow from the number of multiprocessors alone, so that an H200 copies half a gigabyte,
 * ten times its L2 cache, and multiplies matrices that fill it.  Factors are random, since zeros,
 * which take less power, run faster. */
#include "product.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WIDTH 64                    /* of a product, for each multiprocessor: 8448 on an H200 */
#define PATTERN ((size_t)256 << 10) /* bytes of random numbers, repeated over the buffer */
#define RUNS 3                      /* of which the median counts */
#define TIMES 3                     /* in each run, one behind the other */

struct peak {
    struct br__cuda *d;
    unsigned char *buffer;
    size_t bytes;
    struct br__cuda_product product;
};

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds that `enqueue` takes once: median of runs, after one that is not counted. */
static int usual_seconds(struct peak *p, int (*enqueue)(struct peak *p, struct br_err *err),
                         double *seconds, struct br_err *err)
{
    double run[RUNS];
    int rc = enqueue(p, err);
    for (int i = 0; i < RUNS && !rc; i++) {
        rc = br__cuda_sync(p->d, err);
        double from = now();
        for (int j = 0; j < TIMES && !rc; j++)
            rc = enqueue(p, err);
        if (!rc)
            rc = br__cuda_sync(p->d, err);
        run[i] = (now() - from) / TIMES;
    }
    if (rc)
        return rc;
    qsort(run, RUNS, sizeof *run, by_value);
    *seconds = run[RUNS / 2];
    return BR_OK;
}

/* Factors between 1 and 2 in magnitude, of either sign: every second byte of a bfloat16 or the
 * upper half of a float32 is 0x3f or 0xbf, and the other bits are random. */
static int peak_fill(struct peak *p, struct br_err *err)
{
    uint16_t *pattern = malloc(PATTERN);
    uint32_t x = 2463534242u; /* xorshift */
    if (!pattern)
        return br_fail(err, BR_E_NOMEM, "out of memory for random numbers");
    for (size_t i = 0; i < PATTERN / sizeof *pattern; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern[i] = (uint16_t)(0x3f80u | (x & 0x807fu));
    }
    size_t done = p->bytes < PATTERN ? p->bytes : PATTERN;
    int rc = br__cuda_upload(p->d, p->buffer, pattern, done, err);
    free(pattern);
    for (size_t n; done < p->bytes && !rc; done += n) {
        n = p->bytes - done < done ? p->bytes - done : done;
        rc = br__cuda_copy(p->d, p->buffer + done, p->buffer, n, err);
    }
    return rc;
}

static int enqueue_copy(struct peak *p, struct br_err *err)
{
    size_t half = p->bytes / 2;
    return br__cuda_copy(p->d, p->buffer + half, p->buffer, half, err);
}

static int enqueue_product(struct peak *p, struct br_err *err)
{
    const struct br_call c = {.op = BR_OP_MATMUL, .device = p->d, .stream = &p->d->as_stream};
    if (!br__cuda_gemm(&c, &p->product))
        return br_fail(err, BR_E_UNSUPPORTED, "cuda:%d (%s): cuBLASLt has no plan for a product",
                       p->d->index, p->d->name);
    return BR_OK;
}

/* Products of two n x n matrices, which both lie in the buffer, and so does the result. */
static int peak_product(struct peak *p, uint32_t dtype, int64_t n, double *flops,
                        struct br_err *err)
{
    size_t size = (size_t)(n * n) * (dtype == BR_F32 ? 4 : 2);
    const struct br__cuda_mat a = {.data = p->buffer, .dtype = dtype, .ld = n},
                              b = {.data = p->buffer + size, .dtype = dtype, .ld = n};
    double seconds = 0;
    p->product = (struct br__cuda_product){.a = a,
                                           .b = b,
                                           .out = p->buffer + 2 * size,
                                           .out_dtype = dtype,
                                           .ldo = n,
                                           .m = n,
                                           .n = n,
                                           .k = n};
    int rc = usual_seconds(p, enqueue_product, &seconds, err);
    *flops = 2.0 * (double)n * (double)n * (double)n / seconds;
    return rc;
}

static int peaks_measure(struct peak *p, int64_t n, struct br_roofline *out, struct br_err *err)
{
    double seconds = 0;
    int rc = peak_fill(p, err);
    if (!rc)
        rc = usual_seconds(p, enqueue_copy, &seconds, err);
    if (rc)
        return rc;
    out->read_bytes = (double)p->bytes / seconds; /* half is read, half is written */
    rc = peak_product(p, BR_BF16, n, &out->matmul_flops, err);
    return rc ? rc : peak_product(p, BR_F32, n / 2, &out->f32_flops, err);
}

int br__cuda_roofline(void *device, const void *buf, size_t n, struct br_roofline *out,
                      struct br_err *err)
{
    struct br__cuda *d = device;
    (void)buf; /* read alone is no faster than a copy, and weights may be small */
    (void)n;
    memset(out, 0, sizeof *out);
    int64_t width = (int64_t)WIDTH * d->processors;
    struct peak p = {.d = d, .bytes = (size_t)(16 * width * width)};
    p.buffer = br__cuda_alloc(d, p.bytes);
    if (!p.buffer)
        return br_fail(err, BR_E_NOMEM,
                       "cuda:%d (%s): out of memory for %zu bytes to measure the device with",
                       d->index, d->name, p.bytes);
    int rc = peaks_measure(&p, width, out, err);
    snprintf(out->tier, sizeof out->tier, "cuBLASLt");
    br__cuda_free(d, p.buffer);
    return rc;
}
