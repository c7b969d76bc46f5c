/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* jinja.h - the template language of chat templates: shared by the jinja_*.c files and chat.c.
 *
 * A small interpreter of Jinja2 with the settings that transformers uses: an immutable sandbox,
 * trim_blocks and lstrip_blocks on, autoescape off, the loop-control extension, and the
 * `generation` tag.  What a template prints is what Jinja2 3.1 on Python would print; what is not
 * known here is an error with its line, never a guess.
 *
 *   lex.c     text -> tokens             value.c   values: truth, order, containers
 *   parse.c   tokens -> statements       text.c    str(), repr(), tojson, %
 *   expr.c    tokens -> expressions      method.c  methods of str, dict, list; globals
 *   eval.c    expressions -> values      filter.c  filters of text and numbers
 *   exec.c    statements -> text         seq.c     filters of sequences; tests
 *   chars.c   characters of UTF-8        format.c  str.format, and more methods of str
 *
 * Templates are hostile input: a run is limited in steps, memory, output and depth.  A tree lives
 * in its template's arena, all values of a run in the run's.  Strings are UTF-8 without NUL, have
 * a length and no terminator, and may point into other strings or the source.
 *
 * Errors are sticky, as in br__buf: the first one stays in `rc` and *err, functions then return
 * an undefined value, and callers look at `rc` where going on would be wrong. */
#ifndef BRIDGE_CORE_JINJA_H
#define BRIDGE_CORE_JINJA_H

#include "../../base/base.h"

/* ---- tokens (lex.c) -------------------------------------------------------------------------- */

enum br__jj_tok_kind {
    BR__JT_EOF,
    BR__JT_DATA,
    BR__JT_VAR_BEGIN,
    BR__JT_VAR_END,
    BR__JT_BLOCK_BEGIN,
    BR__JT_BLOCK_END,
    BR__JT_NAME,
    BR__JT_STR,
    BR__JT_INT,
    BR__JT_FLOAT,
    BR__JT_OP /* s is the operator's text */
};

struct br__jj_tok {
    int kind; /* enum br__jj_tok_kind */
    uint32_t line;
    const char *s; /* name or operator: NUL-terminated; data, string: n bytes, escapes undone */
    size_t n;
    int64_t i;
    double f;
};

/* The tokens of a whole template, ended by EOF, in the arena. */
int br__jj_lex(struct br__arena *a, const char *src, size_t n, struct br__jj_tok **tok,
               size_t *n_tok, struct br_err *err) BR_MUST_CHECK;

/* ---- values (value.c) ------------------------------------------------------------------------ */

enum br__jv_kind {
    BR__JV_UNDEF, /* s: the name that was not found, or NULL; of: what it was sought in */
    BR__JV_NONE,
    BR__JV_BOOL,
    BR__JV_INT,
    BR__JV_BIG, /* an integer of the input beyond 64 bits: its digits, to print and compare */
    BR__JV_FLOAT,
    BR__JV_STR,
    BR__JV_LIST, /* every sequence; see enum br__jj_flavour */
    BR__JV_DICT,
    BR__JV_NS,    /* namespace(): the one container that templates may change */
    BR__JV_LOOP,  /* the variable `loop` */
    BR__JV_MACRO, /* a macro, or the caller() of a call block */
    BR__JV_FUNC,  /* a function of the environment, or a method: `row` on `self` */
    BR__JV_KINDS
};

struct br__jv {
    uint8_t kind;   /* enum br__jv_kind */
    uint8_t of;     /* UNDEF: kind of the object, BR__JV_KINDS for a plain name */
    uint8_t markup; /* STR: from |safe or |escape; `+` escapes what is added */
    size_t n;       /* STR, BIG, UNDEF: bytes of s */
    union {
        int64_t i; /* BOOL, INT */
        double f;
        const char *s;
        struct br__jj_list *list;
        struct br__jj_dict *dict; /* DICT, NS */
        struct br__jj_loop *loop;
        struct br__jj_macro *macro;
        const struct br__jj_bound *func;
    };
};

/* What Python would have made: it decides what prints, what is true, what can be indexed. */
enum br__jj_flavour {
    BR__JF_LIST,
    BR__JF_TUPLE,
    BR__JF_GENERATOR, /* always true, read once, cannot be printed */
    BR__JF_RANGE,
    BR__JF_KEYS,
    BR__JF_VALUES,
    BR__JF_ITEMS
};

