/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan.h - making a plan.
 *
 *   plan.c          binds every tensor of the source to a rule, or says why not
 *   plan_layout.c   outputs, pieces and segments from what is bound
 *   plan_shards.c   export: which file holds which output
 *   plan_report.c   what does not fit
 *   plan_util.c     names, notes, what was skipped */
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
    const struct br__slot *src_slots;
    size_t n_src_slots;
    uint32_t *bound; /* [n_src_slots] source tensor, or BR__NOT_FOUND */
    int drop_mtp;
    size_t n_dropped;
    struct br__buf report; /* what does not fit, first names of each kind */
    size_t n_missing, n_unexpected, n_misfit;
    const char *first_missing, *first_unexpected;
};

/* ---- plan_util.c ----------------------------------------------------------------------------- */

int br__plan_nomem(struct br_err *err);
int br__plan_note(struct br__plan *p, const char *fmt, ...) BR_PRINTF(2, 3);
int br__plan_skip(struct br__planner *pl, const char *fmt, ...) BR_PRINTF(2, 3);
/* The name pattern of a rule on one side. */
const char *br__map_side(const struct br_map *m, int hf_side);
/* Does the name (of the HF or the Megatron side) belong to a multi-token-prediction layer? */
int br__plan_is_mtp(const struct br__arch *arch, const char *name, int hf_side);
/* Is the HF name one that the architecture knows and does not want? */
int br__plan_is_ignored(const struct br__arch *arch, const char *name);
/* Does any tensor of the HF checkpoint match a fused-expert pattern of the rules? */
int br__plan_has_fused(const struct br__arch *arch, const struct br__ckpt *ck);
/* A Megatron key under any of its spellings. */
const struct br__tensor *br__plan_find_key(const struct br__ckpt *ck, const char *name);
/* Keys of a training checkpoint that are no weights. */
int br__plan_is_training_state(const char *key);

/* plan_report.c: with --not-strict these only list; otherwise they collect, and br__misfit_end
 * fails. */
int br__misfit_missing(struct br__planner *pl, const char *name);
int br__misfit_unexpected(struct br__planner *pl, const char *name);
int br__misfit_add(struct br__planner *pl, const char *fmt, ...) BR_PRINTF(2, 3);
int br__misfit_end(struct br__planner *pl);

/* plan_layout.c: outputs, pieces and segments from the bound expansion. */
int br__plan_lay_out(struct br__planner *pl);

/* plan_shards.c: export: which HF file holds which output.  order[i]: outputs in the order in which
 * they are stored. */
int br__plan_shards(struct br__planner *pl, uint32_t *order);

#endif
