/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_pickle_write.c - pickles against the bytes that Python's pickle.dumps(x, 2) gives, and read
 * back. */
#include "base/base_internal.h"
#include "format/torch/torch.h"
#include "librun.h"

#include <check.h>
#include <string.h>

static struct br__arena arena;
static struct br__buf out;

static struct br__pkw writer(int memo)
{
    struct br__pkw w = {.out = &out, .memo = memo, .arena = &arena};
    br__pkw_begin(&w);
    return w;
}

static void reset(void)
{
    br__buf_free(&out);
    br__arena_free(&arena);
}

static void expect(const char *bytes, size_t n)
{
    ck_assert_int_eq(out.failed, 0);
    ck_assert_uint_eq(out.n, n);
    ck_assert_mem_eq(out.p, bytes, n);
}
#define EXPECT(literal) expect(literal, sizeof(literal) - 1)

START_TEST(ints_take_the_shortest_opcode)
{
    static const int64_t v[] = {1,         255,       256,       65535,     65536,
                                -1,        INT32_MAX, INT32_MIN, 1LL << 31, -(1LL << 31) - 1,
                                INT64_MAX, INT64_MIN, 1LL << 40};
    struct br__pkw w = writer(0);
    br__pkw_op(&w, ']');
    br__pkw_put(&w);
    for (size_t i = 0; i < BR_COUNTOF(v); i++) {
        br__pkw_item_begin(&w, i, BR_COUNTOF(v));
        br__pkw_int(&w, v[i]);
        br__pkw_item_end(&w, i, BR_COUNTOF(v), BR__PKW_LIST);
    }
    br__pkw_end(&w);
    EXPECT("\x80\x02]q\x00(K\x01K\xffM\x00\x01M\xff\xffJ\x00\x00\x01\x00J\xff\xff\xff\xffJ\xff\xff"
           "\xff\x7fJ\x00\x00\x00\x80\x8a\x05\x00\x00\x00\x80\x00\x8a\x05\xff\xff\xff\x7f\xff"
           "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80"
           "\x8a\x06\x00\x00\x00\x00\x00\x01"
           "e.");
}
END_TEST

/* {'a': 1.5, 'b': [True, None, False], 'c': (1, 2, 3, 4), 'd': ()} */
START_TEST(containers_are_numbered_as_python_does)
{
    static const int64_t four[] = {1, 2, 3, 4};
    struct br__pkw w = writer(0);
    br__pkw_op(&w, '}');
    br__pkw_put(&w);
    br__pkw_item_begin(&w, 0, 4);
    br__pkw_str(&w, "a");
    br__pkw_float(&w, 1.5);
    br__pkw_str(&w, "b");
    br__pkw_op(&w, ']');
    br__pkw_put(&w);
    br__pkw_op(&w, '(');
    br__pkw_bool(&w, 1);
    br__pkw_none(&w);
    br__pkw_bool(&w, 0);
    br__pkw_op(&w, 'e');
    br__pkw_str(&w, "c");
    br__pkw_tuple(&w, four, 4);
    br__pkw_str(&w, "d");
    br__pkw_tuple(&w, NULL, 0);
    br__pkw_item_end(&w, 3, 4, BR__PKW_DICT);
    br__pkw_end(&w);
    EXPECT("\x80\x02}q\x00(X\x01\x00\x00\x00"
           "aq\x01G?\xf8\x00\x00\x00\x00\x00\x00X\x01\x00\x00\x00"
           "bq\x02]q\x03(\x88N\x89"
           "eX\x01\x00\x00\x00"
           "cq\x04(K\x01K\x02K\x03K\x04tq\x05X\x01\x00\x00\x00"
           "dq\x06)u.");
}
END_TEST

/* A string, then the same global twice and the string again: the repeats are BINGET.  One that
 * looks like the global's text must not be taken for it. */
START_TEST(repeats_are_fetched_from_the_memo)
{
    struct br__pkw w = writer(0);
    br__pkw_str(&w, "ab");
    br__pkw_global(&w, "m", "n");
    br__pkw_global(&w, "m", "n");
    br__pkw_str(&w, "ab");
    br__pkw_str(&w, "m\nn\n");
    br__pkw_end(&w);
    EXPECT("\x80\x02X\x02\x00\x00\x00"
           "abq\x00"
           "cm\nn\nq\x01h\x01h\x00X\x04\x00\x00\x00m\nn\nq\x02.");
}
END_TEST

START_TEST(without_memo_nothing_is_numbered)
{
    struct br__pkw w = writer(-1);
    br__pkw_global(&w, "m", "n");
    br__pkw_str(&w, "x");
    br__pkw_str(&w, "x");
    br__pkw_put(&w);
    br__pkw_end(&w);
    EXPECT("\x80\x02"
           "cm\nn\nX\x01\x00\x00\x00xX\x01\x00\x00\x00x.");
}
END_TEST

START_TEST(the_memo_goes_beyond_a_byte)
{
    struct br__pkw w = writer(255);
    br__pkw_str(&w, "x");
    br__pkw_str(&w, "y");
    br__pkw_str(&w, "x");
    br__pkw_str(&w, "y");
    br__pkw_end(&w);
    EXPECT("\x80\x02X\x01\x00\x00\x00xq\xffX\x01\x00\x00\x00yr\x00\x01\x00\x00h\xffj\x00\x01\x00"
           "\x00.");
}
END_TEST

/* A list of n Nones: one by itself is APPEND, otherwise batches of 1000 as Python's pickler makes.
 */
