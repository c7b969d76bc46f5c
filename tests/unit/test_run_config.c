/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_run_config.c - run_config.yaml against files of the real Megatron Bridge, byte for byte;
 * text against PyYAML; and config.json rebuilt from run_config.yaml and from Megatron-LM's args. */
#include "base/base_internal.h"
#include "convert/job.h"
#include "format/torch/torch.h"
#include "librun.h"
#include "model/model_internal.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

extern br_plugin_fn *const br__static_plugins[];

static struct br__arena arena;
static struct br_err err;
static const struct br__arch *archs[64];
static size_t n_archs;

static void adopt_all(void)
{
    static const struct br__image anywhere;
    n_archs = 0;
    for (size_t i = 0; br__static_plugins[i]; i++) {
        const struct br_plugin *d = br__static_plugins[i]();
        struct br__plugin *p;
        ck_assert_int_eq(br__plugin_adopt(&arena, d, &anywhere, d->name, &p, &err), 0);
        ck_assert_uint_le(n_archs + p->n_archs, BR_COUNTOF(archs));
        for (uint32_t j = 0; j < p->n_archs; j++)
            archs[n_archs++] = &p->archs[j];
    }
    ck_assert_uint_ge(n_archs, 4);
}

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    memset(&err, 0, sizeof err);
    adopt_all();
}

static void teardown(void)
{
    br__arena_free(&arena);
}

static const struct br__arch *arch_of(const char *model_type)
{
    for (size_t i = 0; i < n_archs; i++)
        if (!strcmp(archs[i]->model_type, model_type))
            return archs[i];
    ck_abort_msg("no architecture '%s'", model_type);
    return NULL;
}

static char *read_data(const char *path)
{
    char *text, *copy;
    size_t n;
    char *full = br__arena_printf(&arena, BRIDGE_TEST_DATA "/%s", path);
    ck_assert_msg(!br__read_text(full, 1 << 20, &text, &n, &err), "%s", err.msg);
    copy = br__arena_strndup(&arena, text, n);
    br__free(text);
    return copy;
}

static struct br_config config_of_json(const br__json *json)
{
    struct br_config cfg;
    const struct br__arch *a = arch_of(br__json_str(br__json_get(json, "model_type"), ""));
    ck_assert_msg(!br__config_from_json(&arena, a, json, &cfg, &err), "%s", err.msg);
    return cfg;
}

static struct br_config config_of(const char *path)
{
    const char *text = read_data(path);
    br__json *json;
    ck_assert_msg(!br__json_parse(&json, text, strlen(text), &err), "%s: %s", path, err.msg);
    struct br_config cfg = config_of_json(json);
    br__json_free(json);
    return cfg;
}

static const struct br__run_config_opts plain = {.hf_model_id = "hf", .save = "out"};

static char *yaml_of(const struct br_config *cfg, const struct br__run_config_opts *o)
{
    struct br__buf b = {0};
    ck_assert_msg(!br__run_config_text(&b, cfg, o, &err), "%s", err.msg);
    char *text = br__arena_strndup(&arena, b.p, b.n);
    br__buf_free(&b);
    return text;
}

static void assert_same_text(const char *name, const char *got, const char *want)
{
    size_t line = 1, i = 0;
    for (; got[i] && got[i] == want[i]; i++)
        line += got[i] == '\n';
    while (i && want[i - 1] != '\n')
        i--;
    ck_assert_msg(!strcmp(got, want), "%s line %zu: got '%.60s', expected '%.60s'", name, line,
                  got + i, want + i);
}

/* ---- files of the real Megatron Bridge ------------------------------------------------------- */

START_TEST(writes_what_megatron_bridge_writes)
{
    static const char *const families[] = {"qwen2",         "qwen2_untied", "qwen3",
                                           "qwen3_tied",    "qwen3_moe",    "qwen3_next",
                                           "qwen3_next_mtp"};
    const char *f = families[_i];
    struct br_config cfg = config_of(br__arena_printf(&arena, "torch_dist/%s/hf/config.json", f));
    struct br__run_config_opts o = {.hf_model_id = br__arena_printf(&arena, "%s/hf", f),
                                    .save = br__arena_printf(&arena, "%s/torch_dist", f)};
    assert_same_text(f, yaml_of(&cfg, &o),
                     read_data(br__arena_printf(
                         &arena, "torch_dist/%s/torch_dist/iter_0000000/run_config.yaml", f)));
}
END_TEST

