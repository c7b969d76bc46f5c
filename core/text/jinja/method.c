/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* method.c - methods of str, dict, list and loop, and the functions of the environment; what asks
 * about a string or lays it out is in format.c.  A row without a function is a method that Python
 * has and bridge has not: calling it is an error that says so, whereas a name of no type is an
 * undefined attribute. */
#include "jinja.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* jinja2.sandbox.MAX_RANGE */
#define MAX_RANGE 100000

/* A string argument; "" and a failure for anything else. */
static struct br__jv text_arg(struct br__jj *j, struct br__jv v)
{
    if (v.kind == BR__JV_STR)
        return v;
    br__jj_fail(j, BR_E_FORMAT, "a string is needed, got '%s'", br__jv_type(v));
    return br__jv_slice("", 0);
}

/* A part of s; markup if s is markup. */
static struct br__jv method_part(struct br__jv s, size_t from, size_t to)
{
    struct br__jv v = br__jv_slice(s.s + from, to - from);
    v.markup = s.markup;
    return v;
}

/* ---- str ------------------------------------------------------------------------------------- */

/* The optional first argument was not given, or is none. */
static int no_first_arg(const struct br__jj_call *c)
{
    return c->arg[0].kind == BR__JV_NONE || (c->arg[0].kind == BR__JV_UNDEF && !c->n_pos);
}

static struct br__jv strip_sides(struct br__jj *j, const struct br__jj_call *c, int sides)
{
    if (no_first_arg(c))
        return br__jj_strip(c->self, NULL, 0, sides);
    struct br__jv set = text_arg(j, c->arg[0]);
    return br__jj_strip(c->self, set.s, set.n, sides);
}

static struct br__jv m_strip(struct br__jj *j, const struct br__jj_call *c)
{
    return strip_sides(j, c, 3);
}

static struct br__jv m_lstrip(struct br__jj *j, const struct br__jj_call *c)
{
    return strip_sides(j, c, 1);
}

static struct br__jv m_rstrip(struct br__jj *j, const struct br__jj_call *c)
{
    return strip_sides(j, c, 2);
}

/* At runs of white space, from the left or the right. */
static void split_space(struct br__jj *j, struct br__jv list, struct br__jv s, int64_t max,
                        int from_right)
{
    struct br__jv rest = br__jj_strip(s, NULL, 0, from_right ? 2 : 1);
    uint32_t c;

    for (; rest.n && max != 0 && br__jj_step(j, 1); max--) {
        size_t cut = 0, at = 0; /* the word is [0, cut) or [cut, n) */
        if (from_right) {
            for (cut = rest.n; cut > 0; cut = at) {
                for (at = cut - 1; at > 0 && ((unsigned char)rest.s[at] & 0xC0) == 0x80;)
                    at--;
                br__jj_char(rest.s + at, &c);
                if (br__jj_is_space(c))
                    break;
            }
            br__jv_push(j, list, method_part(rest, cut, rest.n));
            rest = br__jj_strip(method_part(rest, 0, cut), NULL, 0, 2);
        } else {
            for (size_t k; cut < rest.n; cut += k) {
                k = br__jj_char(rest.s + cut, &c);
                if (br__jj_is_space(c))
                    break;
            }
            br__jv_push(j, list, method_part(rest, 0, cut));
            rest = br__jj_strip(method_part(rest, cut, rest.n), NULL, 0, 1);
        }
    }
    if (rest.n)
        br__jv_push(j, list, rest);
}

/* Last occurrence of s in in[0, to); in.n + 1 if there is none. */
static size_t find_last(struct br__jj *j, struct br__jv in, size_t to, struct br__jv s)
{
    if (s.n > to || !br__jj_step(j, to / 64 * (1 + s.n / 64)))
        return in.n + 1;
    for (size_t at = to - s.n + 1; at-- > 0;)
        if (memcmp(in.s + at, s.s, s.n) == 0)
            return at;
    return in.n + 1;
}

static void split_at(struct br__jj *j, struct br__jv list, struct br__jv s, struct br__jv sep,
                     int64_t max, int from_right)
{
    size_t from = 0, to = s.n;

    for (; max != 0 && br__jj_step(j, 1); max--) {
        size_t at = from_right ? find_last(j, s, to, sep) : br__jj_find(j, s, from, sep);
        if (at > s.n)
            break;
        br__jv_push(j, list,
                    from_right ? method_part(s, at + sep.n, to) : method_part(s, from, at));
        if (from_right)
            to = at;
        else
            from = at + sep.n;
    }
    br__jv_push(j, list, method_part(s, from, to));
}

