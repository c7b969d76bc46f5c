/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* train.c - the training state of a torch_dist checkpoint, by weight.
 *
 * Whatever the form on disk, a caller sees for each weight three float32 tensors of its shape: the
 * main copy and the two moments.  With fully_reshardable and without a distributed optimizer they
 * are stored like that; train_buckets.c finds them in the flat buckets of dp_reshardable,
 * train_repair.c in tensors that Megatron stored shifted. Source: checkpoints written by
 * megatron-core 0.19.2. */
#include "train.h"

#include <string.h>

#define BLOCK (1u << 16) /* elements compared at once */

/* ---- reading --------------------------------------------------------------------------------- */

struct box_source {
    const struct br__train_state *s;
    int kind;
};

/* Contents of a box that lies in a local parameter of a rank. */
static int get_local(void *ud, const struct br__td_chunk *c, uint64_t off, void *dst, size_t n,
                     struct br_err *err)
{
    const struct box_source *b = ud;
    const struct br__train_layout *l = b->s->layout;
    const struct br__train_local *x = &l->ranks[c->file].list[c->item_off];

    if (b->s->form == BR__OPTIM_DP)
        return br__ckpt_read(b->s->ck, l->buckets[x->bucket].tensor[b->kind],
                             x->pos * sizeof(float) + c->data_off + off, dst, n, err);
    return br__train_read_shifted(b->s, c->file, (size_t)c->item_off, b->kind,
                                  (c->data_off + off) / sizeof(float), dst, n / sizeof(float), err);
}

int br__train_state_read(const struct br__train_state *s, size_t i, int kind, uint64_t first,
                         float *dst, size_t n, struct br_err *err)
{
    const struct br__train_param *p = &s->params[i];
    struct br__tensor view = br__train_view(s, i);
    struct box_source source = {s, kind};
    const struct br__td_boxes boxes = {p->boxes, p->n_boxes, get_local, &source};

    if (first > view.bytes / sizeof(float) || n > view.bytes / sizeof(float) - first)
        BR_BUG("read past the end of the state of '%s'", view.name);
    if (p->boxes)
        return br__td_gather(&view, &boxes, first * sizeof(float), dst, n * sizeof(float), err);
    if (p->tensor[kind] && !p->from_weight)
        return br__train_read_as_f32(s->ck, p->tensor[kind], first, dst, n, err);
    if (kind == BR__OPTIM_MAIN)
        return br__train_read_as_f32(s->ck, p->weight, first, dst, n, err);
    memset(dst, 0, n * sizeof *dst);
    return BR_OK;
}

/* ---- boxes ----------------------------------------------------------------------------------- */

struct box_read {
    const struct br__ckpt *ck;
    const struct br__tensor *tensor;
    const struct br__train_state *s; /* NULL: read the tensor */
    size_t param;
    int kind;
    unsigned char *dst;
};

static int take_range(void *ud, uint64_t at, uint64_t n, struct br_err *err)
{
    struct box_read *r = ud;
    int rc = r->s ? br__train_state_read(r->s, r->param, r->kind, at / sizeof(float),
                                         (float *)(void *)r->dst, (size_t)n / sizeof(float), err)
                  : br__ckpt_read(r->ck, r->tensor, at, r->dst, (size_t)n, err);
    r->dst += n;
    return rc;
}

static int read_box(struct box_read *r, const struct br__tensor *t, const struct br__td_item *box,
                    uint64_t off, size_t n, struct br_err *err)
{
    struct br__td_chunk c = {0};

    memcpy(c.off, box->off, sizeof c.off);
    memcpy(c.size, box->size, sizeof c.size);
    return br__td_walk_box(t, &c, off, n, take_range, r, err);
}

int br__ckpt_read_box(const struct br__ckpt *ck, const struct br__tensor *t,
                      const struct br__td_item *box, uint64_t off, void *dst, size_t n,
                      struct br_err *err)
{
    struct box_read r = {.ck = ck, .tensor = t, .dst = dst};
    return read_box(&r, t, box, off, n, err);
}

