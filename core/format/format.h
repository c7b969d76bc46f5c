/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* format.h - the door of core/format: checkpoints on disk, read and written.
 *
 * Two formats behind one reader: Hugging Face directories (safetensors) and Megatron torch_dist
 * directories (.metadata pickle + .distcp files of torch ZIP items).  This folder knows bytes,
 * names, shapes and boxes; it knows no model.  Every input is hostile: sizes, products, offsets and
 * counts are checked before use. */
#ifndef BRIDGE_CORE_FORMAT_H
#define BRIDGE_CORE_FORMAT_H

#include "../hub/hub.h"
#include <bridge/bridge.h>

/* ---- a checkpoint of either format ----------------------------------------------------------- */

/* One tensor of a checkpoint.  Strings are owned by the checkpoint. */
struct br__tensor {
    const char *name;
    int dtype; /* enum br_dtype */
    int ndim;  /* 0..BR_MAX_DIMS */
    int64_t shape[BR_MAX_DIMS];
    uint64_t bytes;  /* of the contiguous global tensor */
    uint32_t file;   /* HF: index into files[] */
    uint32_t priv;   /* torch_dist: index of its chunk list */
    uint64_t offset; /* HF: absolute offset in its file */
};
enum br__format { BR__FMT_HF = 1, BR__FMT_TORCH_DIST = 2 };

struct br__ckpt;
/* How a format reads and closes. */
struct br__ckpt_ops {
    /* Bytes [off, off + n) of the contiguous tensor, which has as many. */
    int (*read)(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                size_t n, struct br_err *err);
    int (*settle)(const struct br__ckpt *ck, struct br_err *err); /* or NULL */
    void (*close)(struct br__ckpt *ck); /* what the common part does not own */
};

struct br__ckpt {
    const struct br__ckpt_ops *ops;
    int format;              /* enum br__format */
    struct br__arena arena;  /* owns every string and table below */
    const char *dir;         /* directory that holds the files: HF dir, or the iteration dir */
    struct br__file *files;  /* opened */
    const char **file_names; /* relative to dir */
    size_t n_files;
    struct br__tensor *tensors; /* HF: by file, then in offset order; torch_dist: sorted by name */
    size_t n_tensors;
    struct br__map by_name;
    const char **warnings; /* one sentence each */
    size_t n_warnings, cap_warnings;
    struct br__hf *hf;   /* format HF only */
    struct br__hub *hub; /* owned; HF only: weights are read from the hub, not from disk */
    struct br__td *td;   /* format torch_dist only */
};

/* Open a directory of either format: torch_dist if it (or an iteration below it) has .metadata,
 * else HF; or one safetensors file.  BR_E_NOTFOUND, BR_E_FORMAT, BR_E_IO, BR_E_NOMEM. */
int br__ckpt_open(struct br__ckpt **out, const char *dir, struct br_err *err) BR_MUST_CHECK;
void br__ckpt_close(struct br__ckpt *ck); /* NULL and half-built are fine */
/* Read n bytes at byte offset `off` of the contiguous row-major little-endian global tensor,
 * whatever the chunking.  Thread-safe. */
int br__ckpt_read(const struct br__ckpt *ck, const struct br__tensor *t, uint64_t off, void *dst,
                  size_t n, struct br_err *err) BR_MUST_CHECK;
const struct br__tensor *br__ckpt_find(const struct br__ckpt *ck, const char *name);
/* After the last read, before a result is believed: records that were read in part are read whole
 * and checked, and no file may have changed since it was opened.  BR_E_FORMAT, BR_E_BUSY. */
int br__ckpt_settle(const struct br__ckpt *ck, struct br_err *err) BR_MUST_CHECK;

/* ---- Hugging Face directories ---------------------------------------------------------------- */

