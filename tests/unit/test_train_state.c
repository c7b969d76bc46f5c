/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_train_state.c - training state of Megatron's own checkpoints is read: all forms give the
 * same numbers, and what contradicts itself is refused. */
#include "convert/convert.h"
#include "librun.h"
#include "libtd.h"
#include "libtrainstate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;
static char dir[256]; /* of this test, removed after it */

static void setup(void)
{
    make_temp_dir(dir, sizeof dir, "train-state");
}

static void teardown(void)
{
    must(br__remove_tree(dir, &err), &err);
}

static const char *path_of(struct br__arena *a, const char *name)
{
    return br__path_join(a, dir, name);
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
            size_t n = (size_t)state_elements(&a->params[i]);
            float *x = read_state(a, i, k), *y = read_state(b, i, k), some[7];
            ck_assert_str_eq(a->params[i].weight->name, b->params[i].weight->name);
            ck_assert_msg(memcmp(x, y, n * sizeof *x) == 0, "%s: kind %d of '%s' differs",
                          twins[_i], k, a->params[i].weight->name);
            for (size_t at = 0; at + 7 <= n; at += 61) { /* ranges as well as whole tensors */
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

/* ---- hostile --------------------------------------------------------------------------------- */

#define DTYPE "gbuf_idx_0.dtype_(torch.float32, torch.float32)."
#define GROUP "optimizer.distributed.dp_group_idx_0."
#define NORM "decoder.final_layernorm.weight"

/* A dp_reshardable checkpoint of one parameter of eight elements, and what is wrong with it. */
struct variant {
    const char *text; /* in the message; NULL: sound */
    int code;
    const char *weight, *buffer, *yaml, *sharding, *group_key, *group_value, *object;
    const char *groups, *other_step; /* pickled: all groups; step of the same group elsewhere */
    const char *scheduler;           /* pickled, in the common state */
    int chain;                       /* optimizers in the common state */
    int64_t length, second;          /* of the bucket; of its exp_avg */
    int dtype;
};
static const struct variant variants[] = {
    {.text = NULL},
    {.text = "of the form 'fsdp_dtensor'", .code = BR_E_UNSUPPORTED, .sharding = "fsdp_dtensor"},
    {.text = "end before its parameter", .code = BR_E_UNSUPPORTED, .length = 7},
    {.text = "hold more than its parameters", .code = BR_E_UNSUPPORTED, .length = 9},
    {.text = "differ in length", .code = BR_E_FORMAT, .second = 3},
    {.text = "no vector of float32", .code = BR_E_UNSUPPORTED, .dtype = BR_F64},
    {.text = "is not known", .code = BR_E_UNSUPPORTED, .weight = "decoder.layers.0.odd.weight"},
    {.text = "is not known", .code = BR_E_UNSUPPORTED, .weight = "decoder.layers.999999999.x"},
    {.text = "0 layers and",
     .code = BR_E_FORMAT,
     .weight = "decoder.layers.99999.mlp.linear_fc1.layer_norm_weight"},
    {.text = "end before its parameter", .code = BR_E_UNSUPPORTED, .buffer = GROUP "gbuf_idx_0."},
    {.text = "end before its parameter",
     .code = BR_E_UNSUPPORTED,
     .buffer = "optimizer.distributed.dp_group_idx_9999999999." DTYPE},
    {.text = "has no bucket 0", .code = BR_E_FORMAT, .buffer = GROUP DTYPE "bucket_idx_7"},
    {.text = "with virtual_pipeline",
     .code = BR_E_UNSUPPORTED,
     .yaml = "model:\n  virtual_pipeline_model_parallel_size: 2\n"},
    {.text = "expected 1 to 4096",
     .code = BR_E_FORMAT,
     .yaml = "model:\n  tensor_model_parallel_size: -3\n"},
    {.text = "expected 1 to 4096",
     .code = BR_E_FORMAT,
     .yaml = "model:\n  pipeline_model_parallel_size: many\n"},
    {.text = "expected 1 to 4096",
     .code = BR_E_FORMAT,
     .yaml = "model:\n  expert_model_parallel_size: 4097\n"},
    {.text = "run_config.yaml", .code = BR_E_FORMAT, .yaml = "model: [\n"},
    {.text = "over how many ranks", .code = BR_E_UNSUPPORTED, .yaml = "other: 1\n"},
    {.text = "'eps' is something else",
     .code = BR_E_FORMAT,
     .group_key = "eps",
     .group_value = "]"},
    {.text = "'max_lr' is something else, expected a finite",
     .code = BR_E_FORMAT,
     .group_key = "max_lr",
     .group_value = "Fnan"},
    {.text = "'betas' is something else",
     .code = BR_E_FORMAT,
     .group_key = "betas",
     .group_value = "(1.5 0"},
    {.text = "'step' is something else",
     .code = BR_E_FORMAT,
     .group_key = "step",
     .group_value = "I-4"},
    {.text = "'is_decoupled_lr' is something else",
     .code = BR_E_FORMAT,
     .group_key = "is_decoupled_lr",
     .group_value = "I7"},
    {.text = "'betas' is something else, expected two numbers from 0 to below 1",
     .code = BR_E_FORMAT,
     .group_key = "betas",
     .group_value = "(0.9 1.0"},
    {.text = "'betas' is something else, expected two numbers",
     .code = BR_E_FORMAT,
     .group_key = "betas",
     .group_value = "F0.5"},
    {.text = "no item has the optimizer's groups",
     .code = BR_E_FORMAT,
     .object = "optimizer.other"},
    {.text = "has optimizer tensors, but no list 'param_groups'",
     .code = BR_E_FORMAT,
     .groups = "]"},
    {.text = "an optimizer group of the checkpoint is no dict",
     .code = BR_E_FORMAT,
     .groups = "](Ne"},
    {.text = "disagree on the optimizer's step: 3 and 5", .code = BR_E_FORMAT, .other_step = "I5"},
    {.text = "1 optimizers in a chain, expected that of the dense parameters and that of the "
             "experts",
     .code = BR_E_UNSUPPORTED,
     .sharding = "fully_reshardable",
     .chain = 1},
    {.text = "opt_param_scheduler is no dict", .code = BR_E_FORMAT, .scheduler = "N"},
    {.text = "'embedding.word_embeddings.weight' has 8 x 1 elements, which 3 tensor-parallel ranks "
             "cannot share",
     .code = BR_E_FORMAT,
     .weight = "embedding.word_embeddings.weight",
     .yaml = "model:\n  tensor_model_parallel_size: 3\n"},
    {.text = "1 layers on 2 stages, 0 experts on 1 ranks: not the same number for each",
     .code = BR_E_UNSUPPORTED,
     .weight = "decoder.layers.0.mlp.linear_fc1.layer_norm_weight",
     .yaml = "model:\n  pipeline_model_parallel_size: 2\n"},
};

static void put_float(struct br__buf *b, double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    br__buf_putc(b, 'G');
    for (int shift = 56; shift >= 0; shift -= 8)
        br__buf_putc(b, (char)(unsigned char)(u >> shift & 255));
}

/* "F0.5", "I3", "(0.9 0.95" (a tuple), "]" (an empty list). */
static void put_value(struct br__buf *b, const char *text)
{
    char *end;
    if (*text == 'F') {
        put_float(b, strtod(text + 1, NULL));
    } else if (*text == 'I') {
        pk_int(b, strtol(text + 1, NULL, 10));
    } else if (*text == '(') {
        pk_op(b, "(");
        put_float(b, strtod(text + 1, &end));
        put_float(b, strtod(end, NULL));
        pk_op(b, "t");
    } else {
        pk_op(b, text);
    }
}

static void put_group(struct br__buf *b, const struct variant *v, const char *step)
{
    const char *const keys[][2] = {{"max_lr", "F0.02"},    {"min_lr", "I0"},    {"eps", "F1e-8"},
                                   {"betas", "(0.9 0.95"}, {"wd_mult", "F1.0"}, {"step", step}};
    pk_op(b, "\x80\x02](}(");
    pk_str(b, "param_groups");
    if (v && v->groups) {
        pk_op(b, v->groups);
        pk_op(b, "ue.");
        return;
    }
    pk_op(b, "](}(");
    for (size_t i = 0; i < BR_COUNTOF(keys); i++) {
        pk_str(b, keys[i][0]);
        put_value(b, keys[i][1]);
    }
    if (v && v->group_key) { /* a repeated key overwrites */
        pk_str(b, v->group_key);
        put_value(b, v->group_value);
    }
    pk_op(b, "ueue.");
}

static void put_bucket(struct td *m, const struct variant *v, const char *kind, int64_t n)
{
    static const int64_t zero[] = {0};
    char key[256];
    const char *buffer = v->buffer ? v->buffer : GROUP DTYPE;
    snprintf(key, sizeof key, "%s%s.%s", buffer, strstr(buffer, "bucket") ? "" : "bucket_idx_0",
             kind);
    td_tensor(m, key, v->dtype ? v->dtype : BR_F32, &n, 1);
    td_chunk(m, zero, &n);
    td_tensor_end(m);
}

/* The common state, with nothing but the form. */
static void put_common(struct br__buf *b, const struct variant *v)
{
    pk_op(b, "\x80\x02](}(");
    pk_str(b, "content_metadata");
    pk_op(b, "}(");
    pk_str(b, "distrib_optim_sharding_type");
    pk_str(b, v->sharding ? v->sharding : "dp_reshardable");
    pk_op(b, "u");
    if (v->chain) {
        pk_str(b, "optimizer");
        pk_op(b, "}(");
        for (int i = 0; i < v->chain; i++) {
            pk_int(b, i);
            pk_op(b, "}");
        }
        pk_op(b, "u");
    }
    if (v->scheduler) {
        pk_str(b, "opt_param_scheduler");
        pk_op(b, v->scheduler);
    }
    pk_op(b, "ue.");
}

static void make_variant(struct td *m, const struct variant *v)
{
    static const int64_t eight[] = {8}, zero[] = {0};
    const char *yaml = v->yaml ? v->yaml : "model:\n  tensor_model_parallel_size: 1\n";
    struct br__buf group = {0}, other = {0}, common = {0};
    td_begin(m, 0);
    td_tensor(m, v->weight ? v->weight : NORM, BR_F32, eight, 1);
    td_chunk(m, zero, eight);
    td_tensor_end(m);
    put_bucket(m, v, "param", v->length ? v->length : 8);
    put_bucket(m, v, "exp_avg", v->second ? v->second : v->length ? v->length : 8);
    put_bucket(m, v, "exp_avg_sq", v->length ? v->length : 8);
    put_group(&group, v, "I3");
    td_object(m, v->object ? v->object : GROUP "optimizer/shard_0_1", &group);
    if (v->other_step) {
        put_group(&other, v, v->other_step);
        td_object(m, "optimizer.distributed.dp_group_idx_1.optimizer/shard_0_1", &other);
    }
    put_common(&common, v);
    td_object(m, "common_state/shard_0_1", &common);
    td_write(m);
    char name[320];
    snprintf(name, sizeof name, "%s/run_config.yaml", br__path_base(m->dir));
    td_put_file(m, name, yaml, strlen(yaml));
    br__buf_free(&group);
    br__buf_free(&other);
    br__buf_free(&common);
}

START_TEST(test_hostile)
{
    const struct variant *v = &variants[_i];
    struct br__train_state *s;
    struct br__ckpt *ck;
    struct td m;
    make_variant(&m, v);
    must(br__ckpt_open(&ck, m.root, &err), &err);
    int rc = br__train_state_open(&s, ck, &err);
    if (v->text) {
        ck_assert_msg(rc == v->code && strstr(err.msg, v->text) != NULL, "%d: got %d, '%s'", _i, rc,
                      err.msg);
        ck_assert_ptr_null(s);
        ck_assert_int_eq(br__train_state_open(&s, ck, NULL), v->code);
    } else {
        must(rc, &err);
        ck_assert_uint_eq(s->n_params, 1);
        ck_assert_uint_eq(s->n_groups, 1);
        br__train_state_close(s);
    }
    br__ckpt_close(ck);
    td_end(&m);
}
END_TEST

/* ---- dp_reshardable on other grids ----------------------------------------------------------- */

/* Megatron's order of modules, and which share a tensor-parallel rank has: whole, rows, columns,
 * rows of gate and up, experts. */
static const struct {
    const char *name;
    char split;
} modules[] = {
    {"self_attention.linear_proj.weight", 'C'},
    {"self_attention.linear_qkv.layer_norm_weight", 'W'},
    {"self_attention.linear_qkv.weight", 'R'},
    {"self_attention.q_layernorm.weight", 'W'},
    {"self_attention.k_layernorm.weight", 'W'},
    {"mlp.linear_fc1.layer_norm_weight", 'W'},
    {"mlp.linear_fc1.weight", 'G'},
    {"mlp.linear_fc2.weight", 'C'},
    {"pre_mlp_layernorm.weight", 'W'},
    {"mlp.router.weight", 'W'},
    {"mlp.experts.experts.linear_fc1.weight", 'E'},
    {"mlp.experts.experts.linear_fc2.weight", 'E'},
};
/* One parameter of a rank: element e is element index[e] of the tensor. */
struct local {
    size_t param;
    uint64_t *index;
    size_t n;
};
struct grid {
    const char *name;
    int tp, pp, ep;
    uint64_t bucket; /* elements after which a bucket ends */
};
static const struct grid grids[] = {
    {"qwen3_dp1_fr", 1, 1, 1, 1 << 20}, {"qwen3_dp1_fr", 2, 1, 1, 1 << 20},
    {"qwen3_dp1_fr", 1, 2, 1, 8192},    {"qwen3_dp1_fr", 2, 2, 1, 3000},
    {"qwen3_dp1_fr", 1, 1, 1, 1},       {"qwen3_moe_ep2_fr", 1, 1, 2, 1 << 20},
    {"qwen3_moe_ep2_fr", 1, 2, 4, 900}, {"qwen3_moe_ep2_fr", 1, 1, 1, 5000},
};

/* The share of one rank of the matrix [rows, cols] that begins at element `base`. */
static void share(struct local *x, struct br__arena *a, char split, uint64_t base, uint64_t rows,
                  uint64_t cols, uint64_t tp, uint64_t part)
{
    x->index = br__arena_alloc(a, rows * cols * sizeof *x->index);
    for (uint64_t half = 0; half < 2; half++)
        for (uint64_t r = 0; r < rows; r++)
            for (uint64_t c = 0; c < cols; c++) {
                uint64_t in_half = split == 'G' ? rows / 2 : rows;
                int mine = split == 'C'   ? c / (cols / tp) == part
                           : split == 'R' ? r / (rows / tp) == part
                           : split == 'G' ? r % in_half / (in_half / tp) == part
                                          : 1;
                if (mine && (split == 'G' ? r / in_half : 0) == half)
                    x->index[x->n++] = base + r * cols + c;
            }
}

static int has_param(const struct br__train_state *s, const char *name)
{
    for (size_t i = 0; i < s->n_params; i++)
        if (strcmp(s->params[i].weight->name, name) == 0)
            return 1;
    return 0;
}

static void add_outer(const struct br__train_state *s, struct br__arena *a, const struct grid *g,
                      int part, const char *name, char split, struct local *list, size_t *n)
{
    struct local *x = &list[(*n)++];
    x->param = find_state(s, name);
    const struct br__tensor *t = s->params[x->param].weight;
    share(x, a, split, 0, (uint64_t)t->shape[0], t->ndim > 1 ? (uint64_t)t->shape[1] : 1,
          (uint64_t)g->tp, (uint64_t)part);
}

static void add_module(const struct br__train_state *s, struct br__arena *a, const struct grid *g,
                       int chain, int part, int layer, size_t m, struct local *list, size_t *n)
{
    char name[128];
    snprintf(name, sizeof name, "decoder.layers.%s", modules[m].name);
    int is_expert = modules[m].split == 'E';
    if (!has_param(s, name) || (chain && !is_expert) || (!chain && is_expert && g->ep > 1))
        return;
    size_t param = find_state(s, name);
    const struct br__tensor *t = s->params[param].weight;
    int skip = 1 + is_expert, experts = is_expert ? (int)t->shape[1] : 1;
    uint64_t rows = (uint64_t)t->shape[skip],
             cols = t->ndim > skip + 1 ? (uint64_t)t->shape[skip + 1] : 1;
    int first = chain ? part * experts / g->ep : 0;
    int end = chain ? (part + 1) * experts / g->ep : experts;
    for (int e = first; e < end; e++, ++*n) {
        list[*n].param = param;
        share(&list[*n], a, modules[m].split, (uint64_t)(layer * experts + e) * rows * cols, rows,
              cols, (uint64_t)g->tp, (uint64_t)part);
    }
}

/* All parameters of a rank, last first. */
static size_t list_rank(const struct br__train_state *s, struct br__arena *a, const struct grid *g,
                        int chain, int pp, int part, struct local *list)
{
    size_t n = 0;
    if (!chain && pp == 0)
        add_outer(s, a, g, part, "embedding.word_embeddings.weight", 'R', list, &n);
    for (int layer = pp * 2 / g->pp; layer < (pp + 1) * 2 / g->pp; layer++)
        for (size_t m = 0; m < BR_COUNTOF(modules); m++)
            add_module(s, a, g, chain, part, layer, m, list, &n);
    if (!chain && pp == g->pp - 1) {
        add_outer(s, a, g, part, "decoder.final_layernorm.weight", 'W', list, &n);
        add_outer(s, a, g, part, "output_layer.weight", 'R', list, &n);
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct local x = list[i];
        list[i] = list[n - 1 - i];
        list[n - 1 - i] = x;
    }
    return n;
}

/* A checkpoint of weights and buckets being put together: tensors of float32 are in memory. */
struct dp_save {
    struct br__arena a;
    const struct br__ckpt *ck;
    struct br__td_plan plan;
    struct br__td_out outs[256];
    struct br__td_item items[256];
    const void *memory[256]; /* per item; NULL: the weight */
    const struct br__tensor *weight[256];
};

static int dp_produce(void *arg, size_t item, uint64_t off, void *dst, size_t n, struct br_err *e)
{
    const struct dp_save *d = arg;
    if (d->memory[item]) {
        memcpy(dst, (const char *)d->memory[item] + off, n);
        return BR_OK;
    }
    return br__ckpt_read(d->ck, d->weight[item], off, dst, n, e);
}

static void add_archive(struct dp_save *d, const char *key, const struct br__buf *pickle)
{
    struct br__buf archive = {0};
    torch_save(&archive, pickle, NULL, 0);
    d->memory[d->plan.n_items] = br__arena_strndup(&d->a, archive.p, archive.n);
    d->items[d->plan.n_items++] = (struct br__td_item){
        .tensor = BR__TD_OBJECT, .object_key = key, .verbatim = 1, .data_bytes = archive.n};
    br__buf_free(&archive);
}

static void add_tensor(struct dp_save *d, const char *key, const struct br__tensor *weight,
                       const float *memory, int64_t n)
{
    size_t i = d->plan.n_tensors++, at = d->plan.n_items++;
    ck_assert_uint_lt(at, BR_COUNTOF(d->items));
    d->outs[i] = (struct br__td_out){.key = key, .dtype = BR_F32, .ndim = 1, .shape = {n}};
    if (weight) {
        d->outs[i].dtype = weight->dtype;
        d->outs[i].ndim = weight->ndim;
        memcpy(d->outs[i].shape, weight->shape, sizeof weight->shape);
    }
    d->items[at] = (struct br__td_item){
        .tensor = (uint32_t)i, .data_bytes = weight ? weight->bytes : (uint64_t)n * sizeof(float)};
    memcpy(d->items[at].size, d->outs[i].shape, sizeof d->items[at].size);
    d->memory[at] = memory;
    d->weight[at] = weight;
}

/* The three tensors of a bucket that holds list[first .. end). */
static void add_bucket(struct dp_save *d, const struct br__train_state *s, const char *prefix,
                       int group, int bucket, const struct local *list, size_t first, size_t end,
                       int64_t length)
{
    static const char *const kinds[] = {"param", "exp_avg", "exp_avg_sq"};
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
        float *data = br__arena_alloc(&d->a, (size_t)length * sizeof *data);
        uint64_t pos = 0;
        for (int64_t i = 0; i < length; i++)
            data[i] = 777;
        for (size_t i = first; i < end; i++) {
            float *x = read_state(s, list[i].param, k);
            pos = round_up(pos, 64);
            for (size_t e = 0; e < list[i].n; e++)
                data[pos++] = x[list[i].index[e]];
            free(x);
        }
        add_tensor(d,
                   br__arena_printf(&d->a,
                                    "%soptimizer.distributed.dp_group_idx_%d.gbuf_idx_0.dtype_("
                                    "torch.bfloat16, torch.float32).bucket_idx_%d.%s",
                                    prefix, group, bucket, kinds[k]),
                   NULL, data, length);
    }
}

static void add_rank(struct dp_save *d, const struct br__train_state *s, const struct grid *g,
                     int chain, int pp, int part)
{
    struct local list[64] = {{0}};
    size_t n = list_rank(s, &d->a, g, chain, pp, part, list), first = 0;
    const char *prefix = g->ep == 1 ? "" : chain ? "chained_1." : "chained_0.";
    int group = pp * (chain ? g->ep : g->tp) + part, bucket = 0;
    uint64_t pos = 0;
    for (size_t i = 0; i < n; i++) {
        pos = round_up(pos, 64) + list[i].n;
        if (pos < g->bucket && i + 1 < n)
            continue;
        add_bucket(d, s, prefix, group, bucket++, list, first, i + 1, (int64_t)pos);
        first = i + 1;
        pos = 0;
    }
}

static void add_groups(struct dp_save *d, const struct grid *g)
{
    struct br__buf b = {0};
    put_group(&b, NULL, "I3");
    for (int chain = 0; chain <= (g->ep > 1); chain++)
        for (int i = 0; i < g->pp * (chain ? g->ep : g->tp); i++)
            add_archive(d,
                        br__arena_printf(
                            &d->a, "%soptimizer.distributed.dp_group_idx_%d.optimizer/shard_0_1",
                            g->ep == 1 ? ""
                            : chain    ? "chained_1."
                                       : "chained_0.",
                            i),
                        &b);
    br__buf_free(&b);
    put_common(&b, &variants[0]);
    add_archive(d, "common_state/shard_0_1", &b);
    br__buf_free(&b);
}

START_TEST(test_grids)
{
    const struct grid *g = &grids[_i];
    struct br__ckpt *ck = open_case(g->name), *written;
    struct br__train_state *s = open_state(ck), *got;
    struct dp_save *d = br__calloc(1, sizeof *d);
    struct br__buf meta = {0};
    d->ck = ck;
    d->plan.tensors = d->outs;
    d->plan.items = d->items;
    add_groups(d, g);
    for (size_t i = 0; i < s->n_params; i++)
        add_tensor(d, s->params[i].weight->name, s->params[i].weight, NULL, 0);
    for (int pp = 0; pp < g->pp; pp++) {
        for (int part = 0; part < g->tp; part++)
            add_rank(d, s, g, 0, pp, part);
        for (int part = 0; g->ep > 1 && part < g->ep; part++)
            add_rank(d, s, g, 1, pp, part);
    }
    must(br__td_layout(&d->a, &d->plan, &err), &err);
    struct br__dir to;
    must(br__dir_open(&to, dir, &err), &err);
    for (uint32_t f = 0; f < d->plan.n_files; f++)
        must(br__td_write_file(&d->plan, f, &to, 0, dp_produce, d, &err), &err);
    br__dir_close(&to);
    must(br__td_metadata(&d->plan, &meta, &err), &err);
    must(br__write_file(path_of(&d->a, ".metadata"), meta.p, meta.n, 0, &err), &err);
    br__buf_free(&meta);
    br__buf_printf(&meta,
                   "model:\n  tensor_model_parallel_size: %d\n  pipeline_model_parallel_size: %d\n"
                   "  expert_model_parallel_size: %d\n  expert_tensor_parallel_size: 1\n",
                   g->tp, g->pp, g->ep);
    must(br__write_file(path_of(&d->a, "run_config.yaml"), meta.p, meta.n, 0, &err), &err);
    br__buf_free(&meta);
    must(br__ckpt_open(&written, dir, &err), &err);
    got = open_state(written);
    ck_assert_int_eq(got->form, BR__OPTIM_DP);
    ck_assert_int_eq(got->experts_apart, g->ep > 1);
    ck_assert_uint_eq(got->n_params, s->n_params);
    for (size_t i = 0; i < s->n_params; i++)
        for (int k = 0; k < BR__N_OPTIM_KINDS; k++) {
            float *x = read_state(s, i, k), *y = read_state(got, i, k);
            ck_assert_msg(memcmp(x, y, (size_t)state_elements(&s->params[i]) * sizeof *x) == 0,
                          "tp %d, pp %d, ep %d: kind %d of '%s'", g->tp, g->pp, g->ep, k,
                          s->params[i].weight->name);
            free(x);
            free(y);
        }
    br__train_state_close(got);
    br__train_state_close(s);
    br__ckpt_close(written);
    br__ckpt_close(ck);
    br__arena_free(&d->a);
    br__free(d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("train_state");
    TCase *tc = tcase_create("train_state"), *files = tcase_create("files");
    tcase_set_timeout(tc, 300);
    tcase_set_timeout(files, 300);
    tcase_add_checked_fixture(files, setup, teardown);
    tcase_add_loop_test(tc, test_open, 0, BR_COUNTOF(cases));
    tcase_add_loop_test(tc, test_same_numbers, 0, BR_COUNTOF(twins));
    tcase_add_loop_test(tc, test_hostile, 0, BR_COUNTOF(variants));
    tcase_add_loop_test(files, test_grids, 0, BR_COUNTOF(grids));
    suite_add_tcase(s, tc);
    suite_add_tcase(s, files);
    return run_suite(s);
}
