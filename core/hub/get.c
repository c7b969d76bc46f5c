/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* get.c - files of a model brought to disk, several ranges at a time.
 *
 *   items      one per file: where it goes, its lock, its parts, its digest
 *   replies    what a slot's transfer brings: addresses (HEAD) or bytes (GET of a part)
 *   slots      a fixed number of transfers, each serving one item at a time
 *   finishing  digest, name, link
 *   run        the loop
 *
 * An item waits for its lock, asks where its bytes are, receives its parts in order of their place
 * (so that the digest keeps up), and ends when the digest is that of the listing.  Everything here
 * runs in the calling thread but the digests. */
#include "hub_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS 8
#define PART_BYTES (16u << 20)
#define SLOT_BUF (64u << 10) /* stays in the L2 cache until it is written */
#define LOCK_EVERY_MS 200
#define PROGRESS 4096 /* bytes that show that a connection works */
#define LOCATE_S 60   /* for one HEAD */
#define MOVES_MAX 5
#define SPACE_MARGIN (UINT64_C(16) << 20) /* what a download leaves free */

enum stage { WAITING, LOCATING, RECEIVING, HASHING, DONE };

struct item {
    const struct br__hub_file *f;
    const char *base,
        *lock_base; /* directory they begin with: symbolic links below it are not followed */
    const char *final, *incomplete, *lock; /* paths */
    const char *meta;                      /* local directory: the file's record; else NULL */
    enum stage stage;
    int lock_fd;
    int64_t lock_due;
    const char *location;   /* of the file's bytes */
    const char *origin_tag; /* etag that the server of the bytes reports; all parts must have it */
    uint8_t *taken;         /* [n_parts] 1: a slot has it, or it is complete */
    int whole;              /* the server has no ranges: one slot receives the whole file */
    int again;        /* second download, after the digest of bytes from an earlier run was wrong */
    unsigned repeats; /* of all requests */
    int moves;        /* HEAD requests since the last byte came */
    struct br__hub_part part;
    struct br__hub_hash hash;
    int hashing; /* the hasher has the file */
};

/* REFUSED: by its status the reply's body is not the file. */
enum verdict { FINE, NO_RANGES, CHANGED, REFUSED };

struct slot {
    struct getter *g;
    struct item *it; /* NULL: free */
    const char *url;
    int locating;      /* HEAD, else GET */
    int running;       /* a transfer is under way */
    int hops;          /* redirects of this HEAD */
    int attempt;       /* without progress since */
    int64_t due;       /* not running: when to start */
    uint64_t pos, end; /* bytes still to come */
    enum verdict verdict;
    unsigned char *buf;
    size_t n; /* in buf, to be written at pos - n */
};

struct getter {
    struct br__hub *h;
    struct br__arena a;
    uint64_t part_bytes;
    struct item *items;
    size_t n_items, n_done;
    struct slot *slots;
    size_t n_slots;
    struct br__hub_hasher *hasher;
    struct br__hub_totals t;
    uint64_t have; /* bytes of all files that are there */
    int64_t told;  /* when progress was reported last */
    int rc;
    struct br_err err;
};

/* The first failure ends the run. */
static void give_up(struct getter *g, int rc, const struct br_err *err)
{
    if (g->rc)
        return;
    g->rc = rc;
    g->err = *err;
}

/* ---- items ----------------------------------------------------------------------------------- */

static int set_paths(struct getter *g, struct item *it, const char *local_dir, struct br_err *err)
{
    const struct br__hub *h = g->h;
    struct br__arena *a = &g->a;
    it->base = local_dir ? local_dir : h->dir;
    it->lock_base = local_dir ? local_dir : h->root;
    if (local_dir) {
        const char *below =
            br__arena_printf(a, "%s/.cache/huggingface/download/%s", local_dir, it->f->path);
        if (!below)
            return br__nomem(err, "downloading");
        it->final = br__arena_printf(a, "%s/%s", local_dir, it->f->path);
        it->meta = br__arena_printf(a, "%s.metadata", below);
        it->lock = br__arena_printf(a, "%s.lock", below);
        it->incomplete = br__arena_printf(a, "%s.%s.bridge.incomplete", below, it->f->etag);
    } else {
        it->final = br__arena_printf(a, "%s/blobs/%s", h->dir, it->f->etag);
        it->lock = br__arena_printf(a, "%s/.locks/%s/%s.lock", h->root, h->folder, it->f->etag);
        it->incomplete = br__arena_printf(a, "%s.bridge.incomplete", it->final);
    }
    return it->final && it->lock && it->incomplete && (!local_dir || it->meta)
               ? BR_OK
               : br__nomem(err, "downloading");
}

