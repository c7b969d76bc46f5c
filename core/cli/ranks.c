/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ranks.c - a command as one rank of several processes that a launcher has started.
 *
 * All ranks run the same command.  Rank 0 alone prints; what goes wrong on another is printed by
 * rank 0, or by all that are left if that one is gone.
 *
 * Ranks talk by MPI.  torchrun brings none: its ranks talk by NCCL alone, each through a GPU that
 * is open from the beginning to the end.  NCCL finds the others by NCCL_COMM_ID, where rank 0
 * listens; MASTER_PORT itself is in use by torchrun. */
#include "../dist/dist.h"
#include "../graph/graph.h"
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br__device gpu; /* of torchrun's rank */

uint32_t br__ranks_begin(void)
{
    struct br__launch l;
    if (br__launch_find(&l, NULL) || l.rank == 0)
        return 0;
    (void)!freopen("/dev/null", "w", stdout); /* fails: then there is no standard output */
    return l.rank;
}

const char *br__find_module(struct br__arena *a, const struct br__registry *r, const char *plane)
{
    for (size_t i = 0; i < r->n_dirs; i++) {
        const char *file = br__arena_printf(a, "%s/comm_%s.so", r->dirs[i], plane);
        if (file && br__exists(file))
            return file;
    }
    return NULL;
}

/* The ranks end, with what there is in their temporary directories: a restart goes on there. */
static void say_lost(const char *text)
{
    struct br_err err = {.code = BR_E_COMM};
    snprintf(err.msg, sizeof err.msg, "%s", text);
    br__print_error(&err, 0);
}

static void leave_lost(int rc)
{
    _exit(rc);
}

static void lose_thread(const char *text)
{
    say_lost(text);
    leave_lost(BR_E_COMM);
}

static int is_torchrun(const struct br__launch *l)
{
    return strcmp(l->plane, "torchrun") == 0;
}

/* The device of torchrun's rank: one that ranks can talk through without an MPI. */
static int open_gpu(const struct br__registry *r, const struct br__launch *l, const char *name,
                    struct br_err *err)
{
    const struct br__dirs dirs = {r->dirs, r->n_dirs};
    struct br_err why = BR_ERR_INIT;
    int rc = br__device_open(&gpu, name, &dirs, l->local, 1, &why);
    if (!rc && !br__device_is_host(&gpu) && gpu.backend.plane)
        return BR_OK;
    if (!rc)
        br__device_close(&gpu);
    return br_fail(err, BR_E_UNSUPPORTED,
                   "torchrun has started %" PRIu32
                   " processes (WORLD_SIZE), which talk by NCCL, and rank %" PRIu32
                   " has no GPU%s%s%s; on the CPU ranks talk by MPI, start them with: mpirun -n "
                   "%" PRIu32 " bridge ...",
                   l->size, l->rank, rc ? " (" : "", rc ? why.msg : "", rc ? ")" : "", l->size);
}

/* NCCL_COMM_ID, unless it is set: the port after MASTER_PORT. */
static int name_meeting(struct br__arena *a, struct br_err *err)
{
    const char *host = getenv("MASTER_ADDR"), *text = getenv("MASTER_PORT");
    int64_t port;
    if (getenv("NCCL_COMM_ID"))
        return BR_OK;
    if (!text || br__parse_i64(text, &port) || port < 1 || port > 65534)
        return br_fail(err, BR_E_USAGE,
                       "MASTER_PORT: got '%s', expected a number from 1 to 65534; or set "
                       "NCCL_COMM_ID=HOST:PORT, where rank 0 can listen",
                       text ? text : "");
    const char *id =
        br__arena_printf(a, strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, (int)port + 1);
    return id && !setenv("NCCL_COMM_ID", id, 1) ? BR_OK : br__nomem(err, "for NCCL_COMM_ID");
}

static int find_plane(struct br__arena *a, const struct br__registry *r, const char *device,
                      struct br__procs_opts *o, struct br_err *err)
{
    const struct br__launch *l = &o->launch;
    if (is_torchrun(l)) {
        int rc = open_gpu(r, l, device, err);
        o->backend = &gpu.backend;
        o->device = gpu.device;
        return rc ? rc : name_meeting(a, err);
    }
    o->module = br__find_module(a, r, l->plane);
    if (!o->module)
        return br_fail(err, BR_E_NOTFOUND,
                       "%s has started %" PRIu32 " processes, and bridge has no module comm_%s.so "
                       "for it; it is built where that MPI's development files are installed",
                       l->plane, l->size, l->plane);
    return BR_OK;
}

