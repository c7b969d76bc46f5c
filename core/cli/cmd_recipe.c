/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_recipe.c - recipe list|show|diff|check|keys. */
#include "recipe_cli.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

static int open_registry(struct br__cli *c, struct br__registry **r, struct br_err *err)
{
    int rc = br__registry_open(r, BR__TEXT(c, PLUGIN), err);
    return rc ? rc : br__registry_load_all(*r, err);
}

/* "NAME", "NAME:mode", or a recipe file: something with a slash, or that exists. */
static int read_subject(struct br__cli *c, const char *text, struct br__recipe_opts *o,
                        struct br_err *err)
{
    const char *colon = strrchr(text, ':');

    if (strchr(text, '/') || br__exists(text)) {
        if (o->file)
            return br_fail(err, BR_E_USAGE, "two recipe files: '%s' and '%s'", text, o->file);
        o->file = text;
        return BR_OK;
    }
    o->name = text;
    if (colon) {
        o->name = br__arena_strndup(&c->arena, text, (size_t)(colon - text));
        o->mode = colon + 1;
    }
    return o->name ? BR_OK : br_fail(err, BR_E_NOMEM, "out of memory");
}

static int recipe_options(struct br__cli *c, const char *subject, struct br__recipe_opts *o,
                          struct br_err *err)
{
    *o = (struct br__recipe_opts){
        .file = BR__TEXT(c, RECIPE_FILE),
        .mode = BR__TEXT(c, MODE),
        .peft = BR__TEXT(c, PEFT),
        .sets = c->opt[BR__OPT_RECIPE_SET].list,
        .n_sets = c->opt[BR__OPT_RECIPE_SET].n_list,
        .world = BR__INT(c, WORLD_SIZE),
    };
    if (!subject && !o->file)
        return br_fail(err, BR_E_USAGE, "%s needs the name of a recipe, or --recipe-file",
                       c->cmd->name);
    return subject ? read_subject(c, subject, o, err) : BR_OK;
}

/* --peft and --mode are spellings of one setting: if both are given they must agree. */
static int check_mode(const struct br__recipe_opts *o, struct br_err *err)
{
    if (!o->mode || !o->peft || !strcasecmp(o->mode, o->peft) ||
        (!strcmp(o->mode, "sft") && !strcasecmp(o->peft, "none")))
        return BR_OK;
    return br_fail(err, BR_E_USAGE, "mode %s and --peft %s contradict", o->mode, o->peft);
}

static int recipe_resolve(struct br__cli *c, struct br__registry *registry,
                          const struct br__recipe_opts *o, struct br__recipe **out,
                          struct br_err *err)
{
    *out = br__arena_alloc(&c->arena, sizeof **out);
    if (!*out)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    int rc = check_mode(o, err);
    if (!rc)
        rc = br__recipe_open(&c->arena, registry, o, *out, err);
    if (!rc && (*out)->asked && !BR__FLAG(c, QUIET) && !BR__FLAG(c, JSON))
        br__say(stderr,
                "bridge: note: '%s' is a newer name of '%s', which has the values of the "
                "model page",
                (*out)->asked, (*out)->name);
    return rc;
}

/* Settings of the model page's example before those of the user, who has the last word. */
static int add_example(struct br__cli *c, const char *example, struct br__recipe_opts *o,
                       struct br_err *err)
{
    char *words = br__arena_strdup(&c->arena, example);
    const char **sets =
        br__arena_alloc(&c->arena, (strlen(example) + o->n_sets + 1) * sizeof *sets);
    size_t n = 0;

    if (!words || !sets)
        return br__nomem(err, "reading the example");
    for (char *rest = NULL, *w = strtok_r(words, " ", &rest); w; w = strtok_r(NULL, " ", &rest))
        sets[n++] = w;
    if (o->n_sets)
        memcpy(sets + n, o->sets, o->n_sets * sizeof *sets);
    o->sets = sets;
    o->n_sets += n;
    return BR_OK;
}

static int open_with_example(struct br__cli *c, struct br__registry *registry,
                             struct br__recipe_opts *o, struct br__recipe **out, struct br_err *err)
{
    const char *example = (*out)->example;
    int rc = example ? add_example(c, example, o, err)
                     : br_fail(err, BR_E_NOTFOUND, "the model page shows no example with '%s'",
                               (*out)->name);

    return rc ? rc : recipe_resolve(c, registry, o, out, err);
}

