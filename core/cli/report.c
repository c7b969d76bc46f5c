/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* report.c - what goes to stderr while a job runs: notes, warnings, progress, errors.
 *
 * Jobs call the listener from worker threads, so everything here takes the lock. */
#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Shorter runs print no progress lines. */
#define LINE_EVERY 5.0
#define BAR_EVERY 0.1

/* The cursor is in the last of the lines that are drawn. */
static void clear_bar(struct br__report *r)
{
    for (int i = 1; i < r->drawn; i++)
        fputs("\x1b[A", stderr); /* one line up */
    if (r->drawn > 1)
        fputs("\r\x1b[J", stderr);
    else if (r->drawn)
        fputs("\r\x1b[K", stderr);
    r->drawn = 0;
}

/* A copy of the text, kept by the report; NULL if it was printed before.  The steps of a round trip
 * make the same remarks. */
static const char *first_time(struct br__report *r, const char *text)
{
    if (br__map_get(&r->said, text) != BR__NOT_FOUND)
        return NULL;
    const char *copy = br__arena_strdup(&r->arena, text);
    if (!copy || br__map_put(&r->said, copy, 0)) {
        r->failed = 1;
        return NULL;
    }
    return copy;
}

/* Keep a remark for the JSON object. */
static void report_keep(struct br__report *r, const char ***list, size_t *n, size_t *cap,
                        const char *text)
{
    if (br__grow(list, cap, *n, sizeof **list))
        r->failed = 1;
    else
        (*list)[(*n)++] = text;
}

/* "bridge: warning: text" */
static void report_tell(FILE *f, const char *prefix, const char *text)
{
    br__print_safe(f, prefix, strlen(prefix), BR__TEXT_NAME);
    br__print_safe(f, text, strlen(text), BR__TEXT_MESSAGE);
    putc('\n', f);
}

static void on_note(void *ud, const char *text)
{
    struct br__report *r = ud;

    pthread_mutex_lock(&r->lock);
    text = first_time(r, text);
    if (text && r->json) {
        report_keep(r, &r->notes, &r->n_notes, &r->cap_notes, text);
    } else if (text && !r->quiet) {
        clear_bar(r);
        if (r->notes_to_stdout)
            report_tell(stdout, "", text);
        else
            report_tell(stderr, "bridge: note: ", text);
    }
    pthread_mutex_unlock(&r->lock);
}

static void on_warning(void *ud, const char *text)
{
    struct br__report *r = ud;

    pthread_mutex_lock(&r->lock);
    text = first_time(r, text);
    if (text && r->json) {
        report_keep(r, &r->warnings, &r->n_warnings, &r->cap_warnings, text);
    } else if (text) {
        clear_bar(r);
        report_tell(stderr, "bridge: warning: ", text);
    }
    pthread_mutex_unlock(&r->lock);
}

