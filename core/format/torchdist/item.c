/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* item.c - the torch.save archives that .distcp files are made of.
 *
 * Each item of a checkpoint is a complete torch.save ZIP of its own: `data.pkl` describes a tensor
 * (or any object), `data/<key>` holds its storage.  Here an item is checked against what .metadata
 * promised and the place of its bytes is found; later reads then need neither ZIP nor pickle.
 * Facts: torch/_utils.py (_rebuild_*), torch/serialization.py (persistent ids). */
#include "torchdist.h"

#include <inttypes.h>
#include <string.h>

#define MAX_WRAPPERS 8         /* nested _rebuild_parameter and the like */
#define SCRATCH_MAX (4u << 20) /* parsed items to keep before the memory is reused */

int br__torch_load(struct br__arena *a, const struct br__file *f, uint64_t off, uint64_t len,
                   struct br__torch_file *out, struct br_err *err)
{
    int rc = br__zip_read(a, f->map, f->size, off, len, &out->recs, &out->n_recs, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < out->n_recs && !rc; i++) /* data is checked by whoever reads it */
        rc = br__starts(out->recs[i].name, "data/") ? BR_OK
                                                    : br__zip_check(&out->recs[i], f->map, err);
    if (rc)
        return rc;
    const struct br__zip_rec *order = br__zip_find(out->recs, out->n_recs, "byteorder");
    if (order && (order->size != 6 || memcmp(f->map + order->off, "little", 6) != 0))
        return br_fail(err, BR_E_UNSUPPORTED, "byte order is not little");
    const struct br__zip_rec *pkl = br__zip_find(out->recs, out->n_recs, "data.pkl");
    if (!pkl)
        return br_fail(err, BR_E_FORMAT, "zip: no record 'data.pkl'");
    return br__pk_load(a, f->map + pkl->off, (size_t)pkl->size, NULL, &out->root, err);
}

/* ---- a pickled tensor ------------------------------------------------------------------------ */

/* A call as the pickle has it: callable(args). */
struct call {
    const struct br__pk *callable, *args;
};

static int is_call(const struct call *c, const char *module, const char *name)
{
    return c->callable->kind == BR__PK_GLOBAL && strcmp(c->callable->u.g->module, module) == 0 &&
           strcmp(c->callable->u.g->name, name) == 0;
}

static const struct br__pk *item_arg(const struct call *c, uint32_t i)
{
    return i < c->args->n ? c->args->u.item[i] : NULL;
}

/* Parameters and tensor subclasses wrap the call that rebuilds the plain tensor.  Returns 0 if v
 * is no call, or wraps too deeply. */
static int item_unwrap(const struct br__pk *v, struct call *c)
{
    for (int i = 0; i < MAX_WRAPPERS; i++) {
        if (v) {
            if (v->kind != BR__PK_OBJECT)
                return 0;
            c->callable = v->u.o->callable;
            c->args = v->u.o->args;
        }
        if (is_call(c, "torch._utils", "_rebuild_parameter") ||
            is_call(c, "torch._utils", "_rebuild_parameter_with_state")) {
            v = item_arg(c, 0); /* data, requires_grad, hooks[, state] */
            if (!v)
                return 0;
        } else if (is_call(c, "torch._tensor", "_rebuild_from_type_v2")) {
            const struct br__pk *func = item_arg(c, 0),
                                *args = item_arg(c, 2); /* func, type, args, state */
            if (!args || args->kind != BR__PK_TUPLE)
                return 0;
            c->callable = func;
            c->args = args;
            v = NULL;
        } else {
            return 1;
        }
    }
    return 0;
}

static int dtype_from_storage(const struct br__pk_global *g)
{
    if (strcmp(g->name, "UntypedStorage") == 0)
        return BR_NONE;
    for (int d = 1; d < BR_N_DTYPES; d++)
        if (strcmp(br_dtype_storage(d), g->name) == 0)
            return d;
    return BR_NONE;
}

/* The storage of a tensor: persistent id ('storage', class, key, device, numel). */
struct storage {
    int dtype; /* BR_NONE: untyped, numel counts bytes */
    const char *key;
    int64_t numel;
};

static int read_storage(const struct br__pk *v, struct storage *s)
{
    const struct br__pk *id = v && v->kind == BR__PK_PERSID ? v->u.item[0] : NULL;

    if (!id || id->kind != BR__PK_TUPLE || id->n < 5)
        return BR_E_FORMAT;
    const struct br__pk *class = id->u.item[1], *key = id->u.item[2], *numel = id->u.item[4];
    if (class->kind != BR__PK_GLOBAL || key->kind != BR__PK_STR || numel->kind != BR__PK_INT ||
        numel->big || numel->u.i < 0)
        return BR_E_FORMAT;
    s->dtype = dtype_from_storage(class->u.g);
    s->key = key->u.s;
    s->numel = numel->u.i;
    return BR_OK;
}

