/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* value.c - values: making them, truth, equality, order, elements, attributes.
 *
 * The rules are Python's, since templates were written against it: True == 1, lists compare by
 * elements, str does not order against int, and so on. */
#include "jinja.h"

#include <math.h>
#include <string.h>

/* ---- making ---------------------------------------------------------------------------------- */

struct br__jv br__jv_undef(const char *name, size_t n, int of)
{
    return (struct br__jv){.kind = BR__JV_UNDEF, .of = (uint8_t)of, .n = n, .s = name};
}

struct br__jv br__jv_none(void)
{
    return (struct br__jv){.kind = BR__JV_NONE};
}

struct br__jv br__jv_bool(int v)
{
    return (struct br__jv){.kind = BR__JV_BOOL, .i = v != 0};
}

struct br__jv br__jv_int(int64_t v)
{
    return (struct br__jv){.kind = BR__JV_INT, .i = v};
}

struct br__jv br__jv_float(double v)
{
    return (struct br__jv){.kind = BR__JV_FLOAT, .f = v};
}

struct br__jv br__jv_slice(const char *s, size_t n)
{
    return (struct br__jv){.kind = BR__JV_STR, .n = n, .s = s};
}

struct br__jv br__jv_text(const char *s)
{
    return br__jv_slice(s, strlen(s));
}

static struct br__jv value_nothing(void)
{
    return br__jv_undef(NULL, 0, BR__JV_KINDS);
}

struct br__jv br__jv_take(struct br__jj *j, struct br__buf *b)
{
    struct br__jv v = value_nothing();
    char *s = b->failed ? NULL : br__jj_alloc(j, b->n + 1);

    if (b->failed == BR_E_NOMEM)
        br__jj_fail(j, BR_E_NOMEM, "out of memory");
    else if (b->failed)
        br__jj_fail(j, BR_E_FORMAT, "a text of more than %zu bytes", b->max);
    if (s) {
        if (b->n)
            memcpy(s, b->p, b->n);
        v = br__jv_slice(s, b->n);
    }
    br__buf_free(b);
    return v;
}

struct br__jv br__jv_list(struct br__jj *j, int flavour)
{
    struct br__jj_list *l = br__jj_alloc(j, sizeof *l);

    if (!l)
        return value_nothing();
    l->flavour = flavour;
    return (struct br__jv){.kind = BR__JV_LIST, .list = l};
}

struct br__jv br__jv_dict(struct br__jj *j, int kind)
{
    struct br__jj_dict *d = br__jj_alloc(j, sizeof *d);

    return d ? (struct br__jv){.kind = (uint8_t)kind, .dict = d} : value_nothing();
}

/* Double a full array of the run; the old one is freed with the arena. */
static void *value_bigger(struct br__jj *j, const void *old, size_t n, size_t *cap, size_t sz)
{
    size_t want = n ? 2 * n : 4;
    void *p = br__jj_alloc(j, want * sz);

    if (p && n)
        memcpy(p, old, n * sz);
    if (p)
        *cap = want;
    return p;
}

void br__jv_push(struct br__jj *j, struct br__jv list, struct br__jv v)
{
    if (j->rc)
        return;
    struct br__jj_list *l = list.list;
    if (l->n == l->cap) {
        struct br__jv *at = value_bigger(j, l->at, l->n, &l->cap, sizeof *at);
        if (!at)
            return;
        l->at = at;
    }
    l->at[l->n++] = v;
}

/* Position of key in d, or d->n. */
static size_t key_at(struct br__jj *j, const struct br__jj_dict *d, struct br__jv key)
{
    size_t i = 0;

    while (i < d->n && !(key.kind == BR__JV_STR && d->key[i].kind == BR__JV_STR
                             ? key.n == d->key[i].n && memcmp(key.s, d->key[i].s, key.n) == 0
                             : br__jv_eq(j, key, d->key[i])))
        i++;
    br__jj_step(j, i / 8);
    return i;
}

