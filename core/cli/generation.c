/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* generation.c - prompts and their answers, whether typed with the command (cmd_generate.c) or in a
 * conversation (converse.c). */
#include "generate.h"

/* ---- prompts --------------------------------------------------------------------------------- */

int br__generation_add(struct br__generation *g, struct br_ids ids, struct br_err *err)
{
    size_t cap = g->cap;

    if (br__grow(&g->prompts, &cap, g->n, sizeof *g->prompts) ||
        br__grow(&g->seqs, &g->cap, g->n, sizeof *g->seqs)) {
        br_ids_free(&ids);
        return br__nomem(err, "for prompts");
    }
    g->prompts[g->n] = ids;
    g->seqs[g->n] = (struct br__gen_sequence){.prompt = ids.p, .n_prompt = ids.n};
    g->n++;
    return BR_OK;
}

/* Take the ids that encoding gave, with its status. */
static int add_encoded(struct br__generation *g, struct br_ids ids, int rc, struct br_err *err)
{
    if (!rc && !ids.n)
        rc = br_fail(err, BR_E_USAGE, "the prompt is empty");
    if (rc) {
        br_ids_free(&ids);
        return rc;
    }
    return br__generation_add(g, ids, err);
}

int br__generation_text(struct br__generation *g, const char *text, size_t n, struct br_err *err)
{
    struct br_ids ids = {0};
    int rc = br__encode_for(g->m, g->tok, text, n, &ids, err);
    return add_encoded(g, ids, rc, err);
}

/* A text that the chat template rendered: it has all special tokens. */
static int add_rendered(struct br__generation *g, const char *text, size_t n, struct br_err *err)
{
    struct br_ids ids = {0};
    int rc = br_tokenizer_encode(g->tok, text, n, 0, &ids, err);
    return add_encoded(g, ids, rc ? rc : br__ids_fit(g->m, &ids, err), err);
}

void br__generation_message(struct br__buf *b, const char *role, const char *content)
{
    br__buf_printf(b, "%s{\"role\": \"%s\", \"content\": ", b->n ? ", " : "", role);
    br__buf_json_str(b, content);
    br__buf_putc(b, '}');
}

int br__generation_chat(struct br__generation *g, const struct br__buf *talk, struct br_err *err)
{
    static const int switches[] = {BR_CHAT_OFF, BR_CHAT_ON};
    struct br__buf messages = {0};
    char *text;
    size_t n;

    br__buf_putc(&messages, '[');
    br__buf_put(&messages, talk->p, talk->n);
    br__buf_putc(&messages, ']');
    if (talk->failed)
        messages.failed = talk->failed;
    const struct br_chat_request req = {
        .struct_size = sizeof req,
        .add_generation_prompt = 1,
        .enable_thinking = BR__FLAG(g->c, ENABLE_THINKING)
                               ? switches[BR__INT(g->c, ENABLE_THINKING)]
                               : BR_CHAT_UNSET,
        .messages_json = messages.p,
    };
    int rc = messages.failed ? br_fail(err, messages.failed, "the conversation is too long")
                             : br_chat_render(g->chat, &req, &text, &n, err);
    br__buf_free(&messages);
    if (rc)
        return rc;
    rc = add_rendered(g, text, n, err);
    br_chat_free_text(text);
    return rc;
}

void br__generation_forget(struct br__generation *g)
{
    br__gen_free(g->seqs, g->n);
    for (size_t i = 0; i < g->n; i++)
        br_ids_free(&g->prompts[i]);
    g->n = 0;
}

/* ---- running --------------------------------------------------------------------------------- */

int br__generation_run(struct br__generation *g, struct br_err *err)
{
    double opened = br__now();
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++)
        n += g->seqs[i].n_prompt;
    const char *text = br__arena_printf(
        &g->c->arena, "reading the prompt (%zu tokens), and the weights from the disk", n);
    br__wait_begin(&g->wait, &g->r, text ? text : "reading the prompt");
    int rc = br__generate(g->s, &g->o, g->seqs, g->n, &g->stats, err);
    br__wait_end(&g->wait);

    g->stats.first_token += opened - g->began;
    return rc;
}

double br__generation_rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

void br__generation_closing_line(const struct br__generation *g)
{
    const struct br__gen_stats *s = &g->stats;

    fflush(stdout); /* the answer's line ends first */
    if (g->r.quiet || g->r.json)
        return;
    br__say(stderr,
            "bridge: prompt %zu tokens, %.1f tokens/s; %zu new, decode %.1f tokens/s; first token "
            "%.3f s; private memory %.0f MB",
            s->prompt_tokens, br__generation_rate(s->prompt_tokens, s->prefill), s->new_tokens,
            br__generation_rate(s->decoded, s->decode), s->first_token,
            (double)br__private_memory() / 1e6);
}
