/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* registry.c - plugins found, loaded, and asked for an architecture.
 *
 *   where plugins are   the search path
 *   loading one         file -> dlopen -> descriptor -> adopt.c
 *   loading many        a directory, the linked-in ones, all
 *   finding             config.json's names -> architecture, or an error that helps
 *
 * A model's own plugin is opened by name, so in the common case one file is touched.  The working
 * directory is never searched: a checkpoint that is unpacked there must not bring code.  The only
 * caller of dlopen; an accepted plugin stays loaded, since its strings are in use. */
#include "model_internal.h"
#include <bridge/backend.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_NAME_MAX 64
#define STATIC_PATH "(static)"

/* Plugins that are linked in, NULL-terminated: made by CMake for a build that has any. */
extern br_plugin_fn *const br__static_plugins[] __attribute__((weak, visibility("hidden")));

/* ---- where plugins are ----------------------------------------------------------------------- */

static int add_dir(struct br__registry *r, const char *dir, struct br_err *err)
{
    char *copy = br__arena_strdup(&r->arena, dir);

    if (!copy || br__grow(&r->dirs, &r->cap_dirs, r->n_dirs, sizeof *r->dirs))
        return br__nomem(err, "listing plugin directories");
    r->dirs[r->n_dirs++] = copy;
    return BR_OK;
}

/* Record once why a file was not taken. */
static int registry_refuse(struct br__registry *r, const char *why, struct br_err *err)
{
    for (size_t i = 0; i < r->n_refused; i++)
        if (strcmp(r->refused[i], why) == 0)
            return BR_OK;
    char *copy = br__arena_strdup(&r->arena, why);
    if (!copy || br__grow(&r->refused, &r->cap_refused, r->n_refused, sizeof *r->refused))
        return br__nomem(err, "listing refused plugins");
    r->refused[r->n_refused++] = copy;
    return BR_OK;
}

/* Skip relative and empty entries, which depend on the working directory. */
static int add_plugin_path(struct br__registry *r, const char *list, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;

    while (list && *list) {
        size_t n = strcspn(list, ":");
        char *dir = br__arena_strndup(&r->arena, list, n);
        int rc = BR_OK;
        if (!dir)
            return br__nomem(err, "reading BRIDGE_PLUGIN_PATH");
        br_fail(&why, BR_E_PLUGIN, "BRIDGE_PLUGIN_PATH: '%s' is not an absolute path", dir);
        if (*dir)
            rc = *dir == '/' ? add_dir(r, dir, err) : registry_refuse(r, why.msg, err);
        if (rc)
            return rc;
        list += n + (list[n] == ':');
    }
    return BR_OK;
}

/* $XDG_DATA_HOME/bridge/1; as the XDG specification has it, a relative value counts as unset. */
static int add_user_dir(struct br__registry *r, struct br_err *err)
{
    const char *data = secure_getenv("XDG_DATA_HOME"), *home = secure_getenv("HOME");
    char *dir = NULL;

    if (data && *data == '/')
        dir = br__arena_printf(&r->arena, "%s/bridge/1", data);
    else if (home && *home == '/')
        dir = br__arena_printf(&r->arena, "%s/.local/share/bridge/1", home);
    else
        return BR_OK;
    return dir ? add_dir(r, dir, err) : br_fail(err, BR_E_NOMEM, "out of memory");
}

/* <libdir>/bridge/1, where libdir is wherever libbridge.so is now: a build tree, an install, a
 * moved install.  In a program that has the library linked in, it is the program's folder. */
static int add_library_dir(struct br__registry *r, struct br_err *err)
{
    static const char here = 0;
    Dl_info info;
    struct link_map *object = NULL;

    if (!dladdr1(&here, &info, (void **)&object, RTLD_DL_LINKMAP) || !object)
        return BR_OK;
    /* The main program's name is argv[0], which the caller chooses. */
    const char *file = *object->l_name ? object->l_name : "/proc/self/exe";
    char *path, *slash;
    if (br__path_abs(&r->arena, file, &path, NULL) || !(slash = strrchr(path, '/')))
        return BR_OK;
    *slash = 0;
    char *dir = br__arena_printf(&r->arena, "%s/bridge/1", path);
    return dir ? add_dir(r, dir, err) : br_fail(err, BR_E_NOMEM, "out of memory");
}

