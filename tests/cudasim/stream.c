/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* stream.c - streams, events and recordings.
 *
 * Work that is given to a stream is only kept; it runs when somebody waits for it, as late as a
 * device may.  With CUDASIM_STREAMS=eager it runs at once, as early as a device may. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum kind { KERNEL, COPY, FILL, RECORD, WAIT, CALL };

/* That a stream has come to where an event was recorded; shared by the event and who waits. */
struct ticket {
    int refs;
    bool is_done;
    struct CUstream_st *stream;
    uint32_t clock[SIM_STREAMS];
    double at; /* seconds */
};

struct work {
    struct work *next;
    enum kind kind;
    const char *name;
    const void *pc;
    uint32_t host[SIM_STREAMS]; /* what the host had waited for */
    struct cudasim_launch launch;
    void *to;
    const void *from;
    size_t n;
    int value;
    unsigned char *seen; /* COPY from the host: its bytes when the copy was given */
    bool is_blanked;     /* COPY to the host: the target was, when the copy was given */
    struct ticket *ticket;
    const char *checker;
    bool (*run)(void *arg);
    void *arg;
    bool is_begun;
};
struct list {
    struct work *head, **end;
};

struct CUstream_st {
    int index, device;
    bool is_recording; /* by the thread of `owner` */
    pthread_t owner;
    struct sim_actor actor; /* of the work at the head */
    struct list todo, recorded;
};
struct CUevent_st {
    int device;
    bool has_time;
    struct ticket *last;
};
struct CUgraph_st {
    struct list list;
};
struct CUgraphExec_st {
    struct list list;
    int device;
};

/* clocks[s][t]: how far t's work is before what s does next.  Slots of streams are used again. */
static uint32_t clocks[SIM_STREAMS][SIM_STREAMS], host_clock[SIM_STREAMS];
static struct CUstream_st *streams[SIM_STREAMS];
static int running;          /* stream of the work that runs */
static char waits_for[300];  /* what a stream cannot go on without */
static const void *waits_at; /* where that was asked for */

/* ---- order ----------------------------------------------------------------------------------- */

static void join(uint32_t *to, const uint32_t *from)
{
    for (int i = 0; i < SIM_STREAMS; i++)
        to[i] = to[i] > from[i] ? to[i] : from[i];
}

bool sim_is_before(int stream, uint32_t stamp)
{
    return clocks[running][stream] >= stamp;
}

uint32_t sim_stamp(int stream)
{
    return clocks[stream][stream];
}

static void unref(struct ticket *t)
{
    if (t && --t->refs == 0)
        free(t);
}

double sim_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- handles --------------------------------------------------------------------------------- */

static void *make(size_t n)
{
    void *p = calloc(1, n);
    if (!p) {
        fprintf(stderr, "cudasim: out of memory\n");
        abort();
    }
    return p;
}

static void must_be_stream(cudaStream_t s, const char *call, const void *pc)
{
    if (!s)
        sim_report("runtime", pc, "%s: stream 0, which is in no order with the others", call);
    for (int i = 0; i < SIM_STREAMS; i++)
        if (streams[i] == s)
            return;
    sim_report("runtime", pc, "%s: %p is no stream, or one that was destroyed", call, (void *)s);
}

int sim_stream_device(cudaStream_t s, const char *call, const void *pc)
{
    must_be_stream(s, call, pc);
    if (s->device != sim_current_device())
        sim_report("runtime", pc, "%s: the stream is of device %d, the thread's current one is %d",
                   call, s->device, sim_current_device());
    return s->device;
}

void sim_refuse_in_recording(const char *call, const void *pc)
{
    for (int i = 0; i < SIM_STREAMS; i++)
        if (streams[i] && streams[i]->is_recording &&
            pthread_equal(streams[i]->owner, pthread_self()))
            sim_report("runtime", pc, "%s while a stream is recorded", call);
}

static void refuse_recorded(const struct CUstream_st *s, const char *call, const void *pc)
{
    if (s->is_recording)
        sim_report("runtime", pc, "%s of a stream that is recorded", call);
}

