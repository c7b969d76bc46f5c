/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* dir.c - directories by descriptor: the only place that makes, renames and removes names.
 *
 * Links in a path that the user typed are followed.  Names below that path are looked up one by
 * one, each relative to the descriptor of its directory, and links among them are refused: another
 * user who can write to the directory could plant one that leads out of it. */
#include "base_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#ifndef RENAME_EXCHANGE
#define RENAME_EXCHANGE (1 << 1)
#endif
#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#define OTHERS_WRITE (S_IWGRP | S_IWOTH)

uint64_t br__random(void)
{
    uint64_t r = 0;
    if (getrandom(&r, sizeof r, GRND_NONBLOCK) != (ssize_t)sizeof r)
        r = (uint64_t)br__clock_ns() ^ (uint64_t)getpid() << 40;
    return r;
}

/* ---- opening --------------------------------------------------------------------------------- */

char *br__dir_name(const struct br__dir *d, const char *name)
{
    struct br__buf b = {0};
    if (strcmp(d->path, ".") != 0)
        br__buf_printf(&b, "%s%s", d->path, br__ends(d->path, "/") ? "" : "/");
    br__buf_puts(&b, name);
    return b.failed ? (br__buf_free(&b), NULL) : b.p;
}

void br__dir_close(struct br__dir *d)
{
    if (!d->path) /* zeroed: its fd 0 is not ours */
        return;
    if (d->fd >= 0)
        br__io.close(d->fd);
    br__free(d->path);
    *d = (struct br__dir){.fd = -1};
}

static int open_path(struct br__dir *d, const char *path, int writing, struct br_err *err)
{
    *d = (struct br__dir){br__strdup(path), -1};
    if (!d->path)
        return br__nomem(err, "for '%s'", path);
    BR__RETRY(d->fd, br__io.openat(AT_FDCWD, path, OPEN_DIR, 0));
    int rc = d->fd < 0 ? br__fail_errno(err, __func__, writing, errno, "open the directory", path)
                       : BR_OK;
    if (rc)
        br__dir_close(d);
    return rc;
}

int br__dir_open(struct br__dir *d, const char *path, struct br_err *err)
{
    return open_path(d, path, 0, err);
}

int br__dir_of(struct br__dir *d, const char *path, int make, struct br_err *err)
{
    const char *base = br__path_base(path);
    size_t n = (size_t)(base - path);
    struct br__arena a = {0};
    *d = (struct br__dir){.fd = -1};
    char *parent = n ? br__arena_strndup(&a, path, n > 1 ? n - 1 : n) : br__arena_strdup(&a, ".");
    int rc = parent ? BR_OK : br__nomem(err, "for '%s'", path);
    if (!rc && make)
        rc = br__mkdirs(parent, err);
    if (!rc)
        rc = open_path(d, parent, 1, err);
    br__arena_free(&a);
    return rc;
}

/* Why a name in a directory could not be opened as a directory. */
static int no_child(const struct br__dir *d, const char *path, const char *name, int e,
                    struct br_err *err)
{
    struct stat st;
    if ((e == ENOTDIR || e == ELOOP) && !br__io.fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW))
        return br_fail(err, BR_E_EXISTS, "'%s' is %s; remove it", path,
                       S_ISLNK(st.st_mode) ? "a symbolic link, which is not followed here"
                                           : "no directory");
    return BR__FAIL_READ(err, e, "open the directory", path);
}

int br__dir_child(struct br__dir *d, const struct br__dir *parent, const char *name, int make,
                  struct br_err *err)
{
    *d = (struct br__dir){br__dir_name(parent, name), -1};
    if (!d->path)
        return br__nomem(err, "for '%s'", name);
    int rc = BR_OK;
    if (make && br__io.mkdirat(parent->fd, name, 0777) < 0 && errno != EEXIST)
        rc = BR__FAIL_WRITE(err, errno, "make the directory", d->path);
    if (!rc) {
        BR__RETRY(d->fd, br__io.openat(parent->fd, name, OPEN_DIR | O_NOFOLLOW, 0));
        rc = d->fd < 0 ? no_child(parent, d->path, name, errno, err) : BR_OK;
    }
    if (rc)
        br__dir_close(d);
    return rc;
}