static void method_reverse(struct br__jj_list *l)
{
    for (size_t i = 0; i < l->n / 2; i++) {
        struct br__jv v = l->at[i];
        l->at[i] = l->at[l->n - 1 - i];
        l->at[l->n - 1 - i] = v;
    }
}

static struct br__jv method_split(struct br__jj *j, const struct br__jj_call *c, int from_right)
{
    struct br__jv list = br__jv_list(j, BR__JF_LIST);
    int64_t max = br__jv_int_arg(j, c->arg[1], -1);

    if (no_first_arg(c)) {
        split_space(j, list, c->self, max, from_right);
    } else {
        struct br__jv sep = text_arg(j, c->arg[0]);
        if (!sep.n)
            return br__jj_fail(j, BR_E_FORMAT, "split by an empty string");
        split_at(j, list, c->self, sep, max, from_right);
    }
    if (from_right && !j->rc)
        method_reverse(list.list);
    return list;
}

static struct br__jv m_split(struct br__jj *j, const struct br__jj_call *c)
{
    return method_split(j, c, 0);
}

static struct br__jv m_rsplit(struct br__jj *j, const struct br__jj_call *c)
{
    return method_split(j, c, 1);
}

/* str.splitlines ends lines at more than \n. */
static int ends_line(uint32_t c)
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
           c == 0x2029;
}

static struct br__jv m_splitlines(struct br__jj *j, const struct br__jj_call *call)
{
    struct br__jv list = br__jv_list(j, BR__JF_LIST), s = call->self;
    int keep = br__jv_true(call->arg[0]);
    size_t from = 0;
    uint32_t c;

    for (size_t i = 0, k; i < s.n && br__jj_step(j, 1); i += k) {
        k = br__jj_char(s.s + i, &c);
        if (!ends_line(c))
            continue;
        size_t end = i + k;
        if (c == '\r' && end < s.n && s.s[end] == '\n')
            end++;
        br__jv_push(j, list, method_part(s, from, keep ? end : i));
        from = end;
        k = end - i;
    }
    if (from < s.n)
        br__jv_push(j, list, method_part(s, from, s.n));
    return list;
}

static int has_affix(struct br__jv s, struct br__jv affix, int at_end)
{
    return affix.n <= s.n && memcmp(s.s + (at_end ? s.n - affix.n : 0), affix.s, affix.n) == 0;
}

static struct br__jv m_removeprefix(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv a = text_arg(j, c->arg[0]), s = c->self;
    return has_affix(s, a, 0) ? method_part(s, a.n, s.n) : s;
}

static struct br__jv m_removesuffix(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv a = text_arg(j, c->arg[0]), s = c->self;
    return has_affix(s, a, 1) ? method_part(s, 0, s.n - a.n) : s;
}

/* Shared with the filter of the same name: count < 0 replaces all. */
static struct br__jv m_replace(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s = c->self, old = text_arg(j, c->arg[0]), new = text_arg(j, c->arg[1]);
    struct br__buf b = {.max = j->limits.bytes};
    int64_t count = br__jv_int_arg(j, c->arg[2], -1);
    size_t from = 0;
    uint32_t unused;

    if (s.markup)
        new = br__jv_escape(j, new);
    for (; count != 0 && br__jj_step(j, 1) && !b.failed; count--) {
        size_t at = br__jj_find(j, s, from, old);
        if (at > s.n)
            break;
        br__buf_put(&b, s.s + from, at - from);
        br__buf_put(&b, new.s, new.n);
        from = at + old.n;
        if (!old.n) { /* between all characters, and at both ends */
            if (at == s.n)
                break;
            size_t k = br__jj_char(s.s + at, &unused);
            br__buf_put(&b, s.s + at, k);
            from = at + k;
        }
    }
    br__buf_put(&b, s.s + from, s.n - from);
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}

/* Every character in the case that `to` says for a first one and for the others; with `words` one
 * that follows no cased character is a first one. */
static struct br__jv change_case(struct br__jj *j, struct br__jv s, int first, int rest, int words)
{
    struct br__buf b = {.max = j->limits.bytes};
    int start = 1;
    uint32_t c;

