/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* merges.c - the tokenizer's merges: pair of ids -> rank, rank -> id.  As in vocab.c a run of
 * collisions is limited, and merges are resolved in batches, each step of which prefetches for the
 * next. */
#include "tok.h"

#include <string.h>

static int make_pairs(struct br__tok_merges *m, int bits, struct br_err *err)
{
    size_t cap = (size_t)1 << bits;
    uint64_t *slots = br__alloc(cap * sizeof *slots), *old = m->slots;
    if (!slots)
        return br__nomem(err, "for %zu merges", cap);
    memset(slots, 0xFF, cap * sizeof *slots);
    for (size_t k = 0; old && k < (size_t)1 << m->bits; k++) {
        if (old[k] == UINT64_MAX)
            continue;
        size_t i = br__tok_pair_slot(bits, old[k] >> BR__TOK_RANK_BITS);
        while (slots[i] != UINT64_MAX)
            i = (i + 1) & (cap - 1);
        slots[i] = old[k];
    }
    br__free(old);
    m->slots = slots;
    m->bits = bits;
    return BR_OK;
}

/* Bytes that UTF-8 never has need no token. */
static int find_bytes(struct br__tok_merges *m, const struct br__tok_vocab *v, struct br_err *err)
{
    for (int b = 0; b < 256; b++) {
        unsigned char byte = (unsigned char)b;
        m->byte_id[b] = br__tok_vocab_find(v, &byte, 1);
        if (m->byte_id[b] == BR__TOK_NONE && b != 0xC0 && b != 0xC1 && b < 0xF5)
            return br_fail(
                err, BR_E_FORMAT,
                "no token for byte 0x%02x; a byte-level vocabulary has all that occur in "
                "UTF-8",
                b);
    }
    return BR_OK;
}

static int find_fallbacks(struct br__tok_merges *m, const struct br__tok_vocab *v)
{
    char text[8];

    for (int b = 0; b < 256; b++) {
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)b);
        m->byte_id[b] = br__tok_vocab_find(v, text, 6);
    }
    return BR_OK;
}

int br__tok_merges_init(struct br__tok_merges *m, const struct br__tok_vocab *v, size_t expected,
                        struct br_err *err)
{
    int bits = 10;
    while (((size_t)1 << bits) / 8 * 5 < BR__MIN(expected, BR__TOK_MAX_MERGES))
        bits++;
    int rc = v->plain ? find_fallbacks(m, v) : find_bytes(m, v, err);
    if (rc)
        return rc;
    m->byte_pair = br__alloc(sizeof *m->byte_pair << 16);
    m->batch = br__alloc(BR__TOK_BATCH * sizeof *m->batch);
    m->seen = br__calloc(((size_t)1 << BR__TOK_SEEN_BITS) / 64, sizeof *m->seen);
    if (!m->byte_pair || !m->batch || !m->seen)
        return br__nomem(err, "for the merges");
    memset(m->byte_pair, 0xFF, sizeof *m->byte_pair << 16);
    return make_pairs(m, bits, err);
}