int br__train_state_read_box(const struct br__train_state *s, size_t i, int kind,
                             const struct br__td_item *box, uint64_t off, void *dst, size_t n,
                             struct br_err *err)
{
    struct box_read r = {.s = s, .param = i, .kind = kind, .dst = dst};
    struct br__tensor view = br__train_view(s, i);
    return read_box(&r, &view, box, off, n, err);
}

/* ---- opening --------------------------------------------------------------------------------- */

static int is_castable(int dtype)
{
    return dtype == BR_F32 || dtype == BR_F16 || dtype == BR_BF16;
}

static int find_form(struct br__train_state *s, struct br_err *err)
{
    const char *name = br__td_sharding(s->ck->td);

    if (name && strcmp(name, "fully_reshardable") == 0) {
        s->form = BR__OPTIM_FULLY;
    } else if (name && strcmp(name, "dp_reshardable") == 0) {
        s->form = BR__OPTIM_DP;
    } else if (name) {
        return br_fail(err, BR_E_UNSUPPORTED,
                       "optimizer state of the form '%s', expected fully_reshardable, "
                       "dp_reshardable or that of no distributed optimizer",
                       name);
    } else {
        s->form = BR__OPTIM_NONE;
        for (size_t i = 0; i < s->ck->n_tensors && s->form == BR__OPTIM_NONE; i++)
            if (br__starts(s->ck->tensors[i].name, BR__OPTIM_KEYS))
                s->form = BR__OPTIM_PLAIN;
    }
    return BR_OK;
}

/* optimizer.state.<kind>.<weight> */
static int find_state(const struct br__train_state *s, const struct br__tensor *weight,
                      const char *kind, const struct br__tensor **out, struct br_err *err)
{
    char a[256], b[256];
    struct br__buf key = {0};

    br__buf_printf(&key, BR__OPTIM_KEYS "%s.%s", kind, weight->name);
    const struct br__tensor *t = key.failed ? NULL : br__ckpt_find(s->ck, key.p);
    int rc = key.failed ? br__nomem(err, "reading the training state") : BR_OK;
    br__buf_free(&key);
    *out = t;
    if (rc || !t)
        return rc;
    if (t->ndim != weight->ndim ||
        memcmp(t->shape, weight->shape, (size_t)t->ndim * sizeof *t->shape) != 0)
        return br_fail(err, BR_E_FORMAT, "'%s' has shape %s, its weight %s", t->name,
                       br__shape_str(t->shape, t->ndim, a, sizeof a),
                       br__shape_str(weight->shape, weight->ndim, b, sizeof b));
    if (!is_castable(t->dtype))
        return br_fail(err, BR_E_UNSUPPORTED, "'%s' is %s, expected float32", t->name,
                       br_dtype_torch(t->dtype));
    return BR_OK;
}

static int bind_weight(struct br__train_state *s, const struct br__tensor *weight,
                       struct br_err *err)
{
    struct br__train_param *p = &s->params[s->n_params];
    const char *const kinds[] = {s->form == BR__OPTIM_PLAIN ? "fp32_param" : "param", "exp_avg",
                                 "exp_avg_sq"};
    int rc = BR_OK, any = 0;

    for (int k = 0; k < BR__N_OPTIM_KINDS && !rc; k++) {
        rc = find_state(s, weight, kinds[k], &p->tensor[k], err);
        any |= p->tensor[k] != NULL;
    }
    if (rc || !any) {
        s->n_frozen += !rc;
        return rc;
    }
    p->weight = weight;
    for (int k = 0; k < BR__N_OPTIM_KINDS; k++)
        if (!p->tensor[k] &&
            (k != BR__OPTIM_MAIN || weight->dtype != BR_F32)) /* FP32Optimizer has none */
            p->lost[k] = weight->bytes / br_dtype_size(weight->dtype);
    s->n_params++;
    return BR_OK;
}

static int bind_params(struct br__train_state *s, struct br_err *err)
{
    s->params = br__arena_alloc(&s->arena, (s->ck->n_tensors + 1) * sizeof *s->params);
    if (!s->params)
        return br__nomem(err, "reading the training state");
    for (size_t i = 0; i < s->ck->n_tensors; i++) {
        const struct br__tensor *t = &s->ck->tensors[i];
        int rc = BR_OK;
        if (br__td_is_state(t->name) || !is_castable(t->dtype))
            continue;
        if (s->form == BR__OPTIM_DP)
            s->params[s->n_params++].weight = t;
        else
            rc = bind_weight(s, t, err);
        if (rc)
            return rc;
    }
    return s->form == BR__OPTIM_DP ? br__train_bind_buckets(s, err) : BR_OK;
}