/* The yarn goldens come from configs with all seven numbers, these leave three of them out. */
START_TEST(writes_dtypes_yarn_and_sliding_window_as_megatron_bridge)
{
    static const char *const models[] = {"qwen3_untied_fp32", "qwen2_tied_fp16", "qwen2_swa_bf16",
                                         "qwen3_yarn_bf16", "qwen3_yarn_fp32"};
    const char *m = models[_i];
    struct br_config cfg = config_of(br__arena_printf(&arena, "hf/%s/config.json", m));
    struct br__run_config_opts o = {.hf_model_id = br__arena_printf(&arena, "hf/%s", m),
                                    .save = "out"};
    assert_same_text(m, yaml_of(&cfg, &o),
                     read_data(br__arena_printf(&arena, "run_config/%s.yaml", m)));
}
END_TEST

/* That file has no tokenizer section, because it was saved without one: the end differs. */
START_TEST(pads_the_vocabulary_as_megatron_bridge)
{
    struct br_config cfg = config_of("torch_dist/qwen3_tied/hf/config.json");
    struct br__run_config_opts o = {.hf_model_id = "qwen3_tied/hf",
                                    .save = "qwen3_tied/torch_dist_padded",
                                    .pad_vocab_to = 128};
    char *want = read_data("torch_dist/qwen3_tied/torch_dist_padded/iter_0000000/run_config.yaml");
    char *got = yaml_of(&cfg, &o);
    *strstr(want, "\ntokenizer:") = '\0';
    *strstr(got, "\ntokenizer:") = '\0';
    assert_same_text("padded", got, want);
}
END_TEST

START_TEST(quotes_text_as_pyyaml)
{
    static const char *const cases[][2] = {
#include "run_config_text.inc"
    };
    static const char key[] = "\n  hf_model_id:";
    struct br_config cfg = config_of("torch_dist/qwen3/hf/config.json");
    for (size_t i = 0; i < BR_COUNTOF(cases); i++) {
        struct br__run_config_opts o = {.hf_model_id = cases[i][0], .save = cases[i][0]};
        char *got = strstr(yaml_of(&cfg, &o), key) + strlen(key);
        *strstr(got, "\n  hf_model_revision:") = '\0';
        ck_assert_str_eq(got, cases[i][1]);
    }
}
END_TEST

