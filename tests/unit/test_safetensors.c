/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_safetensors.c - headers of safetensors files: what is accepted, what is refused and with
 * which words, and that writing reproduces the reference implementation byte for byte. */
#include "format/hf.h"
#include "librun.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct br__arena arena;
static struct br__st_entry *entries;
static size_t n_entries;
static const char *metadata;
static struct br_err err;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    memset(&err, 0, sizeof err);
}

static void teardown(void)
{
    br__arena_free(&arena);
}

static int parse(const char *json, uint64_t data_bytes)
{
    return br__st_parse(&arena, json, strlen(json), data_bytes, &entries, &n_entries, &metadata,
                        &err);
}

/* ---- parsing --------------------------------------------------------------------------------- */

START_TEST(accepts_a_plain_header)
{
    ck_assert_int_eq(parse("{\"__metadata__\":{\"format\":\"pt\",\"q\":\"a\\\"b\"},"
                           "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                           "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}   ",
                           16),
                     BR_OK);
    ck_assert_uint_eq(n_entries, 2);
    ck_assert_str_eq(entries[0].name, "a");
    ck_assert_int_eq(entries[0].dtype, BR_BF16);
    ck_assert_int_eq(entries[0].ndim, 2);
    ck_assert_int_eq(entries[0].shape[0], 2);
    ck_assert_int_eq(entries[0].shape[1], 3);
    ck_assert_uint_eq(entries[0].begin, 0);
    ck_assert_uint_eq(entries[0].end, 12);
    ck_assert_str_eq(entries[1].name, "b");
    ck_assert_int_eq(entries[1].dtype, BR_F32);
    ck_assert_uint_eq(entries[1].begin, 12);
    ck_assert_str_eq(metadata, "{\"format\":\"pt\",\"q\":\"a\\\"b\"}");
}
END_TEST

START_TEST(returns_offset_order)
{
    ck_assert_int_eq(parse("{\"z\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]},"
                           "\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[3,3]},"
                           "\"a\":{\"shape\":[3],\"data_offsets\":[0,3],\"dtype\":\"U8\"}}",
                           5),
                     BR_OK);
    ck_assert_uint_eq(n_entries, 3);
    ck_assert_str_eq(entries[0].name, "a");
    ck_assert_str_eq(entries[1].name, "e");
    ck_assert_str_eq(entries[2].name, "z");
    ck_assert_ptr_null(metadata);
}
END_TEST

START_TEST(accepts_scalars_and_empty_tensors)
{
    ck_assert_int_eq(parse("{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                           "\"y\":{\"dtype\":\"F32\",\"shape\":[3,0,7],\"data_offsets\":[4,4]},"
                           "\"x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}",
                           4),
                     BR_OK);
    ck_assert_uint_eq(n_entries, 3);
    ck_assert_int_eq(entries[0].ndim, 0);
    ck_assert_str_eq(entries[1].name, "y"); /* already in offset order: the text's order stays */
    ck_assert_int_eq(entries[1].shape[1], 0);
    ck_assert_uint_eq(entries[2].end, 4);
}
END_TEST

START_TEST(accepts_a_file_without_tensors)
{
    ck_assert_int_eq(parse("{}", 0), BR_OK);
    ck_assert_uint_eq(n_entries, 0);
    ck_assert_int_eq(parse("{\"__metadata__\":{}}", 0), BR_OK);
    ck_assert_str_eq(metadata, "{}");
}
END_TEST

#define T(dtype, shape, off)                                                                       \
    "{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" off "}"

