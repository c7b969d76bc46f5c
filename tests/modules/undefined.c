/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* undefined - needs a function that nobody has: refused at load, not at the first call. */
#include "good.h"

int nobody_defines_this(struct br_config *cfg, struct br_err *err);

static const struct br_map maps[] = {GOOD_MAP};
static const struct br_arch archs[] = {{
    .model_type = "undefined",
    .hf_class = "UndefinedForCausalLM",
    .toy = GOOD_TOY,
    .maps = BR_ROWS(maps),
    .check = nobody_defines_this,
}};
static const struct br_recipe recipes[] = {{"r", "pretrain", "tp=1"}};

BR_PLUGIN(undefined, archs, recipes)
