/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* format.c - str.format, and the methods of str that ask about its characters or lay it out.
 *
 * str.format follows string.Formatter, by which Jinja2's sandbox replaces it, and format() of str,
 * int and float.  Left out, and refused by name: the types 'c' and 'n', the flag 'z', zeros before
 * grouped digits, and formats of integers beyond 64 bits. */
#include "jinja.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What stands behind the colon of a field. */
struct spec {
    const char *fill; /* one character */
    size_t n_fill;
    char align, sign, group, type; /* 0: not given */
    int alternate;                 /* '#' */
    int64_t width, precision;      /* precision -1: not given */
};

/* ---- the specification ----------------------------------------------------------------------- */

static int is_align(uint32_t c)
{
    return c == '<' || c == '>' || c == '=' || c == '^';
}

static char spec_at(struct br__jv s, size_t at)
{
    return at < s.n ? s.s[at] : '\0';
}

/* The number at *at; `none` if there is none. */
static int64_t spec_number(struct br__jj *j, struct br__jv s, size_t *at, int64_t none)
{
    int64_t v = 0;

    if (spec_at(s, *at) < '0' || spec_at(s, *at) > '9')
        return none;
    for (; spec_at(s, *at) >= '0' && spec_at(s, *at) <= '9'; ++*at) {
        v = v * 10 + (s.s[*at] - '0');
        if (v > INT32_MAX) {
            br__jj_fail(j, BR_E_FORMAT, "a number in a format specification is too large");
            return none;
        }
    }
    return v;
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type]; for numbers zeros are put behind
 * the sign. */
static void read_spec(struct br__jj *j, struct spec *out, struct br__jv s, int number)
{
    uint32_t c = 0;
    size_t at = 0, k = s.n ? br__jj_char(s.s, &c) : 0;

    *out = (struct spec){.fill = " ", .n_fill = 1, .precision = -1};
    if (s.n > k && is_align((unsigned char)s.s[k])) {
        out->fill = s.s;
        out->n_fill = k;
        out->align = s.s[k];
        at = k + 1;
    } else if (is_align(c)) {
        out->align = s.s[at++];
    }
    int filled = at > 1;
    if (spec_at(s, at) && strchr("+- ", spec_at(s, at)))
        out->sign = s.s[at++];
    out->alternate = spec_at(s, at) == '#';
    at += (size_t)out->alternate;
    if (spec_at(s, at) == '0' && !filled) {
        out->fill = "0";
        if (!out->align && number)
            out->align = '=';
        at++;
    }
    out->width = spec_number(j, s, &at, 0);
    if (spec_at(s, at) == ',' || spec_at(s, at) == '_')
        out->group = s.s[at++];
    if (spec_at(s, at) == '.') {
        at++;
        out->precision = spec_number(j, s, &at, -1);
        if (out->precision < 0)
            br__jj_fail(j, BR_E_FORMAT, "a format specification lacks its precision");
    }
    out->type = spec_at(s, at);
    at += out->type != '\0';
    if (at < s.n)
        br__jj_fail(j, BR_E_FORMAT, "'%.*s' is no format specification", (int)BR__MIN(s.n, 60),
                    s.s);
}

/* ---- laying out ------------------------------------------------------------------------------ */

static void put_fill(struct br__jj *j, struct br__buf *b, const char *fill, size_t n, int64_t times)
{
    for (; times > 0 && !b->failed && br__jj_step(j, 1); times--)
        br__buf_put(b, fill, n);
}

/* Sign or prefix, then the rest, in a field of the specified width. */
static void put_field(struct br__jj *j, struct br__buf *b, const struct spec *f, struct br__jv head,
                      struct br__jv rest, char align)
{
    int64_t have = (int64_t)(br__jj_chars(head.s, head.n) + br__jj_chars(rest.s, rest.n));
    int64_t more = BR__MAX(f->width - have, 0), before;

