/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* chars.c - characters of UTF-8: positions, white space, case, stripping.
 *
 * White space is that of Python's str.isspace.  Categories and simple case mappings come from
 * utf8proc; mappings to more than one letter are those of Unicode's SpecialCasing.txt that depend
 * on no language. */
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

struct char_range {
    uint32_t first, last;
};

static int in_ranges(uint32_t c, const struct char_range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last)
            return 1;
    return 0;
}

/* Unicode's Other_Lowercase and Other_Uppercase: cased, though of no category of letters with case.
 */
/* clang-format off */
static const struct char_range other_lower[] = {
    {0xAA, 0xAA}, {0xBA, 0xBA}, {0x2B0, 0x2B8}, {0x2C0, 0x2C1}, {0x2E0, 0x2E4}, {0x345, 0x345},
    {0x37A, 0x37A}, {0x1D2C, 0x1D6A}, {0x1D78, 0x1D78}, {0x1D9B, 0x1DBF}, {0x2071, 0x2071},
    {0x207F, 0x207F}, {0x2090, 0x209C}, {0x2170, 0x217F}, {0x24D0, 0x24E9}, {0x2C7C, 0x2C7D},
    {0xA69C, 0xA69D}, {0xA770, 0xA770}, {0xA7F8, 0xA7F9}, {0xAB5C, 0xAB5F}, {0x10780, 0x10780},
    {0x10783, 0x10785}, {0x10787, 0x107B0}, {0x107B2, 0x107BA},
};
static const struct char_range other_upper[] = {
    {0x2160, 0x216F}, {0x24B6, 0x24CF}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189},
};
/* clang-format on */

int br__jj_case_of(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
        return BR__JJ_UPPER;
    case UTF8PROC_CATEGORY_LT:
        return BR__JJ_TITLE;
    case UTF8PROC_CATEGORY_LL:
        return BR__JJ_LOWER;
    default:
        if (c < 0x80)
            return -1;
        return in_ranges(c, other_lower, BR_COUNTOF(other_lower))   ? BR__JJ_LOWER
               : in_ranges(c, other_upper, BR_COUNTOF(other_upper)) ? BR__JJ_UPPER
                                                                    : -1;
    }
}

