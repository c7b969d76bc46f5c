/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* memory.c - how much memory a recipe needs on its fullest rank, and how much work a step
 * is.
 *
 * Sources (Megatron-LM, core 0.19.2):
 *   parameters, gradients, optimizer   megatron/training/theoretical_memory_usage.py,
 *                                      compute_weight_and_optimizer_memory
 *   activations                        the same file, compute_activation_memory (sequence
 * parallelism and selective recompute; table 2 of arXiv:2205.05198) and
 *                                      compute_activation_memory_without_sp
 *   floating-point operations          megatron/training/training.py, num_floating_point_operations
 *
 * Beyond them: biases and head norms, the projection of multi-token prediction, delta-net and gated
 * attention weights (theirs counts plain attention everywhere), adapters over frozen weights, full
 * recompute, context parallelism, dtypes of a precision-aware optimizer. */
#include "recipe_internal.h"

#include <math.h>
#include <string.h>

/* The model's sizes; doubles, because products of hostile ones would overflow. */
struct sizes {
    double h, ffn, layers, heads, groups, head, vocab;
    double experts, topk, moe_ffn, shared, shared_gate, gate;
    double mtp;
    double n_linear; /* delta-net layers among `layers` */
    double qk, v, v_heads, v_head, conv;
    double seq, mbs;
    int tied, bias, qk_norm;
};

/* Parameters by the way in which ranks hold them. */
struct held {
    double tp, whole, expert; /* split by tp; on every rank of a stage; split by etp x ep */
};

struct estimate {
    const struct br__recipe *r;
    struct br__recipe_grid g;
    struct sizes s;
    struct held layers, mtp; /* all decoder layers with the last norm; the prediction layers */
    struct br__recipe_memory *out;
};

static double memory_number(const struct br__recipe *r, uint32_t id)
{
    return (double)br__recipe_i(r, id, 0);
}
#define NUM(r, key) memory_number((r), BR__RK_##key)

/* A constant of the recipe's architecture. */
static double arch_fact(const struct br__recipe *r, uint32_t id)
{
    const struct br_field *f =
        r->plugin->n_archs ? br__config_field(&r->plugin->archs[0], id) : NULL;
    return f && (f->flags & BR_FIELD_FACT) ? f->value : 0;
}

/* ---- sizes ----------------------------------------------------------------------------------- */

static int memory_require(const struct br__recipe *r, const uint32_t *ids, size_t n,
                          const char *why, struct br_err *err)
{
    for (size_t i = 0; i < n; i++)
        if (!br__recipe_has(r, ids[i]))
            return br_fail(err, BR_E_CONFIG,
                           "recipe '%s' has no %s, which %s needs; give it with --set", r->name,
                           br__recipe_keys[ids[i]].name, why);
    return BR_OK;
}

static int check_sizes(const struct br__recipe *r, struct br_err *err)
{
    static const uint32_t all[] = {BR__RK_num_layers, BR__RK_hidden_size,
                                   BR__RK_num_attention_heads, BR__RK_ffn_hidden_size,
                                   BR__RK_vocab_size};
    static const uint32_t routed[] = {BR__RK_moe_ffn_hidden_size};
    static const uint32_t linear[] = {BR__RK_linear_conv_kernel_dim, BR__RK_linear_key_head_dim,
                                      BR__RK_linear_value_head_dim, BR__RK_linear_num_key_heads,
                                      BR__RK_linear_num_value_heads};
    int rc = memory_require(r, all, BR_COUNTOF(all), "the estimate", err);

    if (!rc && br__recipe_has(r, BR__RK_num_moe_experts))
        rc = memory_require(r, routed, BR_COUNTOF(routed), "a model with experts", err);
    if (!rc && br__recipe_has(r, BR__RK_linear_attention_freq))
        rc = memory_require(r, linear, BR_COUNTOF(linear), "a model with delta nets", err);
    return rc;
}

