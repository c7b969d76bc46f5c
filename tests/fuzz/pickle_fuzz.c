/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pickle_fuzz.c - libFuzzer target: the pickle machine.
 *
 * Input: a pickle.  Whatever it is, memory must stay in proportion to it, a refusal must say why,
 * and an accepted value must be printable and searchable although it may be shared and cyclic. */
#include "../../core/format/torch/torch.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look_at(const struct br__pk *v)
{
    struct br__buf text = {0};

    br__pk_repr(&text, v);
    if (text.failed || text.n == 0)
        abort();
    br__buf_free(&text);
    br__pk_get(v, "state_dict_metadata");
    br__pk_is(v, "torch.*", "Metadata");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct br__pk_limits tight = {.max_nodes = 64, .max_depth = 8};
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__pk *v = NULL;

    int rc = br__pk_load(&a, data, size, NULL, &v, &err);
    if (rc == BR_OK)
        look_at(v);
    else if (v || !err.msg[0] || err.code != rc)
        abort();
    if (a.total > 4096 + 64 * size)
        abort();
    br__arena_free(&a);

    if (br__pk_load(&a, data, size, &tight, &v, NULL) == BR_OK)
        look_at(v);
    br__arena_free(&a);
    return 0;
}
