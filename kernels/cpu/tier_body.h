/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_body.h - every body, as one translation unit of a tier.  TIER and BR__VEC_<TIER> are defined. */
#include "access.h"
#include "cpu.h"
#include "vec.h"
#include <math.h>

#define KERNEL(op, weights, values, fn) void BR__FN(fn)(const struct br_call *c);
#define KERNEL_S(op, weights, values, fn)                                                          \
    KERNEL(op, weights, values, fn)                                                                \
    size_t BR__FN(fn##_scratch)(const struct br_call *c);
#include "kernels.def"
#undef KERNEL
#undef KERNEL_S

#include "split_body.h"
#include "stretch_body.h"
#include "matmul_body.h"
#include "head_body.h"
#include "attention_grad_body.h"
#ifdef BR__PAIRS
#include "attention_body.h"
#endif
#ifndef BR__MATRIX_ONLY
#include "rows_body.h"
#include "pointwise_body.h"
#include "norm_body.h"
#include "moe_body.h"
#include "loss_body.h"
#include "optim_body.h"
#include "panel_body.h"
#include "attention_body.h"
#include "conv_body.h"
#include "delta_body.h"
#include "delta_grad_body.h"
#include "narrow_body.h"
#endif
#include "peak_body.h"