int br__open_recipe(struct br__cli *c, int incomplete, struct br__opened *out, struct br_err *err)
{
    struct br__recipe_opts o;
    int rc = recipe_options(c, c->n_pos ? c->pos[0] : NULL, &o, err);

    o.incomplete = incomplete;
    if (!rc)
        rc = open_registry(c, &out->registry, err);
    if (!rc)
        rc = recipe_resolve(c, out->registry, &o, &out->recipe, err);
    if (!rc && BR__FLAG(c, EXAMPLE))
        rc = open_with_example(c, out->registry, &o, &out->recipe, err);
    return rc;
}

/* Text of a value, in the arena. */
static const char *value_text(struct br__arena *a, const struct br__recipe_value *v)
{
    struct br__buf b = {0};
    const char *text = "";

    if (v->tag)
        br__recipe_value_text(&b, v);
    if (b.p)
        text = b.failed ? NULL : br__arena_strdup(a, b.p);
    br__buf_free(&b);
    return text ? text : "?";
}

static void value_json(struct br__js *j, const char *key, const struct br__recipe_value *v)
{
    struct br__buf b = {0};

    br__recipe_value_json(&b, v);
    br__js_raw(j, key, b.failed ? "null" : b.p);
    j->buf.failed = j->buf.failed ? j->buf.failed : b.failed;
    br__buf_free(&b);
}

void br__put_grid(struct br__buf *b, const struct br__recipe *r)
{
    struct br__recipe_grid g;

    br__recipe_grid(r, 0, &g);
    if (g.dp)
        br__buf_printf(
            b, "%" PRId64 " GPUs = tp %" PRId64 " × pp %" PRId64 " × cp %" PRId64 " × dp %" PRId64,
            g.world, g.tp, g.pp, g.cp, g.dp);
    else
        br__buf_printf(b, "tp %" PRId64 " × pp %" PRId64 " × cp %" PRId64, g.tp, g.pp, g.cp);
    if (br__recipe_has(r, BR__RK_num_moe_experts) && g.edp)
        br__buf_printf(b,
                       " = etp %" PRId64 " × ep %" PRId64 " × pp %" PRId64 " × expert-dp %" PRId64,
                       g.etp, g.ep, g.pp, g.edp);
}

static int is_computed(uint32_t id)
{
    return (br__recipe_keys[id].flags & BR__RECIPE_COMPUTED) != 0;
}

/* ---- list ------------------------------------------------------------------------------------ */

struct lister {
    struct br__cli *c;
    struct br__registry *registry;
    struct br__js *j; /* NULL: text */
    struct br__table t;
};

/* Does the recipe's name begin with the text, up to the end of a word, or is the text its plugin or
 * Hugging Face id? */
static int is_model(const struct br__recipe *r, const char *text)
{
    const struct br__recipe_value *id = &r->v[BR__RK_hf_model];
    size_t n = strlen(text);

    return !strcmp(r->plugin->name, text) || (id->tag == 'T' && !strcasecmp(id->text, text)) ||
           (!strncmp(r->name, text, n) && (r->name[n] == '_' || !r->name[n]));
}

static int is_wanted(const struct lister *l, const struct br__recipe *r)
{
    const char *model = BR__TEXT(l->c, RECIPE_MODEL), *mode = BR__TEXT(l->c, MODE);
    int64_t gpus = BR__INT(l->c, GPUS);

    return (!model || is_model(r, model)) && (!mode || !strcmp(mode, r->mode)) &&
           (!gpus || gpus == br__recipe_i(r, BR__RK_gpus, 0));
}

static void list_one(struct lister *l, const struct br__recipe *r)
{
    static const uint32_t columns[] = {BR__RK_tp,
                                       BR__RK_pp,
                                       BR__RK_ep,
                                       BR__RK_cp,
                                       BR__RK_gpus,
                                       BR__RK_seq_length,
                                       BR__RK_global_batch_size,
                                       BR__RK_lr};
    const char *cell[BR_COUNTOF(columns)];

    if (!l->j && BR__FLAG(l->c, QUIET)) {
        br__say(stdout, "%s", r->name);
        return;
    }
    if (!l->j) {
        for (size_t i = 0; i < BR_COUNTOF(columns); i++)
            cell[i] = value_text(&l->c->arena, &r->v[columns[i]]);
        br__table_row(&l->t, r->name, r->mode, cell[0], cell[1], cell[2], cell[3], cell[4], cell[5],
                      cell[6], cell[7]);
        return;
    }
    br__js_object(l->j, NULL, BR__JS_INLINE);
    br__js_str(l->j, "recipe", r->name);
    br__js_str(l->j, "mode", r->mode);
    br__js_str(l->j, "plugin", r->plugin->name);
    value_json(l->j, "hf_model", &r->v[BR__RK_hf_model]);
    for (size_t i = 0; i < BR_COUNTOF(columns); i++)
        value_json(l->j, br__recipe_keys[columns[i]].name, &r->v[columns[i]]);
    br__js_end(l->j);
}

