/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* llm.h - shared by llm.c and trace.c: a running model's ranks. */
#ifndef BRIDGE_CORE_LLM_H
#define BRIDGE_CORE_LLM_H

#include "build.h"

/* A graph that was built for one shape of batch and is kept. */
struct br__ready {
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

struct br__rank {
    struct br__llm *m;
    struct br__place place;
    struct br__device dev;
    struct br__params *params;
    struct br__ready **ready;
    size_t n_ready, cap_ready;
    struct br__cache *caches;
    size_t n_caches, cap_caches;
    uint64_t clock; /* counts the uses of graphs */
    struct br__arena arena;
    int rc;
    struct br_err err;
};

struct br__llm {
    struct br__weights *weights;
    struct br_topo topo;
    struct br__rank *ranks; /* [topo.world] */
    struct br_comm **world;
    uint32_t precision;
    int64_t slots, capacity; /* one more slot exists where batches must be padded */
    int64_t *length;         /* [slots + 1] tokens in each */
};

/* Run fn on every rank, each on a thread of its own (a single one on the caller's); the first error
 * by rank.  A rank that fails aborts the others' collectives. */
int br__ranks_run(struct br__llm *m, int (*fn)(struct br__rank *r, void *arg, struct br_err *err),
                  void *arg, struct br_err *err) BR_MUST_CHECK;
/* The kept graph of that shape, planned and with its caches, made if it is new. */
int br__ready_get(struct br__rank *r, const struct br__build *b, struct br__ready **out,
                  struct br_err *err) BR_MUST_CHECK;
/* The graph of a batch of n_tokens that holds n_seqs sequences and wants their last logits. */
struct br__build br__batch_shape(const struct br__llm *m, int64_t n_tokens, int64_t n_seqs);
/* Build a graph of one's own: b's sizes and flags are set.  br__ready_plan makes it ready to run. */
int br__ready_make(struct br__rank *r, const struct br__build *b, struct br__ready **out,
                   struct br_err *err) BR_MUST_CHECK;
int br__ready_plan(struct br__rank *r, struct br__ready *q, const br_val *outputs, size_t n,
                   struct br_err *err) BR_MUST_CHECK;
void br__ready_free(struct br__ready *q);
/* BR_E_NUMERIC if one of n logits is NaN or infinite; the text names the weight that is to blame.
 */
int br__llm_check_finite(const struct br__llm *m, const float *logits, size_t n,
                         struct br_err *err) BR_MUST_CHECK;
#endif
