/* attention_body.h - causal attention of grouped heads over sequences, and its gradient.
 *
 * Scores are never stored as a whole: query rows meet one block of keys after the other with a
 * running maximum and sum (Milakov and Gimelshein 2018; Dao et al. 2022).  All query heads of a
 * group share a key head, so they are rows of one matrix: row r is query r / group, head r % group.
 * A block of keys is turned round once for many rows; a few rows (decoding) take dot products with
 * the keys as they lie, four keys at a time for all heads so that memory is read from end to end,
 * and share out the keys of one sequence instead: `parts` of them, each with its own maximum and
 * sum, which are merged at the end.  Every choice depends on shapes and on seqs only, so that the
 * result does not depend on the number of lanes. */

#define KEYS 64       /* of a block: with two of d = 128 it fits the second cache */
#define MANY_ROWS 192 /* rows that share a block of keys once it is turned round */
#define FEW_KEYS 32   /* of a block when decoding, all heads of it; a multiple of 4 */
#define MOST_PARTS 16
#define FEW_ROWS 16 /* up to so many rows a sequence counts as decoding */

struct attention {
    const struct br_call *c;
    const struct br_tensor *q, *k, *v, *seqs;
    int64_t T, S, heads, kv_heads, group, d, window;
    int64_t block; /* queries of a work item */
    int64_t parts; /* of the keys of a decoding sequence */
    float scale;
};

static struct attention attention_of(const struct br_call *c)
{
    struct attention a = {
        .c = c, .q = &c->in[0], .k = &c->in[1], .v = &c->in[2], .seqs = &c->in[3]};
    a.T = a.q->shape[0];
    a.heads = a.q->shape[1];
    a.d = a.q->shape[2];
    a.S = a.k->shape[0];
    a.kv_heads = a.k->shape[1];
    a.group = a.heads / a.kv_heads;
    a.window = c->attr.i[0];
    a.scale = (float)c->attr.f[0];
    a.block = a.group < MANY_ROWS ? MANY_ROWS / a.group : 1;
    a.parts = a.T > 0 && a.T < 64 ? 64 / a.T : 1;
    a.parts = a.parts > MOST_PARTS ? MOST_PARTS : a.parts;
    return a;
}

BR__INLINE int is_few(const struct attention *a, const struct br__seq *s)
{
    return s->nq * a->group <= FEW_ROWS;
}

/* Work items of a sequence. */
BR__INLINE int64_t items_of(const struct attention *a, const struct br__seq *s)
{
    return is_few(a, s) ? a->parts : (s->nq + a->block - 1) / a->block * a->kv_heads;
}

/* ---- one lane's workspace ---------------------------------------------------------------------
 */

struct rows {
    float *q, *o;     /* [rows, d] */
    float *max, *sum; /* [rows] */
    float *kt;        /* [d, KEYS] */
    float *kv;        /* [KEYS, d]: keys or values as float32, if they are not already */
    float *s;         /* scores: [PANEL_M, KEYS], or [rows of all heads, FEW_KEYS] */
};

BR__INLINE int64_t most_rows(const struct attention *a)
{
    int64_t n = a->block * a->group, few = FEW_ROWS * a->kv_heads;
    return n < few ? few : n;
}

BR__INLINE int64_t score_floats(const struct attention *a)
{
    int64_t few = FEW_ROWS * a->kv_heads * FEW_KEYS, many = PANEL_M * KEYS;
    return few < many ? many : few;
}

BR__INLINE size_t rows_floats(const struct attention *a)
{
    int64_t n = most_rows(a);
    return 2 * br__line(n * a->d) + 2 * br__line(n) + 2 * br__line(a->d * KEYS) +
           br__line(score_floats(a));
}

static struct rows rows_carve(const struct attention *a, float **scratch)
{
    int64_t n = most_rows(a);
    struct rows w;
    w.q = br__carve(scratch, n * a->d);
    w.o = br__carve(scratch, n * a->d);
    w.max = br__carve(scratch, n);
    w.sum = br__carve(scratch, n);
    w.kt = br__carve(scratch, a->d * KEYS);
    w.kv = br__carve(scratch, a->d * KEYS);
    w.s = br__carve(scratch, score_floats(a));
    return w;
}

