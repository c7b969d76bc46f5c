/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* special.c - the ids of a tokenizer that token files are read with: end of text, padding.
 *
 * Source: megatron.core.datasets.gpt_dataset, _get_ltor_masks_and_position_ids' callers: the pad id
 * counts unless it is another special token's. */
#include "../text/text.h"
#include "data.h"

#include <string.h>

#define FILE_MAX (256u << 20)

/* Ids of BOS, EOS, PAD and UNK, -1: none. */
static struct br__special_ids special_choose(const int32_t *id, int32_t n_vocab)
{
    struct br__special_ids s = {id[BR_TOK_EOS], id[BR_TOK_PAD], n_vocab};

    for (int i = 0; i < BR_N_TOK_ROLES; i++)
        if (i != BR_TOK_PAD && id[i] == s.pad)
            s.pad = -1;
    return s;
}

struct br__special_ids br__special_ids(const struct br_tokenizer *tok)
{
    int32_t id[BR_N_TOK_ROLES];

    for (int i = 0; i < BR_N_TOK_ROLES; i++) {
        const char *text = br_tokenizer_role(tok, i);
        id[i] = text ? br_tokenizer_token_id(tok, text) : -1;
    }
    return special_choose(id, br_tokenizer_n_vocab(tok));
}

/* ---- from its files -------------------------------------------------------------------------- */

static int read_json(const char *dir, const char *name, br__json **out, struct br_err *err)
{
    struct br__arena a = {0};
    const char *path = br__path_join(&a, dir, name);
    char *text = NULL;
    size_t n;
    int rc = path ? br__read_text(path, FILE_MAX, &text, &n, err)
                  : br_fail(err, BR_E_NOMEM, "out of memory");

    if (!rc && (rc = br__json_parse(out, text, n, err)) != 0)
        br_wrap(err, "'%s'", path);
    br__free(text);
    br__arena_free(&a);
    return rc;
}

/* "eos_token" is a text, or an object that has it as "content". */
static const char *role_text(const br__json *config, const char *role)
{
    const br__json *v = br__json_get(config, role);

    return br__json_str(br__json_kind(v) == 'o' ? br__json_get(v, "content") : v, NULL);
}

static int32_t id_of(const br__json *v)
{
    double id = br__json_num(v, -1);

    return id >= 0 && id < INT32_MAX ? (int32_t)id : -1;
}

/* Takes one token of the files. */
static void special_visit(const char *const *texts, int32_t *ids, int32_t *n_vocab,
                          const char *text, int32_t id)
{
    for (int i = 0; i < BR_N_TOK_ROLES; i++)
        if (id >= 0 && texts[i] && text && !strcmp(texts[i], text))
            ids[i] = id;
    *n_vocab = BR__MAX(*n_vocab, id + 1);
}

int br__special_ids_read(const char *dir, struct br__special_ids *out, struct br_err *err)
{
    static const char *const roles[BR_N_TOK_ROLES] = {"bos_token", "eos_token", "pad_token",
                                                      "unk_token"};
    br__json *config = NULL, *tokens = NULL;
    const char *texts[BR_N_TOK_ROLES];
    int32_t ids[BR_N_TOK_ROLES], n_vocab = 0;
    int rc = read_json(dir, "tokenizer_config.json", &config, err);

    if (!rc)
        rc = read_json(dir, "tokenizer.json", &tokens, err);
    for (int i = 0; i < BR_N_TOK_ROLES; i++) {
        texts[i] = role_text(config, roles[i]);
        ids[i] = -1;
    }
    const br__json *vocab = br__json_get(tokens, "model.vocab"),
                   *added = br__json_get(tokens, "added_tokens");
    for (const br__json *v = br__json_first(vocab); v; v = br__json_next(v))
        special_visit(texts, ids, &n_vocab, br__json_key(v), id_of(v));
    for (const br__json *v = br__json_first(added); v; v = br__json_next(v))
        special_visit(texts, ids, &n_vocab, br__json_str(br__json_get(v, "content"), NULL),
                      id_of(br__json_get(v, "id")));
    if (!rc && n_vocab == 0)
        rc = br_fail(err, BR_E_FORMAT, "'%s/tokenizer.json' names no token", dir);
    if (!rc)
        *out = special_choose(ids, n_vocab);
    br__json_free(config);
    br__json_free(tokens);
    return rc;
}
