/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pretok.c - records that are samples already. */
#include "gpt.h"
#include "random.h"
#include "samples.h"
#include "sft.h"

#include <bridge/bridge.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

struct br__pretok {
    struct br__pretok_opts o;
    struct br__records records;
    int64_t *good, n_good;
    int64_t *order, n_samples; /* [n_samples] into good */
};

/* The numbers of an array member; [n] has room for max. */
struct numbers {
    int64_t *v, n;
    size_t cap;
    int there;
};
enum { IDS, LABELS, MASK, POSITIONS, CU_SEQLENS, N_ARRAYS };
static const char *const names[N_ARRAYS] = {"input_ids", "labels", "loss_mask", "position_ids",
                                            "cu_seqlens"};

/* ---- a record -------------------------------------------------------------------------------- */

static int read_numbers(struct br__jscan *j, struct numbers *a, const char *name,
                        struct br_err *err)
{
    if (a->there)
        return br_fail(err, BR_E_FORMAT, "two members \"%s\"", name);
    a->there = 1;
    int rc = br__jscan_enter(j, 'a');
    while (!rc && br__jscan_next(j)) {
        if (br__grow(&a->v, &a->cap, (size_t)a->n, sizeof *a->v))
            return br__nomem(err, "for a record");
        char kind = br__jscan_kind(j);
        if (kind == 'b') { /* masks may be booleans */
            a->v[a->n] = j->s[j->at] == 't';
            rc = br__jscan_skip(j);
        } else if (kind == 'a' && a->n == 0) {
            return br_fail(err, BR_E_FORMAT, "\"%s\" is an array of arrays, expected of numbers",
                           name);
        } else {
            rc = br__jscan_i64(j, &a->v[a->n]);
        }
        a->n++;
    }
    return rc ? rc : j->rc;
}

static int read_record(const char *text, size_t n, struct numbers *a, struct br_err *err)
{
    struct br__jscan j;
    struct br__buf key = {0};
    for (int i = 0; i < N_ARRAYS; i++)
        a[i].n = a[i].there = 0;
    br__jscan_begin(&j, text, n, err);
    int rc = br__jscan_enter(&j, 'o');
    while (!rc && br__jscan_next(&j) && !(rc = br__jscan_key(&j, &key))) {
        int k = 0;
        while (k < N_ARRAYS && strcmp(names[k], key.p) != 0)
            k++;
        rc = k < N_ARRAYS ? read_numbers(&j, &a[k], names[k], err) : br__jscan_skip(&j);
    }
    rc = rc ? rc : j.rc;
    rc = rc ? rc : br__jscan_end(&j);
    br__buf_free(&key);
    return rc;
}

static int in_range(const struct numbers *a, int k, int64_t low, int64_t high, struct br_err *err)
{
    for (int64_t i = 0; i < a[k].n; i++)
        if (a[k].v[i] < low || a[k].v[i] > high)
            return br_fail(err, BR_E_FORMAT,
                           "\"%s\"[%" PRId64 "] is %" PRId64 ", expected %" PRId64 " to %" PRId64,
                           names[k], i, a[k].v[i], low, high);
    return BR_OK;
}

static int has_length(const struct numbers *a, int k, int64_t n, struct br_err *err)
{
    if (!a[k].there || a[k].n == n)
        return BR_OK;
    return br_fail(err, BR_E_FORMAT, "\"%s\" has %" PRId64 " entries, expected %" PRId64 "%s",
                   names[k], a[k].n, n, a[LABELS].there ? "" : " (one less than input_ids)");
}

