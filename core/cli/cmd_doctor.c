/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_doctor.c - doctor: what bridge finds on this machine.  It is for bug reports, and shows why
 * something was not found.  All facts are collected before any is printed; text and JSON print the
 * same ones. */
#include "../text/text.h"
#include "cli.h"

#include <bridge/backend.h>

#include <fcntl.h>
#include <gnu/libc-version.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ---- the processor --------------------------------------------------------------------------- */

/* The rest of the line of a /proc file that begins with `key`; NULL if there is none.  Reads 4095
 * bytes, since a /proc file does not tell its size. */
static const char *proc_line(struct br__arena *a, const char *path, const char *key)
{
    char text[4096] = {0};
    FILE *f = fopen(path, "re");

    if (!f)
        return NULL;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    const char *at = n > 0 ? strstr(text, key) : NULL;
    return at ? br__arena_strndup(a, at + strlen(key), strcspn(at + strlen(key), "\n")) : NULL;
}

/* "AMD EPYC ..."; the kernel does not say it on arm64. */
static const char *cpu_model(struct br__arena *a)
{
    return proc_line(a, "/proc/cpuinfo", "model name\t: ");
}

/* ---- GPU backends ---------------------------------------------------------------------------- */

/* Conversion needs no GPU, so a machine without one is not an error. */
struct gpu {
    const char *backend; /* name of the first usable backend; NULL: none */
    const char *why;     /* its device, or for each backend why it cannot be used */
    const char *driver;  /* the NVIDIA kernel driver's own version line; NULL: none */
};

static int find_gpu(struct br__cli *c, const struct br__registry *r, struct gpu *g,
                    struct br_err *err)
{
    const struct br__dirs dirs = {r->dirs, r->n_dirs};
    char why[1000];
    int usable = 0;
    const char *name;

    g->why = "";
    for (size_t i = 0;
         !g->backend && (name = br__backend_state(i, &dirs, &usable, why, sizeof why)); i++) {
        g->backend = usable ? name : NULL;
        g->why = usable ? br__arena_strdup(&c->arena, why)
                        : br__arena_printf(&c->arena, "%s%s%s", g->why, *g->why ? "; " : "", why);
        if (!g->why)
            return br_fail(err, BR_E_NOMEM, "out of memory");
    }
    g->driver = proc_line(&c->arena, "/proc/driver/nvidia/version", "NVRM version: ");
    return BR_OK;
}

/* ---- folders --------------------------------------------------------------------------------- */

struct folder {
    const char *what, *path; /* path NULL: the environment does not say */
    const char *state;       /* "writable", ...                         */
};
enum { N_FOLDERS = 3 };

/* Whether a program could write to the folder, or make it. */
static const char *folder_state(struct br__arena *a, const char *path)
{
    if (br__is_dir(path))
        return access(path, W_OK | X_OK) ? "not writable" : "writable";
    if (br__exists(path))
        return "not a folder";
    char *up = br__arena_strdup(a, path);
    for (char *slash; up && (slash = strrchr(up, '/')); *slash = 0) {
        slash[slash == up] = 0; /* "/name" -> "/" */
        if (br__exists(up))
            return br__is_dir(up) && !access(up, W_OK | X_OK) ? "absent, can be made"
                                                              : "absent, cannot be made";
        if (slash == up)
            break;
    }
    return "absent";
}

static int find_folders(struct br__cli *c, struct folder f[N_FOLDERS], struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    const char *hub = NULL, *home = getenv("HF_HOME"), *tmp = getenv("TMPDIR");

    int rc = br__hf_cache_root(&c->arena, "the cache", &hub, &why);
    if (rc && rc != BR_E_NOTFOUND)
        return br_fail(err, rc, "%s", why.msg);
    f[0] = (struct folder){"HF_HOME", home && *home ? home : NULL, NULL};
    f[1] = (struct folder){"HF_HUB_CACHE", hub, NULL};
    f[2] = (struct folder){"TMPDIR", tmp && *tmp ? tmp : "/tmp", NULL};
    for (int i = 0; i < N_FOLDERS; i++)
        f[i].state = f[i].path ? folder_state(&c->arena, f[i].path) : "not set";
    return BR_OK;
}

/* ---- libraries ------------------------------------------------------------------------------- */

