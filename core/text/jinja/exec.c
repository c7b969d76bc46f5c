/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* exec.c - statements to text: scopes, loops, macros, and the run as a whole.
 *
 * Jinja2's scopes: `if` has none of its own; every pass of a loop, every macro, `with` and block
 * has, so that `set` in a loop is gone with the pass.  Only a namespace carries values out. */
#include "jinja.h"

#include <string.h>

enum jump { GO_ON, BREAK, CONTINUE };

static enum jump exec_body(struct br__jj *j, const struct br__jn *body);

/* ---- scopes ---------------------------------------------------------------------------------- */

const struct br__jv *br__jj_find_var(struct br__jj *j, const char *name)
{
    for (struct br__jj_scope *sc = j->scope; sc; sc = sc->parent)
        for (size_t i = 0; i < sc->n; i++)
            if (strcmp(sc->var[i].name, name) == 0)
                return &sc->var[i].v;
    return NULL;
}

void br__jj_set_var(struct br__jj *j, struct br__jj_scope *sc, const char *name, struct br__jv v)
{
    if (j->rc)
        return;
    for (size_t i = 0; i < sc->n; i++)
        if (strcmp(sc->var[i].name, name) == 0) {
            sc->var[i].v = v;
            return;
        }
    if (sc->n == sc->cap) {
        size_t cap = sc->cap ? 2 * sc->cap : 4;
        struct br__jj_var *var = br__jj_alloc(j, cap * sizeof *var);
        if (!var)
            return;
        if (sc->n)
            memcpy(var, sc->var, sc->n * sizeof *var);
        sc->var = var;
        sc->cap = cap;
    }
    sc->var[sc->n++] = (struct br__jj_var){name, v};
}

/* An empty scope inside `parent`: `old` is used again unless a macro refers to it.  NULL after a
 * failure. */
static struct br__jj_scope *fresh_scope(struct br__jj *j, struct br__jj_scope *old,
                                        struct br__jj_scope *parent)
{
    struct br__jj_scope *sc = old && !old->captured ? old : br__jj_alloc(j, sizeof *sc);

    if (!sc)
        return NULL;
    sc->n = 0;
    sc->parent = parent;
    return sc;
}

/* The text of a body in a scope of its own. */
static struct br__jv exec_capture(struct br__jj *j, const struct br__jn *body,
                                  struct br__jj_scope *sc)
{
    struct br__buf text = {.max = j->limits.output}, *out = j->out;
    struct br__jj_scope *outer = j->scope;

    j->out = &text;
    j->scope = sc;
    exec_body(j, body);
    j->scope = outer;
    j->out = out;
    return br__jv_take(j, &text);
}

/* ---- set ------------------------------------------------------------------------------------- */

static void exec_assign(struct br__jj *j, struct br__jj_scope *sc, const struct br__jn *target,
                        struct br__jv v)
{
    const struct br__jv *at;
    size_t n, k = 0;

    if (j->rc)
        return;
    if (target->kind == BR__JN_NAME) {
        br__jj_set_var(j, sc, target->s, v);
    } else if (target->kind == BR__JN_ATTR) {
        const struct br__jv *ns = br__jj_find_var(j, target->a->s);
        if (!ns || ns->kind != BR__JV_NS)
            br__jj_fail(j, BR_E_FORMAT, "'%.60s' is no namespace: its attributes cannot be set",
                        target->a->s);
        else if (target->s[0] == '_')
            br__jj_fail(j, BR_E_FORMAT, "the attribute '%.60s' of a namespace begins with '_'",
                        target->s);
        else
            br__jv_put(j, *ns, br__jv_slice(target->s, target->n), v);
    } else if (br__jv_items(j, v, &at, &n) == BR_OK) {
        for (const struct br__jn *t = target->list; t; t = t->next)
            k++;
        if (k != n)
            br__jj_fail(j, BR_E_FORMAT, "%zu names for %zu values", k, n);
        for (const struct br__jn *t = target->list; t && !j->rc; t = t->next)
            exec_assign(j, sc, t, *at++);
    }
}

static void exec_set_block(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_scope *sc = fresh_scope(j, NULL, j->scope);
    struct br__jv hole = j->hole;

    if (!sc)
        return;
    struct br__jv text = exec_capture(j, n->body, sc);
    j->hole = text;
    struct br__jv v = j->rc ? text : br__jj_eval(j, n->b);
    j->hole = hole;
    if (n->kind == BR__JN_SET_BLOCK)
        exec_assign(j, j->scope, n->a, v);
    else if (!j->rc)
        br__jv_str(j, j->out, v);
}