/* Whatever a path holds, a YAML reader gets it back. */
START_TEST(text_survives_reading)
{
    static const char *const cases[] = {"two\nlines", "\n", "a\r\n", "\x01\x1f\x7f", "tab\there"};
    struct br_config cfg = config_of("torch_dist/qwen3/hf/config.json");
    for (size_t i = 0; i < BR_COUNTOF(cases); i++) {
        struct br__run_config_opts o = {.hf_model_id = cases[i], .save = cases[i]};
        const char *text = yaml_of(&cfg, &o);
        struct br__yaml *y;
        ck_assert_msg(!br__yaml_parse(&arena, text, strlen(text), &y, &err), "%s", err.msg);
        ck_assert_str_eq(br__yaml_get(y, "model.hf_model_id")->text, cases[i]);
        ck_assert_str_eq(br__yaml_get(y, "checkpoint.save")->text, cases[i]);
    }
    struct br__run_config_opts o = {.hf_model_id = "bad \xff\xc3 byte"};
    const char *text = yaml_of(&cfg, &o);
    ck_assert_ptr_nonnull(strstr(text, "hf_model_id: \"bad \\uFFFD\\uFFFD byte\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "\n  save: null\n"));
}
END_TEST

START_TEST(mixed_layers_get_a_list_and_a_block_spec)
{
    struct br_config cfg = config_of("hf/qwen3_moe_mlp_only_bf16/config.json");
    ck_assert_int_eq(cfg.mixed_mlp, 1);
    const char *text = yaml_of(&cfg, &plain);
    ck_assert_ptr_nonnull(strstr(text, "  moe_layer_freq:\n  - 1\n  - 0\n"));
    ck_assert_ptr_nonnull(strstr(text, "  transformer_layer_spec:\n    _partial_: true\n"
                                       "    _target_: megatron.core.models.gpt.gpt_layer_specs."
                                       "get_gpt_decoder_block_spec\n"
                                       "    use_transformer_engine: true\n"));
    cfg = config_of("hf/qwen3_next_layer_types_fp32/config.json");
    text = yaml_of(&cfg, &plain);
    ck_assert_ptr_nonnull(strstr(text, "  moe_layer_freq:\n  - 1\n  - 1\n  - 0\n"));
    ck_assert_ptr_nonnull(strstr(text, "  linear_attention_freq:\n  - 0\n  - 1\n  - 1\n"));
    ck_assert_ptr_nonnull(strstr(text, "get_transformer_block_with_experimental_attention"));
    ck_assert_ptr_null(strstr(text, "get_gpt_decoder_block_spec"));
}
END_TEST

START_TEST(per_layer_list_on_request)
{
    struct br__run_config_opts o = {.hf_model_id = "hf", .save = "out", .per_layer_moe_list = 1};
    struct br_config cfg = config_of("torch_dist/qwen3_moe/hf/config.json");
    ck_assert_ptr_nonnull(strstr(yaml_of(&cfg, &o), "  moe_layer_freq:\n  - 1\n  - 1\n"));
    cfg = config_of("torch_dist/qwen3/hf/config.json");
    ck_assert_ptr_nonnull(strstr(yaml_of(&cfg, &o), "  moe_layer_freq: 1\n"));
}
END_TEST

/* ---- rebuilding config.json ------------------------------------------------------------------ */

static const char **guessed;
static size_t n_guessed;

static int has_guess(const char *part)
{
    for (size_t i = 0; i < n_guessed; i++)
        if (strstr(guessed[i], part))
            return 1;
    return 0;
}

static int rebuild_yaml(const char *model_type, const char *text, br__json **out)
{
    struct br__yaml *y;
    ck_assert_msg(!br__yaml_parse(&arena, text, strlen(text), &y, &err), "%s", err.msg);
    return br__config_rebuild(&arena, arch_of(model_type), y, NULL, out, &guessed, &n_guessed,
                              &err);
}

/* `text` with the first `from`, which must be there, replaced. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "no '%s'", from);
    return br__arena_printf(&arena, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void assert_same_facts(const char *name, const struct br_config *a,
                              const struct br_config *b)
{
    for (uint32_t id = 0; id < BR_N_CFG; id++) {
        const char *key = br__cfg_keys[id].key;
        if (strstr(key, "sliding_window") && has_guess("sliding_window is "))
            continue; /* no run_config has it; the user is told of the assumption */
        ck_assert_msg(a->has[id] == b->has[id], "%s: has %s %d, then %d", name, key, a->has[id],
                      b->has[id]);
        if (!a->has[id])
            continue;
        ck_assert_msg(a->v[id] == b->v[id], "%s: %s %g, then %g", name, key, a->v[id], b->v[id]);
        ck_assert_msg(!a->text[id] || !strcmp(a->text[id], b->text[id]), "%s: %s", name, key);
    }
    ck_assert_msg(a->dtype == b->dtype, "%s: dtype", name);
    ck_assert_msg(a->n_mtp == b->n_mtp && a->mixed_mlp == b->mixed_mlp, "%s: layers", name);
    ck_assert_msg(!memcmp(a->linear, b->linear, (size_t)a->n_layers), "%s: linear layers", name);
    ck_assert_msg(!memcmp(a->dense, b->dense, (size_t)a->n_layers), "%s: dense layers", name);
}

static const char *const folders[] = {"hf", "torch_dist"};

/* Calls fn for every config.json of the test data; returns how many. */
static size_t each_config(void (*fn)(const char *path, const struct br_config *cfg))
{
    size_t count = 0;
    for (size_t f = 0; f < BR_COUNTOF(folders); f++) {
        char **names, *dir = br__arena_printf(&arena, BRIDGE_TEST_DATA "/%s", folders[f]);
        size_t n;
        ck_assert_int_eq(br__list_dir(&arena, dir, &names, &n, &err), 0);
        for (size_t i = 0; i < n; i++) {
            char *path = br__arena_printf(&arena, "%s/%s/%sconfig.json", folders[f], names[i],
                                          f ? "hf/" : "");
            if (!br__exists(br__arena_printf(&arena, BRIDGE_TEST_DATA "/%s", path)))
                continue;
            struct br_config cfg = config_of(path);
            fn(path, &cfg);
            count++;
        }
    }
    return count;
}

