/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* check.c - one directory against its own checksums, every byte. */
#include "job.h"

#include <inttypes.h>
#include <string.h>

struct checker {
    struct br__checksums sums;
    char **damage; /* per part: what was found, or NULL */
    struct br__progress progress;
};

/* Digest of a whole tensor of a Hugging Face file. */
static int read_tensor(const struct br__ckpt *ck, const struct br__tensor *t, struct br__xxh3 *hash,
                       struct br_err *err)
{
    unsigned char *buf = br__alloc(BR__OUT_BUF);
    int rc = buf ? BR_OK : br__nomem(err, "checking");
    for (uint64_t off = 0; off < t->bytes && !rc; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, t->bytes - off);
        rc = br__ckpt_read(ck, t, off, buf, n, err);
        if (!rc)
            br__xxh3_update(hash, buf, n);
    }
    br__free(buf);
    return rc;
}

static int check_part(const struct checker *k, const struct br__part_sum *p, struct br__xxh3 *hash,
                      struct br_err *err)
{
    br__xxh3_reset(hash);
    int rc = p->c ? br__checksums_crc(&k->sums, p, err) : BR_OK;
    if (!rc && p->c && (rc = br__td_check_record(k->sums.ck, p->t, p->c, hash, err)))
        br_wrap(err, "tensor '%s'", p->t->name);
    else if (!rc && !p->c)
        rc = read_tensor(k->sums.ck, p->t, hash, err);
    if (!rc && p->has_xxh3 && br__xxh3_digest(hash) != p->xxh3)
        rc = br_fail(
            err, BR_E_FORMAT, "tensor '%s': bytes in '%s' are not those that '%s' has a digest of",
            p->t->name, k->sums.ck->file_names[p->c ? p->c->file : p->t->file], k->sums.manifest);
    return rc;
}

static uint64_t check_bytes(const void *arg, size_t i)
{
    const struct checker *k = arg;
    const struct br__part_sum *p = &k->sums.parts[i];
    return p->c ? p->c->rec->size : p->t->bytes;
}

/* Collect damage, so that all of it is reported in order; other failures end the check. */
static int check_task(void *arg, size_t i, int worker, struct br_err *err)
{
    struct checker *k = arg;
    struct br_err found = BR_ERR_INIT;
    struct br__xxh3 *hash = br__xxh3_new();
    (void)worker;
    int rc = hash ? check_part(k, &k->sums.parts[i], hash, &found) : br__nomem(&found, "checking");
    br__xxh3_free(hash);
    br__task_did(&k->progress, check_bytes(k, i));
    if (rc == BR_E_FORMAT)
        return (k->damage[i] = br__strdup(found.msg)) ? BR_OK : br__nomem(err, "checking");
    if (rc && err)
        *err = found;
    return rc;
}

/* Objects are small and few: their records are checked when they are loaded, and the data of those
 * that have some. */
static int check_objects(struct checker *k, struct br_err *err)
{
    const struct br__td *td = k->sums.ck->td;
    int rc = BR_OK;
    for (size_t i = 0; td && i < td->n_objects && !rc; i++) {
        struct br__arena a = {0};
        const struct br__file *f = &k->sums.ck->files[td->object_file[i]];
        struct br__zip_rec *recs;
        size_t n;
        rc =
            br__zip_read(&a, f->map, f->size, td->object_off[i], td->object_len[i], &recs, &n, err);
        for (size_t r = 0; r < n && !rc; r++)
            rc = br__zip_check(&recs[r], f->map, err);
        if (rc)
            br_wrap(err, "object '%s', '%s' at %" PRIu64, td->objects[i],
                    k->sums.ck->file_names[td->object_file[i]], td->object_off[i]);
        br__arena_free(&a);
    }
    return rc;
}

/* What the check could not compare. */
static void note_gaps(const struct checker *k, const struct br_job *job)
{
    const struct br__td *td = k->sums.ck->td;
    if (td && td->n_no_crc)
        br__note(job->listener, "%zu of %zu records have no CRC-32", td->n_no_crc, td->n_records);
    if (!td && !k->sums.manifest)
        br__note(job->listener,
                 "no " BR__MANIFEST
                 ": safetensors files carry no checksum, so headers, index and sizes are all "
                 "that could be checked");
}

/* Every rank gets the damage that one has found: pairs of a part's number and a text. */
static int share_damage(struct checker *k, uint32_t rank, struct br_err *err)
{
    struct br__buf b = {0};
    int mine = rank == br__procs_rank();
    for (uint32_t i = 0; mine && i < k->sums.n_parts; i++)
        if (k->damage[i]) {
            br__buf_put(&b, &i, sizeof i);
            br__buf_put(&b, k->damage[i], strlen(k->damage[i]) + 1);
        }
    int rc = br__procs_share_buf(&b, rank, err);
    uint32_t part;
    for (size_t at = 0; at < b.n && !mine && !rc; at += strlen(b.p + at) + 1) {
        memcpy(&part, b.p + at, sizeof part);
        at += sizeof part;
        if (!k->damage[part] && !(k->damage[part] = br__strdup(b.p + at))) /* told by one before */
            rc = br__nomem(err, "checking");
    }
    br__buf_free(&b);
    return rc;
}

static int check_tell(struct checker *k, const struct br_job *job, struct br_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < k->sums.n_parts; i++) {
        if (!k->damage[i])
            continue;
        br__note(job->listener, "%s", k->damage[i]);
        n++;
    }
    if (n)
        return br_fail(err, BR_E_FORMAT, "'%s': %zu of %zu parts of tensors are damaged",
                       k->sums.ck->dir, n, k->sums.n_parts);
    note_gaps(k, job);
    return BR_OK;
}

static int check_all(struct checker *k, const struct br_job *job, struct br_job_result *res,
                     struct br_err *err)
{
    const struct br__tasks parts = {.job = job,
                                    .phase = "checking",
                                    .n = k->sums.n_parts,
                                    .bytes = check_bytes,
                                    .run = check_task,
                                    .arg = k};
    uint64_t total = 0;
    for (size_t i = 0; i < k->sums.n_parts; i++)
        total += check_bytes(k, i);
    int rc = check_objects(k, err);
    if (rc)
        return rc;
    rc = br__tasks_run(&parts, &k->progress, err);
    for (uint32_t rank = 0; rank < br__procs_size() && !rc; rank++)
        rc = share_damage(k, rank, err);
    if (!rc)
        rc = check_tell(k, job, err);
    struct br_job_result did = BR_JOB_RESULT_INIT;
    did.n_tensors = k->sums.ck->n_tensors;
    did.bytes_written = total;
    br__result_path(&did, k->sums.ck->dir);
    br__result_give(res, &did);
    return rc;
}

int br__check_dir(const struct br_job *job, const char *dir, struct br_job_result *res,
                  struct br_err *err)
{
    struct checker k = {0};
    struct br__ckpt *ck;
    int rc = br__ckpt_open(&ck, dir, err);
    if (rc)
        return rc;
    rc = br__checksums_open(&k.sums, ck, err);
    if (!rc && !(k.damage = br__calloc(k.sums.n_parts + 1, sizeof *k.damage)))
        rc = br__nomem(err, "checking");
    if (!rc)
        rc = check_all(&k, job, res, err);
    for (size_t i = 0; k.damage && i < k.sums.n_parts; i++)
        br__free(k.damage[i]);
    br__free(k.damage);
    if (!rc)
        rc = br__ckpt_settle(ck, err);
    rc = br__procs_agree(rc, err);
    br__checksums_close(&k.sums);
    br__ckpt_close(ck);
    return rc;
}
