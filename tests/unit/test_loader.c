/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_loader.c - records as samples, JSONL tokenised into a cache, and the loader: its batches are
 * those of sampler and data, whichever step it begins at. */
#include "../../core/data/data.h"
#include "../../core/format/format.h"
#include "data/samples.h"
#include "librun.h"

#include <bridge/bridge.h>
#include <bridge/tokenizer.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;
static char dir[512];

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "bridge-loader");
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err));
}

static const char *file_of(const char *name, const char *text)
{
    static char paths[4][700];
    static int at;
    char *p = paths[at++ % 4];
    snprintf(p, sizeof paths[0], "%s/%s", dir, name);
    if (text)
        must(br__write_file(p, text, strlen(text), 0, &err));
    return p;
}

/* ---- pretokenised records -------------------------------------------------------------------- */

START_TEST(records_are_samples)
{
    static const char text[] = "{\"input_ids\": [5, 6, 7, 8], \"loss_mask\": [0, 1, true]}\n"
                               "\n"
                               "{\"input_ids\": [1, 2, 3], \"labels\": [2, 3, -100], "
                               "\"position_ids\": [4, 5, 6], \"x\": {}}\n"
                               "{\"input_ids\": [1, 2, 3, 4, 5, 6], \"cu_seqlens\": [0, 2, 5]}\n";
    struct br__pretok_opts o = {
        .path = file_of("p.jsonl", text), .seq_length = 8, .n_samples = -1, .file_order = 1};
    struct br__pretok *p;
    struct br__sample s = {0};
    must(br__pretok_open(&p, &o, &err));
    ck_assert_int_eq(br__pretok_count(p), 3);
    must(br__pretok_sample(p, 0, &s, &err));
    ck_assert_int_eq(s.n, 3);
    ck_assert(s.ids[0] == 5 && s.ids[2] == 7 && s.labels[0] == 6 && s.labels[2] == 8);
    ck_assert(s.weights[0] == 0 && s.weights[1] == 1 && s.weights[2] == 1);
    ck_assert(s.n_ends == 1 && s.ends[0] == 3);
    must(br__pretok_sample(p, 1, &s, &err));
    ck_assert(s.n == 3 && s.labels[1] == 3 && s.labels[2] == 0 && s.weights[2] == 0);
    ck_assert(s.positions[0] == 4 && s.positions[2] == 6);
    must(br__pretok_sample(p, 2, &s, &err));
    ck_assert(s.n == 5 && s.n_ends == 2 && s.ends[0] == 2 && s.ends[1] == 5);
    ck_assert(s.positions[1] == 1 && s.positions[2] == 0 && s.positions[4] == 2);
    br__pretok_close(p);

    /* Over epochs, each is a permutation; the same seed gives the same. */
    int seen[3] = {0}, moved = 0;
    o.file_order = 0;
    o.n_samples = 30;
    o.seed = 7;
    must(br__pretok_open(&p, &o, &err));
    for (int64_t i = 0; i < 30; i++) {
        must(br__pretok_sample(p, i, &s, &err));
        int which = s.n == 5 ? 2 : s.positions[0] == 4;
        seen[which]++;
        moved += which != i % 3;
    }
    ck_assert(seen[0] == 10 && seen[1] == 10 && seen[2] == 10 && moved > 0);
    br__pretok_close(p);
    br__sample_free(&s);
    ck_assert_int_eq(br__is_pretok(o.path, &err), 1);
    ck_assert_int_eq(br__is_pretok(file_of("t.jsonl", "{\"text\": \"a\"}\n"), &err), 0);
    ck_assert_int_eq(br__is_pretok(file_of("absent", NULL), &err), -1);
}
END_TEST

