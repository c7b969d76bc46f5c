/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parts.c - the parts of tokenizer.json around its model: normalizer, pre_tokenizer, post_processor
 * and decoder.  Each kind of each part is a row; a Sequence is its members one after another.  A
 * kind without a row is refused by name. */
#include "tok.h"

#include <string.h>

struct part_row {
    const char *type;
    int (*use)(struct br_tokenizer *t, const br__json *j, struct br_err *err);
};

const char *const br__tok_part_names[BR__TOK_N_PARTS] = {"normalizer", "pre_tokenizer",
                                                         "post_processor", "decoder"};

int br__tok_unsupported(struct br_err *err, const char *part, const char *got, const char *expected)
{
    return br_fail(err, BR_E_UNSUPPORTED, "%s '%s' is not supported, expected %s", part, got,
                   expected);
}

static int is_absent(const br__json *j)
{
    return !j || br__json_kind(j) == '0';
}

static const char *type_of(const br__json *j)
{
    return br__json_str(br__json_get(j, "type"), "");
}

/* The text of a member, kept in the tokenizer's arena. */
static int keep_text(struct br_tokenizer *t, const br__json *j, const char *key, const char **out,
                     struct br_err *err)
{
    const char *text = br__json_str(br__json_get(j, key), NULL);

    if (!text)
        return br_fail(err, BR_E_FORMAT, "%s: no text \"%s\"", type_of(j), key);
    *out = br__arena_strdup(&t->arena, text);
    return *out ? BR_OK : br__nomem(err, "opening a tokenizer");
}

/* ---- normalizers ----------------------------------------------------------------------------- */

static int add_norm(struct br_tokenizer *t, struct br__tok_norm n, struct br_err *err)
{
    if (t->n_norms == BR__TOK_MAX_NORMS)
        return br_fail(err, BR_E_UNSUPPORTED, "more than %d normalizers", BR__TOK_MAX_NORMS);
    t->norms[t->n_norms++] = n;
    return BR_OK;
}

static int norm_nfc(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    (void)j;
    return add_norm(t, (struct br__tok_norm){.kind = BR__TOK_NFC}, err);
}

static int norm_prepend(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_norm n = {.kind = BR__TOK_PREPEND};
    int rc = keep_text(t, j, "prepend", &n.to, err);

    return rc ? rc : add_norm(t, n, err);
}

/* {"pattern": {"String": a}, "content": b}; of normalizers and decoders */
static int read_replace(struct br_tokenizer *t, const br__json *j, struct br__tok_norm *out,
                        struct br_err *err)
{
    *out = (struct br__tok_norm){.kind = BR__TOK_REPLACE};
    if (br__json_get(j, "pattern.Regex"))
        return br__tok_unsupported(err, "Replace", "of a regular expression", "a text");
    int rc = keep_text(t, j, "pattern.String", &out->from, err);
    if (!rc && !*out->from)
        rc = br__tok_unsupported(err, "Replace", "of an empty text", "a text");
    return rc ? rc : keep_text(t, j, "content", &out->to, err);
}

static int norm_replace(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_norm n;
    int rc = read_replace(t, j, &n, err);

    return rc ? rc : add_norm(t, n, err);
}

static const struct part_row normalizers[] = {
    {"NFC", norm_nfc}, {"Prepend", norm_prepend}, {"Replace", norm_replace}, {NULL, NULL}};

/* ---- pre-tokenizers -------------------------------------------------------------------------- */

static int add_step(struct br_tokenizer *t, struct br__tok_step s, struct br_err *err)
{
    if (t->n_steps == BR__TOK_MAX_STEPS) {
        br__tok_split_close(s.split);
        return br_fail(err, BR_E_UNSUPPORTED, "more than %d steps", BR__TOK_MAX_STEPS);
    }
    s.spelled = t->spelled;
    t->steps[t->n_steps++] = s;
    return BR_OK;
}

