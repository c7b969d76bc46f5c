/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta_chunk_grad.cu - the gradient of the gated delta rule in chunks.  With the names of
 * delta_chunk.cu, Y the gradient of O, and Z that of the state after the chunk:
 *     dD = scale P' Y + E_last K Z,   R = T' dD,   dA = -R D' below the diagonal
 *     Z of the chunk before = e^(G_last) Z + scale (e^G Q)' Y - W' dD
 *     dQ = scale e^G Y S' + F K        with F = scale E (Y D') on and below the diagonal
 *     dK = beta X + F' Q + E_last D Z' + (beta E dA)' K
 *                                      with X = -e^G R S' + (E dA) K
 *     dV = beta R,   dbeta = R . V + K . X,
 *     dG = Q . dQ + K . (2 beta X - dK), and of the last token more,  dg = the sums of dG from the
 * last token on.
 * Launches: the forward ones without the results; P' Y; dD and the Z, chunk after chunk from the
 * last; R and dV; what a token gets as the later one of two; and as the earlier one. */
#include "delta_chunk.cuh"

/* What the launches hand on, by chunk and head. */
struct chunks_back {
    struct chunks f;
    struct rows y;
    struct delta_grads out;
    bf16 *dd;    /* [CHUNK, HEAD]: scale P' Y, then dD, then R */
    bf16 *after; /* Z, [HEAD, HEAD] */
    float *sums; /* [2, CHUNK]: R . V; then what dG has of the later tokens */
};

/* Of lane's rows, the products with the row of x: a number in each lane.  Whole quads call it. */
BR_INLINE float along_row(float (*x)[4], int e, const bf16 *row)
{
    float sum = 0;
    BR_UNROLL
    for (int j = 0; j < HEAD / 8; j++) {
        BR_UNROLL
        for (int i = e; row && i < e + 2; i++)
            sum = fmaf(x[j][i], f32_of(row[fragment_col(j, i)]), sum);
    }
    sum += gpu_shfl_xor(sum, 1);
    return sum + gpu_shfl_xor(sum, 2);
}

/* Row `token` of a head, or NULL beyond the chunk. */
BR_INLINE const bf16 *row_of(const struct rows &x, const struct chunk &c, int heads, int head,
                             int token)
{
    const int64_t t = c.s.q0 + c.first + token;
    return token < c.n ? (const bf16 *)x.data + x.at((uint32_t)(t * heads + head)) : nullptr;
}

/* The chunk of a block, and the decays up to its tokens; false: there is none. */
BR_INLINE bool begin(const struct delta &a, const struct chunks_back &b, struct chunk *c,
                     float *decay)
{
    if (!find_chunk(a, blockIdx.x, c))
        return false;
    const int64_t at = b.f.index(blockIdx.x, (int)blockIdx.y);
    if (threadIdx.x < CHUNK)
        decay[threadIdx.x] = b.f.decay[at * CHUNK + threadIdx.x];
    return true;
}

BR_INLINE void all_there()
{
    gpu_copy_commit();
    gpu_copy_wait<0>();
    gpu_sync();
}

/* ---- scale P' Y ------------------------------------------------------------------------------ */

/* Grid: chunks by heads.  Shared: q, keys and Y [CHUNK, HEAD]. */
BR_KERNEL(THREADS, 1) delta_back_results(struct chunks_back b, struct delta a)
{
    BR_DYN_SHARED(bf16, q);
    BR_SHARED(float, decay, CHUNK);
    bf16 *k = q + CHUNK * HEAD, *y = k + CHUNK * HEAD;
    const int head = (int)blockIdx.y, keys = a.heads / a.group, key = head / a.group;
    struct chunk c;
    if (!begin(a, b, &c, decay)) /* the whole block leaves */
        return;
    load_head(q, a.q, c, keys, key);
    load_head(k, a.k, c, keys, key);
    load_head(y, b.y, c, a.heads, head);
    all_there();
    float s[CHUNK / 8][4], x[HEAD / 8][4];
    multiply_rows<HEAD, CHUNK>(s, k, (int)threadIdx.x / 32 * 16, q);
    BR_UNROLL
    for (int j = 0; j < CHUNK / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e++) {
            const int row = fragment_row(e), later = fragment_col(j, e);
            s[j][e] = later >= row ? a.scale * expf(decay[later] - decay[row]) * s[j][e] : 0.f;
        }
    }
    clear<HEAD / 8>(x);
    multiply_onto<HEAD, CHUNK>(x, s, y);
    store_tile(b.dd + b.f.index(blockIdx.x, head) * CHUNK * HEAD, x);
}

