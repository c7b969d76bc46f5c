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

/* Words whose logits are in memory at once: as many as PANEL_FLOATS allow, at least MIN_PANEL. */
#define PANEL_FLOATS ((int64_t)1 << 26)
#define MIN_PANEL 1024

struct head {
    struct rows x;
    const int32_t *labels;
    int64_t T, h, V, first, panel; /* first: id of the weight's first row */
    bool rounded;                  /* logits to bfloat16, as a product of such values is */
    bool rounded_grad;             /* and their gradient */
};

static struct head head_of(const struct br_call *c)
{
    struct head d;
    d.x = rows_of(&c->in[0]);
    d.labels = (const int32_t *)c->in[2].data;
    d.T = c->in[0].shape[0];
    d.h = c->in[0].shape[1];
    d.V = c->in[1].shape[0];
    d.first = c->attr.i[1];
    d.panel = min_of(d.V, max_of(PANEL_FLOATS / d.T / 128 * 128, MIN_PANEL));
    d.rounded = c->in[0].dtype == BR_BF16;
    d.rounded_grad = d.rounded || c->attr.i[2];
    return d;
}

static struct br__cuda_mat x_mat(const struct br_call *c, int k_major)
{
    return br__cuda_mat{c->in[0].data, c->in[0].dtype, k_major, c->in[0].stride[0]};
}

/* Words v .. of the weight. */
static struct br__cuda_mat words(const struct br_call *c, int64_t v, int k_major)
{
    const struct br_tensor *w = &c->in[1];
    const char *at = (const char *)w->data + v * w->stride[0] * (int64_t)dtype_bytes(w->dtype);
    return br__cuda_mat{at, w->dtype, k_major, w->stride[0]};
}

/* tile[T, panel] = logits of words v .. v + n */
static struct br__cuda_product logits_of(const struct br_call *c, const struct head *d, float *tile,
                                         int64_t v, int64_t n)
{
    struct br__cuda_product p = {};
    p.a = x_mat(c, 0);
    p.b = words(c, v, 0);
    p.out = tile;
    p.out_dtype = BR_F32;
    p.ldo = d->panel;
    p.m = d->T;
    p.n = n;
    p.k = d->h;
    p.may_round = c->attr.i[0] == BR_BF16;
    return p;
}

BR_INLINE float round_if(float x, bool rounded)
{
    return rounded ? f32_of(bf16_of(x)) : x;
}

/* n more logits of each row: o[t] = {largest, -, the label's}, sum[t]; a block to a row. */
BR_KERNEL(TEAM_THREADS, 1)
meet_panel(float *o, double *sums, const float *tile, struct head d, int64_t v, int64_t n)
{
    for (int64_t t = blockIdx.x; t < d.T; t += gridDim.x) {
        const float *row = tile + t * d.panel;
        const float before = v ? o[3 * t] : -INFINITY;
        float most = -INFINITY;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS)
            most = fmaxf(most, round_if(row[i], d.rounded));
        most = fmaxf(team<8>::max(most), before);
        double sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS)
            sum += (double)expf(round_if(row[i], d.rounded) - most);
        sum = team<8>::sum(sum);
        if (threadIdx.x > 0)
            continue;
        const int64_t label = d.labels[t] - d.first - v;
        const double was = v ? sums[t] * exp((double)before - (double)most) : 0.;
        o[3 * t] = most;
        sums[t] = was + sum;
        o[3 * t + 1] = (float)sums[t];
        if (label >= 0 && label < n)
            o[3 * t + 2] = round_if(row[label], d.rounded);
        else if (v == 0)
            o[3 * t + 2] = 0;
    }
}

struct stats_scratch {
    float *tile;
    double *sums;
    char *product;
    size_t bytes;
};

static struct stats_scratch stats_carve(const struct br_call *c, const struct head *d,
                                        void *scratch)
{
    struct br__cuda_product p = logits_of(c, d, nullptr, 0, d->panel);
    struct carve s = {(char *)scratch, 0};
    struct stats_scratch a;
    a.tile = carve_out<float>(&s, d->T * d->panel);
    a.sums = carve_out<double>(&s, d->T);
    a.product = carve_out<char>(&s, (int64_t)br__cuda_multiply_scratch(&p));
    a.bytes = s.used;
    return a;
}

SCRATCH_FUNCTION(head_stats)
{
    struct head d = head_of(c);
    return stats_carve(c, &d, nullptr).bytes;
}

