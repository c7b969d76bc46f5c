/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* bind_report.c - report everything that does not fit at once: for a wrong directory the kind of
 * mistake and a few names, not the first of nine thousand lines. */
#include "model_internal.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_SHOWN 5

static int bind_strict(const struct br__binder *w)
{
    return !(w->o->flags & BR_JOB_NOT_STRICT);
}

int br__misfit_missing(struct br__binder *w, const char *name)
{
    if (!bind_strict(w))
        return br__binding_skip(w->b, w->err, "missing: '%s'", name);
    if (!w->n_missing++)
        w->first_missing = name;
    else if (w->n_missing <= NAMES_SHOWN)
        br__buf_printf(&w->report, "\n  missing: '%s'", name);
    return BR_OK;
}

int br__misfit_unexpected(struct br__binder *w, const char *name)
{
    if (!bind_strict(w))
        return br__binding_skip(w->b, w->err, "unexpected: '%s' is left out", name);
    if (!w->n_unexpected++)
        w->first_unexpected = name;
    else if (w->n_unexpected <= NAMES_SHOWN)
        br__buf_printf(&w->report, "\n  unexpected: '%s'", name);
    return BR_OK;
}

int br__misfit_add(struct br__binder *w, const char *fmt, ...)
{
    struct br__buf b = {0};
    va_list ap;
    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    int rc = b.failed ? br__nomem(w->err, "fitting the tensors to the model") : BR_OK;
    if (!rc && !bind_strict(w))
        rc = br__binding_skip(w->b, w->err, "%s", b.p);
    else if (!rc && w->n_misfit++ == 0)
        rc = br_fail(w->err, BR_E_PLAN, "%s", b.p); /* kept as the headline, see br__misfit_end */
    else if (!rc && w->n_misfit <= NAMES_SHOWN)
        br__buf_printf(&w->report, "\n  %s", b.p);
    br__buf_free(&b);
    return rc == BR_E_PLAN ? BR_OK : rc;
}

/* The source name that is most similar to `name`, if any is. */
static const char *near_name(const struct br__binder *w, const char *name)
{
    const struct br__ckpt *src = w->b->src;
    const char *best = NULL;
    int best_distance = 8;
    for (size_t i = 0; i < src->n_tensors && i < 50000; i++) {
        const char *t = src->tensors[i].name;
        size_t a = strlen(t), b = strlen(name);
        if (w->b->use[i] != BR__LEFT_OUT || (a > b ? a - b : b - a) >= (size_t)best_distance)
            continue;
        int d = br__edit_distance(t, name);
        if (d < best_distance) {
            best_distance = d;
            best = t;
        }
    }
    return best;
}

static void headline_missing(struct br__binder *w, struct br__buf *b)
{
    const char *near = near_name(w, w->first_missing);
    br__buf_printf(b, "%zu tensor(s) of the model are missing from the source, first '%s'",
                   w->n_missing, w->first_missing);
    if (near)
        br__buf_printf(b, " (the source has '%s': misnamed?)", near);
}

/* One error that holds the first of each kind, and the counts. */
int br__misfit_end(struct br__binder *w)
{
    if (!w->n_missing && !w->n_unexpected && !w->n_misfit)
        return BR_OK;
    struct br__buf b = {0};
    if (w->n_misfit)
        br__buf_printf(&b, "%s%s", w->err ? w->err->msg : "a tensor does not fit",
                       w->n_misfit > 1 ? " (and others)" : "");
    if (w->n_missing) {
        br__buf_puts(&b, b.n ? "; " : "");
        headline_missing(w, &b);
    }
    if (w->n_unexpected)
        br__buf_printf(&b, "%s%zu tensor(s) of the source are unexpected, first '%s'",
                       b.n ? "; " : "", w->n_unexpected, w->first_unexpected);
    br__buf_puts(&b, "; --not-strict continues without them");
    if (w->report.p)
        br__buf_puts(&b, w->report.p);
    int rc = b.failed || w->report.failed ? br__nomem(w->err, "fitting the tensors to the model")
                                          : br_fail(w->err, BR_E_PLAN, "%s", b.p);
    br__buf_free(&b);
    return rc;
}
