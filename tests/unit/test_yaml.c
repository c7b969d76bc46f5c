/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_yaml.c - run_config.yaml as a tree: what PyYAML reads, and the refusal of what could hurt.
 */
#include "base/base_internal.h"
#include "format/format.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br__arena arena;
static struct br_err err;
static struct br__yaml *doc;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    memset(&err, 0, sizeof err);
    doc = NULL;
}

static void teardown(void)
{
    br__arena_free(&arena);
}

static int parse(const char *text)
{
    return br__yaml_parse(&arena, text, strlen(text), &doc, &err);
}

static const char *text_at(const char *path)
{
    const struct br__yaml *y = br__yaml_get(doc, path);

    return y && y->kind == BR__YAML_SCALAR ? y->text : NULL;
}

/* ---- trees ----------------------------------------------------------------------------------- */

START_TEST(reads_a_tree)
{
    ck_assert_int_eq(parse("a:\n  b: x\n  'c': 'y'\n  d: {e: [1, two, \"\"]}\nlist:\n- 1\n-\n"),
                     BR_OK);
    ck_assert_int_eq(doc->kind, BR__YAML_MAP);
    ck_assert_uint_eq(doc->n, 2);
    ck_assert_str_eq(doc->keys[1], "list");
    ck_assert_str_eq(text_at("a.b"), "x");
    ck_assert_int_eq(br__yaml_get(doc, "a.b")->plain, 1);
    ck_assert_str_eq(text_at("a.c"), "y");
    ck_assert_int_eq(br__yaml_get(doc, "a.c")->plain, 0);
    const struct br__yaml *e = br__yaml_get(doc, "a.d.e");
    ck_assert_int_eq(e->kind, BR__YAML_LIST);
    ck_assert_uint_eq(e->n, 3);
    ck_assert_str_eq(e->items[1]->text, "two");
    ck_assert_int_eq(e->items[2]->plain, 0);
    ck_assert(br__yaml_is_null(br__yaml_get(doc, "list")->items[1]));
    ck_assert_ptr_null(br__yaml_get(doc, "a.b.c"));
    ck_assert_ptr_null(br__yaml_get(doc, "list.0"));
    ck_assert_ptr_null(br__yaml_get(doc, "a.dd"));
    ck_assert_ptr_null(br__yaml_get(doc, ""));
    ck_assert_ptr_null(br__yaml_get(NULL, "a"));
}
END_TEST

START_TEST(reads_the_tags_of_the_core_schema)
{
    double v;

    ck_assert_int_eq(parse("a: !!str 5\nb: !!int '5'\nc: !!float 5\nd: ! 5\ne: !!map {}\n"
                           "f: !!set\n  x: null\n  y: null\n"),
                     BR_OK);
    ck_assert_int_eq(br__yaml_get(doc, "f")->kind, BR__YAML_MAP);
    ck_assert_uint_eq(br__yaml_get(doc, "f")->n, 2);
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "a"), &v), BR_E_FORMAT);
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "b"), &v), BR_OK);
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "c"), &v), BR_OK);
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "d"), &v), BR_E_FORMAT);
    ck_assert_int_eq(br__yaml_get(doc, "e")->kind, BR__YAML_MAP);
}
END_TEST

static const struct {
    const char *yaml, *message;
} bad[] = {
    {"", "no document"},
    {"# only a comment\n", "no document"},
    {"a: 1\n---\nb: 2\n", "more than one document"},
    {"a: [1\n", "YAML line 2"},
    {"a: 'x\n", "YAML line"},
    {"\ta: 1\n", "YAML line 1"},
    {"a: 1\nb: 2\na: 3\n", "the key 'a' is there twice"},
    {"? [1, 2]\n: x\n", "a key that is not plain text"},
    {"? {a: 1}\n: x\n", "a key that is not plain text"},
    {"a: &x 1\nb: *x\n", "YAML line 1: anchors"},
    {"a: &x [1]\n", "anchors"},
    {"a: &x {b: 1}\n", "anchors"},
    {"a: *x\n", "aliases"},
    {"*x : 1\n", "a key that is not plain text"},
    {"a:\n  <<: {b: 1}\n", "YAML line 2: merge keys"},
    {"a: !!python/object/apply:os.system ['x']\n",
     "the tag 'tag:yaml.org,2002:python/object/apply"},
    {"a: !mine 1\n", "the tag '!mine' is not supported"},
    {"a: !!binary aGk=\n", "the tag 'tag:yaml.org,2002:binary' is not supported"},
    {"a: \"x\\0y\"\n", "NUL"},
    {"a: \xff\n", "YAML line 1"},
};

