/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_tokenizer_published.c - the tokenizers of published models, which are not ours to copy,
 * against what Hugging Face's tokenizers computed with them. */
#include "librun.h"
#include "libtok.h"

#include <check.h>
#include <stdlib.h>

static char *fixture(struct br__arena *a, const char *name)
{
    char *path = br__arena_printf(a, "%s/fixtures/tokenizer/%s", getenv("BRIDGE_SHARED"), name);
    ck_assert_ptr_nonnull(path);
    return path;
}

START_TEST(qwen3)
{
    struct br__arena a = {0};
    const char *goldens = fixture(&a, "goldens_qwen3");
    struct br_tokenizer *t = open_ok(fixture(&a, "qwen3"));
    ck_assert_uint_eq(ck_goldens(t, goldens, "encode.jsonl", NULL), 300);
    ck_assert_uint_eq(ck_goldens(t, goldens, "decode.jsonl", NULL), 90);
    ck_assert_int_eq(br_tokenizer_n_vocab(t), 151669);
    br_tokenizer_close(t);
    br__arena_free(&a);
}
END_TEST

/* Tokens that Qwen3 added to those of Qwen2.5. */
static const char *const new_ones[] = {"<think>", "</think>", "<tool_response>", "</tool_response>",
                                       NULL};

START_TEST(qwen25)
{
    struct br__arena a = {0};
    struct br_tokenizer *t = open_ok(fixture(&a, "qwen2.5"));
    ck_assert_uint_gt(ck_goldens(t, fixture(&a, "goldens_qwen3"), "encode.jsonl", new_ones), 250);
    ck_assert_int_eq(br_tokenizer_n_vocab(t), 151665);
    br_tokenizer_close(t);
    br__arena_free(&a);
}
END_TEST

int main(void)
{
    static const char *const folders[] = {"tokenizer/qwen3", "tokenizer/qwen2.5",
                                          "tokenizer/goldens_qwen3"};
    for (size_t i = 0; i < BR_COUNTOF(folders); i++) {
        int rc = need_fixture(folders[i]);
        if (rc)
            return rc;
    }
    Suite *s = suite_create("published tokenizers");
    TCase *t = tcase_create("goldens");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, qwen3);
    tcase_add_test(t, qwen25);
    suite_add_tcase(s, t);
    return run_suite(s);
}
