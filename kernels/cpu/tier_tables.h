/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_tables.h - kernels.def for every tier of this architecture, fastest tier first.  The
 * includer defines KERNEL and KERNEL_S, which may use TIER and NEEDS. */
#if defined(__x86_64__)
#define BR__MATRIX_ONLY
#define TIER amx
#define NEEDS BR__CPU_AMX
#define BR__TILES
#include "kernels.def"
#undef BR__TILES
#undef TIER
#undef NEEDS
#define TIER avx512_bf16
#define NEEDS BR__CPU_AVX512_BF16
#include "kernels.def"
#undef TIER
#undef NEEDS
#undef BR__MATRIX_ONLY
#define TIER avx512
#define NEEDS BR__CPU_AVX512
#include "kernels.def"
#undef TIER
#undef NEEDS
#define TIER avx2
#define NEEDS BR__CPU_AVX2
#include "kernels.def"
#undef TIER
#undef NEEDS
#elif defined(__aarch64__)
#define TIER neon
#define NEEDS BR__CPU_NEON
#include "kernels.def"
#undef TIER
#undef NEEDS
#endif
#define TIER scalar
#define NEEDS 0
#include "kernels.def"
#undef TIER
#undef NEEDS
