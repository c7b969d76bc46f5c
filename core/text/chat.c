/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* chat.c - chat templates of tokenizer directories: finding them, and the variables they see. Where
 * templates are looked for, which one of several is used, and how messages are changed before a
 * template sees them follows transformers (tokenization_utils_base, chat_template_utils). */
#include "jinja/jinja.h"
#include "tok/tok.h"

#include <bridge/chat.h>
#include <string.h>
#include <time.h>

#define TEMPLATE_MAX ((size_t)4 << 20)
#define CONFIG_MAX ((size_t)64 << 20)
#define MAX_TEMPLATES 16

/* A long conversation with many tools takes 10^5 steps and some MiB. */
static const struct br__jj_limits limits = {
    .steps = UINT64_C(50000000), .bytes = (size_t)512 << 20, .output = (size_t)128 << 20};

static const char *const special_tokens[] = {"bos_token", "eos_token", "unk_token", "sep_token",
                                             "pad_token", "cls_token", "mask_token"};

struct named {
    const char *name;
    struct br__jj_template *template;
};

struct br_chat {
    struct br__arena arena;
    const char *dir;
    struct named list[MAX_TEMPLATES];
    size_t n;
    const char *token[BR_COUNTOF(special_tokens)]; /* NULL: the template does not see it */
};

/* ---- opening --------------------------------------------------------------------------------- */

static int chat_add(struct br_chat *c, const char *name, const char *text, size_t n,
                    struct br_err *err)
{
    if (c->n == MAX_TEMPLATES)
        return br_fail(err, BR_E_UNSUPPORTED, "more than %d chat templates", MAX_TEMPLATES);
    struct named *t = &c->list[c->n];
    t->name = br__arena_strdup(&c->arena, name);
    if (!t->name)
        return br__nomem(err, "reading a chat template");
    int rc = br__jj_compile(&t->template, text, n, err);
    if (rc)
        br_wrap(err, "chat template '%s'", name);
    else
        c->n++;
    return rc;
}

