/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hf.c - Hugging Face model directories: from files to checked tensors.
 *
 *   index   model.safetensors.index.json, read and written
 *   files   which files hold the weights
 *   open    headers and index must tell the same story, tensor by tensor
 *   side    the small files that travel with a model
 *
 * A directory may come from anywhere: names in it are never trusted as paths. */
#include "hf.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HF_INDEX "model.safetensors.index.json"
#define HF_SINGLE "model.safetensors"
#define HF_CONFIG_MAX (16u << 20)

/* ---- index ----------------------------------------------------------------------------------- */

/* A weight file's name in an index: plain, because bridge opens it, and writes one of the same
 * name. */
static int check_file_name(const char *tensor, const char *file, struct br_err *err)
{
    if (!file)
        return br_fail(err, BR_E_FORMAT, "tensor '%s' has a file name that is no string", tensor);
    if (strchr(file, '/') || strchr(file, '\\'))
        return br_fail(err, BR_E_FORMAT,
                       "tensor '%s' is in '%s'; expected a file of the same directory", tensor,
                       file);
    if (!br__ends(file, ".safetensors"))
        return br_fail(err, BR_E_FORMAT, "tensor '%s' is in '%s'; expected a *.safetensors file",
                       tensor, file);
    return BR_OK;
}

static int by_string(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Distinct file names of an index, sorted, into ix->files. */
static int index_files(const br__json *map, struct br__arena *a, struct br__hf_index *ix,
                       struct br__map *seen, struct br_err *err)
{
    for (const br__json *m = br__json_first(map); m; m = br__json_next(m)) {
        const char *file = br__json_str(m, NULL);
        int rc = check_file_name(br__json_key(m), file, err);
        if (rc)
            return rc;
        if (br__map_get(seen, file) != BR__NOT_FOUND)
            continue;
        const char *copy = br__arena_strdup(a, file);
        if (!copy || br__map_put(seen, copy, 0))
            return br__nomem(err, "reading the index");
        ix->files[ix->n_files++] = copy;
    }
    qsort(ix->files, ix->n_files, sizeof *ix->files, by_string);
    return BR_OK;
}

static int index_tensors(const br__json *map, struct br__arena *a, struct br__hf_index *ix,
                         struct br_err *err)
{
    for (const br__json *m = br__json_first(map); m; m = br__json_next(m)) {
        const char *file = br__json_str(m, "");
        const char **at = bsearch(&file, ix->files, ix->n_files, sizeof *ix->files, by_string);
        if (!at)
            BR_BUG("file '%s' of the index was not collected", file);
        ix->names[ix->n] = br__arena_strdup(a, br__json_key(m));
        if (!ix->names[ix->n])
            return br__nomem(err, "reading the index");
        ix->file_of[ix->n++] = (uint32_t)(at - ix->files);
    }
    return BR_OK;
}

static int index_root(const br__json *root, struct br__arena *a, struct br__hf_index *ix,
                      struct br_err *err)
{
    struct br__map seen = {0};
    const br__json *map = br__json_kind(root) == 'o' ? br__json_get(root, "weight_map") : NULL;
    size_t n = br__json_kind(map) == 'o' ? br__json_count(map) : 0;

    if (n == 0 || n >= BR__NOT_FOUND)
        return br_fail(err, BR_E_FORMAT, "the index has no 'weight_map' object that lists tensors");
    if (br__json_u64(br__json_get(root, "metadata.total_size"), &ix->total_size))
        ix->total_size = UINT64_MAX;
    ix->names = br__arena_alloc(a, n * sizeof *ix->names);
    ix->file_of = br__arena_alloc(a, n * sizeof *ix->file_of);
    ix->files = br__arena_alloc(a, n * sizeof *ix->files);
    if (!ix->names || !ix->file_of || !ix->files || br__map_init(&seen, 64))
        return br__nomem(err, "for an index of %zu tensors", n);
    int rc = index_files(map, a, ix, &seen, err);
    br__map_free(&seen);
    return rc ? rc : index_tensors(map, a, ix, err);
}

int br__hf_index_parse(struct br__arena *a, const char *text, size_t n, struct br__hf_index *out,
                       struct br_err *err)
{
    br__json *root = NULL;

    memset(out, 0, sizeof *out);
    int rc = br__json_parse(&root, text, n, err);
    if (!rc)
        rc = index_root(root, a, out, err);
    br__json_free(root);
    return rc;
}

struct name_file {
    const char *name, *file;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct name_file *)a)->name, ((const struct name_file *)b)->name);
}

