/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pickle_write.c - emits protocol 2 pickles opcode by opcode.
 *
 * torch's weights-only loader accepts this subset.  With a memo the
 * output numbers objects as Python's own pickler does, so that what torch wrote and what is
 * written here can be compared byte by byte.  Errors stick to the output buffer; callers look at
 * out->failed once, at the end.
 *
 * Source of the opcodes: Python's pickletools; of the numbering: files written by torch. */
#include "torch.h"

#include <string.h>

static void put_u32(struct br__pkw *w, uint32_t v)
{
    const unsigned char b[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16),
                                (unsigned char)(v >> 24)};
    br__buf_put(w->out, b, sizeof b);
}

static void put_byte(struct br__pkw *w, unsigned v)
{
    br__buf_putc(w->out, (char)(unsigned char)v);
}

void br__pkw_begin(struct br__pkw *w)
{
    br__buf_put(w->out, "\x80\x02", 2);
    if (w->memo >= 0 && br__map_init(&w->globals, 16))
        w->out->failed = BR_E_NOMEM;
}

void br__pkw_end(struct br__pkw *w)
{
    br__pkw_op(w, '.');
    br__map_free(&w->globals);
}

void br__pkw_op(struct br__pkw *w, char op)
{
    br__buf_putc(w->out, op);
}

void br__pkw_put(struct br__pkw *w)
{
    if (w->memo < 0)
        return;
    if (w->memo < 256) {
        br__pkw_op(w, 'q'); /* BINPUT */
        put_byte(w, (unsigned)w->memo);
    } else {
        br__pkw_op(w, 'r'); /* LONG_BINPUT */
        put_u32(w, (uint32_t)w->memo);
    }
    w->memo++;
}

void br__pkw_get(struct br__pkw *w, int slot)
{
    if (slot < 256) {
        br__pkw_op(w, 'h'); /* BINGET */
        put_byte(w, (unsigned)slot);
    } else {
        br__pkw_op(w, 'j'); /* LONG_BINGET */
        put_u32(w, (uint32_t)slot);
    }
}

/* Emit BINGET and return 1 if `key` was written before; otherwise note that it is about to be. */
static int pickle_seen(struct br__pkw *w, const char *key)
{
    if (w->memo < 0 || w->out->failed)
        return 0;
    uint32_t slot = br__map_get(&w->globals, key);
    if (slot != BR__NOT_FOUND) {
        br__pkw_get(w, (int)slot);
        return 1;
    }
    const char *copy = br__arena_strdup(w->arena, key);
    if (!copy || br__map_put(&w->globals, copy, (uint32_t)w->memo))
        w->out->failed = BR_E_NOMEM;
    return 0;
}

void br__pkw_global(struct br__pkw *w, const char *module, const char *name)
{
    char key[160];
    int n = snprintf(key, sizeof key, "%s\n%s\n", module, name);
    if (n < 0 || (size_t)n >= sizeof key)
        BR_BUG("global name too long: %s.%s", module, name);
    if (pickle_seen(w, key))
        return;
    br__pkw_op(w, 'c');
    br__buf_put(w->out, key, (size_t)n);
    br__pkw_put(w);
}

void br__pkw_str(struct br__pkw *w, const char *s)
{
    size_t n = strlen(s);
    if (n > UINT32_MAX) {
        w->out->failed = BR_E_FORMAT;
        return;
    }
    /* Globals share the map under keys that hold a newline, so a string with one is not looked up.
     */
    if (!memchr(s, '\n', n) && pickle_seen(w, s))
        return;
    br__pkw_op(w, 'X');
    put_u32(w, (uint32_t)n);
    br__buf_put(w->out, s, n);
    br__pkw_put(w);
}

void br__pkw_int(struct br__pkw *w, int64_t v)
{
    if (v >= 0 && v < 256) {
        br__pkw_op(w, 'K');
        put_byte(w, (unsigned)v);
    } else if (v >= 0 && v < 65536) {
        br__pkw_op(w, 'M');
        put_byte(w, (unsigned)v & 255);
        put_byte(w, (unsigned)v >> 8);
    } else if (v >= INT32_MIN && v <= INT32_MAX) {
        br__pkw_op(w, 'J');
        put_u32(w, (uint32_t)v);
    } else {
        uint64_t u = (uint64_t)v, sign = v < 0 ? UINT64_MAX : 0;
        unsigned n = 5; /* fewest bytes of two's complement that keep the sign */
        while (n < 8 && (u >> (8 * n - 1)) != (sign >> (8 * n - 1)))
            n++;
        put_byte(w, 0x8a); /* LONG1 */
        put_byte(w, n);
        for (unsigned i = 0; i < n; i++)
            put_byte(w, (unsigned)(u >> (8 * i)) & 255);
    }
}

