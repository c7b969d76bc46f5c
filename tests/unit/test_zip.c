/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_zip.c - the reader of torch.save archives: real ones, hand-made variants, and damage. */
#include "format/format.h"
#include "librun.h"
#include "libtd.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#define FIXTURES BRIDGE_TEST_DATA "/torch_dist/"

static struct br__arena arena;
static struct br__zip_rec *recs;
static size_t n_recs;
static struct br_err err;

static void setup(void)
{
    memset(&arena, 0, sizeof arena);
    err = (struct br_err)BR_ERR_INIT;
}

static void teardown(void)
{
    br__arena_free(&arena);
}

/* The archive alone, in a block of exactly its size. */
static int read_exact(const void *p, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);

    ck_assert_ptr_nonnull(copy);
    if (n)
        memcpy(copy, p, n);
    int rc = br__zip_read(&arena, n ? copy : NULL, n, 0, n, &recs, &n_recs, &err);
    free(copy);
    return rc;
}

static void check_refused(const struct br__buf *b, int code, const char *text)
{
    ck_assert_int_eq(read_exact(b->p, b->n), code);
    ck_assert_msg(strstr(err.msg, text) != NULL, "got '%s', expected '%s'", err.msg, text);
    ck_assert_uint_eq(n_recs, 0);
}

static const struct zip_in three[] = {
    {"archive/data.pkl", "N.", 2}, {"archive/data/0", "0123456789", 10}, {"archive/empty", "", 0}};

static void set_le(struct br__buf *b, size_t at, uint64_t v, int bytes)
{
    ck_assert_uint_le(at + (size_t)bytes, b->n);
    for (int i = 0; i < bytes; i++)
        b->p[at + (size_t)i] = (char)(v >> (8 * i) & 255);
}

/* Offset of the k-th central directory entry. */
static size_t entry(const struct br__buf *b, int k)
{
    static const char sig[] = "PK\x01\x02";

    for (size_t i = 0; i + 4 <= b->n; i++)
        if (memcmp(b->p + i, sig, 4) == 0 && k-- == 0)
            return i;
    ck_abort_msg("no such entry");
    return 0;
}

/* Offset of the descriptor behind the data 0123456789. */
static size_t descriptor(const struct br__buf *b)
{
    size_t i = 0;

    while (i + 10 <= b->n && memcmp(b->p + i, "0123456789", 10) != 0)
        i++;
    return i + 10;
}

/* Offset of the local header of the k-th central entry. */
static size_t local_header(const struct br__buf *b, int k)
{
    const unsigned char *e = (const unsigned char *)b->p + entry(b, k) + 42;

    return e[0] | (size_t)e[1] << 8;
}

/* ---- accepted -------------------------------------------------------------------------------- */

START_TEST(reads_records)
{
    static const int flags[] = {0, ZIP_NO_ZIP64, ZIP_ENTRY_ZIP64, ZIP_NO_ZIP64 | ZIP_ENTRY_ZIP64};
    struct br__buf b = {0};

    br__buf_puts(&b, "what stands before the archive");
    size_t base = b.n;
    zip_make(&b, three, 3, flags[_i]);
    size_t length = b.n - base;
    br__buf_puts(&b, "and after");
    ck_assert_msg(br__zip_read(&arena, (unsigned char *)b.p, b.n, base, length, &recs, &n_recs,
                               &err) == BR_OK,
                  "%s", err.msg);
    ck_assert_uint_eq(n_recs, 3);
    const struct br__zip_rec *data = br__zip_find(recs, n_recs, "data/0");
    ck_assert_ptr_eq(data, &recs[1]);
    ck_assert_uint_eq(data->size, 10);
    ck_assert_uint_eq((data->off - base) % 64, 0);
    ck_assert_int_eq(memcmp(b.p + data->off, "0123456789", 10), 0);
    ck_assert_uint_eq(data->crc, br__crc32(0, "0123456789", 10));
    ck_assert_uint_eq(br__zip_find(recs, n_recs, "empty")->size, 0);
    ck_assert_ptr_null(br__zip_find(recs, n_recs, "archive/empty"));
    ck_assert_ptr_null(br__zip_find(recs, n_recs, "data"));
    br__buf_free(&b);
}
END_TEST