int br__registry_open(struct br__registry **out, const char *plugin_file, struct br_err *err)
{
    *out = NULL;
    struct br__registry *r = br__calloc(1, sizeof *r);
    if (!r)
        return br__nomem(err, "opening the plugin registry");
    int rc = add_plugin_path(r, secure_getenv("BRIDGE_PLUGIN_PATH"), err);
    if (rc == BR_OK)
        rc = add_user_dir(r, err);
    if (rc == BR_OK)
        rc = add_library_dir(r, err);
    if (rc == BR_OK && plugin_file)
        rc = br__registry_load_file(r, plugin_file, &r->given, err);
    if (rc) {
        br__registry_close(r);
        return rc;
    }
    *out = r;
    return BR_OK;
}

void br__registry_close(struct br__registry *r)
{
    if (!r)
        return;
    br__arena_free(&r->arena);
    br__free(r->plugins);
    br__free(r->dirs);
    br__free(r->refused);
    br__free(r);
}

/* ---- loading one ----------------------------------------------------------------------------- */

static int is_plugin_name(const char *s, size_t n)
{
    if (n == 0 || n > PLUGIN_NAME_MAX || s[0] < 'a' || s[0] > 'z')
        return 0;
    return strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") >= n;
}

/* "dir/bridge_qwen3.so" -> "qwen3"; 0 if the file is not called so. */
static int name_of_file(const char *path, char name[PLUGIN_NAME_MAX + 1])
{
    const char *base = br__path_base(path), prefix[] = "bridge_", suffix[] = ".so";

    if (!br__starts(base, prefix) || !br__ends(base, suffix))
        return 0;
    const char *s = base + strlen(prefix);
    size_t n = strlen(s);
    if (n < strlen(suffix) || !is_plugin_name(s, n - strlen(suffix)))
        return 0;
    n -= strlen(suffix);
    memcpy(name, s, n);
    name[n] = 0;
    return 1;
}

/* Refuse code that other users may replace: a file that others may write, or in a folder that they
 * may write, unless that is sticky and the file is root's or the user's own. */
static int check_rights(const char *path, const struct stat *file, struct br_err *err)
{
    struct br__dir folder;
    struct stat st = {0};

    if (file->st_mode & S_IWOTH)
        return br_fail(err, BR_E_PLUGIN, "anybody may write to it: chmod o-w");
    int rc = br__dir_of(&folder, path, 0, err);
    if (!rc && br__io.fstat(folder.fd, &st))
        rc = br_fail(err, BR_E_PLUGIN, "its folder cannot be examined: %s", strerror(errno));
    br__dir_close(&folder);
    if (rc)
        return rc;
    if (!(st.st_mode & S_IWOTH) ||
        (st.st_mode & S_ISVTX && (file->st_uid == 0 || file->st_uid == geteuid())))
        return BR_OK;
    return br_fail(err, BR_E_PLUGIN, "anybody may write to its folder: chmod o-w");
}

static int check_file(const char *path, struct br_err *err)
{
    struct br__file f = {0};
    struct stat st;

    if (br__io.stat(path, &st))
        return br_fail(err, BR_E_NOTFOUND, "%s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return br_fail(err, BR_E_PLUGIN, "not a regular file");
    int checked = check_rights(path, &st, err);
    if (checked)
        return checked;
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    rc = br__elf_check(f.map, f.size, err);
    br__file_close(&f);
    return rc;
}

struct image_query {
    uintptr_t base;
    struct br__image *image;
};

static int take_segments(struct dl_phdr_info *info, size_t size, void *ud)
{
    const struct image_query *q = ud;

    (void)size;
    if (info->dlpi_addr != q->base)
        return 0;
    for (size_t i = 0; i < info->dlpi_phnum && q->image->n < BR__IMAGE_MAX; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_LOAD || !(ph->p_flags & PF_R))
            continue;
        uintptr_t begin = info->dlpi_addr + ph->p_vaddr;
        q->image->seg[q->image->n].begin = begin;
        q->image->seg[q->image->n].code = (ph->p_flags & PF_X) != 0;
        q->image->seg[q->image->n++].end = begin + ph->p_memsz;
    }
    return 1;
}

