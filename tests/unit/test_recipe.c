/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_recipe.c - the grammar of recipes, values read and written, rows that build on rows. */
#include "librun.h"
#include "recipe/recipe_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct br__arena arena;
static struct br_err err;

static void setup(void)
{
    memset(&err, 0, sizeof err);
}

static void teardown(void)
{
    br__arena_free(&arena);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* All pairs of a text as "key=value;", or the error's text. */
static const char *pairs(const char *text, int line, int whole)
{
    static char out[2000];
    struct br__pairs t = {text, "text", line, whole};
    struct br__pair p;
    int rc;

    out[0] = '\0';
    while (!(rc = br__pairs_next(&arena, &t, &p, &err)) && p.key) {
        size_t n = strlen(out);
        snprintf(out + n, sizeof out - n, "%s=%s%s@%d;", p.key, p.value, p.quoted ? "(quoted)" : "",
                 p.line);
    }
    return rc ? err.msg : out;
}

START_TEST(pairs_are_read)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"", ""},
        {"  # nothing\n\n", ""},
        {"a=1", "a=1@1;"},
        {"a = 1", "a=1@1;"},
        {"a=1 b=2\tc=3", "a=1@1;b=2@1;c=3@1;"},
        {"a=1\r\nb=2\r\n", "a=1@1;b=2@2;"},
        {"a = 1 # one\n# two = 2\nb = 2#three", "a=1@1;b=2@3;"},
        {"a-b.c = x", "a_b.c=x@1;"},
        {"a=\"b # \\\"c\\\" \\u00e9\"", "a=b # \"c\" \xc3\xa9(quoted)@1;"},
        {"a=\"\"", "a=(quoted)@1;"},
        {"a=[1, 2] b={\"c\": [\"]\"]}", "a=[1, 2]@1;b={\"c\": [\"]\"]}@1;"},
        {"a=b=c", "a=b=c@1;"},
    };
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        ck_assert_str_eq(pairs(rows[i].text, 1, 0), rows[i].want);
}
END_TEST

START_TEST(a_single_pair_takes_all_of_its_text)
{
    ck_assert_str_eq(pairs("name=my run # 7", 0, 1), "name=my run # 7@0;");
    ck_assert_str_eq(pairs("name=\"my run\"", 0, 1), "name=my run(quoted)@0;");
}
END_TEST

START_TEST(broken_pairs_are_refused)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        {"a=1\nb", "text:2: 'b' is not key=value"},
        {"a", "text:1: 'a' is not key=value"},
        {"=1", "text:1: '=1' is not key=value"},
        {"a=", "text:1: a has no value; write key=value, or key=\"\" for an empty text"},
        {"a=\n1", "text:1: a has no value; write key=value, or key=\"\" for an empty text"},
        {"a=\"b", "text:1: a: the quoted text does not end on its line"},
        {"a=\"b\n\"", "text:1: a: the quoted text does not end on its line"},
        {"a=\"b\\", "text:1: a: the quoted text does not end on its line"},
        {"a=\"\\x\"", "text:1: a: the quoted text has a bad escape or character"},
        {"a=\"\xff\"", "text:1: a: the quoted text has a bad escape or character"},
        {"a=\"b\"c", "text:1: a: a blank must follow the value, got 'c'"},
        {"a=[1", "text:1: a: the bracket '[' is not closed on its line"},
        {"a={\"b", "text:1: a: the bracket '{' is not closed on its line"},
        {"a=[1]2", "text:1: a: a blank must follow the value, got '2'"},
    };
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        ck_assert_str_eq(pairs(rows[i].text, 1, 0), rows[i].want);
        ck_assert_int_eq(err.code, BR_E_CONFIG);
    }
    ck_assert_str_eq(pairs("a", 0, 0), "text: 'a' is not key=value");
}
END_TEST

/* ---- values ---------------------------------------------------------------------------------- */

