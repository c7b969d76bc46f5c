/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libtd.h - build small torch_dist checkpoints by hand, for the tests of the reader.
 *
 * Independent of the writer under core/format: pickles and archives are put together opcode by
 * opcode, so that every variant and every defect can be made. */
#ifndef BRIDGE_TESTS_LIBTD_H
#define BRIDGE_TESTS_LIBTD_H

#include "format/format.h"

/* ---- pickle, protocol 2 without memo --------------------------------------------------------- */

void pk_op(struct br__buf *b, const char *opcodes);
void pk_str(struct br__buf *b, const char *s);
void pk_int(struct br__buf *b, int64_t v);
void pk_global(struct br__buf *b, const char *module, const char *name);
void pk_ints(struct br__buf *b, const int64_t *v, int n);             /* a tuple */
void pk_size(struct br__buf *b, const int64_t *v, int n);             /* torch.Size */
void pk_new(struct br__buf *b, const char *module, const char *name); /* NEWOBJ without arguments */

/* ---- zip ------------------------------------------------------------------------------------- */

enum { ZIP_NO_ZIP64 = 1, ZIP_ENTRY_ZIP64 = 2 };
struct zip_in {
    const char *name; /* with the prefix */
    const void *p;
    size_t n;
};
/* A stored archive as torch writes it; flags leave the ZIP64 end records out, or move sizes into
 * ZIP64 extra fields. */
void zip_make(struct br__buf *out, const struct zip_in *in, size_t n, int flags);
/* The archive of torch.save for a pickle and the storages data/0, data/1, ... */
void torch_save(struct br__buf *out, const struct br__buf *pickle, const struct zip_in *storages,
                size_t n);

/* ---- checkpoints ----------------------------------------------------------------------------- */

enum td_flags {
    TD_ROOT_MCORE = 1 << 0,      /* MCoreMetadata with mcore_data */
    TD_LOCAL_PLANS = 1 << 1,     /* all_local_plans, as mcore adds it */
    TD_STORAGE_META = 1 << 2,    /* StorageMeta with a PosixPath */
    TD_NO_STORAGE_META = 1 << 3, /* attribute missing */
    TD_PROPS_6 = 1 << 4,         /* TensorProperties of torch 2.15 */
    TD_PROPS_DICT = 1 << 5,      /* ... with a plain dict as state, old module */
    TD_INDEX = 1 << 6,           /* MetadataIndex.index is a number */
    TD_ENUM_BY_NAME = 1 << 7,    /* memory format as getattr(cls, name) */
    TD_TRANSFORMS = 1 << 8,      /* non-empty transform_descriptors */
    TD_TRANSFORMS_NONE = 1 << 9, /* transform_descriptors: None */
    TD_ITEM_V3 = 1 << 10,        /* _rebuild_tensor_v3 with an untyped storage */
    TD_ITEM_PARAMETER = 1 << 11,
    TD_ITEM_FROM_TYPE = 1 << 12,
    TD_ITEM_VIEW = 1 << 13,    /* of a larger storage, at an offset */
    TD_ITEM_STRIDED = 1 << 14, /* transposed: not contiguous */
    TD_ITEM_SQUEEZE = 1 << 15, /* leading ones dropped from the item's shape */
    TD_ITEM_DTYPE = 1 << 16,   /* item of another dtype */
    TD_ITEM_SHAPE = 1 << 17,   /* item of another shape */
    TD_ITEM_BIG_ENDIAN = 1 << 18,
    TD_NO_STORAGE = 1 << 19,   /* no storage entry for the last chunk */
    TD_COMPLEX = 1 << 20,      /* dtype that bridge does not know */
    TD_SHORT_RECORD = 1 << 21, /* the storage's record has too few bytes */
    TD_SLOTS_STATE = 1 << 22   /* states as (None, dict) */
};

struct td {
    char root[256], dir[288]; /* temporary; dir is root/iter_0000005 */
    struct br__buf keys;      /* entries of state_dict_metadata */
    struct br__buf storage;   /* entries of storage_data */
    struct br__buf data;      /* the .distcp file */
    const char *file;         /* its relative path */
    unsigned flags;           /* enum td_flags */
    /* of the tensor being made */
    const char *name;
    int dtype, ndim;
    const int64_t *shape;
};

void td_begin(struct td *m, unsigned flags);
void td_tensor(struct td *m, const char *name, int dtype, const int64_t *shape, int ndim);
void td_chunk(struct td *m, const int64_t *off, const int64_t *size);
void td_tensor_end(struct td *m);
void td_object(struct td *m, const char *name, const struct br__buf *pickle);
void td_metadata(const struct td *m, struct br__buf *out); /* the .metadata pickle so far */
void td_write(struct td *m);                               /* all files */
void td_put_file(const struct td *m, const char *path, const void *p, size_t n); /* below root */
void td_end(struct td *m); /* removes the files */

/* Byte i of every tensor's contents. */
unsigned char td_byte(uint64_t i);

/* Two tensors: `decoder.w` [6, 4] in two boxes of rows, and stacked scalars. */
void td_small(struct td *m, unsigned flags);
/* A train_state.pt that holds `step`. */
void td_train_state(const struct td *m, const char *path, int64_t step);
/* A pickle with one key of the common state, as the object of a shard (a list) or as common.pt. */
void td_common_pickle(struct br__buf *b, int64_t iteration, int as_list);

/* ---- what the reader must say of them -------------------------------------------------------- */

struct br__ckpt *td_open_ok(const char *dir);
void td_check_bytes(const unsigned char *got, uint64_t off, size_t n); /* td_byte(off) ... */
void td_check_contents(const struct br__ckpt *ck, const char *name);   /* from every offset */
void td_refused(const char *dir, int code, const char *text); /* with that text in the message */

#endif
