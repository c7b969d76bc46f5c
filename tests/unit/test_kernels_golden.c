/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_kernels_golden.c - every op against what torch makes of the same inputs.
 *
 * data/kernels/ is written by oracle/make_kernel_goldens.py.  Each case runs on every tier and on
 * one to three threads, with contiguous inputs and with gaps between their rows; on one tier all of
 * these must give the same bits.
 *
 * The same cases serve for bfloat16 values: a kernel of those must give, bit by bit, what that of
 * float32 makes of the rounded inputs, rounded once. */
#include "../../core/engine/engine.h"
#include "../../core/graph/graph_internal.h"
#include "libkernel.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t op;
} ops[] = {
#define OP(name, min, max, shape, grad, weight, value) {#name, BR_OP_##name},
#include <bridge/ops.def>
#undef OP
};

static unsigned char seen[BR_N_OPS];

struct gold {
    struct br__arena arena;
    struct br__file file;
    struct br__st_entry *entries;
    size_t n;
    uint64_t data_off;
};

struct one {
    const char *name;
    struct kern_call call; /* op, attr, in, out of the golden */
    struct br_tensor after[BR_MAX_IN];
    double tol;
    void *first; /* output of the first place of a tier */
    const char *tier;
};

/* ---- files ----------------------------------------------------------------------------------- */

static struct br_tensor load(const struct gold *g, const char *name)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct br__st_entry *e = &g->entries[i];
        if (strcmp(e->name, name) != 0)
            continue;
        struct br_tensor t = tensor((uint32_t)e->dtype, (uint32_t)e->ndim, e->shape);
        memcpy(t.data, g->file.map + g->data_off + e->begin, e->end - e->begin);
        return t;
    }
    return (struct br_tensor){0};
}

static struct br_tensor load_part(const struct gold *g, const char *name, const char *part, int n)
{
    char full[128];
    snprintf(full, sizeof full, n < 0 ? "%s/%s" : "%s/%s.%d", name, part, n);
    return load(g, full);
}

static void load_case(const struct gold *g, const br__json *j, struct one *o)
{
    *o = (struct one){.name = br__json_key(j)};
    const char *op = br__json_str(br__json_get(j, "op"), "");
    o->call.op = BR_N_OPS;
    for (size_t i = 0; i < BR_COUNTOF(ops); i++)
        if (strcmp(ops[i].name, op) == 0)
            o->call.op = ops[i].op;
    ck_assert_msg(o->call.op < BR_N_OPS, "%s: op %s", o->name, op);
    seen[o->call.op] = 1;
    int n = 0;
    for (const br__json *v = br__json_first(br__json_get(j, "i")); v; v = br__json_next(v))
        o->call.attr.i[n++] = (int64_t)br__json_num(v, 0);
    n = 0;
    for (const br__json *v = br__json_first(br__json_get(j, "f")); v; v = br__json_next(v))
        o->call.attr.f[n++] = br__json_num(v, 0);
    o->tol = br__json_num(br__json_get(j, "tol"), -1);
    for (n = 0; n < BR_MAX_IN; n++) {
        o->call.in[n] = load_part(g, o->name, "in", n);
        if (!o->call.in[n].data)
            break;
        o->after[n] = load_part(g, o->name, "after", n);
    }
    o->call.n_in = (uint32_t)n;
    o->call.out = load_part(g, o->name, "out", -1);
    ck_assert(n > 0 && o->call.out.data);
}

static void free_case(struct one *o)
{
    for (uint32_t i = 0; i < o->call.n_in; i++) {
        tensor_free(&o->call.in[i]);
        tensor_free(&o->after[i]);
    }
    tensor_free(&o->call.out);
    free(o->first);
}

/* ---- comparison ------------------------------------------------------------------------------ */

static double element(const struct br_tensor *t, int64_t i)
{
    const int64_t cols = t->shape[t->n_dim - 1];
    int64_t at = i % cols, row = i / cols;
    for (uint32_t d = t->n_dim - 1; d-- > 0;) {
        at += row % t->shape[d] * t->stride[d];
        row /= t->shape[d];
    }
    if (t->dtype == BR_I32)
        return ((const int32_t *)t->data)[at];
    if (t->dtype == BR_F32)
        return (double)((const float *)t->data)[at];
    float x;
    br_cast(&x, BR_F32, (const uint16_t *)t->data + at, (int)t->dtype, 1, 0);
    return (double)x;
}

