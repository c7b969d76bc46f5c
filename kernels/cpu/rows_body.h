/* rows_body.h - kernels that move whole rows, and the helpers for stretches of floats that the
 * other bodies share. */

/* ---- stretches ------------------------------------------------------------------------------- */

BR__INLINE void copy(float *dst, const float *src, int64_t n)
{
    memcpy(dst, src, (size_t)n * sizeof *dst);
}

BR__INLINE void zero(float *dst, int64_t n)
{
    memset(dst, 0, (size_t)n * sizeof *dst);
}

/* VN elements of a row of a float dtype from the k-th on, or n < VN and zeros, as float32. */
BR__INLINE vf load_w(const char *row, int64_t k, const uint32_t dtype)
{
    if (dtype == BR_F32)
        return v_load((const float *)(const void *)row + k);
    const uint16_t *half = (const uint16_t *)(const void *)row + k;
    return dtype == BR_BF16 ? v_load_bf16(half) : v_load_f16(half);
}

BR__INLINE vf load_w_n(const char *row, int64_t k, const uint32_t dtype, int n)
{
    if (dtype == BR_F32)
        return v_load_n((const float *)(const void *)row + k, n);
    const uint16_t *half = (const uint16_t *)(const void *)row + k;
    return dtype == BR_BF16 ? v_load_bf16_n(half, n) : v_load_f16_n(half, n);
}

/* n elements of a float dtype, from the at-th on, as float32. */
static void widen(float *dst, const struct br_tensor *t, int64_t at, int64_t n)
{
    const uint16_t *h = (const uint16_t *)t->data + at;
    int64_t i = 0;
    if (t->dtype == BR_F32) {
        copy(dst, (const float *)t->data + at, n);
    } else if (t->dtype == BR_BF16) {
        for (; i + VN <= n; i += VN)
            v_store(dst + i, v_load_bf16(h + i));
        for (; i < n; i++)
            dst[i] = s_bf16(h[i]);
    } else {
        for (; i + VN <= n; i += VN)
            v_store(dst + i, v_load_f16(h + i));
        for (; i < n; i++)
            dst[i] = s_f16(h[i]);
    }
}

/* dst += src * s */
BR__INLINE void add_scaled(float *dst, const float *src, float s, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store(dst + i, v_fma(v_load(src + i), v_set1(s), v_load(dst + i)));
    if (i < n) {
        int m = (int)(n - i);
        v_store_n(dst + i, v_fma(v_load_n(src + i, m), v_set1(s), v_load_n(dst + i, m)), m);
    }
}

/* dst = src * s; dst may be src */
BR__INLINE void scaled(float *dst, const float *src, float s, int64_t n)
{
    int64_t i = 0;
    for (; i + VN <= n; i += VN)
        v_store(dst + i, v_mul(v_load(src + i), v_set1(s)));
    if (i < n) {
        int m = (int)(n - i);
        v_store_n(dst + i, v_mul(v_load_n(src + i, m), v_set1(s)), m);
    }
}

/* Sum of products in four strands, so that neither latency nor rounding piles up on one. */
BR__INLINE float dot(const float *a, const float *b, int64_t n)
{
    vf s0 = v_zero(), s1 = v_zero(), s2 = v_zero(), s3 = v_zero();
    int64_t i = 0;
    for (; i + 4 * VN <= n; i += 4 * VN) {
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
        s1 = v_fma(v_load(a + i + VN), v_load(b + i + VN), s1);
        s2 = v_fma(v_load(a + i + 2 * VN), v_load(b + i + 2 * VN), s2);
        s3 = v_fma(v_load(a + i + 3 * VN), v_load(b + i + 3 * VN), s3);
    }
    for (; i + VN <= n; i += VN)
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
    if (i < n) {
        int m = (int)(n - i);
        s1 = v_fma(v_load_n(a + i, m), v_load_n(b + i, m), s1);
    }
    return v_sum(v_add(v_add(s0, s1), v_add(s2, s3)));
}

