/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* procs.c MODULE TIMEOUT WORD [RANK] - ranks that add numbers until something happens; each says
 * what it sees, on standard error as bridge would, and ends with its status.  A launcher may be
 * gone before it has passed that on, so it stands in the file that PROCS_SAID names, too.
 *
 *   loop         until a rank is killed or stopped from outside: "rank 1 is PID"; a minute at most
 *   fail RANK    that rank ends with an error of its own
 *   busy RANK    the same, and the others work on their own meanwhile
 *   late RANK    that rank does nothing
 *   tell RANK    that rank has got a signal, which all learn; then all send records to rank 0, and
 *                have sums made while they go on
 *   idle         nothing for two seconds: what a process of an MPI needs
 *   die RANK     that rank kills itself where the others make groups */
#include "../../core/dist/dist.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N 1000
#define RECORDS 200

static void say(const char *text)
{
    const char *path = getenv("PROCS_SAID");
    FILE *f = path ? fopen(path, "ae") : NULL;
    if (f) {
        fprintf(f, "bridge: %s\n", text); /* one write of a short line: lines do not mix */
        fclose(f);
    }
    fprintf(stderr, "bridge: %s\n", text);
}

static void leave(int rc)
{
    _Exit(rc);
}

static int add(struct br_err *err)
{
    int32_t x[N];
    for (int i = 0; i < N; i++)
        x[i] = (int32_t)br__procs_rank();
    int rc = br__procs_sum(x, N, BR_I32, err);
    int32_t want = (int32_t)(br__procs_size() * (br__procs_size() - 1) / 2);
    for (int i = 0; i < N && !rc; i++)
        if (x[i] != want)
            rc = br_fail(err, BR_E_NUMERIC, "the sum is %d, expected %d", x[i], want);
    return rc;
}

static int loop(struct br_err *err)
{
    int rc = BR_OK;
    for (int i = 0; i < 60000 && !rc; i++) {
        rc = add(err);
        usleep(1000);
    }
    return rc;
}

static struct {
    uint64_t next[64];
    uint64_t wrong;
} heard;

static void hear(void *ud, uint32_t rank, uint32_t kind, const void *p, size_t n)
{
    uint64_t i;
    (void)ud;
    memcpy(&i, p, sizeof i);
    heard.wrong += kind != 7 || n != sizeof i + i || heard.next[rank]++ != i;
}

/* Records of growing length, in order. */
static int tell(struct br_err *err)
{
    char body[sizeof(uint64_t) + RECORDS] = {0};
    int rc = BR_OK;
    br__procs_listen(hear, NULL);
    rc = br__procs_agree(rc, err); /* it listens before they tell */
    for (uint64_t i = 0; i < RECORDS && !rc; i++) {
        memcpy(body, &i, sizeof i);
        rc = br__procs_tell(7, body, sizeof i + (size_t)i, err);
    }
    for (int turn = 0; turn < 3000 && br__procs_rank() == 0; turn++) {
        uint64_t n = 0;
        for (uint32_t r = 0; r < br__procs_size(); r++)
            n += heard.next[r];
        if (n == RECORDS * (uint64_t)br__procs_size())
            break;
        usleep(10000);
    }
    rc = br__procs_agree(rc, err);
    br__procs_listen(NULL, NULL);
    for (uint32_t r = 0; r < br__procs_size() && br__procs_rank() == 0 && !rc; r++)
        if (heard.next[r] != RECORDS || heard.wrong)
            rc = br_fail(err, BR_E_COMM, "rank %" PRIu32 " told %" PRIu64 " records", r,
                         heard.next[r]);
    return rc;
}

/* A rank has got a signal: all learn it at once, and not before. */
static int learn(int is_it, struct br_err *err)
{
    int any, rc = br__procs_any(0, &any, err);
    if (!rc && any)
        return br_fail(err, BR_E_NUMERIC, "nobody has got a signal");
    if (!rc)
        rc = br__procs_any(is_it, &any, err);
    if (!rc && !any)
        rc = br_fail(err, BR_E_NUMERIC, "rank %u did not learn of a signal", br__procs_rank());
    return rc;
}

#define JOBS 12

struct sum {
    struct br__comm_job job;
    struct br_comm *comm;
    int32_t x[N];
};

