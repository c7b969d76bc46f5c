/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* kernels.cu - faults in kernels.  The line that a report must name carries the fault's name. */
#include "../../../kernels/cuda/gpu.cuh"
#include "planted.h"

#define LAUNCH(kernel, grid, block, dyn, ...)                                                      \
    BR_CUDASIM_LAUNCH(planted_stream(0), kernel, grid, block, dyn, __VA_ARGS__)

/* ---- memory ---------------------------------------------------------------------------------- */

/* y[i] = x[n - 1 - i] of a block */
BR_KERNEL(64, 1) reverse_block(float *y, const float *x)
{
    BR_SHARED(float, row, 64);
    unsigned i = threadIdx.x;
    row[i] = x[blockIdx.x * 64 + i];
    gpu_sync();
    y[blockIdx.x * 64 + i] = row[PLANT(64, 63) - i]; /* planted: shared_end */
}
int br__planted_shared_end(void)
{
    float *y = (float *)planted_room(512), first[] = {63, 62};
    LAUNCH(reverse_block, 2, 64, 0, y, planted_floats(128));
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) add_next(float *y, const float *x, unsigned n)
{
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x)
        y[i] = x[i] + (i + PLANT(0, 1) < n ? x[i + 1] : 0); /* planted: global_end */
}
int br__planted_global_end(void)
{
    float *y = (float *)planted_room(400), first[] = {1, 3};
    LAUNCH(add_next, 1, 64, 0, y, planted_floats(100), 100u);
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) add_previous(float *y, const float *x)
{
    int i = (int)threadIdx.x;
    y[i] = x[i] + (PLANT(true, i > 0) ? x[i - 1] : 0); /* planted: global_begin */
}
int br__planted_global_begin(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 1};
    LAUNCH(add_previous, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) twice(float *y, const float *x)
{
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = 2 * x[i]; /* planted: freed host_pointer other_device stale_recording */
}
int br__planted_freed(void)
{
    float *y = (float *)planted_room(256), *x, first[] = {0, 0};
    OK(cudaMalloc((void **)&x, 256));
    OK(cudaMemsetAsync(x, 0, 256, planted_stream(0)));
    OK(cudaStreamSynchronize(planted_stream(0)));
    LAUNCH(twice, 1, 64, 0, y, x);
    PLANT(, OK(cudaStreamSynchronize(planted_stream(0)));)
    OK(cudaFree(x));
    return planted_differs(y, first, 2);
}
int br__planted_host_pointer(void)
{
    static float host[64];
    float *y = (float *)planted_room(256), first[] = {0, 0};
    float *device = (float *)planted_upload(host, sizeof host);
    LAUNCH(twice, 1, 64, 0, y, (PLANT(true, false) ? host : device));
    return planted_differs(y, first, 2);
}
int br__planted_other_device(void)
{
    float *y = (float *)planted_room(256), *x = planted_floats(64), *far, first[] = {0, 2};
    OK(cudaSetDevice(1));
    OK(cudaMalloc((void **)&far, 256));
    OK(cudaSetDevice(0));
    LAUNCH(twice, 1, 64, 0, y, (PLANT(true, false) ? far : x));
    int differs = planted_differs(y, first, 2);
    OK(cudaSetDevice(1));
    OK(cudaFree(far));
    return differs;
}
int br__planted_stale_recording(void)
{
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    float *y = (float *)planted_room(256), *x, first[] = {0, 0};
    OK(cudaMalloc((void **)&x, 256));
    OK(cudaMemsetAsync(x, 0, 256, planted_stream(0)));
    OK(cudaStreamBeginCapture(planted_stream(0), cudaStreamCaptureModeThreadLocal));
    LAUNCH(twice, 1, 64, 0, y, x);
    OK(cudaStreamEndCapture(planted_stream(0), &graph));
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, planted_stream(0)));
    OK(cudaStreamSynchronize(planted_stream(0)));
    PLANT(OK(cudaFree(x)), (void)0);
    OK(cudaGraphLaunch(exec, planted_stream(0)));
    OK(cudaStreamSynchronize(planted_stream(0)));
    PLANT((void)0, OK(cudaFree(x)));
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) gather(float *y, const float *x, const int32_t *rows, int n)
{
    unsigned i = threadIdx.x;
    int r = rows[i];
    y[i] = r >= 0 && r < PLANT(n << 20, n) ? x[r] : 0; /* planted: unchecked_index */
}
int br__planted_unchecked_index(void)
{
    int32_t rows[64] = {3, 1, 1 << 20};
    float *y = (float *)planted_room(256), first[] = {3, 1, 0};
    LAUNCH(gather, 1, 64, 0, y, planted_floats(64), (int32_t *)planted_upload(rows, sizeof rows),
           64);
    return planted_differs(y, first, 3);
}