/* Rows of head h of x[S, H, d] from `row` on as float32, *ld apart: as they lie, or widened. */
static const float *float_rows(const struct br_tensor *x, int64_t row, int64_t n, int64_t h,
                               float *room, int64_t *ld)
{
    int64_t d = x->shape[2], at = row * x->stride[0] + h * x->stride[1];
    *ld = x->dtype == BR_F32 ? x->stride[0] : d;
    if (x->dtype == BR_F32)
        return (const float *)x->data + at;
    for (int64_t i = 0; i < n; i++)
        widen(room + i * d, x, at + i * x->stride[0], d);
    return room;
}

/* Ask for rows of a head that come next. */
static void fetch_rows(const struct br_tensor *x, int64_t row, int64_t n, int64_t h)
{
    int64_t each = br__float_size(x->dtype), bytes = x->shape[2] * each;
    const char *p = (const char *)x->data + (row * x->stride[0] + h * x->stride[1]) * each;
    for (int64_t i = 0; i < n; i++, p += x->stride[0] * each)
        for (int64_t b = 0; b < bytes; b += 64)
            __builtin_prefetch(p + b, 0, 2);
}

/* t[d, KEYS] = x[n, d] turned round */
static void turn_round(float *t, const float *x, int64_t ld, int64_t n, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= n; j += 8) {
        const float *r = x + j * ld;
        for (int64_t i = 0; i < d; i++)
            for (int64_t u = 0; u < 8; u++)
                t[i * KEYS + j + u] = r[u * ld + i];
    }
    for (; j < n; j++)
        for (int64_t i = 0; i < d; i++)
            t[i * KEYS + j] = x[j * ld + i];
}

/* ---- rows meet a block of keys ------------------------------------------------------------------
 */

/* The block's keys [first, end) that a row sees; key 0 of the block is key k of the sequence, and
 * the row's own key is `own`. */
BR__INLINE void visible(const struct attention *a, int64_t own, int64_t k, int64_t n,
                        int64_t *first, int64_t *end)
{
    *first = a->window > 0 && own - a->window + 1 > k ? own - a->window + 1 - k : 0;
    *end = own + 1 - k < n ? own + 1 - k : n;
}

/* Turn a row's scores of keys [first, end) into weights, those of the other keys of 0..n into
 * zeros, and bring what the row has summed up so far to the new maximum. */
static void weigh(float *s, int64_t first, int64_t end, int64_t n, float *max, float *sum, float *o,
                  int64_t d)
{
    if (end <= first) {
        zero(s, n);
        return;
    }
    float most = largest(s + first, end - first);
    if (most > *max) {
        float fade = expf(*max - most);
        *max = most;
        *sum *= fade;
        scaled(o, o, fade, d);
    }
    *sum += exp_row(s + first, s + first, *max, end - first);
    zero(s, first);
    zero(s + end, n - end);
}

/* Rows i .. i + m of a work item and keys k .. k + n of the sequence, which kt and values hold. */
static void meet(const struct attention *a, const struct rows *w, int64_t i, int64_t m, int64_t own,
                 int64_t k, int64_t n, const float *values, int64_t ld)
{
    int64_t first, end, unused;
    visible(a, own + (i + m - 1) / a->group, k, n, &unused, &end); /* the last row sees furthest */
    visible(a, own + i / a->group, k, n, &first, &unused);
    if (end <= first)
        return;
    multiply(&(struct panel_product){w->q + i * a->d, a->d, 1, w->kt, KEYS, w->s, KEYS, 0}, m, end,
             a->d);
    for (int64_t r = 0; r < m; r++) {
        int64_t from, to;
        visible(a, own + (i + r) / a->group, k, n, &from, &to);
        weigh(w->s + r * KEYS, from, to, end, w->max + i + r, w->sum + i + r, w->o + (i + r) * a->d,
              a->d);
    }
    multiply(&(struct panel_product){w->s, KEYS, 1, values, ld, w->o + i * a->d, a->d, 1}, m, a->d,
             end);
}

