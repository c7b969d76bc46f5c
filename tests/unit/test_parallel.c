/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_parallel.c - rank-threads against one rank: logits, losses and gradients under tensor,
 * pipeline, expert and expert-tensor parallelism must be those of a single rank, which
 * test_engine.c compares with transformers. */
#include "engine/weights.h"
#include "libgolden.h"
#include "librun.h"
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS 32
#define MADE "made "

struct topology {
    uint32_t tp, pp, ep, etp, dp;
    int sample; /* index of the model with which it is tried where a sample is */
};
/* dp is what follows from the others; data-parallel ranks are given different sequences. */
static const struct topology topologies[] = {
    {2, 1, 1, 1, 1, 2}, {1, 2, 1, 1, 1, 0},  {1, 1, 2, 1, 2, 3}, {1, 1, 1, 2, 2, 4},
    {2, 2, 1, 1, 1, 1}, {2, 1, 2, 1, 1, 6},  {2, 1, 1, 2, 1, 5}, {2, 1, 2, 2, 2, 14},
    {1, 2, 2, 1, 2, 3}, {2, 2, 2, 1, 1, 16}, {4, 1, 1, 1, 1, 8},
};
static const struct model {
    const char *base;
    const char *adapter; /* of the fixtures, or MADE and has_adapter's kind; NULL: none */
} models[] = {
    {"qwen2_tied_fp32", NULL},
    {"qwen2_tied_fp16", NULL},
    {"qwen3_tied_bf16", NULL},
    {"qwen3_moe_bf16", NULL},
    {"qwen3_moe_fused_bf16", NULL},
    {"qwen3_moe_sparse_step_fp32", NULL},
    {"qwen3_next_bf16", NULL},
    {"qwen2_tied_fp32", "qwen2_lora"},
    {"qwen2_tied_fp32", "qwen2_dora"},
    {"qwen3_tied_bf16", "qwen3_lora"},
    {"qwen3_tied_bf16", "qwen3_dora"},
    {"qwen2_tied_fp16", MADE "dora"},
    {"qwen3_tied_bf16", MADE "last"},
    {"qwen3_moe_bf16", MADE "lora"},
    {"qwen3_moe_bf16", MADE "experts"},
    {"qwen3_next_bf16", MADE "experts"},
    {"qwen3_moe_fused_bf16", MADE "dora"},
    {"qwen3_next_bf16", MADE "lora"},
    {"qwen3_next_bf16", MADE "dora"},
};
#define N_CASES ((int)(BR_COUNTOF(topologies) * BR_COUNTOF(models)))

/* A topology of which the model's heads and experts can be shared out. */
static int is_possible(const struct topology *t, const struct br_config *cfg)
{
    return (cfg->n_experts || (t->ep == 1 && t->etp == 1)) &&
           br_cfg_i(cfg, BR_CFG_NUM_ATTENTION_HEADS) % t->tp == 0;
}

/* ---- adapters that the tests make ------------------------------------------------------------ */

#define RANK 3

static const char config_lora[] = "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6}";
static const char config_dora[] =
    "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"use_dora\": true}";

struct made {
    struct br__arena arena;
    struct br__st_entry entries[256];
    size_t n;
    struct br__buf data;
    uint32_t seed;
};

/* rows x cols (one axis if rows is 0) of numbers around `mean`, no further off than `most`. */
static void add_tensor(struct made *m, const char *weight, const char *end, int64_t rows,
                       int64_t cols, double mean, double most)
{
    int n = (int)(strlen(weight) - strlen(".weight"));
    ck_assert_uint_lt(m->n, BR_COUNTOF(m->entries));
    m->entries[m->n++] = (struct br__st_entry){
        .name = br__arena_printf(&m->arena, "base_model.model.%.*s%s", n, weight, end),
        .dtype = BR_F32,
        .ndim = rows ? 2 : 1,
        .shape = {rows ? rows : cols, rows ? cols : 0}};
    for (int64_t i = 0; i < BR__MAX(rows, 1) * cols; i++) {
        m->seed = m->seed * 1664525 + 1013904223;
        float x = (float)(mean + most * ((double)(m->seed >> 8) / (1 << 23) - 1));
        br__buf_put(&m->data, &x, sizeof x);
    }
}

