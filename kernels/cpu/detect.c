/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* detect.c - which instructions this machine has, by CPUID's feature bits and the operating
 * system's leave.
 *
 * Never by model: virtual machines report models that do not fit their features. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* CPUID bits by register, in the order of Intel's manual. */
#define L1_ECX                                                                                     \
    (bit_FMA | bit_SSE3 | bit_SSSE3 | bit_SSE4_1 | bit_SSE4_2 | bit_POPCNT | bit_AVX | bit_F16C)
#define L7_EBX_AVX512 (1u << 16 | 1u << 17 | 1u << 30 | 1u << 31) /* F, DQ, BW, VL */
#define L7_EDX_AMX (1u << 22 | 1u << 24)                          /* BF16, TILE */
#define L7_1_EAX_BF16 (1u << 5)

/* Register state that the operating system saves (XCR0). */
#define XCR0_AVX 0x6u
#define XCR0_AVX512 0xE6u
#define XCR0_AMX 0x60000u

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static int has(uint64_t word, uint64_t bits)
{
    return (word & bits) == bits;
}

/* Tile data is a state that Linux enables on request, for the whole process. */
static int amx_permitted(void)
{
    const long arch_req_xcomp_perm = 0x1023, xfeature_tiledata = 18;
    return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_tiledata) == 0;
}

uint64_t br__cpu_detect(void)
{
    uint32_t a, b, c, d, max, b7, d7;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !has(c, bit_OSXSAVE) || !has(c, L1_ECX) ||
        !has(xcr0(), XCR0_AVX) || !__get_cpuid_count(7, 0, &max, &b7, &c, &d7) ||
        !has(b7, bit_AVX2))
        return 0;
    uint64_t f = BR__CPU_AVX2;
    if (!has(b7, L7_EBX_AVX512) || !has(xcr0(), XCR0_AVX512))
        return f;
    f |= BR__CPU_AVX512;
    if (max < 1 || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || !has(a, L7_1_EAX_BF16))
        return f;
    f |= BR__CPU_AVX512_BF16;
    if (has(d7, L7_EDX_AMX) && has(xcr0(), XCR0_AMX) && amx_permitted())
        f |= BR__CPU_AMX;
    return f;
}

#elif defined(__aarch64__)

uint64_t br__cpu_detect(void)
{
    return BR__CPU_NEON;
}

#else

uint64_t br__cpu_detect(void)
{
    return 0;
}

#endif
