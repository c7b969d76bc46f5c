/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* yaml.c - run_config.yaml: a YAML document as a tree.  The only user of libyaml.
 *
 * libyaml cuts the text into events; this file keeps what a configuration may contain and refuses
 * the rest by name: anchors and aliases (whose expansion is unbounded), tags that would make
 * objects, keys that are not scalars.  Scalars are then read as PyYAML's safe_load reads them. */
#include "format.h"

#include <ctype.h>
#include <math.h>
#include <string.h>
#include <yaml.h>

#define YAML_MAX_DEPTH 64
#define YAML_MAX_BYTES (16u << 20)
#define YAML_CORE_TAG "tag:yaml.org,2002:"

/* ---- events to tree -------------------------------------------------------------------------- */

struct reader {
    yaml_parser_t parser;
    struct br__arena *arena;
    struct br_err *err;
};

/* The next event; the caller deletes it. */
static int next_event(struct reader *r, yaml_event_t *ev)
{
    if (yaml_parser_parse(&r->parser, ev))
        return BR_OK;
    if (r->parser.error == YAML_MEMORY_ERROR)
        return br__nomem(r->err, "reading YAML");
    return br_fail(r->err, BR_E_FORMAT, "YAML line %zu, column %zu: %s",
                   r->parser.problem_mark.line + 1, r->parser.problem_mark.column + 1,
                   r->parser.problem ? r->parser.problem : "unreadable");
}

static int yaml_refuse(struct reader *r, const yaml_event_t *ev, const char *what)
{
    return br_fail(r->err, BR_E_FORMAT, "YAML line %zu: %s", ev->start_mark.line + 1, what);
}

/* Only the tags of the core schema, which name what the text says anyway, and sets: Megatron Bridge
 * writes one into run_config.yaml of adapters.  A set is a map of nulls here. */
static int tag_ok(const char *tag)
{
    static const char *const core[] = {"null", "bool", "int", "float", "str", "map", "seq", "set"};

    if (!tag || strcmp(tag, "!") == 0)
        return 1;
    if (!br__starts(tag, YAML_CORE_TAG))
        return 0;
    for (size_t i = 0; i < BR_COUNTOF(core); i++)
        if (strcmp(tag + strlen(YAML_CORE_TAG), core[i]) == 0)
            return 1;
    return 0;
}

static int check_node(struct reader *r, const yaml_event_t *ev, const void *anchor, const void *tag)
{
    if (anchor)
        return yaml_refuse(r, ev, "anchors ('&name') are not supported here");
    if (!tag_ok(tag))
        return br_fail(r->err, BR_E_FORMAT, "YAML line %zu: the tag '%s' is not supported here",
                       ev->start_mark.line + 1, (const char *)tag);
    return BR_OK;
}

static int read_scalar(struct reader *r, const yaml_event_t *ev, struct br__yaml *y)
{
    const char *tag = (const char *)ev->data.scalar.tag;
    const char *text = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;

    int rc = check_node(r, ev, ev->data.scalar.anchor, tag);
    if (rc)
        return rc;
    if (memchr(text, '\0', n))
        return yaml_refuse(r, ev, "text with a NUL character");
    y->kind = BR__YAML_SCALAR;
    y->text = br__arena_strndup(r->arena, text, n);
    if (!y->text)
        return br__nomem(r->err, "reading YAML");
    y->plain = tag ? br__starts(tag, YAML_CORE_TAG) && !br__ends(tag, ":str")
                   : ev->data.scalar.plain_implicit;
    return BR_OK;
}

/* Children of the map or list being read. */
struct children {
    const char **keys;
    struct br__yaml **items;
    size_t n_keys, cap_keys, n_items, cap_items;
};

static void free_children(struct children *c)
{
    br__free(c->keys);
    br__free(c->items);
}

static int no_duplicate_keys(struct reader *r, const struct br__yaml *y)
{
    struct br__map seen = {0};
    int rc = br__map_init(&seen, y->n);
    size_t i;

    for (i = 0; i < y->n && !rc; i++)
        rc = br__map_put(&seen, y->keys[i], 0);
    br__map_free(&seen);
    if (rc == BR_E_EXISTS)
        return br_fail(r->err, BR_E_FORMAT, "YAML: the key '%s' is there twice in one map",
                       y->keys[i - 1]);
    return rc ? br__nomem(r->err, "reading YAML") : BR_OK;
}

/* Move the children into the tree. */
static int adopt_children(struct reader *r, const struct children *c, struct br__yaml *y)
{
    y->n = c->n_items;
    if (!y->n)
        return BR_OK;
    y->items = br__arena_alloc(r->arena, y->n * sizeof *y->items);
    if (!y->items)
        return br__nomem(r->err, "reading YAML");
    memcpy(y->items, c->items, y->n * sizeof *y->items);
    if (y->kind == BR__YAML_LIST)
        return BR_OK;
    y->keys = br__arena_alloc(r->arena, y->n * sizeof *y->keys);
    if (!y->keys)
        return br__nomem(r->err, "reading YAML");
    memcpy(y->keys, c->keys, y->n * sizeof *y->keys);
    return no_duplicate_keys(r, y);
}

