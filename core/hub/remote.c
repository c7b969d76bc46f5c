/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* remote.c - files of a model read from the hub without storing them: blocks that are fetched when
 * a byte of them is needed, and kept while there is room.  The threads of a job share the blocks.
 * A thread that needs a block that another one fetches waits for it; a block that is being read is
 * pinned.  Every reply must be of the listed file: the same size, the asked range, and one etag for
 * all of them.  The whole file's digest is not checked, since that needs all bytes in order. */
#include "hub_internal.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK (UINT64_C(4) << 20)
#define N_BLOCKS 16 /* 64 MiB */
#define N_CLIENTS 32

struct remote {
    struct br__hub *h;
    const struct br__hub_file *f;
    unsigned char *head; /* the file's beginning, for br__file.map */
    pthread_mutex_t lock;
    struct br__arena a; /* below: under the lock */
    const char *location, *tag;
};

enum state { EMPTY, FETCHING, READY };

struct block {
    const struct remote *of;
    uint64_t index;
    enum state state;
    int pins;
    uint64_t used; /* time of last use, counted in uses of the cache */
    unsigned char *p;
    size_t n;
};

struct br__hub_cache {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct block blocks[N_BLOCKS];
    uint64_t clock;
    struct br__http *clients[N_CLIENTS]; /* pinned by no thread */
    size_t n_clients;
};

/* ---- clients: one for each thread that fetches ----------------------------------------------- */

static int take_client(struct br__hub *h, struct br__http **out, struct br_err *err)
{
    struct br__hub_cache *c = h->blocks;
    *out = NULL;
    pthread_mutex_lock(&c->lock);
    if (c->n_clients)
        *out = c->clients[--c->n_clients];
    pthread_mutex_unlock(&c->lock);
    return *out ? BR_OK : br__http_open(out, &h->http_opts, err);
}

static void give_client(struct br__hub *h, struct br__http *http)
{
    struct br__hub_cache *c = h->blocks;
    pthread_mutex_lock(&c->lock);
    if (http && c->n_clients < N_CLIENTS) {
        c->clients[c->n_clients++] = http;
        http = NULL;
    }
    pthread_mutex_unlock(&c->lock);
    br__http_close(http);
}

/* ---- where the bytes are --------------------------------------------------------------------- */

/* Ask the hub where the bytes are, following redirects within the endpoint. */
static int remote_locate(struct remote *r, struct br__http *http, struct br__arena *a,
                         const char **location, struct br_err *err)
{
    struct br__http_reply reply = {0};
    const char *url = br__hub_url(r->h, a, r->f->path), *next = url;
    int rc = url ? BR_OK : br__nomem(err, "reading from the hub");
    for (int hops = 0; !rc && next; hops++) {
        struct br__http_request q = {.url = next, .head = 1};
        url = next;
        q.token = br__hub_token_for(r->h, url);
        rc = br__http_fetch(http, &q, &reply, NULL, err);
        if (!rc)
            rc = br__hub_located(r->h, a, r->f, url, &reply, &next, location, err);
        if (!rc && next && hops >= BR__HUB_REDIRECTS)
            rc = br_fail(err, BR_E_NETWORK, "'%s' is redirected more than %d times", r->f->path,
                         BR__HUB_REDIRECTS);
    }
    br__http_reply_free(&reply);
    return rc;
}

/* The address that the file's threads share; `stale` is one that failed (NULL: none). */
static int remote_address(struct remote *r, struct br__http *http, struct br__arena *a,
                          const char *stale, const char **out, struct br_err *err)
{
    int rc = BR_OK;
    pthread_mutex_lock(&r->lock);
    if (!r->location || (stale && !strcmp(r->location, stale))) {
        r->tag = NULL;
        rc = remote_locate(r, http, &r->a, &r->location, err);
    }
    *out = rc ? NULL : br__arena_strdup(a, r->location);
    pthread_mutex_unlock(&r->lock);
    return rc || *out ? rc : br__nomem(err, "reading from the hub");
}

/* ---- one block ------------------------------------------------------------------------------- */

/* A range [off, off + n) that is being fetched. */
struct fetch {
    struct remote *r;
    struct br__http *http;
    struct br__arena a;
    uint64_t off;
    size_t n;
    struct br__buf *body;
};

