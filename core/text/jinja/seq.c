/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* seq.c - filters of sequences, and the tests.
 *
 * Where Jinja2 returns a generator (map, select, reverse ...) the list here has that flavour. */
#include "jinja.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int seq_absent(struct br__jv v)
{
    return v.kind == BR__JV_UNDEF || v.kind == BR__JV_NONE;
}

static struct br__jv seq_nothing(void)
{
    return br__jv_undef(NULL, 0, BR__JV_KINDS);
}

/* ---- elements -------------------------------------------------------------------------------- */

static struct br__jv seq_copy(struct br__jj *j, struct br__jv from, int flavour)
{
    struct br__jv list = br__jv_list(j, flavour);
    const struct br__jv *at;
    size_t n;

    if (br__jv_items(j, from, &at, &n))
        return list;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++)
        br__jv_push(j, list, at[i]);
    return list;
}

static struct br__jv x_list(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_copy(j, c->self, BR__JF_LIST);
}

static struct br__jv one_end(struct br__jj *j, const struct br__jj_call *c, int last)
{
    const struct br__jv *at;
    size_t n;

    if (br__jv_items(j, c->self, &at, &n))
        return seq_nothing();
    if (!n)
        return br__jv_undef("end of an empty sequence", 24, BR__JV_KINDS);
    struct br__jv v = at[last ? n - 1 : 0];
    if (last &&
        c->self.kind == BR__JV_STR) /* by index, which keeps markup; the first by iteration */
        v.markup = c->self.markup;
    return v;
}

static struct br__jv x_first(struct br__jj *j, const struct br__jj_call *c)
{
    return one_end(j, c, 0);
}

static struct br__jv x_last(struct br__jj *j, const struct br__jj_call *c)
{
    return one_end(j, c, 1);
}

static struct br__jv x_items(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jj_call call = {.self = c->self};

    if (c->self.kind == BR__JV_UNDEF)
        return br__jv_list(j, BR__JF_GENERATOR);
    if (c->self.kind != BR__JV_DICT)
        return br__jj_fail(j, BR_E_FORMAT, "'items' of a '%s'", br__jv_type(c->self));
    struct br__jv v = br__jj_invoke(j, br__jj_method(c->self, "items", 5), "filter", &call);
    if (!j->rc)
        v.list->flavour = BR__JF_GENERATOR;
    return v;
}

static struct br__jv x_reverse(struct br__jj *j, const struct br__jj_call *c)
{
    const struct br__jv back[3] = {br__jv_none(), br__jv_none(), br__jv_int(-1)};

    if (c->self.kind == BR__JV_STR)
        return br__jv_cut(j, c->self, back);
    struct br__jv list = seq_copy(j, c->self, BR__JF_LIST);
    if (j->rc)
        return list;
    list = br__jv_cut(j, list, back);
    if (!j->rc)
        list.list->flavour = BR__JF_GENERATOR;
    return list;
}

static struct br__jv x_join(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv sep = seq_absent(c->arg[0]) ? br__jv_slice("", 0) : br__jv_as_str(j, c->arg[0]);
    struct br__buf b = {.max = j->limits.bytes};
    const struct br__jv *at;
    size_t n;

    if (br__jv_items(j, c->self, &at, &n))
        return sep;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        if (i)
            br__buf_put(&b, sep.s, sep.n);
        br__jv_str(j, &b, seq_absent(c->arg[1]) ? at[i] : br__jv_path(j, at[i], c->arg[1]));
    }
    return br__jv_take(j, &b);
}

static struct br__jv x_sum(struct br__jj *j, const struct br__jj_call *c)
{
    const struct br__jv *at;
    struct br__jv sum = c->arg[1].kind == BR__JV_UNDEF ? br__jv_int(0) : c->arg[1];
    size_t n;

    if (br__jv_items(j, c->self, &at, &n))
        return sum;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        struct br__jv v = seq_absent(c->arg[0]) ? at[i] : br__jv_path(j, at[i], c->arg[0]);
        if (!br__jv_is_num(v) || !br__jv_is_num(sum))
            return br__jj_fail(j, BR_E_FORMAT, "'sum' of a '%s'", br__jv_type(v));
        if (v.kind == BR__JV_FLOAT || sum.kind == BR__JV_FLOAT)
            sum = br__jv_float(br__jv_num(sum) + br__jv_num(v));
        else if (__builtin_add_overflow(sum.i, v.i, &sum.i))
            return br__jj_fail(j, BR_E_UNSUPPORTED, "'sum' beyond 64 bits");
        else
            sum.kind = BR__JV_INT;
    }
    return sum;
}

