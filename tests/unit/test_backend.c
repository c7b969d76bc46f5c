/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_backend.c - backends from files: adopted whatever their size, refused where they break a
 * rule. */
#include "graph/graph_internal.h"
#include "librun.h"

#include <string.h>

static const char *dir = BRIDGE_TEST_MODULES;

static int open_named(struct br__device *d, const char *name, uint32_t rank, struct br_err *err)
{
    return br__device_open(d, name, &(struct br__dirs){&dir, 1}, rank, 1, err);
}

/* What such a backend computes: twice the input, through memory that it owns. */
static void run_scale(struct br__device *d)
{
    struct br_graph g = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__program *p;
    struct br__frame *f;
    float y[3] = {0};
    br_val x = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 1, (const int64_t[]){3});
    br_val out = BR__OP(&g, SCALE, BR__F(2), x);
    ck_assert_msg(br__program_make(&p, &g, d, &out, 1, &err) == 0, "%s", err.msg);
    ck_assert_msg(br__frame_make(&f, p, d, NULL, &err) == 0, "%s", err.msg);
    for (int i = 0; i < 3; i++)
        ((float *)br__frame_input(f, x))[i] = (float)i;
    ck_assert_msg(br__frame_run(f, &err) == 0, "%s", err.msg);
    ck_assert_msg(br__frame_read(f, out, y, &err) == 0, "%s", err.msg);
    ck_assert(y[0] == 0 && y[1] == 2 && y[2] == 4);
    br__frame_free(f);
    br__program_free(p);
    br__graph_free(&g);
}

START_TEST(taken)
{
    static const char *const names[] = {"backend_plain", "backend_short", "backend_plain:1"};
    struct br__device d;
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(open_named(&d, names[_i], 0, &err) == 0, "%s", err.msg);
    ck_assert_ptr_null(d.backend.plane); /* that of the short one lies behind its end */
    ck_assert_int_eq(*(const int *)d.device, _i == 2);
    run_scale(&d);
    br__device_close(&d);
}
END_TEST

START_TEST(refused)
{
    static const struct {
        const char *name;
        int rc;
        const char *text;
    } wrong[] = {
        {"backend_tiny", BR_E_PLUGIN, "says that it is 8 bytes long"},
        {"backend_long", BR_E_PLUGIN, "is of a newer bridge"},
        {"backend_longrow", BR_E_PLUGIN, "kernel row 0 of backend 'backend_longrow' is of a newer"},
        {"backend_lacks", BR_E_PLUGIN, "lacks 'copy'"},
        {"backend_align", BR_E_PLUGIN, "wants alignment 48"},
        {"backend_misnamed", BR_E_PLUGIN, "calls itself 'other'"},
        {"backend_unusable", BR_E_UNSUPPORTED, "cannot be used here: no such device"},
        {"same", BR_E_PLUGIN, "is no backend: it lacks bridge_backend_v1"},
        {"nowhere", BR_E_NOTFOUND, "no backend 'nowhere'"},
        {"backend_plain:2", BR_E_UNSUPPORTED,
         "device 2 of backend 'backend_plain' is wanted, 2 are"},
        {"backend_plain:x", BR_E_USAGE, "is no device; expected a name, or NAME:NUMBER"},
        {"backend_plain:-1", BR_E_USAGE, "is no device"},
        {"backend_plain:", BR_E_USAGE, "is no device"},
    };
    for (size_t i = 0; i < BR_COUNTOF(wrong); i++) {
        struct br__device d;
        struct br_err err = BR_ERR_INIT;
        int rc = open_named(&d, wrong[i].name, 0, &err);
        ck_assert_msg(rc == wrong[i].rc, "%s: status %d", wrong[i].name, rc);
        ck_assert_msg(strstr(err.msg, wrong[i].text) != NULL, "%s: %s", wrong[i].name, err.msg);
    }
}
END_TEST

/* Each rank gets a device of its own. */
START_TEST(ranks)
{
    struct br__device d[3];
    struct br_err err = BR_ERR_INIT;
    for (uint32_t i = 0; i < 2; i++) {
        ck_assert_msg(open_named(&d[i], "backend_plain", i, &err) == 0, "%s", err.msg);
        ck_assert_int_eq(*(const int *)d[i].device, (int)i);
    }
    ck_assert_int_eq(open_named(&d[2], "backend_plain", 2, &err), BR_E_UNSUPPORTED);
    br__device_close(&d[0]);
    br__device_close(&d[1]);
}
END_TEST

/* The list of what a device lacks, in one message. */
START_TEST(missing_kernels)
{
    struct br_graph g = {0};
    struct br_err err = BR_ERR_INIT;
    struct br__device d;
    struct br__program *p;
    ck_assert_msg(open_named(&d, "backend_plain", 0, &err) == 0, "%s", err.msg);
    const int64_t shape[] = {2, 2};
    br_val x = br__leaf(&g, BR_OP_INPUT, BR_F32, "x", 2, shape);
    br_val h = br__leaf(&g, BR_OP_INPUT, BR_BF16, "h", 2, shape);
    br_val outputs[] = {BR__OP(&g, MATMUL, NULL, x, h), BR__OP(&g, SCALE, BR__F(1), x),
                        BR__OP(&g, SCALE, BR__F(1), h), BR__OP(&g, SIGMOID, NULL, x)};
    ck_assert_int_eq(br__program_make(&p, &g, &d, outputs, 4, &err), BR_E_UNSUPPORTED);
    ck_assert_str_eq(err.msg, "device 'backend_plain' has no kernel for MATMUL(bfloat16) "
                              "SCALE(bfloat16) SIGMOID(float32); use another --device");
    br__graph_free(&g);
    br__device_close(&d);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("backend");
    TCase *c = tcase_create("files");
    tcase_add_loop_test(c, taken, 0, 3);
    tcase_add_test(c, refused);
    tcase_add_test(c, ranks);
    tcase_add_test(c, missing_kernels);
    suite_add_tcase(s, c);
    return run_suite(s);
}