static void value_append(struct br__jj *j, struct br__jj_dict *d, struct br__jv key,
                         struct br__jv v)
{
    if (d->n == d->cap) {
        size_t cap = d->cap;
        struct br__jv *k = value_bigger(j, d->key, d->n, &cap, sizeof *k);
        struct br__jv *x = k ? value_bigger(j, d->val, d->n, &cap, sizeof *x) : NULL;
        if (!x)
            return;
        d->key = k;
        d->val = x;
        d->cap = cap;
    }
    d->key[d->n] = key;
    d->val[d->n++] = v;
}

/* Python's mutable containers cannot be keys. */
static int is_key(struct br__jj *j, struct br__jv v)
{
    if (v.kind != BR__JV_DICT && (v.kind != BR__JV_LIST || v.list->flavour != BR__JF_LIST))
        return 1;
    br__jj_fail(j, BR_E_FORMAT, "unhashable type: '%s'", br__jv_type(v));
    return 0;
}

void br__jv_put(struct br__jj *j, struct br__jv dict, struct br__jv key, struct br__jv v)
{
    if (j->rc || !is_key(j, key))
        return;
    size_t i = key_at(j, dict.dict, key);
    if (i < dict.dict->n)
        dict.dict->val[i] = v;
    else
        value_append(j, dict.dict, key, v);
}

const struct br__jv *br__jv_get(struct br__jj *j, struct br__jv dict, struct br__jv key)
{
    size_t i = key_at(j, dict.dict, key);
    return i < dict.dict->n ? &dict.dict->val[i] : NULL;
}

/* ---- from JSON ------------------------------------------------------------------------------- */

/* Python reads an integer of any size; a fraction or an exponent makes it a float. */
static struct br__jv value_number(struct br__jj *j, const br__json *json)
{
    struct br__buf b = {0};
    struct br__jv v = value_nothing();
    int64_t i;

    if (br__json_print(json, 0, &b)) {
        br__jj_fail(j, BR_E_NOMEM, "out of memory");
    } else {
        b.p[--b.n] = '\0'; /* print ends the line */
        if (strpbrk(b.p, ".eE"))
            v = br__jv_float(br__json_num(json, 0));
        else if (br__parse_i64(b.p, &i) == BR_OK)
            v = br__jv_int(i);
        else {
            v = br__jv_take(j, &b);
            v.kind = j->rc ? BR__JV_UNDEF : BR__JV_BIG;
        }
    }
    br__buf_free(&b);
    return v;
}

static struct br__jv copy_text(struct br__jj *j, const char *s)
{
    size_t n = strlen(s);
    char *p = br__jj_alloc(j, n + 1);

    if (!p)
        return value_nothing();
    memcpy(p, s, n);
    return br__jv_slice(p, n);
}

/* The parser bounds the depth of JSON.  Its keys are unique already. */
struct br__jv br__jv_from_json(struct br__jj *j, const br__json *json)
{
    struct br__jv v = value_nothing();

    switch (br__json_kind(json)) {
    case 'o':
        v = br__jv_dict(j, BR__JV_DICT);
        for (const br__json *c = br__json_first(json); c && !j->rc; c = br__json_next(c)) {
            struct br__jv key = copy_text(j, br__json_key(c)), val = br__jv_from_json(j, c);
            if (!j->rc)
                value_append(j, v.dict, key, val);
        }
        return v;
    case 'a':
        v = br__jv_list(j, BR__JF_LIST);
        for (const br__json *c = br__json_first(json); c && !j->rc; c = br__json_next(c))
            br__jv_push(j, v, br__jv_from_json(j, c));
        return v;
    case 's':
        return copy_text(j, br__json_str(json, ""));
    case 'n':
        return value_number(j, json);
    case 'b':
        return br__jv_bool(br__json_bool(json, 0));
    default:
        return br__jv_none();
    }
}

/* ---- questions ------------------------------------------------------------------------------- */

int br__jv_is_num(struct br__jv v)
{
    return v.kind == BR__JV_BOOL || v.kind == BR__JV_INT || v.kind == BR__JV_FLOAT;
}

