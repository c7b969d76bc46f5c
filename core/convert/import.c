/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* import.c - Hugging Face to Megatron torch_dist: the plan's pieces as .distcp files, then the
 * small files that Megatron Bridge, Megatron-LM and slime each look for.
 *
 * Files and their readers: Megatron Bridge training/checkpointing.py and model_load_save.py,
 * Megatron-LM training/checkpointing.py and core/dist_checkpointing. */
#include "job.h"

#include <string.h>

struct importer {
    struct br__session *s;
    struct br__arena a;
    struct br__work w;
    struct br__td_plan td;
    struct br__td_out *outs;
    size_t n_objects; /* items before the first piece */
    const char *root, *iter_name;
    const char *tmp_root; /* where the trackers of a fresh root go, or NULL */
    const char *tmp_iter;
    uint64_t *digests;     /* per piece */
    uint32_t *crcs;        /* per piece */
    struct br__buf common; /* pickle of the common state, list form */
    struct br__progress progress;
    _Atomic uint64_t resumed;
    int sync;
    struct br_err *err;
};

static int nomem(struct importer *m)
{
    return br_fail(m->err, BR_E_NOMEM, "out of memory importing");
}

/* ---- what goes into the .distcp files -------------------------------------------------------- */

static struct br__run_config_opts run_config_opts(const struct importer *m)
{
    const struct br__session *s = m->s;
    return (struct br__run_config_opts){.hf_model_id = s->job.hf_model,
                                        .save = s->job.megatron_path,
                                        .pad_vocab_to = s->job.pad_vocab_to};
}

static int common_state(struct importer *m, struct br__buf *out, int as_list)
{
    const struct br__run_config_opts o = run_config_opts(m);
    struct br__td_common c = {.iteration = m->s->job.iteration,
                              .non_homogeneous_layers =
                                  m->s->plan->b.x->per_layer &&
                                  !br_cfg_i(&m->s->cfg, BR_CFG_HETEREOGENOUS_DIST_CHECKPOINT)};
    int rc = br__mlm_args(&m->a, &m->s->cfg, &o, &c.args, &c.n_args, m->err);
    return rc ? rc : br__td_common_pickle(out, &c, as_list, m->err);
}

static void add_object(struct importer *m, const char *key)
{
    m->td.items[m->td.n_items++] = (struct br__td_item){.tensor = BR__TD_OBJECT, .object_key = key};
}

static int lay_out(struct importer *m)
{
    const struct br__plan *p = m->s->plan;
    const struct br__expansion *x = p->b.x;
    m->outs = br__arena_alloc(&m->a, (p->n_outs + 1) * sizeof *m->outs);
    m->td.items =
        br__arena_alloc(&m->a, (x->n_extra_state + 1 + p->n_pieces) * sizeof *m->td.items);
    m->digests = br__arena_alloc(&m->a, (p->n_pieces + 1) * sizeof *m->digests);
    m->crcs = br__arena_alloc(&m->a, (p->n_pieces + 1) * sizeof *m->crcs);
    if (!m->outs || !m->td.items || !m->digests || !m->crcs)
        return nomem(m);
    for (size_t i = 0; i < p->n_outs; i++) {
        const struct br__plan_out *o = &p->outs[i];
        m->outs[i] = (struct br__td_out){.key = o->name, .dtype = o->dtype, .ndim = o->ndim};
        memcpy(m->outs[i].shape, o->shape, sizeof o->shape);
    }
    for (size_t i = 0; i < x->n_extra_state; i++)
        add_object(m, x->extra_state[i]);
    add_object(m, "common_state/shard_0_1");
    m->n_objects = m->td.n_items;
    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct br__piece *pc = &p->pieces[i];
        struct br__td_item *t = &m->td.items[m->td.n_items++];
        *t = (struct br__td_item){.tensor = pc->out, .data_bytes = pc->bytes};
        memcpy(t->off, pc->off, sizeof t->off);
        memcpy(t->size, pc->size, sizeof t->size);
    }
    m->td.tensors = m->outs;
    m->td.n_tensors = p->n_outs;
    int rc = common_state(m, &m->common, 1);
    m->td.common_pickle = m->common.p;
    m->td.common_pickle_size = m->common.n;
    return rc ? rc : br__td_layout(&m->a, &m->td, m->err);
}

