/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* json.c - JSON in and out; the only user of cJSON.
 *
 * cJSON builds the tree, but it is lenient (01, 1., control bytes, invalid UTF-8, duplicate keys)
 * and recursive, so our own scanner reads the text first and accepts strict JSON only.  After that
 * cJSON can fail for want of memory alone.
 *
 * cJSON keeps numbers as doubles and would print 1e-06 and 1000000.0 in its own way.  A second pass
 * walks tree and text in step and hangs the source text of every number that is not a short plain
 * integer on the node's valuestring: cJSON leaves that field NULL in number nodes and frees it with
 * the node, so no table beside the tree can go stale.  The same pass finds duplicate keys, where
 * the byte offset is still known.  Printing is ours. */
#include "base_internal.h"

#include <cjson/cJSON.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* cJSON copies a number into a buffer of 64 bytes. */
#define NUMBER_MAX 63
/* Integers of so many digits survive double and "%.0f" unharmed. */
#define PLAIN_DIGITS 15
/* Objects up to this many members are checked for duplicates by comparing, larger ones by a map. */
#define FEW_MEMBERS 8

static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

static void set_hooks(void)
{
    cJSON_Hooks hooks = {br__alloc, br__free};
    cJSON_InitHooks(&hooks);
}

/* ---- scanner: strict JSON, depth and escapes ------------------------------------------------- */

struct scan {
    const unsigned char *s;
    size_t n, at;
    struct br_err *err;
};

static int json_bad(const struct scan *sc, const char *expected)
{
    if (sc->at >= sc->n)
        return br_fail(sc->err, BR_E_FORMAT, "byte %zu: the text ends, expected %s", sc->at,
                       expected);
    unsigned char c = sc->s[sc->at];
    return br_fail(sc->err, BR_E_FORMAT,
                   c > 0x20 && c < 0x7F ? "byte %zu: found '%c', expected %s"
                                        : "byte %zu: found byte 0x%02x, expected %s",
                   sc->at, c, expected);
}

