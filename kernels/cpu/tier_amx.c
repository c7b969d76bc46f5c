/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_amx.c - matrix products for AMX tiles of bfloat16. */
#define TIER amx
#define BR__VEC_AVX512
#define BR__MATRIX_ONLY
#define BR__PAIRS
#define BR__TILES
#define GEMV_MAX_ROWS 8 /* more are faster in tiles */
#include "tier_impl.h"
