/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* exec.c - a graph made ready to run: which nodes, in which memory, by which kernels.
 *
 * Memory is planned once: a value lives from its node to its last user, and values whose lives do
 * not meet share bytes of one block.  A run is then a walk over a list of calls; all lanes walk it
 * together and meet after each. */
#include "graph_internal.h"
#include <stdatomic.h>
#include <string.h>

#define ALIGN 64

struct step {
    const struct br_kernel *kernel; /* NULL: a collective */
    struct br_call call;
};

struct span { /* free bytes of the block */
    size_t from, n;
};

struct br__exec {
    const struct br_graph *g;
    struct br__device *d;
    struct br_comm *comms[BR_N_GROUPS];
    uint8_t *needed; /* [g->n] */
    br_val *last;    /* [g->n] of an owner of memory: its last user; BR__KEEP = until the end */
    size_t *offset;  /* [g->n] of an owner: its bytes in the block */
    void **own;      /* [g->n] INPUT, STATE, uploaded CONST: memory of its own */
    uint8_t *bound;  /* [g->n] own[] belongs to the caller */
    struct step *steps;
    size_t n_steps;
    struct span *gaps;
    size_t n_gaps, cap_gaps;
    unsigned char *block, *scratch;
    size_t block_bytes, scratch_bytes, own_bytes;
    int stale; /* something was bound since the steps were filled in */
    _Atomic int failed;
    struct br_err err;
};
#define BR__KEEP UINT32_MAX