/* Work that is still to come and has [p, p + n) of the host as source or target; NULL: none. */
static const struct work *user_of(const char *p, size_t n)
{
    for (int i = 0; i < SIM_STREAMS; i++)
        for (const struct work *w = streams[i] ? streams[i]->todo.head : NULL; w; w = w->next)
            if (w->kind == COPY &&
                (((const char *)w->to < p + n && p < (const char *)w->to + w->n) ||
                 ((const char *)w->from < p + n && p < (const char *)w->from + w->n)))
                return w;
    return NULL;
}

void sim_refuse_use(const void *p, size_t n, const void *pc)
{
    const struct work *w = user_of(p, n);
    if (w)
        sim_report("runtime", pc, "memory is freed that a copy is still to use, given at %s",
                   sim_place(w->pc));
}

/* ---- work ------------------------------------------------------------------------------------ */

static void put(struct list *l, struct work *w)
{
    w->next = NULL;
    if (!l->head)
        l->end = &l->head;
    *l->end = w;
    l->end = &w->next;
}

static void free_work(struct work *w)
{
    free(w->seen);
    free(w->arg);
    if (w->kind == KERNEL)
        free(w->launch.args);
    unref(w->ticket);
    free(w);
}

static void free_list(struct list *l)
{
    while (l->head) {
        struct work *w = l->head;
        l->head = w->next;
        free_work(w);
    }
}

static struct work *copy_of(const struct work *w)
{
    struct work *c = make(sizeof *c);
    *c = *w;
    if (w->kind == KERNEL) {
        c->launch.args = make(w->launch.args_size);
        memcpy(c->launch.args, w->launch.args, w->launch.args_size);
    }
    if (w->kind == CALL) {
        c->arg = make(w->n);
        memcpy(c->arg, w->arg, w->n);
    }
    return c;
}

/* A copy into memory that one before it is still to fill: whoever waits for that one may read
 * either.
 */
static void refuse_same_target(const struct work *w)
{
    const struct work *other = user_of(w->to, w->n);
    if (other && (const char *)other->to < (const char *)w->to + w->n &&
        (const char *)w->to < (const char *)other->to + other->n)
        sim_report("race", w->pc,
                   "the target of a copy is that of one which nobody has waited for, given at %s",
                   sim_place(other->pc));
}

/* What a copy's host side must be until it is made: its source unchanged, its target untouched. The
 * target gets other bytes at once, so that a host that does not wait does not see old ones.  Where
 * copies that are still to come share the memory, their order is the device's and nothing is known.
 */
static void watch(struct work *w)
{
    if (sim_device_of(w->from) < 0 && !user_of(w->from, w->n)) {
        w->seen = make(w->n);
        memcpy(w->seen, w->from, w->n);
    } else if (sim_device_of(w->to) < 0 && !user_of(w->to, w->n)) {
        memset(w->to, 0xff, w->n);
        w->is_blanked = true;
    }
}

static void run_copy(const struct work *w)
{
    const unsigned char *to = w->to;
    if (w->seen && memcmp(w->seen, w->from, w->n))
        sim_report("race", w->pc,
                   "the host has written into the source of a copy before it was made");
    for (size_t i = 0; w->is_blanked && i < w->n; i++)
        if (to[i] != 0xff)
            sim_report("race", w->pc,
                       "the host has written into the target of a copy before it was made");
    if (sim_device_of(w->from) >= 0)
        sim_access(w->from, w->n, SIM_READ, false, w->pc);
    if (sim_device_of(w->to) >= 0)
        sim_access(w->to, w->n, SIM_WRITE, false, w->pc);
    memcpy(w->to, w->from, w->n);
}

static void act_as(const struct CUstream_st *s)
{
    running = s->index;
    sim_actor = s->actor;
    sim_open_memory(s->device);
}

/* A copy or another library's work is one actor. */
static bool run_alone(struct CUstream_st *s, struct work *w)
{
    if (!w->is_begun)
        s->actor = sim_begin_work(s->index, s->device, 1, false, w->name);
    w->is_begun = true;
    act_as(s);
    if (w->kind == CALL)
        return w->run(w->arg);
    if (w->kind == COPY) {
        run_copy(w);
    } else {
        sim_access(w->to, w->n, SIM_WRITE, false, w->pc);
        memset(w->to, w->value, w->n);
    }
    return true;
}

