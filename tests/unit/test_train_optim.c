/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_optim.c - schedule, loss scale and AdamW against Megatron's and torch's own values.
 *
 * data/train/schedule.json: OptimizerParamScheduler and DynamicGradScaler of megatron-core.
 * data/hf_golden: weights after three steps of torch's AdamW.  test_train_runs.c has whole runs. */
#include "libadamw.h"
#include "librun.h"
#include "libtoytrain.h"
#include "train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static br__json *open_schedules(void)
{
    char *text;
    size_t n;
    br__json *j;
    must(br__read_text(BRIDGE_TEST_DATA "/train/schedule.json", 1 << 20, &text, &n, &err), &err);
    must(br__json_parse(&j, text, n, &err), &err);
    br__free(text);
    return j;
}

static double num(const br__json *j, const char *key)
{
    double v = br__json_num(br__json_get(j, key), NAN);
    ck_assert_msg(!isnan(v), "no number '%s'", key);
    return v;
}

/* ---- schedule -------------------------------------------------------------------------------- */

static struct br__schedule schedule_of(const br__json *args)
{
    struct br__schedule s = {
        .style = br__lr_style(br__json_str(br__json_get(args, "lr_decay_style"), "")),
        .wd_style = br__wd_style(br__json_str(br__json_get(args, "wd_incr_style"), "")),
        .init_lr = num(args, "init_lr"),
        .max_lr = num(args, "max_lr"),
        .min_lr = num(args, "min_lr"),
        .start_wd = num(args, "start_wd"),
        .end_wd = num(args, "end_wd"),
        .warmup = (int64_t)num(args, "lr_warmup_steps"),
        .decay = (int64_t)num(args, "lr_decay_steps"),
        .wd_incr = (int64_t)num(args, "wd_incr_steps"),
    };
    ck_assert(s.style >= 0 && s.wd_style >= 0);
    if (s.style == BR__LR_WSD) {
        s.wsd_style = br__wsd_style(br__json_str(br__json_get(args, "lr_wsd_decay_style"), ""));
        s.wsd_decay = (int64_t)num(args, "wsd_decay_steps");
        ck_assert_int_ge(s.wsd_style, 0);
    }
    must(br__schedule_check(&s, &err), &err);
    return s;
}

static struct br__schedule_group group_of(const struct br__schedule *s, const br__json *g)
{
    return (struct br__schedule_group){
        .max_lr = br__json_num(br__json_get(g, "max_lr"), s->max_lr),
        .min_lr = br__json_num(br__json_get(g, "min_lr"), s->min_lr),
        .lr_mult = 1,
        .wd_mult = num(g, "wd_mult"),
    };
}

/* All values of one case: [step][group][lr, wd]. */
static size_t compare_schedule(const br__json *c)
{
    struct br__schedule s = schedule_of(br__json_get(c, "args"));
    int64_t increment = (int64_t)num(c, "increment"), samples = 0;
    size_t seen = 0;
    for (const br__json *v = br__json_first(br__json_get(c, "values")); v;
         v = br__json_next(v), samples += increment) {
        const br__json *pair = br__json_first(v);
        for (const br__json *g = br__json_first(br__json_get(c, "groups")); g;
             g = br__json_next(g), pair = br__json_next(pair)) {
            struct br__schedule_group group = group_of(&s, g);
            const br__json *lr = br__json_first(pair);
            double got = br__lr_at(&s, &group, samples), want = br__json_num(lr, NAN);
            ck_assert_msg(got == want, "%s: lr after %d samples is %.17g, expected %.17g",
                          br__json_key(c), (int)samples, got, want);
            got = br__wd_at(&s, &group, samples);
            want = br__json_num(br__json_next(lr), NAN);
            ck_assert_msg(got == want, "%s: decay after %d samples is %.17g, expected %.17g",
                          br__json_key(c), (int)samples, got, want);
            seen++;
        }
    }
    return seen;
}

START_TEST(test_schedule)
{
    br__json *j = open_schedules();
    size_t cases = 0;
    for (const br__json *c = br__json_first(br__json_get(j, "schedules")); c;
         c = br__json_next(c)) {
        ck_assert_uint_eq(compare_schedule(c), 122);
        cases++;
    }
    ck_assert_uint_eq(cases, 15);
    br__json_free(j);
}
END_TEST

