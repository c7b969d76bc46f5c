/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_torchdist_dirs.c - which directory of a torch_dist checkpoint is read, and what lies in it
 * beside the tensors. */
#include "format/torchdist/torchdist.h"
#include "librun.h"
#include "libtd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br_err err;

static void check_resolves(const struct td *m, const char *expect)
{
    struct br__arena a = {0};
    const char *dir = NULL;

    ck_assert_msg(br__td_resolve(&a, m->root, &dir, &err) == BR_OK, "%s", err.msg);
    ck_assert_str_eq(br__path_base(dir), expect);
    br__arena_free(&a);
}

static void check_unresolved(const struct td *m, int code, const char *text)
{
    struct br__arena a = {0};
    const char *dir;

    ck_assert_int_eq(br__td_resolve(&a, m->root, &dir, &err), code);
    ck_assert_msg(strstr(err.msg, text) != NULL, "got '%s', expected '%s'", err.msg, text);
    br__arena_free(&a);
}

START_TEST(follows_trackers)
{
    static const char tracker[] = "latest_checkpointed_iteration.txt";
    struct td m;
    char path[512];

    td_small(&m, 0);
    td_write(&m);
    check_resolves(&m, "iter_0000005");
    snprintf(path, sizeof path, "%s/iter_0000012", m.root);
    ck_assert_int_eq(br__mkdirs(path, &err), BR_OK);
    check_unresolved(&m, BR_E_FORMAT, "the largest iter_* leads to, has no .metadata");
    td_put_file(&m, "iter_0000012/.metadata", "x", 1);
    check_resolves(&m, "iter_0000012");
    td_train_state(&m, "latest_train_state.pt", 5);
    check_resolves(&m, "iter_0000005");
    td_put_file(&m, tracker, " 12\n", 4);
    check_resolves(&m, "iter_0000012");
    td_put_file(&m, tracker, "release", 7);
    check_unresolved(&m, BR_E_FORMAT, "release', which latest_checkpointed_iteration.txt leads to");
    snprintf(path, sizeof path, "%s/release", m.root);
    ck_assert_int_eq(symlink("iter_0000005", path), 0);
    check_resolves(&m, "release");
    td_put_file(&m, tracker, "7", 1);
    check_unresolved(&m, BR_E_FORMAT, "iter_0000007'");
    td_put_file(&m, tracker, "", 0);
    check_unresolved(&m, BR_E_FORMAT, "holds '', expected 'release' or an iteration number");
    td_put_file(&m, tracker, "-3", 2);
    check_unresolved(&m, BR_E_FORMAT, "holds '-3'");
    td_put_file(&m, tracker, "-0", 2);
    check_unresolved(&m, BR_E_FORMAT, "holds '-0'");
    td_put_file(&m, tracker, "05", 2);
    check_unresolved(&m, BR_E_FORMAT, "holds '05'");
    td_put_file(&m, tracker, "5\n1", 3);
    check_unresolved(&m, BR_E_FORMAT, "holds '5\n1'");
    td_put_file(&m, tracker, "5\0001", 3);
    check_unresolved(&m, BR_E_FORMAT, "a NUL byte");
    td_put_file(&m, tracker, "five", 4);
    check_unresolved(&m, BR_E_FORMAT, "holds 'five'");
    td_end(&m);
}
END_TEST

START_TEST(falls_back_to_release)
{
    struct td m;
    char path[512];

    td_small(&m, 0);
    ck_assert_int_eq(br__mkdirs(m.root, &err), BR_OK);
    check_unresolved(&m, BR_E_NOTFOUND, "is no torch_dist checkpoint");
    snprintf(path, sizeof path, "%s/release", m.root);
    ck_assert_int_eq(br__mkdirs(path, &err), BR_OK);
    check_unresolved(&m, BR_E_NOTFOUND, "is no torch_dist checkpoint");
    td_put_file(&m, "release/.metadata", "x", 1);
    check_resolves(&m, "release");
    td_end(&m);
    check_unresolved(&m, BR_E_NOTFOUND, "is not a directory");
}
END_TEST