double br__jv_num(struct br__jv v)
{
    return v.kind == BR__JV_FLOAT ? v.f : (double)v.i;
}

int br__jv_is_text(struct br__jv v, const char *s)
{
    return v.kind == BR__JV_STR && v.n == strlen(s) && memcmp(v.s, s, v.n) == 0;
}

int br__jv_true(struct br__jv v)
{
    switch (v.kind) {
    case BR__JV_UNDEF:
    case BR__JV_NONE:
        return 0;
    case BR__JV_BOOL:
    case BR__JV_INT:
        return v.i != 0;
    case BR__JV_FLOAT:
        return v.f != 0;
    case BR__JV_STR:
        return v.n != 0;
    case BR__JV_LIST:
        return v.list->n != 0 || v.list->flavour == BR__JF_GENERATOR;
    case BR__JV_DICT:
        return v.dict->n != 0;
    default:
        return 1;
    }
}

static const char *const kinds[] = {
    [BR__JV_UNDEF] = "Undefined", [BR__JV_NONE] = "NoneType",    [BR__JV_BOOL] = "bool",
    [BR__JV_INT] = "int",         [BR__JV_BIG] = "int",          [BR__JV_FLOAT] = "float",
    [BR__JV_STR] = "str",         [BR__JV_LIST] = "list",        [BR__JV_DICT] = "dict",
    [BR__JV_NS] = "Namespace",    [BR__JV_LOOP] = "LoopContext", [BR__JV_MACRO] = "Macro",
    [BR__JV_FUNC] = "function",
};

const char *br__jv_type(struct br__jv v)
{
    static const char *const flavours[] = {"list",      "tuple",       "generator", "range",
                                           "dict_keys", "dict_values", "dict_items"};

    return v.kind == BR__JV_LIST ? flavours[v.list->flavour] : kinds[v.kind];
}

/* ---- equality and order ---------------------------------------------------------------------- */

/* Numbers of either type, exactly: 2^53 + 1 is not 2.0^53. */
static int cmp_nums(struct br__jv a, struct br__jv b)
{
    if (a.kind != BR__JV_FLOAT && b.kind != BR__JV_FLOAT)
        return (a.i > b.i) - (a.i < b.i);
    double x = br__jv_num(a), y = br__jv_num(b);
    if (x != y || a.kind == b.kind || fabs(x) >= 0x1p63)
        return (x > y) - (x < y);
    int64_t i = a.kind == BR__JV_FLOAT ? (int64_t)a.f : a.i;
    int64_t k = b.kind == BR__JV_FLOAT ? (int64_t)b.f : b.i;
    return (i > k) - (i < k);
}

static int is_nan(struct br__jv v)
{
    return v.kind == BR__JV_FLOAT && isnan(v.f);
}

/* Python's types that compare by their elements, each with its own kind only. */
static int same_sequence(struct br__jv a, struct br__jv b)
{
    return a.list->flavour == b.list->flavour &&
           (a.list->flavour == BR__JF_LIST || a.list->flavour == BR__JF_TUPLE ||
            a.list->flavour == BR__JF_RANGE);
}

static int eq_lists(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    if (a.list == b.list)
        return 1;
    if (!same_sequence(a, b) || a.list->n != b.list->n)
        return 0;
    for (size_t i = 0; i < a.list->n; i++)
        if (!br__jv_eq(j, a.list->at[i], b.list->at[i]))
            return 0;
    return 1;
}

static int eq_dicts(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    if (a.dict == b.dict)
        return 1;
    if (a.dict->n != b.dict->n)
        return 0;
    for (size_t i = 0; i < a.dict->n; i++) {
        const struct br__jv *other = br__jv_get(j, b, a.dict->key[i]);
        if (!other || !br__jv_eq(j, a.dict->val[i], *other))
            return 0;
    }
    return 1;
}