static int run_sum(void *arg, struct br_err *err)
{
    struct sum *s = arg;
    return s->comm->ops->all_reduce(s->comm, s->x, N, BR_I32, err);
}

/* Sums that are posted, and others of the rank's own between them. */
static int queue_rank(void *arg, uint32_t rank, struct br_err *err)
{
    static struct sum sums[JOBS];
    const struct br__rank_info *r = br__world_rank(arg, rank);
    int32_t size = (int32_t)r->topo.world, ranks = size * (size - 1) / 2;
    int rc = BR_OK;
    for (int k = 0; k < JOBS && !rc; k++) {
        sums[k].comm = r->comms[BR_GROUP_DP];
        sums[k].job = (struct br__comm_job){.run = run_sum, .arg = &sums[k]};
        for (int i = 0; i < N; i++)
            sums[k].x[i] = (int32_t)rank + k;
        rc = br__commq_post(r->queue, &sums[k].job, err);
        if (!rc && k % 4 == 1)
            rc = add(err);
    }
    for (int k = 0; k < JOBS && !rc; k++) {
        rc = br__commq_wait(&sums[k].job, err);
        for (int i = 0; i < N && !rc; i++)
            if (sums[k].x[i] != ranks + size * k)
                rc = br_fail(err, BR_E_NUMERIC, "sum %d is %d, expected %d", k, sums[k].x[i],
                             ranks + size * k);
    }
    br__commq_settle(r->queue, rc);
    return rc;
}

static int make_groups(int (*fn)(void *arg, uint32_t rank, struct br_err *err), struct br_err *err)
{
    struct br_topo topo;
    struct br__world *w;
    int rc = br_topo_make(&topo, 1, 1, 1, 1, 1, br__procs_size(), err);
    if (!rc)
        rc = br__world_open(&w, &topo, NULL, NULL, 0, err);
    if (rc)
        return rc;
    if (fn)
        rc = br__world_run(w, fn, w, err);
    br__world_close(w);
    return rc;
}

static int run(const char *word, int is_it, struct br_err *err)
{
    int rc = add(err);
    if (rc)
        return rc;
    if (!strcmp(word, "loop"))
        return loop(err);
    if (!strcmp(word, "fail"))
        return is_it ? br_fail(err, BR_E_NOSPC, "the disk is full") : loop(err);
    if (!strcmp(word, "busy") && !is_it)
        sleep(60);
    if (!strcmp(word, "busy"))
        return is_it ? br_fail(err, BR_E_NOSPC, "the disk is full") : BR_OK;
    if (!strcmp(word, "late") && is_it) {
        br__procs_doing("reading 'a file'");
        sleep(60);
    }
    if (!strcmp(word, "late"))
        return add(err);
    if (!strcmp(word, "idle")) {
        sleep(2);
        return BR_OK;
    }
    if (!strcmp(word, "die") && is_it)
        raise(SIGKILL);
    if (!strcmp(word, "die"))
        return make_groups(NULL, err);
    rc = learn(is_it, err);
    if (!rc)
        rc = tell(err);
    return rc ? rc : make_groups(queue_rank, err);
}

int main(int argc, char **argv)
{
    struct br_err err = BR_ERR_INIT;
    struct br__procs_opts o = {.say = say, .leave = leave};
    int64_t timeout, it = -1;
    if (argc < 4 || br__parse_i64(argv[2], &timeout) || (argc > 4 && br__parse_i64(argv[4], &it)))
        return BR_E_USAGE;
    o.module = argv[1];
    o.timeout = (int)timeout;
    int rc = br__launch_find(&o.launch, &err);
    if (!rc)
        rc = br__procs_open(&o, &err);
    if (!rc) {
        char pid[64];
        int n = snprintf(pid, sizeof pid, "rank %" PRIu32 " is %ld;\n", br__procs_rank(),
                         (long)getpid());
        if (write(STDOUT_FILENO, pid, (size_t)n) != n)
            return BR_E_IO;
        rc = run(argv[3], it == (int64_t)br__procs_rank(), &err);
        rc = br__procs_end(rc, &err);
    }
    if (rc && br__procs_rank() == 0)
        say(err.msg);
    return rc;
}
