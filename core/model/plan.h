/* plan.h - shared by the files that make a plan (plan.c, plan_report.c, plan_layout.c) and by
 * nobody else. */
#ifndef BRIDGE_CORE_PLAN_H
#define BRIDGE_CORE_PLAN_H

#include "model.h"

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

int br__plan_nomem(struct br_err *err);
int br__plan_skip(struct br__planner *pl, const char *fmt, ...) BR_PRINTF(2, 3);

/* plan_report.c: with --not-strict these only list; otherwise they collect, and br__misfit_end
 * fails. */
int br__misfit_missing(struct br__planner *pl, const char *name);
int br__misfit_unexpected(struct br__planner *pl, const char *name);
int br__misfit_add(struct br__planner *pl, const char *fmt, ...) BR_PRINTF(2, 3);
int br__misfit_end(struct br__planner *pl);

/* plan.c */
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
int br__check_scales(struct br__planner *pl, const struct br__tensor *s);

/* plan_layout.c: outputs, pieces and segments from the bound expansion. */
int br__plan_lay_out(struct br__planner *pl);

/* plan_shards.c: export: which HF file holds which output.  order[i]: outputs in the order in which
 * they are stored. */
int br__plan_shards(struct br__planner *pl, uint32_t *order);

#endif
