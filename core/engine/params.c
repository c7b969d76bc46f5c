/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* params.c - weights by their Megatron names, and of each the share that a rank owns.
 *
 * A plugin's weight rules say which Hugging Face tensors a Megatron tensor is made of, so a block
 * asks by Megatron name and gets the Hugging Face rows.  In Hugging Face layout every share of
 * tensor parallelism is a run of rows or columns (for conv1d, three runs). */
#include "weights.h"
#include <stdio.h>
#include <string.h>

int br__params_open(struct br__params **out, struct br__weights *w, int host, struct br_err *err)
{
    struct br__params *p = *out = br__calloc(1, sizeof *p);
    if (!p || br__map_init(&p->by_key, 64)) {
        br__params_close(p);
        *out = NULL;
        return br__nomem(err, "for parameters");
    }
    p->w = w;
    p->host = host;
    return 0;
}

void br__params_close(struct br__params *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n_owned; i++)
        br__free(p->owned[i]);
    br__free(p->owned);
    br__free(p->list);
    br__map_free(&p->by_key);
    br__arena_free(&p->arena);
    br__free(p);
}

/* The source as this rank has it. */
static struct br__source *own_source(const struct br__params *p, struct br__source *s)
{
    return p->trained && p->trained[s->index] ? p->trained[s->index] : s;
}

/* Memory that lives as long as p. */
static void *param_own(struct br__params *p, size_t n)
{
    if (br__grow(&p->owned, &p->cap_owned, p->n_owned, sizeof *p->owned))
        return NULL;
    void *m = br__alloc(n);
    if (m)
        p->owned[p->n_owned++] = m;
    return m;
}

/* ---- from Megatron name to Hugging Face tensor ----------------------------------------------- */

/* The number after "layers." in a name; -1 without one. */
static int64_t layer_of(const char *mcore)
{
    const char *s = strstr(mcore, "layers.");
    int64_t layer = -1;
    char digits[20] = "";
    if (s)
        for (size_t n = 0; s[7 + n] >= '0' && s[7 + n] <= '9' && n + 1 < sizeof digits; n++)
            digits[n] = s[7 + n];
    return digits[0] && !br__parse_i64(digits, &layer) ? layer : -1;
}

/* The rule that makes `mcore`, and which item of its Megatron list that is. */
static int find_rule(struct br__params *p, const char *mcore, const struct br_map **map,
                     struct br__pattern *pattern, int *mc_item, struct br_err *err)
{
    const struct br__arch *arch = p->w->cfg->arch;
    int64_t layer = layer_of(mcore);
    struct br__arena a = {0};
    int rc = BR_E_NOTFOUND;
    for (uint32_t i = 0; i < arch->n_maps && rc == BR_E_NOTFOUND; i++) {
        if (br__pattern_parse(arch->maps[i].mcore, pattern, err))
            continue;
        for (int k = 0; k < pattern->n_list && rc == BR_E_NOTFOUND; k++) {
            const char *name = br__pattern_name(&a, pattern, layer, -1, k);
            if (name && !strcmp(name, mcore)) {
                *map = &arch->maps[i];
                *mc_item = k;
                rc = 0;
            }
        }
    }
    br__arena_free(&a);
    if (rc)
        return br_fail(err, BR_E_PLUGIN,
                       "the builder of %s asks for '%s', which no weight rule makes",
                       arch->model_type, mcore);
    return 0;
}

/* Rows [row, row + rows) of a source: row is not 0 only in a fused-expert tensor. */
struct found {
    struct br__source *source;
    int64_t row, rows;
    uint32_t flags; /* of its rule: enum br_map_flags */
    int dtype;      /* of the param */
};

/* A vector for the graph: one axis, or the small conv1d matrix. */
static int is_vector(const struct br__source *s)
{
    return s->ndim != 2;
}

static struct br__source *source_named(const struct br__params *p, const char *name)
{
    struct br__source *s = br__weights_find(p->w, name);
    return s ? own_source(p, s) : NULL;
}

