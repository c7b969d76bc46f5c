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
    struct br__transfer t;
    const char *dest;
    struct br__names names;  /* of all files of the result, and the journal */
    struct br__buf *headers; /* per shard */
    size_t *first, *count;   /* per shard: its run of pieces */
    struct part *parts;
    size_t n_parts;
    uint64_t *file_bytes; /* per shard */
};

/* ---- layout ---------------------------------------------------------------------------------- */

static int shard_header(struct exporter *m, size_t file)
{
    const struct br__plan *p = m->t.s->plan;
    struct br__st_entry *e = br__arena_alloc(&m->t.a, (m->count[file] + 1) * sizeof *e);
    if (!e)
        return br__nomem(m->t.err, "exporting");
    for (size_t i = 0; i < m->count[file]; i++) {
        const struct br__plan_out *o = &p->outs[p->pieces[m->first[file] + i].out];
        e[i] = (struct br__st_entry){.name = o->name, .dtype = o->dtype, .ndim = o->ndim};
        memcpy(e[i].shape, o->shape, sizeof o->shape);
        m->file_bytes[file] += p->pieces[m->first[file] + i].bytes;
    }
    m->headers[file].max = BR__ST_HEADER_MAX;
    if (br__st_header(&m->headers[file], e, m->count[file], p->out_metadata[file]))
        return br__nomem(m->t.err, "exporting");
    m->file_bytes[file] += m->headers[file].n;
    return BR_OK;
}

static int split_parts(struct exporter *m)
{
    const struct br__plan *p = m->t.s->plan;
    uint64_t at = 0, filled = 0;
    m->parts = br__arena_alloc(&m->t.a, (p->n_pieces + 1) * sizeof *m->parts);
    if (!m->parts)
        return br__nomem(m->t.err, "exporting");
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
    const struct br__plan *p = m->t.s->plan;
    size_t n = p->n_out_files + 1;
    m->headers = br__arena_alloc(&m->t.a, n * sizeof *m->headers);
    m->first = br__arena_alloc(&m->t.a, n * sizeof *m->first);
    m->count = br__arena_alloc(&m->t.a, n * sizeof *m->count);
    m->file_bytes = br__arena_alloc(&m->t.a, n * sizeof *m->file_bytes);
    m->t.weights = (struct br__names){p->out_files, p->n_out_files};
    m->t.weight_bytes = m->file_bytes;
    m->t.digests = br__arena_alloc(&m->t.a, (p->n_pieces + 1) * sizeof *m->t.digests);
    if (!m->headers || !m->first || !m->count || !m->file_bytes || !m->t.digests)
        return br__nomem(m->t.err, "exporting");
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
    struct br__transfer_worker w;
};

static int write_piece(struct part_job *job, size_t piece, struct br__out *out, struct br_err *err)
{
    struct exporter *m = job->m;
    uint64_t bytes = m->t.s->plan->pieces[piece].bytes;
    br__xxh3_reset(job->w.hash);
    for (uint64_t off = 0; off < bytes; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, bytes - off);
        unsigned char *dst = br__out_reserve(out, n, err);
        int rc = dst ? br__piece_read(m->t.s->plan, piece, off, dst, n, &job->w.scratch, err)
                     : out->failed;
        if (rc)
            return rc;
        br__xxh3_update(job->w.hash, dst, n);
        br__out_commit(out, n);
        br__task_did(&m->t.progress, n);
    }
    m->t.digests[piece] = br__xxh3_digest(job->w.hash);
    return BR_OK;
}

static int write_part(struct part_job *job, size_t index, const char *name, struct br_err *err)
{
    struct exporter *m = job->m;
    const struct part *part = &m->parts[index];
    struct br__out out;
    int rc = br__out_open_at(&out, &m->t.w.tmp, name, part->off, m->t.sync, err);
    if (rc)
        return rc;
    for (size_t i = 0; i < part->n && !rc; i++)
        rc = write_piece(job, part->first + i, &out, err);
    if (rc)
        br__out_abort(&out);
    else
        rc = br__out_finish(&out, err);
    return rc ? rc : br__work_done(&m->t.w, index, m->t.digests + part->first, part->n, err);
}

/* Trust a part that the journal calls finished only after reading it back. */
static int prove_part(struct part_job *job, size_t index, const char *name, int *ok,
                      struct br_err *err)
{
    struct exporter *m = job->m;
    const struct part *part = &m->parts[index];
    const uint64_t *journal = m->t.w.digests[index];
    struct br__file f;
    *ok = 0;
    if (!journal || journal[0] != part->n || br__file_open_in(&f, &m->t.w.tmp, name, NULL))
        return BR_OK;
    uint64_t at = part->off;
    int rc = BR_OK;
    *ok = f.size == m->file_bytes[part->file];
    for (size_t i = 0; i < part->n && *ok && !rc; i++) {
        uint64_t bytes = m->t.s->plan->pieces[part->first + i].bytes;
        rc = br__transfer_read_back(&job->w, &f, at, bytes, NULL, err);
        *ok = !rc && br__xxh3_digest(job->w.hash) == journal[1 + i];
        m->t.digests[part->first + i] = journal[1 + i];
        at += bytes;
    }
    br__file_close(&f);
    return rc;
}

