/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* json.c - tokenizer.json.  Two of its members have 150 thousand entries each and are read without
 * a tree; the others are small and are parsed.  A part that would change ids and is not implemented
 * is refused by name.  `truncation` and `padding` describe batching, not ids, and are ignored, as
 * transformers does. */
#include "tok.h"

#include <string.h>

/* Bytes of the file per vocabulary entry, with its merge: Qwen's published files have 75, half of
 * that without blanks.  Too high a guess costs memory, too low a rehash. */
#define BYTES_PER_TOKEN 64

/* ---- vocabulary and merges ------------------------------------------------------------------- */

int br__tok_json_vocab(struct br_tokenizer *t, struct br__jscan *j, struct br_err *err)
{
    struct br__buf room = {0};
    const char *key = NULL;
    size_t n = 0;
    int64_t id;
    int rc = br__tok_vocab_init(&t->vocab, j->n / BYTES_PER_TOKEN, err);
    if (!rc)
        rc = br__jscan_enter(j, 'o');
    while (!rc && br__jscan_next(j)) {
        rc = br__jscan_key_view(j, &room, &key, &n);
        if (!rc)
            rc = br__jscan_i64(j, &id);
        if (!rc)
            rc = br__tok_vocab_add(&t->vocab, key, n, id, BR__TOK_VOCAB, err);
    }
    br__buf_free(&room);
    rc = rc ? rc : j->rc;
    return rc ? rc : br__tok_vocab_flush(&t->vocab, err);
}

/* The two tokens of a merge, in the file's text or in `room`. */
struct halves {
    const char *s[2];
    size_t n[2];
    struct br__buf room[2];
};

/* "a b" */
static int merge_as_text(struct br__jscan *j, struct halves *h)
{
    const char *s = NULL;
    size_t n = 0;
    int rc = br__jscan_view(j, &h->room[0], &s, &n);
    const char *blank = rc || !n ? NULL : memchr(s, ' ', n);
    if (rc)
        return rc;
    if (!blank || memchr(blank + 1, ' ', n - (size_t)(blank + 1 - s)))
        return br_fail(j->err, BR_E_FORMAT, "'%.*s' is not two tokens with a blank between them",
                       (int)BR__MIN(n, 200), n ? s : "");
    h->s[0] = s;
    h->n[0] = (size_t)(blank - s);
    h->s[1] = blank + 1;
    h->n[1] = n - h->n[0] - 1;
    return BR_OK;
}

/* ["a", "b"] */
static int merge_as_pair(struct br__jscan *j, struct halves *h)
{
    int parts = 0;
    br__jscan_enter(j, 'a');
    for (; br__jscan_next(j); parts++) {
        int k = parts > 0; /* count all of them; too many are refused below */
        if (br__jscan_view(j, &h->room[k], &h->s[k], &h->n[k]))
            break;
    }
    if (!j->rc && parts != 2)
        return br_fail(j->err, BR_E_FORMAT, "%d tokens, expected two", parts);
    return j->rc;
}

static int read_merges(struct br_tokenizer *t, struct br__jscan *j, struct br_err *err)
{
    struct halves h = {{0}, {0}, {{0}}};
    struct br__tok_merges *m = &t->merges;
    int rc = br__tok_merges_init(m, &t->vocab, t->vocab.n, err);
    if (!rc)
        rc = br__jscan_enter(j, 'a');
    while (!rc && br__jscan_next(j)) {
        rc = br__jscan_kind(j) == 'a' ? merge_as_pair(j, &h) : merge_as_text(j, &h);
        if (!rc && (h.n[0] == 0 || h.n[1] == 0))
            rc = br_fail(err, BR_E_FORMAT, "an empty token");
        if (!rc)
            rc = br__tok_merges_add(m, &t->vocab, h.s[0], h.n[0], h.s[1], h.n[1], err);
    }
    br__buf_free(&h.room[0]);
    br__buf_free(&h.room[1]);
    rc = rc ? rc : j->rc;
    return rc ? rc : br__tok_merges_flush(m, &t->vocab, err);
}

/* ---- small parts ----------------------------------------------------------------------------- */

/* Parse any value. */
static int read_value(struct br__jscan *j, br__json **out)
{
    *out = NULL;
    (void)br__jscan_kind(j); /* steps over blanks */
    size_t start = j->at;
    if (br__jscan_skip(j))
        return j->rc;
    return br__json_parse(out, (const char *)j->s + start, j->at - start, j->err);
}

/* ---- added tokens ---------------------------------------------------------------------------- */