/* ---- dD and Z -------------------------------------------------------------------------------- */

/* dD of 16 tokens of a warp: into `dd`, and as -dD into `less`. */
BR_INLINE void chunk_back(bf16 *dd, bf16 *less, bf16 *k, bf16 *z, const float *decay)
{
    float x[COLS / 8][4];
    clear<COLS / 8>(x);
    multiply_tiles_onto<HEAD, COLS>(x, k, (int)threadIdx.x / 32 * 16, z);
    BR_UNROLL
    for (int j = 0; j < COLS / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e += 2) {
            const int row = fragment_row(e), col = fragment_col(j, e);
            const float fade = expf(decay[CHUNK - 1] - decay[row]);
            uint32_t *at = (uint32_t *)(void *)(dd + row * HEAD + col);
            const float low = fmaf(fade, x[j][e], gpu_float(*at << 16));
            const float high = fmaf(fade, x[j][e + 1], gpu_float(*at & 0xffff0000u));
            *at = pair_of(low, high);
            *(uint32_t *)(void *)(piece<COLS>(less, row, col / 8) + col % 8) = pair_of(-low, -high);
        }
    }
}

/* scale e^G Y of COLS columns, zeros beyond the chunk. */
BR_INLINE void load_faded(bf16 *to, const struct delta &a, const struct rows &y,
                          const struct chunk &c, const float *decay)
{
    const int head = (int)blockIdx.y, col = (int)blockIdx.z * COLS;
    for (int i = (int)threadIdx.x; i < CHUNK * COLS; i += THREADS) {
        const int row = i / COLS, at = i % COLS;
        const bf16 *from = row_of(y, c, a.heads, head, row);
        const float v = from ? a.scale * expf(decay[row]) * f32_of(from[col + at]) : 0.f;
        piece<COLS>(to, row, at / 8)[at % 8] = bf16_of(v);
    }
}

/* Grid: sequences by heads by COLS columns.  Shared: W, keys and q [CHUNK, HEAD]; Z [HEAD, COLS];
 * -dD and faded Y [CHUNK, COLS]. */
BR_KERNEL(THREADS, 1) delta_back_states(struct chunks_back b, struct delta a)
{
    BR_DYN_SHARED(bf16, w);
    BR_SHARED(float, decay, CHUNK);
    constexpr int size = CHUNK * HEAD;
    bf16 *k = w + size, *q = k + size, *z = q + size, *less = z + HEAD * COLS;
    bf16 *faded = less + CHUNK * COLS;
    const int head = (int)blockIdx.y, col = (int)blockIdx.z * COLS;
    const int keys = a.heads / a.group, key = head / a.group;
    struct chunk c = {{}, 0, 0};
    if (!seq_at(a.seqs, (int)blockIdx.x, a.T, INT64_MAX, &c.s)) /* the whole block leaves */
        return;
    const int64_t number = chunks_before(a, (int)blockIdx.x);
    struct state_part s = {};
    for (int i = (int)div_up(c.s.nq, CHUNK) - 1; i >= 0; i--) {
        const int64_t at = b.f.index(number + i, head);
        c.first = (int64_t)i * CHUNK;
        c.n = (int)min_of(c.s.nq - c.first, CHUNK);
        load_tile(w, b.f.w + at * size, HEAD, CHUNK);
        load_head(k, a.k, c, keys, key);
        load_head(q, a.q, c, keys, key);
        if (threadIdx.x < CHUNK)
            decay[threadIdx.x] = b.f.decay[at * CHUNK + threadIdx.x];
        state_publish(&s, z, b.after + at * HEAD * HEAD + col);
        all_there();
        chunk_back(b.dd + at * size + col, less, k, z, decay);
        load_faded(faded, a, b.y, c, decay);
        gpu_sync();
        s.scale(expf(decay[CHUNK - 1]));
        state_add(&s, q, faded);
        state_add(&s, w, less);
        gpu_sync();
    }
}

/* ---- R and dV -------------------------------------------------------------------------------- */

