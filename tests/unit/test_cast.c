/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_cast.c - the element kernels, on every tier that this machine has.
 *
 * The truth is a table of bit patterns from torch and ml_dtypes (dtypes/dtypes.json) and, for what
 * no table can hold, a second implementation that searches for the nearest value instead of
 * shifting bits.  A tier is chosen once in a process, so each is tested in a child of its own. */
#include "../../core/base/base.h"
#include "../../kernels/cpu/cpu.h"
#include "librun.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Run fn in a child that was told to use that tier. */
static void in_tier(const char *tier, void (*fn)(void))
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        setenv("BRIDGE_CPU", tier, 1);
        fn();
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status), "tier %s: died of signal %d", tier, WTERMSIG(status));
    ck_assert_msg(WEXITSTATUS(status) == 0, "tier %s: see above", tier);
}

static int is_here(const struct br__cpu_tier *t)
{
    return (t->features & br__cpu_detect()) == t->features;
}

static void in_each_tier(void (*fn)(void))
{
    for (size_t i = 0; i < br__n_cpu_tiers; i++)
        if (is_here(&br__cpu_tiers[i]))
            in_tier(br__cpu_tiers[i].name, fn);
}

/* For children: check's own asserts belong to the parent. */
#define MUST(cond, ...)                                                                            \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static float from_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static uint32_t to_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static int is_nan16(uint16_t h, uint16_t inf)
{
    return (h & 0x7FFF) > inf;
}

/* ---- an independent model of the 16-bit types ------------------------------------------------ */

struct kind {
    int dtype, man_bits, bias;
    uint16_t inf; /* pattern of +infinity: the values below it are ordered as their patterns */
};
static const struct kind bf16 = {BR_BF16, 7, 127, 0x7F80}, f16 = {BR_F16, 10, 15, 0x7C00};

static double value16(const struct kind *k, uint16_t h)
{
    int exp = (h & 0x7FFF) >> k->man_bits, man = h & ((1 << k->man_bits) - 1);
    double v = exp ? ldexp(man + (1 << k->man_bits), exp - k->bias - k->man_bits)
                   : ldexp(man, 1 - k->bias - k->man_bits);
    if ((h & 0x7FFF) >= k->inf)
        v = (h & 0x7FFF) == k->inf ? INFINITY : NAN;
    return h & 0x8000 ? -v : v;
}

/* Nearest value by search over all patterns; ties go to the even pattern. */
static uint16_t nearest16(const struct kind *k, double x)
{
    uint16_t lo = 0, hi = k->inf, sign = signbit(x) ? 0x8000 : 0;
    double a = fabs(x);
    /* Infinity stands one step above the largest finite value when rounding. */
    double top = value16(k, (uint16_t)(k->inf - 1));
    double step = top - value16(k, (uint16_t)(k->inf - 2));
    if (isinf(a) || a >= top + step / 2)
        return sign | k->inf;
    while (hi - lo > 1) {
        uint16_t mid = (uint16_t)((lo + hi) / 2);
        if (value16(k, mid) <= a)
            lo = mid;
        else
            hi = mid;
    }
    double below = a - value16(k, lo), above = (hi == k->inf ? top + step : value16(k, hi)) - a;
    int up = above < below || (above == below && (lo & 1));
    return sign | (up ? hi : lo);
}

/* ---- golden bit patterns --------------------------------------------------------------------- */

static br__json *golden;

