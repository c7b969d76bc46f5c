/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_neon.c - every kernel for 64-bit ARM. */
#define TIER neon
#define BR__VEC_NEON
#include "tier_impl.h"