/* "1:05:09", "0:07" */
static const char *clock_text(double seconds, char out[32])
{
    uint64_t s = seconds < 0 || seconds > 1e9 ? 0 : (uint64_t)(seconds + 0.5);

    if (s >= 3600)
        snprintf(out, 32, "%u:%02u:%02u", (unsigned)(s / 3600), (unsigned)(s / 60 % 60),
                 (unsigned)(s % 60));
    else
        snprintf(out, 32, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    return out;
}

static int terminal_columns(void)
{
    struct winsize w;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_col < 20 ? 80 : w.ws_col;
}

int br__report_screen(const struct br__report *r, int *columns, int *lines)
{
    struct winsize w;

    *columns = terminal_columns();
    *lines = ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || w.ws_row < 4 ? 24 : w.ws_row;
    return r->progress == BR__PROGRESS_BAR;
}

void br__report_block(struct br__report *r, const char *text, int lines)
{
    pthread_mutex_lock(&r->lock);
    clear_bar(r);
    br__print_safe(stderr, text, strlen(text), BR__TEXT_PROSE);
    fflush(stderr);
    r->drawn = lines;
    pthread_mutex_unlock(&r->lock);
}

void br__report_leave(struct br__report *r)
{
    pthread_mutex_lock(&r->lock);
    if (r->drawn)
        putc('\n', stderr);
    r->drawn = 0;
    pthread_mutex_unlock(&r->lock);
}

/* "import  [#####     ]  45%  1.2 GB of 2.7 GB  1.1 GB/s  0:02 left" */
static void report_draw(struct br__report *r, uint64_t done, uint64_t total, double now)
{
    char sizes[2][32], rate[32], left[32], tail[160], bar[64];
    char line[sizeof r->phase + sizeof tail + sizeof bar + 4];
    double spent = now - r->began, share = total ? (double)done / (double)total : 1;
    double speed = spent > 0 && done > r->found ? (double)(done - r->found) / spent : 0;
    const char *detail = strchr(r->phase, ':');
    int name = detail ? (int)(detail - r->phase) : (int)strlen(r->phase);
    detail = detail ? detail + 1 : "";

    snprintf(tail, sizeof tail, "%3d%%  %s of %s  %s/s  %s left", (int)(100 * share),
             br__human_bytes(done, sizes[0]), br__human_bytes(total, sizes[1]),
             br__human_bytes((uint64_t)speed, rate),
             clock_text(speed > 0 ? (double)(total - done) / speed : 0, left));
    if (r->progress == BR__PROGRESS_LINES) {
        br__say(stderr, "bridge: %.*s: %s%s%s%s", name, r->phase, tail + strspn(tail, " "),
                *detail ? " (" : "", detail + strspn(detail, " "), *detail ? ")" : "");
        return;
    }
    if (r->drawn > 1)
        clear_bar(r);
    int room = terminal_columns() - (int)strlen(r->phase) - (int)strlen(tail) - 6;
    int width = BR__MAX(0, BR__MIN(room, (int)sizeof bar - 1));
    for (int i = 0; i < width; i++)
        bar[i] = i < (int)(share * width) ? '#' : ' ';
    bar[width] = 0;
    snprintf(line, sizeof line, "%s [%s] %s", r->phase, bar, tail);
    putc('\r', stderr);
    br__print_safe(stderr, line, strlen(line), BR__TEXT_NAME);
    fputs("\x1b[K", stderr);
    fflush(stderr);
    r->drawn = 1;
}

static void on_progress(void *ud, const char *phase, uint64_t done, uint64_t total)
{
    struct br__report *r = ud;
    double now = br__now();

    if (r->progress == BR__PROGRESS_NONE)
        return;
    pthread_mutex_lock(&r->lock);
    size_t n = strcspn(phase, ":");
    if (strncmp(phase, r->phase, n) || strcspn(r->phase, ":") != n) {
        r->began = r->shown = now;
        r->found = done;
    }
    snprintf(r->phase, sizeof r->phase, "%s", phase); /* a new detail of the same phase */
    if (now - r->shown >= (r->progress == BR__PROGRESS_BAR ? BAR_EVERY : LINE_EVERY)) {
        report_draw(r, done, total, now);
        r->shown = now;
    }
    pthread_mutex_unlock(&r->lock);
}

void br__report_init(struct br__report *r, const struct br__cli *c)
{
    const char *term = getenv("TERM");

    memset(r, 0, sizeof *r);
    pthread_mutex_init(&r->lock, NULL);
    r->listener.ud = r;
    r->listener.progress = on_progress;
    r->listener.note = on_note;
    r->listener.warning = on_warning;
    r->quiet = BR__FLAG(c, QUIET);
    r->json = BR__FLAG(c, JSON);
    if (r->quiet || BR__FLAG(c, NO_PROGRESS))
        r->progress = BR__PROGRESS_NONE;
    else if (isatty(STDERR_FILENO) && term && strcmp(term, "dumb"))
        r->progress = BR__PROGRESS_BAR;
    else
        r->progress = BR__PROGRESS_LINES;
}

static void report_remark(struct br__report *r, void (*say)(void *, const char *), const char *fmt,
                          va_list ap)
{
    struct br__buf b = {0};

    br__buf_vprintf(&b, fmt, ap);
    if (b.failed)
        r->failed = 1;
    else
        say(r, b.p);
    br__buf_free(&b);
}

void br__report_note(struct br__report *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report_remark(r, on_note, fmt, ap);
    va_end(ap);
}

void br__report_warning(struct br__report *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    report_remark(r, on_warning, fmt, ap);
    va_end(ap);
}

void br__report_end(struct br__report *r)
{
    pthread_mutex_lock(&r->lock);
    clear_bar(r);
    pthread_mutex_unlock(&r->lock);
}

void br__report_json(struct br__report *r, struct br__js *j)
{
    if (r->failed)
        j->buf.failed = BR_E_NOMEM;
    br__js_strs(j, "notes", r->notes, r->n_notes);
    br__js_strs(j, "warnings", r->warnings, r->n_warnings);
}

void br__report_free(struct br__report *r)
{
    br__report_end(r);
    if (r->failed && !r->json)
        fputs("bridge: warning: out of memory, not every remark was printed\n", stderr);
    pthread_mutex_destroy(&r->lock);
    br__map_free(&r->said);
    br__free(r->notes);
    br__free(r->warnings);
    br__arena_free(&r->arena);
}

void br__print_error(const struct br_err *err, int verbose)
{
    if (!err->msg[0])
        return;
    report_tell(stderr, "bridge: ", err->msg);
    if (verbose)
        br__say(stderr, "bridge: (%s in %s)", br_status_name(err->code),
                err->where[0] ? err->where : "?");
}
