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
    const char *bytes = br_tokenizer_bytes(t, id, n);
    for (size_t i = 0; bytes && t->vocab.flags[id] & BR__TOK_RENAMED && i < t->n_shown; i++)
        if (t->shown[i].id == (uint32_t)id) {
            *n = t->shown[i].n;
            bytes = t->shown[i].text;
        }
    return bytes;
}

/* ---- tokens of a plain vocabulary ------------------------------------------------------------ */

/* br_detok.flags: a token was there; text was given out, so that nothing is stripped any more; how
 * often something was, in units of STRIPPED. */
#define BEGUN 0x80000000u
#define SHOWN 0x40000000u
#define STRIPPED 0x100u
#define OWN_FLAGS (BEGUN | SHOWN | 0xFFFFu * STRIPPED)

/* The text of a token, `first` of all: what the decoder's Replace or Metaspace makes of it. */
static int plain_text(const struct br_tokenizer *t, const char *s, size_t n, int first,
                      struct br__buf *out, struct br_err *err)
{
    const struct br__tok_decoder *d = &t->decoder;
    struct br__buf other = {0}, *from = out, *to = &other;
    struct br__tok_norm meta = {.from = d->metaspace};

    out->n = 0;
    br__buf_put(out, s, n);
    meta.to = first && d->metaspace_scheme != BR__TOK_NEVER ? "" : " ";
    for (size_t i = 0; i < d->n_replace + (d->metaspace != NULL); i++) {
        to->n = 0;
        br__tok_replace(to, (const unsigned char *)from->p, from->n,
                        d->metaspace ? &meta : &d->replace[i]);
        struct br__buf *swap = from;
        from = to;
        to = swap;
    }
    if (from != out) {
        struct br__buf swap = *out;
        *out = other;
        other = swap;
    }
    int failed = out->failed || other.failed;
    br__buf_free(&other);
    return failed ? br__nomem(err, "for decoded text") : BR_OK;
}

