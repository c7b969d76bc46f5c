/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cast.c - conversions in plain C: theirs is the one file besides the tiers that has instructions
 * of a tier in it. */
#include "../../kernels/cpu/cpu.h"

static const struct br__cpu_tier *plain(void)
{
    return &br__cpu_tiers[0];
}
#define br__cpu_tier plain
#include "../../kernels/cpu/cast.c"
