/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* manifest.c - bridge_manifest.json: what a conversion read, what it wrote, and the digest of every
 * stored piece.  An import's manifest has the source's inventory (names, dtypes, shapes, shard map)
 * and its config.json and generation_config.json verbatim, so that an export needs no reference.
 * The digests come last: if the text before them and the digests of the source are equal, nothing
 * has to be done again. */
#include "job.h"

#include <inttypes.h>
#include <string.h>

#define MANIFEST_MAX (512u << 20)
#define DIGESTS "\n\"xxh3\": ["

/* ---- writing --------------------------------------------------------------------------------- */

static void put_shape(struct br__buf *b, const int64_t *shape, int n)
{
    br__buf_putc(b, '[');
    for (int i = 0; i < n; i++)
        br__buf_printf(b, "%s%lld", i ? "," : "", (long long)shape[i]);
    br__buf_putc(b, ']');
}

static void put_str_or_null(struct br__buf *b, const char *s)
{
    if (s)
        br__buf_json_str(b, s);
    else
        br__buf_puts(b, "null");
}

static void put_file(struct br__buf *b, size_t i, const char *name, uint64_t size, uint64_t xxh3)
{
    br__buf_puts(b, i ? ",\n {\"name\": " : "\n {\"name\": ");
    br__buf_json_str(b, name);
    br__buf_printf(b, ", \"size\": %" PRIu64 ", \"xxh3\": \"%016" PRIx64 "\"}", size, xxh3);
}

static void put_options(struct br__buf *b, const struct br__session *s)
{
    const struct br_job *j = &s->job;
    br__buf_printf(
        b,
        "\"options\": {\"torch_dtype\": \"%s\", \"layers\": \"%s\", \"expert_layout\": \"%s\", "
        "\"untied\": %s, \"mtp_num_layers\": %lld, \"pad_vocab_to\": %lld, \"iteration\": %lld, "
        "\"release\": %s, \"strict\": %s},\n",
        j->torch_dtype ? br_dtype_torch(j->torch_dtype) : "auto",
        s->plan->b.x->per_layer ? "per-layer" : "stacked",
        s->plan->b.fused ? "fused" : "per-expert", s->plan->b.untied ? "true" : "false",
        (long long)s->cfg.n_mtp, (long long)j->pad_vocab_to, (long long)j->iteration,
        j->flags & BR_JOB_RELEASE ? "true" : "false",
        j->flags & BR_JOB_NOT_STRICT ? "false" : "true");
}

static void put_source(struct br__buf *b, const struct br__session *s)
{
    const struct br__ckpt *src = s->src;
    int import = s->plan->direction == BR__IMPORT;
    br__buf_puts(b, "\"source_files\": [");
    for (size_t i = 0; i < src->n_files && import; i++) {
        br__buf_puts(b, i ? ",\n {\"name\": " : "\n {\"name\": ");
        br__buf_json_str(b, src->file_names[i]);
        br__buf_puts(b, ", \"metadata\": ");
        put_str_or_null(b, src->hf->metadata_json[i]);
        br__buf_putc(b, '}');
    }
    br__buf_puts(b, "],\n\"source_tensors\": [");
    for (size_t i = 0; i < src->n_tensors; i++) {
        const struct br__tensor *t = &src->tensors[i];
        br__buf_puts(b, i ? ",\n [" : "\n [");
        br__buf_json_str(b, t->name);
        br__buf_printf(b, ",\"%s\",", br_dtype_torch(t->dtype));
        put_shape(b, t->shape, t->ndim);
        br__buf_printf(b, ",%u,%d]", import ? t->file : 0, s->plan->b.use[i]);
    }
    br__buf_puts(b, "],\n");
}