/* Grid: chunks by heads.  Shared: T [CHUNK, CHUNK] and dD [CHUNK, HEAD]. */
BR_KERNEL(THREADS, 1) delta_back_solve(struct chunks_back b, struct delta a)
{
    BR_DYN_SHARED(bf16, dd);
    bf16 *t = dd + CHUNK * HEAD;
    const int head = (int)blockIdx.y;
    struct chunk c;
    if (!find_chunk(a, blockIdx.x, &c)) /* the whole block leaves */
        return;
    const int64_t at = b.f.index(blockIdx.x, head);
    load_tile(dd, b.dd + at * CHUNK * HEAD, HEAD, CHUNK);
    for (int i = (int)threadIdx.x; i < CHUNK * CHUNK / 8; i += THREADS)
        gpu_copy16_async(piece<CHUNK>(t, i / (CHUNK / 8), i % (CHUNK / 8)),
                         b.f.inverse + at * CHUNK * CHUNK + i * 8, true);
    all_there();
    float x[HEAD / 8][4];
    clear<HEAD / 8>(x);
    multiply_columns_onto<CHUNK, CHUNK, HEAD>(x, t, (int)threadIdx.x / 32 * 16, dd);
    store_tile(b.dd + at * CHUNK * HEAD, x);
    BR_UNROLL
    for (int e = 0; e < 4; e += 2) {
        const int row = fragment_row(e);
        const int64_t token = c.s.q0 + c.first + row;
        const float sum = along_row(x, e, row_of(a.v, c, a.heads, head, row));
        if (row >= c.n)
            continue;
        const float beta = a.gate(a.beta, token, head);
        const int64_t to = b.out.v_at(a, token, head);
        if (threadIdx.x % 4 == 0)
            b.sums[at * 2 * CHUNK + row] = sum;
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++) {
            BR_UNROLL
            for (int i = e; i < e + 2; i++)
                b.out.out.write(to + fragment_col(j, i), beta * x[j][i]);
        }
    }
}

/* ---- a token as the later of two ------------------------------------------------------------- */

/* x[16, HEAD] = y by the state, times `factor` e^G, plus what s = y D' makes of the keys; of those
 * keys that are `gap` tokens earlier or more. */
BR_INLINE void later_rows(float (*x)[4], bf16 *y, bf16 *state, bf16 *d, bf16 *k, const float *decay,
                          float factor, int gap)
{
    const int row = (int)threadIdx.x / 32 * 16;
    float s[CHUNK / 8][4];
    multiply_rows<HEAD, HEAD>(x, y, row, state);
    BR_UNROLL
    for (int e = 0; e < 4; e++) {
        const float fade = factor * expf(decay[fragment_row(e)]);
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++)
            x[j][e] *= fade;
    }
    multiply_rows<HEAD, CHUNK>(s, y, row, d);
    BR_UNROLL
    for (int j = 0; j < CHUNK / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e++) {
            const int mine = fragment_row(e), earlier = fragment_col(j, e);
            s[j][e] =
                earlier + gap <= mine ? factor * expf(decay[mine] - decay[earlier]) * s[j][e] : 0.f;
        }
    }
    multiply_onto<HEAD, CHUNK>(x, s, k);
}

/* Of a row of lane's: x into to[HEAD] times `by`. */
BR_INLINE void put_row(float *to, float (*x)[4], int e, float by)
{
    BR_UNROLL
    for (int j = 0; j < HEAD / 8; j++) {
        BR_UNROLL
        for (int i = e; i < e + 2; i++)
            to[fragment_col(j, i)] = by * x[j][i];
    }
}

/* Grid: chunks by heads.  Shared: Y, then R; keys and D [CHUNK, HEAD]; the state [HEAD, HEAD]. */
BR_KERNEL(THREADS, 1) delta_back_later(struct chunks_back b, struct delta a)
{
    BR_DYN_SHARED(bf16, y);
    BR_SHARED(float, decay, CHUNK);
    constexpr int size = CHUNK * HEAD;
    bf16 *k = y + size, *d = k + size, *state = d + size;
    const int head = (int)blockIdx.y, keys = a.heads / a.group, key = head / a.group;
    struct chunk c;
    if (!begin(a, b, &c, decay)) /* the whole block leaves */
        return;
    const int64_t at = b.f.index(blockIdx.x, head), first = c.s.q0 + c.first;
    float x[HEAD / 8][4], along[2];
    load_head(y, b.y, c, a.heads, head);
    load_head(k, a.k, c, keys, key);
    load_tile(d, b.f.d + at * size, HEAD, CHUNK);
    load_tile(state, b.f.before + at * HEAD * HEAD, HEAD, CHUNK);
    load_tile(state + size, b.f.before + at * HEAD * HEAD + size, HEAD, CHUNK);
    all_there();
    later_rows(x, y, state, d, k, decay, a.scale, 0); /* dQ */
    BR_UNROLL
    for (int e = 0; e < 4; e += 2) {
        const int row = fragment_row(e);
        along[e / 2] = along_row(x, e, row_of(a.q, c, keys, key, row));
        if (row < c.n)
            put_row(b.out.q + ((first + row) * a.heads + head) * HEAD, x, e, 1.f);
    }
    gpu_sync();
    load_tile(y, b.dd + at * size, HEAD, CHUNK);
    all_there();
    later_rows(x, y, state, d, k, decay, -1.f, 1); /* X */
    BR_UNROLL
    for (int e = 0; e < 4; e += 2) {
        const int row = fragment_row(e);
        const float sum = along_row(x, e, row_of(a.k, c, keys, key, row));
        if (row >= c.n)
            continue;
        const float beta = a.gate(a.beta, first + row, head);
        put_row(b.out.k + ((first + row) * a.heads + head) * HEAD, x, e, beta);
        if (threadIdx.x % 4 > 0)
            continue;
        float *sums = b.sums + at * 2 * CHUNK;
        sums[CHUNK + row] = fmaf(beta, sum, along[e / 2]);
        b.out.out.write(b.out.g_at(a, first + row, head) + a.heads, sums[row] + sum);
    }
}

