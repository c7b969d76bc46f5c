/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_layout.c - where Megatron's flat gradient buffers hold the parameters.
 *
 * Each model-parallel rank registers its parameters in the order of its modules and lays them out
 * from the last to the first.  Keys of a checkpoint do not say that order, so it is a table here:
 * that of Megatron's GPT models with Transformer Engine layers.  Anything that is not in the table
 * is refused. Source: buffers of megatron-core 0.19.2, decoded and compared with fully_reshardable
 * checkpoints of the same run. */
#include "train.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 65536
#define MAX_EXPERTS 65536
#define MAX_LOCALS (1u << 26)

/* Which share of a parameter one rank holds. */
enum split {
    WHOLE, /* every tensor-parallel rank has all of it */
    ROWS,
    COLS,
    GATED,  /* rows of two halves, each split: gate and up */
    EXPERTS /* whole experts, one parameter each */
};
/* Modules of a layer, in order. */
static const struct {
    const char *key;
    enum split split;
} modules[] = {
    {"self_attention.linear_proj.weight", COLS},
    {"self_attention.linear_qkv.layer_norm_weight", WHOLE},
    {"self_attention.linear_qkv.weight", ROWS},
    {"self_attention.linear_qkv.bias", ROWS},
    {"self_attention.q_layernorm.weight", WHOLE},
    {"self_attention.k_layernorm.weight", WHOLE},
    {"mlp.linear_fc1.layer_norm_weight", WHOLE},
    {"mlp.linear_fc1.weight", GATED},
    {"mlp.linear_fc2.weight", COLS},
    {"pre_mlp_layernorm.weight", WHOLE},
    {"mlp.router.weight", WHOLE},
    {"mlp.experts.experts.linear_fc1.weight", EXPERTS},
    {"mlp.experts.experts.linear_fc2.weight", EXPERTS},
};
#define N_MODULES BR_COUNTOF(modules)
/* Outside of the layers. */
enum outer { EMBEDDING, FINAL_NORM, OUTPUT, N_OUTER };
static const struct {
    const char *key;
    enum split split;
} outers[N_OUTER] = {
    {"embedding.word_embeddings.weight", ROWS},
    {"decoder.final_layernorm.weight", WHOLE},
    {"output_layer.weight", ROWS},
};

/* Where a parameter is found, and what of its axes are not its own. */
struct param_axes {
    int module;    /* of `modules`; -1: an outer one */
    int outer;     /* of `outers`, or -1 */
    int64_t layer; /* -1: the first axis is the layer, or there is none */
    int skip;      /* leading axes: layer, expert */
    int is_stacked;
    enum split split;
};
struct maker {
    struct br__train_state *s;
    struct br__train_layout *l;
    struct param_axes *axes; /* per parameter */
    uint32_t *by_module;     /* [N_MODULES][n_layers] parameter, or BR__NOT_FOUND */
    uint32_t by_outer[N_OUTER];
    struct br_err *err;
};

/* ---- sizes of the grid ----------------------------------------------------------------------- */

struct sizes {
    struct br__arena a;
    const struct br__yaml *model; /* section of run_config.yaml, or NULL */
    const struct br__pk *args;    /* Megatron-LM's, or NULL */
};

/* A count that Megatron configures; null and absent are `dflt`; -1: something else. */
static int64_t size_of(const struct sizes *z, const char *key, int64_t dflt)
{
    int64_t n = -1;
    if (z->model) {
        const struct br__yaml *y = br__yaml_get(z->model, key);
        if (!y || br__yaml_is_null(y))
            return dflt;
        return y->kind == BR__YAML_SCALAR && br__parse_i64(y->text, &n) == BR_OK ? n : -1;
    }
    const struct br__pk *v = br__pk_get(z->args, key);
    if (!v || v->kind == BR__PK_NONE)
        return dflt;
    return v->kind == BR__PK_INT && !v->big ? v->u.i : -1;
}