/* train_state.pt of a real Megatron Bridge: eight storages. */
START_TEST(reads_a_real_archive)
{
    struct br__file f;

    ck_assert_msg(
        br__file_open(&f, FIXTURES "qwen2/torch_dist/iter_0000000/train_state.pt", &err) == BR_OK,
        "%s", err.msg);
    ck_assert_msg(br__zip_read(&arena, f.map, f.size, 0, f.size, &recs, &n_recs, &err) == BR_OK,
                  "%s", err.msg);
    ck_assert_str_eq(recs[0].name, "data.pkl");
    for (size_t i = 0; i < n_recs; i++)
        ck_assert_uint_eq(br__crc32(0, f.map + recs[i].off, recs[i].size), recs[i].crc);
    ck_assert_uint_eq(br__zip_find(recs, n_recs, "data/0")->size, 8);
    ck_assert_ptr_nonnull(br__zip_find(recs, n_recs, "data/7"));
    ck_assert_int_eq(memcmp(f.map + br__zip_find(recs, n_recs, "version")->off, "3\n", 2), 0);
    br__file_close(&f);
}
END_TEST

/* ---- refused --------------------------------------------------------------------------------- */

START_TEST(refuses_bad_ranges)
{
    unsigned char map[100] = {0};

    ck_assert_int_eq(br__zip_read(&arena, map, 100, 101, 0, &recs, &n_recs, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "reach past the end of the file, which has 100"));
    ck_assert_int_eq(br__zip_read(&arena, map, 100, 50, 51, &recs, &n_recs, &err), BR_E_FORMAT);
    ck_assert_int_eq(br__zip_read(&arena, map, 100, 50, UINT64_MAX, &recs, &n_recs, &err),
                     BR_E_FORMAT);
    ck_assert_int_eq(br__zip_read(&arena, map, 100, 0, 100, &recs, &n_recs, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "no end record"));
    ck_assert_int_eq(br__zip_read(&arena, NULL, 0, 0, 0, &recs, &n_recs, &err), BR_E_FORMAT);
    ck_assert_int_eq(br__zip_read(&arena, map, 100, 100, 0, &recs, &n_recs, NULL), BR_E_FORMAT);
}
END_TEST

START_TEST(refuses_every_truncation)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    for (size_t n = 0; n < b.n; n++)
        ck_assert_int_eq(read_exact(b.p, n), BR_E_FORMAT);
    ck_assert_int_eq(read_exact(b.p, b.n), BR_OK);
    br__buf_free(&b);
}
END_TEST

/* Each row damages one field: `at` counts from the named place.  AT_COUNTS is the number of records
 * in the ZIP64 end record, which stands there twice. */
