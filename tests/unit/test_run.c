/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_run.c - recipes as training runs: what each key means, what is refused, what is resolved. */
#include "librun.h"
#include "train/run.h"
#include "train/train.h"

#include <stdlib.h>
#include <string.h>

static struct br__arena arena;
static struct br__registry *registry;
static struct br_err err;
static char dir[512];
static uint8_t ever_read[BR__N_RK];
static int64_t ranks; /* that runs are made for; 0: none are asked for */

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-run");
    must(br__registry_open(&registry, NULL, &err));
    must(br__registry_load_all(registry, &err));
}

static void teardown(void)
{
    br__registry_close(registry);
    br__arena_free(&arena);
    must(br__remove_tree(dir, &err));
}

#define MAX_SETS 24
/* A run of a recipe, of its mode or another, with settings; the status. */
static int make(const char *name, const char *mode, const char *const *sets, int single_rank,
                struct br__run *run)
{
    struct br__recipe *r = br__arena_alloc(&arena, sizeof *r);
    const struct br__run_opts o = {.single_rank = single_rank, .ranks = ranks};
    struct br__recipe_opts ro = {.name = name, .mode = mode, .sets = sets, .incomplete = 1};

    while (sets && sets[ro.n_sets])
        ro.n_sets++;
    must(br__recipe_open(&arena, registry, &ro, r, &err));
    int rc = br__run_make(&arena, registry, r, &o, run, &err);
    for (uint32_t id = 0; id < BR__N_RK && !rc; id++)
        ever_read[id] |= run->read[id];
    return rc;
}
#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void refused(const char *name, const char *const *sets, int single_rank, int code,
                    const char *says)
{
    struct br__run run;
    int rc = make(name, NULL, sets, single_rank, &run);
    ck_assert_msg(rc == code && strstr(err.msg, says), "%d: %s; expected %d: %s", rc,
                  rc ? err.msg : "", code, says);
}

static const char *in_dir(const char *name, const char *text)
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (text)
        must(br__write_file(path, text, strlen(text), 0, &err));
    return br__arena_strdup(&arena, path);
}

static const char *set(const char *key, const char *value)
{
    return br__arena_printf(&arena, "%s=%s", key, value);
}

static const char *data_dir(void)
{
    in_dir("training.jsonl", "{\"input\": \"a\", \"output\": \"b\"}\n");
    return set("dataset_path", dir);
}

/* ---- each key has a meaning ------------------------------------------------------------------ */

START_TEST(every_key_has_a_meaning)
{
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const struct br__run_key *k = &br__run_keys[id];
        ck_assert_msg(k->use != BR__KEY_NONE, "%s has no row in run_keys.def",
                      br__recipe_keys[id].name);
        ck_assert(k->use == BR__KEY_ONLY || !k->values);
        ck_assert((k->use == BR__KEY_ONLY || k->use == BR__KEY_IDLE) == (k->why != NULL));
    }
}
END_TEST

/* A key that is called used or refused is read, and no other. */
START_TEST(what_is_used_is_read)
{
    struct br__run run;
    must(make("qwen3_600m_pretrain_config", NULL,
              SETS("lr_decay_style=WSD", "lr_wsd_decay_iters=9"), 0, &run));
    must(make("qwen3_600m_finetune_config", "lora", SETS(data_dir()), 0, &run));
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        int use = br__run_keys[id].use, want = use == BR__KEY_USED || use == BR__KEY_ONLY;
        ck_assert_msg(ever_read[id] == want, "%s is %sread", br__recipe_keys[id].name,
                      want ? "not " : "");
    }
}
END_TEST

/* Is `text` one of the words between bars? */
static int is_word(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (const char *at = words; at && *at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strcspn(at, "|") == n && !memcmp(at, text, n))
            return 1;
    return 0;
}