static int adopt_handle(struct br__registry *r, void *handle, const char *name,
                        struct br__plugin **out, struct br_err *err)
{
    struct br__image image = {0};
    struct link_map *object;
    br_plugin_fn *fn;

    /* dlsym's void * to a function: POSIX asks for this form. */
    *(void **)&fn = dlsym(handle, BR_PLUGIN_SYMBOL);
    if (!fn && dlsym(handle, BR_BACKEND_SYMBOL))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "it is a backend, for --device %s, and no plugin of models", name);
    if (!fn)
        return br_fail(err, BR_E_PLUGIN,
                       "it exports no " BR_PLUGIN_SYMBOL "(): not a plugin of "
                       "bridge %d",
                       BR_VERSION_MAJOR);
    if (dlinfo(handle, RTLD_DI_LINKMAP, &object))
        return br_fail(err, BR_E_PLUGIN, "cannot tell where it is mapped: %s", dlerror());
    struct image_query q = {object->l_addr, &image};
    dl_iterate_phdr(take_segments, &q);
    if (image.n == 0)
        return br_fail(err, BR_E_PLUGIN, "cannot tell where it is mapped");
    const struct br_plugin *d = fn();
    if (!d)
        return br_fail(err, BR_E_PLUGIN, BR_PLUGIN_SYMBOL "() returned NULL");
    return br__plugin_adopt(&r->arena, d, &image, name, out, err);
}

static int registry_append(struct br__registry *r, struct br__plugin *p, const char *path,
                           struct br_err *err)
{
    p->path = br__arena_strdup(&r->arena, path);
    if (!p->path || br__grow(&r->plugins, &r->cap_plugins, r->n_plugins, sizeof *r->plugins))
        return br__nomem(err, "registering plugin '%s'", p->name);
    r->plugins[r->n_plugins++] = p;
    return BR_OK;
}

static int open_file(struct br__registry *r, const char *path, struct br__plugin **out,
                     struct br_err *err)
{
    char name[PLUGIN_NAME_MAX + 1];

    /* dlopen would search the system's library folders for a name without a slash */
    if (!strchr(path, '/'))
        return br_fail(err, BR_E_PLUGIN,
                       "a plugin file is given with its folder; write './%s' for "
                       "one in the working directory",
                       path);
    if (!name_of_file(path, name))
        return br_fail(err, BR_E_PLUGIN,
                       "a plugin's file is called bridge_<name>.so, the name in "
                       "a-z, 0-9 and _");
    int rc = check_file(path, err);
    if (rc)
        return rc;
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return br_fail(err, BR_E_PLUGIN, "%s", dlerror());
    rc = adopt_handle(r, handle, name, out, err);
    if (rc == BR_OK)
        rc = registry_append(r, *out, path, err);
    if (rc)
        dlclose(handle);
    return rc;
}

int br__registry_load_file(struct br__registry *r, const char *path, const struct br__plugin **out,
                           struct br_err *err)
{
    struct br__plugin *p;

    *out = NULL;
    for (size_t i = 0; i < r->n_plugins; i++)
        if (strcmp(r->plugins[i]->path, path) == 0) {
            *out = r->plugins[i];
            return BR_OK;
        }
    int rc = open_file(r, path, &p, err);
    if (rc) {
        br_wrap(err, "plugin '%s'", path);
        return rc;
    }
    *out = p;
    return BR_OK;
}

/* ---- loading many ---------------------------------------------------------------------------- */

static int is_loaded(const struct br__registry *r, const char *name)
{
    for (size_t i = 0; i < r->n_plugins; i++)
        if (strcmp(r->plugins[i]->name, name) == 0)
            return 1;
    return 0;
}

