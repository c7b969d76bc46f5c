/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_engine.c - the engine against transformers: logits, hidden states, losses and gradients of
 * every fixture model, in float32, and the same through caches. */
#include "engine/weights.h"
#include "libgolden.h"
#include "librun.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {
    "qwen2_sharded_fp32",
    "qwen2_swa_bf16",
    "qwen2_tied_fp16",
    "qwen2_tied_fp32",
    "qwen2_untied_bf16",
    "qwen3_fp8",
    "qwen3_moe_bf16",
    "qwen3_moe_fp8",
    "qwen3_moe_fused_bf16",
    "qwen3_moe_mlp_only_bf16",
    "qwen3_moe_sparse_step_fp32",
    "qwen3_next_bf16",
    "qwen3_next_layer_types_fp32",
    "qwen3_tied_bf16",
    "qwen3_tiny_chat",
    "qwen3_untied_fp32",
    "qwen3_yarn_bf16",
    "qwen3_yarn_fp32",
};

static void same(const struct br__trace *t, const char *got, const struct golden_file *g,
                 const char *want, double tolerance, const char *model)
{
    size_t n;
    const float *w = golden(g, want, &n);
    const struct br__named *r = br__trace_find(t, got);
    ck_assert_msg(w && r, "%s: no '%s' or no golden '%s'", model, got, want);
    double d = max_diff(r->data, w, n);
    ck_assert_msg(d <= tolerance, "%s: %s differs by %g, allowed %g", model, want, d, tolerance);
}

/* ---- tests ----------------------------------------------------------------------------------- */

START_TEST(test_logits)
{
    const char *model = models[_i];
    char dir[512], name[32];
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    br__json *j = open_json(HF_GOLDEN, model);
    struct golden_file g = open_golden(HF_GOLDEN, model, "golden.safetensors");
    struct br__llm *m = open_model(dir, NULL, 0);
    double tol = tolerance_of(model).logits;
    int32_t ids[256];
    size_t n_golden;
    static const char *const lengths[] = {"short", "long", "xlong"};
    for (size_t k = 0; k < 3; k++) {
        char key[32], want[32];
        struct br__trace t;
        snprintf(key, sizeof key, "input_ids_%s", lengths[k]);
        snprintf(want, sizeof want, "logits_%s", lengths[k]);
        int64_t n = ids_of(j, key, ids, 256);
        ck_assert(n > 0 || k == 2);
        if (n == 0)
            continue;
        trace(m, ids, n, k == 0 ? BR__TRACE_HIDDEN : 0, &t);
        same(&t, "logits", &g, want, tol, model);
        for (int i = 0; k == 0 && i < 100; i++) {
            snprintf(name, sizeof name, "hidden.%d", i);
            if (golden(&g, name, &n_golden))
                same(&t, name, &g, name, tol, model);
        }
        if (k == 0)
            same(&t, "hidden.norm", &g, "hidden.norm", tol, model);
        br__trace_free(&t);
    }
    br__llm_close(m);
    close_golden(&g);
    br__json_free(j);
}
END_TEST

START_TEST(test_greedy)
{
    const char *model = models[_i];
    char dir[512];
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    br__json *j = open_json(HF_GOLDEN, model);
    struct br__llm *m = open_model(dir, NULL, 0);
    struct br_err err = BR_ERR_INIT;
    int32_t prompt[256], want[256];
    int64_t n = ids_of(j, "prompt_ids", prompt, 256), n_want = ids_of(j, "greedy_ids", want, 256);
    size_t vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    float *logits = malloc(vocab * sizeof *logits);
    struct br__llm_session *seqs;
    must(br__llm_session_open(&seqs, m, 1, n + n_want, &err), &err);
    struct br__forward_seq feed = {0, prompt, n};
    ck_assert(n > 0 && n_want > 0);
    for (int64_t i = 0; i < n_want; i++) {
        must(br__llm_forward(seqs, &feed, 1, logits, &err), &err);
        int32_t best = 0;
        for (size_t v = 1; v < vocab; v++)
            if (logits[v] > logits[best])
                best = (int32_t)v;
        ck_assert_msg(best == want[i], "%s: token %d of the continuation is %d, expected %d", model,
                      (int)i, best, want[i]);
        feed = (struct br__forward_seq){0, &want[i], 1};
    }
    free(logits);
    br__llm_session_close(seqs);
    br__llm_close(m);
    br__json_free(j);
}
END_TEST