/* The record of a local directory's file: commit, etag, time. */
static int get_record(const struct getter *g, const struct item *it, struct br_err *err)
{
    struct br__buf b = {0};
    br__buf_printf(&b, "%s\n%s\n%lld.0\n", g->h->commit, it->f->etag, (long long)time(NULL));
    struct br__dir d = {.fd = -1};
    int rc =
        b.failed ? br__nomem(err, "downloading") : br__dir_below(&d, it->base, it->meta, 1, err);
    if (!rc)
        rc = br__write_in(&d, br__path_base(it->meta), b.p, b.n, 0, err);
    br__dir_close(&d);
    br__buf_free(&b);
    return rc;
}

/* Does the record of a local file say that it is this one? */
static int get_recorded(const struct item *it)
{
    char *text = NULL;
    if (br__read_text(it->meta, 4096, &text, NULL, NULL))
        return 0;
    char *line = strchr(text, '\n');
    size_t n = strlen(it->f->etag);
    int same = line && !strncmp(line + 1, it->f->etag, n) && line[1 + n] == '\n';
    br__free(text);
    return same;
}

static int is_there(const struct getter *g, const struct item *it)
{
    struct stat st;
    if (!it->meta)
        return br__hub_has(g->h, it->f->path);
    return !br__io.stat(it->final, &st) && (uint64_t)st.st_size == it->f->size && get_recorded(it);
}

/* Has another process finished the file? */
static int is_complete(const struct item *it)
{
    struct stat st;
    return !br__io.stat(it->final, &st) && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == it->f->size && (!it->meta || get_recorded(it));
}

/* Take the lock as huggingface_hub's filelock does; 0 in *got if another process has it. */
static int take_lock(struct item *it, int *got, struct br_err *err)
{
    struct stat by_fd, by_path;
    *got = 0;
    struct br__dir d;
    const char *name = br__path_base(it->lock);
    int fd = -1, locked, rc = br__dir_below(&d, it->lock_base, it->lock, 1, err);
    if (!rc) /* others can write in a shared cache: do not follow a link */
        rc = br__dir_file(&d, name, 0664, 0, &fd, err);
    /* Without locks, files that appear only when complete have to be enough. */
    int held = !rc && !(rc = br__fd_lock(fd, it->lock, 0, &locked, err));
    /* The process that held the lock may have removed the file. */
    if (held && !br__io.fstat(fd, &by_fd) && !br__dir_stat(&d, name, &by_path) &&
        by_fd.st_ino == by_path.st_ino) {
        it->lock_fd = fd;
        *got = 1;
    } else if (fd >= 0) {
        br__io.close(fd);
    }
    br__dir_close(&d);
    return rc == BR_E_BUSY ? BR_OK : rc;
}

static void item_release(struct getter *g, struct item *it)
{
    if (it->hashing)
        br__hub_hasher_remove(g->hasher, &it->hash);
    it->hashing = 0;
    br__hub_part_close(&it->part);
    if (it->lock_fd >= 0)
        br__io.close(it->lock_fd);
    it->lock_fd = -1;
}

static int item_done(struct getter *g, struct item *it, struct br_err *err)
{
    int rc = it->meta ? get_record(g, it, err) : br__hub_link(g->h, it->f, err);
    item_release(g, it);
    it->stage = DONE;
    g->n_done++;
    return rc;
}

static void start_hash(struct getter *g, struct item *it)
{
    it->hash = (struct br__hub_hash){.fd = it->part.fd, .size = it->f->size, .lfs = it->f->lfs};
    br__hub_hasher_add(g->hasher, &it->hash);
    br__hub_hasher_front(g->hasher, &it->hash, br__hub_part_front(&it->part));
    it->hashing = 1;
}

