/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtok.h - a tokenizer against files of what Hugging Face's tokenizers computed. */
#ifndef BRIDGE_TEST_LIBTOK_H
#define BRIDGE_TEST_LIBTOK_H

#include "text/text.h"

/* The tokenizer in that directory; the test fails with the error's text. */
struct br_tokenizer *open_ok(const char *path);

/* Compare with folder/name (encode.jsonl or decode.jsonl), but for lines that hold one of the texts
 * of not_these, which ends with NULL and may be NULL.  How many lines were compared. */
size_t ck_goldens(const struct br_tokenizer *t, const char *folder, const char *name,
                  const char *const *not_these);

#endif