/* Megatron Bridge keeps the model's own vocabulary; it is padded only if tp does not divide it. */
static double padded_vocab(const struct br__recipe *r, int64_t tp)
{
    double vocab = NUM(r, vocab_size), unit = NUM(r, make_vocab_size_divisible_by) * (double)tp;
    return fmod(vocab, (double)tp) == 0 ? vocab : ceil(vocab / unit) * unit;
}

static void read_sizes(struct estimate *e)
{
    const struct br__recipe *r = e->r;
    double heads = NUM(r, num_attention_heads), layers = NUM(r, num_layers);
    double freq = NUM(r, linear_attention_freq);

    e->s = (struct sizes){
        .h = NUM(r, hidden_size),
        .ffn = NUM(r, ffn_hidden_size),
        .layers = layers,
        .heads = heads,
        .groups = (double)br__recipe_i(r, BR__RK_num_query_groups, (int64_t)heads),
        .head = br__recipe_has(r, BR__RK_kv_channels) ? NUM(r, kv_channels)
                                                      : NUM(r, hidden_size) / heads,
        .vocab = padded_vocab(r, e->g.tp),
        .experts = NUM(r, num_moe_experts),
        .topk = NUM(r, moe_router_topk),
        .moe_ffn = NUM(r, moe_ffn_hidden_size),
        .shared = NUM(r, moe_shared_expert_intermediate_size),
        .shared_gate = arch_fact(r, BR_CFG_MOE_SHARED_EXPERT_GATE),
        .gate = arch_fact(r, BR_CFG_ATTENTION_OUTPUT_GATE),
        .mtp = NUM(r, mtp_num_layers),
        .n_linear = freq ? layers - floor(layers / freq) : 0,
        .qk = NUM(r, linear_num_key_heads) * NUM(r, linear_key_head_dim),
        .v = NUM(r, linear_num_value_heads) * NUM(r, linear_value_head_dim),
        .v_heads = NUM(r, linear_num_value_heads),
        .v_head = NUM(r, linear_value_head_dim),
        .conv = NUM(r, linear_conv_kernel_dim),
        .seq = NUM(r, seq_length) / (double)e->g.cp,
        .mbs = NUM(r, micro_batch_size),
        .tied = (int)NUM(r, tied_embeddings),
        .bias = (int)NUM(r, add_qkv_bias),
        .qk_norm = (int)NUM(r, qk_layernorm),
    };
}

/* ---- parameters ------------------------------------------------------------------------------ */

static struct held memory_attention(const struct sizes *s)
{
    double q = s->heads * s->head, kv = 2 * s->groups * s->head;
    double in = q * (1 + s->gate) + kv;
    return (struct held){.tp = s->h * in + q * s->h + (s->bias ? in : 0),
                         .whole = s->qk_norm ? 2 * s->head : 0};
}

/* in_proj of query, key, value, z, beta and alpha; convolution; A_log and dt_bias; out_proj; its
 * norm. */
static struct held delta_net(const struct sizes *s)
{
    return (struct held){.tp = s->h * (2 * s->qk + 2 * s->v + 2 * s->v_heads) +
                               s->conv * (2 * s->qk + s->v) + 2 * s->v_heads + s->v * s->h,
                         .whole = s->v_head};
}

/* Gated MLP or experts, with the layer's two norms. */
static struct held memory_mlp(const struct sizes *s)
{
    if (!s->experts)
        return (struct held){.tp = 3 * s->h * s->ffn, .whole = 2 * s->h};
    return (struct held){.tp = 3 * s->h * s->shared,
                         .whole = 2 * s->h + s->h * s->experts +
                                  (s->shared > 0 && s->shared_gate ? s->h : 0),
                         .expert = 3 * s->h * s->moe_ffn * s->experts};
}

static void memory_add(struct held *to, const struct held *x, double n)
{
    to->tp += n * x->tp;
    to->whole += n * x->whole;
    to->expert += n * x->expert;
}

static double memory_sum(const struct held *x)
{
    return x->tp + x->whole + x->expert;
}

