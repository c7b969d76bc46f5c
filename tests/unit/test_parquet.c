/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_parquet.c - Parquet files that pyarrow wrote, compared with the rows that pyarrow reads. */
#include "../../core/format/format.h"
#include "librun.h"

#include <stdlib.h>
#include <string.h>

#define DATA BRIDGE_TEST_DATA "/data/"

static struct br_err err;

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

static const char *path_of(const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, DATA "%s.parquet", name);
    return path;
}

static int same(const br__json *a, const br__json *b)
{
    char kind = br__json_kind(a);
    if (kind != br__json_kind(b) || br__json_count(a) != br__json_count(b))
        return 0;
    if (kind == 's')
        return strcmp(br__json_str(a, ""), br__json_str(b, "")) == 0;
    if (kind == 'n')
        return br__json_num(a, 0) == br__json_num(b, 1);
    if (kind == 'b')
        return br__json_bool(a, 0) == br__json_bool(b, 0);
    for (a = br__json_first(a), b = br__json_first(b); a;
         a = br__json_next(a), b = br__json_next(b))
        if ((kind == 'o' && strcmp(br__json_key(a), br__json_key(b)) != 0) || !same(a, b))
            return 0;
    return 1;
}

START_TEST(rows_are_pyarrow_s)
{
    char *text;
    size_t n;
    br__json *golden;
    int files = 0;
    must(br__read_text(DATA "parquet.json", 1 << 24, &text, &n, &err));
    must(br__json_parse(&golden, text, n, &err));
    br__free(text);
    for (const br__json *f = br__json_first(golden); f; f = br__json_next(f), files++) {
        struct br__parquet *p;
        struct br__buf row = {0};
        int more;
        must(br__parquet_open(&p, path_of(br__json_key(f)), &err));
        must(br__parquet_select(p, NULL, 0, &err));
        ck_assert_int_eq(br__parquet_rows(p), (int64_t)br__json_count(f));
        const br__json *want = br__json_first(f);
        for (int64_t i = 1;; i++, want = br__json_next(want)) {
            br__json *got;
            row.n = 0;
            must(br__parquet_next(p, &row, &more, &err));
            if (!more)
                break;
            must(br__json_parse(&got, row.p, row.n, &err));
            ck_assert_msg(same(got, want), "%s, row %lld: %s", br__json_key(f), (long long)i,
                          row.p);
            br__json_free(got);
        }
        ck_assert_ptr_null(want);
        br__buf_free(&row);
        br__parquet_close(p);
    }
    ck_assert_int_eq(files, 6);
    br__json_free(golden);
}
END_TEST

START_TEST(columns_are_chosen)
{
    const char *text = "i32", *none = "nothing";
    struct br__parquet *p;
    struct br__buf row = {0};
    int more;
    must(br__parquet_open(&p, path_of("flat_snappy"), &err));
    must(br__parquet_select(p, &text, 1, &err));
    must(br__parquet_next(p, &row, &more, &err));
    ck_assert_str_eq(row.p, "{\"i32\": -30}");
    ck_assert_int_eq(br__parquet_select(p, &none, 1, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "has no column \"nothing\""));
    br__buf_free(&row);
    br__parquet_close(p);
}
END_TEST