void br__pkw_float(struct br__pkw *w, double v)
{
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    br__pkw_op(w, 'G');
    for (int shift = 56; shift >= 0; shift -= 8)
        put_byte(w, (unsigned)(u >> shift) & 255);
}

void br__pkw_bool(struct br__pkw *w, int v)
{
    put_byte(w, v ? 0x88 : 0x89);
}

void br__pkw_none(struct br__pkw *w)
{
    br__pkw_op(w, 'N');
}

void br__pkw_tuple(struct br__pkw *w, const int64_t *v, int n)
{
    if (n > 3)
        br__pkw_op(w, '(');
    for (int i = 0; i < n; i++)
        br__pkw_int(w, v[i]);
    if (n == 0) {
        br__pkw_op(w, ')'); /* the empty tuple is never memoised */
        return;
    }
    if (n > 3)
        br__pkw_op(w, 't');
    else
        put_byte(w, 0x84u + (unsigned)n); /* TUPLE1..3 */
    br__pkw_put(w);
}

/* ---- containers ------------------------------------------------------------------------------ */

#define BATCH 1000 /* Python's pickler flushes dicts and lists in pieces of this many */

void br__pkw_item_begin(struct br__pkw *w, size_t i, size_t n)
{
    if (n > 1 && i % BATCH == 0)
        br__pkw_op(w, '(');
}

void br__pkw_item_end(struct br__pkw *w, size_t i, size_t n, enum br__pkw_container kind)
{
    if (n == 1)
        br__pkw_op(w, kind == BR__PKW_DICT ? 's' : 'a');
    else if ((i + 1) % BATCH == 0 || i + 1 == n)
        br__pkw_op(w, kind == BR__PKW_DICT ? 'u' : 'e');
}

/* ---- objects --------------------------------------------------------------------------------- */

void br__pkw_new(struct br__pkw *w, const char *module, const char *name)
{
    br__pkw_global(w, module, name);
    br__pkw_op(w, ')');
    br__pkw_op(w, '\x81'); /* NEWOBJ */
    br__pkw_put(w);
}

void br__pkw_dict(struct br__pkw *w)
{
    br__pkw_op(w, '}');
    br__pkw_put(w);
    br__pkw_op(w, '(');
}

void br__pkw_build(struct br__pkw *w)
{
    br__pkw_op(w, 'u');
    br__pkw_op(w, 'b'); /* BUILD */
}

static void put_strides(struct br__pkw *w, int ndim, const int64_t *shape)
{
    int64_t strides[BR_MAX_DIMS], n = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        strides[i] = n;
        n *= BR__MAX(shape[i], 1);
    }
    br__pkw_tuple(w, strides, ndim);
}

void br__pkw_tensor(struct br__pkw *w, const char *storage, int dtype, int ndim,
                    const int64_t *shape)
{
    int untyped = strcmp(br_dtype_storage(dtype), "UntypedStorage") == 0;
    int64_t numel = untyped ? br_dtype_size(dtype) : 1; /* untyped storage counts bytes */
    for (int i = 0; i < ndim; i++)
        numel *= shape[i];

    br__pkw_global(w, "torch._utils", untyped ? "_rebuild_tensor_v3" : "_rebuild_tensor_v2");
    br__pkw_op(w, '(');
    br__pkw_op(w, '(');
    br__pkw_str(w, "storage");
    br__pkw_global(w, untyped ? "torch.storage" : "torch", br_dtype_storage(dtype));
    br__pkw_str(w, storage);
    br__pkw_str(w, "cpu");
    br__pkw_int(w, numel);
    br__pkw_op(w, 't');
    br__pkw_put(w);
    br__pkw_op(w, 'Q'); /* BINPERSID */
    br__pkw_int(w, 0);  /* storage offset */
    br__pkw_tuple(w, shape, ndim);
    put_strides(w, ndim, shape);
    br__pkw_bool(w, 0); /* requires_grad */
    br__pkw_global(w, "collections", "OrderedDict");
    br__pkw_op(w, ')');
    br__pkw_op(w, 'R');
    br__pkw_put(w);
    if (untyped)
        br__pkw_global(w, "torch", br_dtype_torch(dtype));
    br__pkw_op(w, 't');
    br__pkw_put(w);
    br__pkw_op(w, 'R');
    br__pkw_put(w);
}