int br__hf_index_text(struct br__buf *out, const char **names, const char **files, size_t n,
                      uint64_t total_size)
{
    struct name_file *rows = br__calloc(n + 1, sizeof *rows);

    if (!rows)
        return BR_E_NOMEM;
    for (size_t i = 0; i < n; i++)
        rows[i] = (struct name_file){names[i], files[i]};
    qsort(rows, n, sizeof *rows, by_name);
    br__buf_printf(out,
                   "{\n  \"metadata\": {\n    \"total_size\": %" PRIu64 "\n  },\n"
                   "  \"weight_map\": {",
                   total_size);
    for (size_t i = 0; i < n; i++) {
        br__buf_puts(out, i ? ",\n    " : "\n    ");
        br__buf_json_str(out, rows[i].name);
        br__buf_puts(out, ": ");
        br__buf_json_str(out, rows[i].file);
    }
    br__buf_puts(out, n ? "\n  }\n}\n" : "}\n}\n");
    br__free(rows);
    return out->failed;
}

/* ---- files ----------------------------------------------------------------------------------- */

/* What an open in progress knows; all of it in the checkpoint's arena. */
struct opening {
    struct br__ckpt *ck;
    struct br__hub *hub; /* or NULL */
    char **listing;      /* names in the directory, sorted */
    size_t n_listing;
    size_t n_chosen;               /* files in ck->file_names; ck->n_files counts the opened ones */
    struct br__hf_index ix;        /* empty without an index */
    struct br__st_entry **entries; /* per file */
    size_t *n_entries;             /* per file */
};

static int hf_listed(const struct opening *o, const char *name)
{
    return bsearch(&name, o->listing, o->n_listing, sizeof *o->listing, by_string) != NULL;
}

/* The numbers in "model-00002-of-00009.safetensors". */
struct shard {
    unsigned k, n; /* 2, 9 */
    int width;     /* 5 */
};

/* 1 if the name has that form. */
static int shard_number(const char *name, struct shard *s)
{
    if (!br__starts(name, "model-"))
        return 0;
    const char *k = name + strlen("model-");
    size_t k_len = strspn(k, "0123456789");
    if (k_len < 1 || k_len > 9 || !br__starts(k + k_len, "-of-"))
        return 0;
    const char *n = k + k_len + strlen("-of-");
    size_t n_len = strspn(n, "0123456789");
    if (n_len < 1 || n_len > 9 || strcmp(n + n_len, ".safetensors") != 0)
        return 0;
    s->k = (unsigned)strtoul(k, NULL, 10);
    s->n = (unsigned)strtoul(n, NULL, 10);
    s->width = (int)k_len;
    return 1;
}

/* Take one more file of a model-K-of-N set; names of one width arrive in numeric order. */
static int take_shard(struct opening *o, const char *name, const struct shard *s,
                      const struct shard *first, struct br_err *err)
{
    if (s->n != first->n || s->width != first->width)
        return br_fail(err, BR_E_FORMAT,
                       "'%s' and '%s' are of different sets, and no " HF_INDEX
                       " says which one is meant; remove one set",
                       o->ck->file_names[0], name);
    if (s->k == 0 || s->k > s->n || s->k <= o->n_chosen)
        return br_fail(err, BR_E_FORMAT, "'%s' is not a number from 1 to %u of a set, each once",
                       name, s->n);
    if (s->k != o->n_chosen + 1)
        return br_fail(err, BR_E_NOTFOUND,
                       "'model-%0*zu-of-%0*u.safetensors' is missing, but '%s' is there; is the "
                       "download complete?",
                       s->width, o->n_chosen + 1, s->width, s->n, name);
    o->ck->file_names[o->n_chosen++] = name;
    return BR_OK;
}