static size_t bytes_of(const struct br__node *n)
{
    size_t b = (size_t)br__node_elems(n) * br_dtype_size((int)n->dtype);
    return (b + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

static int is_step(uint32_t op)
{
    return br__op_kind(op) == BR__OP_COMPUTE || br__op_kind(op) == BR__OP_COMM;
}

/* ---- what is needed, and for how long -------------------------------------------------------- */

static void find_needed(struct br__exec *x, const br_val *outputs, size_t n_outputs)
{
    const struct br_graph *g = x->g;
    for (size_t i = 0; i < n_outputs; i++) {
        x->needed[outputs[i]] = 1;
        x->last[br__node(g, outputs[i])->base] = BR__KEEP;
    }
    for (br_val v = (br_val)g->n; v-- > 1;) {
        const struct br__node *n = br__node(g, v);
        for (uint32_t i = 0; x->needed[v] && i < n->n_in; i++) {
            br_val base = br__node(g, n->in[i])->base;
            x->needed[n->in[i]] = x->needed[base] = 1;
            if (is_step(n->op) && x->last[base] < v)
                x->last[base] = v;
        }
    }
}

/* ---- the block: first fit over a sorted list of gaps, grown at its end ----------------------- */

static int release(struct br__exec *x, size_t from, size_t n)
{
    size_t i = 0;
    while (i < x->n_gaps && x->gaps[i].from < from)
        i++;
    int joins_left = i > 0 && x->gaps[i - 1].from + x->gaps[i - 1].n == from;
    int joins_right = i < x->n_gaps && from + n == x->gaps[i].from;
    if (joins_left && joins_right) {
        x->gaps[i - 1].n += n + x->gaps[i].n;
        memmove(&x->gaps[i], &x->gaps[i + 1], (--x->n_gaps - i) * sizeof *x->gaps);
    } else if (joins_left) {
        x->gaps[i - 1].n += n;
    } else if (joins_right) {
        x->gaps[i].from = from;
        x->gaps[i].n += n;
    } else {
        if (br__grow(&x->gaps, &x->cap_gaps, x->n_gaps, sizeof *x->gaps))
            return BR_E_NOMEM;
        memmove(&x->gaps[i + 1], &x->gaps[i], (x->n_gaps++ - i) * sizeof *x->gaps);
        x->gaps[i] = (struct span){from, n};
    }
    return 0;
}

static size_t claim(struct br__exec *x, size_t n)
{
    for (size_t i = 0; i < x->n_gaps; i++) {
        struct span *s = &x->gaps[i];
        if (s->n < n)
            continue;
        size_t from = s->from;
        s->from += n;
        s->n -= n;
        if (s->n == 0)
            memmove(s, s + 1, (--x->n_gaps - i) * sizeof *s);
        return from;
    }
    /* A gap at the very end grows in place of a new piece behind it. */
    if (x->n_gaps && x->gaps[x->n_gaps - 1].from + x->gaps[x->n_gaps - 1].n == x->block_bytes) {
        size_t from = x->gaps[--x->n_gaps].from;
        x->block_bytes = from + n;
        return from;
    }
    x->block_bytes += n;
    return x->block_bytes - n;
}

static int plan_memory(struct br__exec *x)
{
    const struct br_graph *g = x->g;
    for (br_val v = 1; v < g->n; v++) {
        const struct br__node *n = br__node(g, v);
        if (!x->needed[v] || !is_step(n->op))
            continue;
        if (n->base == v)
            x->offset[v] = claim(x, bytes_of(n));
        for (uint32_t i = 0; i <= n->n_in; i++) {
            br_val base = i < n->n_in ? br__node(g, n->in[i])->base : n->base;
            /* Freed once: by its last user, at the first input that names it. */
            int again = 0;
            for (uint32_t k = 0; k < i; k++)
                again |= br__node(g, n->in[k])->base == base;
            int unused = base == v && x->last[v] == 0;
            if (!again && (x->last[base] == v || unused) && is_step(br__node(g, base)->op) &&
                release(x, x->offset[base], bytes_of(br__node(g, base))))
                return BR_E_NOMEM;
        }
    }
    return 0;
}

/* Memory of INPUT, STATE and, off the host, CONST. */
static int own_memory(struct br__exec *x, struct br_err *err)
{
    const struct br_backend *b = x->d->backend;
    for (br_val v = 1; v < x->g->n; v++) {
        const struct br__node *n = br__node(x->g, v);
        int copied = n->op == BR_OP_CONST && !(b->flags & BR_BACKEND_HOST);
        if (!x->needed[v] || !(n->op == BR_OP_INPUT || n->op == BR_OP_STATE || copied))
            continue;
        if (n->op == BR_OP_STATE) /* the caller binds it: caches outlive graphs */
            continue;
        x->own[v] = b->alloc(x->d->device, bytes_of(n));
        if (!x->own[v])
            return br_fail(err, BR_E_NOMEM, "out of memory for an input of %zu bytes", bytes_of(n));
        x->own_bytes += bytes_of(n);
        int rc = copied ? b->upload(x->d->device, x->own[v], n->data, bytes_of(n), err) : 0;
        if (rc)
            return rc;
    }
    return 0;
}

/* ---- steps ----------------------------------------------------------------------------------- */

static void *memory_of(const struct br__exec *x, br_val base)
{
    const struct br__node *n = br__node(x->g, base);
    if (x->own[base])
        return x->own[base];
    if (n->op == BR_OP_CONST)
        return (void *)(uintptr_t)n->data;
    if (n->op == BR_OP_PARAM)
        return (void *)(uintptr_t)n->stored->data;
    return is_step(n->op) ? x->block + x->offset[base] : NULL;
}

static void tensor_of(const struct br__exec *x, br_val v, struct br_tensor *t)
{
    const struct br__node *n = br__node(x->g, v), *base = br__node(x->g, n->base);
    memset(t, 0, sizeof *t);
    unsigned char *p = memory_of(x, n->base);
    t->data = p ? p + (size_t)n->offset * br_dtype_size((int)n->dtype) : NULL;
    t->parts = base->stored ? base->stored->parts : NULL;
    t->dtype = n->dtype;
    t->n_dim = n->n_dim;
    memcpy(t->shape, n->shape, sizeof t->shape);
    memcpy(t->stride, n->stride, sizeof t->stride);
}

static void fill_step(const struct br__exec *x, br_val v, struct step *s)
{
    const struct br__node *n = br__node(x->g, v);
    s->call.op = n->op;
    s->call.n_in = n->n_in;
    s->call.attr = n->attr;
    s->call.device = x->d->device;
    for (uint32_t i = 0; i < n->n_in; i++)
        tensor_of(x, n->in[i], &s->call.in[i]);
    tensor_of(x, v, &s->call.out);
}

static void fill_steps(struct br__exec *x)
{
    size_t k = 0;
    for (br_val v = 1; v < x->g->n; v++)
        if (x->needed[v] && is_step(br__node(x->g, v)->op))
            fill_step(x, v, &x->steps[k++]);
}

static int contiguous(const struct br__node *n)
{
    int64_t stride = 1;
    for (uint32_t i = n->n_dim; i-- > 0; stride *= n->shape[i])
        if (n->stride[i] != stride && n->shape[i] != 1)
            return 0;
    return 1;
}

/* The kernel of each step, and a list of what the device lacks. */
static int choose_kernels(struct br__exec *x, struct br_err *err)
{
    char missing[400] = "";
    uint32_t listed[BR_N_OPS] = {0}; /* dtypes that the list names already, by op */
    size_t len = 0, k = 0;
    for (br_val v = 1; v < x->g->n; v++) {
        const struct br__node *n = br__node(x->g, v);
        if (!x->needed[v] || !is_step(n->op))
            continue;
        struct step *s = &x->steps[k++];
        if (br__op_kind(n->op) == BR__OP_COMM) {
            if (!x->comms[n->attr.i[0]])
                BR_BUG("op %s without a communicator", br__ops[n->op].name);
            if (n->n_in && !contiguous(br__node(x->g, n->in[0])))
                BR_BUG("op %s of a strided value", br__ops[n->op].name);
            continue;
        }
        const struct br__node *w =
            br__node(x->g, n->in[n->op == BR_OP_EMBED || n->n_in < 2 ? 0 : 1]);
        s->kernel = br__device_kernel(x->d, n->op, w->dtype);
        if (s->kernel || listed[n->op] & BR_BIT(w->dtype))
            continue;
        listed[n->op] |= BR_BIT(w->dtype);
        if (len < sizeof missing)
            len += (size_t)snprintf(missing + len, sizeof missing - len, " %s(%s)",
                                    br__ops[n->op].name, br_dtype_torch((int)w->dtype));
    }
    if (missing[0])
        return br_fail(err, BR_E_UNSUPPORTED,
                       "device '%s' has no kernel for%s; use another --device", x->d->backend->name,
                       missing);
    return 0;
}

/* Scratch depends on the number of lanes, which only the team knows. */
static void ask_scratch(void *arg, struct br_team *team, uint32_t lane)
{
    struct br__exec *x = arg;
    if (lane != 0)
        return;
    for (size_t i = 0; i < x->n_steps; i++) {
        struct step *s = &x->steps[i];
        s->call.team = team;
        size_t n = s->kernel && s->kernel->scratch ? s->kernel->scratch(&s->call) : 0;
        x->scratch_bytes = BR__MAX(x->scratch_bytes, n);
    }
}

static int alloc_tables(struct br__exec *x)
{
    size_t n = x->g->n;
    x->needed = br__calloc(n, 1);
    x->bound = br__calloc(n, 1);
    x->last = br__calloc(n, sizeof *x->last);
    x->offset = br__calloc(n, sizeof *x->offset);
    x->own = br__calloc(n, sizeof *x->own);
    return x->needed && x->bound && x->last && x->offset && x->own ? 0 : BR_E_NOMEM;
}

static int make_steps(struct br__exec *x, struct br_err *err)
{
    for (br_val v = 1; v < x->g->n; v++)
        x->n_steps += x->needed[v] && is_step(br__node(x->g, v)->op);
    x->steps = br__calloc(x->n_steps + 1, sizeof *x->steps);
    if (!x->steps || plan_memory(x))
        return br_fail(err, BR_E_NOMEM, "out of memory planning a graph of %zu steps", x->n_steps);
    int rc = own_memory(x, err);
    if (!rc)
        rc = choose_kernels(x, err);
    if (rc)
        return rc;
    x->block = x->d->backend->alloc(x->d->device, x->block_bytes + ALIGN);
    if (!x->block)
        return br_fail(err, BR_E_NOMEM, "out of memory for activations (%zu bytes)",
                       x->block_bytes);
    fill_steps(x);
    x->d->backend->run(x->d->device, ask_scratch, x);
    x->scratch = x->d->backend->alloc(x->d->device, x->scratch_bytes + ALIGN);
    if (!x->scratch)
        return br_fail(err, BR_E_NOMEM, "out of memory for kernels' scratch (%zu bytes)",
                       x->scratch_bytes);
    return 0;
}

int br__exec_make(struct br__exec **out, const struct br_graph *g, struct br__device *d,
                  struct br_comm *const *comms, const br_val *outputs, size_t n_outputs,
                  struct br_err *err)
{
    *out = NULL;
    int rc = br__graph_status(g, err);
    if (rc)
        return rc;
    struct br__exec *x = br__calloc(1, sizeof *x);
    if (!x)
        return br_fail(err, BR_E_NOMEM, "out of memory for a graph");
    x->g = g;
    x->d = d;
    if (comms)
        memcpy(x->comms, comms, sizeof x->comms);
    rc = alloc_tables(x) ? br_fail(err, BR_E_NOMEM, "out of memory for a graph") : 0;
    if (!rc) {
        find_needed(x, outputs, n_outputs);
        rc = make_steps(x, err);
    }
    if (rc) {
        br__exec_free(x);
        return rc;
    }
    *out = x;
    return 0;
}

void br__exec_free(struct br__exec *x)
{
    if (!x)
        return;
    const struct br_backend *b = x->d->backend;
    for (br_val v = 1; x->own && v < x->g->n; v++)
        if (x->own[v] && !(x->bound && x->bound[v]))
            b->free(x->d->device, x->own[v]);
    if (x->block)
        b->free(x->d->device, x->block);
    if (x->scratch)
        b->free(x->d->device, x->scratch);
    br__free(x->needed);
    br__free(x->bound);
    br__free(x->last);
    br__free(x->offset);
    br__free(x->own);
    br__free(x->steps);
    br__free(x->gaps);
    br__free(x);
}

void *br__exec_data(const struct br__exec *x, br_val v)
{
    struct br_tensor t;
    tensor_of(x, v, &t);
    return t.data;
}

void *br__exec_input(const struct br__exec *x, br_val v)
{
    return v ? x->own[v] : NULL;
}

void br__exec_bind(struct br__exec *x, br_val v, void *data)
{
    x->own[v] = data;
    x->bound[v] = 1;
    x->stale = 1;
}

uint64_t br__exec_bytes(const struct br__exec *x)
{
    return x->block_bytes + x->scratch_bytes + x->own_bytes;
}

/* ---- running --------------------------------------------------------------------------------- */

static int communicate(struct br__exec *x, const struct br_call *c)
{
    struct br_comm *comm = x->comms[c->attr.i[0]];
    const struct br_tensor *in = &c->in[0], *out = &c->out;
    size_t n = 1, m = 1;
    for (uint32_t i = 0; c->n_in && i < in->n_dim; i++)
        n *= (size_t)in->shape[i];
    for (uint32_t i = 0; i < out->n_dim; i++)
        m *= (size_t)out->shape[i];
    uint32_t peer = (uint32_t)c->attr.i[1];
    switch (c->op) {
    case BR_OP_ALL_REDUCE:
        memcpy(out->data, in->data, n * br_dtype_size((int)in->dtype));
        return comm->all_reduce(comm, out->data, n, in->dtype, &x->err);
    case BR_OP_ALL_GATHER:
        return comm->all_gather(comm, out->data, in->data, n, in->dtype, &x->err);
    case BR_OP_REDUCE_SCATTER:
        return comm->reduce_scatter(comm, out->data, in->data, m, in->dtype, &x->err);
    case BR_OP_SEND:
        return comm->send(comm, in->data, n, in->dtype, peer, &x->err);
    case BR_OP_RECV:
        return comm->recv(comm, out->data, m, out->dtype, peer, &x->err);
    default:
        BR_BUG("op %s is no collective", br__ops[c->op].name);
    }
}

static void run_lane(void *arg, struct br_team *team, uint32_t lane)
{
    struct br__exec *x = arg;
    for (size_t i = 0; i < x->n_steps; i++) {
        struct br_call call = x->steps[i].call;
        call.team = team;
        call.lane = lane;
        call.scratch = x->scratch;
        if (x->steps[i].kernel)
            x->steps[i].kernel->run(&call);
        else if (lane == 0)
            atomic_store(&x->failed, communicate(x, &call));
        team->sync(team, lane);
        if (!x->steps[i].kernel && atomic_load(&x->failed))
            return;
    }
}

int br__exec_run(struct br__exec *x, struct br_err *err)
{
    if (x->stale)
        fill_steps(x);
    x->stale = 0;
    atomic_store(&x->failed, 0);
    x->d->backend->run(x->d->device, run_lane, x);
    int rc = atomic_load(&x->failed);
    if (rc && err)
        *err = x->err;
    return rc;
}