    for (size_t i = 0; i < s.n && br__jj_step(j, 1);) {
        br__jj_char(s.s + i, &c);
        i += br__jj_put_case(j, &b, s, i, start ? first : rest);
        start = words && br__jj_case_of(c) < 0;
    }
    struct br__jv v = br__jv_take(j, &b);
    v.markup = s.markup;
    return v;
}

static struct br__jv m_upper(struct br__jj *j, const struct br__jj_call *c)
{
    return change_case(j, c->self, BR__JJ_UPPER, BR__JJ_UPPER, 0);
}

static struct br__jv m_lower(struct br__jj *j, const struct br__jj_call *c)
{
    return change_case(j, c->self, BR__JJ_LOWER, BR__JJ_LOWER, 0);
}

static struct br__jv m_capitalize(struct br__jj *j, const struct br__jj_call *c)
{
    return change_case(j, c->self, BR__JJ_TITLE, BR__JJ_LOWER, 0);
}

static struct br__jv m_title(struct br__jj *j, const struct br__jj_call *c)
{
    return change_case(j, c->self, BR__JJ_TITLE, BR__JJ_LOWER, 1);
}

/* ---- str: searching -------------------------------------------------------------------------- */

/* The part of the string that the arguments `at` and `at` + 1 choose, as a slice would, and the
 * characters before it; 0 if the start lies behind the end, where nothing is found. */
static int search_range(struct br__jj *j, const struct br__jj_call *c, int at, struct br__jv *s,
                        int64_t *before)
{
    *s = c->self;
    *before = 0;
    if (c->arg[at].kind == BR__JV_UNDEF && c->arg[at + 1].kind == BR__JV_UNDEF)
        return 1;
    int64_t n = br__jv_len(j, c->self), start = br__jv_int_arg(j, c->arg[at], 0);
    int64_t end = br__jv_int_arg(j, c->arg[at + 1], n);
    start = start < 0 ? BR__MAX(start + n, 0) : start;
    end = end < 0 ? BR__MAX(end + n, 0) : BR__MIN(end, n);
    if (j->rc || start > end)
        return 0;
    size_t from = br__jj_char_at(s->s, s->n, (size_t)start);
    size_t len = br__jj_char_at(s->s + from, s->n - from, (size_t)(end - start));
    *s = method_part(*s, from, from + len);
    *before = start;
    return 1;
}

/* startswith and endswith take one string or a tuple of them. */
static struct br__jv affix_test(struct br__jj *j, const struct br__jj_call *c, int at_end)
{
    struct br__jv a = c->arg[0], s;
    int64_t before;
    int found = 0;

    if (!search_range(j, c, 1, &s, &before))
        return br__jv_bool(0);
    if (a.kind != BR__JV_LIST || a.list->flavour != BR__JF_TUPLE)
        return br__jv_bool(has_affix(s, text_arg(j, a), at_end));
    for (size_t i = 0; i < a.list->n && !found; i++)
        found = has_affix(s, text_arg(j, a.list->at[i]), at_end);
    return br__jv_bool(found);
}

static struct br__jv m_startswith(struct br__jj *j, const struct br__jj_call *c)
{
    return affix_test(j, c, 0);
}

static struct br__jv m_endswith(struct br__jj *j, const struct br__jj_call *c)
{
    return affix_test(j, c, 1);
}

/* Where the argument begins, in characters; -1 if it is not there. */
static int64_t find_in(struct br__jj *j, const struct br__jj_call *c, int last)
{
    struct br__jv s, x = text_arg(j, c->arg[0]);
    int64_t before;

    if (!search_range(j, c, 1, &s, &before))
        return -1;
    size_t at = last ? find_last(j, s, s.n, x) : br__jj_find(j, s, 0, x);
    return at > s.n ? -1 : before + (int64_t)br__jj_chars(s.s, at);
}

static struct br__jv m_find(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_int(find_in(j, c, 0));
}

static struct br__jv m_rfind(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_int(find_in(j, c, 1));
}

static struct br__jv found_or_fail(struct br__jj *j, const struct br__jj_call *c, int last)
{
    int64_t at = find_in(j, c, last);
    return at < 0 ? br__jj_fail(j, BR_E_FORMAT, "'%s': the substring is not there",
                                last ? "rindex" : "index")
                  : br__jv_int(at);
}

