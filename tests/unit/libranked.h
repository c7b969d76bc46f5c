/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libranked.h - toys of every family that train over ranks which are threads: a way to share one,
 * batches, a step, and what all ranks together made of it. */
#ifndef BRIDGE_TEST_LIBRANKED_H
#define BRIDGE_TEST_LIBRANKED_H

#include "libgolden.h"
#include "train/state.h"

#define VOCAB 96
#define LAYERS 8
#define HIDDEN 24
#define EXPERTS 8
#define CHOSEN 2 /* experts of a token */
enum toy { QWEN2, QWEN3, MOE, NEXT, MTP, N_TOYS };

enum adapters { NO_ADAPTERS, LORA, DORA };
struct sharing {
    uint32_t tp, sp, cp, pp, ep, etp, dp, vpp;
    uint32_t families; /* bits 1 << enum toy */
    int values;        /* BR_BF16; 0: float32 */
    int adapters;      /* enum adapters: what is trained */
    int adds_up;       /* its data-parallel ranks have batches of their own */
};
extern const struct sharing ranked_alone; /* one rank */

#define MICROS 4 /* of each data-parallel rank */
#define TOKENS 32
struct batch {
    int32_t ids[TOKENS], labels[TOKENS];
    float mask[TOKENS];
    double counted;
    const int32_t *seqs; /* [n_seqs], or NULL: of one length */
    int64_t n_seqs;
};
/* Masks are not equal, and every fifth batch has none of its tokens counted.  Every second batch is
 * packed, of dense models into sequences of any length. */
void ranked_batch(struct batch *b, uint32_t number, enum toy toy);

/* How toys are trained that are opened from now on. */
extern struct ranked {
    double aux, z;      /* moe_aux_loss_coeff and moe_z_loss_coeff: 0.01 */
    size_t bucket;      /* of banks; 0: there are two at most */
    const char *layout; /* of pipeline stages; NULL: even */
    int one_expert;     /* for each token, in place of two */
    int always_global;  /* the global load-balancing loss, whatever the toy */
    int (*bank_ready)(void *arg, uint32_t i, size_t bank, struct br_err *e);
} ranked;
/* The kind of load-balancing loss. */
int ranked_aux(enum toy toy, const struct sharing *s);

struct trainer {
    struct br__llm *m;
    struct br__trainer *t;
};
struct trainer ranked_open(enum toy toy, const struct sharing *s);
void ranked_close(struct trainer *x);
uint32_t ranked_coordinate(const struct trainer *x, uint32_t i, enum br_axis axis);

/* What a step made: of all ranks together. */
struct result {
    double loss, mtp, aux, z;
    size_t n;         /* tensors */
    float *grad[512]; /* whole */
    const char *name[512];
    size_t elems[512];
};
/* What all tensor-parallel ranks hold whole counts once. */
void ranked_add_gradients(const struct trainer *x, struct result *r);
/* A micro batch of a step of n in all. */
struct br__micro ranked_micro(const struct batch *b, size_t n);
/* A step of n batches, MICROS on each data-parallel rank. */
void ranked_step(struct trainer *x, const struct batch *batches, size_t n, struct result *r);
void ranked_free(struct result *r);

void ranked_near(const char *what, double got, double want, double tolerance);
/* Each tensor's gradient within `each`, and all together within `all`, of their length. */
void ranked_compare(const struct result *got, const struct result *want, double each, double all);
int ranked_ends(const char *s, const char *end); /* s ends so */
/* On devices, which may be simulated, a sample is of few cases and micro batches. */
int ranked_samples(void);

#endif
