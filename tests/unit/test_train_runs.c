/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_runs.c - whole recorded runs of Megatron Bridge's pretrain(), step by step: schedule,
 * both normalisations of the loss, gradient norm, clipping, zeros, AdamW, final weights.
 *
 * Fixtures: train/runs of the folder that BRIDGE_SHARED names; its README says how they were made
 * and which differences are to be expected. */
#include "libadamw.h"
#include "librecorded.h"
#include "librun.h"
#include "libtoytrain.h"
#include "train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static const char *const cases[] = {"runs/qwen2_fp32", "runs/qwen3_fp32", "runs/qwen2_fp32_eodmask",
                                    "runs/qwen2_fp32_eodmask_per_token", "runs/qwen3_fp32_wd_ramp"};

#define MAX_SEQ 64
/* One sequence of a micro batch; masked labels become -1. */
struct sequence {
    int32_t ids[MAX_SEQ], labels[MAX_SEQ];
    int64_t n, counted;
};

static void read_sequence(struct sequence *s, const br__json *ids, const br__json *labels,
                          const br__json *mask)
{
    const br__json *l = br__json_first(labels), *m = br__json_first(mask);
    s->n = s->counted = 0;
    for (const br__json *i = br__json_first(ids); i;
         i = br__json_next(i), l = br__json_next(l), m = br__json_next(m)) {
        ck_assert_int_lt(s->n, MAX_SEQ);
        int on = br__json_num(m, NAN) != 0;
        s->ids[s->n] = (int32_t)br__json_num(i, -1);
        s->labels[s->n++] = on ? (int32_t)br__json_num(l, -1) : -1;
        s->counted += on;
    }
}

#define MAX_GBS 8
/* All sequences of a step, and how much each one's mean loss weighs in the loss that is
 * differentiated. */
struct batch {
    struct sequence seqs[MAX_GBS];
    double weight[MAX_GBS];
    int n;
    int64_t counted;
};

static void read_batch(struct batch *b, const br__json *micro_batches, int per_token)
{
    size_t n_micro = br__json_count(micro_batches);
    b->n = 0;
    b->counted = 0;
    for (const br__json *mb = br__json_first(micro_batches); mb; mb = br__json_next(mb)) {
        int first = b->n;
        int64_t counted = 0;
        const br__json *ids = br__json_first(br__json_get(mb, "tokens")),
                       *labels = br__json_first(br__json_get(mb, "labels")),
                       *mask = br__json_first(br__json_get(mb, "loss_mask"));
        for (; ids;
             ids = br__json_next(ids), labels = br__json_next(labels), mask = br__json_next(mask)) {
            ck_assert_int_lt(b->n, MAX_GBS);
            read_sequence(&b->seqs[b->n], ids, labels, mask);
            counted += b->seqs[b->n++].counted;
        }
        for (int i = first; i < b->n; i++)
            b->weight[i] = (double)b->seqs[i].counted / (double)counted / (double)n_micro;
        b->counted += counted;
    }
    for (int i = 0; per_token && i < b->n; i++)
        b->weight[i] = (double)b->seqs[i].counted / (double)b->counted;
}

static void one_step(const struct recorded *r, struct toy *toy, const br__json *micro_batches,
                     const br__json *want, int step)
{
    double loss = 0, norm;
    struct batch b;

    read_batch(&b, micro_batches, r->per_token);
    toy_zero_grads(toy);
    for (int i = 0; i < b.n; i++) {
        double l = toy_backward(toy, b.seqs[i].ids, b.seqs[i].labels, b.seqs[i].n, b.weight[i]);
        loss += l * (double)b.seqs[i].counted / (double)b.counted;
    }
    near_recorded("the loss", step, loss,
                  recorded_opt(br__json_get(want, "losses"), "lm loss", NAN),
                  step == 1 ? 2e-6 : 1e-5);
    must(br__grad_norm(cpu_device(2), toy->grads, toy->n, &norm, &err), &err);
    double recorded = recorded_opt(want, "grad_norm", NAN);
    near_recorded("the gradient norm", step, norm, recorded, 1e-5 * recorded);
    const struct br__adamw_opts o = recorded_adamw(r, want, step, norm);
    uint64_t zeros;
    must(br__count_zeros(cpu_device(2), toy->grads, toy->n, o.grad_scale, &zeros, &err), &err);
    near_recorded("the count of zeros", step, (double)zeros, recorded_opt(want, "num_zeros", NAN),
                  0);
    toy_step(toy, &o);
}