/* Does the recipe take this value of a key?  Then training must refuse it, by the key's name. */
static int is_refused(uint32_t id, const char *value)
{
    const char *key = br__recipe_keys[id].name;
    const char *const *sets = SETS(data_dir(), set(key, value));
    struct br__recipe_opts ro = {.name = "qwen3_600m_finetune_config",
                                 .mode = "lora",
                                 .sets = sets,
                                 .n_sets = 2,
                                 .incomplete = 1};
    struct br__recipe r;
    struct br__run run;
    if (is_word(br__run_keys[id].values, value) || br__recipe_open(&arena, registry, &ro, &r, &err))
        return 0;
    int rc = make(ro.name, ro.mode, sets, 0, &run);
    ck_assert_msg(rc == BR_E_UNSUPPORTED && strstr(err.msg, key), "%s=%s: %d: %s", key, value, rc,
                  rc ? err.msg : "");
    return 1;
}

START_TEST(what_is_called_refused_is_refused)
{
    static const char *const plain[] = {"true", "false", "2", "text"};
    size_t n = 0;
    for (uint32_t id = 0; id < BR__N_RK; id++) {
        const char *at = br__recipe_keys[id].choices;
        size_t found = 0;
        if (br__run_keys[id].use != BR__KEY_ONLY)
            continue;
        for (; *at; at += strcspn(at, "|") + (at[strcspn(at, "|")] == '|'))
            found +=
                (size_t)is_refused(id, br__arena_printf(&arena, "%.*s", (int)strcspn(at, "|"), at));
        for (size_t i = 0; i < BR_COUNTOF(plain) && !found; i++)
            found += (size_t)is_refused(id, plain[i]);
        ck_assert_msg(found, "no value of %s is refused", br__recipe_keys[id].name);
        n++;
    }
    ck_assert_uint_gt(n, 0);
}
END_TEST

/* Every recipe in every mode becomes a run when it is set for one process. */
START_TEST(every_recipe_is_a_run)
{
    static const char *const modes[] = {"pretrain", "sft", "lora", "dora"};
    const char *const *finetuning = SETS(data_dir());
    size_t n = 0;

    for (size_t p = 0; p < registry->n_plugins; p++)
        for (uint32_t i = 0; i < registry->plugins[p]->n_recipes; i++)
            for (size_t m = 0; m < BR_COUNTOF(modes); m++) {
                const char *name = registry->plugins[p]->recipes[i].name;
                struct br__recipe r;
                struct br__run run;
                struct br__recipe_opts ro = {.name = name, .mode = modes[m], .incomplete = 1};
                if (!br__recipe_is_listed(&registry->plugins[p]->recipes[i]) ||
                    br__recipe_open(&arena, registry, &ro, &r, &err))
                    continue;
                int rc = make(name, modes[m], m ? finetuning : NULL, 1, &run);
                ck_assert_msg(!rc, "%s, %s: %s", name, modes[m], err.msg);
                ck_assert_int_eq(run.mode, (int)m);
                ck_assert_int_eq(run.global_batch % run.micro_batch, 0);
                n++;
            }
    ck_assert_uint_ge(n, 74);
}
END_TEST

/* ---- ranks ----------------------------------------------------------------------------------- */

