/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - what a checkpoint holds, beyond its table of tensors: hashes, and what a training
 * run left.
 *
 * A training checkpoint has, beside the weights, optimizer tensors and items with random states;
 * none of them takes part in a conversion, but a user wants to know that they are there, and that
 * they are sane. */
#include "convert.h"

#include <string.h>

#define BLOCK (1u << 20)       /* bytes of one read when hashing           */
#define CHECK_BLOCK (1u << 16) /* elements of one read of main parameters */

int br__ckpt_sha256(const struct br__ckpt *ck, const struct br__tensor *t, char hex[65],
                    struct br_err *err)
{
    struct br__sha256 *h = br__sha256_new();
    unsigned char *buf = br__alloc(BLOCK);
    int rc = BR_OK;

    if (!h || !buf)
        rc = br_fail(err, BR_E_NOMEM, "out of memory hashing '%s'", t->name);
    for (uint64_t off = 0; !rc && off < t->bytes; off += BLOCK) {
        size_t n = (size_t)BR__MIN(t->bytes - off, (uint64_t)BLOCK);
        rc = br__ckpt_read(ck, t, off, buf, n, err);
        if (!rc)
            br__sha256_update(h, buf, n);
    }
    if (!rc)
        br__sha256_hex(h, hex);
    br__sha256_free(h);
    br__free(buf);
    return rc;
}

/* ---- what a training run left --------------------------------------------------------------- */

/* The optimizer's keys; several optimizers are chained as chained_0., chained_1., ... */
static const char *optimizer_part(const char *key)
{
    static const char chained[] = "chained_", own[] = "optimizer.";

    if (br__starts(key, chained)) {
        const char *p = key + strlen(chained);
        p += strspn(p, "0123456789");
        key = *p == '.' ? p + 1 : key;
    }
    return br__starts(key, own) ? key + strlen(own) : NULL;
}

/* Name of the weight whose main copy this key is: "optimizer.state.param.X" -> X, else NULL. */
static const char *weight_of_main(const char *key)
{
    static const char *const prefixes[] = {"optimizer.state.param.", "optimizer.state.fp32_param."};

    for (size_t i = 0; i < BR_COUNTOF(prefixes); i++)
        if (br__starts(key, prefixes[i]))
            return key + strlen(prefixes[i]);
    return NULL;
}

static void count_items(const struct br__ckpt *ck, struct br__training *t)
{
    int optimizer_objects = 0, adam = 0, sgd = 0;

    for (size_t i = 0; i < ck->n_tensors; i++) {
        const char *part = optimizer_part(ck->tensors[i].name);
        if (!part)
            continue;
        t->n_optimizer_tensors++;
        adam |= strstr(part, "exp_avg") != NULL;
        sgd |= strstr(part, "momentum_buffer") != NULL;
    }
    for (size_t i = 0; i < ck->td->n_objects; i++) {
        const char *key = ck->td->objects[i];
        t->n_rng_items += (size_t)br__starts(key, "rng_state/");
        t->n_rerun_items += (size_t)br__starts(key, "rerun_state_machine_state/");
        optimizer_objects |= optimizer_part(key) != NULL;
    }
    if (t->n_optimizer_tensors || optimizer_objects)
        t->optimizer = adam ? "adam" : sgd ? "sgd" : "unknown";
    t->present = t->optimizer || t->n_rng_items || t->n_rerun_items;
}

static const char *text_of(const struct br__pk *v)
{
    return v && v->kind == BR__PK_STR ? v->u.s : NULL;
}

static int64_t int_of(const struct br__pk *v)
{
    return v && v->kind == BR__PK_INT && !v->big && v->u.i >= 0 ? v->u.i : -1;
}

/* How the optimizer's tensors are laid out: the checkpoint's own word for it. */
static const char *sharding_of(const struct br__pk *common)
{
    const struct br__pk *content = common ? br__pk_get(common, "content_metadata") : NULL;
    const struct br__pk *optimizer = common ? br__pk_get(common, "optimizer") : NULL;
    const char *s = content ? text_of(br__pk_get(content, "distrib_optim_sharding_type")) : NULL;

    if (!s && optimizer)
        s = text_of(br__pk_get(optimizer, "param_state_sharding_type"));
    return s;
}

/* train_state.pt counts samples; where Megatron-LM wrote the checkpoint its arguments do, and the
 * scheduler's steps are samples too. */
static int64_t samples_of(const struct br__td *td)
{
    const struct br__pk *scheduler =
        td->common ? br__pk_get(td->common, "opt_param_scheduler") : NULL;
    int64_t n = td->consumed_samples;

    if (n < 0 && td->args)
        n = int_of(br__pk_get(td->args, "consumed_train_samples"));
    if (n < 0 && scheduler)
        n = int_of(br__pk_get(scheduler, "num_steps"));
    return n;
}

static int read_common(struct br__arena *a, const struct br__td *td, struct br__training *t,
                       struct br_err *err)
{
    const char *sharding = sharding_of(td->common);

    t->iteration = td->iteration >= 0 ? td->iteration : td->train_step;
    t->consumed_samples = samples_of(td);
    t->has_scheduler = td->common && br__pk_get(td->common, "opt_param_scheduler") != NULL;
    if (!t->optimizer)
        return BR_OK;
    t->sharding = sharding ? br__arena_strdup(a, sharding) : "none";
    if (sharding)
        t->optimizer = br__arena_printf(a, "%s (distributed)", t->optimizer);
    if (!t->sharding || !t->optimizer)
        return br_fail(err, BR_E_NOMEM, "out of memory reading the training state");
    return BR_OK;
}