/* The files of a model-K-of-N set when there is no index: exactly 1..N of one N. */
static int choose_set(struct opening *o, struct br_err *err)
{
    struct shard s, first = {0};

    for (size_t i = 0; i < o->n_listing; i++) {
        if (!shard_number(o->listing[i], &s))
            continue;
        if (o->n_chosen == 0)
            first = s;
        int rc = take_shard(o, o->listing[i], &s, &first, err);
        if (rc)
            return rc;
    }
    if (o->n_chosen != first.n)
        return br_fail(err, BR_E_NOTFOUND,
                       "'model-%0*zu-of-%0*u.safetensors' is missing; is the download complete?",
                       first.width, o->n_chosen + 1, first.width, first.n);
    return BR_OK;
}

/* The first listed name with one of the endings, or NULL. */
static const char *listed_end(const struct opening *o, const char *const *ends, size_t n)
{
    for (size_t i = 0; i < o->n_listing; i++)
        for (size_t j = 0; j < n; j++)
            if (br__ends(o->listing[i], ends[j]))
                return o->listing[i];
    return NULL;
}

/* No usable weights: say what is there instead. */
static int no_weights(const struct opening *o, struct br_err *err)
{
    static const char *const ours[] = {".safetensors"}, *const pickles[] = {".bin", ".pt", ".pth"};
    const char *name = listed_end(o, ours, BR_COUNTOF(ours));

    if (name)
        return br_fail(err, BR_E_NOTFOUND,
                       "no weights by a known name: found '%s', expected " HF_INDEX ", " HF_SINGLE
                       " or a model-*-of-*.safetensors set",
                       name);
    name = listed_end(o, pickles, BR_COUNTOF(pickles));
    if (name)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "no weights but Python pickles ('%s'), which bridge does not read; download "
                       "or save the model as safetensors",
                       name);
    return br_fail(err, BR_E_NOTFOUND,
                   "no weights: expected " HF_INDEX ", " HF_SINGLE
                   " or a model-*-of-*.safetensors set");
}