static void through_yaml(const char *path, const struct br_config *cfg)
{
    br__json *json;
    ck_assert_msg(!rebuild_yaml(cfg->arch->model_type, yaml_of(cfg, &plain), &json), "%s: %s", path,
                  err.msg);
    struct br_config again = config_of_json(json);
    assert_same_facts(path, cfg, &again);
    ck_assert_str_eq(br__json_str(br__json_first(br__json_get(json, "architectures")), ""),
                     cfg->arch->hf_class);
    ck_assert_msg(has_guess("bos_token_id") && has_guess("max_position_embeddings"), "%s", path);
    br__json_free(json);
}

START_TEST(rebuilds_every_config_from_yaml)
{
    ck_assert_uint_ge(each_config(through_yaml), 25);
}
END_TEST

static struct br__pk *args_of(const struct br_config *cfg, const struct br__run_config_opts *o)
{
    struct br__td_common c = {0};
    struct br__buf b = {0};
    struct br__pk *pk;
    ck_assert_msg(!br__mlm_args(&arena, cfg, o, &c.args, &c.n_args, &err), "%s", err.msg);
    ck_assert_msg(!br__td_common_pickle(&b, &c, 0, &err), "%s", err.msg);
    unsigned char *bytes = br__arena_alloc(&arena, b.n);
    memcpy(bytes, b.p, b.n);
    ck_assert_msg(!br__pk_load(&arena, bytes, b.n, NULL, &pk, &err), "%s", err.msg);
    br__buf_free(&b);
    ck_assert_ptr_nonnull(br__pk_get(pk, "args"));
    return (struct br__pk *)br__pk_get(pk, "args");
}

static void through_args(const char *path, const struct br_config *cfg)
{
    br__json *json;
    ck_assert_msg(!br__config_rebuild(&arena, cfg->arch, NULL, args_of(cfg, &plain), &json,
                                      &guessed, &n_guessed, &err),
                  "%s: %s", path, err.msg);
    struct br_config again = config_of_json(json);
    assert_same_facts(path, cfg, &again);
    ck_assert_msg(!has_guess("max_position_embeddings"), "%s", path);
    br__json_free(json);
}

START_TEST(rebuilds_every_config_from_args)
{
    ck_assert_uint_ge(each_config(through_args), 25);
}
END_TEST

static const char *arg(const char *const (*args)[2], size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(args[i][0], name))
            return args[i][1];
    return "(absent)";
}

START_TEST(args_say_what_loaders_ask)
{
    static const char *const want[][2] = {{"num_layers", "3"},
                                          {"num_query_groups", "2"},
                                          {"group_query_attention", "True"},
                                          {"untie_embeddings_and_output_weights", "False"},
                                          {"rotary_base", "1000000"},
                                          {"norm_epsilon", "1e-06"},
                                          {"layernorm_epsilon", "1e-06"},
                                          {"seq_length", "512"},
                                          {"max_position_embeddings", "512"},
                                          {"position_embedding_type", "'rope'"},
                                          {"num_experts", "None"},
                                          {"q_lora_rank", "None"},
                                          {"mtp_num_layers", "None"},
                                          {"vocab_size", "301"},
                                          {"padded_vocab_size", "384"},
                                          {"make_vocab_size_divisible_by", "128"},
                                          {"tokenizer_model", "'hf'"},
                                          {"params_dtype", "torch.bfloat16"},
                                          {"bf16", "True"},
                                          {"fp16", "False"},
                                          {"no_save_optim", "True"},
                                          {"add_position_embedding", "(absent)"}};
    struct br__run_config_opts o = {.hf_model_id = "hf", .save = "out", .pad_vocab_to = 128};
    struct br_config cfg = config_of("torch_dist/qwen3_tied/hf/config.json");
    const char *const(*args)[2];
    size_t n;
    ck_assert_int_eq(br__mlm_args(&arena, &cfg, &o, &args, &n, &err), 0);
    for (size_t i = 0; i < BR_COUNTOF(want); i++)
        ck_assert_msg(!strcmp(arg(args, n, want[i][0]), want[i][1]), "%s is %s, expected %s",
                      want[i][0], arg(args, n, want[i][0]), want[i][1]);
    cfg = config_of("hf/qwen3_next_layer_types_fp32/config.json");
    ck_assert_int_eq(br__mlm_args(&arena, &cfg, &plain, &args, &n, &err), 0);
    ck_assert_str_eq(arg(args, n, "moe_layer_freq"), "[1, 1, 0]");
    ck_assert_str_eq(arg(args, n, "linear_attention_freq"), "[0, 1, 1]");
    ck_assert_str_eq(arg(args, n, "apply_layernorm_1p"), "True");
    ck_assert_str_eq(arg(args, n, "experimental_attention_variant"), "'gated_delta_net'");
    ck_assert_str_eq(arg(args, n, "params_dtype"), "torch.float32");
}
END_TEST

