/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* backend.c - backends found and opened: the CPU's, which is linked in, and files
 * bridge_<name>.so in the plugin directories that export bridge_backend_v1(). */
#include "graph_internal.h"
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* ---- looking at one -------------------------------------------------------------------------- */

/* What no backend can do without. */
static int check_complete(const struct br_backend *b, const char *path, struct br_err *err)
{
    const char *lacks = !b->name                                     ? "name"
                        : !b->probe                                  ? "probe"
                        : !b->open                                   ? "open"
                        : !b->close                                  ? "close"
                        : !b->alloc                                  ? "alloc"
                        : !b->free                                   ? "free"
                        : !b->upload                                 ? "upload"
                        : !b->download                               ? "download"
                        : !b->copy                                   ? "copy"
                        : !b->run                                    ? "run"
                        : b->flags & BR_BACKEND_AHEAD && !b->fetch   ? "fetch"
                        : b->flags & BR_BACKEND_AHEAD && !b->fetched ? "fetched"
                                                                     : NULL;
    if (lacks)
        return br_fail(err, BR_E_PLUGIN, "backend '%s' lacks '%s', which docs/backends.md asks for",
                       path, lacks);
    if (b->align & (b->align - 1))
        return br_fail(err, BR_E_PLUGIN, "backend '%s' wants alignment %u, no power of two", path,
                       b->align);
    return 0;
}

/* A backend of any size as this build knows it. */
static int backend_adopt(struct br_backend *out, const struct br_backend *b, const char *path,
                         struct br_err *err)
{
    if (b->struct_size < offsetof(struct br_backend, kernels))
        return br_fail(err, BR_E_PLUGIN, "backend '%s' says that it is %u bytes long", path,
                       b->struct_size);
    if (br__adopt(out, sizeof *out, b, b->struct_size))
        return br_fail(err, BR_E_PLUGIN, "backend '%s' is of a newer bridge; this is %s", path,
                       br_version());
    return check_complete(out, path, err);
}

/* The backend of a file.  A module that was accepted is never unloaded, since its tables and code
 * are in use. */
static int backend_load(const char *path, struct br_backend *out, struct br_err *err)
{
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h)
        return br_fail(err, BR_E_PLUGIN, "'%s' does not load: %s", path, dlerror());
    br_backend_fn *fn;
    *(void **)&fn = dlsym(h, BR_BACKEND_SYMBOL);
    const struct br_backend *b = fn ? fn() : NULL;
    int rc =
        b ? backend_adopt(out, b, path, err)
          : br_fail(err, BR_E_PLUGIN, "'%s' is no backend: it lacks %s", path, BR_BACKEND_SYMBOL);
    if (rc)
        dlclose(h);
    return rc;
}

