/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* data.h - the door of core/data: from files to batches of token ids.
 *
 * It knows tokenizers, chat templates and data files; of a model it knows the ids that the
 * tokenizer gives, of a training run its seeds, lengths and counts.  What it hands out is a
 * function of the files, these numbers and the sample's index: not of threads, time or what was
 * read before. */
#ifndef BRIDGE_CORE_DATA_H
#define BRIDGE_CORE_DATA_H

#include "../base/base.h"

enum br__data_split { BR__TRAIN, BR__VALID, BR__TEST, BR__N_SPLITS };
extern const char *const br__split_names[BR__N_SPLITS]; /* "train", "valid", "test" */

/* ---- a sample -------------------------------------------------------------------------------- */

/* Tokens with what is to be predicted at each.  The arrays belong to the sample and are used again
 * by the next call; start from {0}, end with br__sample_free. */
struct br__sample {
    int64_t n;          /* tokens */
    int32_t *ids;       /* [n] */
    int32_t *labels;    /* [n] what follows */
    int32_t *positions; /* [n] */
    float *weights;     /* [n] of each label in the loss; 0: left out */
    int32_t *ends;      /* [n_ends] attention does not cross these; the last is n */
    int64_t n_ends;
    int64_t span; /* Megatron pads a batch to no less than this */
    int64_t cap;  /* elements of each array */
};

/* ---- pretraining data ------------------------------------------------------------------------ */

struct br_tokenizer;
struct br__pretrain_opts {
    /* One blend for all splits, cut by `split`; or one for each; or neither: mock data.  A blend is
     * a list of NAMEs of NAME.bin and NAME.idx, or of weights and names in turn. */
    const char *const *paths;
    size_t n_paths;
    const char *const *split_paths[BR__N_SPLITS];
    size_t n_split_paths[BR__N_SPLITS];
    const char *split; /* "9999,8,2"; NULL with split_paths and for mock data ("1,1,1") */
    int64_t n_samples[BR__N_SPLITS]; /* wanted of each: -1 one epoch, 0 the split is not opened */
    int64_t seq_length;
    uint32_t seed;
    int32_t eod, pad; /* pad: -1 none; see br__special_ids */
    int32_t n_vocab;  /* of mock data */
    int reset_position_ids, reset_attention_mask, eod_mask_loss;
    const char *cache_dir; /* the index arrays are kept there as .npy; NULL: nowhere */
};
/* "9999,8,2" -> from and to of each split as shares of 1; to <= from where a split is empty. */
int br__split_parse(const char *text, double (*range)[2], struct br_err *err) BR_MUST_CHECK;
struct br__pretrain;
/* Everything is checked and indexed.  BR_E_CONFIG: a split that is wanted has no tokens. */
int br__pretrain_open(struct br__pretrain **out, const struct br__pretrain_opts *o,
                      struct br_err *err) BR_MUST_CHECK;
void br__pretrain_close(struct br__pretrain *p); /* NULL is fine */
/* For the plan: dataset k of a split's blend; 0 past the last. */
struct br__pretrain_part {
    const char *path;
    int64_t sequences, tokens, epochs, samples; /* of the split */
    double weight;
};
int br__pretrain_part(const struct br__pretrain *p, int split, size_t k,
                      struct br__pretrain_part *out);
/* What token files need of a tokenizer. */
struct br__special_ids {
    int32_t eod; /* its end of text; -1: none */
    int32_t pad; /* -1: it has none, or it is the end of text or another special token too, which
                    must be learnt */
    int32_t n_vocab; /* highest id + 1 */
};
struct br__special_ids br__special_ids(const struct br_tokenizer *tok);
/* The same from the files of a tokenizer that cannot be opened: its text cannot be encoded here,
 * but ids can be learnt. */
int br__special_ids_read(const char *dir, struct br__special_ids *out,
                         struct br_err *err) BR_MUST_CHECK;

/* ---- the order of samples -------------------------------------------------------------------- */

