/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* dist.h - the door of core/dist: where a rank is among all ranks.
 *
 * <bridge/topo.h> computes coordinates and groups of Megatron's grids.  This folder knows ranks,
 * groups and communicators; it knows no tensor and no model. */
#ifndef BRIDGE_CORE_DIST_H
#define BRIDGE_CORE_DIST_H

#include "../base/base.h"
#include <bridge/backend.h>
#include <bridge/topo.h>

/* A rank's place in the world. */
struct br__place {
    struct br_topo topo;
    uint32_t rank;
    struct br_comm *comms[BR_N_GROUPS]; /* NULL where the group is this rank alone */
};
/* Rank `rank` of topology t, with no communicators yet. */
void br__place_init(struct br__place *p, const struct br_topo *t, uint32_t rank);

#endif
