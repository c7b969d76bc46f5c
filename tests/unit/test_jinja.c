/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_jinja.c - the template language: a table whose texts are jinja2's
 * (tests/oracle/jinja_check.py checks it against the real one), the lines of errors, limits, and
 * failing allocations. */
#include "base/base_internal.h"
#include "librun.h"
#include "text/jinja/jinja.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define DATA BRIDGE_TEST_DATA "/jinja/"

static const struct br__jj_limits roomy = {1000000, 32u << 20, 1u << 20};
static struct br_err err;
static char *text;
static size_t n_text;

static void setup(void)
{
    memset(&err, 0, sizeof err);
    text = NULL;
}

static void teardown(void)
{
    br__free(text);
}

static br__json *read_json(const char *path)
{
    br__json *json;
    char *source;
    size_t n;

    ck_assert_int_eq(br__read_text(path, 1u << 20, &source, &n, &err), BR_OK);
    ck_assert_int_eq(br__json_parse(&json, source, n, &err), BR_OK);
    br__free(source);
    return json;
}

/* Compile and run with the members of `vars` (NULL: none) as variables. */
static int render(const char *source, const br__json *vars, const struct br__jj_limits *limits)
{
    struct br__jj_template *t;
    struct br__jj j;

    int rc = br__jj_compile(&t, source, strlen(source), &err);
    if (rc)
        return rc;
    br__jj_begin(&j, t, limits, &err);
    for (const br__json *v = br__json_first(vars); v; v = br__json_next(v))
        br__jj_define(&j, br__json_key(v), br__jv_from_json(&j, v));
    rc = br__jj_run(&j, &text, &n_text);
    br__jj_end(&j);
    br__jj_template_free(t);
    return rc;
}

/* ---- what jinja2 prints ---------------------------------------------------------------------- */

static int run_case(const br__json *c, const br__json *vars, size_t line)
{
    const char *source = br__json_str(br__json_get(c, "template"), NULL);
    const char *want = br__json_str(br__json_get(c, "text"), NULL);

    ck_assert_ptr_nonnull(source);
    setup();
    int rc = render(source, vars, &roomy);
    if (want) {
        ck_assert_msg(rc == BR_OK, "line %zu: %s: %s", line, source, err.msg);
        ck_assert_msg(strcmp(text, want) == 0 && n_text == strlen(want),
                      "line %zu: %s\ngot  %s\nwant %s", line, source, text, want);
    } else {
        ck_assert_msg(rc == BR_E_FORMAT || rc == BR_E_UNSUPPORTED, "line %zu: %s: got '%s'", line,
                      source, rc ? err.msg : text);
        ck_assert_msg(strncmp(err.msg, "line ", 5) == 0, "no line: %s", err.msg);
    }
    teardown();
    return want != NULL;
}

START_TEST(prints_what_jinja2_prints)
{
    br__json *vars = read_json(DATA "vars.json"), *c;
    size_t n, line = 0, texts = 0;
    char *all;

    ck_assert_int_eq(br__read_text(DATA "cases.jsonl", 1u << 20, &all, &n, &err), BR_OK);
    for (char *at = all, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        ck_assert_int_eq(br__json_parse(&c, at, (size_t)(end - at), &err), BR_OK);
        texts += (size_t)run_case(c, vars, ++line);
        br__json_free(c);
    }
    ck_assert_uint_gt(line, 130);
    ck_assert_uint_gt(texts, 60);
    br__free(all);
    br__json_free(vars);
    text = NULL;
}
END_TEST

/* ---- messages -------------------------------------------------------------------------------- */

