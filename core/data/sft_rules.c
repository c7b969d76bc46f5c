/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sft_rules.c - a record with prompt and answer to tokens: template, truncation, what is learnt.
 *
 * The template is cut at its placeholders, each with the blanks before it, and the pieces are
 * tokenised one by one, so that the answer begins at a token's border. */
#include "sft.h"

#include <inttypes.h>
#include <string.h>

/* Tokens of images and sound: they stand for something that is no text. */
static const char *const never_learnt[] = {"<|im_start|>",   "<|vision_start|>", "<|vision_end|>",
                                           "<|vision_pad|>", "<|image_pad|>",    "<|video_pad|>",
                                           "<|AUDIO|>",      "<|audio_bos|>",    "<|audio_eos|>"};

/* ---- the template ---------------------------------------------------------------------------- */

/* "\n" typed on a command line is meant as a line break. */
static char *sft_unescaped(struct br__arena *a, const char *s)
{
    static const char names[] = "nrt\\\"'", values[] = "\n\r\t\\\"'";
    char *out = br__arena_strdup(a, s), *to = out;
    for (; out && *s; s++) {
        const char *known = s[0] == '\\' && s[1] ? strchr(names, s[1]) : NULL;
        *to++ = known ? values[known - names] : *s;
        s += known != NULL;
    }
    if (out)
        *to = '\0';
    return out;
}

static int add_piece(struct br__sft_rules *r, const char *s, size_t n)
{
    if (n == 0)
        return BR_OK;
    r->pieces[r->n_pieces] = br__arena_strndup(&r->arena, s, n);
    return r->pieces[r->n_pieces++] ? BR_OK : BR_E_NOMEM;
}

static int cut_template(struct br__sft_rules *r, const char *text, struct br_err *err)
{
    const char *s = sft_unescaped(&r->arena, text), *open;
    r->pieces = s ? br__arena_alloc(&r->arena, (strlen(s) + 2) * sizeof *r->pieces) : NULL;
    int rc = r->pieces ? BR_OK : BR_E_NOMEM;
    while (!rc && (open = strchr(s, '{'))) {
        const char *close = strchr(open, '}'), *blank = open;
        if (!close || close == open + 1)
            return br_fail(err, BR_E_CONFIG, "prompt_template '%s': '%.20s' names no field", text,
                           open);
        while (blank > s && blank[-1] == ' ')
            blank--;
        rc = add_piece(r, s, (size_t)(blank - s));
        if (!rc)
            rc = add_piece(r, blank, (size_t)(close + 1 - blank));
        s = close + 1;
    }
    if (!rc)
        rc = add_piece(r, s, strlen(s));
    return rc ? br__nomem(err, "for finetuning data") : BR_OK;
}

/* The field of a piece, without blanks and braces: its length in *n; NULL: the piece is text. */
static const char *field_of(const char *piece, size_t *n)
{
    piece += strspn(piece, " ");
    if (*piece != '{')
        return NULL;
    *n = strlen(piece) - 2;
    return piece + 1;
}

static int is_field(const char *piece, const char *name)
{
    size_t n;
    const char *f = field_of(piece, &n);
    return f && strlen(name) == n && memcmp(f, name, n) == 0;
}

static int check_template(struct br__sft_rules *r, const char *text, const char *label,
                          struct br_err *err)
{
    if (r->n_pieces == 0 || !is_field(r->pieces[r->n_pieces - 1], label))
        return br_fail(err, BR_E_CONFIG,
                       "prompt_template '%s' must end with the answer's field {%s}", text, label);
    for (size_t i = 0; i < r->n_cut; i++) {
        int found = 0;
        for (size_t k = 0; k < r->n_pieces; k++)
            found |= is_field(r->pieces[k], r->cut[i]);
        if (!found)
            return br_fail(err, BR_E_CONFIG,
                           "truncation_field '%s' is no field of prompt_template '%s'", r->cut[i],
                           text);
    }
    return BR_OK;
}

