/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* jscan.c - JSON read from front to back without a tree, for files too big for one.
 *
 * As strict as json.c, with two differences: a string may contain NUL, and duplicate keys are the
 * caller's business.  The first error sticks: every later call does nothing, so a caller looks at
 * `rc` where it matters. */
#include "base_internal.h"

#include <string.h>

static int jscan_fail(struct br__jscan *j, const char *expected)
{
    if (j->rc)
        return j->rc;
    if (j->at >= j->n)
        return j->rc = br_fail(j->err, BR_E_FORMAT, "byte %zu: the text ends, expected %s", j->at,
                               expected);
    unsigned char c = j->s[j->at];
    const char *fmt = c > 0x20 && c < 0x7F ? "byte %zu: found '%c', expected %s"
                                           : "byte %zu: found byte 0x%02x, expected %s";
    return j->rc = br_fail(j->err, BR_E_FORMAT, fmt, j->at, c, expected);
}

/* The next byte that is not white space; -1 at the end or after an error. */
static int jscan_peek(struct br__jscan *j)
{
    const unsigned char *s = j->s;
    size_t at = j->at, n = j->n;
    while (at < n && s[at] <= ' ' &&
           (s[at] == ' ' || s[at] == '\n' || s[at] == '\t' || s[at] == '\r'))
        at++;
    j->at = at;
    return at < n && !j->rc ? s[at] : -1;
}

void br__jscan_begin(struct br__jscan *j, const char *text, size_t n, struct br_err *err)
{
    *j = (struct br__jscan){.s = (const unsigned char *)text, .n = n, .err = err};
}

char br__jscan_kind(struct br__jscan *j)
{
    int c = jscan_peek(j);
    switch (c) {
    case '{':
        return 'o';
    case '[':
        return 'a';
    case '"':
        return 's';
    case 't':
    case 'f':
        return 'b';
    case 'n':
        return '0';
    default:
        return c == '-' || (c >= '0' && c <= '9') ? 'n' : 0;
    }
}

/* ---- containers ------------------------------------------------------------------------------ */

int br__jscan_enter(struct br__jscan *j, char kind)
{
    int want = kind == 'o' ? '{' : '[';
    if (jscan_peek(j) != want)
        return jscan_fail(j, kind == 'o' ? "an object" : "an array");
    if (j->depth == BR__JSON_MAX_DEPTH)
        return jscan_fail(j, "fewer levels of nesting");
    j->at++;
    j->closing[j->depth++] = kind == 'o' ? '}' : ']';
    j->fresh = 1;
    return BR_OK;
}

int br__jscan_next(struct br__jscan *j)
{
    int c = jscan_peek(j), close = j->depth ? j->closing[j->depth - 1] : -1;
    int first = j->fresh;
    j->fresh = 0;
    if (j->rc || j->depth == 0)
        return 0;
    if (c == close) {
        j->at++;
        j->depth--;
        return 0;
    }
    if (first)
        return 1;
    if (c != ',') {
        jscan_fail(j, close == '}' ? "',' or '}'" : "',' or ']'");
        return 0;
    }
    j->at++;
    return 1;
}

/* ---- strings --------------------------------------------------------------------------------- */

