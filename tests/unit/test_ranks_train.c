/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_ranks_train.c - the trainer over ranks that are threads: losses and gradients of every
 * family's toy under each way to share it must be those of one rank, which test_trainer.c compares
 * with Megatron. */
#include "libgolden.h"
#include "librun.h"
#include "train/ckpt.h"
#include "train/state.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

/* ---- toys ------------------------------------------------------------------------------------ */

#define VOCAB 96
#define COMMON                                                                                     \
    "\"attention_bias\": false, \"head_dim\": 8, \"hidden_act\": \"silu\", \"hidden_size\": 24, "  \
    "\"initializer_range\": 0.02, \"intermediate_size\": 32, \"max_position_embeddings\": 64, "    \
    "\"num_attention_heads\": 8, \"num_hidden_layers\": 8, \"num_key_value_heads\": 4, "           \
    "\"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"torch_dtype\": \"float32\", "              \
    "\"vocab_size\": 96"
#define ROUTED                                                                                     \
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"moe_intermediate_size\": 8, "          \
    "\"norm_topk_prob\": true, \"num_experts\": 8, \"num_experts_per_tok\": 2"

enum toy { QWEN2, QWEN3, MOE, NEXT, MTP, N_TOYS };
static const struct {
    const char *name, *config;
    int64_t mtp;
} toys[N_TOYS] = {
    {"qwen2",
     "{\"architectures\": [\"Qwen2ForCausalLM\"], \"model_type\": \"qwen2\", "
     "\"hidden_act\": \"silu\", \"hidden_size\": 32, \"initializer_range\": 0.02, "
     "\"intermediate_size\": 32, \"max_position_embeddings\": 64, \"num_attention_heads\": 8, "
     "\"num_hidden_layers\": 8, \"num_key_value_heads\": 4, \"rms_norm_eps\": 1e-6, "
     "\"rope_theta\": 10000.0, \"torch_dtype\": \"float32\", \"vocab_size\": 96, "
     "\"tie_word_embeddings\": true}",
     0},
    {"qwen3",
     "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", " COMMON ", "
     "\"tie_word_embeddings\": false}",
     0},
    {"qwen3_moe",
     "{\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", " COMMON
     ", " ROUTED ", \"tie_word_embeddings\": false}",
     0},
    {"qwen3_next",
     "{\"architectures\": [\"Qwen3NextForCausalLM\"], \"model_type\": \"qwen3_next\", " COMMON
     ", " ROUTED ", \"full_attention_interval\": 4, \"linear_conv_kernel_dim\": 4, "
     "\"linear_key_head_dim\": 4, \"linear_num_key_heads\": 4, \"linear_num_value_heads\": 8, "
     "\"linear_value_head_dim\": 4, \"partial_rotary_factor\": 0.25, "
     "\"shared_expert_intermediate_size\": 8, \"tie_word_embeddings\": false}",
     0},
    {"qwen3_next with MTP",
     "{\"architectures\": [\"Qwen3NextForCausalLM\"], \"model_type\": \"qwen3_next\", " COMMON
     ", " ROUTED ", \"full_attention_interval\": 4, \"linear_conv_kernel_dim\": 4, "
     "\"linear_key_head_dim\": 4, \"linear_num_key_heads\": 4, \"linear_num_value_heads\": 8, "
     "\"linear_value_head_dim\": 4, \"partial_rotary_factor\": 0.25, "
     "\"shared_expert_intermediate_size\": 8, \"tie_word_embeddings\": false, "
     "\"mtp_num_hidden_layers\": 1, \"num_nextn_predict_layers\": 1}",
     1},
};

/* ---- ways to share it ------------------------------------------------------------------------ */

enum adapters { NO_ADAPTERS, LORA, DORA };
struct sharing {
    uint32_t tp, sp, cp, pp, ep, etp, dp, vpp;
    uint32_t families; /* bits 1 << enum toy */
    int values;        /* BR_BF16; 0: float32 */
    int adapters;      /* enum adapters: what is trained */
    int adds_up;       /* its data-parallel ranks have batches of their own */
};
#define DENSE (1U << QWEN2 | 1U << QWEN3)
#define ROUTERS (1U << MOE | 1U << NEXT)
#define MOES (ROUTERS | 1U << MTP)
static const struct sharing sharings[] = {
    {2, 0, 1, 1, 1, 1, 1, 1, DENSE, 0, 0, 0},
    {2, 1, 1, 1, 1, 1, 1, 1, DENSE | MOES, 0, 0, 0},
    {4, 1, 1, 1, 1, 1, 1, 1, DENSE | ROUTERS, 0, 0, 0},
    {2, 1, 1, 1, 1, 2, 1, 1, ROUTERS, 0, 0, 0},
    {1, 0, 1, 1, 1, 1, 2, 1, DENSE | ROUTERS, 0, 0, 0},
    {1, 0, 1, 1, 2, 1, 2, 1, ROUTERS, 0, 0, 0},
    {1, 0, 1, 1, 1, 2, 2, 1, ROUTERS, 0, 0, 0},
    {2, 1, 1, 1, 2, 1, 1, 1, ROUTERS, 0, 0, 0},
    {1, 0, 1, 2, 1, 1, 1, 1, DENSE | MOES, 0, 0, 0},
    {1, 0, 1, 2, 1, 1, 1, 2, DENSE | MOES, 0, 0, 0},
    {1, 0, 1, 4, 1, 1, 1, 1, DENSE | ROUTERS, 0, 0, 0},
    {2, 1, 1, 2, 1, 1, 2, 1, DENSE | MOES, 0, 0, 0},
    {1, 0, 2, 1, 1, 1, 1, 1, DENSE | MOES, 0, 0, 0},
    {1, 0, 4, 1, 1, 1, 1, 1, DENSE | ROUTERS, 0, 0, 0},
    {2, 1, 2, 1, 1, 1, 1, 1, DENSE | ROUTERS, 0, 0, 0},
    {1, 0, 2, 2, 2, 1, 1, 1, ROUTERS, 0, 0, 0},
    {2, 0, 1, 1, 1, 1, 1, 1, DENSE, 0, LORA, 0},
    {2, 1, 1, 2, 1, 1, 1, 1, DENSE | 1U << MOE, 0, LORA, 0},
    {4, 1, 1, 1, 1, 1, 1, 1, DENSE, 0, DORA, 0},
    {1, 0, 2, 1, 2, 1, 1, 1, 1U << MOE, 0, LORA, 0},
    {2, 1, 1, 1, 1, 2, 1, 1, 1U << MOE, 0, LORA, 0},
    {2, 1, 1, 1, 2, 2, 2, 1, 1U << MOE, 0, LORA, 0},
    {1, 0, 1, 1, 1, 2, 2, 1, 1U << MOE, 0, LORA, 0},
    {2, 1, 1, 1, 1, 1, 1, 1, 1U << QWEN2 | 1U << MTP, BR_BF16, 0, 0},
    {1, 0, 2, 1, 1, 1, 1, 1, 1U << QWEN3 | 1U << NEXT, BR_BF16, 0, 0},
    {1, 0, 1, 2, 1, 1, 1, 2, 1U << QWEN3 | 1U << MTP, BR_BF16, 0, 0},
};