struct br__hf {
    char *config_text; /* config.json verbatim, NUL-terminated; NULL if absent */
    size_t config_size;
    char *generation_text; /* generation_config.json verbatim or NULL */
    size_t generation_size;
    const char **metadata_json; /* per file: "__metadata__" text or NULL */
    int has_index;              /* weights were named by model.safetensors.index.json */
};
/* Open a model for reading.  flags: BR__HF_CONFIG_ONLY reads no weights; BR__HF_REMOTE downloads no
 * weights: those that are not in the cache are read from the hub, headers now, the rest when it is
 * asked for, in blocks that are kept for a while (64 MiB in all); without flags weights are
 * downloaded.  The small files of ck->dir are there in any case. */
enum br__hf_flags { BR__HF_CONFIG_ONLY = 1, BR__HF_REMOTE = 2 };
int br__hf_open_model(struct br__ckpt **out, const char *id_or_dir, unsigned flags,
                      const struct br__hub_opts *o, struct br_err *err) BR_MUST_CHECK;
/* The same for everything but weights, with the default options. */
int br__hf_resolve(struct br__arena *a, const char *id_or_dir, const char **dir,
                   struct br_err *err) BR_MUST_CHECK;
/* A checkpoint without bytes: tensors as given (names copied), no files.  For `plan --config`. */
int br__hf_invent(struct br__ckpt **out, const struct br__tensor *tensors, size_t n,
                  struct br_err *err) BR_MUST_CHECK;
/* A checkpoint of no tensors, with a name and room for the texts of ck->hf; NULL: out of memory. */
struct br__ckpt *br__hf_new(const char *dir);
/* Text of model.safetensors.index.json: {"metadata": {"total_size": N}, "weight_map": {...}} with
 * names sorted, two-space indent, as huggingface_hub writes it. */
int br__hf_index_text(struct br__buf *out, const char **names, const char **files, size_t n,
                      uint64_t total_size) BR_MUST_CHECK;
/* Names in `dir` of the small files that travel with a model: generation_config, tokenizer files,
 * chat templates, *.py custom code, merges/vocab, *.jinja, LICENSE, README.  Not config.json, not
 * weights, not the index. tokenizer_only: just what belongs into a torch_dist tokenizer/ folder. */
int br__hf_side_files(struct br__arena *a, const char *dir, int tokenizer_only, char ***names,
                      size_t *n, struct br_err *err) BR_MUST_CHECK;
int br__hf_is_side_file(const char *name, int tokenizer_only);

/* ---- safetensors files ----------------------------------------------------------------------- */

#define BR__ST_HEADER_MAX 100000000u /* as the reference implementation */
/* One tensor of a header; `name` in the arena that was given. */
struct br__st_entry {
    const char *name;
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    uint64_t begin, end; /* relative to the data section */
};
/* Header of a mapped file: validates length, then br__st_parse.  *data_off = absolute start of
 * data. */
int br__st_open(struct br__arena *a, const struct br__file *f, struct br__st_entry **entries,
                size_t *n_entries, uint64_t *data_off, const char **metadata_json,
                struct br_err *err) BR_MUST_CHECK;
/* Serialise a header for entries laid out back to back in the order given (begin/end are set here):
 * 8-byte length, compact JSON ("__metadata__" first if metadata_json, then the tensors in order,
 * keys dtype, shape, data_offsets), padded with spaces to a multiple of 8: the form that the
 * reference implementation writes. */
int br__st_header(struct br__buf *out, struct br__st_entry *entries, size_t n,
                  const char *metadata_json) BR_MUST_CHECK;

/* ---- torch_dist directories, read ------------------------------------------------------------ */

struct br__td_chunk {
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
    uint32_t file;
    uint64_t item_off, item_len; /* the ZIP item */
    uint64_t data_off;           /* absolute offset of the chunk's first element */
    uint64_t flat;               /* byte offset of the first element in the global tensor */
    uint64_t reach;              /* largest end of this and all chunks before it, likewise */
    struct br__td_record *rec;   /* that the data lies in */
};
/* The ZIP record of a chunk, whose CRC-32 is put together from the ranges that are read of it, in
 * any order and by any thread. */
