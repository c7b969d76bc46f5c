/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* program.c - a graph planned for a kind of device: which nodes run, by which kernels, and where
 * each value lies in work memory.
 *
 * A value lives from its node to its last user; values whose lifetimes do not overlap share bytes.
 */
#include "graph_internal.h"

#include <stdio.h>
#include <string.h>

#define KEEP UINT32_MAX /* in `last`: an output */

size_t br__node_bytes(const struct br__program *p, const struct br__node *n)
{
    size_t b = (size_t)br__node_elems(n) * br_dtype_size((int)n->dtype);
    return (b + p->align - 1) & ~(p->align - 1);
}

int br__node_contiguous(const struct br__node *n)
{
    int64_t stride = 1;
    for (uint32_t i = n->n_dim; i-- > 0; stride *= n->shape[i])
        if (n->stride[i] != stride && n->shape[i] != 1)
            return 0;
    return 1;
}

/* ---- what is needed, and for how long -------------------------------------------------------- */

static void find_needed(struct br__program *p, const br_val *outputs, size_t n_outputs)
{
    const struct br_graph *g = p->g;
    for (size_t i = 0; i < n_outputs; i++) {
        p->needed[outputs[i]] = 1;
        p->last[br__node(g, outputs[i])->base] = KEEP;
    }
    for (br_val v = (br_val)g->n; v-- > 1;) {
        const struct br__node *n = br__node(g, v);
        for (uint32_t i = 0; p->needed[v] && i < n->n_in; i++) {
            br_val base = br__node(g, n->in[i])->base;
            p->needed[n->in[i]] = p->needed[base] = 1;
            if (br__is_step(n->op) && p->last[base] < v)
                p->last[base] = v;
        }
    }
}

/* ---- work memory: first fit over a sorted list of gaps, grown at its end --------------------- */

static int program_release(struct br__program *p, size_t from, size_t n)
{
    size_t i = 0;
    while (i < p->n_gaps && p->gaps[i].from < from)
        i++;
    int joins_left = i > 0 && p->gaps[i - 1].from + p->gaps[i - 1].n == from;
    int joins_right = i < p->n_gaps && from + n == p->gaps[i].from;
    if (joins_left && joins_right) {
        p->gaps[i - 1].n += n + p->gaps[i].n;
        memmove(&p->gaps[i], &p->gaps[i + 1], (--p->n_gaps - i) * sizeof *p->gaps);
    } else if (joins_left) {
        p->gaps[i - 1].n += n;
    } else if (joins_right) {
        p->gaps[i].from = from;
        p->gaps[i].n += n;
    } else {
        if (br__grow(&p->gaps, &p->cap_gaps, p->n_gaps, sizeof *p->gaps))
            return BR_E_NOMEM;
        memmove(&p->gaps[i + 1], &p->gaps[i], (p->n_gaps++ - i) * sizeof *p->gaps);
        p->gaps[i] = (struct br__free_block){from, n};
    }
    return 0;
}

static size_t program_claim(struct br__program *p, size_t n)
{
    for (size_t i = 0; i < p->n_gaps; i++) {
        struct br__free_block *s = &p->gaps[i];
        if (s->n < n)
            continue;
        size_t from = s->from;
        s->from += n;
        s->n -= n;
        if (s->n == 0)
            memmove(s, s + 1, (--p->n_gaps - i) * sizeof *s);
        return from;
    }
    /* A gap at the very end grows in place of a new piece behind it. */
    if (p->n_gaps && p->gaps[p->n_gaps - 1].from + p->gaps[p->n_gaps - 1].n == p->work_bytes) {
        size_t from = p->gaps[--p->n_gaps].from;
        p->work_bytes = from + n;
        return from;
    }
    p->work_bytes += n;
    return p->work_bytes - n;
}

/* Whether v may overwrite its input: a sum over ranks, in place, of a value that nobody needs
 * after. */