/* ---- batches --------------------------------------------------------------------------------- */

#define MICROS 4 /* of each data-parallel rank */
#define TOKENS 32
struct batch {
    int32_t ids[TOKENS], labels[TOKENS];
    float mask[TOKENS];
    double counted;
    const int32_t *seqs; /* [n_seqs], or NULL: of one length */
    int64_t n_seqs;
};

static uint32_t next_number(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Masks are not equal, and every fifth batch has none of its tokens counted.  Every second batch is
 * packed, of dense models into sequences of any length. */
static void make_batch(struct batch *b, uint32_t number, enum toy toy)
{
    static const int32_t even[] = {0, 8, 24}, any[] = {0, 5, 21};
    uint32_t seed = number + 5;
    memset(b, 0, sizeof *b);
    int packed = number % 2 && toy != MTP;
    b->n_seqs = packed ? 3 : 2;
    b->seqs = packed ? toy < MOE ? any : even : NULL;
    for (int i = 0; i < TOKENS; i++) {
        b->ids[i] = (int32_t)(next_number(&seed) % VOCAB);
        b->labels[i] = (int32_t)(next_number(&seed) % VOCAB);
        b->mask[i] = number % 5 != 4 && next_number(&seed) % 4 < 1 + number % 3;
        b->counted += (double)b->mask[i];
    }
}

static struct br__micro micro_of(const struct batch *b, size_t n)
{
    float each = 1 / (float)n;
    return (struct br__micro){.n_tokens = TOKENS,
                              .n_seqs = b->n_seqs,
                              .seqs = b->seqs,
                              .ids = b->ids,
                              .labels = b->labels,
                              .mask = b->mask,
                              .loss_scale = each / (float)fmax(1, b->counted),
                              .aux_scale = each,
                              .mtp_scale = 0.1F * each};
}

/* ---- a model that trains --------------------------------------------------------------------- */

struct trainer {
    struct br__llm *m;
    struct br__trainer *t;
};

/* moe_aux_loss_coeff and moe_z_loss_coeff. */
static struct {
    double aux, z;
} coefficients = {0.01, 0.01};

/* Of banks; 0: there are two at most. */
static size_t bucket;
static int (*bank_ready)(void *arg, uint32_t i, size_t bank, struct br_err *e);

/* Of pipeline stages; NULL: even. */
static const char *layout;

/* Each kind of load-balancing loss that does not depend on how batches are shared out. */
static int always_global;
static int aux_of(enum toy toy, const struct sharing *s)
{
    if (always_global)
        return BR__AUX_GLOBAL;
    if (toy < MOE)
        return BR__AUX_NONE;
    if (toy == MTP)
        return BR__AUX_SEQ;
    return toy == NEXT && !s->adds_up ? BR__AUX_GLOBAL : BR__AUX_LOSS;
}

static const char *targets[] = {"linear_qkv", "linear_proj", "linear_fc1", "linear_fc2"};

/* Adapters begin as zeros, which would have no gradient: a value depends on the tensor and the
 * place in it. */
static void fill_adapters(struct trainer *x, const struct br__trained *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct br__trained *t = &list[i];
        uint32_t name = 1;
        for (const char *c = t->name; *c; c++)
            name = name * 31 + (uint32_t)*c;
        for (size_t k = 0; k < t->n_rows && t->ndim > 1; k++)
            for (size_t j = 0; j < (size_t)(t->rows[k].n * t->n_cols); j++) {
                uint32_t row = (uint32_t)t->rows[k].row + (uint32_t)(j / (size_t)t->n_cols);
                uint32_t col = (uint32_t)t->col + (uint32_t)(j % (size_t)t->n_cols);
                uint32_t seed = name + 1000 * row + col;
                t->main[t->rows[k].at + j] = (float)(next_number(&seed) % 2001) * 1e-4F - 0.1F;
            }
    }
    must(br__trainer_updated(x->t, 0, &err), &err);
}

