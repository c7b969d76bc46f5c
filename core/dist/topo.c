/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* topo.c - which rank holds what: coordinates and groups of Megatron's two grids.
 *
 * A grid is four axes over all ranks, the first the fastest:  rank = sum of coordinate * stride.
 * The pipeline is the last axis of both grids and has the same stride in both.
 * Source: Megatron-LM megatron/core/parallel_state.py, initialize_model_parallel (which sizes go
 * together) and generate_masked_orthogonal_rank_groups (which ranks a group holds). */
#include "dist.h"

#include <inttypes.h>

/* Far more than any job has, and small enough that the products below fit 64 bits. */
#define MAX_WORLD (UINT32_C(1) << 20)

#define GRID_AXES 4
static const enum br_axis dense_grid[GRID_AXES] = {BR_AXIS_TP, BR_AXIS_CP, BR_AXIS_DP, BR_AXIS_PP};
static const enum br_axis expert_grid[GRID_AXES] = {BR_AXIS_ETP, BR_AXIS_EP, BR_AXIS_EDP,
                                                    BR_AXIS_PP};

static const enum br_axis *grid_of(enum br_axis axis)
{
    return axis == BR_AXIS_ETP || axis == BR_AXIS_EP || axis == BR_AXIS_EDP ? expert_grid
                                                                            : dense_grid;
}

static uint32_t axes_of(const enum br_axis *grid)
{
    uint32_t bits = 0;
    for (int i = 0; i < GRID_AXES; i++)
        bits |= UINT32_C(1) << grid[i];
    return bits;
}

/* The size of one axis, 1 for 0. */
static int check_size(const char *name, uint32_t size, uint32_t *out, struct br_err *err)
{
    if (size > MAX_WORLD)
        return br_fail(err, BR_E_USAGE, "%s %" PRIu32 " is more than %" PRIu32 " ranks", name, size,
                       MAX_WORLD);
    *out = size ? size : 1;
    return BR_OK;
}

static int check_sizes(struct br_topo *t, uint32_t tp, uint32_t cp, uint32_t pp, uint32_t ep,
                       uint32_t etp, struct br_err *err)
{
    const struct {
        const char *name;
        uint32_t size;
        enum br_axis axis;
    } given[] = {
        {"tp", tp, BR_AXIS_TP},
        {"cp", cp, BR_AXIS_CP},
        {"pp", pp, BR_AXIS_PP},
        {"ep", ep, BR_AXIS_EP},
        {"etp", etp ? etp : tp, BR_AXIS_ETP},
    };
    for (size_t i = 0; i < BR_COUNTOF(given); i++) {
        int rc = check_size(given[i].name, given[i].size, &t->size[given[i].axis], err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

int br_topo_make(struct br_topo *t, uint32_t tp, uint32_t cp, uint32_t pp, uint32_t ep,
                 uint32_t etp, uint32_t world, struct br_err *err)
{
    *t = (struct br_topo){0};
    struct br_topo made = {0};
    int rc = check_sizes(&made, tp, cp, pp, ep, etp, err);
    if (rc)
        return rc;
    const uint32_t *n = made.size;
    uint64_t dense = (uint64_t)n[BR_AXIS_TP] * n[BR_AXIS_CP] * n[BR_AXIS_PP];
    uint64_t expert = (uint64_t)n[BR_AXIS_ETP] * n[BR_AXIS_EP] * n[BR_AXIS_PP];
    uint64_t ranks = world;
    if (!ranks && dense <= MAX_WORLD && expert <= MAX_WORLD)
        ranks = dense / br__gcd(dense, expert) * expert;
    if (!ranks || ranks > MAX_WORLD)
        return br_fail(err, BR_E_USAGE, "the sizes ask for more than %" PRIu32 " ranks", MAX_WORLD);
    if (ranks % dense)
        return br_fail(err, BR_E_USAGE,
                       "world %" PRIu64 " is not tp %" PRIu32 " * cp %" PRIu32 " * pp %" PRIu32
                       " * dp, for any whole dp",
                       ranks, n[BR_AXIS_TP], n[BR_AXIS_CP], n[BR_AXIS_PP]);
    if (ranks % expert)
        return br_fail(err, BR_E_USAGE,
                       "world %" PRIu64 " is not etp %" PRIu32 " * ep %" PRIu32 " * pp %" PRIu32
                       " * edp, for any whole edp",
                       ranks, n[BR_AXIS_ETP], n[BR_AXIS_EP], n[BR_AXIS_PP]);
    made.size[BR_AXIS_DP] = (uint32_t)(ranks / dense);
    made.size[BR_AXIS_EDP] = (uint32_t)(ranks / expert);
    made.world = (uint32_t)ranks;
    *t = made;
    return BR_OK;
}

uint32_t br_topo_coord(const struct br_topo *t, uint32_t rank, enum br_axis axis)
{
    const enum br_axis *grid = grid_of(axis);
    for (int i = 0; grid[i] != axis; i++)
        rank /= t->size[grid[i]];
    return rank % t->size[axis];
}

uint32_t br_topo_group(const struct br_topo *t, uint32_t rank, uint32_t axes, uint32_t *out)
{
    const enum br_axis *grid = axes & ~axes_of(dense_grid) ? expert_grid : dense_grid;
    if (axes & ~axes_of(grid))
        BR_BUG("axes %#" PRIx32 " are not of one grid", axes);

    /* The group's first rank, then each axis in turn repeats what is there at its stride: the
     * strides grow, so the ranks ascend. */
    uint32_t first = rank, n = 1, stride = 1;
    for (int i = 0; i < GRID_AXES; i++) {
        if (axes >> grid[i] & 1)
            first -= br_topo_coord(t, rank, grid[i]) * stride;
        stride *= t->size[grid[i]];
    }
    out[0] = first;
    stride = 1;
    for (int i = 0; i < GRID_AXES; i++) {
        uint32_t have = n;
        for (uint32_t c = 1; (axes >> grid[i] & 1) && c < t->size[grid[i]]; c++)
            for (uint32_t j = 0; j < have; j++)
                out[n++] = out[j] + c * stride;
        stride *= t->size[grid[i]];
    }
    return n;
}

int br_topo_layers(const struct br_topo *t, uint32_t stage, uint32_t n_layers, uint32_t *first,
                   uint32_t *n, struct br_err *err)
{
    uint32_t pp = t->size[BR_AXIS_PP];
    if (stage >= pp)
        return br_fail(err, BR_E_USAGE, "pipeline stage %" PRIu32 " of %" PRIu32, stage, pp);
    if (n_layers % pp)
        return br_fail(err, BR_E_USAGE,
                       "%" PRIu32 " layers are not pp %" PRIu32 " * layers of a stage; take a pp "
                       "that divides the number of layers",
                       n_layers, pp);
    *n = n_layers / pp;
    *first = stage * *n;
    return BR_OK;
}