static int eq_same_kind(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    switch (a.kind) {
    case BR__JV_UNDEF:
    case BR__JV_NONE:
        return 1;
    case BR__JV_STR:
    case BR__JV_BIG:
        br__jj_step(j, a.n / 64);
        return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
    case BR__JV_LIST:
        return eq_lists(j, a, b);
    case BR__JV_DICT:
        return eq_dicts(j, a, b);
    case BR__JV_FUNC:
        return a.func->row == b.func->row && a.func->self.kind == b.func->self.kind &&
               a.func->self.i == b.func->self.i;
    default:
        return a.i == b.i; /* one object: compare the pointers */
    }
}

int br__jv_eq(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    if (br__jv_is_num(a) && br__jv_is_num(b))
        return !is_nan(a) && !is_nan(b) && cmp_nums(a, b) == 0;
    if (a.kind != b.kind || !br__jj_step(j, 1) || !br__jj_enter(j))
        return 0;
    int equal = eq_same_kind(j, a, b);
    br__jj_leave(j);
    return equal;
}

static int cmp_text(struct br__jv a, struct br__jv b)
{
    /* The byte order of UTF-8 is the order of its code points. */
    int c = memcmp(a.s, b.s, BR__MIN(a.n, b.n));
    return c ? (c > 0) - (c < 0) : (a.n > b.n) - (a.n < b.n);
}

static int cmp_lists(struct br__jj *j, const struct br__jj_list *a, const struct br__jj_list *b)
{
    for (size_t i = 0; i < a->n && i < b->n && !j->rc; i++)
        if (!br__jv_eq(j, a->at[i], b->at[i]))
            return br__jv_cmp(j, a->at[i], b->at[i]);
    return (a->n > b->n) - (a->n < b->n);
}

int br__jv_cmp(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    int c = 0;

    if (!br__jj_step(j, 1) || !br__jj_enter(j))
        return 0;
    if (br__jv_is_num(a) && br__jv_is_num(b))
        c = cmp_nums(a, b);
    else if (a.kind == BR__JV_STR && b.kind == BR__JV_STR)
        c = cmp_text(a, b);
    else if (a.kind == BR__JV_LIST && b.kind == BR__JV_LIST && same_sequence(a, b) &&
             a.list->flavour != BR__JF_RANGE)
        c = cmp_lists(j, a.list, b.list);
    else
        br__jj_fail(j, BR_E_FORMAT, "'%s' and '%s' have no order", br__jv_type(a), br__jv_type(b));
    br__jj_leave(j);
    return c;
}

int br__jv_in(struct br__jj *j, struct br__jv v, struct br__jv in)
{
    const struct br__jv *at;
    size_t n;

    if (in.kind == BR__JV_STR) {
        if (v.kind != BR__JV_STR) {
            br__jj_fail(j, BR_E_FORMAT, "'in' a string needs a string on its left, got '%s'",
                        br__jv_type(v));
            return 0;
        }
        return br__jj_find(j, in, 0, v) <= in.n;
    }
    if ((in.kind == BR__JV_DICT || (in.kind == BR__JV_LIST && in.list->flavour == BR__JF_KEYS)) &&
        !is_key(j, v))
        return 0;
    if (in.kind == BR__JV_DICT)
        return br__jv_get(j, in, v) != NULL;
    if (br__jv_items(j, in, &at, &n))
        return 0;
    for (size_t i = 0; i < n && !j->rc; i++)
        if (br__jv_eq(j, v, at[i]))
            return 1;
    return 0;
}

/* ---- elements -------------------------------------------------------------------------------- */

static int value_characters(struct br__jj *j, struct br__jv s, const struct br__jv **at, size_t *n)
{
    size_t count = br__jj_chars(s.s, s.n), k = 0;
    struct br__jv *c = br__jj_step(j, count) ? br__jj_alloc(j, (count + 1) * sizeof *c) : NULL;
    uint32_t unused;

    if (!c)
        return j->rc;
    for (size_t i = 0; i < s.n; k++) {
        size_t len = br__jj_char(s.s + i, &unused);
        c[k] = br__jv_slice(s.s + i, len);
        i += len;
    }
    *at = c;
    *n = count;
    return BR_OK;
}