/* The linear layers that an adapter of that kind changes. */
static int has_adapter(const struct br__source *s, const char *kind, int64_t last)
{
    char layer[32];
    snprintf(layer, sizeof layer, ".layers.%lld.", (long long)last);
    int linear = br__ends(s->name, "_proj.weight") || strstr(s->name, ".in_proj_") ||
                 br__ends(s->name, "lm_head.weight");
    int routed = strstr(s->name, ".experts.") || br__ends(s->name, ".mlp.gate.weight");
    if (strstr(kind, "experts"))
        return s->ndim == 2 && routed &&
               (strcmp(kind, "some experts") || strstr(s->name, ".experts.1."));
    return s->ndim == 2 && linear && !routed && (strcmp(kind, "last") || strstr(s->name, layer));
}

static void write_file(const char *dir, const char *name, const void *p, size_t n)
{
    char path[600];
    struct br_err err = BR_ERR_INIT;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    must(br__write_file(path, p, n, 0, &err), &err);
}

static void make_adapter(const char *base, const char *kind, const char *dir)
{
    char path[512];
    struct made made = {.seed = 7};
    snprintf(path, sizeof path, "%s%s", HF, base);
    struct br__llm *m = open_model(path, NULL, 0);
    const struct br__weights *w = br__llm_weights(m);
    int dora = br__starts(kind, "dora");
    for (size_t i = 0; i < w->n_sources; i++) {
        const struct br__source *s = &w->sources[i];
        if (!has_adapter(s, kind, w->cfg->n_layers - 1))
            continue;
        add_tensor(&made, s->name, ".lora_A.weight", RANK, s->cols, 0, 0.2);
        add_tensor(&made, s->name, ".lora_B.weight", s->rows, RANK, 0, 0.2);
        if (dora)
            add_tensor(&made, s->name, ".lora_magnitude_vector", 0, s->rows, 0.6, 0.3);
    }
    ck_assert_uint_gt(made.n, 0);
    struct br__buf file = {0};
    const char *config = dora ? config_dora : config_lora;
    ck_assert_int_eq(br__st_header(&file, made.entries, made.n, NULL), 0);
    br__buf_put(&file, made.data.p, made.data.n);
    write_file(dir, "adapter_model.safetensors", file.p, file.n);
    write_file(dir, "adapter_config.json", config, strlen(config));
    br__buf_free(&file);
    br__buf_free(&made.data);
    br__arena_free(&made.arena);
    br__llm_close(m);
}

/* Where the model's adapter is, NULL without one. */
static const char *adapter_dir(const struct model *model, char dir[512])
{
    if (!model->adapter)
        return NULL;
    if (!br__starts(model->adapter, MADE)) {
        snprintf(dir, 512, "%s/adapters/%s", BRIDGE_TEST_DATA, model->adapter);
        return dir;
    }
    make_temp_dir(dir, 512, "bridge-adapter");
    make_adapter(model->base, model->adapter + strlen(MADE), dir);
    return dir;
}

/* Once it is open: its files stay mapped. */
static void drop_adapter(const struct model *model, const char *dir)
{
    struct br_err err = BR_ERR_INIT;
    if (model->adapter && br__starts(model->adapter, MADE))
        must(br__remove_tree(dir, &err), &err);
}

/* ---- one rank and many ----------------------------------------------------------------------- */

static struct br__llm *open_ranks(const char *model, const char *adapter, const struct topology *t)
{
    char dir[512];
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m;
    snprintf(dir, sizeof dir, "%s%s", HF, model);
    /* Two threads on every machine, shared by the ranks: a barrier of hundreds of threads on few
     * CPUs takes milliseconds, and these graphs have as many barriers as kernels. */
    struct br__llm_opts o = {.weights = {.hf_model = dir, .adapter = adapter},
                             .precision = BR_F32,
                             .device = test_device(),
                             .threads = 2};
    if (t) {
        o.tp = t->tp;
        o.pp = t->pp;
        o.ep = t->ep;
        o.etp = t->etp;
    }
    must(br__llm_open(&m, &o, &err), &err);
    return m;
}

static void fill_ids(int32_t *ids, uint32_t seed)
{
    for (int i = 0; i < TOKENS; i++) {
        seed = seed * 1664525 + 1013904223;
        ids[i] = (int32_t)(seed >> 8 & 63);
    }
}

static void trace_all(struct br__llm *m, const int32_t *const *ids, size_t n, struct br__trace *t)
{
    struct br_err err = BR_ERR_INIT;
    const struct br__trace_opts o = {
        .ids = ids, .n_batches = n, .n = TOKENS, .flags = BR__TRACE_GRADS | BR__TRACE_HIDDEN};
    must(br__llm_trace(m, &o, t, &err), &err);
}

