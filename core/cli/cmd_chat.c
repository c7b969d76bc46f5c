/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_chat.c - chat-template: conversations in JSON to the text of prompts. */
#include "cli.h"

#include <bridge/chat.h>
#include <bridge/tokenizer.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* One conversation, or one line of many, is at most this long. */
#define INPUT_MAX ((size_t)256 << 20)

/* One conversation.  Members of its JSON object override the command line. */
struct row {
    br__json *json;
    struct br_chat_request req;
    struct br__buf messages, tools, documents, kwargs; /* JSON texts that req points to */
};

static void row_free(struct row *r)
{
    br__json_free(r->json);
    br__buf_free(&r->messages);
    br__buf_free(&r->tools);
    br__buf_free(&r->documents);
    br__buf_free(&r->kwargs);
}

/* JSON text of a member in *b; NULL if it is absent or null. */
static int member_text(const br__json *obj, const char *key, struct br__buf *b, const char **text,
                       struct br_err *err)
{
    const br__json *v = br__json_get(obj, key);
    char kind = br__json_kind(v);

    *text = NULL;
    if (!kind || kind == '0')
        return BR_OK;
    if (br__json_print(v, 0, b))
        return br_fail(err, b->failed, "cannot hold \"%s\" in memory", key);
    *text = b->p;
    return BR_OK;
}

/* A member that is true, false, null or absent: 1, 0, or dflt. */
static int member_bool(const br__json *obj, const char *key, int dflt, int *out, struct br_err *err)
{
    const br__json *v = br__json_get(obj, key);
    char kind = br__json_kind(v);

    *out = br__json_bool(v, dflt);
    if (kind && kind != '0' && kind != 'b')
        return br_fail(err, BR_E_FORMAT, "\"%s\" is neither true nor false nor null", key);
    return BR_OK;
}

/* "continue_final_message": true, false, or the member of the last message to continue. */
static int member_continued(const br__json *obj, const char **field, struct br_err *err)
{
    static const char key[] = "continue_final_message";
    const char *name = br__json_str(br__json_get(obj, key), NULL);
    int on = *field != NULL;

    if (name) {
        *field = name;
        return BR_OK;
    }
    int rc = member_bool(obj, key, on, &on, err);
    if (rc)
        br_wrap(err, "and no name of a member");
    *field = on ? "content" : NULL;
    return rc;
}

static int read_object(struct row *r, struct br_err *err)
{
    int on = 0, thinking = r->req.enable_thinking == BR_CHAT_UNSET
                               ? -1
                               : r->req.enable_thinking == BR_CHAT_ON;
    int rc = member_text(r->json, "messages", &r->messages, &r->req.messages_json, err);

    if (!rc)
        rc = member_text(r->json, "tools", &r->tools, &r->req.tools_json, err);
    if (!rc)
        rc = member_text(r->json, "documents", &r->documents, &r->req.documents_json, err);
    if (!rc)
        rc = member_text(r->json, "chat_template_kwargs", &r->kwargs, &r->req.kwargs_json, err);
    if (!rc)
        rc = member_bool(r->json, "add_generation_prompt", r->req.add_generation_prompt, &on, err);
    if (!rc)
        rc = member_bool(r->json, "enable_thinking", thinking, &thinking, err);
    if (!rc)
        rc = member_continued(r->json, &r->req.continue_field, err);
    if (!rc && !r->req.messages_json)
        rc = br_fail(err, BR_E_FORMAT, "there are no \"messages\"");
    r->req.add_generation_prompt = on;
    r->req.enable_thinking = thinking < 0 ? BR_CHAT_UNSET : thinking ? BR_CHAT_ON : BR_CHAT_OFF;
    return rc;
}

/* An object with messages and more; or, unless it is a line of many, an array of messages. */
static int row_read(struct row *r, const char *text, size_t n, int many, struct br_err *err)
{
    int rc = br__json_parse(&r->json, text, n, err);

    if (rc)
        return rc;
    char kind = br__json_kind(r->json);
    if (kind == 'o')
        return read_object(r, err);
    if (many || kind != 'a')
        return br_fail(err, BR_E_FORMAT, "%s is needed: {\"messages\": [...]}",
                       many ? "a JSON object" : "a JSON object or an array of messages");
    rc = br__json_print(r->json, 0, &r->messages);
    r->req.messages_json = r->messages.p;
    return rc ? br_fail(err, rc, "cannot hold the messages in memory") : BR_OK;
}

/* The template, and what the tokens of its text are needed for. */
struct renderer {
    struct br_chat *chat;
    struct br_tokenizer *tok; /* NULL: no mask */
    int many;                 /* lines, and one JSON object for each */
};

