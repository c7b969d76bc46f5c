/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* steps.c - generation by steps: each step adds one token to every active sequence. */
#include "infer_internal.h"

#include <math.h>
#include <string.h>

struct sequence { /* in a cache slot */
    int used;
    uint64_t id;
    struct br__gen_request r; /* prompt and eos are not valid after add */
    int32_t *history;         /* prompt and new ids */
    size_t n_history, n_new;
    size_t n_fed; /* of history, how much is in the cache */
    int32_t *eos;
};

struct br__gen {
    struct br__llm_session *s;
    size_t vocab, n_slots, n_used;
    uint64_t next_id;
    struct sequence *seqs;          /* [n_slots] */
    struct br__forward_seq *inputs; /* [n_slots] of a step */
    struct sequence **fed;          /* [n_slots] whose input it is */
    struct br__gen_token *out;      /* [n_slots] */
    float *logits;                  /* [n_slots, vocab] */
    struct br__best *best;          /* [n_slots] */
    struct br__sampler *sampler;
};

/* ---- begin, end ------------------------------------------------------------------------------ */

int br__gen_begin(struct br__gen **out, struct br__llm_session *s, struct br_err *err)
{
    *out = NULL;
    struct br__gen *g = br__calloc(1, sizeof *g);
    if (!g)
        return br__nomem(err, "for generation");
    g->s = s;
    g->n_slots = (size_t)br__llm_slots(s);
    g->vocab = (size_t)br_cfg_i(br__llm_config(br__llm_session_model(s)), BR_CFG_VOCAB_SIZE);
    g->seqs = br__calloc(g->n_slots, sizeof *g->seqs);
    g->inputs = br__calloc(g->n_slots, sizeof *g->inputs);
    g->fed = br__calloc(g->n_slots, sizeof *g->fed);
    g->out = br__calloc(g->n_slots, sizeof *g->out);
    g->logits = br__calloc(g->n_slots * g->vocab, sizeof *g->logits);
    g->best = br__calloc(g->n_slots, sizeof *g->best);
    int rc = g->seqs && g->inputs && g->fed && g->out && g->logits && g->best
                 ? BR_OK
                 : br__nomem(err, "for generation");
    if (!rc)
        rc = br__sampler_new(&g->sampler, &(struct br__sample_opts)BR__SAMPLE_GREEDY,
                             (uint32_t)g->vocab, err);
    if (rc)
        br__gen_end(g);
    else
        *out = g;
    return rc;
}

static void gen_leave(struct br__gen *g, struct sequence *q)
{
    br__free(q->history);
    br__free(q->eos);
    memset(q, 0, sizeof *q);
    g->n_used--;
}

void br__gen_end(struct br__gen *g)
{
    if (!g)
        return;
    for (size_t i = 0; g->seqs && i < g->n_slots; i++)
        if (g->seqs[i].used)
            gen_leave(g, &g->seqs[i]);
    br__sampler_free(g->sampler);
    br__free(g->seqs);
    br__free(g->inputs);
    br__free(g->fed);
    br__free(g->out);
    br__free(g->logits);
    br__free(g->best);
    br__free(g);
}

size_t br__gen_free_slots(const struct br__gen *g)
{
    return g->n_slots - g->n_used;
}

/* ---- add, cancel ----------------------------------------------------------------------------- */

static int check_request(const struct br__gen *g, const struct br__gen_request *r,
                         struct br_err *err)
{
    if (!r->n_prompt)
        return br_fail(err, BR_E_USAGE, "the prompt has no tokens");
    if ((int64_t)r->n_prompt > br__llm_capacity(g->s))
        return br_fail(
            err, BR_E_USAGE,
            "the prompt's %zu tokens do not fit into a cache of %lld; the model has "
            "max_position_embeddings %lld",
            r->n_prompt, (long long)br__llm_capacity(g->s),
            (long long)br_cfg_i(br__llm_config(br__llm_session_model(g->s)), BR_CFG_SEQ_LENGTH));
    if (r->max_new_tokens < 1)
        return br_fail(err, BR_E_USAGE, "%lld new tokens, expected at least 1",
                       (long long)r->max_new_tokens);
    for (size_t i = 0; i < r->n_prompt; i++)
        if (r->prompt[i] < 0 || (size_t)r->prompt[i] >= g->vocab)
            return br_fail(err, BR_E_USAGE,
                           "token id %d is outside the model's vocabulary of %zu; is the "
                           "tokenizer another model's?",
                           r->prompt[i], g->vocab);
    return br__sampler_set(g->sampler, &r->sample, err);
}

