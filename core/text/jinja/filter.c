/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* filter.c - filters of text and numbers. */
#include "jinja.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int filter_absent(struct br__jv v)
{
    return v.kind == BR__JV_UNDEF || v.kind == BR__JV_NONE;
}

/* Call a method of str on str(self), which is how Jinja2 defines most filters of text. */
static struct br__jv as_method(struct br__jj *j, const char *name, const struct br__jj_call *c)
{
    struct br__jj_call call = *c;

    call.self = br__jv_as_str(j, c->self);
    const struct br__jj_row *row = br__jj_method(call.self, name, strlen(name));
    return j->rc ? call.self : br__jj_invoke(j, row, "filter", &call);
}

/* ---- text ------------------------------------------------------------------------------------ */

static struct br__jv x_upper(struct br__jj *j, const struct br__jj_call *c)
{
    return as_method(j, "upper", c);
}

static struct br__jv x_lower(struct br__jj *j, const struct br__jj_call *c)
{
    return as_method(j, "lower", c);
}

static struct br__jv x_capitalize(struct br__jj *j, const struct br__jj_call *c)
{
    return as_method(j, "capitalize", c);
}

static struct br__jv x_trim(struct br__jj *j, const struct br__jj_call *c)
{
    return as_method(j, "strip", c);
}

static struct br__jv x_replace(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jj_call call = *c;
    struct br__jv arg[3] = {br__jv_as_str(j, c->arg[0]), br__jv_as_str(j, c->arg[1]), c->arg[2]};

    call.self = br__jv_as_str(j, c->self);
    call.self.markup = 0;
    call.pos = arg;
    call.n_pos = 3;
    call.n_kw = 0;
    return as_method(j, "replace", &call);
}

static size_t word_end(struct br__jv s, size_t at)
{
    uint32_t c;

    for (size_t k; at < s.n; at += k) {
        k = br__jj_char(s.s + at, &c);
        if (br__jj_is_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c)))
            break;
    }
    return at;
}

/* Capitals after blanks, dashes and opening brackets: not what str.title does.  What follows a
 * word's first letter is brought to lower case as a text of its own. */
static struct br__jv x_title(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s = br__jv_as_str(j, c->self);
    struct br__buf b = {.max = j->limits.bytes};

    for (size_t i = 0, end; i < s.n && br__jj_step(j, 1); i = end) {
        end = word_end(s, i);
        size_t first = br__jj_put_case(j, &b, s, i, BR__JJ_UPPER);
        end = BR__MAX(end, i + first); /* a separator is a word, too */
        struct br__jv rest = br__jv_slice(s.s + i + first, end - i - first);
        for (size_t k = 0; k < rest.n && br__jj_step(j, 1);)
            k += br__jj_put_case(j, &b, rest, k, BR__JJ_LOWER);
    }
    return br__jv_take(j, &b);
}

static struct br__jv x_string(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_as_str(j, c->self);
}

static struct br__jv x_safe(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s = br__jv_as_str(j, c->self);
    s.markup = s.kind == BR__JV_STR;
    return s;
}

static struct br__jv x_escape(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_escape(j, c->self);
}

static struct br__jv x_format(struct br__jj *j, const struct br__jj_call *c)
{
    if (c->n_kw)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "'format' with named values is not supported");
    return br__jj_percent(j, br__jv_as_str(j, c->self), c->pos, c->n_pos);
}

/* All lines but the first, and with `blank` also the empty ones. */
static struct br__jv x_indent(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s = c->self, width = c->arg[0];
    struct br__buf b = {.max = j->limits.bytes};
    int first = br__jv_true(c->arg[1]), blank = br__jv_true(c->arg[2]);
    int64_t n = width.kind == BR__JV_STR ? 0 : br__jv_int_arg(j, width, 4);

    if (s.kind != BR__JV_STR)
        return br__jj_fail(j, BR_E_FORMAT, "'indent' of a '%s'", br__jv_type(s));
    for (size_t from = 0; !b.failed && br__jj_step(j, 1);) {
        const char *end = memchr(s.s + from, '\n', s.n - from);
        size_t to = end ? (size_t)(end - s.s) : s.n;
        if (from ? blank || to > from : first) {
            for (int64_t i = 0; i < n && !b.failed; i++)
                br__buf_putc(&b, ' ');
            if (width.kind == BR__JV_STR)
                br__buf_put(&b, width.s, width.n);
        }
        br__buf_put(&b, s.s + from, to - from);
        if (!end)
            break;
        br__buf_putc(&b, '\n');
        from = to + 1;
    }
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}