static struct trainer open_trainer(enum toy toy, const struct sharing *s)
{
    static struct trainer x; /* bank_ready is told where it is */
    const struct br__run run = {.config_text = toys[toy].config,
                                .seed = 3,
                                .params_dtype = s->values ? s->values : BR_F32,
                                .mtp_layers = toys[toy].mtp};
    struct br__llm_opts o = {.device = test_device(),
                             .tp = s->tp,
                             .cp = s->cp,
                             .pp = s->pp,
                             .ep = s->ep,
                             .etp = s->etp,
                             .dp = s->dp,
                             .threads = 1};
    const struct br__train_opts t = {
        .values = s->values ? s->values : BR_F32,
        .router_dtype = BR_F32,
        .mtp = (int)toys[toy].mtp,
        .stages = {.vpp = s->vpp > 1 ? s->vpp : 0, .layout = s->pp > 1 ? layout : NULL},
        .sequence_parallel = (int)s->sp,
        .aux_kind = aux_of(toy, s),
        .aux_coeff = toy >= MOE ? coefficients.aux : 0,
        .z_coeff = toy >= MOE ? coefficients.z : 0,
        .bucket = bucket,
        .bank_ready = bank_ready,
        .bank_arg = &x};
    must(br__init_source_open(&o.weights.source, &run, 0, &err), &err);
    const struct br__lora_opts lora = {.targets = targets,
                                       .n_targets = BR_COUNTOF(targets),
                                       .dim = 4,
                                       .alpha = 8,
                                       .dora = s->adapters == DORA,
                                       .bias_inside = 1};
    if (s->adapters)
        o.weights.lora = &lora;
    must(br__llm_open(&x.m, &o, &err), &err);
    must(br__trainer_open(&x.t, x.m, &t, &err), &err);
    for (uint32_t i = 0; i < br__llm_n_ranks(x.m) && s->adapters; i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x.t, i, &n);
        fill_adapters(&x, list, n);
    }
    return x;
}

static void close_trainer(struct trainer *x)
{
    br__trainer_close(x->t);
    br__llm_close(x->m);
}

static uint32_t coordinate(const struct trainer *x, uint32_t i, enum br_axis axis)
{
    return br_topo_coord(br__llm_topo(x->m), br__llm_rank(x->m, i)->rank, axis);
}

/* What a step made: of all ranks together. */
struct result {
    double loss, mtp, aux, z;
    size_t n;         /* tensors */
    float *grad[512]; /* whole */
    const char *name[512];
    size_t elems[512];
};

static void add_losses(const struct trainer *x, const struct br__micro_out *out, struct result *r)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        if (coordinate(x, i, BR_AXIS_TP) > 0)
            continue;
        r->loss += out[i].loss_sum;
        r->mtp += out[i].mtp;
        if (coordinate(x, i, BR_AXIS_CP) > 0)
            continue;
        for (size_t k = 0; k < out[i].n_moe; k++) {
            r->aux += out[i].aux ? out[i].aux[k] : 0;
            r->z += out[i].z ? out[i].z[k] : 0;
        }
    }
}

/* The whole tensor of that name, of zeros if it is new. */
static float *whole(struct result *r, const struct br__trained *t)
{
    size_t i = 0, n = 1;
    for (int k = 0; k < t->ndim; k++)
        n *= (size_t)t->shape[k];
    while (i < r->n && strcmp(r->name[i], t->name))
        i++;
    if (i == r->n) {
        ck_assert_uint_lt(r->n, BR_COUNTOF(r->grad));
        r->name[i] = strdup(t->name);
        r->grad[i] = calloc(n, sizeof(float));
        r->elems[i] = n;
        r->n++;
    }
    ck_assert_uint_eq(r->elems[i], n);
    return r->grad[i];
}

static void add_tensor(struct result *r, const struct br__trained *t)
{
    int64_t cols = t->ndim == 1 ? 1 : t->shape[t->ndim - 1];
    float *to = whole(r, t);
    for (size_t i = 0; i < t->n_rows; i++)
        for (int64_t row = 0; row < t->rows[i].n; row++)
            for (int64_t col = 0; col < t->n_cols; col++)
                to[(t->rows[i].row + row) * cols + t->col + col] +=
                    t->grad[t->rows[i].at + (size_t)(row * t->n_cols + col)];
}

/* What all tensor-parallel ranks hold whole counts once. */
static void add_gradients(const struct trainer *x, struct result *r)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++)
            if (!list[k].copied && (!list[k].shared || coordinate(x, i, BR_AXIS_TP) == 0))
                add_tensor(r, &list[k]);
    }
}

/* A step of n batches, MICROS on each data-parallel rank. */
static void run_step(struct trainer *x, const struct batch *batches, size_t n, struct result *r)
{
    uint32_t ranks = br__llm_n_ranks(x->m);
    uint32_t dp = br__llm_topo(x->m)->size[BR_AXIS_DP];
    struct br__micro mb[64];
    struct br__micro_out out[64];
    ck_assert_uint_le(n / dp * ranks, BR_COUNTOF(mb));
    memset(r, 0, sizeof *r);
    for (size_t k = 0; k < n / dp; k++)
        for (uint32_t i = 0; i < ranks; i++)
            mb[k * ranks + i] = micro_of(&batches[k * dp + coordinate(x, i, BR_AXIS_DP)], n);
    must(br__trainer_zero(x->t, &err), &err);
    must(br__trainer_step(x->t, mb, n / dp, 1, out, &err), &err);
    for (size_t k = 0; k < n / dp; k++)
        add_losses(x, out + k * ranks, r);
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
    add_gradients(x, r);
}

static void free_result(struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->grad[i]);
        free((void *)(uintptr_t)r->name[i]);
    }
}

static const struct sharing alone = {1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};

static void near(const char *what, double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance * fmax(1, fabs(want)),
                  "%s: %.9g, one rank has %.9g", what, got, want);
}