static struct br__jv m_index(struct br__jj *j, const struct br__jj_call *c)
{
    return found_or_fail(j, c, 0);
}

static struct br__jv m_rindex(struct br__jj *j, const struct br__jj_call *c)
{
    return found_or_fail(j, c, 1);
}

static struct br__jv m_count(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s, x = text_arg(j, c->arg[0]);
    int64_t n = 0, before;

    if (!search_range(j, c, 1, &s, &before))
        return br__jv_int(0);
    if (!x.n)
        return br__jv_int((int64_t)br__jj_chars(s.s, s.n) + 1);
    for (size_t at = 0; (at = br__jj_find(j, s, at, x)) <= s.n; at += x.n)
        n++;
    return br__jv_int(n);
}

/* What is before the first or last occurrence of the separator, it, and what is behind; without one
 * the whole string, and two empty ones behind or before it. */
static struct br__jv cut_in_three(struct br__jj *j, const struct br__jj_call *c, int last)
{
    struct br__jv s = c->self, sep = text_arg(j, c->arg[0]);
    struct br__jv parts = br__jv_list(j, BR__JF_TUPLE);
    size_t at;

    if (!sep.n)
        return br__jj_fail(j, BR_E_FORMAT, "partition by an empty string");
    at = last ? find_last(j, s, s.n, sep) : br__jj_find(j, s, 0, sep);
    size_t cut = at <= s.n ? at : last ? 0 : s.n, end = at <= s.n ? at + sep.n : cut;
    br__jv_push(j, parts, method_part(s, 0, cut));
    br__jv_push(j, parts, method_part(s, cut, end));
    br__jv_push(j, parts, method_part(s, end, s.n));
    return parts;
}

static struct br__jv m_partition(struct br__jj *j, const struct br__jj_call *c)
{
    return cut_in_three(j, c, 0);
}

static struct br__jv m_rpartition(struct br__jj *j, const struct br__jj_call *c)
{
    return cut_in_three(j, c, 1);
}

static struct br__jv m_join(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__buf b = {.max = j->limits.bytes};
    const struct br__jv *at;
    size_t n;

    if (br__jv_items(j, c->arg[0], &at, &n))
        return c->self;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        struct br__jv s = c->self.markup ? br__jv_escape(j, at[i]) : text_arg(j, at[i]);
        if (i)
            br__buf_put(&b, c->self.s, c->self.n);
        br__buf_put(&b, s.s, s.n);
    }
    struct br__jv v = br__jv_take(j, &b);
    v.markup = c->self.markup;
    return v;
}

/* ---- dict, list, loop ------------------------------------------------------------------------ */

static struct br__jv m_get(struct br__jj *j, const struct br__jj_call *c)
{
    const struct br__jv *v = br__jv_get(j, c->self, c->arg[0]);
    return v ? *v : c->n_pos > 1 || c->n_kw ? c->arg[1] : br__jv_none();
}

static struct br__jv m_keys(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = br__jv_list(j, BR__JF_KEYS);

    for (size_t i = 0; i < c->self.dict->n && br__jj_step(j, 1); i++)
        br__jv_push(j, v, c->self.dict->key[i]);
    return v;
}

static struct br__jv m_values(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = br__jv_list(j, BR__JF_VALUES);

    for (size_t i = 0; i < c->self.dict->n && br__jj_step(j, 1); i++)
        br__jv_push(j, v, c->self.dict->val[i]);
    return v;
}

static struct br__jv m_items(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = br__jv_list(j, BR__JF_ITEMS);

    for (size_t i = 0; i < c->self.dict->n && br__jj_step(j, 1); i++) {
        struct br__jv pair = br__jv_list(j, BR__JF_TUPLE);
        br__jv_push(j, pair, c->self.dict->key[i]);
        br__jv_push(j, pair, c->self.dict->val[i]);
        br__jv_push(j, v, pair);
    }
    return v;
}

/* copy(): the value itself, since nothing that templates can reach changes. */
static struct br__jv m_copy(struct br__jj *j, const struct br__jj_call *c)
{
    (void)j;
    return c->self;
}

