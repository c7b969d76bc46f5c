/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hooks.c - what gcc calls before each access to memory in code that is compiled with
 * -fsanitize=thread.  The names are those of its run-time library, which is not linked. */
#include "sim.h"

#define HOOK(name, use, n, is_element)                                                             \
    SIM_API void name(void *p);                                                                    \
    void name(void *p)                                                                             \
    {                                                                                              \
        if (sim_current)                                                                           \
            sim_access(p, n, use, is_element, SIM_CALLER);                                         \
    }
HOOK(__tsan_read1, SIM_READ, 1, true)
HOOK(__tsan_read2, SIM_READ, 2, true)
HOOK(__tsan_read4, SIM_READ, 4, true)
HOOK(__tsan_read8, SIM_READ, 8, true)
HOOK(__tsan_read16, SIM_READ, 16, true)
HOOK(__tsan_write1, SIM_WRITE, 1, true)
HOOK(__tsan_write2, SIM_WRITE, 2, true)
HOOK(__tsan_write4, SIM_WRITE, 4, true)
HOOK(__tsan_write8, SIM_WRITE, 8, true)
HOOK(__tsan_write16, SIM_WRITE, 16, true)
HOOK(__tsan_volatile_read4, SIM_READ, 4, true)
HOOK(__tsan_volatile_write4, SIM_WRITE, 4, true)

#define RANGE_HOOK(name, use)                                                                      \
    SIM_API void name(void *p, unsigned long n);                                                   \
    void name(void *p, unsigned long n)                                                            \
    {                                                                                              \
        if (sim_current)                                                                           \
            sim_access(p, n, use, false, SIM_CALLER);                                              \
    }
RANGE_HOOK(__tsan_read_range, SIM_READ)
RANGE_HOOK(__tsan_write_range, SIM_WRITE)

SIM_API void __tsan_init(void);
void __tsan_init(void)
{
}
