/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* blaslt.c - libcublasLt.so.13 of the simulator.
 *
 * Matrices are column-major: element (i, j) is data[j * ld + i].  A plan is made for one problem,
 * and takes from the preference what it may rely on: alignment of the addresses, room for its
 * workspace, which it uses all of.  If it may, it adds parts of a sum in the type of the result, as
 * the library's do.  Rows that are no multiple of 16 bytes get no plan. */
#include "sim.h"

#include <cublasLt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROW_ALIGN 16 /* bytes, of what a plan can be made for */

struct cublasLtContext {
    int device;
};
struct cudasim_product {
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t op[2]; /* of a, of b */
};
struct cudasim_matrix {
    cudaDataType_t type;
    uint64_t rows, cols;
    int64_t ld;
};
struct cudasim_preference {
    uint64_t workspace;
    uint32_t schemes, align[4]; /* of a, b, c, d */
};
/* What a problem is, and what its plan relies on: fits into cublasLtMatmulAlgo_t. */
struct plan {
    uint64_t problem; /* hash */
    uint64_t workspace;
    uint32_t align[4];
    uint32_t split, reserved;
};
_Static_assert(sizeof(struct plan) <= sizeof(cublasLtMatmulAlgo_t), "a plan fits into its handle");

/* A product that is enqueued. */
struct job {
    struct cudasim_product product;
    struct cudasim_matrix a, b, c, d;
    const char *A, *B, *C;
    char *D, *workspace;
    struct plan plan;
    float alpha, beta;
    const void *pc;
};

static int n_handles, n_descriptors;

__attribute__((destructor)) static void end(void)
{
    if (n_handles || n_descriptors)
        sim_report("blaslt", NULL, "%d handles and %d descriptors were not destroyed", n_handles,
                   n_descriptors);
}

/* ---- handles and descriptors ----------------------------------------------------------------- */

SIM_API size_t cublasLtGetVersion(void)
{
    return 130000;
}

SIM_API const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown";
}

static cublasStatus_t make(void **out, size_t n, int *count)
{
    *out = sim_fails() ? NULL : calloc(1, n);
    if (!*out)
        return CUBLAS_STATUS_ALLOC_FAILED;
    __atomic_add_fetch(count, 1, __ATOMIC_RELAXED);
    return CUBLAS_STATUS_SUCCESS;
}

static cublasStatus_t destroy(void *p, int *count)
{
    if (p)
        __atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
    free(p);
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    void *p;
    cublasStatus_t rc = make(&p, sizeof **handle, &n_handles);
    *handle = p;
    if (rc == CUBLAS_STATUS_SUCCESS)
        cudaGetDevice(&(*handle)->device);
    return rc;
}

SIM_API cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return destroy(handle, &n_handles);
}

SIM_API cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *desc,
                                                cublasComputeType_t compute, cudaDataType_t scale)
{
    void *p;
    cublasStatus_t rc = make(&p, sizeof **desc, &n_descriptors);
    *desc = p;
    if (rc == CUBLAS_STATUS_SUCCESS)
        **desc = (struct cudasim_product){.compute = compute, .scale = scale};
    return rc;
}

SIM_API cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return destroy(desc, &n_descriptors);
}

static void copy_attribute(void *to, size_t n, const void *value, size_t size, int attr,
                           const void *pc)
{
    if (size != n)
        sim_report("blaslt", pc, "attribute %d has %zu bytes, %zu were given", attr, n, size);
    memcpy(to, value, n);
}

SIM_API cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                                      cublasLtMatmulDescAttributes_t attr,
                                                      const void *value, size_t size)
{
    if (attr != CUBLASLT_MATMUL_DESC_TRANSA && attr != CUBLASLT_MATMUL_DESC_TRANSB)
        sim_report("blaslt", SIM_CALLER, "the simulator has no attribute %d of products",
                   (int)attr);
    copy_attribute(&desc->op[attr - CUBLASLT_MATMUL_DESC_TRANSA], 4, value, size, (int)attr,
                   SIM_CALLER);
    return CUBLAS_STATUS_SUCCESS;
}