static void put_utf8(struct br__buf *b, uint32_t c)
{
    unsigned char s[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char lead[] = {0, 0x00, 0xC0, 0xE0, 0xF0};
    for (size_t i = n; i-- > 1; c >>= 6)
        s[i] = (unsigned char)(0x80 | (c & 0x3F));
    s[0] = (unsigned char)(lead[n] | c);
    br__buf_put(b, s, n);
}

/* The digits after "\u"; a pair of surrogates is one character. */
static void unicode_escape(struct br__jscan *j, struct br__buf *out)
{
    size_t start = j->at;
    int32_t v = br__hex4(j->s, j->n, &j->at);
    if (v < 0) {
        jscan_fail(j, "four hexadecimal digits");
        return;
    }
    if (v >= 0xD800 && v <= 0xDFFF) {
        int32_t low = -1;
        if (v < 0xDC00 && j->n - j->at >= 6 && j->s[j->at] == '\\' && j->s[j->at + 1] == 'u') {
            j->at += 2;
            low = br__hex4(j->s, j->n, &j->at);
        }
        if (low < 0xDC00 || low > 0xDFFF) {
            j->at = start;
            jscan_fail(j, "a pair of surrogates");
            return;
        }
        v = 0x10000 + ((v - 0xD800) << 10) + (low - 0xDC00);
    }
    put_utf8(out, (uint32_t)v);
}

static void jscan_escape(struct br__jscan *j, struct br__buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c = j->at < j->n ? j->s[j->at] : 0;
    const char *at = c ? strchr(from, c) : NULL;
    if (at)
        br__buf_putc(out, to[at - from]);
    else if (c != 'u')
        jscan_fail(j, "an escape: one of \"\\/bfnrtu");
    j->at += !j->rc;
    if (c == 'u')
        unicode_escape(j, out);
}

/* High bits of the bytes that end a plain run of a string: a quote, a backslash, a control.  The
 * lowest one set is right, those above it may not be; the lowest is the first byte on the machines
 * we run on. */
static inline uint64_t ends_of_eight(uint64_t v)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    uint64_t quote = v ^ ones * '"', escape = v ^ ones * '\\';
    return (((v - ones * 0x20) & ~v) | ((quote - ones) & ~quote) | ((escape - ones) & ~escape)) &
           high;
}

/* Step over the characters that stand for themselves, to the quote or escape behind them. */
static int jscan_plain(struct br__jscan *j)
{
    size_t run = j->at;
    uint64_t wide = 0, v, ends = 0;
    for (; !ends && j->n - run >= 8; run += ends ? (size_t)__builtin_ctzll(ends) / 8 : 8) {
        memcpy(&v, j->s + run, 8);
        ends = ends_of_eight(v);
        wide |= ends ? v & ((ends & -ends) - 1) : v;
    }
    for (; !ends && run < j->n && j->s[run] >= 0x20 && j->s[run] != '"' && j->s[run] != '\\'; run++)
        wide |= j->s[run];
    size_t n = run - j->at;
    j->at += wide & UINT64_C(0x8080808080808080) ? br__utf8_span((const char *)j->s + j->at, n) : n;
    if (j->at < run)
        return jscan_fail(j, "UTF-8");
    if (run >= j->n || j->s[run] < 0x20)
        return jscan_fail(j, "a character or the closing '\"' of a string");
    return BR_OK;
}

int br__jscan_string(struct br__jscan *j, struct br__buf *out)
{
    if (jscan_peek(j) != '"')
        return jscan_fail(j, "a string");
    j->at++;
    while (!j->rc) {
        size_t start = j->at;
        jscan_plain(j);
        br__buf_put(out, j->s + start, j->at - start);
        if (j->rc || j->s[j->at++] == '"')
            break;
        jscan_escape(j, out);
    }
    if (!j->rc && out->failed)
        j->rc = br_fail(j->err, out->failed, "cannot hold a string of the JSON text in memory");
    return j->rc;
}

int br__jscan_view(struct br__jscan *j, struct br__buf *room, const char **s, size_t *n)
{
    if (jscan_peek(j) != '"')
        return jscan_fail(j, "a string");
    size_t quote = j->at++;
    if (jscan_plain(j))
        return j->rc;
    *s = (const char *)j->s + quote + 1;
    *n = j->at - quote - 1;
    if (j->s[j->at] == '"') {
        j->at++;
        return BR_OK;
    }
    j->at = quote;
    room->n = 0;
    br__jscan_string(j, room);
    *s = room->p;
    *n = room->n;
    return j->rc;
}

static int jscan_colon(struct br__jscan *j)
{
    if (jscan_peek(j) != ':')
        return jscan_fail(j, "':'");
    j->at++;
    return j->rc;
}

