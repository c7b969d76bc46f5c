/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* lora_set.c - adapters of Megatron's fused linears: read from its checkpoints, and made from and
 * into peft's one for each weight.
 *
 * The rows of a fused linear's B are those of its weight, so the weight rules say which of them
 * belong to which Hugging Face weight.
 * Source: ParallelLinearAdapter and export_adapter_ckpt of Megatron Bridge 0.6.2; peft 0.21. */
#include "lora_set.h"
#include "ckpt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PEFT_PREFIX "base_model.model."

/* ---- linears --------------------------------------------------------------------------------- */

/* A linear, or one more of the experts of the last, whose moves follow its. */
static int set_add(struct br__lora_set *s, const struct br__view *v, struct br_err *err)
{
    const struct br__slot *mc = &s->x->mc[v->mc];
    size_t n = strlen(mc->name) - strlen(".weight");

    if (v->row) {
        s->list[s->n - 1].n_moves += v->n_moves;
        return BR_OK;
    }
    struct br__lora_linear *l = &s->list[s->n++];
    *l = (struct br__lora_linear){.module = br__lora_module(&s->arena, mc->name),
                                  .key = br__arena_strndup(&s->arena, mc->name, n),
                                  .n = mc->lead ? mc->shape[0] : 1,
                                  .in = mc->shape[mc->lead + 1],
                                  .out = mc->shape[mc->lead],
                                  .is_experts = mc->lead,
                                  .moves = s->x->moves + v->first_move,
                                  .n_moves = v->n_moves};
    return l->module && l->key ? BR_OK : br__nomem(err, "for the adapter");
}

int br__lora_set_open(struct br__lora_set *s, const struct br_config *cfg, struct br_err *err)
{
    const struct br__expand_opts o = {.per_layer = 1,
                                      .untied = !br_cfg_i(cfg, BR_CFG_SHARE_EMBEDDINGS)};

    memset(s, 0, sizeof *s);
    s->has_bias = br_cfg_i(cfg, BR_CFG_ADD_QKV_BIAS) != 0;
    int rc = br__rules_expand(&s->arena, cfg, &o, &s->x, err);
    if (!rc && !(s->list = br__arena_alloc(&s->arena, (s->x->n_views + 1) * sizeof *s->list)))
        rc = br__nomem(err, "for the adapter");
    for (size_t i = 0; !rc && i < s->x->n_views; i++) {
        const struct br__view *v = &s->x->views[i];
        const struct br__slot *mc = &s->x->mc[v->mc];
        if (br__ends(mc->name, ".weight") && mc->ndim - mc->lead == 2 && mc->lead < 2)
            rc = set_add(s, v, err);
    }
    return rc;
}

void br__lora_set_close(struct br__lora_set *s)
{
    br__arena_free(&s->arena);
    memset(s, 0, sizeof *s);
}

static unsigned char *set_room(struct br__lora_set *s, int64_t rows, int64_t cols)
{
    return br__arena_alloc(&s->arena, (size_t)rows * (size_t)cols * br_dtype_size(s->dtype));
}

/* Room for the three, zeros. */
static int set_make(struct br__lora_set *s, struct br__lora_linear *l, struct br_err *err)
{
    l->a = set_room(s, l->n * s->dim, l->in);
    l->b = set_room(s, l->n * l->out, s->dim);
    l->m = s->dora ? set_room(s, l->n * l->out, 1) : NULL;
    return l->a && l->b && (l->m || !s->dora) ? BR_OK : br__nomem(err, "for the adapter");
}

/* ---- from Megatron's checkpoints ------------------------------------------------------------- */

