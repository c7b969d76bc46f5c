/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* gpt.c - document, sample and shuffle index of one dataset, and its samples.
 *
 * The document index repeats the split's sequences once an epoch and is shuffled as a whole; the
 * sample index cuts the concatenated tokens; the shuffle index shuffles samples.  One RandomState
 * makes all draws, in this order.  A last epoch of which less than 80 % is needed is kept apart, so
 * that the other epochs are used in full before it. */
#include "gpt.h"
#include "random.h"
#include "samples.h"

#include <inttypes.h>
#include <string.h>

/* ---- how many epochs ------------------------------------------------------------------------- */

struct plan {
    int64_t first, n_seq, tokens; /* of one epoch */
    int64_t epochs, samples;
    int64_t apart; /* samples before the last epoch if that is shuffled apart, else -1 */
};

static int64_t samples_in(int64_t tokens, const struct br__gpt_shape *s)
{
    return (tokens - s->extra) / s->seq_length;
}

static int make_plan(struct plan *p, const struct br__tokens *t, int64_t first, int64_t end,
                     int64_t n_samples, const struct br__gpt_shape *s, struct br_err *err)
{
    *p = (struct plan){.first = first, .n_seq = end - first, .epochs = 1, .apart = -1};
    for (int64_t i = first; i < end; i++)
        p->tokens += br__tokens_len(t, i);
    if (p->tokens == 0)
        return br_fail(err, BR_E_CONFIG,
                       "'%s': its %" PRId64 " sequences %" PRId64 " to %" PRId64
                       " hold no tokens; give the split a larger share in dataset_split, or 0",
                       t->name, p->n_seq, first, end);
    if (n_samples > (INT64_MAX / 4 - s->extra) / s->seq_length)
        return br_fail(err, BR_E_CONFIG, "%" PRId64 " samples of %" PRId64 " tokens are too many",
                       n_samples, s->seq_length);
    if (n_samples >= 0) {
        int64_t want = n_samples * s->seq_length + s->extra;
        p->epochs = BR__MAX(1, (want + p->tokens - 1) / p->tokens);
    }
    if (p->n_seq > INT32_MAX / p->epochs)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "'%s': %" PRId64 " epochs of %" PRId64 " sequences; 2^31 are the limit",
                       t->name, p->epochs, p->n_seq);
    p->samples = samples_in(p->epochs * p->tokens, s);
    if (p->samples < 1 && n_samples)
        return br_fail(err, BR_E_CONFIG,
                       "'%s': %" PRId64 " tokens are not enough for one sample of %" PRId64,
                       t->name, p->tokens, s->seq_length + s->extra);
    if (p->epochs > 1) {
        int64_t before = samples_in((p->epochs - 1) * p->tokens, s);
        int64_t share = (int64_t)(0.80 * (double)samples_in(p->tokens, s));
        if (n_samples - before < share)
            p->apart = before;
    }
    return BR_OK;
}

/* ---- the three arrays ------------------------------------------------------------------------ */

static void put_documents(int32_t *to, const struct plan *p, int64_t epochs, struct br__mt19937 *r)
{
    int64_t at = 0;
    for (int64_t e = 0; e < epochs; e++)
        for (int64_t i = 0; i < p->n_seq; i++)
            to[at++] = (int32_t)(p->first + i);
    br__np_shuffle_i32(r, to, at);
}

/* Where each sample begins.  A sample ends at the token that the next one begins with: it is the
 * last label of one and the first input of the other. */
static void put_starts(struct br__gpt_index *x, const struct br__tokens *t,
                       const struct br__gpt_shape *s)
{
    int64_t doc = 0, at = 0;
    x->starts[0][0] = x->starts[0][1] = 0;
    for (int64_t i = 1; i <= x->n_samples; i++) {
        int64_t left = s->seq_length + s->extra;
        for (;;) {
            int64_t len = br__tokens_len(t, x->documents[doc]) - at;
            left -= len;
            if (left <= 0) {
                at += left + len - s->extra;
                break;
            }
            doc++;
            at = 0;
        }
        x->starts[i][0] = doc;
        x->starts[i][1] = at;
    }
}

static void put_order(int64_t *to, int64_t first, int64_t end, struct br__mt19937 *r)
{
    for (int64_t i = first; i < end; i++)
        to[i] = i;
    br__np_shuffle_i64(r, to + first, end - first);
}