static int check_record(const struct br__pretok *p, const struct numbers *a, struct br_err *err)
{
    int64_t n = a[IDS].n - !a[LABELS].there;
    int64_t top = p->o.n_vocab > 0 ? p->o.n_vocab - 1 : INT32_MAX;
    if (!a[IDS].there)
        return br_fail(err, BR_E_FORMAT, "the record has no member \"input_ids\"");
    if (n < 1 || n > p->o.seq_length)
        return br_fail(err, BR_E_FORMAT,
                       "\"input_ids\" gives a sample of %" PRId64 " tokens, expected 1 to %" PRId64
                       " (seq_length)",
                       n, p->o.seq_length);
    int rc = in_range(a, IDS, 0, top, err);
    if (!rc)
        rc = has_length(a, LABELS, a[IDS].n, err);
    if (!rc)
        rc = in_range(a, LABELS, -100, top, err);
    if (!rc)
        rc = has_length(a, MASK, n, err);
    if (!rc)
        rc = in_range(a, MASK, 0, 1, err);
    if (!rc && a[POSITIONS].n != a[IDS].n)
        rc = has_length(a, POSITIONS, n, err);
    if (!rc)
        rc = in_range(a, POSITIONS, 0, INT32_MAX, err);
    const struct numbers *cu = &a[CU_SEQLENS];
    if (!rc && cu->there &&
        (cu->n < 2 || cu->v[0] != 0 || (cu->v[cu->n - 1] != n && cu->v[cu->n - 1] != a[IDS].n)))
        return br_fail(err, BR_E_FORMAT,
                       "\"cu_seqlens\" must go from 0 to the number of tokens, %" PRId64, n);
    for (int64_t i = 1; i < cu->n && !rc; i++)
        if (cu->v[i] < cu->v[i - 1])
            return br_fail(err, BR_E_FORMAT, "\"cu_seqlens\" decreases at entry %" PRId64, i);
    return rc;
}

/* Labels below 0 (-100 as transformers has it) are not learnt. */
static int put_sample(const struct numbers *a, struct br__sample *out, struct br_err *err)
{
    int64_t n = a[IDS].n - !a[LABELS].there;
    int rc = br__sample_room(out, n + 1, err);
    if (rc)
        return rc;
    for (int64_t i = 0; i < n; i++) {
        int64_t label = a[LABELS].there ? a[LABELS].v[i] : a[IDS].v[i + 1];
        out->ids[i] = (int32_t)a[IDS].v[i];
        out->labels[i] = (int32_t)BR__MAX(label, 0);
        out->weights[i] = label >= 0 && (!a[MASK].there || a[MASK].v[i]);
        out->positions[i] = a[POSITIONS].there ? (int32_t)a[POSITIONS].v[i] : (int32_t)i;
    }
    out->n = out->span = n;
    out->n_ends = 0;
    for (int64_t i = 1; i < a[CU_SEQLENS].n; i++) {
        int64_t end = BR__MIN(a[CU_SEQLENS].v[i], n);
        if (end > (out->n_ends ? out->ends[out->n_ends - 1] : 0))
            out->ends[out->n_ends++] = (int32_t)end;
    }
    if (out->n_ends == 0)
        out->ends[out->n_ends++] = (int32_t)n;
    return BR_OK;
}

/* Positions start again where a sequence does, unless the record says otherwise. */
static void restart_positions(const struct numbers *a, struct br__sample *out)
{
    if (a[POSITIONS].there)
        return;
    for (int64_t k = 0, at = 0; k < out->n_ends; at = out->ends[k++])
        for (int64_t i = at; i < out->ends[k]; i++)
            out->positions[i] = (int32_t)(i - at);
}

static int pretok_load(const struct br__pretok *p, int64_t record, struct br__buf *text,
                       struct numbers *a, struct br_err *err)
{
    int rc = br__records_read(&p->records, record, text, err);
    if (!rc)
        rc = read_record(text->p, text->n, a, err);
    if (!rc)
        rc = check_record(p, a, err);
    if (rc)
        br__records_wrap(&p->records, record, err);
    return rc;
}

