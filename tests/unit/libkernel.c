/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* libkernel.c - see libkernel.h. */
#include "libkernel.h"
#include "graph/graph_internal.h"
#include "librun.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- places ---------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define TESTED ~(uint64_t)BR__CPU_NEON
#else
#define TESTED (uint64_t) BR__CPU_NEON
#endif

size_t kern_tiers(const struct br__cpu_tier **out, size_t max)
{
    static const struct br__cpu_tier of_device = {"the device", 0};
    size_t n = 0;
    if (getenv("BRIDGE_TEST_DEVICE")) {
        out[n++] = &of_device;
        return n;
    }
    for (size_t i = 0; i < br__n_cpu_tiers && n < max; i++) {
        const struct br__cpu_tier *t = &br__cpu_tiers[i];
        if (t->features && !(t->features & TESTED))
            continue;
        static int told;
        if (tested_natively(t))
            continue;
        if ((t->features & br__cpu_detect()) == t->features)
            out[n++] = t;
        else if (told++ < (int)br__n_cpu_tiers)
            printf("this machine has no %s: only its emulation is tested\n", t->name);
    }
    return n;
}

/* ---- a device ------------------------------------------------------------------------------- */

static struct br__device the_device;

static void close_device(void)
{
    br__device_close(&the_device);
}

/* In the process of the test, since a device does not outlive a fork. */
struct br__device *kern_device(void)
{
    const char *name = getenv("BRIDGE_TEST_DEVICE"), *dir = getenv("BRIDGE_PLUGIN_PATH");
    struct br_err err = BR_ERR_INIT;
    struct br__dirs dirs = {&dir, dir != NULL};
    if (!name || strcmp(name, "cpu") == 0)
        return NULL;
    if (!the_device.device) {
        ck_assert_msg(br__device_open(&the_device, name, &dirs, 0, 1, &err) == 0, "%s", err.msg);
        atexit(close_device);
    }
    return &the_device;
}

static void place_open(struct kern_place *p, const struct br__cpu_tier *tier, uint32_t threads)
{
    struct br_err err = BR_ERR_INIT;
    uint64_t features;
    *p = (struct kern_place){tier->name, tier->features, threads, NULL};
    int rc = br__cpu_backend()->open(&p->device, 0, threads, &features, &err);
    ck_assert_msg(rc == 0, "%s", err.msg);
}

void in_each_place(void (*fn)(const struct kern_place *p, void *arg), void *arg)
{
    const struct br__cpu_tier *tiers[16];
    size_t n = kern_tiers(tiers, BR_COUNTOF(tiers));
    if (kern_device()) {
        struct kern_place p = {tiers[0]->name, 0, 1, NULL};
        fn(&p, arg);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        for (uint32_t threads = test_is_sampled() ? MAX_THREADS : 1; threads <= MAX_THREADS;
             threads++) {
            struct kern_place p;
            place_open(&p, tiers[i], threads);
            fn(&p, arg);
            br__cpu_backend()->close(p.device);
        }
    }
}

/* ---- tensors --------------------------------------------------------------------------------- */

struct br_tensor kern_tensor(void *data, uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = {.data = data, .dtype = dtype, .n_dim = n_dim};
    int64_t stride = 1;
    for (uint32_t i = n_dim; i-- > 0;) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

struct br_tensor tensor(uint32_t dtype, uint32_t n_dim, const int64_t *shape)
{
    struct br_tensor t = kern_tensor(NULL, dtype, n_dim, shape);
    int64_t n = count(&t);
    t.data = calloc((size_t)n + !n, br_dtype_size((int)dtype));
    ck_assert_ptr_nonnull(t.data);
    return t;
}

void tensor_free(struct br_tensor *t)
{
    free(t->data);
    t->data = NULL;
}

int64_t count(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->n_dim; i++)
        n *= t->shape[i];
    return n;
}

float *floats(const struct br_tensor *t)
{
    ck_assert_uint_eq(t->dtype, BR_F32);
    return t->data;
}

int32_t *ints(const struct br_tensor *t)
{
    ck_assert_uint_eq(t->dtype, BR_I32);
    return t->data;
}