enum br__data_sampler_kind {
    BR__SAMPLER_SINGLE, /* 0, 1, 2, ...: pretraining */
    BR__SAMPLER_CYCLIC, /* torch's random order, another each epoch: validation */
    BR__SAMPLER_BATCH   /* whole global batches in torch's random order: finetuning */
};
struct br__data_sampler {
    int kind;                          /* enum br__data_sampler_kind */
    int64_t total;                     /* samples */
    int64_t micro_batch, global_batch; /* global_batch: BATCH */
    int64_t dp, rank;                  /* of this rank among those that share the data */
    uint64_t seed;                     /* BATCH */
    int keep_last;                     /* SINGLE, BATCH: use the last samples that fill no batch */
    int pad_last;                      /* BATCH with keep_last: fill it up with -1 */
    int no_sharding;                   /* CYCLIC: ranks take turns instead of a block each */
    /* The order of one epoch; made when it is needed, a function of the above. */
    int64_t *order, order_n, order_epoch;
};

/* ---- finetuning data ------------------------------------------------------------------------- */

struct br_chat;
struct br_listener;
enum br__sft_loss { BR__LOSS_ANSWER, BR__LOSS_LAST_TURN, BR__LOSS_FULL };
enum br__packing_kind { BR__PACK_NONE, BR__PACK_FIRST_FIT_DECREASING, BR__PACK_FIRST_FIT_SHUFFLE };
/* The names are those of Megatron Bridge's dataset_kwargs.  Zero is the default where a comment
 * says nothing else; strings are borrowed while the data is open. */
struct br__sft_opts {
    const char *path; /* JSONL */
    const struct br_tokenizer *tok;
    const struct br_chat *chat; /* records are conversations; else prompt and answer */
    int64_t seq_length;
    const char
        *prompt_template;  /* NULL: "{input} {output}"; it ends with the label's placeholder */
    const char *label_key; /* NULL: "output" */
    const char *truncation_field; /* NULL: "input"; "a,b"; "": none */
    int truncation_left, add_bos, no_eos;
    /* prompt_completion_config: two columns, the prompt's own template with {prompt} in it */
    const char *prompt_column, *completion_column; /* both, or neither */
    const char *separator;                         /* between the two; NULL: "" */
    int loss;                                      /* enum br__sft_loss */
    const char *tools_json; /* tools of conversations that bring none; NULL: none */
    int64_t max_samples;    /* that many, in an order of its own; 0: the records as they are */
    int packing;            /* enum br__packing_kind */
    int64_t pack_size, pack_multiple;   /* of each example in a row, 0 or 1: as long as it is */
    uint32_t seed;                      /* of packing */
    int skip_bad;                       /* leave out and report what cannot be used */
    int threads;                        /* 0: one per CPU */
    const struct br_listener *listener; /* may be NULL */
};
struct br__sft;
/* Every record is read and checked.  The first bad one is the error, with file and line; with
 * skip_bad it is a warning each. */
int br__sft_open(struct br__sft **out, const struct br__sft_opts *o,
                 struct br_err *err) BR_MUST_CHECK;
void br__sft_close(struct br__sft *s);          /* NULL is fine */
int64_t br__sft_count(const struct br__sft *s); /* samples: records, or packed rows */
int32_t br__sft_eos(const struct br__sft *s);   /* what batches are padded with */
/* DIR/training.jsonl and so on, in the arena; NULL if there is none.  split: enum br__data_split.
 */
const char *br__sft_file(struct br__arena *a, const char *dir, int split);

/* ---- data sets of the Hugging Face hub ------------------------------------------------------- */

