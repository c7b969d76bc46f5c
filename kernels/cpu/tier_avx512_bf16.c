/* tier_avx512_bf16.c - matrix products for vdpbf16ps. */
#define TIER avx512_bf16
#define BR__VEC_AVX512
#define BR__MATRIX_ONLY
#define BR__PAIRS
#include "tier_body.h"
