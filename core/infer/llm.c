/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.c - <bridge/llm.h>: the engine and generation by steps for programs that embed bridge. */
#include "infer_internal.h"

#include <bridge/llm.h>
#include <string.h>

struct br_llm {
    struct br__llm *m;
    int32_t eos[BR__MAX_EOS];
    size_t n_eos;
};

struct br_gen {
    const struct br_llm *m;
    struct br__llm_session *s;
    struct br__gen *g;
};

/* ---- a model --------------------------------------------------------------------------------- */

int br_llm_open(struct br_llm **out, const struct br_llm_opts *given, struct br_err *err)
{
    struct br_llm_opts o;
    *out = NULL;
    if (br__adopt(&o, sizeof o, given, given->struct_size))
        return br_fail(err, BR_E_USAGE, "the model's options come from a newer bridge");
    if (o.dtype != BR_NONE && o.dtype != BR_F32 && o.dtype != BR_BF16)
        return br_fail(err, BR_E_USAGE, "dtype is '%s', expected float32 or bfloat16",
                       br_dtype_torch(o.dtype));
    struct br_llm *m = br__calloc(1, sizeof *m);
    if (!m)
        return br__nomem(err, "for the model");
    const struct br__llm_opts opts = {.weights = {.hf_model = o.hf_model,
                                                  .megatron_path = o.megatron_path,
                                                  .plugin = o.plugin,
                                                  .adapter = o.adapter,
                                                  .merge_adapter = o.merge_adapter != 0,
                                                  .threads = o.threads,
                                                  .listener = o.listener},
                                      .device = o.device,
                                      .precision = o.dtype,
                                      .tp = o.tp,
                                      .pp = o.pp,
                                      .ep = o.ep,
                                      .etp = o.etp,
                                      .threads = o.threads};
    int rc = br__llm_open(&m->m, &opts, err);
    if (rc) {
        br__free(m);
        return rc;
    }
    m->n_eos = br__eos_ids(m->m, m->eos);
    *out = m;
    return BR_OK;
}

void br_llm_close(struct br_llm *m)
{
    if (m)
        br__llm_close(m->m);
    br__free(m);
}

int64_t br_llm_vocab_size(const struct br_llm *m)
{
    return br_cfg_i(br__llm_config(m->m), BR_CFG_VOCAB_SIZE);
}

int64_t br_llm_max_tokens(const struct br_llm *m)
{
    return br_cfg_i(br__llm_config(m->m), BR_CFG_SEQ_LENGTH);
}

size_t br_llm_eos(const struct br_llm *m, const int32_t **ids)
{
    *ids = m->eos;
    return m->n_eos;
}

int br_llm_logits(struct br_llm *m, const int32_t *ids, size_t n, float *logits, struct br_err *err)
{
    return br__logits(m->m, ids, n, logits, err);
}

int br_llm_score(struct br_llm *m, const int32_t *ids, size_t n, double *logprob,
                 struct br_err *err)
{
    return br__score(m->m, ids, n, logprob, err);
}

/* ---- generation ------------------------------------------------------------------------------ */

int br_gen_begin(struct br_gen **out, struct br_llm *m, size_t sequences, size_t tokens,
                 struct br_err *err)
{
    *out = NULL;
    if (sequences > INT32_MAX || tokens > INT32_MAX)
        return br_fail(err, BR_E_USAGE, "%zu sequences of %zu tokens are impossible", sequences,
                       tokens);
    struct br_gen *g = br__calloc(1, sizeof *g);
    if (!g)
        return br__nomem(err, "for the model");
    g->m = m;
    int rc = br__llm_session_open(&g->s, m->m, (int64_t)sequences, (int64_t)tokens, err);
    if (!rc)
        rc = br__gen_begin(&g->g, g->s, err);
    if (rc)
        br_gen_end(g);
    else
        *out = g;
    return rc;
}

void br_gen_end(struct br_gen *g)
{
    if (!g)
        return;
    br__gen_end(g->g);
    br__llm_session_close(g->s);
    br__free(g);
}

size_t br_gen_room(const struct br_gen *g)
{
    return br__gen_free_slots(g->g);
}

int br_gen_add(struct br_gen *g, const struct br_gen_request *given, uint64_t *sequence,
               struct br_err *err)
{
    struct br_gen_request r;
    if (br__adopt(&r, sizeof r, given, given->struct_size))
        return br_fail(err, BR_E_USAGE, "the request comes from a newer bridge");
    const struct br__gen_request q = {
        .prompt = r.prompt,
        .n_prompt = r.n_prompt,
        .eos = r.ignore_eos ? NULL
               : r.eos      ? r.eos
                            : g->m->eos,
        .n_eos = r.ignore_eos ? 0
                 : r.eos      ? r.n_eos
                              : g->m->n_eos,
        .sample = {.temperature = r.temperature,
                   .top_k = r.top_k,
                   .top_p = r.top_p == 0 ? 1 : r.top_p,
                   .min_p = r.min_p,
                   .repetition_penalty = r.repetition_penalty == 0 ? 1 : r.repetition_penalty,
                   .seed = r.seed},
        .number = r.number,
        .max_new_tokens = r.max_new_tokens ? r.max_new_tokens : INT64_MAX,
        .logprob = r.logprobs != 0};
    return br__gen_add(g->g, &q, sequence, err);
}

void br_gen_cancel(struct br_gen *g, uint64_t sequence)
{
    br__gen_cancel(g->g, sequence);
}

int br_gen_step(struct br_gen *g, struct br_gen_token *tokens, size_t cap, size_t *n,
                struct br_err *err)
{
    struct br__gen_step step;
    *n = 0;
    if (cap < (size_t)br__llm_slots(g->s))
        return br_fail(err, BR_E_USAGE, "room for %zu tokens, expected %lld, as many as sequences",
                       cap, (long long)br__llm_slots(g->s));
    int rc = br__gen_step(g->g, &step, err);
    for (size_t i = 0; i < step.n; i++) {
        const struct br__gen_token *t = &step.tokens[i];
        tokens[i] = (struct br_gen_token){t->sequence, t->id, t->finish, t->logprob};
    }
    *n = step.n;
    return rc;
}
