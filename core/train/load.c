/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* load.c - reads training checkpoints, ours and Megatron's, into the arrays of a run.
 *
 * The plan says which box of a Megatron tensor is which rows of which array, and format's reader of
 * training state gives the values of a box in any form and on any grid; here both meet. */
#include "ckpt.h"

#include <inttypes.h>
#include <string.h>

#define BLOCK (1u << 16) /* elements read at once */
#define MAX_NAMED 5      /* tensors that a message names */

struct load {
    const struct br__load_opts *o;
    struct br__loaded *out;
    struct br__arena a;
    struct br__ckpt *ck;
    struct br__train_state *s;
    struct br__live_plan live;
    const struct br__tensor **tensor; /* per output of the plan */
    uint32_t *param;                  /* likewise, of s; BR__NOT_FOUND: no state */
    struct br__progress progress;
    struct br_err *err;
};

/* ---- which checkpoint ------------------------------------------------------------------------ */

int br__ckpt_latest(struct br__arena *a, const char *root, int64_t step, const char **iter_dir,
                    struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;

    *iter_dir = NULL;
    if (step >= 0) {
        const char *name = br__arena_printf(a, "iter_%07" PRId64 "/" BR__METADATA, step);
        char *path = name ? br__path_join(a, root, name) : NULL;
        if (!path)
            return br__nomem(err, "loading a training checkpoint");
        if (!br__exists(path))
            return br_fail(err, BR_E_NOTFOUND,
                           "ckpt_step=%" PRId64 ": there is no '%s'; leave it out for the latest",
                           step, path);
        path[strlen(path) - strlen("/" BR__METADATA)] = '\0';
        *iter_dir = path;
        return BR_OK;
    }
    int rc = br__exists(root) ? br__td_resolve(a, root, iter_dir, &why) : BR_E_NOTFOUND;
    if (rc == BR_E_NOTFOUND && (br__is_dir(root) || !br__exists(root))) {
        *iter_dir = NULL; /* the run has not saved yet */
        return BR_OK;
    }
    return rc ? br_fail(err, rc, "%s; ckpt_step=N goes on from another", why.msg) : BR_OK;
}

/* ---- binding --------------------------------------------------------------------------------- */

static int same_shape(const struct br__plan_out *o, const struct br__tensor *t)
{
    return o->ndim == t->ndim && !memcmp(o->shape, t->shape, (size_t)t->ndim * sizeof *t->shape);
}

static uint32_t find_param(const struct br__train_state *s, const struct br__tensor *weight)
{
    for (uint32_t i = 0; i < s->n_params; i++)
        if (s->params[i].weight == weight)
            return i;
    return BR__NOT_FOUND;
}

/* What the plan wants and the checkpoint does not have. */
static int refuse_missing(struct load *l, const char *missing, size_t n)
{
    size_t n_adapter = 0;

    for (size_t i = 0; i < l->ck->n_tensors; i++)
        n_adapter += strstr(l->ck->tensors[i].name, ".adapter.") != NULL;
    return br_fail(l->err, BR_E_PLAN, "'%s' lacks %zu of %zu tensors of this run: %s%s", l->ck->dir,
                   n, l->live.plan->n_outs, missing,
                   n_adapter && !l->o->model.adapters ? "; it is a checkpoint of adapters" : "");
}

static int load_bind(struct load *l)
{
    const struct br__plan *p = l->live.plan;
    struct br__buf missing = {0};
    char got[96], want[96];
    size_t n_missing = 0;
    int rc = BR_OK;

    l->tensor = br__arena_alloc(&l->a, (p->n_outs + 1) * sizeof *l->tensor);
    l->param = br__arena_alloc(&l->a, (p->n_outs + 1) * sizeof *l->param);
    if (!l->tensor || !l->param)
        return br__nomem(l->err, "loading a training checkpoint");
    for (size_t i = 0; i < p->n_outs && !rc; i++) {
        const struct br__plan_out *o = &p->outs[i];
        const struct br__tensor *t = br__find_key(l->ck, o->name);
        l->tensor[i] = t;
        l->param[i] = t && l->s ? find_param(l->s, t) : BR__NOT_FOUND;
        if (!t && n_missing++ < MAX_NAMED)
            br__buf_printf(&missing, "%s'%s'", n_missing > 1 ? ", " : "", o->name);
        else if (t && !same_shape(o, t))
            rc = br_fail(l->err, BR_E_PLAN, "'%s' of '%s' is %s, this run's is %s", t->name,
                         l->ck->dir, br__shape_str(t->shape, t->ndim, got, sizeof got),
                         br__shape_str(o->shape, o->ndim, want, sizeof want));
    }
    if (!rc && n_missing)
        rc = missing.failed ? br__nomem(l->err, "loading a training checkpoint")
                            : refuse_missing(l, missing.p, n_missing);
    br__buf_free(&missing);
    return rc;
}

