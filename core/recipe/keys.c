/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* keys.c - the keys of recipes: looked up, and their values read and written. */
#include "recipe_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>

const struct br__recipe_key br__recipe_keys[BR__N_RK] = {
#define KEY(id, kind, flags, low, high, choices, dflt, config, aliases, help)                      \
    [BR__RK_##id] = {#id, #kind[0], flags, low, high, choices, dflt, config, aliases, help},
#include "keys.def"
#undef KEY
};

/* clang-format off */
static const struct br__recipe_word words[] = {
    {"peft",               "none",  "mode=sft",  "finetune every weight"},
    {"peft",               "null",  "mode=sft",  "the same"},
    {"peft",               "lora",  "mode=lora", "train LoRA adapters"},
    {"peft",               "dora",  "mode=dora", "train DoRA adapters"},
    {"enable_recompute",   "true",  "recompute_granularity=full recompute_method=uniform recompute_num_layers=1",
     "compute each layer again in the backward pass"},
    {"enable_recompute",   "false", "recompute_granularity=null recompute_method=null recompute_num_layers=null",
     "keep every activation"},
    {"use_null_tokenizer", "true",  "tokenizer_type=NullTokenizer tokenizer_model=null tokenizer_vocab_size=32000",
     "no tokenizer: data are token numbers"},
    {"use_null_tokenizer", "false", "tokenizer_type=HuggingFaceTokenizer tokenizer_model=$hf_model tokenizer_vocab_size=null",
     "the model's own tokenizer"},
};
/* clang-format on */

const struct br__recipe_word *br__recipe_word(size_t i)
{
    return i < BR_COUNTOF(words) ? &words[i] : NULL;
}

/* ---- names ----------------------------------------------------------------------------------- */

/* Whether `list`, words separated by `sep`, holds the word. */
static int has_word(const char *list, char sep, const char *word, size_t n)
{
    const char seps[2] = {sep, '\0'};

    while (*list) {
        size_t k = strcspn(list, seps);
        if (k == n && !memcmp(list, word, n))
            return 1;
        list += k + (list[k] == sep);
    }
    return 0;
}

/* The path itself, or its last part where that is what Megatron Bridge's functions call it. */
static int is_config_name(const char *config, const char *name)
{
    if (has_word(config, ' ', name, strlen(name)))
        return 1;
    return (br__starts(config, "model.") || br__starts(config, "train.")) &&
           !strcmp(strchr(config, '.') + 1, name);
}

uint32_t br__recipe_key_find(const char *name)
{
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (!strcmp(br__recipe_keys[id].name, name))
            return id;
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (has_word(br__recipe_keys[id].aliases, ' ', name, strlen(name)))
            return id;
    for (uint32_t id = 0; id < BR__N_RK; id++)
        if (is_config_name(br__recipe_keys[id].config, name))
            return id;
    return BR__N_RK;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

static void put_number(struct br__buf *b, char kind, double v)
{
    if (kind == 'F')
        br__buf_double(b, v);
    else
        br__buf_printf(b, "%" PRId64, (int64_t)v);
}

void br__recipe_key_range(const struct br__recipe_key *k, struct br__buf *out)
{
    static const struct {
        char kind;
        const char *text;
    } kinds[] = {{'B', "true or false"}, {'I', "integer"},
                 {'F', "number"},        {'T', "text"},
                 {'L', "list"},          {'O', "object"},
                 {'C', "one of "},       {'X', "true, false or integer"}};

    for (size_t i = 0; i < BR_COUNTOF(kinds); i++)
        if (kinds[i].kind == k->kind)
            br__buf_puts(out, kinds[i].text);
    if (k->kind == 'C')
        br__buf_puts(out, k->choices);
    if (strchr("IFX", k->kind) && (k->low != 0 || k->high != 0)) {
        br__buf_puts(out, " from ");
        put_number(out, k->kind, k->low);
        br__buf_puts(out, " to ");
        put_number(out, k->kind, k->high);
    }
    if (k->flags & BR__RECIPE_NULLABLE)
        br__buf_puts(out, ", or null");
}

static int bad_value(const struct br__recipe_key *k, const char *text, struct br_err *err)
{
    struct br__buf range = {0};

    br__recipe_key_range(k, &range);
    int rc = br_fail(err, BR_E_CONFIG, "%s: got '%.100s', expected %s", k->name, text,
                     range.failed ? "something else" : range.p);
    br__buf_free(&range);
    return rc;
}

/* ---- reading --------------------------------------------------------------------------------- */

static int parse_bool(const char *text, struct br__recipe_value *v)
{
    if (strcasecmp(text, "true") && strcasecmp(text, "false"))
        return BR_E_FORMAT;
    v->tag = 'B';
    v->i = !strcasecmp(text, "true");
    return BR_OK;
}

/* "500_000" as in Python, "500000", and "1e6" where it is whole. */
static int parse_int(const struct br__recipe_key *k, const char *text, struct br__recipe_value *v)
{
    char digits[32];
    size_t n = 0;
    double f;

    for (const char *p = text; *p; p++) {
        int separates = *p == '_' && p > text && p[1];
        if (!separates && n + 1 == sizeof digits)
            return BR_E_FORMAT;
        if (!separates)
            digits[n++] = *p;
    }
    digits[n] = '\0';
    if (br__parse_i64(digits, &v->i)) {
        if (br__parse_f64(digits, &f) || f != floor(f) || fabs(f) > 9e15)
            return BR_E_FORMAT;
        v->i = (int64_t)f;
    }
    v->tag = 'I';
    return (double)v->i < k->low || (double)v->i > k->high ? BR_E_FORMAT : BR_OK;
}

static int parse_float(const struct br__recipe_key *k, const char *text, struct br__recipe_value *v)
{
    if (br__parse_f64(text, &v->f))
        return BR_E_FORMAT;
    v->tag = 'F';
    return v->f < k->low || v->f > k->high ? BR_E_FORMAT : BR_OK;
}

/* The choice in its own spelling; also "bfloat16" for "torch.bfloat16", and any case. */
static int parse_choice(struct br__arena *a, const struct br__recipe_key *k, const char *text,
                        struct br__recipe_value *v)
{
    size_t n = strlen(text);

    for (const char *c = k->choices; *c;) {
        size_t len = strcspn(c, "|");
        const char *dot = memchr(c, '.', len);
        size_t skip = dot ? (size_t)(dot + 1 - c) : 0;
        if ((len == n && !strncasecmp(c, text, n)) ||
            (skip && len - skip == n && !strncasecmp(c + skip, text, n))) {
            v->tag = 'T';
            v->text = br__arena_strndup(a, c, len);
            return v->text ? BR_OK : BR_E_NOMEM;
        }
        c += len + (c[len] == '|');
    }
    return BR_E_FORMAT;
}

static void put_list_number(struct br__buf *b, double v)
{
    put_number(b, v == floor(v) && fabs(v) < 9e15 ? 'I' : 'F', v);
}

/* One element of a list of bare words: a number, or a text. */
static void put_element(struct br__buf *b, const char *p, size_t n)
{
    char word[512];
    double f;

    while (n && p[0] == ' ')
        p++, n--;
    while (n && p[n - 1] == ' ')
        n--;
    if (n == 0 || n >= sizeof word || !br__utf8_valid(p, n)) {
        b->failed = BR_E_FORMAT;
        return;
    }
    memcpy(word, p, n);
    word[n] = '\0';
    if (strpbrk(word, "\"[]{}"))
        b->failed = BR_E_FORMAT; /* meant as JSON, and it is none */
    else if (br__parse_f64(word, &f))
        br__buf_json_str(b, word);
    else
        put_list_number(b, f);
}

static void put_json_element(struct br__buf *b, const br__json *e)
{
    if (br__json_kind(e) == 's')
        br__buf_json_str(b, br__json_str(e, ""));
    else if (br__json_kind(e) == 'n')
        put_list_number(b, br__json_num(e, 0));
    else
        b->failed = BR_E_FORMAT;
}

/* [a,b], ["a", "b"] or a,b -> ["a", "b"] */
static void put_list(struct br__buf *b, const char *text)
{
    size_t n = strlen(text);
    br__json *j = NULL;

    br__buf_putc(b, '[');
    if (text[0] == '[' && !br__json_parse(&j, text, n, NULL)) {
        for (const br__json *e = br__json_first(j); e; e = br__json_next(e)) {
            br__buf_puts(b, b->n > 1 ? ", " : "");
            put_json_element(b, e);
        }
    } else {
        const char *p = text + (text[0] == '['), *end = text + n - (text[0] == '[');
        while (p < end) {
            size_t len = strcspn(p, ",]");
            br__buf_puts(b, b->n > 1 ? ", " : "");
            put_element(b, p, len);
            p += len + 1;
        }
    }
    br__buf_putc(b, ']');
    br__json_free(j);
}

static int parse_list(struct br__arena *a, const char *text, struct br__recipe_value *v)
{
    struct br__buf b = {.max = 1 << 20};

    put_list(&b, text);
    v->tag = 'L';
    v->text = b.failed ? NULL : br__arena_strdup(a, b.p);
    int rc = b.failed ? b.failed : v->text ? BR_OK : BR_E_NOMEM;
    br__buf_free(&b);
    return rc;
}

static int parse_object(struct br__arena *a, const char *text, struct br__recipe_value *v)
{
    br__json *j = NULL;
    int rc = br__json_parse(&j, text, strlen(text), NULL);

    if (!rc && br__json_kind(j) != 'o')
        rc = BR_E_FORMAT;
    br__json_free(j);
    v->tag = 'O';
    v->text = rc ? NULL : br__arena_strdup(a, text);
    return rc ? rc : v->text ? BR_OK : BR_E_NOMEM;
}

static int parse_text(struct br__arena *a, const char *text, struct br__recipe_value *v)
{
    if (!br__utf8_valid(text, strlen(text)))
        return BR_E_FORMAT;
    v->tag = 'T';
    v->text = br__arena_strdup(a, text);
    return v->text ? BR_OK : BR_E_NOMEM;
}

static int parse_kind(struct br__arena *a, const struct br__recipe_key *k, const char *text,
                      struct br__recipe_value *v)
{
    switch (k->kind) {
    case 'B':
        return parse_bool(text, v);
    case 'I':
        return parse_int(k, text, v);
    case 'X':
        return parse_bool(text, v) ? parse_int(k, text, v) : BR_OK;
    case 'F':
        return parse_float(k, text, v);
    case 'C':
        return parse_choice(a, k, text, v);
    case 'L':
        return parse_list(a, text, v);
    case 'O':
        return parse_object(a, text, v);
    default:
        return parse_text(a, text, v);
    }
}

int br__recipe_value_parse(struct br__arena *a, const struct br__recipe_key *k, const char *text,
                           int quoted, struct br__recipe_value *out, struct br_err *err)
{
    int is_null = !quoted && (!strcasecmp(text, "null") || !strcasecmp(text, "none"));
    int is_choice = k->kind == 'C' && has_word(k->choices, '|', text, strlen(text));

    if (!quoted && text[0] == '$') {
        uint32_t id = br__recipe_key_find(text + 1);
        if (id == BR__N_RK || br__recipe_keys[id].kind != k->kind)
            return br_fail(err, BR_E_CONFIG, "%s: '%.100s' is no key of the same type", k->name,
                           text);
        out->ref = id + 1;
        return BR_OK;
    }
    if (is_null && !is_choice) {
        if (!(k->flags & BR__RECIPE_NULLABLE))
            return bad_value(k, text, err);
        out->tag = '0';
        return BR_OK;
    }
    int rc = parse_kind(a, k, text, out);
    if (rc == BR_E_NOMEM)
        return br_fail(err, rc, "out of memory reading a recipe");
    return rc ? bad_value(k, text, err) : BR_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_scalar(struct br__buf *out, const struct br__recipe_value *v)
{
    if (v->tag == 'B')
        br__buf_puts(out, v->i ? "true" : "false");
    else if (v->tag == 'I')
        br__buf_printf(out, "%" PRId64, v->i);
    else if (v->tag == 'F')
        br__buf_double(out, v->f);
    else
        br__buf_puts(out, v->tag == 'L' || v->tag == 'O' ? v->text : "null");
}

void br__recipe_value_json(struct br__buf *out, const struct br__recipe_value *v)
{
    if (v->tag == 'T')
        br__buf_json_str(out, v->text);
    else
        put_scalar(out, v);
}

/* A text that the grammar would read as something else than itself. */
static int needs_quotes(const char *s)
{
    return !*s || strpbrk(s, " \t\r\n#\\") || strchr("\"[{$", *s) || !strcasecmp(s, "null") ||
           !strcasecmp(s, "none");
}

void br__recipe_value_text(struct br__buf *out, const struct br__recipe_value *v)
{
    if (v->tag != 'T')
        put_scalar(out, v);
    else if (needs_quotes(v->text))
        br__buf_json_str(out, v->text);
    else
        br__buf_puts(out, v->text);
}

int br__recipe_has(const struct br__recipe *r, uint32_t id)
{
    return r->v[id].tag == 'I' || r->v[id].tag == 'B';
}

int64_t br__recipe_i(const struct br__recipe *r, uint32_t id, int64_t dflt)
{
    return br__recipe_has(r, id) ? r->v[id].i : dflt;
}

int br__recipe_is_set(const struct br__recipe *r, uint32_t id)
{
    const struct br__recipe_value *v = &r->v[id];
    return v->tag && !v->row && strcmp(v->from, "default") && strcmp(v->from, "computed") != 0;
}
