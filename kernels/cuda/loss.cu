/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* loss.cu - cross entropy over rows of logits; the output layer together with its loss, a panel of
 * the vocabulary at a time; the row norms of DoRA. */
#include "host.cuh"
#include "product.h"

/* A row's largest number, and the sum of exp(x - largest) in double; all threads of a block. */
BR_INLINE float largest_of(const struct rows &x, int64_t at)
{
    float most = -INFINITY;
    for (uint32_t i = threadIdx.x; i < x.cols; i += TEAM_THREADS)
        most = fmaxf(most, x.read(at + i));
    return team<8>::max(most);
}
BR_INLINE double sum_of_exp(const struct rows &x, int64_t at, float most)
{
    double sum = 0;
    for (uint32_t i = threadIdx.x; i < x.cols; i += TEAM_THREADS)
        sum += (double)expf(x.read(at + i) - most);
    return team<8>::sum(sum);
}

/* ---- cross entropy --------------------------------------------------------------------------- */

/* A label outside of the vocabulary is not counted either. */
BR_INLINE bool counts(int32_t label, uint32_t V)
{
    return label >= 0 && (uint32_t)label < V;
}

/* loss[t] of the labels that count, 0 of others; a block to a row. */
BR_KERNEL(TEAM_THREADS, 1) loss_rows(double *loss, struct rows x, const int32_t *labels)
{
    for (uint32_t t = blockIdx.x; t < x.count; t += gridDim.x) {
        const int64_t at = x.at(t);
        const float most = largest_of(x, at);
        const double sum = sum_of_exp(x, at, most);
        if (threadIdx.x > 0)
            continue;
        loss[t] = counts(labels[t], x.cols)
                      ? log(sum) + ((double)most - (double)x.read(at + labels[t]))
                      : 0.;
    }
}

/* How many labels count; all threads of a block. */
BR_INLINE int n_counted(const int32_t *labels, uint32_t T, uint32_t V)
{
    int n = 0;
    for (uint32_t t = threadIdx.x; t < T; t += TEAM_THREADS)
        n += counts(labels[t], V);
    return team<8>::sum(n);
}

BR_KERNEL(TEAM_THREADS, 1)
mean_loss(float *o, const double *loss, const int32_t *labels, uint32_t T, uint32_t V)
{
    double sum = 0;
    for (uint32_t t = threadIdx.x; t < T; t += TEAM_THREADS)
        sum += loss[t];
    sum = team<8>::sum(sum);
    const int n = n_counted(labels, T, V);
    if (threadIdx.x == 0)
        *o = n ? (float)(sum / n) : 0.f;
}

SCRATCH_FUNCTION(cross_entropy)
{
    return (size_t)c->in[0].shape[0] * sizeof(double);
}

ROW_FUNCTION(cross_entropy)
{
    struct rows x = rows_of(&c->in[0]);
    const int32_t *labels = (const int32_t *)c->in[1].data;
    double *loss = (double *)c->scratch;
    BR_LAUNCH(c, loss_rows, (unsigned)min_of(x.count, MAX_GRID_X), TEAM_THREADS, 0, loss, x,
              labels);
    BR_LAUNCH(c, mean_loss, 1, TEAM_THREADS, 0, (float *)c->out->data, (const double *)loss, labels,
              x.count, x.cols);
}

/* (softmax - 1 at the label) * y / number of labels that count */
BR_KERNEL(TEAM_THREADS, 1)
loss_grad_rows(struct rows o, struct rows x, const int32_t *labels, const float *y)
{
    const int n = n_counted(labels, x.count, x.cols);
    const float each = n ? *y / (float)n : 0.f;
    for (uint32_t t = blockIdx.x; t < x.count; t += gridDim.x) {
        const int64_t at = x.at(t), to = o.at(t);
        const int32_t label = labels[t];
        const bool counted = counts(label, x.cols);
        const float most = largest_of(x, at);
        const float by = (float)((double)each / sum_of_exp(x, at, most));
        for (uint32_t i = threadIdx.x; i < x.cols; i += TEAM_THREADS) {
            const float p = expf(x.read(at + i) - most) * by;
            o.write(to + i, !counted ? 0.f : i == (uint32_t)label ? p - each : p);
        }
    }
}

ROW_FUNCTION(cross_entropy_grad)
{
    struct rows x = rows_of(&c->in[0]);
    BR_LAUNCH(c, loss_grad_rows, (unsigned)min_of(x.count, MAX_GRID_X), TEAM_THREADS, 0,
              rows_of(c->out), x, (const int32_t *)c->in[1].data, (const float *)c->in[2].data);
}

