/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plugin.h - the whole plugin ABI: a plugin is a descriptor, not a program.
 *
 * A plugin exports one function, bridge_plugin_v1(), that returns const tables.  Nothing of
 * it runs at load.  The major version is in the symbol's name; the minor version is in the
 * sizes: every struct and every table row carries its size as compiled, only grows at its end,
 * and zero means "as before".  The host adopts shorter ones (the missing tail reads as zero)
 * and refuses longer ones whose unknown tail is not zero (the rule of Linux's openat2(2)).
 *
 * No implicit padding anywhere: tests/lint compiles this header with -Wpadded -Werror. */
#ifndef BRIDGE_PLUGIN_H
#define BRIDGE_PLUGIN_H

#include <bridge/config.h>
#include <bridge/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BR_TABLE(T)                                                                                \
    struct {                                                                                       \
        const T *rows;                                                                             \
        uint32_t n, row_size;                                                                      \
    }
#define BR_ROWS(a)                                                                                 \
    {                                                                                              \
        (a), (uint32_t)BR_COUNTOF(a), (uint32_t)sizeof((a)[0])                                     \
    }

/* ---- configuration: config.json <-> canonical facts, both directions ------------------------- */

enum br_field_flags {
    BR_FIELD_REQUIRED = 1, /* absent from config.json: an error                              */
    BR_FIELD_NOT = 2,      /* boolean stored inverted: fact = !json                          */
    BR_FIELD_FACT = 4,     /* a constant of the architecture: no key, `value`/`text` is it   */
    BR_FIELD_DEFAULT = 8,  /* `value` stands in for an absent or null key                    */
    BR_FIELD_READ = 16     /* read from config.json, never written when it is rebuilt        */
};

/* One row: canonical fact `field` <-> key of config.json.  hf_key may name alternatives,
 * first is the one written: "num_experts|num_local_experts"; a dot descends into an object:
 * "rope_theta|rope_parameters.rope_theta".  A plugin's rows come after the core's common rows
 * and win over them. */
struct br_field {
    uint32_t field, flags; /* enum br_cfg, enum br_field_flags */
    const char *hf_key;    /* NULL for a fact                  */
    double value;          /* of a fact or default, INT/FLOAT/BOOL */
    const char *text;      /* of a fact or default, TEXT       */
};
#define BR_FROM(id, key)                                                                           \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_REQUIRED, key, 0, NULL                                               \
    }
#define BR_FROM_OR(id, key, dflt)                                                                  \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_DEFAULT, key, dflt, NULL                                             \
    }
#define BR_FROM_NOT(id, key, dflt)                                                                 \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_DEFAULT | BR_FIELD_NOT, key, dflt, NULL                              \
    }
/* Read only: when a config.json is rebuilt, the toy's value stands there. */
#define BR_READ_OR(id, key, dflt)                                                                  \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_DEFAULT | BR_FIELD_READ, key, dflt, NULL                             \
    }
#define BR_FACT(id, val)                                                                           \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_FACT, NULL, val, NULL                                                \
    }
#define BR_FACT_TEXT(id, str)                                                                      \
    {                                                                                              \
        BR_CFG_##id, BR_FIELD_FACT, NULL, 0, str                                                   \
    }

/* ---- weights: Megatron tensor <-> Hugging Face tensors --------------------------------------- */

/* How rows move between the HF tensors of a rule and its Megatron tensors.  The spans of each
 * layout are in core/model/row_moves.c; import copies them forward, export backward.
 * X(name, HF inputs, Megatron outputs) */
#define BR_LAYOUT_MAP(X)                                                                           \
    X(COPY, 1, 1)     /* lists pair up: {q,k} <-> {q,k}                                      */    \
    X(QKV, 3, 1)      /* q,k,v -> per query group [its q heads | k | v]                      */    \
    X(QKVG, 3, 1)     /* q has [query|gate] per head -> per group [queries | gates | k | v]  */    \
    X(CONCAT, 2, 1)   /* gate,up -> [all gate rows | all up rows], stored as two chunks      */    \
    X(GDN_IN, 2, 6)   /* qkvz,ba packed per key head -> query,key,value,z,beta,alpha         */    \
    X(GDN_CONV, 1, 3) /* flat channels -> query,key,value                                    */

enum br_layout {
#define BR_X(name, n_hf, n_mcore) BR_LAYOUT_##name,
    BR_LAYOUT_MAP(BR_X)
#undef BR_X
        BR_N_LAYOUTS
};

enum br_map_flags {
    BR_MAP_EXTRA_STATE = 1,   /* Transformer Engine module: has an `_extra_state` item       */
    BR_MAP_IF_UNTIED = 2,     /* only when embedding and output layer are separate           */
    BR_MAP_IF_MTP = 4,        /* only when the model has multi-token-prediction layers       */
    BR_MAP_VOCAB = 8,         /* rows may be padded on the Megatron side                     */
    BR_MAP_ZERO_CENTERED = 16 /* Megatron stores w - 1                                       */
};

