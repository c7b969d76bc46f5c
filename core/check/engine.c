/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* check.c - does a plugin's layer builder run?  What `plugin check` asks of every architecture,
 * beyond its tables: forward, backward, caches and tensor parallelism at toy size. */
#include "../engine/engine.h"
#include "check.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 12
#define TOLERANCE 3e-4 /* of logits, absolute: sums of other orders */

struct checker {
    struct br__arena arena;
    const struct br__plugin *p;
    const struct br__arch *arch;
    void (*line)(void *ud, const char *what, int ok, const char *detail);
    void *ud;
    int *failed;
    const char *dir; /* of the toy */
    int32_t ids[TOKENS];
};

/* One result: rc says whether it is ok, why has the text of a failure. */
static void check_tell(struct checker *k, const char *what, int rc, const struct br_err *why,
                       const char *detail)
{
    char full[160];
    snprintf(full, sizeof full, "%s: %s", k->arch->model_type, what);
    k->line(k->ud, full, rc == 0, rc ? why->msg : detail);
    *k->failed += rc != 0;
}

static int open_toy(const struct checker *k, uint32_t tp, struct br__llm **m, struct br_err *err)
{
    const struct br__llm_opts o = {
        .weights = {.hf_model = k->dir,
                    .plugin =
                        k->p->path[0] == '(' ? NULL : k->p->path}, /* "(static)" has no file */
        .device = "cpu",
        .precision = BR_F32,
        .tp = tp,
    };
    return br__llm_open(m, &o, err);
}

static int check_pass(const struct checker *k, struct br__llm *m, struct br__trace *t,
                      struct br_err *err)
{
    const int32_t *const ids[1] = {k->ids};
    const struct br__trace_opts o = {
        .ids = ids, .n_batches = 1, .n = TOKENS, .flags = BR__TRACE_GRADS};
    return br__llm_trace(m, &o, t, err);
}

/* Logits, loss and every gradient are finite, and no gradient is missing. */
/* The first weights without a gradient, by name: those that the builder leaves out. */
static int left_out(const struct br__trace *t, const struct br__llm *m, size_t n_used, size_t n,
                    struct br_err *err)
{
    const struct br__weights *w = br__llm_weights(m);
    struct br__buf names = {0};
    size_t told = 0;
    for (size_t i = 0; i < w->n_sources && told < 8; i++) {
        char grad[256];
        snprintf(grad, sizeof grad, "grad.%s", w->sources[i].name);
        if (br__starts(w->sources[i].name, "mtp.") || br__trace_find(t, grad))
            continue;
        br__buf_printf(&names, "%s'%s'", told++ ? ", " : "", w->sources[i].name);
    }
    int rc = br_fail(
        err, BR_E_PLUGIN, "%zu of %zu weights have a gradient; the builder leaves out %s%s", n_used,
        n, names.n && !names.failed ? names.p : "the others", n - n_used > told ? " and more" : "");
    br__buf_free(&names);
    return rc;
}

static int finite_results(const struct br__trace *t, const struct br__llm *m, size_t n_params,
                          struct br_err *err)
{
    size_t grads = 0;
    for (size_t i = 0; i < t->n; i++) {
        const struct br__named *r = &t->list[i];
        size_t elems = br__named_elems(r), e = br__first_not_finite(r->data, elems);
        if (e < elems)
            return br_fail(err, BR_E_NUMERIC, "'%s' is not finite at element %zu", r->name, e);
        grads += br__starts(r->name, "grad.");
    }
    if (grads < n_params)
        return left_out(t, m, grads, n_params, err);
    return 0;
}

/* Weights that the forward pass must use: all but those of prediction layers. */
static size_t count_params(const struct br__llm *m)
{
    const struct br__weights *w = br__llm_weights(m);
    size_t n = 0;
    for (size_t i = 0; i < w->n_sources; i++)
        n += !br__starts(w->sources[i].name, "mtp.");
    return n;
}

