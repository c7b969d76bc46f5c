/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* rules.h - row groups that the GPT-style families share, for the tables of plugin.h.
 *
 * A plugin's weight map is a list of these groups plus its own rows; the difference between
 * two plugins is the difference between two architectures.
 *
 * Source of names and shapes: Megatron-LM core/models/gpt (Transformer Engine layer specs),
 * Megatron Bridge models/qwen (mapping registries), checked against checkpoints written by both. */
#ifndef BRIDGE_RULES_H
#define BRIDGE_RULES_H

#include <bridge/plugin.h>

/* clang-format off */

#define BR_SHAPE_QKV_W  "num_attention_heads*kv_channels,hidden_size;" \
                        "num_query_groups*kv_channels,hidden_size;" \
                        "num_query_groups*kv_channels,hidden_size"
#define BR_SHAPE_QKV_B  "num_attention_heads*kv_channels;num_query_groups*kv_channels;num_query_groups*kv_channels"
#define BR_SHAPE_QKVG_W "2*num_attention_heads*kv_channels,hidden_size;" \
                        "num_query_groups*kv_channels,hidden_size;" \
                        "num_query_groups*kv_channels,hidden_size"

/* Embedding, final norm, output layer. */
#define BR_RULES_TRUNK \
    { "embedding.word_embeddings.weight", "model.embed_tokens.weight", "vocab_size,hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_VOCAB }, \
    { "decoder.final_layernorm.weight",   "model.norm.weight",         "hidden_size",            NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }, \
    { "output_layer.weight",              "lm_head.weight",            "vocab_size,hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_VOCAB | BR_MAP_IF_UNTIED }

/* The groups below take the two name prefixes of a layer, so that multi-token-prediction layers
 * reuse them: M is the Megatron prefix, H the Hugging Face one. */
#define BR_RULES_ATTENTION_AT(M, H) \
    { M "self_attention.linear_proj.weight",           H "self_attn.o_proj.weight",       "hidden_size,num_attention_heads*kv_channels", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }, \
    { M "self_attention.linear_qkv.layer_norm_weight", H "input_layernorm.weight",        "hidden_size",  NULL, BR_LAYOUT_COPY, 0 }, \
    { M "self_attention.linear_qkv.weight",            H "self_attn.{q,k,v}_proj.weight", BR_SHAPE_QKV_W, NULL, BR_LAYOUT_QKV,  BR_MAP_EXTRA_STATE }

/* Softmax attention with an output gate: q_proj carries [query | gate] per head. */
#define BR_RULES_GATED_ATTENTION_AT(M, H) \
    { M "self_attention.linear_proj.weight",           H "self_attn.o_proj.weight",       "hidden_size,num_attention_heads*kv_channels", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }, \
    { M "self_attention.linear_qkv.layer_norm_weight", H "input_layernorm.weight",        "hidden_size",   NULL, BR_LAYOUT_COPY, 0 }, \
    { M "self_attention.linear_qkv.weight",            H "self_attn.{q,k,v}_proj.weight", BR_SHAPE_QKVG_W, NULL, BR_LAYOUT_QKVG, BR_MAP_EXTRA_STATE }

#define BR_RULES_QKV_BIAS_AT(M, H) \
    { M "self_attention.linear_qkv.bias", H "self_attn.{q,k,v}_proj.bias", BR_SHAPE_QKV_B, NULL, BR_LAYOUT_QKV, 0 }

#define BR_RULES_QK_NORM_AT(M, H) \
    { M "self_attention.{q,k}_layernorm.weight", H "self_attn.{q,k}_norm.weight", "kv_channels", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }

/* Gated dense MLP with its norm fused into linear_fc1. */
#define BR_RULES_GLU_AT(M, H) \
    { M "mlp.linear_fc1.layer_norm_weight", H "post_attention_layernorm.weight", "hidden_size",                 NULL, BR_LAYOUT_COPY,   0 }, \
    { M "mlp.linear_fc1.weight",            H "mlp.{gate,up}_proj.weight",       "ffn_hidden_size,hidden_size", NULL, BR_LAYOUT_CONCAT, BR_MAP_EXTRA_STATE }, \
    { M "mlp.linear_fc2.weight",            H "mlp.down_proj.weight",            "hidden_size,ffn_hidden_size", NULL, BR_LAYOUT_COPY,   BR_MAP_EXTRA_STATE }

