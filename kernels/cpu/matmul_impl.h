/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* matmul_impl.h - the matrix products of a tier: what each op multiplies, and sharing it out.
 *
 * Needs: bf16_blocks_impl.h, vec_ops_impl.h; BR__PAIRS and BR__TILES as gemm_impl.h.  Defines: the
 * kernel matmul, struct mat, struct product.
 *
 * Every op is a list of products out[i, j] = sum over k of a(i, k) b(j, k), one per expert or just
 * one.  A product with few rows reads its weights once, row by row (gemv_impl.h: bound by memory);
 * others go through packed blocks (gemm_impl.h: bound by arithmetic).  Each product is cut into
 * blocks, which the threads share; no result depends on which thread computed it. */

/* Element (i, k) is data[i * ld + k], or data[k * ld + i] if k_major. */
struct mat {
    const char *data;
    uint32_t dtype;
    int k_major;
    int64_t ld;
};

struct product {
    struct mat a, b;
    float *out;     /* [m, n], row stride ldo */
    uint16_t *half; /* the same as bfloat16, in place of out */
    int64_t ldo, m, n, k;
    int add; /* to what is in out */
};

#include "gemm_impl.h"
#include "gemv_impl.h"

static int is_grouped(const struct br_call *c)
{
    return c->op == BR_OP_GROUPED_MATMUL || c->op == BR_OP_GROUPED_MATMUL_NN ||
           c->op == BR_OP_GROUPED_MATMUL_TN || c->op == BR_OP_GROUPED_MATMUL_TN_ADD;
}

static int matmul_adds(const struct br_call *c)
{
    return c->op == BR_OP_MATMUL_TN_ADD || c->op == BR_OP_GROUPED_MATMUL_TN_ADD;
}

static int is_tn(const struct br_call *c)
{
    return c->op == BR_OP_MATMUL_TN || c->op == BR_OP_GROUPED_MATMUL_TN || matmul_adds(c);
}

static const int32_t *offsets_of(const struct br_call *c)
{
    return c->in[2].data;
}

static int64_t n_products(const struct br_call *c)
{
    return is_grouped(c) ? c->in[2].shape[0] - 1 : 1;
}

/* Rows `from` .. of x, as a(i, k) with k along the row. */
static struct mat rows_of(const struct br_tensor *x, int64_t from, int k_major)
{
    const char *data = (const char *)x->data + from * x->stride[0] * br__float_size(x->dtype);
    return (struct mat){data, x->dtype, k_major, x->stride[0]};
}

/* The weight of product e: [N, K], or part e of [E, N, K]. */
static struct mat weight_of(const struct br_tensor *w, int64_t e, int k_major)
{
    int64_t size = br__float_size(w->dtype);
    if (w->n_dim == 2)
        return (struct mat){w->data, w->dtype, k_major, w->stride[0]};
    if (w->parts)
        return (struct mat){w->parts[e], w->dtype, k_major, w->shape[2]};
    return (struct mat){(const char *)w->data + e * w->stride[0] * size, w->dtype, k_major,
                        w->stride[1]};
}

static struct product product_at(const struct br_call *c, int64_t e)
{
    const struct br_tensor *x = &c->in[0], *w = &c->in[1], *out = c->out;
    int64_t from = 0, n = x->shape[0];
    if (is_grouped(c)) {
        from = offsets_of(c)[e];
        n = offsets_of(c)[e + 1] - from;
    }
    struct product p = {.ldo = out->stride[out->n_dim - 2], .add = matmul_adds(c)};
    if (is_tn(c)) {
        p.a = rows_of(x, from, 1);
        p.b = rows_of(w, from, 1);
        p.out = (float *)out->data + (out->n_dim == 3 ? e * out->stride[0] : 0);
        p.m = x->shape[1];
        p.n = w->shape[1];
        p.k = n;
        return p;
    }
    p.a = rows_of(x, from, 0);
    p.b = weight_of(w, e, c->op == BR_OP_MATMUL_NN || c->op == BR_OP_GROUPED_MATMUL_NN);
    if (out->dtype == BR_BF16)
        p.half = (uint16_t *)out->data + from * out->stride[0];
    else
        p.out = (float *)out->data + from * out->stride[0];
    p.m = n;
    p.n = out->shape[1];
    p.k = x->shape[1];
    return p;
}

/* Few enough rows to be read along with the weights; only where k runs along the weight's rows. */
static int is_small(const struct product *p)
{
    return p->m <= GEMV_MAX_ROWS && !p->a.k_major && !p->b.k_major && p->a.dtype == BR_F32 &&
           !p->half;
}

