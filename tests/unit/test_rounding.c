/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_rounding.c - bfloat16 training is not float32 under another name: which values of a graph
 * are rounded, how many numbers of a token that makes, and how many bytes of it are kept.
 *
 * Megatron under bf16_mixed rounds what each module gives: norms, products, rotations, attention,
 * activations, sums of the residual stream, and the gradient of each of them.  Losses, softmax,
 * statistics, decay and the gradients of weights are float32. */
#include "../../core/engine/llm.h"
#include "../../core/graph/graph_internal.h"
#include "libgolden.h"
#include "librun.h"

#include <string.h>

static struct br_err err;

enum { T = 64 }; /* tokens */

/* The toys of tests/data/train; heads of query and key. */
static const struct {
    const char *name;
    int router; /* its dtype; 0: that of the values */
    int64_t hidden, heads, kv_heads, head_dim, ffn;
} toys[] = {
    {"qwen2", 0, 32, 4, 2, 8, 64},
    {"qwen3", 0, 32, 4, 2, 16, 64},
    {"qwen3_moe", 0, 32, 4, 2, 16, 16},
    {"qwen3_next_mtp", BR_F32, 32, 4, 2, 16, 16},
};
enum { QWEN2, QWEN3, QWEN3_MOE, QWEN3_NEXT };
enum { EXPERTS = 4, TOPK = 2 }; /* of the two with experts */

/* ---- what is rounded, of one token ----------------------------------------------------------- */

static int64_t of_attention(int toy)
{
    int64_t h = toys[toy].hidden, d = toys[toy].head_dim, q = toys[toy].heads * d,
            k = toys[toy].kv_heads * d;
    int64_t n = h + (q + 2 * k) + (q + k) + q + h + h; /* norm, qkv, rope, core, proj, residual */
    if (toy == QWEN2)
        n += q + 2 * k; /* bias */
    else
        n += q + k; /* norms of query and key */
    if (toy == QWEN3_NEXT)
        n += q + q + q; /* the gate: as wide as the query, its sigmoid, the product */
    return n;
}

/* Gated delta net of 2 key heads and 4 value heads of 8. */
static int64_t of_delta_net(void)
{
    int64_t h = toys[QWEN3_NEXT].hidden, k = 2 * 8, v = 4 * 8, heads = 4;
    return h + (2 * k + 2 * v) + 2 * heads /* norm, q k v z, b and a */
           + (2 * k + v) + 2 * k + heads   /* convolution, l2 norms of q and k, sigmoid of b */
           + v + v + v + h + h;            /* rule, norm, gate, proj, residual */
}

static int64_t of_mlp(int toy)
{
    int64_t h = toys[toy].hidden, f = toys[toy].ffn;
    return h + 2 * f + f + h + h; /* norm, fc1, activation, fc2, residual */
}

static int64_t of_experts(int toy)
{
    int64_t h = toys[toy].hidden, f = toys[toy].ffn;
    /* norm; each of the chosen experts: fc1, activation, times its probability, fc2; their sum;
     * residual */
    int64_t n = h + TOPK * (2 * f + f + f + h) + h + h;
    if (toy == QWEN3_MOE)
        return n + EXPERTS + TOPK;              /* the router's logits and probabilities */
    return n + (2 * f + f + h) + 1 + 1 + h + h; /* shared expert, its gate, both together */
}

/* Two layers and the final norm.  The head rounds logits inside of its op. */
static int64_t of_model(int toy)
{
    int64_t n = toys[toy].hidden;
    for (int layer = 0; layer < 2; layer++) {
        n += toy == QWEN3_NEXT && layer == 0 ? of_delta_net() : of_attention(toy);
        n += toy >= QWEN3_MOE ? of_experts(toy) : of_mlp(toy);
    }
    return n;
}

/* ---- graphs ---------------------------------------------------------------------------------- */

struct graph {
    struct br__llm *m;
    struct br__train_opts o;
    struct br__losses losses;
    struct br__compiled *q;
    br_val end; /* one past the forward pass */
};

