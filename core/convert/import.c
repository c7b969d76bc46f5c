/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* import.c - Hugging Face to Megatron torch_dist: the plan's pieces as .distcp files, then the
 * small files that Megatron Bridge, Megatron-LM and slime each look for.
 *
 * Files and their readers: Megatron Bridge training/checkpointing.py and model_load_save.py,
 * Megatron-LM training/checkpointing.py and core/dist_checkpointing. */
#include "job.h"

#include <string.h>

#define TRACKER_MAX (1u << 20)
#define LOOKS 8 /* at a destination that others change */

struct importer {
    struct br__transfer t;
    struct br__td_plan td;
    size_t n_objects;                    /* items before the first piece */
    const char *root, *iter_name, *iter; /* the destination, and the iteration in it */
    int fresh;                           /* root is made, trackers and all, by one rename */
    int fixed;                           /* root cannot be renamed */
    struct br__dir dir;                  /* of the iteration, as it is written */
    uint32_t *crcs;                      /* per piece */
    struct br__buf common;               /* pickle of the common state, list form */
    struct br__train_counters counters;  /* of a checkpoint without training: the step */
};

/* ---- what goes into the .distcp files -------------------------------------------------------- */

static struct br__run_config_opts run_config_opts(const struct importer *m)
{
    const struct br__session *s = m->t.s;
    return (struct br__run_config_opts){.hf_model_id = s->job.hf_model,
                                        .save = s->job.megatron_path,
                                        .pad_vocab_to = s->job.pad_vocab_to};
}

static int common_state(struct importer *m, struct br__buf *out, int as_list)
{
    const struct br__run_config_opts o = run_config_opts(m);
    struct br__td_common c = {.iteration = m->t.s->job.iteration,
                              .non_homogeneous_layers =
                                  m->t.s->plan->b.x->per_layer &&
                                  !br_cfg_i(&m->t.s->cfg, BR_CFG_HETEREOGENOUS_DIST_CHECKPOINT)};
    int rc = br__mlm_args(&m->t.a, &m->t.s->cfg, &o, &c.args, &c.n_args, m->t.err);
    return rc ? rc : br__td_common_pickle(out, &c, as_list, m->t.err);
}

static int add_name(struct importer *m, struct br__names *list, const char *name)
{
    if (!name)
        return br__nomem(m->t.err, "importing");
    list->p[list->n++] = name;
    return BR_OK;
}

static int lay_out(struct importer *m)
{
    const struct br__plan *p = m->t.s->plan;
    m->t.digests = br__arena_alloc(&m->t.a, (p->n_pieces + 1) * sizeof *m->t.digests);
    m->crcs = br__arena_alloc(&m->t.a, (p->n_pieces + 1) * sizeof *m->crcs);
    if (!m->t.digests || !m->crcs)
        return br__nomem(m->t.err, "importing");
    int rc = br__iteration_tables(&m->t.a, p, &m->td, &m->n_objects, m->t.err);
    if (!rc)
        rc = common_state(m, &m->common, 1);
    m->td.common_pickle = m->common.p;
    m->td.common_pickle_size = m->common.n;
    if (!rc)
        rc = br__td_layout(&m->t.a, &m->td, m->t.err);
    m->t.weights.p = br__arena_alloc(&m->t.a, (m->td.n_files + 1) * sizeof *m->t.weights.p);
    m->t.weight_bytes = m->td.file_bytes;
    if (!rc && !m->t.weights.p)
        rc = br__nomem(m->t.err, "importing");
    for (uint32_t i = 0; i < m->td.n_files && !rc; i++)
        rc = add_name(m, &m->t.weights, br__arena_printf(&m->t.a, BR__TD_FILE, 0u, (unsigned)i));
    return rc;
}

/* ---- one file -------------------------------------------------------------------------------- */

struct file_job {
    struct importer *m;
    struct br__transfer_worker w;
};

