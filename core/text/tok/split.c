/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* split.c - text -> pieces, each of which is encoded on its own; the only user of PCRE2.
 *
 * The pattern of Qwen2 and all later Qwen models is scanned by hand.  Any other pattern is run by
 * PCRE2, which is also what the hand scanner is tested against.
 *
 * Patterns are written for Oniguruma, whose \s is Unicode's White_Space and whose \w has marks.
 * PCRE2's differ, so they are spelled out for it.  Classes are those of PCRE2's version of Unicode.
 */
#include "../text.h"
#include "tok.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

const char br__tok_qwen2_pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
                                     "\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
                                     "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
/* What ByteLevel splits by when use_regex is set. */
const char br__tok_gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

/* ---- Qwen2's pattern by hand ----------------------------------------------------------------- */

/* clang-format off */
#define O BR__TOK_OTHER
#define L BR__TOK_LETTER
#define N BR__TOK_NUMBER
#define S BR__TOK_SPACE
static const uint8_t ascii_class[128] = {
    O, O, O, O, O, O, O, O, O, S, S, S, S, S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O,
    S, O, O, O, O, O, O, O, O, O, O, O, O, O, O, O, N, N, N, N, N, N, N, N, N, N, O, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
    O, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, L, O, O, O, O, O,
};
#undef O
#undef L
#undef N
#undef S
/* clang-format on */

static inline unsigned class_at(const struct br__tok_unicode *u, const unsigned char *s,
                                size_t *len)
{
    if (*s < 0x80)
        return *len = 1, ascii_class[*s];
    return br__tok_props(u, br__tok_char(s, len)) & BR__TOK_CLASS;
}

static inline const unsigned char *skip_class(const struct br__tok_unicode *u,
                                              const unsigned char *s, const unsigned char *end,
                                              unsigned class)
{
    size_t len;
    while (s < end && class_at(u, s, &len) == class)
        s += len;
    return s;
}

static inline int is_break(unsigned char c)
{
    return c == '\r' || c == '\n';
}

/* [^\s\p{L}\p{N}]+[\r\n]*, of which the first character is behind s. */
static const unsigned char *skip_signs(const struct br__tok_unicode *u, const unsigned char *s,
                                       const unsigned char *end)
{
    s = skip_class(u, s, end, BR__TOK_OTHER);
    while (s < end && is_break(*s))
        s++;
    return s;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d) at s, an apostrophe; NULL if it is none of them. */
static const unsigned char *skip_contraction(const unsigned char *s, const unsigned char *end)
{
    size_t n = (size_t)(end - s);
    int a = n > 1 ? s[1] | 0x20 : 0, b = n > 2 ? s[2] | 0x20 : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return s + 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l'))
        return s + 3;
    if (n > 2 && s[1] == 0xC5 && s[2] == 0xBF)
        return s + 3; /* U+017F, the long s, is an s whatever its case */
    return NULL;
}

/* \s*[\r\n]+|\s+(?!\S)|\s+ at s: all blanks up to the last line break among them; else all of them
 * at the end of the text, all but the last before a word, which takes that one, or the only one. */
static const unsigned char *skip_blanks(const struct br__tok_unicode *u, const unsigned char *s,
                                        const unsigned char *end)
{
    const unsigned char *after_break = NULL, *last = s, *at = s;
    size_t len;
    while (at < end && class_at(u, at, &len) == BR__TOK_SPACE) {
        last = at;
        at += len;
        if (is_break(*last))
            after_break = at;
    }
    if (after_break)
        return after_break;
    return at == end || last == s ? at : last;
}

const unsigned char *br__tok_qwen2_next(const struct br__tok_unicode *u, const unsigned char *s,
                                        const unsigned char *end)
{
    size_t len, len2;
    unsigned class = class_at(u, s, &len);
    const unsigned char *next = s + len;
    if (class == BR__TOK_LETTER)
        return skip_class(u, next, end, BR__TOK_LETTER);
    if (class == BR__TOK_NUMBER)
        return next;
    if (*s == '\'') {
        const unsigned char *after = skip_contraction(s, end);
        if (after)
            return after;
    }
    if (next < end && !is_break(*s)) {
        unsigned class2 = class_at(u, next, &len2);
        if (class2 == BR__TOK_LETTER)
            return skip_class(u, next + len2, end, BR__TOK_LETTER);
        if (class2 == BR__TOK_OTHER && *s == ' ')
            return skip_signs(u, next + len2, end);
    }
    return class == BR__TOK_OTHER ? skip_signs(u, next, end) : skip_blanks(u, s, end);
}

/* ---- any pattern ----------------------------------------------------------------------------- */

struct br__tok_split {
    pcre2_code *code;
};

