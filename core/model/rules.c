/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rules.c - the weight rules of an architecture expanded for one configuration: which tensors exist
 * on either side, and which rows of one are which rows of the other.
 *
 * Stacking (a leading layer axis when all layers are alike) follows Megatron-LM
 * core/transformer/transformer_block.py, sharded_state_dict. */
#include "model_internal.h"

#include <stdlib.h>
#include <string.h>

struct expander {
    struct br__arena *a;
    const struct br_config *cfg;
    const struct br__expand_opts *o;
    struct br__expansion *x;
    size_t cap_hf, cap_mc, cap_moves, cap_views, cap_extra;
    struct br__map hf_names, mc_names;
    struct br_err *err;
};

/* One rule, parsed, with what does not change from instance to instance. */
struct rule {
    uint32_t index;
    const struct br_map *map;
    struct br__pattern mc, hf, fused;
    int64_t hf_shape[BR__MAX_LIST][BR_MAX_DIMS];
    int hf_ndim[BR__MAX_LIST];
    int64_t mc_rows[BR__MAX_LIST];
    struct br__row_move *row_moves;
    size_t n_row_moves;
    int stacked;
};

/* A rule for one layer and expert; -1: the rule has none. */
struct instance {
    const struct rule *r;
    int64_t layer, expert;
};

/* ---- index sets ------------------------------------------------------------------------------ */

static int in_set(const struct br_config *cfg, enum br__set set, int64_t i)
{
    switch (set) {
    case BR__SET_ATTN:
        return !cfg->linear[i];
    case BR__SET_GDN:
        return cfg->linear[i];
    case BR__SET_MOE:
        return !cfg->dense[i];
    case BR__SET_DENSE:
        return cfg->dense[i];
    default:
        return 1;
    }
}

static int64_t set_limit(const struct br_config *cfg, enum br__set set)
{
    return set == BR__SET_NONE ? 1 : set == BR__SET_MTP ? cfg->n_mtp : cfg->n_layers;
}

/* All decoder layers alike: the stacked form is possible. */
static int rules_homogeneous(const struct br_config *cfg)
{
    if (cfg->mixed_mlp || br_cfg_i(cfg, BR_CFG_HETEREOGENOUS_DIST_CHECKPOINT))
        return 0;
    for (int64_t i = 0; i < cfg->n_layers; i++)
        if (cfg->linear[i])
            return 0;
    return 1;
}

/* ---- slots ----------------------------------------------------------------------------------- */

static int add_slot(struct expander *e, int hf_side, const struct br__slot *s, uint32_t *index)
{
    struct br__expansion *x = e->x;
    struct br__map *names = hf_side ? &e->hf_names : &e->mc_names;
    struct br__slot **slots = hf_side ? &x->hf : &x->mc;
    size_t *n = hf_side ? &x->n_hf : &x->n_mc;
    if (!s->name)
        return br__nomem(e->err, "expanding the weight rules");
    uint32_t found = br__map_get(names, s->name);
    if (found != BR__NOT_FOUND) {
        if ((*slots)[found].rule != s->rule)
            return br_fail(e->err, BR_E_PLUGIN, "rules %u and %u of %s both claim '%s'",
                           (*slots)[found].rule, s->rule, e->cfg->arch->model_type, s->name);
        *index = found;
        return BR_OK;
    }
    if (hf_side && e->o->max_hf && *n >= e->o->max_hf)
        return br_fail(e->err, BR_E_CONFIG,
                       "config.json asks for more than %zu tensors (%lld layers, %lld experts), "
                       "which is far from what the weights hold; is it of this model?",
                       e->o->max_hf, (long long)e->cfg->n_layers, (long long)e->cfg->n_experts);
    if (br__grow(slots, hf_side ? &e->cap_hf : &e->cap_mc, *n, sizeof **slots) ||
        br__map_put(names, s->name, (uint32_t)*n))
        return br__nomem(e->err, "expanding the weight rules");
    *index = (uint32_t)*n;
    (*slots)[(*n)++] = *s;
    return BR_OK;
}

