/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* launch_slurm.c - launch --slurm: the batch script of a command, for sbatch.
 *
 * Slurm sends SIGTERM to the script five minutes before the time is over.  The script passes it on,
 * training saves at the end of its step and leaves, and the job is put into the queue again, where
 * it goes on from that checkpoint.  The same happens after a rank was lost, a few times. */
#include "launch.h"
#include "train_cli.h"

#include <inttypes.h>
#include <string.h>

#define RANKS_A_NODE 8
#define SAVE_SECONDS 300
#define RESTARTS 3

/* The processes that the recipe of a `train` command asks for; 0: it is another command. */
static int recipe_ranks(char **rest, int64_t *n, struct br_err *err)
{
    struct br__cli c = {0};
    struct br__recipe_opts o;
    struct br__recipe recipe;
    struct br__recipe_grid g;
    struct br__registry *r = NULL;
    int argc = 0;
    *n = 0;
    while (rest[argc])
        argc++;
    /* The parser expects the program's name first: that is the word before. */
    int rc = br__cli_parse(&c, argc + 1, rest - 1, err);
    if (!rc && c.cmd == &br__commands[BR__CMD_TRAIN]) {
        rc = br__train_recipe(&c, &o, err);
        if (!rc)
            rc = br__registry_open(&r, BR__TEXT(&c, PLUGIN), err);
        if (!rc)
            rc = br__registry_load_all(r, err);
        if (!rc)
            rc = br__recipe_open(&c.arena, r, &o, &recipe, err);
        if (!rc) {
            br__recipe_grid(&recipe, 0, &g);
            *n = g.world ? g.world : g.min_world;
        }
    }
    br__registry_close(r);
    br__cli_free(&c);
    return rc;
}

static int count_ranks(struct br__launch_words *l, struct br_err *err)
{
    int rc = l->n ? BR_OK : recipe_ranks(l->rest, &l->n, err);
    if (rc)
        return rc;
    if (!l->n)
        return br_fail(err, BR_E_USAGE,
                       "launch needs the number of ranks, -n N: only a recipe of train has one");
    if (!l->nodes)
        l->nodes = (l->n + RANKS_A_NODE - 1) / RANKS_A_NODE;
    if (l->n % l->nodes)
        return br_fail(err, BR_E_USAGE,
                       "%" PRId64 " ranks cannot be shared alike by %" PRId64
                       " nodes; give --nodes",
                       l->n, l->nodes);
    return BR_OK;
}

/* The name of the job: the command, and what it is about if that is a plain word. */
static void put_name(struct br__buf *b, char **rest)
{
    const char *what = rest[1];
    br__buf_printf(b, "bridge-%s", rest[0]);
    if (what && strspn(what, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(what))
        br__buf_printf(b, "-%s", what);
}

static void put_script(struct br__buf *b, struct br__arena *a, const struct br__launch_words *l,
                       const char *exe)
{
    br__buf_puts(
        b, "#!/bin/bash\n"
           "# Written by bridge launch --slurm, for sbatch.  Add what your site asks for, such as\n"
           "# --account, --partition, --time and --cpus-per-task.\n"
           "#SBATCH --job-name=");
    put_name(b, l->rest);
    br__buf_printf(b,
                   "\n#SBATCH --nodes=%" PRId64 "\n#SBATCH --ntasks=%" PRId64
                   "\n#SBATCH --ntasks-per-node=%" PRId64 "\n",
                   l->nodes, l->n, l->n / l->nodes);
    br__buf_printf(b,
                   "#SBATCH --output=%%x-%%j.log\n#SBATCH --open-mode=append\n#SBATCH --requeue\n"
                   "#SBATCH --signal=B:TERM@%d\n\n",
                   SAVE_SECONDS);
    br__buf_printf(b, "stopped=\nsrun --mpi=%s --kill-on-bad-exit=1 %s",
                   l->mpi && !strcmp(l->mpi, "mpich") ? "pmi2" : "pmix", br__shell_word(a, exe));
    for (char **w = l->rest; *w; w++)
        br__buf_printf(b, " %s", br__shell_word(a, *w));
    br__buf_printf(
        b,
        " &\n"
        "ranks=$!\n"
        "trap 'stopped=1; kill -TERM \"$ranks\"' TERM\n"
        "# A signal ends wait before its time.\n"
        "wait \"$ranks\"; status=$?\n"
        "while kill -0 \"$ranks\" 2>/dev/null; do wait \"$ranks\"; status=$?; done\n"
        "\n"
        "# Out of time, or a rank was lost (status %d): go on from the last checkpoint.\n"
        "if [ -n \"$stopped\" ] ||\n"
        "    { [ \"$status\" = %d ] && [ \"${SLURM_RESTART_COUNT:-0}\" -lt %d ]; }; then\n"
        "    scontrol requeue \"$SLURM_JOB_ID\"\n"
        "fi\n"
        "exit \"$status\"\n",
        BR_E_COMM, BR_E_COMM, RESTARTS);
}

int br__launch_slurm(struct br__arena *a, struct br__launch_words *l, const char *exe,
                     struct br_err *err)
{
    struct br__buf b = {0};
    if (br__exists(l->slurm))
        return br_fail(err, BR_E_EXISTS, "'%s' exists; remove it, or give another name", l->slurm);
    int rc = count_ranks(l, err);
    if (rc)
        return rc;
    put_script(&b, a, l, exe);
    rc = b.failed ? br__nomem(err, "for the script") : br__write_file(l->slurm, b.p, b.n, 0, err);
    br__buf_free(&b);
    if (!rc)
        br__say(stdout,
                "wrote %s: %" PRId64 " ranks on %" PRId64 " nodes; submit it with: sbatch %s",
                l->slurm, l->n, l->nodes, br__shell_word(a, l->slurm));
    return rc;
}