/* A body in a scope of its own. */
static enum jump exec_in(struct br__jj *j, struct br__jj_scope *sc, const struct br__jn *body)
{
    struct br__jj_scope *outer = j->scope;

    j->scope = sc;
    enum jump jump = exec_body(j, body);
    j->scope = outer;
    return jump;
}

static enum jump exec_with(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_scope *sc = fresh_scope(j, NULL, j->scope);

    for (const struct br__jn *set = n->list; set && !j->rc; set = set->next) {
        struct br__jv v = br__jj_eval(j, set->b); /* a value does not see the other variables */
        exec_assign(j, sc, set->a, v);
    }
    return j->rc ? GO_ON : exec_in(j, sc, n->body);
}

/* ---- macros ---------------------------------------------------------------------------------- */

static struct br__jv make_macro(struct br__jj *j, const struct br__jn *def)
{
    struct br__jj_macro *m = br__jj_alloc(j, sizeof *m);

    if (!m)
        return br__jv_none();
    m->def = def;
    m->scope = j->scope;
    for (struct br__jj_scope *sc = j->scope; sc; sc = sc->parent)
        sc->captured = 1;
    return (struct br__jv){.kind = BR__JV_MACRO, .macro = m};
}

static const char *macro_name(const struct br__jj_macro *m)
{
    return m->def->s ? m->def->s : "caller";
}

/* The keyword argument of that name, marked as used by taking its name away. */
static const struct br__jv *take_kwarg(const struct br__jj_call *c, const char *name)
{
    for (size_t i = 0; i < c->n_kw; i++)
        if (c->kw[i].name && strcmp(c->kw[i].name, name) == 0) {
            c->kw[i].name = NULL;
            return &c->kw[i].v;
        }
    return NULL;
}

/* What the parameters do not take: into `varargs`, `kwargs` and `caller` where the body reads them,
 * else a failure. */
static void bind_rest(struct br__jj *j, const struct br__jj_macro *m, const struct br__jj_call *c,
                      size_t n_params)
{
    struct br__jv kwargs = br__jv_dict(j, BR__JV_DICT), varargs = br__jv_list(j, BR__JF_TUPLE);

    if (m->def->reads & BR__JJ_READS_CALLER) {
        const struct br__jv *caller = take_kwarg(c, "caller");
        br__jj_set_var(j, j->scope, "caller",
                       caller ? *caller : br__jv_undef("caller", 6, BR__JV_KINDS));
    }
    for (size_t i = 0; i < c->n_kw && !j->rc; i++) {
        if (!c->kw[i].name)
            continue;
        if (!(m->def->reads & BR__JJ_READS_KWARGS))
            br__jj_fail(j, BR_E_FORMAT, "macro '%.60s' has no argument '%.60s'", macro_name(m),
                        c->kw[i].name);
        br__jv_put(j, kwargs, br__jv_text(c->kw[i].name), c->kw[i].v);
    }
    if (m->def->reads & BR__JJ_READS_KWARGS)
        br__jj_set_var(j, j->scope, "kwargs", kwargs);
    if (n_params < c->n_pos && !(m->def->reads & BR__JJ_READS_VARARGS))
        br__jj_fail(j, BR_E_FORMAT, "macro '%.60s' takes at most %zu argument(s), got %zu",
                    macro_name(m), n_params, c->n_pos);
    for (size_t i = n_params; i < c->n_pos && !j->rc; i++)
        br__jv_push(j, varargs, c->pos[i]);
    if (m->def->reads & BR__JJ_READS_VARARGS)
        br__jj_set_var(j, j->scope, "varargs", varargs);
}

/* Arguments and defaults into the macro's scope, which is current: defaults see what is before. */
static void bind_params(struct br__jj *j, const struct br__jj_macro *m, const struct br__jj_call *c)
{
    size_t at = 0;

    for (const struct br__jn *p = m->def->list; p && !j->rc; p = p->next) {
        const struct br__jv *kw = at < c->n_pos ? NULL : take_kwarg(c, p->s);
        struct br__jv v = at < c->n_pos ? c->pos[at]
                          : kw          ? *kw
                          : p->a        ? br__jj_eval(j, p->a)
                                        : br__jv_undef(p->s, strlen(p->s), BR__JV_KINDS);
        br__jj_set_var(j, j->scope, p->s, v);
        at++;
    }
    bind_rest(j, m, c, at);
}

