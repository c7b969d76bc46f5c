/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* build.h - the forward pass of a rank as a graph, around a plugin's layers. */
#ifndef BRIDGE_CORE_BUILD_H
#define BRIDGE_CORE_BUILD_H

#include "weights.h"

/* ---- build.c: the whole forward pass --------------------------------------------------------- */

#define BR__EMBEDDING "embedding.word_embeddings.weight" /* its Megatron name */
enum br__build_flags {
    BR__BUILD_CACHE = 1,      /* read and write key, value and delta-net caches */
    BR__BUILD_ALL_LOGITS = 2, /* logits of every token; else of the rows in `out_rows` */
    BR__BUILD_LOSS = 4,
    BR__BUILD_ROUTES_GIVEN = 8, /* chosen experts are an input */
    BR__BUILD_MTP = 16,         /* the logits of the multi-token-prediction layer too */
    BR__BUILD_GRADS = 32,       /* gradients will be asked for: activations are float32 */
    BR__BUILD_AHEAD = 64        /* of one token a sequence: the inputs become the next step's */
};
/* What a graph for training has besides; block_loss.c makes it. */
struct br__moe_losses { /* of one routed layer */
    br_val past;        /* input [E]: counts of the step's earlier micro batches; 0: not needed */
    br_val counts;      /* [E] of this one */
    br_val aux, z;      /* [1, 1], of this rank's rows; 0: no such loss */
    br_val all_aux, all_z; /* of all rows of a data-parallel rank */
};
struct br__head_loss {    /* of an output layer; 0: none */
    br_val x, w, labels;  /* [T, hidden], [V, hidden], i32[T] */
    br_val weights, loss; /* of each token, [T] */
    br_val dx;            /* gradient by x, where one op makes it beside the loss; else 0 */
};
struct br__losses {
    const struct br__train_opts *o;
    /* inputs: weight of the routed layers' losses, [1, 1] */
    br_val aux_weight, z_weight;
    struct br__head_loss lm, mtp;
    int training; /* what only training does is done: dropout */
    /* Inputs, see BR_OP_DROPOUT: the states with the numbers of the tokens, all of the rank and
     * those between the products of sequence parallelism; that of experts' rows, and the numbers of
     * those tokens' choices, f32[T, 2 k].  0: there is none. */
    br_val dropout_rows, dropout_own, dropout, dropout_choices;
    struct br__moe_losses *moe; /* [n_moe] */
    size_t n_moe;
    br_val segment; /* first node of the one that is open; 0: none */
};
/* Of an adapter and the x it was last applied to, what the weights that share its A share. */
struct br__low_rank {
    br_val x;
    const struct br__source *a;
    br_val seen, middle; /* x after dropout; x a', or 0 */
};
struct br__state { /* a cache: a STATE leaf and how big it is */
    br_val v;
    const char *name; /* "key.3", "value.3", "conv.2", "delta.2" */
    uint32_t dtype;
    int64_t elems;
};
struct br__build {
    struct br__params *params;
    const struct br_config *cfg;
    const struct br__rank_info *info;
    uint32_t flags;                  /* enum br__build_flags */
    uint32_t precision;              /* BR_F32 or BR_BF16: inputs of matrix products */
    int64_t n_tokens, n_seqs, n_out; /* rows of a batch, sequences in it, rows of logits */
    int64_t slots, capacity;         /* of the caches: sequences, tokens of each */
    const struct br__chunk *chunk;   /* of a graph for training: its layers; else NULL */
    uint32_t n_best;                 /* largest logits of a row that are wanted; 0: all logits */
    /* inputs */
    br_val ids, positions, seqs, cache_rows, out_rows, labels, mtp_ids, mtp_labels;
    br_val received; /* hidden states of the chunk before: a RECV, in training a STATE */
    br_val d_sent;   /* in training: the gradient of `sent`, or 0 */
    /* With context parallelism: `seqs` are of the even rows, seqs_odd of the odd ones; whole_seqs
     * of all ranks' rows in the order of the sequences, which row i of is row order[i] of the
     * ranks' one after another, and back. */
    br_val seqs_odd, whole_seqs, order, back;
    /* outputs */
    br_val logits, loss, aux_loss, sent, mtp_logits, mtp_loss;
    br_val best;     /* SELECT of n_best logits; 0 where the device cannot */
    br_val advanced; /* ADVANCE; 0: not asked for */
    br_val *hidden;  /* [n_layers + 2]: embedding, after each layer of this stage, after the final
                        norm */
    br_val *routes;  /* [n_layers]: chosen experts, or 0 */
    struct br__state *states;
    size_t n_states, cap_states;
    /* while building */
    char prefix[64]; /* "decoder.layers.3." */
    int layer;
    int64_t first_layer, n_layers; /* of this stage or chunk */
    br_val inv_freq;
    double rope_scale;
    br_val aux_counts, aux_probs; /* sums over the layers so far */
    int64_t n_moe;
    struct br__low_rank low_rank;
    struct br__losses *losses; /* of a graph for training; else NULL */
    int in_segment;            /* of nodes that a backward pass makes again */
    int in_head;               /* of the output layer, whose result is float32 */
};
/* Build into an empty graph.  b->params, cfg, info, flags, precision and sizes are set. */
int br__build_forward(struct br_graph *g, struct br__build *b, struct br_err *err) BR_MUST_CHECK;

