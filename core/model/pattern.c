/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* pattern.c - the two small languages of a weight rule: name patterns
 * ("…layers.{layer}.{q,k,v}_proj") and shape expressions
 * ("num_query_groups*kv_channels,hidden_size"). */
#include "model_internal.h"

#include <ctype.h>
#include <string.h>

#define EXPERT_AXIS "[expert]"

static const struct {
    const char *name;
    enum br__set set;
} sets[] = {
    {"layer", BR__SET_LAYER}, {"attn", BR__SET_ATTN},   {"gdn", BR__SET_GDN},
    {"moe", BR__SET_MOE},     {"dense", BR__SET_DENSE}, {"mtp", BR__SET_MTP},
};

/* ---- names ----------------------------------------------------------------------------------- */

/* The text between the braces that start at p, or NULL if they do not close. */
static const char *pattern_brace(const char *p, size_t *n)
{
    const char *end = strchr(p, '}');
    *n = end ? (size_t)(end - p - 1) : 0;
    return end ? p + 1 : NULL;
}

static int pattern_same(const char *s, size_t n, const char *word)
{
    return strlen(word) == n && !memcmp(s, word, n);
}

static int count_items(const char *s, size_t n)
{
    int items = 1;
    for (size_t i = 0; i < n; i++)
        items += s[i] == ',';
    return items;
}

static int add_placeholder(struct br__pattern *out, const char *s, size_t n, struct br_err *err)
{
    int last =
        !s[n + 1]; /* a set at the end of a name would leave a dot behind when it is left out */
    if (memchr(s, ',', n)) {
        if (out->n_list > 1)
            return br_fail(err, BR_E_PLUGIN, "pattern '%s' has two lists", out->text);
        out->n_list = count_items(s, n);
        if (out->n_list > BR__MAX_LIST)
            return br_fail(err, BR_E_PLUGIN, "pattern '%s' lists more than %d tensors", out->text,
                           BR__MAX_LIST);
        return BR_OK;
    }
    if (pattern_same(s, n, "expert")) {
        out->has_expert = 1;
        return BR_OK;
    }
    for (size_t i = 0; i < BR_COUNTOF(sets); i++)
        if (pattern_same(s, n, sets[i].name)) {
            if (out->set || last)
                return br_fail(err, BR_E_PLUGIN, "pattern '%s' has two index sets, or ends in one",
                               out->text);
            out->set = sets[i].set;
            return BR_OK;
        }
    return br_fail(err, BR_E_PLUGIN,
                   "pattern '%s' has an unknown placeholder '{%.*s}'; known: layer, "
                   "attn, gdn, moe, dense, mtp, expert, or a list {a,b}",
                   out->text, (int)n, s);
}

/* An index is a component of the name by itself; otherwise its digits could not be told from their
 * neighbours'. */
static int check_place(const char *text, const char *open, const char *close, int is_list,
                       struct br_err *err)
{
    if (memchr(open + 1, '{', (size_t)(close - open - 1)))
        return br_fail(err, BR_E_PLUGIN, "pattern '%s' has a '{' inside braces", text);
    if (is_list || ((open == text || open[-1] == '.') && (close[1] == '.' || !close[1])))
        return BR_OK;
    return br_fail(err, BR_E_PLUGIN, "pattern '%s': '%.*s' must stand alone between dots", text,
                   (int)(close - open) + 1, open);
}

int br__pattern_parse(const char *text, struct br__pattern *out, struct br_err *err)
{
    *out = (struct br__pattern){text, BR__SET_NONE, 1, br__ends(text, EXPERT_AXIS)};
    if (!*text)
        return br_fail(err, BR_E_PLUGIN, "empty name pattern");
    for (const char *p = text; *p; p++) {
        if (*p == '}')
            return br_fail(err, BR_E_PLUGIN, "pattern '%s' has a '}' without '{'", text);
        if (*p != '{')
            continue;
        size_t n;
        const char *s = pattern_brace(p, &n);
        if (!s)
            return br_fail(err, BR_E_PLUGIN, "pattern '%s' has a '{' without '}'", text);
        int rc = check_place(text, p, s + n, memchr(s, ',', n) != NULL, err);
        if (!rc)
            rc = add_placeholder(out, s, n, err);
        if (rc)
            return rc;
        p = s + n;
    }
    return BR_OK;
}

/* Item `item` of "a,b,c". */
static const char *list_item(const char *s, size_t n, int item, size_t *len)
{
    const char *end = s + n;
    for (; item > 0; item--)
        s = (const char *)memchr(s, ',', (size_t)(end - s)) + 1;
    const char *comma = memchr(s, ',', (size_t)(end - s));
    *len = (size_t)((comma ? comma : end) - s);
    return s;
}

