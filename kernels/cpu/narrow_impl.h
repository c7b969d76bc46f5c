/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* narrow_impl.h - kernels of bfloat16 values, made of those of float32: inputs are widened, and the
 * result is rounded once.
 *
 * Needs: all kernels that it names.  Defines: the kernels by_rows and as_a_whole.
 *
 * Most kernels make a row of the result of the same row of their inputs: a thread widens a few rows
 * at a time, which stay in its cache (by_rows).  The others get their inputs widened as a whole, in
 * scratch (as_a_whole); what they compute costs far more than that. */

#define NARROW_FLOATS 4096 /* of each tensor, in a thread's cache at once */

typedef void kernel_fn(const struct br_call *c);
typedef size_t scratch_fn(const struct br_call *c);

/* how: one character for each input.  By rows: r the same row, w all of it, which is float32 or a
 * stored weight.  As a whole: x widened, . as it is. */
struct narrowed {
    const char *how;
    kernel_fn *run;
    scratch_fn *scratch;
};

static const struct narrowed narrowed[BR_N_OPS] = {
    [BR_OP_EMBED] = {"wr", BR__FN(embed), NULL},
    [BR_OP_MUL_COL] = {"rr", BR__FN(mul_col), NULL},
    [BR_OP_DOT_ROWS] = {"rr", BR__FN(dot_rows), NULL},
    [BR_OP_SOFTMAX] = {"r", BR__FN(softmax), NULL},
    [BR_OP_SOFTMAX_GRAD] = {"rr", BR__FN(softmax_grad), NULL},
    [BR_OP_LOG_SUM_EXP] = {"r", BR__FN(log_sum_exp), NULL},
    [BR_OP_RMSNORM] = {"rw", BR__FN(rmsnorm), NULL},
    [BR_OP_RMSNORM_DX] = {"rwr", BR__FN(rmsnorm_dx), NULL},
    [BR_OP_L2NORM] = {"r", BR__FN(l2norm), NULL},
    [BR_OP_L2NORM_GRAD] = {"rr", BR__FN(l2norm_grad), NULL},
    [BR_OP_ROPE] = {"rrw", BR__FN(rope), BR__FN(rope_scratch)},
    [BR_OP_TOPK] = {"r", BR__FN(topk), NULL},
    [BR_OP_GATHER_COLS] = {"rr", BR__FN(gather_cols), NULL},
    [BR_OP_SCATTER_COLS] = {"rr", BR__FN(scatter_cols), NULL},
    [BR_OP_GDN_DECAY] = {"rww", BR__FN(gdn_decay), NULL},
    [BR_OP_GDN_DECAY_DA] = {"rwwr", BR__FN(gdn_decay_da), NULL},

    [BR_OP_EMBED_GRAD] = {"x.", BR__FN(embed_grad), NULL},
    [BR_OP_EMBED_GRAD_ADD] = {"x..", BR__FN(embed_grad), NULL},
    [BR_OP_SCATTER_ROWS] = {"x.", BR__FN(scatter_rows), NULL},
    [BR_OP_SUM_ROWS] = {"x", BR__FN(sum_rows), NULL},
    [BR_OP_RMSNORM_DW] = {"xx", BR__FN(rmsnorm_dw), BR__FN(rmsnorm_dw_scratch)},
    [BR_OP_MOE_GATHER_GRAD] = {"x.", BR__FN(moe_gather_grad), BR__FN(moe_gather_grad_scratch)},
    [BR_OP_MOE_COMBINE] = {"x..", BR__FN(moe_combine), BR__FN(moe_combine_scratch)},
    [BR_OP_MOE_COMBINE_DY] = {"x..", BR__FN(moe_combine_dy), NULL},
    [BR_OP_MOE_COMBINE_DP] = {"xx.", BR__FN(moe_combine_dp), BR__FN(moe_combine_dp_scratch)},
    [BR_OP_CONV1D_SILU] = {"x...", BR__FN(conv1d_silu), BR__FN(conv1d_silu_scratch)},
    [BR_OP_CONV1D_SILU_DX] = {"x..x", BR__FN(conv1d_silu_dx), BR__FN(conv1d_silu_dx_scratch)},
    [BR_OP_CONV1D_SILU_DW] = {"x..x", BR__FN(conv1d_silu_dw), BR__FN(conv1d_silu_dw_scratch)},
    [BR_OP_DELTA_RULE] = {"xxxxx..", BR__FN(delta_rule), BR__FN(delta_rule_scratch)},
    [BR_OP_DELTA_RULE_GRAD] = {"xxxxx.x", BR__FN(delta_rule_grad), BR__FN(delta_rule_grad_scratch)},
    [BR_OP_CROSS_ENTROPY] = {"x.", BR__FN(cross_entropy), BR__FN(cross_entropy_scratch)},
    [BR_OP_CROSS_ENTROPY_GRAD] = {"x..", BR__FN(cross_entropy_grad), NULL},
};

