/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* mapped.c - which file is mapped where, for a handler of SIGBUS.  A mapped page that cannot be
 * read (the file was cut, the disk or the network fails) is a signal, not a return value.  The
 * program's handler asks here, without locks or allocation, which file the page is of.  An entry is
 * published by storing its address and removed by storing zero; the path stays valid until the file
 * is closed, which nobody does while others read the map. */
#include "base.h"

struct entry {
    _Atomic uintptr_t at; /* 0: free */
    _Atomic uintptr_t end;
    const char *_Atomic path;
};
/* A model may have more files than this; the last ones have no name in messages. */
static struct entry entries[4096];
static const char taken; /* its address marks an entry that is being filled */

void br__mapped_add(const void *p, uint64_t n, const char *path)
{
    for (size_t i = 0; i < BR_COUNTOF(entries); i++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&entries[i].at, &none, (uintptr_t)&taken))
            continue;
        atomic_store(&entries[i].path, path);
        atomic_store(&entries[i].end, (uintptr_t)p + (uintptr_t)n);
        atomic_store(&entries[i].at, (uintptr_t)p);
        return;
    }
}

void br__mapped_remove(const void *p)
{
    for (size_t i = 0; i < BR_COUNTOF(entries); i++)
        if (atomic_load(&entries[i].at) == (uintptr_t)p) {
            atomic_store(&entries[i].end, 0); /* no range matches while it is being emptied */
            atomic_store(&entries[i].at, 0);
            return;
        }
}

const char *br__mapped_file(const void *address)
{
    for (size_t i = 0; i < BR_COUNTOF(entries); i++) {
        uintptr_t at = atomic_load(&entries[i].at), end = atomic_load(&entries[i].end);
        if (at && (uintptr_t)address >= at && (uintptr_t)address < end)
            return atomic_load(&entries[i].path);
    }
    return NULL;
}