static void rows_begin(const struct attention *a, const struct rows *w, const struct br__seq *s,
                       int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0; r < n * a->group; r++) {
        const float *q =
            br__head(a->q, s->q0 + query + r / a->group, kv_head * a->group + r % a->group);
        scaled(w->q + r * a->d, q, a->scale, a->d);
        w->max[r] = -INFINITY;
        w->sum[r] = 0;
    }
    zero(w->o, n * a->group * a->d);
}

/* Queries query .. query + n of a sequence over the keys that they see. */
static void attend(const struct attention *a, const struct rows *w, const struct br__seq *s,
                   int64_t query, int64_t n, int64_t kv_head)
{
    int64_t own = s->nk - s->nq + query, m = n * a->group, ld, to = own + n;
    int64_t from = a->window > 0 && own - a->window + 1 > 0 ? own - a->window + 1 : 0;
    rows_begin(a, w, s, query, n, kv_head);
    for (int64_t k = from; k < to; k += KEYS) {
        int64_t keys = to - k < KEYS ? to - k : KEYS;
        int64_t coming = to - k - keys < KEYS ? to - k - keys : KEYS;
        fetch_rows(a->k, s->k0 + k + keys, coming, kv_head);
        fetch_rows(a->v, s->k0 + k + keys, coming, kv_head);
        const float *x = float_rows(a->k, s->k0 + k, keys, kv_head, w->kv, &ld);
        turn_round(w->kt, x, ld, keys, a->d);
        x = float_rows(a->v, s->k0 + k, keys, kv_head, w->kv, &ld);
        for (int64_t i = 0; i < m; i += PANEL_M)
            meet(a, w, i, m - i < PANEL_M ? m - i : PANEL_M, own, k, keys, x, ld);
    }
}

/* The rows of a head when all heads of a few queries are under way. */
BR__INLINE struct rows rows_of_head(const struct attention *a, const struct rows *w,
                                    const struct br__seq *s, int64_t kv_head)
{
    int64_t first = kv_head * s->nq * a->group;
    struct rows h = *w;
    h.q += first * a->d;
    h.o += first * a->d;
    h.max += first;
    h.sum += first;
    return h;
}

/* ---- a few rows, all heads of them, meet keys as they lie
 * ---------------------------------------- */

/* Rows of head h of x[S, H, d] from `row` on: four, the last one repeated where there are only n.
 * Those of the next four are asked for. */
BR__INLINE void four_rows(const char *at[4], const struct br_tensor *x, int64_t row, int64_t n,
                          int64_t h)
{
    int64_t size = br__float_size(x->dtype);
    for (int64_t u = 0; u < 4; u++) {
        int64_t r = row + (u < n ? u : n - 1);
        at[u] = (const char *)x->data + (r * x->stride[0] + h * x->stride[1]) * size;
    }
    fetch_rows(x, row + 4, n - 4 < 4 ? n - 4 : 4, h);
}

/* s[4] = q . k[u] */
BR__INLINE void four_scores(float *s, const float *q, const char *const k[4], int64_t d,
                            const uint32_t dtype)
{
    vf sum[4];
    int64_t i = 0;
    BR__UNROLL for (int u = 0; u < 4; u++) sum[u] = v_zero();
    for (; i + VN <= d; i += VN) {
        vf x = v_load(q + i);
        BR__UNROLL for (int u = 0; u < 4; u++) sum[u] = v_fma(x, load_w(k[u], i, dtype), sum[u]);
    }
    if (i < d) {
        int m = (int)(d - i);
        vf x = v_load_n(q + i, m);
        BR__UNROLL for (int u = 0; u < 4; u++) sum[u] =
            v_fma(x, load_w_n(k[u], i, dtype, m), sum[u]);
    }
    v_sum4(s, sum);
}

/* o += sum of s[u] v[u] */
BR__INLINE void four_values(float *o, const float *s, const char *const v[4], int64_t d,
                            const uint32_t dtype)
{
    int64_t i = 0;
    for (; i + VN <= d; i += VN) {
        vf x = v_load(o + i);
        BR__UNROLL for (int u = 0; u < 4; u++) x = v_fma(v_set1(s[u]), load_w(v[u], i, dtype), x);
        v_store(o + i, x);
    }
    if (i < d) {
        int m = (int)(d - i);
        vf x = v_load_n(o + i, m);
        BR__UNROLL for (int u = 0; u < 4; u++) x =
            v_fma(v_set1(s[u]), load_w_n(v[u], i, dtype, m), x);
        v_store_n(o + i, x, m);
    }
}

