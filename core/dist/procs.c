/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* procs.c - this process as one rank of several: the world that the launcher made, and what all
 * ranks agree on.  MPI is begun once in a process, so there is one such world. */
#include "processes.h"

#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
    struct br_comm *world;  /* NULL: alone, or at the end */
    int is_staged;          /* it is no MPI's */
    struct br_comm *joined; /* what the world's is made of */
    struct br__commq *queue;
    int32_t *statuses; /* [size] */
    uint32_t rank, local;
    uint32_t pretended; /* size; 0: nothing is */
    int patience;       /* seconds, for threads */
    void (*lost)(const char *text);
} procs;

struct br_comm *br__procs_world(void)
{
    return procs.world;
}

struct br__commq *br__procs_queue(void)
{
    return procs.queue;
}

uint32_t br__procs_rank(void)
{
    return procs.rank;
}

uint32_t br__procs_size(void)
{
    return procs.world ? procs.world->size : procs.pretended ? procs.pretended : 1;
}

uint32_t br__procs_local(void)
{
    return procs.local;
}

void br__procs_pretend(uint32_t rank, uint32_t size)
{
    procs.rank = rank;
    procs.pretended = size;
}

int br__procs_pretends(void)
{
    return procs.pretended > 0;
}

void br__procs_patience(int seconds)
{
    if (procs.world)
        br__control_patience(seconds);
    else
        br__procs_watch_threads(seconds, procs.lost);
}

void br__procs_watch_threads(int seconds, void (*lost)(const char *text))
{
    procs.patience = seconds;
    procs.lost = lost;
    br__local_watch(seconds, lost);
}

int br__procs_watched(void (**lost)(const char *text))
{
    *lost = procs.lost;
    return procs.patience;
}

/* ---- what all ranks know --------------------------------------------------------------------- */

/* As four-byte integers, which are moved as they are; the last bytes by themselves. */
int br__procs_share(void *buf, size_t n, uint32_t root, struct br_err *err)
{
    struct br_comm *w = procs.world;
    int32_t tail = 0;
    size_t whole = n / 4, rest = n % 4;
    if (!w)
        return BR_OK;
    int rc = w->ops->broadcast(w, buf, whole, BR_I32, root, err);
    if (!rc && rest) {
        memcpy(&tail, (char *)buf + 4 * whole, rest);
        rc = w->ops->broadcast(w, &tail, 1, BR_I32, root, err);
        memcpy((char *)buf + 4 * whole, &tail, rest);
    }
    return rc;
}

int br__procs_share_buf(struct br__buf *b, uint32_t root, struct br_err *err)
{
    uint64_t n = b->n;
    int rc = b->failed ? br__nomem(err, "for what ranks tell each other") : BR_OK;
    if (!procs.world)
        return rc;
    rc = br__procs_agree(rc, err);
    if (!rc)
        rc = br__procs_share(&n, sizeof n, root, err);
    if (!rc && procs.rank != root) {
        b->n = 0;
        if (n && !br__buf_room(b, (size_t)n + 1))
            rc = br__nomem(err, "for what ranks tell each other");
        else if (n)
            b->p[n] = '\0';
        b->n = rc ? 0 : (size_t)n;
    }
    rc = br__procs_agree(rc, err);
    return rc || !n ? rc : br__procs_share(b->p, (size_t)n, root, err);
}

/* n bytes to or from a rank, as four-byte integers; the last bytes by themselves. */
static int move_bytes(void *buf, size_t n, uint32_t peer, uint32_t is_send, struct br_err *err)
{
    struct br_comm *w = procs.world;
    char tail[4] = "";
    size_t whole = n / 4, rest = n % 4;
    const struct br_p2p ops[] = {{buf, whole, BR_I32, peer, is_send, 0},
                                 {tail, 1, BR_I32, peer, is_send, 1}};
    if (is_send)
        memcpy(tail, (char *)buf + 4 * whole, rest);
    int rc = w->ops->exchange(w, ops, 2, err);
    if (!rc && !is_send)
        memcpy((char *)buf + 4 * whole, tail, rest);
    return rc;
}

