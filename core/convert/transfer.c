/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* transfer.c - what an import and an export share: a session, a temporary directory that becomes
 * the destination, and the pieces of a plan, which threads write and a later run resumes. */
#include "job.h"

int br__transfer_open(struct br__transfer *t, const struct br_job *job, int direction,
                      const char *doing, struct br_err *err)
{
    t->err = err;
    t->doing = doing;
    t->sync = !(job->flags & BR_JOB_NO_SYNC);
    int rc = br__session_open(&t->s, job, direction, err);
    if (!rc)
        br__session_report(t->s);
    return rc;
}

void br__transfer_close(struct br__transfer *t)
{
    br__work_close(&t->w);
    br__arena_free(&t->a);
    br__session_close(t->s);
}

int br__transfer_complete(struct br__transfer *t, const char *dir, int *yes)
{
    struct stat st;
    *yes = 0;
    for (size_t i = 0; i < t->weights.n; i++) {
        const char *path = br__path_join(&t->a, dir, t->weights.p[i]);
        if (!path)
            return br__nomem(t->err, "%s", t->doing);
        if (br__io.stat(path, &st) || !S_ISREG(st.st_mode) ||
            (uint64_t)st.st_size != t->weight_bytes[i])
            return BR_OK;
    }
    return br__manifest_up_to_date(t->s, &t->files, dir, yes, t->err);
}

/* Weights, side files, 512 bytes for each tensor or item in .metadata, index and manifest, and
 * 1 MiB for the other files, which are small. */
int br__transfer_space(const struct br__transfer *t, const struct br__dir *dir, size_t n_items)
{
    uint64_t need = (1u << 20) + br__side_bytes(&t->s->side) +
                    (n_items + t->s->src->n_tensors + t->s->plan->n_outs) * 512;
    for (size_t i = 0; i < t->weights.n; i++)
        need += t->weight_bytes[i];
    return br__work_space(&t->w, dir, need, t->err);
}

/* ---- writing --------------------------------------------------------------------------------- */

int br__transfer_begun(struct br__transfer *t, int rc, int32_t *shared, size_t n, size_t n_parts)
{
    int32_t publishing = t->w.publishing, begun = t->w.begun;
    rc = br__procs_agree(rc, t->err);
    if (!rc)
        rc = br__procs_share(shared, n * sizeof *shared, 0, t->err);
    if (!rc)
        rc = br__procs_share(&publishing, sizeof publishing, 0, t->err);
    if (!rc)
        rc = br__procs_share(&begun, sizeof begun, 0, t->err);
    t->w.publishing = publishing;
    return rc || !begun || publishing ? rc : br__work_follow(&t->w, n_parts, t->err);
}

/* Digests come together by addition: of a piece one rank has it, and the others have zero. */
int br__transfer_run(struct br__transfer *t, const struct br__tasks *parts)
{
    struct br__tasks all = *parts;
    all.job = &t->s->job;
    all.phase = t->doing;
    all.work = &t->w;
    int64_t resumed;
    int rc = br__tasks_run(&all, &t->progress, t->err);
    if (!rc)
        rc = br__procs_sum(t->digests, t->s->plan->n_pieces, BR_I64, t->err);
    resumed = (int64_t)atomic_load(&t->resumed);
    if (!rc)
        rc = br__procs_sum(&resumed, 1, BR_I64, t->err);
    atomic_store(&t->resumed, (uint64_t)resumed);
    return rc;
}

int br__transfer_worker_open(struct br__transfer_worker *w, const struct br__transfer *t,
                             struct br_err *err)
{
    *w = (struct br__transfer_worker){{br__alloc(BR__OUT_BUF)}, br__xxh3_new()};
    return w->scratch.buf && w->hash ? BR_OK : br__nomem(err, "%s", t->doing);
}

void br__transfer_worker_close(struct br__transfer_worker *w)
{
    br__xxh3_free(w->hash);
    br__free(w->scratch.buf);
}

int br__transfer_read_back(struct br__transfer_worker *w, const struct br__file *f, uint64_t off,
                           uint64_t bytes, uint32_t *crc, struct br_err *err)
{
    int rc = BR_OK;
    br__xxh3_reset(w->hash);
    for (uint64_t at = 0; at < bytes && !rc; at += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, bytes - at);
        rc = br__file_read(f, off + at, w->scratch.buf, n, err);
        if (rc)
            break;
        br__xxh3_update(w->hash, w->scratch.buf, n);
        if (crc)
            *crc = br__crc32(*crc, w->scratch.buf, n);
    }
    return rc;
}

void br__transfer_resumed(struct br__transfer *t, uint64_t bytes)
{
    atomic_fetch_add(&t->resumed, bytes);
    br__task_did(&t->progress, bytes);
}

/* ---- the end --------------------------------------------------------------------------------- */

int br__transfer_commit(struct br__transfer *t, const struct br__names *names, const char *last)
{
    int rc = br__work_commit(&t->w, names, last, t->err);
    if (!rc && t->w.left)
        br__note(t->s->job.listener, "'%s' could not be removed from '%s'", t->w.left,
                 t->w.parent.path);
    return rc;
}

void br__transfer_result(const struct br__transfer *t, const char *path, int up_to_date,
                         struct br_job_result *res)
{
    res->up_to_date = (uint32_t)up_to_date;
    res->bytes_written = up_to_date ? 0 : t->s->plan->out_bytes;
    res->n_tensors = t->s->plan->n_outs;
    res->resumed_bytes = atomic_load(&t->resumed);
    br__result_path(res, path);
}
