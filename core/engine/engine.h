/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* engine.h - the door of core/engine: a model that runs.
 *
 * Open a model, give it caches, run tokens, read logits; or trace one whole forward and
 * backward pass.  This folder knows configurations, weights, layers and ranks; it knows no text and
 * no sampling.  It asks the architecture for its layers and a backend for kernels, and never
 * prints. */
#ifndef BRIDGE_CORE_ENGINE_H
#define BRIDGE_CORE_ENGINE_H

#include "../convert/convert.h"
#include "../graph/graph.h"
#include <pthread.h>

/* ---- open and close -------------------------------------------------------------------------- */

/* Low-rank adapters to be trained, hung on Megatron's linears as Megatron Bridge does: one A for
 * the inputs of q, k and v, one for gate and up. */
struct br__lora_opts {
    /* Modules by their last name ("linear_qkv") or by a pattern of the whole ("*.layers.0.*"). */
    const char *const *targets, *const *excluded;
    size_t n_targets, n_excluded;
    int64_t dim;
    double alpha;
    int dora;
    int bias_inside; /* DoRA in Megatron Bridge's form: the magnitude scales the bias, too */
};
struct br__weights_opts {
    const char *hf_model, *megatron_path; /* one of them, or both: weights from the second */
    struct br__model_source *source;  /* in their place, open: closed with the weights, or if they
                                         cannot be opened */
    const char *plugin, *adapter;     /* or NULL */
    const struct br__lora_opts *lora; /* or NULL; not beside an adapter */
    int merge_adapter;
    int no_verify; /* do not compare checksums of a Megatron checkpoint */
    int unread;    /* for a plan: no weight is read, all are zeros that take no memory */
    int threads;
    const struct br_listener *listener;
};
struct br__llm_opts {
    struct br__weights_opts weights;
    const char *device; /* NULL = auto */
    int precision;      /* BR_F32 or BR_BF16; BR_NONE = BR_F32 for a float32 model, else BR_BF16 */
    int activations; /* BR_F32 or, where precision is BR_BF16, that; BR_NONE: as the device has it
                      */
    uint32_t tp, cp, pp, ep, etp; /* 0 = 1; etp 0 = tp */
    uint32_t dp;                  /* 0 = the smallest that fits */
    int threads;                  /* of this process' ranks together; 0 = one per CPU */
};
struct br__llm;
/* Opens the model and checks that it can run; reads no weights yet. */
int br__llm_open(struct br__llm **out, const struct br__llm_opts *o,
                 struct br_err *err) BR_MUST_CHECK;
void br__llm_close(struct br__llm *m);

/* ---- ranks of this process ------------------------------------------------------------------- */

/* How many of the model's ranks this process has: all of them, each a thread. */
uint32_t br__llm_n_ranks(const struct br__llm *m);
/* Where rank i of these is among all, and the communicators of its groups, which are used on its
 * thread alone. */
const struct br__rank_info *br__llm_rank(const struct br__llm *m, uint32_t i);
/* Run fn once for each of them, on its thread, and wait for all; errors as br__world_run. */
int br__llm_run(struct br__llm *m, int (*fn)(void *arg, uint32_t i, struct br_err *err), void *arg,
                struct br_err *err) BR_MUST_CHECK;

/* ---- forward: tokens in, logits out ---------------------------------------------------------- */

/* A session holds sequences: room for `slots` of them, of `capacity` tokens each.  A model may have
 * several; their forward passes take turns.  Close it before the model. */
struct br__llm_session;
int br__llm_session_open(struct br__llm_session **out, struct br__llm *m, int64_t slots,
                         int64_t capacity, struct br_err *err) BR_MUST_CHECK;