struct br__td_record {
    uint64_t off, size;    /* of the data, absolute in the file */
    uint32_t crc;          /* as the archive has it; 0: not computed */
    _Atomic uint32_t sum;  /* of the ranges read so far */
    _Atomic uint64_t seen; /* bytes of them; from `size` on the record was checked */
};
struct br__td {
    const char *root;           /* directory that holds the iteration dir; may equal dir's parent */
    const char *iteration_name; /* "iter_0000003", "release" */
    struct br__td_chunk **chunks; /* per tensor priv index: chunks sorted by flat offset */
    size_t *n_chunks;
    struct br__td_record *records; /* one per chunk */
    size_t n_records, n_no_crc;    /* n_no_crc: not empty and without a CRC-32 */
    int no_verify;                 /* do not compare CRC-32s */
    const char **objects;          /* bytes items' keys, sorted */
    uint32_t *object_file;
    uint64_t *object_off, *object_len;
    size_t n_objects;
    struct br__pk
        *common;     /* common state dict, from common.pt or common_state/shard_0_1; NULL if none */
    int common_from; /* 0 none, 1 common.pt, 2 object */
    struct br__pk *args; /* argparse.Namespace state of Megatron-LM, or NULL */
    int has_run_config;
    char *run_config_text; /* verbatim, NULL if absent */
    size_t run_config_size;
    int64_t iteration;                    /* from the common state, -1 if none */
    int64_t train_step, consumed_samples; /* train_state.pt, -1 if none */
    int64_t skipped_samples,
        valid_samples; /* likewise: left out after a bad step, used for validation */
    double flops;      /* likewise */
};
/* Resolve root/iteration dir and open.  Order for a root: latest_checkpointed_iteration.txt
 * ("release" or N), else latest_train_state.pt, else the largest iter_*, else release. */
int br__td_open(struct br__ckpt **out, const char *dir, struct br_err *err) BR_MUST_CHECK;
/* The iteration directory (arena) that br__td_open would read; BR_E_NOTFOUND if `dir` is no
 * torch_dist checkpoint. */
int br__td_resolve(struct br__arena *a, const char *dir, const char **iter_dir,
                   struct br_err *err) BR_MUST_CHECK;
/* Read the whole record of a chunk of t and compare its CRC-32; hash, if not NULL, takes the bytes.
 */
int br__td_check_record(const struct br__ckpt *ck, const struct br__tensor *t,
                        const struct br__td_chunk *c, struct br__xxh3 *hash,
                        struct br_err *err) BR_MUST_CHECK;

/* ---- values of a pickle ---------------------------------------------------------------------- */

enum br__pk_kind {
    BR__PK_NONE,
    BR__PK_BOOL,
    BR__PK_INT,
    BR__PK_FLOAT,
    BR__PK_STR,
    BR__PK_BYTES,
    BR__PK_LIST,
    BR__PK_TUPLE,
    BR__PK_SET,
    BR__PK_DICT,
    BR__PK_GLOBAL, /* module + name                              */
    BR__PK_OBJECT, /* result of REDUCE or NEWOBJ: callable, args, state (BUILD) and, for dict/list
                      subclasses, items                          */
    BR__PK_PERSID  /* persistent id, item[0]                     */
};
/* 16 bytes: the .metadata of a large checkpoint is millions of them. */
struct br__pk {
    uint8_t kind;
    uint8_t b : 1;   /* BOOL; OBJECT: made by NEWOBJ, not by REDUCE */
    uint8_t big : 1; /* INT that does not fit int64; its value is not kept.  OBJECT: NEWOBJ_EX */
    uint8_t cap : 6; /* room of u.item: 0 = exactly n items, else 2^cap pointers */
    uint16_t depth;  /* nesting below this value when it was built */
    uint32_t n;      /* STR/BYTES: length; LIST/TUPLE/SET: items; DICT: pairs */
    union {
        int64_t i; /* INT */
        double f;
        const char *s;           /* STR (NUL-terminated), BYTES */
        struct br__pk **item;    /* LIST/TUPLE/SET/PERSID; DICT: key, value, key, value, ... */
        struct br__pk_global *g; /* GLOBAL */
        struct br__pk_object *o; /* OBJECT */
    } u;
};
struct br__pk_global {
    const char *module, *name;
};
struct br__pk_object {
    struct br__pk *callable, *args, *state, *items;
};
/* Value for a string key of a DICT, or of an OBJECT's dict state; NULL if absent. */
const struct br__pk *br__pk_get(const struct br__pk *v, const char *key);