/* "decoder.layers.3.mlp" is layer 3 of "decoder.layers.mlp"; *layer is -1 where there is none. */
static const char *set_stacked(struct br__arena *a, const char *name, int64_t *layer)
{
    const char *at = strstr(name, ".layers."), *end;

    *layer = -1;
    if (!at)
        return name;
    at += strlen(".layers.");
    end = at + strspn(at, "0123456789");
    if (end == at || *end != '.')
        return name;
    *layer = strtoll(at, NULL, 10);
    return br__arena_printf(a, "%.*s%s", (int)(at - name), name, end + 1);
}

/* A tensor of a linear in a checkpoint. */
struct set_tensor {
    const char *name;
    int64_t shape[BR_MAX_DIMS];
    int ndim;
    unsigned char *dst;
};

/* As it is, or a layer of a stacked one.  *found 0: it is not there. */
static int set_read(struct br__lora_set *s, const struct br__ckpt *ck, const struct set_tensor *w,
                    int *found, struct br_err *err)
{
    int64_t layer = -1, want[BR_MAX_DIMS] = {0};
    const struct br__tensor *t = br__ckpt_find(ck, w->name);
    uint64_t n = br_dtype_size(s->dtype);
    char got[96], text[96];

    if (!t) {
        const char *key = set_stacked(&s->arena, w->name, &layer);
        if (!key)
            return br__nomem(err, "for the adapter");
        t = layer >= 0 ? br__ckpt_find(ck, key) : NULL;
    }
    *found = t != NULL;
    if (!t)
        return BR_OK;
    int stacked = layer >= 0;
    want[0] = stacked ? t->shape[0] : 0;
    for (int i = 0; i < w->ndim; i++) {
        want[stacked + i] = w->shape[i];
        n *= (uint64_t)w->shape[i];
    }
    if (t->dtype != s->dtype || t->ndim != w->ndim + stacked || (stacked && layer >= t->shape[0]) ||
        memcmp(t->shape, want, (size_t)t->ndim * sizeof *want) != 0)
        return br_fail(err, BR_E_PLAN, "'%s' of '%s' is %s %s, expected %s %s", t->name, ck->dir,
                       br_dtype_torch(t->dtype), br__shape_str(t->shape, t->ndim, got, sizeof got),
                       br_dtype_torch(s->dtype),
                       br__shape_str(want, w->ndim + stacked, text, sizeof text));
    return br__ckpt_read(ck, t, stacked ? (uint64_t)layer * n : 0, w->dst, (size_t)n, err);
}

static int set_read_linear(struct br__lora_set *s, struct br__lora_linear *l,
                           const struct br__ckpt *ck, struct br_err *err)
{
    struct br__lora_linear full = *l;
    int rc = set_make(s, &full, err);
    struct set_tensor parts[] = {{"linear_in.weight", {l->n, s->dim, l->in}, 3, full.a},
                                 {"linear_out.weight", {l->n, l->out, s->dim}, 3, full.b},
                                 {"weight_magnitude", {l->n, l->out}, 2, full.m}};
    size_t n = s->dora ? 3 : 2, n_found = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        int found = 0;
        parts[i].name = br__arena_printf(&s->arena, "%s.adapter.%s", l->key, parts[i].name);
        if (!l->is_experts)
            memmove(parts[i].shape, parts[i].shape + 1,
                    (size_t)--parts[i].ndim * sizeof *parts[i].shape);
        rc = parts[i].name ? set_read(s, ck, &parts[i], &found, err)
                           : br__nomem(err, "for the adapter");
        n_found += (size_t)found;
    }
    if (!rc && n_found && n_found < n)
        rc = br_fail(err, BR_E_PLAN, "'%s' has %zu of the %zu tensors of an adapter of '%s'",
                     ck->dir, n_found, n, l->module);
    if (!rc && n_found)
        *l = full;
    return rc;
}

/* Megatron Bridge's own checkpoints, which have no entry, are of its form. */
int br__dora_bias_inside(const struct br__pk *extra)
{
    const struct br__pk *v = br__pk_get(extra, BR__DORA_BIAS);

    return v && v->kind == BR__PK_STR ? !strcmp(v->u.s, "inside") : !extra;
}

