/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* interrupt.c - when SIGINT, SIGTERM or SIGHUP ends a run, remove its temporary folder, or say that
 * it can be resumed.  All threads block the signals and one thread waits for them, because a signal
 * handler may not remove a folder. */
#include "cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define REMOVE_TRIES 100 /* other threads may still create files in it */

static const int ending[] = {SIGINT, SIGTERM, SIGHUP};

static void end_by(const struct br__interrupt *i, int sig)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigset_t one;

    if (i->say && !i->temp) {
        if (isatty(STDERR_FILENO))
            putc('\n', stderr); /* below the progress bar */
        br__say(stderr, "bridge: %s", i->say);
    }
    for (int k = 0; i->temp && k < REMOVE_TRIES && br__remove_tree(i->temp, NULL); k++)
        usleep(1000);
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

void br__interrupt_begin(struct br__interrupt *i, const char *temp, const char *say)
{
    int n = 0;

    memset(i, 0, sizeof *i);
    i->temp = temp;
    i->say = say;
    sigemptyset(&i->set);
    for (size_t k = 0; k < BR_COUNTOF(ending); k++) {
        struct sigaction now;
        if (sigaction(ending[k], NULL, &now) || now.sa_handler == SIG_IGN)
            continue; /* nohup: it stays ignored */
        sigaddset(&i->set, ending[k]);
        i->last = ending[k];
        n++;
    }
    if (!n || pthread_sigmask(SIG_BLOCK, &i->set, &i->before))
        return;
    i->running = !pthread_create(&i->thread, NULL, wait_for_end, i);
    if (!i->running)
        pthread_sigmask(SIG_SETMASK, &i->before, NULL);
}

void br__interrupt_end(struct br__interrupt *i)
{
    if (!i->running)
        return;
    atomic_store(&i->over, 1);
    pthread_kill(i->thread, i->last);
    pthread_join(i->thread, NULL);
    pthread_sigmask(SIG_SETMASK, &i->before, NULL);
    i->running = 0;
}
