/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* line.c - a line from a terminal: libedit's editing and history, and what Ctrl-C means there. */
#include "generate.h"

#include <errno.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HISTORY_LINES 1000

struct br__line {
    EditLine *edit; /* NULL: plain lines */
    History *history;
    const char *prompt;
    char *text; /* the last line, malloc'ed */
    size_t cap;
    struct sigaction old_int, old_winch;
};

/* ---- signals --------------------------------------------------------------------------------- */

static volatile sig_atomic_t interrupts, resized, busy;
static int wake = -1; /* an eventfd: the handlers write, who waits for a key reads */

static void wake_reader(void)
{
    int why = errno;
    (void)!eventfd_write(wake, 1); /* one that is full wakes as well */
    errno = why;
}

static void on_interrupt(int sig)
{
    if (busy && interrupts) { /* asked twice: the answer does not stop by itself */
        signal(sig, SIG_DFL);
        raise(sig);
    }
    interrupts = 1;
    wake_reader();
}

static void on_resize(int sig)
{
    (void)sig;
    resized = 1;
    wake_reader();
}

void br__line_busy(void)
{
    busy = 1;
}

int br__line_interrupted(void)
{
    return interrupts;
}

/* One byte; -1 with errno as read(2) has it.  A signal may come at any time and to any thread, so
 * that it is seen by what its handler writes and not by a call that it ends. */
static ssize_t read_byte(char *byte)
{
    struct pollfd in[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = wake, .events = POLLIN}};
    eventfd_t told;
    (void)eventfd_read(wake, &told);
    if (!interrupts && !resized && poll(in, 2, -1) > 0 && !in[1].revents)
        return read(STDIN_FILENO, byte, 1);
    errno = EINTR;
    return -1;
}

/* ---- libedit --------------------------------------------------------------------------------- */

static char *show_prompt(EditLine *e)
{
    struct br__line *l;
    el_get(e, EL_CLIENTDATA, &l);
    return (char *)(uintptr_t)l->prompt;
}

/* One character.  libedit's own reader takes signals that it has no handler for as the end. */
static int read_char(EditLine *e, wchar_t *out)
{
    mbstate_t state = {0};
    for (;;) {
        char byte;
        ssize_t n = interrupts ? -1 : read_byte(&byte);
        if (n < 0 && resized) {
            resized = 0;
            el_resize(e);
            el_set(e, EL_REFRESH);
        }
        if (n < 0 && !interrupts && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return (int)n;
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used != (size_t)-2) { /* a byte that begins nothing is shown as it is */
            if (used == (size_t)-1)
                *out = L'?';
            return 1;
        }
    }
}

/* Texts are UTF-8, whatever the environment calls its characters. */
static void use_utf8(void)
{
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
        setlocale(LC_CTYPE, "C.UTF-8");
}

static int can_edit(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb");
}

static int open_editor(struct br__line *l, struct br_err *err)
{
    HistEvent event;
    use_utf8();
    l->edit = el_init("bridge", stdin, stdout, stderr);
    l->history = history_init();
    if (!l->edit || !l->history)
        return br__nomem(err, "reading from the terminal");
    history(l->history, &event, H_SETSIZE, HISTORY_LINES);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->edit, EL_CLIENTDATA, l);
    el_set(l->edit, EL_PROMPT, show_prompt);
    el_set(l->edit, EL_EDITOR, "emacs");
    el_set(l->edit, EL_HIST, history, l->history);
    el_set(l->edit, EL_GETCFN, read_char);
    el_source(l->edit, NULL); /* ~/.editrc */
    return BR_OK;
}

int br__line_open(struct br__line **out, struct br_err *err)
{
    struct sigaction stop = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
    struct sigaction resize = {.sa_handler = on_resize, .sa_flags = SA_RESTART};
    struct br__line *l = br__calloc(1, sizeof *l);
    *out = NULL;
    if (!l)
        return br__nomem(err, "reading from the terminal");
    wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        br__free(l);
        return br_fail(err, BR_E_IO, "an eventfd for the terminal's signals: %s", strerror(errno));
    }
    sigemptyset(&stop.sa_mask);
    sigemptyset(&resize.sa_mask);
    interrupts = resized = busy = 0;
    (void)sigaction(SIGINT, &stop, &l->old_int);
    (void)sigaction(SIGWINCH, &resize, &l->old_winch);
    int rc = can_edit() ? open_editor(l, err) : BR_OK;
    if (rc)
        br__line_close(l);
    else
        *out = l;
    return rc;
}

void br__line_close(struct br__line *l)
{
    if (!l)
        return;
    if (l->edit)
        el_end(l->edit);
    if (l->history)
        history_end(l->history);
    (void)sigaction(SIGINT, &l->old_int, NULL);
    (void)sigaction(SIGWINCH, &l->old_winch, NULL);
    close(wake);
    free(l->text);
    br__free(l);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Room for another byte of the last line and its end. */
static int grow_text(struct br__line *l, size_t n)
{
    if (n + 2 <= l->cap)
        return 1;
    size_t cap = l->cap < 128 ? 256 : l->cap * 2;
    char *text = realloc(l->text, cap);
    if (!text)
        return 0;
    l->text = text;
    l->cap = cap;
    return 1;
}

/* Length of what came, with its line break; < 0: nothing did. */
static ssize_t read_plain(struct br__line *l)
{
    size_t n = 0;
    br__print_safe(stdout, l->prompt, strlen(l->prompt), BR__TEXT_NAME);
    fflush(stdout);
    do {
        if (!grow_text(l, n))
            return -1;
        ssize_t got = read_byte(l->text + n);
        if (got < 0 && !interrupts && (errno == EINTR || errno == EAGAIN)) {
            resized = 0;
            continue;
        }
        if (got < 0 || (got == 0 && n == 0))
            return -1;
        if (got == 0)
            break;
        n++;
    } while (n == 0 || l->text[n - 1] != '\n');
    l->text[n] = '\0';
    return (ssize_t)n;
}

static ssize_t read_edited(struct br__line *l)
{
    HistEvent event;
    int n = 0;
    const char *line = el_gets(l->edit, &n);
    if (!line || n <= 0)
        return -1;
    char *copy = strdup(line);
    if (!copy)
        return -1;
    free(l->text);
    l->text = copy;
    l->cap = (size_t)n + 1;
    if (n > 1)
        history(l->history, &event, H_ENTER, line);
    return (ssize_t)strlen(copy);
}

/* Something was typed before the SIGINT that ended the line. */
static int had_text(const struct br__line *l)
{
    const LineInfo *info = l->edit ? el_line(l->edit) : NULL;
    return info && info->lastchar > info->buffer;
}

enum br__line_end br__line_read(struct br__line *l, const char *prompt, const char **text)
{
    l->prompt = prompt;
    *text = NULL;
    interrupts = busy = 0;
    ssize_t n = l->edit ? read_edited(l) : read_plain(l);
    if (n < 0) {
        int cleared = interrupts && had_text(l);
        if (l->edit)
            el_reset(l->edit);
        putchar('\n');
        return cleared ? BR__LINE_CLEARED : BR__LINE_LEAVE;
    }
    while (n > 0 && (l->text[n - 1] == '\n' || l->text[n - 1] == '\r'))
        l->text[--n] = '\0';
    *text = l->text;
    return BR__LINE_TEXT;
}