/* final/ is there for the runs of twenty steps. */
static void compare_final(const struct recorded *r, const struct toy *toy)
{
    char p[1100];
    struct br__ckpt *ck;
    recorded_path(r, "final", p, sizeof p);
    if (!br__is_dir(p))
        return;
    must(br__ckpt_open(&ck, p, &err), &err);
    ck_assert_uint_eq(ck->n_tensors, toy->n);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        const struct toy_tensor *x = toy_find(toy, t->name);
        ck_assert_msg(x && t->dtype == BR_F32 && t->bytes == x->n * sizeof(float), "%s", t->name);
        float *want = malloc((size_t)t->bytes);
        must(br__ckpt_read(ck, t, 0, want, (size_t)t->bytes, &err), &err);
        double d = max_diff(x->param, want, x->n);
        ck_assert_msg(d <= 5e-5, "'%s' differs by %g after the last step", t->name, d);
        free(want);
    }
    br__ckpt_close(ck);
}

START_TEST(test_run)
{
    char p[1100];
    struct recorded r;
    struct toy toy;
    recorded_open(&r, cases[_i]);
    toy_open(&toy, recorded_path(&r, "hf", p, sizeof p));
    int step = 1;
    const br__json *batch = br__json_first(r.batches);
    for (const br__json *s = br__json_first(br__json_get(r.steps, "steps")); s;
         s = br__json_next(s), batch = br__json_next(batch))
        one_step(&r, &toy, batch, s, step++);
    ck_assert_int_eq(step - 1, (int)recorded_opt(r.config, "iters", NAN));
    compare_final(&r, &toy);
    toy_close(&toy);
    recorded_close(&r);
}
END_TEST

/* ---- their checkpoints ----------------------------------------------------------------------- */

/* Checkpoints of real training in float32 and bfloat16, whole models and adapters: all are sound.
 */
static const char *const ckpts[] = {"runs/qwen2_fp32",
                                    "runs/qwen3_fp32",
                                    "runs/qwen3_bf16",
                                    "runs/qwen3_moe_fp32",
                                    "runs/qwen3_next_mtp_fp32",
                                    "lora/qwen2",
                                    "lora/qwen3",
                                    "dora/qwen2",
                                    "dora/qwen3"};

START_TEST(test_ckpts)
{
    char p[1024];
    struct br__ckpt *ck;
    snprintf(p, sizeof p, "%s/fixtures/train/%s/ckpt", getenv("BRIDGE_SHARED"), ckpts[_i]);
    must(br__ckpt_open(&ck, p, &err), &err);
    struct br__train_state *s;
    must(br__train_state_open(&s, ck, &err), &err);
    int adapter = strstr(ckpts[_i], "ora/") != NULL;
    ck_assert_int_eq(s->form, BR__OPTIM_FULLY);
    ck_assert_uint_eq(4 * s->n_params, ck->n_tensors);
    ck_assert_int_eq(s->iteration, adapter ? 5 : 10);
    ck_assert_int_eq(s->groups[0].step, s->iteration);
    ck_assert_int_eq(s->consumed_samples, 4 * s->iteration);
    ck_assert_int_eq(s->scheduler.num_steps, s->consumed_samples);
    must(br__train_state_repair(s, &err), &err);
    ck_assert_uint_eq(s->n_unlike, 0);
    ck_assert_uint_eq(s->n_repaired, 0);
    br__train_state_close(s);
    br__ckpt_close(ck);
}
END_TEST

int main(void)
{
    int rc = need_fixture("train/runs");
    if (rc)
        return rc;
    Suite *s = suite_create("train_runs");
    TCase *tc = tcase_create("train_runs");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_run, 0, BR_COUNTOF(cases));
    tcase_add_loop_test(tc, test_ckpts, 0, BR_COUNTOF(ckpts));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