START_TEST(opens_an_iteration_directory)
{
    struct td m;

    td_small(&m, 0);
    td_write(&m);
    struct br__ckpt *by_root = td_open_ok(m.root), *direct = td_open_ok(m.dir);
    ck_assert_str_eq(by_root->td->root, m.root);
    ck_assert_str_eq(by_root->td->iteration_name, "iter_0000005");
    ck_assert_str_eq(direct->td->iteration_name, "iter_0000005");
    ck_assert_str_eq(br__path_base(direct->td->root), br__path_base(m.root));
    br__ckpt_close(by_root);
    br__ckpt_close(direct);
    td_end(&m);
}
END_TEST

START_TEST(checks_the_backend)
{
    static const char zarr[] = "{\"sharded_backend\": \"zarr\"}";
    struct td m;
    char path[512];

    td_small(&m, 0);
    td_write(&m);
    td_put_file(&m, "iter_0000005/metadata.json", zarr, sizeof zarr - 1);
    td_refused(m.dir, BR_E_UNSUPPORTED, "sharded_backend is 'zarr', expected 'torch_dist'");
    td_put_file(&m, "iter_0000005/metadata.json", "{", 1);
    td_refused(m.dir, BR_E_FORMAT, "metadata.json");
    snprintf(path, sizeof path, "%s/metadata.json", m.dir);
    ck_assert_int_eq(unlink(path), 0);
    struct br__ckpt *ck = td_open_ok(m.dir);
    ck_assert_uint_eq(ck->n_warnings, 1);
    ck_assert_ptr_nonnull(strstr(ck->warnings[0], "no metadata.json"));
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

START_TEST(prefers_the_common_file)
{
    struct br__buf pickle = {0}, file = {0};
    struct td m;

    td_small(&m, 0);
    td_common_pickle(&pickle, 8, 1);
    td_object(&m, "common_state/shard_0_1", &pickle);
    td_write(&m);
    struct br__ckpt *ck = td_open_ok(m.dir);
    ck_assert_int_eq(ck->td->common_from, 2);
    ck_assert_int_eq(ck->td->iteration, 8);
    ck_assert_int_eq(br__pk_get(ck->td->args, "num_layers")->u.i, 2);
    ck_assert_uint_eq(ck->td->n_objects, 1);
    br__ckpt_close(ck);

    br__buf_free(&pickle);
    td_common_pickle(&pickle, 9, 0);
    torch_save(&file, &pickle, NULL, 0);
    td_put_file(&m, "iter_0000005/common.pt", file.p, file.n);
    td_train_state(&m, "iter_0000005/train_state.pt", 77);
    td_put_file(&m, "iter_0000005/run_config.yaml", "model: {}\n", 10);
    ck = td_open_ok(m.dir);
    ck_assert_int_eq(ck->td->common_from, 1);
    ck_assert_int_eq(ck->td->iteration, 9);
    ck_assert_int_eq(ck->td->train_step, 77);
    ck_assert_int_eq(ck->td->consumed_samples, -1);
    ck_assert_str_eq(ck->td->run_config_text, "model: {}\n");
    ck_assert_uint_eq(ck->td->run_config_size, 10);
    br__ckpt_close(ck);

    td_put_file(&m, "iter_0000005/common.pt", file.p, file.n - 1);
    td_refused(m.dir, BR_E_FORMAT, "common.pt': zip: no end record");
    br__buf_free(&pickle);
    br__buf_free(&file);
    td_end(&m);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("torchdist_dirs");
    TCase *dirs = tcase_create("directories");

    tcase_add_test(dirs, follows_trackers);
    tcase_add_test(dirs, falls_back_to_release);
    tcase_add_test(dirs, opens_an_iteration_directory);
    tcase_add_test(dirs, checks_the_backend);
    tcase_add_test(dirs, prefers_the_common_file);
    suite_add_tcase(s, dirs);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
