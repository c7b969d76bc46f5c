/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_state.c - training state of Megatron's own checkpoints: the three forms give the same
 * numbers, shifted tensors are shifted back, and what is written is read as it was.
 *
 * The cases of data/torch_dist_train of one family are independent runs of the same three steps on
 * other grids, so their optimizer states are equal bit for bit. */
#include "libgolden.h"
#include "librun.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROOT BRIDGE_TEST_DATA "/torch_dist_train/"

static struct br_err err;

static struct br__ckpt *open_case(const char *name)
{
    char dir[512];
    struct br__ckpt *ck;
    snprintf(dir, sizeof dir, "%s%s/torch_dist", ROOT, name);
    must(br__ckpt_open(&ck, dir, &err), &err);
    return ck;
}

static struct br__train_state *open_state(const struct br__ckpt *ck)
{
    struct br__train_state *s;
    must(br__train_state_open(&s, ck, &err), &err);
    return s;
}

static uint64_t elements(const struct br__train_param *p)
{
    return p->weight->bytes / br_dtype_size(p->weight->dtype);
}

static float *read_all(const struct br__train_state *s, size_t i, int kind)
{
    size_t n = (size_t)elements(&s->params[i]);
    float *out = malloc((n + 1) * sizeof *out);
    must(br__train_state_read(s, i, kind, 0, out, n, &err), &err);
    return out;
}

/* ---- reading --------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int form, experts_apart;
    size_t n_groups, n_params, n_rng;
} cases[] = {
    {"qwen3_dp1_fr", BR__OPTIM_FULLY, 0, 2, 11, 1},
    {"qwen3_dp1_nodist", BR__OPTIM_PLAIN, 0, 2, 11, 1},
    {"qwen3_dp2_dpr", BR__OPTIM_DP, 0, 2, 11, 1},
    {"qwen3_tp2_fr", BR__OPTIM_FULLY, 0, 2, 11, 2},
    {"qwen3_mlm_dp1_fr", BR__OPTIM_FULLY, 0, 2, 11, 1},
    {"qwen3_moe_ep2_fr", BR__OPTIM_FULLY, 1, 3, 12, 2},
    {"qwen2_tied_pp2_fr", BR__OPTIM_FULLY, 0, 2, 9, 2},
};

static void check_group(const struct br__optim_group *g, int i)
{
    ck_assert_uint_eq(g->optimizer, i == 2);
    ck_assert_int_eq(g->is_expert_parallel, i == 2);
    ck_assert_int_eq(g->is_decoupled_lr, 0);
    ck_assert_int_eq(g->bias_correction, 1);
    ck_assert_double_eq(g->wd_mult, i != 1);
    ck_assert_double_eq(g->lr_mult, 1);
    ck_assert_double_eq(g->max_lr, 0.02);
    ck_assert_double_eq(g->min_lr, 0.002);
    ck_assert_double_eq(g->lr, 0.019314915792601584);
    ck_assert_double_eq(g->beta1, 0.9);
    ck_assert_double_eq(g->beta2, 0.95);
    ck_assert_double_eq(g->eps, 1e-8);
    ck_assert_double_eq(g->weight_decay, i == 1 ? 0 : 0.033);
    ck_assert_int_eq(g->step, 3);
}

START_TEST(test_open)
{
    struct br__ckpt *ck = open_case(cases[_i].name);
    struct br__train_state *s = open_state(ck);
    ck_assert_int_eq(s->form, cases[_i].form);
    ck_assert_int_eq(s->experts_apart, cases[_i].experts_apart);
    ck_assert_uint_eq(s->n_groups, cases[_i].n_groups);
    ck_assert_uint_eq(s->n_params, cases[_i].n_params);
    ck_assert_uint_eq(s->n_frozen, 0);
    ck_assert_uint_eq(s->n_rng_items, cases[_i].n_rng);
    for (int i = 0; i < (int)s->n_groups; i++)
        check_group(&s->groups[i], i);
    ck_assert_int_eq(s->has_scheduler, 1);
    const struct br__optim_scheduler *c = &s->scheduler;
    ck_assert_double_eq(c->max_lr, 0.02);
    ck_assert_double_eq(c->min_lr, 0.002);
    ck_assert_double_eq(c->start_wd, 0.033);
    ck_assert_double_eq(c->end_wd, 0.033);
    ck_assert_int_eq(c->warmup_steps, 8);
    ck_assert_int_eq(c->decay_steps, 40);
    ck_assert_int_eq(c->wd_incr_steps, 40);
    ck_assert_int_eq(c->num_steps, 12);
    ck_assert_str_eq(c->decay_style, "cosine");
    ck_assert_str_eq(c->wd_incr_style, "constant");
    ck_assert_int_eq(s->iteration, 3);
    ck_assert_int_eq(s->consumed_samples, 12);
    for (size_t i = 0; i < s->n_params; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
            ck_assert_uint_eq(s->params[i].lost[k], 0);
    must(br__train_state_check(s, BR__MAIN_ALL, &err), &err);
    ck_assert_uint_eq(s->n_unlike, strstr(cases[_i].name, "qwen2_tied_pp2") != NULL);
    br__train_state_close(s);
    br__ckpt_close(ck);
}
END_TEST

/* The forms and grids that hold the same run. */
static const char *const twins[] = {"qwen3_dp1_nodist", "qwen3_dp2_dpr", "qwen3_tp2_fr",
                                    "qwen3_mlm_dp1_fr"};

