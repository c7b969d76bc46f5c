/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gdn_step.cu - GDN_STEP: the gated delta net of one token of each sequence.
 *
 * A first launch makes of the products of the layer what the delta rule reads: convolution, L2
 * norm, decay and beta; a warp has a head, whose channels of the convolution's state are its own.
 * The second is the delta rule's own, token by token. */
#include "delta.cuh"
#include "norm.cuh"

#define WARPS 8 /* of a block */

struct step {
    struct rows y, w, A_log, dt_bias, out;
    struct seqs seqs;
    float *conv; /* [slots, K - 1, C] */
    int64_t slots, slot_stride, row_stride;
    float *channels, *decay, *beta; /* of scratch: [T, C], twice [T, Hv] */
    int T, C, K, hk, hv, dk, dv;
    float eps;

    BR_BOTH int per() const
    {
        return hv / hk;
    }
    /* Columns of y that a key head has. */
    BR_INLINE int64_t block() const
    {
        return 2 * (dk + (int64_t)per() * dv);
    }
};

/* Whether token t is all that sequence t has. */
BR_INLINE bool is_step(const struct step &a, int t, struct seq *s)
{
    return seq_at(a.seqs, t, a.T, INT64_MAX, s) && s->q0 == t && s->nq == 1;
}

/* The convolution at channel ch, whose input is x, and its state one token on; the last tap first,
 * as CONV1D_SILU adds them. */
BR_INLINE float convolve(const struct step &a, const struct seq &s, int ch, float x)
{
    const bool keeps = s.slot >= 0 && s.slot < a.slots, goes_on = keeps && s.nk > 1;
    float *state = keeps ? a.conv + s.slot * a.slot_stride + ch : nullptr;
    const int64_t w = a.w.at((uint32_t)ch);
    float z = x * a.w.read(w + a.K - 1);
    for (int j = a.K - 2; j >= 0; j--)
        z = fmaf(goes_on ? state[j * a.row_stride] : 0.f, a.w.read(w + j), z);
    for (int j = 0; keeps && j < a.K - 1; j++)
        state[j * a.row_stride] = j == a.K - 2 ? x : goes_on ? state[(j + 1) * a.row_stride] : 0.f;
    return as_kept(z * sigmoid_of(z), a.y.dtype);
}

/* n channels from ch on, which are columns from `from` on of the token's row: through the
 * convolution and, of a query or a key, to length 1. */
BR_INLINE void prepare_head(const struct step &a, int t, int ch, int64_t from, int n, bool is_unit)
{
    const int lane = (int)threadIdx.x % 32;
    float *to = a.channels + (int64_t)t * a.C + ch, sum = 0;
    struct seq s;
    const bool there = is_step(a, t, &s);
    for (int i = lane; i < n; i += 32) {
        const float x = a.y.read(a.y.at((uint32_t)t) + from + i);
        const float v = there ? convolve(a, s, ch + i, x) : 0.f;
        to[i] = v;
        sum = fmaf(v, v, sum);
    }
    sum = warp_sum(sum);
    for (int i = lane; is_unit && i < n; i += 32)
        to[i] = as_kept(to[i] * (1.f / sqrtf(sum + a.eps)), a.y.dtype);
}

/* Of a value head: decay, beta, and zeros where the token is no sequence's. */
BR_INLINE void prepare_gates(const struct step &a, int t, int head)
{
    const int lane = (int)threadIdx.x % 32, per = a.per();
    const int64_t at = a.y.at((uint32_t)t) + a.hk * a.block() + head / per * 2 * per + head % per;
    const float x = a.y.read(at + per), bias = a.dt_bias.read(head);
    struct seq s;
    if (lane == 0) {
        a.decay[t * a.hv + head] = -expf(a.A_log.read(head)) * softplus(x + bias);
        a.beta[t * a.hv + head] = as_kept(sigmoid_of(a.y.read(at)), a.y.dtype);
    }
    if (is_step(a, t, &s))
        return;
    for (int i = lane; i < a.dv; i += 32)
        a.out.write(a.out.at((uint32_t)(t * a.hv + head)) + i, 0.f);
}