/* Rows of the output that belong to no sequence are zeros.  Every lane must come by. */
static void zero_strangers(const struct br_call *c, const struct br_tensor *seqs, int64_t S)
{
    int64_t from, to, T = c->out.shape[0];
    if (br__seqs_cover(seqs, T, S))
        return;
    int64_t rows = br__rows(&c->out);
    br__lane_range(c, rows, 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        zero(br__row(&c->out, r), br__cols(&c->out));
    br__sync(c);
}

/* ---- embedding ------------------------------------------------------------------------------- */

void BR__FN(embed)(const struct br_call *c)
{
    const struct br_tensor *table = &c->in[0];
    const int32_t *ids = br__ints(&c->in[1]);
    int64_t first = c->attr.i[0], vocab = table->shape[0];
    struct br__span s = br__spans(c, br__rows(&c->out), br__cols(&c->out));
    while (br__span_next(&s)) {
        float *o = br__row(&c->out, s.row) + s.col;
        int64_t id = ids[s.row] - first;
        if (id < 0 || id >= vocab)
            zero(o, s.n);
        else
            widen(o, table, br__row_at(table, id) + s.col, s.n);
    }
}

/* out[rows[t]] += y[t], in the order of t, for the columns of this lane. */
static void scatter_add(const struct br_call *c, const struct br_tensor *y, const int32_t *rows,
                        int64_t first)
{
    int64_t from, to, n_out = c->out.shape[0], n = y->shape[0];
    br__lane_range(c, br__cols(&c->out), 16, &from, &to);
    if (from >= to)
        return;
    for (int64_t r = 0; r < n_out; r++)
        zero(br__row(&c->out, r) + from, to - from);
    for (int64_t t = 0; t < n; t++) {
        int64_t r = rows[t] - first;
        if (r >= 0 && r < n_out)
            add_scaled(br__row(&c->out, r) + from, br__row(y, t) + from, 1, to - from);
    }
}

void BR__FN(embed_grad)(const struct br_call *c)
{
    scatter_add(c, &c->in[0], br__ints(&c->in[1]), c->attr.i[0]);
}

void BR__FN(scatter_rows)(const struct br_call *c)
{
    scatter_add(c, &c->in[0], br__ints(&c->in[1]), 0);
}

void BR__FN(gather_rows)(const struct br_call *c)
{
    const int32_t *rows = br__ints(&c->in[1]);
    struct br__span s = br__spans(c, br__rows(&c->out), br__cols(&c->out));
    while (br__span_next(&s)) {
        float *o = br__row(&c->out, s.row) + s.col;
        int64_t r = rows[s.row];
        if (r < 0 || r >= c->in[0].shape[0])
            zero(o, s.n);
        else
            copy(o, br__row(&c->in[0], r) + s.col, s.n);
    }
}

/* ---- columns side by side -------------------------------------------------------------------- */

void BR__FN(concat)(const struct br_call *c)
{
    int64_t from, to;
    br__lane_range(c, c->out.shape[0], 1, &from, &to);
    for (int64_t t = from; t < to; t++) {
        float *o = br__row(&c->out, t);
        for (uint32_t i = 0; i < c->n_in; i++) {
            const struct br_tensor *x = &c->in[i];
            int64_t per = x->n_dim > 1 ? br__rows(x) / x->shape[0] : 1;
            int64_t n = x->n_dim > 1 ? br__cols(x) : 1;
            for (int64_t r = 0; r < per; r++, o += n)
                copy(o, x->n_dim > 1 ? br__row(x, t * per + r) : (float *)x->data + t, n);
        }
    }
}

/* Rows of zeros before and after; the first axis of x may hold several rows per index. */
static void pad_rows(const struct br_call *c)
{
    const struct br_tensor *x = &c->in[0];
    int64_t from, to, n = br__cols(x), per = br__rows(x) / x->shape[0];
    int64_t begin = c->attr.i[0] * per, end = begin + br__rows(x);
    br__lane_range(c, br__rows(&c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        if (r < begin || r >= end)
            zero(br__row(&c->out, r), n);
        else
            copy(br__row(&c->out, r), br__row(x, r - begin), n);
}

void BR__FN(pad)(const struct br_call *c)
{
    if (c->attr.i[2]) {
        pad_rows(c);
        return;
    }
    int64_t from, to, n = br__cols(&c->in[0]), start = c->attr.i[0], total = br__cols(&c->out);
    br__lane_range(c, br__rows(&c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++) {
        float *o = br__row(&c->out, r);
        zero(o, start);
        copy(o + start, br__row(&c->in[0], r), n);
        zero(o + start + n, total - start - n);
    }
}

void BR__FN(interleave)(const struct br_call *c)
{
    int64_t from, to, p = c->attr.i[0], n = br__cols(&c->in[0]), rows = c->out.shape[0];
    br__lane_range(c, rows, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t b = 0; b < p; b++)
            copy(br__row(&c->out, t) + b * n, br__row(&c->in[0], b * rows + t), n);
}

void BR__FN(deinterleave)(const struct br_call *c)
{
    int64_t from, to, p = c->attr.i[0], n = br__cols(&c->out), rows = c->in[0].shape[0];
    br__lane_range(c, rows, 1, &from, &to);
    for (int64_t t = from; t < to; t++)
        for (int64_t b = 0; b < p; b++)
            copy(br__row(&c->out, b * rows + t), br__row(&c->in[0], t) + b * n, n);
}

/* ---- sums over rows -------------------------------------------------------------------------- */

void BR__FN(fill_rows)(const struct br_call *c)
{
    struct br__span s = br__spans(c, br__rows(&c->out), br__cols(&c->out));
    while (br__span_next(&s))
        copy(br__row(&c->out, s.row) + s.col, (const float *)c->in[0].data + s.col, s.n);
}

/* Rows that are added up before their sum is added to the total: keeps the rounding error that of
 * the root of the number of rows, not of the number. */
#define ROWS_AT_ONCE 64
/* Columns of a lane's work at once. */
#define COLS_AT_ONCE 256

void BR__FN(sum_rows)(const struct br_call *c)
{
    int64_t from, to, rows = br__rows(&c->in[0]);
    br__lane_range(c, br__cols(&c->in[0]), 16, &from, &to);
    float part[COLS_AT_ONCE];
    for (int64_t col = from; col < to; col += COLS_AT_ONCE) {
        int64_t n = to - col < COLS_AT_ONCE ? to - col : COLS_AT_ONCE;
        float *o = (float *)c->out.data + col;
        zero(o, n);
        for (int64_t r = 0; r < rows;) {
            zero(part, n);
            for (int64_t end = r + ROWS_AT_ONCE; r < rows && r < end; r++)
                add_scaled(part, br__row(&c->in[0], r) + col, 1, n);
            add_scaled(o, part, 1, n);
        }
    }
}

void BR__FN(dot_rows)(const struct br_call *c)
{
    int64_t from, to, n = br__cols(&c->in[0]);
    br__lane_range(c, br__rows(&c->out), 1, &from, &to);
    for (int64_t r = from; r < to; r++)
        *br__row(&c->out, r) = dot(br__row(&c->in[0], r), br__row(&c->in[1], r), n);
}
