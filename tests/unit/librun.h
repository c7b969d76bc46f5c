/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* librun.h - what every Check program ends with, and where it writes. */
#ifndef BR_TEST_LIBRUN_H
#define BR_TEST_LIBRUN_H

#include <check.h>

#define TEST_SKIPPED 77 /* exit status: nothing failed, but nothing was tested */

/* Runs the suite, which it frees, and prints what failed; CK_VERBOSITY says how much.  The exit
 * status of the program: TEST_SKIPPED if BRIDGE_CPU names a tier that this machine lacks or that
 * another test runs on. */
int run_suite(Suite *s);

/* In a program with emulated tiers: the machine has the tier, so the program without emulation
 * tests it.  Else 0. */
struct br__cpu_tier;
int tested_natively(const struct br__cpu_tier *t);

/* The device that a test of the engine runs on: BRIDGE_TEST_DEVICE, else "cpu". */
const char *test_device(void);

/* Whether a sample of the cases is to be run: BRIDGE_TEST_SAMPLE, where they are slow (on a
 * simulated device, with a sanitizer), but for BRIDGE_TEST_ALL. */
int test_is_sampled(void);

/* EXIT_SUCCESS if fixtures/<name> exists in the folder that BRIDGE_SHARED names; else prints that
 * it does not and returns TEST_SKIPPED, or EXIT_FAILURE where CI=true, as CI has all fixtures. */
int need_fixture(const char *name);

/* The bytes of file `from` as file `to`. */
void copy_file(const char *from, const char *to);

/* A new, empty file <name>-XXXXXX below $TMPDIR, else /tmp. */
void make_temp_file(char *path, size_t size, const char *name);
/* A new directory <name>-XXXXXX below $TMPDIR, else /tmp. */
void make_temp_dir(char *dir, size_t size, const char *name);
/* The same below $TMPDIR, else in memory if 32 MB are free there: for thousands of small files,
 * which a disk's journal makes five times as slow. */
void make_memory_dir(char *dir, size_t size, const char *name);

#endif