    align = f->align ? f->align : align;
    before = align == '>' ? more : align == '^' ? more / 2 : 0;
    put_fill(j, b, f->fill, f->n_fill, before);
    br__buf_put(b, head.s, head.n);
    if (align == '=')
        put_fill(j, b, f->fill, f->n_fill, more);
    br__buf_put(b, rest.s, rest.n);
    if (align == '<' || align == '^')
        put_fill(j, b, f->fill, f->n_fill, more - before);
}

/* The first n_whole of the digits in groups, then what follows them. */
static void put_grouped(struct br__buf *b, const char *digits, size_t n, size_t n_whole, char mark,
                        size_t group)
{
    for (size_t i = 0; i < n; i++) {
        if (mark && i && i < n_whole && (n_whole - i) % group == 0)
            br__buf_putc(b, mark);
        br__buf_putc(b, digits[i]);
    }
}

static const char *sign_of(const struct spec *f, int negative)
{
    return negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "";
}

/* Sign, prefix and digits as a field. */
static void put_number(struct br__jj *j, struct br__buf *b, const struct spec *f, const char *head,
                       const char *digits, size_t group)
{
    struct br__buf grouped = {.max = j->limits.bytes};
    size_t n = strlen(digits),
           whole = strspn(digits, group == 4 ? "0123456789abcdefABCDEF" : "0123456789");

    if (f->group && f->fill[0] == '0' && f->align == '=' && f->width > (int64_t)n)
        br__jj_fail(j, BR_E_UNSUPPORTED, "zeros before grouped digits are not supported");
    put_grouped(&grouped, digits, n, whole, f->group, group);
    if (grouped.failed)
        br__jj_fail(j, grouped.failed, "out of memory");
    else
        put_field(j, b, f, br__jv_text(head), br__jv_slice(grouped.p ? grouped.p : "", grouped.n),
                  '>');
    br__buf_free(&grouped);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static void format_int(struct br__jj *j, struct br__buf *b, const struct spec *f, int64_t v)
{
    static const char kinds[] = "box";
    static const unsigned shifts[] = {1, 3, 4};
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    char digits[72], head[8], prefix[3] = {'0', f->type, '\0'};
    const char *kind = f->type ? strchr(kinds, f->type | 0x20) : NULL;
    char *at = digits + sizeof digits - 1;

    if (f->precision >= 0 || (f->group == ',' && kind)) {
        br__jj_fail(j, BR_E_FORMAT, "'%c' is not allowed in the format of an integer",
                    f->precision >= 0 ? '.' : ',');
        return;
    }
    *at = '\0';
    do {
        unsigned digit =
            kind ? (unsigned)(u & ((1u << shifts[kind - kinds]) - 1)) : (unsigned)(u % 10);
        *--at = (f->type == 'X' ? "0123456789ABCDEF" : "0123456789abcdef")[digit];
        u = kind ? u >> shifts[kind - kinds] : u / 10;
    } while (u);
    snprintf(head, sizeof head, "%s%s", sign_of(f, v < 0), f->alternate && kind ? prefix : "");
    put_number(j, b, f, head, at, kind ? 4 : 3);
}

/* No type, but a precision: as 'g', but with a digit behind the point, and with an exponent from
 * one digit less on. */
static void general_digits(struct br__buf *b, double x, int precision)
{
    int p = BR__MAX(precision, 1);
    char text[400], exponent[12] = "";

    snprintf(text, sizeof text, "%.*e", p - 1, x);
    char *e = strchr(text, 'e');
    long power = strtol(e + 1, NULL, 10);
    int fixed = power >= -4 && power < p - 1;
    if (fixed) {
        snprintf(text, sizeof text, "%.*f", (int)(p - 1 - power), x);
    } else {
        snprintf(exponent, sizeof exponent, "%s", e);
        *e = '\0';
    }
    size_t n = strlen(text);
    if (strchr(text, '.')) {
        while (text[n - 1] == '0')
            n--;
        n -= text[n - 1] == '.';
    }
    br__buf_put(b, text, n);
    br__buf_puts(b, fixed && !memchr(text, '.', n) ? ".0" : exponent);
}

static void float_digits(struct br__buf *b, const struct spec *f, double x)
{
    static const char percent[] = "%%.*%c";
    char format[8], text[800];
    int precision = f->precision < 0 ? 6 : (int)f->precision;

    if (!f->type && f->precision < 0) {
        br__buf_double(b, x);
    } else if (!f->type && isfinite(x)) {
        general_digits(b, x, precision);
    } else {
        snprintf(format, sizeof format, percent, f->type == '%' ? 'f' : f->type ? f->type : 'g');
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(text, sizeof text, format, precision, f->type == '%' ? x * 100 : x);
#pragma GCC diagnostic pop
        br__buf_puts(b, text);
    }
    if (f->type == '%')
        br__buf_putc(b, '%');
}

static void format_float(struct br__jj *j, struct br__buf *b, const struct spec *f, double x)
{
    struct br__buf digits = {0};

    if (f->precision > 300 || f->alternate) {
        br__jj_fail(j, BR_E_UNSUPPORTED,
                    "'#' and a precision beyond 300 are not supported for floats");
        return;
    }
    float_digits(&digits, f, fabs(x));
    if (digits.failed)
        br__jj_fail(j, digits.failed, "out of memory");
    else
        put_number(j, b, f, sign_of(f, signbit(x) && !isnan(x)), digits.p, 3);
    br__buf_free(&digits);
}

/* ---- one value ------------------------------------------------------------------------------- */

static void format_text(struct br__jj *j, struct br__buf *b, const struct spec *f, struct br__jv s)
{
    if (f->sign || f->alternate || f->group || f->align == '=' || (f->type && f->type != 's')) {
        br__jj_fail(j, BR_E_FORMAT, "the format specification is not one of a string");
        return;
    }
    if (f->precision >= 0)
        s.n = br__jj_char_at(s.s, s.n, (size_t)f->precision);
    put_field(j, b, f, br__jv_slice("", 0), s, '<');
}

static void format_value(struct br__jj *j, struct br__buf *b, struct br__jv v, struct br__jv s)
{
    struct spec f;

    if (!s.n) {
        br__jv_str(j, b, v);
        return;
    }
    read_spec(j, &f, s, br__jv_is_num(v));
    if (j->rc)
        return;
    if (v.kind == BR__JV_STR)
        format_text(j, b, &f, v);
    else if (v.kind == BR__JV_BIG || f.type == 'c' || f.type == 'n')
        br__jj_fail(j, BR_E_UNSUPPORTED,
                    "the formats 'c' and 'n', and integers beyond 64 bits, are not supported");
    else if (!br__jv_is_num(v))
        br__jj_fail(j, BR_E_FORMAT, "a '%s' takes no format specification", br__jv_type(v));
    else if (v.kind != BR__JV_FLOAT && (!f.type || strchr("dboxX", f.type)))
        format_int(j, b, &f, v.i);
    else if (!f.type || strchr("eEfFgG%", f.type))
        format_float(j, b, &f, br__jv_num(v));
    else
        br__jj_fail(j, BR_E_FORMAT, "'%c' is no format of a '%s'", f.type, br__jv_type(v));
}

/* repr(v) with escapes for all that is not ASCII */
static struct br__jv ascii_of(struct br__jj *j, struct br__jv v)
{
    struct br__buf plain = {.max = j->limits.bytes}, b = {.max = j->limits.bytes};
    uint32_t c;

    br__jv_repr(j, &plain, v);
    for (size_t i = 0; i < plain.n && !b.failed;) {
        i += br__jj_char(plain.p + i, &c);
        if (c < 0x80)
            br__buf_putc(&b, (char)c);
        else
            br__buf_printf(&b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
    br__buf_free(&plain);
    return br__jv_take(j, &b);
}

/* !s, !r and !a */
static struct br__jv convert(struct br__jj *j, struct br__jv v, char how)
{
    struct br__buf b = {.max = j->limits.bytes};

    if (!how)
        return v;
    if (how == 's')
        return br__jv_as_str(j, v);
    if (how == 'a')
        return ascii_of(j, v);
    if (how != 'r')
        return br__jj_fail(j, BR_E_FORMAT, "'!%c' is no conversion", how);
    br__jv_repr(j, &b, v);
    return br__jv_take(j, &b);
}

/* ---- str.format ------------------------------------------------------------------------------ */

struct formatter {
    struct br__jj *j;
    const struct br__jj_call *c;
    int numbered; /* 1: {} counts, -1: {0} names, 0: neither so far */
    size_t next;
};

static int all_digits(struct br__jv s, int64_t *out)
{
    char text[20];

    if (!s.n || s.n >= sizeof text || s.s[0] < '0' || s.s[0] > '9')
        return 0;
    memcpy(text, s.s, s.n);
    text[s.n] = '\0';
    return br__parse_i64(text, out) == BR_OK;
}

/* The argument that a field's name begins with. */
static struct br__jv first_value(struct formatter *f, struct br__jv name)
{
    int64_t i;

    if (all_digits(name, &i)) {
        if ((uint64_t)i < f->c->n_pos)
            return f->c->pos[i];
        return br__jj_fail(f->j, BR_E_FORMAT, "'format' has no argument %lld", (long long)i);
    }
    for (size_t k = 0; k < f->c->n_kw; k++)
        if (f->c->kw[k].name && br__jv_is_text(name, f->c->kw[k].name))
            return f->c->kw[k].v;
    return br__jj_fail(f->j, BR_E_FORMAT, "'format' has no argument '%.*s'",
                       (int)BR__MIN(name.n, 60), name.s);
}

/* name, then .attribute and [element] */
static struct br__jv field_value(struct formatter *f, struct br__jv name)
{
    size_t at = 0;
    int64_t i;

    while (at < name.n && name.s[at] != '.' && name.s[at] != '[')
        at++;
    struct br__jv v = first_value(f, br__jv_slice(name.s, at));
    while (at < name.n && !f->j->rc) {
        int element = name.s[at] == '[';
        size_t from = ++at;
        while (at < name.n &&
               (element ? name.s[at] != ']' : name.s[at] != '.' && name.s[at] != '['))
            at++;
        struct br__jv key = br__jv_slice(name.s + from, at - from);
        if (!key.n || (element && at == name.n))
            return br__jj_fail(f->j, BR_E_FORMAT, "a field's name ends too early");
        if (!element)
            v = br__jv_attr(f->j, v, key.s, key.n);
        else
            v = br__jv_item(f->j, v, all_digits(key, &i) ? br__jv_int(i) : key);
        at += (size_t)element;
        if (element && at < name.n && name.s[at] != '.' && name.s[at] != '[')
            return br__jj_fail(f->j, BR_E_FORMAT, "only '.' or '[' may follow ']' in a field");
    }
    return v;
}

/* A name that is absent or a number; the two cannot be mixed. */
static struct br__jv numbered_value(struct formatter *f, struct br__jv name)
{
    int64_t i;
    int kind = !name.n ? 1 : all_digits(name, &i) ? -1 : 0;

    if (kind && f->numbered == -kind)
        return br__jj_fail(f->j, BR_E_FORMAT, "numbered and unnumbered fields in one format");
    f->numbered = kind ? kind : f->numbered;
    if (kind != 1)
        return field_value(f, name);
    if (f->next < f->c->n_pos)
        return f->c->pos[f->next++];
    return br__jj_fail(f->j, BR_E_FORMAT, "'format' has no argument %zu", f->next);
}

/* The parts of a field whose '{' is behind *at; steps over its '}'. */
static int split_field(struct br__jj *j, struct br__jv s, size_t *at, struct br__jv *name,
                       char *how, struct br__jv *spec)
{
    size_t from = *at, i = from;
    int open = 1;

    while (i < s.n && !strchr("{}:!", s.s[i])) {
        if (s.s[i] == '[')
            while (i < s.n && s.s[i] != ']')
                i++;
        i += i < s.n;
    }
    *name = br__jv_slice(s.s + from, i - from);
    *how = '\0';
    *spec = br__jv_slice("", 0);
    if (spec_at(s, i) == '!') {
        *how = spec_at(s, i + 1);
        i += 2;
        if (spec_at(s, i) != ':' && spec_at(s, i) != '}')
            i = s.n;
    }
    if (spec_at(s, i) == ':') {
        for (from = ++i; i < s.n && open; i++)
            open += s.s[i] == '{' ? 1 : s.s[i] == '}' ? -1 : 0;
        i -= open == 0;
        *spec = br__jv_slice(s.s + from, i - from);
    }
    if (spec_at(s, i) != '}') {
        br__jj_fail(j, BR_E_FORMAT, "a field of 'format' has no '}'");
        return 0;
    }
    *at = i + 1;
    return 1;
}

static void put_format(struct formatter *f, struct br__buf *b, struct br__jv s, int depth);

static void put_formatted(struct formatter *f, struct br__buf *b, struct br__jv v,
                          struct br__jv spec)
{
    struct br__buf own = {.max = f->j->limits.bytes};

    if (!f->c->self.markup) {
        format_value(f->j, b, v, spec);
    } else if (v.kind == BR__JV_STR && v.markup && spec.n) {
        br__jj_fail(f->j, BR_E_FORMAT, "markup takes no format specification");
    } else {
        int markup = v.kind == BR__JV_STR && v.markup;
        format_value(f->j, &own, v, spec);
        struct br__jv text = br__jv_take(f->j, &own);
        text.markup = (uint8_t)markup;
        br__jv_str(f->j, b, br__jv_escape(f->j, text));
    }
}

static void put_replacement(struct formatter *f, struct br__buf *b, struct br__jv s, size_t *at,
                            int depth)
{
    struct br__buf expanded = {.max = f->j->limits.bytes};
    struct br__jv name, spec;
    char how;

    if (!split_field(f->j, s, at, &name, &how, &spec))
        return;
    struct br__jv v = convert(f->j, numbered_value(f, name), how);
    put_format(f, &expanded, spec, depth - 1);
    spec = br__jv_take(f->j, &expanded);
    if (!f->j->rc)
        put_formatted(f, b, v, spec);
}

/* depth: fields within the specifications of fields */
static void put_format(struct formatter *f, struct br__buf *b, struct br__jv s, int depth)
{
    if (depth < 0)
        br__jj_fail(f->j, BR_E_FORMAT, "fields of 'format' are nested too deep");
    for (size_t at = 0; at < s.n && !b->failed && br__jj_step(f->j, 1);) {
        char c = s.s[at++];
        if (c != '{' && c != '}') {
            br__buf_putc(b, c);
        } else if (spec_at(s, at) == c) {
            br__buf_putc(b, c);
            at++;
        } else if (c == '{' && at < s.n) {
            put_replacement(f, b, s, &at, depth);
        } else {
            br__jj_fail(f->j, BR_E_FORMAT, "single '%c' in a format", c);
        }
    }
}

static struct br__jv m_format(struct br__jj *j, const struct br__jj_call *c)
{
    struct formatter f = {.j = j, .c = c};
    struct br__buf b = {.max = j->limits.bytes};

    put_format(&f, &b, c->self, 2);
    struct br__jv v = br__jv_take(j, &b);
    v.markup = c->self.markup;
    return v;
}

static struct br__jv m_format_map(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jj_call named = {.self = c->self};

    if (c->arg[0].kind != BR__JV_DICT)
        return br__jj_fail(j, BR_E_FORMAT, "'format_map' of a '%s'", br__jv_type(c->arg[0]));
    const struct br__jj_dict *d = c->arg[0].dict;
    named.kw = br__jj_alloc(j, (d->n + 1) * sizeof *named.kw);
    for (size_t i = 0; i < d->n && !j->rc; i++) {
        char *name = d->key[i].kind == BR__JV_STR ? br__jj_alloc(j, d->key[i].n + 1) : NULL;
        if (!name)
            continue;
        memcpy(name, d->key[i].s, d->key[i].n);
        named.kw[named.n_kw++] = (struct br__jj_kwarg){name, d->val[i]};
    }
    return j->rc ? c->self : m_format(j, &named);
}

/* ---- laying out a string --------------------------------------------------------------------- */

/* Fill up to a width in characters, a share of it on the left. */
static struct br__jv justify(struct br__jj *j, const struct br__jj_call *c, char align)
{
    struct br__jv fill = c->arg[1].kind == BR__JV_UNDEF ? br__jv_slice(" ", 1) : c->arg[1];
    struct br__buf b = {.max = j->limits.bytes};
    int64_t width = br__jv_int_arg(j, c->arg[0], 0);

    if (fill.kind != BR__JV_STR || br__jj_chars(fill.s, fill.n) != 1)
        return br__jj_fail(j, BR_E_FORMAT, "one character is needed to fill with");
    int64_t more = BR__MAX(width - br__jv_len(j, c->self), 0);
    /* str.center puts the odd one on the left if the width is odd */
    int64_t left = align == '>' ? more : align == '<' ? 0 : more / 2 + (more & width & 1);
    put_fill(j, &b, fill.s, fill.n, left);
    br__buf_put(&b, c->self.s, c->self.n);
    put_fill(j, &b, fill.s, fill.n, more - left);
    struct br__jv v = br__jv_take(j, &b);
    v.markup = c->self.markup;
    return v;
}

static struct br__jv m_ljust(struct br__jj *j, const struct br__jj_call *c)
{
    return justify(j, c, '<');
}

static struct br__jv m_rjust(struct br__jj *j, const struct br__jj_call *c)
{
    return justify(j, c, '>');
}

static struct br__jv m_center(struct br__jj *j, const struct br__jj_call *c)
{
    return justify(j, c, '^');
}

static struct br__jv m_zfill(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__buf b = {.max = j->limits.bytes};
    struct br__jv s = c->self;
    int64_t more = br__jv_int_arg(j, c->arg[0], 0) - br__jv_len(j, s);
    size_t sign = s.n && (s.s[0] == '-' || s.s[0] == '+');

    br__buf_put(&b, s.s, sign);
    put_fill(j, &b, "0", 1, more);
    br__buf_put(&b, s.s + sign, s.n - sign);
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}

static struct br__jv m_swapcase(struct br__jj *j, const struct br__jj_call *call)
{
    struct br__buf b = {.max = j->limits.bytes};
    struct br__jv s = call->self;
    uint32_t c;

    for (size_t i = 0, k; i < s.n && br__jj_step(j, 1); i += k) {
        k = br__jj_char(s.s + i, &c);
        int is = br__jj_case_of(c);
        if (is == BR__JJ_LOWER || is == BR__JJ_UPPER)
            br__jj_put_case(j, &b, s, i, is == BR__JJ_LOWER ? BR__JJ_UPPER : BR__JJ_LOWER);
        else
            br__buf_put(&b, s.s + i, k);
    }
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}

/* ---- questions ------------------------------------------------------------------------------- */

/* 1 if s is not empty and it holds for every character. */
static struct br__jv all_chars(struct br__jv s, int (*holds)(uint32_t c))
{
    uint32_t c;

    for (size_t i = 0; i < s.n;) {
        i += br__jj_char(s.s + i, &c);
        if (!holds(c))
            return br__jv_bool(0);
    }
    return br__jv_bool(s.n > 0);
}

#define QUESTION(name, answer)                                                                     \
    static struct br__jv m_##name(struct br__jj *j, const struct br__jj_call *c)                   \
    {                                                                                              \
        (void)j;                                                                                   \
        return answer;                                                                             \
    }

QUESTION(isalnum, all_chars(c->self, br__jj_is_alnum))
QUESTION(isalpha, all_chars(c->self, br__jj_is_alpha))
QUESTION(isdecimal, all_chars(c->self, br__jj_is_decimal))
QUESTION(isdigit, all_chars(c->self, br__jj_is_digit))
QUESTION(isspace, all_chars(c->self, br__jj_is_space))
QUESTION(islower, br__jv_bool(br__jj_has_case(j, c->self, BR__JJ_LOWER)))
QUESTION(isupper, br__jv_bool(br__jj_has_case(j, c->self, BR__JJ_UPPER)))
#undef QUESTION

int br__jj_has_case(struct br__jj *j, struct br__jv s, int want)
{
    int found = 0;
    uint32_t c;

    for (size_t i = 0; i < s.n && br__jj_step(j, 1);) {
        i += br__jj_char(s.s + i, &c);
        int is = br__jj_case_of(c);
        if (is >= 0 && is != want)
            return 0;
        found |= is == want;
    }
    return found;
}

static struct br__jv m_isascii(struct br__jj *j, const struct br__jj_call *c)
{
    (void)j;
    for (size_t i = 0; i < c->self.n; i++)
        if ((unsigned char)c->self.s[i] >= 0x80)
            return br__jv_bool(0);
    return br__jv_bool(1);
}

/* Capitals begin words, and stand nowhere else. */
static struct br__jv m_istitle(struct br__jj *j, const struct br__jj_call *call)
{
    int found = 0, inside = 0;
    uint32_t c;

    for (size_t i = 0; i < call->self.n && br__jj_step(j, 1);) {
        i += br__jj_char(call->self.s + i, &c);
        int is = br__jj_case_of(c);
        if (is >= 0 && (is == BR__JJ_LOWER) != inside)
            return br__jv_bool(0);
        inside = is >= 0;
        found |= inside;
    }
    return br__jv_bool(found);
}

static struct br__jv m_isprintable(struct br__jj *j, const struct br__jj_call *c)
{
    (void)j;
    return c->self.n ? all_chars(c->self, br__jj_is_printable) : br__jv_bool(1);
}

/* clang-format off */
static const struct br__jj_row methods[] = {
    {"center", m_center, "width fillchar", 1},
    {"format", m_format, "*", 0},
    {"format_map", m_format_map, "mapping", 1},
    {"isalnum", m_isalnum, "", 0},
    {"isalpha", m_isalpha, "", 0},
    {"isascii", m_isascii, "", 0},
    {"isdecimal", m_isdecimal, "", 0},
    {"isdigit", m_isdigit, "", 0},
    {"islower", m_islower, "", 0},
    {"isprintable", m_isprintable, "", 0},
    {"isspace", m_isspace, "", 0},
    {"istitle", m_istitle, "", 0},
    {"isupper", m_isupper, "", 0},
    {"ljust", m_ljust, "width fillchar", 1},
    {"rjust", m_rjust, "width fillchar", 1},
    {"swapcase", m_swapcase, "", 0},
    {"zfill", m_zfill, "width", 1},
    {"casefold", NULL, "*", 0},
    {"encode", NULL, "*", 0},
    {"expandtabs", NULL, "*", 0},
    {"isidentifier", NULL, "*", 0},
    {"isnumeric", NULL, "*", 0},
    {"maketrans", NULL, "*", 0},
    {"translate", NULL, "*", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_text_method(const char *name, size_t len)
{
    return br__jj_row_find(methods, BR_COUNTOF(methods), name, len);
}