/* Upper and title case of more than one letter; without U+1F80 to U+1FAF, which follow a rule. */
/* clang-format off */
static const struct special_case {
    uint16_t c, upper[3], title[3];
} specials[] = {
    {0xDF, {0x53, 0x53}, {0x53, 0x73}}, {0x149, {0x2BC, 0x4E}, {0x2BC, 0x4E}},
    {0x1F0, {0x4A, 0x30C}, {0x4A, 0x30C}}, {0x390, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x3B0, {0x3A5, 0x308, 0x301}, {0x3A5, 0x308, 0x301}}, {0x587, {0x535, 0x552}, {0x535, 0x582}},
    {0x1E96, {0x48, 0x331}, {0x48, 0x331}}, {0x1E97, {0x54, 0x308}, {0x54, 0x308}},
    {0x1E98, {0x57, 0x30A}, {0x57, 0x30A}}, {0x1E99, {0x59, 0x30A}, {0x59, 0x30A}},
    {0x1E9A, {0x41, 0x2BE}, {0x41, 0x2BE}}, {0x1F50, {0x3A5, 0x313}, {0x3A5, 0x313}},
    {0x1F52, {0x3A5, 0x313, 0x300}, {0x3A5, 0x313, 0x300}},
    {0x1F54, {0x3A5, 0x313, 0x301}, {0x3A5, 0x313, 0x301}},
    {0x1F56, {0x3A5, 0x313, 0x342}, {0x3A5, 0x313, 0x342}},
    {0x1FB2, {0x1FBA, 0x399}, {0x1FBA, 0x345}}, {0x1FB3, {0x391, 0x399}, {0x1FBC}},
    {0x1FB4, {0x386, 0x399}, {0x386, 0x345}}, {0x1FB6, {0x391, 0x342}, {0x391, 0x342}},
    {0x1FB7, {0x391, 0x342, 0x399}, {0x391, 0x342, 0x345}}, {0x1FBC, {0x391, 0x399}, {0x1FBC}},
    {0x1FC2, {0x1FCA, 0x399}, {0x1FCA, 0x345}}, {0x1FC3, {0x397, 0x399}, {0x1FCC}},
    {0x1FC4, {0x389, 0x399}, {0x389, 0x345}}, {0x1FC6, {0x397, 0x342}, {0x397, 0x342}},
    {0x1FC7, {0x397, 0x342, 0x399}, {0x397, 0x342, 0x345}}, {0x1FCC, {0x397, 0x399}, {0x1FCC}},
    {0x1FD2, {0x399, 0x308, 0x300}, {0x399, 0x308, 0x300}},
    {0x1FD3, {0x399, 0x308, 0x301}, {0x399, 0x308, 0x301}},
    {0x1FD6, {0x399, 0x342}, {0x399, 0x342}},
    {0x1FD7, {0x399, 0x308, 0x342}, {0x399, 0x308, 0x342}},
    {0x1FE2, {0x3A5, 0x308, 0x300}, {0x3A5, 0x308, 0x300}},
    {0x1FE3, {0x3A5, 0x308, 0x301}, {0x3A5, 0x308, 0x301}},
    {0x1FE4, {0x3A1, 0x313}, {0x3A1, 0x313}}, {0x1FE6, {0x3A5, 0x342}, {0x3A5, 0x342}},
    {0x1FE7, {0x3A5, 0x308, 0x342}, {0x3A5, 0x308, 0x342}},
    {0x1FF2, {0x1FFA, 0x399}, {0x1FFA, 0x345}}, {0x1FF3, {0x3A9, 0x399}, {0x1FFC}},
    {0x1FF4, {0x38F, 0x399}, {0x38F, 0x345}}, {0x1FF6, {0x3A9, 0x342}, {0x3A9, 0x342}},
    {0x1FF7, {0x3A9, 0x342, 0x399}, {0x3A9, 0x342, 0x345}}, {0x1FFC, {0x3A9, 0x399}, {0x1FFC}},
    {0xFB00, {0x46, 0x46}, {0x46, 0x66}}, {0xFB01, {0x46, 0x49}, {0x46, 0x69}},
    {0xFB02, {0x46, 0x4C}, {0x46, 0x6C}}, {0xFB03, {0x46, 0x46, 0x49}, {0x46, 0x66, 0x69}},
    {0xFB04, {0x46, 0x46, 0x4C}, {0x46, 0x66, 0x6C}}, {0xFB05, {0x53, 0x54}, {0x53, 0x74}},
    {0xFB06, {0x53, 0x54}, {0x53, 0x74}}, {0xFB13, {0x544, 0x546}, {0x544, 0x576}},
    {0xFB14, {0x544, 0x535}, {0x544, 0x565}}, {0xFB15, {0x544, 0x53B}, {0x544, 0x56B}},
    {0xFB16, {0x54E, 0x546}, {0x54E, 0x576}}, {0xFB17, {0x544, 0x53D}, {0x544, 0x56D}},
};
/* clang-format on */

/* Append the full upper or title case of c: 1, or 0 if it is a single letter. */
static int put_special(struct br__buf *b, uint32_t c, int to)
{
    /* Greek vowels with an iota below, eight and eight: alpha, eta, omega */
    static const uint16_t bare[] = {0x1F08, 0x1F28, 0x1F68};

    if (c >= 0x1F80 && c <= 0x1FAF && to == BR__JJ_UPPER) {
        br__jj_put_char(b, bare[(c - 0x1F80) / 16] + c % 8u);
        br__jj_put_char(b, 0x399);
        return 1;
    }
    size_t low = 0, high = BR_COUNTOF(specials);
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (specials[mid].c < c)
            low = mid + 1;
        else
            high = mid;
    }
    if (low == BR_COUNTOF(specials) || specials[low].c != c)
        return 0;
    const uint16_t *out = to == BR__JJ_UPPER ? specials[low].upper : specials[low].title;
    for (int i = 0; i < 3 && out[i]; i++)
        br__jj_put_char(b, out[i]);
    return 1;
}

