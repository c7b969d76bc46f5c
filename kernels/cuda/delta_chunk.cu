/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta_chunk.cu - the gated delta rule by tensor cores, CHUNK tokens at a time (Yang et al. 2024,
 * "Parallelizing Linear Transformers with the Delta Rule"), for values of bfloat16 and heads of
 * 128.
 *
 * Of a chunk and a value head, with G_i the sum of the decays up to token i, S[dk, dv] the state
 * before the chunk and E_ij = e^(G_i - G_j):
 *     A_ij = beta_i E_ij k_i . k_j for j < i,   T = (I + A)^-1
 *     W = T (beta e^G K),   U = T (beta V)
 *     D = U - W S,   S' = e^(G_last) S + (E_last K)' D
 *     O = scale (e^G Q S + P D),   P_ij = E_ij q_i . k_j for j <= i
 * Three launches: W and U of all chunks; D and the states, chunk after chunk, a block to 32 columns
 * of the state; O of all chunks.  T, the state and all sums are float32; W, U, D, P and the state
 * as an operand are bfloat16. */
#include "delta_chunk.cuh"

/* ---- W and U --------------------------------------------------------------------------------- */

/* decay: the sums of the decays of the tokens so far, in each of CHUNK; beta of each, 0 where there
 * is none. */
BR_INLINE void load_gates(const struct delta &a, const struct chunk &c, int head, float *decay,
                          float *beta)
{
    BR_SHARED(float, g, CHUNK);
    const int i = (int)threadIdx.x;
    const int64_t t = c.s.q0 + c.first + i;
    if (i < CHUNK) {
        g[i] = i < c.n ? a.gate(a.g, t, head) : 0.f;
        beta[i] = i < c.n ? a.gate(a.beta, t, head) : 0.f;
    }
    gpu_sync();
    double sum = 0;
    for (int j = 0; j <= i && i < CHUNK; j++)
        sum += (double)g[j];
    if (i < CHUNK)
        decay[i] = (float)sum;
    gpu_sync();
}

#define PITCH (CHUNK + 1)

/* t = (I + a)^-1, both [CHUNK, PITCH], of a that is 0 on and above its diagonal: a thread has a
 * column, and needs no other's. */
BR_INLINE void invert(float *t, const float *a)
{
    const int col = (int)threadIdx.x;
    if (col < CHUNK)
        for (int i = 0; i < CHUNK; i++) {
            float sum = i == col ? 1.f : 0.f;
            for (int k = col; k < i; k++)
                sum = fmaf(-a[i * PITCH + k], t[k * PITCH + col], sum);
            t[i * PITCH + col] = sum;
        }
    gpu_sync();
}

/* Grid: chunks by heads.  Shared: keys and values [CHUNK, HEAD], A and T. */
BR_KERNEL(THREADS, 1) delta_prepare(struct chunks o, struct delta a)
{
    BR_DYN_SHARED(bf16, k);
    BR_SHARED(float, decay, CHUNK);
    BR_SHARED(float, beta, CHUNK);
    bf16 *v = k + CHUNK * HEAD;
    float *low = (float *)(void *)(v + CHUNK * HEAD), *t = low + CHUNK * PITCH;
    const int head = (int)blockIdx.y;
    struct chunk c;
    if (!find_chunk(a, blockIdx.x, &c)) /* the whole block leaves */
        return;
    load_head(k, a.k, c, a.heads / a.group, head / a.group);
    load_head(v, a.v, c, a.heads, head);
    gpu_copy_commit();
    load_gates(a, c, head, decay, beta);
    gpu_copy_wait<0>();
    gpu_sync();
    const int64_t at = o.index(blockIdx.x, head);
    float s[CHUNK / 8][4], x[HEAD / 8][4];
    multiply_rows<HEAD, CHUNK>(s, k, (int)threadIdx.x / 32 * 16, k);
    BR_UNROLL
    for (int j = 0; j < CHUNK / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e++) {
            const int row = fragment_row(e), col = fragment_col(j, e);
            low[row * PITCH + col] =
                col < row ? beta[row] * expf(decay[row] - decay[col]) * s[j][e] : 0.f;
        }
    }
    gpu_sync();
    invert(t, low);
    for (int what = 0; what < 2; what++) {
        BR_UNROLL
        for (int j = 0; j < CHUNK / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++) {
                const int col = fragment_col(j, e);
                const float by = what == 0 ? beta[col] * expf(decay[col]) : beta[col];
                s[j][e] = by * t[fragment_row(e) * PITCH + col];
            }
        }
        clear<HEAD / 8>(x);
        multiply_onto<HEAD, CHUNK>(x, s, what == 0 ? k : v);
        store_tile((what == 0 ? o.w : o.d) + at * CHUNK * HEAD, x);
    }
    if (threadIdx.x < CHUNK)
        o.decay[at * CHUNK + threadIdx.x] = decay[threadIdx.x];
    for (int i = (int)threadIdx.x; o.inverse && i < CHUNK * CHUNK; i += THREADS)
        o.inverse[at * CHUNK * CHUNK + i] = bf16_of(t[i / CHUNK * PITCH + i % CHUNK]);
}

