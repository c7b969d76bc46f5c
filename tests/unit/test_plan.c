/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_plan.c - patterns, layouts and plans: what the conversions of test_convert do not reach. */
#include "convert/plan.h"
#include "librun.h"
#include "model/model_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br__arena arena;
static struct br__registry *registry;

static const struct br__arch *arch_of(const char *model_type)
{
    struct br_err err = BR_ERR_INIT;
    const struct br__arch *arch;
    ck_assert_msg(br__registry_find(registry, model_type, NULL, &arch, &err) == BR_OK, "%s",
                  err.msg);
    return arch;
}

static void config_of(const char *model_type, const char *const *sets, size_t n,
                      struct br_config *cfg)
{
    struct br_err err = BR_ERR_INIT;
    struct br__toy_opts o = {.sets = sets, .n_sets = n};
    const struct br__arch *arch = arch_of(model_type);
    br__json *json;
    ck_assert_msg(br__toy_config(arch, &o, &json, &err) == BR_OK, "%s", err.msg);
    ck_assert_msg(br__config_from_json(&arena, arch, json, cfg, &err) == BR_OK, "%s", err.msg);
    br__json_free(json);
}

/* ---- patterns -------------------------------------------------------------------------------- */

static const struct {
    const char *pattern, *full, *stacked;
} names[] = {
    {"decoder.layers.{layer}.mlp.linear_fc2.weight", "decoder.layers.7.mlp.linear_fc2.weight",
     "decoder.layers.mlp.linear_fc2.weight"},
    {"a.{moe}.e.{expert}.{x,yy}_proj", "a.7.e.9.yy_proj", "a.e.9.yy_proj"},
    {"decoder.layers.{moe}.w[expert]", "decoder.layers.7.w", "decoder.layers.w"},
    {"plain.weight", "plain.weight", "plain.weight"},
};

START_TEST(names_of_patterns)
{
    struct br__pattern p;
    ck_assert_int_eq(br__pattern_parse(names[_i].pattern, &p, NULL), BR_OK);
    int item = p.n_list - 1;
    ck_assert_str_eq(br__pattern_name(&arena, &p, 7, 9, item), names[_i].full);
    ck_assert_str_eq(br__pattern_name(&arena, &p, -1, 9, item), names[_i].stacked);
    ck_assert(br__pattern_match(&p, names[_i].full));
    ck_assert(br__pattern_match(&p, names[_i].stacked));
    ck_assert(!br__pattern_match(&p, "decoder.layers.x.mlp.linear_fc2.weight"));
    ck_assert(!br__pattern_match(&p, ""));
}
END_TEST

static const char *const bad_patterns[] = {"",
                                           "a.{layer",
                                           "a}",
                                           "{attn}.{gdn}",
                                           "{a,b}.{c,d}",
                                           "{layers}",
                                           "{a,b,c,d,e,f,g,h,i}",
                                           "a.{moe}{expert}.b",
                                           "a.x{layer}.b",
                                           "a.{layer}x",
                                           "a.{moe}"};

START_TEST(bad_patterns_are_refused)
{
    struct br_err err = BR_ERR_INIT;
    struct br__pattern p;
    ck_assert_int_eq(br__pattern_parse(bad_patterns[_i], &p, &err), BR_E_PLUGIN);
    ck_assert_uint_gt(strlen(err.msg), 10);
}
END_TEST

START_TEST(shapes)
{
    struct br_config cfg;
    struct br_err err = BR_ERR_INIT;
    int64_t s[BR_MAX_DIMS];
    int n;
    config_of("qwen3", NULL, 0, &cfg);
    ck_assert_int_eq(
        br__shape_eval("2*num_attention_heads*kv_channels+1,hidden_size;3", 0, &cfg, s, &n, &err),
        0);
    ck_assert_int_eq(n, 2);
    ck_assert_int_eq(s[0], 2 * 4 * 32 + 1);
    ck_assert_int_eq(s[1], 64);
    ck_assert_int_eq(br__shape_eval("hidden_size;3", 1, &cfg, s, &n, &err), 0);
    ck_assert_int_eq(s[0], 3);
    ck_assert_int_eq(br__shape_eval("no_such_size", 0, &cfg, s, &n, &err), BR_E_PLUGIN);
    ck_assert_int_eq(br__shape_eval("num_moe_experts", 0, &cfg, s, &n, &err), BR_E_CONFIG);
    ck_assert_int_eq(br__shape_eval("layernorm_epsilon", 0, &cfg, s, &n, &err), BR_E_PLUGIN);
    ck_assert_int_eq(br__shape_eval("hidden_size-1", 0, &cfg, s, &n, &err), BR_E_PLUGIN);
}
END_TEST

/* ---- layouts --------------------------------------------------------------------------------- */

static const struct {
    uint32_t layout;
    int64_t rows[2][3];
} layouts[] = {
    {BR_LAYOUT_QKV, {{4 * 32, 2 * 32, 2 * 32}}},
    {BR_LAYOUT_QKVG, {{8 * 32, 2 * 32, 2 * 32}}},
    {BR_LAYOUT_CONCAT, {{96, 96}}},
    {BR_LAYOUT_GDN_IN, {{2 * 2 * 16 + 2 * 4 * 16, 2 * 4}}},
    {BR_LAYOUT_GDN_CONV, {{2 * 2 * 16 + 4 * 16}}},
};

