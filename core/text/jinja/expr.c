/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* expr.c - tokens to expressions, by Jinja2's precedence:
 *
 *   a if b else c < or < and < not < comparisons < + - < ~ < * / // % < ** < sign < . [] () | is
 *
 * `**` groups to the left, comparisons chain as in Python, and a filter or test binds to the
 * operand with its sign. */
#include "jinja.h"

#include <string.h>

/* ---- the parser's small tools ---------------------------------------------------------------- */

const struct br__jj_tok *br__jj_cur(struct br__jj_parser *p)
{
    static const struct br__jj_tok end = {.kind = BR__JT_EOF};
    return p->rc ? &end : &p->tok[p->at];
}

struct br__jn *br__jj_syntax(struct br__jj_parser *p, int code, const char *fmt, ...)
{
    static struct br__jn none; /* never written: everything stops at the failure */
    char text[400];
    va_list ap;

    if (!p->rc) {
        va_start(ap, fmt);
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        p->rc = br_fail(p->err, code, "line %u: %s", p->tok[p->at].line, text);
    }
    return &none;
}

static const char *tok_text(const struct br__jj_tok *t)
{
    static const char *const names[] = {
        [BR__JT_EOF] = "the end of the template",
        [BR__JT_DATA] = "text",
        [BR__JT_VAR_BEGIN] = "{{",
        [BR__JT_VAR_END] = "}}",
        [BR__JT_BLOCK_BEGIN] = "{%",
        [BR__JT_BLOCK_END] = "%}",
        [BR__JT_STR] = "a string",
        [BR__JT_INT] = "a number",
        [BR__JT_FLOAT] = "a number",
    };
    return t->kind == BR__JT_NAME || t->kind == BR__JT_OP ? t->s : names[t->kind];
}

struct br__jn *br__jj_unexpected(struct br__jj_parser *p, const char *expected)
{
    return br__jj_syntax(p, BR_E_FORMAT, "found '%.60s', expected %s", tok_text(br__jj_cur(p)),
                         expected);
}

struct br__jn *br__jj_node(struct br__jj_parser *p, int kind)
{
    struct br__jn *n = p->rc ? NULL : br__arena_alloc(p->arena, sizeof *n);

    if (!n)
        return br__jj_syntax(p, BR_E_NOMEM, "out of memory reading a template");
    n->kind = (uint8_t)kind;
    n->line = br__jj_cur(p)->line;
    return n;
}

int br__jj_is_op(struct br__jj_parser *p, const char *op)
{
    const struct br__jj_tok *t = br__jj_cur(p);
    return t->kind == BR__JT_OP && strcmp(t->s, op) == 0;
}

int br__jj_is_word(struct br__jj_parser *p, const char *word)
{
    const struct br__jj_tok *t = br__jj_cur(p);
    return t->kind == BR__JT_NAME && strcmp(t->s, word) == 0;
}

int br__jj_skip_op(struct br__jj_parser *p, const char *op)
{
    int there = br__jj_is_op(p, op);
    p->at += (size_t)there;
    return there;
}

int br__jj_skip_word(struct br__jj_parser *p, const char *word)
{
    int there = br__jj_is_word(p, word);
    p->at += (size_t)there;
    return there;
}

void br__jj_want_op(struct br__jj_parser *p, const char *op)
{
    char quoted[8];

    if (br__jj_skip_op(p, op))
        return;
    snprintf(quoted, sizeof quoted, "'%s'", op);
    br__jj_unexpected(p, quoted);
}

const char *br__jj_want_name(struct br__jj_parser *p)
{
    const struct br__jj_tok *t = br__jj_cur(p);

    if (t->kind != BR__JT_NAME) {
        br__jj_unexpected(p, "a name");
        return "";
    }
    p->at++;
    return t->s;
}

/* A node for operator s over a and b. */
static struct br__jn *parse_join(struct br__jj_parser *p, int kind, const char *s, struct br__jn *a,
                                 struct br__jn *b)
{
    struct br__jn *n = br__jj_node(p, kind);

