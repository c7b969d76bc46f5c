/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_torchdist_hostile.c - the torch_dist reader on damaged and hostile files, and with failing
 * allocations and system calls. */
#include "base/base_internal.h"
#include "format/torchdist/torchdist.h"
#include "librun.h"
#include "libtd.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br_err err;
static const int64_t shape_2d[] = {6, 4}, zero_2d[] = {0, 0};

/* ---- defects --------------------------------------------------------------------------------- */

static const struct {
    unsigned flags;
    int code;
    const char *text;
} refusals[] = {
    {TD_TRANSFORMS, BR_E_UNSUPPORTED, "'decoder.w' is stored with transforms"},
    {TD_ITEM_STRIDED, BR_E_UNSUPPORTED, "the pickled tensor is not contiguous"},
    {TD_ITEM_DTYPE, BR_E_FORMAT, "item is float64, .metadata says float32"},
    {TD_ITEM_SHAPE, BR_E_FORMAT, "item has shape [3, 4, 1], .metadata says [3, 4]"},
    {TD_ITEM_BIG_ENDIAN, BR_E_UNSUPPORTED, "byte order is not little"},
    {TD_NO_STORAGE, BR_E_FORMAT,
     "tensor 'a scalar (stacked)': no storage entry for the chunk at "
     "[0, 0]"},
    {TD_COMPLEX, BR_E_UNSUPPORTED, "unsupported dtype torch.complex128"},
    {TD_SHORT_RECORD, BR_E_FORMAT, "record 'data/0' has 3 bytes, its storage 1 elements"},
};

