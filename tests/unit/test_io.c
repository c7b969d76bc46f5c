/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_io.c - files, with a file system that fails on purpose. */
#include "../../core/base/base.h"
#include "librun.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char dir[256];
static struct br__dir open_dir; /* the same */
static struct br__io_ops real;

static void make_dir(void)
{
    real = br__io;
    make_temp_dir(dir, sizeof dir, "bridge-io");
    ck_assert_int_eq(br__dir_open(&open_dir, dir, NULL), 0);
}

static void remove_dir(void)
{
    br__io = real;
    br__dir_close(&open_dir);
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
    ck_assert(!br__exists(dir));
}

/* A path in the test's directory; four live at a time. */
static const char *in_dir(const char *name)
{
    static char path[4][512];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", dir, name);
    return path[next];
}

static void put(const char *name, const char *text)
{
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__write_file(in_dir(name), text, strlen(text), 0, &err) == 0, "%s", err.msg);
}

static void ck_content(const char *name, const char *text, size_t n)
{
    char *got;
    size_t got_n;
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__read_text(in_dir(name), 1 << 30, &got, &got_n, &err) == 0, "%s", err.msg);
    ck_assert_uint_eq(got_n, n);
    ck_assert_mem_eq(got, text, n);
    ck_assert_int_eq(got[n], 0);
    br__free(got);
}

static size_t n_files(void)
{
    struct br__arena a = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(br__list_dir(&a, dir, &names, &n, NULL), 0);
    br__arena_free(&a);
    return n;
}

static int n_open_fds(void)
{
    int n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- faulty calls ---------------------------------------------------------------------------- */

static int fault_calls, fault_at, fault_errno;

/* Is this the call that fails? */
static int fault(void)
{
    if (++fault_calls != fault_at)
        return 0;
    errno = fault_errno;
    return 1;
}

static ssize_t short_pread(int fd, void *buf, size_t n, off_t off)
{
    if (++fault_calls % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return real.pread(fd, buf, BR__MIN(n, 7), off);
}

static ssize_t short_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    if (++fault_calls % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    return real.pwrite(fd, buf, BR__MIN(n, 1000), off);
}

static ssize_t eof_pread(int fd, void *buf, size_t n, off_t off)
{
    return off >= 5 ? 0 : real.pread(fd, buf, BR__MIN(n, (size_t)(5 - off)), off);
}

static ssize_t zero_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    (void)fd, (void)buf, (void)n, (void)off;
    return 0;
}

static int f_openat(int at, const char *path, int flags, mode_t mode)
{
    return fault() ? -1 : real.openat(at, path, flags, mode);
}

static int f_close(int fd)
{
    int bad = fault(), e = errno;
    real.close(fd);
    errno = e;
    return bad ? -1 : 0;
}

static ssize_t f_pread(int fd, void *buf, size_t n, off_t off)
{
    return fault() ? -1 : real.pread(fd, buf, n, off);
}

static ssize_t f_pwrite(int fd, const void *buf, size_t n, off_t off)
{
    return fault() ? -1 : real.pwrite(fd, buf, n, off);
}

static int f_fsync(int fd)
{
    return fault() ? -1 : real.fsync(fd);
}

static int f_ftruncate(int fd, off_t size)
{
    return fault() ? -1 : real.ftruncate(fd, size);
}

static int f_fallocate(int fd, off_t size)
{
    return fault() ? -1 : real.fallocate(fd, size);
}

static int f_fstat(int fd, struct stat *st)
{
    return fault() ? -1 : real.fstat(fd, st);
}

static int f_renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return fault() ? -1 : real.renameat(from_dir, from, to_dir, to);
}

static int f_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return fault() ? -1 : real.renameat2(from_dir, from, to_dir, to, flags);
}

static int f_unlinkat(int at, const char *path, int flags)
{
    return fault() ? -1 : real.unlinkat(at, path, flags);
}

static int f_flock(int fd, int operation)
{
    return fault() ? -1 : real.flock(fd, operation);
}

static void *f_mmap(size_t n, int fd)
{
    return fault() ? MAP_FAILED : real.mmap(n, fd);
}

