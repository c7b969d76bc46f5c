/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_download.c - download: files of a hub model to the local cache, or to a directory. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

struct loader {
    struct br__cli *c;
    struct br__report *r;
    struct br__hub *h;
    const struct br__hub_file **files; /* chosen */
    size_t n_files;
    const char *dir; /* where they end up */
    struct br__hub_totals t;
    double seconds;
};

static int download_matches(const struct br__cli_value *globs, const char *path)
{
    for (size_t i = 0; i < globs->n_list; i++)
        if (br__hub_glob(globs->list[i], path))
            return 1;
    return 0;
}

static int download_choose(struct loader *l, struct br_err *err)
{
    const struct br__cli_value *include = &l->c->opt[BR__OPT_INCLUDE];
    const struct br__cli_value *exclude = &l->c->opt[BR__OPT_EXCLUDE];
    size_t n;
    const struct br__hub_file *files = br__hub_files(l->h, &n);

    l->files = br__arena_alloc(&l->c->arena, n * sizeof *l->files + 1);
    if (!l->files)
        return br__nomem(err, "with %zu files", n);
    for (size_t i = 0; i < n; i++)
        if ((!include->n_list || download_matches(include, files[i].path)) &&
            !download_matches(exclude, files[i].path))
            l->files[l->n_files++] = &files[i];
    if (!n && br__hub_is_offline(l->h))
        return BR_OK; /* no listing: the snapshot is what there is */
    if (!l->n_files)
        return br_fail(err, BR_E_NOTFOUND, "none of the %zu files of '%s' matches", n,
                       br__hub_id(l->h));
    return BR_OK;
}

/* The files that were named. */
static int choose_named(struct loader *l, struct br_err *err)
{
    const struct br__cli *c = l->c;

    if (BR__FLAG(c, INCLUDE) || BR__FLAG(c, EXCLUDE))
        return br_fail(err, BR_E_USAGE, "give files by name, or --include and --exclude, not both");
    l->files = br__arena_alloc(&l->c->arena, c->n_pos * sizeof *l->files);
    if (!l->files)
        return br__nomem(err, "with %zu files", c->n_pos);
    for (size_t i = 0; i < c->n_pos; i++) {
        const struct br__hub_file *f = br__hub_find(l->h, c->pos[i]);
        if (!f)
            return br_fail(err, BR_E_NOTFOUND, "'%s' has no file '%s'", br__hub_id(l->h),
                           c->pos[i]);
        l->files[l->n_files++] = f;
    }
    return BR_OK;
}

static int open_hub(struct loader *l, struct br_err *err)
{
    struct br__cli *c = l->c;
    const struct br__hub_opts o = {.listener = &l->r->listener,
                                   .local_only = BR__FLAG(c, LOCAL_FILES_ONLY),
                                   .no_sync = BR__FLAG(c, NO_SYNC),
                                   .token = BR__TEXT(c, TOKEN),
                                   .cache_dir = BR__TEXT(c, CACHE_DIR),
                                   .connections = (int)BR__INT(c, CONNECTIONS)};
    const char *id = BR__TEXT(c, HF_MODEL);

    if (br__is_dir(id))
        return br_fail(err, BR_E_USAGE, "'%s' is a directory; expected the id of a hub model", id);
    if (BR__FLAG(c, HF_REVISION))
        id = br__arena_printf(&c->arena, "%s@%s", id, BR__TEXT(c, HF_REVISION));
    return id ? br__hub_open(&l->h, id, &o, err) : br__nomem(err, "looking up a model");
}

