/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* test_sample.c - what may be drawn against transformers (tests/oracle/sample.py writes the golden
 * file), what is drawn against its probabilities, and the generator against Random123's vectors. */
#include "infer/infer_internal.h"
#include "librun.h"

#include <check.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct br__sample_opts greedy = BR__SAMPLE_GREEDY;

static struct br__sampler *sampler(const struct br__sample_opts *o, uint32_t vocab)
{
    struct br__sampler *s;
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__sampler_new(&s, o, vocab, &err) == 0, "%s", err.msg);
    return s;
}

static int32_t draw(struct br__sampler *s, const float *logits, uint64_t sequence, uint64_t step)
{
    int32_t id = -1;
    struct br_err err = BR_ERR_INIT;
    ck_assert_msg(br__sample(s, logits, NULL, 0, sequence, step, &id, &err) == 0, "%s", err.msg);
    return id;
}

/* ---- transformers' cases --------------------------------------------------------------------- */

/* splitmix64's mixing, as in sample.py. */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9E3779B97F4A7C15);
    x = (x ^ x >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ x >> 27) * UINT64_C(0x94D049BB133111EB);
    return x ^ x >> 31;
}

static float *make_logits(uint32_t vocab, uint64_t salt, int coarse)
{
    int bits = coarse ? 7 : 20;
    float *logits = calloc(vocab, sizeof *logits);
    for (uint32_t i = 0; i < vocab; i++)
        logits[i] = ldexpf((float)(mix((salt << 32) + i) >> (64 - bits)), 4 - bits) - 8;
    return logits;
}

static double num(const br__json *c, const char *key)
{
    const br__json *v = br__json_get(c, key);
    ck_assert_int_eq(br__json_kind(v), 'n');
    return br__json_num(v, 0);
}

static void check_choices(const br__json *c, const struct br__choices *got)
{
    uint32_t salt = (uint32_t)num(c, "salt");
    double sum = 0;
    for (uint32_t i = 0; i < got->n; i++) {
        sum += got->ids[i];
        if (i > 0 && got->ids[i] <= got->ids[i - 1])
            ck_abort_msg("case %" PRIu32 ": ids do not ascend", salt);
    }
    ck_assert_msg(got->n == num(c, "kept") && sum == num(c, "ids_sum"),
                  "case %" PRIu32 ": %" PRIu32 " kept, expected %g", salt, got->n, num(c, "kept"));
    const br__json *id = br__json_first(br__json_get(c, "ids"));
    const br__json *p = br__json_first(br__json_get(c, "probs"));
    for (uint32_t i = 0; id; i++, id = br__json_next(id), p = br__json_next(p)) {
        double want = br__json_num(p, -1), have = got->weights[i] / got->total;
        ck_assert_int_eq(got->ids[i], (int)br__json_num(id, -1));
        /* The penalty is float32 here, as in a float32 model; the golden file is in float64. */
        ck_assert_msg(fabs(have - want) <= 1e-5 * want + 1e-15,
                      "case %" PRIu32 ": token %d has %.12g, expected %.12g", salt, got->ids[i],
                      have, want);
    }
}

static void check_case(const br__json *c)
{
    const struct br__sample_opts o = {
        .temperature = num(c, "temperature"),
        .top_k = (uint64_t)num(c, "top_k"),
        .top_p = num(c, "top_p"),
        .min_p = num(c, "min_p"),
        .repetition_penalty = num(c, "repetition_penalty"),
    };
    uint32_t vocab = (uint32_t)num(c, "vocab");
    int32_t history[16];
    size_t n = 0;
    for (const br__json *h = br__json_first(br__json_get(c, "history")); h; h = br__json_next(h)) {
        ck_assert_uint_lt(n, BR_COUNTOF(history));
        history[n++] = (int32_t)br__json_num(h, -1);
    }
    float *logits =
        make_logits(vocab, (uint64_t)num(c, "salt"), br__json_bool(br__json_get(c, "coarse"), 0));
    struct br__sampler *s = sampler(&o, vocab);
    struct br__choices got;
    ck_assert_int_eq(br__sample_choices(s, logits, history, n, &got, NULL), 0);
    check_choices(c, &got);
    br__sampler_free(s);
    free(logits);
}

START_TEST(transformers_choices)
{
    char *text;
    size_t n, cases = 0;
    struct br_err err = BR_ERR_INIT;
    br__json *golden;
    ck_assert_int_eq(br__read_text(BRIDGE_TEST_DATA "/sample/cases.json", 1 << 22, &text, &n, &err),
                     0);
    ck_assert_msg(br__json_parse(&golden, text, n, &err) == 0, "%s", err.msg);
    for (const br__json *c = br__json_first(golden); c; c = br__json_next(c), cases++)
        check_case(c);
    ck_assert_uint_gt(cases, 100);
    br__json_free(golden);
    br__free(text);
}
END_TEST

