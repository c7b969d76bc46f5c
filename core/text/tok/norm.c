/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* norm.c - Unicode for the tokenizer: classes of characters, and NFC; the only user of utf8proc.
 * Facts come from utf8proc's tables.  Token ids have to be those of Hugging Face's tokenizers,
 * which use two other sources, so two short tables here bring the versions in line: their regular
 * expressions know the letters and numbers of Unicode 16 (utf8proc 2.8 those of 15), their
 * normalizer knows the marks of Unicode 9 only and leaves younger ones in place.  Both were found
 * by asking tokenizers 0.23 about every character; tests/oracle/tokenizer_unicode.py asks again. */
#include "../text.h"
#include "tok.h"

#include <string.h>
#include <utf8proc.h>

struct range {
    uint32_t first, last;
};

/* clang-format off */
static const struct range letters_16[] = {
    {0x1C89, 0x1C8A}, {0xA7CB, 0xA7CD}, {0xA7DA, 0xA7DC}, {0x105C0, 0x105F3}, {0x10D4A, 0x10D65},
    {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389}, {0x1138B, 0x1138B},
    {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7}, {0x113D1, 0x113D1},
    {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA}, {0x16100, 0x1611D},
    {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED}, {0x1E5F0, 0x1E5F0},
    {0x2EBF0, 0x2EE5D},
};
static const struct range numbers_16[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9}, {0x16130, 0x16139},
    {0x16D70, 0x16D79}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};
/* Combining marks assigned after Unicode 9 (1e4ec: 15), and the vowel sign U+11930, which composes. */
static const struct range young_marks[] = {
    {0x07FD, 0x07FD}, {0x0898, 0x089F}, {0x08CA, 0x08D3}, {0x09FE, 0x09FE}, {0x0C3C, 0x0C3C},
    {0x0D3B, 0x0D3C}, {0x0EBA, 0x0EBA}, {0x1715, 0x1715}, {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA},
    {0xA82C, 0xA82C}, {0x10D24, 0x10D27}, {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF},
    {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070}, {0x1133B, 0x1133B},
    {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x11930, 0x11930}, {0x1193D, 0x1193E},
    {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1}, {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136},
    {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF}, {0x1E4EC, 0x1E4EF},
};
/* Punctuation assigned or made so after Unicode 8, which the pre-tokenizer Punctuation knows, and what is
 * no longer punctuation; numbers of Unicode 17, which Digits knows. */
static const struct range young_punctuation[] = {
    {0x061D, 0x061D}, {0x09FD, 0x09FD}, {0x0A76, 0x0A76}, {0x0C77, 0x0C77}, {0x0C84, 0x0C84},
    {0x1B7D, 0x1B7E}, {0x2E43, 0x2E4F}, {0x2E52, 0x2E5D}, {0x10EAD, 0x10EAD}, {0x10F55, 0x10F59},
    {0x10F86, 0x10F89}, {0x1144B, 0x1144F}, {0x1145A, 0x1145B}, {0x1145D, 0x1145D},
    {0x11660, 0x1166C}, {0x116B9, 0x116B9}, {0x1183B, 0x1183B}, {0x11944, 0x11946},
    {0x119E2, 0x119E2}, {0x11A3F, 0x11A46}, {0x11A9A, 0x11A9C}, {0x11A9E, 0x11AA2},
    {0x11B00, 0x11B09}, {0x11C41, 0x11C45}, {0x11C70, 0x11C71}, {0x11EF7, 0x11EF8},
    {0x11F43, 0x11F4F}, {0x11FFF, 0x11FFF}, {0x12FF1, 0x12FF2}, {0x16E97, 0x16E9A},
    {0x16FE2, 0x16FE2}, {0x1E95E, 0x1E95F},
};
static const struct range old_punctuation[] = {{0x166D, 0x166D}, {0x111C9, 0x111C9}};
static const struct range numbers_17[] = {{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}};
/* clang-format on */

/* ---- questions of the pre-tokenizers --------------------------------------------------------- */

static int in_ranges(uint32_t c, const struct range *r, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= r[i].first && c <= r[i].last)
            return 1;
    return 0;
}

int br__tok_is_numeric(const struct br__tok_unicode *u, uint32_t c)
{
    return (br__tok_props(u, c) & BR__TOK_CLASS) == BR__TOK_NUMBER ||
           in_ranges(c, numbers_17, BR_COUNTOF(numbers_17));
}