/* Settings that change the order or the share of a rank; all must be unset. */
static const char *odd_setting(const struct sizes *z)
{
    static const char *const unset[] = {
        "virtual_pipeline_model_parallel_size", "num_layers_in_first_pipeline_stage",
        "num_layers_in_last_pipeline_stage",    "decoder_first_pipeline_num_layers",
        "decoder_last_pipeline_num_layers",     "pipeline_model_parallel_layout"};
    for (size_t i = 0; i < BR_COUNTOF(unset); i++) {
        const struct br__yaml *y = z->model ? br__yaml_get(z->model, unset[i]) : NULL;
        const struct br__pk *v = z->model ? NULL : br__pk_get(z->args, unset[i]);
        if ((y && !br__yaml_is_null(y)) || (v && v->kind != BR__PK_NONE))
            return unset[i];
    }
    return NULL;
}

static int read_grid(struct maker *m, struct sizes *z)
{
    const struct br__td *td = m->s->ck->td;
    struct br__yaml *y = NULL;
    int rc = BR_OK;

    if (td->run_config_text)
        rc = br__yaml_parse(&z->a, td->run_config_text, td->run_config_size, &y, m->err);
    if (rc) {
        br_wrap(m->err, "run_config.yaml");
        return rc;
    }
    z->model = y ? br__yaml_get(y, "model") : NULL;
    z->args = td->args;
    if (!z->model && !z->args)
        return br_fail(m->err, BR_E_UNSUPPORTED,
                       "neither run_config.yaml nor Megatron-LM's args say over how many ranks the "
                       "model was split");
    m->l->tp = size_of(z, "tensor_model_parallel_size", 1);
    m->l->pp = size_of(z, "pipeline_model_parallel_size", 1);
    m->l->ep = size_of(z, "expert_model_parallel_size", 1);
    int64_t etp = size_of(z, "expert_tensor_parallel_size", m->l->tp);
    const char *odd = odd_setting(z);
    if (odd)
        return br_fail(m->err, BR_E_UNSUPPORTED, "buffers of a run with %s", odd);
    if (m->l->tp < 1 || m->l->pp < 1 || m->l->ep < 1 || m->l->tp > 4096 || m->l->pp > 4096 ||
        m->l->ep > 4096)
        return br_fail(m->err, BR_E_FORMAT,
                       "tensor, pipeline and expert parallel sizes are %" PRId64 ", %" PRId64
                       " and %" PRId64 ", expected 1 to 4096",
                       m->l->tp, m->l->pp, m->l->ep);
    if (m->l->n_experts && etp != 1)
        return br_fail(m->err, BR_E_UNSUPPORTED,
                       "buffers of a run with expert tensor parallelism %" PRId64, etp);
    return BR_OK;
}

/* ---- parameters ------------------------------------------------------------------------------ */

static int find_module(const char *key)
{
    for (size_t i = 0; i < N_MODULES; i++)
        if (strcmp(modules[i].key, key) == 0)
            return (int)i;
    return -1;
}

/* Module, layer and kind of a key; BR_E_UNSUPPORTED if its place in the order is not known. */
static int param_axes_of(const char *name, struct param_axes *p)
{
    static const char layers[] = "decoder.layers.";

    *p = (struct param_axes){.module = -1, .outer = -1, .layer = -1};
    for (int i = 0; i < N_OUTER; i++)
        if (strcmp(name, outers[i].key) == 0) {
            p->outer = i;
            p->split = outers[i].split;
            return BR_OK;
        }
    if (!br__starts(name, layers))
        return BR_E_UNSUPPORTED;
    const char *key = name + strlen(layers);
    size_t digits = strspn(key, "0123456789");
    p->is_stacked = digits == 0;
    if (digits) {
        if (digits > 5 || key[digits] != '.')
            return BR_E_UNSUPPORTED;
        p->layer = strtol(key, NULL, 10);
        key += digits + 1;
    }
    p->module = find_module(key);
    if (p->module < 0)
        return BR_E_UNSUPPORTED;
    p->split = modules[p->module].split;
    p->skip = p->is_stacked + (p->split == EXPERTS);
    return BR_OK;
}

/* Rows and columns of a rank's parameter, before it is split. */
static void matrix_of(const struct br__tensor *t, const struct param_axes *p, int64_t *rows,
                      int64_t *cols)
{
    *rows = t->shape[p->skip];
    *cols = t->ndim > p->skip + 1 ? t->shape[p->skip + 1] : 1;
}

