/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_generate.c - generate: prompts to text, streamed, in a batch, as chat, or as JSON. */
#include "../infer/infer.h"
#include "cli.h"

#include <bridge/chat.h>
#include <bridge/tokenizer.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_NEW_TOKENS 20
#define PROMPTS_MAX (256u << 20)
#define MAX_BATCH 64

struct generation {
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
    double began; /* when the command started */
    int streaming;
};

/* ---- settings -------------------------------------------------------------------------------- */

static double generate_number(const struct br__cli *c, int id, double dflt)
{
    return c->opt[id].set ? c->opt[id].f : dflt;
}

static void generate_settings(struct generation *g)
{
    const struct br__cli *c = g->c;

    g->o.sample = (struct br__sample_opts){
        .temperature = generate_number(c, BR__OPT_TEMPERATURE, 0),
        .top_k = (uint64_t)BR__INT(c, TOP_K),
        .top_p = generate_number(c, BR__OPT_TOP_P, 1),
        .min_p = generate_number(c, BR__OPT_MIN_P, 0),
        .repetition_penalty = generate_number(c, BR__OPT_REPETITION_PENALTY, 1),
        .seed = (uint64_t)BR__INT(c, SAMPLE_SEED),
    };
    g->o.max_new_tokens =
        BR__FLAG(c, MAX_NEW_TOKENS) ? BR__INT(c, MAX_NEW_TOKENS) : DEFAULT_NEW_TOKENS;
    g->o.stop = c->opt[BR__OPT_STOP].list;
    g->o.n_stop = c->opt[BR__OPT_STOP].n_list;
    g->o.eos = g->eos;
    g->o.n_eos = BR__FLAG(c, IGNORE_EOS) ? 0 : br__eos_ids(g->m, g->eos);
}

/* ---- prompts --------------------------------------------------------------------------------- */

static int add_prompt(struct generation *g, struct br_ids ids, struct br_err *err)
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

static int add_text(struct generation *g, const char *text, size_t n, struct br_err *err)
{
    struct br_ids ids = {0};
    int rc = br__encode_for(g->m, g->tok, text, n, &ids, err);

    if (!rc && !ids.n)
        rc = br_fail(err, BR_E_USAGE, "the prompt is empty");
    if (rc) {
        br_ids_free(&ids);
        return rc;
    }
    return add_prompt(g, ids, err);
}

static void generate_message(struct br__buf *b, const char *role, const char *content)
{
    br__buf_printf(b, "%s{\"role\": \"%s\", \"content\": ", b->n > 1 ? ", " : "", role);
    br__buf_json_str(b, content);
    br__buf_putc(b, '}');
}

/* A conversation (a JSON array without its closing bracket) as one prompt. */
static int add_chat(struct generation *g, const struct br__buf *talk, struct br_err *err)
{
    static const int switches[] = {BR_CHAT_OFF, BR_CHAT_ON};
    struct br__buf messages = {0};
    char *text;
    size_t n;

    br__buf_put(&messages, talk->p, talk->n);
    br__buf_putc(&messages, ']');
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
    rc = add_text(g, text, n, err);
    br_chat_free_text(text);
    return rc;
}

static void begin_talk(struct generation *g, struct br__buf *talk)
{
    br__buf_puts(talk, "[");
    if (BR__FLAG(g->c, SYSTEM))
        generate_message(talk, "system", BR__TEXT(g->c, SYSTEM));
}

static int add_user_text(struct generation *g, const char *text, size_t n, struct br_err *err)
{
    if (!g->chat)
        return add_text(g, text, n, err);
    if (memchr(text, '\0', n))
        return br_fail(err, BR_E_USAGE, "the message has a NUL byte, which a chat cannot");
    struct br__buf talk = {0};
    char *copy = br__arena_strndup(&g->c->arena, text, n);
    begin_talk(g, &talk);
    generate_message(&talk, "user", copy ? copy : "");
    int rc = copy ? add_chat(g, &talk, err) : br_fail(err, BR_E_NOMEM, "out of memory");
    br__buf_free(&talk);
    return rc;
}

static int add_file(struct generation *g, const char *path, struct br_err *err)
{
    char *text;
    size_t size;
    int rc = br__read_text(path, PROMPTS_MAX, &text, &size, err);

    if (rc)
        return rc;
    for (size_t at = 0, len; at < size && !rc; at += len + 1) { /* a prompt may hold NUL bytes */
        const char *line = text + at, *eol = memchr(line, '\n', size - at);
        len = eol ? (size_t)(eol - line) : size - at;
        size_t n = len && line[len - 1] == '\r' ? len - 1 : len;
        if (n)
            rc = add_user_text(g, line, n, err);
    }
    br__free(text);
    return rc || g->n ? rc : br_fail(err, BR_E_USAGE, "'%s' has no prompts", path);
}

/* ---- output ---------------------------------------------------------------------------------- */

static void on_text(void *ud, size_t sequence, const char *text, size_t n)
{
    const struct generation *g = ud;

    (void)sequence;
    if (g->streaming) {
        br__print_model_text(text, n);
        fflush(stdout);
    }
}

