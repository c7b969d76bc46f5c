/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* digest.c - digests of a plan's pieces without writing them, and the fingerprint that ties a
 * temporary directory to its job. */
#include "job.h"

#include <string.h>

struct digester {
    const struct br__session *s;
    uint64_t *digests;
    uint32_t *crcs; /* or NULL */
    struct br__progress progress;
};

/* Digests per task: tiny tensors make many pieces, so a task is a run of them. */
#define RUN 64

static int digest_piece(struct digester *d, size_t piece, unsigned char *buf,
                        struct br__scratch *scratch, struct br__xxh3 *hash, struct br_err *err)
{
    uint64_t bytes = d->s->plan->pieces[piece].bytes;
    uint32_t crc = 0;
    br__xxh3_reset(hash);
    for (uint64_t off = 0; off < bytes; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, bytes - off);
        int rc = br__piece_read(d->s->plan, piece, off, buf, n, scratch, err);
        if (rc)
            return rc;
        br__xxh3_update(hash, buf, n);
        if (d->crcs)
            crc = br__crc32(crc, buf, n);
        br__task_did(&d->progress, n);
    }
    d->digests[piece] = br__xxh3_digest(hash);
    if (d->crcs)
        d->crcs[piece] = crc;
    return BR_OK;
}

static int digest_run(void *arg, size_t run, int worker, struct br_err *err)
{
    struct digester *d = arg;
    struct br__scratch scratch = {br__alloc(BR__OUT_BUF)};
    unsigned char *buf = br__alloc(BR__OUT_BUF);
    struct br__xxh3 *hash = br__xxh3_new();
    size_t end = BR__MIN((run + 1) * RUN, d->s->plan->n_pieces);
    int rc = scratch.buf && buf && hash ? BR_OK : br__nomem(err, "hashing");
    (void)worker;
    for (size_t i = run * RUN; i < end && !rc; i++)
        rc = digest_piece(d, i, buf, &scratch, hash, err);
    br__xxh3_free(hash);
    br__free(buf);
    br__free(scratch.buf);
    return rc;
}

int br__plan_digests(const struct br__session *s, const char *phase, uint64_t *digests,
                     uint32_t *crcs, struct br_err *err)
{
    struct digester d = {.s = s, .digests = digests, .crcs = crcs};
    br__progress_init(&d.progress, s->job.listener, phase, s->plan->out_bytes);
    int rc = br__pool_run(br__job_threads(&s->job), (s->plan->n_pieces + RUN - 1) / RUN, digest_run,
                          &d, err);
    br__progress_end(&d.progress);
    return rc;
}

uint64_t br__session_fingerprint(const struct br__session *s)
{
    const struct br__plan *p = s->plan;
    struct br__buf b = {.max = 512u << 20};
    br__buf_printf(&b, "%s %d %d %lld %d %s %s", br_version(), p->direction, s->job.torch_dtype,
                   (long long)s->job.iteration, (int)(s->job.flags & BR_JOB_RELEASE),
                   s->job.hf_model ? s->job.hf_model : "", s->config_text ? s->config_text : "");
    for (size_t i = 0; i < s->src->n_files; i++)
        br__buf_printf(&b, "\n%s %llu %lld %lld %llu", s->src->file_names[i],
                       (unsigned long long)s->src->files[i].size,
                       (long long)s->src->files[i].mtime_ns, (long long)s->src->files[i].ctime_ns,
                       (unsigned long long)s->src->files[i].inode);
    for (size_t i = 0; i < p->n_outs; i++)
        br__buf_printf(&b, "\n%s %d %u", p->outs[i].name, p->outs[i].dtype, p->outs[i].file);
    br__buf_put(&b, p->segs, p->n_segs * sizeof *p->segs);
    for (size_t i = 0; i < p->n_pieces; i++)
        br__buf_put(&b, &p->pieces[i].bytes, sizeof p->pieces[i].bytes);
    uint64_t fp = b.failed ? 0 : br__xxh3(b.p, b.n);
    br__buf_free(&b);
    return fp;
}