static int check_shape(struct maker *m, const struct br__tensor *t, const struct param_axes *p)
{
    int64_t rows, cols, tp = m->l->tp;
    int own = t->ndim - p->skip;

    if (own < 1 || own > 2 || (p->split == COLS && own != 2))
        return br_fail(m->err, BR_E_FORMAT, "'%s' has %d axes", t->name, t->ndim);
    matrix_of(t, p, &rows, &cols);
    if (rows < 1 || cols < 1 || (p->split == ROWS && rows % tp) ||
        (p->split == COLS && cols % tp) || (p->split == GATED && rows % (2 * tp)))
        return br_fail(m->err, BR_E_FORMAT,
                       "'%s' has %" PRId64 " x %" PRId64 " elements, which %" PRId64
                       " tensor-parallel ranks cannot share",
                       t->name, rows, cols, tp);
    return BR_OK;
}

/* Numbers of layers and experts, which all parameters must agree on. */
static int count_axes(struct maker *m, const struct br__tensor *t, const struct param_axes *p)
{
    int64_t layers = p->is_stacked ? t->shape[0] : p->layer + 1;
    int64_t experts = p->split == EXPERTS && t->ndim > p->skip ? t->shape[p->is_stacked] : 0;

    if (p->module < 0)
        return BR_OK;
    if (t->ndim <= p->skip || layers < 1 || layers > MAX_LAYERS || experts > MAX_EXPERTS ||
        (p->is_stacked && m->l->n_layers && m->l->n_layers != layers) ||
        (experts && m->l->n_experts && m->l->n_experts != experts))
        return br_fail(m->err, BR_E_FORMAT,
                       "'%s' has %" PRId64 " layers and %" PRId64 " experts, others %" PRId64
                       " and %" PRId64,
                       t->name, layers, experts, m->l->n_layers, m->l->n_experts);
    m->l->n_layers = BR__MAX(m->l->n_layers, layers);
    m->l->n_experts = BR__MAX(m->l->n_experts, experts);
    return BR_OK;
}

static int place_params(struct maker *m)
{
    int rc = BR_OK;

    for (int i = 0; i < N_OUTER; i++)
        m->by_outer[i] = BR__NOT_FOUND;
    for (size_t i = 0; i < m->s->n_params && !rc; i++) {
        const struct br__tensor *t = m->s->params[i].weight;
        if (param_axes_of(t->name, &m->axes[i]))
            return br_fail(m->err, BR_E_UNSUPPORTED,
                           "the place of '%s' in the optimizer's buffers is not known", t->name);
        if (m->axes[i].outer >= 0)
            m->by_outer[m->axes[i].outer] = (uint32_t)i;
        rc = count_axes(m, t, &m->axes[i]);
    }
    return rc;
}

static int index_params(struct maker *m)
{
    size_t n = N_MODULES * (size_t)m->l->n_layers;
    int rc = BR_OK;

    m->by_module = br__alloc(n * sizeof *m->by_module);
    if (!m->by_module)
        return br__nomem(m->err, "laying out the optimizer's buffers");
    for (size_t i = 0; i < n; i++)
        m->by_module[i] = BR__NOT_FOUND;
    for (size_t i = 0; i < m->s->n_params && !rc; i++) {
        const struct param_axes *p = &m->axes[i];
        const struct br__tensor *t = m->s->params[i].weight;
        if (p->is_stacked && t->shape[0] != m->l->n_layers)
            return br_fail(m->err, BR_E_FORMAT, "'%s' has %" PRId64 " layers, others %" PRId64,
                           t->name, t->shape[0], m->l->n_layers);
        rc = check_shape(m, t, p);
        if (p->module < 0)
            continue;
        int64_t first = p->is_stacked ? 0 : p->layer;
        int64_t end = p->is_stacked ? m->l->n_layers : p->layer + 1;
        for (; first < end; first++)
            m->by_module[(size_t)p->module * (size_t)m->l->n_layers + (size_t)first] = (uint32_t)i;
    }
    return rc;
}

/* ---- ranks ----------------------------------------------------------------------------------- */

/* A list in the making.  The first pass counts. */
struct filler {
    struct maker *m;
    struct br__train_rank *rank;
    size_t n;
};