static int read_index(struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    char *text = NULL;
    size_t n = 0;

    const char *path = br__path_join(&ck->arena, ck->dir, HF_INDEX);
    if (!path)
        return br__nomem(err, "opening '%s'", ck->dir);
    int rc = br__read_text(path, BR__ST_HEADER_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = br__hf_index_parse(&ck->arena, text, n, &o->ix, err);
    br__free(text);
    if (rc) {
        br_wrap(err, HF_INDEX);
        return rc;
    }
    ck->hf->has_index = 1;
    for (size_t i = 0; i < o->ix.n_files; i++) {
        if (!hf_listed(o, o->ix.files[i]))
            return br_fail(err, BR_E_NOTFOUND,
                           "'%s' is missing, but " HF_INDEX " names it; is the download complete?",
                           o->ix.files[i]);
        ck->file_names[i] = o->ix.files[i];
    }
    o->n_chosen = o->ix.n_files;
    return BR_OK;
}

/* Decide which files hold the weights: ck->file_names. */
static int choose_files(struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    int rc;

    ck->file_names = br__arena_alloc(&ck->arena, (o->n_listing + 1) * sizeof *ck->file_names);
    if (!ck->file_names)
        return br__nomem(err, "opening '%s'", ck->dir);
    if (hf_listed(o, HF_INDEX)) {
        rc = read_index(o, err);
    } else if (hf_listed(o, HF_SINGLE)) {
        ck->file_names[o->n_chosen++] = HF_SINGLE;
        rc = BR_OK;
    } else {
        rc = choose_set(o, err);
    }
    if (rc == BR_OK && o->n_chosen == 0)
        rc = no_weights(o, err);
    return rc;
}

int br__hf_weight_names(struct br__arena *a, char **names, size_t n, char ***out, size_t *n_out,
                        struct br_err *err)
{
    struct shard s;
    const char *single = HF_SINGLE;

    *n_out = 0;
    *out = br__arena_alloc(a, (n + 1) * sizeof **out);
    if (!*out)
        return br__nomem(err, "with %zu names", n);
    char **at = n ? bsearch(&single, names, n, sizeof *names, by_string) : NULL;
    if (at)
        (*out)[(*n_out)++] = *at;
    for (size_t i = 0; !at && i < n; i++)
        if (shard_number(names[i], &s))
            (*out)[(*n_out)++] = names[i];
    return BR_OK;
}

/* Warn once of *.safetensors files that do not belong to the chosen set. */
static int warn_ignored(struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    struct br__buf names = {0};
    size_t n = 0, chosen = 0;
    int rc = BR_OK;

    for (size_t i = 0; i < o->n_listing; i++) {
        if (!br__ends(o->listing[i], ".safetensors"))
            continue;
        /* both lists are sorted, and the chosen one is part of the other */
        if (chosen < o->n_chosen && strcmp(o->listing[i], ck->file_names[chosen]) == 0) {
            chosen++;
            continue;
        }
        if (n++ < 3)
            br__buf_printf(&names, "%s'%s'", n > 1 ? ", " : "", o->listing[i]);
    }
    if (n && !names.failed)
        rc = br__ckpt_warn(ck, "ignored %zu safetensors file%s %s: %s%s", n, n > 1 ? "s" : "",
                           ck->hf->has_index ? "that " HF_INDEX " does not name"
                                             : "beside the weights",
                           names.p, n > 3 ? ", ..." : "");
    if (rc || names.failed)
        rc = br__nomem(err, "opening '%s'", ck->dir);
    br__buf_free(&names);
    return rc;
}

/* ---- open ------------------------------------------------------------------------------------ */

/* A weight file: on the disk, or else on the hub. */
static int open_file(const struct opening *o, const char *name, struct br__file *f,
                     struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    if (o->hub && !br__hub_has(o->hub, name)) {
        const struct br__hub_file *file = br__hub_find(o->hub, name);
        return file ? br__hub_file_open(o->hub, file, BR__ST_HEADER_MAX, f, err)
                    : br_fail(err, BR_E_NOTFOUND, "'%s' has no '%s'", br__hub_id(o->hub), name);
    }
    const char *path = br__path_join(&ck->arena, ck->dir, name);
    return path ? br__file_open(f, path, err) : br__nomem(err, "opening '%s'", ck->dir);
}

/* Open every chosen file and read its header. */
static int open_files(struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    size_t n = o->n_chosen;
    uint64_t data_off;

    ck->files = br__arena_alloc(&ck->arena, n * sizeof *ck->files);
    ck->hf->metadata_json = br__arena_alloc(&ck->arena, n * sizeof *ck->hf->metadata_json);
    o->entries = br__arena_alloc(&ck->arena, n * sizeof *o->entries);
    o->n_entries = br__arena_alloc(&ck->arena, n * sizeof *o->n_entries);
    if (!ck->files || !ck->hf->metadata_json || !o->entries || !o->n_entries)
        return br__nomem(err, "opening '%s'", ck->dir);
    for (size_t i = 0; i < n; i++) {
        int rc = open_file(o, ck->file_names[i], &ck->files[i], err);
        if (rc)
            return rc;
        ck->n_files = i + 1;
        rc = br__st_open(&ck->arena, &ck->files[i], &o->entries[i], &o->n_entries[i], &data_off,
                         &ck->hf->metadata_json[i], err);
        if (rc)
            return rc;
        for (size_t j = 0; j < o->n_entries[i]; j++) { /* from here on absolute */
            o->entries[i][j].begin += data_off;
            o->entries[i][j].end += data_off;
        }
    }
    return BR_OK;
}

static int add_tensor(struct br__ckpt *ck, const struct br__tensor *t, struct br_err *err)
{
    uint32_t i = (uint32_t)ck->n_tensors;

    ck->tensors[i] = *t;
    int rc = br__map_put(&ck->by_name, t->name, i);
    if (rc == BR_E_EXISTS) {
        const struct br__tensor *other = &ck->tensors[br__map_get(&ck->by_name, t->name)];
        if (!ck->n_files)
            return br_fail(err, BR_E_FORMAT, "tensor '%s' is there twice", t->name);
        return br_fail(err, BR_E_FORMAT, "tensor '%s' is in both '%s' and '%s'; expected it once",
                       t->name, ck->file_names[other->file], ck->file_names[t->file]);
    }
    if (rc)
        return br_fail(err, rc, "out of memory for the name index");
    ck->n_tensors++;
    return BR_OK;
}

/* Room for n tensors and their names' index. */
static int alloc_tensors(struct br__ckpt *ck, size_t n, struct br_err *err)
{
    ck->tensors = br__arena_alloc(&ck->arena, (n + 1) * sizeof *ck->tensors);
    if (n >= BR__NOT_FOUND || !ck->tensors || br__map_init(&ck->by_name, n))
        return br__nomem(err, "for %zu tensors", n);
    return BR_OK;
}

static int collect_tensors(struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    size_t total = 0;

    for (size_t i = 0; i < ck->n_files; i++)
        total += o->n_entries[i];
    int rc = alloc_tensors(ck, total, err);
    for (size_t i = 0; i < ck->n_files && !rc; i++)
        for (size_t j = 0; j < o->n_entries[i] && !rc; j++) {
            const struct br__st_entry *e = &o->entries[i][j];
            struct br__tensor t = {.name = e->name,
                                   .dtype = e->dtype,
                                   .ndim = e->ndim,
                                   .bytes = e->end - e->begin,
                                   .file = (uint32_t)i,
                                   .offset = e->begin};
            memcpy(t.shape, e->shape, sizeof t.shape);
            rc = add_tensor(ck, &t, err);
        }
    return rc;
}

/* Every tensor that the index lists is in that file's header. */
static int check_index_names(const struct opening *o, struct br_err *err)
{
    const struct br__ckpt *ck = o->ck;

    for (size_t i = 0; i < o->ix.n; i++) {
        const struct br__tensor *t = br__ckpt_find(ck, o->ix.names[i]);
        const char *file = o->ix.files[o->ix.file_of[i]];
        if (!t)
            return br_fail(err, BR_E_FORMAT,
                           "tensor '%s' is not in '%s', where " HF_INDEX
                           " says it is; are index and files of the same download?",
                           o->ix.names[i], file);
        if (t->file != o->ix.file_of[i])
            return br_fail(err, BR_E_FORMAT,
                           "tensor '%s' is in '%s', but " HF_INDEX " says '%s'; are index and "
                           "files of the same download?",
                           t->name, ck->file_names[t->file], file);
    }
    return BR_OK;
}

/* The index lists every tensor of the headers.  Its names are distinct and all found, so only a
 * difference in number is left to explain. */
static int check_all_indexed(const struct opening *o, struct br_err *err)
{
    const struct br__ckpt *ck = o->ck;
    struct br__map names = {0};
    int rc = BR_OK;

    if (ck->n_tensors == o->ix.n)
        return BR_OK;
    if (br__map_init(&names, o->ix.n))
        return br__nomem(err, "checking " HF_INDEX);
    for (size_t i = 0; i < o->ix.n && !rc; i++)
        if (br__map_put(&names, o->ix.names[i], 0))
            rc = br__nomem(err, "checking " HF_INDEX);
    for (size_t i = 0; i < ck->n_tensors && !rc; i++)
        if (br__map_get(&names, ck->tensors[i].name) == BR__NOT_FOUND)
            rc = br_fail(err, BR_E_FORMAT,
                         "tensor '%s' of '%s' is not listed in " HF_INDEX
                         "; are index and files of the same download?",
                         ck->tensors[i].name, ck->file_names[ck->tensors[i].file]);
    br__map_free(&names);
    return rc;
}

/* Nothing depends on total_size, so a wrong one is only a warning. */
static int check_total_size(const struct opening *o, struct br_err *err)
{
    struct br__ckpt *ck = o->ck;
    uint64_t sum = 0;

    for (size_t i = 0; i < ck->n_tensors; i++)
        sum += ck->tensors[i].bytes;
    if (o->ix.total_size == UINT64_MAX || o->ix.total_size == sum)
        return BR_OK;
    if (br__ckpt_warn(ck,
                      "metadata.total_size of " HF_INDEX " is %" PRIu64
                      ", but the tensors have %" PRIu64 " bytes",
                      o->ix.total_size, sum))
        return br__nomem(err, "checking " HF_INDEX);
    return BR_OK;
}

static int check_index(const struct opening *o, struct br_err *err)
{
    int rc = check_index_names(o, err);

    if (!rc)
        rc = check_all_indexed(o, err);
    return rc ? rc : check_total_size(o, err);
}

/* The names that a model has on the hub, which are sorted. */
static int list_hub(struct opening *o, struct br_err *err)
{
    const struct br__hub_file *files = br__hub_files(o->hub, &o->n_listing);

    o->listing = br__arena_alloc(&o->ck->arena, (o->n_listing + 1) * sizeof *o->listing);
    if (!o->listing)
        return br__nomem(err, "opening '%s'", o->ck->dir);
    for (size_t i = 0; i < o->n_listing; i++) {
        o->listing[i] = br__arena_strdup(&o->ck->arena, files[i].path);
        if (!o->listing[i])
            return br__nomem(err, "opening '%s'", o->ck->dir);
    }
    return BR_OK;
}

static int open_weights(struct br__ckpt *ck, struct br__hub *hub, struct br_err *err)
{
    struct opening o = {.ck = ck, .hub = hub};

    int rc =
        hub ? list_hub(&o, err) : br__list_dir(&ck->arena, ck->dir, &o.listing, &o.n_listing, err);
    if (rc)
        return rc;
    rc = choose_files(&o, err);
    if (!rc)
        rc = warn_ignored(&o, err);
    if (!rc) {
        rc = open_files(&o, err);
        if (rc)
            return rc; /* names the file with its path */
        rc = collect_tensors(&o, err);
    }
    if (!rc && ck->hf->has_index)
        rc = check_index(&o, err);
    if (rc)
        br_wrap(err, "'%s'", ck->dir);
    return rc;
}

int br__hf_open_file(struct br__ckpt **out, const char *path, struct br_err *err)
{
    size_t dir = (size_t)(br__path_base(path) - path);
    struct br__ckpt *ck = br__hf_new(path);

    *out = NULL;
    if (!ck)
        return br__nomem(err, "opening '%s'", path);
    struct opening o = {.ck = ck, .n_chosen = 1};
    ck->file_names = br__arena_alloc(&ck->arena, sizeof *ck->file_names);
    const char *name = br__arena_strdup(&ck->arena, path + dir);
    ck->dir = dir ? br__arena_strndup(&ck->arena, path, dir) : ".";
    int rc = ck->file_names && name && ck->dir ? BR_OK : br__nomem(err, "opening '%s'", path);
    if (!rc) {
        ck->file_names[0] = name;
        rc = open_files(&o, err);
    }
    if (!rc)
        rc = collect_tensors(&o, err);
    if (!rc && !(ck->dir = br__arena_strdup(&ck->arena, path))) /* as messages call it */
        rc = br__nomem(err, "opening '%s'", path);
    if (rc)
        br__ckpt_close(ck);
    else
        *out = ck;
    return rc;
}

/* A file that a model directory may lack, verbatim. */
static int read_optional(struct br__ckpt *ck, const char *name, char **text, size_t *n,
                         struct br_err *err)
{
    const char *path = br__path_join(&ck->arena, ck->dir, name);

    if (!path)
        return br__nomem(err, "opening '%s'", ck->dir);
    int rc = br__read_text(path, HF_CONFIG_MAX, text, n, err);
    return rc == BR_E_NOTFOUND ? BR_OK : rc;
}

static int hf_read(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                   size_t n, struct br_err *err)
{
    if (t->file >= ck->n_files)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "tensor '%s' was made up from a configuration and has no bytes", t->name);
    int rc = br__file_read(&ck->files[t->file], t->offset + off, dst, n, err);
    if (rc)
        br_wrap(err, "tensor '%s'", t->name);
    return rc;
}