static int read_dims(const struct br__pk *v, int64_t *out, int *n)
{
    if (!v || v->kind != BR__PK_TUPLE || v->n > BR_MAX_DIMS)
        return BR_E_FORMAT;
    *n = (int)v->n;
    for (int i = 0; i < *n; i++) {
        const struct br__pk *d = v->u.item[i];
        if (d->kind != BR__PK_INT || d->big || d->u.i < 0)
            return BR_E_FORMAT;
        out[i] = d->u.i;
    }
    return BR_OK;
}

/* Row-major without holes; the stride of an axis of length 1 means nothing. */
static int is_contiguous(const struct br__torch_tensor *v, const int64_t *stride)
{
    int64_t expect = 1;

    if (v->bytes == 0)
        return 1;
    for (int i = v->ndim; i-- > 0;) {
        if (v->shape[i] != 1 && stride[i] != expect)
            return 0;
        expect *= v->shape[i];
    }
    return 1;
}

/* The dtype: that of the storage class, or for _rebuild_tensor_v3 the seventh argument. */
static int view_dtype(const struct call *c, const struct storage *s)
{
    const struct br__pk *d = item_arg(c, 6);

    if (s->dtype != BR_NONE)
        return s->dtype;
    if (!d || d->kind != BR__PK_GLOBAL || strcmp(d->u.g->module, "torch") != 0)
        return BR_NONE;
    return br_dtype_from_torch(d->u.g->name);
}

/* Bind a view to its record: offset is in elements of the storage. */
static int item_place(const struct br__torch_file *tf, const struct storage *s, int64_t offset,
                      struct br__torch_tensor *out, struct br_err *err)
{
    uint64_t elem = br_dtype_size(out->dtype), skip, total;
    char name[64];
    int n = snprintf(name, sizeof name, "data/%s", s->key);

    const struct br__zip_rec *rec =
        n > 0 && (size_t)n < sizeof name ? br__zip_find(tf->recs, tf->n_recs, name) : NULL;
    if (!rec)
        return br_fail(err, BR_E_FORMAT, "zip: no record 'data/%.40s'", s->key);
    if (__builtin_mul_overflow((uint64_t)s->numel, s->dtype == BR_NONE ? 1 : elem, &total) ||
        total != rec->size)
        return br_fail(err, BR_E_FORMAT,
                       "record '%s' has %" PRIu64 " bytes, its storage %" PRId64 " elements", name,
                       rec->size, s->numel);
    if (__builtin_mul_overflow((uint64_t)offset, elem, &skip) || skip > rec->size ||
        out->bytes > rec->size - skip)
        return br_fail(err, BR_E_FORMAT,
                       "%" PRIu64 " bytes at element %" PRId64 " reach past record '%s', which has "
                       "%" PRIu64,
                       out->bytes, offset, name, rec->size);
    out->data_off = rec->off + skip;
    out->rec = rec;
    return BR_OK;
}

int br__torch_tensor_read(const struct br__torch_file *tf, const struct br__pk *v,
                          struct br__torch_tensor *out, struct br_err *err)
{
    int64_t stride[BR_MAX_DIMS];
    int n_strides;
    struct storage s;
    struct call c = {0};

    if (!v || !item_unwrap(v, &c) ||
        !(is_call(&c, "torch._utils", "_rebuild_tensor_v2") ||
          is_call(&c, "torch._utils", "_rebuild_tensor_v3")))
        return br_fail(err, BR_E_UNSUPPORTED, "the pickled object is no plain tensor");
    const struct br__pk *offset = item_arg(&c, 1);
    if (read_storage(item_arg(&c, 0), &s) || read_dims(item_arg(&c, 2), out->shape, &out->ndim) ||
        read_dims(item_arg(&c, 3), stride, &n_strides) || n_strides != out->ndim || !offset ||
        offset->kind != BR__PK_INT || offset->big || offset->u.i < 0)
        return br_fail(err, BR_E_FORMAT, "malformed arguments of %s", c.callable->u.g->name);
    out->dtype = view_dtype(&c, &s);
    if (out->dtype == BR_NONE)
        return br_fail(err, BR_E_UNSUPPORTED, "the pickled tensor has an unsupported dtype");
    if (br_shape_bytes(out->shape, out->ndim, br_dtype_size(out->dtype), &out->bytes))
        return br_fail(err, BR_E_FORMAT, "the pickled tensor has an impossible size");
    if (!is_contiguous(out, stride))
        return br_fail(err, BR_E_UNSUPPORTED, "the pickled tensor is not contiguous");
    return item_place(tf, &s, offset->u.i, out, err);
}

