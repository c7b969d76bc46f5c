/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pattern_fuzz.c - name patterns and shape expressions of a plugin's weight rules.  Input: pattern,
 * newline, name to match, newline, shape expression. */
#include "model/model.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_pattern(const char *text, const char *name)
{
    struct br__pattern p;
    struct br__arena a = {0};
    if (br__pattern_parse(text, &p, NULL))
        return;
    for (int item = 0; item < p.n_list; item++) {
        const char *full = br__pattern_name(&a, &p, 3, 5, item);
        const char *stacked = br__pattern_name(&a, &p, -1, 5, item);
        if (!full || !stacked || strchr(full, '{') || strchr(stacked, '{'))
            abort(); /* a parsed pattern always gives names without placeholders */
        if (!br__pattern_match(&p, full))
            abort(); /* and matches every name that it gives */
    }
    (void)br__pattern_match(&p, name);
    br__arena_free(&a);
}

static void try_shape(const char *expr)
{
    struct br_config cfg;
    int64_t shape[BR_MAX_DIMS];
    int ndim;
    memset(&cfg, 0, sizeof cfg);
    br_cfg_set(&cfg, BR_CFG_HIDDEN_SIZE, 64);
    br_cfg_set(&cfg, BR_CFG_NUM_ATTENTION_HEADS, 4);
    br_cfg_set(&cfg, BR_CFG_KV_CHANNELS, 2147483647);
    for (int item = 0; item < 3; item++) {
        if (br__shape_eval(expr, item, &cfg, shape, &ndim, NULL))
            continue;
        for (int i = 0; i < ndim; i++)
            if (shape[i] < 0)
                abort(); /* a product that wrapped */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[512];
    if (size >= sizeof text || memchr(data, 0, size))
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    char *name = strchr(text, '\n');
    if (name)
        *name++ = '\0';
    char *shape = name ? strchr(name, '\n') : NULL;
    if (shape)
        *shape++ = '\0';
    try_pattern(text, name ? name : "");
    try_shape(shape ? shape : "");
    return 0;
}