static void count_parameters(struct estimate *e)
{
    const struct sizes *s = &e->s;
    struct held softmax = memory_attention(s), linear = delta_net(s), rest = memory_mlp(s);
    struct held joint = {.tp = 2 * s->h * s->h,
                         .whole = 3 * s->h}; /* eh_proj, enorm, hnorm, norm */
    double embedding = s->h * NUM(e->r, vocab_size) * (s->tied ? 1 : 2);

    memory_add(&e->layers, &softmax, s->layers - s->n_linear);
    memory_add(&e->layers, &linear, s->n_linear);
    memory_add(&e->layers, &rest, s->layers);
    e->layers.whole += s->h;
    memory_add(&e->mtp, &softmax, s->mtp);
    memory_add(&e->mtp, &rest, s->mtp);
    memory_add(&e->mtp, &joint, s->mtp);
    e->out->total_params = memory_sum(&e->layers) + memory_sum(&e->mtp) + embedding;
    e->out->active_params = e->out->total_params;
    if (s->experts)
        e->out->active_params -= (e->layers.expert + e->mtp.expert) * (1 - s->topk / s->experts);
}

/* The fullest rank: its share of the layers, the prediction layers, an embedding, and without a
 * pipeline also an output layer. */
static struct held on_rank(const struct estimate *e)
{
    double pp = (double)e->g.pp, embedding = e->s.h * e->s.vocab;
    struct held x = e->mtp;

    memory_add(&x, &e->layers, 1 / pp);
    x.tp += embedding * (e->g.pp == 1 && !e->s.tied ? 2 : 1);
    x.tp /= (double)e->g.tp;
    x.expert /= (double)(e->g.etp * e->g.ep);
    return x;
}

/* ---- adapters -------------------------------------------------------------------------------- */

static int has_adapter(const struct br__recipe *r)
{
    return r->v[BR__RK_peft_class].tag == 'T';
}

/* Parameters of the adapters on one rank.  An adapter of rank d over in -> out is d (in + out);
 * DoRA adds a magnitude per output.  The routed experts of a rank share one adapter, unless the
 * recipe gives each its own (megatron.bridge.peft.lora: share_expert_adapters), whose rank
 * normalize_moe_lora divides; the router's adapter is on every rank whole. */
static double adapter_parameters(const struct estimate *e)
{
    const struct br__recipe *r = e->r;
    const struct sizes *s = &e->s;
    double q = s->heads * s->head, width = s->experts ? s->moe_ffn : s->ffn, total = 0;
    double d = NUM(r, peft_dim), mlp_d = d, n = 1, tp = (double)e->g.tp, mlp_tp = tp;
    const char *targets = r->v[BR__RK_peft_target_modules].text;
    int dora = !strcmp(r->v[BR__RK_peft_class].text, "DoRA");

    if (s->experts) {
        mlp_tp = (double)e->g.etp;
        n = br__recipe_i(r, BR__RK_peft_share_expert_adapters, 1) ? 1
                                                                  : s->experts / (double)e->g.ep;
        mlp_d = br__recipe_i(r, BR__RK_peft_normalize_moe_lora, 0) ? floor(d / s->topk) : d;
    }
    const struct {
        const char *name;
        double in, out, d, n;
    } modules[] = {{"\"linear_qkv\"", s->h, q * (1 + s->gate) + 2 * s->groups * s->head, d, 1 / tp},
                   {"\"linear_proj\"", q, s->h, d, 1 / tp},
                   {"\"linear_fc1\"", s->h, 2 * width, mlp_d, n / mlp_tp},
                   {"\"linear_fc2\"", width, s->h, mlp_d, n / mlp_tp},
                   {"\"router\"", s->h, s->experts, d, s->experts ? 1 : 0}};

    for (size_t i = 0; i < BR_COUNTOF(modules); i++)
        if (targets && strstr(targets, modules[i].name))
            total += modules[i].n * (modules[i].d * (modules[i].in + modules[i].out) +
                                     (dora ? modules[i].out : 0));
    return total * s->layers / (double)e->g.pp;
}

/* ---- bytes ----------------------------------------------------------------------------------- */

