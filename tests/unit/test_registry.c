/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_registry - plugins of every age and kind of damage, and the search for an architecture. */
#include "librun.h"
#include "model/model_internal.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE(name) BRIDGE_TEST_MODULES "/bridge_" name ".so"

static char tmp[256];
static struct br__registry *reg;
static struct br__arena arena;
static struct br_err err;

/* Those of plugins/, however many there are. */
extern br_plugin_fn *const br__static_plugins[];

static size_t n_linked(void)
{
    size_t n = 0;
    while (br__static_plugins[n])
        n++;
    return n;
}

static void reopen(const char *plugin_path)
{
    br__registry_close(reg);
    ck_assert_int_eq(setenv("BRIDGE_PLUGIN_PATH", plugin_path, 1), 0);
    ck_assert_msg(br__registry_open(&reg, NULL, &err) == BR_OK, "%s", err.msg);
}

static void setup(void)
{
    memset(&err, 0, sizeof err);
    make_temp_dir(tmp, sizeof tmp, "bridge-registry");
    ck_assert_int_eq(setenv("XDG_DATA_HOME", tmp, 1), 0);
    reg = NULL;
    reopen("");
}

static void teardown(void)
{
    br__registry_close(reg);
    br__arena_free(&arena);
    ck_assert_int_eq(br__remove_tree(tmp, &err), BR_OK);
}

/* "tmp/name" */
static const char *in_tmp(const char *name)
{
    return br__path_join(&arena, tmp, name);
}

static const char *make_dir(const char *name)
{
    const char *dir = in_tmp(name);
    ck_assert_int_eq(br__mkdirs(dir, &err), BR_OK);
    return dir;
}

/* The first n bytes of a built module, or all for SIZE_MAX, under another name. */
static void copy_module(const char *from, const char *to, size_t n)
{
    struct br__file f = {0};

    ck_assert_msg(br__file_open(&f, from, &err) == BR_OK, "%s", err.msg);
    n = BR__MIN(n, f.size);
    ck_assert_msg(br__write_file(to, f.map, n, 0, &err) == BR_OK, "%s", err.msg);
    br__file_close(&f);
}

static void assert_says(const char *words)
{
    ck_assert_msg(strstr(err.msg, words) != NULL, "'%s' is not in: %s", words, err.msg);
}

static const struct br__plugin *load(const char *path)
{
    const struct br__plugin *p = NULL;
    ck_assert_msg(br__registry_load_file(reg, path, &p, &err) == BR_OK, "%s", err.msg);
    ck_assert_ptr_nonnull(p);
    return p;
}

static void assert_refused(const char *path, int code, const char *words)
{
    const struct br__plugin *p = NULL;
    size_t before = reg->n_plugins;

    ck_assert_int_eq(br__registry_load_file(reg, path, &p, &err), code);
    ck_assert_ptr_null(p);
    ck_assert_uint_eq(reg->n_plugins, before);
    assert_says(path);
    assert_says(words);
}

/* ---- adopting -------------------------------------------------------------------------------- */

START_TEST(adopt_follows_the_rule_of_sizes)
{
    unsigned char src[8] = {1, 2, 3, 4, 0, 0, 0, 0}, dst[8];

    ck_assert_int_eq(br__adopt(dst, 4, src, 8), BR_OK);
    ck_assert_mem_eq(dst, src, 4);
    memset(dst, 0xff, sizeof dst);
    ck_assert_int_eq(br__adopt(dst, 8, src, 3), BR_OK);
    ck_assert_mem_eq(dst, ((unsigned char[8]){1, 2, 3}), 8);
    ck_assert_int_eq(br__adopt(dst, 3, src, 8), BR_E_PLUGIN);
    src[7] = 1;
    ck_assert_int_eq(br__adopt(dst, 4, src, 8), BR_E_PLUGIN);
}
END_TEST

