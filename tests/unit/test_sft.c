/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_sft.c - finetuning data against Megatron Bridge 0.6: tokens, masks, batches, packed rows. */
#include "../../core/data/sft.h"
#include "data/samples.h"
#include "librun.h"

#include <stdlib.h>
#include <string.h>

static struct br_err err;
static char shared[700];
static br__json *golden;
static struct br_tokenizer *tok;
static struct br_chat *chat;

static void must(int rc)
{
    ck_assert_msg(rc == BR_OK, "%s", err.msg);
}

static const char *in_shared(const char *name)
{
    static char paths[4][1000];
    static int at;
    char *p = paths[at++ % 4];
    snprintf(p, sizeof paths[0], "%s/fixtures/%s", shared, name);
    return p;
}

static br__json *parsed(const char *path)
{
    char *text;
    size_t n;
    br__json *j;
    must(br__read_text(path, 1 << 24, &text, &n, &err));
    must(br__json_parse(&j, text, n, &err));
    br__free(text);
    return j;
}

static double value(const br__json *v)
{
    return br__json_kind(v) == 'b' ? br__json_bool(v, 0) : br__json_num(v, -1e9);
}

#define SAME(got, n, want)                                                                         \
    do {                                                                                           \
        const br__json *w_ = (want), *e_ = br__json_first(w_);                                     \
        int64_t n_ = (int64_t)(n);                                                                 \
        ck_assert_int_eq(n_, (int64_t)br__json_count(w_));                                         \
        for (int64_t i_ = 0; i_ < n_; i_++, e_ = br__json_next(e_))                                \
            ck_assert_msg((double)(got)[i_] == value(e_), "%s: element %lld is %g, not %g", what,  \
                          (long long)i_, (double)(got)[i_], value(e_));                            \
    } while (0)

static const char *what = "";

/* ---- the cases of sft.json ------------------------------------------------------------------- */

static const char *word(const br__json *kw, const char *key)
{
    return br__json_str(br__json_get(kw, key), NULL);
}

static int yes(const br__json *kw, const char *key, int dflt)
{
    return br__json_bool(br__json_get(kw, key), dflt);
}

static struct br__sft_opts options(const br__json *c)
{
    const br__json *kw = br__json_get(c, "dataset_kwargs");
    const br__json *pc = br__json_get(kw, "prompt_completion_config");
    static char path[1000];
    const char *mode = word(kw, "chat_loss_mode");
    snprintf(path, sizeof path, "%s/fixtures/train/data/sft/%s", shared, word(c, "file"));
    struct br__sft_opts o = {.path = path,
                             .tok = tok,
                             .seq_length = (int64_t)br__json_num(br__json_get(c, "seq_length"), 0),
                             .prompt_template = word(kw, "prompt_template"),
                             .truncation_field = word(kw, "truncation_field"),
                             .no_eos = !yes(kw, "add_eos", 1),
                             .loss =
                                 yes(kw, "answer_only_loss", 1) ? BR__LOSS_ANSWER : BR__LOSS_FULL};
    if (yes(kw, "chat", 0))
        o.chat = chat;
    if (mode)
        o.loss = strcmp(mode, "full") == 0 ? BR__LOSS_FULL : BR__LOSS_LAST_TURN;
    if (pc) {
        o.prompt_column = word(pc, "prompt_column");
        o.completion_column = word(pc, "completion_column");
        o.prompt_template = word(pc, "prompt_template");
        o.separator = word(pc, "separator");
        if (strcmp(word(pc, "loss_mode"), "full") == 0)
            o.loss = BR__LOSS_FULL;
        kw = pc;
    }
    o.truncation_left =
        word(kw, "truncation_method") && !strcmp(word(kw, "truncation_method"), "left");
    return o;
}

static void same_examples(const br__json *c, const struct br__sft_opts *o)
{
    struct br__sft_rules r;
    struct br__records f;
    struct br__example e = {0};
    struct br__buf room = {0};
    must(br__sft_rules_make(&r, o, &err));
    must(br__records_open(&f, o->path, &err));
    const br__json *w = br__json_first(br__json_get(c, "examples"));
    for (int64_t i = 0; w; w = br__json_next(w), i++) {
        must(br__records_read(&f, i, &room, &err));
        must(br__sft_example(&r, room.p, room.n, &e, &err));
        SAME(e.ids.p, e.ids.n, br__json_get(w, "input_ids"));
        const br__json *mask = br__json_get(w, "loss_mask");
        SAME(e.learn, e.ids.n, mask ? mask : br__json_get(w, "loss_mask_of_input_ids"));
        ck_assert_int_eq(f.n, (int64_t)br__json_count(br__json_get(c, "examples")));
    }
    br__example_free(&e);
    br__buf_free(&room);
    br__records_close(&f);
    br__sft_rules_free(&r);
}