static int import_produce(void *arg, size_t item, uint64_t offset, void *dst, size_t n,
                          struct br_err *err)
{
    struct file_job *f = arg;
    struct importer *m = f->m;
    size_t piece = item - m->n_objects;
    int rc = br__piece_read(m->t.s->plan, piece, offset, dst, n, &f->w.scratch, err);
    if (rc)
        return rc;
    if (!offset)
        br__xxh3_reset(f->w.hash);
    br__xxh3_update(f->w.hash, dst, n);
    if (offset + n == m->t.s->plan->pieces[piece].bytes)
        m->t.digests[piece] = br__xxh3_digest(f->w.hash);
    br__task_did(&m->t.progress, n);
    return BR_OK;
}

/* First item of a file and the number of its items: layouts are contiguous runs. */
static void file_items(const struct br__td_plan *td, size_t file, size_t *first, size_t *n)
{
    size_t i = 0;
    while (i < td->n_items && td->items[i].file < file)
        i++;
    *first = i;
    while (i < td->n_items && td->items[i].file == file)
        i++;
    *n = i - *first;
}

/* Is a stored item as planned, and its data as the journal says? */
static int prove_item(struct file_job *job, const struct br__file *f, struct br__td_item *it,
                      uint64_t digest, int *ok, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__zip_rec *recs;
    size_t n;
    int rc = br__zip_read(&a, f->map, f->size, it->item_off, it->item_len, &recs, &n, NULL);
    const struct br__zip_rec *data = rc ? NULL : br__zip_find(recs, n, "data/0");
    *ok = !rc && (it->tensor == BR__TD_OBJECT || (data && data->size == it->data_bytes));
    uint32_t crc = 0;
    rc = *ok && data ? br__transfer_read_back(&job->w, f, data->off, data->size, &crc, err) : BR_OK;
    if (rc)
        *ok = 0;
    if (*ok && data && it->tensor != BR__TD_OBJECT)
        *ok = crc == data->crc && br__xxh3_digest(job->w.hash) == digest;
    it->crc = crc;
    br__arena_free(&a);
    return rc;
}

/* Trust a file that the journal calls finished only after reading it back. */
static int prove_file(struct file_job *job, size_t file, int *ok, struct br_err *err)
{
    char name[32];
    struct importer *m = job->m;
    const uint64_t *journal = m->t.w.digests[file];
    struct br__file f;
    size_t first, n, objects = 0;
    *ok = 0;
    snprintf(name, sizeof name, BR__TD_FILE, 0u, (unsigned)file);
    if (!journal || br__file_open_in(&f, &m->dir, name, NULL))
        return BR_OK;
    file_items(&m->td, file, &first, &n);
    objects = first < m->n_objects ? BR__MIN(n, m->n_objects - first) : 0;
    *ok = f.size == m->td.file_bytes[file] && journal[0] == n - objects;
    int rc = BR_OK;
    for (size_t i = 0; i < n && *ok && !rc; i++) {
        uint64_t digest = i < objects ? 0 : journal[1 + i - objects];
        rc = prove_item(job, &f, &m->td.items[first + i], digest, ok, err);
        if (i >= objects)
            m->t.digests[first + i - m->n_objects] = digest;
    }
    br__file_close(&f);
    return rc;
}

static int write_or_resume(struct file_job *job, size_t file, struct br_err *err)
{
    struct importer *m = job->m;
    size_t first, n;
    int proven = 0, rc = prove_file(job, file, &proven, err);
    if (proven && !rc) {
        br__transfer_resumed(&m->t, m->td.file_bytes[file]);
    } else if (!rc) {
        rc =
            br__td_write_file(&m->td, (uint32_t)file, &m->dir, m->t.sync, import_produce, job, err);
        file_items(&m->td, file, &first, &n);
        size_t objects = first < m->n_objects ? BR__MIN(n, m->n_objects - first) : 0;
        if (!rc)
            rc = br__work_done(&m->t.w, file, m->t.digests + first + objects - m->n_objects,
                               n - objects, err);
    }
    return rc;
}

