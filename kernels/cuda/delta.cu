/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta.cu - the gated delta rule (Yang et al. 2024, "Gated Delta Networks"), token by token, and
 * its gradient.
 *
 * Of a value head, with S[dk, dv] the state:
 *     S = e^g S;  d = beta (v - S'k);  S += k d';  o = S' (f0 q)
 * Columns of the state do not meet: forward, a block has 32 of them.  Backward, a block has a head,
 * makes the states anew (one of every SPAN tokens is kept in scratch, those between again from it)
 * and goes through the tokens from the last to the first. */
#include "delta.cuh"

static struct delta delta_of(const struct br_call *c)
{
    struct delta a;
    a.q = rows_of(&c->in[0]);
    a.k = rows_of(&c->in[1]);
    a.v = rows_of(&c->in[2]);
    a.g = rows_of(&c->in[3]);
    a.beta = rows_of(&c->in[4]);
    a.seqs = seqs_of(&c->in[5]);
    a.T = (int)c->in[2].shape[0];
    a.heads = (int)c->in[2].shape[1];
    a.group = a.heads / (int)c->in[1].shape[1];
    a.dk = (int)c->in[1].shape[2];
    a.dv = (int)c->in[2].shape[2];
    a.scale = (float)c->attr.f[0];
    return a;
}

/* ---- forward --------------------------------------------------------------------------------- */

#define COLS 32 /* of the state, of a block: threadIdx.x */
#define PARTS 8 /* of its rows: threadIdx.y */

/* The sum over the block's PARTS threads of a column. */
BR_INLINE float column_sum(float v, float *room)
{
    room[threadIdx.y * COLS + threadIdx.x] = v;
    gpu_sync();
    float sum = 0;
    for (int p = 0; p < PARTS; p++)
        sum += room[p * COLS + threadIdx.x];
    gpu_sync();
    return sum;
}

/* Block (sequence, head, columns); shared: the state [dk, COLS], then k and q of a token. */
BR_KERNEL(COLS *PARTS, 1) delta_tokens(struct rows o, struct delta a, struct states all)
{
    BR_DYN_SHARED(float, state);
    BR_SHARED(float, room, COLS *PARTS);
    float *k = state + a.dk * COLS, *q = k + a.dk;
    gpu_launch_next();
    gpu_wait_previous();
    const int head = (int)blockIdx.y, col = (int)(blockIdx.z * COLS + threadIdx.x);
    const int first = (int)threadIdx.y, thread = first * COLS + (int)threadIdx.x;
    struct seq s;
    if (!seq_at(a.seqs, (int)blockIdx.x, a.T, INT64_MAX, &s)) /* the whole block leaves */
        return;
    const bool kept = all.data && s.slot >= 0 && s.slot < all.slots;
    float *mine = kept ? all.data + s.slot * all.stride[0] + head * all.stride[1] : nullptr;
    for (int i = first; i < a.dk; i += PARTS)
        state[i * COLS + threadIdx.x] =
            kept && s.nk > s.nq && col < a.dv ? mine[i * all.stride[2] + col] : 0.f;
    for (int64_t t = s.q0; t < s.q0 + s.nq; t++) {
        const int64_t k_at = a.key_at(a.k, t, head), q_at = a.key_at(a.q, t, head);
        for (int i = thread; i < a.dk; i += COLS * PARTS) {
            k[i] = a.k.read(k_at + i);
            q[i] = a.q.read(q_at + i) * a.scale;
        }
        const float fade = expf(a.gate(a.g, t, head)), beta = a.gate(a.beta, t, head);
        const float v = col < a.dv ? a.v.read(a.value_at(a.v, t, head) + col) : 0.f;
        gpu_sync();
        float sum = 0;
        for (int i = first; i < a.dk; i += PARTS)
            sum = fmaf(state[i * COLS + threadIdx.x], k[i], sum);
        const float d = beta * (v - fade * column_sum(sum, room));
        sum = 0;
        for (int i = first; i < a.dk; i += PARTS) {
            const float x = fmaf(k[i], d, fade * state[i * COLS + threadIdx.x]);
            state[i * COLS + threadIdx.x] = x;
            sum = fmaf(x, q[i], sum);
        }
        sum = column_sum(sum, room);
        if (first == 0 && col < a.dv)
            o.write(a.value_at(o, t, head) + col, sum);
    }
    for (int i = first; kept && col < a.dv && i < a.dk; i += PARTS)
        mine[i * all.stride[2] + col] = state[i * COLS + threadIdx.x];
}

void br__cuda_delta_tokens(const struct br_call *c, const struct delta *a, struct rows o,
                           struct states all)
{
    const dim3 grid((unsigned)a->seqs.n, (unsigned)a->heads, (unsigned)div_up(a->dv, COLS));
    const size_t shared = (size_t)a->dk * (COLS + 2) * sizeof(float);
    BR_LAUNCH_EARLY(c, delta_tokens, grid, dim3(COLS, PARTS), shared, o, *a, all);
}

SCRATCH_FUNCTION(delta_rule)
{
    struct delta a = delta_of(c);
    struct rows o = rows_of(c->out);
    return br__cuda_delta_suits_chunks(&a, &o) ? br__cuda_delta_chunks_scratch(&a) : 0;
}

ROW_FUNCTION(delta_rule)
{
    struct delta a = delta_of(c);
    struct rows o = rows_of(c->out);
    struct states all = {nullptr, 0, {0, 0, 0}};
    if (c->n_in > 6)
        all = states_of(&c->in[6]);
    br__cuda_zero_unowned(c, &c->in[5], INT64_MAX);
    if (br__cuda_delta_suits_chunks(&a, &o)) {
        br__cuda_delta_chunks(c, &a, all);
        return;
    }
    br__cuda_delta_tokens(c, &a, o, all);
}

/* ---- gradient -------------------------------------------------------------------------------- */

#define SPAN 32     /* tokens between states that are kept */
#define THREADS 256 /* of a block */

/* What a block has in scratch; states are [dk, dv]. */
struct delta_back {
    float *kept;  /* before tokens 0, SPAN, 2 SPAN, ... of the sequence */
    float *state; /* before each of SPAN tokens, and after the last */
    float *ds;    /* gradient of the state */
    float *miss;  /* [SPAN, dv]: v - e^g S'k of each token */
};

BR_BOTH int64_t spans_of(int64_t n)
{
    return div_up(n, SPAN);
}
BR_BOTH int64_t back_floats(int64_t T, int64_t dk, int64_t dv)
{
    return (spans_of(T) + SPAN + 2) * dk * dv + SPAN * dv;
}

BR_INLINE struct delta_back back_at(float *room, const struct delta &a)
{
    const int64_t size = (int64_t)a.dk * a.dv;
    struct delta_back b;
    b.kept = room;
    b.state = b.kept + spans_of(a.T) * size;
    b.ds = b.state + (SPAN + 1) * size;
    b.miss = b.ds + size;
    return b;
}

/* The state after token t from the one before; miss = v - e^g S'k.  A thread has columns. */
BR_INLINE void delta_forward(const struct delta &a, int64_t t, int head, const float *before,
                             float *after, float *miss)
{
    const int64_t k_at = a.key_at(a.k, t, head), v_at = a.value_at(a.v, t, head);
    const float fade = expf(a.gate(a.g, t, head)), beta = a.gate(a.beta, t, head);
    for (int col = (int)threadIdx.x; col < a.dv; col += THREADS) {
        float sum = 0;
        for (int i = 0; i < a.dk; i++)
            sum = fmaf(before[i * a.dv + col], a.k.read(k_at + i), sum);
        const float m = fmaf(-fade, sum, a.v.read(v_at + col)), d = beta * m;
        miss[col] = m;
        for (int i = 0; i < a.dk; i++)
            after[i * a.dv + col] = fmaf(a.k.read(k_at + i), d, fade * before[i * a.dv + col]);
    }
    gpu_sync();
}

/* b.ds: gradient of the state after token t on entry, of the one before it on return.  shared: dd
 * and d of the columns, [2, dv]. */
BR_INLINE void delta_backward(const struct delta &a, const struct delta_back &b, int64_t t,
                              int head, int i_token, const struct rows &y,
                              const struct delta_grads &out, float *shared)
{
    const int64_t size = (int64_t)a.dk * a.dv, k_at = a.key_at(a.k, t, head);
    const int64_t q_at = a.key_at(a.q, t, head), y_at = a.value_at(y, t, head);
    const float *before = b.state + i_token * size, *after = before + size;
    const float *miss = b.miss + (int64_t)i_token * a.dv;
    const float fade = expf(a.gate(a.g, t, head)), beta = a.gate(a.beta, t, head);
    const int lane = (int)threadIdx.x % 32, warp = (int)threadIdx.x / 32;
    float *dd = shared, *by_row = shared + a.dv; /* by_row: a number of each row of the state */
    const int64_t v_to = out.v_at(a, t, head), g_to = out.g_at(a, t, head);

    /* through o = S'q: a warp has rows */
    for (int i = warp; i < a.dk; i += THREADS / 32) {
        float sum = 0;
        for (int col = lane; col < a.dv; col += 32)
            sum = fmaf(after[i * a.dv + col], y.read(y_at + col), sum);
        sum = warp_sum(sum);
        if (lane == 0)
            out.q[(t * a.heads + head) * a.dk + i] = a.scale * sum;
    }
    /* ds += y (f0 q)', and through S += k d' to d: a thread has columns */
    for (int col = (int)threadIdx.x; col < a.dv; col += THREADS) {
        float sum = 0;
        for (int i = 0; i < a.dk; i++) {
            float *ds = b.ds + i * a.dv + col;
            *ds = fmaf(y.read(y_at + col), a.scale * a.q.read(q_at + i), *ds);
            sum = fmaf(*ds, a.k.read(k_at + i), sum);
        }
        dd[col] = sum;
        out.out.write(v_to + col, beta * sum);
    }
    gpu_sync();
    /* through S'k and the decay to the state before: a warp has rows */
    for (int i = warp; i < a.dk; i += THREADS / 32) {
        float dk = 0, dg = 0;
        for (int col = lane; col < a.dv; col += 32) {
            float *ds = b.ds + i * a.dv + col;
            const float was = before[i * a.dv + col], dkv = -beta * dd[col];
            dk = fmaf(*ds, beta * miss[col], fmaf(fade * was, dkv, dk));
            const float to = fmaf(dkv, a.k.read(k_at + i), *ds);
            dg = fmaf(to, was, dg);
            *ds = fade * to;
        }
        dk = warp_sum(dk);
        dg = warp_sum(dg);
        if (lane == 0) {
            out.k[(t * a.heads + head) * a.dk + i] = dk;
            by_row[i] = dg;
        }
    }
    gpu_sync();
    if (warp == 0) { /* dg and dbeta: sums over rows and over columns */
        float dg = 0, dbeta = 0;
        for (int i = lane; i < a.dk; i += 32)
            dg += by_row[i];
        for (int col = lane; col < a.dv; col += 32)
            dbeta = fmaf(dd[col], miss[col], dbeta);
        dg = warp_sum(dg);
        dbeta = warp_sum(dbeta);
        if (lane == 0) {
            out.out.write(g_to, fade * dg);
            out.out.write(g_to + a.heads, dbeta);
        }
    }
    gpu_sync();
}

/* One head of a sequence. */
BR_INLINE void back_head(const struct delta &a, const struct delta_back &b, const struct seq &s,
                         int head, const struct rows &y, const struct delta_grads &out,
                         float *shared)
{
    const int64_t size = (int64_t)a.dk * a.dv;
    float *now = b.state, *next = b.state + size;
    for (int64_t i = threadIdx.x; i < size; i += THREADS)
        now[i] = b.ds[i] = 0;
    gpu_sync();
    for (int64_t t = 0; t < s.nq; t++) {
        for (int64_t i = threadIdx.x; t % SPAN == 0 && i < size; i += THREADS)
            b.kept[t / SPAN * size + i] = now[i];
        delta_forward(a, s.q0 + t, head, now, next, b.miss);
        float *swap = now;
        now = next;
        next = swap;
    }
    for (int64_t span = spans_of(s.nq) - 1; span >= 0; span--) {
        const int64_t t = s.q0 + span * SPAN, n = min_of(s.nq - span * SPAN, SPAN);
        for (int64_t i = threadIdx.x; i < size; i += THREADS)
            b.state[i] = b.kept[span * size + i];
        gpu_sync();
        for (int64_t i = 0; i < n; i++)
            delta_forward(a, t + i, head, b.state + i * size, b.state + (i + 1) * size,
                          b.miss + i * a.dv);
        for (int64_t i = n - 1; i >= 0; i--)
            delta_backward(a, b, t + i, head, (int)i, y, out, shared);
    }
}

/* Blocks take (sequence, head) in turn, each with its own part of scratch. */
BR_KERNEL(THREADS, 1)
delta_grad_heads(struct delta a, struct rows y, struct delta_grads out, float *room)
{
    BR_DYN_SHARED(float, shared);
    const struct delta_back b =
        back_at(room + (int64_t)blockIdx.x * back_floats(a.T, a.dk, a.dv), a);
    for (int item = (int)blockIdx.x; item < a.seqs.n * a.heads; item += (int)gridDim.x) {
        struct seq s;
        if (seq_at(a.seqs, item / a.heads, a.T, INT64_MAX, &s))
            back_head(a, b, s, item % a.heads, y, out, shared);
    }
}

/* dq and dk of a key head: the sums over its value heads, in order. */
BR_KERNEL(256, 1) add_heads(struct rows o, struct delta a, struct delta_grads d)
{
    const uint32_t keys = (uint32_t)(a.heads / a.group * a.dk);
    FOR_EACH_ROW(t, o.count)
    {
        struct seq s;
        const bool owned = seq_of(a.seqs, t, a.T, INT64_MAX, &s);
        FOR_EACH_UNIT(i, keys)
        {
            const int key = (int)i / a.dk;
            float q = 0, k = 0;
            for (int h = key * a.group; owned && h < (key + 1) * a.group; h++) {
                const int64_t at = ((int64_t)t * a.heads + h) * a.dk + (int)i % a.dk;
                q += d.q[at];
                k += d.k[at];
            }
            if (owned) {
                o.write(o.at(t) + i, q);
                o.write(o.at(t) + keys + i, k);
            }
        }
    }
}

struct delta_scratch {
    float *q, *k, *room; /* room: of the blocks, or of the launches in chunks */
    int blocks;          /* 0: in chunks */
    size_t bytes;
};

static struct delta_scratch delta_carve(const struct br_call *c, const struct delta *a,
                                        void *scratch)
{
    struct carve s = {(char *)scratch, 0};
    struct delta_scratch d;
    struct rows y = rows_of(&c->in[6]);
    d.q = carve_out<float>(&s, (int64_t)a->T * a->heads * a->dk);
    d.k = carve_out<float>(&s, (int64_t)a->T * a->heads * a->dk);
    if (br__cuda_delta_back_suits_chunks(a, &y)) {
        d.blocks = 0;
        d.room =
            (float *)(void *)carve_out<char>(&s, (int64_t)br__cuda_delta_back_chunks_scratch(a));
    } else {
        d.blocks = (int)min_of((int64_t)a->seqs.n * a->heads, 256);
        d.room = carve_out<float>(&s, d.blocks * back_floats(a->T, a->dk, a->dv));
    }
    d.bytes = s.used;
    return d;
}

SCRATCH_FUNCTION(delta_rule_grad)
{
    struct delta a = delta_of(c);
    return delta_carve(c, &a, nullptr).bytes;
}

ROW_FUNCTION(delta_rule_grad)
{
    struct delta a = delta_of(c);
    struct rows o = rows_of(c->out);
    struct delta_scratch s = delta_carve(c, &a, c->scratch);
    struct delta_grads d = {s.q, s.k, o};
    br__cuda_zero_unowned(c, &c->in[5], INT64_MAX);
    const size_t shared = (size_t)(a.dv + a.dk) * sizeof(float);
    if (s.blocks)
        BR_LAUNCH(c, delta_grad_heads, (unsigned)s.blocks, THREADS, shared, a, rows_of(&c->in[6]),
                  d, s.room);
    else
        br__cuda_delta_back_chunks(c, &a, &d, s.room);
    struct cover k = cover_rows(a.T, a.heads / a.group * a.dk);
    BR_LAUNCH(c, add_heads, k.grid, k.block, 0, o, a, d);
}
