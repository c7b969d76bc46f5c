/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* device.c - a CUDA device: its stream, memory, errors, and how weights are brought to it. */
#include "comm.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---------------------------------------------------------------------------------- */

static const char *const op_names[] = {
#define OP(name, min, max, shape, grad, weight, value) #name,
#include <bridge/ops.def>
#undef OP
    "a copy",
};

/* Errors after which the context is of no use. */
static int ends_context(cudaError_t rc)
{
    return rc == cudaErrorIllegalAddress || rc == cudaErrorMisalignedAddress ||
           rc == cudaErrorLaunchFailure || rc == cudaErrorUnknown;
}

/* Keep it if it is the first. */
static void keep_error(struct br__cuda *d, cudaError_t rc, uint32_t op)
{
    if (rc == cudaSuccess)
        return;
    cudaGetLastError();
    d->is_dead |= ends_context(rc);
    if (d->status)
        return;
    d->status = rc == cudaErrorMemoryAllocation ? BR_E_NOMEM : BR_E_UNSUPPORTED;
    d->op = op;
    snprintf(d->what, sizeof d->what, "%s", cudaGetErrorString(rc));
}

/* The error that is kept, told once; one that ended the context is told again and again. */
static int tell_error(struct br__cuda *d, struct br_err *err)
{
    if (!d->status)
        return BR_OK;
    int rc = br_fail(err, d->status, "cuda:%d (%s): %s%s: %s%s", d->index, d->name,
                     d->sync_each ? "" : "at or before ", op_names[d->op], d->what,
                     d->is_dead && !d->sync_each ? "; BRIDGE_CUDA_SYNC=1 names the op" : "");
    if (!d->is_dead)
        d->status = BR_OK;
    return rc;
}

int br__cuda_enter(struct br__cuda *d, struct br_err *err)
{
    cudaError_t rc = cudaSetDevice(d->index);
    keep_error(d, rc, BR_N_OPS);
    d->is_dead |= rc != cudaSuccess; /* what follows would go to another device */
    return d->is_dead ? tell_error(d, err) : BR_OK;
}

int br__cuda_enter_to_free(struct br__cuda *d)
{
    int answers = cudaSetDevice(d->index) == cudaSuccess || cudaSetDevice(d->index) == cudaSuccess;
    cudaGetLastError();
    return answers;
}

int br__cuda_check(struct br__cuda *d, cudaError_t rc, const char *what, struct br_err *err)
{
    if (rc == cudaSuccess)
        return tell_error(d, err);
    cudaGetLastError();
    if (d->status) { /* the earlier one is why */
        d->is_dead |= ends_context(rc);
        return tell_error(d, err);
    }
    if (ends_context(rc)) /* what comes next is not carried out, and has to say so */
        keep_error(d, rc, BR_N_OPS);
    return br_fail(err, rc == cudaErrorMemoryAllocation ? BR_E_NOMEM : BR_E_UNSUPPORTED,
                   "cuda:%d (%s): %s: %s", d->index, d->name, what, cudaGetErrorString(rc));
}

cudaStream_t br__cuda_stream(const struct br_call *c)
{
    struct br__cuda *d = c->device;
    return d->stream;
}

int br__cuda_may_overlap(const struct br_call *c)
{
    const struct br__cuda *d = c->device;
    return d->may_overlap;
}

void br__cuda_launched(const struct br_call *c)
{
    struct br__cuda *d = c->device;
    keep_error(d, cudaGetLastError(), c->op);
    if (d->sync_each && !d->is_dead)
        keep_error(d, cudaStreamSynchronize(d->stream), c->op);
}

void br__cuda_zero(const struct br_call *c, void *p, size_t n)
{
    struct br__cuda *d = c->device;
    keep_error(d, cudaMemsetAsync(p, 0, n, d->stream), c->op);
}

void br__cuda_refuse(const struct br_call *c, const char *format, ...)
{
    struct br__cuda *d = c->device;
    va_list args;
    if (d->status)
        return;
    d->status = BR_E_UNSUPPORTED;
    d->op = c->op;
    va_start(args, format);
    vsnprintf(d->what, sizeof d->what, format, args);
    va_end(args);
}