/* ---- cuts against sorting -------------------------------------------------------------------- */

struct scored {
    float score;
    int32_t id;
};

static int by_score(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* How many of the sorted ones stay, step by step as it is defined. */
static uint32_t kept(const struct scored *list, uint32_t n, const struct br__sample_opts *o)
{
    if (o->top_k && o->top_k < n) {
        uint32_t k = (uint32_t)o->top_k;
        while (k < n && list[k].score == list[k - 1].score)
            k++;
        n = k;
    }
    double total = 0, before = 0;
    for (uint32_t i = 0; i < n; i++)
        total += exp(((double)list[i].score - (double)list[0].score) / o->temperature);
    uint32_t m = 0;
    for (; m < n && (m == 0 || o->top_p == 1 || before < o->top_p * total); m++)
        before += exp(((double)list[m].score - (double)list[0].score) / o->temperature);
    while (m > 1 &&
           exp(((double)list[m - 1].score - (double)list[0].score) / o->temperature) < o->min_p)
        m--;
    return m;
}

/* Wide and narrow spreads, ties, zeros of both signs, tiny numbers, extreme values. */
static float odd_logit(uint64_t h)
{
    static const float odd[] = {0.0f, -0.0f, 1e-44f, -1e-44f, 3e38f, -3e38f, 1e-30f, -5.5f};
    switch (h >> 60) {
    case 0:
        return odd[h & 7];
    case 1:
        return (float)(h & 3);
    default:
        return ldexpf((float)(int32_t)(h & 0xFFFFF) - 0x80000, (int)(h >> 32 & 7) - 22);
    }
}

START_TEST(cuts_are_those_of_sorting)
{
    enum { N = 300 };
    float logits[N];
    struct scored sorted[N];
    for (uint64_t t = 0; t < 1000; t++) {
        uint64_t h = mix(t);
        uint32_t n = 1 + (uint32_t)(h % N);
        const struct br__sample_opts o = {
            .temperature = ldexp(1, (int)(h >> 10 & 7) - 4),
            .top_k = h >> 13 & 1 ? h >> 20 & 63 : 0,
            .top_p = h >> 14 & 1 ? (double)(h >> 30 & 255) / 256 : 1,
            .min_p = h >> 15 & 1 ? (double)(h >> 40 & 255) / 512 : 0,
            .repetition_penalty = 1,
        };
        for (uint32_t i = 0; i < n; i++) {
            logits[i] = odd_logit(mix(t << 20 | i));
            sorted[i] = (struct scored){logits[i], (int32_t)i};
        }
        qsort(sorted, n, sizeof *sorted, by_score);
        uint32_t want = kept(sorted, n, &o);
        struct br__sampler *s = sampler(&o, n);
        struct br__choices got;
        ck_assert_int_eq(br__sample_choices(s, logits, NULL, 0, &got, NULL), 0);
        ck_assert_msg(got.n == want, "case %" PRIu64 ": %" PRIu32 " kept, expected %" PRIu32, t,
                      got.n, want);
        double sum = 0, want_sum = 0;
        for (uint32_t i = 0; i < want; i++) {
            sum += got.ids[i];
            want_sum += sorted[i].id;
        }
        ck_assert_msg(sum == want_sum, "case %" PRIu64 ": other ids", t);
        br__sampler_free(s);
    }
}
END_TEST

/* ---- greedy ---------------------------------------------------------------------------------- */

START_TEST(greedy_is_the_first_largest)
{
    struct br__sampler *s = sampler(&greedy, 5);
    ck_assert_int_eq(draw(s, (float[]){1, 3, 3, -7, 3}, 0, 0), 1);
    ck_assert_int_eq(draw(s, (float[]){-0.0f, 0, -1, -1, -1}, 9, 9), 0);
    ck_assert_int_eq(draw(s, (float[]){-3, -2, -5, -1, -9}, 0, 0), 3);
    br__sampler_free(s);

    /* The penalty counts here too; once, however often a token occurs, and only in the vocabulary.
     */
    struct br__sample_opts o = greedy;
    o.repetition_penalty = 2;
    s = sampler(&o, 3);
    int32_t id;
    ck_assert_int_eq(br__sample(s, (float[]){3, 2, 1}, (int32_t[]){0}, 1, 0, 0, &id, NULL), 0);
    ck_assert_int_eq(id, 1);
    ck_assert_int_eq(
        br__sample(s, (float[]){3, 2, 1}, (int32_t[]){0, 1, 1, 1, -1, 3}, 6, 0, 0, &id, NULL), 0);
    ck_assert_int_eq(id, 0);
    ck_assert_int_eq(br__sample(s, (float[]){-1, -1.5f, -8}, (int32_t[]){0}, 1, 0, 0, &id, NULL),
                     0);
    ck_assert_int_eq(id, 1);
    br__sampler_free(s);
}
END_TEST

/* ---- the generator --------------------------------------------------------------------------- */

/* Random123's kat_vectors, philox4x32 10. */
START_TEST(philox_known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < BR_COUNTOF(known); i++) {
        uint32_t out[4];
        br__philox(known[i].counter, known[i].key, out);
        ck_assert_mem_eq(out, known[i].out, sizeof out);
    }
}
END_TEST