int br__jscan_key(struct br__jscan *j, struct br__buf *out)
{
    out->n = 0;
    br__buf_put(out, "", 0); /* so that the text of an empty key is there */
    br__jscan_string(j, out);
    return jscan_colon(j);
}

int br__jscan_key_view(struct br__jscan *j, struct br__buf *room, const char **s, size_t *n)
{
    br__jscan_view(j, room, s, n);
    return jscan_colon(j);
}

/* ---- numbers, words, whole values ------------------------------------------------------------ */

static int jscan_digits(struct br__jscan *j)
{
    size_t start = j->at, at = start;
    while (at < j->n && j->s[at] >= '0' && j->s[at] <= '9')
        at++;
    j->at = at;
    return at > start;
}

int br__jscan_i64(struct br__jscan *j, int64_t *out)
{
    int c = jscan_peek(j), minus = c == '-';
    size_t start = j->at;
    uint64_t v = 0;
    *out = 0;
    j->at += (size_t)minus;
    if (c < 0 || !jscan_digits(j))
        return jscan_fail(j, "an integer");
    size_t n = j->at - start - (size_t)minus;
    const unsigned char *d = j->s + start + minus;
    for (size_t i = 0; i < n && n <= 18; i++)
        v = v * 10 + (uint64_t)(d[i] - '0');
    if (n > 18 || (n > 1 && d[0] == '0') || (j->at < j->n && memchr(".eE", j->s[j->at], 3))) {
        j->at = start;
        return jscan_fail(j, "an integer of at most 18 digits");
    }
    *out = minus ? -(int64_t)v : (int64_t)v;
    return BR_OK;
}

static int skip_number(struct br__jscan *j)
{
    j->at += j->s[j->at] == '-';
    size_t start = j->at;
    if (!jscan_digits(j) || (j->s[start] == '0' && j->at > start + 1))
        return jscan_fail(j, "a number");
    if (j->at < j->n && j->s[j->at] == '.') {
        j->at++;
        if (!jscan_digits(j))
            return jscan_fail(j, "a digit");
    }
    if (j->at < j->n && (j->s[j->at] | 0x20) == 'e') {
        j->at++;
        j->at += j->at < j->n && (j->s[j->at] == '-' || j->s[j->at] == '+');
        if (!jscan_digits(j))
            return jscan_fail(j, "a digit");
    }
    return BR_OK;
}

static int skip_word(struct br__jscan *j)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < BR_COUNTOF(words); i++) {
        size_t n = strlen(words[i]);
        if (j->n - j->at >= n && memcmp(j->s + j->at, words[i], n) == 0) {
            j->at += n;
            return BR_OK;
        }
    }
    return jscan_fail(j, "a JSON value");
}

static int skip_scalar(struct br__jscan *j, char kind, struct br__buf *scratch)
{
    scratch->n = 0;
    if (kind == 's')
        return br__jscan_string(j, scratch);
    if (kind == 'n')
        return skip_number(j);
    return kind ? skip_word(j) : jscan_fail(j, "a JSON value");
}

int br__jscan_skip(struct br__jscan *j)
{
    struct br__buf scratch = {0};
    int outside = j->depth;
    do {
        char kind = br__jscan_kind(j);
        if (kind == 'o' || kind == 'a')
            br__jscan_enter(j, kind);
        else
            skip_scalar(j, kind, &scratch);
        while (!j->rc && j->depth > outside && !br__jscan_next(j))
            ;
        if (!j->rc && j->depth > outside && j->closing[j->depth - 1] == '}')
            br__jscan_key(j, &scratch);
    } while (!j->rc && j->depth > outside);
    br__buf_free(&scratch);
    return j->rc;
}

int br__jscan_end(struct br__jscan *j)
{
    if (jscan_peek(j) >= 0)
        return jscan_fail(j, "the end of the text");
    return j->rc;
}