static int finish_shape(struct expander *e, struct br__slot *s)
{
    uint64_t bytes;
    s->rows = s->row_elems = 1;
    if (br_shape_bytes(s->shape, s->ndim, 8, &bytes))
        return br_fail(e->err, BR_E_CONFIG, "'%s' is too big to exist", s->name);
    for (int i = 0; i < s->ndim; i++)
        *(i <= s->lead ? &s->rows : &s->row_elems) *= (uint64_t)s->shape[i];
    return BR_OK;
}

/* HF slot for list item `item`; *base is the row of its first row in the slot. */
static int hf_slot(struct expander *e, const struct instance *of, int item, uint32_t *index,
                   uint64_t *base)
{
    const struct rule *r = of->r;
    struct br__slot s = {.rule = r->index, .ndim = r->hf_ndim[item]};
    int64_t before = 0, sum = 0;
    *base = 0;
    memcpy(s.shape, r->hf_shape[item], sizeof s.shape);
    if (!(e->o->fused && r->map->hf_fused && of->expert >= 0)) {
        s.name = br__pattern_name(e->a, &r->hf, of->layer, of->expert, item);
    } else {
        for (int i = 0; i < r->hf.n_list; i++) {
            before += i < item ? r->hf_shape[i][0] : 0;
            sum += r->hf_shape[i][0];
        }
        s.name = br__pattern_name(e->a, &r->fused, of->layer, of->expert, 0);
        s.fused = 1;
        s.lead = 1;
        memmove(s.shape + 1, s.shape, (size_t)s.ndim++ * sizeof *s.shape);
        s.shape[0] = e->cfg->n_experts;
        s.shape[1] = sum;
        *base = (uint64_t)(of->expert * sum + before);
    }
    int rc = s.name ? finish_shape(e, &s) : br__nomem(e->err, "expanding the weight rules");
    return rc ? rc : add_slot(e, 1, &s, index);
}

/* Megatron slot for output `item`; *row is where this instance's rows start in it. */
static int mc_slot(struct expander *e, const struct instance *of, int item, int hf_item,
                   uint32_t *index, uint64_t *row)
{
    const struct rule *r = of->r;
    struct br__slot s = {.rule = r->index};
    int64_t lead_index = 0;
    s.name = br__pattern_name(e->a, &r->mc, r->stacked ? -1 : of->layer, of->expert, item);
    if (r->stacked) {
        s.shape[s.lead++] = e->cfg->n_layers;
        lead_index = of->layer;
    }
    if (r->mc.has_expert) {
        s.shape[s.lead++] = e->cfg->n_experts;
        lead_index = lead_index * e->cfg->n_experts + of->expert;
    }
    s.ndim = s.lead + r->hf_ndim[hf_item];
    memcpy(s.shape + s.lead, r->hf_shape[hf_item], (size_t)r->hf_ndim[hf_item] * sizeof *s.shape);
    s.shape[s.lead] = r->mc_rows[item];
    *row = (uint64_t)lead_index * (uint64_t)r->mc_rows[item];
    int rc = s.name ? finish_shape(e, &s) : br__nomem(e->err, "expanding the weight rules");
    return rc ? rc : add_slot(e, 0, &s, index);
}

/* ---- moves, views, extra state --------------------------------------------------------------- */

static int add_move(struct expander *e, uint32_t hf, uint32_t mc, uint64_t hf_row, uint64_t mc_row,
                    uint64_t n)
{
    struct br__expansion *x = e->x;
    if (br__grow(&x->moves, &e->cap_moves, x->n_moves, sizeof *x->moves))
        return br__nomem(e->err, "expanding the weight rules");
    x->moves[x->n_moves++] = (struct br__move){hf, mc, hf_row, mc_row, n};
    return BR_OK;
}