void br__llm_session_close(struct br__llm_session *s); /* NULL is fine */
struct br__llm *br__llm_session_model(const struct br__llm_session *s);
int64_t br__llm_capacity(const struct br__llm_session *s);
int64_t br__llm_slots(const struct br__llm_session *s);
/* The next tokens of a sequence that lives in cache slot `slot`. */
struct br__forward_seq {
    uint32_t slot;
    const int32_t *ids;
    int64_t n; /* >= 1 */
};
/* Run the next tokens of n sequences at once and get, for each, the logits after its last token:
 * logits[n, vocab_size], float32.  Long prompts run in several passes, which bounds memory.
 * BR_E_USAGE: an id outside the vocabulary, a slot used twice, more tokens than the cache holds.
 * BR_E_NUMERIC: logits that are not finite; names the weight at fault if there is one. */
int br__llm_forward(struct br__llm_session *s, const struct br__forward_seq *inputs, size_t n,
                    float *logits, struct br_err *err) BR_MUST_CHECK;
/* The largest logits of a sequence, found by the device. */
#define BR__BEST_K 128
#define BR__BEST_ROOM (BR__BEST_K + 16) /* of equals there may be more than k */
struct br__best {
    size_t n;                   /* 0: the device has not found them */
    int32_t ids[BR__BEST_ROOM]; /* ascending */
    float logits[BR__BEST_ROOM];
};
struct br__pick {
    uint32_t k; /* 1: the largest alone, of equals the first; 2 .. BR__BEST_K: all that are no less
                   than the k-th largest */
    /* With k 1: the next pass is most likely of these sequences again, of each the one token that
     * is best now, so that the device may begin it.  If it is not, a model with a delta net wants
     * the sequence to be reset. */
    int goes_on;
    struct br__best *best; /* [n] of the sequences */
};
/* br__llm_forward where only the largest are wanted (pick NULL: all): of a sequence i whose
 * best[i].n is not 0 the row of `logits` is left as it is. */
int br__llm_forward_best(struct br__llm_session *s, const struct br__forward_seq *inputs, size_t n,
                         const struct br__pick *pick, float *logits,
                         struct br_err *err) BR_MUST_CHECK;
void br__llm_reset(struct br__llm_session *s, uint32_t slot); /* forget the sequence */
/* Ask `wish` between the passes of a long prompt: 1 ends br__llm_forward with BR_E_STOPPED, and its
 * sequences can only be reset.  NULL: never. */
void br__llm_stop_by(struct br__llm_session *s, int (*wish)(void *ud), void *ud);

/* ---- what is known of it --------------------------------------------------------------------- */

const struct br_config *br__llm_config(const struct br__llm *m);
const struct br_topo *br__llm_topo(const struct br__llm *m);
const char *br__llm_device(const struct br__llm *m); /* "cpu" */
/* Rows [row, row + n) of a matrix, of which memory has some columns: they begin at element `at`. */
struct br__rows {
    int64_t row, n;
    size_t at;
};
/* One stored tensor as a matrix: everything but its last axis is rows (conv1d.weight [C, 1, K] is
 * C rows of K).  A vector is one row. */
struct br__source {
    const char *name; /* Hugging Face name */
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    int64_t rows, cols;
    const void *data; /* mapped file, or memory of the weights; NULL until br__weights_load */
    int by_blocks;    /* data stays NULL: a device off the host reads the values by blocks */
    uint32_t index; /* in weights->sources and in its model's tensors; those of an adapter follow */
    int minus_one;  /* data is the values minus 1: those of a trained weight that Megatron has so */
    int is_trained; /* data is in a store, in the dtype that kernels are to read */
    /* Of a trained one, what this rank has of it: held[n_held] rows, columns [held_col, held_col +
     * held_cols) of each; of a vector, elements.  NULL: data is the whole. */
    const struct br__rows *held;
    size_t n_held;
    int64_t held_col, held_cols;
};
struct br__adapter; /* below */
struct br__weights {
    struct br__model_source *src; /* configuration, architecture, open files */
    const struct br_config *cfg;
    struct br__source *sources;
    size_t n_sources;
    struct br__map by_name;
    void **owned; /* [n_sources] memory that load made */
    int threads, unread;
    struct br__adapter *adapter; /* or NULL */
    uint64_t owned_bytes;
    pthread_mutex_t lock; /* of loading: ranks share the weights */
};
struct br__weights *br__llm_weights(const struct br__llm *m);

/* ---- adapter.c: LoRA and DoRA of a peft directory -------------------------------------------- */

