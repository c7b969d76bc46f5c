/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* toy.c - deterministic checkpoints of any architecture, from its own `toy` configuration: what the
 * tests, the quickstart and a plugin's author convert.
 *
 * Values come from a counter-based integer generator and exact conversions, so every machine writes
 * the same bytes. */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

/* ---- configuration --------------------------------------------------------------------------- */

/* JSON for the text after "key=": itself if it parses, else a string. */
static int set_value(br__json *obj, const char *key, const char *value, struct br_err *err)
{
    br__json *parsed = NULL;
    struct br__buf b = {0};
    int is_json = !br__json_parse(&parsed, value, strlen(value), NULL);
    br__json_free(parsed);
    if (is_json)
        return br__json_set(obj, key, value, err);
    br__buf_json_str(&b, value);
    int rc = b.failed ? br__nomem(err, "making a toy") : br__json_set(obj, key, b.p, err);
    br__buf_free(&b);
    return rc;
}

static int set_pair(br__json *obj, const char *text, size_t n, struct br_err *err)
{
    char pair[512];
    if (n >= sizeof pair)
        return br_fail(err, BR_E_USAGE, "'%.40s...' is too long for key=value", text);
    memcpy(pair, text, n);
    pair[n] = '\0';
    char *eq = strchr(pair, '=');
    if (!eq || eq == pair)
        return br_fail(err, BR_E_USAGE, "'%s' is not key=value", pair);
    *eq = '\0';
    return set_value(obj, pair, eq + 1, err);
}

/* "key=value key=value ...": values hold no spaces. */
static int set_pairs(br__json *obj, const char *text, struct br_err *err)
{
    int rc = BR_OK;
    for (const char *p = text; *p && !rc;) {
        size_t n = strcspn(p, " ");
        if (n)
            rc = set_pair(obj, p, n, err);
        p += n + (p[n] == ' ');
    }
    return rc;
}

/* Keys of every toy, as --set spells them. */
static const char every_toy[] =
    "bos_token_id=0 eos_token_id=1 hidden_act=silu initializer_range=0.02 rms_norm_eps=1e-06 "
    "attention_dropout=0.0 use_cache=true transformers_version=4.57.0";

int br__toy_config(const struct br__arch *arch, const struct br__toy_opts *o, br__json **out,
                   struct br_err *err)
{
    struct br__buf b = {0};
    br__json *j = br__json_new_object();
    br__buf_puts(&b, "[");
    br__buf_json_str(&b, arch->hf_class);
    br__buf_puts(&b, "]");
    int rc = j && !b.failed ? br__json_set(j, "architectures", b.p, err)
                            : br__nomem(err, "making a toy");
    br__buf_free(&b);
    if (rc || (rc = set_value(j, "model_type", arch->model_type, err)) ||
        (rc = set_pairs(j, every_toy, err)) ||
        (rc = set_value(j, "torch_dtype", br_dtype_torch(o->dtype ? o->dtype : BR_BF16), err)) ||
        (rc = set_pairs(j, arch->toy ? arch->toy : "", err)))
        goto fail;
    for (size_t i = 0; i < o->n_sets; i++)
        if ((rc = set_pair(j, o->sets[i], strlen(o->sets[i]), err)))
            goto fail;
    *out = j;
    return BR_OK;
fail:
    br__json_free(j);
    return rc;
}

/* ---- values ---------------------------------------------------------------------------------- */

/* SplitMix64 (Steele, Lea, Flood 2014) of a counter. */
static uint64_t toy_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* Matrices are spread evenly around zero, like initialised weights; vectors (norms, biases, decay
 * rates) around one, with enough spread that a misplaced one shows.  All values are multiples of
 * 2^-24, so float32 holds them exactly. */
static void toy_fill(float *dst, size_t n, uint64_t key, uint64_t first, int vector)
{
    for (size_t i = 0; i < n; i++) {
        int64_t r = (int64_t)(toy_mix(key + first + i) >> 40) - (1 << 23); /* [-2^23, 2^23) */
        dst[i] = vector ? 1.0f + (float)(r / 4) / 16777216.0f : (float)(r / 14) / 16777216.0f;
    }
}