/* ---- draws ----------------------------------------------------------------------------------- */

/* Pearson's statistic of `n` draws; the seed is fixed, so the outcome is too. */
static double chi_square(const struct br__choices *c, const unsigned *seen, unsigned n)
{
    double sum = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        double want = n * c->weights[i] / c->total, d = seen[c->ids[i]] - want;
        sum += d * d / want;
    }
    return sum;
}

static double chi_of_draws(const struct br__sample_opts *o, int by_sequence, uint32_t *freedom)
{
    enum { VOCAB = 24, DRAWS = 10000 };
    float *logits = make_logits(VOCAB, 7, 0);
    for (int i = 0; i < VOCAB; i++)
        logits[i] /= 4;
    unsigned seen[VOCAB] = {0}, inside = 0;
    struct br__sampler *s = sampler(o, VOCAB);
    for (unsigned i = 0; i < DRAWS; i++)
        seen[draw(s, logits, by_sequence ? i : 3, by_sequence ? 5 : i)]++;
    struct br__choices c;
    ck_assert_int_eq(br__sample_choices(s, logits, NULL, 0, &c, NULL), 0);
    for (uint32_t i = 0; i < c.n; i++)
        inside += seen[c.ids[i]];
    ck_assert_uint_eq(inside, DRAWS); /* nothing else is ever drawn */
    double chi = chi_square(&c, seen, DRAWS);
    *freedom = c.n - 1;
    br__sampler_free(s);
    free(logits);
    return chi;
}

START_TEST(draws_follow_the_probabilities)
{
    static const struct br__sample_opts opts[] = {
        {1, 0, 1, 0, 1, 1},      {0.5, 0, 1, 0, 1, 2},     {2, 0, 1, 0, 1, UINT64_MAX},
        {1, 8, 1, 0, 1, 3},      {1, 0, 0.7, 0, 1, 4},     {1, 0, 1, 0.3, 1, 5},
        {0.8, 20, 0.9, 0, 1, 6}, {1, 12, 0.95, 0.1, 1, 7},
    };
    for (size_t i = 0; i < BR_COUNTOF(opts); i++)
        for (int by_sequence = 0; by_sequence < 2; by_sequence++) {
            uint32_t k;
            double chi = chi_of_draws(&opts[i], by_sequence, &k);
            /* chi-square: mean k, variance 2k; within five standard deviations on either side */
            ck_assert_msg(k >= 3 && chi < k + 5 * sqrt(2.0 * k) && chi > k - 3.5 * sqrt(2.0 * k),
                          "settings %zu: chi square %g of %" PRIu32, i, chi, k);
        }
}
END_TEST

START_TEST(draws_depend_on_seed_sequence_and_step)
{
    enum { VOCAB = 1000, N = 400 };
    float *logits = calloc(VOCAB, sizeof *logits); /* all alike */
    struct br__sample_opts o = {1, 0, 1, 0, 1, 42};
    struct br__sampler *a = sampler(&o, VOCAB), *b = sampler(&o, VOCAB);
    o.seed = UINT64_C(42) + (UINT64_C(1) << 40);
    struct br__sampler *other = sampler(&o, VOCAB);
    unsigned same[4] = {0};
    for (uint64_t i = 0; i < N; i++) {
        int32_t id = draw(a, logits, 1, i);
        /* In any order, among any other sequences. */
        draw(b, logits, 77, i * 3);
        ck_assert_int_eq(draw(b, logits, 1, i), id);
        same[0] += draw(a, logits, 2, i) == id;
        same[1] += draw(a, logits, 1, i + 1) == id;
        same[2] += draw(other, logits, 1, i) == id;
        same[3] += draw(a, logits, UINT64_C(1) << 33 | 1, i) == id;
    }
    for (int i = 0; i < 4; i++)
        ck_assert_uint_le(same[i], 4);
    br__sampler_free(a);
    br__sampler_free(b);
    br__sampler_free(other);
    free(logits);
}
END_TEST

