/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* buf.c - growable bytes.  Errors are sticky, so that a caller writes a whole text and looks at
 * `failed` once. */
#include "base.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BUF_MAX ((size_t)1 << 30)

/* Make room for n more bytes and the final NUL; 0 when the buffer has failed. */
static int make_room(struct br__buf *b, size_t n)
{
    size_t max = b->max ? b->max : BUF_MAX;
    if (b->failed)
        return 0;
    if (n > max || b->n > max - n) {
        b->failed = BR_E_FORMAT;
        return 0;
    }
    size_t need = b->n + n + 1;
    if (need <= b->cap)
        return 1;
    size_t cap = BR__MAX(BR__MAX(need, 64), BR__MIN(b->cap * 2, max + 1));
    char *p = br__realloc(b->p, cap);
    if (!p) {
        b->failed = BR_E_NOMEM;
        return 0;
    }
    b->p = p;
    b->cap = cap;
    return 1;
}

void br__buf_put(struct br__buf *b, const void *p, size_t n)
{
    if (!make_room(b, n))
        return;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    b->p[b->n] = '\0';
}

char *br__buf_room(struct br__buf *b, size_t n)
{
    return make_room(b, n) ? b->p + b->n : NULL;
}

void br__buf_puts(struct br__buf *b, const char *s)
{
    br__buf_put(b, s, strlen(s));
}

void br__buf_putc(struct br__buf *b, char c)
{
    br__buf_put(b, &c, 1);
}

void br__buf_vprintf(struct br__buf *b, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0)
        b->failed = b->failed ? b->failed : BR_E_FORMAT;
    else if (make_room(b, (size_t)n)) {
        vsnprintf(b->p + b->n, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    }
    va_end(again);
}

void br__buf_printf(struct br__buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    br__buf_vprintf(b, fmt, ap);
    va_end(ap);
}

/* One byte below 0x20, a quote or a backslash, in the short form where JSON has one. */
static void put_escape(struct br__buf *b, unsigned char c)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = c ? strchr(from, c) : NULL;
    if (at) {
        br__buf_putc(b, '\\');
        br__buf_putc(b, to[at - from]);
    } else {
        br__buf_printf(b, "\\u%04x", c);
    }
}

void br__buf_json_str(struct br__buf *b, const char *s)
{
    br__buf_json_text(b, s, strlen(s));
}

void br__buf_json_text(struct br__buf *b, const char *s, size_t n)
{
    br__buf_putc(b, '"');
    while (n > 0) {
        size_t good = br__utf8_span(s, n), run = 0;
        while (run < good && (unsigned char)s[run] >= 0x20 && s[run] != '"' && s[run] != '\\')
            run++;
        br__buf_put(b, s, run);
        s += run;
        n -= run;
        if (n == 0)
            break;
        /* File names may hold any bytes, JSON may not: U+FFFD stands for what is not UTF-8. */
        if (run == good)
            br__buf_puts(b, "\xEF\xBF\xBD");
        else
            put_escape(b, (unsigned char)*s);
        s++;
        n--;
    }
    br__buf_putc(b, '"');
}

void br__buf_base64(struct br__buf *b, const void *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *s = p;
    for (; n > 0; s += BR__MIN(n, (size_t)3), n -= BR__MIN(n, (size_t)3)) {
        uint32_t v = (uint32_t)s[0] << 16 | (n > 1 ? (uint32_t)s[1] << 8 : 0) | (n > 2 ? s[2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], n > 1 ? digits[v >> 6 & 63] : '=',
                        n > 2 ? digits[v & 63] : '='};
        br__buf_put(b, four, 4);
    }
}

/* The fewest significant digits that read back as v, as "d.ddde+XX". */
static void shortest_digits(double v, char *text, size_t size)
{
    for (int digits = 0; digits < 17; digits++) {
        snprintf(text, size, "%.*e", digits, v);
        if (strtod(text, NULL) == v)
            return;
        /* Above a power of two doubles lie twice as far apart as below it: there the next decimal
         * away from zero may read back where the nearest, below, does not. */
        char *last = strchr(text, 'e') - 1;
        if (*last < '9') {
            ++*last;
            if (strtod(text, NULL) == v)
                return;
        }
    }
}

void br__buf_double(struct br__buf *b, double v)
{
    char text[40], fixed[40];
    if (!isfinite(v)) {
        br__buf_puts(b, isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
        return;
    }
    shortest_digits(v, text, sizeof text);
    char *e = strchr(text, 'e');
    long exponent = strtol(e + 1, NULL, 10);
    if (exponent < -4 || exponent >= 16) {
        br__buf_puts(b, text);
        return;
    }
    /* Python's repr in this range: plain digits, at least one after the point. */
    long decimals = (long)(e - text) - (text[0] == '-') - 1 - exponent;
    if (decimals + exponent > 0)
        decimals--; /* the point itself */
    snprintf(fixed, sizeof fixed, "%.*f", (int)BR__MAX(decimals, 1), v);
    br__buf_puts(b, fixed);
}

void br__buf_free(struct br__buf *b)
{
    br__free(b->p);
    *b = (struct br__buf){.max = b->max};
}