static int add_view(struct expander *e, uint32_t mc, uint64_t row, uint64_t rows, uint32_t parts,
                    size_t first_move)
{
    struct br__expansion *x = e->x;
    if (br__grow(&x->views, &e->cap_views, x->n_views, sizeof *x->views))
        return br__nomem(e->err, "expanding the weight rules");
    x->views[x->n_views++] = (struct br__view){.mc = mc,
                                               .row = row,
                                               .rows = rows,
                                               .parts = parts,
                                               .first_move = (uint32_t)first_move,
                                               .n_moves = (uint32_t)(x->n_moves - first_move)};
    return BR_OK;
}

/* "<module>._extra_state/shard_<indices>_<sizes>": the module is the key up to its ".weight". */
static int add_extra_state(struct expander *e, const struct instance *of, int item)
{
    struct br__expansion *x = e->x;
    const struct rule *r = of->r;
    const char *key = br__pattern_name(e->a, &r->mc, r->stacked ? -1 : of->layer, of->expert, item);
    const char *cut = key ? strstr(key, ".weight") : NULL;
    if (!key)
        return br__nomem(e->err, "expanding the weight rules");
    if (!cut)
        return br_fail(e->err, BR_E_PLUGIN,
                       "rule %u: '%s' has extra state but is no weight of a "
                       "module",
                       r->index, key);
    int n = (int)(cut - key);
    long long L = (long long)e->cfg->n_layers, E = (long long)e->cfg->n_experts;
    long long l = (long long)of->layer, ex = (long long)of->expert;
    char *s;
    if (r->stacked && r->mc.has_expert)
        s = br__arena_printf(e->a, "%.*s._extra_state/shard_%lld.%lld_%lld.%lld", n, key, l, ex, L,
                             E);
    else if (r->stacked || r->mc.has_expert)
        s = br__arena_printf(e->a, "%.*s._extra_state/shard_%lld_%lld", n, key, r->stacked ? l : ex,
                             r->stacked ? L : E);
    else
        s = br__arena_printf(e->a, "%.*s._extra_state/shard_0_1", n, key);
    if (!s || br__grow(&x->extra_state, &e->cap_extra, x->n_extra_state, sizeof *x->extra_state))
        return br__nomem(e->err, "expanding the weight rules");
    x->extra_state[x->n_extra_state++] = s;
    return BR_OK;
}

/* ---- one instance of a rule ------------------------------------------------------------------ */

/* Output `mc_item` of an instance, made of HF list items hf_first.. by the row moves of output
 * moves_mc. */
static int add_output(struct expander *e, const struct instance *of, int mc_item, int hf_first,
                      int moves_mc)
{
    const struct rule *r = of->r;
    size_t first_move = e->x->n_moves;
    int copy = r->map->layout == BR_LAYOUT_COPY;
    const struct br__row_move whole = {0, 0, 0, 0, r->mc_rows[mc_item]};
    uint32_t mc;
    uint64_t row;
    int rc = mc_slot(e, of, mc_item, hf_first, &mc, &row);
    for (size_t i = 0; i < (copy ? 1 : r->n_row_moves) && !rc; i++) {
        const struct br__row_move *s = copy ? &whole : &r->row_moves[i];
        uint32_t hf;
        uint64_t base;
        if (s->mc != moves_mc)
            continue;
        rc = hf_slot(e, of, hf_first + s->hf, &hf, &base);
        if (!rc)
            rc = add_move(e, hf, mc, base + (uint64_t)s->hf_row, row + (uint64_t)s->mc_row,
                          (uint64_t)s->n);
    }
    if (rc)
        return rc;
    uint32_t parts = r->map->layout == BR_LAYOUT_CONCAT ? 2 : 1;
    return add_view(e, mc, row, (uint64_t)r->mc_rows[mc_item], parts, first_move);
}