/* The row of that text, made if there is none yet; NULL if out of memory. */
static struct br__tok_row *row_of(struct br_tokenizer *t, struct br__tok_rows *rows,
                                  const char *text, int64_t id)
{
    uint32_t i = br__map_get(&rows->by_text, text);
    if (i != BR__NOT_FOUND)
        return &rows->p[i];
    const char *own = br__arena_strdup(&t->arena, text);
    if (!own || rows->n >= BR__NOT_FOUND ||
        br__grow(&rows->p, &rows->cap, rows->n, sizeof *rows->p) ||
        (!rows->by_text.cap && br__map_init(&rows->by_text, 32)) ||
        br__map_put(&rows->by_text, own, (uint32_t)rows->n))
        return NULL;
    rows->p[rows->n] = (struct br__tok_row){.text = own, .id = id};
    return &rows->p[rows->n++];
}

int br__tok_row_put(struct br_tokenizer *t, struct br__tok_rows *rows, const br__json *j,
                    int64_t id, struct br_err *err)
{
    const char *text = br__json_str(br__json_get(j, "content"), "");
    if (!*text)
        return br_fail(err, BR_E_FORMAT, "the added token of id %lld has no content",
                       (long long)id);
    if (br__json_bool(br__json_get(j, "single_word"), 0))
        return br__tok_unsupported(err, "added token with single_word", text, "false");
    struct br__tok_row *row = row_of(t, rows, text, id);
    if (!row)
        return br__nomem(err, "for the added tokens");
    if (row->id != id)
        return br_fail(err, BR_E_FORMAT, "added token '%s' has two ids, %lld and %lld", text,
                       (long long)row->id, (long long)id);
    row->special = br__json_bool(br__json_get(j, "special"), 0);
    row->normalized = br__json_bool(br__json_get(j, "normalized"), !row->special);
    row->lstrip = br__json_bool(br__json_get(j, "lstrip"), 0);
    row->rstrip = br__json_bool(br__json_get(j, "rstrip"), 0);
    return BR_OK;
}

