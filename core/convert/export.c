/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* export.c - Megatron torch_dist to a Hugging Face directory: shards, index, config.json and the
 * files that travel with a model. */
#include "job.h"

#include <string.h>

#define CONFIG "config.json"
#define GENERATION "generation_config.json"
#define INDEX "model.safetensors.index.json"

/* A run of pieces of one shard: what one thread writes, and the unit of resuming.  A shard has
 * several, because one thread does not saturate the page cache. */
struct part {
    uint32_t file;
    size_t first, n; /* pieces */
    uint64_t off;    /* of the first piece in the file */
};
#define PART_BYTES (128u << 20)

struct exporter {
    struct br__session *s;
    struct br__arena a;
    struct br__work w;
    const char *dest;
    struct br__names files;  /* of the result besides weights and manifest */
    struct br__names names;  /* all of them, and the journal */
    struct br__buf *headers; /* per shard */
    size_t *first, *count;   /* per shard: its run of pieces */
    struct part *parts;
    size_t n_parts;
    uint64_t *file_bytes;
    uint64_t *digests; /* per piece */
    struct br__progress progress;
    _Atomic uint64_t resumed;
    int sync;
    struct br_err *err;
};

/* ---- layout ---------------------------------------------------------------------------------- */

static int shard_header(struct exporter *m, size_t file)
{
    const struct br__plan *p = m->s->plan;
    struct br__st_entry *e = br__arena_alloc(&m->a, (m->count[file] + 1) * sizeof *e);
    if (!e)
        return br__nomem(m->err, "exporting");
    for (size_t i = 0; i < m->count[file]; i++) {
        const struct br__plan_out *o = &p->outs[p->pieces[m->first[file] + i].out];
        e[i] = (struct br__st_entry){.name = o->name, .dtype = o->dtype, .ndim = o->ndim};
        memcpy(e[i].shape, o->shape, sizeof o->shape);
        m->file_bytes[file] += p->pieces[m->first[file] + i].bytes;
    }
    m->headers[file].max = BR__ST_HEADER_MAX;
    if (br__st_header(&m->headers[file], e, m->count[file], p->out_metadata[file]))
        return br__nomem(m->err, "exporting");
    m->file_bytes[file] += m->headers[file].n;
    return BR_OK;
}

static int split_parts(struct exporter *m)
{
    const struct br__plan *p = m->s->plan;
    uint64_t at = 0, filled = 0;
    m->parts = br__arena_alloc(&m->a, (p->n_pieces + 1) * sizeof *m->parts);
    if (!m->parts)
        return br__nomem(m->err, "exporting");
    for (size_t i = 0; i < p->n_pieces; i++) {
        uint32_t f = p->outs[p->pieces[i].out].file;
        if (i == m->first[f])
            at = m->headers[f].n;
        if (i == m->first[f] || filled >= PART_BYTES) {
            m->parts[m->n_parts++] = (struct part){f, i, 0, at};
            filled = 0;
        }
        m->parts[m->n_parts - 1].n++;
        filled += p->pieces[i].bytes;
        at += p->pieces[i].bytes;
    }
    return BR_OK;
}

static int lay_out(struct exporter *m)
{
    const struct br__plan *p = m->s->plan;
    size_t n = p->n_out_files + 1;
    m->headers = br__arena_alloc(&m->a, n * sizeof *m->headers);
    m->first = br__arena_alloc(&m->a, n * sizeof *m->first);
    m->count = br__arena_alloc(&m->a, n * sizeof *m->count);
    m->file_bytes = br__arena_alloc(&m->a, n * sizeof *m->file_bytes);
    m->digests = br__arena_alloc(&m->a, (p->n_pieces + 1) * sizeof *m->digests);
    if (!m->headers || !m->first || !m->count || !m->file_bytes || !m->digests)
        return br__nomem(m->err, "exporting");
    for (size_t i = 0; i < p->n_pieces; i++) {
        uint32_t f = p->outs[p->pieces[i].out].file;
        if (!m->count[f]++)
            m->first[f] = i;
    }
    int rc = BR_OK;
    for (size_t f = 0; f < p->n_out_files && !rc; f++)
        rc = shard_header(m, f);
    return rc ? rc : split_parts(m);
}