/* How records become prompt and answer. */
enum br__hub_rows { BR__HUB_ROWS, BR__HUB_SQUAD, BR__HUB_GSM8K, BR__HUB_OPENMATH };
/* A set that Megatron Bridge has a short name for. */
struct br__hub_known {
    const char *name, *id, *subset, *train; /* train: its split to train on, or NULL */
    int rows;                               /* enum br__hub_rows; ROWS: as they are */
};
const struct br__hub_known *br__hub_known(const char *name); /* NULL: there is none */
const char *br__hub_known_names(struct br__arena *a);        /* "squad, ..." */
struct br__hub_set_opts {
    const char *id;          /* ORG/NAME[@REVISION] */
    const char *subset;      /* of its configurations; NULL: the default one */
    const char *train;       /* split to train on; NULL: the one that is called so */
    int rows;                /* enum br__hub_rows */
    double held_back;        /* share of the training records that validation gets; 0: validation
                                has files of its own */
    uint32_t seed;           /* of which these are */
    int wants[BR__N_SPLITS]; /* splits */
    const char *cache_dir;   /* the result is below it, and is used again */
    int no_sync;
    const struct br_listener *listener; /* may be NULL */
};
/* Download what is wanted of a set (JSONL, JSON and Parquet files) and write its records to
 * training.jsonl, validation.jsonl and test.jsonl of *dir (in the arena); a split that the set does
 * not have has no file. */
int br__hub_set(struct br__arena *a, const struct br__hub_set_opts *o, const char **dir,
                struct br_err *err) BR_MUST_CHECK;

/* ---- batches --------------------------------------------------------------------------------- */

/* Rows of one length, as Megatron collates them.  Start from {0}; the arrays are used again. */
struct br__batch {
    int64_t n_rows, length;
    int32_t *ids, *labels, *positions; /* [n_rows * length] */
    float *weights;                    /* [n_rows * length] */
    int32_t *n_real;                   /* [n_rows] tokens before the padding */
    /* Sequences that see only themselves: sequence k is tokens [ends[k - 1], ends[k]) of all rows
     * in one line; padding at the end of a row is a sequence of its own. */
    int32_t *ends;
    int64_t n_ends;
    double n_loss; /* sum of the weights */
    int64_t cap, cap_rows;
};
struct br__collate {
    int64_t max;      /* no row is longer; 0: no limit */
    int64_t multiple; /* of the length; 0 or 1: as long as the longest */
    int to_max;       /* always max */
    int packed;       /* positions of padding are 0, as in packed rows, and do not go on */
    int32_t pad_id;   /* of ids and labels */
};

/* ---- pretokenised records -------------------------------------------------------------------- */

/* JSONL whose records are samples: "input_ids", and perhaps "labels", "loss_mask", "position_ids",
 * "cu_seqlens".  Without labels they are the ids shifted by one, and the mask has one entry less
 * than the ids; with labels every array is as long as the ids. */
struct br__pretok_opts {
    const char *path;
    int64_t seq_length; /* no record is longer */
    int64_t n_vocab;    /* ids are below it; 0: not known */
    const char *split;  /* "99,1,0": the records of one split; NULL: all */
    int which;          /* enum br__data_split */
    int64_t n_samples;  /* over several epochs; -1: each record once */
    uint32_t seed;      /* of the order, another each epoch */
    int file_order;     /* as they stand in the file */
    int skip_bad;
    const struct br_listener *listener;
};
struct br__pretok;
int br__pretok_open(struct br__pretok **out, const struct br__pretok_opts *o,
                    struct br_err *err) BR_MUST_CHECK;
void br__pretok_close(struct br__pretok *p);
int64_t br__pretok_count(const struct br__pretok *p);
/* 1 if the first record of a JSONL file has "input_ids", 0 if not, and -1 with an error. */
int br__is_pretok(const char *path, struct br_err *err);

/* ---- JSONL straight into pretraining --------------------------------------------------------- */

/* A JSONL or Parquet file tokenised once: *prefix (in the arena) names token files below cache_dir
 * whose name depends on the file (path, size, time of change), the tokenizer and the options. */
