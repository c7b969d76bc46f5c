/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* plan_report.c - what does not fit, said at once and in words: a user with a wrong directory wants
 * the kind of mistake and a few names, not the first of nine thousand lines. */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_SHOWN 5

static int strict(const struct br__planner *pl)
{
    return !(pl->o->flags & BR_JOB_NOT_STRICT);
}

int br__misfit_missing(struct br__planner *pl, const char *name)
{
    if (!strict(pl))
        return br__plan_skip(pl, "missing: '%s'", name);
    if (!pl->n_missing++)
        pl->first_missing = name;
    else if (pl->n_missing <= NAMES_SHOWN)
        br__buf_printf(&pl->report, "\n  missing: '%s'", name);
    return BR_OK;
}

int br__misfit_unexpected(struct br__planner *pl, const char *name)
{
    if (!strict(pl))
        return br__plan_skip(pl, "unexpected: '%s' is left out", name);
    if (!pl->n_unexpected++)
        pl->first_unexpected = name;
    else if (pl->n_unexpected <= NAMES_SHOWN)
        br__buf_printf(&pl->report, "\n  unexpected: '%s'", name);
    return BR_OK;
}

int br__misfit_add(struct br__planner *pl, const char *fmt, ...)
{
    struct br__buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    int rc = b.failed ? br__plan_nomem(pl->err) : BR_OK;
    if (!rc && !strict(pl))
        rc = br__plan_skip(pl, "%s", b.p);
    else if (!rc && pl->n_misfit++ == 0)
        rc = br_fail(pl->err, BR_E_PLAN, "%s", b.p); /* kept as the headline, see br__misfit_end */
    else if (!rc && pl->n_misfit <= NAMES_SHOWN)
        br__buf_printf(&pl->report, "\n  %s", b.p);
    br__buf_free(&b);
    return rc == BR_E_PLAN ? BR_OK : rc;
}

/* The source name that looks most like `name`, if any does. */
static const char *near_name(const struct br__planner *pl, const char *name)
{
    const struct br__ckpt *src = pl->p->src;
    const char *best = NULL;
    int best_distance = 8;
    for (size_t i = 0; i < src->n_tensors && i < 50000; i++) {
        const char *t = src->tensors[i].name;
        size_t a = strlen(t), b = strlen(name);
        if (pl->p->use[i] != BR__LEFT_OUT || (a > b ? a - b : b - a) >= (size_t)best_distance)
            continue;
        int d = br__edit_distance(t, name);
        if (d < best_distance) {
            best_distance = d;
            best = t;
        }
    }
    return best;
}

static void headline_missing(struct br__planner *pl, struct br__buf *b)
{
    const char *near = near_name(pl, pl->first_missing);
    br__buf_printf(b, "%zu tensor(s) of the model are missing from the source, first '%s'",
                   pl->n_missing, pl->first_missing);
    if (near)
        br__buf_printf(b, " (the source has '%s': misnamed?)", near);
}

/* One error that holds the first of each kind, and the counts. */
int br__misfit_end(struct br__planner *pl)
{
    if (!pl->n_missing && !pl->n_unexpected && !pl->n_misfit)
        return BR_OK;
    struct br__buf b = {0};
    if (pl->n_misfit)
        br__buf_printf(&b, "%s%s", pl->err ? pl->err->msg : "a tensor does not fit",
                       pl->n_misfit > 1 ? " (and others)" : "");
    if (pl->n_missing) {
        br__buf_puts(&b, b.n ? "; " : "");
        headline_missing(pl, &b);
    }
    if (pl->n_unexpected)
        br__buf_printf(&b, "%s%zu tensor(s) of the source are unexpected, first '%s'",
                       b.n ? "; " : "", pl->n_unexpected, pl->first_unexpected);
    br__buf_puts(&b, "; --not-strict continues without them");
    if (pl->report.p)
        br__buf_puts(&b, pl->report.p);
    int rc = b.failed || pl->report.failed ? br__plan_nomem(pl->err)
                                           : br_fail(pl->err, BR_E_PLAN, "%s", b.p);
    br__buf_free(&b);
    return rc;
}