/* What rank r has follows in `all` on rank 0, where there is room for it. */
static int gather_from(const struct br__buf *mine, struct br__buf *all, uint32_t r, size_t n,
                       struct br_err *err)
{
    if (!n || (procs.rank && procs.rank != r))
        return BR_OK;
    if (procs.rank)
        return move_bytes(mine->p, n, 0, 1, err);
    char *at = all->p + all->n;
    all->n += n;
    if (r)
        return move_bytes(at, n, r, 0, err);
    memcpy(at, mine->p, n);
    return BR_OK;
}

int br__procs_gather(const struct br__buf *mine, struct br__buf *all, size_t *sizes,
                     struct br_err *err)
{
    struct br_comm *w = procs.world;
    uint32_t size = w ? w->size : 1;
    size_t total = 0;
    int64_t n = (int64_t)mine->n, *each = br__calloc(size, sizeof *each);
    int rc = mine->failed || !each ? br__nomem(err, "for what ranks tell each other") : BR_OK;
    rc = br__procs_agree(rc, err);
    if (!rc && w)
        rc = w->ops->all_gather(w, each, &n, 1, BR_I64, err);
    else if (!rc)
        each[0] = n;
    for (uint32_t r = 0; r < size && !rc; r++)
        total += sizes[r] = (size_t)each[r];
    if (!rc && procs.rank == 0 && !br__buf_room(all, total))
        rc = br__nomem(err, "for what ranks tell each other");
    rc = br__procs_agree(rc, err);
    for (uint32_t r = 0; r < size && !rc; r++)
        rc = gather_from(mine, all, r, sizes[r], err);
    br__free(each);
    return rc;
}

int br__procs_sum(void *buf, size_t n, uint32_t dtype, struct br_err *err)
{
    struct br_comm *w = procs.world;
    return w ? w->ops->all_reduce(w, buf, n, dtype, err) : BR_OK;
}

int br__procs_any(int mine, int *any, struct br_err *err)
{
    int32_t n = mine != 0;
    int rc = br__procs_sum(&n, 1, BR_I32, err);
    *any = n != 0;
    return rc;
}

/* The rank to blame by all ranks' statuses: the first whose error is its own, else the first that
 * failed; all: none has. */
static uint32_t find_failed(const int32_t *all, uint32_t n)
{
    uint32_t bad = n;
    for (uint32_t r = n; r-- > 0;)
        if (all[r] && (all[r] != BR_E_COMM || bad == n || all[bad] == BR_E_COMM))
            bad = r;
    return bad;
}

int br__procs_agree(int rc, struct br_err *err)
{
    struct br_comm *w = procs.world;
    struct br_err again;
    int32_t mine = rc;
    char text[1000] = "", name[128];
    if (!w || br__watch_harmed())
        return rc;
    int failed = w->ops->all_gather(w, procs.statuses, &mine, 1, BR_I32, rc ? &again : err);
    if (failed)
        return rc ? rc : failed;
    uint32_t bad = find_failed(procs.statuses, w->size);
    if (bad == w->size)
        return BR_OK;
    if (bad == w->rank)
        snprintf(text, sizeof text, "%s: %.800s", br__control_name(bad, name), err ? err->msg : "");
    failed = br__procs_share(text, sizeof text, bad, rc ? &again : err);
    if (rc && rc != BR_E_COMM)
        return rc;
    return failed ? failed : br_fail(err, procs.statuses[bad], "%s", text);
}

/* The first line of `mine` that is not one of `first`: its place in each. */
static void unlike_line(const char **mine, const char **first)
{
    for (;;) {
        size_t a = strcspn(*mine, "\n"), b = strcspn(*first, "\n");
        if (a != b || memcmp(*mine, *first, a) != 0 || !(*mine)[a] || !(*first)[b])
            return;
        *mine += a + 1;
        *first += b + 1;
    }
}

int br__procs_same(const char *what, const char *text, struct br_err *err)
{
    struct br__buf b = {0};
    char name[128];
    if (!procs.world)
        return BR_OK;
    if (procs.rank == 0)
        br__buf_put(&b, text, strlen(text) + 1);
    int rc = br__procs_share_buf(&b, 0, err);
    const char *mine = text, *first = rc ? text : b.p;
    if (!rc && strcmp(mine, first) != 0) {
        unlike_line(&mine, &first);
        rc = br_fail(err, BR_E_USAGE, "another %s than that of %s: '%.*s', and there '%.*s'", what,
                     br__control_name(0, name), (int)BR__MIN(strcspn(mine, "\n"), (size_t)390),
                     mine, (int)BR__MIN(strcspn(first, "\n"), (size_t)390), first);
    }
    br__buf_free(&b);
    return br__procs_agree(rc, err);
}

