/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* check.c - is a plugin sound?  Everything that its tables promise, proved on its own toy.
 *
 * The author of a plugin gets one line per promise.  Nothing here knows an architecture: what can
 * be asked of one plugin is asked of all of them, which is what the test suite does.  What a row
 * may hold at all (known ids, layouts and flags, texts of its own) adopt.c has refused before. */
#include "../recipe/recipe.h"
#include "check.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct checker {
    struct br__arena arena;
    struct br__registry *r;
    const struct br__plugin *p;
    const struct br__arch *arch; /* under test; NULL for checks of the plugin as a whole */
    void (*line)(void *ud, const char *what, int ok, const char *detail);
    void *ud;
    int failed;
};

/* Report one check: rc 0 is ok; the detail of a failure is why's text. */
static void check_say(struct checker *k, int rc, const struct br_err *why, const char *detail,
                      const char *fmt, ...) BR_PRINTF(5, 6);
static void check_say(struct checker *k, int rc, const struct br_err *why, const char *detail,
                      const char *fmt, ...)
{
    char what[200], full[320];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    snprintf(full, sizeof full, "%s: %s", k->arch ? k->arch->model_type : k->p->name, what);
    k->failed += rc != BR_OK;
    k->line(k->ud, full, rc == BR_OK, rc ? why->msg : detail);
}

/* ---- recipes --------------------------------------------------------------------------------- */

/* One mode of a recipe; a mode that it refuses is no fault. */
static int check_mode(struct checker *k, const char *name, const char *mode, char first_mode[16],
                      struct br_err *err)
{
    struct br__recipe_opts o = {.name = name, .plugin = k->p, .mode = mode};
    struct br__recipe *r = br__calloc(1, sizeof *r);
    struct br__arena a = {0};
    int rc = r ? br__recipe_open(&a, k->r, &o, r, err) : br__nomem(err, "checking recipes");

    if (!rc && first_mode)
        snprintf(first_mode, 16, "%s", r->mode);
    br__arena_free(&a);
    br__free(r);
    return rc == BR_E_UNSUPPORTED && mode ? BR_OK : rc;
}

/* Each mode that a recipe has resolves, and its sizes fit each other. */
static int check_recipe(struct checker *k, const struct br_recipe *r, struct br_err *err)
{
    static const char *const others[] = {"sft", "lora", "dora"};
    char mode[16] = "";

    if (!r->base || !r->set)
        return br_fail(err, BR_E_PLUGIN, "recipe '%s' has no %s", r->name,
                       r->base ? "settings" : "base");
    if (!br__recipe_is_listed(r))
        return BR_OK; /* a base: checked by the recipes that build on it */
    int rc = check_mode(k, r->name, NULL, mode, err);
    for (size_t i = 0; !rc && strcmp(mode, "pretrain") && i < BR_COUNTOF(others); i++)
        rc = check_mode(k, r->name, others[i], NULL, err);
    return rc;
}

static int check_recipes(struct checker *k, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    struct br__map names = {0};
    char detail[64];
    int bad = BR_OK, rc = br__map_init(&names, k->p->n_recipes);

    for (uint32_t i = 0; !rc && !bad && i < k->p->n_recipes; i++) {
        bad = check_recipe(k, &k->p->recipes[i], &why);
        if (!bad)
            rc = br__map_put(&names, k->p->recipes[i].name, i);
        if (rc == BR_E_EXISTS) {
            rc = BR_OK;
            bad = br_fail(&why, BR_E_PLUGIN, "two recipes are called '%s'", k->p->recipes[i].name);
        }
    }
    br__map_free(&names);
    if (rc)
        return br_fail(err, rc, "out of memory checking recipes");
    snprintf(detail, sizeof detail, "%" PRIu32 " rows", k->p->n_recipes);
    check_say(k, bad, &why, detail, "recipes resolve, in each of their modes");
    return BR_OK;
}

/* ---- rows of an architecture ----------------------------------------------------------------- */