/* The pattern with \s, \S, \w and \W spelled out. */
static int split_translate(const char *pattern, struct br__buf *out, struct br_err *err)
{
    static const char blanks[] = "\\x{9}-\\x{d}\\x{85}\\p{Z}";
    static const char word[] = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
    int in_set = 0;
    for (const char *p = pattern; *p; p++) {
        if (*p != '\\') {
            in_set = *p == '[' ? 1 : *p == ']' ? 0 : in_set;
            br__buf_putc(out, *p);
            continue;
        }
        p++;
        if (*p == 's')
            br__buf_printf(out, in_set ? "%s" : "[%s]", blanks);
        else if (*p == 'S' && !in_set)
            br__buf_printf(out, "[^%s]", blanks);
        else if (*p == 'w' || (*p == 'W' && !in_set))
            br__buf_printf(out, in_set ? "%s" : *p == 'w' ? "[%s]" : "[^%s]", word);
        else if (!*p || strchr("SWhHGKRXyY", *p)) /* another meaning than PCRE2's, or none */
            return br_fail(err, BR_E_UNSUPPORTED, "split pattern '%s': \\%c cannot stand there",
                           pattern, *p ? *p : ' ');
        else
            br__buf_printf(out, "\\%c", *p);
    }
    return out->failed ? br_fail(err, out->failed, "out of memory for a pattern") : BR_OK;
}

/* `flags` of PCRE2.  A pattern that can match nothing would cut text at such places: refused. */
static int split_compile(struct br__tok_split **out, const char *given, const char *translated,
                         size_t n, uint32_t flags, struct br_err *err)
{
    PCRE2_UCHAR text[200] = "";
    uint32_t empty = 0;
    int code;
    PCRE2_SIZE at;
    struct br__tok_split *p = br__calloc(1, sizeof *p);

    *out = NULL;
    if (!p)
        return br__nomem(err, "for a pattern");
    p->code = pcre2_compile((PCRE2_SPTR)translated, n, flags, &code, &at, NULL);
    if (!p->code) {
        br__free(p);
        pcre2_get_error_message(code, text, sizeof text);
        return br_fail(err, BR_E_UNSUPPORTED, "split pattern '%s': %s", given, (char *)text);
    }
    if (!pcre2_pattern_info(p->code, PCRE2_INFO_MATCHEMPTY, &empty) && empty) {
        br__tok_split_close(p);
        return br_fail(err, BR_E_UNSUPPORTED, "split pattern '%s' can match an empty text", given);
    }
    /* Where there is no JIT the interpreter runs it, five times slower. */
    (void)!pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    *out = p;
    return BR_OK;
}

int br__tok_split_open(struct br__tok_split **out, const char *pattern, struct br_err *err)
{
    struct br__buf b = {.max = 1u << 16};

    *out = NULL;
    int rc = split_translate(pattern, &b, err);
    if (!rc) /* Oniguruma's ^ and $ are those of lines */
        rc = split_compile(out, pattern, b.p ? b.p : "", b.n,
                           PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, err);
    br__buf_free(&b);
    return rc;
}

int br__tok_split_open_text(struct br__tok_split **out, const char *text, struct br_err *err)
{
    return split_compile(out, text, text, strlen(text), PCRE2_UTF | PCRE2_LITERAL, err);
}

void br__tok_split_close(struct br__tok_split *p)
{
    if (!p)
        return;
    pcre2_code_free(p->code);
    br__free(p);
}

void br__tok_splitter_free(struct br__tok_splitter *sp)
{
    pcre2_match_data_free(sp->match);
    *sp = (struct br__tok_splitter){0};
}

int br__tok_split_find(const struct br__tok_split *p, struct br__tok_splitter *sp,
                       const unsigned char *s, size_t n, size_t at, struct br_err *err)
{
    PCRE2_UCHAR text[200] = "";
    if (!sp->match)
        sp->match = pcre2_match_data_create(1, NULL);
    if (!sp->match)
        return br__nomem(err, "splitting text");
    sp->start = sp->end = n;
    int rc = pcre2_match(p->code, s, n, at, PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, sp->match, NULL);
    if (rc == PCRE2_ERROR_NOMATCH)
        return BR_OK;
    if (rc < 0) {
        pcre2_get_error_message(rc, text, sizeof text);
        return br_fail(err, BR_E_UNSUPPORTED, "the split pattern fails at byte %zu of %zu: %s", at,
                       n, (char *)text);
    }
    const PCRE2_SIZE *found = pcre2_get_ovector_pointer(sp->match);
    if (found[0] < at ||
        found[1] <= found[0]) /* \K in a pattern can move the beginning of a match */
        return br_fail(err, BR_E_UNSUPPORTED, "the split pattern matches backwards");
    sp->start = found[0];
    sp->end = found[1];
    return BR_OK;
}

int br__tok_split_next(const struct br__tok_split *p, struct br__tok_splitter *sp,
                       const unsigned char *s, size_t n, size_t at, size_t *end, struct br_err *err)
{
    /* What stands between two matches is a piece too, given out before the second. */
    int pending = at > 0 && at == sp->start && sp->done == at && sp->end > at;
    if (!pending) {
        int rc = br__tok_split_find(p, sp, s, n, at, err);
        if (rc)
            return rc;
    }
    *end = sp->start > at ? sp->start : sp->end;
    sp->done = *end;
    return BR_OK;
}

const char *br__pcre2_version(struct br__arena *a)
{
    char text[64] = "";
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof text)
        pcre2_config(PCRE2_CONFIG_VERSION, text);
    return br__arena_strdup(a, text);
}