START_TEST(test_schedule_refused)
{
    const struct br__schedule good = {.style = BR__LR_COSINE,
                                      .max_lr = 1e-3,
                                      .start_wd = 0.1,
                                      .end_wd = 0.1,
                                      .warmup = 10,
                                      .decay = 100,
                                      .wd_incr = 100};
    struct br__schedule s = good;
    must(br__schedule_check(&s, &err), &err);
    static const struct {
        const char *text;
        struct br__schedule s;
    } bad[] = {
        {"expected 0 <= min_lr <= lr", {.max_lr = 1e-3, .min_lr = 2e-3, .decay = 9}},
        {"expected 0 <= min_lr <= lr", {.max_lr = NAN, .decay = 9}},
        {"lr_warmup_init is 0.002", {.max_lr = 1e-3, .init_lr = 2e-3, .decay = 9}},
        {"decays over 0 samples", {.max_lr = 1e-3}},
        {"the warmup takes 9 samples", {.max_lr = 1e-3, .warmup = 9, .decay = 9}},
        {"expected 1 to 9", {.style = BR__LR_WSD, .max_lr = 1e-3, .decay = 9, .wsd_decay = 10}},
        {"expected 0 <= start <= end", {.max_lr = 1e-3, .decay = 9, .start_wd = 1}},
        {"is constant, but", {.max_lr = 1e-3, .decay = 9, .end_wd = 1}},
        {"rises over 0", {.max_lr = 1e-3, .decay = 9, .end_wd = 1, .wd_style = BR__WD_LINEAR}},
    };
    for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
        err = (struct br_err)BR_ERR_INIT;
        ck_assert_int_eq(br__schedule_check(&bad[i].s, &err), BR_E_CONFIG);
        ck_assert_msg(strstr(err.msg, bad[i].text) != NULL, "%s: %s", bad[i].text, err.msg);
    }
    ck_assert_int_eq(br__lr_style("exponential"), -1);
    ck_assert_int_eq(br__wsd_style("constant"), -1);
    ck_assert_int_eq(br__wd_style(""), -1);
}
END_TEST

/* ---- scaler ---------------------------------------------------------------------------------- */

static int compare_scaler(const br__json *c)
{
    const br__json *args = br__json_get(c, "args");
    struct br__scaler s = {
        .scale = (float)num(args, "initial_scale"),
        .min_scale = (float)num(args, "min_scale"),
        .growth_factor = (float)num(args, "growth_factor"),
        .backoff_factor = (float)num(args, "backoff_factor"),
        .growth_interval = (int)num(args, "growth_interval"),
        .hysteresis = (int)num(args, "hysteresis"),
        .hysteresis_left = (int)num(args, "hysteresis"),
    };
    int seen = 0;
    for (const br__json *v = br__json_first(br__json_get(c, "sequence")); v;
         v = br__json_next(v), seen++) {
        const br__json *x = br__json_first(v);
        br__scaler_update(&s, br__json_bool(x, -1));
        x = br__json_next(x);
        ck_assert_double_eq(s.scale, br__json_num(x, NAN));
        x = br__json_next(x);
        ck_assert_int_eq(s.good_steps, (int)br__json_num(x, NAN));
        x = br__json_next(x);
        ck_assert_int_eq(s.hysteresis_left, (int)br__json_num(x, NAN));
    }
    return seen;
}

START_TEST(test_scaler)
{
    br__json *j = open_schedules();
    int cases = 0;
    for (const br__json *c = br__json_first(br__json_get(j, "grad_scaler")); c;
         c = br__json_next(c), cases++)
        ck_assert_int_eq(compare_scaler(c), 78);
    ck_assert_int_eq(cases, 4);
    br__json_free(j);
}
END_TEST

/* ---- AdamW ----------------------------------------------------------------------------------- */

static const char *const models[] = {"qwen2_tied_fp32", "qwen2_untied_bf16", "qwen3_untied_fp32",
                                     "qwen3_moe_bf16", "qwen3_next_bf16"};

