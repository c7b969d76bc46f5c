/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* config_fields.c - the canonical facts: their names, the keys that all architectures read them
 * from, and their values.
 *
 * Keys and their Megatron names: Megatron Bridge models/conversion (CONFIG_MAPPING) and the
 * transformers 4 and 5 spellings of the Qwen configurations. */
#include "model_internal.h"

#include <string.h>

const struct br__cfg_key br__cfg_keys[BR_N_CFG] = {
#define BR_X(id, kind, key, mlm) {#id, key, mlm, BR__KIND_##kind},
    BR_CFG_MAP(BR_X)
#undef BR_X
};

#define FROM_OPT(id, key)                                                                          \
    {                                                                                              \
        BR_CFG_##id, 0, key, 0, NULL                                                               \
    }

/* clang-format off */
static const struct br_field common_fields[] = {
    BR_FROM(NUM_LAYERS, "num_hidden_layers"),
    BR_FROM(HIDDEN_SIZE, "hidden_size"),
    BR_FROM(FFN_HIDDEN_SIZE, "intermediate_size"),
    BR_FROM(NUM_ATTENTION_HEADS, "num_attention_heads"),
    FROM_OPT(NUM_QUERY_GROUPS, "num_key_value_heads"),
    FROM_OPT(KV_CHANNELS, "head_dim"),
    BR_FROM(VOCAB_SIZE, "vocab_size"),
    BR_FROM_OR(SEQ_LENGTH, "max_position_embeddings", 32768),
    BR_FROM_OR(LAYERNORM_EPSILON, "rms_norm_eps", 1e-6),
    BR_FROM_OR(INIT_METHOD_STD, "initializer_range", 0.02),
    BR_FROM_OR(ROTARY_BASE, "rope_theta|rope_parameters.rope_theta", 10000.0),
    BR_FROM_OR(ROTARY_PERCENT, "partial_rotary_factor|rope_parameters.partial_rotary_factor", 1.0),
    BR_FROM_OR(ATTENTION_DROPOUT, "attention_dropout", 0.0),
    BR_FROM_OR(SHARE_EMBEDDINGS, "tie_word_embeddings", 0),
    BR_FROM_OR(MTP_NUM_LAYERS, "num_nextn_predict_layers|mtp_num_hidden_layers", 0),
    BR_FACT_TEXT(POSITION_EMBEDDING_TYPE, "rope"),
    BR_FROM_OR(YARN_ROTARY_SCALING_FACTOR, BR__ROPE_KEY("factor"), 1.0),
    FROM_OPT(YARN_ORIGINAL_MAX_POSITION_EMBEDDINGS, BR__ROPE_KEY("original_max_position_embeddings")),
    BR_FROM_OR(YARN_BETA_FAST, BR__ROPE_KEY("beta_fast"), 32.0),
    BR_FROM_OR(YARN_BETA_SLOW, BR__ROPE_KEY("beta_slow"), 1.0),
    BR_FROM_OR(YARN_MSCALE, BR__ROPE_KEY("mscale"), 1.0),
    BR_FROM_OR(YARN_MSCALE_ALL_DIM, BR__ROPE_KEY("mscale_all_dim"), 0.0),
    BR_FROM_OR(YARN_CORRECTION_RANGE_ROUND_TO_INT, BR__ROPE_KEY("truncate"), 1),
    /* defaults: what Megatron's RotaryEmbedding takes them for */
    BR_FROM_OR(ROPE_SCALING_FACTOR, BR__ROPE_KEY("factor"), 8.0),
    BR_FROM_OR(ROPE_LOW_FREQ_FACTOR, BR__ROPE_KEY("low_freq_factor"), 1.0),
    BR_FROM_OR(ROPE_HIGH_FREQ_FACTOR, BR__ROPE_KEY("high_freq_factor"), 4.0),
    BR_FROM_OR(ROPE_ORIGINAL_MAX_POSITION_EMBEDDINGS, BR__ROPE_KEY("original_max_position_embeddings"), 8192),
};
/* clang-format on */

int64_t br_cfg_i(const struct br_config *cfg, uint32_t id)
{
    return id < BR_N_CFG && cfg->has[id] ? (int64_t)cfg->v[id] : 0;
}

double br_cfg_f(const struct br_config *cfg, uint32_t id)
{
    return id < BR_N_CFG && cfg->has[id] ? cfg->v[id] : 0.0;
}

const char *br_cfg_s(const struct br_config *cfg, uint32_t id)
{
    return id < BR_N_CFG && cfg->has[id] ? cfg->text[id] : NULL;
}

void br_cfg_set(struct br_config *cfg, uint32_t id, double value)
{
    if (id >= BR_N_CFG)
        BR_BUG("config id %u is outside the map", id);
    cfg->v[id] = value;
    cfg->has[id] = 1;
}

const struct br_field *br__config_field(const struct br__arch *arch, uint32_t id)
{
    for (uint32_t i = arch->n_config; i-- > 0;)
        if (arch->config[i].field == id)
            return &arch->config[i];
    for (size_t i = 0; i < BR_COUNTOF(common_fields); i++)
        if (common_fields[i].field == id)
            return &common_fields[i];
    return NULL;
}

int64_t br__config_dim(const struct br_config *cfg, const char *key, size_t key_len, int *known)
{
    for (uint32_t i = 0; i < BR_N_CFG; i++) {
        const char *k = br__cfg_keys[i].key;
        if (strlen(k) == key_len && !memcmp(k, key, key_len) &&
            br__cfg_keys[i].kind == BR__KIND_INT) {
            *known = 1;
            return br_cfg_i(cfg, i);
        }
    }
    *known = 0;
    return 0;
}