static void same_rows(const struct br__batch *b, const br__json *want)
{
    const br__json *ids = br__json_first(br__json_get(want, "tokens"));
    const br__json *labels = br__json_first(br__json_get(want, "labels"));
    const br__json *mask = br__json_first(br__json_get(want, "loss_mask"));
    const br__json *pos = br__json_first(br__json_get(want, "position_ids"));
    int64_t row = 0;
    for (; ids; row++) {
        SAME(b->ids + row * b->length, b->length, ids);
        SAME(b->labels + row * b->length, b->length, labels);
        SAME(b->weights + row * b->length, b->length, mask);
        SAME(b->positions + row * b->length, b->length, pos);
        ids = br__json_next(ids);
        labels = br__json_next(labels);
        mask = br__json_next(mask);
        pos = br__json_next(pos);
    }
    ck_assert_int_eq(row, b->n_rows);
}

static void same_batches(const br__json *c, const struct br__sft_opts *o)
{
    struct br__sft *s;
    struct br__sample samples[8] = {{0}};
    struct br__batch b = {0};
    struct br__collate how = {.max = o->seq_length, .multiple = 16};
    how.to_max = yes(br__json_get(c, "dataset_kwargs"), "pad_to_max_length", 0);
    must(br__sft_open(&s, o, &err));
    how.pad_id = br__sft_eos(s);
    for (const br__json *w = br__json_first(br__json_get(c, "batches")); w; w = br__json_next(w)) {
        int64_t n = 0;
        for (const br__json *i = br__json_first(br__json_get(w, "examples")); i;
             i = br__json_next(i))
            must(br__sft_sample(s, (int64_t)br__json_num(i, 0), &samples[n++], &err));
        must(br__batch_fill(&b, samples, n, &how, &err));
        same_rows(&b, w);
    }
    for (size_t i = 0; i < BR_COUNTOF(samples); i++)
        br__sample_free(&samples[i]);
    br__batch_free(&b);
    br__sft_close(s);
}

START_TEST(examples_and_batches_are_megatron_bridge_s)
{
    int n = 0;
    for (const br__json *c = br__json_first(br__json_get(golden, "cases")); c;
         c = br__json_next(c), n++) {
        struct br__sft_opts o = options(c);
        what = word(c, "case");
        same_examples(c, &o);
        same_batches(c, &o);
    }
    ck_assert_int_eq(n, 14);
}
END_TEST

START_TEST(oversampling_is_megatron_bridge_s)
{
    const br__json *want = br__json_get(golden, "samples_mapping_max_num_samples_50");
    struct br__sft_opts o = {
        .path = in_shared("train/data/sft/io.jsonl"), .tok = tok, .seq_length = 40};
    struct br__sample plain = {0}, mapped = {0};
    struct br__sft *a, *b;
    must(br__sft_open(&a, &o, &err));
    o.max_samples = 50;
    must(br__sft_open(&b, &o, &err));
    ck_assert_int_eq(br__sft_count(b), 50);
    const br__json *w = br__json_first(want);
    for (int64_t i = 0; w; w = br__json_next(w), i++) {
        must(br__sft_sample(a, (int64_t)br__json_num(w, 0), &plain, &err));
        must(br__sft_sample(b, i, &mapped, &err));
        ck_assert_int_eq(plain.n, mapped.n);
        ck_assert_mem_eq(plain.ids, mapped.ids, (size_t)plain.n * sizeof *plain.ids);
    }
    br__sample_free(&plain);
    br__sample_free(&mapped);
    br__sft_close(a);
    br__sft_close(b);
}
END_TEST

/* ---- packing --------------------------------------------------------------------------------- */

