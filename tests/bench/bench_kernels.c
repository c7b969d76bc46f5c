/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bench_kernels [THREADS [SECONDS]] - the matrix products beside this machine's ceilings.
 *
 * Shapes are those of Qwen3-0.6B.  Each line cycles through enough copies of a weight that none is
 * in a cache, as in a model.  Other processes may take a core for milliseconds, so both ceilings
 * and products are timed in runs of about two, and the best tenth counts. */
#include "../../core/base/base.h"
#include <bridge/backend.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_RUNS 1000
#define WEIGHT_BYTES ((size_t)192 << 20)

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static double now(void)
{
    return 1e-9 * (double)nanoseconds(CLOCK_MONOTONIC);
}

struct bench {
    const struct br_backend *backend;
    void *device;
    uint64_t features;
    struct br_roofline roofline;
    char *weights; /* WEIGHT_BYTES */
    float *x, *out;
    void *scratch;
    double seconds; /* for each line */
};

struct job {
    const struct br_kernel *row;
    struct br_call call;
    struct br_tensor in[2], out;
    uint32_t n_threads;
    size_t step; /* bytes from one weight to the next */
    int n;
    _Atomic int64_t cpu_ns; /* of all threads */
};

static void on_thread(void *arg, const struct br_stream *s)
{
    struct job *j = arg;
    struct br_call c = j->call;
    struct br_tensor in[2] = {j->in[0], j->in[1]};
    c.in = in;
    c.out = &j->out;
    c.stream = s;
    int64_t begin = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < j->n; i++) {
        in[1].data = (char *)j->in[1].data + (size_t)i * j->step;
        j->row->run(&c);
        s->sync(s);
    }
    j->cpu_ns += nanoseconds(CLOCK_THREAD_CPUTIME_ID) - begin;
}

static void ask_scratch(void *arg, const struct br_stream *s)
{
    struct job *j = arg;
    struct br_call c = j->call;
    c.in = j->in;
    c.out = &j->out;
    c.stream = s;
    if (s->thread == 0) {
        j->n_threads = s->n_threads;
        j->step = j->row->scratch ? j->row->scratch(&c) : 0;
    }
}

static const struct br_kernel *find(const struct bench *b, uint32_t op, uint32_t dtype)
{
    for (uint32_t i = 0; i < b->backend->kernels.n; i++) {
        const struct br_kernel *k = &b->backend->kernels.rows[i];
        if (k->op == op && !(k->needs & ~b->features) && (k->weights & BR_BIT(dtype)))
            return k;
    }
    return NULL;
}

