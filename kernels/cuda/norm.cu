/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* norm.cu - softmax, the norms over the last axis, and what else sums a row, with their gradients.
 *
 * A team of threads (gpu.cuh) has a row: one warp up to 1024 columns, a block beyond.  A row is
 * read once for its sums and once more for the result; sums are float32. */
#include "norm.cuh"

#define FOR_EACH_TEAM_ROW(r, count)                                                                \
    for (uint32_t r = team<W>::first(); r < (count); r += team<W>::step())

/* Launch `kernel<W>` with as many warps to a row as its width asks for. */
#define LAUNCH_TEAMS(c, kernel, count, cols, ...)                                                  \
    do {                                                                                           \
        if (team_warps(cols) == 1)                                                                 \
            BR_LAUNCH(c, kernel<1>, team_blocks(count, 1), TEAM_THREADS, 0, __VA_ARGS__);          \
        else                                                                                       \
            BR_LAUNCH(c, kernel<8>, team_blocks(count, 8), TEAM_THREADS, 0, __VA_ARGS__);          \
    } while (0)

template <int W> BR_INLINE float largest(const struct rows &x, int64_t at)
{
    float most = -INFINITY;
    FOR_EACH_COLUMN(i, x.cols)
    most = fmaxf(most, x.read(at + i)); /* ignores NaN; exp(NaN - max) is NaN again */
    return team<W>::max(most);
}

/* ---- softmax --------------------------------------------------------------------------------- */

template <int W> BR_KERNEL(TEAM_THREADS, 1) softmax_rows(struct rows o, struct rows x)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r), to = o.at(r);
        const float most = largest<W>(x, at);
        float sum = 0;
        FOR_EACH_COLUMN(i, x.cols)
        sum += expf(x.read(at + i) - most);
        const float by = 1.f / team<W>::sum(sum);
        FOR_EACH_COLUMN(i, x.cols)
        o.write(to + i, expf(x.read(at + i) - most) * by);
    }
}

ROW_FUNCTION(softmax)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, softmax_rows, x.count, x.cols, o, x);
}

/* p (y - sum(p y)) */
template <int W>
BR_KERNEL(TEAM_THREADS, 1)
softmax_grad_rows(struct rows o, struct rows p, struct rows y)
{
    FOR_EACH_TEAM_ROW(r, o.count)
    {
        const int64_t p_at = p.at(r), y_at = y.at(r), to = o.at(r);
        const float inner = dot<W>(p, p_at, y, y_at);
        FOR_EACH_COLUMN(i, o.cols)
        o.write(to + i, p.read(p_at + i) * (y.read(y_at + i) - inner));
    }
}

ROW_FUNCTION(softmax_grad)
{
    struct rows o = rows_of(c->out);
    LAUNCH_TEAMS(c, softmax_grad_rows, o.count, o.cols, o, rows_of(&c->in[0]), rows_of(&c->in[1]));
}

template <int W> BR_KERNEL(TEAM_THREADS, 1) log_sum_exp_rows(struct rows o, struct rows x)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r);
        const float most = largest<W>(x, at);
        float sum = 0;
        FOR_EACH_COLUMN(i, x.cols)
        sum += expf(x.read(at + i) - most);
        sum = team<W>::sum(sum);
        if (team<W>::rank() == 0)
            o.write(o.at(r), logf(sum) + most);
    }
}

ROW_FUNCTION(log_sum_exp)
{
    struct rows x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, log_sum_exp_rows, x.count, x.cols, rows_of(c->out), x);
}

template <int W> BR_KERNEL(TEAM_THREADS, 1) dot_of_rows(struct rows o, struct rows a, struct rows b)
{
    FOR_EACH_TEAM_ROW(r, a.count)
    {
        const float sum = dot<W>(a, a.at(r), b, b.at(r));
        if (team<W>::rank() == 0)
            o.write(o.at(r), sum);
    }
}

