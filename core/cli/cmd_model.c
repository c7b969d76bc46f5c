/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_model.c - what the commands that run a model share: opening it, tokens in, tokens out. */
#include "cli.h"

#include <bridge/tokenizer.h>
#include <stdlib.h>
#include <string.h>

#define IDS_FILE_MAX (256u << 20)

/* ---- opening --------------------------------------------------------------------------------- */

int br__llm_opts_from_cli(struct br__cli *c, struct br__report *r, struct br__llm_opts *o,
                          struct br_err *err)
{
    struct br_job job;
    int rc = br__job_from_cli(c, r, &job, err); /* --hf-model, --hf-revision, --plugin, --threads */

    if (rc)
        return rc;
    if (!job.hf_model && !job.megatron_path)
        return br_fail(err, BR_E_USAGE, "no model; give --hf-model or --megatron-path");
    *o = (struct br__llm_opts){
        .weights = {.hf_model = job.hf_model,
                    .megatron_path = job.megatron_path,
                    .plugin = job.plugin,
                    .adapter = BR__TEXT(c, ADAPTER),
                    .merge_adapter = BR__FLAG(c, MERGE_ADAPTER),
                    .no_verify = (job.flags & BR_JOB_NO_VERIFY) != 0,
                    .threads = job.threads,
                    .listener = &r->listener},
        .device = BR__TEXT(c, DEVICE),
        .precision = (int)BR__INT(c, RUN_DTYPE),
        .tp = (uint32_t)BR__INT(c, RUN_TP),
        .pp = (uint32_t)BR__INT(c, RUN_PP),
        .ep = (uint32_t)BR__INT(c, RUN_EP),
        .etp = (uint32_t)BR__INT(c, RUN_ETP),
        .threads = job.threads,
    };
    if (BR__FLAG(c, MERGE_ADAPTER) && !BR__FLAG(c, ADAPTER))
        return br_fail(err, BR_E_USAGE, "option '--merge-adapter' needs --adapter");
    return BR_OK;
}

/* ---- tokenizer ------------------------------------------------------------------------------- */

static int has_tokenizer(struct br__arena *a, const char *dir)
{
    return br__exists(br__path_join(a, dir, "tokenizer.json")) ||
           br__exists(br__path_join(a, dir, "vocab.json"));
}

int br__tokenizer_for(struct br__cli *c, const struct br__llm *m, struct br_tokenizer **out,
                      const char **dir, struct br_err *err)
{
    const struct br__model_source *s = br__llm_weights(m)->src;
    struct br__arena *a = &c->arena;
    const char *places[] = {BR__TEXT(c, TOKENIZER_DIR), s->ref_dir, s->dir,
                            br__path_join(a, s->dir, "tokenizer"),
                            br__path_join(a, s->dir, "../tokenizer")};

    *out = NULL;
    for (size_t i = 0; i < BR_COUNTOF(places); i++) {
        if (!places[i] || (i > 0 && !has_tokenizer(a, places[i])))
            continue;
        *dir = places[i];
        return br_tokenizer_open(out, places[i], err);
    }
    return br_fail(err, BR_E_NOTFOUND,
                   "no tokenizer.json in '%s'; give --tokenizer a directory that has one, or "
                   "--input-ids",
                   s->dir);
}

int br__ids_fit(const struct br__llm *m, const struct br_ids *ids, struct br_err *err)
{
    int64_t vocab = br_cfg_i(br__llm_config(m), BR_CFG_VOCAB_SIZE);

    for (size_t i = 0; i < ids->n; i++)
        if (ids->p[i] >= vocab)
            return br_fail(err, BR_E_CONFIG,
                           "the tokenizer gives id %d, the model's vocabulary has %lld; they do "
                           "not belong together",
                           ids->p[i], (long long)vocab);
    return BR_OK;
}

int br__encode_for(const struct br__llm *m, const struct br_tokenizer *tok, const char *text,
                   size_t n, struct br_ids *ids, struct br_err *err)
{
    int rc = br_tokenizer_encode(tok, text, n, BR_TOK_ADD_SPECIAL, ids, err);
    return rc ? rc : br__ids_fit(m, ids, err);
}

