/* tier_avx512.c - every kernel for AVX-512 F, BW, DQ and VL. */
#define TIER avx512
#define BR__VEC_AVX512
#include "tier_body.h"