int br__dir_below(struct br__dir *d, const char *base, const char *path, int make,
                  struct br_err *err)
{
    struct br__arena a = {0};
    int rc = make ? br__mkdirs(base, err) : BR_OK;
    *d = (struct br__dir){.fd = -1};
    if (!rc)
        rc = br__dir_open(d, base, err);
    for (const char *p = path + strlen(base); !rc;) {
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (!p[n])
            break;
        struct br__dir next;
        const char *name = br__arena_strndup(&a, p, n);
        rc = name ? br__dir_child(&next, d, name, make, err) : br__nomem(err, "for '%s'", path);
        if (!rc) {
            br__dir_close(d);
            *d = next;
        }
        p += n;
    }
    if (rc)
        br__dir_close(d);
    br__arena_free(&a);
    return rc;
}

/* ---- whose it is ----------------------------------------------------------------------------- */

/* Record owner and mode of a directory made now in `parent`: some file systems give everything one
 * owner or one mode. */
static int dir_probe(const struct br__dir *parent, struct stat *st, struct br_err *err)
{
    char name[48];
    snprintf(name, sizeof name, ".bridge-probe-%016" PRIx64, br__random());
    if (br__io.mkdirat(parent->fd, name, 0700) < 0)
        return BR__FAIL_WRITE(err, errno, "make a directory in", parent->path);
    int rc = br__io.fstatat(parent->fd, name, st, AT_SYMLINK_NOFOLLOW) < 0
                 ? BR__FAIL_READ(err, errno, "examine", parent->path)
                 : BR_OK;
    br__io.unlinkat(parent->fd, name, AT_REMOVEDIR);
    return rc;
}

/* Refuse a directory of another user; 1 in *open if others may write to it. */
static int check_owner(const struct br__dir *d, const struct br__dir *parent, int *open,
                       struct br_err *err)
{
    struct stat st, mine;
    *open = 0;
    if (br__io.fstat(d->fd, &st) < 0)
        return BR__FAIL_READ(err, errno, "examine", d->path);
    if (st.st_uid == geteuid() && !(st.st_mode & OTHERS_WRITE))
        return BR_OK;
    int rc = dir_probe(parent, &mine, err);
    if (rc)
        return rc;
    if (st.st_uid != mine.st_uid)
        return br_fail(
            err, BR_E_EXISTS,
            "'%s' belongs to another user (%lu): it is neither used nor removed; have it "
            "removed or choose another destination",
            d->path, (unsigned long)st.st_uid);
    *open = (st.st_mode & OTHERS_WRITE & ~mine.st_mode) != 0;
    return BR_OK;
}

int br__dir_private(struct br__dir *d, const struct br__dir *parent, const char *name, int *trusted,
                    struct br_err *err)
{
    int open;
    if (br__io.mkdirat(parent->fd, name, 0700) < 0 && errno != EEXIST) {
        int e = errno;
        *d = (struct br__dir){.fd = -1};
        char *path = br__dir_name(parent, name);
        int rc = BR__FAIL_WRITE(err, e, "make the directory", path ? path : name);
        br__free(path);
        return rc;
    }
    int rc = br__dir_child(d, parent, name, 0, err);
    if (rc)
        return rc;
    rc = check_owner(d, parent, &open, err);
    /* group members may have written to it while it was public */
    if (!rc && open && br__io.fchmod(d->fd, 0700) < 0)
        rc = BR__FAIL_WRITE(err, errno, "change the mode of", d->path);
    *trusted = !open;
    if (rc)
        br__dir_close(d);
    return rc;
}

int br__dir_publish_mode(const struct br__dir *d, struct br_err *err)
{
    static const char name[] = ".bridge-mode";
    struct stat st;
    if (br__io.mkdirat(d->fd, name, 0777) < 0 && errno != EEXIST)
        return BR__FAIL_WRITE(err, errno, "make a directory in", d->path);
    int rc = br__io.fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0
                 ? BR__FAIL_READ(err, errno, "examine", d->path)
                 : BR_OK;
    if (br__io.unlinkat(d->fd, name, AT_REMOVEDIR) < 0 && !rc)
        rc = BR__FAIL_WRITE(err, errno, "remove a directory in", d->path);
    /* Where modes cannot be changed, keep the mode of the file system. */
    if (!rc && br__io.fchmod(d->fd, st.st_mode & 07777) < 0 && errno != EPERM && errno != ENOSYS &&
        errno != EOPNOTSUPP)
        rc = BR__FAIL_WRITE(err, errno, "change the mode of", d->path);
    return rc;
}