static int64_t elems_of(const struct br_tensor *t)
{
    return br__rows(t) * br__cols(t);
}

/* A contiguous float32 tensor of t's shape. */
static struct br_tensor wide_like(const struct br_tensor *t, float *data)
{
    struct br_tensor w = *t;
    w.data = data;
    w.dtype = BR_F32;
    int64_t stride = 1;
    for (uint32_t i = t->n_dim; i-- > 0; stride *= t->shape[i])
        w.stride[i] = stride;
    return w;
}

/* Rows [from, to) of a contiguous float32 tensor are those of t, widened; or the other way round.
 */
static void widen_rows(const struct br_tensor *wide, const struct br_tensor *t, int64_t from,
                       int64_t to)
{
    for (int64_t r = from; r < to; r++)
        widen((float *)wide->data + r * br__cols(t), t, br__row_at(t, r), br__cols(t));
}

static void narrow_rows(const struct br_tensor *t, const struct br_tensor *wide, int64_t from,
                        int64_t to)
{
    for (int64_t r = from; r < to; r++)
        narrow((uint16_t *)(void *)br__place(t, r, 0), (const float *)wide->data + r * br__cols(t),
               br__cols(t));
}

/* ---- a few rows at a time -------------------------------------------------------------------- */

/* Elements of one index of the first axis. */
static int64_t per_row(const struct br_tensor *t)
{
    return t->shape[0] > 0 ? elems_of(t) / t->shape[0] : 0;
}

static int64_t rows_at_once(const struct br_call *c, const char *how)
{
    int64_t most = per_row(c->out);
    for (uint32_t i = 0; i < c->n_in; i++)
        if (how[i] == 'r' && per_row(&c->in[i]) > most)
            most = per_row(&c->in[i]);
    return most > 0 && most < NARROW_FLOATS ? NARROW_FLOATS / most : 1;
}

static size_t rows_at_once_floats(const struct br_call *c, const struct narrowed *n)
{
    int64_t rows = rows_at_once(c, n->how);
    const struct br_stream alone = {.n_threads = 1};
    struct br_call one = *c;
    one.stream = &alone;
    size_t floats = br__line(rows * per_row(c->out));
    for (uint32_t i = 0; i < c->n_in; i++)
        if (n->how[i] == 'r' && c->in[i].dtype == BR_BF16)
            floats += br__line(rows * per_row(&c->in[i]));
    return floats + (n->scratch ? br__line((int64_t)(n->scratch(&one) / sizeof(float) + 1)) : 0);
}

size_t BR__FN(by_rows_scratch)(const struct br_call *c)
{
    return c->stream->n_threads * rows_at_once_floats(c, &narrowed[c->op]) * sizeof(float);
}

/* Indices [from, from + n) of the first axis. */
static struct br_tensor part_of(const struct br_tensor *t, int64_t from, int64_t n)
{
    struct br_tensor p = *t;
    p.data = br__place(t, 0, from * t->stride[0]);
    p.shape[0] = n;
    return p;
}

