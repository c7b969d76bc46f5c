/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* yaml_fuzz.c - libFuzzer target: run_config.yaml.
 *
 * Every scalar of an accepted document is asked for every kind of value, every key is looked up. */
#include "../../core/format/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What reads as a number must, written, read as the same number. */
static void check_number(struct br__arena *a, double v)
{
    struct br__buf text = {0};
    struct br__yaml *y;
    double again;

    br__yaml_put_double(&text, v);
    if (text.failed || br__yaml_parse(a, text.p, text.n, &y, NULL) || br__yaml_f64(y, &again))
        abort();
    if (again != v && !(isnan(again) && isnan(v)))
        abort();
    br__buf_free(&text);
}

static void walk(struct br__arena *a, const struct br__yaml *y)
{
    double v;
    int b;

    if (y->kind == BR__YAML_SCALAR) {
        int kinds = br__yaml_is_null(y) + (br__yaml_bool(y, &b) == BR_OK);
        if (br__yaml_f64(y, &v) == BR_OK) {
            kinds++;
            check_number(a, v);
        }
        if (kinds > 1 || (kinds && !y->plain))
            abort();
        return;
    }
    for (size_t i = 0; i < y->n; i++) {
        if (y->kind == BR__YAML_MAP && !strchr(y->keys[i], '.') &&
            br__yaml_get(y, y->keys[i]) != y->items[i])
            abort();
        walk(a, y->items[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__yaml *y;

    int rc = br__yaml_parse(&a, (const char *)data, size, &y, &err);
    if (rc == BR_OK)
        walk(&a, y);
    else if (!err.msg[0] || y)
        abort(); /* a refusal says why, and gives nothing */
    br__arena_free(&a);
    return 0;
}