/* {"text": ..., "ids": [...], "assistant_mask": [...]} */
static int put_mask(struct br__buf *line, const struct br_chat_result *out,
                    const struct br_tokenizer *tok, struct br_err *err)
{
    struct br_ids ids = {0};
    unsigned char *mask;
    int rc = br_chat_mask(out, tok, &ids, &mask, err);

    if (!rc)
        br__buf_puts(line, ", \"ids\": [");
    for (size_t i = 0; i < ids.n && !rc; i++)
        br__buf_printf(line, i ? ", %d" : "%d", (int)ids.p[i]);
    if (!rc)
        br__buf_puts(line, "], \"assistant_mask\": [");
    for (size_t i = 0; i < ids.n && !rc; i++)
        br__buf_puts(line, i ? mask[i] ? ", 1" : ", 0" : mask[i] ? "1" : "0");
    if (!rc)
        br__buf_putc(line, ']');
    br_chat_free_mask(mask);
    br_ids_free(&ids);
    return rc;
}

static int put_result(const struct renderer *x, const struct br_chat_result *out,
                      struct br_err *err)
{
    struct br__buf line = {0};
    int rc = BR_OK;

    if (!x->many && !x->tok) {
        br__print_model_text(out->text, out->n);
        return BR_OK;
    }
    br__buf_puts(&line, "{\"text\": ");
    br__buf_json_str(&line, out->text);
    if (x->tok)
        rc = put_mask(&line, out, x->tok, err);
    br__buf_puts(&line, "}\n");
    if (!rc && line.failed)
        rc = br_fail(err, line.failed, "cannot hold the text in memory");
    if (!rc) /* write errors are found when stdout is closed */
        br__print_model_text(line.p, line.n);
    br__buf_free(&line);
    return rc;
}

static int chat_render(struct br__cli *c, const struct renderer *x, const char *text, size_t n,
                       struct br_err *err)
{
    struct row r = {.req = {.struct_size = sizeof r.req}};
    struct br_chat_result out = {0};

    r.req.add_generation_prompt = BR__FLAG(c, ADD_GENERATION_PROMPT);
    if (BR__FLAG(c, ENABLE_THINKING))
        r.req.enable_thinking = BR__INT(c, ENABLE_THINKING) ? BR_CHAT_ON : BR_CHAT_OFF;
    if (BR__FLAG(c, CONTINUE_FINAL))
        r.req.continue_field = "content";
    int rc = row_read(&r, text, n, x->many, err);
    if (!rc)
        rc = x->tok ? br_chat_render_spans(x->chat, &r.req, &out, err)
                    : br_chat_render(x->chat, &r.req, &out.text, &out.n, err);
    if (!rc)
        rc = put_result(x, &out, err);
    br_chat_free_result(&out);
    row_free(&r);
    return rc;
}

static int is_blank(const char *s, size_t n)
{
    return strspn(s, " \t\r\n") >= n;
}

static int render_lines(struct br__cli *c, const struct renderer *x, FILE *in, struct br_err *err)
{
    char *line = NULL;
    size_t cap = 0, number = 0;
    ssize_t n;
    int rc = BR_OK;

    while (!rc && (n = getline(&line, &cap, in)) >= 0) {
        number++;
        if (is_blank(line, (size_t)n))
            continue;
        rc = (size_t)n > INPUT_MAX ? br_fail(err, BR_E_FORMAT, "longer than %zu bytes", INPUT_MAX)
                                   : chat_render(c, x, line, (size_t)n, err);
        if (rc)
            br_wrap(err, "input line %zu", number);
    }
    free(line);
    return rc;
}

static int render_one(struct br__cli *c, const struct renderer *x, FILE *in, struct br_err *err)
{
    struct br__buf text = {.max = INPUT_MAX};

    br__read_all(in, &text);
    int rc = text.failed
                 ? br_fail(err, text.failed, "the input is longer than %zu bytes", INPUT_MAX)
                 : chat_render(c, x, text.p, text.n, err);
    br__buf_free(&text);
    return rc;
}

static int render_input(struct br__cli *c, const struct renderer *x, const char *path,
                        struct br_err *err)
{
    FILE *in = path ? fopen(path, "r") : stdin;

    if (!in)
        return br_fail(err, errno == ENOENT ? BR_E_NOTFOUND : BR_E_IO, "cannot open '%s': %s", path,
                       strerror(errno));
    int rc = x->many ? render_lines(c, x, in, err) : render_one(c, x, in, err);
    if (!rc && ferror(in))
        rc = br_fail(err, BR_E_IO, "cannot read '%s': %s", path ? path : "standard input",
                     strerror(errno));
    if (path)
        fclose(in);
    return rc;
}

int br__cmd_chat_template(struct br__cli *c, struct br_err *err)
{
    struct renderer x = {.many = BR__FLAG(c, JSONL)};
    const char *dir;
    int rc = br__hf_resolve(&c->arena, BR__TEXT(c, CHAT_TOKENIZER), &dir, err);

    if (!rc)
        rc = br_chat_open(&x.chat, dir, err);
    if (!rc && BR__FLAG(c, ASSISTANT_MASK))
        rc = br_tokenizer_open(&x.tok, dir, err);
    if (!rc)
        rc = render_input(c, &x, c->n_pos ? c->pos[0] : NULL, err);
    br_tokenizer_close(x.tok);
    br_chat_close(x.chat);
    return rc;
}