static const struct {
    const char *json;
    uint64_t data_bytes;
    const char *text; /* part of the message */
} bad[] = {
    {"", 0, "safetensors header"},
    {"nonsense", 0, "safetensors header"},
    {"{\"a\":", 0, "safetensors header"},
    {"{} {}", 0, "safetensors header"},
    {"[]", 0, "the header is not a JSON object"},
    {"7", 0, "the header is not a JSON object"},
    {"{\"a\":7}", 0, "header entry 'a' is not a JSON object"},
    {"{\"a\":[]}", 0, "header entry 'a' is not a JSON object"},
    {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a' has no 'dtype'"},
    {"{\"a\":{\"dtype\":3,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "tensor 'a' has no 'dtype'"},
    {"{\"a\":" T("F6_E2M3", "[4]", "[0,3]") "}", 3, "unknown dtype 'F6_E2M3'"},
    {"{\"a\":" T("F4", "[3]", "[0,1]") "}", 1, "no whole number of bytes"},
    {"{\"a\":" T("F4", "[4]", "[0,4]") "}", 4, "which takes 2 bytes"},
    {"{\"a\":" T("", "[2]", "[0,0]") "}", 0, "unknown dtype ''"},
    {"{\"a\":" T("bf16", "[2]", "[0,4]") "}", 4, "unknown dtype 'bf16'"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "tensor 'a' has no 'shape'"},
    {"{\"a\":" T("U8", "3", "[0,3]") "}", 3, "tensor 'a' has no 'shape'"},
    {"{\"a\":" T("U8", "{\"x\":3}", "[0,3]") "}", 3, "tensor 'a' has no 'shape'"},
    {"{\"a\":" T("U8", "[-1]", "[0,1]") "}", 1, "dimension 0 of tensor 'a'"},
    {"{\"a\":" T("U8", "[1,1.5]", "[0,1]") "}", 1, "dimension 1 of tensor 'a'"},
    {"{\"a\":" T("U8", "[\"1\"]", "[0,1]") "}", 1, "dimension 0 of tensor 'a'"},
    {"{\"a\":" T("U8", "[9007199254740993]", "[0,1]") "}", 1, "dimension 0 of tensor 'a'"},
    {"{\"a\":" T("U8", "[1,1,1,1,1,1,1,1,1]", "[0,1]") "}", 1, "more than 8 dimensions"},
    {"{\"a\":" T("F64", "[4294967296,4294967296]", "[0,8]") "}", 8, "than 63 bits can count"},
    {"{\"a\":" T("U8", "[2147483648,2147483648,4]", "[0,0]") "}", 0, "than 63 bits can count"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "'data_offsets' of tensor 'a'"},
    {"{\"a\":" T("U8", "[1]", "[0]") "}", 1, "'data_offsets' of tensor 'a'"},
    {"{\"a\":" T("U8", "[1]", "[0,1,2]") "}", 1, "'data_offsets' of tensor 'a'"},
    {"{\"a\":" T("U8", "[1]", "[-1,0]") "}", 1, "'data_offsets' of tensor 'a'"},
    {"{\"a\":" T("U8", "[1]", "{\"b\":0,\"e\":1}") "}", 1, "'data_offsets' of tensor 'a'"},
    {"{\"a\":" T("BF16", "[2,3]", "[0,10]") "}", 10,
     "tensor 'a' is BF16 [2, 3], which takes 12 bytes, but its data_offsets are [0, 10]"},
    {"{\"a\":" T("U8", "[1]", "[1,0]") "}", 1, "its data_offsets are [1, 0]"},
    {"{\"a\":" T("U8", "[9]", "[0,9]") "}", 8,
     "tensor 'a' ends at byte 9 of the data section, which has only 8 bytes; is the download "
     "complete?"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[1,3]") "}", 3,
     "tensors 'a' and 'b' overlap"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") ",\"b\":" T("U8", "[2]", "[0,2]") "}", 2,
     "tensors 'a' and 'b' overlap"},
    {"{\"b\":" T("U8", "[1]", "[3,4]") ",\"a\":" T("U8", "[2]", "[0,2]") "}", 4,
     "bytes 2 to 3 of the data section, before tensor 'b', belong to no tensor"},
    {"{\"a\":" T("U8", "[2]", "[1,3]") "}", 3, "bytes 0 to 1 of the data section"},
    {"{\"a\":" T("U8", "[2]", "[0,2]") "}", 3, "the tensors end at byte 2 of the data section"},
    {"{}", 1, "the tensors end at byte 0 of the data section, which has 1 bytes"},
    {"{\"a\":" T("U8", "[0]", "[5,5]") "}", 1, "ends at byte 5 of the data section"},
    {"{\"a\":" T("U8", "[1]", "[0,1]") ",\"a\":" T("U8", "[1]", "[1,2]") "}", 2,
     "duplicate key \"a\""},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "duplicate key \"dtype\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"strides\":[1]}}", 1,
     "members other than dtype, shape and data_offsets"},
    {"{\"__metadata__\":[]}", 0, "'__metadata__' is not a JSON object"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "member 'a' of '__metadata__' is not a string"},
};

START_TEST(refuses_a_bad_header)
{
    int rc = parse(bad[_i].json, bad[_i].data_bytes);
    ck_assert_msg(rc == BR_E_FORMAT, "case %d: rc %d for %s", _i, rc, bad[_i].json);
    ck_assert_msg(strstr(err.msg, bad[_i].text) != NULL, "case %d: '%s' has no '%s'", _i, err.msg,
                  bad[_i].text);
    ck_assert_ptr_null(entries);
    ck_assert_uint_eq(n_entries, 0);
}
END_TEST

