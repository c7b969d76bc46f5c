/* tier_body.h - every body, as one translation unit of a tier.  TIER and BR__VEC_<TIER> are defined. */
#include "cpu.h"
#include "vec.h"

#define KERNEL(op, weights, fn) void BR__FN(fn)(const struct br_call *c);
#define KERNEL_S(op, weights, fn)                                                                  \
    KERNEL(op, weights, fn)                                                                        \
    size_t BR__FN(fn##_scratch)(const struct br_call *c);
#include "kernels.def"
#undef KERNEL
#undef KERNEL_S

#include "matmul_body.h"
#include "peak_body.h"