static int write_values(struct br__out *out, const struct br__st_entry *e, uint64_t seed,
                        struct br_err *err)
{
    enum { BLOCK = 8192 };
    float values[BLOCK];
    uint64_t key = toy_mix(seed ^ br__xxh3(e->name, strlen(e->name)));
    uint32_t size = br_dtype_size(e->dtype);
    uint64_t n = (e->end - e->begin) / size;
    for (uint64_t i = 0; i < n; i += BLOCK) {
        size_t k = (size_t)BR__MIN(n - i, (uint64_t)BLOCK);
        unsigned char *dst = br__out_reserve(out, k * size, err);
        if (!dst)
            return out->failed;
        toy_fill(values, k, key, i, e->ndim < 2);
        if (e->dtype == BR_F32)
            memcpy(dst, values, k * size);
        else
            br_cast(dst, e->dtype, values, BR_F32, k, 0);
        br__out_commit(out, k * size);
    }
    return BR_OK;
}

/* ---- files ----------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct br__st_entry *)a)->name, ((const struct br__st_entry *)b)->name);
}

static int write_dense(struct br__out *out, const struct br__st_entry *e, size_t n, uint64_t seed,
                       struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < n && !rc; i++)
        rc = write_values(out, &e[i], seed, err);
    return rc;
}

/* The header, and values or a hole. */
static int write_file(const char *path, const struct br__buf *header, const struct br__st_entry *e,
                      size_t n, uint64_t total, const struct br__toy_opts *o, struct br_err *err)
{
    struct br__out out;
    int rc = br__out_open(&out, path, o->sparse ? 0 : total, 0, err);
    if (rc)
        return rc;
    rc = br__out_write(&out, header->p, header->n, err);
    if (!rc)
        rc = o->sparse ? br__out_extend(&out, total, err) : write_dense(&out, e, n, o->seed, err);
    if (rc)
        br__out_abort(&out);
    return rc ? rc : br__out_finish(&out, err);
}

/* One shard with entries [0, n). */
static int write_shard(const char *path, struct br__st_entry *e, size_t n,
                       const struct br__toy_opts *o, struct br_err *err)
{
    struct br__buf header = {.max = BR__ST_HEADER_MAX};
    int rc = br__st_header(&header, e, n, "{\"format\":\"pt\"}") ? br__nomem(err, "making a toy")
                                                                 : BR_OK;
    uint64_t total = header.n + (n ? e[n - 1].end : 0);
    if (!rc)
        rc = write_file(path, &header, e, n, total, o, err);
    br__buf_free(&header);
    return rc;
}

#define SHARD_MAX 5000000000ull

struct toy {
    struct br__arena a;
    const char *dir;
    const struct br__toy_opts *o;
    struct br__st_entry *e;
    size_t n;
    struct br_err *err;
};

static uint64_t entry_bytes(const struct br__st_entry *e)
{
    uint64_t n = 0;
    return br_shape_bytes(e->shape, e->ndim, br_dtype_size(e->dtype), &n) ? 0 : n;
}

/* first[k] is where shard k starts; returns the number of shards. */
static size_t toy_split(const struct toy *t, size_t *first)
{
    size_t shards = 0;
    uint64_t filled = 0;
    for (size_t i = 0; i < t->n; i++) {
        uint64_t b = entry_bytes(&t->e[i]);
        if (!i || filled + b > SHARD_MAX) {
            first[shards++] = i;
            filled = 0;
        }
        filled += b;
    }
    first[shards] = t->n;
    return shards;
}

static int write_index(struct toy *t, const size_t *first, size_t shards, const char **files)
{
    struct br__buf b = {.max = 256u << 20};
    const char **names = br__arena_alloc(&t->a, (t->n + 1) * sizeof *names);
    const char **of = br__arena_alloc(&t->a, (t->n + 1) * sizeof *of);
    const char *path = br__path_join(&t->a, t->dir, "model.safetensors.index.json");
    uint64_t total = 0;
    if (!names || !of || !path)
        return br__nomem(t->err, "making a toy");
    for (size_t k = 0; k < shards; k++)
        for (size_t i = first[k]; i < first[k + 1]; i++) {
            names[i] = t->e[i].name;
            of[i] = files[k];
            total += entry_bytes(&t->e[i]);
        }
    int rc = br__hf_index_text(&b, names, of, t->n, total)
                 ? br__nomem(t->err, "making a toy")
                 : br__write_file(path, b.p, b.n, 0, t->err);
    br__buf_free(&b);
    return rc;
}

