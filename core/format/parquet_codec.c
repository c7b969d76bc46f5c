/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* parquet_codec.c - pages decompressed: the only user of Snappy, zlib and Zstandard. */
#include "parquet.h"

#include <snappy-c.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

enum { NONE, SNAPPY, GZIP, LZO, BROTLI, LZ4, ZSTD, LZ4_RAW };

static int snappy(const unsigned char *p, size_t n, unsigned char *to, size_t size)
{
    size_t len = 0;
    return snappy_uncompressed_length((const char *)p, n, &len) == SNAPPY_OK && len == size &&
           snappy_uncompress((const char *)p, n, (char *)to, &len) == SNAPPY_OK && len == size;
}

static int gzip(const unsigned char *p, size_t n, unsigned char *to, size_t size)
{
    z_stream z = {.next_in = (unsigned char *)p, .avail_in = (uInt)n};
    if (n > UINT32_MAX || size > UINT32_MAX || inflateInit2(&z, 15 + 32) != Z_OK)
        return 0;
    z.next_out = to;
    z.avail_out = (uInt)size;
    int ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0;
    inflateEnd(&z);
    return ok;
}

int br__pq_inflate(int codec, const unsigned char *p, size_t n, unsigned char *to, size_t size,
                   struct br_err *err)
{
    static const char *const names[] = {"none",   "Snappy", "gzip",      "LZO",
                                        "Brotli", "LZ4",    "Zstandard", "LZ4_RAW"};
    int ok = 0;
    switch (codec) {
    case NONE:
        ok = n == size;
        if (ok && n)
            memcpy(to, p, n);
        break;
    case SNAPPY:
        ok = snappy(p, n, to, size);
        break;
    case GZIP:
        ok = gzip(p, n, to, size);
        break;
    case ZSTD:
        ok = ZSTD_decompress(to, size, p, n) == size;
        break;
    default:
        return br_fail(err, BR_E_UNSUPPORTED,
                       "a page is compressed with %s, expected none, Snappy, gzip or Zstandard",
                       codec > 0 && codec < (int)BR_COUNTOF(names) ? names[codec]
                                                                   : "an unknown method");
    }
    return ok ? BR_OK
              : br_fail(err, BR_E_FORMAT, "%zu bytes do not decompress (%s) to %zu", n,
                        names[codec], size);
}
