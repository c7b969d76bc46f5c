/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_data.c - token files, the order of pretraining data, and samplers, against what Megatron
 * core 0.19 and Megatron Bridge 0.6 did (tests/data/data, see the README of it). */
#include "../../core/data/gpt.h"
#include "../../core/data/random.h"
#include "../../core/format/indexed.h"
#include "data/samples.h"
#include "librun.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DATA BRIDGE_TEST_DATA "/data/"

static char dir[512];
static struct br_err err;

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

/* tests/data, or what scripts/test-oracle made of the same form. */
static const char *data_dir(void)
{
    const char *root = getenv("BRIDGE_TEST_DATA");
    return root && *root ? root : BRIDGE_TEST_DATA;
}

static br__json *golden(const char *name)
{
    char path[600], *text;
    size_t n;
    br__json *j;
    snprintf(path, sizeof path, "%s/data/%s", data_dir(), name);
    must(br__read_text(path, 1 << 24, &text, &n, &err));
    must(br__json_parse(&j, text, n, &err));
    br__free(text);
    return j;
}

static int64_t num(const br__json *j, const char *key)
{
    const br__json *v = key ? br__json_get(j, key) : j;
    ck_assert_msg(br__json_kind(v) == 'n' || br__json_kind(v) == 'b', "no number '%s'",
                  key ? key : "");
    return br__json_kind(v) == 'b' ? br__json_bool(v, 0) : (int64_t)br__json_num(v, 0);
}

#define SAME(got, n, want)                                                                         \
    do {                                                                                           \
        const br__json *e_ = br__json_first(want);                                                 \
        int64_t n_ = (n);                                                                          \
        ck_assert_int_eq(n_, (int64_t)br__json_count(want));                                       \
        for (int64_t i_ = 0; i_ < n_; i_++, e_ = br__json_next(e_))                                \
            ck_assert_msg((double)(got)[i_] == br__json_num(e_, -1e9),                             \
                          "element %lld is %g, not %g", (long long)i_, (double)(got)[i_],          \
                          br__json_num(e_, -1e9));                                                 \
    } while (0)

static const char *prefix(const char *name)
{
    static char paths[4][600];
    static int at;
    char *p = paths[at++ % 4];
    snprintf(p, sizeof paths[0], "%s/data/%s", data_dir(), name);
    return p;
}

static const char *temp(const char *name)
{
    static char paths[4][600];
    static int at;
    char *p = paths[at++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    return p;
}

static void same_file(const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    must(br__read_text(a, 1 << 24, &x, &n, &err));
    must(br__read_text(b, 1 << 24, &y, &m, &err));
    ck_assert_msg(n == m && memcmp(x, y, n) == 0, "%s and %s differ", a, b);
    br__free(x);
    br__free(y);
}

/* ---- .bin and .idx --------------------------------------------------------------------------- */

START_TEST(token_files_are_read)
{
    br__json *j = golden("indexed.json");
    struct br__indexed x;
    for (const br__json *f = br__json_first(br__json_get(j, "files")); f; f = br__json_next(f)) {
        must(br__indexed_open(&x, prefix(br__json_key(f)), &err));
        const br__json *n = br__json_get(f, "lengths");
        if (n) {
            int64_t at = 0;
            ck_assert_str_eq(br_dtype_torch(x.dtype), br__json_str(br__json_get(f, "dtype"), ""));
            for (n = br__json_first(n); n; n = br__json_next(n))
                if (num(n, NULL))
                    ck_assert_int_eq(br__indexed_len(&x, at++), num(n, NULL));
            ck_assert_int_eq(at, x.n_seq);
            ck_assert_int_eq(at, x.n_doc);
        } else {
            int64_t lengths[8], docs[8];
            int32_t ids[8];
            const br__json *s = br__json_first(br__json_get(f, "sequences"));
            for (int64_t i = 0; i < x.n_seq; i++, s = br__json_next(s)) {
                lengths[i] = br__indexed_len(&x, i);
                must(br__indexed_read(&x, i, 0, lengths[i], ids, &err));
                SAME(ids, lengths[i], s);
            }
            for (int64_t i = 0; i <= x.n_doc; i++)
                docs[i] = br__indexed_doc(&x, i);
            SAME(lengths, x.n_seq, br__json_get(f, "sequence_lengths"));
            SAME(docs, x.n_doc + 1, br__json_get(f, "document_indices"));
        }
        br__indexed_close(&x);
    }
    const br__json *d = br__json_first(br__json_get(j, "optimal_dtype"));
    for (; d; d = br__json_next(d))
        ck_assert_str_eq(br_dtype_torch(br__indexed_dtype(atoll(br__json_key(d)))),
                         br__json_str(d, ""));
    br__json_free(j);
}
END_TEST

/* Written again from what was read, each file has the same bytes. */
START_TEST(token_files_are_written_byte_identical)
{
    static const char *const names[] = {"a_uint16", "b_int32", "c_uint16_small", "d_multi"};
    static int32_t ids[4096];
    for (size_t f = 0; f < BR_COUNTOF(names); f++) {
        struct br__indexed x;
        struct br__indexed_out w;
        must(br__indexed_open(&x, prefix(names[f]), &err));
        must(br__indexed_create(&w, temp("t"), x.dtype, 0, &err));
        for (int64_t d = 0; d < x.n_doc; d++) {
            for (int64_t s = br__indexed_doc(&x, d); s < br__indexed_doc(&x, d + 1); s++) {
                must(br__indexed_read(&x, s, 0, br__indexed_len(&x, s), ids, &err));
                must(br__indexed_add(&w, ids, (size_t)br__indexed_len(&x, s), &err));
            }
            must(br__indexed_end_doc(&w, &err));
        }
        must(br__indexed_finish(&w, &err));
        br__indexed_close(&x);
        char a[700], b[700];
        snprintf(a, sizeof a, "%s.bin", prefix(names[f]));
        same_file(a, temp("t.bin"));
        snprintf(b, sizeof b, "%s.idx", prefix(names[f]));
        same_file(b, temp("t.idx"));
    }
}
END_TEST

START_TEST(token_files_are_merged)
{
    static const char *const names[] = {"a_uint16", "c_uint16_small"};
    struct br__indexed_out w;
    struct br__indexed x;
    must(br__indexed_create(&w, temp("m"), BR_U16, 0, &err));
    for (size_t i = 0; i < 2; i++) {
        must(br__indexed_open(&x, prefix(names[i]), &err));
        must(br__indexed_append(&w, &x, &err));
        br__indexed_close(&x);
    }
    must(br__indexed_open(&x, prefix("b_int32"), &err));
    ck_assert_int_eq(br__indexed_append(&w, &x, &err), BR_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "int32, but uint16 is expected"));
    br__indexed_close(&x);
    must(br__indexed_finish(&w, &err));
    same_file(DATA "e_merged.bin", temp("m.bin"));
    same_file(DATA "e_merged.idx", temp("m.idx"));
}
END_TEST

