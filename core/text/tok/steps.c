/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* steps.c - normalizers and pre-tokenizers other than Qwen's, run one after another.
 *
 * A step gets a piece of text and hands its parts to the next one; behind the last step they are
 * encoded.  What happens to the matches of a pattern is tokenizers' SplitDelimiterBehavior.  Each
 * step sees nothing but its piece, so that `$` and look-ahead end there. */
#include "tok.h"

/* ---- normalizers ----------------------------------------------------------------------------- */

void br__tok_replace(struct br__buf *out, const unsigned char *s, size_t n,
                     const struct br__tok_norm *r)
{
    size_t from = 0;

    for (;;) {
        const unsigned char *at =
            from < n ? memmem(s + from, n - from, r->from, strlen(r->from)) : NULL;
        size_t end = at ? (size_t)(at - s) : n;
        if (end > from)
            br__buf_put(out, s + from, end - from);
        if (!at)
            return;
        br__buf_puts(out, r->to);
        from = end + strlen(r->from);
    }
}

int br__tok_normalize(const struct br_tokenizer *t, struct br__tok_texts *x,
                      const unsigned char **s, size_t *n, struct br_err *err)
{
    int rc = BR_OK;

    for (size_t i = 0; i < t->n_norms && *n && !rc; i++) {
        const struct br__tok_norm *r = &t->norms[i];
        struct br__buf *out = *s == (const unsigned char *)x->text[0].p ? &x->text[1] : &x->text[0];
        if (r->kind == BR__TOK_NFC) {
            rc = br__tok_nfc(&t->unicode, *s, *n, out, s, n, err);
            continue;
        }
        out->n = 0;
        if (r->kind == BR__TOK_PREPEND) {
            br__buf_puts(out, r->to);
            br__buf_put(out, *s, *n);
        } else {
            br__tok_replace(out, *s, *n, r);
        }
        if (out->failed)
            rc = br_fail(err, BR_E_NOMEM, "cannot hold %zu bytes of normalized text in memory", *n);
        *s = (const unsigned char *)(out->p ? out->p : "");
        *n = out->n;
    }
    return rc;
}

/* ---- pre-tokenizers -------------------------------------------------------------------------- */

static int run_from(const struct br__tok_cutting *c, size_t k, const unsigned char *s, size_t n,
                    int at_start);

/* The parts of one piece on their way to the step behind k. */
struct parts {
    const struct br__tok_cutting *c;
    size_t k;
    const unsigned char *s;
    int at_start;
    size_t begin, end; /* joined so far, not handed on yet */
    int have, match;   /* match: that of the last part */
    const unsigned char *spelled;
    size_t spelled_at, byte_at; /* the same place in both */
};

/* A character of a spelling is a byte of the piece. */
static size_t byte_offset(struct parts *p, size_t spelled)
{
    if (!p->spelled)
        return spelled;
    for (; p->spelled_at < spelled; p->spelled_at++)
        p->byte_at += (p->spelled[p->spelled_at] & 0xC0) != 0x80;
    return p->byte_at;
}

static int hand_on(struct parts *p)
{
    if (!p->have)
        return BR_OK;
    p->have = 0;
    size_t begin = byte_offset(p, p->begin), end = byte_offset(p, p->end);
    return run_from(p->c, p->k + 1, p->s + begin, end - begin, p->at_start && begin == 0);
}

static int joins(const struct parts *p, int behavior, int match)
{
    switch (behavior) {
    case BR__TOK_MERGED_PREVIOUS:
        return match && !p->match;
    case BR__TOK_MERGED_NEXT:
        return !match && p->match;
    case BR__TOK_CONTIGUOUS:
        return match == p->match;
    default:
        return 0;
    }
}

static int add_part(struct parts *p, size_t begin, size_t end, int match)
{
    const struct br__tok_step *step = &p->c->t->steps[p->k];
    int rc = BR_OK;

    match ^= step->invert;
    if (begin == end)
        return BR_OK;
    if (!p->have || !joins(p, step->behavior, match)) {
        rc = hand_on(p);
        p->begin = begin;
    }
    p->end = end;
    p->have = !(match && step->behavior == BR__TOK_REMOVED);
    p->match = match;
    return rc;
}

