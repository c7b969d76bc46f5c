/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hash.c - a thread that hashes downloads while they arrive, so that the digest is ready soon after
 * the last byte.  It reads what was written back from the page cache, in order: the receiving
 * thread never waits for it, and parts may arrive in any order. */
#include "hub_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define CHUNK (256u << 10)

struct br__hub_hasher {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    struct br__hub_hash **files;
    size_t n, cap;
    struct br__hub_hash *busy; /* what the thread reads now */
    int stop;
    unsigned char *buf;
};

/* Git's digest of a blob is the SHA-1 of a small header and the bytes. */
static void *state_new(const struct br__hub_hash *h)
{
    char head[40];
    if (h->lfs)
        return br__sha256_new();
    struct br__sha1 *s = br__sha1_new();
    int n = snprintf(head, sizeof head, "blob %" PRIu64, h->size);
    if (s)
        br__sha1_update(s, head, (size_t)n + 1);
    return s;
}

static void state_free(struct br__hub_hash *h)
{
    if (h->lfs)
        br__sha256_free(h->state);
    else
        br__sha1_free(h->state);
    h->state = NULL;
}

/* Hash the bytes from h->hashed to `to`; returns a negated status if they cannot be read. */
static int hash_range(struct br__hub_hasher *s, struct br__hub_hash *h, uint64_t from, uint64_t to)
{
    if (!h->state && !(h->state = state_new(h)))
        return -BR_E_NOMEM;
    while (from < to) {
        ssize_t k =
            br__io.pread(h->fd, s->buf, (size_t)BR__MIN(to - from, (uint64_t)CHUNK), (off_t)from);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return -BR_E_IO;
        if (h->lfs)
            br__sha256_update(h->state, s->buf, (size_t)k);
        else
            br__sha1_update(h->state, s->buf, (size_t)k);
        from += (uint64_t)k;
    }
    return 0;
}

static struct br__hub_hash *next_file(const struct br__hub_hasher *s)
{
    for (size_t i = 0; i < s->n; i++) {
        struct br__hub_hash *h = s->files[i];
        if (!h->ended && (h->hashed < h->front || h->front == h->size))
            return h;
    }
    return NULL;
}

static void hash_step(struct br__hub_hasher *s, struct br__hub_hash *h)
{
    /* small steps, so that a file can be removed soon */
    uint64_t from = h->hashed, to = BR__MIN(h->front, from + 16 * CHUNK);
    s->busy = h;
    pthread_mutex_unlock(&s->lock);
    int bad = hash_range(s, h, from, to);
    pthread_mutex_lock(&s->lock);
    s->busy = NULL;
    h->hashed = to;
    if (bad) {
        h->ended = bad;
    } else if (to == h->size) {
        if (h->lfs)
            br__sha256_hex(h->state, h->hex);
        else
            br__sha1_hex(h->state, h->hex);
        h->ended = 1;
    }
    pthread_cond_broadcast(&s->idle);
}

static void *hash_files(void *arg)
{
    struct br__hub_hasher *s = arg;
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        struct br__hub_hash *h = next_file(s);
        if (h)
            hash_step(s, h);
        else
            pthread_cond_wait(&s->work, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

int br__hub_hasher_open(struct br__hub_hasher **out, struct br_err *err)
{
    struct br__hub_hasher *s = br__calloc(1, sizeof *s);
    *out = NULL;
    if (!s || !(s->buf = br__alloc(CHUNK))) {
        br__free(s);
        return br__nomem(err, "for hashing");
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->work, NULL);
    pthread_cond_init(&s->idle, NULL);
    if (pthread_create(&s->thread, NULL, hash_files, s)) {
        br__free(s->buf);
        br__free(s);
        return br_fail(err, BR_E_NOMEM, "cannot start a thread for hashing");
    }
    *out = s;
    return BR_OK;
}

void br__hub_hasher_add(struct br__hub_hasher *s, struct br__hub_hash *h)
{
    pthread_mutex_lock(&s->lock);
    if (br__grow(&s->files, &s->cap, s->n, sizeof *s->files))
        h->ended = -BR_E_NOMEM;
    else
        s->files[s->n++] = h;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

void br__hub_hasher_front(struct br__hub_hasher *s, struct br__hub_hash *h, uint64_t front)
{
    pthread_mutex_lock(&s->lock);
    if (front > h->front) {
        h->front = front;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
}

int br__hub_hasher_ended(struct br__hub_hasher *s, struct br__hub_hash *h)
{
    pthread_mutex_lock(&s->lock);
    int ended = h->ended;
    pthread_mutex_unlock(&s->lock);
    return ended;
}

void br__hub_hasher_remove(struct br__hub_hasher *s, struct br__hub_hash *h)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy == h)
        pthread_cond_wait(&s->idle, &s->lock);
    for (size_t i = 0; i < s->n; i++)
        if (s->files[i] == h) {
            memmove(&s->files[i], &s->files[i + 1], (--s->n - i) * sizeof *s->files);
            break;
        }
    pthread_mutex_unlock(&s->lock);
    state_free(h);
}

void br__hub_hasher_close(struct br__hub_hasher *s)
{
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->stop = 1;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->work);
    pthread_cond_destroy(&s->idle);
    br__free(s->files);
    br__free(s->buf);
    br__free(s);
}
