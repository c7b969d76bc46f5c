/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* qwen3 - Qwen3 dense models (0.6B to 32B): Qwen2's block with a norm on each query and key
 * head in place of the q, k, v bias, and a head size of its own.  Multi-token-prediction layers
 * are mapped too: Megatron Bridge knows them for this family, though no release has any. */
#include <bridge/graph.h>
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 1),
    BR_READ_OR(SLIDING_WINDOW, "sliding_window", 4096),
    BR_READ_OR(USE_SLIDING_WINDOW, "use_sliding_window", 0),
    BR_READ_OR(SLIDING_WINDOW_FROM_LAYER, "max_window_layers", 28),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_QK_NORM,
    BR_RULES_GLU,
    BR_RULES_MTP_HEAD,
    BR_RULES_EXPAND_(BR_RULES_ATTENTION_AT, BR_AT_MTP),
    BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_MTP),
    BR_RULES_EXPAND_(BR_RULES_GLU_AT, BR_AT_MTP),
};

static br_val layer(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
    return br_add(g, x, br_gated_mlp(g, h, "mlp."));
}

static const struct br_arch archs[] = {{
    .model_type = "qwen3",
    .hf_class = "Qwen3ForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 head_dim=32 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=1000000.0 tie_word_embeddings=false attention_bias=false "
           "max_window_layers=2 sliding_window=null use_sliding_window=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .layer = layer,
}};

static const struct br_recipe recipes[] = {
#define R(name, base, set) {name, base, set},
#include "../../recipes/qwen3.def"
#undef R
};

BR_PLUGIN(qwen3, archs, recipes)
