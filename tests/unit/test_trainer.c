/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_trainer.c - the engine's trainer against recorded runs of Megatron Bridge: losses, gradient
 * norms, zeros, the losses of routing and of multi-token prediction, final weights.
 *
 * Fixtures: train/ of the folder that BRIDGE_SHARED names.  Tolerances: its README. */
#include "libadamw.h"
#include "librecorded.h"
#include "librun.h"
#include "train/optim.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

static const char *const cases[] = {
    "runs/qwen2_fp32",
    "runs/qwen2_fp32_eodmask",
    "runs/qwen2_fp32_eodmask_per_token",
    "runs/qwen2_fp32_pad_in_data",
    "runs/qwen2_fp32_fused_ce",
    "runs/qwen3_fp32",
    "runs/qwen3_fp32_wd_ramp",
    "runs/qwen3_moe_fp32",
    "runs/qwen3_moe_fp32_per_token",
    "runs/qwen3_next_fp32",
    "runs/qwen3_next_fp32_wd_qknorm",
    "runs/qwen3_next_mtp_fp32",
    "runs/qwen3_bf16",
    "runs/qwen3_bf16_nodist",
    "runs/qwen3_moe_bf16",
    "sft/qwen3_packed_bf16",
    "lora/qwen3_packed_bf16",
    "sft/qwen2_packed",
    "sft/qwen2_packed_per_token",
    "sft/qwen3_full_loss",
    "sft/qwen3_moe_unpacked",
    "sft/qwen3_unpacked",
    "sft/qwen3_unpacked_per_token",
    "lora/qwen2",
    "lora/qwen3",
    "lora/qwen3_moe",
    "dora/qwen2",
    "dora/qwen3",
};

/* What is changed of a recorded run. */
struct variant {
    const char *name;
    int recompute;
    int64_t layers;
    unsigned modules;
    int falls; /* the memory */
    int values, grads;
    double z_coeff;
};

struct run {
    struct recorded r;
    struct br__llm *model;
    struct br__trainer *t;
    const struct br__trained *list;
    struct br__grad_span *grads;
    float *moments; /* of all tensors: first moments, then second */
    size_t n, elems;
    double off; /* sum over steps of loss - recorded */
    int is_next, is_moe, is_mtp, is_bf16, qk_norm, values;
};

static struct br__train_opts options_of(struct run *x)
{
    const br__json *model = br__json_get(x->r.config, "model"),
                   *optim = br__json_get(x->r.config, "optim");
    const char *family = br__json_str(br__json_get(x->r.config, "family"), "");
    x->is_next = strstr(family, "next") != NULL;
    x->is_moe = x->is_next || strstr(family, "moe") != NULL;
    x->is_mtp = strstr(family, "mtp") != NULL;
    x->is_bf16 = strcmp(br__json_str(br__json_get(x->r.config, "prec"), ""), "bf16") == 0;
    x->qk_norm = br__json_bool(br__json_get(optim, "apply_wd_to_qk_layernorm"), 0);
    return (struct br__train_opts){
        .values = x->is_bf16 ? BR_BF16 : BR_F32,
        .router_dtype = x->is_next ? BR_F32 : BR_NONE,
        .aux_kind = !x->is_moe   ? BR__AUX_NONE
                    : x->is_next ? BR__AUX_GLOBAL
                                 : BR__AUX_LOSS,
        .aux_coeff = recorded_opt(model, "moe_aux_loss_coeff", 0.001),
        .mtp = x->is_mtp,
        .native_ce = br__json_bool(br__json_get(x->r.config, "ce_fusion"), x->is_bf16),
    };
}

/* Where the run started from: weights of its own, or those that finetuning shares. */
static const char *model_dir(const struct run *x, char *out, size_t size)
{
    if (br__is_dir(recorded_path(&x->r, "hf", out, size)))
        return out;
    int n = snprintf(out, size, "%s/fixtures/train/hf_models/%s", getenv("BRIDGE_SHARED"),
                     br__json_str(br__json_get(x->r.config, "family"), ""));
    ck_assert(n > 0 && (size_t)n < size);
    return out;
}

/* "lora", "dora", or NULL. */
static const char *peft_of(const struct run *x)
{
    return br__json_str(br__json_get(x->r.config, "peft"), NULL);
}