static void refused(const char *record, const char *says)
{
    char text[600];
    struct br__pretok *p;
    snprintf(text, sizeof text, "{\"input_ids\": [1, 2]}\n%s\n", record);
    struct br__pretok_opts o = {
        .path = file_of("bad.jsonl", text), .seq_length = 4, .n_vocab = 100, .n_samples = -1};
    int rc = br__pretok_open(&p, &o, &err);
    ck_assert_msg(rc == BR_E_FORMAT && strstr(err.msg, "bad.jsonl, line 2: ") &&
                      strstr(err.msg, says),
                  "%d: %s; expected: %s", rc, err.msg, says);
    o.skip_bad = 1;
    must(br__pretok_open(&p, &o, &err));
    ck_assert_int_eq(br__pretok_count(p), 1);
    br__pretok_close(p);
}

START_TEST(records_that_are_no_samples_are_refused)
{
    refused("{}", "no member \"input_ids\"");
    refused("[]", "");
    refused("{\"input_ids\": [1]}", "a sample of 0 tokens, expected 1 to 4");
    refused("{\"input_ids\": [1, 2, 3, 4, 5, 6]}", "a sample of 5 tokens, expected 1 to 4");
    refused("{\"input_ids\": [1, 100]}", "\"input_ids\"[1] is 100, expected 0 to 99");
    refused("{\"input_ids\": [1, -1]}", "\"input_ids\"[1] is -1");
    refused("{\"input_ids\": [1, 2.5]}", "");
    refused("{\"input_ids\": [[1, 2]]}", "array of arrays");
    refused("{\"input_ids\": [1, 2], \"input_ids\": [3]}", "two members \"input_ids\"");
    refused("{\"input_ids\": [1, 2], \"loss_mask\": [1, 1]}",
            "\"loss_mask\" has 2 entries, expected 1 (one less than input_ids)");
    refused("{\"input_ids\": [1, 2], \"labels\": [1]}", "\"labels\" has 1 entries, expected 2");
    refused("{\"input_ids\": [1, 2], \"labels\": [1, 2], \"loss_mask\": [1]}",
            "\"loss_mask\" has 1 entries, expected 2");
    refused("{\"input_ids\": [1, 2], \"loss_mask\": [2]}", "\"loss_mask\"[0] is 2");
    refused("{\"input_ids\": [1, 2], \"cu_seqlens\": [0, 5]}", "must go from 0 to");
    refused("{\"input_ids\": [1, 2, 3], \"cu_seqlens\": [0, 2, 1, 2]}", "decreases at entry 2");
    refused("{\"input_ids\": [1, 2], \"input_ids\": [1, 2]}", "two members");
}
END_TEST

/* ---- the cache ------------------------------------------------------------------------------- */

START_TEST(jsonl_is_tokenised_once)
{
    struct br__arena a = {0};
    struct br_tokenizer *tok;
    struct stat before, after;
    const char *first, *second, *third, *dir_of_tok = BRIDGE_TEST_DATA "/tokenizer/small";
    char idx[900];
    must(br_tokenizer_open(&tok, dir_of_tok, &err));
    struct br__cached_opts o = {.path = BRIDGE_TEST_DATA "/data/a_uint16.jsonl",
                                .cache_dir = file_of("cache", NULL),
                                .tok = tok,
                                .tok_dir = dir_of_tok,
                                .eod = 486};
    must(br__data_cached(&a, &o, &first, &err));
    snprintf(idx, sizeof idx, "%s.idx", first);
    ck_assert_int_eq(stat(idx, &before), 0);
    must(br__data_cached(&a, &o, &second, &err));
    ck_assert_str_eq(first, second);
    ck_assert_int_eq(stat(idx, &after), 0);
    ck_assert(before.st_ino == after.st_ino);
    o.eod = 488;
    must(br__data_cached(&a, &o, &third, &err));
    ck_assert_str_ne(first, third);
    struct br__indexed x, y;
    must(br__indexed_open(&x, first, &err));
    must(br__indexed_open(&y, BRIDGE_TEST_DATA "/data/a_uint16", &err));
    ck_assert_int_eq(x.bin.size, y.bin.size);
    ck_assert_mem_eq(x.bin.map, y.bin.map, x.bin.size);
    br__indexed_close(&x);
    br__indexed_close(&y);
    br_tokenizer_close(tok);
    br__arena_free(&a);
}
END_TEST