/* json.dumps as transformers calls it: ensure_ascii off, nothing escaped for HTML. */
static struct br__jv x_tojson(struct br__jj *j, const struct br__jj_call *c)
{
    static const char blanks[] = "                ";
    struct br__buf b = {.max = j->limits.bytes};
    struct br__jv indent = c->arg[1], sep = c->arg[2];
    struct br__jj_json_style style = {
        .ascii = br__jv_true(c->arg[0]),
        .sort = br__jv_true(c->arg[3]),
        .item_sep = br__jv_text(filter_absent(indent) ? ", " : ","),
        .key_sep = br__jv_text(": "),
    };

    if (indent.kind == BR__JV_STR) {
        style.indent = indent.s;
        style.n_indent = indent.n;
    } else if (!filter_absent(indent)) {
        int64_t n = BR__MAX(br__jv_int_arg(j, indent, 0), 0);
        if ((size_t)n >= sizeof blanks)
            return br__jj_fail(j, BR_E_UNSUPPORTED, "'tojson' with an indent of more than %zu",
                               sizeof blanks - 1);
        style.indent = blanks;
        style.n_indent = (size_t)n;
    }
    if (sep.kind == BR__JV_LIST && sep.list->n == 2 && sep.list->at[0].kind == BR__JV_STR &&
        sep.list->at[1].kind == BR__JV_STR) {
        style.item_sep = sep.list->at[0];
        style.key_sep = sep.list->at[1];
    } else if (!filter_absent(sep)) {
        return br__jj_fail(j, BR_E_FORMAT, "'tojson' needs two strings as separators");
    }
    br__jv_json(j, &b, c->self, &style);
    return br__jv_take(j, &b);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Number in a string as Python reads it: blanks around, underscores between digits.  1 if it is
 * one; *is_int says which. */
static int read_number(struct br__jv s, struct br__jv *out, int *is_int)
{
    char text[80];
    size_t n = 0;
    int64_t i;
    double f;

    s = br__jj_strip(s, NULL, 0, 3);
    if (s.n >= sizeof text)
        return 0;
    for (size_t k = 0; k < s.n; k++) {
        int between = k && k + 1 < s.n && s.s[k - 1] != '_' && s.s[k + 1] != '_';
        if (s.s[k] != '_' || !between)
            text[n++] = s.s[k];
    }
    text[n] = '\0';
    const char *start = text + (text[0] == '+');
    if (br__parse_i64(start, &i) == BR_OK) {
        *out = br__jv_int(i);
        *is_int = 1;
        return 1;
    }
    *is_int = 0;
    if (br__parse_f64(start, &f) != BR_OK)
        return 0;
    *out = br__jv_float(f);
    return 1;
}

static struct br__jv x_int(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = c->self, dflt = c->arg[0].kind == BR__JV_UNDEF ? br__jv_int(0) : c->arg[0];
    int is_int;

    if (br__jv_int_arg(j, c->arg[1], 10) != 10)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "'int' with another base is not supported");
    if (v.kind == BR__JV_BIG)
        return v;
    if (v.kind == BR__JV_UNDEF)
        return br__jv_attr(j, v, "", 0); /* its message names what is undefined */
    if (v.kind == BR__JV_STR && !read_number(v, &v, &is_int))
        return dflt;
    if (!br__jv_is_num(v) || (v.kind == BR__JV_FLOAT && !isfinite(v.f)))
        return dflt;
    if (v.kind == BR__JV_FLOAT && fabs(v.f) >= 0x1p63)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "integers beyond 64 bits are not supported");
    return br__jv_int(v.kind == BR__JV_FLOAT ? (int64_t)v.f : v.i);
}