    if (p->rc)
        return n;
    n->s = s;
    n->n = s ? strlen(s) : 0;
    n->a = a;
    n->b = b;
    n->line = a ? a->line : n->line;
    return n;
}

/* Nested text is followed by recursion: its depth is limited. */
static int parse_deeper(struct br__jj_parser *p)
{
    if (++p->depth > BR__JJ_PARSE_DEPTH)
        br__jj_syntax(p, BR_E_UNSUPPORTED, "nested deeper than %d levels", BR__JJ_PARSE_DEPTH);
    return !p->rc;
}

/* ---- arguments, filters, tests --------------------------------------------------------------- */

static struct br__jn *parse_argument(struct br__jj_parser *p)
{
    if (br__jj_is_op(p, "*") || br__jj_is_op(p, "**"))
        return br__jj_syntax(p, BR_E_UNSUPPORTED, "'*' and '**' in a call are not supported");
    const struct br__jj_tok *t = br__jj_cur(p);
    if (t->kind == BR__JT_NAME && p->tok[p->at + 1].kind == BR__JT_OP &&
        strcmp(p->tok[p->at + 1].s, "=") == 0) {
        p->at += 2;
        return parse_join(p, BR__JN_KWARG, t->s, br__jj_parse_expr(p), NULL);
    }
    return br__jj_parse_expr(p);
}

/* Elements up to `close`; the opening bracket is behind us. */
static struct br__jn *parse_elements(struct br__jj_parser *p, const char *close,
                                     struct br__jn *(*one)(struct br__jj_parser *))
{
    struct br__jn *first = NULL, **tail = &first;

    while (!p->rc && !br__jj_is_op(p, close)) {
        if (first)
            br__jj_want_op(p, ",");
        if (br__jj_is_op(p, close))
            break;
        struct br__jn *n = one(p);
        if (p->rc)
            break;
        *tail = n;
        tail = &n->next;
    }
    br__jj_want_op(p, close);
    return first;
}

static struct br__jn *parse_arguments(struct br__jj_parser *p)
{
    return br__jj_skip_op(p, "(") ? parse_elements(p, ")", parse_argument) : NULL;
}

/* The name of a filter or test; it may have dots. */
static const char *dotted_name(struct br__jj_parser *p)
{
    const char *name = br__jj_want_name(p);

    while (br__jj_skip_op(p, ".")) {
        name = br__arena_printf(p->arena, "%s.%s", name, br__jj_want_name(p));
        if (!name) {
            br__jj_syntax(p, BR_E_NOMEM, "out of memory reading a template");
            name = "";
        }
    }
    return name;
}

struct br__jn *br__jj_parse_filters(struct br__jj_parser *p, struct br__jn *of, int bare)
{
    while (!p->rc && (bare || br__jj_skip_op(p, "|"))) {
        struct br__jn *n = parse_join(p, BR__JN_FILTER, dotted_name(p), of, NULL);
        struct br__jn *args = parse_arguments(p);
        if (p->rc)
            return n;
        n->list = args;
        of = n;
        bare = 0;
    }
    return of;
}

static struct br__jn *parse_primary(struct br__jj_parser *p);

/* `is divisibleby 3`: one operand may follow a test without parentheses. */
static int operand_follows(struct br__jj_parser *p)
{
    switch (br__jj_cur(p)->kind) {
    case BR__JT_NAME:
        return !br__jj_is_word(p, "else") && !br__jj_is_word(p, "or") && !br__jj_is_word(p, "and");
    case BR__JT_STR:
    case BR__JT_INT:
    case BR__JT_FLOAT:
        return 1;
    default:
        return br__jj_is_op(p, "[") || br__jj_is_op(p, "{");
    }
}

static struct br__jn *parse_test(struct br__jj_parser *p, struct br__jn *of)
{
    int negated = br__jj_skip_word(p, "not");
    struct br__jn *n = parse_join(p, BR__JN_TEST, dotted_name(p), of, NULL), *args = NULL;