/* The byte that <0xNN> stands for, or -1. */
static int fallback_byte(const struct br_tokenizer *t, const char *s, size_t n)
{
    static const char digits[] = "0123456789ABCDEF";
    if (!t->decoder.byte_fallback || n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>')
        return -1;
    int v = 0;
    for (int i = 3; i < 5; i++) {
        char c = s[i] >= 'a' && s[i] <= 'f' ? (char)(s[i] - 32) : s[i];
        const char *at = c ? strchr(digits, c) : NULL;
        if (!at)
            return -1;
        v = v * 16 + (int)(at - digits);
    }
    return v;
}

/* A run of byte tokens: its text if it is UTF-8, else one U+FFFD for each. */
static int put_run(struct br_text *out, const struct br__buf *run, struct br_err *err)
{
    int good = br__utf8_valid(run->p ? run->p : "", run->n);
    size_t each = sizeof replacement - 1;
    int rc = detok_reserve(out, run->n * each, err);
    if (!rc && good)
        detok_append(out, run->p ? run->p : "", run->n);
    for (size_t i = 0; i < run->n && !rc && !good; i++)
        detok_append(out, replacement, each);
    return rc;
}

/* What Strip takes from the beginning. */
static size_t strip_start(const struct br_tokenizer *t, const char *s, size_t n)
{
    const struct br__tok_decoder *d = &t->decoder;
    size_t len = d->strip ? strlen(d->strip) : 0, at = 0;
    for (int64_t i = 0; d->strip && i < d->n_strip && n - at >= len; i++) {
        if (memcmp(s + at, d->strip, len) != 0)
            break;
        at += len;
    }
    return at;
}

static int decode_plain(const struct br_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                        struct br_text *out, struct br_err *err)
{
    struct br__buf text = {0}, run = {0};
    struct br_text all = {0};
    int rc = BR_OK, first = 1;
    size_t len;
    for (size_t i = 0; i < n && !rc; i++) {
        const char *bytes = detok_shown(t, ids[i], flags, &len);
        if (!bytes)
            continue;
        rc = plain_text(t, bytes, len, first, &text, err);
        first = 0;
        int byte = rc ? -1 : fallback_byte(t, text.p ? text.p : "", text.n);
        if (byte >= 0) {
            br__buf_putc(&run, (char)byte);
            rc = run.failed ? br__nomem(err, "for decoded text") : BR_OK;
            continue;
        }
        rc = rc ? rc : put_run(&all, &run, err);
        run.n = 0;
        rc = rc ? rc : detok_reserve(&all, text.n, err);
        if (!rc && text.n)
            detok_append(&all, text.p, text.n);
    }
    rc = rc ? rc : put_run(&all, &run, err);
    size_t from = rc || !all.n ? 0 : strip_start(t, all.p, all.n);
    rc = rc ? rc : detok_reserve(out, all.n, err);
    if (!rc && all.n)
        detok_append(out, all.p + from, all.n - from);
    br__buf_free(&text);
    br__buf_free(&run);
    br_text_free(&all);
    return rc;
}

/* Append what token by token came to, without what Strip takes. */
static int put_stripped(struct br_detok *d, struct br_text *piece, struct br_text *out,
                        struct br_err *err)
{
    const struct br__tok_decoder *x = &d->t->decoder;
    size_t at = 0, len = x->strip ? strlen(x->strip) : 0;
    while (len && !(d->flags & SHOWN) && piece->n - at >= len &&
           (d->flags & ~(BEGUN | SHOWN)) / STRIPPED < (uint32_t)x->n_strip &&
           memcmp(piece->p + at, x->strip, len) == 0) {
        at += len;
        d->flags += STRIPPED;
    }
    if (piece->n > at)
        d->flags |= SHOWN;
    int rc = detok_reserve(out, piece->n, err);
    if (!rc && piece->n)
        detok_append(out, piece->p + at, piece->n - at);
    br_text_free(piece);
    return rc;
}

/* Token by token.  Characters of byte tokens are given out as soon as they are whole; where a run
 * of byte tokens is no UTF-8, that says more than decode_plain, which gives none of its characters.
 */
static int put_plain(struct br_detok *d, const char *bytes, size_t n, struct br_text *out,
                     struct br_err *err)
{
    struct br__buf text = {0};
    struct br_text piece = {0};
    unsigned char joint[sizeof d->held + 1];
    int rc = plain_text(d->t, bytes, n, !(d->flags & BEGUN), &text, err);
    int byte = rc ? -1 : fallback_byte(d->t, text.p ? text.p : "", text.n);
    size_t held = d->n_held;
    d->flags |= BEGUN;
    d->n_held = 0;
    memcpy(joint, d->held, held);
    if (byte >= 0)
        joint[held] = (unsigned char)byte;
    if (!rc)
        rc = put_bytes(&piece, joint, held + (byte >= 0), byte >= 0 ? d : NULL, err);
    if (!rc && byte < 0 && text.n) {
        rc = detok_reserve(&piece, text.n, err);
        if (!rc)
            detok_append(&piece, text.p, text.n);
    }
    br__buf_free(&text);
    if (!rc)
        return put_stripped(d, &piece, out, err);
    br_text_free(&piece);
    return rc;
}

int br_tokenizer_decode(const struct br_tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                        struct br_text *out, struct br_err *err)
{
    struct br_text raw = {0};
    size_t len;
    int rc = detok_reserve(out, 0, err);
    if (!rc)
        detok_append(out, "", 0);
    if (!rc && t->vocab.plain)
        return decode_plain(t, ids, n, flags, out, err);
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
    *d = (struct br_detok){.t = t, .flags = flags & ~OWN_FLAGS};
}

int br_detok_put(struct br_detok *d, int32_t id, struct br_text *out, struct br_err *err)
{
    struct br_text joint = {0};
    size_t n, held = d->n_held;
    const char *bytes = detok_shown(d->t, id, d->flags, &n);
    if (!bytes)
        return BR_OK;
    if (d->t->vocab.plain)
        return put_plain(d, bytes, n, out, err);
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
    return n ? put_bytes(out, d->held, n, NULL, err)
             : BR_OK; /* no character, so nothing to strip */
}