const char *br__pattern_name(struct br__arena *a, const struct br__pattern *p, int64_t layer,
                             int64_t expert, int item)
{
    struct br__buf b = {0};
    const char *end = p->text + strlen(p->text);
    if (br__ends(p->text, EXPERT_AXIS))
        end -= strlen(EXPERT_AXIS);
    for (const char *s = p->text; s < end; s++) {
        if (*s != '{') {
            br__buf_putc(&b, *s);
            continue;
        }
        size_t n, len;
        const char *in = pattern_brace(s, &n);
        if (!in)
            BR_BUG("pattern '%s' was not parsed", p->text);
        s = in + n;
        if (memchr(in, ',', n)) {
            const char *text = list_item(in, n, item, &len);
            br__buf_put(&b, text, len);
        } else if (pattern_same(in, n, "expert")) {
            br__buf_printf(&b, "%lld", (long long)expert);
        } else if (layer >= 0) {
            br__buf_printf(&b, "%lld", (long long)layer);
        } else if (s + 1 < end && s[1] == '.') {
            s++; /* the stacked form has neither the index nor its dot */
        }
    }
    const char *name = b.failed ? NULL : br__arena_strndup(a, b.p ? b.p : "", b.n);
    br__buf_free(&b);
    return name;
}

static const char *skip_digits(const char *s)
{
    if (!isdigit((unsigned char)*s))
        return NULL;
    while (isdigit((unsigned char)*s))
        s++;
    return s;
}

/* Match the rest of a pattern against the rest of a name. */
static int match_at(const char *p, const char *s)
{
    while (*p && *p != '{' && strcmp(p, EXPERT_AXIS) && *p == *s)
        p++, s++;
    if (!*p || !strcmp(p, EXPERT_AXIS))
        return !*s;
    if (*p != '{')
        return 0;
    size_t n, len;
    const char *in = pattern_brace(p, &n);
    if (!in)
        return 0;
    const char *rest = in + n + 1;
    if (!memchr(in, ',', n)) {
        const char *after = skip_digits(s);
        if (after)
            return match_at(rest, after);
        return *rest == '.' && !pattern_same(in, n, "expert") && match_at(rest + 1, s);
    }
    for (int i = 0; i < count_items(in, n); i++) {
        const char *text = list_item(in, n, i, &len);
        if (!strncmp(s, text, len) && match_at(rest, s + len))
            return 1;
    }
    return 0;
}

int br__pattern_match(const struct br__pattern *p, const char *name)
{
    return match_at(p->text, name);
}

/* ---- shapes ---------------------------------------------------------------------------------- */

/* One factor: a number or a config name. */
static int eval_factor(const char **s, const struct br_config *cfg, int64_t *out,
                       struct br_err *err)
{
    const char *start = *s;
    size_t n = strspn(start, "abcdefghijklmnopqrstuvwxyz_0123456789");
    int known = 0;
    *s += n;
    if (n && isdigit((unsigned char)*start)) {
        *out = 0;
        for (size_t i = 0; i < n; i++) {
            if (!isdigit((unsigned char)start[i]) || *out > INT32_MAX)
                return br_fail(err, BR_E_PLUGIN, "bad number '%.*s' in a shape", (int)n, start);
            *out = *out * 10 + (start[i] - '0');
        }
        return BR_OK;
    }
    *out = br__config_dim(cfg, start, n, &known);
    if (!known)
        return br_fail(err, BR_E_PLUGIN,
                       "shape names '%.*s', which is no integer of the model "
                       "configuration",
                       (int)n, start);
    if (*out < 1)
        return br_fail(err, BR_E_CONFIG, "config.json gives no %.*s, which a weight's shape needs",
                       (int)n, start);
    return BR_OK;
}

/* sum of products, up to ',' ';' or the end */
static int eval_dim(const char **s, const struct br_config *cfg, int64_t *out, struct br_err *err)
{
    int64_t sum = 0, product = 1, factor;
    for (;;) {
        int rc = eval_factor(s, cfg, &factor, err);
        if (rc)
            return rc;
        if (__builtin_mul_overflow(product, factor, &product))
            return br_fail(err, BR_E_CONFIG, "a weight's shape overflows");
        if (**s == '*') {
            (*s)++;
            continue;
        }
        if (__builtin_add_overflow(sum, product, &sum))
            return br_fail(err, BR_E_CONFIG, "a weight's shape overflows");
        product = 1;
        if (**s != '+')
            break;
        (*s)++;
    }
    *out = sum;
    return BR_OK;
}

int br__shape_eval(const char *expr, int item, const struct br_config *cfg, int64_t *shape,
                   int *ndim, struct br_err *err)
{
    const char *s = expr;
    for (; item > 0 && strchr(s, ';'); item--)
        s = strchr(s, ';') + 1;
    *ndim = 0;
    for (;;) {
        if (*ndim == BR_MAX_DIMS - 2)
            return br_fail(err, BR_E_PLUGIN, "shape '%s' has too many dimensions", expr);
        int rc = eval_dim(&s, cfg, &shape[(*ndim)++], err);
        if (rc) {
            br_wrap(err, "shape '%s'", expr);
            return rc;
        }
        if (*s != ',')
            break;
        s++;
    }
    if (*s && *s != ';')
        return br_fail(err, BR_E_PLUGIN, "shape '%s': unexpected '%c'", expr, *s);
    return BR_OK;
}
