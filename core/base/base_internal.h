/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* base_internal.h - what the files of core/base share, and what tests replace to make calls fail. */
#ifndef BRIDGE_CORE_BASE_INTERNAL_H
#define BRIDGE_CORE_BASE_INTERNAL_H

#include "base.h"

/* The allocator in use; tests replace it to fail the Nth call.  cJSON uses it too. */
struct br__mem_ops {
    void *(*realloc)(void *p, size_t n); /* n > 0; p may be NULL */
    void (*free)(void *p);
};
extern struct br__mem_ops br__mem;

/* Four hexadecimal digits of s[n] at *at, which moves over those that are; -1 at one that is not.
 */
int32_t br__hex4(const unsigned char *s, size_t n, size_t *at);

#endif