/* ---- one part -------------------------------------------------------------------------------- */

struct part_job {
    struct exporter *m;
    struct br__scratch scratch;
    unsigned char *buf;
    struct br__xxh3 *hash;
};

static int write_piece(struct part_job *job, size_t piece, struct br__out *out, struct br_err *err)
{
    struct exporter *m = job->m;
    uint64_t bytes = m->s->plan->pieces[piece].bytes;
    br__xxh3_reset(job->hash);
    for (uint64_t off = 0; off < bytes; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, bytes - off);
        unsigned char *dst = br__out_reserve(out, n, err);
        int rc =
            dst ? br__piece_read(m->s->plan, piece, off, dst, n, &job->scratch, err) : out->failed;
        if (rc)
            return rc;
        br__xxh3_update(job->hash, dst, n);
        br__out_commit(out, n);
        br__progress_add(&m->progress, n);
    }
    m->digests[piece] = br__xxh3_digest(job->hash);
    return BR_OK;
}

static int write_part(struct part_job *job, size_t index, const char *name, struct br_err *err)
{
    struct exporter *m = job->m;
    const struct part *part = &m->parts[index];
    struct br__out out;
    int rc = br__out_open_at(&out, &m->w.tmp, name, part->off, m->sync, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < part->n && !rc; i++)
        rc = write_piece(job, part->first + i, &out, err);
    if (rc)
        br__out_abort(&out);
    else
        rc = br__out_finish(&out, err);
    return rc ? rc : br__work_done(&m->w, index, m->digests + part->first, part->n, err);
}

/* Trust a part that the journal calls finished only after reading it back. */
static int prove_part(struct part_job *job, size_t index, const char *name, int *ok,
                      struct br_err *err)
{
    struct exporter *m = job->m;
    const struct part *part = &m->parts[index];
    const uint64_t *journal = m->w.digests[index];
    struct br__file f;
    *ok = 0;
    if (!journal || journal[0] != part->n || br__file_open_in(&f, &m->w.tmp, name, NULL))
        return BR_OK;
    uint64_t at = part->off;
    int rc = BR_OK;
    *ok = f.size == m->file_bytes[part->file];
    for (size_t i = 0; i < part->n && *ok && !rc; i++) {
        uint64_t bytes = m->s->plan->pieces[part->first + i].bytes;
        br__xxh3_reset(job->hash);
        for (uint64_t off = 0; off < bytes && !rc; off += BR__OUT_BUF) {
            size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, bytes - off);
            rc = br__file_read(&f, at + off, job->buf, n, err);
            br__xxh3_update(job->hash, job->buf, rc ? 0 : n);
        }
        *ok = br__xxh3_digest(job->hash) == journal[1 + i];
        m->digests[part->first + i] = journal[1 + i];
        at += bytes;
    }
    br__file_close(&f);
    return rc;
}

static uint64_t part_bytes(const struct exporter *m, const struct part *part)
{
    uint64_t n = 0;
    for (size_t i = 0; i < part->n; i++)
        n += m->s->plan->pieces[part->first + i].bytes;
    return n;
}

static int export_part(struct part_job *job, size_t index, struct br_err *err)
{
    struct exporter *m = job->m;
    const char *name = m->s->plan->out_files[m->parts[index].file];
    int proven = 0, rc = prove_part(job, index, name, &proven, err);
    if (rc || !proven)
        return rc ? rc : write_part(job, index, name, err);
    uint64_t n = part_bytes(m, &m->parts[index]);
    atomic_fetch_add(&m->resumed, n);
    br__progress_add(&m->progress, n);
    return BR_OK;
}

static int run_part(void *arg, size_t index, int worker, struct br_err *err)
{
    struct part_job job = {arg, {br__alloc(BR__OUT_BUF)}, br__alloc(BR__OUT_BUF), br__xxh3_new()};
    (void)worker;
    int rc = job.scratch.buf && job.buf && job.hash ? export_part(&job, index, err)
                                                    : br__nomem(err, "exporting");
    br__xxh3_free(job.hash);
    br__free(job.buf);
    br__free(job.scratch.buf);
    return rc;
}