static struct br__jv x_batch(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv all = br__jv_list(j, BR__JF_GENERATOR), row = seq_nothing();
    int64_t size = br__jv_int_arg(j, c->arg[0], 0);
    const struct br__jv *at;
    size_t n;

    if (size < 1)
        return br__jj_fail(j, BR_E_FORMAT, "'batch' of less than one element");
    if (br__jv_items(j, c->self, &at, &n))
        return all;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        if (i % (size_t)size == 0) {
            row = br__jv_list(j, BR__JF_LIST);
            br__jv_push(j, all, row);
        }
        br__jv_push(j, row, at[i]);
    }
    while (!j->rc && n && c->arg[1].kind > BR__JV_NONE && row.list->n < (size_t)size &&
           br__jj_step(j, 1))
        br__jv_push(j, row, c->arg[1]);
    return all;
}

/* ---- order ----------------------------------------------------------------------------------- */

/* What an element is ordered by: itself or an attribute, in lower case unless case counts. */
static struct br__jv sort_key(struct br__jj *j, struct br__jv v, struct br__jv attribute,
                              int case_sensitive)
{
    struct br__buf b = {.max = j->limits.bytes};

    if (!seq_absent(attribute))
        v = br__jv_path(j, v, attribute);
    if (case_sensitive || v.kind != BR__JV_STR)
        return v;
    for (size_t i = 0; i < v.n && br__jj_step(j, 1);)
        i += br__jj_put_case(j, &b, v, i, BR__JJ_LOWER);
    return br__jv_take(j, &b);
}

/* The key of |sort: a list, of one attribute or several separated by commas. */
static struct br__jv sort_keys(struct br__jj *j, struct br__jv v, struct br__jv attribute,
                               int case_sensitive)
{
    struct br__jv list = br__jv_list(j, BR__JF_LIST);

    if (attribute.kind != BR__JV_STR) {
        br__jv_push(j, list, sort_key(j, v, attribute, case_sensitive));
        return list;
    }
    for (size_t at = 0; at <= attribute.n && br__jj_step(j, 1);) {
        const char *comma = memchr(attribute.s + at, ',', attribute.n - at);
        size_t n = comma ? (size_t)(comma - attribute.s) - at : attribute.n - at;
        br__jv_push(j, list, sort_key(j, v, br__jv_slice(attribute.s + at, n), case_sensitive));
        at += n + 1;
    }
    return list;
}

struct pair {
    struct br__jv key, v;
};

/* Stable, by merging; reverse keeps the order of equals, as Python's. */
static void merge_sort(struct br__jj *j, struct pair *p, struct pair *tmp, size_t n, int reverse)
{
    for (size_t width = 1; width < n && !j->rc; width *= 2) {
        for (size_t from = 0; from < n; from += 2 * width) {
            size_t mid = BR__MIN(from + width, n), end = BR__MIN(from + 2 * width, n);
            size_t a = from, b = mid;
            for (size_t i = from; i < end; i++) {
                int c = a < mid && b < end ? br__jv_cmp(j, p[a].key, p[b].key) : a < mid ? 0 : 1;
                if (a < mid && b < end && reverse)
                    c = -c;
                tmp[i] = c <= 0 ? p[a++] : p[b++];
            }
        }
        memcpy(p, tmp, n * sizeof *p);
    }
}

static struct br__jv seq_sorted(struct br__jj *j, struct br__jv from, struct br__jv attribute,
                                int case_sensitive, int reverse)
{
    struct br__jv list = seq_copy(j, from, BR__JF_LIST);

    if (j->rc)
        return list;
    size_t n = list.list->n;
    struct pair *p = br__jj_alloc(j, (n + 1) * sizeof *p);
    struct pair *tmp = br__jj_alloc(j, (n + 1) * sizeof *tmp);
    for (size_t i = 0; i < n && !j->rc; i++)
        p[i] = (struct pair){sort_keys(j, list.list->at[i], attribute, case_sensitive),
                             list.list->at[i]};
    if (j->rc)
        return list;
    merge_sort(j, p, tmp, n, reverse);
    for (size_t i = 0; i < n; i++)
        list.list->at[i] = p[i].v;
    return list;
}

static struct br__jv x_sort(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_sorted(j, c->self, c->arg[2], br__jv_true(c->arg[1]), br__jv_true(c->arg[0]));
}

static struct br__jv x_dictsort(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv by = c->arg[1];
    int value = br__jv_is_text(by, "value");

    if (!seq_absent(by) && !value && !br__jv_is_text(by, "key"))
        return br__jj_fail(j, BR_E_FORMAT, "'dictsort' sorts by 'key' or 'value'");
    struct br__jv items = x_items(j, c);
    return j->rc ? items
                 : seq_sorted(j, items, br__jv_int(value), br__jv_true(c->arg[0]),
                              br__jv_true(c->arg[2]));
}