static void check_identity(struct checker *k)
{
    const struct br__arch *a = k->arch, *found = NULL;
    struct br_err why = BR_ERR_INIT;
    int rc = br__registry_find(k->r, a->model_type, a->hf_class, &found, &why);

    if (!rc && found != a)
        rc = br_fail(&why, BR_E_PLUGIN, "'%s' is served by plugin '%s' (%s), which is found first",
                     a->model_type, found->plugin->name, found->plugin->path);
    check_say(k, rc, &why, a->hf_class, "found by model_type and class");
}

/* Both sides of a rule go over the same indices, and lists fit the layout. */
static int check_lists(const struct br_map *m, const struct br__pattern *mc,
                       const struct br__pattern *hf, struct br_err *err)
{
    int copy = m->layout == BR_LAYOUT_COPY;

    if (mc->set != hf->set || mc->has_expert != hf->has_expert)
        return br_fail(err, BR_E_PLUGIN, "'%s' and '%s' go over different indices", m->mcore,
                       m->hf);
    if (copy && mc->n_list != hf->n_list)
        return br_fail(err, BR_E_PLUGIN, "'%s' lists %d tensors, '%s' %d; COPY pairs them",
                       m->mcore, mc->n_list, m->hf, hf->n_list);
    if (!copy &&
        (mc->n_list != br__layout_n_mcore(m->layout) || hf->n_list != br__layout_n_hf(m->layout)))
        return br_fail(err, BR_E_PLUGIN,
                       "'%s' and '%s' list %d and %d tensors, layout %s has %d and %d", m->mcore,
                       m->hf, mc->n_list, hf->n_list, br__layout_name(m->layout),
                       br__layout_n_mcore(m->layout), br__layout_n_hf(m->layout));
    return BR_OK;
}

static int check_map(const struct br_map *m, const struct br_config *cfg, struct br_err *err)
{
    struct br__pattern mc, hf, fused;
    int64_t shape[BR_MAX_DIMS];
    int ndim, rc = br__pattern_parse(m->mcore, &mc, err);

    if (!rc)
        rc = br__pattern_parse(m->hf, &hf, err);
    if (!rc && m->hf_fused)
        rc = br__pattern_parse(m->hf_fused, &fused, err);
    if (!rc)
        rc = check_lists(m, &mc, &hf, err);
    for (int i = 0; !rc && i < hf.n_list; i++)
        rc = br__shape_eval(m->hf_shape, i, cfg, shape, &ndim, err);
    return rc;
}

static int check_maps(struct checker *k, const struct br_config *cfg)
{
    struct br_err why = BR_ERR_INIT;
    struct br__pattern p;
    char detail[96];
    int rc = BR_OK;

    for (uint32_t i = 0; !rc && i < k->arch->n_maps; i++)
        rc = check_map(&k->arch->maps[i], cfg, &why);
    for (uint32_t i = 0; !rc && i < k->arch->n_ignore; i++)
        rc = br__pattern_parse(k->arch->ignore[i].hf, &p, &why);
    snprintf(detail, sizeof detail, "%" PRIu32 " rules, %" PRIu32 " ignored names", k->arch->n_maps,
             k->arch->n_ignore);
    check_say(k, rc, &why, detail, "patterns, layouts and shapes parse");
    return rc;
}

/* ---- rules, expanded: one to one ------------------------------------------------------------- */

/* One form that an architecture's checkpoints can take. */
struct variant {
    int fused, untied, mtp, per_layer;
};

static const char *variant_text(const struct variant *v, char out[96])
{
    snprintf(out, 96, "%s, %s%s%s", v->fused ? "fused experts" : "per-expert",
             v->untied ? "untied" : "tied", v->mtp ? ", multi-token prediction" : "",
             v->per_layer ? ", per-layer keys" : "");
    return out;
}

static int has_fused(const struct br__arch *a)
{
    for (uint32_t i = 0; i < a->n_maps; i++)
        if (a->maps[i].hf_fused)
            return 1;
    return 0;
}

static int has_mtp(const struct br__arch *a)
{
    for (uint32_t i = 0; i < a->n_maps; i++)
        if (a->maps[i].flags & BR_MAP_IF_MTP)
            return 1;
    return 0;
}