/* Megatron-LM's own checkpoint: no run_config.yaml, NullTokenizer (vocab_size one short). */
START_TEST(rebuilds_from_megatron_lm)
{
    struct br__ckpt *ck;
    br__json *json;
    ck_assert_msg(
        !br__ckpt_open(&ck, BRIDGE_TEST_DATA "/torch_dist_train/qwen3_mlm_dp1_fr/torch_dist", &err),
        "%s", err.msg);
    ck_assert_msg(!br__config_rebuild(&arena, arch_of("qwen3"), NULL, ck->td->args, &json, &guessed,
                                      &n_guessed, &err),
                  "%s", err.msg);
    struct br_config again = config_of_json(json);
    struct br_config cfg = config_of("torch_dist_train/qwen3_mlm_dp1_fr/hf/config.json");
    /* the run had attention_dropout 0.1, Megatron-LM's default */
    ck_assert(again.v[BR_CFG_ATTENTION_DROPOUT] == 0.1);
    again.v[BR_CFG_ATTENTION_DROPOUT] = cfg.v[BR_CFG_ATTENTION_DROPOUT];
    assert_same_facts("qwen3_mlm_dp1_fr", &cfg, &again);
    br__json_free(json);
    br__ckpt_close(ck);
}
END_TEST

#define OLD_HEAD                                                                                   \
    "model:\n  _target_: megatron.bridge.models.qwen.qwen_provider.Qwen3ModelProvider\n"           \
    "  num_layers: 4\n  hidden_size: 64\n  ffn_hidden_size: 96\n  num_attention_heads: 4\n"        \
    "  vocab_size: 320\n  seq_length: 512\n  share_embeddings_and_output_weights: true\n"
#define OLD                                                                                        \
    OLD_HEAD "  num_query_groups: null\n  kv_channels: 128\n  rotary_base: 1000000\n"              \
             "  layernorm_epsilon: 1.0e-06\n  bf16: true\n  qk_layernorm: true\n"

START_TEST(reads_old_provider_files)
{
    br__json *json;
    ck_assert_msg(!rebuild_yaml("qwen3", OLD, &json), "%s", err.msg);
    ck_assert(br__json_num(br__json_get(json, "rope_theta"), 0) == 1e6);
    ck_assert(br__json_num(br__json_get(json, "num_key_value_heads"), 0) == 4);
    ck_assert(br__json_num(br__json_get(json, "head_dim"), 0) == 128);
    ck_assert(br__json_num(br__json_get(json, "max_window_layers"), 0) == 4);
    ck_assert_int_eq(br__json_bool(br__json_get(json, "tie_word_embeddings"), 0), 1);
    ck_assert_str_eq(br__json_str(br__json_get(json, "torch_dtype"), ""), "bfloat16");
    ck_assert_ptr_null(br__json_get(json, "num_nextn_predict_layers"));
    ck_assert(has_guess("init_method_std has its default") && has_guess("attention_bias is false"));
    ck_assert(has_guess("use_sliding_window is false") && !has_guess("torch_dtype"));
    br__json_free(json);
}
END_TEST