ROW_FUNCTION(head_stats)
{
    struct head d = head_of(c);
    struct stats_scratch s = stats_carve(c, &d, c->scratch);
    for (int64_t v = 0; v < d.V; v += d.panel) {
        const int64_t n = min_of(d.panel, d.V - v);
        struct br__cuda_product p = logits_of(c, &d, s.tile, v, n);
        br__cuda_multiply(c, &p, s.product);
        BR_LAUNCH(c, meet_panel, (unsigned)min_of(d.T, MAX_GRID_X), TEAM_THREADS, 0,
                  (float *)c->out->data, s.sums, (const float *)s.tile, d, v, n);
    }
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

BR_KERNEL(256, 1) losses_of_stats(float *o, struct head d, struct rows stats)
{
    for (int64_t t = (int64_t)blockIdx.x * 256 + threadIdx.x; t < d.T;
         t += (int64_t)gridDim.x * 256) {
        const struct token_stats s = stats_of(d, stats, t);
        o[t] = s.counted ? (float)(log(s.sum) + ((double)s.most - (double)s.logit)) : 0.f;
    }
}

ROW_FUNCTION(head_loss)
{
    struct head d = head_of(c);
    BR_LAUNCH(c, losses_of_stats, (unsigned)min_of(div_up(d.T, 256), MAX_GRID_X), 256, 0,
              (float *)c->out->data, d, rows_of(&c->in[3]));
}

/* ---- its gradient ---------------------------------------------------------------------------- */

/* Logits of words v .. v + n of each token into their gradient: as bfloat16 into `half` where there
 * is one, else in place.  y[T]: the gradient of each token's loss. */
BR_KERNEL(TEAM_THREADS, 1)
panel_grad(float *tile, bf16 *half, struct head d, struct rows stats, const float *y,
           int64_t y_stride, int64_t v, int64_t n)
{
    for (int64_t t = blockIdx.x; t < d.T; t += gridDim.x) {
        const struct token_stats s = stats_of(d, stats, t);
        const float each = y[t * y_stride];
        const bool zero = !s.counted || each == 0;
        const float by = zero ? 0.f : (float)((double)each / s.sum);
        const int64_t label = d.labels[t] - d.first - v;
        float *row = tile + t * d.panel;
        for (int64_t i = threadIdx.x; i < n; i += TEAM_THREADS) {
            float g = expf(round_if(row[i], d.rounded) - s.most) * by;
            if (i == label)
                g -= each;
            if (zero)
                g = 0;
            if (half)
                half[t * d.panel + i] = bf16_of(g);
            else
                row[i] = g;
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

/* dx[T, h] (+)= tile words, and sum[n, h] += tile' x */
static struct br__cuda_product along_words(const struct br_call *c, const struct head *d,
                                           struct br__cuda_mat tile, float *dx, int64_t v,
                                           int64_t n)
{
    struct br__cuda_product p = {};
    p.a = tile;
    p.b = words(c, v, 1);
    p.out = dx;
    p.out_dtype = BR_F32;
    p.ldo = d->h;
    p.m = d->T;
    p.n = d->h;
    p.k = n;
    p.add = v > 0;
    p.may_round = d->rounded_grad && c->attr.i[0] == BR_BF16;
    return p;
}

static struct br__cuda_product along_tokens(const struct br_call *c, const struct head *d,
                                            struct br__cuda_mat tile, int64_t v, int64_t n)
{
    const struct br_tensor *sum = &c->in[5];
    struct br__cuda_product p = {};
    p.a = tile;
    p.a.k_major = 1;
    p.b = x_mat(c, 1);
    p.out = (float *)sum->data + v * sum->stride[0];
    p.out_dtype = BR_F32;
    p.ldo = sum->stride[0];
    p.m = n;
    p.n = d->h;
    p.k = d->T;
    p.add = 1;
    p.may_round = d->rounded_grad && c->attr.i[0] == BR_BF16;
    return p;
}

struct grad_scratch {
    float *tile, *dx;
    bf16 *half;
    char *product;
    struct br__cuda_mat tile_mat;
    size_t bytes;
};

static struct grad_scratch grad_carve(const struct br_call *c, const struct head *d, void *scratch)
{
    struct carve s = {(char *)scratch, 0};
    struct grad_scratch a;
    a.tile = carve_out<float>(&s, d->T * d->panel);
    a.half = d->rounded_grad ? carve_out<bf16>(&s, d->T * d->panel) : nullptr;
    a.dx = c->out->dtype == BR_F32 ? (float *)c->out->data : carve_out<float>(&s, d->T * d->h);
    a.tile_mat = br__cuda_mat{a.half ? (void *)a.half : (void *)a.tile,
                              (uint32_t)(d->rounded_grad ? BR_BF16 : BR_F32), 0, d->panel};
    struct br__cuda_product p[3] = {logits_of(c, d, nullptr, 0, d->panel),
                                    along_words(c, d, a.tile_mat, nullptr, 0, d->panel),
                                    {}};
    if (c->n_in > 5)
        p[2] = along_tokens(c, d, a.tile_mat, 0, d->panel);
    size_t most = 0;
    for (int i = 0; i < (c->n_in > 5 ? 3 : 2); i++)
        most = (size_t)max_of((int64_t)most, (int64_t)br__cuda_multiply_scratch(&p[i]));
    a.product = carve_out<char>(&s, (int64_t)most);
    a.bytes = s.used;
    return a;
}

SCRATCH_FUNCTION(head_grad)
{
    struct head d = head_of(c);
    return grad_carve(c, &d, nullptr).bytes;
}

ROW_FUNCTION(head_grad)
{
    struct head d = head_of(c);
    struct grad_scratch s = grad_carve(c, &d, c->scratch);
    const struct br_tensor *y = &c->in[4];
    for (int64_t v = 0; v < d.V; v += d.panel) {
        const int64_t n = min_of(d.panel, d.V - v);
        struct br__cuda_product p = logits_of(c, &d, s.tile, v, n);
        br__cuda_multiply(c, &p, s.product);
        BR_LAUNCH(c, panel_grad, (unsigned)min_of(d.T, MAX_GRID_X), TEAM_THREADS, 0, s.tile, s.half,
                  d, rows_of(&c->in[3]), (const float *)y->data, y->stride[0], v, n);
        p = along_words(c, &d, s.tile_mat, s.dx, v, n);
        br__cuda_multiply(c, &p, s.product);
        if (c->n_in < 6)
            continue;
        p = along_tokens(c, &d, s.tile_mat, v, n);
        br__cuda_multiply(c, &p, s.product);
    }
    if (c->out->dtype == BR_F32)
        return;
    struct rows o = rows_of(c->out);
    struct cover k = cover_rows(o.count, o.cols);
    BR_LAUNCH(c, round_dx, k.grid, k.block, 0, o, (const float *)s.dx);
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