START_TEST(same_header_loads)
{
    const struct br__plugin *p = load(MODULE("same"));
    struct br_err why = BR_ERR_INIT;

    ck_assert_str_eq(p->name, "same");
    ck_assert_str_eq(p->path, MODULE("same"));
    ck_assert_uint_eq(p->built_with, BR_VERSION);
    ck_assert_uint_eq(p->n_archs, 2);
    ck_assert_uint_eq(p->n_recipes, 1);
    ck_assert_str_eq(p->recipes[0].set, "tp=2");
    const struct br__arch *a = &p->archs[0];
    ck_assert_ptr_eq(a->plugin, p);
    ck_assert_str_eq(a->model_type, "same");
    ck_assert_uint_eq(a->n_config, 3);
    ck_assert_str_eq(a->config[2].text, "fp32");
    ck_assert_uint_eq(a->n_maps, 1);
    ck_assert_uint_eq(a->maps[0].flags, BR_MAP_EXTRA_STATE);
    ck_assert_uint_eq(a->n_ignore, 1);
    ck_assert_int_eq(a->check(NULL, &why), BR_E_CONFIG);
    ck_assert(a->layer == NULL);
    ck_assert_ptr_null(p->archs[1].config);
    ck_assert_ptr_eq(load(MODULE("same")), p);
}
END_TEST

START_TEST(older_header_reads_missing_as_zero)
{
    const struct br__plugin *p = load(MODULE("older"));
    const struct br__arch *a = &p->archs[0];

    ck_assert_uint_eq(p->built_with, 900);
    ck_assert_uint_eq(p->n_recipes, 0);
    ck_assert_uint_eq(a->n_config, 2);
    ck_assert_uint_eq(a->config[1].field, BR_CFG_NUM_LAYERS);
    ck_assert_str_eq(a->config[1].hf_key, "num_hidden_layers");
    ck_assert_ptr_null(a->config[1].text);
    ck_assert_uint_eq(a->n_maps, 2);
    ck_assert_str_eq(a->maps[1].hf, "model.embed_tokens.weight");
    ck_assert_uint_eq(a->maps[1].layout, BR_LAYOUT_COPY);
    ck_assert_uint_eq(a->n_ignore, 0);
    ck_assert(a->check == NULL && a->layer == NULL);
}
END_TEST

START_TEST(newer_header_with_unused_fields_loads)
{
    const struct br__arch *a = &load(MODULE("newer"))->archs[0];

    ck_assert_uint_eq(a->n_config, 2);
    ck_assert_str_eq(a->config[1].hf_key, "hidden_size");
    ck_assert_str_eq(a->maps[0].mcore, "decoder.final_layernorm.weight");
}
END_TEST

START_TEST(newer_header_with_a_used_field_is_refused)
{
    assert_refused(MODULE("newer_row"), BR_E_PLUGIN, "arch 'newer_row': config row 1 uses a field");
    assert_says("built with bridge 1.3.0");
    assert_says(br_version());
    assert_refused(MODULE("newer_arch"), BR_E_PLUGIN, "archs row 0 uses a field");
    assert_refused(MODULE("newer_plugin"), BR_E_PLUGIN, "descriptor uses a field");
    assert_says("built with bridge 1.3.0");
}
END_TEST

static const struct {
    const char *file, *words;
} broken[] = {
    {MODULE("bad_field"), "config row 1: fact 5000"},
    {MODULE("bad_flags"), "config row 1: flags 0x4000"},
    {MODULE("bad_layout"), "map row 1 ('output_layer.weight'): layout 77"},
    {MODULE("bad_mapflags"), "map row 1 ('output_layer.weight'): flags 0x8000"},
    {MODULE("bad_nokey"), "config row 1: hf_key is NULL"},
    {MODULE("bad_facttext"), "config row 2: text is NULL"},
    {MODULE("bad_nullhf"), "map row 1: hf is NULL"},
    {MODULE("bad_empty"), "arch row 0: model_type is empty"},
    {MODULE("bad_notoy"), "arch row 0: toy is NULL"},
    {MODULE("bad_nomaps"), "no weight map"},
    {MODULE("bad_noarch"), "no architecture"},
    {MODULE("bad_manyarchs"), "archs has 4000000000 rows"},
    {MODULE("bad_wildrows"), "map: its 2 rows"},
    {MODULE("bad_wildtext"), "hf_class is not a text of the plugin's own"},
    {MODULE("bad_wildself"), "descriptor is not in the plugin's file"},
    {MODULE("bad_toolong"), "config: its 4000 rows"},
    {MODULE("bad_rowsize"), "config has rows of 12 bytes"},
    {MODULE("bad_hugerow"), "config has rows of 1048576 bytes"},
    {MODULE("bad_structsize"), "the descriptor has rows of 1073741824 bytes"},
    {MODULE("bad_wildcheck"), "arch row 0: check is not a function of the plugin's own"},
    {MODULE("bad_datalayer"), "arch row 0: layer is not a function of the plugin's own"},
    {MODULE("bad_name"), "calls itself 'other'"},
    {MODULE("foreign"), "exports no bridge_plugin_v1()"},
    {MODULE("null"), "returned NULL"},
    {MODULE("undefined"), "nobody_defines_this"},
};

