/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parse.c - tokens to statements, and the template that holds the tree. */
#include "jinja.h"

#include <string.h>

struct br__jj_template {
    struct br__arena arena;
    const char *source;
    struct br__jn *body;
};

static struct br__jn *parse_statements(struct br__jj_parser *p, const char *const *ends);

/* "{% end... %}" at the cursor: index of its word in `ends`, or -1. */
static int end_word(struct br__jj_parser *p, const char *const *ends)
{
    const struct br__jj_tok *t = br__jj_cur(p);

    if (t->kind != BR__JT_BLOCK_BEGIN || t[1].kind != BR__JT_NAME)
        return -1;
    for (int i = 0; ends[i]; i++)
        if (strcmp(t[1].s, ends[i]) == 0)
            return i;
    return -1;
}

static void want_block_end(struct br__jj_parser *p)
{
    if (br__jj_cur(p)->kind == BR__JT_BLOCK_END)
        p->at++;
    else
        br__jj_unexpected(p, "'%}'");
}

/* What a tag encloses, up to one of `ends` (steps over "{%" and the word); *which may be NULL. */
static struct br__jn *parse_body(struct br__jj_parser *p, const char *const *ends, int *which)
{
    uint32_t line = br__jj_cur(p)->line;
    want_block_end(p);
    struct br__jn *first = parse_statements(p, ends);
    int i = p->rc ? 0 : end_word(p, ends);

    if (i < 0)
        br__jj_syntax(p, BR_E_FORMAT, "'%s' is missing for the tag of line %u", ends[0], line);
    else if (!p->rc)
        p->at += 2;
    if (which)
        *which = i;
    return p->rc ? NULL : first;
}

static struct br__jn *body_to(struct br__jj_parser *p, const char *end)
{
    const char *const ends[] = {end, NULL};
    return parse_body(p, ends, NULL);
}

/* A body whose text goes elsewhere: it is no part of the loop around it. */
static struct br__jn *body_of_text(struct br__jj_parser *p, const char *end)
{
    int loops = p->loops;

    p->loops = 0;
    struct br__jn *enclosed = body_to(p, end);
    p->loops = loops;
    return enclosed;
}

/* ---- tags ------------------------------------------------------------------------------------ */

static void parse_for(struct br__jj_parser *p, struct br__jn *n)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    int which;

    n->a = br__jj_parse_target(p, 0);
    if (!br__jj_skip_word(p, "in"))
        br__jj_unexpected(p, "'in'");
    n->b = br__jj_parse_tuple(p, 1);
    if (br__jj_skip_word(p, "if"))
        n->c = br__jj_parse_expr(p);
    if (br__jj_is_word(p, "recursive"))
        br__jj_syntax(p, BR_E_UNSUPPORTED, "recursive loops are not supported");
    p->loops++;
    n->body = parse_body(p, ends, &which);
    p->loops--;
    if (!p->rc && which == 1)
        n->els = body_to(p, "endfor");
}

static void parse_if(struct br__jj_parser *p, struct br__jn *n)
{
    static const char *const ends[] = {"endif", "else", "elif", NULL};
    static const char *const last[] = {"endif", NULL};
    struct br__jn **tail = &n->list;
    int which = 2;

    while (!p->rc && which) {
        struct br__jn *branch = br__jj_node(p, BR__JN_BRANCH);
        struct br__jn *cond = which == 2 ? br__jj_parse_tuple(p, 1) : NULL;
        struct br__jn *enclosed = parse_body(p, which == 2 ? ends : last, &which);
        if (p->rc)
            return;
        *tail = branch;
        tail = &branch->next;
        branch->a = cond;
        branch->body = enclosed;
    }
}

static void parse_set(struct br__jj_parser *p, struct br__jn *n)
{
    n->a = br__jj_parse_target(p, 1);
    if (br__jj_skip_op(p, "=")) {
        n->b = br__jj_parse_tuple(p, 0);
        return;
    }
    struct br__jn *hole = br__jj_node(p, BR__JN_HOLE);
    if (p->rc)
        return;
    n->kind = BR__JN_SET_BLOCK;
    n->b = br__jj_parse_filters(p, hole, 0);
    n->body = body_of_text(p, "endset");
}

/* (a, b=1) */
static struct br__jn *parse_params(struct br__jj_parser *p)
{
    struct br__jn *first = NULL, **tail = &first;

