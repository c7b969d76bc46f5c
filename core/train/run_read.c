/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* run_read.c - keys of a recipe while a run is made of them: each that is read is noted as such. */
#include "run.h"

#include <string.h>

const struct br__recipe_value *br__run_get(struct br__run_maker *k, uint32_t id)
{
    k->out->read[id] = 1;
    return &k->r->v[id];
}

int64_t br__run_int(struct br__run_maker *k, uint32_t id, int64_t dflt)
{
    k->out->read[id] = 1;
    return br__recipe_i(k->r, id, dflt);
}

double br__run_float(struct br__run_maker *k, uint32_t id, double dflt)
{
    const struct br__recipe_value *v = br__run_get(k, id);
    return v->tag == 'F' ? v->f : dflt;
}

const char *br__run_text(struct br__run_maker *k, uint32_t id)
{
    const struct br__recipe_value *v = br__run_get(k, id);
    return v->tag == 'T' ? v->text : NULL;
}

const char **br__run_list(struct br__run_maker *k, uint32_t id, size_t *n)
{
    const struct br__recipe_value *v = br__run_get(k, id);
    br__json *j = NULL;
    const char **list = NULL;

    *n = 0;
    if (v->tag != 'L' || br__json_parse(&j, v->text, strlen(v->text), NULL))
        return NULL;
    list = br__arena_alloc(k->a, (br__json_count(j) + 1) * sizeof *list);
    for (const br__json *e = br__json_first(j); e && list; e = br__json_next(e)) {
        struct br__buf b = {0};
        if (br__json_kind(e) == 's')
            br__buf_puts(&b, br__json_str(e, ""));
        else /* "4", not "4.0" */
            br__buf_printf(&b, "%.17g", br__json_num(e, 0));
        list[*n] = b.failed ? NULL : br__arena_strdup(k->a, b.n ? b.p : "");
        k->failed |= !list[(*n)++];
        br__buf_free(&b);
    }
    k->failed |= !list;
    br__json_free(j);
    return list;
}

const char *br__run_printf(struct br__run_maker *k, const char *fmt, ...)
{
    struct br__buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    const char *text = b.failed ? NULL : br__arena_strdup(k->a, b.n ? b.p : "");
    br__buf_free(&b);
    k->failed |= !text;
    return text;
}

void br__run_note(struct br__run_maker *k, const char *fmt, ...)
{
    struct br__run *out = k->out;
    struct br__buf b = {0};
    va_list ap;

    va_start(ap, fmt);
    br__buf_vprintf(&b, fmt, ap);
    va_end(ap);
    if (out->n_notes == out->cap_notes) { /* they grow in the arena: a run has few */
        size_t cap = 2 * out->cap_notes + 8;
        const char **more = br__arena_alloc(k->a, cap * sizeof *more);
        if (more && out->n_notes)
            memcpy(more, out->notes, out->n_notes * sizeof *more);
        k->failed |= !more;
        out->notes = more;
        out->cap_notes = more ? cap : 0;
        out->n_notes = more ? out->n_notes : 0;
    }
    const char *text = b.failed ? NULL : br__arena_strdup(k->a, b.p);
    k->failed |= !text;
    if (text && out->cap_notes)
        out->notes[out->n_notes++] = text;
    br__buf_free(&b);
}