/* ---- ids ------------------------------------------------------------------------------------- */

static int is_separator(char c)
{
    return c && strchr(" \t\r\n,[]", c);
}

/* Skip the separators before an id: at most one comma, and no comma before the first id. */
static const char *skip_separators(const char *s, const char *end, int *commas)
{
    for (*commas = 0; s < end && is_separator(*s); s++)
        *commas += *s == ',';
    return s;
}

int br__parse_ids(const char *text, size_t n, struct br_ids *ids, int code, struct br_err *err)
{
    const char *s = text, *end = text + n;
    char word[24];
    int64_t id;
    int commas;

    for (size_t first = ids->n;;) {
        s = skip_separators(s, end, &commas);
        if (commas > (s < end && ids->n > first))
            return br_fail(err, code, "a comma without a token id at byte %zu; expected 1,2,3",
                           (size_t)(s - text));
        if (s == end)
            return BR_OK;
        size_t len = 0;
        while (s + len < end && !is_separator(s[len]))
            len++;
        snprintf(word, sizeof word, "%.*s", (int)BR__MIN(len, sizeof word - 1), s);
        if (memchr(s, '\0', len))
            return br_fail(err, code, "the token ids have a NUL byte behind byte %zu",
                           (size_t)(s - text));
        if (len >= sizeof word || br__parse_i64(word, &id) || id < 0 || id > INT32_MAX)
            return br_fail(err, code, "'%s' is no token id, at byte %zu; expected 1,2,3", word,
                           (size_t)(s - text));
        if (br__grow(&ids->p, &ids->cap, ids->n, sizeof *ids->p))
            return br__nomem(err, "reading the command line");
        ids->p[ids->n++] = (int32_t)id;
        s += len;
    }
}

static int parse_ids(const char *text, size_t n, struct br_ids *ids, struct br_err *err)
{
    int rc = br__parse_ids(text, n, ids, BR_E_USAGE, err);

    return rc || ids->n ? rc : br_fail(err, BR_E_USAGE, "no token ids in '%.40s'", text);
}

static int read_ids(struct br__cli *c, const struct br__llm *m, struct br_tokenizer **tok,
                    struct br_ids *ids, struct br_err *err)
{
    const char *given = BR__TEXT(c, INPUT_IDS), *prompt = BR__TEXT(c, PROMPT), *dir;

    *ids = (struct br_ids){0};
    if (given && prompt)
        return br_fail(err, BR_E_USAGE, "give --prompt or --input-ids, not both");
    if (given && br__exists(given)) {
        char *text;
        size_t n;
        int rc = br__read_text(given, IDS_FILE_MAX, &text, &n, err);
        if (!rc) {
            rc = parse_ids(text, n, ids, err);
            br__free(text);
        }
        return rc;
    }
    if (given)
        return parse_ids(given, strlen(given), ids, err);
    if (!prompt)
        return br_fail(err, BR_E_USAGE, "nothing to read; give --prompt or --input-ids");
    int rc = *tok ? BR_OK : br__tokenizer_for(c, m, tok, &dir, err);
    return rc ? rc : br__encode_for(m, *tok, prompt, strlen(prompt), ids, err);
}

int br__ids_from_cli(struct br__cli *c, const struct br__llm *m, struct br_tokenizer **tok,
                     struct br_ids *ids, struct br_err *err)
{
    int rc = read_ids(c, m, tok, ids, err);

    if (rc)
        br_ids_free(ids);
    return rc;
}

const char *br__token_text(struct br__arena *a, const struct br_tokenizer *tok, int32_t id)
{
    size_t n = 0;
    const char *p = tok ? br_tokenizer_bytes(tok, id, &n) : NULL;
    struct br__buf b = {0};

    if (p && br__utf8_valid(p, n) && !memchr(p, '\0', n))
        br__buf_put(&b, p, n);
    else if (p)
        br__buf_safe(&b, p, n, BR__TEXT_NAME);
    const char *text = b.n ? br__arena_strndup(a, b.p, b.n) : "";
    br__buf_free(&b);
    return text ? text : "";
}
