/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* random.c - see random.h.
 *
 * Sources: numpy/random/_mt19937.pyx, mtrand.pyx, bit_generator.pyx, _pcg64.pyx and src/
 * (numpy 1.17 to 2.4), aten/src/ATen/core/MT19937RNGEngine.h and native/cpu/RandpermKernel (torch
 * 2). */
#include "random.h"
#include "data.h"

#include <string.h>

/* ---- MT19937 --------------------------------------------------------------------------------- */

enum { N = 624, M = 397 };

void br__mt_seed(struct br__mt19937 *r, uint32_t seed)
{
    for (uint32_t i = 0; i < N; i++) {
        r->key[i] = seed;
        seed = 1812433253u * (seed ^ (seed >> 30)) + i + 1;
    }
    r->at = N;
}

/* init_by_array of one word, by Matsumoto and Nishimura's reference, which CPython has. */
static void random_by_array(uint32_t seed, uint32_t key[N])
{
    struct br__mt19937 r;
    br__mt_seed(&r, 19650218);
    memcpy(key, r.key, sizeof r.key);
    int i = 1;
    for (int k = 0; k < 2 * N - 1; k++) {
        uint32_t last = key[i - 1] ^ (key[i - 1] >> 30);
        if (k < N)
            key[i] = (key[i] ^ last * 1664525u) + seed;
        else
            key[i] = (key[i] ^ last * 1566083941u) - (uint32_t)i;
        if (++i == N) {
            key[0] = key[N - 1];
            i = 1;
        }
    }
    key[0] = 0x80000000u;
}

void br__random_seeded(uint32_t seed, uint32_t numpy[N], uint32_t python[N])
{
    struct br__mt19937 r;
    br__mt_seed(&r, seed);
    memcpy(numpy, r.key, sizeof r.key);
    random_by_array(seed, python);
}

static uint32_t random_twist(uint32_t a, uint32_t b)
{
    uint32_t y = (a & 0x80000000u) | (b & 0x7FFFFFFFu);
    return (y >> 1) ^ ((y & 1) ? 0x9908B0DFu : 0);
}

static void random_refill(struct br__mt19937 *r)
{
    for (int i = 0; i < N; i++)
        r->key[i] = r->key[(i + M) % N] ^ random_twist(r->key[i], r->key[(i + 1) % N]);
    r->at = 0;
}