static int is_space(unsigned char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* The next byte that is not white space; -1 at the end. */
static int json_peek(struct scan *sc)
{
    while (sc->at < sc->n && is_space(sc->s[sc->at]))
        sc->at++;
    return sc->at < sc->n ? sc->s[sc->at] : -1;
}

/* The digits after "\u": any character but NUL, which would cut C strings short; surrogates only
 * in pairs. */
static int scan_unicode(struct scan *sc)
{
    size_t start = sc->at;
    int v = (int)br__hex4(sc->s, sc->n, &sc->at);
    if (v < 0)
        return json_bad(sc, "four hexadecimal digits");
    if (v >= 0xD800 && v <= 0xDBFF && sc->n - sc->at >= 6 && sc->s[sc->at] == '\\' &&
        sc->s[sc->at + 1] == 'u') {
        sc->at += 2;
        int low = (int)br__hex4(sc->s, sc->n, &sc->at);
        if (low >= 0xDC00 && low <= 0xDFFF)
            return BR_OK;
    }
    if (v == 0 || (v >= 0xD800 && v <= 0xDFFF)) {
        sc->at = start;
        return json_bad(sc, v ? "a pair of surrogates" : "a character other than NUL");
    }
    return BR_OK;
}

static int scan_string(struct scan *sc)
{
    sc->at++;
    for (;;) {
        while (sc->at < sc->n && sc->s[sc->at] >= 0x20 && sc->s[sc->at] != '"' &&
               sc->s[sc->at] != '\\')
            sc->at++;
        if (sc->at >= sc->n || sc->s[sc->at] < 0x20)
            return json_bad(sc, "a character or the closing '\"' of a string");
        if (sc->s[sc->at++] == '"')
            return BR_OK;
        int c = sc->at < sc->n ? sc->s[sc->at] : 0;
        if (!c || !strchr("\"\\/bfnrtu", c))
            return json_bad(sc, "an escape: one of \"\\/bfnrtu");
        sc->at++;
        if (c == 'u') {
            int rc = scan_unicode(sc);
            if (rc)
                return rc;
        }
    }
}

static int json_digits(struct scan *sc)
{
    size_t start = sc->at;
    while (sc->at < sc->n && sc->s[sc->at] >= '0' && sc->s[sc->at] <= '9')
        sc->at++;
    return sc->at > start;
}

static int next_is(const struct scan *sc, const char *set)
{
    return sc->at < sc->n && sc->s[sc->at] && strchr(set, sc->s[sc->at]);
}

static int scan_number(struct scan *sc)
{
    size_t start = sc->at;
    if (next_is(sc, "-"))
        sc->at++;
    if (next_is(sc, "0"))
        sc->at++; /* nothing but a point or an exponent may follow */
    else if (!json_digits(sc))
        return json_bad(sc, "a digit");
    if (next_is(sc, ".")) {
        sc->at++;
        if (!json_digits(sc))
            return json_bad(sc, "a digit after the point");
    }
    if (next_is(sc, "eE")) {
        sc->at++;
        if (next_is(sc, "+-"))
            sc->at++;
        if (!json_digits(sc))
            return json_bad(sc, "a digit of the exponent");
    }
    if (sc->at - start > NUMBER_MAX)
        return br_fail(sc->err, BR_E_FORMAT,
                       "byte %zu: a number of %zu characters, at most %d are supported", start,
                       sc->at - start, NUMBER_MAX);
    return BR_OK;
}

static int scan_literal(struct scan *sc, const char *word)
{
    for (; *word; word++, sc->at++)
        if (sc->at >= sc->n || sc->s[sc->at] != (unsigned char)*word)
            return json_bad(sc, "true, false or null");
    return BR_OK;
}

static int scan_value(struct scan *sc, int depth);

/* The rest of an array or object whose opening bracket is at sc->at.  `depth` counts containers,
 * this one included. */
static int scan_container(struct scan *sc, int depth, int close)
{
    if (depth > BR__JSON_MAX_DEPTH)
        return br_fail(sc->err, BR_E_FORMAT, "byte %zu: nested deeper than %d levels", sc->at,
                       BR__JSON_MAX_DEPTH);
    sc->at++;
    int rc, object = close == '}';
    if (json_peek(sc) == close) {
        sc->at++;
        return BR_OK;
    }
    for (;; sc->at++) {
        if (object) {
            if (json_peek(sc) != '"')
                return json_bad(sc, "a key in double quotes");
            if ((rc = scan_string(sc)) != 0)
                return rc;
            if (json_peek(sc) != ':')
                return json_bad(sc, "':'");
            sc->at++;
        }
        if ((rc = scan_value(sc, depth)) != 0)
            return rc;
        int c = json_peek(sc);
        if (c == close) {
            sc->at++;
            return BR_OK;
        }
        if (c != ',')
            return json_bad(sc, object ? "',' or '}'" : "',' or ']'");
    }
}

/* One value inside `depth` containers. */
static int scan_value(struct scan *sc, int depth)
{
    int c = json_peek(sc);
    switch (c) {
    case '{':
        return scan_container(sc, depth + 1, '}');
    case '[':
        return scan_container(sc, depth + 1, ']');
    case '"':
        return scan_string(sc);
    case 't':
        return scan_literal(sc, "true");
    case 'f':
        return scan_literal(sc, "false");
    case 'n':
        return scan_literal(sc, "null");
    default:
        if (c == '-' || (c >= '0' && c <= '9'))
            return scan_number(sc);
        return json_bad(sc, "a value");
    }
}

static int scan_text(struct scan *sc)
{
    size_t good = br__utf8_span((const char *)sc->s, sc->n);
    if (good < sc->n)
        return br_fail(sc->err, BR_E_FORMAT, "byte %zu: not valid UTF-8", good);
    int rc = scan_value(sc, 0);
    if (rc == BR_OK && json_peek(sc) >= 0)
        rc = json_bad(sc, "the end of the text");
    return rc;
}

/* ---- second pass: number texts and duplicate keys -------------------------------------------- */

/* The next scalar or key of a text that the scanner accepted; *n bytes long. */
static const char *json_token(struct scan *sc, size_t *n)
{
    while (is_space(sc->s[sc->at]) || strchr("{}[],:", sc->s[sc->at]))
        sc->at++;
    size_t start = sc->at;
    if (sc->s[start] == '"') {
        for (sc->at++; sc->s[sc->at] != '"'; sc->at++)
            sc->at += sc->s[sc->at] == '\\';
        sc->at++;
    } else {
        while (sc->at < sc->n && !is_space(sc->s[sc->at]) && !strchr(",]}", sc->s[sc->at]))
            sc->at++;
    }
    *n = sc->at - start;
    return (const char *)sc->s + start;
}

static int keep_number(cJSON *item, const char *text, size_t n)
{
    if (n <= PLAIN_DIGITS && text[0] != '-' && !memchr(text, '.', n) && !memchr(text, 'e', n) &&
        !memchr(text, 'E', n))
        return BR_OK;
    item->valuestring = br__alloc(n + 1);
    if (!item->valuestring)
        return BR_E_NOMEM;
    memcpy(item->valuestring, text, n);
    item->valuestring[n] = '\0';
    return BR_OK;
}

/* Is member's key new among the members before it?  BR_E_EXISTS if not. */
static int check_key(struct br__map *seen, const cJSON *first, const cJSON *member, int few)
{
    if (!few)
        return br__map_put(seen, member->string, 0);
    for (const cJSON *m = first; m != member; m = m->next)
        if (strcmp(m->string, member->string) == 0)
            return BR_E_EXISTS;
    return BR_OK;
}

static int json_annotate(struct scan *sc, cJSON *item);

static int annotate_members(struct scan *sc, cJSON *parent)
{
    struct br__map seen = {0};
    int rc = BR_OK, few = 1, n = 0;
    size_t len;
    for (cJSON *c = parent->child; c; c = c->next)
        few = ++n <= FEW_MEMBERS;
    for (cJSON *c = parent->child; c && rc == BR_OK; c = c->next) {
        if (c->string) {
            const char *key = json_token(sc, &len);
            rc = check_key(&seen, parent->child, c, few);
            if (rc == BR_E_EXISTS)
                rc = br_fail(sc->err, BR_E_FORMAT, "byte %zu: duplicate key \"%s\"",
                             (size_t)(key - (const char *)sc->s), c->string);
        }
        if (rc == BR_OK)
            rc = json_annotate(sc, c);
    }
    br__map_free(&seen);
    return rc;
}

static int json_annotate(struct scan *sc, cJSON *item)
{
    size_t n;
    if (item->type == cJSON_Object || item->type == cJSON_Array)
        return annotate_members(sc, item);
    const char *text = json_token(sc, &n);
    return item->type == cJSON_Number ? keep_number(item, text, n) : BR_OK;
}

int br__json_parse(br__json **out, const char *text, size_t n, struct br_err *err)
{
    struct scan sc = {(const unsigned char *)text, n, 0, err};
    *out = NULL;
    pthread_once(&hooks_once, set_hooks);
    int rc = scan_text(&sc);
    if (rc)
        return rc;
    cJSON *tree = cJSON_ParseWithLength(text, n);
    sc.at = 0;
    rc = tree ? json_annotate(&sc, tree) : BR_E_NOMEM;
    if (rc == BR_E_NOMEM)
        br_fail(err, rc, "out of memory for %zu bytes of JSON", n);
    if (rc)
        cJSON_Delete(tree);
    else
        *out = tree;
    return rc;
}

void br__json_free(br__json *j)
{
    cJSON_Delete(j);
}

/* ---- reading the tree ------------------------------------------------------------------------ */

char br__json_kind(const br__json *j)
{
    switch (j ? j->type & 0xFF : cJSON_Invalid) {
    case cJSON_Object:
        return 'o';
    case cJSON_Array:
        return 'a';
    case cJSON_String:
        return 's';
    case cJSON_Number:
        return 'n';
    case cJSON_True:
    case cJSON_False:
        return 'b';
    case cJSON_NULL:
        return '0';
    default:
        return 0;
    }
}

static cJSON *json_member(const br__json *obj, const char *key, size_t n)
{
    if (br__json_kind(obj) != 'o')
        return NULL;
    for (cJSON *c = obj->child; c; c = c->next)
        if (strncmp(c->string, key, n) == 0 && c->string[n] == '\0')
            return c;
    return NULL;
}

const br__json *br__json_get(const br__json *obj, const char *path)
{
    /* A key may hold dots itself ("model.norm.weight"): the whole text goes first. */
    const cJSON *found = json_member(obj, path, strlen(path));
    const char *dot = strchr(path, '.');
    if (found || !dot)
        return found;
    found = json_member(obj, path, (size_t)(dot - path));
    return found ? br__json_get(found, dot + 1) : NULL;
}

const br__json *br__json_first(const br__json *parent)
{
    char kind = br__json_kind(parent);
    return kind == 'o' || kind == 'a' ? parent->child : NULL;
}

const br__json *br__json_next(const br__json *child)
{
    return child ? child->next : NULL;
}

const char *br__json_key(const br__json *item)
{
    return item ? item->string : NULL;
}

const char *br__json_str(const br__json *j, const char *dflt)
{
    return br__json_kind(j) == 's' ? j->valuestring : dflt;
}

double br__json_num(const br__json *j, double dflt)
{
    return br__json_kind(j) == 'n' ? j->valuedouble : dflt;
}

int br__json_bool(const br__json *j, int dflt)
{
    return br__json_kind(j) == 'b' ? (j->type & 0xFF) == cJSON_True : dflt;
}

int br__json_u64(const br__json *j, uint64_t *out)
{
    /* 1.0 and 1e3 are no integers to other readers of the same files; they have their text kept. */
    if (br__json_kind(j) != 'n' || !(j->valuedouble >= 0 && j->valuedouble < 0x1p53) ||
        (j->valuestring && strpbrk(j->valuestring, "-.eE")))
        return BR_E_FORMAT;
    *out = (uint64_t)j->valuedouble;
    return BR_OK;
}

size_t br__json_count(const br__json *j)
{
    size_t n = 0;
    for (const cJSON *c = br__json_first(j); c; c = c->next)
        n++;
    return n;
}

/* ---- editing --------------------------------------------------------------------------------- */

br__json *br__json_new_object(void)
{
    pthread_once(&hooks_once, set_hooks);
    return cJSON_CreateObject();
}

int br__json_set(br__json *obj, const char *key, const char *value_json, struct br_err *err)
{
    cJSON *value;
    int rc = br__json_parse(&value, value_json, strlen(value_json), err);
    if (rc) {
        br_wrap(err, "value of \"%s\"", key);
        return rc;
    }
    cJSON *old = json_member(obj, key, strlen(key));
    if (old) {
        /* The name moves over: cJSON's replace-by-name copies it and does not see that fail. */
        value->string = old->string;
        old->string = NULL;
        cJSON_ReplaceItemViaPointer(obj, old, value);
    } else if (!cJSON_AddItemToObject(obj, key, value)) {
        cJSON_Delete(value);
        return br__nomem(err, "setting \"%s\"", key);
    }
    return BR_OK;
}

void br__json_remove(br__json *obj, const char *key)
{
    cJSON *old = json_member(obj, key, strlen(key));
    if (old)
        cJSON_Delete(cJSON_DetachItemViaPointer(obj, old));
}

/* ---- printing -------------------------------------------------------------------------------- */

/* One character of valid UTF-8, stepping over it. */
static uint32_t next_char(const char **s)
{
    const unsigned char *p = (const unsigned char *)*s;
    int more = p[0] >= 0xF0 ? 3 : p[0] >= 0xE0 ? 2 : p[0] >= 0xC0 ? 1 : 0;
    uint32_t c = more ? p[0] & (0x3Fu >> more) : p[0];
    for (int i = 1; i <= more; i++)
        c = c << 6 | (p[i] & 0x3F);
    *s += more + 1;
    return c;
}

/* As Python's ensure_ascii: everything beyond ASCII becomes \uXXXX. */
static void print_string(struct br__buf *b, const char *s)
{
    size_t from = b->n;
    br__buf_json_str(b, s);
    int ascii = 1;
    for (const char *p = s; *p && ascii; p++)
        ascii = (unsigned char)*p < 0x80;
    if (ascii || b->failed)
        return;
    struct br__buf raw = {.max = b->max};
    br__buf_put(&raw, b->p + from, b->n - from);
    b->n = from;
    for (const char *p = raw.p; p && *p;) {
        uint32_t c = next_char(&p);
        if (c < 0x80)
            br__buf_putc(b, (char)c);
        else if (c < 0x10000)
            br__buf_printf(b, "\\u%04x", c);
        else
            br__buf_printf(b, "\\u%04x\\u%04x", 0xD800 + ((c - 0x10000) >> 10),
                           0xDC00 + ((c - 0x10000) & 0x3FF));
    }
    if (raw.failed)
        b->failed = raw.failed;
    br__buf_free(&raw);
}

static void print_scalar(struct br__buf *b, const cJSON *j)
{
    switch (j->type & 0xFF) {
    case cJSON_String:
        print_string(b, j->valuestring);
        break;
    case cJSON_Number:
        if (j->valuestring)
            br__buf_puts(b, j->valuestring);
        else
            br__buf_printf(b, "%.0f", j->valuedouble);
        break;
    case cJSON_True:
        br__buf_puts(b, "true");
        break;
    case cJSON_False:
        br__buf_puts(b, "false");
        break;
    default:
        br__buf_puts(b, "null");
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

static void new_line(struct br__buf *b, int depth)
{
    br__buf_printf(b, "\n%*s", 2 * depth, "");
}

static void print_value(struct br__buf *b, const cJSON *j, int sort, int depth)
{
    int object = j->type == cJSON_Object;
    size_t n = br__json_count(j), i = 0;
    if (!object && j->type != cJSON_Array) {
        print_scalar(b, j);
        return;
    }
    const cJSON **child = br__alloc(n * sizeof *child);
    if (!child) {
        b->failed = BR_E_NOMEM;
        return;
    }
    for (const cJSON *c = j->child; c; c = c->next)
        child[i++] = c;
    if (object && sort && n)
        qsort(child, n, sizeof *child, by_key);
    br__buf_putc(b, object ? '{' : '[');
    for (i = 0; i < n; i++) {
        if (i)
            br__buf_putc(b, ',');
        new_line(b, depth + 1);
        if (object) {
            print_string(b, child[i]->string);
            br__buf_puts(b, ": ");
        }
        print_value(b, child[i], sort, depth + 1);
    }
    if (n)
        new_line(b, depth);
    br__buf_putc(b, object ? '}' : ']');
    br__free(child);
}

int br__json_print(const br__json *j, int sort, struct br__buf *out)
{
    print_value(out, j, sort, 0);
    br__buf_putc(out, '\n');
    return out->failed;
}

/* ---- version --------------------------------------------------------------------------------- */

const char *br__json_version(struct br__arena *a)
{
    return br__arena_strdup(a, cJSON_Version());
}
