/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gpt_cache.c - the three index arrays kept as .npy, of the types and under the names that Megatron
 * gives them: HASH-GPTDataset-SPLIT-document_index.npy and so on, with a description.txt of what
 * the hash is of.  The hash is bridge's own, as Megatron's covers its tokenizer object; so are the
 * digests of the arrays in the description, which a changed byte does not fit.
 *
 * A cache that does not fit is made again: it only saves time. */
#include "gpt.h"

#include <inttypes.h>
#include <string.h>

enum { DESCRIPTION, DOCUMENTS, STARTS, ORDER, N_FILES };

struct cache {
    struct br__arena arena;
    const char *text; /* the description up to the digests */
    const char *path[N_FILES];
    int64_t first, end; /* sequences */
    const struct br__tokens *t;
};

static int name_files(struct cache *c, const char *dir, const char *split, int64_t n_samples,
                      const struct br__gpt_shape *s, struct br_err *err)
{
    static const char *const ends[] = {"description.txt", "document_index.npy", "sample_index.npy",
                                       "shuffle_index.npy"};
    struct br__buf b = {0};
    br__buf_puts(&b, "{\n    \"class\": \"GPTDataset\",\n    \"dataset_path\": ");
    br__buf_json_str(&b, c->t->name);
    br__buf_printf(&b,
                   ",\n    \"num_samples\": %" PRId64 ",\n    \"index_split\": \"%s\",\n"
                   "    \"random_seed\": %" PRIu32 ",\n    \"sequence_length\": %" PRId64 ",\n"
                   "    \"sequences\": [%" PRId64 ", %" PRId64 "],\n    \"tokens\": %" PRId64 ",\n"
                   "    \"idx\": [%" PRIu64 ", %" PRId64 "],\n    \"xxh3\": ",
                   n_samples, split, s->seed, s->seq_length, c->first, c->end, c->t->x.n_tokens,
                   c->t->x.idx.size, c->t->x.idx.mtime_ns);
    c->text = b.failed ? NULL : br__arena_strdup(&c->arena, b.p);
    br__buf_free(&b);
    for (int i = 0; i < N_FILES && c->text; i++)
        if (!(c->path[i] = br__arena_printf(&c->arena, "%s/%016" PRIx64 "-GPTDataset-%s-%s", dir,
                                            br__xxh3(c->text, strlen(c->text)), split, ends[i])))
            c->text = NULL;
    return c->text ? BR_OK : br__nomem(err, "for an index cache");
}

/* ---- reading --------------------------------------------------------------------------------- */

static int64_t cache_at(const struct br__npy *a, int64_t i)
{
    if (a->dtype == BR_I32)
        return ((const int32_t *)(const void *)a->data)[i];
    if (a->dtype == BR_U32)
        return ((const uint32_t *)(const void *)a->data)[i];
    return ((const int64_t *)(const void *)a->data)[i];
}

/* Arrays that a sample can be read by: every number is in range, and starts do not go back. */
static int cache_usable(const struct cache *c, const struct br__npy *a)
{
    const struct br__npy *d = &a[DOCUMENTS], *s = &a[STARTS], *o = &a[ORDER];
    if (d->dtype != BR_I32 || d->ndim != 1 || (s->dtype != BR_I32 && s->dtype != BR_I64) ||
        s->ndim != 2 || s->shape[1] != 2 || (o->dtype != BR_U32 && o->dtype != BR_I64) ||
        o->ndim != 1 || s->shape[0] != o->shape[0] + 1 || o->shape[0] < 1)
        return 0;
    for (int64_t i = 0; i < d->shape[0]; i++)
        if (cache_at(d, i) < c->first || cache_at(d, i) >= c->end)
            return 0;
    for (int64_t i = 0; i < o->shape[0]; i++)
        if (cache_at(o, i) < 0 || cache_at(o, i) >= o->shape[0])
            return 0;
    for (int64_t i = 0; i < s->shape[0]; i++) {
        int64_t doc = cache_at(s, 2 * i), token = cache_at(s, 2 * i + 1);
        if (doc < 0 || doc >= d->shape[0] || token < 0 ||
            token >= br__tokens_len(c->t, cache_at(d, doc)) || (i && doc < cache_at(s, 2 * i - 2)))
            return 0;
    }
    return 1;
}

static int cache_load(struct br__gpt_index *x, const struct br__npy *a, struct br_err *err)
{
    x->n_documents = a[DOCUMENTS].shape[0];
    x->n_samples = a[ORDER].shape[0];
    x->documents = br__calloc((size_t)x->n_documents, sizeof *x->documents);
    x->starts = br__calloc((size_t)x->n_samples + 1, sizeof *x->starts);
    x->order = br__calloc((size_t)x->n_samples, sizeof *x->order);
    if (!x->documents || !x->starts || !x->order) {
        br__gpt_index_free(x);
        return br__nomem(err, "for an index cache");
    }
    for (int64_t i = 0; i < x->n_documents; i++)
        x->documents[i] = (int32_t)cache_at(&a[DOCUMENTS], i);
    for (int64_t i = 0; i <= x->n_samples; i++)
        for (int k = 0; k < 2; k++)
            x->starts[i][k] = cache_at(&a[STARTS], 2 * i + k);
    for (int64_t i = 0; i < x->n_samples; i++)
        x->order[i] = cache_at(&a[ORDER], i);
    return BR_OK;
}