START_TEST(broken_plugin_is_refused)
{
    assert_refused(broken[_i].file, BR_E_PLUGIN, broken[_i].words);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------- */

START_TEST(file_must_be_named_after_its_plugin)
{
    const char *wrong = in_tmp("bridge_else.so"), *odd = in_tmp("same.so");

    copy_module(MODULE("same"), wrong, SIZE_MAX);
    assert_refused(wrong, BR_E_PLUGIN, "should be called bridge_same.so");
    copy_module(MODULE("same"), odd, SIZE_MAX);
    assert_refused(odd, BR_E_PLUGIN, "is called bridge_<name>.so");
    assert_refused(in_tmp("bridge_.so"), BR_E_PLUGIN, "is called bridge_<name>.so");
    assert_refused(in_tmp("bridge_A.so"), BR_E_PLUGIN, "is called bridge_<name>.so");
}
END_TEST

START_TEST(file_must_be_a_regular_one)
{
    assert_refused(in_tmp("bridge_none.so"), BR_E_NOTFOUND, "No such file");
    assert_refused(make_dir("bridge_dir.so"), BR_E_PLUGIN, "not a regular file");
}
END_TEST

START_TEST(garbage_is_refused)
{
    const char *path = in_tmp("bridge_garbage.so");
    char text[4096];

    memset(text, 'x', sizeof text);
    ck_assert_int_eq(br__write_file(path, text, sizeof text, 0, &err), BR_OK);
    assert_refused(path, BR_E_PLUGIN, "no ELF magic");
    ck_assert_int_eq(br__write_file(path, text, 0, 0, &err), BR_OK);
    assert_refused(path, BR_E_PLUGIN, "0 bytes");
    memcpy(text, "\177ELF", 4);
    ck_assert_int_eq(br__write_file(path, text, sizeof text, 0, &err), BR_OK);
    assert_refused(path, BR_E_PLUGIN, "built for another machine");
}
END_TEST

/* The page-sized cuts are those that would end in SIGBUS inside dlopen. */
START_TEST(truncated_is_refused_at_every_length)
{
    const char *path = in_tmp("bridge_same.so");
    struct br__file f = {0};

    ck_assert_int_eq(br__file_open(&f, MODULE("same"), &err), BR_OK);
    for (size_t n = 0; n < f.size; n += n < 1024 ? 1 : 509)
        ck_assert_int_eq(br__elf_check(f.map, n, NULL), BR_E_PLUGIN);
    ck_assert_int_eq(br__elf_check(f.map, f.size - 1, NULL), BR_E_PLUGIN);
    ck_assert_int_eq(br__elf_check(f.map, f.size, NULL), BR_OK);
    copy_module(MODULE("same"), path, f.size / 2);
    br__file_close(&f);
    assert_refused(path, BR_E_PLUGIN, "cut short");
}
END_TEST

/* Any byte of the headers may be wrong: refused or not, never a crash or a read outside. */
START_TEST(elf_check_survives_damaged_headers)
{
    struct br__file f = {0};
    size_t refused = 0;

    ck_assert_int_eq(br__file_open(&f, MODULE("same"), &err), BR_OK);
    unsigned char *copy = malloc(f.size); /* exact size, so that ASan sees an overrun */
    ck_assert_ptr_nonnull(copy);
    for (size_t at = 0; at < 1024; at++) {
        memcpy(copy, f.map, f.size);
        copy[at] ^= 0xff;
        refused += br__elf_check(copy, f.size, NULL) != BR_OK;
    }
    ck_assert_uint_gt(refused, 100);
    free(copy);
    br__file_close(&f);
}
END_TEST

START_TEST(working_directory_is_not_searched)
{
    const struct br__arch *a;

    copy_module(MODULE("same"), in_tmp("bridge_same.so"), SIZE_MAX);
    ck_assert_int_eq(chdir(tmp), 0);
    assert_refused("bridge_same.so", BR_E_PLUGIN, "write './bridge_same.so'");
    reopen(":.::../../tmp:");
    ck_assert_int_eq(br__registry_find(reg, "same", NULL, &a, &err), BR_E_ARCH);
    assert_says("BRIDGE_PLUGIN_PATH: '.' is not an absolute path");
    ck_assert_uint_eq(reg->n_refused, 2);
    load("./bridge_same.so");
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

/* ---- finding --------------------------------------------------------------------------------- */

static const struct br__arch *find(const char *type, const char *cls)
{
    const struct br__arch *a = NULL;
    ck_assert_msg(br__registry_find(reg, type, cls, &a, &err) == BR_OK, "%s", err.msg);
    return a;
}

static void assert_unknown(const char *type, const char *cls, const char *words)
{
    const struct br__arch *a = NULL;
    ck_assert_int_eq(br__registry_find(reg, type, cls, &a, &err), BR_E_ARCH);
    ck_assert_ptr_null(a);
    assert_says(words);
}

START_TEST(linked_in_plugins_are_found)
{
    ck_assert_str_eq(find("qwen3_moe", "Qwen3MoeForCausalLM")->plugin->path, "(static)");
    ck_assert_uint_eq(reg->n_plugins, 1);
    ck_assert_str_eq(find("qwen2", NULL)->hf_class, "Qwen2ForCausalLM");
    ck_assert_str_eq(find(NULL, "Qwen3NextForCausalLM")->model_type, "qwen3_next");
    ck_assert_int_eq(br__registry_load_all(reg, &err), BR_OK);
    ck_assert_uint_eq(reg->n_plugins, n_linked());
}
END_TEST

START_TEST(by_name_opens_one_file_only)
{
    reopen(BRIDGE_TEST_MODULES);
    ck_assert_str_eq(find("same", "SameForCausalLM")->plugin->path, MODULE("same"));
    ck_assert_uint_eq(reg->n_plugins, 1);
    ck_assert_uint_eq(reg->n_refused, 0);
}
END_TEST

START_TEST(scan_finds_what_no_name_tells)
{
    reopen(BRIDGE_TEST_MODULES);
    ck_assert_str_eq(find("same-v2", "SameV2ForCausalLM")->plugin->name, "same");
    ck_assert_uint_gt(reg->n_refused, BR_COUNTOF(broken) - 1);
}
END_TEST

START_TEST(load_all_twice_is_load_all_once)
{
    reopen(BRIDGE_TEST_MODULES);
    ck_assert_int_eq(br__registry_load_all(reg, &err), BR_OK);
    size_t plugins = reg->n_plugins, refused = reg->n_refused;
    ck_assert_uint_eq(plugins, 3 + n_linked()); /* same, older, newer */
    ck_assert_uint_eq(refused, BR_COUNTOF(broken) + 3);
    ck_assert_int_eq(br__registry_load_all(reg, &err), BR_OK);
    ck_assert_uint_eq(reg->n_plugins, plugins);
    ck_assert_uint_eq(reg->n_refused, refused);
}
END_TEST

START_TEST(first_directory_wins)
{
    const char *a = make_dir("a"), *b = make_dir("b"), *user = make_dir("bridge/1");

    copy_module(MODULE("same"), br__path_join(&arena, a, "bridge_same.so"), SIZE_MAX);
    copy_module(MODULE("same"), br__path_join(&arena, b, "bridge_same.so"), SIZE_MAX);
    copy_module(MODULE("same"), br__path_join(&arena, user, "bridge_same.so"), SIZE_MAX);
    reopen(br__arena_printf(&arena, "%s:%s", b, a));
    ck_assert_str_eq(find("same", NULL)->plugin->path, br__path_join(&arena, b, "bridge_same.so"));
    reopen("");
    ck_assert_str_eq(find("same", NULL)->plugin->path,
                     br__path_join(&arena, user, "bridge_same.so"));
}
END_TEST

START_TEST(plugin_file_wins_over_directories)
{
    const char *dir = make_dir("a"), *mine = in_tmp("bridge_same.so");

    copy_module(MODULE("same"), br__path_join(&arena, dir, "bridge_same.so"), SIZE_MAX);
    copy_module(MODULE("same"), mine, SIZE_MAX);
    ck_assert_int_eq(setenv("BRIDGE_PLUGIN_PATH", dir, 1), 0);
    br__registry_close(reg);
    reg = NULL;
    ck_assert_int_eq(br__registry_open(&reg, mine, &err), BR_OK);
    ck_assert_str_eq(find("same", NULL)->plugin->path, mine);
    ck_assert_int_eq(br__registry_load_all(reg, &err), BR_OK);
    ck_assert_uint_eq(reg->n_plugins, 1 + n_linked());
    br__registry_close(reg);
    ck_assert_int_eq(br__registry_open(&reg, in_tmp("bridge_none.so"), &err), BR_E_NOTFOUND);
    ck_assert_ptr_null(reg);
}
END_TEST

START_TEST(damaged_file_gives_way_to_the_next)
{
    const char *dir = make_dir("a"), *bad = br__path_join(&arena, dir, "bridge_qwen3.so");

    copy_module(MODULE("same"), bad, 2000);
    reopen(dir);
    ck_assert_str_eq(find("qwen3", "Qwen3ForCausalLM")->plugin->path, "(static)");
    ck_assert_uint_eq(reg->n_refused, 1);
    ck_assert_ptr_nonnull(strstr(reg->refused[0], bad));
}
END_TEST

/* " qwen2 qwen3 ...": the model types that are linked in. */
static const char *linked_types(void)
{
    const char *all = "";
    for (size_t i = 0; br__static_plugins[i]; i++) {
        const struct br_plugin *d = br__static_plugins[i]();
        for (uint32_t k = 0; k < d->n_archs; k++)
            all = br__arena_printf(&arena, "%s %s", all, d->archs[k].model_type);
    }
    return all;
}

START_TEST(unknown_architecture_says_what_to_do)
{
    reopen(BRIDGE_TEST_MODULES);
    assert_unknown("qwen3_mo", "Qwen3MoForCausalLM",
                   "no plugin for model_type 'qwen3_mo' (Qwen3MoForCausalLM)");
    assert_says("did you mean 'qwen3_moe'?");
    assert_says(br__arena_printf(&arena, "supported: newer older same same-v2%s;", linked_types()));
    assert_says("bridge help plugin new");
    assert_says("bridge plugin list");
    assert_says("looked in " BRIDGE_TEST_MODULES);
    assert_says("not taken (28): ");
    assert_unknown(NULL, "Qwen3NextForCausalLN", "did you mean 'Qwen3NextForCausalLM'?");
    assert_unknown("zamba", NULL, "no plugin for model_type 'zamba'; supported");
    assert_unknown(NULL, NULL, "neither architectures nor model_type");
}
END_TEST

START_TEST(names_of_two_architectures_are_refused)
{
    assert_unknown("qwen3", "Qwen2ForCausalLM", "model_type 'qwen3' goes with 'Qwen3ForCausalLM'");
    assert_says("'Qwen2ForCausalLM', which is 'qwen2'");
    assert_unknown("qwen3", "Qwen3ForSequenceClassification", "goes with 'Qwen3ForCausalLM'");
    assert_unknown("qwen9", "Qwen3ForCausalLM", "goes with model_type 'qwen3'");
}
END_TEST

/* model_type comes from a file that may be hostile; it must not lead out of the directories. */
START_TEST(model_type_is_no_path)
{
    copy_module(MODULE("same"), in_tmp("bridge_same.so"), SIZE_MAX);
    make_dir("a/bridge_x"); /* what "bridge_" + the type would pass through */
    reopen(in_tmp("a"));
    assert_unknown("x/../../bridge_same", NULL, "no plugin");
    ck_assert_uint_eq(reg->n_plugins, n_linked());
    ck_assert_uint_eq(reg->n_refused, 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("registry");
    TCase *t = tcase_create("all");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, adopt_follows_the_rule_of_sizes);
    tcase_add_test(t, same_header_loads);
    tcase_add_test(t, older_header_reads_missing_as_zero);
    tcase_add_test(t, newer_header_with_unused_fields_loads);
    tcase_add_test(t, newer_header_with_a_used_field_is_refused);
    tcase_add_loop_test(t, broken_plugin_is_refused, 0, BR_COUNTOF(broken));
    tcase_add_test(t, file_must_be_named_after_its_plugin);
    tcase_add_test(t, file_must_be_a_regular_one);
    tcase_add_test(t, garbage_is_refused);
    tcase_add_test(t, truncated_is_refused_at_every_length);
    tcase_add_test(t, elf_check_survives_damaged_headers);
    tcase_add_test(t, working_directory_is_not_searched);
    tcase_add_test(t, linked_in_plugins_are_found);
    tcase_add_test(t, by_name_opens_one_file_only);
    tcase_add_test(t, scan_finds_what_no_name_tells);
    tcase_add_test(t, load_all_twice_is_load_all_once);
    tcase_add_test(t, first_directory_wins);
    tcase_add_test(t, plugin_file_wins_over_directories);
    tcase_add_test(t, damaged_file_gives_way_to_the_next);
    tcase_add_test(t, unknown_architecture_says_what_to_do);
    tcase_add_test(t, names_of_two_architectures_are_refused);
    tcase_add_test(t, model_type_is_no_path);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