/* ---- block_loss.c: the end of a graph for training ------------------------------------------- */

int br__losses_start(struct br_graph *g, struct br__build *b);
/* x[T, hidden], after the final norm; and the same of the MTP layer. */
void br__lm_loss(struct br_graph *g, struct br__build *b, br_val x);
void br__mtp_loss(struct br_graph *g, struct br__build *b, br_val x);
/* In a graph that a backward pass is to be added to, and where the device can: loss and gradient of
 * the head by one op, which makes the logits once.  sum: of the gradients by w, or 0; returns it,
 * after this gradient was added. */
br_val br__head_pass(struct br_graph *g, struct br__head_loss *h, br_val sum);
/* Of a routed layer: logits and probabilities [T, E], chosen experts i32[T, k]. */
void br__moe_loss(struct br_graph *g, br_val logits, br_val probs, br_val idx);
/* Layer i begins or has just ended, as far as layers are made again. */
void br__layer_starts(struct br_graph *g, int64_t i);
void br__layer_ends(struct br_graph *g, int64_t i);
/* A module begins: its first node, or 0 if it is not made again; and ends.  all: see br__recompute.
 */
br_val br__module_starts(struct br_graph *g, unsigned module);
void br__module_ends(struct br_graph *g, br_val from, int all);

/* ---- blocks.c: what layers are made of ------------------------------------------------------- */

/* What blocks need of it (blocks.c, block_gdn.c, block_moe.c). */
br_val br__weight(struct br_graph *g, const char *name, int item, enum br__split split);
/* Leaf of a weight used outside br__linear.  Fails if an adapter targets it, since the adapter
 * would be ignored. */
br_val br__plain_leaf(struct br_graph *g, const struct br__param *p);
/* y = x w' with the weight, its adapter if there is one, and the bias of that name or NULL. */
br_val br__linear(struct br_graph *g, br_val x, const char *name, int item, enum br__split split,
                  const char *bias);
/* Logits of the router, with its adapter if there is one: x[T, hidden] and the weight as `dtype`;
 * the adapter computes with x as it is. */
br_val br__router(struct br_graph *g, br_val x, uint32_t dtype);
/* Rows for routed experts: x[R, n], those of one expert after those of another, of which this rank
 * has experts [first, first + n), and of each share etp_rank of etp. */
struct br__experts_in {
    br_val x, offsets; /* offsets i32[n + 1] */
    br_val numbers;    /* f32[R, 2] for dropout, or 0 */
    int64_t first, n;
    uint32_t etp, etp_rank;
};
/* Weights of one Megatron tensor that meet one input: items 0 .. n of its list, each shared in its
 * own way; bias: of all of them, or NULL. */
struct br__items {
    const char *name, *bias;
    int n;
    enum br__split splits[BR__MAX_ITEMS];
};
/* br__linear of each: y[n].  Where the device wants it and no adapter works beside, one product by
 * all of them, whose columns y are. */
void br__linears(struct br_graph *g, br_val x, const struct br__items *items, br_val *y);
/* The same of experts. */
void br__experts_linears(struct br_graph *g, const struct br__experts_in *in,
                         const struct br__items *items, br_val *y);
/* br__linear of experts. */
br_val br__experts_linear(struct br_graph *g, const struct br__experts_in *in, const char *name,
                          int item, enum br__split split);
/* Products that are exact in inference; where training has bfloat16 values, as any other. */
struct br_attr br__exact(const struct br_graph *g);
/* Whether each tensor-parallel rank has its own T / tp rows outside of the work that they share. */
int br__sequence_parallel(const struct br_graph *g);
/* x enters work that the tensor-parallel ranks share; and a partial sum leaves it. */
br_val br__enter_tp(struct br_graph *g, br_val x);
br_val br__leave_tp(struct br_graph *g, br_val x);
br_val br__state(struct br_graph *g, const char *kind, uint32_t dtype, uint32_t n_dim,
                 const int64_t *shape);
uint32_t br__tp(const struct br_graph *g);
uint32_t br__tp_rank(const struct br_graph *g);
uint32_t br__cp(const struct br_graph *g);
uint32_t br__cp_rank(const struct br_graph *g);
/* Rows x[T, ...] of this context-parallel rank and the others': all, in the order of the sequences.
 */
br_val br__whole_rows(struct br_graph *g, br_val x);

#endif