/* Weights of the checkpoint that this run does not have. */
static void tell_unused(const struct load *l)
{
    size_t n = 0;
    const char *first = NULL;

    for (size_t i = 0; i < l->ck->n_tensors; i++) {
        const struct br__tensor *t = &l->ck->tensors[i];
        size_t k = 0;
        if (br__is_training_state(t->name))
            continue;
        while (k < l->live.plan->n_outs && l->tensor[k] != t)
            k++;
        if (k == l->live.plan->n_outs && !n++)
            first = t->name;
    }
    if (n)
        br__warn(l->o->listener,
                 "%zu tensor(s) of '%s' are not of this run and were left out, first '%s'", n,
                 l->ck->dir, first);
}

/* ---- values ---------------------------------------------------------------------------------- */

struct buffers {
    float *values;
    unsigned char *raw; /* as stored */
};

/* The weight itself, rounded to what the model computes with: where main weights begin. */
static int read_weight(const struct load *l, uint32_t out, const struct br__td_item *box,
                       uint64_t e, size_t n, const struct buffers *b, struct br_err *err)
{
    const struct br__tensor *t = l->tensor[out];
    size_t size = br_dtype_size(t->dtype);
    int rc = br__ckpt_read_box(l->ck, t, box, e * size, b->raw, n * size, err);

    if (rc)
        return rc;
    br_cast(b->values, BR_F32, b->raw, t->dtype, n, 0);
    if (l->o->model.dtype != BR_F32) {
        br_cast(b->raw, l->o->model.dtype, b->values, BR_F32, n, 0);
        br_cast(b->values, BR_F32, b->raw, l->o->model.dtype, n, 0);
    }
    return BR_OK;
}

/* Elements [e, e + n) of a box of output `out`. */
static int read_block(const struct load *l, uint32_t out, int kind, const struct br__td_item *box,
                      uint64_t e, size_t n, const struct buffers *b, struct br_err *err)
{
    if (l->param[out] != BR__NOT_FOUND)
        return br__train_state_read_box(l->s, l->param[out], kind, box, e * sizeof(float),
                                        b->values, n * sizeof(float), err);
    if (kind == BR__OPTIM_MAIN)
        return read_weight(l, out, box, e, n, b, err);
    memset(b->values, 0, n * sizeof(float));
    return BR_OK;
}

/* The weights of experts that share an adapter are copies of one; where they are not, the
 * checkpoint is of adapters that this run does not train. */
static int check_repeated(const struct load *l, size_t piece, const struct br__td_item *box,
                          uint64_t e, const float *got, size_t n, struct br_err *err)
{
    const struct br__range r = br__piece_range(l->live.plan, piece, e);
    const struct br__plan_out *o = &l->live.plan->outs[l->live.plan->pieces[piece].out];

    struct br__live_walk w = {
        .t = &l->o->model.list[r.src], .kind = BR__OPTIM_MAIN, .from = r.from, .end = r.from + n};
    int same = 1;

    while (br__live_next(&w))
        same &= !memcmp(w.data, got + (w.at - r.from), w.n * sizeof *got);
    if (same)
        return BR_OK;
    return br_fail(
        err, BR_E_UNSUPPORTED,
        "'%s' differs between experts (%lld): adapters of their own "
        "(share_expert_adapters=false) are not trained here; bridge adapter export takes "
        "them to peft",
        o->name, (long long)box->off[o->ndim - 3]);
}

/* To whichever runs have some of them. */
static void load_put(const struct br__live *t, int kind, size_t at, const float *from, size_t n)
{
    struct br__live_walk w = {.t = t, .kind = kind, .from = at, .end = at + n};

    while (br__live_next(&w))
        memcpy(w.data, from + (w.at - at), w.n * sizeof *from);
}

static void load_scatter(const struct load *l, size_t piece, int kind, uint64_t e,
                         const float *from, size_t n)
{
    while (n) {
        struct br__range r = br__piece_range(l->live.plan, piece, e);
        size_t take = (size_t)BR__MIN((uint64_t)n, r.n);
        if (r.src != BR__SRC_ZERO)
            load_put(&l->o->model.list[r.src], kind, r.from, from, take);
        from += take;
        e += take;
        n -= take;
    }
}

