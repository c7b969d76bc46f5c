/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plane.c - which launcher started this process, and the module through which its ranks talk.
 *
 * mpirun and mpiexec tell each process its number in the environment: Open MPI by
 * OMPI_COMM_WORLD_*, MPICH by PMI_*. */
#include "dist.h"

#include <dlfcn.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define PLANE_SYMBOL "bridge_plane_v1"
typedef const struct br_plane *plane_fn(void);

static const struct {
    const char *plane, *rank, *size;
} launchers[] = {
    {"openmpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {"mpich", "PMI_RANK", "PMI_SIZE"},
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

int br__launch_find(struct br__launch *out, struct br_err *err)
{
    const char *size_name = NULL;
    *out = (struct br__launch){.size = 1};
    for (size_t i = 0; i < BR_COUNTOF(launchers); i++) {
        int64_t rank, size;
        int rc = read_number(launchers[i].rank, &rank, err);
        if (!rc)
            rc = read_number(launchers[i].size, &size, err);
        if (rc)
            return rc;
        if (rank < 0 || size < 0)
            continue;
        if (rank >= size)
            return br_fail(err, BR_E_USAGE, "%s is %" PRId64 ", and %s is %" PRId64,
                           launchers[i].rank, rank, launchers[i].size, size);
        if (out->plane && ((uint32_t)rank != out->rank || (uint32_t)size != out->size))
            return br_fail(err, BR_E_USAGE,
                           "%s says rank %" PRIu32 " of %" PRIu32 ", %s rank %" PRId64
                           " of %" PRId64 ": two launchers are at work; unset the variables of one",
                           size_name, out->rank, out->size, launchers[i].size, rank, size);
        if (!out->plane)
            *out = (struct br__launch){launchers[i].plane, (uint32_t)rank, (uint32_t)size};
        size_name = launchers[i].size;
    }
    return BR_OK;
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