/* ---- one file -------------------------------------------------------------------------------- */

struct file_job {
    struct importer *m;
    struct br__scratch scratch;
    struct br__xxh3 *hash;
};

static int produce(void *arg, size_t item, uint64_t offset, void *dst, size_t n, struct br_err *err)
{
    struct file_job *f = arg;
    struct importer *m = f->m;
    size_t piece = item - m->n_objects;
    int rc = br__piece_read(m->s->plan, piece, offset, dst, n, &f->scratch, err);
    if (rc)
        return rc;
    if (!offset)
        br__xxh3_reset(f->hash);
    br__xxh3_update(f->hash, dst, n);
    if (offset + n == m->s->plan->pieces[piece].bytes)
        m->digests[piece] = br__xxh3_digest(f->hash);
    br__progress_add(&m->progress, n);
    return BR_OK;
}

static const char *file_path(struct importer *m, struct br__arena *a, size_t file)
{
    return br__arena_printf(a, "%s/__0_%zu.distcp", m->tmp_iter, file);
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

/* Is one stored item what the plan says, and its data what the journal says? */
static int prove_item(const struct br__file *f, struct br__td_item *it, uint64_t digest,
                      unsigned char *buf, struct br__xxh3 *hash, int *ok, struct br_err *err)
{
    struct br__arena a = {0};
    struct br__zip_rec *recs;
    size_t n;
    int rc = br__zip_read(&a, f->map, f->size, it->item_off, it->item_len, &recs, &n, NULL);
    const struct br__zip_rec *data = rc ? NULL : br__zip_find(recs, n, "data/0");
    *ok = !rc && (it->tensor == BR__TD_OBJECT || (data && data->size == it->data_bytes));
    uint32_t crc = 0;
    rc = BR_OK;
    br__xxh3_reset(hash);
    for (uint64_t off = 0; *ok && data && off < data->size && !rc; off += BR__OUT_BUF) {
        size_t k = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, data->size - off);
        rc = br__file_read(f, data->off + off, buf, k, err);
        if (!rc) {
            crc = br__crc32(crc, buf, k);
            br__xxh3_update(hash, buf, k);
        }
    }
    if (*ok && data && it->tensor != BR__TD_OBJECT)
        *ok = crc == data->crc && br__xxh3_digest(hash) == digest;
    it->crc = crc;
    br__arena_free(&a);
    return rc;
}

/* A file that the journal calls finished is believed only after it was read back. */
static int prove_file(struct file_job *job, size_t file, const char *path, int *ok,
                      struct br_err *err)
{
    struct importer *m = job->m;
    const uint64_t *journal = m->w.digests[file];
    struct br__file f;
    size_t first, n, objects = 0;
    *ok = 0;
    if (!journal || br__file_open(&f, path, NULL))
        return BR_OK;
    file_items(&m->td, file, &first, &n);
    objects = first < m->n_objects ? BR__MIN(n, m->n_objects - first) : 0;
    *ok = f.size == m->td.file_bytes[file] && journal[0] == n - objects;
    int rc = BR_OK;
    for (size_t i = 0; i < n && *ok && !rc; i++) {
        uint64_t digest = i < objects ? 0 : journal[1 + i - objects];
        rc = prove_item(&f, &m->td.items[first + i], digest, job->scratch.buf, job->hash, ok, err);
        if (i >= objects)
            m->digests[first + i - m->n_objects] = digest;
    }
    br__file_close(&f);
    return rc;
}

