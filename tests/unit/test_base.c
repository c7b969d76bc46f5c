/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_base.c - core/base without files: errors, memory, text, JSON, hashes, threads. */
#include "base/base_internal.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- an allocator that fails the Nth call, and counts what is not given back ----------------- */

static long fail_at, calls, live;

static void *counting_realloc(void *p, size_t n)
{
    if (++calls == fail_at)
        return NULL;
    live += p == NULL;
    return realloc(p, n);
}

static void counting_free(void *p)
{
    live--;
    free(p);
}

static void count_from_now(long fail)
{
    br__mem = (struct br__mem_ops){counting_realloc, counting_free};
    fail_at = fail;
    calls = live = 0;
}

static void stop_counting(void)
{
    br__mem = (struct br__mem_ops){realloc, free};
}

/* Run `job` with the 1st, 2nd, ... allocation failing until it succeeds; each failure must be
 * BR_E_NOMEM and leave nothing behind.  Returns how many failures there were. */
static long fail_each(int (*job)(void))
{
    for (long n = 1;; n++) {
        count_from_now(n);
        int rc = job();
        long left = live;
        stop_counting();
        ck_assert_int_eq(left, 0);
        if (rc == 0)
            return n - 1;
        ck_assert_int_eq(rc, BR_E_NOMEM);
    }
}

/* ---- err ------------------------------------------------------------------------------------- */

START_TEST(err_fail_and_wrap)
{
    struct br_err e = BR_ERR_INIT;
    ck_assert_int_eq(br_fail(&e, BR_E_IO, "byte %d", 7), BR_E_IO);
    ck_assert_int_eq(e.code, BR_E_IO);
    ck_assert_str_eq(e.msg, "byte 7");
    ck_assert_ptr_nonnull(strstr(e.where, "err_fail_and_wrap"));
    br_wrap(&e, "'%s'", "file");
    br_wrap(&e, "import");
    ck_assert_str_eq(e.msg, "import: 'file': byte 7");
    br_fail(&e, BR_E_FORMAT, "again: %s", e.msg);
    ck_assert_str_eq(e.msg, "again: import: 'file': byte 7");
    ck_assert_int_eq(br_fail(NULL, BR_E_USAGE, "x"), BR_E_USAGE);
    br_wrap(NULL, "x");

    struct br_err none = BR_ERR_INIT;
    br_wrap(&none, "nothing went wrong");
    ck_assert_str_eq(none.msg, "");
}
END_TEST

/* A text that is too long ends in "...", and never inside a character. */
START_TEST(err_truncates_between_characters)
{
    for (int shift = 0; shift < 4; shift++) {
        char text[1400];
        struct br_err e = BR_ERR_INIT;
        int n = snprintf(text, sizeof text, "%.*s", shift, "aaaa");
        while (n < 1300) {
            memcpy(text + n, "\xE2\x82\xAC", 4); /* the euro sign */
            n += 3;
        }
        br_fail(&e, BR_E_IO, "%s", text);
        ck_assert_uint_ge(strlen(e.msg), sizeof e.msg - 4);
        ck_assert(br__ends(e.msg, "\xAC..."));
        ck_assert(br__utf8_valid(e.msg, strlen(e.msg)));
        br_wrap(&e, "head");
        ck_assert(br__starts(e.msg, "head: "));
        ck_assert(br__ends(e.msg, "..."));
        ck_assert(br__utf8_valid(e.msg, strlen(e.msg)));
        br_wrap(&e, "%s", text);
        ck_assert(br__utf8_valid(e.msg, strlen(e.msg)));
    }
}
END_TEST

START_TEST(err_names)
{
    ck_assert_str_eq(br_status_name(0), "OK");
    ck_assert_str_eq(br_status_name(BR_E_FORMAT), "E_FORMAT");
    ck_assert_str_eq(br_status_text(BR_E_NOSPC), "not enough space");
    ck_assert_str_eq(br_status_name(77), "E_UNKNOWN");
    ck_assert_str_eq(br_status_name(-1), "E_UNKNOWN");
    ck_assert_str_eq(br_status_text(77), "unknown status");
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", BR_VERSION_MAJOR, BR_VERSION_MINOR,
             BR_VERSION_PATCH);
    ck_assert_str_eq(br_version(), version);
}
END_TEST

/* ---- mem, arena, buf, map -------------------------------------------------------------------- */

START_TEST(mem_limits)
{
    ck_assert_ptr_null(br__calloc(SIZE_MAX / 2, 3));
    ck_assert_ptr_null(br__alloc(SIZE_MAX));
    void *p = br__alloc(0);
    ck_assert_ptr_nonnull(p);
    br__free(p);
    br__free(NULL);

    int *a = NULL;
    size_t cap = 0;
    for (int i = 0; i < 1000; i++) {
        ck_assert_int_eq(br__grow(&a, &cap, (size_t)i, sizeof *a), 0);
        a[i] = i;
    }
    for (int i = 0; i < 1000; i++)
        ck_assert_int_eq(a[i], i);
    ck_assert_uint_ge(cap, 1000);

    int *before = a;
    size_t cap_before = cap;
    ck_assert_int_eq(br__grow(&a, &cap, cap, SIZE_MAX / 4), BR_E_NOMEM);
    count_from_now(1);
    ck_assert_int_eq(br__grow(&a, &cap, cap, sizeof *a), BR_E_NOMEM);
    stop_counting();
    ck_assert_ptr_eq(a, before);
    ck_assert_uint_eq(cap, cap_before);
    br__free(a);
}
END_TEST

