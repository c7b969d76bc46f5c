/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* misbuilt - two families for tests/cli/misbuilt.sh whose weights convert and whose builders are
 * wrong: one leaves a norm out, one puts a norm of heads over the whole hidden state. */
#include <bridge/graph.h>
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 1),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_QK_NORM,
    BR_RULES_GLU,
};

static br_val forgets(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    return br_add(g, x, br_gated_mlp(g, x, "mlp."));
}

static br_val misfits(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.q_layernorm.weight");
    x = br_add(g, x, br_attention(g, h, i));
    h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
    return br_add(g, x, br_gated_mlp(g, h, "mlp."));
}

#define TOY                                                                                        \
    "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "               \
    "num_key_value_heads=2 head_dim=16 vocab_size=320 max_position_embeddings=512 "                \
    "rope_theta=10000.0 tie_word_embeddings=false"

static const struct br_arch archs[] = {
    {
        .model_type = "forgets",
        .hf_class = "ForgetsForCausalLM",
        .toy = TOY,
        .config = BR_ROWS(config),
        .maps = BR_ROWS(maps),
        .layer = forgets,
    },
    {
        .model_type = "misfits",
        .hf_class = "MisfitsForCausalLM",
        .toy = TOY,
        .config = BR_ROWS(config),
        .maps = BR_ROWS(maps),
        .layer = misfits,
    },
};

static const struct br_recipe recipes[] = {
    {"forgets_pretrain_config", "pretrain", "tp=1 pp=1"},
};

BR_PLUGIN(misbuilt, archs, recipes)
