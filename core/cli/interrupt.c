/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* interrupt.c - when SIGINT, SIGTERM or SIGHUP ends a run, remove its temporary folder, or say that
 * it can be resumed.  All threads block the signals and one thread waits for them, because a signal
 * handler may not remove a folder. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Milliseconds.  The other threads run on, and may make files, or the folder itself, again: it is
 * gone when it was absent for so long. */
#define REMOVE_MS 200
#define ABSENT_MS 20

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

static void remove_folder(const char *path)
{
    for (int ms = 0, absent = 0; ms < REMOVE_MS && absent < ABSENT_MS; ms++) {
        int failed = br__exists(path) && br__remove_tree(path, NULL); /* tried again */
        absent = failed || br__exists(path) ? 0 : absent + 1;
        usleep(1000);
    }
}

static void end_by(const struct br__interrupt *i, int sig)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t one;

    if (i->say && !i->temp) {
        if (isatty(STDERR_FILENO))
            putc('\n', stderr); /* below the progress bar */
        br__say(stderr, "bridge: %s", i->say);
    }
    if (i->temp)
        remove_folder(i->temp);
    sigaction(sig, &dfl, NULL);
    sigemptyset(&one);
    sigaddset(&one, sig);
    pthread_sigmask(SIG_UNBLOCK, &one, NULL);
    kill(getpid(), sig);
}

static void *wait_for_end(void *arg)
{
    struct br__interrupt *i = arg;
    int sig;

    if (!sigwait(&i->set, &sig) && !atomic_load(&i->over))
        end_by(i, sig);
    return NULL;
}

void br__interrupt_hold(struct br__interrupt *i)
{
    memset(i, 0, sizeof *i);
    sigemptyset(&i->set);
    for (size_t k = 0; k < BR_COUNTOF(ending); k++) {
        struct sigaction now;
        if (sigaction(ending[k], NULL, &now) || now.sa_handler == SIG_IGN)
            continue; /* nohup: it stays ignored */
        sigaddset(&i->set, ending[k]);
        i->last = ending[k];
    }
    i->held = i->last && !pthread_sigmask(SIG_BLOCK, &i->set, &i->before);
}

void br__interrupt_start(struct br__interrupt *i, const char *temp, const char *say)
{
    i->temp = temp;
    i->say = say;
    if (i->held)
        i->running = !pthread_create(&i->thread, NULL, wait_for_end, i);
    if (!i->running)
        br__interrupt_end(i);
}

void br__interrupt_begin(struct br__interrupt *i, const char *temp, const char *say)
{
    br__interrupt_hold(i);
    br__interrupt_start(i, temp, say);
}

void br__interrupt_end(struct br__interrupt *i)
{
    if (i->running) {
        atomic_store(&i->over, 1);
        pthread_kill(i->thread, i->last);
        pthread_join(i->thread, NULL);
        i->running = 0;
    }
    if (i->held)
        pthread_sigmask(SIG_SETMASK, &i->before, NULL);
    i->held = 0;
}