enum place { AT_END = 1, AT_LOCATOR, AT_END64, AT_COUNTS, AT_ENTRY, AT_LOCAL, AT_DESCRIPTOR };
static const struct {
    enum place place;
    size_t at;
    int bytes;
    uint64_t v;
    int code;
    const char *text;
} damage[] = {
    {AT_END, 0, 4, 0, BR_E_FORMAT, "no end record"},
    {AT_END, 20, 2, 5, BR_E_FORMAT, "no end record"},
    {AT_END, 4, 2, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END, 6, 2, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END, 8, 2, 2, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_LOCATOR, 0, 4, 0, BR_E_FORMAT, "does not end where its end record begins"},
    {AT_LOCATOR, 8, 8, 0, BR_E_FORMAT, "no ZIP64 end record at 0"},
    {AT_END64, 40, 8, 180, BR_E_FORMAT, "does not end where its end record begins"},
    {AT_LOCATOR, 4, 4, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_LOCATOR, 16, 4, 2, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_LOCATOR, 16, 4, 0, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END64, 16, 4, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END64, 20, 4, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END64, 24, 8, 2, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_ENTRY, 34, 2, 1, BR_E_FORMAT, "the archive is split over several disks"},
    {AT_END64, 0, 4, 0, BR_E_FORMAT, "no ZIP64 end record at"},
    {AT_COUNTS, 0, 8, 4, BR_E_FORMAT, "4 records in a central directory of 181 bytes"},
    {AT_COUNTS, 0, 8, 0, BR_E_FORMAT, "0 records in a central directory"},
    {AT_COUNTS, 0, 8, UINT64_MAX, BR_E_FORMAT, "records in a central directory of"},
    {AT_END64, 40, 8, UINT64_MAX, BR_E_FORMAT, "does not fit into"},
    {AT_END64, 48, 8, UINT64_MAX, BR_E_FORMAT, "does not fit into"},
    {AT_END64, 48, 8, 0, BR_E_FORMAT, "does not end where its end record begins"},
    {AT_ENTRY, 0, 4, 0, BR_E_FORMAT, "no central directory entry at"},
    {AT_ENTRY, 8, 2, 0x809, BR_E_UNSUPPORTED, "record 'data/0' is compressed or encrypted"},
    {AT_ENTRY, 10, 2, 8, BR_E_UNSUPPORTED, "record 'data/0' is compressed or encrypted"},
    {AT_ENTRY, 20, 4, 9, BR_E_FORMAT, "record 'data/0' is stored: its sizes are 9 and 10"},
    {AT_ENTRY, 24, 4, 0, BR_E_FORMAT, "record 'data/0' is stored: its sizes are 10 and 0"},
    {AT_ENTRY, 20, 8, 0, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
    {AT_ENTRY, 16, 4, 0, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
    {AT_ENTRY, 8, 2, 0x800, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_ENTRY, 20, 4, UINT32_MAX, BR_E_FORMAT, "no ZIP64 extra field"},
    {AT_ENTRY, 20, 8, 0x7fffffff7fffffff, BR_E_FORMAT, "reach past the data"},
    {AT_ENTRY, 28, 2, 0xffff, BR_E_FORMAT, "is cut off"},
    {AT_ENTRY, 28, 2, 8, BR_E_FORMAT, "bad record name"},
    {AT_ENTRY, 42, 4, 0xfffffff0, BR_E_FORMAT, "record 'data/0': no local header"},
    {AT_ENTRY, 42, 4, 1, BR_E_FORMAT, "record 'data/0': no local header"},
    {AT_ENTRY, 46, 1, 'x', BR_E_FORMAT, "bad record name 'xrchive/data/0'"},
    {AT_ENTRY, 54, 1, 0, BR_E_FORMAT, "bad record name"},
    {AT_LOCAL, 6, 2, 0x800, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 8, 2, 8, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 14, 4, 1, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 18, 4, 9, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 22, 4, 11, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 26, 2, 13, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 26, 2, 0xffff, BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_LOCAL, 30, 1, 'x', BR_E_FORMAT, "record 'data/0': its local header"},
    {AT_DESCRIPTOR, 0, 4, 0, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
    {AT_DESCRIPTOR, 4, 4, 0, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
    {AT_DESCRIPTOR, 8, 4, 9, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
    {AT_DESCRIPTOR, 12, 4, 0, BR_E_FORMAT, "record 'data/0': no data descriptor with its CRC-32"},
};

START_TEST(refuses_damage)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    size_t base = damage[_i].place == AT_END          ? b.n - 22
                  : damage[_i].place == AT_LOCATOR    ? b.n - 22 - 20
                  : damage[_i].place == AT_END64      ? b.n - 22 - 20 - 56
                  : damage[_i].place == AT_LOCAL      ? local_header(&b, 1)
                  : damage[_i].place == AT_DESCRIPTOR ? descriptor(&b)
                                                      : entry(&b, 1);
    if (damage[_i].place == AT_COUNTS) {
        base = b.n - 22 - 20 - 56 + 24;
        set_le(&b, base + 8, damage[_i].v, 8);
    }
    set_le(&b, base + damage[_i].at, damage[_i].v, damage[_i].bytes);
    check_refused(&b, damage[_i].code, damage[_i].text);
    br__buf_free(&b);
}
END_TEST

/* What a local header says beside zeros is fine when it is the same. */
START_TEST(accepts_local_sizes)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    set_le(&b, local_header(&b, 1) + 14, br__crc32(0, "0123456789", 10), 4);
    set_le(&b, local_header(&b, 1) + 18, 10, 4);
    set_le(&b, local_header(&b, 1) + 22, 10, 4);
    ck_assert_msg(read_exact(b.p, b.n) == BR_OK, "%s", err.msg);
    br__buf_free(&b);
}
END_TEST

/* Without a descriptor the local header has to have them. */
START_TEST(reads_without_descriptors)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    size_t local = local_header(&b, 1);
    set_le(&b, entry(&b, 1) + 8, 0x800, 2);
    set_le(&b, local + 6, 0x800, 2);
    set_le(&b, descriptor(&b), 0, 4);
    check_refused(&b, BR_E_FORMAT, "record 'data/0': its local header");
    set_le(&b, local + 14, br__crc32(0, "0123456789", 10), 4);
    set_le(&b, local + 18, 10, 4);
    check_refused(&b, BR_E_FORMAT, "record 'data/0': its local header");
    set_le(&b, local + 22, 10, 4);
    ck_assert_msg(read_exact(b.p, b.n) == BR_OK, "%s", err.msg);
    ck_assert_uint_eq(recs[1].size, 10);
    br__buf_free(&b);
}
END_TEST

START_TEST(checks_crcs)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    ck_assert_int_eq(read_exact(b.p, b.n), BR_OK);
    const unsigned char *p = (const unsigned char *)b.p;
    for (size_t i = 0; i < n_recs; i++)
        ck_assert_int_eq(br__zip_check(&recs[i], p, &err), BR_OK);
    b.p[recs[1].off] ^= 1;
    ck_assert_int_eq(br__zip_check(&recs[1], p, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "record 'data/0' is damaged: its CRC-32 is"));
    recs[1].crc = 0; /* not computed */
    ck_assert_int_eq(br__zip_check(&recs[1], p, &err), BR_OK);
    br__buf_free(&b);
}
END_TEST

START_TEST(refuses_bad_names)
{
    static const struct zip_in flat[] = {{"data.pkl", "N.", 2}};
    static const struct zip_in rooted[] = {{"/data.pkl", "N.", 2}};
    static const struct zip_in two[] = {{"a/data.pkl", "N.", 2}, {"b/data/0", "x", 1}};
    static const struct zip_in bare[] = {{"a/data.pkl", "N.", 2}, {"a/", "", 0}};
    struct br__buf b = {0};

    zip_make(&b, flat, 1, 0);
    check_refused(&b, BR_E_FORMAT, "first record 'data.pkl' is not in a directory");
    b.n = 0;
    zip_make(&b, rooted, 1, 0);
    check_refused(&b, BR_E_FORMAT, "is not in a directory");
    b.n = 0;
    zip_make(&b, two, 2, 0);
    check_refused(&b, BR_E_FORMAT, "bad record name 'b/data/0', expected 'a/...'");
    b.n = 0;
    zip_make(&b, bare, 2, 0);
    check_refused(&b, BR_E_FORMAT, "bad record name 'a/'");
    br__buf_free(&b);
}
END_TEST

START_TEST(refuses_bad_zip64_fields)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, ZIP_ENTRY_ZIP64);
    size_t extra = entry(&b, 0) + 46 + strlen(three[0].name);
    set_le(&b, extra + 6 + 2, 16, 2); /* shorter than the three values */
    check_refused(&b, BR_E_FORMAT, "ZIP64 extra field is too short");
    set_le(&b, extra + 6 + 2, 0x100, 2);
    check_refused(&b, BR_E_FORMAT, "no ZIP64 extra field");
    set_le(&b, extra + 6, 2, 2); /* another kind */
    check_refused(&b, BR_E_FORMAT, "no ZIP64 extra field");
    set_le(&b, extra + 2, 0xffff, 2); /* a block that leaves the field */
    check_refused(&b, BR_E_FORMAT, "no ZIP64 extra field");
    b.n = 0;
    zip_make(&b, three, 3, ZIP_ENTRY_ZIP64);
    set_le(&b, extra + 6 + 4, UINT64_MAX, 8);
    set_le(&b, extra + 6 + 12, UINT64_MAX, 8);
    check_refused(&b, BR_E_FORMAT, "reach past the data");
    set_le(&b, extra + 6 + 20, UINT64_MAX, 8);
    check_refused(&b, BR_E_FORMAT, "no local header");
    br__buf_free(&b);
}
END_TEST

