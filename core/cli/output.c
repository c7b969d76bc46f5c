/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* output.c - what goes to a terminal: escaped text, JSON, aligned columns, shell words. */
#include "cli.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

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

/* ---- text of others -------------------------------------------------------------------------- */

/* One code point at s, which has n > 0 bytes: its length, or 0 for a byte that begins no UTF-8. */
static size_t code_point(const char *s, size_t n, uint32_t *c)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] < 0xE0 ? 2 : u[0] < 0xF0 ? 3 : 4;

    *c = u[0];
    if (*c < 0x80)
        return 1;
    if (len > n || !br__utf8_valid(s, len))
        return 0;
    *c = u[0] & (0x7Fu >> len);
    for (size_t i = 1; i < len; i++)
        *c = *c << 6 | (u[i] & 0x3Fu);
    return len;
}

/* Does a terminal act on this code point, or does it move its neighbours?  C0 and C1 controls, the
 * directional embeddings, overrides and isolates (UAX #9), line and paragraph separators. */
static int is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* Direction marks reorder their neighbours; right-to-left prose needs them, a name does not. */
static int is_mark(uint32_t c)
{
    return c == 0x061C || c == 0x200E || c == 0x200F;
}

/* Is control character c, followed by `rest`, kept in text of this kind? */
static int output_stays(uint32_t c, const char *rest, size_t n, enum br__text_kind kind)
{
    switch (kind) {
    case BR__TEXT_MESSAGE:
        return c == '\n' && n >= 2 && rest[0] == ' ' && rest[1] == ' ';
    case BR__TEXT_JSON:
        return c < 0x20;
    case BR__TEXT_PROSE:
        return c == '\n' || c == '\t' || is_mark(c);
    default:
        return 0;
    }
}

enum { ESCAPE = 12 };

/* The escape of a code point, or of a byte that is part of none. */
static void output_escape(uint32_t c, int is_code_point, char out[ESCAPE])
{
    if (c == '\n' || c == '\t' || c == '\r')
        snprintf(out, ESCAPE, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    else
        snprintf(out, ESCAPE, is_code_point && c >= 0x7F ? "\\u%04x" : "\\x%02x",
                 (unsigned)c & 0xFFFF);
}

/* Number of bytes at s that need no escape.  The *cut bytes behind them (0 at the end) are printed
 * as `shown`. */
static size_t plain_run(const char *s, size_t n, enum br__text_kind kind, size_t *cut,
                        char shown[ESCAPE])
{
    uint32_t c = 0;

    for (size_t at = 0, next; at < n; at = next) {
        size_t len = code_point(s + at, n - at, &c);
        next = at + BR__MAX(len, (size_t)1);
        if (len && ((!is_control(c) && !is_mark(c)) || output_stays(c, s + next, n - next, kind)))
            continue;
        output_escape(c, len != 0, shown);
        *cut = next - at;
        return at;
    }
    shown[0] = '\0';
    *cut = 0;
    return n;
}

void br__buf_safe(struct br__buf *b, const char *s, size_t n, enum br__text_kind kind)
{
    char shown[ESCAPE];

    for (size_t run, cut; n; s += run + cut, n -= run + cut) {
        run = plain_run(s, n, kind, &cut, shown);
        br__buf_put(b, s, run);
        br__buf_puts(b, shown);
    }
}

void br__print_safe(FILE *f, const char *s, size_t n, enum br__text_kind kind)
{
    char shown[ESCAPE];

    for (size_t run, cut; n; s += run + cut, n -= run + cut) {
        run = plain_run(s, n, kind, &cut, shown);
        fwrite(s, 1, run, f);
        fputs(shown, f);
    }
}

static int lost; /* memory ran out and a line was lost */

void br__say(FILE *f, const char *fmt, ...)
{
    struct br__buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    lost |= b.failed;
    br__print_safe(f, b.n ? b.p : "", b.n, BR__TEXT_NAME);
    putc('\n', f);
    br__buf_free(&b);
}

int br__say_failed(void)
{
    return lost;
}

void br__print_model_text(const char *s, size_t n)
{
    if (isatty(STDOUT_FILENO))
        br__print_safe(stdout, s, n, BR__TEXT_PROSE);
    else
        fwrite(s, 1, n, stdout);
}

/* ---- JSON ------------------------------------------------------------------------------------ */

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
        br__print_safe(stdout, j->buf.p, j->buf.n, BR__TEXT_JSON);
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
        const char *text = va_arg(ap, const char *);
        struct br__buf b = {0};
        br__buf_safe(&b, text, strlen(text), BR__TEXT_NAME);
        char *cell = b.failed ? NULL : br__arena_strdup(&t->arena, b.n ? b.p : "");
        br__buf_free(&b);
        if (!cell || br__grow(&t->cells, &t->cap, t->n, sizeof *t->cells)) {
            t->failed = 1;
            break;
        }
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
        rc = br__nomem(err, "printing a table");
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

const char *br__version_text(struct br__arena *a)
{
    const char *text = *br__commit ? br__arena_printf(a, "bridge %s (%s)", br_version(), br__commit)
                                   : br__arena_printf(a, "bridge %s", br_version());
    return text ? text : "bridge";
}
