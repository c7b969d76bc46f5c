/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* converse.c - a conversation on a terminal: one message a line, answers as they come.
 *
 * A turn that fails is taken back, and the conversation goes on.  When the context is full the
 * oldest turns are forgotten, never the system message. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_ROOM = 512, /* tokens that a prompt leaves for the answer, where the context has them */
};

struct turn {
    char *user, *answer; /* answer is NULL while it is being given */
};

struct talk {
    struct br__generation *g;
    struct br__line *line;
    char *system; /* or NULL */
    struct turn *turns;
    size_t n, cap;
    size_t first; /* of the turns that the model still sees */
    uint64_t asked;
    int done;
};

/* ---- what was said --------------------------------------------------------------------------- */

static void forget_turn(struct turn *t)
{
    br__free(t->user);
    br__free(t->answer);
    memset(t, 0, sizeof *t);
}

static void reset(struct talk *t)
{
    for (size_t i = 0; i < t->n; i++)
        forget_turn(&t->turns[i]);
    t->n = t->first = 0;
}

static int remember(struct talk *t, const char *line, struct br_err *err)
{
    if (br__grow(&t->turns, &t->cap, t->n, sizeof *t->turns))
        return br__nomem(err, "for the conversation");
    t->turns[t->n] = (struct turn){.user = br__strdup(line)};
    if (!t->turns[t->n].user)
        return br__nomem(err, "for the conversation");
    t->n++;
    return BR_OK;
}

/* ---- the prompt ------------------------------------------------------------------------------ */

/* What the model sees, from turn `from` on. */
static int render(struct talk *t, size_t from, struct br_err *err)
{
    struct br__buf messages = {0};
    br__generation_forget(t->g);
    if (!t->g->chat) /* no template: each line is a text to continue */
        return br__generation_text(t->g, t->turns[t->n - 1].user, strlen(t->turns[t->n - 1].user),
                                   err);
    if (t->system)
        br__generation_message(&messages, "system", t->system);
    for (size_t i = from; i < t->n; i++) {
        br__generation_message(&messages, "user", t->turns[i].user);
        if (t->turns[i].answer)
            br__generation_message(&messages, "assistant", t->turns[i].answer);
    }
    int rc = br__generation_chat(t->g, &messages, err);
    br__buf_free(&messages);
    return rc;
}

