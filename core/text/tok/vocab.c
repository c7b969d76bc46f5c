/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* vocab.c - the tokenizer's vocabulary: token <-> bytes.  The hash table probes linearly.  A
 * hostile file could make all keys collide; a run of probes longer than any real file needs is an
 * error, so that opening and encoding stay linear.  Memory latency dominates opening, so tokens are
 * inserted in batches: all slots of a batch are prefetched before the first is used.  Spelling of
 * bytes: GPT-2's bytes_to_unicode, as in tokenizers' ByteLevel. */
#include "tok.h"

#include <string.h>

#define TAG_MASK (UINT64_MAX << BR__TOK_ID_BITS)

/* ---- spelling -------------------------------------------------------------------------------- */

static int stands_for_itself(uint32_t c)
{
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

/* The bytes that do not stand for themselves, in order, are U+0100 and on. */
static int byte_of_rest(uint32_t nth)
{
    if (nth < 0x21)
        return (int)nth; /* 00 - 20 */
    if (nth < 0x21 + 0x22)
        return (int)(nth - 0x21 + 0x7F); /* 7f - a0 */
    return nth == 0x21 + 0x22 ? 0xAD : -1;
}

int br__tok_byte_of(uint32_t c)
{
    if (c < 0x100)
        return stands_for_itself(c) ? (int)c : -1;
    return byte_of_rest(c - 0x100);
}

void br__tok_spell(struct br__buf *out, const unsigned char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        unsigned b = s[i], c = stands_for_itself(b) ? b
                               : b <= 0x20          ? 0x100 + b
                               : b == 0xAD          ? 0x100 + 0x21 + 0x22
                                                    : 0x100 + 0x21 + b - 0x7F;
        if (c >= 0x80)
            br__buf_putc(out, (char)(0xC0 | c >> 6));
        br__buf_putc(out, (char)(c >= 0x80 ? 0x80 | (c & 0x3F) : c));
    }
}

int64_t br__tok_spelled_bytes(const char *spelled, size_t n, char *dst)
{
    const unsigned char *s = (const unsigned char *)spelled;
    size_t at = 0, out = 0, len;
    while (at < n) {
        if (s[at] > 0x20 && s[at] < 0x7F) {
            dst[out++] = (char)s[at++];
            continue;
        }
        int b = br__tok_byte_of(br__tok_char(s + at, &len));
        if (b < 0)
            return -1;
        dst[out++] = (char)b;
        at += len;
    }
    return (int64_t)out;
}

/* ---- the table ------------------------------------------------------------------------------- */

static uint64_t vocab_mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

uint64_t br__tok_hash(const void *bytes, size_t n, int raw)
{
    const unsigned char *s = bytes;
    uint64_t h = vocab_mix(n, (uint64_t)raw);
    for (; n > 8; n -= 8, s += 8)
        h = vocab_mix(h, br__tok_few_bytes(s, 8));
    return vocab_mix(vocab_mix(h, br__tok_few_bytes(s, n)), 0);
}

/* Id of the token with these bytes, or BR__TOK_NONE with *free_at the slot where it belongs
 * (SIZE_MAX: too many collisions). */
static uint32_t vocab_probe(const struct br__tok_vocab *v, uint64_t h, const void *bytes, size_t n,
                            int raw, size_t *free_at)
{
    size_t i = h & (v->cap - 1);
    for (int tries = 0; tries < BR__TOK_MAX_PROBES; tries++, i = (i + 1) & (v->cap - 1)) {
        uint64_t slot = v->slots[i];
        if (slot == UINT64_MAX) {
            *free_at = i;
            return BR__TOK_NONE;
        }
        uint32_t id = (uint32_t)slot & BR__TOK_MAX_IDS;
        if (!((slot ^ h) & BR__TOK_TAG_MASK) && br__tok_vocab_is(v, id, bytes, n, raw))
            return id;
    }
    *free_at = SIZE_MAX;
    return BR__TOK_NONE;
}

uint32_t br__tok_vocab_probe(const struct br__tok_vocab *v, uint64_t h, const void *bytes, size_t n)
{
    size_t free_at;
    return vocab_probe(v, h, bytes, n, 0, &free_at);
}

uint32_t br__tok_vocab_find(const struct br__tok_vocab *v, const void *bytes, size_t n)
{
    return n > v->longest ? BR__TOK_NONE
                          : br__tok_vocab_probe(v, br__tok_hash(bytes, n, 0), bytes, n);
}

uint32_t br__tok_vocab_spelled(const struct br__tok_vocab *v, const char *spelled, size_t n)
{
    enum { SHORT = 256 };
    char room[SHORT], *bytes = n <= SHORT ? room : br__alloc(n);
    size_t free_at;
    if (!bytes)
        return BR__TOK_NONE;
    int64_t len = v->plain ? -1 : br__tok_spelled_bytes(spelled, n, bytes);
    int raw = len < 0 && !v->plain;
    const char *key = len < 0 ? spelled : bytes;
    size_t n_key = len < 0 ? n : (size_t)len;
    uint32_t id = vocab_probe(v, br__tok_hash(key, n_key, raw), key, n_key, raw, &free_at);
    if (bytes != room)
        br__free(bytes);
    return id;
}

static int make_slots(struct br__tok_vocab *v, size_t cap, struct br_err *err)
{
    uint64_t *slots = br__alloc(cap * sizeof *slots);
    if (!slots)
        return br__nomem(err, "for %zu tokens", cap);
    memset(slots, 0xFF, cap * sizeof *slots);
    uint64_t *old = v->slots;
    size_t n_old = v->cap;
    v->slots = slots;
    v->cap = cap;
    for (size_t k = 0; k < n_old; k++) {
        if (old[k] == UINT64_MAX)
            continue;
        uint32_t id = (uint32_t)old[k] & BR__TOK_MAX_IDS;
        const struct br__tok_span sp = v->span[id];
        uint64_t h = br__tok_hash(v->bytes.p + sp.at, sp.n, (int)sp.raw);
        size_t i = h & (cap - 1);
        while (slots[i] != UINT64_MAX)
            i = (i + 1) & (cap - 1);
        slots[i] = (h & BR__TOK_TAG_MASK) | id;
    }
    br__free(old);
    return BR_OK;
}