int br__jv_items(struct br__jj *j, struct br__jv v, const struct br__jv **at, size_t *n)
{
    *at = NULL;
    *n = 0;
    switch (v.kind) {
    case BR__JV_UNDEF:
        return j->rc;
    case BR__JV_STR:
        return value_characters(j, v, at, n);
    case BR__JV_DICT:
        *at = v.dict->key;
        *n = v.dict->n;
        return j->rc;
    case BR__JV_LIST:
        *at = v.list->at;
        *n = v.list->n;
        if (v.list->flavour == BR__JF_GENERATOR)
            v.list->n = 0; /* it can be read once */
        return j->rc;
    default:
        br__jj_fail(j, BR_E_FORMAT, "'%s' is not a sequence", br__jv_type(v));
        return j->rc;
    }
}

int64_t br__jv_len(struct br__jj *j, struct br__jv v)
{
    switch (v.kind) {
    case BR__JV_UNDEF:
        return 0;
    case BR__JV_STR:
        br__jj_step(j, v.n / 64);
        return (int64_t)br__jj_chars(v.s, v.n);
    case BR__JV_DICT:
        return (int64_t)v.dict->n;
    case BR__JV_LIST:
        if (v.list->flavour != BR__JF_GENERATOR)
            return (int64_t)v.list->n;
        break;
    case BR__JV_LOOP:
        return (int64_t)v.loop->n;
    default:
        break;
    }
    br__jj_fail(j, BR_E_FORMAT, "'%s' has no length", br__jv_type(v));
    return -1;
}

int64_t br__jv_int_arg(struct br__jj *j, struct br__jv v, int64_t dflt)
{
    if (v.kind == BR__JV_UNDEF || v.kind == BR__JV_NONE)
        return dflt;
    if (v.kind == BR__JV_INT || v.kind == BR__JV_BOOL)
        return v.i;
    br__jj_fail(j, BR_E_FORMAT, "an integer is needed, got '%s'", br__jv_type(v));
    return dflt;
}

/* ---- attributes and subscripts --------------------------------------------------------------- */

static struct br__jv loop_attr(struct br__jj *j, const struct br__jj_loop *l, const char *name,
                               size_t n)
{
    const int64_t len = (int64_t)l->n, i = (int64_t)l->i;
    const struct {
        const char *name;
        struct br__jv v;
    } attrs[] = {
        {"index", br__jv_int(i + 1)},
        {"index0", br__jv_int(i)},
        {"first", br__jv_bool(i == 0)},
        {"last", br__jv_bool(i + 1 == len)},
        {"length", br__jv_int(len)},
        {"revindex", br__jv_int(len - i)},
        {"revindex0", br__jv_int(len - i - 1)},
        {"depth", br__jv_int(1)}, /* only recursive loops, which are not supported, are deeper */
        {"depth0", br__jv_int(0)},
        {"previtem", i > 0 ? l->at[i - 1] : br__jv_undef("previtem", 8, BR__JV_LOOP)},
        {"nextitem", i + 1 < len ? l->at[i + 1] : br__jv_undef("nextitem", 8, BR__JV_LOOP)},
    };

    (void)j;
    for (size_t k = 0; k < BR_COUNTOF(attrs); k++)
        if (strlen(attrs[k].name) == n && memcmp(attrs[k].name, name, n) == 0)
            return attrs[k].v;
    return br__jv_undef(name, n, BR__JV_LOOP);
}