/* Weights that were read from the hub and not stored: their commit and etags. */
static void put_hub(struct br__buf *b, const struct br__ckpt *src)
{
    br__buf_puts(b, "\"source_hub\": {\"id\": ");
    br__buf_json_str(b, br__hub_id(src->hub));
    br__buf_printf(b, ", \"commit\": \"%s\", \"files\": [", br__hub_commit(src->hub));
    for (size_t i = 0; i < src->n_files; i++) {
        const struct br__hub_file *f = br__hub_find(src->hub, src->file_names[i]);
        br__buf_puts(b, i ? ",\n {\"name\": " : "\n {\"name\": ");
        br__buf_json_str(b, src->file_names[i]);
        br__buf_printf(b, ", \"%s\": \"%s\", \"size\": %" PRIu64 "}",
                       f && f->lfs ? "sha256" : "blob_id", f ? f->etag : "", f ? f->size : 0);
    }
    br__buf_puts(b,
                 "],\n \"verified\": \"of each file: commit, etag and size of the hub's answer "
                 "against its listing; of each range: its place, length, the file's total size and "
                 "one etag for all ranges; the digest of the whole file was not computed\"},\n");
}

/* One output: the source tensors of its pieces as indices, in the order in which they first appear.
 */
static void put_output(struct br__buf *b, const struct br__session *s, size_t first, size_t n)
{
    const struct br__plan *p = s->plan;
    const struct br__plan_out *o = &p->outs[p->pieces[first].out];
    br__buf_puts(b, "{\"name\": ");
    br__buf_json_str(b, o->name);
    br__buf_printf(b, ", \"dtype\": \"%s\", \"shape\": ", br_dtype_torch(o->dtype));
    put_shape(b, o->shape, o->ndim);
    br__buf_printf(b, ", \"rule\": \"%s\", \"exactness\": \"%s\", \"pieces\": %zu, \"sources\": [",
                   br__layout_name(s->arch->maps[o->rule].layout), br__exactness_text(o->exactness),
                   n);
    uint32_t last = BR__SRC_ZERO;
    int any = 0;
    for (size_t i = first; i < first + n; i++)
        for (uint32_t k = 0; k < p->pieces[i].n_segs; k++) {
            uint32_t src = p->segs[p->pieces[i].first_seg + k].src;
            if (src == BR__SRC_ZERO || src == last)
                continue;
            br__buf_printf(b, "%s%u", any++ ? "," : "", src);
            last = src;
        }
    br__buf_puts(b, "]}");
}

static void put_outputs(struct br__buf *b, const struct br__session *s)
{
    const struct br__plan *p = s->plan;
    br__buf_puts(b, "\"tensors\": [");
    for (size_t i = 0, n; i < p->n_pieces; i += n) {
        for (n = 1; i + n < p->n_pieces && p->pieces[i + n].out == p->pieces[i].out;)
            n++;
        br__buf_puts(b, i ? ",\n " : "\n ");
        put_output(b, s, i, n);
    }
    br__buf_puts(b, "],");
}

static void put_side_files(struct br__buf *b, const struct br__session *s)
{
    br__buf_puts(b, "\"side_files\": [");
    for (size_t i = 0; i < s->side.n; i++)
        put_file(b, i, s->side.files[i].name, s->side.files[i].size, s->side.files[i].xxh3);
    br__buf_puts(b, "],\n");
}

static void put_head(struct br__buf *b, const struct br__session *s)
{
    int import = s->plan->direction == BR__IMPORT;
    b->max = MANIFEST_MAX;
    br__buf_printf(b, "{\"bridge_manifest\": 1, \"bridge\": \"%s\", \"direction\": \"%s\",\n",
                   br_version(), import ? "import" : "export");
    br__buf_printf(b, "\"model_type\": \"%s\",\n", s->arch->model_type);
    put_options(b, s);
    br__buf_puts(b, "\"config\": ");
    put_str_or_null(b, s->config_text);
    br__buf_puts(b, ",\n\"generation_config\": ");
    put_str_or_null(b, s->generation_text);
    br__buf_puts(b, ",\n");
    put_source(b, s);
    if (import && s->src->hub)
        put_hub(b, s->src);
    put_side_files(b, s);
    put_outputs(b, s);
}