/* Rows of one side, each of which must be moved once. */
struct rows {
    size_t *first; /* per slot: index of its first row in `moved` */
    uint8_t *moved;
    size_t n;
};

static int rows_make(struct br__arena *a, struct rows *w, const struct br__slot *s, size_t n)
{
    w->first = br__arena_alloc(a, (n + 1) * sizeof *w->first);
    for (size_t i = 0; w->first && i < n; i++)
        w->first[i + 1] = w->first[i] + (size_t)s[i].rows;
    w->n = w->first ? w->first[n] : 0;
    w->moved = br__arena_alloc(a, w->n + 1);
    return w->first && w->moved ? BR_OK : BR_E_NOMEM;
}

static int check_mark(struct rows *w, const struct br__slot *s, uint32_t slot, uint64_t row,
                      uint64_t n, struct br_err *err)
{
    if (row > s[slot].rows || n > s[slot].rows - row)
        return br_fail(err, BR_E_PLUGIN, "rows of '%s' beyond its end are used", s[slot].name);
    for (uint64_t i = 0; i < n; i++)
        if (w->moved[w->first[slot] + row + i]++)
            return br_fail(err, BR_E_PLUGIN, "row %" PRIu64 " of '%s' is used twice", row + i,
                           s[slot].name);
    return BR_OK;
}

static int all_marked(const struct rows *w, const struct br__slot *s, size_t n, struct br_err *err)
{
    for (size_t i = 0; i < n; i++)
        for (size_t r = w->first[i]; r < w->first[i + 1]; r++)
            if (!w->moved[r])
                return br_fail(err, BR_E_PLUGIN, "row %zu of '%s' is never used", r - w->first[i],
                               s[i].name);
    return BR_OK;
}

/* Every row of every tensor on either side belongs to one move.  That no name is claimed twice the
 * expansion itself refuses. */
static int one_to_one(struct br__arena *a, const struct br__expansion *x, struct br_err *err)
{
    struct rows hf, mc;

    if (rows_make(a, &hf, x->hf, x->n_hf) || rows_make(a, &mc, x->mc, x->n_mc))
        return br__nomem(err, "checking rows");
    for (size_t i = 0; i < x->n_moves; i++) {
        const struct br__move *m = &x->moves[i];
        int rc = check_mark(&hf, x->hf, m->hf, m->hf_row, m->n, err);
        if (!rc)
            rc = check_mark(&mc, x->mc, m->mc, m->mc_row, m->n, err);
        if (rc)
            return rc;
    }
    int rc = all_marked(&hf, x->hf, x->n_hf, err);
    return rc ? rc : all_marked(&mc, x->mc, x->n_mc, err);
}

/* A name that the rules make may not be on the ignore list too. */
static int none_ignored(const struct br__arch *a, const struct br__expansion *x, struct br_err *err)
{
    struct br__pattern p;

    for (uint32_t i = 0; i < a->n_ignore; i++) {
        int rc = br__pattern_parse(a->ignore[i].hf, &p, err);
        if (rc)
            return rc;
        for (size_t k = 0; k < x->n_hf; k++)
            if (br__pattern_match(&p, x->hf[k].name))
                return br_fail(err, BR_E_PLUGIN, "'%s' has a rule and is ignored by '%s'",
                               x->hf[k].name, p.text);
    }
    return BR_OK;
}

static void check_expansion(struct checker *k, const struct br_config *toy, const struct variant *v)
{
    struct br__expand_opts o = {.per_layer = v->per_layer, .fused = v->fused, .untied = v->untied};
    struct br_config cfg = *toy;
    struct br_err why = BR_ERR_INIT;
    struct br__expansion *x = NULL;
    struct br__arena a = {0};
    char detail[96] = "", form[96];

    cfg.n_mtp = v->mtp;
    int rc = br__rules_expand(&a, &cfg, &o, &x, &why);
    if (!rc)
        rc = one_to_one(&a, x, &why);
    if (!rc)
        rc = none_ignored(k->arch, x, &why);
    if (!rc)
        snprintf(detail, sizeof detail, "%zu Hugging Face and %zu Megatron tensors", x->n_hf,
                 x->n_mc);
    br__arena_free(&a);
    check_say(k, rc, &why, detail, "every name and row once (%s)", variant_text(v, form));
}

