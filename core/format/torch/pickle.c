/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pickle.c - read Python pickles as data.
 *
 * A stack machine for the opcodes that torch, Megatron and torch's distributed checkpoint write
 * (protocols 2 to 5; spec: Python's Lib/pickletools.py).  Nothing is imported and nothing is
 * called: a global is its two names, REDUCE and NEWOBJ make an opaque object that remembers
 * callable and arguments, BUILD attaches the state.  The few callables that only rebuild plain
 * containers (torch.Size, OrderedDict, set) become those containers.
 *
 * Hostile input: each read is checked against the end, the memo index against the length of the
 * pickle, values and nesting are counted.  One input byte makes at most one small value, so
 * memory stays proportional to the input.  The machine does not recurse; values may be shared and
 * cyclic, so br__pk_repr bounds its own depth and output. */
#include "torch.h"

#include <inttypes.h>
#include <string.h>

#define MAX_PROTOCOL 5
#define DEFAULT_NODES ((size_t)64 << 20)
#define DEFAULT_DEPTH 512
#define N_SMALL_INTS 256
#define N_STR_CACHE 128
#define STR_CACHE_MAX 128 /* longer strings are not worth a comparison */
#define N_GLOBAL_CACHE 32

/* X(name, byte) */
/* clang-format off */
#define OPCODES(X) \
    X(MARK, '(')             X(STOP, '.')             X(POP, '0')              X(POP_MARK, '1') \
    X(DUP, '2')              X(BINFLOAT, 'G')         X(BININT, 'J')           X(BININT1, 'K') \
    X(BININT2, 'M')          X(LONG1, 0x8a)           X(LONG4, 0x8b)           X(NONE, 'N') \
    X(NEWTRUE, 0x88)         X(NEWFALSE, 0x89)        X(BINSTRING, 'T')        X(SHORT_BINSTRING, 'U') \
    X(BINUNICODE, 'X')       X(SHORT_BINUNICODE, 0x8c) X(BINUNICODE8, 0x8d)     X(BINBYTES, 'B') \
    X(SHORT_BINBYTES, 'C')   X(BINBYTES8, 0x8e)       X(BYTEARRAY8, 0x96)      X(EMPTY_LIST, ']') \
    X(LIST, 'l')             X(APPEND, 'a')           X(APPENDS, 'e')          X(EMPTY_TUPLE, ')') \
    X(TUPLE, 't')            X(TUPLE1, 0x85)          X(TUPLE2, 0x86)          X(TUPLE3, 0x87) \
    X(EMPTY_DICT, '}')       X(DICT, 'd')             X(SETITEM, 's')          X(SETITEMS, 'u') \
    X(EMPTY_SET, 0x8f)       X(ADDITEMS, 0x90)        X(FROZENSET, 0x91)       X(GLOBAL, 'c') \
    X(STACK_GLOBAL, 0x93)    X(REDUCE, 'R')           X(NEWOBJ, 0x81)          X(NEWOBJ_EX, 0x92) \
    X(BUILD, 'b')            X(BINPERSID, 'Q')        X(BINGET, 'h')           X(LONG_BINGET, 'j') \
    X(BINPUT, 'q')           X(LONG_BINPUT, 'r')      X(MEMOIZE, 0x94)         X(PROTO, 0x80) \
    X(FRAME, 0x95)
/* clang-format on */

enum {
#define X(name, byte) OP_##name = byte,
    OPCODES(X)
#undef X
};

struct vm {
    struct br__arena *a;
    const unsigned char *p;
    size_t n, at, op_at; /* op_at: where the current opcode starts */
    int op;
    int rc; /* sticky; 0 while running */
    struct br_err *err;
    struct br__pk **stack;
    size_t sp, stack_cap;
    size_t *marks; /* stack heights */
    size_t n_marks, marks_cap;
    struct br__pk **memo;
    size_t memo_cap, memo_used;
    struct br__pk *slab; /* nodes are handed out from blocks */
    size_t slab_left, slab_size;
    size_t n_nodes, max_nodes;
    int max_depth;
    /* Immutable values are shared: a pickle written without a memo repeats each key and class. */
    struct br__pk *none, *yes, *no, *empty_tuple;
    struct br__pk *ints[N_SMALL_INTS];
    struct br__pk *strs[N_STR_CACHE];
    struct br__pk *globals[N_GLOBAL_CACHE];
};

static const char *opcode_name(int op)
{
    switch (op) {
#define X(name, byte)                                                                              \
    case byte:                                                                                     \
        return #name;
        OPCODES(X)
#undef X
    }
    return "unknown";
}

static const char *kind_name(int kind)
{
    static const char *const names[] = {"None",   "bool",   "int",          "float", "str",
                                        "bytes",  "list",   "tuple",        "set",   "dict",
                                        "global", "object", "persistent id"};

    return (size_t)kind < BR_COUNTOF(names) ? names[kind] : "?";
}

#define FAIL(vm, code, ...) vm_fail((vm), (code), __func__, __VA_ARGS__)
static int vm_fail(struct vm *vm, int code, const char *where, const char *fmt, ...)
    BR_PRINTF(4, 5);

static int vm_fail(struct vm *vm, int code, const char *where, const char *fmt, ...)
{
    struct br__buf text = {0};
    va_list ap;

    if (vm->rc)
        return vm->rc;
    va_start(ap, fmt);
    br__buf_vprintf(&text, fmt, ap);
    va_end(ap);
    vm->rc = br_fail_at(vm->err, code, where, "pickle: byte %zu, opcode 0x%02x %s: %s", vm->op_at,
                        (unsigned)vm->op, opcode_name(vm->op), text.p ? text.p : "");
    br__buf_free(&text);
    return vm->rc;
}

static int vm_nomem(struct vm *vm)
{
    return FAIL(vm, BR_E_NOMEM, "out of memory");
}

/* ---- input ----------------------------------------------------------------------------------- */

static const unsigned char *vm_take(struct vm *vm, uint64_t k)
{
    const unsigned char *p = vm->p + vm->at;

    if (k > vm->n - vm->at) {
        FAIL(vm, BR_E_FORMAT, "truncated: needs %" PRIu64 " more bytes, %zu are left", k,
             vm->n - vm->at);
        return NULL;
    }
    vm->at += (size_t)k;
    return p;
}

static uint64_t le(const unsigned char *p, int bytes)
{
    uint64_t v = 0;

    for (int i = bytes; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

/* A little-endian argument of 1, 2, 4 or 8 bytes; 0 at the end of the input, with vm->rc set. */
static uint64_t take_le(struct vm *vm, int bytes)
{
    const unsigned char *p = vm_take(vm, (uint64_t)bytes);

    return p ? le(p, bytes) : 0;
}

/* ---- values ---------------------------------------------------------------------------------- */

static struct br__pk *vm_node(struct vm *vm, int kind)
{
    if (vm->n_nodes >= vm->max_nodes) {
        FAIL(vm, BR_E_FORMAT, "more than %zu values", vm->max_nodes);
        return NULL;
    }
    if (vm->slab_left == 0) {
        vm->slab_size = BR__MIN(BR__MAX(vm->slab_size * 2, 32), 1024);
        vm->slab = br__arena_alloc(vm->a, vm->slab_size * sizeof *vm->slab);
        if (!vm->slab) {
            vm_nomem(vm);
            return NULL;
        }
        vm->slab_left = vm->slab_size;
    }
    struct br__pk *v = vm->slab++;
    vm->slab_left--;
    vm->n_nodes++;
    v->kind = (uint8_t)kind;
    return v;
}

/* Record that child hangs below parent. */
static int vm_nest(struct vm *vm, struct br__pk *parent, const struct br__pk *child)
{
    if (child->depth >= parent->depth) {
        if (child->depth + 1 > vm->max_depth)
            return FAIL(vm, BR_E_FORMAT, "nested deeper than %d", vm->max_depth);
        parent->depth = (uint16_t)(child->depth + 1);
    }
    return BR_OK;
}

/* Append k values to the array of v, which counts them in units of `unit` (2 for a DICT). */
static int vm_append(struct vm *vm, struct br__pk *v, struct br__pk *const *items, size_t k,
                     size_t unit)
{
    size_t have = (size_t)v->n * unit, need = have + k;
    size_t room = v->cap ? (size_t)1 << v->cap : have;

    if (k == 0)
        return BR_OK;
    if (need / unit > UINT32_MAX)
        return FAIL(vm, BR_E_FORMAT, "more than 2^32 items");
    if (need > room) {
        unsigned log2 = 2;
        while (((size_t)1 << log2) < need)
            log2++;
        /* The first batch usually is the only one: fit it exactly. */
        size_t grown = have ? (size_t)1 << log2 : need;
        struct br__pk **p = br__arena_alloc(vm->a, grown * sizeof *p);
        if (!p)
            return vm_nomem(vm);
        if (have)
            memcpy(p, v->u.item, have * sizeof *p);
        v->cap = have ? log2 & 63 : 0;
        v->u.item = p;
    }
    for (size_t i = 0; i < k; i++) {
        v->u.item[have + i] = items[i];
        if (vm_nest(vm, v, items[i]))
            return vm->rc;
    }
    v->n = (uint32_t)(need / unit);
    return BR_OK;
}

static struct br__pk *vm_sequence(struct vm *vm, int kind, struct br__pk *const *items, size_t k)
{
    struct br__pk *v = vm_node(vm, kind);

    if (v && vm_append(vm, v, items, k, kind == BR__PK_DICT ? 2 : 1))
        return NULL;
    return v;
}

static struct br__pk *vm_integer(struct vm *vm, int64_t i)
{
    int small = i >= 0 && i < N_SMALL_INTS;

    if (small && vm->ints[i])
        return vm->ints[i];
    struct br__pk *v = vm_node(vm, BR__PK_INT);
    if (v)
        v->u.i = i;
    if (small)
        vm->ints[i] = v;
    return v;
}

static uint32_t hash_bytes(const void *p, size_t n)
{
    const unsigned char *s = p;
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ s[i]) * 16777619u;
    return h ^ h >> 15;
}

static struct br__pk *bytes_value(struct vm *vm, int kind, uint64_t len)
{
    const unsigned char *p = vm_take(vm, len);
    struct br__pk **slot = NULL;

    if (!p)
        return NULL;
    if (len > UINT32_MAX) {
        FAIL(vm, BR_E_UNSUPPORTED, "%s of %" PRIu64 " bytes", kind_name(kind), len);
        return NULL;
    }
    if (kind == BR__PK_STR && len <= STR_CACHE_MAX) {
        slot = &vm->strs[hash_bytes(p, (size_t)len) % N_STR_CACHE];
        if (*slot && (*slot)->n == len && memcmp((*slot)->u.s, p, (size_t)len) == 0)
            return *slot;
    }
    struct br__pk *v = vm_node(vm, kind);
    char *s = v ? br__arena_alloc(vm->a, (size_t)len + 1) : NULL; /* zeroed: terminated */
    if (!s) {
        vm_nomem(vm);
        return NULL;
    }
    memcpy(s, p, (size_t)len);
    v->n = (uint32_t)len;
    v->u.s = s;
    if (slot)
        *slot = v;
    return v;
}

static struct br__pk *long_value(struct vm *vm, uint64_t len)
{
    const unsigned char *p = vm_take(vm, len);

    if (!p)
        return NULL;
    if (len > 8) {
        struct br__pk *v = vm_node(vm, BR__PK_INT);
        if (v)
            v->big = 1;
        return v;
    }
    uint64_t u = le(p, (int)len);
    if (len > 0 && len < 8 && p[len - 1] & 0x80)
        u |= UINT64_MAX << (8 * len); /* two's complement: extend the sign */
    return vm_integer(vm, (int64_t)u);
}

static struct br__pk *float_value(struct vm *vm)
{
    const unsigned char *p = vm_take(vm, 8);
    struct br__pk *v = p ? vm_node(vm, BR__PK_FLOAT) : NULL;
    uint64_t u = 0;

    if (!v)
        return NULL;
    for (int i = 0; i < 8; i++) /* the only big-endian argument */
        u = u << 8 | p[i];
    memcpy(&v->u.f, &u, sizeof u);
    return v;
}

static struct br__pk *vm_singleton(struct vm *vm, struct br__pk **slot, int kind, unsigned b)
{
    if (!*slot) {
        *slot = vm_node(vm, kind);
        if (*slot)
            (*slot)->b = b & 1;
    }
    return *slot;
}

static struct br__pk *global_value(struct vm *vm, const struct br__pk *module,
                                   const struct br__pk *name)
{
    const char *key[2] = {module->u.s, name->u.s};
    struct br__pk **slot = &vm->globals[hash_bytes(key, sizeof key) % N_GLOBAL_CACHE];

    if (*slot && (*slot)->u.g->module == key[0] && (*slot)->u.g->name == key[1])
        return *slot;
    if (strlen(key[0]) != module->n || strlen(key[1]) != name->n) {
        FAIL(vm, BR_E_FORMAT, "NUL byte in the name of a global");
        return NULL;
    }
    struct br__pk *v = vm_node(vm, BR__PK_GLOBAL);
    struct br__pk_global *g = v ? br__arena_alloc(vm->a, sizeof *g) : NULL;
    if (!g) {
        vm_nomem(vm);
        return NULL;
    }
    g->module = key[0];
    g->name = key[1];
    v->u.g = g;
    *slot = v;
    return v;
}

/* ---- stack ----------------------------------------------------------------------------------- */

/* Values below the latest MARK are out of reach until it is popped. */
static size_t vm_fence(const struct vm *vm)
{
    return vm->n_marks ? vm->marks[vm->n_marks - 1] : 0;
}

/* NULL means that making v failed, which is in vm->rc. */
static int vm_push(struct vm *vm, struct br__pk *v)
{
    if (!v)
        return vm->rc;
    if (br__grow(&vm->stack, &vm->stack_cap, vm->sp, sizeof *vm->stack))
        return vm_nomem(vm);
    vm->stack[vm->sp++] = v;
    return BR_OK;
}

static int vm_need(struct vm *vm, size_t k)
{
    if (vm->sp - vm_fence(vm) < k)
        return FAIL(vm, BR_E_FORMAT, "stack underflow");
    return BR_OK;
}

static struct br__pk *vm_pop(struct vm *vm)
{
    return vm_need(vm, 1) ? NULL : vm->stack[--vm->sp];
}

static struct br__pk *vm_top(struct vm *vm)
{
    return vm_need(vm, 1) ? NULL : vm->stack[vm->sp - 1];
}

static int push_mark(struct vm *vm)
{
    if (br__grow(&vm->marks, &vm->marks_cap, vm->n_marks, sizeof *vm->marks))
        return vm_nomem(vm);
    vm->marks[vm->n_marks++] = vm->sp;
    return BR_OK;
}

/* Drop everything above the latest MARK; *items stay readable until the next push. */
static int pop_mark(struct vm *vm, struct br__pk ***items, size_t *k)
{
    if (vm->n_marks == 0)
        return FAIL(vm, BR_E_FORMAT, "no MARK on the stack");
    size_t base = vm->marks[--vm->n_marks];
    *k = vm->sp - base;
    *items = *k ? vm->stack + base : NULL; /* the stack may not exist yet */
    vm->sp = base;
    return BR_OK;
}

static int push_last(struct vm *vm, int kind, size_t k)
{
    if (vm_need(vm, k))
        return vm->rc;
    vm->sp -= k;
    return vm_push(vm, vm_sequence(vm, kind, vm->stack + vm->sp, k));
}

static int push_marked(struct vm *vm, int kind)
{
    struct br__pk **items = NULL;
    size_t k = 0;

    if (pop_mark(vm, &items, &k))
        return vm->rc;
    if (kind == BR__PK_DICT && k % 2)
        return FAIL(vm, BR_E_FORMAT, "dict key without a value");
    return vm_push(vm, vm_sequence(vm, kind, items, k));
}

/* ---- memo ------------------------------------------------------------------------------------ */

static int memo_put(struct vm *vm, uint64_t i)
{
    struct br__pk *v = vm->rc ? NULL : vm_top(vm);

    if (!v)
        return vm->rc;
    /* A pickler numbers its objects from 0 and spends at least a byte on each. */
    if (i >= vm->n)
        return FAIL(vm, BR_E_FORMAT, "memo index %" PRIu64 " in a pickle of %zu bytes", i, vm->n);
    if (i >= vm->memo_cap) {
        size_t cap = BR__MAX(BR__MAX(vm->memo_cap * 2, 64), (size_t)i + 1);
        struct br__pk **m = br__realloc(vm->memo, cap * sizeof *m);
        if (!m)
            return vm_nomem(vm);
        memset(m + vm->memo_cap, 0, (cap - vm->memo_cap) * sizeof *m);
        vm->memo = m;
        vm->memo_cap = cap;
    }
    vm->memo_used += vm->memo[i] == NULL;
    vm->memo[i] = v;
    return BR_OK;
}

static int memo_get(struct vm *vm, uint64_t i)
{
    if (vm->rc)
        return vm->rc;
    if (i >= vm->memo_cap || !vm->memo[i])
        return FAIL(vm, BR_E_FORMAT, "memo has no entry %" PRIu64, i);
    return vm_push(vm, vm->memo[i]);
}

/* ---- containers ------------------------------------------------------------------------------ */

/* The container that an APPEND, SETITEM or ADDITEMS on v fills; an opaque object (a list or dict
 * subclass) gets one on first use. */
static struct br__pk *vm_container(struct vm *vm, struct br__pk *v, int kind)
{
    struct br__pk *c = v;

    if (v->kind == BR__PK_OBJECT) {
        if (!v->u.o->items)
            v->u.o->items = vm_node(vm, kind);
        c = v->u.o->items;
    }
    if (c && c->kind != kind) {
        FAIL(vm, BR_E_FORMAT, "needs a %s, got a %s", kind_name(kind), kind_name(c->kind));
        return NULL;
    }
    return c;
}

static int vm_fill(struct vm *vm, int kind, struct br__pk *const *items, size_t k)
{
    struct br__pk *v = vm_top(vm);
    struct br__pk *c = v ? vm_container(vm, v, kind) : NULL;

    if (!c)
        return vm->rc;
    if (kind == BR__PK_DICT && k % 2)
        return FAIL(vm, BR_E_FORMAT, "dict key without a value");
    if (vm_append(vm, c, items, k, kind == BR__PK_DICT ? 2 : 1))
        return vm->rc;
    return c == v ? BR_OK : vm_nest(vm, v, c);
}

static int fill_last(struct vm *vm, int kind, size_t k)
{
    if (vm_need(vm, k + 1))
        return vm->rc;
    vm->sp -= k;
    return vm_fill(vm, kind, vm->stack + vm->sp, k);
}

static int fill_marked(struct vm *vm, int kind)
{
    struct br__pk **items = NULL;
    size_t k = 0;

    if (pop_mark(vm, &items, &k))
        return vm->rc;
    return vm_fill(vm, kind, items, k);
}

/* ---- objects --------------------------------------------------------------------------------- */

static int is_global(const struct br__pk *v, const char *module, const char *name)
{
    return v->kind == BR__PK_GLOBAL && strcmp(v->u.g->module, module) == 0 &&
           strcmp(v->u.g->name, name) == 0;
}

/* OrderedDict(): empty, or in Python 2's pickles from a list of [key, value] pairs. */
static struct br__pk *ordered_dict(struct vm *vm, const struct br__pk *args)
{
    struct br__pk *d = vm_node(vm, BR__PK_DICT);
    const struct br__pk *pairs = args->n ? args->u.item[0] : NULL;

    if (!d || !pairs)
        return d;
    if (pairs->kind != BR__PK_LIST) {
        FAIL(vm, BR_E_FORMAT, "OrderedDict of a %s", kind_name(pairs->kind));
        return NULL;
    }
    /* Copied items count as values: a shared list could be asked for again and again. */
    vm->n_nodes += BR__MIN(pairs->n, vm->max_nodes - vm->n_nodes);
    for (uint32_t i = 0; i < pairs->n; i++) {
        const struct br__pk *pair = pairs->u.item[i];
        if ((pair->kind != BR__PK_LIST && pair->kind != BR__PK_TUPLE) || pair->n != 2) {
            FAIL(vm, BR_E_FORMAT, "OrderedDict item %u is not a pair", i);
            return NULL;
        }
        if (vm_append(vm, d, pair->u.item, 2, 2))
            return NULL;
    }
    return d;
}

/* The callables that only wrap a plain container.  NULL without vm->rc: none of them. */
static struct br__pk *plain_container(struct vm *vm, const struct br__pk *callable,
                                      const struct br__pk *args)
{
    if (is_global(callable, "collections", "OrderedDict"))
        return ordered_dict(vm, args);
    if (args->n != 1)
        return NULL;
    struct br__pk *arg = args->u.item[0];
    if (is_global(callable, "torch", "Size") && arg->kind == BR__PK_TUPLE)
        return arg;
    if ((is_global(callable, "builtins", "set") || is_global(callable, "__builtin__", "set")) &&
        arg->kind == BR__PK_LIST) {
        struct br__pk *v = vm_node(vm, BR__PK_SET);
        if (v) { /* shares the list's array: both only ever append past it into a new one */
            v->n = arg->n;
            v->u.item = arg->u.item;
            v->depth = arg->depth;
        }
        return v;
    }
    return NULL;
}

static struct br__pk *vm_object(struct vm *vm, struct br__pk *callable, struct br__pk *args)
{
    if (args->kind != BR__PK_TUPLE) {
        FAIL(vm, BR_E_FORMAT, "arguments are a %s, not a tuple", kind_name(args->kind));
        return NULL;
    }
    struct br__pk *v = plain_container(vm, callable, args);
    if (v || vm->rc)
        return v;
    v = vm_node(vm, BR__PK_OBJECT);
    struct br__pk_object *o = v ? br__arena_alloc(vm->a, sizeof *o) : NULL;
    if (!o) {
        vm_nomem(vm);
        return NULL;
    }
    o->callable = callable;
    o->args = args;
    v->u.o = o;
    return vm_nest(vm, v, callable) || vm_nest(vm, v, args) ? NULL : v;
}

/* callable(*args), or callable.__new__(callable, *args). */
static int vm_reduce(struct vm *vm, int is_new)
{
    struct br__pk *args = vm_pop(vm);
    struct br__pk *callable = args ? vm_pop(vm) : NULL;
    struct br__pk *v = callable ? vm_object(vm, callable, args) : NULL;

    if (v && v->kind == BR__PK_OBJECT)
        v->b = is_new != 0;
    return v ? vm_push(vm, v) : vm->rc;
}

/* cls, args, kwargs: the keyword arguments become one more positional one. */
static int newobj_ex(struct vm *vm)
{
    if (vm_need(vm, 3))
        return vm->rc;
    struct br__pk *kw = vm_pop(vm), *args = vm_pop(vm), *cls = vm_pop(vm);
    if (args->kind != BR__PK_TUPLE || kw->kind != BR__PK_DICT)
        return FAIL(vm, BR_E_FORMAT, "arguments are a %s and a %s", kind_name(args->kind),
                    kind_name(kw->kind));
    vm->n_nodes += BR__MIN(args->n, vm->max_nodes - vm->n_nodes);
    struct br__pk *all = vm_sequence(vm, BR__PK_TUPLE, args->u.item, args->n);
    if (all && kw->n && vm_append(vm, all, &kw, 1, 1))
        return vm->rc;
    struct br__pk *v = all ? vm_object(vm, cls, all) : NULL;
    if (v && v->kind == BR__PK_OBJECT)
        v->big = 1;
    return v ? vm_push(vm, v) : vm->rc;
}

static int vm_build(struct vm *vm)
{
    struct br__pk *state = vm_pop(vm);
    struct br__pk *v = state ? vm_top(vm) : NULL;

    if (!v)
        return vm->rc;
    if (v->kind == BR__PK_DICT) /* attributes of an OrderedDict, as torch's _metadata */
        return BR_OK;
    if (v->kind != BR__PK_OBJECT)
        return FAIL(vm, BR_E_FORMAT, "a %s has no state", kind_name(v->kind));
    v->u.o->state = state;
    return vm_nest(vm, v, state);
}

static int persistent_id(struct vm *vm)
{
    struct br__pk *id = vm_pop(vm);

    return id ? vm_push(vm, vm_sequence(vm, BR__PK_PERSID, &id, 1)) : vm->rc;
}

/* GLOBAL: two lines of text. */
static struct br__pk *take_line(struct vm *vm)
{
    const unsigned char *p = vm->p + vm->at;
    const unsigned char *nl = vm->at < vm->n ? memchr(p, '\n', vm->n - vm->at) : NULL;

    if (!nl) {
        FAIL(vm, BR_E_FORMAT, "truncated: no end of line");
        return NULL;
    }
    struct br__pk *v = bytes_value(vm, BR__PK_STR, (uint64_t)(nl - p));
    vm->at++;
    return v;
}

static int vm_global(struct vm *vm)
{
    struct br__pk *module = take_line(vm);
    struct br__pk *name = module ? take_line(vm) : NULL;

    return name ? vm_push(vm, global_value(vm, module, name)) : vm->rc;
}

static int stack_global(struct vm *vm)
{
    struct br__pk *name = vm_pop(vm);
    struct br__pk *module = name ? vm_pop(vm) : NULL;

    if (!module)
        return vm->rc;
    if (module->kind != BR__PK_STR || name->kind != BR__PK_STR)
        return FAIL(vm, BR_E_FORMAT, "names of a global are a %s and a %s", kind_name(module->kind),
                    kind_name(name->kind));
    return vm_push(vm, global_value(vm, module, name));
}

/* POP takes a MARK when that is on top, as Python does. */
static int pop_any(struct vm *vm)
{
    if (vm->n_marks && vm->marks[vm->n_marks - 1] == vm->sp)
        vm->n_marks--;
    else
        vm_pop(vm);
    return vm->rc;
}

static int pop_to_mark(struct vm *vm)
{
    struct br__pk **items = NULL;
    size_t k = 0;

    return pop_mark(vm, &items, &k);
}

static int vm_protocol(struct vm *vm)
{
    uint64_t v = take_le(vm, 1);

    if (!vm->rc && v > MAX_PROTOCOL)
        return FAIL(vm, BR_E_UNSUPPORTED, "protocol %" PRIu64 ", known up to %d", v, MAX_PROTOCOL);
    return vm->rc;
}

/* ---- the machine ----------------------------------------------------------------------------- */

/* A counted string or bytes value: its length has `bytes` bytes. */
static int push_bytes(struct vm *vm, int kind, int bytes)
{
    uint64_t len = take_le(vm, bytes);

    return vm->rc ? vm->rc : vm_push(vm, bytes_value(vm, kind, len));
}

static int push_long(struct vm *vm, int bytes)
{
    uint64_t len = take_le(vm, bytes);

    return vm->rc ? vm->rc : vm_push(vm, long_value(vm, len));
}

static int push_int(struct vm *vm, int bytes)
{
    uint64_t u = take_le(vm, bytes);

    if (vm->rc)
        return vm->rc;
    return vm_push(vm, vm_integer(vm, bytes == 4 ? (int64_t)(int32_t)(uint32_t)u : (int64_t)u));
}

static int vm_step(struct vm *vm)
{
    switch (vm->op) {
    case OP_PROTO:
        return vm_protocol(vm);
    case OP_FRAME: /* a hint for buffered readers */
        vm_take(vm, 8);
        return vm->rc;
    case OP_MARK:
        return push_mark(vm);
    case OP_POP:
        return pop_any(vm);
    case OP_POP_MARK:
        return pop_to_mark(vm);
    case OP_DUP:
        return vm_push(vm, vm_top(vm));
    case OP_NONE:
        return vm_push(vm, vm_singleton(vm, &vm->none, BR__PK_NONE, 0));
    case OP_NEWTRUE:
        return vm_push(vm, vm_singleton(vm, &vm->yes, BR__PK_BOOL, 1));
    case OP_NEWFALSE:
        return vm_push(vm, vm_singleton(vm, &vm->no, BR__PK_BOOL, 0));
    case OP_BININT:
        return push_int(vm, 4);
    case OP_BININT1:
        return push_int(vm, 1);
    case OP_BININT2:
        return push_int(vm, 2);
    case OP_LONG1:
        return push_long(vm, 1);
    case OP_LONG4:
        return push_long(vm, 4);
    case OP_BINFLOAT:
        return vm_push(vm, float_value(vm));
    case OP_SHORT_BINUNICODE:
    case OP_SHORT_BINSTRING:
        return push_bytes(vm, BR__PK_STR, 1);
    case OP_BINUNICODE:
    case OP_BINSTRING:
        return push_bytes(vm, BR__PK_STR, 4);
    case OP_BINUNICODE8:
        return push_bytes(vm, BR__PK_STR, 8);
    case OP_SHORT_BINBYTES:
        return push_bytes(vm, BR__PK_BYTES, 1);
    case OP_BINBYTES:
        return push_bytes(vm, BR__PK_BYTES, 4);
    case OP_BINBYTES8:
    case OP_BYTEARRAY8:
        return push_bytes(vm, BR__PK_BYTES, 8);
    case OP_EMPTY_TUPLE:
        return vm_push(vm, vm_singleton(vm, &vm->empty_tuple, BR__PK_TUPLE, 0));
    case OP_TUPLE1:
        return push_last(vm, BR__PK_TUPLE, 1);
    case OP_TUPLE2:
        return push_last(vm, BR__PK_TUPLE, 2);
    case OP_TUPLE3:
        return push_last(vm, BR__PK_TUPLE, 3);
    case OP_TUPLE:
        return push_marked(vm, BR__PK_TUPLE);
    case OP_EMPTY_LIST:
        return vm_push(vm, vm_node(vm, BR__PK_LIST));
    case OP_LIST:
        return push_marked(vm, BR__PK_LIST);
    case OP_APPEND:
        return fill_last(vm, BR__PK_LIST, 1);
    case OP_APPENDS:
        return fill_marked(vm, BR__PK_LIST);
    case OP_EMPTY_DICT:
        return vm_push(vm, vm_node(vm, BR__PK_DICT));
    case OP_DICT:
        return push_marked(vm, BR__PK_DICT);
    case OP_SETITEM:
        return fill_last(vm, BR__PK_DICT, 2);
    case OP_SETITEMS:
        return fill_marked(vm, BR__PK_DICT);
    case OP_EMPTY_SET:
        return vm_push(vm, vm_node(vm, BR__PK_SET));
    case OP_ADDITEMS:
        return fill_marked(vm, BR__PK_SET);
    case OP_FROZENSET:
        return push_marked(vm, BR__PK_SET);
    case OP_GLOBAL:
        return vm_global(vm);
    case OP_STACK_GLOBAL:
        return stack_global(vm);
    case OP_REDUCE:
    case OP_NEWOBJ:
        return vm_reduce(vm, vm->op == OP_NEWOBJ);
    case OP_NEWOBJ_EX:
        return newobj_ex(vm);
    case OP_BUILD:
        return vm_build(vm);
    case OP_BINPERSID:
        return persistent_id(vm);
    case OP_BINGET:
        return memo_get(vm, take_le(vm, 1));
    case OP_LONG_BINGET:
        return memo_get(vm, take_le(vm, 4));
    case OP_BINPUT:
        return memo_put(vm, take_le(vm, 1));
    case OP_LONG_BINPUT:
        return memo_put(vm, take_le(vm, 4));
    case OP_MEMOIZE:
        return memo_put(vm, vm->memo_used);
    }
    return FAIL(vm, BR_E_UNSUPPORTED, "this opcode is not part of torch's checkpoints");
}

static void vm_run(struct vm *vm)
{
    while (!vm->rc) {
        vm->op_at = vm->at;
        if (vm->at == vm->n) {
            vm->op = OP_STOP;
            FAIL(vm, BR_E_FORMAT, "truncated: expected, but the pickle ends");
            return;
        }
        vm->op = vm->p[vm->at++];
        if (vm->op == OP_STOP)
            return;
        vm_step(vm); /* a failure is in vm->rc */
    }
}

int br__pk_load(struct br__arena *a, const unsigned char *p, size_t n,
                const struct br__pk_limits *limits, struct br__pk **out, struct br_err *err)
{
    struct vm vm = {.a = a, .p = p, .n = n, .err = err};
    int depth = limits && limits->max_depth ? limits->max_depth : DEFAULT_DEPTH;

    *out = NULL;
    vm.max_depth = BR__MIN(depth, UINT16_MAX - 1);
    vm.max_nodes = limits && limits->max_nodes ? limits->max_nodes : DEFAULT_NODES;
    vm.max_nodes = BR__MIN(vm.max_nodes, n); /* no opcode makes more values than it has bytes */
    vm_run(&vm);
    if (!vm.rc)
        *out = vm_pop(&vm);
    br__free(vm.stack);
    br__free(vm.marks);
    br__free(vm.memo);
    return vm.rc;
}