static int write_weights(struct toy *t)
{
    size_t *first = br__arena_alloc(&t->a, (t->n + 2) * sizeof *first);
    if (!first)
        return br__nomem(t->err, "making a toy");
    size_t shards = toy_split(t, first);
    const char **files = br__arena_alloc(&t->a, (shards + 1) * sizeof *files);
    int rc = files ? BR_OK : br__nomem(t->err, "making a toy");
    for (size_t k = 0; k < shards && !rc; k++) {
        files[k] = shards == 1
                       ? "model.safetensors"
                       : br__arena_printf(&t->a, "model-%05zu-of-%05zu.safetensors", k + 1, shards);
        const char *path = files[k] ? br__path_join(&t->a, t->dir, files[k]) : NULL;
        rc = path ? write_shard(path, t->e + first[k], first[k + 1] - first[k], t->o, t->err)
                  : br__nomem(t->err, "making a toy");
    }
    return !rc && shards > 1 ? write_index(t, first, shards, files) : rc;
}

static int write_json(struct toy *t, const char *name, const br__json *j)
{
    struct br__buf b = {0};
    const char *path = br__path_join(&t->a, t->dir, name);
    int rc = path && !br__json_print(j, 0, &b) ? br__write_file(path, b.p, b.n, 0, t->err)
                                               : br__nomem(t->err, "making a toy");
    br__buf_free(&b);
    return rc;
}

static int write_generation_config(struct toy *t)
{
    br__json *j = br__json_new_object();
    int rc = j ? set_pairs(j, "bos_token_id=0 eos_token_id=1 transformers_version=4.57.0", t->err)
               : br__nomem(t->err, "making a toy");
    if (!rc)
        rc = write_json(t, "generation_config.json", j);
    br__json_free(j);
    return rc;
}

/* The tensors that the rules expect of this configuration, sorted as the safetensors library sorts
 * them. */
static int toy_tensors(struct toy *t, const struct br_config *cfg)
{
    struct br__expand_opts x = {.fused = t->o->fused,
                                .untied = !br_cfg_i(cfg, BR_CFG_SHARE_EMBEDDINGS)};
    struct br__expansion *ex;
    int rc = br__rules_expand(&t->a, cfg, &x, &ex, t->err);
    if (rc)
        return rc;
    t->n = ex->n_hf;
    t->e = br__arena_alloc(&t->a, (t->n + 1) * sizeof *t->e);
    if (!t->e)
        return br__nomem(t->err, "making a toy");
    for (size_t i = 0; i < t->n; i++) {
        t->e[i] = (struct br__st_entry){
            .name = ex->hf[i].name, .dtype = cfg->dtype, .ndim = ex->hf[i].ndim};
        memcpy(t->e[i].shape, ex->hf[i].shape, sizeof t->e[i].shape);
    }
    qsort(t->e, t->n, sizeof *t->e, by_name);
    return BR_OK;
}

static int check_dir(struct toy *t)
{
    char **names;
    size_t n = 0;
    int rc = br__mkdirs(t->dir, t->err);
    if (!rc)
        rc = br__list_dir(&t->a, t->dir, &names, &n, t->err);
    if (!rc && n)
        rc = br_fail(t->err, BR_E_EXISTS,
                     "'%s' is not empty; a toy is written into a new or empty directory", t->dir);
    return rc;
}

int br__toy_write(const struct br__arch *arch, const char *dir, const struct br__toy_opts *o,
                  struct br_err *err)
{
    struct toy t = {.dir = dir, .o = o, .err = err};
    struct br_config cfg;
    br__json *json;
    int rc = br__toy_config(arch, o, &json, err);
    if (rc)
        return rc;
    rc = br__config_from_json(&t.a, arch, json, &cfg, err);
    if (rc)
        goto end;
    if (cfg.dtype == BR_NONE || !br_dtype_is_float(cfg.dtype) || br_dtype_size(cfg.dtype) == 1) {
        rc = br_fail(err, BR_E_USAGE,
                     "a toy's torch_dtype must be float32, float16, bfloat16 or float64");
        goto end;
    }
    if ((rc = toy_tensors(&t, &cfg)) || (rc = check_dir(&t)) || (rc = write_weights(&t)) ||
        (rc = write_generation_config(&t)))
        goto end;
    rc = write_json(&t, "config.json", json); /* last: a directory with it is complete */
end:
    br__json_free(json);
    br__arena_free(&t.a);
    return rc;
}