/* Three steps, gradients and all, against torch. */
START_TEST(test_adamw3)
{
    const char *model = models[_i];
    char dir[512];
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    br__json *j = open_json(HF_GOLDEN, model);
    const br__json *a = br__json_get(j, "train.adamw"),
                   *loss = br__json_first(br__json_get(a, "losses")),
                   *beta = br__json_first(br__json_get(a, "betas"));
    struct golden_file g = open_golden(HF_GOLDEN, model, "golden_grads.safetensors");
    int32_t ids[256];
    int64_t n = ids_of(j, "input_ids_long", ids, 256);
    struct toy t;
    toy_open(&t, dir);
    for (int step = 1; loss; step++, loss = br__json_next(loss)) {
        toy_zero_grads(&t);
        double got = toy_backward(&t, ids, NULL, n, 1);
        ck_assert_double_eq_tol(got, br__json_num(loss, NAN), 1e-5);
        const struct br__adamw_opts o = {
            .lr = num(a, "lr"),
            .weight_decay = num(a, "weight_decay"),
            .beta1 = br__json_num(beta, NAN),
            .beta2 = br__json_num(br__json_next(beta), NAN),
            .eps = num(a, "eps"),
            .step = step,
            .grad_scale = 1,
        };
        if (br__json_next(loss))
            toy_step(&t, &o);
    }
    size_t seen = 0;
    for (const br__json *name = br__json_first(br__json_get(a, "tensors")); name;
         name = br__json_next(name), seen++) {
        char key[256];
        size_t elems;
        snprintf(key, sizeof key, "adamw3.%s", br__json_str(name, ""));
        const float *want = golden(&g, key, &elems);
        const struct toy_tensor *x = toy_find(&t, key + strlen("adamw3."));
        ck_assert_msg(want && x && x->n == elems, "%s: no %s", model, key);
        /* Three steps of at most 1e-3 each; where a gradient is near eps its rounding decides. */
        double d = max_diff(x->param, want, elems);
        ck_assert_msg(d <= 2e-5, "%s: %s differs by %g", model, key, d);
    }
    ck_assert_uint_ge(seen, 4);
    toy_close(&t);
    close_golden(&g);
    br__json_free(j);
}
END_TEST

/* Without a gradient only decay acts; bfloat16 output is the nearest, ties to even. */
START_TEST(test_adamw_elements)
{
    float p[4] = {1.0f, -2.0f, 1.00390625f, 1.01171875f}, m[4] = {0}, v[4] = {0}, g[4] = {0};
    uint16_t out[4];
    const struct br__adamw_opts o = {
        .lr = 0, .beta1 = .9, .beta2 = .95, .step = 1, .grad_scale = 1};
    struct br__adamw h = br__adamw_make(&o);
    h.eps = 1e-8f;
    struct br__adamw_arrays x = {.n = 4, .param = p, .m = m, .v = v, .grad = g, .copy = out};
    must(br__adamw_step(cpu_device(1), &h, &x, &err), &err);
    ck_assert_int_eq(out[0], 0x3f80);
    ck_assert_int_eq(out[1], 0xc000);
    ck_assert_int_eq(out[2], 0x3f80); /* halfway between 0x3f80 and 0x3f81 */
    ck_assert_int_eq(out[3], 0x3f82); /* halfway between 0x3f81 and 0x3f82 */
    h.lr = 0.5f;
    h.weight_decay = 0.5f;
    x.n = 2;
    x.copy = NULL;
    must(br__adamw_step(cpu_device(1), &h, &x, &err), &err);
    ck_assert_float_eq(p[0], 0.75f);
    ck_assert_float_eq(p[1], -1.5f);
    ck_assert_float_eq(h.correct1, (float)(1 - (double)0.9f));
    struct br__adamw_opts raw = o;
    raw.no_bias_correction = 1;
    ck_assert_float_eq(br__adamw_make(&raw).correct2, 1);
}
END_TEST

/* ---- norm ------------------------------------------------------------------------------------ */

/* Bits of the norm must not depend on threads; the value is known: n ones and a three. */
START_TEST(test_norm)
{
    size_t n = 3 * 65536 + 17;
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = 1;
    x[n - 1] = 3;
    struct br__grad_span g[] = {{x, n}, {x, 0}, {x + 5, 1000}};
    double norm;
    must(br__grad_norm(cpu_device(1), g, 3, &norm, &err), &err);
    ck_assert_double_eq(norm, sqrt((double)n + 8 + 1000));
    for (size_t i = 0; i < n; i++)
        x[i] = (float)sin((double)i) * (i % 7 ? 1e-3f : 1e3f);
    double one;
    must(br__grad_norm(cpu_device(1), g, 3, &one, &err), &err);
    for (int threads = 2; threads < 9; threads++) {
        must(br__grad_norm(cpu_device((uint32_t)threads), g, 3, &norm, &err), &err);
        ck_assert_mem_eq(&norm, &one, sizeof one);
    }
    must(br__grad_norm(cpu_device(2), g, 0, &norm, &err), &err);
    ck_assert_double_eq(norm, 0);
    x[3] = INFINITY;
    must(br__grad_norm(cpu_device(2), g, 3, &norm, &err), &err);
    ck_assert(isinf(norm));
    free(x);
}
END_TEST

