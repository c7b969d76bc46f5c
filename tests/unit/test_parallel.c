/* test_parallel.c - rank-threads against one rank: logits, losses and gradients under tensor,
 * pipeline, expert and expert-tensor parallelism must be those of a single rank, which
 * test_engine.c compares with transformers. */
#include "libgolden.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 32

struct topology {
    uint32_t tp, pp, ep, etp, dp;
};
/* dp is what follows from the others; data-parallel ranks are given different sequences. */
static const struct topology topologies[] = {
    {2, 1, 1, 1, 1}, {1, 2, 1, 1, 1}, {1, 1, 2, 1, 2}, {1, 1, 1, 2, 2}, {2, 2, 1, 1, 1},
    {2, 1, 2, 1, 1}, {2, 1, 1, 2, 1}, {2, 1, 2, 2, 2}, {1, 2, 2, 1, 2}, {2, 2, 2, 1, 1},
};
static const char *const models[] = {"qwen2_tied_fp32",      "qwen2_tied_fp16",
                                     "qwen3_tied_bf16",      "qwen3_moe_bf16",
                                     "qwen3_moe_fused_bf16", "qwen3_moe_sparse_step_fp32",
                                     "qwen3_next_bf16"};
#define N_CASES ((int)(BR_COUNTOF(topologies) * BR_COUNTOF(models)))

static struct br__llm *open_ranks(const char *model, const struct topology *t)
{
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m;
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    struct br__llm_opts o = {.weights = {.hf_model = dir}, .precision = BR_F32, .device = "cpu"};
    if (t) {
        o.tp = t->tp;
        o.pp = t->pp;
        o.ep = t->ep;
        o.etp = t->etp;
    }
    must(br__llm_open(&m, &o, &err), &err);
    return m;
}

static void fill_ids(int32_t *ids, uint32_t seed)
{
    for (int i = 0; i < TOKENS; i++) {
        seed = seed * 1664525 + 1013904223;
        ids[i] = (int32_t)(seed >> 8 & 63);
    }
}

static void trace_all(struct br__llm *m, const int32_t *const *ids, size_t n, struct br__trace *t)
{
    struct br_err err = BR_ERR_INIT;
    const struct br__trace_opts o = {
        .ids = ids, .n_batches = n, .n = TOKENS, .flags = BR__TRACE_GRADS | BR__TRACE_HIDDEN};
    must(br__llm_trace(m, &o, t, &err), &err);
}

/* Losses and gradients of b are averaged into a: what two data-parallel ranks must give. */
static void average(struct br__trace *a, const struct br__trace *b)
{
    for (size_t i = 0; i < a->n; i++) {
        if (!br__starts(a->list[i].name, "grad.") && strcmp(a->list[i].name, "loss"))
            continue;
        const struct br__named *other = br__trace_find(b, a->list[i].name);
        ck_assert(other != NULL);
        for (int64_t k = 0; k < (int64_t)br__named_elems(other); k++)
            a->list[i].data[k] = (a->list[i].data[k] + other->data[k]) / 2;
    }
}

static void compare(const struct br__trace *got, const struct br__trace *want, double tolerance,
                    const char *what)
{
    ck_assert_int_eq((int)got->n, (int)want->n);
    for (size_t i = 0; i < want->n; i++) {
        const struct br__named *w = &want->list[i], *r = br__trace_find(got, w->name);
        double d = 0, s = 0;
        ck_assert_msg(r && br__named_elems(r) == br__named_elems(w), "%s: no %s", what, w->name);
        for (int64_t k = 0; k < (int64_t)br__named_elems(w); k++) {
            d += ((double)r->data[k] - w->data[k]) * ((double)r->data[k] - w->data[k]);
            s += (double)w->data[k] * w->data[k];
        }
        d = s > 0 ? sqrt(d / s) : sqrt(d);
        ck_assert_msg(d <= tolerance, "%s: %s differs by %g (relative L2), allowed %g", what,
                      w->name, d, tolerance);
    }
}