static uint64_t export_bytes(const void *arg, size_t index)
{
    const struct exporter *m = arg;
    const struct part *part = &m->parts[index];
    uint64_t n = 0;
    for (size_t i = 0; i < part->n; i++)
        n += m->t.s->plan->pieces[part->first + i].bytes;
    return n;
}

static int export_part(struct part_job *job, size_t index, struct br_err *err)
{
    struct exporter *m = job->m;
    const char *name = m->t.s->plan->out_files[m->parts[index].file];
    int proven = 0, rc = prove_part(job, index, name, &proven, err);
    if (rc || !proven)
        return rc ? rc : write_part(job, index, name, err);
    br__transfer_resumed(&m->t, export_bytes(m, index));
    return BR_OK;
}

static int run_part(void *arg, size_t index, int worker, struct br_err *err)
{
    struct part_job job = {.m = arg};
    (void)worker;
    int rc = br__transfer_worker_open(&job.w, &job.m->t, err);
    if (!rc)
        rc = export_part(&job, index, err);
    br__transfer_worker_close(&job.w);
    return rc;
}

/* Make every shard with its size and header before parts are written into it; one that an
 * interrupted run left keeps its bytes. */
static int prepare_shard(struct exporter *m, size_t file)
{
    struct br__out out;
    struct stat st;
    const char *name = m->t.s->plan->out_files[file];
    int rc = BR_OK;
    if (br__dir_stat(&m->t.w.tmp, name, &st) || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != m->file_bytes[file])
        rc = br__dir_remove(&m->t.w.tmp, name, m->t.err);
    if (!rc && br__dir_stat(&m->t.w.tmp, name, &st))
        rc = br__create_sized(&m->t.w.tmp, name, m->file_bytes[file], m->t.err);
    if (!rc)
        rc = br__out_open_at(&out, &m->t.w.tmp, name, 0, m->t.sync, m->t.err);
    if (rc)
        return rc;
    rc = br__out_write(&out, m->headers[file].p, m->headers[file].n, m->t.err);
    if (rc)
        br__out_abort(&out);
    return rc ? rc : br__out_finish(&out, m->t.err);
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
    const struct br__session *s = m->t.s;
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
        rc = br__json_set(json, "tie_word_embeddings", "false", m->t.err);
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
            rc = br__json_set(json, dtype_keys[i], text, m->t.err);
            *edited = 1;
        }
    static const char *const mtp_keys[] = {"num_nextn_predict_layers", "mtp_num_hidden_layers"};
    for (size_t i = 0; i < BR_COUNTOF(mtp_keys) && !rc; i++)
        if (!s->cfg.n_mtp && br__json_num(br__json_get(json, mtp_keys[i]), 0) > 0) {
            rc = br__json_set(json, mtp_keys[i], "0", m->t.err);
            *edited = 1;
        }
    return rc;
}

static int export_put(struct exporter *m, const char *name, const void *p, size_t n)
{
    return br__write_in(&m->t.w.tmp, name, p, n, m->t.sync, m->t.err);
}

static int put_config(struct exporter *m)
{
    const char *text = m->t.s->config_text;
    br__json *json;
    struct br__buf b = {0};
    int edited, rc = br__json_parse(&json, text, strlen(text), m->t.err);
    if (rc)
        return rc;
    rc = edit_config(m, json, &edited);
    if (!rc && edited)
        rc = br__json_print(json, 0, &b) ? br__nomem(m->t.err, "exporting")
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
    struct br__session *s = m->t.s;
    if (s->job.hf_model)
        return br__side_find(&s->arena, s->ref->dir, 0, &s->side, m->t.err);
    const char *tokenizer = br__path_join(&s->arena, s->src->dir, "tokenizer");
    if (!tokenizer)
        return br__nomem(m->t.err, "exporting");
    return br__side_find(&s->arena, br__is_dir(tokenizer) ? tokenizer : NULL, 1, &s->side,
                         m->t.err);
}

/* What the checkpoint's manifest holds of generation_config.json; a reference has the file. */
static const char *generation_text(const struct exporter *m)
{
    return m->t.s->job.hf_model ? NULL : m->t.s->generation_text;
}

static int put_side_files(struct exporter *m)
{
    const char *text = generation_text(m);
    int rc = br__side_copy(&m->t.s->side, &m->t.w.tmp, m->t.sync, m->t.err);
    return rc || !text ? rc : export_put(m, GENERATION, text, strlen(text));
}

