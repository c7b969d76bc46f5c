/* tok_vocab.c - the tokenizer's tables: token <-> bytes, pair of ids -> merge.
 *
 * Both hash tables probe linearly.  A file could be made so that all its keys collide; a run of
 * probes that no honest file needs is an error, so that opening and encoding stay linear.
 *
 * Spelling of bytes: GPT-2's bytes_to_unicode, as in tokenizers' ByteLevel. */
#include "tok.h"

#include <string.h>

#define MAX_PROBES 512
#define TAG_MASK (UINT64_MAX << BR__TOK_ID_BITS)

/* ---- spelling ---------------------------------------------------------------------------------- */

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

/* Bytes of a spelling into dst, which has room for n; the number of them, or -1 if a character
 * stands for no byte. */
static int64_t spelled_bytes(const char *spelled, size_t n, char *dst)
{
    const unsigned char *s = (const unsigned char *)spelled;
    size_t at = 0, out = 0, len;
    while (at < n) {
        int b = br__tok_byte_of(br__tok_char(s + at, &len));
        if (b < 0)
            return -1;
        dst[out++] = (char)b;
        at += len;
    }
    return (int64_t)out;
}

/* ---- hash table of the vocabulary --------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

/* Also of raw tokens, whose bytes may be those of a token that is not raw. */
static uint64_t hash(const void *bytes, size_t n, int raw)
{
    const unsigned char *s = bytes;
    uint64_t h = mix(n, (uint64_t)raw), v;
    for (; n > 8; n -= 8, s += 8) {
        memcpy(&v, s, 8);
        h = mix(h, v);
    }
    v = 0;
    memcpy(&v, s, n);
    return mix(mix(h, v), 0);
}

static int same(const struct br__tok_vocab *v, uint32_t id, const void *bytes, size_t n, int raw)
{
    const struct br__tok_span *sp = &v->span[id];
    return sp->n == n && !(v->flags[id] & BR__TOK_RAW) == !raw &&
           memcmp(v->bytes.p + sp->at, bytes, n) == 0;
}

/* Id of the token with these bytes, or BR__TOK_NONE with *free_at the slot where it belongs
 * (SIZE_MAX: too many collisions). */
static uint32_t lookup(const struct br__tok_vocab *v, const void *bytes, size_t n, int raw,
                       size_t *free_at)
{
    uint64_t h = hash(bytes, n, raw);
    size_t i = h & (v->cap - 1);
    for (int probe = 0; probe < MAX_PROBES; probe++, i = (i + 1) & (v->cap - 1)) {
        uint64_t slot = v->slots[i];
        if (slot == UINT64_MAX) {
            *free_at = i;
            return BR__TOK_NONE;
        }
        uint32_t id = (uint32_t)slot & BR__TOK_MAX_IDS;
        if (!((slot ^ h) & TAG_MASK) && same(v, id, bytes, n, raw))
            return id;
    }
    *free_at = SIZE_MAX;
    return BR__TOK_NONE;
}

uint32_t br__tok_vocab_find(const struct br__tok_vocab *v, const void *bytes, size_t n)
{
    size_t free_at;
    return n > v->longest ? BR__TOK_NONE : lookup(v, bytes, n, 0, &free_at);
}

