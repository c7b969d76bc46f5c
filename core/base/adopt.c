/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* adopt.c - structs of another version: copied to this build's size. */
#include "base.h"

#include <string.h>

int br__adopt(void *dst, size_t dst_size, const void *src, size_t src_size)
{
    const unsigned char *s = src;

    for (size_t i = dst_size; i < src_size; i++)
        if (s[i])
            return BR_E_PLUGIN;
    size_t n = BR__MIN(src_size, dst_size);
    memcpy(dst, src, n);
    memset((char *)dst + n, 0, dst_size - n);
    return BR_OK;
}
