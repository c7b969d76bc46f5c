/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tok.h - shared by the files of the tokenizer and by nobody else.
 *
 *   tokenizer.c   the public calls: open, encode, questions; working memory
 *   load.c    the files of a directory -> tables
 *   json.c    tokenizer.json and vocab.json, read without a tree
 *   parts.c   the parts of tokenizer.json around its model: a row per kind
 *   steps.c   normalizers and pre-tokenizers other than Qwen's
 *   ranges.c  which bytes of the text a token is
 *   vocab.c   token <-> bytes
 *   merges.c  pair of ids -> merge
 *   added.c   added tokens, found in text
 *   norm.c    Unicode: classes of characters, NFC                 (the only user of utf8proc)
 *   split.c   text -> pieces that are encoded on their own        (the only user of PCRE2)
 *   bpe.c     piece -> ids
 *   decode.c  ids -> text
 *
 * Text takes the way of Hugging Face's tokenizers: added tokens are cut out, the rest is
 * normalized, split into pieces by a pattern, and each piece is merged from single bytes; or, where
 * the vocabulary is plain, from single characters. */
#ifndef BRIDGE_CORE_TOK_H
#define BRIDGE_CORE_TOK_H

#include "../../base/base.h"

#include <bridge/tokenizer.h>
#include <pthread.h>
#include <string.h>

/* Limits of the packed tables: an id has 22 bits, a merge's rank 20, together with a pair of ids
 * they fill 64.  Qwen has 151669 ids and 151387 merges. */
#define BR__TOK_ID_BITS 22
#define BR__TOK_RANK_BITS 20
#define BR__TOK_MAX_IDS ((1u << BR__TOK_ID_BITS) - 1)
#define BR__TOK_MAX_MERGES ((1u << BR__TOK_RANK_BITS) - 1)
#define BR__TOK_NONE UINT32_MAX

/* ---- vocab.c: token <-> bytes ---------------------------------------------------------------- */

/* Limits on the length of a token and on a run of collisions, and the number of entries that are
 * inserted together. */
#define BR__TOK_MAX_BYTES 0xFFFFu
#define BR__TOK_MAX_PROBES 512
#define BR__TOK_BATCH 64
#define BR__TOK_TAG_MASK (UINT64_MAX << BR__TOK_ID_BITS)

enum {
    BR__TOK_VOCAB = 1,   /* of the model's vocabulary                    */
    BR__TOK_ADDED = 2,   /* cut out of the text before anything else     */
    BR__TOK_SPECIAL = 4, /* left out by BR_TOK_SKIP_SPECIAL              */
    BR__TOK_RENAMED = 8  /* shown by another text, that of struct br__tok_shown */
};

/* Where a token's bytes are.  raw: its spelling has characters that stand for no byte, so these
 * bytes are those of the spelling and no piece of text is this token. */
struct br__tok_span {
    uint32_t at;
    uint32_t n : 31, raw : 1;
};
struct br__tok_new {
    struct br__tok_span span;
    uint32_t id;
    uint8_t flags;
    uint64_t hash;
};
struct br__tok_vocab {
    int plain;                 /* a spelling is the text itself, not a character per byte */
    struct br__buf bytes;      /* of all tokens, in insertion order */
    struct br__tok_span *span; /* [n_ids] bytes of an id                         */
    uint8_t *flags;            /* [n_ids] 0: no token has this id                */
    size_t n_ids, cap_ids;
    size_t n;        /* tokens in `slots`                    */
    uint64_t *slots; /* [cap] hash tag over id; ~0 is free   */
    size_t cap;
    size_t longest; /* bytes of the longest token            */
    size_t n_batch; /* added, but not yet in the table       */
    struct br__tok_new batch[BR__TOK_BATCH];
};

/* Reserve room for `expected` tokens; there may be more. */
int br__tok_vocab_init(struct br__tok_vocab *v, size_t expected, struct br_err *err) BR_MUST_CHECK;
/* Add a token in the files' spelling; n bytes of UTF-8.  It can be found after br__tok_vocab_flush,
 * which may also report its error. */
