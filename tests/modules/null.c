/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* null - exports the symbol and returns nothing. */
#include <bridge/plugin.h>

br_plugin_fn bridge_plugin_v1;
__attribute__((visibility("default"))) const struct br_plugin *bridge_plugin_v1(void)
{
    return NULL;
}