static struct br__jv m_list_index(struct br__jj *j, const struct br__jj_call *c)
{
    for (size_t i = 0; i < c->self.list->n && !j->rc; i++)
        if (br__jv_eq(j, c->self.list->at[i], c->arg[0]))
            return br__jv_int((int64_t)i);
    return br__jj_fail(j, BR_E_FORMAT, "'index': the element is not there");
}

static struct br__jv m_list_count(struct br__jj *j, const struct br__jj_call *c)
{
    int64_t n = 0;

    for (size_t i = 0; i < c->self.list->n && !j->rc; i++)
        n += br__jv_eq(j, c->self.list->at[i], c->arg[0]);
    return br__jv_int(n);
}

static struct br__jv m_cycle(struct br__jj *j, const struct br__jj_call *c)
{
    if (!c->n_pos)
        return br__jj_fail(j, BR_E_FORMAT, "'loop.cycle' needs values");
    return c->pos[c->self.loop->i % c->n_pos];
}

static struct br__jv m_changed(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jj_loop *l = c->self.loop;
    struct br__jv now = br__jv_list(j, BR__JF_TUPLE);

    for (size_t i = 0; i < c->n_pos; i++)
        br__jv_push(j, now, c->pos[i]);
    if (j->rc)
        return now;
    int changed = !l->has_seen || !br__jv_eq(j, l->seen, now);
    l->seen = now;
    l->has_seen = 1;
    return br__jv_bool(changed);
}