static struct br__jv x_float(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = c->self;
    int is_int;

    if (v.kind == BR__JV_UNDEF)
        return br__jv_attr(j, v, "", 0);
    if (v.kind == BR__JV_STR && !read_number(v, &v, &is_int))
        v = br__jv_none();
    if (br__jv_is_num(v))
        return br__jv_float(br__jv_num(v));
    return c->arg[0].kind == BR__JV_UNDEF ? br__jv_float(0) : c->arg[0];
}

static struct br__jv x_abs(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = c->self;

    if (v.kind == BR__JV_FLOAT)
        return br__jv_float(fabs(v.f));
    if (!br__jv_is_num(v) || v.i == INT64_MIN)
        return br__jj_fail(j, BR_E_FORMAT, "'abs' of a '%s'", br__jv_type(v));
    return br__jv_int(v.i < 0 ? -v.i : v.i);
}

/* round() by default, which leaves integers alone; ceil and floor make floats. */
static struct br__jv x_round(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = c->self, method = c->arg[1];
    int64_t digits = br__jv_int_arg(j, c->arg[0], 0);
    char text[400];

    if (!br__jv_is_num(v) || digits < 0 || digits > 15)
        return br__jj_fail(j, BR_E_FORMAT, "'round' of a '%s' to %lld digits", br__jv_type(v),
                           (long long)digits);
    double x = br__jv_num(v), scale = pow(10, (double)digits);
    if (br__jv_is_text(method, "ceil"))
        return br__jv_float(ceil(x * scale) / scale +
                            0.0); /* no negative zero: Python's is an int */
    if (br__jv_is_text(method, "floor"))
        return br__jv_float(floor(x * scale) / scale + 0.0);
    if (!filter_absent(method) && !br__jv_is_text(method, "common"))
        return br__jj_fail(j, BR_E_FORMAT, "'round' has the methods common, ceil and floor");
    if (v.kind != BR__JV_FLOAT)
        return br__jv_int(v.i);
    /* Decimal rounding of the exact value, as Python's. */
    snprintf(text, sizeof text, "%.*f", (int)digits, x);
    return br__jv_float(strtod(text, NULL));
}

static struct br__jv x_default(struct br__jj *j, const struct br__jj_call *c)
{
    int replaced =
        c->self.kind == BR__JV_UNDEF || (br__jv_true(c->arg[1]) && !br__jv_true(c->self));

    (void)j;
    if (!replaced)
        return c->self;
    return c->n_pos || c->arg[0].kind != BR__JV_UNDEF ? c->arg[0] : br__jv_slice("", 0);
}

static struct br__jv x_length(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_int(br__jv_len(j, c->self));
}

static struct br__jv x_attr(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv name = br__jv_as_str(j, c->arg[0]), v = c->self;

    /* Unlike the dot it does not look among the elements. */
    if (v.kind == BR__JV_DICT && !br__jj_method(v, name.s, name.n))
        return br__jv_undef(name.s, name.n, BR__JV_DICT);
    return j->rc ? v : br__jv_attr(j, v, name.s, name.n);
}

/* clang-format off */
static const struct br__jj_row rows[] = {
    {"abs", x_abs, "", 0},
    {"attr", x_attr, "name", 1},
    {"capitalize", x_capitalize, "", 0},
    {"count", x_length, "", 0},
    {"d", x_default, "default_value boolean", 0},
    {"default", x_default, "default_value boolean", 0},
    {"e", x_escape, "", 0},
    {"escape", x_escape, "", 0},
    {"float", x_float, "default", 0},
    {"format", x_format, "*", 0},
    {"indent", x_indent, "width first blank", 0},
    {"int", x_int, "default base", 0},
    {"length", x_length, "", 0},
    {"lower", x_lower, "", 0},
    {"replace", x_replace, "old new count", 2},
    {"round", x_round, "precision method", 0},
    {"safe", x_safe, "", 0},
    {"string", x_string, "", 0},
    {"title", x_title, "", 0},
    {"tojson", x_tojson, "ensure_ascii indent separators sort_keys", 0},
    {"trim", x_trim, "chars", 0},
    {"upper", x_upper, "", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_text_filter(const char *name, size_t len)
{
    return br__jj_row_find(rows, BR_COUNTOF(rows), name, len);
}
