/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_avx512.c - every kernel for AVX-512 F, BW, DQ and VL. */
#define TIER avx512
#define BR__VEC_AVX512
#include "tier_impl.h"