START_TEST(an_id_too_large_and_an_abort_leave_nothing)
{
    struct br__indexed_out w;
    int32_t id = 65536;
    must(br__indexed_create(&w, temp("n"), BR_U16, 0, &err));
    ck_assert_int_eq(br__indexed_add(&w, &id, 1, &err), BR_E_FORMAT);
    ck_assert_str_eq(err.msg, "token id 65536, expected 0 to 65535 in uint16");
    br__indexed_abort(&w);
    struct br__arena a = {0};
    char **names;
    size_t n;
    must(br__list_dir(&a, dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(names[i][0] != 'n', "%s is left", names[i]);
    br__arena_free(&a);
}
END_TEST

/* Each defect of an index has its message. */
static void refused(size_t at, uint64_t v, size_t bytes, size_t cut, const char *says)
{
    char *p;
    size_t n;
    struct br__indexed x = {0};
    must(br__read_text(DATA "d_multi.idx", 1 << 20, &p, &n, &err));
    memcpy(p + at, &v, bytes);
    int rc = br__idx_parse(&x, (unsigned char *)p, n - cut, 18, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s; expected: %s", rc, err.msg, says);
    br__free(p);
}

START_TEST(a_broken_index_is_refused)
{
    refused(0, 'X', 1, 0, "does not begin with 'MMIDIDX'");
    refused(0, 'M', 1, 90, "does not begin with 'MMIDIDX'");
    refused(9, 2, 8, 0, "version 2, expected 1");
    refused(17, 9, 1, 0, "dtype code 9");
    refused(17, 7, 1, 0, "elements are float32");
    refused(18, UINT64_MAX, 8, 0, "too few");
    refused(26, UINT64_MAX / 8, 8, 0, "too few");
    refused(26, 0, 8, 0, "follow the document boundaries");
    refused(17, 8, 1, 1, "too few");
    refused(34, 0xFFFFFFFF, 4, 0, "sequence 0 is -1 tokens");
    refused(34, 100, 4, 0, "sequence 0 is 100 tokens at byte 0, but the .bin file has 18 bytes");
    refused(50, UINT64_MAX, 8, 0, "tokens at byte -1");
    refused(82, 1, 8, 0, "document boundary 0 is 1, expected 0");
    refused(90, 5, 8, 0, "document boundary 1 is 5");
    refused(106, 3, 8, 0, "ends at sequence 3, expected 4");
}
END_TEST

/* ---- .npy ------------------------------------------------------------------------------------ */

START_TEST(npy_is_as_numpy_writes_it)
{
    static const int32_t v[] = {5, -7, 123456789, 0, 1, 2};
    struct br__npy x;
    must(br__npy_write(temp("one.npy"), BR_I32, 1, (const int64_t[]){6}, v, 0, &err));
    must(br__npy_write(temp("two.npy"), BR_I32, 2, (const int64_t[]){3, 2}, v, 0, &err));
    same_file(DATA "one.npy", temp("one.npy"));
    same_file(DATA "two.npy", temp("two.npy"));
    must(br__npy_open(&x, DATA "two.npy", &err));
    ck_assert_int_eq(x.dtype, BR_I32);
    ck_assert(x.ndim == 2 && x.shape[0] == 3 && x.shape[1] == 2);
    ck_assert_mem_eq(x.data, v, sizeof v);
    br__npy_close(&x);
}
END_TEST

/* two.npy with `bytes` bytes of v at `at`, cut to n bytes, is not an array; n 0: not cut. */
static void npy_refused(size_t at, uint64_t v, size_t bytes, size_t n, const char *says)
{
    char *text;
    size_t size;
    uint64_t off;
    struct br__npy x = {0};
    must(br__read_text(DATA "two.npy", 1 << 16, &text, &size, &err));
    memcpy(text + at, &v, bytes);
    int rc = br__npy_parse(&x, (const unsigned char *)text, n ? n : size, &off, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s; expected: %s", rc, err.msg, says);
    br__free(text);
}

START_TEST(a_broken_npy_is_refused)
{
    npy_refused(1, 'n', 1, 0, "does not begin as an array of numpy.save");
    npy_refused(0, 0x93, 1, 11, "does not begin as an array of numpy.save");
    npy_refused(6, 4, 1, 0, "version 4.0, expected 1.0 to 3.0");
    npy_refused(8, 5000, 2, 0, "a header of 5000 bytes in a file of ");
    npy_refused(0, 0x93, 1, 150, "bytes of elements, but the shape needs 24");
    npy_refused(8, 117, 2, 0, "expected a multiple of 8, as numpy writes it");
    /* {'descr': '<i4', 'fortran_order': False, 'shape': (3, 2), } begins at byte 10. */
    npy_refused(22, 'x', 1, 0, "the header's 'descr' is none of the number types");
    npy_refused(44, 'T', 1, 0, "the header's 'fortran_order' is not False");
    npy_refused(61, 'x', 1, 0, "the header's 'shape' is not one or two numbers");
    npy_refused(12, 'D', 1, 0, "the header is not a dict of 'descr', 'fortran_order' and 'shape'");
}
END_TEST

/* ---- random numbers -------------------------------------------------------------------------- */

/* The generators of numpy and torch against their own numbers; the fixtures depend on them. */
START_TEST(generators_are_numpy_s_and_torch_s)
{
    br__json *j = golden("random.json");
    struct br__mt19937 r;
    static int64_t v[2000];
    for (const br__json *c = br__json_first(br__json_get(j, "np_permutation")); c;
         c = br__json_next(c)) {
        br__mt_seed(&r, (uint32_t)num(c, "seed"));
        br__np_permutation(&r, num(c, "n"), v);
        SAME(v, num(c, "n"), br__json_get(c, "first"));
        br__np_permutation(&r, num(c, "n"), v);
        SAME(v, num(c, "n"), br__json_get(c, "second"));
    }
    for (const br__json *c = br__json_first(br__json_get(j, "torch_randperm")); c;
         c = br__json_next(c)) {
        br__torch_randperm((uint64_t)num(c, "seed"), num(c, "n"), v);
        SAME(v, num(c, "n"), br__json_get(c, "order"));
    }
    br__json_free(j);
}
END_TEST

/* ---- datasets -------------------------------------------------------------------------------- */

static void same_sample(const struct br__sample *s, const br__json *want)
{
    SAME(s->ids, s->n, br__json_get(want, "tokens"));
    SAME(s->labels, s->n, br__json_get(want, "labels"));
    if (br__json_get(want, "loss_mask"))
        SAME(s->weights, s->n, br__json_get(want, "loss_mask"));
    if (br__json_get(want, "position_ids"))
        SAME(s->positions, s->n, br__json_get(want, "position_ids"));
}

/* n_samples of a case: null is one epoch. */
static void sizes_of(const br__json *c, int64_t *n)
{
    const br__json *v = br__json_first(br__json_get(c, "num_samples"));
    for (int i = 0; i < BR__N_SPLITS; i++, v = br__json_next(v))
        n[i] = br__json_kind(v) == 'n' ? num(v, NULL) : -1;
}

static void same_index(const struct br__gpt_index *x, const br__json *want)
{
    SAME(x->documents, x->n_documents, br__json_get(want, "document_index"));
    SAME(x->order, x->n_samples, br__json_get(want, "shuffle_index"));
    const br__json *s = br__json_get(want, "sample_index");
    if (!s)
        return;
    ck_assert_int_eq((int64_t)br__json_count(s), x->n_samples + 1);
    s = br__json_first(s);
    for (int64_t i = 0; s; s = br__json_next(s), i++)
        SAME(x->starts[i], 2, s);
}

/* Second, third and last word, and sum of word * 31^(623 - i), as CPython 3.12 and numpy 2 say. */
START_TEST(generators_are_seeded_as_python_s_and_numpy_s)
{
    static const struct {
        uint32_t seed, python[4], numpy[4];
    } known[] = {{5678,
                  {2267111000, 3223017123, 775224532, 4113909853},
                  {254369319, 633734245, 2764105822, 734977765}},
                 {1234,
                  {681931688, 3687344416, 343805460, 3923884585},
                  {3159640283, 4062961311, 3064478787, 1784783973}},
                 {0,
                  {766982754, 497961170, 2902720905, 2466367729},
                  {1, 1812433255, 1796872496, 3961295402}},
                 {4294967295,
                  {2159790430, 4274725319, 2300076184, 2907095575},
                  {1340201581, 3941791902, 3413567280, 2979740330}}};
    uint32_t got[2][624];
    for (size_t i = 0; i < BR_COUNTOF(known); i++) {
        br__random_seeded(known[i].seed, got[1], got[0]);
        ck_assert_uint_eq(got[0][0], 0x80000000u);
        ck_assert_uint_eq(got[1][0], known[i].seed);
        for (int k = 0; k < 2; k++) {
            const uint32_t *want = k ? known[i].numpy : known[i].python;
            uint32_t sum = 0;
            for (int j = 0; j < 624; j++)
                sum = sum * 31 + got[k][j];
            ck_assert_uint_eq(got[k][1], want[0]);
            ck_assert_uint_eq(got[k][2], want[1]);
            ck_assert_uint_eq(got[k][623], want[2]);
            ck_assert_uint_eq(sum, want[3]);
        }
    }
}
END_TEST

START_TEST(gpt_dataset_is_megatron_s)
{
    br__json *j = golden("gpt_dataset.json");
    struct br__sample s = {0};
    int cases = 0;
    for (const br__json *c = br__json_first(j); c; c = br__json_next(c)) {
        struct br__gpt_shape shape = {
            num(c, "seq_length"), (uint32_t)num(c, "seed"), 486, -1, 1, 0, 0, 0};
        struct br__tokens t;
        double range[BR__N_SPLITS][2];
        int64_t want[BR__N_SPLITS];
        sizes_of(c, want);
        must(br__split_parse(br__json_str(br__json_get(c, "split"), ""), range, &err));
        must(br__tokens_open(&t, prefix(br__json_str(br__json_get(c, "prefix"), "")), &err));
        ck_assert_int_eq(t.x.n_tokens, num(c, "tokens"));
        for (int i = 0; i < BR__N_SPLITS; i++) {
            const br__json *e = br__json_get(br__json_get(c, "splits"), br__split_names[i]);
            struct br__gpt_index x;
            if (br__json_kind(e) != 'o') {
                ck_assert(range[i][1] <= range[i][0]);
                continue;
            }
            const br__json *docs = br__json_get(e, "document_indices_of_split");
            int64_t n = (int64_t)br__json_count(docs), first = num(br__json_first(docs), NULL);
            must(br__gpt_index_make(&x, &t, first, first + n, want[i], &shape, &err));
            ck_assert_int_eq(x.n_samples, num(e, "len"));
            same_index(&x, e);
            int64_t k = 0;
            for (const br__json *w = br__json_first(br__json_get(e, "samples")); w;
                 w = br__json_next(w), k++) {
                must(br__gpt_sample(&x, &t, &shape, k, &s, &err));
                same_sample(&s, w);
            }
            br__gpt_index_free(&x);
            cases++;
        }
        br__tokens_close(&t);
    }
    ck_assert_int_ge(cases, 15);
    br__sample_free(&s);
    br__json_free(j);
}
END_TEST

static int flag(const br__json *c, const char *name, int dflt)
{
    return br__json_bool(br__json_get(br__json_get(c, "flags"), name), dflt);
}

/* The recorded mask is a square of 0 and 1; ours is the range of tokens that each token attends to.
 */
static void same_attention(const struct br__sample *s, const br__json *want)
{
    if (!want)
        return;
    const br__json *row = br__json_first(br__json_first(want));
    int64_t from = 0, k = 0;
    for (int64_t i = 0; i < s->n; i++, row = br__json_next(row)) {
        const br__json *v = br__json_first(row);
        if (i == s->ends[k])
            from = s->ends[k++];
        for (int64_t t = 0; t < s->n; t++, v = br__json_next(v))
            ck_assert_int_eq(num(v, NULL), !(t >= from && t <= i));
    }
}

START_TEST(flags_of_samples_are_megatron_s)
{
    br__json *j = golden("gpt_samples_flags.json");
    struct br__sample s = {0};
    for (const br__json *c = br__json_first(j); c; c = br__json_next(c)) {
        struct br__gpt_shape shape = {num(c, "seq_length"),
                                      (uint32_t)num(c, "seed"),
                                      486,
                                      -1,
                                      flag(c, "add_extra_token_to_sequence", 1),
                                      flag(c, "reset_position_ids", 0),
                                      flag(c, "reset_attention_mask", 0),
                                      flag(c, "eod_mask_loss", 0)};
        struct br__tokens t;
        struct br__gpt_index x;
        must(br__tokens_open(&t, prefix(br__json_str(br__json_get(c, "prefix"), "")), &err));
        must(br__gpt_index_make(&x, &t, 0, t.n_seq, num(c, "num_samples"), &shape, &err));
        int64_t k = 0;
        for (const br__json *w = br__json_first(br__json_get(c, "samples")); w;
             w = br__json_next(w), k++) {
            must(br__gpt_sample(&x, &t, &shape, k, &s, &err));
            same_sample(&s, w);
            if (k == 0)
                same_attention(&s, br__json_get(c, "attention_mask_of_sample_0_true_is_masked"));
        }
        ck_assert_int_eq(k, 16);
        br__gpt_index_free(&x);
        br__tokens_close(&t);
    }
    br__sample_free(&s);
    br__json_free(j);
}
END_TEST

/* [[names], [weights] or null] as the words of data_paths. */
static size_t words_of(const br__json *names, const br__json *weights, const char **words,
                       char text[8][32])
{
    size_t n = 0;
    const br__json *w = br__json_first(weights);
    for (const br__json *p = br__json_first(names); p; p = br__json_next(p)) {
        if (br__json_kind(weights) == 'a') {
            snprintf(text[n], 32, "%.17g", br__json_num(w, 0));
            words[n] = text[n];
            n++;
            w = br__json_next(w);
        }
        words[n++] = prefix(br__json_str(p, ""));
    }
    return n;
}

static void same_blend(struct br__pretrain *p, const br__json *c)
{
    struct br__sample s = {0};
    for (int i = 0; i < BR__N_SPLITS; i++) {
        const br__json *e = br__json_get(br__json_get(c, "splits"), br__split_names[i]);
        if (br__json_kind(e) != 'o' || br__pretrain_count(p, i) == 0)
            continue;
        ck_assert_int_eq(br__pretrain_count(p, i), num(e, "len"));
        const br__json *set = br__json_first(br__json_get(e, "dataset_index"));
        for (int64_t k = 0; set; k++, set = br__json_next(set)) {
            int dataset;
            must(br__pretrain_sample(p, i, k, &s, &dataset, &err));
            ck_assert_int_eq(dataset, num(set, NULL));
        }
        const br__json *w = br__json_first(br__json_get(e, "samples"));
        for (int64_t k = 0; w; k++, w = br__json_next(w)) {
            must(br__pretrain_sample(p, i, k, &s, NULL, &err));
            same_sample(&s, w);
        }
        const br__json *parts = br__json_first(br__json_get(e, "dataset_lengths"));
        struct br__pretrain_part part;
        for (size_t k = 0; parts; k++, parts = br__json_next(parts)) {
            ck_assert(br__pretrain_part(p, i, k, &part));
            ck_assert_int_eq(part.samples, num(parts, NULL));
        }
    }
    br__sample_free(&s);
}

START_TEST(blends_are_megatron_s)
{
    br__json *j = golden("blended.json");
    for (const br__json *c = br__json_first(br__json_get(j, "datasets")); c; c = br__json_next(c)) {
        if (br__json_get(c, "error")) /* no weights and no numbers: Megatron stops */
            continue;
        const char *words[BR__N_SPLITS][8];
        char text[BR__N_SPLITS][8][32];
        struct br__pretrain_opts o = {.seq_length = num(c, "seq_length"),
                                      .seed = (uint32_t)num(c, "seed"),
                                      .eod = 486,
                                      .pad = -1,
                                      .split = br__json_str(br__json_get(c, "split"), NULL)};
        const br__json *each = br__json_first(br__json_get(c, "blend_per_split"));
        struct br__pretrain *p;
        sizes_of(c, o.n_samples);
        for (int i = 0; i < BR__N_SPLITS && each; i++, each = br__json_next(each))
            if (br__json_kind(each) == 'a') {
                const br__json *names = br__json_first(each);
                o.n_split_paths[i] = words_of(names, br__json_next(names), words[i], text[i]);
                o.split_paths[i] = words[i];
            }
        if (br__json_get(c, "prefixes")) {
            o.n_paths = words_of(br__json_get(c, "prefixes"), br__json_get(c, "weights"), words[0],
                                 text[0]);
            o.paths = words[0];
        }
        must(br__pretrain_open(&p, &o, &err));
        same_blend(p, c);
        br__pretrain_close(p);
    }
    for (const br__json *c = br__json_first(br__json_get(j, "build_blending_indices")); c;
         c = br__json_next(c)) {
        int64_t size = num(c, "size"), sample[200];
        int16_t dataset[200];
        double w[8];
        size_t n = 0;
        for (const br__json *v = br__json_first(br__json_get(c, "weights")); v;
             v = br__json_next(v))
            w[n++] = br__json_num(v, 0);
        must(br__blend_by_weight(w, n, size, dataset, sample));
        SAME(dataset, size, br__json_get(c, "dataset_index"));
        SAME(sample, size, br__json_get(c, "dataset_sample_index"));
    }
    br__json_free(j);
}
END_TEST

START_TEST(mock_data_is_megatron_s)
{
    br__json *j = golden("mock.json");
    struct br__tokens t;
    struct br__pretrain *p;
    struct br__sample s = {0};
    int64_t sum = 0;
    must(br__tokens_mock(&t, 300, 5, &err));
    SAME(t.mock_lengths, 40, br__json_get(j, "lengths"));
    for (int64_t i = 0; i < t.n_seq; i++)
        sum += t.mock_lengths[i];
    ck_assert_int_eq(sum, num(j, "sum"));
    br__tokens_close(&t);
    struct br__pretrain_opts o = {
        .seq_length = 128, .seed = 77, .eod = 5, .pad = -1, .n_vocab = 300};
    sizes_of(j, o.n_samples);
    must(br__pretrain_open(&p, &o, &err));
    for (int i = 0; i < BR__N_SPLITS; i++) {
        const br__json *e = br__json_get(br__json_get(j, "splits"), br__split_names[i]);
        ck_assert_int_eq(br__pretrain_count(p, i), num(e, "len"));
        const br__json *w = br__json_first(br__json_get(e, "samples"));
        for (int64_t k = 0; w; k++, w = br__json_next(w)) {
            must(br__pretrain_sample(p, i, k, &s, NULL, &err));
            same_sample(&s, w);
        }
    }
    br__pretrain_close(p);
    br__sample_free(&s);
    br__json_free(j);
}
END_TEST

/* Caches are read back, made again when damaged, and have the types that Megatron writes. */
START_TEST(indices_are_cached)
{
    const char *paths[] = {prefix("a_uint16")};
    struct br__pretrain_opts o = {.paths = paths,
                                  .n_paths = 1,
                                  .split = "900,50,50",
                                  .n_samples = {200, 8, 4},
                                  .seq_length = 16,
                                  .seed = 1234,
                                  .eod = 486,
                                  .pad = -1,
                                  .cache_dir = temp("cache/deep")};
    struct br__sample a = {0}, b = {0};
    struct br__arena arena = {0};
    char **names;
    size_t n;
    for (int round = 0; round < 4; round++) {
        struct br__pretrain *p, *q;
        must(br__pretrain_open(&p, &o, &err));
        must(br__list_dir(&arena, o.cache_dir, &names, &n, &err));
        ck_assert_uint_eq(n, 12);
        o.cache_dir = NULL;
        must(br__pretrain_open(&q, &o, &err));
        o.cache_dir = temp("cache/deep");
        for (int s = 0; s < BR__N_SPLITS; s++) {
            ck_assert_int_eq(br__pretrain_count(p, s), br__pretrain_count(q, s));
            for (int64_t i = 0; i < br__pretrain_count(p, s); i++) {
                must(br__pretrain_sample(p, s, i, &a, NULL, &err));
                must(br__pretrain_sample(q, s, i, &b, NULL, &err));
                ck_assert_mem_eq(a.ids, b.ids, 16 * sizeof *a.ids);
            }
        }
        struct br__pretrain_part x, y;
        ck_assert(br__pretrain_part(p, 0, 0, &x) && br__pretrain_part(q, 0, 0, &y));
        ck_assert_int_eq(x.epochs, y.epochs);
        br__pretrain_close(p);
        br__pretrain_close(q);
        for (size_t i = 0; i < n; i++) {
            struct br__npy v;
            char path[1200];
            snprintf(path, sizeof path, "%s/%s", o.cache_dir, names[i]);
            if (!br__ends(names[i], ".npy"))
                continue;
            must(br__npy_open(&v, path, &err));
            ck_assert_int_eq(v.dtype, br__ends(names[i], "shuffle_index.npy") ? BR_U32 : BR_I32);
            br__npy_close(&v);
            if (round && br__ends(names[i], round == 1 ? "sample_index.npy" : "document_index.npy"))
                must(br__npy_write(path, BR_I32, 1, (const int64_t[]){2},
                                   (const int32_t[]){0, 99999}, 0, &err));
        }
    }
    br__sample_free(&a);
    br__sample_free(&b);
    br__arena_free(&arena);
}
END_TEST

/* The ids of all samples, one after the other. */
static void take_ids(const struct br__pretrain_opts *o, struct br__buf *ids)
{
    struct br__pretrain *p;
    struct br__sample s = {0};
    must(br__pretrain_open(&p, o, &err));
    ids->n = 0;
    for (int k = 0; k < BR__N_SPLITS; k++)
        for (int64_t i = 0; i < br__pretrain_count(p, k); i++) {
            must(br__pretrain_sample(p, k, i, &s, NULL, &err));
            br__buf_put(ids, s.ids, (size_t)o->seq_length * sizeof *s.ids);
        }
    br__pretrain_close(p);
    br__sample_free(&s);
}

/* Damage any byte, also so that a number stays in range and the order is another one. */
START_TEST(a_damaged_cache_is_made_again)
{
    const char *paths[] = {prefix("a_uint16")};
    struct br__pretrain_opts o = {.paths = paths,
                                  .n_paths = 1,
                                  .split = "900,50,50",
                                  .n_samples = {60, 8, 4},
                                  .seq_length = 16,
                                  .seed = 1234,
                                  .eod = 486,
                                  .pad = -1};
    struct br__buf want = {0}, got = {0};
    struct br__arena arena = {0};
    char **names, path[1200];
    size_t n;
    take_ids(&o, &want);
    o.cache_dir = temp("damaged");
    take_ids(&o, &got);
    must(br__list_dir(&arena, o.cache_dir, &names, &n, &err));
    for (size_t i = 0; i < n; i++)
        for (size_t at = 3, size = SIZE_MAX; at < size; at += 23) {
            char *text;
            snprintf(path, sizeof path, "%s/%s", o.cache_dir, names[i]);
            must(br__read_text(path, 1 << 20, &text, &size, &err));
            text[at] ^= 1;
            must(br__write_file(path, text, size, 0, &err));
            br__free(text);
            take_ids(&o, &got);
            ck_assert_msg(got.n == want.n && !memcmp(got.p, want.p, want.n), "'%s', byte %zu",
                          names[i], at);
        }
    br__buf_free(&want);
    br__buf_free(&got);
    br__arena_free(&arena);
}
END_TEST

static void open_refused(const struct br__pretrain_opts *o, const char *says)
{
    struct br__pretrain *p;
    int rc = br__pretrain_open(&p, o, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s; expected: %s", rc, err.msg, says);
    ck_assert_ptr_null(p);
}

START_TEST(what_cannot_be_sampled_is_refused)
{
    const char *paths[4] = {prefix("c_uint16_small")};
    struct br__pretrain_opts o = {.paths = paths,
                                  .n_paths = 1,
                                  .split = "9999,8,2",
                                  .n_samples = {4, 0, 0},
                                  .seq_length = 8,
                                  .eod = 486,
                                  .pad = -1};
    struct br__pretrain *p;
    must(br__pretrain_open(&p, &o, &err)); /* a split that is not wanted may be empty */
    br__pretrain_close(p);
    o.n_samples[BR__VALID] = 1;
    open_refused(&o, "valid data: ");
    open_refused(&o, "hold no tokens; give the split a larger share in dataset_split");
    o.split = "1,0,0";
    open_refused(&o, "no share for valid");
    o.split = "a";
    open_refused(&o, "split 'a'");
    o.split = "1,2,3,4";
    open_refused(&o, "at most three numbers");
    o.split = "1,0,0";
    o.n_samples[BR__VALID] = 0;
    o.n_samples[BR__TRAIN] = -1;
    o.seq_length = 1000;
    open_refused(&o, "127 tokens are not enough for one sample of 1001");
    paths[0] = "0.5";
    paths[1] = prefix("c_uint16_small");
    o.n_paths = 2;
    open_refused(&o, "a blend with weights needs a number of samples");
    paths[2] = "x";
    paths[3] = "y";
    o.n_paths = 4;
    open_refused(&o, "1 of 2 names are preceded by a weight");
    o.split_paths[BR__TRAIN] = paths;
    o.n_split_paths[BR__TRAIN] = 2;
    open_refused(&o, "data paths are given for all splits and for each");
    o = (struct br__pretrain_opts){.seq_length = 8, .n_samples = {4, 0, 0}, .split = "1,1,1"};
    open_refused(&o, "mock data needs the size of a vocabulary, got 0");
    o.seq_length = 0;
    open_refused(&o, "seq_length 0, expected 1 to 1073741823");

    paths[0] = prefix("c_uint16_small");
    o = (struct br__pretrain_opts){.paths = paths,
                                   .n_paths = 1,
                                   .split = "1,0,0",
                                   .n_samples = {INT64_MAX / 8, 0, 0},
                                   .seq_length = 8,
                                   .eod = 486,
                                   .pad = -1};
    open_refused(&o, " samples of 8 tokens are too many");
    o.n_samples[BR__TRAIN] = INT64_C(1) << 40;
    open_refused(&o, " epochs of ");
    open_refused(&o, " sequences; 2^31 are the limit");
    static const char *many[INT16_MAX + 1];
    for (size_t i = 0; i < BR_COUNTOF(many); i++)
        many[i] = paths[0];
    o.paths = many;
    o.n_paths = BR_COUNTOF(many);
    open_refused(&o, "data paths: 32768 datasets, at most 32767");
}
END_TEST

/* Rows that are made longer than their samples. */
START_TEST(a_batch_has_a_limit)
{
    const struct br__sample samples[2] = {{.n = 1, .span = 1}, {.n = 1, .span = 1}};
    const struct br__collate c = {.multiple = INT64_C(1) << 30};
    struct br__batch b = {0};
    ck_assert_int_eq(br__batch_fill(&b, samples, 2, &c, &err), BR_E_UNSUPPORTED);
    ck_assert_str_eq(err.msg, "a batch of 2 rows of 1073741824 tokens; 2^31 are the limit");
    br__batch_free(&b);
}
END_TEST

static void sampler_refused(struct br__data_sampler s, int64_t consumed, const char *says)
{
    int64_t index[8], n, consumes;
    int rc = br__data_sampler_next(&s, consumed, index, &n, &consumes, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s; expected: %s", rc, err.msg, says);
    br__data_sampler_free(&s);
}

START_TEST(samplers_refuse_what_gives_no_batch)
{
    struct br__data_sampler s = {.kind = BR__SAMPLER_CYCLIC, .total = 3, .micro_batch = 4, .dp = 1};
    sampler_refused(s, 0, "3 samples are fewer than one batch of 4");
    s.total = 8;
    sampler_refused(s, 2, "2 samples consumed are no whole number of batches of 4");
    s.total = 0;
    sampler_refused(s, 0, "the data has no samples");
    s = (struct br__data_sampler){
        .kind = BR__SAMPLER_BATCH, .total = 3, .micro_batch = 1, .global_batch = 4, .dp = 1};
    sampler_refused(s, 0, "3 samples are fewer than one global batch of 4");
    s.total = BR__RANDPERM_MAX + 1;
    sampler_refused(s, 0, "samples to shuffle, at most ");
    s.global_batch = 3;
    s.micro_batch = 2;
    sampler_refused(s, 0, "global_batch_size 3 is no multiple of micro_batch_size x ");
}
END_TEST

/* Labels that are the pad id are masked, and the id is replaced by 0. */
START_TEST(pads_are_dropped)
{
    const char *paths[] = {prefix("a_uint16")};
    struct br__sample with = {0}, without = {0};
    struct br__pretrain *p, *q;
    struct br__pretrain_opts o = {.paths = paths,
                                  .n_paths = 1,
                                  .split = "1,0,0",
                                  .n_samples = {100, 0, 0},
                                  .seq_length = 24,
                                  .eod = 486,
                                  .pad = -1};
    int dropped = 0;
    must(br__pretrain_open(&p, &o, &err));
    o.pad = 220;
    must(br__pretrain_open(&q, &o, &err));
    for (int64_t i = 0; i < 100; i++) {
        must(br__pretrain_sample(p, BR__TRAIN, i, &without, NULL, &err));
        must(br__pretrain_sample(q, BR__TRAIN, i, &with, NULL, &err));
        for (int64_t k = 0; k < with.n; k++) {
            int pad = without.labels[k] == 220;
            dropped += pad;
            ck_assert(with.weights[k] == !pad);
            ck_assert_int_eq(with.labels[k], pad ? 0 : without.labels[k]);
            ck_assert_int_eq(with.ids[k], without.ids[k] == 220 ? 0 : without.ids[k]);
        }
    }
    ck_assert_int_gt(dropped, 100);
    br__sample_free(&with);
    br__sample_free(&without);
    br__pretrain_close(p);
    br__pretrain_close(q);
}
END_TEST

/* ---- samplers -------------------------------------------------------------------------------- */

START_TEST(samplers_are_megatron_bridge_s)
{
    static const char *const kinds[] = {"single", "cyclic", "batch"};
    br__json *j = golden("samplers.json");
    int n_cases = 0;
    for (const br__json *c = br__json_first(j); c; c = br__json_next(c), n_cases++) {
        struct br__data_sampler s = {.total = num(c, "total"),
                                     .micro_batch = num(c, "micro_batch_size"),
                                     .dp = num(c, "dp"),
                                     .rank = num(c, "rank")};
        int64_t consumed = num(c, "consumed"), index[64], n, used;
        while (strcmp(kinds[s.kind], br__json_str(br__json_get(c, "type"), "")) != 0)
            s.kind++;
        if (s.kind == BR__SAMPLER_CYCLIC)
            s.no_sharding = !num(c, "data_sharding");
        else
            s.keep_last = !num(c, "drop_last");
        if (s.kind == BR__SAMPLER_BATCH) {
            s.global_batch = num(c, "global_batch_size");
            s.seed = (uint64_t)num(c, "seed");
            s.pad_last = s.keep_last;
        }
        for (const br__json *b = br__json_first(br__json_get(c, "batches")); b;
             b = br__json_next(b)) {
            must(br__data_sampler_next(&s, consumed, index, &n, &used, &err));
            SAME(index, n, b);
            consumed += used;
        }
        if (s.kind == BR__SAMPLER_SINGLE) {
            must(br__data_sampler_next(&s, consumed, index, &n, &used, &err));
            ck_assert_int_eq(n, 0);
        }
        br__data_sampler_free(&s);
    }
    ck_assert_int_ge(n_cases, 20);
    br__json_free(j);
}
END_TEST

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-data");
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err));
}

int main(void)
{
    Suite *s = suite_create("data");
    TCase *t = tcase_create("data");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, token_files_are_read);
    tcase_add_test(t, generators_are_seeded_as_python_s_and_numpy_s);
    tcase_add_test(t, token_files_are_written_byte_identical);
    tcase_add_test(t, token_files_are_merged);
    tcase_add_test(t, an_id_too_large_and_an_abort_leave_nothing);
    tcase_add_test(t, a_broken_index_is_refused);
    tcase_add_test(t, npy_is_as_numpy_writes_it);
    tcase_add_test(t, a_broken_npy_is_refused);
    tcase_add_test(t, samplers_refuse_what_gives_no_batch);
    tcase_add_test(t, generators_are_numpy_s_and_torch_s);
    tcase_add_test(t, gpt_dataset_is_megatron_s);
    tcase_add_test(t, flags_of_samples_are_megatron_s);
    tcase_add_test(t, blends_are_megatron_s);
    tcase_add_test(t, mock_data_is_megatron_s);
    tcase_add_test(t, indices_are_cached);
    tcase_add_test(t, a_damaged_cache_is_made_again);
    tcase_add_test(t, what_cannot_be_sampled_is_refused);
    tcase_add_test(t, a_batch_has_a_limit);
    tcase_add_test(t, pads_are_dropped);
    tcase_add_test(t, samplers_are_megatron_bridge_s);
    suite_add_tcase(s, t);
    return run_suite(s);
}