START_TEST(refuses)
{
    int rc = parse(bad[_i].yaml);

    ck_assert_msg(rc == BR_E_FORMAT, "case %d: rc %d", _i, rc);
    ck_assert_msg(strstr(err.msg, bad[_i].message) != NULL, "case %d: '%s' has no '%s'", _i,
                  err.msg, bad[_i].message);
    ck_assert_ptr_null(doc);
}
END_TEST

/* n levels of flow lists */
static int parse_nested(size_t n)
{
    struct br__buf b = {0};

    for (size_t i = 0; i < n; i++)
        br__buf_putc(&b, '[');
    for (size_t i = 0; i < n; i++)
        br__buf_putc(&b, ']');
    int rc = br__yaml_parse(&arena, b.p, b.n, &doc, &err);
    br__buf_free(&b);
    return rc;
}

START_TEST(bounds_depth_and_size)
{
    ck_assert_int_eq(parse_nested(60), BR_OK);
    ck_assert_int_eq(parse_nested(70), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "nested too deeply"));
    ck_assert_int_eq(parse_nested(100000), BR_E_FORMAT);
    ck_assert_int_eq(br__yaml_parse(&arena, "", (16u << 20) + 1, &doc, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "16777217 bytes"));
}
END_TEST

/* ---- scalars --------------------------------------------------------------------------------- */

#define NOT (-12345.0) /* no number */

/* As PyYAML, except: 1e-06, text to it, is a number here; octal, hexadecimal, underscores and base
 * 60 are none. */
static const struct {
    const char *text;
    double number;
    int boolean; /* -1: none */
    int is_null;
} scalars[] = {
    {"1", 1, -1, 0},           {"-12", -12, -1, 0},         {"+3", 3, -1, 0},
    {"0", 0, -1, 0},           {"1.0e-06", 1e-6, -1, 0},    {"1e-06", 1e-6, -1, 0},
    {"1E5", 1e5, -1, 0},       {"1000000.0", 1e6, -1, 0},   {".5", .5, -1, 0},
    {"5.", 5, -1, 0},          {"0.25", .25, -1, 0},        {"00.5", .5, -1, 0},
    {".inf", INFINITY, -1, 0}, {"-.INF", -INFINITY, -1, 0}, {"+.Inf", INFINITY, -1, 0},
    {"010", NOT, -1, 0},       {"0x10", NOT, -1, 0},        {"1_000", NOT, -1, 0},
    {"190:20:30", NOT, -1, 0}, {"inf", NOT, -1, 0},         {"nan", NOT, -1, 0},
    {"1e", NOT, -1, 0},        {"e5", NOT, -1, 0},          {".", NOT, -1, 0},
    {"1.2.3", NOT, -1, 0},     {"+", NOT, -1, 0},           {"1 2", NOT, -1, 0},
    {"1e999", NOT, -1, 0},     {"'1'", NOT, -1, 0},         {"\"true\"", NOT, -1, 0},
    {"true", NOT, 1, 0},       {"True", NOT, 1, 0},         {"TRUE", NOT, 1, 0},
    {"yes", NOT, 1, 0},        {"On", NOT, 1, 0},           {"false", NOT, 0, 0},
    {"No", NOT, 0, 0},         {"OFF", NOT, 0, 0},          {"tRue", NOT, -1, 0},
    {"y", NOT, -1, 0},         {"null", NOT, -1, 1},        {"~", NOT, -1, 1},
    {"NULL", NOT, -1, 1},      {"Null", NOT, -1, 1},        {"", NOT, -1, 1},
    {"nULL", NOT, -1, 0},      {"'null'", NOT, -1, 0},      {"''", NOT, -1, 0},
    {"[]", NOT, -1, 0},        {"{}", NOT, -1, 0},
};

START_TEST(reads_scalars)
{
    double v = NOT;
    int b = -1;

    ck_assert_int_eq(parse(br__arena_printf(&arena, "a: %s\n", scalars[_i].text)), BR_OK);
    const struct br__yaml *y = br__yaml_get(doc, "a");
    int rc = br__yaml_f64(y, &v);
    ck_assert_msg((rc == BR_OK) == (scalars[_i].number != NOT), "'%s'", scalars[_i].text);
    ck_assert_msg(rc || v == scalars[_i].number, "'%s' gives %g", scalars[_i].text, v);
    rc = br__yaml_bool(y, &b);
    ck_assert_msg((rc == BR_OK) == (scalars[_i].boolean >= 0), "'%s'", scalars[_i].text);
    ck_assert_msg(rc || b == scalars[_i].boolean, "'%s' gives %d", scalars[_i].text, b);
    ck_assert_msg(br__yaml_is_null(y) == scalars[_i].is_null, "'%s'", scalars[_i].text);
}
END_TEST