/* dim, dtype and kind, from the tensors; alpha from run_config.yaml. */
static int set_facts(struct br__lora_set *s, const struct br__ckpt *ck, struct br_err *err)
{
    const struct br__td *td = ck->td;
    struct br__yaml *yaml = NULL;
    int rc = BR_OK;

    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        if (br__is_training_state(t->name))
            continue;
        if (br__ends(t->name, ".adapter.linear_in.weight") && !s->dim && t->ndim >= 2) {
            s->dim = t->shape[t->ndim - 2];
            s->dtype = t->dtype;
        }
        s->dora |= br__ends(t->name, ".adapter.weight_magnitude");
    }
    if (!s->dim || !br_dtype_is_float(s->dtype) || br_dtype_size(s->dtype) < 2)
        return br_fail(err, BR_E_PLAN,
                       "'%s' is no checkpoint of adapters: it has no tensor "
                       "'….adapter.linear_in.weight' of a float type",
                       ck->dir);
    s->bias_inside =
        s->dora && s->has_bias && br__dora_bias_inside(br__pk_get(td->common, "bridge"));
    if (td->has_run_config)
        rc = br__yaml_parse(&s->arena, td->run_config_text, td->run_config_size, &yaml, err);
    if (rc) {
        br_wrap(err, "run_config.yaml");
        return rc;
    }
    const struct br__yaml *alpha = yaml ? br__yaml_get(yaml, "peft.alpha") : NULL;
    if (!alpha || br__yaml_f64(alpha, &s->alpha))
        return br_fail(err, BR_E_CONFIG,
                       "'%s': run_config.yaml does not say peft.alpha, by which "
                       "an adapter is scaled",
                       ck->dir);
    return BR_OK;
}

/* Tensors of the checkpoint that no linear took. */
static int set_check_rest(const struct br__lora_set *s, const struct br__ckpt *ck,
                          struct br_err *err)
{
    struct br__arena a = {0};
    struct br__map known;
    int rc = br__map_init(&known, 4 * s->n) ? br__nomem(err, "for the adapter") : BR_OK;

    for (size_t i = 0; i < s->n && !rc; i++) {
        int64_t layer;
        const char *keys[] = {s->list[i].key, set_stacked(&a, s->list[i].key, &layer)};
        for (size_t k = 0; k < BR_COUNTOF(keys) && s->list[i].a && !rc; k++)
            if (!keys[k] ||
                (br__map_get(&known, keys[k]) == BR__NOT_FOUND && br__map_put(&known, keys[k], 1)))
                rc = br__nomem(err, "for the adapter");
    }
    for (size_t i = 0; i < ck->n_tensors && !rc; i++) {
        const char *name = ck->tensors[i].name, *at = strstr(name, ".adapter.");
        char *module = at ? br__arena_strndup(&a, name, (size_t)(at - name)) : NULL;
        if (br__is_training_state(name))
            continue;
        if (at && !module)
            rc = br__nomem(err, "for the adapter");
        else if (!at || br__map_get(&known, module) == BR__NOT_FOUND)
            rc = br_fail(err, BR_E_UNSUPPORTED,
                         "'%s' of '%s' is no adapter of a linear of this model", name, ck->dir);
    }
    br__map_free(&known);
    br__arena_free(&a);
    return rc;
}

int br__lora_set_read(struct br__lora_set *s, const struct br__ckpt *ck, struct br_err *err)
{
    int rc = set_facts(s, ck, err);

    for (size_t i = 0; i < s->n && !rc; i++)
        rc = set_read_linear(s, &s->list[i], ck, err);
    if (!rc)
        rc = set_check_rest(s, ck, err);
    return rc ? rc : br__ckpt_settle(ck, err);
}

/* ---- from peft's form ------------------------------------------------------------------------ */