uint32_t br__mt_next(struct br__mt19937 *r)
{
    if (r->at == N)
        random_refill(r);
    uint32_t y = r->key[r->at++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9D2C5680u;
    y ^= (y << 15) & 0xEFC60000u;
    return y ^ (y >> 18);
}

/* ---- numpy.random.RandomState ---------------------------------------------------------------- */

/* 0 to max, by rejection under the smallest mask that covers max (random_interval). */
static uint64_t random_interval(struct br__mt19937 *r, uint64_t max)
{
    uint64_t mask = max, v;
    for (int shift = 1; shift <= 32; shift *= 2)
        mask |= mask >> shift;
    if (max <= UINT32_MAX) {
        do
            v = br__mt_next(r) & mask;
        while (v > max);
        return v;
    }
    do {
        v = (uint64_t)br__mt_next(r) << 32;
        v = (v | br__mt_next(r)) & mask;
    } while (v > max);
    return v;
}

void br__np_shuffle_i32(struct br__mt19937 *r, int32_t *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        uint64_t j = random_interval(r, (uint64_t)i);
        int32_t t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

void br__np_shuffle_i64(struct br__mt19937 *r, int64_t *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        uint64_t j = random_interval(r, (uint64_t)i);
        int64_t t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}

void br__np_permutation(struct br__mt19937 *r, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    br__np_shuffle_i64(r, out, n);
}

/* ---- torch ----------------------------------------------------------------------------------- */

void br__torch_randperm(uint64_t seed, int64_t n, int64_t *out)
{
    struct br__mt19937 r;
    br__mt_seed(&r, (uint32_t)seed);
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    for (int64_t i = 0; i < n - 1; i++) {
        int64_t j = i + br__mt_next(&r) % (n - i), t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}

/* ---- numpy.random.default_rng ---------------------------------------------------------------- */

static uint32_t random_hashed(uint32_t v, uint32_t *k, uint32_t multiplier)
{
    v ^= *k;
    *k *= multiplier;
    v *= *k;
    return v ^ (v >> 16);
}

static uint32_t random_mixed(uint32_t x, uint32_t y)
{
    uint32_t v = 0xCA01F9DDu * x - 0x4973F715u * y;
    return v ^ (v >> 16);
}

/* SeedSequence(seed).generate_state(4, uint64) */
static void seed_sequence(uint32_t seed, uint64_t out[4])
{
    uint32_t pool[4], k = 0x43B0D7E5u;
    for (int i = 0; i < 4; i++)
        pool[i] = random_hashed(i ? 0 : seed, &k, 0x931E8875u);
    for (int from = 0; from < 4; from++)
        for (int to = 0; to < 4; to++)
            if (from != to)
                pool[to] = random_mixed(pool[to], random_hashed(pool[from], &k, 0x931E8875u));
    k = 0x8B51F9DDu;
    for (int i = 0; i < 4; i++) {
        uint64_t low = random_hashed(pool[2 * i % 4], &k, 0x58F38DEDu);
        out[i] = low | (uint64_t)random_hashed(pool[(2 * i + 1) % 4], &k, 0x58F38DEDu) << 32;
    }
}

/* a + b of 128 bits, low word first. */
static void add128(uint64_t a[2], const uint64_t b[2])
{
    a[0] += b[0];
    a[1] += b[1] + (a[0] < b[0]);
}

/* The upper half of a product of two 64-bit words. */
static uint64_t high64(uint64_t a, uint64_t b)
{
    uint64_t al = a & UINT32_MAX, ah = a >> 32, bl = b & UINT32_MAX, bh = b >> 32;
    uint64_t mid = ah * bl + (al * bl >> 32), mid2 = al * bh + (mid & UINT32_MAX);
    return ah * bh + (mid >> 32) + (mid2 >> 32);
}

static void pcg_step(struct br__pcg64 *r)
{
    const uint64_t m[2] = {0x4385DF649FCCF645u, 0x2360ED051FC65DA4u};
    uint64_t low = r->state[0] * m[0];
    uint64_t high = high64(r->state[0], m[0]) + r->state[1] * m[0] + r->state[0] * m[1];
    r->state[0] = low;
    r->state[1] = high;
    add128(r->state, r->inc);
}

void br__pcg64_seed(struct br__pcg64 *r, uint32_t seed)
{
    uint64_t s[4];
    seed_sequence(seed, s);
    *r = (struct br__pcg64){.inc = {s[3] << 1 | 1, s[2] << 1 | s[3] >> 63}};
    pcg_step(r);
    add128(r->state, (const uint64_t[2]){s[1], s[0]});
    pcg_step(r);
}

static uint32_t pcg_next32(struct br__pcg64 *r)
{
    if (r->has_kept) {
        r->has_kept = 0;
        return r->kept;
    }
    pcg_step(r);
    uint64_t v = r->state[1] ^ r->state[0];
    unsigned turn = (unsigned)(r->state[1] >> 58);
    v = v >> turn | v << (-turn & 63);
    r->has_kept = 1;
    r->kept = (uint32_t)(v >> 32);
    return (uint32_t)v;
}

void br__pcg64_integers(struct br__pcg64 *r, int32_t low, int32_t high, int32_t *out, int64_t n)
{
    uint32_t range = (uint32_t)high - (uint32_t)low;
    for (int64_t i = 0; i < n; i++) {
        uint64_t m = (uint64_t)pcg_next32(r) * range; /* Lemire's method */
        if ((uint32_t)m < range)
            for (uint32_t least = -range % range; (uint32_t)m < least;)
                m = (uint64_t)pcg_next32(r) * range;
        out[i] = (int32_t)((uint32_t)low + (uint32_t)(m >> 32));
    }
}

/* random_interval: of [0, max], by rejection. */
static int64_t pcg_interval(struct br__pcg64 *r, uint32_t max)
{
    uint32_t mask = max, v;
    for (int shift = 1; shift < 32; shift *= 2)
        mask |= mask >> shift;
    do
        v = pcg_next32(r) & mask;
    while (v > max);
    return v;
}

void br__pcg64_permutation(struct br__pcg64 *r, int64_t n, int64_t *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = i;
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = pcg_interval(r, (uint32_t)i), t = out[i];
        out[i] = out[j];
        out[j] = t;
    }
}
