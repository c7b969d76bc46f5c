/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* readers.c - the loaders of the ranks of this process: ranks of one data-parallel index read the
 * same. */
#include "state.h"

#include <string.h>

static uint32_t reader_dp(const struct br__train *t, uint32_t i)
{
    const struct br__rank_info *r = t->ranks[i].info;

    return br_topo_coord(&r->topo, r->rank, BR_AXIS_DP);
}

/* The loader of rank i: that of an earlier rank, or a new one. */
static int open_loader(struct br__readers *f, const struct br__train *t,
                       const struct br__corpus_steps *s, uint32_t i, struct br_err *err)
{
    uint32_t k = 0;

    while (k < i && reader_dp(t, k) != reader_dp(t, i))
        k++;
    f->of_rank[i] = k < i ? f->of_rank[k] : f->n;
    if (k < i)
        return BR_OK;
    int rc = br__corpus_loader(&t->corpus, s, reader_dp(t, i), &f->loaders[f->n], err);
    f->n += !rc;
    return rc;
}

int br__readers_open(struct br__readers *f, const struct br__train *t,
                     const struct br__corpus_steps *s, struct br_err *err)
{
    size_t n = t->n_ranks;

    *f = (struct br__readers){.loaders = br__calloc(n, sizeof *f->loaders),
                              .of_rank = br__calloc(n, sizeof *f->of_rank),
                              .step = br__calloc(n, sizeof *f->step)};
    int rc = f->loaders && f->of_rank && f->step ? BR_OK : br__nomem(err, "for the data");
    for (uint32_t i = 0; i < n && !rc; i++)
        rc = open_loader(f, t, s, i, err);
    if (rc)
        br__readers_close(f);
    return rc;
}

int br__readers_next(struct br__readers *f, const struct br__train *t, const char *split,
                     struct br_err *err)
{
    int rc = BR_OK;

    for (uint32_t k = 0; k < f->n && !rc; k++) {
        const struct br__step *step;
        rc = br__loader_next(f->loaders[k], &step, err);
        if (!rc && !step)
            BR_BUG("the %s data ends before the run", split); /* br__corpus_lasts has counted */
        for (uint32_t i = 0; i < t->n_ranks && !rc; i++)
            if (f->of_rank[i] == k)
                f->step[i] = step;
    }
    return rc;
}

double br__readers_waited(const struct br__readers *f)
{
    double most = 0;

    for (uint32_t i = 0; i < f->n; i++)
        most = BR__MAX(most, br__loader_waited(f->loaders[i]));
    return most;
}

void br__readers_close(struct br__readers *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        br__loader_close(f->loaders[i]);
    br__free(f->loaders);
    br__free(f->of_rank);
    br__free(f->step);
    *f = (struct br__readers){0};
}
