/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_runs.c - whole recorded runs of Megatron Bridge's pretrain(), step by step: schedule,
 * both normalisations of the loss, gradient norm, clipping, zeros, AdamW, final weights.
 *
 * Fixtures: train/runs of the folder that BRIDGE_SHARED names; its README says how they were made
 * and which differences are to be expected. */
#include "librun.h"
#include "libtoytrain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static const char *const cases[] = {"qwen2_fp32", "qwen3_fp32", "qwen2_fp32_eodmask",
                                    "qwen2_fp32_eodmask_per_token", "qwen3_fp32_wd_ramp"};

static const char *path(char *out, size_t size, const char *name, const char *file)
{
    int n =
        snprintf(out, size, "%s/fixtures/train/runs/%s/%s", getenv("BRIDGE_SHARED"), name, file);
    ck_assert(n > 0 && (size_t)n < size);
    return out;
}

static br__json *open_file(const char *name, const char *file)
{
    char p[1024], *text;
    size_t n;
    br__json *j;
    must(br__read_text(path(p, sizeof p, name, file), 1 << 24, &text, &n, &err), &err);
    must(br__json_parse(&j, text, n, &err), &err);
    br__free(text);
    return j;
}

static double opt(const br__json *j, const char *key, double dflt)
{
    return br__json_num(br__json_get(j, key), dflt);
}

static struct br__schedule schedule_of(const br__json *c)
{
    double gbs = opt(c, "gbs", NAN), wd = opt(c, "wd", NAN);
    const br__json *wsd = br__json_first(br__json_get(c, "wsd"));
    return (struct br__schedule){
        .style = br__lr_style(br__json_str(br__json_get(c, "decay_style"), "cosine")),
        .wsd_style = wsd ? br__wsd_style(br__json_str(wsd, "")) : 0,
        .wd_style = br__wd_style(br__json_str(br__json_get(c, "wd_style"), "constant")),
        .init_lr = opt(c, "warmup_init", 0),
        .max_lr = opt(c, "lr", NAN),
        .min_lr = opt(c, "min_lr", NAN),
        .start_wd = wd,
        .end_wd = opt(c, "end_wd", wd),
        .warmup = (int64_t)(opt(c, "warmup", NAN) * gbs),
        .decay = (int64_t)(opt(c, "iters", NAN) * gbs),
        .wsd_decay = wsd ? (int64_t)(br__json_num(br__json_next(wsd), NAN) * gbs) : 0,
        .wd_incr = (int64_t)(opt(c, "iters", NAN) * gbs),
    };
}

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

struct run {
    struct toy toy;
    struct br__schedule schedule;
    const br__json *config;
    int per_token;
};

static void near(const char *what, int step, double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance, "step %d: %s is %.9g, recorded %.9g", step, what,
                  got, want);
}

static void one_step(struct run *r, const br__json *micro_batches, const br__json *want, int step)
{
    static const struct br__schedule_group unit = {0, 0, 1, 1};
    struct br__schedule_group group = unit;
    int64_t samples = (step - 1) * (int64_t)opt(r->config, "gbs", NAN);
    double loss = 0, norm;
    struct batch b;

    group.max_lr = r->schedule.max_lr;
    group.min_lr = r->schedule.min_lr;
    read_batch(&b, micro_batches, r->per_token);
    toy_zero_grads(&r->toy);
    for (int i = 0; i < b.n; i++) {
        double l = toy_backward(&r->toy, b.seqs[i].ids, b.seqs[i].labels, b.seqs[i].n, b.weight[i]);
        loss += l * (double)b.seqs[i].counted / (double)b.counted;
    }
    near("the loss", step, loss, opt(br__json_get(want, "losses"), "lm loss", NAN),
         step == 1 ? 2e-6 : 1e-5);
    must(br__grad_norm(r->toy.grads, r->toy.n, 2, &norm, &err), &err);
    double recorded = opt(want, "grad_norm", NAN);
    near("the gradient norm", step, norm, recorded, 1e-5 * recorded);
    const struct br__adamw_opts o = {
        .lr = br__lr_at(&r->schedule, &group, samples),
        .weight_decay = br__wd_at(&r->schedule, &group, samples),
        .beta1 = 0.9,
        .beta2 = opt(r->config, "beta2", NAN),
        .eps = opt(r->config, "eps", NAN),
        .step = step,
        .grad_scale = br__clip_scale(norm, opt(r->config, "clip", 1)),
    };
    near("the learning rate", step, o.lr,
         br__json_num(br__json_first(br__json_get(want, "lr_used")), NAN), 0);
    near("the weight decay", step, o.weight_decay,
         br__json_num(br__json_first(br__json_get(want, "wd_used")), NAN), 0);
    near("the count of zeros", step, (double)br__count_zeros(r->toy.grads, r->toy.n, o.grad_scale),
         opt(want, "num_zeros", NAN), 0);
    toy_step(&r->toy, &o);
}

/* final/ is there for the runs of twenty steps. */
static void compare_final(const struct run *r, const char *name)
{
    char p[1024];
    struct br__ckpt *ck;
    path(p, sizeof p, name, "final");
    if (!br__is_dir(p))
        return;
    must(br__ckpt_open(&ck, p, &err), &err);
    ck_assert_uint_eq(ck->n_tensors, r->toy.n);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        const struct toy_tensor *x = toy_find(&r->toy, t->name);
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
    const char *name = cases[_i];
    char hf[1024];
    br__json *config = open_file(name, "case.json"), *steps = open_file(name, "steps.json"),
             *batches = open_file(name, "batches.json");
    struct run r = {.schedule = schedule_of(config), .config = config};
    r.per_token = br__json_bool(br__json_get(config, "per_token"), 0);
    must(br__schedule_check(&r.schedule, &err), &err);
    toy_open(&r.toy, path(hf, sizeof hf, name, "hf"));
    int step = 1;
    const br__json *batch = br__json_first(batches);
    for (const br__json *s = br__json_first(br__json_get(steps, "steps")); s;
         s = br__json_next(s), batch = br__json_next(batch))
        one_step(&r, batch, s, step++);
    ck_assert_int_eq(step - 1, (int)opt(config, "iters", NAN));
    compare_final(&r, name);
    toy_close(&r.toy);
    br__json_free(config);
    br__json_free(steps);
    br__json_free(batches);
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