int br__ranks_open(struct br__arena *a, const struct br__launch *l, const char *device, int timeout,
                   struct br_err *err)
{
    struct br__registry *r;
    struct br__procs_opts o = {
        .launch = *l, .timeout = timeout, .say = say_lost, .leave = leave_lost};
    int rc = br__registry_open(&r, NULL, err);
    if (rc)
        return rc;
    rc = find_plane(a, r, device, &o, err);
    br__registry_close(r);
    rc = rc ? rc : br__procs_open(&o, err);
    if (rc && gpu.device)
        br__device_close(&gpu);
    return rc;
}

int br__ranks_end(int rc, struct br_err *err)
{
    rc = br__procs_end(rc, err);
    if (gpu.device)
        br__device_close(&gpu);
    return rc;
}

/* The words of the command line, but for the program's own path. */
static const char *words_of(struct br__cli *c)
{
    struct br__buf b = {0};
    for (int i = 1; i < c->argc; i++)
        br__buf_printf(&b, " %s", br__shell_word(&c->arena, c->argv[i]));
    const char *text = b.failed || !b.n ? "" : br__arena_strdup(&c->arena, b.p + 1);
    br__buf_free(&b);
    return text ? text : "";
}

static int runs_over_ranks(const struct br__command *cmd)
{
    return (br__options[BR__OPT_COMM_TIMEOUT].on >> (cmd - br__commands) & 1) != 0;
}

/* Seconds. */
static int patience_of(struct br__cli *c)
{
    return BR__FLAG(c, COMM_TIMEOUT) ? (int)BR__INT(c, COMM_TIMEOUT) : BR__COMM_TIMEOUT;
}

void br__ranks_tell_devices(int seconds, int overrides)
{
    char text[16];
    snprintf(text, sizeof text, "%d", seconds);
    setenv("BRIDGE_COMM_TIMEOUT", text, overrides);
}

int br__ranks_join(struct br__cli *c, int rc, struct br_err *err)
{
    struct br__launch l;
    struct br_err found = BR_ERR_INIT;
    int launched = br__launch_find(&l, &found);
    if (launched || l.size == 1) {
        if (c->cmd && runs_over_ranks(c->cmd)) {
            br__procs_watch_threads(patience_of(c), lose_thread);
            if (BR__FLAG(c, COMM_TIMEOUT))
                br__ranks_tell_devices(patience_of(c), 1);
        }
        if (launched && !rc && err)
            *err = found;
        return rc ? rc : launched;
    }
    if (rc && !c->cmd)
        return rc;
    if (!runs_over_ranks(c->cmd))
        return rc ? rc
                  : br_fail(err, BR_E_UNSUPPORTED,
                            "'%s' runs in one process, and %s has started %" PRIu32
                            "; start it alone",
                            c->cmd->name, l.plane, l.size);
    if (c->cmd == &br__commands[BR__CMD_TRAIN] && BR__FLAG(c, DRY_RUN)) {
        br__procs_pretend(l.rank, l.size); /* the plan of that rank needs no other */
        return rc;
    }
    const char *device = BR__FLAG(c, DEVICE) ? BR__TEXT(c, DEVICE) : "auto";
    if ((launched = br__ranks_open(&c->arena, &l, device, patience_of(c), &found))) {
        if (l.rank && (launched == BR_E_COMM || is_torchrun(&l))) /* what rank 0 cannot know */
            br__print_error(&found, 0);
        if (err)
            *err = found;
        return launched;
    }
    int same = br__procs_same("version of bridge", br__version_text(&c->arena), &found);
    if (!same)
        same = br__procs_same("command line", words_of(c), &found);
    if (same && !rc && err)
        *err = found;
    return br__procs_agree(rc ? rc : same, err);
}

int br__read_stdin(struct br__buf *b, struct br_err *err)
{
    int rc = BR_OK;
    if (br__procs_rank() == 0) {
        br__read_all(stdin, b);
        if (b->failed)
            rc = br_fail(err, b->failed, "standard input is too long");
        else if (ferror(stdin))
            rc = br_fail(err, BR_E_IO, "cannot read standard input");
    }
    rc = br__procs_agree(rc, err);
    return rc ? rc : br__procs_share_buf(b, 0, err);
}