/* A value read and written as JSON and as text, "json|text"; or the error's text. */
static const char *value(uint32_t id, const char *text, int quoted)
{
    static char out[400];
    struct br__recipe_value v = {0};
    struct br__buf json = {0}, plain = {0};

    if (br__recipe_value_parse(&arena, &br__recipe_keys[id], text, quoted, &v, &err))
        return err.msg;
    br__recipe_value_json(&json, &v);
    br__recipe_value_text(&plain, &v);
    snprintf(out, sizeof out, "%s|%s", json.p, plain.p);
    br__buf_free(&json);
    br__buf_free(&plain);
    return out;
}

START_TEST(values_are_read_and_written)
{
    static const struct {
        uint32_t id;
        const char *text, *want;
    } rows[] = {
        {BR__RK_tp, "8", "8|8"},
        {BR__RK_train_iters, "500_000", "500000|500000"},
        {BR__RK_train_iters, "1e3", "1000|1000"},
        {BR__RK_lr, "3e-4", "0.0003|0.0003"},
        {BR__RK_lr, "5e-6", "5e-06|5e-06"},
        {BR__RK_rotary_base, "10000000", "10000000.0|10000000.0"},
        {BR__RK_bf16, "True", "true|true"},
        {BR__RK_vpp, "None", "null|null"},
        {BR__RK_manual_gc_eval, "100", "100|100"},
        {BR__RK_manual_gc_eval, "true", "true|true"},
        {BR__RK_pipeline_dtype, "bfloat16", "\"torch.bfloat16\"|torch.bfloat16"},
        {BR__RK_attention_backend, "flash", "\"AttnBackend.flash\"|AttnBackend.flash"},
        {BR__RK_lr_decay_style, "wsd", "\"WSD\"|WSD"},
        {BR__RK_cuda_graph_impl, "none", "\"none\"|\"none\""}, /* a choice, not null */
        {BR__RK_name, "run", "\"run\"|run"},
        {BR__RK_name, "a b", "\"a b\"|\"a b\""},
        {BR__RK_dataset_split, "1,1,1", "\"1,1,1\"|1,1,1"},
        {BR__RK_peft_target_modules, "[a,b]", "[\"a\", \"b\"]|[\"a\", \"b\"]"},
        {BR__RK_peft_target_modules, "a,b", "[\"a\", \"b\"]|[\"a\", \"b\"]"},
        {BR__RK_peft_target_modules, "[\"a b\"]", "[\"a b\"]|[\"a b\"]"},
        {BR__RK_peft_target_modules, "[]", "[]|[]"},
        {BR__RK_rampup_batch_size, "[16, 8, 300000]", "[16, 8, 300000]|[16, 8, 300000]"},
        {BR__RK_dataset_kwargs, "{}", "{}|{}"},
    };
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        ck_assert_str_eq(value(rows[i].id, rows[i].text, 0), rows[i].want);
    ck_assert_str_eq(value(BR__RK_hf_model, "null", 1), "\"null\"|\"null\"");
}
END_TEST

/* What is written is read as the same value, also texts that look like something else. */
START_TEST(texts_survive)
{
    static const char *const texts[] = {"",    "null",  "None", "$x",   "[a]", "{",    "a#b",
                                        "a b", "\"q\"", "true", "\t\n", "é",   "a\\b", "1"};
    for (size_t i = 0; i < BR_COUNTOF(texts); i++) {
        struct br__recipe_value v = {0};
        struct br__buf b = {0};
        struct br__pair p;
        ck_assert_int_eq(br__recipe_value_parse(&arena, &br__recipe_keys[BR__RK_hf_model], texts[i],
                                                1, &v, &err),
                         BR_OK);
        br__buf_puts(&b, "k=");
        br__recipe_value_text(&b, &v);
        struct br__pairs t = {b.p, "text", 1, 0};
        ck_assert_int_eq(br__pairs_next(&arena, &t, &p, &err), BR_OK);
        memset(&v, 0, sizeof v);
        ck_assert_int_eq(br__recipe_value_parse(&arena, &br__recipe_keys[BR__RK_hf_model], p.value,
                                                p.quoted, &v, &err),
                         BR_OK);
        ck_assert_int_eq(v.tag, 'T');
        ck_assert_str_eq(v.text, texts[i]);
        br__buf_free(&b);
    }
}
END_TEST

