/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* interrupt.c - when SIGINT, SIGTERM or SIGHUP ends a run, remove its temporary folder, or say that
 * it can be resumed.  All threads block the signals and one thread waits for them, because a signal
 * handler may not remove a folder. */
#include "../convert/convert.h"
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

/* ---- what is kept ---------------------------------------------------------------------------- */

/* Bytes of the interrupted downloads of a model. */
static uint64_t kept_of_id(struct br__arena *a, const struct br__cli *c, const char *id)
{
    struct br__cache_repo *repos;
    const char *root = BR__TEXT(c, CACHE_DIR);
    size_t n, k = strcspn(id, "@");

    if ((!root && br__hf_cache_root(a, id, &root, NULL)) ||
        br__cache_list(a, root, &repos, &n, NULL))
        return 0;
    for (size_t i = 0; i < n; i++)
        if (strlen(repos[i].id) == k && !memcmp(repos[i].id, id, k))
            return repos[i].incomplete_bytes;
    return 0;
}

const char *br__command_line(struct br__arena *a, const struct br__cli *c)
{
    struct br__buf b = {0};

    br__buf_puts(&b, "bridge");
    for (int i = 1; i < c->argc; i++)
        br__buf_printf(&b, " %s", br__shell_word(a, c->argv[i]));
    const char *line = b.failed ? NULL : br__arena_strdup(a, b.p);
    br__buf_free(&b);
    return line ? line : "the same command";
}

void br__tell_kept(void *kept)
{
    const struct br__kept *k = kept;
    struct br__arena a = {0};
    struct br__work_kept w = {0};
    const char *name = k->dest;
    char human[32];

    if (name && k->is_id) {
        name = br__arena_strndup(&a, name, strcspn(name, "@"));
        w.bytes = name ? kept_of_id(&a, k->c, name) : 0;
        w.n_parts = w.bytes != 0;
    } else if (name && br__work_kept(&a, name, &w, NULL)) {
        w.bytes = 0;
    }
    br__human_bytes(w.bytes, human);
    if (!w.bytes)
        br__say(stderr, "bridge: interrupted; nothing is kept");
    else if (!w.n_parts)
        br__say(stderr,
                "bridge: interrupted before a part was finished; to remove the %s in %s: bridge "
                "clean %s",
                human, w.path, br__shell_word(&a, name));
    else
        br__say(stderr,
                "bridge: interrupted; %s are kept%s%s; to go on: %s; to remove them: bridge clean "
                "%s",
                human, w.path ? " in " : "", w.path ? w.path : "", br__command_line(&a, k->c),
                br__shell_word(&a, name));
    br__arena_free(&a);
}

/* ---- the signal ------------------------------------------------------------------------------ */

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

    if (i->tell && !i->temp) {
        if (isatty(STDERR_FILENO))
            putc('\n', stderr); /* below the progress bar */
        i->tell(i->ud);
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

void br__interrupt_start(struct br__interrupt *i, const char *temp, void (*tell)(void *ud),
                         void *ud)
{
    i->temp = temp;
    i->tell = tell;
    i->ud = ud;
    if (i->held)
        i->running = !pthread_create(&i->thread, NULL, wait_for_end, i);
    if (!i->running)
        br__interrupt_end(i);
}

void br__interrupt_begin(struct br__interrupt *i, const char *temp, void (*tell)(void *ud),
                         void *ud)
{
    br__interrupt_hold(i);
    br__interrupt_start(i, temp, tell, ud);
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
