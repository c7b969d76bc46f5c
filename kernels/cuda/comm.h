/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* comm.h - what the device has to do with its communicators. */
#ifndef BR__CUDA_COMM_H
#define BR__CUDA_COMM_H

#include "device.h"

extern const struct br_plane br__cuda_plane;

/* Wait for the stream and tell the first error, or wait for the event alone and tell nothing that
 * came up later.  Where the device has communicators: BR_E_COMM if one of them fails, another rank
 * gives up, or nothing happens for too long; they are aborted then, so that its stream goes on. */
int br__cuda_wait(struct br__cuda *d, cudaEvent_t until, struct br_err *err);
/* Until the stream cannot wait for another rank any more; tells no error. */
void br__cuda_settle(struct br__cuda *d);

#endif