static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct br__yaml **out);

static int add_key(struct reader *r, const yaml_event_t *ev, struct children *c)
{
    struct br__yaml key = {0};

    if (ev->type != YAML_SCALAR_EVENT)
        return yaml_refuse(r, ev, "a key that is not plain text");
    int rc = read_scalar(r, ev, &key);
    if (rc)
        return rc;
    if (key.plain && strcmp(key.text, "<<") == 0)
        return yaml_refuse(r, ev, "merge keys ('<<') are not supported here");
    if (br__grow(&c->keys, &c->cap_keys, c->n_keys, sizeof *c->keys))
        return br__nomem(r->err, "reading YAML");
    c->keys[c->n_keys++] = key.text;
    return BR_OK;
}

static int add_item(struct reader *r, const yaml_event_t *ev, int depth, struct children *c)
{
    struct br__yaml *item;

    int rc = read_node(r, ev, depth, &item);
    if (rc)
        return rc;
    if (br__grow(&c->items, &c->cap_items, c->n_items, sizeof *c->items))
        return br__nomem(r->err, "reading YAML");
    c->items[c->n_items++] = item;
    return BR_OK;
}

/* Events up to the end of the map or list `y`: in a map, keys and values take turns. */
static int read_children(struct reader *r, int depth, struct br__yaml *y)
{
    yaml_event_type_t end =
        y->kind == BR__YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    struct children c = {0};
    int done = 0, rc = BR_OK;

    while (!done && !rc) {
        yaml_event_t ev;
        rc = next_event(r, &ev);
        if (rc)
            break;
        if (ev.type == end)
            done = 1;
        else if (y->kind == BR__YAML_MAP && c.n_keys == c.n_items)
            rc = add_key(r, &ev, &c);
        else
            rc = add_item(r, &ev, depth, &c);
        yaml_event_delete(&ev);
    }
    if (!rc)
        rc = adopt_children(r, &c, y);
    free_children(&c);
    return rc;
}

static int read_node(struct reader *r, const yaml_event_t *ev, int depth, struct br__yaml **out)
{
    struct br__yaml *y = br__arena_alloc(r->arena, sizeof *y);
    int rc;

    if (!y)
        return br__nomem(r->err, "reading YAML");
    *out = y;
    if (depth > YAML_MAX_DEPTH)
        return yaml_refuse(r, ev, "nested too deeply");
    switch (ev->type) {
    case YAML_SCALAR_EVENT:
        return read_scalar(r, ev, y);
    case YAML_MAPPING_START_EVENT:
        y->kind = BR__YAML_MAP;
        rc = check_node(r, ev, ev->data.mapping_start.anchor, ev->data.mapping_start.tag);
        return rc ? rc : read_children(r, depth + 1, y);
    case YAML_SEQUENCE_START_EVENT:
        y->kind = BR__YAML_LIST;
        rc = check_node(r, ev, ev->data.sequence_start.anchor, ev->data.sequence_start.tag);
        return rc ? rc : read_children(r, depth + 1, y);
    case YAML_ALIAS_EVENT:
        return yaml_refuse(r, ev, "aliases ('*name') are not supported here");
    default:
        return yaml_refuse(r, ev, "expected a value");
    }
}

/* Take the next event, which must be of that type. */
static int yaml_expect(struct reader *r, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t ev;

    int rc = next_event(r, &ev);
    if (rc)
        return rc;
    if (ev.type != type)
        rc = yaml_refuse(r, &ev, otherwise);
    yaml_event_delete(&ev);
    return rc;
}

static int read_document(struct reader *r, struct br__yaml **out)
{
    yaml_event_t ev;

    int rc = yaml_expect(r, YAML_STREAM_START_EVENT, "not a YAML stream");
    if (!rc)
        rc = yaml_expect(r, YAML_DOCUMENT_START_EVENT, "no document");
    if (!rc)
        rc = next_event(r, &ev);
    if (rc)
        return rc;
    rc = read_node(r, &ev, 0, out);
    yaml_event_delete(&ev);
    if (!rc)
        rc = yaml_expect(r, YAML_DOCUMENT_END_EVENT, "more than one value");
    if (!rc)
        rc = yaml_expect(r, YAML_STREAM_END_EVENT, "more than one document");
    return rc;
}

int br__yaml_parse(struct br__arena *a, const char *text, size_t n, struct br__yaml **out,
                   struct br_err *err)
{
    struct reader r = {.arena = a, .err = err};