static struct br__lora_opts lora_of(const struct run *x)
{
    static const char *targets[] = {"linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"};
    return (struct br__lora_opts){.targets = targets,
                                  .n_targets = x->is_moe ? 2 : 4,
                                  .dim = (int64_t)recorded_opt(x->r.config, "dim", 8),
                                  .alpha = recorded_opt(x->r.config, "alpha", 16),
                                  .dora = strcmp(peft_of(x), "dora") == 0,
                                  .bias_inside = 1};
}

static const struct br__trained *trained(const struct run *x, const char *name)
{
    for (size_t i = 0; i < x->n; i++)
        if (strcmp(x->list[i].name, name) == 0)
            return &x->list[i];
    ck_abort_msg("'%s' is not trained", name);
}

/* Copies the tensors of a safetensors file into the trained ones of the same name, or compares
 * them. */
static void exchange(struct run *x, const char *file, int compare)
{
    struct golden_file g = open_golden(x->r.dir, "", file);
    ck_assert_uint_eq(g.n, x->n);
    for (size_t i = 0; i < g.n; i++) {
        const struct br__st_entry *e = &g.entries[i];
        const struct br__trained *t = trained(x, e->name);
        float *want = malloc(t->n * sizeof *want);
        ck_assert_uint_eq(e->end - e->begin, t->n * br_dtype_size(e->dtype));
        br_cast(want, BR_F32, g.file.map + g.data + e->begin, e->dtype, t->n, 0);
        double d = max_diff(t->main, want, t->n);
        ck_assert_msg(!compare || d <= 2e-4, "'%s' differs by %g after the last step", t->name, d);
        if (!compare)
            memcpy(t->main, want, t->n * sizeof *want);
        free(want);
    }
    close_golden(&g);
    must(br__trainer_updated(x->t, 0, &err), &err);
}

static void run_open_with(struct run *x, const char *name, int threads, const struct variant *v)
{
    char p[1100];
    memset(x, 0, sizeof *x);
    recorded_open(&x->r, name);
    struct br__train_opts train = options_of(x);
    if (v) {
        train.recompute = v->recompute;
        train.recompute_layers = v->layers;
        train.recompute_modules = v->modules;
        train.values = v->values ? v->values : train.values;
        train.grads = v->grads;
        train.z_coeff = v->z_coeff;
        train.aux_kind = v->z_coeff != 0 ? BR__AUX_NONE : train.aux_kind;
    }
    const struct br__lora_opts lora = peft_of(x) ? lora_of(x) : (struct br__lora_opts){0};
    const struct br__llm_opts o = {.weights.hf_model = model_dir(x, p, sizeof p),
                                   .weights.lora = peft_of(x) ? &lora : NULL,
                                   .device = test_device(),
                                   .precision = BR_F32,
                                   .threads = threads};
    must(br__llm_open(&x->model, &o, &err), &err);
    x->values = train.values;
    must(br__trainer_open(&x->t, x->model, &train, &err), &err);
    x->list = br__trainer_list(x->t, 0, &x->n);
    x->grads = calloc(x->n, sizeof *x->grads);
    for (size_t i = 0; i < x->n; i++) {
        x->grads[i] = (struct br__grad_span){x->list[i].grad, x->list[i].n};
        x->elems += x->list[i].n;
    }
    x->moments = calloc(2 * x->elems, sizeof *x->moments);
    if (peft_of(x))
        exchange(x, "init_trainable.safetensors", 0);
}

static void run_open(struct run *x, const char *name, int threads)
{
    run_open_with(x, name, threads, NULL);
}

static void run_close(struct run *x)
{
    br__trainer_close(x->t);
    br__llm_close(x->model);
    recorded_close(&x->r);
    free(x->grads);
    free(x->moments);
}

/* What the micro batches of a step add up to. */
struct totals {
    double loss, counted, mtp, aux[8];
};