/* Scores of all rows (m of each head) with n keys from `row` of k on, or with them the values' part
 * of the outputs. */
BR__INLINE void few_pass(const struct attention *a, const struct rows *w, const struct br_tensor *x,
                         int64_t row, int64_t n, int64_t m, const int values, const uint32_t dtype)
{
    for (int64_t j = 0; j < n; j += 4)
        for (int64_t h = 0; h < a->kv_heads; h++) {
            const char *at[4];
            four_rows(at, x, row + j, n - j, h);
            for (int64_t r = h * m; r < (h + 1) * m; r++) {
                if (values)
                    four_values(w->o + r * a->d, w->s + r * FEW_KEYS + j, at, a->d, dtype);
                else
                    four_scores(w->s + r * FEW_KEYS + j, w->q + r * a->d, at, a->d, dtype);
            }
        }
}

/* A function for each dtype. */
#define FEW_PASS(name, values, dtype)                                                              \
    static void name(const struct attention *a, const struct rows *w, const struct br_tensor *x,   \
                     int64_t row, int64_t n, int64_t m)                                            \
    {                                                                                              \
        few_pass(a, w, x, row, n, m, values, dtype);                                               \
    }
FEW_PASS(scores_f32, 0, BR_F32)
FEW_PASS(scores_bf16, 0, BR_BF16)
FEW_PASS(values_f32, 1, BR_F32)
FEW_PASS(values_bf16, 1, BR_BF16)

typedef void few_pass_fn(const struct attention *a, const struct rows *w, const struct br_tensor *x,
                         int64_t row, int64_t n, int64_t m);

static few_pass_fn *few_pass_for(uint32_t dtype, int values)
{
    if (dtype == BR_F32)
        return values ? values_f32 : scores_f32;
    return values ? values_bf16 : scores_bf16;
}

/* All queries and heads of a sequence of few over its keys [from, to). */
static void attend_few(const struct attention *a, const struct rows *w, const struct br__seq *s,
                       int64_t from, int64_t to)
{
    int64_t own = s->nk - s->nq, m = s->nq * a->group;
    for (int64_t h = 0; h < a->kv_heads; h++) {
        struct rows part = rows_of_head(a, w, s, h);
        rows_begin(a, &part, s, 0, s->nq, h);
    }
    if (a->window > 0 && from < own - a->window + 1)
        from = own - a->window + 1;
    for (int64_t k = from; k < to; k += FEW_KEYS) {
        int64_t n = to - k < FEW_KEYS ? to - k : FEW_KEYS;
        few_pass_for(a->k->dtype, 0)(a, w, a->k, s->k0 + k, n, m);
        for (int64_t r = 0; r < m * a->kv_heads; r++) {
            int64_t first, end;
            visible(a, own + r % m / a->group, k, n, &first, &end);
            weigh(w->s + r * FEW_KEYS, first, end, FEW_KEYS, w->max + r, w->sum + r,
                  w->o + r * a->d, a->d);
        }
        few_pass_for(a->v->dtype, 1)(a, w, a->v, s->k0 + k, n, m);
    }
}

/* ---- forward -----------------------------------------------------------------------------------
 */

/* What a part of the keys made of a row: maximum, sum, and d unscaled outputs. */
BR__INLINE float *partial(const struct attention *a, int64_t t, int64_t head, int64_t part)
{
    int64_t i = (t * a->heads + head) * a->parts + part;
    return (float *)a->c->scratch + i * (int64_t)br__line(a->d + 2);
}

BR__INLINE size_t partial_floats(const struct attention *a)
{
    return a->parts > 1 ? a->T * a->heads * a->parts * br__line(a->d + 2) : 0;
}

size_t BR__FN(attention_scratch)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    return (partial_floats(&a) + rows_floats(&a) * c->team->n_lanes) * sizeof(float);
}

static void store_rows(const struct attention *a, const struct rows *w, const struct br__seq *s,
                       int64_t query, int64_t n, int64_t kv_head)
{
    for (int64_t r = 0; r < n * a->group; r++)
        scaled(
            br__head(&a->c->out, s->q0 + query + r / a->group, kv_head * a->group + r % a->group),
            w->o + r * a->d, 1 / w->sum[r], a->d);
}

