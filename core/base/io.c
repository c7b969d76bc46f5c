/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* io.c - files, read and written through the calls of sys.c.
 *
 * Order: reading, sequential writing, whole files.  Names are looked
 * up in an open directory (dir.c); a path is its directory, opened first, and the rest. Interrupted
 * calls are repeated, short ones continued; every error names path and reason. */
#include "base_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- reading --------------------------------------------------------------------------------- */

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int map_file(struct br__file *f, struct br_err *err)
{
    struct stat st;
    if (br__io.fstat(f->fd, &st) < 0)
        return BR__FAIL_READ(err, errno, "examine", f->path);
    if (!S_ISREG(st.st_mode))
        return br_fail(err, BR_E_IO, "cannot read '%s': it is %s, not a file", f->path,
                       S_ISDIR(st.st_mode) ? "a directory" : "a device or pipe");
    f->size = (uint64_t)st.st_size;
    f->mtime_ns = nanoseconds(st.st_mtim);
    f->ctime_ns = nanoseconds(st.st_ctim);
    f->inode = st.st_ino;
    if (f->size == 0)
        return BR_OK;
    void *p = br__io.mmap(f->size, f->fd);
    if (p == MAP_FAILED)
        return BR__FAIL_READ(err, errno, "map", f->path);
    f->map = p;
    br__mapped_add(p, f->size, f->path);
    return BR_OK;
}

/* O_NONBLOCK: opening a pipe by mistake must fail in map_file, not hang here. */
static int open_file(struct br__file *f, int dir, const char *name, int flags, struct br_err *err)
{
    BR__RETRY(f->fd, br__io.openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags, 0));
    return f->fd < 0 ? BR__FAIL_READ(err, errno, "open", f->path) : map_file(f, err);
}

int br__file_open(struct br__file *f, const char *path, struct br_err *err)
{
    *f = (struct br__file){.fd = -1};
    f->path = br__strdup(path);
    int rc = f->path ? open_file(f, AT_FDCWD, path, 0, err) : br__nomem(err, "for '%s'", path);
    if (rc)
        br__file_close(f);
    return rc;
}

int br__file_open_in(struct br__file *f, const struct br__dir *d, const char *name,
                     struct br_err *err)
{
    *f = (struct br__file){.fd = -1};
    f->path = br__dir_name(d, name);
    int rc =
        f->path ? open_file(f, d->fd, name, O_NOFOLLOW, err) : br__nomem(err, "for '%s'", name);
    if (!rc)
        rc = br__file_is_ours(d, f->fd, f->path, err);
    if (rc)
        br__file_close(f);
    return rc;
}

int br__file_read(const struct br__file *f, uint64_t off, void *buf, size_t n, struct br_err *err)
{
    if (off > f->size || n > f->size - off)
        return br_fail(err, BR_E_FORMAT,
                       "'%s' is %" PRIu64 " bytes, %zu at byte %" PRIu64 " were expected", f->path,
                       f->size, n, off);
    if (f->read_at)
        return f->read_at(f->ud, off, buf, n, err);
    for (size_t done = 0; done < n;) {
        ssize_t got;
        BR__RETRY(got, br__io.pread(f->fd, (char *)buf + done, n - done, (off_t)(off + done)));
        if (got < 0) {
            int e = errno;
            char text[128];
            return br_fail(err, BR_E_IO, "cannot read %zu bytes of '%s' at byte %" PRIu64 ": %s", n,
                           f->path, off, strerror_r(e, text, sizeof text));
        }
        if (got == 0)
            return br_fail(err, BR_E_FORMAT,
                           "'%s' ends at byte %" PRIu64 " while bytes %" PRIu64 " to %" PRIu64
                           " are read; was it truncated meanwhile?",
                           f->path, off + done, off, off + n);
        done += (size_t)got;
    }
    return BR_OK;
}

int br__file_unchanged(const struct br__file *f, struct br_err *err)
{
    struct stat st;
    if (f->fd < 0)
        return BR_OK;
    if (br__io.fstat(f->fd, &st) < 0)
        return BR__FAIL_READ(err, errno, "examine", f->path);
    if ((uint64_t)st.st_size == f->size && nanoseconds(st.st_mtim) == f->mtime_ns)
        return BR_OK;
    return br_fail(err, BR_E_BUSY,
                   "'%s' changed while it was read: another process writes to it; run again when "
                   "it is complete",
                   f->path);
}

void br__file_close(struct br__file *f)
{
    if (!f->path) /* zeroed: its fd 0 is not ours */
        return;
    if (f->close)
        f->close(f->ud);
    else if (f->map) {
        br__mapped_remove(f->map);
        br__io.munmap((void *)f->map, f->size);
    }
    if (f->fd >= 0)
        br__io.close(f->fd);
    br__free(f->path);
    *f = (struct br__file){.fd = -1};
}

