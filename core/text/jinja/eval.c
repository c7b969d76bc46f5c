/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* eval.c - expressions to values, and the calls of filters, tests, methods and functions. */
#include "jinja.h"

#include <math.h>
#include <string.h>

static struct br__jv eval_nothing(void)
{
    return br__jv_undef(NULL, 0, BR__JV_KINDS);
}

/* ---- limits and errors ----------------------------------------------------------------------- */

struct br__jv br__jj_fail(struct br__jj *j, int code, const char *fmt, ...)
{
    char text[600];
    va_list ap;

    if (!j->rc) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        /* A cut may have halved a character. */
        text[br__utf8_span(text, strlen(text))] = '\0';
        j->rc = br_fail(j->err, code, "line %u: %s", j->line, text);
    }
    return eval_nothing();
}

int br__jj_step(struct br__jj *j, size_t n)
{
    if (j->rc)
        return 0;
    j->steps += n;
    if (j->steps > j->limits.steps)
        br__jj_fail(j, BR_E_FORMAT, "the template does not end within %llu steps",
                    (unsigned long long)j->limits.steps);
    return !j->rc;
}

int br__jj_enter(struct br__jj *j)
{
    if (!j->rc && j->depth >= BR__JJ_RUN_DEPTH)
        br__jj_fail(j, BR_E_FORMAT, "nested or recursive beyond %d levels", BR__JJ_RUN_DEPTH);
    if (j->rc)
        return 0;
    j->depth++;
    return 1;
}

void br__jj_leave(struct br__jj *j)
{
    j->depth--;
}

void *br__jj_alloc(struct br__jj *j, size_t n)
{
    void *p = NULL;

    if (j->rc)
        return NULL;
    if (n > j->limits.bytes || j->arena.total > j->limits.bytes - n)
        br__jj_fail(j, BR_E_FORMAT, "the template needs more than %zu bytes of memory",
                    j->limits.bytes);
    else if ((p = br__arena_alloc(&j->arena, n)) == NULL)
        br__jj_fail(j, BR_E_NOMEM, "out of memory");
    return p;
}

/* ---- calls ----------------------------------------------------------------------------------- */

const struct br__jj_row *br__jj_row_find(const struct br__jj_row *rows, size_t n, const char *name,
                                         size_t len)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(rows[i].name) == len && memcmp(rows[i].name, name, len) == 0)
            return &rows[i];
    return NULL;
}

/* Position of `name` in a row's parameters, -1 if it has none of that name; *n = how many it has.
 */
static int param_at(const char *params, const char *name, int *n)
{
    int found = -1;

    *n = 0;
    for (const char *p = params; *p; ++*n) {
        size_t len = strcspn(p, " ");
        if (name && strlen(name) == len && memcmp(p, name, len) == 0)
            found = *n;
        p += len + (p[len] == ' ');
    }
    return found;
}

/* Positional and keyword arguments to c->arg. */
static int eval_bind(struct br__jj *j, const struct br__jj_row *row, const char *what,
                     struct br__jj_call *c)
{
    int given[BR__JJ_MAX_PARAMS] = {0}, n;

    param_at(row->params, NULL, &n);
    for (int i = 0; i < n; i++)
        c->arg[i] = eval_nothing();
    if (c->n_pos > (size_t)n) {
        br__jj_fail(j, BR_E_FORMAT, "%s '%s' takes at most %d argument(s), got %zu", what,
                    row->name, n, c->n_pos);
        return 0;
    }
    for (size_t i = 0; i < c->n_pos; i++) {
        c->arg[i] = c->pos[i];
        given[i] = 1;
    }
    for (size_t i = 0; i < c->n_kw; i++) {
        int at = param_at(row->params, c->kw[i].name, &n);
        if (at < 0 || given[at]) {
            br__jj_fail(j, BR_E_FORMAT, "%s '%s' %s an argument '%.60s'", what, row->name,
                        at < 0 ? "has not" : "already got", c->kw[i].name);
            return 0;
        }
        c->arg[at] = c->kw[i].v;
        given[at] = 1;
    }
    for (int i = 0; i < row->need; i++)
        if (!given[i]) {
            br__jj_fail(j, BR_E_FORMAT, "%s '%s' needs %d argument(s): %s", what, row->name,
                        row->need, row->params);
            return 0;
        }
    return 1;
}

