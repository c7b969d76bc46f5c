/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* calls.c - faults in calls of the libraries.  The line that a report must name carries the fault's
 * name. */
#include "planted.h"

#include <cublasLt.h>
#include <nccl.h>
#include <string.h>

static const size_t N = 64 * sizeof(float);

int br__planted_host_touch(void)
{
    const float *x = planted_floats(64);
    const float *here = planted_download(x, N);
    float sum = 0;
    for (int i = 0; i < 64; i++)
        sum += (PLANT(1, 0) ? x : here)[i]; /* planted: host_touch */
    return sum != 63 * 32;
}

int br__planted_pinned_rewritten(void)
{
    const float expected[] = {1, 2};
    float *staging = planted_pinned(N), *x = planted_room(N);
    staging[0] = 1, staging[1] = 2;
    cudaStream_t s = planted_stream(0);
    OK(cudaMemcpyAsync(x, staging, N, cudaMemcpyHostToDevice, s)); /* planted: pinned_rewritten */
    PLANT(, OK(cudaStreamSynchronize(s));)
    staging[0] = 7;
    return planted_differs(x, expected, 2);
}

int br__planted_result_too_early(void)
{
    float *x = planted_floats(64), *staging = planted_pinned(N);
    memset(staging, 0, N);
    OK(cudaMemcpyAsync(staging, x, N, cudaMemcpyDeviceToHost, planted_stream(0)));
    PLANT(, OK(cudaStreamSynchronize(planted_stream(0)));)
    float second = staging[1];
    OK(cudaStreamSynchronize(planted_stream(0)));
    return second != 1;
}

/* Two results, of which the first is read while the second is made. */
int br__planted_result_overwritten(void)
{
    float *x = planted_floats(64), *results[] = {planted_pinned(N), planted_pinned(N)};
    float *first = results[0], *to = results[PLANT(0, 1)];
    cudaStream_t s = planted_stream(0);
    cudaEvent_t made;
    OK(cudaEventCreateWithFlags(&made, cudaEventDisableTiming));
    OK(cudaMemcpyAsync(first, x, N, cudaMemcpyDeviceToHost, s));
    OK(cudaEventRecord(made, s));
    OK(cudaMemsetAsync(x, 0, N, s));
    OK(cudaMemcpyAsync(to, x, N, cudaMemcpyDeviceToHost, s)); /* planted: result_overwritten */
    OK(cudaEventSynchronize(made));
    float got = first[1];
    OK(cudaStreamSynchronize(s));
    OK(cudaEventDestroy(made));
    return got != 1 || to[1] != 0;
}

int br__planted_double_free(void)
{
    void *p;
    OK(cudaMalloc(&p, 256));
    OK(cudaFree(p));
    PLANT(OK(cudaFree(p)), (void)0); /* planted: double_free */
    return 0;
}

int br__planted_capture_sync(void)
{
    const float expected[] = {0, 0};
    cudaGraph_t graph;
    cudaStream_t s = planted_stream(0);
    float *x = planted_floats(64);
    OK(cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal));
    OK(cudaMemsetAsync(x, 0, N, s));
    PLANT(OK(cudaStreamSynchronize(s)), (void)0); /* planted: capture_sync */
    OK(cudaStreamEndCapture(s, &graph));
    cudaGraphExec_t exec;
    OK(cudaGraphInstantiate(&exec, graph, 0));
    OK(cudaGraphLaunch(exec, s));
    OK(cudaGraphExecDestroy(exec));
    OK(cudaGraphDestroy(graph));
    return planted_differs(x, expected, 2);
}

int br__planted_pageable_copy(void)
{
    static float host[64];
    const float expected[] = {0, 0};
    float *x = planted_room(N), *staging = planted_pinned(N);
    memset(staging, 0, N);
    const float *from = PLANT(1, 0) ? host : staging;
    cudaStream_t s = planted_stream(0);
    OK(cudaMemcpyAsync(x, from, N, cudaMemcpyHostToDevice, s)); /* planted: pageable_copy */
    return planted_differs(x, expected, 2);
}

int br__planted_leak(void)
{
    void *p;
    OK(cudaMalloc(&p, 256)); /* planted: leak */
    PLANT(, OK(cudaFree(p));)
    return 0;
}

/* ---- cuBLASLt -------------------------------------------------------------------------------- */

static void lt_ok(cublasStatus_t rc, const char *call)
{
    if (rc != CUBLAS_STATUS_SUCCESS)
        planted_ok(cudaErrorUnknown, call);
}
#define LT(call) lt_ok(call, #call)

/* A plan for D[16 x 16] = A[16 x 16] B[16 x 16] of floats. */
struct lt {
    cublasLtHandle_t handle;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t matrix;
    cublasLtMatmulHeuristicResult_t plan;
};

