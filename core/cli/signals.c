/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* signals.c - report signals that would end the program without a message.  SIGBUS: a page of a
 * mapped file cannot be read.  SIGXFSZ: a file would grow past RLIMIT_FSIZE; with a handler the
 * write fails with EFBIG and is reported like any other.  Handlers, not SIG_IGN, because a program
 * that is started from here must not inherit them. */
#include "cli.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Text for writev, which may be called in a handler. */
static struct iovec signal_text(const char *s)
{
    return (struct iovec){.iov_base = (void *)(uintptr_t)s, .iov_len = strlen(s)};
}

/* The path as printable ASCII, so that it can neither move the cursor nor reorder text.  Unicode
 * tables are not for a signal handler. */
static const char *signal_plain(const char *path, char *out, size_t size)
{
    size_t n = 0;
    for (; path[n] && n + 1 < size; n++)
        out[n] = path[n] >= 0x20 && path[n] < 0x7f ? path[n] : '?';
    out[n] = 0;
    return out;
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
    char name[1024];
    const char *path = br__mapped_file(info->si_addr);
    (void)context;
    if (!path) { /* not a file of bridge: take the default action */
        signal(sig, SIG_DFL);
        return; /* the access faults again */
    }
    const struct iovec line[] = {
        signal_text("bridge: cannot read '"), signal_text(signal_plain(path, name, sizeof name)),
        signal_text("', which is mapped: it became shorter while it was in use, "
                    "or its disk failed\n")};
    ssize_t written = writev(STDERR_FILENO, line, (int)BR_COUNTOF(line));
    (void)written; /* stderr is gone: nobody can be told */
    _exit(BR_E_IO);
}

static void on_file_size(int sig)
{
    (void)sig;
}

void br__signals_begin(struct br__signals *old)
{
    struct sigaction bus = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};
    struct sigaction size = {.sa_handler = on_file_size, .sa_flags = SA_RESTART};
    sigemptyset(&bus.sa_mask);
    sigemptyset(&size.sa_mask);
    (void)sigaction(SIGBUS, &bus, &old->bus);
    (void)sigaction(SIGXFSZ, &size, &old->file_size);
}

void br__signals_end(const struct br__signals *old)
{
    (void)sigaction(SIGBUS, &old->bus, NULL);
    (void)sigaction(SIGXFSZ, &old->file_size, NULL);
}