struct br__jv br__jj_invoke(struct br__jj *j, const struct br__jj_row *row, const char *what,
                            struct br__jj_call *c)
{
    if (!row->fn)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "%s '%s' is not supported here", what, row->name);
    if (strcmp(row->params, "*") != 0 && !eval_bind(j, row, what, c))
        return eval_nothing();
    return br__jj_step(j, 1) ? row->fn(j, c) : eval_nothing();
}

struct br__jv br__jj_call_value(struct br__jj *j, struct br__jv f, struct br__jj_call *c)
{
    if (f.kind == BR__JV_MACRO)
        return br__jj_call_macro(j, f.macro, c);
    if (f.kind == BR__JV_FUNC) {
        c->self = f.func->self;
        return br__jj_invoke(j, f.func->row,
                             f.func->self.kind == BR__JV_UNDEF ? "function" : "method", c);
    }
    if (f.kind == BR__JV_UNDEF)
        return br__jv_attr(j, f, "", 0); /* its message names what is undefined */
    return br__jj_fail(j, BR_E_FORMAT, "a value of type '%s' is called", br__jv_type(f));
}

int br__jj_eval_args(struct br__jj *j, const struct br__jn *list, size_t spare,
                     struct br__jj_call *c)
{
    size_t n = spare;

    for (const struct br__jn *a = list; a; a = a->next)
        n++;
    if (n == 0)
        return !j->rc;
    c->pos = br__jj_alloc(j, n * sizeof *c->pos);
    c->kw = br__jj_alloc(j, n * sizeof *c->kw);
    for (const struct br__jn *a = list; a && !j->rc; a = a->next) {
        if (a->kind == BR__JN_KWARG)
            c->kw[c->n_kw++] = (struct br__jj_kwarg){a->s, br__jj_eval(j, a->a)};
        else
            c->pos[c->n_pos++] = br__jj_eval(j, a);
    }
    return !j->rc;
}

static struct br__jv eval_call(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_call c = {0};
    struct br__jv f = br__jj_eval(j, n->a);

    return br__jj_eval_args(j, n->list, 0, &c) ? br__jj_call_value(j, f, &c) : eval_nothing();
}

static struct br__jv eval_filter(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_call c = {0};
    const struct br__jj_row *row = br__jj_filter(n->s, n->n);

    if (!row)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "no filter is named '%.60s'", n->s);
    c.self = br__jj_eval(j, n->a);
    return br__jj_eval_args(j, n->list, 0, &c) ? br__jj_invoke(j, row, "filter", &c)
                                               : eval_nothing();
}

static struct br__jv eval_test(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_call c = {0};
    const struct br__jj_row *row = br__jj_test(n->s, n->n);

    if (!row)
        return br__jj_fail(j, BR_E_UNSUPPORTED, "no test is named '%.60s'", n->s);
    c.self = br__jj_eval(j, n->a);
    return br__jj_eval_args(j, n->list, 0, &c) ? br__jj_invoke(j, row, "test", &c) : eval_nothing();
}

/* ---- arithmetic ------------------------------------------------------------------------------ */

static struct br__jv too_big(struct br__jj *j)
{
    return br__jj_fail(j, BR_E_UNSUPPORTED, "integers beyond 64 bits are not supported");
}

static struct br__jv int_pow(struct br__jj *j, int64_t base, int64_t exponent)
{
    int64_t v = 1;

    if (exponent < 0)
        return base ? br__jv_float(pow((double)base, (double)exponent))
                    : br__jj_fail(j, BR_E_FORMAT, "zero to a negative power");
    if (base == 0 || base == 1 || base == -1)
        return br__jv_int(exponent == 0 ? 1 : base == -1 && exponent % 2 == 0 ? 1 : base);
    for (; exponent > 0; exponent--)
        if (__builtin_mul_overflow(v, base, &v))
            return too_big(j);
    return br__jv_int(v);
}

static struct br__jv int_op(struct br__jj *j, const char *op, int64_t a, int64_t b)
{
    int64_t v = 0;
    int overflow = 0;

