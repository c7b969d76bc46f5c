/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* generate.c - the decoding loop: feed, sample, show, until every sequence has ended. */
#include "infer_internal.h"
#include <bridge/tokenizer.h>
#include <stdlib.h>
#include <string.h>

struct active { /* a sequence in a cache slot */
    struct br__gen_sequence *s;
    size_t index;
    int fed; /* its prompt is in the cache */
    int32_t next;
    struct br_detok detok;
    struct br__stop *stop;
    int32_t *history; /* prompt and new ids */
    size_t n_history;
};

struct loop {
    struct br__llm *m;
    const struct br__gen_opts *o;
    struct br__gen_sequence *seqs;
    size_t n, begun;      /* sequences, and how many of them have had a slot */
    struct active *slots; /* [n_slots]; s is NULL in a free one */
    size_t n_slots;
    struct br__feed *feeds;
    struct active **fed; /* [n_slots] which sequence a feed is for */
    float *logits;
    size_t vocab;
    struct br__sampler *sampler;
    struct br__gen_stats *stats;
    double start;
};

static int nomem(struct br_err *err)
{
    return br_fail(err, BR_E_NOMEM, "out of memory for generation");
}

/* ---- sequences come and go ------------------------------------------------------------------- */

/* Ids that a sequence can come to: its prompt and the new ones that are asked for, as far as the
 * cache has room; of the last id nothing is cached. */
static size_t history_room(const struct loop *l, size_t n_prompt)
{
    int64_t room = br__llm_capacity(l->m) + 1 - (int64_t)n_prompt;
    return n_prompt + (size_t)BR__MAX(BR__MIN(room, l->o->max_new_tokens), 1);
}

static int begin(struct loop *l, struct active *a, struct br_err *err)
{
    struct br__gen_sequence *s = &l->seqs[l->begun];
    size_t slot = (size_t)(a - l->slots), most = history_room(l, s->n_prompt);
    if (s->n_prompt == 0)
        return br_fail(err, BR_E_USAGE, "prompt %zu has no tokens", l->begun + 1);
    *a = (struct active){.s = s, .index = l->begun++};
    a->history = br__alloc(most * sizeof *a->history);
    if (!a->history)
        return nomem(err);
    memcpy(a->history, s->prompt, s->n_prompt * sizeof *a->history);
    a->n_history = s->n_prompt;
    l->stats->prompt_tokens += s->n_prompt;
    br__llm_reset(l->m, (uint32_t)slot);
    if (!l->o->tok)
        return 0;
    br_detok_begin(&a->detok, l->o->tok, BR_TOK_SKIP_SPECIAL);
    return br__stop_new(&a->stop, l->o->stop, l->o->n_stop, err);
}

