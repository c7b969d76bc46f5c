/* tier_neon.c - every kernel for 64-bit ARM. */
#define TIER neon
#define BR__VEC_NEON
#include "tier_body.h"