START_TEST(keys_are_found)
{
    static const struct {
        const char *name;
        uint32_t id;
    } rows[] = {{"tp", BR__RK_tp},
                {"tensor_model_parallel_size", BR__RK_tp},
                {"model.tensor_model_parallel_size", BR__RK_tp},
                {"gbs", BR__RK_global_batch_size},
                {"finetune_lr", BR__RK_lr},
                {"seq_length", BR__RK_seq_length},
                {"dataset.seq_length", BR__RK_dataset_seq_length},
                {"lr_decay_iters", BR__RK_lr_decay_iters_field},
                {"peft.dim", BR__RK_peft_dim},
                {"dataset.seed", BR__RK_dataset_seed},
                {"nothing", BR__N_RK},
                {"", BR__N_RK}};
    for (size_t i = 0; i < BR_COUNTOF(rows); i++)
        ck_assert_uint_eq(br__recipe_key_find(rows[i].name), rows[i].id);
}
END_TEST

/* No name, alias or path means two keys. */
START_TEST(names_of_keys_are_unique)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__recipe_key *k = &br__recipe_keys[id];
        ck_assert_uint_eq(br__recipe_key_find(k->name), id);
        for (const char *const *list = (const char *const[]){k->aliases, k->config, NULL}; *list;
             list++)
            for (const char *p = *list; *p; p += *p == ' ') {
                size_t n = strcspn(p, " ");
                const char *word = br__arena_strndup(&arena, p, n);
                ck_assert_msg(br__recipe_key_find(word) == id, "'%s' is not %s", word, k->name);
                p += n;
            }
        for (size_t i = 0; br__recipe_word(i); i++)
            ck_assert_str_ne(br__recipe_word(i)->name, k->name);
    }
}
END_TEST

/* Each default is a value of its key. */
START_TEST(defaults_are_legal)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__recipe_key *k = &br__recipe_keys[id];
        struct br__recipe_value v = {0};
        if (k->dflt)
            ck_assert_msg(!br__recipe_value_parse(&arena, k, k->dflt, 0, &v, &err), "%s", err.msg);
    }
}
END_TEST

/* ---- rows ------------------------------------------------------------------------------------ */