    if (br__jj_is_op(p, "(")) {
        args = parse_arguments(p);
    } else if (operand_follows(p)) {
        if (br__jj_is_word(p, "is"))
            return br__jj_syntax(p, BR_E_FORMAT, "'is' after a test: put one in parentheses");
        args = br__jj_parse_postfix(p, parse_primary(p));
    }
    if (p->rc)
        return n;
    n->list = args;
    return negated ? parse_join(p, BR__JN_NOT, NULL, n, NULL) : n;
}

/* ---- what follows an operand ----------------------------------------------------------------- */

/* a[b], a[b:c:d], a[b, c] */
static struct br__jn *parse_subscript(struct br__jj_parser *p)
{
    struct br__jn *part[3] = {NULL, NULL, NULL};
    int n = 0, colons = 0;

    while (!p->rc && !br__jj_is_op(p, "]") && !br__jj_is_op(p, ",")) {
        if (br__jj_skip_op(p, ":")) {
            if (++colons > 2)
                return br__jj_unexpected(p, "']'");
            n = colons;
        } else {
            if (part[n])
                return br__jj_unexpected(p, "']'");
            part[n] = br__jj_parse_expr(p);
        }
    }
    if (br__jj_is_op(p, ","))
        return br__jj_syntax(p, BR_E_UNSUPPORTED, "several subscripts in one are not supported");
    br__jj_want_op(p, "]");
    if (!colons)
        return part[0] ? part[0] : br__jj_unexpected(p, "a subscript");
    struct br__jn *s = br__jj_node(p, BR__JN_SLICE);
    if (p->rc)
        return s;
    s->a = part[0];
    s->b = part[1];
    s->c = part[2];
    return s;
}

static struct br__jn *after_dot(struct br__jj_parser *p, struct br__jn *of)
{
    const struct br__jj_tok *t = br__jj_cur(p);

    if (t->kind == BR__JT_INT) {
        struct br__jn *index = br__jj_node(p, BR__JN_CONST);
        if (p->rc)
            return index;
        index->val = br__jv_int(t->i);
        p->at++;
        return parse_join(p, BR__JN_ITEM, NULL, of, index);
    }
    return parse_join(p, BR__JN_ATTR, br__jj_want_name(p), of, NULL);
}

/* Attributes, subscripts and calls.  They are read in a loop, but run by recursion. */
struct br__jn *br__jj_parse_postfix(struct br__jj_parser *p, struct br__jn *n)
{
    while (!p->rc) {
        if (br__jj_skip_op(p, ".")) {
            n = after_dot(p, n);
        } else if (br__jj_skip_op(p, "[")) {
            struct br__jn *key = parse_subscript(p);
            n = parse_join(p, BR__JN_ITEM, NULL, n, key);
        } else if (br__jj_is_op(p, "(")) {
            struct br__jn *call = parse_join(p, BR__JN_CALL, NULL, n, NULL),
                          *args = parse_arguments(p);
            if (p->rc)
                return call;
            call->list = args;
            n = call;
        } else {
            break;
        }
    }
    return n;
}

static struct br__jn *filters_and_tests(struct br__jj_parser *p, struct br__jn *n)
{
    while (!p->rc) {
        if (br__jj_is_op(p, "|"))
            n = br__jj_parse_filters(p, n, 0);
        else if (br__jj_skip_word(p, "is"))
            n = parse_test(p, n);
        else if (br__jj_is_op(p, "("))
            n = br__jj_parse_postfix(p, n);
        else
            break;
    }
    return n;
}

/* ---- operands -------------------------------------------------------------------------------- */

static struct br__jn *parse_constant(struct br__jj_parser *p, struct br__jv v)
{
    struct br__jn *n = br__jj_node(p, BR__JN_CONST);

    if (!p->rc)
        n->val = v;
    return n;
}

