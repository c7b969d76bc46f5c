/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llama - Llama 2, 3, 3.1, 3.2 and 3.3 text models: grouped-query attention without biases or norms
 * on queries and keys, gated MLP; from 3.1 on with rope scaled by wavelength bands.
 *
 * An example of a family that bridge does not have, built against an installed bridge alone.
 *
 * Source: transformers models/llama (LlamaConfig, modeling_rope_utils), Megatron Bridge
 * models/llama (mapping registry). */
#include <bridge/graph.h>
#include <bridge/rules.h>

static const struct br_field config[] = {
    BR_FACT(ADD_QKV_BIAS, 0),
    BR_FACT(QK_LAYERNORM, 0),
    BR_FACT_TEXT(ROPE_SCALING_TYPE, "llama3"),
    /* how Megatron Bridge trains this family */
    BR_FACT(APPLY_ROPE_FUSION, 1),
    BR_FACT(BIAS_ACTIVATION_FUSION, 1),
    BR_FACT(BIAS_DROPOUT_FUSION, 1),
    BR_FACT(PERSIST_LAYER_NORM, 1),
};

static const struct br_map maps[] = {
    BR_RULES_TRUNK,
    BR_RULES_ATTENTION,
    BR_RULES_GLU,
};

/* Buffers that transformers once saved; they follow from config.json. */
static const struct br_ignore ignore[] = {
    {"model.layers.{layer}.self_attn.rotary_emb.inv_freq"},
};

static br_val layer(struct br_graph *g, br_val x, int i)
{
    br_val h = br_rmsnorm(g, x, "self_attention.linear_qkv.layer_norm_weight");
    x = br_add(g, x, br_attention(g, h, i));
    h = br_rmsnorm(g, x, "mlp.linear_fc1.layer_norm_weight");
    return br_add(g, x, br_gated_mlp(g, h, "mlp."));
}

static const struct br_arch archs[] = {{
    .model_type = "llama",
    .hf_class = "LlamaForCausalLM",
    .toy = "num_hidden_layers=2 hidden_size=64 intermediate_size=96 num_attention_heads=4 "
           "num_key_value_heads=2 head_dim=16 vocab_size=320 max_position_embeddings=512 "
           "rope_theta=500000.0 tie_word_embeddings=false attention_bias=false mlp_bias=false "
           "rope_scaling={\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,"
           "\"high_freq_factor\":4.0,\"original_max_position_embeddings\":8192}",
    .config = BR_ROWS(config),
    .maps = BR_ROWS(maps),
    .ignore = BR_ROWS(ignore),
    .layer = layer,
}};

static const struct br_recipe recipes[] = {
    {"llama32_1b_pretrain_config", "pretrain", "tp=1 pp=1"},
};

BR_PLUGIN(llama, archs, recipes)
