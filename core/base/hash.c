/* hash.c - digests: XXH3 to compare, SHA-256 to identify, CRC-32 for ZIP. */
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

/* ---- XXH3 -------------------------------------------------------------------------------- */

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

/* ---- SHA-256 ------------------------------------------------------------------------------- */

struct br__sha256 {
    EVP_MD_CTX *ctx;
};

struct br__sha256 *br__sha256_new(void)
{
    struct br__sha256 *h = br__calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->ctx = EVP_MD_CTX_new();
    if (!h->ctx || EVP_DigestInit_ex(h->ctx, EVP_sha256(), NULL) != 1) {
        br__sha256_free(h);
        return NULL;
    }
    return h;
}

void br__sha256_update(struct br__sha256 *h, const void *p, size_t n)
{
    if (n && EVP_DigestUpdate(h->ctx, p, n) != 1)
        BR_BUG("SHA-256 update failed");
}

void br__sha256_hex(struct br__sha256 *h, char out[65])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char md[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    if (EVP_DigestFinal_ex(h->ctx, md, &n) != 1 || n != 32)
        BR_BUG("SHA-256 final failed");
    for (unsigned i = 0; i < 32; i++) {
        out[2 * i] = hex[md[i] >> 4];
        out[2 * i + 1] = hex[md[i] & 15];
    }
    out[64] = '\0';
}

void br__sha256_free(struct br__sha256 *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->ctx);
    br__free(h);
}

/* ---- CRC-32 -------------------------------------------------------------------------------- */

uint32_t br__crc32(uint32_t crc, const void *p, size_t n)
{
    return n ? crc32_gzip_refl(crc, p, n) : crc;
}

/* ---- versions ------------------------------------------------------------------------------ */

const char *br__xxhash_version(struct br__arena *a)
{
    unsigned v = XXH_versionNumber();

    return br__arena_printf(a, "%u.%u.%u", v / 10000, v / 100 % 100, v % 100);
}

const char *br__openssl_version(struct br__arena *a)
{
    return br__arena_strdup(a, OpenSSL_version(OPENSSL_VERSION_STRING));
}
