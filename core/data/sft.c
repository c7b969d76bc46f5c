/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sft.c - finetuning data opened: records checked, counted, packed; and its samples. */
#include "sft.h"
#include "random.h"
#include "samples.h"

#include <bridge/bridge.h>
#include <inttypes.h>
#include <string.h>

#define TASK 256 /* records that a thread takes at a time */

struct br__sft {
    struct br__sft_opts o;
    struct br__sft_rules rules;
    struct br__records records;
    int32_t *length; /* [records.n] tokens, 0: cannot be used; afterwards [n_good] */
    int64_t *good;   /* [n_good] records that can be used */
    int64_t n_good, n_bad;
    struct br__packing packing; /* of good records */
    int64_t *mapping;           /* [n_samples] max_samples: which record or row */
    int64_t n_samples;
};

/* ---- examples -------------------------------------------------------------------------------- */

/* Packing with a multiple: pad so that the tokens without the last are one. */
static int pad_example(const struct br__sft *s, struct br__example *e, struct br_err *err)
{
    int64_t m = s->o.pack_multiple, n = (int64_t)e->ids.n;
    if (!s->o.packing || m <= 1)
        return BR_OK;
    int64_t want = BR__MIN(s->o.pack_size / m * m, (n - 1 + m - 1) / m * m) + 1;
    for (; n < want; n++) {
        if (br__grow(&e->ids.p, &e->ids.cap, e->ids.n, sizeof *e->ids.p))
            return br__nomem(err, "for finetuning data");
        e->ids.p[e->ids.n++] = s->rules.eos;
    }
    e->ids.n = (size_t)want; /* or cut */
    return br__example_room(e, err);
}

static int sft_example(const struct br__sft *s, int64_t record, struct br__buf *room,
                       struct br__example *e, struct br_err *err)
{
    int rc = br__records_read(&s->records, record, room, err);
    if (!rc)
        rc = br__sft_example(&s->rules, room->p, room->n, e, err);
    size_t real = e->ids.n;
    if (!rc)
        rc = pad_example(s, e, err);
    if (!rc && e->ids.n > real)
        memset(e->learn + real, 0, e->ids.n - real);
    if (rc)
        br__records_wrap(&s->records, record, err);
    return rc;
}

/* ---- checking all records -------------------------------------------------------------------- */

struct check {
    struct br__sft *s;
    struct br__progress progress;
};

static int check_task(void *arg, size_t task, int worker, struct br_err *err)
{
    struct check *c = arg;
    struct br__sft *s = c->s;
    struct br__example e = {0};
    struct br__buf room = {0};
    int64_t from = (int64_t)task * TASK, end = BR__MIN(from + TASK, s->records.n);
    int rc = BR_OK;
    (void)worker;
    for (int64_t i = from; i < end && !rc; i++) {
        rc = sft_example(s, i, &room, &e, err);
        if (!rc && e.ids.n > INT32_MAX)
            rc = br_fail(err, BR_E_UNSUPPORTED, "a record of %zu tokens", e.ids.n);
        s->length[i] = rc ? 0 : (int32_t)e.ids.n;
        if (rc && s->o.skip_bad && rc != BR_E_NOMEM && rc != BR_E_IO) {
            br__warn(s->o.listener, "%s", err->msg);
            rc = BR_OK;
        }
        br__progress_add(&c->progress, 1);
    }
    br__example_free(&e);
    br__buf_free(&room);
    return rc;
}

static int check_records(struct br__sft *s, struct br_err *err)
{
    struct check c = {.s = s};
    int64_t n = s->records.n;
    s->length = br__calloc((size_t)n, sizeof *s->length);
    s->good = br__calloc((size_t)n, sizeof *s->good);
    if (!s->length || !s->good)
        return br__nomem(err, "for finetuning data");
    br__progress_init(&c.progress, s->o.listener, "checking records", (uint64_t)n);
    int rc = br__pool_run(s->o.threads, (size_t)((n + TASK - 1) / TASK), check_task, &c, err);
    br__progress_end(&c.progress);
    for (int64_t i = 0; i < n && !rc; i++) {
        if (!s->length[i])
            continue;
        s->length[s->n_good] = s->length[i];
        s->good[s->n_good++] = i;
    }
    s->n_bad = n - s->n_good;
    if (!rc && s->n_good == 0)
        rc = br_fail(err, BR_E_FORMAT, "'%s' has no record that can be used", s->o.path);
    return rc;
}