/* ---- begin ----------------------------------------------------------------------------------- */

/* Ranks of one host that may use the same CPUs share them; those that see the same GPUs number
 * them. */
static int share_host(struct br_comm *w, struct br_err *err)
{
    char host[256] = "";
    const char *gpus = getenv("CUDA_VISIBLE_DEVICES");
    cpu_set_t set;
    uint32_t n = 0;
    memset(&set, 0, sizeof set);
    (void)gethostname(host, sizeof host - 1);
    (void)!sched_getaffinity(0, sizeof set, &set);
    int64_t mine[3] = {(int64_t)br__xxh3(host, strlen(host)), (int64_t)br__xxh3(&set, sizeof set),
                       gpus ? (int64_t)br__xxh3(gpus, strlen(gpus)) : 0};
    int64_t(*all)[3] = br__calloc(w->size, sizeof *all);
    int rc = all ? w->ops->all_gather(w, all, mine, 3, BR_I64, err)
                 : br__nomem(err, "for %" PRIu32 " ranks", w->size);
    for (uint32_t r = 0; r < w->size && !rc; r++) {
        int here = all[r][0] == mine[0];
        procs.local += here && all[r][2] == mine[2] && r < w->rank;
        n += here && all[r][1] == mine[1];
    }
    br__cpu_share((int)n);
    br__free(all);
    return rc;
}

static int share_from_first(void *buf, size_t n, struct br_err *err)
{
    return br__procs_share(buf, n, 0, err);
}

static int open_world(const struct br__procs_opts *o, struct br_err *err)
{
    struct br_plane plane;
    struct br_comm *joined = NULL, *watched;
    unsigned char id[BR_COMM_ID];
    int rc = BR_OK;
    procs.is_staged = !o->module;
    if (o->module)
        rc = br__plane_open(o->module, &plane, err);
    else
        plane = *o->backend->plane;
    if (!rc)
        rc = plane.id(id, err);
    if (!rc)
        rc = plane.join(o->device, id, o->launch.rank, o->launch.size, &joined, err);
    if (!rc && procs.is_staged)
        rc = br__staged_open(o->backend, o->device, joined, &joined, err);
    procs.joined = joined;
    if (!rc)
        rc = br__watch(joined, "all ranks", &watched, err);
    if (!rc)
        rc = br__commq_open(&procs.queue, err);
    if (!rc)
        rc =
            br__commq_wrap(procs.queue, watched, br__group_name(BR_GROUP_WORLD), &procs.world, err);
    if (!rc)
        br__commq_abort_with(procs.queue, procs.world);
    return rc;
}

int br__procs_open(const struct br__procs_opts *o, struct br_err *err)
{
    const struct br__control_opts control = {o, share_from_first};
    int rc = open_world(o, err);
    if (rc)
        return rc;
    struct br_comm *world = procs.world;
    procs.rank = world->rank;
    procs.statuses = br__calloc(world->size, sizeof *procs.statuses);
    rc = procs.statuses ? br__control_open(&control, err) : br__nomem(err, "for the ranks");
    br__comm_describe(procs.joined, "all ranks", !rc);
    if (!rc)
        rc = share_host(world, err);
    if (rc) {
        world->ops->abort(world);
        procs.world = NULL;
    }
    if (rc)
        br__control_leave();
    return rc;
}

/* ---- records, and the end -------------------------------------------------------------------- */

int br__procs_tell(uint32_t kind, const void *p, size_t n, struct br_err *err)
{
    return procs.world ? br__control_send(kind, p, n, err) : BR_OK;
}

void br__procs_listen(br__procs_heard *heard, void *ud)
{
    if (procs.world)
        br__control_listen(heard, ud);
}

int br__procs_end(int rc, struct br_err *err)
{
    int unharmed = 0;
    if (!procs.world)
        return rc;
    rc = br__control_end(rc, err, &unharmed);
    if (!unharmed && procs.is_staged) /* no rank waits for what is no more */
        procs.world->ops->abort(procs.world);
    if (unharmed || procs.is_staged) {
        procs.world->ops->close(procs.world);
        br__commq_close(procs.queue);
        procs.world = NULL;
        procs.queue = NULL;
    }
    if (rc)
        br__control_leave();
    return rc;
}
