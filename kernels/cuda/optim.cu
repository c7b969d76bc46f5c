/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* optim.cu - the optimizer's passes over flat arrays. */
#include "host.cuh"

/* ---- SQUARE_SUMS ----------------------------------------------------------------------------- */

#define SQUARES_CHUNK 65536
#define SQUARES_PARTS 16

/* A block has a chunk.  Sums of every 16th element are made in double and added in order, as
 * ops.def has it: thread j of PARTS has part j. */
BR_KERNEL(32, 1) square_chunks(double *o, const void *x, uint32_t dtype, int64_t n)
{
    BR_SHARED(double, part, SQUARES_PARTS);
    const int64_t at = (int64_t)blockIdx.x * SQUARES_CHUNK, end = min_of(n, at + SQUARES_CHUNK);
    if (threadIdx.x < SQUARES_PARTS) {
        double sum = 0;
        for (int64_t i = at + threadIdx.x; i < end; i += SQUARES_PARTS) {
            const double v = read_as_f32(x, dtype, i);
            sum += v * v; /* a product of two float32 is exact in double */
        }
        part[threadIdx.x] = sum;
    }
    gpu_sync();
    if (threadIdx.x == 0) {
        double sum = 0;
        for (int j = 0; j < SQUARES_PARTS; j++)
            sum += part[j];
        o[blockIdx.x] = sum;
    }
}

#define ZEROS_THREADS 256

/* A block has a chunk. */
BR_KERNEL(ZEROS_THREADS, 1)
zero_chunks(double *o, const void *x, uint32_t dtype, int64_t n, float scale)
{
    BR_SHARED(int, part, ZEROS_THREADS);
    const int64_t at = (int64_t)blockIdx.x * SQUARES_CHUNK, end = min_of(n, at + SQUARES_CHUNK);
    int zeros = 0;
    for (int64_t i = at + threadIdx.x; i < end; i += ZEROS_THREADS)
        zeros += gpu_mul_rn(read_as_f32(x, dtype, i), scale) == 0;
    part[threadIdx.x] = zeros;
    gpu_sync();
    if (threadIdx.x == 0) {
        for (int j = 1; j < ZEROS_THREADS; j++)
            zeros += part[j];
        o[blockIdx.x] = zeros;
    }
}

ROW_FUNCTION(square_sums)
{
    const struct br_tensor *x = &c->in[0];
    if (c->attr.i[0]) {
        BR_LAUNCH(c, zero_chunks, (unsigned)c->out->shape[0], ZEROS_THREADS, 0,
                  (double *)c->out->data, (const void *)x->data, x->dtype, x->shape[x->n_dim - 1],
                  (float)c->attr.f[0]);
        return;
    }
    BR_LAUNCH(c, square_chunks, (unsigned)c->out->shape[0], 32, 0, (double *)c->out->data,
              (const void *)x->data, x->dtype, x->shape[x->n_dim - 1]);
}

/* ---- ADAMW ----------------------------------------------------------------------------------- */

struct adamw {
    float *main, *m, *v;
    const void *gradient;
    uint32_t dtype; /* of the gradient */
    const float *h; /* ops.def */
    bf16 *copy;     /* or NULL */
    int64_t n;
};

/* In the order of core/train/optim.c, each operation rounded: the same bits as on the CPU. */
BR_KERNEL(256, 1) adamw_step(struct adamw a)
{
    const float lr = a.h[0], beta1 = a.h[1], beta2 = a.h[2], eps = a.h[3], decay = a.h[4];
    const float correct1 = a.h[5], correct2 = a.h[6], scale = a.h[7];
    const float rest1 = gpu_sub_rn(1.f, beta1), rest2 = gpu_sub_rn(1.f, beta2);
    const int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += step) {
        const float g = gpu_mul_rn(read_as_f32(a.gradient, a.dtype, i), scale), p = a.main[i];
        const float m = gpu_add_rn(gpu_mul_rn(beta1, a.m[i]), gpu_mul_rn(rest1, g));
        const float v = gpu_add_rn(gpu_mul_rn(beta2, a.v[i]), gpu_mul_rn(gpu_mul_rn(rest2, g), g));
        const float mean = m / correct1, root = sqrtf(v / correct2);
        float update = mean / gpu_add_rn(root, eps);
        update = gpu_add_rn(update, gpu_mul_rn(decay, p));
        const float to = gpu_sub_rn(p, gpu_mul_rn(lr, update));
        a.main[i] = to;
        a.m[i] = m;
        a.v[i] = v;
        if (a.copy)
            a.copy[i] = bf16_of(to);
    }
}

ROW_FUNCTION(adamw)
{
    struct adamw a;
    a.main = (float *)c->out->data;
    a.m = (float *)c->in[1].data;
    a.v = (float *)c->in[2].data;
    a.gradient = c->in[3].data;
    a.dtype = c->in[3].dtype;
    a.h = (const float *)c->in[4].data;
    a.copy = c->n_in > 5 ? (bf16 *)c->in[5].data : nullptr;
    a.n = c->out->shape[c->out->n_dim - 1];
    BR_LAUNCH(c, adamw_step, (unsigned)min_of(div_up(a.n, 256), MAX_GRID_X), 256, 0, a);
}