/* Losses and gradients of b are averaged into a: what two data-parallel ranks must give. */
static void average(struct br__trace *a, const struct br__trace *b)
{
    for (size_t i = 0; i < a->n; i++) {
        if (!br__starts(a->list[i].name, "grad.") && strcmp(a->list[i].name, "loss"))
            continue;
        const struct br__named *other = br__trace_find(b, a->list[i].name);
        ck_assert(other != NULL);
        for (int64_t k = 0; k < (int64_t)br__named_elems(other); k++)
            a->list[i].data[k] = (a->list[i].data[k] + other->data[k]) / 2;
    }
}

static void compare(const struct br__trace *got, const struct br__trace *want, double tolerance,
                    const char *what)
{
    ck_assert_int_eq((int)got->n, (int)want->n);
    for (size_t i = 0; i < want->n; i++) {
        const struct br__named *w = &want->list[i], *r = br__trace_find(got, w->name);
        double d = 0, s = 0;
        ck_assert_msg(r && br__named_elems(r) == br__named_elems(w), "%s: no %s", what, w->name);
        for (int64_t k = 0; k < (int64_t)br__named_elems(w); k++) {
            d += ((double)r->data[k] - w->data[k]) * ((double)r->data[k] - w->data[k]);
            s += (double)w->data[k] * w->data[k];
        }
        d = s > 0 ? sqrt(d / s) : sqrt(d);
        ck_assert_msg(d <= tolerance, "%s: %s differs by %g (relative L2), allowed %g", what,
                      w->name, d, tolerance);
    }
}

START_TEST(test_topology)
{
    const struct topology *t = &topologies[_i % (int)BR_COUNTOF(topologies)];
    const struct model *model = &models[_i / (int)BR_COUNTOF(topologies)];
    if (test_is_sampled() && t->sample != _i / (int)BR_COUNTOF(topologies))
        return;
    char what[128], tmp[512];
    int32_t a[TOKENS], b[TOKENS];
    const int32_t *const ids[2] = {a, b}, *const second[1] = {b};
    struct br__trace want, other, got;
    snprintf(what, sizeof what, "%s, %s, tp%u pp%u ep%u etp%u", model->base,
             model->adapter ? model->adapter : "no adapter", t->tp, t->pp, t->ep, t->etp);
    fill_ids(a, 1);
    fill_ids(b, 2);
    const char *adapter = adapter_dir(model, tmp);
    struct br__llm *one = open_ranks(model->base, adapter, NULL);
    struct br__llm *many = open_ranks(model->base, adapter, t);
    drop_adapter(model, adapter);
    if (!is_possible(t, br__llm_config(one))) {
        br__llm_close(one);
        br__llm_close(many);
        return;
    }
    ck_assert_uint_eq(br__llm_topo(many)->size[BR_AXIS_DP], t->dp);
    trace_all(one, ids, 1, &want);
    if (t->dp == 2) {
        trace_all(one, second, 1, &other);
        average(&want, &other);
        br__trace_free(&other);
    }
    trace_all(many, ids, t->dp, &got);
    compare(&got, &want, strstr(model->base, "next") ? 3e-4 : 1e-5, what);
    br__trace_free(&want);
    br__trace_free(&got);
    br__llm_close(one);
    br__llm_close(many);
}
END_TEST

static struct br__llm_session *open_session(struct br__llm *m)
{
    struct br__llm_session *s;
    struct br_err err = BR_ERR_INIT;
    must(br__llm_session_open(&s, m, 1, TOKENS, &err), &err);
    return s;
}

