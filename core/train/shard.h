/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* shard.h - a rank's part of the optimizer, and what ranks tell each other in a step.
 *
 * Ranks that hold the same weights sum their gradients.  With the distributed optimizer (ZeRO-1)
 * each of them then has the state of, and updates, one part of these weights, and gives the result
 * to the others; without it all do the same. */
#ifndef BRIDGE_CORE_TRAIN_SHARD_H
#define BRIDGE_CORE_TRAIN_SHARD_H

#include "optim.h"
#include "train.h"

/* Weights that lie one after another in memory of the device, and all of which the ranks of `comm`
 * hold; borrowed.  Padding makes n a multiple of the number of these ranks. */
struct br__bank {
    struct br_comm *comm; /* NULL: this rank alone */
    size_t n;             /* elements */
    float *grad;          /* [n] */
    float *main;          /* [n]; NULL: there are only the copies of 16 bits */
    uint16_t *half;       /* [n] copies that are rounded, or NULL */
    float scale;          /* what the sum of the gradients is multiplied by */
};
/* A trained tensor of the rank. */
struct br__shard_tensor {
    uint32_t bank;
    size_t at, n; /* elements of the bank */
    int counts;   /* no other rank of those that hold the same as this one counts it in sums: 1 on
                     one of them, 0 on the rest; ranks of `comm` need not be told apart */
};
struct br__shard_opts {
    struct br__device *device;
    const struct br__bank *banks;
    size_t n_banks;
    const struct br__shard_tensor *tensors;
    size_t n_tensors;
    int whole;   /* no distributed optimizer: every rank has all of the state */
    int half;    /* dtype of the copies; BR_NONE: there are none */
    int sums;    /* BR_F32 or BR_BF16: dtype in which gradients are exchanged */
    int average; /* they are scaled after they are added, not before */
};
/* What the rank updates of one tensor, in memory of the device. */
struct br__share {
    uint32_t tensor;
    size_t from, n;      /* elements of the tensor */
    float *main, *m, *v; /* [n] */
    float *grad;         /* [n] */
    uint16_t *half;      /* [n] or NULL */
    int counts;          /* in sums over all ranks */
    float *kept[3];      /* [n] main, m and v in host memory, see br__shard_fetch */
};
struct br__shard {
    struct br__shard_opts o; /* banks and tensors are copies */
    struct br__arena arena;
    struct br__share *shares; /* in the order of the tensors, a tensor's one after another */
    size_t n_shares;
    float *state;   /* moments, and main weights where banks have none */
    float *kept;    /* of the shares; NULL where the device is the host */
    uint16_t *room; /* of the device, for sums in bfloat16 */
    float *hyper;   /* of the device: two times 8 numbers of AdamW */
    uint64_t bytes; /* of the state, main weights of the banks not counted */
};
/* Moments are 0; main weights of its own are the widened copies. */
int br__shard_open(struct br__shard *s, const struct br__shard_opts *o,
                   struct br_err *err) BR_MUST_CHECK;
void br__shard_close(struct br__shard *s); /* a zeroed one, too */
/* Ranks have parts, which br__shard_gather gives to the others. */
int br__shard_is_shared(const struct br__shard *s);
/* Of the shares in a bank: grad is the scaled sum of that of all ranks; the bank's other gradients
 * are of no use then. */
int br__shard_reduce(struct br__shard *s, size_t bank, struct br_err *err) BR_MUST_CHECK;
/* The main weights of the shares in a bank have changed: all ranks get the weights that the model
 * computes with.  rounded: the shares' copies are what main rounds to already. */
int br__shard_gather(struct br__shard *s, size_t bank, int rounded,
                     struct br_err *err) BR_MUST_CHECK;

/* Where the device is not the host: the shares' weights and moments become what the device has; the
 * device gets what they are. */
int br__shard_fetch(struct br__shard *s, struct br_err *err) BR_MUST_CHECK;
int br__shard_put(struct br__shard *s, struct br_err *err) BR_MUST_CHECK;
/* The numbers of a step where the device reads them: *at, of h[2]. */
int br__shard_hyper(struct br__shard *s, const struct br__adamw h[2], const struct br__adamw **at,
                    struct br_err *err) BR_MUST_CHECK;

/* x[n] summed over the ranks in their order, on each the same bits; comm NULL: it is the sum. */
int br__sum_doubles(struct br_comm *comm, double *x, size_t n, struct br_err *err) BR_MUST_CHECK;

#endif
