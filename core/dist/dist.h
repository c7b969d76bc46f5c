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
    /* The same for buffers in host memory: the same ones where the device is the host. */
    struct br_comm *host[BR_N_GROUPS];
    struct br__commq *queue; /* of those of host memory; NULL where there are none */
};

/* ---- groups.c: which ranks a group holds ----------------------------------------------------- */

const char *br__group_name(enum br_group g); /* "dp_cp" */
struct br__stages;
/* The ranks of that group g which has `rank`, ascending, into out[t->world]; returns how many, 0
 * where no group g has it.  stages: of t's pipeline, which say who is in EMBED; NULL: nobody is. */
uint32_t br__group_ranks(const struct br_topo *t, const struct br__stages *stages, uint32_t rank,
                         enum br_group g, uint32_t *out);

/* ---- stages.c: which layers a pipeline stage has --------------------------------------------- */

struct br__stage_opts {
    uint32_t n_layers, n_mtp, pp;
    uint32_t vpp;         /* chunks of a stage; 0: as the layout says, or 1 */
    uint32_t first, last; /* layers of the first and of the last stage; 0: as many as the others */
    int embedding, loss;  /* these count as a layer of the first, of the last stage */
    const char *layout;   /* Megatron's notation, "Ettt|(tt|)*2,tmL"; NULL: none */
    int tied;             /* the output layer is the embedding */
};
/* A part of the model that a stage runs at once. */
struct br__chunk {
    uint32_t first, n_layers; /* decoder layers [first, first + n_layers) */
    uint32_t n_mtp;           /* prediction layers */
    int embedding, head;      /* has the embedding; has the output layer and loss */
    int table; /* has a copy of the embedding's weight: for that, a tied output layer or prediction
                */
    uint32_t n_in; /* hidden states of a token that come in: 0 with the embedding, 1 behind it, and
                      behind the prediction layers 1 more for each of them */
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
    const char *plane;   /* "mpich", "openmpi", "torchrun"; NULL: this process is alone */
    uint32_t rank, size; /* of the processes */
    uint32_t local;      /* of torchrun: the number on its host, LOCAL_RANK */
};
/* By the launcher's environment.  BR_E_USAGE: it contradicts itself. */
int br__launch_find(struct br__launch *out, struct br_err *err) BR_MUST_CHECK;
/* How many processes it has started on this host; 0: it does not say. */
uint32_t br__launch_local(void);

/* ---- procs.c: this process as one of several ------------------------------------------------- */

/* A record that another rank sent to rank 0 (br__procs_tell); called by the control thread. */
typedef void br__procs_heard(void *ud, uint32_t rank, uint32_t kind, const void *p, size_t n);

struct br__procs_opts {
    const char *module; /* the MPI's: comm_mpich.so, comm_openmpi.so; NULL: the device's plane */
    const struct br_backend *backend; /* of the device, which is open to the end; else NULL */
    void *device;
    struct br__launch launch;
    int timeout; /* seconds that a rank may wait for others that do nothing */
    /* The ranks cannot go on: one is gone, or hangs, or failed while this one was at work.  By the
     * control thread: what this rank is to say of it, where it is to say something; then the
     * process is to end at once with that status. */
    void (*say)(const char *text);
    void (*leave)(int rc);
};
/* Become the rank that the launcher made of this process; once.  Without it, or after it failed,
 * the process is alone. */
int br__procs_open(const struct br__procs_opts *o, struct br_err *err) BR_MUST_CHECK;
uint32_t br__procs_rank(void); /* 0 if alone */
uint32_t br__procs_size(void); /* 1 if alone */
/* This rank's number among those of its host that see the same devices (CUDA_VISIBLE_DEVICES), as
 * the device that it is to use. */
uint32_t br__procs_local(void);
/* Of a plan that carries nothing out: be that rank of so many, without the others.  There are no
 * communicators then, and what ranks tell each other stays what this one says. */
void br__procs_pretend(uint32_t rank, uint32_t size);
int br__procs_pretends(void); /* it was called */
/* Where ranks are threads of this process: one that keeps others waiting for so long, while none
 * does anything, is named to `lost`, by a thread that waits.  Before it is called they wait for
 * ever.  If it returns, all calls of their communicators end with BR_E_COMM. */
void br__procs_watch_threads(int seconds, void (*lost)(const char *text));
/* How long a rank may wait for others that do nothing: of processes from now on, where rank 0's
 * counts, of threads in worlds that are opened from now on. */
void br__procs_patience(int seconds);

/* Alone, these give what is given, and every other rank is as this one.  Else all ranks call them
 * alike, in the same order. */

/* Has any rank failed?  rc, of this one, whose error err holds, is returned unless it is BR_OK or
 * BR_E_COMM; then it is that of the first rank with an error of its own, whose text err gets. */
int br__procs_agree(int rc, struct br_err *err) BR_MUST_CHECK;
/* BR_E_USAGE if a rank's text is not rank 0's; the error has the first line of each that differs.
 * what: "recipe". */
