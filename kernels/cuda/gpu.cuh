/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gpu.cuh - the words in which kernels are written: all of CUDA that is not plain C++.
 *
 * Everything between the #ifdef and the #endif exists a second time in tests/cudasim, which
 * compiles the same .cu files for a simulated device.  What lies below is shared.  Words of a warp
 * concern all of its 32 threads: work is guarded, the call is not. */
#ifndef BR__CUDA_GPU_H
#define BR__CUDA_GPU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

struct bf16 {
    uint16_t bits;
};
struct f16 {
    uint16_t bits;
};

#ifdef BR_CUDASIM
#include <words.h>
#else
#include <cuda_runtime.h>

/* A kernel for blocks of at most `threads` threads, `blocks` of which shall fit on a processor. */
#define BR_KERNEL(threads, blocks) static __global__ void __launch_bounds__(threads, blocks)
#define BR_INLINE __device__ __forceinline__
#define BR_BOTH __host__ __device__ __forceinline__

/* An array that the threads of a block share; and one whose size the launch says. */
#define BR_SHARED(T, name, n) __shared__ __align__(16) T name[n]
#define BR_DYN_SHARED(T, name)                                                                     \
    extern __shared__ __align__(16) unsigned char br__dyn_shared[];                                \
    T *name = reinterpret_cast<T *>(br__dyn_shared)

/* ---- threads of a block, of a warp ----------------------------------------------------------- */

BR_INLINE void gpu_sync()
{
    __syncthreads();
}
BR_INLINE void gpu_sync_warp()
{
    __syncwarp();
}
template <class T> BR_INLINE T gpu_shfl(T v, int lane)
{
    return __shfl_sync(~0u, v, lane);
}
template <class T> BR_INLINE T gpu_shfl_xor(T v, int mask)
{
    return __shfl_xor_sync(~0u, v, mask);
}
template <class T> BR_INLINE T gpu_shfl_up(T v, unsigned n)
{
    return __shfl_up_sync(~0u, v, n);
}
template <class T> BR_INLINE T gpu_shfl_down(T v, unsigned n)
{
    return __shfl_down_sync(~0u, v, n);
}
BR_INLINE uint32_t gpu_ballot(bool is)
{
    return __ballot_sync(~0u, is);
}
BR_INLINE bool gpu_any(bool is)
{
    return __any_sync(~0u, is);
}
BR_INLINE int gpu_popc(uint32_t x)
{
    return __popc(x);
}
/* The lowest set bit, from 1; 0 if there is none. */
BR_INLINE int gpu_ffs(uint32_t x)
{
    return __ffs((int)x);
}

/* ---- numbers --------------------------------------------------------------------------------- */

