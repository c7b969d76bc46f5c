/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* qwen3_next - Qwen3-Next (80B-A3B): gated delta-net layers with a gated softmax-attention layer
 * every full_attention_interval, routed experts plus a shared one, optional multi-token
 * prediction.
 *
 * All norms are zero-centred on both sides except the delta net's output norm, which Hugging
 * Face stores plain and Megatron stores minus one. */
#include <bridge/graph.h>
#include <bridge/rules.h>

#define M_GDN "decoder.layers.{gdn}.self_attention."
#define H_GDN "model.layers.{gdn}."

/* clang-format off */
#define SHAPE_QKVZ_BA \
    "2*linear_num_key_heads*linear_key_head_dim+2*linear_num_value_heads*linear_value_head_dim,hidden_size;" \
    "2*linear_num_value_heads,hidden_size"
#define SHAPE_CONV \
    "2*linear_num_key_heads*linear_key_head_dim+linear_num_value_heads*linear_value_head_dim,1,linear_conv_kernel_dim"

/* Hugging Face packs in_proj per key head, Megatron stores each part alone. */
#define RULES_GATED_DELTA_NET \
    { M_GDN "in_proj.layer_norm_weight", H_GDN "input_layernorm.weight", "hidden_size", NULL, BR_LAYOUT_COPY, 0 }, \
    { M_GDN "in_proj.weight.{query,key,value,z,beta,alpha}", H_GDN "linear_attn.in_proj_{qkvz,ba}.weight", SHAPE_QKVZ_BA, NULL, BR_LAYOUT_GDN_IN, BR_MAP_EXTRA_STATE }, \
    { M_GDN "conv1d.weight.{query,key,value}", H_GDN "linear_attn.conv1d.weight", SHAPE_CONV, NULL, BR_LAYOUT_GDN_CONV, 0 }, \
    { M_GDN "{A_log,dt_bias}", H_GDN "linear_attn.{A_log,dt_bias}", "linear_num_value_heads", NULL, BR_LAYOUT_COPY, 0 }, \
    { M_GDN "out_norm.weight", H_GDN "linear_attn.norm.weight", "linear_value_head_dim", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE | BR_MAP_ZERO_CENTERED }, \
    { M_GDN "out_proj.weight", H_GDN "linear_attn.out_proj.weight", "hidden_size,linear_num_value_heads*linear_value_head_dim", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }
/* clang-format on */

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 1),
    BR_FACT(LAYERNORM_ZERO_CENTERED_GAMMA, 1),
    BR_FACT(ATTENTION_OUTPUT_GATE, 1),
    BR_FACT_TEXT(EXPERIMENTAL_ATTENTION_VARIANT, "gated_delta_net"),
    BR_FACT(HETEREOGENOUS_DIST_CHECKPOINT, 1),
    BR_FACT_TEXT(TRANSFORMER_LAYER_SPEC,
                 "megatron.core.models.gpt.experimental_attention_variant_module_specs."
                 "get_transformer_block_with_experimental_attention_variant_spec"),
    BR_FROM(LINEAR_CONV_KERNEL_DIM, "linear_conv_kernel_dim"),
    BR_FROM(LINEAR_KEY_HEAD_DIM, "linear_key_head_dim"),
    BR_FROM(LINEAR_VALUE_HEAD_DIM, "linear_value_head_dim"),
    BR_FROM(LINEAR_NUM_KEY_HEADS, "linear_num_key_heads"),
    BR_FROM(LINEAR_NUM_VALUE_HEADS, "linear_num_value_heads"),
    BR_FROM_OR(ROTARY_PERCENT, "partial_rotary_factor|rope_parameters.partial_rotary_factor", 0.25),
    BR_FROM(NUM_MOE_EXPERTS, "num_experts|num_local_experts"),
    BR_FROM(MOE_ROUTER_TOPK, "num_experts_per_tok"),
    BR_FROM(MOE_FFN_HIDDEN_SIZE, "moe_intermediate_size"),
    BR_FROM(MOE_SHARED_EXPERT_INTERMEDIATE_SIZE, "shared_expert_intermediate_size"),
    BR_FACT(MOE_SHARED_EXPERT_GATE, 1),
    BR_FROM_NOT(MOE_ROUTER_PRE_SOFTMAX, "norm_topk_prob", 1),
    BR_FACT(MOE_AUX_LOSS_COEFF, 0.001),
    BR_FACT(MOE_GROUPED_GEMM, 1),
    BR_FACT(MOE_PERMUTE_FUSION, 1),
    BR_FACT_TEXT(MOE_TOKEN_DISPATCHER_TYPE, "alltoall"),
    BR_FACT_TEXT(MOE_ROUTER_LOAD_BALANCING_TYPE, "global_aux_loss"),
    BR_FACT_TEXT(MOE_ROUTER_DTYPE, "fp32"),
};

/* The gate is a fact of the family, whether config.json says so or not. */
static const struct br_key keys[] = {
    {"attn_output_gate", "true"},
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_EXPAND_(BR_RULES_GATED_ATTENTION_AT, BR_AT_LAYER("attn")),
    BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_LAYER("attn")),
    RULES_GATED_DELTA_NET,
    BR_RULES_GLU,
    BR_RULES_MOE,
    BR_RULES_SHARED_EXPERT,
    BR_RULES_MTP_HEAD,
    BR_RULES_EXPAND_(BR_RULES_GATED_ATTENTION_AT, BR_AT_MTP),
    BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_MTP),
    BR_RULES_EXPAND_(BR_RULES_MOE_AT, BR_AT_MTP),
    BR_RULES_EXPAND_(BR_RULES_SHARED_EXPERT_AT, BR_AT_MTP),
};

static br_val mixer(struct br_graph *g, br_val x, int i)
{
    if (br_layer_is_linear(g, i))
        return br_gated_delta_net(g, br_rmsnorm(g, x, "self_attention.in_proj.layer_norm_weight"),
                                  i);
    return br_attention(g, br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight"), i);
}

static br_val layer(struct br_graph *g, br_val x, int i)
{
    x = br_add(g, x, mixer(g, x, i));
    if (!br_layer_is_moe(g, i)) {
        br_val h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
        return br_add(g, x, br_gated_mlp(g, h, "mlp."));
    }
    return br_add(g, x, br_moe(g, br_rmsnorm(g, x, "pre_mlp_layernorm.weight"), i));
}

static const struct br_arch archs[] = {{
    .model_type = "qwen3_next",
    .hf_class = "Qwen3NextForCausalLM",
    .toy = "num_hidden_layers=4 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 head_dim=32 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=10000000.0 partial_rotary_factor=0.25 tie_word_embeddings=false "
           "attention_bias=false full_attention_interval=4 linear_conv_kernel_dim=4 "
           "linear_key_head_dim=16 linear_value_head_dim=16 linear_num_key_heads=2 "
           "linear_num_value_heads=4 num_experts=4 num_experts_per_tok=2 "
           "moe_intermediate_size=32 shared_expert_intermediate_size=32 norm_topk_prob=true "
           "decoder_sparse_step=1 mlp_only_layers=[] router_aux_loss_coef=0.001 "
           "output_router_logits=false",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .layer = layer,
    .keys = BR_ROWS(keys),
}};

static const struct br_recipe recipes[] = {
#define R(name, base, set) {name, base, set},
#include "../../recipes/qwen3_next.def"
#undef R
};

BR_PLUGIN(qwen3_next, archs, recipes)