static int read_behavior(const br__json *j, const char *dflt, int *out, struct br_err *err)
{
    static const char *const names[] = {
        [BR__TOK_ISOLATED] = "Isolated",
        [BR__TOK_REMOVED] = "Removed",
        [BR__TOK_MERGED_PREVIOUS] = "MergedWithPrevious",
        [BR__TOK_MERGED_NEXT] = "MergedWithNext",
        [BR__TOK_CONTIGUOUS] = "Contiguous",
    };
    const char *name = br__json_str(br__json_get(j, "behavior"), dflt);

    for (size_t i = 0; i < BR_COUNTOF(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (int)i;
            return BR_OK;
        }
    return br__tok_unsupported(err, type_of(j), name, "a behavior such as Isolated");
}

/* A pattern; Qwen's, which is scanned by hand, needs no PCRE2 object. */
static int add_pattern(struct br_tokenizer *t, const char *pattern, struct br__tok_step s,
                       struct br_err *err)
{
    int rc = BR_OK;

    if (strcmp(pattern, br__tok_qwen2_pattern) != 0)
        rc = br__tok_split_open(&s.split, pattern, err);
    return rc ? rc : add_step(t, s, err);
}

static int pre_split(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    const char *regex = br__json_str(br__json_get(j, "pattern.Regex"), NULL);
    const char *text = br__json_str(br__json_get(j, "pattern.String"), NULL);
    struct br__tok_step s = {.kind = BR__TOK_SPLIT,
                             .invert = br__json_bool(br__json_get(j, "invert"), 0)};
    int rc = read_behavior(j, "", &s.behavior, err);

    if (rc)
        return rc;
    if (regex)
        return add_pattern(t, regex, s, err);
    if (!text || !*text)
        return br__tok_unsupported(err, "Split", "without pattern", "Regex or String");
    rc = br__tok_split_open_text(&s.split, text, err);
    return rc ? rc : add_step(t, s, err);
}

static int pre_digits(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    int each = br__json_bool(br__json_get(j, "individual_digits"), 0);

    return add_step(t,
                    (struct br__tok_step){.kind = BR__TOK_DIGITS,
                                          .behavior = each ? BR__TOK_ISOLATED : BR__TOK_CONTIGUOUS},
                    err);
}

static int pre_punctuation(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_step s = {.kind = BR__TOK_PUNCTUATION};
    int rc = read_behavior(j, "Isolated", &s.behavior, err);

    return rc ? rc : add_step(t, s, err);
}

/* What follows it sees a character per byte. */
static int pre_byte_level(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    int rc = BR_OK;

    if (t->spelled)
        return br__tok_unsupported(err, "pre_tokenizer", "ByteLevel twice", "one");
    if (br__json_bool(br__json_get(j, "add_prefix_space"), 1))
        rc = add_step(t, (struct br__tok_step){.kind = BR__TOK_PREFIX}, err);
    if (!rc && br__json_bool(br__json_get(j, "use_regex"), 1))
        rc =
            add_pattern(t, br__tok_gpt2_pattern, (struct br__tok_step){.kind = BR__TOK_SPLIT}, err);
    t->spelled = 1;
    return rc;
}

/* "prepend_scheme", or add_prefix_space of older files; of the pre-tokenizer and of the decoder. */
static int read_scheme(const br__json *j, int *out, struct br_err *err)
{
    static const char *const names[] = {
        [BR__TOK_ALWAYS] = "always", [BR__TOK_FIRST] = "first", [BR__TOK_NEVER] = "never"};
    int prefix = br__json_bool(br__json_get(j, "add_prefix_space"), 1);
    const char *name = br__json_str(br__json_get(j, "prepend_scheme"), prefix ? "always" : "never");

    for (size_t i = 0; i < BR_COUNTOF(names); i++)
        if (strcmp(name, names[i]) == 0) {
            *out = (int)i;
            return prefix || i == BR__TOK_NEVER
                       ? BR_OK
                       : br_fail(err, BR_E_FORMAT,
                                 "Metaspace: add_prefix_space false contradicts prepend_scheme %s",
                                 name);
        }
    return br__tok_unsupported(err, "prepend_scheme", name, "always, first or never");
}

static int pre_metaspace(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_step change = {.kind = BR__TOK_METASPACE},
                        split = {.kind = BR__TOK_SPLIT, .behavior = BR__TOK_MERGED_NEXT};
    int rc = keep_text(t, j, "replacement", &change.text, err);

    if (!rc && !*change.text)
        rc = br__tok_unsupported(err, "Metaspace", "with an empty replacement", "a character");
    if (!rc)
        rc = read_scheme(j, &change.scheme, err);
    if (!rc)
        rc = add_step(t, change, err);
    if (rc || !br__json_bool(br__json_get(j, "split"), 1))
        return rc;
    rc = br__tok_split_open_text(&split.split, change.text, err);
    return rc ? rc : add_step(t, split, err);
}

static const struct part_row pre_tokenizers[] = {
    {"ByteLevel", pre_byte_level},    {"Digits", pre_digits}, {"Metaspace", pre_metaspace},
    {"Punctuation", pre_punctuation}, {"Split", pre_split},   {NULL, NULL}};

int br__tok_is_byte_level(const br__json *j)
{
    if (strcmp(type_of(j), "ByteLevel") == 0)
        return 1;
    const br__json *each = br__json_first(br__json_get(j, "pretokenizers"));
    for (; each; each = br__json_next(each))
        if (br__tok_is_byte_level(each))
            return 1;
    return 0;
}

/* ---- post-processors ------------------------------------------------------------------------- */

/* It changes where tokens are said to begin, and no id. */
static int post_byte_level(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    (void)err;
    t->trim_offsets = br__json_bool(br__json_get(j, "trim_offsets"), 1) *
                      (1 + br__json_bool(br__json_get(j, "add_prefix_space"), 1));
    return BR_OK;
}

/* The ids of a special token, appended before (side 0) or behind (side 1) the text. */
static int add_specials(struct br_tokenizer *t, int side, const br__json *known, const char *name,
                        struct br_err *err)
{
    struct br__tok_specials *s = &t->specials;
    const br__json *entry = br__json_first(known);

    while (entry && strcmp(br__json_str(br__json_get(entry, "id"), ""), name) != 0)
        entry = br__json_next(entry);
    if (!entry)
        return br_fail(err, BR_E_FORMAT, "TemplateProcessing: '%s' is not among its special_tokens",
                       name);
    const br__json *id = br__json_first(br__json_get(entry, "ids"));
    for (; id; id = br__json_next(id)) {
        uint64_t v;
        if (br__json_u64(id, &v) || v >= BR__TOK_MAX_IDS)
            return br_fail(err, BR_E_FORMAT, "TemplateProcessing: '%s' has no id", name);
        if (s->n[side] == BR__TOK_MAX_SPECIALS)
            return br_fail(err, BR_E_UNSUPPORTED, "TemplateProcessing: more than %d special tokens",
                           BR__TOK_MAX_SPECIALS);
        s->id[side][s->n[side]++] = (int32_t)v;
    }
    return BR_OK;
}

/* "single": special tokens, and once the text itself. */
static int post_template(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    const br__json *known = br__json_get(j, "special_tokens");
    const br__json *each = br__json_first(br__json_get(j, "single"));
    int side = 0, rc = BR_OK;

    if (t->specials.n[0] || t->specials.n[1])
        return br__tok_unsupported(err, "post_processor", "TemplateProcessing twice", "one");
    for (; each && !rc; each = br__json_next(each)) {
        const char *special = br__json_str(br__json_get(each, "SpecialToken.id"), NULL);
        const char *text = br__json_str(br__json_get(each, "Sequence.id"), NULL);
        if (special)
            rc = add_specials(t, side, known, special, err);
        else if (text && strcmp(text, "A") == 0 && side == 0)
            side = 1;
        else
            rc = br__tok_unsupported(err, "TemplateProcessing", text ? text : "?",
                                     "special tokens and once A");
    }
    if (!rc && side == 0)
        rc = br__tok_unsupported(err, "TemplateProcessing", "without the text", "A");
    return rc;
}

static const struct part_row post_processors[] = {
    {"ByteLevel", post_byte_level}, {"TemplateProcessing", post_template}, {NULL, NULL}};

/* ---- decoders -------------------------------------------------------------------------------- */

/* Kinds come in this order. */
static int next_stage(struct br_tokenizer *t, int stage, const br__json *j, struct br_err *err)
{
    if (stage < t->decoder.stage || (stage == t->decoder.stage && stage > 1))
        return br__tok_unsupported(
            err, "decoder", type_of(j),
            "ByteLevel, or Replace, ByteFallback, Fuse and Strip in this order");
    t->decoder.stage = stage;
    return BR_OK;
}

static int dec_byte_level(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    return next_stage(t, 5, j, err);
}

static int dec_replace(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_decoder *d = &t->decoder;
    int rc = next_stage(t, 1, j, err);

    if (!rc && d->n_replace == BR_COUNTOF(d->replace))
        rc = br__tok_unsupported(err, "decoder", "more than four times Replace", "fewer");
    if (!rc)
        rc = read_replace(t, j, &d->replace[d->n_replace], err);
    d->n_replace += !rc;
    return rc;
}

static int dec_metaspace(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_decoder *d = &t->decoder;
    int rc = d->n_replace || d->metaspace
                 ? br__tok_unsupported(err, "decoder", "Metaspace and more", "one of a kind")
                 : next_stage(t, 1, j, err);

    if (!rc)
        rc = read_scheme(j, &d->metaspace_scheme, err);
    if (!rc)
        rc = keep_text(t, j, "replacement", &d->metaspace, err);
    if (!rc && !*d->metaspace)
        rc = br__tok_unsupported(err, "Metaspace", "with an empty replacement", "a character");
    return rc;
}

static int dec_byte_fallback(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    t->decoder.byte_fallback = 1;
    return next_stage(t, 2, j, err);
}

static int dec_fuse(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    return next_stage(t, 3, j, err);
}

/* At the beginning of the text, which Fuse has made of the tokens. */
static int dec_strip(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    struct br__tok_decoder *d = &t->decoder;
    uint64_t start = 0, stop = 0;

    if (br__json_u64(br__json_get(j, "start"), &start) ||
        br__json_u64(br__json_get(j, "stop"), &stop) || start > 1000)
        return br_fail(err, BR_E_FORMAT, "Strip: no start and stop below 1000");
    if (stop || d->stage != 3)
        return br__tok_unsupported(err, "decoder", "Strip", "it behind Fuse, with stop 0");
    d->n_strip = (int64_t)start;
    int rc = keep_text(t, j, "content", &d->strip, err);
    size_t len = 0;
    if (!rc && *d->strip)
        br__tok_char((const unsigned char *)d->strip, &len);
    if (!rc && (!len || d->strip[len]))
        rc = br_fail(err, BR_E_FORMAT, "Strip: '%s' is not one character", d->strip);
    return rc ? rc : next_stage(t, 4, j, err);
}

static const struct part_row decoders[] = {{"ByteLevel", dec_byte_level},
                                           {"ByteFallback", dec_byte_fallback},
                                           {"Fuse", dec_fuse},
                                           {"Metaspace", dec_metaspace},
                                           {"Replace", dec_replace},
                                           {"Strip", dec_strip},
                                           {NULL, NULL}};

/* A vocabulary that spells bytes needs the decoder that reads them, and no other does. */
static int check_decoder(struct br_tokenizer *t, const br__json *j, struct br_err *err)
{
    int stage = t->decoder.stage;

    if (is_absent(j) || !stage)
        return br__tok_unsupported(err, "decoder", "none", t->vocab.plain ? "one" : "ByteLevel");
    if ((stage == 5) == t->vocab.plain)
        return br__tok_unsupported(err, "decoder", type_of(j),
                                   t->vocab.plain ? "one for a vocabulary of plain text"
                                                  : "ByteLevel");
    return BR_OK;
}

/* ---- all of them ----------------------------------------------------------------------------- */

static const struct {
    const char *list, *expected;
    const struct part_row *rows;
} parts[BR__TOK_N_PARTS] = {
    [BR__TOK_NORMALIZER] = {"normalizers", "NFC, Prepend or Replace", normalizers},
    [BR__TOK_PRE_TOKENIZER] = {"pretokenizers",
                               "ByteLevel, Digits, Metaspace, Punctuation or Split",
                               pre_tokenizers},
    [BR__TOK_POST_PROCESSOR] = {"processors", "ByteLevel or TemplateProcessing", post_processors},
    [BR__TOK_DECODER] = {"decoders", "ByteLevel, Replace, ByteFallback, Fuse, Strip or Metaspace",
                         decoders},
};

/* The parser bounds the depth of JSON. */
static int use_each(struct br_tokenizer *t, int part, const br__json *j, struct br_err *err)
{
    const struct part_row *row = parts[part].rows;
    const br__json *each = br__json_first(br__json_get(j, parts[part].list));
    int rc = BR_OK;

    if (strcmp(type_of(j), "Sequence") == 0) {
        for (; each && !rc; each = br__json_next(each))
            rc = use_each(t, part, each, err);
        return rc;
    }
    while (row->type && strcmp(row->type, type_of(j)) != 0)
        row++;
    return row->type ? row->use(t, j, err)
                     : br__tok_unsupported(err, br__tok_part_names[part], type_of(j),
                                           parts[part].expected);
}

int br__tok_part_use(struct br_tokenizer *t, int part, const br__json *j, struct br_err *err)
{
    int rc = is_absent(j) ? BR_OK : use_each(t, part, j, err);

    return rc || part != BR__TOK_DECODER ? rc : check_decoder(t, j, err);
}

void br__tok_parts_settle(struct br_tokenizer *t)
{
    const struct br__tok_step *s = &t->steps[0];

    if (t->n_norms == 1 && t->norms[0].kind == BR__TOK_NFC) {
        t->nfc = 1;
        t->n_norms = 0;
    }
    t->by_steps = t->n_steps != 1 || s->kind != BR__TOK_SPLIT || s->behavior != BR__TOK_ISOLATED ||
                  s->invert || t->vocab.plain;
    if (!t->by_steps) {
        t->split = s->split;
        t->n_steps = 0;
    }
}