struct br__part;
struct br__adapter_pair {
    const char *target;                     /* name of the weight it changes */
    struct br__source *a, *b, *magnitude;   /* a [r, in], b [out, r], magnitude [out] or NULL; of
                                               adapter->sources, which pairs may share */
    const struct br__part *b_rows, *m_rows; /* [n_rows] which rows of b, elements of magnitude, are
                                               the target's, in its order; NULL: all */
    size_t n_rows;
    float scaling;  /* alpha / r, or alpha / sqrt(r) */
    uint32_t index; /* in adapter->pairs */
};
struct br__adapter {
    struct br__arena arena;
    struct br__file file;
    struct br__source *sources;
    size_t n_sources;
    struct br__adapter_pair *pairs;
    size_t n_pairs;
    struct br__map by_target;
    int merge;       /* weights are changed when they are loaded */
    int bias_inside; /* DoRA: the magnitude scales the bias, too, as Megatron Bridge does */
};
/* "decoder.layers.0.mlp.experts.linear_fc1" of the key "….mlp.experts.experts.linear_fc1.weight":
 * checkpoints name the module once more (arena; NULL: out of memory). */
const char *br__lora_module(struct br__arena *a, const char *key);
int br__adapter_open(struct br__adapter **out, const char *dir, struct br_err *err) BR_MUST_CHECK;
void br__adapter_close(struct br__adapter *a);
const struct br__adapter_pair *br__adapter_find(const struct br__adapter *a, const char *target);
/* w[rows, cols] in float32 becomes the merged weight: w + s b a, for DoRA scaled row by row to
 * magnitude / |w + s b a| (Liu et al. 2024, peft's DoraLinearLayer).  bias[rows], or NULL, is
 * scaled alike. */
int br__adapter_merge(const struct br__adapter_pair *p, float *w, int64_t rows, int64_t cols,
                      float *bias, struct br_err *err) BR_MUST_CHECK;
/* The pair whose magnitudes scale the bias of that name, or NULL. */
const struct br__adapter_pair *br__adapter_of_bias(const struct br__adapter *a, const char *name);
/* A key of adapter_config.json that is bridge's own: bias_inside. */
#define BR__ADAPTER_BIAS_INSIDE "bridge_dora_bias_inside"

/* What running costs, for reports and for `bench`. */
struct br__llm_cost {
    uint64_t weight_bytes;  /* read by one decode step of one sequence */
    uint64_t cache_bytes;   /* keys and values that its attention reads, after `context` tokens */
    uint64_t private_bytes; /* caches, activations, scratch, weights that are not mapped */
    double flops_per_token; /* of the matrix products of a forward pass, attention left out */
};
int br__llm_cost(struct br__llm_session *s, int64_t context, struct br__llm_cost *out,
                 struct br_err *err) BR_MUST_CHECK;
/* Ceilings of the devices of this process' ranks together, measured now, on the CPU by reading the
 * model's own weights. */
int br__llm_roofline(struct br__llm *m, struct br_roofline *out, struct br_err *err) BR_MUST_CHECK;

/* ---- one whole forward (and backward) pass without caches, with all that it made ------------- */

enum br__trace_flags {
    BR__TRACE_HIDDEN = 1,
    BR__TRACE_LOSS = 2,
    BR__TRACE_GRADS = 4, /* and the loss */
    BR__TRACE_AUX = 8,   /* and the gradients of loss + router_aux_loss_coef * aux_loss */
    BR__TRACE_MTP = 16   /* mtp.logits, of the token after the next; with gradients, mtp.loss and
                            those of loss + mtp.loss in grad_mtp.<name> */
};
struct br__named { /* a result: float32, contiguous */
    const char *name;
    int ndim;
    int64_t shape[BR_MAX_DIMS];
    float *data;
};
struct br__trace {
    struct br__arena arena;
    struct br__named *list; /* logits; hidden.<i>, hidden.norm; loss; grad.<name>; ... */
    size_t n, cap;
    struct br__map by_name;
    int32_t *routes; /* [layers, tokens, k] chosen experts, -1 in dense layers; or NULL */
    int64_t topk;
};
/* ids[n_batches][n]: one sequence per data-parallel rank (all of one length); the first's logits
 * and hidden states are reported, losses and gradients are averaged.  labels: NULL = the next
 * token. routes: NULL, or those of an earlier trace, to be used in place of the router's own. */