/* Source of what is wanted (of one expert, or -1). */
static int find_source(struct br__params *p, const struct br__param_want *want, int64_t expert,
                       struct found *f, struct br_err *err)
{
    const char *mcore = want->mcore;
    int item = want->item;
    const struct br_map *map = NULL;
    struct br__pattern pattern;
    int mc_item = 0;
    int rc = find_rule(p, mcore, &map, &pattern, &mc_item, err);
    if (rc || (rc = br__pattern_parse(map->hf, &pattern, err)))
        return rc;
    if (map->layout == BR_LAYOUT_COPY)
        item = mc_item;
    int64_t layer = layer_of(mcore);
    const char *name = br__pattern_name(&p->arena, &pattern, layer, expert, item);
    if (!name)
        return br__nomem(err, "for parameters");
    *f = (struct found){.source = source_named(p, name), .flags = map->flags};
    if (f->source) {
        f->rows = f->source->rows;
    } else if (map->hf_fused && expert >= 0) {
        int64_t n_list = pattern.n_list, n_experts = p->w->cfg->n_experts;
        if ((rc = br__pattern_parse(map->hf_fused, &pattern, err)))
            return rc;
        const char *fused = br__pattern_name(&p->arena, &pattern, layer, -1, 0);
        f->source = fused ? source_named(p, fused) : NULL;
        if (f->source && f->source->rows % (n_experts * n_list) == 0) {
            f->rows = f->source->rows / (n_experts * n_list);
            f->row = (expert * n_list + item) * f->rows;
        }
    }
    if (!f->source)
        return br_fail(err, BR_E_PLAN, "the model has no tensor '%s'", name);
    /* Off the host bytes are made when they are uploaded; a merged adapter changes the dtype. */
    int merges = p->w->adapter && p->w->adapter->merge;
    rc = p->host || merges ? br__weights_load(p->w, f->source, err) : 0;
    f->dtype = is_vector(f->source) ? BR_F32 : f->source->dtype;
    return rc;
}

/* ---- shares ---------------------------------------------------------------------------------- */

/* A rank's share of n rows or columns, which must divide. */
static int param_share(int64_t n, const struct br__sharing *by, int64_t *from, int64_t *len,
                       const char *name, struct br_err *err)
{
    if (n % by->size)
        return br_fail(err, BR_E_USAGE,
                       "'%s' has %lld rows or columns, which %u ranks cannot share", name,
                       (long long)n, by->size);
    *len = n / by->size;
    *from = *len * by->rank;
    return 0;
}

/* Where there are fewer groups of keys and values than ranks, several ranks hold the same one. */
static struct br__sharing share_groups(const struct br_config *cfg, struct br__sharing by)
{
    uint32_t groups = (uint32_t)br_cfg_i(cfg, BR_CFG_NUM_QUERY_GROUPS);
    if (by.split != BR__SPLIT_KV)
        return by;
    by.split = BR__SPLIT_ROWS;
    if (groups < by.size) {
        by.rank = (uint32_t)((uint64_t)by.rank * groups / by.size);
        by.size = groups;
    }
    return by;
}

/* The parts of a source's rows that a rank owns; at most 3. */
static int param_cut(const struct br_config *cfg, const struct found *f,
                     const struct br__sharing *sharing, struct br__part *parts, size_t *n_parts,
                     struct br_err *err)
{
    const struct br__sharing by = share_groups(cfg, *sharing);
    struct br__source *s = f->source;
    int64_t from = 0, len = 0;
    int rc = 0;
    *n_parts = 1;
    parts[0] = (struct br__part){s, f->row, f->rows, 0, s->cols};
    if (by.split == BR__SPLIT_NONE || by.split == BR__SPLIT_EACH || by.size == 1)
        return 0;
    if (by.split == BR__SPLIT_COLS || (by.split == BR__SPLIT_ROWS && s->ndim == 1)) {
        if (!(rc = param_share(s->cols, &by, &from, &len, s->name, err)))
            parts[0] = (struct br__part){s, f->row, f->rows, from, len};
    } else if (by.split == BR__SPLIT_ROWS) {
        if (!(rc = param_share(f->rows, &by, &from, &len, s->name, err)))
            parts[0] = (struct br__part){s, f->row + from, len, 0, s->cols};
    } else {
        int64_t key =
            br_cfg_i(cfg, BR_CFG_LINEAR_NUM_KEY_HEADS) * br_cfg_i(cfg, BR_CFG_LINEAR_KEY_HEAD_DIM);
        int64_t channels[3] = {key, key, f->rows - 2 * key};
        for (int64_t i = 0, base = f->row; i < 3 && !rc; base += channels[i++])
            if (!(rc = param_share(channels[i], &by, &from, &len, s->name, err)))
                parts[i] = (struct br__part){s, base + from, len, 0, s->cols};
        *n_parts = 3;
    }
    return rc;
}

