/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train_cli.h - what cmd_train.c, train_plan.c and train_log.c share. */
#ifndef BRIDGE_CORE_CLI_TRAIN_H
#define BRIDGE_CORE_CLI_TRAIN_H

#include "../train/train.h"
#include "cli.h"

/* ---- cmd_train.c: what was typed ------------------------------------------------------------- */

/* RECIPE key=value ...: the recipe comes first, unless a file says which. */
int br__train_recipe(struct br__cli *c, struct br__recipe_opts *o,
                     struct br_err *err) BR_MUST_CHECK;

/* ---- train_plan.c: what will be done --------------------------------------------------------- */

/* The plan of a run and its parts of the data. */
struct br__plan_view {
    const struct br__run *run;
    const struct br__train *t;
    struct br__train_plan plan; /* before the first step */
};
int br__train_print_plan(const struct br__cli *c, const struct br__plan_view *v,
                         struct br_err *err) BR_MUST_CHECK;
/* The same as members of an object. */
void br__train_plan_json(struct br__js *j, const struct br__plan_view *v);

/* ---- train_live.c: a view of the run on a terminal ------------------------------------------- */

#define BR__LIVE_POINTS 256
/* Lines at the bottom of the terminal, drawn anew while the run goes on. */
struct br__train_live {
    struct br__report *r; /* NULL: nothing is drawn */
    int utf8;             /* the terminal shows block elements */
    /* The curve: each point is the mean loss of `each` steps, the last one of `partial`. */
    double loss[BR__LIVE_POINTS];
    size_t n;
    int64_t each, partial;
    double began, shown; /* seconds, as br__now; shown 0: nothing is drawn yet */
    int64_t steps;
    double valid;        /* loss of the last evaluation; NAN: none */
    struct br__buf text; /* what was drawn last */
    int lines;           /* of it */
};
void br__train_live_init(struct br__train_live *v, struct br__report *r);
/* A step has ended; last: the run has `all` steps and peak operations per second (0: unknown). */
void br__train_live_step(struct br__train_live *v, const struct br__step_report *s, int64_t all,
                         double peak);
void br__train_live_clear(struct br__train_live *v); /* before other output */
void br__train_live_again(struct br__train_live *v); /* after it */
void br__train_live_end(struct br__train_live *v);   /* the last view stays; a zeroed one is fine */

/* ---- train_log.c: what was done -------------------------------------------------------------- */

/* The console's lines and the log file. */
struct br__train_log {
    const struct br__run *run;
    struct br__append file; /* one JSON object a line */
    struct br__tb tb;
    int lines;   /* the console's lines are wanted */
    double peak; /* floating-point operations per second of the device; 0: unknown */
    struct br__train_events events; /* give these to the run */
    struct br__train_live live;
    /* Since the console's last line: */
    int64_t n, n_skipped, n_nan;
    double seconds, lm_loss, aux, z, mtp;
    /* Of the run: */
    struct br__step_report last;
    struct br__eval_report eval[BR__N_SPLITS]; /* the last ones; iteration 0 and samples 0: none */
    int64_t n_steps, tokens;
    double train_seconds, waited;
    uint64_t peak_bytes;
    struct br_err err; /* of writing the file; the first one */
};
/* The live view is drawn by `r`; the log stays where it is from now on. */
void br__train_log_init(struct br__train_log *l, const struct br__run *run, int lines,
                        struct br__report *r);
/* Open the log file at `path`, cutting what it says of steps after iteration `first`, and an event
 * file for TensorBoard in <dir>/<name>/tb_logs. */
int br__train_log_open(struct br__train_log *l, const char *path, int64_t first,
                       struct br_err *err) BR_MUST_CHECK;
/* Evaluations after this iteration that the log at `path` has; 0 too if it cannot be read. */
int64_t br__train_log_evals(const char *path, int64_t iteration);
/* The error of a write, if one failed. */
int br__train_log_close(struct br__train_log *l, struct br_err *err) BR_MUST_CHECK;

#endif
