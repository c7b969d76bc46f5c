/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.h - what model.c, compiled.c, llm.c, backward.c, trace.c and cost.c share: ranks and
 * sessions.
 */
#ifndef BRIDGE_CORE_LLM_H
#define BRIDGE_CORE_LLM_H

#include "build.h"

/* A graph that was built for one shape of batch and is kept. */
struct br__compiled {
    struct br_graph g;
    struct br__build b;
    struct br__program *program;
    struct br__frame *frame;
    uint64_t used; /* when last, for throwing out the oldest */
};

/* Memory of one cache, shared by all graphs of a rank. */
struct br__cache {
    const char *name;
    void *data;
    size_t bytes;
};

/* A rank of a model: where it is, its device, its share of the weights. */
struct br__rank {
    struct br__llm *m;
    uint32_t index; /* in m->ranks */
    const struct br__rank_info *info;
    struct br__device dev;
    struct br__params *params;
    struct br__pass *pass; /* the last one, or NULL */
};
struct br__llm {
    struct br__weights *weights;
    struct br_topo topo;
    struct br__world *world;
    struct br__rank *ranks; /* [n_ranks] those of this process */
    uint32_t n_ranks;
    uint32_t precision, values; /* of products; of activations in inference */
};

/* A step of decoding that was given to the device before the one before it was read. */
struct br__step_ahead {
    void *ticket; /* of its choices; NULL: there is no such step, or it failed */
    int rc;       /* why it could not be given: told when it is asked for */
    struct br_err err;
};
/* What it is, for one sequence: that token, after so many. */
struct br__seq_ahead {
    uint32_t slot;
    int32_t id;
    int64_t length;
};

/* What a rank keeps for the sequences of a session. */
struct br__rank_session {
    struct br__llm_session *s;
    struct br__rank *rank;
    struct br__compiled **compiled;
    size_t n_compiled, cap_compiled;
    struct br__cache *caches;
    size_t n_caches, cap_caches;
    uint64_t clock; /* counts the uses of graphs */
    struct br__step_ahead ahead;
    struct br__arena arena;
};
struct br__llm_session {
    struct br__llm *m;
    int64_t slots, capacity;        /* one more slot exists where batches must be padded */
    int64_t *length;                /* [slots + 1] tokens in each */
    struct br__seq_ahead *ahead;    /* [slots] */
    size_t n_ahead;                 /* sequences of the step ahead; 0: there is none */
    struct br__rank_session *ranks; /* [m->n_ranks] */
    int (*stop)(void *ud);          /* see br__llm_stop_by */
    void *stop_ud;
};

/* Run fn on every rank of this process (br__world_run). */
int br__ranks_run(struct br__llm *m, int (*fn)(struct br__rank *r, void *arg, struct br_err *err),
                  void *arg, struct br_err *err) BR_MUST_CHECK;
/* The kept graph of that shape, planned and with its caches, made if it is new. */
int br__compiled_get(struct br__rank_session *r, const struct br__build *b,
                     struct br__compiled **out, struct br_err *err) BR_MUST_CHECK;
/* The graph of a batch of n_tokens that holds n_seqs sequences and wants their last logits. */
struct br__build br__batch_shape(const struct br__llm_session *s, int64_t n_tokens, int64_t n_seqs);
/* Build a graph of one's own: b's sizes and flags are set.  br__compiled_plan makes it ready to
 * run.
 */
int br__compiled_make(struct br__rank *r, const struct br__build *b, struct br__compiled **out,
                      struct br_err *err) BR_MUST_CHECK;
int br__compiled_plan(struct br__rank *r, struct br__compiled *q, const br_val *outputs, size_t n,
                      struct br_err *err) BR_MUST_CHECK;
void br__compiled_free(struct br__compiled *q);
/* BR_E_NUMERIC if one of n logits is NaN or infinite; the text names the weight that is to blame.
 */
int br__llm_check_finite(const struct br__llm *m, const float *logits, size_t n,
                         struct br_err *err) BR_MUST_CHECK;

/* ---- backward.c: a forward and backward pass as a graph that is kept ------------------------- */

/* The losses that gradients may be asked of. */
enum br__pass_loss {
    BR__ROOT_LM,  /* the language model's */
    BR__ROOT_AUX, /* and router_aux_loss_coef times the load-balancing loss */
    BR__ROOT_MTP, /* the language model's and that of multi-token prediction */
    BR__N_ROOTS
};
struct br__pass_shape {
    int64_t n_tokens;  /* of one sequence */
    uint32_t build;    /* enum br__build_flags */
    uint32_t roots;    /* bits 1 << enum br__pass_loss */
    uint32_t hidden;   /* hidden states may be read after a run */
    uint32_t aux_loss; /* so may the load-balancing loss */
};
struct br__pass {
    struct br__pass_shape shape;
    struct br__compiled *compiled; /* its inputs, outputs and memory */
    br_val *grad[BR__N_ROOTS];     /* [n_params] by param->index, 0: none; NULL: not asked for, or a
                                      loss that this stage does not have */
    size_t n_params;
};
/* The pass of that shape: the one kept from the last call, or a new one in its place. */
int br__pass_get(struct br__rank *r, const struct br__pass_shape *shape, struct br__pass **out,
                 struct br_err *err) BR_MUST_CHECK;
void br__pass_drop(struct br__rank *r);
#endif