/* What one rank would compute in the same order. */
static int is_same_order(const struct sharing *s, enum toy toy)
{
    return s->pp > 1 && s->tp * s->cp * s->dp == 1 && toy != QWEN2 && toy != MTP;
}

static void compare_losses(const struct result *got, const struct result *want, double tolerance)
{
    near("loss", got->loss, want->loss, tolerance);
    near("MTP loss", got->mtp, want->mtp, tolerance);
    near("aux loss", got->aux, want->aux, tolerance);
    near("z loss", got->z, want->z, tolerance);
}

/* Each tensor within `each`, and all together within `all`, of their length. */
static void compare_gradients(const struct result *got, const struct result *want, double each,
                              double all)
{
    double length = 0, off = 0;
    ck_assert_uint_eq(got->n, want->n);
    for (size_t i = 0; i < want->n; i++) {
        size_t k = 0;
        while (k < got->n && strcmp(got->name[k], want->name[i]))
            k++;
        ck_assert_msg(k < got->n, "'%s' is not trained", want->name[i]);
        double d = rel_l2(got->grad[k], want->grad[i], want->elems[i]);
        ck_assert_msg(d <= each, "gradient of '%s' is %g off", want->name[i], d);
        for (size_t j = 0; j < want->elems[i]; j++) {
            double x = (double)want->grad[i][j], y = (double)got->grad[k][j] - x;
            length += x * x;
            off += y * y;
        }
    }
    ck_assert_msg(sqrt(off / length) <= all, "gradients are %g off", sqrt(off / length));
}

/* A step of the toy shared so; `spoil` changes its weights first. */
static void step_of(enum toy toy, const struct sharing *s, const struct batch *batches, size_t n,
                    void (*spoil)(struct trainer *x), struct result *r)
{
    struct trainer x = open_trainer(toy, s);
    if (spoil)
        spoil(&x);
    run_step(&x, batches, n, r);
    close_trainer(&x);
}

/* On devices, which may be simulated, a sample is of few cases and micro batches. */
static int samples_device(void)
{
    return test_is_sampled() && strcmp(test_device(), "cpu") != 0;
}

static void same_as_alone(enum toy toy, const struct sharing *way, void (*spoil)(struct trainer *x))
{
    static struct batch batches[16];
    static struct result got, want;
    struct sharing one = alone, shared = *way, *s = &shared;
    size_t n = (samples_device() ? s->pp : MICROS) * s->dp;
    one.values = s->values;
    one.adapters = s->adapters;
    one.adds_up = s->adds_up = s->dp > 1;
    for (uint32_t i = 0; i < n; i++)
        make_batch(&batches[i], i + 3, toy);
    step_of(toy, &one, batches, n, spoil, &want);
    step_of(toy, s, batches, n, spoil, &got);
    if (is_same_order(s, toy)) {
        compare_losses(&got, &want, 0);
        compare_gradients(&got, &want, 0, 0);
    } else if (s->values) {
        compare_losses(&got, &want, 2e-3);
        compare_gradients(&got, &want, toy >= MOE ? 1 : 0.15, 5e-2); /* experts flip */
    } else {
        compare_losses(&got, &want, 1e-6);
        /* over fewer micro batches less of the rounding cancels */
        compare_gradients(&got, &want, samples_device() ? 1e-4 : 3e-5, 1e-5);
    }
    free_result(&got);
    free_result(&want);
}

/* A sample takes a family or two of each way; on a device, where each takes seconds, each way
 * once. */
static int is_taken(int way, enum toy toy)
{
    static const struct {
        int way;
        enum toy toy;
    } devices[] = {{3, MOE}, {5, MOE}, {8, QWEN3}, {12, NEXT}};
    if (!test_is_sampled())
        return 1;
    if (!samples_device())
        return (way + (int)toy) % 3 == 0;
    for (size_t i = 0; i < BR_COUNTOF(devices); i++)
        if (devices[i].way == way && devices[i].toy == toy)
            return 1;
    return 0;
}

START_TEST(test_shared)
{
    const struct sharing *s = &sharings[_i / N_TOYS];
    enum toy toy = (enum toy)(_i % N_TOYS);
    if (!(s->families >> toy & 1) || !is_taken(_i / N_TOYS, toy))
        return;
    same_as_alone(toy, s, NULL);
}
END_TEST

/* Routers that like all experts alike: all tokens go to the first two. */
static void blunt_routers(struct trainer *x)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++)
            if (strstr(list[k].name, ".mlp.gate.weight"))
                memset(list[k].main, 0, list[k].n * sizeof *list[k].main);
    }
    must(br__trainer_updated(x->t, 0, &err), &err);
}

START_TEST(test_unbalanced)
{
    static const struct sharing list[] = {{1, 0, 1, 1, 2, 1, 2, 1, 0, 0, 0, 0},
                                          {2, 1, 1, 1, 2, 1, 1, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 1, 2, 2, 1, 0, 0, 0, 0}};
    same_as_alone(_i % 2 ? NEXT : MOE, &list[_i / 2], blunt_routers);
}
END_TEST

/* The prediction layer on a stage before the last, on one of its own, and with stages between it
 * and the output layer. */