static void load_golden(void)
{
    char *text;
    size_t n;
    struct br_err err = BR_ERR_INIT;
    int rc = br__read_text(BRIDGE_TEST_DATA "/dtypes/dtypes.json", 1 << 20, &text, &n, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    rc = br__json_parse(&golden, text, n, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
    br__free(text);
}

static void free_golden(void)
{
    br__json_free(golden);
}

static void check_f32_golden(const struct kind *k, const char *name)
{
    const br__json *in = br__json_first(br__json_get(golden, "f32"));
    const br__json *out = br__json_first(br__json_get(golden, name));
    size_t rows = 0;
    for (; in && out; in = br__json_next(in), out = br__json_next(out), rows++) {
        /* Nineteen copies reach the vector loop and the scalar tail. */
        uint32_t u[19];
        uint16_t h[19];
        u[0] = (uint32_t)br__json_num(in, -1);
        for (int i = 1; i < 19; i++)
            u[i] = u[0];
        size_t changed = br_cast(h, k->dtype, u, BR_F32, 19, 0);
        int nan = br__json_kind(out) == '0';
        uint16_t want = (uint16_t)br__json_num(out, 0);
        for (int i = 0; i < 19; i++)
            MUST(nan ? is_nan16(h[i], k->inf) && (h[i] >> 15) == u[0] >> 31 : h[i] == want,
                 "%s of f32 0x%08x at %d is 0x%04x, expected 0x%04x", name, u[0], i, h[i], want);
        int exact = nan || value16(k, want) == (double)from_bits(u[0]);
        MUST(changed == (exact ? 0 : 19), "f32 0x%08x: %zu changed", u[0], changed);
    }
    MUST(!in && !out && rows == br__json_count(br__json_get(golden, "f32")) && rows > 1000,
         "%s: %zu rows", name, rows);
}

static void f32_golden(void)
{
    check_f32_golden(&bf16, "bf16");
    check_f32_golden(&f16, "fp16");
}

static void e4m3_golden(void)
{
    uint8_t src[256];
    float f[256], one = 1;
    uint16_t b[256], h[256];
    for (int i = 0; i < 256; i++)
        src[i] = (uint8_t)i;
    br_dequant_e4m3(f, BR_F32, src, 256, &one, 0, 256);
    br_dequant_e4m3(b, BR_BF16, src, 256, &one, 0, 256);
    br_dequant_e4m3(h, BR_F16, src, 256, &one, 0, 256);
    const br__json *v = br__json_first(br__json_get(golden, "e4m3_values"));
    for (int i = 0; i < 256; i++, v = br__json_next(v)) {
        if (br__json_kind(v) == '0') {
            MUST(to_bits(f[i]) == 0x7FC00000 && b[i] == 0x7FC0 && h[i] == 0x7E00,
                 "e4m3 0x%02x is not the quiet NaN", i);
            continue;
        }
        double want = br__json_num(v, -1);
        MUST(f[i] == want && !signbit(f[i]) == !signbit(want), "e4m3 0x%02x: %g", i, f[i]);
        MUST(b[i] == nearest16(&bf16, want) && h[i] == nearest16(&f16, want), "e4m3 0x%02x", i);
    }
    MUST(!v, "more than 256 values");
}

START_TEST(golden_values)
{
    load_golden();
    in_each_tier(f32_golden);
    in_each_tier(e4m3_golden);
    free_golden();
}
END_TEST

/* ---- all 65536 values ------------------------------------------------------------------------ */

static void check_all16(const struct kind *k)
{
    static uint16_t all[65536], back[65536];
    static float f[65536];
    static double d[65536];
    for (int i = 0; i < 65536; i++)
        all[i] = (uint16_t)i;
    MUST(br_cast(f, BR_F32, all, k->dtype, 65536, 0) == 0, "widening changed a value");
    MUST(br_cast(d, BR_F64, all, k->dtype, 65536, 0) == 0, "widening changed a value");
    for (int i = 0; i < 65536; i++) {
        double want = value16(k, all[i]);
        if (isnan(want))
            MUST(isnan(f[i]) && isnan(d[i]) && !signbit(f[i]) == !(i >> 15), "0x%04x", i);
        else
            MUST(f[i] == want && d[i] == want && !signbit(f[i]) == !(i >> 15) &&
                     !signbit(d[i]) == !(i >> 15),
                 "0x%04x widens to %g and %g", i, f[i], d[i]);
    }
    uint16_t quiet = (uint16_t)(1 << (k->man_bits - 1));
    for (int from = 0; from < 2; from++) {
        size_t changed = from ? br_cast(back, k->dtype, d, BR_F64, 65536, 0)
                              : br_cast(back, k->dtype, f, BR_F32, 65536, 0);
        MUST(changed == 0, "%zu changed on the way back", changed);
        for (int i = 0; i < 65536; i++)
            MUST(back[i] == (is_nan16(all[i], k->inf) ? all[i] | quiet : all[i]),
                 "0x%04x came back as 0x%04x", i, back[i]);
    }
    memset(back, 0, sizeof back);
    MUST(br_cast(back, k->dtype, all, k->dtype, 65536, 0) == 0, "a copy changed a value");
    MUST(memcmp(back, all, sizeof all) == 0, "a copy is not bit-equal");
}

/* Around every value and every midpoint: the double just below, on, and just above. */
static void check_rounding(const struct kind *k)
{
    for (int i = 0; i < k->inf; i++) {
        double lo = value16(k, (uint16_t)i);
        double step = i + 1 < k->inf ? value16(k, (uint16_t)(i + 1)) - lo
                                     : lo - value16(k, (uint16_t)(i - 1));
        double mid = lo + step / 2;
        double x[] = {lo, nextafter(lo, 1e300), nextafter(mid, 0), mid, nextafter(mid, 1e300)};
        for (size_t j = 0; j < 2 * BR_COUNTOF(x); j++) {
            double v = j & 1 ? -x[j / 2] : x[j / 2];
            uint16_t h, want = nearest16(k, v);
            size_t changed = br_cast(&h, k->dtype, &v, BR_F64, 1, 0);
            MUST(h == want, "%a gives 0x%04x, expected 0x%04x", v, h, want);
            MUST(changed == (value16(k, h) != v), "%a: changed %zu", v, changed);
        }
    }
}

static void all_values(void)
{
    check_all16(&bf16);
    check_all16(&f16);
}

static void all_midpoints(void)
{
    check_rounding(&bf16);
    check_rounding(&f16);
}

START_TEST(exhaustive)
{
    in_each_tier(all_values);
    in_each_tier(all_midpoints);
}
END_TEST

/* ---- sums ------------------------------------------------------------------------------------ */

/* Every length about a vector's, at odd addresses, into another place and into either operand: each
 * element has the bits of one addition, and none beyond is touched. */
static void sums_are_additions(void)
{
    enum { MOST = 70 };
    static float a[MOST + 3], b[MOST + 3], out[MOST + 3], want[MOST + 3];
    for (size_t n = 0; n <= MOST; n++)
        for (int where = 0; where < 3; where++) {
            for (size_t i = 0; i < MOST + 3; i++) {
                a[i] = ldexpf((float)i * 0.37F - 9, (int)(i % 40));
                b[i] = ldexpf(1.3F - (float)i, (int)(n % 30));
                want[i] = out[i] = -7;
            }
            float *to = where == 0 ? out : where == 1 ? a : b;
            for (size_t i = 0; i < MOST + 3; i++)
                want[i] = i > 0 && i <= n ? (float)((double)a[i] + (double)b[i]) : to[i];
            br_sum_f32(to + 1, a + 1, b + 1, n);
            MUST(memcmp(to, want, sizeof want) == 0, "a sum of %zu elements, into place %d", n,
                 where);
        }
}

START_TEST(sums)
{
    in_each_tier(sums_are_additions);
}
END_TEST

/* Doubles that would round differently through f32, and the ends of the range. */
START_TEST(f64_rounds_once)
{
    static const struct {
        double in;
        uint16_t bf16, f16;
        int changed_bf16, changed_f16;
    } row[] = {
        {1 + 0x1p-8 + 0x1p-40, 0x3F81, 0x3C04, 1, 1}, /* f32 would drop the 2^-40: a tie */
        {1 + 0x1p-8, 0x3F80, 0x3C04, 1, 0},
        {1 + 0x3p-8 - 0x1p-40, 0x3F81, 0x3C0C, 1, 1},
        {1 + 0x1p-11 + 0x1p-50, 0x3F80, 0x3C01, 1, 1},
        {0.0, 0x0000, 0x0000, 0, 0},
        {-0.0, 0x8000, 0x8000, 0, 0},
        {0x1p-133, 0x0001, 0x0000, 0, 1}, /* smallest of bf16 */
        {0x1p-134, 0x0000, 0x0000, 1, 1}, /* half of it: a tie to 0 */
        {-0x1.0000000000001p-134, 0x8001, 0x8000, 1, 1},
        {0x1p-135, 0x0000, 0x0000, 1, 1},
        {0x1p-24, 0x3380, 0x0001, 0, 0}, /* smallest of f16 */
        {0x1p-25, 0x3300, 0x0000, 0, 1},
        {0x1.0000000000001p-25, 0x3300, 0x0001, 1, 1},
        {0x1.ffcp-15, 0x3880, 0x0400, 1, 1}, /* carries into the exponents */
        {5e-324, 0x0000, 0x0000, 1, 1},
        {65504, 0x4780, 0x7BFF, 1, 0},
        {65519.99, 0x4780, 0x7BFF, 1, 1},
        {65520, 0x4780, 0x7C00, 1, 1},
        {-0x1.fep127, 0xFF7F, 0xFC00, 0, 1},
        {0x1.fefffffffffffp127, 0x7F7F, 0x7C00, 1, 1},
        {0x1.ffp127, 0x7F80, 0x7C00, 1, 1},
        {1e308, 0x7F80, 0x7C00, 1, 1},
        {-INFINITY, 0xFF80, 0xFC00, 0, 0},
    };
    for (size_t i = 0; i < BR_COUNTOF(row); i++) {
        uint16_t b, h;
        size_t cb = br_cast(&b, BR_BF16, &row[i].in, BR_F64, 1, 0);
        size_t ch = br_cast(&h, BR_F16, &row[i].in, BR_F64, 1, 0);
        ck_assert_msg(b == row[i].bf16 && cb == (size_t)row[i].changed_bf16, "%a: bf16 0x%04x, %zu",
                      row[i].in, b, cb);
        ck_assert_msg(h == row[i].f16 && ch == (size_t)row[i].changed_f16, "%a: f16 0x%04x, %zu",
                      row[i].in, h, ch);
    }
}
END_TEST

/* ---- NaN ------------------------------------------------------------------------------------- */

START_TEST(nan_keeps_sign)
{
    uint64_t in[] = {0x7FF0000000000001, 0xFFF0000000000001, 0xFFF8000000000000};
    uint16_t h[3];
    float f[3];
    ck_assert_uint_eq(br_cast(h, BR_BF16, in, BR_F64, 3, 0), 0);
    ck_assert(h[0] == 0x7FC0 && h[1] == 0xFFC0 && h[2] == 0xFFC0);
    ck_assert_uint_eq(br_cast(h, BR_F16, in, BR_F64, 3, -1), 0);
    ck_assert(h[0] == 0x7E00 && h[1] == 0xFE00 && h[2] == 0xFE00);
    ck_assert_uint_eq(br_cast(f, BR_F32, in, BR_F64, 3, 0), 0);
    ck_assert(to_bits(f[0]) == 0x7FC00000 && to_bits(f[1]) == 0xFFC00000);
}
END_TEST

/* ---- add ------------------------------------------------------------------------------------- */

/* All bf16 values: w - 1 in bf16 is exact where the issue says, and the count says where. */
START_TEST(add_minus_one)
{
    for (int i = 0; i < 0x7F80; i++) {
        uint16_t w = (uint16_t)i, out, back;
        double v = value16(&bf16, w);
        size_t changed = br_cast(&out, BR_BF16, &w, BR_BF16, 1, -1);
        ck_assert_uint_eq(out, nearest16(&bf16, v - 1));
        size_t changed_back = br_cast(&back, BR_BF16, &out, BR_BF16, 1, 1);
        if (v >= 0.5 && v <= 2)
            ck_assert_uint_eq(changed, 0);
        if (v >= 0x1p-120 && v < 0x1p-60) /* the double sum itself loses the value */
            ck_assert_uint_eq(changed, 1);
        if (changed == 0 && changed_back == 0)
            ck_assert_uint_eq(back, w);
    }
    float f = 0x1p-60f, out;
    ck_assert_uint_eq(br_cast(&out, BR_F32, &f, BR_F32, 1, -1), 1);
    ck_assert(out == -1);
    f = INFINITY;
    ck_assert_uint_eq(br_cast(&out, BR_F32, &f, BR_F32, 1, -1), 0);
    ck_assert(out == INFINITY);
    f = 1;
    ck_assert_uint_eq(br_cast(&out, BR_F32, &f, BR_F32, 1, -1), 0);
    ck_assert_uint_eq(to_bits(out), 0);
    f = 0x1.000002p0f; /* 1 + 2^-23: exact in f32, a double rounding away from exact in bf16 */
    uint16_t h;
    ck_assert_uint_eq(br_cast(&h, BR_BF16, &f, BR_F32, 1, -1), 0);
    ck_assert_uint_eq(h, 0x3400);
    ck_assert_uint_eq(br_cast(&h, BR_BF16, &f, BR_F32, 1, 1), 1);
    ck_assert_uint_eq(h, 0x4000);
}
END_TEST

/* ---- tiers against each other, any length, any alignment ------------------------------------- */

enum { N_RANDOM = 1 << 16, OUT_BYTES = 12 * N_RANDOM + 4096 };
static uint8_t *shared_out; /* written by a child, read by the parent */
static uint8_t random_in[4 * N_RANDOM + 64];

static void random_run(void)
{
    uint8_t *out = shared_out;
    uint64_t changed = br_cast(out, BR_BF16, random_in + 1, BR_F32, N_RANDOM, 0);
    memcpy(out + 2 * N_RANDOM, &changed, 8);
    out += 2 * N_RANDOM + 8;
    br_cast(out + 1, BR_F32, random_in + 3, BR_BF16, N_RANDOM, 0);
    out += 4 * N_RANDOM + 8;
    float scale[64];
    memcpy(scale, random_in, sizeof scale);
    for (int i = 0; i < 64; i++)
        scale[i] = i % 7 ? 0.001f * (float)(i + 1) : scale[i]; /* some are NaN, tiny, huge */
    scale[0] = INFINITY;
    scale[14] = NAN;
    scale[21] = 0x1p-126f;
    for (int i = 0; i < 8; i++) {
        static const int to[] = {BR_BF16, BR_BF16, BR_F32, BR_F16};
        br_dequant_e4m3(out, to[i % 4], random_in + 5 * i, 1000 + (size_t)i, scale, i * 37, 128);
        out += 4100;
    }
    for (size_t n = 0; n < 70; n++) { /* nothing beyond n elements is written */
        uint8_t buf[70 * 4 + 4];
        memset(buf, 0xA5, sizeof buf);
        br_cast(buf, BR_BF16, random_in + n, BR_F32, n, 0);
        MUST(buf[2 * n] == 0xA5 && buf[2 * n + 1] == 0xA5, "f32 -> bf16 wrote beyond %zu", n);
        memset(buf, 0xA5, sizeof buf);
        br_cast(buf, BR_F32, random_in + n, BR_BF16, n, 0);
        MUST(buf[4 * n] == 0xA5 && buf[4 * n + 3] == 0xA5, "bf16 -> f32 wrote beyond %zu", n);
        memset(buf, 0xA5, sizeof buf);
        br_dequant_e4m3(buf, BR_BF16, random_in + n, n, scale, 3, 17);
        MUST(buf[2 * n] == 0xA5 && buf[2 * n + 1] == 0xA5, "e4m3 -> bf16 wrote beyond %zu", n);
    }
}

START_TEST(tiers_agree)
{
    static uint8_t scalar[OUT_BYTES];
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sizeof random_in; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        random_in[i] = (uint8_t)(x >> 32);
        if (x % 11 == 0) /* infinities, NaN and the patterns next to them */
            random_in[i] = x & 1 << 20 ? 0x7F : 0x80;
    }
    shared_out = mmap(NULL, OUT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared_out != MAP_FAILED);
    for (size_t i = 0; i < br__n_cpu_tiers; i++) {
        const char *name = br__cpu_tiers[i].name;
        if (!is_here(&br__cpu_tiers[i]))
            continue;
        memset(shared_out, 0, OUT_BYTES);
        in_tier(name, random_run);
        if (i == 0)
            memcpy(scalar, shared_out, OUT_BYTES);
        ck_assert_msg(memcmp(scalar, shared_out, OUT_BYTES) == 0, "tier %s differs", name);
    }
    uint64_t changed;
    memcpy(&changed, scalar + 2 * N_RANDOM, 8);
    ck_assert_uint_gt(changed, N_RANDOM / 2);
    munmap(shared_out, OUT_BYTES);
}
END_TEST

/* ---- dequantisation -------------------------------------------------------------------------- */

static void dequant_blocks(void)
{
    uint8_t src[600];
    float scale[6] = {0.1f, 3e-5f, 7.77f, 1e-38f, 1e36f, -2.5f}, f[600];
    uint16_t b[600], h[600];
    for (int i = 0; i < 600; i++)
        src[i] = (uint8_t)(i * 37 + 11);
    for (int64_t block = 100; block <= 128; block += 28)
        for (int64_t col0 = 0; col0 < 128; col0 += 13) {
            size_t n = (size_t)(block * 6 - col0) < 600 ? (size_t)(block * 6 - col0) : 600;
            br_dequant_e4m3(f, BR_F32, src, n, scale, col0, block);
            br_dequant_e4m3(b, BR_BF16, src, n, scale, col0, block);
            br_dequant_e4m3(h, BR_F16, src, n, scale, col0, block);
            for (size_t j = 0; j < n; j++) {
                int exp = src[j] >> 3 & 15, man = src[j] & 7;
                float v = (float)(exp ? ldexp(8 + man, exp - 10) : ldexp(man, -9));
                v = (src[j] & 0x7F) == 0x7F ? NAN : src[j] & 0x80 ? -v : v;
                float p = v * scale[(col0 + (int64_t)j) / block];
                if (isnan(p)) {
                    MUST(to_bits(f[j]) == 0x7FC00000 && b[j] == 0x7FC0 && h[j] == 0x7E00, "NaN");
                    continue;
                }
                MUST(to_bits(f[j]) == to_bits(p), "f32 at %zu: %a, expected %a", j, f[j], p);
                MUST(b[j] == nearest16(&bf16, p), "bf16 at %zu of %a: 0x%04x", j, p, b[j]);
                MUST(h[j] == nearest16(&f16, p), "f16 at %zu of %a: 0x%04x", j, p, h[j]);
            }
        }
}

START_TEST(dequant)
{
    in_each_tier(dequant_blocks);
    uint8_t none = 0x11;
    br_dequant_e4m3(&none, BR_BF16, NULL, 0, NULL, 0, 128);
    ck_assert_uint_eq(none, 0x11);
    ck_assert_uint_eq(br_cast(NULL, BR_BF16, NULL, BR_F32, 0, 0), 0);
}
END_TEST

static void is_the_one_asked_for(void)
{
    MUST(strcmp(br_cpu_tier(), getenv("BRIDGE_CPU")) == 0, "%s", br_cpu_tier());
}

START_TEST(a_tier_that_is_here_is_used)
{
    ck_assert(is_here(&br__cpu_tiers[0])); /* scalar: every machine has it */
    in_each_tier(is_the_one_asked_for);
}
END_TEST

/* Conversions go on with the best tier, which gives the same bytes; a device says no. */
static void is_the_best(void)
{
    const struct br__cpu_tier *best = NULL;
    struct br_err err = BR_ERR_INIT;
    uint64_t features;
    void *device;
    for (size_t i = 0; i < br__n_cpu_tiers; i++)
        if (is_here(&br__cpu_tiers[i]))
            best = &br__cpu_tiers[i];
    MUST(best && strcmp(br_cpu_tier(), best->name) == 0, "%s", br_cpu_tier());
    int rc = br__cpu_backend()->open(&device, 0, 1, &features, &err);
    MUST(rc == BR_E_UNSUPPORTED && device == NULL, "%d", rc);
    MUST(strstr(err.msg, getenv("BRIDGE_CPU")) && strstr(err.msg, best->name), "%s", err.msg);
}

START_TEST(a_tier_that_is_not_here_is_refused_by_devices_alone)
{
    in_tier("no such tier", is_the_best);
    for (size_t i = 0; i < br__n_cpu_tiers; i++)
        if (!is_here(&br__cpu_tiers[i]))
            in_tier(br__cpu_tiers[i].name, is_the_best);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        golden_values,
        exhaustive,
        sums,
        f64_rounds_once,
        nan_keeps_sign,
        add_minus_one,
        tiers_agree,
        dequant,
        a_tier_that_is_here_is_used,
        a_tier_that_is_not_here_is_refused_by_devices_alone,
    };
    Suite *suite = suite_create("cast");
    TCase *tc = tcase_create("cast");
    tcase_set_timeout(tc, 120);
    for (size_t i = 0; i < BR_COUNTOF(tests); i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    return run_suite(suite);
}
