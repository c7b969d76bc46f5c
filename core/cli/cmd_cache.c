/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_cache.c - cache ls, rm, verify, prune: the hub's cache on disk; clean: what an interrupted
 * run left to go on with. */
#include "../convert/convert.h"
#include "cli.h"

#include <string.h>
#include <time.h>

/* The repositories of the cache that --cache-dir or the environment names. */
struct cache {
    struct br__cli *c;
    struct br__report r;
    const char *root;
    struct br__cache_repo *repos;
    size_t n;
    uint64_t freed;
    size_t n_damaged;
};

static int cache_open(struct cache *k, struct br__cli *c, struct br_err *err)
{
    *k = (struct cache){.c = c, .root = BR__TEXT(c, CACHE_DIR)};
    br__report_init(&k->r, c);
    int rc = k->root ? BR_OK : br__hf_cache_root(&c->arena, "the cache", &k->root, err);
    return rc ? rc : br__cache_list(&c->arena, k->root, &k->repos, &k->n, err);
}

static int cache_done(struct cache *k, int rc)
{
    br__report_free(&k->r);
    return rc;
}

/* ---- ls -------------------------------------------------------------------------------------- */

static const char *day_of(struct br__arena *a, int64_t when)
{
    time_t t = (time_t)when;
    struct tm tm;
    char text[32] = "-";
    if (when && gmtime_r(&t, &tm))
        strftime(text, sizeof text, "%Y-%m-%d", &tm);
    return br__arena_strdup(a, text);
}

/* "main, v1" and how many revisions have no name; in the arena. */
static const char *refs_of(struct br__arena *a, const struct br__cache_repo *r)
{
    struct br__buf b = {0};
    size_t detached = 0;
    for (size_t i = 0; i < r->n_revisions; i++)
        if (r->revisions[i].ref)
            br__buf_printf(&b, "%s%s", b.n ? ", " : "", r->revisions[i].ref);
        else
            detached++;
    if (detached)
        br__buf_printf(&b, "%s%zu detached", b.n ? ", " : "", detached);
    const char *text = br__arena_strdup(a, b.n && !b.failed ? b.p : "-");
    br__buf_free(&b);
    return text ? text : "-";
}

static int list_text(const struct cache *k, struct br_err *err)
{
    struct br__table t = {.cols = 6};
    char bytes[32];
    uint64_t sum = 0, incomplete = 0;

    br__table_row(&t, "id", "kind", ">size", ">files", "revisions", "last used");
    for (size_t i = 0; i < k->n; i++) {
        const struct br__cache_repo *r = &k->repos[i];
        const char *files = br__arena_printf(&t.arena, "%zu", r->n_files);
        const char *day = day_of(&t.arena, r->used);
        br__table_row(&t, r->id, r->kind, br__human_bytes(r->bytes, bytes), files ? files : "?",
                      refs_of(&t.arena, r), day ? day : "?");
        sum += r->bytes;
        incomplete += r->incomplete_bytes;
    }
    int rc = br__table_print(&t, err);
    if (rc)
        return rc;
    putchar('\n');
    br__say(stdout, "%s: %zu repositories, %s", k->root, k->n, br__human_bytes(sum, bytes));
    if (incomplete)
        br__say(stdout, "of this, %s are of interrupted downloads; bridge cache prune removes them",
                br__human_bytes(incomplete, bytes));
    return BR_OK;
}

static int list_json(const struct cache *k, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "path", k->root);
    br__js_array(&j, "repositories", 0);
    for (size_t i = 0; i < k->n; i++) {
        const struct br__cache_repo *r = &k->repos[i];
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "id", r->id);
        br__js_str(&j, "kind", r->kind);
        br__js_str(&j, "path", r->path);
        br__js_u64(&j, "bytes", r->bytes);
        br__js_u64(&j, "incomplete_bytes", r->incomplete_bytes);
        br__js_u64(&j, "files", r->n_files);
        br__js_i64(&j, "last_used", r->used);
        br__js_array(&j, "revisions", 0);
        for (size_t v = 0; v < r->n_revisions; v++) {
            br__js_object(&j, NULL, BR__JS_INLINE);
            br__js_str(&j, "commit", r->revisions[v].commit);
            br__js_str(&j, "ref", r->revisions[v].ref);
            br__js_end(&j);
        }
        br__js_end(&j);
        br__js_end(&j);
    }
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_cache_ls(struct br__cli *c, struct br_err *err)
{
    struct cache k;
    int rc = cache_open(&k, c, err);

    for (size_t i = 0; !rc && BR__FLAG(c, QUIET) && i < k.n; i++)
        br__say(stdout, "%s", k.repos[i].id);
    if (!rc && !BR__FLAG(c, QUIET))
        rc = BR__FLAG(c, JSON) ? list_json(&k, err) : list_text(&k, err);
    return cache_done(&k, rc);
}

/* ---- rm, prune ------------------------------------------------------------------------------- */

