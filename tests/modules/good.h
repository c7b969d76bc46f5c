/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* good.h - the rows that the test plugins have in common: one architecture with one weight. */
#include <bridge/plugin.h>

#define GOOD_TOY "num_hidden_layers=2 hidden_size=64"
#define GOOD_MAP                                                                                   \
    {                                                                                              \
        "decoder.final_layernorm.weight", "model.norm.weight", "hidden_size", NULL,                \
            BR_LAYOUT_COPY, BR_MAP_EXTRA_STATE                                                     \
    }