static int write_or_resume(struct file_job *job, size_t file, struct br_err *err)
{
    struct importer *m = job->m;
    struct br__arena a = {0};
    size_t first, n;
    int proven = 0;
    const char *path = file_path(m, &a, file);
    int rc = path ? prove_file(job, file, path, &proven, err) : BR_E_NOMEM;
    if (proven && !rc) {
        atomic_fetch_add(&m->resumed, m->td.file_bytes[file]);
        br__progress_add(&m->progress, m->td.file_bytes[file]);
    } else if (!rc) {
        rc = br__td_write_file(&m->td, (uint32_t)file, path, m->sync, produce, job, err);
        file_items(&m->td, file, &first, &n);
        size_t objects = first < m->n_objects ? BR__MIN(n, m->n_objects - first) : 0;
        if (!rc)
            rc = br__work_done(&m->w, file, m->digests + first + objects - m->n_objects,
                               n - objects, err);
    }
    br__arena_free(&a);
    return rc;
}

static int write_file(void *arg, size_t file, int worker, struct br_err *err)
{
    struct file_job job = {.m = arg, .scratch = {br__alloc(BR__OUT_BUF)}, .hash = br__xxh3_new()};
    (void)worker;
    int rc = job.scratch.buf && job.hash ? write_or_resume(&job, file, err)
                                         : br_fail(err, BR_E_NOMEM, "out of memory importing");
    br__xxh3_free(job.hash);
    br__free(job.scratch.buf);
    return rc;
}

/* ---- small files ----------------------------------------------------------------------------- */

static int put(struct importer *m, const char *dir, const char *name, const void *p, size_t n)
{
    const char *path = br__path_join(&m->a, dir, name);
    return path ? br__write_file(path, p, n, m->sync, m->err) : nomem(m);
}

static int put_common(struct importer *m)
{
    struct br__buf b = {0};
    const char *path = br__path_join(&m->a, m->tmp_iter, "common.pt");
    int rc = path ? common_state(m, &b, 0) : nomem(m);
    if (!rc)
        rc = br__td_archive(path, "common", b.p, b.n, NULL, NULL, 0, m->sync, m->err);
    br__buf_free(&b);
    return rc;
}

static int put_metadata(struct importer *m)
{
    struct br__buf b = {.max = 1u << 31};
    int rc = br__td_metadata(&m->td, &b, m->err);
    if (!rc)
        rc = put(m, m->tmp_iter, ".metadata", b.p, b.n);
    br__buf_free(&b);
    return rc;
}

static int put_run_config(struct importer *m)
{
    const struct br__run_config_opts o = run_config_opts(m);
    struct br__buf b = {0};
    int rc = br__run_config_text(&b, &m->s->cfg, &o, m->err);
    if (!rc)
        rc = put(m, m->tmp_iter, "run_config.yaml", b.p, b.n);
    br__buf_free(&b);
    return rc;
}

static int put_tokenizer(struct importer *m)
{
    const char *dir = br__path_join(&m->a, m->tmp_iter, "tokenizer");
    int rc = dir ? br__work_copy_side_files(m->s->src->dir, dir, 1, m->sync, m->err) : nomem(m);
    return !rc && m->sync && br__is_dir(dir) ? br__sync_dir(dir, m->err) : rc;
}

/* `release` is found by the text tracker alone; a numbered iteration by either, and Megatron Bridge
 * prefers latest_train_state.pt, which never means release. */
static int put_trackers(struct importer *m, const char *root)
{
    char number[16];
    int release = (m->s->job.flags & BR_JOB_RELEASE) != 0;
    int len = snprintf(number, sizeof number, "%lld", (long long)m->s->job.iteration);
    const char *text = release ? "release" : number;
    const char *state = br__path_join(&m->a, root, "latest_train_state.pt");
    if (!state)
        return nomem(m);
    int rc = BR_OK;
    if (release) {
        if (br__exists(state) && br__io.unlink(state))
            rc = br_fail(m->err, BR_E_IO, "cannot remove '%s'", state);
    } else {
        rc = br__td_write_train_state(state, m->s->job.iteration, m->sync, m->err);
    }
    return rc ? rc
              : put(m, root, "latest_checkpointed_iteration.txt", text, release ? 7 : (size_t)len);
}