static void hf_close(struct br__ckpt *ck)
{
    br__hub_close(ck->hub);
    if (!ck->hf)
        return;
    br__free(ck->hf->config_text);
    br__free(ck->hf->generation_text);
}

static const struct br__ckpt_ops hf_ops = {.read = hf_read, .close = hf_close};

struct br__ckpt *br__hf_new(const char *dir)
{
    struct br__ckpt *ck = br__calloc(1, sizeof *ck);

    if (!ck)
        return NULL;
    ck->ops = &hf_ops;
    ck->format = BR__FMT_HF;
    ck->dir = br__arena_strdup(&ck->arena, dir);
    ck->hf = br__arena_alloc(&ck->arena, sizeof *ck->hf);
    if (ck->dir && ck->hf)
        return ck;
    br__ckpt_close(ck);
    return NULL;
}

/* hub: where weights are that are not in dir, or NULL. */
static int open_dir(struct br__ckpt **out, const char *dir, struct br__hub *hub, unsigned flags,
                    struct br_err *err)
{
    *out = NULL;
    if (!br__is_dir(dir))
        return br_fail(err, BR_E_NOTFOUND, "'%s' is not a directory", dir);
    struct br__ckpt *ck = br__hf_new(dir);
    if (!ck)
        return br__nomem(err, "opening '%s'", dir);
    int rc = read_optional(ck, "config.json", &ck->hf->config_text, &ck->hf->config_size, err);
    if (!rc)
        rc = read_optional(ck, "generation_config.json", &ck->hf->generation_text,
                           &ck->hf->generation_size, err);
    if (!rc && !(flags & BR__HF_CONFIG_ONLY))
        rc = open_weights(ck, hub, err);
    if (rc) {
        br__ckpt_close(ck);
        return rc;
    }
    ck->hub = hub;
    *out = ck;
    return BR_OK;
}

