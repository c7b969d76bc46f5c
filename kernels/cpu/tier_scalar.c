/* tier_scalar.c - every kernel for any machine. */
#define TIER scalar
#include "tier_body.h"
