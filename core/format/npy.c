/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* npy.c - arrays of numbers as numpy.save writes them: what Megatron caches its indices in.
 *
 * A header is magic, version 1.0 to 3.0, a length and the text of a Python dict with the keys
 * descr, fortran_order and shape; the elements follow.  Source: numpy/lib/format.py. */
#include "format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *descr;
    int dtype;
} types[] = {{"<i8", BR_I64},  {"<i4", BR_I32}, {"<i2", BR_I16}, {"|i1", BR_I8},
             {"<u8", BR_U64},  {"<u4", BR_U32}, {"<u2", BR_U16}, {"|u1", BR_U8},
             {"|b1", BR_BOOL}, {"<f8", BR_F64}, {"<f4", BR_F32}, {"<f2", BR_F16}};

/* ---- the dict -------------------------------------------------------------------------------- */

struct text {
    const char *s, *end;
};

static int npy_take(struct text *t, const char *word)
{
    size_t n = strlen(word);
    while (t->s < t->end && *t->s == ' ')
        t->s++;
    if ((size_t)(t->end - t->s) < n || memcmp(t->s, word, n) != 0)
        return 0;
    t->s += n;
    return 1;
}

static int take_number(struct text *t, int64_t *out)
{
    int64_t v = 0;
    while (t->s < t->end && *t->s == ' ')
        t->s++;
    if (t->s == t->end || *t->s < '0' || *t->s > '9')
        return 0;
    for (; t->s < t->end && *t->s >= '0' && *t->s <= '9'; t->s++) {
        if (v > (INT64_MAX - 9) / 10)
            return 0;
        v = v * 10 + (*t->s - '0');
    }
    *out = v;
    return 1;
}

static int read_descr(struct br__npy *x, struct text *t, struct br_err *err)
{
    if (npy_take(t, "'"))
        for (size_t i = 0; i < BR_COUNTOF(types); i++)
            if (npy_take(t, types[i].descr) && npy_take(t, "'")) {
                x->dtype = types[i].dtype;
                return BR_OK;
            }
    return br_fail(err, BR_E_UNSUPPORTED,
                   "the header's 'descr' is none of the number types that are read here, such as "
                   "'<i4'");
}

static int read_shape(struct br__npy *x, struct text *t, struct br_err *err)
{
    int ok = npy_take(t, "(");
    while (ok && !npy_take(t, ")")) {
        ok = x->ndim < BR__NPY_DIMS && take_number(t, &x->shape[x->ndim]);
        x->ndim += ok;
        if (ok && !npy_take(t, ",")) {
            ok = npy_take(t, ")");
            break;
        }
    }
    if (!ok || x->ndim == 0)
        return br_fail(err, BR_E_UNSUPPORTED, "the header's 'shape' is not one or two numbers");
    return BR_OK;
}

static int read_dict(struct br__npy *x, struct text t, struct br_err *err)
{
    int seen = 0, ok = npy_take(&t, "{");
    while (ok && !npy_take(&t, "}")) {
        int rc = BR_OK, key = 0;
        if (npy_take(&t, "'descr':")) {
            key = 1;
            rc = read_descr(x, &t, err);
        } else if (npy_take(&t, "'fortran_order':")) {
            key = 2;
            if (!npy_take(&t, "False"))
                return br_fail(err, BR_E_UNSUPPORTED,
                               "the header's 'fortran_order' is not False; arrays are read in "
                               "row-major order alone");
        } else if (npy_take(&t, "'shape':")) {
            key = 4;
            x->ndim = 0;
            rc = read_shape(x, &t, err);
        }
        if (rc)
            return rc;
        ok = key && !(seen & key);
        seen |= key;
        if (ok && !npy_take(&t, ","))
            ok = t.s < t.end && *t.s == '}';
    }
    while (t.s < t.end && (*t.s == ' ' || *t.s == '\n'))
        t.s++;
    if (!ok || seen != 7 || t.s != t.end)
        return br_fail(err, BR_E_FORMAT,
                       "the header is not a dict of 'descr', 'fortran_order' and 'shape'");
    return BR_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

int br__npy_parse(struct br__npy *x, const unsigned char *p, uint64_t n, uint64_t *data_off,
                  struct br_err *err)
{
    uint64_t head, bytes = 0;
    if (n < 12 || memcmp(p, "\x93NUMPY", 6) != 0)
        return br_fail(err, BR_E_FORMAT, "it does not begin as an array of numpy.save does");
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return br_fail(err, BR_E_UNSUPPORTED, "version %u.%u, expected 1.0 to 3.0", p[6], p[7]);
    int wide = p[6] > 1; /* the length has two bytes in version 1, four later */
    head = p[8] | (uint64_t)p[9] << 8;
    if (wide)
        head |= (uint64_t)p[10] << 16 | (uint64_t)p[11] << 24;
    uint64_t at = wide ? 12 : 10;
    if (head > n - at)
        return br_fail(err, BR_E_FORMAT, "a header of %" PRIu64 " bytes in a file of %" PRIu64,
                       head, n);
    const char *s = (const char *)p + at;
    int rc = read_dict(x, (struct text){s, s + head}, err);
    if (rc)
        return rc;
    *data_off = at + head;
    if (*data_off % 8)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "the elements begin at byte %" PRIu64 ", expected a multiple of 8, as numpy "
                       "writes it",
                       *data_off);
    if (br_shape_bytes(x->shape, x->ndim, br_dtype_size(x->dtype), &bytes) ||
        bytes != n - *data_off)
        return br_fail(err, BR_E_FORMAT,
                       "%" PRIu64 " bytes of elements, but the shape needs %" PRIu64, n - *data_off,
                       bytes);
    return BR_OK;
}

