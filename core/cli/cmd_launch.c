/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_launch.c - launch: the ranks of a command, as processes of the MPI that is installed.
 *
 * What follows its own options is another command line of bridge, so it is read word for word here
 * and not by the table of options. */
#include "../dist/dist.h"
#include "../model/model.h"
#include "launch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct launcher {
    const char *plane, *programs[2]; /* the program that starts processes, by either name */
} launchers[] = {
    {"mpich", {"mpiexec.mpich", "mpirun.mpich"}},
    {"openmpi", {"mpirun.openmpi", "mpiexec.openmpi"}},
};

/* ---- what was typed -------------------------------------------------------------------------- */

static int read_count(const char *option, const char *text, int64_t *n, struct br_err *err)
{
    if (!text || br__parse_i64(text, n) || *n < 1 || *n > BR__MAX_PROCESSES)
        return br_fail(err, BR_E_USAGE, "%s: got '%s', expected a number from 1 to %d", option,
                       text ? text : "nothing", BR__MAX_PROCESSES);
    return BR_OK;
}

static int read_words(char **words, struct br__launch_words *l, struct br_err *err)
{
    int rc = BR_OK;
    for (; !rc && *words && **words == '-'; words++) {
        if (!strcmp(*words, "--")) {
            words++;
            break;
        }
        if (!strcmp(*words, "-n") || !strcmp(*words, "-np") || !strcmp(*words, "--ranks")) {
            rc = read_count("-n", words[1], &l->n, err);
            words++;
        } else if (!strcmp(*words, "--nodes")) {
            rc = read_count("--nodes", words[1], &l->nodes, err);
            words++;
        } else if (!strcmp(*words, "--slurm") && words[1]) {
            l->slurm = *++words;
        } else if (!strcmp(*words, "--mpi") && words[1]) {
            l->mpi = *++words;
        } else if (!strcmp(*words, "--check")) {
            l->check = 1;
        } else {
            rc = br_fail(err, BR_E_USAGE, "unknown option '%s' (see: bridge help launch)", *words);
        }
    }
    l->rest = words;
    if (!rc && !l->n && !l->slurm)
        rc = br_fail(err, BR_E_USAGE,
                     "launch needs the number of ranks, -n N (see: bridge help launch)");
    if (!rc && !*words && (l->slurm || !l->check))
        rc = br_fail(err, BR_E_USAGE,
                     "launch needs a command to run, or --check (see: bridge help launch)");
    return rc;
}

/* ---- which MPI ------------------------------------------------------------------------------- */

/* The first file of that name in the folders of PATH that may be executed; NULL: none. */
static const char *find_program(struct br__arena *a, const char *name)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : ""; *p;) {
        size_t n = strcspn(p, ":");
        const char *file = br__arena_printf(a, "%.*s/%s", (int)n, p, name);
        if (n && file && access(file, X_OK) == 0)
            return file;
        p += n + (p[n] == ':');
    }
    return NULL;
}

/* The program that starts the ranks, of an MPI that has its module too. */
static int choose(struct br__arena *a, const struct br__registry *r,
                  const struct br__launch_words *l, const char **program, struct br_err *err)
{
    struct br__buf lacks = {0};
    *program = NULL;
    for (size_t i = 0; i < BR_COUNTOF(launchers) && !*program; i++) {
        const struct launcher *x = &launchers[i];
        if (l->mpi && strcmp(l->mpi, x->plane) != 0)
            continue;
        const char *module = br__find_module(a, r, x->plane);
        for (size_t k = 0; k < BR_COUNTOF(x->programs) && module && !*program; k++)
            *program = find_program(a, x->programs[k]);
        if (!*program)
            br__buf_printf(&lacks, "%s%s has no %s", lacks.n ? "; " : "", x->plane,
                           module ? "mpirun in PATH" : "module");
    }
    int rc = BR_OK;
    if (!*program && !lacks.n)
        rc = br_fail(err, BR_E_USAGE, "--mpi: got '%s', expected mpich or openmpi", l->mpi);
    else if (!*program)
        rc = br_fail(err, BR_E_NOTFOUND,
                     "no MPI to start ranks with: %s; Debian has mpich and openmpi-bin, and bridge "
                     "builds a module for each that it finds",
                     lacks.p);
    br__buf_free(&lacks);
    return rc;
}