static const struct br__adapter_pair *set_pair(const struct br__lora_set *s,
                                               const struct br__adapter *from, uint32_t hf)
{
    return br__adapter_find(from, s->x->hf[hf].name);
}

static int set_same(const struct br__source *x, const struct br__source *y)
{
    return x->dtype == y->dtype && x->rows == y->rows && x->cols == y->cols &&
           !memcmp(x->data, y->data, (size_t)(x->rows * x->cols) * br_dtype_size(x->dtype));
}

/* n rows of a source, as the set's dtype. */
static void set_copy(const struct br__lora_set *s, unsigned char *dst,
                     const struct br__source *from, uint64_t row, uint64_t n, int64_t cols)
{
    const unsigned char *at = from->data;

    br_cast(dst, s->dtype, at + row * (uint64_t)cols * br_dtype_size(from->dtype), from->dtype,
            (size_t)n * (size_t)cols, 0);
}

static int set_check_pair(const struct br__lora_set *s, const struct br__lora_linear *l,
                          const struct br__adapter_pair *p, const struct br__move *move,
                          struct br_err *err)
{
    if (p->a->cols == l->in && p->b->rows == s->x->hf[move->hf].shape[0])
        return BR_OK;
    return br_fail(err, BR_E_PLAN,
                   "the adapter of '%s' is for [%lld, %lld], the weight is "
                   "[%lld, %lld]",
                   p->target, (long long)p->b->rows, (long long)p->a->cols,
                   (long long)s->x->hf[move->hf].shape[0], (long long)l->in);
}

/* The pair that has a move of matrix k of a linear, or NULL. */
static const struct br__adapter_pair *set_pair_of(const struct br__lora_set *s,
                                                  const struct br__lora_linear *l, int64_t k,
                                                  const struct br__move *v,
                                                  const struct br__adapter *from)
{
    uint64_t begin = (uint64_t)(k * l->out);

    return v->mc_row >= begin && v->mc_row < begin + (uint64_t)l->out ? set_pair(s, from, v->hf)
                                                                      : NULL;
}

/* The different A of matrix k, in the order of its weights; how many. */
static int set_blocks(const struct br__lora_set *s, const struct br__lora_linear *l, int64_t k,
                      const struct br__adapter *from, const struct br__source *list[BR__MAX_LIST])
{
    int n = 0;

    for (size_t i = 0; i < l->n_moves; i++) {
        const struct br__adapter_pair *p = set_pair_of(s, l, k, &l->moves[i], from);
        int j = 0;
        while (p && j < n && !set_same(list[j], p->a))
            j++;
        if (p && j == n && n < BR__MAX_LIST)
            list[n++] = p->a;
    }
    return n;
}

/* The rows of a weight's B, in the columns of its block. */
static void set_copy_b(struct br__lora_set *s, struct br__lora_linear *l, const struct br__move *v,
                       const struct br__adapter_pair *p, int block)
{
    size_t size = br_dtype_size(s->dtype);
    int64_t rank = p->a->rows;

    for (uint64_t i = 0; i < v->n; i++)
        set_copy(s, l->b + ((v->mc_row + i) * (uint64_t)s->dim + (uint64_t)(block * rank)) * size,
                 p->b, v->hf_row + i, 1, rank);
}

/* Of matrix k of a linear what `from` has; *rows counts those of B. */
static int set_take_matrix(struct br__lora_set *s, struct br__lora_linear *l, int64_t k,
                           const struct br__adapter *from, uint64_t *rows, struct br_err *err)
{
    const struct br__source *blocks[BR__MAX_LIST];
    int n = set_blocks(s, l, k, from, blocks), rc = BR_OK;
    size_t size = br_dtype_size(s->dtype);

    for (size_t i = 0; i < l->n_moves && !rc; i++) {
        const struct br__move *v = &l->moves[i];
        const struct br__adapter_pair *p = set_pair_of(s, l, k, v, from);
        int j = 0;
        if (!p || (rc = set_check_pair(s, l, p, v, err)))
            continue;
        while (j + 1 < n && !set_same(blocks[j], p->a))
            j++;
        set_copy(s, l->a + (uint64_t)((k * s->dim + j * p->a->rows) * l->in) * size, p->a, 0,
                 (uint64_t)p->a->rows, l->in);
        set_copy_b(s, l, v, p, j);
        if (l->m)
            set_copy(s, l->m + v->mc_row * size, p->magnitude, v->hf_row, v->n, 1);
        *rows += v->n;
    }
    return rc;
}