    *out = NULL;
    if (n > YAML_MAX_BYTES)
        return br_fail(err, BR_E_FORMAT, "YAML text has %zu bytes, more than %u", n,
                       YAML_MAX_BYTES);
    if (!yaml_parser_initialize(&r.parser))
        return br__nomem(r.err, "reading YAML");
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, n);
    int rc = read_document(&r, out);
    yaml_parser_delete(&r.parser);
    if (rc)
        *out = NULL;
    return rc;
}

const struct br__yaml *br__yaml_get(const struct br__yaml *map, const char *dotted_path)
{
    while (map) {
        const struct br__yaml *next = NULL;
        size_t n = strcspn(dotted_path, ".");
        for (size_t i = 0; i < map->n && map->kind == BR__YAML_MAP && !next; i++)
            if (strncmp(map->keys[i], dotted_path, n) == 0 && !map->keys[i][n])
                next = map->items[i];
        if (!dotted_path[n])
            return next;
        map = next;
        dotted_path += n + 1;
    }
    return NULL;
}

/* ---- scalars, as YAML 1.1 and PyYAML read them ----------------------------------------------- */

static const char *plain_text(const struct br__yaml *y)
{
    return y && y->kind == BR__YAML_SCALAR && y->plain ? y->text : NULL;
}

static int is_one_of(const char *s, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(s, words[i]) == 0)
            return 1;
    return 0;
}

int br__yaml_is_null(const struct br__yaml *y)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    const char *s = plain_text(y);

    return s && is_one_of(s, nulls, BR_COUNTOF(nulls));
}

int br__yaml_bool(const struct br__yaml *y, int *out)
{
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "Yes",
                                      "YES",  "on",   "On",   "ON"};
    static const char *const no[] = {"false", "False", "FALSE", "no", "No",
                                     "NO",    "off",   "Off",   "OFF"};
    const char *s = plain_text(y);

    if (!s)
        return BR_E_FORMAT;
    *out = is_one_of(s, yes, BR_COUNTOF(yes));
    return *out || is_one_of(s, no, BR_COUNTOF(no)) ? BR_OK : BR_E_FORMAT;
}

/* Decimal notation: [+-] digits [. digits] [e [+-] digits].  1e-06, text to PyYAML, is a number
 * here: other writers mean one.  Octal, hexadecimal, underscores and base 60 of YAML 1.1 are not:
 * nobody who writes 010 in a configuration means 8. */
static int is_decimal(const char *s)
{
    size_t whole, frac = 0;

    s += *s == '+' || *s == '-';
    whole = strspn(s, "0123456789");
    if (whole > 1 && s[0] == '0' && s[whole] != '.')
        return 0;
    s += whole;
    if (*s == '.') {
        frac = strspn(++s, "0123456789");
        s += frac;
    }
    if (whole + frac == 0)
        return 0;
    if (*s == 'e' || *s == 'E') {
        s++;
        s += *s == '+' || *s == '-';
        if (!isdigit((unsigned char)*s))
            return 0;
        s += strspn(s, "0123456789");
    }
    return *s == '\0';
}

int br__yaml_f64(const struct br__yaml *y, double *out)
{
    static const char *const inf[] = {".inf", ".Inf", ".INF"};
    static const char *const nan_[] = {".nan", ".NaN", ".NAN"};
    const char *s = plain_text(y);

    if (!s)
        return BR_E_FORMAT;
    int sign = *s == '+' || *s == '-';
    if (is_one_of(s + sign, inf, BR_COUNTOF(inf))) {
        *out = *s == '-' ? -HUGE_VAL : HUGE_VAL;
        return BR_OK;
    }
    if (is_one_of(s, nan_, BR_COUNTOF(nan_))) {
        *out = NAN;
        return BR_OK;
    }
    return is_decimal(s) ? br__parse_f64(s, out) : BR_E_FORMAT;
}

void br__yaml_put_double(struct br__buf *b, double v)
{
    struct br__buf t = {0};

    if (isnan(v) || isinf(v)) {
        br__buf_puts(b, isnan(v) ? ".nan" : v < 0 ? "-.inf" : ".inf");
        return;
    }
    br__buf_double(&t, v);
    if (t.failed) {
        b->failed = t.failed;
    } else {
        /* PyYAML: 1e-06 would be text to a YAML 1.1 reader, so it becomes 1.0e-06 */
        size_t mantissa = strcspn(t.p, "e");
        br__buf_put(b, t.p, mantissa);
        if (t.p[mantissa] && !memchr(t.p, '.', mantissa))
            br__buf_puts(b, ".0");
        br__buf_puts(b, t.p + mantissa);
    }
    br__buf_free(&t);
}

/* ---- version --------------------------------------------------------------------------------- */

const char *br__yaml_version(struct br__arena *a)
{
    return br__arena_strdup(a, yaml_get_version_string());
}
