/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* mem.c - all allocation goes through here, so that tests can make the Nth call fail. */
#include "base_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct br__mem_ops br__mem = {realloc, free};

void *br__alloc(size_t n)
{
    return br__realloc(NULL, n);
}

void *br__calloc(size_t n, size_t sz)
{
    size_t total;
    if (__builtin_mul_overflow(n, sz, &total))
        return NULL;
    void *p = br__alloc(total);
    if (p)
        memset(p, 0, total);
    return p;
}

void *br__reserve(size_t n)
{
    void *p = mmap(NULL, n ? n : 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void br__unreserve(void *p, size_t n)
{
    if (p)
        munmap(p, n ? n : 1);
}

void *br__realloc(void *p, size_t n)
{
    /* Beyond PTRDIFF_MAX pointer differences overflow; no allocator gives that much anyway. */
    if (n > PTRDIFF_MAX)
        return NULL;
    return br__mem.realloc(p, n ? n : 1);
}

void br__free(void *p)
{
    if (p)
        br__mem.free(p);
}

char *br__strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = br__alloc(n);
    if (p)
        memcpy(p, s, n);
    return p;
}

int br__grow(void *a, size_t *cap, size_t n, size_t sz)
{
    if (n < *cap)
        return BR_OK;
    size_t want, bytes;
    if (__builtin_mul_overflow(*cap, (size_t)2, &want))
        return BR_E_NOMEM;
    want = BR__MAX(want, 8);
    if (__builtin_mul_overflow(want, sz, &bytes))
        return BR_E_NOMEM;
    /* `a` points at a pointer to some object type; memcpy reads it whatever that type is. */
    void *p;
    memcpy(&p, a, sizeof p);
    p = br__realloc(p, bytes);
    if (!p)
        return BR_E_NOMEM;
    memcpy(a, &p, sizeof p);
    *cap = want;
    return BR_OK;
}

/* Anonymous memory now, from /proc/self/status (RssAnon, kB), without mapped model files.  At the
 * end of a run this is the peak: caches and activations have been touched. */
uint64_t br__private_memory(void)
{
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    uint64_t kb = 0;

    if (!f)
        return 0;
    while (fgets(line, sizeof line, f))
        if (br__starts(line, "RssAnon:")) {
            const char *digits = line + strcspn(line, "0123456789");
            char number[24];
            int64_t v;
            snprintf(number, sizeof number, "%.*s", (int)strspn(digits, "0123456789"), digits);
            kb = br__parse_i64(number, &v) ? 0 : (uint64_t)v;
        }
    fclose(f);
    return kb * 1024;
}
