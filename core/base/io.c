/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* io.c - files: the only place with system calls on them.
 *
 * Order: the call table, errors, reading, sequential writing, whole files, directories, paths.
 * Interrupted calls are repeated, short ones continued; every error names path and reason. */
#include "base.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif

/* ---- the call table ------------------------------------------------------------------------ */

static int sys_open(const char *path, int flags, mode_t mode)
{
    return open(path, flags, mode);
}

static int sys_fallocate(int fd, off_t size)
{
    return fallocate(fd, 0, 0, size);
}

static int sys_exchange(const char *a, const char *b)
{
    return (int)syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE);
}

static void *sys_mmap(size_t n, int fd)
{
    return mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
}

/* Start writing dirty pages; does not wait. */
static int sys_writeback(int fd)
{
    return sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

struct br__io_ops br__io = {
    .open = sys_open,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .fsync = fsync,
    .writeback = sys_writeback,
    .ftruncate = ftruncate,
    .fallocate = sys_fallocate,
    .fstat = fstat,
    .stat = stat,
    .rename = rename,
    .exchange = sys_exchange,
    .unlink = unlink,
    .mkdir = mkdir,
    .rmdir = rmdir,
    .mmap = sys_mmap,
    .munmap = munmap,
    .symlink = symlink,
};

/* Repeat a call that a signal interrupted. */
#define RETRY(rc, call)                                                                            \
    do                                                                                             \
        rc = (call);                                                                               \
    while (rc < 0 && errno == EINTR)

/* ---- errors -------------------------------------------------------------------------------- */

static int read_code(int e)
{
    return e == ENOENT || e == ENOTDIR ? BR_E_NOTFOUND : e == ENOMEM ? BR_E_NOMEM : BR_E_IO;
}

static int write_code(int e)
{
    return e == ENOSPC || e == EDQUOT ? BR_E_NOSPC : e == ENOMEM ? BR_E_NOMEM : BR_E_IO;
}

/* "cannot <verb> '<path>': <text of e>", with `where` the function that met it. */
static int fail_at(struct br_err *err, int code, const char *where, int e, const char *verb,
                   const char *path)
{
    char text[128];
    return br_fail_at(err, code, where, "cannot %s '%s': %s", verb, path,
                      strerror_r(e, text, sizeof text));
}
#define fail_read(err, e, verb, path) fail_at((err), read_code(e), __func__, (e), (verb), (path))
#define fail_write(err, e, verb, path) fail_at((err), write_code(e), __func__, (e), (verb), (path))
#define fail_mem(err, path) br_fail((err), BR_E_NOMEM, "out of memory for '%s'", (path))

/* ---- reading ------------------------------------------------------------------------------- */

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int map_file(struct br__file *f, struct br_err *err)
{
    struct stat st;
    if (br__io.fstat(f->fd, &st) < 0)
        return fail_read(err, errno, "examine", f->path);
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
        return fail_read(err, errno, "map", f->path);
    f->map = p;
    br__mapped_add(p, f->size, f->path);
    return BR_OK;
}

int br__file_open(struct br__file *f, const char *path, struct br_err *err)
{
    int rc;
    *f = (struct br__file){.fd = -1};
    f->path = br__strdup(path);
    if (!f->path)
        return fail_mem(err, path);
    /* O_NONBLOCK: opening a pipe by mistake must fail below, not hang here. */
    RETRY(f->fd, br__io.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0));
    if (f->fd < 0)
        rc = fail_read(err, errno, "open", path);
    else
        rc = map_file(f, err);
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
        RETRY(got, br__io.pread(f->fd, (char *)buf + done, n - done, (off_t)(off + done)));
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
        return fail_read(err, errno, "examine", f->path);
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

int br__read_text(const char *path, size_t max, char **out, size_t *n, struct br_err *err)
{
    struct br__file f;
    *out = NULL;
    int rc = br__file_open(&f, path, err);
    if (rc)
        return rc;
    char *text = NULL;
    if (f.size > max)
        rc = br_fail(err, BR_E_FORMAT, "'%s' is %" PRIu64 " bytes, at most %zu were expected", path,
                     f.size, max);
    else if (!(text = br__alloc(f.size + 1)))
        rc = fail_mem(err, path);
    else
        rc = br__file_read(&f, 0, text, f.size, err);
    if (rc) {
        br__free(text);
    } else {
        text[f.size] = '\0';
        *out = text;
        if (n)
            *n = f.size;
    }
    br__file_close(&f);
    return rc;
}

/* ---- sequential writing -------------------------------------------------------------------- */

/* The name must be new: truncating an old file makes ext4 flush it, at twice the price. */
static int create(struct br__out *o, uint64_t size_hint, struct br_err *err)
{
    int rc;
    RETRY(rc, br__io.unlink(o->path));
    if (rc < 0 && errno != ENOENT)
        return fail_write(err, errno, "replace", o->path);
    RETRY(o->fd, br__io.open(o->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (o->fd < 0)
        return fail_write(err, errno, "create", o->path);
    if (size_hint == 0)
        return BR_OK;
    RETRY(rc, br__io.fallocate(o->fd, (off_t)size_hint));
    if (rc == 0) {
        o->prealloc = size_hint;
        return BR_OK;
    }
    int e = errno;
    if (e == EOPNOTSUPP || e == ENOSYS)
        return BR_OK;
    char verb[64];
    snprintf(verb, sizeof verb, "reserve %" PRIu64 " bytes for", size_hint);
    return fail_write(err, e, verb, o->path);
}

int br__out_open(struct br__out *o, const char *path, uint64_t size_hint, int sync,
                 struct br_err *err)
{
    *o = (struct br__out){.fd = -1, .sync = sync, .cap = BR__OUT_BUF};
    o->path = br__strdup(path);
    o->buf = br__alloc(o->cap);
    int rc = o->path && o->buf ? create(o, size_hint, err) : fail_mem(err, path);
    if (rc) {
        if (o->fd >= 0)
            br__io.unlink(path);
        br__out_abort(o);
    }
    return rc;
}

int br__out_open_at(struct br__out *o, const char *path, uint64_t off, int sync, struct br_err *err)
{
    *o = (struct br__out){.fd = -1, .sync = sync, .cap = BR__OUT_BUF, .off = off};
    o->path = br__strdup(path);
    o->buf = br__alloc(o->cap);
    if (!o->path || !o->buf) {
        br__out_abort(o);
        return fail_mem(err, path);
    }
    RETRY(o->fd, br__io.open(path, O_WRONLY | O_CLOEXEC, 0));
    int rc = o->fd < 0 ? fail_write(err, errno, "open", path) : BR_OK;
    if (rc)
        br__out_abort(o);
    return rc;
}

int br__create_sized(const char *path, uint64_t size, struct br_err *err)
{
    struct br__out o;
    int rc = br__out_open(&o, path, size, 0, err);
    if (rc)
        return rc;
    if (!o.prealloc) { /* a file system that cannot reserve still knows the size */
        RETRY(rc, br__io.ftruncate(o.fd, (off_t)size));
        if (rc < 0)
            rc = fail_write(err, errno, "set the size of", path);
    }
    br__out_abort(&o);
    return rc;
}

/* Write n bytes at the end of the file. */
static int put_bytes(struct br__out *o, const unsigned char *p, size_t n, struct br_err *err)
{
    while (n > 0) {
        ssize_t put;
        RETRY(put, br__io.pwrite(o->fd, p, n, (off_t)o->off));
        if (put <= 0) {
            int e = put < 0 ? errno : EIO; /* 0 for n > 0 would loop for ever */
            char text[128];
            o->failed = write_code(e);
            return br_fail(err, o->failed, "cannot write '%s' at byte %" PRIu64 ": %s", o->path,
                           o->off, strerror_r(e, text, sizeof text));
        }
        p += put;
        n -= (size_t)put;
        o->off += (uint64_t)put;
    }
    return BR_OK;
}

/* The disk starts on what will be synced while the rest is still being written. */
#define WRITEBACK (8u << 20)

static int flush(struct br__out *o, struct br_err *err)
{
    if (o->failed)
        return br_fail(err, o->failed, "an earlier write to '%s' failed", o->path);
    size_t n = o->n;
    uint64_t before = o->off;
    o->n = 0;
    int rc = put_bytes(o, o->buf, n, err);
    if (!rc && o->sync && o->off / WRITEBACK != before / WRITEBACK)
        (void)br__io.writeback(o->fd); /* a hint: fsync is what counts, and reports errors */
    return rc;
}

unsigned char *br__out_reserve(struct br__out *o, size_t n, struct br_err *err)
{
    if (n > o->cap)
        BR_BUG("reserve of %zu bytes, the buffer has %zu", n, o->cap);
    if ((o->failed || n > o->cap - o->n) && flush(o, err))
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
    if ((o->failed || n > o->cap - o->n) && flush(o, err))
        return o->failed;
    if (n >= o->cap)
        return put_bytes(o, p, n, err);
    if (n)
        memcpy(o->buf + o->n, p, n);
    o->n += n;
    return BR_OK;
}

uint64_t br__out_tell(const struct br__out *o)
{
    return o->off + o->n;
}

/* Flush, cut what was preallocated too much, and sync if asked. */
static int settle(struct br__out *o, struct br_err *err)
{
    int rc = flush(o, err);
    if (rc)
        return rc;
    if (o->prealloc > o->off) {
        RETRY(rc, br__io.ftruncate(o->fd, (off_t)o->off));
        if (rc < 0)
            return fail_write(err, errno, "set the size of", o->path);
    }
    if (o->sync) {
        RETRY(rc, br__io.fsync(o->fd));
        if (rc < 0)
            return fail_write(err, errno, "sync", o->path);
    }
    return BR_OK;
}

int br__out_finish(struct br__out *o, struct br_err *err)
{
    int rc = settle(o, err);
    int fd = o->fd;
    o->fd = -1;
    /* Network file systems report lost writes here.  Linux closes even when it says EINTR. */
    if (br__io.close(fd) < 0 && errno != EINTR && rc == BR_OK)
        rc = fail_write(err, errno, "close", o->path);
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

/* ---- whole files --------------------------------------------------------------------------- */

/* A file that appears under its name only when complete: written as "<path>.tmp", then renamed.
 * The fixed suffix means that what a killed process left is replaced by the next one. */
struct newfile {
    struct br__out out;
    const char *path;
    char *tmp;
};

static int newfile_open(struct newfile *w, const char *path, uint64_t size, int sync,
                        struct br_err *err)
{
    struct br__buf name = {0};
    br__buf_printf(&name, "%s.tmp", path);
    *w = (struct newfile){.path = path, .tmp = name.p};
    int rc = name.failed ? fail_mem(err, path) : br__out_open(&w->out, w->tmp, size, sync, err);
    if (rc)
        br__free(w->tmp);
    return rc;
}

/* Finish and rename when rc is 0, else clean up.  Returns the first failure. */
static int newfile_close(struct newfile *w, int rc, struct br_err *err)
{
    if (rc)
        br__out_abort(&w->out);
    else
        rc = br__out_finish(&w->out, err);
    if (rc == BR_OK && br__io.rename(w->tmp, w->path) < 0)
        rc = fail_write(err, errno, "replace", w->path);
    if (rc)
        br__io.unlink(w->tmp);
    br__free(w->tmp);
    return rc;
}

int br__write_file(const char *path, const void *p, size_t n, int sync, struct br_err *err)
{
    struct newfile w;
    int rc = newfile_open(&w, path, n, sync, err);
    if (rc)
        return rc;
    return newfile_close(&w, br__out_write(&w.out, p, n, err), err);
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

int br__copy_file(const char *from, const char *to, int sync, struct br_err *err)
{
    struct br__file f;
    struct newfile w;
    int rc = br__file_open(&f, from, err);
    if (rc)
        return rc;
    rc = newfile_open(&w, to, f.size, sync, err);
    if (rc == BR_OK)
        rc = newfile_close(&w, copy_bytes(&w.out, &f, err), err);
    br__file_close(&f);
    return rc;
}

/* ---- directories --------------------------------------------------------------------------- */

int br__exists(const char *path)
{
    struct stat st;
    return br__io.stat(path, &st) == 0;
}

int br__is_dir(const char *path)
{
    struct stat st;
    return br__io.stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int br__mkdirs(const char *path, struct br_err *err)
{
    char *p = br__strdup(path);
    if (!p)
        return fail_mem(err, path);
    int rc = BR_OK;
    for (char *s = p; rc == BR_OK && *s;) {
        s += strspn(s, "/");
        s += strcspn(s, "/");
        char at = *s;
        *s = '\0';
        /* What mkdir says of an existing parent depends on the file system (EEXIST, EROFS,
         * EACCES): only whether a directory is there matters. */
        if (br__io.mkdir(p, 0777) < 0) {
            int e = errno;
            if (!br__is_dir(p))
                rc = fail_write(err, e == EEXIST ? ENOTDIR : e, "make the directory", p);
        }
        *s = at;
    }
    br__free(p);
    return rc;
}

int br__temp_dir(struct br__arena *a, const char *name, const char **dir, struct br_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *path = br__arena_printf(a, "%s/%s-XXXXXX", tmp && *tmp ? tmp : "/tmp", name);

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    if (!mkdtemp(path))
        return br_fail(err, BR_E_IO, "cannot make temporary directory '%s': %s", path,
                       strerror(errno));
    *dir = path;
    return BR_OK;
}

int br__sync_dir(const char *path, struct br_err *err)
{
    int fd, rc;
    RETRY(fd, br__io.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0));
    if (fd < 0)
        return fail_write(err, errno, "open", path);
    RETRY(rc, br__io.fsync(fd));
    /* Some file systems cannot sync a directory and say EINVAL: then there is nothing to wait for.
     */
    rc = rc < 0 && errno != EINVAL ? fail_write(err, errno, "sync", path) : BR_OK;
    br__io.close(fd);
    return rc;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Take the names of an open directory into the arena; *names is a heap array. */
static int read_names(DIR *d, struct br__arena *a, char ***names, size_t *n)
{
    size_t cap = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e)
            return errno;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        char *name = br__arena_strdup(a, e->d_name);
        if (!name || br__grow(names, &cap, *n, sizeof **names))
            return ENOMEM;
        (*names)[(*n)++] = name;
    }
}

/* As br__list_dir; flags are further flags of open. */
static int list_dir(struct br__arena *a, const char *path, int flags, char ***out, size_t *n,
                    struct br_err *err)
{
    char **names = NULL;
    int fd;
    *out = NULL;
    *n = 0;
    RETRY(fd, br__io.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | flags, 0));
    if (fd < 0)
        return fail_read(err, errno, "list", path);
    DIR *d = fdopendir(fd);
    int e = d ? read_names(d, a, &names, n) : errno;
    if (d)
        closedir(d);
    else
        br__io.close(fd);
    if (e == 0) {
        if (*n)
            qsort(names, *n, sizeof *names, by_name);
        *out = br__arena_alloc(a, (*n + 1) * sizeof *names);
        if (*out && *n)
            memcpy(*out, names, *n * sizeof *names);
        else if (!*out)
            e = ENOMEM;
    }
    br__free(names);
    return e ? fail_read(err, e, "list", path) : BR_OK;
}

int br__list_dir(struct br__arena *a, const char *path, char ***names, size_t *n,
                 struct br_err *err)
{
    return list_dir(a, path, 0, names, n, err);
}

static int remove_dir(const char *path, struct br_err *err)
{
    struct br__arena a = {0};
    char **names;
    size_t n;
    int rc = list_dir(&a, path, O_NOFOLLOW, &names, &n, err);
    for (size_t i = 0; rc == BR_OK && i < n; i++) {
        char *child = br__path_join(&a, path, names[i]);
        rc = child ? br__remove_tree(child, err) : fail_mem(err, path);
    }
    br__arena_free(&a);
    if (rc == BR_OK && br__io.rmdir(path) < 0)
        rc = fail_write(err, errno, "remove", path);
    return rc;
}

int br__remove_tree(const char *path, struct br_err *err)
{
    /* unlink first: it removes a symbolic link instead of following it. */
    if (br__io.unlink(path) == 0 || errno == ENOENT)
        return BR_OK;
    if (errno == EISDIR || errno == EPERM)
        return remove_dir(path, err);
    return fail_write(err, errno, "remove", path);
}

int br__free_space(const char *path, uint64_t *bytes, struct br_err *err)
{
    struct statvfs st;
    int rc;
    RETRY(rc, statvfs(path, &st));
    if (rc < 0)
        return fail_read(err, errno, "find the free space at", path);
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return BR_OK;
}

/* ---- paths --------------------------------------------------------------------------------- */

char *br__path_join(struct br__arena *a, const char *dir, const char *name)
{
    if (name[0] == '/' || dir[0] == '\0')
        return br__arena_strdup(a, name);
    return br__arena_printf(a, "%s%s%s", dir, br__ends(dir, "/") ? "" : "/", name);
}

/* Append one component to the canonical path in out, resolving a link if it is one. */
static int step(char out[PATH_MAX], const char *name, size_t n)
{
    char next[PATH_MAX], real[PATH_MAX];
    if (n == 0 || (n == 1 && name[0] == '.'))
        return BR_OK;
    if (n == 2 && name[0] == '.' && name[1] == '.') {
        char *slash = strrchr(out, '/');
        if (slash) /* the root's parent is the root */
            *slash = '\0';
        return BR_OK;
    }
    int len = snprintf(next, sizeof next, "%s/%.*s", out, (int)n, name);
    if (len < 0 || (size_t)len >= sizeof next)
        return BR_E_IO;
    const char *to = realpath(next, real);
    if (!to && errno != ENOENT)
        return BR_E_IO;
    memcpy(out, to ? to : next, strlen(to ? to : next) + 1);
    if (strcmp(out, "/") == 0)
        out[0] = '\0';
    return BR_OK;
}

char *br__path_abs(struct br__arena *a, const char *path)
{
    /* `out` never ends in a slash, so the root is the empty string. */
    char out[PATH_MAX] = "";
    if (path[0] != '/' && !getcwd(out, sizeof out))
        return NULL;
    if (strcmp(out, "/") == 0)
        out[0] = '\0';
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n >= PATH_MAX || step(out, path, n))
            return NULL;
        path += n + (path[n] == '/');
    }
    return br__arena_strdup(a, out[0] ? out : "/");
}

const char *br__path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
