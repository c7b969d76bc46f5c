/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* device.c - what the CUDA backend does beside kernels: copies, weights that are made by threads,
 * shapes that it refuses. */
#include "../unit/librun.h"
#include "graph/graph.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct br__device dev;
static struct br_err err;

static void open_device(void)
{
    const char *dir = getenv("BRIDGE_PLUGIN_PATH");
    ck_assert_msg(!br__device_open(&dev, "cuda", &(struct br__dirs){&dir, 1}, 0, 4, &err), "%s",
                  err.msg);
}

static void close_device(void)
{
    br__device_close(&dev);
}

/* ---- memory ---------------------------------------------------------------------------------- */

START_TEST(test_copy)
{
    enum { N = 1000 };
    int32_t host[N], back[N];
    for (int i = 0; i < N; i++)
        host[i] = 7 * i;
    int32_t *a = br__device_alloc(&dev, sizeof host), *b = br__device_alloc(&dev, sizeof host);
    ck_assert(a && b);
    ck_assert_int_eq(br__device_fetch(&dev, back, b, sizeof back, &err), BR_OK);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(back[i], 0);
    ck_assert_int_eq(dev.backend.upload(dev.device, a, host, sizeof host, &err), BR_OK);
    ck_assert_int_eq(dev.backend.copy(dev.device, b, a, sizeof host, &err), BR_OK);
    ck_assert_int_eq(br__device_fetch(&dev, back, b, sizeof back, &err), BR_OK);
    ck_assert_mem_eq(back, host, sizeof host);
    br__device_free(&dev, a);
    br__device_free(&dev, b);
}
END_TEST

/* ---- weights --------------------------------------------------------------------------------- */

/* Byte i is i % 251; from `wrong` on they cannot be made. */
static int make_bytes(void *arg, void *host, size_t at, size_t n, struct br_err *e)
{
    const size_t *wrong = arg;
    if (at + n > *wrong)
        return br_fail(e, BR_E_IO, "byte %zu cannot be made", *wrong);
    for (size_t i = 0; i < n; i++)
        ((unsigned char *)host)[i] = (unsigned char)((at + i) % 251);
    return BR_OK;
}

#define WEIGHT (((size_t)3 << 20) + 77) /* bytes: some chunks, which threads share */

START_TEST(test_fill)
{
    size_t wrong = SIZE_MAX;
    const struct br_source_bytes from = {make_bytes, &wrong};
    unsigned char *p = br__device_alloc(&dev, WEIGHT), *back = malloc(WEIGHT);
    for (uint32_t threads = 1; threads <= 40; threads += 13) {
        ck_assert_int_eq(dev.backend.fill(dev.device, p, WEIGHT, &from, threads, &err), BR_OK);
        ck_assert_int_eq(br__device_fetch(&dev, back, p, WEIGHT, &err), BR_OK);
        for (size_t i = 0; i < WEIGHT; i++)
            if (back[i] != i % 251)
                ck_abort_msg("byte %zu is %d", i, back[i]);
    }
    wrong = (size_t)2 << 20;
    ck_assert_int_eq(dev.backend.fill(dev.device, p, WEIGHT, &from, 3, &err), BR_E_IO);
    ck_assert_msg(strstr(err.msg, "byte 2097152 cannot be made") != NULL, "%s", err.msg);
    free(back);
    br__device_free(&dev, p);
}
END_TEST

/* ---- refusals -------------------------------------------------------------------------------- */

/* Contiguous, at an address that nobody may use. */
static struct br_tensor fake(uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = {.data = (void *)(uintptr_t)256, .dtype = dtype, .n_dim = n_dim};
    int64_t stride = 1;
    for (uint32_t i = n_dim; i-- > 0; stride *= shape[i]) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
    }
    return t;
}
#define FAKE(dtype, ...)                                                                           \
    fake(dtype, sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t),                          \
         (const int64_t[]){__VA_ARGS__})

static void must_refuse(uint32_t op, const struct br_tensor *in, uint32_t n_in,
                        struct br_tensor out, const char *text)
{
    const struct br_call c = {
        .op = op, .n_in = n_in, .n_out = 1, .in = in, .out = &out, .attr.i = {BR_F32}};
    int rc = br__device_call(&dev, &c, &err);
    ck_assert_msg(rc == BR_E_UNSUPPORTED && strstr(err.msg, text) != NULL, "%d: %s", rc, err.msg);
}

START_TEST(test_refusals)
{
    const int64_t many = 64 * 65536 + 1;
    must_refuse(BR_OP_ATTENTION,
                (struct br_tensor[]){FAKE(BR_F32, 1, 1, 600), FAKE(BR_F32, 1, 1, 600),
                                     FAKE(BR_F32, 1, 1, 600), FAKE(BR_I32, 1, 5)},
                4, FAKE(BR_F32, 1, 1, 600), "a head has 600 channels; at most 512 are possible");
    must_refuse(BR_OP_MATMUL, (struct br_tensor[]){FAKE(BR_F32, many, 3), FAKE(BR_F32, 1, 3)}, 2,
                FAKE(BR_F32, many, 1), "4194305 rows; at most 4194240 are possible");
    must_refuse(BR_OP_GROUPED_MATMUL_TN,
                (struct br_tensor[]){FAKE(BR_F32, 3, many), FAKE(BR_F32, 3, 1), FAKE(BR_I32, 3)}, 3,
                FAKE(BR_F32, 2, many, 1), "131074 tiles of rows; at most 65535 are possible");
    /* An error is told once, and the device goes on. */
    ck_assert_int_eq(dev.backend.sync(dev.device, &err), BR_OK);
}
END_TEST