/* ---- a token as the earlier of two ----------------------------------------------------------- */

/* x += s m, s = d y' times `factor` e^(G later - G); by: of the later token, or NULL. */
BR_INLINE void earlier_rows(float (*x)[4], bf16 *d, bf16 *y, bf16 *m, const float *decay,
                            float factor, const float *by)
{
    float s[CHUNK / 8][4];
    multiply_rows<HEAD, CHUNK>(s, d, (int)threadIdx.x / 32 * 16, y);
    BR_UNROLL
    for (int j = 0; j < CHUNK / 8; j++) {
        BR_UNROLL
        for (int e = 0; e < 4; e++) {
            const int mine = fragment_row(e), later = fragment_col(j, e);
            const float each = (by ? by[later] : 1.f) * factor;
            s[j][e] = mine + (by ? 1 : 0) <= later
                          ? each * expf(decay[later] - decay[mine]) * s[j][e]
                          : 0.f;
        }
    }
    multiply_onto<HEAD, CHUNK>(x, s, m);
}

/* The sum of the products of two states' elements, in each thread: one in shared memory, one in
 * scratch. */
BR_INLINE float states_product(bf16 *shared, const bf16 *scratch)
{
    BR_SHARED(float, room, THREADS);
    float sum = 0;
    for (int i = (int)threadIdx.x; i < HEAD * HEAD; i += THREADS) {
        const int row = i / HEAD, col = i % HEAD;
        sum = fmaf(f32_of(piece<HEAD>(shared, row, col / 8)[col % 8]), f32_of(scratch[i]), sum);
    }
    room[threadIdx.x] = sum;
    gpu_sync();
    sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += room[i];
    return sum;
}

/* dg of the chunk's tokens: sums of dG from the last one on.  less: what dG loses as the earlier
 * token; last: what the last one has besides. */
BR_INLINE void put_decays(const struct chunks_back &b, const struct delta &a, const struct chunk &c,
                          float *less, const float *last, float state)
{
    const int head = (int)blockIdx.y, i = (int)threadIdx.x;
    const float *plus = b.sums + b.f.index(blockIdx.x, head) * 2 * CHUNK + CHUNK;
    if (i >= c.n)
        return;
    float sum = state;
    for (int j = 0; j < c.n; j++)
        sum += last[j] + (j >= i ? plus[j] - less[j] : 0.f);
    b.out.out.write(b.out.g_at(a, c.s.q0 + c.first + i, head), sum);
}

/* Grid: chunks by heads.  Shared: D [CHUNK, HEAD]; Z [HEAD, HEAD], then Y and q, then R and keys.
 */
