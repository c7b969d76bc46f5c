/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* head_impl.h - the output layer together with its loss: HEAD_PANEL words at a time, whose logits
 * are in scratch, so that memory does not grow with the vocabulary.
 *
 * Needs: matmul_impl.h, vec_ops_impl.h.  Defines: the kernels head_stats, head_grad, head_pass.
 *
 * Panels come one after the other and threads share each, so no sum depends on the number of
 * threads. */

#define HEAD_PANEL 1024

struct head {
    const struct br_call *c;
    struct br_tensor x; /* the rows that are worked on */
    const struct br_tensor *w;
    const int32_t *labels;       /* [T] */
    const struct br_tensor *sum; /* [V, h] that the gradient by w is added to, or NULL */
    int64_t T, h, V, first;      /* first: id of the weight's first row */
    int rounded;                 /* logits to bfloat16, as a product of such values is */
    int rounded_grad;            /* and their gradient */
    float *tile;                 /* [T, HEAD_PANEL] */
    float *packed;               /* x, as gemm_pack_a has it */
    float *thread;               /* this thread's, for gemm_block */
    float *rest;                 /* of the scratch that is shared */
};

/* Floats of a packed operand of m rows of k elements. */
static int64_t packed_floats(int64_t m, int64_t k)
{
    return gemm_rows(m) * gemm_units(k);
}

/* Of T rows at once.  extra: floats of shared scratch besides what struct head names. */
static size_t head_bytes(const struct br_call *c, int64_t T, int64_t extra)
{
    int64_t h = c->in[0].shape[1];
    size_t shared = br__line(T * HEAD_PANEL) + br__line(packed_floats(T, h)) + br__line(extra);
    return (shared + c->stream->n_threads * br__line(GEMM_LANE_FLOATS)) * sizeof(float);
}

/* Rows t .. t + n of x. */
static struct head head_of(const struct br_call *c, int64_t t, int64_t n)
{
    struct head d = {.c = c, .x = c->in[0], .w = &c->in[1], .labels = br__ints(&c->in[2]) + t};
    float *scratch = (float *)c->scratch;
    d.x.data = (char *)d.x.data + t * d.x.stride[0] * br__float_size(d.x.dtype);
    d.x.shape[0] = n;
    d.sum = c->n_in > 5 ? &c->in[5] : NULL;
    d.T = n;
    d.h = d.x.shape[1];
    d.V = d.w->shape[0];
    d.first = c->attr.i[1];
    d.rounded = d.x.dtype == BR_BF16;
    d.rounded_grad = d.rounded || c->attr.i[2];
    d.thread = scratch + c->stream->thread * br__line(GEMM_LANE_FLOATS);
    scratch += c->stream->n_threads * br__line(GEMM_LANE_FLOATS);
    d.tile = br__carve(&scratch, d.T * HEAD_PANEL);
    d.packed = br__carve(&scratch, packed_floats(d.T, d.h));
    d.rest = scratch;
    return d;
}

/* All threads: the blocks of one product whose a is packed. */
static void head_multiply(const struct head *d, const struct product *p, const float *packed)
{
    struct br__share share = br__share(d->c, gemm_n_blocks(p, d->c->stream->n_threads));
    tiles_begin();
    for (int64_t i; br__share_next(&share, &i);)
        gemm_block(d->c, p, packed, i, d->thread);
    tiles_end();
    br__sync(d->c);
}

/* Rows v .. v + n of the weight. */
static struct mat head_words(const struct head *d, int64_t v, int k_major)
{
    int64_t size = br__float_size(d->w->dtype);
    const char *data = (const char *)d->w->data + v * d->w->stride[0] * size;
    return (struct mat){data, d->w->dtype, k_major, d->w->stride[0]};
}

/* tile[T, n] = logits of words v .. v + n. */
static void head_logits(const struct head *d, int64_t v, int64_t n)
{
    struct product p = {.a = rows_of(&d->x, 0, 0), .b = head_words(d, v, 0), .out = d->tile};
    p.ldo = HEAD_PANEL;
    p.m = d->T;
    p.n = n;
    p.k = d->h;
    if (v == 0) {
        gemm_pack_a(d->c, &p, d->packed);
        br__sync(d->c);
    }
    head_multiply(d, &p, d->packed);
}

/* x as bfloat16 holds it. */
BR__INLINE void rounded(float *x, int64_t n)
{
    uint16_t part[VN];
    for (int64_t i = 0; i < n; i += VN) {
        int m = n - i < VN ? (int)(n - i) : VN;
        narrow(part, x + i, m);
        for (int j = 0; j < m; j++)
            x[i + j] = s_bf16(part[j]);
    }
}

/* ---- statistics ------------------------------------------------------------------------------ */