double br__recipe_dtype_bytes(const struct br__recipe *r, uint32_t id)
{
    return strstr(r->v[id].text, "float32") ? 4 : 2;
}

/* Of a rank that holds these parameters and that many in adapters. */
static void count_bytes(const struct estimate *e, const struct held *x, double adapters,
                        struct br__recipe_memory *m)
{
    const struct br__recipe *r = e->r;
    double dense = x->tp + x->whole;
    double state = br__recipe_dtype_bytes(r, BR__RK_main_params_dtype) +
                   br__recipe_dtype_bytes(r, BR__RK_exp_avg_dtype) +
                   br__recipe_dtype_bytes(r, BR__RK_exp_avg_sq_dtype);
    int split = (int)r->v[BR__RK_eff_use_distributed_optimizer].i;
    double dp = split ? (double)BR__MAX(e->g.dp, 1) : 1,
           edp = split ? (double)BR__MAX(e->g.edp, 1) : 1;

    m->rank_params = dense + x->expert + adapters;
    m->trained_params = has_adapter(r) ? adapters : m->rank_params;
    m->weights = m->rank_params * br__recipe_dtype_bytes(r, BR__RK_params_dtype);
    m->gradients = m->trained_params * br__recipe_dtype_bytes(r, BR__RK_main_grads_dtype);
    m->optimizer = has_adapter(r) ? adapters * state / dp : state * (dense / dp + x->expert / edp);
}

/* Layers whose activations are kept, and inputs kept for layers that are computed again. */
static void kept_layers(const struct estimate *e, double *layers, double *inputs)
{
    const struct br__recipe_value *granularity = &e->r->v[BR__RK_recompute_granularity];
    double n = NUM(e->r, recompute_num_layers);

    *layers = e->s.layers;
    *inputs = 0;
    if (granularity->tag != 'T' || strcmp(granularity->text, "full"))
        return;
    if (!strcmp(e->r->v[BR__RK_recompute_method].text, "uniform")) {
        *layers = fmin(n, e->s.layers); /* one group at a time */
        *inputs = ceil(e->s.layers / n);
    } else {
        *inputs = fmin(n * (double)e->g.pp, e->s.layers);
        *layers = e->s.layers - *inputs + 1;
    }
}

static int uses_table_2(const struct br__recipe *r)
{
    const struct br__recipe_value *granularity = &r->v[BR__RK_recompute_granularity];
    return r->v[BR__RK_sequence_parallel].i && granularity->tag == 'T' &&
           !strcmp(granularity->text, "selective");
}

/* What one layer keeps; without sequence parallelism on a rank, else (table 2) on all tp. */
static double layer_activations(const struct estimate *e)
{
    const struct sizes *s = &e->s;
    double tokens = s->seq * s->mbs;
    return uses_table_2(e->r) ? tokens * s->h * (18 + 4 * s->ffn / s->h)
                              : tokens * s->h * (10 + 24 / (double)e->g.tp);
}

/* What is kept of a layer that is computed again. */
static double input_activations(const struct estimate *e)
{
    return 2 * e->s.seq * e->s.mbs * e->s.h /
           (e->r->v[BR__RK_sequence_parallel].i ? (double)e->g.tp : 1);
}

static double memory_activations(const struct estimate *e)
{
    const struct sizes *s = &e->s;
    double tp = (double)e->g.tp, pp = (double)e->g.pp, tokens = s->seq * s->mbs, layers, inputs,
           bytes;
    int table_2 = uses_table_2(e->r);

    kept_layers(e, &layers, &inputs);
    bytes = layer_activations(e) * layers + input_activations(e) * inputs;
    bytes += 8 * tokens * pp + tokens * s->h * pp;
    if (br__recipe_has(e->r, BR__RK_vpp))
        bytes *= 1 + (pp - 1) / (pp * (double)e->g.vpp);
    else if (e->g.pp > 1 && e->out->microbatches)
        bytes *= fmin(1, (double)e->out->microbatches / pp);
    if (table_2)
        return (bytes + (e->g.pp == 1 ? tokens * s->h * 4 * (1 + s->vocab / s->h) : 0)) / tp;
    if (e->g.pp == 1)
        bytes += 2 * tokens * (s->vocab / tp + s->h);
    return bytes * 1.05;
}

