/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* inspect.c - what a checkpoint holds, beyond its table of tensors: hashes, and training state.  A
 * training checkpoint has, beside the weights, optimizer tensors and items with random states. None
 * of them takes part in a conversion, but `inspect` reports them and whether they are sane. */
#include "convert.h"

#include <string.h>

#define BLOCK (1u << 20) /* bytes of one read when hashing */

int br__ckpt_sha256(const struct br__ckpt *ck, const struct br__tensor *t, char hex[65],
                    struct br_err *err)
{
    struct br__sha256 *h = br__sha256_new();
    unsigned char *buf = br__alloc(BLOCK);
    int rc = BR_OK;

    if (!h || !buf)
        rc = br__nomem(err, "hashing '%s'", t->name);
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

/* ---- what a training run left ---------------------------------------------------------------- */

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

static int read_common(struct br__arena *a, const struct br__td *td, struct br__training *t,
                       struct br_err *err)
{
    const char *sharding = br__td_sharding(td);

    t->iteration = td->iteration >= 0 ? td->iteration : td->train_step;
    t->consumed_samples = br__td_samples(td);
    t->has_scheduler = td->common && br__pk_get(td->common, "opt_param_scheduler") != NULL;
    if (!t->optimizer)
        return BR_OK;
    t->sharding = sharding ? br__arena_strdup(a, sharding) : "none";
    if (sharding)
        t->optimizer = br__arena_printf(a, "%s (distributed)", t->optimizer);
    if (!t->sharding || !t->optimizer)
        return br__nomem(err, "reading the training state");
    return BR_OK;
}

/* ---- stored main parameters ------------------------------------------------------------------ */

static int add_warning(struct br__arena *a, struct br__training *t, const char *text,
                       struct br_err *err)
{
    t->warnings = br__arena_alloc(a, sizeof *t->warnings);
    if (!t->warnings || !text)
        return br__nomem(err, "checking main parameters");
    t->warnings[t->n_warnings++] = text;
    return BR_OK;
}

static const char *main_warning(struct br__arena *a, const struct br__train_state *s)
{
    const struct br__train_param *p = &s->params[s->first_unlike];
    const struct br__tensor *main = p->tensor[BR__OPTIM_MAIN];

    return br__arena_printf(
        a,
        "%zu stored main parameter(s) do not round to the weights, first '%s' (%llu of %llu "
        "elements read)%s; the weights are what an export writes",
        s->n_unlike, main ? main->name : p->weight->name, (unsigned long long)p->unlike,
        (unsigned long long)p->compared,
        s->form == BR__OPTIM_FULLY
            ? ": Megatron's fully_reshardable save shifts them when gradients have several padded "
              "buckets, and a resumed run starts from the shifted values (bridge repair)"
            : "");
}

/* Training state that cannot be read becomes a warning: the rest is shown. */
static int check_mains(struct br__arena *a, const struct br__ckpt *ck, int how,
                       struct br__training *t, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    struct br__train_state *s;
    int rc = br__train_state_open(&s, ck, &why);

    if (rc == BR_E_UNSUPPORTED || rc == BR_E_FORMAT)
        return add_warning(a, t, br__arena_strdup(a, why.msg), err);
    if (rc)
        return br_fail(err, rc, "%s", why.msg);
    rc = br__train_state_check(s, how, err);
    if (!rc && s->n_unlike)
        rc = add_warning(a, t, main_warning(a, s), err);
    br__train_state_close(s);
    return rc;
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
    return check_mains(a, ck, check_main_params, out, err);
}
