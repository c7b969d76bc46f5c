/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* arena.c - bump allocation for the metadata of one job, freed at once. */
#include "base.h"

#include <stdalign.h>
#include <string.h>

/* 64 KiB: a plan of 20 k tensors takes some hundred blocks, a toy takes one. */
#define BLOCK_BYTES (64u << 10)

struct br__arena_block {
    struct br__arena_block *next;
    size_t used, cap;
    alignas(16) unsigned char data[];
};

static struct br__arena_block *new_block(size_t cap)
{
    size_t total;
    if (__builtin_add_overflow(cap, sizeof(struct br__arena_block), &total))
        return NULL;
    struct br__arena_block *b = br__alloc(total);
    if (!b)
        return NULL;
    b->next = NULL;
    b->used = 0;
    b->cap = cap;
    return b;
}

/* A block with n bytes free.  Big requests get a block of their own behind the first one, so that
 * the room left in the first is not lost. */
static struct br__arena_block *block_for(struct br__arena *a, size_t n)
{
    struct br__arena_block *head = a->blocks;
    if (head && n <= head->cap - head->used)
        return head;
    int big = n > BLOCK_BYTES / 4;
    struct br__arena_block *b = new_block(big ? n : BLOCK_BYTES);
    if (!b)
        return NULL;
    if (big && head) {
        b->next = head->next;
        head->next = b;
    } else {
        b->next = head;
        a->blocks = b;
    }
    return b;
}

void *br__arena_alloc(struct br__arena *a, size_t n)
{
    if (n > PTRDIFF_MAX - 16)
        return NULL;
    n = (BR__MAX(n, 1) + 15) & ~(size_t)15;
    struct br__arena_block *b = block_for(a, n);
    if (!b)
        return NULL;
    void *p = b->data + b->used;
    b->used += n;
    a->total += n;
    return memset(p, 0, n);
}

char *br__arena_strndup(struct br__arena *a, const char *s, size_t n)
{
    if (n >= PTRDIFF_MAX)
        return NULL;
    char *p = br__arena_alloc(a, n + 1);
    if (p && n)
        memcpy(p, s, n);
    return p;
}

char *br__arena_strdup(struct br__arena *a, const char *s)
{
    return br__arena_strndup(a, s, strlen(s));
}

char *br__arena_printf(struct br__arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : br__arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

void br__arena_free(struct br__arena *a)
{
    while (a->blocks) {
        struct br__arena_block *b = a->blocks;
        a->blocks = b->next;
        br__free(b);
    }
    a->total = 0;
}