START_TEST(ranks_fill_the_grids)
{
    struct br__run run;
    const char *const batch = "global_batch_size=8";
    ranks = 4;
    must(make("qwen3_600m_pretrain_config", NULL,
              SETS(batch, "tp=2", "average_in_collective=false"), 0, &run));
    ck_assert_uint_eq(run.topo.world, 4);
    ck_assert_uint_eq(run.topo.size[BR_AXIS_TP], 2);
    ck_assert_uint_eq(run.topo.size[BR_AXIS_DP], 2);
    ck_assert(run.sharded && !run.average);
    must(make("qwen3_30b_a3b_pretrain_config", NULL,
              SETS(batch, "tp=1", "pp=1", "vpp=null", "ep=4", "sequence_parallel=false",
                   "micro_batch_size=1", "ddp_use_distributed_optimizer=false",
                   "opt_use_distributed_optimizer=false", "average_in_collective=true"),
              0, &run));
    ck_assert_uint_eq(run.topo.size[BR_AXIS_DP], 4);
    ck_assert_uint_eq(run.topo.size[BR_AXIS_EDP], 1);
    ck_assert(!run.sharded && run.average && !run.sequence_parallel);

    refused("qwen3_600m_pretrain_config", SETS("global_batch_size=6", "micro_batch_size=1"), 0,
            BR_E_CONFIG, "global_batch_size 6 is not micro_batch_size 1 × dp 4");
    refused("qwen3_600m_pretrain_config",
            SETS(batch, "micro_batch_size=1", "rampup_batch_size=[2,2,100]"), 0, BR_E_CONFIG,
            "whole micro batches of 4 samples of all ranks");
    ranks = 3;
    refused("qwen3_600m_pretrain_config", SETS(batch, "tp=2"), 0, BR_E_CONFIG,
            "world 3 is not tp 2");
    ranks = 0;
}
END_TEST

/* ---- values ---------------------------------------------------------------------------------- */

START_TEST(values_are_resolved)
{
    struct br__run run;
    must(make("qwen3_600m_pretrain_config", NULL,
              SETS("dir=out", "name=r", "train_iters=1000", "global_batch_size=4",
                   "micro_batch_size=2", "data_paths=[0.3,a,0.7,b]"),
              0, &run));
    ck_assert_str_eq(run.dir, "out/r");
    ck_assert_str_eq(run.checkpoints, "out/r/checkpoints");
    ck_assert_int_eq(run.schedule.warmup, 500 * 4);
    ck_assert_int_eq(run.schedule.decay, 1000 * 4);
    ck_assert_double_eq(run.schedule.start_wd, 0.033);
    ck_assert_double_eq(run.group[0].wd_mult, 1);
    ck_assert_double_eq(run.group[1].wd_mult, 0);
    ck_assert_int_eq(run.patience, 10 * 60);
    ck_assert_int_eq(run.data.kind, BR__RUN_TOKENS);
    ck_assert_uint_eq(run.data.all.n, 4);
    double weight;
    must(br__parse_f64(run.data.all.words[0], &weight));
    ck_assert_double_eq(weight, 0.3);
    ck_assert_str_eq(run.data.split, "9999,8,2");
    ck_assert(run.values == BR_BF16 && run.grads == BR_F32 && !run.native_ce);
    ck_assert_str_eq(run.tokenizer, "Qwen/Qwen3-0.6B");
    ck_assert_ptr_null(run.weights);

    must(make("qwen2_500m_pretrain_config", NULL,
              SETS("mixed_precision=fp32", "distributed_timeout_minutes=7"), 0, &run));
    ck_assert_int_eq(run.patience, 7 * 60);
    ck_assert(run.values == BR_F32 && run.grads == BR_F32 && run.native_ce && !run.fp16);
    ck_assert(run.data.kind == BR__RUN_MOCK && !strcmp(run.data.split, "1,1,1"));
    ck_assert(run.null_vocab == 32000 && !run.tokenizer);
    must(make("qwen2_500m_pretrain_config", NULL, SETS("mixed_precision=fp16_mixed"), 0, &run));
    ck_assert(run.values == BR_F32 && run.params_dtype == BR_F16 && run.grads == BR_F32 &&
              run.fp16);
    ck_assert(run.initial_scale == 4294967296.0 && run.min_scale == 1);
    ck_assert(run.scale_window == 1000 && run.hysteresis == 2);
    must(make("qwen3_next_80b_a3b_pretrain_config", NULL, NULL, 1, &run));
    ck_assert(run.grads == BR_BF16 && run.decay_qk_norms && run.aux == BR__AUX_GLOBAL);
    ck_assert(run.router == BR_F32 && run.mtp_layers == 1 && run.mtp_scale == 0.1);
    ck_assert(run.recompute == 's' && run.n_recompute_modules == 3);
    must(make("qwen3_30b_a3b_pretrain_config", NULL, NULL, 1, &run));
    ck_assert(run.aux == BR__AUX_LOSS && run.aux_coeff == 1e-3 && run.recompute == 'f');
}
END_TEST