int br__tok_vocab_add(struct br__tok_vocab *v, const char *spelled, size_t n, int64_t id,
                      unsigned flags, struct br_err *err) BR_MUST_CHECK;
int br__tok_vocab_flush(struct br__tok_vocab *v, struct br_err *err) BR_MUST_CHECK;
/* Ids, or BR__TOK_NONE: of a spelling; of bytes, among the tokens that are not raw. */
uint32_t br__tok_vocab_spelled(const struct br__tok_vocab *v, const char *spelled, size_t n);
uint32_t br__tok_vocab_find(const struct br__tok_vocab *v, const void *bytes, size_t n);
/* The same, h = br__tok_hash(bytes, n, 0). */
uint32_t br__tok_vocab_probe(const struct br__tok_vocab *v, uint64_t h, const void *bytes,
                             size_t n);
void br__tok_vocab_free(struct br__tok_vocab *v);
uint64_t br__tok_hash(const void *bytes, size_t n, int raw);

/* Pack up to 8 bytes into a number; different strings of n bytes give different numbers.  Reads
 * overlapping words, because a memcpy of n bytes would be a call. */
static inline uint64_t br__tok_few_bytes(const void *bytes, size_t n)
{
    const unsigned char *s = bytes;
    uint64_t eight;
    uint32_t low, high;
    if (n == 8)
        return memcpy(&eight, s, 8), eight;
    if (n < 4)
        return n ? s[0] | (uint64_t)s[n / 2] << 8 | (uint64_t)s[n - 1] << 16 : 0;
    memcpy(&low, s, 4);
    memcpy(&high, s + n - 4, 4);
    return low | (uint64_t)high << 32;
}

static inline int br__tok_vocab_is(const struct br__tok_vocab *v, uint32_t id, const void *bytes,
                                   size_t n, int raw)
{
    const struct br__tok_span sp = v->span[id];
    const char *own = v->bytes.p + sp.at;
    if (sp.n != n || sp.raw != (raw != 0))
        return 0;
    return n <= 8 ? br__tok_few_bytes(own, n) == br__tok_few_bytes(bytes, n)
                  : memcmp(own, bytes, n) == 0;
}

/* The byte that a character of a spelling stands for, or -1.  Spellings have one printable
 * character per byte, as GPT-2's: printable bytes stand for themselves, the others, in order, are
 * U+0100, U+0101 ... */
int br__tok_byte_of(uint32_t c);
/* The contrary: append the spelling of n bytes. */
void br__tok_spell(struct br__buf *out, const unsigned char *s, size_t n);
/* Bytes of a spelling of n bytes into dst, which has room for n; the number of them, or -1 if a
 * character stands for no byte. */
int64_t br__tok_spelled_bytes(const char *spelled, size_t n, char *dst);

/* ---- merges.c: pair of ids -> merge ---------------------------------------------------------- */

/* Most pairs that are looked up are no merge.  These bits, which stay in the processor's cache when
 * the table does not, reject six of seven. */
#define BR__TOK_SEEN_BITS 20

struct br__tok_pair {
    uint32_t at, n[2]; /* bytes of the first token, those of the second follow */
    uint32_t guess[2];
    uint64_t hash[2];
};
struct br__tok_merges {
    uint64_t *slots; /* [1 << bits] left id, right id, rank; ~0 is free */
    int bits;
    uint64_t *seen; /* [1 << BR__TOK_SEEN_BITS >> 6] a bit per hash of a pair       */
    uint32_t *made; /* [n] id that merge `rank` makes                               */
    size_t n, cap;
    uint32_t byte_id[256]; /* of a plain vocabulary: of <0xNN>, which stands for a byte; or NONE */
    uint32_t *byte_pair;   /* [256 * 256] rank of a pair of bytes, or BR__TOK_NONE */
    struct br__tok_pair *batch; /* [BR__TOK_BATCH] added, but not yet in the table      */
    size_t n_batch;
    struct br__buf bytes; /* of the batch */
};
/* After the whole vocabulary, which must have all single bytes of UTF-8, unless it is plain. */
int br__tok_merges_init(struct br__tok_merges *m, const struct br__tok_vocab *v, size_t expected,
                        struct br_err *err) BR_MUST_CHECK;
