/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* lex.c - the text of a template to tokens.
 *
 * The rules are those of Jinja2's lexer: line ends become \n and one at the end of the source goes;
 * blanks before a block or comment that begins its line go (lstrip_blocks), and one line end after
 * it (trim_blocks); `-` at a delimiter takes all white space on its side, `+` switches the two
 * settings off there.  Inside of brackets "}}" and "%}" do not end a tag. */
#include "jinja.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MAX_BRACKETS 256

struct lexer {
    struct br__arena *arena;
    char *src; /* normalised */
    size_t n, at;
    uint32_t line;
    size_t line_at; /* `line` is that of this byte */
    int line_start; /* what comes next stands at the beginning of a line */
    struct br__jj_tok *tok;
    size_t n_tok, cap;
    char open[MAX_BRACKETS];
    int n_open;
    struct br_err *err;
};

/* ---- helpers --------------------------------------------------------------------------------- */

static uint32_t line_of(struct lexer *l, size_t at)
{
    for (; l->line_at < at; l->line_at++)
        l->line += l->src[l->line_at] == '\n';
    return l->line;
}

#define BAD(l, at, ...) lex_bad((l), (at), __VA_ARGS__)
static int lex_bad(struct lexer *l, size_t at, const char *fmt, ...) BR_PRINTF(3, 4);
static int lex_bad(struct lexer *l, size_t at, const char *fmt, ...)
{
    char text[200];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return br_fail(l->err, BR_E_FORMAT, "line %u: %s", line_of(l, at), text);
}

static int lex_add(struct lexer *l, int kind, size_t at, const char *s, size_t n)
{
    if (br__grow(&l->tok, &l->cap, l->n_tok, sizeof *l->tok))
        return br__nomem(l->err, "reading a template");
    l->tok[l->n_tok++] = (struct br__jj_tok){.kind = kind, .line = line_of(l, at), .s = s, .n = n};
    return BR_OK;
}

static int is_at(const struct lexer *l, size_t at, const char *s)
{
    size_t n = strlen(s);
    return l->n - at >= n && memcmp(l->src + at, s, n) == 0;
}