/* ---- the loader ------------------------------------------------------------------------------ */

static struct br__pretrain *open_data(int64_t samples)
{
    static const char *paths[] = {BRIDGE_TEST_DATA "/data/a_uint16"};
    struct br__pretrain *p;
    struct br__pretrain_opts o = {.paths = paths,
                                  .n_paths = 1,
                                  .split = "1,0,0",
                                  .n_samples = {samples, 0, 0},
                                  .seq_length = 16,
                                  .seed = 3,
                                  .eod = 486,
                                  .pad = -1};
    must(br__pretrain_open(&p, &o, &err));
    return p;
}

/* Steps of 8 samples in micro batches of 2, of rank 1 of 2. */
static struct br__loader_opts options(const struct br__pretrain *p, int64_t consumed, int depth)
{
    return (struct br__loader_opts){
        .source = br__data_source_pretrain(p, BR__TRAIN),
        .sampler = {.kind = BR__SAMPLER_SINGLE, .micro_batch = 2, .dp = 2, .rank = 1},
        .global_batch = 8,
        .consumed = consumed,
        .depth = depth};
}

START_TEST(steps_are_what_the_sampler_says)
{
    struct br__pretrain *p = open_data(100);
    struct br__sample s = {0};
    for (int depth = 0; depth < 4; depth++) {
        struct br__loader_opts o = options(p, 16, depth);
        struct br__loader *l;
        const struct br__step *step;
        int64_t consumed = 16;
        must(br__loader_open(&l, &o, &err));
        for (;; consumed += 8) {
            must(br__loader_next(l, &step, &err));
            if (!step)
                break;
            ck_assert(step->consumed == consumed && step->consumes == 8 && step->n_micro == 2);
            for (int64_t i = 0; i < 4; i++) {
                const struct br__batch *b = &step->micro[i / 2];
                must(br__pretrain_sample(p, BR__TRAIN, consumed + i / 2 * 4 + 2 + i % 2, &s, NULL,
                                         &err));
                ck_assert(b->n_rows == 2 && b->length == 16 && b->n_loss == 32);
                ck_assert_mem_eq(b->ids + i % 2 * 16, s.ids, 64);
                ck_assert_mem_eq(b->labels + i % 2 * 16, s.labels, 64);
            }
        }
        ck_assert_int_eq(consumed, br__pretrain_count(p, BR__TRAIN) / 8 * 8);
        must(br__loader_next(l, &step, &err)); /* a finished loader stays finished */
        ck_assert_ptr_null(step);
        ck_assert(br__loader_waited(l) >= 0);
        br__loader_close(l);
    }
    br__sample_free(&s);
    br__pretrain_close(p);
}
END_TEST

START_TEST(a_loader_can_be_left_at_any_time)
{
    struct br__pretrain *p = open_data(100);
    for (int64_t n = 0; n < 6; n++) {
        struct br__loader_opts o = options(p, 0, 3);
        struct br__loader *l;
        const struct br__step *step;
        o.n_steps = n % 2 ? 4 : 0;
        must(br__loader_open(&l, &o, &err));
        for (int64_t i = 0; i < n; i++) {
            must(br__loader_next(l, &step, &err));
            ck_assert((step != NULL) == (i < 4 || !o.n_steps));
        }
        br__loader_close(l);
    }
    struct br__loader_opts o = options(p, 0, 0);
    struct br__loader *l;
    o.global_batch = 6;
    ck_assert_int_eq(br__loader_open(&l, &o, &err), BR_E_CONFIG);
    ck_assert_ptr_nonnull(strstr(err.msg, "no multiple of micro_batch_size"));
    br__pretrain_close(p);
}
END_TEST