static int write_file(void *arg, size_t file, int worker, struct br_err *err)
{
    struct file_job job = {.m = arg};
    (void)worker;
    int rc = br__transfer_worker_open(&job.w, &job.m->t, err);
    if (!rc)
        rc = write_or_resume(&job, file, err);
    br__transfer_worker_close(&job.w);
    return rc;
}

/* ---- small files ----------------------------------------------------------------------------- */

static int import_put(struct importer *m, const char *name, const void *p, size_t n)
{
    return br__write_in(&m->dir, name, p, n, m->t.sync, m->t.err);
}

static int put_common(struct importer *m)
{
    struct br__buf b = {0};
    int rc = common_state(m, &b, 0);
    if (!rc)
        rc = br__td_write_common(&m->dir, &b, m->t.sync, m->t.err);
    br__buf_free(&b);
    return rc;
}

static int put_run_config(struct importer *m)
{
    const struct br__run_config_opts o = run_config_opts(m);
    struct br__buf b = {0};
    int rc = br__run_config_text(&b, &m->t.s->cfg, &o, m->t.err);
    if (!rc)
        rc = import_put(m, "run_config.yaml", b.p, b.n);
    br__buf_free(&b);
    return rc;
}

static int put_small_files(struct importer *m)
{
    const struct br__transfer *t = &m->t;
    int rc;
    if ((rc = put_common(m)) ||
        (rc = import_put(m, "metadata.json", br__td_metadata_json, strlen(br__td_metadata_json))) ||
        (rc = put_run_config(m)) ||
        (rc = br__td_write_train_state(&m->dir, BR__TRAIN_STATE, t->s->job.iteration, t->sync,
                                       t->err)) ||
        (rc = br__iteration_tokenizer(&t->s->side, &m->dir, t->sync, t->err)) ||
        (rc = br__iteration_metadata(&m->td, &m->dir, t->sync, t->err)))
        return rc;
    return br__manifest_write(t->s, t->digests, m->crcs, &t->files, &m->dir, t->sync, t->err);
}

/* The files of an iteration that the manifest lists. */
static int list_files(struct importer *m)
{
    static const char *const fixed[] = {"common.pt", "metadata.json", "run_config.yaml",
                                        BR__TRAIN_STATE, BR__METADATA};
    size_t n = BR_COUNTOF(fixed) + m->t.s->side.n;
    m->t.files.p = br__arena_alloc(&m->t.a, n * sizeof *m->t.files.p);
    int rc = m->t.files.p ? BR_OK : br__nomem(m->t.err, "importing");
    for (size_t i = 0; i < BR_COUNTOF(fixed) && !rc; i++)
        rc = add_name(m, &m->t.files, fixed[i]);
    for (size_t i = 0; i < m->t.s->side.n && !rc; i++)
        rc = add_name(m, &m->t.files,
                      br__arena_printf(&m->t.a, BR__TOKENIZER "/%s", m->t.s->side.files[i].name));
    return rc;
}

/* All names directly in the iteration's directory. */
static int list_names(struct importer *m, struct br__names *out)
{
    *out = (struct br__names){
        .p = br__arena_alloc(&m->t.a, (m->t.files.n + m->td.n_files + 3) * sizeof *out->p)};
    int rc = out->p ? BR_OK : br__nomem(m->t.err, "importing");
    for (size_t i = 0; i < m->t.files.n && !rc; i++)
        if (!strchr(m->t.files.p[i], '/'))
            rc = add_name(m, out, m->t.files.p[i]);
    for (size_t i = 0; i < m->t.weights.n && !rc; i++)
        rc = add_name(m, out, m->t.weights.p[i]);
    if (!rc && m->t.s->side.n)
        rc = add_name(m, out, BR__TOKENIZER);
    if (!rc)
        rc = add_name(m, out, BR__MANIFEST);
    return rc ? rc : add_name(m, out, BR__JOURNAL);
}

/* ---- trackers -------------------------------------------------------------------------------- */