int br__train_state_open(struct br__train_state **out, const struct br__ckpt *ck,
                         struct br_err *err)
{
    struct br__train_state *s = br__calloc(1, sizeof *s);

    *out = NULL;
    if (!s)
        return br__nomem(err, "reading the training state");
    s->ck = ck;
    s->iteration = s->consumed_samples = -1;
    int rc = ck->format == BR__FMT_TORCH_DIST
                 ? find_form(s, err)
                 : br_fail(err, BR_E_UNSUPPORTED, "'%s' is no torch_dist checkpoint", ck->dir);
    if (!rc)
        rc = br__train_read_common(s, err);
    if (!rc && s->form != BR__OPTIM_NONE)
        rc = bind_params(s, err);
    if (rc) {
        br_wrap(err, "training state of '%s'", ck->dir);
        br__train_state_close(s);
        return rc;
    }
    *out = s;
    return BR_OK;
}

void br__train_state_close(struct br__train_state *s)
{
    if (!s)
        return;
    br__free(s->groups);
    br__arena_free(&s->arena);
    br__free(s);
}

/* ---- main copies against weights ------------------------------------------------------------- */

struct main_check {
    const struct br__train_state *s;
    float *main;                     /* BLOCK elements */
    unsigned char *rounded, *weight; /* likewise */
    uint64_t seen, differ;           /* elements of this parameter */
};

/* Elements [first, first + n), n <= BLOCK. */
static int check_block(struct main_check *c, size_t i, uint64_t first, size_t n, struct br_err *err)
{
    const struct br__tensor *w = c->s->params[i].weight;
    size_t size = br_dtype_size(w->dtype);
    int rc = br__train_state_read(c->s, i, BR__OPTIM_MAIN, first, c->main, n, err);

    if (!rc)
        rc = br__ckpt_read(c->s->ck, w, first * size, c->weight, n * size, err);
    if (rc)
        return rc;
    br_cast(c->rounded, w->dtype, c->main, BR_F32, n, 0);
    c->seen += n;
    if (memcmp(c->rounded, c->weight, n * size) != 0)
        for (size_t k = 0; k < n; k++)
            c->differ += memcmp(c->rounded + k * size, c->weight + k * size, size) != 0;
    return BR_OK;
}

/* All of it, or the two ends: the known defect shifts whole tensors. */
static int check_param(struct main_check *c, size_t i, int how, struct br_err *err)
{
    uint64_t n = br__train_view(c->s, i).bytes / sizeof(float);
    int rc = BR_OK;

    c->seen = c->differ = 0;
    for (uint64_t at = 0; !rc && at < n;) {
        size_t step = (size_t)BR__MIN(n - at, (uint64_t)BLOCK);
        rc = check_block(c, i, at, step, err);
        at += step;
        if (how == BR__MAIN_ENDS && at < n && n - at > BLOCK)
            at = n - BLOCK;
    }
    return rc;
}

int br__train_state_check(struct br__train_state *s, int how, struct br_err *err)
{
    unsigned char *buf = br__alloc(3 * sizeof(float) * BLOCK);
    struct main_check c = {.s = s};
    int rc = BR_OK;

    s->n_unlike = 0;
    if (!buf)
        return br__nomem(err, "reading the training state");
    c.main = (float *)(void *)buf;
    c.rounded = buf + sizeof(float) * BLOCK;
    c.weight = c.rounded + sizeof(float) * BLOCK;
    for (size_t i = 0; i < s->n_params && !rc && how != BR__MAIN_NONE; i++) {
        rc = check_param(&c, i, how, err);
        s->params[i].compared = c.seen;
        s->params[i].unlike = c.differ;
        if (!rc && c.differ && !s->n_unlike++)
            s->first_unlike = i;
    }
    br__free(buf);
    return rc;
}
