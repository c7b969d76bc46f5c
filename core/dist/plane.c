/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plane.c - which launcher started this process, and the module through which its ranks talk.
 *
 * mpirun and mpiexec tell each process its number in the environment: Open MPI by
 * OMPI_COMM_WORLD_*, MPICH by PMI_*.  So does Slurm's srun --mpi=pmi2; with --mpi=pmix it sets
 * PMIX_RANK, and SLURM_STEP_NUM_TASKS.  SLURM_PROCID and SLURM_NTASKS say nothing: a batch script
 * has them, too.  torchrun sets RANK, WORLD_SIZE, LOCAL_RANK and MASTER_ADDR; its processes have
 * no MPI, and talk through their devices. */
#include "processes.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLANE_SYMBOL "bridge_plane_v1"
typedef const struct br_plane *plane_fn(void);

static const struct {
    const char *plane, *rank, *size, *local; /* local: how many are on this host */
} launchers[] = {
    {"openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"mpich", "PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"},
};

/* A variable that is a number up to BR__MAX_PROCESSES; -1: not set. */
static int read_number(const char *name, int64_t *out, struct br_err *err)
{
    const char *text = getenv(name);
    *out = -1;
    if (!text)
        return BR_OK;
    if (br__parse_i64(text, out) || *out < 0 || *out > BR__MAX_PROCESSES)
        return br_fail(err, BR_E_USAGE, "%s: got '%s', expected a number from 0 to %d", name, text,
                       BR__MAX_PROCESSES);
    return BR_OK;
}

/* The number of a process and of all by two variables; *rank -1: one is not set. */
static int read_pair(const char *rank_name, const char *size_name, int64_t *rank, int64_t *size,
                     struct br_err *err)
{
    int rc = read_number(rank_name, rank, err);
    if (!rc)
        rc = read_number(size_name, size, err);
    if (rc || *rank < 0 || *size < 0) {
        *rank = -1;
        return rc;
    }
    if (*rank >= *size)
        return br_fail(err, BR_E_USAGE, "%s is %" PRId64 ", and %s is %" PRId64, rank_name, *rank,
                       size_name, *size);
    return BR_OK;
}

/* size_name: whose word out is. */
static int compare_pair(const struct br__launch *out, const char *size_name, const char *other_name,
                        int64_t rank, int64_t size, struct br_err *err)
{
    if ((uint32_t)rank == out->rank && (uint32_t)size == out->size)
        return BR_OK;
    return br_fail(err, BR_E_USAGE,
                   "%s says rank %" PRIu32 " of %" PRIu32 ", %s rank %" PRId64 " of %" PRId64
                   ": two launchers are at work; unset the variables of one",
                   size_name, out->rank, out->size, other_name, rank, size);
}

/* Tasks of srun, where no MPI's variables are set. */
static int find_slurm(struct br__launch *out, const char **size_name, struct br_err *err)
{
    int64_t rank, size;
    int rc = read_pair("PMIX_RANK", "SLURM_STEP_NUM_TASKS", &rank, &size, err);
    if (!rc && rank >= 0) {
        *out = (struct br__launch){"openmpi", (uint32_t)rank, (uint32_t)size, 0};
        *size_name = "SLURM_STEP_NUM_TASKS";
        return BR_OK;
    }
    if (!rc)
        rc = read_pair("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", &rank, &size, err);
    if (!rc && rank >= 0 && size > 1)
        rc = br_fail(err, BR_E_USAGE,
                     "srun has started %" PRId64
                     " tasks without an MPI (SLURM_STEP_NUM_TASKS); give it "
                     "--mpi=pmi2 for MPICH or --mpi=pmix for Open MPI",
                     size);
    return rc;
}

static int find_torchrun(struct br__launch *out, const char *size_name, struct br_err *err)
{
    int64_t rank, size;
    if (!getenv("MASTER_ADDR"))
        return BR_OK;
    int rc = read_pair("RANK", "WORLD_SIZE", &rank, &size, err);
    if (rc || rank < 0)
        return rc;
    if (out->plane)
        return compare_pair(out, size_name, "WORLD_SIZE", rank, size, err);
    if (size == 1)
        return BR_OK;
    int64_t local;
    rc = read_number("LOCAL_RANK", &local, err);
    *out = (struct br__launch){"torchrun", (uint32_t)rank, (uint32_t)size,
                               local < 0 ? 0 : (uint32_t)local};
    if (!rc && local < 0)
        rc = br_fail(err, BR_E_USAGE, "torchrun's RANK is set, and LOCAL_RANK is not");
    return rc;
}

int br__launch_find(struct br__launch *out, struct br_err *err)
{
    const char *size_name = NULL;
    int rc = BR_OK;
    *out = (struct br__launch){.size = 1};
    for (size_t i = 0; i < BR_COUNTOF(launchers); i++) {
        int64_t rank, size;
        rc = read_pair(launchers[i].rank, launchers[i].size, &rank, &size, err);
        if (!rc && rank >= 0 && out->plane)
            rc = compare_pair(out, size_name, launchers[i].size, rank, size, err);
        if (rc)
            return rc;
        if (rank < 0)
            continue;
        if (!out->plane)
            *out = (struct br__launch){launchers[i].plane, (uint32_t)rank, (uint32_t)size, 0};
        size_name = launchers[i].size;
    }
    if (!out->plane)
        rc = find_slurm(out, &size_name, err);
    return rc ? rc : find_torchrun(out, size_name, err);
}

uint32_t br__launch_local(void)
{
    int64_t n = -1;
    for (size_t i = 0; i < BR_COUNTOF(launchers) && n < 0; i++)
        if (getenv(launchers[i].size) && read_number(launchers[i].local, &n, NULL))
            n = 0;
    return n > 0 ? (uint32_t)n : 0;
}

int br__plane_open(const char *path, struct br_plane *out, struct br_err *err)
{
    /* MPIs load parts of themselves, which look for the symbols of the whole. */
    void *h = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    if (!h)
        return br_fail(err, BR_E_PLUGIN, "'%s' does not load: %s", path, dlerror());
    plane_fn *fn;
    *(void **)&fn = dlsym(h, PLANE_SYMBOL);
    const struct br_plane *p = fn ? fn() : NULL;
    if (!p)
        return br_fail(err, BR_E_PLUGIN, "'%s' lacks %s", path, PLANE_SYMBOL);
    if (br__adopt(out, sizeof *out, p, p->struct_size) || !out->name || !out->id || !out->join)
        return br_fail(err, BR_E_PLUGIN, "'%s' is of another bridge; this is %s", path,
                       br_version());
    return BR_OK;
}