static int64_t n_blocks(const struct br_call *c, const struct product *p)
{
    if (p->m == 0 || p->n == 0)
        return 0;
    int64_t threads = c->stream->n_threads;
    return is_small(p) ? gemv_n_blocks(p, threads) : gemm_n_blocks(p, threads);
}

/* Rows that belong to no expert. */
static void zero_rest(const struct br_call *c)
{
    int64_t first = offsets_of(c)[n_products(c)], from, to;
    br__thread_range(c, c->out->shape[0] - first, 1, &from, &to);
    for (int64_t r = first + from; r < first + to; r++)
        memset((char *)c->out->data + r * c->out->stride[0] * br__float_size(c->out->dtype), 0,
               (size_t)(c->out->shape[1] * br__float_size(c->out->dtype)));
}

/* Scratch: the packed rows that threads share, whatever the offsets will be (each row of x is
 * packed at most once); then for each thread its block of b or its rows of x. */
static size_t shared_bytes(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    return (gemm_max_bytes(x->shape[0], x->shape[1], n_products(c)) + 63) & ~(size_t)63;
}

static size_t thread_bytes(const struct br_call *c)
{
    int64_t dot = gemv_x_floats(GEMV_MAX_ROWS, c->in[0].shape[1]), gemm = GEMM_LANE_FLOATS;
    if (c->out->dtype == BR_BF16)
        gemm += min_of(c->in[0].shape[0], GEMM_HALF_ROWS) * GEMM_NB;
    return br__line(max_of(dot, gemm)) * sizeof(float);
}

/* Pack what the large products share.  Returns the number of blocks of all products. */
static int64_t matmul_prepare(const struct br_call *c)
{
    int64_t total = 0, n_packed = 0;
    float *packed = c->scratch;
    for (int64_t e = 0; e < n_products(c); e++) {
        struct product p = product_at(c, e);
        total += n_blocks(c, &p);
        if (is_small(&p))
            continue;
        gemm_pack_a(c, &p, packed);
        packed += gemm_a_units(&p);
        n_packed++;
    }
    if (n_packed > 0)
        br__sync(c);
    return total;
}

/* A product, its blocks among those of all, and its rows as matmul_prepare() packed them. */
struct product_cursor {
    struct product p;
    int64_t e, first, n;
    const float *packed;
};

static struct product_cursor cursor_first(const struct br_call *c)
{
    struct product_cursor at = {.p = product_at(c, 0), .packed = c->scratch};
    at.n = n_blocks(c, &at.p);
    return at;
}

/* Go to the product that has block i: mostly the one that is there, or the next. */
static void cursor_seek(const struct br_call *c, struct product_cursor *at, int64_t i)
{
    if (i < at->first)
        *at = cursor_first(c);
    while (i >= at->first + at->n) {
        at->first += at->n;
        at->packed += is_small(&at->p) ? 0 : gemm_a_units(&at->p);
        at->p = product_at(c, ++at->e);
        at->n = n_blocks(c, &at->p);
    }
}

/* Exact products are those of the tier below. */
#ifdef BR__PAIRS
#define BELOW(fn)                                                                                  \
    void br__##fn##_avx512(const struct br_call *c);                                               \
    size_t br__##fn##_scratch_avx512(const struct br_call *c);
BELOW(matmul)
BELOW(head_stats)
BELOW(head_grad)
BELOW(head_pass)
#undef BELOW
#endif

void BR__FN(matmul)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16) {
        br__matmul_avx512(c);
        return;
    }
#endif
    if (c->op == BR_OP_GROUPED_MATMUL || c->op == BR_OP_GROUPED_MATMUL_NN)
        zero_rest(c);
    int64_t total = matmul_prepare(c), x_of = -1;
    float *own =
        (float *)((char *)c->scratch + shared_bytes(c) + c->stream->thread * thread_bytes(c));
    struct product_cursor at = cursor_first(c);
    struct br__share share = br__share(c, total);
    tiles_begin();
    for (int64_t i; br__share_next(&share, &i);) {
        cursor_seek(c, &at, i);
        if (!is_small(&at.p)) {
            gemm_block(c, &at.p, at.packed, i - at.first, own);
            x_of = -1; /* its block of b lies there now */
            continue;
        }
        if (x_of != at.e)
            gemv_pack(&at.p, own);
        x_of = at.e;
        gemv_block(&at.p, c->stream->n_threads, own, i - at.first);
    }
    tiles_end();
}

size_t BR__FN(matmul_scratch)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16)
        return br__matmul_scratch_avx512(c);
#endif
    return shared_bytes(c) + c->stream->n_threads * thread_bytes(c);
}