/* The next merge, of two spelled tokens; its rank is the number of merges before it. */
int br__tok_merges_add(struct br__tok_merges *m, const struct br__tok_vocab *v, const char *left,
                       size_t n_left, const char *right, size_t n_right,
                       struct br_err *err) BR_MUST_CHECK;
int br__tok_merges_flush(struct br__tok_merges *m, const struct br__tok_vocab *v,
                         struct br_err *err) BR_MUST_CHECK;
void br__tok_merges_free(struct br__tok_merges *m);

static inline uint64_t br__tok_pair_hash(uint64_t pair)
{
    return pair * UINT64_C(0x9E3779B97F4A7C15);
}

static inline size_t br__tok_pair_slot(int bits, uint64_t pair)
{
    return (size_t)(br__tok_pair_hash(pair) >> (64 - bits));
}

/* Rank of the merge of two ids, or BR__TOK_NONE. */
static inline uint32_t br__tok_pair_rank(const struct br__tok_merges *m, uint32_t left,
                                         uint32_t right)
{
    uint64_t pair = (uint64_t)left << BR__TOK_ID_BITS | right;
    size_t mask = ((size_t)1 << m->bits) - 1;
    size_t bit = br__tok_pair_slot(BR__TOK_SEEN_BITS, pair);
    if (!(m->seen[bit / 64] >> bit % 64 & 1))
        return BR__TOK_NONE;
    for (size_t i = br__tok_pair_slot(m->bits, pair);; i = (i + 1) & mask) {
        uint64_t slot = m->slots[i];
        if (slot >> BR__TOK_RANK_BITS == pair)
            return (uint32_t)slot & BR__TOK_MAX_MERGES;
        if (slot == UINT64_MAX)
            return BR__TOK_NONE;
    }
}

/* ---- added.c: added tokens in text ----------------------------------------------------------- */

enum { BR__TOK_LSTRIP = 1, BR__TOK_RSTRIP = 2 };

/* A tree of bytes; node 0 is the root.  Empty without nodes. */
struct br__tok_added {
    struct br__tok_added_node *nodes;
    size_t n, cap;
    uint8_t starts[256]; /* some token begins with this byte */
    int n_starts, start; /* start: one such byte             */
};
struct br__tok_match {
    size_t start, end; /* including the blanks that the token takes */
    uint32_t id;
};
int br__tok_added_put(struct br__tok_added *a, const char *text, size_t n, uint32_t id,
                      unsigned strip, struct br_err *err) BR_MUST_CHECK;
/* Find the leftmost, then longest match at or after `from`: 1, or 0 if there is none. */
int br__tok_added_find(const struct br__tok_added *a, const unsigned char *s, size_t n, size_t from,
                       struct br__tok_match *out);
void br__tok_added_free(struct br__tok_added *a);

/* ---- norm.c: Unicode ------------------------------------------------------------------------- */

enum {
    BR__TOK_OTHER,
    BR__TOK_LETTER, /* \p{L} */
    BR__TOK_NUMBER, /* \p{N} */
    BR__TOK_SPACE,  /* \s    */
    BR__TOK_CLASS = 3,
    BR__TOK_CARE = 4, /* may not be NFC, depending on what precedes it */
    BR__TOK_COMPOSES = 8
};
/* What is above the third plane has no letters, numbers, blanks or compositions. */
#define BR__TOK_PROPS_END 0x40000u
struct br__tok_unicode {
    uint8_t pairs[BR__TOK_PROPS_END / 2]; /* 4 bits a character */
};
void br__tok_unicode_init(struct br__tok_unicode *u);