int br__gpt_index_make(struct br__gpt_index *x, const struct br__tokens *t, int64_t first,
                       int64_t end, int64_t n_samples, const struct br__gpt_shape *s,
                       struct br_err *err)
{
    struct br__mt19937 r;
    struct plan p;
    *x = (struct br__gpt_index){0};
    int rc = make_plan(&p, t, first, end, n_samples, s, err);
    if (rc)
        return rc;
    x->n_documents = p.epochs * p.n_seq;
    x->n_epochs = p.epochs;
    x->n_samples = p.samples;
    x->documents = br__calloc((size_t)x->n_documents, sizeof *x->documents);
    x->starts = br__calloc((size_t)p.samples + 1, sizeof *x->starts);
    x->order = br__calloc((size_t)p.samples, sizeof *x->order);
    if (!x->documents || !x->starts || !x->order) {
        br__gpt_index_free(x);
        return br__nomem(err, "for the index of %" PRId64 " samples", p.samples);
    }
    br__mt_seed(&r, s->seed);
    int64_t together = p.epochs - (p.apart >= 0);
    put_documents(x->documents, &p, together, &r);
    if (p.apart >= 0)
        put_documents(x->documents + together * p.n_seq, &p, 1, &r);
    put_starts(x, t, s);
    put_order(x->order, 0, p.apart >= 0 ? p.apart : p.samples, &r);
    if (p.apart >= 0)
        put_order(x->order, p.apart, p.samples, &r);
    return BR_OK;
}

void br__gpt_index_free(struct br__gpt_index *x)
{
    br__free(x->documents);
    br__free(x->starts);
    br__free(x->order);
    *x = (struct br__gpt_index){0};
}

/* ---- a sample -------------------------------------------------------------------------------- */

/* The tokens between two starts, and `extra` more. */
static int read_text(const struct br__gpt_index *x, const struct br__tokens *t, int64_t sample,
                     int64_t extra, int32_t *out, struct br_err *err)
{
    const int64_t *from = x->starts[sample], *to = x->starts[sample + 1];
    int rc = BR_OK;
    for (int64_t d = from[0]; d <= to[0] && !rc; d++) {
        int32_t seq = x->documents[d];
        int64_t at = d == from[0] ? from[1] : 0;
        int64_t end = d == to[0] ? to[1] + extra : br__tokens_len(t, seq);
        rc = br__tokens_read(t, seq, at, end - at, out, err);
        out += end - at;
    }
    return rc;
}

static void set_masks(const struct br__gpt_shape *s, struct br__sample *out)
{
    int64_t base = 0;
    out->n_ends = 0;
    for (int64_t i = 0; i < out->n; i++) {
        int is_eod = out->ids[i] == s->eod;
        out->weights[i] = s->eod_mask_loss && is_eod ? 0 : 1;
        out->positions[i] = (int32_t)(i - base);
        if (is_eod && s->reset_position_ids)
            base = i + 1;
        if (is_eod && s->reset_attention_mask && i + 1 < out->n)
            out->ends[out->n_ends++] = (int32_t)(i + 1);
    }
    out->ends[out->n_ends++] = (int32_t)out->n;
}

/* A pad is no label, and is replaced by token 0, for which there is an embedding. */
static void drop_pads(int32_t pad, struct br__sample *out)
{
    for (int64_t i = 0; i < out->n; i++) {
        if (out->labels[i] == pad) {
            out->weights[i] = 0;
            out->labels[i] = 0;
        }
        if (out->ids[i] == pad)
            out->ids[i] = 0;
    }
}

int br__gpt_sample(const struct br__gpt_index *x, const struct br__tokens *t,
                   const struct br__gpt_shape *s, int64_t i, struct br__sample *out,
                   struct br_err *err)
{
    int64_t n = s->seq_length;
    if (i < 0 || i >= x->n_samples)
        BR_BUG("sample %" PRId64 " of %" PRId64, i, x->n_samples);
    int rc = br__sample_room(out, n + 1, err);
    if (!rc)
        rc = read_text(x, t, x->order[i], s->extra, out->ids, err);
    if (rc)
        return rc;
    out->n = out->span = n;
    memcpy(out->labels, out->ids + 1, (size_t)(n - 1) * sizeof *out->labels);
    out->labels[n - 1] = s->extra ? out->ids[n] : s->pad;
    set_masks(s, out);
    drop_pads(s->pad, out);
    return BR_OK;
}