/* The lock is held: start the download, unless another process finished it meanwhile. */
static int item_begin(struct getter *g, struct item *it, struct br_err *err)
{
    if (is_complete(it)) {
        g->have += it->f->size;
        return item_done(g, it, err);
    }
    int rc = br__hub_part_open(&it->part, it->base, it->incomplete, it->f, g->part_bytes, err);
    if (!rc && !(it->taken = br__arena_alloc(&g->a, it->part.n_parts + 1)))
        rc = br__nomem(err, "downloading");
    if (rc)
        return rc;
    for (size_t i = 0; i < it->part.n_parts; i++)
        it->taken[i] = it->part.done[i] == br__hub_part_bytes(&it->part, i);
    g->t.resumed += it->part.resumed;
    g->have += it->part.resumed;
    start_hash(g, it);
    it->stage = br__hub_part_front(&it->part) == it->f->size ? HASHING : LOCATING;
    return BR_OK;
}

/* ---- progress -------------------------------------------------------------------------------- */

static void get_tell(struct getter *g, int last)
{
    const struct br_listener *l = g->h->o.listener;
    char phase[160];
    int64_t now = br__clock_ms();
    if (!l || !l->progress || (!last && now - g->told < 50))
        return;
    g->told = now;
    snprintf(phase, sizeof phase, "downloading");
    for (size_t i = 0; i < g->n_items && !last; i++) {
        const struct item *it = &g->items[i];
        if (it->stage != RECEIVING)
            continue;
        snprintf(phase, sizeof phase, "downloading: %.100s", it->f->path);
        break;
    }
    l->progress(l->ud, phase, g->have, g->t.bytes);
}

/* ---- replies --------------------------------------------------------------------------------- */

static void slot_free(struct slot *s)
{
    s->it = NULL;
    s->running = 0;
    s->n = 0;
    s->attempt = 0;
}

/* Give back a part that is not complete, so that another slot can take it. */
static void get_untake(struct slot *s)
{
    if (s->pos < s->end && !s->it->whole)
        s->it->taken[s->pos / s->g->part_bytes] = 0;
}

static int get_flush(struct slot *s, struct br_err *err)
{
    struct item *it = s->it;
    if (!s->n)
        return BR_OK;
    int rc = br__hub_part_write(&it->part, s->pos - s->n, s->buf, s->n, err);
    if (rc)
        return rc;
    s->g->t.fetched += s->n;
    s->g->have += s->n;
    it->moves = 0;
    /* Progress resets the number of attempts.  A stream of the whole file makes none, since it
     * begins again when it is cut; nor do a few bytes, or a server that sends one byte per
     * connection would be asked for ever. */
    if (!it->whole && s->n >= BR__MIN((uint64_t)PROGRESS, s->g->part_bytes / 16))
        s->attempt = 0;
    s->n = 0;
    br__hub_hasher_front(s->g->hasher, &it->hash, br__hub_part_front(&it->part));
    return BR_OK;
}

static int is_success(const struct br__http_reply *r)
{
    return r->status == 200 || r->status == 206;
}

/* All parts of a file must come from one version of it. */
static enum verdict check_tag(struct slot *s, const struct br__http_reply *r)
{
    struct item *it = s->it;
    const char *tag = br__http_header(&s->g->a, r, "ETag");
    if (!tag)
        return FINE;
    if (!it->origin_tag)
        it->origin_tag = tag;
    return strcmp(tag, it->origin_tag) ? CHANGED : FINE;
}

static enum verdict get_judge(struct slot *s, const struct br__http_reply *r)
{
    uint64_t from, to, total;
    const char *range = br__http_header(&s->g->a, r, "Content-Range");
    const char *length = br__http_header(&s->g->a, r, "Content-Length");
    int64_t n;
    if (r->status == 206) {
        if (!range || br__hub_content_range(range, &from, &to, &total) || from != s->pos ||
            to > s->end || total != s->it->f->size)
            return CHANGED;
        return check_tag(s, r);
    }
    if (length && (br__parse_i64(length, &n) || (uint64_t)n != s->it->f->size))
        return CHANGED;
    if (s->pos != 0 || s->end != s->it->f->size)
        return NO_RANGES;
    return check_tag(s, r);
}

/* Check the head of a part's reply: only the bytes that were asked for are received. */
static int part_head(void *ud, const struct br__http_reply *r, struct br_err *err)
{
    struct slot *s = ud;
    s->verdict = is_success(r) ? get_judge(s, r) : REFUSED;
    if (s->verdict == FINE || s->verdict == REFUSED)
        return BR_OK;
    return br_fail(err, BR_E_FORMAT,
                   "'%s' changes while it is downloaded: the answer for bytes %" PRIu64
                   " to %" PRIu64 " of %" PRIu64 " is of another file",
                   s->it->f->path, s->pos, s->end, s->it->f->size);
}