struct br_tensor with_gaps(const struct br_tensor *t, int64_t gap)
{
    struct br_tensor w = *t;
    size_t each = br_dtype_size((int)t->dtype);
    if (t->n_dim < 2)
        gap = 0;
    int64_t cols = t->shape[t->n_dim - 1], rows = cols ? count(t) / cols : 0;
    for (uint32_t i = 0; i + 1 < t->n_dim; i++)
        w.stride[i] = t->stride[i] / cols * (cols + gap);
    size_t bytes = (size_t)(rows * (cols + gap) - (rows ? gap : 0)) * each;
    w.data = malloc(bytes + !bytes);
    ck_assert_ptr_nonnull(w.data);
    memset(w.data, 0xFF, bytes);
    for (int64_t r = 0; r < rows; r++)
        memcpy((char *)w.data + (size_t)(r * (cols + gap)) * each,
               (char *)t->data + (size_t)(r * cols) * each, (size_t)cols * each);
    return w;
}

void fill_random(struct br_tensor *t, uint32_t seed, float scale)
{
    float *x = floats(t);
    const char *other = getenv("BRIDGE_TEST_SEED"); /* scripts/test-cuda: numbers that no run had */
    uint32_t s = (seed + (other ? (uint32_t)strtoul(other, NULL, 10) : 0)) * 2654435761u + 1;
    for (int64_t i = 0; i < count(t); i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            s = s * 1664525u + 1013904223u;
            sum += (float)(s >> 8) / (float)(1 << 24) - 0.5f;
        }
        x[i] = sum * 1.7f * scale;
    }
}

float kern_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)((int32_t)(*state >> 32)) * 0x1p-31f;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* Chosen as the engine chooses. */
static const struct br_kernel *row_of(uint64_t features, struct br__kernel_key key)
{
    if (kern_device())
        return br__device_kernel(&the_device, key);
    const struct br_backend *b = br__cpu_backend();
    const struct br__device d = {
        .features = features, .kernels = b->kernels.rows, .n_kernels = b->kernels.n};
    return br__device_kernel(&d, key);
}

const struct br_kernel *kernel_of(const struct kern_place *p, uint32_t op, uint32_t weight)
{
    return row_of(p->features, (struct br__kernel_key){op, (int)weight, BR_F32});
}

static struct br__kernel_key key_of(const struct kern_call *c)
{
    uint32_t in[BR_MAX_IN];
    for (uint32_t i = 0; i < c->n_in; i++)
        in[i] = c->in[i].dtype;
    return br__kernel_key(c->op, in, c->n_in, c->out.dtype);
}

struct job {
    const struct br_kernel *row;
    struct br_call call;
    uint32_t late; /* a thread that begins late, and is late after each barrier, so that others take
                      its share */
};

/* The stream that a kernel sees in its thread. */
struct seen {
    struct br_stream stream;
    const struct br_stream *real;
    uint32_t late;
};

