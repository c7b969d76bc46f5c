/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libgolden.c - see libgolden.h. */
#include "libgolden.h"
#include "librun.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tolerance tolerance_of(const char *model)
{
    int next = strstr(model, "qwen3_next") != NULL;
    return (struct tolerance){next ? 3e-4 : 1e-4, next ? 5e-4 : 1e-4};
}

/* ---- goldens --------------------------------------------------------------------------------- */

void must(int rc, const struct br_err *err)
{
    ck_assert_msg(rc == 0, "%s", err->msg);
}

void open_tested_device(struct br__device *d)
{
    struct br_err err = BR_ERR_INIT;
    const char *dir = getenv("BRIDGE_PLUGIN_PATH");
    must(br__device_open(d, test_device(), &(struct br__dirs){&dir, dir != NULL}, 0, TEST_THREADS,
                         &err),
         &err);
}

struct golden_file open_golden(const char *root, const char *model, const char *name)
{
    struct golden_file g;
    struct br_err err = BR_ERR_INIT;
    const char *metadata;
    memset(&g, 0, sizeof g);
    const char *path = br__arena_printf(&g.arena, "%s%s/%s", root, model, name);
    must(br__file_open(&g.file, path, &err), &err);
    must(br__st_open(&g.arena, &g.file, &g.entries, &g.n, &g.data, &metadata, &err), &err);
    return g;
}
void close_golden(struct golden_file *g)
{
    br__file_close(&g->file);
    br__arena_free(&g->arena);
}
const float *golden(const struct golden_file *g, const char *name, size_t *n)
{
    for (size_t i = 0; i < g->n; i++)
        if (strcmp(g->entries[i].name, name) == 0) {
            ck_assert_int_eq(g->entries[i].dtype, BR_F32);
            *n = (size_t)(g->entries[i].end - g->entries[i].begin) / sizeof(float);
            return (const float *)(const void *)(g->file.map + g->data + g->entries[i].begin);
        }
    return NULL;
}

br__json *open_json(const char *root, const char *model)
{
    struct br_err err = BR_ERR_INIT;
    struct br__arena a = {0};
    char *text;
    size_t n;
    br__json *j;
    must(br__read_text(br__arena_printf(&a, "%s%s/golden.json", root, model), 1 << 24, &text, &n,
                       &err),
         &err);
    must(br__json_parse(&j, text, n, &err), &err);
    br__free(text);
    br__arena_free(&a);
    return j;
}
int64_t ids_of(const br__json *j, const char *key, int32_t *ids, int64_t max)
{
    int64_t n = 0;
    for (const br__json *e = br__json_first(br__json_get(j, key)); e; e = br__json_next(e)) {
        ck_assert_int_lt(n, max);
        ids[n++] = (int32_t)br__json_num(e, -1);
    }
    return n;
}

/* ---- models ---------------------------------------------------------------------------------- */

struct br__llm *open_model(const char *dir, const char *adapter, int merge)
{
    struct br_err err = BR_ERR_INIT;
    struct br__llm *m;
    const struct br__llm_opts o = {
        .weights = {.hf_model = dir, .adapter = adapter, .merge_adapter = merge},
        .precision = BR_F32,
        .device = test_device(),
        .threads = TEST_THREADS};
    must(br__llm_open(&m, &o, &err), &err);
    return m;
}

double max_diff(const float *a, const float *b, size_t n)
{
    double d = 0;
    for (size_t i = 0; i < n; i++)
        d = fmax(d, fabs((double)a[i] - b[i]));
    return d;
}
double rel_l2(const float *a, const float *b, size_t n)
{
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)b[i] * b[i];
    }
    return s > 0 ? sqrt(d / s) : sqrt(d);
}

void trace(struct br__llm *m, const int32_t *ids, int64_t n, unsigned flags, struct br__trace *t)
{
    struct br_err err = BR_ERR_INIT;
    const struct br__trace_opts o = {.ids = &ids, .n_batches = 1, .n = n, .flags = flags};
    must(br__llm_trace(m, &o, t, &err), &err);
}