void br__tok_merges_free(struct br__tok_merges *m)
{
    br__free(m->slots);
    br__free(m->seen);
    br__free(m->made);
    br__free(m->byte_pair);
    br__free(m->batch);
    br__buf_free(&m->bytes);
    *m = (struct br__tok_merges){0};
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* Look at the first slot only: a token whose hash fits there is most likely the one. */
static uint32_t merges_likely(const struct br__tok_vocab *v, uint64_t h)
{
    uint64_t slot = v->slots[h & (v->cap - 1)];
    return slot == UINT64_MAX || (slot ^ h) & BR__TOK_TAG_MASK ? BR__TOK_NONE
                                                               : (uint32_t)slot & BR__TOK_MAX_IDS;
}

static uint32_t merges_resolve(const struct br__tok_vocab *v, uint32_t guess, uint64_t h,
                               const char *bytes, size_t n)
{
    if (guess != BR__TOK_NONE && br__tok_vocab_is(v, guess, bytes, n, 0))
        return guess;
    return br__tok_vocab_probe(v, h, bytes, n);
}

static int put_pair(struct br__tok_merges *m, uint32_t left, uint32_t right, struct br_err *err)
{
    uint64_t pair = (uint64_t)left << BR__TOK_ID_BITS | right;
    size_t mask = ((size_t)1 << m->bits) - 1, i = br__tok_pair_slot(m->bits, pair);
    int tries = 0;
    for (; m->slots[i] != UINT64_MAX; i = (i + 1) & mask, tries++) {
        if (m->slots[i] >> BR__TOK_RANK_BITS == pair)
            return br_fail(err, BR_E_FORMAT, "it is the same as merge %u",
                           (unsigned)(m->slots[i] & BR__TOK_MAX_MERGES));
        if (tries == BR__TOK_MAX_PROBES)
            return br_fail(err, BR_E_FORMAT, "too many merges with the same hash");
    }
    m->slots[i] = pair << BR__TOK_RANK_BITS | m->n;
    size_t bit = br__tok_pair_slot(BR__TOK_SEEN_BITS, pair);
    m->seen[bit / 64] |= UINT64_C(1) << bit % 64;
    return BR_OK;
}

static int put_merge(struct br__tok_merges *m, const struct br__tok_vocab *v,
                     const struct br__tok_pair *p, struct br_err *err)
{
    const char *bytes = m->bytes.p + p->at, *second = bytes + p->n[0];
    size_t n = (size_t)p->n[0] + p->n[1];
    uint32_t left = merges_resolve(v, p->guess[0], p->hash[0], bytes, p->n[0]);
    uint32_t right = merges_resolve(v, p->guess[1], p->hash[1], second, p->n[1]);
    /* Most files number tokens in the order of their merges. */
    uint32_t made = m->n ? m->made[m->n - 1] + 1 : 0;
    if (made >= v->n_ids || !br__tok_vocab_is(v, made, bytes, n, 0))
        made = br__tok_vocab_find(v, bytes, n);
    if (left == BR__TOK_NONE || right == BR__TOK_NONE || made == BR__TOK_NONE)
        return br_fail(err, BR_E_FORMAT, "%s is not in the vocabulary",
                       left == BR__TOK_NONE    ? "the first token"
                       : right == BR__TOK_NONE ? "the second token"
                                               : "what the two make");
    if (br__grow(&m->made, &m->cap, m->n, sizeof *m->made))
        return br__nomem(err, "for the merges");
    int rc = put_pair(m, left, right, err);
    if (rc)
        return rc;
    if (p->n[0] == 1 && p->n[1] == 1)
        m->byte_pair[(unsigned char)bytes[0] << 8 | (unsigned char)bytes[1]] = (uint32_t)m->n;
    m->made[m->n++] = made;
    return BR_OK;
}

int br__tok_merges_flush(struct br__tok_merges *m, const struct br__tok_vocab *v,
                         struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < m->n_batch; i++)
        for (int k = 0; k < 2; k++) {
            uint32_t id = m->batch[i].guess[k] = merges_likely(v, m->batch[i].hash[k]);
            if (id != BR__TOK_NONE)
                __builtin_prefetch(&v->span[id]);
        }
    for (size_t i = 0; i < m->n_batch; i++) {
        const uint32_t *id = m->batch[i].guess;
        if (id[0] == BR__TOK_NONE || id[1] == BR__TOK_NONE)
            continue;
        __builtin_prefetch(v->bytes.p + v->span[id[0]].at);
        __builtin_prefetch(v->bytes.p + v->span[id[1]].at);
        uint64_t pair = (uint64_t)id[0] << BR__TOK_ID_BITS | id[1];
        __builtin_prefetch(&m->slots[br__tok_pair_slot(m->bits, pair)]);
    }
    for (size_t i = 0; i < m->n_batch && !rc; i++) {
        rc = put_merge(m, v, &m->batch[i], err);
        if (rc)
            br_wrap(err, "merge %zu", m->n);
    }
    m->n_batch = 0;
    m->bytes.n = 0;
    return rc;
}

static int put_half(struct br__tok_merges *m, const struct br__tok_vocab *v, struct br__tok_pair *p,
                    int k, const char *spelled, size_t n, struct br_err *err)
{
    char *room = br__buf_room(&m->bytes, n);
    if (!room)
        return br_fail(err, m->bytes.failed, "cannot hold a merge in memory");
    int64_t len = n > BR__TOK_MAX_BYTES ? -1
                  : v->plain            ? (int64_t)n
                                        : br__tok_spelled_bytes(spelled, n, room);
    if (v->plain && len > 0)
        memcpy(room, spelled, n);
    if (len <= 0)
        return br_fail(err, BR_E_FORMAT, "merge %zu: '%.*s' does not spell bytes",
                       m->n + m->n_batch, (int)BR__MIN(n, 200), spelled);
    m->bytes.n += (size_t)len;
    p->n[k] = (uint32_t)len;
    p->hash[k] = br__tok_hash(room, (size_t)len, 0);
    __builtin_prefetch(&v->slots[p->hash[k] & (v->cap - 1)]);
    return BR_OK;
}

int br__tok_merges_add(struct br__tok_merges *m, const struct br__tok_vocab *v, const char *left,
                       size_t n_left, const char *right, size_t n_right, struct br_err *err)
{
    int rc = m->n_batch == BR__TOK_BATCH ? br__tok_merges_flush(m, v, err) : BR_OK;
    if (!rc && m->n + m->n_batch >= BR__TOK_MAX_MERGES)
        return br_fail(err, BR_E_UNSUPPORTED, "more than %u merges", BR__TOK_MAX_MERGES);
    if (!rc && m->n + BR__TOK_BATCH > ((size_t)1 << m->bits) / 8 * 5)
        rc = make_pairs(m, m->bits + 1, err);
    struct br__tok_pair *p = &m->batch[rc ? 0 : m->n_batch];
    p->at = (uint32_t)m->bytes.n;
    if (!rc)
        rc = put_half(m, v, p, 0, left, n_left, err);
    if (!rc)
        rc = put_half(m, v, p, 1, right, n_right, err);
    m->n_batch += !rc;
    return rc;
}
