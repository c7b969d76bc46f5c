/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_plugin.c - what plugins offer: list, plugin list|show|check; and toy, which makes a model of
 * any architecture. */
#include "../check/check.h"
#include "../recipe/recipe.h"
#include "cli.h"

#include <inttypes.h>
#include <string.h>

static int open_all(struct br__cli *c, struct br__registry **r, struct br_err *err)
{
    int rc = br__registry_open(r, BR__TEXT(c, PLUGIN), err);

    return rc ? rc : br__registry_load_all(*r, err);
}

/* ---- list ------------------------------------------------------------------------------------ */

static int list_text(const struct br__registry *r, int quiet, struct br_err *err)
{
    struct br__table t = {.cols = 4};

    if (!quiet)
        br__table_row(&t, "model_type", "class", "plugin", "can");
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++) {
            const struct br__arch *a = &r->plugins[i]->archs[k];
            if (quiet)
                br__say(stdout, "%s", a->model_type);
            else
                br__table_row(&t, a->model_type, a->hf_class, r->plugins[i]->name,
                              a->layer ? "convert, run" : "convert");
        }
    return br__table_print(&t, err);
}

static int list_json(const struct br__registry *r, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_array(&j, "architectures", 0);
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++) {
            const struct br__arch *a = &r->plugins[i]->archs[k];
            br__js_object(&j, NULL, BR__JS_INLINE);
            br__js_str(&j, "model_type", a->model_type);
            br__js_str(&j, "class", a->hf_class);
            br__js_str(&j, "plugin", r->plugins[i]->name);
            br__js_bool(&j, "runs", a->layer != NULL);
            br__js_end(&j);
        }
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_list(struct br__cli *c, struct br_err *err)
{
    static const char what[] = "architectures";
    struct br__registry *r = NULL;

    if (c->n_pos && strcmp(c->pos[0], what))
        return br_fail(err, BR_E_USAGE, "cannot list '%s'; expected %s", c->pos[0], what);
    int rc = open_all(c, &r, err);
    if (!rc)
        rc = BR__FLAG(c, JSON) ? list_json(r, err) : list_text(r, BR__FLAG(c, QUIET), err);
    br__registry_close(r);
    return rc;
}

/* ---- plugin list ----------------------------------------------------------------------------- */

/* Count recipes, not the base rows that they start from. */
static uint32_t count_recipes(const struct br__plugin *p)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < p->n_recipes; i++)
        n += br__recipe_is_listed(&p->recipes[i]) != 0;
    return n;
}

static const char *arch_names(struct br__arena *a, const struct br__plugin *p)
{
    const char *all = "";

    for (uint32_t i = 0; all && i < p->n_archs; i++)
        all = br__arena_printf(a, "%s%s%s", all, i ? ", " : "", p->archs[i].model_type);
    return all ? all : "?";
}

static int plugins_text(struct br__cli *c, const struct br__registry *r, struct br_err *err)
{
    struct br__table t = {.cols = 4};
    char recipes[16];

    for (size_t i = 0; BR__FLAG(c, QUIET) && i < r->n_plugins; i++)
        br__say(stdout, "%s", r->plugins[i]->name);
    if (BR__FLAG(c, QUIET))
        return BR_OK;
    br__table_row(&t, "plugin", "architectures", ">recipes", "path");
    for (size_t i = 0; i < r->n_plugins; i++) {
        const struct br__plugin *p = r->plugins[i];
        snprintf(recipes, sizeof recipes, "%" PRIu32, count_recipes(p));
        br__table_row(&t, p->name, arch_names(&c->arena, p), recipes, p->path);
    }
    int rc = br__table_print(&t, err);
    if (rc)
        return rc;
    puts("\nsearched:");
    for (size_t i = 0; i < r->n_dirs; i++)
        br__say(stdout, "  %s", r->dirs[i]);
    fflush(stdout);
    for (size_t i = 0; i < r->n_refused; i++)
        br__say(stderr, "bridge: warning: refused %s", r->refused[i]);
    return BR_OK;
}

