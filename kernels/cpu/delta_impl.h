/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta_impl.h - the gated delta rule (Yang et al. 2024, "Gated Delta Networks").
 *
 * Needs: vec_ops_impl.h, small_gemm_impl.h.  Defines: the kernel delta_rule; struct delta and
 * delta_of for delta_grad_impl.h.
 *
 * STEP tokens at a time, for which the state is read once and written once.  With G the running sum
 * of g inside of the step and S the state before it:
 *     d_i = beta_i (v_i - e^G_i S'k_i) - sum over j < i of beta_i e^(G_i - G_j) (k_i . k_j) d_j
 *     o_i = f0 (e^G_i S'q_i + sum over j <= i of e^(G_i - G_j) (q_i . k_j) d_j)
 *     S  <- e^G_last S + sum over j of e^(G_last - G_j) k_j d_j'
 * For one token this is the recurrence itself.  A short step costs the products of the recurrence
 * and little more; a longer one pays for more and more pairs.  Columns of the state are
 * independent: if there are fewer heads than threads, threads share out the columns of a head. */

#define STEP 16

struct delta {
    const struct br_call *c;
    const struct br_tensor *q, *k, *v, *g, *beta, *seqs, *states;
    int64_t T, heads, group, dk, dv; /* value heads; of them to a key head */
    int64_t parts, width;            /* of the columns of a head */
    float scale;
};

static struct delta delta_of(const struct br_call *c)
{
    struct delta a = {.c = c, .q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .g = &c->in[3]};
    a.beta = &c->in[4];
    a.seqs = &c->in[5];
    a.T = a.v->shape[0];
    a.heads = a.v->shape[1];
    a.group = a.heads / a.k->shape[1];
    a.dk = a.k->shape[2];
    a.dv = a.v->shape[2];
    a.scale = (float)c->attr.f[0];
    return a;
}

/* One thread's workspace, for `width` columns of a head. */
struct delta_room {
    float *x;       /* [2 STEP, dk]: e^G_i beta_i k_i, then e^G_i f0 q_i */
    float *k;       /* [STEP, dk]: e^(G_last - G_j) k_j */
    float *kk, *qk; /* [STEP, STEP]: the factors of d_j in d_i and o_i */
    float *d;       /* [2 STEP, width]: products of x with the state; d itself in the first half */
    float *state;   /* [dk, width], of a sequence that has none to keep */
};

BR__INLINE size_t delta_floats(const struct delta *a)
{
    return 3 * br__line(STEP * a->dk) + 2 * br__line(STEP * STEP) + br__line(2 * STEP * a->dv) +
           br__line(a->dk * a->dv);
}

static struct delta_room delta_carve(const struct delta *a, float **scratch)
{
    struct delta_room w;
    w.x = br__carve(scratch, 2 * STEP * a->dk);
    w.k = br__carve(scratch, STEP * a->dk);
    w.kk = br__carve(scratch, STEP * STEP);
    w.qk = br__carve(scratch, STEP * STEP);
    w.d = br__carve(scratch, 2 * STEP * a->dv);
    w.state = br__carve(scratch, a->dk * a->dv);
    return w;
}

/* Pairwise factors of n tokens from row t on, shared by all columns; returns e^G_last. */
static float delta_pairs(const struct delta *a, const struct delta_room *w, int64_t t, int64_t n,
                         int64_t head)
{
    double G[STEP], sum = 0; /* differences of long sums must keep their digits */
    int64_t key = head / a->group, dk = a->dk;
    for (int64_t i = 0; i < n; i++)
        G[i] = sum += (double)br__row(a->g, t + i)[head];
    for (int64_t i = 0; i < n; i++) {
        const float *k = br__head(a->k, t + i, key), *q = br__head(a->q, t + i, key);
        float beta = br__row(a->beta, t + i)[head], fade = expf((float)G[i]);
        scaled(w->x + i * dk, k, fade * beta, dk);
        scaled(w->x + (n + i) * dk, q, fade * a->scale, dk);
        scaled(w->k + i * dk, k, expf((float)(sum - G[i])), dk);
        for (int64_t j = 0; j <= i; j++) {
            const float *kj = br__head(a->k, t + j, key);
            float e = expf((float)(G[i] - G[j]));
            w->kk[i * STEP + j] = beta * e * dot(k, kj, dk);
            w->qk[i * STEP + j] = a->scale * e * dot(q, kj, dk);
        }
        zero(w->qk + i * STEP + i + 1, STEP - i - 1);
    }
    return expf((float)sum);
}

/* n tokens from row t on, columns [col, col + m) of a head, whose state they find and leave. */
static void delta_step(const struct delta *a, const struct delta_room *w, int64_t t, int64_t n,
                       int64_t head, int64_t col, int64_t m, float *state, int64_t ld)
{
    float fade = delta_pairs(a, w, t, n, head), *o = w->d + n * m;
    small_gemm(&(struct small_gemm){w->x, a->dk, 1, state, ld, w->d, m, 0}, 2 * n, m, a->dk);
    for (int64_t i = 0; i < n; i++) {
        float *d = w->d + i * m;
        scaled(d, d, -1, m);
        add_scaled(d, br__head(a->v, t + i, head) + col, br__row(a->beta, t + i)[head], m);
        for (int64_t j = 0; j < i; j++)
            add_scaled(d, w->d + j * m, -w->kk[i * STEP + j], m);
    }
    small_gemm(&(struct small_gemm){w->qk, STEP, 1, w->d, m, o, m, 1}, n, m, n);
    for (int64_t i = 0; i < n; i++)
        copy(br__head(a->c->out, t + i, head) + col, o + i * m, m);
    small_gemm(&(struct small_gemm){w->k, 1, a->dk, w->d, m, state, ld, fade}, a->dk, m, n);
}

static void delta_item(const struct delta *a, const struct delta_room *w, const struct br__seq *s,
                       int64_t head, int64_t part)
{
    int64_t col = part * a->width, m = min_of(a->dv - col, a->width), ld = m;
    float *state = w->state;
    if (m <= 0)
        return;
    if (a->states && s->slot >= 0 && s->slot < a->states->shape[0]) {
        const struct br_tensor *all = a->states;
        state = (float *)all->data + s->slot * all->stride[0] + head * all->stride[1] + col;
        ld = all->stride[2];
    }
    if (state == w->state || s->nk == s->nq)
        for (int64_t r = 0; r < a->dk; r++)
            zero(state + r * ld, m);
    for (int64_t t = 0; t < s->nq; t += STEP)
        delta_step(a, w, s->q0 + t, min_of(s->nq - t, STEP), head, col, m, state, ld);
}

size_t BR__FN(delta_rule_scratch)(const struct br_call *c)
{
    struct delta a = delta_of(c);
    return delta_floats(&a) * c->stream->n_threads * sizeof(float);
}

void BR__FN(delta_rule)(const struct br_call *c)
{
    struct delta a = delta_of(c);
    float *scratch = (float *)c->scratch + c->stream->thread * delta_floats(&a);
    struct delta_room w = delta_carve(&a, &scratch);
    int64_t threads = c->stream->n_threads, heads = a.heads * a.seqs->shape[0];
    a.states = c->n_in > 6 ? &c->in[6] : NULL;
    a.parts = heads > 0 && heads < threads ? (threads + heads - 1) / heads : 1;
    a.width = ((a.dv + a.parts - 1) / a.parts + VN - 1) / VN * VN;
    zero_unowned_rows(c, a.seqs, INT64_MAX);
    struct br__share share = br__share(c, heads * a.parts);
    for (int64_t i; br__share_next(&share, &i);) {
        struct br__seq s;
        int64_t head = i / a.parts;
        if (br__seq_at(a.seqs, head / a.heads, a.T, INT64_MAX, &s))
            delta_item(&a, &w, &s, head % a.heads, i % a.parts);
    }
}