SIM_API cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *layout, cudaDataType type,
                                                  uint64_t rows, uint64_t cols, int64_t ld)
{
    void *p;
    if (!rows || !cols || ld < 0 || (uint64_t)ld < rows)
        sim_report("blaslt", SIM_CALLER,
                   "a matrix of %" PRIu64 " rows and %" PRIu64 " columns, with columns %" PRId64
                   " apart",
                   rows, cols, ld);
    cublasStatus_t rc = make(&p, sizeof **layout, &n_descriptors);
    *layout = p;
    if (rc == CUBLAS_STATUS_SUCCESS)
        **layout = (struct cudasim_matrix){type, rows, cols, ld};
    return rc;
}

SIM_API cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return destroy(layout, &n_descriptors);
}

SIM_API cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *preference)
{
    void *p;
    cublasStatus_t rc = make(&p, sizeof **preference, &n_descriptors);
    *preference = p;
    if (rc == CUBLAS_STATUS_SUCCESS)
        **preference = (struct cudasim_preference){.schemes = CUBLASLT_REDUCTION_SCHEME_MASK,
                                                   .align = {256, 256, 256, 256}};
    return rc;
}

SIM_API cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return destroy(preference, &n_descriptors);
}

SIM_API cublasStatus_t cublasLtMatmulPreferenceSetAttribute(
    cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attr,
    const void *value, size_t size)
{
    struct cudasim_preference *p = preference;
    switch (attr) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        copy_attribute(&p->workspace, 8, value, size, (int)attr, SIM_CALLER);
        break;
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        copy_attribute(&p->schemes, 4, value, size, (int)attr, SIM_CALLER);
        break;
    default:
        copy_attribute(&p->align[attr - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], 4, value, size,
                       (int)attr, SIM_CALLER);
    }
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- plans ----------------------------------------------------------------------------------- */

static size_t bytes_of(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : 2;
}

static void must_fit(const struct cudasim_product *p, const struct cudasim_matrix *a,
                     const struct cudasim_matrix *b, const struct cudasim_matrix *c,
                     const struct cudasim_matrix *d, const void *pc)
{
    uint64_t m = p->op[0] ? a->cols : a->rows, k = p->op[0] ? a->rows : a->cols;
    uint64_t n = p->op[1] ? b->rows : b->cols, k2 = p->op[1] ? b->cols : b->rows;
    if (k != k2 || d->rows != m || d->cols != n || c->rows != m || c->cols != n)
        sim_report("blaslt", pc,
                   "a product of [%" PRIu64 " x %" PRIu64 "] and [%" PRIu64 " x %" PRIu64
                   "] into [%" PRIu64 " x %" PRIu64 "]",
                   m, k, k2, n, d->rows, d->cols);
}

/* The manual's table, as far as bridge goes. */
static bool has_types(const struct cudasim_product *p, const struct cudasim_matrix *a,
                      const struct cudasim_matrix *b, const struct cudasim_matrix *c,
                      const struct cudasim_matrix *d)
{
    bool plain = p->compute == CUBLAS_COMPUTE_32F || p->compute == CUBLAS_COMPUTE_32F_PEDANTIC;
    if (!plain || p->scale != CUDA_R_32F || a->type != b->type || c->type != d->type)
        return false;
    if (a->type == CUDA_R_32F)
        return d->type == CUDA_R_32F;
    return a->type == CUDA_R_16BF && (d->type == CUDA_R_32F || d->type == CUDA_R_16BF);
}

static bool is_aligned(const struct cudasim_matrix *m, uint32_t align)
{
    return align >= ROW_ALIGN && (uint64_t)m->ld * bytes_of(m->type) % ROW_ALIGN == 0;
}

static uint64_t hash(uint64_t h, const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const unsigned char *)p)[i]) * 1099511628211u;
    return h;
}

static uint64_t problem_of(const struct cudasim_product *p, const struct cudasim_matrix *a,
                           const struct cudasim_matrix *b, const struct cudasim_matrix *c,
                           const struct cudasim_matrix *d)
{
    const struct cudasim_matrix *all[] = {a, b, c, d};
    uint64_t h = hash(14695981039346656037u, p->op, sizeof p->op);
    h = hash(h, &p->compute, sizeof p->compute);
    for (int i = 0; i < 4; i++) {
        h = hash(h, &all[i]->type, sizeof all[i]->type);
        h = hash(h, &all[i]->rows, 3 * sizeof(uint64_t));
    }
    return h;
}