int br__file_is_ours(const struct br__dir *d, int fd, const char *path, struct br_err *err)
{
    struct stat st, dir;
    if (br__io.fstat(fd, &st) < 0 || br__io.fstat(d->fd, &dir) < 0)
        return BR__FAIL_READ(err, errno, "examine", path);
    const char *what = !S_ISREG(st.st_mode) ? "no regular file"
                       : st.st_nlink != 1   ? "a file with a second name"
                       : st.st_uid != geteuid() && st.st_uid != dir.st_uid
                           ? "a file of another user"
                           : NULL;
    return what ? br_fail(err, BR_E_EXISTS, "'%s' is %s; remove it", path, what) : BR_OK;
}

int br__dir_file(const struct br__dir *d, const char *name, mode_t mode, int ours, int *fd,
                 struct br_err *err)
{
    struct stat st;
    char *path = br__dir_name(d, name);
    if (!path)
        return br__nomem(err, "for '%s'", name);
    BR__RETRY(*fd, br__io.openat(d->fd, name,
                                 O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, mode));
    int rc = *fd < 0 ? BR__FAIL_WRITE(err, errno, "open", path) : BR_OK;
    if (!rc && ours)
        rc = br__file_is_ours(d, *fd, path, err);
    else if (!rc && (br__io.fstat(*fd, &st) < 0 || !S_ISREG(st.st_mode)))
        rc = br_fail(err, BR_E_EXISTS, "'%s' is no regular file; remove it", path);
    if (rc && *fd >= 0) {
        br__io.close(*fd);
        *fd = -1;
    }
    br__free(path);
    return rc;
}

int br__dir_is_writable(const struct br__dir *d)
{
    return faccessat(d->fd, ".", W_OK | X_OK, AT_EACCESS) == 0;
}