/* --quiet: the names alone, for scripts and for shells that complete them; of all recipes at once,
 * without opening any. */
static int is_name_enough(const struct lister *l)
{
    return BR__FLAG(l->c, QUIET) && !l->j && !BR__TEXT(l->c, RECIPE_MODEL) &&
           !BR__TEXT(l->c, MODE) && !BR__INT(l->c, GPUS);
}

/* All modes of one row; a mode that the recipe refuses is not listed. */
static int list_modes(struct lister *l, const struct br_recipe *row, struct br_err *err)
{
    static const char *const modes[] = {"pretrain", "sft", "lora", "dora"};
    struct br__arena a = {0};
    struct br__recipe r;
    struct br_err why = BR_ERR_INIT;
    struct br__recipe_opts own = {.name = row->name, .incomplete = 1};
    int rc = br__recipe_open(&a, l->registry, &own, &r, err),
        pretrain = !rc && !strcmp(r.mode, "pretrain");

    for (size_t i = 0; !rc && i < BR_COUNTOF(modes); i++) {
        struct br__recipe_opts o = {.name = row->name, .mode = modes[i], .incomplete = 1};
        if (pretrain != (i == 0))
            continue;
        int got = br__recipe_open(&a, l->registry, &o, &r, &why);
        if (!got && is_wanted(l, &r)) {
            list_one(l, &r);
            if (BR__FLAG(l->c, QUIET) && !l->j)
                break; /* its modes have one name */
        }
        if (got && got != BR_E_UNSUPPORTED)
            rc = br_fail(err, got, "%s", why.msg);
    }
    br__arena_free(&a);
    return rc;
}

static int list_all(struct lister *l, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; !rc && i < l->registry->n_plugins; i++) {
        const struct br__plugin *p = l->registry->plugins[i];
        for (uint32_t k = 0; !rc && k < p->n_recipes; k++)
            if (!br__recipe_is_listed(&p->recipes[k]))
                continue;
            else if (is_name_enough(l))
                br__say(stdout, "%s", p->recipes[k].name);
            else
                rc = list_modes(l, &p->recipes[k], err);
    }
    return rc;
}

int br__cmd_recipe_list(struct br__cli *c, struct br_err *err)
{
    struct br__js j = {0};
    struct lister l = {.c = c, .j = BR__FLAG(c, JSON) ? &j : NULL, .t = {.cols = 10}};
    int rc = open_registry(c, &l.registry, err);

    if (l.j) {
        br__js_object(l.j, NULL, 0);
        br__js_array(l.j, "recipes", 0);
    } else if (!BR__FLAG(c, QUIET)) {
        br__table_row(&l.t, "recipe", "mode", ">TP", ">PP", ">EP", ">CP", ">GPUs", ">seq", ">gbs",
                      ">lr");
    }
    if (!rc)
        rc = list_all(&l, err);
    if (l.j) {
        br__js_end(l.j);
        br__js_end(l.j);
    }
    int printed = rc ? rc : l.j ? br__js_print(l.j, err) : br__table_print(&l.t, err);
    br__registry_close(l.registry);
    return printed;
}

/* ---- show ------------------------------------------------------------------------------------ */

/* "page; row qwen3_8b_pretrain_config; upstream's code: 4" */
static void put_provenance(struct br__buf *b, const struct br__recipe_value *v)
{
    br__buf_puts(b, v->from ? v->from : "?");
    if (v->line)
        br__buf_printf(b, ":%d", v->line);
    if (v->row)
        br__buf_printf(b, "; row %s", v->row);
    if (v->upstream)
        br__buf_printf(b, "; upstream's code: %s", v->upstream);
}

