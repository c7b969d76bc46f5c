/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* frame.c - a program with memory: its inputs and states, the addresses of its steps, and its run.
 *
 * Only this file knows the device address of a value.  A run uploads all inputs in one copy,
 * submits the kernels between two collectives as one batch, and waits for the device at the end.
 * Where the device can record, a run without collectives that comes again is replayed. */
#include "graph_internal.h"

#include <string.h>

struct call { /* of a step; tensors: its inputs, then its output */
    struct br_call call;
    struct br_tensor *tensors;
};

/* What a MOE_ROUTE came to, in the run that was last. */
struct route {
    int64_t rows; /* that arrived, at least one; before any run as many as there is room for */
    size_t *sent, *received; /* [ranks] rows */
};

struct br__frame {
    const struct br__program *p;
    struct br__device *d;
    struct br_comm *comms[BR_N_GROUPS];
    unsigned char *leaves; /* of the device: inputs, then constants */
    unsigned char *kept;   /* the caller's, or NULL */
    unsigned char *inputs; /* of the host: the same memory, or what is uploaded to it */
    void **state;          /* [g->n] memory that was bound */
    void **weight;         /* [g->n] of a PARAM: its memory on the device */
    struct route *routes;  /* [g->n] */
    struct call *calls;    /* [p->n_steps] */
    struct br_tensor *tensors;
    size_t scratch_bytes;
    uint64_t generation; /* of the device, when the calls were filled in */
    int stale;           /* something was bound since */
    uint32_t n_runs;     /* with the calls as they are */
    const struct br__frame_hook *hook;
    size_t hook_at; /* the next one that is due */
    void *tape;     /* of the device, or NULL: those calls, recorded */
};

/* ---- where values lie ------------------------------------------------------------------------ */

static void *memory_of(const struct br__frame *f, br_val base)
{
    const struct br__node *n = br__node(f->p->g, base);
    switch (n->op) {
    case BR_OP_INPUT:
        return f->leaves + f->p->offset[base];
    case BR_OP_CONST:
        return br__device_is_host(f->d) ? (void *)(uintptr_t)n->data
                                        : f->leaves + f->p->offset[base];
    case BR_OP_PARAM:
        return f->weight[base];
    case BR_OP_STATE:
        return f->state[base];
    default:
        if (f->p->kept[base])
            return f->kept ? f->kept + f->p->offset[base] : NULL;
        return f->d->work ? (unsigned char *)f->d->work + f->p->offset[base] : NULL;
    }
}

static void tensor_of(const struct br__frame *f, br_val v, struct br_tensor *t)
{
    const struct br__node *n = br__node(f->p->g, v), *base = br__node(f->p->g, n->base);
    memset(t, 0, sizeof *t);
    unsigned char *p = memory_of(f, n->base);
    t->data = p ? p + (size_t)n->offset * br_dtype_size((int)n->dtype) : NULL;
    t->parts = base->stored && br__device_is_host(f->d) ? base->stored->parts : NULL;
    t->dtype = n->dtype;
    t->n_dim = n->n_dim;
    memcpy(t->shape, n->shape, sizeof t->shape);
    memcpy(t->stride, n->stride, sizeof t->stride);
    if (n->ragged)
        t->shape[0] = f->routes[n->ragged].rows;
}