static int arena_job(void)
{
    struct br__arena a = {0};
    int ok = br__arena_alloc(&a, 10) && br__arena_alloc(&a, 1 << 20) &&
             br__arena_strdup(&a, "text") && br__arena_alloc(&a, 60000) &&
             br__arena_alloc(&a, 10000) && br__arena_printf(&a, "%d", 1);
    br__arena_free(&a);
    return ok ? 0 : BR_E_NOMEM;
}

START_TEST(arena)
{
    static const unsigned char zeros[40000];
    struct br__arena a = {0};
    size_t sum = 0;
    for (size_t n = 0; n < 40000; n += 311) {
        unsigned char *p = br__arena_alloc(&a, n);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        ck_assert_mem_eq(p, zeros, n);
        memset(p, 0xFF, n);
        sum += n;
    }
    ck_assert_uint_ge(a.total, sum);
    /* A big block is put behind the first one, whose room stays in use. */
    char *small = br__arena_strdup(&a, "abc");
    ck_assert_ptr_nonnull(br__arena_alloc(&a, 1 << 20));
    char *next = br__arena_strndup(&a, "abcdef", 3);
    ck_assert_ptr_eq(next, small + 16);
    ck_assert_str_eq(next, "abc");
    ck_assert_str_eq(br__arena_printf(&a, "%s-%d", "x", 12), "x-12");
    ck_assert_str_eq(br__arena_strndup(&a, NULL, 0), "");
    ck_assert_ptr_null(br__arena_alloc(&a, SIZE_MAX - 5));
    ck_assert_ptr_null(br__arena_strndup(&a, "x", SIZE_MAX));
    br__arena_free(&a);
    ck_assert_ptr_null(a.blocks);
    ck_assert_uint_eq(a.total, 0);
    ck_assert_int_eq(fail_each(arena_job), 3); /* first, big, next */
}
END_TEST

static int buf_job(void)
{
    struct br__buf b = {0};
    for (int i = 0; i < 100; i++)
        br__buf_printf(&b, "number %d, ", i);
    int rc = b.failed;
    br__buf_free(&b);
    return rc;
}

START_TEST(buf)
{
    struct br__buf b = {.max = 10};
    br__buf_put(&b, NULL, 0);
    ck_assert_str_eq(b.p, "");
    br__buf_puts(&b, "hello");
    br__buf_putc(&b, '!');
    br__buf_printf(&b, "%d", 1234);
    ck_assert_str_eq(b.p, "hello!1234");
    ck_assert_int_eq(b.failed, 0);
    br__buf_putc(&b, 'x');
    ck_assert_int_eq(b.failed, BR_E_FORMAT);
    br__buf_put(&b, "", 0);
    ck_assert_str_eq(b.p, "hello!1234");
    br__buf_free(&b);
    ck_assert_ptr_null(b.p);
    ck_assert_uint_eq(b.max, 10);
    ck_assert_int_eq(b.failed, 0);
    ck_assert_int_gt(fail_each(buf_job), 3);
}
END_TEST

START_TEST(buf_json_str)
{
    static const struct {
        const char *in, *out;
    } row[] = {
        {"", "\"\""},
        {"plain", "\"plain\""},
        {"a\"b\\c/", "\"a\\\"b\\\\c/\""},
        {"\b\f\n\r\t\x01\x1f\x7f", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\""},
        {"caf\xC3\xA9 \xF0\x9F\x98\x80", "\"caf\xC3\xA9 \xF0\x9F\x98\x80\""},
        {"a\xFFz\xC3", "\"a\xEF\xBF\xBDz\xEF\xBF\xBD\""},
    };
    for (size_t i = 0; i < BR_COUNTOF(row); i++) {
        struct br__buf b = {0};
        br__buf_json_str(&b, row[i].in);
        ck_assert_str_eq(b.p, row[i].out);
        br__buf_free(&b);
    }
}
END_TEST