struct br__jj_list {
    struct br__jv *at;
    size_t n, cap;
    int flavour; /* enum br__jj_flavour */
};

struct br__jj_dict { /* in order of insertion */
    struct br__jv *key, *val;
    size_t n, cap;
};

struct br__jj_loop {
    const struct br__jv *at; /* the items, filtered */
    size_t n, i;
    struct br__jv seen; /* of changed() */
    int has_seen;
};

struct br__jj_var {
    const char *name;
    struct br__jv v;
};

struct br__jj_scope {
    struct br__jj_scope *parent;
    struct br__jj_var *var;
    size_t n, cap;
    int captured; /* a macro was defined in it: it outlives its block */
};

/* What a macro's body reads decides what it can be called with. */
enum br__jj_reads { BR__JJ_READS_CALLER = 1, BR__JJ_READS_KWARGS = 2, BR__JJ_READS_VARARGS = 4 };

struct br__jj_macro {
    const struct br__jn *def;
    struct br__jj_scope *scope;
};

/* ---- the tree (parse.c, expr.c) -------------------------------------------------------------- */

enum br__jn_kind {
    /* expressions: a, b, c are operands, list the elements or arguments */
    BR__JN_CONST,   /* val */
    BR__JN_NAME,    /* s */
    BR__JN_LIST,    /* list */
    BR__JN_TUPLE,   /* list */
    BR__JN_DICT,    /* list: key, value, key, value */
    BR__JN_NOT,     /* a */
    BR__JN_NEG,     /* a */
    BR__JN_POS,     /* a */
    BR__JN_AND,     /* a, b */
    BR__JN_OR,      /* a, b */
    BR__JN_BINARY,  /* a s b; s is one of + - * / // % ** */
    BR__JN_CONCAT,  /* list, joined by ~ */
    BR__JN_COMPARE, /* a, then list of OPERAND */
    BR__JN_OPERAND, /* s: == != < <= > >= in "not in"; a */
    BR__JN_COND,    /* b if a else c (c may be NULL) */
    BR__JN_ATTR,    /* a.s */
    BR__JN_ITEM,    /* a[b] */
    BR__JN_SLICE,   /* a:b:c, each may be NULL; only as b of ITEM */
    BR__JN_CALL,    /* a(list) */
    BR__JN_KWARG,   /* s = a, in an argument list */
    BR__JN_FILTER,  /* a | s(list) */
    BR__JN_TEST,    /* a is s(list) */
    BR__JN_HOLE,    /* the text of a filter or set block */
    /* statements: body is what they enclose */
    BR__JN_TEXT,         /* s, n */
    BR__JN_PRINT,        /* a */
    BR__JN_FOR,          /* a in b if c: body else els */
    BR__JN_IF,           /* list of BRANCH */
    BR__JN_BRANCH,       /* a (NULL: else), body */
    BR__JN_SET,          /* a = b; a is NAME, ATTR, or TUPLE of them and of TUPLEs */
    BR__JN_SET_BLOCK,    /* a = body, through filters b (over HOLE; may be NULL) */
    BR__JN_MACRO,        /* s, list of PARAM, body, reads */
    BR__JN_PARAM,        /* s, default a (may be NULL) */
    BR__JN_CALL_BLOCK,   /* a is the CALL; list of PARAM, body, reads: the caller */
    BR__JN_FILTER_BLOCK, /* b over HOLE, body */
    BR__JN_WITH,         /* list of SET, body */
    BR__JN_GENERATION,   /* body */
    BR__JN_BREAK,
    BR__JN_CONTINUE
};

struct br__jn {
    uint8_t kind;  /* enum br__jn_kind */
    uint8_t reads; /* enum br__jj_reads */
    uint32_t line;
    const char *s;
    size_t n;
    struct br__jn *a, *b, *c, *list, *body, *els;
    struct br__jn *next; /* in the list or body it belongs to */
    struct br__jv val;
};

/* Nesting of a template's text, and of its evaluation (which macros and values deepen). */
#define BR__JJ_PARSE_DEPTH 200
#define BR__JJ_RUN_DEPTH 1000