static int part_body(void *ud, const void *p, size_t n, struct br_err *err)
{
    struct slot *s = ud;
    const char *from = p;
    if (s->verdict != FINE || !s->buf)
        return BR_OK;
    if (n > s->end - s->pos)
        return br_fail(err, BR_E_NETWORK, "'%s': more bytes come than were asked for",
                       s->it->f->path);
    while (n) {
        size_t k = BR__MIN(n, SLOT_BUF - s->n);
        memcpy(s->buf + s->n, from, k);
        s->n += k;
        s->pos += k;
        from += k;
        n -= k;
        int rc = s->n == SLOT_BUF ? get_flush(s, err) : BR_OK;
        if (rc)
            return rc;
    }
    get_tell(s->g, 0);
    return BR_OK;
}

/* Schedule another try of the slot's request, or end the run. */
static void get_repeat(struct slot *s, const struct br__http_reply *r, int rc,
                       const struct br_err *err)
{
    struct getter *g = s->g;
    struct item *it = s->it;
    int64_t ms = br__http_delay(g->h->http, r, ++s->attempt);
    if (++it->repeats > 200 + 8 * it->part.n_parts)
        ms = -1; /* too many requests for a file of this size */
    if (ms < 0) {
        struct br_err why = *err;
        br_wrap(&why, "'%s' of '%s', after %d attempts", it->f->path, g->h->id, s->attempt);
        give_up(g, rc, &why);
        return;
    }
    br__http_tell(g->h->http, it->f->path, r, ms);
    s->due = br__clock_ms() + ms;
}

/* The address expired: this slot asks for a new one, the others wait. */
static void get_relocate(struct slot *s, const struct br__http_reply *r, int rc,
                         const struct br_err *err)
{
    struct item *it = s->it;
    get_untake(s);
    s->n = 0;
    if (it->stage == LOCATING) { /* another slot asks already */
        slot_free(s);
        return;
    }
    if (++it->moves > MOVES_MAX) {
        give_up(s->g, rc, err);
        return;
    }
    it->stage = LOCATING;
    it->location = it->origin_tag = NULL;
    s->locating = 1;
    s->hops = 0;
    s->url = br__hub_url(s->g->h, &s->g->a, it->f->path);
    get_repeat(s, r, rc, err);
}

/* The server has no ranges: receive the whole file from its beginning, in this slot. */
static int take_whole(struct slot *s, struct br_err *err)
{
    struct getter *g = s->g;
    struct item *it = s->it;
    for (size_t i = 0; i < g->n_slots; i++)
        if (&g->slots[i] != s && g->slots[i].it == it) {
            br__http_drop(g->h->http, &g->slots[i]);
            slot_free(&g->slots[i]);
        }
    for (size_t i = 0; i < it->part.n_parts; i++)
        g->have -= it->part.done[i];
    g->t.resumed -= it->part.resumed;
    it->whole = 1;
    memset(it->taken, 1, it->part.n_parts);
    s->pos = 0;
    s->end = it->f->size;
    s->n = 0;
    s->due = 0;
    return br__hub_part_reset(&it->part, err);
}

/* A part's transfer ended before all of its bytes came. */
static void part_unfinished(struct slot *s, const struct br__http_reply *r, int rc,
                            const struct br_err *err)
{
    struct br_err why = *err;
    struct br__hub *h = s->g->h;
    if (s->verdict == NO_RANGES) {
        if ((rc = take_whole(s, &why)))
            give_up(s->g, rc, &why);
    } else if (s->verdict == CHANGED) {
        get_relocate(s, r, rc, &why);
    } else if (!rc && br__hub_expired(h, s->url, r)) {
        rc = br__hub_refused(h, s->url, r, &why);
        get_relocate(s, r, rc, &why);
    } else if (!rc && !is_success(r)) {
        rc = br__hub_refused(h, s->url, r, &why);
        if (r->again)
            get_repeat(s, r, rc, &why);
        else
            give_up(s->g, rc, &why);
    } else if (rc && !r->again && rc != BR_E_NETWORK) {
        give_up(s->g, rc, &why);
    } else {
        if (!rc)
            rc = br_fail(&why, BR_E_NETWORK, "'%s' ends after %" PRIu64 " of %" PRIu64 " bytes",
                         s->url, s->pos, s->end);
        if (s->it->whole) { /* a stream of the whole file cannot continue in the middle */
            struct br_err again = why;
            int attempt = s->attempt;
            if ((rc = take_whole(s, &again)))
                give_up(s->g, rc, &again);
            s->attempt = attempt;
        }
        get_repeat(s, r, rc ? rc : BR_E_NETWORK, &why);
    }
}