/* False: it cannot go on yet. */
static bool run_work(struct CUstream_st *s, struct work *w)
{
    uint32_t *clock = clocks[s->index];
    bool is_done = true;
    if (w->kind == WAIT) {
        if (w->ticket->is_done)
            join(clock, w->ticket->clock);
        else
            sim_waits_for(w->pc, "an event that was not recorded is waited for");
        return w->ticket->is_done;
    }
    if (!w->is_begun) {
        join(clock, w->host);
        clock[s->index]++;
    }
    if (w->kind == RECORD) {
        memcpy(w->ticket->clock, clock, sizeof w->ticket->clock);
        w->ticket->at = sim_now();
        w->ticket->is_done = true;
        return true;
    }
    running = s->index;
    sim_open_memory(s->device);
    if (w->kind == KERNEL)
        sim_run_launch(&w->launch, s->device, s->index, w->pc);
    else
        is_done = run_alone(s, w);
    sim_close_memory();
    return is_done;
}

/* False: there is no work, or it cannot go on. */
static bool run_head(struct CUstream_st *s)
{
    struct work *w = s->todo.head;
    if (!w || !run_work(s, w))
        return false;
    s->todo.head = w->next;
    free_work(w);
    pthread_cond_broadcast(&sim_changed);
    return true;
}

/* A device waits for another one, whose work has not run because nobody has waited for it. */
static bool run_others(const struct CUstream_st *s)
{
    bool any = false;
    for (int i = 0; i < SIM_STREAMS; i++)
        if (streams[i] && streams[i] != s)
            any = run_head(streams[i]) || any;
    return any;
}

void sim_waits_for(const void *pc, const char *format, ...)
{
    va_list args;
    waits_at = pc;
    va_start(args, format);
    vsnprintf(waits_for, sizeof waits_for, format, args);
    va_end(args);
}

#define LOOK_NS 200000   /* between looks at what another process has done */
#define GO_ON_NS 1000000 /* between two turns of go_on */
static bool has_others;

/* Runs the work of the devices while their process waits for an MPI message, which the simulator
 * does not see. */
static void *go_on(void *unused)
{
    const struct timespec pause = {0, GO_ON_NS};
    for (;;) {
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&sim_lock);
        while (run_others(NULL))
            ;
        pthread_mutex_unlock(&sim_lock);
    }
    return unused;
}

void sim_meets_others(void)
{
    pthread_t thread;
    if (has_others)
        return;
    has_others = true;
    if (pthread_create(&thread, NULL, go_on, NULL)) {
        fprintf(stderr, "cudasim: no thread for the device\n");
        abort();
    }
    pthread_detach(thread);
}

bool sim_wait(double since)
{
    static long limit = -1;
    struct timespec t;
    if (limit < 0)
        limit = sim_setting("CUDASIM_PATIENCE", 60);
    if (sim_now() - since > (double)limit)
        return false;
    clock_gettime(CLOCK_REALTIME, &t);
    if (!has_others)
        t.tv_sec += 1;
    else if ((t.tv_nsec += LOOK_NS) >= 1000000000) {
        t.tv_sec += 1;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&sim_changed, &sim_lock, &t);
    return true;
}

/* Until nothing is left, or the ticket is done. */
static void drain(struct CUstream_st *s, const struct ticket *until)
{
    double since = sim_now();
    while (s->todo.head && !(until && until->is_done)) {
        if (run_head(s) || run_others(s))
            since = sim_now();
        else if (s->todo.head && !sim_wait(since))
            sim_report(s->todo.head->checker, s->todo.head->pc, "nothing goes on: %s, at %s",
                       waits_for, sim_place(waits_at));
    }
}

static bool is_eager(void)
{
    static int eager = -1;
    if (eager < 0) {
        const char *text = getenv("CUDASIM_STREAMS");
        eager = text && !strcmp(text, "eager");
    }
    return eager;
}

static void enqueue(struct CUstream_st *s, struct work *w)
{
    if (s->is_recording) {
        put(&s->recorded, w);
        return;
    }
    memcpy(w->host, host_clock, sizeof w->host);
    if (w->kind == COPY && sim_device_of(w->to) < 0)
        refuse_same_target(w);
    if (w->kind == COPY)
        watch(w);
    put(&s->todo, w);
    pthread_cond_broadcast(&sim_changed);
    while (is_eager() && run_head(s))
        ;
}

static struct work *new_work(enum kind kind, const char *name, const void *pc)
{
    struct work *w = make(sizeof *w);
    w->kind = kind;
    w->checker = "runtime";
    w->name = name;
    w->pc = pc;
    return w;
}