static void end(struct active *a, const char *finish)
{
    a->s->finish = finish;
    br__free(a->history);
    br__stop_free(a->stop);
    memset(a, 0, sizeof *a);
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Show what may be shown of `text`; 1 if a stop text came. */
static int show(struct loop *l, struct active *a, const struct br_text *text, int at_end)
{
    struct br__buf *all = &a->s->text;
    size_t before = all->n;
    int stopped = br__stop_feed(a->stop, text->p ? text->p : "", text->n, all) >= 0;
    if (at_end && !stopped)
        br__stop_end(a->stop, all);
    if (l->o->on_text && all->n > before)
        l->o->on_text(l->o->ud, a->index, all->p + before, all->n - before);
    return stopped;
}

static int put_text(struct loop *l, struct active *a, int32_t id, int at_end, int *stopped,
                    struct br_err *err)
{
    struct br_text text = {0};
    int rc = br_detok_put(&a->detok, id, &text, err);
    if (!rc && at_end)
        rc = br_detok_end(&a->detok, &text, err);
    if (!rc)
        *stopped = show(l, a, &text, at_end);
    br_text_free(&text);
    if (!rc && a->s->text.failed)
        return nomem(err);
    return rc;
}

/* ---- one step -------------------------------------------------------------------------------- */

static int is_eos(const struct br__gen_opts *o, int32_t id)
{
    for (size_t i = 0; i < o->n_eos; i++)
        if (o->eos[i] == id)
            return 1;
    return 0;
}

/* A new token of a sequence: kept, shown, and the sequence ended if that is due. */
static int take(struct loop *l, struct active *a, int32_t id, struct br_err *err)
{
    struct br__gen_sequence *s = a->s;
    if (br__grow(&s->ids, &s->cap_ids, s->n_ids, sizeof *s->ids))
        return nomem(err);
    s->ids[s->n_ids++] = id;
    a->history[a->n_history++] = a->next = id;
    a->fed = 1;
    l->stats->new_tokens++;
    if (l->stats->first_token == 0)
        l->stats->first_token = br__now() - l->start;
    int eos = is_eos(l->o, id), stopped = 0;
    int full =
        s->n_ids >= (size_t)l->o->max_new_tokens || (int64_t)a->n_history > br__llm_capacity(l->m);
    int rc = l->o->tok ? put_text(l, a, id, eos || full, &stopped, err) : 0;
    if (!rc && (eos || full || stopped))
        end(a, eos ? "eos" : stopped ? "stop" : "length");
    return rc;
}

/* What each busy slot is fed next; *reading: some of it is a prompt. */
static size_t gather(struct loop *l, int *reading)
{
    size_t k = 0;
    *reading = 0;
    for (size_t i = 0; i < l->n_slots; i++) {
        struct active *a = &l->slots[i];
        if (!a->s)
            continue;
        *reading |= !a->fed;
        l->feeds[k] = (struct br__feed){(uint32_t)i, a->fed ? &a->next : a->s->prompt,
                                        a->fed ? 1 : (int64_t)a->s->n_prompt};
        l->fed[k++] = a;
    }
    return k;
}

static int step(struct loop *l, size_t *busy, struct br_err *err)
{
    int reading, rc = 0;
    for (size_t i = 0; i < l->n_slots && l->begun < l->n && !rc; i++)
        if (!l->slots[i].s)
            rc = begin(l, &l->slots[i], err);
    if (rc)
        return rc;
    double t0 = br__now();
    *busy = gather(l, &reading);
    if (*busy)
        rc = br__llm_feed(l->m, l->feeds, *busy, l->logits, err);
    for (size_t k = 0; k < *busy && !rc; k++) {
        struct active *a = l->fed[k];
        int32_t id;
        rc = br__sample(l->sampler, l->logits + k * l->vocab, a->history, a->n_history, a->index,
                        a->s->n_ids, &id, err);
        if (!rc)
            rc = take(l, a, id, err);
    }
    *(reading ? &l->stats->prefill : &l->stats->decode) += br__now() - t0;
    l->stats->decoded += reading ? 0 : *busy;
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int open_loop(struct loop *l, struct br_err *err)
{
    l->n_slots = BR__MIN((size_t)br__llm_slots(l->m), l->n);
    l->vocab = (size_t)br_cfg_i(br__llm_config(l->m), BR_CFG_VOCAB_SIZE);
    l->slots = br__calloc(l->n_slots, sizeof *l->slots);
    l->feeds = br__calloc(l->n_slots, sizeof *l->feeds);
    l->fed = br__calloc(l->n_slots, sizeof *l->fed);
    l->logits = br__calloc(l->n_slots * l->vocab, sizeof *l->logits);
    if (!l->slots || !l->feeds || !l->fed || !l->logits)
        return nomem(err);
    return br__sampler_new(&l->sampler, &l->o->sample, (uint32_t)l->vocab, err);
}

int br__generate(struct br__llm *m, const struct br__gen_opts *o, struct br__gen_sequence *seqs,
                 size_t n, struct br__gen_stats *stats, struct br_err *err)
{
    struct loop l = {.m = m, .o = o, .seqs = seqs, .n = n, .stats = stats, .start = br__now()};
    size_t busy = 1;
    memset(stats, 0, sizeof *stats);
    int rc = open_loop(&l, err);
    while (!rc && (busy || l.begun < n))
        rc = step(&l, &busy, err);
    for (size_t i = 0; l.slots && i < l.n_slots; i++)
        if (l.slots[i].s)
            end(&l.slots[i], NULL);
    br__sampler_free(l.sampler);
    br__free(l.slots);
    br__free(l.feeds);
    br__free(l.fed);
    br__free(l.logits);
    return rc;
}

void br__gen_free(struct br__gen_sequence *seqs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        br__free(seqs[i].ids);
        br__buf_free(&seqs[i].text);
    }
}