START_TEST(test_clip)
{
    ck_assert_float_eq(br__clip_scale(0.5, 1), 1);
    ck_assert_float_eq(br__clip_scale(5, 0), 1);
    ck_assert_float_eq(br__clip_scale(4, 1), (float)(1 / (4 + 1e-6)));
    ck_assert_float_eq(br__clip_scale(1, 1), (float)(1 / (1 + 1e-6)));
}
END_TEST

/* Over spans larger than what one thread takes at a time. */
START_TEST(test_passes)
{
    size_t n = ((size_t)1 << 20) + 5;
    float *x = calloc(n, sizeof *x), few[] = {0, -0.0f, 1, 1e-30f};
    const struct br__grad_span g[] = {{x, n}, {few, 4}};
    uint64_t zeros;
    x[0] = x[n - 1] = 3;
    for (int threads = 1; threads < 4; threads++) {
        must(br__count_zeros(cpu_device((uint32_t)threads), g, 2, 1, &zeros, &err), &err);
        ck_assert_uint_eq(zeros, n);
        must(br__count_zeros(cpu_device((uint32_t)threads), g, 2, 1e-20f, &zeros, &err), &err);
        ck_assert_uint_eq(zeros, n + 1);
        must(br__scale_grads(cpu_device((uint32_t)threads), g, 2, 0.5f, &err), &err);
    }
    ck_assert_float_eq(x[0], 0.375f);
    ck_assert_float_eq(x[n - 1], 0.375f);
    ck_assert_float_eq(few[2], 0.125f);
    free(x);
}
END_TEST

START_TEST(test_groups)
{
    static const struct {
        const char *name;
        int ndim, decayed, qk;
    } rows[] = {
        {"embedding.word_embeddings.weight", 2, 1, 1},
        {"decoder.layers.self_attention.linear_qkv.weight", 3, 1, 1},
        {"decoder.layers.self_attention.linear_qkv.bias", 2, 0, 0},
        {"decoder.layers.self_attention.linear_qkv.layer_norm_weight", 2, 0, 0},
        {"decoder.layers.self_attention.q_layernorm.weight", 2, 0, 1},
        {"decoder.layers.3.self_attention.k_layernorm.weight", 1, 0, 1},
        {"decoder.layers.3.self_attention.conv1d.weight.key", 3, 1, 1},
        {"decoder.layers.3.self_attention.A_log", 1, 0, 0},
        {"decoder.layers.0.mlp.shared_experts.gate_weight", 2, 1, 1},
        {"decoder.layers.mlp.experts.experts.linear_fc1.weight", 4, 1, 1},
        {"decoder.final_layernorm.weight", 1, 0, 0},
        {"mtp.layers.0.eh_proj.weight", 2, 1, 1},
        {"decoder.layers.mlp.linear_fc1.adapter.weight_magnitude", 2, 0, 0},
    };
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        ck_assert_msg(br__is_decayed(rows[i].name, rows[i].ndim, 0) == rows[i].decayed, "%s",
                      rows[i].name);
        ck_assert_msg(br__is_decayed(rows[i].name, rows[i].ndim, 1) == rows[i].qk, "%s",
                      rows[i].name);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_optim");
    TCase *tc = tcase_create("train_optim");
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, test_schedule);
    tcase_add_test(tc, test_schedule_refused);
    tcase_add_test(tc, test_scaler);
    tcase_add_loop_test(tc, test_adamw3, 0, BR_COUNTOF(models));
    tcase_add_test(tc, test_adamw_elements);
    tcase_add_test(tc, test_norm);
    tcase_add_test(tc, test_clip);
    tcase_add_test(tc, test_passes);
    tcase_add_test(tc, test_groups);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
