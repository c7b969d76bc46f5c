/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_jscan.c - JSON without a tree: accepts what the parser with a tree accepts, and reads it in
 * pieces. */
#include "../../core/base/base.h"
#include "librun.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(accepts_what_the_parser_accepts)
{
    static const char *const texts[] = {
        "",
        " ",
        "{}",
        "[]",
        "[[],{}]",
        "[1,2]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1}",
        "{\"a\" : [ ] }",
        "{\"a\":1,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1 \"b\":2}",
        "[1}",
        "{\"a\":1]",
        "[",
        "{",
        "{\"a\"",
        "\"",
        "\"a",
        "\"a\"",
        "\"\\n\\u00e9\\ud83d\\ude00\\/\"",
        "\"\\ud83d\"",
        "\"\\ude00\"",
        "\"\\ud83d\\u0041\"",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\t\"",
        "\"\xC3\xA9\"",
        "\"\xC3\"",
        "\"\xED\xA0\x80\"",
        "0",
        "-0",
        "01",
        "-",
        "1.5",
        "1.",
        ".5",
        "1e5",
        "1E+5",
        "1e",
        "1e+",
        "+1",
        "NaN",
        "true",
        "tru",
        "trueX",
        "false",
        "null",
        "nul",
        "[true,false,null,\"\",0]",
        "{} {}",
        "{}x",
        "\xEF\xBB\xBF{}",
        "[[[[[[[[1]]]]]]]]",
        "[[[[[[[[1]]]]]]]",
        "{\"a\":{\"b\":[{\"c\":[]},2]},\"d\":\"e\"}",
    };
    for (size_t i = 0; i < BR_COUNTOF(texts); i++) {
        struct br__jscan j;
        struct br_err err = BR_ERR_INIT;
        br__json *tree = NULL;
        int want = br__json_parse(&tree, texts[i], strlen(texts[i]), NULL);
        br__json_free(tree);
        br__jscan_begin(&j, texts[i], strlen(texts[i]), &err);
        br__jscan_skip(&j);
        int got = br__jscan_end(&j);
        ck_assert_msg(got == want, "'%s': %d %s, the parser says %d", texts[i], got, err.msg, want);
        ck_assert(!got || err.msg[0]);
    }
}
END_TEST

START_TEST(too_deep)
{
    char text[2 * BR__JSON_MAX_DEPTH + 2];
    for (int depth = BR__JSON_MAX_DEPTH; depth <= BR__JSON_MAX_DEPTH + 1; depth++) {
        struct br__jscan j;
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        br__jscan_begin(&j, text, 2 * (size_t)depth, NULL);
        br__jscan_skip(&j);
        ck_assert_int_eq(br__jscan_end(&j), depth > BR__JSON_MAX_DEPTH ? BR_E_FORMAT : 0);
    }
}
END_TEST

START_TEST(in_pieces)
{
    static const char text[] =
        "{\"ids\": [1, -20, 300], \"x\": {\"y\": [null]}, \"\": \"a\\u0000b\"}";
    struct br__jscan j;
    struct br__buf key = {0}, value = {0};
    int64_t id, sum = 0;
    int members = 0;
    br__jscan_begin(&j, text, sizeof text - 1, NULL);
    ck_assert_int_eq(br__jscan_enter(&j, 'o'), 0);
    for (; br__jscan_next(&j) && !br__jscan_key(&j, &key); members++) {
        if (br__jscan_kind(&j) == 'a') {
            ck_assert_str_eq(key.p, "ids");
            br__jscan_enter(&j, 'a');
            while (br__jscan_next(&j) && !br__jscan_i64(&j, &id))
                sum += id;
        } else if (br__jscan_kind(&j) == 's') {
            ck_assert_uint_eq(key.n, 0);
            br__jscan_string(&j, &value);
        } else {
            br__jscan_skip(&j);
        }
    }
    ck_assert_int_eq(br__jscan_end(&j), 0);
    ck_assert_int_eq(members, 3);
    ck_assert_int_eq(sum, 281);
    ck_assert(value.n == 3 && memcmp(value.p, "a\0b", 3) == 0);
    br__buf_free(&key);
    br__buf_free(&value);
}
END_TEST