static void come_late(const struct seen *s)
{
    if (s->stream.n_threads > 1 && s->stream.thread == s->late)
        nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static void late_sync(const struct br_stream *stream)
{
    const struct seen *s = (const struct seen *)stream;
    s->real->sync(s->real);
    come_late(s);
}

static void on_thread(void *arg, const struct br_stream *stream)
{
    struct job *j = arg;
    struct seen s = {.stream = *stream, .real = stream, .late = j->late};
    struct br_call c = j->call;
    s.stream.sync = late_sync;
    c.stream = &s.stream;
    come_late(&s);
    j->row->run(&c);
}

#define GUARD 256

/* Bytes from the first element to the last. */
static size_t span_of(const struct br_tensor *t)
{
    int64_t n = 1;
    for (uint32_t i = 0; i < t->n_dim; i++) {
        if (t->shape[i] == 0)
            return 0;
        n += (t->shape[i] - 1) * t->stride[i];
    }
    return (size_t)n * br_dtype_size((int)t->dtype);
}

#define CHECK_RUN(call) ck_assert_msg((call) == 0, "%s", err.msg)

/* A weight in parts is one block on a device. */
static void send_tensor(struct br_tensor *to, const struct br_tensor *host)
{
    const struct br_backend *b = &the_device.backend;
    struct br_err err = BR_ERR_INIT;
    size_t each = host->parts ? span_of(host) / (size_t)host->shape[0] : 0;
    for (int64_t e = 0; host->parts && e < host->shape[0]; e++)
        CHECK_RUN(b->upload(the_device.device, (char *)to->data + (size_t)e * each, host->parts[e],
                            each, &err));
    if (!host->parts)
        CHECK_RUN(b->upload(the_device.device, to->data, host->data, span_of(host), &err));
    to->parts = NULL;
}

/* On the device: all tensors there, the call, all tensors back.  Those that share memory
 * do so on the device. */
static void run_on_device(const struct br_kernel *row, struct kern_call *call)
{
    const struct br_backend *b = &the_device.backend;
    struct br_err err = BR_ERR_INIT;
    struct br_tensor t[BR_MAX_IN + 1];
    struct br_call c = {.struct_size = sizeof c,
                        .op = call->op,
                        .n_in = call->n_in,
                        .n_out = 1,
                        .in = t,
                        .out = &t[call->n_in],
                        .attr = call->attr,
                        .device = the_device.device};
    unsigned char guard[GUARD];
    for (uint32_t i = 0; i <= call->n_in; i++) {
        const struct br_tensor *host = i < call->n_in ? &call->in[i] : &call->out;
        t[i] = *host;
        t[i].data = NULL;
        for (uint32_t k = 0; k < i && !t[i].data; k++)
            if (host->data && call->in[k].data == host->data && span_of(host))
                t[i].data = t[k].data;
        if (t[i].data)
            continue;
        t[i].data = b->alloc(the_device.device, span_of(host) + 1);
        ck_assert_ptr_nonnull(t[i].data);
        send_tensor(&t[i], host);
    }
    size_t n = row->scratch ? row->scratch(&c) : 0;
    unsigned char *poison = malloc(n + GUARD);
    ck_assert_ptr_nonnull(poison);
    memset(poison, 0xFF, n + GUARD);
    c.scratch = b->alloc(the_device.device, n + GUARD);
    ck_assert_ptr_nonnull(c.scratch);
    CHECK_RUN(b->upload(the_device.device, c.scratch, poison, n + GUARD, &err));
    struct job job = {.row = row, .call = c};
    b->run(the_device.device, on_thread, &job);
    CHECK_RUN(b->download(the_device.device, guard, (char *)c.scratch + n, GUARD, &err));
    ck_assert_msg(memcmp(guard, poison, GUARD) == 0, "op %u wrote beyond its %zu bytes of scratch",
                  call->op, n);
    b->free(the_device.device, c.scratch);
    free(poison);
    for (uint32_t i = 0; i <= call->n_in; i++) {
        const struct br_tensor *host = i < call->n_in ? &call->in[i] : &call->out;
        if (host->data)
            CHECK_RUN(b->download(the_device.device, host->data, t[i].data, span_of(host), &err));
    }
    for (uint32_t i = 0; i <= call->n_in; i++) {
        for (uint32_t k = i + 1; k <= call->n_in; k++)
            if (t[k].data == t[i].data)
                t[k].data = NULL;
        b->free(the_device.device, t[i].data);
    }
}

void run_call(const struct kern_place *p, struct kern_call *c)
{
    static uint32_t n_jobs;
    struct br_stream sized = {.n_threads = p->threads};
    struct job job = {.row = row_of(p->features, key_of(c)),
                      .call = {.struct_size = sizeof job.call,
                               .op = c->op,
                               .n_in = c->n_in,
                               .n_out = 1,
                               .in = c->in,
                               .out = &c->out,
                               .attr = c->attr,
                               .stream = &sized,
                               .device = p->device},
                      .late = n_jobs++ % p->threads};
    ck_assert_msg(job.row != NULL, "%s has no kernel for op %u", p->tier, c->op);
    if (kern_device()) {
        run_on_device(job.row, c);
        return;
    }
    size_t n = job.row->scratch ? job.row->scratch(&job.call) : 0;
    unsigned char *scratch = aligned_alloc(64, (n + GUARD + 63) / 64 * 64);
    ck_assert_ptr_nonnull(scratch);
    memset(scratch, 0xFF, n + GUARD);
    job.call.scratch = scratch;
    br__cpu_backend()->run(p->device, on_thread, &job);
    for (size_t i = n; i < n + GUARD; i++)
        ck_assert_msg(scratch[i] == 0xFF, "op %u on %s wrote beyond its %zu bytes of scratch",
                      c->op, p->tier, n);
    free(scratch);
}

static struct kern_place open_places[16][MAX_ON];

static void close_places(void)
{
    struct kern_place *all = &open_places[0][0];
    for (size_t i = 0; i < sizeof open_places / sizeof *all; i++)
        if (all[i].device)
            br__cpu_backend()->close(all[i].device);
}

void run_call_on(const struct br__cpu_tier *tier, uint32_t threads, struct kern_call *c)
{
    static int asked;
    ck_assert(threads >= 1 && threads <= MAX_ON && br__n_cpu_tiers <= BR_COUNTOF(open_places));
    struct kern_place *p = &open_places[kern_device() ? 0 : tier - br__cpu_tiers][threads - 1];
    if (!p->device)
        place_open(p, tier, threads);
    if (!asked++)
        atexit(close_places);
    run_call(p, c);
}