/* Through caches, one token at a time: batches that the ranks must pad. */
START_TEST(test_decode)
{
    static const struct topology all = {2, 2, 2, 1, 1, 0};
    static const struct topology dense = {2, 2, 1, 1, 1, 0};
    const struct model *model = &models[_i];
    if (test_is_sampled() && _i % 4 != 2)
        return;
    char tmp[512];
    const char *adapter = adapter_dir(model, tmp);
    struct br__llm *one = open_ranks(model->base, adapter, NULL);
    const struct topology *t = is_possible(&all, br__llm_config(one)) ? &all : &dense;
    struct br__llm *many = open_ranks(model->base, adapter, t);
    drop_adapter(model, adapter);
    struct br__llm_session *a = open_session(one), *b = open_session(many);
    struct br_err err = BR_ERR_INIT;
    size_t vocab = (size_t)br_cfg_i(br__llm_config(one), BR_CFG_VOCAB_SIZE);
    float *x = malloc(vocab * sizeof *x), *y = malloc(vocab * sizeof *y);
    int32_t ids[TOKENS];
    fill_ids(ids, 3);
    for (int i = 0; i < TOKENS; i += i ? 1 : 13) {
        const struct br__forward_seq f = {0, ids + i, i ? 1 : 13};
        must(br__llm_forward(a, &f, 1, x, &err), &err);
        must(br__llm_forward(b, &f, 1, y, &err), &err);
        for (size_t v = 0; v < vocab; v++)
            ck_assert_msg(fabsf(x[v] - y[v]) <= 3e-4f, "%s: token %d: logit %zu is %g, expected %g",
                          model->base, i, v, (double)y[v], (double)x[v]);
    }
    free(x);
    free(y);
    br__llm_session_close(a);
    br__llm_session_close(b);
    br__llm_close(one);
    br__llm_close(many);
}
END_TEST

/* The linker gives every pthread_create of this program to the first of these. */
static atomic_int threads_started;
int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*fn)(void *), void *arg)
{
    atomic_fetch_add(&threads_started, 1);
    return __real_pthread_create(t, a, fn, arg);
}

/* Ranks are threads that stay: no step starts one. */
START_TEST(test_threads_stay)
{
    static const struct topology t = {2, 2, 1, 1, 1, 0};
    struct br__llm *m = open_ranks("qwen3_tied_bf16", NULL, &t);
    struct br__llm_session *s = open_session(m);
    struct br_err err = BR_ERR_INIT;
    size_t vocab = (size_t)br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);
    float *logits = malloc(vocab * sizeof *logits);
    int32_t ids[TOKENS];
    fill_ids(ids, 3);
    ck_assert_int_ge(atomic_load(&threads_started), 3);
    must(br__llm_forward(s, &(struct br__forward_seq){0, ids, 1}, 1, logits, &err), &err);
    int before = atomic_load(&threads_started);
    for (int i = 1; i < TOKENS; i++)
        must(br__llm_forward(s, &(struct br__forward_seq){0, ids + i, 1}, 1, logits, &err), &err);
    ck_assert_int_eq(atomic_load(&threads_started), before);
    free(logits);
    br__llm_session_close(s);
    br__llm_close(m);
}
END_TEST

START_TEST(test_impossible)
{
    static const struct {
        struct topology t;
        struct model model;
        const char *says;
    } cases[] = {
        {{3, 1, 1, 1, 1, 0},
         {"qwen3_tied_bf16", NULL},
         "num_query_groups 2 cannot be shared by tp 3"},
        {{1, 3, 1, 1, 1, 0}, {"qwen3_tied_bf16", NULL}, "pp 3"},
        {{1, 1, 3, 1, 3, 0}, {"qwen3_moe_bf16", NULL}, "experts cannot be shared by ep 3"},
        {{1, 1, 1, 1, 1, 0},
         {"qwen3_moe_bf16", MADE "some experts"},
         "experts.0.gate_proj.weight' has no adapter, other experts of its layer have"},
        {{1, 1, 1, 1, 1, 0},
         {"qwen3_moe_bf16", MADE "dora experts"},
         "mlp.experts.0.gate_proj.weight' has a DoRA adapter, which cannot work beside"},
    };
    const struct model *model = &cases[_i].model;
    char tmp[512];
    struct br_err err = BR_ERR_INIT;
    struct br__trace got;
    int32_t a[TOKENS];
    const int32_t *const ids[3] = {a, a, a};
    fill_ids(a, 1);
    const char *adapter = adapter_dir(model, tmp);
    struct br__llm *m = open_ranks(model->base, adapter, &cases[_i].t);
    drop_adapter(model, adapter);
    const struct br__trace_opts o = {.ids = ids, .n_batches = cases[_i].t.dp, .n = TOKENS};
    ck_assert_int_ne(br__llm_trace(m, &o, &got, &err), 0);
    ck_assert_msg(strstr(err.msg, cases[_i].says) != NULL, "%s", err.msg);
    br__llm_close(m);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("parallel");
    TCase *c = tcase_create("ranks");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, test_topology, 0, N_CASES);
    tcase_add_loop_test(c, test_decode, 0, (int)BR_COUNTOF(models));
    tcase_add_test(c, test_threads_stay);
    tcase_add_loop_test(c, test_impossible, 0, 5);
    suite_add_tcase(s, c);
    return run_suite(s);
}