static void run_rows(const struct br_call *c, const struct narrowed *k, int64_t from, int64_t n,
                     float *scratch)
{
    const struct br_stream alone = {.n_threads = 1};
    struct br_tensor in[BR_MAX_IN], part = part_of(c->out, from, n), out = part;
    struct br_call one = *c;
    for (uint32_t i = 0; i < c->n_in; i++) {
        in[i] = k->how[i] == 'r' ? part_of(&c->in[i], from, n) : c->in[i];
        if (k->how[i] != 'r' || in[i].dtype != BR_BF16)
            continue;
        struct br_tensor wide = wide_like(&in[i], br__carve(&scratch, elems_of(&in[i])));
        widen_rows(&wide, &in[i], 0, br__rows(&in[i]));
        in[i] = wide;
    }
    if (part.dtype == BR_BF16)
        out = wide_like(&part, br__carve(&scratch, elems_of(&part)));
    one.in = in;
    one.out = &out;
    one.stream = &alone;
    one.scratch = scratch;
    k->run(&one);
    if (part.dtype == BR_BF16)
        narrow_rows(&part, &out, 0, br__rows(&part));
}

void BR__FN(by_rows)(const struct br_call *c)
{
    const struct narrowed *k = &narrowed[c->op];
    float *scratch = (float *)c->scratch + c->stream->thread * rows_at_once_floats(c, k);
    int64_t from, to, step = rows_at_once(c, k->how);
    br__thread_range(c, c->out->shape[0], 1, &from, &to);
    for (int64_t r = from; r < to; r += step)
        run_rows(c, k, r, min_of(to - r, step), scratch);
}

/* ---- as a whole ------------------------------------------------------------------------------ */

static int is_widened(const struct br_call *c, const struct narrowed *k, uint32_t i)
{
    return k->how[i] == 'x' && c->in[i].dtype == BR_BF16;
}

/* The call with wide tensors, which follow each other in scratch; returns what is left of that. */
static float *wide_call(const struct br_call *c, const struct narrowed *k, struct br_tensor *in,
                        struct br_tensor *out, float *scratch)
{
    for (uint32_t i = 0; i < c->n_in; i++)
        in[i] = is_widened(c, k, i) ? wide_like(&c->in[i], br__carve(&scratch, elems_of(&c->in[i])))
                                    : c->in[i];
    *out = *c->out;
    if (out->dtype == BR_BF16)
        *out = wide_like(c->out, br__carve(&scratch, elems_of(c->out)));
    return scratch;
}

size_t BR__FN(as_a_whole_scratch)(const struct br_call *c)
{
    const struct narrowed *k = &narrowed[c->op];
    struct br_tensor in[BR_MAX_IN], out;
    struct br_call wide = *c;
    size_t floats = c->out->dtype == BR_BF16 ? br__line(elems_of(c->out)) : 0;
    for (uint32_t i = 0; i < c->n_in; i++)
        floats += is_widened(c, k, i) ? br__line(elems_of(&c->in[i])) : 0;
    wide_call(c, k, in, &out, NULL);
    wide.in = in;
    wide.out = &out;
    return floats * sizeof(float) + (k->scratch ? k->scratch(&wide) : 0);
}

void BR__FN(as_a_whole)(const struct br_call *c)
{
    const struct narrowed *k = &narrowed[c->op];
    struct br_tensor in[BR_MAX_IN], out;
    struct br_call wide = *c;
    int64_t from, to;
    wide.scratch = wide_call(c, k, in, &out, c->scratch);
    wide.in = in;
    wide.out = &out;
    for (uint32_t i = 0; i < c->n_in; i++) {
        if (!is_widened(c, k, i))
            continue;
        br__thread_range(c, br__rows(&in[i]), 1, &from, &to);
        widen_rows(&in[i], &c->in[i], from, to);
    }
    br__sync(c);
    k->run(&wide);
    if (c->out->dtype != BR_BF16)
        return;
    br__sync(c);
    br__thread_range(c, br__rows(&out), 1, &from, &to);
    narrow_rows(c->out, &out, from, to);
}
