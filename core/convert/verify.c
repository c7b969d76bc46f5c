/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* verify.c - is a Megatron checkpoint exactly what an import of this model would write?  Compares
 * names in both directions, dtypes, shapes, and every byte, however it is chunked. */
#include "job.h"
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define EQUAL UINT64_MAX

struct verifier {
    const struct br__session *s;
    const struct br__ckpt *mc;
    const struct br__tensor *
        *found;        /* per output: the checkpoint's tensor if it is comparable, or NULL */
    uint64_t *differs; /* per piece: byte offset of the first difference, or EQUAL */
    struct br__progress progress;
    size_t n_diff;
};

static void verify_difference(struct verifier *v, const char *fmt, ...) BR_PRINTF(2, 3);

static void verify_difference(struct verifier *v, const char *fmt, ...)
{
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    v->n_diff++;
    if (v->s->job.listener && v->s->job.listener->note)
        v->s->job.listener->note(v->s->job.listener->ud, text);
}

/* Offset of a piece's box in the contiguous global tensor; boxes of a plan are contiguous. */
static uint64_t flat_offset(const struct br__piece *pc, const struct br__plan_out *o)
{
    uint64_t at = 0;
    for (int i = 0; i < o->ndim; i++)
        at = at * (uint64_t)o->shape[i] + (uint64_t)pc->off[i];
    return at * br_dtype_size(o->dtype);
}

static int compare_piece(struct verifier *v, size_t piece, unsigned char *want, unsigned char *got,
                         struct br__scratch *scratch, struct br_err *err)
{
    const struct br__plan *p = v->s->plan;
    const struct br__piece *pc = &p->pieces[piece];
    const struct br__tensor *t = v->found[pc->out];
    uint64_t base = flat_offset(pc, &p->outs[pc->out]);
    v->differs[piece] = EQUAL;
    for (uint64_t off = 0; t && off < pc->bytes; off += BR__OUT_BUF) {
        size_t n = (size_t)BR__MIN((uint64_t)BR__OUT_BUF, pc->bytes - off);
        int rc = br__piece_read(p, piece, off, want, n, scratch, err);
        if (!rc)
            rc = br__ckpt_read(v->mc, t, base + off, got, n, err);
        if (rc)
            return rc;
        br__task_did(&v->progress, n);
        if (!memcmp(want, got, n))
            continue;
        for (size_t i = 0; i < n && v->differs[piece] == EQUAL; i++)
            if (want[i] != got[i])
                v->differs[piece] = base + off + i;
        break;
    }
    return BR_OK;
}

static int compare_task(void *arg, size_t piece, int worker, struct br_err *err)
{
    struct verifier *v = arg;
    struct br__scratch scratch = {br__alloc(BR__OUT_BUF)};
    unsigned char *want = br__alloc(BR__OUT_BUF), *got = br__alloc(BR__OUT_BUF);
    (void)worker;
    int rc = scratch.buf && want && got ? compare_piece(v, piece, want, got, &scratch, err)
                                        : br__nomem(err, "verifying");
    br__free(want);
    br__free(got);
    br__free(scratch.buf);
    return rc;
}

static uint64_t compare_bytes(const void *arg, size_t piece)
{
    const struct verifier *v = arg;
    return v->s->plan->pieces[piece].bytes;
}

/* Each rank compares its share.  What it found comes together by addition: of a piece one rank has
 * it plus 1, and the others have EQUAL plus 1, which is zero. */
static int compare_all(struct verifier *v, struct br_err *err)
{
    const struct br__plan *p = v->s->plan;
    const struct br__tasks pieces = {.job = &v->s->job,
                                     .phase = "verifying",
                                     .n = p->n_pieces,
                                     .bytes = compare_bytes,
                                     .run = compare_task,
                                     .arg = v};
    memset(v->differs, 0xff, p->n_pieces * sizeof *v->differs); /* EQUAL */
    int rc = br__tasks_run(&pieces, &v->progress, err);
    for (size_t i = 0; i < p->n_pieces; i++)
        v->differs[i]++;
    if (!rc)
        rc = br__procs_sum(v->differs, p->n_pieces, BR_I64, err);
    for (size_t i = 0; i < p->n_pieces; i++)
        v->differs[i]--;
    return rc;
}