/* ---- the items of a checkpoint --------------------------------------------------------------- */

/* Equal shapes, but for leading ones, which some torch versions drop. */
static int same_shape(const int64_t *a, int na, const int64_t *b, int nb)
{
    while (na > 0 && a[0] == 1)
        a++, na--;
    while (nb > 0 && b[0] == 1)
        b++, nb--;
    return na == nb && (na == 0 || memcmp(a, b, (size_t)na * sizeof *a) == 0);
}

static int locate_chunk(struct br__arena *scratch, const struct br__ckpt *ck,
                        const struct br__tensor *t, struct br__td_chunk *c, struct br_err *err)
{
    const struct br__file *f = &ck->files[c->file];
    struct br__torch_file tf;
    struct br__torch_tensor v;

    if (c->item_off > f->size || c->item_len > f->size - c->item_off)
        return br_fail(err, BR_E_FORMAT,
                       "past the end of the file: %" PRIu64 " bytes expected, file has %" PRIu64,
                       c->item_len, f->size);
    int rc = br__torch_load(scratch, f, c->item_off, c->item_len, &tf, err);
    if (!rc)
        rc = br__torch_tensor_read(&tf, tf.root, &v, err);
    if (rc)
        return rc;
    if (v.dtype != t->dtype)
        return br_fail(err, BR_E_FORMAT, "item is %s, .metadata says %s", br_dtype_torch(v.dtype),
                       br_dtype_torch(t->dtype));
    if (!same_shape(v.shape, v.ndim, c->size, t->ndim)) {
        char got[256], expect[256];
        return br_fail(err, BR_E_FORMAT, "item has shape %s, .metadata says %s",
                       br__shape_str(v.shape, v.ndim, got, sizeof got),
                       br__shape_str(c->size, t->ndim, expect, sizeof expect));
    }
    c->data_off = v.data_off;
    c->rec = &ck->td->records[ck->td->n_records++];
    c->rec->off = v.rec->off;
    c->rec->size = v.rec->size;
    c->rec->crc = v.rec->crc;
    ck->td->n_no_crc += v.rec->size && !v.rec->crc;
    return BR_OK;
}

static int locate_tensor(struct br__arena *scratch, const struct br__ckpt *ck,
                         const struct br__tensor *t, struct br_err *err)
{
    struct br__td_chunk *c = ck->td->chunks[t->priv];

    for (size_t i = 0; i < ck->td->n_chunks[t->priv]; i++) {
        int rc = locate_chunk(scratch, ck, t, &c[i], err);
        if (rc) {
            char text[256];
            br_wrap(err, "tensor '%s', chunk at %s, '%s' at %" PRIu64, t->name,
                    br__shape_str(c[i].off, t->ndim, text, sizeof text), ck->file_names[c[i].file],
                    c[i].item_off);
            return rc;
        }
        if (scratch->total > SCRATCH_MAX)
            br__arena_free(scratch);
    }
    return BR_OK;
}

int br__td_locate(struct br__ckpt *ck, struct br_err *err)
{
    struct br__arena scratch = {0};
    size_t kept = 0, n_chunks = 0;
    int rc = BR_OK;

    for (size_t i = 0; i < ck->n_tensors; i++)
        n_chunks += ck->td->n_chunks[ck->tensors[i].priv];
    ck->td->records = br__arena_alloc(&ck->arena, (n_chunks + 1) * sizeof *ck->td->records);
    if (!ck->td->records)
        return br_fail(err, BR_E_NOMEM, "out of memory");
    for (size_t i = 0; i < ck->n_tensors && !rc; i++) {
        rc = locate_tensor(&scratch, ck, &ck->tensors[i], err);
        if (!rc)
            ck->tensors[kept++] = ck->tensors[i];
        else
            rc = br__td_tolerate(ck, ck->tensors[i].name, rc, err);
    }
    ck->n_tensors = kept;
    br__arena_free(&scratch);
    return rc;
}

int br__td_object(const struct br__ckpt *ck, struct br__arena *a, size_t i, struct br__pk **out,
                  struct br_err *err)
{
    const struct br__td *td = ck->td;
    struct br__torch_file tf;
    int rc = br__torch_load(a, &ck->files[td->object_file[i]], td->object_off[i], td->object_len[i],
                            &tf, err);

    if (rc) {
        br_wrap(err, "object '%s', '%s' at %" PRIu64, td->objects[i],
                ck->file_names[td->object_file[i]], td->object_off[i]);
        return rc;
    }
    *out = tf.root;
    return BR_OK;
}
