/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bpe.c - pieces of text -> ids.  The merge of lowest rank is applied first, of equal ranks the
 * leftmost, until none applies, as in tokenizers' BPE.  Most pieces are in the cache.  Most others
 * are tokens; only the rest is merged, in n log n steps for a piece of n bytes, whatever it holds.
 * Memory latency dominates, so pieces are worked on in groups: each step prefetches what the next
 * step reads. */
#include "tok.h"

#include <string.h>

/* ---- least key first ------------------------------------------------------------------------- */

#define NO_KEY INT32_MAX
#define PLACE 15

typedef int32_t four __attribute__((vector_size(16)));

static inline four bpe_least(four a, four b)
{
    four less = a < b;
    return (a & less) | (b & ~less);
}

/* Lowest of 16 keys; its low bits are its index. */
static inline int32_t least_of_16(const int32_t *keys)
{
    four k[4];
    memcpy(k, keys, sizeof k);
    four m = bpe_least(bpe_least(k[0], k[1]), bpe_least(k[2], k[3]));
    int32_t a = BR__MIN(m[0], m[1]), b = BR__MIN(m[2], m[3]);
    return BR__MIN(a, b);
}

static inline int32_t key_of(uint32_t rank, uint32_t at)
{
    return rank == BR__TOK_NONE ? NO_KEY : (int32_t)(rank << 4 | (at & PLACE));
}

static size_t round_up_16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

/* Number of levels for n parts: the top one has at most 16 keys. */
static int n_levels(size_t n)
{
    int levels = 1;
    for (; n > 16; n = (n + 15) / 16)
        levels++;
    return levels;
}

/* Update the higher levels after key `at` of level 0 changed. */
static void bpe_carry(struct br__tok_merging *m, int levels, size_t at)
{
    for (int l = 1; l < levels; l++) {
        at /= 16;
        int32_t key = least_of_16(m->keys[l - 1] + at * 16);
        m->won[l][at] = (uint8_t)(key & PLACE);
        m->keys[l][at] = key_of(key == NO_KEY ? BR__TOK_NONE : (uint32_t)key >> 4, (uint32_t)at);
    }
}

/* The part with the lowest key, or BR__TOK_NONE if no merge is left.  *rank is the rank in that
 * key. */
static uint32_t least_part(const struct br__tok_merging *m, int levels, uint32_t *rank)
{
    int32_t key = least_of_16(m->keys[levels - 1]);
    if (key == NO_KEY)
        return BR__TOK_NONE;
    size_t at = (size_t)(key & PLACE);
    *rank = (uint32_t)key >> 4;
    for (int l = levels - 1; l > 0; l--)
        at = at * 16 + m->won[l][at];
    return (uint32_t)at;
}

static int room_for(struct br__tok_merging *m, size_t n)
{
    if (n <= m->cap)
        return BR_OK;
    size_t cap = 256, bytes = 0, at = 0;
    while (cap < n)
        cap *= 2;
    for (size_t k = cap; k > 0; k = k > 16 ? k / 16 : 0)
        bytes += round_up_16(k) * (sizeof(int32_t) + 1);
    bytes += cap * sizeof *m->parts;
    char *block = br__alloc(bytes + 64);
    if (!block)
        return BR_E_NOMEM;
    br__free(m->block);
    *m = (struct br__tok_merging){.cap = cap, .block = block};
    m->parts = (struct br__tok_part *)(void *)block;
    at = cap * sizeof *m->parts;
    int l = 0;
    for (size_t k = cap; k > 0; k = k > 16 ? k / 16 : 0, l++) {
        m->keys[l] = (int32_t *)(void *)(block + at);
        at += round_up_16(k) * sizeof(int32_t);
        m->won[l] = (uint8_t *)block + at;
        at += round_up_16(k);
    }
    return BR_OK;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* The levels above keys[0], whose first n are there. */
static void start_levels(struct br__tok_merging *m, size_t n, int levels)
{
    size_t k = n;
    for (int l = 0;; l++) {
        for (size_t i = k; i < round_up_16(k); i++)
            m->keys[l][i] = NO_KEY;
        if (l + 1 == levels)
            break;
        k = (k + 15) / 16;
        for (size_t i = 0; i < k; i++) {
            int32_t key = least_of_16(m->keys[l] + i * 16);
            m->won[l + 1][i] = (uint8_t)(key & PLACE);
            m->keys[l + 1][i] =
                key_of(key == NO_KEY ? BR__TOK_NONE : (uint32_t)key >> 4, (uint32_t)i);
        }
    }
}

/* A part for each byte. */
static uint32_t start_bytes(const struct br__tok_merges *g, struct br__tok_merging *m,
                            const unsigned char *s, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t rank = i + 1 < n ? g->byte_pair[s[i] << 8 | s[i + 1]] : BR__TOK_NONE;
        m->parts[i] = (struct br__tok_part){g->byte_id[s[i]], i + 1, i - 1};
        m->keys[0][i] = key_of(rank, i);
    }
    return n;
}

