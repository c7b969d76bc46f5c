/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cmd_data.c - data build, data merge, data inspect: Megatron's token files. */
#include "../data/data.h"
#include "../format/format.h"
#include "../text/text.h"
#include "cli.h"

#include <inttypes.h>
#include <string.h>

/* ---- build ----------------------------------------------------------------------------------- */

/* Print a line and empty the buffer. */
static int say_line(struct br__buf *line, struct br_err *err)
{
    int failed = line->failed;
    if (!failed)
        br__say(stdout, "%s", line->p);
    br__buf_free(line);
    return failed ? br__nomem(err, "printing a line") : BR_OK;
}

/* --json-keys text,title and --json-keys text title */
static int split_keys(struct br__cli *c, const char *const **keys, size_t *n, struct br_err *err)
{
    const struct br__cli_value *v = &c->opt[BR__OPT_JSON_KEYS];
    const char **list = NULL;
    size_t cap = 0;
    *n = 0;
    for (size_t i = 0; i < v->n_list; i++)
        for (const char *s = v->list[i]; *s;) {
            size_t len = strcspn(s, ", ");
            if (*n == cap) {
                const char **more = br__arena_alloc(&c->arena, (cap = 2 * cap + 4) * sizeof *more);
                if (!more)
                    return br_fail(err, BR_E_NOMEM, "out of memory");
                if (*n)
                    memcpy(more, list, *n * sizeof *more);
                list = more;
            }
            if (len && !(list[(*n)++] = br__arena_strndup(&c->arena, s, len)))
                return br_fail(err, BR_E_NOMEM, "out of memory");
            s += len + (s[len] != '\0');
        }
    *keys = list;
    return BR_OK;
}

/* The token that ends documents: a word of the vocabulary or an id, else the tokenizer's end of
 * text. */
static int find_eod(struct br__cli *c, const struct br_tokenizer *tok, int32_t *id,
                    struct br_err *err)
{
    const char *word =
        BR__FLAG(c, EOD_TOKEN) ? BR__TEXT(c, EOD_TOKEN) : br_tokenizer_role(tok, BR_TOK_EOS);
    int64_t number;
    *id = -1;
    if (!BR__FLAG(c, APPEND_EOD) && !BR__FLAG(c, EOD_TOKEN))
        return BR_OK;
    if (!word)
        return br_fail(err, BR_E_CONFIG,
                       "the tokenizer names no eos_token; --eod-token says what ends a document");
    *id = br_tokenizer_token_id(tok, word);
    if (*id < 0 && br__parse_i64(word, &number) == BR_OK && number >= 0 &&
        number < br_tokenizer_n_vocab(tok))
        *id = (int32_t)number;
    if (*id < 0)
        return br_fail(err, BR_E_USAGE, "'%s' is no token of this tokenizer", word);
    return BR_OK;
}

static int print_built(struct br__cli *c, struct br__report *r, const char *output,
                       const struct br__build_result *b, double seconds, struct br_err *err)
{
    br__report_end(r);
    if (BR__FLAG(c, JSON)) {
        struct br__js j = {0};
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "output", output);
        br__js_i64(&j, "documents", b->documents);
        br__js_i64(&j, "tokens", b->tokens);
        br__js_i64(&j, "empty", b->empty);
        br__js_i64(&j, "bad", b->bad);
        br__js_u64(&j, "bytes", b->bytes);
        br__js_num(&j, "seconds", seconds);
        br__js_num(&j, "cpu_seconds", b->cpu_seconds);
        br__report_json(r, &j);
        br__js_end(&j);
        return br__js_print(&j, err);
    }
    struct br__buf line = {0};
    br__buf_printf(&line, "%s: %" PRId64 " documents, %" PRId64 " tokens", output, b->documents,
                   b->tokens);
    if (b->empty)
        br__buf_printf(&line, "; %" PRId64 " without tokens were left out", b->empty);
    if (b->bad)
        br__buf_printf(&line, "; %" PRId64 " bad records were left out", b->bad);
    return say_line(&line, err);
}

static int data_build(struct br__cli *c, struct br__report *r, const struct br_tokenizer *tok,
                      struct br_err *err)
{
    struct br__build_opts o = {.inputs = c->pos,
                               .n_inputs = c->n_pos,
                               .output = BR__TEXT(c, DATA_OUTPUT),
                               .tok = tok,
                               .threads = (int)BR__INT(c, WORKERS),
                               .sync = !BR__FLAG(c, NO_SYNC),
                               .overwrite = BR__FLAG(c, OVERWRITE),
                               .skip_bad = BR__FLAG(c, SKIP_BAD),
                               .listener = &r->listener};
    struct br__build_result res;
    double began = br__now();
    if (BR__FLAG(c, TOKEN_DTYPE))
        o.dtype = BR__INT(c, TOKEN_DTYPE) ? BR_I32 : BR_U16;
    int rc = split_keys(c, &o.keys, &o.n_keys, err);
    if (!rc)
        rc = find_eod(c, tok, &o.eod, err);
    if (!rc)
        rc = br__data_build(&o, &res, err);
    return rc ? rc : print_built(c, r, o.output, &res, br__now() - began, err);
}

int br__cmd_data_build(struct br__cli *c, struct br_err *err)
{
    const char *id = BR__FLAG(c, TOK_DIR) ? BR__TEXT(c, TOK_DIR) : BR__TEXT(c, HF_MODEL), *dir;
    struct br_tokenizer *tok = NULL;
    struct br__report r;
    if (!BR__FLAG(c, TOK_DIR) == !BR__FLAG(c, HF_MODEL))
        return br_fail(err, BR_E_USAGE, "'data build' needs %s --tokenizer DIR and --hf-model DIR",
                       BR__FLAG(c, TOK_DIR) ? "only one of" : "one of");
    int rc = br__hf_resolve(&c->arena, id, &dir, err);
    if (!rc)
        rc = br_tokenizer_open(&tok, dir, err);
    if (rc)
        return rc;
    br__report_init(&r, c);
    rc = data_build(c, &r, tok, err);
    br__report_end(&r);
    br__report_free(&r);
    br_tokenizer_close(tok);
    return rc;
}

