/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* indexed.h - where the parts of Megatron's .idx file are. */
#ifndef BRIDGE_CORE_FORMAT_INDEXED_H
#define BRIDGE_CORE_FORMAT_INDEXED_H

#include "format.h"

/* An .idx file: magic, version 1, dtype code, number of sequences and of document boundaries; then
 * the lengths (int32, in tokens), the byte offsets in the .bin (int64), the boundaries (int64, the
 * first sequence of each document, and the number of sequences), and for multimodal data one byte
 * a sequence.  Little-endian, and nothing is aligned. */
#define BR__IDX_MAGIC "MMIDIDX\0\0"
#define BR__IDX_MAGIC_BYTES 9
#define BR__IDX_HEADER 34

/* Everything that can be known without reading the .bin, which has bin_bytes bytes. */
int br__idx_parse(struct br__indexed *x, const unsigned char *p, uint64_t n, uint64_t bin_bytes,
                  struct br_err *err) BR_MUST_CHECK;

#endif