/* The whole of an open file, which is closed. */
static int take_text(struct br__file *f, size_t max, char **out, size_t *n, struct br_err *err)
{
    char *text = NULL;
    int rc;
    if (f->size > max)
        rc = br_fail(err, BR_E_FORMAT, "'%s' is %" PRIu64 " bytes, at most %zu were expected",
                     f->path, f->size, max);
    else if (!(text = br__alloc(f->size + 1)))
        rc = br__nomem(err, "for '%s'", f->path);
    else
        rc = br__file_read(f, 0, text, f->size, err);
    if (rc) {
        br__free(text);
    } else {
        text[f->size] = '\0';
        *out = text;
        if (n)
            *n = f->size;
    }
    br__file_close(f);
    return rc;
}

int br__read_text(const char *path, size_t max, char **out, size_t *n, struct br_err *err)
{
    struct br__file f;
    *out = NULL;
    int rc = br__file_open(&f, path, err);
    return rc ? rc : take_text(&f, max, out, n, err);
}

int br__read_text_in(const struct br__dir *d, const char *name, size_t max, char **out, size_t *n,
                     struct br_err *err)
{
    struct br__file f;
    *out = NULL;
    int rc = br__file_open_in(&f, d, name, err);
    return rc ? rc : take_text(&f, max, out, n, err);
}

/* ---- sequential writing ---------------------------------------------------------------------- */

