/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* chars.c - characters of UTF-8: positions, white space, case, stripping.
 *
 * White space is that of Python's str.isspace.  Categories and simple case mappings come from
 * utf8proc; of the mappings to more than one letter only that of the sharp s is here. */
#include "jinja.h"

#include <string.h>
#include <utf8proc.h>

size_t br__jj_char(const char *s, uint32_t *c)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t n = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 1;

    *c = n == 1 ? p[0] : p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        *c = *c << 6 | (p[i] & 0x3F);
    return n;
}

size_t br__jj_chars(const char *s, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += ((unsigned char)s[i] & 0xC0) != 0x80;
    return count;
}

size_t br__jj_char_at(const char *s, size_t n, size_t i)
{
    size_t at = 0;
    uint32_t c;

    for (; i > 0 && at < n; i--)
        at += br__jj_char(s + at, &c);
    return at;
}

int br__jj_is_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

void br__jj_put_char(struct br__buf *b, uint32_t c)
{
    utf8proc_uint8_t text[4];
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, text);

    br__buf_put(b, text, (size_t)n);
}

static int in_set(uint32_t c, const char *set, size_t n_set)
{
    uint32_t x;

    if (!set)
        return br__jj_is_space(c);
    for (size_t i = 0; i < n_set;) {
        i += br__jj_char(set + i, &x);
        if (x == c)
            return 1;
    }
    return 0;
}

struct br__jv br__jj_strip(struct br__jv s, const char *set, size_t n_set, int sides)
{
    uint32_t c;

    while ((sides & 1) && s.n) {
        size_t k = br__jj_char(s.s, &c);
        if (!in_set(c, set, n_set))
            break;
        s.s += k;
        s.n -= k;
    }
    while ((sides & 2) && s.n) {
        size_t k = s.n - 1;
        while (k > 0 && ((unsigned char)s.s[k] & 0xC0) == 0x80)
            k--;
        br__jj_char(s.s + k, &c);
        if (!in_set(c, set, n_set))
            break;
        s.n = k;
    }
    return s;
}

size_t br__jj_find(struct br__jj *j, struct br__jv in, size_t from, struct br__jv s)
{
    if (from > in.n || !br__jj_step(j, (in.n - from) / 64))
        return in.n + 1;
    if (s.n == 0)
        return from;
    const char *at = memmem(in.s + from, in.n - from, s.s, s.n);
    return at ? (size_t)(at - in.s) : in.n + 1;
}

int br__jj_case_of(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LT:
        return BR__JJ_UPPER;
    case UTF8PROC_CATEGORY_LL:
        return BR__JJ_LOWER;
    default:
        return -1;
    }
}

void br__jj_put_case(struct br__buf *b, const char *s, size_t n, int to)
{
    uint32_t c;

    for (size_t i = 0; i < n;) {
        i += br__jj_char(s + i, &c);
        if (to == BR__JJ_UPPER && c == 0xDF)
            br__buf_puts(b, "SS"); /* the one common letter whose upper case is longer */
        else if (to == BR__JJ_UPPER)
            br__jj_put_char(b, (uint32_t)utf8proc_toupper((utf8proc_int32_t)c));
        else
            br__jj_put_char(b, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
    }
}

int br__jj_is_printable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return 0;
    case UTF8PROC_CATEGORY_ZS:
        return c == ' ';
    default:
        return 1;
    }
}