/* ---- states ---------------------------------------------------------------------------------- */

BR_INLINE void state_load(struct state_part *s, const float *from, int64_t stride)
{
    BR_UNROLL
    for (int half = 0; half < 2; half++) {
        BR_UNROLL
        for (int j = 0; j < COLS / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++)
                s->x[half][j][e] =
                    from ? from[state_part::row(half, e) * stride + fragment_col(j, e)] : 0.f;
        }
    }
}

BR_INLINE void state_store(const struct state_part *s, float *to, int64_t stride)
{
    BR_UNROLL
    for (int half = 0; half < 2; half++) {
        BR_UNROLL
        for (int j = 0; j < COLS / 8; j++) {
            BR_UNROLL
            for (int e = 0; e < 4; e++)
                to[state_part::row(half, e) * stride + fragment_col(j, e)] = s->x[half][j][e];
        }
    }
}

/* D = U - W S of 16 tokens of a warp: into `d`, where U was, and times e^(G_last - G) into
 * `faded`. */
BR_INLINE void chunk_updates(bf16 *d, bf16 *faded, bf16 *w, bf16 *state, const float *decay)
{
    float x[COLS / 8][4];
    clear<COLS / 8>(x);
    multiply_tiles_onto<HEAD, COLS>(x, w, (int)threadIdx.x / 32 * 16, state);
    BR_UNROLL
    for (int j = 0; j < COLS / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e += 2) {
            const int row = fragment_row(e), col = fragment_col(j, e);
            uint32_t *at = (uint32_t *)(void *)(d + row * HEAD + col);
            const uint32_t u = *at;
            const float low = gpu_float(u << 16) - x[j][e];
            const float high = gpu_float(u & 0xffff0000u) - x[j][e + 1];
            const float fade = expf(decay[CHUNK - 1] - decay[row]);
            *at = pair_of(low, high);
            *(uint32_t *)(void *)(piece<COLS>(faded, row, col / 8) + col % 8) =
                pair_of(fade * low, fade * high);
        }
    }
}

/* Grid: sequences by heads by COLS columns.  Shared: twice W and keys [CHUNK, HEAD], of which one
 * pair is loaded while the other is used; the state [HEAD, COLS]; faded D [CHUNK, COLS]. */
BR_KERNEL(THREADS, 1) delta_states(struct chunks o, struct delta a, struct states all)
{
    BR_DYN_SHARED(bf16, shared);
    BR_SHARED(float, decay, 2 * CHUNK);
    constexpr int size = CHUNK * HEAD;
    bf16 *state = shared + 4 * size, *faded = state + HEAD * COLS;
    const int head = (int)blockIdx.y, col = (int)blockIdx.z * COLS;
    struct chunk c = {{}, 0, 0};
    if (!seq_at(a.seqs, (int)blockIdx.x, a.T, INT64_MAX, &c.s)) /* the whole block leaves */
        return;
    const int64_t number = chunks_before(a, (int)blockIdx.x);
    const bool kept = all.data && c.s.slot >= 0 && c.s.slot < all.slots;
    float *mine = kept ? all.data + c.s.slot * all.stride[0] + head * all.stride[1] + col : nullptr;
    struct state_part s;
    state_load(&s, kept && c.s.nk > c.s.nq ? mine : nullptr, all.stride[2]);

    const int n = (int)div_up(c.s.nq, CHUNK);
    for (int i = -1; i < n; i++) {
        if (i + 1 < n) { /* the next one is on its way */
            const int64_t next = o.index(number + i + 1, head);
            bf16 *to = shared + (i + 1) % 2 * 2 * size;
            c.first = (int64_t)(i + 1) * CHUNK;
            c.n = (int)min_of(c.s.nq - c.first, CHUNK);
            load_tile(to, o.w + next * size, HEAD, CHUNK);
            load_head(to + size, a.k, c, a.heads / a.group, head / a.group);
            if (threadIdx.x < CHUNK)
                decay[(i + 1) % 2 * CHUNK + threadIdx.x] = o.decay[next * CHUNK + threadIdx.x];
        }
        gpu_copy_commit();
        if (i < 0)
            continue;
        const int64_t at = o.index(number + i, head);
        bf16 *w = shared + i % 2 * 2 * size, *k = w + size;
        const float *g = decay + i % 2 * CHUNK;
        gpu_copy_wait<1>();
        state_publish(&s, state, o.before + at * HEAD * HEAD + col);
        gpu_sync();
        chunk_updates(o.d + at * size + col, faded, w, state, g);
        gpu_sync();
        s.scale(expf(g[CHUNK - 1]));
        state_add(&s, k, faded);
        gpu_sync();
    }
    if (kept)
        state_store(&s, mine, all.stride[2]);
}

/* ---- O --------------------------------------------------------------------------------------- */

