/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* chat.h - chat templates: a conversation to the text of a prompt, as transformers renders it.
 *
 * A model says how its prompts look by a Jinja template beside its tokenizer.  The template is run
 * by an interpreter of our own, in bounded time and memory, without any access to files or the
 * system. */
#ifndef BRIDGE_CHAT_H
#define BRIDGE_CHAT_H

#include <bridge/base.h>
#include <bridge/tokenizer.h>

#ifdef __cplusplus
extern "C" {
#endif

struct br_chat;

/* An option that may also be absent: templates can tell "not given" from "off". */
enum br_chat_switch { BR_CHAT_UNSET, BR_CHAT_OFF, BR_CHAT_ON };

struct br_chat_request {
    uint32_t struct_size;
    int32_t add_generation_prompt; /* nonzero: end with the opening of the assistant's turn */
    int32_t enable_thinking;       /* enum br_chat_switch */
    uint32_t reserved;
    const char *messages_json;  /* array of objects, usually with "role" and "content" */
    const char *tools_json;     /* array of tools, or NULL: the template sees none */
    const char *documents_json; /* array of objects, or NULL */
    const char *kwargs_json;    /* object: more variables of the template, or NULL */
    int64_t now; /* seconds since 1970 for templates that print a date; 0: the clock */
    /* Member of the last message, "content" or "reasoning_content", whose text the model shall go
     * on with: the result ends behind it.  NULL: none.  Not with add_generation_prompt. */
    const char *continue_field;
};

/* A part of the text that the assistant says: bytes [begin, end). */
struct br_chat_span {
    size_t begin, end;
};
struct br_chat_result {
    char *text; /* UTF-8, and a NUL */
    size_t n;
    struct br_chat_span *span; /* in order */
    size_t n_span;
};

/* Read and parse the template of a tokenizer directory: chat_template.jinja, with more of them in
 * additional_chat_templates/NAME.jinja; else "chat_template" of tokenizer_config.json, a text or a
 * list of {"name", "template"}.  BR_E_NOTFOUND if there is none; BR_E_FORMAT for what is no
 * template, BR_E_UNSUPPORTED for a construct that is not known here, both with the line. */
BR_API int br_chat_open(struct br_chat **out, const char *dir, struct br_err *err) BR_MUST_CHECK;

/* The text of a conversation: *n bytes of UTF-8 and a NUL, freed with br_chat_free_text.  With
 * tools the template named "tool_use" is used if there is one, else "default".  Members of a
 * message that are null count as absent.  BR_E_FORMAT also where the template itself refuses the
 * conversation. Several threads may render with one chat. */
BR_API int br_chat_render(const struct br_chat *chat, const struct br_chat_request *req,
                          char **text, size_t *n, struct br_err *err) BR_MUST_CHECK;

BR_API void br_chat_free_text(char *text);

/* The same, and what the assistant says: the text of the template's {% generation %} blocks, none
 * if it has no such block.  Not with continue_field.  BR_E_UNSUPPORTED too where such a block
 * stands in a macro.  Freed with br_chat_free_result, which is safe after a failure. */
BR_API int br_chat_render_spans(const struct br_chat *chat, const struct br_chat_request *req,
                                struct br_chat_result *out, struct br_err *err) BR_MUST_CHECK;
BR_API void br_chat_free_result(struct br_chat_result *r);

/* The ids of a rendered text (*ids is emptied first), and for each 1 if some of it is in a span,
 * else 0: ids->n bytes, freed with br_chat_free_mask.  BR_E_UNSUPPORTED for a tokenizer that
 * changes text. */
BR_API int br_chat_mask(const struct br_chat_result *r, const struct br_tokenizer *tok,
                        struct br_ids *ids, unsigned char **mask, struct br_err *err) BR_MUST_CHECK;
BR_API void br_chat_free_mask(unsigned char *mask);

BR_API void br_chat_close(struct br_chat *chat); /* NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
