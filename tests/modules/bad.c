/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bad - plugins that each break one rule.  The build makes bridge_bad_<rule>.so with
 * BAD=BAD_<rule>; everything that is not the rule in question is right. */
#include "good.h"

/* The rules; tests/CMakeLists.txt builds each, test_registry.c has the words it must answer. */
enum {
    BAD_field,      /* a fact that this host does not have      */
    BAD_flags,      /* an unknown flag of a config row          */
    BAD_layout,     /* an unknown layout                        */
    BAD_mapflags,   /* an unknown flag of a map row             */
    BAD_nokey,      /* a row without its key                    */
    BAD_facttext,   /* a text fact without a text               */
    BAD_nullhf,     /* a map row without the HF pattern         */
    BAD_empty,      /* an empty model_type                      */
    BAD_notoy,      /* an architecture without a toy            */
    BAD_nomaps,     /* an architecture without weights          */
    BAD_noarch,     /* no architecture                          */
    BAD_manyarchs,  /* an absurd count                          */
    BAD_wildrows,   /* rows outside of the plugin               */
    BAD_wildtext,   /* a text outside of the plugin             */
    BAD_wildself,   /* a descriptor outside of the plugin       */
    BAD_toolong,    /* more rows than there are                 */
    BAD_rowsize,    /* a row size that no struct has            */
    BAD_hugerow,    /* a row size beyond reason                 */
    BAD_structsize, /* a descriptor size beyond reason         */
    BAD_wildcheck,  /* a function outside of the plugin         */
    BAD_datalayer,  /* a function that is data of the plugin    */
    BAD_name        /* another name than the file's             */
};

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define IF(rule, bad, good) (BAD == BAD_##rule ? (bad) : (good))
#define NOWHERE 0x10 /* an address in the first page, never mapped */

static const struct br_field config[] = {
    BR_FACT(QK_LAYERNORM, 1),
    {IF(field, 5000u, (unsigned)BR_CFG_HIDDEN_SIZE),
     IF(flags, 0x4000u, (unsigned)BR_FIELD_REQUIRED), IF(nokey, NULL, "hidden_size"), 0, NULL},
    {BR_CFG_MOE_ROUTER_DTYPE, BR_FIELD_FACT, NULL, 0, IF(facttext, NULL, "fp32")},
};
static const struct br_map maps[] = {
    GOOD_MAP,
    {"output_layer.weight", IF(nullhf, NULL, "lm_head.weight"), "vocab_size,hidden_size", NULL,
     IF(layout, 77u, (unsigned)BR_LAYOUT_COPY), IF(mapflags, 0x8000u, 0u)},
};
static const struct br_arch archs[] = {{
    .model_type = IF(empty, "", "bad"),
    .hf_class = IF(wildtext, (const char *)NOWHERE, "BadForCausalLM"),
    .toy = IF(notoy, NULL, GOOD_TOY),
    .config = {config, IF(toolong, 4000u, 3u),
               IF(rowsize, 12u, IF(hugerow, 1u << 20, (unsigned)sizeof config[0]))},
    .maps = {IF(wildrows, (const struct br_map *)NOWHERE, maps), IF(nomaps, 0u, 2u),
             sizeof maps[0]},
    .check = IF(wildcheck, (int (*)(struct br_config *, struct br_err *))NOWHERE, NULL),
    .layer = IF(datalayer, (uint32_t(*)(struct br_graph *, uint32_t, int))(uintptr_t)maps, NULL),
}};
static const struct br_plugin self = {
    .struct_size = IF(structsize, 1u << 30, (unsigned)sizeof self),
    .built_with = 10203,
    .name = IF(name, "other", STRING(NAME)),
    .arch_size = sizeof archs[0],
    .n_archs = IF(noarch, 0u, IF(manyarchs, 4000000000u, 1u)),
    .archs = archs,
};

br_plugin_fn bridge_plugin_v1;
__attribute__((visibility("default"))) const struct br_plugin *bridge_plugin_v1(void)
{
    return IF(wildself, (const struct br_plugin *)NOWHERE, &self);
}