/* crcs: of an import, else NULL. */
static void put_digests(struct br__buf *b, const struct br__session *s, const uint64_t *digests,
                        const uint32_t *crcs)
{
    br__buf_puts(b, DIGESTS);
    for (size_t i = 0; i < s->plan->n_pieces; i++)
        br__buf_printf(b, "%s\"%016" PRIx64 "\"", !i ? "\n " : i % 4 ? ", " : ",\n ", digests[i]);
    if (crcs)
        br__buf_puts(b, "],\n\"crc32\": [");
    for (size_t i = 0; crcs && i < s->plan->n_pieces; i++)
        br__buf_printf(b, "%s\"%08" PRIx32 "\"", !i ? "\n " : i % 8 ? ", " : ",\n ", crcs[i]);
    br__buf_puts(b, "],\n");
}

/* The files of `dir` as they are there now; BR_E_NOTFOUND if one is not. */
static int put_written(struct br__buf *b, const struct br__names *files, const char *dir,
                       struct br_err *err)
{
    struct br__arena a = {0};
    int rc = BR_OK;
    br__buf_puts(b, "\"files\": [");
    for (size_t i = 0; i < files->n && !rc; i++) {
        struct br__side_file f = {.name = files->p[i]};
        const char *path = br__path_join(&a, dir, f.name);
        rc = path ? br__file_digest(path, &f.size, &f.xxh3, err)
                  : br__nomem(err, "with the manifest");
        put_file(b, i, f.name, f.size, f.xxh3);
    }
    br__buf_puts(b, "]}\n");
    br__arena_free(&a);
    return rc ? rc : b->failed ? br__nomem(err, "with the manifest") : BR_OK;
}

int br__manifest_write(const struct br__session *s, const uint64_t *digests, const uint32_t *crcs,
                       const struct br__names *files, const struct br__dir *d, int sync,
                       struct br_err *err)
{
    struct br__buf b = {0};
    put_head(&b, s);
    put_digests(&b, s, digests, crcs);
    int rc = put_written(&b, files, d->path, err);
    if (!rc)
        rc = br__write_in(d, BR__MANIFEST, b.p, b.n, sync, err);
    br__buf_free(&b);
    return rc;
}

/* ---- reading: the source's inventory as a reference ------------------------------------------ */

static int manifest_bad(const char *path, const char *what, struct br_err *err)
{
    return br_fail(err, BR_E_FORMAT, "'%s': bad %s; remove the file to do without it", path, what);
}

static int read_tensor(struct br__ckpt *ck, const br__json *row, const char *path,
                       struct br_err *err)
{
    const br__json *name = br__json_first(row), *dtype = br__json_next(name),
                   *shape = br__json_next(dtype);
    const br__json *file = br__json_next(shape);
    struct br__tensor *t = &ck->tensors[ck->n_tensors];
    uint64_t d;
    t->dtype = br_dtype_from_torch(br__json_str(dtype, ""));
    t->name = br__arena_strdup(&ck->arena, br__json_str(name, ""));
    if (!t->name)
        return br__nomem(err, "with the manifest");
    if (!*t->name || t->dtype == BR_NONE || br__json_kind(shape) != 'a' ||
        br__json_count(shape) > BR_MAX_DIMS || br__json_u64(file, &d) || d >= ck->n_files)
        return manifest_bad(path, "source_tensors row", err);
    t->file = (uint32_t)d;
    for (const br__json *j = br__json_first(shape); j; j = br__json_next(j)) {
        if (br__json_u64(j, &d))
            return manifest_bad(path, "shape in source_tensors", err);
        t->shape[t->ndim++] = (int64_t)d;
    }
    if (br_shape_bytes(t->shape, t->ndim, br_dtype_size(t->dtype), &t->bytes) ||
        br__map_put(&ck->by_name, t->name, (uint32_t)ck->n_tensors))
        return manifest_bad(path, "tensor in source_tensors", err);
    ck->n_tensors++;
    return BR_OK;
}