/* Row r of x, of which only the first and the last are there. */
BR_KERNEL(32, 1) far_row(float *y, const float *x, int r, int stride)
{
    PLANT(int, int64_t) at = (PLANT(int, int64_t))((PLANT(unsigned, uint64_t))r * (unsigned)stride);
    y[threadIdx.x] = x[at - ((int64_t)1 << 31) + threadIdx.x]; /* planted: int_overflow */
}
int br__planted_int_overflow(void)
{
    float *y = (float *)planted_room(128), first[] = {0, 1};
    LAUNCH(far_row, 1, 32, 0, y, planted_floats(32), 1 << 15, 1 << 16);
    return planted_differs(y, first, 2);
}

struct alignas(16) four {
    float v[4];
};
BR_KERNEL(32, 1) sum_fours(float *y, const float *x, unsigned stride)
{
    four a = *(const four *)(x + threadIdx.x * stride); /* planted: misaligned_row */
    y[threadIdx.x] = a.v[0] + a.v[1] + a.v[2] + a.v[3];
}
int br__planted_misaligned_row(void)
{
    float *y = (float *)planted_room(128), first[] = {6};
    LAUNCH(sum_fours, 1, 32, 0, y, planted_floats(256), PLANT(6u, 8u));
    return planted_differs(y, first, 1);
}

/* ---- init ------------------------------------------------------------------------------------ */

BR_KERNEL(64, 1) pad_row(float *y, const float *x, unsigned n)
{
    BR_SHARED(float, row, 64);
    unsigned i = threadIdx.x;
    if (i < n)
        row[i] = x[i];
    PLANT(, else row[i] = 0;)
    gpu_sync();
    y[i] = row[63 - i]; /* planted: shared_uninit */
}
int br__planted_shared_uninit(void)
{
    float *y = (float *)planted_room(256), first[] = {0};
    LAUNCH(pad_row, 1, 64, 0, y, planted_floats(64), 48u);
    return planted_differs(y, first, 1);
}

BR_KERNEL(64, 1) accumulate(float *sum, const float *x)
{
    sum[threadIdx.x] += x[threadIdx.x]; /* planted: global_uninit */
}
int br__planted_global_uninit(void)
{
    float *sum = (float *)planted_room(256), first[] = {0, 1};
    PLANT(, OK(cudaMemsetAsync(sum, 0, 256, planted_stream(0)));)
    LAUNCH(accumulate, 1, 64, 0, sum, planted_floats(64));
    return planted_differs(sum, first, 2);
}

BR_KERNEL(32, 1) copy_once(float *y, const float *x)
{
    BR_SHARED(float, tile, 128);
    unsigned i = threadIdx.x;
    gpu_copy16_async(&tile[4 * i], x + 4 * i, true);
    gpu_copy_commit();
    PLANT(, gpu_copy_wait<0>();)
    gpu_sync();
    for (unsigned k = 0; k < 4; k++)
        y[i + 32 * k] = tile[i + 32 * k]; /* planted: async_no_wait */
}
int br__planted_async_no_wait(void)
{
    float *y = (float *)planted_room(512), first[] = {0, 1};
    LAUNCH(copy_once, 1, 32, 0, y, planted_floats(128));
    return planted_differs(y, first, 2);
}

BR_KERNEL(32, 1) copy_staged(float *y, const float *x)
{
    BR_DYN_SHARED(float, tiles);
    unsigned i = threadIdx.x;
    for (unsigned stage = 0; stage < 2; stage++) {
        gpu_copy16_async(&tiles[128 * stage + 4 * i], x + 128 * stage + 4 * i, true);
        gpu_copy_commit();
    }
    for (unsigned stage = 0; stage < 2; stage++) {
        if (stage == 0)
            gpu_copy_wait<1>();
        else
            gpu_copy_wait<PLANT(1, 0)>();
        gpu_sync();
        y[32 * stage + i] = tiles[128 * stage + i]; /* planted: async_wait_one */
    }
}
int br__planted_async_wait_one(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 1};
    LAUNCH(copy_staged, 1, 32, 1024, y, planted_floats(256));
    return planted_differs(y, first, 2);
}