/* scripts/test-oracle has others in a folder of its own. */
START_TEST(packing_is_megatron_bridge_s)
{
    const char *root = getenv("BRIDGE_TEST_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/data/packing.json", root && *root ? root : BRIDGE_TEST_DATA);
    br__json *j = parsed(path);
    ck_assert_uint_gt(br__json_count(j), 0);
    for (const br__json *c = br__json_first(j); c; c = br__json_next(c)) {
        int32_t lengths[100];
        int64_t n = 0, same_before[100], row = 0;
        struct br__packing p;
        what = word(c, "algorithm");
        for (const br__json *l = br__json_first(br__json_get(c, "lengths_minus_1_in_file_order"));
             l; l = br__json_next(l)) {
            lengths[n] = (int32_t)br__json_num(l, 0);
            same_before[n] = 0;
            for (int64_t k = 0; k < n; k++)
                same_before[n] += lengths[k] == lengths[n];
            n++;
        }
        must(br__pack(&p, lengths, n, (int64_t)br__json_num(br__json_get(c, "pack_size"), 0),
                      strcmp(what, "first_fit_shuffle") == 0,
                      (uint32_t)br__json_num(br__json_get(c, "seed"), 0), &err));
        for (const br__json *b = br__json_first(br__json_get(c, "bins_of_items_1000xlen_plus_k"));
             b; b = br__json_next(b), row++) {
            int64_t items[100], m = 0;
            for (int64_t k = p.first[row]; k < p.first[row + 1]; k++)
                items[m++] = 1000 * lengths[p.item[k]] + same_before[p.item[k]];
            SAME(items, m, b);
        }
        ck_assert_int_eq(row, p.n_rows);
        const br__json *meta = br__json_get(c, "metadata");
        ck_assert(p.max_items ==
                  (int64_t)br__json_num(br__json_get(meta, "max_samples_per_bin"), 0));
        ck_assert(p.min_tokens ==
                  (int64_t)br__json_num(br__json_get(meta, "min_packed_seqlen"), 0));
        br__packing_free(&p);
    }
    br__json_free(j);
}
END_TEST

/* cu_seqlens of each row; those of Megatron repeat the last number to one length. */
static void same_ends(const struct br__batch *b, const br__json *rows)
{
    int64_t k = 0, row = 0;
    for (rows = br__json_first(rows); rows; rows = br__json_next(rows), row++) {
        int64_t before = 0;
        for (const br__json *e = br__json_next(br__json_first(rows)); e; e = br__json_next(e)) {
            int64_t end = (int64_t)br__json_num(e, 0);
            if (end > before)
                ck_assert_int_eq(b->ends[k++], row * b->length + end);
            before = end;
        }
    }
    ck_assert_int_eq(k, b->n_ends);
}

static void same_packed(struct br__sft *s, int64_t size, const int64_t *index, int64_t n,
                        const br__json *want)
{
    struct br__sample samples[2] = {{0}};
    struct br__batch b = {0};
    for (int64_t i = 0; i < n; i++)
        must(br__sft_sample(s, index[i], &samples[i], &err));
    struct br__collate how = {.max = size, .multiple = 16, .packed = 1, .pad_id = br__sft_eos(s)};
    must(br__batch_fill(&b, samples, n, &how, &err));
    same_rows(&b, want);
    const br__json *padded = br__json_get(want, "cu_seqlens_q_padded");
    same_ends(&b, padded ? padded : br__json_get(want, "cu_seqlens_q"));
    for (int64_t i = 0; i < n; i++)
        br__sample_free(&samples[i]);
    br__batch_free(&b);
}

START_TEST(packed_rows_are_megatron_bridge_s)
{
    for (const br__json *c = br__json_first(br__json_get(golden, "packed")); c;
         c = br__json_next(c)) {
        int64_t size = (int64_t)br__json_num(br__json_get(c, "pack_size"), 0);
        struct br__sft_opts o = {.path = in_shared("train/data/sft/io.jsonl"),
                                 .tok = tok,
                                 .seq_length = size,
                                 .prompt_template = word(c, "prompt_template"),
                                 .packing = strcmp(word(c, "algorithm"), "first_fit_shuffle") == 0
                                                ? BR__PACK_FIRST_FIT_SHUFFLE
                                                : BR__PACK_FIRST_FIT_DECREASING,
                                 .pack_size = size,
                                 .pack_multiple =
                                     (int64_t)br__json_num(br__json_get(c, "pad_seq_to_mult"), 1),
                                 .seed = (uint32_t)br__json_num(br__json_get(c, "seed"), 0)};
        struct br__sft *s;
        what = word(c, "algorithm");
        must(br__sft_open(&s, &o, &err));
        ck_assert_int_eq(br__sft_count(s), (int64_t)br__json_count(br__json_get(c, "rows")));
        same_packed(s, size, (const int64_t[]){0}, 1, br__json_get(c, "collated_row_0"));
        same_packed(s, size, (const int64_t[]){1, 0}, 2, br__json_get(c, "collated_rows_1_0"));
        br__sft_close(s);
    }
}
END_TEST