START_TEST(test_layouts)
{
    static const struct {
        const char *layout;
        struct sharing s;
    } list[] = {{"Etttttttt|mL", {1, 0, 1, 2, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Ettttttttm|L", {1, 0, 1, 2, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Etttt|ttttm|L", {1, 0, 1, 3, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Etttt|tttt|m|L", {1, 0, 1, 4, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Etttt|ttt|tm|L", {1, 0, 1, 2, 1, 1, 1, 2, 0, 0, 0, 0}},
                {"Etttt|ttttm|L", {2, 1, 1, 3, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Etttt|tttt|m|L", {1, 0, 2, 4, 1, 1, 1, 1, 0, 0, 0, 0}},
                {"Etttt|ttttm|L", {2, 1, 1, 3, 1, 1, 1, 1, 0, BR_BF16, 0, 0}}};
    layout = list[_i].layout;
    same_as_alone(MTP, &list[_i].s, NULL);
    layout = NULL;
}
END_TEST

/* ---- rows that travel to experts ------------------------------------------------------------- */

#define RANKS 4
#define LAYERS 8
#define HIDDEN 24
#define EXPERTS 8
#define CHOSEN 2 /* experts of a token */

/* What a rank gives to and gets from all_to_all, and the rows that experts' products are given. */
struct traffic {
    struct br_comm *comm;
    struct br_comm_ops ops;
    const struct br_comm_ops *real;
    size_t n, sent[4 * LAYERS], received[4 * LAYERS];
    struct br__device *device;
    struct br_kernel kernels[1024];
    void (*product)(const struct br_call *c);
    size_t n_products;
    int64_t rows[3 * LAYERS], used[3 * LAYERS];
};
static struct traffic traffic[RANKS];

static size_t sum_of(const size_t *n, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += n[i];
    return sum;
}

static int counted_all_to_all(struct br_comm *c, void *out, const size_t *recv_counts,
                              const void *in, const size_t *send_counts, uint32_t dtype,
                              struct br_err *e)
{
    struct traffic *t = traffic;
    while (t->comm != c)
        t++;
    ck_assert_uint_lt(t->n, BR_COUNTOF(t->sent));
    t->sent[t->n] = sum_of(send_counts, c->size);
    t->received[t->n++] = sum_of(recv_counts, c->size);
    return t->real->all_to_all(c, out, recv_counts, in, send_counts, dtype, e);
}

static void counted_product(const struct br_call *c)
{
    struct traffic *t = traffic;
    while (t->device->device != c->device)
        t++;
    ck_assert_uint_lt(t->n_products, BR_COUNTOF(t->rows));
    t->rows[t->n_products] = c->in[0].shape[0];
    t->used[t->n_products++] = ((const int32_t *)c->in[2].data)[c->in[2].shape[0] - 1];
    t->product(c);
}

static void count_rank(struct traffic *t, struct br_comm *comm, struct br__device *device)
{
    *t = (struct traffic){.comm = comm, .ops = *comm->ops, .real = comm->ops, .device = device};
    t->ops.all_to_all = counted_all_to_all;
    comm->ops = &t->ops;
    ck_assert_uint_le(device->n_kernels, BR_COUNTOF(t->kernels));
    memcpy(t->kernels, device->kernels, device->n_kernels * sizeof t->kernels[0]);
    for (uint32_t i = device->n_kernels; i-- > 0;)
        if (t->kernels[i].op == BR_OP_GROUPED_MATMUL && t->kernels[i].weights & BR_BIT(BR_F32)) {
            t->product = t->kernels[i].run;
            t->kernels[i].run = counted_product;
        }
    device->kernels = t->kernels;
}

/* Forward, of one micro batch a rank. */
static uint32_t run_counted(const struct sharing *s, void (*spoil)(struct trainer *x))
{
    static struct batch batches[RANKS];
    struct trainer x = open_trainer(MOE, s);
    uint32_t n = br__llm_n_ranks(x.m);
    struct br__micro mb[RANKS];
    struct br__micro_out out[RANKS];
    const struct br_kernel *kernels[RANKS];
    ck_assert_uint_le(n, RANKS);
    if (spoil)
        spoil(&x);
    for (uint32_t i = 0; i < n; i++) {
        struct br__device *d = br__trainer_device(x.t, i);
        uint32_t dp = coordinate(&x, i, BR_AXIS_DP);
        kernels[i] = d->kernels;
        count_rank(&traffic[i], br__llm_rank(x.m, i)->comms[BR_GROUP_EP], d);
        make_batch(&batches[dp], dp + 3, MOE);
        mb[i] = micro_of(&batches[dp], 1);
    }
    must(br__trainer_run(x.t, mb, 0, out, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        traffic[i].comm->ops = traffic[i].real;
        traffic[i].device->kernels = kernels[i];
    }
    close_trainer(&x);
    return n;
}

/* A rank sends a row for each choice of its own tokens, gets those for its experts, and computes
 * no other; and the results go back.  all: of each layer, the rows of all ranks together. */
static void check_traffic(const struct traffic *t, size_t own, size_t all, size_t *rows)
{
    ck_assert_uint_eq(t->n, 4 * LAYERS);
    ck_assert_uint_eq(t->n_products, 3 * LAYERS);
    for (size_t l = 0; l < LAYERS; l++) {
        const size_t *sent = &t->sent[4 * l], *received = &t->received[4 * l];
        size_t got = received[2];
        ck_assert_uint_eq(sent[0], EXPERTS); /* counts */
        ck_assert_uint_eq(received[0], EXPERTS);
        ck_assert_uint_eq(sent[1], own * HIDDEN);
        ck_assert_uint_eq(received[1], got * HIDDEN);
        ck_assert_uint_eq(sent[2], own); /* shares */
        ck_assert_uint_eq(sent[3], got * HIDDEN);
        ck_assert_uint_eq(received[3], own * HIDDEN);
        ck_assert_uint_le(got, all);
        for (size_t k = 3 * l; k < 3 * l + 3; k++) {
            ck_assert_int_eq(t->used[k], (int64_t)got);
            ck_assert_int_eq(t->rows[k], (int64_t)(got ? got : 1));
        }
        rows[l] += got;
    }
}

START_TEST(test_traffic)
{
    static const struct sharing list[] = {{1, 0, 1, 1, 2, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 4, 1, 4, 1, 0, 0, 0, 0},
                                          {2, 1, 1, 1, 2, 1, 1, 1, 0, 0, 0, 0}};
    const struct sharing *s = &list[_i / 2];
    size_t rows[LAYERS] = {0}, own = TOKENS / s->tp * CHOSEN, all = own * s->ep;
    uint32_t n = run_counted(s, _i % 2 ? blunt_routers : NULL);
    for (uint32_t i = 0; i < n; i++)
        check_traffic(&traffic[i], own, all, rows);
    for (size_t l = 0; l < LAYERS; l++) {
        ck_assert_uint_eq(rows[l], all);
        for (uint32_t i = 0; i < n && _i % 2; i++) /* all want experts that the first rank has */
            ck_assert_uint_eq(traffic[i].received[4 * l + 2], i ? 0 : all);
    }
}
END_TEST

/* ---- the train loop's normalisation, against formulas ---------------------------------------- */

#define ROW 16 /* tokens of a sequence; two make a micro batch */

/* What the train loop makes of batches[micros * dp] before its optimizer: gradients of all ranks
 * together as they enter the norm, and sums of the losses. */
static void run_batches(struct trainer *x, struct batch *batches, int per_token, struct result *r,
                        struct br__loss_sums *total)
{
    struct br__batch micro[2][MICROS];
    struct br__step steps[2];
    static int32_t ends[] = {ROW, TOKENS}, n_real[] = {ROW, ROW}, positions[TOKENS];
    const struct br_topo *topo = br__llm_topo(x->m);
    struct br__run run = {
        .topo = *topo, .micro_batch = 2, .seq_length = ROW, .per_token = per_token};
    run.aux = aux_of(MOE, &alone);
    struct br__train_rank ranks[8] = {0};
    struct br__loss_sums sums[8] = {0};
    const struct br__step *of[8];
    struct br__train t = {.run = &run,
                          .model = x->m,
                          .trainer = x->t,
                          .ranks = ranks,
                          .n_ranks = br__llm_n_ranks(x->m),
                          .moe = 1};
    uint32_t dp = topo->size[BR_AXIS_DP], shares = per_token ? 1 : dp * topo->size[BR_AXIS_CP];
    t.s.scaler.scale = 1;
    for (int i = 0; i < TOKENS; i++)
        positions[i] = i % ROW;
    for (uint32_t d = 0; d < dp; d++) {
        for (uint32_t k = 0; k < MICROS; k++) {
            struct batch *b = &batches[k * dp + d];
            micro[d][k] = (struct br__batch){.n_rows = 2,
                                             .length = ROW,
                                             .ids = b->ids,
                                             .labels = b->labels,
                                             .positions = positions,
                                             .weights = b->mask,
                                             .n_real = n_real,
                                             .ends = ends,
                                             .n_ends = 2,
                                             .n_loss = b->counted};
        }
        steps[d] = (struct br__step){.n_micro = MICROS, .micro = micro[d]};
    }
    for (uint32_t i = 0; i < t.n_ranks; i++) {
        ranks[i].info = br__llm_rank(x->m, i);
        of[i] = &steps[coordinate(x, i, BR_AXIS_DP)];
    }
    memset(r, 0, sizeof *r);
    must(br__trainer_zero(x->t, &err), &err);
    must(br__train_batches(&t, of, 1, sums, &err), &err);
    must(br__train_total(&t, sums, total, &err), &err);
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
    add_gradients(x, r);
    for (size_t i = 0; i < r->n; i++)
        for (size_t k = 0; k < r->elems[i]; k++)
            r->grad[i][k] /= (float)shares;
    for (uint32_t i = 0; i < t.n_ranks; i++)
        br__train_rooms_free(&ranks[i]);
}

/* The rank of cp that has a token: a sequence is cut into 2 cp chunks, rank r has numbers r and
 * 2 cp - 1 - r. */
static uint32_t owner_of(int token, uint32_t cp)
{
    uint32_t chunk = (uint32_t)(token % ROW) / (ROW / (2 * cp));
    return chunk < cp ? chunk : 2 * cp - 1 - chunk;
}

/* How much the loss of each token of a batch weighs in the whole: Megatron's mean over micro
 * batches, data-parallel and context-parallel ranks of the mean over the tokens of each; or, per
 * token, 1 (what comes after divides by how many there are). */
static void weigh(const struct batch *b, const struct sharing *s, int per_token, float *weight)
{
    double counted[4] = {0};
    for (int i = 0; i < TOKENS; i++)
        counted[owner_of(i, s->cp)] += (double)b->mask[i];
    for (int i = 0; i < TOKENS; i++)
        weight[i] = per_token ? b->mask[i]
                              : (float)((double)b->mask[i] / fmax(1, counted[owner_of(i, s->cp)]) /
                                        (MICROS * s->dp * s->cp));
}

/* Gradients of the sum of weight * loss, on one rank. */
static void run_weighted(enum toy toy, const struct sharing *s, const struct batch *batches,
                         int per_token, struct result *r)
{
    static float weight[MICROS * 2][TOKENS];
    struct trainer x = open_trainer(toy, &alone);
    struct br__micro mb[MICROS * 2];
    struct br__micro_out out[MICROS * 2];
    size_t n = MICROS * s->dp;
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < n; i++) {
        weigh(&batches[i], s, per_token, weight[i]);
        mb[i] = (struct br__micro){.n_tokens = TOKENS,
                                   .n_seqs = 2,
                                   .ids = batches[i].ids,
                                   .labels = batches[i].labels,
                                   .mask = weight[i],
                                   .loss_scale = 1};
    }
    must(br__trainer_zero(x.t, &err), &err);
    must(br__trainer_step(x.t, mb, n, 1, out, &err), &err);
    must(br__trainer_gradients(x.t, &err), &err);
    must(br__trainer_fetch(x.t, &err), &err);
    add_gradients(&x, r);
    close_trainer(&x);
}

START_TEST(test_masks)
{
    static const struct sharing list[] = {{1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {2, 1, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0}};
    static const enum toy families[] = {QWEN2, QWEN3, NEXT};
    static struct batch batches[MICROS * 2];
    static struct result got, want;
    const struct sharing *s = &list[_i / 6];
    int per_token = _i % 2;
    enum toy toy = families[_i / 2 % 3];
    struct br__loss_sums total;
    double counted = 0;
    coefficients.aux = coefficients.z = 0;
    for (uint32_t i = 0; i < MICROS * s->dp; i++) { /* one of them counts no token */
        make_batch(&batches[i], i + 3, MTP);
        counted += batches[i].counted;
    }
    struct trainer x = open_trainer(toy, s);
    run_batches(&x, batches, per_token, &got, &total);
    close_trainer(&x);
    run_weighted(toy, s, batches, per_token, &want);
    compare_gradients(&got, &want, 1e-4, 1e-5);
    ck_assert_double_eq(total.counted, counted);
    free_result(&got);
    free_result(&want);
    coefficients.aux = coefficients.z = 0.01;
}
END_TEST

/* ---- */

static int ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* Attention and experts add nothing, so that a router sees the tokens' embeddings, normed; and
 * routers that are sure. */
static void bare_routers(struct trainer *x)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++) {
            int adds = ends_with(list[k].name, ".o_proj.weight") ||
                       ends_with(list[k].name, ".down_proj.weight");
            float factor = adds ? 0 : ends_with(list[k].name, ".mlp.gate.weight") ? 20 : 1;
            for (size_t j = 0; j < list[k].n; j++)
                list[k].main[j] *= factor;
        }
    }
    must(br__trainer_updated(x->t, 0, &err), &err);
}

/* out[rows * cols]: a tensor, of the parts that ranks have. */
static void fetch(const struct trainer *x, const char *name, float *out)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++)
            for (size_t r = 0; r < list[k].n_rows && !strcmp(list[k].name, name); r++)
                memcpy(out + list[k].rows[r].row * list[k].shape[1],
                       list[k].main + list[k].rows[r].at,
                       (size_t)(list[k].rows[r].n * list[k].n_cols) * sizeof *out);
    }
}