/* ---- race ------------------------------------------------------------------------------------ */

BR_KERNEL(64, 1) sum_block(float *y, const float *x)
{
    BR_SHARED(float, part, 64);
    unsigned i = threadIdx.x;
    part[i] = x[i];
    gpu_sync();
    for (unsigned half = 32; half > 0; half /= 2) {
        if (i < half)
            part[i] += part[i + half]; /* planted: loop_barrier */
        PLANT(, gpu_sync();)
    }
    gpu_sync();
    if (i == 0)
        y[0] = part[0];
}
int br__planted_loop_barrier(void)
{
    float *y = (float *)planted_room(4), first[] = {63 * 32};
    LAUNCH(sum_block, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 1);
}

BR_KERNEL(64, 1) shift_rows(float *y, const float *x, unsigned n)
{
    BR_SHARED(float, row, 64);
    unsigned i = threadIdx.x;
    for (unsigned r = 0; r < n; r++) {
        row[i] = x[64 * r + i]; /* planted: reuse_barrier */
        gpu_sync();
        y[64 * r + i] = row[(i + 1) % 64];
        PLANT(, gpu_sync();)
    }
}
int br__planted_reuse_barrier(void)
{
    float *y = (float *)planted_room(512), first[] = {1, 2};
    LAUNCH(shift_rows, 1, 64, 0, y, planted_floats(128), 2u);
    return planted_differs(y, first, 2);
}

BR_KERNEL(32, 1) turn_warp(float *y, const float *x)
{
    BR_SHARED(float, row, 32);
    unsigned i = threadIdx.x;
    row[i] = x[i];
    PLANT(gpu_any(true), gpu_sync_warp()); /* a vote orders no memory */
    y[i] = row[31 - i];                    /* planted: warp_order */
}
int br__planted_warp_order(void)
{
    float *y = (float *)planted_room(128), first[] = {31, 30};
    LAUNCH(turn_warp, 1, 32, 0, y, planted_floats(32));
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) largest(float *y, const float *x)
{
    if (PLANT(x[threadIdx.x] >= 62, threadIdx.x == 0))
        y[0] = x[63]; /* planted: two_writers */
}
int br__planted_two_writers(void)
{
    float *y = (float *)planted_room(4), first[] = {63};
    LAUNCH(largest, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 1);
}

BR_KERNEL(32, 1) double_then_shift(float *y, float *t, const float *x, unsigned n)
{
    unsigned i = blockIdx.x * 32 + threadIdx.x;
    t[i] = 2 * x[i];
    gpu_sync();
    y[i] = PLANT(t[(i + 32) % n], 2 * x[(i + 32) % n]); /* planted: other_block */
}
int br__planted_other_block(void)
{
    float *y = (float *)planted_room(256), *t = (float *)planted_room(256), first[] = {64, 66};
    float *x = planted_floats(64);
    /* What an earlier launch has written hides it from a check of first use. */
    OK(cudaMemsetAsync(t, 0, 256, planted_stream(0)));
    LAUNCH(double_then_shift, 2, 32, 0, y, t, x, 64u);
    return planted_differs(y, first, 2);
}

/* x[t] += x[t - 1], a block for 32 rows */
BR_KERNEL(32, 1) smear(float *to, const float *from)
{
    unsigned t = blockIdx.x * 32 + threadIdx.x;
    float before = t ? from[t - 1] : 0, own = from[t];
    gpu_sync();
    to[t] = own + before; /* planted: halo_in_place */
}
int br__planted_halo_in_place(void)
{
    float *x = planted_floats(64), *y = (float *)planted_room(256), first[] = {0, 1, 3};
    float *to = PLANT(x, y);
    LAUNCH(smear, 2, 32, 0, to, x);
    (void)y;
    return planted_differs(to, first, 3);
}