/* Elements [from, end) of a part, whose rows follow one another, as dtype `to`. */
static void copy_part(const struct br__part *q, int to, int64_t from, int64_t end,
                      unsigned char *dst)
{
    const struct br__source *s = q->source;
    size_t from_size = br_dtype_size(s->dtype), to_size = br_dtype_size(to);
    const unsigned char *src = s->data;
    for (int64_t n; from < end; from += n, dst += (size_t)n * to_size) {
        int64_t row = from / q->n_cols, col = from % q->n_cols;
        n = BR__MIN(q->n_cols - col, end - from);
        const unsigned char *p = src + br__source_place(s, q->row + row, q->col + col) * from_size;
        if (s->dtype == to)
            memcpy(dst, p, (size_t)n * to_size);
        else
            br_cast(dst, to, p, s->dtype, (size_t)n, 0);
    }
}

static int64_t elems_of(const struct br__part *q)
{
    return q->n_rows * q->n_cols;
}

static void copy_parts(const struct br__part *parts, size_t n, int to, unsigned char *dst)
{
    for (size_t i = 0; i < n; i++) {
        copy_part(&parts[i], to, 0, elems_of(&parts[i]), dst);
        dst += (size_t)elems_of(&parts[i]) * br_dtype_size(to);
    }
}

/* Bytes of the parts: where they lie if that is one run of the right dtype, else a copy. */
static const void *param_gather(struct br__params *p, const struct br__part *parts, size_t n,
                                int to, int *copied)
{
    const struct br__part *q = &parts[0];
    *copied = 0;
    if (n == 1 && q->source->dtype == to &&
        (q->n_cols == br__source_stride(q->source) || q->n_rows == 1))
        return (const unsigned char *)q->source->data +
               br__source_place(q->source, q->row, q->col) * br_dtype_size(to);
    size_t elems = 0;
    for (size_t i = 0; i < n; i++)
        elems += (size_t)elems_of(&parts[i]);
    unsigned char *m = param_own(p, elems * br_dtype_size(to));
    if (m)
        copy_parts(parts, n, to, m);
    *copied = 1;
    return m;
}

/* Elements of sources, read by blocks. */
struct block_reader {
    const struct br__model_source *src;
    int to; /* dtype wanted */
    struct br__scratch scratch;
    unsigned char *block;
};

static int reader_open(struct block_reader *r, const struct br__param *p, struct br_err *err)
{
    *r = (struct block_reader){
        p->weights->src, (int)p->stored.dtype, {br__alloc(BR__OUT_BUF)}, br__alloc(BR__READ_BLOCK)};
    return r->scratch.buf && r->block ? 0 : br__nomem(err, "for the model's weights");
}

static void reader_close(struct block_reader *r)
{
    br__free(r->scratch.buf);
    br__free(r->block);
}

/* copy_part of a source that is not in memory. */
static int read_part(struct block_reader *r, const struct br__part *q, int64_t from, int64_t end,
                     unsigned char *dst, struct br_err *err)
{
    const struct br__source *s = q->source;
    int rc = 0;
    int64_t size = (int64_t)br_dtype_size(s->dtype), most = BR__READ_BLOCK / size;
    int whole = q->n_cols == s->cols; /* rows follow one another in the source, too */
    for (int64_t n; from < end && !rc; from += n) {
        int64_t row = from / q->n_cols, col = from % q->n_cols;
        n = BR__MIN(whole ? end - from : BR__MIN(q->n_cols - col, end - from), most);
        int64_t at = (q->row + row) * s->cols + q->col + col;
        rc = r->src->ops->read(r->src, &r->src->tensors[s->index], (uint64_t)(at * size), r->block,
                               (size_t)(n * size), &r->scratch, err);
        if (!rc)
            br_cast(dst, r->to, r->block, s->dtype, (size_t)n, 0);
        dst += (size_t)n * br_dtype_size(r->to);
    }
    return rc;
}

