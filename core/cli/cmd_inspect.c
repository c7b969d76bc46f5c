/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_inspect.c - inspect and diff: looking at checkpoints of either format. */
#include "cli.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HASH_TEXT 65

/* Open an existing directory, or a hub id, of which only the bytes that are shown are downloaded.
 */
static int open_any(struct br__cli *c, struct br__report *r, const char *name, struct br__ckpt **ck,
                    struct br_err *err)
{
    const struct br__hub_opts o = {.listener = &r->listener,
                                   .local_only = BR__FLAG(c, LOCAL_FILES_ONLY)};

    *ck = NULL;
    int rc = br__exists(name) ? br__ckpt_open(ck, name, err)
                              : br__hf_open_model(ck, name, BR__HF_REMOTE, &o, err);
    if (!rc && (*ck)->td)
        (*ck)->td->no_verify = BR__FLAG(c, NO_VERIFY);
    return rc;
}

/* ---- inspect --------------------------------------------------------------------------------- */

struct look {
    struct br__cli *c;
    struct br__report *r;
    struct br__ckpt *ck;
    const struct br__tensor **sorted;
    char (*hash)[HASH_TEXT]; /* per sorted tensor; NULL without --hash */
    struct br__training training;
    pthread_mutex_t lock;
    uint64_t done, total;
};

static int by_name(const void *x, const void *y)
{
    const struct br__tensor *const *a = x, *const *b = y;

    return br__natural_cmp((*a)->name, (*b)->name);
}

static int sort_tensors(struct look *l, struct br_err *err)
{
    const struct br__ckpt *ck = l->ck;

    l->sorted = br__arena_alloc(&l->c->arena, ck->n_tensors * sizeof *l->sorted + 1);
    if (!l->sorted)
        return br__nomem(err, "listing %zu tensors", ck->n_tensors);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        l->sorted[i] = &ck->tensors[i];
        l->total += ck->tensors[i].bytes;
    }
    qsort(l->sorted, ck->n_tensors, sizeof *l->sorted, by_name);
    return BR_OK;
}