static int by_name(const char *name, const struct br__dirs *dirs, struct br_backend *out,
                   struct br_err *err)
{
    if (strcmp(name, br__cpu_backend()->name) == 0) {
        *out = *br__cpu_backend();
        return 0;
    }
    struct br__arena a = {0};
    struct br__buf looked = {0};
    int rc = BR_E_NOTFOUND;
    for (size_t i = 0; dirs && i < dirs->n && rc == BR_E_NOTFOUND; i++) {
        const char *path = br__arena_printf(&a, "%s/bridge_%s.so", dirs->list[i], name);
        br__buf_printf(&looked, "%s%s", i ? ", " : "", dirs->list[i]);
        if (path && br__exists(path) && (rc = backend_load(path, out, err)))
            rc = BR_E_PLUGIN;
        else if (!rc && strcmp(out->name, name) != 0)
            rc = br_fail(err, BR_E_PLUGIN, "backend '%s' calls itself '%s'", path, out->name);
    }
    if (rc == BR_E_NOTFOUND)
        rc = br_fail(err, rc,
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
static void backend_best(const struct br__dirs *dirs, struct br_backend *win)
{
    char why[200];
    *win = *br__cpu_backend();
    int score = win->probe(why, sizeof why);
    for (size_t i = 0; i < BR_COUNTOF(known); i++) {
        struct br_backend b;
        int s = by_name(known[i], dirs, &b, NULL) ? 0 : b.probe(why, sizeof why);
        if (s > score) {
            score = s;
            *win = b;
        }
    }
}

const char *br__backend_state(size_t i, const struct br__dirs *dirs, int *usable, char *why,
                              size_t size)
{
    struct br_backend b;
    struct br_err err = BR_ERR_INIT;
    if (i >= BR_COUNTOF(known))
        return NULL;
    why[0] = 0;
    *usable = 0;
    if (by_name(known[i], dirs, &b, &err))
        snprintf(why, size, "%s", err.msg);
    else
        *usable = b.probe(why, size) > 0;
    size_t n = strlen(why);
    if (*usable && b.libraries && n + 3 < size) {
        memcpy(why + n, "; ", 3);
        b.libraries(why + n + 2, size - n - 2);
    }
    return known[i];
}

static int adopt_kernels(struct br__device *d, struct br_err *err)
{
    uint32_t n = d->backend.kernels.n, size = d->backend.kernels.row_size;
    struct br_kernel *rows = br__calloc(n + 1, sizeof *rows);
    if (!rows)
        return br__nomem(err, "for kernels");
    d->kernels = rows;
    d->n_kernels = n;
    for (uint32_t i = 0; i < n; i++)
        if (br__adopt(&rows[i], sizeof rows[i],
                      (const char *)d->backend.kernels.rows + (size_t)i * size, size))
            return br_fail(err, BR_E_PLUGIN, "kernel row %u of backend '%s' is of a newer bridge",
                           i, d->backend.name);
    return 0;
}

/* "name" or "name:2"; *index: a rank's number, which becomes that of its device: a number that is
 * said is the first rank's. */
static int backend_choose(struct br_backend *out, const char *name, const struct br__dirs *dirs,
                          uint32_t *index, struct br_err *err)
{
    char word[64], why[200] = "";
    if (!name || strcmp(name, "auto") == 0) {
        backend_best(dirs, out);
        return 0;
    }
    const char *colon = strchr(name, ':');
    int64_t number = 0;
    int n =
        snprintf(word, sizeof word, "%.*s", (int)(colon ? colon - name : (int)strlen(name)), name);
    if (n < 0 || (size_t)n >= sizeof word ||
        (colon && (br__parse_i64(colon + 1, &number) || number < 0 || number > UINT16_MAX)))
        return br_fail(err, BR_E_USAGE, "'%s' is no device; expected a name, or NAME:NUMBER", name);
    *index += (uint32_t)number;
    int rc = by_name(word, dirs, out, err);
    if (!rc && out->probe(why, sizeof why) <= 0)
        rc = br_fail(err, BR_E_UNSUPPORTED, "backend '%s' cannot be used here: %s", word, why);
    return rc;
}

int br__device_open(struct br__device *d, const char *name, const struct br__dirs *dirs,
                    uint32_t rank, uint32_t n_threads, struct br_err *err)
{
    memset(d, 0, sizeof *d);
    int rc = backend_choose(&d->backend, name, dirs, &rank, err);
    if (rc)
        return rc;
    uint32_t there = d->backend.count ? d->backend.count() : UINT32_MAX;
    if (rank >= there)
        return br_fail(
            err, BR_E_UNSUPPORTED,
            "device %u of backend '%s' is wanted, %u are there; every rank of a host needs its own",
            rank, d->backend.name, there);
    d->n_threads = n_threads ? n_threads : (uint32_t)br__cpu_count();
    rc = d->backend.open(&d->device, rank, d->n_threads, &d->features, err);
    if (!rc && (rc = adopt_kernels(d, err)))
        br__device_close(d);
    return rc;
}

void br__device_close(struct br__device *d)
{
    if (d->device) {
        br__device_release(d);
        d->backend.close(d->device);
    }
    br__free((void *)(uintptr_t)d->kernels);
    memset(d, 0, sizeof *d);
}