static struct br__jv macro_attr(struct br__jj *j, const struct br__jn *def, const char *name,
                                size_t n)
{
    struct br__jv key = br__jv_slice(name, n), list;

    if (br__jv_is_text(key, "name"))
        return def->s ? br__jv_text(def->s) : br__jv_none();
    if (br__jv_is_text(key, "catch_kwargs"))
        return br__jv_bool(def->reads & BR__JJ_READS_KWARGS);
    if (br__jv_is_text(key, "catch_varargs"))
        return br__jv_bool(def->reads & BR__JJ_READS_VARARGS);
    if (br__jv_is_text(key, "caller"))
        return br__jv_bool(def->reads & BR__JJ_READS_CALLER);
    if (!br__jv_is_text(key, "arguments"))
        return br__jv_undef(name, n, BR__JV_MACRO);
    list = br__jv_list(j, BR__JF_TUPLE);
    for (const struct br__jn *p = def->list; p; p = p->next)
        br__jv_push(j, list, br__jv_text(p->s));
    return list;
}

/* A method of obj's type, bound to it; undefined if there is none of that name. */
static struct br__jv value_method(struct br__jj *j, struct br__jv obj, const char *name, size_t n)
{
    const struct br__jj_row *row = br__jj_method(obj, name, n);
    struct br__jj_bound *bound = row ? br__jj_alloc(j, sizeof *bound) : NULL;

    if (!bound)
        return br__jv_undef(name, n, obj.kind);
    bound->row = row;
    bound->self = obj;
    return (struct br__jv){.kind = BR__JV_FUNC, .func = bound};
}

/* The message of Jinja2's UndefinedError. */
static struct br__jv no_value(struct br__jj *j, struct br__jv v)
{
    if (!v.s)
        return br__jj_fail(j, BR_E_FORMAT, "an undefined value is used");
    if (v.of == BR__JV_KINDS)
        return br__jj_fail(j, BR_E_FORMAT, "'%.*s' is undefined", (int)BR__MIN(v.n, 80), v.s);
    return br__jj_fail(j, BR_E_FORMAT, "'%s' has no attribute or element '%.*s'", kinds[v.of],
                       (int)BR__MIN(v.n, 80), v.s);
}

struct br__jv br__jv_attr(struct br__jj *j, struct br__jv obj, const char *name, size_t n)
{
    const struct br__jv *found = NULL;

    if (obj.kind == BR__JV_UNDEF)
        return no_value(j, obj);
    if (obj.kind == BR__JV_NS) {
        found = br__jv_get(j, obj, br__jv_slice(name, n));
        return found ? *found : br__jv_undef(name, n, BR__JV_NS);
    }
    struct br__jv v = value_method(j, obj, name, n);
    if (v.kind != BR__JV_UNDEF || j->rc)
        return v;
    if (obj.kind == BR__JV_LOOP)
        return loop_attr(j, obj.loop, name, n);
    if (obj.kind == BR__JV_MACRO)
        return macro_attr(j, obj.macro->def, name, n);
    if (obj.kind == BR__JV_DICT)
        found = br__jv_get(j, obj, br__jv_slice(name, n));
    return found ? *found : v;
}

/* Can be reached by position. */
static int is_indexed(struct br__jv v)
{
    return v.kind == BR__JV_STR || (v.kind == BR__JV_LIST && v.list->flavour <= BR__JF_RANGE &&
                                    v.list->flavour != BR__JF_GENERATOR);
}

static struct br__jv value_element(struct br__jj *j, struct br__jv obj, int64_t i)
{
    int64_t len = br__jv_len(j, obj);

    if (i < 0)
        i += len;
    if (i < 0 || i >= len)
        return br__jv_undef("index", 5, obj.kind);
    if (obj.kind == BR__JV_LIST)
        return obj.list->at[i];
    size_t at = br__jj_char_at(obj.s, obj.n, (size_t)i);
    uint32_t c;
    struct br__jv v = br__jv_slice(obj.s + at, br__jj_char(obj.s + at, &c));
    v.markup = obj.markup;
    return v;
}

struct br__jv br__jv_item(struct br__jj *j, struct br__jv obj, struct br__jv key)
{
    if (obj.kind == BR__JV_UNDEF)
        return no_value(j, obj);
    if (obj.kind == BR__JV_DICT) {
        const struct br__jv *found = br__jv_get(j, obj, key);
        if (found)
            return *found;
    }
    if (key.kind == BR__JV_STR)
        return br__jv_attr(j, obj, key.s, key.n);
    if ((key.kind == BR__JV_INT || key.kind == BR__JV_BOOL) && is_indexed(obj))
        return value_element(j, obj, key.i);
    return br__jv_undef("index", 5, obj.kind);
}

