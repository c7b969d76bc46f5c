/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* dist.h - the door of core/dist: the ranks of this process, and where each is among all.
 *
 * <bridge/topo.h> computes coordinates and groups of Megatron's grids.  This folder knows ranks,
 * groups, communicators, pipeline schedules and the threads that ranks run on; it knows no tensor
 * and no model. */
#ifndef BRIDGE_CORE_DIST_H
#define BRIDGE_CORE_DIST_H

#include "../base/base.h"
#include <bridge/backend.h>
#include <bridge/topo.h>

/* A rank's place in the world. */
struct br__rank_info {
    struct br_topo topo;
    uint32_t rank;
    /* NULL where the group is this rank alone, or has it not.  Groups of the same ranks share one.
     */
    struct br_comm *comms[BR_N_GROUPS];
};

/* ---- groups.c: which ranks a group holds ----------------------------------------------------- */

const char *br__group_name(enum br_group g); /* "dp_cp" */
/* The ranks of that group g which has `rank`, ascending, into out[t->world]; returns how many, 0
 * where no group g has it. */
uint32_t br__group_ranks(const struct br_topo *t, uint32_t rank, enum br_group g, uint32_t *out);
/* same[g]: the first of enum br_group whose groups are, for every rank, those of g. */
int br__groups_same(const struct br_topo *t, enum br_group same[BR_N_GROUPS],
                    struct br_err *err) BR_MUST_CHECK;

/* ---- stages.c: which layers a pipeline stage has --------------------------------------------- */

struct br__stage_opts {
    uint32_t n_layers, n_mtp, pp;
    uint32_t vpp;         /* chunks of a stage; 0: as the layout says, or 1 */
    uint32_t first, last; /* layers of the first and of the last stage; 0: as many as the others */
    int embedding, loss;  /* these count as a layer of the first, of the last stage */
    const char *layout;   /* Megatron's notation, "Ettt|(tt|)*2,tmL"; NULL: none */
};
/* A part of the model that a stage runs at once. */
struct br__chunk {
    uint32_t first, n_layers; /* decoder layers [first, first + n_layers) */
    uint32_t n_mtp;           /* prediction layers */
    int embedding, head;      /* has the embedding; has the last norm, output layer and loss */
};
struct br__stages {
    uint32_t pp, vpp;
    struct br__chunk
        *chunks; /* [vpp * pp], in the model's order: chunk c of stage s is c * pp + s */
};
/* The chunks, in the arena.  BR_E_CONFIG: the settings do not fit each other or the model. */
int br__stages_make(struct br__arena *a, const struct br__stage_opts *o, struct br__stages *out,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- pipeline.c: what each stage does in a step ---------------------------------------------- */

struct br__pipe_opts {
    uint32_t pp, vpp, micro_batches;
    uint32_t group;   /* micro batches that go through a chunk one after another; 0: pp */
    int forward_only; /* evaluation */
};
/* One pass of one micro batch through one chunk of the stage. */
struct br__job {
    uint32_t micro_batch, chunk;
    uint32_t backward;
    uint32_t frame; /* where its activations are, forward to backward; < n_frames */
};
/* An activation, or the gradient of one, between neighbours in the ring of stages.  micro_batch and
 * chunk are those of the job on this side that made it or needs it. */
struct br__message {
    uint32_t peer; /* stage */
    uint32_t is_send, is_grad;
    uint32_t micro_batch, chunk;
    uint32_t tag; /* the same number on both sides, and of no other message of a step */
};
/* A stage's step: before job i it exchanges messages [exchange[i], exchange[i + 1]) with its peers,
 * all at once, and the rest, from exchange[n_jobs] on, when all jobs are done. */
struct br__pipe {
    uint32_t stage, n_jobs, n_messages;
    uint32_t warmup;   /* forward passes before the first backward pass is due */
    uint32_t n_frames; /* that are in use at once */
    struct br__job *jobs;
    struct br__message *messages;
    uint32_t *exchange; /* [n_jobs + 2] */
};
/* BR_E_CONFIG where Megatron has no schedule: interleaving (vpp > 1) needs pp <= group <=
 * micro_batches, and a last group that is whole or has at least pp micro batches. */
int br__pipe_check(const struct br__pipe_opts *o, struct br_err *err) BR_MUST_CHECK;
/* What `stage` does, in the arena: 1F1B, or interleaved with vpp > 1. */
int br__pipe_make(struct br__arena *a, const struct br__pipe_opts *o, uint32_t stage,
                  struct br__pipe *out, struct br_err *err) BR_MUST_CHECK;

/* ---- pipeline_run.c: all stages' steps, played in time --------------------------------------- */

/* How long things take, in seconds. */
struct br__pipe_costs {
    void *arg;
    double (*job)(void *arg, uint32_t stage, const struct br__job *job);
    /* From when both sides are there. */
    double (*message)(void *arg, uint32_t stage, const struct br__message *sent);
};
struct br__pipe_times {
    double **start, **end; /* [pp][n_jobs] seconds */
    double total;          /* when the last stage is done */
};
/* Play stages[pp], which belong together: a send is over when its receiver is there (rendezvous).
 * BR_E_COMM: a message without its other side, out of order between two stages, or stages that
 * wait for each other for ever.  Times are in the arena. */
int br__pipe_run(struct br__arena *a, const struct br__pipe *stages, uint32_t pp,
                 const struct br__pipe_costs *costs, struct br__pipe_times *out,
                 struct br_err *err) BR_MUST_CHECK;

/* ---- plane.c: processes that a launcher started ---------------------------------------------- */

#define BR__MAX_PROCESSES (1 << 20)
struct br__launch {
    const char *plane;   /* "mpich", "openmpi"; NULL: this process is alone */
    uint32_t rank, size; /* of the processes */
};
/* By the launcher's environment.  BR_E_USAGE: it contradicts itself. */
int br__launch_find(struct br__launch *out, struct br_err *err) BR_MUST_CHECK;
/* The plane of a module; it stays loaded.  Its ranks are joined by one thread of each process,
 * which makes all calls. */
int br__plane_open(const char *path, struct br_plane *out, struct br_err *err) BR_MUST_CHECK;

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