/* Elements of 16 bits, set one by one or by the word that holds two. */
BR_KERNEL(64, 1) set_halves(uint16_t *y)
{
    unsigned i = threadIdx.x;
#ifdef REPAIRED
    y[i] = (uint16_t)i;
#else
    uint32_t *word = (uint32_t *)(y + i / 2 * 2);
    unsigned shift = 16 * (i % 2);
    *word = (*word & ~(0xffffu << shift)) | i << shift; /* planted: half_word */
#endif
}
int br__planted_half_word(void)
{
    uint16_t *y = (uint16_t *)planted_room(128);
    OK(cudaMemsetAsync(y, 0, 128, planted_stream(0)));
    LAUNCH(set_halves, 1, 64, 0, y);
    return ((const uint16_t *)planted_download(y, 128))[33] != 33;
}

BR_KERNEL(64, 1) add_one(float *y)
{
    y[threadIdx.x] += 1; /* planted: stream_no_event */
}
int br__planted_stream_no_event(void)
{
    float *y = planted_floats(64), first[] = {2, 3};
    cudaEvent_t event;
    OK(cudaStreamSynchronize(planted_stream(0)));
    LAUNCH(add_one, 1, 64, 0, y);
    OK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
    OK(cudaEventRecord(event, planted_stream(0)));
    PLANT(, OK(cudaStreamWaitEvent(planted_stream(1), event, 0));)
    BR_CUDASIM_LAUNCH(planted_stream(1), add_one, 1, 64, 0, y);
    OK(cudaStreamSynchronize(planted_stream(1)));
    OK(cudaEventDestroy(event));
    return planted_differs(y, first, 2);
}

#define LAUNCH_EARLY(kernel, grid, block, dyn, ...)                                                \
    BR_CUDASIM_LAUNCH_EARLY(planted_stream(0), 1, kernel, grid, block, dyn, __VA_ARGS__)

/* y = 2 x, and what is asked for before the wait */
BR_KERNEL(64, 1) double_early(float *y, const float *x)
{
    PLANT(y[threadIdx.x] = 0;, ) /* planted: early_write */
    gpu_wait_previous();
    y[threadIdx.x] = 2 * x[threadIdx.x];
}
int br__planted_early_write(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 2};
    LAUNCH_EARLY(double_early, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 2);
}

/* y = x w; w is nobody's result, and may be read at once */
BR_KERNEL(64, 1) add_product(float *y, const float *x, const float *w)
{
    const float early = PLANT(x, w)[threadIdx.x]; /* planted: early_read */
    gpu_wait_previous();
    y[threadIdx.x] = PLANT(w, x)[threadIdx.x] * early;
}
int br__planted_early_read(void)
{
    float *x = (float *)planted_room(256), *y = (float *)planted_room(256), first[] = {0, 2};
    float *w = planted_floats(64);
    LAUNCH(twice, 1, 64, 0, x, w);
    LAUNCH_EARLY(add_product, 1, 64, 0, y, x, w);
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) sum_all(float *y, const float *x)
{
#ifdef REPAIRED
    for (unsigned i = 0; i < 64 && threadIdx.x == 0; i++)
        y[0] += x[i];
#else
    gpu_atomic_add(y, x[threadIdx.x]);                  /* planted: float_atomic */
#endif
}
int br__planted_float_atomic(void)
{
    float *y = (float *)planted_room(4), first[] = {63 * 32};
    OK(cudaMemsetAsync(y, 0, 4, planted_stream(0)));
    LAUNCH(sum_all, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 1);
}

/* ---- sync ------------------------------------------------------------------------------------ */

BR_KERNEL(64, 1) double_some(float *y, const float *x, unsigned n)
{
#ifdef REPAIRED
    gpu_wait_previous();
#endif
    if (threadIdx.x >= n)
        return;
    gpu_wait_previous();
    y[threadIdx.x] = 2 * x[threadIdx.x];
}
int br__planted_early_no_wait(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 2};
    LAUNCH_EARLY(double_some, 1, 64, 0, y, planted_floats(64), 32u); /* planted: early_no_wait */
    return planted_differs(y, first, 2);
}

BR_KERNEL(64, 1) previous(float *y, const float *x, unsigned n)
{
    BR_SHARED(float, row, 64);
    unsigned i = threadIdx.x;
    PLANT(if (i >= n) return;, )
    if (i < n)
        row[i] = x[i];
    gpu_sync(); /* planted: early_return */
    if (i < n)
        y[i] = i ? row[i - 1] : 0;
}
int br__planted_early_return(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 0, 1};
    LAUNCH(previous, 1, 64, 0, y, planted_floats(64), 50u);
    return planted_differs(y, first, 3);
}