/* Strings of all lengths around a word, with each kind of byte at each position: whether it is
 * accepted, and what is read, both as a copy and as a view. */
START_TEST(strings)
{
    static const struct {
        const char *in, *out; /* out: NULL, if it may not stand there */
    } bits[] = {
        {"b", "b"},        {"\\\"", "\""}, {"\\u00e9", "\xC3\xA9"}, {"\xC3\xA9", "\xC3\xA9"},
        {"\x7F", "\x7F"},  {"\x1F", NULL}, {"\xC3", NULL},          {"\xE2\x82", NULL},
        {"\xC1\x81", NULL}};
    struct br__buf in = {0}, out = {0}, copy = {0}, room = {0};
    struct br__jscan j;
    for (int n = 0; n < 20; n++)
        for (int at = 0; at <= n; at++)
            for (size_t k = 0; k < BR_COUNTOF(bits); k++) {
                const char *view = NULL;
                size_t len = 0;
                in.n = out.n = copy.n = 0;
                br__buf_printf(&in, "\"%.*s%s%.*s\"", at, "aaaaaaaaaaaaaaaaaaaa", bits[k].in,
                               n - at, "cccccccccccccccccccc");
                br__buf_printf(&out, "%.*s%s%.*s", at, "aaaaaaaaaaaaaaaaaaaa",
                               bits[k].out ? bits[k].out : "", n - at, "cccccccccccccccccccc");
                int want = bits[k].out ? BR_OK : BR_E_FORMAT;
                br__jscan_begin(&j, in.p, in.n, NULL);
                ck_assert_int_eq(br__jscan_string(&j, &copy), want);
                ck_assert(want || (copy.n == out.n && memcmp(copy.p, out.p, out.n) == 0));
                ck_assert_int_eq(br__jscan_end(&j), want);
                br__jscan_begin(&j, in.p, in.n, NULL);
                ck_assert_int_eq(br__jscan_view(&j, &room, &view, &len), want);
                ck_assert(want || (len == out.n && memcmp(view, out.p, len) == 0));
                ck_assert_int_eq(br__jscan_end(&j), want);
                br__jscan_begin(&j, in.p, in.n - 1, NULL); /* no closing quote */
                ck_assert_int_eq(br__jscan_view(&j, &room, &view, &len), BR_E_FORMAT);
            }
    br__buf_free(&in);
    br__buf_free(&out);
    br__buf_free(&copy);
    br__buf_free(&room);
}
END_TEST

START_TEST(integers)
{
    static const char *const wrong[] = {"1.0", "1e2", "01", "-", "\"1\"", "1234567890123456789",
                                        "",    "[1]"};
    struct br__jscan j;
    int64_t v;
    br__jscan_begin(&j, " -123456789012345678 ", 21, NULL);
    ck_assert_int_eq(br__jscan_i64(&j, &v), 0);
    ck_assert(v == -123456789012345678);
    ck_assert_int_eq(br__jscan_end(&j), 0);
    for (size_t i = 0; i < BR_COUNTOF(wrong); i++) {
        br__jscan_begin(&j, wrong[i], strlen(wrong[i]), NULL);
        ck_assert_msg(br__jscan_i64(&j, &v) == BR_E_FORMAT, "%s", wrong[i]);
        ck_assert_int_eq(br__jscan_skip(&j), BR_E_FORMAT); /* it sticks */
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("jscan");
    TCase *tc = tcase_create("jscan");
    tcase_add_test(tc, accepts_what_the_parser_accepts);
    tcase_add_test(tc, too_deep);
    tcase_add_test(tc, in_pieces);
    tcase_add_test(tc, strings);
    tcase_add_test(tc, integers);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
