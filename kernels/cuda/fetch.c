/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* fetch.c - results that are read while the device works on: each copy has a pinned buffer and an
 * event of its own, so that one is waited for while the next is under way. */
#include "comm.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_BYTES ((size_t)4 << 10)

struct br__cuda_ticket {
    struct br__cuda_ticket *next; /* of the device */
    unsigned char *buffer;
    size_t room, n; /* bytes: of the buffer, of the copy */
    cudaEvent_t done;
    int is_open; /* somebody has the ticket */
    int is_left; /* nobody has waited for the copy */
};

static void fetch_free(struct br__cuda_ticket *f)
{
    if (f->done)
        cudaEventDestroy(f->done);
    if (f->buffer)
        cudaFreeHost(f->buffer);
    free(f);
}

void br__cuda_tickets_close(struct br__cuda *d)
{
    while (d->tickets) {
        struct br__cuda_ticket *f = d->tickets;
        d->tickets = f->next;
        fetch_free(f);
    }
}

static int fetch_new(struct br__cuda *d, size_t n, struct br__cuda_ticket **out, struct br_err *err)
{
    struct br__cuda_ticket *f = calloc(1, sizeof *f);
    void *p = NULL;
    if (!f)
        return br_fail(err, BR_E_NOMEM, "out of memory for a result");
    for (f->room = LEAST_BYTES; f->room < n;)
        f->room *= 2;
    int rc = br__cuda_check(d, cudaMallocHost(&p, f->room), "pinned memory", err);
    f->buffer = p;
    if (!rc)
        rc = br__cuda_check(d, cudaEventCreateWithFlags(&f->done, cudaEventDisableTiming),
                            "an event", err);
    if (rc) {
        fetch_free(f);
        return rc;
    }
    f->next = d->tickets;
    d->tickets = f;
    *out = f;
    return BR_OK;
}

int br__cuda_fetch(void *device, const void *src, size_t n, void **ticket, struct br_err *err)
{
    struct br__cuda *d = device;
    struct br__cuda_ticket *f = d->tickets;
    *ticket = NULL;
    int rc = br__cuda_enter(d, err);
    if (rc)
        return rc;
    while (f && (f->is_open || f->room < n))
        f = f->next;
    if (!f)
        rc = fetch_new(d, n, &f, err);
    if (!rc && f->is_left)
        rc = br__cuda_wait(d, f->done, err);
    if (!rc)
        rc =
            br__cuda_check(d, cudaMemcpyAsync(f->buffer, src, n, cudaMemcpyDeviceToHost, d->stream),
                           "a copy from the device", err);
    if (!rc)
        rc = br__cuda_check(d, cudaEventRecord(f->done, d->stream), "an event", err);
    if (rc)
        return rc;
    f->n = n;
    f->is_open = f->is_left = 1;
    *ticket = f;
    return BR_OK;
}

int br__cuda_fetched(void *device, void *ticket, void *dst, struct br_err *err)
{
    struct br__cuda *d = device;
    struct br__cuda_ticket *f = ticket;
    int rc = BR_OK;
    f->is_open = 0;
    if (!dst)
        return rc;
    rc = br__cuda_enter(d, err);
    if (!rc)
        rc = br__cuda_wait(d, f->done, err);
    f->is_left = rc != BR_OK;
    if (!rc)
        memcpy(dst, f->buffer, f->n);
    return rc;
}