/* Of a numbered iteration; NULL: the import is a release. */
static const struct br__train_counters *import_counters(const struct importer *m)
{
    return m->t.s->job.flags & BR_JOB_RELEASE ? NULL : &m->counters;
}

/* Does file `name` of the root have these bytes? */
static int import_holds(struct importer *m, const char *name, const char *want, size_t n)
{
    char *have = NULL;
    size_t n_have = 0;
    const char *path = br__path_join(&m->t.a, m->root, name);
    int same = path && !br__read_text(path, TRACKER_MAX, &have, &n_have, NULL) && n_have == n &&
               !memcmp(have, want, n);
    br__free(have);
    return same;
}

/* Do the trackers of the root name this import? */
static int trackers_agree(struct importer *m)
{
    char text[32];
    const char *state = br__path_join(&m->t.a, m->root, BR__STATE_TRACKER);
    const char *own = br__path_join(&m->t.a, m->iter, BR__TRAIN_STATE);
    char *bytes = NULL;
    size_t n = 0;
    br__tracker_text(import_counters(m), text);
    if (!state || !own || !import_holds(m, BR__TEXT_TRACKER, text, strlen(text)))
        return 0;
    if (m->t.s->job.flags & BR_JOB_RELEASE)
        return !br__exists(state);
    int same = !br__read_text(own, TRACKER_MAX, &bytes, &n, NULL) &&
               import_holds(m, BR__STATE_TRACKER, bytes, n);
    br__free(bytes);
    return same;
}

/* ---- destination ----------------------------------------------------------------------------- */

/* What is at the destination. */
struct dest {
    int exists, fresh; /* root: exists; is absent or empty, so that one rename can make it */
    int bare;          /* root holds nothing but temporary directories */
    int iter_exists, complete;
};

static int import_examine(struct importer *m, struct dest *d)
{
    char **names;
    size_t n = 0;
    int rc = BR_OK;
    *d = (struct dest){.exists = br__exists(m->root), .bare = 1};
    if (d->exists && !br__is_dir(m->root))
        return br_fail(m->t.err, BR_E_EXISTS, "'%s' exists and is no directory", m->root);
    if (d->exists)
        rc = br__list_dir(&m->t.a, m->root, &names, &n, m->t.err);
    for (size_t i = 0; i < n && !rc; i++)
        d->bare &= names[i][0] == '.' && br__ends(names[i], ".bridge-partial");
    d->fresh = !n && !m->fixed;
    d->iter_exists = br__exists(m->iter);
    return rc || !n ? rc : br__transfer_complete(&m->t, m->iter, &d->complete);
}

/* --overwrite replaces an iteration, but not files that are no part of a checkpoint. */
static int check_known(struct importer *m)
{
    static const char *const known[] = {BR__METADATA,      "metadata.json", "common.pt",
                                        "run_config.yaml", BR__TRAIN_STATE, BR__TOKENIZER,
                                        BR__MANIFEST,      BR__JOURNAL};
    char **names;
    size_t n;
    int rc = br__list_dir(&m->t.a, m->iter, &names, &n, m->t.err);
    for (size_t i = 0; i < n && !rc; i++) {
        size_t k = 0;
        while (k < BR_COUNTOF(known) && strcmp(known[k], names[i]) != 0)
            k++;
        if (k == BR_COUNTOF(known) && !br__ends(names[i], ".distcp"))
            rc = br_fail(m->t.err, BR_E_EXISTS,
                         "'%s' holds '%s', which is no part of a checkpoint; --overwrite would "
                         "delete it: move it away",
                         m->iter, names[i]);
    }
    return rc;
}

static int may_write(struct importer *m, const struct dest *d)
{
    if (d->fresh || d->bare || m->t.w.publishing)
        return BR_OK;
    if (!(m->t.s->job.flags & BR_JOB_OVERWRITE))
        return br_fail(m->t.err, BR_E_EXISTS,
                       "'%s' is not empty and is not the complete result of this import; use "
                       "--overwrite to replace its %s",
                       m->root, m->iter_name);
    return d->iter_exists ? check_known(m) : BR_OK;
}