/* Of a token with that embedding: x what a router of weights w sees, p its probabilities; the two
 * experts that it chooses are counted. */
static void route(const float *embedding, const float *w, double *x, double *p, double *counts)
{
    double squares = 0, sum = 0;
    for (int h = 0; h < HIDDEN; h++)
        squares += (double)embedding[h] * embedding[h];
    for (int h = 0; h < HIDDEN; h++)
        x[h] = embedding[h] / sqrt(squares / HIDDEN + 1e-6);
    for (int e = 0; e < EXPERTS; e++) {
        double logit = 0;
        for (int h = 0; h < HIDDEN; h++)
            logit += w[e * HIDDEN + h] * x[h];
        sum += p[e] = exp(logit);
    }
    for (int e = 0; e < EXPERTS; e++)
        p[e] /= sum;
    for (int j = 0, first = -1; j < CHOSEN; j++) {
        int best = first == 0;
        for (int e = 0; e < EXPERTS; e++)
            best = e != first && p[e] > p[best] ? e : best;
        counts[best]++;
        first = best;
    }
}

/* The global load-balancing loss of one router and its gradient by the router's weights: of micro
 * batch j, counted from 1, E / (k N^2 j) * sum over experts of (how often ranks chose it in micro
 * batches 1 to j) * (sum of its probabilities in j), N tokens of all data-parallel ranks; the mean
 * of it over micro batches, and Megatron's mean over data-parallel ranks. */