/* ---- merge ----------------------------------------------------------------------------------- */

int br__cmd_data_merge(struct br__cli *c, struct br_err *err)
{
    struct br__build_result res;
    struct br__report r;
    double began = br__now();
    br__report_init(&r, c);
    int rc = br__data_merge(c->pos, c->n_pos, BR__TEXT(c, DATA_OUTPUT), BR__FLAG(c, OVERWRITE),
                            !BR__FLAG(c, NO_SYNC), &r.listener, &res, err);
    if (!rc)
        rc = print_built(c, &r, BR__TEXT(c, DATA_OUTPUT), &res, br__now() - began, err);
    br__report_end(&r);
    br__report_free(&r);
    return rc;
}

/* ---- inspect --------------------------------------------------------------------------------- */

#define SHOWN 8 /* tokens of a document that are printed */

struct lengths {
    int64_t min, max, empty;
};

static struct lengths data_measure(const struct br__indexed *x)
{
    struct lengths l = {.min = x->n_seq ? INT64_MAX : 0};
    for (int64_t i = 0; i < x->n_seq; i++) {
        int64_t n = br__indexed_len(x, i);
        l.min = BR__MIN(l.min, n);
        l.max = BR__MAX(l.max, n);
    }
    for (int64_t d = 0; d < x->n_doc; d++)
        l.empty += br__indexed_doc(x, d) == br__indexed_doc(x, d + 1);
    return l;
}

/* Read every id, so that a file with an invalid one is not reported as sound.  first: tokens of
 * sequence 0. */
static int largest_id(const struct br__indexed *x, int32_t *max, int32_t first[SHOWN],
                      struct br_err *err)
{
    enum { BLOCK = 1 << 14 };
    int32_t *ids = br__alloc(BLOCK * sizeof *ids);
    int rc = ids ? BR_OK : br_fail(err, BR_E_NOMEM, "out of memory");
    *max = -1;
    for (int64_t i = 0; i < x->n_seq && !rc; i++)
        for (int64_t at = 0, len = br__indexed_len(x, i); at < len && !rc; at += BLOCK) {
            int64_t n = BR__MIN((int64_t)BLOCK, len - at);
            rc = br__indexed_read(x, i, at, n, ids, err);
            for (int64_t k = 0; k < n && !rc; k++)
                *max = BR__MAX(*max, ids[k]);
            if (!rc && i == 0 && at == 0)
                memcpy(first, ids, (size_t)BR__MIN(n, SHOWN) * sizeof *first);
        }
    br__free(ids);
    return rc;
}

static int print_inspected(const struct br__cli *c, const char *prefix, const struct br__indexed *x,
                           int32_t max, const int32_t *first, struct br_err *err)
{
    struct lengths l = data_measure(x);
    int64_t shown = x->n_seq ? BR__MIN(SHOWN, br__indexed_len(x, 0)) : 0;
    if (BR__FLAG(c, JSON)) {
        struct br__js j = {0};
        br__js_object(&j, NULL, 0);
        br__js_str(&j, "path", prefix);
        br__js_str(&j, "dtype", br_dtype_torch(x->dtype));
        br__js_i64(&j, "documents", x->n_doc);
        br__js_i64(&j, "sequences", x->n_seq);
        br__js_i64(&j, "tokens", x->n_tokens);
        br__js_i64(&j, "empty_documents", l.empty);
        br__js_i64(&j, "shortest", l.min);
        br__js_i64(&j, "longest", l.max);
        br__js_i64(&j, "largest_id", max);
        br__js_u64(&j, "bin_bytes", x->bin.size);
        br__js_array(&j, "first_ids", BR__JS_INLINE);
        for (int64_t i = 0; i < shown; i++)
            br__js_i64(&j, NULL, first[i]);
        br__js_end(&j);
        br__js_end(&j);
        return br__js_print(&j, err);
    }
    struct br__buf line = {0};
    br__say(stdout, "%s: %s, %" PRId64 " documents, %" PRId64 " sequences, %" PRId64 " tokens",
            prefix, br_dtype_torch(x->dtype), x->n_doc, x->n_seq, x->n_tokens);
    br__buf_printf(&line, "sequences of %" PRId64 " to %" PRId64 " tokens, largest id %" PRId32,
                   l.min, l.max, max);
    if (l.empty)
        br__buf_printf(&line, ", %" PRId64 " empty documents", l.empty);
    int rc = say_line(&line, err);
    br__buf_puts(&line, "begins");
    for (int64_t i = 0; i < shown; i++)
        br__buf_printf(&line, " %" PRId32, first[i]);
    return rc ? rc : say_line(&line, err);
}

int br__cmd_data_inspect(struct br__cli *c, struct br_err *err)
{
    const char *prefix = br__data_prefix(&c->arena, c->pos[0]);
    struct br__indexed x;
    int32_t max, first[SHOWN] = {0};
    int rc = prefix ? br__indexed_open(&x, prefix, err) : br_fail(err, BR_E_NOMEM, "out of memory");
    if (rc)
        return rc;
    rc = largest_id(&x, &max, first, err);
    if (!rc)
        rc = print_inspected(c, prefix, &x, max, first, err);
    br__indexed_close(&x);
    return rc;
}
