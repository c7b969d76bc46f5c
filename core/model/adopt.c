/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* adopt.c - a plugin's descriptor, checked row by row and copied to this build's sizes.
 *
 * The plugin may have been built with an older or a newer header, or be nonsense that happens to
 * export the right symbol.  Sizes and counts are bounded before they are used, every pointer must
 * lead into the plugin's own file, and every enum value must be one that this build knows.  The
 * tables are copied; strings are borrowed, because an accepted plugin is never unloaded. */
#include "model_internal.h"
#include <string.h>

enum {
    STRUCT_MIN = 8, /* a struct or row has at least one pointer or two uint32_t */
    STRUCT_MAX = 4096,
    ROWS_MAX = 4096,
    ARCHS_MAX = 256,
    TEXT_MAX = 1 << 16
};

#define FIELD_FLAGS                                                                                \
    (BR_FIELD_REQUIRED | BR_FIELD_NOT | BR_FIELD_FACT | BR_FIELD_DEFAULT | BR_FIELD_READ)
#define MAP_FLAGS                                                                                  \
    (BR_MAP_EXTRA_STATE | BR_MAP_IF_UNTIED | BR_MAP_IF_MTP | BR_MAP_VOCAB | BR_MAP_ZERO_CENTERED)

/* One adoption: what every check needs. */
struct job {
    struct br__arena *arena;
    const struct br__image *image;
    struct br_err *err;
};

/* ---- pointers -------------------------------------------------------------------------------- */

/* How many bytes of the plugin's file are mapped from p on; 0 if p is not in it. */
static size_t mapped_from(const struct br__image *image, const void *p)
{
    uintptr_t at = (uintptr_t)p;

    if (image->n == 0)
        return p ? SIZE_MAX : 0;
    for (size_t i = 0; i < image->n; i++)
        if (at >= image->seg[i].begin && at < image->seg[i].end)
            return image->seg[i].end - at;
    return 0;
}

/* A function of the plugin's own, or none. */
static int check_code(struct job *j, uintptr_t at, uint32_t row, const char *what)
{
    if (!at || j->image->n == 0)
        return BR_OK;
    for (size_t i = 0; i < j->image->n; i++)
        if (j->image->seg[i].code && at >= j->image->seg[i].begin && at < j->image->seg[i].end)
            return BR_OK;
    return br_fail(j->err, BR_E_PLUGIN, "arch row %u: %s is not a function of the plugin's own",
                   row, what);
}

/* `what` and the text's place are only for the message. */
static int check_text(struct job *j, const char *s, const char *table, uint32_t row,
                      const char *what)
{
    if (!s)
        return br_fail(j->err, BR_E_PLUGIN, "%s row %u: %s is NULL", table, row, what);
    size_t room = BR__MIN(mapped_from(j->image, s), (size_t)TEXT_MAX);
    size_t n = strnlen(s, room);
    if (n == room)
        return br_fail(j->err, BR_E_PLUGIN, "%s row %u: %s is not a text of the plugin's own",
                       table, row, what);
    if (n == 0)
        return br_fail(j->err, BR_E_PLUGIN, "%s row %u: %s is empty", table, row, what);
    return BR_OK;
}