/* A template in a file of its own; *found says whether there is one. */
static int add_file(struct br_chat *c, const char *dir, const char *file, const char *name,
                    int *found, struct br_err *err)
{
    char *path = br__path_join(&c->arena, dir, file), *text;
    size_t n;

    *found = 0;
    if (!path)
        return br__nomem(err, "reading a chat template");
    if (!br__exists(path))
        return BR_OK;
    int rc = br__read_text(path, TEMPLATE_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = chat_add(c, name, text, n, err);
    br__free(text);
    *found = !rc;
    return rc;
}

static int add_more_files(struct br_chat *c, struct br_err *err)
{
    static const char ending[] = ".jinja";
    char *dir = br__path_join(&c->arena, c->dir, "additional_chat_templates"), **names;
    size_t n;
    int found;

    if (!dir)
        return br__nomem(err, "reading a chat template");
    if (!br__is_dir(dir))
        return BR_OK;
    int rc = br__list_dir(&c->arena, dir, &names, &n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        if (!br__ends(names[i], ending))
            continue;
        char *name = br__arena_strndup(&c->arena, names[i], strlen(names[i]) - strlen(ending));
        rc = name ? add_file(c, dir, names[i], name, &found, err)
                  : br__nomem(err, "reading a chat template");
    }
    return rc;
}

/* "chat_template" of tokenizer_config.json. */
static int add_from_config(struct br_chat *c, const br__json *t, struct br_err *err)
{
    int rc = BR_OK;

    if (br__json_kind(t) == 's')
        return chat_add(c, "default", br__json_str(t, ""), strlen(br__json_str(t, "")), err);
    if (br__json_kind(t) != 'a')
        return br_fail(err, BR_E_FORMAT, "\"chat_template\" is neither a text nor a list");
    for (const br__json *e = br__json_first(t); e && !rc; e = br__json_next(e)) {
        const char *name = br__json_str(br__json_get(e, "name"), NULL);
        const char *text = br__json_str(br__json_get(e, "template"), NULL);
        if (!name || !text)
            return br_fail(err, BR_E_FORMAT,
                           "an element of \"chat_template\" lacks its \"name\" or \"template\"");
        rc = chat_add(c, name, text, strlen(text), err);
    }
    return rc;
}

/* A token is a text, or an object with its text and how it is matched. */
static int read_tokens(struct br_chat *c, const br__json *config, struct br_err *err)
{
    for (size_t i = 0; i < BR_COUNTOF(special_tokens); i++) {
        const br__json *t = br__json_get(config, special_tokens[i]);
        if (br__json_kind(t) == 'o')
            t = br__json_get(t, "content");
        const char *s = br__json_str(t, NULL);
        if (!s || c->token[i])
            continue;
        c->token[i] = br__arena_strdup(&c->arena, s);
        if (!c->token[i])
            return br__nomem(err, "reading a chat template");
    }
    return BR_OK;
}

/* Read the tokens of a JSON file, and its templates if none was found yet.  The file may be absent.
 */
static int read_config(struct br_chat *c, const char *file, struct br_err *err)
{
    char *path = br__path_join(&c->arena, c->dir, file), *text;
    br__json *config;
    size_t n;

    if (!path)
        return br__nomem(err, "reading a chat template");
    if (!br__exists(path))
        return BR_OK;
    int rc = br__read_text(path, CONFIG_MAX, &text, &n, err);
    if (rc)
        return rc;
    rc = br__json_parse(&config, text, n, err);
    br__free(text);
    if (!rc) {
        const br__json *t = br__json_get(config, "chat_template");
        rc = read_tokens(c, config, err);
        if (!rc && !c->n && br__json_kind(t) && br__json_kind(t) != '0')
            rc = add_from_config(c, t, err);
        br__json_free(config);
    }
    if (rc)
        br_wrap(err, "%s", path);
    return rc;
}

static int open_dir(struct br_chat *c, const char *dir, struct br_err *err)
{
    int found;

    c->dir = br__arena_strdup(&c->arena, dir);
    if (!c->dir)
        return br__nomem(err, "reading a chat template");
    if (!br__is_dir(dir))
        return br_fail(err, BR_E_NOTFOUND, "tokenizer directory '%s' does not exist", dir);
    int rc = add_file(c, dir, "chat_template.jinja", "default", &found, err);
    if (!rc)
        rc = add_more_files(c, err);
    if (rc) {
        br_wrap(err, "%s", dir);
        return rc;
    }
    rc = read_config(c, "tokenizer_config.json", err);
    if (!rc)
        rc = read_config(c, "special_tokens_map.json", err);
    if (!rc && !c->n)
        rc = br_fail(
            err, BR_E_NOTFOUND,
            "'%s' has no chat template: neither chat_template.jinja nor \"chat_template\" in "
            "tokenizer_config.json",
            dir);
    return rc;
}

int br_chat_open(struct br_chat **out, const char *dir, struct br_err *err)
{
    *out = NULL;
    struct br_chat *c = br__calloc(1, sizeof *c);
    if (!c)
        return br__nomem(err, "reading a chat template");
    int rc = open_dir(c, dir, err);
    if (rc)
        br_chat_close(c);
    else
        *out = c;
    return rc;
}

void br_chat_close(struct br_chat *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < c->n; i++)
        br__jj_template_free(c->list[i].template);
    br__arena_free(&c->arena);
    br__free(c);
}

/* ---- rendering ------------------------------------------------------------------------------- */

static const struct br__jj_template *chat_find(const struct br_chat *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->list[i].name, name) == 0)
            return c->list[i].template;
    return NULL;
}

static int chat_choose(const struct br_chat *c, int tools, const struct br__jj_template **out,
                       struct br_err *err)
{
    *out = tools ? chat_find(c, "tool_use") : NULL;
    if (!*out)
        *out = chat_find(c, "default");
    if (!*out)
        return br_fail(err, BR_E_NOTFOUND, "%s: none of its %zu chat templates is named 'default'",
                       c->dir, c->n);
    return BR_OK;
}

/* A variable from JSON text; `kind` is 'a' or 'o', `text` NULL makes it none. */
static int define_json(struct br__jj *j, const char *name, const char *text, char kind,
                       struct br__jv *out, struct br_err *err)
{
    br__json *json;

