/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_ranks.c - what the plan of a run over several processes says beside the numbers of its own
 * rank: which rank needs the most memory, and how long a step takes. */
#include "state.h"

/* What the ranks of the stage that this process pretends to be in need, but for the program. */
static int stage_bytes(const struct br__train *t, double *out, struct br_err *err)
{
    struct br__train *u = br__calloc(1, sizeof *u);

    if (!u)
        return br__nomem(err, "for an estimate");
    u->run = t->run;
    u->o = (struct br__training_opts){
        .plugin = t->o.plugin, .device = t->o.device, .threads = t->o.threads, .dry = 1};
    u->is_sample = 1;
    int rc = br__train_open_parts(u, err);
    *out = u->total_bytes - u->program_bytes;
    br__train_close(u);
    return rc;
}

static void note_bytes(struct br__train *t, uint32_t rank, double bytes)
{
    if (bytes <= t->most_bytes)
        return;
    t->most_bytes = bytes;
    t->most_rank = rank;
}

/* A dry run asks no other rank: rank 0 looks at the first rank of each stage.  Stages are outermost
 * in the order of the ranks, and the ranks of one have the same shapes.  Without a layout all but
 * the first and the last have as many layers, and an earlier one has more micro batches at once. */
static int find_most_alone(struct br__train *t, struct br_err *err)
{
    uint32_t size = br__procs_size(), pp = t->run->topo.size[BR_AXIS_PP];
    int rc = BR_OK;

    note_bytes(t, 0, t->total_bytes);
    for (uint32_t s = 1; s < pp && !rc; s++) {
        double bytes = 0;
        if (!t->run->stages.layout && s > 1 && s + 1 < pp)
            continue;
        br__procs_pretend(s * (size / pp), size);
        rc = stage_bytes(t, &bytes, err);
        note_bytes(t, s * (size / pp), bytes + t->program_bytes);
    }
    br__procs_pretend(0, size);
    return rc;
}

static int find_most(struct br__train *t, struct br_err *err)
{
    uint32_t size = br__procs_size();
    int64_t *all = br__calloc(size, sizeof *all);
    int rc = br__procs_agree(all ? BR_OK : br__nomem(err, "for %u ranks", size), err);

    if (!rc) {
        all[br__procs_rank()] = (int64_t)t->total_bytes;
        rc = br__procs_sum(all, size, BR_I64, err);
    }
    for (uint32_t r = 0; r < size && !rc; r++)
        note_bytes(t, r, (double)all[r]);
    br__free(all);
    return rc;
}

/* This host, which carries out as many of the ranks as the launcher says, is measured as one
 * rank. */
static int find_pace(struct br__train *t, struct br_err *err)
{
    uint32_t rank = br__procs_rank(), size = br__procs_size(), here = br__launch_local();

    if (!t->o.pace || !here)
        return BR_OK;
    br__procs_pretend(0, 0);
    int rc = br__train_pace(t, err);
    br__procs_pretend(rank, size);
    t->pace.step *= (double)here / size;
    t->pace.eval *= (double)here / size;
    return rc;
}

int br__train_plan_ranks(struct br__train *t, struct br_err *err)
{
    if (!br__procs_pretends())
        return find_most(t, err);
    if (br__procs_rank())
        return BR_OK; /* rank 0 prints */
    int rc = find_most_alone(t, err);
    return rc ? rc : find_pace(t, err);
}