/* Compare names, dtypes and shapes; tensors that agree are compared byte by byte. */
static int match_outputs(struct verifier *v, uint8_t *seen)
{
    const struct br__plan *p = v->s->plan;
    char want[96], got[96];
    for (size_t i = 0; i < p->n_outs; i++) {
        const struct br__plan_out *o = &p->outs[i];
        const struct br__tensor *t = br__find_key(v->mc, o->name);
        if (!t) {
            verify_difference(v, "'%s' is missing from the checkpoint", o->name);
            continue;
        }
        seen[t - v->mc->tensors] = 1;
        if (t->dtype != o->dtype)
            verify_difference(v, "'%s' is %s, expected %s", o->name, br_dtype_torch(t->dtype),
                              br_dtype_torch(o->dtype));
        else if (t->ndim != o->ndim ||
                 memcmp(t->shape, o->shape, (size_t)o->ndim * sizeof *o->shape))
            verify_difference(v, "'%s' is %s, expected %s", o->name,
                              br__shape_str(t->shape, t->ndim, got, sizeof got),
                              br__shape_str(o->shape, o->ndim, want, sizeof want));
        else
            v->found[i] = t;
    }
    for (size_t i = 0; i < v->mc->n_tensors; i++)
        if (!seen[i] && !br__is_training_state(v->mc->tensors[i].name))
            verify_difference(v, "'%s' is in the checkpoint only", v->mc->tensors[i].name);
    return BR_OK;
}

static void report_bytes(struct verifier *v)
{
    const struct br__plan *p = v->s->plan;
    uint32_t last = UINT32_MAX;
    for (size_t i = 0; i < p->n_pieces; i++) {
        const struct br__plan_out *o = &p->outs[p->pieces[i].out];
        if (v->differs[i] == EQUAL || p->pieces[i].out == last)
            continue;
        last = p->pieces[i].out; /* one line per tensor */
        verify_difference(v, "'%s' differs, first at element %llu", o->name,
                          (unsigned long long)(v->differs[i] / br_dtype_size(o->dtype)));
    }
}

static int verify_compare(struct verifier *v, struct br__arena *a, struct br_err *err)
{
    const struct br__plan *p = v->s->plan;
    uint8_t *seen = br__arena_alloc(a, v->mc->n_tensors + 1);
    v->found = br__arena_alloc(a, (p->n_outs + 1) * sizeof *v->found);
    v->differs = br__arena_alloc(a, (p->n_pieces + 1) * sizeof *v->differs);
    if (!seen || !v->found || !v->differs)
        return br__nomem(err, "verifying");
    int rc = match_outputs(v, seen);
    if (rc)
        return rc;
    if ((rc = compare_all(v, err)))
        return rc;
    report_bytes(v);
    if (v->n_diff)
        return br_fail(err, BR_E_DIFF, "%zu difference(s) between '%s' and '%s'", v->n_diff,
                       v->s->src->dir, v->mc->dir);
    return BR_OK;
}

int br_verify(const struct br_job *job, struct br_job_result *res, struct br_err *err)
{
    struct br__ckpt *mc = NULL;
    struct br__session *s;
    struct br__arena a = {0};
    if (!job->megatron_path && !job->hf_model)
        return br_fail(err, BR_E_USAGE,
                       "verify needs --hf-model ID or DIR, --megatron-path DIR, "
                       "or both to compare them");
    if (!job->megatron_path || !job->hf_model)
        return br__check_dir(job, job->hf_model ? job->hf_model : job->megatron_path, res, err);
    int rc = br__td_open(&mc, job->megatron_path, err);
    if (rc)
        return rc;
    mc->td->no_verify = (job->flags & BR_JOB_NO_VERIFY) != 0;
    rc = br__session_open_like(&s, job, BR__IMPORT, mc, err);
    if (!rc) {
        struct verifier v = {.s = s, .mc = mc};
        br__session_report(s);
        rc = verify_compare(&v, &a, err);
        if (!rc)
            rc = br__ckpt_settle(mc, err);
        if (!rc)
            rc = br__ckpt_settle(s->src, err);
        rc = br__procs_agree(rc, err);
        struct br_job_result did = BR_JOB_RESULT_INIT;
        did.n_tensors = s->plan->n_outs;
        did.bytes_written = s->plan->out_bytes;
        br__result_path(&did, mc->dir);
        br__result_give(res, &did);
        br__session_close(s);
    }
    br__arena_free(&a);
    br__ckpt_close(mc);
    return rc;
}