static int hash_one(void *arg, size_t i, int worker, struct br_err *err)
{
    struct look *l = arg;
    int rc = br__ckpt_sha256(l->ck, l->sorted[i], l->hash[i], err);

    (void)worker;
    pthread_mutex_lock(&l->lock);
    l->done += l->sorted[i]->bytes;
    l->r->listener.progress(l->r, "hash", l->done, l->total);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

static int hash_all(struct look *l, struct br_err *err)
{
    l->hash = br__arena_alloc(&l->c->arena, l->ck->n_tensors * sizeof *l->hash + 1);
    if (!l->hash)
        return br__nomem(err, "hashing %zu tensors", l->ck->n_tensors);
    pthread_mutex_init(&l->lock, NULL);
    l->r->listener.progress(l->r, "hash", 0, l->total); /* the clock starts */
    int rc = br__pool_run((int)BR__INT(l->c, THREADS), l->ck->n_tensors, hash_one, l, err);
    pthread_mutex_destroy(&l->lock);
    br__report_end(l->r);
    return rc;
}

static void training_json(struct br__js *j, const struct br__training *t)
{
    if (!t->present) {
        br__js_null(j, "training");
        return;
    }
    br__js_object(j, "training", BR__JS_INLINE);
    if (t->iteration < 0)
        br__js_null(j, "iteration");
    else
        br__js_i64(j, "iteration", t->iteration);
    if (t->consumed_samples < 0)
        br__js_null(j, "consumed_samples");
    else
        br__js_i64(j, "consumed_samples", t->consumed_samples);
    br__js_str(j, "optimizer", t->optimizer);
    br__js_str(j, "sharding", t->sharding);
    br__js_end(j);
}

static int look_json(const struct look *l, struct br_err *err)
{
    const struct br__ckpt *ck = l->ck;
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_str(&j, "format", ck->format == BR__FMT_HF ? "hf" : "torch_dist");
    br__js_object(&j, "tensors", 0);
    for (size_t i = 0; i < ck->n_tensors; i++) {
        const struct br__tensor *t = l->sorted[i];
        br__js_object(&j, t->name, BR__JS_INLINE);
        br__js_str(&j, "dtype", br_dtype_torch(t->dtype));
        br__js_shape(&j, "shape", t->shape, t->ndim);
        if (l->hash)
            br__js_str(&j, "sha256", l->hash[i]);
        br__js_end(&j);
    }
    br__js_end(&j);
    br__js_strs(&j, "objects", ck->td ? ck->td->objects : NULL, ck->td ? ck->td->n_objects : 0);
    training_json(&j, &l->training);
    br__js_array(&j, "warnings", 0);
    for (size_t i = 0; i < ck->n_warnings; i++)
        br__js_str(&j, NULL, ck->warnings[i]);
    for (size_t i = 0; i < l->training.n_warnings; i++)
        br__js_str(&j, NULL, l->training.warnings[i]);
    br__js_end(&j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static int tensor_table(const struct look *l, struct br_err *err)
{
    struct br__table t = {.cols = 5};
    char shape[160], bytes[32];

    br__table_row(&t, "tensor", "dtype", "shape", ">bytes", l->hash ? "sha256" : "");
    for (size_t i = 0; i < l->ck->n_tensors; i++) {
        const struct br__tensor *x = l->sorted[i];
        br__table_row(&t, x->name, br_dtype_torch(x->dtype),
                      br__shape_str(x->shape, x->ndim, shape, sizeof shape),
                      br__human_bytes(x->bytes, bytes), l->hash ? l->hash[i] : "");
    }
    return br__table_print(&t, err);
}

/* "iteration 3, 12 consumed samples, adam (distributed), sharding fully_reshardable" */
static void print_training(const struct br__training *t)
{
    struct br__buf b = {0};

    if (!t->present)
        return;
    if (t->iteration >= 0)
        br__buf_printf(&b, "iteration %" PRId64 ", ", t->iteration);
    if (t->consumed_samples >= 0)
        br__buf_printf(&b, "%" PRId64 " consumed samples, ", t->consumed_samples);
    if (t->optimizer)
        br__buf_printf(&b, "%s, sharding %s, %zu optimizer tensors, ", t->optimizer, t->sharding,
                       t->n_optimizer_tensors);
    br__say(stdout, "training: %s%s, %zu random states, %zu rerun states", b.n ? b.p : "",
            t->has_scheduler ? "a scheduler" : "no scheduler", t->n_rng_items, t->n_rerun_items);
    br__buf_free(&b);
}

static int look_text(const struct look *l, struct br_err *err)
{
    const struct br__ckpt *ck = l->ck;
    char bytes[32], objects[32] = "";
    int rc = tensor_table(l, err);

    if (rc)
        return rc;
    if (ck->td)
        snprintf(objects, sizeof objects, ", %zu objects", ck->td->n_objects);
    putchar('\n');
    br__say(stdout, "%s: %s, %zu tensors, %s in %zu files%s", ck->dir,
            ck->format == BR__FMT_HF ? "Hugging Face" : "torch_dist", ck->n_tensors,
            br__human_bytes(l->total, bytes), ck->n_files, objects);
    for (size_t i = 0; ck->td && BR__FLAG(l->c, VERBOSE) && i < ck->td->n_objects; i++)
        br__say(stdout, "  %s", ck->td->objects[i]);
    print_training(&l->training);
    fflush(stdout);
    for (size_t i = 0; i < ck->n_warnings; i++)
        br__report_warning(l->r, "%s", ck->warnings[i]);
    for (size_t i = 0; i < l->training.n_warnings; i++)
        br__report_warning(l->r, "%s", l->training.warnings[i]);
    return BR_OK;
}

int br__cmd_inspect(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct look l = {.c = c, .r = &r};
    int hash = BR__FLAG(c, HASH);

    br__report_init(&r, c);
    int rc = open_any(c, &r, c->pos[0], &l.ck, err);
    if (!rc)
        rc = sort_tensors(&l, err);
    if (!rc && hash)
        rc = hash_all(&l, err);
    if (!rc && hash)
        rc = br__ckpt_settle(l.ck, err);
    if (!rc)
        rc = br__training_summary(&c->arena, l.ck, hash ? BR__MAIN_ALL : BR__MAIN_ENDS, &l.training,
                                  err);
    if (!rc)
        rc = r.json ? look_json(&l, err) : look_text(&l, err);
    br__ckpt_close(l.ck);
    br__report_free(&r);
    return rc;
}

/* ---- diff ------------------------------------------------------------------------------------ */

static void diff_line(void *ud, const char *text)
{
    struct br__report *r = ud;

    if (r->json)
        r->listener.note(r, text);
    else if (!r->quiet)
        br__say(stdout, "%s", text);
}

static int diff_json(const struct br__report *r, size_t n_diff, size_t n_a, size_t n_b,
                     struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    br__js_bool(&j, "equal", n_diff == 0);
    br__js_u64(&j, "tensors_a", n_a);
    br__js_u64(&j, "tensors_b", n_b);
    if (r->failed)
        j.buf.failed = BR_E_NOMEM;
    br__js_strs(&j, "differences", r->notes, r->n_notes);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_diff(struct br__cli *c, struct br_err *err)
{
    struct br__report r;
    struct br__ckpt *a = NULL, *b = NULL;
    size_t n_diff = 0;

    br__report_init(&r, c);
    int rc = open_any(c, &r, c->pos[0], &a, err);
    if (!rc)
        rc = open_any(c, &r, c->pos[1], &b, err);
    if (!rc)
        rc = br__ckpt_diff(a, b, (int)BR__INT(c, THREADS), diff_line, &r, &n_diff, err);
    if (!rc)
        rc = br__ckpt_settle(a, err);
    if (!rc)
        rc = br__ckpt_settle(b, err);
    if (!rc && r.json)
        rc = diff_json(&r, n_diff, a->n_tensors, b->n_tensors, err);
    else if (!rc && !n_diff)
        br__say(stdout, "equal: all %zu tensors", a->n_tensors);
    if (!rc && n_diff)
        rc = br_fail(err, BR_E_DIFF, "%zu of %zu tensors differ", n_diff,
                     BR__MAX(a->n_tensors, b->n_tensors));
    br__ckpt_close(a);
    br__ckpt_close(b);
    br__report_free(&r);
    return rc;
}