/* ---- work ------------------------------------------------------------------------------------ */

int br__recipe_is_delta(const struct br__recipe *r, int64_t layer)
{
    int64_t freq = br__recipe_i(r, BR__RK_linear_attention_freq, 0);
    return freq && (layer + 1) % freq;
}

/* Multiply-adds of a token in its layer number i, prediction layers behind the others. */
static double layer_products(const struct estimate *e, int64_t i)
{
    const struct sizes *s = &e->s;
    double q = s->heads * s->head, ffn = s->experts ? s->moe_ffn * s->topk + s->shared : s->ffn;

    if (br__recipe_is_delta(e->r, i))
        return 3 * s->h * ffn + s->h * (2 * s->qk + 2 * s->v + 2 * s->v_heads) +
               s->conv * (2 * s->qk + s->v) + s->v_heads * s->v_head * s->v_head * 4 + s->h * s->v;
    return 3 * s->h * ffn + s->h * (q * (1 + s->gate) + 2 * s->groups * s->head) + q * s->h +
           NUM(e->r, seq_length) * q;
}

/* Of a chunk of the model.  Like the source, it takes the prediction layers into the pattern of
 * delta-net layers. */
static double chunk_products(const struct estimate *e, const struct br__chunk *c)
{
    const struct sizes *s = &e->s;
    double sum = c->head ? s->h * s->vocab : 0;

    for (int64_t i = 0; i < c->n_layers; i++)
        sum += layer_products(e, (int64_t)c->first + i);
    for (int64_t i = 0; i < c->n_mtp; i++)
        sum += layer_products(e, (int64_t)s->layers + i) + 3 * s->h + 2 * s->h * s->h +
               s->h * s->vocab;
    return sum;
}

/* Three products per weight (forward, two backward) of two operations each. */
static double flops_per_token(const struct estimate *e)
{
    struct br__chunk all = {
        .n_layers = (uint32_t)e->s.layers, .n_mtp = (uint32_t)e->s.mtp, .embedding = 1, .head = 1};
    return 6 * chunk_products(e, &all);
}

static int estimate_begin(struct estimate *e, int64_t world, struct br_err *err)
{
    int rc = check_sizes(e->r, err);
    if (rc)
        return rc;
    br__recipe_grid(e->r, world, &e->g);
    read_sizes(e);
    return BR_OK;
}

int br__recipe_memory(const struct br__recipe *r, int64_t world, struct br__recipe_memory *out,
                      struct br_err *err)
{
    struct estimate e = {.r = r, .out = out};
    *out = (struct br__recipe_memory){0};
    int rc = estimate_begin(&e, world, err);
    if (rc)
        return rc;
    if (e.g.dp)
        out->microbatches = br__recipe_i(r, BR__RK_global_batch_size, 1) /
                            BR__MAX(br__recipe_i(r, BR__RK_micro_batch_size, 1) * e.g.dp, 1);
    count_parameters(&e);
    struct held x = on_rank(&e);
    count_bytes(&e, &x, has_adapter(r) ? adapter_parameters(&e) : 0, out);
    out->activations = memory_activations(&e);
    out->total = out->weights + out->gradients + out->optimizer + out->activations;
    out->flops_per_token = flops_per_token(&e);
    out->flops_per_step = out->flops_per_token * NUM(r, seq_length) * NUM(r, global_batch_size);
    return BR_OK;
}

/* ---- a part of the model --------------------------------------------------------------------- */

/* Parameters of a chunk, on one rank of its stage. */
static struct held chunk_parameters(const struct estimate *e, const struct br__chunk *c)
{
    const struct sizes *s = &e->s;
    struct held softmax = memory_attention(s), linear = delta_net(s), rest = memory_mlp(s), x = {0};
    struct held joint = {.whole = 2 * s->h * s->h + 3 * s->h}; /* eh_proj is not shared out */
    double embedding = s->h * s->vocab;
    int copies = c->embedding + (c->head && (!s->tied || e->g.pp > 1));

