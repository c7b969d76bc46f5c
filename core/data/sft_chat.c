/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sft_chat.c - a conversation to tokens through the model's chat template; what the assistant says
 * is learnt, with the token that ends its turn.
 *
 * Turns are what the template's {% generation %} blocks say, or are found in the tokens by the
 * marks that templates put around them. */
#include "sft.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *start, *end, *end_short; /* the last turn may end without what follows the mark */
} marks[] = {{"<|im_start|>assistant\n", "<|im_end|>\n", "<|im_end|>"},
             {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>", ""}};

static int sft_chat_encode(const struct br__sft_rules *r, const char *s, size_t n,
                           struct br_ids *out, struct br_err *err)
{
    return br_tokenizer_encode(r->o->tok, s, n, 0, out, err);
}

/* The first kind of mark whose beginning is one token, if there is one. */
int br__chat_markers(struct br__sft_rules *r, struct br_err *err)
{
    for (size_t i = 0; i < BR_COUNTOF(marks); i++) {
        char name[64];
        size_t n = strcspn(marks[i].start, ">") + 1;
        memcpy(name, marks[i].start, n);
        name[n] = '\0';
        if (br_tokenizer_token_id(r->o->tok, name) < 0)
            continue;
        int rc = sft_chat_encode(r, marks[i].start, strlen(marks[i].start), &r->turn_start, err);
        if (!rc)
            rc = sft_chat_encode(r, marks[i].end, strlen(marks[i].end), &r->turn_end, err);
        if (!rc)
            rc = sft_chat_encode(r, marks[i].end_short, strlen(marks[i].end_short),
                                 &r->turn_end_short, err);
        return rc;
    }
    return BR_OK;
}

/* ---- messages -------------------------------------------------------------------------------- */

struct conversation {
    struct br__buf json;
    int64_t n_assistant;
    int ends_with_assistant;
};

static const char *role_named(const char *from, char lower[32])
{
    size_t n = 0;
    for (; from[n] && n < 31; n++)
        lower[n] = from[n] >= 'A' && from[n] <= 'Z' ? (char)(from[n] + 32) : from[n];
    lower[n] = '\0';
    return strcmp(lower, "human") == 0 ? "user" : strcmp(lower, "gpt") == 0 ? "assistant" : lower;
}

static void put_turn(struct br__buf *b, const char *role, const char *content)
{
    br__buf_puts(b, b->n > 1 ? ", {\"role\": " : "{\"role\": ");
    br__buf_json_str(b, role);
    br__buf_puts(b, ", \"content\": ");
    br__buf_json_str(b, content);
    br__buf_putc(b, '}');
}

static int add_turn(struct conversation *c, const br__json *turn, int64_t i, struct br_err *err)
{
    const br__json *role = br__json_get(turn, "role"), *from = br__json_get(turn, "from");
    const br__json *value = br__json_get(turn, "value");
    char lower[32];
    const char *name;
    if (br__json_kind(role) == 's') {
        name = br__json_str(role, "");
        br__buf_puts(&c->json, c->json.n > 1 ? ", " : "");
        if (br__json_print(turn, 0, &c->json))
            return br__nomem(err, "for a conversation");
    } else if (br__json_kind(from) == 's' && br__json_kind(value) == 's') {
        name = role_named(br__json_str(from, ""), lower);
        put_turn(&c->json, name, br__json_str(value, ""));
    } else {
        return br_fail(err, BR_E_FORMAT,
                       "turn %" PRId64 " has neither \"role\" and \"content\" nor \"from\" and "
                       "\"value\"",
                       i + 1);
    }
    c->ends_with_assistant = strcmp(name, "assistant") == 0;
    c->n_assistant += c->ends_with_assistant;
    return BR_OK;
}

static int has_system(const br__json *turns)
{
    for (const br__json *t = br__json_first(turns); t; t = br__json_next(t)) {
        const char *role = br__json_str(br__json_get(t, "role"), "");
        const char *from = br__json_str(br__json_get(t, "from"), "");
        if (strcmp(role, "system") == 0 || strcmp(from, "system") == 0)
            return 1;
    }
    return 0;
}

static int read_turns(struct conversation *c, const br__json *record, struct br_err *err)
{
    static const char *const keys[] = {"messages", "conversation", "conversations"};
    const br__json *turns = NULL, *system = br__json_get(record, "system");
    int64_t n = 0;
    int rc = BR_OK;
    for (size_t i = 0; i < BR_COUNTOF(keys) && br__json_kind(turns) != 'a'; i++)
        turns = br__json_get(record, keys[i]);
    if (br__json_kind(turns) != 'a' || br__json_count(turns) == 0)
        return br_fail(err, BR_E_FORMAT,
                       "the record has no conversation: no turns in \"messages\" or "
                       "\"conversations\"");
    br__buf_putc(&c->json, '[');
    if (br__json_kind(system) == 's' && *br__json_str(system, "") && !has_system(turns))
        put_turn(&c->json, "system", br__json_str(system, ""));
    for (const br__json *t = br__json_first(turns); t && !rc; t = br__json_next(t))
        rc = add_turn(c, t, n++, err);
    br__buf_putc(&c->json, ']');
    if (!rc && c->json.failed)
        rc = br__nomem(err, "for a conversation");
    return rc;
}

/* ---- text and tokens ------------------------------------------------------------------------- */

/* The record's tools, as an array or as the text of one; else those of the options. */
static int sft_chat_render(const struct br__sft_rules *r, const br__json *record,
                           const char *messages, struct br_chat_result *out, struct br_err *err)
{
    const br__json *tools = br__json_get(record, "tools");
    struct br__buf printed = {0};
    struct br_chat_request q = {.struct_size = sizeof q,
                                .messages_json = messages,
                                .tools_json = r->o->tools_json,
                                .now = 1}; /* a template that prints a date: the same every day */
    int rc = BR_OK;
    if (br__json_kind(tools) == 's' && *br__json_str(tools, "")) {
        q.tools_json = br__json_str(tools, "");
    } else if (br__json_kind(tools) == 'a' && br__json_count(tools)) {
        rc = br__json_print(tools, 0, &printed);
        q.tools_json = printed.p;
    }
    rc = rc ? br_fail(err, rc, "out of memory for a conversation")
            : br_chat_render_spans(r->chat, &q, out, err);
    br__buf_free(&printed);
    return rc;
}

static int sft_chat_at(const struct br_ids *ids, size_t i, const struct br_ids *mark)
{
    return mark->n && i + mark->n <= ids->n &&
           memcmp(ids->p + i, mark->p, mark->n * sizeof *mark->p) == 0;
}

/* A turn in the tokens: its opening mark, what is said, and the mark that ends it, before `end`. */
struct turn {
    size_t open, from, mark, end;
};

/* The next turn from i on; end 0: it does not end before another begins.  0: there is none. */
static int next_turn(const struct br__sft_rules *r, const struct br_ids *ids, size_t i,
                     struct turn *t)
{
    while (i < ids->n && !sft_chat_at(ids, i, &r->turn_start))
        i++;
    *t = (struct turn){.open = i, .from = i + r->turn_start.n};
    if (i == ids->n)
        return 0;
    for (i = t->from; i < ids->n && !t->end && !sft_chat_at(ids, i, &r->turn_start); i++) {
        t->mark = i;
        if (sft_chat_at(ids, i, &r->turn_end))
            t->end = i + r->turn_end.n;
        else if (sft_chat_at(ids, i, &r->turn_end_short))
            t->end = i + r->turn_end_short.n;
    }
    return 1;
}

/* Every turn of the assistant must be found, and no other: a mark inside of a message would move
 * what is learnt.  *last is the last one. */
static int find_turns(const struct br__sft_rules *r, const struct conversation *c,
                      struct br__example *e, struct turn *last, struct br_err *err)
{
    int64_t found = 0;
    if (!r->turn_start.n)
        return br_fail(err, BR_E_UNSUPPORTED,
                       "the tokenizer has neither <|im_start|> nor <|start_header_id|>, by which "
                       "the assistant's turns are found, and the chat template has no {%% "
                       "generation %%} block");
    for (struct turn t = {0}; next_turn(r, &e->ids, t.end, &t);) {
        found++;
        if (!t.end)
            return br_fail(err, BR_E_FORMAT,
                           "turn %" PRId64 " of the assistant has no end in the rendered template",
                           found);
        memset(e->learn + t.from, 1, t.end - t.from);
        *last = t;
    }
    if (found != c->n_assistant)
        return br_fail(err, BR_E_FORMAT,
                       "the rendered template has %" PRId64 " turns of the assistant, the record "
                       "has %" PRId64 "; is a mark such as <|im_start|> in a message?",
                       found, c->n_assistant);
    return BR_OK;
}

/* The template says what is learnt, and the marks that end turns are learnt besides, as Megatron
 * Bridge does it. */
static void take_mask(const struct br__sft_rules *r, const unsigned char *mask,
                      struct br__example *e, struct turn *last)
{
    size_t n = e->ids.n;
    memcpy(e->learn, mask, n);
    while (n && !mask[n - 1])
        n--;
    last->end = n;
    while (n && mask[n - 1])
        n--;
    last->open = last->from = n;
    for (struct turn t = {0}; r->turn_start.n && next_turn(r, &e->ids, t.end, &t) && t.end;)
        memset(e->learn + t.mark, 1, t.end - t.mark);
}

/* mask: of the template's {% generation %} blocks; NULL: it has none.  Of one without a token the
 * marks decide, as in Megatron Bridge. */
static int learn_turns(const struct br__sft_rules *r, const struct conversation *c,
                       const unsigned char *mask, struct br__example *e, struct br_err *err)
{
    struct turn last = {.open = e->ids.n, .from = e->ids.n};
    int rc = BR_OK;
    memset(e->learn, 0, e->ids.n);
    if (mask && memchr(mask, 1, e->ids.n))
        take_mask(r, mask, e, &last);
    else
        rc = find_turns(r, c, e, &last, err);
    e->n_context = (int64_t)(c->ends_with_assistant ? last.from : e->ids.n);
    if (r->o->loss == BR__LOSS_LAST_TURN)
        memset(e->learn, 0, last.open);
    if (r->o->loss == BR__LOSS_FULL)
        memset(e->learn, 1, e->ids.n);
    return rc;
}

int br__chat_example(const struct br__sft_rules *r, const br__json *record, struct br__example *out,
                     struct br_err *err)
{
    struct conversation c = {0};
    struct br_chat_result text = {0};
    unsigned char *mask = NULL;
    int rc = read_turns(&c, record, err);
    if (!rc)
        rc = sft_chat_render(r, record, c.json.p, &text, err);
    if (!rc)
        rc = text.n_span ? br_chat_mask(&text, r->o->tok, &out->ids, &mask, err)
                         : sft_chat_encode(r, text.text, text.n, &out->ids, err);
    if (!rc)
        rc = br__example_room(out, err);
    if (!rc)
        rc = learn_turns(r, &c, mask, out, err);
    for (size_t i = 0; i < out->ids.n && !rc; i++)
        for (size_t k = 0; k < r->skip.n; k++)
            out->learn[i] &= out->ids.p[i] != r->skip.p[k];
    br_chat_free_mask(mask);
    br_chat_free_result(&text);
    br__buf_free(&c.json);
    return rc;
}