static void run_micro(struct run *x, const br__json *batch, struct totals *sum)
{
    static struct recorded_micro m;
    struct br__micro_out out;
    size_t n_micro = br__json_count(batch);
    for (const br__json *j = br__json_first(batch); j; j = br__json_next(j)) {
        recorded_micro(&m, j);
        double each = 1.0 / (double)n_micro, n = (double)m.n_tokens;
        const struct br__micro mb = {
            .n_tokens = m.n_tokens,
            .n_seqs = m.n_seqs,
            .ids = m.ids,
            .labels = m.labels,
            .mask = m.mask,
            .positions = m.positions,
            .seqs = m.seqs,
            .loss_scale = (float)(x->r.per_token ? 1 : each / fmax(1, m.counted)),
            .aux_scale = (float)(x->r.per_token ? n : each),
            .mtp_scale = (float)(0.1 * (x->r.per_token ? n : each)),
        };
        must(br__trainer_run(x->t, &mb, 1, &out, &err), &err);
        sum->loss += out.loss_sum;
        sum->counted += m.counted;
        sum->mtp += out.mtp;
        for (size_t i = 0; out.aux && i < out.n_moe; i++)
            sum->aux[i] += out.aux[i];
    }
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
}

/* What the fixtures' README allows. */
static double loss_tolerance(const struct run *x, int step)
{
    if (x->is_bf16)
        return x->is_moe ? 2e-2 : 6e-3;
    return step == 1 ? 2e-6 : 1e-5;
}
static double norm_tolerance(const struct run *x)
{
    if (x->is_bf16)
        return x->is_moe ? 3e-2 : 1e-2;
    return x->is_next ? 1e-3 : 1e-5;
}

static void compare_extra(const struct run *x, const struct totals *sum, const br__json *want,
                          int step)
{
    const char *key = x->is_next ? "global_load_balancing_loss" : "load_balancing_loss";
    const br__json *moe = br__json_get(br__json_get(want, "moe_raw_sum_over_microbatches"), key);
    int i = 0;
    for (const br__json *a = br__json_first(moe); a; a = br__json_next(a), i++)
        near_recorded("an aux loss", step, sum->aux[i], br__json_num(a, NAN),
                      x->is_bf16 ? 5e-2 : 5e-6);
    ck_assert(!x->is_moe || i > 0);
    if (x->is_mtp)
        near_recorded(
            "the MTP loss", step, sum->mtp,
            br__json_num(br__json_first(br__json_get(want, "mtp_raw_sum_over_microbatches")), NAN),
            1e-5);
}

static void adamw(struct run *x, const struct br__adamw_opts *o)
{
    float *m = x->moments, *v = m + x->elems;
    for (size_t i = 0; i < x->n; m += x->list[i].n, v += x->list[i].n, i++) {
        const struct br__trained *t = &x->list[i];
        struct br__adamw_opts mine = *o;
        if (!br__is_decayed(t->megatron, t->ndim, x->qk_norm))
            mine.weight_decay = 0;
        const struct br__adamw h = br__adamw_make(&mine);
        const struct br__adamw_arrays arrays = {.n = t->n,
                                                .param = t->main,
                                                .m = m,
                                                .v = v,
                                                .grad = t->grad,
                                                .copy = x->values == BR_BF16 ? t->bf16 : NULL};
        must(br__adamw_step(cpu_device(2), &h, &arrays, &err), &err);
    }
    must(br__trainer_updated(x->t, x->values == BR_BF16, &err), &err);
}

static void one_step(struct run *x, const br__json *batch, const br__json *want, int step)
{
    struct totals sum = {0};
    double norm;
    must(br__trainer_zero(x->t, &err), &err);
    run_micro(x, batch, &sum);
    double loss = sum.loss / sum.counted,
           want_loss = recorded_opt(br__json_get(want, "losses"), "lm loss", NAN);
    near_recorded("the loss", step, loss, want_loss, loss_tolerance(x, step));
    x->off += loss - want_loss;
    compare_extra(x, &sum, want, step);
    for (size_t i = 0; x->r.per_token && i < x->n; i++)
        for (size_t k = 0; k < x->list[i].n; k++)
            x->list[i].grad[k] *= (float)(1 / fmax(1, sum.counted));
    must(br__grad_norm(cpu_device(2), x->grads, x->n, &norm, &err), &err);
    double recorded = recorded_opt(want, "grad_norm", NAN);
    near_recorded("the gradient norm", step, norm, recorded, norm_tolerance(x) * recorded);
    const struct br__adamw_opts o = recorded_adamw(&x->r, want, step, norm);
    uint64_t zeros;
    must(br__count_zeros(cpu_device(2), x->grads, x->n, o.grad_scale, &zeros, &err), &err);
    if (!x->is_bf16) /* there, products underflow in another order */
        near_recorded("the count of zeros", step, (double)zeros,
                      recorded_opt(want, "num_zeros", NAN), 0);
    adamw(x, &o);
}

