/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_zip_write.c - archives against bytes, lengths and checksums of what torch 2.15 wrote. */
#include "format/torch/torch.h"
#include "librun.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[256], path[300];

static void make_dir(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-zip");
    snprintf(path, sizeof path, "%s/archive", dir);
}

static void remove_dir(void)
{
    ck_assert_int_eq(br__remove_tree(dir, NULL), 0);
}

/* Lengths of real items: pickle of 157 bytes with 64 of data (the format's worked example), of
 * [None] without data, of Transformer Engine's empty tensor, of Megatron Bridge's common state, and
 * its train_state.pt. */
START_TEST(sizes_of_real_archives)
{
    static const uint64_t one[] = {64}, empty[] = {0}, train[] = {8, 8, 8, 8, 4, 1, 1, 1};
    ck_assert_uint_eq(br__zip_archive_size("archive", 157, one, 1), 1641);
    ck_assert_uint_eq(br__zip_archive_size("archive", 153, empty, 1), 1513);
    ck_assert_uint_eq(br__zip_archive_size("archive", 156, NULL, 0), 1389);
    ck_assert_uint_eq(br__zip_archive_size("train_state", 652, train, 8), 3461);
}
END_TEST

/* An archive that starts at an odd place of a larger file: same bytes as at 0, alignment is its
 * own. */
START_TEST(base_does_not_matter)
{
    struct br__out out;
    struct br__zipw z;
    uint64_t len = br__zip_archive_size("archive", 8, (uint64_t[]){5}, 1);
    ck_assert_int_eq(br__out_open(&out, path, 0, 0, NULL), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(br__out_write(&out, "abc", 3, NULL), 0);
        br__zipw_begin(&z, &out, "archive");
        ck_assert_int_eq(br__zipw_head(&z, "\x80\x02]q\0Na.", 8, NULL), 0);
        ck_assert_int_eq(br__zipw_record(&z, "data/0", "hello", 5, NULL), 0);
        ck_assert_int_eq(br__zipw_finish(&z, NULL), 0);
        ck_assert_uint_eq(br__out_tell(&out), (uint64_t)(i + 1) * (3 + len));
    }
    ck_assert_int_eq(br__out_finish(&out, NULL), 0);

    struct br__file f;
    struct br__arena a = {0};
    struct br__zip_rec *recs;
    size_t n;
    ck_assert_int_eq(br__file_open(&f, path, NULL), 0);
    ck_assert_mem_eq(f.map + 3, f.map + 3 + len + 3, len);
    ck_assert_int_eq(br__zip_read(&a, f.map, f.size, 3 + len + 3, len, &recs, &n, NULL), 0);
    ck_assert_uint_eq(n, 7);
    const struct br__zip_rec *r = br__zip_find(recs, n, "data/0");
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->size, 5);
    ck_assert_uint_eq((r->off - (3 + len + 3)) % 64, 0);
    ck_assert_mem_eq(f.map + r->off, "hello", 5);
    ck_assert_uint_eq(r->crc, br__crc32(0, "hello", 5));
    br__file_close(&f);
    br__arena_free(&a);
}
END_TEST

/* data.pkl of torch.zeros(n, dtype=uint8), n >= 2^31. */
static size_t big_pickle(uint64_t n, unsigned char p[159])
{
    static const char pickle[] =
        "\x80\x02"
        "ctorch._utils\n_rebuild_tensor_v2\nq\0(("
        "X\7\0\0\0storageq\1ctorch\nByteStorage\nq\2X\1\0\0\0"
        "0q\3X\3\0\0\0cpuq\4\x8a\5.....tq\5QK\0\x8a\5.....\x85q\6K\1\x85q\7\x89"
        "ccollections\nOrderedDict\nq\10)Rq\ttq\nRq\v.";
    size_t len = sizeof pickle - 1;
    ck_assert_uint_eq(len, 159);
    memcpy(p, pickle, len);
    for (size_t i = 0; i + 7 < len; i++)
        if (p[i] == 0x8a && p[i + 1] == 5)
            for (int k = 0; k < 5; k++)
                p[i + 2 + (size_t)k] = (unsigned char)(n >> (8 * k));
    return len;
}

/* Around 4 GiB headers change form.  Rows: torch.save(torch.zeros(n, dtype=uint8)), its length,
 * CRC-32 of the data, of everything before and of everything behind it, from a run of torch 2.15.
 */
static const struct {
    uint64_t n, length;
    uint32_t data, head, tail;
} big[] = {
    {4294967000, 4294968585, 0xbce5960d, 0x208b1433, 0x35915893},
    {4294967294, 4294968905, 0x0f6a7026, 0xc9f7cdc7, 0x07bc2d56},
    {4294967295, 4294968925, 0x00000000, 0x06737a10, 0x8b198e63},
    {4294967296, 4294968925, 0xd202ef8d, 0x6856b054, 0xc639ce67},
};