/* ---- which sample is which record ------------------------------------------------------------ */

#define BLOCK 1000000

/* Megatron Bridge's _OnlineSampleMapping: blocks of the data are shuffled, and each inside. */
static int map_records(struct br__sft *s, int64_t n, int64_t want, struct br_err *err)
{
    int64_t block = BR__MIN(n, BLOCK), all = BR__MAX(n, want), at = 0;
    int64_t blocks = (all + block - 1) / block;
    struct br__mt19937 r;
    int64_t *order = br__calloc((size_t)blocks, sizeof *order);
    int64_t *inside = br__calloc((size_t)block, sizeof *inside);
    s->mapping = br__calloc((size_t)want, sizeof *s->mapping);
    int rc = order && inside && s->mapping ? BR_OK : br__nomem(err, "for finetuning data");
    if (!rc) {
        br__mt_seed(&r, 1);
        br__np_permutation(&r, blocks, order);
    }
    for (int64_t b = 0; b < blocks && !rc; b++) {
        int64_t first = order[b] * block, size = BR__MIN(block, all - first);
        br__mt_seed(&r, (uint32_t)(1 + b));
        br__np_permutation(&r, size, inside);
        for (int64_t i = 0; i < size && at < want; i++)
            s->mapping[at++] = (first + inside[i]) % n;
    }
    br__free(order);
    br__free(inside);
    return rc;
}

/* Packed rows: every epoch shuffled by one generator (GPTSFTPackedDataset). */
static int map_rows(struct br__sft *s, int64_t n, int64_t want, struct br_err *err)
{
    struct br__mt19937 r;
    int64_t *order = br__calloc((size_t)n, sizeof *order);
    s->mapping = br__calloc((size_t)want, sizeof *s->mapping);
    int rc = order && s->mapping ? BR_OK : br__nomem(err, "for finetuning data");
    br__mt_seed(&r, s->o.seed);
    for (int64_t at = 0; at < want && !rc;) {
        br__np_permutation(&r, n, order);
        for (int64_t i = 0; i < n && at < want; i++)
            s->mapping[at++] = order[i];
    }
    br__free(order);
    return rc;
}

static int sft_arrange(struct br__sft *s, struct br_err *err)
{
    int rc = BR_OK;
    s->n_samples = s->n_good;
    if (s->o.packing) {
        for (int64_t i = 0; i < s->n_good; i++)
            s->length[i]--;
        rc = br__pack(&s->packing, s->length, s->n_good, s->o.pack_size,
                      s->o.packing == BR__PACK_FIRST_FIT_SHUFFLE, s->o.seed, err);
        s->n_samples = s->packing.n_rows;
    }
    if (!rc && s->n_samples == 0)
        rc = br_fail(err, BR_E_CONFIG, "no record of '%s' fits in a row of %" PRId64 " tokens",
                     s->o.path, s->o.pack_size);
    if (rc || s->o.max_samples <= 0)
        return rc;
    rc = s->o.packing ? map_rows(s, s->n_samples, s->o.max_samples, err)
                      : map_records(s, s->n_samples, s->o.max_samples, err);
    s->n_samples = s->o.max_samples;
    return rc;
}

/* ---- opening --------------------------------------------------------------------------------- */

int br__sft_open(struct br__sft **out, const struct br__sft_opts *o, struct br_err *err)
{
    struct br__sft *s = br__calloc(1, sizeof *s);
    *out = NULL;
    if (!s)
        return br__nomem(err, "for finetuning data");
    s->o = *o;
    if (o->packing && o->pack_size < 1)
        s->o.pack_size = o->seq_length;
    if (o->packing && o->pack_multiple > 1)
        s->o.seq_length++; /* what is stored has one token more than what is trained on */
    int rc = br__sft_rules_make(&s->rules, &s->o, err);
    if (!rc)
        rc = br__records_open(&s->records, o->path, err);
    if (!rc && s->records.n == 0)
        rc = br_fail(err, BR_E_FORMAT, "'%s' has no records", o->path);
    if (!rc)
        rc = check_records(s, err);
    if (!rc)
        rc = sft_arrange(s, err);
    if (rc)
        br__sft_close(s);
    else
        *out = s;
    return rc;
}

