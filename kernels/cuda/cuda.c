/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cuda.c - the descriptor of the CUDA backend: its kernel table, and whether it can be used here.
 *
 * The module links the CUDA runtime and nothing else of NVIDIA's: it loads on a machine without a
 * driver, and says so. */
#include "comm.h"
#include "libs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIN_MAJOR 8 /* compute capability: bfloat16 products and copies in the background */
#define SCORE 100   /* of a device that can be used; the CPU's is 1 */

/* ---- the kernel table ------------------------------------------------------------------------ */

#define KERNEL(op, weights, values, fn) void br__cuda_##fn(const struct br_call *c);
#define KERNEL_S(op, weights, values, fn)                                                          \
    KERNEL(op, weights, values, fn)                                                                \
    size_t br__cuda_##fn##_scratch(const struct br_call *c);
#include "kernels.def"
#undef KERNEL
#undef KERNEL_S

static const struct br_kernel kernels[] = {
#define KERNEL(op, weights, values, fn) {BR_OP_##op, weights, values, 0, 0, br__cuda_##fn, NULL},
#define KERNEL_S(op, weights, values, fn)                                                          \
    {BR_OP_##op, weights, values, 0, 0, br__cuda_##fn, br__cuda_##fn##_scratch},
#include "kernels.def"
#undef KERNEL
#undef KERNEL_S
};

/* ---- what is there --------------------------------------------------------------------------- */

/* Why no device can be counted. */
static void say_no_device(cudaError_t rc, char *why, size_t size)
{
    int driver = 0;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    cudaDriverGetVersion(&driver);
    if (rc == cudaErrorStubLibrary || (rc == cudaErrorInsufficientDriver && driver == 0))
        snprintf(why, size, "no NVIDIA driver: libcuda.so.1 is not there");
    else if (rc == cudaErrorInsufficientDriver)
        snprintf(why, size,
                 "the driver supports CUDA %d.%d; this module needs %d.%d (driver 580 or newer)",
                 driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                 CUDART_VERSION % 1000 / 10);
    else if (rc == cudaErrorSystemDriverMismatch)
        snprintf(why, size, "driver and kernel module differ; restart the machine");
    else if (rc == cudaErrorNoDevice || rc == cudaSuccess)
        snprintf(why, size, "no GPU is visible%s%s%s", visible ? " (CUDA_VISIBLE_DEVICES='" : "",
                 visible ? visible : "", visible ? "')" : "");
    else
        snprintf(why, size, "%s", cudaGetErrorString(rc));
}

static uint32_t cuda_count(void)
{
    int n = 0;
    if (cudaGetDeviceCount(&n) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return (uint32_t)n;
}

/* Makes no context and opens no library: milliseconds. */
static int cuda_probe(char *why, size_t size)
{
    struct cudaDeviceProp prop;
    int n = 0, driver = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);
    if (rc == cudaSuccess && n > 0)
        rc = cudaGetDeviceProperties(&prop, 0);
    if (rc != cudaSuccess || n == 0) {
        cudaGetLastError();
        say_no_device(rc, why, size);
        return 0;
    }
    if (prop.major < MIN_MAJOR) {
        snprintf(why, size, "GPU 0, %s, has compute capability %d.%d; %d.0 or newer is needed",
                 prop.name, prop.major, prop.minor, MIN_MAJOR);
        return 0;
    }
    cudaDriverGetVersion(&driver);
    snprintf(why, size, "%s x%d, compute capability %d.%d, %.1f GiB, driver for CUDA %d.%d",
             prop.name, n, prop.major, prop.minor, (double)prop.totalGlobalMem / (1 << 30),
             driver / 1000, driver % 1000 / 10);
    return SCORE;
}

/* "cuBLASLt 13.1.0, NCCL 2.28.9", or what is wrong with one of them; opens both, and no device. */
static void cuda_libraries(char *text, size_t size)
{
    struct br_err err = BR_ERR_INIT;
    size_t n = 0;
    if (br__cuda_lib_open(BR__CUDA_LIB_cublasLt, &err)) {
        n = (size_t)snprintf(text, size, "%s", err.msg);
    } else {
        size_t v = br__cuda_libs.cublasLtGetVersion();
        n = (size_t)snprintf(text, size, "cuBLASLt %zu.%zu.%zu", v / 10000, v / 100 % 100, v % 100);
    }
    int v = 0;
    if (n >= size)
        return;
    if (br__cuda_lib_open(BR__CUDA_LIB_nccl, &err))
        snprintf(text + n, size - n, "; several GPUs: %s", err.msg);
    else if (br__cuda_libs.ncclGetVersion(&v) == ncclSuccess)
        snprintf(text + n, size - n, ", NCCL %d.%d.%d", v / 10000, v / 100 % 100, v % 100);
}

static int cuda_open(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                     struct br_err *err)
{
    char why[300];
    *device = NULL;
    if (cuda_probe(why, sizeof why) <= 0)
        return br_fail(err, BR_E_UNSUPPORTED, "%s; use --device cpu", why);
    return br__cuda_open(device, index, n_threads, features, err);
}

/* ---- descriptor ------------------------------------------------------------------------------ */

br_backend_fn bridge_backend_v1;
__attribute__((visibility("default"))) const struct br_backend *bridge_backend_v1(void)
{
    static const struct br_backend self = {
        .struct_size = sizeof self,
        .built_with = BR_VERSION,
        .name = "cuda",
        .flags = BR_BACKEND_BF16 | BR_BACKEND_MERGES | BR_BACKEND_AHEAD,
        .align = 256,
        .tokens_at_once = 8192,
        .kernels = BR_ROWS(kernels),
        .probe = cuda_probe,
        .libraries = cuda_libraries,
        .count = cuda_count,
        .open = cuda_open,
        .close = br__cuda_close,
        .alloc = br__cuda_alloc,
        .free = br__cuda_free,
        .upload = br__cuda_upload,
        .download = br__cuda_download,
        .copy = br__cuda_copy,
        .sync = br__cuda_sync,
        .fill = br__cuda_fill,
        .run = br__cuda_run,
        .plane = &br__cuda_plane,
        .roofline = br__cuda_roofline,
        .record_begin = br__cuda_record_begin,
        .record_end = br__cuda_record_end,
        .replay = br__cuda_replay,
        .tape_free = br__cuda_tape_free,
        .stream = br__cuda_use_stream,
        .fetch = br__cuda_fetch,
        .fetched = br__cuda_fetched,
    };
    return &self;
}