static struct br__jv x_unique(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv list = br__jv_list(j, BR__JF_GENERATOR), seen = br__jv_list(j, BR__JF_LIST);
    const struct br__jv *at;
    size_t n;

    if (br__jv_items(j, c->self, &at, &n))
        return list;
    for (size_t i = 0; i < n && !j->rc; i++) {
        struct br__jv key = sort_key(j, at[i], c->arg[1], br__jv_true(c->arg[0]));
        if (j->rc || br__jv_in(j, key, seen))
            continue;
        br__jv_push(j, seen, key);
        br__jv_push(j, list, at[i]);
    }
    return list;
}

static struct br__jv seq_extreme(struct br__jj *j, const struct br__jj_call *c, int want)
{
    const struct br__jv *at;
    struct br__jv best = br__jv_undef("extreme of an empty sequence", 28, BR__JV_KINDS), key = best;
    size_t n;

    if (br__jv_items(j, c->self, &at, &n))
        return best;
    for (size_t i = 0; i < n && !j->rc; i++) {
        struct br__jv k = sort_key(j, at[i], c->arg[1], br__jv_true(c->arg[0]));
        if (i == 0 || (!j->rc && br__jv_cmp(j, k, key) == want)) {
            key = k;
            best = at[i];
        }
    }
    return best;
}

static struct br__jv x_min(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_extreme(j, c, -1);
}

static struct br__jv x_max(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_extreme(j, c, 1);
}

/* ---- map, select, reject --------------------------------------------------------------------- */

/* The filter or test that argument `at` names, called with c's arguments behind it. */
static const struct br__jj_row *seq_named(struct br__jj *j, const struct br__jj_call *c, size_t at,
                                          int filter, struct br__jj_call *inner)
{
    struct br__jv name = c->pos[at];
    const struct br__jj_row *row = NULL;

    if (name.kind == BR__JV_STR)
        row = filter ? br__jj_filter(name.s, name.n) : br__jj_test(name.s, name.n);
    if (!row)
        br__jj_fail(j, BR_E_UNSUPPORTED, "no %s is named '%.*s'", filter ? "filter" : "test",
                    name.kind == BR__JV_STR ? (int)BR__MIN(name.n, 60) : 1,
                    name.kind == BR__JV_STR ? name.s : "?");
    *inner = (struct br__jj_call){
        .pos = c->pos + at + 1, .n_pos = c->n_pos - at - 1, .kw = c->kw, .n_kw = c->n_kw};
    return row;
}

static const struct br__jv *seq_kwarg(const struct br__jj_call *c, const char *name)
{
    for (size_t i = 0; i < c->n_kw; i++)
        if (strcmp(c->kw[i].name, name) == 0)
            return &c->kw[i].v;
    return NULL;
}

/* map('filter', ...) or map(attribute='a.b', default=...) */
static struct br__jv x_map(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv list = br__jv_list(j, BR__JF_GENERATOR);
    const struct br__jv *attribute = seq_kwarg(c, "attribute"), *dflt = seq_kwarg(c, "default"),
                        *at;
    const struct br__jj_row *row = NULL;
    struct br__jj_call inner;
    size_t n;

    if (c->n_pos)
        row = seq_named(j, c, 0, 1, &inner);
    else if (!attribute || c->n_kw != (dflt ? 2u : 1u))
        return br__jj_fail(j, BR_E_FORMAT, "'map' needs a filter or attribute=");
    /* an undefined or false value need not be a sequence */
    if (j->rc || !br__jv_true(c->self) || br__jv_items(j, c->self, &at, &n))
        return list;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        struct br__jv v;
        if (row) {
            inner.self = at[i];
            v = br__jj_invoke(j, row, "filter", &inner);
        } else {
            v = br__jv_path(j, at[i], *attribute);
            v = dflt && v.kind == BR__JV_UNDEF ? *dflt : v;
        }
        br__jv_push(j, list, v);
    }
    return list;
}

/* Elements that pass a test, or whose attribute does (without a test: that are true); `want`: the
 * result that keeps an element. */