size_t BR__FN(head_stats_scratch)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16)
        return br__head_stats_scratch_avx512(c);
#endif
    return head_bytes(c, c->in[0].shape[0], 2 * c->in[0].shape[0]);
}

/* n more logits of a row. */
static void head_meet(const float *row, int64_t n, float *max, double *sum)
{
    float most;
    double part;
    log_sum(row, n, &most, &part);
    if (most > *max) {
        *sum = *sum * exp((double)*max - (double)most) + part;
        *max = most;
    } else {
        *sum += part * exp((double)most - (double)*max);
    }
}

void BR__FN(head_stats)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16) {
        br__head_stats_avx512(c);
        return;
    }
#endif
    struct head d = head_of(c, 0, c->in[0].shape[0]);
    double *sum = (double *)(void *)d.rest;
    int64_t from, to;
    br__thread_range(c, d.T, 8, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float *o = (float *)c->out->data + 3 * t;
        o[0] = -INFINITY;
        o[2] = 0;
        sum[t] = 0;
    }
    for (int64_t v = 0; v < d.V; v += HEAD_PANEL) {
        int64_t n = min_of(HEAD_PANEL, d.V - v);
        head_logits(&d, v, n);
        for (int64_t t = from; t < to; t++) {
            float *row = d.tile + t * HEAD_PANEL, *o = (float *)c->out->data + 3 * t;
            int64_t label = d.labels[t] - d.first - v;
            if (d.rounded)
                rounded(row, n);
            head_meet(row, n, o, &sum[t]);
            if (label >= 0 && label < n)
                o[2] = row[label];
        }
        br__sync(c);
    }
    for (int64_t t = from; t < to; t++)
        ((float *)c->out->data)[3 * t + 1] = (float)sum[t];
}

/* Of token t, what all ranks' words make: whether it is counted, and if so maximum, sum, logit. */
static int head_row(const struct br_call *c, int64_t t, float *max, double *sum, float *logit)
{
    const struct br_tensor *stats = &c->in[3];
    int64_t T = c->in[0].shape[0], parts = stats->shape[0] / T;
    int32_t label = br__ints(&c->in[2])[t];
    if (label < 0 || label >= parts * c->in[1].shape[0])
        return 0;
    *max = -INFINITY;
    *sum = 0;
    *logit = 0;
    for (int64_t i = 0; i < parts; i++)
        *max = fmaxf(*max, br__row(stats, i * T + t)[0]);
    for (int64_t i = 0; i < parts; i++) {
        const float *row = br__row(stats, i * T + t);
        *sum += (double)row[1] * exp((double)row[0] - (double)*max);
        *logit += row[2];
    }
    return 1;
}

/* ---- gradient -------------------------------------------------------------------------------- */

/* Shared besides: the tile packed for dx and for the weight, and dx where it is not the output. */
static int64_t grad_floats(const struct br_call *c, int64_t T)
{
    int64_t h = c->in[0].shape[1];
    return br__line(packed_floats(T, HEAD_PANEL)) + br__line(packed_floats(HEAD_PANEL, T)) +
           (c->out->dtype == BR_BF16 ? br__line(T * h) : 0);
}

size_t BR__FN(head_grad_scratch)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16)
        return br__head_grad_scratch_avx512(c);
#endif
    return head_bytes(c, c->in[0].shape[0], grad_floats(c, c->in[0].shape[0]));
}

/* What becomes of a token's loss: its weight, 0 where it is not counted, and the softmax. */
struct head_token {
    float each, max;
    double sum;
};

/* Where products round to bfloat16, a gradient that is rounded lies so in the first half of its row
 * of the tile. */
static int head_tile_is_half(const struct head *d)
{
    return GEMM_UNIT == 2 && d->rounded_grad;
}

static void head_round_row(const struct head *d, float *row, int64_t n)
{
    if (!head_tile_is_half(d)) {
        rounded(row, n);
        return;
    }
    for (int64_t i = 0; i < n; i += VN) {
        int m = n - i < VN ? (int)(n - i) : VN;
        v_store_bf16_n((uint16_t *)(void *)row + i, v_load_n(row + i, m), m);
    }
}

/* Logits of words v .. v + n of token t, rounded if they are to be, into their gradient. */
static void head_token_grad(const struct head *d, const struct head_token *k, int64_t t, int64_t v,
                            int64_t n)
{
    float *row = d->tile + t * HEAD_PANEL;
    int64_t label = d->labels[t] - d->first - v;
    if (k->each == 0) {
        zero(row, n);
        return;
    }
    exp_row(row, row, k->max, n);
    scaled(row, row, (float)((double)k->each / k->sum), n);
    if (label >= 0 && label < n)
        row[label] -= k->each;
    if (d->rounded_grad)
        head_round_row(d, row, n);
}

