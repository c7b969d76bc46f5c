/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* torchdist.h - what the files of core/format/torchdist share, and open.c calls. */
#ifndef BRIDGE_CORE_TORCHDIST_H
#define BRIDGE_CORE_TORCHDIST_H

#include "../format_internal.h"
#include "../torch/torch.h"

/* ---- meta.c: the .metadata file -------------------------------------------------------------- */

/* Interpret the bytes of a .metadata file: tensors (sorted by name), their chunks
 * (which tile each tensor exactly), objects, file names.  Opens nothing; data_off and by_name are
 * not set. */
int br__td_interpret(struct br__ckpt *ck, const unsigned char *p, size_t n,
                     struct br_err *err) BR_MUST_CHECK;
/* Order the n boxes of a tensor (off and size set, inside the tensor, none empty) as its chunk
 * list: sets flat and reach.  BR_E_FORMAT if they do not tile it exactly. */
int br__td_tile(const struct br__tensor *t, struct br__td_chunk *c, size_t n,
                struct br_err *err) BR_MUST_CHECK;
/* Whether a key is training state and no weight: optimizer, random states, common state. */
int br__td_is_state(const char *key);
/* Decide about failure rc at tensor `key`: for training state (optimizer, RNG, ...) of an
 * unsupported kind it becomes a warning and BR_OK (leave the tensor out), so that the weights can
 * still be read; other failures stay. */
int br__td_tolerate(struct br__ckpt *ck, const char *key, int rc, struct br_err *err) BR_MUST_CHECK;

/* ---- item.c: torch.save archives inside .distcp files ---------------------------------------- */

/* One torch.save archive, [off, off + len) of f.  The pickled object goes to `a`;
 * the records (for br__torch_tensor_read) too. */
struct br__torch_file {
    struct br__zip_rec *recs;
    size_t n_recs;
    struct br__pk *root;
};
int br__torch_load(struct br__arena *a, const struct br__file *f, uint64_t off, uint64_t len,
                   struct br__torch_file *out, struct br_err *err) BR_MUST_CHECK;
/* A pickled tensor: what it is and where its first element lies in the file.  Only contiguous
 * tensors. */
struct br__torch_tensor {
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    uint64_t bytes, data_off;
    const struct br__zip_rec *rec; /* that holds it */
};
int br__torch_tensor_read(const struct br__torch_file *tf, const struct br__pk *v,
                          struct br__torch_tensor *out, struct br_err *err) BR_MUST_CHECK;
/* Set data_off of every chunk, from the items; all files must be open. */
int br__td_locate(struct br__ckpt *ck, struct br_err *err) BR_MUST_CHECK;
/* Unpickle a bytes item (a torch.save archive); data records are not read. */
int br__td_object(const struct br__ckpt *ck, struct br__arena *a, size_t i, struct br__pk **out,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- read.c ---------------------------------------------------------------------------------- */

extern const struct br__ckpt_ops br__td_ops;

/* Bytes [off, off + n) of the contents of a box, which is row-major. */
typedef int br__td_get(void *ud, const struct br__td_chunk *c, uint64_t off, void *dst, size_t n,
                       struct br_err *err);
/* The boxes of one tensor, as br__td_tile leaves them, and where their contents come from. */
struct br__td_boxes {
    const struct br__td_chunk *list;
    size_t n;
    br__td_get *get;
    void *ud;
};
/* Bytes [off, off + n) of the global tensor. */
int br__td_gather(const struct br__tensor *t, const struct br__td_boxes *b, uint64_t off, void *dst,
                  size_t n, struct br_err *err) BR_MUST_CHECK;
/* The other way round: bytes [off, off + n) of a box (off and size set) as ranges of the global
 * tensor, in order. */
int br__td_walk_box(const struct br__tensor *t, const struct br__td_chunk *c, uint64_t off,
                    uint64_t n, int (*take)(void *ud, uint64_t at, uint64_t n, struct br_err *err),
                    void *ud, struct br_err *err) BR_MUST_CHECK;

#endif