static int wants_index(const struct exporter *m)
{
    const struct br__plan *p = m->t.s->plan;
    return p->n_out_files > 1 || strcmp(p->out_files[0], "model.safetensors") != 0 ||
           (m->t.s->ref && m->t.s->ref->hf->has_index);
}

static int put_index(struct exporter *m)
{
    const struct br__plan *p = m->t.s->plan;
    struct br__buf b = {.max = 256u << 20};
    if (!wants_index(m))
        return BR_OK;
    const char **names = br__arena_alloc(&m->t.a, (p->n_outs + 1) * sizeof *names);
    const char **files = br__arena_alloc(&m->t.a, (p->n_outs + 1) * sizeof *files);
    if (!names || !files)
        return br__nomem(m->t.err, "exporting");
    for (size_t i = 0; i < p->n_outs; i++) {
        names[i] = p->outs[i].name;
        files[i] = p->out_files[p->outs[i].file];
    }
    int rc = br__hf_index_text(&b, names, files, p->n_outs, p->out_bytes)
                 ? br__nomem(m->t.err, "exporting")
                 : BR_OK;
    if (!rc)
        rc = export_put(m, INDEX, b.p, b.n);
    br__buf_free(&b);
    return rc;
}

/* The files that the manifest lists, and all names of the result. */
static int list_files(struct exporter *m)
{
    const struct br__plan *p = m->t.s->plan;
    size_t n = m->t.s->side.n + 3;
    m->t.files.p = br__arena_alloc(&m->t.a, n * sizeof *m->t.files.p);
    m->names.p = br__arena_alloc(&m->t.a, (n + p->n_out_files + 2) * sizeof *m->names.p);
    if (!m->t.files.p || !m->names.p)
        return br__nomem(m->t.err, "exporting");
    m->t.files.p[m->t.files.n++] = CONFIG;
    for (size_t i = 0; i < m->t.s->side.n; i++)
        m->t.files.p[m->t.files.n++] = m->t.s->side.files[i].name;
    if (generation_text(m))
        m->t.files.p[m->t.files.n++] = GENERATION;
    if (wants_index(m))
        m->t.files.p[m->t.files.n++] = INDEX;
    memcpy(m->names.p, m->t.files.p, m->t.files.n * sizeof *m->names.p);
    m->names.n = m->t.files.n;
    for (size_t i = 0; i < p->n_out_files; i++)
        m->names.p[m->names.n++] = p->out_files[i];
    m->names.p[m->names.n++] = BR__MANIFEST;
    m->names.p[m->names.n++] = BR__JOURNAL;
    return BR_OK;
}

/* ---- destination ----------------------------------------------------------------------------- */

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
        const char *path = br__path_join(&m->t.a, m->dest, names[i]);
        if (!path)
            return br__nomem(m->t.err, "exporting");
        has_config |= !strcmp(names[i], CONFIG);
        if (br__is_dir(path))
            return br_fail(m->t.err, BR_E_EXISTS,
                           "'%s' holds a directory '%s'; --overwrite replaces only a plain model "
                           "directory",
                           m->dest, names[i]);
        if (!is_model_file(names[i]))
            return br_fail(m->t.err, BR_E_EXISTS,
                           "'%s' holds '%s', which is no part of a model; --overwrite would delete "
                           "it: move it away",
                           m->dest, names[i]);
    }
    return has_config ? BR_OK
                      : br_fail(m->t.err, BR_E_EXISTS,
                                "'%s' holds files but no config.json; --overwrite replaces only a "
                                "model directory",
                                m->dest);
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
        return br_fail(m->t.err, BR_E_EXISTS, "'%s' exists and is no directory", m->dest);
    int rc = br__list_dir(&m->t.a, m->dest, &names, &n, m->t.err);
    d->names = names;
    for (size_t i = 0; i < n && !rc; i++)
        if (strcmp(names[i], BR__WORK_INSIDE) != 0)
            d->names[d->n++] = names[i];
        else
            d->started = 1;
    return rc || !d->n ? rc : br__transfer_complete(&m->t, m->dest, &d->complete);
}

static int may_write(struct exporter *m, const struct dest *d)
{
    if (!d->n || m->t.w.publishing)
        return BR_OK;
    if (!(m->t.s->job.flags & BR_JOB_OVERWRITE))
        return br_fail(m->t.err, BR_E_EXISTS,
                       "'%s' is not empty and is not the complete result of this export; use "
                       "--overwrite",
                       m->dest);
    return may_replace(m, d->names, d->n);
}

static int export_begin(struct exporter *m, const struct dest *d)
{
    m->t.w.replace = d->n > 0;
    int rc = br__work_begin(&m->t.w, m->n_parts, m->t.err);
    return rc || m->t.w.publishing ? rc : br__transfer_space(&m->t, &m->t.w.tmp, 0);
}

