/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* launches.c - how many kernels a layer takes when one token is decoded: the simulator writes down
 * each launch, and from one layer's attention, or delta rule, to the next's there is a layer. */
#include "../unit/librun.h"
#include "engine/engine.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char file[4096];

static const struct decoded {
    const char *model, *kernel; /* one of each layer */
    int launches;               /* of a layer */
} models[] = {
    {"qwen3_tied_bf16", "attend_rows", 7},
    {"qwen2_untied_bf16", "attend_rows", 7},
    {"qwen3_moe_bf16", "attend_rows", 10},
    {"qwen3_next_bf16", "delta_tokens", 18},
};

/* A pass of one token, which is walked. */
static void decode_one(const char *name)
{
    char path[4096];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m = NULL;
    struct br__llm_session *s = NULL;
    const int32_t id = 5;
    const struct br__forward_seq feed = {.ids = &id, .n = 1};
    snprintf(path, sizeof path, "%s/hf/%s", BRIDGE_TEST_DATA, name);
    const struct br__llm_opts o = {
        .weights = {.hf_model = path}, .device = "cuda", .precision = BR_BF16, .threads = 1};
    int rc = br__llm_open(&m, &o, &err);
    if (!rc)
        rc = br__llm_session_open(&s, m, 4, 64, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    float *logits = calloc((size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE), sizeof *logits);
    ck_assert_ptr_nonnull(logits);
    ck_assert_msg(br__llm_forward(s, &feed, 1, logits, &err) == 0, "%s", err.msg);
    free(logits);
    br__llm_session_close(s);
    br__llm_close(m);
}

START_TEST(of_a_layer)
{
    const struct decoded *d = &models[_i];
    char line[256], all[8192] = "";
    int at = 0, last = -1, layers = 0;
    make_temp_file(file, sizeof file, "launches");
    setenv("CUDASIM_LAUNCHES", file, 1);
    decode_one(d->model);
    FILE *f = fopen(file, "r");
    ck_assert_ptr_nonnull(f);
    for (; fgets(line, sizeof line, f); at++) {
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s", line);
        if (!strstr(line, d->kernel))
            continue;
        ck_assert_msg(last < 0 || at - last == d->launches, "%s: %d launches, expected %d:\n%s",
                      d->model, at - last, d->launches, all);
        layers += last >= 0;
        last = at;
    }
    fclose(f);
    remove(file);
    ck_assert_msg(layers > 0, "%s: no two layers in\n%s", d->model, all);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("launches");
    TCase *t = tcase_create("launches");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, of_a_layer, 0, (int)BR_COUNTOF(models));
    suite_add_tcase(s, t);
    return run_suite(s);
}
