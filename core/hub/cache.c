/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cache.c - what the cache on disk holds: repositories, their revisions and files, what belongs to
 * none, and downloads that were interrupted.  The layout is that of huggingface_hub
 * (utils/_cache_manager.py): models--ORG--NAME/{refs,blobs,snapshots/COMMIT}. */
#include "hub_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INCOMPLETE ".incomplete"

/* ---- names ----------------------------------------------------------------------------------- */

/* "models--org--name" as its kind, "model", and "org/name"; 0 for any other folder. */
static int split_folder(struct br__arena *a, const char *folder, struct br__cache_repo *r)
{
    static const char *const kinds[] = {"model", "dataset", "space"};
    for (size_t i = 0; i < BR_COUNTOF(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(folder, kinds[i], n) != 0 || strncmp(folder + n, "s--", 3) != 0 ||
            !folder[n + 3])
            continue;
        char *id = br__arena_strdup(a, folder + n + 3);
        char *dashes = id ? strstr(id, "--") : NULL;
        if (dashes) {
            *dashes = '/';
            memmove(dashes + 1, dashes + 2, strlen(dashes + 2) + 1);
        }
        r->kind = kinds[i];
        r->id = id;
        return 1;
    }
    return 0;
}

/* Names in a folder; none if it is not there. */
static int names_in(struct br__arena *a, const char *dir, char ***names, size_t *n,
                    struct br_err *err)
{
    *names = NULL;
    *n = 0;
    return br__is_dir(dir) ? br__list_dir(a, dir, names, n, err) : BR_OK;
}

/* ---- blobs ----------------------------------------------------------------------------------- */

/* Of an unfinished one the bytes that are on the disk: it has its full size from the start. */
static uint64_t blob_bytes(const char *name, const struct stat *st)
{
    return br__ends(name, INCOMPLETE) ? (uint64_t)st->st_blocks * 512 : (uint64_t)st->st_size;
}

static int add_blobs(struct br__arena *a, struct br__cache_repo *r, struct br_err *err)
{
    char **names;
    size_t n = 0;
    const char *dir = br__path_join(a, r->path, "blobs");
    int rc = dir ? names_in(a, dir, &names, &n, err) : br__nomem(err, "reading the cache");
    for (size_t i = 0; i < n && !rc; i++) {
        struct stat st;
        const char *path = br__path_join(a, dir, names[i]);
        if (!path)
            return br__nomem(err, "reading the cache");
        if (br__io.stat(path, &st) || !S_ISREG(st.st_mode))
            continue;
        uint64_t bytes = blob_bytes(names[i], &st);
        if (br__ends(names[i], INCOMPLETE))
            r->incomplete_bytes += bytes;
        else
            r->n_files++;
        r->bytes += bytes;
        r->used = BR__MAX(r->used, (int64_t)BR__MAX(st.st_atime, st.st_mtime));
    }
    return rc;
}

/* ---- revisions ------------------------------------------------------------------------------- */

/* Branches and tags below refs/, whose names may have slashes. */
static int add_refs(struct br__arena *a, struct br__cache_repo *r, const char *dir,
                    const char *prefix, struct br_err *err)
{
    char **names;
    size_t n;
    int rc = names_in(a, dir, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(a, dir, names[i]);
        const char *ref = br__arena_printf(a, "%s%s", prefix, names[i]);
        const char *below = br__arena_printf(a, "%s/", ref ? ref : "");
        char *commit = NULL;
        if (!path || !ref || !below)
            return br__nomem(err, "reading the cache");
        if (br__is_dir(path)) {
            rc = add_refs(a, r, path, below, err);
            continue;
        }
        if (br__read_text(path, 4096, &commit, NULL, NULL))
            continue;
        commit[strcspn(commit, " \n")] = '\0';
        for (size_t k = 0; k < r->n_revisions; k++)
            if (!strcmp(r->revisions[k].commit, commit))
                r->revisions[k].ref = ref;
        br__free(commit);
    }
    return rc;
}

static int add_revisions(struct br__arena *a, struct br__cache_repo *r, struct br_err *err)
{
    char **names;
    size_t n;
    const char *dir = br__path_join(a, r->path, "snapshots");
    const char *refs = br__path_join(a, r->path, "refs");
    int rc = dir && refs ? names_in(a, dir, &names, &n, err) : br__nomem(err, "reading the cache");
    if (rc)
        return rc;
    r->revisions = br__arena_alloc(a, (n + 1) * sizeof *r->revisions);
    if (!r->revisions)
        return br__nomem(err, "reading the cache");
    for (size_t i = 0; i < n; i++)
        r->revisions[r->n_revisions++] = (struct br__cache_revision){.commit = names[i]};
    return add_refs(a, r, refs, "", err);
}

