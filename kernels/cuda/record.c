/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* record.c - what is enqueued, kept as a CUDA graph and given to the device as a whole. */
#include "device.h"

/* With BRIDGE_CUDA_SYNC each kernel is waited for, which a recording does not allow. */
int br__cuda_record_begin(void *device, struct br_err *err)
{
    struct br__cuda *d = device;
    if (d->sync_each)
        return br_fail(err, BR_E_UNSUPPORTED, "cuda:%d: BRIDGE_CUDA_SYNC is set", d->index);
    int rc = br__cuda_enter(d, err);
    if (rc)
        return rc;
    if (d->status) /* it is told by the next that waits, which a recording would not allow */
        return br_fail(err, d->status, "cuda:%d: an earlier error", d->index);
    return br__cuda_check(d, cudaStreamBeginCapture(d->stream, cudaStreamCaptureModeThreadLocal),
                          "recording", err);
}

int br__cuda_record_end(void *device, void **tape, struct br_err *err)
{
    struct br__cuda *d = device;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    *tape = NULL;
    int rc = br__cuda_check(d, cudaStreamEndCapture(d->stream, &graph), "recording", err);
    if (!rc)
        rc = br__cuda_check(d, cudaGraphInstantiate(&exec, graph, 0), "a recorded graph", err);
    if (graph)
        cudaGraphDestroy(graph);
    if (!rc)
        *tape = exec;
    return rc;
}

int br__cuda_replay(void *device, void *tape, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    return rc ? rc : br__cuda_check(d, cudaGraphLaunch(tape, d->stream), "a recorded graph", err);
}

void br__cuda_tape_free(void *device, void *tape)
{
    struct br__cuda *d = device;
    if (br__cuda_enter_to_free(d))
        cudaGraphExecDestroy(tape);
}