    for (int64_t i = c->first; i < (int64_t)c->first + c->n_layers; i++)
        memory_add(&x, br__recipe_is_delta(e->r, i) ? &linear : &softmax, 1);
    memory_add(&x, &rest, c->n_layers);
    memory_add(&x, &softmax, c->n_mtp);
    memory_add(&x, &rest, c->n_mtp);
    memory_add(&x, &joint, c->n_mtp);
    copies += c->n_mtp > 0 && !c->embedding && !(s->tied && c->head); /* of its input's rows */
    x.whole += c->head ? s->h : 0;
    x.tp = (x.tp + embedding * copies) / (double)e->g.tp;
    x.expert /= (double)(e->g.etp * e->g.ep);
    return x;
}

/* Of these, what each tensor-parallel rank has whole and computes a part of the gradient of: with
 * sequence parallelism all that it has whole, else norms of its own heads. */
static double replicated_parameters(const struct estimate *e, const struct br__chunk *c,
                                    const struct held *x)
{
    const struct sizes *s = &e->s;
    double n = 0;

    if (has_adapter(e->r))
        return 0;
    if (br__recipe_i(e->r, BR__RK_sequence_parallel, 0))
        return x->whole;
    for (int64_t i = c->first; i < (int64_t)c->first + c->n_layers + c->n_mtp; i++)
        n += br__recipe_is_delta(e->r, i) && i < (int64_t)s->layers ? s->v_head
             : s->qk_norm                                           ? 2 * s->head
                                                                    : 0;
    return n;
}

/* Bytes that a micro batch keeps in a chunk until its backward pass. */
static double chunk_activations(const struct estimate *e, const struct br__chunk *c)
{
    double layers, inputs, share = (c->n_layers + c->n_mtp) / (e->s.layers + e->s.mtp);
    double tokens = e->s.seq * e->s.mbs, table_2 = uses_table_2(e->r) ? (double)e->g.tp : 1;

    kept_layers(e, &layers, &inputs);
    double bytes = layer_activations(e) / table_2 * layers + input_activations(e) * inputs;
    return bytes * share + (c->head ? 4 * tokens * e->s.vocab / (double)e->g.tp : 0);
}

int br__recipe_part(const struct br__recipe *r, int64_t world, const struct br__chunk *c,
                    struct br__recipe_part *out, struct br_err *err)
{
    struct estimate e = {.r = r};
    *out = (struct br__recipe_part){0};
    int rc = estimate_begin(&e, world, err);
    if (rc)
        return rc;
    struct held x = chunk_parameters(&e, c);
    double adapters =
        has_adapter(r) ? adapter_parameters(&e) * (double)e.g.pp * c->n_layers / e.s.layers : 0;
    count_bytes(&e, &x, adapters, &out->memory);
    out->memory.activations = chunk_activations(&e, c);
    out->trained_experts = has_adapter(r) ? 0 : x.expert;
    out->weights_read =
        (x.tp + x.whole + x.expert) * br__recipe_dtype_bytes(r, BR__RK_params_dtype);
    out->flops = 2 * chunk_products(&e, c) * e.s.seq * e.s.mbs / (double)e.g.tp;
    out->hidden = e.s.seq * e.s.mbs * e.s.h;
    out->key_values = 2 * e.s.seq * e.s.mbs * e.s.groups * e.s.head / (double)e.g.tp;
    out->delta_in = e.s.seq * e.s.mbs * (2 * e.s.qk + e.s.v + 2 * e.s.v_heads) / (double)e.g.tp;
    out->delta_out = e.s.seq * e.s.mbs * e.s.v / (double)e.g.tp;
    out->embedding = e.s.h * e.s.vocab / (double)e.g.tp;
    out->shared_gate = e.s.shared > 0 && e.s.shared_gate > 0;
    out->replicated = replicated_parameters(&e, c, &x);
    return BR_OK;
}
