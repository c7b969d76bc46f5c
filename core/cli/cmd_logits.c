/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_logits.c - logits, compare, score: a model's output for given tokens. */
#include "../infer/infer.h"
#include "cli.h"

#include <bridge/tokenizer.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (1u << 30)

struct subject { /* a model with its remarks and tokens */
    struct br__cli *c;
    struct br__report r;
    struct br__llm *m;
    struct br_tokenizer *tok;
    struct br_ids ids;
};

static void subject_close(struct subject *s)
{
    br_ids_free(&s->ids);
    br_tokenizer_close(s->tok);
    br__llm_close(s->m);
    br__report_free(&s->r);
}

static int subject_open(struct subject *s, struct br__cli *c, struct br_err *err)
{
    struct br__llm_opts o;

    *s = (struct subject){.c = c};
    br__report_init(&s->r, c);
    int rc = br__llm_opts_from_cli(c, &s->r, &o, err);
    return rc ? rc : br__llm_open(&s->m, &o, err);
}

/* Every data-parallel rank is given the same tokens. */
static int logits_trace(struct br__llm *m, const struct br_ids *ids, unsigned flags,
                        struct br__trace *t, struct br_err *err)
{
    const int32_t *all[64];
    size_t dp = br__llm_topo(m)->size[BR_AXIS_DP];

    if (dp > BR_COUNTOF(all))
        return br_fail(err, BR_E_USAGE, "%zu data-parallel ranks are too many here", dp);
    for (size_t i = 0; i < dp; i++)
        all[i] = ids->p;
    const struct br__trace_opts o = {
        .ids = all, .n_batches = dp, .n = (int64_t)ids->n, .flags = flags};
    return br__llm_trace(m, &o, t, err);
}

/* ---- logits ---------------------------------------------------------------------------------- */

/* Write the results as a safetensors file that appears only when it is complete. */
static int write_results(const struct br__trace *t, const char *path, struct br_err *err)
{
    struct br__st_entry *e = br__calloc(t->n, sizeof *e);
    struct br__buf out = {.max = (size_t)1 << 40};
    int rc = e ? BR_OK : br__nomem(err, "writing '%s'", path);

    for (size_t i = 0; i < t->n && !rc; i++) {
        e[i] = (struct br__st_entry){
            .name = t->list[i].name, .dtype = BR_F32, .ndim = t->list[i].ndim};
        memcpy(e[i].shape, t->list[i].shape, sizeof e[i].shape);
    }
    if (!rc && br__st_header(&out, e, t->n, NULL))
        rc = br__nomem(err, "writing '%s'", path);
    for (size_t i = 0; i < t->n && !rc; i++)
        br__buf_put(&out, t->list[i].data, (size_t)(e[i].end - e[i].begin));
    if (!rc && out.failed)
        rc = br_fail(err, out.failed, "out of memory writing '%s'", path);
    if (!rc)
        rc = br__write_file(path, out.p, out.n, 1, err);
    br__buf_free(&out);
    br__free(e);
    return rc;
}

/* Refuse an output file that is one of the inputs. */
static int check_inputs(struct br__cli *c, const char *path, struct br_err *err)
{
    const char *const inputs[] = {BR__TEXT(c, HF_MODEL), BR__TEXT(c, ADAPTER), BR__TEXT(c, PLUGIN),
                                  BR__TEXT(c, INPUT_IDS)};
    int inside = 0, rc = BR_OK;

    for (size_t i = 0; !rc && !inside && i < BR_COUNTOF(inputs); i++) {
        if (!inputs[i] || !br__exists(inputs[i]))
            continue;
        rc = br__path_inside(&c->arena, inputs[i], path, &inside, err);
        if (inside)
            rc = br_fail(err, BR_E_USAGE,
                         "--output '%s' lies in '%s', which is read; choose another place", path,
                         inputs[i]);
    }
    return rc;
}

static int check_output(struct br__cli *c, struct br_err *err)
{
    const char *path = BR__TEXT(c, OUTPUT_FILE);
    int rc = check_inputs(c, path, err);

    if (rc)
        return rc;

    if (br__exists(path) && !BR__FLAG(c, OVERWRITE))
        return br_fail(err, BR_E_EXISTS, "'%s' exists; give --overwrite to replace it", path);
    if (BR__FLAG(c, AUX_LOSS) && !BR__FLAG(c, GRADS))
        return br_fail(err, BR_E_USAGE, "option '--aux-loss' needs --grads");
    return BR_OK;
}

