/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* dist.h - the door of core/dist: the ranks of this process, and where each is among all.
 *
 * <bridge/topo.h> computes coordinates and groups of Megatron's grids.  This folder knows ranks,
 * groups, communicators and the threads that ranks run on; it knows no tensor and no model. */
#ifndef BRIDGE_CORE_DIST_H
#define BRIDGE_CORE_DIST_H

#include "../base/base.h"
#include <bridge/backend.h>
#include <bridge/topo.h>

/* A rank's place in the world. */
struct br__rank_info {
    struct br_topo topo;
    uint32_t rank;
    struct br_comm *comms[BR_N_GROUPS]; /* NULL where the group is this rank alone */
};

/* ---- world.c: all ranks as threads of this process ------------------------------------------- */

struct br__world;
/* Start the ranks of topology t: t->world - 1 threads, which stay until br__world_close; rank 0 is
 * whoever calls br__world_run.  devices[t->world] join the plane; a single rank needs neither. */
int br__world_open(struct br__world **out, const struct br_topo *t, const struct br_plane *plane,
                   void *const *devices, struct br_err *err) BR_MUST_CHECK;
void br__world_close(struct br__world *w); /* NULL is fine */
const struct br__rank_info *br__world_rank(const struct br__world *w, uint32_t rank);
/* Run fn once on every rank and wait for all.  A rank that fails aborts the others' collectives;
 * the error is the first by rank that is more than BR_E_COMM, which only reports another's.
 * Callers on several threads take turns. */
int br__world_run(struct br__world *w, int (*fn)(void *arg, uint32_t rank, struct br_err *err),
                  void *arg, struct br_err *err) BR_MUST_CHECK;

#endif
