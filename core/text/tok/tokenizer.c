/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.c - the public calls: open, encode, questions; and the working memory of calls.  Text
 * is cut at added tokens, normalized, cut again at added tokens that are searched in normalized
 * text, split into pieces, and the pieces become ids.  Bytes that are not UTF-8 skip all of these
 * steps. */
#include "tok.h"

#include <stdatomic.h>
#include <string.h>

/* ---- working memory -------------------------------------------------------------------------- */

/* The place of this thread in `own`; threads may share one. */
static size_t own_place(void)
{
    static _Thread_local char here;
    return (size_t)(((uint64_t)(uintptr_t)&here >> 6) * UINT64_C(0x9E3779B97F4A7C15) >>
                    (64 - BR__TOK_OWN_BITS));
}

/* Another thread's is better than a new one. */
static struct br__tok_work *take_any(struct br__tok_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct br__tok_work *w = pool->idle;
    if (w)
        pool->idle = w->next;
    pthread_mutex_unlock(&pool->lock);
    for (size_t i = 0; i < BR_COUNTOF(pool->own) && !w; i++)
        w = atomic_exchange(&pool->own[i], NULL);
    return w;
}

static int take_work(struct br__tok_pool *pool, struct br__tok_work **out)
{
    *out = atomic_exchange(&pool->own[own_place()], NULL);
    if (!*out)
        *out = take_any(pool);
    return *out ? BR_OK : br__tok_work_new(out);
}

static void give_work(struct br__tok_pool *pool, struct br__tok_work *w)
{
    size_t bytes = br__tok_work_trim(w);
    struct br__tok_work *none = NULL;
    if (bytes != w->bytes) {
        pthread_mutex_lock(&pool->lock);
        pool->bytes += bytes - w->bytes;
        pthread_mutex_unlock(&pool->lock);
        w->bytes = bytes;
    }
    if (atomic_compare_exchange_strong(&pool->own[own_place()], &none, w))
        return;
    pthread_mutex_lock(&pool->lock);
    w->next = pool->idle;
    pool->idle = w;
    pthread_mutex_unlock(&pool->lock);
}

static void close_pool(struct br__tok_pool *pool)
{
    if (!pool)
        return;
    for (struct br__tok_work *w; (w = take_any(pool)) != NULL;)
        br__tok_work_free(w);
    pthread_mutex_destroy(&pool->lock);
    br__free(pool);
}

/* ---- open, close ----------------------------------------------------------------------------- */

int br_tokenizer_open(struct br_tokenizer **out, const char *dir, struct br_err *err)
{
    struct br_tokenizer *t = br__calloc(1, sizeof *t);
    *out = NULL;
    if (t)
        t->pool = br__calloc(1, sizeof *t->pool);
    if (!t || !t->pool) {
        br__free(t);
        return br__nomem(err, "opening a tokenizer");
    }
    pthread_mutex_init(&t->pool->lock, NULL);
    int rc = br__tok_load(t, dir, err);
    if (rc) {
        br_tokenizer_close(t);
        return rc;
    }
    *out = t;
    return BR_OK;
}

void br_tokenizer_close(struct br_tokenizer *t)
{
    if (!t)
        return;
    close_pool(t->pool);
    br__tok_vocab_free(&t->vocab);
    br__tok_merges_free(&t->merges);
    br__tok_added_free(&t->added[0]);
    br__tok_added_free(&t->added[1]);
    br__tok_split_close(t->split);
    for (size_t i = 0; i < t->n_steps; i++)
        br__tok_split_close(t->steps[i].split);
    br__free(t->whole);
    br__free(t->shown);
    br__arena_free(&t->arena);
    br__free(t);
}

void br_ids_free(struct br_ids *ids)
{
    br__free(ids->p);
    *ids = (struct br_ids){0};
}

void br_text_free(struct br_text *text)
{
    br__free(text->p);
    *text = (struct br_text){0};
}

/* ---- encode ---------------------------------------------------------------------------------- */

struct encoder {
    const struct br_tokenizer *t;
    struct br__tok_work *w;
    struct br_ids *out;
    struct br_err *err;
    const unsigned char *text;  /* all of it */
    const unsigned char *plain; /* the beginning of the text, normalized; NULL in other segments */
    struct br__tok_ranges *ranges; /* NULL: nobody asks */
};

static int put_piece(struct encoder *e, const unsigned char *s, size_t n, size_t room)
{
    struct br__tok_piece p;
    br__tok_piece_init(&p, e->w, s, n, room);
    return br__tok_pieces_put(e->t, e->w, &p, 1, e->out) ? br__nomem(e->err, "encoding text")
                                                         : BR_OK;
}

static int put_part(void *to, const unsigned char *s, size_t n)
{
    return put_piece(to, s, n, n);
}

