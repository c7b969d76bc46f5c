/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* config_keys.c - keys of config.json that nothing reads: harmless, unknown, or such that the model
 * computes something else than its layer builder does.
 *
 * A key is known by a row of the plugin's `keys` table, by a fact's row, or by config_keys.def, in
 * that order.  What is left over is told by name, never passed over in silence. */
#include "model_internal.h"

#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 8, VALUE_MAX = 80 };

static const struct key {
    const char *name;
    const char *neutral; /* NULL: any value */
} core_keys[] = {
#define CHANGES(key, neutral) {key, neutral},
#define HARMLESS(key) {key, NULL},
#include "config_keys.def"
#undef CHANGES
#undef HARMLESS
};

/* Members of rope_scaling and rope_parameters beside those that facts read.  Models of text alone
 * have one position for all sections. */
static const struct key rope_keys[] = {
    {"rope_type", NULL},         {"type", NULL},
    {"rope_theta", NULL},        {"mrope_section", NULL},
    {"mrope_interleaved", NULL}, {"attention_factor", NULL},
    {"short_factor", ""},        {"long_factor", ""},
    {"short_mscale", ""},        {"long_mscale", ""},
};

struct survey {
    struct br__arena *arena;
    struct br_config *cfg;
    const br__json *json;
    struct br__buf unknown;
    size_t n_unknown;
    struct br_err *err;
};

/* ---- values ---------------------------------------------------------------------------------- */

/* Printed values have a line for each member; here they stand in one. */
int br__config_value(const br__json *j, struct br__buf *b)
{
    struct br__buf lines = {0};
    int rc = br__json_print(j, 0, &lines) ? BR_E_NOMEM : BR_OK;
    for (size_t i = 0; i < lines.n && !rc; i++) {
        if (lines.p[i] != '\n') {
            br__buf_putc(b, lines.p[i]);
            continue;
        }
        if (i && lines.p[i - 1] == ',')
            br__buf_putc(b, ' ');
        i += strspn(lines.p + i + 1, " ");
    }
    br__buf_free(&lines);
    return rc || b->failed ? BR_E_NOMEM : BR_OK;
}

/* Cut to a length that fits a message. */
static int value_text(const br__json *j, struct br__buf *b)
{
    int rc = br__config_value(j, b);
    if (!rc && b->n > VALUE_MAX) {
        b->n = VALUE_MAX;
        br__buf_puts(b, "...");
    }
    return rc || b->failed ? BR_E_NOMEM : BR_OK;
}

/* One of the words of a "|" list: as text, or as the same number. */
static int is_value(const br__json *j, const char *word, size_t n)
{
    char kind = br__json_kind(j);
    const char *text = kind == 's'   ? br__json_str(j, "")
                       : kind == 'b' ? (br__json_bool(j, 0) ? "true" : "false")
                       : kind == 'a' && !br__json_count(j) ? "[]"
                                                           : NULL;
    char *end, number[32];
    if (text)
        return strlen(text) == n && !memcmp(text, word, n);
    if (kind != 'n' || n == 0 || n >= sizeof number)
        return 0;
    memcpy(number, word, n);
    number[n] = '\0';
    double v = strtod(number, &end);
    return !*end && v == br__json_num(j, 0);
}

/* 1: with this value of the key the forward pass is that of bridge's blocks. */
static int is_neutral(const br__json *j, const char *neutral)
{
    if (!neutral || br__json_kind(j) == '0')
        return 1;
    for (const char *p = neutral; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (is_value(j, p, strcspn(p, "|")))
            return 1;
    return 0;
}

/* ---- findings -------------------------------------------------------------------------------- */

int br__config_find(struct br__arena *a, struct br_config *cfg, const char *text,
                    struct br_err *err)
{
    struct br__finding *f = br__arena_alloc(a, sizeof *f);
    if (!f || !text)
        return br__nomem(err, "reading config.json");
    f->text = text;
    f->next = cfg->findings;
    cfg->findings = f;
    return BR_OK;
}

/* where: "" or the object that the key is a member of, with its dot. */
static int add_change(struct survey *s, const char *where, const char *key, const br__json *j)
{
    struct br__buf b = {0};
    const char *text = NULL;
    if (!value_text(j, &b))
        text = br__arena_printf(s->arena,
                                "config.json: '%s%s' is %s, which changes the forward pass, and "
                                "plugin '%s' does not carry it out",
                                where, key, b.p, s->cfg->arch->plugin->name);
    br__buf_free(&b);
    return br__config_find(s->arena, s->cfg, text, s->err);
}

static void add_unknown(struct survey *s, const char *where, const char *key)
{
    if (s->n_unknown++ < NAMES_MAX)
        br__buf_printf(&s->unknown, "%s'%s%s'", s->unknown.n ? ", " : "", where, key);
}

static int tell_unknown(struct survey *s)
{
    if (s->unknown.failed)
        return br__nomem(s->err, "reading config.json");
    if (!s->n_unknown)
        return BR_OK;
    if (s->n_unknown > NAMES_MAX)
        br__buf_printf(&s->unknown, " and %zu more", s->n_unknown - NAMES_MAX);
    s->cfg->unknown_keys =
        br__arena_printf(s->arena,
                         "config.json has keys that plugin '%s' does not know and that are "
                         "taken for harmless: %s",
                         s->cfg->arch->plugin->name, s->unknown.failed ? "" : s->unknown.p);
    return s->unknown.failed || !s->cfg->unknown_keys ? br__nomem(s->err, "reading config.json")
                                                      : BR_OK;
}

/* ---- who knows a key ------------------------------------------------------------------------- */

static const struct key *find_key(const struct key *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].name, name))
            return &list[i];
    return NULL;
}

