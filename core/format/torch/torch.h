/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* torch.h - torch's containers: pickles, and the ZIP archives of torch.save.  For core/format. */
#ifndef BRIDGE_CORE_TORCH_H
#define BRIDGE_CORE_TORCH_H

#include "../format.h"

/* ---- pickle.c: reading (a VM for data, not for code) ----------------------------------------- */

struct br__pk_limits {
    size_t max_nodes; /* 0 = 64 Mi */
    int max_depth;    /* 0 = 512   */
};
/* Run a pickle (protocols 0-5 subset that torch, Megatron and DCP write) of n bytes; objects live
 * in the arena.  Unknown globals become opaque objects; nothing is ever called.  Errors carry the
 * byte offset. torch.Size(t) is the tuple t, collections.OrderedDict a DICT, builtins.set a SET.
 * Values may be shared and cyclic: whoever recurses must bound it. */
int br__pk_load(struct br__arena *a, const unsigned char *p, size_t n,
                const struct br__pk_limits *limits, struct br__pk **out,
                struct br_err *err) BR_MUST_CHECK;
/* 1 if v is OBJECT whose class/callable is module.name (module may end in "*" to match a prefix).
 */
int br__pk_is(const struct br__pk *v, const char *module, const char *name);
/* Python-repr-like text, for reports; bounded. */
void br__pk_repr(struct br__buf *out, const struct br__pk *v);

/* ---- pickle_write.c: protocol 2, what torch's weights-only loader accepts -------------------- */

/* A writer is a br__buf; helpers append opcodes.  `memo` numbers BINPUT as Python's pickler does,
 * for byte equality with torch; memo < 0 writes none. */
struct br__pkw {
    struct br__buf *out;
    int memo;               /* next memo slot, or -1 */
    struct br__map globals; /* global -> memo slot, so that a second use is BINGET */
    struct br__arena *arena;
};
void br__pkw_begin(struct br__pkw *w); /* 80 02 */
void br__pkw_end(struct br__pkw *w);   /* '.'; releases the map */
void br__pkw_global(struct br__pkw *w, const char *module, const char *name);
void br__pkw_str(struct br__pkw *w,
                 const char *s); /* interned: a repeat is BINGET when memo >= 0 */
void br__pkw_int(struct br__pkw *w, int64_t v);
void br__pkw_float(struct br__pkw *w, double v);
void br__pkw_bool(struct br__pkw *w, int v);
void br__pkw_none(struct br__pkw *w);
void br__pkw_op(struct br__pkw *w, char op);   /* raw opcode: MARK '(' TUPLE 't' SETITEMS 'u' ... */
void br__pkw_put(struct br__pkw *w);           /* BINPUT of the object on top, if memo >= 0 */
void br__pkw_get(struct br__pkw *w, int slot); /* BINGET of what br__pkw_put numbered `slot` */
void br__pkw_tuple(struct br__pkw *w, const int64_t *v, int n); /* tuple of ints, memoised */
/* Around item i of the n items that fill an EMPTY_DICT ('}', key and value) or EMPTY_LIST (']'):
 * emits MARK and SETITEMS/APPENDS in the batches that Python makes. */
enum br__pkw_container { BR__PKW_DICT, BR__PKW_LIST };
void br__pkw_item_begin(struct br__pkw *w, size_t i, size_t n);
void br__pkw_item_end(struct br__pkw *w, size_t i, size_t n, enum br__pkw_container kind);
void br__pkw_new(struct br__pkw *w, const char *module,
                 const char *name);    /* class.__new__(class) */
void br__pkw_dict(struct br__pkw *w);  /* a dict of two or more entries, up to its MARK */
void br__pkw_build(struct br__pkw *w); /* ends such a dict, as the state of the object below */
/* A contiguous CPU tensor whose bytes are the record data/<storage>. */
void br__pkw_tensor(struct br__pkw *w, const char *storage, int dtype, int ndim,
                    const int64_t *shape);

/* ---- pickle_copy.c: a loaded value, written again -------------------------------------------- */

/* Appends v.  BR_E_UNSUPPORTED: too deep or cyclic, a number beyond int64, a persistent id.  What
 * reading turned into plain values stays that (pickle.c). */
int br__pkw_value(struct br__pkw *w, const struct br__pk *v, struct br_err *err) BR_MUST_CHECK;

/* ---- zip_write.c: the stored ZIP64 container of torch.save ----------------------------------- */

/* Writer of one archive inside a larger file, byte for byte as PyTorchStreamWriter (torch 2.15):
 * records 64-byte aligned relative to the archive start, data descriptors, ZIP64 end records. */
struct br__zipw {
    struct br__out *out;
    uint64_t base;              /* where the archive starts in out */
    struct br__buf central;     /* central directory so far */
    const char *prefix;         /* "archive" */
    uint32_t n_recs, n_data;    /* records; those named data/<k> */
    uint64_t crc_hash;          /* for .data/serialization_id */
    uint64_t rec_off, rec_size; /* open record: header offset relative to base, data bytes */
    uint32_t rec_crc;
    char rec_name[64]; /* with the prefix */
};
void br__zipw_begin(struct br__zipw *z, struct br__out *out, const char *prefix);
/* The records that every torch.save archive starts with: data.pkl, .format_version,
 * .storage_alignment, byteorder.  Data records data/0, data/1, ... come next. */
int br__zipw_head(struct br__zipw *z, const void *pickle, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
int br__zipw_record(struct br__zipw *z, const char *name, const void *p, size_t n,
                    struct br_err *err) BR_MUST_CHECK;
/* A record whose data is produced in pieces: start with its exact size, then the caller writes the
 * data to z->out itself (br__out_reserve/commit) and reports each piece for the CRC, then end. */
int br__zipw_start(struct br__zipw *z, const char *name, uint64_t size,
                   struct br_err *err) BR_MUST_CHECK;
void br__zipw_data(struct br__zipw *z, const void *p, size_t n);
int br__zipw_stop(struct br__zipw *z, struct br_err *err) BR_MUST_CHECK;
/* version, .data/serialization_id, central directory, end records. */
int br__zipw_finish(struct br__zipw *z, struct br_err *err) BR_MUST_CHECK;
/* Release the writer after a failure; fine after br__zipw_finish too.  Does not touch z->out. */
void br__zipw_abort(struct br__zipw *z);
/* Length of a torch.save archive with the given pickle and data record sizes (n_data records), as
 * the writer above will make it, so that offsets are known before a byte is written. */
uint64_t br__zip_archive_size(const char *prefix, size_t pickle_size, const uint64_t *data_sizes,
                              size_t n_data);

#endif