BR_KERNEL(THREADS, 1) delta_back_earlier(struct chunks_back b, struct delta a)
{
    BR_DYN_SHARED(bf16, d);
    BR_SHARED(float, decay, CHUNK);
    BR_SHARED(float, beta, CHUNK);
    BR_SHARED(float, less, CHUNK);
    BR_SHARED(float, last, CHUNK);
    constexpr int size = CHUNK * HEAD;
    bf16 *one = d + size, *two = one + size;
    const int head = (int)blockIdx.y, keys = a.heads / a.group, key = head / a.group;
    const int row0 = (int)threadIdx.x / 32 * 16;
    struct chunk c;
    if (!begin(a, b, &c, decay)) /* the whole block leaves */
        return;
    const int64_t at = b.f.index(blockIdx.x, head), first = c.s.q0 + c.first;
    float x[HEAD / 8][4];
    load_tile(d, b.f.d + at * size, HEAD, CHUNK);
    load_tile(one, b.after + at * HEAD * HEAD, HEAD, CHUNK);
    load_tile(two, b.after + at * HEAD * HEAD + size, HEAD, CHUNK);
    if (threadIdx.x < CHUNK)
        beta[threadIdx.x] =
            (int)threadIdx.x < c.n ? a.gate(a.beta, first + threadIdx.x, head) : 0.f;
    all_there();
    const float end = decay[CHUNK - 1];
    const float state = expf(end) * states_product(one, b.f.before + at * HEAD * HEAD);
    multiply_rows<HEAD, HEAD>(x, d, row0, one);
    BR_UNROLL
    for (int e = 0; e < 4; e++) {
        const float fade = expf(end - decay[fragment_row(e)]);
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++)
            x[j][e] *= fade;
    }
    BR_UNROLL
    for (int e = 0; e < 4; e += 2) {
        const float sum = along_row(x, e, row_of(a.k, c, keys, key, fragment_row(e)));
        if (threadIdx.x % 4 == 0)
            last[fragment_row(e)] = sum;
    }
    gpu_sync();
    load_head(one, b.y, c, a.heads, head);
    load_head(two, a.q, c, keys, key);
    all_there();
    earlier_rows(x, d, one, two, decay, a.scale, nullptr);
    gpu_sync();
    load_tile(one, b.dd + at * size, HEAD, CHUNK);
    load_head(two, a.k, c, keys, key);
    all_there();
    earlier_rows(x, d, one, two, decay, -1.f, beta);
    BR_UNROLL
    for (int e = 0; e < 4; e += 2) {
        const int row = fragment_row(e);
        const float sum = along_row(x, e, row_of(a.k, c, keys, key, row));
        if (threadIdx.x % 4 == 0)
            less[row] = sum;
        float *to = b.out.k + ((first + row) * a.heads + head) * HEAD;
        BR_UNROLL
        for (int j = 0; j < HEAD / 8; j++) {
            BR_UNROLL
            for (int i = e; row < c.n && i < e + 2; i++)
                to[fragment_col(j, i)] += x[j][i];
        }
    }
    gpu_sync();
    put_decays(b, a, c, less, last, state);
}

/* ---- launch ---------------------------------------------------------------------------------- */

bool br__cuda_delta_back_suits_chunks(const struct delta *a, const struct rows *y)
{
    return br__cuda_delta_suits_chunks(a, y) && is_aligned(y, 8);
}

static size_t back_carve(const struct delta *a, void *scratch, struct chunks_back *b)
{
    struct carve s = {(char *)scratch, 0};
    const int64_t n = br__cuda_most_chunks(a) * a->heads;
    br__cuda_chunks_carve(a, true, &s, &b->f);
    b->dd = carve_out<bf16>(&s, n * CHUNK * HEAD);
    b->after = carve_out<bf16>(&s, n * HEAD * HEAD);
    b->sums = carve_out<float>(&s, n * 2 * CHUNK);
    return s.used;
}

size_t br__cuda_delta_back_chunks_scratch(const struct delta *a)
{
    struct chunks_back b;
    return back_carve(a, nullptr, &b);
}

void br__cuda_delta_back_chunks(const struct br_call *c, const struct delta *a,
                                const struct delta_grads *out, void *scratch)
{
    struct chunks_back b;
    back_carve(a, scratch, &b);
    b.y = rows_of(&c->in[6]);
    b.out = *out;
    const dim3 grid((unsigned)br__cuda_most_chunks(a), (unsigned)a->heads);
    const dim3 columns((unsigned)a->seqs.n, (unsigned)a->heads, HEAD / COLS);
    const size_t parts = (HEAD + 2 * CHUNK) * COLS * sizeof(bf16);
    br__cuda_delta_states(c, a, &b.f, states{nullptr, 0, {0, 0, 0}});
    BR_LAUNCH(c, delta_back_results, grid, THREADS, 3 * TILE_BYTES, b, *a);
    BR_LAUNCH(c, delta_back_states, columns, THREADS, 3 * TILE_BYTES + parts, b, *a);
    BR_LAUNCH(c, delta_back_solve, grid, THREADS, TILE_BYTES + CHUNK * CHUNK * sizeof(bf16), b, *a);
    BR_LAUNCH(c, delta_back_later, grid, THREADS, 5 * TILE_BYTES, b, *a);
    BR_LAUNCH(c, delta_back_earlier, grid, THREADS, 3 * TILE_BYTES, b, *a);
}