static void compare_final(const struct run *x)
{
    char p[1100];
    struct br__ckpt *ck;
    if (!br__is_dir(recorded_path(&x->r, "final", p, sizeof p)))
        return;
    must(br__ckpt_open(&ck, p, &err), &err);
    ck_assert_uint_eq(ck->n_tensors, x->n);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = &ck->tensors[i];
        size_t k = 0;
        while (k < x->n && strcmp(x->list[k].name, t->name) != 0)
            k++;
        ck_assert_msg(k < x->n && t->bytes == x->list[k].n * sizeof(float), "%s", t->name);
        float *want = malloc((size_t)t->bytes);
        must(br__ckpt_read(ck, t, 0, want, (size_t)t->bytes, &err), &err);
        for (size_t j = 0; j < x->list[k].n; j++)
            want[j] -= (float)x->list[k].minus_one;
        double d = max_diff(x->list[k].main, want, x->list[k].n);
        ck_assert_msg(d <= 5e-5, "'%s' differs by %g after the last step", t->name, d);
        free(want);
    }
    br__ckpt_close(ck);
}

/* Of a sample every fourth case has some steps: one of each family is among them. */
#define SAMPLE_STEPS 2

START_TEST(test_run)
{
    struct run x;
    int n = test_is_sampled() ? SAMPLE_STEPS : INT32_MAX, step = 1;
    if (test_is_sampled() && _i % 4 != 2)
        return;
    run_open(&x, cases[_i], TEST_THREADS);
    const br__json *batch = br__json_first(x.r.batches);
    for (const br__json *s = br__json_first(br__json_get(x.r.steps, "steps")); s && step <= n;
         s = br__json_next(s), batch = br__json_next(batch))
        one_step(&x, batch, s, step++);
    if (test_is_sampled()) {
        run_close(&x);
        return;
    }
    ck_assert_int_eq(step - 1, (int)recorded_opt(x.r.config, "iters", NAN));
    ck_assert_msg(fabs(x.off) / (step - 1) <= 2e-3, "losses differ by %g on average",
                  x.off / (step - 1));
    if (peft_of(&x) && !x.is_bf16)
        exchange(&x, "final_trainable.safetensors", 1);
    else if (!x.is_bf16)
        compare_final(&x);
    run_close(&x);
}
END_TEST