BR_INLINE uint32_t gpu_bits(float x)
{
    return __float_as_uint(x);
}
BR_INLINE float gpu_float(uint32_t x)
{
    return __uint_as_float(x);
}
BR_INLINE float f32_of(float x)
{
    return x;
}
BR_INLINE float f32_of(bf16 x)
{
    return __uint_as_float((uint32_t)x.bits << 16);
}
BR_INLINE float f32_of(f16 x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
    return y;
}
/* To nearest, ties to even. */
BR_INLINE bf16 bf16_of(float x)
{
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
/* Rounded one by one: the compiler may not make one multiply-add of two. */
BR_INLINE float gpu_add_rn(float a, float b)
{
    return __fadd_rn(a, b);
}
BR_INLINE float gpu_sub_rn(float a, float b)
{
    return __fsub_rn(a, b);
}
BR_INLINE float gpu_mul_rn(float a, float b)
{
    return __fmul_rn(a, b);
}
/* 2^x within 2 units in the last place. */
BR_INLINE float gpu_exp2(float x)
{
    float y;
    asm("ex2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
BR_INLINE int32_t gpu_atomic_add(int32_t *p, int32_t v)
{
    return atomicAdd(p, v);
}

/* ---- tensor cores and copies in the background ----------------------------------------------- */

/* Four 8 x 8 matrices of 16-bit numbers; lane l says where row l % 8 of matrix l / 8 lies in shared
 * memory, 16-byte aligned. */
BR_INLINE void gpu_ldmatrix_x4(uint32_t r[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
BR_INLINE void gpu_ldmatrix_x4_trans(uint32_t r[4], const void *row)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
/* d[16, 8] += a[16, 16] b[16, 8], of bfloat16 with float32 sums; fragments as PTX's
 * mma.m16n8k16 has them. */
BR_INLINE void gpu_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* 16 bytes of global into shared memory, or zeros where they are not valid. */
BR_INLINE void gpu_copy16_async(void *shared, const void *global, bool valid)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(shared);
    int bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(at), "l"(global), "r"(bytes)
                 : "memory");
}
BR_INLINE void gpu_copy_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
/* Until at most n of the committed groups are under way. */
template <int n> BR_INLINE void gpu_copy_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

/* ---- launch ---------------------------------------------------------------------------------- */

/* Of a kernel that is launched early: what runs before these words may run before the work that
 * was enqueued earlier is done.  So every thread of it says gpu_wait_previous() before it writes
 * memory of the device, or reads what a kernel has written; gpu_launch_next() lets the one after it
 * begin. */
BR_INLINE void gpu_wait_previous()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaGridDependencySynchronize();
#endif
}
BR_INLINE void gpu_launch_next()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    cudaTriggerProgrammaticLaunchCompletion();
#endif
}
/* What is there will be wanted soon. */
BR_INLINE void gpu_prefetch(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" : : "l"(p));
}

#define BR__LAUNCH(c, kernel, grid, block, dyn, ...)                                               \
    kernel<<<dim3(grid), dim3(block), dyn, br__cuda_stream(c)>>>(__VA_ARGS__)
#define BR__LAUNCH_EARLY(c, kernel, grid, block, dyn, ...)                                         \
    do {                                                                                           \
        cudaLaunchAttribute early[1] = {};                                                         \
        cudaLaunchConfig_t how = {};                                                               \
        early[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;                          \
        early[0].val.programmaticStreamSerializationAllowed = 1;                                   \
        how.gridDim = dim3(grid);                                                                  \
        how.blockDim = dim3(block);                                                                \
        how.dynamicSmemBytes = dyn;                                                                \
        how.stream = br__cuda_stream(c);                                                           \
        how.attrs = early;                                                                         \
        how.numAttrs = br__cuda_may_overlap(c) ? 1 : 0;                                            \
        cudaLaunchKernelEx(&how, kernel, __VA_ARGS__);                                             \
    } while (0)
#endif

/* Before a loop whose arrays must be registers; one that shall be unrolled by two, or by a
 * constant; one that shall not, since each copy of its body would want registers. */
#ifdef BR_CUDASIM
#define BR__LAUNCH(c, ...) BR_CUDASIM_LAUNCH(br__cuda_stream(c), __VA_ARGS__)
#define BR__LAUNCH_EARLY(c, ...)                                                                   \
    BR_CUDASIM_LAUNCH_EARLY(br__cuda_stream(c), br__cuda_may_overlap(c), __VA_ARGS__)
#define BR_UNROLL
#define BR_UNROLL_2
#define BR_UNROLL_BY(n)
#define BR_NO_UNROLL
#else
#define BR_UNROLL _Pragma("unroll")
#define BR_UNROLL_2 _Pragma("unroll 2")
#define BR__PRAGMA(text) _Pragma(#text)
#define BR_UNROLL_BY(n) BR__PRAGMA(unroll n)
#define BR_NO_UNROLL _Pragma("unroll 1")
#endif

/* Enqueue a kernel for a call: grid and block in threads' terms of CUDA, dyn bytes of shared memory
 * that the kernel names by BR_DYN_SHARED. */
#define BR_LAUNCH(c, kernel, grid, block, dyn, ...)                                                \
    BR__LAUNCH_AS(BR__LAUNCH, c, kernel, grid, block, dyn, __VA_ARGS__)
/* The same of a kernel that obeys gpu_wait_previous(): where the GPU can, it begins while what was
 * enqueued before it still runs. */
#define BR_LAUNCH_EARLY(c, kernel, grid, block, dyn, ...)                                          \
    BR__LAUNCH_AS(BR__LAUNCH_EARLY, c, kernel, grid, block, dyn, __VA_ARGS__)
#define BR__LAUNCH_AS(launch, c, kernel, grid, block, dyn, ...)                                    \
    do {                                                                                           \
        const dim3 grid_of_launch(grid);                                                           \
        if (grid_of_launch.x == 0 || grid_of_launch.y == 0 || grid_of_launch.z == 0)               \
            break; /* nothing to do */                                                             \
        if ((dyn) > 48 * 1024)                                                                     \
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(dyn)); \
        launch(c, kernel, grid_of_launch, block, dyn, __VA_ARGS__);                                \
        br__cuda_launched(c);                                                                      \
    } while (0)

/* ---- made of words --------------------------------------------------------------------------- */

template <class T, int N> struct alignas(N * sizeof(T)) vec {
    T v[N];
};

template <class T> BR_INLINE T warp_sum(T v)
{
    for (int m = 16; m > 0; m /= 2)
        v += gpu_shfl_xor(v, m);
    return v;
}

BR_INLINE float warp_max(float v)
{
    for (int m = 16; m > 0; m /= 2)
        v = fmaxf(v, gpu_shfl_xor(v, m));
    return v;
}

/* The threads that work on one row: WARPS warps, 1 or 8, of a block of 256.  All of them call
 * alike. */
#define TEAM_THREADS 256
template <int WARPS> struct team {
    static constexpr unsigned size = 32 * WARPS, rows = TEAM_THREADS / size;
    static BR_INLINE unsigned rank()
    {
        return threadIdx.x % size;
    }
    /* The first row of this team, and how many rows further its next one is. */
    static BR_INLINE unsigned first()
    {
        return blockIdx.x * rows + threadIdx.x / size;
    }
    static BR_INLINE unsigned step()
    {
        return gridDim.x * rows;
    }
    /* Of all threads of the team, in each of them.  One warp needs no shared memory. */
    template <class T> static BR_INLINE T sum(T v)
    {
        v = warp_sum(v);
        if constexpr (WARPS > 1) {
            BR_SHARED(T, room, WARPS);
            if (threadIdx.x % 32 == 0)
                room[threadIdx.x / 32] = v;
            gpu_sync();
            v = 0;
            for (int i = 0; i < WARPS; i++)
                v += room[i];
            gpu_sync();
        }
        return v;
    }
    static BR_INLINE float max(float v)
    {
        v = warp_max(v);
        if constexpr (WARPS > 1) {
            BR_SHARED(float, room, WARPS);
            if (threadIdx.x % 32 == 0)
                room[threadIdx.x / 32] = v;
            gpu_sync();
            v = room[0];
            for (int i = 1; i < WARPS; i++)
                v = fmaxf(v, room[i]);
            gpu_sync();
        }
        return v;
    }
};

#endif