static size_t skip_space(const struct lexer *l, size_t at)
{
    uint32_t c;

    while (at < l->n) {
        size_t k = br__jj_char(l->src + at, &c);
        if (!br__jj_is_space(c))
            break;
        at += k;
    }
    return at;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_name(char c)
{
    return c == '_' || is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (unsigned char)c >= 0x80;
}

/* ---- text between tags ----------------------------------------------------------------------- */

/* The text [from, to) before a tag whose delimiter is followed by `mark`; `block`: the delimiter is
 * not that of a variable. */
static int add_data(struct lexer *l, size_t from, size_t to, char mark, int block)
{
    size_t at = from;

    if (mark == '-') {
        to = from + br__jj_strip(br__jv_slice(l->src + from, to - from), NULL, 0, 2).n;
    } else if (block && mark != '+') {
        size_t line = to;
        while (line > from && l->src[line - 1] != '\n')
            line--;
        if ((line > from || l->line_start) && skip_space(l, line) >= to)
            to = line;
    }
    return to > at ? lex_add(l, BR__JT_DATA, at, l->src + at, to - at) : BR_OK;
}

/* Length of a block's end delimiter at `at`, with what it takes of the following text; 0 if none.
 * `end` is "%}" or "#}". */
static size_t block_end(const struct lexer *l, size_t at, const char *end)
{
    if (at < l->n && l->src[at] == '+' && is_at(l, at + 1, end))
        return 3;
    if (at < l->n && l->src[at] == '-' && is_at(l, at + 1, end))
        return skip_space(l, at + 3) - at;
    if (is_at(l, at, end))
        return 2 + (at + 2 < l->n && l->src[at + 2] == '\n');
    return 0;
}

static size_t var_end(const struct lexer *l, size_t at)
{
    if (at < l->n && l->src[at] == '-' && is_at(l, at + 1, "}}"))
        return skip_space(l, at + 3) - at;
    return is_at(l, at, "}}") ? 2 : 0;
}

static void move_to(struct lexer *l, size_t at)
{
    l->at = at;
    l->line_start = at == 0 || l->src[at - 1] == '\n';
}

static char mark_at(const struct lexer *l, size_t at)
{
    return at < l->n && (l->src[at] == '-' || l->src[at] == '+') ? l->src[at] : 0;
}

static int lex_comment(struct lexer *l, size_t begin)
{
    size_t at = begin + 2 + (mark_at(l, begin + 2) != 0);

    for (; at < l->n; at++) {
        size_t k = block_end(l, at, "#}");
        if (k) {
            move_to(l, at + k);
            return BR_OK;
        }
    }
    return BAD(l, begin, "the comment does not end; '#}' is missing");
}

/* After "{%", an optional mark and the word: the byte behind it, or 0 if it is another word. */
static size_t raw_word(const struct lexer *l, size_t begin, const char *word)
{
    if (!is_at(l, begin, "{%"))
        return 0;
    size_t at = skip_space(l, begin + 2 + (mark_at(l, begin + 2) != 0));
    if (!is_at(l, at, word))
        return 0;
    return skip_space(l, at + strlen(word));
}

/* Byte behind "{% raw %}", or 0 if that is not what stands here. */
static size_t raw_begin(const struct lexer *l, size_t begin)
{
    size_t at = raw_word(l, begin, "raw");

    if (at && is_at(l, at, "-%}"))
        return skip_space(l, at + 3);
    return at && is_at(l, at, "%}") ? at + 2 : 0;
}

static int lex_raw(struct lexer *l, size_t begin, size_t from)
{
    move_to(l, from);
    for (size_t at = from; at < l->n; at++) {
        size_t word = raw_word(l, at, "endraw");
        size_t k = word ? block_end(l, word, "%}") : 0;
        if (!k)
            continue;
        int rc = add_data(l, from, at, mark_at(l, at + 2), 1);
        move_to(l, word + k);
        return rc;
    }
    return BAD(l, begin, "'raw' does not end; '{%% endraw %%}' is missing");
}

/* ---- inside of a tag ------------------------------------------------------------------------- */

/* Digits with single underscores between them; the byte behind. */
static size_t lex_digits(const struct lexer *l, size_t at)
{
    while (at < l->n && (is_digit(l->src[at]) ||
                         (l->src[at] == '_' && at + 1 < l->n && is_digit(l->src[at + 1]))))
        at++;
    return at;
}

/* Byte behind a fraction and an exponent that follow the digits that end at `at`. */
static size_t float_end(const struct lexer *l, size_t at)
{
    if (at + 1 < l->n && l->src[at] == '.' && is_digit(l->src[at + 1]))
        at = lex_digits(l, at + 1);
    if (at + 1 < l->n && (l->src[at] | 0x20) == 'e') {
        size_t e = at + 1 + (l->src[at + 1] == '+' || l->src[at + 1] == '-');
        if (e < l->n && is_digit(l->src[e]))
            at = lex_digits(l, e);
    }
    return at;
}

static int lex_number(struct lexer *l)
{
    char text[64];
    size_t begin = l->at, n = 0;
    int base = 10;
    int after_dot = begin && l->src[begin - 1] == '.';
    size_t end = lex_digits(l, begin), whole = end;

    if (l->src[begin] == '0' && begin + 1 < l->n && strchr("xXoObB", l->src[begin + 1])) {
        base = (l->src[begin + 1] | 0x20) == 'x' ? 16 : (l->src[begin + 1] | 0x20) == 'o' ? 8 : 2;
        for (end = begin + 2; end < l->n && is_name(l->src[end]);)
            end++;
        begin += 2;
    } else if (!after_dot) {
        end = float_end(l, end);
    }
    if (end - begin >= sizeof text)
        return BAD(l, begin, "a number of %zu characters", end - begin);
    for (size_t i = begin; i < end; i++)
        if (l->src[i] != '_')
            text[n++] = l->src[i];
    text[n] = '\0';
    int is_float = base == 10 && end > whole, rc;
    rc = lex_add(l, is_float ? BR__JT_FLOAT : BR__JT_INT, l->at, NULL, 0);
    if (rc)
        return rc;
    struct br__jj_tok *t = &l->tok[l->n_tok - 1];
    char *rest;
    errno = 0;
    if (is_float)
        t->f = strtod(text, &rest);
    else
        t->i = strtoll(text, &rest, base);
    if (!n || *rest || (!is_float && errno))
        return BAD(l, l->at, "'%s' is not a number below 2^63", text);
    l->at = end;
    return BR_OK;
}

/* `n` digits of the base at *at as a character; -1 if they are not there.  Octal may be shorter. */
static int32_t escape_digits(const struct lexer *l, size_t *at, size_t n, uint32_t base)
{
    uint32_t v = 0;
    size_t i = 0;

    for (; i < n && *at < l->n; i++, ++*at) {
        char c = l->src[*at], low = (char)(c | 0x20);
        uint32_t d = is_digit(c)                ? (uint32_t)(c - '0')
                     : low >= 'a' && low <= 'f' ? (uint32_t)(low - 'a') + 10
                                                : 99;
        if (d >= base)
            break;
        v = v * base + d;
    }
    if (i == 0 || (i < n && base != 8) || v == 0 || v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
        return -1;
    return (int32_t)v;
}

/* The escape behind a backslash at *at, as Python's string literals; unknown ones stay. */
static int lex_escape(struct lexer *l, size_t *at, struct br__buf *b)
{
    static const char from[] = "ntrabfv\\'\"", to[] = "\n\t\r\a\b\f\v\\'\"";
    size_t begin = *at;
    char c = l->src[(*at)++];
    const char *simple = strchr(from, c);
    int32_t v = 0;

    if (c == '\n')
        return BR_OK;
    if (simple) {
        br__buf_putc(b, to[simple - from]);
        return BR_OK;
    }
    if (c == 'x' || c == 'u' || c == 'U')
        v = escape_digits(l, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16);
    else if (c >= '0' && c <= '7') {
        --*at;
        v = escape_digits(l, at, 3, 8);
    } else if (c == 'N')
        return BAD(l, begin, "'\\N' escapes are not supported");
    if (v < 0)
        return BAD(l, begin, "'\\%c' is not followed by a character's number", c);
    if (v)
        br__jj_put_char(b, (uint32_t)v);
    else {
        br__buf_putc(b, '\\');
        br__buf_putc(b, c);
    }
    return BR_OK;
}

static int lex_string(struct lexer *l)
{
    struct br__buf b = {0};
    size_t begin = l->at, at = begin + 1;
    char quote = l->src[begin];
    int rc = BR_OK;

    while (at < l->n && l->src[at] != quote && !rc) {
        if (l->src[at] == '\\' && at + 1 < l->n) {
            at++;
            rc = lex_escape(l, &at, &b);
        } else {
            br__buf_putc(&b, l->src[at++]);
        }
    }
    if (!rc && at >= l->n)
        rc = BAD(l, begin, "the string does not end; %c is missing", quote);
    const char *text = rc || b.failed ? NULL : br__arena_strndup(l->arena, b.p ? b.p : "", b.n);
    if (!rc && !text)
        rc = br__nomem(l->err, "reading a template");
    if (!rc)
        rc = lex_add(l, BR__JT_STR, begin, text, b.n);
    br__buf_free(&b);
    l->at = at + 1;
    return rc;
}

static int lex_word(struct lexer *l)
{
    size_t begin = l->at;

    while (l->at < l->n && is_name(l->src[l->at]))
        l->at++;
    const char *s = br__arena_strndup(l->arena, l->src + begin, l->at - begin);
    return s ? lex_add(l, BR__JT_NAME, begin, s, l->at - begin)
             : br__nomem(l->err, "reading a template");
}

static int lex_bracket(struct lexer *l, char c)
{
    static const char open[] = "([{", close[] = ")]}";
    const char *o = strchr(open, c), *e = strchr(close, c);

    if (o) {
        if (l->n_open == MAX_BRACKETS)
            return BAD(l, l->at, "more than %d brackets inside of each other", MAX_BRACKETS);
        l->open[l->n_open++] = close[o - open];
    } else if (e) {
        if (l->n_open == 0 || l->open[l->n_open - 1] != c)
            return BAD(l, l->at, "'%c' closes nothing", c);
        l->n_open--;
    }
    return BR_OK;
}

static int lex_operator(struct lexer *l)
{
    static const char *const ops[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                      "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                      ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};

    for (size_t i = 0; i < BR_COUNTOF(ops); i++) {
        if (!is_at(l, l->at, ops[i]))
            continue;
        int rc = lex_bracket(l, ops[i][0]);
        if (!rc)
            rc = lex_add(l, BR__JT_OP, l->at, ops[i], strlen(ops[i]));
        l->at += strlen(ops[i]);
        return rc;
    }
    unsigned char c = (unsigned char)l->src[l->at];
    return BAD(l, l->at, c > 0x20 && c < 0x7F ? "unexpected character '%c'" : "unexpected byte %#x",
               c);
}

/* Everything up to the end delimiter of a tag; l->at is behind its opening. */
static int lex_tag(struct lexer *l, size_t begin, int block)
{
    l->n_open = 0;
    for (;;) {
        size_t end = l->n_open ? 0 : block ? block_end(l, l->at, "%}") : var_end(l, l->at);
        int rc;
        if (end) {
            rc = lex_add(l, block ? BR__JT_BLOCK_END : BR__JT_VAR_END, l->at, NULL, 0);
            move_to(l, l->at + end);
            return rc;
        }
        l->at = skip_space(l, l->at);
        if (l->at >= l->n)
            return BAD(l, begin, "the tag does not end; '%s' is missing", block ? "%}" : "}}");
        char c = l->src[l->at];
        if (!l->n_open && (block ? block_end(l, l->at, "%}") : var_end(l, l->at)))
            continue;
        if (is_digit(c))
            rc = lex_number(l);
        else if (is_name(c))
            rc = lex_word(l);
        else if (c == '\'' || c == '"')
            rc = lex_string(l);
        else
            rc = lex_operator(l);
        if (rc)
            return rc;
    }
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int lex_next(struct lexer *l)
{
    size_t begin = l->at, from;
    int rc;

    while (begin + 1 < l->n && !(l->src[begin] == '{' && strchr("{%#", l->src[begin + 1])))
        begin++;
    if (begin + 1 >= l->n) {
        rc = l->at < l->n ? lex_add(l, BR__JT_DATA, l->at, l->src + l->at, l->n - l->at) : BR_OK;
        l->at = l->n;
        return rc;
    }
    char kind = l->src[begin + 1], mark = mark_at(l, begin + 2);
    rc = add_data(l, l->at, begin, mark, kind != '{');
    if (rc)
        return rc;
    if (kind == '#')
        return lex_comment(l, begin);
    from = raw_begin(l, begin);
    if (from)
        return lex_raw(l, begin, from);
    rc = lex_add(l, kind == '%' ? BR__JT_BLOCK_BEGIN : BR__JT_VAR_BEGIN, begin, NULL, 0);
    l->at = begin + 2 + (mark != 0);
    return rc ? rc : lex_tag(l, begin, kind == '%');
}

/* A copy with \n for every kind of line end, less one at the end. */
static int lex_normalise(struct lexer *l, const char *src, size_t n)
{
    l->src = br__arena_alloc(l->arena, n + 1);
    if (!l->src)
        return br__nomem(l->err, "reading a template");
    for (size_t i = 0; i < n; i++) {
        l->src[l->n++] = src[i] == '\r' ? '\n' : src[i];
        if (src[i] == '\r' && i + 1 < n && src[i + 1] == '\n')
            i++;
    }
    if (l->n && l->src[l->n - 1] == '\n')
        l->n--;
    return BR_OK;
}

int br__jj_lex(struct br__arena *a, const char *src, size_t n, struct br__jj_tok **tok,
               size_t *n_tok, struct br_err *err)
{
    struct lexer l = {.arena = a, .line = 1, .line_start = 1, .err = err};

    *tok = NULL;
    *n_tok = 0;
    if (!br__utf8_valid(src, n) || memchr(src, '\0', n))
        return br_fail(err, BR_E_FORMAT, "a template that is not UTF-8 text");
    int rc = lex_normalise(&l, src, n);
    while (!rc && l.at < l.n)
        rc = lex_next(&l);
    if (!rc)
        rc = lex_add(&l, BR__JT_EOF, l.n, NULL, 0);
    if (rc) {
        br__free(l.tok);
        return rc;
    }
    *tok = l.tok;
    *n_tok = l.n_tok;
    return BR_OK;
}