static struct br__jn *parse_name(struct br__jj_parser *p)
{
    static const struct {
        const char *word;
        uint8_t kind, value;
    } words[] = {
        {"true", BR__JV_BOOL, 1},  {"True", BR__JV_BOOL, 1}, {"false", BR__JV_BOOL, 0},
        {"False", BR__JV_BOOL, 0}, {"none", BR__JV_NONE, 0}, {"None", BR__JV_NONE, 0},
    };
    const char *s = br__jj_want_name(p);

    for (size_t i = 0; i < BR_COUNTOF(words); i++)
        if (strcmp(s, words[i].word) == 0)
            return parse_constant(p, (struct br__jv){.kind = words[i].kind, .i = words[i].value});
    p->reads |= strcmp(s, "caller") == 0    ? BR__JJ_READS_CALLER
                : strcmp(s, "kwargs") == 0  ? BR__JJ_READS_KWARGS
                : strcmp(s, "varargs") == 0 ? BR__JJ_READS_VARARGS
                                            : 0u;
    return parse_join(p, BR__JN_NAME, s, NULL, NULL);
}

/* Adjacent strings are one. */
static struct br__jn *parse_strings(struct br__jj_parser *p)
{
    struct br__buf b = {0};

    for (; br__jj_cur(p)->kind == BR__JT_STR; p->at++)
        br__buf_put(&b, br__jj_cur(p)->s, br__jj_cur(p)->n);
    const char *s = b.failed ? NULL : br__arena_strndup(p->arena, b.p ? b.p : "", b.n);
    struct br__jn *n = s ? parse_constant(p, br__jv_slice(s, b.n))
                         : br__jj_syntax(p, BR_E_NOMEM, "out of memory reading a string");
    br__buf_free(&b);
    return n;
}

/* key: value, as two elements */
static struct br__jn *parse_pairs(struct br__jj_parser *p)
{
    struct br__jn *first = NULL, **tail = &first;

    while (!p->rc && !br__jj_is_op(p, "}")) {
        if (first)
            br__jj_want_op(p, ",");
        if (br__jj_is_op(p, "}"))
            break;
        struct br__jn *key = br__jj_parse_expr(p);
        br__jj_want_op(p, ":");
        struct br__jn *value = br__jj_parse_expr(p);
        if (p->rc)
            break;
        *tail = key;
        key->next = value;
        tail = &value->next;
    }
    br__jj_want_op(p, "}");
    return first;
}

static struct br__jn *parse_display(struct br__jj_parser *p, int kind)
{
    struct br__jn *n = br__jj_node(p, kind);
    struct br__jn *list =
        kind == BR__JN_DICT ? parse_pairs(p) : parse_elements(p, "]", br__jj_parse_expr);

    if (!p->rc)
        n->list = list;
    return n;
}

static struct br__jn *parse_parenthesised(struct br__jj_parser *p)
{
    if (br__jj_is_op(p, ")")) {
        p->at++;
        return br__jj_node(p, BR__JN_TUPLE);
    }
    struct br__jn *n = br__jj_parse_tuple(p, 0);
    br__jj_want_op(p, ")");
    return n;
}

static struct br__jn *parse_primary(struct br__jj_parser *p)
{
    const struct br__jj_tok *t = br__jj_cur(p);

    switch (t->kind) {
    case BR__JT_NAME:
        return parse_name(p);
    case BR__JT_STR:
        return parse_strings(p);
    case BR__JT_INT:
        p->at++;
        return parse_constant(p, br__jv_int(t->i));
    case BR__JT_FLOAT:
        p->at++;
        return parse_constant(p, br__jv_float(t->f));
    default:
        if (br__jj_skip_op(p, "("))
            return parse_parenthesised(p);
        if (br__jj_skip_op(p, "["))
            return parse_display(p, BR__JN_LIST);
        if (br__jj_skip_op(p, "{"))
            return parse_display(p, BR__JN_DICT);
        return br__jj_unexpected(p, "an expression");
    }
}

/* ---- operators ------------------------------------------------------------------------------- */

