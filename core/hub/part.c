/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* part.c - a file that is being downloaded in parts, and its state between runs.  Its name ends in
 * ".incomplete" as those of huggingface_hub do, but is another one: old versions of it take the
 * size of "<etag>.incomplete" for the bytes received, and this file has its full size from the
 * beginning. */
#include "hub_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MAGIC "bridge part 1\n"

/* The head behind the bytes, before the counts.  Written and read by one machine, so in its byte
 * order. */
struct tail {
    char magic[16];
    uint64_t size, part;
    char etag[72];
};

static int part_fail(const struct br__hub_part *p, const char *verb, struct br_err *err)
{
    int e = errno;
    char text[128];
    return br_fail(err, e == ENOSPC || e == EDQUOT ? BR_E_NOSPC : BR_E_IO, "cannot %s '%s': %s",
                   verb, p->path, strerror_r(e, text, sizeof text));
}

static int write_all(struct br__hub_part *p, const void *data, size_t n, uint64_t off,
                     struct br_err *err)
{
    const char *from = data;
    while (n) {
        ssize_t k = br__io.pwrite(p->fd, from, n, (off_t)off);
        if (k < 0 && errno == EINTR)
            continue;
        if (k == 0)
            errno = EIO;
        if (k <= 0)
            return part_fail(p, "write", err);
        from += k;
        off += (uint64_t)k;
        n -= (size_t)k;
    }
    return BR_OK;
}

static int read_all(int fd, void *data, size_t n, uint64_t off)
{
    char *to = data;
    while (n) {
        ssize_t k = br__io.pread(fd, to, n, (off_t)off);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0)
            return BR_E_IO;
        to += k;
        off += (uint64_t)k;
        n -= (size_t)k;
    }
    return BR_OK;
}

uint64_t br__hub_part_bytes(const struct br__hub_part *p, size_t i)
{
    return BR__MIN(p->bytes, p->size - i * p->bytes);
}

static void make_tail(struct tail *t, const struct br__hub_file *f, uint64_t part_bytes)
{
    memset(t, 0, sizeof *t);
    memcpy(t->magic, MAGIC, sizeof MAGIC - 1);
    t->size = f->size;
    t->part = part_bytes;
    snprintf(t->etag, sizeof t->etag, "%s", f->etag);
}

/* Read counts that an earlier run left; 0 if the file has another etag, size or part size. */
static int take_up(struct br__hub_part *p, const struct tail *want)
{
    struct tail have;
    struct stat st;
    uint64_t bytes = p->size + sizeof have + p->n_parts * sizeof *p->done;
    if (br__io.fstat(p->fd, &st) || (uint64_t)st.st_size != bytes ||
        read_all(p->fd, &have, sizeof have, p->size) || memcmp(&have, want, sizeof have) != 0 ||
        (p->n_parts &&
         read_all(p->fd, p->done, p->n_parts * sizeof *p->done, p->size + sizeof have)))
        return 0;
    for (size_t i = 0; i < p->n_parts; i++) {
        if (p->done[i] > br__hub_part_bytes(p, i))
            return 0;
        p->resumed += p->done[i];
    }
    return 1;
}

static int start_over(struct br__hub_part *p, const struct tail *t, struct br_err *err)
{
    p->resumed = 0;
    memset(p->done, 0, p->n_parts * sizeof *p->done + 1);
    if (br__io.ftruncate(p->fd, 0) ||
        br__io.ftruncate(p->fd, (off_t)(p->size + sizeof *t + p->n_parts * sizeof *p->done)))
        return part_fail(p, "set the size of", err);
    return write_all(p, t, sizeof *t, p->size, err);
}