/* A frequency N: experts in layers 0, N, 2N; softmax attention in layers N-1, 2N-1, .... */
START_TEST(reads_integer_frequencies)
{
    struct br_config cfg = config_of("torch_dist/qwen3_next/hf/config.json");
    br__json *json;
    char *text = replaced(yaml_of(&cfg, &plain), "moe_layer_freq: 1\n", "moe_layer_freq: 3\n");
    text = replaced(text, "linear_attention_freq:\n  - 1\n  - 1\n  - 1\n  - 0\n",
                    "linear_attention_freq: 2\n");
    ck_assert_msg(!rebuild_yaml("qwen3_next", text, &json), "%s", err.msg);
    ck_assert(br__json_num(br__json_get(json, "full_attention_interval"), 0) == 2);
    struct br_config again = config_of_json(json);
    ck_assert_int_eq(memcmp(again.dense, "\0\1\1\0", 4), 0);
    ck_assert_int_eq(memcmp(again.linear, "\1\0\1\0", 4), 0);
    br__json_free(json);
}
END_TEST

START_TEST(refuses_another_family)
{
    static const char *const of[] = {"qwen2", "qwen3", "qwen3_moe", "qwen3_next"};
    for (size_t i = 0; i < BR_COUNTOF(of); i++) {
        char *path = br__arena_printf(&arena, "torch_dist/%s/hf/config.json", of[i]);
        struct br_config cfg = config_of(path);
        const char *text = yaml_of(&cfg, &plain);
        for (size_t j = 0; j < BR_COUNTOF(of); j++) {
            br__json *json;
            int rc = rebuild_yaml(of[j], text, &json);
            ck_assert_msg(rc == (i == j ? 0 : BR_E_CONFIG), "%s as %s: %d", of[i], of[j], rc);
            br__json_free(json);
            rc = br__config_rebuild(&arena, arch_of(of[j]), NULL, args_of(&cfg, &plain), &json,
                                    &guessed, &n_guessed, &err);
            ck_assert_msg(rc == (i == j ? 0 : BR_E_CONFIG), "args %s as %s: %d", of[i], of[j], rc);
            br__json_free(json);
        }
    }
}
END_TEST

START_TEST(refuses_what_makes_no_model)
{
    static const struct {
        const char *yaml, *says;
    } bad[] = {
        {"train: null\n", "no 'model' section"},
        {"model:\n  num_layers: 2\n", "'hidden_size', which qwen3 needs"},
        {"model:\n  hidden_size: 2\n", "'num_layers' is missing"},
        {"model:\n  num_layers: -1\n", "'num_layers' is missing"},
        {"model:\n  num_layers: 1000000\n", "'num_layers' is missing or not in"},
        {OLD "  moe_layer_freq: 1\n  num_moe_experts: 4\n", "num_moe_experts is set"},
        {OLD "  add_qkv_bias: true\n", "add_qkv_bias is true"},
        {OLD "  position_embedding_type: mrope\n", "position_embedding_type is mrope"},
        {OLD "  position_embedding_type: yarn\n", "'yarn_rotary_scaling_factor' is not"},
        {OLD "  init_method_std: .inf\n", "'init_method_std' is not a finite number"},
        {OLD "  attention_dropout: no\n", "'attention_dropout' is not a finite number"},
        {OLD "  mtp_num_layers: 1.5\n", "'mtp_num_layers' is 1.5"},
        {OLD "  activation_func:\n    _target_: torch.nn.functional.gelu\n", "functional.gelu"},
        {OLD_HEAD "  num_query_groups: [2]\n", "'num_query_groups' is not a finite number"},
    };
    for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
        br__json *json;
        int rc = rebuild_yaml("qwen3", bad[i].yaml, &json);
        ck_assert_msg(rc == BR_E_CONFIG && strstr(err.msg, bad[i].says), "case %zu: %d '%s'", i, rc,
                      err.msg);
        ck_assert_ptr_null(json);
    }
    br__json *json;
    ck_assert_int_eq(
        br__config_rebuild(&arena, arch_of("qwen3"), NULL, NULL, &json, &guessed, &n_guessed, &err),
        BR_E_NOTFOUND);
}
END_TEST

