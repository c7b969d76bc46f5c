/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* clock.c - the monotonic clock. */
#include "base.h"
#include <time.h>

int64_t br__clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t br__clock_ms(void)
{
    return br__clock_ns() / 1000000;
}

double br__now(void)
{
    return (double)br__clock_ns() * 1e-9;
}
