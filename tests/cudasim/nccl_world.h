/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* nccl_world.h - what ranks of the simulator's NCCL share: memory without a file, or of one, that
 * each maps, whether they are processes or threads.  What a field says, one rank writes, then its
 * number or count, with release; others read that first. */
#ifndef CUDASIM_NCCL_WORLD_H
#define CUDASIM_NCCL_WORLD_H

#include "sim.h"

#include <nccl.h>
#include <stdatomic.h>

#define RANKS SIM_DEVICES
#define ROOM ((size_t)16 << 20) /* bytes that a rank may bring to a collective */
#define RING ((size_t)1 << 20)  /* that are under way from one rank to another */
#define WORLDS 64               /* of one name: the first, and those that are split off */

/* What a rank says of a collective, and of a split. */
struct posted {
    _Atomic uint64_t number;
    int32_t kind, type, root;
    uint64_t n;
    uint64_t at; /* where it was asked for, from its module's beginning */
};
struct split {
    _Atomic uint64_t number;
    int32_t color, key;
    _Atomic uint32_t part; /* of the lowest rank of a color: the world that it has taken for them */
};
/* Two of each: who says the next has seen that all said the one before, and so read those before
 * that. */
struct seat {
    _Atomic uint32_t state; /* 0: free, 1: taken, 2: the rest is there */
    int32_t pid, device, size;
    struct posted posted[2];
    struct split splits[2];
};
/* Sends from one rank to another: a head, then its bytes. */
struct head {
    uint64_t n, at;
    int64_t type;
};
struct ring {
    _Atomic uint64_t sent, received; /* bytes */
    char bytes[RING];
};
struct world {
    _Atomic uint32_t is_open; /* rank 0 has seen all */
    struct seat seats[RANKS];
    struct ring rings[RANKS][RANKS]; /* [from][to] */
    char brought[RANKS][2][ROOM];
};
struct worlds {
    _Atomic uint32_t taken; /* beside the first */
    struct world world[WORLDS];
};

/* The memory, as one rank has it. */
struct mapping {
    struct worlds *all;
    int refs;
};

/* A name for a world that is to be: "HOST:PORT" of NCCL_COMM_ID, or where a process has the memory.
 * False: there is no memory. */
bool world_name(ncclUniqueId *id);
/* NULL: nobody has it yet.  Of a name of NCCL_COMM_ID rank 0 makes it. */
struct mapping *world_map(const ncclUniqueId *id, int rank);
void world_unmap(struct mapping *m);
/* Rank 0: all have it, and the name may be given again. */
void world_forget(const ncclUniqueId *id);

#endif