/* Relative L2 within tol, and no element off by more than 30 tol of the largest. */
static void compare(const struct kern_place *p, const struct one *o, const char *what,
                    const struct br_tensor *got, const struct br_tensor *want)
{
    double diff = 0, norm = 0, worst = 0, most = 0;
    for (int64_t i = 0; i < count(want); i++) {
        double a = element(got, i), b = element(want, i), d = fabs(a - b);
        ck_assert_msg(!(d != d) || b != b, "%s on %s x %u: %s[%ld] is %g, not %g", o->name, p->tier,
                      p->threads, what, (long)i, a, b);
        diff += d * d;
        norm += b * b;
        worst = d > worst ? d : worst;
        most = fabs(b) > most ? fabs(b) : most;
    }
    double l2 = sqrt(diff) / (norm > 0 ? sqrt(norm) : 1);
    if (getenv("BRIDGE_TEST_SHOW"))
        printf("%-24s %-8s x%u %-6s %.2g of %.2g\n", o->name, p->tier, p->threads, what, l2,
               o->tol);
    ck_assert_msg(l2 <= o->tol && worst <= 30 * o->tol * most,
                  "%s on %s x %u: %s off by %g (largest %g), not %g", o->name, p->tier, p->threads,
                  what, l2, worst, o->tol);
}

static void run_case(const struct kern_place *p, struct one *o, int64_t gap)
{
    struct kern_call c = o->call;
    for (uint32_t i = 0; i < c.n_in; i++)
        c.in[i] = with_gaps(&o->call.in[i], gap);
    int in_place = c.op == BR_OP_CACHE_WRITE;
    c.out = in_place ? c.in[0] : tensor(c.out.dtype, c.out.n_dim, c.out.shape);
    if (!in_place)
        memset(c.out.data, 0xFF, (size_t)count(&c.out) * br_dtype_size((int)c.out.dtype));
    run_call(p, &c);
    compare(p, o, "out", &c.out, &o->call.out);
    for (uint32_t i = 0; i < c.n_in; i++)
        if (o->after[i].data)
            compare(p, o, "after", &c.in[i], &o->after[i]);
    size_t bytes = (size_t)count(&c.out) * br_dtype_size((int)c.out.dtype);
    if (o->tier != p->tier) {
        o->tier = p->tier;
        free(o->first);
        o->first = malloc(bytes);
        ck_assert_ptr_nonnull(o->first);
        memcpy(o->first, c.out.data, bytes);
    }
    if (!in_place)
        ck_assert_msg(memcmp(o->first, c.out.data, bytes) == 0,
                      "%s on %s: other bits on %u threads, gap %d", o->name, p->tier, p->threads,
                      (int)gap);
    for (uint32_t i = 0; i < c.n_in; i++)
        tensor_free(&c.in[i]);
    if (!in_place)
        tensor_free(&c.out);
}

/* ---- bfloat16 values ------------------------------------------------------------------------- */

/* Inputs that are values, by op; the others are weights, vectors, indices and states. */
static const char *const values_of[BR_N_OPS] = {
    [BR_OP_EMBED] = "--",
    [BR_OP_EMBED_GRAD] = "b-",
    [BR_OP_GATHER_ROWS] = "b-",
    [BR_OP_SCATTER_ROWS] = "b-",
    [BR_OP_CONCAT] = "bbbbbbbb",
    [BR_OP_PAD] = "b",
    [BR_OP_INTERLEAVE] = "b",
    [BR_OP_DEINTERLEAVE] = "b",
    [BR_OP_ADD] = "bb",
    [BR_OP_MUL] = "bb",
    [BR_OP_SCALE] = "b",
    [BR_OP_ADD_ROW] = "b-",
    [BR_OP_MUL_ROW] = "b-",
    [BR_OP_SUM_ROWS] = "b",
    [BR_OP_FILL_ROWS] = "b",
    [BR_OP_MUL_COL] = "bb",
    [BR_OP_DOT_ROWS] = "bb",
    [BR_OP_SWIGLU] = "bb",
    [BR_OP_SWIGLU_DGATE] = "bbb",
    [BR_OP_SIGMOID] = "b",
    [BR_OP_SIGMOID_GRAD] = "bb",
    [BR_OP_SOFTMAX] = "b",
    [BR_OP_SOFTMAX_GRAD] = "bb",
    [BR_OP_RMSNORM] = "b-",
    [BR_OP_RMSNORM_DX] = "b-b",
    [BR_OP_RMSNORM_DW] = "bb",
    [BR_OP_L2NORM] = "b",
    [BR_OP_L2NORM_GRAD] = "bb",
    [BR_OP_ROPE] = "b--",
    [BR_OP_ATTENTION] = "b---",
    [BR_OP_ATTENTION_GRAD] = "b---b",
    [BR_OP_TOPK] = "b",
    [BR_OP_GATHER_COLS] = "b-",
    [BR_OP_SCATTER_COLS] = "b-",
    [BR_OP_MOE_GATHER] = "b-",
    [BR_OP_MOE_GATHER_GRAD] = "b-",
    [BR_OP_MOE_COMBINE] = "b--",
    [BR_OP_MOE_COMBINE_DY] = "b--",
    [BR_OP_MOE_COMBINE_DP] = "bb-",
    [BR_OP_CONV1D_SILU] = "b---",
    [BR_OP_CONV1D_SILU_DX] = "b--b",
    [BR_OP_CONV1D_SILU_DW] = "b--b",
    [BR_OP_GDN_DECAY] = "b--",
    [BR_OP_GDN_DECAY_DA] = "b--b",
    [BR_OP_DELTA_RULE] = "bbbbb--",
    [BR_OP_DELTA_RULE_GRAD] = "bbbbb-b",
    [BR_OP_CROSS_ENTROPY] = "b-",
    [BR_OP_CROSS_ENTROPY_GRAD] = "b--",
};