/* Open the file; replace it if another user owns it or it is no regular file. */
static int open_part(struct br__hub_part *p, const char *base, struct br_err *err)
{
    const char *name = br__path_base(p->path);
    int rc = br__dir_below(&p->dir, base, p->path, 1, err);
    if (rc)
        return rc;
    if (br__dir_file(&p->dir, name, 0666, 1, &p->fd, NULL) &&
        !(rc = br__dir_remove(&p->dir, name, err)))
        rc = br__dir_file(&p->dir, name, 0666, 1, &p->fd, err);
    return rc;
}

int br__hub_part_open(struct br__hub_part *p, const char *base, const char *path,
                      const struct br__hub_file *f, uint64_t part_bytes, struct br_err *err)
{
    struct tail t;
    *p = (struct br__hub_part){.fd = -1, .dir.fd = -1, .size = f->size, .bytes = part_bytes};
    p->n_parts = (size_t)((f->size + part_bytes - 1) / part_bytes);
    p->path = br__strdup(path);
    p->done = br__calloc(p->n_parts * sizeof *p->done + 1, 1);
    int rc = p->path && p->done ? BR_OK : br__nomem(err, "for '%s'", path);
    if (!rc)
        rc = open_part(p, base, err);
    make_tail(&t, f, part_bytes);
    if (!rc && !take_up(p, &t))
        rc = start_over(p, &t, err);
    if (rc)
        br__hub_part_close(p);
    return rc;
}

/* Record that a part is there up to `end`. */
static int part_count(struct br__hub_part *p, size_t part, uint64_t end, struct br_err *err)
{
    p->done[part] = end - part * p->bytes;
    return write_all(p, &p->done[part], sizeof *p->done,
                     p->size + sizeof(struct tail) + part * sizeof *p->done, err);
}

int br__hub_part_write(struct br__hub_part *p, uint64_t off, const void *data, size_t n,
                       struct br_err *err)
{
    uint64_t end = off + n;
    if (n == 0 || end > p->size)
        BR_BUG("%zu bytes at %" PRIu64 " of '%s', which has %" PRIu64, n, off, p->path, p->size);
    int rc = write_all(p, data, n, off, err);
    for (size_t part = (size_t)(off / p->bytes); !rc && part * p->bytes < end; part++)
        rc = part_count(p, part, BR__MIN(end, (part + 1) * p->bytes), err);
    return rc;
}

int br__hub_part_reset(struct br__hub_part *p, struct br_err *err)
{
    memset(p->done, 0, p->n_parts * sizeof *p->done + 1);
    p->resumed = 0;
    return p->n_parts ? write_all(p, p->done, p->n_parts * sizeof *p->done,
                                  p->size + sizeof(struct tail), err)
                      : BR_OK;
}

uint64_t br__hub_part_front(const struct br__hub_part *p)
{
    size_t i = 0;
    while (i < p->n_parts && p->done[i] == br__hub_part_bytes(p, i))
        i++;
    return i == p->n_parts ? p->size : i * p->bytes + p->done[i];
}

int br__hub_part_publish(struct br__hub_part *p, const char *base, const char *path, int sync,
                         struct br_err *err)
{
    struct br__dir to;
    if (br__io.ftruncate(p->fd, (off_t)p->size))
        return part_fail(p, "set the size of", err);
    if (sync && br__io.fsync(p->fd))
        return part_fail(p, "sync", err);
    int fd = p->fd;
    p->fd = -1;
    if (br__io.close(fd) && errno != EINTR)
        return part_fail(p, "close", err);
    int rc = br__dir_below(&to, base, path, 1, err);
    if (!rc)
        rc = br__dir_move(&p->dir, br__path_base(p->path), &to, br__path_base(path), err);
    br__dir_close(&to);
    return rc;
}

void br__hub_part_close(struct br__hub_part *p)
{
    if (!p->path && !p->done) /* a zeroed struct has fd 0, which it does not own */
        return;
    if (p->fd >= 0)
        br__io.close(p->fd);
    br__dir_close(&p->dir);
    br__free(p->path);
    br__free(p->done);
    *p = (struct br__hub_part){.fd = -1, .dir.fd = -1};
}