static int download_load(struct loader *l, struct br_err *err)
{
    double began = br__now();
    int rc = open_hub(l, err);

    if (!rc)
        rc = l->c->n_pos ? choose_named(l, err) : download_choose(l, err);
    if (!rc && !BR__FLAG(l->c, DRY_RUN)) {
        const char *local = BR__TEXT(l->c, LOCAL_DIR);
        l->dir = local ? local : br__hub_snapshot(l->h);
        rc = br__hub_get(l->h, l->files, l->n_files, local, &l->t, err);
    }
    for (size_t i = 0; !rc && BR__FLAG(l->c, DRY_RUN) && i < l->n_files; i++) {
        l->t.n_files++;
        l->t.n_cached += (size_t)br__hub_has(l->h, l->files[i]->path);
        l->t.bytes += l->files[i]->size;
    }
    l->seconds = br__now() - began;
    br__report_end(l->r);
    return rc;
}

/* Nothing is fetched: what would be. */
static int print_plan(const struct loader *l, struct br_err *err)
{
    struct br__table t = {.cols = 3};
    uint64_t all = 0, missing = 0;
    size_t n = 0;
    char bytes[2][32];

    br__table_row(&t, "file", ">bytes", "");
    for (size_t i = 0; i < l->n_files; i++) {
        const struct br__hub_file *f = l->files[i];
        int there = br__hub_has(l->h, f->path);
        all += f->size;
        missing += there ? 0 : f->size;
        n += !there;
        br__table_row(&t, f->path, br__human_bytes(f->size, bytes[0]), there ? "in the cache" : "");
    }
    int rc = br__table_print(&t, err);
    if (!rc)
        br__say(stdout, "%zu of %zu files would be downloaded: %s of %s", n, l->n_files,
                br__human_bytes(missing, bytes[0]), br__human_bytes(all, bytes[1]));
    return rc;
}

static int print_json(const struct loader *l, int rc, const struct br_err *failure,
                      struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "command", "download");
    br__js_str(&j, "status", br_status_name(rc));
    br__js_str(&j, "error", rc ? failure->msg : NULL);
    br__js_str(&j, "path", rc ? NULL : l->dir);
    br__js_str(&j, "commit", l->h ? br__hub_commit(l->h) : NULL);
    br__js_u64(&j, "files", l->t.n_files);
    br__js_u64(&j, "cached_files", l->t.n_cached);
    br__js_u64(&j, "bytes", l->t.bytes);
    br__js_u64(&j, "fetched_bytes", l->t.fetched);
    br__js_u64(&j, "resumed_bytes", l->t.resumed);
    br__js_num(&j, "seconds", l->seconds);
    br__report_json(l->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void print_text(const struct loader *l)
{
    char bytes[32], rate[32];
    double s = l->seconds > 1e-6 ? l->seconds : 1e-6;

    if (l->r->quiet)
        ; /* the path alone, for $(...) */
    else if (l->t.n_cached == l->t.n_files)
        br__say(stdout, "up to date: %zu files of %s are there already", l->t.n_files,
                br__hub_id(l->h));
    else
        br__say(stdout, "downloaded %zu of %zu files of %s: %s in %.2f s (%s/s)",
                l->t.n_files - l->t.n_cached, l->t.n_files, br__hub_id(l->h),
                br__human_bytes(l->t.fetched, bytes), l->seconds,
                br__human_bytes((uint64_t)((double)l->t.fetched / s), rate));
    if (l->t.resumed && !l->r->quiet)
        br__say(stdout, "resumed: %s came with an interrupted run",
                br__human_bytes(l->t.resumed, bytes));
    br__say(stdout, "%s", l->dir);
}

int br__cmd_download(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct loader l = {.c = c, .r = &r};

    br__report_init(&r, c);
    struct br__interrupt i;
    struct br__kept kept = {c, BR__TEXT(c, HF_MODEL), 1};
    br__interrupt_begin(&i, NULL, br__tell_kept, &kept);
    int rc = download_load(&l, err);
    br__interrupt_end(&i);
    if (r.json) {
        int printed = print_json(&l, rc, err, rc ? NULL : err);
        rc = rc ? rc : printed;
    } else if (!rc && BR__FLAG(c, DRY_RUN)) {
        rc = print_plan(&l, err);
    } else if (!rc) {
        print_text(&l);
    }
    br__hub_close(l.h);
    br__report_free(&r);
    return rc;
}