static void open_graph(struct graph *x, int toy, int values, int backward)
{
    char dir[512];
    snprintf(dir, sizeof dir, BRIDGE_TEST_DATA "/train/%s/hf", toys[toy].name);
    const struct br__llm_opts o = {
        .weights.hf_model = dir, .device = test_device(), .precision = BR_F32, .threads = 1};
    must(br__llm_open(&x->m, &o, &err), &err);
    x->o = (struct br__train_opts){.values = values, .router_dtype = toys[toy].router};
    x->losses = (struct br__losses){.o = &x->o};
    const struct br__build b = {.flags = BR__BUILD_ALL_LOGITS | BR__BUILD_LOSS,
                                .n_tokens = T,
                                .n_seqs = 1,
                                .n_out = T,
                                .losses = &x->losses};
    must(br__compiled_make(&x->m->ranks[0], &b, &x->q, &err), &err);
    struct br_graph *g = &x->q->g;
    x->end = (br_val)g->n;
    struct br__want *want = br__arena_alloc(&g->arena, g->n * sizeof *want);
    br_val *grad = br__arena_alloc(&g->arena, g->n * sizeof *grad);
    size_t n = 0;
    for (br_val v = 1; v < x->end; v++)
        if (br__node(g, v)->op == BR_OP_PARAM)
            want[n++].leaf = v;
    const struct br__root root = {x->losses.lm.loss, x->losses.lm.weights};
    if (backward)
        must(br__grad(g, &root, 1, want, n, grad, &err), &err);
}

static void close_graph(struct graph *x)
{
    br__compiled_free(x->q);
    br__llm_close(x->m);
}

