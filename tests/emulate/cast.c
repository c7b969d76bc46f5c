/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cast.c - conversions in plain C, in place of kernels/cpu/cast.c, which has instructions of the
 * tiers. */
#include "../../kernels/cpu/cpu.h"

static const struct br__cpu_tier *plain(void)
{
    return &br__cpu_tiers[0];
}
#define br__cpu_tier plain
#include "../../kernels/cpu/cast.c"