    br__jj_want_op(p, "(");
    while (!p->rc && !br__jj_is_op(p, ")")) {
        struct br__jn *n = br__jj_node(p, BR__JN_PARAM);
        const char *name = br__jj_want_name(p);
        struct br__jn *dflt = br__jj_skip_op(p, "=") ? br__jj_parse_expr(p) : NULL;
        if (p->rc)
            break;
        n->s = name;
        n->a = dflt;
        *tail = n;
        tail = &n->next;
        if (!br__jj_skip_op(p, ","))
            break;
    }
    br__jj_want_op(p, ")");
    return p->rc ? NULL : first;
}

static unsigned reads_of(const char *name)
{
    return strcmp(name, "caller") == 0    ? BR__JJ_READS_CALLER
           : strcmp(name, "kwargs") == 0  ? BR__JJ_READS_KWARGS
           : strcmp(name, "varargs") == 0 ? BR__JJ_READS_VARARGS
                                          : 0;
}

/* The body of a macro, and which of the special names it reads that are no parameters; the
 * enclosing macro counts as reading them, too. */
static void parse_macro_body(struct br__jj_parser *p, struct br__jn *n, const char *end)
{
    unsigned before = p->reads;

    p->reads = 0;
    struct br__jn *enclosed = body_of_text(p, end);
    if (p->rc)
        return;
    n->body = enclosed;
    n->reads = (uint8_t)p->reads;
    for (const struct br__jn *param = n->list; param; param = param->next)
        n->reads &= (uint8_t)~reads_of(param->s);
    p->reads |= before;
}

static void parse_macro(struct br__jj_parser *p, struct br__jn *n)
{
    n->s = br__jj_want_name(p);
    n->list = parse_params(p);
    parse_macro_body(p, n, "endmacro");
}

static void parse_call(struct br__jj_parser *p, struct br__jn *n)
{
    if (br__jj_is_op(p, "("))
        n->list = parse_params(p);
    n->a = br__jj_parse_expr(p);
    if (!p->rc && n->a->kind != BR__JN_CALL)
        br__jj_syntax(p, BR_E_FORMAT, "'call' needs the call of a macro");
    parse_macro_body(p, n, "endcall");
}

static void parse_filter(struct br__jj_parser *p, struct br__jn *n)
{
    struct br__jn *hole = br__jj_node(p, BR__JN_HOLE);

    if (p->rc)
        return;
    n->b = br__jj_parse_filters(p, hole, 1);
    n->body = body_of_text(p, "endfilter");
}

static void parse_with(struct br__jj_parser *p, struct br__jn *n)
{
    struct br__jn **tail = &n->list;

    while (!p->rc && br__jj_cur(p)->kind != BR__JT_BLOCK_END) {
        struct br__jn *set = br__jj_node(p, BR__JN_SET);
        struct br__jn *target = br__jj_parse_target(p, 0);
        br__jj_want_op(p, "=");
        struct br__jn *value = br__jj_parse_expr(p);
        if (p->rc)
            return;
        set->a = target;
        set->b = value;
        *tail = set;
        tail = &set->next;
        if (!br__jj_skip_op(p, ","))
            break;
    }
    n->body = body_to(p, "endwith");
}

static void parse_generation(struct br__jj_parser *p, struct br__jn *n)
{
    n->body = body_of_text(p, "endgeneration");
}

static void parse_print(struct br__jj_parser *p, struct br__jn *n)
{
    n->a = br__jj_parse_tuple(p, 0);
}

static void parse_jump(struct br__jj_parser *p, struct br__jn *n)
{
    if (!p->loops)
        br__jj_syntax(p, BR_E_FORMAT, "'%s' outside of a loop",
                      n->kind == BR__JN_BREAK ? "break" : "continue");
}

static const struct {
    const char *word;
    int kind;
    void (*parse)(struct br__jj_parser *p, struct br__jn *n); /* NULL: not supported */
} tags[] = {
    {"for", BR__JN_FOR, parse_for},
    {"if", BR__JN_IF, parse_if},
    {"set", BR__JN_SET, parse_set},
    {"macro", BR__JN_MACRO, parse_macro},
    {"call", BR__JN_CALL_BLOCK, parse_call},
    {"filter", BR__JN_FILTER_BLOCK, parse_filter},
    {"with", BR__JN_WITH, parse_with},
    {"generation", BR__JN_GENERATION, parse_generation},
    {"print", BR__JN_PRINT, parse_print},
    {"break", BR__JN_BREAK, parse_jump},
    {"continue", BR__JN_CONTINUE, parse_jump},
    {"autoescape", 0, NULL},
    {"block", 0, NULL},
    {"extends", 0, NULL},
    {"from", 0, NULL},
    {"import", 0, NULL},
    {"include", 0, NULL},
};

