/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* text.c - small text helpers.
 *
 * Numbers are read and written in the C locale: the program never calls setlocale. */
#include "base_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int br__starts(const char *s, const char *prefix)
{
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

int br__ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && memcmp(s + n - k, suffix, k) == 0;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

int br__parse_i64(const char *s, int64_t *out)
{
    /* strtoll would also take blanks and a plus sign. */
    if (!is_digit(s[0] == '-' ? s[1] : s[0]))
        return BR_E_FORMAT;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || *end)
        return BR_E_FORMAT;
    *out = v;
    return BR_OK;
}

int br__parse_f64(const char *s, double *out)
{
    /* strtod would also take blanks, hexadecimal, "inf" and "nan". */
    if (!*s || s[strspn(s, "0123456789+-.eE")])
        return BR_E_FORMAT;
    char *end;
    double v = strtod(s, &end);
    if (end == s || *end || !isfinite(v))
        return BR_E_FORMAT;
    *out = v;
    return BR_OK;
}

int br__edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 128 }; /* longer names are compared up to here */
    int row[LONGEST + 1];
    int na = (int)strnlen(a, LONGEST), nb = (int)strnlen(b, LONGEST);
    for (int j = 0; j <= nb; j++)
        row[j] = j;
    for (int i = 1; i <= na; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= nb; j++) {
            int above = row[j];
            int best = BR__MIN(above, row[j - 1]) + 1;
            row[j] = BR__MIN(best, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[nb];
}

/* Compare the digit runs at *a and *b as numbers of any length, and step over them. */
static int cmp_numbers(const char **a, const char **b)
{
    while (**a == '0')
        ++*a;
    while (**b == '0')
        ++*b;
    size_t na = strspn(*a, "0123456789"), nb = strspn(*b, "0123456789");
    int c = na != nb ? (na < nb ? -1 : 1) : memcmp(*a, *b, na);
    *a += na;
    *b += nb;
    return c;
}

int br__natural_cmp(const char *a, const char *b)
{
    const char *x = a, *y = b;
    while (*x && *y) {
        if (is_digit(*x) && is_digit(*y)) {
            int c = cmp_numbers(&x, &y);
            if (c)
                return c;
        } else if (*x != *y) {
            break;
        } else {
            x++;
            y++;
        }
    }
    if (*x != *y)
        return (unsigned char)*x < (unsigned char)*y ? -1 : 1;
    return strcmp(a, b); /* "01" and "1": equal as numbers, still a total order */
}

const char *br__human_bytes(uint64_t n, char out[32])
{
    static const char *const unit[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double v = (double)n;
    size_t u = 0;
    while (v >= 999.995 && u + 1 < BR_COUNTOF(unit)) { /* 999.996 would print as 1000.00 */
        v /= 1000;
        u++;
    }
    if (u == 0)
        snprintf(out, 32, "%" PRIu64 " B", n);
    else
        snprintf(out, 32, "%.2f %s", v, unit[u]);
    return out;
}

const char *br__shape_str(const int64_t *shape, int n, char *out, size_t size)
{
    size_t at = 0;
    if (size == 0)
        return out;
    for (int i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%" PRId64, i ? ", " : "[", shape[i]);
    if (at < size)
        snprintf(out + at, size - at, n > 0 ? "]" : "[]");
    return out;
}

/* Length of the UTF-8 sequence at s, which has n bytes; 0 if there is no valid one.  Overlong
 * forms, surrogates and values beyond U+10FFFF are not valid. */
static size_t utf8_len(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xE0) /* two bytes: by far the most frequent of the rest */
        return s[0] >= 0xC2 && n >= 2 && (s[1] & 0xC0) == 0x80 ? 2 : 0;
    size_t len = s[0] >= 0xF0 ? 4 : 3;
    if (s[0] > 0xF4 || n < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return 0;
    return len;
}

size_t br__utf8_span(const char *text, size_t n)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8) { /* nearly all text is ASCII */
            memcpy(&eight, s + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        size_t len = utf8_len(s + i, n - i);
        if (len == 0)
            break;
        i += len;
    }
    return i;
}

int br__utf8_valid(const char *s, size_t n)
{
    return br__utf8_span(s, n) == n;
}

int32_t br__hex4(const unsigned char *s, size_t n, size_t *at)
{
    int32_t v = 0;
    for (int i = 0; i < 4; i++, ++*at) {
        int c = *at < n ? s[*at] : 0, low = c | 0x20;
        if (c >= '0' && c <= '9')
            v = v * 16 + c - '0';
        else if (low >= 'a' && low <= 'f')
            v = v * 16 + low - 'a' + 10;
        else
            return -1;
    }
    return v;
}

uint64_t br__gcd(uint64_t a, uint64_t b)
{
    while (b) {
        uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}
