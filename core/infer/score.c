/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* score.c - logits of every token, and the log-probability of given ones. */
#include "infer_internal.h"

#include <math.h>
#include <string.h>

#define WINDOW 2048 /* tokens of one pass: bounds its memory */

double br__log_prob(const float *logits, size_t n, int32_t id)
{
    double max = logits[0], sum = 0;
    for (size_t v = 1; v < n; v++)
        max = fmax(max, logits[v]);
    for (size_t v = 0; v < n; v++)
        sum += exp(logits[v] - max);
    return logits[id] - max - log(sum);
}

/* One forward pass; every data-parallel rank gets the same tokens. */
static int score_pass(struct br__llm *m, const int32_t *ids, size_t n, struct br__trace *t,
                      struct br_err *err)
{
    size_t dp = br__llm_topo(m)->size[BR_AXIS_DP];
    const int32_t **all = br__calloc(dp, sizeof *all);
    if (!all)
        return br__nomem(err, "for a pass over %zu tokens", n);
    for (size_t i = 0; i < dp; i++)
        all[i] = ids;
    const struct br__trace_opts o = {.ids = all, .n_batches = dp, .n = (int64_t)n};
    int rc = br__llm_trace(m, &o, t, err);
    br__free(all);
    return rc;
}

int br__logits(struct br__llm *m, const int32_t *ids, size_t n, float *logits, struct br_err *err)
{
    struct br__trace t;
    int rc = score_pass(m, ids, n, &t, err);
    if (rc)
        return rc;
    const struct br__named *r = br__trace_find(&t, "logits");
    memcpy(logits, r->data, br__named_elems(r) * sizeof *logits);
    br__trace_free(&t);
    return BR_OK;
}

int br__score(struct br__llm *m, const int32_t *ids, size_t n, double *logprob, struct br_err *err)
{
    size_t vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    size_t window = BR__MIN((size_t)br_cfg_i(br__llm_config(m), BR_CFG_SEQ_LENGTH), (size_t)WINDOW);
    for (size_t from = 0; from < n; from += window) {
        size_t k = BR__MIN(window, n - from);
        struct br__trace t;
        int rc = score_pass(m, ids + from, k, &t, err);
        if (rc)
            return rc;
        const float *logits = br__trace_find(&t, "logits")->data;
        logprob[from] = NAN;
        for (size_t i = 1; i < k; i++) {
            double lp = br__log_prob(logits + (i - 1) * vocab, vocab, ids[from + i]);
            logprob[from + i] = lp;
            if (!isfinite(lp))
                rc = br_fail(err, BR_E_NUMERIC, "the log-probabilities are not finite");
        }
        br__trace_free(&t);
        if (rc)
            return rc;
    }
    return BR_OK;
}
