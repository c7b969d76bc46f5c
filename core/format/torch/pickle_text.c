/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pickle_text.c - look into a loaded pickle: a value by key, a class test, Python-like text.
 *
 * Values come from hostile files and may be shared or cyclic: nothing here recurses without a
 * bound on depth and output. */
#include "torch.h"

#include <inttypes.h>
#include <string.h>

/* ---- access ---------------------------------------------------------------------------------- */

static const struct br__pk *dict_get(const struct br__pk *d, const char *key, size_t len)
{
    for (uint32_t i = d->n; i-- > 0;) { /* from the end: a repeated key overwrites */
        const struct br__pk *k = d->u.item[2 * i];
        if (k->kind == BR__PK_STR && k->n == len && memcmp(k->u.s, key, len) == 0)
            return d->u.item[2 * i + 1];
    }
    return NULL;
}

const struct br__pk *br__pk_get(const struct br__pk *v, const char *key)
{
    size_t len = strlen(key);

    if (v && v->kind == BR__PK_OBJECT)
        v = v->u.o->state;
    if (!v)
        return NULL;
    if (v->kind == BR__PK_DICT)
        return dict_get(v, key, len);
    if (v->kind != BR__PK_TUPLE || v->n != 2)
        return NULL;
    for (int i = 2; i-- > 0;) { /* (dict or None, slots): Python sets the slots last */
        const struct br__pk *part = v->u.item[i];
        const struct br__pk *found = part->kind == BR__PK_DICT ? dict_get(part, key, len) : NULL;
        if (found)
            return found;
    }
    return NULL;
}

int br__pk_is(const struct br__pk *v, const char *module, const char *name)
{
    size_t n = strlen(module);

    if (!v || v->kind != BR__PK_OBJECT || v->u.o->callable->kind != BR__PK_GLOBAL)
        return 0;
    const struct br__pk_global *g = v->u.o->callable->u.g;
    if (strcmp(g->name, name) != 0)
        return 0;
    if (n && module[n - 1] == '*')
        return strncmp(g->module, module, n - 1) == 0;
    return strcmp(g->module, module) == 0;
}

/* ---- text ------------------------------------------------------------------------------------ */

#define REPR_DEPTH 32
#define REPR_MAX ((size_t)1 << 20)

struct repr {
    struct br__buf *out;
    size_t end; /* out->n beyond which nothing more is written */
};

static void put_quoted(struct br__buf *b, const struct br__pk *v)
{
    char quote = memchr(v->u.s, '\'', v->n) && !memchr(v->u.s, '"', v->n) ? '"' : '\'';

    if (v->kind == BR__PK_BYTES)
        br__buf_putc(b, 'b');
    br__buf_putc(b, quote);
    for (uint32_t i = 0; i < v->n; i++) {
        unsigned char c = (unsigned char)v->u.s[i];
        if (c == '\n')
            br__buf_puts(b, "\\n");
        else if (c == '\t')
            br__buf_puts(b, "\\t");
        else if (c == '\r')
            br__buf_puts(b, "\\r");
        else if (c < 32 || c == 127 || (c > 127 && v->kind == BR__PK_BYTES))
            br__buf_printf(b, "\\x%02x", c);
        else if (c == (unsigned char)quote || c == '\\')
            br__buf_printf(b, "\\%c", c);
        else
            br__buf_putc(b, (char)c);
    }
    br__buf_putc(b, quote);
}

static void put_value(struct repr *r, const struct br__pk *v, int depth);

/* Items separated by ", ", between open and close; a dict's keys and values by ": ". */
static void put_items(struct repr *r, const struct br__pk *v, const char *open, const char *close,
                      int depth)
{
    br__buf_puts(r->out, open);
    for (uint32_t i = 0; i < v->n; i++) {
        if (i)
            br__buf_puts(r->out, ", ");
        if (r->out->n > r->end) {
            br__buf_puts(r->out, "...");
            break;
        }
        if (v->kind == BR__PK_DICT) {
            put_value(r, v->u.item[2 * i], depth);
            br__buf_puts(r->out, ": ");
            put_value(r, v->u.item[2 * i + 1], depth);
        } else {
            put_value(r, v->u.item[i], depth);
        }
    }
    br__buf_puts(r->out, v->kind == BR__PK_TUPLE && v->n == 1 ? ",)" : close);
}

static void put_object(struct repr *r, const struct br__pk_object *o, int depth)
{
    int more = o->args->n > 0;

    put_value(r, o->callable, depth);
    br__buf_putc(r->out, '(');
    for (uint32_t i = 0; i < o->args->n && r->out->n <= r->end; i++) {
        if (i)
            br__buf_puts(r->out, ", ");
        put_value(r, o->args->u.item[i], depth);
    }
    for (int i = 0; i < 2; i++) {
        const struct br__pk *part = i ? o->items : o->state;
        if (!part)
            continue;
        if (more)
            br__buf_puts(r->out, ", ");
        put_value(r, part, depth);
        more = 1;
    }
    br__buf_putc(r->out, ')');
}

static void put_value(struct repr *r, const struct br__pk *v, int depth)
{
    if (depth == 0 || r->out->n > r->end) {
        br__buf_puts(r->out, "...");
        return;
    }
    switch (v->kind) {
    case BR__PK_NONE:
        br__buf_puts(r->out, "None");
        break;
    case BR__PK_BOOL:
        br__buf_puts(r->out, v->b ? "True" : "False");
        break;
    case BR__PK_INT:
        if (v->big)
            br__buf_puts(r->out, "<big int>");
        else
            br__buf_printf(r->out, "%" PRId64, v->u.i);
        break;
    case BR__PK_FLOAT:
        br__buf_double(r->out, v->u.f);
        break;
    case BR__PK_STR:
    case BR__PK_BYTES:
        put_quoted(r->out, v);
        break;
    case BR__PK_LIST:
        put_items(r, v, "[", "]", depth - 1);
        break;
    case BR__PK_TUPLE:
        put_items(r, v, "(", ")", depth - 1);
        break;
    case BR__PK_SET:
        put_items(r, v, v->n ? "{" : "set(", v->n ? "}" : ")", depth - 1);
        break;
    case BR__PK_DICT:
        put_items(r, v, "{", "}", depth - 1);
        break;
    case BR__PK_GLOBAL:
        br__buf_printf(r->out, "%s.%s", v->u.g->module, v->u.g->name);
        break;
    case BR__PK_OBJECT:
        put_object(r, v->u.o, depth - 1);
        break;
    case BR__PK_PERSID:
        put_items(r, v, "<persistent ", ">", depth - 1);
        break;
    }
}

void br__pk_repr(struct br__buf *out, const struct br__pk *v)
{
    struct repr r = {out, out->n + REPR_MAX};

    put_value(&r, v, REPR_DEPTH);
}