/* Python's repr of the same values. */
START_TEST(buf_double)
{
    static const struct {
        double in;
        const char *out;
    } row[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1.0, "1.0"},
        {1e-6, "1e-06"},
        {1e6, "1000000.0"},
        {-2.5, "-2.5"},
        {0.1, "0.1"},
        {0.0001, "0.0001"},
        {0.00012345, "0.00012345"},
        {0.00001, "1e-05"},
        {123456789012345.6, "123456789012345.6"},
        {1e15, "1000000000000000.0"},
        {9007199254740993.0, "9007199254740992.0"},
        {1e16, "1e+16"},
        {1.5e300, "1.5e+300"},
        {5e-324, "5e-324"},
        {2.2250738585072014e-308, "2.2250738585072014e-308"},
        {1.7976931348623157e308, "1.7976931348623157e+308"},
        {0x1p-44, "5.684341886080802e-14"}, /* not its nearest 16 digits */
        {1.0 / 3, "0.3333333333333333"},
        {100.0 / 3, "33.333333333333336"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {NAN, "nan"},
    };
    for (size_t i = 0; i < BR_COUNTOF(row); i++) {
        struct br__buf b = {0};
        br__buf_double(&b, row[i].in);
        ck_assert_str_eq(b.p, row[i].out);
        br__buf_free(&b);
    }
}
END_TEST

static char keys[5000][12];

static int map_job(void)
{
    struct br__map m;
    int rc = br__map_init(&m, 0);
    for (uint32_t i = 0; i < 100 && rc == 0; i++)
        rc = br__map_put(&m, keys[i], i);
    br__map_free(&m);
    return rc;
}