/* Of a sample every third case of what follows. */
static int is_left_out(int i)
{
    return test_is_sampled() && i % 3 != 0;
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Main weights after n steps, copied. */
static float *after_steps(const char *name, int n, int threads, size_t *elems)
{
    struct run x;
    run_open(&x, name, threads);
    const br__json *batch = br__json_first(x.r.batches);
    const br__json *s = br__json_first(br__json_get(x.r.steps, "steps"));
    for (int step = 1; step <= n; step++, s = br__json_next(s), batch = br__json_next(batch))
        one_step(&x, batch, s, step);
    float *out = malloc(x.elems * sizeof *out), *at = out;
    for (size_t i = 0; i < x.n; at += x.list[i].n, i++)
        memcpy(at, x.list[i].main, x.list[i].n * sizeof *at);
    *elems = x.elems;
    run_close(&x);
    return out;
}

static const char *const by_threads[] = {"runs/qwen2_fp32", "runs/qwen3_moe_bf16",
                                         "runs/qwen3_next_mtp_fp32", "sft/qwen2_packed",
                                         "dora/qwen3"};

START_TEST(test_threads)
{
    size_t n, m;
    if (is_left_out(_i))
        return;
    float *one = after_steps(by_threads[_i], 3, 1, &n);
    float *three = after_steps(by_threads[_i], 3, 3, &m);
    ck_assert_uint_eq(n, m);
    ck_assert_msg(memcmp(one, three, n * sizeof *one) == 0, "3 threads give other weights than 1");
    free(one);
    free(three);
}
END_TEST

/* ---- recompute ------------------------------------------------------------------------------- */

static const struct variant recomputes[] = {
    {"runs/qwen3_next_mtp_fp32", BR__RECOMPUTE_UNIFORM, 1, 0, 1, 0, 0, 0},
    {"runs/qwen3_next_mtp_fp32", BR__RECOMPUTE_BLOCK, 1, 0, 1, 0, 0, 0},
    {"runs/qwen3_moe_fp32", BR__RECOMPUTE_UNIFORM, 2, 0, 0, 0, 0, 0},
    {"runs/qwen3_moe_fp32", BR__RECOMPUTE_SELECTIVE, 0,
     BR__RECOMPUTE_LAYERNORM | BR__RECOMPUTE_MOE_ACT, 1, 0, 0, 0},
    {"runs/qwen3_next_fp32", BR__RECOMPUTE_SELECTIVE, 0,
     BR__RECOMPUTE_LAYERNORM | BR__RECOMPUTE_MOE | BR__RECOMPUTE_SHARED_EXPERTS, 1, 0, 0, 0},
    {"sft/qwen2_packed", BR__RECOMPUTE_SELECTIVE, 0, BR__RECOMPUTE_LAYERNORM | BR__RECOMPUTE_MLP, 1,
     0, 0, 0},
    {"dora/qwen3", BR__RECOMPUTE_UNIFORM, 1, 0, 1, 0, 0, 0},
    {"runs/qwen3_moe_bf16", BR__RECOMPUTE_UNIFORM, 1, 0, 1, 0, 0, 0},
};

static uint64_t bytes_held(const struct run *x)
{
    struct br__trainer_memory m;
    must(br__trainer_memory(x->t, 0, 0, &m, &err), &err);
    return m.weights + m.gradients + m.activations;
}

/* Gradients of the first batch, copied, and the memory of it. */
static float *gradients(const char *name, const struct variant *c, size_t *elems, uint64_t *bytes)
{
    struct run x;
    struct totals sum = {0};
    run_open_with(&x, name, TEST_THREADS, c);
    run_micro(&x, br__json_first(x.r.batches), &sum);
    float *out = malloc(x.elems * sizeof *out), *at = out;
    for (size_t i = 0; i < x.n; at += x.list[i].n, i++)
        memcpy(at, x.list[i].grad, x.list[i].n * sizeof *at);
    *elems = x.elems;
    *bytes = bytes_held(&x);
    run_close(&x);
    return out;
}

START_TEST(test_recompute)
{
    const struct variant *c = &recomputes[_i];
    uint64_t kept, again;
    size_t n, m;
    if (is_left_out(_i))
        return;
    float *want = gradients(c->name, NULL, &n, &kept), *got = gradients(c->name, c, &m, &again);
    ck_assert_uint_eq(n, m);
    ck_assert_msg(memcmp(want, got, n * sizeof *want) == 0, "other gradients when made again");
    ck_assert_msg(!c->falls || again < kept, "%llu bytes, %llu when all is kept",
                  (unsigned long long)again, (unsigned long long)kept);
    free(want);
    free(got);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

/* Beside adapters the weights of the model stay in its file, and no memory holds a second copy. */
START_TEST(test_frozen)
{
    struct run x;
    run_open(&x, "lora/qwen3", TEST_THREADS);
    const struct br__weights *w = br__llm_weights(x.model);
    one_step(&x, br__json_first(x.r.batches), br__json_first(br__json_get(x.r.steps, "steps")), 1);
    ck_assert_uint_eq(w->owned_bytes, 0);
    for (size_t i = 0; i < w->n_sources; i++)
        ck_assert_int_eq(w->sources[i].dtype, BR_BF16);
    for (size_t i = 0; i < x.n; i++)
        ck_assert_msg(strstr(x.list[i].name, ".adapter.") != NULL, "%s", x.list[i].name);
    run_close(&x);
}
END_TEST

/* ---- other dtypes ---------------------------------------------------------------------------- */

/* Three steps of a float32 run with another dtype somewhere stay near it. */
static void near_run(struct run *x)
{
    const br__json *batch = br__json_first(x->r.batches);
    const br__json *s = br__json_first(br__json_get(x->r.steps, "steps"));
    x->is_bf16 = 1; /* its tolerances */
    for (int step = 1; step <= 3; step++, s = br__json_next(s), batch = br__json_next(batch))
        one_step(x, batch, s, step);
}

START_TEST(test_float16)
{
    struct run x;
    run_open_with(&x, "runs/qwen3_fp32", TEST_THREADS, &(struct variant){.values = BR_F16});
    near_run(&x);
    for (size_t i = 0; i < x.n; i++) {
        uint16_t first;
        br_cast(&first, BR_F16, x.list[i].main, BR_F32, 1, 0);
        ck_assert_msg(x.list[i].bf16[0] == first, "%s", x.list[i].name);
    }
    run_close(&x);
}
END_TEST

START_TEST(test_rounded_gradients)
{
    struct run x;
    run_open_with(&x, "runs/qwen3_fp32", TEST_THREADS, &(struct variant){.grads = BR_BF16});
    near_run(&x);
    for (size_t i = 0; i < x.n; i++)
        for (size_t k = 0; k < x.list[i].n; k++) {
            uint32_t bits;
            memcpy(&bits, &x.list[i].grad[k], sizeof bits);
            ck_assert_msg(!(bits & 0xffff), "gradient of '%s' is no bfloat16", x.list[i].name);
        }
    run_close(&x);
}
END_TEST

/* ---- z-loss of the router -------------------------------------------------------------------- */

/* Sum over routed layers of the first micro batch's z-loss, which alone is differentiated. */
static double z_of(struct run *x, int backward)
{
    static struct recorded_micro m;
    struct br__micro_out out;
    recorded_micro(&m, br__json_first(br__json_first(x->r.batches)));
    const struct br__micro mb = {.n_tokens = m.n_tokens,
                                 .n_seqs = m.n_seqs,
                                 .ids = m.ids,
                                 .labels = m.labels,
                                 .mask = m.mask,
                                 .aux_scale = 1};
    must(br__trainer_updated(x->t, 0, &err), &err);
    must(br__trainer_run(x->t, &mb, backward, &out, &err), &err);
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
    double sum = 0;
    for (size_t i = 0; i < out.n_moe; i++)
        sum += out.z[i];
    return sum;
}

/* The derivative by one element of the first router is what differences say; and by itself the
 * value is about log(experts)^2 in a model whose router knows nothing yet. */
START_TEST(test_z)
{
    const float step = 2e-2f;
    struct run x;
    run_open_with(&x, "runs/qwen3_moe_fp32", TEST_THREADS, &(struct variant){.z_coeff = 0.5});
    const struct br__trained *w = trained(&x, "model.layers.1.mlp.gate.weight");
    double at = z_of(&x, 1);
    ck_assert_double_ge(at, 2 * log(4) * log(4) * 0.9);
    ck_assert_double_le(at, 2 * log(4) * log(4) * 3);
    for (size_t i = 0; i < w->n; i += w->n / 7) {
        float was = w->main[i];
        w->main[i] = was + step;
        double more = z_of(&x, 0);
        w->main[i] = was - step;
        double less = z_of(&x, 0);
        w->main[i] = was;
        double slope = 0.5 * (more - less) / (2 * (double)step);
        ck_assert_msg(fabs(slope - w->grad[i]) <= 1e-4 + 2e-3 * fabs(slope),
                      "element %zu: gradient %g, differences say %g", i, (double)w->grad[i], slope);
    }
    run_close(&x);
}
END_TEST

int main(void)
{
    int rc = need_fixture("train/runs");
    if (rc)
        return rc;
    Suite *s = suite_create("trainer");
    TCase *tc = tcase_create("trainer");
    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, test_run, 0, BR_COUNTOF(cases));
    tcase_add_test(tc, test_frozen);
    tcase_add_test(tc, test_float16);
    tcase_add_test(tc, test_rounded_gradients);
    tcase_add_test(tc, test_z);
    if (!test_is_sampled() || strcmp(test_device(), "cuda") != 0) {
        tcase_add_loop_test(tc, test_recompute, 0, BR_COUNTOF(recomputes));
        tcase_add_loop_test(tc, test_threads, 0, BR_COUNTOF(by_threads));
    }
    suite_add_tcase(s, tc);
    return run_suite(s);
}
