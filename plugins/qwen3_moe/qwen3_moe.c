/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* qwen3_moe - Qwen3 with routed experts (Qwen3-30B-A3B, Qwen3-235B-A22B).
 *
 * Qwen3 attention, softmax-then-top-k router, no shared expert.  Layers named in
 * mlp_only_layers, or skipped by decoder_sparse_step, keep a dense MLP. */
#include <bridge/graph.h>
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 1),
    BR_READ_OR(SLIDING_WINDOW, "sliding_window", 4096),
    BR_READ_OR(USE_SLIDING_WINDOW, "use_sliding_window", 0),
    BR_FACT(SLIDING_WINDOW_FROM_LAYER, 0),
    BR_FROM(NUM_MOE_EXPERTS, "num_experts|num_local_experts"),
    BR_FROM(MOE_ROUTER_TOPK, "num_experts_per_tok"),
    BR_FROM(MOE_FFN_HIDDEN_SIZE, "moe_intermediate_size"),
    BR_FROM_NOT(MOE_ROUTER_PRE_SOFTMAX, "norm_topk_prob", 0),
    BR_FACT(MOE_AUX_LOSS_COEFF, 0.001),
    BR_FACT(MOE_GROUPED_GEMM, 1),
    BR_FACT(MOE_PERMUTE_FUSION, 1),
    BR_FACT_TEXT(MOE_TOKEN_DISPATCHER_TYPE, "alltoall"),
    BR_FACT_TEXT(MOE_ROUTER_LOAD_BALANCING_TYPE, "aux_loss"),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK, BR_RULES_ATTENTION, BR_RULES_QK_NORM, BR_RULES_GLU, BR_RULES_MOE,
};

static br_val layer(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    if (!br_layer_is_moe(g, i)) {
        h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
        return br_add(g, x, br_gated_mlp(g, h, "mlp."));
    }
    h = br_rmsnorm(g, x, "pre_mlp_layernorm.weight");
    return br_add(g, x, br_moe(g, h, i));
}

static const struct br_arch archs[] = {{
    .model_type = "qwen3_moe",
    .hf_class = "Qwen3MoeForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 head_dim=32 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=1000000.0 tie_word_embeddings=false attention_bias=false "
           "num_experts=4 num_experts_per_tok=2 moe_intermediate_size=32 norm_topk_prob=true "
           "decoder_sparse_step=1 mlp_only_layers=[] router_aux_loss_coef=0.001 "
           "output_router_logits=false "
           "max_window_layers=2 sliding_window=null use_sliding_window=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .layer = layer,
}};

static const struct br_recipe recipes[] = {
#define R(name, base, set) {name, base, set},
#include "../../recipes/qwen3_moe.def"
#undef R
};

BR_PLUGIN(qwen3_moe, archs, recipes)