/* ---- the output layer and its loss ----------------------------------------------------------- */

/* Words whose logits are in memory at once: as many as PANEL_BYTES allow, at least MIN_PANEL. */
#define PANEL_BYTES ((int64_t)256 << 20)
#define MIN_PANEL 1024

/* A tile holds logits of T tokens and up to `panel` words: bfloat16 where a product of such values
 * is, else float32. */
struct head {
    struct br__cuda_mat x, w;
    const int32_t *labels;
    int64_t T, h, V, first, panel; /* first: id of the weight's first row */
    bool rounded;                  /* logits to bfloat16 */
    bool rounded_grad;             /* and their gradient */
    bool may_round;                /* what products read, to bfloat16 */
};

BR_BOTH int64_t logit_bytes(const struct head &d)
{
    return d.rounded ? 2 : 4;
}

static struct head head_of(const struct br_call *c)
{
    struct head d;
    d.x = br__cuda_mat{c->in[0].data, c->in[0].dtype, 0, c->in[0].stride[0]};
    d.w = br__cuda_mat{c->in[1].data, c->in[1].dtype, 0, c->in[1].stride[0]};
    d.labels = (const int32_t *)c->in[2].data;
    d.T = c->in[0].shape[0];
    d.h = c->in[0].shape[1];
    d.V = c->in[1].shape[0];
    d.first = c->attr.i[1];
    d.rounded = c->in[0].dtype == BR_BF16;
    d.rounded_grad = d.rounded || c->attr.i[2];
    d.may_round = c->attr.i[0] == BR_BF16;
    d.panel = min_of(d.V, max_of(PANEL_BYTES / logit_bytes(d) / d.T / 128 * 128, MIN_PANEL));
    return d;
}

/* Words v .. of the weight. */
static struct br__cuda_mat words(const struct head *d, int64_t v, int k_major)
{
    struct br__cuda_mat w = d->w;
    w.data = (const char *)w.data + v * w.ld * (int64_t)dtype_bytes(w.dtype);
    w.k_major = k_major;
    return w;
}

/* tile[T, panel] = logits of words v .. v + n */
static struct br__cuda_product logits_of(const struct head *d, void *tile, int64_t v, int64_t n)
{
    struct br__cuda_product p = {};
    p.a = d->x;
    p.b = words(d, v, 0);
    p.out = tile;
    p.out_dtype = d->rounded ? BR_BF16 : BR_F32;
    p.ldo = d->panel;
    p.m = d->T;
    p.n = n;
    p.k = d->h;
    p.may_round = d->may_round;
    return p;
}

BR_INLINE float logit_at(const struct head &d, const void *tile, int64_t t, int64_t i)
{
    return read_as_f32(tile, d.rounded ? BR_BF16 : BR_F32, t * d.panel + i);
}

/* n more logits of each row: o[t] = {largest, -, the label's}, sum[t]; a block to a row. */
BR_KERNEL(TEAM_THREADS, 1)
meet_panel(float *o, double *sums, const void *tile, struct head d, int64_t v, int64_t n)
{
    for (int64_t t = blockIdx.x; t < d.T; t += gridDim.x) {
        const float before = v ? o[3 * t] : -INFINITY;
        float most = -INFINITY;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS)
            most = fmaxf(most, logit_at(d, tile, t, i));
        most = fmaxf(team<8>::max(most), before);
        double sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS)
            sum += (double)expf(logit_at(d, tile, t, i) - most);
        sum = team<8>::sum(sum);
        if (threadIdx.x > 0)
            continue;
        const int64_t label = d.labels[t] - d.first - v;
        const double was = v ? sums[t] * exp((double)before - (double)most) : 0.;
        o[3 * t] = most;
        sums[t] = was + sum;
        o[3 * t + 1] = (float)sums[t];
        if (label >= 0 && label < n)
            o[3 * t + 2] = logit_at(d, tile, t, label);
        else if (v == 0)
            o[3 * t + 2] = 0;
    }
}

/* Logits of words v .. v + n, and what they are to stats[T, 3]. */
struct stats_room {
    void *tile, *product;
    double *sums; /* [T] */
};

static void meet_words(const struct br_call *c, const struct head *d, const struct stats_room *s,
                       float *stats, int64_t v, int64_t n)
{
    struct br__cuda_product p = logits_of(d, s->tile, v, n);
    br__cuda_multiply(c, &p, s->product);
    BR_LAUNCH(c, meet_panel, (unsigned)min_of(d->T, MAX_GRID_X), TEAM_THREADS, 0, stats, s->sums,
              (const void *)s->tile, *d, v, n);
}

