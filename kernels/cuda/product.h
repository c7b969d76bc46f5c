/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* product.h - a matrix product as the files that compute one see it. */
#ifndef BR__CUDA_PRODUCT_H
#define BR__CUDA_PRODUCT_H

#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Element (i, k) is data[i * ld + k], or data[k * ld + i] if k_major. */
struct br__cuda_mat {
    const void *data;
    uint32_t dtype; /* float32, bfloat16 or float16 */
    int k_major;
    int64_t ld;
};

/* out[i, j] = the sum over k of a(i, k) b(j, k).
 *
 * Of experts: offsets i32[n_experts + 1] on the device say which rows of a belong to each.  Rows
 * offsets[e] <= i < offsets[e + 1] meet b + e * b_stride, and rows from offsets[n_experts] on
 * become zeros; or, with by_k, these k of both make out + e * out_stride, which is zeros for none.
 */
struct br__cuda_product {
    struct br__cuda_mat a, b;
    void *out;
    uint32_t out_dtype; /* float32 or bfloat16 */
    int add;            /* to what is in out, which is float32 */
    int may_round;      /* a and b to bfloat16 */
    int by_k;
    int64_t ldo, m, n, k;
    const int32_t *offsets; /* NULL: no experts */
    int64_t n_experts, b_stride, out_stride;
};

/* Enqueue it.  scratch: br__cuda_multiply_scratch() bytes of the device. */
void br__cuda_multiply(const struct br_call *c, const struct br__cuda_product *p, void *scratch);
size_t br__cuda_multiply_scratch(const struct br__cuda_product *p);

/* gemm.c: the product by cuBLASLt; 0 if it is none for it, which the caller then computes. */
int br__cuda_gemm(const struct br_call *c, const struct br__cuda_product *p);

#ifdef __cplusplus
}
#endif
#endif
