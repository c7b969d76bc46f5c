/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* load.c - the files of a tokenizer's directory -> tables.  tokenizer.json has everything.  Without
 * it vocab.json and merges.txt are read as transformers' Qwen2Tokenizer reads them: NFC, Qwen2's
 * pattern, added tokens from tokenizer_config.json.  That file may also add to tokenizer.json's
 * tokens or change them: it is read last. */
#include "tok.h"

#include <string.h>

/* Published files have 11 MB and less. */
#define MAX_FILE ((size_t)1 << 29)
#define MAX_CONFIG ((size_t)1 << 26)

/* ---- vocab.json, merges.txt ------------------------------------------------------------------ */

static int read_vocab(struct br_tokenizer *t, const char *text, size_t n, struct br_err *err)
{
    struct br__jscan j;
    br__jscan_begin(&j, text, n, err);
    int rc = br__tok_json_vocab(t, &j, err);
    return rc ? rc : br__jscan_end(&j);
}

static int add_merge_line(struct br_tokenizer *t, const char *line, size_t n, struct br_err *err)
{
    const char *blank = memchr(line, ' ', n);
    size_t cut = blank ? (size_t)(blank - line) : 0;
    if (!cut || cut + 1 == n || memchr(blank + 1, ' ', n - cut - 1))
        return br_fail(err, BR_E_FORMAT, "'%.*s' is not two tokens with a blank between them",
                       (int)BR__MIN(n, 200), line);
    return br__tok_merges_add(&t->merges, &t->vocab, line, cut, blank + 1, n - cut - 1, err);
}

static int read_merges(struct br_tokenizer *t, const char *text, size_t n, struct br_err *err)
{
    static const char version[] = "#version";
    int rc = br__tok_merges_init(&t->merges, &t->vocab, t->vocab.n, err);
    if (!rc && !br__utf8_valid(text, n))
        rc = br_fail(err, BR_E_FORMAT, "not UTF-8 at byte %zu", br__utf8_span(text, n));
    size_t at = 0;
    for (size_t line = 1; at < n && !rc; line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at, next = at + len + 1;
        if (len && text[at + len - 1] == '\r')
            len--;
        int comment = line == 1 && br__starts(text, version);
        if (len && !comment)
            rc = add_merge_line(t, text + at, len, err);
        if (rc)
            br_wrap(err, "line %zu", line);
        at = next;
    }
    return rc ? rc : br__tok_merges_flush(&t->merges, &t->vocab, err);
}

/* ---- tokenizer_config.json ------------------------------------------------------------------- */

static int use_roles(struct br_tokenizer *t, const br__json *config, struct br_err *err)
{
    static const char *const keys[BR_N_TOK_ROLES] = {"bos_token", "eos_token", "pad_token",
                                                     "unk_token"};
    for (int i = 0; i < BR_N_TOK_ROLES; i++) {
        const br__json *v = br__json_get(config, keys[i]);
        const char *text =
            br__json_str(br__json_kind(v) == 'o' ? br__json_get(v, "content") : v, NULL);
        if (!text)
            continue;
        t->roles[i] = br__arena_strdup(&t->arena, text);
        if (!t->roles[i])
            return br__nomem(err, "opening a tokenizer");
    }
    return BR_OK;
}

static int use_config(struct br_tokenizer *t, struct br__tok_rows *rows, const br__json *config,
                      struct br_err *err)
{
    const br__json *row = br__json_first(br__json_get(config, "added_tokens_decoder"));
    for (; row; row = br__json_next(row)) {
        int64_t id;
        if (br__parse_i64(br__json_key(row), &id) || id < 0 || id > INT32_MAX)
            return br_fail(err, BR_E_FORMAT, "added_tokens_decoder: '%s' is no id",
                           br__json_key(row));
        int rc = br__tok_row_put(t, rows, row, id, err);
        if (rc) {
            br_wrap(err, "added_tokens_decoder");
            return rc;
        }
    }
    return use_roles(t, config, err);
}