struct br__jj_parser {
    struct br__arena *arena;
    const struct br__jj_tok *tok;
    size_t at;
    int depth, loops; /* loops: `break` is allowed */
    unsigned reads;   /* enum br__jj_reads, of the text so far */
    int rc;
    struct br_err *err;
};

/* Record the first failure, with the line of the current token; returns a node that must not be
 * used. */
struct br__jn *br__jj_syntax(struct br__jj_parser *p, int code, const char *fmt, ...)
    BR_PRINTF(3, 4);
/* As above: what stands at the cursor, and what is expected instead. */
struct br__jn *br__jj_unexpected(struct br__jj_parser *p, const char *expected);
struct br__jn *br__jj_node(struct br__jj_parser *p, int kind); /* never NULL */
const struct br__jj_tok *br__jj_cur(struct br__jj_parser *p);  /* EOF after a failure */
int br__jj_is_op(struct br__jj_parser *p, const char *op);
int br__jj_is_word(struct br__jj_parser *p, const char *word);
int br__jj_skip_op(struct br__jj_parser *p, const char *op); /* 1 if it was there */
int br__jj_skip_word(struct br__jj_parser *p, const char *word);
void br__jj_want_op(struct br__jj_parser *p, const char *op);
const char *br__jj_want_name(struct br__jj_parser *p);

/* An expression without and with an inline if; a tuple needs no parentheses where it is allowed. */
struct br__jn *br__jj_parse_plain(struct br__jj_parser *p);
struct br__jn *br__jj_parse_expr(struct br__jj_parser *p);
struct br__jn *br__jj_parse_tuple(struct br__jj_parser *p, int plain);
/* Of `set`, `for` and `with`; attributes: those of a namespace may be set. */
struct br__jn *br__jj_parse_target(struct br__jj_parser *p, int attributes);
/* Zero or more |filters of `of`; with `bare` the first one stands without its bar. */
struct br__jn *br__jj_parse_filters(struct br__jj_parser *p, struct br__jn *of, int bare);
struct br__jn *br__jj_parse_postfix(struct br__jj_parser *p, struct br__jn *n);

/* ---- a run ----------------------------------------------------------------------------------- */

struct br__jj_limits {
    uint64_t steps; /* nodes evaluated, elements visited */
    size_t bytes;   /* memory of values */
    size_t output;  /* bytes of text */
};

struct br__jj_template; /* a parsed template */

/* Bytes of the text that a `generation` block printed. */
struct br__jj_span {
    size_t begin, end;
};

struct br__jj {
    const struct br__jj_template *tmpl;
    struct br__jj_limits limits;
    struct br__arena arena;
    struct br__jj_scope top, *scope;
    struct br__buf *out, *whole; /* what is written now; the text of the template */
    struct br__jv hole;
    uint64_t steps;
    int spans_wanted; /* by the caller, before the run */
    struct br__jj_span *span;
    size_t n_span, cap_span;
    int depth;
    int64_t now; /* seconds since 1970 for strftime_now */
    uint32_t line;
    int rc;
    struct br_err *err;
};

/* BR_E_FORMAT or BR_E_UNSUPPORTED with the line, BR_E_NOMEM.  The source is copied. */
int br__jj_compile(struct br__jj_template **out, const char *src, size_t n,
                   struct br_err *err) BR_MUST_CHECK;
void br__jj_template_free(struct br__jj_template *t);
const struct br__jn *br__jj_template_body(const struct br__jj_template *t);
const char *br__jj_template_source(const struct br__jj_template *t); /* NUL-terminated */

/* begin, define what the template may see, run once, end.  end is safe after a failed begin. */
void br__jj_begin(struct br__jj *j, const struct br__jj_template *t,
                  const struct br__jj_limits *limits, struct br_err *err);
void br__jj_define(struct br__jj *j, const char *name, struct br__jv v);
/* 0 and the text, which is NUL-terminated and the caller's (br__free); or the failure.  With
 * spans_wanted the spans are in j until its end. */
int br__jj_run(struct br__jj *j, char **text, size_t *n) BR_MUST_CHECK;
void br__jj_end(struct br__jj *j);