/* ---- records of a torch.save archive --------------------------------------------------------- */

struct br__zip_rec {
    const char *name;   /* without the archive prefix; arena */
    uint64_t off, size; /* of the data, absolute in the file */
    uint32_t crc;       /* 0 and not empty: not computed, as torch can be told to write it */
};
/* Central directory of the archive that occupies [base, base + length) of `map`.  Sizes come from
 * the central directory (local headers hold 0, or the same), zip64 fields honoured, every record
 * must lie inside the range, be stored, and share one prefix. */
int br__zip_read(struct br__arena *a, const unsigned char *map, uint64_t map_size, uint64_t base,
                 uint64_t length, struct br__zip_rec **recs, size_t *n,
                 struct br_err *err) BR_MUST_CHECK;
const struct br__zip_rec *br__zip_find(const struct br__zip_rec *recs, size_t n, const char *name);
/* A record's bytes against its CRC-32, if there is one. */
int br__zip_check(const struct br__zip_rec *rec, const unsigned char *map,
                  struct br_err *err) BR_MUST_CHECK;

/* ---- torch_dist directories, written --------------------------------------------------------- */

/* One output tensor and its boxes, in the order in which they are to be stored. */
struct br__td_out {
    const char *key;
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
};
struct br__td_item {
    uint32_t tensor;        /* index into br__td_out array; BR__TD_OBJECT for a bytes item */
    const char *object_key; /* bytes item's key */
    int verbatim;           /* bytes item: produce() gives the whole archive, data_bytes long */
    int64_t off[BR_MAX_DIMS], size[BR_MAX_DIMS];
    uint64_t data_bytes;
    uint32_t writer, file;       /* set by the layout: of __<writer>_<file>.distcp */
    uint64_t item_off, item_len; /* set by the layout */
    uint32_t crc;                /* of a chunk's data, set when it is written */
};
#define BR__TD_OBJECT UINT32_MAX
#define BR__TD_COMMON "common_state/shard_0_1" /* key of the common state */
#define BR__TD_FILE_TARGET                                                                         \
    (1ull << 30) /* a new .distcp about every GiB: parts for threads and resume */
#define BR__TD_RNG "rng_state/shard_0.0_1.1" /* key of the generators of a run of one rank */
#define BR__TD_OBJECT_DATAS 5
/* A bytes item with tensors. */
struct br__td_object {
    const void *pickle, *data[BR__TD_OBJECT_DATAS];
    size_t pickle_size, n_data;
    uint64_t size[BR__TD_OBJECT_DATAS];
};
struct br__td_plan {
    const struct br__td_out *tensors;
    size_t n_tensors;
    struct br__td_item *items; /* bytes items first, then tensor chunks */
    size_t n_items;
    uint32_t writer;      /* the rank that writes these items */
    uint32_t n_files;     /* set by the layout: __<writer>_<k>.distcp */
    uint64_t *file_bytes; /* per file, arena */
    const void
        *common_pickle; /* pickle bytes of the common state's dict, for common_state/shard_0_1 */
    size_t common_pickle_size;
    const struct br__td_object *rng; /* for BR__TD_RNG */
};
#define BR__MT_WORDS 624
/* MT19937 seeded as Python's random.seed does, and as numpy.random.seed and torch.manual_seed. */
struct br__td_rng {
    uint64_t seed;
    uint32_t python[BR__MT_WORDS], numpy[BR__MT_WORDS];
};
/* The generators right after they were seeded, as Megatron Bridge's rng_state (arena). */
int br__td_rng_object(struct br__arena *a, const struct br__td_rng *r, struct br__td_object *out,
                      struct br_err *err) BR_MUST_CHECK;