static void part_end(void *ud, const struct br__http_reply *r, int rc, const struct br_err *err)
{
    struct slot *s = ud;
    struct br_err why = *err;
    s->running = 0;
    int wrote = s->verdict == FINE ? get_flush(s, &why) : BR_OK;
    if (wrote)
        give_up(s->g, wrote, &why);
    else if (s->verdict == FINE && s->pos == s->end)
        slot_free(s);
    else
        part_unfinished(s, r, rc, &why);
}

static void head_end(void *ud, const struct br__http_reply *r, int rc, const struct br_err *err)
{
    struct slot *s = ud;
    struct getter *g = s->g;
    struct br_err why = *err;
    const char *next = NULL, *location = NULL;
    s->running = 0;
    if (!rc && !r->again)
        rc = br__hub_located(g->h, &g->a, s->it->f, s->url, r, &next, &location, &why);
    else if (!rc)
        rc = br__hub_refused(g->h, s->url, r, &why);
    if (!rc && next && ++s->hops > BR__HUB_REDIRECTS)
        rc = br_fail(&why, BR_E_NETWORK, "'%s' is redirected more than %d times", s->it->f->path,
                     BR__HUB_REDIRECTS);
    if (rc && r->again) {
        get_repeat(s, r, rc, &why);
    } else if (rc) {
        give_up(g, rc, &why);
    } else if (next) {
        s->url = next;
        s->due = 0;
    } else {
        s->it->location = location;
        s->it->stage = RECEIVING;
        slot_free(s);
    }
}

/* ---- slots ----------------------------------------------------------------------------------- */

static int slot_start(struct slot *s, struct br_err *err)
{
    struct br__hub *h = s->g->h;
    struct br__http_request q = {
        .url = s->url, .head = s->locating, .timeout_s = s->locating ? LOCATE_S : 0, .ud = s};
    s->verdict = FINE;
    if (!s->url)
        return br__nomem(err, "downloading");
    q.token = br__hub_token_for(h, s->url);
    if (s->locating) {
        q.on_end = head_end;
    } else {
        q.from = s->pos;
        q.n = s->it->whole ? 0 : s->end - s->pos;
        q.on_head = part_head;
        q.on_body = part_body;
        q.on_end = part_end;
    }
    s->running = 1;
    return br__http_start(h->http, &q, err);
}

/* Give the slot the first part of the item that no slot has; 0 if there is none. */
static int take_part(struct slot *s, struct item *it)
{
    const struct getter *g = s->g;
    for (size_t i = 0; i < it->part.n_parts; i++) {
        if (it->taken[i])
            continue;
        it->taken[i] = 1;
        s->it = it;
        s->locating = 0;
        s->url = it->location;
        s->pos = i * g->part_bytes + it->part.done[i];
        s->end = i * g->part_bytes + br__hub_part_bytes(&it->part, i);
        s->due = 0;
        return 1;
    }
    return 0;
}

static int is_served(const struct getter *g, const struct item *it)
{
    for (size_t i = 0; i < g->n_slots; i++)
        if (g->slots[i].it == it)
            return 1;
    return 0;
}

/* Find work for a free slot: the first item in order that has any. */
static int find_work(struct slot *s, int64_t now, struct br_err *err)
{
    struct getter *g = s->g;
    for (size_t i = 0; i < g->n_items; i++) {
        struct item *it = &g->items[i];
        int got = 0, rc = BR_OK;
        if (it->stage == WAITING && now >= it->lock_due) {
            rc = take_lock(it, &got, err);
            it->lock_due = now + LOCK_EVERY_MS;
            if (!rc && got)
                rc = item_begin(g, it, err);
        }
        if (rc)
            return rc;
        if (it->stage == LOCATING && !is_served(g, it)) {
            s->it = it;
            s->locating = 1;
            s->hops = 0;
            s->due = 0;
            s->url = br__hub_url(g->h, &g->a, it->f->path);
            return BR_OK;
        }
        if (it->stage == RECEIVING && take_part(s, it))
            return BR_OK;
    }
    return BR_OK;
}