static void free_numbers(struct numbers *a)
{
    for (int i = 0; i < N_ARRAYS; i++)
        br__free(a[i].v);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int check_all(struct br__pretok *p, int64_t from, int64_t end, struct br_err *err)
{
    struct numbers a[N_ARRAYS] = {{0}};
    struct br__buf text = {0};
    struct br__progress g;
    int rc = BR_OK;
    br__progress_init(&g, p->o.listener, "checking records", (uint64_t)(end - from));
    for (int64_t i = from; i < end && !rc; i++) {
        rc = pretok_load(p, i, &text, a, err);
        if (!rc)
            p->good[p->n_good++] = i;
        if (rc == BR_E_FORMAT && p->o.skip_bad) {
            br__warn(p->o.listener, "%s", err->msg);
            rc = BR_OK;
        }
        br__progress_add(&g, 1);
    }
    br__progress_end(&g);
    br__buf_free(&text);
    free_numbers(a);
    return rc;
}

static int pretok_arrange(struct br__pretok *p, struct br_err *err)
{
    struct br__mt19937 r;
    int64_t n = p->n_good, want = p->o.n_samples < 0 ? n : p->o.n_samples;
    p->n_samples = (want + n - 1) / n * n; /* whole epochs */
    p->order = br__calloc((size_t)p->n_samples, sizeof *p->order);
    if (!p->order)
        return br__nomem(err, "for a record");
    br__mt_seed(&r, p->o.seed);
    for (int64_t at = 0; at < p->n_samples; at += n) {
        for (int64_t i = 0; i < n; i++)
            p->order[at + i] = i;
        if (!p->o.file_order)
            br__np_shuffle_i64(&r, p->order + at, n);
    }
    return BR_OK;
}

int br__pretok_open(struct br__pretok **out, const struct br__pretok_opts *o, struct br_err *err)
{
    double range[BR__N_SPLITS][2] = {{0, 1}, {0, 1}, {0, 1}};
    struct br__pretok *p = br__calloc(1, sizeof *p);
    *out = NULL;
    if (!p)
        return br__nomem(err, "for a record");
    p->o = *o;
    int rc = o->split ? br__split_parse(o->split, range, err) : BR_OK;
    if (!rc)
        rc = br__records_open(&p->records, o->path, err);
    p->good = br__calloc((size_t)p->records.n, sizeof *p->good);
    if (!rc && !p->good)
        rc = br__nomem(err, "for a record");
    int64_t from = (int64_t)rint(range[o->which][0] * (double)p->records.n);
    int64_t end = (int64_t)rint(range[o->which][1] * (double)p->records.n);
    if (!rc)
        rc = check_all(p, from, end, err);
    if (!rc && p->n_good == 0)
        rc = br_fail(err, BR_E_CONFIG, "'%s' has no record for %s", o->path,
                     br__split_names[o->which]);
    if (!rc)
        rc = pretok_arrange(p, err);
    if (rc)
        br__pretok_close(p);
    else
        *out = p;
    return rc;
}

void br__pretok_close(struct br__pretok *p)
{
    if (!p)
        return;
    br__records_close(&p->records);
    br__free(p->good);
    br__free(p->order);
    br__free(p);
}

int64_t br__pretok_count(const struct br__pretok *p)
{
    return p->n_samples;
}

int br__pretok_sample(const struct br__pretok *p, int64_t i, struct br__sample *out,
                      struct br_err *err)
{
    struct numbers a[N_ARRAYS] = {{0}};
    struct br__buf text = {0};
    if (i < 0 || i >= p->n_samples)
        BR_BUG("sample %" PRId64 " of %" PRId64, i, p->n_samples);
    int rc = pretok_load(p, p->good[p->order[i]], &text, a, err);
    if (!rc)
        rc = put_sample(a, out, err);
    if (!rc)
        restart_positions(a, out);
    br__buf_free(&text);
    free_numbers(a);
    return rc;
}

int br__is_pretok(const char *path, struct br_err *err)
{
    struct numbers a[N_ARRAYS] = {{0}};
    struct br__records r;
    struct br__buf text = {0};
    int rc = br__records_open(&r, path, err), found = 0;
    if (!rc && r.n) {
        rc = br__records_read(&r, 0, &text, err);
        /* A record of another kind may hold what is no list of numbers under these names. */
        found = !rc && read_record(text.p, text.n, a, NULL) == BR_OK && a[IDS].there;
    }
    br__buf_free(&text);
    free_numbers(a);
    br__records_close(&r);
    return rc ? -1 : found;
}