static struct stats_room stats_carve(const struct head *d, struct carve *s)
{
    struct br__cuda_product p = logits_of(d, nullptr, 0, d->panel);
    struct stats_room a;
    a.tile = carve_out<char>(s, d->T * d->panel * logit_bytes(*d));
    a.sums = carve_out<double>(s, d->T);
    a.product = carve_out<char>(s, (int64_t)br__cuda_multiply_scratch(&p));
    return a;
}

SCRATCH_FUNCTION(head_stats)
{
    struct head d = head_of(c);
    struct carve s = {nullptr, 0};
    stats_carve(&d, &s);
    return s.used;
}

ROW_FUNCTION(head_stats)
{
    struct head d = head_of(c);
    struct carve s = {(char *)c->scratch, 0};
    struct stats_room room = stats_carve(&d, &s);
    for (int64_t v = 0; v < d.V; v += d.panel)
        meet_words(c, &d, &room, (float *)c->out->data, v, min_of(d.panel, d.V - v));
}

/* Of token t, what the words of all `parts` ranks make. */
struct token_stats {
    bool counted;
    float most, logit;
    double sum;
};

BR_INLINE struct token_stats stats_of(const struct head &d, const struct rows &stats, int64_t t)
{
    const int64_t parts = stats.count / d.T;
    struct token_stats s = {d.labels[t] >= 0 && d.labels[t] < parts * d.V, -INFINITY, 0, 0};
    for (int64_t i = 0; i < parts; i++)
        s.most = fmaxf(s.most, stats.read(stats.at((uint32_t)(i * d.T + t))));
    for (int64_t i = 0; i < parts; i++) {
        const int64_t at = stats.at((uint32_t)(i * d.T + t));
        s.sum += (double)stats.read(at + 1) * exp((double)stats.read(at) - (double)s.most);
        s.logit += stats.read(at + 2);
    }
    return s;
}

BR_KERNEL(256, 1) losses_of_stats(float *o, int64_t o_stride, struct head d, struct rows stats)
{
    for (int64_t t = (int64_t)blockIdx.x * 256 + threadIdx.x; t < d.T;
         t += (int64_t)gridDim.x * 256) {
        const struct token_stats s = stats_of(d, stats, t);
        o[t * o_stride] =
            s.counted ? (float)(log(s.sum) + ((double)s.most - (double)s.logit)) : 0.f;
    }
}

static void make_losses(const struct br_call *c, const struct head *d, struct rows stats, float *o,
                        int64_t o_stride)
{
    BR_LAUNCH(c, losses_of_stats, (unsigned)min_of(div_up(d->T, 256), MAX_GRID_X), 256, 0, o,
              o_stride, *d, stats);
}

ROW_FUNCTION(head_loss)
{
    struct head d = head_of(c);
    make_losses(c, &d, rows_of(&c->in[3]), (float *)c->out->data, 1);
}

/* ---- its gradient ---------------------------------------------------------------------------- */

/* Logits of words v .. v + n of each token into their gradient, in place or into `half`.  y[T]: the
 * gradient of each token's loss. */
BR_KERNEL(TEAM_THREADS, 1)
panel_grad(void *tile, bf16 *half, struct head d, struct rows stats, const float *y,
           int64_t y_stride, int64_t v, int64_t n)
{
    for (int64_t t = blockIdx.x; t < d.T; t += gridDim.x) {
        const struct token_stats s = stats_of(d, stats, t);
        const float each = y[t * y_stride];
        const bool zero = !s.counted || each == 0;
        const float by = zero ? 0.f : (float)((double)each / s.sum);
        const int64_t label = d.labels[t] - d.first - v;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS) {
            float g = expf(logit_at(d, tile, t, i) - s.most) * by;
            if (i == label)
                g -= each;
            if (zero)
                g = 0;
            if (half)
                half[t * d.panel + i] = bf16_of(g);
            else
                write_f32(tile, d.rounded ? BR_BF16 : BR_F32, t * d.panel + i, g);
        }
    }
}

BR_KERNEL(256, 1) round_dx(struct rows o, const float *dx)
{
    FOR_EACH_ROW(r, o.count)
    {
        FOR_EACH_UNIT(i, o.cols)
        {
            o.write(o.at(r) + i, dx[(int64_t)r * o.cols + i]);
        }
    }
}

