/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* launch.h - what cmd_launch.c and launch_slurm.c share. */
#ifndef BRIDGE_CORE_CLI_LAUNCH_H
#define BRIDGE_CORE_CLI_LAUNCH_H

#include "cli.h"

/* `bridge launch WORDS`, as it was typed. */
struct br__launch_words {
    int64_t n, nodes;  /* 0: not given */
    const char *mpi;   /* NULL: the first that is there */
    const char *slurm; /* file to write, or NULL */
    int check;
    char **rest; /* the command that the ranks run, to argv's end; a word is before it */
};
/* Write the batch script; exe: this program. */
int br__launch_slurm(struct br__arena *a, struct br__launch_words *l, const char *exe,
                     struct br_err *err) BR_MUST_CHECK;

#endif