static int cut_fields(struct br__sft_rules *r, const char *list, struct br_err *err)
{
    r->cut = br__arena_alloc(&r->arena, (strlen(list) + 1) * sizeof *r->cut);
    if (!r->cut)
        return br__nomem(err, "for finetuning data");
    while (*list) {
        size_t n = strcspn(list, ",");
        r->cut[r->n_cut] = br__arena_strndup(&r->arena, list, n);
        if (!r->cut[r->n_cut++])
            return br__nomem(err, "for finetuning data");
        list += n + (list[n] == ',');
    }
    return BR_OK;
}

/* ---- the rules ------------------------------------------------------------------------------- */

static int32_t role_id(const struct br_tokenizer *tok, int role)
{
    const char *text = br_tokenizer_role(tok, role);
    return text ? br_tokenizer_token_id(tok, text) : -1;
}

static int find_ids(struct br__sft_rules *r, struct br_err *err)
{
    r->eos = role_id(r->o->tok, BR_TOK_EOS);
    r->bos = role_id(r->o->tok, BR_TOK_BOS);
    if (r->eos < 0)
        return br_fail(err, BR_E_CONFIG,
                       "the tokenizer names no end of text (eos_token of tokenizer_config.json), "
                       "with which answers end and batches are padded");
    if (r->o->add_bos && r->bos < 0)
        return br_fail(err, BR_E_CONFIG, "add_bos, but the tokenizer names no bos_token");
    for (size_t i = 0; i < BR_COUNTOF(never_learnt); i++) {
        int32_t id = br_tokenizer_token_id(r->o->tok, never_learnt[i]);
        if (id < 0)
            continue;
        if (br__grow(&r->skip.p, &r->skip.cap, r->skip.n, sizeof *r->skip.p))
            return br__nomem(err, "for finetuning data");
        r->skip.p[r->skip.n++] = id;
    }
    return BR_OK;
}

int br__sft_rules_make(struct br__sft_rules *r, const struct br__sft_opts *o, struct br_err *err)
{
    const char *label = o->label_key ? o->label_key : "output";
    const char *text = o->prompt_template ? o->prompt_template : "{input} {output}";
    *r = (struct br__sft_rules){.o = o, .chat = o->chat};
    int rc = find_ids(r, err);
    if (!rc && o->seq_length < 2)
        rc =
            br_fail(err, BR_E_CONFIG, "seq_length %" PRId64 ", expected at least 2", o->seq_length);
    if (!rc && !o->prompt_column != !o->completion_column)
        rc = br_fail(err, BR_E_CONFIG, "prompt_column and completion_column go together");
    if (!rc && o->chat)
        rc = br__chat_markers(r, err);
    else if (!rc && o->prompt_column)
        rc = cut_template(r, o->prompt_template ? o->prompt_template : "{prompt}", err);
    else if (!rc) {
        rc = cut_template(r, text, err);
        if (!rc)
            rc = cut_fields(r, o->truncation_field ? o->truncation_field : "input", err);
        if (!rc)
            rc = check_template(r, text, label, err);
    }
    if (rc)
        br__sft_rules_free(r);
    return rc;
}

void br__sft_rules_free(struct br__sft_rules *r)
{
    br_ids_free(&r->skip);
    br_ids_free(&r->turn_start);
    br_ids_free(&r->turn_end);
    br_ids_free(&r->turn_end_short);
    br__arena_free(&r->arena);
    *r = (struct br__sft_rules){0};
}

/* ---- pieces of a record ---------------------------------------------------------------------- */

#define MAX_PIECES 64

/* A piece of the template as tokens [from, from + n) of ids. */
struct piece_ids {
    size_t from, n;
    int cut; /* its field is truncated first */
};

struct build {
    const struct br__sft_rules *r;
    struct br_ids ids; /* of all pieces */
    struct piece_ids piece[MAX_PIECES];
    size_t n;
};

static size_t sft_total(const struct build *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n; i++)
        n += b->piece[i].n;
    return n;
}