static struct br_tensor converted(const struct br_tensor *t, uint32_t dtype)
{
    struct br_tensor c = tensor(dtype, t->n_dim, t->shape);
    br_cast(c.data, (int)dtype, t->data, (int)t->dtype, (size_t)count(t), 0);
    return c;
}

/* Run the case with rounded inputs, as they are or widened again. */
static struct br_tensor run_rounded(const struct kern_place *p, const struct one *o, int narrow,
                                    int64_t gap)
{
    struct kern_call c = o->call;
    const char *values = values_of[c.op];
    enum br__value result = br__ops[c.op].value;
    for (uint32_t i = 0; i < c.n_in; i++) {
        int is_value = values[i] == 'b' && c.in[i].dtype == BR_F32;
        struct br_tensor half = converted(&c.in[i], is_value ? BR_BF16 : c.in[i].dtype);
        struct br_tensor wide = converted(&half, is_value ? BR_F32 : c.in[i].dtype);
        c.in[i] = with_gaps(narrow ? &half : &wide, gap);
        tensor_free(&half);
        tensor_free(&wide);
    }
    if (narrow && (result == BR__VALUE_in0 || result == BR__VALUE_act))
        c.out.dtype = BR_BF16;
    c.out = tensor(c.out.dtype, c.out.n_dim, c.out.shape);
    memset(c.out.data, 0xFF, (size_t)count(&c.out) * br_dtype_size((int)c.out.dtype));
    run_call(p, &c);
    for (uint32_t i = 0; i < c.n_in; i++)
        tensor_free(&c.in[i]);
    return c.out;
}

static void run_narrow(const struct kern_place *p, const struct one *o, int64_t gap)
{
    if (!values_of[o->call.op])
        return;
    struct br_tensor got = run_rounded(p, o, 1, gap), wide = run_rounded(p, o, 0, 0);
    struct br_tensor want = converted(&wide, got.dtype);
    /* Attention rounds weights on tiers that multiply bfloat16. */
    if (o->call.op == BR_OP_ATTENTION || o->call.op == BR_OP_ATTENTION_GRAD) {
        const struct one loose = {.name = o->name, .tol = 8e-3};
        compare(p, &loose, "rounded", &got, &want);
        tensor_free(&got);
        got = converted(&wide, got.dtype);
    }
    ck_assert_msg(
        memcmp(got.data, want.data, (size_t)count(&got) * br_dtype_size((int)got.dtype)) == 0,
        "%s on %s x %u, gap %d: not what float32 gives, rounded", o->name, p->tier, p->threads,
        (int)gap);
    tensor_free(&got);
    tensor_free(&wide);
    tensor_free(&want);
}

struct cases {
    struct one *all;
    size_t n;
};

static void run_place(const struct kern_place *p, void *arg)
{
    const struct cases *c = arg;
    for (size_t i = 0; i < c->n; i++) {
        run_case(p, &c->all[i], 0);
        run_case(p, &c->all[i], 3);
        run_narrow(p, &c->all[i], 0);
        run_narrow(p, &c->all[i], 3);
    }
}

static void with_cases(const struct gold *g, const br__json *json, int run)
{
    struct cases c = {.n = br__json_count(json)};
    size_t n = 0;
    ck_assert(c.n > 0);
    c.all = calloc(c.n, sizeof *c.all);
    ck_assert_ptr_nonnull(c.all);
    for (const br__json *j = br__json_first(json); j; j = br__json_next(j))
        load_case(g, j, &c.all[n++]);
    if (run)
        in_each_place(run_place, &c);
    for (size_t i = 0; i < c.n; i++)
        free_case(&c.all[i]);
    free(c.all);
}