static void add_part(struct br__tok_merging *m, uint32_t *count, uint32_t id)
{
    m->parts[*count] = (struct br__tok_part){id, *count + 1, *count - 1};
    ++*count;
}

/* Do all bytes of a character have tokens that stand for them? */
static int can_fall_back(const struct br_tokenizer *t, const unsigned char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t->merges.byte_id[s[i]] == BR__TOK_NONE)
            return 0;
    return t->byte_fallback;
}

/* A part for each character; for one that is no token one per byte, or the unknown token, or none.
 * Returns how many there are. */
static uint32_t start_characters(const struct br_tokenizer *t, struct br__tok_merging *m,
                                 const unsigned char *s, uint32_t n)
{
    uint32_t count = 0;
    int unknown = 0; /* is put before what comes next, and takes in what is unknown, too */
    size_t len;

    for (size_t i = 0; i < n; i += len) {
        br__tok_char(s + i, &len);
        uint32_t id = br__tok_vocab_find(&t->vocab, s + i, len);
        int found = id != BR__TOK_NONE && t->vocab.flags[id] & BR__TOK_VOCAB;
        if (!found && can_fall_back(t, s + i, len)) {
            for (size_t k = 0; k < len; k++)
                add_part(m, &count, t->merges.byte_id[s[i + k]]);
            continue;
        }
        if (unknown && (found || !t->fuse_unk))
            add_part(m, &count, t->unk);
        unknown = !found && t->unk != BR__TOK_NONE;
        if (found)
            add_part(m, &count, id);
    }
    if (unknown)
        add_part(m, &count, t->unk);
    for (uint32_t i = 0; i < count; i++)
        m->keys[0][i] =
            key_of(i + 1 < count ? br__tok_pair_rank(&t->merges, m->parts[i].id, m->parts[i + 1].id)
                                 : BR__TOK_NONE,
                   i);
    return count;
}

static inline void set_key(const struct br__tok_merges *g, struct br__tok_merging *m, uint32_t at,
                           uint32_t right)
{
    const struct br__tok_part *p = m->parts;
    uint32_t rank = br__tok_pair_rank(g, p[at].id, p[right].id);
    if (rank != BR__TOK_NONE)
        __builtin_prefetch(&g->made[rank]); /* read when this merge is applied */
    m->keys[0][at] = key_of(rank, at);
}

/* Merge n parts until no merge applies; those that are left form a list that begins at part 0. */
static void bpe_merge(const struct br__tok_merges *g, struct br__tok_merging *m, uint32_t n)
{
    struct br__tok_part *p = m->parts;
    int levels = n_levels(n);
    uint32_t rank = 0, at;
    start_levels(m, n, levels);
    while ((at = least_part(m, levels, &rank)) != BR__TOK_NONE) {
        uint32_t gone = p[at].next, right = p[gone].next, left = p[at].prev;
        p[at].id = g->made[rank];
        p[at].next = right;
        m->keys[0][gone] = NO_KEY;
        m->keys[0][at] = NO_KEY;
        if (right < n) {
            p[right].prev = at;
            set_key(g, m, at, right);
        }
        if (at > 0) {
            set_key(g, m, left, at);
            if (left / 16 != at / 16)
                bpe_carry(m, levels, left);
        }
        if (gone / 16 != at / 16)
            bpe_carry(m, levels, gone);
        bpe_carry(m, levels, at);
    }
}

/* ---- pieces ---------------------------------------------------------------------------------- */

int br__tok_ids_reserve(struct br_ids *ids, size_t more)
{
    if (ids->cap - ids->n >= more)
        return BR_OK;
    size_t cap = BR__MAX(ids->cap + ids->cap / 2, ids->n + more);
    if (cap > SIZE_MAX / sizeof *ids->p)
        return BR_E_NOMEM;
    int32_t *p = br__realloc(ids->p, cap * sizeof *p);
    if (!p)
        return BR_E_NOMEM;
    ids->p = p;
    ids->cap = cap;
    return BR_OK;
}

