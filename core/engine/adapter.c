/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* adapter.c - LoRA and DoRA adapters as peft writes them: adapter_config.json and
 * adapter_model.safetensors, names "base_model.model.<weight without .weight>.lora_A.weight".
 *
 * Source of the formulas: Hu et al. 2021 (LoRA), Liu et al. 2024 (DoRA), peft tuners/lora. */
#include "weights.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_MAX (1u << 20)
#define NAME_PREFIX "base_model.model."

struct reader {
    struct br__adapter *a;
    double r, alpha;
    int rslora, dora;
    const unsigned char *data; /* of the safetensors file */
    size_t cap;
};

/* ---- adapter_config.json --------------------------------------------------------------------- */

/* Settings that would change the result and are not carried out. */
static int refuse_unknown(const br__json *j, struct br_err *err)
{
    static const char *const objects[] = {"rank_pattern", "alpha_pattern"};
    static const char *const lists[] = {"modules_to_save", "trainable_token_indices",
                                        "target_parameters"};
    static const char *const flags[] = {"lora_bias", "fan_in_fan_out", "use_qalora", "use_bdlora"};
    const char *bad = NULL;
    for (size_t i = 0; i < BR_COUNTOF(objects); i++)
        if (br__json_count(br__json_get(j, objects[i])))
            bad = objects[i];
    for (size_t i = 0; i < BR_COUNTOF(lists); i++)
        if (br__json_count(br__json_get(j, lists[i])))
            bad = lists[i];
    for (size_t i = 0; i < BR_COUNTOF(flags); i++)
        if (br__json_bool(br__json_get(j, flags[i]), 0))
            bad = flags[i];
    if (strcmp(br__json_str(br__json_get(j, "bias"), "none"), "none"))
        bad = "bias";
    if (bad)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "adapter_config.json: '%s' is set, which is not supported; merge the "
                       "adapter with peft first",
                       bad);
    return 0;
}

static int read_config(struct reader *rd, const br__json *j, struct br_err *err)
{
    if (strcmp(br__json_str(br__json_get(j, "peft_type"), ""), "LORA"))
        return br_fail(err, BR_E_UNSUPPORTED,
                       "adapter_config.json: peft_type is '%s', expected LORA",
                       br__json_str(br__json_get(j, "peft_type"), ""));
    rd->r = br__json_num(br__json_get(j, "r"), 0);
    rd->alpha = br__json_num(br__json_get(j, "lora_alpha"), 0);
    rd->rslora = br__json_bool(br__json_get(j, "use_rslora"), 0);
    rd->dora = br__json_bool(br__json_get(j, "use_dora"), 0);
    rd->a->bias_inside = rd->dora && br__json_bool(br__json_get(j, BR__ADAPTER_BIAS_INSIDE), 0);
    if (!(rd->r >= 1 && rd->r <= 65536) || !isfinite(rd->alpha))
        return br_fail(err, BR_E_CONFIG, "adapter_config.json: r is %g and lora_alpha %g", rd->r,
                       rd->alpha);
    return refuse_unknown(j, err);
}

