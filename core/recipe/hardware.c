/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hardware.c - the GPUs and networks that recipe simulate knows, and files that describe others.
 *
 * Numbers of GPUs are those of NVIDIA's data sheets: dense bfloat16 of the SXM boards.  The share
 * of the peak that products reach is an assumption, and printed with every result. */
#include "recipe_internal.h"

#include <stdlib.h>
#include <string.h>

static const struct br__sim_gpu gpus[] = {
    {"h100", 989e12, 0.6, 80e9, 3.35e12},
    {"h200", 989e12, 0.6, 141e9, 4.8e12},
    {"b200", 2250e12, 0.6, 180e9, 8e12},
};
/* Eight GPUs of a node by NVLink (half of 900 GB/s each way), nodes by one 400 Gbit/s port a GPU.
 */
static const struct br__sim_network networks[] = {
    {"nvlink8", 8, 450e9, 3e-6, 50e9, 8e-6},
};

struct field {
    const char *name;
    size_t offset;
    double low, high;
};
#define FIELD(type, name, low, high)                                                               \
    {                                                                                              \
#name, offsetof(struct type, name), low, high                                              \
    }
static const struct field gpu_fields[] = {
    FIELD(br__sim_gpu, flops, 1e6, 1e18),
    FIELD(br__sim_gpu, efficiency, 0.001, 1),
    FIELD(br__sim_gpu, memory, 1e6, 1e15),
    FIELD(br__sim_gpu, bandwidth, 1e6, 1e16),
};
static const struct field network_fields[] = {
    FIELD(br__sim_network, node_gpus, 1, 1048576),
    FIELD(br__sim_network, node_bandwidth, 1e3, 1e16),
    FIELD(br__sim_network, node_latency, 0, 10),
    FIELD(br__sim_network, net_bandwidth, 1e3, 1e16),
    FIELD(br__sim_network, net_latency, 0, 10),
};

/* One "key = number" of a file, into the struct at `out`; seen: a bit for each field. */
static int read_field(const struct br__pair *p, const char *file, const struct field *fields,
                      size_t n, void *out, uint32_t *seen, struct br_err *err)
{
    for (size_t i = 0; i < n; i++) {
        double v;
        char *end;
        if (strcmp(fields[i].name, p->key))
            continue;
        v = strtod(p->value, &end);
        if (end == p->value || *end || !(v >= fields[i].low && v <= fields[i].high))
            return br_fail(err, BR_E_CONFIG, "%s:%d: %s: got '%s', expected a number from %g to %g",
                           file, p->line, p->key, p->value, fields[i].low, fields[i].high);
        memcpy((char *)out + fields[i].offset, &v, sizeof v);
        *seen |= UINT32_C(1) << i;
        return BR_OK;
    }
    return br_fail(err, BR_E_CONFIG,
                   "%s:%d: there is no key '%s'; docs/recipes.md has those there are", file,
                   p->line, p->key);
}

static int read_file(struct br__arena *a, const char *file, const struct field *fields, size_t n,
                     void *out, struct br_err *err)
{
    char *text;
    uint32_t seen = 0;
    int rc = br__read_text(file, 1 << 16, &text, NULL, err);
    if (rc)
        return rc;
    struct br__pairs pairs = {.p = text, .where = file, .line = 1};
    for (struct br__pair p; !(rc = br__pairs_next(a, &pairs, &p, err)) && p.key;)
        if ((rc = read_field(&p, file, fields, n, out, &seen, err)))
            break;
    for (size_t i = 0; i < n && !rc; i++)
        if (!(seen >> i & 1))
            rc = br_fail(err, BR_E_CONFIG, "%s: %s is missing; docs/recipes.md shows such a file",
                         file, fields[i].name);
    br__free(text);
    return rc;
}

int br__sim_gpu_find(struct br__arena *a, const char *name, struct br__sim_gpu *out,
                     struct br_err *err)
{
    *out = gpus[0];
    for (size_t i = 0; i < BR_COUNTOF(gpus); i++)
        if (!name || !strcmp(name, gpus[i].name)) {
            *out = gpus[i];
            return BR_OK;
        }
    if (!strchr(name, '/') && !br__exists(name))
        return br_fail(err, BR_E_NOTFOUND,
                       "--gpu: got '%s', expected h100, h200, b200 or the path of a file", name);
    out->name = name;
    return read_file(a, name, gpu_fields, BR_COUNTOF(gpu_fields), out, err);
}

int br__sim_network_find(struct br__arena *a, const char *name, struct br__sim_network *out,
                         struct br_err *err)
{
    *out = networks[0];
    if (!name || !strcmp(name, networks[0].name))
        return BR_OK;
    if (!strchr(name, '/') && !br__exists(name))
        return br_fail(err, BR_E_NOTFOUND,
                       "--network: got '%s', expected nvlink8 or the path of a file", name);
    out->name = name;
    return read_file(a, name, network_fields, BR_COUNTOF(network_fields), out, err);
}
