/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* trainer.h - what store.c, device_store.c, the files of train_ and trainer.c share: the weights of
 * a model as they are trained. */
#ifndef BRIDGE_CORE_TRAINER_H
#define BRIDGE_CORE_TRAINER_H

#include "llm.h"

/* ---- store.c: weights in memory of their own ------------------------------------------------- */

struct br__store {
    struct br__arena arena;
    struct br__trained *list; /* [n] in the order of the model's files */
    struct br__source *own;   /* [n] the sources that params are made of */
    float **wide;     /* [n] copies in float32 of what is rounded, where kernels read those */
    uint8_t *partial; /* [n] tensor-parallel ranks have a part of its gradient each */
    size_t n;
    float *main, *grad; /* [elems] of all tensors */
    int half;           /* BR_BF16 or BR_F16: the model has copies of that dtype; 0: it has none */
    uint16_t *bf16;     /* [elems] the copies, or NULL */
    float *widened;     /* [n_wide] of those that are no matrices: widened again */
    size_t elems, n_wide;
    struct br__trained_bank *banks; /* [n_banks] which they are in */
    size_t n_banks;
    int threads;
    uint32_t stage;              /* of the pipeline */
    struct br__source **trained; /* [sources of weights, then of their adapter] of own, or NULL */
    struct br__device *device; /* whose memory the blocks are; NULL: addresses alone, for a plan */
};
/* All weights, or those of an adapter if there is one beside them. */
int br__is_trained(const struct br__weights *w, const struct br__param *p);
/* Trains what those params of the rank that are trained are made of.  Params that are given
 * s->trained are made of the store's.  host: a device whose memory is the host's; of o: values,
 * sharded, bucket. */
int br__store_open(struct br__store *s, struct br__rank *r, struct br__device *host,
                   const struct br__train_opts *o, struct br_err *err) BR_MUST_CHECK;
/* The copies follow the main weights; `rounded`: those of 16 bits do already. */
int br__store_round(struct br__store *s, int rounded, struct br_err *err) BR_MUST_CHECK;
int br__store_zero_grads(struct br__store *s, struct br_err *err) BR_MUST_CHECK;
void br__store_close(struct br__store *s);
/* Memory that loading made of what is trained now is not needed beside it.  No params may be left
 * that use it. */
void br__store_unload(const struct br__store *s, struct br__weights *w);
/* Gradients become what bfloat16 holds of them. */
int br__store_round_grads(struct br__store *s, struct br_err *err) BR_MUST_CHECK;
/* Where the gradient of a part begins. */
float *br__store_grad(const struct br__store *s, const struct br__part *q);

/* ---- device_store.c: the same in memory of the device ---------------------------------------- */

struct br__dstore {
    struct br__device *device; /* that computes */
    struct br__device *host;   /* whose memory the store takes: the same one, or `cpu` */
    struct br__device cpu;
    float *main, *grad;             /* [elems of the store] in memory of `device`; main: or NULL */
    uint16_t *half;                 /* or NULL */
    struct br__trained_bank *banks; /* [banks of the store] of those */
    int is_made;                    /* they are no part of the store */
    float *room;                    /* a piece of any of them */
    size_t n_placed;                /* params whose weights are on the device */
};
int br__dstore_open(struct br__dstore *b, struct br__rank *r, struct br_err *err) BR_MUST_CHECK;
void br__dstore_close(struct br__dstore *b); /* after the store */
/* With the store's values.  banks are in its arena. */
int br__dstore_make(struct br__dstore *b, struct br__store *s, struct br_err *err) BR_MUST_CHECK;
/* Where the device adds what is at of_store in the store's gradients. */
float *br__dstore_grad(const struct br__dstore *b, const struct br__store *s,
                       const float *of_store);
int br__dstore_zero(struct br__dstore *b, struct br__store *s, struct br_err *err) BR_MUST_CHECK;
/* to[n] of the gradients += d[n], of the host. */
int br__dstore_add(struct br__dstore *b, float *to, const float *d, size_t n,
                   struct br_err *err) BR_MUST_CHECK;
/* Gradients become what bfloat16 holds of them. */
int br__dstore_round(struct br__dstore *b, struct br__store *s, struct br_err *err) BR_MUST_CHECK;
/* Graphs of new params find the weights on the device. */
int br__dstore_place(struct br__dstore *b, const struct br__store *s,
                     const struct br__params *params, struct br_err *err) BR_MUST_CHECK;