/* Load a file that a search found: a bad one is recorded and is no failure. */
static int load_found(struct br__registry *r, const char *path, struct br_err *err)
{
    const struct br__plugin *p;
    struct br_err why = BR_ERR_INIT;

    int rc = br__registry_load_file(r, path, &p, &why);
    if (rc == BR_OK || rc == BR_E_UNSUPPORTED) /* a backend lies in the same folders */
        return BR_OK;
    if (rc == BR_E_NOMEM)
        return br_fail(err, rc, "%s", why.msg);
    return registry_refuse(r, why.msg, err);
}

static int load_dir(struct br__registry *r, const char *dir, struct br_err *err)
{
    char name[PLUGIN_NAME_MAX + 1], **files;
    size_t n;

    if (!br__is_dir(dir))
        return BR_OK;
    struct br_err why = BR_ERR_INIT;
    int rc = br__list_dir(&r->arena, dir, &files, &n, &why);
    if (rc)
        return rc == BR_E_NOMEM ? br_fail(err, rc, "%s", why.msg)
                                : registry_refuse(r, why.msg, err);
    for (size_t i = 0; i < n; i++) {
        if (!name_of_file(files[i], name) || is_loaded(r, name))
            continue;
        char *path = br__path_join(&r->arena, dir, files[i]);
        rc = path ? load_found(r, path, err) : br_fail(err, BR_E_NOMEM, "out of memory");
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* The linked-in plugin of that name, or all of them for NULL. */
static int load_static(struct br__registry *r, const char *name, struct br_err *err)
{
    static const struct br__image unchecked;
    struct br__plugin *p;

    if (!br__static_plugins)
        return BR_OK;
    for (br_plugin_fn *const *fn = br__static_plugins; *fn; fn++) {
        const struct br_plugin *d = (*fn)();
        if (is_loaded(r, d->name) || (name && strcmp(d->name, name) != 0))
            continue;
        int rc = br__plugin_adopt(&r->arena, d, &unchecked, d->name, &p, err);
        if (rc == BR_OK)
            rc = registry_append(r, p, STATIC_PATH, err);
        if (rc) {
            br_wrap(err, "built-in plugin '%s'", d->name);
            return rc;
        }
    }
    return BR_OK;
}

int br__registry_load_all(struct br__registry *r, struct br_err *err)
{
    for (size_t i = 0; i < r->n_dirs; i++) {
        int rc = load_dir(r, r->dirs[i], err);
        if (rc)
            return rc;
    }
    return load_static(r, NULL, err);
}

/* ---- finding --------------------------------------------------------------------------------- */

/* What config.json says; either may be NULL. */
struct wanted {
    const char *type, *cls;
};

static int registry_equal(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* First architecture that has all the names that `w` gives. */
static const struct br__arch *registry_match(const struct br__registry *r, struct wanted w)
{
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++) {
            const struct br__arch *a = &r->plugins[i]->archs[k];
            if ((!w.type || registry_equal(w.type, a->model_type)) &&
                (!w.cls || registry_equal(w.cls, a->hf_class)))
                return a;
        }
    return NULL;
}

/* Try bridge_<model_type>.so of each dir.  The type comes from a file, so it is used in a path only
 * if it is a valid plugin name. */
static int load_by_type(struct br__registry *r, struct wanted w, struct br_err *err)
{
    if (!w.type || !is_plugin_name(w.type, strlen(w.type)))
        return BR_OK;
    for (size_t i = 0; i < r->n_dirs && !is_loaded(r, w.type); i++) {
        char *path = br__arena_printf(&r->arena, "%s/bridge_%s.so", r->dirs[i], w.type);
        if (!path)
            return br__nomem(err, "looking for a plugin");
        int rc = br__exists(path) ? load_found(r, path, err) : BR_OK;
        if (rc)
            return rc;
    }
    return load_static(r, w.type, err);
}

/* The most similar supported name, at most a third of it different. */
static const struct br__arch *registry_nearest(const struct br__registry *r, struct wanted w)
{
    const struct br__arch *best = NULL;
    int least = 0;

    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++) {
            const struct br__arch *a = &r->plugins[i]->archs[k];
            const char *have = w.type ? a->model_type : a->hf_class;
            int d = br__edit_distance(w.type ? w.type : w.cls, have);
            if (d * 3 <= (int)strlen(have) && (!best || d < least)) {
                best = a;
                least = d;
            }
        }
    return best;
}

static void describe_search(const struct br__registry *r, struct br__buf *b)
{
    br__buf_puts(b, "supported:");
    for (size_t i = 0; i < r->n_plugins; i++)
        for (uint32_t k = 0; k < r->plugins[i]->n_archs; k++)
            br__buf_printf(b, " %s", r->plugins[i]->archs[k].model_type);
    if (r->n_plugins == 0)
        br__buf_puts(b, " nothing");
    br__buf_puts(b,
                 "; to add a model write one plugin file (bridge help plugin new), and see: bridge "
                 "plugin list; looked in ");
    for (size_t i = 0; i < r->n_dirs; i++)
        br__buf_printf(b, "%s, ", r->dirs[i]);
    br__buf_puts(b, "the built-in plugins");
    if (r->n_refused)
        br__buf_printf(b, "; not taken (%zu): %s", r->n_refused, r->refused[0]);
}

/* Say what is wrong with the two names, then which are supported. */
static void describe_unknown(const struct br__registry *r, struct wanted w, struct br__buf *b)
{
    const struct br__arch *by_type =
        w.type ? registry_match(r, (struct wanted){w.type, NULL}) : NULL;
    const struct br__arch *by_cls = w.cls ? registry_match(r, (struct wanted){NULL, w.cls}) : NULL;

    if (by_type && w.cls)
        br__buf_printf(b,
                       "config.json's model_type '%s' goes with '%s', but its architectures[0] is "
                       "'%s'",
                       w.type, by_type->hf_class, w.cls);
    else if (by_cls && w.type)
        br__buf_printf(b,
                       "config.json's architectures[0] '%s' goes with model_type '%s', but its "
                       "model_type is '%s'",
                       w.cls, by_cls->model_type, w.type);
    else if (w.type && w.cls)
        br__buf_printf(b, "no plugin for model_type '%s' (%s)", w.type, w.cls);
    else
        br__buf_printf(b, "no plugin for %s '%s'", w.type ? "model_type" : "architecture",
                       w.type ? w.type : w.cls);
    if (by_type && by_cls)
        br__buf_printf(b, ", which is '%s'", by_cls->model_type);
    const struct br__arch *near = by_type || by_cls ? NULL : registry_nearest(r, w);
    if (near)
        br__buf_printf(b, "; did you mean '%s'?", w.type ? near->model_type : near->hf_class);
    br__buf_puts(b, near ? " " : "; ");
}

static int fail_unknown(const struct br__registry *r, struct wanted w, struct br_err *err)
{
    struct br__buf b = {0};
    int spare = br__fd_spare(err);

    if (spare) /* then nothing could be looked for */
        return spare;
    describe_unknown(r, w, &b);
    describe_search(r, &b);
    int rc =
        b.failed ? br_fail(err, BR_E_NOMEM, "out of memory") : br_fail(err, BR_E_ARCH, "%s", b.p);
    br__buf_free(&b);
    return rc;
}

int br__registry_find(struct br__registry *r, const char *model_type, const char *hf_class,
                      const struct br__arch **out, struct br_err *err)
{
    struct wanted w = {model_type, hf_class};

    *out = NULL;
    if (!w.type && !w.cls)
        return br_fail(err, BR_E_ARCH, "config.json has neither architectures nor model_type");
    *out = registry_match(r, w);
    if (*out)
        return BR_OK;
    int rc = load_by_type(r, w, err);
    if (rc == BR_OK)
        *out = registry_match(r, w);
    if (rc == BR_OK && !*out)
        rc = br__registry_load_all(r, err);
    if (rc == BR_OK && !*out)
        *out = registry_match(r, w);
    if (rc)
        return rc;
    return *out ? BR_OK : fail_unknown(r, w, err);
}