int br__tok_is_punctuation(uint32_t c)
{
    if (c < 0x80)
        return c > ' ' && c < 0x7F &&
               !((c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z'));
    utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    if (k < UTF8PROC_CATEGORY_PC || k > UTF8PROC_CATEGORY_PO)
        return in_ranges(c, old_punctuation, BR_COUNTOF(old_punctuation));
    return !in_ranges(c, young_punctuation, BR_COUNTOF(young_punctuation));
}

/* ---- properties of all characters ------------------------------------------------------------ */

static void set_bits(struct br__tok_unicode *u, uint32_t c, unsigned clear, unsigned bits)
{
    int shift = (int)(c & 1) * 4;
    u->pairs[c >> 1] = (uint8_t)((u->pairs[c >> 1] & ~(clear << shift)) | bits << shift);
}

static void set_ranges(struct br__tok_unicode *u, const struct range *r, size_t n, unsigned clear,
                       unsigned bits)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = r[i].first; c <= r[i].last; c++)
            set_bits(u, c, clear, bits);
}

static unsigned class_of(uint32_t c, int category)
{
    if (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO)
        return BR__TOK_LETTER;
    if (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO)
        return BR__TOK_NUMBER;
    if (category >= UTF8PROC_CATEGORY_ZS && category <= UTF8PROC_CATEGORY_ZP)
        return BR__TOK_SPACE;
    return (c >= 0x09 && c <= 0x0D) || c == 0x85 ? BR__TOK_SPACE : BR__TOK_OTHER;
}

/* A character with a canonical decomposition: every part but the first may compose with what
 * precedes it.  The character is not NFC unless composing its parts gives it back. */
static void note_decomposition(struct br__tok_unicode *u, uint32_t c)
{
    enum { ROOM = 8 }; /* the longest canonical decomposition has 4 */
    int32_t parts[ROOM];
    int boundary = 0;
    utf8proc_ssize_t n =
        utf8proc_decompose_char((int32_t)c, parts, ROOM, UTF8PROC_DECOMPOSE, &boundary);
    if (n < 1 || n > ROOM || (n == 1 && parts[0] == (int32_t)c))
        return;
    for (utf8proc_ssize_t i = 1; i < n; i++)
        set_bits(u, (uint32_t)parts[i], 0, BR__TOK_CARE | BR__TOK_COMPOSES);
    n = utf8proc_normalize_utf32(parts, n, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n != 1 || parts[0] != (int32_t)c)
        set_bits(u, c, 0, BR__TOK_CARE | BR__TOK_COMPOSES);
}

static int is_hangul(uint32_t c)
{
    return c >= 0xAC00 && c <= 0xD7A3;
}

void br__tok_unicode_init(struct br__tok_unicode *u)
{
    memset(u, 0, sizeof *u);
    for (uint32_t c = 0; c < BR__TOK_PROPS_END; c++) {
        const utf8proc_property_t *p = utf8proc_get_property((int32_t)c);
        unsigned bits = class_of(c, p->category);
        if (p->combining_class)
            bits |= BR__TOK_CARE;
        if (bits)
            set_bits(u, c, 0, bits);
        /* Eleven thousand syllables are made by rule of these: */
        if (p->decomp_seqindex != UINT16_MAX && !is_hangul(c))
            note_decomposition(u, c);
    }
    static const struct range vowels_and_tails[] = {{0x1161, 0x1175}, {0x11A8, 0x11C2}};
    set_ranges(u, vowels_and_tails, BR_COUNTOF(vowels_and_tails), 0,
               BR__TOK_CARE | BR__TOK_COMPOSES);
    set_ranges(u, letters_16, BR_COUNTOF(letters_16), BR__TOK_CLASS, BR__TOK_LETTER);
    set_ranges(u, numbers_16, BR_COUNTOF(numbers_16), BR__TOK_CLASS, BR__TOK_NUMBER);
    set_ranges(u, young_marks, BR_COUNTOF(young_marks), BR__TOK_CARE | BR__TOK_COMPOSES, 0);
}

/* ---- NFC ------------------------------------------------------------------------------------- */

static unsigned combining_class(uint32_t c)
{
    return utf8proc_get_property((int32_t)c)->combining_class;
}

/* Sort marks by their combining class, stable.  A run may be as long as the text, so this is a
 * counting sort; nearly all runs have one or two marks. */
static void sort_marks(int32_t *c, int32_t *room, size_t n)
{
    size_t start[257] = {0};
    if (n == 2 && combining_class((uint32_t)c[0]) <= combining_class((uint32_t)c[1]))
        return;
    for (size_t i = 0; i < n; i++)
        start[combining_class((uint32_t)c[i]) + 1]++;
    for (size_t k = 1; k < BR_COUNTOF(start); k++)
        start[k] += start[k - 1];
    for (size_t i = 0; i < n; i++)
        room[start[combining_class((uint32_t)c[i])]++] = c[i];
    memcpy(c, room, n * sizeof *c);
}