/* Main weights have changed: half follows, unless `rounded`; then, what graphs compute with. */
int br__dstore_widen(struct br__dstore *b, struct br__store *s, int rounded,
                     struct br_err *err) BR_MUST_CHECK;
int br__dstore_follow(struct br__dstore *b, const struct br__store *s,
                      const struct br__params *params, struct br_err *err) BR_MUST_CHECK;
/* take copies the store's weights into the blocks; give copies weights and gradients of the blocks
 * into the store. */
int br__dstore_take(struct br__dstore *b, const struct br__store *s,
                    struct br_err *err) BR_MUST_CHECK;
int br__dstore_give(struct br__dstore *b, const struct br__store *s,
                    struct br_err *err) BR_MUST_CHECK;

/* ---- train_pass.c: a rank's graphs ----------------------------------------------------------- */

/* What a graph is for. */
struct br__train_key {
    int64_t n_tokens, n_seqs;
    uint32_t chunk;
    int backward;
};
struct br__train_pass {
    int64_t n_tokens, n_seqs; /* room for as many */
    uint32_t chunk;
    int backward;
    struct br__losses losses;
    struct br__compiled *compiled; /* its frame is none: */
    struct br__frame **frames;     /* [n_frames] by number, or NULL */
    size_t n_frames, cap_frames;
    size_t n_params;   /* that there were when it was made; 0 without a backward pass */
    br_val *grad;      /* [n_params] by param->index; 0: none */
    br_val *leaf;      /* [n_params] the leaf that it is added to; 0: it is a value */
    br_val d_received; /* gradient of the hidden states that came in; 0: none did */
    /* [n_marks] ascending: the step after which this graph is through with a bank's gradients;
     * SIZE_MAX: when they were added by the host. */
    size_t *mark_at;
    uint32_t *mark_bank;
    size_t n_marks;
    uint64_t used;
};
/* Memory of the device: what frames of one number keep between forward and backward pass, of which
 * one at a time does; or a message between stages. */
struct br__kept {
    void *memory;
    size_t bytes;
};
/* A row of a graph: a token of the micro batch, or -1; where it is in its sequence, and whether one
 * comes after it there. */
struct br__train_row {
    int32_t token, pos, has_next;
};
/* A rank of the trainer. */
struct br__rank_trainer {
    struct br__rank *rank;
    const struct br__train_opts *o;
    struct br__store store;
    struct br__dstore dstore;
    uint32_t stage, pp;
    const struct br__chunk **chunks; /* [n_chunks] of its stage */
    uint32_t n_chunks;
    struct br__train_pass **passes;
    size_t n_passes, cap_passes;
    struct br__kept *kept; /* [n_kept] by number of the frame */
    size_t n_kept, cap_kept;
    struct br__kept *spare; /* [n_spare] of messages that are over */
    size_t n_spare, cap_spare;
    uint64_t clock, began;      /* of uses of passes; when this step began */
    size_t n_moe;               /* routed layers that it has */
    size_t *moe_from;           /* [n_chunks] the first of each chunk */
    float *past;                /* [n_moe, n_experts] tokens of the step that each expert got */
    int64_t *n_past;            /* [n_chunks] micro batches in it */
    double *aux, *z;            /* [micro batches of the step, n_moe] */
    size_t n_results;           /* room for as many */
    float *row;                 /* [n_experts] */
    struct br__train_row *rows; /* [cap_rows] of the micro batch that is at work */
    int64_t cap_rows;
    uint32_t *left;  /* [banks] graphs that have not met their mark in this step */
    uint8_t *handed; /* [banks] given to o->bank_ready in this step */
};
struct br__trainer {
    struct br__llm *m;
    struct br__train_opts o;
    struct br__rank_trainer *ranks; /* [m->n_ranks] */
    struct br__arena arena;
    struct br__stages stages;
};
/* Which params there are shows in graphs of the fewest tokens: after this the rank has them. */
int br__rank_probe(struct br__rank_trainer *t, struct br_err *err) BR_MUST_CHECK;
/* Rows of the graph of n tokens. */
int64_t br__train_rows(const struct br__rank_trainer *t, int64_t n);
/* The graph, kept or new; it stays until the next step begins, at least. */
int br__train_pass_get(struct br__rank_trainer *t, const struct br__train_key *key,
                       struct br__train_pass **out, struct br_err *err) BR_MUST_CHECK;