static int merge_piece(const struct br_tokenizer *t, struct br__tok_work *w, const unsigned char *s,
                       size_t n, struct br_ids *out)
{
    if (n >= UINT32_MAX / 2 || room_for(&w->merging, n))
        return BR_E_NOMEM;
    uint32_t parts = t->vocab.plain ? start_characters(t, &w->merging, s, (uint32_t)n)
                                    : start_bytes(&t->merges, &w->merging, s, (uint32_t)n);
    bpe_merge(&t->merges, &w->merging, parts);
    for (uint32_t at = 0; at < parts; at = w->merging.parts[at].next) {
        if (br__tok_ids_reserve(out, 1))
            return BR_E_NOMEM;
        out->p[out->n++] = (int32_t)w->merging.parts[at].id;
    }
    return BR_OK;
}

enum { WHOLE_YES = 1, WHOLE_NO = 2 };

/* Not in the cache: a token as a whole, or merged. */
static int new_piece(const struct br_tokenizer *t, struct br__tok_work *w,
                     const struct br__tok_piece *p, struct br_ids *out)
{
    size_t before = out->n;
    uint32_t id = BR__TOK_NONE;
    if (p->n <= t->vocab.longest) {
        /* hash 0: it was in the cache until another piece of the group took its line */
        uint64_t hash = p->hash ? p->hash : br__tok_hash(p->s, p->n, 0);
        id = br__tok_vocab_probe(&t->vocab, hash, p->s, p->n);
    }
    if (id == BR__TOK_NONE)
        return merge_piece(t, w, p->s, p->n, out);
    int whole = atomic_load_explicit(&t->whole[id], memory_order_relaxed);
    if (whole == WHOLE_YES || (t->ignore_merges && t->vocab.flags[id] & BR__TOK_VOCAB)) {
        if (br__tok_ids_reserve(out, 1))
            return BR_E_NOMEM;
        out->p[out->n++] = (int32_t)id;
        return BR_OK;
    }
    int rc = merge_piece(t, w, p->s, p->n, out);
    if (!rc && !whole) {
        int yes = out->n == before + 1 && out->p[before] == (int32_t)id;
        atomic_store_explicit(&t->whole[id], yes ? WHOLE_YES : WHOLE_NO, memory_order_relaxed);
    }
    return rc;
}

/* The first n of 32 bytes are kept, the rest is zero. */
static inline void load_key(uint64_t key[4], const unsigned char *s, size_t n, size_t room)
{
    static const unsigned char keep[64] = {
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
        255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255,
    };
    uint64_t mask[4];
    if (room >= 32) {
        memcpy(key, s, 32);
        memcpy(mask, keep + 32 - n, 32);
        for (int i = 0; i < 4; i++)
            key[i] &= mask[i];
    } else {
        memset(key, 0, 32);
        memcpy(key, s, n);
    }
    /* Bytes of a key are numbered from the low end of its words on the machines we run on. */
    key[3] |= (uint64_t)n << 56;
}

static inline size_t cache_slot(const uint64_t key[4])
{
    uint64_t h = key[0] * UINT64_C(0x9E3779B97F4A7C15) + key[1] * UINT64_C(0xC2B2AE3D27D4EB4F) +
                 key[2] * UINT64_C(0x165667B19E3779F9) + key[3] * UINT64_C(0xD6E8FEB86659FD93);
    h ^= h >> 32;
    return (size_t)((h * UINT64_C(0x9E3779B97F4A7C15)) >> (64 - BR__TOK_CACHE_BITS));
}

void br__tok_piece_init(struct br__tok_piece *p, struct br__tok_work *w, const unsigned char *s,
                        size_t n, size_t room)
{
    p->s = s;
    p->n = n;
    p->line = NULL;
    p->hash = 0;
    if (n < 2 || n > BR__TOK_CACHED_BYTES)
        return;
    load_key(p->key, s, n, room);
    p->line = &w->cache[cache_slot(p->key)];
    __builtin_prefetch(p->line);
}