/* Assign items to files and compute every offset.  Depends on the plan only (never on threads):
 * contiguous runs of items, at least two files when there is more than one tensor item. */
int br__td_layout(struct br__arena *a, struct br__td_plan *p, struct br_err *err) BR_MUST_CHECK;
#define BR__TD_FILE "__%u_%u.distcp" /* name of a file, of its writer and number */
/* Write all items of one file into `d`.  produce(arg, item index, offset, dst, n) fills n data
 * bytes of an item from byte offset `offset`; it is called in order with n <= BR__OUT_BUF. */
int br__td_write_file(const struct br__td_plan *p, uint32_t file, const struct br__dir *d, int sync,
                      int (*produce)(void *arg, size_t item, uint64_t offset, void *dst, size_t n,
                                     struct br_err *err),
                      void *arg, struct br_err *err) BR_MUST_CHECK;
/* .metadata bytes (protocol 2, plain Metadata, 5-element TensorProperties, no version). */
int br__td_metadata(const struct br__td_plan *p, struct br__buf *out,
                    struct br_err *err) BR_MUST_CHECK;
struct br__td_common {
    int64_t iteration;
    int non_homogeneous_layers;
    /* args namespace: name/value pairs in order; value is Python-ish text: "None", "True", "12",
     * "1e-06",
     * "'str'" (taken verbatim, no escapes), "torch.bfloat16", or a list of these: "[1, 1, 0]" (its
     * strings hold no comma or bracket) */
    const char *const (*args)[2];
    size_t n_args;
    const struct br__train_save *train; /* NULL: weights only */
    /* fields for bridge alone, which Megatron ignores: entries of a dict under the key "bridge" */
    const char *const (*extra)[2];
    size_t n_extra;
};
/* The common state dict as a protocol 2 pickle: as_list wraps it in a one-element list (the object
 * form). */
int br__td_common_pickle(struct br__buf *out, const struct br__td_common *c, int as_list,
                         struct br_err *err) BR_MUST_CHECK;
/* Whole small archives: common.pt, and train_state.pt under any name. */
int br__td_write_common(const struct br__dir *d, const struct br__buf *pickle, int sync,
                        struct br_err *err) BR_MUST_CHECK;
int br__td_write_train_state(const struct br__dir *d, const char *name, int64_t step, int sync,
                             struct br_err *err) BR_MUST_CHECK;
/* The counters of a run, for the same file. */
struct br__train_counters {
    int64_t step, consumed_samples, skipped_samples, valid_samples;
    double flops; /* stored as float32 */
    int do_train, do_valid, do_test;
};
int br__td_write_counters(const struct br__dir *d, const char *name,
                          const struct br__train_counters *c, int sync,
                          struct br_err *err) BR_MUST_CHECK;
extern const char br__td_metadata_json[]; /* the four-key metadata.json */

/* ---- training state of torch_dist directories: torchdist/train*.c ---------------------------- */

/* How a checkpoint keeps the optimizer's tensors. */
enum br__optim_form {
    BR__OPTIM_NONE,  /* there are none */
    BR__OPTIM_PLAIN, /* no distributed optimizer: shaped as the weights, main copies are fp32_param
                      */
    BR__OPTIM_FULLY, /* fully_reshardable: shaped as the weights */
    BR__OPTIM_DP     /* dp_reshardable: the flat gradient buckets of each model-parallel rank */
};
/* What an AdamW keeps of each parameter, all float32. */
enum br__optim_kind { BR__OPTIM_MAIN, BR__OPTIM_EXP_AVG, BR__OPTIM_EXP_AVG_SQ, BR__N_OPTIM_KINDS };

