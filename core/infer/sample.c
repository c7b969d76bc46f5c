/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sample.c - from logits to the next token.
 *
 * The steps are those of transformers' generate(), in its order: repetition penalty, temperature,
 * top-k, top-p, min-p (generation/logits_process.py).  What it leaves open is settled here: of
 * equal logits the lower id comes first.
 *
 * Nothing is sorted.  "The k largest" and "the most likely that make up p" are both a cut through
 * the order of the scores, found in three passes over the digits of the scores' bits, as in radix
 * sort: the number, or the weight, of what lies above each digit says in which the cut is.
 *
 * Randomness is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11)
 * with the seed as key and (step, sequence) as counter, so a draw depends on nothing else: not on
 * the other sequences of a batch, nor on what was drawn before. */
#include "infer_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct br__sampler {
    struct br__sample_opts o;
    uint32_t vocab, n; /* n candidates, by ascending id */
    float *score;
    int32_t *id;
    double *weight; /* exp((score - largest) / temperature) */
};

/* ---- random numbers -------------------------------------------------------------------------- */

/* Uniform in [0, 1), 53 bits. */
static double uniform(uint64_t seed, uint64_t sequence, uint64_t step)
{
    uint32_t counter[] = {(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)sequence,
                          (uint32_t)(sequence >> 32)};
    uint32_t key[] = {(uint32_t)seed, (uint32_t)(seed >> 32)}, out[4];
    br__philox(counter, key, out);
    return (double)(((uint64_t)out[1] << 32 | out[0]) >> 11) * 0x1p-53;
}

/* ---- cuts ------------------------------------------------------------------------------------ */

/* Finite floats in their order, as unsigned numbers; both zeros are one. */
static uint32_t sample_order(float score)
{
    float plain = score + 0.0f;
    uint32_t u;
    memcpy(&u, &plain, sizeof u);
    return u & 0x80000000 ? ~u : u | 0x80000000;
}

#define DIGITS 2048
static const struct {
    int shift, bits;
} digits[] = {{21, 11}, {10, 11}, {0, 10}};

/* The order of the candidate in which the running weight, from the largest down, reaches `target`;
 * *above: the weight of those before.  weight NULL: each weighs 1. */
static uint32_t find_cut(const struct br__sampler *s, const double *weight, double target,
                         double *above)
{
    uint32_t prefix = 0;
    *above = 0;
    for (size_t d = 0; d < BR_COUNTOF(digits); d++) {
        double sum[DIGITS] = {0};
        int shift = digits[d].shift, bits = digits[d].bits;
        uint32_t last = (UINT32_C(1) << bits) - 1;
        for (uint32_t i = 0; i < s->n; i++) {
            uint32_t key = sample_order(s->score[i]);
            if (d == 0 || key >> (shift + bits) == prefix)
                sum[key >> shift & last] += weight ? weight[i] : 1;
        }
        /* Rounding may keep the sum below the target: then the lowest that weighs anything. */
        uint32_t at = 0;
        double before = *above, passed = *above;
        for (uint32_t b = last + 1; b-- > 0;) {
            if (sum[b] == 0)
                continue;
            at = b;
            before = passed;
            passed += sum[b];
            if (passed >= target)
                break;
        }
        *above = before;
        prefix = prefix << bits | at;
    }
    return prefix;
}

static void sample_keep(struct br__sampler *s, uint32_t to, uint32_t from)
{
    s->score[to] = s->score[from];
    s->id[to] = s->id[from];
    s->weight[to] = s->weight[from];
}

/* Maximum of score[from, to).  16 independent maxima break the dependency chain. */
static float sample_largest(const float *score, uint32_t from, uint32_t to)
{
    float most[16];
    for (size_t j = 0; j < BR_COUNTOF(most); j++)
        most[j] = score[from];
    uint32_t i = from;
    for (; i + BR_COUNTOF(most) <= to; i += BR_COUNTOF(most))
        for (size_t j = 0; j < BR_COUNTOF(most); j++)
            most[j] = score[i + j] > most[j] ? score[i + j] : most[j];
    for (; i < to; i++)
        most[0] = score[i] > most[0] ? score[i] : most[0];
    for (size_t j = 1; j < BR_COUNTOF(most); j++)
        most[0] = most[j] > most[0] ? most[j] : most[0];
    return most[0];
}

/* Drop most of what is not among the k largest.  Split the scores into k parts: the minimum of the
 * k part maxima is a lower bound for the k-th largest score. */