static int next_piece(struct encoder *e, const unsigned char *s, size_t n, size_t at, size_t *next)
{
    if (e->t->split)
        return br__tok_split_next(e->t->split, &e->w->splitter, s, n, at, next, e->err);
    *next = (size_t)(br__tok_qwen2_next(&e->t->unicode, s + at, s + n) - s);
    return BR_OK;
}

static int encode_by_steps(struct encoder *e, const unsigned char *s, size_t n)
{
    const struct br__tok_cutting c = {e->t, e->w, put_part, e, e->err};
    return br__tok_steps_run(&c, s, n, s == e->plain);
}

/* Normalized text without added tokens, by one pattern. */
static int encode_by_pattern(struct encoder *e, const unsigned char *s, size_t n)
{
    struct br__tok_piece pieces[BR__TOK_TOGETHER];
    int rc = BR_OK;
    for (size_t at = 0, next, k; at < n && !rc;) {
        for (k = 0; at < n && k < BR__TOK_TOGETHER; k++, at = next) {
            rc = next_piece(e, s, n, at, &next);
            if (rc)
                break;
            br__tok_piece_init(&pieces[k], e->w, s + at, next - at, n - at);
        }
        if (!rc && br__tok_pieces_put(e->t, e->w, pieces, k, e->out))
            rc = br__nomem(e->err, "encoding text");
    }
    return rc;
}

static int encode_plain(struct encoder *e, const unsigned char *s, size_t n)
{
    size_t before = e->out->n;
    int rc = e->t->by_steps ? encode_by_steps(e, s, n) : encode_by_pattern(e, s, n);
    return rc || !e->ranges ? rc
                            : br__tok_ranges_add(e->ranges, e->t, s, n, e->out, before, e->err);
}

/* Cut at the added tokens of a tree; the text between them goes to `rest`. */
static int encode_cut(struct encoder *e, const struct br__tok_added *tree, const unsigned char *s,
                      size_t n, int (*rest)(struct encoder *e, const unsigned char *s, size_t n))
{
    struct br__tok_match m;
    size_t done = 0;
    int rc = BR_OK;
    while (!rc && br__tok_added_find(tree, s, n, done, &m)) {
        if (done < m.start)
            rc = rest(e, s + done, m.start - done);
        if (!rc && br__tok_ids_reserve(e->out, 1))
            rc = br__nomem(e->err, "encoding text");
        if (rc)
            break;
        e->out->p[e->out->n++] = (int32_t)m.id;
        if (e->ranges)
            rc = br__tok_ranges_put(e->ranges, s + m.start, m.end - m.start, e->err);
        done = m.end;
    }
    return rc || done >= n ? rc : rest(e, s + done, n - done);
}

/* Valid UTF-8; *s and *n become its normalization. */
static int encode_norm(struct encoder *e, const unsigned char **s, size_t *n)
{
    const unsigned char *given = *s;
    int rc = BR_OK;
    if (e->t->n_norms)
        rc = br__tok_normalize(e->t, &e->w->normalized, s, n, e->err);
    else if (e->t->nfc)
        rc = br__tok_nfc(&e->t->unicode, *s, *n, &e->w->nfc, s, n, e->err);
    e->plain = given == e->text ? *s : NULL;
    if (!rc && e->ranges && *s != given)
        rc = br_fail(e->err, BR_E_UNSUPPORTED,
                     "which token is which part of a text is known for text in NFC alone");
    return rc;
}

static int encode_normalize(struct encoder *e, const unsigned char *s, size_t n)
{
    int rc = encode_norm(e, &s, &n);
    return rc ? rc : encode_cut(e, &e->t->added[1], s, n, encode_plain);
}

static int normalize_plain(struct encoder *e, const unsigned char *s, size_t n)
{
    int rc = encode_norm(e, &s, &n);
    return rc ? rc : encode_plain(e, s, n);
}

/* A run of bytes that are not UTF-8: a piece, or of a plain vocabulary the tokens that stand for
 * them. */
static int put_bad(struct encoder *e, const unsigned char *s, size_t n, size_t room)
{
    size_t before = e->out->n;
    int rc = BR_OK;
    for (size_t i = 0; i < n; i++)
        if (e->t->merges.byte_id[s[i]] == BR__TOK_NONE)
            return br_fail(e->err, BR_E_UNSUPPORTED,
                           "the text has a byte 0x%02x that is not UTF-8, for which the vocabulary "
                           "has no token",
                           s[i]);
    if (!e->t->vocab.plain)
        rc = put_piece(e, s, n, room);
    else if (br__tok_ids_reserve(e->out, n))
        rc = br__nomem(e->err, "encoding text");
    for (size_t i = 0; i < n && !rc && e->t->vocab.plain; i++)
        e->out->p[e->out->n++] = (int32_t)e->t->merges.byte_id[s[i]];
    return rc || !e->ranges ? rc
                            : br__tok_ranges_add(e->ranges, e->t, s, n, e->out, before, e->err);
}