static int slots_advance(struct getter *g, struct br_err *err)
{
    int64_t now = br__clock_ms();
    int rc = BR_OK;
    for (size_t i = 0; i < g->n_slots && !rc && !g->rc; i++) {
        struct slot *s = &g->slots[i];
        if (!s->it)
            rc = find_work(s, now, err);
        if (!rc && s->it && !s->running && now >= s->due)
            rc = slot_start(s, err);
    }
    return rc;
}

/* ---- finishing ------------------------------------------------------------------------------- */

/* The digest is wrong: keep the bytes under another name, so that the cause can be found.  Bytes of
 * an earlier run may be the cause, so then download all of them once more. */
static int get_mismatch(struct getter *g, struct item *it, struct br_err *err)
{
    const char *aside = br__arena_printf(&g->a, "%s.mismatch", it->incomplete);
    int resumed = it->part.resumed != 0 && !it->again;
    char got[65];
    memcpy(got, it->hash.hex, sizeof got);
    if (!aside)
        return br__nomem(err, "downloading");
    for (size_t i = 0; i < it->part.n_parts; i++)
        g->have -= it->part.done[i];
    g->t.resumed -= it->part.resumed;
    int rc = br__hub_part_publish(&it->part, it->base, aside, 0, err);
    if (rc)
        return rc;
    if (!resumed)
        return br_fail(err, BR_E_FORMAT,
                       "the %s of '%s' is %s, the hub says %s: what was received is kept as '%s' "
                       "and not used; run again to download it anew",
                       it->f->lfs ? "sha256" : "git blob id", it->f->path, got, it->f->etag, aside);
    it->again = 1;
    it->location = it->origin_tag = NULL;
    item_release(g, it);
    it->lock_due = 0;
    it->stage = WAITING;
    return BR_OK;
}

static int item_finish(struct getter *g, struct item *it, int ended, struct br_err *err)
{
    if (ended < 0)
        return br_fail(err, -ended, "cannot read '%s' back to hash it", it->incomplete);
    if (strcmp(it->hash.hex, it->f->etag) != 0)
        return get_mismatch(g, it, err);
    int rc = br__hub_part_publish(&it->part, it->base, it->final, !g->h->o.no_sync, err);
    return rc ? rc : item_done(g, it, err);
}

static int items_advance(struct getter *g, struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < g->n_items && !rc; i++) {
        struct item *it = &g->items[i];
        if (it->stage == RECEIVING && br__hub_part_front(&it->part) == it->f->size)
            it->stage = HASHING;
        int ended = it->stage == HASHING ? br__hub_hasher_ended(g->hasher, &it->hash) : 0;
        if (ended)
            rc = item_finish(g, it, ended, err);
    }
    return rc;
}

/* ---- run ------------------------------------------------------------------------------------- */

static int any_running(const struct getter *g)
{
    for (size_t i = 0; i < g->n_slots; i++)
        if (g->slots[i].running)
            return 1;
    return 0;
}

static int get_run(struct getter *g, struct br_err *err)
{
    size_t running;
    int rc = BR_OK;
    while (!rc && !g->rc && g->n_done < g->n_items) {
        rc = slots_advance(g, err);
        if (!rc && !g->rc)
            rc = br__http_poll(g->h->http, any_running(g) ? 50 : 5, &running, err);
        if (!rc && !g->rc)
            rc = items_advance(g, err);
        get_tell(g, 0);
    }
    if (!rc && g->rc) {
        rc = g->rc;
        if (err)
            *err = g->err;
    }
    return rc;
}

static int make_slots(struct getter *g, struct br_err *err)
{
    int want = g->h->o.connections ? g->h->o.connections : CONNECTIONS;
    g->slots = br__arena_alloc(&g->a, (size_t)want * sizeof *g->slots);
    if (!g->slots)
        return br__nomem(err, "downloading");
    for (; g->n_slots < (size_t)want; g->n_slots++) {
        struct slot *s = &g->slots[g->n_slots];
        s->g = g;
        s->buf = br__alloc(SLOT_BUF);
        if (!s->buf)
            return br__nomem(err, "downloading");
    }
    return BR_OK;
}

