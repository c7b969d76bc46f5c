/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_generate.c - generate: prompts to text, streamed, in a batch, as chat, or as JSON. */
#include "generate.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_NEW_TOKENS 20
#define PROMPTS_MAX (256u << 20)
#define MAX_BATCH 64

/* ---- settings -------------------------------------------------------------------------------- */

static double generate_number(const struct br__cli *c, int id, double dflt)
{
    return c->opt[id].set ? c->opt[id].f : dflt;
}

static void generate_settings(struct br__generation *g)
{
    const struct br__cli *c = g->c;
    struct br__sample_opts dflt, own;
    int samples = br__recommended_sampling(g->m, &own);
    int use = BR__FLAG(c, CHAT) && !BR__FLAG(c, GREEDY);

    dflt = use ? own : (struct br__sample_opts)BR__SAMPLE_GREEDY;
    g->o.sample = (struct br__sample_opts){
        .temperature = generate_number(c, BR__OPT_TEMPERATURE, dflt.temperature),
        .top_k = BR__FLAG(c, TOP_K) ? (uint64_t)BR__INT(c, TOP_K) : dflt.top_k,
        .top_p = generate_number(c, BR__OPT_TOP_P, dflt.top_p),
        .min_p = generate_number(c, BR__OPT_MIN_P, dflt.min_p),
        .repetition_penalty =
            generate_number(c, BR__OPT_REPETITION_PENALTY, dflt.repetition_penalty),
        .seed = (uint64_t)BR__INT(c, SAMPLE_SEED),
    };
    if (samples && !use && !BR__FLAG(c, GREEDY) && !BR__FLAG(c, TEMPERATURE))
        br__report_note(&g->r,
                        "greedy; the model's generation_config.json recommends --temperature %g "
                        "--top-k %llu --top-p %g",
                        own.temperature, (unsigned long long)own.top_k, own.top_p);
    g->o.max_new_tokens =
        BR__FLAG(c, MAX_NEW_TOKENS) ? BR__INT(c, MAX_NEW_TOKENS) : DEFAULT_NEW_TOKENS;
    g->o.stop = c->opt[BR__OPT_STOP].list;
    g->o.n_stop = c->opt[BR__OPT_STOP].n_list;
    g->o.eos = g->eos;
    g->o.n_eos = BR__FLAG(c, IGNORE_EOS) ? 0 : br__eos_ids(g->m, g->eos);
}

/* ---- prompts --------------------------------------------------------------------------------- */

static int add_user_text(struct br__generation *g, const char *text, size_t n, struct br_err *err)
{
    if (!g->chat)
        return br__generation_text(g, text, n, err);
    if (memchr(text, '\0', n))
        return br_fail(err, BR_E_USAGE, "the message has a NUL byte, which a chat cannot");
    struct br__buf talk = {0};
    char *copy = br__arena_strndup(&g->c->arena, text, n);
    if (BR__FLAG(g->c, SYSTEM))
        br__generation_message(&talk, "system", BR__TEXT(g->c, SYSTEM));
    br__generation_message(&talk, "user", copy ? copy : "");
    int rc = copy ? br__generation_chat(g, &talk, err) : br_fail(err, BR_E_NOMEM, "out of memory");
    br__buf_free(&talk);
    return rc;
}

static int add_file(struct br__generation *g, const char *path, struct br_err *err)
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
    struct br__generation *g = ud;

    (void)sequence;
    br__wait_end(&g->wait);
    if (g->streaming) {
        br__print_model_text(text, n);
        fflush(stdout);
    }
}

static void sequence_json(struct br__js *j, const struct br__generation *g,
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

static int print_json(struct br__generation *g, struct br_err *err)
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
    br__js_num(&j, "tokens_per_second", br__generation_rate(g->stats.decoded, g->stats.decode));
    br__js_num(&j, "prompt_tokens_per_second",
               br__generation_rate(g->stats.prompt_tokens, g->stats.prefill));
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

static void print_text(const struct br__generation *g)
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
static int size_caches(struct br__generation *g, struct br_err *err)
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

static int run_all(struct br__generation *g, struct br_err *err)
{
    g->streaming = g->n == 1 && !g->r.json && g->tok;
    int rc = size_caches(g, err);
    if (!rc)
        rc = br__generation_run(g, err);
    br__report_end(&g->r);
    if (rc)
        return rc;
    if (g->r.json)
        return print_json(g, err);
    print_text(g);
    br__generation_closing_line(g);
    return BR_OK;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int open_text(struct br__generation *g, struct br_err *err)
{
    int rc = br__tokenizer_for(g->c, g->m, &g->tok, &g->tokenizer_dir, err);

    if (rc || !BR__FLAG(g->c, CHAT))
        return rc;
    return br_chat_open(&g->chat, g->tokenizer_dir, err);
}

/* What arrives on standard input when it is no terminal. */
static int add_stdin(struct br__generation *g, struct br_err *err)
{
    struct br__buf b = {.max = PROMPTS_MAX};

    int rc = br__read_stdin(&b, err);
    if (!rc)
        rc = add_user_text(g, b.p ? b.p : "", b.n, err);
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

static int generate_go(struct br__generation *g, struct br_err *err)
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
            rc = br__generation_add(g, ids, err);
        if (!rc && (BR__FLAG(g->c, TOKENIZER_DIR) || BR__FLAG(g->c, STOP)))
            rc = open_text(g, err);
        else if (!rc && br__tokenizer_for(g->c, g->m, &g->tok, &g->tokenizer_dir, NULL))
            g->tok = NULL; /* reads ids and writes ids */
    } else {
        rc = open_text(g, err);
        if (!rc && !prompt && !file && isatty(STDIN_FILENO) && !g->r.json &&
            br__procs_size() == 1) {
            g->o.tok = g->tok;
            return br__converse(g, err);
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
    struct br__generation g = {.c = c, .began = br__now()};
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
    br__generation_forget(&g);
    br__free(g.prompts);
    br__free(g.seqs);
    br_chat_close(g.chat);
    br_tokenizer_close(g.tok);
    br__llm_session_close(g.s);
    br__llm_close(g.m);
    br__report_free(&g.r);
    return rc;
}