    *out = br__jv_none();
    if (!text)
        return BR_OK;
    int rc = br__json_parse(&json, text, strlen(text), err);
    if (rc) {
        br_wrap(err, "%s", name);
        return rc;
    }
    if (br__json_kind(json) != kind)
        rc = br_fail(err, BR_E_FORMAT, "%s: a JSON %s is needed", name,
                     kind == 'a' ? "array" : "object");
    else
        *out = br__jv_from_json(j, json);
    br__json_free(json);
    return rc ? rc : j->rc;
}

static const struct br__jv *chat_member(struct br__jj *j, struct br__jv dict, const char *key)
{
    const struct br__jv *v = br__jv_get(j, dict, br__jv_text(key));
    return v && v->kind != BR__JV_NONE ? v : NULL;
}

static const char *const reasoning_names[] = {"reasoning_content", "thinking", "reasoning"};

/* A message without its null members.  Reasoning has several names: "thinking" or "reasoning" of
 * older interfaces is copied to "reasoning_content", and the other way round. */
static struct br__jv normal_message(struct br__jj *j, struct br__jv m)
{
    struct br__jv out = br__jv_dict(j, BR__JV_DICT);
    const struct br__jv *reasoning = NULL;

    for (size_t i = 0; i < BR_COUNTOF(reasoning_names) && !reasoning; i++)
        reasoning = chat_member(j, m, reasoning_names[i]);
    if (reasoning)
        br__jv_put(j, out, br__jv_text("thinking"), *reasoning);
    for (size_t i = 0; i < m.dict->n && br__jj_step(j, 1); i++)
        if (m.dict->val[i].kind != BR__JV_NONE)
            br__jv_put(j, out, m.dict->key[i], m.dict->val[i]);
    if (reasoning)
        br__jv_put(j, out, br__jv_text("reasoning_content"), *reasoning);
    return out;
}

static int define_messages(struct br__jj *j, const char *text, struct br__jv *out,
                           struct br_err *err)
{
    struct br__jv all;

    *out = br__jv_list(j, BR__JF_LIST);
    if (!text)
        return br_fail(err, BR_E_FORMAT, "messages: there are none");
    int rc = define_json(j, "messages", text, 'a', &all, err);
    if (rc)
        return rc;
    if (!all.list->n)
        return br_fail(err, BR_E_FORMAT, "messages: the conversation is empty");
    for (size_t i = 0; i < all.list->n && !j->rc; i++) {
        if (all.list->at[i].kind != BR__JV_DICT)
            return br_fail(err, BR_E_FORMAT, "messages: element %zu is no object", i);
        br__jv_push(j, *out, normal_message(j, all.list->at[i]));
    }
    br__jj_define(j, "messages", *out);
    return j->rc;
}

static int define_all(struct br__jj *j, const struct br_chat *c, const struct br_chat_request *req,
                      struct br__jv *messages, struct br_err *err)
{
    struct br__jv v;

    for (size_t i = 0; i < BR_COUNTOF(special_tokens); i++)
        if (c->token[i])
            br__jj_define(j, special_tokens[i], br__jv_text(c->token[i]));
    if (req->enable_thinking != BR_CHAT_UNSET)
        br__jj_define(j, "enable_thinking", br__jv_bool(req->enable_thinking == BR_CHAT_ON));
    int rc = define_json(j, "kwargs", req->kwargs_json, 'o', &v, err);
    if (rc)
        return rc;
    for (size_t i = 0; v.kind == BR__JV_DICT && i < v.dict->n; i++)
        br__jj_define(j, v.dict->key[i].s, v.dict->val[i]); /* keys of JSON end with a NUL */
    rc = define_json(j, "tools", req->tools_json, 'a', &v, err);
    br__jj_define(j, "tools", v);
    if (!rc)
        rc = define_json(j, "documents", req->documents_json, 'a', &v, err);
    br__jj_define(j, "documents", v);
    br__jj_define(j, "add_generation_prompt", br__jv_bool(req->add_generation_prompt));
    return rc ? rc : define_messages(j, req->messages_json, messages, err);
}

/* ---- going on with the final message --------------------------------------------------------- */

/* Stands behind the text to be continued while the template runs; as transformers has it, with a
 * blank that says whether the template trims the message. */
static const char continue_mark[] = "CONTINUE_FINAL_MESSAGE_TAG ";

static struct br__jv with_mark(struct br__jj *j, struct br__jv s)
{
    struct br__buf b = {.max = j->limits.bytes};