static inline unsigned br__tok_props(const struct br__tok_unicode *u, uint32_t c)
{
    return c < BR__TOK_PROPS_END ? u->pairs[c >> 1] >> ((c & 1) * 4) & 15u : BR__TOK_OTHER;
}

/* The character at s, which begins a valid one; *n is its length in bytes. */
static inline uint32_t br__tok_char(const unsigned char *s, size_t *n)
{
    if (s[0] < 0x80)
        return *n = 1, s[0];
    if (s[0] < 0xE0)
        return *n = 2, (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3Fu);
    if (s[0] < 0xF0)
        return *n = 3, (uint32_t)(s[0] & 0x0F) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
    return *n = 4, (uint32_t)(s[0] & 0x07) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 |
                       (s[3] & 0x3Fu);
}

/* char::is_numeric, and tokenizers' is_punctuation. */
int br__tok_is_numeric(const struct br__tok_unicode *u, uint32_t c);
int br__tok_is_punctuation(uint32_t c);

/* NFC of n bytes of valid UTF-8.  *out is `s` itself where it is NFC already, else held by buf,
 * whose content it replaces. */
int br__tok_nfc(const struct br__tok_unicode *u, const unsigned char *s, size_t n,
                struct br__buf *buf, const unsigned char **out, size_t *n_out,
                struct br_err *err) BR_MUST_CHECK;

/* ---- split.c: text -> pieces ----------------------------------------------------------------- */

extern const char br__tok_qwen2_pattern[];
extern const char br__tok_gpt2_pattern[];

struct br__tok_split; /* a pattern compiled by PCRE2 */
int br__tok_split_open(struct br__tok_split **out, const char *pattern,
                       struct br_err *err) BR_MUST_CHECK;
/* The same for a text that is looked for as it is. */
int br__tok_split_open_text(struct br__tok_split **out, const char *text,
                            struct br_err *err) BR_MUST_CHECK;
void br__tok_split_close(struct br__tok_split *p);

/* One text being split by a pattern; its memory is kept from text to text. */
struct br__tok_splitter {
    void *match;             /* PCRE2's own */
    size_t start, end, done; /* the match found last; what was given out */
};
void br__tok_splitter_free(struct br__tok_splitter *sp);
/* End of the piece that starts at `at`, in n > at bytes of valid UTF-8; at == 0 starts a text. */
int br__tok_split_next(const struct br__tok_split *p, struct br__tok_splitter *sp,
                       const unsigned char *s, size_t n, size_t at, size_t *end,
                       struct br_err *err) BR_MUST_CHECK;
/* The next match at or after `at`, in sp->start and sp->end; where there is none, an empty one at
 * n. */
int br__tok_split_find(const struct br__tok_split *p, struct br__tok_splitter *sp,
                       const unsigned char *s, size_t n, size_t at,
                       struct br_err *err) BR_MUST_CHECK;
/* The same as br__tok_split_next for br__tok_qwen2_pattern, by hand: cannot fail and needs no
 * memory. */
const unsigned char *br__tok_qwen2_next(const struct br__tok_unicode *u, const unsigned char *s,
                                        const unsigned char *end);

/* ---- parts.c, steps.c: text before it is encoded, tokens after ------------------------------- */

enum { BR__TOK_MAX_STEPS = 24, BR__TOK_MAX_NORMS = 8, BR__TOK_MAX_SPECIALS = 16 };

enum br__tok_norm_kind { BR__TOK_NFC, BR__TOK_PREPEND, BR__TOK_REPLACE };
struct br__tok_norm {
    int kind;              /* enum br__tok_norm_kind */
    const char *from, *to; /* REPLACE: neither empty `from`; PREPEND: to */
};