BR_KERNEL(64, 1) two_ways(float *y, const float *x)
{
    unsigned i = threadIdx.x;
    if (i < 32) {
        y[i] = x[i];
        PLANT(gpu_sync();, )
    } else {
        y[i] = 2 * x[i];
        PLANT(gpu_sync();, ) /* planted: divergent_barrier */
    }
    PLANT(, gpu_sync();)
}
int br__planted_divergent_barrier(void)
{
    float *y = (float *)planted_room(256), first[] = {0, 1};
    LAUNCH(two_ways, 1, 64, 0, y, planted_floats(64));
    return planted_differs(y, first, 2);
}

BR_KERNEL(32, 1) sum_some(float *y, const float *x, unsigned n)
{
    unsigned i = threadIdx.x;
    float v = i < n ? x[i] : 0;
    if (PLANT(i < n, true))
        for (int m = 16; m > 0; m /= 2)
            v += gpu_shfl_xor(v, m); /* planted: partial_warp */
    if (i == 0)
        y[0] = v;
}
int br__planted_partial_warp(void)
{
    float *y = (float *)planted_room(4), first[] = {190};
    LAUNCH(sum_some, 1, 32, 0, y, planted_floats(32), 20u);
    return planted_differs(y, first, 1);
}

BR_KERNEL(32, 1) shift_either(float *y, const float *x)
{
    unsigned i = threadIdx.x;
    float v = x[i];
    if (PLANT(i % 2 == 0, true))
        v = gpu_shfl_down(v, 1);
    else
        v = gpu_shfl_up(v, 1); /* planted: mixed_warp */
    y[i] = v;
}
int br__planted_mixed_warp(void)
{
    float *y = (float *)planted_room(128), first[] = {1, 2};
    LAUNCH(shift_either, 1, 32, 0, y, planted_floats(32));
    return planted_differs(y, first, 2);
}

/* Columns of a row of n, 32 at a time: the last round is not full. */
BR_KERNEL(32, 1) count_odd(int32_t *y, const float *x, unsigned n)
{
    int32_t found = 0;
    for (unsigned i = threadIdx.x; PLANT(i < n, i - threadIdx.x < n); i += 32)
        found += gpu_popc(gpu_ballot(i < n && (int)x[i] % 2)); /* planted: lane_loop */
    if (threadIdx.x == 0)
        y[0] = found;
}
int br__planted_lane_loop(void)
{
    int32_t *y = (int32_t *)planted_room(4);
    LAUNCH(count_odd, 1, 32, 0, y, planted_floats(50), 50u);
    return *(const int32_t *)planted_download(y, 4) != 25;
}

/* ---- result ---------------------------------------------------------------------------------- */

/* y[16, 8] = a[16, 16] b[16, 8] of small whole numbers: exact in any order. */
BR_KERNEL(32, 1) multiply_tile(float *y, const bf16 *a, const bf16 *b)
{
    unsigned g = threadIdx.x / 4, c = threadIdx.x % 4;
    uint32_t fa[4], fb[2];
    float d[4] = {0, 0, 0, 0};
    for (unsigned i = 0; i < 4; i++) {
        const bf16 *p = a + (g + 8 * (i % 2)) * 16 + 2 * c + 8 * (i / 2);
        fa[i] = p[0].bits | (uint32_t)p[1].bits << 16;
    }
    for (unsigned i = 0; i < 2; i++) {
        const bf16 *p = b + (2 * c + 8 * i) * 8 + PLANT(7 - g, g); /* planted: fragment_column */
        fb[i] = p[0].bits | (uint32_t)p[8].bits << 16;
    }
    gpu_mma_bf16(d, fa, fb);
    for (unsigned i = 0; i < 4; i++)
        y[(g + 8 * (i / 2)) * 8 + 2 * c + i % 2] = d[i];
}