int br__cuda_sync(void *device, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    return rc ? rc : br__cuda_wait(d, NULL, err);
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *br__cuda_alloc(void *device, size_t n)
{
    struct br__cuda *d = device;
    void *p = NULL;
    if (br__cuda_enter(d, NULL))
        return NULL;
    if (cudaMalloc(&p, n ? n : 1) != cudaSuccess) {
        cudaGetLastError();
        return NULL;
    }
    if (cudaMemsetAsync(p, 0, n ? n : 1, d->stream) != cudaSuccess) {
        cudaGetLastError();
        cudaFree(p);
        return NULL;
    }
    return p;
}

void br__cuda_free(void *device, void *p)
{
    struct br__cuda *d = device;
    if (!p || !br__cuda_enter_to_free(d))
        return;
    br__cuda_settle(d);
    keep_error(d, cudaStreamSynchronize(d->stream), BR_N_OPS);
    keep_error(d, cudaFree(p), BR_N_OPS);
}

int br__cuda_copy(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    return rc ? rc
              : br__cuda_check(d, cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToDevice, d->stream),
                               "a copy on the device", err);
}

/* ---- two streams ----------------------------------------------------------------------------- */

static int make_second(struct br__cuda *d, struct br_err *err)
{
    cudaError_t rc = cudaSuccess;
    if (!d->second)
        rc = cudaStreamCreateWithFlags(&d->second, cudaStreamNonBlocking);
    if (rc == cudaSuccess && !d->forked)
        rc = cudaEventCreateWithFlags(&d->forked, cudaEventDisableTiming);
    if (rc == cudaSuccess && !d->joined)
        rc = cudaEventCreateWithFlags(&d->joined, cudaEventDisableTiming);
    return br__cuda_check(d, rc, "a second stream", err);
}

/* `to` goes on after all that `from` was given. */
static int stream_after(struct br__cuda *d, cudaStream_t to, cudaStream_t from, cudaEvent_t event,
                        struct br_err *err)
{
    cudaError_t rc = cudaEventRecord(event, from);
    if (rc == cudaSuccess)
        rc = cudaStreamWaitEvent(to, event, 0);
    return br__cuda_check(d, rc, "an order of streams", err);
}

int br__cuda_use_stream(void *device, enum br_which_stream which, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    if (!rc)
        rc = make_second(d, err);
    if (!rc && which == BR_STREAM_JOIN)
        return stream_after(d, d->first, d->second, d->joined, err);
    d->stream = d->first;
    if (!rc && which == BR_STREAM_SECOND) {
        rc = stream_after(d, d->second, d->first, d->forked, err);
        d->stream = rc ? d->first : d->second;
    }
    return rc;
}

static void close_second(struct br__cuda *d)
{
    if (d->second) {
        cudaStreamSynchronize(d->second);
        cudaStreamDestroy(d->second);
    }
    if (d->forked)
        cudaEventDestroy(d->forked);
    if (d->joined)
        cudaEventDestroy(d->joined);
}

/* ---- pinned buffers -------------------------------------------------------------------------- */

#define RING 4
#define RING_BYTES ((size_t)32 << 20)  /* of a buffer */
#define CHUNK_BYTES ((size_t)1 << 20)  /* of a buffer, that one thread makes at once */
#define SMALL_BYTES ((size_t)64 << 10) /* copies up to that go through the first buffer's start */

/* Memory that the device reads by itself: scarce and slow to make, so there is one set of it.  A
 * buffer may be written again when its event has passed. */
struct br__cuda_ring {
    unsigned char *buffer[RING];
    size_t bytes;
    cudaEvent_t done[RING];
    uint32_t next;
};

static void ring_close(struct br__cuda_ring *r)
{
    for (int i = 0; r && i < RING; i++) {
        if (r->done[i])
            cudaEventDestroy(r->done[i]);
        if (r->buffer[i])
            cudaFreeHost(r->buffer[i]);
    }
    free(r);
}