START_TEST(test_topology)
{
    const struct topology *t = &topologies[_i % (int)BR_COUNTOF(topologies)];
    const char *model = models[_i / (int)BR_COUNTOF(topologies)];
    int is_moe = strstr(model, "moe") || strstr(model, "next");
    if (!is_moe && (t->ep > 1 || t->etp > 1))
        return;
    char what[128];
    int32_t a[TOKENS], b[TOKENS];
    const int32_t *const ids[2] = {a, b}, *const second[1] = {b};
    struct br__trace want, other, got;
    snprintf(what, sizeof what, "%s tp%u pp%u ep%u etp%u", model, t->tp, t->pp, t->ep, t->etp);
    fill_ids(a, 1);
    fill_ids(b, 2);
    struct br__llm *one = open_ranks(model, NULL), *many = open_ranks(model, t);
    ck_assert_uint_eq(br__llm_topo(many)->size[BR_AXIS_DP], t->dp);
    trace_all(one, ids, 1, &want);
    if (t->dp == 2) {
        trace_all(one, second, 1, &other);
        average(&want, &other);
        br__trace_free(&other);
    }
    trace_all(many, ids, t->dp, &got);
    compare(&got, &want, strstr(model, "next") ? 3e-4 : 1e-5, what);
    br__trace_free(&want);
    br__trace_free(&got);
    br__llm_close(one);
    br__llm_close(many);
}
END_TEST

/* Through caches, one token at a time: batches that the ranks must pad. */
START_TEST(test_decode)
{
    static const struct topology all = {2, 2, 2, 1, 1};
    const char *model = models[_i];
    int is_moe = strstr(model, "moe") || strstr(model, "next");
    const struct topology t = is_moe ? all : (struct topology){2, 2, 1, 1, 1};
    struct br__llm *one = open_ranks(model, NULL), *many = open_ranks(model, &t);
    struct br_err err = BR_ERR_INIT;
    size_t vocab = (size_t)br_cfg_i(br__llm_config(one), BR_CFG_VOCAB_SIZE);
    float *x = malloc(vocab * sizeof *x), *y = malloc(vocab * sizeof *y);
    int32_t ids[TOKENS];
    fill_ids(ids, 3);
    for (int i = 0; i < TOKENS; i += i ? 1 : 13) {
        const struct br__feed f = {0, ids + i, i ? 1 : 13};
        must(br__llm_feed(one, &f, 1, x, &err), &err);
        must(br__llm_feed(many, &f, 1, y, &err), &err);
        for (size_t v = 0; v < vocab; v++)
            ck_assert_msg(fabsf(x[v] - y[v]) <= 3e-4f, "%s: token %d: logit %zu is %g, expected %g",
                          model, i, v, (double)y[v], (double)x[v]);
    }
    free(x);
    free(y);
    br__llm_close(one);
    br__llm_close(many);
}
END_TEST

START_TEST(test_impossible)
{
    static const struct {
        struct topology t;
        const char *model, *says;
    } cases[] = {
        {{3, 1, 1, 1, 1}, "qwen3_tied_bf16", "num_query_groups 2 cannot be shared by tp 3"},
        {{1, 3, 1, 1, 1}, "qwen3_tied_bf16", "pp 3"},
        {{1, 1, 3, 1, 3}, "qwen3_moe_bf16", "experts cannot be shared by ep 3"},
    };
    struct br_err err = BR_ERR_INIT;
    struct br__trace got;
    int32_t a[TOKENS];
    const int32_t *const ids[3] = {a, a, a};
    fill_ids(a, 1);
    struct br__llm *m = open_ranks(cases[_i].model, &cases[_i].t);
    const struct br__trace_opts o = {.ids = ids, .n_batches = cases[_i].t.dp, .n = TOKENS};
    ck_assert_int_ne(br__llm_trace(m, &o, &got, &err), 0);
    ck_assert_msg(strstr(err.msg, cases[_i].says) != NULL, "%s", err.msg);
    br__llm_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parallel");
    TCase *c = tcase_create("ranks");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_topology, 0, N_CASES);
    tcase_add_loop_test(c, test_decode, 0, (int)BR_COUNTOF(models));
    tcase_add_loop_test(c, test_impossible, 0, 3);
    suite_add_tcase(s, c);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
