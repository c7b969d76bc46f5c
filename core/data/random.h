/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* random.h - the generators of numpy and torch, bit for bit: the order of a run's data is theirs.
 */
#ifndef BRIDGE_CORE_DATA_RANDOM_H
#define BRIDGE_CORE_DATA_RANDOM_H

#include "../base/base.h"

/* MT19937.  numpy.random.RandomState(seed) and torch.Generator seed it alike. */
struct br__mt19937 {
    uint32_t key[624];
    int at;
};
void br__mt_seed(struct br__mt19937 *r, uint32_t seed);
uint32_t br__mt_next(struct br__mt19937 *r);

/* RandomState.shuffle of n elements; numpy shuffles lists and arrays by the same draws, and
 * permutation(n) is shuffle(arange(n)). */
void br__np_shuffle_i32(struct br__mt19937 *r, int32_t *v, int64_t n);
void br__np_shuffle_i64(struct br__mt19937 *r, int64_t *v, int64_t n);
void br__np_permutation(struct br__mt19937 *r, int64_t n, int64_t *out);

/* torch.randperm(n, generator=g) on the CPU after g.manual_seed(seed).  0 <= n < 2^32 / 20, beyond
 * which torch draws otherwise. */
#define BR__RANDPERM_MAX (INT64_C(0xFFFFFFFF) / 20)
void br__torch_randperm(uint64_t seed, int64_t n, int64_t *out);

/* numpy.random.default_rng(seed): PCG64 seeded through SeedSequence. */
struct br__pcg64 {
    uint64_t state[2], inc[2]; /* low, high */
    uint32_t kept;
    int has_kept;
};
void br__pcg64_seed(struct br__pcg64 *r, uint32_t seed);
/* Generator.integers(low, high, n, dtype=int32), high excluded. */
void br__pcg64_integers(struct br__pcg64 *r, int32_t low, int32_t high, int32_t *out, int64_t n);
/* Generator.permutation(n); n is at most INT32_MAX. */
void br__pcg64_permutation(struct br__pcg64 *r, int64_t n, int64_t *out);

#endif
