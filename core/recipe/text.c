/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* text.c - the grammar key=value: rows of plugins, recipe files, --set. */
#include "recipe_internal.h"

#include <string.h>

#define KEY_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

static int text_fail(const struct br__pairs *t, struct br_err *err, const char *fmt, ...)
    BR_PRINTF(3, 4);
static int text_fail(const struct br__pairs *t, struct br_err *err, const char *fmt, ...)
{
    char what[600];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    if (t->line > 0)
        return br_fail(err, BR_E_CONFIG, "%s:%d: %s", t->where, t->line, what);
    return br_fail(err, BR_E_CONFIG, "%s: %s", t->where, what);
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static void skip_blanks(struct br__pairs *t)
{
    while (is_blank(*t->p))
        t->p++;
}

/* Blanks, line ends and comments. */
static void skip_space(struct br__pairs *t)
{
    for (; *t->p; t->p++) {
        if (*t->p == '#')
            t->p += strcspn(t->p, "\n");
        if (*t->p == '\n')
            t->line += t->line > 0;
        else if (!is_blank(*t->p))
            return;
    }
}

/* End of the "quoted text" at s: after its closing quote, or NULL. */
static const char *quote_end(const char *s)
{
    for (s++; *s && *s != '\n'; s++) {
        if (*s == '"')
            return s + 1;
        if (*s == '\\' && s[1])
            s++;
    }
    return NULL;
}

/* End of the [list] or {object} at s, which ends on its line; NULL if it does not. */
static const char *bracket_end(const char *s)
{
    int depth = 0;

    for (; *s && *s != '\n'; s++) {
        if (*s == '"') {
            s = quote_end(s);
            if (!s)
                return NULL;
            s--;
        } else if (strchr("[{", *s)) {
            depth++;
        } else if (strchr("]}", *s) && --depth == 0) {
            return s + 1;
        }
    }
    return NULL;
}

static int read_quoted(struct br__arena *a, struct br__pairs *t, size_t n, struct br__pair *out,
                       struct br_err *err)
{
    br__json *j = NULL;

    if (br__json_parse(&j, t->p, n, NULL))
        return text_fail(t, err, "%s: the quoted text has a bad escape or character", out->key);
    out->value = br__arena_strdup(a, br__json_str(j, ""));
    out->quoted = 1;
    br__json_free(j);
    return out->value ? BR_OK : br__nomem(err, "reading a recipe");
}

/* A word ends at a blank or a comment; alone on a command line it has no end. */
static size_t word_length(const struct br__pairs *t)
{
    return t->whole ? strlen(t->p) : strcspn(t->p, " \t\r\n#");
}

static int read_value(struct br__arena *a, struct br__pairs *t, struct br__pair *out,
                      struct br_err *err)
{
    const char *end = t->p + word_length(t);
    int rc = BR_OK;

    if (*t->p == '"') {
        end = quote_end(t->p);
        if (!end)
            return text_fail(t, err, "%s: the quoted text does not end on its line", out->key);
        rc = read_quoted(a, t, (size_t)(end - t->p), out, err);
    } else if (*t->p == '[' || *t->p == '{') {
        end = bracket_end(t->p);
        if (!end)
            return text_fail(t, err, "%s: the bracket '%c' is not closed on its line", out->key,
                             *t->p);
    }
    if (end == t->p)
        return text_fail(t, err, "%s has no value; write key=value, or key=\"\" for an empty text",
                         out->key);
    if (!out->quoted)
        out->value = br__arena_strndup(a, t->p, (size_t)(end - t->p));
    t->p = end;
    if (!rc && !out->value)
        rc = br__nomem(err, "reading a recipe");
    if (!rc && *end && !strchr(" \t\r\n#", *end))
        rc = text_fail(t, err, "%s: a blank must follow the value, got '%.*s'", out->key,
                       (int)BR__MIN(strcspn(end, " \t\r\n#"), 20u), end);
    return rc;
}

int br__pairs_next(struct br__arena *a, struct br__pairs *t, struct br__pair *out,
                   struct br_err *err)
{
    *out = (struct br__pair){0};
    skip_space(t);
    if (!*t->p)
        return BR_OK;
    size_t n = strspn(t->p, KEY_CHARS);
    const char *start = t->p;
    t->p += n;
    skip_blanks(t);
    if (n == 0 || *t->p != '=')
        return text_fail(t, err, "'%.*s' is not key=value", (int)BR__MIN(strcspn(start, "\n"), 40u),
                         start);
    char *key = br__arena_strndup(a, start, n);
    if (!key)
        return br__nomem(err, "reading a recipe");
    for (char *c = key; *c; c++)
        *c = *c == '-' ? '_' : *c;
    out->key = key;
    out->line = t->line;
    t->p++;
    skip_blanks(t);
    return read_value(a, t, out, err);
}
