/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backend.c - backends found and opened: the CPU's, which is linked in, and files
 * bridge_<name>.so in the plugin directories that export bridge_backend_v1(). */
#include "graph_internal.h"
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* ---- looking at one -------------------------------------------------------------------------- */

/* The backend of a file, or NULL: another kind of module, or one that this build cannot use.  A
 * module that was accepted is never unloaded, since its tables and code are in use. */
static const struct br_backend *load(const char *path, struct br_err *err)
{
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h) {
        (void)br_fail(err, BR_E_PLUGIN, "'%s' does not load: %s", path, dlerror());
        return NULL;
    }
    br_backend_fn *fn;
    *(void **)&fn = dlsym(h, BR_BACKEND_SYMBOL);
    const struct br_backend *b = fn ? fn() : NULL;
    if (!b || b->struct_size < sizeof *b) {
        (void)br_fail(err, BR_E_PLUGIN,
                      fn ? "'%s' is a backend built with an older bridge; rebuild it"
                         : "'%s' is no backend: it lacks %s",
                      path, BR_BACKEND_SYMBOL);
        dlclose(h);
        return NULL;
    }
    return b;
}

static int by_name(const char *name, const struct br__dirs *dirs, const struct br_backend **out,
                   struct br_err *err)
{
    *out = NULL;
    if (strcmp(name, br__cpu_backend()->name) == 0) {
        *out = br__cpu_backend();
        return 0;
    }
    struct br__arena a = {0};
    struct br__buf looked = {0};
    int rc = 0;
    for (size_t i = 0; dirs && i < dirs->n && !*out && !rc; i++) {
        const char *path = br__arena_printf(&a, "%s/bridge_%s.so", dirs->list[i], name);
        br__buf_printf(&looked, "%s%s", i ? ", " : "", dirs->list[i]);
        if (path && br__exists(path) && !(*out = load(path, err)))
            rc = BR_E_PLUGIN;
    }
    if (!*out && !rc)
        rc = br_fail(err, BR_E_NOTFOUND,
                     "no backend '%s'; 'cpu' is built in, bridge_%s.so was looked "
                     "for in %s",
                     name, name, looked.p ? looked.p : "no directory");
    br__buf_free(&looked);
    br__arena_free(&a);
    return rc;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static const char *const known[] = {"cuda"};

/* The best score of those that are there; those that are not usable are no error here. */
static const struct br_backend *best(const struct br__dirs *dirs)
{
    const struct br_backend *win = br__cpu_backend();
    char why[200];
    int score = win->probe(why, sizeof why);
    for (size_t i = 0; i < BR_COUNTOF(known); i++) {
        const struct br_backend *b;
        int s = by_name(known[i], dirs, &b, NULL) ? 0 : b->probe(why, sizeof why);
        if (s > score) {
            score = s;
            win = b;
        }
    }
    return win;
}

const char *br__backend_state(size_t i, const struct br__dirs *dirs, int *usable, char *why,
                              size_t size)
{
    const struct br_backend *b;
    struct br_err err = BR_ERR_INIT;
    if (i >= BR_COUNTOF(known))
        return NULL;
    why[0] = 0;
    *usable = 0;
    if (by_name(known[i], dirs, &b, &err))
        snprintf(why, size, "%s", err.msg);
    else
        *usable = b->probe(why, size) > 0;
    return known[i];
}

static int adopt_kernels(struct br__device *d, struct br_err *err)
{
    uint32_t n = d->backend->kernels.n, size = d->backend->kernels.row_size;
    struct br_kernel *rows = br__calloc(n + 1, sizeof *rows);
    if (!rows)
        return br_fail(err, BR_E_NOMEM, "out of memory for kernels");
    d->kernels = rows;
    d->n_kernels = n;
    for (uint32_t i = 0; i < n; i++)
        if (br__adopt(&rows[i], sizeof rows[i],
                      (const char *)d->backend->kernels.rows + (size_t)i * size, size))
            return br_fail(err, BR_E_PLUGIN, "kernel row %u of backend '%s' is of a newer bridge",
                           i, d->backend->name);
    return 0;
}

int br__device_open(struct br__device *d, const char *name, const struct br__dirs *dirs,
                    uint32_t n_lanes, struct br_err *err)
{
    memset(d, 0, sizeof *d);
    char why[200] = "";
    if (!name || strcmp(name, "auto") == 0) {
        d->backend = best(dirs);
    } else {
        int rc = by_name(name, dirs, &d->backend, err);
        if (rc)
            return rc;
        if (d->backend->probe(why, sizeof why) <= 0)
            return br_fail(err, BR_E_UNSUPPORTED, "backend '%s' cannot be used here: %s", name,
                           why);
    }
    if (n_lanes == 0)
        n_lanes = (uint32_t)br__cpu_count();
    int rc = d->backend->open(&d->device, n_lanes, &d->features, err);
    if (!rc && (rc = adopt_kernels(d, err)))
        br__device_close(d);
    return rc;
}

void br__device_close(struct br__device *d)
{
    if (d->device)
        d->backend->close(d->device);
    br__free((void *)(uintptr_t)d->kernels);
    memset(d, 0, sizeof *d);
}

const struct br_kernel *br__device_kernel(const struct br__device *d, uint32_t op,
                                          uint32_t weight_dtype)
{
    for (uint32_t i = 0; i < d->n_kernels; i++) {
        const struct br_kernel *k = &d->kernels[i];
        if (k->op == op && !(k->needs & ~d->features) &&
            (!k->weights || k->weights & BR_BIT(weight_dtype)))
            return k;
    }
    return NULL;
}