/* Forget the oldest turns until there is room for an answer. */
static int make_prompt(struct talk *t, struct br_err *err)
{
    int64_t context = br__llm_capacity(t->g->s);
    int64_t most = context - BR__MIN((int64_t)ANSWER_ROOM, context / 4);
    size_t first = t->first;
    int rc = render(t, first, err);
    while (!rc && first + 1 < t->n && (int64_t)t->g->seqs[0].n_prompt > most)
        rc = render(t, ++first, err);
    if (!rc && (int64_t)t->g->seqs[0].n_prompt > context)
        return br_fail(err, BR_E_USAGE,
                       "the message has %zu tokens with what belongs to it, the context %lld",
                       t->g->seqs[0].n_prompt, (long long)context);
    if (!rc && first > t->first)
        br__say(stderr,
                "bridge: the context of %lld tokens is full: the oldest %zu of %zu messages are "
                "forgotten; /reset begins anew",
                (long long)context, first, t->n - 1);
    if (!rc)
        t->first = first;
    return rc;
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* Why an answer ends where its text does not. */
static void tell_end(const struct talk *t)
{
    const struct br__gen_sequence *s = &t->g->seqs[0];
    const char *finish = s->finish ? s->finish : "";
    if (!strcmp(finish, "cancelled"))
        br__say(stderr, "bridge: the answer was stopped; Ctrl-C once more leaves");
    else if (!strcmp(finish, "length") && (int64_t)s->n_ids >= t->g->o.max_new_tokens)
        br__say(stderr, "bridge: the answer was cut at --max-new-tokens %lld",
                (long long)t->g->o.max_new_tokens);
    else if (!strcmp(finish, "length"))
        br__say(stderr, "bridge: the answer was cut: the context of %lld tokens is full",
                (long long)br__llm_capacity(t->g->s));
}

static int cancelled(void *ud)
{
    (void)ud;
    return br__line_interrupted();
}

static int answer(struct talk *t, struct br_err *err)
{
    uint64_t seed = t->g->o.sample.seed;
    br__line_busy();
    t->g->began = br__now();
    t->g->o.sample.seed = seed + t->asked++; /* the same question twice is not the same draw */
    int rc = make_prompt(t, err);
    if (!rc)
        rc = br__generation_run(t->g, err);
    t->g->o.sample.seed = seed;
    if (rc)
        return rc;
    const struct br__gen_sequence *s = &t->g->seqs[0];
    t->turns[t->n - 1].answer = br__strdup(s->text.p ? s->text.p : "");
    if (!t->turns[t->n - 1].answer)
        return br__nomem(err, "for the conversation");
    putchar('\n');
    fflush(stdout);
    tell_end(t);
    br__generation_closing_line(t->g);
    return BR_OK;
}

/* ---- commands -------------------------------------------------------------------------------- */

static int say_help(struct talk *t, const char *rest, struct br_err *err);

static int leave(struct talk *t, const char *rest, struct br_err *err)
{
    (void)rest;
    (void)err;
    t->done = 1;
    return BR_OK;
}

static int begin_anew(struct talk *t, const char *rest, struct br_err *err)
{
    (void)rest;
    (void)err;
    reset(t);
    br__say(stdout, "a new conversation%s", t->system ? ", with the same system message" : "");
    return BR_OK;
}

static int set_system(struct talk *t, const char *rest, struct br_err *err)
{
    if (!t->g->chat) {
        br__say(stdout, "a system message needs --chat");
        return BR_OK;
    }
    if (!*rest) {
        br__say(stdout, "system message: %s", t->system ? t->system : "none");
        return BR_OK;
    }
    char *copy = br__strdup(rest);
    if (!copy)
        return br__nomem(err, "for the conversation");
    br__free(t->system);
    t->system = copy;
    reset(t);
    br__say(stdout, "a new conversation, with this system message");
    return BR_OK;
}

static const struct command {
    const char *name, *help;
    int (*run)(struct talk *t, const char *rest, struct br_err *err);
} commands[] = {
    {"/exit", "leave; so do Ctrl-D, and Ctrl-C at an empty prompt", leave},
    {"/reset", "forget the conversation", begin_anew},
    {"/system", "TEXT: another system message and a new conversation; without TEXT show it",
     set_system},
    {"/help", "these lines; a message that begins with / is sent with a blank before it", say_help},
    {"/quit", NULL, leave},
    {"/bye", NULL, leave},
    {"/?", NULL, say_help},
};

static int say_help(struct talk *t, const char *rest, struct br_err *err)
{
    (void)t;
    (void)rest;
    (void)err;
    for (size_t i = 0; i < BR_COUNTOF(commands); i++)
        if (commands[i].help)
            br__say(stdout, "%-8s  %s", commands[i].name, commands[i].help);
    br__say(stdout, "Ctrl-C while an answer comes stops the answer");
    return BR_OK;
}

/* A line that begins with a slash. */
static int run_command(struct talk *t, const char *line, struct br_err *err)
{
    size_t n = strcspn(line, " \t");
    for (size_t i = 0; i < BR_COUNTOF(commands); i++)
        if (strlen(commands[i].name) == n && !memcmp(line, commands[i].name, n))
            return commands[i].run(t, line + n + strspn(line + n, " \t"), err);
    br__say(stdout, "there is no %.*s; /help lists what there is", (int)BR__MIN(n, (size_t)40),
            line);
    return BR_OK;
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Errors of a message are told, those of the machine end the conversation. */
static int is_of_message(int rc)
{
    return rc == BR_E_USAGE || rc == BR_E_CONFIG || rc == BR_E_FORMAT || rc == BR_E_UNSUPPORTED;
}

static int take_turn(struct talk *t, const char *line, struct br_err *err)
{
    struct br_err why = BR_ERR_INIT;
    int rc = remember(t, line, err);
    if (rc)
        return rc;
    rc = answer(t, &why);
    if (rc) {
        forget_turn(&t->turns[--t->n]);
        if (!is_of_message(rc)) {
            *err = why;
            return rc;
        }
        br__print_error(&why, 0);
    }
    return BR_OK;
}

static int take_line(struct talk *t, struct br_err *err)
{
    const char *line;
    switch (br__line_read(t->line, "> ", &line)) {
    case BR__LINE_LEAVE:
        t->done = 1;
        return BR_OK;
    case BR__LINE_CLEARED:
        return BR_OK;
    case BR__LINE_TEXT:
        break;
    }
    if (line[0] == '/')
        return run_command(t, line, err);
    return line[strspn(line, " \t")] ? take_turn(t, line, err) : BR_OK;
}

int br__converse(struct br__generation *g, struct br_err *err)
{
    struct talk t = {.g = g};
    int64_t max = br_cfg_i(br__llm_config(g->m), BR_CFG_SEQ_LENGTH);
    int64_t context = BR__FLAG(g->c, CONTEXT) ? BR__INT(g->c, CONTEXT) : max;
    int rc = br__llm_session_open(&g->s, g->m, 1, context, err);
    if (!rc && BR__FLAG(g->c, SYSTEM) && !(t.system = br__strdup(BR__TEXT(g->c, SYSTEM))))
        rc = br__nomem(err, "for the conversation");
    if (!rc)
        rc = br__line_open(&t.line, err);
    g->streaming = 1;
    g->o.cancelled = cancelled;
    if (!BR__FLAG(g->c, MAX_NEW_TOKENS))
        g->o.max_new_tokens = INT32_MAX;
    if (!rc && !g->r.quiet)
        br__say(stderr, "bridge: /help lists the commands; Ctrl-C stops an answer, Ctrl-D leaves");
    while (!rc && !t.done)
        rc = take_line(&t, err);
    br__line_close(t.line);
    reset(&t);
    br__free(t.turns);
    br__free(t.system);
    return rc;
}