struct br__trace_opts {
    const int32_t *const *ids;
    const int32_t *const *labels;
    size_t n_batches;
    int64_t n;
    unsigned flags; /* enum br__trace_flags */
    const int32_t *routes;
};
int br__llm_trace(struct br__llm *m, const struct br__trace_opts *o, struct br__trace *out,
                  struct br_err *err) BR_MUST_CHECK;
size_t br__named_elems(const struct br__named *r);
const struct br__named *br__trace_find(const struct br__trace *t, const char *name);
void br__trace_free(struct br__trace *t);

/* ---- training: weights that change, losses and gradients of a micro batch -------------------- */

enum br__aux_kind { /* moe_router_load_balancing_type */
                    BR__AUX_NONE,
                    BR__AUX_LOSS,   /* "aux_loss": over the tokens of a micro batch */
                    BR__AUX_SEQ,    /* "seq_aux_loss": over each sequence, then their mean */
                    BR__AUX_GLOBAL, /* "global_aux_loss": counts averaged over the step's micro
                                       batches so far */
                    BR__N_AUX_KINDS
};
/* What a backward pass makes again in place of keeping it; results are the same bits. */
enum br__recompute_kind {
    BR__RECOMPUTE_NONE,
    BR__RECOMPUTE_UNIFORM,  /* all layers, in segments */
    BR__RECOMPUTE_BLOCK,    /* the first layers, each by itself */
    BR__RECOMPUTE_SELECTIVE /* modules of all layers */
};
enum br__recompute_module { /* "core_attn" needs none: attention never keeps its probabilities */
                            BR__RECOMPUTE_LAYERNORM = 1,
                            BR__RECOMPUTE_MLP = 2, /* "mlp", dense */
                            BR__RECOMPUTE_MOE = 4,
                            BR__RECOMPUTE_MOE_ACT = 8,
                            BR__RECOMPUTE_SHARED_EXPERTS = 16
};
struct br__train_opts {
    int values;  /* BR_F32, or BR_BF16: of activations and weights, but not of the main ones;
                    BR_F16: of weights alone; BR_NONE is BR_F32 */
    int grads;   /* BR_BF16: what micro batches add up to is rounded after each; else float32 */
    int sharded; /* values of 16 bits have no main weights here: the caller has those of its part */
    int router_dtype; /* BR_F32, or BR_NONE: that of the values */
    int native_ce; /* Megatron's "native" fused cross entropy: gradient of the logits in bfloat16 */
    int mtp;       /* train the multi-token-prediction layer, too */
    /* pp > 1: how stages share the layers (n_layers, n_mtp and pp are the model's), and how many
     * micro batches go through a chunk one after another, or 0. */
    struct br__stage_opts stages;
    uint32_t stage_group;
    int sequence_parallel;      /* with tp > 1: ranks share the rows between the layers' products */
    int recompute;              /* enum br__recompute_kind */
    int64_t recompute_layers;   /* uniform: of a segment; block: how many are made again */
    unsigned recompute_modules; /* selective: enum br__recompute_module */
    int aux_kind;               /* enum br__aux_kind */
    double aux_coeff, z_coeff;  /* moe_aux_loss_coeff, moe_z_loss_coeff; 0: no such loss */
    double dropout;             /* of adapters, in [0, 1) */
    int dropout_post;           /* of their result, not of what they see */
    size_t bucket; /* a bank ends with the tensor that makes it as many elements; 0: never */
    /* On rank i's thread, while the step's last backward pass goes on: the gradients of a bank are
     * those of all micro batches.  Who hears it has br__trainer_bank called before they are used;
     * br__trainer_gradients leaves that bank alone.  NULL: nobody does. */
    int (*bank_ready)(void *arg, uint32_t i, size_t bank, struct br_err *err);
    void *bank_arg;
};
/* The weights of a model as they are trained.  It takes the place of the model's own: what the
 * model computes while it is open, it computes with these.  Open it before any session of the
 * model, close it before the model. */