static void check_expansions(struct checker *k, const struct br_config *toy)
{
    struct variant v;

    for (v.fused = 0; v.fused <= has_fused(k->arch); v.fused++)
        for (v.untied = 0; v.untied < 2; v.untied++)
            for (v.mtp = 0; v.mtp <= has_mtp(k->arch); v.mtp++)
                for (v.per_layer = 0; v.per_layer < 2; v.per_layer++)
                    check_expansion(k, toy, &v);
}

/* ---- the toy --------------------------------------------------------------------------------- */

/* The toy's config.json as the architecture reads it.  Its failure is a finding, not an error. */
static int check_toy_config(struct checker *k, struct br_config *cfg)
{
    struct br__toy_opts o = {0};
    struct br_err why = BR_ERR_INIT;
    br__json *json = NULL;
    int rc = br__toy_config(k->arch, &o, &json, &why);

    if (!rc)
        rc = br__config_from_json(&k->arena, k->arch, json, cfg, &why);
    br__json_free(json);
    check_say(k, rc, &why, k->arch->toy, "the toy's config.json is legal");
    return rc;
}

struct trip {
    const char *source, *megatron, *back;
    struct br_job job;
};

static int trip_make(struct checker *k, const char *dir, struct trip *t, struct br_err *err)
{
    *t = (struct trip){
        .source = br__path_join(&k->arena, dir, "hf"),
        .megatron = br__path_join(&k->arena, dir, "megatron"),
        .back = br__path_join(&k->arena, dir, "back"),
        .job = {.struct_size = sizeof t->job, .flags = BR_JOB_NO_SYNC},
    };
    if (!t->source || !t->megatron || !t->back)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    t->job.hf_model = t->source;
    t->job.megatron_path = t->megatron;
    t->job.hf_path = t->back;
    t->job.plugin = k->p->path[0] == '(' ? NULL : k->p->path; /* "(static)" is no file */
    return BR_OK;
}

/* Each tensor of the toy is used by a rule, or on the ignore list. */
static int all_used(const struct trip *t, char *detail, size_t size, struct br_err *err)
{
    struct br__session *s;
    size_t n[BR__LEFT_OUT + 1] = {0};
    int rc = br__session_open(&s, &t->job, BR__IMPORT, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < s->src->n_tensors; i++)
        n[s->plan->b.use[i]]++;
    if (n[BR__UNUSED] || n[BR__LEFT_OUT] || s->plan->b.n_skipped)
        rc = br_fail(err, BR_E_PLUGIN, "%zu tensors have no rule", n[BR__UNUSED] + n[BR__LEFT_OUT]);
    snprintf(detail, size, "%zu used, %zu ignored", s->src->n_tensors - n[BR__IGNORED],
             n[BR__IGNORED]);
    br__session_close(s);
    return rc;
}

static int there_and_back(const struct trip *t, struct br_err *err)
{
    struct br_job_result res = {.struct_size = sizeof res};
    struct br__ckpt *a = NULL, *b = NULL;
    size_t n_diff = 0;
    int rc = br_import(&t->job, &res, err);

    if (!rc)
        rc = br_export(&t->job, &res, err);
    if (!rc)
        rc = br__ckpt_open(&a, t->source, err);
    if (!rc)
        rc = br__ckpt_open(&b, t->back, err);
    if (!rc)
        rc = br__ckpt_diff(a, b, 1, NULL, NULL, &n_diff, err);
    if (!rc && n_diff)
        rc =
            br_fail(err, BR_E_PLUGIN, "%zu of %zu tensors came back changed", n_diff, a->n_tensors);
    br__ckpt_close(a);
    br__ckpt_close(b);
    return rc;
}

