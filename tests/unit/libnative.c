/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libnative.c - of a program without emulated tiers; the others have tests/emulate/detect.c, which
 * the linker sees first. */
#include "librun.h"

int tested_natively(const struct br__cpu_tier *t)
{
    (void)t;
    return 0;
}