struct br__optim_group {
    uint32_t optimizer; /* 0; 1: that of the experts, when expert parallelism is on */
    int is_expert_parallel, is_decoupled_lr, bias_correction;
    double wd_mult, lr_mult, max_lr, min_lr, lr, beta1, beta2, eps, weight_decay;
    int64_t step;
};
/* Megatron's opt_param_scheduler; steps are samples. */
struct br__optim_scheduler {
    double max_lr, min_lr, start_wd, end_wd;
    int64_t warmup_steps, decay_steps, wd_incr_steps, num_steps;
    const char *decay_style, *wd_incr_style;
};
/* One weight with its optimizer state. */
struct br__train_param {
    const struct br__tensor *weight;
    const struct br__tensor *tensor[BR__N_OPTIM_KINDS]; /* shaped as the weight; NULL: none */
    struct br__td_chunk *boxes; /* in buckets, or in shifted tensors; NULL: none */
    size_t n_boxes;
    uint64_t lost[BR__N_OPTIM_KINDS]; /* elements: main from the weight, moments zero */
    int from_weight;                  /* no stored value can be trusted */
    uint64_t compared,
        unlike; /* set by check: elements, and those that do not round to the weight */
};
struct br__train_layout;
struct br__train_state {
    struct br__arena arena;
    const struct br__ckpt *ck; /* borrowed */
    int form;                  /* enum br__optim_form */
    int experts_apart; /* two optimizers in a chain: Megatron's form with expert parallelism */
    struct br__optim_group *groups;
    size_t n_groups, cap_groups;
    int has_scheduler;
    struct br__optim_scheduler scheduler;
    int64_t iteration, consumed_samples; /* -1 unknown */
    size_t n_rng_items;
    struct br__train_param *params; /* of the weights that have state, in name order */
    size_t n_params;
    size_t n_frozen;                 /* weights without any */
    struct br__train_layout *layout; /* what lies where in the buckets; or NULL */
    size_t n_unlike, first_unlike; /* set by check: parameters whose main copy is not the weight */
    size_t n_repaired;             /* set by repair: such parameters */
};
/* BR_E_UNSUPPORTED: a form of optimizer state that is not read here; BR_E_FORMAT: it contradicts
 * itself. */
int br__train_state_open(struct br__train_state **out, const struct br__ckpt *ck,
                         struct br_err *err) BR_MUST_CHECK;
void br__train_state_close(struct br__train_state *s); /* NULL is fine */
/* Elements [first, first + n) of parameter i.  Thread-safe. */
int br__train_state_read(const struct br__train_state *s, size_t i, int kind, uint64_t first,
                         float *dst, size_t n, struct br_err *err) BR_MUST_CHECK;
/* Bytes [off, off + n) of the row-major contents of a box, of a tensor as it is stored or of state
 * as float32 (all three multiples of the element size there). */
int br__ckpt_read_box(const struct br__ckpt *ck, const struct br__tensor *t,
                      const struct br__td_item *box, uint64_t off, void *dst, size_t n,
                      struct br_err *err) BR_MUST_CHECK;
int br__train_state_read_box(const struct br__train_state *s, size_t i, int kind,
                             const struct br__td_item *box, uint64_t off, void *dst, size_t n,
                             struct br_err *err) BR_MUST_CHECK;
/* Compare main copies, rounded, with the weights: the two ends of each tensor, or all of it.  Sets
 * n_unlike. */
enum br__main_check { BR__MAIN_NONE, BR__MAIN_ENDS, BR__MAIN_ALL };
int br__train_state_check(struct br__train_state *s, int how, struct br_err *err) BR_MUST_CHECK;
/* Megatron 0.19 stores the optimizer tensors of fully_reshardable shifted when a gradient buffer
 * has several padded buckets.  Find such parameters and shift them back; what was never stored, or
 * cannot be found, is lost: main copies come from the weights, moments become zero, and `lost`
 * counts them. */