static int add_instance(struct expander *e, const struct instance *of)
{
    const struct rule *r = of->r;
    int pairs = r->map->layout == BR_LAYOUT_COPY; /* lists of a copy pair up */
    for (int i = 0; i < r->mc.n_list; i++) {
        int rc = add_output(e, of, i, pairs ? i : 0, pairs ? 0 : i);
        if (!rc && (r->map->flags & BR_MAP_EXTRA_STATE) && (pairs || i == 0))
            rc = add_extra_state(e, of, i);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* ---- one rule -------------------------------------------------------------------------------- */

static int parse_rule(struct expander *e, struct rule *r)
{
    const struct br_map *m = r->map;
    int rc;
    if ((rc = br__pattern_parse(m->mcore, &r->mc, e->err)) ||
        (rc = br__pattern_parse(m->hf, &r->hf, e->err)) ||
        (m->hf_fused && (rc = br__pattern_parse(m->hf_fused, &r->fused, e->err))))
        return rc;
    if (r->mc.set != r->hf.set || r->mc.has_expert != r->hf.has_expert ||
        (m->hf_fused && (r->fused.set != r->mc.set || r->fused.has_expert || !r->mc.has_expert)))
        return br_fail(e->err, BR_E_PLUGIN, "'%s' and '%s' have different index sets", m->mcore,
                       m->hf);
    int copy = m->layout == BR_LAYOUT_COPY;
    if (copy ? r->mc.n_list != r->hf.n_list
             : r->mc.n_list != br__layout_n_mcore(m->layout) ||
                   r->hf.n_list != br__layout_n_hf(m->layout))
        return br_fail(e->err, BR_E_PLUGIN,
                       "'%s' <-> '%s': layout %s takes %d and %d tensors, the "
                       "patterns list %d and %d",
                       m->mcore, m->hf, br__layout_name(m->layout), br__layout_n_mcore(m->layout),
                       br__layout_n_hf(m->layout), r->mc.n_list, r->hf.n_list);
    return BR_OK;
}

static int rule_shapes(struct expander *e, struct rule *r)
{
    int64_t rows[BR__MAX_LIST] = {0};
    for (int i = 0; i < r->hf.n_list; i++) {
        int rc =
            br__shape_eval(r->map->hf_shape, i, e->cfg, r->hf_shape[i], &r->hf_ndim[i], e->err);
        if (rc)
            return rc;
        rows[i] = r->hf_shape[i][0];
        if (r->map->layout == BR_LAYOUT_COPY && !r->map->hf_fused)
            continue;
        if (r->hf_ndim[i] != r->hf_ndim[0] ||
            memcmp(r->hf_shape[i] + 1, r->hf_shape[0] + 1,
                   (size_t)(r->hf_ndim[0] - 1) * sizeof **r->hf_shape))
            return br_fail(e->err, BR_E_PLUGIN,
                           "'%s': the tensors of a list differ in more than rows", r->map->hf);
    }
    if (r->map->layout == BR_LAYOUT_COPY) { /* each pair of the lists on its own, whole */
        memcpy(r->mc_rows, rows, sizeof rows);
        return BR_OK;
    }
    return br__layout_row_moves(e->a, r->map->layout, e->cfg, rows, &r->row_moves, &r->n_row_moves,
                                r->mc_rows, e->err);
}

static int rule_applies(const struct expander *e, const struct rule *r)
{
    if ((r->map->flags & BR_MAP_IF_UNTIED) && !e->o->untied)
        return 0;
    if ((r->map->flags & BR_MAP_IF_MTP) && !e->cfg->n_mtp)
        return 0;
    return 1;
}

static int expand_rule(struct expander *e, uint32_t index)
{
    struct rule r = {.index = index, .map = &e->cfg->arch->maps[index]};
    int rc = parse_rule(e, &r), ready = 0;
    if (rc || !rule_applies(e, &r))
        return rc;
    r.stacked = !e->x->per_layer && r.mc.set != BR__SET_NONE && r.mc.set != BR__SET_MTP;
    int64_t experts = r.mc.has_expert ? e->cfg->n_experts : 1;
    for (int64_t i = 0; i < set_limit(e->cfg, r.mc.set) && !rc; i++) {
        if (r.mc.set != BR__SET_NONE && r.mc.set != BR__SET_MTP && !in_set(e->cfg, r.mc.set, i))
            continue;
        /* Shapes are evaluated only for rules that have an instance: a dense model has no experts.
         */
        if (!ready++ && (rc = rule_shapes(e, &r)))
            break;
        for (int64_t x = 0; x < experts && !rc; x++)
            rc = add_instance(e, &(struct instance){&r, i, r.mc.has_expert ? x : -1});
    }
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int by_tensor_and_row(const void *a, const void *b)
{
    const struct br__view *x = a, *y = b;
    if (x->mc != y->mc)
        return x->mc < y->mc ? -1 : 1;
    return x->row < y->row ? -1 : x->row > y->row;
}

/* Views must tile each Megatron tensor. */
static int check_views(struct expander *e)
{
    const struct br__expansion *x = e->x;
    uint64_t next = 0;
    for (size_t i = 0; i < x->n_views; i++) {
        const struct br__view *v = &x->views[i];
        const struct br__slot *s = &x->mc[v->mc];
        if (i == 0 || x->views[i - 1].mc != v->mc)
            next = 0;
        if (v->row != next)
            return br_fail(e->err, BR_E_PLUGIN,
                           "the rules of %s leave a gap or overlap at row %llu of "
                           "'%s'",
                           e->cfg->arch->model_type, (unsigned long long)next, s->name);
        next += v->rows;
        int last = i + 1 == x->n_views || x->views[i + 1].mc != v->mc;
        if (last && next != s->rows)
            return br_fail(e->err, BR_E_PLUGIN, "the rules of %s fill %llu of %llu rows of '%s'",
                           e->cfg->arch->model_type, (unsigned long long)next,
                           (unsigned long long)s->rows, s->name);
    }
    return BR_OK;
}

static int choose_layers(struct expander *e)
{
    int alike = rules_homogeneous(e->cfg);
    if (e->o->per_layer < 0 && !alike)
        return br_fail(e->err, BR_E_CONFIG,
                       "the layers of this %s model are not all alike, so they "
                       "cannot be stored stacked; leave --layers out",
                       e->cfg->arch->model_type);
    e->x->per_layer = e->o->per_layer > 0 || !alike;
    return BR_OK;
}

/* The growing arrays become the arena's. */
static int rules_keep(struct br__arena *a, void *array, size_t n, size_t size)
{
    void **p = array;
    void *copy = br__arena_alloc(a, n * size + 1);
    if (copy && n)
        memcpy(copy, *p, n * size);
    br__free(*p);
    *p = copy;
    return copy ? BR_OK : BR_E_NOMEM;
}

int br__rules_expand(struct br__arena *a, const struct br_config *cfg,
                     const struct br__expand_opts *o, struct br__expansion **out,
                     struct br_err *err)
{
    struct expander e = {.a = a, .cfg = cfg, .o = o, .err = err};
    e.x = *out = br__arena_alloc(a, sizeof **out);
    if (!e.x)
        return br__nomem(e.err, "expanding the weight rules");
    struct br__expansion *x = e.x;
    int rc = choose_layers(&e);
    if (!rc && (br__map_init(&e.hf_names, 1024) || br__map_init(&e.mc_names, 1024)))
        rc = br__nomem(e.err, "expanding the weight rules");
    for (uint32_t i = 0; i < cfg->arch->n_maps && !rc; i++)
        if ((rc = expand_rule(&e, i)))
            br_wrap(err, "weight rule %u of %s", i, cfg->arch->model_type);
    if (!rc && x->n_views) {
        qsort(x->views, x->n_views, sizeof *x->views, by_tensor_and_row);
        rc = check_views(&e);
    }
    int lost = rules_keep(a, &x->hf, x->n_hf, sizeof *x->hf) |
               rules_keep(a, &x->mc, x->n_mc, sizeof *x->mc) |
               rules_keep(a, &x->moves, x->n_moves, sizeof *x->moves) |
               rules_keep(a, &x->views, x->n_views, sizeof *x->views) |
               rules_keep(a, &x->extra_state, x->n_extra_state, sizeof *x->extra_state);
    br__map_free(&e.hf_names);
    br__map_free(&e.mc_names);
    if (!rc && lost)
        rc = br__nomem(e.err, "expanding the weight rules");
    if (rc)
        *out = NULL;
    return rc;
}