/* Grid: chunks by heads.  Shared: q, keys and D [CHUNK, HEAD], the state [HEAD, HEAD]. */
BR_KERNEL(THREADS, 1) delta_results(struct rows out, struct chunks o, struct delta a)
{
    BR_DYN_SHARED(bf16, q);
    BR_SHARED(float, decay, CHUNK);
    constexpr int size = CHUNK * HEAD;
    bf16 *k = q + size, *d = k + size, *state = d + size;
    const int head = (int)blockIdx.y, row = (int)threadIdx.x / 32 * 16;
    struct chunk c;
    if (!find_chunk(a, blockIdx.x, &c)) /* the whole block leaves */
        return;
    const int64_t at = o.index(blockIdx.x, head);
    load_head(q, a.q, c, a.heads / a.group, head / a.group);
    load_head(k, a.k, c, a.heads / a.group, head / a.group);
    load_tile(d, o.d + at * size, HEAD, CHUNK);
    load_tile(state, o.before + at * HEAD * HEAD, HEAD, CHUNK);
    load_tile(state + size, o.before + at * HEAD * HEAD + size, HEAD, CHUNK);
    gpu_copy_commit();
    if (threadIdx.x < CHUNK)
        decay[threadIdx.x] = o.decay[at * CHUNK + threadIdx.x];
    gpu_copy_wait<0>();
    gpu_sync();
    float x[HEAD / 8][4], s[CHUNK / 8][4];
    clear<HEAD / 8>(x);
    multiply_tiles_onto<HEAD, HEAD>(x, q, row, state);
    BR_UNROLL
    for (int e = 0; e < 4; e++) {
        const float fade = expf(decay[fragment_row(e)]);
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++)
            x[j][e] *= fade;
    }
    multiply_rows<HEAD, CHUNK>(s, q, row, k);
    BR_UNROLL
    for (int j = 0; j < CHUNK / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e++) {
            const int i = fragment_row(e), col = fragment_col(j, e);
            s[j][e] = col <= i ? s[j][e] * expf(decay[i] - decay[col]) : 0.f;
        }
    }
    multiply_onto<HEAD, CHUNK>(x, s, d);
    BR_UNROLL
    for (int e = 0; e < 4; e++) {
        if (fragment_row(e) >= c.n)
            continue;
        const int64_t to = a.value_at(out, c.s.q0 + c.first + fragment_row(e), head);
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++)
            out.write(to + fragment_col(j, e), a.scale * x[j][e]);
    }
}

/* ---- launch ---------------------------------------------------------------------------------- */

#define MIN_TOKENS 16 /* of a sequence, from which chunks pay */

bool br__cuda_delta_suits_chunks(const struct delta *a, const struct rows *o)
{
    return a->dk == HEAD && a->dv == HEAD && a->q.dtype == BR_BF16 && a->k.dtype == BR_BF16 &&
           a->v.dtype == BR_BF16 && o->dtype == BR_BF16 && is_aligned(&a->q, 8) &&
           is_aligned(&a->k, 8) && is_aligned(&a->v, 8) && a->T >= MIN_TOKENS * a->seqs.n;
}

/* Chunks of all sequences, at most: each may begin one of its own. */
int64_t br__cuda_most_chunks(const struct delta *a)
{
    return min_of(div_up(a->T, CHUNK) + a->seqs.n, a->T);
}

size_t br__cuda_chunks_carve(const struct delta *a, bool with_inverse, struct carve *s,
                             struct chunks *o)
{
    const int64_t n = br__cuda_most_chunks(a) * a->heads;
    o->heads = a->heads;
    o->w = carve_out<bf16>(s, n * CHUNK * HEAD);
    o->d = carve_out<bf16>(s, n * CHUNK * HEAD);
    o->before = carve_out<bf16>(s, n * HEAD * HEAD);
    o->decay = carve_out<float>(s, n * CHUNK);
    o->inverse = with_inverse ? carve_out<bf16>(s, n * CHUNK * CHUNK) : nullptr;
    return s->used;
}

size_t br__cuda_delta_chunks_scratch(const struct delta *a)
{
    struct carve s = {nullptr, 0};
    struct chunks o;
    return br__cuda_chunks_carve(a, false, &s, &o);
}

void br__cuda_delta_states(const struct br_call *c, const struct delta *a, const struct chunks *o,
                           struct states all)
{
    const dim3 grid((unsigned)br__cuda_most_chunks(a), (unsigned)a->heads);
    const dim3 columns((unsigned)a->seqs.n, (unsigned)a->heads, HEAD / COLS);
    BR_LAUNCH(c, delta_prepare, grid, THREADS, 2 * TILE_BYTES + 2 * CHUNK * PITCH * sizeof(float),
              *o, *a);
    BR_LAUNCH(c, delta_states, columns, THREADS,
              4 * TILE_BYTES + (HEAD + CHUNK) * COLS * sizeof(bf16), *o, *a, all);
}

void br__cuda_delta_chunks(const struct br_call *c, const struct delta *a, struct states all)
{
    struct carve s = {(char *)c->scratch, 0};
    struct chunks o;
    br__cuda_chunks_carve(a, false, &s, &o);
    br__cuda_delta_states(c, a, &o, all);
    BR_LAUNCH(c, delta_results, dim3((unsigned)br__cuda_most_chunks(a), (unsigned)a->heads),
              THREADS, 5 * TILE_BYTES, rows_of(c->out), o, *a);
}
