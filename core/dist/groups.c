/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* groups.c - the groups of ranks that Megatron trains over, and which of them hold the same ranks.
 *
 * A group is all ranks that differ along some axes of one grid; EMBED alone is not: it has those
 * stages of a pipeline that hold a copy of the embedding.
 * Source: Megatron-LM megatron/core/parallel_state.py, initialize_model_parallel; for EMBED
 * Megatron Bridge's training/setup.py, _get_embedding_ranks. */
#include "processes.h"

#include <string.h>

#define AXIS(name) (UINT32_C(1) << BR_AXIS_##name)

static const struct {
    const char *name;
    uint32_t axes;
} rules[BR_N_GROUPS] = {
    [BR_GROUP_WORLD] = {"world", AXIS(TP) | AXIS(CP) | AXIS(DP) | AXIS(PP)},
    [BR_GROUP_TP] = {"tp", AXIS(TP)},
    [BR_GROUP_PP] = {"pp", AXIS(PP)},
    [BR_GROUP_DP] = {"dp", AXIS(DP)},
    [BR_GROUP_EP_ETP] = {"ep_etp", AXIS(EP) | AXIS(ETP)},
    [BR_GROUP_EDP] = {"edp", AXIS(EDP)},
    [BR_GROUP_CP] = {"cp", AXIS(CP)},
    [BR_GROUP_DP_CP] = {"dp_cp", AXIS(DP) | AXIS(CP)},
    [BR_GROUP_TP_CP] = {"tp_cp", AXIS(TP) | AXIS(CP)},
    [BR_GROUP_TP_DP_CP] = {"tp_dp_cp", AXIS(TP) | AXIS(DP) | AXIS(CP)},
    [BR_GROUP_TP_PP] = {"tp_pp", AXIS(TP) | AXIS(PP)},
    [BR_GROUP_EP] = {"ep", AXIS(EP)},
    [BR_GROUP_ETP] = {"etp", AXIS(ETP)},
    [BR_GROUP_EP_ETP_PP] = {"ep_etp_pp", AXIS(EP) | AXIS(ETP) | AXIS(PP)},
    [BR_GROUP_EMBED] = {"embed", 0},
};

const char *br__group_name(enum br_group g)
{
    return rules[g].name;
}

static int has_table(const struct br__stages *stages, uint32_t stage)
{
    int has = 0;
    for (uint32_t c = stage; c < stages->pp * stages->vpp; c += stages->pp)
        has |= stages->chunks[c].table;
    return has;
}

static uint32_t embed_ranks(const struct br_topo *t, const struct br__stages *stages, uint32_t rank,
                            uint32_t *out)
{
    uint32_t stride = t->world / stages->pp, n = 0; /* the pipeline is the slowest axis */
    if (!has_table(stages, rank / stride))
        return 0;
    for (uint32_t s = 0; s < stages->pp; s++)
        if (has_table(stages, s))
            out[n++] = s * stride + rank % stride;
    return n;
}

uint32_t br__group_ranks(const struct br_topo *t, const struct br__stages *stages, uint32_t rank,
                         enum br_group g, uint32_t *out)
{
    if (g != BR_GROUP_EMBED)
        return br_topo_group(t, rank, rules[g].axes, out);
    return stages ? embed_ranks(t, stages, rank, out) : 0;
}

/* Two sets of axes whose groups have the same ranks give rank 0 the same group, and the other way
 * round: the ranks of rank 0's group fix the strides of all others. */
int br__groups_same(const struct br_topo *t, const struct br__stages *stages,
                    enum br_group same[BR_N_GROUPS], struct br_err *err)
{
    uint32_t *one = br__calloc(2 * (size_t)t->world, sizeof *one), *two = one + t->world;
    if (!one)
        return br__nomem(err, "for the groups of ranks");
    for (int g = 0; g < BR_N_GROUPS; g++) {
        uint32_t n = br__group_ranks(t, stages, 0, (enum br_group)g, one);
        int first = 0;
        while (br__group_ranks(t, stages, 0, (enum br_group)first, two) != n ||
               memcmp(one, two, n * sizeof *one) != 0)
            first++;
        same[g] = (enum br_group)first;
    }
    br__free(one);
    return 0;
}