    if ((op[0] == '/' || op[0] == '%') && b == 0)
        return br__jj_fail(j, BR_E_FORMAT, "division by zero");
    if (strcmp(op, "/") == 0)
        return br__jv_float((double)a / (double)b);
    if (strcmp(op, "**") == 0)
        return int_pow(j, a, b);
    if (op[0] == '/' || op[0] == '%') { /* both round towards minus infinity */
        if (b == -1)
            overflow = op[0] == '/' && __builtin_sub_overflow((int64_t)0, a, &v);
        else if (op[0] == '/')
            v = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
        else
            v = a % b + (a % b != 0 && (a % b < 0) != (b < 0) ? b : 0);
    } else {
        overflow = op[0] == '+'   ? __builtin_add_overflow(a, b, &v)
                   : op[0] == '-' ? __builtin_sub_overflow(a, b, &v)
                                  : __builtin_mul_overflow(a, b, &v);
    }
    return overflow ? too_big(j) : br__jv_int(v);
}

static struct br__jv float_op(struct br__jj *j, const char *op, double a, double b)
{
    if ((op[0] == '/' || op[0] == '%') && b == 0)
        return br__jj_fail(j, BR_E_FORMAT, "division by zero");
    if (strcmp(op, "**") == 0) {
        double v = pow(a, b);
        if (isnan(v) || (isinf(v) && isfinite(a) && isfinite(b)))
            return br__jj_fail(j, BR_E_FORMAT, "the result of '**' is no finite number");
        return br__jv_float(v);
    }
    if (op[0] == '%' || strcmp(op, "//") == 0) {
        double rest = fmod(a, b);
        if (rest == 0)
            rest = copysign(0, b);
        else if ((rest < 0) != (b < 0))
            rest += b;
        double whole = floor((a - rest) / b + 0.5);
        return br__jv_float(op[0] == '%' ? rest : whole != 0 ? whole : copysign(0, a / b));
    }
    return br__jv_float(op[0] == '+' ? a + b : op[0] == '-' ? a - b : op[0] == '*' ? a * b : a / b);
}

static struct br__jv add_text(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    int markup = a.markup || b.markup;

    if (markup) { /* what is not marked gets escaped, on either side */
        a = br__jv_escape(j, a);
        b = br__jv_escape(j, b);
    }
    char *s = br__jj_alloc(j, a.n + b.n + 1);
    if (!s)
        return eval_nothing();
    memcpy(s, a.s, a.n);
    memcpy(s + a.n, b.s, b.n);
    struct br__jv v = br__jv_slice(s, a.n + b.n);
    v.markup = (uint8_t)markup;
    return v;
}

static struct br__jv add_lists(struct br__jj *j, struct br__jv a, struct br__jv b)
{
    struct br__jv v = br__jv_list(j, a.list->flavour);

    for (size_t i = 0; i < a.list->n && br__jj_step(j, 1); i++)
        br__jv_push(j, v, a.list->at[i]);
    for (size_t i = 0; i < b.list->n && br__jj_step(j, 1); i++)
        br__jv_push(j, v, b.list->at[i]);
    return v;
}

/* "ab" * 3, [0] * 3 */
static struct br__jv eval_repeat(struct br__jj *j, struct br__jv s, int64_t times)
{
    if (s.kind == BR__JV_LIST) {
        struct br__jv v = br__jv_list(j, s.list->flavour);
        for (int64_t k = 0; k < times && s.list->n && !j->rc; k++)
            for (size_t i = 0; i < s.list->n && br__jj_step(j, 1); i++)
                br__jv_push(j, v, s.list->at[i]);
        return v;
    }
    size_t n = times > 0 && s.n ? s.n : 0, total = 0;
    if (n && __builtin_mul_overflow(n, (size_t)times, &total))
        total = SIZE_MAX / 2;
    char *p = br__jj_alloc(j, total + 1);
    if (!p)
        return eval_nothing();
    for (size_t at = 0; at < total; at += n)
        memcpy(p + at, s.s, n);
    struct br__jv v = br__jv_slice(p, total);
    v.markup = s.markup;
    return v;
}

static int is_plain_list(struct br__jv v)
{
    return v.kind == BR__JV_LIST && v.list->flavour <= BR__JF_TUPLE;
}

static int is_int(struct br__jv v)
{
    return v.kind == BR__JV_INT || v.kind == BR__JV_BOOL;
}