/* Its frame number i, ready for a forward pass. */
int br__train_frame(struct br__rank_trainer *t, struct br__train_pass *p, size_t i,
                    struct br__frame **out, struct br_err *err) BR_MUST_CHECK;
/* Memory of passes of at most these sizes. */
int br__rank_activations(struct br__rank_trainer *t, int64_t n_tokens, int64_t n_seqs,
                         uint64_t *bytes, struct br_err *err) BR_MUST_CHECK;
void br__rank_drop_passes(struct br__rank_trainer *t);

/* ---- train_banks.c: gradients that are complete before all are ------------------------------- */

/* After the graph was planned. */
int br__banks_mark(struct br__rank_trainer *t, struct br__train_pass *p,
                   struct br_err *err) BR_MUST_CHECK;
/* Before the first backward pass of the step's last micro batch; and for each graph that it runs.
 */
void br__banks_begin(struct br__rank_trainer *t);
void br__banks_expect(struct br__rank_trainer *t, const struct br__train_pass *p);
/* Around the run of a frame of the last micro batch: marks that are met are told.  end: after its
 * gradients were added, with rc of all that; what is left is told then. */
struct br__last_pass {
    struct br__rank_trainer *t;
    const struct br__train_pass *p;
    struct br__frame_hook hook;
    size_t n_hooks;
};
void br__last_pass_begin(struct br__last_pass *x, struct br__frame *f);
int br__last_pass_end(struct br__last_pass *x, struct br__frame *f, int rc,
                      struct br_err *err) BR_MUST_CHECK;

/* ---- train_rows.c: which tokens a rank has --------------------------------------------------- */

/* Rows of a micro batch that this rank has. */
int64_t br__train_tokens(const struct br__rank_trainer *t, const struct br__micro *mb);
/* The rows of a graph of n. */
void br__train_map(const struct br__rank_trainer *t, const struct br__micro *mb,
                   struct br__train_row *rows, int64_t n);
/* Inputs that say which rows are of which sequence. */
void br__train_fill_seqs(const struct br__rank_trainer *t, const struct br__train_pass *p,
                         struct br__frame *f, const struct br__micro *mb);

/* ---- train_io.c: what goes into a graph and comes out ---------------------------------------- */

/* First row of sequence s, and one past the last. */
static inline int64_t br__first_row(const struct br__micro *mb, int64_t s)
{
    if (s == mb->n_seqs)
        return mb->n_tokens;
    return mb->seqs ? mb->seqs[s] : s * (mb->n_tokens / mb->n_seqs);
}
/* All inputs but hidden states and their gradients. */
int br__train_fill(struct br__rank_trainer *t, const struct br__train_pass *p, struct br__frame *f,
                   const struct br__micro *mb, struct br_err *err) BR_MUST_CHECK;
/* After the forward pass of the step's micro batch k: losses and counts of routed layers. */
int br__train_read_moe(struct br__rank_trainer *t, const struct br__train_pass *p,
                       const struct br__frame *f, const struct br__micro *mb, size_t k,
                       struct br_err *err) BR_MUST_CHECK;
/* After the last pass: of the heads, where the chunk has them. */
int br__train_read_losses(struct br__rank_trainer *t, const struct br__train_pass *p,
                          const struct br__frame *f, const struct br__micro *mb,
                          struct br__micro_out *out, struct br_err *err) BR_MUST_CHECK;
/* After the backward pass: gradients that are values join the others. */
int br__train_add_gradients(struct br__rank_trainer *t, const struct br__train_pass *p,
                            const struct br__frame *f, struct br_err *err) BR_MUST_CHECK;

/* ---- train_step.c: a rank's part in a step --------------------------------------------------- */

/* Micro batch k of n is mb[k * stride], what it gives out[k * stride], of zeros. */
struct br__train_batches {
    const struct br__micro *mb;
    struct br__micro_out *out;
    size_t n, stride;
    int backward, is_last; /* is_last: of a step, all gradients are complete behind it */
};
int br__rank_step(struct br__rank_trainer *t, const struct br__train_batches *b,
                  struct br_err *err) BR_MUST_CHECK;

#endif