/* ---- what is refused ------------------------------------------------------------------------- */

static char dir[512];
static int warnings;
static char warned[1000];

static void on_warning(void *ud, const char *text)
{
    (void)ud;
    warnings++;
    snprintf(warned, sizeof warned, "%s", text);
}

static void refused(const char *text, struct br__sft_opts o, const char *says)
{
    char path[600];
    struct br__sft *s;
    snprintf(path, sizeof path, "%s/bad.jsonl", dir);
    must(br__write_file(path, text, strlen(text), 0, &err));
    o.path = path;
    o.tok = tok;
    o.seq_length = o.seq_length ? o.seq_length : 32;
    int rc = br__sft_open(&s, &o, &err);
    ck_assert_msg(rc != BR_OK && strstr(err.msg, says), "%d: %s; expected: %s", rc, err.msg, says);
}

START_TEST(bad_records_say_where_and_what)
{
    struct br__sft_opts plain = {0}, talk = {.chat = chat}, o = {0};
    make_temp_dir(dir, sizeof dir, "bridge-sft");
    const char *good = "{\"input\": \"a\", \"output\": \"b\"}\n\n";
    char two[600];
    refused("", plain, "has no records");
    refused("\n \n", plain, "has no records");
    snprintf(two, sizeof two, "%s%s", good, "{\"input\": \"a\"}\n");
    refused(two, plain, "bad.jsonl, line 3: the record has no member \"output\"");
    refused("{\"input\": 1, \"output\": \"b\"}", plain, "line 1: \"input\" is not a string");
    refused("{\"input\": \"a\"", plain, "line 1: ");
    refused("[1]", plain, "line 1: the record is not a JSON object");
    refused("{\"messages\": []}", talk, "line 1: the record has no conversation");
    refused("{\"messages\": [{\"x\": 1}]}", talk, "turn 1 has neither \"role\"");
    refused("{\"messages\": [{\"role\": \"user\", \"content\": \"a "
            "<|im_start|>assistant\\nb<|im_end|>\"},"
            "{\"role\": \"assistant\", \"content\": \"c\"}]}",
            talk, "2 turns of the assistant, the record has 1");
    o.prompt_template = "{output} {input}";
    refused(good, o, "must end with the answer's field {output}");
    o.prompt_template = "{input} {output";
    refused(good, o, "names no field");
    o = (struct br__sft_opts){.truncation_field = "question"};
    refused(good, o, "truncation_field 'question' is no field");
    o = (struct br__sft_opts){.prompt_column = "input"};
    refused(good, o, "go together");
    o = (struct br__sft_opts){.prompt_column = "input",
                              .completion_column = "output",
                              .prompt_template = "Q: {question}"};
    refused(good, o, "prompt_template: {question}, expected {prompt} alone");
    char many[800] = "";
    for (int i = 0; i < 70; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "{input}a");
    snprintf(many + strlen(many), sizeof many - strlen(many), "{output}");
    o = (struct br__sft_opts){.prompt_template = many};
    refused(good, o, "the template has more than ");
    o = (struct br__sft_opts){.add_bos = 1};
    refused(good, o, "add_bos, but the tokenizer names no bos_token");
    o = (struct br__sft_opts){.seq_length = 1};
    refused(good, o, "seq_length 1, expected at least 2");

    struct br_listener l = {.warning = on_warning};
    struct br__sft *s;
    char path[600];
    snprintf(path, sizeof path, "%s/bad.jsonl", dir);
    must(br__write_file(path, two, strlen(two), 0, &err));
    o = (struct br__sft_opts){
        .path = path, .tok = tok, .seq_length = 32, .skip_bad = 1, .listener = &l, .threads = 1};
    must(br__sft_open(&s, &o, &err));
    ck_assert_int_eq(br__sft_count(s), 1);
    ck_assert_int_eq(br__sft_skipped(s), 1);
    ck_assert_int_eq(warnings, 1);
    ck_assert_ptr_nonnull(strstr(warned, "bad.jsonl, line 3: the record has no member"));
    br__sft_close(s);
    must(br__remove_tree(dir, &err));
}
END_TEST