/* A warp has a head of queries, of keys, or of values with its gates. */
BR_KERNEL(32 * WARPS, 1) prepare_step(struct step a)
{
    const int each = 2 * a.hk + a.hv, keys = a.hk * a.dk;
    gpu_launch_next();
    gpu_wait_previous();
    const int64_t warps = (int64_t)a.T * each;
    for (int64_t w = (int64_t)blockIdx.x * WARPS + threadIdx.x / 32; w < warps;
         w += (int64_t)gridDim.x * WARPS) {
        const int t = (int)(w / each), n = (int)(w % each), head = n - 2 * a.hk;
        if (head < 0) {
            const int of = n % a.hk, is_key = n / a.hk;
            prepare_head(a, t, n * a.dk, of * a.block() + is_key * a.dk, a.dk, true);
            continue;
        }
        const int per = a.per();
        prepare_head(a, t, 2 * keys + head * a.dv,
                     head / per * a.block() + 2 * a.dk + head % per * a.dv, a.dv, false);
        prepare_gates(a, t, head);
    }
}

static struct step step_of(const struct br_call *c, void *scratch, size_t *bytes)
{
    const struct br_tensor *conv = &c->in[5], *state = &c->in[6];
    struct carve room = {(char *)scratch, 0};
    struct step a = {};
    a.y = rows_of(&c->in[0]);
    a.w = rows_of(&c->in[1]);
    a.A_log = rows_of(&c->in[2]);
    a.dt_bias = rows_of(&c->in[3]);
    a.out = rows_of(c->out);
    a.seqs = seqs_of(&c->in[4]);
    a.conv = (float *)conv->data;
    a.slots = conv->shape[0];
    a.slot_stride = conv->stride[0];
    a.row_stride = conv->stride[1];
    a.T = (int)c->in[0].shape[0];
    a.C = (int)c->in[1].shape[0];
    a.K = (int)c->in[1].shape[1];
    a.hk = (int)c->attr.i[0];
    a.hv = (int)state->shape[1];
    a.dk = (int)state->shape[2];
    a.dv = (int)state->shape[3];
    a.eps = (float)c->attr.f[1];
    a.channels = carve_out<float>(&room, (int64_t)a.T * a.C);
    a.decay = carve_out<float>(&room, (int64_t)a.T * a.hv);
    a.beta = carve_out<float>(&room, (int64_t)a.T * a.hv);
    *bytes = room.used;
    return a;
}

/* [T, heads, n] in rows of `stride` floats. */
static struct rows floats_of(float *p, int64_t T, int64_t heads, int64_t n, int64_t stride)
{
    const struct br_tensor t = {p, nullptr, BR_F32, 3, {T, heads, n}, {stride, n, 1}};
    return rows_of(&t);
}

SCRATCH_FUNCTION(gdn_step)
{
    size_t bytes;
    (void)step_of(c, nullptr, &bytes);
    return bytes;
}

ROW_FUNCTION(gdn_step)
{
    size_t bytes;
    const struct step a = step_of(c, c->scratch, &bytes);
    const int64_t warps = (int64_t)a.T * (2 * a.hk + a.hv), keys = (int64_t)a.hk * a.dk;
    BR_LAUNCH_EARLY(c, prepare_step, (unsigned)min_of(div_up(warps, WARPS), MAX_GRID_X), 32 * WARPS,
                    0, a);
    struct delta d = {};
    d.q = floats_of(a.channels, a.T, a.hk, a.dk, a.C);
    d.k = floats_of(a.channels + keys, a.T, a.hk, a.dk, a.C);
    d.v = floats_of(a.channels + 2 * keys, a.T, a.hv, a.dv, a.C);
    d.g = floats_of(a.decay, a.T, 1, a.hv, a.hv);
    d.beta = floats_of(a.beta, a.T, 1, a.hv, a.hv);
    d.seqs = a.seqs;
    d.T = a.T;
    d.heads = a.hv;
    d.group = a.per();
    d.dk = a.dk;
    d.dv = a.dv;
    d.scale = (float)c->attr.f[0];
    br__cuda_delta_tokens(c, &d, a.out, states_of(&c->in[6]));
}