    br__buf_put(&b, s.s, s.n);
    br__buf_puts(&b, continue_mark);
    return br__jv_take(j, &b);
}

/* Mark the last of the parts of a message that has a text, in place; returns that text. */
static struct br__jv mark_part(struct br__jj *j, struct br__jv parts)
{
    for (size_t i = parts.list->n; i-- > 0 && !j->rc;) {
        struct br__jv part = parts.list->at[i];
        const struct br__jv *text =
            part.kind == BR__JV_DICT ? br__jv_get(j, part, br__jv_text("text")) : NULL;
        if (text && text->kind == BR__JV_STR) {
            struct br__jv final = *text;
            br__jv_put(j, part, br__jv_text("text"), with_mark(j, final));
            return final;
        }
    }
    return br__jj_fail(j, BR_E_FORMAT, "the final message has no text to continue");
}

/* Reasoning goes by several names: all that say the same are marked.  1 if the template's source
 * has one of the marked names. */
static int mark_fields(struct br__jj *j, struct br__jv m, const char *field, struct br__jv final,
                       const char *source)
{
    int reasoning = 0, known = 0;

    for (size_t i = 0; i < BR_COUNTOF(reasoning_names); i++)
        reasoning |= strcmp(field, reasoning_names[i]) == 0;
    for (size_t i = 0; i < (reasoning ? BR_COUNTOF(reasoning_names) : 1) && !j->rc; i++) {
        const char *name = reasoning ? reasoning_names[i] : field;
        const struct br__jv *v = br__jv_get(j, m, br__jv_text(name));
        if (!v || !br__jv_eq(j, *v, final))
            continue;
        known |= strstr(source, name) != NULL;
        if (final.kind == BR__JV_STR)
            br__jv_put(j, m, br__jv_text(name), with_mark(j, final));
    }
    return known;
}

/* Mark the field of the last message; *final is its text. */
static int mark_final(struct br__jj *j, struct br__jv messages, const char *field,
                      struct br__jv *final)
{
    struct br__jv m = messages.list->at[messages.list->n - 1];
    const struct br__jv *v = br__jv_get(j, m, br__jv_text(field));

    if (!v)
        br__jj_fail(j, BR_E_FORMAT, "the final message has no \"%.60s\" to continue", field);
    else if (v->kind != BR__JV_STR && v->kind != BR__JV_LIST)
        br__jj_fail(j, BR_E_FORMAT, "\"%.60s\" of the final message is no text", field);
    if (j->rc)
        return j->rc;
    *final = *v;
    if (!mark_fields(j, m, field, *final, br__jj_template_source(j->tmpl)))
        br__jj_fail(j, BR_E_FORMAT, "the template does not speak of \"%.60s\"", field);
    if (!j->rc && final->kind == BR__JV_LIST)
        *final = mark_part(j, *final);
    return j->rc;
}

/* Cut the text at the mark. */
static int cut_at_mark(struct br__jj *j, struct br__jv final, char *text, size_t *n)
{
    struct br__jv all = br__jv_slice(text, *n), at = br__jv_slice("", 0);
    struct br__jv mark =
        br__jv_slice(continue_mark, sizeof continue_mark - 2); /* without its blank */
    int trimmed = 1;

    for (size_t i = 0; (i = br__jj_find(j, all, i, mark)) <= all.n; i += mark.n)
        at = br__jv_slice(text + i, all.n - i);
    if (!j->rc && (!at.n || br__jj_find(j, all, 0, br__jj_strip(final, NULL, 0, 3)) > all.n))
        br__jj_fail(j, BR_E_FORMAT,
                    "the final message does not appear in the text of the template, so that it "
                    "cannot be continued");
    if (j->rc)
        return j->rc;
    trimmed = at.n == mark.n || at.s[mark.n] != ' ';
    all.n = (size_t)(at.s - text);
    *n = trimmed ? br__jj_strip(all, NULL, 0, 2).n : all.n;
    text[*n] = '\0';
    return BR_OK;
}

/* ---- a run ----------------------------------------------------------------------------------- */

