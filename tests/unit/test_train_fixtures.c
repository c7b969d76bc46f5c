/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_fixtures.c - checkpoints of real training runs, whole models and adapters, go into
 * memory and out again without a difference.
 *
 * Fixtures: train/ of the folder that BRIDGE_SHARED names. */
#include "librun.h"
#include "libtrainckpt.h"

#include <stdlib.h>
#include <string.h>

static struct br_err err;
static char dir[256];

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "train-fixtures");
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err), &err);
}

static const struct {
    const char *name;
    const char *hf; /* of train/; adapters: the model under them */
    int dtype;
} cases[] = {
    {"runs/qwen2_fp32", "runs/qwen2_fp32/hf", BR_F32},
    {"runs/qwen3_fp32", "runs/qwen3_fp32/hf", BR_F32},
    {"runs/qwen3_bf16", "runs/qwen3_bf16/hf", BR_BF16},
    {"runs/qwen3_moe_fp32", "runs/qwen3_moe_fp32/hf", BR_F32},
    {"runs/qwen3_next_mtp_fp32", "runs/qwen3_next_mtp_fp32/hf", BR_F32},
    {"lora/qwen2", "hf_models/qwen2", BR_F32},
    {"lora/qwen3", "hf_models/qwen3", BR_F32},
    {"dora/qwen2", "hf_models/qwen2", BR_F32},
    {"dora/qwen3", "hf_models/qwen3", BR_F32},
};

static const char *fixture(char *out, size_t size, const char *name, const char *file)
{
    int n = snprintf(out, size, "%s/fixtures/train/%s%s", getenv("BRIDGE_SHARED"), name, file);
    ck_assert(n > 0 && (size_t)n < size);
    return out;
}

static void hear(void *ud, const char *text)
{
    ck_abort_msg("%s%s", (const char *)ud, text);
}

/* Chunks are Megatron's, too: its loader reads whole ones. */
static void compare_chunks(const char *theirs, const char *ours)
{
    struct br__ckpt *x, *y;
    must(br__ckpt_open(&x, theirs, &err), &err);
    must(br__ckpt_open(&y, ours, &err), &err);
    for (size_t i = 0; i < x->n_tensors; i++) {
        const struct br__tensor *t = &x->tensors[i], *u = br__ckpt_find(y, t->name);
        size_t n = x->td->n_chunks[t->priv];
        if (strstr(t->name, ".adapter."))
            continue; /* we cut those of fc1 by layer alone */
        ck_assert_msg(n == y->td->n_chunks[u->priv], "'%s' has %zu chunks, expected %zu", t->name,
                      y->td->n_chunks[u->priv], n);
    }
    br__ckpt_close(x);
    br__ckpt_close(y);
}

START_TEST(test_zero_steps)
{
    char hf[1024], from[1024], adapters[1024], root[300];
    int is_adapter = strstr(cases[_i].name, "ora/") != NULL;
    const struct br_listener quiet = {"", NULL, hear, hear};
    struct live_run r;
    struct br__loaded l;
    struct br__saver *s;
    fixture(hf, sizeof hf, cases[_i].hf, "");
    fixture(from, sizeof from, cases[_i].name, "/ckpt");
    fixture(adapters, sizeof adapters, cases[_i].name, "/init_trainable.safetensors");
    snprintf(root, sizeof root, "%s/ckpt", dir);
    live_open(&r, hf, is_adapter ? adapters : NULL, cases[_i].dtype);
    live_fill(&r, 1);
    const struct br__load_opts lo = {
        .dir = from, .model = r.model, .threads = 2, .listener = &quiet};
    must(br__live_load(&lo, &l, &err), &err);
    ck_assert_int_eq(l.iteration, is_adapter ? 5 : 10);
    ck_assert_int_eq(l.groups[0].step, l.iteration);
    ck_assert_int_eq(l.consumed_samples, 4 * l.iteration);
    const struct br__saver_opts so = {.root = root,
                                      .model = r.model,
                                      .run_config = "checkpoint:\n  save_optim: true\n",
                                      .threads = 2,
                                      .no_sync = 1};
    const struct br__saved now = {
        .counters = {.step = l.iteration, .consumed_samples = l.consumed_samples, .do_train = 1},
        .train = {0, l.groups, l.n_groups, &l.scheduler}};
    must(br__saver_open(&s, &so, &err), &err);
    must(br__saver_save(s, &now, 0, &err), &err);
    br__saver_close(s);
    ck_assert_uint_eq(count_differences(from, root), 0);
    compare_chunks(from, root);
    br__loaded_free(&l);
    live_close(&r);
}
END_TEST

int main(void)
{
    int rc = need_fixture("train/runs");
    if (rc)
        return rc;
    Suite *s = suite_create("train_fixtures");
    TCase *tc = tcase_create("train_fixtures");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, test_zero_steps, 0, BR_COUNTOF(cases));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