int br__procs_same(const char *what, const char *text, struct br_err *err) BR_MUST_CHECK;
/* The bytes of rank `root`, everywhere. */
int br__procs_share(void *buf, size_t n, uint32_t root, struct br_err *err) BR_MUST_CHECK;
/* The same of a buffer, which is replaced on the others. */
int br__procs_share_buf(struct br__buf *b, uint32_t root, struct br_err *err) BR_MUST_CHECK;
/* Rank 0 gets the bytes of all, one after another by rank; sizes[br__procs_size()] of them, on all.
 */
int br__procs_gather(const struct br__buf *mine, struct br__buf *all, size_t *sizes,
                     struct br_err *err) BR_MUST_CHECK;
/* Sums over all ranks, of integers as of the communicator's. */
int br__procs_sum(void *buf, size_t n, uint32_t dtype, struct br_err *err) BR_MUST_CHECK;
/* *any: does a rank say so?  At a step's boundary: has one got a signal? */
int br__procs_any(int mine, int *any, struct br_err *err) BR_MUST_CHECK;

/* These are of one rank, from any thread. */

/* What this rank does, for its last words. */
void br__procs_doing(const char *text);
/* 1: from here on this rank waits for its device, which may wait for other ranks; 0: until here. */
void br__procs_waiting(int begins);
/* So many bytes of work are done: a rank that does some does not hang. */
void br__procs_progress(uint64_t n);
/* A record for rank 0, which hears it in order with others of this rank; from rank 0 itself it is
 * heard at once. */
int br__procs_tell(uint32_t kind, const void *p, size_t n, struct br_err *err) BR_MUST_CHECK;
/* On rank 0: who hears records from now on; NULL: nobody. */
void br__procs_listen(br__procs_heard *heard, void *ud);

/* The end of this rank's work, with its status: wait for the others and leave.  Returns the status
 * of all.  On rank 0 err becomes the error of whoever is to blame, which is the only one to be
 * printed. */
int br__procs_end(int rc, struct br_err *err) BR_MUST_CHECK;

/* ---- commq.c: communication while the rank computes ------------------------------------------ */

struct br__commq;
/* What a rank's queue is to do; the caller's, who leaves it alone from post to the end of wait. */
struct br__comm_job {
    /* By the queue's thread.  It may call the rank's communicators, and compute. */
    int (*run)(void *arg, struct br_err *err);
    void *arg;
    /* The queue's. */
    struct br__commq *queue;
    struct br__comm_job *next;
    _Atomic int is_done;
    int rc, is_background;
    struct br_err err;
};
/* These are of the rank's thread.  Jobs run in the order of posting, one at a time; a call of one
 * of the rank's communicators waits for those that were posted before it.  So all ranks post and
 * call in an order that would do if each job ran where it is posted.  A job that fails aborts the
 * world.
 */
int br__commq_post(struct br__commq *q, struct br__comm_job *job, struct br_err *err) BR_MUST_CHECK;
/* The job's status and error, when it has run; once for each job. */
int br__commq_wait(struct br__comm_job *job, struct br_err *err) BR_MUST_CHECK;
/* Wait until nothing is posted, as whoever owns jobs does before they go.  rc: not BR_OK if this
 * rank has failed: then the world is aborted, since jobs may wait for ranks that wait for this one.
 * The jobs' own status is lost.  NULL is fine. */
void br__commq_settle(struct br__commq *q, int rc);

/* ---- world.c: the ranks of a topology, threads of this process or one of each process -------- */

/* Which ranks of t are here: all, or that of this process.  BR_E_USAGE: there are not as many
 * processes. */
int br__ranks_here(const struct br_topo *t, uint32_t *first, uint32_t *n,
                   struct br_err *err) BR_MUST_CHECK;

struct br__world;
/* Start the ranks of topology t that are here: as threads but for the first, which is whoever calls
 * br__world_run.  The threads stay until br__world_close.  devices, one of each that is here, join
 * the plane.  A plane of NULL is that of the processes; a single rank needs none.  off_host: the
 * plane's buffers are not host memory, for which ranks have communicators besides.  All processes
 * open the same worlds in the same order. */
int br__world_open(struct br__world **out, const struct br_topo *t, const struct br_plane *plane,
                   void *const *devices, int off_host, struct br_err *err) BR_MUST_CHECK;
void br__world_close(struct br__world *w);           /* NULL is fine */
uint32_t br__world_first(const struct br__world *w); /* the lowest rank that is here */
/* Make the communicators of EMBED, once for a world, which opens without them: only training has
 * stages that differ. */
int br__world_embed(struct br__world *w, const struct br__stages *stages,
                    struct br_err *err) BR_MUST_CHECK;
/* Of a rank that is not here it has no communicators. */
const struct br__rank_info *br__world_rank(const struct br__world *w, uint32_t rank);
/* Run fn once on every rank that is here and wait for them.  A rank that fails aborts the others'
 * collectives; the error is the first by rank that is more than BR_E_COMM, which only reports
 * another's.  Callers on several threads take turns. */
int br__world_run(struct br__world *w, int (*fn)(void *arg, uint32_t rank, struct br_err *err),
                  void *arg, struct br_err *err) BR_MUST_CHECK;

#endif