/* Record the first failure, with the line of the current statement; returns undefined. */
struct br__jv br__jj_fail(struct br__jj *j, int code, const char *fmt, ...) BR_PRINTF(3, 4);
/* Count work; 0 once the run has failed or its steps are used up. */
int br__jj_step(struct br__jj *j, size_t n);
int br__jj_enter(struct br__jj *j); /* one level deeper; 0 and a failure if too deep */
void br__jj_leave(struct br__jj *j);
void *br__jj_alloc(struct br__jj *j, size_t n); /* NULL and a failure past the limit */

struct br__jv br__jj_eval(struct br__jj *j, const struct br__jn *n);
const struct br__jv *br__jj_find_var(struct br__jj *j, const char *name);
void br__jj_set_var(struct br__jj *j, struct br__jj_scope *sc, const char *name, struct br__jv v);

/* ---- calls: filters, tests, methods and functions are rows ----------------------------------- */

#define BR__JJ_MAX_PARAMS 5
struct br__jj_kwarg {
    const char *name;
    struct br__jv v;
};
struct br__jj_call {
    struct br__jv self;                   /* the object, or what is filtered or tested */
    struct br__jv arg[BR__JJ_MAX_PARAMS]; /* bound to the row's parameters; undefined if absent */
    struct br__jv *pos;                   /* all positional arguments */
    size_t n_pos;
    struct br__jj_kwarg *kw;
    size_t n_kw;
};
typedef struct br__jv br__jj_fn(struct br__jj *j, const struct br__jj_call *c);

struct br__jj_row {
    const char *name;
    br__jj_fn *fn;      /* NULL: Python has it, bridge does not */
    const char *params; /* "old new count"; "*" takes anything */
    int need;           /* so many of them must be given */
};
struct br__jj_bound {
    const struct br__jj_row *row;
    struct br__jv self;
};

/* Bind c's arguments by the row and call it; `what` is "filter", "test" or "method". */
struct br__jv br__jj_invoke(struct br__jj *j, const struct br__jj_row *row, const char *what,
                            struct br__jj_call *c);
/* The arguments of a call, evaluated, with room for `spare` more of each; 0 after a failure. */
int br__jj_eval_args(struct br__jj *j, const struct br__jn *list, size_t spare,
                     struct br__jj_call *c);
/* Call any callable value. */
struct br__jv br__jj_call_value(struct br__jj *j, struct br__jv f, struct br__jj_call *c);
struct br__jv br__jj_call_macro(struct br__jj *j, const struct br__jj_macro *m,
                                const struct br__jj_call *c);
const struct br__jj_row *br__jj_row_find(const struct br__jj_row *rows, size_t n, const char *name,
                                         size_t len);
/* Rows by name.  The filters are in two tables; a test returns a bool. */
const struct br__jj_row *br__jj_text_filter(const char *name, size_t len);
const struct br__jj_row *br__jj_filter(const char *name, size_t len);
const struct br__jj_row *br__jj_test(const char *name, size_t len);
const struct br__jj_row *br__jj_global(const char *name);
const struct br__jj_row *br__jj_method(struct br__jv self, const char *name, size_t len);
const struct br__jj_row *br__jj_text_method(const char *name, size_t len); /* format.c's of str */

/* ---- values ---------------------------------------------------------------------------------- */

struct br__jv br__jv_undef(const char *name, size_t n, int of);
struct br__jv br__jv_none(void);
struct br__jv br__jv_bool(int v);
struct br__jv br__jv_int(int64_t v);
struct br__jv br__jv_float(double v);
struct br__jv br__jv_slice(const char *s, size_t n);            /* borrowed */
struct br__jv br__jv_text(const char *s);                       /* borrowed, NUL-terminated */
struct br__jv br__jv_take(struct br__jj *j, struct br__buf *b); /* copies to the arena, frees b */
struct br__jv br__jv_list(struct br__jj *j, int flavour);
struct br__jv br__jv_dict(struct br__jj *j, int kind); /* DICT or NS */
void br__jv_push(struct br__jj *j, struct br__jv list, struct br__jv v);
void br__jv_put(struct br__jj *j, struct br__jv dict, struct br__jv key, struct br__jv v);
const struct br__jv *br__jv_get(struct br__jj *j, struct br__jv dict, struct br__jv key);
struct br__jv br__jv_from_json(struct br__jj *j, const br__json *json);

