/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tier_impl.h - all kernels of one tier, as one translation unit.
 *
 * Needs: TIER, and BR__VEC_<TIER> unless it is scalar.  BR__MATRIX_ONLY: matrix products and what
 * is made of them, for tiers that add nothing else; with it BR__PAIRS (bf16 in pairs) and
 * BR__TILES. Defines: br__<name>_<TIER> for the rows of kernels.def, and br__roofline_*_<TIER>. */
#include "access.h"
#include "cpu.h"
#include "vec.h"
#include <math.h>

#define KERNEL(op, weights, values, fn) BR__KERNEL(fn)
#define KERNEL_S(op, weights, values, fn) BR__KERNEL_S(fn)
#include "kernels.def"
#undef KERNEL
#undef KERNEL_S

/* In order of use. */
/* clang-format off */
#include "bf16_blocks_impl.h"
#include "vec_ops_impl.h"
#include "matmul_impl.h"
#include "head_impl.h"
#include "attention_grad_impl.h"
#ifdef BR__PAIRS
#include "attention_impl.h"
#endif
#ifndef BR__MATRIX_ONLY
#include "row_ops_impl.h"
#include "pointwise_impl.h"
#include "norm_impl.h"
#include "moe_impl.h"
#include "loss_impl.h"
#include "optim_impl.h"
#include "small_gemm_impl.h"
#include "attention_impl.h"
#include "conv_impl.h"
#include "delta_impl.h"
#include "delta_grad_impl.h"
#include "narrow_impl.h"
#endif
#include "roofline_impl.h"
/* clang-format on */