enum br__tok_step_kind {
    BR__TOK_SPLIT,
    BR__TOK_DIGITS,
    BR__TOK_PUNCTUATION,
    /* these change the text and do not split it */
    BR__TOK_PREFIX, /* a blank in front, unless there is one */
    BR__TOK_METASPACE
};
enum br__tok_behavior { /* of what matches */
                        BR__TOK_ISOLATED,
                        BR__TOK_REMOVED,
                        BR__TOK_MERGED_PREVIOUS,
                        BR__TOK_MERGED_NEXT,
                        BR__TOK_CONTIGUOUS
};
enum br__tok_scheme { BR__TOK_ALWAYS, BR__TOK_FIRST, BR__TOK_NEVER };
struct br__tok_step {
    int kind;     /* enum br__tok_step_kind */
    int behavior; /* enum br__tok_behavior */
    int invert;   /* what does not match is what matches */
    int spelled;  /* it sees a character per byte, since a ByteLevel precedes it */
    int scheme;   /* METASPACE: enum br__tok_scheme */
    struct br__tok_split *split;
    const char *text; /* METASPACE: what stands for a blank */
};

/* From tokens to text, for a plain vocabulary. */
struct br__tok_decoder {
    struct br__tok_norm replace[4];
    size_t n_replace;
    const char *metaspace; /* becomes a blank, in the first token nothing; or NULL */
    int metaspace_scheme;
    int byte_fallback;
    int stage;         /* kinds have an order: that of the last one read */
    const char *strip; /* goes from the beginning of the text, at most n_strip times; or NULL */
    int64_t n_strip;
};

/* Ids that the post-processor puts before and behind a text. */
struct br__tok_specials {
    int32_t id[2][BR__TOK_MAX_SPECIALS];
    size_t n[2];
};

/* Append s with every r->from replaced by r->to. */
void br__tok_replace(struct br__buf *out, const unsigned char *s, size_t n,
                     const struct br__tok_norm *r);
/* Run the normalizers of a tokenizer that has others than NFC: *s and *n become the result, in x.
 */
struct br__tok_texts {
    struct br__buf text[2];
};
int br__tok_normalize(const struct br_tokenizer *t, struct br__tok_texts *x,
                      const unsigned char **s, size_t *n, struct br_err *err) BR_MUST_CHECK;

/* Run the steps on a piece of valid UTF-8 and hand each part to `put`; at_start: the piece begins
 * the text. */
struct br__tok_cutting {
    const struct br_tokenizer *t;
    struct br__tok_work *w;
    int (*put)(void *to, const unsigned char *s, size_t n);
    void *to;
    struct br_err *err;
};
int br__tok_steps_run(const struct br__tok_cutting *c, const unsigned char *s, size_t n,
                      int at_start) BR_MUST_CHECK;

/* ---- ranges.c: where tokens are -------------------------------------------------------------- */

struct br__tok_range {
    size_t begin, end; /* bytes of the text */
};
struct br__tok_ranges {
    const unsigned char *text;
    struct br__tok_range *p; /* one per id; the caller's (br__free) */
    size_t n, cap;
};
/* BR_E_UNSUPPORTED for a tokenizer of which that is not known. */
int br__tok_ranges_begin(struct br__tok_ranges *r, const struct br_tokenizer *t,
                         const unsigned char *text, struct br_err *err) BR_MUST_CHECK;
int br__tok_ranges_put(struct br__tok_ranges *r, const unsigned char *s, size_t n,
                       struct br_err *err) BR_MUST_CHECK;
/* Of the ids from `first` on, which are those of s[0, n). */
int br__tok_ranges_add(struct br__tok_ranges *r, const struct br_tokenizer *t,
                       const unsigned char *s, size_t n, const struct br_ids *ids, size_t first,
                       struct br_err *err) BR_MUST_CHECK;
/* Encode, with a range for each id. */
int br__tok_encode_ranges(const struct br_tokenizer *t, const char *text, size_t n,
                          struct br_ids *out, struct br__tok_ranges *ranges,
                          struct br_err *err) BR_MUST_CHECK;