static void put_local(struct filler *f, uint32_t param, int64_t layer, int64_t expert, int copy)
{
    const struct maker *m = f->m;
    const struct param_axes *p = &m->axes[param];
    int64_t rows, cols;

    if (f->rank->list) {
        matrix_of(m->s->params[param].weight, p, &rows, &cols);
        uint64_t share = p->split == WHOLE || p->split == EXPERTS ? 1 : (uint64_t)m->l->tp;
        f->rank->list[f->n] = (struct br__train_local){
            .param = copy ? BR__NOT_FOUND : param,
            .layer = layer,
            .expert = expert,
            .n = (uint64_t)rows * (uint64_t)cols / share,
        };
    }
    f->n++;
}

static void put_outer(struct filler *f, enum outer o, int copy)
{
    if (f->m->by_outer[o] != BR__NOT_FOUND)
        put_local(f, f->m->by_outer[o], -1, -1, copy);
}

/* Experts [first, end) that a rank of this chain holds; the other parameters belong to chain 0. */
static void expert_range(const struct filler *f, int64_t *first, int64_t *end)
{
    const struct br__train_layout *l = f->m->l;
    *first = 0;
    *end = l->ep > 1 ? 0 : l->n_experts;
    if (f->rank->chain) {
        *first = f->rank->part * (l->n_experts / l->ep);
        *end = *first + l->n_experts / l->ep;
    }
}

static void put_layer(struct filler *f, int64_t layer)
{
    int64_t first, end;
    expert_range(f, &first, &end);
    for (size_t k = 0; k < N_MODULES; k++) {
        uint32_t param = f->m->by_module[k * (size_t)f->m->l->n_layers + (size_t)layer];
        if (param == BR__NOT_FOUND)
            continue;
        if (modules[k].split != EXPERTS && !f->rank->chain)
            put_local(f, param, layer, -1, 0);
        for (int64_t e = first; modules[k].split == EXPERTS && e < end; e++)
            put_local(f, param, layer, e, 0);
    }
}

/* All of a rank, in the order of its modules. */
static void put_rank(struct filler *f)
{
    const struct br__train_layout *l = f->m->l;
    int64_t share = l->n_layers / l->pp, last = l->pp - 1, pp = f->rank->pp;
    int tied = f->m->by_outer[OUTPUT] == BR__NOT_FOUND, dense = f->rank->chain == 0;

    f->n = 0;
    if (dense && pp == 0)
        put_outer(f, EMBEDDING, 0);
    for (int64_t i = pp * share; i < (pp + 1) * share; i++)
        put_layer(f, i);
    if (!dense || pp != last)
        return;
    put_outer(f, FINAL_NORM, 0);
    put_outer(f, OUTPUT, 0);
    if (tied && last > 0)
        put_outer(f, EMBEDDING, 1);
}

static int fill_rank(struct maker *m, struct br__train_rank *rank, size_t *total)
{
    struct filler f = {.m = m, .rank = rank};

    put_rank(&f);
    rank->n = f.n;
    *total += f.n;
    if (*total > MAX_LOCALS)
        return br_fail(m->err, BR_E_UNSUPPORTED, "more than %u parameters in the buffers",
                       MAX_LOCALS);
    rank->list = br__arena_alloc(&m->s->arena, (f.n + 1) * sizeof *rank->list);
    if (!rank->list)
        return br__nomem(m->err, "laying out the optimizer's buffers");
    put_rank(&f);
    for (size_t i = 0; i < f.n / 2; i++) {
        struct br__train_local x = rank->list[i];
        rank->list[i] = rank->list[f.n - 1 - i];
        rank->list[f.n - 1 - i] = x;
    }
    return BR_OK;
}

static int make_ranks(struct maker *m)
{
    struct br__train_layout *l = m->l;
    size_t dense = (size_t)(l->pp * l->tp), experts = l->ep > 1 ? (size_t)(l->pp * l->ep) : 0;
    size_t total = 0;
    int rc = BR_OK;

    if (l->n_layers % l->pp || (experts && l->n_experts % l->ep))
        return br_fail(m->err, BR_E_UNSUPPORTED,
                       "%" PRId64 " layers on %" PRId64 " stages, %" PRId64 " experts on %" PRId64
                       " ranks: not the same number for each",
                       l->n_layers, l->pp, l->n_experts, l->ep);
    l->n_ranks = dense + experts;
    l->ranks = br__arena_alloc(&m->s->arena, l->n_ranks * sizeof *l->ranks);
    if (!l->ranks)
        return br__nomem(m->err, "laying out the optimizer's buffers");
    for (size_t i = 0; i < l->n_ranks && !rc; i++) {
        struct br__train_rank *r = &l->ranks[i];
        int64_t parts = i < dense ? l->tp : l->ep, at = (int64_t)(i < dense ? i : i - dense);
        r->chain = i >= dense;
        r->pp = at / parts;
        r->part = at % parts;
        rc = fill_rank(m, r, &total);
    }
    return rc;
}

