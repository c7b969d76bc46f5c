/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* keys - a family for tests/cli/config_keys.sh: a plain GPT block that states a sliding window as
 * Mistral does, knows two keys of its own, and reads others in check(). */
#include <bridge/graph.h>
#include <bridge/rules.h>

#include <string.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 0),
    BR_READ_OR(SLIDING_WINDOW, "sliding_window", 0),
    BR_FACT(USE_SLIDING_WINDOW, 1),
    BR_FACT(SLIDING_WINDOW_FROM_LAYER, 0),
};

static const struct br_key keys[] = {
    {"colour", NULL},                 /* harmless */
    {"residual_multiplier", "1|1.5"}, /* as if the builder carried out 1.5 */
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_GLU,
};

static int check(struct br_config *cfg, struct br_err *err)
{
    const char *list = br_cfg_json(cfg, "nested.list"), *word = br_cfg_json(cfg, "nested.word");
    if (br_cfg_json(cfg, "nested.none"))
        return br_fail(err, BR_E_CONFIG, "a key that is absent has a value");
    if (list && strcmp(list, "[1, 2, \"three\"]") != 0)
        return br_fail(err, BR_E_CONFIG, "nested.list is %s", list);
    if (word && strcmp(word, "\"refuse\"") == 0)
        return br_fail(err, BR_E_CONFIG, "nested.word is %s", word);
    if (word)
        br_cfg_cannot_run(cfg, "nested.word is not what the builder computes");
    return BR_OK;
}

static br_val layer(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
    return br_add(g, x, br_gated_mlp(g, h, "mlp."));
}

static const struct br_arch archs[] = {{
    .model_type = "keys",
    .hf_class = "KeysForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 vocab_size=320 max_position_embeddings=512 rope_theta=10000.0 "
           "tie_word_embeddings=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .check = check,
    .layer = layer,
    .keys = BR_ROWS(keys),
}};

static const struct br_recipe recipes[] = {
    {"keys_pretrain_config", "pretrain", "tp=1 pp=1"},
};

BR_PLUGIN(keys, archs, recipes)