/* The next match of a step at or after `at`; an empty one at the end if there is none. */
static int next_match(const struct br__tok_cutting *c, size_t k, const unsigned char *s, size_t n,
                      size_t at, size_t *begin, size_t *end)
{
    const struct br__tok_step *step = &c->t->steps[k];
    struct br__tok_splitter *sp = &c->w->levels[k].splitter;
    size_t len;

    *begin = *end = n;
    if (step->kind == BR__TOK_SPLIT &&
        !step->split) { /* Qwen's pattern, which leaves nothing out */
        *begin = at;
        *end = (size_t)(br__tok_qwen2_next(&c->t->unicode, s + at, s + n) - s);
        return BR_OK;
    }
    if (step->kind == BR__TOK_SPLIT) {
        int rc = br__tok_split_find(step->split, sp, s, n, at, c->err);
        *begin = sp->start;
        *end = sp->end;
        return rc;
    }
    for (; at < n; at += len) {
        uint32_t ch = br__tok_char(s + at, &len);
        if (step->kind == BR__TOK_DIGITS ? br__tok_is_numeric(&c->t->unicode, ch)
                                         : br__tok_is_punctuation(ch)) {
            *begin = at;
            *end = at + len;
            break;
        }
    }
    return BR_OK;
}

static int run_split(const struct br__tok_cutting *c, size_t k, const unsigned char *s, size_t n,
                     int at_start)
{
    struct parts p = {.c = c, .k = k, .s = s, .at_start = at_start};
    struct br__buf *spelled = &c->w->levels[k].text;
    const unsigned char *text = s;
    size_t len = n, begin, end;
    int rc = BR_OK;

    if (c->t->steps[k].spelled) {
        spelled->n = 0;
        br__tok_spell(spelled, s, n);
        if (spelled->failed)
            return br__nomem(c->err, "encoding text");
        p.spelled = text = (const unsigned char *)spelled->p;
        len = spelled->n;
    }
    for (size_t at = 0; at < len && !rc; at = end) {
        rc = next_match(c, k, text, len, at, &begin, &end);
        if (!rc)
            rc = add_part(&p, at, begin, 0);
        if (!rc)
            rc = add_part(&p, begin, end, 1);
    }
    return rc ? rc : hand_on(&p);
}

/* Blanks as another character, and one before the text. */
static void put_metaspace(struct br__buf *out, const struct br__tok_step *step,
                          const unsigned char *s, size_t n, int at_start)
{
    static const char blank[] = " ";
    size_t len = strlen(step->text);
    int there = n >= len && memcmp(s, step->text, len) == 0;

    if (!there && s[0] != ' ' &&
        (step->scheme == BR__TOK_ALWAYS || (step->scheme == BR__TOK_FIRST && at_start)))
        br__buf_put(out, step->text, len);
    br__tok_replace(out, s, n, &(struct br__tok_norm){.from = blank, .to = step->text});
}

/* Text in front of a piece, or in place of its blanks. */
static int run_change(const struct br__tok_cutting *c, size_t k, const unsigned char *s, size_t n,
                      int at_start)
{
    const struct br__tok_step *step = &c->t->steps[k];
    struct br__buf *out = &c->w->levels[k].text;

    if (step->kind == BR__TOK_PREFIX && s[0] == ' ')
        return run_from(c, k + 1, s, n, at_start);
    out->n = 0;
    if (step->kind == BR__TOK_METASPACE) {
        put_metaspace(out, step, s, n, at_start);
    } else {
        br__buf_putc(out, ' ');
        br__buf_put(out, s, n);
    }
    if (out->failed)
        return br__nomem(c->err, "encoding text");
    return run_from(c, k + 1, (const unsigned char *)out->p, out->n, at_start);
}

static int run_from(const struct br__tok_cutting *c, size_t k, const unsigned char *s, size_t n,
                    int at_start)
{
    if (k == c->t->n_steps)
        return c->put(c->to, s, n);
    return c->t->steps[k].kind >= BR__TOK_PREFIX ? run_change(c, k, s, n, at_start)
                                                 : run_split(c, k, s, n, at_start);
}

int br__tok_steps_run(const struct br__tok_cutting *c, const unsigned char *s, size_t n,
                      int at_start)
{
    return n ? run_from(c, 0, s, n, at_start) : BR_OK;
}