/* *taken counts the pairs that were used. */
static int set_take_linear(struct br__lora_set *s, struct br__lora_linear *l,
                           const struct br__adapter *from, size_t *taken, struct br_err *err)
{
    uint64_t rows = 0;
    size_t n = 0;
    int rc = BR_OK;

    for (size_t i = 0; i < l->n_moves; i++)
        n += l->moves[i].hf_row == 0 && set_pair(s, from, l->moves[i].hf);
    if (!n)
        return BR_OK;
    *taken += n;
    rc = set_make(s, l, err);
    for (int64_t k = 0; k < l->n && !rc; k++)
        rc = set_take_matrix(s, l, k, from, &rows, err);
    if (!rc && s->dora && rows != (uint64_t)(l->n * l->out))
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "only a part of '%s' has a DoRA adapter; Megatron has "
                     "one for all of it",
                     l->module);
    if (!rc && s->dora && (l->is_experts || br__ends(l->module, ".router")))
        rc = br_fail(err, BR_E_UNSUPPORTED,
                     "'%s' has a DoRA adapter, and Megatron Bridge has none of routed experts and "
                     "routers; bridge adapter merge adds the adapter to the model instead",
                     l->module);
    return rc;
}

double br__peft_alpha(const struct br__adapter *a)
{
    double alpha = (double)a->pairs[0].scaling * (double)a->pairs[0].a->rows;
    double whole = nearbyint(alpha);

    return fabs(alpha - whole) <= 1e-6 * fabs(alpha) ? whole : alpha;
}

void br__peft_put_alpha(struct br__buf *out, double alpha)
{
    if (alpha == nearbyint(alpha) && fabs(alpha) < 1e15)
        br__buf_printf(out, "%.0f", alpha);
    else
        br__buf_double(out, alpha);
}

int br__lora_set_take(struct br__lora_set *s, const struct br__adapter *from, struct br_err *err)
{
    size_t taken = 0;
    int rc = BR_OK;

    if (!from->n_pairs)
        return br_fail(err, BR_E_PLAN, "the adapter has no tensors");
    s->blocks = 1;
    for (size_t i = 0; i < s->n; i++)
        for (int64_t k = 0; k < s->list[i].n; k++) {
            const struct br__source *list[BR__MAX_LIST];
            int n = set_blocks(s, &s->list[i], k, from, list);
            s->blocks = BR__MAX(s->blocks, n);
        }
    s->dim = s->blocks * from->pairs[0].a->rows;
    s->alpha = s->blocks * br__peft_alpha(from);
    s->dora = from->pairs[0].magnitude != NULL;
    s->bias_inside = s->dora && s->has_bias && from->bias_inside;
    s->dtype = from->pairs[0].a->dtype;
    for (size_t i = 0; i < from->n_sources; i++)
        if (from->sources[i].dtype != s->dtype)
            s->dtype = BR_F32;
    for (size_t i = 0; i < s->n && !rc; i++)
        rc = set_take_linear(s, &s->list[i], from, &taken, err);
    if (rc || taken == from->n_pairs)
        return rc;
    for (size_t i = 0; i < from->n_pairs; i++) {
        const char *target = from->pairs[i].target;
        size_t k = 0;
        while (k < s->x->n_hf && strcmp(s->x->hf[k].name, target) != 0)
            k++;
        if (k == s->x->n_hf || s->x->hf[k].ndim != 2)
            return br_fail(err, BR_E_UNSUPPORTED,
                           "the adapter changes '%s', which is no linear of this model", target);
    }
    return br_fail(err, BR_E_UNSUPPORTED, "the adapter changes weights that are no linears");
}