/* What the gradient needs beside the logits. */
struct grad_room {
    struct stats_room logits;
    bf16 *half;               /* gradients of logits, if they do not take these' place */
    struct br__cuda_mat tile; /* them */
    float *dx;                /* [T, h] */
    float *sum;               /* [V, h], rows sum_ld apart, or NULL */
    int64_t sum_ld;
    void *product;
};

/* dx[T, h] (+)= tile words, and sum[n, h] += tile' x */
static struct br__cuda_product along_words(const struct head *d, const struct grad_room *r,
                                           int64_t v, int64_t n)
{
    struct br__cuda_product p = {};
    p.a = r->tile;
    p.b = words(d, v, 1);
    p.out = r->dx;
    p.out_dtype = BR_F32;
    p.ldo = d->h;
    p.m = d->T;
    p.n = d->h;
    p.k = n;
    p.add = v > 0;
    p.may_round = d->rounded_grad && d->may_round;
    return p;
}

static struct br__cuda_product along_tokens(const struct head *d, const struct grad_room *r,
                                            int64_t v, int64_t n)
{
    struct br__cuda_product p = {};
    p.a = r->tile;
    p.a.k_major = 1;
    p.b = d->x;
    p.b.k_major = 1;
    p.out = r->sum + v * r->sum_ld;
    p.out_dtype = BR_F32;
    p.ldo = r->sum_ld;
    p.m = n;
    p.n = d->h;
    p.k = d->T;
    p.add = 1;
    p.may_round = d->rounded_grad && d->may_round;
    return p;
}

/* dx: where it is to be, if that is float32. */
static struct grad_room grad_carve(const struct br_call *c, const struct head *d, float *dx,
                                   struct carve *s)
{
    struct grad_room a;
    a.logits = stats_carve(d, s);
    a.half = d->rounded_grad && !d->rounded ? carve_out<bf16>(s, d->T * d->panel) : nullptr;
    a.tile = br__cuda_mat{a.half ? (void *)a.half : a.logits.tile,
                          (uint32_t)(d->rounded_grad ? BR_BF16 : BR_F32), 0, d->panel};
    a.dx = c->out->dtype == BR_F32 ? dx : carve_out<float>(s, d->T * d->h);
    a.sum = c->n_in > 5 ? (float *)c->in[5].data : nullptr;
    a.sum_ld = c->n_in > 5 ? c->in[5].stride[0] : 0;
    struct br__cuda_product p = along_words(d, &a, 0, d->panel);
    size_t most = br__cuda_multiply_scratch(&p);
    p = along_tokens(d, &a, 0, d->panel);
    if (c->n_in > 5 && br__cuda_multiply_scratch(&p) > most)
        most = br__cuda_multiply_scratch(&p);
    a.product = carve_out<char>(s, (int64_t)most);
    return a;
}

/* What logits of words v .. v + n add to dx and the sum.  They become their gradient. */
static void spread_words(const struct br_call *c, const struct head *d, const struct grad_room *r,
                         struct rows stats, const struct br_tensor *y, int64_t v, int64_t n)
{
    BR_LAUNCH(c, panel_grad, (unsigned)min_of(d->T, MAX_GRID_X), TEAM_THREADS, 0, r->logits.tile,
              r->half, *d, stats, (const float *)y->data, y->stride[0], v, n);
    struct br__cuda_product p = along_words(d, r, v, n);
    br__cuda_multiply(c, &p, r->product);
    if (!r->sum)
        return;
    p = along_tokens(d, r, v, n);
    br__cuda_multiply(c, &p, r->product);
}

/* Rows of the result that are bfloat16. */
static void finish_dx(const struct br_call *c, const struct grad_room *r, struct rows o)
{
    struct cover k = cover_rows(o.count, o.cols);
    if (o.dtype != BR_F32)
        BR_LAUNCH(c, round_dx, k.grid, k.block, 0, o, (const float *)r->dx);
}

SCRATCH_FUNCTION(head_grad)
{
    struct head d = head_of(c);
    struct carve s = {nullptr, 0};
    grad_carve(c, &d, nullptr, &s);
    return s.used;
}

ROW_FUNCTION(head_grad)
{
    struct head d = head_of(c);
    struct carve s = {(char *)c->scratch, 0};
    struct grad_room r = grad_carve(c, &d, (float *)c->out->data, &s);
    for (int64_t v = 0; v < d.V; v += d.panel) {
        const int64_t n = min_of(d.panel, d.V - v);
        struct br__cuda_product p = logits_of(&d, r.logits.tile, v, n);
        br__cuda_multiply(c, &p, r.logits.product);
        spread_words(c, &d, &r, rows_of(&c->in[3]), &c->in[4], v, n);
    }
    finish_dx(c, &r, rows_of(c->out));
}