static size_t list_bytes(size_t n, size_t *marks)
{
    reset();
    struct br__pkw w = writer(0);
    br__pkw_op(&w, ']');
    br__pkw_put(&w);
    for (size_t i = 0; i < n; i++) {
        br__pkw_item_begin(&w, i, n);
        br__pkw_none(&w);
        br__pkw_item_end(&w, i, n, BR__PKW_LIST);
    }
    br__pkw_end(&w);
    *marks = 0;
    for (size_t i = 0; i < out.n; i++)
        *marks += out.p[i] == '(';

    struct br__pk *v;
    ck_assert_int_eq(br__pk_load(&arena, (unsigned char *)out.p, out.n, NULL, &v, NULL), 0);
    ck_assert_int_eq(v->kind, BR__PK_LIST);
    ck_assert_uint_eq(v->n, n);
    return out.n;
}

START_TEST(long_containers_come_in_batches)
{
    static const struct {
        size_t n, bytes, marks;
    } rows[] = {{0, 6, 0},       {1, 8, 0},       {2, 10, 1},
                {1000, 1008, 1}, {1001, 1011, 2}, {2500, 2512, 3}};
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        size_t marks;
        ck_assert_uint_eq(list_bytes(rows[i].n, &marks), rows[i].bytes);
        ck_assert_uint_eq(marks, rows[i].marks);
    }
}
END_TEST

/* data.pkl as torch.save gave it for zeros of these dtypes and shapes. */
START_TEST(tensors_are_torchs)
{
#define V2                                                                                         \
    "\x80\x02"                                                                                     \
    "ctorch._utils\n_rebuild_tensor_v2\nq\0((X\7\0\0\0storageq\1"
#define V3                                                                                         \
    "\x80\x02"                                                                                     \
    "ctorch._utils\n_rebuild_tensor_v3\nq\0((X\7\0\0\0storageq\1"
#define CPU                                                                                        \
    "q\2X\1\0\0\0"                                                                                 \
    "0q\3X\3\0\0\0cpuq\4"
#define DICT                                                                                       \
    "\x89"                                                                                         \
    "ccollections\nOrderedDict\nq"
#define ROW(dtype, ndim, text, ...)                                                                \
    {                                                                                              \
        dtype, ndim, __VA_ARGS__, text, sizeof(text) - 1                                           \
    }
    static const struct {
        int dtype, ndim;
        int64_t shape[4];
        const char *text;
        size_t n;
    } rows[] = {
        ROW(BR_BF16, 2,
            V2 "ctorch\nBFloat16Storage\n" CPU
               "J\xc0\xd4\1\0tq\5QK\0M,\1M\x90\1\x86q\6M\x90\1K\1\x86q\7" DICT "\x08)Rq\ttq\nRq\v.",
            {300, 400}),
        ROW(BR_F64, 4,
            V2 "ctorch\nDoubleStorage\n" CPU
               "K\x18tq\5QK\0(K\1K\2K\3K\4tq\6(K\x18K\x0cK\4K\1tq\7" DICT "\x08)Rq\ttq\nRq\v.",
            {1, 2, 3, 4}),
        ROW(BR_F32, 3,
            V2 "ctorch\nFloatStorage\n" CPU "K\0tq\5QK\0K\2K\0K\3\x87q\6K\3K\3K\1\x87q\7" DICT
               "\x08)Rq\ttq\nRq\v.",
            {2, 0, 3}),
        ROW(BR_F32, 0, V2 "ctorch\nFloatStorage\n" CPU "K\1tq\5QK\0))" DICT "\6)Rq\7tq\x08Rq\t.",
            {0}),
        ROW(BR_F8_E4M3, 2,
            V3 "ctorch.storage\nUntypedStorage\n" CPU "K\x0ftq\5QK\0K\3K\5\x86q\6K\5K\1\x86q\7" DICT
               "\x08)Rq\tctorch\nfloat8_e4m3fn\nq\ntq\vRq\x0c.",
            {3, 5}),
        ROW(BR_U32, 2,
            V3 "ctorch.storage\nUntypedStorage\n" CPU "K<tq\5QK\0K\3K\5\x86q\6K\5K\1\x86q\7" DICT
               "\x08)Rq\tctorch\nuint32\nq\ntq\vRq\x0c.",
            {3, 5}),
    };
#undef ROW
    for (size_t i = 0; i < BR_COUNTOF(rows); i++) {
        reset();
        struct br__pkw w = writer(0);
        br__pkw_tensor(&w, "0", rows[i].dtype, rows[i].ndim, rows[i].shape);
        br__pkw_end(&w);
        expect(rows[i].text, rows[i].n);
    }
}
END_TEST

static void *no_memory(void *p, size_t n)
{
    (void)p;
    (void)n;
    return NULL;
}

START_TEST(failed_allocation_sticks_to_the_buffer)
{
    struct br__mem_ops saved = br__mem;
    struct br__pkw w = writer(0);
    br__mem.realloc = no_memory;
    br__pkw_str(&w, "a string");
    br__mem = saved;
    br__pkw_str(&w, "another");
    br__pkw_end(&w);
    ck_assert_int_eq(out.failed, BR_E_NOMEM);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pickle_write");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, NULL, reset);
    tcase_add_test(t, ints_take_the_shortest_opcode);
    tcase_add_test(t, containers_are_numbered_as_python_does);
    tcase_add_test(t, repeats_are_fetched_from_the_memo);
    tcase_add_test(t, without_memo_nothing_is_numbered);
    tcase_add_test(t, the_memo_goes_beyond_a_byte);
    tcase_add_test(t, long_containers_come_in_batches);
    tcase_add_test(t, tensors_are_torchs);
    tcase_add_test(t, failed_allocation_sticks_to_the_buffer);
    suite_add_tcase(s, t);
    return run_suite(s);
}