SIM_API cublasStatus_t cublasLtMatmulAlgoGetHeuristic(
    cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
    cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
    cublasLtMatmulPreference_t preference, int wanted, cublasLtMatmulHeuristicResult_t found[],
    int *n)
{
    *n = 0;
    (void)handle;
    must_fit(desc, a, b, c, d, SIM_CALLER);
    if (wanted < 1)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (sim_fails() || !has_types(desc, a, b, c, d) || !is_aligned(a, preference->align[0]) ||
        !is_aligned(b, preference->align[1]) || !is_aligned(d, preference->align[3]))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    struct plan p = {.problem = problem_of(desc, a, b, c, d)};
    /* Some plans want nothing, others odd amounts. */
    uint64_t room = p.problem % 3 * 4096 + p.problem % 7 * 16;
    p.workspace = room < preference->workspace ? room : preference->workspace;
    memcpy(p.align, preference->align, sizeof p.align);
    p.split = d->type != CUDA_R_32F &&
                      (preference->schemes &
                       (CUBLASLT_REDUCTION_SCHEME_INPLACE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE))
                  ? 2
                  : 1;
    memset(&found[0], 0, sizeof found[0]);
    memcpy(&found[0].algo, &p, sizeof p);
    found[0].workspaceSize = p.workspace;
    *n = 1;
    return CUBLAS_STATUS_SUCCESS;
}

/* ---- products -------------------------------------------------------------------------------- */