static const char *glibc_version(struct br__arena *a)
{
    (void)a;
    return gnu_get_libc_version();
}

static const struct {
    const char *name;
    const char *(*version)(struct br__arena *a); /* of the one that is loaded */
} libraries[] = {
    {"glibc", glibc_version},           {"cJSON", br__json_version},
    {"libyaml", br__yaml_version},      {"OpenSSL", br__openssl_version},
    {"xxHash", br__xxhash_version},     {"PCRE2", br__pcre2_version},
    {"utf8proc", br__utf8proc_version},
};

struct objects {
    struct br__arena *a;
    const char **path;
    size_t n, cap;
    int failed;
};

static int take_object(struct dl_phdr_info *info, size_t size, void *ud)
{
    struct objects *o = ud;

    (void)size;
    if (info->dlpi_name[0] != '/') /* the program itself, and the vDSO */
        return 0;
    char *path;
    if (br__path_abs(o->a, info->dlpi_name, &path, NULL) ||
        br__grow(&o->path, &o->cap, o->n, sizeof *o->path)) {
        o->failed = 1;
        return 1;
    }
    o->path[o->n++] = path;
    return 0;
}

/* Every shared object in this process, plugins included, by its real name. */
static int find_objects(struct br__arena *a, struct objects *o, struct br_err *err)
{
    o->a = a;
    dl_iterate_phdr(take_object, o);
    return o->failed ? br_fail(err, BR_E_NOMEM, "out of memory") : BR_OK;
}

/* ---- the report ------------------------------------------------------------------------------ */

struct report {
    struct br__registry *r;
    struct gpu gpu;
    struct folder folders[N_FOLDERS];
    struct objects objects;
    struct utsname system;
};

static const char *indented(struct br__arena *a, const char *s)
{
    const char *text = br__arena_printf(a, "  %s", s);

    return text ? text : s;
}

static void cpu_text(struct br__cli *c)
{
    const char *model = cpu_model(&c->arena), *name;
    struct br__buf names = {0};
    int has;

    putchar('\n');
    br__say(stdout, "processor: %s, %d threads", model ? model : "unknown", br__cpu_count());
    br__say(stdout, "  kernels   %s", br_cpu_tier());
    for (size_t i = 0; (name = br__cpu_feature(i, &has)); i++)
        if (has)
            br__buf_printf(&names, " %s", name);
    br__say(stdout, "  features %s", names.n ? names.p : "");
    br__buf_free(&names);
}

static int plugins_text(struct br__cli *c, const struct report *p, struct br_err *err)
{
    struct br__table t = {.cols = 3};
    char version[32];

    puts("\nplugins:");
    br__table_row(&t, "  name", "built with", "path");
    for (size_t i = 0; i < p->r->n_plugins; i++) {
        const struct br__plugin *q = p->r->plugins[i];
        snprintf(version, sizeof version, "%u.%u.%u", q->built_with / 10000,
                 q->built_with / 100 % 100, q->built_with % 100);
        br__table_row(&t, indented(&c->arena, q->name), version, q->path);
    }
    int rc = br__table_print(&t, err);
    for (size_t i = 0; i < p->r->n_dirs; i++)
        br__say(stdout, "  searched %s%s", p->r->dirs[i],
                br__is_dir(p->r->dirs[i]) ? "" : " (absent)");
    for (size_t i = 0; i < p->r->n_refused; i++)
        br__say(stdout, "  refused %s", p->r->refused[i]);
    return rc;
}

static int folders_text(struct br__cli *c, const struct report *p, struct br_err *err)
{
    struct br__table t = {.cols = 3};

    puts("\nfolders:");
    br__table_row(&t, "  what", "state", "path");
    for (int i = 0; i < N_FOLDERS; i++)
        br__table_row(&t, indented(&c->arena, p->folders[i].what), p->folders[i].state,
                      p->folders[i].path ? p->folders[i].path : "");
    return br__table_print(&t, err);
}

static int libraries_text(struct br__cli *c, const struct report *p, struct br_err *err)
{
    struct br__table t = {.cols = 2};

    puts("\nlibraries:");
    br__table_row(&t, "  name", "version");
    for (size_t i = 0; i < BR_COUNTOF(libraries); i++) {
        const char *version = libraries[i].version(&c->arena);
        br__table_row(&t, indented(&c->arena, libraries[i].name), version ? version : "?");
    }
    int rc = br__table_print(&t, err);
    for (size_t i = 0; BR__FLAG(c, VERBOSE) && i < p->objects.n; i++)
        br__say(stdout, "  loaded %s", p->objects.path[i]);
    return rc;
}