/* ---- into peft's form ------------------------------------------------------------------------ */

struct giver {
    const struct br__lora_set *s;
    struct br__adapter *a;
    struct br_err *err;
};

static struct br__source *give_source(struct giver *g, uint32_t hf, const char *what, int64_t rows,
                                      int64_t cols)
{
    const char *name = g->s->x->hf[hf].name;
    struct br__source *to = &g->a->sources[g->a->n_sources];
    size_t n = strlen(name) - (br__ends(name, ".weight") ? strlen(".weight") : 0);

    *to = (struct br__source){
        .name = br__arena_printf(&g->a->arena, PEFT_PREFIX "%.*s.%s", (int)n, name, what),
        .dtype = g->s->dtype,
        .data = br__arena_alloc(&g->a->arena, (size_t)rows * (size_t)BR__MAX(cols, 1) *
                                                  br_dtype_size(g->s->dtype)),
        .ndim = cols ? 2 : 1,
        .shape = {rows, cols},
        .rows = cols ? rows : 1,
        .cols = cols ? cols : rows};
    if (!to->name || !to->data)
        return NULL;
    g->a->n_sources++;
    return to;
}

/* The pair of one Hugging Face weight, of which `some` are rows. */
static int give_pair(struct giver *g, const struct br__lora_linear *l, const struct br__move *some)
{
    const struct br__lora_set *s = g->s;
    size_t size = br_dtype_size(s->dtype), row = (size_t)s->dim * size;
    size_t a_bytes = (size_t)s->dim * (size_t)l->in * size;
    uint32_t hf = some->hf;
    int64_t rows = s->x->hf[hf].shape[0];
    struct br__adapter_pair *p = &g->a->pairs[g->a->n_pairs];

    *p = (struct br__adapter_pair){
        .target = br__arena_strdup(&g->a->arena, s->x->hf[hf].name),
        .a = give_source(g, hf, "lora_A.weight", s->dim, l->in),
        .b = give_source(g, hf, "lora_B.weight", rows, s->dim),
        .magnitude = l->m ? give_source(g, hf, "lora_magnitude_vector", rows, 0) : NULL,
        .scaling = (float)(s->alpha / (double)s->dim),
        .index = (uint32_t)g->a->n_pairs};
    if (!p->target || !p->a || !p->b || (l->m && !p->magnitude) ||
        br__map_put(&g->a->by_target, p->target, p->index))
        return br__nomem(g->err, "for the adapter");
    g->a->n_pairs++;
    memcpy((void *)(uintptr_t)p->a->data, l->a + some->mc_row / (uint64_t)l->out * a_bytes,
           a_bytes);
    for (size_t i = 0; i < l->n_moves; i++) {
        const struct br__move *v = &l->moves[i];
        if (v->hf != hf)
            continue;
        memcpy((char *)(uintptr_t)p->b->data + v->hf_row * row, l->b + v->mc_row * row, v->n * row);
        if (l->m)
            memcpy((char *)(uintptr_t)p->magnitude->data + v->hf_row * size,
                   l->m + v->mc_row * size, v->n * size);
    }
    return BR_OK;
}

static int give_all(struct giver *g)
{
    const struct br__lora_set *s = g->s;
    size_t n = s->x->n_hf + 1;
    int rc = BR_OK;

    g->a->sources = br__arena_alloc(&g->a->arena, 3 * n * sizeof *g->a->sources);
    g->a->pairs = br__calloc(n, sizeof *g->a->pairs);
    if (!g->a->sources || !g->a->pairs || br__map_init(&g->a->by_target, n))
        return br__nomem(g->err, "for the adapter");
    for (size_t i = 0; i < s->n; i++) {
        const struct br__lora_linear *l = &s->list[i];
        for (size_t k = 0; l->a && k < l->n_moves && !rc; k++)
            if (br__map_get(&g->a->by_target, s->x->hf[l->moves[k].hf].name) == BR__NOT_FOUND)
                rc = give_pair(g, l, &l->moves[k]);
    }
    return rc;
}

