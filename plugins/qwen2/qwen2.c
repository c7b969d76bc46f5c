/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* qwen2 - Qwen2 and Qwen2.5 (0.5B to 72B): grouped-query attention with a bias on q, k and v,
 * gated MLP.  An ordinary GPT block. */
#include <bridge/graph.h>
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 1),
    BR_FACT(QK_LAYERNORM, 0),
    BR_READ_OR(SLIDING_WINDOW, "sliding_window", 4096),
    BR_READ_OR(USE_SLIDING_WINDOW, "use_sliding_window", 0),
    BR_READ_OR(SLIDING_WINDOW_FROM_LAYER, "max_window_layers", 28),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_QKV_BIAS,
    BR_RULES_GLU,
};

static br_val layer(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
    return br_add(g, x, br_gated_mlp(g, h, "mlp."));
}

static const struct br_arch archs[] = {{
    .model_type = "qwen2",
    .hf_class = "Qwen2ForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=1000000.0 tie_word_embeddings=true max_window_layers=2 "
           "sliding_window=null use_sliding_window=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .layer = layer,
}};

static const struct br_recipe recipes[] = {
#define R(name, base, set) {name, base, set},
#include "../../recipes/qwen2.def"
#undef R
};

BR_PLUGIN(qwen2, archs, recipes)
