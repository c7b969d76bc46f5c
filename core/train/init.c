/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* init.c - the model of a run that begins from nothing, as Megatron would make it.
 *
 * A value depends on the seed, the tensor's name and the element's index alone, and is made of
 * additions, multiplications, divisions and square roots, which are the same on every machine.  The
 * distributions are megatron-core 0.19's: normal with init_method_std for linear and embedding
 * weights, divided by sqrt(2 * layers) for what ends a residual branch
 * (scaled_init_method_normal); those of the gated delta net from its reset_parameters().  The
 * numbers are ours, not those of torch's generator. */
#include "ckpt.h"
#include "train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum fill { FILL_ZERO, FILL_ONE, FILL_NORMAL, FILL_UNIFORM, FILL_LOG_UNIFORM };

/* How the elements of one tensor are made. */
struct recipe {
    enum fill fill;
    double a, b;   /* NORMAL: b = standard deviation; UNIFORM, LOG_UNIFORM: between a and b */
    uint64_t name; /* its digest */
};

struct init_source {
    struct br__model_source base;
    struct br__arena arena;
    struct br_config cfg;
    uint64_t seed;
    struct recipe *recipes; /* [n_tensors] */
};

/* ---- numbers --------------------------------------------------------------------------------- */

/* Logarithm of x > 0: of the mantissa by the series of atanh, within 2^-50. */
static double init_logarithm(double x)
{
    int exponent;
    double m = frexp(x, &exponent), sum = 0;

    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double t = (m - 1) / (m + 1), power = t;
    for (int k = 1; k < 40; k += 2) {
        sum += power / k;
        power *= t * t;
    }
    return 2 * sum + exponent * 0.69314718055994531;
}

static double init_horner(const double *c, double x)
{
    double sum = 0;

    for (int i = 7; i >= 0; i--)
        sum = sum * x + c[i];
    return sum;
}

/* Quantile of the normal distribution at p, 2^-33 <= p <= 1 - 2^-33: Wichura's AS 241, PPND16,
 * whose third case begins at e^-25. */
static double init_quantile(double p)
{
    static const double a[] = {3.3871328727963666080e0,  1.3314166789178437745e+2,
                               1.9715909503065514427e+3, 1.3731693765509461125e+4,
                               4.5921953931549871457e+4, 6.7265770927008700853e+4,
                               3.3430575583588128105e+4, 2.5090809287301226727e+3};
    static const double b[] = {1,
                               4.2313330701600911252e+1,
                               6.8718700749205790830e+2,
                               5.3941960214247511077e+3,
                               2.1213794301586595867e+4,
                               3.9307895800092710610e+4,
                               2.8729085735721942674e+4,
                               5.2264952788528545610e+3};
    static const double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                               5.76949722146069140550e0,  3.64784832476320460504e0,
                               1.27045825245236838258e0,  2.41780725177450611770e-1,
                               2.27238449892691845833e-2, 7.74545014278341407640e-4};
    static const double d[] = {1,
                               2.05319162663775882187e0,
                               1.67638483018380384940e0,
                               6.89767334985100004550e-1,
                               1.48103976427480074590e-1,
                               1.51986665636164571966e-2,
                               5.47593808499534494600e-4,
                               1.05075007164441684324e-9};
    double q = p - 0.5;

    if (fabs(q) <= 0.425) {
        double r = 0.180625 - q * q;
        return q * init_horner(a, r) / init_horner(b, r);
    }
    double r = sqrt(-init_logarithm(q < 0 ? p : 1 - p)) - 1.6;
    double x = init_horner(c, r) / init_horner(d, r);
    return q < 0 ? -x : x;
}

/* The element whose 32 random bits are given. */
static float init_element(const struct recipe *r, uint32_t bits)
{
    double p = (bits + 0.5) / 4294967296.0;

    switch (r->fill) {
    case FILL_NORMAL:
        return (float)(r->b * init_quantile(p));
    case FILL_UNIFORM:
        return (float)(r->a + (r->b - r->a) * p);
    case FILL_LOG_UNIFORM:
        return (float)init_logarithm(r->a + (r->b - r->a) * p);
    default:
        return r->fill == FILL_ONE;
    }
}

