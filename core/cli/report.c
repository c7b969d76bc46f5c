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

/* ---- colour ---------------------------------------------------------------------------------- */

static int coloured; /* stderr shows colour */

void br__color_begin(const struct br__cli *c)
{
    enum { AUTO, ALWAYS, NEVER };
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    int64_t asked = BR__FLAG(c, COLOR) ? BR__INT(c, COLOR) : AUTO;

    coloured = asked == ALWAYS || (asked == AUTO && !(no && *no) && isatty(STDERR_FILENO) && term &&
                                   *term && strcmp(term, "dumb") != 0);
}

enum colour { PLAIN, RED, YELLOW, CYAN };

static void put_colour(FILE *f, enum colour c)
{
    if (!coloured || f != stderr)
        return;
    if (c == RED)
        fputs("\x1b[1;31m", f);
    else if (c == YELLOW)
        fputs("\x1b[1;33m", f);
    else if (c == CYAN)
        fputs("\x1b[36m", f);
    else
        fputs("\x1b[0m", f);
}

/* ---- remarks --------------------------------------------------------------------------------- */

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

/* "bridge: warning: text", its first words in that colour. */
static void report_tell(FILE *f, enum colour c, const char *prefix, const char *text)
{
    put_colour(f, c);
    br__print_safe(f, prefix, strlen(prefix), BR__TEXT_NAME);
    put_colour(f, PLAIN);
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
            report_tell(stdout, PLAIN, "", text);
        else
            report_tell(stderr, CYAN, "bridge: note: ", text);
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
    } else if (text && !r->silent) {
        clear_bar(r);
        report_tell(stderr, YELLOW, "bridge: warning: ", text);
    }
    pthread_mutex_unlock(&r->lock);
}

/* ---- progress -------------------------------------------------------------------------------- */

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

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || !w.ws_col ? 80 : w.ws_col;
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

/* What there is to say of a phase. */
struct progress_texts {
    int name;           /* bytes of the phase's own name, at the start of r->phase */
    const char *detail; /* what follows it, or "" */
    double share;
    char done[32], total[32], rate[32], left[32];
};

static void make_texts(const struct br__report *r, uint64_t done, uint64_t total,
                       struct progress_texts *p)
{
    double spent = br__now() - r->began;
    double speed = spent > 0 && done > r->found ? (double)(done - r->found) / spent : 0;
    const char *detail = strchr(r->phase, ':');

    done = BR__MIN(done, total);
    p->name = detail ? (int)(detail - r->phase) : (int)strlen(r->phase);
    p->detail = detail ? detail + 1 + strspn(detail + 1, " ") : "";
    p->share = total ? (double)done / (double)total : 1;
    br__human_bytes(done, p->done);
    br__human_bytes(total, p->total);
    br__human_bytes((uint64_t)speed, p->rate);
    clock_text(speed > 0 ? (double)(total - done) / speed : 0, p->left);
}

static void draw_line(const struct br__report *r, const struct progress_texts *p)
{
    br__say(stderr, "bridge: %.*s: %d%%  %s of %s  %s/s  %s left%s%s%s", p->name, r->phase,
            (int)(100 * p->share), p->done, p->total, p->rate, p->left, *p->detail ? " (" : "",
            p->detail, *p->detail ? ")" : "");
}

enum { BAR_LEAST = 8, BAR_MOST = 40, BAR_LEVELS = 4 };

/* The texts right of the bar: at level 0 all, at the last one the percentage alone. */
static size_t bar_tail(const struct progress_texts *p, int level, char *out, size_t size)
{
    int n = snprintf(out, size, "%3d%%", (int)(100 * p->share));

    if (level < 2)
        n += snprintf(out + n, size - (size_t)n, "  %s of %s", p->done, p->total);
    if (level < 1)
        n += snprintf(out + n, size - (size_t)n, "  %s/s", p->rate);
    if (level < 3)
        n += snprintf(out + n, size - (size_t)n, "  %s left", p->left);
    return (size_t)n;
}

/* "import [#####     ]  45%  1.2 GB of 2.7 GB  1.1 GB/s  0:02 left" in less than `columns`: a line
 * that fills the last column wraps on some terminals.  What does not fit is left out. */