static struct br__jv seq_pick(struct br__jj *j, const struct br__jj_call *c, int attribute,
                              int want)
{
    struct br__jv list = br__jv_list(j, BR__JF_GENERATOR);
    const struct br__jj_row *row = NULL;
    const struct br__jv *at;
    struct br__jj_call inner;
    size_t first = (size_t)attribute, n;

    if (c->n_pos < first)
        return br__jj_fail(j, BR_E_FORMAT, "the name of an attribute is missing");
    if (c->n_pos > first)
        row = seq_named(j, c, first, 0, &inner);
    if (j->rc || !br__jv_true(c->self) || br__jv_items(j, c->self, &at, &n))
        return list;
    for (size_t i = 0; i < n && br__jj_step(j, 1); i++) {
        struct br__jv v = attribute ? br__jv_path(j, at[i], c->pos[0]) : at[i];
        if (row && !j->rc) {
            inner.self = v;
            v = br__jj_invoke(j, row, "test", &inner);
        }
        if (br__jv_true(v) == want)
            br__jv_push(j, list, at[i]);
    }
    return list;
}

static struct br__jv x_select(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_pick(j, c, 0, 1);
}

static struct br__jv x_reject(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_pick(j, c, 0, 0);
}

static struct br__jv x_selectattr(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_pick(j, c, 1, 1);
}

static struct br__jv x_rejectattr(struct br__jj *j, const struct br__jj_call *c)
{
    return seq_pick(j, c, 1, 0);
}

