/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* detect.c - reports every tier as present; those that the machine lacks are emulated. */
#define br__cpu_detect real_cpu_detect
#include "../../kernels/cpu/detect.c"
#undef br__cpu_detect
#include "../unit/librun.h"

uint64_t br__cpu_detect(void);

uint64_t br__cpu_detect(void)
{
    return real_cpu_detect() | BR__CPU_AVX512 | BR__CPU_AVX512_BF16 | BR__CPU_AMX;
}

int tested_natively(const struct br__cpu_tier *t)
{
    return (real_cpu_detect() & t->features) == t->features;
}
