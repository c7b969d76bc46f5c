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

enum br__split { BR__TRAIN, BR__VALID, BR__TEST, BR__N_SPLITS };
extern const char *const br__split_names[BR__N_SPLITS]; /* "train", "valid", "test" */

/* ---- a sample -----------------------------------------------------------------------------------
 */

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
    int64_t cap; /* elements of each array */
};
int br__sample_room(struct br__sample *s, int64_t n, struct br_err *err) BR_MUST_CHECK;
void br__sample_free(struct br__sample *s);

/* ---- pretraining data
 * ---------------------------------------------------------------------------- */

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
    int32_t eod, pad; /* pad: -1 none; see br__pad_id */
    int32_t n_vocab;  /* of mock data */
    int reset_position_ids, reset_attention_mask, eod_mask_loss;
    const char *cache_dir; /* the index arrays are kept there as .npy; NULL: nowhere */
};
struct br__pretrain;
/* Everything is checked and indexed.  BR_E_CONFIG: a split that is wanted has no tokens. */
int br__pretrain_open(struct br__pretrain **out, const struct br__pretrain_opts *o,
                      struct br_err *err) BR_MUST_CHECK;
void br__pretrain_close(struct br__pretrain *p); /* NULL is fine */
/* Samples of a split; 0 if it was not opened. */
int64_t br__pretrain_count(const struct br__pretrain *p, int split);
/* Sample i of a split, and of which dataset of its blend; thread-safe. */
int br__pretrain_sample(const struct br__pretrain *p, int split, int64_t i, struct br__sample *out,
                        int *dataset, struct br_err *err) BR_MUST_CHECK;
/* For the plan: dataset k of a split's blend; 0 past the last. */
struct br__pretrain_part {
    const char *path;
    int64_t sequences, tokens, epochs, samples; /* of the split */
    double weight;
};
int br__pretrain_part(const struct br__pretrain *p, int split, size_t k,
                      struct br__pretrain_part *out);
/* The pad token of a tokenizer, or -1: it has none, or it is the end of a document or text or
 * another special token too, which must be learnt. */
int32_t br__pad_id(const struct br_tokenizer *tok, int32_t eod);

/* ---- the order of samples
 * ------------------------------------------------------------------------ */

enum br__sampler_kind {
    BR__SAMPLER_SINGLE, /* 0, 1, 2, ...: pretraining */
    BR__SAMPLER_CYCLIC, /* torch's random order, another each epoch: validation */
    BR__SAMPLER_BATCH   /* whole global batches in torch's random order: finetuning */
};
struct br__sampler {
    int kind;                          /* enum br__sampler_kind */
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
/* The next batch after `consumed` samples (of all ranks): its indices into index[], the number of
 * them, and what it consumes.  SINGLE and CYCLIC: a micro batch; BATCH: this rank's part of a
 * global batch.  *n is 0 at the end of SINGLE; the others begin the next epoch. */
int br__sampler_next(struct br__sampler *s, int64_t consumed, int64_t *index, int64_t *n,
                     int64_t *consumes, struct br_err *err) BR_MUST_CHECK;
void br__sampler_free(struct br__sampler *s);

#endif
