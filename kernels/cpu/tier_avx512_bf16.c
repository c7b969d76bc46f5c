/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_avx512_bf16.c - matrix products for vdpbf16ps. */
#define TIER avx512_bf16
#define BR__VEC_AVX512
#define BR__MATRIX_ONLY
#define BR__PAIRS
#include "tier_impl.h"
