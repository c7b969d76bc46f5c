/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_cpus.c - BRIDGE_CPUS is the number of CPUs for everything that counts them: the pool of a
 * conversion, the threads of a device. */
#include "base/base.h"
#include "engine/engine.h"
#include "librun.h"

#include <check.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- the number ------------------------------------------------------------------------------ */

static int own_count(void)
{
    unsetenv("BRIDGE_CPUS");
    return br__cpu_count();
}

START_TEST(as_many_as_the_process_may_run_on)
{
    cpu_set_t set;
    ck_assert_int_eq(sched_getaffinity(0, sizeof set, &set), 0);
    ck_assert_int_eq(own_count(), BR__MIN(CPU_COUNT(&set), 256));
    int first = 0;
    while (!CPU_ISSET(first, &set))
        first++;
    CPU_ZERO(&set);
    CPU_SET(first, &set);
    ck_assert_int_eq(sched_setaffinity(0, sizeof set, &set), 0);
    ck_assert_int_eq(own_count(), 1);
}
END_TEST

START_TEST(as_many_as_it_says)
{
    for (int n = 1; n <= 256; n++) {
        char text[8];
        snprintf(text, sizeof text, "%d", n);
        setenv("BRIDGE_CPUS", text, 1);
        ck_assert_int_eq(br__cpu_count(), n);
        ck_assert_int_eq(br__cpu_count_check(NULL), BR_OK);
    }
}
END_TEST

static const char *const wrong[] = {
    "0", "-1", "257", "4x", " 4", "4.0", "two", "0x10", "99999999999999999999"};

START_TEST(what_is_no_number_is_refused)
{
    struct br_err err = BR_ERR_INIT;
    int own = own_count();
    setenv("BRIDGE_CPUS", "", 1);
    ck_assert_int_eq(br__cpu_count_check(&err), BR_OK);
    setenv("BRIDGE_CPUS", wrong[_i], 1);
    ck_assert_int_eq(br__cpu_count(), own);
    ck_assert_int_eq(br__cpu_count_check(&err), BR_E_USAGE);
    ck_assert_msg(strstr(err.msg, wrong[_i]) && strstr(err.msg, "from 1 to 256"), "%s", err.msg);
}
END_TEST

/* ---- who uses it ----------------------------------------------------------------------------- */

static const int counts[] = {1, 3, 256};

static void force(int n)
{
    char text[8];
    snprintf(text, sizeof text, "%d", n);
    setenv("BRIDGE_CPUS", text, 1);
}

/* Each task waits until as many tasks have begun as there should be threads (with fewer threads the
 * test times out), and a little longer, so that one thread too many would get a task. */
static int meet(void *arg, size_t i, int worker, struct br_err *err)
{
    atomic_int *begun = arg;
    (void)i;
    atomic_fetch_add(begun, 1);
    while (atomic_load(begun) < br__cpu_count())
        usleep(100);
    usleep(1000);
    return worker < br__cpu_count() ? 0 : br_fail(err, BR_E_USAGE, "worker %d", worker);
}

START_TEST(a_pool_has_that_many_threads)
{
    struct br_err err = BR_ERR_INIT;
    atomic_int begun = 0;
    force(counts[_i]);
    int rc = br__pool_run(0, 300, meet, &begun, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_int_eq(begun, 300);
}
END_TEST

static void count_thread(void *arg, const struct br_stream *s)
{
    atomic_int *seen = arg;
    if (s->thread < s->n_threads)
        atomic_fetch_add(seen, 1);
}

START_TEST(a_device_has_that_many_threads)
{
    struct br__device d;
    struct br_err err = BR_ERR_INIT;
    atomic_int seen = 0;
    force(counts[_i]);
    ck_assert_msg(br__device_open(&d, "cpu", NULL, 0, 0, &err) == 0, "%s", err.msg);
    d.backend.run(d.device, count_thread, &seen);
    br__device_close(&d);
    ck_assert_int_eq(seen, counts[_i]);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cpus");
    TCase *t = tcase_create("cpus");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, as_many_as_the_process_may_run_on);
    tcase_add_test(t, as_many_as_it_says);
    tcase_add_loop_test(t, what_is_no_number_is_refused, 0, (int)BR_COUNTOF(wrong));
    tcase_add_loop_test(t, a_pool_has_that_many_threads, 0, (int)BR_COUNTOF(counts));
    tcase_add_loop_test(t, a_device_has_that_many_threads, 0, (int)BR_COUNTOF(counts));
    suite_add_tcase(s, t);
    return run_suite(s);
}