/* .metadata last of the iteration: its presence says that the data is complete. */
static int put_small_files(struct importer *m)
{
    const char *state = br__path_join(&m->a, m->tmp_iter, "train_state.pt");
    int rc = state ? put_common(m) : nomem(m);
    for (size_t i = 0; i < m->s->plan->n_pieces; i++)
        m->crcs[i] = m->td.items[m->n_objects + i].crc;
    if (!rc)
        rc = put(m, m->tmp_iter, "metadata.json", br__td_metadata_json,
                 strlen(br__td_metadata_json));
    if (!rc)
        rc = put_run_config(m);
    if (!rc)
        rc = br__td_write_train_state(state, m->s->job.iteration, m->sync, m->err);
    if (!rc)
        rc = put_tokenizer(m);
    if (!rc)
        rc = br__manifest_write(m->s, m->digests, m->crcs, m->tmp_iter, m->sync, m->err);
    if (!rc)
        rc = put_metadata(m);
    if (!rc && m->tmp_root)
        rc = put_trackers(m, m->tmp_root);
    return rc;
}

/* ---- destination ----------------------------------------------------------------------------- */

static int is_empty_dir(struct importer *m, const char *dir, int *empty)
{
    char **names;
    size_t n = 0;
    int rc = br__list_dir(&m->a, dir, &names, &n, m->err);
    *empty = n == 0;
    return rc;
}

static int check_space(const struct importer *m)
{
    uint64_t need = 64u << 20;
    for (uint32_t i = 0; i < m->td.n_files; i++)
        need += m->td.file_bytes[i] + (m->td.file_bytes[i] >> 6); /* metadata and manifest */
    return br__work_space(m->root, need, m->err);
}

/* The manifest vouches for the small files; the data files must be there at their sizes. */
static int files_complete(struct importer *m, const char *iter)
{
    struct stat st;
    for (uint32_t i = 0; i < m->td.n_files; i++) {
        const char *path = br__arena_printf(&m->a, "%s/__0_%u.distcp", iter, i);
        if (!path || br__io.stat(path, &st) || (uint64_t)st.st_size != m->td.file_bytes[i])
            return 0;
    }
    const char *meta = br__path_join(&m->a, iter, ".metadata");
    return meta && br__exists(meta);
}

/* A resumed run keeps data files, which are read back, and writes everything else again. */
static int remove_strays(struct importer *m)
{
    const char **names = br__arena_alloc(&m->a, (m->td.n_files + 1) * sizeof *names);
    int rc = names ? BR_OK : nomem(m);
    for (uint32_t i = 0; i < m->td.n_files && !rc; i++)
        if (!(names[i] = br__arena_printf(&m->a, "__0_%u.distcp", i)))
            rc = nomem(m);
    if (!rc)
        rc = br__work_keep(&m->w, m->tmp_iter, names, m->td.n_files, m->err);
    return rc || !m->tmp_root ? rc : br__work_keep(&m->w, m->tmp_root, &m->iter_name, 1, m->err);
}