START_TEST(beyond_4_gib)
{
    unsigned char pickle[159], tail[1024];
    uint64_t n = big[_i].n;
    size_t pickle_size = big_pickle(n, pickle);
    struct br__out out;
    struct br__zipw z;
    ck_assert_uint_eq(br__zip_archive_size("archive", pickle_size, &n, 1), big[_i].length);

    ck_assert_int_eq(br__out_open(&out, path, 0, 0, NULL), 0);
    br__zipw_begin(&z, &out, "archive");
    ck_assert_int_eq(br__zipw_head(&z, pickle, pickle_size, NULL), 0);
    ck_assert_int_eq(br__zipw_start(&z, "data/0", n, NULL), 0);
    /* Instead of 4 GiB of zeros, a hole: flush, and step over it. */
    ck_assert_ptr_nonnull(br__out_reserve(&out, BR__OUT_BUF, NULL));
    ck_assert_uint_eq(out.n, 0);
    out.off += n;
    z.rec_crc = big[_i].data;
    ck_assert_int_eq(br__zipw_stop(&z, NULL), 0);
    ck_assert_int_eq(br__zipw_finish(&z, NULL), 0);
    ck_assert_uint_eq(br__out_tell(&out), big[_i].length);
    ck_assert_int_eq(br__out_finish(&out, NULL), 0);

    struct br__file f;
    struct br__arena a = {0};
    struct br__zip_rec *recs;
    size_t n_recs, tail_size = (size_t)(big[_i].length - 704 - n);
    ck_assert_int_eq(br__file_open(&f, path, NULL), 0);
    ck_assert_uint_eq(f.size, big[_i].length);
    ck_assert_uint_eq(br__crc32(0, f.map, 704), big[_i].head);
    ck_assert_uint_le(tail_size, sizeof tail);
    ck_assert_int_eq(br__file_read(&f, 704 + n, tail, tail_size, NULL), 0);
    ck_assert_uint_eq(br__crc32(0, tail, tail_size), big[_i].tail);
    ck_assert_int_eq(br__zip_read(&a, f.map, f.size, 0, f.size, &recs, &n_recs, NULL), 0);
    const struct br__zip_rec *r = br__zip_find(recs, n_recs, "data/0");
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->off, 704);
    ck_assert_uint_eq(r->size, n);
    r = br__zip_find(recs, n_recs, "version");
    ck_assert_ptr_nonnull(r);
    ck_assert_mem_eq(f.map + r->off, "3\n", 2);
    br__file_close(&f);
    br__arena_free(&a);
}
END_TEST

/* Two data records of 4 GiB each: size and offset both need the zip64 field. */
START_TEST(two_big_records)
{
    static const uint64_t sizes[] = {1ull << 32, 1ull << 32};
    struct br__out out;
    struct br__zipw z;
    ck_assert_int_eq(br__out_open(&out, path, 0, 0, NULL), 0);
    br__zipw_begin(&z, &out, "archive");
    ck_assert_int_eq(br__zipw_head(&z, "N.", 2, NULL), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(br__zipw_start(&z, i ? "data/1" : "data/0", sizes[i], NULL), 0);
        ck_assert_ptr_nonnull(br__out_reserve(&out, BR__OUT_BUF, NULL));
        out.off += sizes[i];
        ck_assert_int_eq(br__zipw_stop(&z, NULL), 0);
    }
    ck_assert_int_eq(br__zipw_finish(&z, NULL), 0);
    ck_assert_int_eq(br__out_finish(&out, NULL), 0);

    struct br__file f;
    struct br__arena a = {0};
    struct br__zip_rec *recs;
    size_t n;
    ck_assert_int_eq(br__file_open(&f, path, NULL), 0);
    ck_assert_uint_eq(f.size, br__zip_archive_size("archive", 2, sizes, 2));
    ck_assert_int_eq(br__zip_read(&a, f.map, f.size, 0, f.size, &recs, &n, NULL), 0);
    const struct br__zip_rec *r = br__zip_find(recs, n, "data/1");
    ck_assert_ptr_nonnull(r);
    ck_assert_uint_eq(r->size, sizes[1]);
    ck_assert_uint_gt(r->off, sizes[0]);
    ck_assert_uint_eq(r->off % 64, 0);
    br__file_close(&f);
    br__arena_free(&a);
}
END_TEST

static ssize_t full_disk(int fd, const void *p, size_t n, off_t off)
{
    (void)fd, (void)p, (void)n, (void)off;
    errno = ENOSPC;
    return -1;
}

START_TEST(full_disk_is_reported)
{
    static unsigned char data[BR__OUT_BUF];
    struct br__io_ops saved = br__io;
    struct br__out out;
    struct br__zipw z;
    struct br_err err = BR_ERR_INIT;
    ck_assert_int_eq(br__out_open(&out, path, 0, 0, NULL), 0);
    br__zipw_begin(&z, &out, "archive");
    ck_assert_int_eq(br__zipw_head(&z, "N.", 2, NULL), 0);
    br__io.pwrite = full_disk;
    int rc = br__zipw_record(&z, "data/0", data, sizeof data, &err);
    br__io = saved;
    ck_assert_int_eq(rc, BR_E_NOSPC);
    ck_assert_int_eq(err.code, BR_E_NOSPC);
    br__zipw_abort(&z);
    br__out_abort(&out);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("zip_write");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, make_dir, remove_dir);
    tcase_add_test(t, sizes_of_real_archives);
    tcase_add_test(t, base_does_not_matter);
    tcase_add_loop_test(t, beyond_4_gib, 0, BR_COUNTOF(big));
    tcase_add_test(t, two_big_records);
    tcase_add_test(t, full_disk_is_reported);
    suite_add_tcase(s, t);
    return run_suite(s);
}