/* Where the template says what the assistant says, it is what transformers marks. */
START_TEST(generation_blocks_are_learnt)
{
    struct br__example e = {0};
    char path[600], *text, *line, *rest;
    size_t n, compared = 0;
    make_temp_dir(dir, sizeof dir, "bridge-sft");
    must(br__read_text(BRIDGE_TEST_DATA "/chat/mask.jsonl", 1 << 24, &text, &n, &err));
    snprintf(path, sizeof path, "%s/chat_template.jinja", dir);
    for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        struct br__sft_rules r;
        struct br_chat *own;
        br__json *c;
        must(br__json_parse(&c, line, strlen(line), &err));
        const br__json *mask = br__json_get(c, "assistant_mask");
        const char *template = br__json_str(br__json_get(c, "template"), "");
        must(br__write_file(path, template, strlen(template), 0, &err));
        must(br_chat_open(&own, dir, &err));
        struct br__sft_opts o = {.tok = tok, .chat = own, .seq_length = 512};
        must(br__sft_rules_make(&r, &o, &err));
        double learnt = 0;
        for (const br__json *m = br__json_first(mask); m; m = br__json_next(m))
            learnt += value(m);
        if (learnt > 0) {
            must(br__sft_example(&r, line, strlen(line), &e, &err));
            SAME(e.ids.p, e.ids.n, br__json_get(c, "ids"));
            SAME(e.learn, e.ids.n, mask);
            compared++;
        }
        br__sft_rules_free(&r);
        br_chat_close(own);
        br__json_free(c);
    }
    ck_assert_uint_gt(compared, 8);
    br__example_free(&e);
    br__free(text);
    must(br__remove_tree(dir, &err));
}
END_TEST

/* Rows are made of what the records were when they were counted. */
START_TEST(a_file_that_changes_is_noticed)
{
    struct br__sample row = {0};
    struct br__sft *s;
    char path[600];
    make_temp_dir(dir, sizeof dir, "bridge-sft");
    snprintf(path, sizeof path, "%s/a.jsonl", dir);
    const char *text = "{\"input\": \"a a a a a a\", \"output\": \"b\"}\n";
    must(br__write_file(path, text, strlen(text), 0, &err));
    struct br__sft_opts o = {.path = path,
                             .tok = tok,
                             .seq_length = 32,
                             .packing = BR__PACK_FIRST_FIT_SHUFFLE,
                             .pack_size = 32};
    must(br__sft_open(&s, &o, &err));
    must(br__sft_sample(s, 0, &row, &err));
    FILE *f = fopen(path, "r+");
    ck_assert(f && fputs("{\"input\": \"aaaaaaaaaaa\"", f) >= 0 && !fclose(f));
    ck_assert_int_eq(br__sft_sample(s, 0, &row, &err), BR_E_IO);
    ck_assert_ptr_nonnull(strstr(err.msg, "a.jsonl' changed while it is used"));
    br__sample_free(&row);
    br__sft_close(s);
    must(br__remove_tree(dir, &err));
}
END_TEST

static void setup(void)
{
    golden = parsed(in_shared("train/data/sft/sft.json"));
    must(br_tokenizer_open(&tok, in_shared("tokenizer/small"), &err));
    must(br_chat_open(&chat, in_shared("tokenizer/small"), &err));
}

static void teardown(void)
{
    br__json_free(golden);
    br_tokenizer_close(tok);
    br_chat_close(chat);
}

int main(void)
{
    int rc = need_fixture("train/data/sft/sft.json");
    if (rc != EXIT_SUCCESS)
        return rc;
    snprintf(shared, sizeof shared, "%s", getenv("BRIDGE_SHARED"));
    Suite *s = suite_create("sft");
    TCase *t = tcase_create("sft");
    tcase_add_unchecked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 120);
    tcase_add_test(t, examples_and_batches_are_megatron_bridge_s);
    tcase_add_test(t, oversampling_is_megatron_bridge_s);
    tcase_add_test(t, packing_is_megatron_bridge_s);
    tcase_add_test(t, packed_rows_are_megatron_bridge_s);
    tcase_add_test(t, bad_records_say_where_and_what);
    tcase_add_test(t, generation_blocks_are_learnt);
    tcase_add_test(t, a_file_that_changes_is_noticed);
    suite_add_tcase(s, t);
    return run_suite(s);
}