static void sort_all_marks(int32_t *c, int32_t *room, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t run = i;
        while (run < n && combining_class((uint32_t)c[run]))
            run++;
        if (run - i > 1)
            sort_marks(c + i, room, run - i);
        i = run + 1;
    }
}

/* Append the NFC of a span that the quick check did not accept.  utf8proc's own loop over strings
 * is not used: it orders marks in quadratic time. */
static int compose_span(const unsigned char *s, size_t n, struct br__buf *out, struct br_err *err)
{
    enum { LONGEST = 4, SMALL = 64 };
    int32_t small[2 * SMALL], *chars = small;
    size_t room = n * LONGEST, len, count = 0;
    int boundary = 0;
    if (room > SMALL)
        chars = br__alloc(2 * room * sizeof *chars);
    else
        room = SMALL;
    if (!chars)
        return br__nomem(err, "normalizing %zu bytes", n);
    for (size_t i = 0; i < n; i += len) {
        int32_t c = (int32_t)br__tok_char(s + i, &len);
        count += (size_t)utf8proc_decompose_char(c, chars + count, (utf8proc_ssize_t)LONGEST,
                                                 UTF8PROC_DECOMPOSE, &boundary);
    }
    sort_all_marks(chars, chars + room, count);
    count = (size_t)utf8proc_normalize_utf32(chars, (utf8proc_ssize_t)count,
                                             UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (size_t i = 0; i < count; i++) {
        unsigned char utf8[4];
        br__buf_put(out, utf8, (size_t)utf8proc_encode_char(chars[i], utf8));
    }
    if (chars != small)
        br__free(chars);
    return BR_OK;
}

/* The quick check of Unicode's annex 15: from `at`, which begins a character that composes with
 * nothing before it, to where text may not be NFC; n if it is.  *start is the last character before
 * that composes with nothing before it. */
static size_t quick_check(const struct br__tok_unicode *u, const unsigned char *s, size_t n,
                          size_t at, size_t *start)
{
    unsigned last = 0;
    size_t len;
    *start = at;
    while (at < n) {
        uint64_t eight;
        if (n - at >= 8 && (memcpy(&eight, s + at, 8), !(eight & UINT64_C(0x8080808080808080)))) {
            at += 8;
            *start = at - 1;
            last = 0;
            continue;
        }
        uint32_t c = br__tok_char(s + at, &len);
        unsigned props = c < 0x300 ? 0 : br__tok_props(u, c);
        if (!(props & BR__TOK_CARE)) {
            *start = at;
            last = 0;
        } else {
            unsigned class = combining_class(c);
            if (props & BR__TOK_COMPOSES || class < last)
                return at;
            last = class;
        }
        at += len;
    }
    return n;
}

/* The span around `at` that has to be composed, from *start to the result. */
static size_t span_end(const struct br__tok_unicode *u, const unsigned char *s, size_t n, size_t at,
                       size_t *start)
{
    size_t len;
    uint32_t c = br__tok_char(s + *start, &len);
    /* A mark newer than the Unicode version of the tokenizer must not be passed to utf8proc, which
     * would reorder it. */
    if (*start < at && !(br__tok_props(u, c) & BR__TOK_CARE) && combining_class(c))
        *start += len;
    while (at < n && br__tok_props(u, br__tok_char(s + at, &len)) & BR__TOK_CARE)
        at += len;
    return at;
}

int br__tok_nfc(const struct br__tok_unicode *u, const unsigned char *s, size_t n,
                struct br__buf *buf, const unsigned char **out, size_t *n_out, struct br_err *err)
{
    size_t start, done = 0, at = quick_check(u, s, n, 0, &start);
    *out = s;
    *n_out = n;
    if (at == n)
        return BR_OK;
    buf->n = 0;
    while (at < n) {
        size_t end = span_end(u, s, n, at, &start);
        br__buf_put(buf, s + done, start - done);
        int rc = compose_span(s + start, end - start, buf, err);
        if (rc)
            return rc;
        done = end;
        at = quick_check(u, s, n, end, &start);
    }
    br__buf_put(buf, s + done, n - done);
    if (buf->failed)
        return br_fail(err, BR_E_NOMEM, "cannot hold %zu bytes of normalized text in memory", n);
    *out = (const unsigned char *)buf->p;
    *n_out = buf->n;
    return BR_OK;
}

const char *br__utf8proc_version(struct br__arena *a)
{
    return br__arena_strdup(a, utf8proc_version());
}
