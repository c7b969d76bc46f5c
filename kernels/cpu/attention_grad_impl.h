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
 * whatever the number of threads.  Products go through the packed panels of gemm_impl.h. */

struct back {
    const struct br_call *c;
    const struct br_tensor *q, *k, *v, *seqs, *y;
    struct br_tensor o, log_sum; /* of the forward pass */
    int64_t T, heads, kv_heads, group, d, window;
    int64_t block, rows; /* positions of a block, and its rows: all query heads of a key head */
    float scale;
    float *sums, *along; /* [T, ld]: dq, dk, dv; [T, heads]: dO . O */
    int64_t ld, width;   /* width: floats of a row of sums */
};

/* One thread's: rows of queries and of dO one after another, packed operands, P and dS, dQ. */
struct back_space {
    char *q, *y;
    float *left, *right, *p, *ds, *dq;
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
    b.heads = b.q->shape[1];
    b.kv_heads = b.k->shape[1];
    b.d = b.q->shape[2];
    b.group = b.heads / b.kv_heads;
    b.window = c->attr.i[0];
    b.scale = (float)c->attr.f[0];
    b.block = b.group <= 2 ? 128 : 64;
    b.rows = b.block * b.group;
    b.ld = b.width = (b.heads + 2 * b.kv_heads) * b.d;
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

static size_t space_floats(const struct back *b)
{
    return 3 * br__line(b->rows * b->d) + br__line(left_floats(b)) + br__line(right_floats(b)) +
           2 * br__line(b->rows * b->block);
}

static struct back_space back_carve(const struct back *b, float **scratch)
{
    struct back_space w;
    w.q = (char *)br__carve(scratch, b->rows * b->d);
    w.y = (char *)br__carve(scratch, b->rows * b->d);
    w.dq = br__carve(scratch, b->rows * b->d);
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
    if (c->out->dtype == BR_BF16)
        floats += br__line(b.T * b.width);
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
    br__thread_range(b->c, b->T, 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        zero(b->sums + t * b->ld, b->width);
        for (int64_t h = 0; h < b->heads; h++) {
            const struct br_tensor *y = b->y, *o = &b->o;
            int64_t y_at = t * y->stride[0] + h * y->stride[1];
            int64_t o_at = t * o->stride[0] + h * o->stride[1];
            b->along[t * b->heads + h] = dot(floats_at(y, y_at, b->d, (float *)(void *)w->y),
                                             floats_at(o, o_at, b->d, w->dq), b->d);
        }
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

/* out[m, n] (+)= a b' over k elements, a(i, k) and b(j, k). */
struct small_product {
    struct mat a, b;
    int64_t m, n, k;
    float *out;
    int64_t ldo;
    int add;
};

static void multiply_small(const struct small_product *s, const struct back_space *w)
{
    const int64_t kc = gemm_units(s->k);
    const struct product right = {.b = s->b, .k = s->k};
    for (int64_t i = 0; i < s->m; i += GEMM_MR)
        gemm_pack_panel(w->left + i * kc, &s->a, i, min_of(GEMM_MR, s->m - i), 0, kc, s->k);
    gemm_pack_b(&right, w->right, 0, s->n, 0, kc);
    for (int64_t j = 0; j < s->n; j += GEMM_NR)
        for (int64_t i = 0; i < s->m; i += GEMM_MR)
            gemm_micro(min_of(GEMM_MR, s->m - i), kc, w->left + i * kc, w->right + j * kc,
                       s->out + i * s->ldo + j, s->ldo, s->n - j, s->add);
}

static struct mat across(struct mat m)
{
    m.k_major = 1;
    return m;
}

/* Scores of keys [first, end) of n and dO v' into P and dS; zeros for the other keys. */
static void back_row(float *p, float *ds, int64_t first, int64_t end, int64_t n, float log_sum,
                     float along, float scale)
{
    if (end <= first)
        first = end = n;
    zero(p, first);
    zero(ds, first);
    for (int64_t j = first; j < end; j += VN) {
        int m = end - j < VN ? (int)(end - j) : VN;
        vf s = v_sub(v_mul(v_load_n(p + j, m), v_set1(scale)), v_set1(log_sum));
        vf e = v_exp(s), d = v_sub(v_load_n(ds + j, m), v_set1(along));
        v_store_n(p + j, e, m);
        v_store_n(ds + j, v_mul(v_mul(e, d), v_set1(scale)), m);
    }
    zero(p + end, n - end);
    zero(ds + end, n - end);
}

static void back_rows(const struct back *b, const struct back_space *w, const struct meeting *m)
{
    for (int64_t r = 0; r < m->n * b->group; r++) {
        int64_t own = m->at + r / b->group, t = token_of(b, m, r), head = head_of_row(b, m, r);
        int64_t first = 0, end = min_of(own + 1 - m->k, m->keys);
        if (b->window > 0 && own - b->window + 1 > m->k)
            first = own - b->window + 1 - m->k;
        back_row(w->p + r * b->block, w->ds + r * b->block, first, end, m->keys,
                 br__row(&b->log_sum, t)[head], b->along[t * b->heads + head], b->scale);
    }
}

static void back_meet(const struct back *b, const struct back_space *w, const struct meeting *m)
{
    const int64_t rows = m->n * b->group, d = b->d, ld = b->block;
    struct mat q = gather_heads(b, m, b->q, w->q), y = gather_heads(b, m, b->y, w->y);
    struct mat keys = key_rows(m, b->k), values = key_rows(m, b->v);
    struct mat p = {(const char *)w->p, BR_F32, 0, ld}, ds = {(const char *)w->ds, BR_F32, 0, ld};
    float *dk = b->sums + (m->s->k0 + m->k) * b->ld + (b->heads + m->head) * d;
    float *dv = dk + b->kv_heads * d;
    multiply_small(&(struct small_product){q, keys, rows, m->keys, d, w->p, ld, 0}, w);
    multiply_small(&(struct small_product){y, values, rows, m->keys, d, w->ds, ld, 0}, w);
    back_rows(b, w, m);
    multiply_small(&(struct small_product){across(p), across(y), m->keys, d, rows, dv, b->ld, 1},
                   w);
    multiply_small(&(struct small_product){across(ds), across(q), m->keys, d, rows, dk, b->ld, 1},
                   w);
    multiply_small(&(struct small_product){ds, across(keys), rows, d, m->keys, w->dq, d, 0}, w);
    for (int64_t r = 0; r < rows; r++)
        add_scaled(b->sums + token_of(b, m, r) * b->ld + head_of_row(b, m, r) * d, w->dq + r * d, 1,
                   d);
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
        if (br__seq_at(b->seqs, i, b->T, b->T, &s))
            n += blocks_in(b, &s, turn) * b->kv_heads;
    if (n == 0)
        return 0;
    struct br__share share = br__share(b->c, n);
    for (int64_t item, own = 0; br__share_next(&share, &item);) {
        if (item < before) /* stolen from a thread with an earlier range */
            before = own = next = 0;
        while (item >= before + own) { /* on to the sequence of the item */
            before += own;
            own = br__seq_at(b->seqs, next++, b->T, b->T, &s) ? blocks_in(b, &s, turn) * b->kv_heads
                                                              : 0;
        }
        back_item(b, w, &s, turn, item - before);
    }
    br__sync(b->c);
    return 1;
}

void BR__FN(attention_grad)(const struct br_call *c)
{
    struct back b = back_of(c);
    struct br_tensor in[5];
    float *scratch = (float *)c->scratch + c->stream->thread * space_floats(&b);
    struct back_space w = back_carve(&b, &scratch);
    scratch = (float *)c->scratch + c->stream->n_threads * space_floats(&b);
    b.along = br__carve(&scratch, b.T * b.heads);
    b.sums = c->out->data;
    if (c->out->dtype == BR_BF16)
        b.sums = br__carve(&scratch, b.T * b.ld);
    else
        b.ld = c->out->stride[0];
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
    if (c->out->dtype != BR_BF16)
        return;
    int64_t from, to;
    br__thread_range(c, b.T, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        narrow((uint16_t *)(void *)br__place(c->out, t, 0), b.sums + t * b.ld, b.width);
}
