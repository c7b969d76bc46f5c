/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libfaults.h - the Nth system call or allocation of the library fails, or ends the process. */
#ifndef BRIDGE_TEST_LIBFAULTS_H
#define BRIDGE_TEST_LIBFAULTS_H

enum fault { SHORT_READ, FAIL_EIO, FAIL_ENOSPC, NO_MEMORY, KILLED };
#define FAULT_KILL_STATUS 99

extern int fault_fired;       /* the fault has happened since fault_arm */
extern long fault_last_block; /* number of the call that was the last large write */

/* After n more calls; negative: never. */
void fault_arm(enum fault kind, long n);
void fault_disarm(void);
long fault_calls(void); /* since fault_arm */
/* From now on, armed or not: a file system that cannot exchange two names. */
void fault_forbid_exchange(int on);

#endif
