/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_check.c - `plugin check` finds what is wrong with a plugin: a sound one is changed in one
 * place at a time.  That sound ones pass, tests/arch shows for every plugin. */
#include "check/check.h"
#include "librun.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define MAX_MAPS 64

static struct br__registry *registry;
static struct br__plugin plugin; /* a copy of qwen3_moe, to be spoilt */
static struct br__arch arch;
static struct br_map maps[MAX_MAPS];
static const struct br_ignore ignored[] = {{"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
                                           {"model.norm.weight"}};
static char complaints[8192]; /* details of the checks that failed */

static void setup(void)
{
    struct br_err err = BR_ERR_INIT;

    complaints[0] = 0;
    ck_assert_int_eq(br__registry_open(&registry, NULL, &err), BR_OK);
    ck_assert_int_eq(br__registry_load_all(registry, &err), BR_OK);
    for (size_t i = 0; i < registry->n_plugins; i++)
        if (!strcmp(registry->plugins[i]->name, "qwen3_moe"))
            plugin = *registry->plugins[i];
    ck_assert_str_eq(plugin.name, "qwen3_moe");
    arch = plugin.archs[0];
    ck_assert_uint_lt(arch.n_maps, MAX_MAPS);
    memcpy(maps, arch.maps, arch.n_maps * sizeof *maps);
    arch.maps = maps;
}

static void teardown(void)
{
    br__registry_close(registry);
}

/* The row of the rule with this Megatron name. */
static struct br_map *rule(const char *mcore)
{
    for (uint32_t i = 0; i < arch.n_maps; i++)
        if (!strcmp(maps[i].mcore, mcore))
            return &maps[i];
    ck_abort_msg("no rule '%s'", mcore);
    return NULL;
}

static void on_line(void *ud, const char *what, int ok, const char *detail)
{
    size_t n = strlen(complaints);

    (void)ud;
    ck_assert_ptr_nonnull(what);
    if (!ok)
        snprintf(complaints + n, sizeof complaints - n, "%s: %s\n", what, detail);
}

/* Check the copy; it must fail, and say this. */
static void complains(const char *text)
{
    struct br_err err = BR_ERR_INIT;
    int failed = 0;

    plugin.archs = &arch;
    plugin.n_archs = 1;
    ck_assert_int_eq(br__plugin_check(registry, &plugin, on_line, NULL, &failed, &err), BR_OK);
    ck_assert_int_gt(failed, 0);
    ck_assert_msg(strstr(complaints, text) != NULL, "no '%s' in:\n%s", text, complaints);
}

START_TEST(sound)
{
    struct br_err err = BR_ERR_INIT;
    int failed = -1;

    for (size_t i = 0; i < registry->n_plugins; i++)
        if (!strcmp(registry->plugins[i]->name, "qwen3_moe"))
            ck_assert_int_eq(
                br__plugin_check(registry, registry->plugins[i], on_line, NULL, &failed, &err),
                BR_OK);
    ck_assert_msg(failed == 0, "%s", complaints);
}
END_TEST

START_TEST(not_the_one_that_is_found)
{
    complains("which is found first");
}
END_TEST

START_TEST(name_claimed_twice)
{
    maps[arch.n_maps] = *rule("decoder.final_layernorm.weight");
    maps[arch.n_maps].hf = "model.norm2.weight";
    arch.n_maps++;
    complains("both claim 'decoder.final_layernorm.weight'");
}
END_TEST

START_TEST(hf_name_claimed_twice)
{
    maps[arch.n_maps] = *rule("decoder.final_layernorm.weight");
    maps[arch.n_maps].mcore = "decoder.second_layernorm.weight";
    arch.n_maps++;
    complains("both claim 'model.norm.weight'");
}
END_TEST

START_TEST(unknown_placeholder)
{
    rule("output_layer.weight")->hf = "lm_head.{banana}.weight";
    complains("banana");
}
END_TEST

START_TEST(different_indices)
{
    rule("output_layer.weight")->hf = "lm_head.{layer}.weight";
    complains("go over different indices");
}
END_TEST

START_TEST(list_of_wrong_length)
{
    rule("decoder.layers.{layer}.self_attention.linear_qkv.weight")->hf =
        "model.layers.{layer}.self_attn.{q,k}_proj.weight";
    complains("layout QKV has 1 and 3");
}
END_TEST

START_TEST(unpaired_copy)
{
    rule("decoder.layers.{layer}.self_attention.{q,k}_layernorm.weight")->hf =
        "model.layers.{layer}.self_attn.q_norm.weight";
    complains("COPY pairs them");
}
END_TEST

START_TEST(shape_with_unknown_word)
{
    rule("output_layer.weight")->hf_shape = "vocab_size,hidden_width";
    complains("hidden_width");
}
END_TEST

START_TEST(rows_that_do_not_fit_the_layout)
{
    rule("decoder.layers.{layer}.self_attention.linear_qkv.weight")->hf_shape =
        "2*num_attention_heads*kv_channels,hidden_size;num_query_groups*kv_channels,hidden_size;"
        "num_query_groups*kv_channels,hidden_size";
    complains("every name and row once");
}
END_TEST

START_TEST(mapped_and_ignored)
{
    arch.ignore = ignored;
    arch.n_ignore = 2;
    complains("'model.norm.weight' has a rule and is ignored");
}
END_TEST

START_TEST(illegal_toy)
{
    arch.toy = "num_hidden_layers=2 hidden_size=64 num_attention_heads=0";
    complains("the toy's config.json is legal");
}
END_TEST

START_TEST(recipe_without_base)
{
    static const struct br_recipe rows[] = {{"a_config", NULL, "tp=1"}};
    plugin.recipes = rows;
    plugin.n_recipes = 1;
    complains("recipe 'a_config' has no base");
}
END_TEST

START_TEST(recipe_that_does_not_parse)
{
    static const struct br_recipe rows[] = {{"a_config", "pretrain", "tp=1 pp"}};
    plugin.recipes = rows;
    plugin.n_recipes = 1;
    complains("'pp' is not key=value");
}
END_TEST

START_TEST(recipe_named_twice)
{
    static const struct br_recipe rows[] = {{"a_config", "pretrain", "tp=1"},
                                            {"a_config", "pretrain", "tp=2"}};
    plugin.recipes = rows;
    plugin.n_recipes = 2;
    complains("two recipes are called 'a_config'");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("check");
    TCase *t = tcase_create("check");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, sound);
    tcase_add_test(t, not_the_one_that_is_found);
    tcase_add_test(t, name_claimed_twice);
    tcase_add_test(t, hf_name_claimed_twice);
    tcase_add_test(t, unknown_placeholder);
    tcase_add_test(t, different_indices);
    tcase_add_test(t, list_of_wrong_length);
    tcase_add_test(t, unpaired_copy);
    tcase_add_test(t, shape_with_unknown_word);
    tcase_add_test(t, rows_that_do_not_fit_the_layout);
    tcase_add_test(t, mapped_and_ignored);
    tcase_add_test(t, illegal_toy);
    tcase_add_test(t, recipe_without_base);
    tcase_add_test(t, recipe_that_does_not_parse);
    tcase_add_test(t, recipe_named_twice);
    suite_add_tcase(s, t);
    return run_suite(s);
}
