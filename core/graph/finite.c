/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* finite.c - NaN/Inf scan, run over all logits at every decode step. */
#include "graph.h"

#include <math.h>
#include <string.h>

#define AT_ONCE 64 /* a constant, so that compilers take vectors for it */

/* Whether one has an exponent of ones: adding one to it carries into the sign. */
static int any_not_finite(const float x[AT_ONCE])
{
    uint32_t carries = 0;
    for (int i = 0; i < AT_ONCE; i++) {
        uint32_t u;
        memcpy(&u, x + i, sizeof u);
        carries |= (u & 0x7F800000) + 0x00800000;
    }
    return carries >> 31;
}

size_t br__first_not_finite(const float *x, size_t n)
{
    size_t i = 0;
    while (i + AT_ONCE <= n && !any_not_finite(x + i))
        i += AT_ONCE;
    while (i < n && isfinite(x[i]))
        i++;
    return i;
}
