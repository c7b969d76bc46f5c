/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_avx2.c - every kernel for AVX2, FMA and F16C. */
#define TIER avx2
#define BR__VEC_AVX2
#include "tier_impl.h"