START_TEST(refuses_defects)
{
    struct td m;

    td_small(&m, refusals[_i].flags);
    td_write(&m);
    td_refused(m.dir, refusals[_i].code, refusals[_i].text);
    td_end(&m);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------- */

START_TEST(reports_missing_and_short_files)
{
    struct td m;
    char path[512];

    td_small(&m, 0);
    td_write(&m);
    td_put_file(&m, "iter_0000005/__0_0.distcp", m.data.p, m.data.n - 1);
    td_refused(m.dir, BR_E_FORMAT, "past the end of the file");
    td_refused(m.dir, BR_E_FORMAT,
               "tensor 'a scalar (stacked)', chunk at [1, 0], "
               "'__0_0.distcp' at ");
    td_put_file(&m, "iter_0000005/__0_0.distcp", NULL, 0);
    td_refused(m.dir, BR_E_FORMAT, "past the end of the file");
    snprintf(path, sizeof path, "%s/__0_0.distcp", m.dir);
    ck_assert_int_eq(unlink(path), 0);
    td_refused(m.dir, BR_E_NOTFOUND, "tensor 'a scalar (stacked)', chunk at [0, 0]");
    td_end(&m);
}
END_TEST

/* A name from .metadata must not lead out of the directory. */
START_TEST(refuses_path_traversal)
{
    static const char *const names[] = {
        "../iter_0000005/__0_0.distcp", "/etc/passwd", "a/../b", "", "a//b", "./x", "a/", ".."};

    for (size_t i = 0; i < BR_COUNTOF(names); i++) {
        struct br__ckpt *ck = br__calloc(1, sizeof *ck);
        struct br__buf meta = {0};
        struct td m;
        td_begin(&m, 0);
        m.file = names[i];
        td_tensor(&m, "t", BR_U8, shape_2d, 2);
        td_chunk(&m, zero_2d, shape_2d);
        td_tensor_end(&m);
        td_metadata(&m, &meta);
        ck_assert_int_eq(br__td_interpret(ck, (const unsigned char *)meta.p, meta.n, &err),
                         BR_E_FORMAT);
        br__ckpt_close(ck);
        br__buf_free(&meta);
        td_end(&m);
    }
}
END_TEST

START_TEST(reads_files_in_folders)
{
    struct td m;
    char path[512];

    td_small(&m, 0);
    td_end(&m);
    td_begin(&m, 0);
    m.file = "part/__0_0.distcp"; /* mcore's separation hint could do so */
    td_tensor(&m, "t", BR_U8, shape_2d, 2);
    td_chunk(&m, zero_2d, shape_2d);
    td_tensor_end(&m);
    snprintf(path, sizeof path, "%s/part", m.dir);
    ck_assert_int_eq(br__mkdirs(path, &err), BR_OK);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    td_check_contents(ck, "t");
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* Every prefix of a real .metadata is refused, never worse. */
START_TEST(refuses_truncated_metadata)
{
    struct br__file f;

    ck_assert_int_eq(
        br__file_open(
            &f, BRIDGE_TEST_DATA "/torch_dist/qwen3/torch_dist_tp2/iter_0000000/.metadata", &err),
        BR_OK);
    for (size_t n = 0; n <= f.size; n += n < 3000 || n + 300 > f.size ? 1 : 17) {
        struct br__ckpt *ck = br__calloc(1, sizeof *ck);
        unsigned char *copy = malloc(n + 1); /* exact, so that a sanitizer sees every overrun */
        memcpy(copy, f.map, n);
        copy = realloc(copy, n ? n : 1);
        int rc = br__td_interpret(ck, copy, n, &err);
        ck_assert_int_eq(rc, n == f.size ? BR_OK : BR_E_FORMAT);
        br__ckpt_close(ck);
        free(copy);
    }
    br__file_close(&f);
}
END_TEST

/* Damage single bytes of a .distcp: opening or reading fails cleanly, or the contents are right. */
START_TEST(survives_damaged_items)
{
    struct td m;
    int refused = 0;

    td_small(&m, 0);
    td_write(&m);
    for (size_t i = (size_t)_i; i < m.data.n; i += 40) {
        struct br__ckpt *ck = NULL;
        unsigned char buf[48];
        char saved = m.data.p[i];
        m.data.p[i] = (char)(saved ^ (1 << i % 8));
        td_put_file(&m, "iter_0000005/__0_0.distcp", m.data.p, m.data.n);
        m.data.p[i] = saved;
        refused += br__td_open(&ck, m.dir, &err) != BR_OK;
        for (size_t k = 0; ck && k < ck->n_tensors; k++) {
            int rc = br__td_ops.read(ck, &ck->tensors[k], 0, buf, ck->tensors[k].bytes, &err);
            ck_assert(rc == BR_OK || rc == BR_E_FORMAT);
            if (!rc)
                td_check_bytes(buf, 0, ck->tensors[k].bytes);
        }
        br__ckpt_close(ck);
    }
    ck_assert_int_gt(refused, 0);
    td_end(&m);
}
END_TEST
/* ---- failing allocations and system calls ---------------------------------------------------- */

static long calls, fail_at; /* the call that fails; 0 = none */

static int fails(void)
{
    return ++calls == fail_at;
}

static void *failing_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

static int failing_open(int at, const char *path, int flags, mode_t mode)
{
    errno = EIO;
    return fails() ? -1 : openat(at, path, flags, mode);
}

static int failing_stat(const char *path, struct stat *st)
{
    errno = EIO;
    return fails() ? -1 : stat(path, st);
}

static int failing_fstat(int fd, struct stat *st)
{
    errno = EIO;
    return fails() ? -1 : fstat(fd, st);
}

static ssize_t failing_pread(int fd, void *buf, size_t n, off_t off)
{
    errno = EIO;
    return fails() ? -1 : pread(fd, buf, n, off);
}

/* Open and read everything; 0 only if all of it came out right. */
static int open_and_read(const char *dir)
{
    struct br__ckpt *ck = NULL;
    unsigned char buf[48];
    int rc = br__td_open(&ck, dir, &err);

    for (size_t i = 0; !rc && i < ck->n_tensors; i++)
        rc = br__td_ops.read(ck, &ck->tensors[i], 0, buf, (size_t)ck->tensors[i].bytes, &err);
    if (!rc) {
        ck_assert_uint_eq(ck->n_tensors, 2);
        ck_assert_int_eq(ck->td->iteration, 8);
        ck_assert_int_eq(ck->td->train_step, 77);
        ck_assert_str_eq(ck->td->run_config_text, "x: 1\n");
        ck_assert_str_eq(ck->td->iteration_name, "iter_0000005");
    }
    br__ckpt_close(ck);
    return rc;
}

/* Fail each call in turn: every failure is reported, none changes what is read. */
static void fail_each(const char *dir)
{
    int rc = 1;

    for (fail_at = 1; rc; fail_at++) {
        err = (struct br_err)BR_ERR_INIT;
        calls = 0;
        rc = open_and_read(dir);
        ck_assert_msg(rc == BR_OK || err.msg[0], "call %ld: no message", fail_at);
        ck_assert_msg(rc != BR_OK || calls < fail_at, "call %ld failed unnoticed", fail_at);
    }
    ck_assert_int_gt(fail_at, 20);
}

START_TEST(reports_every_failure)
{
    struct br__mem_ops mem = br__mem;
    struct br__io_ops io = br__io;
    struct br__buf pickle = {0};
    struct td m;

    td_small(&m, 0);
    td_common_pickle(&pickle, 8, 1);
    td_object(&m, "common_state/shard_0_1", &pickle);
    td_write(&m);
    td_train_state(&m, "iter_0000005/train_state.pt", 77);
    td_put_file(&m, "iter_0000005/run_config.yaml", "x: 1\n", 5);
    td_put_file(&m, "latest_checkpointed_iteration.txt", "5", 1);
    br__mem.realloc = failing_realloc;
    fail_each(m.root);
    br__mem = mem;
    br__io.openat = failing_open;
    br__io.stat = failing_stat;
    br__io.fstat = failing_fstat;
    br__io.pread = failing_pread;
    fail_each(m.root);
    br__io = io;
    br__buf_free(&pickle);
    td_end(&m);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("torchdist_hostile");
    TCase *made = tcase_create("made"), *files = tcase_create("files"),
          *failing = tcase_create("failing");

    tcase_add_loop_test(made, refuses_defects, 0, BR_COUNTOF(refusals));
    suite_add_tcase(s, made);
    tcase_set_timeout(files, 60);
    tcase_add_test(files, reports_missing_and_short_files);
    tcase_add_test(files, refuses_path_traversal);
    tcase_add_test(files, reads_files_in_folders);
    tcase_add_test(files, refuses_truncated_metadata);
    tcase_add_loop_test(files, survives_damaged_items, 0, 10);
    suite_add_tcase(s, files);
    tcase_add_test(failing, reports_every_failure);
    suite_add_tcase(s, failing);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