/* bytes: of a buffer. */
static int ring_open(struct br__cuda *d, size_t bytes, struct br_err *err)
{
    struct br__cuda_ring *r = calloc(1, sizeof *r);
    if (!r)
        return br_fail(err, BR_E_NOMEM, "out of memory for a ring of buffers");
    r->bytes = bytes;
    for (int i = 0; i < RING; i++) {
        void *p = NULL;
        int rc = br__cuda_check(d, cudaMallocHost(&p, bytes), "pinned memory", err);
        r->buffer[i] = p;
        if (!rc)
            rc = br__cuda_check(d, cudaEventCreateWithFlags(&r->done[i], cudaEventDisableTiming),
                                "an event", err);
        if (rc) {
            ring_close(r);
            return rc;
        }
    }
    d->ring = r;
    return BR_OK;
}

/* A ring whose buffers hold n bytes, or as much as they ever do. */
static int ring_for(struct br__cuda *d, size_t n, struct br_err *err)
{
    size_t want = n <= SMALL_BYTES ? SMALL_BYTES : RING_BYTES;
    if (d->ring && d->ring->bytes >= want)
        return BR_OK;
    int rc = d->ring ? br__cuda_sync(d, err) : BR_OK;
    if (rc)
        return rc;
    ring_close(d->ring);
    d->ring = NULL;
    return ring_open(d, want, err);
}

/* The next buffer, when it may be written. */
static int ring_take(struct br__cuda *d, uint32_t *i, struct br_err *err)
{
    *i = d->ring->next++ % RING;
    return br__cuda_wait(d, d->ring->done[*i], err);
}

static int ring_send(struct br__cuda *d, uint32_t i, void *dst, size_t n, struct br_err *err)
{
    int rc = br__cuda_check(
        d, cudaMemcpyAsync(dst, d->ring->buffer[i], n, cudaMemcpyHostToDevice, d->stream),
        "a copy to the device", err);
    return rc ? rc
              : br__cuda_check(d, cudaEventRecord(d->ring->done[i], d->stream), "an event", err);
}

int br__cuda_upload(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    if (!rc)
        rc = ring_for(d, n, err);
    for (size_t at = 0, k; at < n && !rc; at += k) {
        uint32_t i;
        k = n - at < d->ring->bytes ? n - at : d->ring->bytes;
        rc = ring_take(d, &i, err);
        if (rc)
            break;
        memcpy(d->ring->buffer[i], (const char *)src + at, k);
        rc = ring_send(d, i, (char *)dst + at, k, err);
    }
    return rc;
}

int br__cuda_download(void *device, void *dst, const void *src, size_t n, struct br_err *err)
{
    struct br__cuda *d = device;
    int rc = br__cuda_enter(d, err);
    if (!rc)
        rc = ring_for(d, n, err);
    for (size_t at = 0, k; at < n && !rc; at += k) {
        uint32_t i;
        k = n - at < d->ring->bytes ? n - at : d->ring->bytes;
        rc = ring_take(d, &i, err);
        if (rc)
            break;
        rc = br__cuda_check(d,
                            cudaMemcpyAsync(d->ring->buffer[i], (const char *)src + at, k,
                                            cudaMemcpyDeviceToHost, d->stream),
                            "a copy from the device", err);
        if (!rc)
            rc = br__cuda_sync(d, err);
        if (!rc)
            memcpy((char *)dst + at, d->ring->buffer[i], k);
    }
    return rc ? rc : br__cuda_sync(d, err);
}

/* ---- weights: made by threads, a buffer while the one before is under way -------------------- */

struct filling {
    const struct br_source_bytes *from;
    unsigned char *buffer;
    size_t at, n; /* of the weight: what the buffer will hold */
    pthread_mutex_t lock;
    size_t next; /* of the buffer: what no thread has taken yet */
    int rc;
    struct br_err *err; /* the first thread's that fails */
};

static void *fill_chunks(void *arg)
{
    struct filling *f = arg;
    struct br_err err = BR_ERR_INIT;
    for (;;) {
        pthread_mutex_lock(&f->lock);
        size_t at = f->next, k = f->n - at < CHUNK_BYTES ? f->n - at : CHUNK_BYTES;
        f->next = f->rc ? f->n : at + k;
        k = f->rc ? 0 : k;
        pthread_mutex_unlock(&f->lock);
        if (k == 0)
            return NULL;
        int rc = f->from->make(f->from->arg, f->buffer + at, f->at + at, k, &err);
        if (!rc)
            continue;
        pthread_mutex_lock(&f->lock);
        if (!f->rc && f->err)
            *f->err = err;
        f->rc = f->rc ? f->rc : rc;
        pthread_mutex_unlock(&f->lock);
    }
}