int br__train_state_repair(struct br__train_state *s, struct br_err *err) BR_MUST_CHECK;
/* Groups and scheduler to be written into the common state of a fully_reshardable checkpoint. */
struct br__train_save {
    int experts_apart;
    const struct br__optim_group *groups;
    size_t n_groups;
    const struct br__optim_scheduler *scheduler; /* NULL: none */
};
/* The tensors of a training checkpoint: those of p, which holds weights and is not laid out yet,
 * and for each weight t with trained[t] (NULL: each) its three optimizer tensors, float32, in the
 * weight's boxes. Replaces p->tensors and p->items (arena).  source[i]: weight and kind of tensor
 * i; kind -1: the weight itself. */
struct br__train_source {
    uint32_t weight;
    int kind;
};
int br__td_train_plan(struct br__arena *a, struct br__td_plan *p, const uint8_t *trained,
                      struct br__train_source **source, struct br_err *err) BR_MUST_CHECK;
/* The common state of checkpoint `ck` with the optimizer's part as `t` says, in fully_reshardable's
 * form; everything else stays. */
int br__td_train_common(struct br__buf *out, const struct br__ckpt *ck,
                        const struct br__train_save *t, int as_list,
                        struct br_err *err) BR_MUST_CHECK;
/* What the checkpoint itself calls the form, NULL if it does not say; samples seen, or -1. */
const char *br__td_sharding(const struct br__td *td);
int64_t br__td_samples(const struct br__td *td);

/* ---- indexed.c: Megatron's token files, NAME.bin and NAME.idx -------------------------------- */

struct br__indexed {
    struct br__file bin, idx;
    int dtype; /* enum br_dtype: a whole number type */
    int64_t n_seq, n_doc, n_tokens;
    const unsigned char *lengths, *offsets, *bounds; /* in the map of .idx, unaligned */
};
/* The whole index is checked: every sequence lies in the .bin, documents tile the sequences. */
int br__indexed_open(struct br__indexed *x, const char *prefix, struct br_err *err) BR_MUST_CHECK;
void br__indexed_close(struct br__indexed *x);                     /* safe on a zeroed one */
int64_t br__indexed_len(const struct br__indexed *x, int64_t seq); /* tokens */
/* First sequence of document i, 0 <= i <= n_doc; the last is n_seq. */
int64_t br__indexed_doc(const struct br__indexed *x, int64_t i);
/* Tokens [from, from + n) of a sequence, which has as many; thread-safe. */
int br__indexed_read(const struct br__indexed *x, int64_t seq, int64_t from, int64_t n,
                     int32_t *out, struct br_err *err) BR_MUST_CHECK;
/* uint16 for a vocabulary of fewer than 65,500 tokens, else int32, as Megatron chooses. */
int br__indexed_dtype(int64_t n_vocab);

/* Written: files of other names until br__indexed_finish, which always ends the writer, as
 * br__indexed_abort does; an abort leaves nothing behind. */
struct br__indexed_out {
    struct br__arena arena;
    struct br__dir dir;
    struct br__out bin, lists[2];
    const char *names[6]; /* in dir */
    int dtype, sync;
    int64_t n_seq, n_doc, n_tokens;
    int64_t open; /* tokens of the sequence that has not ended */
};
int br__indexed_create(struct br__indexed_out *w, const char *prefix, int dtype, int sync,
                       struct br_err *err) BR_MUST_CHECK;
/* Tokens of a sequence in parts; br__indexed_add is both for a whole one. */
int br__indexed_put(struct br__indexed_out *w, const int32_t *ids, size_t n,
                    struct br_err *err) BR_MUST_CHECK;