static void bar_text(const struct br__report *r, const struct progress_texts *p, size_t columns,
                     struct br__buf *b)
{
    char tail[160];
    const size_t around = 4 + BAR_LEAST; /* " [", the bar, "] " */
    size_t room = columns - 1, name = (size_t)p->name, detail = strlen(p->detail);
    size_t n = bar_tail(p, 0, tail, sizeof tail);

    for (int level = 1; level < BAR_LEVELS && name + around + n > room; level++)
        n = bar_tail(p, level, tail, sizeof tail);
    br__buf_put(b, r->phase, BR__MIN(name, room));
    if (detail && name + 2 + detail + around + n <= room)
        br__buf_printf(b, ": %s", p->detail);
    if (b->n + around + n <= room) {
        size_t width = BR__MIN(room - b->n - n - 4, (size_t)BAR_MOST);
        br__buf_puts(b, " [");
        for (size_t i = 0; i < width; i++)
            br__buf_putc(b, i < (size_t)(p->share * (double)width) ? '#' : ' ');
        br__buf_puts(b, "] ");
        br__buf_puts(b, tail);
    } else if (b->n + 1 + n <= room) {
        br__buf_printf(b, " %s", tail);
    }
}

/* Of a line that a narrower terminal has wrapped the first part stays. */
static void draw_bar(struct br__report *r, const struct progress_texts *p)
{
    int columns = BR__MAX(terminal_columns(), 2);
    struct br__buf b = {0};

    bar_text(r, p, (size_t)columns, &b);
    if (r->drawn > 1)
        clear_bar(r);
    else if (r->drawn && r->width >= columns)
        putc('\n', stderr);
    putc('\r', stderr);
    if (!b.failed)
        br__print_safe(stderr, b.n ? b.p : "", b.n, BR__TEXT_NAME);
    fputs("\x1b[K", stderr);
    fflush(stderr);
    r->drawn = 1;
    r->width = (int)b.n;
    br__buf_free(&b);
}

static void report_draw(struct br__report *r, uint64_t done, uint64_t total)
{
    struct progress_texts p;

    make_texts(r, done, total, &p);
    if (r->progress == BR__PROGRESS_LINES)
        draw_line(r, &p);
    else
        draw_bar(r, &p);
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
        report_draw(r, done, total);
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
    r->silent = br__procs_rank() > 0;
    r->quiet = r->silent || BR__FLAG(c, QUIET);
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

/* ---- waiting --------------------------------------------------------------------------------- */

static void *wait_and_tell(void *arg)
{
    struct br__wait *w = arg;
    struct br__report *r = w->r;
    struct timespec until;
    int rc = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 1;
    pthread_mutex_lock(&r->lock);
    while (!w->over && !rc)
        rc = pthread_cond_timedwait(&w->ends, &r->lock, &until);
    if (!w->over && r->progress == BR__PROGRESS_BAR) {
        clear_bar(r);
        size_t room = (size_t)BR__MAX(terminal_columns() - 1, 1);
        br__print_safe(stderr, w->text, BR__MIN(strlen(w->text), room), BR__TEXT_NAME);
        fflush(stderr);
        r->drawn = 1;
        r->width = (int)BR__MIN(strlen(w->text), room);
    } else if (!w->over) {
        br__say(stderr, "bridge: %s", w->text);
    }
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

void br__wait_begin(struct br__wait *w, struct br__report *r, const char *text)
{
    *w = (struct br__wait){.r = r, .text = text};
    if (r->json || r->progress == BR__PROGRESS_NONE)
        return;
    pthread_cond_init(&w->ends, NULL);
    w->running = !pthread_create(&w->thread, NULL, wait_and_tell, w);
    if (!w->running)
        pthread_cond_destroy(&w->ends);
}

void br__wait_end(struct br__wait *w)
{
    if (!w->running)
        return;
    pthread_mutex_lock(&w->r->lock);
    w->over = 1;
    pthread_cond_signal(&w->ends);
    pthread_mutex_unlock(&w->r->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->ends);
    w->running = 0;
    br__report_end(w->r);
}

void br__print_error(const struct br_err *err, int verbose)
{
    if (!err->msg[0])
        return;
    report_tell(stderr, RED, "bridge: ", err->msg);
    if (verbose)
        br__say(stderr, "bridge: (%s in %s)", br_status_name(err->code),
                err->where[0] ? err->where : "?");
}