int br__dir_is_fixed(const struct br__dir *parent, const char *name)
{
    struct statx x;
    struct stat st, above;
    if (statx(parent->fd, name, AT_SYMLINK_NOFOLLOW, 0, &x) == 0 &&
        x.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT)
        return (x.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
    return !br__dir_stat(parent, name, &st) && !br__io.fstat(parent->fd, &above) &&
           st.st_dev != above.st_dev;
}

/* ---- locks ----------------------------------------------------------------------------------- */

#define LOCK_STEP_MS 20

int br__fd_lock(int fd, const char *path, int wait_ms, int *locked, struct br_err *err)
{
    int rc;
    for (int waited = 0;; waited += LOCK_STEP_MS) {
        BR__RETRY(rc, br__io.flock(fd, LOCK_EX | LOCK_NB));
        if (rc == 0 || errno != EWOULDBLOCK || waited >= wait_ms)
            break;
        usleep(LOCK_STEP_MS * 1000);
    }
    int e = rc ? errno : 0;
    *locked = !e;
    if (e == EWOULDBLOCK)
        return br_fail(err, BR_E_BUSY, "another process works with '%s'", path);
    /* Lustre mounted without flock, NFS without its lock service, some FUSE: there is no lock. */
    if (e && e != ENOSYS && e != ENOLCK && e != EOPNOTSUPP && e != EINVAL)
        return BR__FAIL_WRITE(err, e, "lock", path);
    return BR_OK;
}

int br__dir_lock(const struct br__dir *d, int wait_ms, int *locked, struct br_err *err)
{
    return br__fd_lock(d->fd, d->path, wait_ms, locked, err);
}

/* ---- names in a directory -------------------------------------------------------------------- */

int br__dir_stat(const struct br__dir *d, const char *name, struct stat *st)
{
    return br__io.fstatat(d->fd, name, st, AT_SYMLINK_NOFOLLOW);
}

int br__dir_rename(const struct br__dir *d, const char *from, const char *to, struct br_err *err)
{
    return br__dir_move(d, from, d, to, err);
}

int br__dir_move(const struct br__dir *from_dir, const char *from, const struct br__dir *to_dir,
                 const char *to, struct br_err *err)
{
    int rc;
    BR__RETRY(rc, br__io.renameat(from_dir->fd, from, to_dir->fd, to));
    if (!rc)
        return BR_OK;
    int e = errno;
    char *path = br__dir_name(to_dir, to), verb[300];
    snprintf(verb, sizeof verb, "rename '%s' to", from);
    rc = BR__FAIL_WRITE(err, e, verb, path ? path : to);
    br__free(path);
    return rc;
}

int br__dir_exchange(const struct br__dir *d, const char *a, const char *b, struct br_err *err)
{
    int rc;
    BR__RETRY(rc, br__io.renameat2(d->fd, a, d->fd, b, RENAME_EXCHANGE));
    if (!rc)
        return BR_OK;
    int e = errno;
    if (e == EINVAL || e == ENOSYS || e == EOPNOTSUPP)
        return br_fail(err, BR_E_UNSUPPORTED, "names in '%s' cannot be exchanged", d->path);
    char *path = br__dir_name(d, b);
    rc = BR__FAIL_WRITE(err, e, "replace", path ? path : b);
    br__free(path);
    return rc;
}

int br__dir_link(const struct br__dir *d, const char *name, const char *target, struct br_err *err)
{
    /* Another process may put its own between the two calls. */
    for (int i = 0; br__io.symlinkat(target, d->fd, name) < 0; i++)
        if (errno != EEXIST || i > 8 || (br__io.unlinkat(d->fd, name, 0) < 0 && errno != ENOENT)) {
            int e = errno;
            char *path = br__dir_name(d, name);
            int rc = BR__FAIL_WRITE(err, e, "link", path ? path : name);
            br__free(path);
            return rc;
        }
    return BR_OK;
}

int br__dir_sync(const struct br__dir *d, struct br_err *err)
{
    int rc;
    BR__RETRY(rc, br__io.fsync(d->fd));
    /* Some file systems cannot sync a directory and say EINVAL: there is nothing to wait for. */
    return rc < 0 && errno != EINVAL ? BR__FAIL_WRITE(err, errno, "sync", d->path) : BR_OK;
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

int br__dir_list(struct br__arena *a, const struct br__dir *dir, char ***out, size_t *n,
                 struct br_err *err)
{
    char **names = NULL;
    int fd;
    *out = NULL;
    *n = 0;
    /* A descriptor of its own: reading moves the position that duplicates share. */
    BR__RETRY(fd, br__io.openat(dir->fd, ".", OPEN_DIR, 0));
    if (fd < 0)
        return BR__FAIL_READ(err, errno, "list", dir->path);
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
    return e ? BR__FAIL_READ(err, e, "list", dir->path) : BR_OK;
}

int br__dir_empty(const struct br__dir *d, const char *const *keep, size_t n_keep,
                  struct br_err *err)
{
    struct br__arena a = {0};
    char **names;
    size_t n;
    int rc = br__dir_list(&a, d, &names, &n, err);
    for (size_t i = 0; rc == BR_OK && i < n; i++) {
        size_t k = 0;
        while (k < n_keep && strcmp(keep[k], names[i]) != 0)
            k++;
        if (k == n_keep)
            rc = br__dir_remove(d, names[i], err);
    }
    br__arena_free(&a);
    return rc;
}

void br__dir_unprotect(const struct br__dir *d)
{
    struct stat st;
    if (!br__io.fstat(d->fd, &st) && st.st_uid == geteuid() && (st.st_mode & S_IRWXU) != S_IRWXU)
        br__io.fchmod(d->fd, (st.st_mode & 07777) | S_IRWXU);
}

int br__dir_remove_empty(const struct br__dir *d, const char *name)
{
    return br__io.unlinkat(d->fd, name, AT_REMOVEDIR) ? BR_E_IO : BR_OK;
}

/* A directory and what is in it.  One of ours that forbids writing is opened first. */
static int remove_dir(const struct br__dir *parent, const char *name, struct br_err *err)
{
    struct br__dir d;
    int rc = br__dir_child(&d, parent, name, 0, err);
    if (rc == BR_E_NOTFOUND)
        return BR_OK;
    if (rc)
        return rc;
    br__dir_unprotect(&d);
    rc = br__dir_empty(&d, NULL, 0, err);
    if (!rc && br__io.unlinkat(parent->fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        rc = BR__FAIL_WRITE(err, errno, "remove", d.path);
    br__dir_close(&d);
    return rc;
}

int br__dir_remove(const struct br__dir *d, const char *name, struct br_err *err)
{
    /* As a file first: that removes a symbolic link instead of following it. */
    if (br__io.unlinkat(d->fd, name, 0) == 0 || errno == ENOENT)
        return BR_OK;
    if (errno == EISDIR || errno == EPERM)
        return remove_dir(d, name, err);
    int e = errno;
    char *path = br__dir_name(d, name);
    int rc = BR__FAIL_WRITE(err, e, "remove", path ? path : name);
    br__free(path);
    return rc;
}

/* ---- by path --------------------------------------------------------------------------------- */

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
        return br__nomem(err, "for '%s'", path);
    int rc = BR_OK;
    for (char *s = p; rc == BR_OK && *s;) {
        s += strspn(s, "/");
        s += strcspn(s, "/");
        char at = *s;
        *s = '\0';
        /* What mkdir says of an existing parent depends on the file system (EEXIST, EROFS,
         * EACCES): only whether a directory is there matters. */
        if (br__io.mkdirat(AT_FDCWD, p, 0777) < 0) {
            int e = errno;
            if (!br__is_dir(p))
                rc = BR__FAIL_WRITE(err, e == EEXIST ? ENOTDIR : e, "make the directory", p);
        }
        *s = at;
    }
    br__free(p);
    return rc;
}

int br__temp_dir(struct br__arena *a, const char *name, const char **dir, struct br_err *err)
{
    const char *tmp = getenv("TMPDIR");
    char *path =
        br__arena_printf(a, "%s/%s-%016" PRIx64, tmp && *tmp ? tmp : "/tmp", name, br__random());

    if (!path)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    if (br__io.mkdirat(AT_FDCWD, path, 0700) < 0)
        return BR__FAIL_WRITE(err, errno, "make the temporary directory", path);
    *dir = path;
    return BR_OK;
}

int br__list_dir(struct br__arena *a, const char *path, char ***names, size_t *n,
                 struct br_err *err)
{
    struct br__dir d;
    *names = NULL;
    *n = 0;
    int rc = br__dir_open(&d, path, err);
    if (rc)
        return rc;
    rc = br__dir_list(a, &d, names, n, err);
    br__dir_close(&d);
    return rc;
}

int br__remove_tree(const char *path, struct br_err *err)
{
    struct br__dir d;
    int rc = br__dir_of(&d, path, 0, err);
    if (!rc)
        rc = br__dir_remove(&d, br__path_base(path), err);
    br__dir_close(&d);
    return rc;
}

int br__free_space(const struct br__dir *d, uint64_t *bytes, struct br_err *err)
{
    struct statvfs st;
    int rc;
    BR__RETRY(rc, fstatvfs(d->fd, &st));
    if (rc < 0)
        return BR__FAIL_READ(err, errno, "find the free space at", d->path);
    *bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return BR_OK;
}

int br__std_fds(struct br_err *err)
{
    /* Opened the wrong way round, so that using one still fails as on a closed descriptor. */
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        int got = br__io.openat(AT_FDCWD, "/dev/null", fd ? O_RDONLY : O_WRONLY, 0);
        if (got != fd)
            return br_fail(err, BR_E_IO, "descriptor %d is closed and /dev/null cannot be opened",
                           fd);
    }
    return BR_OK;
}

int br__fd_spare(struct br_err *err)
{
    int fd = br__io.openat(AT_FDCWD, "/", OPEN_DIR, 0);
    if (fd < 0)
        return BR__FAIL_READ(err, errno, "open", "/");
    br__io.close(fd);
    return BR_OK;
}