static int fails_at_9(const struct br__data_source *s, int64_t i, struct br__sample *out,
                      struct br_err *e)
{
    (void)s;
    if (i == 9)
        return br_fail(e, BR_E_FORMAT, "sample 9 is bad");
    int rc = br__sample_room(out, 2, e);
    out->n = out->span = 1;
    out->n_ends = out->ends[0] = 1;
    return rc;
}

/* The step that fails is an error; those before it are not. */
START_TEST(an_error_comes_where_it_belongs)
{
    struct br__loader_opts o = {.source = {.n = 40, .sample = fails_at_9},
                                .sampler = {.kind = BR__SAMPLER_SINGLE, .micro_batch = 4, .dp = 1},
                                .global_batch = 4};
    struct br__loader *l;
    const struct br__step *step;
    must(br__loader_open(&l, &o, &err));
    for (int i = 0; i < 2; i++) {
        must(br__loader_next(l, &step, &err));
        ck_assert_ptr_nonnull(step);
    }
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(br__loader_next(l, &step, &err), BR_E_FORMAT);
        ck_assert_str_eq(err.msg, "sample 9 is bad");
    }
    br__loader_close(l);
}
END_TEST

/* A global batch of finetuning data is collated as one: its micro batches have one length, the
 * multiple of 16 that its longest sample needs. */
START_TEST(finetuning_batches_have_one_length)
{
    struct br__buf text = {0};
    struct br_tokenizer *tok;
    struct br__sft *s;
    struct br__loader *l;
    const struct br__step *step;
    for (int i = 0; i < 12; i++) {
        br__buf_puts(&text, "{\"input\": \"");
        for (int k = 0; k <= i; k++)
            br__buf_puts(&text, "some words ");
        br__buf_puts(&text, "\", \"output\": \"answer\"}\n");
    }
    must(br_tokenizer_open(&tok, BRIDGE_TEST_DATA "/tokenizer/small", &err));
    struct br__sft_opts so = {.path = file_of("s.jsonl", text.p), .tok = tok, .seq_length = 256};
    must(br__sft_open(&s, &so, &err));
    struct br__loader_opts o = {
        .source = br__data_source_sft(s),
        .sampler = {.kind = BR__SAMPLER_BATCH, .micro_batch = 1, .dp = 1, .seed = 5},
        .collate = {.max = 256, .multiple = 16, .pad_id = br__sft_eos(s)},
        .global_batch = 4,
        .n_steps = 6};
    must(br__loader_open(&l, &o, &err));
    for (int i = 0; i < 6; i++) {
        int64_t longest = 0;
        must(br__loader_next(l, &step, &err));
        ck_assert(step && step->n_micro == 4 && step->consumes == 4);
        for (int64_t m = 0; m < 4; m++) {
            ck_assert(step->micro[m].n_rows == 1 && step->micro[m].length == step->micro[0].length);
            longest = BR__MAX(longest, step->micro[m].n_real[0]);
        }
        ck_assert_int_eq(step->micro[0].length, (longest + 15) / 16 * 16);
    }
    must(br__loader_next(l, &step, &err));
    ck_assert_ptr_null(step);
    br__loader_close(l);
    br__sft_close(s);
    br_tokenizer_close(tok);
    br__buf_free(&text);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("loader");
    TCase *t = tcase_create("loader");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, records_are_samples);
    tcase_add_test(t, records_that_are_no_samples_are_refused);
    tcase_add_test(t, jsonl_is_tokenised_once);
    tcase_add_test(t, steps_are_what_the_sampler_says);
    tcase_add_test(t, a_loader_can_be_left_at_any_time);
    tcase_add_test(t, an_error_comes_where_it_belongs);
    tcase_add_test(t, finetuning_batches_have_one_length);
    suite_add_tcase(s, t);
    return run_suite(s);
}