static double global_loss(const struct batch *batches, uint32_t dp, const float *table,
                          const float *w, double *grad)
{
    static double x[2 * TOKENS][HIDDEN], p[2 * TOKENS][EXPERTS];
    double counts[EXPERTS] = {0}, loss = 0, n = TOKENS * dp;
    memset(grad, 0, EXPERTS * HIDDEN * sizeof *grad);
    for (uint32_t j = 0; j < MICROS; j++) {
        double each = EXPERTS / (CHOSEN * n * n * (j + 1));
        for (uint32_t t = 0; t < TOKENS * dp; t++) {
            int32_t id = batches[j * dp + t / TOKENS].ids[t % TOKENS];
            route(table + id * HIDDEN, w, x[t], p[t], counts);
        }
        for (uint32_t t = 0; t < TOKENS * dp; t++) {
            double mean = 0;
            for (int e = 0; e < EXPERTS; e++)
                mean += p[t][e] * each * counts[e];
            loss += mean;
            for (int e = 0; e < EXPERTS; e++)
                for (int h = 0; h < HIDDEN; h++)
                    grad[e * HIDDEN + h] +=
                        p[t][e] * (each * counts[e] - mean) * x[t][h] / (MICROS * dp);
        }
    }
    return loss;
}

START_TEST(test_global_aux)
{
    static const struct sharing list[] = {{1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {2, 1, 1, 1, 1, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 2, 1, 2, 1, 2, 1, 0, 0, 0, 0},
                                          {1, 0, 1, 2, 1, 1, 2, 1, 0, 0, 0, 0}};
    static struct batch batches[MICROS * 2];
    static struct result got;
    static float table[VOCAB * HIDDEN], w[EXPERTS * HIDDEN], want[EXPERTS * HIDDEN];
    double grad[EXPERTS * HIDDEN], loss = 0;
    const struct sharing *s = &list[_i];
    struct br__loss_sums total;
    char name[64];
    coefficients.z = 0;
    always_global = 1;
    for (uint32_t i = 0; i < MICROS * s->dp; i++)
        make_batch(&batches[i], i + 3, MTP);
    struct trainer x = open_trainer(MOE, s);
    bare_routers(&x);
    run_batches(&x, batches, 0, &got, &total);
    fetch(&x, "model.embed_tokens.weight", table);
    for (int l = 0; l < LAYERS; l++) {
        size_t i = 0;
        snprintf(name, sizeof name, "model.layers.%d.mlp.gate.weight", l);
        fetch(&x, name, w);
        loss += global_loss(batches, s->dp, table, w, grad);
        while (strcmp(got.name[i], name))
            i++;
        for (int k = 0; k < EXPERTS * HIDDEN; k++)
            want[k] = (float)(0.01 * grad[k]);
        double d = rel_l2(got.grad[i], want, EXPERTS * HIDDEN);
        ck_assert_msg(d <= 1e-4, "%s: gradient is %g off", name, d);
    }
    near("global loss", total.aux, loss, 1e-5);
    close_trainer(&x);
    free_result(&got);
    coefficients.z = 0.01;
    always_global = 0;
}
END_TEST

/* ---- gradients that are complete before all are ---------------------------------------------- */

static struct {
    size_t n, of_bank[64];
} heard[8]; /* by rank */

/* The norm that the rank's first layer begins with. */
static const struct br__trained *first_norm(const struct trainer *x, uint32_t i)
{
    size_t n, k = 0;
    const struct br__trained *list = br__trainer_list(x->t, i, &n);
    while (k < n && !ends_with(list[k].name, ".input_layernorm.weight"))
        k++;
    ck_assert_uint_lt(k, n);
    return &list[k];
}

/* The backward pass has not come to the first layer when it is through with the last ones. */
static int hear(void *arg, uint32_t i, size_t bank, struct br_err *e)
{
    const struct trainer *x = arg;
    const struct br__trained *first = first_norm(x, i);
    ck_assert_uint_lt(bank, BR_COUNTOF(heard[i].of_bank));
    ck_assert_uint_eq(heard[i].of_bank[bank]++, 0);
    for (size_t k = 0; k < first->n && !heard[i].n; k++)
        ck_assert(first->grad[k] == 0);
    heard[i].n++;
    return br__trainer_bank(x->t, i, bank, e);
}

/* Gradients of a step whose banks' parts are added up as soon as they are complete. */
static void run_heard(enum toy toy, const struct sharing *s, const struct batch *b,
                      struct result *r)
{
    struct trainer x = open_trainer(toy, s);
    uint32_t n = br__llm_n_ranks(x.m);
    struct br__micro mb[8];
    struct br__micro_out out[8];
    memset(r, 0, sizeof *r);
    memset(heard, 0, sizeof heard);
    for (uint32_t i = 0; i < n; i++)
        mb[i] = micro_of(b, 1);
    must(br__trainer_zero(x.t, &err), &err);
    must(br__trainer_step(x.t, mb, 1, BR__BACKWARD_LAST, out, &err), &err);
    for (uint32_t i = 0; i < n && bank_ready; i++) {
        size_t n_banks;
        (void)br__trainer_banks(x.t, i, &n_banks);
        ck_assert_uint_ge(n_banks, s->pp > 1 ? 4 : 8);
        /* The tied embedding waits for that of the other stage. */
        ck_assert_uint_eq(heard[i].n + (s->pp > 1 && toy == QWEN2), n_banks);
    }
    must(br__trainer_gradients(x.t, &err), &err);
    must(br__trainer_fetch(x.t, &err), &err);
    add_gradients(&x, r);
    close_trainer(&x);
}

START_TEST(test_ready)
{
    static const struct {
        enum toy toy;
        struct sharing s;
    } list[] = {{QWEN3, {2, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
                {MOE, {2, 1, 1, 1, 2, 1, 1, 1, 0, 0, 0, 0}},
                {NEXT, {1, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0}},
                {QWEN2, {2, 0, 1, 2, 1, 1, 1, 1, 0, 0, 0, 0}},
                {QWEN3, {1, 0, 1, 1, 1, 1, 2, 1, 0, BR_BF16, 0, 0}}};
    static struct batch b;
    static struct result got, want;
    make_batch(&b, 3, list[_i].toy);
    bucket = 2000;
    run_heard(list[_i].toy, &list[_i].s, &b, &want);
    bank_ready = hear;
    run_heard(list[_i].toy, &list[_i].s, &b, &got);
    bank_ready = NULL;
    bucket = 0;
    compare_gradients(&got, &want, 0, 0);
    free_result(&got);
    free_result(&want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ranks_train");
    TCase *tc = tcase_create("ranks_train");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_shared, 0, (int)BR_COUNTOF(sharings) * N_TOYS);
    if (!samples_device()) {
        tcase_add_loop_test(tc, test_unbalanced, 0, 6);
        tcase_add_loop_test(tc, test_layouts, 0, 8);
        tcase_add_loop_test(tc, test_masks, 0, 30);
        tcase_add_loop_test(tc, test_global_aux, 0, 5);
        tcase_add_loop_test(tc, test_ready, 0, 5);
    }
    if (strcmp(test_device(), "cpu") == 0) /* whose kernels can be counted */
        tcase_add_loop_test(tc, test_traffic, 0, 6);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