/* The largest real case: every expert of a 235B model in one header. */
START_TEST(reads_a_huge_header)
{
    struct br__buf b = {0};
    const unsigned n = 36000;

    br__buf_putc(&b, '{');
    for (unsigned i = 0; i < n; i++)
        br__buf_printf(&b,
                       "%s\"model.layers.%u.mlp.experts.%u.down_proj.weight\":{\"dtype\":\"BF16\","
                       "\"shape\":[4096,1536],\"data_offsets\":[%llu,%llu]}",
                       i ? "," : "", i / 384, i % 384, i * 12582912ull, (i + 1) * 12582912ull);
    br__buf_putc(&b, '}');
    ck_assert_int_eq(b.failed, 0);
    ck_assert_int_eq(
        br__st_parse(&arena, b.p, b.n, n * 12582912ull, &entries, &n_entries, &metadata, &err),
        BR_OK);
    ck_assert_uint_eq(n_entries, n);
    ck_assert_str_eq(entries[n - 1].name, "model.layers.93.mlp.experts.287.down_proj.weight");
    br__buf_free(&b);
}
END_TEST

/* ---- files ----------------------------------------------------------------------------------- */

static int open_bytes(const void *p, size_t n)
{
    char dir[256];
    struct br__file f = {0};
    uint64_t data_off = 0;

    make_temp_dir(dir, sizeof dir, "bridge-st");
    char *path = br__arena_printf(&arena, "%s/x.safetensors", dir);
    ck_assert_int_eq(br__write_file(path, p, n, 0, &err), BR_OK);
    ck_assert_int_eq(br__file_open(&f, path, &err), BR_OK);
    int rc = br__st_open(&arena, &f, &entries, &n_entries, &data_off, &metadata, &err);
    if (!rc)
        ck_assert_uint_le(data_off, n);
    else
        ck_assert_ptr_nonnull(strstr(err.msg, "x.safetensors'"));
    br__file_close(&f);
    ck_assert_int_eq(br__remove_tree(dir, NULL), BR_OK);
    return rc;
}

START_TEST(opens_a_file)
{
    static const char file[] = "\x40\0\0\0\0\0\0\0"
                               "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}"
                               "           "
                               "xy";
    ck_assert_int_eq(open_bytes(file, 8 + 64 + 2), BR_OK);
    ck_assert_uint_eq(n_entries, 1);
    ck_assert_int_eq(open_bytes(file, 8 + 64 + 1), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "is the download complete?"));
}
END_TEST

START_TEST(refuses_bad_files)
{
    ck_assert_int_eq(open_bytes("", 0), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "file has 0 bytes"));
    ck_assert_int_eq(open_bytes("1234567", 7), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "file has 7 bytes"));
    ck_assert_int_eq(open_bytes("\3\0\0\0\0\0\0\0{}", 10), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "header length 3 at byte 0 exceeds the file (10 bytes)"));
    ck_assert_int_eq(open_bytes("\377\377\377\377\377\377\377\377{}", 10), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "exceeds the file"));
    ck_assert_int_eq(open_bytes("\0\0\0\0\0\0\0\0", 8), BR_E_FORMAT);
    ck_assert_int_eq(open_bytes("version https://git-lfs.github.com/spec/v1\n", 43), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "git lfs pull"));
    ck_assert_int_eq(open_bytes("\2\0\0\0\0\0\0\0{}", 10), BR_OK);
}
END_TEST

START_TEST(refuses_a_header_beyond_the_limit)
{
    char dir[256];
    struct br__file f = {0};
    uint64_t data_off, n = BR__ST_HEADER_MAX + 1;
    unsigned char length[8];

    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(n >> (8 * i));
    make_temp_dir(dir, sizeof dir, "bridge-st");
    char *path = br__arena_printf(&arena, "%s/x.safetensors", dir);
    ck_assert_int_eq(br__write_file(path, length, 8, 0, &err), BR_OK);
    ck_assert_int_eq(truncate(path, (off_t)n + 100), 0); /* a hole */
    ck_assert_int_eq(br__file_open(&f, path, &err), BR_OK);
    ck_assert_int_eq(br__st_open(&arena, &f, &entries, &n_entries, &data_off, &metadata, &err),
                     BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "exceeds the format's limit of 100000000"));
    br__file_close(&f);
    ck_assert_int_eq(br__remove_tree(dir, NULL), BR_OK);
}
END_TEST

/* ---- writing --------------------------------------------------------------------------------- */

