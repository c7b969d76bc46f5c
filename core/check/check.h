/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* check.h - the door of core/check: is a plugin sound?
 *
 * Everything that a plugin promises is tried on its toys: rules, conversion in each layout, forward
 * and backward.  This folder may use all others but the command line. */
#ifndef BRIDGE_CORE_CHECK_H
#define BRIDGE_CORE_CHECK_H

#include "../convert/convert.h"

/* Prove what a plugin promises: every row parses, its rules claim every name and row once at toy
 * size, a toy converts there and back bit for bit, in each layout it has.  One call of `line` per
 * check; *failed counts those that are not ok, and the return value is about the checking itself
 * (no memory, no place for the toy). */
int br__plugin_check(struct br__registry *r, const struct br__plugin *p,
                     void (*line)(void *ud, const char *what, int ok, const char *detail), void *ud,
                     int *failed, struct br_err *err) BR_MUST_CHECK;
/* Continues br__plugin_check: forward and backward of each architecture's toy, caches, two ranks.
 * One call of `line` per check; *failed counts on. */
int br__engine_check(const struct br__plugin *p,
                     void (*line)(void *ud, const char *what, int ok, const char *detail), void *ud,
                     int *failed, struct br_err *err) BR_MUST_CHECK;

#endif