static void sample_prune(struct br__sampler *s, uint32_t k)
{
    float bound = INFINITY;
    for (uint64_t part = 0; part < k; part++) {
        float most = sample_largest(s->score, (uint32_t)(s->n * part / k),
                                    (uint32_t)(s->n * (part + 1) / k));
        bound = most < bound ? most : bound;
    }
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->score[i] >= bound)
            sample_keep(s, n++, i);
    s->n = n;
}

/* Keep scores >= the k-th largest, as transformers: ties all stay. */
static void top_k(struct br__sampler *s)
{
    if (s->o.top_k == 0 || s->o.top_k >= s->n)
        return;
    double above;
    sample_prune(s, (uint32_t)s->o.top_k);
    uint32_t cut = find_cut(s, NULL, (double)s->o.top_k, &above), n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (sample_order(s->score[i]) >= cut)
            sample_keep(s, n++, i);
    s->n = n;
}

static double total_weight(const struct br__sampler *s)
{
    double sum = 0;
    for (uint32_t i = 0; i < s->n; i++)
        sum += s->weight[i];
    return sum;
}

/* Keep a candidate if more likely ones sum to less than top_p; the first always stays. */
static void top_p(struct br__sampler *s)
{
    if (s->o.top_p >= 1)
        return;
    double above, target = s->o.top_p * total_weight(s);
    uint32_t cut = find_cut(s, s->weight, target, &above), n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t key = sample_order(s->score[i]);
        if (key > cut || (key == cut && (above < target || above == 0))) {
            above += key == cut ? s->weight[i] : 0;
            sample_keep(s, n++, i);
        }
    }
    s->n = n;
}

/* A candidate stays if it is at least min_p times as likely as the most likely, whose weight is 1.
 */
static void min_p(struct br__sampler *s)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (s->weight[i] >= s->o.min_p)
            sample_keep(s, n++, i);
    s->n = n;
}

/* ---- the steps ------------------------------------------------------------------------------- */

static int check_finite(const struct br__sampler *s, struct br_err *err)
{
    size_t i = br__first_not_finite(s->score, s->vocab);
    if (i == s->vocab)
        return BR_OK;
    return br_fail(err, BR_E_NUMERIC, "the logit of token %zu is %g", i, (double)s->score[i]);
}

