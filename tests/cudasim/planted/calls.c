/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* calls.c - faults in calls of the libraries.  The line that a report must name carries the fault's
 * name. */
#include "planted.h"

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