void br__sft_close(struct br__sft *s)
{
    if (!s)
        return;
    br__sft_rules_free(&s->rules);
    br__records_close(&s->records);
    br__packing_free(&s->packing);
    br__free(s->length);
    br__free(s->good);
    br__free(s->mapping);
    br__free(s);
}

int64_t br__sft_count(const struct br__sft *s)
{
    return s->n_samples;
}

int64_t br__sft_skipped(const struct br__sft *s)
{
    return s->n_bad;
}

int32_t br__sft_eos(const struct br__sft *s)
{
    return s->rules.eos;
}

const char *br__sft_file(struct br__arena *a, const char *dir, int split)
{
    static const char *const names[] = {"training.jsonl", "validation.jsonl", "test.jsonl"};
    const char *path = br__path_join(a, dir, names[split]);
    return path && br__exists(path) ? path : NULL;
}

/* ---- samples --------------------------------------------------------------------------------- */

/* Append an example without its last token; labels are the tokens shifted by one. */
static void sft_append(const struct br__sft *s, struct br__sample *out, const struct br__example *e)
{
    int64_t n = (int64_t)e->ids.n - 1, at = out->n;
    for (int64_t i = 0; i < n; i++) {
        int32_t id = e->ids.p[i];
        out->ids[at + i] = id;
        out->labels[at + i] = e->ids.p[i + 1];
        out->positions[at + i] = (int32_t)i;
        /* In a packed row nothing is predicted from an end of text. */
        out->weights[at + i] = e->learn[i + 1] && !(s->o.packing && id == s->rules.eos);
    }
    out->n += n;
    out->ends[out->n_ends++] = (int32_t)out->n;
    out->span = BR__MAX(out->n, e->n_context);
}

static int one_record(const struct br__sft *s, int64_t record, struct br__sample *out,
                      struct br_err *err)
{
    struct br__example e = {0};
    struct br__buf room = {0};
    int rc = sft_example(s, record, &room, &e, err);
    if (!rc)
        rc = br__sample_room(out, (int64_t)e.ids.n, err);
    if (!rc)
        sft_append(s, out, &e);
    br__example_free(&e);
    br__buf_free(&room);
    return rc;
}

static int one_row(const struct br__sft *s, int64_t row, struct br__sample *out, struct br_err *err)
{
    struct br__example e = {0};
    struct br__buf room = {0};
    int rc = br__sample_room(out, s->o.pack_size + 1, err);
    for (int64_t k = s->packing.first[row]; k < s->packing.first[row + 1] && !rc; k++) {
        rc = sft_example(s, s->good[s->packing.item[k]], &room, &e, err);
        if (!rc && (int64_t)e.ids.n - 1 != s->length[s->packing.item[k]])
            rc = br_fail(err, BR_E_IO, "'%s' changed while it is used", s->o.path);
        if (!rc)
            sft_append(s, out, &e);
    }
    out->span = out->n;
    br__example_free(&e);
    br__buf_free(&room);
    return rc;
}

int br__sft_sample(const struct br__sft *s, int64_t i, struct br__sample *out, struct br_err *err)
{
    int filler = i < 0;
    if (i < -1 || i >= s->n_samples)
        BR_BUG("sample %" PRId64 " of %" PRId64, i, s->n_samples);
    if (filler)
        i = s->n_samples - 1;
    if (s->mapping)
        i = s->mapping[i];
    out->n = out->n_ends = 0;
    int rc = s->o.packing ? one_row(s, i, out, err) : one_record(s, s->good[i], out, err);
    if (!rc && filler)
        memset(out->weights, 0, (size_t)out->n * sizeof *out->weights);
    return rc;
}