static int open_config(struct reader *rd, const char *path, struct br_err *err)
{
    char *text;
    size_t n;
    br__json *j = NULL;
    int rc = br__read_text(path, CONFIG_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = br__json_parse(&j, text, n, err);
    if (!rc)
        rc = read_config(rd, j, err);
    br__json_free(j);
    br__free(text);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The pair that a tensor belongs to and its place in it: 'A', 'B', 'M', or 0. */
static int split_name(struct br__arena *a, const char *name, const char **target)
{
    static const struct {
        const char *end;
        int which;
    } ends[] = {{".lora_A.weight", 'A'},
                {".lora_B.weight", 'B'},
                {".lora_magnitude_vector", 'M'},
                {".lora_magnitude_vector.weight", 'M'}};
    if (!br__starts(name, NAME_PREFIX))
        return 0;
    name += strlen(NAME_PREFIX);
    for (size_t i = 0; i < BR_COUNTOF(ends); i++)
        if (br__ends(name, ends[i].end)) {
            *target =
                br__arena_printf(a, "%.*s.weight", (int)(strlen(name) - strlen(ends[i].end)), name);
            return ends[i].which;
        }
    return 0;
}

static struct br__adapter_pair *pair_of(struct reader *rd, const char *target)
{
    struct br__adapter *a = rd->a;
    uint32_t i = br__map_get(&a->by_target, target);
    if (i != BR__NOT_FOUND)
        return &a->pairs[i];
    if (br__grow(&a->pairs, &rd->cap, a->n_pairs, sizeof *a->pairs) ||
        br__map_put(&a->by_target, target, (uint32_t)a->n_pairs))
        return NULL;
    struct br__adapter_pair *p = &a->pairs[a->n_pairs];
    *p = (struct br__adapter_pair){.target = target, .index = (uint32_t)a->n_pairs++};
    p->scaling = (float)(rd->alpha / (rd->rslora ? sqrt(rd->r) : rd->r));
    return p;
}

static int add_tensor(struct reader *rd, const struct br__st_entry *e, struct br_err *err)
{
    const char *target = NULL;
    int which = split_name(&rd->a->arena, e->name, &target);
    if (!which)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "unexpected tensor '%s'; expected lora_A, lora_B or "
                       "lora_magnitude_vector of a linear layer",
                       e->name);
    struct br__adapter_pair *p = target ? pair_of(rd, target) : NULL;
    if (!p)
        return br__nomem(err, "for the adapter");
    if (e->ndim != (which == 'M' ? 1 : 2) || !br_dtype_is_float(e->dtype))
        return br_fail(err, BR_E_FORMAT, "tensor '%s' has an impossible shape or dtype", e->name);
    struct br__source *s = &rd->a->sources[rd->a->n_sources++];
    *(which == 'A' ? &p->a : which == 'B' ? &p->b : &p->magnitude) = s;
    *s = (struct br__source){.name = e->name, .dtype = e->dtype, .data = rd->data + e->begin};
    br__source_shape(s, e->ndim, e->shape);
    return 0;
}

static int check_pair(const struct reader *rd, const struct br__adapter_pair *p, struct br_err *err)
{
    if (!p->a || !p->b || (rd->dora && !p->magnitude))
        return br_fail(err, BR_E_FORMAT, "the adapter of '%s' lacks %s", p->target,
                       !p->a   ? "lora_A"
                       : !p->b ? "lora_B"
                               : "lora_magnitude_vector");
    if ((double)p->a->rows != rd->r || p->b->cols != p->a->rows ||
        (p->magnitude && p->magnitude->cols != p->b->rows))
        return br_fail(err, BR_E_FORMAT,
                       "the adapter of '%s' has lora_A [%lld, %lld] and lora_B [%lld, %lld], "
                       "expected rank %g",
                       p->target, (long long)p->a->rows, (long long)p->a->cols,
                       (long long)p->b->rows, (long long)p->b->cols, rd->r);
    return 0;
}

static int read_tensors(struct reader *rd, const char *path, struct br_err *err)
{
    struct br__adapter *a = rd->a;
    struct br__st_entry *entries;
    size_t n;
    uint64_t data_off;
    const char *metadata;
    int rc = br__file_open(&a->file, path, err);
    if (!rc)
        rc = br__st_open(&a->arena, &a->file, &entries, &n, &data_off, &metadata, err);
    if (rc)
        return rc;
    a->sources = br__arena_alloc(&a->arena, (n + 1) * sizeof *a->sources);
    if (!a->sources || br__map_init(&a->by_target, n))
        return br__nomem(err, "for the adapter");
    rd->data = a->file.map + data_off;
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_tensor(rd, &entries[i], err);
    for (size_t i = 0; i < a->n_pairs && !rc; i++)
        rc = check_pair(rd, &a->pairs[i], err);
    return rc;
}

int br__adapter_open(struct br__adapter **out, const char *dir, struct br_err *err)
{
    struct reader rd = {.a = br__calloc(1, sizeof *rd.a)};
    *out = NULL;
    if (!rd.a)
        return br__nomem(err, "for the adapter");
    const char *config = br__path_join(&rd.a->arena, dir, "adapter_config.json");
    const char *file = br__path_join(&rd.a->arena, dir, "adapter_model.safetensors");
    int rc = config && file ? open_config(&rd, config, err) : br__nomem(err, "for the adapter");
    if (!rc)
        rc = read_tensors(&rd, file, err);
    if (rc) {
        br_wrap(err, "adapter '%s'", dir);
        br__adapter_close(rd.a);
        return rc;
    }
    *out = rd.a;
    return 0;
}

void br__adapter_close(struct br__adapter *a)
{
    if (!a)
        return;
    br__file_close(&a->file);
    br__map_free(&a->by_target);
    br__free(a->pairs);
    br__arena_free(&a->arena);
    br__free(a);
}

const struct br__adapter_pair *br__adapter_find(const struct br__adapter *a, const char *target)
{
    uint32_t i = br__map_get(&a->by_target, target);
    return i == BR__NOT_FOUND ? NULL : &a->pairs[i];
}

const struct br__adapter_pair *br__adapter_of_bias(const struct br__adapter *a, const char *name)
{
    char weight[256];
    size_t n = strlen(name);
    if (!a->bias_inside || !br__ends(name, ".bias") || n + 3 > sizeof weight)
        return NULL;
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(n - strlen(".bias")), name);
    const struct br__adapter_pair *p = br__adapter_find(a, weight);
    return p && p->magnitude ? p : NULL;
}