/* Let the nth call from now fail with errno e. */
static void inject(int nth, int e)
{
    fault_calls = 0;
    fault_at = nth;
    fault_errno = e;
    br__io.openat = f_openat;
    br__io.close = f_close;
    br__io.pread = f_pread;
    br__io.pwrite = f_pwrite;
    br__io.fsync = f_fsync;
    br__io.ftruncate = f_ftruncate;
    br__io.fallocate = f_fallocate;
    br__io.fstat = f_fstat;
    br__io.renameat = f_renameat;
    br__io.renameat2 = f_renameat2;
    br__io.unlinkat = f_unlinkat;
    br__io.flock = f_flock;
    br__io.mmap = f_mmap;
}

/* Another process may make a file or a link again between unlink and open. */
static int blind_unlinkat(int at, const char *path, int flags)
{
    (void)at, (void)path, (void)flags;
    return 0;
}

static int isdir_unlinkat(int at, const char *path, int flags)
{
    if (strcmp(path, "link") != 0)
        return real.unlinkat(at, path, flags);
    errno = EISDIR;
    return -1;
}

/* ---- reading --------------------------------------------------------------------------------- */

START_TEST(file_open_and_read)
{
    struct br__file f;
    struct br_err err = BR_ERR_INIT;
    char buf[16] = {0};
    put("a", "0123456789");
    ck_assert_int_eq(br__file_open(&f, in_dir("a"), &err), 0);
    ck_assert_uint_eq(f.size, 10);
    ck_assert_mem_eq(f.map, "0123456789", 10);
    ck_assert(f.mtime_ns > 1600000000000000000);
    ck_assert_int_eq(br__file_read(&f, 3, buf, 4, &err), 0);
    ck_assert_str_eq(buf, "3456");
    ck_assert_int_eq(br__file_read(&f, 10, buf, 0, &err), 0);
    ck_assert_int_eq(br__file_read(&f, 7, buf, 4, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "is 10 bytes, 4 at byte 7"));
    ck_assert_int_eq(br__file_read(&f, UINT64_MAX, buf, 4, &err), BR_E_FORMAT);
    ck_assert_int_eq(br__file_read(&f, 4, buf, SIZE_MAX, &err), BR_E_FORMAT);

    br__io.pread = short_pread;
    memset(buf, 0, sizeof buf);
    ck_assert_int_eq(br__file_read(&f, 0, buf, 10, &err), 0);
    ck_assert_str_eq(buf, "0123456789");
    br__io.pread = eof_pread;
    ck_assert_int_eq(br__file_read(&f, 2, buf, 8, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "/a' ends at byte 5 while bytes 2 to 10 are read"));
    inject(1, EIO);
    ck_assert_int_eq(br__file_read(&f, 2, buf, 8, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot read 8 bytes of '"));
    ck_assert_ptr_nonnull(strstr(err.msg, "at byte 2: Input/output error"));
    br__file_close(&f);
    br__file_close(&f);

    struct br__file zero = {0};
    br__file_close(&zero);
    ck_assert_int_ge(fcntl(0, F_GETFD), 0); /* fd 0 of a zeroed struct must not be closed */
}
END_TEST

START_TEST(file_open_refuses)
{
    struct br__file f;
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds();
    ck_assert_int_eq(br__file_open(&f, in_dir("none"), &err), BR_E_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(err.msg, "/none': No such file"));
    ck_assert_int_eq(br__file_open(&f, dir, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "a directory, not a file"));
    ck_assert_int_eq(mkfifo(in_dir("pipe"), 0600), 0);
    ck_assert_int_eq(br__file_open(&f, in_dir("pipe"), &err), BR_E_IO); /* and does not hang */
    ck_assert_int_eq(br__file_open(&f, "/dev/null", &err), BR_E_IO);
    put("empty", "");
    ck_assert_int_eq(br__file_open(&f, in_dir("empty"), &err), 0);
    ck_assert_ptr_null(f.map);
    ck_assert_uint_eq(f.size, 0);
    br__file_close(&f);
    put("a", "abc");
    for (int n = 1; n <= 3; n++) { /* open, fstat, mmap */
        inject(n, EIO);
        ck_assert_int_eq(br__file_open(&f, in_dir("a"), &err), BR_E_IO);
        br__file_close(&f);
    }
    inject(1, EINTR);
    ck_assert_int_eq(br__file_open(&f, in_dir("a"), &err), 0);
    br__file_close(&f);
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

START_TEST(read_text)
{
    char *text;
    size_t n;
    struct br_err err = BR_ERR_INIT;
    put("t", "hello");
    ck_content("t", "hello", 5);
    ck_assert_int_eq(br__read_text(in_dir("t"), 5, &text, NULL, &err), 0);
    br__free(text);
    ck_assert_int_eq(br__read_text(in_dir("t"), 4, &text, &n, &err), BR_E_FORMAT);
    ck_assert_ptr_null(text);
    ck_assert_ptr_nonnull(strstr(err.msg, "is 5 bytes, at most 4"));
    ck_assert_int_eq(br__read_text(in_dir("none"), 5, &text, &n, &err), BR_E_NOTFOUND);
    put("empty", "");
    ck_content("empty", "", 0);
}
END_TEST

/* ---- br__out --------------------------------------------------------------------------------- */

static unsigned char pattern[3 * BR__OUT_BUF + 12345];

static void fill_pattern(void)
{
    for (size_t i = 0; i < sizeof pattern; i++)
        pattern[i] = (unsigned char)(i * 2654435761u >> 24);
}

/* Write `pattern` with reserve and write in turn, in pieces of many sizes. */
static int write_pattern(struct br__out *o, struct br_err *err)
{
    static const size_t piece[] = {1, 4096, 0, 100000, BR__OUT_BUF, 7, BR__OUT_BUF + 5, 50000};
    size_t at = 0;
    for (size_t k = 0; at < sizeof pattern; k++) {
        size_t n = BR__MIN(piece[k % BR_COUNTOF(piece)], sizeof pattern - at);
        if (k % 2 == 0 && n <= BR__OUT_BUF) {
            unsigned char *p = br__out_reserve(o, n, err);
            if (!p)
                return o->failed;
            memcpy(p, pattern + at, n);
            br__out_commit(o, n);
        } else {
            int rc = br__out_write(o, pattern + at, n, err);
            if (rc)
                return rc;
        }
        at += n;
        ck_assert_uint_eq(br__out_tell(o), at);
    }
    return 0;
}

START_TEST(out_writes_everything)
{
    struct br__out o;
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds();
    fill_pattern();
    static const uint64_t hint[] = {0, 10, sizeof pattern, sizeof pattern + 100000};
    for (size_t i = 0; i < BR_COUNTOF(hint); i++)
        for (int faulty = 0; faulty < 2; faulty++) {
            if (faulty)
                br__io.pwrite = short_pwrite;
            ck_assert_int_eq(br__out_open(&o, in_dir("out"), hint[i], i == 1, &err), 0);
            ck_assert_int_eq(write_pattern(&o, &err), 0);
            ck_assert_int_eq(br__out_finish(&o, &err), 0);
            br__io = real;
            ck_content("out", (const char *)pattern, sizeof pattern);
        }
    br__out_abort(&o);
    struct br__out zero = {0};
    br__out_abort(&zero);
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

/* The old file must be replaced, not truncated: a process that has it open keeps its bytes. */
START_TEST(out_unlinks_first)
{
    struct br__out o;
    char buf[4] = {0};
    put("out", "old");
    ck_assert_int_eq(link(in_dir("out"), in_dir("other name")), 0);
    int fd = open(in_dir("out"), O_RDONLY);
    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 0, 0, NULL), 0);
    ck_assert_int_eq(br__out_write(&o, "new!", 4, NULL), 0);
    ck_assert_int_eq(br__out_finish(&o, NULL), 0);
    ck_assert_int_eq(pread(fd, buf, 3, 0), 3);
    ck_assert_str_eq(buf, "old");
    close(fd);
    ck_content("out", "new!", 4);
    ck_content("other name", "old", 3);

    /* A symbolic link is replaced, not followed. */
    ck_assert_int_eq(symlink("other name", in_dir("link")), 0);
    ck_assert_int_eq(br__out_open(&o, in_dir("link"), 0, 0, NULL), 0);
    ck_assert_int_eq(br__out_finish(&o, NULL), 0);
    ck_content("other name", "old", 3);

    struct br_err err = BR_ERR_INIT;
    br__io.unlinkat = blind_unlinkat;
    ck_assert_int_eq(br__out_open(&o, in_dir("other name"), 0, 0, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "File exists"));
    br__io = real;
    ck_content("other name", "old", 3);
    ck_assert_int_eq(mkdir(in_dir("sub"), 0777), 0);
    ck_assert_int_eq(br__out_open(&o, in_dir("sub"), 0, 0, &err), BR_E_IO);
    ck_assert_int_eq(br__out_open(&o, in_dir("none/x"), 0, 0, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot open the directory '"));
}
END_TEST

START_TEST(out_preallocates)
{
    struct br__out o;
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds();
    size_t files = n_files();
    static const int full[] = {ENOSPC, EDQUOT};
    for (int i = 0; i < 2; i++) {
        inject(4, full[i]); /* open the folder, unlink, open, fallocate */
        ck_assert_int_eq(br__out_open(&o, in_dir("out"), 12345, 0, &err), BR_E_NOSPC);
        ck_assert_ptr_nonnull(strstr(err.msg, "cannot reserve 12345 bytes for '"));
        ck_assert_uint_eq(n_files(), files); /* nothing left behind */
    }
    inject(4, EIO);
    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 12345, 0, &err), BR_E_IO);
    inject(4, EOPNOTSUPP);
    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 12345, 0, &err), 0);
    ck_assert_uint_eq(o.prealloc, 0);
    ck_assert_int_eq(br__out_finish(&o, &err), 0);
    ck_content("out", "", 0);

    br__io = real;
    struct stat st;
    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 1 << 20, 0, &err), 0);
    if (o.prealloc) { /* the file system under /tmp may not have it */
        ck_assert_int_eq(stat(in_dir("out"), &st), 0);
        ck_assert_int_ge(st.st_blocks * 512, 1 << 20);
    }
    br__out_abort(&o);
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