int br__hf_open(struct br__ckpt **out, const char *dir, unsigned flags, struct br_err *err)
{
    return open_dir(out, dir, NULL, flags, err);
}

int br__hf_open_hub(struct br__ckpt **out, const char *dir, struct br__hub *hub, struct br_err *err)
{
    return open_dir(out, dir, hub, 0, err);
}

int br__hf_invent(struct br__ckpt **out, const struct br__tensor *tensors, size_t n,
                  struct br_err *err)
{
    *out = NULL;
    struct br__ckpt *ck = br__hf_new("");
    if (!ck)
        return br__nomem(err, "for %zu tensors", n);
    int rc = alloc_tensors(ck, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        struct br__tensor t = tensors[i];
        t.name = br__arena_strdup(&ck->arena, tensors[i].name);
        rc = t.name ? add_tensor(ck, &t, err) : br__nomem(err, "for %zu tensors", n);
    }
    if (rc) {
        br__ckpt_close(ck);
        return rc;
    }
    *out = ck;
    return BR_OK;
}

/* ---- side files ------------------------------------------------------------------------------ */

/* Names, or ends of names when they start with '*', or starts when they end with it. */
static const struct side_file {
    const char *pattern;
    int tokenizer; /* belongs to the tokenizer */
} side_files[] = {
    {"tokenizer.json", 1},
    {"tokenizer_config.json", 1},
    {"special_tokens_map.json", 1},
    {"added_tokens.json", 1},
    {"vocab.json", 1},
    {"vocab.txt", 1},
    {"merges.txt", 1},
    {"tokenizer.model", 1},
    {"*.tiktoken", 1},
    {"chat_template.json", 1},
    {"*.jinja", 1},
    {"tokenization*.py", 1},
    {"generation_config.json", 0},
    {"*.py", 0},
    {"LICENSE*", 0},
    {"NOTICE*", 0},
    {"README*", 0},
};