/* Make every shard with its size and header before parts are written into it; one that an
 * interrupted run left keeps its bytes. */
static int prepare_shard(struct exporter *m, size_t file)
{
    struct br__out out;
    struct stat st;
    const char *name = m->s->plan->out_files[file];
    int rc = BR_OK;
    if (br__dir_stat(&m->w.tmp, name, &st) || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != m->file_bytes[file])
        rc = br__dir_remove(&m->w.tmp, name, m->err);
    if (!rc && br__dir_stat(&m->w.tmp, name, &st))
        rc = br__create_sized(&m->w.tmp, name, m->file_bytes[file], m->err);
    if (!rc)
        rc = br__out_open_at(&out, &m->w.tmp, name, 0, m->sync, m->err);
    if (rc)
        return rc;
    rc = br__out_write(&out, m->headers[file].p, m->headers[file].n, m->err);
    if (rc)
        br__out_abort(&out);
    return rc ? rc : br__out_finish(&out, m->err);
}

/* ---- config.json ----------------------------------------------------------------------------- */

/* The dtype for config.json: its own, as long as a tensor has it, else that of most bytes (the
 * weights were cast, here or by the import). */
static int written_dtype(const struct br__session *s)
{
    const struct br__plan *p = s->plan;
    uint64_t bytes[BR_N_DTYPES] = {0};
    int best = s->cfg.dtype;
    for (size_t i = 0; i < p->n_pieces; i++)
        bytes[p->outs[p->pieces[i].out].dtype] += p->pieces[i].bytes;
    for (int d = 0; d < BR_N_DTYPES && !bytes[s->cfg.dtype]; d++)
        if (bytes[d] > bytes[best])
            best = d;
    return best;
}

/* config.json unchanged, except where the written weights contradict it. */
static int edit_config(struct exporter *m, br__json *json, int *edited)
{
    const struct br__session *s = m->s;
    int rc = BR_OK;
    *edited = 0;
    if (br__json_get(
            json,
            "quantization_config")) { /* with it transformers would read bf16 weights as FP8 */
        br__json_remove(json, "quantization_config");
        br__note(
            s->job.listener,
            "config.json: quantization_config is dropped, the exported weights are not quantised");
        *edited = 1;
    }
    if (s->plan->b.untied && br__json_bool(br__json_get(json, "tie_word_embeddings"), 0)) {
        rc = br__json_set(json, "tie_word_embeddings", "false", m->err);
        br__note(s->job.listener,
                 "config.json: tie_word_embeddings becomes false, the output layer is "
                 "a tensor of its own");
        *edited = 1;
    }
    static const char *const dtype_keys[] = {"dtype", "torch_dtype"};
    char text[32];
    int dtype = written_dtype(s);
    snprintf(text, sizeof text, "\"%s\"", br_dtype_torch(dtype));
    for (size_t i = 0; i < BR_COUNTOF(dtype_keys) && dtype != s->cfg.dtype && !rc; i++)
        if (br__json_get(json, dtype_keys[i])) {
            rc = br__json_set(json, dtype_keys[i], text, m->err);
            *edited = 1;
        }
    static const char *const mtp_keys[] = {"num_nextn_predict_layers", "mtp_num_hidden_layers"};
    for (size_t i = 0; i < BR_COUNTOF(mtp_keys) && !rc; i++)
        if (!s->cfg.n_mtp && br__json_num(br__json_get(json, mtp_keys[i]), 0) > 0) {
            rc = br__json_set(json, mtp_keys[i], "0", m->err);
            *edited = 1;
        }
    return rc;
}

static int export_put(struct exporter *m, const char *name, const void *p, size_t n)
{
    return br__write_in(&m->w.tmp, name, p, n, m->sync, m->err);
}