START_TEST(map)
{
    struct br__map m = {0};
    ck_assert_uint_eq(br__map_get(&m, "x"), BR__NOT_FOUND);
    ck_assert_int_eq(br__map_init(&m, 10), 0);
    ck_assert_uint_eq(br__map_get(&m, "x"), BR__NOT_FOUND);
    for (uint32_t i = 0; i < BR_COUNTOF(keys); i++) {
        snprintf(keys[i], sizeof keys[i], "key%u", i);
        ck_assert_int_eq(br__map_put(&m, keys[i], i), 0);
    }
    ck_assert_uint_eq(m.n, BR_COUNTOF(keys));
    for (uint32_t i = 0; i < BR_COUNTOF(keys); i++)
        ck_assert_uint_eq(br__map_get(&m, keys[i]), i);
    char same[] = "key17";
    ck_assert_int_eq(br__map_put(&m, same, 99), BR_E_EXISTS);
    ck_assert_uint_eq(br__map_get(&m, "key17"), 17);
    ck_assert_uint_eq(br__map_get(&m, "key5000"), BR__NOT_FOUND);
    ck_assert_int_eq(br__map_put(&m, "", 1), 0);
    ck_assert_uint_eq(br__map_get(&m, ""), 1);
    br__map_free(&m);
    ck_assert_uint_eq(m.n, 0);
    ck_assert_int_eq(br__map_init(&m, SIZE_MAX / 2), BR_E_NOMEM);
    ck_assert_int_eq(fail_each(map_job), 2 * 5); /* 16, 32, 64, 128 and 256 slots */
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

START_TEST(text_parse)
{
    static const char *const bad_int[] = {"",    "-",   "+1",  " 1",  "1 ",
                                          "0x1", "1.0", "1e3", "--1", "9223372036854775808"};
    static const char *const bad_float[] = {"",   "-",  "nan",   "inf",   "0x1p3", " 1",
                                            "1 ", "1e", "1e999", "1.2.3", "+-1",   "e5"};
    int64_t i = 5;
    double d = 5;
    for (size_t k = 0; k < BR_COUNTOF(bad_int); k++)
        ck_assert_int_eq(br__parse_i64(bad_int[k], &i), BR_E_FORMAT);
    for (size_t k = 0; k < BR_COUNTOF(bad_float); k++)
        ck_assert_int_eq(br__parse_f64(bad_float[k], &d), BR_E_FORMAT);
    ck_assert_int_eq(i, 5);
    ck_assert(d == 5);
    ck_assert_int_eq(br__parse_i64("-9223372036854775808", &i), 0);
    ck_assert(i == INT64_MIN);
    ck_assert_int_eq(br__parse_i64("007", &i), 0);
    ck_assert_int_eq(i, 7);
    ck_assert_int_eq(br__parse_f64("-3e-4", &d), 0);
    ck_assert(d == -3e-4);
}
END_TEST

START_TEST(text_compare)
{
    ck_assert(br__starts("layers.1", "layers."));
    ck_assert(!br__starts("lay", "layers."));
    ck_assert(br__ends("a.weight", ".weight"));
    ck_assert(!br__ends("weight", ".weight"));

    ck_assert_int_eq(br__edit_distance("", "abc"), 3);
    ck_assert_int_eq(br__edit_distance("qwen3_mo", "qwen3_moe"), 1);
    ck_assert_int_eq(br__edit_distance("kitten", "sitting"), 3);
    ck_assert_int_eq(br__edit_distance("same", "same"), 0);

    static const char *const order[] = {"",
                                        "a",
                                        "a01",
                                        "a1",
                                        "a1b",
                                        "a2",
                                        "a10",
                                        "a10a",
                                        "layers.2.w",
                                        "layers.10.a",
                                        "layers.99999999999999999999",
                                        "layers.a",
                                        "\xC3\xA9"};
    for (size_t i = 0; i < BR_COUNTOF(order); i++)
        for (size_t j = 0; j < BR_COUNTOF(order); j++) {
            int c = br__natural_cmp(order[i], order[j]);
            ck_assert_msg((c > 0) - (c < 0) == (i > j) - (i < j), "'%s' and '%s' give %d", order[i],
                          order[j], c);
        }
}
END_TEST

START_TEST(text_format)
{
    char out[64];
    ck_assert_str_eq(br__human_bytes(0, out), "0 B");
    ck_assert_str_eq(br__human_bytes(999, out), "999 B");
    ck_assert_str_eq(br__human_bytes(1000, out), "1.00 kB");
    ck_assert_str_eq(br__human_bytes(999999, out), "1.00 MB");
    ck_assert_str_eq(br__human_bytes(1192099840, out), "1.19 GB");
    ck_assert_str_eq(br__human_bytes(UINT64_MAX, out), "18.45 EB");

    int64_t shape[] = {768, 4096, -1};
    ck_assert_str_eq(br__shape_str(shape, 2, out, sizeof out), "[768, 4096]");
    ck_assert_str_eq(br__shape_str(shape, 3, out, sizeof out), "[768, 4096, -1]");
    ck_assert_str_eq(br__shape_str(shape, 0, out, sizeof out), "[]");
    for (size_t n = 1; n < 11; n++) /* cut short, never beyond the end */
        ck_assert_int_eq(strncmp(br__shape_str(shape, 2, out, n), "[768, 4096]", n - 1), 0);
}
END_TEST

START_TEST(text_utf8)
{
    static const char *const bad[] = {
        "\x80",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xF0\x8F\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xC3",         "\xE2\x82",         "\xF0\x9F\x98",     "\xC3\x28",
        "\xFF",
    };
    static const char good[] = "abc\xC2\x80\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80"
                               "\xEF\xBF\xBF\xF0\x90\x80\x80\xF4\x8F\xBF\xBF";
    ck_assert(br__utf8_valid(good, sizeof good - 1));
    ck_assert(br__utf8_valid("", 0));
    for (size_t i = 0; i < BR_COUNTOF(bad); i++)
        for (size_t pad = 0; pad < 18; pad += 17) { /* also behind the fast path */
            char text[32];
            int n = snprintf(text, sizeof text, "%.*s%s", (int)pad, "aaaaaaaaaaaaaaaaaaa", bad[i]);
            ck_assert_msg(!br__utf8_valid(text, (size_t)n), "row %zu", i);
            ck_assert_uint_eq(br__utf8_span(text, (size_t)n), pad);
        }
    for (size_t n = 1; n < 4; n++) /* a sequence that the length cuts */
        ck_assert(!br__utf8_valid("\xF0\x9F\x98\x80", n));
}
END_TEST

/* ---- dtype ----------------------------------------------------------------------------------- */

START_TEST(dtypes)
{
    for (int i = 1; i < BR_N_DTYPES; i++) {
        char torch[32];
        ck_assert_int_eq(br_dtype_from_st(br_dtype_st(i)), i);
        int bytes = i != BR_F4; /* has a name in files alone */
        ck_assert_int_eq(br_dtype_from_torch(br_dtype_torch(i)), bytes ? i : BR_NONE);
        snprintf(torch, sizeof torch, "torch.%s", br_dtype_torch(i));
        ck_assert_int_eq(br_dtype_from_torch(torch), bytes ? i : BR_NONE);
        ck_assert_int_eq(br_dtype_size(i) > 0, bytes);
    }
    ck_assert_int_eq(br_dtype_from_st("bf16"), BR_NONE);
    ck_assert_int_eq(br_dtype_from_st(""), BR_NONE);
    ck_assert_int_eq(br_dtype_from_torch("torch."), BR_NONE);
    ck_assert_str_eq(br_dtype_storage(BR_BF16), "BFloat16Storage");
    ck_assert_int_eq(br_dtype_is_float(BR_F8_E4M3), 1);
    ck_assert_int_eq(br_dtype_is_float(BR_I64), 0);
    ck_assert_uint_eq(br_dtype_size(-1), 0);
    ck_assert_uint_eq(br_dtype_size(BR_N_DTYPES), 0);
    ck_assert_str_eq(br_dtype_torch(1 << 30), "");
}
END_TEST

START_TEST(shape_bytes)
{
    uint64_t n = 7;
    ck_assert_int_eq(br_shape_bytes((int64_t[]){3, 5}, 2, 2, &n), 0);
    ck_assert_uint_eq(n, 30);
    ck_assert_int_eq(br_shape_bytes(NULL, 0, 4, &n), 0);
    ck_assert_uint_eq(n, 4);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){3, 0}, 2, 2, &n), 0);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){1LL << 62, 1}, 2, 1, &n), 0);
    ck_assert_uint_eq(n, 1ULL << 62);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){1LL << 62, 2}, 2, 1, &n), BR_E_FORMAT);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){0, 1LL << 40, 1LL << 40}, 3, 2, &n), BR_E_FORMAT);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){3, -1}, 2, 2, &n), BR_E_FORMAT);
    ck_assert_int_eq(br_shape_bytes((int64_t[]){0, -1}, 2, 2, &n), BR_E_FORMAT);
}
END_TEST