/* Spans are a bijection: each row of each input goes to one row of one output, and the outputs are
 * full. */
START_TEST(spans_tile_both_sides)
{
    struct br_config cfg;
    struct br_err err = BR_ERR_INIT;
    struct br__row_move *spans;
    size_t n;
    int64_t mc_rows[BR__MAX_LIST];
    uint8_t in[BR__MAX_LIST][1024] = {{0}}, out[BR__MAX_LIST][1024] = {{0}};
    config_of("qwen3_next", NULL, 0, &cfg);
    const int64_t *rows = layouts[_i].rows[0];
    ck_assert_int_eq(
        br__layout_row_moves(&arena, layouts[_i].layout, &cfg, rows, &spans, &n, mc_rows, &err),
        BR_OK);
    int64_t total_in = 0, total_out = 0, moved = 0;
    for (size_t i = 0; i < n; i++)
        for (int64_t r = 0; r < spans[i].n; r++, moved++) {
            ck_assert_int_eq(in[spans[i].hf][spans[i].hf_row + r]++, 0);
            ck_assert_int_eq(out[spans[i].mc][spans[i].mc_row + r]++, 0);
        }
    for (int i = 0; i < br__layout_n_hf(layouts[_i].layout); i++)
        total_in += rows[i];
    for (int i = 0; i < br__layout_n_mcore(layouts[_i].layout); i++)
        total_out += mc_rows[i];
    ck_assert_int_eq(moved, total_in);
    ck_assert_int_eq(moved, total_out);
    int64_t wrong[3] = {rows[0] + 1, rows[1], rows[2]};
    ck_assert_int_eq(
        br__layout_row_moves(&arena, layouts[_i].layout, &cfg, wrong, &spans, &n, mc_rows, &err),
        BR_E_PLUGIN);
}
END_TEST

/* ---- keys under other spellings -------------------------------------------------------------- */

START_TEST(megatron_keys_have_aliases)
{
    static const char *const keys[][2] = {
        {"mtp.layers.0.transformer_layer.mlp.router.weight",
         "mtp.layers.0.mtp_model_layer.mlp.router.weight"},
        {"decoder.layers.pre_mlp_layernorm.weight",
         "decoder.layers.mlp.linear_fc1.layer_norm_weight"},
        {"mtp.layers.0.transformer_layer.pre_mlp_layernorm.weight",
         "mtp.layers.0.mtp_model_layer.mlp.linear_fc1.layer_norm_weight"},
    };
    struct br_err err = BR_ERR_INIT;
    for (size_t i = 0; i < BR_COUNTOF(keys); i++) {
        struct br__tensor t = {
            .name = keys[i][1], .dtype = BR_BF16, .ndim = 1, .shape = {4}, .bytes = 8};
        struct br__ckpt *ck;
        ck_assert_int_eq(br__hf_invent(&ck, &t, 1, &err), BR_OK);
        const struct br__tensor *found = br__find_key(ck, keys[i][0]);
        ck_assert_msg(found && !strcmp(found->name, keys[i][1]), "'%s' was not found", keys[i][0]);
        ck_assert_ptr_null(br__find_key(ck, "decoder.layers.mlp.router.weight"));
        br__ckpt_close(ck);
    }
}
END_TEST

/* ---- expansions ------------------------------------------------------------------------------ */

START_TEST(stacked_needs_like_layers)
{
    static const char *const mixed[] = {"mlp_only_layers=[1]"};
    struct br_err err = BR_ERR_INIT;
    struct br__expansion *x;
    struct br_config cfg;
    struct br__expand_opts stacked = {.per_layer = -1, .untied = 1}, own = {.untied = 1};
    config_of("qwen3_moe", NULL, 0, &cfg);
    ck_assert_int_eq(br__rules_expand(&arena, &cfg, &own, &x, &err), BR_OK);
    ck_assert(!x->per_layer);
    config_of("qwen3_moe", mixed, 1, &cfg);
    ck_assert_int_eq(br__rules_expand(&arena, &cfg, &stacked, &x, &err), BR_E_CONFIG);
    ck_assert_int_eq(br__rules_expand(&arena, &cfg, &own, &x, &err), BR_OK);
    ck_assert(x->per_layer);
}
END_TEST

static void setup(void)
{
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__registry_open(&registry, NULL, &err) == BR_OK, "%s", err.msg);
}

static void teardown(void)
{
    br__registry_close(registry);
    br__arena_free(&arena);
}

int main(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, names_of_patterns, 0, (int)BR_COUNTOF(names));
    tcase_add_loop_test(t, bad_patterns_are_refused, 0, (int)BR_COUNTOF(bad_patterns));
    tcase_add_test(t, shapes);
    tcase_add_loop_test(t, spans_tile_both_sides, 0, (int)BR_COUNTOF(layouts));
    tcase_add_test(t, megatron_keys_have_aliases);
    tcase_add_test(t, stacked_needs_like_layers);
    suite_add_tcase(s, t);
    return run_suite(s);
}