static int put_config(struct exporter *m)
{
    const char *text = m->s->config_text;
    br__json *json;
    struct br__buf b = {0};
    int edited, rc = br__json_parse(&json, text, strlen(text), m->err);
    if (rc)
        return rc;
    rc = edit_config(m, json, &edited);
    if (!rc && edited)
        rc = br__json_print(json, 0, &b) ? br__nomem(m->err, "exporting")
                                         : export_put(m, CONFIG, b.p, b.n);
    else if (!rc)
        rc = export_put(m, CONFIG, text, strlen(text));
    br__buf_free(&b);
    br__json_free(json);
    return rc;
}

/* ---- small files ----------------------------------------------------------------------------- */

/* Find tokenizer, chat template, generation_config and custom code: of the reference, or kept by
 * the import. */
static int find_side_files(struct exporter *m)
{
    struct br__session *s = m->s;
    if (s->job.hf_model)
        return br__side_find(&s->arena, s->ref->dir, 0, &s->side, m->err);
    const char *tokenizer = br__path_join(&s->arena, s->src->dir, "tokenizer");
    if (!tokenizer)
        return br__nomem(m->err, "exporting");
    return br__side_find(&s->arena, br__is_dir(tokenizer) ? tokenizer : NULL, 1, &s->side, m->err);
}

/* What the checkpoint's manifest holds of generation_config.json; a reference has the file. */
static const char *generation_text(const struct exporter *m)
{
    return m->s->job.hf_model ? NULL : m->s->generation_text;
}

static int put_side_files(struct exporter *m)
{
    const char *text = generation_text(m);
    int rc = br__side_copy(&m->s->side, &m->w.tmp, m->sync, m->err);
    return rc || !text ? rc : export_put(m, GENERATION, text, strlen(text));
}

static int wants_index(const struct exporter *m)
{
    const struct br__plan *p = m->s->plan;
    return p->n_out_files > 1 || strcmp(p->out_files[0], "model.safetensors") != 0 ||
           (m->s->ref && m->s->ref->hf->has_index);
}

static int put_index(struct exporter *m)
{
    const struct br__plan *p = m->s->plan;
    struct br__buf b = {.max = 256u << 20};
    if (!wants_index(m))
        return BR_OK;
    const char **names = br__arena_alloc(&m->a, (p->n_outs + 1) * sizeof *names);
    const char **files = br__arena_alloc(&m->a, (p->n_outs + 1) * sizeof *files);
    if (!names || !files)
        return br__nomem(m->err, "exporting");
    for (size_t i = 0; i < p->n_outs; i++) {
        names[i] = p->outs[i].name;
        files[i] = p->out_files[p->outs[i].file];
    }
    int rc = br__hf_index_text(&b, names, files, p->n_outs, p->out_bytes)
                 ? br__nomem(m->err, "exporting")
                 : BR_OK;
    if (!rc)
        rc = export_put(m, INDEX, b.p, b.n);
    br__buf_free(&b);
    return rc;
}

/* The files that the manifest lists, and all names of the result. */
static int list_files(struct exporter *m)
{
    const struct br__plan *p = m->s->plan;
    size_t n = m->s->side.n + 3;
    m->files.p = br__arena_alloc(&m->a, n * sizeof *m->files.p);
    m->names.p = br__arena_alloc(&m->a, (n + p->n_out_files + 2) * sizeof *m->names.p);
    if (!m->files.p || !m->names.p)
        return br__nomem(m->err, "exporting");
    m->files.p[m->files.n++] = CONFIG;
    for (size_t i = 0; i < m->s->side.n; i++)
        m->files.p[m->files.n++] = m->s->side.files[i].name;
    if (generation_text(m))
        m->files.p[m->files.n++] = GENERATION;
    if (wants_index(m))
        m->files.p[m->files.n++] = INDEX;
    memcpy(m->names.p, m->files.p, m->files.n * sizeof *m->names.p);
    m->names.n = m->files.n;
    for (size_t i = 0; i < p->n_out_files; i++)
        m->names.p[m->names.n++] = p->out_files[i];
    m->names.p[m->names.n++] = BR__MANIFEST;
    m->names.p[m->names.n++] = BR__JOURNAL;
    return BR_OK;
}

/* ---- destination ----------------------------------------------------------------------------- */