static int read_files(struct br__ckpt *ck, const br__json *files, const char *path,
                      struct br_err *err)
{
    size_t n = br__json_count(files);
    ck->file_names = br__arena_alloc(&ck->arena, (n + 1) * sizeof *ck->file_names);
    ck->hf->metadata_json = br__arena_alloc(&ck->arena, (n + 1) * sizeof *ck->hf->metadata_json);
    struct br__map seen = {0}; /* two shards of one name would be written into one file */
    int rc = ck->file_names && ck->hf->metadata_json && !br__map_init(&seen, n)
                 ? BR_OK
                 : br__nomem(err, "with the manifest");
    for (const br__json *j = br__json_first(files); j && !rc; j = br__json_next(j)) {
        const char *name = br__json_str(br__json_get(j, "name"), "");
        const char *meta = br__json_str(br__json_get(j, "metadata"), NULL);
        if (!br__ends(name, ".safetensors") || strchr(name, '/') || br__map_put(&seen, name, 0)) {
            rc = manifest_bad(path, "or repeated file name in source_files", err);
            break;
        }
        ck->file_names[ck->n_files] = br__arena_strdup(&ck->arena, name);
        ck->hf->metadata_json[ck->n_files] = meta ? br__arena_strdup(&ck->arena, meta) : NULL;
        if (!ck->file_names[ck->n_files++])
            rc = br__nomem(err, "with the manifest");
    }
    br__map_free(&seen);
    return rc;
}

static int read_texts(struct br__ckpt *ck, const br__json *m, const char *path, struct br_err *err)
{
    const char *config = br__json_str(br__json_get(m, "config"), NULL);
    const char *generation = br__json_str(br__json_get(m, "generation_config"), NULL);
    if (!config)
        return manifest_bad(path, "config", err);
    ck->hf->config_text = br__strdup(config);
    ck->hf->config_size = strlen(config);
    if (generation) {
        ck->hf->generation_text = br__strdup(generation);
        ck->hf->generation_size = strlen(generation);
    }
    return ck->hf->config_text && (!generation || ck->hf->generation_text)
               ? BR_OK
               : br__nomem(err, "with the manifest");
}

static int read_manifest(struct br__ckpt *ck, const br__json *m, const char *path,
                         struct br_err *err)
{
    const br__json *rows = br__json_get(m, "source_tensors");
    size_t n = br__json_count(rows);
    ck->tensors = br__arena_alloc(&ck->arena, (n + 1) * sizeof *ck->tensors);
    if (!ck->tensors || br__map_init(&ck->by_name, n))
        return br__nomem(err, "with the manifest");
    int rc = read_texts(ck, m, path, err);
    if (!rc)
        rc = read_files(ck, br__json_get(m, "source_files"), path, err);
    /* A source tensor that the import left out cannot be listed as one that the checkpoint holds.
     */
    for (const br__json *j = br__json_first(rows); j && !rc; j = br__json_next(j)) {
        const br__json *use = br__json_first(j);
        for (int i = 0; i < 4; i++)
            use = br__json_next(use);
        int u = (int)br__json_num(use, 0);
        if (u == BR__USED || u == BR__TIED_COPY)
            rc = read_tensor(ck, j, path, err);
    }
    return rc;
}

int br__manifest_load(struct br__arena *a, const char *dir, const char **path, br__json **m,
                      struct br_err *err)
{
    char *text = NULL;
    size_t n;
    *m = NULL;
    *path = br__path_join(a, dir, BR__MANIFEST);
    int rc = *path ? br__read_text(*path, MANIFEST_MAX, &text, &n, err)
                   : br__nomem(err, "with the manifest");
    if (rc == BR_E_NOTFOUND) {
        if (err)
            *err = (struct br_err)BR_ERR_INIT;
        return BR_OK;
    }
    if (!rc && (rc = br__json_parse(m, text, n, err)))
        br_wrap(err, "'%s'", *path);
    br__free(text);
    return rc;
}