/* br_source_bytes of a param: bytes [at, at + n) of its parts, whole elements. */
static int make_bytes(void *arg, void *host, size_t at, size_t n, struct br_err *err)
{
    const struct br__param *p = arg;
    int to = (int)p->stored.dtype;
    size_t size = br_dtype_size(to);
    int64_t from = (int64_t)(at / size), end = from + (int64_t)(n / size);
    unsigned char *dst = host;
    struct block_reader r;
    int rc = reader_open(&r, p, err);
    for (size_t i = 0; i < p->n_parts && from < end && !rc; i++) {
        const struct br__part *q = &p->parts[i];
        int64_t stop = BR__MIN(end, elems_of(q));
        if (from < stop && !(rc = br__weights_find_values(p->weights, q->source, err))) {
            if (q->source->data)
                copy_part(q, to, from, stop, dst);
            else
                rc = read_part(&r, q, from, stop, dst, err);
            dst += (size_t)(stop - from) * size;
            from = stop;
        }
        from -= elems_of(q);
        end -= elems_of(q);
    }
    reader_close(&r);
    return rc;
}

/* ---- params ---------------------------------------------------------------------------------- */

static struct br__param *param_known(const struct br__params *p, const char *key)
{
    uint32_t i = br__map_get(&p->by_key, key);
    return i == BR__NOT_FOUND ? NULL : p->list[i];
}

static int param_add(struct br__params *p, struct br__param *q, const char *key,
                     const struct br__part *parts, size_t n_parts)
{
    struct br__part *copy = br__arena_alloc(&p->arena, n_parts * sizeof *copy);
    q->key = br__arena_strdup(&p->arena, key);
    if (!copy || !q->key || br__grow(&p->list, &p->cap, p->n, sizeof *p->list) ||
        br__map_put(&p->by_key, q->key, (uint32_t)p->n))
        return BR_E_NOMEM;
    memcpy(copy, parts, n_parts * sizeof *copy);
    q->parts = copy;
    q->n_parts = n_parts;
    q->index = (uint32_t)p->n;
    q->weights = p->w;
    if (!p->host)
        q->stored.bytes = (struct br_source_bytes){make_bytes, q};
    p->list[p->n++] = q;
    return 0;
}

static void note_sharing(struct br__param *q, const struct br__sharing *by)
{
    q->split = by->split;
    q->shared = by->split == BR__SPLIT_NONE || by->split == BR__SPLIT_EACH;
    q->partial = by->split == BR__SPLIT_EACH && by->size > 1;
}

/* One param of the rows that were found. */
static int make_of(struct br__params *p, const char *key, const struct found *f,
                   const struct br__sharing *by, struct br__param **out, struct br_err *err)
{
    struct br__part parts[3];
    size_t n;
    int rc = param_cut(p->w->cfg, f, by, parts, &n, err);
    if (rc)
        return rc;
    struct br__param *q = br__arena_alloc(&p->arena, sizeof *q);
    if (!q)
        return br__nomem(err, "for parameters");
    q->stored.dtype = (uint32_t)f->dtype;
    note_sharing(q, by);
    for (size_t i = 0; i < n; i++)
        q->stored.shape[0] += parts[i].n_rows;
    q->stored.shape[1] = parts[0].n_cols;
    q->stored.n_dim = 2;
    if (f->source->ndim == 1) {
        q->stored.n_dim = 1;
        q->stored.shape[0] = parts[0].n_cols;
    }
    q->stored.data = p->host ? param_gather(p, parts, n, (int)q->stored.dtype, &q->copied) : NULL;
    if ((p->host && !q->stored.data) || param_add(p, q, key, parts, n))
        return br__nomem(err, "for parameters");
    *out = q;
    return 0;
}

static int make_one(struct br__params *p, const char *key, const struct br__param_want *want,
                    struct br__param **out, struct br_err *err)
{
    struct found f;
    int rc = find_source(p, want, -1, &f, err);
    if (!rc)
        rc = make_of(p, key, &f, &want->sharing, out, err);
    if (!rc)
        (*out)->centred = (f.flags & BR_MAP_ZERO_CENTERED) != 0;
    return rc;
}