ROW_FUNCTION(dot_rows)
{
    struct rows a = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, dot_of_rows, a.count, a.cols, rows_of(c->out), a, rows_of(&c->in[1]));
}

/* ---- RMS norm -------------------------------------------------------------------------------- */

/* x rsqrt(mean(x^2) + eps) (base + w) */
template <int W>
BR_KERNEL(TEAM_THREADS, 1)
rmsnorm_rows(struct rows o, struct rows x, struct rows w, float base, float eps)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r), to = o.at(r);
        const float inv = inv_rms<W>(x, at, eps);
        FOR_EACH_COLUMN(i, x.cols)
        o.write(to + i, x.read(at + i) * inv * (base + w.read(i)));
    }
}

ROW_FUNCTION(rmsnorm)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, rmsnorm_rows, x.count, x.cols, o, x, rows_of(&c->in[1]),
                 c->attr.i[0] ? 1.f : 0.f, (float)c->attr.f[0]);
}

/* With g = y (base + w): r (g - x r^2 mean(g x)), r = rsqrt(mean(x^2) + eps) */
template <int W>
BR_KERNEL(TEAM_THREADS, 1)
rmsnorm_dx_rows(struct rows o, struct rows x, struct rows w, struct rows y, float base, float eps)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r), y_at = y.at(r), to = o.at(r);
        const float inv = inv_rms<W>(x, at, eps);
        float along = 0;
        FOR_EACH_COLUMN(i, x.cols)
        along = fmaf(y.read(y_at + i) * (base + w.read(i)), x.read(at + i), along);
        along = inv * inv * (team<W>::sum(along) / (float)x.cols);
        FOR_EACH_COLUMN(i, x.cols)
        {
            const float g = y.read(y_at + i) * (base + w.read(i));
            o.write(to + i, inv * fmaf(x.read(at + i), -along, g));
        }
    }
}

ROW_FUNCTION(rmsnorm_dx)
{
    struct rows o = rows_of(c->out), x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, rmsnorm_dx_rows, x.count, x.cols, o, x, rows_of(&c->in[1]), rows_of(&c->in[2]),
                 c->attr.i[0] ? 1.f : 0.f, (float)c->attr.f[0]);
}

/* ---- L2 norm --------------------------------------------------------------------------------- */

template <int W> BR_KERNEL(TEAM_THREADS, 1) l2norm_rows(struct rows o, struct rows x, float eps)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r), to = o.at(r);
        const float inv = 1.f / sqrtf(dot<W>(x, at, x, at) + eps);
        FOR_EACH_COLUMN(i, x.cols)
        o.write(to + i, x.read(at + i) * inv);
    }
}

ROW_FUNCTION(l2norm)
{
    struct rows x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, l2norm_rows, x.count, x.cols, rows_of(c->out), x, (float)c->attr.f[0]);
}

/* r (y - x r^2 sum(x y)), r = rsqrt(sum(x^2) + eps) */
template <int W>
BR_KERNEL(TEAM_THREADS, 1)
l2norm_grad_rows(struct rows o, struct rows x, struct rows y, float eps)
{
    FOR_EACH_TEAM_ROW(r, x.count)
    {
        const int64_t at = x.at(r), y_at = y.at(r), to = o.at(r);
        const float inv = 1.f / sqrtf(dot<W>(x, at, x, at) + eps);
        const float along = inv * inv * dot<W>(x, at, y, y_at);
        FOR_EACH_COLUMN(i, x.cols)
        o.write(to + i, inv * fmaf(x.read(at + i), -along, y.read(y_at + i)));
    }
}

ROW_FUNCTION(l2norm_grad)
{
    struct rows x = rows_of(&c->in[0]);
    LAUNCH_TEAMS(c, l2norm_grad_rows, x.count, x.cols, rows_of(c->out), x, rows_of(&c->in[1]),
                 (float)c->attr.f[0]);
}