/* "key=value" that makes a toy's config.json state a fact; NULL if no key of it does. */
static const char *check_setting(struct checker *k, uint32_t id, int value)
{
    const struct br_field *f = br__config_field(k->arch, id);

    if (!f || !f->hf_key || (f->flags & BR_FIELD_FACT))
        return NULL;
    if (br__cfg_keys[id].kind == 'B')
        return br__arena_printf(&k->arena, "%.*s=%s", (int)strcspn(f->hf_key, "|"), f->hf_key,
                                value != !!(f->flags & BR_FIELD_NOT) ? "true" : "false");
    return br__arena_printf(&k->arena, "%.*s=%d", (int)strcspn(f->hf_key, "|"), f->hf_key, value);
}

/* The trip of one toy in `dir`. */
static int check_trip_in(struct checker *k, const char *dir, const struct variant *v,
                         const char *const *sets, size_t n_sets, struct br_err *err)
{
    struct br__toy_opts o = {.sets = sets, .n_sets = n_sets, .fused = v->fused, .seed = 1};
    struct br_err why = BR_ERR_INIT;
    struct trip t;
    char detail[64] = "", form[96];
    int rc = trip_make(k, dir, &t, err);

    if (rc)
        return rc;
    variant_text(v, form);
    t.job.flags |= v->per_layer ? BR_JOB_PER_LAYER : 0;
    rc = br__toy_write(k->arch, t.source, &o, &why);
    if (!rc)
        rc = all_used(&t, detail, sizeof detail, &why);
    check_say(k, rc, &why, detail, "every toy tensor used or ignored once (%s)", form);
    if (!rc)
        check_say(k, there_and_back(&t, &why), &why, "bit for bit", "toy import and export (%s)",
                  form);
    return BR_OK;
}

static int check_trip(struct checker *k, const struct variant *v, struct br_err *err)
{
    const char *tie = check_setting(k, BR_CFG_SHARE_EMBEDDINGS, !v->untied);
    const char *mtp = v->mtp ? check_setting(k, BR_CFG_MTP_NUM_LAYERS, 1) : NULL;
    const char *sets[2], *dir;
    size_t n_sets = 0;

    if (v->mtp && !mtp)
        return BR_OK; /* config.json of this architecture cannot ask for it */
    if (tie)
        sets[n_sets++] = tie;
    if (mtp)
        sets[n_sets++] = mtp;
    int rc = br__temp_dir(&k->arena, "bridge-check", &dir, err);
    if (rc)
        return rc;
    rc = check_trip_in(k, dir, v, sets, n_sets, err);
    int removed = br__remove_tree(dir, rc ? NULL : err);
    return rc ? rc : removed;
}

/* Each choice once with the others at rest; what they do together the expansions cover. */
static int check_trips(struct checker *k, struct br_err *err)
{
    const struct variant variants[] = {
        {0, 0, 0, 0}, {0, 1, 0, 0}, {0, 1, 0, 1}, {0, 1, 1, 0}, {1, 1, 0, 0}, {1, 1, 1, 1},
    };
    int fused = has_fused(k->arch), mtp = has_mtp(k->arch), rc = BR_OK;

    for (size_t i = 0; !rc && i < BR_COUNTOF(variants); i++)
        if (variants[i].fused <= fused && variants[i].mtp <= mtp)
            rc = check_trip(k, &variants[i], err);
    return rc;
}

static int check_arch(struct checker *k, struct br_err *err)
{
    struct br_config cfg = {0};

    check_identity(k);
    if (check_toy_config(k, &cfg) || check_maps(k, &cfg))
        return BR_OK; /* said above; nothing below can be asked */
    check_expansions(k, &cfg);
    return check_trips(k, err);
}

int br__plugin_check(struct br__registry *r, const struct br__plugin *p,
                     void (*line)(void *ud, const char *what, int ok, const char *detail), void *ud,
                     int *failed, struct br_err *err)
{
    struct checker k = {.r = r, .p = p, .line = line, .ud = ud};
    struct br_err none = BR_ERR_INIT;

    check_say(&k, BR_OK, &none, p->path,
              "loads, and every row has a size and values that are known");
    int rc = check_recipes(&k, err);
    for (uint32_t i = 0; !rc && i < p->n_archs; i++) {
        k.arch = &p->archs[i];
        rc = check_arch(&k, err);
    }
    br__arena_free(&k.arena);
    *failed = k.failed;
    return rc;
}