static int make_slots(struct br__tok_vocab *v, size_t cap, struct br_err *err)
{
    uint64_t *slots = br__alloc(cap * sizeof *slots);
    if (!slots)
        return br_fail(err, BR_E_NOMEM, "out of memory for %zu tokens", cap);
    memset(slots, 0xFF, cap * sizeof *slots);
    uint64_t *old = v->slots;
    size_t n_old = v->cap;
    v->slots = slots;
    v->cap = cap;
    for (size_t k = 0; k < n_old; k++) {
        if (old[k] == UINT64_MAX)
            continue;
        uint32_t id = (uint32_t)old[k] & BR__TOK_MAX_IDS;
        const struct br__tok_span *sp = &v->span[id];
        uint64_t h = hash(v->bytes.p + sp->at, sp->n, v->flags[id] & BR__TOK_RAW);
        size_t i = h & (cap - 1);
        while (slots[i] != UINT64_MAX)
            i = (i + 1) & (cap - 1);
        slots[i] = (h & TAG_MASK) | id;
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

/* ---- adding tokens -------------------------------------------------------------------------------- */

static int room_for_id(struct br__tok_vocab *v, size_t id, struct br_err *err)
{
    if (id >= v->cap_ids) {
        size_t cap = BR__MIN(BR__MAX(BR__MAX(id + 1, v->cap_ids * 2), 1024), BR__TOK_MAX_IDS);
        struct br__tok_span *span = br__realloc(v->span, cap * sizeof *span);
        v->span = span ? span : v->span;
        uint8_t *flags = span ? br__realloc(v->flags, cap) : NULL;
        if (!flags)
            return br_fail(err, BR_E_NOMEM, "out of memory for %zu tokens", cap);
        v->flags = flags;
        memset(flags + v->cap_ids, 0, cap - v->cap_ids);
        memset(span + v->cap_ids, 0, (cap - v->cap_ids) * sizeof *span);
        v->cap_ids = cap;
    }
    v->n_ids = BR__MAX(v->n_ids, id + 1);
    return BR_OK;
}

/* Append the bytes that the token stands for; *raw if they are those of the spelling. */
static int put_bytes(struct br__tok_vocab *v, const char *spelled, size_t n, int *raw,
                     struct br_err *err)
{
    size_t at = v->bytes.n;
    br__buf_put(&v->bytes, spelled, n);
    if (v->bytes.failed)
        return br_fail(err, v->bytes.failed, "cannot hold the vocabulary in memory");
    int64_t len = spelled_bytes(spelled, n, v->bytes.p + at);
    *raw = len < 0;
    if (len < 0)
        memcpy(v->bytes.p + at, spelled, n);
    else
        v->bytes.n = at + (size_t)len;
    return BR_OK;
}

static int claim(struct br__tok_vocab *v, struct br__tok_span sp, const char *spelled, size_t n,
                 size_t id, int raw, unsigned flags, struct br_err *err)
{
    size_t slot;
    const char *bytes = v->bytes.p + sp.at;
    uint32_t other = lookup(v, bytes, sp.n, raw, &slot);
    if (other != BR__TOK_NONE)
        return br_fail(err, BR_E_FORMAT, "token '%.*s' has two ids, %u and %zu", (int)n, spelled,
                       other, id);
    if (v->flags[id])
        return br_fail(err, BR_E_FORMAT, "id %zu belongs to two tokens; the second is '%.*s'", id,
                       (int)n, spelled);
    if (slot == SIZE_MAX)
        return br_fail(err, BR_E_FORMAT, "too many tokens with the same hash, '%.*s' among them",
                       (int)n, spelled);
    v->slots[slot] = (hash(bytes, sp.n, raw) & TAG_MASK) | id;
    v->span[id] = sp;
    v->flags[id] = (uint8_t)(flags | (raw ? BR__TOK_RAW : 0u));
    v->longest = BR__MAX(v->longest, sp.n);
    v->n++;
    return BR_OK;
}

int br__tok_vocab_add(struct br__tok_vocab *v, const char *spelled, size_t n, int64_t id,
                      unsigned flags, struct br_err *err)
{
    int raw = 0;
    n = BR__MIN(n, INT32_MAX);
    if (id < 0 || id >= BR__TOK_MAX_IDS)
        return br_fail(err, BR_E_FORMAT, "token '%.*s' has id %lld, expected 0 to %u", (int)n,
                       spelled, (long long)id, BR__TOK_MAX_IDS - 1);
    if (n == 0)
        return br_fail(err, BR_E_FORMAT, "the token of id %lld is empty", (long long)id);
    if (v->n >= v->cap / 8 * 5) {
        int rc = make_slots(v, v->cap * 2, err);
        if (rc)
            return rc;
    }
    int rc = room_for_id(v, (size_t)id, err);
    size_t at = v->bytes.n;
    if (!rc)
        rc = put_bytes(v, spelled, n, &raw, err);
    if (rc)
        return rc;
    struct br__tok_span sp = {(uint32_t)at, (uint32_t)(v->bytes.n - at)};
    return claim(v, sp, spelled, n, (size_t)id, raw, flags, err);
}

/* Spellings beyond this are raw or no token of any use; they are looked up in memory of their own.
 */
enum { SHORT = 256 };

uint32_t br__tok_vocab_spelled(const struct br__tok_vocab *v, const char *spelled, size_t n)
{
    char room[SHORT], *bytes = n <= SHORT ? room : br__alloc(n);
    size_t free_at;
    if (!bytes)
        return BR__TOK_NONE;
    int64_t len = spelled_bytes(spelled, n, bytes);
    uint32_t id = len < 0 ? lookup(v, spelled, n, 1, &free_at)
                          : lookup(v, bytes, (size_t)len, 0, &free_at);
    if (bytes != room)
        br__free(bytes);
    return id;
}

/* ---- merges ------------------------------------------------------------------------------------------ */

static int make_pairs(struct br__tok_merges *m, int bits, struct br_err *err)
{
    size_t cap = (size_t)1 << bits;
    uint64_t *slots = br__alloc(cap * sizeof *slots), *old = m->slots;
    if (!slots)
        return br_fail(err, BR_E_NOMEM, "out of memory for %zu merges", cap);
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

int br__tok_merges_init(struct br__tok_merges *m, const struct br__tok_vocab *v, size_t expected,
                        struct br_err *err)
{
    int bits = 10;
    while (((size_t)1 << bits) / 8 * 5 < BR__MIN(expected, BR__TOK_MAX_MERGES))
        bits++;
    for (int b = 0; b < 256; b++) {
        unsigned char byte = (unsigned char)b;
        m->byte_id[b] = br__tok_vocab_find(v, &byte, 1);
        if (m->byte_id[b] == BR__TOK_NONE)
            return br_fail(err, BR_E_FORMAT,
                           "no token for byte 0x%02x; a byte-level vocabulary has all 256", b);
    }
    m->byte_pair = br__alloc(sizeof *m->byte_pair << 16);
    if (!m->byte_pair)
        return br_fail(err, BR_E_NOMEM, "out of memory for the merges");
    memset(m->byte_pair, 0xFF, sizeof *m->byte_pair << 16);
    return make_pairs(m, bits, err);
}

void br__tok_merges_free(struct br__tok_merges *m)
{
    br__free(m->slots);
    br__free(m->made);
    br__free(m->byte_pair);
    *m = (struct br__tok_merges){0};
}

/* The token that left and right make together.  Most files number tokens in the order of their
 * merges, so the one after the last is tried first. */
static uint32_t joined(const struct br__tok_merges *m, const struct br__tok_vocab *v, uint32_t left,
                       uint32_t right)
{
    const struct br__tok_span a = v->span[left], b = v->span[right];
    char room[SHORT];
    size_t n = (size_t)a.n + b.n;
    if (n > v->longest)
        return BR__TOK_NONE;
    char *bytes = n <= SHORT ? room : br__alloc(n);
    if (!bytes)
        return BR__TOK_NONE;
    memcpy(bytes, v->bytes.p + a.at, a.n);
    memcpy(bytes + a.n, v->bytes.p + b.at, b.n);
    uint32_t guess = m->n ? m->made[m->n - 1] + 1 : 0;
    uint32_t id = guess < v->n_ids && v->flags[guess] & BR__TOK_VOCAB && same(v, guess, bytes, n, 0)
                      ? guess
                      : br__tok_vocab_find(v, bytes, n);
    if (bytes != room)
        br__free(bytes);
    return id;
}

static int put_pair(struct br__tok_merges *m, uint32_t left, uint32_t right, struct br_err *err)
{
    uint64_t pair = (uint64_t)left << BR__TOK_ID_BITS | right;
    size_t mask = ((size_t)1 << m->bits) - 1, i = br__tok_pair_slot(m->bits, pair);
    int probe = 0;
    for (; m->slots[i] != UINT64_MAX; i = (i + 1) & mask, probe++) {
        if (m->slots[i] >> BR__TOK_RANK_BITS == pair)
            return br_fail(err, BR_E_FORMAT, "it is the same as merge %u",
                           (unsigned)(m->slots[i] & BR__TOK_MAX_MERGES));
        if (probe == MAX_PROBES)
            return br_fail(err, BR_E_FORMAT, "too many merges with the same hash");
    }
    m->slots[i] = pair << BR__TOK_RANK_BITS | m->n;
    return BR_OK;
}

int br__tok_merges_add(struct br__tok_merges *m, const struct br__tok_vocab *v, const char *left,
                       size_t n_left, const char *right, size_t n_right, struct br_err *err)
{
    uint32_t a = br__tok_vocab_spelled(v, left, n_left);
    uint32_t b = br__tok_vocab_spelled(v, right, n_right);
    int raw = 0;
    if (m->n >= BR__TOK_MAX_MERGES)
        return br_fail(err, BR_E_UNSUPPORTED, "more than %u merges", BR__TOK_MAX_MERGES);
    if (a != BR__TOK_NONE && b != BR__TOK_NONE)
        raw = (v->flags[a] | v->flags[b]) & BR__TOK_RAW;
    uint32_t made = a == BR__TOK_NONE || b == BR__TOK_NONE || raw ? BR__TOK_NONE : joined(m, v, a, b);
    if (made == BR__TOK_NONE || !(v->flags[made] & BR__TOK_VOCAB))
        return br_fail(err, BR_E_FORMAT,
                       "'%.*s' with '%.*s': expected two tokens of the vocabulary that make a third",
                       (int)BR__MIN(n_left, 200), left, (int)BR__MIN(n_right, 200), right);
    if (br__grow(&m->made, &m->cap, m->n, sizeof *m->made))
        return br_fail(err, BR_E_NOMEM, "out of memory for the merges");
    if (m->n >= ((size_t)1 << m->bits) / 8 * 5) {
        int rc = make_pairs(m, m->bits + 1, err);
        if (rc)
            return rc;
    }
    int rc = put_pair(m, a, b, err);
    if (rc)
        return rc;
    if (v->span[a].n == 1 && v->span[b].n == 1) {
        unsigned char first = (unsigned char)v->bytes.p[v->span[a].at];
        unsigned char second = (unsigned char)v->bytes.p[v->span[b].at];
        m->byte_pair[first << 8 | second] = (uint32_t)m->n;
    }
    m->made[m->n++] = made;
    return BR_OK;
}
