/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hf_cache.c - from what the user typed to the files of a model: a directory, or a model of the
 * hub, of which only the files that a command needs are downloaded. */
#include "hf.h"

#include <stdlib.h>
#include <string.h>

#define INDEX "model.safetensors.index.json"
#define INDEX_MAX (100u << 20)

/* ---- which files ----------------------------------------------------------------------------- */

/* Files that a model may lack and that are looked for by name: their absence is recorded in the
 * cache. */
static const char *const known[] = {"config.json", "generation_config.json", INDEX};

static int is_wanted(const char *path, unsigned need)
{
    for (size_t i = 0; i < BR_COUNTOF(known); i++)
        if (!strcmp(path, known[i]))
            return 1;
    return (need & (BR__HF_TOKENIZER | BR__HF_SIDE)) &&
           br__hf_is_side_file(path, !(need & BR__HF_SIDE));
}

struct choice {
    const struct br__hub_file **files;
    size_t n;
};

static int choose_small(struct br__arena *a, struct br__hub *h, unsigned need, struct choice *c,
                        struct br_err *err)
{
    size_t n;
    const struct br__hub_file *files = br__hub_files(h, &n);

    c->n = 0;
    c->files = br__arena_alloc(a, (n + 1) * sizeof *c->files);
    if (!c->files)
        return br__nomem(err, "opening '%s'", br__hub_id(h));
    for (size_t i = 0; i < n; i++)
        if (is_wanted(files[i].path, need))
            c->files[c->n++] = &files[i];
    for (size_t i = 0; n && i < BR_COUNTOF(known); i++)
        if (!br__hub_find(h, known[i]))
            br__hub_note_absent(h, known[i]);
    return BR_OK;
}

/* The names that the index gives to the weights' files. */
static int indexed_names(struct br__arena *a, struct br__hub *h, char ***names, size_t *n,
                         struct br_err *err)
{
    struct br__hf_index ix;
    char *text = NULL;
    size_t size = 0;
    const char *path = br__path_join(a, br__hub_snapshot(h), INDEX);
    int rc = path ? br__read_text(path, INDEX_MAX, &text, &size, err)
                  : br__nomem(err, "opening '%s'", br__hub_id(h));

    if (!rc)
        rc = br__hf_index_parse(a, text, size, &ix, err);
    br__free(text);
    if (rc)
        return rc;
    *n = ix.n_files;
    *names = br__arena_alloc(a, (ix.n_files + 1) * sizeof **names);
    for (size_t i = 0; *names && i < ix.n_files; i++)
        (*names)[i] = br__arena_strdup(a, ix.files[i]);
    return *names ? BR_OK : br__nomem(err, "opening '%s'", br__hub_id(h));
}

static int listed_names(struct br__arena *a, struct br__hub *h, char ***names, size_t *n,
                        struct br_err *err)
{
    size_t n_files;
    const struct br__hub_file *files = br__hub_files(h, &n_files);
    char **all = br__arena_alloc(a, (n_files + 1) * sizeof *all);

    for (size_t i = 0; all && i < n_files; i++)
        all[i] = br__arena_strdup(a, files[i].path);
    return all ? br__hf_weight_names(a, all, n_files, names, n, err)
               : br__nomem(err, "opening '%s'", br__hub_id(h));
}

/* The weights' files; the index must be there if the model has one. */
static int choose_weights(struct br__arena *a, struct br__hub *h, struct choice *c,
                          struct br_err *err)
{
    char **names;
    size_t n;
    int rc = br__hub_find(h, INDEX) ? indexed_names(a, h, &names, &n, err)
                                    : listed_names(a, h, &names, &n, err);

    c->n = 0;
    c->files = rc ? NULL : br__arena_alloc(a, (n + 1) * sizeof *c->files);
    if (!rc && !c->files)
        rc = br__nomem(err, "opening '%s'", br__hub_id(h));
    for (size_t i = 0; i < n && !rc; i++) {
        c->files[c->n] = br__hub_find(h, names[i]);
        if (!c->files[c->n++])
            rc = br_fail(err, BR_E_NOTFOUND, "'%s' names '%s', which the model does not have",
                         INDEX, names[i]);
    }
    return rc;
}

/* ---- fetching -------------------------------------------------------------------------------- */

/* Without a listing (offline, and nothing downloaded by bridge) use the snapshot as it is: opening
 * it reports missing files. */