/* vocab.json does not say how text is split, so the class must be a known one. */
static int check_class(const br__json *config, struct br_err *err)
{
    const char *class = br__json_str(br__json_get(config, "tokenizer_class"), "Qwen2Tokenizer");
    if (br__starts(class, "Qwen2Tokenizer"))
        return BR_OK;
    return br_fail(err, BR_E_UNSUPPORTED,
                   "tokenizer_class '%s' is not supported without a tokenizer.json, expected "
                   "Qwen2Tokenizer",
                   class);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

static int note_shown(struct br_tokenizer *t, const struct br__tok_row *row, const char *text,
                      size_t n, struct br_err *err)
{
    char *own = br__arena_strndup(&t->arena, text, n);
    if (!own || br__grow(&t->shown, &t->cap_shown, t->n_shown, sizeof *t->shown))
        return br__nomem(err, "for the added tokens");
    t->shown[t->n_shown++] = (struct br__tok_shown){(uint32_t)row->id, own, n};
    t->vocab.flags[row->id] |= BR__TOK_RENAMED;
    return BR_OK;
}

/* The token's text in the form that is searched: normalized if normalization comes first. */
static int put_in_tree(struct br_tokenizer *t, const struct br__tok_row *row, struct br_err *err)
{
    const unsigned char *text = (const unsigned char *)row->text;
    struct br__buf buf = {0};
    struct br__tok_texts texts = {0};
    size_t n = strlen(row->text);
    int rc = BR_OK;
    if (row->normalized && t->n_norms)
        rc = br__tok_normalize(t, &texts, &text, &n, err);
    else if (row->normalized && t->nfc)
        rc = br__tok_nfc(&t->unicode, text, n, &buf, &text, &n, err);
    if (!rc && (n != strlen(row->text) || memcmp(text, row->text, n) != 0))
        rc = note_shown(t, row, (const char *)text, n, err);
    if (!rc && !n)
        rc = br_fail(err, BR_E_UNSUPPORTED, "nothing is left of it when it is normalized");
    if (!rc)
        rc = br__tok_added_put(
            &t->added[row->normalized], (const char *)text, n, (uint32_t)row->id,
            (row->lstrip ? BR__TOK_LSTRIP : 0u) | (row->rstrip ? BR__TOK_RSTRIP : 0u), err);
    br__buf_free(&buf);
    br__buf_free(&texts.text[0]);
    br__buf_free(&texts.text[1]);
    return rc;
}

int br__tok_rows_use(struct br_tokenizer *t, const struct br__tok_rows *rows, struct br_err *err)
{
    struct br__tok_vocab *v = &t->vocab;
    for (size_t i = 0; i < rows->n; i++) {
        const struct br__tok_row *row = &rows->p[i];
        uint32_t id = br__tok_vocab_spelled(v, row->text, strlen(row->text));
        int rc = BR_OK;
        if (id == BR__TOK_NONE || (int64_t)id != row->id)
            rc = br__tok_vocab_add(v, row->text, strlen(row->text), row->id, BR__TOK_ADDED, err);
        if (!rc)
            rc = br__tok_vocab_flush(v, err);
        if (!rc)
            rc = put_in_tree(t, row, err);
        if (rc) {
            br_wrap(err, "added token '%s'", row->text);
            return rc;
        }
        v->flags[row->id] |= (uint8_t)(BR__TOK_ADDED | (row->special ? BR__TOK_SPECIAL : 0));
    }
    t->whole = br__calloc(v->n_ids, sizeof *t->whole);
    return t->whole ? BR_OK : br__nomem(err, "opening a tokenizer");
}

/* ---- the directory --------------------------------------------------------------------------- */

/* Read a file as text; `use` reports errors with its name. */
static int with_file(struct br_tokenizer *t, const char *dir, const char *name,
                     int (*use)(struct br_tokenizer *t, const char *text, size_t n,
                                struct br_err *err),
                     struct br_err *err)
{
    char *text = NULL, *path = br__path_join(&t->arena, dir, name);
    size_t n = 0;
    if (!path)
        return br__nomem(err, "opening a tokenizer");
    int rc = br__read_text(path, MAX_FILE, &text, &n, err);
    if (!rc) {
        rc = use(t, text, n, err);
        if (rc)
            br_wrap(err, "%s", path);
    }
    br__free(text);
    return rc;
}

static int read_config(struct br_tokenizer *t, const char *dir, br__json **out, struct br_err *err)
{
    char *text = NULL, *path = br__path_join(&t->arena, dir, "tokenizer_config.json");
    size_t n = 0;
    *out = NULL;
    if (!path)
        return br__nomem(err, "opening a tokenizer");
    if (!br__exists(path))
        return BR_OK;
    int rc = br__read_text(path, MAX_CONFIG, &text, &n, err);
    if (!rc) {
        rc = br__json_parse(out, text, n, err);
        if (rc)
            br_wrap(err, "%s", path);
    }
    br__free(text);
    return rc;
}

static int read_json(struct br_tokenizer *t, struct br__tok_rows *rows, const char *path,
                     struct br_err *err)
{
    char *text = NULL;
    size_t n = 0;
    int rc = br__read_text(path, MAX_FILE, &text, &n, err);
    if (!rc) {
        rc = br__tok_json_read(t, rows, text, n, err);
        if (rc)
            br_wrap(err, "%s", path);
    }
    br__free(text);
    return rc;
}

static int read_two_files(struct br_tokenizer *t, const char *dir, const br__json *config,
                          struct br_err *err)
{
    int rc = check_class(config, err);
    t->nfc = 1;
    if (!rc)
        rc = with_file(t, dir, "vocab.json", read_vocab, err);
    return rc ? rc : with_file(t, dir, "merges.txt", read_merges, err);
}

static int read_files(struct br_tokenizer *t, struct br__tok_rows *rows, const char *dir,
                      const br__json *config, struct br_err *err)
{
    char *json = br__path_join(&t->arena, dir, "tokenizer.json");
    char *vocab = br__path_join(&t->arena, dir, "vocab.json");
    int rc;
    if (!json || !vocab)
        return br__nomem(err, "opening a tokenizer");
    if (br__exists(json))
        rc = read_json(t, rows, json, err);
    else if (br__exists(vocab))
        rc = read_two_files(t, dir, config, err);
    else
        return br_fail(err, BR_E_NOTFOUND,
                       "'%s' has no tokenizer: expected tokenizer.json, or vocab.json and "
                       "merges.txt",
                       dir);
    if (!rc)
        rc = use_config(t, rows, config, err);
    return rc ? rc : br__tok_rows_use(t, rows, err);
}

int br__tok_load(struct br_tokenizer *t, const char *dir, struct br_err *err)
{
    struct br__tok_rows rows = {0};
    br__json *config = NULL;
    br__tok_unicode_init(&t->unicode);
    int rc = read_config(t, dir, &config, err);
    if (!rc)
        rc = read_files(t, &rows, dir, config, err);
    br__json_free(config);
    br__map_free(&rows.by_text);
    br__free(rows.p);
    return rc;
}
