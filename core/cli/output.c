/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* output.c - what goes to stdout: JSON, aligned columns, shell words. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>

void br__read_all(FILE *in, struct br__buf *b)
{
    char block[1 << 14];
    size_t n;

    br__buf_put(b, "", 0); /* an empty stream is an empty text */
    while ((n = fread(block, 1, sizeof block, in)) > 0 && !b->failed)
        br__buf_put(b, block, n);
}

const char *br__shell_word(struct br__arena *a, const char *s)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                               "_-+=./:@%,";
    struct br__buf b = {0};

    if (s[0] && strspn(s, safe) == strlen(s))
        return s;
    br__buf_putc(&b, '\'');
    for (const char *p = s; *p; p++)
        if (*p == '\'')
            br__buf_puts(&b, "'\\''");
        else
            br__buf_putc(&b, *p);
    br__buf_putc(&b, '\'');
    const char *word = b.failed ? NULL : br__arena_strdup(a, b.p);
    br__buf_free(&b);
    return word ? word : s;
}

/* Names come from files: a control character among them must not reach the terminal. */
static int is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

void br__print_safe(FILE *f, const char *s)
{
    for (; *s; s++)
        putc(is_control(*s) && *s != '\n' ? '?' : *s, f);
}

/* ---- JSON ----------------------------------------------------------------------------------- */

/* Comma, line break and key before a value or container. */
static void js_begin(struct br__js *j, const char *key)
{
    if (j->depth > 0) {
        if (j->used[j->depth])
            br__buf_puts(&j->buf, j->inline_depth ? ", " : ",");
        j->used[j->depth] = 1;
        if (!j->inline_depth)
            br__buf_printf(&j->buf, "\n%*s", 2 * j->depth, "");
    }
    if (key) {
        br__buf_json_str(&j->buf, key);
        br__buf_puts(&j->buf, ": ");
    }
}

static void js_open(struct br__js *j, const char *key, char open, char close, unsigned flags)
{
    js_begin(j, key);
    br__buf_putc(&j->buf, open);
    if (++j->depth >= (int)sizeof j->close)
        BR_BUG("JSON nested too deep");
    j->used[j->depth] = 0;
    j->close[j->depth] = close;
    if ((flags & BR__JS_INLINE) && !j->inline_depth)
        j->inline_depth = j->depth;
}

void br__js_object(struct br__js *j, const char *key, unsigned flags)
{
    js_open(j, key, '{', '}', flags);
}

void br__js_array(struct br__js *j, const char *key, unsigned flags)
{
    js_open(j, key, '[', ']', flags);
}

void br__js_end(struct br__js *j)
{
    int multi_line = j->used[j->depth] && !j->inline_depth;
    char close = j->close[j->depth];

    if (j->inline_depth == j->depth)
        j->inline_depth = 0;
    j->depth--;
    if (multi_line)
        br__buf_printf(&j->buf, "\n%*s", 2 * j->depth, "");
    br__buf_putc(&j->buf, close);
}

void br__js_str(struct br__js *j, const char *key, const char *s)
{
    js_begin(j, key);
    if (s)
        br__buf_json_str(&j->buf, s);
    else
        br__buf_puts(&j->buf, "null");
}

void br__js_u64(struct br__js *j, const char *key, uint64_t v)
{
    js_begin(j, key);
    br__buf_printf(&j->buf, "%" PRIu64, v);
}

void br__js_i64(struct br__js *j, const char *key, int64_t v)
{
    js_begin(j, key);
    br__buf_printf(&j->buf, "%" PRId64, v);
}

void br__js_num(struct br__js *j, const char *key, double v)
{
    js_begin(j, key);
    br__buf_double(&j->buf, v);
}

void br__js_bool(struct br__js *j, const char *key, int v)
{
    js_begin(j, key);
    br__buf_puts(&j->buf, v ? "true" : "false");
}

void br__js_null(struct br__js *j, const char *key)
{
    js_begin(j, key);
    br__buf_puts(&j->buf, "null");
}

void br__js_raw(struct br__js *j, const char *key, const char *json)
{
    js_begin(j, key);
    br__buf_puts(&j->buf, json);
}

void br__js_strs(struct br__js *j, const char *key, const char *const *s, size_t n)
{
    br__js_array(j, key, 0);
    for (size_t i = 0; i < n; i++)
        br__js_str(j, NULL, s[i]);
    br__js_end(j);
}

void br__js_shape(struct br__js *j, const char *key, const int64_t *shape, int n)
{
    br__js_array(j, key, BR__JS_INLINE);
    for (int i = 0; i < n; i++)
        br__js_i64(j, NULL, shape[i]);
    br__js_end(j);
}

int br__js_print(struct br__js *j, struct br_err *err)
{
    int rc = BR_OK;

    if (j->depth != 0)
        BR_BUG("JSON printed with %d containers open", j->depth);
    if (j->buf.failed) {
        rc = br_fail(err, j->buf.failed, "cannot hold the JSON output in memory");
    } else {
        fwrite(j->buf.p, 1, j->buf.n, stdout);
        putchar('\n');
    }
    br__buf_free(&j->buf);
    return rc;
}

/* ---- tables ---------------------------------------------------------------------------------- */

void br__table_row(struct br__table *t, ...)
{
    va_list ap;

    va_start(ap, t);
    for (int i = 0; i < t->cols; i++) {
        char *cell = br__arena_strdup(&t->arena, va_arg(ap, const char *));
        if (!cell || br__grow(&t->cells, &t->cap, t->n, sizeof *t->cells)) {
            t->failed = 1;
            break;
        }
        for (char *p = cell; *p; p++)
            *p = is_control(*p) ? '?' : *p;
        t->cells[t->n++] = cell;
    }
    va_end(ap);
}

static void print_cells(const struct br__table *t, const size_t *width, size_t row)
{
    const char *const *cell = t->cells + row * (size_t)t->cols;
    int last = t->cols - 1;

    while (last > 0 && !cell[last][0]) /* no blanks at the end of a line */
        last--;
    for (int i = 0; i <= last; i++) {
        int right = t->cells[i][0] == '>';
        const char *s = cell[i] + (row == 0 && right);
        int pad = (int)(width[i] - strlen(s));
        printf("%s%*s%s%*s", i ? "  " : "", right ? pad : 0, "", s, right || i == last ? 0 : pad,
               "");
    }
    putchar('\n');
}

int br__table_print(struct br__table *t, struct br_err *err)
{
    size_t width[BR__TABLE_COLS] = {0};
    int rc = BR_OK;

    if (t->failed)
        rc = br_fail(err, BR_E_NOMEM, "out of memory printing a table");
    for (size_t i = 0; !rc && i < t->n; i++) {
        int c = (int)(i % (size_t)t->cols);
        size_t n = strlen(t->cells[i]) - (i < (size_t)t->cols && t->cells[i][0] == '>');
        width[c] = BR__MAX(width[c], n);
    }
    for (size_t r = 0; !rc && r * (size_t)t->cols < t->n; r++)
        print_cells(t, width, r);
    br__free(t->cells);
    br__arena_free(&t->arena);
    memset(t, 0, sizeof *t);
    return rc;
}