/* The name must be new: truncating an old file makes ext4 flush it, at twice the price. */
static int io_create(struct br__out *o, int dir, const char *name, uint64_t size_hint,
                     struct br_err *err)
{
    int rc;
    BR__RETRY(rc, br__io.unlinkat(dir, name, 0));
    if (rc < 0 && errno != ENOENT)
        return BR__FAIL_WRITE(err, errno, "replace", o->path);
    BR__RETRY(o->fd, br__io.openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (o->fd < 0)
        return BR__FAIL_WRITE(err, errno, "create", o->path);
    if (size_hint == 0)
        return BR_OK;
    BR__RETRY(rc, br__io.fallocate(o->fd, (off_t)size_hint));
    if (rc == 0) {
        o->prealloc = size_hint;
        return BR_OK;
    }
    int e = errno;
    if (e == EOPNOTSUPP || e == ENOSYS)
        return BR_OK;
    char verb[64];
    snprintf(verb, sizeof verb, "reserve %" PRIu64 " bytes for", size_hint);
    br__io.unlinkat(dir, name, 0);
    return BR__FAIL_WRITE(err, e, verb, o->path);
}

/* The buffer and the full name; the file is not open yet. */
static int io_prepare(struct br__out *o, const struct br__dir *d, const char *name, int sync,
                      struct br_err *err)
{
    *o = (struct br__out){.fd = -1, .sync = sync, .cap = BR__OUT_BUF};
    o->path = br__dir_name(d, name);
    o->buf = br__alloc(o->cap);
    return o->path && o->buf ? BR_OK : br__nomem(err, "for '%s'", name);
}

int br__out_open_in(struct br__out *o, const struct br__dir *d, const char *name,
                    uint64_t size_hint, int sync, struct br_err *err)
{
    int rc = io_prepare(o, d, name, sync, err);
    if (!rc)
        rc = io_create(o, d->fd, name, size_hint, err);
    if (rc)
        br__out_abort(o);
    return rc;
}

int br__out_open(struct br__out *o, const char *path, uint64_t size_hint, int sync,
                 struct br_err *err)
{
    struct br__dir d;
    *o = (struct br__out){.fd = -1};
    int rc = br__dir_of(&d, path, 0, err);
    if (rc)
        br_wrap(err, "cannot create '%s'", path);
    else
        rc = br__out_open_in(o, &d, br__path_base(path), size_hint, sync, err);
    br__dir_close(&d);
    return rc;
}

int br__out_open_at(struct br__out *o, const struct br__dir *d, const char *name, uint64_t off,
                    int sync, struct br_err *err)
{
    int rc = io_prepare(o, d, name, sync, err);
    if (!rc) {
        BR__RETRY(o->fd, br__io.openat(d->fd, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0));
        rc = o->fd < 0 ? BR__FAIL_WRITE(err, errno, "open", o->path)
                       : br__file_is_ours(d, o->fd, o->path, err);
    }
    o->off = off;
    if (rc)
        br__out_abort(o);
    return rc;
}

int br__create_sized(const struct br__dir *d, const char *name, uint64_t size, struct br_err *err)
{
    struct br__out o;
    int rc = br__out_open_in(&o, d, name, size, 0, err);
    if (rc)
        return rc;
    if (!o.prealloc) { /* a file system that cannot reserve still knows the size */
        BR__RETRY(rc, br__io.ftruncate(o.fd, (off_t)size));
        if (rc < 0)
            rc = BR__FAIL_WRITE(err, errno, "set the size of", o.path);
    }
    br__out_abort(&o);
    return rc;
}

/* Write n bytes at the end of the file. */
static int put_bytes(struct br__out *o, const unsigned char *p, size_t n, struct br_err *err)
{
    while (n > 0) {
        ssize_t put;
        BR__RETRY(put, br__io.pwrite(o->fd, p, n, (off_t)o->off));
        if (put <= 0) {
            int e = put < 0 ? errno : EIO; /* 0 for n > 0 would loop for ever */
            char text[128];
            o->failed = br__write_status(e);
            return br_fail(err, o->failed, "cannot write '%s' at byte %" PRIu64 ": %s", o->path,
                           o->off, strerror_r(e, text, sizeof text));
        }
        p += put;
        n -= (size_t)put;
        o->off += (uint64_t)put;
    }
    return BR_OK;
}

/* Start writing now, so that less is left for fsync. */
#define WRITEBACK (8u << 20)

static int io_flush(struct br__out *o, struct br_err *err)
{
    if (o->failed)
        return br_fail(err, o->failed, "an earlier write to '%s' failed", o->path);
    size_t n = o->n;
    uint64_t before = o->off;
    o->n = 0;
    int rc = put_bytes(o, o->buf, n, err);
    if (!rc && o->sync && o->off / WRITEBACK != before / WRITEBACK)
        (void)br__io.writeback(o->fd); /* a hint only: fsync waits and reports errors */
    return rc;
}

unsigned char *br__out_reserve(struct br__out *o, size_t n, struct br_err *err)
{
    if (n > o->cap)
        BR_BUG("reserve of %zu bytes, the buffer has %zu", n, o->cap);
    if ((o->failed || n > o->cap - o->n) && io_flush(o, err))
        return NULL;
    return o->buf + o->n;
}

void br__out_commit(struct br__out *o, size_t n)
{
    if (n > o->cap - o->n)
        BR_BUG("commit of %zu bytes, the buffer has room for %zu", n, o->cap - o->n);
    o->n += n;
}

int br__out_write(struct br__out *o, const void *p, size_t n, struct br_err *err)
{
    if ((o->failed || n > o->cap - o->n) && io_flush(o, err))
        return o->failed;
    if (n >= o->cap)
        return put_bytes(o, p, n, err);
    if (n)
        memcpy(o->buf + o->n, p, n);
    o->n += n;
    return BR_OK;
}

int br__out_extend(struct br__out *o, uint64_t size, struct br_err *err)
{
    int rc = io_flush(o, err);
    if (rc)
        return rc;
    BR__RETRY(rc, br__io.ftruncate(o->fd, (off_t)size));
    return rc < 0 ? BR__FAIL_WRITE(err, errno, "set the size of", o->path) : BR_OK;
}

uint64_t br__out_tell(const struct br__out *o)
{
    return o->off + o->n;
}

/* Flush, cut what was preallocated too much, and sync if asked. */
static int io_settle(struct br__out *o, struct br_err *err)
{
    int rc = io_flush(o, err);
    if (rc)
        return rc;
    if (o->prealloc > o->off) {
        BR__RETRY(rc, br__io.ftruncate(o->fd, (off_t)o->off));
        if (rc < 0)
            return BR__FAIL_WRITE(err, errno, "set the size of", o->path);
    }
    if (o->sync) {
        BR__RETRY(rc, br__io.fsync(o->fd));
        if (rc < 0)
            return BR__FAIL_WRITE(err, errno, "sync", o->path);
    }
    return BR_OK;
}

int br__out_finish(struct br__out *o, struct br_err *err)
{
    int rc = io_settle(o, err);
    int fd = o->fd;
    o->fd = -1;
    /* Network file systems report lost writes here.  Linux closes even when it says EINTR. */
    if (br__io.close(fd) < 0 && errno != EINTR && rc == BR_OK)
        rc = BR__FAIL_WRITE(err, errno, "close", o->path);
    br__out_abort(o);
    return rc;
}

void br__out_abort(struct br__out *o)
{
    if (!o->path && !o->buf) /* zeroed: its fd 0 is not ours */
        return;
    if (o->fd >= 0)
        br__io.close(o->fd);
    br__free(o->path);
    br__free(o->buf);
    *o = (struct br__out){.fd = -1};
}

/* ---- whole files ----------------------------------------------------------------------------- */

/* A file that appears under its name only when complete: written as "<name>.<random>.tmp" beside
 * it, then renamed.  Two processes that write one name have two such files. */
struct newfile {
    struct br__out out;
    const struct br__dir *dir;
    const char *name;
    char *tmp;
};

static int newfile_open(struct newfile *w, const struct br__dir *d, const char *name, uint64_t size,
                        int sync, struct br_err *err)
{
    struct br__buf tmp = {0};
    br__buf_printf(&tmp, "%s.%016" PRIx64 BR__TMP, name, br__random());
    *w = (struct newfile){.dir = d, .name = name, .tmp = tmp.p};
    int rc = tmp.failed ? br__nomem(err, "for '%s'", name)
                        : br__out_open_in(&w->out, d, w->tmp, size, sync, err);
    if (rc)
        br__buf_free(&tmp);
    return rc;
}

/* Finish and rename when rc is 0, else clean up.  Returns the first failure. */
static int newfile_close(struct newfile *w, int rc, struct br_err *err)
{
    if (rc)
        br__out_abort(&w->out);
    else
        rc = br__out_finish(&w->out, err);
    if (rc == BR_OK)
        rc = br__dir_rename(w->dir, w->tmp, w->name, err);
    if (rc)
        br__io.unlinkat(w->dir->fd, w->tmp, 0);
    br__free(w->tmp);
    return rc;
}

int br__write_in(const struct br__dir *d, const char *name, const void *p, size_t n, int sync,
                 struct br_err *err)
{
    struct newfile w;
    int rc = newfile_open(&w, d, name, n, sync, err);
    return rc ? rc : newfile_close(&w, br__out_write(&w.out, p, n, err), err);
}

int br__write_file(const char *path, const void *p, size_t n, int sync, struct br_err *err)
{
    struct br__dir d;
    int rc = br__dir_of(&d, path, 0, err);
    if (rc)
        br_wrap(err, "cannot create '%s'", path);
    else
        rc = br__write_in(&d, br__path_base(path), p, n, sync, err);
    br__dir_close(&d);
    return rc;
}

static int copy_bytes(struct br__out *o, const struct br__file *f, struct br_err *err)
{
    for (uint64_t off = 0; off < f->size;) {
        size_t n = (size_t)BR__MIN(f->size - off, BR__OUT_BUF);
        unsigned char *p = br__out_reserve(o, n, err);
        if (!p)
            return o->failed;
        int rc = br__file_read(f, off, p, n, err);
        if (rc)
            return rc;
        br__out_commit(o, n);
        off += n;
    }
    return BR_OK;
}

int br__copy_in(const struct br__dir *d, const char *name, const char *from, int sync,
                struct br_err *err)
{
    struct br__file f;
    struct newfile w;
    int rc = br__file_open(&f, from, err);
    if (rc)
        return rc;
    rc = newfile_open(&w, d, name, f.size, sync, err);
    if (rc == BR_OK)
        rc = newfile_close(&w, copy_bytes(&w.out, &f, err), err);
    br__file_close(&f);
    return rc;
}

/* ---- logs: files that grow by pieces, each of which others can read at once ------------------ */

static int prepare_append(struct br__append *a, uint64_t keep, struct br_err *err)
{
    struct stat st;
    int rc;

    if (br__io.fstat(a->fd, &st) < 0)
        return BR__FAIL_WRITE(err, errno, "open", a->path);
    if (!S_ISREG(st.st_mode))
        return br_fail(err, BR_E_IO, "'%s' is no regular file", a->path);
    a->size = BR__MIN(keep, (uint64_t)st.st_size);
    if (a->size == (uint64_t)st.st_size)
        return BR_OK;
    BR__RETRY(rc, br__io.ftruncate(a->fd, (off_t)a->size));
    return rc < 0 ? BR__FAIL_WRITE(err, errno, "cut", a->path) : BR_OK;
}

int br__append_open(struct br__append *a, const char *path, uint64_t keep, struct br_err *err)
{
    *a = (struct br__append){.fd = -1, .path = br__strdup(path)};
    if (!a->path)
        return br__nomem(err, "for '%s'", path);
    BR__RETRY(a->fd,
              br__io.openat(AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666));
    int rc = a->fd < 0 ? BR__FAIL_WRITE(err, errno, "open", path) : prepare_append(a, keep, err);
    if (rc)
        br__append_close(a);
    return rc;
}

int br__append(struct br__append *a, const void *p, size_t n, struct br_err *err)
{
    const unsigned char *from = p;

    while (n > 0) {
        ssize_t put;
        BR__RETRY(put, br__io.pwrite(a->fd, from, n, (off_t)a->size));
        if (put <= 0)
            return BR__FAIL_WRITE(err, put < 0 ? errno : EIO, "write", a->path);
        from += put;
        n -= (size_t)put;
        a->size += (uint64_t)put;
    }
    return BR_OK;
}

void br__append_close(struct br__append *a)
{
    if (a->path && a->fd >= 0)
        br__io.close(a->fd);
    br__free(a->path);
    *a = (struct br__append){.fd = -1};
}
