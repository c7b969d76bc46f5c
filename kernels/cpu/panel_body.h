/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* panel_body.h - small float32 products, C = beta C + A B, of matrices that are in cache: what
 * attention and the delta rule are made of.
 *
 * A may lie either way round (its elements are only ever spread over a vector); rows of B and C are
 * contiguous.  Registers hold PANEL_M rows by PANEL_N vectors of C while k runs; a panel of B that
 * many vectors wide stays in the first cache for all rows of A. */

#define PANEL_M 6
#if VN == 16 || defined(BR__VEC_NEON)
#define PANEL_N 4 /* 24 of 32 registers */
#else
#define PANEL_N 2 /* 12 of 16 */
#endif

struct panel_product {
    const float *a;
    int64_t ar, ak; /* elements from row to row, from k to k + 1 */
    const float *b;
    int64_t ldb;
    float *c;
    int64_t ldc;
    float beta; /* 0: C is not read */
};

#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 8")
#endif

/* mr x nv vectors of C at row i, column j; the vector has `part` lanes where that is not 0. */
BR__INLINE void panel(const struct panel_product *p, int64_t k, int64_t i, int64_t j, const int mr,
                      const int nv, int part)
{
    vf acc[PANEL_M][PANEL_N], b[PANEL_N];
    const float *ap = p->a + i * p->ar, *bp = p->b + j;
    float *cp = p->c + i * p->ldc + j;
    UNROLL
    for (int r = 0; r < mr; r++)
        UNROLL
    for (int s = 0; s < nv; s++)
        acc[r][s] = v_zero();
    for (int64_t l = 0; l < k; l++, ap += p->ak, bp += p->ldb) {
        UNROLL
        for (int s = 0; s < nv; s++)
            b[s] = part ? v_load_n(bp, part) : v_load(bp + s * VN);
        UNROLL
        for (int r = 0; r < mr; r++) {
            vf a = v_set1(ap[r * p->ar]);
            UNROLL
            for (int s = 0; s < nv; s++)
                acc[r][s] = v_fma(a, b[s], acc[r][s]);
        }
    }
    vf beta = v_set1(p->beta);
    UNROLL
    for (int r = 0; r < mr; r++)
        UNROLL
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
BR__INLINE void panel_rows(const struct panel_product *p, int64_t m, int64_t k, int64_t j, const int nv,
                           int part)
{
    int64_t i = 0;
    for (; i + PANEL_M <= m; i += PANEL_M)
        panel(p, k, i, j, PANEL_M, nv, part);
    switch (m - i) {
    case 5:
        panel(p, k, i, j, 5, nv, part);
        break;
    case 4:
        panel(p, k, i, j, 4, nv, part);
        break;
    case 3:
        panel(p, k, i, j, 3, nv, part);
        break;
    case 2:
        panel(p, k, i, j, 2, nv, part);
        break;
    case 1:
        panel(p, k, i, j, 1, nv, part);
        break;
    }
}

/* C[m, n] = beta C + A[m, k] B[k, n] */
static void multiply(const struct panel_product *p, int64_t m, int64_t n, int64_t k)
{
    int64_t j = 0;
    for (; j + PANEL_N * VN <= n; j += PANEL_N * VN)
        panel_rows(p, m, k, j, PANEL_N, 0);
    for (; j + VN <= n; j += VN)
        panel_rows(p, m, k, j, 1, 0);
    if (j < n)
        panel_rows(p, m, k, j, 1, (int)(n - j));
}