START_TEST(the_batch_grows)
{
    struct br__run run;
    must(make("qwen3_600m_pretrain_config", NULL,
              SETS("rampup_batch_size=[4,4,120]", "global_batch_size=16"), 0, &run));
    ck_assert_int_eq(br__run_batch(&run, 0), 4);
    ck_assert_int_eq(br__run_batch(&run, 39), 4);
    ck_assert_int_eq(br__run_batch(&run, 40), 8);
    ck_assert_int_eq(br__run_batch(&run, 80), 12);
    ck_assert_int_eq(br__run_batch(&run, 120), 16);
    ck_assert_int_eq(br__run_batch(&run, 1000), 16);
    refused("qwen3_600m_pretrain_config", SETS("rampup_batch_size=[3,4,120]"), 0, BR_E_CONFIG,
            "does not reach global_batch_size 32");
    refused("qwen3_600m_pretrain_config", SETS("rampup_batch_size=[4,4]"), 0, BR_E_CONFIG,
            "expected three numbers");
}
END_TEST

/* hf_model=DIR: the sizes of that model, but for what is set. */
START_TEST(another_model_brings_its_sizes)
{
    const char *model = set("hf_model", BRIDGE_TEST_DATA "/hf/qwen3_tied_bf16");
    struct br__run run;
    must(make("qwen3_600m_pretrain_config", NULL, SETS(model), 0, &run));
    ck_assert_int_eq(run.recipe->v[BR__RK_num_layers].i, 2);
    ck_assert_str_eq(run.recipe->v[BR__RK_num_layers].from, "hf_model");
    ck_assert_str_eq(run.tokenizer, BRIDGE_TEST_DATA "/hf/qwen3_tied_bf16");
    ck_assert_ptr_nonnull(run.config_text);
    ck_assert_uint_eq(run.n_notes, 1);
    must(make("qwen3_600m_pretrain_config", NULL, SETS(model, "num_layers=5"), 0, &run));
    ck_assert_int_eq(run.recipe->v[BR__RK_num_layers].i, 5);
    ck_assert_ptr_null(run.config_text);
    /* A null tokenizer is replaced too; sizes that are set are kept. */
    must(make("qwen2_500m_pretrain_config", NULL,
              SETS(set("hf_model", BRIDGE_TEST_DATA "/hf/qwen2_untied_bf16")), 0, &run));
    ck_assert_str_eq(run.tokenizer, BRIDGE_TEST_DATA "/hf/qwen2_untied_bf16");
    refused("qwen2_500m_pretrain_config", SETS(model), 0, BR_E_CONFIG,
            "is a qwen3, recipe 'qwen2_500m_pretrain_config' trains a qwen2");
    /* The recipe's own model is not asked for on the hub. */
    must(make("qwen3_600m_pretrain_config", NULL, SETS("hf_model=Qwen/Qwen3-0.6B"), 0, &run));
    ck_assert_ptr_null(run.config_text);
}
END_TEST

START_TEST(weights_are_found)
{
    struct br__run run;
    char path[700];
    const char *const *sets =
        SETS(data_dir(), set("pretrained_checkpoint",
                             br__arena_printf(&arena, "%s/checkpoints/iter_0000500", dir)));
    snprintf(path, sizeof path, "%s/a/checkpoints/iter_0000500", dir);
    must(br__mkdirs(path, &err));
    must(make("qwen3_600m_finetune_config", NULL, sets, 0, &run));
    ck_assert_str_eq(run.weights, path);
    ck_assert(run.weights_megatron && run.n_notes);
    snprintf(path, sizeof path, "%s/b/checkpoints/iter_0000500", dir);
    must(br__mkdirs(path, &err));
    refused("qwen3_600m_finetune_config", sets, 0, BR_E_CONFIG, "2 runs below");
    must(
        make("qwen3_600m_finetune_config", NULL,
             SETS(data_dir(), set("pretrained_checkpoint", BRIDGE_TEST_DATA "/hf/qwen3_tiny_chat")),
             0, &run));
    ck_assert(!run.weights_megatron);
    ck_assert_str_eq(run.tokenizer, BRIDGE_TEST_DATA "/hf/qwen3_tiny_chat");
}
END_TEST