/* A line in the file that a variable names: what was given, and how many bytes of it, if any. */
static void write_down(const char *variable, const char *name, size_t n)
{
    const char *path = getenv(variable);
    FILE *f = path ? fopen(path, "a") : NULL;
    if (!f)
        return;
    if (n)
        fprintf(f, "%s %zu\n", name, n);
    else
        fprintf(f, "%s\n", name);
    fclose(f);
}

void sim_enqueue(cudaStream_t stream, const char *name, const char *checker, bool (*run)(void *arg),
                 const void *arg, size_t arg_size, const void *pc)
{
    struct work *w = new_work(CALL, name, pc);
    w->checker = checker;
    w->run = run;
    w->n = arg_size;
    w->arg = make(arg_size);
    memcpy(w->arg, arg, arg_size);
    write_down("CUDASIM_WORK", name, 0);
    enqueue(stream, w);
}

/* ---- kernels and copies ---------------------------------------------------------------------- */

static void check_launch(const struct cudasim_launch *l, const void *pc)
{
    uint64_t threads = (uint64_t)l->block.x * l->block.y * l->block.z;
    if (threads == 0 || threads > 1024 || l->block.z > 64)
        sim_report("runtime", pc, "%s: a block of (%u,%u,%u) threads; 1 to 1024 can be", l->name,
                   l->block.x, l->block.y, l->block.z);
    if (l->grid.x == 0 || l->grid.y == 0 || l->grid.z == 0 || l->grid.x > INT32_MAX ||
        l->grid.y > 65535 || l->grid.z > 65535)
        sim_report("runtime", pc, "%s: a grid of (%u,%u,%u) blocks", l->name, l->grid.x, l->grid.y,
                   l->grid.z);
    if (l->dynamic > sim_dynamic_allowed(l->kernel))
        sim_report("runtime", pc,
                   "%s: %zu bytes of dynamic shared memory, the kernel may have %zu "
                   "(cudaFuncSetAttribute)",
                   l->name, l->dynamic, sim_dynamic_allowed(l->kernel));
    if (sim_has_unread_error())
        sim_report("runtime", pc, "%s: a launch while an error has not been read: %s", l->name,
                   cudaGetErrorString(cudaPeekAtLastError()));
}

SIM_API void cudasim_launch_kernel(const struct cudasim_launch *l)
{
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(l->stream, l->name, SIM_CALLER);
    check_launch(l, SIM_CALLER);
    if (sim_fails()) {
        sim_return(cudaErrorLaunchOutOfResources);
        free(l->args);
    } else {
        struct work *w = new_work(KERNEL, l->name, SIM_CALLER);
        w->launch = *l;
        if (!l->stream->is_recording) {
            write_down("CUDASIM_LAUNCHES", l->name, 0);
            write_down("CUDASIM_WORK", l->name, 0);
        }
        enqueue(l->stream, w);
    }
    pthread_mutex_unlock(&sim_lock);
}

static void check_copy(const struct work *w, enum cudaMemcpyKind kind)
{
    bool from = sim_device_of(w->from) >= 0, to = sim_device_of(w->to) >= 0;
    enum cudaMemcpyKind is = from && to ? cudaMemcpyDeviceToDevice
                             : from     ? cudaMemcpyDeviceToHost
                             : to       ? cudaMemcpyHostToDevice
                                        : cudaMemcpyHostToHost;
    if (kind != is && kind != cudaMemcpyDefault)
        sim_report("runtime", w->pc, "a copy of kind %d between memory of kind %d", kind, is);
    if (!from && !sim_is_pinned(w->from, w->n))
        sim_report("runtime", w->pc, "an asynchronous copy from memory that is not pinned");
    if (!to && !sim_is_pinned(w->to, w->n))
        sim_report("runtime", w->pc, "an asynchronous copy to memory that is not pinned");
}