static int hf_matches(const char *pattern, const char *name)
{
    const char *star = strchr(pattern, '*');

    if (!star)
        return strcmp(pattern, name) == 0;
    size_t head = (size_t)(star - pattern);
    return strlen(name) >= strlen(pattern) - 1 && strncmp(name, pattern, head) == 0 &&
           br__ends(name, star + 1);
}

/* A folder may be called README_images, but not tokenizer.json. */
static int is_fixed_name(const char *name)
{
    for (size_t i = 0; i < BR_COUNTOF(side_files); i++)
        if (strcmp(side_files[i].pattern, name) == 0)
            return 1;
    return 0;
}

int br__hf_is_side_file(const char *name, int tokenizer_only)
{
    for (size_t i = 0; i < BR_COUNTOF(side_files); i++)
        if ((side_files[i].tokenizer || !tokenizer_only) && hf_matches(side_files[i].pattern, name))
            return 1;
    return 0;
}

/* A side file may be published, so a link must not copy a file from anywhere: it must lead into the
 * directory itself, or to a blob of the cache that the snapshot belongs to. */
static int check_link(struct br__arena *a, const char *dir, const char *path, struct br_err *err)
{
    const char *blobs = br__path_join(a, dir, "../../blobs");
    int in_dir = 0, in_blobs = 0;

    int rc = br__path_inside(a, dir, path, &in_dir, err);
    if (!rc && !in_dir && blobs && br__is_dir(blobs))
        rc = br__path_inside(a, blobs, path, &in_blobs, err);
    if (!rc && !in_dir && !in_blobs)
        rc = br_fail(err, BR_E_USAGE,
                     "'%s' is a link that leads out of the model's directory, and would be copied "
                     "into the result; put a copy in its place if it is meant",
                     path);
    return rc;
}

int br__hf_side_files(struct br__arena *a, const char *dir, int tokenizer_only, char ***names,
                      size_t *n, struct br_err *err)
{
    char **list;
    size_t n_list, kept = 0;

    *names = NULL;
    *n = 0;
    int rc = br__list_dir(a, dir, &list, &n_list, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < n_list; i++) {
        struct stat st;
        if (!br__hf_is_side_file(list[i], tokenizer_only))
            continue;
        const char *path = br__path_join(a, dir, list[i]);
        if (!path)
            return br__nomem(err, "listing '%s'", dir);
        /* in a cache's snapshot a link to a missing blob is an error, not an absent file */
        if (br__io.stat(path, &st))
            return br_fail(err, BR_E_IO,
                           "'%s' is listed but cannot be read; is it a dangling link?", path);
        if (!S_ISREG(st.st_mode) && (!S_ISDIR(st.st_mode) || is_fixed_name(list[i])))
            return br_fail(err, BR_E_FORMAT,
                           "'%s' is no regular file; put the file there or remove it", path);
        if (!S_ISREG(st.st_mode))
            continue;
        if ((rc = check_link(a, dir, path, err)))
            return rc;
        list[kept++] = list[i];
    }
    *names = list;
    *n = kept;
    return BR_OK;
}