/* The cases of a file; run 0: only see which ops they are for. */
static void take_file(const char *name, int run)
{
    struct gold g = {0};
    struct br_err err = BR_ERR_INIT;
    const char *metadata;
    br__json *all, *cases;
    char path[512];
    snprintf(path, sizeof path, "%s/kernels/%s.safetensors", BRIDGE_TEST_DATA, name);
    ck_assert_msg(br__file_open(&g.file, path, &err) == 0, "%s", err.msg);
    ck_assert(br__st_open(&g.arena, &g.file, &g.entries, &g.n, &g.data_off, &metadata, &err) == 0);
    ck_assert(br__json_parse(&all, metadata, strlen(metadata), &err) == 0);
    const char *text = br__json_str(br__json_get(all, "cases"), "");
    ck_assert(br__json_parse(&cases, text, strlen(text), &err) == 0);
    with_cases(&g, cases, run);
    br__json_free(cases);
    br__json_free(all);
    br__file_close(&g.file);
    br__arena_free(&g.arena);
}

static const char *const files[] = {"pointwise", "rows", "norms", "rope",  "attention",
                                    "routing",   "conv", "delta", "losses"};

START_TEST(goldens)
{
    take_file(files[_i], 1);
}
END_TEST

/* ---- coverage -------------------------------------------------------------------------------- */

/* Leaves and views come before the products, but for AFTER; collectives are ALL_REDUCE to RECV and
 * ALL_TO_ALL to EXCHANGE. */
static int is_computed(uint32_t op)
{
    return (op >= BR_OP_MATMUL && op < BR_OP_ALL_REDUCE) ||
           (op > BR_OP_RECV && op != BR_OP_AFTER &&
            !(op >= BR_OP_ALL_TO_ALL && op <= BR_OP_EXCHANGE));
}

/* What the CPU may lack: there the host chooses tokens from logits that it has.  A device has every
 * op, and may have ops that stand for several (test_fuse.c). */
static int may_lack(uint32_t op)
{
    return (op >= BR_OP_LINEAR && op <= BR_OP_GDN_STEP) ||
           (!kern_device() && (op == BR_OP_SELECT || op == BR_OP_ADVANCE));
}

static int has_weight(uint32_t op)
{
    return op == BR_OP_EMBED || op == BR_OP_MATMUL || op == BR_OP_MATMUL_NN ||
           op == BR_OP_GROUPED_MATMUL || op == BR_OP_GROUPED_MATMUL_NN;
}

/* Ops that have goldens and see or make activations. */
static int needs_bf16(uint32_t op)
{
    return op >= BR_OP_EMBED && op < BR_OP_ALL_REDUCE && op != BR_OP_CACHE_WRITE &&
           op != BR_OP_COUNT_COLS && op != BR_OP_MOE_SORT && op != BR_OP_DORA_INV_NORM;
}

static void check_kernels(const struct kern_place *p, void *arg)
{
    (void)arg;
    for (uint32_t op = 0; op < BR_N_OPS; op++) {
        if (!is_computed(op) || may_lack(op))
            continue;
        ck_assert_msg(kernel_of(p, op, BR_F32) != NULL, "%s has no kernel on %s", ops[op].name,
                      p->tier);
        ck_assert_msg(!needs_bf16(op) || values_of[op], "%s has no test with bfloat16 values",
                      ops[op].name);
        for (uint32_t i = 0; has_weight(op) && i < 2; i++)
            ck_assert_msg(kernel_of(p, op, i ? BR_F16 : BR_BF16) != NULL,
                          "%s has no kernel for 16-bit weights on %s", ops[op].name, p->tier);
    }
    ck_assert_ptr_nonnull(kernel_of(p, BR_OP_ATTENTION, BR_BF16));
}

START_TEST(each_op_has_a_kernel)
{
    in_each_place(check_kernels, NULL);
}
END_TEST

/* The matrix products have goldens of their own. */
START_TEST(each_op_has_a_golden)
{
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < BR_COUNTOF(files); i++)
        take_file(files[i], 0);
    for (uint32_t op = BR_OP_EMBED; op < BR_OP_ALL_REDUCE; op++)
        ck_assert_msg(seen[op], "%s has no golden", ops[op].name);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("kernels_golden");
    TCase *t = tcase_create("goldens");
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, goldens, 0, (int)BR_COUNTOF(files));
    tcase_add_test(t, each_op_has_a_kernel);
    tcase_add_test(t, each_op_has_a_golden);
    suite_add_tcase(s, t);
    return run_suite(s);
}