/* Unicode's Case_Ignorable. */
static int is_case_ignorable(uint32_t c)
{
    static const uint16_t marks[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,
                                     0x5F4,  0x2018, 0x2019, 0x2024, 0x2027, 0xFE13,
                                     0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};

    for (size_t i = 0; i < BR_COUNTOF(marks); i++)
        if (c == marks[i])
            return 1;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return 1;
    default:
        return 0;
    }
}

/* Does the capital sigma at s[at], two bytes, end a word of s? */
static int ends_word(struct br__jj *j, struct br__jv s, size_t at)
{
    size_t i = at;
    uint32_t c = 0;

    while (i > 0 && br__jj_step(j, 1)) {
        i--;
        while (i > 0 && ((unsigned char)s.s[i] & 0xC0) == 0x80)
            i--;
        br__jj_char(s.s + i, &c);
        if (!is_case_ignorable(c))
            break;
        c = 0;
    }
    if (!c || br__jj_case_of(c) < 0)
        return 0;
    for (i = at + 2; i < s.n && br__jj_step(j, 1);) {
        i += br__jj_char(s.s + i, &c);
        if (!is_case_ignorable(c))
            return br__jj_case_of(c) < 0;
    }
    return 1;
}

static uint32_t simple_case(uint32_t c, int to)
{
    utf8proc_int32_t x = (utf8proc_int32_t)c;

    return (uint32_t)(to == BR__JJ_UPPER   ? utf8proc_toupper(x)
                      : to == BR__JJ_TITLE ? utf8proc_totitle(x)
                                           : utf8proc_tolower(x));
}

size_t br__jj_put_case(struct br__jj *j, struct br__buf *b, struct br__jv s, size_t at, int to)
{
    uint32_t c;
    size_t k = br__jj_char(s.s + at, &c);

    if (to == BR__JJ_LOWER && c == 0x3A3) {
        br__jj_put_char(b, ends_word(j, s, at) ? 0x3C2 : 0x3C3);
    } else if (to == BR__JJ_LOWER && c == 0x130) {
        br__jj_put_char(b, 'i');
        br__jj_put_char(b, 0x307);
    } else if (to == BR__JJ_LOWER || c < 0x80 || !put_special(b, c, to)) {
        br__jj_put_char(b, simple_case(c, to));
    }
    return k;
}

/* ---- questions ------------------------------------------------------------------------------- */

int br__jj_is_alpha(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

int br__jj_is_alnum(uint32_t c)
{
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return br__jj_is_alpha(c) || (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

int br__jj_is_decimal(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_ND;
}

int br__jj_is_digit(uint32_t c)
{
    /* superscripts, and digits in circles and the like: category No, with the value of a digit */
    static const struct char_range others[] = {
        {0xB2, 0xB3},       {0xB9, 0xB9},       {0x1369, 0x1371},   {0x19DA, 0x19DA},
        {0x2070, 0x2070},   {0x2074, 0x2079},   {0x2080, 0x2089},   {0x2460, 0x2468},
        {0x2474, 0x247C},   {0x2488, 0x2490},   {0x24EA, 0x24EA},   {0x24F5, 0x24FD},
        {0x24FF, 0x24FF},   {0x2776, 0x277E},   {0x2780, 0x2788},   {0x278A, 0x2792},
        {0x10A40, 0x10A43}, {0x10E60, 0x10E68}, {0x11052, 0x1105A}, {0x1F100, 0x1F10A},
    };

    return br__jj_is_decimal(c) || in_ranges(c, others, BR_COUNTOF(others));
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
