/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* stop.c - stop strings in text that comes in pieces.  Each string is matched byte by byte with the
 * failure table of Knuth, Morris and Pratt.  The end of the text is held back while it is a prefix
 * of a stop string.  The string that is complete first ends the text; of several that end at the
 * same byte, the longest. */
#include "text.h"

#include <string.h>

struct pattern {
    const unsigned char *text;
    size_t n, matched;
    size_t *border; /* [i]: length of the longest proper prefix of the first i + 1 bytes that is
                       also their suffix */
};

struct br__stop {
    struct br__arena arena;
    struct pattern *patterns;
    size_t n;
    unsigned char *held; /* the longest string fits */
    size_t n_held;
    int hit; /* index, or -1 */
};

/* Bytes matched after `c`, of a pattern that had `matched` < n. */
static size_t stop_advance(const struct pattern *p, size_t matched, unsigned char c)
{
    while (matched > 0 && p->text[matched] != c)
        matched = p->border[matched - 1];
    return matched + (p->text[matched] == c);
}

static int add_pattern(struct br__stop *s, struct pattern *p, const char *text, struct br_err *err)
{
    size_t n = strlen(text);
    if (n == 0 || !br__utf8_valid(text, n))
        return br_fail(err, BR_E_USAGE, "stop string %zu is %s", (size_t)(p - s->patterns) + 1,
                       n == 0 ? "empty" : "not UTF-8");
    p->text = (const unsigned char *)br__arena_strdup(&s->arena, text);
    p->border =
        n < SIZE_MAX / sizeof *p->border ? br__arena_alloc(&s->arena, n * sizeof *p->border) : NULL;
    if (!p->text || !p->border)
        return br__nomem(err, "for a stop string of %zu bytes", n);
    p->n = n;
    for (size_t i = 1; i < n; i++)
        p->border[i] = stop_advance(p, p->border[i - 1], p->text[i]);
    return BR_OK;
}

static int add_all(struct br__stop *s, const char *const *strings, size_t n, struct br_err *err)
{
    size_t longest = 0;
    s->patterns = n < SIZE_MAX / sizeof *s->patterns
                      ? br__arena_alloc(&s->arena, n * sizeof *s->patterns)
                      : NULL;
    if (!s->patterns)
        return br__nomem(err, "for %zu stop strings", n);
    for (size_t i = 0; i < n; i++, s->n++) {
        int rc = add_pattern(s, &s->patterns[i], strings[i], err);
        if (rc)
            return rc;
        longest = BR__MAX(longest, s->patterns[i].n);
    }
    s->held = br__arena_alloc(&s->arena, longest + 1);
    return s->held ? BR_OK : br__nomem(err, "for stop strings");
}

int br__stop_new(struct br__stop **out, const char *const *strings, size_t n, struct br_err *err)
{
    *out = NULL;
    struct br__stop *s = br__calloc(1, sizeof *s);
    if (!s)
        return br__nomem(err, "for stop strings");
    s->hit = -1;
    int rc = add_all(s, strings, n, err);
    if (rc) {
        br__stop_free(s);
        return rc;
    }
    *out = s;
    return BR_OK;
}

void br__stop_free(struct br__stop *s)
{
    if (!s)
        return;
    br__arena_free(&s->arena);
    br__free(s);
}

/* Feed one byte to all strings; returns how many bytes at the end of the text must be held back: a
 * prefix of a stop string, or the complete string. */
static size_t stop_follow(struct br__stop *s, unsigned char c)
{
    size_t begun = 0, complete = 0;
    for (size_t i = 0; i < s->n; i++) {
        struct pattern *p = &s->patterns[i];
        p->matched = stop_advance(p, p->matched, c);
        begun = BR__MAX(begun, p->matched);
        if (p->matched == p->n && p->n > complete) {
            complete = p->n;
            s->hit = (int)i;
        }
    }
    return complete ? complete : begun;
}

int br__stop_feed(struct br__stop *s, const char *text, size_t n, struct br__buf *out)
{
    for (size_t i = 0; i < n && s->hit < 0; i++) {
        unsigned char c = (unsigned char)text[i];
        s->held[s->n_held++] = c;
        size_t stay = stop_follow(s, c), free_now = s->n_held - stay;
        if (free_now == 0)
            continue;
        br__buf_put(out, s->held, free_now);
        s->n_held = stay;
        memmove(s->held, s->held + free_now, stay);
    }
    return s->hit;
}

void br__stop_end(struct br__stop *s, struct br__buf *out)
{
    if (s->hit < 0)
        br__buf_put(out, s->held, s->n_held);
    s->n_held = 0;
    s->hit = -1;
    for (size_t i = 0; i < s->n; i++)
        s->patterns[i].matched = 0;
}