/* Is the reply the asked range of the listed file, with the etag of earlier blocks? */
static int check_answer(struct fetch *f, const struct br__http_reply *reply, struct br_err *err)
{
    struct remote *r = f->r;
    uint64_t from, to, total, off = f->off;
    size_t n = f->n;
    const char *range = br__http_header(&f->a, reply, "Content-Range");
    const char *tag = br__http_header(&f->a, reply, "ETag");
    int whole = reply->status == 200 && off == 0 && n == r->f->size;
    if (!whole &&
        (reply->status != 206 || !range || br__hub_content_range(range, &from, &to, &total) ||
         from != off || to != off + n || total != r->f->size))
        return br_fail(err, BR_E_FORMAT,
                       "bytes %" PRIu64 " to %" PRIu64 " of '%s' were asked for, the answer is "
                       "%d with the range '%s'",
                       off, off + n, r->f->path, reply->status, range ? range : "none");
    if (f->body->n != n)
        return br_fail(err, BR_E_NETWORK, "'%s': %zu bytes came, expected %zu", r->f->path,
                       f->body->n, n);
    pthread_mutex_lock(&r->lock);
    if (tag && !r->tag)
        r->tag = br__arena_strdup(&r->a, tag);
    int same = !tag || (r->tag && !strcmp(tag, r->tag));
    pthread_mutex_unlock(&r->lock);
    return same ? BR_OK
                : br_fail(err, BR_E_FORMAT, "'%s' changes while it is read: its etag is now %s",
                          r->f->path, tag);
}

/* Try once; *stale: another address may help. */
static int fetch_once(struct fetch *f, const char *url, int *stale, struct br_err *err)
{
    struct br__hub *h = f->r->h;
    struct br__http_reply reply = {0};
    struct br__http_request q = {.url = url, .from = f->off, .n = f->n};
    q.token = br__hub_token_for(h, url);
    *stale = 0;
    br__buf_free(f->body);
    f->body->max = f->n;
    int rc = br__http_fetch(f->http, &q, &reply, f->body, err);
    if (!rc && br__hub_expired(h, url, &reply))
        *stale = 1;
    if (!rc && reply.status != 200 && reply.status != 206) {
        rc = br__hub_refused(h, url, &reply, err);
    } else if (!rc) {
        rc = check_answer(f, &reply, err);
        *stale = rc != BR_OK;
    }
    br__http_reply_free(&reply);
    return rc;
}

#define TRIES 4

static int remote_fetch(struct remote *r, uint64_t off, size_t n, struct br__buf *body,
                        struct br_err *err)
{
    struct fetch f = {.r = r, .off = off, .n = n, .body = body};
    const char *url = NULL;
    int stale = 0, rc = take_client(r->h, &f.http, err);
    for (int i = 0; !rc && i < TRIES; i++) {
        const char *bad = stale ? url : NULL;
        rc = remote_address(r, f.http, &f.a, bad, &url, err);
        if (rc)
            break;
        rc = fetch_once(&f, url, &stale, err);
        if (!rc || !stale || i + 1 == TRIES)
            break;
        rc = BR_OK;
    }
    give_client(r->h, f.http);
    br__arena_free(&f.a);
    return rc;
}

/* ---- the cache ------------------------------------------------------------------------------- */

static void cache_free(struct br__hub_cache *c)
{
    for (size_t i = 0; i < c->n_clients; i++)
        br__http_close(c->clients[i]);
    for (size_t i = 0; i < N_BLOCKS; i++)
        br__free(c->blocks[i].p);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->changed);
    br__free(c);
}

static int cache_open(struct br__hub *h, struct br_err *err)
{
    if (h->blocks)
        return BR_OK;
    h->blocks = br__calloc(1, sizeof *h->blocks);
    if (!h->blocks)
        return br__nomem(err, "reading from the hub");
    pthread_mutex_init(&h->blocks->lock, NULL);
    pthread_cond_init(&h->blocks->changed, NULL);
    h->blocks_free = cache_free;
    return BR_OK;
}

/* The block of that number, else one that can become it: empty, or the least recently used.  NULL:
 * all are pinned. */
static struct block *find_block(struct br__hub_cache *c, const struct remote *r, uint64_t index)
{
    struct block *best = NULL;
    for (size_t i = 0; i < N_BLOCKS; i++) {
        struct block *b = &c->blocks[i];
        if (b->state != EMPTY && b->of == r && b->index == index)
            return b;
        if (b->pins || b->state == FETCHING)
            continue;
        if (!best || (b->state == EMPTY && best->state != EMPTY) ||
            (b->state == best->state && b->used < best->used))
            best = b;
    }
    return best;
}

/* Fetch into a block that no other thread uses; called and left with the lock held. */
static int remote_fill(struct br__hub_cache *c, struct block *b, struct remote *r, uint64_t index,
                       struct br_err *err)
{
    struct br__buf body = {0};
    uint64_t off = index * BLOCK;
    size_t n = (size_t)BR__MIN(BLOCK, r->f->size - off);
    *b = (struct block){.of = r, .index = index, .state = FETCHING, .p = b->p};
    pthread_mutex_unlock(&c->lock);
    br__free(b->p); /* free the old bytes first, so that there are never more than 16 blocks */
    b->p = NULL;
    int rc = remote_fetch(r, off, n, &body, err);
    pthread_mutex_lock(&c->lock);
    b->state = rc ? EMPTY : READY;
    if (rc) {
        br__buf_free(&body);
    } else {
        b->p = (unsigned char *)body.p;
        b->n = n;
    }
    pthread_cond_broadcast(&c->changed);
    return rc;
}