/* ---- json: reading --------------------------------------------------------------------------- */

static br__json *parse(const char *text)
{
    br__json *j;
    struct br_err err = BR_ERR_INIT;
    int rc = br__json_parse(&j, text, strlen(text), &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    return j;
}

START_TEST(json_read)
{
    br__json *j = parse(" {\"a\": {\"b.c\": {\"d\": 5}, \"e\": [1, -2.5e1, true, null]}, "
                        "\"a.x\": \"\\u00e9\\ud83d\\ude00\\n\", \"A\": false} ");
    ck_assert_int_eq(br__json_kind(j), 'o');
    ck_assert_uint_eq(br__json_count(j), 3);
    ck_assert_int_eq(br__json_kind(br__json_get(j, "a")), 'o');
    ck_assert_int_eq(br__json_kind(br__json_get(j, "a.e")), 'a');
    ck_assert_str_eq(br__json_str(br__json_get(j, "a.x"), ""), "\xC3\xA9\xF0\x9F\x98\x80\n");
    ck_assert(br__json_num(br__json_get(br__json_get(j, "a"), "b.c.d"), 0) == 0);
    ck_assert_int_eq(br__json_kind(br__json_get(br__json_get(j, "a"), "b.c")), 'o');
    ck_assert_ptr_null(br__json_get(j, "a.nothing"));
    ck_assert_ptr_null(br__json_get(j, "a.x.y"));
    ck_assert_ptr_null(br__json_get(NULL, "a"));
    ck_assert_int_eq(br__json_bool(br__json_get(j, "A"), 1), 0);

    const br__json *e = br__json_first(br__json_get(j, "a.e"));
    ck_assert(br__json_num(e, 0) == 1);
    e = br__json_next(e);
    ck_assert(br__json_num(e, 0) == -25);
    e = br__json_next(e);
    ck_assert_int_eq(br__json_bool(e, 0), 1);
    e = br__json_next(e);
    ck_assert_int_eq(br__json_kind(e), '0');
    ck_assert_ptr_null(br__json_next(e));
    ck_assert_ptr_null(br__json_first(e));
    ck_assert_str_eq(br__json_key(br__json_first(j)), "a");

    ck_assert_int_eq(br__json_kind(NULL), 0);
    ck_assert_str_eq(br__json_str(j, "dflt"), "dflt");
    ck_assert(br__json_num(NULL, 7) == 7);
    ck_assert_int_eq(br__json_bool(NULL, 7), 7);
    br__json_free(j);
    br__json_free(NULL);
}
END_TEST

START_TEST(json_u64)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t value;
    } row[] = {
        {"0", 0, 0},
        {"123456789012345", 0, 123456789012345},
        {"9007199254740991", 0, 9007199254740991},
        {"9007199254740992", BR_E_FORMAT, 0},
        {"18446744073709551616", BR_E_FORMAT, 0},
        {"-1", BR_E_FORMAT, 0},
        {"-0", BR_E_FORMAT, 0},
        {"1.0", BR_E_FORMAT, 0},
        {"1e3", BR_E_FORMAT, 0},
        {"1E3", BR_E_FORMAT, 0},
        {"1.5", BR_E_FORMAT, 0},
        {"1e999", BR_E_FORMAT, 0},
        {"\"5\"", BR_E_FORMAT, 0},
        {"true", BR_E_FORMAT, 0},
    };
    for (size_t i = 0; i < BR_COUNTOF(row); i++) {
        uint64_t v = 0;
        br__json *j = parse(row[i].text);
        ck_assert_msg(br__json_u64(j, &v) == row[i].rc, "%s", row[i].text);
        ck_assert_uint_eq(v, row[i].value);
        br__json_free(j);
    }
    uint64_t v;
    ck_assert_int_eq(br__json_u64(NULL, &v), BR_E_FORMAT);
}
END_TEST

