/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* map.c - string to uint32, open addressing with linear probing, never more than half full. */
#include "base.h"

#include <string.h>

int br__map_init(struct br__map *m, size_t expected)
{
    size_t cap = 16;
    *m = (struct br__map){0};
    if (expected > SIZE_MAX / 64)
        return BR_E_NOMEM;
    while (cap < expected * 2)
        cap *= 2;
    m->keys = br__calloc(cap, sizeof *m->keys);
    m->vals = br__alloc(cap * sizeof *m->vals);
    if (!m->keys || !m->vals) {
        br__map_free(m);
        return BR_E_NOMEM;
    }
    m->cap = cap;
    return BR_OK;
}

/* The slot that holds key, or the free slot where it belongs. */
static size_t map_find(const struct br__map *m, const char *key)
{
    size_t i = br__xxh3(key, strlen(key)) & (m->cap - 1);
    while (m->keys[i] && strcmp(m->keys[i], key) != 0)
        i = (i + 1) & (m->cap - 1);
    return i;
}

static int map_rehash(struct br__map *m)
{
    struct br__map bigger;
    int rc = br__map_init(&bigger, BR__MAX(m->cap, 8));
    if (rc)
        return rc;
    for (size_t i = 0; i < m->cap; i++) {
        if (!m->keys[i])
            continue;
        size_t to = map_find(&bigger, m->keys[i]);
        bigger.keys[to] = m->keys[i];
        bigger.vals[to] = m->vals[i];
    }
    bigger.n = m->n;
    br__map_free(m);
    *m = bigger;
    return BR_OK;
}

int br__map_put(struct br__map *m, const char *key, uint32_t val)
{
    if (2 * (m->n + 1) > m->cap) {
        int rc = map_rehash(m);
        if (rc)
            return rc;
    }
    size_t i = map_find(m, key);
    if (m->keys[i])
        return BR_E_EXISTS;
    m->keys[i] = key;
    m->vals[i] = val;
    m->n++;
    return BR_OK;
}

uint32_t br__map_get(const struct br__map *m, const char *key)
{
    if (m->cap == 0)
        return BR__NOT_FOUND;
    size_t i = map_find(m, key);
    return m->keys[i] ? m->vals[i] : BR__NOT_FOUND;
}

void br__map_free(struct br__map *m)
{
    br__free(m->keys);
    br__free(m->vals);
    *m = (struct br__map){0};
}