static const struct {
    const char *source;
    int code;
    const char *message;
} errors[] = {
    {"a\n{{ x.y }}", BR_E_FORMAT, "line 2: 'x' is undefined"},
    {"{{ {'a': 1}.b.c }}", BR_E_FORMAT, "line 1: 'dict' has no attribute or element 'b'"},
    {"\n\n{{ 1 + 'a' }}", BR_E_FORMAT, "line 3: '+' of 'int' and 'str' is not defined"},
    {"{{ 1|nope }}", BR_E_UNSUPPORTED, "line 1: no filter is named 'nope'"},
    {"{{ 1 is nope }}", BR_E_UNSUPPORTED, "line 1: no test is named 'nope'"},
    {"{{ ''.translate({}) }}", BR_E_UNSUPPORTED,
     "line 1: method 'translate' is not supported here"},
    {"{{ '{:c}'.format(3) }}", BR_E_UNSUPPORTED, "line 1: the formats 'c' and 'n'"},
    {"{{ '{'.format(3) }}", BR_E_FORMAT, "line 1: single '{' in a format"},
    {"{{ '{2}'.format(3) }}", BR_E_FORMAT, "line 1: 'format' has no argument 2"},
    {"{{ [].append(3) }}", BR_E_UNSUPPORTED, "line 1: method 'append' is not supported here"},
    {"{{ joiner() }}", BR_E_UNSUPPORTED, "line 1: function 'joiner' is not supported here"},
    {"{{ raise_exception('no') }}", BR_E_FORMAT, "line 1: the template refuses: no"},
    {"\n{% if x %}\n", BR_E_FORMAT, "'endif' is missing for the tag of line 2"},
    {"{% for x in y recursive %}", BR_E_UNSUPPORTED, "line 1: recursive loops are not supported"},
    {"{% extends 'x' %}", BR_E_UNSUPPORTED, "line 1: the tag 'extends' is not supported"},
    {"{{ f(*x) }}", BR_E_UNSUPPORTED, "'*' and '**' in a call are not supported"},
    {"{{ a b }}", BR_E_FORMAT, "line 1: found 'b', expected '}}'"},
    {"\n{{ a", BR_E_FORMAT, "line 2: the tag does not end; '}}' is missing"},
    {"{% foo %}", BR_E_FORMAT, "line 1: unknown tag 'foo'"},
    {"{{ 'a\\0b' }}", BR_E_FORMAT, "line 1: '\\0' is not followed by a character's number"},
    {"{{ 99999999999999999999 }}", BR_E_FORMAT, "is not a number below 2^63"},
    {"{{ 9223372036854775807 + 1 }}", BR_E_UNSUPPORTED, "beyond 64 bits"},
    {"{{ ''|upper(1) }}", BR_E_FORMAT, "filter 'upper' takes at most 0 argument(s), got 1"},
    {"{{ ''|trim(chars='a', x=1) }}", BR_E_FORMAT, "filter 'trim' has not an argument 'x'"},
    {"{{ ''.replace('a') }}", BR_E_FORMAT, "'replace' needs 2 argument(s): old new count"},
    {"{{ range }}", BR_E_UNSUPPORTED, "line 1: printing a 'function' is not supported"},
    {"\xff", BR_E_FORMAT, "not UTF-8"},
};

START_TEST(an_error_says_where_and_what)
{
    ck_assert_int_eq(render(errors[_i].source, NULL, &roomy), errors[_i].code);
    ck_assert_msg(strstr(err.msg, errors[_i].message) != NULL, "%s: %s", errors[_i].source,
                  err.msg);
}
END_TEST

/* Line ends of any kind, and the last one of the source goes. */
START_TEST(line_ends_are_normalised)
{
    ck_assert_int_eq(render("a\r\nb\rc\n\r\n", NULL, &roomy), BR_OK);
    ck_assert_str_eq(text, "a\nb\nc\n");
}
END_TEST

START_TEST(the_clock_is_the_callers)
{
    struct br__jj_template *t;
    struct br__jj j;
    const char *source = "{{ strftime_now('%Y %% x') }}|{{ strftime_now('') }}|";

    ck_assert_int_eq(br__jj_compile(&t, source, strlen(source), &err), BR_OK);
    br__jj_begin(&j, t, &roomy, &err);
    j.now = 1000000000; /* in 2001, whatever the time zone */
    ck_assert_int_eq(br__jj_run(&j, &text, &n_text), BR_OK);
    ck_assert_str_eq(text, "2001 % x||");
    br__jj_end(&j);
    br__jj_template_free(t);
}
END_TEST

/* ---- limits ---------------------------------------------------------------------------------- */