int br__manifest_source(const char *dir, struct br__ckpt **out, struct br_err *err)
{
    struct br__arena a = {0};
    const char *path;
    br__json *m;
    *out = NULL;
    int rc = br__manifest_load(&a, dir, &path, &m, err);
    if (rc || !m) {
        br__arena_free(&a);
        return rc;
    }
    struct br__ckpt *ck = br__hf_new(path);
    if (!ck)
        rc = br__nomem(err, "with the manifest");
    else if (!strcmp(br__json_str(br__json_get(m, "direction"), ""), "import"))
        rc = read_manifest(ck, m, path, err);
    else
        rc = manifest_bad(path, "direction", err);
    if (rc)
        br__ckpt_close(ck);
    else
        *out = ck;
    br__json_free(m);
    br__arena_free(&a);
    return rc;
}

/* ---- up to date? ----------------------------------------------------------------------------- */

/* Do the digests of the source give the n bytes in the middle of the text?  Of a hub's model equal
 * commits and etags mean equal bytes, which are not read again. */
static int same_digests(const struct br__session *s, const char *text, size_t n, int *same,
                        struct br_err *err)
{
    struct br__buf b = {.max = MANIFEST_MAX};
    *same = s->src->hub != NULL;
    if (*same)
        return BR_OK;
    int import = s->plan->direction == BR__IMPORT;
    uint64_t *digests = br__calloc(s->plan->n_pieces + 1, sizeof *digests);
    uint32_t *crcs = br__calloc(s->plan->n_pieces + 1, sizeof *crcs);
    int rc = digests && crcs ? br__plan_digests(s, "checking", digests, import ? crcs : NULL, err)
                             : br__nomem(err, "with the manifest");
    if (!rc)
        put_digests(&b, s, digests, import ? crcs : NULL);
    if (!rc && b.failed)
        rc = br__nomem(err, "with the manifest");
    *same = !rc && n == b.n && !memcmp(text, b.p, n);
    br__buf_free(&b);
    br__free(digests);
    br__free(crcs);
    return rc;
}

/* Cheap comparisons first: the text before the digests, then the listed files behind them. */
static int compare_text(const struct br__session *s, const struct br__names *files, const char *dir,
                        const char *text, size_t n, int *same, struct br_err *err)
{
    struct br__buf head = {0}, tail = {.max = MANIFEST_MAX};
    put_head(&head, s);
    int rc = head.failed ? br__nomem(err, "with the manifest") : BR_OK;
    *same = !rc && n > head.n && !memcmp(text, head.p, head.n);
    if (*same) { /* a file that cannot be read is not up to date */
        int written = put_written(&tail, files, dir, NULL);
        rc = written == BR_E_NOMEM ? br__nomem(err, "with the manifest") : BR_OK;
        *same = !written && n - head.n > tail.n && !memcmp(text + n - tail.n, tail.p, tail.n);
    }
    if (*same)
        rc = same_digests(s, text + head.n, n - head.n - tail.n, same, err);
    br__buf_free(&head);
    br__buf_free(&tail);
    return rc;
}

int br__manifest_up_to_date(const struct br__session *s, const struct br__names *files,
                            const char *dir, int *yes, struct br_err *err)
{
    struct br__arena a = {0};
    char *text = NULL;
    size_t n;
    *yes = 0;
    const char *path = br__path_join(&a, dir, BR__MANIFEST);
    int rc = path ? br__read_text(path, MANIFEST_MAX, &text, &n, err)
                  : br__nomem(err, "with the manifest");
    br__arena_free(&a);
    if (rc == BR_E_NOTFOUND || rc == BR_E_FORMAT)
        return BR_OK;
    if (!rc)
        rc = compare_text(s, files, dir, text, n, yes, err);
    br__free(text);
    return rc;
}