SIM_API cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t n, enum cudaMemcpyKind kind,
                                    cudaStream_t stream)
{
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    if (n == 0)
        return cudaSuccess;
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(stream, "cudaMemcpyAsync", SIM_CALLER);
    struct work *w = new_work(COPY, "a copy", SIM_CALLER);
    w->to = dst;
    w->from = src;
    w->n = n;
    check_copy(w, kind);
    if (kind != cudaMemcpyDeviceToDevice)
        write_down("CUDASIM_WORK", "copy", n);
    enqueue(stream, w);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaMemsetAsync(void *dst, int value, size_t n, cudaStream_t stream)
{
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    if (n == 0)
        return cudaSuccess;
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(stream, "cudaMemsetAsync", SIM_CALLER);
    struct work *w = new_work(FILL, "cudaMemsetAsync", SIM_CALLER);
    w->to = dst;
    w->n = n;
    w->value = value;
    enqueue(stream, w);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

/* ---- streams --------------------------------------------------------------------------------- */

SIM_API cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    int i = 0;
    *stream = NULL;
    if (sim_fails())
        return sim_return(cudaErrorMemoryAllocation);
    if (flags != cudaStreamNonBlocking)
        sim_report("runtime", SIM_CALLER, "a stream that waits for stream 0");
    pthread_mutex_lock(&sim_lock);
    while (i < SIM_STREAMS && streams[i])
        i++;
    if (i < SIM_STREAMS) {
        *stream = streams[i] = make(sizeof *streams[i]);
        streams[i]->index = i;
        streams[i]->device = sim_current_device();
    }
    pthread_mutex_unlock(&sim_lock);
    return sim_return(*stream ? cudaSuccess : cudaErrorMemoryAllocation);
}

SIM_API cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamDestroy", SIM_CALLER);
    refuse_recorded(stream, "cudaStreamDestroy", SIM_CALLER);
    drain(stream, NULL);
    streams[stream->index] = NULL;
    free(stream);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamSynchronize", SIM_CALLER);
    refuse_recorded(stream, "cudaStreamSynchronize", SIM_CALLER);
    drain(stream, NULL);
    join(host_clock, clocks[stream->index]);
    pthread_mutex_unlock(&sim_lock);
    return sim_return(sim_fails() ? cudaErrorLaunchFailure : cudaSuccess);
}

#define AT_A_QUESTION 64

/* Each question lets the device do a little more, so that who asks in a loop gets an answer. */
static bool is_done(struct CUstream_st *s, const struct ticket *t)
{
    for (int i = 0; i < AT_A_QUESTION && !(t && t->is_done); i++)
        if (!run_head(s)) {
            run_others(s);
            break;
        }
    if (t)
        return t->is_done;
    if (!s->todo.head)
        join(host_clock, clocks[s->index]);
    return !s->todo.head;
}

SIM_API cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamQuery", SIM_CALLER);
    refuse_recorded(stream, "cudaStreamQuery", SIM_CALLER);
    bool done = is_done(stream, NULL);
    pthread_mutex_unlock(&sim_lock);
    if (sim_fails())
        return sim_return(cudaErrorLaunchFailure);
    return done ? cudaSuccess : cudaErrorNotReady;
}

/* ---- events ---------------------------------------------------------------------------------- */

SIM_API cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    *event = NULL;
    if (sim_fails())
        return sim_return(cudaErrorMemoryAllocation);
    *event = make(sizeof **event);
    (*event)->device = sim_current_device();
    (*event)->has_time = !(flags & cudaEventDisableTiming);
    return cudaSuccess;
}

SIM_API cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    pthread_mutex_lock(&sim_lock);
    unref(event->last);
    free(event);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(stream, "cudaEventRecord", SIM_CALLER);
    refuse_recorded(stream, "cudaEventRecord", SIM_CALLER);
    if (event->device != stream->device)
        sim_report("runtime", SIM_CALLER, "an event of device %d in a stream of device %d",
                   event->device, stream->device);
    struct work *w = new_work(RECORD, "cudaEventRecord", SIM_CALLER);
    w->ticket = make(sizeof *w->ticket);
    w->ticket->refs = 2; /* the work's and the event's */
    w->ticket->stream = stream;
    unref(event->last);
    event->last = w->ticket;
    enqueue(stream, w);
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    (void)flags;
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamWaitEvent", SIM_CALLER);
    refuse_recorded(stream, "cudaStreamWaitEvent", SIM_CALLER);
    if (event->last) { /* one that was never recorded is done */
        struct work *w = new_work(WAIT, "cudaStreamWaitEvent", SIM_CALLER);
        w->ticket = event->last;
        w->ticket->refs++;
        enqueue(stream, w);
    }
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaEventQuery(cudaEvent_t event)
{
    pthread_mutex_lock(&sim_lock);
    sim_refuse_in_recording("cudaEventQuery", SIM_CALLER);
    bool done = !event->last || event->last->is_done || is_done(event->last->stream, event->last);
    if (done && event->last)
        join(host_clock, event->last->clock);
    pthread_mutex_unlock(&sim_lock);
    if (sim_fails())
        return sim_return(cudaErrorLaunchFailure);
    return done ? cudaSuccess : cudaErrorNotReady;
}