static int plugins_json(const struct br__registry *r, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_array(&j, "plugins", 0);
    for (size_t i = 0; i < r->n_plugins; i++) {
        const struct br__plugin *p = r->plugins[i];
        br__js_object(&j, NULL, BR__JS_INLINE);
        br__js_str(&j, "name", p->name);
        br__js_str(&j, "path", p->path);
        br__js_array(&j, "architectures", 0);
        for (uint32_t k = 0; k < p->n_archs; k++)
            br__js_str(&j, NULL, p->archs[k].model_type);
        br__js_end(&j);
        br__js_u64(&j, "recipes", count_recipes(p));
        br__js_end(&j);
    }
    br__js_end(&j);
    br__js_strs(&j, "searched", r->dirs, r->n_dirs);
    br__js_strs(&j, "refused", r->refused, r->n_refused);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_plugin_list(struct br__cli *c, struct br_err *err)
{
    struct br__registry *r = NULL;
    int rc = open_all(c, &r, err);

    if (!rc)
        rc = BR__FLAG(c, JSON) ? plugins_json(r, err) : plugins_text(c, r, err);
    br__registry_close(r);
    return rc;
}

/* ---- a plugin by name or file ---------------------------------------------------------------- */

static int unknown_plugin(const struct br__registry *r, const char *name, struct br_err *err)
{
    struct br__buf b = {0};
    int rc;

    for (size_t i = 0; i < r->n_plugins; i++)
        br__buf_printf(&b, "%s%s", i ? ", " : "", r->plugins[i]->name);
    if (b.failed)
        rc = br_fail(err, BR_E_NOMEM, "out of memory");
    else
        rc = br_fail(err, BR_E_NOTFOUND, "no plugin '%s'; found: %s (see: bridge plugin list)",
                     name, b.n ? b.p : "none");
    br__buf_free(&b);
    return rc;
}

int br__open_plugin(struct br__cli *c, const char *name, struct br__registry **r,
                    const struct br__plugin **p, struct br_err *err)
{
    if (strchr(name, '/') || br__ends(name, ".so")) {
        int rc = br__registry_open(r, BR__TEXT(c, PLUGIN), err);
        return rc ? rc : br__registry_load_file(*r, name, p, err);
    }
    int rc = open_all(c, r, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < (*r)->n_plugins; i++)
        if (!strcmp((*r)->plugins[i]->name, name)) {
            *p = (*r)->plugins[i];
            return BR_OK;
        }
    return unknown_plugin(*r, name, err);
}

/* ---- plugin show ----------------------------------------------------------------------------- */

/* "hf key, required", "= 1": where a fact's value comes from. */
static const char *field_source(struct br__arena *a, const struct br_field *f)
{
    const char *s;

    if (f->flags & BR_FIELD_FACT)
        s = f->text ? br__arena_printf(a, "= %s", f->text) : br__arena_printf(a, "= %g", f->value);
    else
        s = br__arena_printf(a, "%s%s%s", f->hf_key ? f->hf_key : "",
                             f->flags & BR_FIELD_NOT ? ", inverted" : "",
                             f->flags & BR_FIELD_REQUIRED ? ", required" : "");
    return s ? s : "?";
}

static int show_fields(struct br__arena *a, const struct br__arch *arch, struct br_err *err)
{
    struct br__table t = {.cols = 2};

    br__table_row(&t, "  config field", "from config.json");
    for (uint32_t i = 0; i < arch->n_config; i++) {
        const struct br_field *f = &arch->config[i];
        const char *name =
            br__arena_printf(a, "  %s", f->field < BR_N_CFG ? br__cfg_keys[f->field].key : "?");
        br__table_row(&t, name ? name : "?", field_source(a, f));
    }
    return br__table_print(&t, err);
}

static int show_maps(struct br__arena *a, const struct br__arch *arch, struct br_err *err)
{
    struct br__table t = {.cols = 4};

    br__table_row(&t, "  Megatron tensor", "layout", "Hugging Face tensors", "shapes");
    for (uint32_t i = 0; i < arch->n_maps; i++) {
        const struct br_map *m = &arch->maps[i];
        const char *name = br__arena_printf(a, "  %s", m->mcore);
        br__table_row(&t, name ? name : "?", br__layout_name(m->layout), m->hf,
                      m->hf_shape ? m->hf_shape : "");
    }
    return br__table_print(&t, err);
}

static int show_text(struct br__cli *c, const struct br__plugin *p, struct br_err *err)
{
    int rc = BR_OK;

    br__say(stdout, "%s (%s), built with bridge %u.%u.%u", p->name, p->path, p->built_with / 10000,
            p->built_with / 100 % 100, p->built_with % 100);
    for (uint32_t i = 0; !rc && i < p->n_archs; i++) {
        const struct br__arch *a = &p->archs[i];
        putchar('\n');
        br__say(stdout, "%s (%s)", a->model_type, a->hf_class);
        putchar('\n');
        rc = show_fields(&c->arena, a, err);
        putchar('\n');
        if (!rc)
            rc = show_maps(&c->arena, a, err);
        if (a->n_ignore)
            puts("\n  ignored:");
        for (uint32_t k = 0; k < a->n_ignore; k++)
            br__say(stdout, "  %s", a->ignore[k].hf);
        putchar('\n');
        br__say(stdout, "  toy: %s", a->toy ? a->toy : "");
    }
    if (p->n_recipes)
        puts("\nrecipes:");
    for (uint32_t i = 0; i < p->n_recipes; i++)
        br__say(stdout, "  %-44s %s: %s", p->recipes[i].name, p->recipes[i].base,
                p->recipes[i].set);
    return rc;
}

static void fields_json(struct br__js *j, const struct br__arch *a)
{
    br__js_array(j, "config", 0);
    for (uint32_t i = 0; i < a->n_config; i++) {
        const struct br_field *f = &a->config[i];
        br__js_object(j, NULL, BR__JS_INLINE);
        br__js_str(j, "field", f->field < BR_N_CFG ? br__cfg_keys[f->field].key : NULL);
        br__js_str(j, "hf_key", f->hf_key);
        br__js_bool(j, "fact", (f->flags & BR_FIELD_FACT) != 0);
        if (f->text)
            br__js_str(j, "value", f->text);
        else
            br__js_num(j, "value", f->value);
        br__js_end(j);
    }
    br__js_end(j);
}

static void maps_json(struct br__js *j, const struct br__arch *a)
{
    br__js_array(j, "maps", 0);
    for (uint32_t i = 0; i < a->n_maps; i++) {
        br__js_object(j, NULL, BR__JS_INLINE);
        br__js_str(j, "megatron", a->maps[i].mcore);
        br__js_str(j, "hf", a->maps[i].hf);
        br__js_str(j, "hf_fused", a->maps[i].hf_fused);
        br__js_str(j, "hf_shape", a->maps[i].hf_shape);
        br__js_str(j, "layout", br__layout_name(a->maps[i].layout));
        br__js_end(j);
    }
    br__js_end(j);
}

static void arch_json(struct br__js *j, const struct br__arch *a)
{
    br__js_object(j, NULL, 0);
    br__js_str(j, "model_type", a->model_type);
    br__js_str(j, "class", a->hf_class);
    br__js_str(j, "toy", a->toy);
    br__js_bool(j, "runs", a->layer != NULL);
    fields_json(j, a);
    maps_json(j, a);
    br__js_array(j, "ignore", 0);
    for (uint32_t i = 0; i < a->n_ignore; i++)
        br__js_str(j, NULL, a->ignore[i].hf);
    br__js_end(j);
    br__js_end(j);
}

static int show_json(const struct br__plugin *p, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "name", p->name);
    br__js_str(&j, "path", p->path);
    br__js_u64(&j, "built_with", p->built_with);
    br__js_array(&j, "architectures", 0);
    for (uint32_t i = 0; i < p->n_archs; i++)
        arch_json(&j, &p->archs[i]);
    br__js_end(&j);
    br__js_array(&j, "recipes", 0);
    for (uint32_t i = 0; i < p->n_recipes; i++) {
        br__js_object(&j, NULL, BR__JS_INLINE);
        br__js_str(&j, "name", p->recipes[i].name);
        br__js_str(&j, "base", p->recipes[i].base);
        br__js_str(&j, "set", p->recipes[i].set);
        br__js_end(&j);
    }
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_plugin_show(struct br__cli *c, struct br_err *err)
{
    struct br__registry *r = NULL;
    const struct br__plugin *p = NULL;
    int rc = br__open_plugin(c, c->pos[0], &r, &p, err);

    if (!rc)
        rc = BR__FLAG(c, JSON) ? show_json(p, err) : show_text(c, p, err);
    br__registry_close(r);
    return rc;
}

/* ---- plugin check ---------------------------------------------------------------------------- */

struct check {
    struct br__js *j; /* NULL: text */
};

static void check_line(void *ud, const char *what, int ok, const char *detail)
{
    struct check *k = ud;

    if (!k->j) {
        br__say(stdout, "%-6s  %s%s%s", ok ? "ok" : "FAILED", what, detail && *detail ? ": " : "",
                detail ? detail : "");
        return;
    }
    br__js_object(k->j, NULL, BR__JS_INLINE);
    br__js_str(k->j, "check", what);
    br__js_bool(k->j, "ok", ok);
    br__js_str(k->j, "detail", detail);
    br__js_end(k->j);
}

/* Check the plugin's tables; if they are sound, run its layers. */
static int check_all(struct br__registry *r, const struct br__plugin *p, struct check *k,
                     int *failed, struct br_err *err)
{
    int rc = br__plugin_check(r, p, check_line, k, failed, err);

    return rc || *failed ? rc : br__engine_check(p, check_line, k, failed, err);
}

static int check_loaded(struct br__cli *c, struct br__registry *r, const struct br__plugin *p,
                        int *failed, struct br_err *err)
{
    struct br__js j = {0};
    struct check k = {BR__FLAG(c, JSON) ? &j : NULL};

    if (!k.j)
        return check_all(r, p, &k, failed, err);
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "plugin", p->name);
    br__js_str(&j, "path", p->path);
    br__js_array(&j, "checks", 0);
    int rc = check_all(r, p, &k, failed, err);
    br__js_end(&j);
    br__js_u64(&j, "failed", (uint64_t)*failed);
    br__js_end(&j);
    if (rc) {
        br__buf_free(&j.buf);
        return rc;
    }
    return br__js_print(&j, err);
}