/* ---- working memory of one call -------------------------------------------------------------- */

/* A piece and its ids: one cache line of the processor.  Direct-mapped: a new piece replaces the
 * old one.  4 MiB, because merging a piece costs more than the slowest memory access. */
enum { BR__TOK_CACHED_BYTES = 31, BR__TOK_CACHED_IDS = 7, BR__TOK_CACHE_BITS = 16 };
struct br__tok_cached {
    uint64_t key[4]; /* the bytes, zeros, and in the last one the length */
    uint32_t n;
    int32_t ids[BR__TOK_CACHED_IDS];
};
_Static_assert(sizeof(struct br__tok_cached) == 64, "one line");

/* One position of a piece being merged: the token that begins here, or none. */
struct br__tok_part {
    uint32_t id, next, prev;
};
/* A piece being merged.  keys[0][i] is the rank of the merge of part i with the next one, keys[l +
 * 1][i] the lowest of 16 keys of level l: finding the lowest of all, or changing one, takes one
 * step per level.  The low 4 bits of a key are its index among the 16. */
enum { BR__TOK_LEVELS = 8 };
struct br__tok_merging {
    struct br__tok_part *parts;
    int32_t *keys[BR__TOK_LEVELS];
    uint8_t *won[BR__TOK_LEVELS]; /* index of the lowest among its 16 */
    size_t cap;
    void *block; /* holds all of them */
};

struct br__tok_work {
    struct br__tok_work *next;
    size_t bytes; /* as counted in the pool */
    void *cache_block;
    struct br__tok_cached *cache; /* [1 << BR__TOK_CACHE_BITS], in cache_block */
    struct br__tok_merging merging;
    struct br__tok_splitter splitter;
    struct br__buf nfc;
    struct br__tok_texts normalized;
    struct br__tok_level { /* of a step */
        struct br__tok_splitter splitter;
        struct br__buf text;
    } levels[BR__TOK_MAX_STEPS];
};

/* An added token that was normalized: decoding shows what it became. */
struct br__tok_shown {
    uint32_t id;
    const char *text;
    size_t n;
};

struct br_tokenizer {
    struct br__arena arena; /* texts below */
    struct br__tok_shown *shown;
    size_t n_shown, cap_shown;
    struct br__tok_vocab vocab;
    struct br__tok_merges merges;
    struct br__tok_added added[2]; /* found before normalization, and after it */
    struct br__tok_unicode unicode;
    /* What nearly all byte-level tokenizers do: NFC or nothing, and one pattern. */
    int nfc;
    struct br__tok_split *split; /* NULL: br__tok_qwen2_next */
    /* What others do. */
    int spelled;      /* while reading: a ByteLevel was there */
    int trim_offsets; /* 1: blanks at a token's ends are not its; 2: but for one before the text */
    int by_steps;     /* the steps, of which there may be none, in place of the pattern */
    struct br__tok_norm norms[BR__TOK_MAX_NORMS]; /* none: NFC or nothing */
    struct br__tok_step steps[BR__TOK_MAX_STEPS];
    size_t n_norms, n_steps;
    struct br__tok_decoder decoder;
    struct br__tok_specials specials;
    int byte_fallback, fuse_unk; /* of a plain vocabulary's model */
    uint32_t unk;                /* or BR__TOK_NONE */
    const char *unk_text;
    int ignore_merges; /* a piece that is a token is that token, whatever merges say */
    const char *roles[BR_N_TOK_ROLES];
    /* [n_ids] does merging the token's own bytes give the token?  Learned when first asked. */
    _Atomic uint8_t *whole;
    struct br__tok_pool *pool;
};

/* Working memory that no call uses now.  Many threads encode short texts: each finds what it used
 * last, whose cache its own CPU holds, without the lock. */
