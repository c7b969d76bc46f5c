/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_grad_impl.h - the gradient of attention, and the cache that attention reads.
 *
 * Needs: attention_impl.h without BR__TILES.  Defines: the kernels attention_grad, cache_write.
 *
 * A work item is one key head of one sequence: its keys and values collect from all its queries, so
 * threads share nothing.  Each block of queries runs the forward pass again for maximum, sum and
 * output, then goes through its keys a second time:
 *     P = exp(q k' - log sum),  dV += P' dO,  dS = P (dO v' - dO . O),  dQ += dS K,  dK += dS' Q
 *
 * Order of calls.
 *   attention_grad
 *     back_item          a key head of a sequence
 *       prefill_block      the forward pass of a block of queries
 *       back_begin         log of the sum, dO . O
 *       back_update        for each block of keys: five products, and P and dS by back_row */

struct back {
    struct workspace w; /* w.o collects dQ once the forward pass is done */
    float *y;           /* dO [rows, d] */
    float *along;       /* dO . O of each row */
    float *vt;          /* values transposed [d, KEY_BLOCK] */
    float *p, *ds;      /* [rows, KEY_BLOCK] */
};

BR__INLINE size_t back_floats(const struct attention *a)
{
    int64_t n = max_rows(a);
    return workspace_floats(a) + br__line(n * a->d) + br__line(n) + br__line(a->d * KEY_BLOCK) +
           2 * br__line(n * KEY_BLOCK);
}

static struct back back_carve(const struct attention *a, float **scratch)
{
    int64_t n = max_rows(a);
    struct back b = {.w = workspace_carve(a, scratch)};
    b.y = br__carve(scratch, n * a->d);
    b.along = br__carve(scratch, n);
    b.vt = br__carve(scratch, a->d * KEY_BLOCK);
    b.p = br__carve(scratch, n * KEY_BLOCK);
    b.ds = br__carve(scratch, n * KEY_BLOCK);
    return b;
}

size_t BR__FN(attention_grad_scratch)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    return back_floats(&a) * c->stream->n_threads * sizeof(float);
}

/* dq, dk or dv of a row: `head` counts all query heads, then the key heads, then the value heads.
 */
BR__INLINE float *grad_row(const struct attention *a, int64_t t, int64_t head)
{
    return br__row(a->c->out, t) + head * a->d;
}

/* After the forward pass: log of the sum into max, dO . O, and dQ = 0. */
static void back_begin(const struct attention *a, const struct back *b, const struct br__seq *s,
                       int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0; r < n * a->group; r++) {
        float *y = b->y + r * a->d, *o = b->w.o + r * a->d;
        copy(y, item_row(a, &a->c->in[4], s, query, kv_head, r), a->d);
        b->along[r] = dot(y, o, a->d) / b->w.sum[r];
        b->w.max[r] += logf(b->w.sum[r]);
        zero(o, a->d);
    }
}

/* Scores and dO v' of a row into P and dS. */
static void back_row(float *p, float *ds, float log_sum, float along, int64_t first, int64_t end,
                     int64_t n)
{
    if (end <= first)
        first = end = n;
    zero(p, first);
    zero(ds, first);
    exp_row(p + first, p + first, log_sum, end - first);
    for (int64_t j = first; j < end; j += VN) {
        int m = end - j < VN ? (int)(end - j) : VN;
        vf d = v_sub(v_load_n(ds + j, m), v_set1(along));
        v_store_n(ds + j, v_mul(v_load_n(p + j, m), d), m);
    }
    zero(p + end, n - end);
    zero(ds + end, n - end);
}