/* The block, ready and pinned. */
static int get_block(struct remote *r, uint64_t index, struct block **out, struct br_err *err)
{
    struct br__hub_cache *c = r->h->blocks;
    int rc = BR_OK;
    pthread_mutex_lock(&c->lock);
    for (;;) {
        struct block *b = find_block(c, r, index);
        int ours = b && b->state == READY && b->of == r && b->index == index;
        if (ours) {
            b->pins++;
            b->used = ++c->clock;
            *out = b;
            break;
        }
        if (!b || b->state == FETCHING)
            pthread_cond_wait(&c->changed, &c->lock);
        else if ((rc = remote_fill(c, b, r, index, err)))
            break;
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

static void remote_unpin(struct br__hub_cache *c, struct block *b)
{
    pthread_mutex_lock(&c->lock);
    b->pins--;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

/* ---- the file -------------------------------------------------------------------------------- */

static int remote_read(void *ud, uint64_t off, void *buf, size_t n, struct br_err *err)
{
    struct remote *r = ud;
    unsigned char *to = buf;
    while (n) {
        struct block *b;
        int rc = get_block(r, off / BLOCK, &b, err);
        if (rc) {
            br_wrap(err, "'%s' of '%s'", r->f->path, r->h->id);
            return rc;
        }
        size_t at = (size_t)(off % BLOCK), k = BR__MIN(n, b->n - at);
        memcpy(to, b->p + at, k);
        remote_unpin(r->h->blocks, b);
        to += k;
        off += k;
        n -= k;
    }
    return BR_OK;
}

/* Drop the file's blocks: another file may get its address. */
static void remote_close(void *ud)
{
    struct remote *r = ud;
    struct br__hub_cache *c = r->h->blocks;
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < N_BLOCKS; i++)
        if (c->blocks[i].of == r) {
            c->blocks[i].of = NULL;
            c->blocks[i].state = EMPTY;
        }
    pthread_mutex_unlock(&c->lock);
    pthread_mutex_destroy(&r->lock);
    br__arena_free(&r->a);
    br__free(r->head);
    br__free(r);
}

/* Read the header of a safetensors file: its length, then its text. */
static int read_head(struct remote *r, uint64_t max, struct br_err *err)
{
    unsigned char length[8];
    uint64_t n = 0;
    if (r->f->size < sizeof length)
        return br_fail(err, BR_E_FORMAT,
                       "'%s' has %" PRIu64 " bytes, a safetensors header needs at least 8",
                       r->f->path, r->f->size);
    int rc = remote_read(r, 0, length, sizeof length, err);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | length[i];
    if (rc)
        return rc;
    if (n > r->f->size - sizeof length || n > max)
        return br_fail(err, BR_E_FORMAT,
                       "header length %" PRIu64 " at byte 0 of '%s' exceeds the file (%" PRIu64
                       " bytes) or the format's limit of %" PRIu64 "; is it a safetensors file?",
                       n, r->f->path, r->f->size, max);
    r->head = br__alloc((size_t)n + sizeof length);
    return r->head ? remote_read(r, 0, r->head, (size_t)n + sizeof length, err)
                   : br__nomem(err, "reading from the hub");
}

int br__hub_file_open(struct br__hub *h, const struct br__hub_file *file, uint64_t max_header,
                      struct br__file *f, struct br_err *err)
{
    *f = (struct br__file){.fd = -1};
    int rc = cache_open(h, err);
    struct remote *r = rc ? NULL : br__calloc(1, sizeof *r);
    if (!rc && !r)
        rc = br__nomem(err, "reading from the hub");
    if (rc)
        return rc;
    r->h = h;
    r->f = file;
    pthread_mutex_init(&r->lock, NULL);
    rc = read_head(r, max_header, err);
    f->path = rc ? NULL : br__strdup(file->path);
    if (!rc && !f->path)
        rc = br__nomem(err, "reading from the hub");
    if (rc) {
        remote_close(r);
        return rc;
    }
    f->size = file->size;
    f->mtime_ns = (int64_t)(br__xxh3(file->etag, strlen(file->etag)) >>
                            1); /* identifies the content; the hub gives no time */
    f->map = r->head;
    f->read_at = remote_read;
    f->close = remote_close;
    f->ud = r;
    return BR_OK;
}