int br__tok_vocab_init(struct br__tok_vocab *v, size_t expected, struct br_err *err)
{
    size_t cap = 1024;
    while (cap / 8 * 5 < BR__MIN(expected, BR__TOK_MAX_IDS))
        cap *= 2;
    return make_slots(v, cap, err);
}

void br__tok_vocab_free(struct br__tok_vocab *v)
{
    br__buf_free(&v->bytes);
    br__free(v->span);
    br__free(v->flags);
    br__free(v->slots);
    *v = (struct br__tok_vocab){0};
}

/* ---- adding tokens --------------------------------------------------------------------------- */

static int room_for_id(struct br__tok_vocab *v, size_t id, struct br_err *err)
{
    if (id >= v->cap_ids) {
        size_t cap = BR__MIN(BR__MAX(BR__MAX(id + 1, v->cap_ids * 2), 1024), BR__TOK_MAX_IDS);
        struct br__tok_span *span = br__realloc(v->span, cap * sizeof *span);
        v->span = span ? span : v->span;
        uint8_t *flags = span ? br__realloc(v->flags, cap) : NULL;
        if (!flags)
            return br__nomem(err, "for %zu tokens", cap);
        v->flags = flags;
        memset(flags + v->cap_ids, 0, cap - v->cap_ids);
        memset(span + v->cap_ids, 0, (cap - v->cap_ids) * sizeof *span);
        v->cap_ids = cap;
    }
    v->n_ids = BR__MAX(v->n_ids, id + 1);
    return BR_OK;
}

/* Append the bytes that the token stands for; *raw if its spelling stands for none. */
static int put_bytes(struct br__tok_vocab *v, const char *spelled, size_t n, int *raw,
                     struct br_err *err)
{
    char *room = br__buf_room(&v->bytes, n);
    if (!room)
        return br_fail(err, v->bytes.failed, "cannot hold the vocabulary in memory");
    int64_t len = v->plain ? -1 : br__tok_spelled_bytes(spelled, n, room);
    *raw = len < 0 && !v->plain;
    if (len < 0)
        memcpy(room, spelled, n);
    v->bytes.n += len < 0 ? n : (size_t)len;
    return BR_OK;
}

static int vocab_claim(struct br__tok_vocab *v, const struct br__tok_new *a, struct br_err *err)
{
    size_t slot;
    uint32_t other =
        vocab_probe(v, a->hash, v->bytes.p + a->span.at, a->span.n, (int)a->span.raw, &slot);
    if (other != BR__TOK_NONE)
        return br_fail(err, BR_E_FORMAT, "ids %u and %u are the same token", other, a->id);
    if (v->flags[a->id])
        return br_fail(err, BR_E_FORMAT, "id %u belongs to two tokens", a->id);
    if (slot == SIZE_MAX)
        return br_fail(err, BR_E_FORMAT, "too many tokens with the hash of id %u", a->id);
    v->slots[slot] = (a->hash & BR__TOK_TAG_MASK) | a->id;
    v->span[a->id] = a->span;
    v->flags[a->id] = a->flags;
    v->longest = BR__MAX(v->longest, a->span.n);
    v->n++;
    return BR_OK;
}

int br__tok_vocab_flush(struct br__tok_vocab *v, struct br_err *err)
{
    int rc = BR_OK;
    for (size_t i = 0; i < v->n_batch && !rc; i++)
        rc = vocab_claim(v, &v->batch[i], err);
    v->n_batch = 0;
    return rc;
}

int br__tok_vocab_add(struct br__tok_vocab *v, const char *spelled, size_t n, int64_t id,
                      unsigned flags, struct br_err *err)
{
    int raw = 0, rc = BR_OK;
    if (id < 0 || id >= BR__TOK_MAX_IDS)
        return br_fail(err, BR_E_FORMAT, "token '%.*s' has id %lld, expected 0 to %u",
                       (int)BR__MIN(n, 200), spelled, (long long)id, BR__TOK_MAX_IDS - 1);
    if (n == 0 || n > BR__TOK_MAX_BYTES)
        return br_fail(err, BR_E_FORMAT, "the token of id %lld has %zu bytes, expected 1 to %u",
                       (long long)id, n, BR__TOK_MAX_BYTES);
    if (v->n_batch == BR__TOK_BATCH)
        rc = br__tok_vocab_flush(v, err);
    if (!rc && v->n + BR__TOK_BATCH > v->cap / 8 * 5)
        rc = make_slots(v, v->cap * 2, err);
    if (!rc)
        rc = room_for_id(v, (size_t)id, err);
    size_t at = v->bytes.n;
    if (!rc)
        rc = put_bytes(v, spelled, n, &raw, err);
    if (rc)
        return rc;
    struct br__tok_new *a = &v->batch[v->n_batch++];
    *a = (struct br__tok_new){
        .span = {(uint32_t)at, (uint32_t)(v->bytes.n - at) & BR__TOK_MAX_BYTES, raw != 0},
        .id = (uint32_t)id,
        .flags = (uint8_t)flags,
        .hash = br__tok_hash(v->bytes.p + at, v->bytes.n - at, raw),
    };
    __builtin_prefetch(&v->slots[a->hash & (v->cap - 1)]);
    return BR_OK;
}