/* "org/name" or "org/name@revision"; *v is NULL for the first. */
static int find_repo(const struct cache *k, const char *word, const struct br__cache_repo **r,
                     const struct br__cache_revision **v, struct br_err *err)
{
    size_t n = strcspn(word, "@");

    *r = NULL;
    *v = NULL;
    for (size_t i = 0; i < k->n && !*r; i++)
        if (strlen(k->repos[i].id) == n && !memcmp(k->repos[i].id, word, n))
            *r = &k->repos[i];
    if (!*r)
        return br_fail(err, BR_E_NOTFOUND, "'%.*s' is not in '%s'; bridge cache ls lists what is",
                       (int)n, word, k->root);
    for (size_t i = 0; word[n] && i < (*r)->n_revisions && !*v; i++) {
        const struct br__cache_revision *x = &(*r)->revisions[i];
        if ((x->ref && !strcmp(x->ref, word + n + 1)) || !strcmp(x->commit, word + n + 1))
            *v = x;
    }
    if (word[n] && !*v)
        return br_fail(err, BR_E_NOTFOUND, "'%s' is not in '%s'; bridge cache ls lists what is",
                       word, k->root);
    return BR_OK;
}

static int tell_freed(const struct cache *k, const char *what, struct br_err *err)
{
    struct br__js j = {0};
    char bytes[32];

    if (!BR__FLAG(k->c, JSON)) {
        br__say(stdout, "%s: %s freed", what, br__human_bytes(k->freed, bytes));
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_u64(&j, "freed_bytes", k->freed);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_cache_rm(struct br__cli *c, struct br_err *err)
{
    struct cache k;
    const struct br__cache_repo *r = NULL;
    const struct br__cache_revision *v = NULL;
    int rc = cache_open(&k, c, err);

    if (!rc)
        rc = find_repo(&k, c->pos[0], &r, &v, err);
    if (!rc)
        rc = v ? br__cache_remove_revision(&c->arena, r, v, &k.freed, err)
               : br__cache_remove(&c->arena, r, &k.freed, err);
    if (!rc)
        rc = tell_freed(&k, c->pos[0], err);
    return cache_done(&k, rc);
}

int br__cmd_cache_prune(struct br__cli *c, struct br_err *err)
{
    struct cache k;
    int rc = cache_open(&k, c, err);

    for (size_t i = 0; i < k.n && !rc; i++) {
        const struct br__cache_repo *r = &k.repos[i];
        rc = br__cache_remove_incomplete(&c->arena, r, &k.freed, err);
        for (size_t v = 0; v < r->n_revisions && !rc; v++)
            if (!r->revisions[v].ref)
                rc = br__cache_remove_revision(&c->arena, r, &r->revisions[v], &k.freed, err);
    }
    if (!rc)
        rc = tell_freed(&k, "interrupted downloads and revisions without a name", err);
    return cache_done(&k, rc);
}

/* ---- verify ---------------------------------------------------------------------------------- */

static void on_damaged(void *ud, const char *path)
{
    struct cache *k = ud;

    k->n_damaged++;
    br__report_end(&k->r);
    br__say(stdout, "damaged: %s", path);
}

int br__cmd_cache_verify(struct br__cli *c, struct br_err *err)
{
    struct cache k;
    const struct br__cache_repo *only = NULL;
    const struct br__cache_revision *v;
    size_t n = 0;
    int rc = cache_open(&k, c, err);

    if (!rc && c->n_pos)
        rc = find_repo(&k, c->pos[0], &only, &v, err);
    const struct br__cache_check check = {&k.r.listener, on_damaged, &k};
    for (size_t i = 0; i < k.n && !rc; i++)
        if (!only || only == &k.repos[i]) {
            rc = br__cache_verify(&c->arena, &k.repos[i], &check, err);
            n += k.repos[i].n_files;
        }
    br__report_end(&k.r);
    if (!rc && k.n_damaged)
        rc = br_fail(err, BR_E_FORMAT,
                     "%zu of %zu files are not what their names promise; remove them, and download "
                     "again",
                     k.n_damaged, n);
    if (!rc)
        br__say(stdout, "%zu files have the digests that their names promise", n);
    return cache_done(&k, rc);
}

/* ---- clean ----------------------------------------------------------------------------------- */

/* Of a destination. */
static int clean_dir(struct br__cli *c, const char *dir, int *found, uint64_t *freed,
                     struct br_err *err)
{
    struct br__work_kept kept;
    int rc = br__work_kept(&c->arena, dir, &kept, err);

    *found = !rc && kept.path;
    *freed = rc ? 0 : kept.bytes;
    return *found ? br__work_discard(dir, err) : rc;
}

/* Of the downloads of a model. */
static int clean_id(struct br__cli *c, const char *id, int *found, uint64_t *freed,
                    struct br_err *err)
{
    struct cache k;
    int rc = cache_open(&k, c, err);

    *found = 0;
    for (size_t i = 0; i < k.n && !rc; i++)
        if (!strcmp(k.repos[i].id, id) && k.repos[i].incomplete_bytes) {
            *found = 1;
            rc = br__cache_remove_incomplete(&c->arena, &k.repos[i], freed, err);
        }
    return cache_done(&k, rc);
}

int br__cmd_clean(struct br__cli *c, struct br_err *err)
{
    const char *word = c->pos[0];
    uint64_t freed = 0;
    char bytes[32];
    int found = 0, rc = clean_dir(c, word, &found, &freed, err);

    if (!rc && !found && !br__exists(word))
        rc = clean_id(c, word, &found, &freed, err);
    if (rc)
        return rc;
    if (!found)
        br__say(stdout, "nothing is left of an interrupted run of %s", word);
    else
        br__say(stdout, "removed %s that an interrupted run of %s had left",
                br__human_bytes(freed, bytes), word);
    return BR_OK;
}