static void store_partial(const struct attention *a, const struct rows *w, const struct br__seq *s,
                          int64_t kv_head, int64_t part)
{
    for (int64_t r = 0; r < s->nq * a->group; r++) {
        float *p = partial(a, s->q0 + r / a->group, kv_head * a->group + r % a->group, part);
        p[0] = w->max[r];
        p[1] = w->sum[r];
        copy(p + 2, w->o + r * a->d, a->d);
    }
}

static void few_item(const struct attention *a, const struct rows *w, const struct br__seq *s,
                     int64_t part)
{
    int64_t each = ((s->nk + a->parts - 1) / a->parts + 15) / 16 * 16, from = part * each;
    attend_few(a, w, s, from, from + each < s->nk ? from + each : s->nk);
    for (int64_t h = 0; h < a->kv_heads; h++) {
        struct rows rows = rows_of_head(a, w, s, h);
        if (a->parts > 1)
            store_partial(a, &rows, s, h, part);
        else
            store_rows(a, &rows, s, 0, s->nq, h);
    }
}

/* Item i of a sequence's blocks x key heads; the last blocks see most keys and come first. */
static void attention_item(const struct attention *a, const struct rows *w, const struct br__seq *s,
                           int64_t i)
{
    if (is_few(a, s)) {
        few_item(a, w, s, i);
        return;
    }
    int64_t kv_head = i % a->kv_heads, blocks = items_of(a, s) / a->kv_heads;
    int64_t query = (blocks - 1 - i / a->kv_heads) * a->block;
    int64_t n = s->nq - query < a->block ? s->nq - query : a->block;
    attend(a, w, s, query, n, kv_head);
    store_rows(a, w, s, query, n, kv_head);
}

static void merge_parts(const struct attention *a, int64_t t, int64_t head)
{
    float max = -INFINITY, sum = 0, *o = br__head(&a->c->out, t, head);
    for (int64_t i = 0; i < a->parts; i++)
        max = partial(a, t, head, i)[0] > max ? partial(a, t, head, i)[0] : max;
    zero(o, a->d);
    for (int64_t i = 0; i < a->parts; i++) {
        const float *p = partial(a, t, head, i);
        if (p[1] == 0) /* saw no key */
            continue;
        float fade = expf(p[0] - max);
        sum += p[1] * fade;
        add_scaled(o, p + 2, fade, a->d);
    }
    scaled(o, o, 1 / sum, a->d);
}

/* Merge the rows of the decoding sequences. */
static void attention_merge(const struct attention *a)
{
    for (int64_t i = 0; i < a->seqs->shape[0]; i++) {
        struct br__seq s;
        if (!br__seq_at(a->seqs, i, a->T, a->S, &s) || !is_few(a, &s))
            continue;
        for (int64_t r = 0; r < s.nq * a->heads; r++)
            if (r % a->c->team->n_lanes == a->c->lane)
                merge_parts(a, s.q0 + r / a->heads, r % a->heads);
    }
}

void BR__FN(attention)(const struct br_call *c)
{
    struct attention a = attention_of(c);
    float *scratch = (float *)c->scratch + partial_floats(&a) + c->lane * rows_floats(&a);
    struct rows w = rows_carve(&a, &scratch);
    struct br__seq s = {0};
    int64_t n = 0, before = 0, next = 0;
    for (int64_t i = 0; i < a.seqs->shape[0]; i++)
        if (br__seq_at(a.seqs, i, a.T, a.S, &s))
            n += items_of(&a, &s);
    zero_strangers(c, a.seqs, a.S);
    struct br__share share = br__share(c, n);
    s.nq = 0;
    for (int64_t item, own = 0; br__share_next(&share, &item);) {
        while (item >= before + own) { /* on to the sequence of the item */
            before += own;
            own = br__seq_at(a.seqs, next++, a.T, a.S, &s) ? items_of(&a, &s) : 0;
        }
        attention_item(&a, &w, &s, item - before);
    }
    if (a.parts == 1)
        return;
    br__sync(c);
    attention_merge(&a);
}