static struct br__jn *parse_unary(struct br__jj_parser *p, int filters)
{
    struct br__jn *n;
    int kind = br__jj_is_op(p, "-") ? BR__JN_NEG : br__jj_is_op(p, "+") ? BR__JN_POS : 0;

    if (!parse_deeper(p))
        return NULL;
    if (kind) {
        p->at++;
        n = parse_join(p, kind, NULL, parse_unary(p, 0), NULL);
    } else {
        n = parse_primary(p);
    }
    n = br__jj_parse_postfix(p, n);
    p->depth--;
    return filters ? filters_and_tests(p, n) : n;
}

/* Binary operators that group to the left, from the tightest: each level's operands are of the
 * level before it. */
#define LEVELS 4
static const char *const binary_ops[LEVELS][4] = {
    {"**"},
    {"*", "/", "//", "%"},
    {"~"},
    {"+", "-"},
};

static const char *op_of(struct br__jj_parser *p, int level)
{
    for (size_t i = 0; i < BR_COUNTOF(binary_ops[0]) && binary_ops[level][i]; i++)
        if (br__jj_is_op(p, binary_ops[level][i]))
            return binary_ops[level][i];
    return NULL;
}

/* a ~ b ~ c is one node: its operands become strings once. */
static struct br__jn *parse_concat(struct br__jj_parser *p, struct br__jn *first)
{
    struct br__jn *n = parse_join(p, BR__JN_CONCAT, NULL, first, NULL);

    if (p->rc)
        return n;
    n->a = NULL;
    n->list = first;
    return n;
}

static struct br__jn *parse_binary(struct br__jj_parser *p, int level)
{
    struct br__jn *n = level ? parse_binary(p, level - 1) : parse_unary(p, 1), *last = n;
    const char *op;

    while (!p->rc && (op = op_of(p, level)) != NULL) {
        p->at++;
        struct br__jn *right = level ? parse_binary(p, level - 1) : parse_unary(p, 1);
        if (strcmp(op, "~") != 0) {
            n = parse_join(p, BR__JN_BINARY, op, n, right);
            continue;
        }
        if (n == last)
            n = parse_concat(p, n);
        if (p->rc)
            break;
        last->next = right;
        last = right;
    }
    return n;
}

/* The comparison operator here, stepped over; NULL if there is none. */
static const char *parse_comparison(struct br__jj_parser *p)
{
    static const char *const ops[] = {"==", "!=", "<=", ">=", "<", ">"};

    for (size_t i = 0; i < BR_COUNTOF(ops); i++)
        if (br__jj_skip_op(p, ops[i]))
            return ops[i];
    if (br__jj_skip_word(p, "in"))
        return "in";
    const struct br__jj_tok *t = br__jj_cur(p);
    if (br__jj_is_word(p, "not") && t[1].kind == BR__JT_NAME && strcmp(t[1].s, "in") == 0) {
        p->at += 2;
        return "not in";
    }
    return NULL;
}

static struct br__jn *parse_compare(struct br__jj_parser *p)
{
    struct br__jn *n = parse_binary(p, LEVELS - 1), **tail = NULL;
    const char *op;

    while (!p->rc && (op = parse_comparison(p)) != NULL) {
        struct br__jn *operand =
            parse_join(p, BR__JN_OPERAND, op, parse_binary(p, LEVELS - 1), NULL);
        if (!tail) {
            n = parse_join(p, BR__JN_COMPARE, NULL, n, NULL);
            tail = &n->list;
        }
        if (p->rc)
            break;
        *tail = operand;
        tail = &operand->next;
    }
    return n;
}

static struct br__jn *parse_negation(struct br__jj_parser *p)
{
    if (!br__jj_is_word(p, "not"))
        return parse_compare(p);
    if (!parse_deeper(p))
        return NULL;
    p->at++;
    struct br__jn *n = parse_join(p, BR__JN_NOT, NULL, parse_negation(p), NULL);
    p->depth--;
    return n;
}