/* Has this process some of elements [e, e + n) of a piece? */
static int is_here(const struct load *l, size_t piece, uint64_t e, size_t n)
{
    while (n) {
        const struct br__range r = br__piece_range(l->live.plan, piece, e);
        size_t take = (size_t)BR__MIN((uint64_t)n, r.n);
        struct br__live_walk w = {.from = r.from, .end = r.from + take};
        if (r.src != BR__SRC_ZERO) {
            w.t = &l->o->model.list[r.src];
            if (br__live_next(&w))
                return 1;
        }
        e += take;
        n -= take;
    }
    return 0;
}

/* Of one piece all elements of one kind; of those that repeat another the main weights, compared.
 * Blocks of which other processes have everything are not read. */
static int load_elements(struct load *l, size_t piece, int kind, struct br_err *err)
{
    const struct br__plan *p = l->live.plan;
    int rc = BR_OK;
    const struct br__piece *pc = &p->pieces[piece];
    uint64_t total = pc->bytes / br_dtype_size(p->outs[pc->out].dtype);
    unsigned char *memory = br__alloc((size_t)BLOCK * (sizeof(float) + sizeof(double)));
    struct buffers b = {(float *)(void *)memory, memory + (size_t)BLOCK * sizeof(float)};
    struct br__td_item box = {0};

    if (!memory)
        return br__nomem(err, "loading a training checkpoint");
    memcpy(box.off, pc->off, sizeof box.off);
    memcpy(box.size, pc->size, sizeof box.size);
    for (uint64_t e = 0; e < total && !rc;) {
        size_t n = (size_t)BR__MIN(total - e, (uint64_t)BLOCK);
        int here = is_here(l, piece, e, n);
        if (here)
            rc = read_block(l, pc->out, kind, &box, e, n, &b, err);
        if (here && !rc && pc->repeats)
            rc = check_repeated(l, piece, &box, e, b.values, n, err);
        else if (here && !rc)
            load_scatter(l, piece, kind, e, b.values, n);
        br__progress_add(&l->progress, n * sizeof(float));
        br__procs_progress(n);
        e += n;
    }
    br__free(memory);
    return rc;
}

static int load_piece(void *arg, size_t i, int worker, struct br_err *err)
{
    struct load *l = arg;
    size_t piece = i / BR__N_OPTIM_KINDS;

    (void)worker;
    if (l->live.plan->pieces[piece].repeats)
        return BR_OK;
    return load_elements(l, piece, (int)(i % BR__N_OPTIM_KINDS), err);
}

static int load_repeated(void *arg, size_t i, int worker, struct br_err *err)
{
    struct load *l = arg;

    (void)worker;
    return l->live.plan->pieces[i].repeats ? load_elements(l, i, BR__OPTIM_MAIN, err) : BR_OK;
}

static int load_values(struct load *l)
{
    const struct br__plan *p = l->live.plan;
    uint64_t total = 0;

    for (size_t i = 0; i < l->o->model.n; i++)
        total += l->o->model.list[i].n * BR__N_OPTIM_KINDS * sizeof(float);
    br__progress_init(&l->progress, l->o->listener, "loading", total);
    int rc = br__pool_run(l->o->threads, p->n_pieces * BR__N_OPTIM_KINDS, load_piece, l, l->err);
    if (!rc)
        rc = br__pool_run(l->o->threads, p->n_pieces, load_repeated, l, l->err);
    br__progress_end(&l->progress);
    return rc ? rc : br__ckpt_settle(l->ck, l->err);
}

/* ---- what is beside the tensors -------------------------------------------------------------- */

/* Of the weights in this run: what no part of the checkpoint holds. */
static void count_lost(struct load *l)
{
    for (size_t i = 0; i < l->live.plan->n_outs; i++) {
        const struct br__tensor *t = l->tensor[i];
        uint64_t n = t->bytes / br_dtype_size(t->dtype);
        if (l->param[i] == BR__NOT_FOUND) {
            l->out->lost_main += l->s && t->dtype != BR_F32 ? n : 0;
            l->out->lost_moments += l->s ? 2 * n : 0;
            continue;
        }
        const uint64_t *lost = l->s->params[l->param[i]].lost;
        l->out->lost_main += lost[BR__OPTIM_MAIN];
        l->out->lost_moments += lost[BR__OPTIM_EXP_AVG] + lost[BR__OPTIM_EXP_AVG_SQ];
    }
    if (!l->s)
        return;
    l->out->n_repaired = l->s->n_repaired;
    if (l->out->n_repaired)
        br__warn(
            l->o->listener,
            "Megatron stored the optimizer state of %zu of %zu weights shifted: it was shifted "
            "back",
            l->out->n_repaired, l->s->n_params);
    if (l->out->lost_main || l->out->lost_moments)
        br__warn(l->o->listener,
                 "the checkpoint lacks %" PRIu64
                 " elements of main weights, which come from the weights, "
                 "and %" PRIu64 " of moments, which begin at 0",
                 l->out->lost_main, l->out->lost_moments);
}