/* key = value, with the help or the source as a comment; a reference is written as one. */
static void put_line(struct br__buf *b, const struct br__recipe *r, uint32_t id, int provenance)
{
    const struct br__recipe_value *v = &r->v[id];
    size_t start = b->n;

    br__buf_printf(b, "%s%s = ", is_computed(id) ? "# " : "", br__recipe_keys[id].name);
    if (v->ref)
        br__buf_printf(b, "$%s", br__recipe_keys[v->ref - 1].name);
    else
        br__recipe_value_text(b, v);
    int width = (int)(b->n - start);
    br__buf_printf(b, "%*s # ", width < 47 ? 47 - width : 0, "");
    if (v->ref) {
        br__recipe_value_text(b, v);
        br__buf_puts(b, "; ");
    }
    if (provenance)
        put_provenance(b, v);
    else
        br__buf_puts(b, br__recipe_keys[id].help);
    br__buf_putc(b, '\n');
}

int br__print_buf(struct br__buf *b, struct br_err *err)
{
    int rc = b->failed ? br_fail(err, b->failed, "cannot hold the output in memory") : BR_OK;

    if (!rc)
        br__print_safe(stdout, b->p, b->n, BR__TEXT_PROSE);
    br__buf_free(b);
    return rc;
}

/* --changed and --section. */
static int is_shown(const struct br__cli *c, const struct br__recipe *r, uint32_t id)
{
    const struct br__recipe_value *v = &r->v[id];
    const char *path = br__recipe_keys[id].config, *section = BR__TEXT(c, SECTION);
    size_t n = section ? strlen(section) : 0;

    if (!v->tag || (BR__FLAG(c, CHANGED) && v->from && !strcmp(v->from, "default")))
        return 0;
    if (!section || (!*path && !strcmp(section, "bridge")))
        return 1;
    return !strncmp(path, section, n) && path[n] == '.';
}

static int check_section(const struct br__cli *c, struct br_err *err)
{
    const char *section = BR__TEXT(c, SECTION);
    size_t n = section ? strlen(section) : 0;
    int known = !section || !strcmp(section, "bridge");

    for (uint32_t id = 0; id < BR__N_RK && !known; id++) {
        const char *path = br__recipe_keys[id].config;
        known = !strncmp(path, section, n) && path[n] == '.';
    }
    return known ? BR_OK
                 : br_fail(err, BR_E_USAGE,
                           "no key is of section '%s'; expected bridge, model, train, optimizer, "
                           "scheduler, dataset, ddp, checkpoint or another of ConfigContainer",
                           section);
}

static int show_text(const struct br__cli *c, const struct br__recipe *r, struct br_err *err)
{
    struct br__buf b = {0};
    int provenance = BR__FLAG(c, PROVENANCE);

    br__buf_puts(&b, "# ");
    br__put_grid(&b, r);
    br__buf_printf(&b, "\nrecipe = %s\n", r->name);
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (is_shown(c, r, id))
            put_line(&b, r, id, provenance);
    return br__print_buf(&b, err);
}

/* Parallel sizes as Megatron's users write them: TP4 PP16 CP2 EP8 SP=True. */
static const char *upstream_sizes(struct br__arena *a, const struct br__recipe *r)
{
    static const uint32_t ids[] = {BR__RK_tp, BR__RK_pp, BR__RK_cp, BR__RK_ep,
                                   BR__RK_sequence_parallel};
    const char *t[BR_COUNTOF(ids)];

    for (size_t i = 0; i < BR_COUNTOF(ids); i++)
        t[i] = r->v[ids[i]].upstream ? r->v[ids[i]].upstream : value_text(a, &r->v[ids[i]]);
    const char *text = br__arena_printf(a, "TP%s PP%s CP%s EP%s SP=%s", t[0], t[1], t[2], t[3],
                                        strcmp(t[4], "true") ? "False" : "True");
    return text ? text : "?";
}

static int differs_upstream(const struct br__recipe *r)
{
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (r->v[id].upstream)
            return 1;
    return 0;
}

static void provenance_json(struct br__js *j, const struct br__recipe *r)
{
    br__js_object(j, "provenance", 0);
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__recipe_value *v = &r->v[id];
        if (!v->tag)
            continue;
        br__js_object(j, br__recipe_keys[id].name, BR__JS_INLINE);
        br__js_str(j, "from", v->from);
        if (v->row)
            br__js_str(j, "row", v->row);
        if (v->line)
            br__js_i64(j, "line", v->line);
        if (v->upstream)
            br__js_str(j, "upstream", v->upstream);
        br__js_end(j);
    }
    br__js_end(j);
}

