/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
#include "libtrainstate.h"

#include <stdlib.h>
#include <string.h>

static struct br_err err;

struct br__ckpt *open_case(const char *name)
{
    char root[512];
    struct br__ckpt *ck;
    snprintf(root, sizeof root, "%s%s/torch_dist", TRAIN_CASES, name);
    must(br__ckpt_open(&ck, root, &err), &err);
    return ck;
}

struct br__train_state *open_state(const struct br__ckpt *ck)
{
    struct br__train_state *s;
    must(br__train_state_open(&s, ck, &err), &err);
    return s;
}

uint64_t state_elements(const struct br__train_param *p)
{
    return p->weight->bytes / br_dtype_size(p->weight->dtype);
}

float *read_state(const struct br__train_state *s, size_t i, int kind)
{
    size_t n = (size_t)state_elements(&s->params[i]);
    float *out = malloc((n + 1) * sizeof *out);
    must(br__train_state_read(s, i, kind, 0, out, n, &err), &err);
    return out;
}

size_t find_state(const struct br__train_state *s, const char *name)
{
    for (size_t i = 0; i < s->n_params; i++)
        if (strcmp(s->params[i].weight->name, name) == 0)
            return i;
    ck_abort_msg("no '%s'", name);
    return 0;
}

uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}