/* clang-format off */
static const struct br__jj_row str_methods[] = {
    {"capitalize", m_capitalize, "", 0},
    {"count", m_count, "sub start end", 1},
    {"endswith", m_endswith, "suffix start end", 1},
    {"find", m_find, "sub start end", 1},
    {"index", m_index, "sub start end", 1},
    {"join", m_join, "iterable", 1},
    {"lower", m_lower, "", 0},
    {"lstrip", m_lstrip, "chars", 0},
    {"partition", m_partition, "sep", 1},
    {"removeprefix", m_removeprefix, "prefix", 1},
    {"removesuffix", m_removesuffix, "suffix", 1},
    {"replace", m_replace, "old new count", 2},
    {"rfind", m_rfind, "sub start end", 1},
    {"rindex", m_rindex, "sub start end", 1},
    {"rpartition", m_rpartition, "sep", 1},
    {"rsplit", m_rsplit, "sep maxsplit", 0},
    {"rstrip", m_rstrip, "chars", 0},
    {"split", m_split, "sep maxsplit", 0},
    {"splitlines", m_splitlines, "keepends", 0},
    {"startswith", m_startswith, "prefix start end", 1},
    {"strip", m_strip, "chars", 0},
    {"title", m_title, "", 0},
    {"upper", m_upper, "", 0},
};
/* The sandbox is immutable: what changes a container is refused there, too. */
static const struct br__jj_row dict_methods[] = {
    {"copy", m_copy, "", 0},
    {"get", m_get, "key default", 1},
    {"items", m_items, "", 0},
    {"keys", m_keys, "", 0},
    {"values", m_values, "", 0},
    {"clear", NULL, "*", 0},
    {"fromkeys", NULL, "*", 0},
    {"pop", NULL, "*", 0},
    {"popitem", NULL, "*", 0},
    {"setdefault", NULL, "*", 0},
    {"update", NULL, "*", 0},
};
static const struct br__jj_row list_methods[] = {
    {"copy", m_copy, "", 0},
    {"count", m_list_count, "value", 1},
    {"index", m_list_index, "value", 1},
    {"append", NULL, "*", 0},
    {"clear", NULL, "*", 0},
    {"extend", NULL, "*", 0},
    {"insert", NULL, "*", 0},
    {"pop", NULL, "*", 0},
    {"remove", NULL, "*", 0},
    {"reverse", NULL, "*", 0},
    {"sort", NULL, "*", 0},
};
static const struct br__jj_row loop_methods[] = {
    {"changed", m_changed, "*", 0},
    {"cycle", m_cycle, "*", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_method(struct br__jv self, const char *name, size_t len)
{
    const struct br__jj_row *row;

    switch (self.kind) {
    case BR__JV_STR:
        row = br__jj_row_find(str_methods, BR_COUNTOF(str_methods), name, len);
        return row ? row : br__jj_text_method(name, len);
    case BR__JV_DICT:
        return br__jj_row_find(dict_methods, BR_COUNTOF(dict_methods), name, len);
    case BR__JV_LIST:
        return self.list->flavour > BR__JF_TUPLE
                   ? NULL
                   : br__jj_row_find(list_methods, BR_COUNTOF(list_methods), name, len);
    case BR__JV_LOOP:
        return br__jj_row_find(loop_methods, BR_COUNTOF(loop_methods), name, len);
    default:
        return NULL;
    }
}

/* ---- functions of the environment ------------------------------------------------------------ */

static struct br__jv f_range(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv v = br__jv_list(j, BR__JF_RANGE);
    int two = c->n_pos > 1;
    int64_t start = two ? br__jv_int_arg(j, c->arg[0], 0) : 0;
    int64_t stop = br__jv_int_arg(j, c->arg[two], 0);
    int64_t step = c->n_pos > 2 ? br__jv_int_arg(j, c->arg[2], 1) : 1;
    int64_t n = 0;

    if (step == 0)
        return br__jj_fail(j, BR_E_FORMAT, "'range' with a step of zero");
    for (int64_t i = start; (step > 0 ? i < stop : i > stop) && br__jj_step(j, 1);) {
        if (++n > MAX_RANGE)
            return br__jj_fail(j, BR_E_FORMAT, "'range' of more than %d numbers", MAX_RANGE);
        br__jv_push(j, v, br__jv_int(i));
        if (__builtin_add_overflow(i, step, &i))
            break;
    }
    return v;
}

/* dict() and namespace(): members of a mapping, then keyword arguments. */
static struct br__jv method_members(struct br__jj *j, const struct br__jj_call *c, int kind)
{
    struct br__jv v = br__jv_dict(j, kind);

    if (c->n_pos > 1 || (c->n_pos && c->pos[0].kind != BR__JV_DICT))
        return br__jj_fail(j, BR_E_UNSUPPORTED,
                           "'dict' and 'namespace' take a mapping and keyword arguments");
    for (size_t i = 0; c->n_pos && i < c->pos[0].dict->n && br__jj_step(j, 1); i++)
        br__jv_put(j, v, c->pos[0].dict->key[i], c->pos[0].dict->val[i]);
    for (size_t i = 0; i < c->n_kw; i++)
        br__jv_put(j, v, br__jv_text(c->kw[i].name), c->kw[i].v);
    return v;
}

static struct br__jv f_dict(struct br__jj *j, const struct br__jj_call *c)
{
    return method_members(j, c, BR__JV_DICT);
}

static struct br__jv f_namespace(struct br__jj *j, const struct br__jj_call *c)
{
    return method_members(j, c, BR__JV_NS);
}

static struct br__jv f_raise_exception(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv s = br__jv_as_str(j, c->arg[0]);

    return br__jj_fail(j, BR_E_FORMAT, "the template refuses: %.*s", (int)BR__MIN(s.n, 500), s.s);
}

static struct br__jv f_strftime_now(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv format = text_arg(j, c->arg[0]);
    char text[400], *copy = br__jj_alloc(j, format.n + 2);
    time_t now = (time_t)j->now;
    struct tm tm;

    if (!copy || !localtime_r(&now, &tm))
        return br__jj_fail(j, BR_E_FORMAT, "'strftime_now' has no time");
    /* The final blank tells an empty result from one that does not fit. */
    memcpy(copy, format.s, format.n);
    copy[format.n] = ' ';
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    size_t n = strftime(text, sizeof text, copy, &tm);
#pragma GCC diagnostic pop
    struct br__buf b = {0};
    if (n == 0)
        return br__jj_fail(j, BR_E_FORMAT, "'strftime_now' of more than %zu bytes", sizeof text);
    br__buf_put(&b, text, br__utf8_span(text, n - 1));
    return br__jv_take(j, &b);
}

/* clang-format off */
static const struct br__jj_row globals[] = {
    {"dict", f_dict, "*", 0},
    {"namespace", f_namespace, "*", 0},
    {"raise_exception", f_raise_exception, "message", 1},
    {"range", f_range, "start stop step", 1},
    {"strftime_now", f_strftime_now, "format", 1},
    {"cycler", NULL, "*", 0},
    {"joiner", NULL, "*", 0},
    {"lipsum", NULL, "*", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_global(const char *name)
{
    return br__jj_row_find(globals, BR_COUNTOF(globals), name, strlen(name));
}
