/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* recommended.c - sampling as the model's own generation_config.json asks for it. */
#include "infer.h"

#include <string.h>

/* A number of the file within [least, most], else what transformers takes without one. */
static double number_of(const br__json *j, const char *key, double dflt, double least, double most)
{
    double v = br__json_num(br__json_get(j, key), dflt);
    return v >= least && v <= most ? v : dflt;
}

int br__recommended_sampling(const struct br__llm *m, struct br__sample_opts *o)
{
    const char *text = br__llm_weights(m)->src->generation_text;
    br__json *j = NULL;
    *o = (struct br__sample_opts)BR__SAMPLE_GREEDY;
    if (!text || br__json_parse(&j, text, strlen(text), NULL))
        return 0;
    int samples = br__json_bool(br__json_get(j, "do_sample"), 0);
    if (samples) {
        o->temperature = number_of(j, "temperature", 1, 0, 1e6);
        o->top_k = (uint64_t)number_of(j, "top_k", 50, 0, INT32_MAX);
        o->top_p = number_of(j, "top_p", 1, 0, 1);
        o->min_p = number_of(j, "min_p", 0, 0, 1);
    }
    o->repetition_penalty = number_of(j, "repetition_penalty", 1, 1e-6, 1e6);
    br__json_free(j);
    return samples && o->temperature > 0;
}
