/* tier_avx2.c - every kernel for AVX2, FMA and F16C. */
#define TIER avx2
#define BR__VEC_AVX2
#include "tier_body.h"