static void fill_bf16(uint16_t *bits, unsigned n, unsigned step)
{
    for (unsigned i = 0; i < n; i++) {
        float v = (float)(int)(i * step % 7) - 3;
        uint32_t u;
        memcpy(&u, &v, 4);
        bits[i] = (uint16_t)(u >> 16);
    }
}
static float number(uint16_t bits)
{
    uint32_t u = (uint32_t)bits << 16;
    float v;
    memcpy(&v, &u, 4);
    return v;
}
int br__planted_fragment_column(void)
{
    uint16_t a[256], b[128];
    float expected[128] = {0}, *y = (float *)planted_room(512);
    fill_bf16(a, 256, 3);
    fill_bf16(b, 128, 5);
    for (unsigned i = 0; i < 128; i++)
        for (unsigned k = 0; k < 16; k++)
            expected[i] += number(a[i / 8 * 16 + k]) * number(b[k * 8 + i % 8]);
    LAUNCH(multiply_tile, 1, 32, 0, y, (bf16 *)planted_upload(a, sizeof a),
           (bf16 *)planted_upload(b, sizeof b));
    return planted_differs(y, expected, 128);
}

/* y = a a' of a[16, 16]: b of the product is a', whose columns are rows of a, so that ldmatrix
 * needs no transposition for it.  The first 8 columns of y. */
BR_KERNEL(32, 1) multiply_self(float *y, const bf16 *a)
{
    BR_SHARED(bf16, tile, 256);
    unsigned l = threadIdx.x;
    uint32_t fa[4], all[4], fb[2];
    float d[4] = {0, 0, 0, 0};
    for (unsigned i = l; i < 256; i += 32)
        tile[i] = a[i];
    gpu_sync();
    const bf16 *row = tile + (l % 16) * 16 + l / 16 * 8;
    gpu_ldmatrix_x4(fa, row);
    PLANT(gpu_ldmatrix_x4_trans, gpu_ldmatrix_x4)(all, row); /* planted: ldmatrix_trans */
    fb[0] = all[0];
    fb[1] = all[2];
    gpu_mma_bf16(d, fa, fb);
    for (unsigned i = 0; i < 4; i++)
        y[(l / 4 + 8 * (i / 2)) * 8 + 2 * (l % 4) + i % 2] = d[i];
}
int br__planted_ldmatrix_trans(void)
{
    uint16_t a[256];
    float expected[128] = {0}, *y = (float *)planted_room(512);
    fill_bf16(a, 256, 3);
    for (unsigned i = 0; i < 128; i++)
        for (unsigned k = 0; k < 16; k++)
            expected[i] += number(a[i / 8 * 16 + k]) * number(a[i % 8 * 16 + k]);
    LAUNCH(multiply_self, 1, 32, 0, y, (bf16 *)planted_upload(a, sizeof a));
    return planted_differs(y, expected, 128);
}

/* ---- launches -------------------------------------------------------------------------------- */

BR_KERNEL(1024, 1) fill_dynamic(float *y, unsigned n)
{
    BR_DYN_SHARED(float, row);
    for (unsigned i = threadIdx.x; i < n; i += blockDim.x)
        row[i] = 1;
    gpu_sync();
    if (threadIdx.x == 0)
        y[0] = row[n - 1];
}
int br__planted_shared_limit(void)
{
    float *y = (float *)planted_room(4), first[] = {1};
    unsigned n = 16000;
    PLANT(, OK(cudaFuncSetAttribute(fill_dynamic, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    64000));)
    LAUNCH(fill_dynamic, 1, 64, 4 * n, y, n); /* planted: shared_limit */
    return planted_differs(y, first, 1);
}
int br__planted_block_limit(void)
{
    float *y = (float *)planted_room(4), first[] = {1};
    LAUNCH(fill_dynamic, 1, PLANT(2048, 1024), 400, y, 100u); /* planted: block_limit */
    return planted_differs(y, first, 1);
}
int br__planted_unread_error(void)
{
    float *y = (float *)planted_room(4), first[] = {1};
    cudaSetDevice(-1);
    PLANT(, cudaGetLastError();)
    LAUNCH(fill_dynamic, 1, 64, 400, y, 100u); /* planted: unread_error */
    return planted_differs(y, first, 1);
}
int br__planted_wrong_device(void)
{
    float *y = (float *)planted_room(4), first[] = {1};
    planted_stream(0);
    OK(cudaSetDevice(PLANT(1, 0)));
    LAUNCH(fill_dynamic, 1, 64, 400, y, 100u); /* planted: wrong_device */
    return planted_differs(y, first, 1);
}