static int use_added_tokens(struct br_tokenizer *t, struct br__tok_rows *rows, const br__json *j,
                            struct br_err *err)
{
    for (const br__json *row = br__json_first(j); row; row = br__json_next(row)) {
        uint64_t id;
        if (br__json_u64(br__json_get(row, "id"), &id) || id > INT32_MAX)
            return br_fail(err, BR_E_FORMAT, "added token '%s' has no id",
                           br__json_str(br__json_get(row, "content"), "?"));
        int rc = br__tok_row_put(t, rows, row, (int64_t)id, err);
        if (rc)
            return rc;
    }
    return BR_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

/* A value that does nothing: null, false, "", 0. */
static int is_quiet(const br__json *v)
{
    char kind = br__json_kind(v);

    return !v || kind == '0' || (kind == 'b' && !br__json_bool(v, 1)) ||
           (kind == 's' && !*br__json_str(v, "x")) || (kind == 'n' && br__json_num(v, 1) == 0);
}

/* A member of "model" besides vocab and merges. */
static int use_option(struct br_tokenizer *t, const char *key, const br__json *v,
                      struct br_err *err)
{
    if (strcmp(key, "type") == 0)
        return strcmp(br__json_str(v, ""), "BPE") == 0
                   ? BR_OK
                   : br__tok_unsupported(err, "model", br__json_str(v, "?"), "BPE");
    if (strcmp(key, "ignore_merges") == 0) {
        t->ignore_merges = br__json_bool(v, 0);
    } else if (strcmp(key, "byte_fallback") == 0) {
        t->byte_fallback = br__json_bool(v, 0);
    } else if (strcmp(key, "fuse_unk") == 0) {
        t->fuse_unk = br__json_bool(v, 0);
    } else if (strcmp(key, "unk_token") == 0) {
        t->unk_text = is_quiet(v) ? NULL : br__arena_strdup(&t->arena, br__json_str(v, ""));
        return t->unk_text || is_quiet(v) ? BR_OK : br__nomem(err, "opening a tokenizer");
    } else if (!is_quiet(v)) {
        return br__tok_unsupported(err, "model", key, "no such option, or its default");
    }
    return BR_OK;
}

static int read_option(struct br_tokenizer *t, struct br__jscan *j, const char *key)
{
    br__json *v;
    int rc = read_value(j, &v);
    if (!rc)
        rc = use_option(t, key, v, j->err);
    br__json_free(v);
    return rc;
}

static int read_model(struct br_tokenizer *t, struct br__jscan *j, struct br_err *err)
{
    struct br__buf key = {0};
    struct br__jscan merges = {0};
    int rc = t->vocab.cap ? br_fail(err, BR_E_FORMAT, "there are two") : br__jscan_enter(j, 'o');
    while (!rc && br__jscan_next(j)) {
        rc = br__jscan_key(j, &key);
        if (rc)
            break;
        if (strcmp(key.p, "vocab") == 0) {
            rc = t->vocab.cap ? br_fail(err, BR_E_FORMAT, "two vocab members")
                              : br__tok_json_vocab(t, j, err);
        } else if (strcmp(key.p, "merges") == 0) {
            /* needs the vocabulary, which may come later in the file */
            int again = t->merges.slots || merges.s;
            int later = !t->vocab.cap;
            if (later)
                merges = *j;
            rc = again   ? br_fail(err, BR_E_FORMAT, "two merges members")
                 : later ? br__jscan_skip(j)
                         : read_merges(t, j, err);
        } else {
            rc = read_option(t, j, key.p);
        }
        if (rc)
            br_wrap(err, "%s", key.p);
    }
    br__buf_free(&key);
    rc = rc ? rc : j->rc;
    if (!rc && !(t->vocab.cap && (t->merges.slots || merges.s)))
        return br_fail(err, BR_E_FORMAT, "no vocab and merges");
    return !rc && merges.s ? read_merges(t, &merges, err) : rc;
}

/* The unknown token; where every byte has a token it cannot occur. */
static int find_unknown(struct br_tokenizer *t, struct br_err *err)
{
    t->unk = BR__TOK_NONE;
    if (!t->vocab.plain || !t->unk_text)
        return BR_OK;
    t->unk = br__tok_vocab_spelled(&t->vocab, t->unk_text, strlen(t->unk_text));
    return t->unk != BR__TOK_NONE
               ? BR_OK
               : br_fail(err, BR_E_FORMAT, "unk_token: '%s' is not in the vocabulary", t->unk_text);
}

/* The file's members but the model; it is read when it is known what its spellings mean. */
struct file {
    br__json *part[BR__TOK_N_PARTS], *added_tokens;
    struct br__jscan
        model; /* s: NULL, or where the model is that stands before the pre_tokenizer */
};

static int model_here(struct br_tokenizer *t, struct br__jscan *j, const struct file *f)
{
    t->vocab.plain = !br__tok_is_byte_level(f->part[BR__TOK_PRE_TOKENIZER]);
    int rc = read_model(t, j, j->err);
    return rc ? rc : find_unknown(t, j->err);
}

static int read_member(struct br_tokenizer *t, struct br__jscan *j, const char *key, struct file *f)
{
    br__json **slot = strcmp(key, "added_tokens") == 0 ? &f->added_tokens : NULL;

    if (strcmp(key, "model") == 0) {
        if (f->model.s)
            return br_fail(j->err, BR_E_FORMAT, "there are two");
        if (f->part[BR__TOK_PRE_TOKENIZER])
            return model_here(t, j, f);
        f->model = *j;
        return br__jscan_skip(j);
    }
    for (int i = 0; i < BR__TOK_N_PARTS && !slot; i++)
        if (strcmp(key, br__tok_part_names[i]) == 0)
            slot = &f->part[i];
    if (!slot)
        return br__jscan_skip(j);
    return *slot ? br_fail(j->err, BR_E_FORMAT, "there are two") : read_value(j, slot);
}

static int use_file(struct br_tokenizer *t, struct br__tok_rows *rows, struct file *f,
                    struct br_err *err)
{
    int rc = BR_OK;

    if (f->model.s && (rc = model_here(t, &f->model, f))) {
        br_wrap(err, "model");
        return rc;
    }
    if (!t->vocab.cap)
        return br_fail(err, BR_E_FORMAT, "no model; is this a tokenizer.json?");
    for (int i = 0; i < BR__TOK_N_PARTS && !rc; i++)
        rc = br__tok_part_use(t, i, f->part[i], err);
    if (!rc)
        br__tok_parts_settle(t);
    return rc ? rc : use_added_tokens(t, rows, f->added_tokens, err);
}

int br__tok_json_read(struct br_tokenizer *t, struct br__tok_rows *rows, const char *text, size_t n,
                      struct br_err *err)
{
    struct br__jscan j;
    struct br__buf key = {0};
    struct file f = {0};
    br__jscan_begin(&j, text, n, err);
    int rc = br__jscan_enter(&j, 'o');
    while (!rc && br__jscan_next(&j)) {
        rc = br__jscan_key(&j, &key);
        if (!rc && (rc = read_member(t, &j, key.p, &f)))
            br_wrap(err, "%s", key.p);
    }
    if (!rc)
        rc = br__jscan_end(&j);
    if (!rc)
        rc = use_file(t, rows, &f, err);
    for (int i = 0; i < BR__TOK_N_PARTS; i++)
        br__json_free(f.part[i]);
    br__json_free(f.added_tokens);
    br__buf_free(&key);
    return rc;
}
