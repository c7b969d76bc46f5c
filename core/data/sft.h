/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* sft.h - finetuning data inside: records, the two ways to make tokens of one, packing.
 *
 * Source of the rules: data/datasets/gpt_sft.py, sft_processing.py, conversation_processing.py and
 * packing/ of megatron/bridge, version 0.6. */
#ifndef BRIDGE_CORE_DATA_SFT_H
#define BRIDGE_CORE_DATA_SFT_H

#include "../text/text.h"
#include "data.h"

/* ---- records.c: JSON objects by number ------------------------------------------------------- */

struct br__records {
    const char *path; /* borrowed */
    int rows;         /* Parquet */
    struct br__file file;
    int64_t *at;   /* [n + 1] where each line begins; blank lines are no records */
    int64_t *line; /* [n] its number in the file, from 1 */
    int64_t n;
};
int br__records_open(struct br__records *r, const char *path, struct br_err *err) BR_MUST_CHECK;
void br__records_close(struct br__records *r);
/* The text of a record, in *room (kept by the caller for the next call); thread-safe. */
int br__records_read(const struct br__records *r, int64_t i, struct br__buf *room,
                     struct br_err *err) BR_MUST_CHECK;
/* Put "FILE, line N" before an error about a record. */
void br__records_wrap(const struct br__records *r, int64_t i, struct br_err *err);

/* ---- an example ------------------------------------------------------------------------------ */

/* A record's tokens.  Start from {0}. */
struct br__example {
    struct br_ids ids;
    uint8_t *learn; /* [ids.n] is this token to be predicted */
    size_t cap;
    int64_t n_context; /* tokens before the (last) answer */
};
int br__example_room(struct br__example *e,
                     struct br_err *err) BR_MUST_CHECK; /* learn: as many as ids */
void br__example_free(struct br__example *e);

struct br__sft_rules {
    const struct br__sft_opts *o;
    struct br__arena arena;
    const char **pieces; /* of the prompt template; a placeholder begins with '{' */
    size_t n_pieces;
    const char **cut; /* fields that are truncated first */
    size_t n_cut;
    int32_t eos, bos;
    struct br_ids skip; /* ids that are never learnt */
    const struct br_chat *chat;
    struct br_ids turn_start, turn_end, turn_end_short;
};
int br__sft_rules_make(struct br__sft_rules *r, const struct br__sft_opts *o,
                       struct br_err *err) BR_MUST_CHECK;
void br__sft_rules_free(struct br__sft_rules *r);
/* One record's text to tokens. */
int br__sft_example(const struct br__sft_rules *r, const char *json, size_t n,
                    struct br__example *out, struct br_err *err) BR_MUST_CHECK;
/* chat_sft.c: the same of a record that is a conversation. */
int br__chat_markers(struct br__sft_rules *r, struct br_err *err) BR_MUST_CHECK;
int br__chat_example(const struct br__sft_rules *r, const br__json *record, struct br__example *out,
                     struct br_err *err) BR_MUST_CHECK;

/* ---- pack.c ---------------------------------------------------------------------------------- */

/* Which examples share a row. */
struct br__packing {
    int64_t n_rows;
    int64_t *first;                /* [n_rows + 1] into item */
    int64_t *item;                 /* examples */
    int64_t max_items, min_tokens; /* of a row */
};
/* lengths[n]: tokens of each example less one; those longer than `size` are in no row. */
int br__pack(struct br__packing *p, const int32_t *lengths, int64_t n, int64_t size, int shuffle,
             uint32_t seed, struct br_err *err) BR_MUST_CHECK;
void br__packing_free(struct br__packing *p);

#endif
