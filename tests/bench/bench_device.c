/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bench_device [SCALE [DEVICE]] - kernels of a device (cuda) over shapes of Qwen3-8B, 30B-A3B and
 * Qwen3-Next, beside what the device can do at best.
 *
 * A line for each: what, microseconds, their unit, and which share of them its bytes at the rate of
 * a copy, or its products at the rate of large ones, would take.  A call is waited for each time;
 * what a call takes that computes one number is taken off.  SCALE divides tokens and experts, for a
 * device that is simulated.  BRIDGE_PLUGIN_PATH names the module's folder. */
#include "../../core/graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUNS 9                   /* of which the median counts */
#define PATTERN (1 << 20)        /* bytes of random numbers, repeated */
#define BUFFER ((size_t)4 << 30) /* inputs and results of one line, divided by SCALE */
#define LINES_OF_SEQS 5          /* numbers that describe a sequence */

struct bench {
    struct br__device dev;
    struct br_roofline peak;
    unsigned char *buffer;
    size_t bytes, used;
    double call; /* seconds of a call that does nothing */
    int failed;
};

struct line {
    struct bench *b;
    struct br_call call;
    struct br_tensor in[BR_MAX_IN], out;
    double bytes, flops;
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The next bytes of the buffer as a tensor; their values are random numbers of magnitude 1 to 2. */
static struct br_tensor take(struct bench *b, uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = {.data = b->buffer + b->used, .dtype = dtype, .n_dim = n_dim};
    size_t n = br_dtype_size((int)dtype);
    for (uint32_t i = n_dim; i-- > 0;) {
        t.shape[i] = shape[i];
        t.stride[i] = i + 1 < n_dim ? t.stride[i + 1] * shape[i + 1] : 1;
        n *= (size_t)shape[i];
    }
    b->used += (n + 255) / 256 * 256;
    if (b->used > b->bytes) {
        fprintf(stderr, "bench_device: a line wants %zu bytes, %zu are there\n", b->used, b->bytes);
        exit(1);
    }
    return t;
}
#define SHAPE(...)                                                                                 \
    sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (const int64_t[])                          \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

static void put_in(struct line *l, uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    l->in[l->call.n_in++] = take(l->b, dtype, n_dim, shape);
}

static void put_i32(struct line *l, const int32_t *values, uint32_t n_dim, const int64_t *shape)
{
    struct br_err err = BR_ERR_INIT;
    put_in(l, BR_I32, n_dim, shape);
    size_t n = sizeof *values * (size_t)(shape[0] * (n_dim > 1 ? shape[1] : 1));
    const struct br_backend *a = &l->b->dev.backend;
    if (a->upload(l->b->dev.device, l->in[l->call.n_in - 1].data, values, n, &err)) {
        fprintf(stderr, "bench_device: %s\n", err.msg);
        exit(1);
    }
}

static struct line begin(struct bench *b, uint32_t op)
{
    b->used = 0;
    return (struct line){.b = b, .call = {.op = op, .n_out = 1}};
}

/* ---- measuring ------------------------------------------------------------------------------- */

static int usual_seconds(struct line *l, double *seconds, struct br_err *err)
{
    double run[RUNS];
    l->call.in = l->in;
    l->call.out = &l->out;
    int rc = br__device_call(&l->b->dev, &l->call, err);
    for (int i = 0; i < RUNS && !rc; i++) {
        double from = now();
        rc = br__device_call(&l->b->dev, &l->call, err);
        run[i] = now() - from;
    }
    if (rc)
        return rc;
    qsort(run, RUNS, sizeof *run, by_value);
    *seconds = run[RUNS / 2];
    return BR_OK;
}

static void tell(struct line *l, const char *what)
{
    struct br_err err = BR_ERR_INIT;
    const struct br_roofline *peak = &l->b->peak;
    double seconds, floor_s = l->bytes / peak->read_bytes;
    if (usual_seconds(l, &seconds, &err)) {
        fprintf(stderr, "bench_device: %s: %s\n", what, err.msg);
        l->b->failed = 1;
        return;
    }
    seconds = seconds > 1.1 * l->b->call ? seconds - l->b->call : 0.1 * seconds;
    if (l->flops / peak->matmul_flops > floor_s)
        floor_s = l->flops / peak->matmul_flops;
    printf("%s\t%.1f\tus\t%.3f\n", what, seconds * 1e6, floor_s / seconds);
    fflush(stdout);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static void of_product(struct bench *b, const char *what, int64_t m, int64_t n, int64_t k)
{
    struct line l = begin(b, BR_OP_MATMUL);
    l.call.attr.i[0] = BR_BF16;
    put_in(&l, BR_BF16, SHAPE(m, k));
    put_in(&l, BR_BF16, SHAPE(n, k));
    l.out = take(b, BR_BF16, SHAPE(m, n));
    l.bytes = 2.0 * (double)(m * k + n * k + m * n);
    l.flops = 2.0 * (double)m * (double)n * (double)k;
    tell(&l, what);
}

/* r rows of e experts, as many of each; k channels become n. */
static void of_experts(struct bench *b, const char *what, int64_t r, int64_t e, int64_t n,
                       int64_t k)
{
    struct line l = begin(b, BR_OP_GROUPED_MATMUL);
    int32_t offsets[129];
    for (int64_t i = 0; i <= e; i++)
        offsets[i] = (int32_t)(r * i / e);
    l.call.attr.i[0] = BR_BF16;
    put_in(&l, BR_BF16, SHAPE(r, k));
    put_in(&l, BR_BF16, SHAPE(e, n, k));
    put_i32(&l, offsets, SHAPE(e + 1));
    l.out = take(b, BR_BF16, SHAPE(r, n));
    l.bytes = 2.0 * (double)(r * k + e * n * k + r * n);
    l.flops = 2.0 * (double)r * (double)n * (double)k;
    tell(&l, what);
}

/* The last t of s tokens of n sequences; 32 heads, 8 of keys, 128 channels. */
static void of_attention(struct bench *b, const char *what, int64_t n, int64_t t, int64_t s)
{
    enum { HQ = 32, HK = 8, D = 128, MANY = 64 };
    struct line l = begin(b, BR_OP_ATTENTION);
    int32_t seqs[MANY][LINES_OF_SEQS];
    for (int32_t i = 0; i < n; i++) {
        const int32_t row[] = {i * (int32_t)t, (int32_t)t, i * (int32_t)s, (int32_t)s, i};
        memcpy(seqs[i], row, sizeof row);
    }
    l.call.attr.f[0] = 0.088f;
    put_in(&l, BR_BF16, SHAPE(n * t, HQ, D));
    put_in(&l, BR_BF16, SHAPE(n * s, HK, D));
    put_in(&l, BR_BF16, SHAPE(n * s, HK, D));
    put_i32(&l, &seqs[0][0], SHAPE(n, LINES_OF_SEQS));
    l.out = take(b, BR_BF16, SHAPE(n * t, HQ, D));
    l.bytes = 2.0 * (double)n * (double)(2 * t * HQ * D + 2 * s * HK * D);
    double pairs = (double)t * ((double)s - 0.5 * (double)t);
    l.flops = 4.0 * (double)n * HQ * D * (pairs > 0 ? pairs : 1);
    tell(&l, what);
}

/* Qwen3-Next's delta net, t tokens of one sequence. */
static void of_delta_rule(struct bench *b, const char *what, int64_t t)
{
    enum { HK = 16, HV = 32, D = 128, CHUNK = 64 };
    struct line l = begin(b, BR_OP_DELTA_RULE);
    const int32_t seqs[LINES_OF_SEQS] = {0, (int32_t)t, 0, (int32_t)t, 0};
    l.call.attr.f[0] = 0.088f;
    put_in(&l, BR_BF16, SHAPE(t, HK, D));
    put_in(&l, BR_BF16, SHAPE(t, HK, D));
    put_in(&l, BR_BF16, SHAPE(t, HV, D));
    put_in(&l, BR_F32, SHAPE(t, HV));
    put_in(&l, BR_BF16, SHAPE(t, HV));
    put_i32(&l, seqs, SHAPE(1, LINES_OF_SEQS));
    l.out = take(b, BR_BF16, SHAPE(t, HV, D));
    l.bytes = 2.0 * (double)t * (2 * HK * D + 2 * HV * D);
    l.flops = (double)t * HV * D * (6.0 * D + 4.0 * CHUNK);
    tell(&l, what);
}

static void of_rows(struct bench *b, const char *what, uint32_t op, int64_t t, int64_t n)
{
    struct line l = begin(b, op);
    l.call.attr.f[0] = 1e-6f;
    put_in(&l, BR_BF16, SHAPE(t, n));
    if (op == BR_OP_RMSNORM)
        put_in(&l, BR_F32, SHAPE(n));
    else
        put_in(&l, BR_BF16, SHAPE(t, n));
    l.out = take(b, BR_BF16, SHAPE(t, n));
    l.bytes = 2.0 * (double)(t * n) * (op == BR_OP_RMSNORM ? 2 : 3);
    tell(&l, what);
}

/* Main weights, both moments, the gradient, and a copy of 16 bits. */
static void of_adamw(struct bench *b, const char *what, int64_t n)
{
    struct line l = begin(b, BR_OP_ADAMW);
    for (int i = 0; i < 4; i++)
        put_in(&l, BR_F32, SHAPE(n));
    put_in(&l, BR_F32, SHAPE(8));
    put_in(&l, BR_BF16, SHAPE(n));
    l.out = l.in[0];
    l.bytes = (double)n * (4 + 3 * 8 + 2);
    tell(&l, what);
}

static void all_lines(struct bench *b, int64_t scale)
{
    const int64_t t = 4096 / scale, part = scale < 16 ? scale : 16, e = 128 / part;
    of_product(b, "MATMUL 1 x 12288 x 4096", 1, 12288 / scale, 4096 / scale);
    of_product(b, "MATMUL 8 x 12288 x 4096", 8, 12288 / scale, 4096 / scale);
    of_product(b, "MATMUL 64 x 12288 x 4096", 64 / (scale < 8 ? scale : 8), 12288 / scale,
               4096 / scale);
    of_product(b, "MATMUL 4096 x 12288 x 4096", t, 12288 / scale, 4096 / scale);
    of_experts(b, "GROUPED_MATMUL 8 rows, 128 experts", 8, e, 768 / part, 2048 / part);
    of_experts(b, "GROUPED_MATMUL 32768 rows, 128 experts", 8 * t, e, 768 / part, 2048 / part);
    of_attention(b, "ATTENTION 1 of 4096", 1, 1, t);
    of_attention(b, "ATTENTION 1 of 4096, 8 sequences", 8, 1, t);
    of_attention(b, "ATTENTION 4096", 1, t, t);
    of_delta_rule(b, "DELTA_RULE 4096", t);
    of_rows(b, "RMSNORM 4096 x 4096", BR_OP_RMSNORM, t, 4096 / scale);
    of_rows(b, "SWIGLU 4096 x 12288", BR_OP_SWIGLU, t, 12288 / scale);
    of_rows(b, "ADD 4096 x 4096", BR_OP_ADD, t, 4096 / scale);
    of_adamw(b, "ADAMW 100 million", 100000000 / scale / scale);
}

static int buffer_fill(struct bench *b, struct br_err *err)
{
    const struct br_backend *a = &b->dev.backend;
    uint16_t *pattern = malloc(PATTERN);
    uint32_t x = 2463534242u; /* xorshift */
    if (!pattern || !(b->buffer = br__device_alloc(&b->dev, b->bytes))) {
        free(pattern);
        return br_fail(err, BR_E_NOMEM, "out of memory for %zu bytes", b->bytes);
    }
    for (size_t i = 0; i < PATTERN / sizeof *pattern; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        pattern[i] = (uint16_t)(0x3f80u | (x & 0x807fu));
    }
    size_t done = b->bytes < PATTERN ? b->bytes : PATTERN;
    int rc = a->upload(b->dev.device, b->buffer, pattern, done, err);
    free(pattern);
    for (size_t n; done < b->bytes && !rc; done += n) {
        n = b->bytes - done < done ? b->bytes - done : done;
        rc = a->copy(b->dev.device, b->buffer + done, b->buffer, n, err);
    }
    return rc;
}

int main(int argc, char **argv)
{
    const char *dir = getenv("BRIDGE_PLUGIN_PATH"), *name = argc > 2 ? argv[2] : "cuda";
    const struct br__dirs dirs = {&dir, dir != NULL};
    struct br_err err = BR_ERR_INIT;
    int64_t scale = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
    struct bench b = {.bytes = scale > 0 ? BUFFER / (size_t)scale : 0};
    int rc = scale > 0 ? br__device_open(&b.dev, name, &dirs, 0, 1, &err)
                       : br_fail(&err, BR_E_USAGE, "SCALE is a whole number from 1");
    if (!rc)
        rc = b.dev.backend.roofline
                 ? b.dev.backend.roofline(b.dev.device, NULL, 0, &b.peak, &err)
                 : br_fail(&err, BR_E_UNSUPPORTED, "'%s' cannot measure its ceilings", name);
    if (!rc)
        rc = buffer_fill(&b, &err);
    if (!rc) {
        struct line l = begin(&b, BR_OP_SIGMOID);
        put_in(&l, BR_F32, SHAPE(1));
        l.out = take(&b, BR_F32, SHAPE(1));
        rc = usual_seconds(&l, &b.call, &err);
    }
    if (!rc)
        all_lines(&b, scale);
    if (rc)
        fprintf(stderr, "bench_device: %s\n", err.msg);
    br__device_free(&b.dev, b.buffer);
    br__device_close(&b.dev);
    return rc || b.failed;
}