static int show_json(struct br__cli *c, const struct br__recipe *r, struct br_err *err)
{
    struct br__js j = {0};
    struct br__recipe_grid g;

    br__recipe_grid(r, 0, &g);
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "recipe", r->name);
    br__js_str(&j, "plugin", r->plugin->name);
    br__js_i64(&j, "min_world_size", g.min_world);
    br__js_bool(&j, "upstream_differs", differs_upstream(r));
    br__js_str(&j, "upstream_parallelism", upstream_sizes(&c->arena, r));
    br__js_str(&j, "example", r->example);
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (r->v[id].tag)
            value_json(&j, br__recipe_keys[id].name, &r->v[id]);
    if (BR__FLAG(c, PROVENANCE))
        provenance_json(&j, r);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static int show_yaml(struct br__cli *c, const struct br__recipe *r, struct br_err *err)
{
    struct br__buf b = {0};
    int rc = br__recipe_yaml(&c->arena, r, NULL, &b, err);

    if (rc) {
        br__buf_free(&b);
        return rc;
    }
    return br__print_buf(&b, err);
}

int br__cmd_recipe_show(struct br__cli *c, struct br_err *err)
{
    enum { TEXT, AS_JSON, AS_YAML };
    struct br__opened o = {0};
    int64_t format = BR__FLAG(c, JSON) ? AS_JSON : BR__INT(c, FORMAT);

    if (BR__FLAG(c, JSON) && BR__FLAG(c, FORMAT) && BR__INT(c, FORMAT) != AS_JSON)
        return br_fail(err, BR_E_USAGE, "--json and --format %s contradict", BR__TEXT(c, FORMAT));
    int rc = check_section(c, err);
    if (!rc)
        rc = br__open_recipe(c, 0, &o, err);
    if (!rc && format == AS_JSON)
        rc = show_json(c, o.recipe, err);
    else if (!rc && format == AS_YAML)
        rc = show_yaml(c, o.recipe, err);
    else if (!rc)
        rc = show_text(c, o.recipe, err);
    br__registry_close(o.registry);
    return rc;
}

/* ---- diff ------------------------------------------------------------------------------------ */

static int same_value(const struct br__recipe_value *a, const struct br__recipe_value *b)
{
    if (a->tag != b->tag)
        return 0;
    if (a->tag == 'F')
        return a->f == b->f;
    if (a->tag == 'I' || a->tag == 'B')
        return a->i == b->i;
    return !a->tag || a->tag == '0' || !strcmp(a->text, b->text);
}

static void diff_json(struct br__js *j, const char *key, const struct br__recipe_value *a,
                      const struct br__recipe_value *b)
{
    br__js_object(j, NULL, BR__JS_INLINE);
    br__js_str(j, "key", key);
    if (a->tag)
        value_json(j, "a", a);
    if (b->tag)
        value_json(j, "b", b);
    br__js_end(j);
}

static int diff_recipes(struct br__cli *c, const struct br__recipe *a, const struct br__recipe *b,
                        size_t *n, struct br_err *err)
{
    struct br__js j = {0};
    struct br__table t = {.cols = 3};
    int json = BR__FLAG(c, JSON);

    if (json) {
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "a", c->pos[0]);
        br__js_str(&j, "b", c->pos[1]);
        br__js_array(&j, "differences", 0);
    } else {
        br__table_row(&t, "key", c->pos[0], c->pos[1]);
    }
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const char *key = br__recipe_keys[id].name;
        if (same_value(&a->v[id], &b->v[id]))
            continue;
        ++*n;
        if (json)
            diff_json(&j, key, &a->v[id], &b->v[id]);
        else
            br__table_row(&t, key, a->v[id].tag ? value_text(&c->arena, &a->v[id]) : "-",
                          b->v[id].tag ? value_text(&c->arena, &b->v[id]) : "-");
    }
    if (!json)
        return br__table_print(&t, err);
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_recipe_diff(struct br__cli *c, struct br_err *err)
{
    struct br__registry *registry = NULL;
    struct br__recipe *r[2] = {NULL, NULL};
    size_t n = 0;
    int rc = open_registry(c, &registry, err);

    for (int i = 0; !rc && i < 2; i++) {
        struct br__recipe_opts o;
        rc = recipe_options(c, c->pos[i], &o, err);
        if (!rc)
            rc = recipe_resolve(c, registry, &o, &r[i], err);
    }
    if (!rc)
        rc = diff_recipes(c, r[0], r[1], &n, err);
    if (!rc && n)
        rc = br_fail(err, BR_E_DIFF, "%zu value(s) differ", n);
    br__registry_close(registry);
    return rc;
}