/* A file written in parts, the last one first. */
START_TEST(out_in_parts)
{
    struct br__out o;
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds();
    for (int reserve = 0; reserve < 2; reserve++) {
        if (!reserve)
            inject(3, EOPNOTSUPP); /* fallocate: the size must be set all the same */
        ck_assert_int_eq(br__create_sized(&open_dir, "out", 10, &err), 0);
        br__io = real;
        ck_content("out", "\0\0\0\0\0\0\0\0\0\0", 10);
        ck_assert_int_eq(br__out_open_at(&o, &open_dir, "out", 6, 1, &err), 0);
        ck_assert_int_eq(br__out_write(&o, "6789", 4, &err), 0);
        ck_assert_uint_eq(br__out_tell(&o), 10);
        ck_assert_int_eq(br__out_finish(&o, &err), 0);
        ck_assert_int_eq(br__out_open_at(&o, &open_dir, "out", 0, 0, &err), 0);
        ck_assert_int_eq(br__out_write(&o, "0123", 4, &err), 0);
        ck_assert_int_eq(br__out_finish(&o, &err), 0);
        ck_content("out",
                   "0123\0\0"
                   "6789",
                   10);
    }
    inject(3, ENOSPC);
    ck_assert_int_eq(br__create_sized(&open_dir, "full", 10, &err), BR_E_NOSPC);
    br__io = real;
    ck_assert(!br__exists(in_dir("full")));
    ck_assert_int_eq(br__out_open_at(&o, &open_dir, "none", 0, 0, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot open '"));
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

START_TEST(out_errors_stick)
{
    struct br__out o;
    struct br_err err = BR_ERR_INIT;
    fill_pattern();
    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 0, 0, &err), 0);
    ck_assert_int_eq(br__out_write(&o, pattern, BR__OUT_BUF, &err), 0);
    inject(1, ENOSPC);
    ck_assert_int_eq(br__out_write(&o, pattern, BR__OUT_BUF, &err), BR_E_NOSPC);
    char expect[200];
    snprintf(expect, sizeof expect, "cannot write '%s' at byte %u: No space left on device",
             in_dir("out"), BR__OUT_BUF);
    ck_assert_str_eq(err.msg, expect);
    ck_assert_int_eq(br__out_write(&o, "x", 1, &err), BR_E_NOSPC);
    ck_assert_ptr_nonnull(strstr(err.msg, "an earlier write"));
    ck_assert_ptr_null(br__out_reserve(&o, 1, &err));
    ck_assert_int_eq(br__out_finish(&o, &err), BR_E_NOSPC);
    ck_assert_ptr_null(o.path);

    ck_assert_int_eq(br__out_open(&o, in_dir("out"), 0, 0, &err), 0);
    br__io.pwrite = zero_pwrite; /* must not loop for ever */
    ck_assert_int_eq(br__out_write(&o, "x", 1, &err), 0);
    ck_assert_int_eq(br__out_finish(&o, &err), BR_E_IO);
}
END_TEST

/* pwrite, ftruncate, fsync, close: each failure is reported, with the file's name. */
START_TEST(out_finish_errors)
{
    static const char *const says[] = {"cannot write", "cannot set the size", "cannot sync",
                                       "cannot close"};
    int fds = n_open_fds();
    for (int n = 1; n <= 4; n++) {
        struct br__out o;
        struct br_err err = BR_ERR_INIT;
        br__io = real;
        ck_assert_int_eq(br__out_open(&o, in_dir("out"), 4096, 1, &err), 0);
        ck_assert_int_eq(br__out_write(&o, "abc", 3, &err), 0);
        o.prealloc = 4096; /* as if fallocate were there */
        inject(n, EDQUOT);
        ck_assert_int_eq(br__out_finish(&o, &err), BR_E_NOSPC);
        ck_assert_msg(br__starts(err.msg, says[n - 1]), "%s", err.msg);
        ck_assert_ptr_nonnull(strstr(err.msg, in_dir("out")));
    }
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

/* ---- whole files ----------------------------------------------------------------------------- */

START_TEST(write_file_is_atomic)
{
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds(), n;
    put("f", "old");
    for (n = 1;; n++) {
        inject(n, EIO);
        int rc = br__write_file(in_dir("f"), "brand new", 9, 1, &err);
        br__io = real;
        if (rc == 0) /* closing the directory: nothing is lost with it */
            break;
        ck_assert_msg(rc == BR_E_IO, "call %d: %d", n, rc);
        ck_assert_ptr_nonnull(strstr(err.msg, dir));
        ck_content("f", "old", 3);
        ck_assert_uint_eq(n_files(), 1);
    }
    ck_assert_int_ge(n, 8); /* the folder, unlink, open, fallocate, pwrite, fsync, close, rename */
    ck_content("f", "brand new", 9);
    ck_assert_uint_eq(n_files(), 1);
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

START_TEST(copy_in_dir)
{
    struct br_err err = BR_ERR_INIT;
    int fds = n_open_fds(), n;
    fill_pattern();
    ck_assert_int_eq(br__write_file(in_dir("from"), pattern, sizeof pattern, 0, &err), 0);
    for (n = 1;; n++) {
        inject(n, EINTR); /* every interrupted call is repeated, or harmless */
        int rc = br__copy_in(&open_dir, "to", in_dir("from"), 1, &err);
        int reached = fault_calls >= n;
        br__io = real;
        if (rc == 0)
            ck_content("to", (const char *)pattern, sizeof pattern);
        if (!reached)
            break;
    }
    ck_assert_int_ge(n, 10);
    for (int k = 1; k < n; k++) {
        inject(k, EIO);
        int rc = br__copy_in(&open_dir, "to", in_dir("from"), 1, &err);
        br__io = real;
        ck_assert(rc == BR_E_IO ||
                  rc == 0); /* closing a file that was only read may fail silently */
        ck_content("to", (const char *)pattern, sizeof pattern);
        ck_assert_uint_eq(n_files(), 2);
    }
    br__io.pread = short_pread;
    ck_assert_int_eq(br__copy_in(&open_dir, "to", in_dir("from"), 0, &err), 0);
    br__io = real;
    ck_content("to", (const char *)pattern, sizeof pattern);
    ck_assert_int_eq(br__copy_in(&open_dir, "to", in_dir("none"), 0, &err), BR_E_NOTFOUND);
    ck_assert_int_eq(n_open_fds(), fds);
}
END_TEST

/* ---- directories ----------------------------------------------------------------------------- */

START_TEST(mkdirs_and_list)
{
    struct br_err err = BR_ERR_INIT;
    struct br__arena a = {0};
    char **names;
    size_t n;
    ck_assert_int_eq(br__mkdirs(in_dir("a//b/c/"), &err), 0);
    ck_assert_int_eq(br__mkdirs(in_dir("a/b/c"), &err), 0);
    ck_assert(br__is_dir(in_dir("a/b/c")));
    put("a/file", "x");
    ck_assert_int_eq(br__mkdirs(in_dir("a/file/d"), &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "/a/file': Not a directory"));
    ck_assert(br__exists(in_dir("a/file")));
    ck_assert(!br__is_dir(in_dir("a/file")));
    ck_assert(!br__exists(in_dir("a/none")));
    put("a/Z", "");
    put("a/.hidden", "");

    static const char *const want[] = {".hidden", "Z", "b", "file"};
    ck_assert_int_eq(br__list_dir(&a, in_dir("a"), &names, &n, &err), 0);
    ck_assert_uint_eq(n, 4);
    for (int i = 0; i < 4; i++)
        ck_assert_str_eq(names[i], want[i]);
    ck_assert_int_eq(br__list_dir(&a, in_dir("a/b/c"), &names, &n, &err), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(br__list_dir(&a, in_dir("none"), &names, &n, &err), BR_E_NOTFOUND);
    ck_assert_int_eq(br__list_dir(&a, in_dir("a/file"), &names, &n, &err), BR_E_NOTFOUND);
    br__arena_free(&a);
    ck_assert_int_eq(br__dir_sync(&open_dir, &err), 0);
    inject(1, EIO);
    ck_assert_int_eq(br__dir_sync(&open_dir, &err), BR_E_IO);
    inject(1, EINVAL);
    ck_assert_int_eq(br__dir_sync(&open_dir, &err), 0);
    uint64_t bytes = 0;
    ck_assert_int_eq(br__free_space(&open_dir, &bytes, &err), 0);
    ck_assert_uint_gt(bytes, 0);
}
END_TEST

START_TEST(remove_tree)
{
    struct br_err err = BR_ERR_INIT;
    ck_assert_int_eq(br__mkdirs(in_dir("tree/x/y"), &err), 0);
    ck_assert_int_eq(br__mkdirs(in_dir("keep"), &err), 0);
    put("keep/me", "precious");
    put("tree/x/f", "1");
    put("tree/x/y/g", "2");
    ck_assert_int_eq(symlink("../../keep", in_dir("tree/x/link")), 0);
    ck_assert_int_eq(symlink("keep", in_dir("link")), 0);
    ck_assert_int_eq(br__remove_tree(in_dir("tree"), &err), 0);
    ck_assert(!br__exists(in_dir("tree")));
    br__io.unlinkat = isdir_unlinkat;
    ck_assert_int_ne(br__remove_tree(in_dir("link"), &err), 0);
    br__io = real;
    ck_content("keep/me", "precious", 8);
    ck_assert_int_eq(br__remove_tree(in_dir("link"), &err), 0);
    ck_content("keep/me", "precious", 8); /* links were not followed */
    ck_assert_int_eq(br__remove_tree(in_dir("keep/me"), &err), 0);
    ck_assert(!br__exists(in_dir("keep/me")));
    ck_assert_int_eq(br__remove_tree(in_dir("none"), &err), 0);
    put("keep/me", "again");
    inject(2, EBUSY);
    ck_assert_int_eq(br__remove_tree(in_dir("keep/me"), &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "cannot remove '"));
}
END_TEST

START_TEST(exchange)
{
    put("a", "A");
    put("b", "BB");
    struct br_err err = BR_ERR_INIT;
    int rc = br__dir_exchange(&open_dir, "a", "b", &err);
    ck_assert(rc == BR_OK || rc == BR_E_UNSUPPORTED); /* not every file system can */
    ck_content("a", rc ? "A" : "BB", rc ? 1 : 2);
    ck_content("b", rc ? "BB" : "A", rc ? 2 : 1);
    ck_assert_int_ne(br__dir_exchange(&open_dir, "a", "none", &err), 0);
    inject(1, ENOSYS);
    ck_assert_int_eq(br__dir_exchange(&open_dir, "a", "b", &err), BR_E_UNSUPPORTED);
}
END_TEST

/* ---- paths ----------------------------------------------------------------------------------- */

static char *abs_path(struct br__arena *a, const char *path)
{
    struct br_err err = BR_ERR_INIT;
    char *abs;
    int rc = br__path_abs(a, path, &abs, &err);
    ck_assert(rc ? !abs && err.msg[0] : abs != NULL);
    return abs;
}

START_TEST(paths)
{
    struct br__arena a = {0};
    ck_assert_str_eq(br__path_join(&a, "x", "y"), "x/y");
    ck_assert_str_eq(br__path_join(&a, "x/", "y"), "x/y");
    ck_assert_str_eq(br__path_join(&a, "", "y"), "y");
    ck_assert_str_eq(br__path_join(&a, "x", "/y"), "/y");
    ck_assert_str_eq(br__path_join(&a, "/", "y"), "/y");
    ck_assert_str_eq(br__path_base("a/b"), "b");
    ck_assert_str_eq(br__path_base("b"), "b");
    ck_assert_str_eq(br__path_base("a/"), "");

    ck_assert_str_eq(abs_path(&a, "/"), "/");
    ck_assert_str_eq(abs_path(&a, "/.."), "/");
    ck_assert_str_eq(abs_path(&a, "//./nothing here/x/../y//"), "/nothing here/y");
    ck_assert_int_eq(mkdir(in_dir("sub"), 0777), 0);
    ck_assert_int_eq(symlink("sub", in_dir("link")), 0);
    ck_assert_int_eq(symlink("/", in_dir("root")), 0);
    ck_assert_int_eq(symlink("loop", in_dir("loop")), 0);
    put("file", "");
    char *at = abs_path(&a, dir);
    ck_assert_str_eq(abs_path(&a, in_dir("link/new/file")),
                     br__arena_printf(&a, "%s/sub/new/file", at));
    ck_assert_str_eq(abs_path(&a, in_dir("link/../x")), br__arena_printf(&a, "%s/x", at));
    ck_assert_str_eq(abs_path(&a, in_dir("new/../link")), br__arena_printf(&a, "%s/sub", at));
    ck_assert_str_eq(abs_path(&a, in_dir("root/none.here")), "/none.here");
    ck_assert_ptr_null(abs_path(&a, in_dir("loop")));
    ck_assert_ptr_null(abs_path(&a, in_dir("file/x")));
    ck_assert_int_eq(chdir(dir), 0);
    ck_assert_str_eq(abs_path(&a, "sub"), br__arena_printf(&a, "%s/sub", at));
    ck_assert_str_eq(abs_path(&a, "."), at);
    ck_assert_str_eq(abs_path(&a, ""), at);
    ck_assert_int_eq(chdir("/"), 0);
    ck_assert_str_eq(abs_path(&a, "none.here"), "/none.here");
    char longer[5000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    ck_assert_ptr_null(abs_path(&a, longer));
    br__arena_free(&a);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        file_open_and_read,    file_open_refuses, read_text,
        out_writes_everything, out_unlinks_first, out_preallocates,
        out_in_parts,          out_errors_stick,  out_finish_errors,
        write_file_is_atomic,  copy_in_dir,       mkdirs_and_list,
        remove_tree,           exchange,          paths,
    };
    Suite *suite = suite_create("io");
    TCase *tc = tcase_create("io");
    tcase_add_checked_fixture(tc, make_dir, remove_dir);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < BR_COUNTOF(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