/* Any single byte wrong: an error, or records that lie inside the archive. */
START_TEST(survives_any_byte)
{
    struct br__buf b = {0};

    zip_make(&b, three, 3, 0);
    for (size_t i = 0; i < b.n; i++) {
        for (int bit = 0; bit < 8; bit++) {
            b.p[i] ^= (char)(1 << bit);
            if (read_exact(b.p, b.n) == BR_OK)
                for (size_t k = 0; k < n_recs; k++)
                    if (recs[k].off > b.n || recs[k].size > b.n - recs[k].off)
                        ck_abort_msg("byte %zu bit %d: record outside", i, bit);
            b.p[i] ^= (char)(1 << bit);
        }
        br__arena_free(&arena);
    }
    br__buf_free(&b);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("zip");
    TCase *t = tcase_create("zip");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_loop_test(t, reads_records, 0, 4);
    tcase_add_test(t, reads_a_real_archive);
    tcase_add_test(t, refuses_bad_ranges);
    tcase_add_test(t, refuses_every_truncation);
    tcase_add_loop_test(t, refuses_damage, 0, BR_COUNTOF(damage));
    tcase_add_test(t, accepts_local_sizes);
    tcase_add_test(t, reads_without_descriptors);
    tcase_add_test(t, checks_crcs);
    tcase_add_test(t, refuses_bad_names);
    tcase_add_test(t, refuses_bad_zip64_fields);
    tcase_add_test(t, survives_any_byte);
    suite_add_tcase(s, t);
    return s;
}

int main(void)
{
    return run_suite(suite());
}