START_TEST(refuses_bad_layer_lists)
{
    static const struct {
        const char *from, *to, *says;
    } bad[] = {
        {"moe_layer_freq: 1\n", "moe_layer_freq: 0\n", "'moe_layer_freq' is neither"},
        {"moe_layer_freq: 1\n", "moe_layer_freq: x\n", "'moe_layer_freq' is neither"},
        {"linear_attention_freq:\n  - 1\n", "linear_attention_freq:\n  - 2\n",
         "'linear_attention_freq' entry 0"},
        {"linear_attention_freq:\n  - 1\n", "linear_attention_freq:\n",
         "one entry for each of 4 layers"},
        {"num_layers: 4\n", "num_layers: 5\n", "one entry for each of 5 layers"},
    };
    struct br_config cfg = config_of("torch_dist/qwen3_next/hf/config.json");
    for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
        char *text = replaced(yaml_of(&cfg, &plain), bad[i].from, bad[i].to);
        br__json *json;
        int rc = rebuild_yaml("qwen3_next", text, &json);
        ck_assert_msg(rc == BR_E_CONFIG && strstr(err.msg, bad[i].says), "case %zu: %d '%s'", i, rc,
                      err.msg);
    }
}
END_TEST

/* ---- every allocation may fail --------------------------------------------------------------- */

static long allocations_left;

static void *failing_realloc(void *p, size_t n)
{
    return allocations_left-- > 0 ? realloc(p, n) : NULL;
}

static int write_and_rebuild(const struct br_config *cfg, const struct br__yaml *y,
                             struct br__arena *a)
{
    struct br__buf b = {0};
    const char *const(*args)[2];
    br__json *json = NULL;
    size_t n;
    int rc = br__run_config_text(&b, cfg, &plain, &err);
    if (!rc)
        rc = br__mlm_args(a, cfg, &plain, &args, &n, &err);
    if (!rc)
        rc = br__config_rebuild(a, cfg->arch, y, NULL, &json, &guessed, &n_guessed, &err);
    br__json_free(json);
    br__buf_free(&b);
    return rc;
}

START_TEST(survives_failing_allocations)
{
    struct br__mem_ops saved = br__mem;
    struct br_config cfg = config_of("hf/qwen3_next_layer_types_fp32/config.json");
    const char *text = yaml_of(&cfg, &plain);
    struct br__yaml *y;
    int rc = BR_E_NOMEM;
    long n = 0;
    ck_assert_int_eq(br__yaml_parse(&arena, text, strlen(text), &y, &err), 0);
    for (; rc == BR_E_NOMEM && n < 10000; n++) {
        struct br__arena a = {0};
        allocations_left = n;
        br__mem.realloc = failing_realloc;
        rc = write_and_rebuild(&cfg, y, &a);
        br__mem = saved;
        br__arena_free(&a);
    }
    ck_assert_msg(rc == 0 && n > 50, "after %ld allocations: %d '%s'", n, rc, err.msg);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("run_config");
    TCase *t = tcase_create("run_config");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, writes_what_megatron_bridge_writes, 0, 7);
    tcase_add_loop_test(t, writes_dtypes_yarn_and_sliding_window_as_megatron_bridge, 0, 5);
    tcase_add_test(t, pads_the_vocabulary_as_megatron_bridge);
    tcase_add_test(t, quotes_text_as_pyyaml);
    tcase_add_test(t, text_survives_reading);
    tcase_add_test(t, mixed_layers_get_a_list_and_a_block_spec);
    tcase_add_test(t, per_layer_list_on_request);
    tcase_add_test(t, rebuilds_every_config_from_yaml);
    tcase_add_test(t, rebuilds_every_config_from_args);
    tcase_add_test(t, args_say_what_loaders_ask);
    tcase_add_test(t, rebuilds_from_megatron_lm);
    tcase_add_test(t, reads_old_provider_files);
    tcase_add_test(t, reads_integer_frequencies);
    tcase_add_test(t, refuses_another_family);
    tcase_add_test(t, refuses_what_makes_no_model);
    tcase_add_test(t, refuses_bad_layer_lists);
    tcase_add_test(t, survives_failing_allocations);
    suite_add_tcase(s, t);
    return run_suite(s);
}