static int make_experts(struct br__params *p, const char *key, const struct br__param_want *want,
                        struct br__param **out, struct br_err *err)
{
    const int64_t n = want->n;
    struct br__param *q = br__arena_alloc(&p->arena, sizeof *q);
    struct br__part *parts = br__arena_alloc(&p->arena, (size_t)n * sizeof *parts);
    const void **data = br__arena_alloc(&p->arena, (size_t)n * sizeof *data);
    if (!q || !parts || !data)
        return br__nomem(err, "for parameters");
    for (int64_t e = 0; e < n; e++) {
        struct found f;
        size_t one;
        int rc = find_source(p, want, want->first + e, &f, err);
        const struct br__source *s = f.source;
        if (rc || (rc = param_cut(p->w->cfg, &f, &want->sharing, &parts[e], &one, err)))
            return rc;
        if (e && s->dtype != (int)q->stored.dtype)
            return br_fail(err, BR_E_UNSUPPORTED, "'%s' is %s, other experts are %s", s->name,
                           br_dtype_torch(s->dtype), br_dtype_torch((int)q->stored.dtype));
        q->stored.dtype = (uint32_t)s->dtype;
        int copied; /* not of experts: shares of columns do not train */
        data[e] = p->host ? param_gather(p, &parts[e], 1, s->dtype, &copied) : NULL;
        if (p->host && !data[e])
            return br__nomem(err, "for parameters");
    }
    q->stored.parts = p->host ? data : NULL;
    q->split = want->sharing.split;
    q->expert = 1;
    q->stored.n_dim = 3;
    q->stored.shape[0] = n;
    q->stored.shape[1] = parts[0].n_rows;
    q->stored.shape[2] = parts[0].n_cols;
    if (param_add(p, q, key, parts, (size_t)n))
        return br__nomem(err, "for parameters");
    *out = q;
    return 0;
}

int br__param_get(struct br__params *p, const struct br__param_want *want,
                  const struct br__param **out, struct br_err *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s|%d", want->mcore, want->item);
    struct br__param *q = param_known(p, key);
    int rc = 0;
    if (!q)
        rc = want->n ? make_experts(p, key, want, &q, err) : make_one(p, key, want, &q, err);
    *out = q;
    return rc;
}

/* ---- several weights as one ------------------------------------------------------------------ */

/* The next part of q, of what is wanted (of one expert, or -1).  Where it differs from those before
 * q has no parts after it. */
static int merged_part(struct br__params *p, const struct br__param_want *all, int64_t expert,
                       struct br__param *q, struct br__part *part, struct br_err *err)
{
    struct found f;
    size_t one;
    int rc = find_source(p, all, expert, &f, err);
    if (!rc)
        rc = param_cut(p->w->cfg, &f, &all->sharing, part, &one, err);
    if (rc)
        return rc;
    uint32_t dtype = (uint32_t)(all->n ? f.source->dtype : f.dtype);
    int64_t rows = f.source->ndim == 1 ? part->n_cols : part->n_rows;
    int64_t cols = f.source->ndim == 1 ? 0 : part->n_cols;
    if (q->n_parts == 0) {
        q->stored.dtype = dtype;
        q->stored.n_dim = f.source->ndim == 1 ? 1 : all->n ? 3 : 2;
        q->stored.shape[q->stored.n_dim == 3 ? 2 : 1] = cols;
    }
    int fits = q->stored.dtype == dtype && (q->stored.n_dim == 1) == (f.source->ndim == 1) &&
               (!cols || q->stored.shape[q->stored.n_dim - 1] == cols);
    if (expert <= all->first) /* experts are alike */
        q->stored.shape[q->stored.n_dim == 3] += rows;
    q->n_parts = fits ? q->n_parts + 1 : 0;
    return 0;
}

/* NULL: they cannot be one. */
static int make_merged(struct br__params *p, const char *key, const struct br__param_want *want,
                       const enum br__split *splits, int n_items, struct br__param **out,
                       struct br_err *err)
{
    const size_t n_experts = want->n ? (size_t)want->n : 1, n = n_experts * (size_t)n_items;
    struct br__param *q = br__arena_alloc(&p->arena, sizeof *q);
    struct br__part *parts = br__arena_alloc(&p->arena, n * sizeof *parts);
    if (!q || !parts)
        return br__nomem(err, "for parameters");
    for (size_t i = 0; i < n; i++) {
        struct br__param_want one = *want;
        one.item = (int)(i % (size_t)n_items);
        one.sharing.split = splits[one.item];
        int64_t expert = want->n ? want->first + (int64_t)(i / (size_t)n_items) : -1;
        int rc = merged_part(p, &one, expert, q, &parts[i], err);
        if (rc || q->n_parts != i + 1)
            return rc;
    }
    const struct br__sharing first = {splits[0], want->sharing.rank, want->sharing.size};
    note_sharing(q, &first);
    q->expert = want->n > 0;
    if (q->expert)
        q->stored.shape[0] = want->n;
    q->stored.bytes = (struct br_source_bytes){make_bytes, q};
    if (param_add(p, q, key, parts, n))
        return br__nomem(err, "for parameters");
    *out = q;
    return 0;
}