/* Elements [first, first + n) of a tensor. */
static void init_fill(uint64_t seed, const struct recipe *r, uint64_t first, size_t n, float *out)
{
    const uint32_t key[] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t bits[4] = {0};

    for (size_t i = 0; i < n; i++) {
        uint64_t at = first + i;
        const uint32_t counter[] = {(uint32_t)(at / 4), (uint32_t)(at / 4 >> 32), (uint32_t)r->name,
                                    (uint32_t)(r->name >> 32)};
        if (r->fill >= FILL_NORMAL && (!i || at % 4 == 0))
            br__philox(counter, key, bits);
        out[i] = init_element(r, bits[at % 4]);
    }
}

void br__init_normal(uint64_t seed, const char *name, double std, float *out, size_t n)
{
    const struct recipe r = {FILL_NORMAL, 0, std, br__xxh3(name, strlen(name))};
    init_fill(seed, &r, 0, n, out);
}

void br__init_uniform(uint64_t seed, const char *name, double bound, float *out, size_t n)
{
    const struct recipe r = {FILL_UNIFORM, -bound, bound, br__xxh3(name, strlen(name))};
    init_fill(seed, &r, 0, n, out);
}

/* ---- which tensor is what -------------------------------------------------------------------- */

static int is_output(const char *mc)
{
    return br__ends(mc, "linear_proj.weight") || br__ends(mc, "linear_fc2.weight") ||
           br__ends(mc, ".out_proj.weight");
}

/* mc: the Megatron tensor that it is, or is a part of. */
static struct recipe recipe_of(const struct init_source *s, const struct br__slot *hf,
                               const char *mc)
{
    const struct br_config *cfg = &s->cfg;
    double std = br_cfg_f(cfg, BR_CFG_INIT_METHOD_STD);
    struct recipe r = {.name = br__xxh3(hf->name, strlen(hf->name))};

    if (br__ends(mc, ".bias")) {
        r.fill = FILL_ZERO;
    } else if (br__ends(mc, "dt_bias")) {
        r.fill = FILL_ONE;
    } else if (br__ends(mc, "A_log")) {
        r = (struct recipe){FILL_LOG_UNIFORM, 1, 16, r.name};
    } else if (strstr(mc, "conv1d.weight")) { /* torch's own, of Conv1d by channels */
        double bound = 1 / sqrt((double)hf->shape[hf->ndim - 1]);
        r = (struct recipe){FILL_UNIFORM, -bound, bound, r.name};
    } else if (hf->ndim == 1) { /* a norm; what Megatron alone centres on zero is one in our file */
        int zero = br_cfg_i(cfg, BR_CFG_LAYERNORM_ZERO_CENTERED_GAMMA) &&
                   !(cfg->arch->maps[hf->rule].flags & BR_MAP_ZERO_CENTERED);
        r.fill = zero ? FILL_ZERO : FILL_ONE;
    } else {
        r.fill = FILL_NORMAL;
        r.b = is_output(mc) ? std / sqrt(2.0 * (double)cfg->n_layers) : std;
    }
    return r;
}

static int list_tensors(struct init_source *s, const struct br__expansion *x, int dtype, int blank,
                        struct br_err *err)
{
    struct br__source_tensor *t = br__arena_alloc(&s->arena, (x->n_hf + 1) * sizeof *t);
    const char **mc = br__arena_alloc(&s->arena, (x->n_hf + 1) * sizeof *mc);

    s->recipes = br__arena_alloc(&s->arena, (x->n_hf + 1) * sizeof *s->recipes);
    if (!t || !mc || !s->recipes)
        return br__nomem(err, "making a model");
    for (size_t i = 0; i < x->n_moves; i++)
        mc[x->moves[i].hf] = x->mc[x->moves[i].mc].name;
    for (size_t i = 0; i < x->n_hf; i++) {
        const struct br__slot *hf = &x->hf[i];
        t[i] = (struct br__source_tensor){
            .name = hf->name, .dtype = dtype, .ndim = hf->ndim, .from = (uint32_t)i};
        memcpy(t[i].shape, hf->shape, sizeof t[i].shape);
        if (!blank)
            s->recipes[i] = recipe_of(s, hf, mc[i] ? mc[i] : hf->name);
    }
    s->base.tensors = t;
    s->base.n_tensors = x->n_hf;
    return BR_OK;
}

