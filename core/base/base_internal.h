/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* base_internal.h - what the files of core/base share, and what tests replace to make calls fail.
 */
#ifndef BRIDGE_CORE_BASE_INTERNAL_H
#define BRIDGE_CORE_BASE_INTERNAL_H

#include "base.h"

/* The allocator in use; tests replace it to fail the Nth call.  cJSON uses it too. */
struct br__mem_ops {
    void *(*realloc)(void *p, size_t n); /* n > 0; p may be NULL */
    void (*free)(void *p);
};
extern struct br__mem_ops br__mem;

/* Repeat a call that a signal interrupted. */
#define BR__RETRY(rc, call)                                                                        \
    do                                                                                             \
        rc = (call);                                                                               \
    while (rc < 0 && errno == EINTR)

/* The status of a call that should have changed a file. */
int br__write_status(int e);
/* "cannot <verb> '<path>': <text of e>", with `where` the function that met it. */
int br__fail_errno(struct br_err *err, const char *where, int writing, int e, const char *verb,
                   const char *path);
#define BR__FAIL_READ(err, e, verb, path) br__fail_errno((err), __func__, 0, (e), (verb), (path))
#define BR__FAIL_WRITE(err, e, verb, path) br__fail_errno((err), __func__, 1, (e), (verb), (path))

/* Read four hexadecimal digits of s[n] at *at, which moves over the valid ones; -1 at any other
 * byte. */
int32_t br__hex4(const unsigned char *s, size_t n, size_t *at);

#endif
