/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_faults.c - every system call and every allocation of an import, an export and a repair fails
 * once: the job must end in an error, leave nothing under the final name, and the next run must
 * give the bytes of an undisturbed one.  So it must after a kill at any call of a job that replaces
 * another's result; with BRIDGE_KILL_ALL at each of them. */
#include "convert/convert.h"
#include "libfaults.h"
#include "librun.h"
#include <bridge/bridge.h>

#include <check.h>
#include <errno.h>
#include <fnmatch.h>
#include <fts.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define HF BRIDGE_TEST_DATA "/torch_dist/qwen3_next/hf"
#define OTHER BRIDGE_TEST_DATA "/torch_dist/qwen3/hf"

static char dir[256], dest[300], reference[300];

static unsigned sync_flag;

/* ---- jobs ------------------------------------------------------------------------------------ */

static int run_import_of(const char *model, int64_t iteration, unsigned flags, struct br_err *err)
{
    struct br_job job = {.struct_size = sizeof job,
                         .flags = sync_flag | flags,
                         .hf_model = model,
                         .megatron_path = dest,
                         .iteration = iteration,
                         .threads = 1};
    return br_import(&job, NULL, err);
}

static int run_import(struct br_err *err)
{
    return run_import_of(HF, 0, 0, err);
}

static int run_export_as(int dtype, unsigned flags, struct br_err *err)
{
    struct br_job job = {.struct_size = sizeof job,
                         .flags = sync_flag | flags,
                         .megatron_path = BRIDGE_TEST_DATA "/torch_dist/qwen3_next/torch_dist",
                         .hf_model = HF,
                         .hf_path = dest,
                         .torch_dtype = dtype,
                         .threads = 1};
    return br_export(&job, NULL, err);
}

static int run_export(struct br_err *err)
{
    return run_export_as(BR_NONE, 0, err);
}

/* Repair refuses every destination that exists, also its own result. */
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

/* ---- what is in a directory ------------------------------------------------------------------ */

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

/* A name that a killed run may leave; no result has one. */
static int is_leftover(const char *name)
{
    static const char *const patterns[] = {".bridge*", "*.tmp", "*.bridge-partial", "*.bridge-old"};
    for (size_t i = 0; i < BR_COUNTOF(patterns); i++)
        if (!fnmatch(patterns[i], name, 0))
            return 1;
    return 0;
}

static void put_bytes(struct br__buf *b, const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");
    char *to = br__buf_room(b, n);
    ck_assert_msg(f && to && fread(to, 1, n, f) == n && fgetc(f) == EOF, "cannot read '%s'", path);
    b->n += n;
    fclose(f);
}

/* Names, kinds and bytes of all files in order; nothing if the path is absent.  The first leftover
 * goes to *left; if that is NULL leftovers are left out. */