struct br__jv br__jj_call_macro(struct br__jj *j, const struct br__jj_macro *m,
                                const struct br__jj_call *c)
{
    struct br__jj_scope *outer = j->scope, *sc = fresh_scope(j, NULL, m->scope);
    struct br__jv text = br__jv_none();

    if (!sc || !br__jj_enter(j))
        return text;
    j->scope = sc;
    bind_params(j, m, c);
    if (!j->rc)
        text = exec_capture(j, m->def->body, sc);
    j->scope = outer;
    br__jj_leave(j);
    return text;
}

/* The call gets the block as its `caller`. */
static void exec_call_block(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_call c = {0};
    struct br__jv f = br__jj_eval(j, n->a->a);

    if (!br__jj_eval_args(j, n->a->list, 1, &c))
        return;
    c.kw[c.n_kw++] = (struct br__jj_kwarg){"caller", make_macro(j, n)};
    br__jv_str(j, j->out, br__jj_call_value(j, f, &c));
}

/* ---- loops ----------------------------------------------------------------------------------- */

/* The elements for which the loop's `if` holds.  It sees the loop's variables, not `loop`. */
static struct br__jv exec_kept(struct br__jj *j, const struct br__jn *n, const struct br__jv *at,
                               size_t count)
{
    struct br__jv list = br__jv_list(j, BR__JF_LIST);
    struct br__jj_scope *outer = j->scope, *sc = NULL;

    for (size_t i = 0; i < count && br__jj_step(j, 1); i++) {
        sc = fresh_scope(j, sc, outer);
        if (!sc)
            break;
        j->scope = sc;
        exec_assign(j, sc, n->a, at[i]);
        if (!j->rc && br__jv_true(br__jj_eval(j, n->c)))
            br__jv_push(j, list, at[i]);
        j->scope = outer;
    }
    return list;
}

/* 1 if a pass reached its end.  Jinja2 runs `else` if none did, even if there were elements. */
static int run_loop(struct br__jj *j, const struct br__jn *n, struct br__jj_loop *loop)
{
    struct br__jj_scope *outer = j->scope, *sc = NULL;
    const struct br__jv var = {.kind = BR__JV_LOOP, .loop = loop};
    enum jump jump = GO_ON;
    int completed = 0;

    for (loop->i = 0; loop->i < loop->n && jump != BREAK && br__jj_step(j, 1); loop->i++) {
        sc = fresh_scope(j, sc, outer);
        if (!sc)
            break;
        j->scope = sc;
        br__jj_set_var(j, sc, "loop", var);
        exec_assign(j, sc, n->a, loop->at[loop->i]);
        jump = exec_body(j, n->body);
        completed |= jump == GO_ON;
        j->scope = outer;
    }
    return completed;
}

/* The `else` of a loop; a break in it is one of the enclosing loop. */
static enum jump exec_else(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_scope *sc = fresh_scope(j, NULL, j->scope);

    return n->els && sc ? exec_in(j, sc, n->els) : GO_ON;
}

static enum jump exec_for(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_loop *loop;
    const struct br__jv *at;
    size_t count;

    if (br__jv_items(j, br__jj_eval(j, n->b), &at, &count))
        return GO_ON;
    if (n->c) {
        struct br__jv list = exec_kept(j, n, at, count);
        if (j->rc)
            return GO_ON;
        at = list.list->at;
        count = list.list->n;
    }
    loop = br__jj_alloc(j, sizeof *loop);
    if (!loop)
        return GO_ON;
    loop->at = at;
    loop->n = count;
    return run_loop(j, n, loop) ? GO_ON : exec_else(j, n);
}

/* ---- generation ------------------------------------------------------------------------------ */

/* The text from `begin` on is the assistant's.  Where a macro or another block collects text its
 * place is not known yet, and transformers notes a wrong one. */
