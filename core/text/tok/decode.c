/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* decode.c - ids -> text, all at once or token by token.  Tokens are bytes, and the bytes of a
 * character may belong to several tokens.  Only whole characters are given out; an incomplete one
 * is held back until the next token decides. */
#include "tok.h"

#include <string.h>

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */

/* Number of bytes at s that one U+FFFD replaces: the longest prefix of a character, or one byte.
 * *open: more text may complete it. */
static size_t detok_malformed(const unsigned char *s, size_t n, int *open)
{
    size_t want = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    unsigned low = 0x80, high = 0xBF;
    *open = 0;
    if (s[0] < 0xC2 || s[0] > 0xF4)
        return 1;
    /* No overlong forms, no surrogates, nothing past U+10FFFF. */
    if (s[0] == 0xE0)
        low = 0xA0;
    else if (s[0] == 0xED)
        high = 0x9F;
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F;
    for (size_t i = 1; i < want; i++, low = 0x80, high = 0xBF) {
        if (i == n) {
            *open = 1;
            return n;
        }
        if (s[i] < low || s[i] > high)
            return i;
    }
    return want;
}

static int detok_reserve(struct br_text *out, size_t more, struct br_err *err)
{
    if (out->p && out->cap - out->n > more)
        return BR_OK;
    if (more > PTRDIFF_MAX / 2 || out->n > PTRDIFF_MAX / 2)
        return br__nomem(err, "for decoded text");
    size_t cap = BR__MAX(out->n + more + 1, BR__MAX(out->cap + out->cap / 2, 64));
    char *p = br__realloc(out->p, cap);
    if (!p)
        return br__nomem(err, "for decoded text");
    out->p = p;
    out->cap = cap;
    return BR_OK;
}

/* There is room. */
static void detok_append(struct br_text *out, const void *p, size_t n)
{
    memcpy(out->p + out->n, p, n);
    out->n += n;
    out->p[out->n] = '\0';
}

/* Append the bytes that are complete characters; keep an incomplete one at the end in `held`, or,
 * if no text follows, replace it. */
static int put_bytes(struct br_text *out, const unsigned char *s, size_t n, struct br_detok *held,
                     struct br_err *err)
{
    size_t at = 0;
    int rc = detok_reserve(out, n, err), open = 0;
    while (!rc && at < n) {
        size_t good = br__utf8_span((const char *)s + at, n - at);
        detok_append(out, s + at, good);
        at += good;
        if (at == n)
            break;
        size_t bad = detok_malformed(s + at, n - at, &open);
        if (open && held) {
            memcpy(held->held, s + at, bad);
            held->n_held = (uint32_t)bad;
            return BR_OK;
        }
        at += bad;
        rc = detok_reserve(out, sizeof replacement + n - at, err);
        if (!rc)
            detok_append(out, replacement, sizeof replacement - 1);
    }
    return rc;
}

const char *br_tokenizer_bytes(const struct br_tokenizer *t, int32_t id, size_t *n)
{
    *n = 0;
    if (id < 0 || (size_t)id >= t->vocab.n_ids || !t->vocab.flags[id])
        return NULL;
    *n = t->vocab.span[id].n;
    return t->vocab.bytes.p + t->vocab.span[id].at;
}

/* The token's bytes; NULL if decoding leaves it out. */
static const char *detok_shown(const struct br_tokenizer *t, int32_t id, unsigned flags, size_t *n)
{
    *n = 0;
    if (flags & BR_TOK_SKIP_SPECIAL && br_tokenizer_is_special(t, id))
        return NULL;
    return br_tokenizer_bytes(t, id, n);
}

int br_tokenizer_decode(const struct br_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                        struct br_text *out, struct br_err *err)
{
    struct br_text raw = {0};
    size_t len;
    int rc = detok_reserve(out, 0, err);
    if (!rc)
        detok_append(out, "", 0);
    for (size_t i = 0; i < n && !rc; i++) {
        const char *bytes = detok_shown(t, ids[i], flags, &len);
        rc = detok_reserve(&raw, len, err);
        if (bytes && !rc)
            detok_append(&raw, bytes, len);
    }
    if (!rc && raw.n)
        rc = put_bytes(out, (const unsigned char *)raw.p, raw.n, NULL, err);
    br_text_free(&raw);
    return rc;
}

void br_detok_begin(struct br_detok *d, const struct br_tokenizer *t, unsigned flags)
{
    *d = (struct br_detok){.t = t, .flags = flags};
}

int br_detok_put(struct br_detok *d, int32_t id, struct br_text *out, struct br_err *err)
{
    struct br_text joint = {0};
    size_t n, held = d->n_held;
    const char *bytes = detok_shown(d->t, id, d->flags, &n);
    if (!bytes)
        return BR_OK;
    if (!held)
        return put_bytes(out, (const unsigned char *)bytes, n, d, err);
    int rc = detok_reserve(&joint, held + n, err);
    if (!rc) {
        detok_append(&joint, d->held, held);
        detok_append(&joint, bytes, n);
        d->n_held = 0;
        rc = put_bytes(out, (const unsigned char *)joint.p, joint.n, d, err);
    }
    br_text_free(&joint);
    return rc;
}

int br_detok_end(struct br_detok *d, struct br_text *out, struct br_err *err)
{
    size_t n = d->n_held;
    d->n_held = 0;
    return n ? put_bytes(out, d->held, n, NULL, err) : BR_OK;
}