/* clang-format off */
static const struct br__jj_row filters[] = {
    {"batch", x_batch, "linecount fill_with", 1},
    {"dictsort", x_dictsort, "case_sensitive by reverse", 0},
    {"first", x_first, "", 0},
    {"items", x_items, "", 0},
    {"join", x_join, "d attribute", 0},
    {"last", x_last, "", 0},
    {"list", x_list, "", 0},
    {"map", x_map, "*", 0},
    {"max", x_max, "case_sensitive attribute", 0},
    {"min", x_min, "case_sensitive attribute", 0},
    {"reject", x_reject, "*", 0},
    {"rejectattr", x_rejectattr, "*", 0},
    {"reverse", x_reverse, "", 0},
    {"select", x_select, "*", 0},
    {"selectattr", x_selectattr, "*", 0},
    {"sort", x_sort, "reverse case_sensitive attribute", 0},
    {"sum", x_sum, "attribute start", 0},
    {"unique", x_unique, "case_sensitive attribute", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_filter(const char *name, size_t len)
{
    const struct br__jj_row *row = br__jj_row_find(filters, BR_COUNTOF(filters), name, len);
    return row ? row : br__jj_text_filter(name, len);
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* One question about self: a row per test, sharing one function where the answer is its kind. */
#define TEST(name, answer)                                                                         \
    static struct br__jv is_##name(struct br__jj *j, const struct br__jj_call *c)                  \
    {                                                                                              \
        const struct br__jv v = c->self;                                                           \
        (void)j;                                                                                   \
        return br__jv_bool(answer);                                                                \
    }

TEST(defined, v.kind != BR__JV_UNDEF)
TEST(undefined, v.kind == BR__JV_UNDEF)
TEST(none, v.kind == BR__JV_NONE)
TEST(boolean, v.kind == BR__JV_BOOL)
TEST(true, v.kind == BR__JV_BOOL && v.i)
TEST(false, v.kind == BR__JV_BOOL && !v.i)
TEST(integer, v.kind == BR__JV_INT || v.kind == BR__JV_BIG)
TEST(float, v.kind == BR__JV_FLOAT)
TEST(number, br__jv_is_num(v) || v.kind == BR__JV_BIG)
TEST(string, v.kind == BR__JV_STR)
TEST(mapping, v.kind == BR__JV_DICT)
TEST(callable, v.kind == BR__JV_FUNC || v.kind == BR__JV_MACRO || v.kind == BR__JV_UNDEF)
TEST(escaped, v.kind == BR__JV_STR && v.markup)
TEST(iterable, v.kind == BR__JV_STR || v.kind == BR__JV_LIST || v.kind == BR__JV_DICT ||
                   v.kind == BR__JV_UNDEF || v.kind == BR__JV_LOOP)
TEST(sequence, v.kind == BR__JV_STR || v.kind == BR__JV_DICT || v.kind == BR__JV_UNDEF ||
                   (v.kind == BR__JV_LIST && v.list->flavour <= BR__JF_RANGE &&
                    v.list->flavour != BR__JF_GENERATOR))
TEST(filter, v.kind == BR__JV_STR && br__jj_filter(v.s, v.n) != NULL)
TEST(test, v.kind == BR__JV_STR && br__jj_test(v.s, v.n) != NULL)
TEST(eq, br__jv_eq(j, v, c->arg[0]))
TEST(ne, !br__jv_eq(j, v, c->arg[0]))
TEST(in, br__jv_in(j, v, c->arg[0]))
#undef TEST

/* Comparisons with an undefined side are errors in Jinja2; br__jv_cmp makes them so. */
#define ORDER(name, answer)                                                                        \
    static struct br__jv is_##name(struct br__jj *j, const struct br__jj_call *c)                  \
    {                                                                                              \
        int order = br__jv_cmp(j, c->self, c->arg[0]);                                             \
        return br__jv_bool(answer);                                                                \
    }

ORDER(lt, order < 0)
ORDER(le, order <= 0)
ORDER(gt, order > 0)
ORDER(ge, order >= 0)
#undef ORDER

/* Is v % by the number `want`?  A failure for anything but numbers. */
static struct br__jv has_rest(struct br__jj *j, struct br__jv v, struct br__jv by, int want)
{
    if (!br__jv_is_num(v) || !br__jv_is_num(by) || br__jv_num(by) == 0)
        return br__jj_fail(j, BR_E_FORMAT, "the rest of a '%s' by a '%s' is not defined here",
                           br__jv_type(v), br__jv_type(by));
    if (v.kind == BR__JV_FLOAT || by.kind == BR__JV_FLOAT)
        return br__jv_bool(
            fmod(fmod(br__jv_num(v), br__jv_num(by)) + br__jv_num(by), br__jv_num(by)) == want);
    int64_t rest = by.i == -1 ? 0 : v.i % by.i;
    return br__jv_bool((rest < 0 ? rest + llabs(by.i) : rest) == want);
}

static struct br__jv is_even(struct br__jj *j, const struct br__jj_call *c)
{
    return has_rest(j, c->self, br__jv_int(2), 0);
}

static struct br__jv is_odd(struct br__jj *j, const struct br__jj_call *c)
{
    return has_rest(j, c->self, br__jv_int(2), 1);
}

static struct br__jv is_divisibleby(struct br__jj *j, const struct br__jj_call *c)
{
    return has_rest(j, c->self, c->arg[0], 0);
}

/* `is`: the same object.  Small values are the same when they are equal and of one type. */
static struct br__jv is_sameas(struct br__jj *j, const struct br__jj_call *c)
{
    struct br__jv a = c->self, b = c->arg[0];

    if (a.kind == BR__JV_LIST || a.kind == BR__JV_DICT)
        return br__jv_bool(a.kind == b.kind && a.i == b.i);
    return br__jv_bool(a.kind == b.kind && br__jv_eq(j, a, b));
}

static struct br__jv is_lower(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_bool(br__jj_has_case(j, br__jv_as_str(j, c->self), BR__JJ_LOWER));
}

static struct br__jv is_upper(struct br__jj *j, const struct br__jj_call *c)
{
    return br__jv_bool(br__jj_has_case(j, br__jv_as_str(j, c->self), BR__JJ_UPPER));
}

/* clang-format off */
static const struct br__jj_row tests[] = {
    {"!=", is_ne, "other", 1},          {"<", is_lt, "other", 1},
    {"<=", is_le, "other", 1},          {"==", is_eq, "other", 1},
    {">", is_gt, "other", 1},           {">=", is_ge, "other", 1},
    {"boolean", is_boolean, "", 0},     {"callable", is_callable, "", 0},
    {"defined", is_defined, "", 0},     {"divisibleby", is_divisibleby, "num", 1},
    {"eq", is_eq, "other", 1},          {"equalto", is_eq, "other", 1},
    {"escaped", is_escaped, "", 0},     {"even", is_even, "", 0},
    {"false", is_false, "", 0},         {"filter", is_filter, "", 0},
    {"float", is_float, "", 0},         {"ge", is_ge, "other", 1},
    {"greaterthan", is_gt, "other", 1}, {"gt", is_gt, "other", 1},
    {"in", is_in, "seq", 1},            {"integer", is_integer, "", 0},
    {"iterable", is_iterable, "", 0},   {"le", is_le, "other", 1},
    {"lessthan", is_lt, "other", 1},    {"lower", is_lower, "", 0},
    {"lt", is_lt, "other", 1},          {"mapping", is_mapping, "", 0},
    {"ne", is_ne, "other", 1},          {"none", is_none, "", 0},
    {"number", is_number, "", 0},       {"odd", is_odd, "", 0},
    {"sameas", is_sameas, "other", 1},  {"sequence", is_sequence, "", 0},
    {"string", is_string, "", 0},       {"test", is_test, "", 0},
    {"true", is_true, "", 0},           {"undefined", is_undefined, "", 0},
    {"upper", is_upper, "", 0},
};
/* clang-format on */

const struct br__jj_row *br__jj_test(const char *name, size_t len)
{
    return br__jj_row_find(tests, BR_COUNTOF(tests), name, len);
}