/* ---- the source ------------------------------------------------------------------------------ */

static int init_read(const struct br__model_source *b, const struct br__source_tensor *t,
                     uint64_t off, void *dst, size_t n, struct br__scratch *scratch,
                     struct br_err *err)
{
    const struct init_source *s = (const struct init_source *)b;
    size_t size = br_dtype_size(t->dtype);
    float *values = (float *)(void *)scratch->buf;

    (void)err;
    init_fill(s->seed, &s->recipes[t->from], off / size, n / size, values);
    br_cast(dst, t->dtype, values, BR_F32, n / size, 0);
    return BR_OK;
}

static const void *init_map(const struct br__model_source *s, const struct br__source_tensor *t)
{
    (void)s;
    (void)t;
    return NULL;
}

static void init_close(struct br__model_source *b)
{
    struct init_source *s = (struct init_source *)b;

    br__registry_close(b->registry);
    br__arena_free(&s->arena);
    br__free(s);
}

static const struct br__source_ops init_ops = {init_read, init_map, init_close};

/* The text of the model's config.json: another model's own, or made of the recipe's sizes. */
static int find_text(struct init_source *s, const struct br__run *run, struct br_err *err)
{
    struct br_config cfg = {0};
    struct br__buf b = {0};
    br__json *json;

    s->base.config_text = run->config_text ? br__arena_strdup(&s->arena, run->config_text) : NULL;
    if (run->config_text)
        return s->base.config_text ? BR_OK : br__nomem(err, "making a model");
    int rc = br__recipe_config(&s->arena, run->recipe, &json, &cfg, err);
    if (rc)
        return rc;
    if (br__json_print(json, 0, &b) ||
        !(s->base.config_text = br__arena_strndup(&s->arena, b.p, b.n)))
        rc = br__nomem(err, "making a model");
    br__buf_free(&b);
    br__json_free(json);
    return rc;
}

static int init_make(struct init_source *s, const struct br__run *run, int blank,
                     struct br_err *err)
{
    struct br__expand_opts o = {0};
    struct br__expansion *x;
    int dtype = run->params_dtype;
    int rc = br__registry_open(&s->base.registry, NULL, err);

    if (!rc)
        rc = find_text(s, run, err);
    if (!rc)
        rc = br__config_from_text(&s->arena, s->base.registry, s->base.config_text,
                                  strlen(s->base.config_text), &s->cfg, err);
    if (rc)
        return rc;
    s->cfg.dtype = dtype;
    if (run->mtp_layers >= 0) {
        s->cfg.n_mtp = run->mtp_layers;
        br_cfg_set(&s->cfg, BR_CFG_MTP_NUM_LAYERS, (double)run->mtp_layers);
    }
    s->seed = run->seed;
    s->base.untied = o.untied = !br_cfg_i(&s->cfg, BR_CFG_SHARE_EMBEDDINGS);
    rc = br__rules_expand(&s->arena, &s->cfg, &o, &x, err);
    return rc ? rc : list_tensors(s, x, dtype, blank, err);
}

int br__init_source_open(struct br__model_source **out, const struct br__run *run, int blank,
                         struct br_err *err)
{
    struct init_source *s = br__calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return br__nomem(err, "making a model");
    s->base.ops = &init_ops;
    s->base.cfg = &s->cfg;
    s->base.dir = "random numbers";
    int rc = init_make(s, run, blank, err);
    if (rc) {
        br_wrap(err, "a model of random numbers");
        init_close(&s->base);
    } else {
        *out = &s->base;
    }
    return rc;
}

int br__random_model(struct br__model_source **out, const char *config_text, int dtype,
                     struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    const struct br__run run = {
        .config_text = config_text, .params_dtype = dtype, .mtp_layers = -1};
    int rc = br__init_source_open(out, &run, 0, &why);

    if (rc)
        return br_fail(err, rc, "%s", why.msg);
    const struct init_source *s = (const struct init_source *)*out;
    for (size_t i = 0; i < s->base.n_tensors; i++) {
        struct recipe *r = &s->recipes[i];
        if (r->fill == FILL_NORMAL) /* the same deviation, and a tenth of the time */
            *r = (struct recipe){FILL_UNIFORM, -r->b * sqrt(3), r->b * sqrt(3), r->name};
    }
    return BR_OK;
}