#define MAX_FILLERS 16

/* Fill the buffer, on this thread and others; fewer than wanted where no more can be started. */
static int fill_buffer(struct filling *f, uint32_t n_threads)
{
    pthread_t threads[MAX_FILLERS];
    size_t chunks = (f->n + CHUNK_BYTES - 1) / CHUNK_BYTES;
    uint32_t want = n_threads < MAX_FILLERS ? n_threads : MAX_FILLERS, n = 0;
    while (n + 1 < want && n + 1 < chunks && !pthread_create(&threads[n], NULL, fill_chunks, f))
        n++;
    fill_chunks(f);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    return f->rc;
}

int br__cuda_fill(void *device, void *dst, size_t n, const struct br_source_bytes *from,
                  uint32_t n_threads, struct br_err *err)
{
    struct br__cuda *d = device;
    struct filling f = {.from = from, .err = err};
    int rc = br__cuda_enter(d, err);
    if (!rc)
        rc = ring_for(d, n, err);
    if (rc)
        return rc;
    pthread_mutex_init(&f.lock, NULL);
    for (size_t at = 0; at < n && !rc; at += f.n) {
        uint32_t i;
        rc = ring_take(d, &i, err);
        if (rc)
            break;
        f.buffer = d->ring->buffer[i];
        f.at = at;
        f.n = n - at < d->ring->bytes ? n - at : d->ring->bytes;
        f.next = 0;
        rc = fill_buffer(&f, n_threads);
        if (!rc)
            rc = ring_send(d, i, (char *)dst + at, f.n, err);
    }
    pthread_mutex_destroy(&f.lock);
    return rc;
}

/* ---- open and close -------------------------------------------------------------------------- */

void br__cuda_run(void *device, void (*fn)(void *arg, const struct br_stream *s), void *arg)
{
    struct br__cuda *d = device;
    if (!br__cuda_enter(d, NULL)) /* the next that waits tells the error */
        fn(arg, &d->as_stream);
}

static int device_begin(struct br__cuda *d, struct br_err *err)
{
    struct cudaDeviceProp prop;
    const char *each = getenv("BRIDGE_CUDA_SYNC");
    int rc = br__cuda_check(d, cudaGetDeviceProperties(&prop, d->index), "device", err);
    if (rc)
        return rc;
    snprintf(d->name, sizeof d->name, "%.*s", (int)sizeof d->name - 1, prop.name);
    d->processors = prop.multiProcessorCount;
    d->may_overlap = prop.major >= 9;
    d->sync_each = each && each[0] && strcmp(each, "0") != 0 ? each : NULL;
    d->op = BR_N_OPS;
    d->as_stream = (struct br_stream){.impl = d, .n_threads = 1};
    rc = br__cuda_check(d, cudaSetDevice(d->index), "device", err);
    if (!rc)
        rc = br__cuda_check(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking),
                            "a stream", err);
    d->first = d->stream;
    return rc ? rc : br__cuda_blas_open(d, err);
}

int br__cuda_open(void **device, uint32_t index, uint32_t n_threads, uint64_t *features,
                  struct br_err *err)
{
    (void)n_threads;
    struct br__cuda *d = calloc(1, sizeof *d);
    *device = NULL;
    if (!d)
        return br_fail(err, BR_E_NOMEM, "out of memory for device %u", index);
    d->index = (int)index;
    snprintf(d->name, sizeof d->name, "GPU");
    int rc = device_begin(d, err);
    if (rc) {
        br__cuda_close(d);
        return rc;
    }
    *features = 0;
    *device = d;
    return BR_OK;
}

void br__cuda_close(void *device)
{
    struct br__cuda *d = device;
    if (!d)
        return;
    br__cuda_enter_to_free(d);
    if (d->stream)
        cudaStreamSynchronize(d->stream);
    close_second(d);
    br__cuda_blas_close(d);
    br__cuda_tickets_close(d);
    ring_close(d->ring);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    cudaGetLastError();
    free(d);
}