static int has_listing(const struct br__hub *h)
{
    size_t n;
    br__hub_files(h, &n);
    return n != 0;
}

static int hf_cache_get(struct br__hub *h, const struct choice *c, struct br_err *err)
{
    return br__hub_get(h, c->files, c->n, NULL, NULL, err);
}

static int hf_cache_fetch(struct br__arena *a, struct br__hub *h, unsigned need, struct br_err *err)
{
    struct choice c;

    if (!has_listing(h))
        return BR_OK;
    int rc = choose_small(a, h, need, &c, err);
    if (!rc)
        rc = hf_cache_get(h, &c, err);
    if (!rc && (need & BR__HF_WEIGHTS))
        rc = choose_weights(a, h, &c, err);
    if (!rc && (need & BR__HF_WEIGHTS))
        rc = hf_cache_get(h, &c, err);
    return rc;
}

/* 1 in *is_dir if the user named a directory. */
static int find_dir(struct br__arena *a, const char *id_or_dir, const char **dir, int *is_dir,
                    struct br_err *err)
{
    *dir = NULL;
    *is_dir = br__is_dir(id_or_dir);
    if (*is_dir) {
        *dir = br__arena_strdup(a, id_or_dir);
        return *dir ? BR_OK : br__nomem(err, "opening '%s'", id_or_dir);
    }
    if (br__exists(id_or_dir))
        return br_fail(err, BR_E_NOTFOUND, "'%s' is a file; expected the directory that holds it",
                       id_or_dir);
    return BR_OK;
}

int br__hf_fetch(struct br__arena *a, const char *id_or_dir, unsigned need,
                 const struct br__hub_opts *o, const char **dir, struct br_err *err)
{
    struct br__hub *h = NULL;
    int is_dir, rc = find_dir(a, id_or_dir, dir, &is_dir, err);

    if (rc || is_dir)
        return rc;
    rc = br__hub_open(&h, id_or_dir, o, err);
    if (!rc)
        rc = hf_cache_fetch(a, h, need, err);
    if (!rc && !(*dir = br__arena_strdup(a, br__hub_snapshot(h))))
        rc = br__nomem(err, "opening '%s'", id_or_dir);
    br__hub_close(h);
    return rc;
}

int br__hf_resolve(struct br__arena *a, const char *id_or_dir, const char **dir, struct br_err *err)
{
    return br__hf_fetch(a, id_or_dir, BR__HF_SIDE, NULL, dir, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

/* Weights stay where they are: in the snapshot if all are there, else on the hub. */
static int open_remote(struct br__ckpt **out, struct br__arena *a, struct br__hub **h,
                       struct br_err *err)
{
    struct choice c = {0};
    size_t there = 0;
    int rc = hf_cache_fetch(a, *h, BR__HF_SIDE, err);

    if (!rc && has_listing(*h))
        rc = choose_weights(a, *h, &c, err);
    for (size_t i = 0; !rc && i < c.n; i++)
        there += (size_t)br__hub_has(*h, c.files[i]->path);
    if (!rc && there < c.n && !br__hub_is_offline(*h)) {
        rc = br__hf_open_hub(out, br__hub_snapshot(*h), *h, err);
        if (!rc)
            *h = NULL; /* the checkpoint's */
        return rc;
    }
    return rc ? rc : br__hf_open(out, br__hub_snapshot(*h), 0, err);
}

int br__hf_open_model(struct br__ckpt **out, const char *id_or_dir, unsigned flags,
                      const struct br__hub_opts *o, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__hub *h = NULL;
    const char *dir;
    int is_dir, rc = find_dir(&a, id_or_dir, &dir, &is_dir, err);

    *out = NULL;
    if (!rc && (is_dir || !(flags & BR__HF_REMOTE) || (flags & BR__HF_CONFIG_ONLY))) {
        unsigned need = flags & BR__HF_CONFIG_ONLY ? BR__HF_SIDE : BR__HF_SIDE | BR__HF_WEIGHTS;
        if (!is_dir)
            rc = br__hf_fetch(&a, id_or_dir, need, o, &dir, err);
        if (!rc)
            rc = br__hf_open(out, dir, flags & BR__HF_CONFIG_ONLY, err);
    } else if (!rc) {
        rc = br__hub_open(&h, id_or_dir, o, err);
        if (!rc)
            rc = open_remote(out, &a, &h, err);
    }
    br__hub_close(h);
    br__arena_free(&a);
    return rc;
}