int br__indexed_end_seq(struct br__indexed_out *w, struct br_err *err) BR_MUST_CHECK;
int br__indexed_add(struct br__indexed_out *w, const int32_t *ids, size_t n,
                    struct br_err *err) BR_MUST_CHECK; /* one sequence */
int br__indexed_end_doc(struct br__indexed_out *w, struct br_err *err) BR_MUST_CHECK;
/* All sequences and documents of another file of the same dtype. */
int br__indexed_append(struct br__indexed_out *w, const struct br__indexed *x,
                       struct br_err *err) BR_MUST_CHECK;
int br__indexed_finish(struct br__indexed_out *w, struct br_err *err) BR_MUST_CHECK;
void br__indexed_abort(struct br__indexed_out *w);

/* ---- npy.c: arrays as numpy.save writes them ------------------------------------------------- */

#define BR__NPY_DIMS 2
struct br__npy {
    struct br__file file;
    int dtype, ndim; /* one or two dimensions, row-major */
    int64_t shape[BR__NPY_DIMS];
    const unsigned char *data; /* in the map, 8-byte aligned */
};
int br__npy_open(struct br__npy *x, const char *path, struct br_err *err) BR_MUST_CHECK;
void br__npy_close(struct br__npy *x);
/* A header of n bytes at most; *data_off is where the elements begin, all of which are there. */
int br__npy_parse(struct br__npy *x, const unsigned char *p, uint64_t n, uint64_t *data_off,
                  struct br_err *err) BR_MUST_CHECK;
/* The same bytes as numpy.save. */
int br__npy_write(const char *path, int dtype, int ndim, const int64_t *shape, const void *data,
                  int sync, struct br_err *err) BR_MUST_CHECK;

/* ---- parquet.c: Parquet files as rows -------------------------------------------------------- */

struct br__parquet;
int br__parquet_open(struct br__parquet **out, const char *path, struct br_err *err) BR_MUST_CHECK;
void br__parquet_close(struct br__parquet *p); /* NULL is fine */
int64_t br__parquet_rows(const struct br__parquet *p);
/* The columns to read, before the first row: these, or (n = 0) all whose types are known. */
int br__parquet_select(struct br__parquet *p, const char *const *names, size_t n,
                       struct br_err *err) BR_MUST_CHECK;
/* Append the next row as a JSON object; *more is 0 at the end.  Memory: a page of each column. */
int br__parquet_next(struct br__parquet *p, struct br__buf *json, int *more,
                     struct br_err *err) BR_MUST_CHECK;

/* ---- yaml.c: the only user of libyaml -------------------------------------------------------- */

/* A YAML document as a tree; scalars keep their text and whether they were plain (unquoted). */
struct br__yaml {
    enum { BR__YAML_SCALAR, BR__YAML_MAP, BR__YAML_LIST } kind;
    int plain;
    const char *text;        /* scalar */
    const char **keys;       /* map */
    struct br__yaml **items; /* map values or list items */
    size_t n;
};
/* Parse one document (no anchors, no tags beyond the core schema, bounded depth and size). */
int br__yaml_parse(struct br__arena *a, const char *text, size_t n, struct br__yaml **out,
                   struct br_err *err) BR_MUST_CHECK;
const struct br__yaml *br__yaml_get(const struct br__yaml *map, const char *dotted_path);
/* Scalar values as yaml.safe_load reads them: null/true/1/1.0e-06.  0, or BR_E_FORMAT. */
int br__yaml_is_null(const struct br__yaml *y);
int br__yaml_f64(const struct br__yaml *y, double *out) BR_MUST_CHECK;
int br__yaml_bool(const struct br__yaml *y, int *out) BR_MUST_CHECK;
/* Text of a float as PyYAML dumps it: 1.0e-06, 1000000.0. */
void br__yaml_put_double(struct br__buf *b, double v);
const char *br__yaml_version(struct br__arena *a); /* libyaml's, as loaded */

#endif
