/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* text.h - the door of core/text: tokenizers, chat templates, stop strings.
 *
 * Tokenizers and chat templates have public headers of their own.  This folder knows the files
 * tokenizer.json, tokenizer_config.json and *.jinja; it knows no checkpoint and no model.
 * tok/ is the tokenizer, jinja/ the template language. */
#ifndef BRIDGE_CORE_TEXT_H
#define BRIDGE_CORE_TEXT_H

#include "../base/base.h"
#include <bridge/chat.h>
#include <bridge/tokenizer.h>

/* Holds back the end of a text that may become a stop string. */
struct br__stop;
/* n >= 0 strings, copied.  BR_E_USAGE: an empty one, or one that is not UTF-8. */
int br__stop_new(struct br__stop **out, const char *const *strings, size_t n,
                 struct br_err *err) BR_MUST_CHECK;
void br__stop_free(struct br__stop *s);
/* Add text (whole code points), and append to *out what can be shown: all but the end that may
 * become a stop string.  Returns the index of the stop string that ended the text, or -1.  Then
 * *out has the text before that string; the string and later text are dropped.  The result does not
 * depend on how the text is cut into pieces. */
int br__stop_feed(struct br__stop *s, const char *text, size_t n, struct br__buf *out);
/* The text ended: append what was held back.  Afterwards the object can be used for a new text. */
void br__stop_end(struct br__stop *s, struct br__buf *out);

/* Versions of the libraries that this folder alone sees, as loaded; NULL: out of memory. */
const char *br__pcre2_version(struct br__arena *a);
const char *br__utf8proc_version(struct br__arena *a);

#endif
