/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* newer - a plugin built with a header from after today's: every struct and row has one more
 * member. NAME, ROW_TAIL, ARCH_TAIL and PLUGIN_TAIL come from the build: with all tails zero it
 * loads, with one of them set it wants something that this host cannot know. */
#include "good.h"

#define STRING_(x) #x
#define STRING(x) STRING_(x)

struct new_field {
    struct br_field today;
    uint64_t tail;
};
struct new_map {
    struct br_map today;
    const char *tail;
};
struct new_arch {
    struct br_arch today;
    uint64_t tail;
};
struct new_plugin {
    struct br_plugin today;
    uint64_t tail;
};

static const struct new_field config[] = {
    {BR_FACT(QK_LAYERNORM, 1), 0},
    {BR_FROM(HIDDEN_SIZE, "hidden_size"), ROW_TAIL},
};
static const struct new_map maps[] = {{GOOD_MAP, NULL}};
static const struct new_arch archs[] = {{
    {
        .model_type = STRING(NAME),
        .hf_class = "NewerForCausalLM",
        .toy = GOOD_TOY,
        .config = {&config[0].today, BR_COUNTOF(config), sizeof config[0]},
        .maps = {&maps[0].today, BR_COUNTOF(maps), sizeof maps[0]},
    },
    ARCH_TAIL,
}};
static const struct new_plugin self = {
    {
        .struct_size = sizeof self,
        .built_with = 10300,
        .name = STRING(NAME),
        .arch_size = sizeof archs[0],
        .n_archs = 1,
        .archs = &archs[0].today,
    },
    PLUGIN_TAIL,
};

br_plugin_fn bridge_plugin_v1;
__attribute__((visibility("default"))) const struct br_plugin *bridge_plugin_v1(void)
{
    return &self.today;
}
