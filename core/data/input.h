/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* input.h - input files as batches of records. */
#ifndef BRIDGE_CORE_DATA_INPUT_H
#define BRIDGE_CORE_DATA_INPUT_H

#include "../format/format.h"
#include "data.h"

enum br__input_kind { BR__INPUT_JSONL, BR__INPUT_TEXT, BR__INPUT_PARQUET };

/* Some records of an input.  JSONL: a line is an object with the texts; Parquet: so is a row; text:
 * a piece of the one document that the file is. */
struct br__input {
    int kind;
    struct br__file file;
    struct br__parquet *rows; /* Parquet: its rows, as lines of JSON */
    uint64_t at;              /* bytes read */
    struct br__buf block;     /* what is being worked on */
    size_t *ends;             /* [n] of each record in `block` */
    size_t n, cap;
    int64_t first; /* number of the first record, from 1 */
};
/* keys: the columns of a Parquet file that are wanted. */
int br__input_open(struct br__input *f, const char *path, const char *const *keys, size_t n_keys,
                   struct br_err *err) BR_MUST_CHECK;
/* The next batch; n is 0 at the end. */
int br__input_next(struct br__input *f, struct br_err *err) BR_MUST_CHECK;
void br__input_close(struct br__input *f);

#endif
