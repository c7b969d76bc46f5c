/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* text.c - values as text: str(), repr(), json.dumps, and Python's %.
 *
 * Text that a template prints is what Python prints: True, None, 1e-06, ['a', "it's"]. */
#include "jinja.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- str and repr ---------------------------------------------------------------------------- */

static void repr_text(struct br__buf *b, const char *s, size_t n)
{
    char quote = memchr(s, '\'', n) && !memchr(s, '"', n) ? '"' : '\'';
    uint32_t c;

    br__buf_putc(b, quote);
    for (size_t i = 0, k; i < n; i += k) {
        k = br__jj_char(s + i, &c);
        if (c == (uint32_t)quote || c == '\\')
            br__buf_printf(b, "\\%c", (int)c);
        else if (c == '\n' || c == '\r' || c == '\t')
            br__buf_puts(b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else if (br__jj_is_printable(c))
            br__buf_put(b, s + i, k);
        else
            br__buf_printf(b, c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
    br__buf_putc(b, quote);
}

static void repr_list(struct br__jj *j, struct br__buf *b, const struct br__jj_list *l)
{
    static const char *const open[] = {
        "[", "(", NULL, NULL, "dict_keys([", "dict_values([", "dict_items(["};
    static const char *const close[] = {"]", ")", NULL, NULL, "])", "])", "])"};

    if (!open[l->flavour]) {
        br__jj_fail(
            j, BR_E_UNSUPPORTED, "printing a '%s' is not supported; use |list or |join",
            br__jv_type((struct br__jv){.kind = BR__JV_LIST, .list = (struct br__jj_list *)l}));
        return;
    }
    br__buf_puts(b, open[l->flavour]);
    for (size_t i = 0; i < l->n && !j->rc; i++) {
        if (i)
            br__buf_puts(b, ", ");
        br__jv_repr(j, b, l->at[i]);
    }
    if (l->flavour == BR__JF_TUPLE && l->n == 1)
        br__buf_putc(b, ',');
    br__buf_puts(b, close[l->flavour]);
}

static void repr_dict(struct br__jj *j, struct br__buf *b, const struct br__jj_dict *d)
{
    br__buf_putc(b, '{');
    for (size_t i = 0; i < d->n && !j->rc; i++) {
        if (i)
            br__buf_puts(b, ", ");
        br__jv_repr(j, b, d->key[i]);
        br__buf_puts(b, ": ");
        br__jv_repr(j, b, d->val[i]);
    }
    br__buf_putc(b, '}');
}

void br__jv_repr(struct br__jj *j, struct br__buf *b, struct br__jv v)
{
    if (!br__jj_step(j, 1) || !br__jj_enter(j))
        return;
    if (b->failed)
        br__jj_fail(j, b->failed, "a text of more than %zu bytes", b->max);
    switch (v.kind) {
    case BR__JV_UNDEF:
        br__buf_puts(b, "Undefined");
        break;
    case BR__JV_NONE:
        br__buf_puts(b, "None");
        break;
    case BR__JV_BOOL:
        br__buf_puts(b, v.i ? "True" : "False");
        break;
    case BR__JV_INT:
        br__buf_printf(b, "%" PRId64, v.i);
        break;
    case BR__JV_BIG:
        br__buf_put(b, v.s, v.n);
        break;
    case BR__JV_FLOAT:
        br__buf_double(b, v.f);
        break;
    case BR__JV_STR:
        br__buf_puts(b, v.markup ? "Markup(" : "");
        repr_text(b, v.s, v.n);
        br__buf_puts(b, v.markup ? ")" : "");
        break;
    case BR__JV_LIST:
        repr_list(j, b, v.list);
        break;
    case BR__JV_DICT:
        repr_dict(j, b, v.dict);
        break;
    default:
        br__jj_fail(j, BR_E_UNSUPPORTED, "printing a '%s' is not supported", br__jv_type(v));
    }
    br__jj_leave(j);
}

void br__jv_str(struct br__jj *j, struct br__buf *b, struct br__jv v)
{
    if (v.kind == BR__JV_STR)
        br__buf_put(b, v.s, v.n);
    else if (v.kind != BR__JV_UNDEF)
        br__jv_repr(j, b, v);
}

struct br__jv br__jv_as_str(struct br__jj *j, struct br__jv v)
{
    struct br__buf b = {.max = j->limits.bytes};

    if (v.kind == BR__JV_STR)
        return v;
    br__jv_str(j, &b, v);
    return br__jv_take(j, &b);
}

struct br__jv br__jv_escape(struct br__jj *j, struct br__jv v)
{
    static const char from[] = "&<>'\"";
    static const char *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
    struct br__buf b = {.max = j->limits.bytes};

    v = br__jv_as_str(j, v);
    if (v.markup || j->rc)
        return v;
    for (size_t i = 0; i < v.n; i++) {
        const char *at = strchr(from, v.s[i]);
        if (at)
            br__buf_puts(&b, to[at - from]);
        else
            br__buf_putc(&b, v.s[i]);
    }
    v = br__jv_take(j, &b);
    v.markup = 1;
    return v;
}

/* ---- json.dumps ------------------------------------------------------------------------------ */

static void json_text(struct br__buf *b, const char *s, size_t n, int ascii)
{
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    uint32_t c;

    br__buf_putc(b, '"');
    for (size_t i = 0, k; i < n; i += k) {
        k = br__jj_char(s + i, &c);
        const char *at = c && c < 0x80 ? strchr(from, (int)c) : NULL;
        if (at)
            br__buf_printf(b, "\\%c", to[at - from]);
        else if (c < 0x20 || (ascii && c >= 0x7F && c < 0x10000))
            br__buf_printf(b, "\\u%04x", c);
        else if (ascii && c >= 0x10000)
            br__buf_printf(b, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                           0xDC00 + ((c - 0x10000) & 0x3FF));
        else
            br__buf_put(b, s + i, k);
    }
    br__buf_putc(b, '"');
}

struct dump {
    struct br__jj *j;
    struct br__buf *b;
    const struct br__jj_json_style *style;
    size_t level;
};

static void dump_value(struct dump *d, struct br__jv v);

static void new_line(struct dump *d)
{
    if (!d->style->indent)
        return;
    br__buf_putc(d->b, '\n');
    for (size_t i = 0; i < d->level && !d->b->failed; i++)
        br__buf_put(d->b, d->style->indent, d->style->n_indent);
}

/* A key as json.dumps makes a string of it. */
static void dump_key(struct dump *d, struct br__jv key)
{
    if (key.kind == BR__JV_STR) {
        json_text(d->b, key.s, key.n, d->style->ascii);
    } else if (br__jv_is_num(key) || key.kind == BR__JV_NONE || key.kind == BR__JV_BIG) {
        br__buf_putc(d->b, '"');
        dump_value(d, key);
        br__buf_putc(d->b, '"');
    } else {
        br__jj_fail(d->j, BR_E_FORMAT, "a '%s' cannot be a key of JSON", br__jv_type(key));
    }
}

/* Positions of d's members in the order in which they are written; NULL after a failure. */
static size_t *member_order(struct dump *d, const struct br__jj_dict *dict)
{
    size_t *order = br__jj_alloc(d->j, (dict->n + 1) * sizeof *order);

    for (size_t i = 0; order && i < dict->n; i++) {
        size_t k = i;
        while (d->style->sort && k > 0 && br__jj_step(d->j, 1) &&
               br__jv_cmp(d->j, dict->key[order[k - 1]], dict->key[i]) > 0) {
            order[k] = order[k - 1];
            k--;
        }
        order[k] = i;
    }
    return d->j->rc ? NULL : order;
}

static void dump_members(struct dump *d, struct br__jv v)
{
    int object = v.kind == BR__JV_DICT;
    size_t n = object ? v.dict->n : v.list->n;
    size_t *order = object ? member_order(d, v.dict) : NULL;

    br__buf_putc(d->b, object ? '{' : '[');
    d->level++;
    for (size_t i = 0; i < n && !d->j->rc; i++) {
        if (i)
            br__buf_put(d->b, d->style->item_sep.s, d->style->item_sep.n);
        new_line(d);
        if (object) {
            dump_key(d, v.dict->key[order[i]]);
            br__buf_put(d->b, d->style->key_sep.s, d->style->key_sep.n);
        }
        dump_value(d, object ? v.dict->val[order[i]] : v.list->at[i]);
    }
    d->level--;
    if (n)
        new_line(d);
    br__buf_putc(d->b, object ? '}' : ']');
}

static void dump_value(struct dump *d, struct br__jv v)
{
    if (!br__jj_step(d->j, 1) || !br__jj_enter(d->j))
        return;
    if (d->b->failed)
        br__jj_fail(d->j, d->b->failed, "JSON of more than %zu bytes", d->b->max);
    if (v.kind == BR__JV_STR)
        json_text(d->b, v.s, v.n, d->style->ascii);
    else if (v.kind == BR__JV_DICT || (v.kind == BR__JV_LIST && v.list->flavour <= BR__JF_TUPLE))
        dump_members(d, v);
    else if (v.kind == BR__JV_NONE)
        br__buf_puts(d->b, "null");
    else if (v.kind == BR__JV_BOOL)
        br__buf_puts(d->b, v.i ? "true" : "false");
    else if (v.kind == BR__JV_FLOAT && !isfinite(v.f))
        br__buf_puts(d->b, isnan(v.f) ? "NaN" : v.f > 0 ? "Infinity" : "-Infinity");
    else if (br__jv_is_num(v) || v.kind == BR__JV_BIG)
        br__jv_repr(d->j, d->b, v);
    else
        br__jj_fail(d->j, BR_E_FORMAT, "a value of type '%s' cannot be written as JSON",
                    br__jv_type(v));
    br__jj_leave(d->j);
}

void br__jv_json(struct br__jj *j, struct br__buf *b, struct br__jv v,
                 const struct br__jj_json_style *style)
{
    struct dump d = {j, b, style, 0};
    dump_value(&d, v);
}

/* ---- s % args -------------------------------------------------------------------------------- */

/* One conversion: `c` with the digits behind a point (-1: none). */
static void text_convert(struct br__jj *j, struct br__buf *b, char c, int precision,
                         struct br__jv v)
{
    if (c == 's' || c == 'r') {
        if (c == 's')
            br__jv_str(j, b, v);
        else
            br__jv_repr(j, b, v);
    } else if (!br__jv_is_num(v)) {
        br__jj_fail(j, BR_E_FORMAT, "'%%%c' needs a number, got '%s'", c, br__jv_type(v));
    } else if (c == 'f') {
        br__buf_printf(b, "%.*f", precision < 0 ? 6 : precision, br__jv_num(v));
    } else if (v.kind == BR__JV_FLOAT && fabs(v.f) >= 0x1p63) {
        br__jj_fail(j, BR_E_FORMAT, "'%%d' of a float beyond 64 bits");
    } else {
        br__buf_printf(b, "%" PRId64, v.kind == BR__JV_FLOAT ? (int64_t)v.f : v.i);
    }
}

struct br__jv br__jj_percent(struct br__jj *j, struct br__jv s, const struct br__jv *arg, size_t n)
{
    struct br__buf b = {.max = j->limits.bytes};
    size_t used = 0;

    for (size_t i = 0; i < s.n && !j->rc; i++) {
        int precision = -1;
        if (s.s[i] != '%') {
            br__buf_putc(&b, s.s[i]);
            continue;
        }
        if (i + 2 < s.n && s.s[i + 1] == '.' && s.s[i + 2] >= '0' && s.s[i + 2] <= '9') {
            precision = s.s[i + 2] - '0';
            i += 2;
        }
        char c = ++i < s.n ? s.s[i] : 0;
        if (c == '%')
            br__buf_putc(&b, '%');
        else if (!c || !strchr(precision < 0 ? "srdif" : "f", c))
            br__jj_fail(j, BR_E_UNSUPPORTED,
                        "of the formats of '%%' only %%s %%r %%d %%i %%f and "
                        "%%.Nf are supported");
        else if (used >= n)
            br__jj_fail(j, BR_E_FORMAT, "not enough arguments for the format string");
        else
            text_convert(j, &b, c, precision,
                         s.markup && c == 's' ? br__jv_escape(j, arg[used]) : arg[used]);
        used += c != '%';
    }
    if (used < n)
        br__jj_fail(j, BR_E_FORMAT, "not all arguments are used by the format string");
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}