START_TEST(test_same_numbers)
{
    struct br__ckpt *ck_a = open_case("qwen3_dp1_fr"), *ck_b = open_case(twins[_i]);
    struct br__train_state *a = open_state(ck_a), *b = open_state(ck_b);
    ck_assert_uint_eq(a->n_params, b->n_params);
    for (size_t i = 0; i < a->n_params; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            size_t n = (size_t)elements(&a->params[i]);
            float *x = read_all(a, i, k), *y = read_all(b, i, k), some[7];
            ck_assert_str_eq(a->params[i].weight->name, b->params[i].weight->name);
            ck_assert_msg(memcmp(x, y, n * sizeof *x) == 0, "%s: kind %d of '%s' differs",
                          twins[_i], k, a->params[i].weight->name);
            for (size_t at = 0; at + 7 <= n; at += 61) { /* ranges as well as wholes */
                must(br__train_state_read(b, i, k, at, some, 7, &err), &err);
                ck_assert_mem_eq(some, x + at, sizeof some);
            }
            free(x);
            free(y);
        }
    br__train_state_close(a);
    br__train_state_close(b);
    br__ckpt_close(ck_a);
    br__ckpt_close(ck_b);
}
END_TEST

/* ---- repair ---------------------------------------------------------------------------------- */

/* Megatron's own defective checkpoint: a shift of 64, so 64 elements are lost of one parameter. */
START_TEST(test_repair)
{
    struct br__ckpt *ck = open_case("qwen2_tied_pp2_fr");
    struct br__train_state *raw = open_state(ck), *s = open_state(ck);
    must(br__train_state_repair(s, &err), &err);
    ck_assert_uint_eq(s->n_repaired, 1);
    for (size_t i = 0; i < s->n_params; i++) {
        const struct br__train_param *p = &s->params[i];
        int bad = strcmp(p->weight->name, "embedding.word_embeddings.weight") == 0;
        size_t n = (size_t)elements(p), lost = bad ? 64 : 0;
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            float *x = read_all(s, i, k), *stored = read_all(raw, i, k);
            ck_assert_uint_eq(p->lost[k], lost);
            ck_assert_mem_eq(x + lost, stored, (n - lost) * sizeof *x);
            for (size_t e = 0; k != BR__OPTIM_MAIN && e < lost; e++)
                ck_assert_float_eq(x[e], 0);
            free(x);
            free(stored);
        }
        ck_assert_int_eq(p->from_weight, 0);
    }
    must(br__train_state_check(s, BR__MAIN_ALL, &err), &err);
    ck_assert_uint_eq(s->n_unlike, 0);
    br__train_state_close(raw);
    br__train_state_close(s);
    br__ckpt_close(ck);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_state");
    TCase *tc = tcase_create("train_state");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_open, 0, BR_COUNTOF(cases));
    tcase_add_loop_test(tc, test_same_numbers, 0, BR_COUNTOF(twins));
    tcase_add_test(tc, test_repair);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
