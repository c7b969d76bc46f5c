/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_impl.h - causal attention of grouped heads over sequences.
 *
 * Needs: bf16_blocks_impl.h, vec_ops_impl.h, matmul_impl.h; small_gemm_impl.h unless BR__PAIRS,
 * with which queries and weights are rounded to bf16.  Defines: the kernel attention.
 *
 * Online softmax over key blocks (Milakov and Gimelshein 2018; FlashAttention, Dao et al. 2022):
 * scores are never stored as a whole, each query row keeps a running maximum and sum.  The query
 * heads of a group share a key head, so they are rows of one matrix: row r is query r / group, head
 * r % group.  Prefill transposes each key block once for many rows; decode takes dot products with
 * the untransposed keys, and shares out the keys of one sequence: `parts` of them, merged at the
 * end. Every choice depends on shapes and on seqs only: the result does not depend on the number of
 * threads.
 *
 * Order of calls.  A thread takes work items, and each is one or the other:
 *   attention
 *     attention_item         prefill: a block of queries, one key head
 *       prefill_block
 *         query_rows_begin     scaled queries, max = -inf, sum = 0   (of attention_f32_impl.h,
 *         for each block of KEY_BLOCK keys:                           attention_pairs_impl.h,
 *                                                                     attention_tiles_impl.h)
 *           key_block_begin    keys transposed or packed              (")
 *           update_tile        S = Q K', softmax_update_rows, O += P V   (")
 *       prefill_store          O / sum
 *     attention_item         decode: a part of the keys of a sequence, all heads
 *       decode_item
 *         decode_keys
 *           decode_begin
 *           for each block of DECODE_KEYS keys:
 *             decode_pass      scores: quad_scores, four keys at a time
 *             softmax_update
 *             decode_pass      values: quad_values
 *         decode_store, or partial_store where a sequence has several parts
 *     attention_merge        sums the parts of decode: merge_parts */

#ifdef BR__TILES
#define KEY_BLOCK 128       /* of a block: spreads what a product costs besides arithmetic */
#define UPDATE_ROWS GEMM_MR /* that update_tile takes at once */
#define WIDTH(d) (GEMM_UNIT * gemm_units(d)) /* floats of a row in prefill: whole tiles */
#elif defined(BR__PAIRS)
#define KEY_BLOCK 128
#define UPDATE_ROWS (4 * GEMM_MR)
#define WIDTH(d) (((d) + GEMM_NR - 1) / GEMM_NR * GEMM_NR) /* whole panels */
#else
#define KEY_BLOCK 64 /* of a block: with two of d = 128 it fits the second cache */
#define UPDATE_ROWS SMALL_MR
#define WIDTH(d) (d)
#endif
#define PREFILL_ROWS 192 /* query rows that share a transposed block of keys */
#define DECODE_KEYS 64   /* of a block when decoding, of all heads */
#define MAX_PARTS 16
#define DECODE_ROWS 16 /* a sequence of at most so many rows is decoding */
/* Query rows of one pass over four keys: 4 sums each, in registers. */
#if VN == 16 || defined(BR__VEC_NEON)
#define DECODE_TILE 4
#else
#define DECODE_TILE 2
#endif

struct attention {
    const struct br_call *c;
    const struct br_tensor *q, *k, *v, *seqs;
    int64_t T, S, heads, kv_heads, group, d, window;
    int64_t decode_d; /* floats of a row in decode: whole blocks of bf16_blocks_impl.h */
    int64_t block;    /* queries of a work item */
    int64_t parts;    /* of the keys of a decoding sequence */
    float scale;
};

static struct attention attention_of(const struct br_call *c)
{
    struct attention a = {
        .c = c, .q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .seqs = &c->in[3]};
    a.T = a.q->shape[0];
    a.heads = a.q->shape[1];
    a.d = a.q->shape[2];
    a.S = a.k->shape[0];
    a.kv_heads = a.k->shape[1];
    a.group = a.heads / a.kv_heads;
    a.window = c->attr.i[0];
    a.scale = (float)c->attr.f[0];
    a.decode_d = split_padded(a.d);
    a.block = a.group < PREFILL_ROWS ? PREFILL_ROWS / a.group : 1;
    a.parts = a.T > 0 && a.T < 64 ? 64 / a.T : 1;
    a.parts = min_of(a.parts, MAX_PARTS);
    return a;
}

BR__INLINE int is_decode(const struct attention *a, const struct br__seq *s)
{
    return s->nq * a->group <= DECODE_ROWS;
}

/* Work items of a sequence. */
BR__INLINE int64_t items_of(const struct attention *a, const struct br__seq *s)
{
    return is_decode(a, s) ? a->parts : (s->nq + a->block - 1) / a->block * a->kv_heads;
}

/* ---- one thread's workspace ------------------------------------------------------------------ */

struct workspace {
    float *q, *o;     /* [rows, WIDTH(d)], or [rows of all heads, decode_d] */
    float *max, *sum; /* [rows] */
    float *kt;        /* a block of keys, transposed */
    float *kv;        /* values, or keys before they are transposed, widened to float32 */
    float *s, *p; /* scores: [UPDATE_ROWS, KEY_BLOCK], or [rows of all heads, DECODE_KEYS]; as much
                     again */
};

BR__INLINE int64_t max_rows(const struct attention *a)
{
    int64_t n = a->block * a->group, few = DECODE_ROWS * a->kv_heads;
    n = (n + UPDATE_ROWS - 1) / UPDATE_ROWS * UPDATE_ROWS;
    return max_of(n, few);
}

/* Floats of the queries of all rows. */
BR__INLINE int64_t query_floats(const struct attention *a)
{
    int64_t few = DECODE_ROWS * a->kv_heads * a->decode_d, many = max_rows(a) * WIDTH(a->d);
    return max_of(few, many);
}

BR__INLINE int64_t score_floats(const struct attention *a)
{
    int64_t few = DECODE_ROWS * a->kv_heads * DECODE_KEYS, many = UPDATE_ROWS * KEY_BLOCK;
    return max_of(few, many);
}

BR__INLINE size_t workspace_floats(const struct attention *a)
{
    int64_t n = max_rows(a);
    return 2 * br__line(query_floats(a)) + 2 * br__line(n) + 2 * br__line(WIDTH(a->d) * KEY_BLOCK) +
           br__line(score_floats(a)) + br__line(UPDATE_ROWS * KEY_BLOCK);
}

static struct workspace workspace_carve(const struct attention *a, float **scratch)
{
    int64_t n = max_rows(a);
    struct workspace w;
    w.q = br__carve(scratch, query_floats(a));
    w.o = br__carve(scratch, query_floats(a));
    w.max = br__carve(scratch, n);
    w.sum = br__carve(scratch, n);
    w.kt = br__carve(scratch, WIDTH(a->d) * KEY_BLOCK);
    w.kv = br__carve(scratch, WIDTH(a->d) * KEY_BLOCK);
    w.s = br__carve(scratch, score_floats(a));
    w.p = br__carve(scratch, UPDATE_ROWS * KEY_BLOCK);
    return w;
}

/* Prefetch the next rows of a head. */
static void fetch_rows(const struct br_tensor *x, int64_t row, int64_t n, int64_t h)
{
    int64_t each = br__float_size(x->dtype), bytes = x->shape[2] * each;
    const char *p = (const char *)x->data + (row * x->stride[0] + h * x->stride[1]) * each;
    for (int64_t i = 0; i < n; i++, p += x->stride[0] * each)
        for (int64_t b = 0; b < bytes; b += 64)
            __builtin_prefetch(p + b, 0, 2);
}

/* ---- prefill: many query rows, one block of keys after the other ----------------------------- */

/* The block's keys [first, end) that a row sees; key 0 of the block is key k of the sequence, and
 * the row's own key is `own`. */
BR__INLINE void visible_keys(const struct attention *a, int64_t own, int64_t k, int64_t n,
                             int64_t *first, int64_t *end)
{
    *first = a->window > 0 && own - a->window + 1 > k ? own - a->window + 1 - k : 0;
    *end = min_of(own + 1 - k, n);
}

/* One row of online softmax.  s[n]: scores become weights exp(s - max) for keys [first, end), 0 for
 * the others.  max, sum and o[d] are rescaled if the maximum grows. */
static void softmax_update(float *s, int64_t first, int64_t end, int64_t n, float *max, float *sum,
                           float *o, int64_t d)
{
    if (end <= first) {
        zero(s, n);
        return;
    }
    float most = largest(s + first, end - first);
    if (most > *max) {
        float fade = expf(*max - most);
        *max = most;
        *sum *= fade;
        scaled(o, o, fade, d);
    }
    *sum += exp_row(s + first, s + first, *max, end - first);
    zero(s, first);
    zero(s + end, n - end);
}

/* Token and head of row r of the item that begins with query `query`. */
BR__INLINE void item_row(const struct attention *a, const struct br__seq *s, int64_t query,
                         int64_t kv_head, int64_t r, int64_t *t, int64_t *head)
{
    *t = s->q0 + query + r / a->group;
    *head = kv_head * a->group + r % a->group;
}

/* dst[d] = scale * head of a token of x[T, H, d] */
BR__INLINE void load_head(float *dst, const struct br_tensor *x, int64_t t, int64_t head,
                          float scale)
{
    int64_t at = t * x->stride[0] + head * x->stride[1], d = x->shape[2];
    if (x->dtype == BR_F32) {
        scaled(dst, (const float *)x->data + at, scale, d);
        return;
    }
    widen(dst, x, at, d);
    scaled(dst, dst, scale, d);
}

/* The logarithm of what a row's softmax was divided by, if it is to be kept. */
BR__INLINE void store_log_sum(const struct attention *a, int64_t t, int64_t head, float max,
                              float sum)
{
    if (a->c->n_in > 4)
        br__row(&a->c->in[4], t)[head] = max + logf(sum);
}

/* A head of a token of the result = scale * src[d], which is overwritten. */
BR__INLINE void store_head(const struct attention *a, int64_t t, int64_t head, float *src,
                           float scale)
{
    const struct br_tensor *x = a->c->out;
    int64_t at = t * x->stride[0] + head * x->stride[1];
    if (x->dtype == BR_F32) {
        scaled((float *)x->data + at, src, scale, a->d);
        return;
    }
    scaled(src, src, scale, a->d);
    narrow((uint16_t *)x->data + at, src, a->d);
}

/* q = row r, scaled, of which nothing is summed up yet */
BR__INLINE void query_row_begin(const struct attention *a, const struct workspace *w,
                                const struct br__seq *s, int64_t query, int64_t kv_head, int64_t r,
                                float *q)
{
    int64_t t, head;
    item_row(a, s, query, kv_head, r, &t, &head);
    load_head(q, a->q, t, head, a->scale);
    w->max[r] = -INFINITY;
    w->sum[r] = 0;
}

/* Keys k .. k + n of a sequence, and their values. */
struct key_block {
    int64_t k, n;
    const float *v;
    int64_t ldv;
};

/* Keys of the block up to the last that one of rows i .. i + m sees; 0: they see none. */
BR__INLINE int64_t seen_by(const struct attention *a, const struct key_block *b, int64_t i,
                           int64_t m, int64_t own)
{
    int64_t first, end, unused;
    visible_keys(a, own + (i + m - 1) / a->group, b->k, b->n, &unused, &end); /* sees furthest */
    visible_keys(a, own + i / a->group, b->k, b->n, &first, &unused);
    return end > first ? end : 0;
}

/* Scores of rows i .. i + m with n keys of the block into weights. */
static void softmax_update_rows(const struct attention *a, const struct workspace *w,
                                const struct key_block *b, int64_t i, int64_t m, int64_t own,
                                int64_t n)
{
    for (int64_t r = 0; r < m; r++) {
        int64_t from, to;
        visible_keys(a, own + (i + r) / a->group, b->k, b->n, &from, &to);
        softmax_update(w->s + r * KEY_BLOCK, from, to, n, w->max + i + r, w->sum + i + r,
                       w->o + (i + r) * WIDTH(a->d), a->d);
    }
}

#if defined(BR__TILES)
#include "attention_tiles_impl.h"
#elif defined(BR__PAIRS)
#include "attention_pairs_impl.h"
#else
#include "attention_f32_impl.h"
#endif

/* Queries query .. query + n of a sequence over the keys that they see. */
static void prefill_block(const struct attention *a, const struct workspace *w,
                          const struct br__seq *s, int64_t query, int64_t n, int64_t kv_head)
{
    int64_t own = s->nk - s->nq + query, m = n * a->group, to = own + n;
    int64_t from = a->window > 0 ? max_of(own - a->window + 1, 0) : 0;
    query_rows_begin(a, w, s, query, n, kv_head);
    for (int64_t k = from; k < to; k += KEY_BLOCK) {
        int64_t keys = min_of(to - k, KEY_BLOCK);
        int64_t coming = min_of(to - k - keys, KEY_BLOCK);
        fetch_rows(a->k, s->k0 + k + keys, coming, kv_head);
        fetch_rows(a->v, s->k0 + k + keys, coming, kv_head);
        struct key_block b = key_block_begin(a, w, s, k, keys, kv_head);
        for (int64_t i = 0; i < m; i += UPDATE_ROWS)
            update_tile(a, w, &b, i, min_of(m - i, UPDATE_ROWS), own);
    }
}

/* ---- decode: a few rows of all heads, keys as they are stored -------------------------------- */

/* Query and head of row r of all heads' rows. */
BR__INLINE void decode_row(const struct attention *a, const struct br__seq *s, int64_t r,
                           int64_t *t, int64_t *head)
{
    int64_t m = s->nq * a->group;
    *t = s->q0 + r % m / a->group;
    *head = r / m * a->group + r % a->group;
}

static void decode_begin(const struct attention *a, const struct workspace *w,
                         const struct br__seq *s)
{
    int64_t n = s->nq * a->heads, t, head;
    for (int64_t r = 0; r < n; r++) {
        decode_row(a, s, r, &t, &head);
        load_head(w->kv, a->q, t, head, a->scale);
        for (int64_t i = 0; i < a->d; i += SPLIT_K)
            split_block(w->q + r * a->decode_d + i, w->kv + i, min_of(a->d - i, SPLIT_K),
                        a->k->dtype == BR_BF16);
        w->max[r] = -INFINITY;
        w->sum[r] = 0;
    }
    zero(w->o, n * a->decode_d);
}

/* Four keys of a block of n: the t-th of each of its quarters, since a core reads several distant
 * streams faster than one. */
struct key_quad {
    int64_t key[4];
    const char *at[4]; /* their rows; where there is no such key, another's */
    int n_valid;
};

BR__INLINE struct key_quad quad_keys(int64_t n, int64_t t)
{
    struct key_quad f = {.n_valid = 0};
    int64_t quarter = (n + 3) / 4;
    for (int u = 0; u < 4; u++) {
        f.key[u] = t + u * quarter;
        f.n_valid += f.key[u] < n;
    }
    return f;
}

/* Row `row` of head h is the block's key 0. */
BR__INLINE void quad_rows(struct key_quad *f, const struct br_tensor *x, int64_t row, int64_t h)
{
    const int64_t size = br__float_size(x->dtype), stride = x->stride[0] * size;
    for (int u = 0; u < 4; u++) {
        int64_t key = f->key[u < f->n_valid ? u : 0];
        f->at[u] = (const char *)x->data + (row + key) * stride + h * x->stride[1] * size;
        for (int64_t b = 0; b < x->shape[2] * size; b += 64)
            __builtin_prefetch(f->at[u] + stride + b, 0, V_CACHE);
    }
}

/* sum[r][u] += block of q row r . block of key u */
BR__INLINE void quad_scores_step(const int rows, const float *q, int64_t ldq,
                                 const char *const k[4], int64_t at, const uint32_t dtype,
                                 vf sum[DECODE_TILE][4])
{
    BR__UNROLL for (int h = 0; h < 2; h++)
    {
        vf x[DECODE_TILE];
        BR__UNROLL for (int r = 0; r < rows; r++) x[r] = v_load(q + r * ldq + h * VN);
        BR__UNROLL for (int u = 0; u < 4; u++)
        {
            vf key = split_half(k[u] + at, h, dtype);
            BR__UNROLL for (int r = 0; r < rows; r++) sum[r][u] = v_acc(sum[r][u], x[r], key);
        }
    }
}

/* s[r, key u] = q[r] . key u */
BR__INLINE void quad_scores(const int rows, float *s, const float *q, const struct key_quad *f,
                            int64_t d, int64_t ldq, const uint32_t dtype)
{
    const int64_t size = br__float_size(dtype);
    vf sum[DECODE_TILE][4];
    float out[4];
    int64_t i = 0;
    BR__UNROLL for (int r = 0; r < rows; r++)
    {
        BR__UNROLL for (int u = 0; u < 4; u++) sum[r][u] = v_zero();
    }
    for (; i + SPLIT_K <= d; i += SPLIT_K)
        quad_scores_step(rows, q + i, ldq, f->at, i * size, dtype, sum);
    if (i < d) {
        char part[4][SPLIT_K * sizeof(float)];
        const char *tail[4];
        split_tail(part, tail, f->at, i * size, 4, d - i, dtype);
        quad_scores_step(rows, q + i, ldq, tail, 0, dtype, sum);
    }
    BR__UNROLL for (int r = 0; r < rows; r++)
    {
        v_sum4(out, sum[r]);
        for (int u = 0; u < f->n_valid; u++)
            s[r * DECODE_KEYS + f->key[u]] = out[u];
    }
}

/* block of o row r += sum of weight[r][u] block of v[u] */
BR__INLINE void quad_values_step(const int rows, float *o, int64_t ldo, vf weight[DECODE_TILE][4],
                                 const char *const v[4], int64_t at, const uint32_t dtype)
{
    BR__UNROLL for (int h = 0; h < 2; h++)
    {
        vf sum[DECODE_TILE];
        BR__UNROLL for (int r = 0; r < rows; r++) sum[r] = v_load(o + r * ldo + h * VN);
        BR__UNROLL for (int u = 0; u < 4; u++)
        {
            vf value = split_half(v[u] + at, h, dtype);
            BR__UNROLL for (int r = 0; r < rows; r++) sum[r] = v_acc(sum[r], weight[r][u], value);
        }
        BR__UNROLL for (int r = 0; r < rows; r++) v_store(o + r * ldo + h * VN, sum[r]);
    }
}

/* o[r] += sum of s[r, key u] value u */
BR__INLINE void quad_values(const int rows, float *o, const float *s, const struct key_quad *f,
                            int64_t d, int64_t ldo, const uint32_t dtype)
{
    const int64_t size = br__float_size(dtype);
    vf weight[DECODE_TILE][4];
    int64_t i = 0;
    BR__UNROLL for (int r = 0; r < rows; r++)
    {
        BR__UNROLL for (int u = 0; u < 4; u++) weight[r][u] =
            v_set1(u < f->n_valid ? s[r * DECODE_KEYS + f->key[u]] : 0);
    }
    for (; i + SPLIT_K <= d; i += SPLIT_K)
        quad_values_step(rows, o + i, ldo, weight, f->at, i * size, dtype);
    if (i < d) {
        char part[4][SPLIT_K * sizeof(float)];
        const char *tail[4];
        split_tail(part, tail, f->at, i * size, 4, d - i, dtype);
        quad_values_step(rows, o + i, ldo, weight, tail, 0, dtype);
    }
}

/* Rows r .. r + rows of all, of the head whose rows f names. */
BR__INLINE void decode_tile(const struct attention *a, const struct workspace *w,
                            const struct key_quad *f, int64_t r, const int rows, const int values,
                            const uint32_t dtype)
{
    if (values)
        quad_values(rows, w->o + r * a->decode_d, w->s + r * DECODE_KEYS, f, a->d, a->decode_d,
                    dtype);
    else
        quad_scores(rows, w->s + r * DECODE_KEYS, w->q + r * a->decode_d, f, a->d, a->decode_d,
                    dtype);
}

/* Scores of all rows (m of each head) with n keys from `row` of k on, or with them the values' part
 * of the outputs. */
BR__INLINE void decode_pass(const struct attention *a, const struct workspace *w,
                            const struct br_tensor *x, int64_t row, int64_t n, int64_t m,
                            const int values, const uint32_t dtype)
{
    for (int64_t t = 0; t < (n + 3) / 4; t++) {
        struct key_quad f = quad_keys(n, t);
        for (int64_t h = 0; h < a->kv_heads; h++) {
            int64_t r = h * m, end = r + m;
            quad_rows(&f, x, row, h);
            for (; r + DECODE_TILE <= end; r += DECODE_TILE)
                decode_tile(a, w, &f, r, DECODE_TILE, values, dtype);
            for (; r < end; r++)
                decode_tile(a, w, &f, r, 1, values, dtype);
        }
    }
}

/* A function for each dtype. */
#define DECODE_PASS(name, values, dtype)                                                           \
    static void name(const struct attention *a, const struct workspace *w,                         \
                     const struct br_tensor *x, int64_t row, int64_t n, int64_t m)                 \
    {                                                                                              \
        decode_pass(a, w, x, row, n, m, values, dtype);                                            \
    }
DECODE_PASS(scores_bf16, 0, BR_BF16)
DECODE_PASS(values_bf16, 1, BR_BF16)
#ifndef BR__MATRIX_ONLY
DECODE_PASS(scores_f32, 0, BR_F32)
DECODE_PASS(values_f32, 1, BR_F32)
#endif

typedef void decode_pass_fn(const struct attention *a, const struct workspace *w,
                            const struct br_tensor *x, int64_t row, int64_t n, int64_t m);

static decode_pass_fn *decode_pass_for(uint32_t dtype, int values)
{
#ifndef BR__MATRIX_ONLY
    if (dtype == BR_F32)
        return values ? values_f32 : scores_f32;
#endif
    (void)dtype;
    return values ? values_bf16 : scores_bf16;
}

/* All queries and heads of a sequence of few over its keys [from, to). */
static void decode_keys(const struct attention *a, const struct workspace *w,
                        const struct br__seq *s, int64_t from, int64_t to)
{
    int64_t own = s->nk - s->nq, m = s->nq * a->group;
    decode_begin(a, w, s);
    for (int64_t k = from; k < to; k += DECODE_KEYS) {
        int64_t n = min_of(to - k, DECODE_KEYS);
        decode_pass_for(a->k->dtype, 0)(a, w, a->k, s->k0 + k, n, m);
        for (int64_t r = 0; r < m * a->kv_heads; r++) {
            int64_t first, end;
            visible_keys(a, own + r % m / a->group, k, n, &first, &end);
            softmax_update(w->s + r * DECODE_KEYS, first, end, n, w->max + r, w->sum + r,
                           w->o + r * a->decode_d, a->decode_d);
        }
        decode_pass_for(a->v->dtype, 1)(a, w, a->v, s->k0 + k, n, m);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The result of a row over a part of the keys: maximum, sum, and decode_d unscaled outputs, split
 * as values are; the sum is 0 where it saw no key. */
BR__INLINE float *partial(const struct attention *a, int64_t t, int64_t head, int64_t part)
{
    int64_t i = (t * a->heads + head) * a->parts + part;
    return (float *)a->c->scratch + i * (int64_t)br__line(a->decode_d + 2);
}

BR__INLINE size_t partial_floats(const struct attention *a)
{
    return a->parts > 1 ? a->T * a->heads * a->parts * br__line(a->decode_d + 2) : 0;
}

size_t BR__FN(attention_scratch)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    return (partial_floats(&a) + workspace_floats(&a) * c->stream->n_threads) * sizeof(float);
}

static void prefill_store(const struct attention *a, const struct workspace *w,
                          const struct br__seq *s, int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0, t, head; r < n * a->group; r++) {
        item_row(a, s, query, kv_head, r, &t, &head);
        store_log_sum(a, t, head, w->max[r], w->sum[r]);
        store_head(a, t, head, w->o + r * WIDTH(a->d), 1 / w->sum[r]);
    }
}

/* A row's outputs, once they are divided by the sum of weights. */
static void decode_store(const struct attention *a, const struct workspace *w, int64_t t,
                         int64_t head, float *blocks, float sum)
{
    scaled(blocks, blocks, 1 / sum, a->decode_d);
    if (a->c->out->dtype == BR_F32) {
        split_join(br__head(a->c->out, t, head), blocks, a->d, a->v->dtype == BR_BF16);
        return;
    }
    split_join(w->kv, blocks, a->d, a->v->dtype == BR_BF16);
    store_head(a, t, head, w->kv, 1);
}

/* o: NULL where the part has no key */
static void partial_store(const struct attention *a, float *p, const float *o, float max, float sum)
{
    p[1] = 0;
    if (!o)
        return;
    p[0] = max;
    p[1] = sum;
    copy(p + 2, o, a->decode_d);
}

/* A part of the keys of a sequence of few. */
static void decode_item(const struct attention *a, const struct workspace *w,
                        const struct br__seq *s, int64_t part)
{
    /* Small parts balance the load of few sequences; beginning and merging a part costs time, so
     * more sequences get larger ones. */
    int64_t unit = a->T < 4 ? DECODE_KEYS / 4 : DECODE_KEYS, turn = a->parts * unit;
    int64_t each = (s->nk + turn - 1) / turn * unit, from = part * each;
    int64_t to = min_of(from + each, s->nk), own = s->nk - s->nq;
    if (a->window > 0 && from < own - a->window + 1)
        from = own - a->window + 1;
    if (from < to)
        decode_keys(a, w, s, from, to);
    for (int64_t r = 0, t, head; r < s->nq * a->heads; r++) {
        float *o = w->o + r * a->decode_d;
        decode_row(a, s, r, &t, &head);
        if (a->parts > 1) {
            partial_store(a, partial(a, t, head, part), from < to ? o : NULL, w->max[r], w->sum[r]);
            continue;
        }
        store_log_sum(a, t, head, w->max[r], w->sum[r]);
        decode_store(a, w, t, head, o, w->sum[r]);
    }
}

/* Item i of a sequence's blocks x key heads; the last blocks see most keys and come first. */
static void attention_item(const struct attention *a, const struct workspace *w,
                           const struct br__seq *s, int64_t i)
{
    if (is_decode(a, s)) {
        decode_item(a, w, s, i);
        return;
    }
    int64_t kv_head = i % a->kv_heads, blocks = items_of(a, s) / a->kv_heads;
    int64_t query = (blocks - 1 - i / a->kv_heads) * a->block;
    int64_t n = min_of(s->nq - query, a->block);
    prefill_block(a, w, s, query, n, kv_head);
    prefill_store(a, w, s, query, n, kv_head);
}

/* Sum a row's parts into the first, each scaled by exp(its maximum - the largest maximum). */
static void merge_parts(const struct attention *a, const struct workspace *w, int64_t t,
                        int64_t head)
{
    float max = -INFINITY, sum = 0, *all = partial(a, t, head, 0) + 2;
    for (int64_t i = 0; i < a->parts; i++) {
        const float *p = partial(a, t, head, i);
        max = p[1] != 0 && p[0] > max ? p[0] : max;
    }
    for (int64_t i = 0; i < a->parts; i++) {
        const float *p = partial(a, t, head, i);
        if (p[1] == 0) {
            if (i == 0)
                zero(all, a->decode_d);
            continue;
        }
        float fade = expf(p[0] - max);
        sum += p[1] * fade;
        if (i == 0)
            scaled(all, all, fade, a->decode_d);
        else
            add_scaled(all, p + 2, fade, a->decode_d);
    }
    store_log_sum(a, t, head, max, sum);
    decode_store(a, w, t, head, all, sum);
}

/* Merge the rows of the decoding sequences. */
static void attention_merge(const struct attention *a, const struct workspace *w)
{
    for (int64_t i = 0; i < a->seqs->shape[0]; i++) {
        struct br__seq s;
        if (!br__seq_at(a->seqs, i, a->T, a->S, &s) || !is_decode(a, &s))
            continue;
        for (int64_t r = 0; r < s.nq * a->heads; r++)
            if (r % a->c->stream->n_threads == a->c->stream->thread)
                merge_parts(a, w, s.q0 + r / a->heads, r % a->heads);
    }
}

void BR__FN(attention)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    float *scratch =
        (float *)c->scratch + partial_floats(&a) + c->stream->thread * workspace_floats(&a);
    struct workspace w = workspace_carve(&a, &scratch);
    struct br__seq s = {0};
    int64_t n = 0, before = 0, next = 0;
    for (int64_t i = 0; i < a.seqs->shape[0]; i++)
        if (br__seq_at(a.seqs, i, a.T, a.S, &s))
            n += items_of(&a, &s);
    zero_unowned_rows(c, a.seqs, a.S);
    struct br__share share = br__share(c, n);
    s.nq = 0;
    tiles_begin();
    for (int64_t item, own = 0; br__share_next(&share, &item);) {
        if (item < before) /* stolen from a thread with an earlier range */
            before = own = next = 0;
        while (item >= before + own) { /* on to the sequence of the item */
            before += own;
            own = br__seq_at(a.seqs, next++, a.T, a.S, &s) ? items_of(&a, &s) : 0;
        }
        attention_item(&a, &w, &s, item - before);
    }
    tiles_end();
    if (a.parts == 1)
        return;
    br__sync(c);
    attention_merge(&a, &w);
}