/* ---- stored main parameters ------------------------------------------------------------------ */

struct main_check {
    const struct br__ckpt *ck;
    unsigned char *main, *rounded, *weight; /* CHECK_BLOCK elements each */
    uint64_t seen, differ;                  /* elements of this tensor   */
};

/* Elements [first, first + n) of both, n <= CHECK_BLOCK. */
static int check_block(struct main_check *c, const struct br__tensor *m, const struct br__tensor *w,
                       uint64_t first, size_t n, struct br_err *err)
{
    size_t ms = br_dtype_size(m->dtype), ws = br_dtype_size(w->dtype);
    int rc = br__ckpt_read(c->ck, m, first * ms, c->main, n * ms, err);

    if (!rc)
        rc = br__ckpt_read(c->ck, w, first * ws, c->weight, n * ws, err);
    if (rc)
        return rc;
    br_cast(c->rounded, w->dtype, c->main, m->dtype, n, 0);
    c->seen += n;
    if (memcmp(c->rounded, c->weight, n * ws))
        for (size_t i = 0; i < n; i++)
            c->differ += memcmp(c->rounded + i * ws, c->weight + i * ws, ws) != 0;
    return BR_OK;
}

/* All of it, or the two ends: the defect that this looks for shifts whole tensors. */
static int check_tensor(struct main_check *c, const struct br__tensor *m,
                        const struct br__tensor *w, int how, struct br_err *err)
{
    uint64_t n = m->bytes / br_dtype_size(m->dtype);
    int rc = BR_OK;

    c->seen = c->differ = 0;
    for (uint64_t at = 0; !rc && at < n;) {
        size_t step = (size_t)BR__MIN(n - at, (uint64_t)CHECK_BLOCK);
        rc = check_block(c, m, w, at, step, err);
        at += step;
        if (how == BR__MAIN_ENDS && at < n && n - at > CHECK_BLOCK)
            at = n - CHECK_BLOCK;
    }
    return rc;
}

static int is_castable(int dtype)
{
    return dtype == BR_F32 || dtype == BR_F16 || dtype == BR_BF16;
}

static int comparable(const struct br__tensor *m, const struct br__tensor *w)
{
    return w && m->dtype == BR_F32 && is_castable(w->dtype) && m->ndim == w->ndim &&
           !memcmp(m->shape, w->shape, (size_t)m->ndim * sizeof *m->shape);
}

static const char *main_warning(struct br__arena *a, const struct br__training *t, size_t n_bad,
                                const char *first, uint64_t differ, uint64_t seen)
{
    int known = t->sharding && !strcmp(t->sharding, "fully_reshardable");

    return br__arena_printf(
        a,
        "%zu stored main parameter(s) do not round to the weights, first '%s' (%llu of %llu "
        "elements "
        "read)%s; the weights are what an export writes",
        n_bad, first, (unsigned long long)differ, (unsigned long long)seen,
        known
            ? ": Megatron's fully_reshardable save shifts them when gradients have several padded "
              "buckets, and a resumed run starts from the shifted values"
            : "");
}

static int check_mains(struct br__arena *a, struct main_check *c, int how, struct br__training *t,
                       struct br_err *err)
{
    const struct br__ckpt *ck = c->ck;
    const char *first = NULL;
    uint64_t differ = 0, seen = 0;
    size_t n_bad = 0;

    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *m = &ck->tensors[i];
        const char *name = weight_of_main(m->name);
        const struct br__tensor *w = name ? br__ckpt_find(ck, name) : NULL;
        if (!comparable(m, w))
            continue;
        int rc = check_tensor(c, m, w, how, err);
        if (rc)
            return rc;
        if (c->differ && !n_bad++) {
            first = m->name;
            differ = c->differ;
            seen = c->seen;
        }
    }
    if (!n_bad)
        return BR_OK;
    t->warnings = br__arena_alloc(a, sizeof *t->warnings);
    const char *text = main_warning(a, t, n_bad, first, differ, seen);
    if (!t->warnings || !text)
        return br_fail(err, BR_E_NOMEM, "out of memory checking main parameters");
    t->warnings[t->n_warnings++] = text;
    return BR_OK;
}

int br__training_summary(struct br__arena *a, const struct br__ckpt *ck, int check_main_params,
                         struct br__training *out, struct br_err *err)
{
    memset(out, 0, sizeof *out);
    out->iteration = out->consumed_samples = -1;
    if (ck->format != BR__FMT_TORCH_DIST)
        return BR_OK;
    count_items(ck, out);
    int rc = read_common(a, ck->td, out, err);
    if (rc || !check_main_params || !out->n_optimizer_tensors)
        return rc;
    /* main, its rounding and the weight: at most four bytes an element each */
    unsigned char *buf = br__alloc(3 * 4 * (size_t)CHECK_BLOCK);
    if (!buf)
        return br_fail(err, BR_E_NOMEM, "out of memory checking main parameters");
    struct main_check c = {ck, buf, buf + 4 * CHECK_BLOCK, buf + 8 * CHECK_BLOCK, 0, 0};
    rc = check_mains(a, &c, check_main_params, out, err);
    br__free(buf);
    return rc;
}