/* Texts that must be refused, and what the message must say. */
START_TEST(json_hostile)
{
    static const struct {
        const char *text, *says;
    } row[] = {
        {"", "byte 0: the text ends"},
        {"   ", "byte 3: the text ends"},
        {"{", "byte 1: the text ends"},
        {"{\"a\":1,}", "byte 7: found '}'"},
        {"{\"a\" 1}", "byte 5: found '1', expected ':'"},
        {"{'a':1}", "byte 1: found '''"},
        {"{a:1}", "byte 1: found 'a'"},
        {"[1,]", "byte 3: found ']'"},
        {"[1 2]", "byte 3: found '2', expected ',' or ']'"},
        {"[1}", "byte 2: found '}'"},
        {"{\"a\":1]", "byte 6: found ']'"},
        {"1 2", "byte 2: found '2', expected the end"},
        {"{}x", "byte 2: found 'x'"},
        {"01", "byte 1"},
        {"1.", "byte 2"},
        {".5", "byte 0"},
        {"+1", "byte 0"},
        {"-", "byte 1"},
        {"1e", "byte 2"},
        {"1e+", "byte 3"},
        {"0x10", "byte 1"},
        {"NaN", "byte 0"},
        {"nul", "byte 3"},
        {"nulL", "byte 3"},
        {"truex", "byte 4"},
        {"Infinity", "byte 0"},
        {"-Infinity", "byte 1"},
        {"\"abc", "byte 4: the text ends"},
        {"\"a\nb\"", "byte 2: found byte 0x0a"},
        {"\"\\x41\"", "byte 2: found 'x', expected an escape"},
        {"\"\\", "byte 2: the text ends"},
        {"\"\\u12g4\"", "byte 5: found 'g'"},
        {"\"\\u12", "byte 5: the text ends"},
        {"\"\\u0000\"", "byte 3: found '0', expected a character other than NUL"},
        {"\"\\ud800\"", "expected a pair of surrogates"},
        {"\"\\ud800\\u0041\"", "expected a pair of surrogates"},
        {"\"\\udc00\"", "expected a pair of surrogates"},
        {"\"\\ud800\\u\"", "expected a pair of surrogates"},
        {"\"a\xFF\"", "byte 2: not valid UTF-8"},
        {"\xEF\xBB\xBF{}", "byte 0: found byte 0xef"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "byte 13: duplicate key \"a\""},
        {"{\"x\":[{}, {\"a\":1, \"\\u0061\":3}]}", "byte 18: duplicate key \"a\""},
        {"1234567890123456789012345678901234567890123456789012345678901234", "64 characters"},
        {"\f1", "byte 0: found byte 0x0c"},
        {"[1]//", "byte 3: found '/'"},
    };
    for (size_t i = 0; i < BR_COUNTOF(row); i++) {
        br__json *j = (void *)&j;
        struct br_err err = BR_ERR_INIT;
        ck_assert_msg(br__json_parse(&j, row[i].text, strlen(row[i].text), &err) == BR_E_FORMAT,
                      "accepted: %s", row[i].text);
        ck_assert_ptr_null(j);
        ck_assert_msg(strstr(err.msg, row[i].says) != NULL, "%s: %s", row[i].text, err.msg);
    }
    br__json *j;
    ck_assert_int_eq(br__json_parse(&j, "[1,\0 2]", 7, NULL), BR_E_FORMAT);
    ck_assert_int_eq(br__json_parse(&j, "\"a\0b\"", 5, NULL), BR_E_FORMAT);
    ck_assert_int_eq(br__json_parse(&j, "1\0", 2, NULL), BR_E_FORMAT);
}
END_TEST

/* Every beginning of a valid text is refused or, for a bare number, read; nothing is read beyond
 * its end (the copy is as long as the text, so that ASan sees it). */
START_TEST(json_truncated)
{
    static const char text[] = "{\"k\\u00e9\": [1.5e-3, {\"a\": \"\\ud83d\\ude00\"}, true, null]}";
    for (size_t n = 0; n < sizeof text - 1; n++) {
        char *copy = malloc(n + 1);
        br__json *j;
        memcpy(copy + 1, text, n);
        ck_assert_int_eq(br__json_parse(&j, copy + 1, n, NULL), BR_E_FORMAT);
        free(copy);
    }
    br__json_free(parse(text));
}
END_TEST

START_TEST(json_depth)
{
    char text[2 * 4096 + 1];
    for (int depth = BR__JSON_MAX_DEPTH; depth <= 4096; depth += 4096 - BR__JSON_MAX_DEPTH) {
        br__json *j;
        struct br_err err = BR_ERR_INIT;
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        int rc = br__json_parse(&j, text, 2 * (size_t)depth, &err);
        ck_assert_int_eq(rc, depth == BR__JSON_MAX_DEPTH ? 0 : BR_E_FORMAT);
        if (rc)
            ck_assert_str_eq(err.msg, "byte 64: nested deeper than 64 levels");
        br__json_free(j);
    }
}
END_TEST

/* 36 k members: found duplicates must not need quadratic time, and the offset is exact. */
START_TEST(json_many_members)
{
    struct br__buf b = {0};
    br__json *j;
    struct br_err err = BR_ERR_INIT;
    for (int i = 0; i < 36000; i++)
        br__buf_printf(&b, "%c\"model.layers.%d.weight\":{\"shape\":[%d,2]}", i ? ',' : '{', i, i);
    size_t end = b.n;
    br__buf_putc(&b, '}');
    ck_assert_int_eq(br__json_parse(&j, b.p, b.n, &err), 0);
    ck_assert_uint_eq(br__json_count(j), 36000);
    br__json_free(j);
    b.n = end;
    br__buf_puts(&b, ",\"model.layers.35000.weight\":0}");
    ck_assert_int_eq(br__json_parse(&j, b.p, b.n, &err), BR_E_FORMAT);
    char expect[96];
    snprintf(expect, sizeof expect, "byte %zu: duplicate key \"model.layers.35000.weight\"",
             end + 1);
    ck_assert_str_eq(err.msg, expect);
    br__buf_free(&b);
}
END_TEST