static int by_id(const void *x, const void *y)
{
    const struct br__cache_repo *a = x, *b = y;
    int c = strcmp(a->id, b->id);
    return c ? c : strcmp(a->kind, b->kind);
}

int br__cache_list(struct br__arena *a, const char *root, struct br__cache_repo **repos, size_t *n,
                   struct br_err *err)
{
    char **names;
    size_t n_names;
    *n = 0;
    int rc = names_in(a, root, &names, &n_names, err);
    *repos = rc ? NULL : br__arena_alloc(a, (n_names + 1) * sizeof **repos);
    if (!rc && !*repos)
        rc = br__nomem(err, "reading the cache");
    for (size_t i = 0; i < n_names && !rc; i++) {
        struct br__cache_repo *r = &(*repos)[*n];
        *r = (struct br__cache_repo){.path = br__path_join(a, root, names[i])};
        if (!split_folder(a, names[i], r) || !r->path || !br__is_dir(r->path))
            continue;
        if (!r->id)
            return br__nomem(err, "reading the cache");
        rc = add_blobs(a, r, err);
        if (!rc)
            rc = add_revisions(a, r, err);
        ++*n;
    }
    if (!rc)
        qsort(*repos, *n, sizeof **repos, by_id);
    return rc;
}

/* ---- removing -------------------------------------------------------------------------------- */

static int take_away(const char *path, uint64_t *freed, struct br_err *err)
{
    struct stat st;
    if (br__io.stat(path, &st) == 0)
        *freed += blob_bytes(path, &st);
    return br__remove_tree(path, err);
}

/* Is a download of this blob running?  It holds the lock beside the repository. */
static int in_use(struct br__arena *a, const struct br__cache_repo *r, const char *blob)
{
    struct br__dir d;
    struct stat st;
    const char *root = br__arena_strndup(a, r->path, (size_t)(br__path_base(r->path) - r->path));
    const char *dir =
        root ? br__arena_printf(a, "%s.locks/%s", root, br__path_base(r->path)) : NULL;
    const char *lock = br__arena_printf(a, "%.*s.lock", (int)strcspn(blob, "."), blob);
    int fd = -1, locked, busy = 0;
    if (!dir || !lock || br__dir_open(&d, dir, NULL))
        return 0;
    if (!br__dir_stat(&d, lock, &st) && !br__dir_file(&d, lock, 0664, 0, &fd, NULL)) {
        busy = br__fd_lock(fd, lock, 0, &locked, NULL) == BR_E_BUSY;
        br__io.close(fd);
    }
    br__dir_close(&d);
    return busy;
}

int br__cache_remove_incomplete(struct br__arena *a, const struct br__cache_repo *r,
                                uint64_t *freed, struct br_err *err)
{
    char **names;
    size_t n = 0;
    const char *dir = br__path_join(a, r->path, "blobs");
    int rc = dir ? names_in(a, dir, &names, &n, err) : br__nomem(err, "cleaning the cache");
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(a, dir, names[i]);
        if (path && br__ends(names[i], INCOMPLETE) && !in_use(a, r, names[i]))
            rc = take_away(path, freed, err);
    }
    return rc;
}

/* A file by what links to it lead to. */
static const char *inode_of(struct br__arena *a, const char *path)
{
    struct stat st;
    if (!path || br__io.stat(path, &st))
        return NULL;
    return br__arena_printf(a, "%llu:%llu", (unsigned long long)st.st_dev,
                            (unsigned long long)st.st_ino);
}

/* The files that a folder's links lead to, into the map. */
static int mark_blobs(struct br__arena *a, const char *dir, struct br__map *kept,
                      struct br_err *err)
{
    char **names;
    size_t n;
    int rc = names_in(a, dir, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(a, dir, names[i]);
        if (path && br__is_dir(path)) {
            rc = mark_blobs(a, path, kept, err);
            continue;
        }
        const char *file = inode_of(a, path);
        if (file && br__map_get(kept, file) == BR__NOT_FOUND && br__map_put(kept, file, 0))
            rc = br__nomem(err, "cleaning the cache");
    }
    return rc;
}

