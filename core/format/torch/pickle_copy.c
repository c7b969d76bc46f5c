/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pickle_copy.c - writes a loaded value again, in protocol 2.
 *
 * For parts of a dict that pass through unchanged, such as Megatron-LM's arguments. Values come
 * from hostile files: they may be cyclic, so depth is bounded, and shared many times over, so the
 * output is (by its buffer).  A shared value is written once for each use. */
#include "torch.h"

#include <string.h>

#define MAX_DEPTH 64

static int put_value(struct br__pkw *w, const struct br__pk *v, int depth, struct br_err *err);

static int copy_refuse(struct br_err *err, const char *what)
{
    return br_fail(err, BR_E_UNSUPPORTED, "%s cannot be written again", what);
}

static int put_items(struct br__pkw *w, const struct br__pk *v, uint32_t n, int depth,
                     struct br_err *err)
{
    int rc = BR_OK;
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = put_value(w, v->u.item[i], depth + 1, err);
    return rc;
}

/* MARK, items, and the opcode that makes the container of them. */
static int put_container(struct br__pkw *w, const struct br__pk *v, int depth, struct br_err *err)
{
    int is_tuple = v->kind == BR__PK_TUPLE, is_dict = v->kind == BR__PK_DICT;

    if (is_tuple && !v->n) {
        br__pkw_op(w, ')');
        return BR_OK;
    }
    if (!is_tuple) {
        br__pkw_op(w, is_dict ? '}' : ']');
        br__pkw_put(w);
    }
    if (!v->n)
        return BR_OK;
    br__pkw_op(w, '(');
    int rc = put_items(w, v, is_dict ? 2 * v->n : v->n, depth, err);
    br__pkw_op(w, is_tuple ? 't' : is_dict ? 'u' : 'e');
    if (is_tuple)
        br__pkw_put(w);
    return rc;
}

/* Protocol 2 has neither sets nor bytes: they are calls, as Python itself writes them. */
static int put_set(struct br__pkw *w, const struct br__pk *v, int depth, struct br_err *err)
{
    struct br__pk list = *v;

    list.kind = BR__PK_LIST;
    br__pkw_global(w, "__builtin__", "set");
    int rc = put_container(w, &list, depth, err);
    br__pkw_op(w, '\x85'); /* TUPLE1 */
    br__pkw_put(w);
    br__pkw_op(w, 'R');
    br__pkw_put(w);
    return rc;
}

/* Text of any bytes; br__pkw_str stops at a NUL and knows globals. */
static void put_text(struct br__pkw *w, const char *s, uint32_t n)
{
    const unsigned char size[4] = {(unsigned char)n, (unsigned char)(n >> 8),
                                   (unsigned char)(n >> 16), (unsigned char)(n >> 24)};
    br__pkw_op(w, 'X');
    br__buf_put(w->out, size, sizeof size);
    br__buf_put(w->out, s, n);
    br__pkw_put(w);
}

static int put_bytes(struct br__pkw *w, const struct br__pk *v, struct br_err *err)
{
    struct br__buf text = {0};

    for (uint32_t i = 0; i < v->n; i++) { /* Latin-1 as UTF-8 */
        unsigned char c = (unsigned char)v->u.s[i];
        if (c >= 0x80)
            br__buf_putc(&text, (char)(unsigned char)(0xc0 | c >> 6));
        br__buf_putc(&text, (char)(unsigned char)(c < 0x80 ? c : (0x80 | (c & 0x3f))));
    }
    int failed = text.failed || text.n > UINT32_MAX;
    if (!failed) {
        br__pkw_global(w, "_codecs", "encode");
        put_text(w, text.n ? text.p : "", (uint32_t)text.n);
        br__pkw_str(w, "latin1");
        br__pkw_op(w, '\x86'); /* TUPLE2 */
        br__pkw_put(w);
        br__pkw_op(w, 'R');
        br__pkw_put(w);
    }
    br__buf_free(&text);
    return failed ? br__nomem(err, "writing bytes") : BR_OK;
}

/* callable(*args), its state, and the items of a dict or list subclass. */
static int put_object(struct br__pkw *w, const struct br__pk *v, int depth, struct br_err *err)
{
    const struct br__pk_object *o = v->u.o;

    if (!o->callable || !o->args || o->args->kind != BR__PK_TUPLE || v->big)
        return copy_refuse(err, "an object made with keyword arguments");
    int rc = put_value(w, o->callable, depth + 1, err);
    if (!rc)
        rc = put_value(w, o->args, depth + 1, err);
    br__pkw_op(w, v->b ? '\x81' : 'R'); /* NEWOBJ */
    br__pkw_put(w);
    if (!rc && o->items) {
        if (o->items->kind != BR__PK_DICT && o->items->kind != BR__PK_LIST)
            return copy_refuse(err, "an object with items of its own kind");
        int is_dict = o->items->kind == BR__PK_DICT;
        br__pkw_op(w, '(');
        rc = put_items(w, o->items, is_dict ? 2 * o->items->n : o->items->n, depth, err);
        br__pkw_op(w, is_dict ? 'u' : 'e');
    }
    if (!rc && o->state) {
        rc = put_value(w, o->state, depth + 1, err);
        br__pkw_op(w, 'b');
    }
    return rc;
}

static int put_value(struct br__pkw *w, const struct br__pk *v, int depth, struct br_err *err)
{
    if (depth > MAX_DEPTH || w->out->failed)
        return w->out->failed ? br_fail(err, w->out->failed, "the pickle is too large")
                              : copy_refuse(err, "a value nested that deep");
    switch (v->kind) {
    case BR__PK_NONE:
        br__pkw_none(w);
        return BR_OK;
    case BR__PK_BOOL:
        br__pkw_bool(w, v->b);
        return BR_OK;
    case BR__PK_INT:
        if (v->big)
            return copy_refuse(err, "an integer beyond 64 bits");
        br__pkw_int(w, v->u.i);
        return BR_OK;
    case BR__PK_FLOAT:
        br__pkw_float(w, v->u.f);
        return BR_OK;
    case BR__PK_STR:
        put_text(w, v->u.s, v->n);
        return BR_OK;
    case BR__PK_BYTES:
        return put_bytes(w, v, err);
    case BR__PK_LIST:
    case BR__PK_TUPLE:
    case BR__PK_DICT:
        return put_container(w, v, depth, err);
    case BR__PK_SET:
        return put_set(w, v, depth, err);
    case BR__PK_GLOBAL:
        if (strlen(v->u.g->module) + strlen(v->u.g->name) > 150)
            return copy_refuse(err, "a class of so long a name");
        br__pkw_global(w, v->u.g->module, v->u.g->name);
        return BR_OK;
    case BR__PK_OBJECT:
        return put_object(w, v, depth, err);
    default:
        return copy_refuse(err, "a persistent id");
    }
}

int br__pkw_value(struct br__pkw *w, const struct br__pk *v, struct br_err *err)
{
    return put_value(w, v, 0, err);
}