struct br__trainer;
/* BR_E_UNSUPPORTED: a way to share the model that is not there yet. */
int br__trainer_open(struct br__trainer **out, struct br__llm *m, const struct br__train_opts *o,
                     struct br_err *err) BR_MUST_CHECK;
void br__trainer_close(struct br__trainer *t); /* NULL is fine */

/* One trained tensor, or the part of it that a rank has, in host memory, owned by the trainer;
 * `main` may be written between steps, see br__trainer_updated.  Where the device is the host this
 * is the banks' memory. */
struct br__trained {
    const char *name;     /* Hugging Face name, and shape of the whole */
    const char *megatron; /* key of the Megatron tensor that it is, or is a part of */
    int ndim;
    int64_t shape[BR_MAX_DIMS];
    size_t n; /* elements here: all of one rank */
    /* Which they are, of the tensor as a matrix of shape[ndim - 1] columns (a vector is one
     * column): rows[n_rows], ascending, and of each columns [col, col + n_cols). */
    const struct br__rows *rows;
    size_t n_rows;
    int64_t col, n_cols;
    int minus_one; /* `main` is the Hugging Face tensor minus 1, as Megatron has it */
    int expert;    /* of routed experts: of the expert grid */
    int shared;    /* all tensor-parallel ranks have the same, and the same gradient: counts once */
    int copied;    /* the last stage's copy of the embedding: its gradient is the first's, which
                      counts and is saved */
    uint32_t bank; /* which it is in, and from which element on */
    size_t at;
    float *main; /* float32 main weights, or NULL */
    uint16_t
        *bf16; /* the model's copy where the values have 16 bits: bfloat16, or float16; else NULL */
    float *grad; /* the sum of the gradients since br__trainer_zero, see br__trainer_fetch */
};
/* Those of rank i of this process, in the order of the model's files; the list lives as long as the
 * trainer.  Ranks that differ only in their data-parallel (or context-parallel) index have equal
 * lists; of experts, those of one expert-data-parallel group have equal tensors. */
const struct br__trained *br__trainer_list(const struct br__trainer *t, uint32_t i, size_t *n);
/* Where a rank's tensors lie, in memory of its device: those of the dense grid one after another,
 * and those of routed experts, in the order in which a forward pass uses them.  Padding between
 * them and at the end, whose gradients are 0, makes n a multiple of the ranks that have the same:
 * of DP_CP, of experts EDP. */
struct br__trained_bank {
    int expert;
    size_t n;           /* elements */
    float *main, *grad; /* [n]; main: or NULL */
    uint16_t *half;     /* [n] the model's copies of 16 bits, or NULL */
};
const struct br__trained_bank *br__trainer_banks(const struct br__trainer *t, uint32_t i,
                                                 size_t *n);
/* The device of rank i, for the optimizer; its thread is the caller's between calls of the trainer.
 */
struct br__device *br__trainer_device(struct br__trainer *t, uint32_t i);
/* A step begins: gradients and the running counts of routed tokens become 0. */
int br__trainer_zero(struct br__trainer *t, struct br_err *err) BR_MUST_CHECK;
/* The lists' main weights have changed: the banks' and what the model computes with follow, `bf16`
 * among it; `rounded`: that one is already what `main` rounds to. */
int br__trainer_updated(struct br__trainer *t, int rounded, struct br_err *err) BR_MUST_CHECK;
/* The banks' main weights have changed (a step has ended, a checkpoint was read): what the model
 * computes with follows, `half` among it unless it is `rounded` already.  Where the device is not
 * the host the lists have older ones from now on. */
int br__trainer_stepped(struct br__trainer *t, int rounded, struct br_err *err) BR_MUST_CHECK;
/* The lists' weights and gradients become the banks'; nothing to do where the device is the host.
 */
int br__trainer_fetch(struct br__trainer *t, struct br_err *err) BR_MUST_CHECK;