static int open_arrays(const struct cache *c, struct br__npy a[N_FILES], struct br_err *err)
{
    int rc = BR_OK;
    memset(a, 0, N_FILES * sizeof *a);
    for (int i = DOCUMENTS; i < N_FILES && !rc; i++)
        rc = br__npy_open(&a[i], c->path[i], err);
    return rc;
}

static void close_arrays(struct br__npy a[N_FILES])
{
    for (int i = DOCUMENTS; i < N_FILES; i++)
        br__npy_close(&a[i]);
}

/* The text that belongs to these arrays; to be freed. */
static void cache_describe(struct br__buf *b, const struct cache *c,
                           const struct br__npy a[N_FILES])
{
    br__buf_puts(b, c->text);
    for (int i = DOCUMENTS; i < N_FILES; i++)
        br__buf_printf(b, "%s\"%016" PRIx64 "\"", i == DOCUMENTS ? "[" : ", ",
                       br__xxh3(a[i].file.map, (size_t)a[i].file.size));
    br__buf_puts(b, "]\n}");
}

/* *found: the cache was there and is used. */
static int try_cache(struct br__gpt_index *x, const struct cache *c, int *found, struct br_err *err)
{
    struct br__npy a[N_FILES];
    struct br__buf want = {0};
    char *text = NULL;
    size_t n;
    int rc = BR_OK, ok = br__read_text(c->path[DESCRIPTION], 1 << 20, &text, &n, NULL) == BR_OK;
    ok = open_arrays(c, a, NULL) == BR_OK && ok;
    if (ok)
        cache_describe(&want, c, a);
    *found = ok && !want.failed && strcmp(text, want.p) == 0 && cache_usable(c, a);
    br__free(text);
    br__buf_free(&want);
    if (*found)
        rc = cache_load(x, a, err);
    close_arrays(a);
    if (*found && !rc)
        x->n_epochs = c->end > c->first ? x->n_documents / (c->end - c->first) : 0;
    return rc;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* Numbers in four bytes, which is what Megatron takes while they fit. */
static int write_narrow(const char *path, int dtype, int ndim, const int64_t *shape,
                        const int64_t *v, struct br_err *err)
{
    int64_t n = shape[0] * (ndim > 1 ? shape[1] : 1);
    uint32_t *to = br__calloc((size_t)n, sizeof *to);
    if (!to)
        return br__nomem(err, "for an index cache");
    for (int64_t i = 0; i < n; i++)
        to[i] = (uint32_t)v[i];
    int rc = br__npy_write(path, dtype, ndim, shape, to, 0, err);
    br__free(to);
    return rc;
}

/* It comes last: without it there is no cache. */
static int store_description(const struct cache *c, struct br_err *err)
{
    struct br__npy a[N_FILES];
    struct br__buf text = {0};
    int rc = open_arrays(c, a, err);
    if (!rc)
        cache_describe(&text, c, a);
    if (!rc)
        rc = text.failed ? br__nomem(err, "for an index cache")
                         : br__write_file(c->path[DESCRIPTION], text.p, text.n, 0, err);
    br__buf_free(&text);
    close_arrays(a);
    return rc;
}

static int cache_store(const struct br__gpt_index *x, const struct cache *c, const char *dir,
                       struct br_err *err)
{
    int64_t most = 0;
    int rc = br__mkdirs(dir, err);
    for (int64_t i = 0; i <= x->n_samples; i++)
        most = BR__MAX(most, x->starts[i][1]);
    if (!rc)
        rc = br__npy_write(c->path[DOCUMENTS], BR_I32, 1, &x->n_documents, x->documents, 0, err);
    const int64_t pairs[2] = {x->n_samples + 1, 2};
    if (!rc)
        rc = most > INT32_MAX ? br__npy_write(c->path[STARTS], BR_I64, 2, pairs, x->starts, 0, err)
                              : write_narrow(c->path[STARTS], BR_I32, 2, pairs, x->starts[0], err);
    if (!rc)
        rc = x->n_samples >= (int64_t)UINT32_MAX - 1
                 ? br__npy_write(c->path[ORDER], BR_I64, 1, &x->n_samples, x->order, 0, err)
                 : write_narrow(c->path[ORDER], BR_U32, 1, &x->n_samples, x->order, err);
    return rc ? rc : store_description(c, err);
}

int br__gpt_index_cached(struct br__gpt_index *x, const char *dir, const char *split,
                         const struct br__tokens *t, int64_t first, int64_t end, int64_t n_samples,
                         const struct br__gpt_shape *s, struct br_err *err)
{
    struct cache c = {.t = t, .first = first, .end = end};
    int found = 0;
    *x = (struct br__gpt_index){0};
    int rc = name_files(&c, dir, split, n_samples, s, err);
    if (!rc)
        rc = try_cache(x, &c, &found, err);
    if (!rc && !found) {
        rc = br__gpt_index_make(x, t, first, end, n_samples, s, err);
        if (!rc)
            rc = cache_store(x, &c, dir, err);
        if (rc)
            br__gpt_index_free(x);
    }
    br__arena_free(&c.arena);
    return rc;
}
