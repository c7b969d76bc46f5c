/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtok.c - see libtok.h. */
#include "libtok.h"
#include "text/tok/tok.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct br_tokenizer *open_ok(const char *path)
{
    struct br_err err = BR_ERR_INIT;
    struct br_tokenizer *t;
    int rc = br_tokenizer_open(&t, path, &err);
    ck_assert_msg(rc == 0, "%s: %s", path, err.msg);
    return t;
}

struct golden {
    struct br__buf text, decoded, skipped;
    struct br_ids ids;
};

static void read_ids(struct br__jscan *j, struct br_ids *ids)
{
    int64_t id;
    ids->n = 0;
    br__jscan_enter(j, 'a');
    while (br__jscan_next(j)) {
        br__jscan_i64(j, &id);
        ck_assert(br__tok_ids_reserve(ids, 1) == 0);
        ids->p[ids->n++] = (int32_t)id;
    }
}

static void read_text(struct br__jscan *j, struct br__buf *b)
{
    b->n = 0;
    br__buf_put(b, "", 0);
    br__jscan_string(j, b);
}

static void read_golden(struct golden *g, const char *line, size_t n)
{
    struct br_err err = BR_ERR_INIT;
    struct br__jscan j;
    struct br__buf key = {0};
    br__jscan_begin(&j, line, n, &err);
    br__jscan_enter(&j, 'o');
    while (br__jscan_next(&j) && !br__jscan_key(&j, &key)) {
        if (!strcmp(key.p, "ids"))
            read_ids(&j, &g->ids);
        else
            read_text(&j, !strcmp(key.p, "text")      ? &g->text
                          : !strcmp(key.p, "decoded") ? &g->decoded
                                                      : &g->skipped);
    }
    ck_assert_msg(br__jscan_end(&j) == 0, "%s", err.msg);
    br__buf_free(&key);
}

static void free_golden(struct golden *g)
{
    br__buf_free(&g->text);
    br__buf_free(&g->decoded);
    br__buf_free(&g->skipped);
    br_ids_free(&g->ids);
}

static void ck_encoded(const struct br_tokenizer *t, const char *text, size_t n, unsigned flags,
                       const struct br_ids *want)
{
    struct br_ids got = {0};
    ck_assert_int_eq(br_tokenizer_encode(t, text, n, flags, &got, NULL), 0);
    ck_assert_msg(got.n == want->n, "%zu ids, expected %zu: %.*s", got.n, want->n, (int)n, text);
    for (size_t i = 0; i < got.n; i++)
        ck_assert_int_eq(got.p[i], want->p[i]);
    br_ids_free(&got);
}

static void ck_decoded(const struct br_tokenizer *t, const struct br_ids *ids, unsigned flags,
                       const struct br__buf *want)
{
    struct br_text got = {0}, piece = {0};
    struct br_detok d;
    ck_assert_int_eq(br_tokenizer_decode(t, ids->p, ids->n, flags, &got, NULL), 0);
    ck_assert_uint_eq(got.n, want->n);
    ck_assert(memcmp(got.p, want->p, want->n) == 0);
    /* Token by token the same, in whole characters. */
    got.n = 0;
    br_detok_begin(&d, t, flags);
    for (size_t i = 0; i <= ids->n; i++) {
        piece.n = 0;
        int rc =
            i < ids->n ? br_detok_put(&d, ids->p[i], &piece, NULL) : br_detok_end(&d, &piece, NULL);
        ck_assert_int_eq(rc, 0);
        ck_assert(piece.n == 0 || br__utf8_valid(piece.p, piece.n));
        ck_assert_uint_le(got.n + piece.n, want->n);
        ck_assert(piece.n == 0 || memcmp(want->p + got.n, piece.p, piece.n) == 0);
        got.n += piece.n;
    }
    ck_assert_uint_eq(got.n, want->n);
    br_text_free(&got);
    br_text_free(&piece);
}

size_t ck_goldens(const struct br_tokenizer *t, const char *folder, const char *name,
                  const char *const *not_these)
{
    struct br__arena a = {0};
    struct br_err err = BR_ERR_INIT;
    char *text;
    size_t n, count = 0;
    struct golden g = {0};
    int encode = !strcmp(name, "encode.jsonl");
    ck_assert_msg(br__read_text(br__path_join(&a, folder, name), 1 << 24, &text, &n, &err) == 0,
                  "%s", err.msg);
    for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
        int skip = 0;
        *end = '\0';
        for (const char *const *s = not_these; s && *s; s++)
            skip |= strstr(line, *s) != NULL;
        if (skip)
            continue;
        read_golden(&g, line, (size_t)(end - line));
        if (encode)
            ck_encoded(t, g.text.p, g.text.n, 0, &g.ids);
        ck_decoded(t, &g.ids, 0, &g.decoded);
        ck_decoded(t, &g.ids, BR_TOK_SKIP_SPECIAL, &g.skipped);
        count++;
    }
    free_golden(&g);
    br__free(text);
    br__arena_free(&a);
    return count;
}
