/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* processes.h - what the files of core/dist share that make a world, and a rank of this process. */
#ifndef BRIDGE_CORE_DIST_PROCESSES_H
#define BRIDGE_CORE_DIST_PROCESSES_H

#include "dist.h"

/* ---- groups.c -------------------------------------------------------------------------------- */

/* same[g]: the first of enum br_group whose groups are, for every rank, those of g.  stages: as of
 * br__group_ranks. */
int br__groups_same(const struct br_topo *t, const struct br__stages *stages,
                    enum br_group same[BR_N_GROUPS], struct br_err *err) BR_MUST_CHECK;

/* ---- plane.c --------------------------------------------------------------------------------- */

/* The plane of a module; it stays loaded.  One thread at a time makes its calls. */
int br__plane_open(const char *path, struct br_plane *out, struct br_err *err) BR_MUST_CHECK;

/* ---- watch.c: what this rank does, for its last words ---------------------------------------- */

#define BR__DOING 120 /* bytes of what a rank does, and of a call */
struct br__beat {
    uint64_t begun, done; /* collectives: more begun than done means that it waits in one */
    uint64_t progress;    /* bytes of work that is no collective */
    char doing[2 * BR__DOING + 2];
};
/* The same communicator, whose calls are noted before they wait.  It owns `under`. */
int br__watch(struct br_comm *under, const char *group, struct br_comm **out,
              struct br_err *err) BR_MUST_CHECK;
void br__watch_read(struct br__beat *out);
/* See struct br_comm_ops; nothing where the plane has none. */
void br__comm_describe(struct br_comm *c, const char *group, int is_watched);
int br__watch_harmed(void); /* a call failed, or this rank gave up: MPI must not be ended */

/* ---- staged.c -------------------------------------------------------------------------------- */

/* A communicator for host memory of one of the device's, which it owns, also where it fails. */
int br__staged_open(const struct br_backend *backend, void *device, struct br_comm *under,
                    struct br_comm **out, struct br_err *err) BR_MUST_CHECK;

/* ---- commq.c: see dist.h --------------------------------------------------------------------- */

/* A queue, whose thread starts with the first job. */
int br__commq_open(struct br__commq **out, struct br_err *err) BR_MUST_CHECK;
/* The communicator that a failed job aborts. */
void br__commq_abort_with(struct br__commq *q, struct br_comm *world);
void br__commq_close(struct br__commq *q); /* when it is empty; NULL is fine */
/* The same communicator, whose calls go through the queue.  It owns `under`; what it splits is not
 * wrapped.  group: its name, which stays. */
int br__commq_wrap(struct br__commq *q, struct br_comm *under, const char *group,
                   struct br_comm **out, struct br_err *err) BR_MUST_CHECK;
/* From any thread: how many calls the rank has made, and the last as "all_reduce of 7 (tp)"; ""
 * before the first. */
uint64_t br__commq_calls(const struct br__commq *q);
void br__commq_last(const struct br__commq *q, char *text, size_t size);

/* ---- procs.c --------------------------------------------------------------------------------- */

struct br_comm *br__procs_world(void);   /* of all processes; NULL if alone */
struct br__commq *br__procs_queue(void); /* of this process */
/* What br__procs_watch_threads and br__procs_patience have said: seconds, 0: for ever. */
int br__procs_watched(void (**lost)(const char *text));

/* ---- control.c: TCP connections to rank 0, beside the plane ---------------------------------- */

#define BR__HOST 64
struct br__control_opts {
    const struct br__procs_opts *procs;
    /* Make rank 0's bytes those of all ranks, before there are connections. */
    int (*share)(void *buf, size_t n, struct br_err *err);
};
int br__control_open(const struct br__control_opts *o, struct br_err *err) BR_MUST_CHECK;
/* A record for rank 0, in order with others of this rank. */
int br__control_send(uint32_t kind, const void *p, size_t n, struct br_err *err) BR_MUST_CHECK;
void br__control_listen(br__procs_heard *heard, void *ud);
void br__control_patience(int seconds); /* in place of that of the options */
/* This rank is done, with that status: wait for all others.  *unharmed: MPI may be ended.  Returns
 * the status of all: that of the culprit, whose error rank 0 gets. */
int br__control_end(int rc, struct br_err *err, int *unharmed);
/* After a status that is not BR_OK: wait for rank 0 to leave first. */
void br__control_leave(void);
/* "rank 3 (node7, pid 811)", as the hello said; of any rank on rank 0, of itself and 0 elsewhere.
 */
const char *br__control_name(uint32_t rank, char out[128]);

#endif
