/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* engine.h - the door of core/engine: a model that runs.
 *
 * Open a model, give it caches, feed it tokens, read logits; or trace one whole forward and
 * backward pass.  This folder knows configurations, weights, layers and ranks; it knows no text and
 * no sampling.  It asks the architecture for its layers and a backend for kernels, and never
 * prints. */
#ifndef BRIDGE_CORE_ENGINE_H
#define BRIDGE_CORE_ENGINE_H

#include "../convert/convert.h"
#include "../graph/graph.h"
#include <pthread.h>

/* ---- open and close -------------------------------------------------------------------------- */

struct br__weights_opts {
    const char *hf_model, *megatron_path; /* one of them, or both: weights from the second */
    const char *plugin, *adapter;         /* or NULL */
    int merge_adapter;
    int no_verify; /* do not compare checksums of a Megatron checkpoint */
    int threads;
    const struct br_listener *listener;
};
struct br__llm_opts {
    struct br__weights_opts weights;
    const char *device; /* NULL = auto */
    int precision;      /* BR_F32 or BR_BF16; BR_NONE = BR_F32 for a float32 model, else BR_BF16 */
    uint32_t tp, pp, ep, etp; /* 0 = 1 */
    int threads;              /* of all ranks together; 0 = one per CPU */
};
struct br__llm;
/* Opens the model and checks that it can run; reads no weights yet. */
int br__llm_open(struct br__llm **out, const struct br__llm_opts *o,
                 struct br_err *err) BR_MUST_CHECK;
void br__llm_close(struct br__llm *m);

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
/* Feed tokens to n sequences at once and get, for each, the logits after its last token:
 * logits[n, vocab_size], float32.  Long prompts are cut into pieces that bound memory.
 * BR_E_USAGE: an id outside the vocabulary, a slot used twice, more tokens than the cache holds.
 * BR_E_NUMERIC: logits that are not finite; names the weight at fault if there is one. */
int br__llm_forward(struct br__llm_session *s, const struct br__forward_seq *inputs, size_t n,
                    float *logits, struct br_err *err) BR_MUST_CHECK;
void br__llm_reset(struct br__llm_session *s, uint32_t slot); /* forget the sequence */

/* ---- what is known of it --------------------------------------------------------------------- */

const struct br_config *br__llm_config(const struct br__llm *m);
const struct br_topo *br__llm_topo(const struct br__llm *m);
const char *br__llm_device(const struct br__llm *m); /* "cpu" */
/* One stored tensor as a matrix: everything but its last axis is rows (conv1d.weight [C, 1, K] is
 * C rows of K).  A vector is one row. */
struct br__source {
    const char *name; /* Hugging Face name */
    int dtype, ndim;
    int64_t shape[BR_MAX_DIMS];
    int64_t rows, cols;
    const void *data; /* mapped file, or memory of the weights; NULL until br__weights_load */
    uint32_t index;   /* in weights->sources and in its model's tensors */
};
struct br__adapter;
struct br__weights {
    struct br__model_source *src; /* configuration, architecture, open files */
    const struct br_config *cfg;
    struct br__source *sources;
    size_t n_sources;
    struct br__map by_name;
    void **owned; /* [n_sources] memory that load made */
    int threads;
    struct br__adapter *adapter; /* or NULL */
    uint64_t owned_bytes;
    pthread_mutex_t lock; /* of loading: ranks share the weights */
};
struct br__weights *br__llm_weights(const struct br__llm *m);

/* What running costs, for reports and for `bench`. */
struct br__llm_cost {
    uint64_t weight_bytes;  /* read by one decode step of one sequence */
    uint64_t cache_bytes;   /* keys and values that its attention reads, after `context` tokens */
    uint64_t private_bytes; /* caches, activations, scratch, weights that are not mapped */
    double flops_per_token; /* of the matrix products of a forward pass, attention left out */
};
int br__llm_cost(struct br__llm_session *s, int64_t context, struct br__llm_cost *out,
                 struct br_err *err) BR_MUST_CHECK;
/* Ceilings of the device, measured now, reading the model's own weights. */
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

#endif