static void head_grad_row(const struct head *d, int64_t t, int64_t v, int64_t n)
{
    struct head_token k = {.each = 0};
    float logit;
    if (head_row(d->c, t, &k.max, &k.sum, &logit))
        k.each = ((const float *)d->c->in[4].data)[t * d->c->in[4].stride[0]];
    if (d->rounded && k.each != 0)
        rounded(d->tile + t * HEAD_PANEL, n);
    head_token_grad(d, &k, t, v, n);
}

/* dx (+)= tile words, and sum += tile' x; dx[T, h] is packed in rows. */
static void head_spread(const struct head *d, int64_t v, int64_t n, float *dx)
{
    struct mat tile = {(const char *)d->tile, BR_F32, 0, HEAD_PANEL};
    if (head_tile_is_half(d))
        tile = (struct mat){tile.data, BR_BF16, 0, 2 * HEAD_PANEL};
    struct product by_x = {.a = tile, .b = head_words(d, v, 1), .out = dx, .ldo = d->h};
    float *room = d->rest, *along = br__carve(&room, packed_floats(d->T, HEAD_PANEL));
    by_x.m = d->T;
    by_x.n = d->h;
    by_x.k = n;
    by_x.add = v > 0;
    gemm_pack_a(d->c, &by_x, along);
    if (!d->sum) {
        br__sync(d->c);
        head_multiply(d, &by_x, along);
        return;
    }
    tile.k_major = 1;
    struct product by_w = {.a = tile, .b = rows_of(&d->x, 0, 1), .add = 1};
    by_w.ldo = d->sum->stride[0];
    by_w.out = (float *)d->sum->data + v * by_w.ldo;
    by_w.m = n;
    by_w.n = d->h;
    by_w.k = d->T;
    gemm_pack_a(d->c, &by_w, room);
    br__sync(d->c);
    head_multiply(d, &by_x, along);
    head_multiply(d, &by_w, room);
}

void BR__FN(head_grad)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16) {
        br__head_grad_avx512(c);
        return;
    }
#endif
    struct head d = head_of(c, 0, c->in[0].shape[0]);
    int64_t from, to;
    float *dx = c->out->data;
    if (c->out->dtype == BR_BF16)
        dx = d.rest + grad_floats(c, d.T) - br__line(d.T * d.h);
    br__thread_range(c, d.T, 1, &from, &to);
    for (int64_t v = 0; v < d.V; v += HEAD_PANEL) {
        int64_t n = min_of(HEAD_PANEL, d.V - v);
        head_logits(&d, v, n);
        for (int64_t t = from; t < to; t++)
            head_grad_row(&d, t, v, n);
        br__sync(c);
        head_spread(&d, v, n, dx);
    }
    if (c->out->dtype == BR_BF16)
        for (int64_t t = from; t < to; t++)
            narrow((uint16_t *)c->out->data + t * d.h, dx + t * d.h, d.h);
}

/* ---- both in one pass ------------------------------------------------------------------------ */

/* Tokens are taken in blocks whose logits of all words are kept between the softmax's sum and the
 * gradient: of as many tokens as HEAD_KEPT bytes hold, so memory does not grow with the vocabulary
 * beyond that. */
#define HEAD_KEPT ((int64_t)160 << 20)
#define HEAD_BLOCK 512    /* tokens at most: more make products no faster */
#define HEAD_BLOCK_MIN 32 /* at least, which only vocabularies of millions of words need */

struct head_pass {
    struct head d;
    char *kept; /* logits, [d.T, words] of each panel, rounded if they are to be: `size` bytes */
    struct head_token *token; /* [d.T] */
    float *logit;             /* [d.T] the label's */
    float *dx;                /* [d.T, h] */
    int64_t size;
};

static int64_t logit_size(const struct br_call *c)
{
    return c->in[0].dtype == BR_BF16 ? 2 : 4;
}

/* Tokens of a block: all blocks are about equal, whole groups of HEAD_BLOCK_MIN. */
static int64_t pass_rows(const struct br_call *c)
{
    int64_t T = c->in[0].shape[0], V = c->in[1].shape[0];
    int64_t most = HEAD_KEPT / (V * logit_size(c)) / HEAD_BLOCK_MIN * HEAD_BLOCK_MIN;
    most = most > HEAD_BLOCK ? HEAD_BLOCK : most < HEAD_BLOCK_MIN ? HEAD_BLOCK_MIN : most;
    int64_t blocks = (T + most - 1) / most, each = (T + blocks - 1) / blocks;
    return min_of(T, (each + HEAD_BLOCK_MIN - 1) / HEAD_BLOCK_MIN * HEAD_BLOCK_MIN);
}