static inline int is_cached(const struct br__tok_piece *p)
{
    const struct br__tok_cached *c = p->line;
    return c && !((c->key[0] ^ p->key[0]) | (c->key[1] ^ p->key[1]) | (c->key[2] ^ p->key[2]) |
                  (c->key[3] ^ p->key[3]));
}

static int put_piece(const struct br_tokenizer *t, struct br__tok_work *w,
                     const struct br__tok_piece *p, struct br_ids *out)
{
    struct br__tok_cached *c = p->line;
    size_t before = out->n;
    if (br__tok_ids_reserve(out, BR__TOK_CACHED_IDS))
        return BR_E_NOMEM;
    if (is_cached(p)) {
        memcpy(out->p + before, c->ids, sizeof c->ids);
        out->n += c->n;
        return BR_OK;
    }
    if (p->n == 1 && !t->vocab.plain) {
        out->p[out->n++] = (int32_t)t->merges.byte_id[*p->s];
        return BR_OK;
    }
    int rc = new_piece(t, w, p, out);
    if (rc || !c || out->n - before > BR__TOK_CACHED_IDS)
        return rc;
    memcpy(c->key, p->key, sizeof c->key);
    c->n = (uint32_t)(out->n - before);
    memcpy(c->ids, out->p + before, c->n * sizeof *c->ids);
    return BR_OK;
}

int br__tok_pieces_put(const struct br_tokenizer *t, struct br__tok_work *w,
                       struct br__tok_piece *p, size_t n, struct br_ids *out)
{
    const struct br__tok_vocab *v = &t->vocab;
    for (size_t i = 0; i < n; i++) {
        if (p[i].n == 1 || p[i].n > v->longest || is_cached(&p[i]))
            continue;
        p[i].hash = br__tok_hash(p[i].s, p[i].n, 0);
        __builtin_prefetch(&v->slots[p[i].hash & (v->cap - 1)]);
    }
    int rc = BR_OK;
    for (size_t i = 0; i < n && !rc; i++)
        rc = put_piece(t, w, &p[i], out);
    return rc;
}

/* ---- working memory -------------------------------------------------------------------------- */

#define CACHE_BYTES (sizeof(struct br__tok_cached) << BR__TOK_CACHE_BITS)
/* Largest size of a growing array that is kept from call to call. */
enum { KEEP_PARTS = 1 << 12, KEEP_NFC = 1 << 18 };

int br__tok_work_new(struct br__tok_work **out)
{
    struct br__tok_work *w = br__calloc(1, sizeof *w);
    *out = w;
    if (!w)
        return BR_E_NOMEM;
    /* A zeroed line has length 0, which no piece has. */
    w->cache_block = br__calloc(1, CACHE_BYTES + 63);
    if (!w->cache_block) {
        br__tok_work_free(w);
        *out = NULL;
        return BR_E_NOMEM;
    }
    w->cache = (void *)(((uintptr_t)w->cache_block + 63) & ~(uintptr_t)63);
    return BR_OK;
}

void br__tok_work_free(struct br__tok_work *w)
{
    if (!w)
        return;
    br__free(w->cache_block);
    br__free(w->merging.block);
    br__buf_free(&w->nfc);
    br__buf_free(&w->normalized.text[0]);
    br__buf_free(&w->normalized.text[1]);
    for (size_t i = 0; i < BR_COUNTOF(w->levels); i++) {
        br__buf_free(&w->levels[i].text);
        br__tok_splitter_free(&w->levels[i].splitter);
    }
    br__tok_splitter_free(&w->splitter);
    br__free(w);
}

/* The bytes that are left of a buffer. */
static size_t trim_text(struct br__buf *b)
{
    if (b->cap > KEEP_NFC)
        br__buf_free(b);
    return b->cap;
}

size_t br__tok_work_trim(struct br__tok_work *w)
{
    size_t texts =
        trim_text(&w->nfc) + trim_text(&w->normalized.text[0]) + trim_text(&w->normalized.text[1]);
    for (size_t i = 0; i < BR_COUNTOF(w->levels); i++)
        texts += trim_text(&w->levels[i].text);
    if (w->merging.cap > KEEP_PARTS) {
        br__free(w->merging.block);
        w->merging = (struct br__tok_merging){0};
    }
    /* A part takes its struct, a key and a byte, and 1/15 of the latter two on higher levels. */
    return sizeof *w + CACHE_BYTES + texts + w->merging.cap * (sizeof(struct br__tok_part) + 6);
}