int br__param_get_merged(struct br__params *p, const struct br__param_want *want,
                         const enum br__split *splits, int n_items, const struct br__param **out,
                         struct br_err *err)
{
    char key[160];
    snprintf(key, sizeof key, "%s|0-%d", want->mcore, n_items - 1);
    struct br__param *q = param_known(p, key);
    int beside = p->w->adapter && !p->w->adapter->merge, rc = 0;
    if (!q && !beside)
        rc = make_merged(p, key, want, splits, n_items, &q, err);
    *out = q;
    return rc;
}

/* ---- adapters -------------------------------------------------------------------------------- */

/* Products with adapters are exact in inference; in training they are as any other. */
static uint32_t adapter_dtype(const struct br__source *s)
{
    return s->is_trained ? (uint32_t)s->dtype : BR_F32;
}

/* Rows of B or elements of a magnitude, which lie apart in what all of them share. */
struct apart {
    const struct br__part *list;
    size_t n;
};

static int64_t length_of(const struct br__part *q)
{
    return q->source->ndim == 1 ? q->n_cols : q->n_rows;
}

/* Rows [from, from + len) of them all, into parts[n]; returns how many parts. */
static size_t cut_apart(const struct br__params *p, const struct apart *a, int64_t from,
                        int64_t len, struct br__part *parts)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n; from -= length_of(&a->list[i++])) {
        struct br__part q = a->list[i];
        int64_t first = BR__MAX(from, 0), end = BR__MIN(from + len, length_of(&q));
        if (first >= end)
            continue;
        *(q.source->ndim == 1 ? &q.col : &q.row) += first;
        *(q.source->ndim == 1 ? &q.n_cols : &q.n_rows) = end - first;
        q.source = own_source(p, q.source);
        parts[n++] = q;
    }
    return n;
}

static int make_apart(struct br__params *p, const char *key, const struct apart *a,
                      const struct br__sharing *sharing, struct br__param **out, struct br_err *err)
{
    struct br__param *q = br__arena_alloc(&p->arena, sizeof *q);
    struct br__part *parts = br__arena_alloc(&p->arena, a->n * sizeof *parts);
    const struct br__sharing by = share_groups(p->w->cfg, *sharing);
    int64_t from = 0, len = 0;
    if (!q || !parts)
        return br__nomem(err, "for parameters");
    for (size_t i = 0; i < a->n; i++)
        len += length_of(&a->list[i]);
    int rc = by.split == BR__SPLIT_ROWS
                 ? param_share(len, &by, &from, &len, a->list[0].source->name, err)
                 : 0;
    if (rc)
        return rc;
    size_t n = cut_apart(p, a, from, len, parts);
    q->stored.dtype = adapter_dtype(parts[0].source);
    q->stored.n_dim = (uint32_t)parts[0].source->ndim;
    q->stored.shape[0] = len;
    q->stored.shape[1] = q->stored.n_dim == 1 ? 0 : parts[0].n_cols;
    note_sharing(q, sharing);
    q->stored.data = param_gather(p, parts, n, (int)q->stored.dtype, &q->copied);
    if (!q->stored.data || param_add(p, q, key, parts, n))
        return br__nomem(err, "for parameters");
    *out = q;
    return 0;
}

