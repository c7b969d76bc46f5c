/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* words.h - the words of kernels/cuda/gpu.cuh for the simulator.  What each means is said there,
 * and that file includes this one. */
#ifndef CUDASIM_WORDS_H
#define CUDASIM_WORDS_H

#include <cuda_runtime.h>
#include <cudasim.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <new>
#include <tuple>
#include <type_traits>

#define BR_KERNEL(threads, blocks) static __attribute__((noinline)) void
#define BR_INLINE inline __attribute__((always_inline))
#define BR_BOTH inline __attribute__((always_inline))

#define threadIdx (cudasim_self()->thread)
#define blockIdx (cudasim_self()->block)
#define blockDim (cudasim_self()->block_dim)
#define gridDim (cudasim_self()->grid_dim)

#define BR_SHARED(T, name, n)                                                                      \
    static struct cudasim_shared name##_place;                                                     \
    T(&name)[n] = *static_cast<T(*)[n]>(cudasim_shared_array(&name##_place, sizeof(T[n])))
#define BR_DYN_SHARED(T, name) T *name = static_cast<T *>(cudasim_dynamic_shared())

/* ---- threads of a block, of a warp ----------------------------------------------------------- */

BR_INLINE void gpu_sync(int line = __builtin_LINE())
{
    cudasim_sync(line);
}
BR_INLINE void gpu_sync_warp(int line = __builtin_LINE())
{
    cudasim_sync_warp(line);
}
template <class T>
BR_INLINE T cudasim_shuffle_of(enum cudasim_shuffle how, T v, unsigned by, int line)
{
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    __builtin_memcpy(&bits, &v, sizeof v);
    bits = cudasim_shuffled(how, bits, by, line);
    __builtin_memcpy(&v, &bits, sizeof v);
    return v;
}
template <class T> BR_INLINE T gpu_shfl(T v, int lane, int line = __builtin_LINE())
{
    return cudasim_shuffle_of(CUDASIM_IDX, v, (unsigned)lane, line);
}
template <class T> BR_INLINE T gpu_shfl_xor(T v, int mask, int line = __builtin_LINE())
{
    return cudasim_shuffle_of(CUDASIM_XOR, v, (unsigned)mask, line);
}
template <class T> BR_INLINE T gpu_shfl_up(T v, unsigned n, int line = __builtin_LINE())
{
    return cudasim_shuffle_of(CUDASIM_UP, v, n, line);
}
template <class T> BR_INLINE T gpu_shfl_down(T v, unsigned n, int line = __builtin_LINE())
{
    return cudasim_shuffle_of(CUDASIM_DOWN, v, n, line);
}
BR_INLINE uint32_t gpu_ballot(bool is, int line = __builtin_LINE())
{
    return cudasim_ballot(is, line);
}
BR_INLINE bool gpu_any(bool is, int line = __builtin_LINE())
{
    return cudasim_ballot(is, line) != 0;
}
BR_INLINE int gpu_popc(uint32_t x)
{
    return __builtin_popcount(x);
}
BR_INLINE int gpu_ffs(uint32_t x)
{
    return __builtin_ffs((int)x);
}

/* ---- numbers --------------------------------------------------------------------------------- */

BR_INLINE uint32_t gpu_bits(float x)
{
    uint32_t y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}
BR_INLINE float gpu_float(uint32_t x)
{
    float y;
    __builtin_memcpy(&y, &x, sizeof y);
    return y;
}
BR_INLINE float f32_of(float x)
{
    return x;
}
BR_INLINE float f32_of(bf16 x)
{
    return gpu_float((uint32_t)x.bits << 16);
}
BR_INLINE float f32_of(f16 x)
{
    _Float16 y;
    __builtin_memcpy(&y, &x.bits, sizeof y);
    return (float)y;
}
/* NaN becomes the device's own, 0x7fff. */
BR_INLINE bf16 bf16_of(float x)
{
    uint32_t u = gpu_bits(x);
    if (x != x)
        return bf16{0x7fff};
    return bf16{(uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
/* Compiled with -ffp-contract=off. */
BR_INLINE float gpu_add_rn(float a, float b)
{
    return a + b;
}
BR_INLINE float gpu_sub_rn(float a, float b)
{
    return a - b;
}
BR_INLINE float gpu_mul_rn(float a, float b)
{
    return a * b;
}
BR_INLINE float gpu_exp2(float x)
{
    return exp2f(x);
}
BR_INLINE float rsqrtf(float x)
{
    return 1.f / sqrtf(x);
}
BR_INLINE int32_t gpu_atomic_add(int32_t *p, int32_t v)
{
    return cudasim_atomic_add(p, v);
}
/* Only to be refused: the order of such a sum differs from run to run. */
BR_INLINE void gpu_atomic_add(float *p, float)
{
    cudasim_atomic_add_float(p);
}

/* ---- tensor cores and copies in the background ----------------------------------------------- */

BR_INLINE void gpu_ldmatrix_x4(uint32_t r[4], const void *row, int line = __builtin_LINE())
{
    cudasim_ldmatrix_x4(r, row, 0, line);
}
BR_INLINE void gpu_ldmatrix_x4_trans(uint32_t r[4], const void *row, int line = __builtin_LINE())
{
    cudasim_ldmatrix_x4(r, row, 1, line);
}
BR_INLINE void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2],
                            int line = __builtin_LINE())
{
    cudasim_mma_bf16(d, a, b, line);
}
BR_INLINE void gpu_copy16_async(void *shared, const void *global, bool valid)
{
    cudasim_copy16(shared, global, valid);
}
BR_INLINE void gpu_copy_commit()
{
    cudasim_copy_commit();
}
template <int n> BR_INLINE void gpu_copy_wait()
{
    cudasim_copy_wait(n);
}

/* ---- launch ---------------------------------------------------------------------------------- */

BR_INLINE void gpu_wait_previous()
{
    cudasim_wait_previous();
}
BR_INLINE void gpu_launch_next()
{
}
BR_INLINE void gpu_prefetch(const void *p)
{
    (void)p;
}

template <class... P> struct cudasim_call {
    void (*kernel)(P...);
    std::tuple<P...> args;

    __attribute__((no_sanitize_thread)) static void run(const void *p)
    {
        const cudasim_call *c = static_cast<const cudasim_call *>(p);
        std::apply(c->kernel, c->args);
    }
};

template <class... P, class... A>
BR_INLINE void cudasim_launch_of(const char *name, void (*kernel)(P...), cudaStream_t stream,
                                 int is_early, dim3 grid, dim3 block, size_t dynamic, A... args)
{
    static_assert((std::is_trivially_copyable<P>::value && ...), "arguments are copied as bytes");
    using call = cudasim_call<P...>;
    static_assert(sizeof(call) <= 4096, "arguments of a kernel take 4096 bytes at most");
    struct cudasim_launch l = {};
    l.name = name;
    l.kernel = reinterpret_cast<const void *>(kernel);
    l.call = call::run;
    l.args = new (malloc(sizeof(call))) call{kernel, std::tuple<P...>(args...)};
    l.args_size = sizeof(call);
    l.grid = {grid.x, grid.y, grid.z};
    l.block = {block.x, block.y, block.z};
    l.dynamic = dynamic;
    l.is_early = is_early;
    l.stream = stream;
    cudasim_launch_kernel(&l);
}
#define BR_CUDASIM_LAUNCH(stream, kernel, grid, block, dyn, ...)                                   \
    cudasim_launch_of(#kernel, kernel, stream, 0, dim3(grid), dim3(block), dyn, __VA_ARGS__)
#define BR_CUDASIM_LAUNCH_EARLY(stream, is_early, kernel, grid, block, dyn, ...)                   \
    cudasim_launch_of(#kernel, kernel, stream, is_early, dim3(grid), dim3(block), dyn, __VA_ARGS__)

#endif
