/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokens.c - where tokens come from, and the arrays of samples and examples. */
#include "gpt.h"
#include "random.h"
#include "samples.h"
#include "sft.h"

#include <inttypes.h>

const char *const br__split_names[BR__N_SPLITS] = {"train", "valid", "test"};

/* ---- token sources --------------------------------------------------------------------------- */

int br__tokens_open(struct br__tokens *t, const char *prefix, struct br_err *err)
{
    *t = (struct br__tokens){.name = prefix};
    int rc = br__indexed_open(&t->x, prefix, err);
    t->n_seq = t->x.n_seq;
    return rc;
}

/* MockGPTLowLevelDataset: these two numbers and seed 0 are written in it. */
#define MOCK_SEQUENCES 100000
#define MOCK_MAX_LENGTH 4096

int br__tokens_mock(struct br__tokens *t, int32_t vocab, int32_t eod, struct br_err *err)
{
    struct br__pcg64 r;
    *t = (struct br__tokens){
        .name = "mock data", .vocab = vocab, .eod = eod, .n_seq = MOCK_SEQUENCES};
    if (vocab < 1)
        return br_fail(err, BR_E_USAGE, "mock data needs the size of a vocabulary, got %" PRId32,
                       vocab);
    t->mock_lengths = br__calloc(MOCK_SEQUENCES, sizeof *t->mock_lengths);
    if (!t->mock_lengths)
        return br__nomem(err, "for mock data");
    br__pcg64_seed(&r, 0);
    br__pcg64_integers(&r, 1, MOCK_MAX_LENGTH, t->mock_lengths, MOCK_SEQUENCES);
    return BR_OK;
}

void br__tokens_close(struct br__tokens *t)
{
    br__indexed_close(&t->x);
    br__free(t->mock_lengths);
    *t = (struct br__tokens){0};
}

int64_t br__tokens_len(const struct br__tokens *t, int64_t seq)
{
    return t->mock_lengths ? t->mock_lengths[seq] : br__indexed_len(&t->x, seq);
}

int br__tokens_read(const struct br__tokens *t, int64_t seq, int64_t from, int64_t n, int32_t *out,
                    struct br_err *err)
{
    if (!t->mock_lengths)
        return br__indexed_read(&t->x, seq, from, n, out, err);
    for (int64_t i = from; i < from + n; i++)
        *out++ = i + 1 == t->mock_lengths[seq] ? t->eod : (int32_t)((i + 1) % t->vocab);
    return BR_OK;
}

/* ---- samples --------------------------------------------------------------------------------- */

int br__sample_room(struct br__sample *s, int64_t n, struct br_err *err)
{
    if (n <= s->cap)
        return BR_OK;
    br__sample_free(s);
    s->ids = br__calloc((size_t)n, sizeof *s->ids);
    s->labels = br__calloc((size_t)n, sizeof *s->labels);
    s->positions = br__calloc((size_t)n, sizeof *s->positions);
    s->weights = br__calloc((size_t)n, sizeof *s->weights);
    s->ends = br__calloc((size_t)n, sizeof *s->ends);
    if (!s->ids || !s->labels || !s->positions || !s->weights || !s->ends) {
        br__sample_free(s);
        return br__nomem(err, "for a sample of %" PRId64 " tokens", n);
    }
    s->cap = n;
    return BR_OK;
}

void br__sample_free(struct br__sample *s)
{
    br__free(s->ids);
    br__free(s->labels);
    br__free(s->positions);
    br__free(s->weights);
    br__free(s->ends);
    *s = (struct br__sample){0};
}

int br__example_room(struct br__example *e, struct br_err *err)
{
    if (e->ids.n <= e->cap)
        return BR_OK;
    uint8_t *p = br__realloc(e->learn, e->ids.n);
    if (!p)
        return br__nomem(err, "for an example of %zu tokens", e->ids.n);
    e->learn = p;
    e->cap = e->ids.n;
    return BR_OK;
}

void br__example_free(struct br__example *e)
{
    br_ids_free(&e->ids);
    br__free(e->learn);
    *e = (struct br__example){0};
}
