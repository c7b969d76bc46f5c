/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* hash.c - digests: XXH3 to compare, SHA-256 and SHA-1 to identify, CRC-32 for ZIP. */
#include "base.h"

#include <isa-l/crc.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>

#if defined(__x86_64__)
/* The library's own choice of SSE2, AVX2 or AVX-512 at run time: three times as fast as the
 * baseline that this file is compiled for. */
#define XXH_STATIC_LINKING_ONLY
#include <xxh_x86dispatch.h>
#else
/* Inlined, because the state's layout is only promised to code compiled with the library. */
#define XXH_INLINE_ALL
#include <xxhash.h>
#endif

/* ---- XXH3 ------------------------------------------------------------------------------------ */

struct br__xxh3 {
    XXH3_state_t *state;  /* inside room: the state wants 64-byte alignment, malloc gives 16 */
    unsigned char room[]; /* sizeof(XXH3_state_t) + 63 */
};

struct br__xxh3 *br__xxh3_new(void)
{
    struct br__xxh3 *h = br__alloc(sizeof *h + sizeof(XXH3_state_t) + 63);
    if (!h)
        return NULL;
    h->state = (XXH3_state_t *)(((uintptr_t)h->room + 63) & ~(uintptr_t)63);
    XXH3_INITSTATE(h->state);
    br__xxh3_reset(h);
    return h;
}

void br__xxh3_reset(struct br__xxh3 *h)
{
    XXH3_64bits_reset(h->state);
}

void br__xxh3_update(struct br__xxh3 *h, const void *p, size_t n)
{
    if (n)
        XXH3_64bits_update(h->state, p, n);
}

uint64_t br__xxh3_digest(const struct br__xxh3 *h)
{
    return XXH3_64bits_digest(h->state);
}

void br__xxh3_free(struct br__xxh3 *h)
{
    br__free(h);
}

uint64_t br__xxh3(const void *p, size_t n)
{
    return XXH3_64bits(n ? p : "", n);
}

/* ---- SHA-256, SHA-1 -------------------------------------------------------------------------- */

static EVP_MD_CTX *digest_new(const EVP_MD *md)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx && EVP_DigestInit_ex(ctx, md, NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        return NULL;
    }
    return ctx;
}

static void digest_update(EVP_MD_CTX *ctx, const void *p, size_t n)
{
    if (n && EVP_DigestUpdate(ctx, p, n) != 1)
        BR_BUG("digest update failed");
}

/* The digest of `size` bytes as text; out holds 2 * size + 1. */
static void digest_hex(EVP_MD_CTX *ctx, unsigned size, char *out)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(ctx, md, &n) != 1 || n != size)
        BR_BUG("digest final failed");
    for (unsigned i = 0; i < size; i++) {
        out[2 * i] = hex[md[i] >> 4];
        out[2 * i + 1] = hex[md[i] & 15];
    }
    out[2 * size] = '\0';
}

/* The functions of one digest, of `size` bytes. */
#define DIGEST(name, md, size)                                                                     \
    struct br__##name {                                                                            \
        EVP_MD_CTX *ctx;                                                                           \
    };                                                                                             \
    struct br__##name *br__##name##_new(void)                                                      \
    {                                                                                              \
        struct br__##name *h = br__calloc(1, sizeof *h);                                           \
        if (h && !(h->ctx = digest_new(md))) {                                                     \
            br__free(h);                                                                           \
            return NULL;                                                                           \
        }                                                                                          \
        return h;                                                                                  \
    }                                                                                              \
    void br__##name##_update(struct br__##name *h, const void *p, size_t n)                        \
    {                                                                                              \
        digest_update(h->ctx, p, n);                                                               \
    }                                                                                              \
    void br__##name##_hex(struct br__##name *h, char out[2 * (size) + 1])                          \
    {                                                                                              \
        digest_hex(h->ctx, (size), out);                                                           \
    }                                                                                              \
    void br__##name##_free(struct br__##name *h)                                                   \
    {                                                                                              \
        if (h)                                                                                     \
            EVP_MD_CTX_free(h->ctx);                                                               \
        br__free(h);                                                                               \
    }
DIGEST(sha256, EVP_sha256(), 32)
DIGEST(sha1, EVP_sha1(), 20)

/* ---- CRC-32 ---------------------------------------------------------------------------------- */

uint32_t br__crc32(uint32_t crc, const void *p, size_t n)
{
    return n ? crc32_gzip_refl(crc, p, n) : crc;
}

/* Product of two polynomials modulo the CRC's; the highest bit is the coefficient of x^0. */
static uint32_t crc_multiply(uint32_t a, uint32_t b)
{
    uint32_t p = 0;
    for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
        p ^= a & bit ? b : 0;
        b = b >> 1 ^ (b & 1 ? 0xedb88320u : 0);
    }
    return p;
}

uint32_t br__crc32_shift(uint32_t crc, uint64_t n)
{
    /* x^(2^k); they repeat after 32, because x^(2^32) is x again. */
    static const uint32_t power[] = {
        0x40000000, 0x20000000, 0x08000000, 0x00800000, 0x00008000, 0xedb88320, 0xb1e6b092,
        0xa06a2517, 0xed627dae, 0x88d14467, 0xd7bbfe6a, 0xec447f11, 0x8e7ea170, 0x6427800e,
        0x4d47bae0, 0x09fe548f, 0x83852d0f, 0x30362f1a, 0x7b5a9cc3, 0x31fec169, 0x9fec022a,
        0x6c8dedc4, 0x15d6874d, 0x5fde7a4e, 0xbad90e37, 0x2e4e5eef, 0x4eaba214, 0xa8a472c0,
        0x429a969e, 0x148d302a, 0xc40ba6d0, 0xc4e22c3c};
    for (unsigned k = 3; n; n >>= 1, k++) /* from bytes to bits */
        if (n & 1)
            crc = crc_multiply(power[k % 32], crc);
    return crc;
}

/* ---- versions -------------------------------------------------------------------------------- */

const char *br__xxhash_version(struct br__arena *a)
{
    unsigned v = XXH_versionNumber();

    return br__arena_printf(a, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
}

const char *br__openssl_version(struct br__arena *a)
{
    return br__arena_strdup(a, OpenSSL_version(OPENSSL_VERSION_STRING));
}