static struct lt lt_open(int64_t ld, uint32_t align, uint64_t workspace)
{
    struct lt x;
    int n;
    cublasLtMatmulPreference_t preference;
    LT(cublasLtCreate(&x.handle));
    LT(cublasLtMatmulDescCreate(&x.product, CUBLAS_COMPUTE_32F_PEDANTIC, CUDA_R_32F));
    LT(cublasLtMatrixLayoutCreate(&x.matrix, CUDA_R_32F, 16, 16, ld)); /* planted: lt_leading */
    LT(cublasLtMatmulPreferenceCreate(&preference));
    LT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                                            &align, sizeof align));
    LT(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                            &workspace, sizeof workspace));
    LT(cublasLtMatmulAlgoGetHeuristic(x.handle, x.product, x.matrix, x.matrix, x.matrix, x.matrix,
                                      preference, 1, &x.plan, &n));
    LT(cublasLtMatmulPreferenceDestroy(preference));
    return x;
}

static void lt_close(struct lt *x)
{
    LT(cublasLtMatrixLayoutDestroy(x->matrix));
    LT(cublasLtMatmulDescDestroy(x->product));
    LT(cublasLtDestroy(x->handle));
}

/* B is 0, 1, 2, ... modulo 64; expected: element (0, 0) of the result. */
static int lt_multiply(struct lt *x, const float *a, void *workspace, size_t size, float expected)
{
    const float one = 1, zero = 0;
    float *b = planted_floats(256), *d = planted_room(1024);
    cudaStream_t s = planted_stream(0);
    const cublasLtMatmulAlgo_t *algo = &x->plan.algo;
    cublasLtMatrixLayout_t m = x->matrix;
    /* clang-format off */
    LT(cublasLtMatmul(x->handle, x->product, &one, a, m, b, m, &zero, d, m, d, m, algo, workspace, size, s)); /* planted: lt_alignment lt_workspace */
    /* clang-format on */
    return planted_differs(d, &expected, 1);
}

int br__planted_lt_alignment(void)
{
    struct lt x = lt_open(16, PLANT(256, 16), 0);
    int differs = lt_multiply(&x, planted_floats(300) + 4, NULL, 0, 3680);
    lt_close(&x);
    return differs;
}

int br__planted_lt_workspace(void)
{
    struct lt x = lt_open(16, 256, 1 << 20);
    size_t size = x.plan.workspaceSize;
    int differs =
        lt_multiply(&x, planted_floats(256), planted_room(1 << 20), PLANT(size - 1, size), 3200);
    lt_close(&x);
    return differs;
}

int br__planted_lt_leading(void)
{
    struct lt x = lt_open(PLANT(12, 16), 256, 0);
    int differs = lt_multiply(&x, planted_floats(256), NULL, 0, 3200);
    lt_close(&x);
    return differs;
}

/* ---- NCCL ------------------------------------------------------------------------------------ */

static void nccl_ok(ncclResult_t rc, const char *call)
{
    if (rc != ncclSuccess && rc != ncclInProgress)
        planted_ok(cudaErrorUnknown, call);
}
#define NCCL(call) nccl_ok(call, #call)

/* Two ranks of this thread, rank 1 on `second`; each has 64 floats and its stream. */
struct pair {
    ncclComm_t comm[2];
    int device[2];
    float *x[2];
};

static struct pair pair_open(int second)
{
    struct pair p = {.device = {0, second}};
    ncclUniqueId id;
    NCCL(ncclGetUniqueId(&id));
    for (int r = 0; r < 2; r++) {
        ncclConfig_t c = NCCL_CONFIG_INITIALIZER;
        c.blocking = 0;
        OK(cudaSetDevice(p.device[r]));
        NCCL(ncclCommInitRankConfig(&p.comm[r], 2, id, r, &c)); /* planted: nccl_device */
        OK(cudaMalloc((void **)&p.x[r], N));
        OK(cudaMemsetAsync(p.x[r], 0, N, planted_stream(r)));
    }
    return p;
}

static void pair_reduce(struct pair *p, int r, size_t n)
{
    cudaStream_t s = planted_stream(r);
    OK(cudaSetDevice(p->device[r]));
    /* clang-format off */
    NCCL(ncclAllReduce(p->x[r], p->x[r], n, ncclFloat32, ncclSum, p->comm[r], s)); /* planted: nccl_count nccl_missing */
    /* clang-format on */
}

static int pair_close(struct pair *p)
{
    for (int r = 0; r < 2; r++) {
        OK(cudaSetDevice(p->device[r]));
        OK(cudaStreamSynchronize(planted_stream(r)));
        NCCL(ncclCommDestroy(p->comm[r]));
        OK(cudaFree(p->x[r]));
    }
    return 0;
}

int br__planted_nccl_count(void)
{
    struct pair p = pair_open(1);
    pair_reduce(&p, 0, 64);
    pair_reduce(&p, 1, PLANT(32, 64));
    return pair_close(&p);
}

int br__planted_nccl_missing(void)
{
    struct pair p = pair_open(1);
    pair_reduce(&p, 0, 64);
    PLANT(, pair_reduce(&p, 1, 64);)
    return pair_close(&p);
}

int br__planted_nccl_device(void)
{
    struct pair p = pair_open(PLANT(0, 1));
    return pair_close(&p);
}
