/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* added.c - added tokens, cut out of a text before it is normalized and split.  The semantics are
 * those of tokenizers' AddedVocabulary: the leftmost match, of several there the longest; a token
 * with lstrip or rstrip includes the blanks beside it. */
#include "tok.h"

#include <string.h>

struct br__tok_added_node {
    uint32_t child, sibling; /* 0: none */
    uint32_t id;             /* of the token that ends here, or BR__TOK_NONE */
    uint8_t byte, strip;
};

static int new_node(struct br__tok_added *a, unsigned char byte, uint32_t *out, struct br_err *err)
{
    if (a->n >= UINT32_MAX || br__grow(&a->nodes, &a->cap, a->n, sizeof *a->nodes))
        return br__nomem(err, "for the added tokens");
    a->nodes[a->n] = (struct br__tok_added_node){.id = BR__TOK_NONE, .byte = byte};
    *out = (uint32_t)a->n++;
    return BR_OK;
}

static uint32_t child_of(const struct br__tok_added *a, uint32_t node, unsigned char byte)
{
    uint32_t c = a->nodes[node].child;
    while (c && a->nodes[c].byte != byte)
        c = a->nodes[c].sibling;
    return c;
}

int br__tok_added_put(struct br__tok_added *a, const char *text, size_t n, uint32_t id,
                      unsigned strip, struct br_err *err)
{
    const unsigned char *s = (const unsigned char *)text;
    uint32_t node = 0, c;
    int rc = a->n ? BR_OK : new_node(a, 0, &node, err);
    for (size_t i = 0; i < n && !rc; i++, node = c) {
        c = child_of(a, node, s[i]);
        if (c)
            continue;
        rc = new_node(a, s[i], &c, err);
        if (rc)
            break;
        a->nodes[c].sibling = a->nodes[node].child;
        a->nodes[node].child = c;
    }
    if (rc)
        return rc;
    a->nodes[node].id = id;
    a->nodes[node].strip = (uint8_t)strip;
    a->n_starts += !a->starts[s[0]];
    a->starts[s[0]] = 1;
    a->start = s[0];
    return BR_OK;
}

void br__tok_added_free(struct br__tok_added *a)
{
    br__free(a->nodes);
    *a = (struct br__tok_added){0};
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Rust's char::is_whitespace: the blanks of the White_Space property. */
static int is_blank(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

/* Where the blanks that end at `at` begin, and where those that begin at `at` end.  Bytes that are
 * not UTF-8 are no blanks. */
static size_t blanks_before(const unsigned char *s, size_t floor, size_t at)
{
    size_t len;
    while (at > floor) {
        size_t i = at - 1;
        while (i > floor && at - i < 3 && (s[i] & 0xC0) == 0x80)
            i--;
        if (!br__utf8_valid((const char *)s + i, at - i) || !is_blank(br__tok_char(s + i, &len)) ||
            i + len != at)
            break;
        at = i;
    }
    return at;
}

static size_t blanks_after(const unsigned char *s, size_t at, size_t n)
{
    size_t len;
    while (at < n) {
        size_t have = BR__MIN(n - at, 3); /* no blank has more bytes */
        size_t good = br__utf8_span((const char *)s + at, have);
        if (good == 0 || !is_blank(br__tok_char(s + at, &len)))
            break;
        at += len;
    }
    return at;
}

/* Node of the longest token that begins at s, or 0; *len is its length. */
static uint32_t longest_at(const struct br__tok_added *a, const unsigned char *s, size_t n,
                           size_t *len)
{
    uint32_t best = 0, node = 0;
    for (size_t i = 0; i < n; i++) {
        node = child_of(a, node, s[i]);
        if (!node)
            break;
        if (a->nodes[node].id != BR__TOK_NONE) {
            best = node;
            *len = i + 1;
        }
    }
    return best;
}

static size_t next_start(const struct br__tok_added *a, const unsigned char *s, size_t n, size_t at)
{
    if (a->n_starts == 1) {
        const unsigned char *p = memchr(s + at, a->start, n - at);
        return p ? (size_t)(p - s) : n;
    }
    while (at < n && !a->starts[s[at]])
        at++;
    return at;
}

int br__tok_added_find(const struct br__tok_added *a, const unsigned char *s, size_t n, size_t from,
                       struct br__tok_match *out)
{
    size_t len = 0;
    if (!a->n)
        return 0;
    for (size_t at = from; at < n; at++) {
        at = next_start(a, s, n, at);
        uint32_t node = at < n ? longest_at(a, s + at, n - at, &len) : 0;
        if (!node)
            continue;
        unsigned strip = a->nodes[node].strip;
        out->id = a->nodes[node].id;
        out->start = strip & BR__TOK_LSTRIP ? blanks_before(s, from, at) : at;
        out->end = strip & BR__TOK_RSTRIP ? blanks_after(s, at + len, n) : at + len;
        return 1;
    }
    return 0;
}