static void add_span(struct br__jj *j, size_t begin)
{
    if (j->out != j->whole)
        br__jj_fail(j, BR_E_UNSUPPORTED,
                    "where the text of a 'generation' block inside of a macro or "
                    "of a block that collects text goes is not known");
    if (j->n_span == j->cap_span && !j->rc) {
        size_t cap = j->cap_span ? 2 * j->cap_span : 8;
        struct br__jj_span *span = br__jj_alloc(j, cap * sizeof *span);
        if (span && j->n_span)
            memcpy(span, j->span, j->n_span * sizeof *span);
        j->span = span;
        j->cap_span = cap;
    }
    if (!j->rc)
        j->span[j->n_span++] = (struct br__jj_span){begin, j->out->n};
}

static void exec_generation(struct br__jj *j, const struct br__jn *n)
{
    struct br__jj_scope *sc = fresh_scope(j, NULL, j->scope);
    size_t begin = j->out->n;

    if (!sc)
        return;
    br__jv_str(j, j->out, exec_capture(j, n->body, sc));
    if (j->spans_wanted)
        add_span(j, begin);
}

/* ---- statements ------------------------------------------------------------------------------ */

static enum jump exec_if(struct br__jj *j, const struct br__jn *n)
{
    for (const struct br__jn *b = n->list; b && !j->rc; b = b->next)
        if (!b->a || br__jv_true(br__jj_eval(j, b->a)))
            return exec_body(j, b->body);
    return GO_ON;
}

static enum jump exec_node(struct br__jj *j, const struct br__jn *n)
{
    switch (n->kind) {
    case BR__JN_TEXT:
        br__buf_put(j->out, n->s, n->n);
        return GO_ON;
    case BR__JN_PRINT:
        br__jv_str(j, j->out, br__jj_eval(j, n->a));
        return GO_ON;
    case BR__JN_FOR:
        return exec_for(j, n);
    case BR__JN_IF:
        return exec_if(j, n);
    case BR__JN_SET:
        exec_assign(j, j->scope, n->a, br__jj_eval(j, n->b));
        return GO_ON;
    case BR__JN_SET_BLOCK:
    case BR__JN_FILTER_BLOCK:
        exec_set_block(j, n);
        return GO_ON;
    case BR__JN_MACRO:
        br__jj_set_var(j, j->scope, n->s, make_macro(j, n));
        return GO_ON;
    case BR__JN_CALL_BLOCK:
        exec_call_block(j, n);
        return GO_ON;
    case BR__JN_WITH:
        return exec_with(j, n);
    case BR__JN_GENERATION:
        exec_generation(j, n);
        return GO_ON;
    case BR__JN_BREAK:
        return BREAK;
    case BR__JN_CONTINUE:
        return CONTINUE;
    default:
        BR_BUG("node %d is no statement", n->kind);
    }
}

static enum jump exec_body(struct br__jj *j, const struct br__jn *body)
{
    enum jump jump = GO_ON;

    if (!br__jj_enter(j))
        return GO_ON;
    for (const struct br__jn *n = body; n && jump == GO_ON && br__jj_step(j, 1); n = n->next) {
        j->line = n->line;
        jump = exec_node(j, n);
        if (j->out->failed)
            br__jj_fail(j, j->out->failed, "a text of more than %zu bytes", j->limits.output);
    }
    br__jj_leave(j);
    return jump;
}

/* ---- a run ----------------------------------------------------------------------------------- */

void br__jj_begin(struct br__jj *j, const struct br__jj_template *t,
                  const struct br__jj_limits *limits, struct br_err *err)
{
    *j = (struct br__jj){.tmpl = t, .limits = *limits, .line = 1, .err = err};
    j->scope = &j->top;
}

void br__jj_define(struct br__jj *j, const char *name, struct br__jv v)
{
    br__jj_set_var(j, &j->top, name, v);
}

int br__jj_run(struct br__jj *j, char **text, size_t *n)
{
    struct br__buf out = {.max = j->limits.output};

    *text = NULL;
    *n = 0;
    br__buf_put(&out, "", 0);
    j->out = j->whole = &out;
    if (!j->rc)
        exec_body(j, br__jj_template_body(j->tmpl));
    j->out = NULL;
    if (!j->rc && out.failed)
        br__jj_fail(j, out.failed, "out of memory");
    if (j->rc) {
        br__buf_free(&out);
        return j->rc;
    }
    *text = out.p;
    *n = out.n;
    return BR_OK;
}

void br__jj_end(struct br__jj *j)
{
    br__arena_free(&j->arena);
}