static int import_begin(struct importer *m, const struct dest *d)
{
    m->fresh = d->fresh;
    m->t.w.replace = !d->fresh && d->iter_exists;
    int rc = br__work_begin(&m->t.w, m->td.n_files, m->t.err);
    if (rc || m->t.w.publishing)
        return rc;
    rc = m->fresh ? br__dir_child(&m->dir, &m->t.w.tmp, m->iter_name, 1, m->t.err)
                  : br__dir_child(&m->dir, &m->t.w.parent, m->t.w.tmp_name, 0, m->t.err);
    return rc ? rc : br__transfer_space(&m->t, &m->dir, m->td.n_items);
}

/* Decide between a new root, an iteration in an existing root, and nothing to do.  The destination
 * is examined again under the lock, since another process may have finished meanwhile. */
static int open_destination(struct importer *m, int *up_to_date)
{
    struct dest before, d;
    for (int i = 0; i < LOOKS; i++) {
        int rc = import_examine(m, &before);
        *up_to_date = before.complete;
        if (rc || before.complete || (rc = may_write(m, &before)))
            return rc;
        rc = br__work_lock(&m->t.w, before.fresh ? m->root : m->iter,
                           br__session_fingerprint(m->t.s), m->t.sync, m->t.err);
        if (rc)
            return rc;
        m->fixed = before.fresh && m->t.w.inside;
        if (!m->fixed && !(rc = import_examine(m, &d)) && !d.complete && d.fresh == before.fresh &&
            d.iter_exists == before.iter_exists && !(rc = may_write(m, &d)))
            return import_begin(m, &d);
        br__work_close(&m->t.w);
        if (rc)
            return rc;
    }
    return br_fail(m->t.err, BR_E_BUSY, "other processes keep changing '%s'; run again", m->root);
}

/* Rank 0 opens the destination; the others follow it. */
static int open_for_all(struct importer *m, int *up_to_date)
{
    enum { UP_TO_DATE, FRESH, N_SHARED };
    int rc = br__procs_rank() ? BR_OK : open_destination(m, up_to_date);
    int32_t shared[N_SHARED] = {*up_to_date, m->fresh};
    rc = br__transfer_begun(&m->t, rc, shared, N_SHARED, m->td.n_files);
    *up_to_date = shared[UP_TO_DATE];
    m->fresh = shared[FRESH];
    if (!rc && m->t.w.follows)
        rc = m->fresh ? br__dir_child(&m->dir, &m->t.w.tmp, m->iter_name, 0, m->t.err)
                      : br__dir_open(&m->dir, m->t.w.tmp.path, m->t.err);
    return br__procs_agree(rc, m->t.err);
}

/* Remove files of other jobs first, so that nothing a killed run left is published. */
static int import_commit(struct importer *m)
{
    struct br__names names, top = {0};
    const char *root_names[] = {m->iter_name, BR__TEXT_TRACKER, BR__STATE_TRACKER, BR__JOURNAL};
    int rc = list_names(m, &names);
    if (!rc && !m->t.w.publishing)
        rc = br__dir_empty(&m->dir, names.p, names.n, m->t.err);
    if (!rc && m->fresh) {
        if (m->t.sync)
            rc = br__dir_sync(&m->dir, m->t.err);
        if (!rc)
            rc = br__trackers_put(&m->t.w.tmp, import_counters(m), m->t.sync, m->t.err);
        if (!rc)
            rc = br__dir_empty(&m->t.w.tmp, root_names, BR_COUNTOF(root_names), m->t.err);
    }
    if (!rc)
        rc = br__transfer_commit(&m->t, m->fresh ? &top : &names, BR__METADATA);
    return !rc && !m->fresh ? br__trackers_update(m->root, import_counters(m), m->t.sync, m->t.err)
                            : rc;
}

static uint64_t import_bytes(const void *arg, size_t file)
{
    const struct importer *m = arg;
    return m->td.file_bytes[file];
}

