/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_init.c - random initialisation: Megatron's distributions, values that depend on seed,
 * name and index alone, a model that the engine runs. */
#include "libgolden.h"
#include "librun.h"
#include "train/ckpt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static struct br__model_source *open_init(const char *model, uint64_t seed, int dtype, int64_t mtp)
{
    char path[512], *text;
    size_t n;
    struct br__model_source *s;
    snprintf(path, sizeof path, "%s%s/config.json", HF, model);
    must(br__read_text(path, 1 << 20, &text, &n, &err), &err);
    const struct br__run run = {
        .config_text = text, .seed = seed, .params_dtype = dtype, .mtp_layers = mtp};
    must(br__init_source_open(&s, &run, 0, &err), &err);
    br__free(text);
    return s;
}

static size_t elements(const struct br__source_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

/* All values of a tensor as float32, read `block` elements at a time. */
static float *values(const struct br__model_source *s, const struct br__source_tensor *t,
                     size_t block)
{
    size_t n = elements(t), size = br_dtype_size(t->dtype);
    float *out = malloc((n + 1) * sizeof *out);
    unsigned char *raw = malloc((n + 1) * size);
    struct br__scratch scratch = {br__alloc(BR__OUT_BUF)};
    block = BR__MIN(block, (size_t)BR__OUT_BUF / 4 / size);
    for (size_t at = 0; at < n; at += block) {
        size_t k = BR__MIN(block, n - at);
        must(s->ops->read(s, t, at * size, raw + at * size, k * size, &scratch, &err), &err);
    }
    br_cast(out, BR_F32, raw, t->dtype, n, 0);
    br__free(scratch.buf);
    free(raw);
    return out;
}

static const struct br__source_tensor *find(const struct br__model_source *s, const char *name)
{
    for (size_t i = 0; i < s->n_tensors; i++)
        if (!strcmp(s->tensors[i].name, name))
            return &s->tensors[i];
    ck_abort_msg("no '%s'", name);
    return NULL;
}

/* ---- distributions --------------------------------------------------------------------------- */

static int by_value(const void *x, const void *y)
{
    float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

/* Kolmogorov and Smirnov's distance from a distribution, times sqrt(n): above 1.95 in one of a
 * thousand samples. */
static double distance(float *v, size_t n, double (*cdf)(double x, double scale), double scale)
{
    double worst = 0;
    qsort(v, n, sizeof *v, by_value);
    for (size_t i = 0; i < n; i++) {
        double p = cdf(v[i], scale);
        worst = fmax(worst,
                     fmax(fabs(p - (double)i / (double)n), fabs((double)(i + 1) / (double)n - p)));
    }
    return worst * sqrt((double)n);
}

static double normal(double x, double std)
{
    return 0.5 * erfc(-x / std / sqrt(2));
}

static double uniform(double x, double bound)
{
    return (x + bound) / (2 * bound);
}

static double log_uniform(double x, double unused)
{
    (void)unused;
    return (exp(x) - 1) / 15;
}

static void check(const struct br__model_source *s, const char *name, double (*cdf)(double, double),
                  double scale)
{
    const struct br__source_tensor *t = find(s, name);
    float *v = values(s, t, 1 << 16);
    double d = distance(v, elements(t), cdf, scale);
    ck_assert_msg(d < 1.95, "'%s' is %g from its distribution", name, d);
    free(v);
}

static void check_all(const struct br__model_source *s, const char *name, float want)
{
    const struct br__source_tensor *t = find(s, name);
    float *v = values(s, t, 1 << 16);
    for (size_t i = 0; i < elements(t); i++)
        ck_assert_msg(v[i] == want, "'%s'[%zu] is %g, expected %g", name, i, v[i], want);
    free(v);
}

#define L "model.layers.0."
START_TEST(test_dense)
{
    struct br__model_source *s = open_init("qwen2_untied_bf16", 1234, BR_F32, 0);
    double std = br_cfg_f(s->cfg, BR_CFG_INIT_METHOD_STD);
    double scaled = std / sqrt(2.0 * (double)s->cfg->n_layers);
    ck_assert_double_eq(std, 0.02);
    check(s, "model.embed_tokens.weight", normal, std);
    check(s, L "self_attn.q_proj.weight", normal, std);
    check(s, L "self_attn.v_proj.weight", normal, std);
    check(s, L "mlp.gate_proj.weight", normal, std);
    check(s, L "self_attn.o_proj.weight", normal, scaled);
    check(s, L "mlp.down_proj.weight", normal, scaled);
    check_all(s, L "self_attn.q_proj.bias", 0);
    check_all(s, L "input_layernorm.weight", 1);
    check_all(s, "model.norm.weight", 1);
    br__source_close(s);
}
END_TEST

START_TEST(test_routed)
{
    struct br__model_source *s = open_init("qwen3_next_mtp_bf16", 1, BR_F32, 0);
    double std = br_cfg_f(s->cfg, BR_CFG_INIT_METHOD_STD);
    double scaled = std / sqrt(2.0 * (double)s->cfg->n_layers);
    check(s, L "mlp.gate.weight", normal, std);
    check(s, L "mlp.experts.1.up_proj.weight", normal, std);
    check(s, L "mlp.experts.1.down_proj.weight", normal, scaled);
    check(s, L "mlp.shared_expert.down_proj.weight", normal, scaled);
    check(s, L "mlp.shared_expert_gate.weight", normal, std);
    check(s, L "linear_attn.in_proj_qkvz.weight", normal, std);
    check(s, L "linear_attn.out_proj.weight", normal, scaled);
    check(s, L "linear_attn.conv1d.weight", uniform, 0.5);
    check(s, L "linear_attn.A_log", log_uniform, 0);
    check_all(s, L "linear_attn.dt_bias", 1);
    check_all(s, L "linear_attn.norm.weight", 1); /* Megatron centres it on zero */
    check_all(s, L "input_layernorm.weight", 0);  /* so does the file */
    check_all(s, L "post_attention_layernorm.weight", 0);
    for (size_t i = 0; i < s->n_tensors; i++)
        ck_assert(!br__starts(s->tensors[i].name, "mtp."));
    br__source_close(s);
    s = open_init("qwen3_next_mtp_bf16", 1, BR_F32, 1);
    ck_assert_ptr_nonnull(find(s, "mtp.norm.weight"));
    br__source_close(s);
}
END_TEST

/* ---- what a value depends on ----------------------------------------------------------------- */

START_TEST(test_depends)
{
    struct br__model_source *a = open_init("qwen3_untied_fp32", 7, BR_F32, 0);
    struct br__model_source *b = open_init("qwen3_untied_fp32", 8, BR_F32, 0);
    struct br__model_source *c = open_init("qwen3_untied_fp32", 7, BR_BF16, 0);
    const struct br__source_tensor *t = find(a, L "mlp.up_proj.weight");
    size_t n = elements(t), same = 0;
    float *x = values(a, t, 1 << 16), *y = values(a, t, 7),
          *z = values(b, find(b, t->name), 1 << 16);
    float *other = values(a, find(a, "model.layers.1.mlp.up_proj.weight"), 1 << 16);
    float *narrow = values(c, find(c, t->name), 1 << 16);
    ck_assert_mem_eq(x, y, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        float wide;
        same += x[i] == z[i];
        same += x[i] == other[i];
        br_cast(&bits, BR_BF16, &x[i], BR_F32, 1, 0);
        br_cast(&wide, BR_F32, &bits, BR_BF16, 1, 0);
        ck_assert_float_eq(wide, narrow[i]);
    }
    ck_assert_uint_lt(same, 4);
    free(x);
    free(y);
    free(z);
    free(other);
    free(narrow);
    br__source_close(a);
    br__source_close(b);
    br__source_close(c);
}
END_TEST

/* The same bits on every machine. */
START_TEST(test_bits)
{
    struct br__model_source *s = open_init("qwen3_untied_fp32", 1234, BR_F32, 0);
    struct br__xxh3 *h = br__xxh3_new();
    for (size_t i = 0; i < s->n_tensors; i++) {
        float *v = values(s, &s->tensors[i], 1 << 16);
        br__xxh3_update(h, v, elements(&s->tensors[i]) * sizeof *v);
        free(v);
    }
    ck_assert_msg(br__xxh3_digest(h) == UINT64_C(0x0339a9e931952c1e), "digest %016llx",
                  (unsigned long long)br__xxh3_digest(h));
    br__xxh3_free(h);
    br__source_close(s);
}
END_TEST

/* A model of small random weights has the loss of uniform guessing. */
START_TEST(test_runs)
{
    static const char *const models[] = {"qwen2_tied_fp32", "qwen3_moe_bf16", "qwen3_next_bf16"};
    struct br__llm *m;
    struct br__trace t;
    int32_t ids[24];
    const struct br__llm_opts o = {
        .weights = {.source = open_init(models[_i], 3, BR_F32, 0), .threads = 1},
        .device = test_device(),
        .precision = BR_F32,
        .threads = TEST_THREADS};
    must(br__llm_open(&m, &o, &err), &err);
    int64_t vocab = br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    for (int i = 0; i < 24; i++)
        ids[i] = (int32_t)((i * 37 + 11) % vocab);
    trace(m, ids, 24, BR__TRACE_LOSS, &t);
    ck_assert_double_eq_tol(br__trace_find(&t, "loss")->data[0], log((double)vocab), 0.1);
    br__trace_free(&t);
    br__llm_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_init");
    TCase *tc = tcase_create("train_init");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, test_dense);
    tcase_add_test(tc, test_routed);
    tcase_add_test(tc, test_depends);
    tcase_add_test(tc, test_bits);
    tcase_add_loop_test(tc, test_runs, 0, 3);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
