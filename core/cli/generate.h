/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* generate.h - what the files of `bridge generate` share: the model that is open, prompts and their
 * answers (generation.c), the conversation on a terminal (converse.c), and how a line is read there
 * (line.c). */
#ifndef BRIDGE_CORE_CLI_GENERATE_H
#define BRIDGE_CORE_CLI_GENERATE_H

#include "../infer/infer.h"
#include "cli.h"

#include <bridge/chat.h>
#include <bridge/tokenizer.h>

struct br__generation {
    struct br__cli *c;
    struct br__report r;
    struct br__llm *m;
    struct br__llm_session *s;
    struct br_tokenizer *tok;
    struct br_chat *chat;
    const char *tokenizer_dir;
    struct br__gen_opts o;
    int32_t eos[BR__MAX_EOS];
    struct br_ids *prompts; /* [n] */
    struct br__gen_sequence *seqs;
    size_t n, cap;
    struct br__gen_stats stats;
    double began; /* when the command, or the turn of a conversation, started */
    int streaming;
    struct br__wait wait; /* for the first token */
};

/* One more prompt, which takes the ids. */
int br__generation_add(struct br__generation *g, struct br_ids ids,
                       struct br_err *err) BR_MUST_CHECK;
/* A message {"role": ..., "content": ...} after others of a JSON array without its brackets. */
void br__generation_message(struct br__buf *messages, const char *role, const char *content);
/* The conversation as one prompt: the template's text, encoded. */
int br__generation_chat(struct br__generation *g, const struct br__buf *messages,
                        struct br_err *err) BR_MUST_CHECK;
/* A text as one prompt. */
int br__generation_text(struct br__generation *g, const char *text, size_t n,
                        struct br_err *err) BR_MUST_CHECK;
void br__generation_forget(struct br__generation *g); /* all prompts and answers */
int br__generation_run(struct br__generation *g, struct br_err *err) BR_MUST_CHECK;
double br__generation_rate(size_t n, double seconds); /* tokens per second; 0 in no time */
void br__generation_closing_line(const struct br__generation *g);
/* Turns until the user leaves. */
int br__converse(struct br__generation *g, struct br_err *err) BR_MUST_CHECK;

/* ---- line.c: a line from a terminal ---------------------------------------------------------- */

/* Editing and history as libedit has them; a terminal that can do nothing (TERM=dumb) reads plain
 * lines.  Between open and close SIGINT ends no program: it is asked for with br__line_interrupted.
 */
struct br__line;
int br__line_open(struct br__line **out, struct br_err *err) BR_MUST_CHECK;
void br__line_close(struct br__line *l); /* NULL is fine */
enum br__line_end {
    BR__LINE_TEXT,
    BR__LINE_CLEARED, /* SIGINT while something was typed: it is dropped */
    BR__LINE_LEAVE    /* end of input, or SIGINT at an empty prompt */
};
/* The next line without its line break, valid until the next call. */
enum br__line_end br__line_read(struct br__line *l, const char *prompt, const char **text);
/* Between two lines: from here on the first SIGINT is kept, a second one ends the program. */
void br__line_busy(void);
int br__line_interrupted(void); /* since br__line_busy */

#endif