static int add_items(struct getter *g, const struct br__hub_file *const *want, size_t n,
                     const char *local_dir, struct br_err *err)
{
    g->items = br__arena_alloc(&g->a, n * sizeof *g->items + 1);
    if (!g->items)
        return br__nomem(err, "downloading");
    for (size_t i = 0; i < n; i++) {
        struct item *it = &g->items[g->n_items];
        *it = (struct item){.f = want[i], .lock_fd = -1, .part.fd = -1};
        int rc = set_paths(g, it, local_dir, err);
        if (rc)
            return rc;
        g->t.n_files++;
        if (is_there(g, it)) {
            g->t.n_cached++;
            continue;
        }
        g->t.bytes += it->f->size;
        g->n_items++;
    }
    return BR_OK;
}

/* Reserve space for all bytes that are still to come, before the first is received. */
static int check_space(const struct getter *g, const char *dir, struct br_err *err)
{
    char need_text[32], have_text[32];
    uint64_t have, need = SPACE_MARGIN;
    struct stat st;
    for (size_t i = 0; i < g->n_items; i++) {
        const struct item *it = &g->items[i];
        uint64_t there = 0;
        if (is_complete(it))
            there = it->f->size;
        else if (!br__io.stat(it->incomplete, &st))
            there = BR__MIN((uint64_t)st.st_blocks * 512, it->f->size);
        need += it->f->size - there;
    }
    struct br__dir d = {.fd = -1};
    int rc = br__mkdirs(dir, err);
    if (!rc)
        rc = br__dir_open(&d, dir, err);
    if (!rc)
        rc = br__free_space(&d, &have, err);
    br__dir_close(&d);
    if (!rc && have < need)
        rc = br_fail(err, BR_E_NOSPC, "'%s' needs %s, its file system has %s free", dir,
                     br__human_bytes(need, need_text), br__human_bytes(have, have_text));
    return rc;
}

/* Offline every file must be in the cache; the message says what was looked for where. */
static int refuse_offline(const struct getter *g, struct br_err *err)
{
    const struct item *it = &g->items[0];
    return br_fail(err, BR_E_NOTFOUND,
                   "%zu of %zu files of '%s' are not in the local cache and nothing may be "
                   "downloaded: the first is '%s' (looked for as '%s/%s')",
                   g->n_items, g->t.n_files, g->h->id, it->f->path, g->h->snapshot, it->f->path);
}

int br__hub_get(struct br__hub *h, const struct br__hub_file *const *want, size_t n,
                const char *local_dir, struct br__hub_totals *totals, struct br_err *err)
{
    struct getter g = {.h = h, .part_bytes = h->o.part_bytes ? h->o.part_bytes : PART_BYTES};
    int inside = 0, rc = BR_OK;
    if (local_dir)
        rc = br__path_inside(&g.a, h->root, local_dir, &inside, err);
    if (!rc && inside)
        rc = br_fail(err, BR_E_USAGE,
                     "'%s' lies in the cache of downloads, '%s'; choose a directory outside",
                     local_dir, h->root);
    if (!rc)
        rc = add_items(&g, want, n, local_dir, err);
    if (!rc && g.n_items && h->offline)
        rc = refuse_offline(&g, err);
    if (!rc && g.n_items) {
        rc = check_space(&g, local_dir ? local_dir : h->dir, err);
        if (!rc)
            rc = br__hub_client(h, err);
        if (!rc)
            rc = br__hub_hasher_open(&g.hasher, err);
        if (!rc)
            rc = make_slots(&g, err);
        if (!rc)
            rc = get_run(&g, err);
        get_tell(&g, 1);
    }
    for (size_t i = 0; i < g.n_slots; i++) {
        if (g.slots[i].running)
            br__http_drop(h->http, &g.slots[i]);
        br__free(g.slots[i].buf);
    }
    for (size_t i = 0; i < g.n_items; i++)
        item_release(&g, &g.items[i]);
    br__hub_hasher_close(g.hasher);
    br__arena_free(&g.a);
    if (totals)
        *totals = g.t;
    return rc;
}