static struct br__jn *parse_conjunction(struct br__jj_parser *p)
{
    struct br__jn *n = parse_negation(p);

    while (!p->rc && br__jj_skip_word(p, "and")) {
        struct br__jn *right = parse_negation(p);
        n = parse_join(p, BR__JN_AND, NULL, n, right);
    }
    return n;
}

struct br__jn *br__jj_parse_plain(struct br__jj_parser *p)
{
    struct br__jn *n = parse_conjunction(p);

    while (!p->rc && br__jj_skip_word(p, "or")) {
        struct br__jn *right = parse_conjunction(p);
        n = parse_join(p, BR__JN_OR, NULL, n, right);
    }
    return n;
}

struct br__jn *br__jj_parse_expr(struct br__jj_parser *p)
{
    if (!parse_deeper(p))
        return NULL;
    struct br__jn *n = br__jj_parse_plain(p);
    while (!p->rc && br__jj_skip_word(p, "if")) {
        struct br__jn *cond = br__jj_parse_plain(p);
        struct br__jn *other = br__jj_skip_word(p, "else") ? br__jj_parse_expr(p) : NULL;
        n = parse_join(p, BR__JN_COND, NULL, cond, n);
        if (!p->rc)
            n->c = other;
    }
    p->depth--;
    return n;
}

struct br__jn *br__jj_parse_tuple(struct br__jj_parser *p, int plain)
{
    struct br__jn *first = plain ? br__jj_parse_plain(p) : br__jj_parse_expr(p), *last = first;

    if (!br__jj_is_op(p, ","))
        return first;
    struct br__jn *n = parse_join(p, BR__JN_TUPLE, NULL, first, NULL);
    while (!p->rc && br__jj_skip_op(p, ",")) {
        const struct br__jj_tok *t = br__jj_cur(p);
        if (br__jj_is_op(p, ")") || br__jj_is_op(p, "=") || t->kind == BR__JT_BLOCK_END ||
            t->kind == BR__JT_VAR_END)
            break;
        struct br__jn *next = plain ? br__jj_parse_plain(p) : br__jj_parse_expr(p);
        if (p->rc)
            break;
        last->next = next;
        last = next;
    }
    if (!p->rc) {
        n->list = first;
        n->a = NULL;
    }
    return n;
}

/* a name, the attribute of a namespace, or targets in parentheses, which have no attributes */
static struct br__jn *one_target(struct br__jj_parser *p, int attributes)
{
    if (br__jj_skip_op(p, "(")) {
        if (!parse_deeper(p))
            return NULL;
        struct br__jn *inner =
            br__jj_is_op(p, ")") ? br__jj_node(p, BR__JN_TUPLE) : br__jj_parse_target(p, 0);
        br__jj_want_op(p, ")");
        p->depth--;
        return inner;
    }
    struct br__jn *n = parse_name(p);
    if (!p->rc && n->kind != BR__JN_NAME)
        return br__jj_syntax(p, BR_E_FORMAT, "a constant cannot be assigned to");
    if (!attributes || !br__jj_skip_op(p, "."))
        return n;
    return parse_join(p, BR__JN_ATTR, br__jj_want_name(p), n, NULL);
}

static int target_ends(struct br__jj_parser *p)
{
    return br__jj_is_word(p, "in") || br__jj_is_op(p, ")") ||
           br__jj_cur(p)->kind == BR__JT_BLOCK_END;
}

struct br__jn *br__jj_parse_target(struct br__jj_parser *p, int attributes)
{
    struct br__jn *first = one_target(p, attributes), *last = first;

    if (!br__jj_is_op(p, ","))
        return first;
    struct br__jn *n = br__jj_node(p, BR__JN_TUPLE);
    if (p->rc)
        return n;
    n->list = first;
    while (br__jj_skip_op(p, ",") && !target_ends(p)) {
        struct br__jn *next = one_target(p, attributes);
        if (p->rc)
            return n;
        last->next = next;
        last = next;
    }
    return n;
}
