/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* blend.c - weights, splits and the order in which datasets take turns, to Megatron's last bit. */
#include "gpt.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* numpy.sum of float64: eight running sums, in blocks of at most 128. */
static double pairwise_sum(const double *v, size_t n)
{
    double s = 0, r[8];
    if (n < 8) {
        for (size_t i = 0; i < n; i++)
            s += v[i];
        return s;
    }
    if (n > 128) {
        size_t half = n / 2 - n / 2 % 8;
        return pairwise_sum(v, half) + pairwise_sum(v + half, n - half);
    }
    memcpy(r, v, sizeof r);
    size_t i = 8;
    for (; i < n - n % 8; i += 8)
        for (size_t j = 0; j < 8; j++)
            r[j] += v[i + j];
    s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
    for (; i < n; i++)
        s += v[i];
    return s;
}

void br__normalize(double *w, size_t n)
{
    double sum = pairwise_sum(w, n);
    for (size_t i = 0; i < n; i++)
        w[i] /= sum;
}

/* The dataset that lags most behind its weight is next; ties go to the first.  `left`, if given:
 * samples that a dataset may still give. */
static size_t next_dataset(const double *w, const int64_t *used, const int64_t *left, size_t n,
                           int64_t i)
{
    double at = (double)BR__MAX(i, 1), most = -DBL_MAX;
    size_t best = 0;
    for (size_t k = 0; k < n; k++) {
        double lag = w[k] * at - (double)used[k];
        if (lag > most && (!left || left[k] > used[k])) {
            most = lag;
            best = k;
        }
    }
    return best;
}

static void blend_order(const double *w, int64_t *used, const int64_t *left, size_t n, int64_t size,
                        int16_t *dataset, int64_t *sample)
{
    for (int64_t i = 0; i < size; i++) {
        size_t k = next_dataset(w, used, left, n, i);
        dataset[i] = (int16_t)k;
        sample[i] = used[k]++;
    }
}

int br__blend_by_weight(const double *w, size_t n, int64_t size, int16_t *dataset, int64_t *sample)
{
    int64_t *used = br__calloc(n, sizeof *used);
    if (!used)
        return BR_E_NOMEM;
    blend_order(w, used, NULL, n, size, dataset, sample);
    br__free(used);
    return BR_OK;
}

int br__blend_all(const int64_t *sizes, size_t n, int16_t *dataset, int64_t *sample)
{
    int64_t *used = br__calloc(n, sizeof *used), total = 0;
    double *w = br__calloc(n, sizeof *w);
    for (size_t i = 0; i < n; i++)
        total += sizes[i];
    for (size_t i = 0; i < n && w; i++)
        w[i] = (double)sizes[i] / (double)total;
    if (used && w)
        blend_order(w, used, sizes, n, total, dataset, sample);
    int rc = used && w ? BR_OK : BR_E_NOMEM;
    br__free(used);
    br__free(w);
    return rc;
}

int64_t br__blend_share(int64_t target, double weight, double surplus)
{
    return (int64_t)ceil(ceil((double)target * weight) * (1 + surplus));
}

/* ---- splits ---------------------------------------------------------------------------------- */

/* Numbers between anything, as Megatron's regular expression finds them. */
int br__split_parse(const char *text, double (*range)[2], struct br_err *err)
{
    double share[BR__N_SPLITS] = {0}, at = 0;
    size_t n = 0;
    const char *s = text;
    while (*(s += strcspn(s, "0123456789."))) {
        char word[64];
        size_t len = strspn(s, "0123456789.");
        if (n == BR__N_SPLITS || len >= sizeof word)
            return br_fail(err, BR_E_CONFIG, "split '%s': expected at most three numbers", text);
        memcpy(word, s, len);
        word[len] = '\0';
        if (br__parse_f64(word, &share[n]))
            return br_fail(err, BR_E_CONFIG, "split '%s': '%s' is no number", text, word);
        s += len;
        n++;
    }
    if (share[0] + share[1] + share[2] <= 0)
        return br_fail(err, BR_E_CONFIG,
                       "split '%s': expected shares of train, valid and test, such as '99,1,0'",
                       text);
    br__normalize(share, BR__N_SPLITS);
    for (size_t i = 0; i < BR__N_SPLITS; i++) {
        range[i][0] = at;
        range[i][1] = at += share[i];
    }
    return BR_OK;
}