static float read_element(const char *p, cudaDataType_t type, size_t at)
{
    float x;
    if (type == CUDA_R_32F) {
        memcpy(&x, p + 4 * at, 4);
    } else {
        uint16_t half;
        memcpy(&half, p + 2 * at, 2);
        uint32_t bits = (uint32_t)half << 16;
        memcpy(&x, &bits, 4);
    }
    return x;
}

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fff : (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static void write_element(char *p, cudaDataType_t type, size_t at, float x)
{
    if (type == CUDA_R_32F) {
        memcpy(p + 4 * at, &x, 4);
    } else {
        uint16_t half = bf16_of(x);
        memcpy(p + 2 * at, &half, 2);
    }
}

/* op(m) as floats, k running fastest: line i has m(i, k) for all k. */
static float *lines_of(const char *p, const struct cudasim_matrix *m, bool k_is_row)
{
    size_t lines = k_is_row ? m->cols : m->rows, k = k_is_row ? m->rows : m->cols;
    float *out = malloc(lines * k * sizeof *out);
    if (!out)
        abort();
    for (size_t i = 0; i < lines; i++)
        for (size_t j = 0; j < k; j++) {
            size_t at = k_is_row ? i * (size_t)m->ld + j : j * (size_t)m->ld + i;
            out[i * k + j] = read_element(p, m->type, at);
        }
    return out;
}

static void use(const char *p, const struct cudasim_matrix *m, enum sim_use how, const void *pc)
{
    size_t size = bytes_of(m->type);
    for (size_t j = 0; j < m->cols; j++)
        sim_access(p + j * (size_t)m->ld * size, m->rows * size, how, false, pc);
}

/* The sum of k products, in `split` parts that are rounded to the type of the result. */
static float sum_of(const float *a, const float *b, size_t k, const struct job *j)
{
    float sum = 0;
    for (uint32_t s = 0; s < j->plan.split; s++) {
        double part = 0;
        for (size_t i = k * s / j->plan.split; i < k * (s + 1) / j->plan.split; i++)
            part += (double)a[i] * (double)b[i];
        char rounded[4];
        if (j->plan.split > 1) {
            write_element(rounded, j->d.type, 0, (float)part);
            part = (double)read_element(rounded, j->d.type, 0);
        }
        sum += (float)part;
    }
    return sum;
}

static bool run(void *arg)
{
    const struct job *j = arg;
    size_t k = j->product.op[0] ? j->a.rows : j->a.cols;
    use(j->A, &j->a, SIM_READ, j->pc);
    use(j->B, &j->b, SIM_READ, j->pc);
    if (j->beta != 0)
        use(j->C, &j->c, SIM_READ, j->pc);
    if (j->plan.workspace) {
        sim_access(j->workspace, j->plan.workspace, SIM_WRITE, false, j->pc);
        memset(j->workspace, 0xff, j->plan.workspace);
    }
    float *a = lines_of(j->A, &j->a, j->product.op[0] != CUBLAS_OP_N);
    float *b = lines_of(j->B, &j->b, j->product.op[1] == CUBLAS_OP_N);
    for (size_t col = 0; col < j->d.cols; col++)
        for (size_t row = 0; row < j->d.rows; row++) {
            float v = j->alpha * sum_of(a + row * k, b + col * k, k, j);
            if (j->beta != 0)
                v += j->beta * read_element(j->C, j->c.type, col * (size_t)j->c.ld + row);
            write_element(j->D, j->d.type, col * (size_t)j->d.ld + row, v);
        }
    use(j->D, &j->d, SIM_WRITE, j->pc);
    free(a);
    free(b);
    return true;
}

static void check_address(const void *p, const char *what, uint32_t align, const void *pc)
{
    if ((uintptr_t)p % align)
        sim_report("blaslt", pc, "%s at %p, but the plan was made for addresses of %u bytes", what,
                   p, align);
}

static size_t span(const struct cudasim_matrix *m)
{
    return ((m->cols - 1) * (size_t)m->ld + m->rows) * bytes_of(m->type);
}

static void check_job(const struct job *j, size_t workspace_size)
{
    const char *d_end = j->D + span(&j->d);
    if (j->plan.problem != problem_of(&j->product, &j->a, &j->b, &j->c, &j->d))
        sim_report("blaslt", j->pc, "a plan that was made for another problem");
    check_address(j->A, "A", j->plan.align[0], j->pc);
    check_address(j->B, "B", j->plan.align[1], j->pc);
    check_address(j->C, "C", j->plan.align[2], j->pc);
    check_address(j->D, "D", j->plan.align[3], j->pc);
    check_address(j->workspace, "the workspace", 16, j->pc);
    if (workspace_size < j->plan.workspace)
        sim_report("blaslt", j->pc, "a workspace of %zu bytes, the plan needs %" PRIu64,
                   workspace_size, j->plan.workspace);
    if ((j->A < d_end && j->D < j->A + span(&j->a)) || (j->B < d_end && j->D < j->B + span(&j->b)))
        sim_report("blaslt", j->pc, "D overlaps A or B");
    if (j->beta != 0 && j->C != j->D && j->C < d_end && j->D < j->C + span(&j->c))
        sim_report("blaslt", j->pc, "C overlaps D and is not D");
}

SIM_API cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                      const void *alpha, const void *A, cublasLtMatrixLayout_t a,
                                      const void *B, cublasLtMatrixLayout_t b, const void *beta,
                                      const void *C, cublasLtMatrixLayout_t c, void *D,
                                      cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t *algo,
                                      void *workspace, size_t size, cudaStream_t stream)
{
    struct job j = {.product = *desc,
                    .a = *a,
                    .b = *b,
                    .c = *c,
                    .d = *d,
                    .A = A,
                    .B = B,
                    .C = C,
                    .D = D,
                    .workspace = workspace,
                    .alpha = *(const float *)alpha,
                    .beta = *(const float *)beta,
                    .pc = SIM_CALLER};
    memcpy(&j.plan, algo, sizeof j.plan);
    check_job(&j, size);
    if (sim_fails())
        return CUBLAS_STATUS_EXECUTION_FAILED;
    pthread_mutex_lock(&sim_lock);
    if (handle->device != sim_stream_device(stream, "cublasLtMatmul", SIM_CALLER))
        sim_report("blaslt", SIM_CALLER, "a handle of device %d in a stream of another",
                   handle->device);
    sim_enqueue(stream, "cublasLtMatmul", "blaslt", run, &j, sizeof j, SIM_CALLER);
    pthread_mutex_unlock(&sim_lock);
    return CUBLAS_STATUS_SUCCESS;
}
