/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* detect.c - which instructions this machine has, by CPUID's feature bits and the operating
 * system's leave.
 *
 * One table says which feature has which bit and which tier needs it; `bridge doctor` prints it.
 * Never by model: virtual machines report models that do not fit their features. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* One bit of CPUID (Intel SDM volume 2A, CPUID). */
enum reg { EAX, EBX, ECX, EDX };
struct feature {
    const char *name; /* as /proc/cpuinfo spells it */
    uint8_t leaf, subleaf, reg, bit;
    uint8_t tier; /* enum br__cpu_feature that needs it; 0: none, it is only reported */
};

/* clang-format off */
static const struct feature features[] = {
    {"pni", 1, 0, ECX, 0, BR__CPU_AVX2},          {"fma", 1, 0, ECX, 12, BR__CPU_AVX2},
    {"ssse3", 1, 0, ECX, 9, BR__CPU_AVX2},        {"sse4_1", 1, 0, ECX, 19, BR__CPU_AVX2},
    {"sse4_2", 1, 0, ECX, 20, BR__CPU_AVX2},      {"popcnt", 1, 0, ECX, 23, BR__CPU_AVX2},
    {"avx", 1, 0, ECX, 28, BR__CPU_AVX2},         {"f16c", 1, 0, ECX, 29, BR__CPU_AVX2},
    {"avx2", 7, 0, EBX, 5, BR__CPU_AVX2},         {"bmi2", 7, 0, EBX, 8, 0},
    {"avx512f", 7, 0, EBX, 16, BR__CPU_AVX512},   {"avx512dq", 7, 0, EBX, 17, BR__CPU_AVX512},
    {"avx512bw", 7, 0, EBX, 30, BR__CPU_AVX512},  {"avx512vl", 7, 0, EBX, 31, BR__CPU_AVX512},
    {"avx512_vnni", 7, 0, ECX, 11, 0},            {"avx_vnni", 7, 1, EAX, 4, 0},
    {"avx512_bf16", 7, 1, EAX, 5, BR__CPU_AVX512_BF16},
    {"avx512_fp16", 7, 0, EDX, 23, 0},            {"amx_tile", 7, 0, EDX, 24, BR__CPU_AMX},
    {"amx_bf16", 7, 0, EDX, 22, BR__CPU_AMX},     {"amx_int8", 7, 0, EDX, 25, 0},
};
/* clang-format on */

static int cpu_has(size_t i)
{
    const struct feature *f = &features[i];
    uint32_t r[4];
    return __get_cpuid_count(f->leaf, f->subleaf, &r[EAX], &r[EBX], &r[ECX], &r[EDX]) &&
           r[f->reg] >> f->bit & 1;
}

/* Register state that the operating system saves (XCR0). */
static uint64_t xcr0(void)
{
    uint32_t lo, hi, a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return 0;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Tile data is a state that Linux enables on request, for the whole process. */
static int amx_permitted(void)
{
    const long arch_req_xcomp_perm = 0x1023, xfeature_tiledata = 18;
    return syscall(SYS_arch_prctl, arch_req_xcomp_perm, xfeature_tiledata) == 0;
}

/* The features that a tier adds to the one before it, and the state that they need. */
static int tier_usable(enum br__cpu_feature tier, uint64_t state)
{
    for (size_t i = 0; i < BR_COUNTOF(features); i++)
        if (features[i].tier == tier && !cpu_has(i))
            return 0;
    return (xcr0() & state) == state;
}

uint64_t br__cpu_detect(void)
{
    static const struct {
        enum br__cpu_feature tier;
        uint64_t state; /* bits of XCR0 */
    } tiers[] = {
        {BR__CPU_AVX2, 0x6},
        {BR__CPU_AVX512, 0xE6},
        {BR__CPU_AVX512_BF16, 0xE6},
        {BR__CPU_AMX, 0x600E6},
    };
    uint64_t found = 0;
    for (size_t i = 0; i < BR_COUNTOF(tiers) && tier_usable(tiers[i].tier, tiers[i].state); i++)
        if (tiers[i].tier != BR__CPU_AMX || amx_permitted())
            found |= tiers[i].tier;
    return found;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

static const struct {
    const char *name;   /* as /proc/cpuinfo spells it */
    unsigned long type; /* getauxval(3) */
    unsigned long mask;
} features[] = {
    {"asimd", AT_HWCAP, HWCAP_ASIMD},     {"asimdhp", AT_HWCAP, HWCAP_ASIMDHP},
    {"asimddp", AT_HWCAP, HWCAP_ASIMDDP}, {"sve", AT_HWCAP, HWCAP_SVE},
    {"crc32", AT_HWCAP, HWCAP_CRC32},     {"sve2", AT_HWCAP2, HWCAP2_SVE2},
    {"bf16", AT_HWCAP2, HWCAP2_BF16},     {"i8mm", AT_HWCAP2, HWCAP2_I8MM},
};

static int cpu_has(size_t i)
{
    return (getauxval(features[i].type) & features[i].mask) != 0;
}

uint64_t br__cpu_detect(void)
{
    return BR__CPU_NEON; /* part of every ARMv8-A */
}

#else

static const struct {
    const char *name;
} features[] = {{""}};

static int cpu_has(size_t i)
{
    (void)i;
    return 0;
}

uint64_t br__cpu_detect(void)
{
    return 0;
}

#endif

const char *br__cpu_feature(size_t i, int *has)
{
    *has = i < BR_COUNTOF(features) && cpu_has(i);
    return i < BR_COUNTOF(features) ? features[i].name : NULL;
}
