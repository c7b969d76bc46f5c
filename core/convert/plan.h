/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan.h - making a plan.
 *
 *   plan.c          binds every tensor of the source to a rule (core/model), or says why not
 *   plan_layout.c   outputs, pieces and segments from what is bound
 *   plan_shards.c   export: which file holds which output */
#ifndef BRIDGE_CORE_PLAN_H
#define BRIDGE_CORE_PLAN_H

#include "convert.h"

struct br__planner {
    struct br__plan *p;
    const struct br__plan_opts *o;
    struct br_err *err;
    int src_is_hf; /* import */
};
static inline int br__plan_nomem(struct br_err *err)
{
    return br__nomem(err, "planning the conversion");
}

/* plan_layout.c: outputs, pieces and segments from the bound expansion. */
int br__plan_lay_out(struct br__planner *pl);

/* plan_shards.c: export: which HF file holds which output.  order[i]: outputs in the order in which
 * they are stored. */
int br__plan_shards(struct br__planner *pl, uint32_t *order);

#endif