int br__train_layout_make(struct br__train_state *s, struct br_err *err)
{
    struct maker m = {.s = s, .err = err};
    struct sizes z = {{0}, NULL, NULL};
    int rc = BR_OK;

    m.l = br__arena_alloc(&s->arena, sizeof *m.l);
    m.axes = br__calloc(s->n_params + 1, sizeof *m.axes);
    if (!m.l || !m.axes) {
        rc = br__nomem(err, "laying out the optimizer's buffers");
        goto end;
    }
    if ((rc = place_params(&m)) || (rc = read_grid(&m, &z)) || (rc = index_params(&m)) ||
        (rc = make_ranks(&m)))
        goto end;
    s->layout = m.l;
end:
    br__free(m.axes);
    br__free(m.by_module);
    br__arena_free(&z.a);
    return rc;
}

/* ---- boxes ----------------------------------------------------------------------------------- */

/* Place of a parameter that has one. */
static struct param_axes param_axes_known(const char *name)
{
    struct param_axes p;
    if (param_axes_of(name, &p))
        BR_BUG("'%s' has no place", name);
    return p;
}

int br__train_is_stored(const struct br__train_state *s, const struct br__train_rank *r,
                        const struct br__train_local *x)
{
    return x->param != BR__NOT_FOUND &&
           (!r->part || param_axes_known(s->params[x->param].weight->name).split != WHOLE);
}

size_t br__train_local_boxes(const struct br__train_state *s, uint32_t rank, size_t local,
                             struct br__td_chunk out[2])
{
    const struct br__train_layout *l = s->layout;
    const struct br__train_local *x = &l->ranks[rank].list[local];
    const struct br__tensor *t = s->params[x->param].weight;
    const struct param_axes axes = param_axes_known(t->name), *p = &axes;
    int64_t part = l->ranks[rank].part, rows, cols;
    struct br__td_chunk c = {.file = rank, .item_off = local};

    matrix_of(t, p, &rows, &cols);
    for (int d = 0; d < t->ndim; d++)
        c.size[d] = d < p->skip ? 1 : t->shape[d];
    if (p->is_stacked)
        c.off[0] = x->layer;
    if (p->split == EXPERTS)
        c.off[p->skip - 1] = x->expert;
    if (p->split == ROWS || p->split == COLS) {
        int d = p->skip + (p->split == COLS);
        c.size[d] /= l->tp;
        c.off[d] = part * c.size[d];
    }
    out[0] = c;
    if (p->split != GATED)
        return 1;
    for (int half = 0; half < 2; half++) {
        out[half] = c;
        out[half].size[p->skip] = rows / 2 / l->tp;
        out[half].off[p->skip] = half * (rows / 2) + part * (rows / 2 / l->tp);
        out[half].data_off = (uint64_t)half * (x->n / 2) * sizeof(float);
    }
    return 2;
}

int br__train_layout_boxes(struct br__train_state *s, struct br__arena *a, size_t i,
                           struct br__td_chunk **boxes, size_t *n, struct br_err *err)
{
    const struct br__train_layout *l = s->layout;
    struct br__tensor view = br__train_view(s, i);
    size_t count = 0;

    *n = 0;
    for (size_t r = 0; r < l->n_ranks; r++)
        for (size_t k = 0; k < l->ranks[r].n; k++)
            count += l->ranks[r].list[k].param == i;
    *boxes = br__arena_alloc(a, (2 * count + 1) * sizeof **boxes);
    if (!*boxes)
        return br__nomem(err, "laying out the optimizer's buffers");
    for (size_t r = 0; r < l->n_ranks; r++)
        for (size_t k = 0; k < l->ranks[r].n; k++)
            if (l->ranks[r].list[k].param == i &&
                br__train_is_stored(s, &l->ranks[r], &l->ranks[r].list[k]))
                *n += br__train_local_boxes(s, (uint32_t)r, k, *boxes + *n);
    return br__td_tile(&view, *boxes, *n, err);
}