int br__lora_set_give(const struct br__lora_set *s, struct br__adapter **out, struct br_err *err)
{
    struct giver g = {.s = s, .a = br__calloc(1, sizeof *g.a), .err = err};

    *out = NULL;
    if (!g.a)
        return br__nomem(err, "for the adapter");
    g.a->bias_inside = s->bias_inside;
    int rc = give_all(&g);
    if (rc)
        br__adapter_close(g.a);
    else
        *out = g.a;
    return rc;
}

/* ---- as tensors of a run --------------------------------------------------------------------- */

/* All n matrices of the tensor are the same. */
static int is_repeated(const unsigned char *p, int64_t n, size_t bytes)
{
    for (int64_t i = 1; i < n; i++)
        if (memcmp(p, p + (size_t)i * bytes, bytes) != 0)
            return 0;
    return 1;
}

int br__lora_set_is_shared(const struct br__lora_set *s)
{
    size_t size = br_dtype_size(s->dtype) * (size_t)s->dim;

    for (size_t i = 0; i < s->n; i++) {
        const struct br__lora_linear *l = &s->list[i];
        if (l->a && (!is_repeated(l->a, l->n, (size_t)l->in * size) ||
                     !is_repeated(l->b, l->n, (size_t)l->out * size)))
            return 0;
    }
    return 1;
}

static int set_tensor(const struct br__lora_set *s, struct br__arena *a, struct br__live *to,
                      const char *name, const unsigned char *from)
{
    to->n = 1;
    for (int i = 0; i < to->ndim; i++)
        to->n *= (size_t)to->shape[i];
    float *values = br__arena_alloc(a, to->n * sizeof *values);

    to->name = name;
    if (!name || !values)
        return BR_E_NOMEM;
    br_cast(values, BR_F32, from, s->dtype, to->n, 0);
    to->state[BR__OPTIM_MAIN] = values;
    return BR_OK;
}

int br__lora_set_tensors(const struct br__lora_set *s, struct br__arena *a, struct br__live **list,
                         size_t *n, struct br_err *err)
{
    struct br__live *t = br__arena_alloc(a, (3 * s->n + 1) * sizeof *t);
    int rc = t ? BR_OK : BR_E_NOMEM, shared = br__lora_set_is_shared(s);

    *n = 0;
    *list = t;
    for (size_t i = 0; i < s->n && !rc; i++) {
        const struct br__lora_linear *l = &s->list[i];
        const struct {
            const char *what;
            const unsigned char *from;
            struct br__live as;
        } parts[] = {{"linear_in.weight", l->a, {.ndim = 3, .shape = {l->n, s->dim, l->in}}},
                     {"linear_out.weight", l->b, {.ndim = 3, .shape = {l->n, l->out, s->dim}}},
                     {"weight_magnitude", l->m, {.ndim = 2, .shape = {l->n, l->out}}}};
        for (size_t k = 0; k < BR_COUNTOF(parts) && !rc; k++) {
            struct br__live *to = &t[*n];
            if (!parts[k].from)
                continue;
            *to = parts[k].as;
            if (!l->is_experts || shared)
                memmove(to->shape, to->shape + 1, (size_t)--to->ndim * sizeof *to->shape);
            rc =
                set_tensor(s, a, to, br__arena_printf(a, "%s.adapter.%s", l->module, parts[k].what),
                           parts[k].from);
            ++*n;
        }
    }
    return rc ? br__nomem(err, "for the adapter") : BR_OK;
}