static int in_place(const struct br__program *p, br_val v)
{
    const struct br__node *n = br__node(p->g, v);
    if (n->op != BR_OP_ALL_REDUCE)
        return 0;
    const struct br__node *in = br__node(p->g, n->in[0]), *base = br__node(p->g, in->base);
    return p->last[in->base] == v && br__is_step(base->op) && in->offset == 0 &&
           br__node_elems(in) == br__node_elems(base);
}

/* What crosses the cut, or is read between the two parts.  A sum in place is where its input is. */
static void find_kept(struct br__program *p)
{
    const struct br_graph *g = p->g;
    for (br_val v = g->cut; v-- > 1;) {
        const struct br__node *n = br__node(g, v);
        if (!p->needed[v] || n->base != v || !br__is_step(n->op))
            continue;
        p->kept[v] |= p->last[v] >= g->cut;
        if (p->kept[v] && in_place(p, v))
            p->kept[br__node(g, n->in[0])->base] = 1;
    }
}

/* Give back the memory of node v's inputs that end with it, and its own if nobody uses it. */
static int release_ended(struct br__program *p, br_val v)
{
    const struct br__node *n = br__node(p->g, v);
    for (uint32_t i = 0; i <= n->n_in; i++) {
        br_val base = i < n->n_in ? br__node(p->g, n->in[i])->base : n->base;
        /* Once: at the first input that names it. */
        int again = 0;
        for (uint32_t k = 0; k < i; k++)
            again |= br__node(p->g, n->in[k])->base == base;
        int unused = base == v && p->last[v] == 0;
        if (!again && !p->kept[base] && (p->last[base] == v || unused) &&
            br__is_step(br__node(p->g, base)->op) &&
            program_release(p, p->offset[base], br__node_bytes(p, br__node(p->g, base))))
            return BR_E_NOMEM;
    }
    return 0;
}

static int plan_memory(struct br__program *p)
{
    for (br_val v = 1; v < p->g->n; v++) {
        const struct br__node *n = br__node(p->g, v);
        if (!p->needed[v] || !br__is_step(n->op))
            continue;
        if (in_place(p, v)) {
            br_val from = br__node(p->g, n->in[0])->base;
            p->offset[v] = p->offset[from];
            p->kept[v] = p->kept[from];
            if (p->last[v] == 0 && !p->kept[v] &&
                program_release(p, p->offset[v], br__node_bytes(p, n)))
                return BR_E_NOMEM;
            continue;
        }
        if (p->kept[v]) {
            p->offset[v] = p->kept_bytes;
            p->kept_bytes += br__node_bytes(p, n);
        } else if (n->base == v) {
            p->offset[v] = program_claim(p, br__node_bytes(p, n));
        }
        if (release_ended(p, v))
            return BR_E_NOMEM;
    }
    return 0;
}

/* Inputs of a frame lie side by side, so that one copy brings them to the device; then constants.
 */
static void plan_leaves(struct br__program *p)
{
    for (int op = BR_OP_INPUT; op <= BR_OP_CONST; op++)
        for (br_val v = 1; v < p->g->n; v++) {
            const struct br__node *n = br__node(p->g, v);
            if (!p->needed[v] || n->op != (uint32_t)op)
                continue;
            p->offset[v] = p->input_bytes + p->const_bytes;
            *(op == BR_OP_INPUT ? &p->input_bytes : &p->const_bytes) += br__node_bytes(p, n);
        }
}

/* ---- kernels --------------------------------------------------------------------------------- */

static struct br__kernel_key key_of(const struct br_graph *g, const struct br__node *n)
{
    uint32_t in[BR_MAX_IN];
    for (uint32_t i = 0; i < n->n_in; i++)
        in[i] = br__node(g, n->in[i])->dtype;
    return br__kernel_key(n->op, in, n->n_in, n->dtype);
}

