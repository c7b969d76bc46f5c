/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* small_gemm_impl.h - small float32 products, C = beta C + A B, of matrices that are in cache: what
 * attention and the delta rule are made of.
 *
 * Needs: vec.h.  Defines: small_gemm, struct small_gemm, SMALL_MR.
 *
 * A may lie either way round (its elements are only ever spread over a vector); rows of B and C are
 * contiguous.  Registers hold SMALL_MR rows by SMALL_NV vectors of C while k runs; a panel of B
 * that many vectors wide stays in the first-level cache for all rows of A. */

#define SMALL_MR 6
#if VN == 16 || defined(BR__VEC_NEON)
#define SMALL_NV 4 /* 24 of 32 registers */
#else
#define SMALL_NV 2 /* 12 of 16 */
#endif

struct small_gemm {
    const float *a;
    int64_t ar, ak; /* elements from row to row, from k to k + 1 */
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    float beta; /* 0: C is not read */
};

/* mr x nv vectors of C at row i, column j; the vector has `part` lanes where that is not 0. */
BR__INLINE void small_gemm_tile(const struct small_gemm *p, int64_t k, int64_t i, int64_t j,
                                const int mr, const int nv, int part)
{
    vf acc[SMALL_MR][SMALL_NV], b[SMALL_NV];
    const float *ap = p->a + i * p->ar, *bp = p->b + j;
    float *cp = p->c + i * p->ldc + j;
    BR__UNROLL
    for (int r = 0; r < mr; r++)
        BR__UNROLL
    for (int s = 0; s < nv; s++)
        acc[r][s] = v_zero();
    for (int64_t l = 0; l < k; l++, ap += p->ak, bp += p->ldb) {
        BR__UNROLL
        for (int s = 0; s < nv; s++)
            b[s] = part ? v_load_n(bp, part) : v_load(bp + s * VN);
        BR__UNROLL
        for (int r = 0; r < mr; r++) {
            vf a = v_set1(ap[r * p->ar]);
            BR__UNROLL
            for (int s = 0; s < nv; s++)
                acc[r][s] = v_fma(a, b[s], acc[r][s]);
        }
    }
    vf beta = v_set1(p->beta);
    BR__UNROLL
    for (int r = 0; r < mr; r++)
        BR__UNROLL
    for (int s = 0; s < nv; s++) {
        float *c = cp + r * p->ldc + s * VN;
        vf v = acc[r][s];
        if (p->beta != 0)
            v = v_fma(beta, part ? v_load_n(c, part) : v_load(c), v);
        if (part)
            v_store_n(c, v, part);
        else
            v_store(c, v);
    }
}

/* One panel of columns, all m rows. */
BR__INLINE void small_gemm_panel(const struct small_gemm *p, int64_t m, int64_t k, int64_t j,
                                 const int nv, int part)
{
    int64_t i = 0;
    for (; i + SMALL_MR <= m; i += SMALL_MR)
        small_gemm_tile(p, k, i, j, SMALL_MR, nv, part);
    switch (m - i) {
    case 5:
        small_gemm_tile(p, k, i, j, 5, nv, part);
        break;
    case 4:
        small_gemm_tile(p, k, i, j, 4, nv, part);
        break;
    case 3:
        small_gemm_tile(p, k, i, j, 3, nv, part);
        break;
    case 2:
        small_gemm_tile(p, k, i, j, 2, nv, part);
        break;
    case 1:
        small_gemm_tile(p, k, i, j, 1, nv, part);
        break;
    }
}

/* C[m, n] = beta C + A[m, k] B[k, n] */
static void small_gemm(const struct small_gemm *p, int64_t m, int64_t n, int64_t k)
{
    int64_t j = 0;
    for (; j + SMALL_NV * VN <= n; j += SMALL_NV * VN)
        small_gemm_panel(p, m, k, j, SMALL_NV, 0);
    for (; j + VN <= n; j += VN)
        small_gemm_panel(p, m, k, j, 1, 0);
    if (j < n)
        small_gemm_panel(p, m, k, j, 1, (int)(n - j));
}