/* Remove the blobs that no snapshot leads to. */
static int sweep_blobs(struct br__arena *a, const struct br__cache_repo *r, uint64_t *freed,
                       struct br_err *err)
{
    struct br__map kept = {0};
    char **names;
    size_t n = 0;
    const char *snapshots = br__path_join(a, r->path, "snapshots");
    const char *dir = br__path_join(a, r->path, "blobs");
    int rc =
        snapshots && dir && !br__map_init(&kept, 64) ? BR_OK : br__nomem(err, "cleaning the cache");
    if (!rc)
        rc = mark_blobs(a, snapshots, &kept, err);
    if (!rc)
        rc = names_in(a, dir, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *path = br__path_join(a, dir, names[i]);
        const char *file = inode_of(a, path);
        if (file && br__map_get(&kept, file) == BR__NOT_FOUND && !in_use(a, r, names[i]) &&
            !br__ends(names[i], INCOMPLETE))
            rc = take_away(path, freed, err);
    }
    br__map_free(&kept);
    return rc;
}

int br__cache_remove_revision(struct br__arena *a, const struct br__cache_repo *r,
                              const struct br__cache_revision *v, uint64_t *freed,
                              struct br_err *err)
{
    const char *snapshot = br__arena_printf(a, "%s/snapshots/%s", r->path, v->commit);
    const char *ref = v->ref ? br__arena_printf(a, "%s/refs/%s", r->path, v->ref) : "";
    if (!snapshot || !ref)
        return br__nomem(err, "cleaning the cache");
    int rc = br__remove_tree(snapshot, err);
    if (!rc && *ref)
        rc = br__remove_tree(ref, err);
    return rc ? rc : sweep_blobs(a, r, freed, err);
}

int br__cache_remove(struct br__arena *a, const struct br__cache_repo *r, uint64_t *freed,
                     struct br_err *err)
{
    char **names;
    size_t n = 0;
    const char *dir = br__path_join(a, r->path, "blobs");
    int rc = dir ? names_in(a, dir, &names, &n, err) : br__nomem(err, "cleaning the cache");
    for (size_t i = 0; i < n && !rc; i++)
        if (in_use(a, r, names[i]))
            return br_fail(err, BR_E_BUSY, "'%s' is being downloaded by another process", r->id);
    if (!rc)
        rc = br__remove_tree(r->path, err);
    if (!rc)
        *freed += r->bytes;
    return rc;
}

/* ---- verifying ------------------------------------------------------------------------------- */

/* Digest of a blob's bytes as its name promises it: sha256 of LFS files, else git's. */
static int blob_digest(const char *path, int lfs, char hex[65], struct br_err *err)
{
    struct br__file f = {0};
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    char head[40];
    void *state = lfs ? (void *)br__sha256_new() : (void *)br__sha1_new();
    int n = snprintf(head, sizeof head, "blob %llu", (unsigned long long)f.size);
    if (state && lfs) {
        br__sha256_update(state, f.map, (size_t)f.size);
        br__sha256_hex(state, hex);
    } else if (state) {
        br__sha1_update(state, head, (size_t)n + 1);
        br__sha1_update(state, f.map, (size_t)f.size);
        br__sha1_hex(state, hex);
    }
    if (lfs)
        br__sha256_free(state);
    else
        br__sha1_free(state);
    br__file_close(&f);
    return state ? BR_OK : br__nomem(err, "hashing '%s'", path);
}

int br__cache_verify(struct br__arena *a, const struct br__cache_repo *r,
                     const struct br__cache_check *c, struct br_err *err)
{
    char **names, hex[65];
    size_t n = 0;
    uint64_t done = 0;
    const char *dir = br__path_join(a, r->path, "blobs");
    int rc = dir ? names_in(a, dir, &names, &n, err) : br__nomem(err, "reading the cache");
    for (size_t i = 0; i < n && !rc; i++) {
        struct stat st;
        size_t len = strlen(names[i]);
        const char *path = br__path_join(a, dir, names[i]);
        if (!path)
            return br__nomem(err, "reading the cache");
        if ((len != 64 && len != 40) || br__io.stat(path, &st))
            continue;
        rc = blob_digest(path, len == 64, hex, err);
        done += (uint64_t)st.st_size;
        if (!rc && strcmp(hex, names[i]) != 0)
            c->damaged(c->ud, path);
        if (c->listener && c->listener->progress)
            c->listener->progress(c->listener->ud, "verify", done, r->bytes);
    }
    return rc;
}
