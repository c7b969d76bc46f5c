/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* topo.h - how the ranks of a world share a model: pure arithmetic, no input or output.
 *
 * Two grids over the same ranks, in Megatron's order "tp-cp-ep-dp-pp" (first axis fastest):
 * dense weights  (tp, cp, dp, pp), expert weights (etp, ep, edp, pp), with
 * tp*cp*dp = etp*ep*edp.
 * Source: Megatron-LM megatron/core/parallel_state.py, RankGenerator. */
#ifndef BRIDGE_TOPO_H
#define BRIDGE_TOPO_H

#include <bridge/base.h>

#ifdef __cplusplus
extern "C" {
#endif

enum br_axis {
    BR_AXIS_TP,
    BR_AXIS_CP,
    BR_AXIS_DP,
    BR_AXIS_PP,
    BR_AXIS_ETP,
    BR_AXIS_EP,
    BR_AXIS_EDP,
    BR_N_AXES
};

struct br_topo {
    uint32_t size[BR_N_AXES]; /* all >= 1; dp and edp follow from the others and the world */
    uint32_t world;
};

/* Sizes of 0 stand for 1, etp of 0 for tp (Megatron's default).  world 0 = the smallest that fits.
 * BR_E_USAGE prints the equation that does not hold. */
BR_API int br_topo_make(struct br_topo *t, uint32_t tp, uint32_t cp, uint32_t pp, uint32_t ep,
                        uint32_t etp, uint32_t world, struct br_err *err) BR_MUST_CHECK;
/* Coordinate of a rank along an axis, 0 <= result < size[axis]. */
BR_API uint32_t br_topo_coord(const struct br_topo *t, uint32_t rank, enum br_axis axis);
/* The ranks that differ from `rank` only along the axes of the bit set `axes` (1 << axis; axes of
 * one grid), ascending, into out[t->world]; returns how many.  Groups of one set partition the
 * world. */
BR_API uint32_t br_topo_group(const struct br_topo *t, uint32_t rank, uint32_t axes, uint32_t *out);
/* Layers [*first, *first + *n) of pipeline stage `stage`: an even split, BR_E_USAGE if there is
 * none. */
BR_API int br_topo_layers(const struct br_topo *t, uint32_t stage, uint32_t n_layers,
                          uint32_t *first, uint32_t *n, struct br_err *err) BR_MUST_CHECK;

#ifdef __cplusplus
}
#endif
#endif
