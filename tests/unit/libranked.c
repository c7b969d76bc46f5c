/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libranked.c - see libranked.h. */
#include "libranked.h"
#include "librun.h"
#include "train/ckpt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

/* ---- toys ------------------------------------------------------------------------------------ */

#define COMMON                                                                                     \
    "\"attention_bias\": false, \"head_dim\": 8, \"hidden_act\": \"silu\", \"hidden_size\": 24, "  \
    "\"initializer_range\": 0.02, \"intermediate_size\": 32, \"max_position_embeddings\": 64, "    \
    "\"num_attention_heads\": 8, \"num_hidden_layers\": 8, \"num_key_value_heads\": 4, "           \
    "\"rms_norm_eps\": 1e-6, \"rope_theta\": 10000.0, \"torch_dtype\": \"float32\", "              \
    "\"vocab_size\": 96"
#define ROUTED                                                                                     \
    "\"decoder_sparse_step\": 1, \"mlp_only_layers\": [], \"moe_intermediate_size\": 8, "          \
    "\"norm_topk_prob\": true, \"num_experts\": 8, \"num_experts_per_tok\": 2"

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

/* ---- batches --------------------------------------------------------------------------------- */

static uint32_t next_number(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 8;
}

/* Masks are not equal, and every fifth batch has none of its tokens counted.  Every second batch is
 * packed, of dense models into sequences of any length. */
void ranked_batch(struct batch *b, uint32_t number, enum toy toy)
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

struct br__micro ranked_micro(const struct batch *b, size_t n)
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

struct ranked ranked = {.aux = 0.01, .z = 0.01};
const struct sharing ranked_alone = {1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0};

/* Each kind that does not depend on how batches are shared out. */
int ranked_aux(enum toy toy, const struct sharing *s)
{
    if (ranked.always_global)
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

static const char *config_of(enum toy toy)
{
    static const char experts[] = "\"num_experts_per_tok\": 2";
    static char text[2048];
    snprintf(text, sizeof text, "%s", toys[toy].config);
    char *at = ranked.one_expert ? strstr(text, experts) : NULL;
    if (at)
        at[sizeof experts - 2] = '1';
    return text;
}

struct trainer ranked_open(enum toy toy, const struct sharing *s)
{
    static struct trainer x; /* bank_ready is told where it is */
    const struct br__run run = {.config_text = config_of(toy),
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
        .stages = {.vpp = s->vpp > 1 ? s->vpp : 0, .layout = s->pp > 1 ? ranked.layout : NULL},
        .sequence_parallel = (int)s->sp,
        .aux_kind = ranked_aux(toy, s),
        .aux_coeff = toy >= MOE ? ranked.aux : 0,
        .z_coeff = toy >= MOE ? ranked.z : 0,
        .bucket = ranked.bucket,
        .bank_ready = ranked.bank_ready,
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

void ranked_close(struct trainer *x)
{
    br__trainer_close(x->t);
    br__llm_close(x->m);
}

uint32_t ranked_coordinate(const struct trainer *x, uint32_t i, enum br_axis axis)
{
    return br_topo_coord(br__llm_topo(x->m), br__llm_rank(x->m, i)->rank, axis);
}

static void add_losses(const struct trainer *x, const struct br__micro_out *out, struct result *r)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        if (ranked_coordinate(x, i, BR_AXIS_TP) > 0)
            continue;
        r->loss += out[i].loss_sum;
        r->mtp += out[i].mtp;
        if (ranked_coordinate(x, i, BR_AXIS_CP) > 0)
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
void ranked_add_gradients(const struct trainer *x, struct result *r)
{
    for (uint32_t i = 0; i < br__llm_n_ranks(x->m); i++) {
        size_t n;
        const struct br__trained *list = br__trainer_list(x->t, i, &n);
        for (size_t k = 0; k < n; k++)
            if (!list[k].copied && (!list[k].shared || ranked_coordinate(x, i, BR_AXIS_TP) == 0))
                add_tensor(r, &list[k]);
    }
}

/* A step of n batches, MICROS on each data-parallel rank. */
void ranked_step(struct trainer *x, const struct batch *batches, size_t n, struct result *r)
{
    uint32_t ranks = br__llm_n_ranks(x->m);
    uint32_t dp = br__llm_topo(x->m)->size[BR_AXIS_DP];
    struct br__micro mb[64];
    struct br__micro_out out[64];
    ck_assert_uint_le(n / dp * ranks, BR_COUNTOF(mb));
    memset(r, 0, sizeof *r);
    for (size_t k = 0; k < n / dp; k++)
        for (uint32_t i = 0; i < ranks; i++)
            mb[k * ranks + i] =
                ranked_micro(&batches[k * dp + ranked_coordinate(x, i, BR_AXIS_DP)], n);
    must(br__trainer_zero(x->t, &err), &err);
    must(br__trainer_step(x->t, mb, n / dp, 1, out, &err), &err);
    for (size_t k = 0; k < n / dp; k++)
        add_losses(x, out + k * ranks, r);
    must(br__trainer_gradients(x->t, &err), &err);
    must(br__trainer_fetch(x->t, &err), &err);
    ranked_add_gradients(x, r);
}

void ranked_free(struct result *r)
{
    for (size_t i = 0; i < r->n; i++) {
        free(r->grad[i]);
        free((void *)(uintptr_t)r->name[i]);
    }
}

void ranked_near(const char *what, double got, double want, double tolerance)
{
    ck_assert_msg(fabs(got - want) <= tolerance * fmax(1, fabs(want)),
                  "%s: %.9g, one rank has %.9g", what, got, want);
}

/* Each tensor within `each`, and all together within `all`, of their length. */
void ranked_compare(const struct result *got, const struct result *want, double each, double all)
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

int ranked_ends(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

int ranked_samples(void)
{
    return test_is_sampled() && strcmp(test_device(), "cpu") != 0;
}
