/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sys.c - the system calls on files, and what a failed one means. */
#include "base_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- the call table -------------------------------------------------------------------------- */

static int sys_openat(int dir, const char *path, int flags, mode_t mode)
{
    return openat(dir, path, flags, mode);
}

static int sys_fallocate(int fd, off_t size)
{
    return fallocate(fd, 0, 0, size);
}

static int sys_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, flags);
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
    .openat = sys_openat,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .fsync = fsync,
    .writeback = sys_writeback,
    .ftruncate = ftruncate,
    .fallocate = sys_fallocate,
    .fchmod = fchmod,
    .flock = flock,
    .fstat = fstat,
    .fstatat = fstatat,
    .stat = stat,
    .mkdirat = mkdirat,
    .renameat = renameat,
    .renameat2 = sys_renameat2,
    .unlinkat = unlinkat,
    .symlinkat = symlinkat,
    .mmap = sys_mmap,
    .munmap = munmap,
};

/* ---- errors ---------------------------------------------------------------------------------- */

static int read_code(int e)
{
    return e == ENOENT || e == ENOTDIR ? BR_E_NOTFOUND : e == ENOMEM ? BR_E_NOMEM : BR_E_IO;
}

int br__write_status(int e)
{
    return e == ENOSPC || e == EDQUOT ? BR_E_NOSPC
           : e == ENOMEM              ? BR_E_NOMEM
           : e == ENOTEMPTY           ? BR_E_EXISTS
                                      : BR_E_IO;
}

/* What to do about an error that its text alone does not explain. */
static const char *advice(int e)
{
    switch (e) {
    case EMFILE:
        return " in this process; raise the limit (ulimit -n)";
    case ENFILE:
        return " in this system";
    case ELOOP:
        return "; a symbolic link is not followed here: remove it";
    default:
        return "";
    }
}

int br__fail_errno(struct br_err *err, const char *where, int writing, int e, const char *verb,
                   const char *path)
{
    char text[128];
    return br_fail_at(err, writing ? br__write_status(e) : read_code(e), where,
                      "cannot %s '%s': %s%s", verb, path, strerror_r(e, text, sizeof text),
                      advice(e));
}
