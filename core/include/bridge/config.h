/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* config.h - the canonical model configuration: one id per fact, named as in Megatron.
 *
 * The struct itself belongs to the core.  Plugins name facts by id, never by offset, so the
 * core may reorder it at will. */
#ifndef BRIDGE_CONFIG_H
#define BRIDGE_CONFIG_H

#include <bridge/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(ID, kind, key of run_config.yaml's model section and of Megatron's TransformerConfig,
 *   key in Megatron-LM's args namespace or "" where it has the same name)
 * kinds: INT, FLOAT, BOOL, TEXT.  Append only: the order is part of the plugin ABI. */
#define BR_CFG_MAP(X)                                                                              \
    X(NUM_LAYERS, INT, "num_layers", "")                                                           \
    X(HIDDEN_SIZE, INT, "hidden_size", "")                                                         \
    X(FFN_HIDDEN_SIZE, INT, "ffn_hidden_size", "")                                                 \
    X(NUM_ATTENTION_HEADS, INT, "num_attention_heads", "")                                         \
    X(NUM_QUERY_GROUPS, INT, "num_query_groups", "")                                               \
    X(KV_CHANNELS, INT, "kv_channels", "")                                                         \
    X(VOCAB_SIZE, INT, "vocab_size", "")                                                           \
    X(SEQ_LENGTH, INT, "seq_length", "max_position_embeddings")                                    \
    X(LAYERNORM_EPSILON, FLOAT, "layernorm_epsilon", "norm_epsilon")                               \
    X(INIT_METHOD_STD, FLOAT, "init_method_std", "")                                               \
    X(ROTARY_BASE, FLOAT, "rotary_base", "")                                                       \
    X(ROTARY_PERCENT, FLOAT, "rotary_percent", "")                                                 \
    X(ATTENTION_DROPOUT, FLOAT, "attention_dropout", "")                                           \
    X(SHARE_EMBEDDINGS, BOOL, "share_embeddings_and_output_weights",                               \
      "!untie_embeddings_and_output_weights")                                                      \
    X(ADD_QKV_BIAS, BOOL, "add_qkv_bias", "")                                                      \
    X(QK_LAYERNORM, BOOL, "qk_layernorm", "")                                                      \
    X(NUM_MOE_EXPERTS, INT, "num_moe_experts", "num_experts")                                      \
    X(MOE_ROUTER_TOPK, INT, "moe_router_topk", "")                                                 \
    X(MOE_FFN_HIDDEN_SIZE, INT, "moe_ffn_hidden_size", "")                                         \
    X(MOE_ROUTER_PRE_SOFTMAX, BOOL, "moe_router_pre_softmax", "")                                  \
    X(MOE_AUX_LOSS_COEFF, FLOAT, "moe_aux_loss_coeff", "")                                         \
    X(MOE_GROUPED_GEMM, BOOL, "moe_grouped_gemm", "")                                              \
    X(MOE_PERMUTE_FUSION, BOOL, "moe_permute_fusion", "")                                          \
    X(MOE_TOKEN_DISPATCHER_TYPE, TEXT, "moe_token_dispatcher_type", "")                            \
    X(MOE_ROUTER_LOAD_BALANCING_TYPE, TEXT, "moe_router_load_balancing_type", "")                  \
    X(MOE_ROUTER_DTYPE, TEXT, "moe_router_dtype", "")                                              \
    X(MOE_SHARED_EXPERT_INTERMEDIATE_SIZE, INT, "moe_shared_expert_intermediate_size", "")         \
    X(MOE_SHARED_EXPERT_GATE, BOOL, "moe_shared_expert_gate", "")                                  \
    X(LAYERNORM_ZERO_CENTERED_GAMMA, BOOL, "layernorm_zero_centered_gamma", "apply_layernorm_1p")  \
    X(ATTENTION_OUTPUT_GATE, BOOL, "attention_output_gate", "")                                    \
    X(EXPERIMENTAL_ATTENTION_VARIANT, TEXT, "experimental_attention_variant", "")                  \
    X(HETEREOGENOUS_DIST_CHECKPOINT, BOOL, "hetereogenous_dist_checkpoint", "")                    \
    X(LINEAR_CONV_KERNEL_DIM, INT, "linear_conv_kernel_dim", "")                                   \
    X(LINEAR_KEY_HEAD_DIM, INT, "linear_key_head_dim", "")                                         \
    X(LINEAR_VALUE_HEAD_DIM, INT, "linear_value_head_dim", "")                                     \
    X(LINEAR_NUM_KEY_HEADS, INT, "linear_num_key_heads", "")                                       \
    X(LINEAR_NUM_VALUE_HEADS, INT, "linear_num_value_heads", "")                                   \
    X(MTP_NUM_LAYERS, INT, "mtp_num_layers", "")                                                   \
    X(TRANSFORMER_LAYER_SPEC, TEXT, "transformer_layer_spec", "-")                                 \
    X(POSITION_EMBEDDING_TYPE, TEXT, "position_embedding_type", "")                                \
    X(YARN_ROTARY_SCALING_FACTOR, FLOAT, "yarn_rotary_scaling_factor", "")                         \
    X(YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS, INT, "yarn_original_max_position_embeddings", "")     \
    X(YARN_BETA_FAST, FLOAT, "yarn_beta_fast", "")                                                 \
    X(YARN_BETA_SLOW, FLOAT, "yarn_beta_slow", "")                                                 \
    X(YARN_MSCALE, FLOAT, "yarn_mscale", "")                                                       \
    X(YARN_MSCALE_ALL_DIM, FLOAT, "yarn_mscale_all_dim", "")                                       \
    X(YARN_CORRECTION_RANGE_ROUND_TO_INT, BOOL, "yarn_correction_range_round_to_int", "")          \
    X(ROPE_SCALING, BOOL, "rope_scaling", "use_rope_scaling")                                      \
    X(ROPE_SCALING_FACTOR, FLOAT, "rope_scaling_factor", "")                                       \
    X(ADD_BIAS_LINEAR, BOOL, "add_bias_linear", "")                                                \
    /* rope scaled by wavelength bands.  The type is what config.json calls it, a fact of the */   \
    /* family; Megatron has the factor, and takes the other three for 1, 4 and 8192           */   \
    X(ROPE_SCALING_TYPE, TEXT, "rope_scaling_type", "")                                            \
    X(ROPE_LOW_FREQ_FACTOR, FLOAT, "rope_low_freq_factor", "")                                     \
    X(ROPE_HIGH_FREQ_FACTOR, FLOAT, "rope_high_freq_factor", "")                                   \
    X(ROPE_ORIGINAL_MAX_POSITION_EMBEDDINGS, INT, "rope_original_max_position_embeddings", "")     \
    X(APPLY_ROPE_FUSION, BOOL, "apply_rope_fusion", "")                                            \
    X(BIAS_ACTIVATION_FUSION, BOOL, "bias_activation_fusion", "-")                                 \
    X(BIAS_DROPOUT_FUSION, BOOL, "bias_dropout_fusion", "")                                        \
    X(PERSIST_LAYER_NORM, BOOL, "persist_layer_norm", "!no_persist_layer_norm")                    \
    /* sliding-window attention: keys that a query sees, its own included, in layers from    */    \
    /* FROM_LAYER on, or in those that layer_types calls sliding_attention.  A family whose   */   \
    /* models have a window states all three; 0 or no key at all: every query sees all keys  */    \
    X(SLIDING_WINDOW, INT, "sliding_window", "-")                                                  \
    X(USE_SLIDING_WINDOW, BOOL, "use_sliding_window", "-")                                         \
    X(SLIDING_WINDOW_FROM_LAYER, INT, "sliding_window_from_layer", "-")

enum br_cfg {
#define BR_X(id, kind, key, mlm) BR_CFG_##id,
    BR_CFG_MAP(BR_X)
#undef BR_X
        BR_N_CFG
};

struct br_config;

/* Value of an INT or BOOL / FLOAT / TEXT fact; 0 / 0.0 / NULL when the model has none. */
BR_API int64_t br_cfg_i(const struct br_config *cfg, uint32_t id);
BR_API double br_cfg_f(const struct br_config *cfg, uint32_t id);
BR_API const char *br_cfg_s(const struct br_config *cfg, uint32_t id);

/* Set a fact from a plugin's check(): derived values only. */
BR_API void br_cfg_set(struct br_config *cfg, uint32_t id, double value);

/* In a plugin's check(): the value of any key of config.json, as JSON text ("4096", "\"gelu\"",
 * "[1, 2]"); a dot descends into an object.  NULL: the key is absent, or memory ran out.  It lives
 * as long as the configuration. */
BR_API const char *br_cfg_json(const struct br_config *cfg, const char *key);
/* In a plugin's check(): the model can be converted and cannot run, and why; one sentence. */
BR_API void br_cfg_cannot_run(struct br_config *cfg, const char *why);

#ifdef __cplusplus
}
#endif
#endif