/* ---- finetuning data ------------------------------------------------------------------------- */

START_TEST(finetuning_settings_are_read)
{
    struct br__run run;
    must(make("qwen2_500m_finetune_config", "sft",
              SETS(data_dir(), "seq_length=48",
                   "dataset_kwargs={\"prompt_template\":\"Q: {input} A: {output}\","
                   "\"answer_only_loss\":false,\"pad_to_max_length\":true,\"add_eos\":false,"
                   "\"tool_schemas\":[{\"a\":1}],\"label_key\":null}"),
              0, &run));
    const struct br__sft_opts *o = &run.data.sft;
    ck_assert_int_eq(run.data.kind, BR__RUN_SFT);
    ck_assert_str_eq(o->prompt_template, "Q: {input} A: {output}");
    ck_assert(o->loss == BR__LOSS_FULL && o->no_eos && run.data.pad_to_max && !o->label_key);
    ck_assert_ptr_nonnull(strstr(o->tools_json, "\"a\": 1"));
    ck_assert_int_eq(o->seq_length, 48);
    ck_assert(run.data.file[BR__TRAIN] && !run.data.file[BR__VALID] && !run.data.file[BR__TEST]);
    ck_assert_uint_ge(run.n_notes, 1); /* no validation.jsonl */
    must(make("qwen3_600m_finetune_config", "sft",
              SETS(data_dir(), "packed_sequence=true", "packed_sequence_size=64",
                   "sft_preprocessing=chat", "sft_loss_mode=last_turn"),
              0, &run));
    ck_assert(run.data.sft.packing == BR__PACK_FIRST_FIT_SHUFFLE && run.data.sft.pack_size == 64);
    ck_assert(run.data.chat && run.data.sft.loss == BR__LOSS_LAST_TURN);
    refused("qwen3_600m_finetune_config", SETS(data_dir(), "dataset_kwargs={\"x\":1}"), 0,
            BR_E_UNSUPPORTED, "'x' is not known here; known are prompt_template, label_key");
    refused("qwen3_600m_finetune_config", SETS(data_dir(), "dataset_kwargs={\"chat\":1}"), 0,
            BR_E_CONFIG, "chat has a value of another type");
    refused("qwen3_600m_finetune_config",
            SETS(data_dir(), "dataset_kwargs={\"truncation_method\":\"middle\"}"), 0, BR_E_CONFIG,
            "truncation_method cannot be 'middle'");
    refused("qwen3_600m_finetune_config", SETS("dataset_path=absent"), 0, BR_E_NOTFOUND,
            "has no training.jsonl");
}
END_TEST