static void fill_calls(struct br__frame *f)
{
    for (size_t i = 0; i < f->p->n_steps; i++) {
        br_val v = f->p->steps[i].node;
        const struct br__node *n = br__node(f->p->g, v);
        struct call *c = &f->calls[i];
        for (uint32_t k = 0; k < n->n_in; k++)
            tensor_of(f, n->in[k], &c->tensors[k]);
        tensor_of(f, v, &c->tensors[n->n_in]);
        c->call = (struct br_call){.struct_size = sizeof c->call,
                                   .op = n->op,
                                   .n_in = n->n_in,
                                   .n_out = 1,
                                   .in = c->tensors,
                                   .out = &c->tensors[n->n_in],
                                   .attr = n->attr,
                                   .scratch = f->d->scratch,
                                   .device = f->d->device};
    }
    f->generation = f->d->generation;
    f->stale = 0;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int alloc_routes(struct br__frame *f)
{
    const struct br_graph *g = f->p->g;
    f->routes = br__calloc(g->n, sizeof *f->routes);
    for (br_val v = 1; f->routes && v < g->n; v++) {
        const struct br__node *n = br__node(g, v);
        if (n->op != BR_OP_MOE_ROUTE)
            continue;
        f->routes[v].rows = n->attr.i[1];
        f->routes[v].sent = br__calloc(2 * (size_t)n->attr.i[2], sizeof(size_t));
        if (!f->routes[v].sent)
            return BR_E_NOMEM;
        f->routes[v].received = f->routes[v].sent + n->attr.i[2];
    }
    return f->routes ? 0 : BR_E_NOMEM;
}

static int alloc_calls(struct br__frame *f, struct br_err *err)
{
    const struct br__program *p = f->p;
    size_t n = 0, at = 0;
    for (size_t i = 0; i < p->n_steps; i++)
        n += br__node(p->g, p->steps[i].node)->n_in + 1;
    f->state = br__calloc(p->g->n, sizeof *f->state);
    f->weight = br__calloc(p->g->n, sizeof *f->weight);
    f->calls = br__calloc(p->n_steps + 1, sizeof *f->calls);
    f->tensors = br__calloc(n + 1, sizeof *f->tensors);
    if (!f->state || !f->weight || !f->calls || !f->tensors || alloc_routes(f))
        return br__nomem(err, "for a graph of %zu steps", p->n_steps);
    for (size_t i = 0; i < p->n_steps; i++) {
        f->calls[i].tensors = f->tensors + at;
        at += br__node(p->g, p->steps[i].node)->n_in + 1;
    }
    return 0;
}

static int upload_constants(struct br__frame *f, struct br_err *err)
{
    int rc = 0;
    for (br_val v = 1; v < f->p->g->n && !rc; v++) {
        const struct br__node *n = br__node(f->p->g, v);
        if (f->p->needed[v] && n->op == BR_OP_CONST)
            rc = f->d->backend.upload(f->d->device, f->leaves + f->p->offset[v], n->data,
                                      (size_t)br__node_elems(n) * sizeof *n->data, err);
    }
    return rc;
}

/* Memory of inputs and, off the host, of constants. */
static int make_leaves(struct br__frame *f, struct br_err *err)
{
    const struct br__program *p = f->p;
    int host = br__device_is_host(f->d);
    size_t n = p->input_bytes + (host ? 0 : p->const_bytes);
    f->leaves = f->d->backend.alloc(f->d->device, n + p->align);
    f->inputs = host ? f->leaves : br__calloc(p->input_bytes + 1, 1);
    if (!f->leaves || !f->inputs)
        return br__nomem(err, "for inputs of %zu bytes", n);
    return host ? 0 : upload_constants(f, err);
}

static int place_weights(struct br__frame *f, struct br_err *err)
{
    int rc = 0;
    for (br_val v = 1; v < f->p->g->n && !rc; v++) {
        const struct br__node *n = br__node(f->p->g, v);
        if (!f->p->needed[v] || n->op != BR_OP_PARAM)
            continue;
        if (br__device_is_host(f->d))
            f->weight[v] = (void *)(uintptr_t)n->stored->data;
        else
            rc = br__device_place(f->d, n->stored, &f->weight[v], err);
    }
    return rc;
}

/* It holds addresses that are no longer true. */
static void drop_tape(struct br__frame *f)
{
    if (f->tape)
        f->d->backend.tape_free(f->d->device, f->tape);
    f->tape = NULL;
    f->n_runs = 0;
}

/* Scratch depends on the number of threads, which only the device's stream tells. */
static void ask_scratch(void *arg, const struct br_stream *s)
{
    struct br__frame *f = arg;
    if (s->thread != 0)
        return;
    for (size_t i = 0; i < f->p->n_steps; i++) {
        const struct br_kernel *k = f->p->steps[i].kernel;
        struct br_call call = f->calls[i].call;
        call.stream = s;
        size_t n = k && k->scratch ? k->scratch(&call) : 0;
        f->scratch_bytes = BR__MAX(f->scratch_bytes, n);
    }
}

int br__frame_make(struct br__frame **out, const struct br__program *p, struct br__device *d,
                   struct br_comm *const *comms, struct br_err *err)
{
    *out = NULL;
    struct br__frame *f = br__calloc(1, sizeof *f);
    if (!f)
        return br__nomem(err, "for a graph");
    f->p = p;
    f->d = d;
    if (comms)
        memcpy(f->comms, comms, sizeof f->comms);
    int rc = alloc_calls(f, err);
    if (!rc)
        rc = make_leaves(f, err);
    if (!rc)
        rc = place_weights(f, err);
    if (!rc)
        rc = br__device_reserve(d, p->work_bytes, 0, err);
    if (!rc) {
        fill_calls(f);
        d->backend.run(d->device, ask_scratch, f);
        rc = br__device_reserve(d, p->work_bytes, f->scratch_bytes, err);
    }
    if (rc) {
        br__frame_free(f);
        return rc;
    }
    *out = f;
    return 0;
}

int br__program_bytes(const struct br__program *p, struct br__device *d, uint64_t *bytes,
                      struct br_err *err)
{
    struct br__frame *f = br__calloc(1, sizeof *f);
    if (!f)
        return br__nomem(err, "for a graph");
    f->p = p;
    f->d = d;
    int rc = alloc_calls(f, err);
    if (!rc)
        rc = make_leaves(f, err);
    if (!rc && br__device_is_host(d))
        rc = place_weights(f, err);
    if (!rc) {
        fill_calls(f);
        d->backend.run(d->device, ask_scratch, f);
        *bytes = br__frame_bytes(f) + p->work_bytes + f->scratch_bytes;
    }
    br__frame_free(f);
    return rc;
}

void br__frame_free(struct br__frame *f)
{
    if (!f)
        return;
    drop_tape(f);
    if (f->inputs != f->leaves)
        br__free(f->inputs);
    if (f->leaves)
        f->d->backend.free(f->d->device, f->leaves);
    for (br_val v = 1; f->routes && v < f->p->g->n; v++)
        br__free(f->routes[v].sent);
    br__free(f->routes);
    br__free(f->state);
    br__free(f->weight);
    br__free(f->calls);
    br__free(f->tensors);
    br__free(f);
}

void *br__frame_input(const struct br__frame *f, br_val v)
{
    return v && f->p->needed[v] ? f->inputs + f->p->offset[v] : NULL;
}

void br__frame_bind(struct br__frame *f, br_val v, void *data)
{
    f->state[v] = data;
    f->stale = 1;
}

void br__frame_hook(struct br__frame *f, const struct br__frame_hook *h)
{
    f->hook = h;
    f->hook_at = 0;
}

void br__frame_keep(struct br__frame *f, void *memory)
{
    f->kept = memory;
    f->stale = 1;
}

uint64_t br__frame_bytes(const struct br__frame *f)
{
    return f->p->input_bytes + (br__device_is_host(f->d) ? 0 : f->p->const_bytes);
}

/* ---- running --------------------------------------------------------------------------------- */

static size_t elems_of(const struct br_tensor *t)
{
    size_t n = 1;
    for (uint32_t i = 0; i < t->n_dim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

/* In place where the plan has it so, else of a copy. */
static int all_reduce(struct br__frame *f, struct br_comm *comm, const struct br_tensor *in,
                      const struct br_tensor *out, struct br_err *err)
{
    size_t n = elems_of(in);
    int rc = 0;
    if (out->data != in->data)
        rc = f->d->backend.copy(f->d->device, out->data, in->data,
                                n * br_dtype_size((int)in->dtype), err);
    return rc ? rc : comm->ops->all_reduce(comm, out->data, n, in->dtype, err);
}

/* Equal parts. */
static int all_to_all(struct br_comm *comm, const struct br_tensor *in, const struct br_tensor *out,
                      struct br_err *err)
{
    size_t *counts = br__alloc(comm->size * sizeof *counts);
    if (!counts)
        return br__nomem(err, "for a collective");
    for (uint32_t i = 0; i < comm->size; i++)
        counts[i] = elems_of(in) / comm->size;
    int rc = comm->ops->all_to_all(comm, out->data, counts, in->data, counts, in->dtype, err);
    br__free(counts);
    return rc;
}

/* ---- rows to experts and back ---------------------------------------------------------------- */

/* Calls that work on rows which the MOE_ROUTE v tells the number of. */
static void set_rows(struct br__frame *f, br_val v)
{
    const struct br_graph *g = f->p->g;
    for (size_t i = 0; i < f->p->n_steps; i++) {
        const struct br__node *n = br__node(g, f->p->steps[i].node);
        for (uint32_t k = 0; k < n->n_in; k++)
            if (br__node(g, n->in[k])->ragged == v)
                f->calls[i].tensors[k].shape[0] = f->routes[v].rows;
        if (n->ragged == v)
            f->calls[i].tensors[n->n_in].shape[0] = f->routes[v].rows;
    }
}

/* counts [ranks, n]: rows of each rank. */
static void sum_counts(const float *counts, size_t ranks, size_t n, size_t *sums)
{
    for (size_t r = 0; r < ranks; r++) {
        sums[r] = 0;
        for (size_t e = 0; e < n; e++)
            sums[r] += (size_t)counts[r * n + e];
    }
}

/* got [ranks, n]: offsets[n + 1], and behind them the rows as they arrive, by expert and then by
 * rank. */
static void arrange(const float *got, size_t ranks, size_t n, int32_t *out)
{
    int32_t *order = out + n + 1, at = 0;
    out[0] = 0;
    for (size_t e = 0; e < n; e++) {
        int32_t first = 0; /* row of this rank's first expert */
        for (size_t r = 0; r < ranks; r++) {
            int32_t row = first;
            for (size_t k = 0; k < n; k++) {
                if (k < e)
                    row += (int32_t)got[r * n + k];
                first += (int32_t)got[r * n + k];
            }
            for (int32_t i = 0; i < (int32_t)got[r * n + e]; i++)
                order[at++] = row + i;
        }
        out[e + 1] = at;
    }
    if (!at)
        order[0] = -1;
}

static int check_room(const struct route *r, size_t ranks, int64_t room, struct br_err *err)
{
    size_t rows = 0;
    for (size_t i = 0; i < ranks; i++)
        rows += r->received[i];
    if (rows > (size_t)room)
        return br_fail(err, BR_E_COMM,
                       "other ranks send %zu rows for the experts of this one, which has room for "
                       "%lld",
                       rows, (long long)room);
    return 0;
}

static int run_route(struct br__frame *f, br_val v, const struct br_call *c, struct br_err *err)
{
    struct route *r = &f->routes[v];
    size_t all = elems_of(&c->in[0]), ranks = (size_t)c->attr.i[2], n = all / ranks;
    float *counts = br__alloc(2 * all * sizeof *counts), *got = counts + all;
    int32_t *out = br__alloc((size_t)c->out->shape[0] * sizeof *out);
    int rc = counts && out ? 0 : br__nomem(err, "for rows of experts");
    for (int i = 0; i < 2 && !rc; i++)
        rc = br__device_fetch(f->d, counts + (size_t)i * all, c->in[i].data, all * sizeof *counts,
                              err);
    if (!rc) {
        sum_counts(counts, ranks, n, r->sent);
        sum_counts(got, ranks, n, r->received);
        rc = check_room(r, ranks, c->attr.i[1], err);
    }
    if (!rc) {
        arrange(got, ranks, n, out);
        r->rows = BR__MAX(out[n], 1);
        rc = f->d->backend.upload(f->d->device, c->out->data, out,
                                  (n + 1 + (size_t)r->rows) * sizeof *out, err);
        set_rows(f, v);
    }
    br__free(counts);
    br__free(out);
    return rc;
}

static int exchange_rows(const struct br__frame *f, br_val v, const struct br_call *c,
                         struct br_err *err)
{
    const struct br__node *n = br__node(f->p->g, v);
    const struct route *r = &f->routes[n->in[1]];
    struct br_comm *comm = f->comms[c->attr.i[0]];
    const size_t *from = c->attr.i[1] ? r->received : r->sent;
    const size_t *to = c->attr.i[1] ? r->sent : r->received;
    size_t cols = (size_t)c->in[0].shape[1], ranks = comm->size;
    size_t *counts = br__alloc(2 * ranks * sizeof *counts);
    if (!counts)
        return br__nomem(err, "for a collective");
    for (size_t i = 0; i < ranks; i++) {
        counts[i] = from[i] * cols;
        counts[ranks + i] = to[i] * cols;
    }
    int rc = comm->ops->all_to_all(comm, c->out->data, counts + ranks, c->in[0].data, counts,
                                   c->in[0].dtype, err);
    br__free(counts);
    return rc;
}

static int frame_communicate(struct br__frame *f, size_t step, struct br_err *err)
{
    const struct br_call *c = &f->calls[step].call;
    struct br_comm *comm = f->comms[c->attr.i[0]];
    const struct br_tensor *in = c->in, *out = c->out;
    uint32_t peer = (uint32_t)c->attr.i[1];
    if (!comm)
        BR_BUG("op %s without a communicator", br__ops[c->op].name);
    const struct br_comm_ops *o = comm->ops;
    switch (c->op) {
    case BR_OP_ALL_REDUCE:
        return all_reduce(f, comm, in, out, err);
    case BR_OP_ALL_GATHER:
        return o->all_gather(comm, out->data, in->data, elems_of(in), in->dtype, err);
    case BR_OP_REDUCE_SCATTER:
        return o->reduce_scatter(comm, out->data, in->data, elems_of(out), in->dtype, err);
    case BR_OP_ALL_TO_ALL:
        return all_to_all(comm, in, out, err);
    case BR_OP_MOE_ROUTE:
        return run_route(f, f->p->steps[step].node, c, err);
    case BR_OP_EXCHANGE:
        return exchange_rows(f, f->p->steps[step].node, c, err);
    case BR_OP_SEND:
        return o->exchange(
            comm, &(struct br_p2p){in->data, elems_of(in), in->dtype, peer, .is_send = 1}, 1, err);
    case BR_OP_RECV:
        return o->exchange(
            comm, &(struct br_p2p){out->data, elems_of(out), out->dtype, peer, .is_send = 0}, 1,
            err);
    default:
        BR_BUG("op %s is no collective", br__ops[c->op].name);
    }
}

struct stretch { /* steps that are all kernels */
    const struct br__frame *f;
    size_t from, to;
};

static void run_stretch(void *arg, const struct br_stream *s)
{
    const struct stretch *r = arg;
    for (size_t i = r->from; i < r->to; i++) {
        struct br_call call = r->f->calls[i].call;
        call.stream = s;
        r->f->p->steps[i].kernel->run(&call);
        if (s->n_threads > 1 && i + 1 < r->to)
            s->sync(s);
    }
}

/* Where the next hook is due, at most n. */
static size_t next_stop(const struct br__frame *f, size_t n)
{
    const struct br__frame_hook *h = f->hook;
    return h && f->hook_at < h->n ? BR__MIN(h->at[f->hook_at], n) : n;
}

/* Steps up to `done` are. */
static int call_hooks(struct br__frame *f, size_t done, struct br_err *err)
{
    const struct br__frame_hook *h = f->hook;
    int rc = 0;
    while (!rc && h && f->hook_at < h->n && h->at[f->hook_at] <= done)
        rc = h->fn(h->arg, f->hook_at++, err);
    return rc;
}

/* Steps [i, n). */
static int run_steps(struct br__frame *f, size_t i, size_t n, struct br_err *err)
{
    const struct br__program *p = f->p;
    int rc = 0;
    for (size_t end; i < n && !rc; i = end) {
        size_t stop = next_stop(f, n);
        end = i + 1;
        if (!p->steps[i].kernel) {
            rc = frame_communicate(f, i, err);
        } else {
            while (end < stop && p->steps[end].kernel)
                end++;
            f->d->backend.run(f->d->device, run_stretch, &(struct stretch){f, i, end});
        }
        if (!rc && end >= stop)
            rc = call_hooks(f, end, err);
    }
    return rc;
}

#define MIN_RECORDED 16 /* steps, of a graph that is worth a tape */

static int is_recordable(const struct br__frame *f)
{
    const struct br_backend *b = &f->d->backend;
    int can = b->record_begin && b->record_end && b->replay && b->tape_free;
    for (size_t i = 0; i < f->p->n_steps && can; i++)
        can = f->p->steps[i].kernel != NULL;
    return can && f->p->n_steps >= MIN_RECORDED;
}

/* The first run walks, so that a device decides what it decides once; the second is recorded, and
 * later ones replay that. */
static int walk_or_replay(struct br__frame *f, struct br_err *err)
{
    const struct br_backend *b = &f->d->backend;
    if (!f->tape && f->n_runs++ == 1 && is_recordable(f) && !b->record_begin(f->d->device, NULL)) {
        int rc = run_steps(f, 0, f->p->n_steps, err);
        int failed = b->record_end(f->d->device, &f->tape, NULL);
        if (rc)
            return rc;
        if (failed)
            f->tape = NULL;
    }
    return f->tape ? b->replay(f->d->device, f->tape, err) : run_steps(f, 0, f->p->n_steps, err);
}

/* Give the device steps [from, to), with the inputs unless they are there. */
static int give_range(struct br__frame *f, size_t from, size_t to, int has_inputs,
                      struct br_err *err)
{
    int rc = br__device_reserve(f->d, f->p->work_bytes, f->scratch_bytes, err);
    if (rc)
        return rc;
    if (f->stale || f->generation != f->d->generation) {
        drop_tape(f);
        fill_calls(f);
    }
    if (!has_inputs && f->inputs != f->leaves && f->p->input_bytes)
        rc = br__device_put(f->d, f->leaves, f->inputs, f->p->input_bytes, err);
    int has_hooks = f->hook && f->hook->n; /* which a tape would not call */
    if (!rc && to - from == f->p->n_steps && !has_hooks)
        rc = walk_or_replay(f, err);
    else if (!rc)
        rc = run_steps(f, from, to, err);
    return rc;
}

static int run_range(struct br__frame *f, size_t from, size_t to, struct br_err *err)
{
    int rc = give_range(f, from, to, 0, err);
    return rc ? rc : br__device_sync(f->d, err);
}

int br__frame_run(struct br__frame *f, struct br_err *err)
{
    return run_range(f, 0, f->p->n_steps, err);
}

int br__frame_run_part(struct br__frame *f, int part, struct br_err *err)
{
    size_t first = f->p->n_first;
    return part ? run_range(f, first, f->p->n_steps, err) : run_range(f, 0, first, err);
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Elements of a view from its first to its last, with what lies between. */
static size_t span_of(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->n_dim; i++)
        n += (t->shape[i] - 1) * t->stride[i];
    return (size_t)n;
}

int br__frame_start(struct br__frame *f, br_val v, int is_ahead, void **ticket, struct br_err *err)
{
    struct br_tensor t;
    *ticket = NULL;
    int rc = give_range(f, 0, f->p->n_steps, is_ahead, err);
    if (rc)
        return rc;
    tensor_of(f, v, &t);
    return f->d->backend.fetch(f->d->device, t.data, span_of(&t) * br_dtype_size((int)t.dtype),
                               ticket, err);
}

/* Rows of a strided view, one after another, as dtype `to`. */
static void frame_unpack(const struct br_tensor *t, const unsigned char *from, int to,
                         unsigned char *dst)
{
    size_t size = br_dtype_size((int)t->dtype), cols = (size_t)t->shape[t->n_dim - 1];
    size_t rows = elems_of(t) / cols;
    for (size_t r = 0; r < rows; r++, dst += cols * br_dtype_size(to)) {
        int64_t at = 0, rest = (int64_t)r;
        for (uint32_t a = t->n_dim - 1; a-- > 0; rest /= t->shape[a])
            at += rest % t->shape[a] * t->stride[a];
        if ((int)t->dtype == to)
            memcpy(dst, from + (size_t)at * size, cols * size);
        else
            br_cast(dst, to, from + (size_t)at * size, (int)t->dtype, cols, 0);
    }
}

static int read_as(const struct br__frame *f, br_val v, int to, void *dst, struct br_err *err)
{
    struct br_tensor t;
    tensor_of(f, v, &t);
    size_t n = span_of(&t), bytes = n * br_dtype_size((int)t.dtype);
    if ((int)t.dtype == to && br__node_contiguous(br__node(f->p->g, v)))
        return f->d->backend.download(f->d->device, dst, t.data, bytes, err);
    if (br__device_is_host(f->d)) {
        frame_unpack(&t, t.data, to, dst);
        return 0;
    }
    unsigned char *copy = br__alloc(bytes);
    int rc = copy ? f->d->backend.download(f->d->device, copy, t.data, bytes, err)
                  : br__nomem(err, "reading %zu bytes", bytes);
    if (!rc)
        frame_unpack(&t, copy, to, dst);
    br__free(copy);
    return rc;
}

int br__frame_read(const struct br__frame *f, br_val v, float *to, struct br_err *err)
{
    return read_as(f, v, BR_F32, to, err);
}

int br__frame_read_i32(const struct br__frame *f, br_val v, int32_t *to, struct br_err *err)
{
    return read_as(f, v, BR_I32, to, err);
}

int br__frame_read_raw(const struct br__frame *f, br_val v, void *to, struct br_err *err)
{
    return read_as(f, v, (int)br__node(f->p->g, v)->dtype, to, err);
}

int br__frame_copy(const struct br__frame *f, br_val v, void *to, struct br_err *err)
{
    struct br_tensor t;
    tensor_of(f, v, &t);
    if (!br__node_contiguous(br__node(f->p->g, v)))
        BR_BUG("a value with gaps is to be copied");
    return f->d->backend.copy(f->d->device, to, t.data, elems_of(&t) * br_dtype_size((int)t.dtype),
                              err);
}