/* Router and routed experts. */
#define BR_RULES_MOE_AT(M, H) \
    { M "pre_mlp_layernorm.weight", H "post_attention_layernorm.weight", "hidden_size",                 NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE }, \
    { M "mlp.router.weight",        H "mlp.gate.weight",                 "num_moe_experts,hidden_size", NULL, BR_LAYOUT_COPY, 0 }, \
    { M "mlp.experts.experts.linear_fc1.weight[expert]", H "mlp.experts.{expert}.{gate,up}_proj.weight", "moe_ffn_hidden_size,hidden_size", \
      H "mlp.experts.gate_up_proj", BR_LAYOUT_CONCAT, BR_MAP_EXTRA_STATE }, \
    { M "mlp.experts.experts.linear_fc2.weight[expert]", H "mlp.experts.{expert}.down_proj.weight",      "hidden_size,moe_ffn_hidden_size", \
      H "mlp.experts.down_proj",    BR_LAYOUT_COPY,   BR_MAP_EXTRA_STATE }

#define BR_RULES_SHARED_EXPERT_AT(M, H) \
    { M "mlp.shared_experts.linear_fc1.weight", H "mlp.shared_expert.{gate,up}_proj.weight", "moe_shared_expert_intermediate_size,hidden_size", NULL, BR_LAYOUT_CONCAT, BR_MAP_EXTRA_STATE }, \
    { M "mlp.shared_experts.linear_fc2.weight", H "mlp.shared_expert.down_proj.weight",      "hidden_size,moe_shared_expert_intermediate_size", NULL, BR_LAYOUT_COPY,   BR_MAP_EXTRA_STATE }, \
    { M "mlp.shared_experts.gate_weight",       H "mlp.shared_expert_gate.weight",           "1,hidden_size", NULL, BR_LAYOUT_COPY, 0 }

/* The head of a multi-token-prediction layer.  eh_proj is a straight copy of fc: both sides
 * concatenate [embedding, hidden] in this order. */
#define BR_RULES_MTP_HEAD \
    { "mtp.layers.0.eh_proj.weight",         "mtp.fc.weight",                    "hidden_size,2*hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE | BR_MAP_IF_MTP }, \
    { "mtp.layers.0.enorm.weight",           "mtp.pre_fc_norm_embedding.weight", "hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE | BR_MAP_IF_MTP }, \
    { "mtp.layers.0.hnorm.weight",           "mtp.pre_fc_norm_hidden.weight",    "hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE | BR_MAP_IF_MTP }, \
    { "mtp.layers.0.final_layernorm.weight", "mtp.norm.weight",                  "hidden_size", NULL, BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE | BR_MAP_IF_MTP }

#define BR_AT_LAYER(set) "decoder.layers.{" set "}.", "model.layers.{" set "}."
#define BR_AT_MTP        "mtp.layers.{mtp}.transformer_layer.", "mtp.layers.{mtp}."

/* The common case of each group: BR_RULES_ATTENTION is BR_RULES_ATTENTION_AT for all layers. */
#define BR_RULES_ATTENTION      BR_RULES_EXPAND_(BR_RULES_ATTENTION_AT, BR_AT_LAYER("layer"))
#define BR_RULES_QKV_BIAS       BR_RULES_EXPAND_(BR_RULES_QKV_BIAS_AT, BR_AT_LAYER("layer"))
#define BR_RULES_QK_NORM        BR_RULES_EXPAND_(BR_RULES_QK_NORM_AT, BR_AT_LAYER("layer"))
#define BR_RULES_GLU            BR_RULES_EXPAND_(BR_RULES_GLU_AT, BR_AT_LAYER("dense"))
#define BR_RULES_MOE            BR_RULES_EXPAND_(BR_RULES_MOE_AT, BR_AT_LAYER("moe"))
#define BR_RULES_SHARED_EXPERT  BR_RULES_EXPAND_(BR_RULES_SHARED_EXPERT_AT, BR_AT_LAYER("moe"))
#define BR_RULES_EXPAND_(group, ...) group(__VA_ARGS__)

/* clang-format on */
#endif