/* One weight rule.  Name patterns:
 *   {layer} {attn} {gdn} {moe} {dense} {mtp}   index sets that the core computes from the
 *                      config: all layers; softmax-attention / delta-net layers; routed /
 *                      dense MLP layers; multi-token-prediction layers
 *   {expert}           expert index (HF side); [expert] at the end of the Megatron pattern is
 *                      the leading expert axis of the stored tensor
 *   {a,b,c}            ordered list of tensors
 * "decoder.layers.{layer}.x" is stored with a leading layer axis when all layers are alike;
 * that is the writer's decision, not the rule's.
 *
 * hf_shape: shape of each HF tensor in terms of Megatron's config names, numbers, * and +,
 * dims separated by ",", tensors of a list by ";" (one shape may serve all):
 *   "num_attention_heads*kv_channels,hidden_size;num_query_groups*kv_channels,hidden_size;..."
 * The Megatron shapes follow from it and the layout. */
struct br_map {
    const char *mcore;
    const char *hf;
    const char *hf_shape;
    const char *hf_fused; /* the same tensors in transformers' fused-expert layout, or NULL:
                             one [experts, sum of rows, columns] tensor                     */
    uint32_t layout;      /* enum br_layout                                                 */
    uint32_t flags;       /* enum br_map_flags                                              */
};

struct br_ignore {
    const char *hf; /* name pattern of an HF tensor that is known and not wanted */
};

/* A key of config.json that is no fact and that the family knows: harmless whatever its value
 * (value NULL), or such that `layer` computes as if it had this value, written as in config.json
 * without quotes, alternatives separated by "|": {"attention_bias", "false"}.  Absent and null are
 * always right.  Of keys without a row the core knows the usual ones; bridge notes any other, and
 * one that is known to change the forward pass keeps the model from running. */
struct br_key {
    const char *hf_key;
    const char *value;
};

/* ---- recipes --------------------------------------------------------------------------------- */

/* A row whose name has a dot is a base for others and no recipe by itself.  `set` is key=value,
 * separated by blanks; the keys are those of `bridge recipe keys`.  A key may be bound to a mode:
 * pretrain. sft. lora. dora. peft. (both adapters) finetune. (all but pretrain), or to packed.
 * ("sft.tp=2").  Besides keys: from=WORD       where the settings that follow come from, for
 * --provenance code.KEY=VALUE  what upstream's code has instead; shown by --provenance, never
 * applied example="..."   settings that the model's page shows with the recipe refuse="..." bound
 * to a mode: the recipe does not have it, and why */
struct br_recipe {
    const char *name; /* as on the model page: "qwen3_8b_pretrain_config"                       */
    const char *base; /* rows that it starts from, separated by blanks, later ones win: of this
                         plugin, or "pretrain", "finetune", "any"                               */
    const char *set;  /* "tp=2 pp=1": overrides                                                 */
};

/* ---- architectures --------------------------------------------------------------------------- */

struct br_graph;

struct br_arch {
    const char *model_type; /* config.json "model_type"                                     */
    const char *hf_class;   /* config.json "architectures"[0]                               */
    const char *toy;        /* smallest sensible config.json as "key=value ..."; tests use it */
    BR_TABLE(struct br_field) config;
    BR_TABLE(struct br_map) maps;
    BR_TABLE(struct br_ignore) ignore;
    int (*check)(struct br_config *cfg, struct br_err *err);      /* optional: derive or reject  */
    uint32_t (*layer)(struct br_graph *g, uint32_t x, int layer); /* NULL: conversion only  */
    BR_TABLE(struct br_key) keys;
};

struct br_plugin {
    uint32_t struct_size; /* sizeof(struct br_plugin) as compiled        */
    uint32_t built_with;  /* BR_VERSION of the header, for messages only */
    const char *name;     /* must match the file: bridge_<name>.so       */
    uint32_t arch_size;   /* sizeof(struct br_arch) as compiled          */
    uint32_t n_archs;
    const struct br_arch *archs;
    BR_TABLE(struct br_recipe) recipes;
};

typedef const struct br_plugin *br_plugin_fn(void);
#define BR_PLUGIN_SYMBOL "bridge_plugin_v1"

/* The one exported symbol.  In a static build the same macro appends the plugin's name. */
#ifdef BRIDGE_STATIC_PLUGIN
#define BR_PLUGIN_FN_(name) bridge_plugin_v1_##name
#define BR_PLUGIN_LINKAGE
#else
#define BR_PLUGIN_FN_(name) bridge_plugin_v1
#define BR_PLUGIN_LINKAGE __attribute__((visibility("default")))
#endif
#define BR_PLUGIN(plugin_name, arch_rows, recipe_rows)                                             \
    BR_PLUGIN_LINKAGE const struct br_plugin *BR_PLUGIN_FN_(plugin_name)(void);                    \
    const struct br_plugin *BR_PLUGIN_FN_(plugin_name)(void)                                       \
    {                                                                                              \
        static const struct br_plugin self = {                                                     \
            sizeof(struct br_plugin),                                                              \
            BR_VERSION,                                                                            \
            #plugin_name,                                                                          \
            sizeof(struct br_arch),                                                                \
            (uint32_t)BR_COUNTOF(arch_rows),                                                       \
            arch_rows,                                                                             \
            BR_ROWS(recipe_rows),                                                                  \
        };                                                                                         \
        return &self;                                                                              \
    }

#ifdef __cplusplus
}
#endif
#endif