static int import_write(struct importer *m)
{
    const struct br__tasks files = {
        .n = m->td.n_files, .bytes = import_bytes, .run = write_file, .arg = m};
    int rc = br__transfer_run(&m->t, &files);
    for (size_t i = 0; i < m->t.s->plan->n_pieces; i++)
        m->crcs[i] = m->td.items[m->n_objects + i].crc;
    if (!rc)
        rc = br__procs_sum(m->crcs, m->t.s->plan->n_pieces, BR_I32, m->t.err);
    if (!rc && br__procs_rank() == 0)
        rc = put_small_files(m);
    if (!rc)
        rc = br__ckpt_settle(m->t.s->src, m->t.err);
    return br__procs_agree(rc, m->t.err);
}

static int write_all(struct importer *m)
{
    if (m->t.w.unlocked)
        br__note(m->t.s->job.listener, BR__NO_LOCKS, m->t.w.parent.path);
    int rc = m->t.w.publishing ? BR_OK : import_write(m);
    if (!rc && br__procs_rank() == 0)
        rc = import_commit(m);
    return br__procs_agree(rc, m->t.err);
}

/* The result exists; trackers and temporary files of other runs may be wrong. */
static int import_complete(struct importer *m)
{
    char **names;
    size_t n;
    int stale = 0, agree = trackers_agree(m);
    br__work_tidy(m->iter);
    br__work_tidy(m->root);
    int rc = br__list_dir(&m->t.a, m->root, &names, &n, m->t.err);
    for (size_t i = 0; i < n && !rc; i++)
        stale |= br__tracker_is_stale(names[i]);
    if (rc || (agree && !stale))
        return rc;
    if (!agree)
        br__note(m->t.s->job.listener,
                 "the trackers of '%s' named something else; now they name %s", m->root,
                 m->iter_name);
    return br__trackers_update(m->root, import_counters(m), m->t.sync, m->t.err);
}

static int import_run(struct importer *m, struct br_job_result *res)
{
    struct br__session *s = m->t.s;
    char *root;
    int up_to_date = 0, rc = br__path_abs(&m->t.a, s->job.megatron_path, &root, m->t.err);
    if (rc)
        return rc;
    m->root = root;
    m->counters.step = s->job.iteration;
    m->iter_name = s->job.flags & BR_JOB_RELEASE
                       ? "release"
                       : br__arena_printf(&m->t.a, "iter_%07lld", (long long)s->job.iteration);
    m->iter = m->iter_name ? br__path_join(&m->t.a, m->root, m->iter_name) : NULL;
    if (!m->iter)
        return br__nomem(m->t.err, "importing");
    if ((rc = br__path_overlap(&m->t.a, s->src->dir, m->root, m->t.err)) ||
        (rc = br__side_find(&s->arena, s->src->dir, 1, &s->side, m->t.err)) || (rc = lay_out(m)) ||
        (rc = list_files(m)) || (rc = open_for_all(m, &up_to_date)))
        return rc;
    if (!up_to_date)
        rc = write_all(m);
    else if (br__procs_rank() == 0)
        rc = import_complete(m);
    br__transfer_result(&m->t, m->iter, up_to_date, res);
    return rc;
}

int br_import(const struct br_job *job, struct br_job_result *res, struct br_err *err)
{
    struct importer m = {.dir.fd = -1};
    struct br_job_result did = BR_JOB_RESULT_INIT;
    int rc = br__transfer_open(&m.t, job, BR__IMPORT, "importing", err);
    if (rc)
        return rc;
    if (!m.t.s->job.megatron_path)
        rc = br_fail(err, BR_E_USAGE, "import needs --megatron-path DIR");
    else if (!(job->flags & BR_JOB_DRY_RUN))
        rc = import_run(&m, &did);
    br__result_give(res, &did);
    br__buf_free(&m.common);
    br__dir_close(&m.dir);
    br__transfer_close(&m.t);
    return rc;
}