/* Sequences of a micro batch, one after another.  What is differentiated is
 *     loss_scale * sum(mask * loss) + aux_scale * sum over layers(aux_coeff * aux + z_coeff * z)
 *     + mtp_scale * mean over targets(MTP loss) */
struct br__micro {
    int64_t n_tokens, n_seqs;
    const int32_t *ids,
        *labels;              /* [n_tokens]; a label is the token after, wherever mask is not 0 */
    const float *mask;        /* [n_tokens] */
    const int32_t *positions; /* [n_tokens]; NULL: from 0 in each sequence */
    const int32_t *seqs;      /* [n_seqs] first row of each sequence; NULL: all of one length */
    float loss_scale;         /* 1 / max(1, sum of mask) / micro batches; per token: 1 */
    float aux_scale;          /* 1 / micro batches; per token: n_tokens */
    float mtp_scale;          /* mtp_loss_scaling_factor / micro batches; per token: times n_tokens
                                 instead */
    uint64_t dropout_key;     /* of the step, with dropout */
    const int32_t *numbers; /* [n_tokens] with dropout: of each among the step's, which decide with
                               the key */
};
struct br__micro_out {
    double loss_sum;       /* sum(mask * loss), of this rank's tokens */
    double mtp;            /* sum of the MTP loss of them, by the number of all targets */
    size_t n_moe;          /* routed layers, those of MTP last */
    const double *aux, *z; /* [n_moe] without coefficient and scale; the trainer's, until its next
                              step; NULL: no such loss */
};
/* Private memory, in bytes. */
struct br__trainer_memory {
    uint64_t model;   /* weights beside the trained ones that are not used where a file has them */
    uint64_t weights; /* trained: main weights and what the model computes with */
    uint64_t gradients;   /* of them */
    uint64_t activations; /* of a micro batch: values of the graph, scratch, inputs */
};
/* What micro batches of at most this shape take, forward and backward, of all ranks of this process
 * together; nothing is run.  n_tokens 0:
 * what is held now.  With weights that are not read this and the list are all that a trainer has.
 */
int br__trainer_memory(struct br__trainer *t, int64_t n_tokens, int64_t n_seqs,
                       struct br__trainer_memory *out, struct br_err *err) BR_MUST_CHECK;
enum { BR__BACKWARD = 1, BR__BACKWARD_LAST = 2 };
/* Forward and, if `backward` (BR__BACKWARD_LAST: the step's last call), backward passes of n micro
 * batches on each rank of this process: rank
 * i is given mb[k * ranks + i] and fills out[k * ranks + i], k < n.  Ranks of one data-parallel
 * index are given the same.  What a rank has no part in is 0: losses are those of the last stage,
 * routed layers are each stage's own. Gradients are added to those of the banks, see
 * br__trainer_gradients. BR_E_USAGE: ids or labels outside of the vocabulary, sequences that do not
 * fit, as many micro batches as pipeline stages with several chunks have no schedule for. */
int br__trainer_step(struct br__trainer *t, const struct br__micro *mb, size_t n, int backward,
                     struct br__micro_out *out, struct br_err *err) BR_MUST_CHECK;
/* That of one. */
int br__trainer_run(struct br__trainer *t, const struct br__micro *mb, int backward,
                    struct br__micro_out *out, struct br_err *err) BR_MUST_CHECK;
/* How much of the micro batch rank i has: the sum of its masks.  All of it, but with context
 * parallelism its chunks alone. */
double br__trainer_counted(const struct br__trainer *t, uint32_t i, const struct br__micro *mb);
/* After the last micro batch of a step: the banks have the gradients of all.  What is left to do is
 * their sum over data-parallel ranks: over DP_CP, of experts over EDP. */
int br__trainer_gradients(struct br__trainer *t, struct br_err *err) BR_MUST_CHECK;
/* The same of one bank of rank i, which o->bank_ready was told of; by whoever may call the rank's
 * communicators. */
int br__trainer_bank(struct br__trainer *t, uint32_t i, size_t bank,
                     struct br_err *err) BR_MUST_CHECK;

#endif