/* m rows of a block of queries with n keys of the sequence from key k on. */
static void back_update(const struct attention *a, const struct back *b, const struct br__seq *s,
                        int64_t m, int64_t own, int64_t kv_head, int64_t k, int64_t n)
{
    int64_t ld, d = a->d, out = a->c->out->stride[0];
    /* Rows before r0 see none of these keys. */
    int64_t r0 = k > own ? (k - own) * a->group : 0;
    float *q = b->w.q + r0 * d, *y = b->y + r0 * d;
    m -= r0;
    const float *x = float_rows(a->v, s->k0 + k, n, kv_head, b->w.kv, &ld);
    transpose(b->vt, x, ld, n, d);
    small_gemm(&(struct small_gemm){y, d, 1, b->vt, KEY_BLOCK, b->ds, KEY_BLOCK, 0}, m, n, d);
    x = float_rows(a->k, s->k0 + k, n, kv_head, b->w.kv, &ld);
    transpose(b->w.kt, x, ld, n, d);
    small_gemm(&(struct small_gemm){q, d, 1, b->w.kt, KEY_BLOCK, b->p, KEY_BLOCK, 0}, m, n, d);
    for (int64_t r = 0; r < m; r++) {
        int64_t first, end;
        visible_keys(a, own + (r0 + r) / a->group, k, n, &first, &end);
        back_row(b->p + r * KEY_BLOCK, b->ds + r * KEY_BLOCK, b->w.max[r0 + r], b->along[r0 + r],
                 first, end, n);
    }
    float *dk = grad_row(a, s->k0 + k, a->heads + kv_head);
    float *dv = grad_row(a, s->k0 + k, a->heads + a->kv_heads + kv_head);
    small_gemm(&(struct small_gemm){b->p, 1, KEY_BLOCK, y, d, dv, out, 1}, n, d, m);
    small_gemm(&(struct small_gemm){b->ds, 1, KEY_BLOCK, q, d, dk, out, 1}, n, d, m);
    small_gemm(&(struct small_gemm){b->ds, KEY_BLOCK, 1, x, ld, b->w.o + r0 * d, d, 1}, m, d, n);
}

static void back_item(const struct attention *a, const struct back *b, const struct br__seq *s,
                      int64_t kv_head)
{
    for (int64_t t = s->k0; t < s->k0 + s->nk; t++) {
        zero(grad_row(a, t, a->heads + kv_head), a->d);
        zero(grad_row(a, t, a->heads + a->kv_heads + kv_head), a->d);
    }
    for (int64_t query = 0; query < s->nq; query += a->block) {
        int64_t n = s->nq - query < a->block ? s->nq - query : a->block;
        int64_t own = s->nk - s->nq + query, m = n * a->group;
        prefill_block(a, &b->w, s, query, n, kv_head);
        back_begin(a, b, s, query, n, kv_head);
        int64_t from = a->window > 0 && own - a->window + 1 > 0 ? own - a->window + 1 : 0;
        for (int64_t k = from; k < own + n; k += KEY_BLOCK)
            back_update(a, b, s, m, own, kv_head, k,
                        own + n - k < KEY_BLOCK ? own + n - k : KEY_BLOCK);
        for (int64_t r = 0; r < m; r++)
            scaled(grad_row(a, s->q0 + query + r / a->group, kv_head * a->group + r % a->group),
                   b->w.o + r * a->d, a->scale, a->d);
    }
}

void BR__FN(attention_grad)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    float *scratch = (float *)c->scratch + c->stream->thread * back_floats(&a);
    struct back b = back_carve(&a, &scratch);
    struct br__seq s;
    zero_unowned_rows(c, a.seqs, a.S);
    struct br__share share = br__share(c, a.seqs->shape[0] * a.kv_heads);
    for (int64_t i; br__share_next(&share, &i);)
        if (br__seq_at(a.seqs, i / a.kv_heads, a.T, a.S, &s))
            back_item(&a, &b, &s, i % a.kv_heads);
}

/* ---- cache ----------------------------------------------------------------------------------- */

/* Rows that lie outside of the cache are left out. */
void BR__FN(cache_write)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[1], *cache = c->out;
    const int32_t *rows = br__ints(&c->in[2]);
    int64_t from, to, heads = x->shape[1], d = x->shape[2];
    br__thread_range(c, x->shape[0] * heads, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int64_t row = rows[i / heads], at;
        if (row < 0 || row >= cache->shape[0])
            continue;
        const float *src = br__head(x, i / heads, i % heads);
        at = row * cache->stride[0] + i % heads * cache->stride[1];
        if (cache->dtype == BR_F32) {
            copy((float *)cache->data + at, src, d);
            continue;
        }
        uint16_t *dst = (uint16_t *)cache->data + at;
        int64_t j = 0;
        for (; j + VN <= d; j += VN)
            v_store_bf16(dst + j, v_load(src + j));
        for (; j < d; j++)
            dst[j] = s_to_bf16(src[j]);
    }
}