int br__cmd_plugin_check(struct br__cli *c, struct br_err *err)
{
    struct br__registry *r = NULL;
    const struct br__plugin *p = NULL;
    int failed = 0;
    int rc = br__open_plugin(c, c->pos[0], &r, &p, err);

    if (!rc)
        rc = check_loaded(c, r, p, &failed, err);
    if (!rc && failed)
        rc = br_fail(err, BR_E_PLUGIN, "plugin '%s' (%s): %d check(s) failed", p->name, p->path,
                     failed);
    br__registry_close(r);
    return rc;
}

/* ---- toy ------------------------------------------------------------------------------------- */

/* Find an architecture by model_type or class; the registry words the error. */
static int find_arch(struct br__registry *r, const char *name, const struct br__arch **out,
                     struct br_err *err)
{
    int rc = br__registry_load_all(r, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++) {
            const struct br__arch *a = &r->plugins[i]->archs[k];
            if (!strcmp(a->model_type, name) || !strcmp(a->hf_class, name)) {
                *out = a;
                return BR_OK;
            }
        }
    return br__registry_find(r, name, NULL, out, err);
}

static int toy_done(struct br__cli *c, const struct br__arch *a, const char *dir,
                    struct br_err *err)
{
    struct br__js j = {0};

    if (BR__FLAG(c, QUIET) && !BR__FLAG(c, JSON)) { /* the path alone, for $(...) */
        br__say(stdout, "%s", dir);
        return BR_OK;
    }
    if (!BR__FLAG(c, JSON)) {
        br__say(stdout, "wrote a toy %s to %s", a->hf_class, dir);
        br__say(stdout, "next: bridge import --hf-model %s", br__shell_word(&c->arena, dir));
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", "toy");
    br__js_str(&j, "model_type", a->model_type);
    br__js_str(&j, "class", a->hf_class);
    br__js_str(&j, "path", dir);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_toy(struct br__cli *c, struct br_err *err)
{
    struct br__toy_opts o = {
        .sets = c->opt[BR__OPT_SET].list,
        .n_sets = c->opt[BR__OPT_SET].n_list,
        .seed = (uint64_t)BR__INT(c, SEED),
        .dtype = (int)BR__INT(c, TOY_DTYPE),
        .sparse = BR__FLAG(c, SPARSE),
        .fused = BR__FLAG(c, EXPERT_LAYOUT) && BR__INT(c, EXPERT_LAYOUT) == 1,
    };
    struct br__registry *r = NULL;
    const struct br__arch *a = NULL;
    const char *dir = BR__TEXT(c, OUTPUT_DIR);
    int rc = br__registry_open(&r, BR__TEXT(c, PLUGIN), err);

    if (!rc)
        rc = find_arch(r, BR__TEXT(c, ARCH), &a, err);
    if (!rc)
        rc = br__toy_write(a, dir, &o, err);
    if (!rc)
        rc = toy_done(c, a, dir, err);
    br__registry_close(r);
    return rc;
}