static int copy_scheduler(struct load *l)
{
    struct br__optim_scheduler *c = &l->out->scheduler;

    if (!l->s->has_scheduler)
        return BR_OK;
    *c = l->s->scheduler;
    c->decay_style = br__arena_strdup(&l->out->arena, c->decay_style);
    c->wd_incr_style = br__arena_strdup(&l->out->arena, c->wd_incr_style);
    l->out->has_scheduler = 1;
    return c->decay_style && c->wd_incr_style ? BR_OK
                                              : br__nomem(l->err, "loading a training checkpoint");
}

/* The extra entries are copied as plain values: numbers and texts. */
static int copy_extra(struct load *l)
{
    const struct br__pk *from = br__pk_get(l->ck->td->common, "bridge");
    struct br__arena *a = &l->out->arena;

    if (!from || from->kind != BR__PK_DICT)
        return BR_OK;
    struct br__pk *to = br__arena_alloc(a, sizeof *to);
    struct br__pk *values = br__arena_alloc(a, (2 * (size_t)from->n + 1) * sizeof *values);
    struct br__pk **items = br__arena_alloc(a, (2 * (size_t)from->n + 1) * sizeof *items);
    if (!to || !values || !items)
        return br__nomem(l->err, "loading a training checkpoint");
    *to = *from;
    to->u.item = items;
    to->cap = 0;
    for (uint32_t i = 0; i < 2 * from->n; i++) {
        values[i] = *from->u.item[i];
        items[i] = &values[i];
        if (values[i].kind == BR__PK_STR) {
            values[i].u.s = br__arena_strndup(a, values[i].u.s, values[i].n);
            if (!values[i].u.s)
                return br__nomem(l->err, "loading a training checkpoint");
        } else if (values[i].kind > BR__PK_STR) {
            values[i] = (struct br__pk){.kind = BR__PK_NONE};
        }
    }
    l->out->extra = to;
    return BR_OK;
}

static int copy_state(struct load *l)
{
    struct br__loaded *out = l->out;
    const struct br__td *td = l->ck->td;

    out->iteration = td->train_step >= 0 ? td->train_step : td->iteration;
    out->consumed_samples = br__td_samples(td);
    out->valid_samples = BR__MAX(td->valid_samples, 0);
    out->flops = td->flops;
    if (!l->s)
        return BR_OK;
    out->groups = br__arena_alloc(&out->arena, (l->s->n_groups + 1) * sizeof *out->groups);
    if (!out->groups)
        return br__nomem(l->err, "loading a training checkpoint");
    if (l->s->n_groups)
        memcpy(out->groups, l->s->groups, l->s->n_groups * sizeof *out->groups);
    out->n_groups = l->s->n_groups;
    int rc = copy_scheduler(l);
    return rc ? rc : copy_extra(l);
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int open_state(struct load *l)
{
    int rc = br__train_state_open(&l->s, l->ck, l->err);

    if (!rc && l->s->form == BR__OPTIM_NONE) {
        br__warn(l->o->listener, "'%s' holds weights only: moments begin at 0", l->ck->dir);
        br__train_state_close(l->s);
        l->s = NULL;
    } else if (!rc) {
        rc = br__train_state_repair(l->s, l->err);
    }
    return rc;
}

static int load_all(struct load *l)
{
    int rc = br__td_open(&l->ck, l->o->dir, l->err);

    if (rc)
        return rc;
    l->ck->td->no_verify = l->o->no_verify;
    if (!l->o->weights_only)
        rc = open_state(l);
    if (!rc)
        rc = br__live_plan_open(&l->live, &l->o->model, l->ck, l->err);
    if (!rc)
        rc = load_bind(l);
    if (!rc)
        rc = load_values(l);
    if (!rc)
        rc = copy_state(l);
    if (!rc) {
        tell_unused(l);
        count_lost(l);
    }
    return rc;
}

int br__live_load(const struct br__load_opts *o, struct br__loaded *out, struct br_err *err)
{
    struct load l = {.o = o, .out = out, .err = err};

    memset(out, 0, sizeof *out);
    int rc = load_all(&l);
    br__live_plan_close(&l.live);
    br__train_state_close(l.s);
    br__ckpt_close(l.ck);
    br__arena_free(&l.a);
    if (rc) {
        br_wrap(err, "loading '%s'", o->dir);
        br__loaded_free(out);
    }
    return rc;
}

void br__loaded_free(struct br__loaded *l)
{
    br__arena_free(&l->arena);
    memset(l, 0, sizeof *l);
}