/* ---- merging --------------------------------------------------------------------------------- */

static float *adapter_floats(const struct br__source *s)
{
    size_t n = (size_t)(s->rows * s->cols);
    float *f = br__alloc(n * sizeof *f);
    if (f)
        br_cast(f, BR_F32, s->data, s->dtype, n, 0);
    return f;
}

/* One row: w += s b a, then to the length m: times what is returned.  sum[cols] is scratch. */
static double merge_row(const struct br__adapter_pair *p, float *w, const float *a, const float *b,
                        const float *m, double *sum)
{
    int64_t cols = p->a->cols;
    double norm = 0;
    memset(sum, 0, (size_t)cols * sizeof *sum);
    for (int64_t k = 0; k < p->a->rows; k++)
        for (int64_t j = 0; j < cols; j++)
            sum[j] += (double)b[k] * a[k * cols + j];
    for (int64_t j = 0; j < cols; j++) {
        sum[j] = w[j] + p->scaling * sum[j];
        norm += sum[j] * sum[j];
    }
    double scale = m ? *m / sqrt(norm) : 1;
    for (int64_t j = 0; j < cols; j++)
        w[j] = (float)(sum[j] * scale);
    return scale;
}

int br__adapter_merge(const struct br__adapter_pair *p, float *w, int64_t rows, int64_t cols,
                      float *bias, struct br_err *err)
{
    if (p->a->cols != cols || p->b->rows != rows)
        return br_fail(
            err, BR_E_PLAN, "the adapter is for [%lld, %lld], the weight is [%lld, %lld]",
            (long long)p->b->rows, (long long)p->a->cols, (long long)rows, (long long)cols);
    float *a = adapter_floats(p->a), *b = adapter_floats(p->b);
    float *m = p->magnitude ? adapter_floats(p->magnitude) : NULL;
    double *sum = br__alloc((size_t)cols * sizeof *sum);
    int ok = a && b && sum && (m || !p->magnitude);
    for (int64_t i = 0; ok && i < rows; i++) {
        double scale = merge_row(p, w + i * cols, a, b + i * p->a->rows, m ? m + i : NULL, sum);
        if (bias)
            bias[i] = (float)(bias[i] * scale);
    }
    br__free(a);
    br__free(b);
    br__free(m);
    br__free(sum);
    return ok ? 0 : br__nomem(err, "for the adapter");
}