/* Any bytes: what is UTF-8 goes to `valid`, each run of the rest is a piece. */
static int by_validity(struct encoder *e, const unsigned char *s, size_t n,
                       int (*valid)(struct encoder *e, const unsigned char *s, size_t n))
{
    int rc = BR_OK;
    size_t good = br__utf8_span((const char *)s, n);
    for (size_t at = 0; at < n && !rc;) {
        if (good)
            rc = valid(e, s + at, good);
        at += good;
        size_t bad = at;
        for (good = 0; at < n && !good; at += !good)
            good = br__utf8_span((const char *)s + at, n - at);
        if (!rc && at > bad)
            rc = put_bad(e, s + bad, at - bad, n - bad);
    }
    return rc;
}

static int encode_rest(struct encoder *e, const unsigned char *s, size_t n)
{
    return by_validity(e, s, n, encode_normalize);
}

/* One side of what the post-processor adds. */
static int put_specials(struct encoder *e, int side)
{
    const struct br__tok_specials *x = &e->t->specials;
    if (br__tok_ids_reserve(e->out, x->n[side] + 1))
        return br__nomem(e->err, "encoding text");
    for (size_t i = 0; i < x->n[side]; i++)
        e->out->p[e->out->n++] = x->id[side][i];
    return BR_OK;
}

static int encode_all(struct encoder *e, size_t n, unsigned flags)
{
    if (n == 0)
        return BR_OK;
    if (take_work(e->t->pool, &e->w))
        return br__nomem(e->err, "encoding text");
    int rc = flags & BR_TOK_NO_ADDED ? by_validity(e, e->text, n, normalize_plain)
                                     : encode_cut(e, &e->t->added[0], e->text, n, encode_rest);
    give_work(e->t->pool, e->w);
    return rc;
}

int br_tokenizer_encode(const struct br_tokenizer *t, const char *text, size_t n, unsigned flags,
                        struct br_ids *out, struct br_err *err)
{
    struct encoder e = {.t = t, .out = out, .err = err, .text = (const unsigned char *)text};
    int rc = flags & BR_TOK_ADD_SPECIAL ? put_specials(&e, 0) : BR_OK;
    if (!rc)
        rc = encode_all(&e, n, flags);
    return rc || !(flags & BR_TOK_ADD_SPECIAL) ? rc : put_specials(&e, 1);
}

int br__tok_encode_ranges(const struct br_tokenizer *t, const char *text, size_t n,
                          struct br_ids *out, struct br__tok_ranges *ranges, struct br_err *err)
{
    struct encoder e = {
        .t = t, .out = out, .err = err, .text = (const unsigned char *)text, .ranges = ranges};
    int rc = br__tok_ranges_begin(ranges, t, e.text, err);
    return rc ? rc : encode_all(&e, n, 0);
}

/* ---- questions ------------------------------------------------------------------------------- */

int32_t br_tokenizer_token_id(const struct br_tokenizer *t, const char *spelled)
{
    size_t n = strlen(spelled);
    uint32_t id =
        br__utf8_valid(spelled, n) ? br__tok_vocab_spelled(&t->vocab, spelled, n) : BR__TOK_NONE;
    return id == BR__TOK_NONE ? -1 : (int32_t)id;
}

int32_t br_tokenizer_n_vocab(const struct br_tokenizer *t)
{
    return (int32_t)t->vocab.n_ids;
}

int br_tokenizer_is_special(const struct br_tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < t->vocab.n_ids && t->vocab.flags[id] & BR__TOK_SPECIAL ? 1 : 0;
}

const char *br_tokenizer_role(const struct br_tokenizer *t, int role)
{
    return role >= 0 && role < BR_N_TOK_ROLES ? t->roles[role] : NULL;
}

size_t br_tokenizer_memory(const struct br_tokenizer *t)
{
    const struct br__tok_vocab *v = &t->vocab;
    const struct br__tok_merges *m = &t->merges;
    pthread_mutex_lock(&t->pool->lock);
    size_t work = t->pool->bytes;
    pthread_mutex_unlock(&t->pool->lock);
    return sizeof *t + sizeof *t->pool + t->arena.total + v->bytes.cap +
           v->cap_ids * (sizeof *v->span + sizeof *v->flags) + v->cap * sizeof *v->slots +
           (sizeof *m->slots << m->bits) + m->cap * sizeof *m->made + (sizeof *m->byte_pair << 16) +
           v->n_ids + work;
}
