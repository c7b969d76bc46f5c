/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* device.h - what the files of the CUDA backend share: the device, its errors, the libraries that
 * are opened at run time.
 *
 * Everything of a device happens in the order of one stream.  An entry of the backend's table sets
 * the current device first, since ranks are threads and a new thread's device is number 0. */
#ifndef BR__CUDA_DEVICE_H
#define BR__CUDA_DEVICE_H

#include <bridge/backend.h>
#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

struct br__cuda_blas;
struct br__cuda_comm;
struct br__cuda_ticket;
struct br__cuda_ring;

struct br__cuda {
    int index; /* as CUDA numbers those that are visible */
    char name[80];
    int processors;             /* multiprocessors */
    cudaStream_t stream;        /* where the next call goes: */
    cudaStream_t first, second; /* the second is made when it is asked for */
    cudaEvent_t forked, joined;
    struct br_stream as_stream;
    struct br__cuda_ring *ring;      /* of pinned buffers, device.c; made by the first fill */
    struct br__cuda_blas *blas;      /* gemm.c */
    struct br__cuda_comm *comms;     /* comm.c: those that are open, linked */
    struct br__cuda_ticket *tickets; /* fetch.c: all there are, linked */
    uint64_t allocated;              /* bytes, by alloc() */
    /* The first error since the last that was told: what happened, and at which op.  One that has
     * ended the context stays. */
    int status; /* enum br_status */
    int is_dead;
    uint32_t op; /* BR_N_OPS: none */
    char what[400];
    int may_overlap;       /* a kernel may begin before the one before it has ended */
    const char *sync_each; /* BRIDGE_CUDA_SYNC: wait after each kernel, so that its op is known */
};

/* ---- device.c -------------------------------------------------------------------------------- */

/* Make it the thread's current device, with which every entry of the table begins.  Fails if the
 * device does not answer or its context has ended. */
int br__cuda_enter(struct br__cuda *d, struct br_err *err);
/* The same before something is freed: earlier errors do not count, and a failed attempt is repeated
 * once.  Returns 0 if the device does not answer: its memory cannot be freed then. */
int br__cuda_enter_to_free(struct br__cuda *d);
cudaStream_t br__cuda_stream(const struct br_call *c);
int br__cuda_may_overlap(const struct br_call *c);
/* After a launch: keep its error, if it had one. */
void br__cuda_launched(const struct br_call *c);
/* n bytes of zeros, in the stream's order. */
void br__cuda_zero(const struct br_call *c, void *p, size_t n);
/* Keep an error of the call: the op cannot be run with these shapes. */
void br__cuda_refuse(const struct br_call *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* 0, or the error as `err` has it: what failed, on which device. */
int br__cuda_check(struct br__cuda *d, cudaError_t rc, const char *what, struct br_err *err);
/* Wait for the stream, and tell the first error. */
int br__cuda_sync(void *device, struct br_err *err);

int br__cuda_open(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                  struct br_err *err);
void br__cuda_close(void *device);
void *br__cuda_alloc(void *device, size_t n);
void br__cuda_free(void *device, void *p);
int br__cuda_upload(void *device, void *dst, const void *src, size_t n, struct br_err *err);
int br__cuda_download(void *device, void *dst, const void *src, size_t n, struct br_err *err);
int br__cuda_copy(void *device, void *dst, const void *src, size_t n, struct br_err *err);
int br__cuda_fill(void *device, void *dst, size_t n, const struct br_source_bytes *from,
                  uint32_t n_threads, struct br_err *err);
int br__cuda_use_stream(void *device, enum br_which_stream which, struct br_err *err);
void br__cuda_run(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg);

/* ---- fetch.c --------------------------------------------------------------------------------- */

int br__cuda_fetch(void *device, const void *src, size_t n, void **ticket, struct br_err *err);
int br__cuda_fetched(void *device, void *ticket, void *dst, struct br_err *err);
void br__cuda_tickets_close(struct br__cuda *d); /* nothing may be under way */

/* ---- record.c -------------------------------------------------------------------------------- */

int br__cuda_record_begin(void *device, struct br_err *err);
int br__cuda_record_end(void *device, void **tape, struct br_err *err);
int br__cuda_replay(void *device, void *tape, struct br_err *err);
void br__cuda_tape_free(void *device, void *tape);

/* ---- gemm.c: cuBLASLt ------------------------------------------------------------------------ */

int br__cuda_blas_open(struct br__cuda *d, struct br_err *err);
void br__cuda_blas_close(struct br__cuda *d);

/* ---- peaks.c --------------------------------------------------------------------------------- */

int br__cuda_roofline(void *device, const void *buf, size_t n, struct br_roofline *out,
                      struct br_err *err);

#ifdef __cplusplus
}
#endif
#endif