static void refused(const char *name, const char *column, const char *says)
{
    struct br__parquet *p;
    struct br__buf row = {0};
    int more;
    int rc = br__parquet_open(&p, path_of(name), &err);
    if (!rc)
        rc = br__parquet_select(p, &column, 1, &err);
    if (!rc)
        rc = br__parquet_next(p, &row, &more, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%s: %d: %s", name, rc, err.msg);
    br__buf_free(&row);
    br__parquet_close(p);
}

START_TEST(what_is_not_read_is_said)
{
    refused("odd_split", "x", "row 1: encoding 9 of values, expected plain, dictionary or delta");
    refused("odd_brotli", "x", "row 1: a page is compressed with Brotli");
    refused("odd_map", "m", "column \"m\" holds a map");
    refused("odd_binary", "text", "row 1: a value is not UTF-8 text");
    refused("../indexed", "x", "cannot open");
}
END_TEST

/* flat_snappy with 4 bytes of v at `end` bytes from its end. */
static void end_refused(size_t end, uint32_t v, const char *says)
{
    char dir[600], path[700], *text;
    size_t n;
    struct br__parquet *p;
    make_temp_dir(dir, sizeof dir, "bridge-parquet");
    snprintf(path, sizeof path, "%s/x.parquet", dir);
    must(br__read_text(path_of("flat_snappy"), 1 << 24, &text, &n, &err));
    memcpy(text + n - end, &v, sizeof v);
    must(br__write_file(path, text, n, 0, &err));
    br__free(text);
    int rc = br__parquet_open(&p, path, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s", rc, err.msg);
    must(br__remove_tree(dir, &err));
}

START_TEST(a_broken_end_is_said)
{
    end_refused(4, 0, "it does not begin and end with 'PAR1'");
    end_refused(8, UINT32_MAX, "a footer of 4294967295 bytes in a file of ");
    end_refused(8, 9, "its metadata is broken: ");
}
END_TEST

/* flat_snappy.parquet with one byte changed: what is said.  Behind the first four bytes come pages,
 * from byte 2468 on the metadata. */
static const struct {
    size_t at;
    int byte;
    const char *says;
} changed[] = {
    {4, 23, "row 1: its metadata is broken: a page's header"},
    {4, 29, "row 1: its metadata is broken: a field of an unknown type"},
    {5, 6, "row 1: a page ends before its values"},
    {5, 0, "row 1: encoding 0 of levels, expected 3 (RLE)"},
    {5, 12, "row 1: value 0 of a dictionary of 0"},
    {7, 248, "row 1: 108 bytes do not decompress (Snappy) to 316"},
    {11, 9, "row 1: a page is longer than its column"},
    {16, 2, "row 1: encoding 1 of a dictionary, expected 0 (plain)"},
    {18, 8, "row 1: its metadata is broken: a text is longer than the rest"},
    {129, 2, "row 1: a column ends before its values"},
    {136, 134, "row 1: a column has more values than it says"},
    {139, 17, "row 1: encoding -9 of values, expected plain, dictionary or delta"},
    {148, 232, "row 1: its metadata is broken: it ends early"},
    {363, 1, "row 1: a run of 0 packed groups"},
    {363, 0, "row 1: a run of no values"},
    {363, 16, "row 1: level 251, at most 1 was expected"},
    {649, 10, "row 1: delta encoding of 64 values, expected 52, in blocks of 6/15"},
    {666, 72, "row 1: its metadata is broken: a list is longer than the rest"},
    {771, 23, "row 1: its metadata is broken: a number does not end"},
    {2468, 23, "its metadata is broken: the number of rows"},
    {2468, 29, "its metadata is broken: a field of an unknown type"},
    {2468, 53, "its metadata is broken: its row groups"},
    {2470, 24, "its metadata is broken: a text is longer than the rest"},
    {2471, 141, "its metadata is broken: its schema"},
    {2471, 156, "its metadata is broken: a column's description"},
    {2472, 37, "its metadata is broken: a name is no text"},
    {2483, 15, "its metadata is broken: a group's columns are missing"},
    {2483, 12, "its metadata is broken: a column belongs to no group"},
    {2532, 168, "its metadata is broken: it ends early"},
    {2567, 60, "its metadata is broken: a row group has not all columns"},
    {2568, 24, "its metadata is broken: a row group"},
    {2570, 39, "its metadata is broken: a column lies outside of the file"},
    {2570, 6, "a column is in another file"},
    {2573, 149, "row 1: column \"text\" ends before the others"},
    {2588, 3,
     "row 1: a page is compressed with an unknown method, expected none, Snappy, gzip or "
     "Zstandard"},
    {3981, 252, "its metadata is broken: a list is longer than the rest"},
};

START_TEST(a_changed_byte_is_said)
{
    char dir[600], path[700], *text;
    size_t n;
    make_temp_dir(dir, sizeof dir, "bridge-parquet");
    snprintf(path, sizeof path, "%s/x.parquet", dir);
    must(br__read_text(path_of("flat_snappy"), 1 << 24, &text, &n, &err));
    for (size_t i = 0; i < BR_COUNTOF(changed); i++) {
        struct br__parquet *p;
        struct br__buf row = {0};
        char was = text[changed[i].at];
        int more = 1;
        text[changed[i].at] = (char)changed[i].byte;
        must(br__write_file(path, text, n, 0, &err));
        text[changed[i].at] = was;
        int rc = br__parquet_open(&p, path, &err);
        if (!rc)
            rc = br__parquet_select(p, NULL, 0, &err);
        for (; !rc && more; row.n = 0)
            rc = br__parquet_next(p, &row, &more, &err);
        ck_assert_msg(rc && strstr(err.msg, changed[i].says), "byte %zu is %d: %d: %s",
                      changed[i].at, changed[i].byte, rc, rc ? err.msg : "");
        br__buf_free(&row);
        br__parquet_close(p);
    }
    br__free(text);
    must(br__remove_tree(dir, &err));
}
END_TEST

/* A file that is cut, or has one byte changed, is read or refused; the sanitizers check that
 * nothing else happens. */
START_TEST(damage_is_survived)
{
    char dir[600], path[700], *text;
    size_t n, read = 0, refused_files = 0;
    make_temp_dir(dir, sizeof dir, "bridge-parquet");
    snprintf(path, sizeof path, "%s/x.parquet", dir);
    must(br__read_text(path_of("lists_zstd_v2"), 1 << 24, &text, &n, &err));
    for (size_t i = 0; i < n; i += 7) {
        struct br__parquet *p;
        struct br__buf row = {0};
        int more = 1;
        text[i] ^= (char)(1 << i % 8);
        must(br__write_file(path, text, n, 0, &err));
        text[i] ^= (char)(1 << i % 8);
        int rc = br__parquet_open(&p, path, &err);
        if (!rc)
            rc = br__parquet_select(p, NULL, 0, &err);
        while (!rc && more) {
            row.n = 0;
            rc = br__parquet_next(p, &row, &more, &err);
        }
        read += !rc;
        refused_files += rc != 0;
        ck_assert(rc == 0 || err.msg[0]);
        br__buf_free(&row);
        br__parquet_close(p);
    }
    ck_assert_uint_gt(read, 0);
    ck_assert_uint_gt(refused_files, 0);
    br__free(text);
    must(br__remove_tree(dir, &err));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parquet");
    TCase *t = tcase_create("parquet");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, rows_are_pyarrow_s);
    tcase_add_test(t, columns_are_chosen);
    tcase_add_test(t, what_is_not_read_is_said);
    tcase_add_test(t, a_broken_end_is_said);
    tcase_add_test(t, a_changed_byte_is_said);
    tcase_add_test(t, damage_is_survived);
    suite_add_tcase(s, t);
    return run_suite(s);
}