static struct br__jv eval_arithmetic(struct br__jj *j, const char *op, struct br__jv a,
                                     struct br__jv b)
{
    if (is_int(a) && is_int(b))
        return int_op(j, op, a.i, b.i);
    if (br__jv_is_num(a) && br__jv_is_num(b))
        return float_op(j, op, br__jv_num(a), br__jv_num(b));
    if (a.kind == BR__JV_BIG || b.kind == BR__JV_BIG)
        return too_big(j);
    if (a.kind == BR__JV_UNDEF || (b.kind == BR__JV_UNDEF && strcmp(op, "%") != 0))
        return br__jv_attr(j, a.kind == BR__JV_UNDEF ? a : b, "", 0);
    if (strcmp(op, "%") == 0 && a.kind == BR__JV_STR) {
        int tuple = b.kind == BR__JV_LIST && b.list->flavour == BR__JF_TUPLE;
        return br__jj_percent(j, a, tuple ? b.list->at : &b, tuple ? b.list->n : 1);
    }
    if (strcmp(op, "+") == 0 && a.kind == BR__JV_STR && b.kind == BR__JV_STR)
        return add_text(j, a, b);
    if (strcmp(op, "+") == 0 && is_plain_list(a) && is_plain_list(b) &&
        a.list->flavour == b.list->flavour)
        return add_lists(j, a, b);
    if (strcmp(op, "*") == 0 && (a.kind == BR__JV_STR || is_plain_list(a)) && is_int(b))
        return eval_repeat(j, a, b.i);
    if (strcmp(op, "*") == 0 && (b.kind == BR__JV_STR || is_plain_list(b)) && is_int(a))
        return eval_repeat(j, b, a.i);
    return br__jj_fail(j, BR_E_FORMAT, "'%s' of '%s' and '%s' is not defined", op, br__jv_type(a),
                       br__jv_type(b));
}

static struct br__jv eval_sign(struct br__jj *j, int minus, struct br__jv v)
{
    if (v.kind == BR__JV_FLOAT)
        return minus ? br__jv_float(-v.f) : v;
    if (is_int(v))
        return minus ? int_op(j, "-", 0, v.i) : br__jv_int(v.i);
    if (v.kind == BR__JV_UNDEF)
        return br__jv_attr(j, v, "", 0);
    return br__jj_fail(j, BR_E_FORMAT, "a sign before a '%s'", br__jv_type(v));
}

/* ---- the rest of the operators --------------------------------------------------------------- */

static int eval_holds(struct br__jj *j, const char *op, struct br__jv a, struct br__jv b)
{
    if (strcmp(op, "==") == 0)
        return br__jv_eq(j, a, b);
    if (strcmp(op, "!=") == 0)
        return !br__jv_eq(j, a, b);
    if (strcmp(op, "in") == 0)
        return br__jv_in(j, a, b);
    if (strcmp(op, "not in") == 0)
        return !br__jv_in(j, a, b);
    if (a.kind == BR__JV_UNDEF || b.kind == BR__JV_UNDEF) {
        br__jv_attr(j, a.kind == BR__JV_UNDEF ? a : b, "", 0);
        return 0;
    }
    if ((a.kind == BR__JV_FLOAT && isnan(a.f)) || (b.kind == BR__JV_FLOAT && isnan(b.f)))
        return 0;
    int c = br__jv_cmp(j, a, b);
    return op[0] == '<' ? c < 0 || (op[1] && c == 0) : c > 0 || (op[1] && c == 0);
}

static struct br__jv eval_compare(struct br__jj *j, const struct br__jn *n)
{
    struct br__jv left = br__jj_eval(j, n->a);

    for (const struct br__jn *o = n->list; o && !j->rc; o = o->next) {
        struct br__jv right = br__jj_eval(j, o->a);
        if (j->rc || !eval_holds(j, o->s, left, right))
            return br__jv_bool(0);
        left = right;
    }
    return br__jv_bool(1);
}

static struct br__jv eval_concat(struct br__jj *j, const struct br__jn *n)
{
    struct br__buf b = {.max = j->limits.bytes};

    for (const struct br__jn *a = n->list; a && !j->rc; a = a->next)
        br__jv_str(j, &b, br__jj_eval(j, a));
    return br__jv_take(j, &b);
}

static struct br__jv eval_display(struct br__jj *j, const struct br__jn *n)
{
    struct br__jv v = n->kind == BR__JN_DICT
                          ? br__jv_dict(j, BR__JV_DICT)
                          : br__jv_list(j, n->kind == BR__JN_TUPLE ? BR__JF_TUPLE : BR__JF_LIST);

