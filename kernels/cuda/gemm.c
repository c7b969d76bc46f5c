/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gemm.c - matrix products by cuBLASLt.
 *
 * Its matrices are column-major, so the row-major result [m, n] is its [n x m], and b comes first:
 *     D[n x m] = op(b)[n x k] op(a)[k x m]
 * A matrix whose k runs along rows is [k x ..] in its eyes, which b has to transpose and a has not.
 *
 * Plans are kept by shape, strides, dtypes and alignment of the addresses.  The first that the
 * heuristic names is taken, with no timing, so that runs give the same bits; sums of split products
 * are made in float32. */
#include "libs.h"
#include "product.h"

#include <stdlib.h>
#include <string.h>

#define MAX_WORKSPACE ((size_t)32 << 20) /* bytes that a plan may want */
#define WORKSPACES 32                    /* each is twice as large as the one before, at least */
#define PLANS 512                        /* one that meets another's place in the table takes it */

struct key {
    int64_t m, n, k, lda, ldb, ldo;
    uint32_t dtype, out_dtype, a_k_major, b_k_major, add;
    uint32_t align_a, align_b, align_out;
};

struct plan {
    struct key key;
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t a, b, out; /* a and b as struct br__cuda_product has them */
    cublasLtMatmulAlgo_t algo;
    int is_made, is_usable;
};

struct br__cuda_blas {
    cublasLtHandle_t handle;
    /* One product runs at a time, so the largest that a plan wants serves all.  Smaller ones are
     * kept, since a recorded graph may have their address. */
    void *workspaces[WORKSPACES];
    uint32_t n_workspaces;
    size_t workspace_bytes;
    struct plan plans[PLANS];
};

/* ---- plans ----------------------------------------------------------------------------------- */

static void plan_free(struct plan *p)
{
    if (p->product)
        br__cuda_libs.cublasLtMatmulDescDestroy(p->product);
    if (p->a)
        br__cuda_libs.cublasLtMatrixLayoutDestroy(p->a);
    if (p->b)
        br__cuda_libs.cublasLtMatrixLayoutDestroy(p->b);
    if (p->out)
        br__cuda_libs.cublasLtMatrixLayoutDestroy(p->out);
    memset(p, 0, sizeof *p);
}

static cudaDataType_t type_of(uint32_t dtype)
{
    return dtype == BR_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* The matrix whose rows are `lines` and whose other axis is k. */
static int layout_of(cublasLtMatrixLayout_t *out, uint32_t dtype, int k_major, int64_t lines,
                     const struct key *key, int64_t ld)
{
    uint64_t rows = (uint64_t)(k_major ? lines : key->k);
    uint64_t cols = (uint64_t)(k_major ? key->k : lines);
    return br__cuda_libs.cublasLtMatrixLayoutCreate(out, type_of(dtype), rows, cols, ld) !=
           CUBLAS_STATUS_SUCCESS;
}

static int describe(struct plan *p)
{
    const struct key *k = &p->key;
    cublasOperation_t op_b = k->b_k_major ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasOperation_t op_a = k->a_k_major ? CUBLAS_OP_T : CUBLAS_OP_N;
    /* never by TF32 */
    cublasComputeType_t compute =
        k->dtype == BR_BF16 ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_PEDANTIC;
    return br__cuda_libs.cublasLtMatmulDescCreate(&p->product, compute, CUDA_R_32F) ||
           br__cuda_libs.cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA,
                                                        &op_b, sizeof op_b) ||
           br__cuda_libs.cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSB,
                                                        &op_a, sizeof op_a) ||
           layout_of(&p->a, k->dtype, (int)k->a_k_major, k->m, k, k->lda) ||
           layout_of(&p->b, k->dtype, (int)k->b_k_major, k->n, k, k->ldb) ||
           br__cuda_libs.cublasLtMatrixLayoutCreate(&p->out, type_of(k->out_dtype), (uint64_t)k->n,
                                                    (uint64_t)k->m, k->ldo);
}

static int prefer(cublasLtMatmulPreference_t preference, const struct key *k)
{
    const uint64_t workspace = MAX_WORKSPACE;
    const uint32_t schemes =
        CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t size;
    } set[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &k->align_b, sizeof k->align_b},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &k->align_a, sizeof k->align_a},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &k->align_out, sizeof k->align_out},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &k->align_out, sizeof k->align_out},
    };
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++)
        if (br__cuda_libs.cublasLtMatmulPreferenceSetAttribute(preference, set[i].attribute,
                                                               set[i].value, set[i].size))
            return 1;
    return 0;
}

static void *workspace_of(const struct br__cuda_blas *b)
{
    return b->n_workspaces ? b->workspaces[b->n_workspaces - 1] : NULL;
}

static int workspace_grow(struct br__cuda_blas *b, size_t n)
{
    void *p = NULL;
    if (n <= b->workspace_bytes)
        return 0;
    if (n < 2 * b->workspace_bytes)
        n = 2 * b->workspace_bytes;
    if (b->n_workspaces == WORKSPACES || cudaMalloc(&p, n) != cudaSuccess) {
        cudaGetLastError();
        return 1;
    }
    b->workspaces[b->n_workspaces++] = p;
    b->workspace_bytes = n;
    return 0;
}