/* ---- json: editing and printing -------------------------------------------------------------- */

static void ck_print(const br__json *j, int sort, const char *expect)
{
    struct br__buf b = {0};
    ck_assert_int_eq(br__json_print(j, sort, &b), 0);
    ck_assert_str_eq(b.p, expect);
    br__buf_free(&b);
}

START_TEST(json_print)
{
    br__json *j = parse("{\"z\":[1e-06,1000000.0,-0,1E5,12345678901234567890, 7],\"o\":{},\"l\":[],"
                        "\"s\":\"\xC3\xA9\\u0001\xF0\x9F\x98\x80/\\\"\",\"b\":[true,false,null]}");
    ck_print(j, 0,
             "{\n  \"z\": [\n    1e-06,\n    1000000.0,\n    -0,\n    1E5,\n"
             "    12345678901234567890,\n    7\n  ],\n  \"o\": {},\n  \"l\": [],\n"
             "  \"s\": \"\\u00e9\\u0001\\ud83d\\ude00/\\\"\",\n"
             "  \"b\": [\n    true,\n    false,\n    null\n  ]\n}\n");
    br__json_free(j);
    j = parse("{\"b\": 1, \"B\": 2, \"a\": {\"d\": 1, \"c\": 2}}");
    ck_print(j, 1,
             "{\n  \"B\": 2,\n  \"a\": {\n    \"c\": 2,\n    \"d\": 1\n  },\n  \"b\": 1\n}\n");
    struct br__buf b = {.max = 10};
    ck_assert_int_eq(br__json_print(j, 0, &b), BR_E_FORMAT);
    br__buf_free(&b);
    br__json_free(j);
}
END_TEST

START_TEST(json_edit)
{
    struct br_err err = BR_ERR_INIT;
    br__json *j = br__json_new_object();
    ck_assert_int_eq(br__json_set(j, "eps", "1e-06", &err), 0);
    ck_assert_int_eq(br__json_set(j, "a.b", "[1, 2]", &err), 0);
    ck_assert_int_eq(br__json_set(j, "last", "\"x\"", &err), 0);
    ck_assert_int_eq(br__json_set(j, "a.b", "{\"c\": 1.50}", &err), 0);
    ck_print(j, 0,
             "{\n  \"eps\": 1e-06,\n  \"a.b\": {\n    \"c\": 1.50\n  },\n  \"last\": \"x\"\n}\n");
    ck_assert_int_eq(br__json_set(j, "eps", "nan", &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "value of \"eps\""));
    br__json_remove(j, "absent");
    br__json_remove(j, "a.b");
    br__json_remove(j, "last");
    ck_assert_int_eq(br__json_set(j, "eps", "2", &err), 0);
    ck_print(j, 0, "{\n  \"eps\": 2\n}\n");
    br__json_remove(j, "eps");
    ck_print(j, 0, "{}\n");
    br__json_free(j);
}
END_TEST

static int json_job(void)
{
    static const char text[] = "{\"a\":1,\"b\":2,\"c\":1e-06,\"d\":[\"\xC3\xA9\"],\"e\":5,\"f\":6,"
                               "\"g\":7,\"h\":8,\"i\":9}";
    br__json *j, *made = br__json_new_object();
    struct br__buf b = {0};
    int rc = br__json_parse(&j, text, sizeof text - 1, NULL);
    if (rc == 0 && !made)
        rc = BR_E_NOMEM;
    if (rc == 0)
        rc = br__json_set(j, "c", "1.50", NULL);
    if (rc == 0)
        rc = br__json_set(j, "new", "1.50", NULL);
    if (rc == 0)
        rc = br__json_print(j, 1, &b);
    br__buf_free(&b);
    br__json_free(j);
    br__json_free(made);
    return rc;
}

START_TEST(json_out_of_memory)
{
    ck_assert_int_gt(fail_each(json_job), 30);
}
END_TEST

/* ---- hash ------------------------------------------------------------------------------------ */