static int report_text(struct br__cli *c, const struct report *p, struct br_err *err)
{
    br__say(stdout, "%s on %s %s (%s)", br__version_text(&c->arena), p->system.sysname,
            p->system.release, p->system.machine);
    cpu_text(c);
    int rc = plugins_text(c, p, err);
    putchar('\n');
    br__say(stdout, "GPU: %s", p->gpu.backend ? p->gpu.backend : "none");
    br__say(stdout, "  %s", p->gpu.why);
    br__say(stdout, "  driver: %s",
            p->gpu.driver ? p->gpu.driver : "no NVIDIA kernel driver is loaded");
    rc = rc ? rc : folders_text(c, p, err);
    return rc ? rc : libraries_text(c, p, err);
}

static void cpu_json(struct br__cli *c, struct br__js *j)
{
    const char *name;
    int has;

    br__js_object(j, "processor", 0);
    br__js_str(j, "model", cpu_model(&c->arena));
    br__js_i64(j, "threads", br__cpu_count());
    br__js_str(j, "kernels", br_cpu_tier());
    br__js_array(j, "features", BR__JS_INLINE);
    for (size_t i = 0; (name = br__cpu_feature(i, &has)); i++)
        if (has)
            br__js_str(j, NULL, name);
    br__js_end(j);
    br__js_end(j);
}

static void plugins_json(const struct report *p, struct br__js *j)
{
    br__js_array(j, "plugins", 0);
    for (size_t i = 0; i < p->r->n_plugins; i++) {
        br__js_object(j, NULL, BR__JS_INLINE);
        br__js_str(j, "name", p->r->plugins[i]->name);
        br__js_str(j, "path", p->r->plugins[i]->path);
        br__js_u64(j, "built_with", p->r->plugins[i]->built_with);
        br__js_end(j);
    }
    br__js_end(j);
    br__js_strs(j, "searched", p->r->dirs, p->r->n_dirs);
    br__js_strs(j, "refused", p->r->refused, p->r->n_refused);
}

static int report_json(struct br__cli *c, const struct report *p, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "version", br_version());
    br__js_str(&j, "commit", *br__commit ? br__commit : NULL);
    br__js_str(&j, "system", p->system.sysname);
    br__js_str(&j, "release", p->system.release);
    br__js_str(&j, "machine", p->system.machine);
    cpu_json(c, &j);
    plugins_json(p, &j);
    br__js_object(&j, "gpu", 0);
    br__js_str(&j, "backend", p->gpu.backend);
    br__js_str(&j, "why", p->gpu.why);
    br__js_str(&j, "driver", p->gpu.driver);
    br__js_end(&j);
    br__js_array(&j, "folders", 0);
    for (int i = 0; i < N_FOLDERS; i++) {
        br__js_object(&j, NULL, BR__JS_INLINE);
        br__js_str(&j, "what", p->folders[i].what);
        br__js_str(&j, "path", p->folders[i].path);
        br__js_str(&j, "state", p->folders[i].state);
        br__js_end(&j);
    }
    br__js_end(&j);
    br__js_object(&j, "libraries", 0);
    for (size_t i = 0; i < BR_COUNTOF(libraries); i++)
        br__js_str(&j, libraries[i].name, libraries[i].version(&c->arena));
    br__js_end(&j);
    br__js_strs(&j, "loaded", p->objects.path, p->objects.n);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_doctor(struct br__cli *c, struct br_err *err)
{
    struct report p = {0};

    uname(&p.system);
    int rc = br__registry_open(&p.r, NULL, err);
    if (!rc)
        rc = find_gpu(c, p.r, &p.gpu, err);
    if (!rc)
        rc = br__registry_load_all(p.r, err);
    if (!rc)
        rc = find_folders(c, p.folders, err);
    if (!rc)
        rc = find_objects(&c->arena, &p.objects, err);
    if (!rc)
        rc = BR__FLAG(c, JSON) ? report_json(c, &p, err) : report_text(c, &p, err);
    br__free(p.objects.path);
    br__registry_close(p.r);
    return rc;
}