static struct br__buf tree(const char *path, char left[300])
{
    struct br__buf b = {.max = 64 << 20};
    char copy[400];
    snprintf(copy, sizeof copy, "%s", path);
    FTS *t = fts_open((char *const[]){copy, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    ck_assert_ptr_nonnull(t);
    for (FTSENT *e; (e = fts_read(t));) {
        if (e->fts_info == FTS_DP || (e->fts_level == 0 && e->fts_info == FTS_NS))
            continue;
        int below = e->fts_level > 0, odd = below && is_leftover(e->fts_name);
        if (odd && !left) {
            fts_set(t, e, FTS_SKIP);
            continue;
        }
        if (odd && !*left)
            snprintf(left, 300, "%s", e->fts_path);
        ck_assert_msg(e->fts_info == FTS_D || e->fts_info == FTS_F,
                      "'%s' is neither file nor folder", e->fts_path);
        br__buf_printf(&b, "%s %d %lld\n", e->fts_path + strlen(path), e->fts_info == FTS_F,
                       e->fts_info == FTS_F ? (long long)e->fts_statp->st_size : 0);
        if (e->fts_info == FTS_F)
            put_bytes(&b, e->fts_path, (size_t)e->fts_statp->st_size);
    }
    fts_close(t);
    ck_assert_int_eq(b.failed, 0);
    return b;
}

static int same_bytes(struct br__buf a, struct br__buf b)
{
    int same = a.n == b.n && (a.n == 0 || !memcmp(a.p, b.p, a.n));
    br__buf_free(&a);
    br__buf_free(&b);
    return same;
}

/* The same names and bytes; what differs goes to stderr. */
static int same_tree(const char *a, const char *b)
{
    char left[2][300] = {"", ""}, command[800];
    if (same_bytes(tree(a, left[0]), tree(b, left[1])))
        return 1;
    snprintf(command, sizeof command, "diff -r '%s' '%s' >&2", a, b);
    fprintf(stderr, "'%s' and '%s' differ (diff: %d)\n", a, b, system(command));
    return 0;
}

/* As same_tree, of all but what a killed run may leave. */
static int same_result(const char *a, const char *b)
{
    return same_bytes(tree(a, NULL), tree(b, NULL));
}

static void copy_tree(const char *from, const char *to)
{
    char copy[400], path[700];
    snprintf(copy, sizeof copy, "%s", from);
    FTS *t = fts_open((char *const[]){copy, NULL}, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    ck_assert_ptr_nonnull(t);
    for (FTSENT *e; (e = fts_read(t));) {
        snprintf(path, sizeof path, "%s%s", to, e->fts_path + strlen(from));
        if (e->fts_info == FTS_D)
            ck_assert_int_eq(mkdir(path, 0777), 0);
        else if (e->fts_info == FTS_F)
            copy_file(e->fts_path, path);
        else
            ck_assert_int_eq(e->fts_info, FTS_DP);
    }
    fts_close(t);
}

/* Bridge leaves nothing but results: beside the destination, in it, or in its iterations. */
static int nothing_left(void)
{
    char left[300] = "";
    struct br__buf all = tree(dir, left);
    br__buf_free(&all);
    if (*left)
        fprintf(stderr, "left over: '%s'\n", left);
    return !*left;
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
    fault_arm(k, n);
    int rc = run(&err);
    int hit = fault_fired;
    fault_disarm();
    if (!hit) {
        ck_assert_msg(rc == BR_OK, "%s", err.msg);
        return 0;
    }
    if (rc) {
        ck_assert_msg(err.msg[0] != '\0', "fault %d, call %ld: no message", (int)k, n);
        /* The rename is done and only the parent's sync failed: the result must be whole, and
         * its journal may be there. */
        ck_assert_msg(!br__exists(dest) || same_result(dest, reference),
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
    if (test_is_sampled())
        stride /= 6;
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

/* Every call near the start; later, in loops of thousands of reads, fewer and fewer. */
#define STRIDE_IO 30
#define STRIDE_MEM 30
#define KILL_EACH 60
#define KILL_STRIDE 7

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

/* ---- kill -9 at each call -------------------------------------------------------------------- */

/* A job that replaces the result of another one. */
struct replacing {
    int (*before)(struct br_err *);
    int (*job)(struct br_err *);
    const char *replaced; /* below the destination */
};

static int export_f32(struct br_err *err)
{
    return run_export_as(BR_F32, BR_JOB_OVERWRITE, err);
}

static int export_f16(struct br_err *err)
{
    return run_export_as(BR_F16, BR_JOB_OVERWRITE, err);
}

/* Iteration 0 and 5 of one root; the second is another model's and is replaced by this one. */
static int import_before(struct br_err *err)
{
    int rc = run_import(err);
    return rc ? rc : run_import_of(OTHER, 5, BR_JOB_OVERWRITE, err);
}

static int import_5(struct br_err *err)
{
    return run_import_of(HF, 5, BR_JOB_OVERWRITE, err);
}

static const struct replacing replacings[] = {{export_f16, export_f32, ""},
                                              {import_before, import_5, "/iter_0000005"}};

/* The job in a child that ends at call n, as kill -9 would end it.  Returns 0 when it makes fewer
 * calls. */
static int killed_at(int (*run)(struct br_err *), long n)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        struct br_err e = BR_ERR_INIT;
        fault_arm(KILLED, n);
        _exit(run(&e) ? 1 : 0);
    }
    ck_assert_int_gt(child, 0);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) != 1, "call %ld: the job failed", n);
    return WEXITSTATUS(status) == FAULT_KILL_STATUS;
}

/* How many calls an undisturbed run makes. */
static long count_calls(int (*run)(struct br_err *))
{
    struct br_err err = BR_ERR_INIT;
    fault_arm(KILLED, LONG_MAX);
    ck_assert_msg(run(&err) == BR_OK, "%s", err.msg);
    long n = fault_calls();
    fault_disarm();
    return n;
}

/* After a kill at any call the destination is the old one, or the new one complete, or (where names
 * cannot be exchanged) absent.  Then the same job ends with the same bytes and leaves nothing over.
 */
START_TEST(kill_at_each_call)
{
    const struct replacing *r = &replacings[_i % 2];
    char old[320], replaced[340];
    struct br_err err = BR_ERR_INIT;
    sync_flag = _i < 2 ? 0 : BR_JOB_NO_SYNC;
    fault_forbid_exchange(_i >= 2);
    snprintf(old, sizeof old, "%s/old", dir);
    snprintf(replaced, sizeof replaced, "%s%s", dest, r->replaced);
    ck_assert_msg(r->before(&err) == BR_OK, "%s", err.msg);
    copy_tree(dest, old);
    long total = count_calls(r->job);
    ck_assert_int_gt(fault_last_block, KILL_EACH);
    ck_assert_int_eq(rename(dest, reference), 0);
    /* Between the first and the last block of data one call is like another. */
    int all = getenv("BRIDGE_KILL_ALL") != NULL;
    for (long n = 0; n < total;
         n += all || n < KILL_EACH || n >= fault_last_block ? 1 : KILL_STRIDE) {
        copy_tree(old, dest);
        ck_assert_msg(killed_at(r->job, n), "call %ld was not made", n);
        ck_assert_msg(same_result(dest, old) || same_result(dest, reference) ||
                          (_i >= 2 && !br__exists(replaced)),
                      "call %ld: neither the old nor the new result", n);
        err = (struct br_err)BR_ERR_INIT;
        ck_assert_msg(r->job(&err) == BR_OK, "call %ld: rerun: %s", n, err.msg);
        ck_assert_msg(same_tree(dest, reference), "call %ld: the result differs", n);
        ck_assert_msg(nothing_left(), "call %ld", n);
        remove_tree(dest);
    }
}
END_TEST

/* The machine keeps its power in this test: a sync counts as a call, but need not wait for the
 * disk. */
static int pretend_fsync(int fd)
{
    (void)fd;
    return 0;
}

static void setup(void)
{
    make_memory_dir(dir, sizeof dir, "bridge-faults");
    snprintf(dest, sizeof dest, "%s/dest", dir);
    snprintf(reference, sizeof reference, "%s/reference", dir);
    br__io.fsync = pretend_fsync;
}

static void teardown(void)
{
    fault_disarm();
    remove_tree(dir);
}

int main(void)
{
    Suite *s = suite_create("faults");
    TCase *t = tcase_create("jobs");
    TCase *k = tcase_create("kills");
    tcase_set_timeout(t, 600);
    tcase_set_timeout(k, 600);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_checked_fixture(k, setup, teardown);
    tcase_add_loop_test(t, import_faults, SHORT_READ, NO_MEMORY + 1);
    tcase_add_loop_test(t, export_faults, SHORT_READ, NO_MEMORY + 1);
    tcase_add_loop_test(t, repair_faults, SHORT_READ, NO_MEMORY + 1);
    tcase_add_loop_test(k, kill_at_each_call, 0, 4);
    suite_add_tcase(s, t);
    suite_add_tcase(s, k);
    return run_suite(s);
}