START_TEST(hashes)
{
    char hex[65], big[5000];
    struct br__sha256 *s = br__sha256_new();
    br__sha256_update(s, "a", 1);
    br__sha256_update(s, NULL, 0);
    br__sha256_update(s, "bc", 2);
    br__sha256_hex(s, hex);
    ck_assert_str_eq(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    br__sha256_free(s);
    br__sha256_free(NULL);

    ck_assert_uint_eq(br__crc32(0, "123456789", 9), 0xCBF43926);
    ck_assert_uint_eq(br__crc32(br__crc32(0, "1234", 4), "56789", 5), 0xCBF43926);
    ck_assert_uint_eq(br__crc32(5, NULL, 0), 5);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 131 >> 3);
    for (size_t n = 0; n <= sizeof big; n += 7) /* of two parts, whatever their lengths */
        ck_assert_uint_eq(br__crc32_shift(br__crc32(0, big, n), sizeof big - n) ^
                              br__crc32(0, big + n, sizeof big - n),
                          br__crc32(0, big, sizeof big));
    /* x^(2^32 - 1) is 1: so many bits of zeros, and eight times as many, change nothing. */
    ck_assert_uint_eq(br__crc32_shift(0x12345678, UINT32_MAX), 0x12345678);
    ck_assert_uint_eq(br__crc32_shift(0x12345678, (uint64_t)UINT32_MAX << 20), 0x12345678);

    ck_assert_uint_eq(br__xxh3("", 0), 0x2D06800538D394C2); /* published empty-input value */
    ck_assert_uint_eq(br__xxh3(NULL, 0), 0x2D06800538D394C2);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 131 >> 3);
    struct br__xxh3 *h = br__xxh3_new();
    for (int round = 0; round < 2; round++) {
        for (size_t at = 0; at < sizeof big; at += 250 + 250 * (size_t)round)
            br__xxh3_update(h, big + at, 250 + 250 * (size_t)round);
        br__xxh3_update(h, NULL, 0);
        ck_assert_uint_eq(br__xxh3_digest(h), br__xxh3(big, sizeof big));
        br__xxh3_reset(h);
    }
    br__xxh3_free(h);
    br__xxh3_free(NULL);
    ck_assert_uint_ne(br__xxh3(big, sizeof big), br__xxh3(big + 1, sizeof big - 1));
}
END_TEST

/* ---- pool ------------------------------------------------------------------------------------ */

struct pool_log {
    atomic_int ran[500], wrong_worker;
    int n_threads;
    size_t fail_from; /* every i >= this with i % 3 == 0 fails; the lowest one late */
};

static int pool_task(void *arg, size_t i, int worker, struct br_err *err)
{
    struct pool_log *log = arg;
    atomic_fetch_add(&log->ran[i], 1);
    if (worker < 0 || worker >= log->n_threads)
        atomic_store(&log->wrong_worker, 1);
    if (i < log->fail_from || i % 3)
        return 0;
    if (i < log->fail_from + 3)
        usleep(2000); /* the higher failures come first */
    return br_fail(err, i % 2 ? BR_E_IO : BR_E_FORMAT, "task %zu", i);
}

START_TEST(pool_runs_each_once)
{
    for (int threads = 1; threads <= 8; threads *= 2) {
        struct pool_log log = {.n_threads = threads, .fail_from = SIZE_MAX};
        ck_assert_int_eq(br__pool_run(threads, 500, pool_task, &log, NULL), 0);
        for (int i = 0; i < 500; i++)
            ck_assert_int_eq(log.ran[i], 1);
        ck_assert_int_eq(log.wrong_worker, 0);
    }
    struct pool_log log = {.n_threads = br__cpu_count(), .fail_from = SIZE_MAX};
    ck_assert_int_eq(br__pool_run(0, 500, pool_task, &log, NULL), 0);
    ck_assert_int_eq(log.ran[499], 1);
    ck_assert_int_eq(log.wrong_worker, 0);
    ck_assert_int_eq(br__pool_run(4, 0, pool_task, &log, NULL), 0);
    ck_assert_int_eq(br__pool_run(1000000, 3, pool_task, &log, NULL), 0);
    ck_assert_int_ge(br__cpu_count(), 1);
}
END_TEST

START_TEST(pool_lowest_failure)
{
    for (int threads = 1; threads <= 8; threads++)
        for (size_t from = 0; from < 60; from += 7) {
            struct pool_log log = {.n_threads = threads, .fail_from = from};
            struct br_err err = BR_ERR_INIT;
            size_t lowest = (from + 2) / 3 * 3;
            char expect[32];
            snprintf(expect, sizeof expect, "task %zu", lowest);
            int rc = br__pool_run(threads, 500, pool_task, &log, &err);
            ck_assert_int_eq(rc, lowest % 2 ? BR_E_IO : BR_E_FORMAT);
            ck_assert_str_eq(err.msg, expect);
            ck_assert_int_eq(log.ran[499], 0); /* no new one after the failure */
            for (size_t i = 0; i <= lowest; i++)
                ck_assert_int_eq(log.ran[i], 1);
        }
    struct pool_log log = {.n_threads = 2, .fail_from = 0};
    ck_assert_int_eq(br__pool_run(2, 9, pool_task, &log, NULL), BR_E_FORMAT);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        err_fail_and_wrap,
        err_truncates_between_characters,
        err_names,
        mem_limits,
        arena,
        buf,
        buf_json_str,
        buf_double,
        map,
        text_parse,
        text_compare,
        text_format,
        text_utf8,
        dtypes,
        shape_bytes,
        json_read,
        json_u64,
        json_hostile,
        json_truncated,
        json_depth,
        json_many_members,
        json_print,
        json_edit,
        json_out_of_memory,
        hashes,
        pool_runs_each_once,
        pool_lowest_failure,
    };
    Suite *suite = suite_create("base");
    TCase *tc = tcase_create("base");
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < BR_COUNTOF(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
