/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* attention_grad_impl.h - the gradient of attention.
 *
 * Needs: vec_ops_impl.h, matmul_impl.h.  Defines: the kernel attention_grad.
 *
 * With what the forward pass kept, its result O and the logarithm of each row's sum:
 *     P = exp(q k' - log sum),  dV = P' dO,  dS = P (dO v' - dO . O),  dQ = dS K,  dK = dS' Q
 * Positions of a sequence are cut into blocks.  A work item is a block of keys that meets a block
 * of queries, for one key head.  In turn p block of keys j meets block of queries j + p: no two
 * items of a turn add to the same rows, and each row's sums are added in the order of turns,
 * whatever the number of threads.  Products go through the packed panels of gemm_impl.h.  Sums lie
 * head by head, so that those of an item are one run of memory: rows of all heads at a distance of
 * a power of two would share a few lines of the caches. */

#if GEMM_UNIT == 2
#define BACK_WEIGHTS BR_BF16 /* P and dS, as products round them */
#define BACK_PLACES 2        /* of theirs in a float */
#else
#define BACK_WEIGHTS BR_F32
#define BACK_PLACES 1
#endif

struct back {
    const struct br_call *c;
    const struct br_tensor *q, *k, *v, *seqs, *y;
    struct br_tensor o, log_sum;                     /* of the forward pass */
    int64_t T, S, heads, kv_heads, group, d, window; /* S >= T: rows of keys */
    int64_t block, rows; /* positions of a block, and its rows: all query heads of a key head */
    float scale;
    float *dq, *dk, *dv; /* sums: [kv_heads, T, group, d], [kv_heads, S, d] twice */
    float *along;        /* [T, heads]: dO . O */
};

/* One thread's: rows of queries and of dO one after another, packed operands; scores, which become
 * P and dS where they lie. */
struct back_space {
    char *q, *y;
    float *left, *right, *p, *ds;
};

static int64_t up_to(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static struct back back_of(const struct br_call *c)
{
    struct back b = {.c = c, .q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .seqs = &c->in[3]};
    b.y = &c->in[4];
    b.T = b.q->shape[0];
    b.S = b.k->shape[0];
    b.heads = b.q->shape[1];
    b.kv_heads = b.k->shape[1];
    b.d = b.q->shape[2];
    b.group = b.heads / b.kv_heads;
    b.window = c->attr.i[0];
    b.scale = (float)c->attr.f[0];
    b.block = b.group <= 2 ? 128 : 64;
    b.rows = b.block * b.group;
    return b;
}

/* ---- scratch --------------------------------------------------------------------------------- */

static int64_t left_floats(const struct back *b)
{
    return max_of(gemm_rows(b->rows) * gemm_units(max_of(b->d, b->block)),
                  gemm_rows(b->block) * gemm_units(b->rows));
}

static int64_t right_floats(const struct back *b)
{
    return max_of(up_to(b->block, GEMM_NR) * gemm_units(b->d),
                  up_to(b->d, GEMM_NR) * gemm_units(max_of(b->rows, b->block)));
}

static int64_t sum_floats(const struct back *b)
{
    return (b->T * b->heads + 2 * b->S * b->kv_heads) * b->d;
}

static size_t space_floats(const struct back *b)
{
    return 2 * br__line(b->rows * b->d) + br__line(left_floats(b)) + br__line(right_floats(b)) +
           2 * br__line(b->rows * b->block);
}

static struct back_space back_carve(const struct back *b, float **scratch)
{
    struct back_space w;
    w.q = (char *)br__carve(scratch, b->rows * b->d);
    w.y = (char *)br__carve(scratch, b->rows * b->d);
    w.left = br__carve(scratch, left_floats(b));
    w.right = br__carve(scratch, right_floats(b));
    w.p = br__carve(scratch, b->rows * b->block);
    w.ds = br__carve(scratch, b->rows * b->block);
    return w;
}

static int brings_forward(const struct br_call *c)
{
    return c->n_in > 6;
}

/* The call of the forward pass, for one that does not bring what it kept: its results are b->o and
 * b->log_sum. */
static struct br_call forward_call(const struct back *b, struct br_tensor *in, float *scratch)
{
    struct br_call f = *b->c;
    for (int i = 0; i < 4; i++)
        in[i] = b->c->in[i];
    in[4] = b->log_sum;
    f.op = BR_OP_ATTENTION;
    f.n_in = 5;
    f.in = in;
    f.out = &b->o;
    f.scratch = scratch;
    return f;
}

/* o and log_sum: as they were brought, or to be made in scratch; returns what is left of that. */
static float *forward_tensors(struct back *b, float *scratch)
{
    const struct br_call *c = b->c;
    if (brings_forward(c)) {
        b->o = c->in[5];
        b->log_sum = c->in[6];
        return scratch;
    }
    b->o = *b->q;
    b->o.stride[0] = b->heads * b->d;
    b->o.stride[1] = b->d;
    b->o.data = br__carve(&scratch, b->T * b->heads * b->d);
    b->log_sum = (struct br_tensor){.dtype = BR_F32, .n_dim = 2, .shape = {b->T, b->heads}};
    b->log_sum.stride[0] = b->heads;
    b->log_sum.stride[1] = 1;
    b->log_sum.data = br__carve(&scratch, b->T * b->heads);
    return scratch;
}

size_t BR__FN(attention_grad_scratch)(const struct br_call *c)
{
    struct back b = back_of(c);
    struct br_tensor in[5];
    size_t forward = 0, floats = space_floats(&b) * c->stream->n_threads + br__line(b.T * b.heads);
    floats += br__line(sum_floats(&b));
    if (!brings_forward(c)) {
        floats += br__line(b.T * b.heads * b.d) + br__line(b.T * b.heads);
        b.o = *b.q;
        struct br_call f = forward_call(&b, in, NULL);
        forward = BR__FN(attention_scratch)(&f);
    }
    return floats * sizeof(float) + forward;
}

/* ---- what all items need --------------------------------------------------------------------- */

/* n elements from the at-th on of a tensor as float32, in room or where they are. */
static const float *floats_at(const struct br_tensor *x, int64_t at, int64_t n, float *room)
{
    if (x->dtype == BR_F32)
        return (const float *)x->data + at;
    widen(room, x, at, n);
    return room;
}

/* Sums begin with zeros; dO . O of this thread's tokens. */
static void back_begin(const struct back *b, const struct back_space *w)
{
    int64_t from, to;
    br__thread_range(b->c, sum_floats(b), 16, &from, &to);
    zero(b->dq + from, to - from);
    br__thread_range(b->c, b->T, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t h = 0; h < b->heads; h++) {
            const struct br_tensor *y = b->y, *o = &b->o;
            int64_t y_at = t * y->stride[0] + h * y->stride[1];
            int64_t o_at = t * o->stride[0] + h * o->stride[1];
            b->along[t * b->heads + h] = dot(floats_at(y, y_at, b->d, (float *)(void *)w->y),
                                             floats_at(o, o_at, b->d, (float *)(void *)w->q), b->d);
        }
}

/* Positions [at, at + n) of a sequence as queries and [k, k + keys) as keys. */
struct meeting {
    const struct br__seq *s;
    int64_t at, n, k, keys, head; /* head: of keys */
};

/* Token and query head of row r. */
BR__INLINE int64_t token_of(const struct back *b, const struct meeting *m, int64_t r)
{
    return m->s->q0 + m->at - (m->s->nk - m->s->nq) + r / b->group;
}
BR__INLINE int64_t head_of_row(const struct back *b, const struct meeting *m, int64_t r)
{
    return m->head * b->group + r % b->group;
}

/* Rows of x[T, heads, d] one after another, as they are stored. */
static struct mat gather_heads(const struct back *b, const struct meeting *m,
                               const struct br_tensor *x, char *to)
{
    size_t size = (size_t)br__float_size(x->dtype), bytes = (size_t)b->d * size;
    for (int64_t r = 0; r < m->n * b->group; r++) {
        int64_t at = token_of(b, m, r) * x->stride[0] + head_of_row(b, m, r) * x->stride[1];
        memcpy(to + (size_t)r * bytes, (const char *)x->data + (size_t)at * size, bytes);
    }
    return (struct mat){to, x->dtype, 0, b->d};
}

/* The block's keys or values. */
static struct mat key_rows(const struct meeting *m, const struct br_tensor *x)
{
    int64_t at = (m->s->k0 + m->k) * x->stride[0] + m->head * x->stride[1];
    return (struct mat){(const char *)x->data + at * br__float_size(x->dtype), x->dtype, 0,
                        x->stride[0]};
}

/* ---- products of a meeting ------------------------------------------------------------------- */

/* Which part of a product is not zero, where the block of queries is the block of keys: query row r
 * sees keys up to r / group. */
enum back_part { BACK_ALL, BACK_SCORES, BACK_BY_KEY, BACK_BY_QUERY };

/* out[m, n] (+)= a b' over k elements, a(i, k) and b(j, k). */
struct small_product {
    struct mat a, b;
    int64_t m, n, k;
    float *out;
    int64_t ldo;
    int add, part; /* enum back_part */
};

/* Units [from, to) along k that rows i .. i + MR of the result need; columns from j on.  Tiles are
 * packed so that all of k is multiplied. */
BR__INLINE void back_needed(int part, int64_t group, int64_t i, int64_t j, int64_t *from,
                            int64_t *to)
{
    const int64_t last = (i + GEMM_MR - 1) / group; /* key that these query rows see */
    if (part == BACK_SCORES && j > last)
        *to = 0;
#ifndef BR__TILES
    if (part == BACK_BY_KEY)
        *from = i * group / GEMM_UNIT;
    if (part == BACK_BY_QUERY)
        *to = min_of(*to, gemm_units(last + 1));
#else
    (void)from;
    (void)i;
#endif
}

static void multiply_small(const struct back *b, const struct back_space *w,
                           const struct small_product *s)
{
    const int64_t kc = gemm_units(s->k);
    const struct product right = {.b = s->b, .k = s->k};
    for (int64_t i = 0; i < s->m; i += GEMM_MR)
        gemm_pack_panel(w->left + i * kc, &s->a, i, min_of(GEMM_MR, s->m - i), 0, kc, s->k);
    gemm_pack_b(&right, w->right, 0, s->n, 0, kc);
    for (int64_t j = 0; j < s->n; j += GEMM_NR)
        for (int64_t i = 0; i < s->m; i += GEMM_MR) {
            const int64_t rows = min_of(GEMM_MR, s->m - i);
            int64_t from = 0, to = kc;
            back_needed(s->part, b->group, i, j, &from, &to);
            if (from < to)
                gemm_micro(rows, to - from, w->left + i * kc + from * rows,
                           w->right + j * kc + from * GEMM_NR, s->out + i * s->ldo + j, s->ldo,
                           s->n - j, s->add);
        }
}

static struct mat across(struct mat m)
{
    m.k_major = 1;
    return m;
}

/* What a row of scores is made into weights with: keys [first, end) of n are seen. */
struct back_row {
    int64_t first, end, n;
    float log_sum, along, scale;
};

/* Zeros for keys [from, to) of a row. */
static void back_zero(float *row, int64_t from, int64_t to)
{
    const size_t size = sizeof *row / BACK_PLACES;
    memset((char *)row + (size_t)from * size, 0, (size_t)(to - from) * size);
}

BR__INLINE void back_store(float *row, int64_t j, vf v, int n)
{
    if (BACK_WEIGHTS == BR_BF16)
        v_store_bf16_n((uint16_t *)(void *)row + j, v, n);
    else
        v_store_n(row + j, v, n);
}

/* Scores and dO v' into P and dS: each is stored at or before the place that it was made of. */
static void back_weights(const struct back_row *r, float *p, float *ds)
{
    int64_t first = min_of(r->first, r->end), end = r->end;
    for (int64_t j = first; j < end; j += VN) {
        int m = end - j < VN ? (int)(end - j) : VN;
        vf s = v_sub(v_mul(v_load_n(p + j, m), v_set1(r->scale)), v_set1(r->log_sum));
        vf e = v_exp(s), d = v_sub(v_load_n(ds + j, m), v_set1(r->along));
        back_store(p, j, e, m);
        back_store(ds, j, v_mul(v_mul(e, d), v_set1(r->scale)), m);
    }
    back_zero(p, 0, first);
    back_zero(ds, 0, first);
    back_zero(p, end, r->n);
    back_zero(ds, end, r->n);
}

static void back_rows(const struct back *b, const struct back_space *w, const struct meeting *m)
{
    for (int64_t r = 0; r < m->n * b->group; r++) {
        int64_t own = m->at + r / b->group, t = token_of(b, m, r), head = head_of_row(b, m, r);
        struct back_row row = {.n = m->keys, .scale = b->scale};
        row.end = max_of(min_of(own + 1 - m->k, m->keys), 0);
        if (b->window > 0 && own - b->window + 1 > m->k)
            row.first = own - b->window + 1 - m->k;
        row.log_sum = br__row(&b->log_sum, t)[head];
        row.along = b->along[t * b->heads + head];
        back_weights(&row, w->p + r * b->block, w->ds + r * b->block);
    }
}

static void back_meet(const struct back *b, const struct back_space *w, const struct meeting *m)
{
    const int64_t rows = m->n * b->group, d = b->d, ld = b->block, keys = m->keys;
    const int64_t key_row = m->head * b->S + m->s->k0 + m->k;
    struct mat q = gather_heads(b, m, b->q, w->q), y = gather_heads(b, m, b->y, w->y);
    struct mat k = key_rows(m, b->k), v = key_rows(m, b->v);
    struct mat p = {(const char *)w->p, BACK_WEIGHTS, 0, BACK_PLACES * ld};
    struct mat ds = {(const char *)w->ds, BACK_WEIGHTS, 0, BACK_PLACES * ld};
    float *dq = b->dq + (m->head * b->T + token_of(b, m, 0)) * b->group * d;
    float *dk = b->dk + key_row * d, *dv = b->dv + key_row * d;
    const int part = m->at == m->k;
    multiply_small(b, w,
                   &(struct small_product){q, k, rows, keys, d, w->p, ld, 0, part * BACK_SCORES});
    multiply_small(b, w,
                   &(struct small_product){y, v, rows, keys, d, w->ds, ld, 0, part * BACK_SCORES});
    back_rows(b, w, m);
    multiply_small(
        b, w,
        &(struct small_product){across(p), across(y), keys, d, rows, dv, d, 1, part * BACK_BY_KEY});
    multiply_small(b, w,
                   &(struct small_product){across(ds), across(q), keys, d, rows, dk, d, 1,
                                           part * BACK_BY_KEY});
    multiply_small(
        b, w,
        &(struct small_product){ds, across(k), rows, d, keys, dq, d, 1, part * BACK_BY_QUERY});
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Blocks of keys of a sequence that meet a block of queries in a turn. */
static int64_t blocks_in(const struct back *b, const struct br__seq *s, int64_t turn)
{
    return max_of((s->nk + b->block - 1) / b->block - turn, 0);
}

/* Item i of a sequence in a turn. */
static void back_item(const struct back *b, const struct back_space *w, const struct br__seq *s,
                      int64_t turn, int64_t i)
{
    int64_t j = i / b->kv_heads, at = (j + turn) * b->block, to = min_of(at + b->block, s->nk);
    struct meeting m = {.s = s, .head = i % b->kv_heads, .k = j * b->block};
    m.keys = min_of(b->block, s->nk - m.k);
    m.at = max_of(at, s->nk - s->nq);
    m.n = to - m.at;
    int seen = b->window <= 0 || m.at - b->window + 1 < m.k + m.keys;
    if (m.n > 0 && seen)
        back_meet(b, w, &m);
}

/* All threads; 0 if no sequence has so many blocks. */
static int back_turn(const struct back *b, const struct back_space *w, int64_t turn)
{
    struct br__seq s = {0};
    int64_t n = 0, before = 0, next = 0;
    for (int64_t i = 0; i < b->seqs->shape[0]; i++)
        if (br__seq_at(b->seqs, i, b->T, b->S, &s))
            n += blocks_in(b, &s, turn) * b->kv_heads;
    if (n == 0)
        return 0;
    struct br__share share = br__share(b->c, n);
    for (int64_t item, own = 0; br__share_next(&share, &item);) {
        if (item < before) /* stolen from a thread with an earlier range */
            before = own = next = 0;
        while (item >= before + own) { /* on to the sequence of the item */
            before += own;
            own = br__seq_at(b->seqs, next++, b->T, b->S, &s) ? blocks_in(b, &s, turn) * b->kv_heads
                                                              : 0;
        }
        back_item(b, w, &s, turn, item - before);
    }
    br__sync(b->c);
    return 1;
}

/* n sums of a token, from column col of the result on. */
static void back_put(const struct back *b, int64_t t, int64_t col, const float *sums, int64_t n)
{
    char *to = br__place(b->c->out, t, col);
    if (b->c->out->dtype == BR_BF16)
        narrow((uint16_t *)(void *)to, sums, n);
    else
        copy((float *)(void *)to, sums, n);
}

/* Sums of this thread's tokens become the result. */
static void back_end(const struct back *b)
{
    int64_t from, to, d = b->d, all = b->group * d;
    br__thread_range(b->c, b->S, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t h = 0; h < b->kv_heads; h++) {
            int64_t row = h * b->S + t;
            if (t < b->T)
                back_put(b, t, h * all, b->dq + (h * b->T + t) * all, all);
            back_put(b, t, (b->heads + h) * d, b->dk + row * d, d);
            back_put(b, t, (b->heads + b->kv_heads + h) * d, b->dv + row * d, d);
        }
}

void BR__FN(attention_grad)(const struct br_call *c)
{
    struct back b = back_of(c);
    struct br_tensor in[5];
    float *scratch = (float *)c->scratch + c->stream->thread * space_floats(&b);
    struct back_space w = back_carve(&b, &scratch);
    scratch = (float *)c->scratch + c->stream->n_threads * space_floats(&b);
    b.along = br__carve(&scratch, b.T * b.heads);
    b.dq = br__carve(&scratch, sum_floats(&b));
    b.dk = b.dq + b.T * b.heads * b.d;
    b.dv = b.dk + b.S * b.kv_heads * b.d;
    scratch = forward_tensors(&b, scratch);
    if (!brings_forward(c)) {
        struct br_call f = forward_call(&b, in, scratch);
        BR__FN(attention)(&f);
        br__sync(c);
    }
    back_begin(&b, &w);
    br__sync(c);
    tiles_begin();
    for (int64_t turn = 0; back_turn(&b, &w, turn); turn++)
        continue;
    tiles_end();
    back_end(&b);
}