#define BR__TOK_OWN_BITS 6
struct br__tok_pool {
    _Atomic(struct br__tok_work *)
        own[1 << BR__TOK_OWN_BITS]; /* by thread; NULL: in use, or none */
    pthread_mutex_t lock;
    struct br__tok_work *idle; /* for which there was no room in `own` */
    size_t bytes;              /* of all working memory, in use or not, when last given back */
};

/* ---- bpe.c ----------------------------------------------------------------------------------- */

/* A piece of n > 0 bytes being encoded, and its line in the cache. */
struct br__tok_piece {
    const unsigned char *s;
    size_t n;
    struct br__tok_cached *line; /* NULL: it is never cached */
    uint64_t key[4];
    uint64_t hash; /* hash as the vocabulary computes it; 0: not computed yet */
};
/* Pieces that are worked on together. */
#define BR__TOK_TOGETHER 32
/* `room` bytes may be read from s on. */
void br__tok_piece_init(struct br__tok_piece *p, struct br__tok_work *w, const unsigned char *s,
                        size_t n, size_t room);
/* Append the ids of n pieces. */
int br__tok_pieces_put(const struct br_tokenizer *t, struct br__tok_work *w,
                       struct br__tok_piece *p, size_t n, struct br_ids *out) BR_MUST_CHECK;
int br__tok_work_new(struct br__tok_work **out) BR_MUST_CHECK;
void br__tok_work_free(struct br__tok_work *w);
/* Free what an unusually large text needed; returns the bytes that are left. */
size_t br__tok_work_trim(struct br__tok_work *w);
int br__tok_ids_reserve(struct br_ids *ids, size_t more) BR_MUST_CHECK;

/* ---- json.c, load.c -------------------------------------------------------------------------- */

/* An added token as a file describes it; the text is in the tokenizer's arena. */
struct br__tok_row {
    const char *text;
    int64_t id;
    int special, normalized, lstrip, rstrip;
};
struct br__tok_rows {
    struct br__tok_row *p;
    size_t n, cap;
    struct br__map by_text;
};
/* tokenizer.json: fills vocab, merges, what is done to text, ignore_merges, and the rows. */
int br__tok_json_read(struct br_tokenizer *t, struct br__tok_rows *rows, const char *text, size_t n,
                      struct br_err *err) BR_MUST_CHECK;
/* vocab.json: an object of spelled token -> id, next in j. */
int br__tok_json_vocab(struct br_tokenizer *t, struct br__jscan *j,
                       struct br_err *err) BR_MUST_CHECK;
/* The parts of tokenizer.json around its model, in this order.  j may be NULL: absent. */
enum br__tok_part_kind {
    BR__TOK_NORMALIZER,
    BR__TOK_PRE_TOKENIZER,
    BR__TOK_POST_PROCESSOR,
    BR__TOK_DECODER,
    BR__TOK_N_PARTS
};
extern const char *const br__tok_part_names[BR__TOK_N_PARTS];
int br__tok_part_use(struct br_tokenizer *t, int part, const br__json *j,
                     struct br_err *err) BR_MUST_CHECK;
/* Does a pre-tokenizer spell bytes? */
int br__tok_is_byte_level(const br__json *pre_tokenizer);
/* After all parts: steps that are one isolated pattern become t->split. */
void br__tok_parts_settle(struct br_tokenizer *t);
int br__tok_unsupported(struct br_err *err, const char *part, const char *got,
                        const char *expected);
/* One row from its JSON object.  A row of the same text is replaced. */
int br__tok_row_put(struct br_tokenizer *t, struct br__tok_rows *rows, const br__json *j,
                    int64_t id, struct br_err *err) BR_MUST_CHECK;
/* Read the directory's files and derive the tables. */
int br__tok_load(struct br_tokenizer *t, const char *dir, struct br_err *err) BR_MUST_CHECK;
/* End of loading: put the added tokens of all files into vocabulary and trees. */
int br__tok_rows_use(struct br_tokenizer *t, const struct br__tok_rows *rows,
                     struct br_err *err) BR_MUST_CHECK;

#endif