static int check_size(struct job *j, uint32_t size, const char *what)
{
    if (size < STRUCT_MIN || size > STRUCT_MAX || size % 8 != 0)
        return br_fail(j->err, BR_E_PLUGIN,
                       "%s has rows of %u bytes; expected a multiple of 8 from "
                       "%d to %d",
                       what, size, STRUCT_MIN, STRUCT_MAX);
    return BR_OK;
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* A table as the plugin has it: n rows of row_size bytes. */
struct table {
    const void *rows;
    uint32_t n, row_size, max;
    const char *what;
};
#define TABLE(t, name) ((struct table){(t).rows, (t).n, (t).row_size, ROWS_MAX, (name)})

/* *out: the rows at this build's size, NULL for an empty table. */
static int copy_rows(struct job *j, const struct table *t, size_t size, void *out)
{
    void *copy = NULL;

    memcpy(out, &copy, sizeof copy);
    if (t->n == 0)
        return BR_OK;
    int rc = check_size(j, t->row_size, t->what);
    if (rc)
        return rc;
    if (t->n > t->max)
        return br_fail(j->err, BR_E_PLUGIN, "%s has %u rows, more than %u", t->what, t->n, t->max);
    if (mapped_from(j->image, t->rows) < (size_t)t->n * t->row_size)
        return br_fail(j->err, BR_E_PLUGIN,
                       "%s: its %u rows of %u bytes are not in the plugin's file", t->what, t->n,
                       t->row_size);
    copy = br__arena_alloc(j->arena, t->n * size);
    if (!copy)
        return br__nomem(j->err, "copying %s", t->what);
    for (uint32_t i = 0; i < t->n; i++) {
        const char *row = (const char *)t->rows + (size_t)i * t->row_size;
        if (br__adopt((char *)copy + i * size, size, row, t->row_size))
            return br_fail(j->err, BR_E_PLUGIN,
                           "%s row %u uses a field that this bridge (%s) does not know; a newer "
                           "bridge is needed",
                           t->what, i, br_version());
    }
    memcpy(out, &copy, sizeof copy);
    return BR_OK;
}

static int check_field(struct job *j, const struct br_field *f, uint32_t row)
{
    const char *t = "config";

    if (f->field >= BR_N_CFG)
        return br_fail(j->err, BR_E_PLUGIN,
                       "config row %u: fact %u is unknown to this bridge (%s), "
                       "which knows %d",
                       row, f->field, br_version(), BR_N_CFG);
    if (f->flags & ~(uint32_t)FIELD_FLAGS)
        return br_fail(j->err, BR_E_PLUGIN,
                       "config row %u: flags 0x%x are unknown to this bridge (%s)", row,
                       f->flags & ~(uint32_t)FIELD_FLAGS, br_version());
    int rc = BR_OK;
    if (!(f->flags & BR_FIELD_FACT))
        rc = check_text(j, f->hf_key, t, row, "hf_key");
    else if (f->hf_key)
        rc = br_fail(j->err, BR_E_PLUGIN, "config row %u: a fact has no hf_key", row);
    int is_text = br__cfg_keys[f->field].kind == 'T';
    if (rc == BR_OK && is_text && (f->flags & (BR_FIELD_FACT | BR_FIELD_DEFAULT)))
        rc = check_text(j, f->text, t, row, "text");
    else if (rc == BR_OK && f->text)
        rc = check_text(j, f->text, t, row, "text");
    return rc;
}

static int check_map(struct job *j, const struct br_map *m, uint32_t row)
{
    const char *t = "map";

    int rc = check_text(j, m->mcore, t, row, "mcore");
    if (rc == BR_OK)
        rc = check_text(j, m->hf, t, row, "hf");
    if (rc == BR_OK)
        rc = check_text(j, m->hf_shape, t, row, "hf_shape");
    if (rc == BR_OK && m->hf_fused)
        rc = check_text(j, m->hf_fused, t, row, "hf_fused");
    if (rc)
        return rc;
    if (m->layout >= BR_N_LAYOUTS)
        return br_fail(j->err, BR_E_PLUGIN,
                       "map row %u ('%s'): layout %u is unknown to this bridge "
                       "(%s), which knows %d",
                       row, m->mcore, m->layout, br_version(), BR_N_LAYOUTS);
    if (m->flags & ~(uint32_t)MAP_FLAGS)
        return br_fail(j->err, BR_E_PLUGIN,
                       "map row %u ('%s'): flags 0x%x are unknown to this bridge "
                       "(%s)",
                       row, m->mcore, m->flags & ~(uint32_t)MAP_FLAGS, br_version());
    return BR_OK;
}

static int adopt_recipes(struct job *j, const struct br_plugin *d, struct br__plugin *p)
{
    int rc = copy_rows(j, &TABLE(d->recipes, "recipes"), sizeof(struct br_recipe), &p->recipes);

    for (uint32_t i = 0; rc == BR_OK && p->recipes && i < d->recipes.n; i++) {
        const struct br_recipe *r = &p->recipes[i];
        rc = check_text(j, r->name, "recipe", i, "name");
        if (rc == BR_OK && r->base)
            rc = check_text(j, r->base, "recipe", i, "base");
        if (rc == BR_OK && r->set)
            rc = check_text(j, r->set, "recipe", i, "set");
    }
    p->n_recipes = d->recipes.n;
    return rc;
}

/* ---- architectures --------------------------------------------------------------------------- */

static int adopt_tables(struct job *j, const struct br_arch *d, struct br__arch *a)
{
    int rc = copy_rows(j, &TABLE(d->config, "config"), sizeof(struct br_field), &a->config);
    if (rc == BR_OK)
        rc = copy_rows(j, &TABLE(d->maps, "map"), sizeof(struct br_map), &a->maps);
    if (rc == BR_OK)
        rc = copy_rows(j, &TABLE(d->ignore, "ignore"), sizeof(struct br_ignore), &a->ignore);
    if (rc == BR_OK)
        rc = copy_rows(j, &TABLE(d->keys, "keys"), sizeof(struct br_key), &a->keys);
    for (uint32_t i = 0; rc == BR_OK && i < d->config.n; i++)
        rc = check_field(j, &a->config[i], i);
    for (uint32_t i = 0; rc == BR_OK && i < d->maps.n; i++)
        rc = check_map(j, &a->maps[i], i);
    for (uint32_t i = 0; rc == BR_OK && i < d->ignore.n; i++)
        rc = check_text(j, a->ignore[i].hf, "ignore", i, "hf");
    for (uint32_t i = 0; rc == BR_OK && i < d->keys.n; i++) {
        rc = check_text(j, a->keys[i].hf_key, "keys", i, "hf_key");
        if (rc == BR_OK && a->keys[i].value)
            rc = check_text(j, a->keys[i].value, "keys", i, "value");
    }
    a->n_config = d->config.n;
    a->n_maps = d->maps.n;
    a->n_ignore = d->ignore.n;
    a->n_keys = d->keys.n;
    return rc;
}

static int adopt_arch(struct job *j, const struct br_arch *d, uint32_t row, struct br__arch *a)
{
    int rc = check_text(j, d->model_type, "arch", row, "model_type");
    if (rc == BR_OK)
        rc = check_text(j, d->hf_class, "arch", row, "hf_class");
    if (rc == BR_OK)
        rc = check_text(j, d->toy, "arch", row, "toy");
    if (rc == BR_OK)
        rc = check_code(j, (uintptr_t)d->check, row, "check");
    if (rc == BR_OK)
        rc = check_code(j, (uintptr_t)d->layer, row, "layer");
    if (rc)
        return rc;
    a->model_type = d->model_type;
    a->hf_class = d->hf_class;
    a->toy = d->toy;
    a->check = d->check;
    a->layer = d->layer;
    if (d->maps.n == 0)
        rc = br_fail(j->err, BR_E_PLUGIN, "no weight map");
    else
        rc = adopt_tables(j, d, a);
    if (rc)
        br_wrap(j->err, "arch '%s'", d->model_type);
    return rc;
}

static int adopt_archs(struct job *j, const struct br_plugin *d, struct br__plugin *p)
{
    struct br_arch *rows;
    struct table t = {d->archs, d->n_archs, d->arch_size, ARCHS_MAX, "archs"};

    if (d->n_archs == 0)
        return br_fail(j->err, BR_E_PLUGIN, "it has no architecture");
    int rc = copy_rows(j, &t, sizeof(struct br_arch), &rows);
    if (rc)
        return rc;
    p->archs = br__arena_alloc(j->arena, d->n_archs * sizeof *p->archs);
    if (!p->archs)
        return br__nomem(j->err, "copying architectures");
    p->n_archs = d->n_archs;
    for (uint32_t i = 0; i < d->n_archs; i++) {
        p->archs[i].plugin = p;
        rc = adopt_arch(j, &rows[i], i, &p->archs[i]);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* ---- the descriptor -------------------------------------------------------------------------- */

static int adopt_head(struct job *j, const struct br_plugin *d, uint32_t size,
                      struct br_plugin *copy)
{
    int rc = check_size(j, size, "the descriptor");
    if (rc)
        return rc;
    if (mapped_from(j->image, d) < size)
        return br_fail(j->err, BR_E_PLUGIN,
                       "its descriptor of %u bytes is not in the plugin's file", size);
    if (br__adopt(copy, sizeof *copy, d, size))
        return br_fail(j->err, BR_E_PLUGIN,
                       "its descriptor uses a field that this bridge (%s) does "
                       "not know; a newer bridge is needed",
                       br_version());
    return check_text(j, copy->name, "descriptor", 0, "name");
}

static int adopt_body(struct job *j, const struct br_plugin *d, const char *name,
                      struct br__plugin *p)
{
    if (strcmp(d->name, name) != 0)
        return br_fail(j->err, BR_E_PLUGIN,
                       "it calls itself '%s', so the file should be called "
                       "bridge_%s.so",
                       d->name, d->name);
    p->name = d->name;
    int rc = adopt_archs(j, d, p);
    if (rc == BR_OK)
        rc = adopt_recipes(j, d, p);
    return rc;
}

int br__plugin_adopt(struct br__arena *a, const struct br_plugin *d, const struct br__image *image,
                     const char *name, struct br__plugin **out, struct br_err *err)
{
    struct job j = {a, image, err};
    struct br_plugin head;
    uint32_t first[2]; /* struct_size, built_with: all that is sure to be there */

    *out = NULL;
    if (mapped_from(image, d) < sizeof first)
        return br_fail(err, BR_E_PLUGIN, "its descriptor is not in the plugin's file");
    memcpy(first, d, sizeof first);
    struct br__plugin *p = br__arena_alloc(a, sizeof *p);
    if (!p)
        return br__nomem(err, "adopting a plugin");
    p->built_with = first[1];
    int rc = adopt_head(&j, d, first[0], &head);
    if (rc == BR_OK)
        rc = adopt_body(&j, &head, name, p);
    if (rc) {
        br_wrap(err, "built with bridge %u.%u.%u", first[1] / 10000, first[1] / 100 % 100,
                first[1] % 100);
        return rc;
    }
    *out = p;
    return BR_OK;
}
