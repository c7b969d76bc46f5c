/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* librun.c - see librun.h. */
#include "librun.h"
#include "../../core/base/base.h"
#include "../../kernels/cpu/cpu.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int has_tier(uint64_t features, const struct br__cpu_tier *t)
{
    return (t->features & features) == t->features;
}

/* Is it the tier that this machine chooses without BRIDGE_CPU? */
static int is_best(const struct br__cpu_tier *t)
{
    const struct br__cpu_tier *best = t;
    for (size_t i = 0; i < br__n_cpu_tiers; i++)
        if (has_tier(br__cpu_detect(), &br__cpu_tiers[i]))
            best = &br__cpu_tiers[i];
    return t == best;
}

static int tier_skipped(const char *why, const char *name)
{
    printf("SKIPPED: %s '%s'\n", why, name);
    return TEST_SKIPPED;
}

static int any_tier(void)
{
    for (size_t i = 0; i < br__n_cpu_tiers; i++)
        if (has_tier(br__cpu_detect(), &br__cpu_tiers[i]) && !tested_natively(&br__cpu_tiers[i]))
            return EXIT_SUCCESS;
    return tier_skipped("this machine needs no emulation of", "any tier");
}

/* EXIT_SUCCESS, or TEST_SKIPPED if the tier that BRIDGE_CPU names is absent or tested elsewhere.
 * br_cpu_tier() is not called: it keeps its first answer, and children of this process may set
 * another tier. */
static int forced_tier(void)
{
    const char *want = getenv("BRIDGE_CPU");
    if (!want || !*want)
        return any_tier();
    for (size_t i = 0; i < br__n_cpu_tiers; i++) {
        const struct br__cpu_tier *t = &br__cpu_tiers[i];
        if (strcmp(t->name, want) != 0)
            continue;
        if (!has_tier(br__cpu_detect(), t))
            return tier_skipped("this machine has no tier", want);
        if (tested_natively(t))
            return tier_skipped("this machine needs no emulation of", want);
        if (getenv("BRIDGE_OTHER_TIERS") && is_best(t))
            return tier_skipped("the test without a tier in its name runs on", want);
        return EXIT_SUCCESS;
    }
    printf("BRIDGE_CPU=%s: there is no such tier\n", want);
    return EXIT_FAILURE;
}

/* Check tells another process the place of each assertion that holds, for the report of a crash.
 * Loops over elements would do little else, so what was told a moment ago is not told again.  The
 * linker gives every call to the second of these. */
void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line)
{
    static _Thread_local struct {
        const char *file;
        int line;
    } told[4];
    static _Thread_local size_t n;
    for (size_t i = 0; i < BR_COUNTOF(told); i++)
        if (told[i].line == line && told[i].file == file)
            return;
    told[n].file = file;
    told[n].line = line;
    n = (n + 1) % BR_COUNTOF(told);
    __real__mark_point(file, line);
}

int run_suite(Suite *s)
{
    SRunner *r = srunner_create(s);
    int rc = forced_tier();
    if (rc == EXIT_SUCCESS) {
        srunner_run_all(r, CK_ENV);
        rc = srunner_ntests_failed(r) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    srunner_free(r);
    return rc;
}

const char *test_device(void)
{
    const char *name = getenv("BRIDGE_TEST_DEVICE");
    return name && *name ? name : "cpu";
}

int test_is_sampled(void)
{
    return getenv("BRIDGE_TEST_SAMPLE") && !getenv("BRIDGE_TEST_ALL");
}

int need_fixture(const char *name)
{
    const char *root = getenv("BRIDGE_SHARED"), *ci = getenv("CI");
    char path[1024];
    int n = snprintf(path, sizeof path, "%s/fixtures/%s", root ? root : "", name);
    if (root && *root && n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0)
        return EXIT_SUCCESS;
    int in_ci = ci && strcmp(ci, "true") == 0;
    printf("%s: no fixtures/%s in the folder that BRIDGE_SHARED names ('%s')\n",
           in_ci ? "FAILED" : "SKIPPED", name, root ? root : "");
    return in_ci ? EXIT_FAILURE : TEST_SKIPPED;
}

void copy_file(const char *from, const char *to)
{
    struct br_err err = BR_ERR_INIT;
    struct br__dir d;
    int rc = br__dir_of(&d, to, 0, &err);
    if (!rc)
        rc = br__copy_in(&d, br__path_base(to), from, 0, &err);
    br__dir_close(&d);
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

/* Where a new file or directory goes: a pattern of mkstemp and mkdtemp. */
static void temp_name(char *path, size_t size, const char *name, const char *otherwise)
{
    const char *root = getenv("TMPDIR");
    int n = snprintf(path, size, "%s/%s-XXXXXX", root && *root ? root : otherwise, name);
    ck_assert_msg(n > 0 && (size_t)n < size, "TMPDIR is too long");
}

void make_temp_file(char *path, size_t size, const char *name)
{
    temp_name(path, size, name, "/tmp");
    int fd = mkstemp(path);
    ck_assert_msg(fd >= 0, "cannot make '%s'", path);
    close(fd);
}

static void make_dir(char *dir, size_t size, const char *name, const char *otherwise)
{
    temp_name(dir, size, name, otherwise);
    ck_assert_msg(mkdtemp(dir) != NULL, "cannot make '%s'", dir);
}

void make_temp_dir(char *dir, size_t size, const char *name)
{
    make_dir(dir, size, name, "/tmp");
}

void make_memory_dir(char *dir, size_t size, const char *name)
{
    static const char memory[] = "/dev/shm";
    struct statvfs v;
    int has_room = access(memory, W_OK | X_OK) == 0 && statvfs(memory, &v) == 0 &&
                   v.f_bavail >= (32u << 20) / v.f_frsize;
    make_dir(dir, size, name, has_room ? memory : "/tmp");
}