START_TEST(writes_the_reference_form)
{
    static const char want[] = "\x90\0\0\0\0\0\0\0"
                               "{\"__metadata__\":{\"format\":\"pt\"},"
                               "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]},"
                               "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[12,16]}}";
    struct br__st_entry e[] = {
        {.name = "a", .dtype = BR_BF16, .ndim = 2, .shape = {2, 3}, .begin = 77},
        {.name = "s", .dtype = BR_F32},
    };
    struct br__buf b = {0};
    size_t n = sizeof want - 1;

    ck_assert_int_eq(br__st_header(&b, e, 2, "{\"format\":\"pt\"}"), BR_OK);
    ck_assert_uint_eq(b.n, 8 + 0x90);
    ck_assert_mem_eq(b.p, want, n);
    for (size_t i = n; i < b.n; i++)
        ck_assert_int_eq(b.p[i], ' ');
    ck_assert_uint_eq(e[1].begin, 12);
    ck_assert_uint_eq(e[1].end, 16);
    br__buf_free(&b);
}
END_TEST

START_TEST(writes_after_what_the_buffer_holds)
{
    struct br__buf b = {0};

    br__buf_puts(&b, "abc");
    ck_assert_int_eq(br__st_header(&b, NULL, 0, NULL), BR_OK);
    ck_assert_uint_eq(b.n, 3 + 16);
    ck_assert_mem_eq(b.p, "abc\x8\0\0\0\0\0\0\0{}      ", 19);
    br__buf_free(&b);
}
END_TEST

START_TEST(refuses_sizes_that_overflow)
{
    struct br__st_entry e[] = {
        {.name = "a", .dtype = BR_U8, .ndim = 1, .shape = {INT64_MAX}},
        {.name = "b", .dtype = BR_U8, .ndim = 1, .shape = {1}},
    };
    struct br__buf b = {0};

    ck_assert_int_eq(br__st_header(&b, e, 1, NULL), BR_OK);
    ck_assert_int_eq(br__st_header(&b, e, 2, NULL), BR_E_FORMAT);
    br__buf_free(&b);
}
END_TEST

START_TEST(escapes_names)
{
    struct br__st_entry e = {.name = "a\"\\\n\x01\xc3\xa4", .dtype = BR_U8};
    struct br__buf b = {0};

    ck_assert_int_eq(br__st_header(&b, &e, 1, NULL), BR_OK);
    ck_assert_ptr_nonnull(strstr(b.p + 8, "{\"a\\\"\\\\\\n\\u0001\xc3\xa4\":"));
    ck_assert_int_eq(
        br__st_parse(&arena, b.p + 8, b.n - 8, 1, &entries, &n_entries, &metadata, &err), BR_OK);
    ck_assert_str_eq(entries[0].name, e.name);
    br__buf_free(&b);
}
END_TEST

static const char *const fixtures[] = {
    "qwen2_tied_fp16",
    "qwen2_tied_fp32",
    "qwen3_fp8",
    "qwen3_moe_fp8",
    "qwen3_moe_fused_bf16",
    "qwen3_next_bf16",
    "qwen3_next_mtp_bf16",
    "qwen3_tiny_chat",
    "qwen3_untied_fp32",
    "qwen3_moe_sparse_step_fp32",
};

/* Files that the reference implementation wrote come out again byte for byte. */
START_TEST(reproduces_the_reference)
{
    struct br__file f = {0};
    struct br__buf b = {0};
    uint64_t data_off;
    char *path =
        br__arena_printf(&arena, BRIDGE_TEST_DATA "/hf/%s/model.safetensors", fixtures[_i]);

    ck_assert_int_eq(br__file_open(&f, path, &err), BR_OK);
    ck_assert_int_eq(br__st_open(&arena, &f, &entries, &n_entries, &data_off, &metadata, &err),
                     BR_OK);
    ck_assert_uint_gt(n_entries, 10);
    ck_assert_int_eq(br__st_header(&b, entries, n_entries, metadata), BR_OK);
    ck_assert_uint_eq(b.n, data_off);
    ck_assert_mem_eq(b.p, f.map, b.n);
    br__buf_free(&b);
    br__file_close(&f);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("safetensors");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, accepts_a_plain_header);
    tcase_add_test(tc, returns_offset_order);
    tcase_add_test(tc, accepts_scalars_and_empty_tensors);
    tcase_add_test(tc, accepts_a_file_without_tensors);
    tcase_add_loop_test(tc, refuses_a_bad_header, 0, (int)BR_COUNTOF(bad));
    tcase_add_test(tc, reads_a_huge_header);
    tcase_add_test(tc, opens_a_file);
    tcase_add_test(tc, refuses_bad_files);
    tcase_add_test(tc, refuses_a_header_beyond_the_limit);
    tcase_add_test(tc, writes_the_reference_form);
    tcase_add_test(tc, writes_after_what_the_buffer_holds);
    tcase_add_test(tc, refuses_sizes_that_overflow);
    tcase_add_test(tc, escapes_names);
    tcase_add_loop_test(tc, reproduces_the_reference, 0, (int)BR_COUNTOF(fixtures));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