int br__npy_open(struct br__npy *x, const char *path, struct br_err *err)
{
    uint64_t off;
    *x = (struct br__npy){0};
    int rc = br__file_open(&x->file, path, err);
    if (rc)
        return rc;
    rc = br__npy_parse(x, x->file.map, x->file.size, &off, err);
    if (rc) {
        br_wrap(err, "'%s'", path);
        br__npy_close(x);
        return rc;
    }
    x->data = x->file.map + off;
    return BR_OK;
}

void br__npy_close(struct br__npy *x)
{
    br__file_close(&x->file);
    *x = (struct br__npy){0};
}

/* ---- writing --------------------------------------------------------------------------------- */

/* numpy leaves room for the first dimension to grow to 20 digits, and aligns the elements. */
#define GROWTH 21
#define ALIGN 64

static void put_header(struct br__buf *b, int dtype, int ndim, const int64_t *shape)
{
    struct br__buf dict = {0};
    const char *descr = "";
    for (size_t i = 0; i < BR_COUNTOF(types); i++)
        if (types[i].dtype == dtype)
            descr = types[i].descr;
    br__buf_printf(&dict, "{'descr': '%s', 'fortran_order': False, 'shape': (%" PRId64 ",", descr,
                   shape[0]);
    if (ndim > 1)
        br__buf_printf(&dict, " %" PRId64, shape[1]);
    br__buf_puts(&dict, "), }");
    int digits = snprintf(NULL, 0, "%" PRId64, shape[0]);
    br__buf_printf(&dict, "%*s", GROWTH - digits, "");
    size_t pad = ALIGN - (10 + dict.n + 1) % ALIGN; /* numpy: a whole block if it fits already */
    br__buf_printf(&dict, "%*s\n", (int)pad, "");
    br__buf_put(b, "\x93NUMPY\1\0", 8);
    br__buf_putc(b, (char)(dict.n & 0xFF));
    br__buf_putc(b, (char)(dict.n >> 8));
    br__buf_put(b, dict.p, dict.n);
    b->failed = b->failed ? b->failed : dict.failed;
    br__buf_free(&dict);
}

int br__npy_write(const char *path, int dtype, int ndim, const int64_t *shape, const void *data,
                  int sync, struct br_err *err)
{
    struct br__buf b = {.max = SIZE_MAX};
    uint64_t bytes;
    int rc = br_shape_bytes(shape, ndim, br_dtype_size(dtype), &bytes);
    put_header(&b, dtype, ndim, shape);
    if (!rc && bytes)
        br__buf_put(&b, data, bytes);
    rc = rc ? rc : b.failed;
    rc = rc ? br_fail(err, rc, "cannot hold '%s' in memory", path)
            : br__write_file(path, b.p, b.n, sync, err);
    br__buf_free(&b);
    return rc;
}