START_TEST(a_data_set_of_the_hub_is_found)
{
    struct br__run run;
    must(make("qwen3_600m_finetune_config", NULL, NULL, 0, &run)); /* SQuAD is the recipe's own */
    ck_assert_str_eq(run.data.hub.id, "rajpurkar/squad");
    ck_assert(run.data.hub.rows == BR__HUB_SQUAD && run.data.hub.held_back == 0.1 &&
              run.data.hub.seed == 5678 && !run.data.chat);
    ck_assert(run.data.hub.wants[BR__TRAIN] && run.data.hub.wants[BR__VALID] &&
              !run.data.hub.wants[BR__TEST]);
    must(make("qwen3_600m_finetune_config", NULL, SETS("dataset_name=gsm8k", "do_test=true"), 0,
              &run));
    ck_assert_str_eq(run.data.hub.id, "openai/gsm8k");
    ck_assert_str_eq(run.data.hub.subset, "main");
    ck_assert(run.data.hub.wants[BR__TEST] && run.data.hub.rows == BR__HUB_GSM8K);
    must(make("qwen3_600m_finetune_config", NULL,
              SETS("dataset_path=org/set@v2", "val_proportion=null", "dataset_subset=en"), 0,
              &run));
    ck_assert_str_eq(run.data.hub.id, "org/set@v2");
    ck_assert_str_eq(run.data.hub.subset, "en");
    ck_assert(run.data.hub.held_back == 0 && run.data.chat); /* whose records nobody described */
    must(make("qwen3_600m_finetune_config", NULL,
              SETS("dataset_hf_path=org/set", "dataset_kwargs={\"label_key\":\"output\","
                                              "\"prompt_template\":\"{input} {output}\"}"),
              0, &run));
    ck_assert(!strcmp(run.data.hub.id, "org/set") && !run.data.chat);
    refused("qwen3_600m_finetune_config", SETS("dataset_path=a/b", "dataset_hf_path=c/d"), 0,
            BR_E_CONFIG, "'a/b' and dataset_hf_path 'c/d' both name the data");
    refused("qwen3_600m_finetune_config", SETS("dataset_name=cord_v2"), 0, BR_E_UNSUPPORTED,
            "'cord_v2' is not known here; known are squad, gsm8k, openmathinstruct2, tulu3");
    refused("qwen3_600m_finetune_config", SETS("dataset_name=gsm8k", "dataset_subset=socratic"), 0,
            BR_E_CONFIG, "'openai/gsm8k' with the subset 'main'; dataset_path=openai/gsm8k takes");
}
END_TEST

/* ---- pretraining data ------------------------------------------------------------------------ */