/* ---- results that are read while the device works on ----------------------------------------- */

static void *fetch_of(const int32_t *p, size_t n)
{
    void *ticket = NULL;
    ck_assert_msg(!dev.backend.fetch(dev.device, p, n, &ticket, &err), "%s", err.msg);
    ck_assert_ptr_nonnull(ticket);
    return ticket;
}

/* Each ticket has what was there when it was asked for, in whatever order they are used, and those
 * that nobody wants do no harm. */
START_TEST(test_fetch)
{
    enum { N = 3000, ROUNDS = 5 };
    static int32_t host[N], back[N];
    void *tickets[ROUNDS], *unwanted;
    int32_t *p = br__device_alloc(&dev, sizeof host);
    for (int again = 0; again < 2; again++) {
        for (int r = 0; r < ROUNDS; r++) {
            for (int i = 0; i < N; i++)
                host[i] = 10 * i + r;
            ck_assert_int_eq(dev.backend.upload(dev.device, p, host, sizeof host, &err), BR_OK);
            tickets[r] = fetch_of(p, r % 2 ? sizeof host : 8);
            unwanted = fetch_of(p, sizeof host);
            ck_assert_int_eq(dev.backend.fetched(dev.device, unwanted, NULL, &err), BR_OK);
        }
        for (int k = 0; k < ROUNDS; k++) {
            const int r = (3 * k + 2) % ROUNDS, n = r % 2 ? N : 2;
            ck_assert_int_eq(dev.backend.fetched(dev.device, tickets[r], back, &err), BR_OK);
            for (int i = 0; i < n; i++)
                ck_assert_int_eq(back[i], 10 * i + r);
        }
    }
    br__device_free(&dev, p);
}
END_TEST

/* What failed behind it is not the fetch's to tell. */
START_TEST(test_fetch_before_an_error)
{
    int32_t one = 0;
    int32_t *p = br__device_alloc(&dev, sizeof one);
    struct br_tensor heads = FAKE(BR_F32, 1, 1, 600);
    void *ticket = fetch_of(p, sizeof one);
    const struct br_stream s = {.n_threads = 1};
    const struct br_tensor in[] = {heads, heads, heads, FAKE(BR_I32, 1, 5)};
    const struct br_call c = {.struct_size = sizeof c,
                              .op = BR_OP_ATTENTION,
                              .n_in = 4,
                              .n_out = 1,
                              .in = in,
                              .out = &heads,
                              .stream = &s,
                              .device = dev.device};
    for (uint32_t i = 0; i < dev.n_kernels; i++)
        if (dev.kernels[i].op == BR_OP_ATTENTION) {
            dev.kernels[i].run(&c);
            break;
        }
    ck_assert_msg(!dev.backend.fetched(dev.device, ticket, &one, &err), "%s", err.msg);
    ck_assert_int_eq(dev.backend.sync(dev.device, &err), BR_E_UNSUPPORTED);
    ck_assert_msg(strstr(err.msg, "a head has 600 channels") != NULL, "%s", err.msg);
    br__device_free(&dev, p);
}
END_TEST

/* With BRIDGE_CUDA_SYNC each kernel is waited for: errors name their op, and nothing is recorded.
 */
START_TEST(test_sync_each)
{
    close_device();
    setenv("BRIDGE_CUDA_SYNC", "1", 1);
    open_device();
    float *p = br__device_alloc(&dev, 64);
    struct br_tensor t = FAKE(BR_F32, 16), heads = FAKE(BR_F32, 1, 1, 600);
    t.data = p;
    const struct br_call zeros = {.op = BR_OP_ZEROS, .n_out = 1, .in = &t, .out = &t};
    ck_assert_int_eq(br__device_call(&dev, &zeros, &err), BR_OK);
    must_refuse(BR_OP_ATTENTION, (struct br_tensor[]){heads, heads, heads, FAKE(BR_I32, 1, 5)}, 4,
                heads, "): ATTENTION: a head has 600");
    ck_assert_int_eq(dev.backend.record_begin(dev.device, &err), BR_E_UNSUPPORTED);
    br__device_free(&dev, p);
}
END_TEST

/* The ceilings are positive numbers, and leave no memory behind. */
START_TEST(test_peaks)
{
    struct br_roofline r;
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(!dev.backend.roofline(dev.device, NULL, 0, &r, &err), "%s", err.msg);
        ck_assert(r.read_bytes > 0 && r.matmul_flops > 0 && r.f32_flops > 0);
        ck_assert_str_eq(r.tier, "cuBLASLt");
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cuda device");
    TCase *tc = tcase_create("device");
    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, open_device, close_device);
    tcase_add_test(tc, test_copy);
    tcase_add_test(tc, test_fill);
    tcase_add_test(tc, test_refusals);
    tcase_add_test(tc, test_fetch);
    tcase_add_test(tc, test_fetch_before_an_error);
    tcase_add_test(tc, test_peaks);
    tcase_add_test(tc, test_sync_each);
    suite_add_tcase(s, tc);
    return run_suite(s);
}
