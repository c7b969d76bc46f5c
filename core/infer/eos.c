/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* eos.c - the ids that end a sequence, by the model's own files. */
#include "infer_internal.h"

#include <string.h>

static size_t add_id(const br__json *e, int32_t *ids, size_t n)
{
    double id = br__json_num(e, -1);
    if (id >= 0 && id <= INT32_MAX && n < BR__MAX_EOS)
        ids[n++] = (int32_t)id;
    return n;
}

/* eos_token_id of a JSON text: a number or a list of them. */
static size_t read_ids(const char *text, int32_t *ids)
{
    br__json *j = NULL;
    size_t n = 0;
    if (!text || br__json_parse(&j, text, strlen(text), NULL))
        return 0;
    const br__json *e = br__json_get(j, "eos_token_id");
    if (br__json_kind(e) == 'n')
        n = add_id(e, ids, n);
    for (e = br__json_kind(e) == 'a' ? br__json_first(e) : NULL; e; e = br__json_next(e))
        n = add_id(e, ids, n);
    br__json_free(j);
    return n;
}

size_t br__eos_ids(const struct br__llm *m, int32_t ids[BR__MAX_EOS])
{
    const struct br__model_source *s = br__llm_weights(m)->src;
    size_t n = read_ids(s->generation_text, ids);
    return n ? n : read_ids(s->config_text, ids);
}