START_TEST(pretraining_data_is_found)
{
    struct br__run run;
    const char *words = in_dir("words", " 0.5 a\n0.5\tb\n");
    must(make("qwen3_600m_pretrain_config", NULL, SETS(set("data_args_path", words)), 0, &run));
    ck_assert_uint_eq(run.data.all.n, 4);
    ck_assert_str_eq(run.data.all.words[3], "b");
    const char *splits =
        in_dir("splits", "{\"train\": [0.5, \"a\", 0.5, \"b\"], \"valid\": [\"c\"]}");
    must(make("qwen3_600m_pretrain_config", NULL, SETS(set("per_split_data_args_path", splits)), 0,
              &run));
    ck_assert_uint_eq(run.data.each[BR__TRAIN].n, 4);
    ck_assert_str_eq(run.data.each[BR__VALID].words[0], "c");
    ck_assert_ptr_null(run.data.split);
    const char *ids = in_dir("ids.jsonl", "{\"input_ids\": [1, 2, 3]}\n");
    must(make("qwen3_600m_pretrain_config", NULL, SETS(set("data_paths", ids), "data_order=file"),
              0, &run));
    ck_assert(run.data.kind == BR__RUN_PRETOK && run.data.file_order);
    must(make("qwen3_600m_pretrain_config", NULL, SETS("data_paths=a", "pad_token_id=none"), 0,
              &run));
    ck_assert(run.data.pad_is_set && run.data.pad == -1);
    refused("qwen3_600m_pretrain_config", SETS("data_paths=a", "train_data_path=b"), 0, BR_E_CONFIG,
            "give one of data_paths");
    refused("qwen3_600m_pretrain_config", SETS("valid_data_path=b"), 0, BR_E_CONFIG,
            "none to train with");
    refused("qwen3_600m_pretrain_config", SETS("data_paths=a", "mock=true"), 0, BR_E_CONFIG,
            "both asked for");
    refused("qwen3_600m_pretrain_config", SETS("dataset_path=a"), 0, BR_E_CONFIG,
            "data_paths names its data");
    refused("qwen3_600m_finetune_config", SETS("dataset_path=org/set", "data_paths=a"), 0,
            BR_E_UNSUPPORTED, "data_paths is for pretraining");
    refused("qwen3_600m_pretrain_config",
            SETS(set("data_paths", br__arena_printf(&arena, "[0.5,%s,0.5,b]", ids))), 0,
            BR_E_UNSUPPORTED, "cannot be blended with other data; give it alone");
    const char *flat = in_dir("flat", "{\"train\": [true]}");
    refused("qwen3_600m_pretrain_config", SETS(set("per_split_data_args_path", flat)), 0,
            BR_E_FORMAT, "\"train\" is no list of texts and weights");
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

START_TEST(what_cannot_be_is_refused)
{
    static const char pretrain[] = "qwen3_600m_pretrain_config";
    refused("qwen3_next_80b_a3b_pretrain_config", NULL, 0, BR_E_USAGE,
            "tp 2 × pp 8 × cp 1, ep 16: 128 ranks, or a multiple");
    refused(pretrain, SETS("optimizer=sgd"), 0, BR_E_UNSUPPORTED,
            "optimizer is sgd, and only adam can be trained with");
    refused(pretrain, SETS("mixed_precision=bf16_with_mxfp8_mixed"), 0, BR_E_UNSUPPORTED,
            "there are no FP8 products here");
    refused(pretrain, SETS("use_precision_aware_optimizer=true"), 0, BR_E_UNSUPPORTED, "float32");
    refused(pretrain, SETS("train_iters=100"), 0, BR_E_CONFIG, "lr_warmup_iters 500");
    refused(pretrain, SETS("global_batch_size=3"), 0, BR_E_CONFIG, "global_batch_size 3");
    refused(pretrain, SETS("lr_decay_style=WSD"), 0, BR_E_CONFIG, "needs lr_wsd_decay_iters");
    refused(pretrain, SETS("lr_wsd_decay_iters=5"), 0, BR_E_CONFIG, "need lr_decay_style=WSD");
    refused(pretrain, SETS("adapter_init=a"), 0, BR_E_CONFIG, "trains no adapter");
    refused("qwen3_next_80b_a3b_pretrain_config", SETS("apply_wd_to_qk_layernorm=false"), 1,
            BR_E_CONFIG, "contradicts no_weight_decay_cond_type");
    refused(pretrain, SETS("no_weight_decay_cond_type=null", "apply_wd_to_qk_layernorm=true"), 0,
            BR_E_CONFIG, "contradicts no_weight_decay_cond_type");
    refused(pretrain, SETS("train_iters=1000000000000", "seq_length=1000000000"), 0, BR_E_CONFIG,
            "× seq_length 1000000000 tokens are too many");
    refused(
        pretrain,
        SETS("lr_decay_iters=1000000000000000", "global_batch_size=10000", "micro_batch_size=1"), 0,
        BR_E_CONFIG, "the schedule's lengths are too large");
    refused("qwen3_600m_finetune_config",
            SETS(data_dir(), "peft_dropout_position=post", "peft_dropout=0.1", "mode=dora"), 0,
            BR_E_UNSUPPORTED, "peft_dropout_position is post: DoRA drops what the adapter sees");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("run");
    TCase *t = tcase_create("run");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, every_key_has_a_meaning);
    tcase_add_test(t, what_is_used_is_read);
    tcase_add_test(t, what_is_called_refused_is_refused);
    tcase_add_test(t, every_recipe_is_a_run);
    tcase_add_test(t, ranks_fill_the_grids);
    tcase_add_test(t, values_are_resolved);
    tcase_add_test(t, the_batch_grows);
    tcase_add_test(t, another_model_brings_its_sizes);
    tcase_add_test(t, weights_are_found);
    tcase_add_test(t, finetuning_settings_are_read);
    tcase_add_test(t, a_data_set_of_the_hub_is_found);
    tcase_add_test(t, pretraining_data_is_found);
    tcase_add_test(t, what_cannot_be_is_refused);
    suite_add_tcase(s, t);
    return run_suite(s);
}