    for (const struct br__jn *a = n->list; a && !j->rc; a = a->next) {
        struct br__jv first = br__jj_eval(j, a);
        if (n->kind == BR__JN_DICT) {
            a = a->next;
            br__jv_put(j, v, first, br__jj_eval(j, a));
        } else {
            br__jv_push(j, v, first);
        }
    }
    return v;
}

static struct br__jv eval_item(struct br__jj *j, const struct br__jn *n)
{
    struct br__jv obj = br__jj_eval(j, n->a), bound[3];
    const struct br__jn *s = n->b;

    if (s->kind != BR__JN_SLICE) {
        struct br__jv key = br__jj_eval(j, s);
        return j->rc ? eval_nothing() : br__jv_item(j, obj, key);
    }
    bound[0] = s->a ? br__jj_eval(j, s->a) : br__jv_none();
    bound[1] = s->b ? br__jj_eval(j, s->b) : br__jv_none();
    bound[2] = s->c ? br__jj_eval(j, s->c) : br__jv_none();
    return j->rc ? eval_nothing() : br__jv_cut(j, obj, bound);
}

static struct br__jv eval_name(struct br__jj *j, const struct br__jn *n)
{
    const struct br__jv *v = br__jj_find_var(j, n->s);
    const struct br__jj_row *row = v ? NULL : br__jj_global(n->s);
    struct br__jj_bound *bound = row ? br__jj_alloc(j, sizeof *bound) : NULL;

    if (v)
        return *v;
    if (!bound)
        return br__jv_undef(n->s, n->n, BR__JV_KINDS);
    bound->row = row;
    bound->self = eval_nothing();
    return (struct br__jv){.kind = BR__JV_FUNC, .func = bound};
}

static struct br__jv eval_binary(struct br__jj *j, const struct br__jn *n)
{
    struct br__jv a = br__jj_eval(j, n->a), b = j->rc ? a : br__jj_eval(j, n->b);

    return j->rc ? eval_nothing() : eval_arithmetic(j, n->s, a, b);
}

static struct br__jv eval_choose(struct br__jj *j, const struct br__jn *n)
{
    struct br__jv cond = br__jj_eval(j, n->a);

    if (n->kind == BR__JN_COND) {
        const struct br__jn *branch = br__jv_true(cond) ? n->b : n->c;
        return branch ? br__jj_eval(j, branch) : br__jv_undef("inline if", 9, BR__JV_KINDS);
    }
    return br__jv_true(cond) == (n->kind == BR__JN_AND) ? br__jj_eval(j, n->b) : cond;
}

static struct br__jv eval_node(struct br__jj *j, const struct br__jn *n)
{
    switch (n->kind) {
    case BR__JN_CONST:
        return n->val;
    case BR__JN_NAME:
        return eval_name(j, n);
    case BR__JN_LIST:
    case BR__JN_TUPLE:
    case BR__JN_DICT:
        return eval_display(j, n);
    case BR__JN_NOT:
        return br__jv_bool(!br__jv_true(br__jj_eval(j, n->a)));
    case BR__JN_NEG:
    case BR__JN_POS:
        return eval_sign(j, n->kind == BR__JN_NEG, br__jj_eval(j, n->a));
    case BR__JN_AND:
    case BR__JN_OR:
    case BR__JN_COND:
        return eval_choose(j, n);
    case BR__JN_BINARY:
        return eval_binary(j, n);
    case BR__JN_CONCAT:
        return eval_concat(j, n);
    case BR__JN_COMPARE:
        return eval_compare(j, n);
    case BR__JN_ATTR:
        return br__jv_attr(j, br__jj_eval(j, n->a), n->s, n->n);
    case BR__JN_ITEM:
        return eval_item(j, n);
    case BR__JN_CALL:
        return eval_call(j, n);
    case BR__JN_FILTER:
        return eval_filter(j, n);
    case BR__JN_TEST:
        return eval_test(j, n);
    case BR__JN_HOLE:
        return j->hole;
    default:
        BR_BUG("node %d is no expression", n->kind);
    }
}

struct br__jv br__jj_eval(struct br__jj *j, const struct br__jn *n)
{
    if (!br__jj_step(j, 1) || !br__jj_enter(j))
        return eval_nothing();
    j->line = n->line;
    struct br__jv v = eval_node(j, n);
    br__jj_leave(j);
    return v;
}