SIM_API cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    pthread_mutex_lock(&sim_lock);
    sim_refuse_in_recording("cudaEventSynchronize", SIM_CALLER);
    if (event->last) {
        if (!event->last->is_done)
            drain(event->last->stream, event->last);
        join(host_clock, event->last->clock);
    }
    pthread_mutex_unlock(&sim_lock);
    return sim_return(sim_fails() ? cudaErrorLaunchFailure : cudaSuccess);
}

SIM_API cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t end)
{
    if (!start->has_time || !end->has_time || !start->last || !end->last)
        return sim_return(cudaErrorInvalidResourceHandle);
    if (!start->last->is_done || !end->last->is_done)
        return cudaErrorNotReady;
    *ms = (float)(1e3 * (end->last->at - start->last->at));
    return cudaSuccess;
}

/* ---- recordings ------------------------------------------------------------------------------ */

SIM_API cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    if (sim_fails())
        return sim_return(cudaErrorUnknown);
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(stream, "cudaStreamBeginCapture", SIM_CALLER);
    refuse_recorded(stream, "cudaStreamBeginCapture", SIM_CALLER);
    if (mode != cudaStreamCaptureModeThreadLocal)
        sim_report("runtime", SIM_CALLER, "a recording that forbids calls of other threads");
    stream->is_recording = true;
    stream->owner = pthread_self();
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    *graph = NULL;
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamEndCapture", SIM_CALLER);
    if (!stream->is_recording || !pthread_equal(stream->owner, pthread_self()))
        sim_report("runtime", SIM_CALLER, "the end of a recording that this thread did not begin");
    stream->is_recording = false;
    bool fails = sim_fails();
    if (fails) {
        free_list(&stream->recorded);
    } else {
        *graph = make(sizeof **graph);
        (*graph)->list.head = stream->recorded.head;
    }
    stream->recorded.head = NULL;
    pthread_mutex_unlock(&sim_lock);
    return sim_return(fails ? cudaErrorUnknown : cudaSuccess);
}

SIM_API cudaError_t cudaStreamIsCapturing(cudaStream_t stream, enum cudaStreamCaptureStatus *status)
{
    pthread_mutex_lock(&sim_lock);
    must_be_stream(stream, "cudaStreamIsCapturing", SIM_CALLER);
    *status = stream->is_recording ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

static void copy_list(struct list *to, const struct list *from)
{
    for (const struct work *w = from->head; w; w = w->next)
        put(to, copy_of(w));
}

SIM_API cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph,
                                         unsigned long long flags)
{
    (void)flags;
    *exec = NULL;
    if (sim_fails())
        return sim_return(cudaErrorMemoryAllocation);
    *exec = make(sizeof **exec);
    (*exec)->device = sim_current_device();
    copy_list(&(*exec)->list, &graph->list);
    return cudaSuccess;
}

SIM_API cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    if (sim_fails())
        return sim_return(cudaErrorLaunchOutOfResources);
    pthread_mutex_lock(&sim_lock);
    sim_stream_device(stream, "cudaGraphLaunch", SIM_CALLER);
    refuse_recorded(stream, "cudaGraphLaunch", SIM_CALLER);
    if (exec->device != stream->device)
        sim_report("runtime", SIM_CALLER, "a recording of device %d in a stream of device %d",
                   exec->device, stream->device);
    for (const struct work *w = exec->list.head; w; w = w->next) {
        if (w->kind == KERNEL)
            write_down("CUDASIM_LAUNCHES", w->name, 0);
        write_down("CUDASIM_WORK", w->name, 0);
        enqueue(stream, copy_of(w));
    }
    pthread_mutex_unlock(&sim_lock);
    return cudaSuccess;
}

SIM_API cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    free_list(&graph->list);
    free(graph);
    return cudaSuccess;
}

SIM_API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    free_list(&exec->list);
    free(exec);
    return cudaSuccess;
}