/* The logits of all tokens after the repetition penalty. */
static int sample_load(struct br__sampler *s, const float *logits, const int32_t *history,
                       size_t n_history, struct br_err *err)
{
    float penalty = (float)s->o.repetition_penalty;
    memcpy(s->score, logits, s->vocab * sizeof *logits);
    for (size_t i = 0; i < n_history && penalty != 1; i++) {
        int32_t id = history[i];
        if (id >= 0 && (uint32_t)id < s->vocab) /* once, however often the token occurs */
            s->score[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
    }
    return check_finite(s, err);
}

static void all_tokens(struct br__sampler *s)
{
    s->n = s->vocab;
    for (uint32_t i = 0; i < s->vocab; i++)
        s->id[i] = (int32_t)i;
}

static void sample_weigh(struct br__sampler *s)
{
    float most = sample_largest(s->score, 0, s->n);
    for (uint32_t i = 0; i < s->n; i++)
        s->weight[i] = exp(((double)s->score[i] - (double)most) / s->o.temperature);
}

/* Which of the first n scores. */
static uint32_t greedy(const struct br__sampler *s, uint32_t n)
{
    float most = sample_largest(s->score, 0, n);
    uint32_t best = 0;
    while (s->score[best] != most)
        best++;
    return best;
}

static void keep_one(struct br__sampler *s, int32_t id)
{
    s->id[0] = id;
    s->weight[0] = 1;
    s->n = 1;
}

/* Of the candidates, those that may be drawn, and how likely they are. */
static void sample_cut(struct br__sampler *s)
{
    top_k(s); /* temperature does not change the order */
    sample_weigh(s);
    top_p(s);
    min_p(s);
}

int br__sample_choices(struct br__sampler *s, const float *logits, const int32_t *history,
                       size_t n_history, struct br__choices *out, struct br_err *err)
{
    *out = (struct br__choices){0};
    int rc = sample_load(s, logits, history, n_history, err);
    if (rc)
        return rc;
    if (s->o.temperature == 0) {
        keep_one(s, (int32_t)greedy(s, s->vocab));
    } else {
        all_tokens(s);
        sample_cut(s);
    }
    *out = (struct br__choices){
        .ids = s->id, .weights = s->weight, .n = s->n, .total = total_weight(s)};
    return BR_OK;
}

/* One of the choices by the number that (seed, sequence, step) give. */
static int32_t sample_draw(const struct br__sampler *s, const struct br__choices *c,
                           uint64_t sequence, uint64_t step)
{
    double left = uniform(s->o.seed, sequence, step) * c->total;
    uint32_t at = 0, last = 0; /* last: with rounding, the walk may pass the end */
    for (; at < c->n; at++) {
        if (c->weights[at] > 0)
            last = at;
        left -= c->weights[at];
        if (left < 0)
            break;
    }
    return c->ids[last];
}

int br__sample(struct br__sampler *s, const float *logits, const int32_t *history, size_t n_history,
               uint64_t sequence, uint64_t step, int32_t *id, struct br_err *err)
{
    struct br__choices c;
    int rc = br__sample_choices(s, logits, history, n_history, &c, err);
    if (!rc)
        *id = sample_draw(s, &c, sequence, step);
    return rc;
}

uint32_t br__sample_enough(const struct br__sample_opts *o)
{
    if (o->temperature == 0)
        return o->repetition_penalty == 1;
    if (o->repetition_penalty != 1 || o->top_k > BR__BEST_K)
        return 0;
    return o->top_k == 1 ? 2 : (uint32_t)o->top_k; /* one of equals may be drawn */
}

int32_t br__sample_best(struct br__sampler *s, const struct br__best *best, uint64_t sequence,
                        uint64_t step)
{
    s->n = (uint32_t)BR__MIN(best->n, s->vocab);
    memcpy(s->score, best->logits, s->n * sizeof *s->score);
    memcpy(s->id, best->ids, s->n * sizeof *s->id);
    if (s->o.temperature == 0)
        return best->ids[greedy(s, s->n)];
    sample_cut(s);
    const struct br__choices c = {
        .ids = s->id, .weights = s->weight, .n = s->n, .total = total_weight(s)};
    return sample_draw(s, &c, sequence, step);
}

/* ---- making one ------------------------------------------------------------------------------ */

static int check_opts(const struct br__sample_opts *o, struct br_err *err)
{
    const struct {
        const char *name, *rule;
        double value;
        int fine;
    } rules[] = {
        {"temperature", "0 (greedy) or more", o->temperature,
         isfinite(o->temperature) && o->temperature >= 0},
        {"top-p", "between 0 and 1", o->top_p, o->top_p >= 0 && o->top_p <= 1},
        {"min-p", "between 0 and 1", o->min_p, o->min_p >= 0 && o->min_p <= 1},
        {"repetition-penalty", "more than 0", o->repetition_penalty,
         isfinite(o->repetition_penalty) && o->repetition_penalty > 0},
    };
    for (size_t i = 0; i < BR_COUNTOF(rules); i++)
        if (!rules[i].fine)
            return br_fail(err, BR_E_USAGE, "%s %g, expected %s", rules[i].name, rules[i].value,
                           rules[i].rule);
    return BR_OK;
}

int br__sampler_new(struct br__sampler **out, const struct br__sample_opts *o, uint32_t vocab,
                    struct br_err *err)
{
    *out = NULL;
    int rc = check_opts(o, err);
    if (rc)
        return rc;
    if (vocab == 0 || vocab > INT32_MAX)
        return br_fail(err, BR_E_USAGE, "a vocabulary of %" PRIu32 " tokens", vocab);
    struct br__sampler *s = br__calloc(1, sizeof *s);
    if (!s)
        return br__nomem(err, "for sampling");
    s->o = *o;
    s->vocab = vocab;
    s->score = br__calloc(vocab, sizeof *s->score);
    s->id = br__calloc(vocab, sizeof *s->id);
    s->weight = br__calloc(vocab, sizeof *s->weight);
    if (!s->score || !s->id || !s->weight) {
        br__sampler_free(s);
        return br__nomem(err, "for sampling");
    }
    *out = s;
    return BR_OK;
}

int br__sampler_set(struct br__sampler *s, const struct br__sample_opts *o, struct br_err *err)
{
    int rc = check_opts(o, err);
    if (!rc)
        s->o = *o;
    return rc;
}

void br__sampler_free(struct br__sampler *s)
{
    if (!s)
        return;
    br__free(s->score);
    br__free(s->id);
    br__free(s->weight);
    br__free(s);
}
