/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* ranges.c - which bytes of a text a token is.
 *
 * Tokens of a vocabulary that spells bytes have as many bytes as the text that they stand for, so
 * that their places are sums.  Where a tokenizer changes or drops text that does not hold: refused.
 */
#include "tok.h"

int br__tok_ranges_begin(struct br__tok_ranges *r, const struct br_tokenizer *t,
                         const unsigned char *text, struct br_err *err)
{
    int changes = t->vocab.plain || t->n_norms;

    r->text = text;
    for (size_t i = 0; i < t->n_steps; i++)
        changes |= t->steps[i].kind >= BR__TOK_PREFIX || t->steps[i].behavior == BR__TOK_REMOVED;
    return changes
               ? br_fail(err, BR_E_UNSUPPORTED,
                         "which token is which part of a text is known for tokenizers alone that "
                         "neither change nor drop text")
               : BR_OK;
}

int br__tok_ranges_put(struct br__tok_ranges *r, const unsigned char *s, size_t n,
                       struct br_err *err)
{
    if (br__grow(&r->p, &r->cap, r->n, sizeof *r->p))
        return br__nomem(err, "encoding text");
    size_t begin = (size_t)(s - r->text);
    r->p[r->n++] = (struct br__tok_range){begin, begin + n};
    return BR_OK;
}

/* As tokenizers does it for a ByteLevel that trims: blanks at the ends are not the token's, but for
 * one at the beginning of the text where the tokenizer would have put one. */
static void trim_range(struct br__tok_range *r, const struct br_tokenizer *t,
                       const unsigned char *text)
{
    size_t begin = r->begin, end = r->end;

    while (begin < end && text[begin] == ' ')
        begin++;
    while (end > begin && text[end - 1] == ' ')
        end--;
    if (begin > r->begin && r->begin == 0 && t->trim_offsets > 1)
        begin--;
    *r = (struct br__tok_range){begin, BR__MAX(begin, end)};
}

int br__tok_ranges_add(struct br__tok_ranges *r, const struct br_tokenizer *t,
                       const unsigned char *s, size_t n, const struct br_ids *ids, size_t first,
                       struct br_err *err)
{
    size_t at = 0, len;
    int rc = BR_OK;

    for (size_t i = first; i < ids->n && !rc; i++, at += len) {
        len = t->vocab.span[ids->p[i]].n;
        if (len > n - at)
            break;
        rc = br__tok_ranges_put(r, s + at, len, err);
        if (!rc && t->trim_offsets)
            trim_range(&r->p[r->n - 1], t, r->text);
    }
    if (!rc && at != n)
        rc = br_fail(err, BR_E_UNSUPPORTED, "the tokens of a text have %zu bytes, the text has %zu",
                     at, n);
    return rc;
}