/* Decide between a fresh root, one iteration of an existing root, and nothing to do. */
static int open_destination(struct importer *m, int *up_to_date)
{
    const struct br_job *job = &m->s->job;
    const char *iter = br__path_join(&m->a, m->root, m->iter_name);
    int exists = br__exists(m->root), empty = 1, same = 0, rc = iter ? BR_OK : nomem(m);
    *up_to_date = 0;
    if (!rc && exists && !br__is_dir(m->root))
        rc = br_fail(m->err, BR_E_EXISTS, "'%s' exists and is no directory", m->root);
    if (!rc && exists)
        rc = is_empty_dir(m, m->root, &empty);
    if (!rc && !empty)
        rc = br__manifest_up_to_date(m->s, iter, &same, m->err);
    *up_to_date = !rc && same && files_complete(m, iter);
    if (rc || *up_to_date)
        return rc;
    if (!empty && !(job->flags & BR_JOB_OVERWRITE))
        return br_fail(m->err, BR_E_EXISTS, "'%s' %s; use --overwrite to replace its %s", m->root,
                       same ? "has this import's manifest but lacks data files"
                            : "is not empty and is not the result of this import",
                       m->iter_name);
    rc = check_space(m);
    if (rc)
        return rc;
    const char *final = empty ? m->root : iter;
    rc = br__work_open(&m->w, final, br__session_fingerprint(m->s), m->td.n_files, m->sync,
                       !empty && br__exists(iter), m->err);
    if (rc)
        return rc;
    m->tmp_root = empty ? m->w.tmp : NULL;
    m->tmp_iter = empty ? br__path_join(&m->a, m->w.tmp, m->iter_name) : m->w.tmp;
    rc = m->tmp_iter ? br__mkdirs(m->tmp_iter, m->err) : nomem(m);
    return rc ? rc : remove_strays(m);
}

static int write_all(struct importer *m)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < m->td.n_files; i++)
        total += m->td.file_bytes[i];
    br__progress_init(&m->progress, m->s->job.listener, "importing", total);
    int rc = br__pool_run(m->s->job.threads, m->td.n_files, write_file, m, m->err);
    br__progress_end(&m->progress);
    if (!rc)
        rc = put_small_files(m);
    if (!rc)
        rc = br__ckpt_settle(m->s->src, m->err);
    if (!rc && m->sync && m->tmp_root)
        rc = br__sync_dir(m->tmp_iter, m->err);
    if (!rc)
        rc = br__work_commit(&m->w, m->err);
    return !rc && !m->tmp_root ? put_trackers(m, m->root) : rc;
}

static int run(struct importer *m, struct br_job_result *res)
{
    struct br__session *s = m->s;
    int up_to_date, rc = BR_OK;
    m->root = br__path_abs(&m->a, s->job.megatron_path);
    m->iter_name = s->job.flags & BR_JOB_RELEASE
                       ? "release"
                       : br__arena_printf(&m->a, "iter_%07lld", (long long)s->job.iteration);
    if (!m->root || !m->iter_name)
        return nomem(m);
    if ((rc = br__check_overlap(s, s->src->dir, m->root, m->err)) || (rc = lay_out(m)) ||
        (rc = open_destination(m, &up_to_date)))
        return rc;
    res->up_to_date = (uint32_t)up_to_date;
    if (!up_to_date) {
        rc = write_all(m);
        res->bytes_written = s->plan->out_bytes;
    }
    const char *path = br__path_join(&m->a, m->root, m->iter_name);
    if (!path)
        return nomem(m);
    br__result_path(res, path);
    res->n_tensors = s->plan->n_outs;
    res->resumed_bytes = atomic_load(&m->resumed);
    return rc;
}

int br_import(const struct br_job *job, struct br_job_result *res, struct br_err *err)
{
    struct importer m = {.err = err};
    struct br_job_result did = BR_JOB_RESULT_INIT;
    int rc = br__session_open(&m.s, job, BR__IMPORT, err);
    if (rc)
        return rc;
    br__session_report(m.s);
    m.sync = !(job->flags & BR_JOB_NO_SYNC);
    if (!m.s->job.megatron_path)
        rc = br_fail(err, BR_E_USAGE, "import needs --megatron-path DIR");
    else if (!(job->flags & BR_JOB_DRY_RUN))
        rc = run(&m, &did);
    br__result_give(res, &did);
    br__buf_free(&m.common);
    br__work_close(&m.w);
    br__arena_free(&m.a);
    br__session_close(m.s);
    return rc;
}