struct br__cached_opts {
    const char *path, *cache_dir;
    const char *key; /* NULL: "text" */
    const struct br_tokenizer *tok;
    const char *tok_dir; /* its files are part of the name */
    int32_t eod;         /* appended to every document; -1: nothing is */
    int threads, skip_bad;
    const struct br_listener *listener;
};
int br__data_cached(struct br__arena *a, const struct br__cached_opts *o, const char **prefix,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- the loader ------------------------------------------------------------------------------ */

/* Anything that has samples by number. */
struct br__data_source {
    const void *data;
    int split; /* of pretraining data */
    int64_t n; /* samples */
    int (*sample)(const struct br__data_source *s, int64_t i, struct br__sample *out,
                  struct br_err *err);
};
struct br__data_source br__data_source_pretrain(const struct br__pretrain *p, int split);
struct br__data_source br__data_source_pretok(const struct br__pretok *p);
struct br__data_source br__data_source_sft(const struct br__sft *s);

/* What one step of training sees. */
struct br__step {
    int64_t consumed; /* samples of all ranks before it */
    int64_t consumes;
    int64_t n_micro;
    struct br__batch
        *micro; /* [n_micro]; BATCH: all have one length, and the last may be smaller */
};
struct br__loader_opts {
    struct br__data_source source;
    struct br__data_sampler sampler; /* copied; its order is made by the loader */
    struct br__collate collate;
    int64_t global_batch; /* samples of a step, of all ranks */
    int64_t consumed;     /* to begin after */
    int64_t n_steps;      /* to prepare; 0: until the loader is closed or the samples end */
    int depth;            /* steps prepared ahead; 0: 2 */
};
struct br__loader;
/* A thread prepares steps ahead; what they hold depends on the options alone. */
int br__loader_open(struct br__loader **out, const struct br__loader_opts *o,
                    struct br_err *err) BR_MUST_CHECK;
/* The next step, valid until the next call; *out is NULL at the end.  The caller is one thread. */
int br__loader_next(struct br__loader *l, const struct br__step **out,
                    struct br_err *err) BR_MUST_CHECK;
double br__loader_waited(const struct br__loader *l); /* seconds that br__loader_next waited */
void br__loader_close(struct br__loader *l);          /* NULL is fine */

/* ---- token files from text ------------------------------------------------------------------- */

#define BR__MAX_KEYS 16
struct br__build_opts {
    const char *const *inputs; /* JSONL (.jsonl, .nvjsonl, .json), Parquet (.parquet), else text */
    size_t n_inputs;
    const char *output;      /* PREFIX.bin and .idx; with several keys PREFIX_KEY.bin */
    const char *const *keys; /* members or columns that are texts; none: "text" */
    size_t n_keys;
    const struct br_tokenizer *tok;
    int32_t eod; /* appended to every document; -1: nothing is */
    int dtype;   /* BR_U16 or BR_I32; BR_NONE: by the size of the vocabulary */
    int threads; /* 0: one per CPU */
    int sync, overwrite, skip_bad;
    const struct br_listener *listener; /* may be NULL */
};
struct br__build_result {
    int64_t documents, empty, bad; /* records written, without tokens, left out */
    int64_t tokens;                /* of all keys */
    uint64_t bytes;                /* of text */
    double cpu_seconds;            /* of all threads, from records to tokens */
};
/* All or nothing: the files appear when they are complete.  A text file is one document.  Memory
 * does not grow with the input. */
int br__data_build(const struct br__build_opts *o, struct br__build_result *res,
                   struct br_err *err) BR_MUST_CHECK;
/* Several token files to one, in their order. */
int br__data_merge(const char *const *inputs, size_t n, const char *output, int overwrite, int sync,
                   const struct br_listener *l, struct br__build_result *res,
                   struct br_err *err) BR_MUST_CHECK;
/* NAME of NAME.bin, NAME.idx or NAME, in the arena; NULL: out of memory. */
const char *br__data_prefix(struct br__arena *a, const char *path);

/* ---- random.c -------------------------------------------------------------------------------- */

/* States of MT19937 as numpy.random.seed(seed), torch.manual_seed(seed) and random.seed(seed) leave
 * them: the words, of which none is drawn. */
void br__random_seeded(uint32_t seed, uint32_t numpy[624], uint32_t python[624]);

#endif