static struct br_tensor view(void *p, uint32_t dtype, int64_t rows, int64_t cols)
{
    return (struct br_tensor){
        .data = p, .dtype = dtype, .n_dim = 2, .shape = {rows, cols}, .stride = {cols, 1}};
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Seconds for one product: the tenth part of the runs is faster. */
static double measure(struct bench *b, struct job *j, int n_weights)
{
    static double s[MAX_RUNS];
    int n = 0, at = 0;
    char *first = j->in[1].data;
    for (double begin = now(); n < MAX_RUNS && (n < 5 || now() - begin < b->seconds); n++) {
        at = at + j->n > n_weights ? 0 : at;
        j->in[1].data = first + (size_t)at * j->step;
        at += j->n;
        j->cpu_ns = 0;
        b->backend->run(b->device, on_thread, j);
        s[n] = 1e-9 * (double)j->cpu_ns / j->n_threads / j->n;
    }
    qsort(s, (size_t)n, sizeof s[0], by_value);
    return s[n / 10];
}

static double line(struct bench *b, uint32_t op, uint32_t dtype, int64_t m, int64_t n, int64_t k)
{
    struct job j = {.row = find(b, op, dtype), .call = {.op = op, .n_in = 2, .n_out = 1}, .n = 1};
    size_t size = dtype == BR_F32 ? 4 : 2, bytes = (size_t)(n * k) * size;
    double flops = 2.0 * (double)m * (double)n * (double)k;
    j.call.attr.i[0] = BR_BF16;
    j.in[0] = view(b->x, BR_F32, m, op == BR_OP_MATMUL ? k : n);
    j.in[1] = view(b->weights, dtype, n, k);
    j.out = view(b->out, BR_F32, m, op == BR_OP_MATMUL ? n : k);
    b->backend->run(b->device, ask_scratch, &j);
    j.call.scratch = b->backend->alloc(b->device, j.step + 64);
    j.step = (bytes + 4095) / 4096 * 4096;
    int n_weights = (int)(WEIGHT_BYTES / j.step);
    double guess = flops / b->roofline.matmul_flops + (double)bytes / b->roofline.read_bytes;
    j.n = 0.002 / guess < 1 ? 1 : (int)(0.002 / guess);
    j.n = j.n > n_weights ? n_weights : j.n;
    double s = measure(b, &j, n_weights), gbs = (double)bytes / s, rate = flops / s;
    printf("%-10s %-5s %5ld %6ld %6ld %8.2f %9.1f   %5.2f %5.2f\n",
           op == BR_OP_MATMUL ? "matmul" : "matmul_nn", br_dtype_st((int)dtype), (long)m, (long)n,
           (long)k, gbs / 1e9, rate / 1e9, gbs / b->roofline.read_bytes,
           rate / b->roofline.matmul_flops);
    b->backend->free(b->device, j.call.scratch);
    return s;
}

static void fill(struct bench *b, int64_t n_x)
{
    for (int64_t i = 0; i < n_x; i++)
        b->x[i] = (float)(i % 17 - 8) / 8;
    for (size_t i = 0; i < WEIGHT_BYTES / 2; i++) {
        uint16_t h = (uint16_t)(0x3C00 + i % 199); /* small in bfloat16, about 1 in float16 */
        memcpy(b->weights + 2 * i, &h, 2);
    }
}

static void table(struct bench *b)
{
    static const int64_t shapes[][2] = {{3072, 1024}, {1024, 3072}, {4096, 1024}, {1024, 2048}};
    static const int64_t rows[] = {1, 2, 4, 8, 16, 32, 128, 512};
    printf("\n%-10s %-5s %5s %6s %6s %8s %9s   %5s %5s\n", "op", "w", "rows", "n", "k", "GB/s",
           "GFLOP/s", "read", "peak");
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        for (size_t s = 0; s < BR_COUNTOF(shapes); s++)
            line(b, BR_OP_MATMUL, BR_BF16, rows[i], shapes[s][0], shapes[s][1]);
    line(b, BR_OP_MATMUL, BR_BF16, 1, 65536, 1024);
    line(b, BR_OP_MATMUL, BR_F32, 1, 3072, 1024);
    line(b, BR_OP_MATMUL, BR_F16, 1, 3072, 1024);
    line(b, BR_OP_MATMUL, BR_F32, 512, 3072, 1024);
    line(b, BR_OP_MATMUL_NN, BR_BF16, 512, 3072, 1024);
}

int main(int argc, char **argv)
{
    struct bench b = {.backend = br__cpu_backend(),
                      .seconds = argc > 2 ? strtod(argv[2], NULL) : 0.3};
    uint32_t threads = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : (uint32_t)br__cpu_count();
    struct br_err err = BR_ERR_INIT;
    const int64_t n_x = 512 * 4096, n_out = 512 * 65536;
    if (b.backend->open(&b.device, 0, threads, &b.features, &err) != 0) {
        fprintf(stderr, "bench_kernels: %s\n", err.msg);
        return 1;
    }
    b.weights = b.backend->alloc(b.device, WEIGHT_BYTES);
    b.x = b.backend->alloc(b.device, (size_t)n_x * 4);
    b.out = b.backend->alloc(b.device, (size_t)n_out * 4);
    if (!b.weights || !b.x || !b.out)
        return 1;
    fill(&b, n_x);
    if (b.backend->roofline(b.device, NULL, 0, &b.roofline, &err) != 0)
        return 1;
    printf("%s: read %.1f GB/s, f32 %.0f GFLOP/s, matmul %.0f GFLOP/s\n", b.roofline.tier,
           b.roofline.read_bytes / 1e9, b.roofline.f32_flops / 1e9, b.roofline.matmul_flops / 1e9);
    table(&b);
    b.backend->free(b.device, b.weights);
    b.backend->free(b.device, b.x);
    b.backend->free(b.device, b.out);
    b.backend->close(b.device);
    return 0;
}