static struct br__jn *parse_tag(struct br__jj_parser *p)
{
    uint32_t line = br__jj_cur(p)->line;

    p->at++;
    const struct br__jj_tok *t = br__jj_cur(p);
    for (size_t i = 0; t->kind == BR__JT_NAME && i < BR_COUNTOF(tags); i++) {
        if (strcmp(t->s, tags[i].word) != 0)
            continue;
        if (!tags[i].parse)
            return br__jj_syntax(p, BR_E_UNSUPPORTED, "the tag '%s' is not supported", t->s);
        struct br__jn *n = br__jj_node(p, tags[i].kind);
        if (p->rc)
            return n;
        n->line = line;
        p->at++;
        tags[i].parse(p, n);
        want_block_end(p);
        return n;
    }
    if (t->kind != BR__JT_NAME)
        return br__jj_unexpected(p, "the name of a tag");
    return br__jj_syntax(p, BR_E_FORMAT, "unknown tag '%.60s'", t->s);
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static struct br__jn *parse_output(struct br__jj_parser *p)
{
    p->at++;
    struct br__jn *n = br__jj_node(p, BR__JN_PRINT), *value = br__jj_parse_tuple(p, 0);

    if (p->rc)
        return n;
    n->a = value;
    if (br__jj_cur(p)->kind != BR__JT_VAR_END)
        return br__jj_unexpected(p, "'}}'");
    p->at++;
    return n;
}

static struct br__jn *parse_text(struct br__jj_parser *p)
{
    const struct br__jj_tok *t = br__jj_cur(p);
    struct br__jn *n = br__jj_node(p, BR__JN_TEXT);

    if (p->rc)
        return n;
    n->s = t->s;
    n->n = t->n;
    p->at++;
    return n;
}

/* Statements up to one of `ends` or the end of the text; the cursor stays on it. */
static struct br__jn *parse_statements(struct br__jj_parser *p, const char *const *ends)
{
    struct br__jn *first = NULL, **tail = &first;

    if (++p->depth > BR__JJ_PARSE_DEPTH)
        return br__jj_syntax(p, BR_E_UNSUPPORTED, "nested deeper than %d levels",
                             BR__JJ_PARSE_DEPTH);
    while (br__jj_cur(p)->kind != BR__JT_EOF && end_word(p, ends) < 0) {
        int kind = br__jj_cur(p)->kind;
        struct br__jn *n = kind == BR__JT_DATA        ? parse_text(p)
                           : kind == BR__JT_VAR_BEGIN ? parse_output(p)
                                                      : parse_tag(p);
        if (p->rc)
            return NULL;
        *tail = n;
        tail = &n->next;
    }
    p->depth--;
    return first;
}

int br__jj_compile(struct br__jj_template **out, const char *src, size_t n, struct br_err *err)
{
    static const char *const none[] = {NULL};
    struct br__jj_template *t = br__calloc(1, sizeof *t);
    struct br__jj_tok *tok = NULL;
    size_t n_tok;

    *out = NULL;
    if (!t)
        return br__nomem(err, "reading a template");
    t->source = br__arena_strndup(&t->arena, src, n);
    int rc = t->source ? br__jj_lex(&t->arena, src, n, &tok, &n_tok, err)
                       : br__nomem(err, "reading a template");
    if (!rc) {
        struct br__jj_parser p = {.arena = &t->arena, .tok = tok, .err = err};
        t->body = parse_statements(&p, none);
        rc = p.rc;
    }
    br__free(tok);
    if (rc)
        br__jj_template_free(t);
    else
        *out = t;
    return rc;
}

void br__jj_template_free(struct br__jj_template *t)
{
    if (!t)
        return;
    br__arena_free(&t->arena);
    br__free(t);
}

const struct br__jn *br__jj_template_body(const struct br__jj_template *t)
{
    return t->body;
}

const char *br__jj_template_source(const struct br__jj_template *t)
{
    return t->source;
}