/* ---- both in one pass ------------------------------------------------------------------------ */

/* Tokens are taken in blocks whose logits of all words are kept between the sum of the softmax and
 * the gradient: of as many tokens as KEPT_BYTES hold, so memory does not grow with the vocabulary
 * beyond that.  Each block reads and writes the sum once, so blocks are large. */
#define KEPT_BYTES ((int64_t)512 << 20)
#define MOST_KEPT 2048 /* tokens of a block: more make products no faster */
#define LEAST_KEPT 32

static int64_t kept_tokens(const struct head *d)
{
    const int64_t fit = KEPT_BYTES / logit_bytes(*d) / d->V / LEAST_KEPT * LEAST_KEPT;
    return min_of(d->T, max_of(min_of(fit, MOST_KEPT), LEAST_KEPT));
}

/* Tokens t .. t + n, all words at once. */
static struct head block_of(const struct head *all, int64_t t, int64_t n)
{
    struct head d = *all;
    d.x.data = (const char *)d.x.data + t * d.x.ld * (int64_t)dtype_bytes(d.x.dtype);
    d.labels += t;
    d.T = n;
    d.panel = d.V;
    return d;
}

static struct br_tensor entries_of(const struct br_tensor *x, int64_t t)
{
    struct br_tensor y = *x;
    y.data = (char *)y.data + t * y.stride[0] * (int64_t)dtype_bytes(y.dtype);
    return y;
}

/* stats[T, 3] and the rest. */
static struct grad_room pass_carve(const struct br_call *c, const struct head *d, float *dx,
                                   float **stats, struct carve *s)
{
    *stats = carve_out<float>(s, 3 * d->T);
    return grad_carve(c, d, dx, s);
}

SCRATCH_FUNCTION(head_pass)
{
    const struct head all = head_of(c), d = block_of(&all, 0, kept_tokens(&all));
    struct carve s = {nullptr, 0};
    float *stats;
    pass_carve(c, &d, nullptr, &stats, &s);
    return s.used;
}

static void pass_block(const struct br_call *c, const struct head *d, int64_t t)
{
    const struct br_tensor y = entries_of(&c->in[3], t), loss = entries_of(&c->in[4], t);
    struct br_tensor out = entries_of(c->out, t);
    struct carve s = {(char *)c->scratch, 0};
    float *stats;
    struct grad_room r = pass_carve(c, d, (float *)out.data, &stats, &s);
    const struct rows of = {stats, {3, 0, 0}, {(uint32_t)d->T, 1, 1}, (uint32_t)d->T, 3, BR_F32};
    out.shape[0] = d->T;
    meet_words(c, d, &r.logits, stats, 0, d->V);
    make_losses(c, d, of, (float *)loss.data, loss.stride[0]);
    spread_words(c, d, &r, of, &y, 0, d->V);
    finish_dx(c, &r, rows_of(&out));
}

ROW_FUNCTION(head_pass)
{
    const struct head all = head_of(c);
    const int64_t most = kept_tokens(&all);
    for (int64_t t = 0; t < all.T; t += most) {
        const struct head d = block_of(&all, t, min_of(most, all.T - t));
        pass_block(c, &d, t);
    }
}

/* ---- DoRA ------------------------------------------------------------------------------------ */

/* o[n] = 1 / |w[n] + by (b a)[n]|; a block to a row. */
BR_KERNEL(TEAM_THREADS, 1)
dora_rows(float *o, struct rows w, struct rows a, struct rows b, float by)
{
    for (uint32_t n = blockIdx.x; n < w.count; n += gridDim.x) {
        float square = 0;
        for (uint32_t k = threadIdx.x; k < w.cols; k += TEAM_THREADS) {
            float v = w.read(w.at(n) + k);
            for (uint32_t j = 0; j < b.cols; j++)
                v = fmaf(by * b.read(b.at(n) + j), a.read(a.at(j) + k), v);
            square = fmaf(v, v, square);
        }
        square = team<8>::sum(square);
        if (threadIdx.x == 0)
            o[n] = 1.f / sqrtf(square);
    }
}

ROW_FUNCTION(dora_inv_norm)
{
    struct rows w = rows_of(&c->in[0]);
    BR_LAUNCH(c, dora_rows, (unsigned)min_of(w.count, MAX_GRID_X), TEAM_THREADS, 0,
              (float *)c->out->data, w, rows_of(&c->in[1]), rows_of(&c->in[2]),
              (float)c->attr.f[0]);
}
