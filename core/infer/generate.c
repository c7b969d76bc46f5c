/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* generate.c - prompts to text: sequences are added as slots become free, tokens become text, and a
 * stop text ends its sequence. */
#include "infer_internal.h"
#include <bridge/tokenizer.h>
#include <stdlib.h>
#include <string.h>

struct active { /* a sequence that is being generated */
    struct br__gen_sequence *s;
    size_t index;
    uint64_t id;
    struct br_detok detok;
    struct br__stop *stop;
};

struct loop {
    struct br__gen *gen;
    const struct br__gen_opts *o;
    struct br__gen_sequence *seqs;
    size_t n, begun;       /* sequences, and how many of them were added */
    struct active *active; /* [n_active]; s is NULL in a free one */
    size_t n_active;
    struct br__gen_stats *stats;
    double start;
};

/* ---- sequences come and go ------------------------------------------------------------------- */

static int loop_begin(struct loop *l, struct active *a, struct br_err *err)
{
    struct br__gen_sequence *s = &l->seqs[l->begun];
    const struct br__gen_request r = {.prompt = s->prompt,
                                      .n_prompt = s->n_prompt,
                                      .eos = l->o->eos,
                                      .n_eos = l->o->n_eos,
                                      .sample = l->o->sample,
                                      .number = l->begun,
                                      .max_new_tokens = l->o->max_new_tokens};
    if (s->n_prompt == 0)
        return br_fail(err, BR_E_USAGE, "prompt %zu has no tokens", l->begun + 1);
    *a = (struct active){.s = s, .index = l->begun++};
    int rc = br__gen_add(l->gen, &r, &a->id, err);
    if (rc || !l->o->tok)
        return rc;
    br_detok_begin(&a->detok, l->o->tok, BR_TOK_SKIP_SPECIAL);
    return br__stop_new(&a->stop, l->o->stop, l->o->n_stop, err);
}

static void loop_end(struct active *a, const char *finish)
{
    a->s->finish = finish;
    br__stop_free(a->stop);
    memset(a, 0, sizeof *a);
}

static struct active *active_of(struct loop *l, uint64_t id)
{
    size_t i = 0;
    while (!l->active[i].s || l->active[i].id != id)
        i++;
    return &l->active[i];
}

/* ---- text ------------------------------------------------------------------------------------ */

/* Show what may be shown of `text`; 1 if a stop text came. */
static int loop_show(struct loop *l, struct active *a, const struct br_text *text, int at_end)
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
        *stopped = loop_show(l, a, &text, at_end);
    br_text_free(&text);
    if (!rc && a->s->text.failed)
        return br__nomem(err, "for generation");
    return rc;
}

/* ---- one step -------------------------------------------------------------------------------- */

/* A new token of a sequence: kept, shown, and the sequence ended if that is due. */
static int loop_take(struct loop *l, const struct br__gen_token *t, struct br_err *err)
{
    struct active *a = active_of(l, t->sequence);
    struct br__gen_sequence *s = a->s;
    int stopped = 0, last = t->finish != BR_FINISH_NOT;
    if (br__grow(&s->ids, &s->cap_ids, s->n_ids, sizeof *s->ids))
        return br__nomem(err, "for generation");
    s->ids[s->n_ids++] = t->id;
    int rc = l->o->tok ? put_text(l, a, t->id, last, &stopped, err) : 0;
    if (rc)
        return rc;
    if (stopped)
        br__gen_cancel(l->gen, t->sequence);
    if (last || stopped)
        loop_end(a, t->finish == BR_FINISH_EOS ? "eos" : stopped ? "stop" : "length");
    return 0;
}

static int loop_step(struct loop *l, size_t *busy, struct br_err *err)
{
    struct br__gen_step out;
    int rc = 0;
    for (size_t i = 0; i < l->n_active && l->begun < l->n && !rc; i++)
        if (!l->active[i].s)
            rc = loop_begin(l, &l->active[i], err);
    if (rc)
        return rc;
    double t0 = br__now();
    rc = br__gen_step(l->gen, &out, err);
    *busy = out.n;
    if (!rc && out.n && l->stats->first_token == 0)
        l->stats->first_token = br__now() - l->start;
    for (size_t k = 0; k < out.n && !rc; k++)
        rc = loop_take(l, &out.tokens[k], err);
    *(out.prompt_tokens ? &l->stats->prefill : &l->stats->decode) += br__now() - t0;
    l->stats->prompt_tokens += out.prompt_tokens;
    l->stats->new_tokens += out.n;
    l->stats->decoded += out.prompt_tokens ? 0 : out.n;
    return rc;
}

/* ---- the whole ------------------------------------------------------------------------------- */

int br__generate(struct br__llm_session *s, const struct br__gen_opts *o,
                 struct br__gen_sequence *seqs, size_t n, struct br__gen_stats *stats,
                 struct br_err *err)
{
    struct loop l = {.o = o, .seqs = seqs, .n = n, .stats = stats, .start = br__now()};
    size_t busy = 1;
    memset(stats, 0, sizeof *stats);
    int rc = br__gen_begin(&l.gen, s, err);
    if (!rc) {
        l.n_active = BR__MIN(br__gen_free_slots(l.gen), n);
        l.active = br__calloc(l.n_active, sizeof *l.active);
        rc = l.active ? 0 : br__nomem(err, "for generation");
    }
    int cancelled = 0;
    br__llm_stop_by(s, o->cancelled, o->ud);
    while (!rc && !cancelled && (busy || l.begun < n)) {
        rc = loop_step(&l, &busy, err);
        cancelled = o->cancelled && o->cancelled(o->ud);
        if (rc == BR_E_STOPPED && cancelled)
            rc = BR_OK;
    }
    br__llm_stop_by(s, NULL, NULL);
    for (size_t i = 0; l.active && i < l.n_active; i++)
        if (l.active[i].s)
            loop_end(&l.active[i], rc ? NULL : "cancelled");
    br__gen_end(l.gen);
    br__free(l.active);
    return rc;
}

void br__gen_free(struct br__gen_sequence *seqs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        br__free(seqs[i].ids);
        br__buf_free(&seqs[i].text);
    }
}
