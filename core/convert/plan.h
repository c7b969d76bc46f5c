/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan.h - making a plan.
 *
 *   plan.c          binds every tensor of the source to a rule (core/model), or says why not
 *   plan_layout.c   outputs, pieces and segments from what is bound
 *   plan_shards.c   export: which file holds which output */
#ifndef BRIDGE_CORE_PLAN_H
#define BRIDGE_CORE_PLAN_H

#include "convert.h"

struct br__plan_opts {
    unsigned flags;              /* enum br_job_flags */
    int dtype;                   /* cast every float tensor; BR_NONE = keep */
    int64_t pad_vocab_to;        /* import: rows become a multiple of this; 0 = no padding */
    const struct br__ckpt *like; /* verify: follow the layout of this torch_dist checkpoint */
    const struct br__ckpt
        *ref; /* export: HF reference whose shard map, dtypes and layout are kept, or NULL */
    uint64_t max_shard_size;
};
/* Every check of a conversion happens here, before a byte is written.  BR_E_PLAN names missing,
 * unexpected, misshapen tensors; BR_E_UNSUPPORTED foreign dialects. */
int br__plan_make(struct br__plan **out, int direction, struct br_config *cfg,
                  const struct br__ckpt *src, const struct br__plan_opts *o,
                  struct br_err *err) BR_MUST_CHECK;
void br__plan_free(struct br__plan *p);

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