#define PLUGIN(var, ...)                                                                           \
    static const struct br_recipe var##_rows[] = __VA_ARGS__;                                      \
    static const struct br__plugin var = {.name = "test",                                          \
                                          .path = "test",                                          \
                                          .recipes = var##_rows,                                   \
                                          .n_recipes = BR_COUNTOF(var##_rows)}

static int open_recipe(const struct br__plugin *p, const char *name, const char *mode,
                       struct br__recipe *r)
{
    struct br__recipe_opts o = {.name = name, .plugin = p, .mode = mode};
    return br__recipe_open(&arena, NULL, &o, r, &err);
}

START_TEST(later_rows_win)
{
    PLUGIN(p, {{"t.a", "pretrain", "from=one tp=2 lr=1e-3 mbs=1"},
               {"t.b", "any", "from=two pp=2 mbs=4 pretrain.cp=2 lora.cp=4 name=\"a b\""},
               {"t_config", "t.a t.b", "from=three mbs=8 gbs=64 code.mbs=16"}});
    struct br__recipe r;

    ck_assert_msg(!open_recipe(&p, "t_config", NULL, &r), "%s", err.msg);
    ck_assert_str_eq(r.mode, "pretrain");
    ck_assert_int_eq(r.v[BR__RK_tp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_pp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_cp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_micro_batch_size].i, 8);
    ck_assert_str_eq(r.v[BR__RK_micro_batch_size].from, "three");
    ck_assert_str_eq(r.v[BR__RK_micro_batch_size].row, "t_config");
    ck_assert_str_eq(r.v[BR__RK_micro_batch_size].upstream, "16");
    ck_assert_str_eq(r.v[BR__RK_lr].row, "t.a");
    ck_assert_str_eq(r.v[BR__RK_name].text, "a b");
    ck_assert_str_eq(r.v[BR__RK_adam_beta1].from, "default");
}
END_TEST

START_TEST(modes_choose)
{
    PLUGIN(p, {{"t_config", "finetune",
                "sft.tp=4 peft.tp=2 dora.pp=2 finetune.cp=2 pretrain.ep=9 "
                "packed.gbs=16 lora.refuse=\"no LoRA here\""}});
    struct br__recipe r;

    ck_assert_int_eq(open_recipe(&p, "t_config", NULL, &r), BR_E_UNSUPPORTED);
    ck_assert_str_eq(err.msg, "t_config: no LoRA here");
    ck_assert_int_eq(open_recipe(&p, "t_config", "sft", &r), BR_OK);
    ck_assert_int_eq(r.v[BR__RK_tp].i, 4);
    ck_assert_int_eq(r.v[BR__RK_pp].i, 1);
    ck_assert_int_eq(r.v[BR__RK_cp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_peft_dim].tag, 0);
    ck_assert_int_eq(open_recipe(&p, "t_config", "dora", &r), BR_OK);
    ck_assert_int_eq(r.v[BR__RK_tp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_pp].i, 2);
    ck_assert_int_eq(r.v[BR__RK_peft_alpha].i, 64);
    ck_assert_int_eq(r.v[BR__RK_global_batch_size].i, 128);

    static const char *const sets[] = {"packed_sequence=true"};
    struct br__recipe_opts o = {
        .name = "t_config", .plugin = &p, .mode = "sft", .sets = sets, .n_sets = 1};
    ck_assert_int_eq(br__recipe_open(&arena, NULL, &o, &r, &err), BR_OK);
    ck_assert_int_eq(r.v[BR__RK_global_batch_size].i, 16);
}
END_TEST

START_TEST(bad_rows_are_refused)
{
    PLUGIN(p, {{"no_base", "t.none", "tp=1"},
               {"t.a", "t.b", "tp=1"},
               {"t.b", "t.a", "tp=1"},
               {"circle", "t.a", "tp=1"},
               {"rootless", "any", "tp=1"},
               {"key", "pretrain", "no_such_key=1"},
               {"range", "pretrain", "tp=0"},
               {"syntax", "pretrain", "tp=1 pp"},
               {"computed", "pretrain", "eff_etp=1"},
               {"code", "pretrain", "code.tp=x"},
               {"world", "pretrain", "tp=4 pp=3 gpus=32"}});
    static const struct {
        const char *name;
        int code;
        const char *want;
    } rows[] = {
        {"no_base", BR_E_PLUGIN, "there is no base 't.none' in plugin 'test'"},
        {"circle", BR_E_PLUGIN, "its bases go in a circle"},
        {"rootless", BR_E_PLUGIN, "recipe 'rootless' builds on neither 'pretrain' nor 'finetune'"},
        {"key", BR_E_CONFIG, "recipe row 'key': there is no key 'no_such_key'"},
        {"range", BR_E_CONFIG, "recipe row 'range': tp: got '0', expected integer from 1"},
        {"syntax", BR_E_CONFIG, "syntax: 'pp' is not key=value"},
        {"computed", BR_E_CONFIG, "recipe row 'computed': eff_etp is computed"},
        {"code", BR_E_CONFIG, "recipe row 'code': tp: got 'x'"},
        {"world", BR_E_CONFIG, "world 32 is not tp 4 × pp 3 × cp 1 × dp; the least that is: 12"},
    };
    struct br__recipe r;

    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        ck_assert_int_eq(open_recipe(&p, rows[i].name, NULL, &r), rows[i].code);
        ck_assert_msg(strstr(err.msg, rows[i].want) != NULL, "'%s' lacks '%s'", err.msg,
                      rows[i].want);
    }
}
END_TEST

/* ---- grids ----------------------------------------------------------------------------------- */

/* min_world is the least world for which both grids come out, and dp and edp fill it. */
START_TEST(grids_fill_the_world)
{
    PLUGIN(p, {{"t_config", "pretrain", "num_moe_experts=64 tp=1"}});
    struct br__recipe r;
    struct br__recipe_grid g;
    int64_t sizes[] = {1, 2, 3, 4, 6};

    struct br__recipe_opts o = {.name = "t_config", .plugin = &p, .incomplete = 1};
    ck_assert_int_eq(br__recipe_open(&arena, NULL, &o, &r, &err), BR_OK);
    r.v[BR__RK_etp] = (struct br__recipe_value){.tag = 'I', .i = 1};
    for (size_t i = 0; i < 5 * 5 * 5 * 5; i++) {
        r.v[BR__RK_tp].i = sizes[i % 5];
        r.v[BR__RK_pp].i = sizes[i / 5 % 5];
        r.v[BR__RK_ep].i = sizes[i / 25 % 5];
        r.v[BR__RK_cp].i = sizes[i / 125 % 5];
        int64_t least = 0;
        for (int64_t world = 1; !least; world++) {
            br__recipe_grid(&r, world, &g);
            if (g.dp)
                ck_assert_int_eq(g.tp * g.pp * g.cp * g.dp, world);
            if (g.edp)
                ck_assert_int_eq(g.etp * g.ep * g.pp * g.edp, world);
            least = g.dp && g.edp ? world : 0;
        }
        ck_assert_int_eq(g.min_world, least);
    }
}
END_TEST

/* ---- models ---------------------------------------------------------------------------------- */

/* Elements of all tensors that the architecture's weight rules expect of the recipe's model. */
static double count_elements(const struct br_config *cfg)
{
    struct br__expand_opts o = {.untied = !br_cfg_i(cfg, BR_CFG_SHARE_EMBEDDINGS)};
    struct br__expansion *x;
    double n = 0;

    ck_assert_msg(!br__rules_expand(&arena, cfg, &o, &x, &err), "%s", err.msg);
    for (size_t i = 0; i < x->n_hf; i++)
        n += (double)x->hf[i].rows * (double)x->hf[i].row_elems;
    return n;
}

/* The parameter count of the estimate's formula equals that of the conversion's rules, for every
 * recipe. */
START_TEST(parameters_are_those_of_the_weights)
{
    struct br__registry *reg;
    size_t n = 0;

    ck_assert_int_eq(br__registry_open(&reg, NULL, &err), BR_OK);
    ck_assert_int_eq(br__registry_load_all(reg, &err), BR_OK);
    for (size_t i = 0; i < reg->n_plugins; i++)
        for (uint32_t k = 0; k < reg->plugins[i]->n_recipes; k++) {
            static const char *const sets[] = {"num_layers=8"};
            struct br__recipe_opts o = {.name = reg->plugins[i]->recipes[k].name,
                                        .sets = sets,
                                        .n_sets = 1,
                                        .incomplete = 1};
            struct br__recipe_memory m;
            struct br_config cfg = {0};
            struct br__recipe r;
            br__json *json;
            if (!br__recipe_is_listed(&reg->plugins[i]->recipes[k]))
                continue;
            ck_assert_msg(!br__recipe_open(&arena, reg, &o, &r, &err), "%s", err.msg);
            ck_assert_msg(!br__recipe_memory(&r, 0, &m, &err), "%s", err.msg);
            ck_assert_msg(!br__recipe_config(&arena, &r, &json, &cfg, &err), "%s", err.msg);
            br__json_free(json);
            double by_rules = count_elements(&cfg);
            ck_assert_msg(m.total_params == by_rules, "%s: %.0f by formula, %.0f by rules", r.name,
                          m.total_params, by_rules);
            br__arena_free(&arena);
            n++;
        }
    ck_assert_uint_ge(n, 38);
    br__registry_close(reg);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("recipe");
    TCase *t = tcase_create("recipe");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, pairs_are_read);
    tcase_add_test(t, a_single_pair_takes_all_of_its_text);
    tcase_add_test(t, broken_pairs_are_refused);
    tcase_add_test(t, values_are_read_and_written);
    tcase_add_test(t, texts_survive);
    tcase_add_test(t, keys_are_found);
    tcase_add_test(t, names_of_keys_are_unique);
    tcase_add_test(t, defaults_are_legal);
    tcase_add_test(t, later_rows_win);
    tcase_add_test(t, modes_choose);
    tcase_add_test(t, bad_rows_are_refused);
    tcase_add_test(t, grids_fill_the_world);
    tcase_add_test(t, parameters_are_those_of_the_weights);
    suite_add_tcase(s, t);
    return run_suite(s);
}