/* Token by token through the caches gives the logits of one pass. */
static int same_through_caches(const struct checker *k, struct br__llm *m,
                               const struct br__named *logits, struct br_err *err)
{
    size_t vocab = (size_t)logits->shape[1];
    float *row = br__alloc(vocab * sizeof *row);
    struct br__llm_session *s = NULL;
    int rc = row ? br__llm_session_open(&s, m, 1, TOKENS, err) : br__nomem(err, "for logits");
    for (int i = 0; i < TOKENS && !rc; i++) {
        rc = br__llm_forward(s, &(struct br__forward_seq){0, k->ids + i, 1}, 1, row, err);
        for (size_t v = 0; v < vocab && !rc; v++)
            if (fabsf(row[v] - logits->data[(size_t)i * vocab + v]) > TOLERANCE)
                rc = br_fail(err, BR_E_DIFF, "logit %zu of token %d is %g with caches, %g without",
                             v, i, (double)row[v], (double)logits->data[(size_t)i * vocab + v]);
    }
    br__llm_session_close(s);
    br__free(row);
    return rc;
}

static int same_over_ranks(const struct checker *k, const struct br__named *logits,
                           struct br_err *err)
{
    struct br__llm *m;
    struct br__trace t;
    int rc = open_toy(k, 2, &m, err);
    if (rc)
        return rc;
    rc = check_pass(k, m, &t, err);
    if (!rc) {
        const struct br__named *other = br__trace_find(&t, "logits");
        for (size_t i = 0; i < br__named_elems(logits) && !rc; i++)
            if (fabsf(other->data[i] - logits->data[i]) > TOLERANCE)
                rc = br_fail(err, BR_E_DIFF, "logit %zu is %g on two ranks, %g on one", i,
                             (double)other->data[i], (double)logits->data[i]);
        br__trace_free(&t);
    }
    br__llm_close(m);
    return rc;
}

static void check_run(struct checker *k)
{
    struct br_err why = BR_ERR_INIT;
    struct br__llm *m = NULL;
    struct br__trace t = {0};
    int rc = open_toy(k, 1, &m, &why);
    for (int i = 0; !rc && i < TOKENS; i++)
        k->ids[i] = (int32_t)((i * 37 + 5) % br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE));
    if (!rc && !(rc = check_pass(k, m, &t, &why)))
        rc = finite_results(&t, m, count_params(m), &why);
    check_tell(k, "toy forward and backward", rc, &why, "finite, a gradient for every weight");
    if (!rc) {
        const struct br__named *logits = br__trace_find(&t, "logits");
        rc = same_through_caches(k, m, logits, &why);
        check_tell(k, "toy decoded through caches", rc, &why, "as in one pass");
        rc = same_over_ranks(k, logits, &why);
        if (rc == BR_E_USAGE) /* sizes that two ranks cannot share */
            check_tell(k, "toy on two tensor-parallel ranks", 0, NULL, why.msg);
        else
            check_tell(k, "toy on two tensor-parallel ranks", rc, &why, "as on one");
    }
    br__trace_free(&t);
    br__llm_close(m);
}

static int check_arch(struct checker *k, struct br_err *err)
{
    const struct br__toy_opts toy = {.dtype = BR_F32};
    struct br_err why = BR_ERR_INIT;
    if (!k->arch->layer) {
        check_tell(k, "layer builder", 0, NULL, "none: it can convert and not run");
        return 0;
    }
    int rc = br__temp_dir(&k->arena, "bridge-check", &k->dir, err);
    if (rc)
        return rc;
    rc = br__toy_write(k->arch, k->dir, &toy, &why);
    if (rc)
        check_tell(k, "toy", rc, &why, NULL);
    else
        check_run(k);
    return br__remove_tree(k->dir, err);
}

int br__engine_check(const struct br__plugin *p,
                     void (*line)(void *ud, const char *what, int ok, const char *detail), void *ud,
                     int *failed, struct br_err *err)
{
    struct checker k = {.p = p, .line = line, .ud = ud, .failed = failed};
    int rc = 0;
    for (uint32_t i = 0; i < p->n_archs && !rc; i++) {
        k.arch = &p->archs[i];
        rc = check_arch(&k, err);
    }
    br__arena_free(&k.arena);
    return rc;
}
