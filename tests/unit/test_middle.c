/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_middle.c - models with the head sizes of the published ones (64, 128, 256; heads of the
 * delta net of 128) over hundreds of tokens, against transformers: what tiny fixtures do not reach,
 * such as tiles, several chunks, groups of seven, experts without tokens.
 *
 * Fixtures: middle/ of the folder that BRIDGE_SHARED names.  Tolerances: its README. */
#include "libgolden.h"
#include "librun.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static const char *const models[] = {"qwen2_d64_g7", "qwen3_d64_swa", "qwen3_d128",
                                     "qwen3_moe_d128", "qwen3_next_d256"};
#define N_MODELS ((int)BR_COUNTOF(models))
#define MAX_IDS 512

struct middle {
    char dir[1024];
    br__json *j;
    struct golden_file g;
    int32_t longer[MAX_IDS], shorter[MAX_IDS];
    int64_t n_longer, n_shorter;
    int is_next;
};

static void middle_open(struct middle *x, int i)
{
    char root[900];
    snprintf(root, sizeof root, "%s/fixtures/middle/", getenv("BRIDGE_SHARED"));
    snprintf(x->dir, sizeof x->dir, "%s%s", root, models[i]);
    x->j = open_json(root, models[i]);
    x->g = open_golden(root, models[i], "golden.safetensors");
    x->n_longer = ids_of(x->j, "input_ids_long", x->longer, MAX_IDS);
    x->n_shorter = ids_of(x->j, "input_ids_short", x->shorter, MAX_IDS);
    x->is_next = strstr(models[i], "next") != NULL;
}

static void middle_close(struct middle *x)
{
    close_golden(&x->g);
    br__json_free(x->j);
}

static struct br__llm *open_as(const struct middle *x, const char *device, int precision,
                               int activations)
{
    struct br__llm *m;
    const struct br__llm_opts o = {.weights = {.hf_model = x->dir},
                                   .precision = precision,
                                   .activations = activations,
                                   .device = device,
                                   .threads = TEST_THREADS};
    must(br__llm_open(&m, &o, &err), &err);
    return m;
}

/* ---- float32 --------------------------------------------------------------------------------- */

static void near_logits(const struct middle *x, const float *got, const float *want, size_t n,
                        const char *what)
{
    double d = max_diff(got, want, n);
    ck_assert_msg(d <= (x->is_next ? 3e-4 : 1e-4), "%s: %s differ by %g", x->dir, what, d);
}

/* The shorter sequence: its logits. */
START_TEST(test_forward)
{
    struct middle x;
    struct br__trace t;
    size_t n;
    middle_open(&x, _i);
    struct br__llm *m = open_as(&x, test_device(), BR_F32, BR_F32);
    trace(m, x.shorter, x.n_shorter, 0, &t);
    const float *want = golden(&x.g, "logits_short", &n);
    near_logits(&x, br__trace_find(&t, "logits")->data, want, n, "logits_short");
    br__trace_free(&t);
    br__llm_close(m);
    middle_close(&x);
}
END_TEST

/* The norm of every gradient, and those that the file has whole. */
static void compare_grads(const struct middle *x, const struct br__trace *t)
{
    size_t seen = 0;
    for (const br__json *e = br__json_first(br__json_get(x->j, "grad_norms")); e;
         e = br__json_next(e), seen++) {
        char key[256];
        size_t n;
        snprintf(key, sizeof key, "grad.%s", br__json_key(e));
        const struct br__named *g = br__trace_find(t, key);
        ck_assert_msg(g != NULL, "%s: no %s", x->dir, key);
        double norm = 0, want = br__json_num(e, NAN);
        for (size_t i = 0; i < br__named_elems(g); i++)
            norm += (double)g->data[i] * g->data[i];
        norm = sqrt(norm);
        ck_assert_msg(fabs(norm - want) <= 2e-3 * want, "%s: the norm of %s is %g, expected %g",
                      x->dir, key, norm, want);
        const float *whole = golden(&x->g, key, &n);
        double d = whole ? rel_l2(g->data, whole, n) : 0;
        ck_assert_msg(d <= (x->is_next ? 2e-3 : 2e-4), "%s: %s differs by %g (relative L2)", x->dir,
                      key, d);
    }
    ck_assert_uint_gt(seen, 20);
}