int br__param_adapter(struct br__params *p, const struct br__adapter_pair *pair, int which,
                      const struct br__sharing *weight, const struct br__param **out,
                      struct br_err *err)
{
    char key[320];
    int follows = (which == 'A') == (weight->split == BR__SPLIT_COLS), rc = 0;
    enum br__split apart = weight->split == BR__SPLIT_NONE ? BR__SPLIT_NONE : BR__SPLIT_EACH;
    struct br__sharing by = {follows ? weight->split : apart, weight->rank, weight->size};
    struct br__source *s = own_source(p, which == 'A'   ? pair->a
                                         : which == 'B' ? pair->b
                                                        : pair->magnitude);
    const struct br__part *rows = which == 'A' ? NULL : which == 'B' ? pair->b_rows : pair->m_rows;
    snprintf(key, sizeof key, "%s|%u", s->name, rows ? pair->index : 0);
    struct br__param *q = param_known(p, key);
    if (!q && rows && !p->host)
        return br_fail(err, BR_E_UNSUPPORTED, "new adapters work on the host only");
    if (!q)
        rc = rows ? make_apart(p, key, &(struct apart){rows, pair->n_rows}, &by, &q, err)
                  : make_of(p, key, &(struct found){s, 0, s->rows, 0, (int)adapter_dtype(s)}, &by,
                            &q, err);
    if (!rc)
        q->adapter = which;
    *out = q;
    return rc;
}

/* A tensor of the adapters of experts. */
struct expert_adapters {
    const struct br__param *weights; /* of the experts */
    int which;                       /* 'A' or 'B' */
    const struct br__sharing *sharing;
};

/* The tensor of expert i's pair and the part of it that is this rank's. */
static int expert_part(struct br__params *p, const struct expert_adapters *x, size_t i,
                       struct br__part *out, struct br_err *err)
{
    const char *target = x->weights->parts[i].source->name;
    const struct br__adapter_pair *pair = br__adapter_find(p->w->adapter, target);
    int follows = (x->which == 'A') == (x->sharing->split == BR__SPLIT_COLS);
    size_t one;
    if (!pair || pair->magnitude)
        return br_fail(err, BR_E_UNSUPPORTED,
                       pair ? "'%s' has a DoRA adapter, which cannot work beside the weights of "
                              "routed experts; use --merge-adapter"
                            : "'%s' has no adapter, other experts of its layer have: such an "
                              "adapter cannot work beside the weights; use --merge-adapter",
                       target);
    struct br__source *s = own_source(p, x->which == 'A' ? pair->a : pair->b);
    const struct br__sharing by = {follows ? x->sharing->split : BR__SPLIT_NONE, x->sharing->rank,
                                   x->sharing->size};
    return param_cut(p->w->cfg, &(struct found){.source = s, .rows = s->rows}, &by, out, &one, err);
}

static int make_expert_adapters(struct br__params *p, const char *key,
                                const struct expert_adapters *x, struct br__param **out,
                                struct br_err *err)
{
    size_t n = x->weights->n_parts;
    struct br__param *q = br__arena_alloc(&p->arena, sizeof *q);
    struct br__part *parts = br__arena_alloc(&p->arena, n * sizeof *parts);
    const void **data = br__arena_alloc(&p->arena, n * sizeof *data);
    if (!q || !parts || !data)
        return br__nomem(err, "for parameters");
    *q = (struct br__param){.split = (int)x->sharing->split, .expert = 1, .adapter = x->which};
    for (size_t i = 0; i < n; i++) {
        int copied, rc = expert_part(p, x, i, &parts[i], err);
        if (rc)
            return rc;
        data[i] = p->host ? param_gather(p, &parts[i], 1, BR_F32, &copied) : NULL;
        if (p->host && !data[i])
            return br__nomem(err, "for parameters");
    }
    q->stored = (struct br__stored){.dtype = BR_F32,
                                    .n_dim = 3,
                                    .shape = {(int64_t)n, parts[0].n_rows, parts[0].n_cols},
                                    .parts = p->host ? data : NULL};
    if (param_add(p, q, key, parts, n))
        return br__nomem(err, "for parameters");
    *out = q;
    return 0;
}

int br__param_expert_adapters(struct br__params *p, const struct br__param *weights, int which,
                              const struct br__sharing *sharing, const struct br__param **out,
                              struct br_err *err)
{
    const struct expert_adapters x = {weights, which, sharing};
    char key[192];
    snprintf(key, sizeof key, "%s|%c", weights->key, which);
    struct br__param *q = param_known(p, key);
    int rc = q ? 0 : make_expert_adapters(p, key, &x, &q, err);
    *out = q;
    return rc;
}

void br__params_refresh(struct br__params *p)
{
    for (size_t i = 0; i < p->n; i++) {
        struct br__param *q = p->list[i];
        if (q->copied)
            copy_parts(q->parts, q->n_parts, (int)q->stored.dtype,
                       (unsigned char *)(uintptr_t)q->stored.data);
    }
}