/* ---- check ----------------------------------------------------------------------------------- */

static void check_line(void *ud, const char *text)
{
    struct br__js *j = ud;

    if (j)
        br__js_str(j, NULL, text);
    else
        br__say(stdout, "%s", text);
}

static int check_done(struct br__cli *c, const struct br__recipe *r, struct br_err *err)
{
    struct br__buf b = {0};

    if (BR__FLAG(c, JSON))
        return BR_OK;
    br__buf_printf(&b, "ok: %s, mode %s: ", r->name, r->mode);
    br__put_grid(&b, r);
    br__buf_putc(&b, '\n');
    return br__print_buf(&b, err);
}

int br__cmd_recipe_check(struct br__cli *c, struct br_err *err)
{
    struct br__opened o = {0};
    struct br__js j = {0};
    size_t n = 0;
    int json = BR__FLAG(c, JSON), rc = br__open_recipe(c, 1, &o, err);

    if (!rc && json) {
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "recipe", o.recipe->name);
        br__js_str(&j, "mode", o.recipe->mode);
        br__js_array(&j, "contradictions", 0);
    }
    if (!rc)
        n = br__recipe_check(o.recipe, 0, check_line, json ? &j : NULL);
    if (!rc && json) {
        br__js_end(&j);
        br__js_end(&j);
        rc = br__js_print(&j, err);
    }
    if (!rc)
        rc = n ? br_fail(err, BR_E_CONFIG, "%s, mode %s: %zu contradiction(s)", o.recipe->name,
                         o.recipe->mode, n)
               : check_done(c, o.recipe, err);
    br__registry_close(o.registry);
    return rc;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static int key_has(const struct br__recipe_key *k, const char *word)
{
    return !word || strstr(k->name, word) || strstr(k->aliases, word) || strstr(k->config, word);
}

static int keys_json(const char *word, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_array(&j, "keys", 0);
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__recipe_key *k = &br__recipe_keys[id];
        struct br__buf range = {0};
        if (!key_has(k, word))
            continue;
        br__recipe_key_range(k, &range);
        br__js_object(&j, NULL, BR__JS_INLINE);
        br__js_str(&j, "key", k->name);
        br__js_str(&j, "type", range.failed ? "?" : range.p);
        br__js_str(&j, "default", k->dflt);
        br__js_bool(&j, "computed", is_computed(id));
        br__js_str(&j, "aliases", k->aliases);
        br__js_str(&j, "config", k->config);
        br__js_str(&j, "help", k->help);
        br__js_end(&j);
        br__buf_free(&range);
    }
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void put_key(struct br__buf *b, const struct br__recipe_key *k, int computed, int quiet)
{
    if (quiet) {
        br__buf_printf(b, "%s\n", k->name);
        return;
    }
    br__buf_printf(b, "%s\n    ", k->name);
    br__recipe_key_range(k, b);
    if (k->dflt)
        br__buf_printf(b, "; default %s", k->dflt);
    if (computed)
        br__buf_puts(b, "; computed");
    br__buf_printf(b, "\n    %s\n", k->help);
    if (*k->aliases)
        br__buf_printf(b, "    also: %s\n", k->aliases);
    if (*k->config)
        br__buf_printf(b, "    in Megatron Bridge: %s\n", k->config);
}

static int keys_text(const char *word, int quiet, struct br_err *err)
{
    struct br__buf b = {0};

    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (key_has(&br__recipe_keys[id], word))
            put_key(&b, &br__recipe_keys[id], is_computed(id), quiet);
    for (size_t i = 0; br__recipe_word(i); i++) {
        const struct br__recipe_word *w = br__recipe_word(i);
        if (!quiet && (!word || strstr(w->name, word)))
            br__buf_printf(&b, "%s=%s\n    %s\n    short for: %s\n", w->name, w->value, w->help,
                           w->settings);
    }
    if (!b.n) {
        br__buf_free(&b);
        return br_fail(err, BR_E_NOTFOUND, "no key has '%s' in its name; see: bridge recipe keys",
                       word);
    }
    return br__print_buf(&b, err);
}

int br__cmd_recipe_keys(struct br__cli *c, struct br_err *err)
{
    const char *word = c->n_pos ? c->pos[0] : NULL;
    return BR__FLAG(c, JSON) ? keys_json(word, err) : keys_text(word, BR__FLAG(c, QUIET), err);
}
