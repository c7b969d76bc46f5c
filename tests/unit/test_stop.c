/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_stop.c - stop strings: what is shown, and when, against looking at the whole text. */
#include "librun.h"
#include "text/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct br__stop *stop_new(const char *const *strings, size_t n)
{
    struct br__stop *s;
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__stop_new(&s, strings, n, &err) == 0, "%s", err.msg);
    return s;
}

static void check_text(const struct br__buf *b, const char *want)
{
    ck_assert_int_eq(b->failed, 0);
    ck_assert_uint_eq(b->n, strlen(want));
    ck_assert_mem_eq(b->n ? b->p : "", want, b->n);
}

/* ---- step by step ---------------------------------------------------------------------------- */

START_TEST(holds_back_what_may_become_a_stop)
{
    static const char *const strings[] = {"\n\nUser:", "<|end|>"};
    static const struct {
        const char *piece, *shown;
    } steps[] = {
        {"Hello", "Hello"},
        {" world\n", "Hello world"},
        {"\nUse", "Hello world"},
        {" it\n", "Hello world\n\nUse it"},
        {"\n\nUs", "Hello world\n\nUse it\n"},
        {"<", "Hello world\n\nUse it\n\n\nUs"},
        {"|end", "Hello world\n\nUse it\n\n\nUs"},
        {"|", "Hello world\n\nUse it\n\n\nUs"},
        {"> more", "Hello world\n\nUse it\n\n\nUs"},
        {"and more", "Hello world\n\nUse it\n\n\nUs"},
    };
    struct br__stop *s = stop_new(strings, 2);
    struct br__buf out = {0};
    for (size_t i = 0; i < BR_COUNTOF(steps); i++) {
        int hit = br__stop_feed(s, steps[i].piece, strlen(steps[i].piece), &out);
        ck_assert_int_eq(hit, i < 8 ? -1 : 1);
        check_text(&out, steps[i].shown);
    }
    br__stop_end(s, &out);
    check_text(&out, steps[9].shown);

    /* As new: an unfinished beginning is shown at the end. */
    out.n = 0;
    ck_assert_int_eq(br__stop_feed(s, "a\n\nUser", 7, &out), -1);
    check_text(&out, "a");
    br__stop_end(s, &out);
    check_text(&out, "a\n\nUser");
    br__buf_free(&out);
    br__stop_free(s);
}
END_TEST

static const struct {
    const char *strings[3], *text, *shown;
    int hit;
} cases[] = {
    {{NULL}, "anything", "anything", -1},
    {{"aab"}, "aaaab!", "aa", 0},
    {{"abab"}, "aabaabab", "aaba", 0},
    {{"abcd", "bc"}, "xabcd", "xa", 1},   /* complete first */
    {{"c", "abc", "bc"}, "xabc", "x", 1}, /* complete together: the longest */
    {{"x"}, "x", "", 0},
    {{"\xC3\xA9"}, "caf\xC3\xA8 caf\xC3\xA9!", "caf\xC3\xA8 caf", 0},
    {{"aa", "aaa"}, "aaa", "", 0},
    {{"end"}, "en en ene", "en en ene", -1},
};
START_TEST(known_cases)
{
    size_t n = 0;
    while (n < 3 && cases[_i].strings[n])
        n++;
    struct br__stop *s = stop_new(cases[_i].strings, n);
    struct br__buf out = {0};
    ck_assert_int_eq(br__stop_feed(s, cases[_i].text, strlen(cases[_i].text), &out), cases[_i].hit);
    br__stop_end(s, &out);
    check_text(&out, cases[_i].shown);
    br__buf_free(&out);
    br__stop_free(s);
}
END_TEST

/* ---- any text, any strings, cut anyhow ------------------------------------------------------- */

static uint64_t state = 1;
static unsigned rnd(unsigned n)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(state >> 33) % n;
}

static void letters(char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (char)('a' + rnd(2));
    out[n] = 0;
}

/* Look at every end of the text in turn.  Returns where the shown text ends. */
static size_t find_stop(const char *text, char strings[][8], size_t n, int *hit)
{
    *hit = -1;
    for (size_t end = 1; end <= strlen(text) && *hit < 0; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n; i++) {
            size_t k = strlen(strings[i]);
            if (k > longest && k <= end && memcmp(text + end - k, strings[i], k) == 0) {
                longest = k;
                *hit = (int)i;
            }
        }
        if (*hit >= 0)
            return end - longest;
    }
    return strlen(text);
}

/* The end of text[0..n) that begins some string: the longest. */
static size_t beginning(const char *text, size_t n, char strings[][8], size_t n_strings)
{
    for (size_t k = BR__MIN(n, 7); k > 0; k--)
        for (size_t i = 0; i < n_strings; i++)
            if (k < strlen(strings[i]) && memcmp(text + n - k, strings[i], k) == 0)
                return k;
    return 0;
}

START_TEST(any_text_cut_anyhow)
{
    for (int t = 0; t < 4000; t++) {
        char strings[3][8], text[64];
        const char *given[3];
        size_t n = 1 + rnd(3);
        for (size_t i = 0; i < n; i++) {
            letters(strings[i], 1 + rnd(7));
            given[i] = strings[i];
        }
        letters(text, rnd(60));
        int want_hit, hit = -1;
        size_t want = find_stop(text, strings, n, &want_hit), len = strlen(text);
        struct br__stop *s = stop_new(given, n);
        struct br__buf out = {0};
        for (size_t at = 0, k; at < len; at += k) {
            k = 1 + rnd((unsigned)(len - at));
            hit = br__stop_feed(s, text + at, k, &out);
            /* Nothing too early, and nothing later than need be. */
            if (hit < 0 && out.n != at + k - beginning(text, at + k, strings, n))
                ck_abort_msg("%zu of %zu shown: %s", out.n, at + k, text);
        }
        br__stop_end(s, &out);
        if (hit != want_hit || out.n != want || (want && memcmp(out.p, text, want) != 0))
            ck_abort_msg("%s: %d at %zu, expected %d at %zu", text, hit, out.n, want_hit, want);
        br__buf_free(&out);
        br__stop_free(s);
    }
}
END_TEST

START_TEST(bad_strings)
{
    static const char *const empty[] = {"a", ""}, *const broken[] = {"\xC3"};
    struct br__stop *s;
    struct br_err err = BR_ERR_INIT;
    ck_assert_int_eq(br__stop_new(&s, empty, 2, &err), BR_E_USAGE);
    ck_assert_str_eq(err.msg, "stop string 2 is empty");
    ck_assert_int_eq(br__stop_new(&s, broken, 1, &err), BR_E_USAGE);
    ck_assert_str_eq(err.msg, "stop string 1 is not UTF-8");
    ck_assert_ptr_null(s);
    br__stop_free(NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("stop");
    TCase *t = tcase_create("stop");
    tcase_add_test(t, holds_back_what_may_become_a_stop);
    tcase_add_loop_test(t, known_cases, 0, (int)BR_COUNTOF(cases));
    tcase_add_test(t, any_text_cut_anyhow);
    tcase_add_test(t, bad_strings);
    suite_add_tcase(s, t);
    return run_suite(s);
}