/* The longer one: its loss, some of its logits, and gradients. */
START_TEST(test_backward)
{
    struct middle x;
    struct br__trace t;
    size_t n, vocab;
    middle_open(&x, _i);
    struct br__llm *m = open_as(&x, test_device(), BR_F32, BR_F32);
    trace(m, x.longer, x.n_longer, BR__TRACE_GRADS, &t);
    const float *want = golden(&x.g, "logits_long", &n);
    const struct br__named *logits = br__trace_find(&t, "logits");
    vocab = (size_t)logits->shape[1];
    for (const br__json *row = br__json_first(br__json_get(x.j, "long_rows")); row;
         row = br__json_next(row), want += vocab)
        near_logits(&x, logits->data + (size_t)br__json_num(row, -1) * vocab, want, vocab,
                    "logits_long");
    ck_assert_double_eq_tol(br__trace_find(&t, "loss")->data[0],
                            br__json_num(br__json_get(x.j, "loss"), NAN), 1e-4);
    compare_grads(&x, &t);
    br__trace_free(&t);
    br__llm_close(m);
    middle_close(&x);
}
END_TEST

/* ---- bfloat16 -------------------------------------------------------------------------------- */

static double rms(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sqrt(sum / (double)n);
}

/* As far from float32 as transformers' own bfloat16 run, and a device as near to the CPU as that is
 * to float32.  The experts are those of a float32 run, because a changed choice would hide the
 * rounding. */
static void check_bf16(int model, int activations)
{
    struct middle x;
    struct br__trace exact, cpu, got;
    size_t n;
    middle_open(&x, model);
    const int32_t *ids = x.shorter;
    struct br__llm *on_cpu = open_as(&x, "cpu", BR_F32, BR_F32);
    trace(on_cpu, ids, x.n_shorter, 0, &exact);
    br__llm_close(on_cpu);
    const struct br__trace_opts o = {
        .ids = &ids, .n_batches = 1, .n = x.n_shorter, .routes = exact.routes};
    on_cpu = open_as(&x, "cpu", BR_BF16, activations);
    must(br__llm_trace(on_cpu, &o, &cpu, &err), &err);
    br__llm_close(on_cpu);
    struct br__llm *m = open_as(&x, test_device(), BR_BF16, activations);
    must(br__llm_trace(m, &o, &got, &err), &err);
    br__llm_close(m);
    const float *want = golden(&x.g, "logits_short", &n), *a = br__trace_find(&got, "logits")->data,
                *b = br__trace_find(&cpu, "logits")->data;
    double theirs = br__json_num(br__json_get(x.j, "bf16_rms"), NAN), off = rms(b, want, n);
    ck_assert_msg(rms(a, want, n) <= 1.5 * theirs, "%s: rms %g, transformers' own is %g", x.dir,
                  rms(a, want, n), theirs);
    /* Two that round in other places differ by the root of two of what each is off. */
    ck_assert_msg(rms(a, b, n) <= 1.5 * off, "%s: %g from the CPU, which is %g from float32", x.dir,
                  rms(a, b, n), off);
    br__trace_free(&exact);
    br__trace_free(&cpu);
    br__trace_free(&got);
    middle_close(&x);
}

START_TEST(test_bf16)
{
    check_bf16(_i, BR_BF16);
}
END_TEST

/* Products of bfloat16, activations of float32. */
START_TEST(test_bf16_wide)
{
    check_bf16(_i, BR_F32);
}
END_TEST

int main(void)
{
    int rc = need_fixture("middle");
    if (rc)
        return rc;
    Suite *s = suite_create("middle");
    TCase *tc = tcase_create("middle");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_bf16, 0, N_MODELS);
    if (!test_is_sampled()) {
        tcase_add_loop_test(tc, test_bf16_wide, 0, N_MODELS);
        tcase_add_loop_test(tc, test_forward, 0, N_MODELS);
        tcase_add_loop_test(tc, test_backward, 0, N_MODELS);
    }
    suite_add_tcase(s, tc);
    return run_suite(s);
}