/* The file of this program. */
static int find_self(struct br__arena *a, char **exe, struct br_err *err)
{
    const char *self = br__arena_printf(a, "/proc/%ld/exe", (long)getpid());
    *exe = br__arena_alloc(a, 4096);
    if (!self || !*exe || readlink(self, *exe, 4095) < 0)
        return br_fail(err, BR_E_IO, "cannot find this program's own file: %s", strerror(errno));
    return BR_OK;
}

/* Become the MPI's launcher. */
static int execute(struct br__arena *a, const struct br__launch_words *l, const char *program,
                   const char *exe, struct br_err *err)
{
    size_t n = 0, words = 0;
    while (l->rest[words])
        words++;
    const char **argv = br__arena_alloc(a, (words + 8) * sizeof *argv);
    if (!argv)
        return br__nomem(err, "for the command");
    argv[n++] = program;
    argv[n++] = "-n";
    argv[n++] = br__arena_printf(a, "%" PRId64, l->n);
    argv[n++] = exe;
    if (l->check)
        argv[n++] = "launch-check";
    for (size_t i = 0; i < words && !l->check; i++)
        argv[n++] = l->rest[i];
    execv(program, (char *const *)argv);
    return br_fail(err, BR_E_IO, "cannot execute '%s': %s", program, strerror(errno));
}

int br__launch(struct br__arena *a, char **words, struct br_err *err)
{
    struct br__launch_words l = {0};
    struct br__registry *r = NULL;
    const char *program;
    char *exe;
    int rc = read_words(words, &l, err);
    if (!rc)
        rc = find_self(a, &exe, err);
    if (!rc && l.slurm)
        return br__launch_slurm(a, &l, exe, err);
    if (!rc)
        rc = br__registry_open(&r, NULL, err);
    if (!rc)
        rc = choose(a, r, &l, &program, err);
    if (!rc)
        rc = execute(a, &l, program, exe, err);
    br__registry_close(r);
    return rc;
}

/* By the table: `bridge launch` without anything. */
int br__cmd_launch(struct br__cli *c, struct br_err *err)
{
    (void)c;
    return br_fail(err, BR_E_USAGE, "launch needs the number of ranks, -n N");
}

/* ---- --check: one rank of it ----------------------------------------------------------------- */

/* Each rank adds its number; every rank must get the sum. */
static int check_sum(uint32_t size, struct br_err *err)
{
    enum { N = 1 << 20 };
    float *x = br__calloc(N, sizeof *x);
    float want = (float)(size * (size + 1.0) / 2);
    int rc = br__procs_agree(x ? BR_OK : br__nomem(err, "for the check"), err);
    for (size_t i = 0; i < N && !rc; i++)
        x[i] = (float)br__procs_rank() + 1;
    if (!rc)
        rc = br__procs_sum(x, N, BR_F32, err);
    for (size_t i = 0; i < N && !rc; i++)
        if (x[i] != want)
            rc = br_fail(err, BR_E_COMM, "the sum over %" PRIu32 " ranks is %g, expected %g", size,
                         (double)x[i], (double)want);
    br__free(x);
    return rc;
}

int br__launch_check(struct br__arena *a, struct br_err *err)
{
    struct br__launch launch;
    int rc = br__launch_find(&launch, err);
    if (!rc && !launch.plane)
        rc = br_fail(err, BR_E_USAGE, "no MPI has started this process");
    if (!rc)
        rc = br__ranks_open(a, &launch, "auto", BR__COMM_TIMEOUT, err);
    if (rc)
        return rc;
    rc = br__ranks_end(check_sum(launch.size, err), err);
    if (!rc && launch.rank == 0)
        br__say(stdout, "ok: %" PRIu32 " ranks over %s", launch.size, launch.plane);
    return rc;
}