static int print_logits(struct subject *s, const struct br__trace *t, struct br_err *err)
{
    struct br__js j = {0};
    const char *path = BR__TEXT(s->c, OUTPUT_FILE);
    const struct br__named *loss = br__trace_find(t, "loss"), *aux = br__trace_find(t, "aux_loss");

    if (!BR__FLAG(s->c, JSON)) {
        br__say(stdout, "wrote %zu tensors for %zu tokens to %s", t->n, s->ids.n, path);
        if (loss)
            br__say(stdout, "loss %.7g", (double)loss->data[0]);
        if (aux)
            br__say(stdout, "aux_loss %.7g", (double)aux->data[0]);
        return BR_OK;
    }
    br__js_object(&j, NULL, 0);
    br__js_str(&j, "path", path);
    br__js_u64(&j, "tokens", s->ids.n);
    br__js_array(&j, "tensors", 0);
    for (size_t i = 0; i < t->n; i++)
        br__js_str(&j, NULL, t->list[i].name);
    br__js_end(&j);
    if (loss)
        br__js_num(&j, "loss", loss->data[0]);
    if (aux)
        br__js_num(&j, "aux_loss", aux->data[0]);
    br__report_json(&s->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_logits(struct br__cli *c, struct br_err *err)
{
    struct subject s;
    struct br__trace t = {0};
    unsigned flags = (BR__FLAG(c, HIDDEN_STATES) ? BR__TRACE_HIDDEN : 0u) |
                     (BR__FLAG(c, GRADS) ? BR__TRACE_GRADS : 0u) |
                     (BR__FLAG(c, AUX_LOSS) ? BR__TRACE_AUX : 0u) |
                     (BR__FLAG(c, MTP) ? BR__TRACE_MTP : 0u);
    int rc = check_output(c, err);

    if (rc)
        return rc;
    rc = subject_open(&s, c, err);
    if (!rc)
        rc = br__ids_from_cli(c, s.m, &s.tok, &s.ids, err);
    if (!rc && BR__FLAG(c, AUX_LOSS) && !br__llm_config(s.m)->n_experts)
        rc = br_fail(err, BR_E_USAGE, "option '--aux-loss' is for models with routed experts");
    if (!rc)
        rc = logits_trace(s.m, &s.ids, flags, &t, err);
    if (!rc && br__procs_rank() == 0)
        rc = write_results(&t, BR__TEXT(c, OUTPUT_FILE), err);
    br__report_end(&s.r);
    if (!rc)
        rc = print_logits(&s, &t, err);
    br__trace_free(&t);
    subject_close(&s);
    return rc;
}

/* ---- compare --------------------------------------------------------------------------------- */

#define TOP 5

static void logits_top(const float *logits, size_t n, int32_t best[TOP])
{
    for (int k = 0; k < TOP; k++) {
        best[k] = -1;
        for (size_t v = 0; v < n; v++) {
            int taken = 0;
            for (int i = 0; i < k; i++)
                taken |= best[i] == (int32_t)v;
            if (!taken && (best[k] < 0 || logits[v] > logits[best[k]]))
                best[k] = (int32_t)v;
        }
    }
}

struct difference {
    double max, mean, cosine;
};

static struct difference logits_differ(const float *a, const float *b, size_t n)
{
    struct difference d = {0, 0, 0};
    double ab = 0, aa = 0, bb = 0;

    for (size_t i = 0; i < n; i++) {
        double e = fabs((double)a[i] - b[i]);
        d.max = fmax(d.max, e);
        d.mean += e / (double)n;
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    d.cosine = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb;
    return d;
}

static void top_json(struct br__js *j, struct subject *s, const char *key, const float *logits,
                     const int32_t best[TOP])
{
    br__js_array(j, key, 0);
    for (int k = 0; k < TOP; k++) {
        br__js_object(j, NULL, BR__JS_INLINE);
        br__js_i64(j, "id", best[k]);
        br__js_str(j, "text", br__token_text(&s->c->arena, s->tok, best[k]));
        br__js_num(j, "logit", logits[best[k]]);
        br__js_end(j);
    }
    br__js_end(j);
}

static int print_comparison(struct subject *s, const float *a, const float *b, size_t n,
                            struct br_err *err)
{
    int32_t x[TOP], y[TOP];
    struct difference d = logits_differ(a, b, n);
    struct br__js j = {0};

    logits_top(a, n, x);
    logits_top(b, n, y);
    if (BR__FLAG(s->c, JSON)) {
        br__js_object(&j, NULL, 0);
        br__js_bool(&j, "same_next_token", x[0] == y[0]);
        top_json(&j, s, "hf", a, x);
        top_json(&j, s, "megatron", b, y);
        br__js_num(&j, "max_abs_diff", d.max);
        br__js_num(&j, "mean_abs_diff", d.mean);
        br__js_num(&j, "cosine", d.cosine);
        br__report_json(&s->r, &j);
        br__js_end(&j);
        return br__js_print(&j, err);
    }
    struct br__table t = {.cols = 7};
    br__table_row(&t, ">rank", ">hf id", ">logit", "text", ">megatron id", ">logit", "text");
    for (int k = 0; k < TOP; k++)
        br__table_row(
            &t, br__arena_printf(&t.arena, "%d", k + 1), br__arena_printf(&t.arena, "%d", x[k]),
            br__arena_printf(&t.arena, "%.4f", (double)a[x[k]]),
            br__token_text(&t.arena, s->tok, x[k]), br__arena_printf(&t.arena, "%d", y[k]),
            br__arena_printf(&t.arena, "%.4f", (double)b[y[k]]),
            br__token_text(&t.arena, s->tok, y[k]));
    int rc = br__table_print(&t, err);
    br__say(stdout, "next token %s; logits differ by at most %.3g, on average %.3g; cosine %.9f",
            x[0] == y[0] ? "the same" : "DIFFERENT", d.max, d.mean, d.cosine);
    return rc;
}

/* Copy the last row of the logits of all tokens. */
static float *last_logits(struct subject *s, struct br_err *err)
{
    struct br__trace t;
    size_t vocab = (size_t)br_cfg_i(br__llm_config(s->m), BR_CFG_VOCAB_SIZE);
    float *row = NULL;

    if (logits_trace(s->m, &s->ids, 0, &t, err))
        return NULL;
    row = br__alloc(vocab * sizeof *row);
    if (row)
        memcpy(row, br__trace_find(&t, "logits")->data + (s->ids.n - 1) * vocab,
               vocab * sizeof *row);
    else
        (void)br__nomem(err, "for logits");
    br__trace_free(&t);
    return row;
}

int br__cmd_compare(struct br__cli *c, struct br_err *err)
{
    struct subject s = {.c = c};
    struct br__llm_opts o, hf, megatron;
    float *a = NULL, *b = NULL;

    br__report_init(&s.r, c);
    int rc = br__llm_opts_from_cli(c, &s.r, &o, err);
    hf = megatron = o;
    hf.weights.megatron_path = NULL;
    if (!rc && !(rc = br__llm_open(&s.m, &hf, err)) &&
        !(rc = br__ids_from_cli(c, s.m, &s.tok, &s.ids, err)) && !(a = last_logits(&s, err)))
        rc = err->code;
    br__llm_close(s.m);
    s.m = NULL;
    if (!rc && !(rc = br__llm_open(&s.m, &megatron, err)) && !(b = last_logits(&s, err)))
        rc = err->code;
    br__report_end(&s.r);
    if (!rc) {
        size_t vocab = (size_t)br_cfg_i(br__llm_config(s.m), BR_CFG_VOCAB_SIZE);
        rc = print_comparison(&s, a, b, vocab, err);
        if (!rc && logits_differ(a, b, vocab).max > 0 && c->opt[BR__OPT_RUN_DTYPE].i == BR_F32)
            rc = BR_E_DIFF;
    }
    br__free(a);
    br__free(b);
    subject_close(&s);
    return rc;
}

/* ---- score ----------------------------------------------------------------------------------- */

static int read_stream(FILE *f, const char *name, struct br__buf *b, struct br_err *err)
{
    br__read_all(f, b);
    if (ferror(f) || b->failed)
        return br_fail(err, b->failed ? b->failed : BR_E_IO, "cannot read '%s'", name);
    return BR_OK;
}

static int text_ids(struct subject *s, const char *path, struct br_err *err)
{
    struct br__buf text = {.max = TEXT_MAX};
    const char *dir;
    int is_stdin = !strcmp(path, "-");
    FILE *f = is_stdin ? NULL : fopen(path, "re");

    if (!f && !is_stdin)
        return br_fail(err, BR_E_NOTFOUND, "cannot open '%s'", path);
    int rc = is_stdin ? br__read_stdin(&text, err) : read_stream(f, path, &text, err);
    if (f)
        fclose(f);
    if (!rc)
        rc = br__tokenizer_for(s->c, s->m, &s->tok, &dir, err);
    if (!rc)
        rc = br__encode_for(s->m, s->tok, text.p ? text.p : "", text.n, &s->ids, err);
    br__buf_free(&text);
    return rc;
}

struct scores {
    double *logprob; /* [n_ids]; NAN for the first token of a window, which follows no token */
    double sum;
    size_t counted;
};

static int score_all(struct subject *s, struct scores *sc, struct br_err *err)
{
    int rc = br__score(s->m, s->ids.p, s->ids.n, sc->logprob, err);
    for (size_t i = 0; i < s->ids.n && !rc; i++)
        if (!isnan(sc->logprob[i])) {
            sc->sum += sc->logprob[i];
            sc->counted++;
        }
    return rc;
}

static int print_score_rows(struct subject *s, const struct scores *sc, struct br_err *err)
{
    struct br__table t = {.cols = 4};

    br__table_row(&t, ">position", ">id", ">log p", "text");
    for (size_t i = 0; i < s->ids.n; i++)
        br__table_row(
            &t, br__arena_printf(&t.arena, "%zu", i), br__arena_printf(&t.arena, "%d", s->ids.p[i]),
            isnan(sc->logprob[i]) ? "-" : br__arena_printf(&t.arena, "%.5f", sc->logprob[i]),
            br__token_text(&t.arena, s->tok, s->ids.p[i]));
    return br__table_print(&t, err);
}

/* Of a file, whose tokens may be many, the totals alone. */
static int print_scores(struct subject *s, const struct scores *sc, struct br_err *err)
{
    struct br__js j = {0};
    double mean = sc->counted ? sc->sum / (double)sc->counted : 0;

    if (!BR__FLAG(s->c, JSON)) {
        int rc = BR__FLAG(s->c, FILE) ? BR_OK : print_score_rows(s, sc, err);
        br__say(stdout, "tokens %zu, counted %zu, log p %.6f, mean %.6f, perplexity %.6g", s->ids.n,
                sc->counted, sc->sum, mean, exp(-mean));
        return rc;
    }
    br__js_object(&j, NULL, 0);
    br__js_array(&j, "ids", BR__JS_INLINE);
    for (size_t i = 0; i < s->ids.n; i++)
        br__js_i64(&j, NULL, s->ids.p[i]);
    br__js_end(&j);
    br__js_array(&j, "logprobs", BR__JS_INLINE);
    for (size_t i = 0; i < s->ids.n; i++)
        if (isnan(sc->logprob[i]))
            br__js_null(&j, NULL);
        else
            br__js_num(&j, NULL, sc->logprob[i]);
    br__js_end(&j);
    br__js_u64(&j, "counted", sc->counted);
    br__js_num(&j, "logprob", sc->sum);
    br__js_num(&j, "perplexity", exp(-mean));
    br__report_json(&s->r, &j);
    br__js_end(&j);
    return br__js_print(&j, err);
}

int br__cmd_score(struct br__cli *c, struct br_err *err)
{
    struct subject s;
    struct scores sc = {0};
    const char *file = BR__TEXT(c, FILE);

    if (file && (BR__FLAG(c, PROMPT) || BR__FLAG(c, INPUT_IDS)))
        return br_fail(err, BR_E_USAGE, "give one of --file, --prompt and --input-ids");
    int rc = subject_open(&s, c, err);
    if (!rc)
        rc = file ? text_ids(&s, file, err) : br__ids_from_cli(c, s.m, &s.tok, &s.ids, err);
    if (!rc && s.ids.n < 2)
        rc = br_fail(err, BR_E_USAGE, "%zu tokens; at least 2 are needed for a score", s.ids.n);
    if (!rc && !(sc.logprob = br__alloc(s.ids.n * sizeof *sc.logprob)))
        rc = br__nomem(err, "for %zu scores", s.ids.n);
    if (!rc)
        rc = score_all(&s, &sc, err);
    br__report_end(&s.r);
    if (!rc)
        rc = print_scores(&s, &sc, err);
    br__free(sc.logprob);
    subject_close(&s);
    return rc;
}
