/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_ranks_train.c - the trainer over ranks that are threads: losses and gradients of every
 * family's toy under each way to share it must be those of one rank, which test_trainer.c compares
 * with Megatron. */
#include "libranked.h"
#include "librun.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct br_err err;

/* ---- ways to share a toy --------------------------------------------------------------------- */

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

/* What one rank would compute in the same order. */
static int is_same_order(const struct sharing *s, enum toy toy)
{
    return s->pp > 1 && s->tp * s->cp * s->dp == 1 && toy != QWEN2 && toy != MTP;
}

static void compare_losses(const struct result *got, const struct result *want, double tolerance)
{
    ranked_near("loss", got->loss, want->loss, tolerance);
    ranked_near("MTP loss", got->mtp, want->mtp, tolerance);
    ranked_near("aux loss", got->aux, want->aux, tolerance);
    ranked_near("z loss", got->z, want->z, tolerance);
}

/* A step of the toy shared so; `spoil` changes its weights first. */
static void step_of(enum toy toy, const struct sharing *s, const struct batch *batches, size_t n,
                    void (*spoil)(struct trainer *x), struct result *r)
{
    struct trainer x = ranked_open(toy, s);
    if (spoil)
        spoil(&x);
    ranked_step(&x, batches, n, r);
    ranked_close(&x);
}

static void same_as_alone(enum toy toy, const struct sharing *way, void (*spoil)(struct trainer *x))
{
    static struct batch batches[16];
    static struct result got, want;
    struct sharing one = ranked_alone, shared = *way, *s = &shared;
    size_t n = (ranked_samples() ? s->pp : MICROS) * s->dp;
    one.values = s->values;
    one.adapters = s->adapters;
    one.adds_up = s->adds_up = s->dp > 1;
    for (uint32_t i = 0; i < n; i++)
        ranked_batch(&batches[i], i + 3, toy);
    step_of(toy, &one, batches, n, spoil, &want);
    step_of(toy, s, batches, n, spoil, &got);
    if (is_same_order(s, toy)) {
        compare_losses(&got, &want, 0);
        ranked_compare(&got, &want, 0, 0);
    } else if (s->values) {
        compare_losses(&got, &want, 2e-3);
        ranked_compare(&got, &want, toy >= MOE ? 1 : 0.15, 5e-2); /* experts flip */
    } else {
        compare_losses(&got, &want, 1e-6);
        /* over fewer micro batches less of the rounding cancels */
        ranked_compare(&got, &want, ranked_samples() ? 1e-4 : 3e-5, 1e-5);
    }
    ranked_free(&got);
    ranked_free(&want);
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
    if (!ranked_samples())
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

/* Routers that like all experts alike: all tokens go to the first one or two. */
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
    ranked.one_expert = _i >= 6;
    same_as_alone(_i % 2 ? NEXT : MOE, &list[_i / 2 % 3], blunt_routers);
    ranked.one_expert = 0;
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
    ranked.layout = list[_i].layout;
    same_as_alone(MTP, &list[_i].s, NULL);
    ranked.layout = NULL;
}
END_TEST

/* ---- rows that travel to experts ------------------------------------------------------------- */

#define RANKS 4

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
    struct trainer x = ranked_open(MOE, s);
    uint32_t n = br__llm_n_ranks(x.m);
    struct br__micro mb[RANKS];
    struct br__micro_out out[RANKS];
    const struct br_kernel *kernels[RANKS];
    ck_assert_uint_le(n, RANKS);
    if (spoil)
        spoil(&x);
    for (uint32_t i = 0; i < n; i++) {
        struct br__device *d = br__trainer_device(x.t, i);
        uint32_t dp = ranked_coordinate(&x, i, BR_AXIS_DP);
        kernels[i] = d->kernels;
        count_rank(&traffic[i], br__llm_rank(x.m, i)->comms[BR_GROUP_EP], d);
        ranked_batch(&batches[dp], dp + 3, MOE);
        mb[i] = ranked_micro(&batches[dp], 1);
    }
    must(br__trainer_run(x.t, mb, 0, out, &err), &err);
    for (uint32_t i = 0; i < n; i++) {
        traffic[i].comm->ops = traffic[i].real;
        traffic[i].device->kernels = kernels[i];
    }
    ranked_close(&x);
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

/* ---- gradients that are complete before all are ---------------------------------------------- */

static struct {
    size_t n, of_bank[64];
} heard[8]; /* by rank */

/* The norm that the rank's first layer begins with. */
static const struct br__trained *first_norm(const struct trainer *x, uint32_t i)
{
    size_t n, k = 0;
    const struct br__trained *list = br__trainer_list(x->t, i, &n);
    while (k < n && !ranked_ends(list[k].name, ".input_layernorm.weight"))
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
    struct trainer x = ranked_open(toy, s);
    uint32_t n = br__llm_n_ranks(x.m);
    struct br__micro mb[8];
    struct br__micro_out out[8];
    memset(r, 0, sizeof *r);
    memset(heard, 0, sizeof heard);
    for (uint32_t i = 0; i < n; i++)
        mb[i] = ranked_micro(b, 1);
    must(br__trainer_zero(x.t, &err), &err);
    must(br__trainer_step(x.t, mb, 1, BR__BACKWARD_LAST, out, &err), &err);
    for (uint32_t i = 0; i < n && ranked.bank_ready; i++) {
        size_t n_banks;
        (void)br__trainer_banks(x.t, i, &n_banks);
        ck_assert_uint_ge(n_banks, s->pp > 1 ? 4 : 8);
        /* The tied embedding waits for that of the other stage. */
        ck_assert_uint_eq(heard[i].n + (s->pp > 1 && toy == QWEN2), n_banks);
    }
    must(br__trainer_gradients(x.t, &err), &err);
    must(br__trainer_fetch(x.t, &err), &err);
    ranked_add_gradients(&x, r);
    ranked_close(&x);
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
    ranked_batch(&b, 3, list[_i].toy);
    ranked.bucket = 2000;
    run_heard(list[_i].toy, &list[_i].s, &b, &want);
    ranked.bank_ready = hear;
    run_heard(list[_i].toy, &list[_i].s, &b, &got);
    ranked.bank_ready = NULL;
    ranked.bucket = 0;
    ranked_compare(&got, &want, 0, 0);
    ranked_free(&got);
    ranked_free(&want);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("ranks_train");
    TCase *tc = tcase_create("ranks_train");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, test_shared, 0, (int)BR_COUNTOF(sharings) * N_TOYS);
    if (!ranked_samples()) {
        tcase_add_loop_test(tc, test_unbalanced, 0, 12);
        tcase_add_loop_test(tc, test_layouts, 0, 8);
        tcase_add_loop_test(tc, test_ready, 0, 5);
    }
    if (strcmp(test_device(), "cpu") == 0) /* whose kernels can be counted */
        tcase_add_loop_test(tc, test_traffic, 0, 6);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