/* ---- bad input ------------------------------------------------------------------------------- */

/* A value that is not finite is found at any index, among any number of others, however large or
 * small. */
START_TEST(what_is_not_finite_is_found)
{
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    static const float good[] = {0, -0.0f, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-42f, -1e-45f, 1};
    float x[200];
    for (size_t i = 0; i < BR_COUNTOF(x); i++)
        x[i] = good[i % BR_COUNTOF(good)];
    for (size_t n = 0; n <= BR_COUNTOF(x); n++) {
        ck_assert_uint_eq(br__first_not_finite(x, n), n);
        for (size_t i = 0; i < n; i += n < 130 ? 1 : 7) {
            float was = x[i];
            x[i] = bad[i % BR_COUNTOF(bad)];
            ck_assert_uint_eq(br__first_not_finite(x, n), i);
            x[i] = was;
        }
    }
}
END_TEST

START_TEST(logits_must_be_finite)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int warm = 0; warm < 2; warm++) {
        struct br__sample_opts o = greedy;
        o.temperature = warm;
        struct br__sampler *s = sampler(&o, 4);
        for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
            int32_t id;
            struct br_err err = BR_ERR_INIT;
            float logits[] = {1, 2, bad[i], 0};
            ck_assert_int_eq(br__sample(s, logits, NULL, 0, 0, 0, &id, &err), BR_E_NUMERIC);
            ck_assert_ptr_nonnull(strstr(err.msg, "the logit of token 2 is "));
        }
        br__sampler_free(s);
    }
}
END_TEST

START_TEST(options_out_of_range)
{
    static const struct {
        struct br__sample_opts o;
        const char *text;
    } bad[] = {
        {{-1, 0, 1, 0, 1, 0}, "temperature -1, expected 0 (greedy) or more"},
        {{NAN, 0, 1, 0, 1, 0}, "temperature nan"},
        {{1, 0, 1.5, 0, 1, 0}, "top-p 1.5, expected between 0 and 1"},
        {{1, 0, NAN, 0, 1, 0}, "top-p nan"},
        {{1, 0, 1, -0.1, 1, 0}, "min-p -0.1, expected between 0 and 1"},
        {{1, 0, 1, 0, 0, 0}, "repetition-penalty 0, expected more than 0"},
        {{1, 0, 1, 0, INFINITY, 0}, "repetition-penalty inf"},
    };
    struct br__sampler *s;
    struct br_err err = BR_ERR_INIT;
    for (size_t i = 0; i < BR_COUNTOF(bad); i++) {
        ck_assert_int_eq(br__sampler_new(&s, &bad[i].o, 10, &err), BR_E_USAGE);
        ck_assert_msg(br__starts(err.msg, bad[i].text), "%s", err.msg);
        ck_assert_ptr_null(s);
    }
    ck_assert_int_eq(br__sampler_new(&s, &greedy, 0, &err), BR_E_USAGE);
    br__sampler_free(NULL);
}
END_TEST

/* Extreme values that are allowed must not read or write out of bounds. */
START_TEST(extreme_settings)
{
    static const struct br__sample_opts opts[] = {
        {5e-324, 0, 1, 0, 1, 1},    {1e300, 0, 0.5, 0, 1, 1},    {1, 0, 0, 0, 1, 1},
        {1, 0, 1, 1, 1, 1},         {1, UINT64_MAX, 1, 0, 1, 1}, {1, 1, 5e-324, 1, 1, 1},
        {1, 0, 1 - 1e-16, 0, 1, 1},
    };
    static const float logits[] = {3e38f, -3e38f, 3e38f, 0, 1e-45f};
    for (size_t i = 0; i < BR_COUNTOF(opts); i++) {
        struct br__sampler *s = sampler(&opts[i], 5);
        for (uint64_t step = 0; step < 50; step++) {
            int32_t id = draw(s, logits, 0, step);
            ck_assert_msg(i == 1 ? id < 5 : id == 0 || id == 2, "settings %zu: %d", i, id);
        }
        br__sampler_free(s);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("sample");
    TCase *t = tcase_create("sample");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, transformers_choices);
    tcase_add_test(t, cuts_are_those_of_sorting);
    tcase_add_test(t, greedy_is_the_first_largest);
    tcase_add_test(t, philox_known_answers);
    tcase_add_test(t, draws_follow_the_probabilities);
    tcase_add_test(t, draws_depend_on_seed_sequence_and_step);
    tcase_add_test(t, what_is_not_finite_is_found);
    tcase_add_test(t, logits_must_be_finite);
    tcase_add_test(t, options_out_of_range);
    tcase_add_test(t, extreme_settings);
    suite_add_tcase(s, t);
    return run_suite(s);
}