int br__gen_add(struct br__gen *g, const struct br__gen_request *r, uint64_t *id,
                struct br_err *err)
{
    int rc = check_request(g, r, err);
    if (rc)
        return rc;
    if (g->n_used == g->n_slots)
        return br_fail(err, BR_E_BUSY, "all %zu sequences are in use; wait for one to end",
                       g->n_slots);
    size_t slot = 0;
    while (g->seqs[slot].used)
        slot++;
    struct sequence *q = &g->seqs[slot];
    int64_t room = br__llm_capacity(g->s) - (int64_t)r->n_prompt + 1;
    size_t most = r->n_prompt + (size_t)BR__MIN(r->max_new_tokens, room);
    int32_t *history = br__alloc(most * sizeof *history);
    int32_t *eos = br__alloc((r->n_eos + 1) * sizeof *eos);
    if (!history || !eos) {
        br__free(history);
        br__free(eos);
        return br__nomem(err, "for generation");
    }
    memcpy(history, r->prompt, r->n_prompt * sizeof *history);
    if (r->n_eos)
        memcpy(eos, r->eos, r->n_eos * sizeof *eos);
    *q = (struct sequence){.used = 1,
                           .id = g->next_id++,
                           .r = *r,
                           .history = history,
                           .n_history = r->n_prompt,
                           .eos = eos};
    br__llm_reset(g->s, (uint32_t)slot);
    g->n_used++;
    *id = q->id;
    return BR_OK;
}

void br__gen_cancel(struct br__gen *g, uint64_t id)
{
    for (size_t i = 0; i < g->n_slots; i++)
        if (g->seqs[i].used && g->seqs[i].id == id)
            gen_leave(g, &g->seqs[i]);
}

/* ---- one step -------------------------------------------------------------------------------- */

static int is_eos(const struct sequence *q, int32_t token)
{
    for (size_t i = 0; i < q->r.n_eos; i++)
        if (q->eos[i] == token)
            return 1;
    return 0;
}

/* Largest logits that are enough for all sequences of a step; 0: all logits. */
static uint32_t gen_enough(const struct br__gen *g, size_t n)
{
    uint32_t most = 0;
    for (size_t k = 0; k < n; k++) {
        uint32_t enough = g->fed[k]->r.logprob ? 0 : br__sample_enough(&g->fed[k]->r.sample);
        if (!enough)
            return 0;
        most = BR__MAX(most, enough);
    }
    return most;
}

/* Whether the sequence ends with its next token, whichever that is. */
static int is_last(const struct br__gen *g, const struct sequence *q)
{
    return q->n_new + 1 >= (size_t)q->r.max_new_tokens ||
           (int64_t)q->n_history + 1 > br__llm_capacity(g->s);
}

/* Whether all sequences of a step go on behind it, as far as can be known before it is made. */
static int gen_goes_on(const struct br__gen *g, size_t n)
{
    for (size_t k = 0; k < n; k++)
        if (is_last(g, g->fed[k]))
            return 0;
    return 1;
}

/* The token that follows sequence k of the step, and whether it ends with that. */
static int gen_choose(struct br__gen *g, size_t k, struct br_err *err)
{
    struct sequence *q = g->fed[k];
    const float *logits = g->logits + k * g->vocab;
    int full = is_last(g, q);
    int32_t token;
    int rc = br__sampler_set(g->sampler, &q->r.sample, err);
    if (!rc && g->best[k].n)
        token = br__sample_best(g->sampler, &g->best[k], q->r.number, q->n_new);
    else if (!rc)
        rc = br__sample(g->sampler, logits, q->history, q->n_history, q->r.number, q->n_new, &token,
                        err);
    if (rc)
        return rc;
    q->n_fed = q->n_history;
    q->history[q->n_history++] = token;
    q->n_new++;
    g->out[k] = (struct br__gen_token){
        .sequence = q->id,
        .id = token,
        .finish = is_eos(q, token) ? BR_FINISH_EOS
                  : full           ? BR_FINISH_LENGTH
                                   : BR_FINISH_NOT,
        .logprob = q->r.logprob ? br__log_prob(logits, g->vocab, token) : NAN};
    return BR_OK;
}

int br__gen_step(struct br__gen *g, struct br__gen_step *step, struct br_err *err)
{
    *step = (struct br__gen_step){.tokens = g->out};
    size_t n = 0;
    for (size_t i = 0; i < g->n_slots; i++) {
        struct sequence *q = &g->seqs[i];
        if (!q->used)
            continue;
        g->inputs[n] = (struct br__forward_seq){(uint32_t)i, q->history + q->n_fed,
                                                (int64_t)(q->n_history - q->n_fed)};
        step->prompt_tokens += q->n_fed ? 0 : q->n_history;
        g->fed[n++] = q;
    }
    uint32_t enough = gen_enough(g, n);
    const struct br__pick pick = {enough, gen_goes_on(g, n), g->best};
    int rc =
        n ? br__llm_forward_best(g->s, g->inputs, n, enough ? &pick : NULL, g->logits, err) : BR_OK;
    for (size_t k = 0; k < n && !rc; k++)
        rc = gen_choose(g, k, err);
    for (size_t k = 0; k < n && !rc; k++)
        if (g->out[k].finish != BR_FINISH_NOT)
            gen_leave(g, g->fed[k]);
    step->n = rc ? 0 : n;
    return rc;
}