static int is_any(uint32_t op, const uint32_t *ops, size_t n)
{
    while (n--)
        if (ops[n] == op)
            return 1;
    return 0;
}
#define IS_ANY(op, ...)                                                                            \
    is_any(op, (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / 4)

/* Ops that move numbers and make none. */
static int only_moves(uint32_t op)
{
    return IS_ANY(op, BR_OP_EMBED, BR_OP_CONCAT, BR_OP_PAD, BR_OP_MOE_GATHER, BR_OP_GATHER_ROWS,
                  BR_OP_FILL_ROWS, BR_OP_ZEROS);
}

/* Numbers of nodes [from, to) that are made in this dtype. */
static int64_t count(const struct graph *x, br_val from, br_val to, uint32_t dtype)
{
    const struct br_graph *g = &x->q->g;
    int64_t n = 0;
    for (br_val v = from; v < to; v++) {
        const struct br__node *node = br__node(g, v);
        if (br__op_kind(node->op) == BR__OP_COMPUTE && node->dtype == dtype &&
            !only_moves(node->op))
            n += br__node_elems(node);
    }
    return n;
}

START_TEST(test_forward)
{
    struct graph x;
    open_graph(&x, _i, BR_BF16, 0);
    ck_assert_int_eq(count(&x, 1, x.end, BR_BF16), T * of_model(_i));
    close_graph(&x);
    open_graph(&x, _i, BR_F32, 1);
    ck_assert_int_eq(count(&x, 1, (br_val)x.q->g.n, BR_BF16), 0);
    close_graph(&x);
}
END_TEST

/* ---- what is not rounded --------------------------------------------------------------------- */

/* A float32 value that is rounded at once, for want of a kernel that does both, or that is a
 * bfloat16 one widened. */
static int is_rounded(const struct br_graph *g, br_val v)
{
    if (br__node(g, v)->op == BR_OP_CAST)
        return 1;
    for (br_val u = v + 1; u < g->n; u++)
        if (br__node(g, u)->op == BR_OP_CAST && br__node(g, u)->in[0] == v)
            return 1;
    return 0;
}

/* Float32 by rule: losses and their seeds, softmax and probabilities, the router where it is said,
 * sums over rows, decay, the delta rule's gradient before it is cut up, gradients of weights. */
static int stays_wide(const struct br_graph *g, br_val v)
{
    const struct br__node *n = br__node(g, v);
    int router =
        (n->op == BR_OP_MATMUL || n->op == BR_OP_MATMUL_NN) && g->build->losses->o->router_dtype;
    int probability = n->op == BR_OP_MOE_GATHER_GRAD && n->shape[n->n_dim - 1] == 1;
    int of_weight = n->op == BR_OP_ADD && n->shape[0] != T;
    int decay = n->op == BR_OP_MUL && br__node(g, n->in[1])->op == BR_OP_GDN_DECAY;
    return router || probability || of_weight || decay ||
           IS_ANY(n->op, BR_OP_LM_HEAD_STATS, BR_OP_LM_HEAD_LOSS, BR_OP_LM_HEAD_GRAD, BR_OP_SOFTMAX,
                  BR_OP_SOFTMAX_GRAD, BR_OP_GATHER_COLS, BR_OP_SCATTER_COLS, BR_OP_COUNT_COLS,
                  BR_OP_SUM_ROWS, BR_OP_DOT_ROWS, BR_OP_MATMUL_TN, BR_OP_GROUPED_MATMUL_TN,
                  BR_OP_EMBED_GRAD, BR_OP_RMSNORM_DW, BR_OP_CONV1D_SILU_DW, BR_OP_GDN_DECAY,
                  BR_OP_GDN_DECAY_DA, BR_OP_MOE_COMBINE_DP, BR_OP_DELTA_RULE_GRAD, BR_OP_ADD_TO);
}

/* Each value that was rounded has a gradient that is; those of products with one input are rounded
 * before they are added, as torch's are. */
START_TEST(test_backward)
{
    struct graph x;
    open_graph(&x, _i, BR_BF16, 1);
    const struct br_graph *g = &x.q->g;
    int64_t forward = count(&x, 1, x.end, BR_BF16), back = count(&x, x.end, (br_val)g->n, BR_BF16);
    ck_assert_msg(back >= forward && back < 2 * forward, "%lld forward, %lld backward",
                  (long long)forward, (long long)back);
    for (br_val v = 1; v < g->n; v++) {
        const struct br__node *n = br__node(g, v);
        ck_assert_msg(br__op_kind(n->op) != BR__OP_COMPUTE || n->dtype != BR_F32 ||
                          only_moves(n->op) || stays_wide(g, v) || is_rounded(g, v),
                      "node %u, %s of %lld numbers, is float32", v, br__ops[n->op].name,
                      (long long)br__node_elems(n));
    }
    close_graph(&x);
}
END_TEST

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Bytes that 512 tokens more take, in a pass of 1024. */
static uint64_t bytes_of_tokens(int toy, int values)
{
    enum { N = 1024, SEQ = 32 };
    static int32_t ids[N], labels[N];
    static float mask[N];
    struct br__micro_out out;
    struct br__trainer *t;
    struct br__trainer_memory held;
    struct graph x;
    uint64_t bytes[2];
    open_graph(&x, toy, values, 0);
    must(br__trainer_open(&t, x.m, &x.o, &err), &err);
    for (int i = 0; i < N; i++) {
        ids[i] = labels[i] = i % 100;
        mask[i] = 1;
    }
    for (int i = 0; i < 2; i++) {
        const struct br__micro mb = {.n_tokens = N / 2 * (i + 1),
                                     .n_seqs = N / 2 * (i + 1) / SEQ,
                                     .ids = ids,
                                     .labels = labels,
                                     .mask = mask,
                                     .loss_scale = 1.0f / N};
        must(br__trainer_run(t, &mb, 1, &out, &err), &err);
        must(br__trainer_memory(t, 0, 0, &held, &err), &err);
        bytes[i] = held.activations;
    }
    br__trainer_close(t);
    close_graph(&x);
    return bytes[1] - bytes[0];
}

/* Bytes of the forward pass that the backward pass reads. */
static uint64_t kept_bytes(int toy, int values)
{
    struct graph x;
    open_graph(&x, toy, values, 1);
    const struct br_graph *g = &x.q->g;
    uint8_t *kept = br__arena_alloc(&x.q->g.arena, x.end);
    uint64_t bytes = 0;
    memset(kept, 0, x.end);
    for (br_val v = x.end; v < g->n; v++)
        for (uint32_t i = 0; i < br__node(g, v)->n_in; i++) {
            br_val base = br__node(g, br__node(g, v)->in[i])->base;
            if (base < x.end && br__op_kind(br__node(g, base)->op) == BR__OP_COMPUTE)
                kept[base] = 1;
        }
    for (br_val v = 1; v < x.end; v++)
        if (kept[v])
            bytes += (uint64_t)br__node_elems(br__node(g, v)) *
                     br_dtype_size((int)br__node(g, v)->dtype);
    close_graph(&x);
    return bytes;
}

/* What is kept of a token takes little more than half: the log sums of attention and what the
 * router decides are float32.  All that is used takes more, where a tier widens values while an op
 * runs for which it has no kernel of bfloat16. */
START_TEST(test_bytes)
{
    const struct {
        uint64_t f32, bf16;
        double most;
    } row[] = {{kept_bytes(_i, BR_F32), kept_bytes(_i, BR_BF16), 0.6},
               {bytes_of_tokens(_i, BR_F32), bytes_of_tokens(_i, BR_BF16), 0.9}};
    for (size_t i = 0; i < BR_COUNTOF(row); i++)
        ck_assert_msg(row[i].bf16 > 0 && (double)row[i].bf16 <= row[i].most * (double)row[i].f32,
                      "%zu: %llu bytes in bfloat16, %llu in float32", i,
                      (unsigned long long)row[i].bf16, (unsigned long long)row[i].f32);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rounding");
    TCase *tc = tcase_create("rounding");
    tcase_add_loop_test(tc, test_forward, 0, BR_COUNTOF(toys));
    tcase_add_loop_test(tc, test_backward, 0, BR_COUNTOF(toys));
    tcase_add_loop_test(tc, test_bytes, 0, BR_COUNTOF(toys));
    suite_add_tcase(s, tc);
    return run_suite(s);
}