/* Of a block of T tokens besides what the gradient needs. */
static int64_t pass_floats(const struct br_call *c, int64_t T)
{
    int64_t kept = T * c->in[1].shape[0] * logit_size(c) / 4 + 1;
    return br__line(kept) + br__line(T * (int64_t)(sizeof(struct head_token) / sizeof(float))) +
           br__line(T);
}

size_t BR__FN(head_pass_scratch)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16)
        return br__head_pass_scratch_avx512(c);
#endif
    int64_t T = pass_rows(c);
    return head_bytes(c, T, grad_floats(c, T) + pass_floats(c, T));
}

static struct head_pass head_pass_of(const struct br_call *c, int64_t t, int64_t n)
{
    struct head_pass p = {.d = head_of(c, t, n), .size = logit_size(c)};
    float *rest = p.d.rest + grad_floats(c, n);
    p.dx = c->out->dtype == BR_BF16 ? rest - br__line(n * p.d.h)
                                    : (float *)c->out->data + t * c->out->stride[0];
    p.token = (struct head_token *)(void *)br__carve(
        &rest, n * (int64_t)(sizeof *p.token / sizeof(float)));
    p.logit = br__carve(&rest, n);
    p.kept = (char *)rest;
    return p;
}

/* Kept logits back into the tile. */
static void pass_fetch(const struct head_pass *p, int64_t t, int64_t v, int64_t n)
{
    float *row = p->d.tile + t * HEAD_PANEL;
    const struct br_tensor kept = {.data = p->kept, .dtype = p->d.x.dtype};
    widen(row, &kept, v * p->d.T + t * n, n);
}

/* The tile's row t, logits of words v .. v + n, is met by the softmax and kept. */
static void pass_keep(const struct head_pass *p, int64_t t, int64_t v, int64_t n)
{
    float *row = p->d.tile + t * HEAD_PANEL;
    struct head_token *k = &p->token[t];
    int64_t label = p->d.labels[t] - p->d.first - v;
    char *to = p->kept + (v * p->d.T + t * n) * p->size;
    if (p->d.rounded) {
        narrow((uint16_t *)(void *)to, row, n);
        pass_fetch(p, t, v, n);
    } else {
        memcpy(to, row, (size_t)n * sizeof *row);
    }
    head_meet(row, n, &k->max, &k->sum);
    if (label >= 0 && label < n)
        p->logit[t] = row[label];
}

/* Its loss; sums are float32 between ranks, so they are here. */
static void pass_loss(const struct head_pass *p, int64_t t, int64_t at)
{
    const struct br_call *c = p->d.c;
    struct head_token *k = &p->token[t];
    int64_t label = p->d.labels[t] - p->d.first;
    int counted = label >= 0 && label < p->d.V;
    k->sum = (double)(float)k->sum;
    k->each = counted ? ((const float *)c->in[3].data)[(at + t) * c->in[3].stride[0]] : 0;
    ((float *)c->in[4].data)[(at + t) * c->in[4].stride[0]] =
        counted ? (float)(log(k->sum) + ((double)k->max - (double)p->logit[t])) : 0;
}

/* Rows t .. t + n of x. */
static void pass_block(const struct br_call *c, int64_t at, int64_t n)
{
    struct head_pass p = head_pass_of(c, at, n);
    int64_t from, to;
    br__thread_range(c, n, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        p.token[t] = (struct head_token){.max = -INFINITY};
    for (int64_t v = 0; v < p.d.V; v += HEAD_PANEL) {
        int64_t words = min_of(HEAD_PANEL, p.d.V - v);
        head_logits(&p.d, v, words);
        for (int64_t t = from; t < to; t++)
            pass_keep(&p, t, v, words);
        br__sync(c);
    }
    for (int64_t t = from; t < to; t++)
        pass_loss(&p, t, at);
    for (int64_t v = 0; v < p.d.V; v += HEAD_PANEL) {
        int64_t words = min_of(HEAD_PANEL, p.d.V - v);
        for (int64_t t = from; t < to; t++) {
            pass_fetch(&p, t, v, words);
            head_token_grad(&p.d, &p.token[t], t, v, words);
        }
        br__sync(c);
        head_spread(&p.d, v, words, p.dx);
    }
    for (int64_t t = from; c->out->dtype == BR_BF16 && t < to; t++)
        narrow((uint16_t *)c->out->data + (at + t) * p.d.h, p.dx + t * p.d.h, p.d.h);
    br__sync(c);
}

void BR__FN(head_pass)(const struct br_call *c)
{
#ifdef BR__PAIRS
    if (c->attr.i[0] != BR_BF16) {
        br__head_pass_avx512(c);
        return;
    }
#endif
    int64_t T = c->in[0].shape[0], rows = pass_rows(c);
    for (int64_t at = 0; at < T; at += rows)
        pass_block(c, at, min_of(rows, T - at));
}