static void sft_shorten(struct build *b, size_t i, size_t by)
{
    struct piece_ids *s = &b->piece[i];
    by = BR__MIN(by, s->n);
    s->n -= by;
    if (b->r->o->truncation_left)
        s->from += by;
}

/* Blanks around a value are dropped, the template has its own. */
static int put_text(struct br__buf *b, const br__json *record, const char *key, size_t n,
                    struct br_err *err)
{
    const br__json *v = br__json_first(record);
    while (v && !(strlen(br__json_key(v)) == n && memcmp(br__json_key(v), key, n) == 0))
        v = br__json_next(v);
    if (br__json_kind(v) != 's')
        return br_fail(err, BR_E_FORMAT,
                       v ? "\"%.*s\" is not a string" : "the record has no member \"%.*s\"", (int)n,
                       key);
    const char *s = br__json_str(v, "");
    s += strspn(s, " ");
    size_t len = strlen(s);
    while (len && s[len - 1] == ' ')
        len--;
    br__buf_put(b, s, len);
    return BR_OK;
}

static int sft_encode(struct build *b, const struct br__buf *text, struct br_err *err)
{
    struct piece_ids *s = &b->piece[b->n];
    if (b->n == MAX_PIECES)
        return br_fail(err, BR_E_UNSUPPORTED, "the template has more than %d pieces", MAX_PIECES);
    s->from = b->ids.n;
    int rc = text->failed ? br__nomem(err, "for finetuning data")
                          : br_tokenizer_encode(b->r->o->tok, text->n ? text->p : "", text->n, 0,
                                                &b->ids, err);
    s->n = b->ids.n - s->from;
    b->n += !rc;
    return rc;
}

static int template_pieces(struct build *b, const br__json *record, struct br_err *err)
{
    struct br__buf text = {0};
    int rc = BR_OK;
    for (size_t i = 0; i < b->r->n_pieces && !rc; i++) {
        const char *piece = b->r->pieces[i];
        size_t n;
        const char *field = field_of(piece, &n);
        text.n = 0;
        if (field) {
            br__buf_put(&text, piece, (size_t)(field - 1 - piece));
            rc = put_text(&text, record, field, n, err);
        } else {
            br__buf_puts(&text, piece);
        }
        if (!rc)
            rc = sft_encode(b, &text, err);
        for (size_t k = 0; k < b->r->n_cut && !rc; k++)
            b->piece[i].cut |= is_field(piece, b->r->cut[k]);
    }
    br__buf_free(&text);
    return rc;
}

/* Two pieces: the prompt in its template, and the separator with the answer. */
static int column_pieces(struct build *b, const br__json *record, struct br_err *err)
{
    const struct br__sft_opts *o = b->r->o;
    struct br__buf text = {0};
    int rc = BR_OK;
    for (size_t i = 0; i < b->r->n_pieces && !rc; i++) {
        const char *piece = b->r->pieces[i];
        size_t n;
        const char *field = field_of(piece, &n);
        br__buf_put(&text, piece, field ? (size_t)(field - 1 - piece) : strlen(piece));
        if (field && (n != 6 || memcmp(field, "prompt", 6) != 0))
            rc = br_fail(err, BR_E_CONFIG, "prompt_template: {%.*s}, expected {prompt} alone",
                         (int)n, field);
        else if (field)
            rc = put_text(&text, record, o->prompt_column, strlen(o->prompt_column), err);
    }
    if (!rc)
        rc = sft_encode(b, &text, err);
    text.n = 0;
    br__buf_puts(&text, o->separator ? o->separator : "");
    if (!rc)
        rc = put_text(&text, record, o->completion_column, strlen(o->completion_column), err);
    if (!rc)
        rc = sft_encode(b, &text, err);
    br__buf_free(&text);
    return rc;
}

/* ---- truncation ------------------------------------------------------------------------------ */

/* The fields named for it share what is too much, the first one more where it does not divide; if
 * that is not enough, pieces are dropped from the side that is truncated. */