static int check_space(const struct exporter *m)
{
    uint64_t need = (1u << 20) + br__side_bytes(&m->s->side) +
                    (m->s->src->n_tensors + m->s->plan->n_outs) * 512;
    for (size_t i = 0; i < m->s->plan->n_out_files; i++)
        need += m->file_bytes[i];
    return br__work_space(&m->w, &m->w.tmp, need, m->err);
}

/* May --overwrite delete a file of this name?  Only what a model directory is known to hold. */
static int is_model_file(const char *name)
{
    static const char *const known[] = {
        CONFIG, INDEX, GENERATION, BR__MANIFEST, BR__JOURNAL, ".gitattributes", ".gitignore"};
    for (size_t i = 0; i < BR_COUNTOF(known); i++)
        if (!strcmp(name, known[i]))
            return 1;
    return br__ends(name, ".safetensors") || br__hf_is_side_file(name, 0);
}

/* Check the directory that would be replaced: it must hold a model and nothing else. */
static int may_replace(struct exporter *m, char **names, size_t n)
{
    int has_config = 0;
    for (size_t i = 0; i < n; i++) {
        const char *path = br__path_join(&m->a, m->dest, names[i]);
        if (!path)
            return br__nomem(m->err, "exporting");
        has_config |= !strcmp(names[i], CONFIG);
        if (br__is_dir(path))
            return br_fail(m->err, BR_E_EXISTS,
                           "'%s' holds a directory '%s'; --overwrite replaces only a plain model "
                           "directory",
                           m->dest, names[i]);
        if (!is_model_file(names[i]))
            return br_fail(m->err, BR_E_EXISTS,
                           "'%s' holds '%s', which is no part of a model; --overwrite would delete "
                           "it: move it away",
                           m->dest, names[i]);
    }
    return has_config ? BR_OK
                      : br_fail(m->err, BR_E_EXISTS,
                                "'%s' holds files but no config.json; --overwrite replaces only a "
                                "model directory",
                                m->dest);
}

static int files_complete(struct exporter *m)
{
    struct stat st;
    for (size_t i = 0; i < m->s->plan->n_out_files; i++) {
        const char *path = br__path_join(&m->a, m->dest, m->s->plan->out_files[i]);
        if (!path || br__io.stat(path, &st) || !S_ISREG(st.st_mode) ||
            (uint64_t)st.st_size != m->file_bytes[i])
            return 0;
    }
    return 1;
}

/* What is at the destination. */
struct dest {
    char **names; /* without the temporary directory */
    size_t n;
    int complete, started; /* the result is there; a temporary directory is in it */
};

static int export_examine(struct exporter *m, struct dest *d)
{
    char **names;
    size_t n = 0;
    *d = (struct dest){0};
    if (!br__exists(m->dest))
        return BR_OK;
    if (!br__is_dir(m->dest))
        return br_fail(m->err, BR_E_EXISTS, "'%s' exists and is no directory", m->dest);
    int rc = br__list_dir(&m->a, m->dest, &names, &n, m->err);
    d->names = names;
    for (size_t i = 0; i < n && !rc; i++)
        if (strcmp(names[i], BR__WORK_INSIDE) != 0)
            d->names[d->n++] = names[i];
        else
            d->started = 1;
    if (!rc && d->n && files_complete(m))
        rc = br__manifest_up_to_date(m->s, &m->files, m->dest, &d->complete, m->err);
    return rc;
}

static int may_write(struct exporter *m, const struct dest *d)
{
    if (!d->n || m->w.publishing)
        return BR_OK;
    if (!(m->s->job.flags & BR_JOB_OVERWRITE))
        return br_fail(m->err, BR_E_EXISTS,
                       "'%s' is not empty and is not the complete result of this export; use "
                       "--overwrite",
                       m->dest);
    return may_replace(m, d->names, d->n);
}

static int export_begin(struct exporter *m, const struct dest *d)
{
    m->w.replace = d->n > 0;
    int rc = br__work_begin(&m->w, m->n_parts, m->err);
    return rc || m->w.publishing ? rc : check_space(m);
}

