/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_rope - rope scaled in wavelength bands: config.json to facts to frequencies, against those
 * of transformers (tests/oracle/make_llama_toy.py). */
#include "engine/engine.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOYS BRIDGE_TEST_DATA "/llama/"
static const char *const toys[] = {"llama_tied_bf16", "llama_untied_bf16"};

static const struct br_field rows[] = {BR_FACT_TEXT(ROPE_SCALING_TYPE, "llama3")};
static const struct br__arch arch = {.model_type = "banded", .config = rows, .n_config = 1};

static struct br__arena arena;
static struct br_err err;

static br__json *read_json(const char *toy, const char *name)
{
    char path[512], *text;
    br__json *j;
    size_t n;

    snprintf(path, sizeof path, TOYS "%s/%s", toy, name);
    ck_assert_msg(!br__read_text(path, 1 << 20, &text, &n, &err), "%s", err.msg);
    ck_assert_msg(!br__json_parse(&j, text, n, &err), "%s", err.msg);
    br__free(text);
    return j;
}

START_TEST(frequencies_are_those_of_transformers)
{
    br__json *config = read_json(toys[_i], "config.json");
    br__json *golden = read_json(toys[_i], "golden.json");
    struct br_config cfg;
    float freq[64];
    double scale;
    int64_t n, i = 0;

    ck_assert_msg(!br__config_from_json(&arena, &arch, config, &cfg, &err), "%s", err.msg);
    ck_assert_int_eq(br_cfg_i(&cfg, BR_CFG_ROPE_SCALING), 1);
    ck_assert(!cfg.has[BR_CFG_YARN_BETA_FAST] && cfg.has[BR_CFG_ROPE_LOW_FREQ_FACTOR]);
    ck_assert_msg(!br__rope(&cfg, freq, 64, &n, &scale, &err), "%s", err.msg);
    ck_assert(scale == 1);
    for (const br__json *w = br__json_first(br__json_get(golden, "inv_freq")); w;
         w = br__json_next(w), i++) {
        double want = br__json_num(w, -1);
        ck_assert_msg(i < n && fabs(freq[i] - want) <= 1e-6 * want,
                      "%s: pair %d has %.9g, not %.9g", toys[_i], (int)i, (double)freq[i], want);
    }
    ck_assert_int_eq(i, n);
    br__json_free(config);
    br__json_free(golden);
    br__arena_free(&arena);
}
END_TEST

/* rope_parameters, and the expected message; NULL: accepted. */
static const struct {
    const char *rope, *says;
} cases[] = {
    {"{\"rope_type\": \"llama3\"}", NULL}, /* Megatron's own numbers */
    {"{\"rope_type\": \"default\"}", NULL},
    {"{\"rope_type\": \"linear\"}", "expected default, yarn or llama3"},
    {"{\"rope_type\": \"llama3\", \"low_freq_factor\": 4.0}",
     "low_freq_factor 4, high_freq_factor 4"},
    {"{\"rope_type\": \"llama3\", \"factor\": 0}", "rope scaling by factor 0"},
    {"{\"rope_type\": \"llama3\", \"low_freq_factor\": -1}", "low_freq_factor -1"},
    {"{\"rope_type\": \"llama3\", \"original_max_position_embeddings\": 0}", "embeddings 0 is"},
    {"{\"rope_type\": \"llama3\", \"high_freq_factor\": \"4\"}", "is not a finite number"},
};

START_TEST(numbers_that_make_no_rope)
{
    br__json *config = read_json(toys[0], "config.json");
    struct br_config cfg;
    float freq[64];
    double scale;
    int64_t n;

    ck_assert(!br__json_set(config, "rope_parameters", cases[_i].rope, &err));
    int rc = br__config_from_json(&arena, &arch, config, &cfg, &err);
    if (!rc)
        rc = br__rope(&cfg, freq, 64, &n, &scale, &err);
    ck_assert_int_eq(rc, cases[_i].says ? BR_E_CONFIG : BR_OK);
    if (cases[_i].says)
        ck_assert_msg(strstr(err.msg, cases[_i].says) != NULL, "%s", err.msg);
    br__json_free(config);
    br__arena_free(&arena);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rope");
    TCase *t = tcase_create("all");

    tcase_add_loop_test(t, frequencies_are_those_of_transformers, 0, (int)BR_COUNTOF(toys));
    tcase_add_loop_test(t, numbers_that_make_no_rope, 0, (int)BR_COUNTOF(cases));
    suite_add_tcase(s, t);
    return run_suite(s);
}