START_TEST(reads_nan)
{
    double v = 0;

    ck_assert_int_eq(parse(".nan"), BR_OK);
    ck_assert_int_eq(br__yaml_f64(doc, &v), BR_OK);
    ck_assert(isnan(v));
}
END_TEST

START_TEST(an_absent_value_is_nothing)
{
    double v;
    int b;

    ck_assert_int_eq(br__yaml_is_null(NULL), 0);
    ck_assert_int_eq(br__yaml_f64(NULL, &v), BR_E_FORMAT);
    ck_assert_int_eq(br__yaml_bool(NULL, &b), BR_E_FORMAT);
}
END_TEST

/* yaml.dump of the same numbers */
static const struct {
    double v;
    const char *text;
} doubles[] = {
    {1e-6, "1.0e-06"},     {1e6, "1000000.0"},   {0.5, "0.5"},      {0, "0.0"},
    {-1.5e-7, "-1.5e-07"}, {1e16, "1.0e+16"},    {1e17, "1.0e+17"}, {1.25e300, "1.25e+300"},
    {0.1, "0.1"},          {1e-4, "0.0001"},     {1e-5, "1.0e-05"}, {40.0, "40.0"},
    {INFINITY, ".inf"},    {-INFINITY, "-.inf"}, {NAN, ".nan"},     {-2e-10, "-2.0e-10"},
};

START_TEST(writes_doubles)
{
    struct br__buf b = {0};

    br__yaml_put_double(&b, doubles[_i].v);
    ck_assert_str_eq(b.p, doubles[_i].text);
    br__buf_free(&b);
}
END_TEST

/* ---- a real file ----------------------------------------------------------------------------- */

START_TEST(reads_a_run_config)
{
    double v;
    int b;
    char *text;
    size_t n;

    ck_assert_int_eq(
        br__read_text(BRIDGE_TEST_DATA "/yaml/qwen3_next_mtp.yaml", 1 << 20, &text, &n, &err),
        BR_OK);
    int rc = br__yaml_parse(&arena, text, n, &doc, &err);
    br__free(text); /* the tree does not borrow it */
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
    ck_assert_str_eq(text_at("checkpoint.ckpt_format"), "torch_dist");
    ck_assert_str_eq(text_at("model.activation_func._target_"), "torch.nn.functional.silu");
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "model.layernorm_epsilon"), &v), BR_OK);
    ck_assert_double_eq(v, 1e-6);
    ck_assert_int_eq(br__yaml_bool(br__yaml_get(doc, "model.attention_output_gate"), &b), BR_OK);
    ck_assert_int_eq(b, 1);
    ck_assert(br__yaml_is_null(br__yaml_get(doc, "model.cp_comm_type")));
    ck_assert_int_eq(br__yaml_f64(br__yaml_get(doc, "optimizer.grad_norm_skip_threshold"), &v),
                     BR_OK);
    ck_assert(isinf(v));
    ck_assert_str_eq(br__yaml_get(doc, "model.attention_backend._args_")->items[0]->text, "5");
    ck_assert_uint_eq(br__yaml_get(doc, "model.cuda_graph_modules")->n, 0);
}
END_TEST

static void *(*real_realloc)(void *p, size_t n);
static long fail_at; /* the allocation that fails, counted from 0 */

static void *failing_realloc(void *p, size_t n)
{
    return fail_at-- == 0 ? NULL : real_realloc(p, n);
}

START_TEST(survives_lack_of_memory)
{
    int rc = BR_E_NOMEM;
    long n;

    real_realloc = br__mem.realloc;
    for (n = 0; rc == BR_E_NOMEM && n < 1000; n++) {
        br__arena_free(&arena);
        fail_at = n;
        br__mem.realloc = failing_realloc;
        rc = parse("a: {b: [1, 2], c: x}\n");
        br__mem.realloc = real_realloc;
        ck_assert_msg(rc == BR_OK || (rc == BR_E_NOMEM && !doc), "call %ld: rc %d", n, rc);
    }
    ck_assert_int_eq(rc, BR_OK);
    ck_assert_int_gt(n, 5);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("yaml");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, reads_a_tree);
    tcase_add_test(tc, reads_the_tags_of_the_core_schema);
    tcase_add_loop_test(tc, refuses, 0, (int)BR_COUNTOF(bad));
    tcase_add_test(tc, bounds_depth_and_size);
    tcase_add_loop_test(tc, reads_scalars, 0, (int)BR_COUNTOF(scalars));
    tcase_add_test(tc, reads_nan);
    tcase_add_test(tc, an_absent_value_is_nothing);
    tcase_add_loop_test(tc, writes_doubles, 0, (int)BR_COUNTOF(doubles));
    tcase_add_test(tc, reads_a_run_config);
    tcase_add_test(tc, survives_lack_of_memory);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