static int choose_kernels(struct br__program *p, const struct br__device *d, struct br_err *err)
{
    char missing[400] = "";
    uint32_t listed[BR_N_OPS] = {0}; /* dtypes that the list names already, by op */
    size_t len = 0;
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct br__node *n = br__node(p->g, p->steps[i].node);
        if (br__op_kind(n->op) == BR__OP_COMM) {
            if (n->n_in && !br__node_contiguous(br__node(p->g, n->in[0])))
                BR_BUG("op %s of a strided value", br__ops[n->op].name);
            continue;
        }
        struct br__kernel_key key = key_of(p->g, n);
        int dtype = key.weight == BR_NONE ? key.value : key.weight;
        p->steps[i].kernel = br__device_kernel(d, key);
        if (p->steps[i].kernel || listed[n->op] & BR_BIT(dtype))
            continue;
        listed[n->op] |= BR_BIT(dtype);
        if (len < sizeof missing)
            len += (size_t)snprintf(missing + len, sizeof missing - len, " %s(%s)",
                                    br__ops[n->op].name, br_dtype_torch(dtype));
    }
    if (missing[0])
        return br_fail(err, BR_E_UNSUPPORTED,
                       "device '%s' has no kernel for%s; use another --device", d->backend.name,
                       missing);
    return 0;
}

/* ---- the whole ------------------------------------------------------------------------------- */

static int make_steps(struct br__program *p)
{
    size_t n = 0;
    for (br_val v = 1; v < p->g->n; v++)
        n += p->needed[v] && br__is_step(br__node(p->g, v)->op);
    p->steps = br__calloc(n + 1, sizeof *p->steps);
    if (!p->steps)
        return BR_E_NOMEM;
    for (br_val v = 1; v < p->g->n; v++)
        if (p->needed[v] && br__is_step(br__node(p->g, v)->op)) {
            p->steps[p->n_steps++].node = v;
            p->n_first += !p->g->cut || v < p->g->cut;
        }
    return 0;
}

int br__program_make(struct br__program **out, const struct br_graph *g, const struct br__device *d,
                     const br_val *outputs, size_t n_outputs, struct br_err *err)
{
    *out = NULL;
    int rc = br__graph_status(g, err);
    if (rc)
        return rc;
    struct br__program *p = br__calloc(1, sizeof *p);
    if (!p)
        return br__nomem(err, "for a graph");
    p->g = g;
    p->align = d->backend.align ? d->backend.align : 64;
    p->needed = br__calloc(g->n, 1);
    p->last = br__calloc(g->n, sizeof *p->last);
    p->offset = br__calloc(g->n, sizeof *p->offset);
    p->kept = br__calloc(g->n, sizeof *p->kept);
    int ok = p->needed && p->last && p->offset && p->kept;
    if (ok) {
        find_needed(p, outputs, n_outputs);
        find_kept(p);
        plan_leaves(p);
        ok = !make_steps(p) && !plan_memory(p);
    }
    rc = ok ? choose_kernels(p, d, err) : br__nomem(err, "planning a graph of %zu nodes", g->n);
    if (rc) {
        br__program_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

void br__program_last_steps(const struct br__program *p, size_t *last)
{
    memset(last, 0, p->g->n * sizeof *last);
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct br__node *n = br__node(p->g, p->steps[i].node);
        last[n->base] = i + 1;
        for (uint32_t k = 0; k < n->n_in; k++)
            last[br__node(p->g, n->in[k])->base] = i + 1;
    }
}

void br__program_free(struct br__program *p)
{
    if (!p)
        return;
    br__free(p->needed);
    br__free(p->last);
    br__free(p->offset);
    br__free(p->kept);
    br__free(p->steps);
    br__free(p->gaps);
    br__free(p);
}

int br__program_runs(const struct br__program *p, br_val v)
{
    return p->needed[v] && br__is_step(br__node(p->g, v)->op);
}

size_t br__program_kept(const struct br__program *p)
{
    return p->kept_bytes;
}