/* FP8 models come without gradients. */
START_TEST(test_grads)
{
    const char *model = models[_i];
    if (strstr(model, "fp8"))
        return;
    char dir[512];
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    br__json *j = open_json(HF_GOLDEN, model);
    struct golden_file g = open_golden(HF_GOLDEN, model, "golden_grads.safetensors");
    struct br__llm *m = open_model(dir, NULL, 0);
    struct br__trace t;
    int32_t ids[256];
    int64_t n = ids_of(j, "input_ids_long", ids, 256);
    int moe = br__json_get(j, "train.aux") != NULL;
    trace(m, ids, n, BR__TRACE_GRADS | (moe ? BR__TRACE_AUX : 0), &t);
    double loss = br__trace_find(&t, "loss")->data[0];
    ck_assert_double_eq_tol(loss, br__json_num(br__json_get(j, "train.loss"), -1), 2e-5);
    if (moe)
        ck_assert_double_eq_tol(br__trace_find(&t, "aux_loss")->data[0],
                                br__json_num(br__json_get(j, "train.aux.aux_loss"), -1), 2e-5);
    size_t seen = 0;
    for (size_t i = 0; i < g.n; i++) {
        const char *name = g.entries[i].name;
        if (!br__starts(name, "grad"))
            continue;
        size_t elems;
        const float *want = golden(&g, name, &elems);
        const struct br__named *r = br__trace_find(&t, name);
        ck_assert_msg(r != NULL, "%s: no %s", model, name);
        double d = rel_l2(r->data, want, elems);
        ck_assert_msg(d <= tolerance_of(model).grads, "%s: %s differs by %g (relative L2)", model,
                      name, d);
        seen++;
    }
    ck_assert(seen > 10);
    br__trace_free(&t);
    br__llm_close(m);
    close_golden(&g);
    br__json_free(j);
}
END_TEST

#define ADAPTERS BRIDGE_TEST_DATA "/adapters/"
static const char *const adapters[] = {"qwen2_lora", "qwen2_dora", "qwen3_lora", "qwen3_dora"};

START_TEST(test_adapters)
{
    const char *name = adapters[_i / 2];
    int merge = _i % 2;
    char dir[512], base[512];
    struct br_err err = BR_ERR_INIT;
    snprintf(dir, sizeof dir, "%s%s", ADAPTERS, name);
    br__json *j = open_json(ADAPTERS, name);
    snprintf(base, sizeof base, "%s%s", HF, br__json_str(br__json_get(j, "base"), ""));
    struct golden_file g = open_golden(ADAPTERS, name, "golden.safetensors");
    struct br__llm *m = open_model(base, dir, merge);
    int32_t ids[256];
    struct br__trace t;
    int64_t n = ids_of(j, "input_ids_short", ids, 256);
    trace(m, ids, n, 0, &t);
    same(&t, "logits", &g, "logits_short", 1e-4, name);
    br__trace_free(&t);
    n = ids_of(j, "input_ids_long", ids, 256);
    trace(m, ids, n, merge ? 0 : BR__TRACE_GRADS, &t);
    same(&t, "logits", &g, "logits_long", 1e-4, name);
    size_t seen = 0;
    for (size_t i = 0; i < g.n; i++) {
        size_t elems;
        const char *what = g.entries[i].name;
        const float *want = golden(&g, what, &elems);
        if (!merge && br__starts(what, "grad.")) {
            const struct br__named *r = br__trace_find(&t, what);
            ck_assert_msg(r != NULL, "%s: no %s", name, what);
            double d = rel_l2(r->data, want, elems);
            ck_assert_msg(d <= 1e-4, "%s: %s differs by %g (relative L2)", name, what, d);
            seen++;
        }
        if (merge && br__starts(what, "merged.")) {
            struct br__source *s = br__weights_find(br__llm_weights(m), what + strlen("merged."));
            ck_assert_msg(s != NULL, "%s: no %s", name, what);
            must(br__weights_load(br__llm_weights(m), s, &err), &err);
            ck_assert_int_eq(s->dtype, BR_F32);
            ck_assert_msg(max_diff(s->data, want, elems) <= 1e-6, "%s: %s", name, what);
            seen++;
        }
    }
    ck_assert(seen > 4);
    br__trace_free(&t);
    br__llm_close(m);
    close_golden(&g);
    br__json_free(j);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine");
    TCase *c = tcase_create("transformers");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_logits, 0, (int)BR_COUNTOF(models));
    tcase_add_loop_test(c, test_greedy, 0, (int)BR_COUNTOF(models));
    tcase_add_loop_test(c, test_grads, 0, (int)BR_COUNTOF(models));
    tcase_add_loop_test(c, test_adapters, 0, 2 * (int)BR_COUNTOF(adapters));
    suite_add_tcase(s, c);
    return run_suite(s);
}
