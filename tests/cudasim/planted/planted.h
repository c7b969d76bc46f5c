/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* planted.h - what the planted faults are written with.  Each is a function
 *     int br__planted_<name>(void)
 * that returns 0 if its result is right.  What they take is given back after them. */
#ifndef PLANTED_H
#define PLANTED_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The fault, and what stands in its place in the repaired twin. */
#ifdef REPAIRED
#define PLANT(wrong, right) right
#else
#define PLANT(wrong, right) wrong
#endif

#define BUG(name, checker, what) int br__planted_##name(void);
#include "bugs.def"
#undef BUG

/* The streams of a test: number 0 is made on device 0 by the first call. */
cudaStream_t planted_stream(int number);
/* n bytes of device memory that nobody has written; a copy of the host's; pinned memory. */
void *planted_room(size_t n);
void *planted_upload(const void *host, size_t n);
void *planted_pinned(size_t n);
/* Floats 0, 1, 2, ... modulo 64 on the device. */
float *planted_floats(size_t n);
/* Wait for stream 0 and bring n bytes back, in memory that lives as long as the test. */
const void *planted_download(const void *device, size_t n);
/* 0 if the device has these n floats. */
int planted_differs(const float *device, const float *expected, size_t n);
/* End the test if a call failed. */
void planted_ok(cudaError_t rc, const char *call);
#define OK(call) planted_ok(call, #call)

#ifdef __cplusplus
}
#endif
#endif