static double generate_rate(size_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

static void closing_line(const struct generation *g)
{
    const struct br__gen_stats *s = &g->stats;

    if (g->r.quiet || g->r.json)
        return;
    br__say(stderr,
            "bridge: prompt %zu tokens, %.1f tokens/s; %zu new, decode %.1f tokens/s; first token "
            "%.3f s; private memory %.0f MB",
            s->prompt_tokens, generate_rate(s->prompt_tokens, s->prefill), s->new_tokens,
            generate_rate(s->decoded, s->decode), s->first_token,
            (double)br__private_memory() / 1e6);
}

static void sequence_json(struct br__js *j, const struct generation *g,
                          const struct br__gen_sequence *s)
{
    br__js_array(j, "ids", BR__JS_INLINE);
    for (size_t i = 0; i < s->n_ids; i++)
        br__js_i64(j, NULL, s->ids[i]);
    br__js_end(j);
    br__js_str(j, "text", g->tok ? (s->text.p ? s->text.p : "") : NULL);
    br__js_u64(j, "prompt_tokens", s->n_prompt);
    br__js_str(j, "finish_reason", s->finish);
}

static int print_json(struct generation *g, struct br_err *err)
{
    struct br__js j = {0};

    br__js_object(&j, NULL, 0);
    if (g->n == 1 && !BR__FLAG(g->c, PROMPTS_FILE)) {
        sequence_json(&j, g, &g->seqs[0]);
    } else {
        br__js_array(&j, "sequences", 0);
        for (size_t i = 0; i < g->n; i++) {
            br__js_object(&j, NULL, 0);
            sequence_json(&j, g, &g->seqs[i]);
            br__js_end(&j);
        }
        br__js_end(&j);
    }
    br__js_num(&j, "tokens_per_second", generate_rate(g->stats.decoded, g->stats.decode));
    br__js_num(&j, "prompt_tokens_per_second",
               generate_rate(g->stats.prompt_tokens, g->stats.prefill));
    br__js_num(&j, "time_to_first_token", g->stats.first_token);
    br__js_u64(&j, "private_bytes", br__private_memory());
    br__report_json(&g->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

static void print_ids(const struct br__gen_sequence *s)
{
    struct br__buf b = {0};

    for (size_t k = 0; k < s->n_ids; k++)
        br__buf_printf(&b, "%s%d", k ? "," : "", s->ids[k]);
    br__print_model_text(b.n ? b.p : "", b.n);
    br__buf_free(&b);
}

static void print_text(const struct generation *g)
{
    if (g->streaming) {
        putchar('\n');
        return;
    }
    for (size_t i = 0; i < g->n; i++) {
        const struct br__gen_sequence *s = &g->seqs[i];
        if (g->n > 1)
            br__say(stdout, "==== %zu", i + 1);
        if (g->tok)
            br__print_model_text(s->text.p ? s->text.p : "", s->text.n);
        else
            print_ids(s);
        putchar('\n');
    }
}

/* ---- running --------------------------------------------------------------------------------- */

/* Caches just large enough for the longest prompt and its answer. */
static int size_caches(struct generation *g, struct br_err *err)
{
    int64_t max = br_cfg_i(br__llm_config(g->m), BR_CFG_SEQ_LENGTH), longest = 0;

    for (size_t i = 0; i < g->n; i++)
        longest = BR__MAX(longest, (int64_t)g->seqs[i].n_prompt);
    if (longest > max)
        return br_fail(err, BR_E_USAGE,
                       "the prompt has %lld tokens, the model's max_position_embeddings is %lld",
                       (long long)longest, (long long)max);
    int64_t need = longest + BR__MIN(g->o.max_new_tokens, max - longest);
    if (BR__FLAG(g->c, CONTEXT))
        need = BR__INT(g->c, CONTEXT);
    return br__llm_session_open(&g->s, g->m, (int64_t)BR__MIN(g->n, (size_t)MAX_BATCH), need, err);
}

static int generate_run(struct generation *g, struct br_err *err)
{
    double opened = br__now();
    int rc = br__generate(g->s, &g->o, g->seqs, g->n, &g->stats, err);

    g->stats.first_token += opened - g->began;
    return rc;
}

static int run_all(struct generation *g, struct br_err *err)
{
    g->streaming = g->n == 1 && !g->r.json && g->tok;
    int rc = size_caches(g, err);
    if (!rc)
        rc = generate_run(g, err);
    br__report_end(&g->r);
    if (rc)
        return rc;
    if (g->r.json)
        return print_json(g, err);
    print_text(g);
    closing_line(g);
    return BR_OK;
}

/* ---- a conversation on a terminal ------------------------------------------------------------ */

static void forget_prompts(struct generation *g)
{
    br__gen_free(g->seqs, g->n);
    for (size_t i = 0; i < g->n; i++)
        br_ids_free(&g->prompts[i]);
    g->n = 0;
}

/* One line from the user, answered; the answer joins the conversation. */
static int generate_turn(struct generation *g, struct br__buf *talk, const char *line,
                         struct br_err *err)
{
    int rc;

    if (g->chat) {
        generate_message(talk, "user", line);
        rc = add_chat(g, talk, err);
    } else {
        rc = add_text(g, line, strlen(line), err);
    }
    if (!rc)
        rc = generate_run(g, err);
    if (rc)
        return rc;
    putchar('\n');
    closing_line(g);
    if (g->chat)
        generate_message(talk, "assistant", g->seqs[0].text.p ? g->seqs[0].text.p : "");
    forget_prompts(g);
    return BR_OK;
}

static int generate_converse(struct generation *g, struct br_err *err)
{
    struct br__buf talk = {0};
    char *line = NULL;
    size_t cap = 0;
    int64_t max = br_cfg_i(br__llm_config(g->m), BR_CFG_SEQ_LENGTH);
    int rc = br__llm_session_open(&g->s, g->m, 1,
                                  BR__FLAG(g->c, CONTEXT) ? BR__INT(g->c, CONTEXT) : max, err);

    begin_talk(g, &talk);
    g->streaming = 1;
    while (!rc) {
        fputs("> ", stdout);
        fflush(stdout);
        ssize_t n = getline(&line, &cap, stdin);
        if (n < 0)
            break;
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
            line[--n] = '\0';
        g->began = br__now();
        if (n > 0)
            rc = generate_turn(g, &talk, line, err);
    }
    free(line);
    br__buf_free(&talk);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_text(struct generation *g, struct br_err *err)
{
    int rc = br__tokenizer_for(g->c, g->m, &g->tok, &g->tokenizer_dir, err);

    if (rc || !BR__FLAG(g->c, CHAT))
        return rc;
    return br_chat_open(&g->chat, g->tokenizer_dir, err);
}

/* What arrives on standard input when it is no terminal. */
static int add_stdin(struct generation *g, struct br_err *err)
{
    struct br__buf b = {.max = PROMPTS_MAX};

    br__read_all(stdin, &b);
    int rc = b.failed ? br_fail(err, b.failed, "standard input is too long for a prompt")
                      : add_user_text(g, b.p, b.n, err);
    br__buf_free(&b);
    return rc;
}

/* Options that do nothing without another one. */
static int check_options(const struct br__cli *c, struct br_err *err)
{
    if (BR__FLAG(c, CHAT) && BR__FLAG(c, INPUT_IDS))
        return br_fail(err, BR_E_USAGE, "option '--chat' needs text, not --input-ids");
    if (!BR__FLAG(c, CHAT) && (BR__FLAG(c, SYSTEM) || BR__FLAG(c, ENABLE_THINKING)))
        return br_fail(err, BR_E_USAGE, "option '%s' needs --chat",
                       BR__FLAG(c, SYSTEM) ? "--system" : "--enable-thinking");
    return BR_OK;
}

static int generate_go(struct generation *g, struct br_err *err)
{
    const char *prompt = BR__TEXT(g->c, PROMPT), *file = BR__TEXT(g->c, PROMPTS_FILE);
    int rc = BR_OK;

    if ((prompt != NULL) + (file != NULL) + BR__FLAG(g->c, INPUT_IDS) > 1)
        return br_fail(err, BR_E_USAGE, "give one of --prompt, --prompts-file and --input-ids");
    generate_settings(g);
    if (BR__FLAG(g->c, INPUT_IDS)) {
        struct br_ids ids;
        rc = br__ids_from_cli(g->c, g->m, &g->tok, &ids, err);
        if (!rc)
            rc = add_prompt(g, ids, err);
        if (!rc && (BR__FLAG(g->c, TOKENIZER_DIR) || BR__FLAG(g->c, STOP)))
            rc = open_text(g, err);
        else if (!rc && br__tokenizer_for(g->c, g->m, &g->tok, &g->tokenizer_dir, NULL))
            g->tok = NULL; /* reads ids and writes ids */
    } else {
        rc = open_text(g, err);
        if (!rc && !prompt && !file && isatty(STDIN_FILENO) && !g->r.json) {
            g->o.tok = g->tok;
            return generate_converse(g, err);
        }
        if (!rc)
            rc = prompt ? add_user_text(g, prompt, strlen(prompt), err)
                 : file ? add_file(g, file, err)
                        : add_stdin(g, err);
    }
    g->o.tok = g->tok;
    return rc ? rc : run_all(g, err);
}

int br__cmd_generate(struct br__cli *c, struct br_err *err)
{
    struct generation g = {.c = c, .began = br__now()};
    struct br__llm_opts o;

    g.o.on_text = on_text;
    g.o.ud = &g;
    br__report_init(&g.r, c);
    int rc = check_options(c, err);
    if (!rc)
        rc = br__llm_opts_from_cli(c, &g.r, &o, err);
    if (!rc)
        rc = br__llm_open(&g.m, &o, err);
    if (!rc)
        rc = generate_go(&g, err);
    forget_prompts(&g);
    br__free(g.prompts);
    br__free(g.seqs);
    br_chat_close(g.chat);
    br_tokenizer_close(g.tok);
    br__llm_session_close(g.s);
    br__llm_close(g.m);
    br__report_free(&g.r);
    return rc;
}