/* Look at the destination again under the lock: another process may have finished meanwhile. */
static int open_destination(struct exporter *m, int *up_to_date)
{
    struct dest d;
    int rc = export_examine(m, &d);
    *up_to_date = d.complete;
    if (rc || d.complete || (!d.started && (rc = may_write(m, &d))))
        return rc;
    rc = br__work_lock(&m->w, m->dest, br__session_fingerprint(m->s), m->sync, m->err);
    if (!rc)
        rc = export_examine(m, &d);
    *up_to_date = d.complete;
    if (rc || d.complete || (rc = may_write(m, &d))) {
        br__work_close(&m->w);
        return rc;
    }
    return export_begin(m, &d);
}

/* Remove files of other jobs first, so that nothing a killed run left is published. */
static int export_commit(struct exporter *m)
{
    int rc = m->w.publishing ? BR_OK : br__dir_empty(&m->w.tmp, m->names.p, m->names.n, m->err);
    if (!rc)
        rc = br__work_commit(&m->w, &m->names, CONFIG, m->err);
    if (!rc && m->w.left)
        br__note(m->s->job.listener, "'%s' could not be removed from '%s'", m->w.left,
                 m->w.parent.path);
    return rc;
}

static int write_all(struct exporter *m)
{
    const struct br__session *s = m->s;
    int rc = BR_OK;
    if (m->w.unlocked)
        br__note(s->job.listener, BR__NO_LOCKS, m->w.parent.path);
    if (m->w.publishing)
        return export_commit(m);
    for (size_t f = 0; f < s->plan->n_out_files && !rc; f++)
        rc = prepare_shard(m, f);
    if (rc)
        return rc;
    br__progress_init(&m->progress, s->job.listener, "exporting", s->plan->out_bytes);
    rc = br__pool_run(s->job.threads, m->n_parts, run_part, m, m->err);
    br__progress_end(&m->progress);
    if (!rc)
        rc = put_side_files(m);
    if (!rc)
        rc = put_config(m);
    if (!rc)
        rc = put_index(m);
    if (!rc)
        rc = br__manifest_write(s, m->digests, NULL, &m->files, &m->w.tmp, m->sync, m->err);
    if (!rc)
        rc = br__ckpt_settle(s->src, m->err);
    return rc ? rc : export_commit(m);
}

static int export_run(struct exporter *m, struct br_job_result *res)
{
    struct br__session *s = m->s;
    char *dest;
    int up_to_date, rc = br__path_abs(&m->a, s->job.hf_path, &dest, m->err);
    if (rc)
        return rc;
    m->dest = dest;
    if ((rc = br__path_overlap(&m->a, s->src->dir, m->dest, m->err)) ||
        (s->job.hf_model && (rc = br__path_overlap(&m->a, s->ref->dir, m->dest, m->err))) ||
        (rc = find_side_files(m)) || (rc = lay_out(m)) || (rc = list_files(m)) ||
        (rc = open_destination(m, &up_to_date)))
        return rc;
    res->up_to_date = (uint32_t)up_to_date;
    if (up_to_date) {
        br__work_tidy(m->dest);
    } else {
        rc = write_all(m);
        res->bytes_written = s->plan->out_bytes;
    }
    br__result_path(res, m->dest);
    res->n_tensors = s->plan->n_outs;
    res->resumed_bytes = atomic_load(&m->resumed);
    return rc;
}

int br_export(const struct br_job *job, struct br_job_result *res, struct br_err *err)
{
    struct exporter m = {.err = err};
    struct br_job_result did = BR_JOB_RESULT_INIT;
    int rc = br__session_open(&m.s, job, BR__EXPORT, err);
    if (rc)
        return rc;
    br__session_report(m.s);
    m.sync = !(job->flags & BR_JOB_NO_SYNC);
    if (!m.s->job.hf_path)
        rc = br_fail(err, BR_E_USAGE, "export needs --hf-path DIR");
    else if (!(job->flags & BR_JOB_DRY_RUN))
        rc = export_run(&m, &did);
    br__result_give(res, &did);
    for (size_t i = 0; m.headers && i < m.s->plan->n_out_files; i++)
        br__buf_free(&m.headers[i]);
    br__work_close(&m.w);
    br__arena_free(&m.a);
    br__session_close(m.s);
    return rc;
}