static int copy_spans(const struct br__jj *j, struct br_chat_result *out, struct br_err *err)
{
    out->span = br__alloc((j->n_span + 1) * sizeof *out->span);
    if (!out->span)
        return br__nomem(err, "for the ranges of a conversation");
    for (size_t i = 0; i < j->n_span; i++)
        out->span[i] = (struct br_chat_span){j->span[i].begin, j->span[i].end};
    out->n_span = j->n_span;
    return BR_OK;
}

/* Define the variables, run, and cut where a message is to be continued. */
static int chat_run(struct br__jj *j, const struct br_chat *c, const struct br_chat_request *req,
                    struct br_chat_result *out, struct br_err *err)
{
    struct br__jv messages, final = br__jv_none();
    int rc = define_all(j, c, req, &messages, err);

    if (!rc && req->continue_field)
        rc = mark_final(j, messages, req->continue_field, &final);
    if (!rc)
        rc = br__jj_run(j, &out->text, &out->n);
    if (!rc && req->continue_field)
        rc = cut_at_mark(j, final, out->text, &out->n);
    if (rc)
        br_wrap(err, "chat template of '%s'", c->dir);
    return rc ? rc : copy_spans(j, out, err);
}

static int check_request(const struct br_chat_request *req, int spans, struct br_err *err)
{
    if (req->continue_field && req->add_generation_prompt)
        return br_fail(err, BR_E_USAGE,
                       "the final message cannot be continued where a generation prompt opens the "
                       "next one: choose one of the two");
    if (req->continue_field && spans)
        return br_fail(err, BR_E_USAGE,
                       "a message to be continued and the ranges of the assistant exclude each "
                       "other");
    return BR_OK;
}

static int chat_render(const struct br_chat *c, const struct br_chat_request *given, int spans,
                       struct br_chat_result *out, struct br_err *err)
{
    const struct br__jj_template *t = NULL;
    struct br_chat_request req = {0};
    struct br_err own = BR_ERR_INIT;
    struct br__jj j;

    *out = (struct br_chat_result){0};
    int rc = br__adopt(&req, sizeof req, given, given->struct_size);
    if (rc)
        return br_fail(err, BR_E_USAGE, "the request comes from a newer bridge");
    rc = check_request(&req, spans, err);
    if (!rc)
        rc = chat_choose(c, req.tools_json != NULL, &t, err);
    if (rc)
        return rc;
    br__jj_begin(&j, t, &limits, err ? err : &own);
    j.now = req.now ? req.now : (int64_t)time(NULL);
    j.spans_wanted = spans;
    rc = chat_run(&j, c, &req, out, err ? err : &own);
    br__jj_end(&j);
    if (rc)
        br_chat_free_result(out);
    return rc;
}

int br_chat_render(const struct br_chat *c, const struct br_chat_request *req, char **text,
                   size_t *n, struct br_err *err)
{
    struct br_chat_result r;
    int rc = chat_render(c, req, 0, &r, err);

    *text = r.text;
    *n = r.n;
    br__free(r.span);
    return rc;
}

int br_chat_render_spans(const struct br_chat *c, const struct br_chat_request *req,
                         struct br_chat_result *out, struct br_err *err)
{
    return chat_render(c, req, 1, out, err);
}

int br_chat_mask(const struct br_chat_result *r, const struct br_tokenizer *tok, struct br_ids *ids,
                 unsigned char **mask, struct br_err *err)
{
    struct br__tok_ranges ranges = {0};
    size_t k = 0;

    *mask = NULL;
    ids->n = 0;
    int rc = br__tok_encode_ranges(tok, r->text, r->n, ids, &ranges, err);
    if (!rc && (*mask = br__calloc(ids->n + 1, 1)) == NULL)
        rc = br__nomem(err, "for the mask of a conversation");
    for (size_t i = 0; i < ranges.n && !rc; i++) {
        while (k < r->n_span && ranges.p[i].begin >= r->span[k].end)
            k++;
        (*mask)[i] = k < r->n_span && ranges.p[i].end > r->span[k].begin;
    }
    br__free(ranges.p);
    return rc;
}

void br_chat_free_mask(unsigned char *mask)
{
    br__free(mask);
}

void br_chat_free_result(struct br_chat_result *r)
{
    br__free(r->text);
    br__free(r->span);
    *r = (struct br_chat_result){0};
}

void br_chat_free_text(char *text)
{
    br__free(text);
}
