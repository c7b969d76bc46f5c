/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* delta_grad_impl.h - the gradient of the gated delta rule, token by token backwards.
 *
 * Needs: delta_impl.h.  Defines: the kernel delta_rule_grad.
 *
 * The states that the backward pass needs are computed again: the first pass keeps one of every
 * CHUNK tokens; the backward pass recomputes those of a chunk from the one kept at its start.  A
 * work item is one key head of one sequence with all value heads that share it. */

#define CHUNK 64

struct delta_back {
    float *kept;  /* the state before tokens 0, CHUNK, 2 CHUNK, ..: [dk, dv] each */
    float *state; /* before and after each token of a chunk: CHUNK + 1 */
    float *ds;    /* gradient of the state */
    float *miss;  /* [CHUNK, dv]: v - S'k of each token of the chunk */
    float *d, *dd, *dkv;
};

BR__INLINE int64_t chunks_of(int64_t n)
{
    return (n + CHUNK - 1) / CHUNK;
}

BR__INLINE size_t delta_back_floats(const struct delta *a)
{
    return br__line((chunks_of(a->T) + CHUNK + 2) * a->dk * a->dv) + br__line(CHUNK * a->dv) +
           3 * br__line(a->dv);
}

static struct delta_back delta_back_carve(const struct delta *a, float *scratch)
{
    struct delta_back b;
    int64_t size = a->dk * a->dv;
    b.kept = br__carve(&scratch, (chunks_of(a->T) + CHUNK + 2) * size);
    b.state = b.kept + chunks_of(a->T) * size;
    b.ds = b.state + (CHUNK + 1) * size;
    b.miss = br__carve(&scratch, CHUNK * a->dv);
    b.d = br__carve(&scratch, a->dv);
    b.dd = br__carve(&scratch, a->dv);
    b.dkv = br__carve(&scratch, a->dv);
    return b;
}

size_t BR__FN(delta_rule_grad_scratch)(const struct br_call *c)
{
    struct delta a = delta_of(c);
    return delta_back_floats(&a) * c->stream->n_threads * sizeof(float);
}

/* The state after token t from the one before; miss = v - e^g S'k. */
static void delta_forward(const struct delta *a, int64_t t, int64_t head, const float *before,
                          float *after, float *miss)
{
    int64_t dv = a->dv;
    const float *k = br__head(a->k, t, head / a->group);
    float fade = expf(br__row(a->g, t)[head]), beta = br__row(a->beta, t)[head];
    copy(miss, br__head(a->v, t, head), dv);
    for (int64_t i = 0; i < a->dk; i++)
        add_scaled(miss, before + i * dv, -fade * k[i], dv);
    for (int64_t i = 0; i < a->dk; i++) {
        scaled(after + i * dv, before + i * dv, fade, dv);
        add_scaled(after + i * dv, miss, beta * k[i], dv);
    }
}

/* Where the gradients of token t lie in its output row. */
struct delta_grads {
    float *q, *k, *v, *g, *beta;
};

static struct delta_grads delta_grads_of(const struct delta *a, int64_t t, int64_t head)
{
    int64_t key = head / a->group, keys = a->heads / a->group * a->dk;
    float *row = br__row(a->c->out, t), *v = row + 2 * keys, *g = v + a->heads * a->dv;
    return (struct delta_grads){row + key * a->dk, row + keys + key * a->dk, v + head * a->dv,
                                g + head, g + a->heads + head};
}

/* b->ds: gradient of the state after token t on entry, of the one before it on return. */
static void delta_backward(const struct delta *a, const struct delta_back *b, int64_t t,
                           int64_t head, const float *before, const float *after, const float *miss)
{
    struct delta_grads out = delta_grads_of(a, t, head);
    int64_t dv = a->dv, key = head / a->group;
    const float *k = br__head(a->k, t, key), *q = br__head(a->q, t, key);
    const float *y = br__head(&a->c->in[6], t, head);
    float fade = expf(br__row(a->g, t)[head]), beta = br__row(a->beta, t)[head], dg = 0;
    zero(b->dd, dv);
    for (int64_t i = 0; i < a->dk; i++) { /* through o = S'q, and S += k d' to d */
        float *ds = b->ds + i * dv;
        out.q[i] += a->scale * dot(after + i * dv, y, dv);
        add_scaled(ds, y, a->scale * q[i], dv);
        add_scaled(b->dd, ds, k[i], dv);
    }
    scaled(b->d, miss, beta, dv);
    scaled(out.v, b->dd, beta, dv);
    scaled(b->dkv, b->dd, -beta, dv);
    *out.beta = dot(b->dd, miss, dv);
    for (int64_t i = 0; i < a->dk; i++) { /* through S'k and the decay to the state before */
        float *ds = b->ds + i * dv;
        const float *was = before + i * dv;
        out.k[i] += dot(ds, b->d, dv) + fade * dot(was, b->dkv, dv);
        add_scaled(ds, b->dkv, k[i], dv);
        dg += dot(ds, was, dv);
        scaled(ds, ds, fade, dv);
    }
    *out.g = fade * dg;
}

/* One value head of a sequence; dq and dk are added to. */
static void delta_back_head(const struct delta *a, const struct delta_back *b,
                            const struct br__seq *s, int64_t head)
{
    int64_t size = a->dk * a->dv, spans = chunks_of(s->nq);
    float *now = b->state, *next = b->state + size;
    zero(now, size);
    for (int64_t t = 0; t < s->nq; t++) {
        if (t % CHUNK == 0)
            copy(b->kept + t / CHUNK * size, now, size);
        delta_forward(a, s->q0 + t, head, now, next, b->miss);
        float *swap = now;
        now = next;
        next = swap;
    }
    zero(b->ds, size);
    for (int64_t span = spans - 1; span >= 0; span--) {
        int64_t t = s->q0 + span * CHUNK, n = min_of(s->nq - span * CHUNK, CHUNK);
        copy(b->state, b->kept + span * size, size);
        for (int64_t i = 0; i < n; i++)
            delta_forward(a, t + i, head, b->state + i * size, b->state + (i + 1) * size,
                          b->miss + i * a->dv);
        for (int64_t i = n - 1; i >= 0; i--)
            delta_backward(a, b, t + i, head, b->state + i * size, b->state + (i + 1) * size,
                           b->miss + i * a->dv);
    }
}

void BR__FN(delta_rule_grad)(const struct br_call *c)
{
    struct delta a = delta_of(c);
    struct delta_back b =
        delta_back_carve(&a, (float *)c->scratch + c->stream->thread * delta_back_floats(&a));
    int64_t keys = a.heads / a.group;
    zero_unowned_rows(c, a.seqs, INT64_MAX);
    struct br__share share = br__share(c, a.seqs->shape[0] * keys);
    for (int64_t i; br__share_next(&share, &i);) {
        struct br__seq s;
        int64_t key = i % keys;
        if (!br__seq_at(a.seqs, i / keys, a.T, INT64_MAX, &s))
            continue;
        for (int64_t t = s.q0; t < s.q0 + s.nq; t++) {
            struct delta_grads g = delta_grads_of(&a, t, key * a.group);
            zero(g.q, a.dk);
            zero(g.k, a.dk);
        }
        for (int64_t h = key * a.group; h < (key + 1) * a.group; h++)
            delta_back_head(&a, &b, &s, h);
    }
}