/* Python's slice.indices: bounds for a sequence of n elements; 0 elements if j has failed. */
static void slice_bounds(struct br__jj *j, const struct br__jv bound[3], int64_t n, int64_t *start,
                         int64_t *stop, int64_t *step)
{
    *step = br__jv_int_arg(j, bound[2], 1);
    if (*step == 0)
        br__jj_fail(j, BR_E_FORMAT, "a slice with a step of zero");
    *step = BR__MAX(BR__MIN(*step, INT32_MAX), -INT32_MAX);
    int64_t low = *step < 0 ? -1 : 0, high = *step < 0 ? n - 1 : n;
    *start = br__jv_int_arg(j, bound[0], *step < 0 ? INT64_MAX : 0);
    *stop = br__jv_int_arg(j, bound[1], *step < 0 ? INT64_MIN : INT64_MAX);
    int64_t *ends[] = {start, stop};
    for (int i = 0; i < 2; i++) {
        if (*ends[i] < 0 && *ends[i] >= -n)
            *ends[i] += n;
        else if (*ends[i] < 0)
            *ends[i] = low;
        *ends[i] = BR__MIN(*ends[i], high);
    }
}

static struct br__jv cut_text(struct br__jj *j, struct br__jv s, int64_t start, int64_t stop,
                              int64_t step)
{
    struct br__buf b = {.max = j->limits.bytes};
    const struct br__jv *at;
    size_t n;

    if (step == 1) {
        size_t from = br__jj_char_at(s.s, s.n, (size_t)start);
        size_t len = br__jj_char_at(s.s + from, s.n - from, (size_t)BR__MAX(stop - start, 0));
        return br__jv_slice(s.s + from, len);
    }
    if (br__jv_items(j, s, &at, &n))
        return value_nothing();
    for (; (step > 0 ? start < stop : start > stop) && br__jj_step(j, 1); start += step)
        br__buf_put(&b, at[start].s, at[start].n);
    return br__jv_take(j, &b);
}

struct br__jv br__jv_cut(struct br__jj *j, struct br__jv obj, const struct br__jv bound[3])
{
    int64_t start, stop, step;

    if (obj.kind == BR__JV_UNDEF)
        return no_value(j, obj);
    if (!is_indexed(obj))
        return br__jj_fail(j, BR_E_FORMAT, "a slice of a '%s'", br__jv_type(obj));
    slice_bounds(j, bound, br__jv_len(j, obj), &start, &stop, &step);
    if (j->rc)
        return value_nothing();
    if (obj.kind == BR__JV_STR) {
        struct br__jv s = cut_text(j, obj, start, stop, step);
        s.markup = obj.markup;
        return s;
    }
    struct br__jv list = br__jv_list(j, obj.list->flavour);
    for (; (step > 0 ? start < stop : start > stop) && br__jj_step(j, 1); start += step)
        br__jv_push(j, list, obj.list->at[start]);
    return list;
}

struct br__jv br__jv_path(struct br__jj *j, struct br__jv obj, struct br__jv path)
{
    if (path.kind != BR__JV_STR)
        return br__jv_item(j, obj, path);
    for (size_t at = 0; at <= path.n && !j->rc;) {
        char digits[20];
        int64_t i;
        size_t n = 0;
        while (at + n < path.n && path.s[at + n] != '.')
            n++;
        struct br__jv key = br__jv_slice(path.s + at, n);
        if (n && n < sizeof digits && path.s[at] != '-') {
            memcpy(digits, path.s + at, n);
            digits[n] = '\0';
            if (br__parse_i64(digits, &i) == BR_OK)
                key = br__jv_int(i);
        }
        obj = br__jv_item(j, obj, key);
        at += n + 1;
    }
    return obj;
}