static void plan_make(struct br__cuda_blas *b, struct plan *p, const struct key *key)
{
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    int n = 0;
    plan_free(p);
    p->key = *key;
    p->is_made = 1;
    if (describe(p) || br__cuda_libs.cublasLtMatmulPreferenceCreate(&preference))
        return;
    if (!prefer(preference, key) &&
        !br__cuda_libs.cublasLtMatmulAlgoGetHeuristic(b->handle, p->product, p->b, p->a, p->out,
                                                      p->out, preference, 1, &found, &n) &&
        n > 0 && found.state == CUBLAS_STATUS_SUCCESS && !workspace_grow(b, found.workspaceSize)) {
        p->algo = found.algo;
        p->is_usable = 1;
    }
    br__cuda_libs.cublasLtMatmulPreferenceDestroy(preference);
}

static struct plan *plan_for(struct br__cuda_blas *b, const struct key *key)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < sizeof *key; i++)
        hash = (hash ^ ((const unsigned char *)key)[i]) * 1099511628211u;
    struct plan *p = &b->plans[hash % PLANS];
    if (!p->is_made || memcmp(&p->key, key, sizeof *key) != 0)
        plan_make(b, p, key);
    return p;
}

/* ---- products -------------------------------------------------------------------------------- */

/* The largest power of two up to 256 that the address is a multiple of. */
static uint32_t alignment_of(const void *p)
{
    uintptr_t low = (uintptr_t)p & -(uintptr_t)p;
    return low == 0 || low > 256 ? 256 : (uint32_t)low;
}

/* Whether cuBLASLt's kernels take it: 16-byte rows, and enough rows that they pay. */
static int suits(const struct br__cuda_product *p)
{
    int64_t unit = p->a.dtype == BR_BF16 ? 8 : 4;
    if (p->offsets || p->a.dtype != p->b.dtype || p->a.dtype == BR_F16)
        return 0;
    if (p->a.dtype == BR_F32 && p->out_dtype != BR_F32)
        return 0;
    if (p->k % unit || p->n % unit || p->a.ld % unit || p->b.ld % unit || p->ldo % unit)
        return 0;
    if ((p->a.k_major && p->m % unit) || p->m > INT32_MAX || p->n > INT32_MAX || p->k > INT32_MAX)
        return 0;
    return alignment_of(p->a.data) >= 16 && alignment_of(p->b.data) >= 16 &&
           alignment_of(p->out) >= 16;
}

int br__cuda_gemm(const struct br_call *c, const struct br__cuda_product *p)
{
    struct br__cuda *d = c->device;
    const float one = 1, beta = p->add ? 1 : 0;
    if (!suits(p))
        return 0;
    struct key key;
    memset(&key, 0, sizeof key); /* it is compared byte by byte */
    key.m = p->m;
    key.n = p->n;
    key.k = p->k;
    key.lda = p->a.ld;
    key.ldb = p->b.ld;
    key.ldo = p->ldo;
    key.dtype = p->a.dtype;
    key.out_dtype = p->out_dtype;
    key.a_k_major = (uint32_t)p->a.k_major;
    key.b_k_major = (uint32_t)p->b.k_major;
    key.add = (uint32_t)p->add;
    key.align_a = alignment_of(p->a.data);
    key.align_b = alignment_of(p->b.data);
    key.align_out = alignment_of(p->out);
    struct plan *plan = plan_for(d->blas, &key);
    if (!plan->is_usable)
        return 0;
    cublasStatus_t rc = br__cuda_libs.cublasLtMatmul(
        d->blas->handle, plan->product, &one, p->b.data, plan->b, p->a.data, plan->a, &beta, p->out,
        plan->out, p->out, plan->out, &plan->algo, workspace_of(d->blas), d->blas->workspace_bytes,
        d->stream);
    if (rc != CUBLAS_STATUS_SUCCESS)
        br__cuda_refuse(c, "cublasLtMatmul: %s", br__cuda_libs.cublasLtGetStatusString(rc));
    br__cuda_launched(c);
    return 1;
}

/* ---- open and close -------------------------------------------------------------------------- */

int br__cuda_blas_open(struct br__cuda *d, struct br_err *err)
{
    int rc = br__cuda_lib_open(BR__CUDA_LIB_cublasLt, err);
    if (rc)
        return rc;
    struct br__cuda_blas *b = calloc(1, sizeof *b);
    if (!b)
        return br_fail(err, BR_E_NOMEM, "out of memory for matrix products");
    d->blas = b;
    cublasStatus_t made = br__cuda_libs.cublasLtCreate(&b->handle);
    if (made != CUBLAS_STATUS_SUCCESS) {
        b->handle = NULL;
        return br_fail(err, BR_E_UNSUPPORTED, "cuda:%d (%s): cublasLtCreate: %s", d->index, d->name,
                       br__cuda_libs.cublasLtGetStatusString(made));
    }
    return BR_OK;
}

void br__cuda_blas_close(struct br__cuda *d)
{
    struct br__cuda_blas *b = d->blas;
    if (!b)
        return;
    for (size_t i = 0; i < PLANS; i++)
        plan_free(&b->plans[i]);
    if (b->handle)
        br__cuda_libs.cublasLtDestroy(b->handle);
    while (b->n_workspaces > 0)
        cudaFree(b->workspaces[--b->n_workspaces]);
    free(b);
    d->blas = NULL;
}