int br__jv_is_num(struct br__jv v); /* BOOL, INT or FLOAT */
double br__jv_num(struct br__jv v); /* of those */
int br__jv_is_text(struct br__jv v, const char *s);
int br__jv_true(struct br__jv v);
int br__jv_eq(struct br__jj *j, struct br__jv a, struct br__jv b);
/* Less, equal or greater as -1, 0, 1; a failure for kinds that Python does not order. */
int br__jv_cmp(struct br__jj *j, struct br__jv a, struct br__jv b);
int br__jv_in(struct br__jj *j, struct br__jv v, struct br__jv in);
/* The elements of anything that can be iterated: 0, or a failure. */
int br__jv_items(struct br__jj *j, struct br__jv v, const struct br__jv **at, size_t *n);
int64_t br__jv_len(struct br__jj *j, struct br__jv v); /* -1 and a failure without a length */
const char *br__jv_type(struct br__jv v);              /* Python's name of the type */
/* obj.name, obj[key] and obj[a:b:c] as the sandbox looks them up. */
struct br__jv br__jv_attr(struct br__jj *j, struct br__jv obj, const char *name, size_t n);
struct br__jv br__jv_item(struct br__jj *j, struct br__jv obj, struct br__jv key);
struct br__jv br__jv_cut(struct br__jj *j, struct br__jv obj, const struct br__jv bound[3]);
/* By "a.b.0", as the attribute arguments of filters. */
struct br__jv br__jv_path(struct br__jj *j, struct br__jv obj, struct br__jv path);
/* Integer argument; a failure for anything else, dflt for undefined or none. */
int64_t br__jv_int_arg(struct br__jj *j, struct br__jv v, int64_t dflt);

/* ---- text (text.c) --------------------------------------------------------------------------- */

void br__jv_str(struct br__jj *j, struct br__buf *b, struct br__jv v);  /* str(v) */
void br__jv_repr(struct br__jj *j, struct br__buf *b, struct br__jv v); /* repr(v) */
struct br__jv br__jv_as_str(struct br__jj *j, struct br__jv v); /* str(v), a string as it is */
struct br__jv br__jv_escape(struct br__jj *j, struct br__jv v); /* HTML, marked as markup */

struct br__jj_json_style {
    int ascii, sort;
    const char *indent; /* one level; NULL: one line */
    size_t n_indent;
    struct br__jv item_sep, key_sep;
};
void br__jv_json(struct br__jj *j, struct br__buf *b, struct br__jv v,
                 const struct br__jj_json_style *style);
/* Does s have cased characters, all of them of this case (enum br__jj_case)? */
int br__jj_has_case(struct br__jj *j, struct br__jv s, int want);
/* Python's s % args. */
struct br__jv br__jj_percent(struct br__jj *j, struct br__jv s, const struct br__jv *arg, size_t n);

/* ---- characters (chars.c) -------------------------------------------------------------------- */

size_t br__jj_char(const char *s, uint32_t *c); /* bytes of the first character of valid UTF-8 */
size_t br__jj_chars(const char *s, size_t n);   /* number of characters */
size_t br__jj_char_at(const char *s, size_t n, size_t i); /* byte offset of character i */
int br__jj_is_space(uint32_t c);                          /* as str.isspace */
int br__jj_is_printable(uint32_t c); /* as str.isprintable: no control, no separator but ' ' */
void br__jj_put_char(struct br__buf *b, uint32_t c);
/* Cut from the ends what is in `set` (n_set bytes; NULL: white space); sides: 1 left, 2 right. */
struct br__jv br__jj_strip(struct br__jv s, const char *set, size_t n_set, int sides);
size_t br__jj_find(struct br__jj *j, struct br__jv in, size_t from, struct br__jv s); /* or n + 1 */
/* As str.isalpha and its like ask of each character. */
int br__jj_is_alpha(uint32_t c);
int br__jj_is_alnum(uint32_t c);
int br__jj_is_decimal(uint32_t c);
int br__jj_is_digit(uint32_t c);
enum br__jj_case { BR__JJ_LOWER, BR__JJ_UPPER, BR__JJ_TITLE };
/* Append the character at s[at] in another case, as Python's str does it: maybe several letters,
 * and a small sigma by what stands around it in s.  Returns the bytes of the character. */
size_t br__jj_put_case(struct br__jj *j, struct br__buf *b, struct br__jv s, size_t at, int to);
int br__jj_case_of(uint32_t c); /* enum br__jj_case, or -1 */

#endif