static void truncate_pieces(struct build *b, size_t over)
{
    size_t share = over, n = b->r->n_cut, k = 0;
    for (size_t i = 0; i < b->n && k < n; i++) {
        if (!b->piece[i].cut)
            continue;
        size_t by = BR__MIN(b->piece[i].n, share / n + (k < share % n));
        k++;
        sft_shorten(b, i, by);
        over -= by;
    }
    for (size_t i = 0; i < b->n && over; i++) {
        size_t at = b->r->o->truncation_left ? i : b->n - 1 - i;
        size_t by = BR__MIN(b->piece[at].n, over);
        sft_shorten(b, at, by);
        over -= by;
    }
}

/* Prompt first, then answer. */
static void truncate_columns(struct build *b, size_t over)
{
    size_t by = BR__MIN(b->piece[0].n, over);
    sft_shorten(b, 0, by);
    sft_shorten(b, 1, over - by);
}

/* ---- the example ----------------------------------------------------------------------------- */

static int put_ids(struct br__example *e, const int32_t *p, size_t n, struct br_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (br__grow(&e->ids.p, &e->ids.cap, e->ids.n, sizeof *e->ids.p))
            return br__nomem(err, "for finetuning data");
        e->ids.p[e->ids.n++] = p[i];
    }
    return BR_OK;
}

static int sft_assemble(const struct build *b, struct br__example *e, struct br_err *err)
{
    const struct br__sft_rules *r = b->r;
    int rc = r->o->add_bos ? put_ids(e, &r->bos, 1, err) : BR_OK;
    for (size_t i = 0; i < b->n && !rc; i++) {
        if (i == b->n - 1)
            e->n_context = (int64_t)e->ids.n;
        rc = put_ids(e, b->ids.p + b->piece[i].from, b->piece[i].n, err);
    }
    if (!rc && !r->o->no_eos)
        rc = put_ids(e, &r->eos, 1, err);
    if (!rc)
        rc = br__example_room(e, err);
    for (size_t i = 0; i < e->ids.n && !rc; i++)
        e->learn[i] = r->o->loss == BR__LOSS_FULL || (int64_t)i >= e->n_context;
    return rc;
}

static int paired_example(const struct br__sft_rules *r, const br__json *record,
                          struct br__example *out, struct br_err *err)
{
    struct build b = {.r = r};
    int columns = r->o->prompt_column != NULL;
    int rc = columns ? column_pieces(&b, record, err) : template_pieces(&b, record, err);
    if (!rc) {
        size_t n = sft_total(&b) + (size_t)(r->o->add_bos != 0) + (size_t)!r->o->no_eos;
        if (n > (size_t)r->o->seq_length) {
            if (columns)
                truncate_columns(&b, n - (size_t)r->o->seq_length);
            else
                truncate_pieces(&b, n - (size_t)r->o->seq_length);
        }
        rc = sft_assemble(&b, out, err);
    }
    for (size_t i = 0; i < out->ids.n && !rc && columns; i++)
        for (size_t k = 0; k < r->skip.n; k++)
            out->learn[i] &= out->ids.p[i] != r->skip.p[k];
    br_ids_free(&b.ids);
    return rc;
}

int br__sft_example(const struct br__sft_rules *r, const char *json, size_t n,
                    struct br__example *out, struct br_err *err)
{
    br__json *record;
    out->ids.n = 0;
    out->n_context = 0;
    int rc = br__json_parse(&record, json, n, err);
    if (rc)
        return rc;
    if (br__json_kind(record) != 'o')
        rc = br_fail(err, BR_E_FORMAT, "the record is not a JSON object");
    else
        rc = r->chat ? br__chat_example(r, record, out, err) : paired_example(r, record, out, err);
    br__json_free(record);
    if (!rc && out->ids.n < 2)
        rc = br_fail(err, BR_E_FORMAT, "the record gives %zu tokens, expected at least two",
                     out->ids.n);
    return rc;
}