static const struct {
    const char *source, *message;
} hostile[] = {
    {"{% set r = range(9999) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}", "steps"},
    {"{% set ns = namespace(x='ab') %}{% for a in range(60) %}{% set ns.x = ns.x + ns.x %}{% "
     "endfor %}",
     "bytes of memory"},
    {"{{ 'x' * 999999999999 }}", "bytes of memory"},
    {"{{ [0] * 999999999999 }}", "memory"},
    {"{% for a in range(9999) %}{{ 'x' * 999 }}{% endfor %}", "more than 1048576 bytes"},
    {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursive beyond"},
    {"{% set ns = namespace(x=[]) %}{% for a in range(5000) %}{% set ns.x = [ns.x] %}{% endfor %}"
     "{{ ns.x }}",
     "beyond 1000 levels"},
    {"{% set ns = namespace(x=[1]) %}{% for a in range(64) %}{% set ns.x = [ns.x, ns.x] %}{% "
     "endfor %}"
     "{{ ns.x }}",
     "a text of more than"},
    {"{{ 'a'|indent(999999999999) ~ ('a\nb'|indent(999999999999)) }}", "a text of more than"},
    {"{{ range(100001)|length }}", "'range' of more than"},
};

START_TEST(a_run_is_bounded)
{
    int rc = render(hostile[_i].source, NULL, &roomy);

    ck_assert_msg(rc == BR_E_FORMAT, "%s: %d %s", hostile[_i].source, rc, err.msg);
    ck_assert_msg(strstr(err.msg, hostile[_i].message) != NULL, "%s: %s", hostile[_i].source,
                  err.msg);
}
END_TEST

START_TEST(nesting_of_the_source_is_bounded)
{
    static const char *const parts[] = {"(", "[", "not ", "-", "{'a':", "1 if 1 else "};
    struct br__buf b = {0};

    br__buf_puts(&b, "{{ ");
    for (int i = 0; i < 5000; i++)
        br__buf_puts(&b, parts[_i]);
    ck_assert_int_ne(render(b.p, NULL, &roomy), BR_OK);
    ck_assert_str_ne(err.msg, "");
    b.n = 0;
    for (int i = 0; i < 5000; i++)
        br__buf_puts(&b, "{% if 1 %}");
    ck_assert_int_eq(render(b.p, NULL, &roomy), BR_E_UNSUPPORTED);
    br__buf_free(&b);
}
END_TEST

/* A long chain of operators is no nesting for the parser, but it is for the run. */
START_TEST(long_chains_end_in_an_error)
{
    struct br__buf b = {0};

    br__buf_puts(&b, "{{ 0");
    for (int i = 0; i < 100000; i++)
        br__buf_puts(&b, " + 1");
    br__buf_puts(&b, " }}");
    ck_assert_int_eq(render(b.p, NULL, &roomy), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "beyond 1000 levels"));
    br__buf_free(&b);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

static struct br__mem_ops real_mem;
static long countdown;

static void *failing_realloc(void *p, size_t n)
{
    return countdown-- == 0 ? NULL : real_mem.realloc(p, n);
}

/* Every allocation fails once; nothing may leak (the sanitizer sees it) or be half done. */
START_TEST(failing_allocations_are_errors)
{
    static const char source[] =
        "{% macro f(a, b=2) %}{{ a ~ b }}{% endmacro %}{% set ns = namespace(x=1) %}"
        "{% for k, v in {'a': [1, 2], 'b': 'x'}.items() if v %}{{ f(k) }}{{ v|tojson(indent=2) }}"
        "{% endfor %}{% set t %}{{ 'a b'.split()|join(',')|upper }}{% endset %}{{ t[::-1] }}";
    int rc = BR_E_NOMEM;

    real_mem = br__mem;
    for (long i = 0; rc; i++) {
        ck_assert_int_lt(i, 10000);
        setup();
        countdown = i;
        br__mem.realloc = failing_realloc;
        rc = render(source, NULL, &roomy);
        br__mem = real_mem;
        if (rc) {
            ck_assert_int_eq(rc, BR_E_NOMEM);
            ck_assert_ptr_null(text);
        }
    }
    ck_assert_ptr_nonnull(strstr(text, "a2[\n  1,\n  2\n]b2\"x\"B,A"));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jinja");
    TCase *tc = tcase_create("jinja");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, prints_what_jinja2_prints);
    tcase_add_loop_test(tc, an_error_says_where_and_what, 0, (int)BR_COUNTOF(errors));
    tcase_add_test(tc, line_ends_are_normalised);
    tcase_add_test(tc, the_clock_is_the_callers);
    tcase_add_loop_test(tc, a_run_is_bounded, 0, (int)BR_COUNTOF(hostile));
    tcase_add_loop_test(tc, nesting_of_the_source_is_bounded, 0, 6);
    tcase_add_test(tc, long_chains_end_in_an_error);
    tcase_add_test(tc, failing_allocations_are_errors);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