/* Look at the destination again under the lock: another process may have finished meanwhile. */
static int open_destination(struct exporter *m, int *up_to_date)
{
    struct dest d;
    int rc = export_examine(m, &d);
    *up_to_date = d.complete;
    if (rc || d.complete || (!d.started && (rc = may_write(m, &d))))
        return rc;
    rc = br__work_lock(&m->t.w, m->dest, br__session_fingerprint(m->t.s), m->t.sync, m->t.err);
    if (!rc)
        rc = export_examine(m, &d);
    *up_to_date = d.complete;
    if (rc || d.complete || (rc = may_write(m, &d))) {
        br__work_close(&m->t.w);
        return rc;
    }
    return export_begin(m, &d);
}

/* Rank 0 opens the destination; the others follow it. */
static int open_for_all(struct exporter *m, int *up_to_date)
{
    int rc = br__procs_rank() ? BR_OK : open_destination(m, up_to_date);
    int32_t done = *up_to_date;
    rc = br__transfer_begun(&m->t, rc, &done, 1, m->n_parts);
    *up_to_date = done;
    return rc;
}

/* Remove files of other jobs first, so that nothing a killed run left is published. */
static int export_commit(struct exporter *m)
{
    int rc =
        m->t.w.publishing ? BR_OK : br__dir_empty(&m->t.w.tmp, m->names.p, m->names.n, m->t.err);
    return rc ? rc : br__transfer_commit(&m->t, &m->names, CONFIG);
}

static int put_small_files(struct exporter *m)
{
    int rc = put_side_files(m);
    if (rc || (rc = put_config(m)) || (rc = put_index(m)))
        return rc;
    return br__manifest_write(m->t.s, m->t.digests, NULL, &m->t.files, &m->t.w.tmp, m->t.sync,
                              m->t.err);
}

static int export_write(struct exporter *m)
{
    const struct br__session *s = m->t.s;
    const struct br__tasks parts = {
        .n = m->n_parts, .bytes = export_bytes, .run = run_part, .arg = m};
    int rc = BR_OK;
    for (size_t f = 0; f < s->plan->n_out_files && !rc && br__procs_rank() == 0; f++)
        rc = prepare_shard(m, f);
    rc = br__procs_agree(rc, m->t.err);
    if (!rc)
        rc = br__transfer_run(&m->t, &parts);
    if (!rc && br__procs_rank() == 0)
        rc = put_small_files(m);
    if (!rc)
        rc = br__ckpt_settle(s->src, m->t.err);
    return br__procs_agree(rc, m->t.err);
}

static int write_all(struct exporter *m)
{
    if (m->t.w.unlocked)
        br__note(m->t.s->job.listener, BR__NO_LOCKS, m->t.w.parent.path);
    int rc = m->t.w.publishing ? BR_OK : export_write(m);
    if (!rc && br__procs_rank() == 0)
        rc = export_commit(m);
    return br__procs_agree(rc, m->t.err);
}

static int export_run(struct exporter *m, struct br_job_result *res)
{
    struct br__session *s = m->t.s;
    char *dest;
    int up_to_date = 0, rc = br__path_abs(&m->t.a, s->job.hf_path, &dest, m->t.err);
    if (rc)
        return rc;
    m->dest = dest;
    if ((rc = br__path_overlap(&m->t.a, s->src->dir, m->dest, m->t.err)) ||
        (s->job.hf_model && (rc = br__path_overlap(&m->t.a, s->ref->dir, m->dest, m->t.err))) ||
        (rc = find_side_files(m)) || (rc = lay_out(m)) || (rc = list_files(m)) ||
        (rc = open_for_all(m, &up_to_date)))
        return rc;
    if (!up_to_date)
        rc = write_all(m);
    else if (br__procs_rank() == 0)
        br__work_tidy(m->dest);
    br__transfer_result(&m->t, m->dest, up_to_date, res);
    return rc;
}

int br_export(const struct br_job *job, struct br_job_result *res, struct br_err *err)
{
    struct exporter m = {0};
    struct br_job_result did = BR_JOB_RESULT_INIT;
    int rc = br__transfer_open(&m.t, job, BR__EXPORT, "exporting", err);
    if (rc)
        return rc;
    if (!m.t.s->job.hf_path)
        rc = br_fail(err, BR_E_USAGE, "export needs --hf-path DIR");
    else if (!(job->flags & BR_JOB_DRY_RUN))
        rc = export_run(&m, &did);
    br__result_give(res, &did);
    for (size_t i = 0; m.headers && i < m.t.s->plan->n_out_files; i++)
        br__buf_free(&m.headers[i]);
    br__transfer_close(&m.t);
    return rc;
}
