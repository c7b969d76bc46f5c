/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* steps.c - how many steps of decoding the device has when the host reads a token.  The simulator
 * writes down each launch, and each step ends in one of advance_batch: one step more than were read
 * while a sequence goes on, none beyond its last token, one too far where a token ends it. */
#include "../unit/librun.h"
#include "infer/infer_internal.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY 20
#define PROMPT 4
#define NEW (CAPACITY - PROMPT + 1)

static char file[4096];

static const char *const models[] = {"qwen3_tied_bf16", "qwen3_next_bf16"};
static const int32_t prompt[PROMPT] = {5, 6, 7, 8};

static size_t steps_given(void)
{
    char line[256];
    size_t n = 0;
    FILE *f = fopen(file, "r");
    ck_assert_ptr_nonnull(f);
    while (fgets(line, sizeof line, f))
        n += strstr(line, "advance_batch") != NULL;
    fclose(f);
    return n;
}

/* One sequence; given[i]: steps that the device had when token i was read.  How many tokens. */
static size_t run_one(struct br__llm_session *s, int64_t most, int32_t eos, int32_t *ids,
                      size_t *given)
{
    struct br_err err = BR_ERR_INIT;
    struct br__gen *g;
    struct br__gen_step step;
    uint64_t id;
    size_t n = 0;
    const struct br__gen_request r = {.prompt = prompt,
                                      .n_prompt = PROMPT,
                                      .eos = &eos,
                                      .n_eos = 1,
                                      .sample = {0, 0, 1, 0, 1, 0},
                                      .max_new_tokens = most};
    fclose(fopen(file, "w"));
    ck_assert_msg(!br__gen_begin(&g, s, &err), "%s", err.msg);
    ck_assert_msg(!br__gen_add(g, &r, &id, &err), "%s", err.msg);
    for (int finish = BR_FINISH_NOT; finish == BR_FINISH_NOT; n++) {
        ck_assert_uint_lt(n, NEW);
        ck_assert_msg(!br__gen_step(g, &step, &err), "%s", err.msg);
        ck_assert_uint_eq(step.n, 1);
        finish = step.tokens[0].finish;
        ids[n] = step.tokens[0].id;
        given[n] = steps_given();
    }
    br__gen_end(g);
    return n;
}

/* The prompt's pass, which gives the first token, is not one of these steps. */
static void check_given(const size_t *given, size_t n, size_t most)
{
    ck_assert_uint_eq(given[0], 0);
    for (size_t i = 1; i < n; i++)
        ck_assert_uint_eq(given[i], BR__MIN(i + 1, most));
}

START_TEST(steps_of)
{
    char path[4096];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m = NULL;
    struct br__llm_session *s = NULL;
    int32_t ids[NEW], again[NEW];
    size_t given[NEW];
    make_temp_file(file, sizeof file, "steps");
    setenv("CUDASIM_LAUNCHES", file, 1);
    snprintf(path, sizeof path, "%s/hf/%s", BRIDGE_TEST_DATA, models[_i]);
    const struct br__llm_opts o = {
        .weights = {.hf_model = path}, .device = "cuda", .precision = BR_BF16, .threads = 1};
    int rc = br__llm_open(&m, &o, &err);
    if (!rc)
        rc = br__llm_session_open(&s, m, 1, CAPACITY, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    ck_assert_uint_eq(run_one(s, INT64_MAX, -1, ids, given), NEW); /* to the end of the context */
    check_given(given, NEW, NEW - 1);
    ck_assert_uint_eq(run_one(s, 6, -1, again, given), 6);
    check_given(given, 6, 5);
    ck_assert_mem_eq(again, ids, 6 * sizeof *ids);
    size_t end = 3; /* a token that did not come before */
    for (size_t i = 0; i < end; i++)
        if (ids[i] == ids[end])
            end++, i = (size_t)-1;
    ck_assert_uint_lt(end, NEW - 1);
    ck_assert_uint_eq(run_one(s, INT64_MAX, ids[end], again, given), end + 1);
    check_given(given, end + 1, end + 1);
    ck_assert_mem_eq(again, ids, (end + 1) * sizeof *ids);
    br__llm_session_close(s);
    br__llm_close(m);
    remove(file);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("steps");
    TCase *t = tcase_create("steps");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, steps_of, 0, (int)BR_COUNTOF(models));
    suite_add_tcase(s, t);
    return run_suite(s);
}