/* Whether "where" + key is an alternative of "a|b.c". */
static int is_alternative(const char *alternatives, const char *where, const char *key)
{
    size_t nw = strlen(where), nk = strlen(key);
    for (const char *p = alternatives; p && *p;) {
        size_t n = strcspn(p, "|");
        if (n == nw + nk && !memcmp(p, where, nw) && !memcmp(p + nw, key, nk))
            return 1;
        p += n + (p[n] == '|');
    }
    return 0;
}

static int fact_reads(const struct br__arch *arch, const char *where, const char *key)
{
    for (uint32_t id = 0; id < BR_N_CFG; id++) {
        const struct br_field *f = br__config_field(arch, id);
        if (f && f->hf_key && is_alternative(f->hf_key, where, key))
            return 1;
    }
    return 0;
}

/* Keys that are read where the rules or the facts say so, or that another key turns off. */
static int is_settled(const struct survey *s, const char *key)
{
    if (!strcmp(key, "full_attention_interval"))
        return s->cfg->hybrid;
    return !strcmp(key, "sliding_window") &&
           !br__json_bool(br__json_get(s->json, "use_sliding_window"), 1);
}

static int survey_rope(struct survey *s, const char *name, const br__json *rope)
{
    char where[32];
    snprintf(where, sizeof where, "%s.", name);
    int rc = BR_OK;
    for (const br__json *j = br__json_first(rope); j && !rc; j = br__json_next(j)) {
        const char *key = br__json_key(j);
        const struct key *known = find_key(rope_keys, BR_COUNTOF(rope_keys), key);
        if (br__json_kind(j) == 'o') /* one rope per kind of layer */
            rc = add_change(s, where, key, j);
        else if (known && !is_neutral(j, known->neutral))
            rc = add_change(s, where, key, j);
        else if (!known && !fact_reads(s->cfg->arch, where, key))
            add_unknown(s, where, key);
    }
    return rc;
}

static int survey_key(struct survey *s, const br__json *j)
{
    const struct br__arch *arch = s->cfg->arch;
    const char *key = br__json_key(j);
    for (uint32_t i = 0; i < arch->n_keys; i++)
        if (!strcmp(arch->keys[i].hf_key, key))
            return is_neutral(j, arch->keys[i].value) ? BR_OK : add_change(s, "", key, j);
    if (!strcmp(key, "rope_scaling") || !strcmp(key, "rope_parameters"))
        return survey_rope(s, key, j);
    if (fact_reads(arch, "", key) || is_settled(s, key))
        return BR_OK;
    const struct key *known = find_key(core_keys, BR_COUNTOF(core_keys), key);
    if (!known)
        add_unknown(s, "", key);
    return !known || is_neutral(j, known->neutral) ? BR_OK : add_change(s, "", key, j);
}

/* transformers takes the rope's own theta, the facts' rows the outer one. */
static int survey_theta(struct survey *s)
{
    static const char *const inner[] = {"rope_scaling.rope_theta", "rope_parameters.rope_theta"};
    double theta = br_cfg_f(s->cfg, BR_CFG_ROTARY_BASE);
    int rc = BR_OK;
    for (size_t i = 0; i < BR_COUNTOF(inner) && !rc; i++) {
        const br__json *j = br__json_get(s->json, inner[i]);
        if (br__json_num(j, theta) != theta)
            rc = add_change(s, "", inner[i], j);
    }
    return rc;
}

int br__config_survey(struct br__arena *a, struct br_config *cfg, const br__json *json,
                      struct br_err *err)
{
    struct survey s = {.arena = a, .cfg = cfg, .json = json, .err = err};
    int rc = survey_theta(&s);
    for (const br__json *j = br__json_first(json); j && !rc; j = br__json_next(j))
        rc = survey_key(&s, j);
    if (!rc)
        rc = tell_unknown(&s);
    br__buf_free(&s.unknown);
    return rc;
}
