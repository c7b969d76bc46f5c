/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_faults.c - every system call and every allocation of an import, an export and a repair fails
 * once: the job must end in an error, leave nothing under the final name, and the next run must
 * give the bytes of an undisturbed one. */
#include "base/base_internal.h"
#include "convert/convert.h"
#include "librun.h"
#include <bridge/bridge.h>

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HF BRIDGE_TEST_DATA "/torch_dist/qwen3_next/hf"

static char dir[256], dest[300], reference[300];

/* ---- the Nth call fails ---------------------------------------------------------------------- */

enum fault { SHORT_READ, FAIL_EIO, FAIL_ENOSPC, NO_MEMORY };
static struct br__io_ops real_io;
static struct br__mem_ops real_mem;
static enum fault kind;
static long countdown; /* calls until the fault; negative: never */
static int fired;
static unsigned sync_flag; /* syncing is slow: only the I/O errors need it */

static int due(void)
{
    if (countdown < 0 || countdown-- > 0)
        return 0;
    fired = 1;
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
    if (kind != SHORT_READ && due())
        return -1;
    /* Half writes happen too; they are no error. */
    return real_io.pwrite(fd, buf, n > 4096 ? n / 2 : n, off);
}
static int f_open(const char *path, int flags, mode_t mode)
{
    WRITING(real_io.open(path, flags, mode));
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
static int f_rename(const char *from, const char *to)
{
    WRITING(real_io.rename(from, to));
}
static int f_unlink(const char *path)
{
    WRITING(real_io.unlink(path));
}
static int f_mkdir(const char *path, mode_t mode)
{
    WRITING(real_io.mkdir(path, mode));
}

static void *f_realloc(void *p, size_t n)
{
    return due() ? NULL : real_mem.realloc(p, n);
}

static void arm(enum fault k, long n)
{
    kind = k;
    countdown = n;
    fired = 0;
    if (k == NO_MEMORY) {
        br__mem.realloc = f_realloc;
        return;
    }
    br__io.pread = f_pread;
    br__io.pwrite = f_pwrite;
    br__io.open = f_open;
    br__io.fsync = f_fsync;
    br__io.ftruncate = f_ftruncate;
    br__io.fallocate = f_fallocate;
    br__io.rename = f_rename;
    br__io.unlink = f_unlink;
    br__io.mkdir = f_mkdir;
}

static void disarm(void)
{
    br__io = real_io;
    br__mem = real_mem;
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static int run_import(struct br_err *err)
{
    struct br_job job = {.struct_size = sizeof job,
                         .flags = sync_flag,
                         .hf_model = HF,
                         .megatron_path = dest,
                         .threads = 1};
    return br_import(&job, NULL, err);
}

static int run_export(struct br_err *err)
{
    struct br_job job = {.struct_size = sizeof job,
                         .flags = sync_flag,
                         .megatron_path = BRIDGE_TEST_DATA "/torch_dist/qwen3_next/torch_dist",
                         .hf_model = HF,
                         .hf_path = dest,
                         .threads = 1};
    return br_export(&job, NULL, err);
}

/* Repair takes no destination that exists, be it its own result. */
static int repair_if_absent(const char *name, struct br_err *err)
{
    struct br__repair_result r;
    char from[512];
    if (br__exists(dest))
        return BR_OK;
    snprintf(from, sizeof from, "%s/torch_dist_train/%s/torch_dist", BRIDGE_TEST_DATA, name);
    const struct br__repair_opts o = {
        .from = from, .to = dest, .threads = 1, .no_sync = sync_flag != 0};
    return br__repair(&o, &r, err);
}

static int run_repair_buckets(struct br_err *err)
{
    return repair_if_absent("qwen3_dp2_dpr", err);
}

static int run_repair_shifted(struct br_err *err)
{
    return repair_if_absent("qwen2_tied_pp2_fr", err);
}

static void remove_tree(const char *path)
{
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__remove_tree(path, &err) == BR_OK, "%s", err.msg);
}

static int same_tree(const char *a, const char *b)
{
    char command[800];
    snprintf(command, sizeof command, "diff -r '%s' '%s' >&2", a, b);
    return system(command) == 0;
}

/* The destination's name is in run_config.yaml, so the reference is made under it and moved. */
static void make_reference(int (*run)(struct br_err *))
{
    struct br_err err = BR_ERR_INIT;
    remove_tree(reference);
    ck_assert_msg(run(&err) == BR_OK, "%s", err.msg);
    ck_assert_int_eq(rename(dest, reference), 0);
}

/* One run with fault n.  Returns 0 when the job made fewer than n calls. */
static int one_fault(int (*run)(struct br_err *), enum fault k, long n)
{
    struct br_err err = BR_ERR_INIT;
    arm(k, n);
    int rc = run(&err);
    int hit = fired;
    disarm();
    if (!hit) {
        ck_assert_msg(rc == BR_OK, "%s", err.msg);
        return 0;
    }
    if (rc) {
        ck_assert_msg(err.msg[0] != '\0', "fault %d, call %ld: no message", (int)k, n);
        /* Only syncing the parent comes after the rename: then the result is there, and whole. */
        ck_assert_msg(!br__exists(dest) || same_tree(dest, reference),
                      "fault %d, call %ld: half of '%s' after %s", (int)k, n, dest, err.msg);
    }
    /* Some faults are survived (a failed fallocate of an optional kind, a failed clean-up); then
     * the result stands. */
    err = (struct br_err)BR_ERR_INIT;
    rc = run(&err);
    ck_assert_msg(rc == BR_OK, "fault %d, call %ld: rerun: %s", (int)k, n, err.msg);
    return 1;
}

static void all_faults(int (*run)(struct br_err *), enum fault k, long stride)
{
    sync_flag = k == FAIL_EIO ? 0 : BR_JOB_NO_SYNC;
    make_reference(run);
    for (long n = 0; n < 1000000; n += 1 + n / stride) {
        int more = one_fault(run, k, n);
        ck_assert_msg(same_tree(dest, reference), "fault %d, call %ld: the result differs", (int)k,
                      n);
        remove_tree(dest);
        if (!more)
            return;
    }
    ck_abort_msg("the job never ends");
}

/* Every call near the start; further on (thousands of reads of the same loop) one in more and more.
 */
#define STRIDE_IO 30
#define STRIDE_MEM 30

START_TEST(import_faults)
{
    all_faults(run_import, (enum fault)_i, _i == NO_MEMORY ? STRIDE_MEM : STRIDE_IO);
}
END_TEST

START_TEST(export_faults)
{
    all_faults(run_export, (enum fault)_i, _i == NO_MEMORY ? STRIDE_MEM : STRIDE_IO);
}
END_TEST

START_TEST(repair_faults)
{
    all_faults(run_repair_buckets, (enum fault)_i, STRIDE_IO);
    if (_i == SHORT_READ || _i == NO_MEMORY)
        all_faults(run_repair_shifted, (enum fault)_i, STRIDE_IO);
}
END_TEST

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-faults");
    snprintf(dest, sizeof dest, "%s/dest", dir);
    snprintf(reference, sizeof reference, "%s/reference", dir);
    real_io = br__io;
    real_mem = br__mem;
}

static void teardown(void)
{
    disarm();
    remove_tree(dir);
}

int main(void)
{
    Suite *s = suite_create("faults");
    TCase *t = tcase_create("jobs");
    tcase_set_timeout(t, 600);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, import_faults, SHORT_READ, NO_MEMORY + 1);
    tcase_add_loop_test(t, export_faults, SHORT_READ, NO_MEMORY + 1);
    tcase_add_loop_test(t, repair_faults, SHORT_READ, NO_MEMORY + 1);
    suite_add_tcase(s, t);
    return run_suite(s);
}
