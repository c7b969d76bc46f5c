/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_grad_body.h - the gradient of attention, and the cache that attention reads.
 *
 * A work item is one key head of one sequence: its keys and values collect from all its queries, so
 * nothing is shared between lanes.  Each block of queries runs the forward pass again for maximum,
 * sum and output, then meets its keys a second time:
 *     P = exp(q k' - log sum),  dV += P' dO,  dS = P (dO v' - dO . O),  dQ += dS K,  dK += dS' Q */

struct back {
    struct rows w; /* w.o collects dQ once the forward pass is done */
    float *y;      /* dO [rows, d] */
    float *along;  /* dO . O of each row */
    float *vt;     /* values turned round [d, KEYS] */
    float *p, *ds; /* [rows, KEYS] */
};

BR__INLINE size_t back_floats(const struct attention *a)
{
    int64_t n = most_rows(a);
    return rows_floats(a) + br__line(n * a->d) + br__line(n) + br__line(a->d * KEYS) +
           2 * br__line(n * KEYS);
}

static struct back back_carve(const struct attention *a, float **scratch)
{
    int64_t n = most_rows(a);
    struct back b = {.w = rows_carve(a, scratch)};
    b.y = br__carve(scratch, n * a->d);
    b.along = br__carve(scratch, n);
    b.vt = br__carve(scratch, a->d * KEYS);
    b.p = br__carve(scratch, n * KEYS);
    b.ds = br__carve(scratch, n * KEYS);
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
    for (int64_t r = 0, t, head; r < n * a->group; r++) {
        float *y = b->y + r * a->d, *o = b->w.o + r * a->d;
        item_row(a, s, query, kv_head, r, &t, &head);
        copy(y, br__head(&a->c->in[4], t, head), a->d);
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

/* m rows of a block of queries meet n keys of the sequence from key k on. */
static void back_meet(const struct attention *a, const struct back *b, const struct br__seq *s,
                      int64_t m, int64_t own, int64_t kv_head, int64_t k, int64_t n)
{
    int64_t ld, d = a->d, out = a->c->out->stride[0];
    /* Rows before r0 see none of these keys. */
    int64_t r0 = k > own ? (k - own) * a->group : 0;
    float *q = b->w.q + r0 * d, *y = b->y + r0 * d;
    m -= r0;
    const float *x = float_rows(a->v, s->k0 + k, n, kv_head, b->w.kv, &ld);
    turn_round(b->vt, x, ld, n, d);
    multiply(&(struct panel_product){y, d, 1, b->vt, KEYS, b->ds, KEYS, 0}, m, n, d);
    x = float_rows(a->k, s->k0 + k, n, kv_head, b->w.kv, &ld);
    turn_round(b->w.kt, x, ld, n, d);
    multiply(&(struct panel_product){q, d, 1, b->w.kt, KEYS, b->p, KEYS, 0}, m, n, d);
    for (int64_t r = 0; r < m; r++) {
        int64_t first, end;
        visible(a, own + (r0 + r) / a->group, k, n, &first, &end);
        back_row(b->p + r * KEYS, b->ds + r * KEYS, b->w.max[r0 + r], b->along[r0 + r], first, end,
                 n);
    }
    float *dk = grad_row(a, s->k0 + k, a->heads + kv_head);
    float *dv = grad_row(a, s->k0 + k, a->heads + a->kv_heads + kv_head);
    multiply(&(struct panel_product){b->p, 1, KEYS, y, d, dv, out, 1}, n, d, m);
    multiply(&(struct panel_product){b->ds, 1, KEYS, q, d, dk, out, 1}, n, d, m);
    multiply(&(struct panel_product){b->ds, KEYS, 1, x, ld, b->w.o + r0 * d, d, 1}, m, d, n);
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
        attend(a, &b->w, s, query, n, kv_head);
        back_begin(a, b, s, query, n, kv_head);
        int64_t from = a->window > 0 && own - a->window + 1 > 0 ? own - a->window + 1 : 0;
        for (int64_t k = from; k < own + n; k += KEYS)
            back_meet(a, b, s, m, own, kv_head, k, own + n - k < KEYS ? own + n - k : KEYS);
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
    zero_strangers(c, a.seqs, a.S);
    struct br__share share = br__share(c, a.seqs->shape[0] * a.kv_heads);
    for (int64_t i; br__share_next(&share, &i);)
        if (br__seq_at(a.seqs, i / a.kv_heads, a.T, a.S, &s))
            back_item(&a, &b, &s, i % a.kv_heads);
}

/* ---- cache -------------------------------------------------------------------------------------
 */

/* Rows that lie outside of the cache are left out. */
void BR__FN(cache_write)(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[1], *cache = c->out;
    const int32_t *rows = br__ints(&c->in[2]);
    int64_t from, to, heads = x->shape[1], d = x->shape[2];
    br__lane_range(c, x->shape[0] * heads, 1, &from, &to);
    for (int64_t i = from; i < to; i++) {
        int64_t row = rows[i / heads], at;
        if (row < 0 || row >= cache->shape[0])
            continue;
        int64_t src = i / heads * x->stride[0] + i % heads * x->stride[1];
        at = row * cache->stride[0] + i % heads * cache->stride[1];
        if (cache->dtype == BR_F32)
            widen((float *)cache->data + at, x, src, d);
        else if (x->dtype == BR_F32)
            narrow((uint16_t *)cache->data + at, (const float *)x->data + src, d);
        else
            memcpy((uint16_t *)cache->data + at, (const uint16_t *)x->data + src, 2 * (size_t)d);
    }
}
