/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* tokenizer.h - text to token ids and back: BPE of bytes, or of characters with tokens for the
 * bytes of others, as Hugging Face's tokenizers package does it, to the same ids.
 *
 * Called by programs that embed libbridge, by the engine and by the command line.  It knows
 * nothing of models or chat templates.  A tokenizer that is open does not change: any number of
 * threads may use it at once.  The working memory of a call is kept in the tokenizer for the next
 * one, one set per thread that is inside at the same time, and is bounded.
 *
 * What is read: tokenizer.json, or vocab.json with merges.txt, and in both cases
 * tokenizer_config.json if it is there.  Facts of the format: the tokenizers package, versions
 * 0.13 to 0.23 (merges as "a b" or as ["a", "b"]). */
#ifndef BRIDGE_TOKENIZER_H
#define BRIDGE_TOKENIZER_H

#include <bridge/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct br_tokenizer;

/* Token ids that grow; the caller frees them with br_ids_free.  {0} is empty. */
struct br_ids {
    int32_t *p;
    size_t n, cap;
};
/* Bytes that grow; the caller frees them with br_text_free.  {0} is empty.  Once something was
 * appended a NUL follows the n bytes, which may themselves contain NUL. */
struct br_text {
    char *p;
    size_t n, cap;
};
BR_API void br_ids_free(struct br_ids *ids);
BR_API void br_text_free(struct br_text *text);

enum br_tok_flags {
    BR_TOK_NO_ADDED = 1,     /* encode: "<|im_start|>" in the text is plain text          */
    BR_TOK_SKIP_SPECIAL = 2, /* decode: leave tokens out that are marked as special       */
    BR_TOK_ADD_SPECIAL = 4   /* encode: add what the tokenizer puts before and behind a text */
};

/* Open the tokenizer of a directory.  BR_E_NOTFOUND if it has none, BR_E_FORMAT if a file is
 * malformed or contradicts itself, BR_E_UNSUPPORTED for another kind of tokenizer (the text names
 * the part), BR_E_IO, BR_E_NOMEM.  Close with br_tokenizer_close. */
BR_API int br_tokenizer_open(struct br_tokenizer **out, const char *dir,
                             struct br_err *err) BR_MUST_CHECK;
BR_API void br_tokenizer_close(struct br_tokenizer *t); /* NULL is fine */

/* Append the ids of n bytes.  Bytes that are not UTF-8 are encoded as they are, each run of them
 * on its own.  Nothing is added at either end, unless BR_TOK_ADD_SPECIAL asks for it.  On failure
 * (BR_E_NOMEM, BR_E_UNSUPPORTED) *out holds some of the ids and is still to be freed. */
BR_API int br_tokenizer_encode(const struct br_tokenizer *t, const char *text, size_t n,
                               unsigned flags, struct br_ids *out,
                               struct br_err *err) BR_MUST_CHECK;

/* Append the text of n ids.  Ids that name no token are left out.  Where the bytes are not UTF-8
 * each maximal beginning of a character that does not go on becomes one U+FFFD, and so does each
 * byte that begins none (as Unicode 15, section 3.9, recommends). */
BR_API int br_tokenizer_decode(const struct br_tokenizer *t, const int32_t *ids, size_t n,
                               unsigned flags, struct br_text *out,
                               struct br_err *err) BR_MUST_CHECK;

/* The same, token by token: all that was appended by br_detok_put and the final br_detok_end is
 * what br_tokenizer_decode gives for all ids at once, and every call appends whole characters. (But
 * for a run of tokens such as <0xE4> that is no UTF-8: decode replaces all of its bytes by U+FFFD.)
 * Owns no memory; start from br_detok_begin, which also discards what was held back. */
struct br_detok {
    const struct br_tokenizer *t;
    uint32_t flags;
    uint32_t n_held;
    unsigned char held[8]; /* the beginning of a character */
};
BR_API void br_detok_begin(struct br_detok *d, const struct br_tokenizer *t, unsigned flags);
BR_API int br_detok_put(struct br_detok *d, int32_t id, struct br_text *out,
                        struct br_err *err) BR_MUST_CHECK;
BR_API int br_detok_end(struct br_detok *d, struct br_text *out, struct br_err *err) BR_MUST_CHECK;

/* Id of a token as tokenizer.json spells it: "<|im_end|>", "\xC4\xA0the" (U+0120 for a blank);
 * -1 if there is none. */
BR_API int32_t br_tokenizer_token_id(const struct br_tokenizer *t, const char *spelled);
/* Highest id + 1, added tokens included: what a model's vocab_size must be no less than. */
BR_API int32_t br_tokenizer_n_vocab(const struct br_tokenizer *t);
/* The bytes that a token stands for, or of a vocabulary that spells no bytes its spelling, *n of
 * them, owned by the tokenizer; NULL for no token. */
BR_API const char *br_tokenizer_bytes(const struct br_tokenizer *t, int32_t id, size_t *n);
/* Is the id an added token that BR_TOK_SKIP_SPECIAL leaves out? */
BR_API int br_tokenizer_is_special(const struct br_tokenizer *t, int32_t id);

/* What tokenizer_config.json names as eos_token and so on, as text; NULL if nothing. */
enum br_tok_role { BR_TOK_BOS, BR_TOK_EOS, BR_TOK_PAD, BR_TOK_UNK, BR_N_TOK_ROLES };
BR_API const char *br_tokenizer_role(const struct br_tokenizer *t, int role);

/* Bytes of memory held, working memory included. */
BR_API size_t br_tokenizer_memory(const struct br_tokenizer *t);

#ifdef __cplusplus
}
#endif
#endif
