/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
#include "libfaults.h"

#include "base/base_internal.h"
#include <errno.h>
#include <unistd.h>

#define BLOCK ((size_t)64 << 10) /* writes of at least this size are tensor data */

static struct br__io_ops real_io;
static struct br__mem_ops real_mem;
static int is_saved;
static enum fault kind;
static long countdown; /* calls until the fault; negative: never */
static long limit;     /* the initial value of countdown */
static int no_exchange;
int fault_fired;
long fault_last_block;

long fault_calls(void)
{
    return limit - countdown;
}

static int due(void)
{
    if (countdown < 0 || countdown-- > 0)
        return 0;
    if (kind == KILLED)
        _exit(FAULT_KILL_STATUS);
    fault_fired = 1;
    errno = kind == FAIL_ENOSPC ? ENOSPC : EIO;
    return 1;
}

static ssize_t f_pread(int fd, void *buf, size_t n, off_t off)
{
    if (kind == FAIL_ENOSPC || !due())
        return real_io.pread(fd, buf, n, off);
    return kind == SHORT_READ ? 0 : -1;
}

#define WRITING(call) return kind != SHORT_READ && due() ? -1 : (call)
static ssize_t f_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    if (n >= BLOCK && countdown > 0) /* the calls are counted */
        fault_last_block = fault_calls();
    if (kind != SHORT_READ && due())
        return -1;
    /* Writes may be short; that is no error. */
    return real_io.pwrite(fd, buf, n > 4096 ? n / 2 : n, off);
}
static int f_openat(int at, const char *path, int flags, mode_t mode)
{
    WRITING(real_io.openat(at, path, flags, mode));
}
static int f_fsync(int fd)
{
    WRITING(real_io.fsync(fd));
}
static int f_ftruncate(int fd, off_t size)
{
    WRITING(real_io.ftruncate(fd, size));
}
static int f_fallocate(int fd, off_t size)
{
    WRITING(real_io.fallocate(fd, size));
}
static int f_fchmod(int fd, mode_t mode)
{
    WRITING(real_io.fchmod(fd, mode));
}
static int f_flock(int fd, int operation)
{
    WRITING(real_io.flock(fd, operation));
}
static int f_fstat(int fd, struct stat *st)
{
    WRITING(real_io.fstat(fd, st));
}
static int f_fstatat(int at, const char *path, struct stat *st, int flags)
{
    WRITING(real_io.fstatat(at, path, st, flags));
}
static int f_mkdirat(int at, const char *path, mode_t mode)
{
    WRITING(real_io.mkdirat(at, path, mode));
}
static int f_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    WRITING(real_io.renameat(from_dir, from, to_dir, to));
}
/* Pretend a file system that cannot exchange names, so that two renames are used. */
static int f_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    if (no_exchange)
        return errno = EINVAL, -1;
    WRITING(real_io.renameat2(from_dir, from, to_dir, to, flags));
}
static int f_unlinkat(int at, const char *path, int flags)
{
    WRITING(real_io.unlinkat(at, path, flags));
}

static void *f_realloc(void *p, size_t n)
{
    return due() ? NULL : real_mem.realloc(p, n);
}

static void save_real(void)
{
    if (!is_saved) {
        real_io = br__io;
        real_mem = br__mem;
        is_saved = 1;
    }
}

void fault_arm(enum fault k, long n)
{
    save_real();
    kind = k;
    countdown = limit = n;
    fault_fired = 0;
    if (k == NO_MEMORY) {
        br__mem.realloc = f_realloc;
        return;
    }
    br__io.pread = f_pread;
    br__io.pwrite = f_pwrite;
    br__io.openat = f_openat;
    br__io.fsync = f_fsync;
    br__io.ftruncate = f_ftruncate;
    br__io.fallocate = f_fallocate;
    br__io.fchmod = f_fchmod;
    br__io.flock = f_flock;
    br__io.fstat = f_fstat;
    br__io.fstatat = f_fstatat;
    br__io.mkdirat = f_mkdirat;
    br__io.renameat = f_renameat;
    br__io.renameat2 = f_renameat2;
    br__io.unlinkat = f_unlinkat;
}

void fault_disarm(void)
{
    save_real();
    br__io = real_io;
    br__mem = real_mem;
    countdown = -1;
    if (no_exchange)
        br__io.renameat2 = f_renameat2;
}

void fault_forbid_exchange(int on)
{
    no_exchange = on;
    fault_disarm();
}
