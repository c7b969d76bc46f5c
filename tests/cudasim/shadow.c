/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* shadow.c - memory of the simulated devices, what is known of every byte of it, and what gcc calls
 * before each access to memory in code that is compiled with -fsanitize=thread.
 *
 * Each device has a range of addresses that is never used twice, so that an old address is always
 * found out.  The host may not touch it but while work runs.  Beside a range lies its shadow: the
 * state of each byte, and who wrote and read each pair of bytes last.  A device's memory is used by
 * its own streams alone, so what came before what is asked for each device by itself. */
#include "sim.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define DEVICE_SHIFT 36 /* 64 GiB of addresses for each */
#define DEVICE_ROOM ((size_t)1 << DEVICE_SHIFT)
#define PAGE ((size_t)4096)
#define ALIGN ((size_t)256) /* of allocations, as cudaMalloc promises */
#define GAP ((size_t)256)   /* between them at least */
#define POISON 0xff         /* a NaN in every float type */

/* State of a byte.  One that is not known is asked for in the table of allocations, so that large
 * ones cost nothing before they are used. */
enum { UNKNOWN, UNWRITTEN, WRITTEN };

enum { ONE_THREAD, ONE_WARP, MANY_WARPS, MANY_BLOCKS };

/* Bytes of a pair that were used, by whom and where. */
struct use {
    uint32_t run; /* 0: never */
    uint32_t pc;  /* its lower half */
    uint16_t thread, epoch, step;
    uint8_t bytes;
    uint8_t who; /* since the last barrier that orders them */
};
struct pair {
    struct use write, read;
};
struct space {
    char *at;
    size_t size;
    uint8_t *state;
    struct pair *pairs;
};
/* A piece of work of a stream: runs from `run` on. */
struct work {
    uint32_t run, stamp;
    int stream;
    bool is_kernel;
    const char *name;
};
struct device {
    struct space space;
    size_t used; /* bytes of the range that were given out */
    size_t live; /* bytes that are allocated */
    bool is_open;
    struct sim_allocation *blocks;
    size_t n, cap;
    struct work *works; /* in the order in which they began */
    size_t n_works, works_cap;
    size_t n_before[SIM_STREAMS]; /* of these, all are before what the stream does next */
};

struct sim_actor sim_actor;
static struct device devices[SIM_DEVICES];
static char *device_memory; /* all ranges */
static struct space shared;
static size_t shared_used;
static uint32_t next_run = 1;
/* Code that is compiled without the calls for its accesses seems to write nothing. */
static bool is_checking;

/* ---- ranges ---------------------------------------------------------------------------------- */

static void *reserve(size_t n, int how)
{
    void *p = mmap(NULL, n, how, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "cudasim: cannot reserve %zu bytes of addresses\n", n);
        abort();
    }
    return p;
}

static void make_space(struct space *s, void *at, size_t size)
{
    s->at = at;
    s->size = size;
    s->state = reserve(size, PROT_READ | PROT_WRITE);
    s->pairs = reserve(size / 2 * sizeof *s->pairs, PROT_READ | PROT_WRITE);
    /* They are many times as large as what they tell of. */
    madvise(s->pairs, size / 2 * sizeof *s->pairs, MADV_HUGEPAGE);
}

static struct space *space_of(const void *p)
{
    size_t at = (size_t)((const char *)p - device_memory);
    if (at < SIM_DEVICES * DEVICE_ROOM)
        return &devices[at >> DEVICE_SHIFT].space;
    if ((size_t)((const char *)p - shared.at) < shared.size)
        return &shared;
    return NULL;
}

int sim_device_of(const void *p)
{
    size_t at = (size_t)((const char *)p - device_memory);
    return at < SIM_DEVICES * DEVICE_ROOM ? (int)(at >> DEVICE_SHIFT) : -1;
}

bool sim_is_shared(const void *p)
{
    return (size_t)((const char *)p - shared.at) < shared.size;
}

/* ---- the host's access ----------------------------------------------------------------------- */

static void protect(struct device *d, int how)
{
    if (d->used && mprotect(d->space.at, (d->used + PAGE - 1) & ~(PAGE - 1), how)) {
        perror("cudasim: mprotect");
        abort();
    }
}

void sim_open_memory(int device)
{
    if (!devices[device].is_open)
        protect(&devices[device], PROT_READ | PROT_WRITE);
    devices[device].is_open = true;
}

void sim_close_memory(void)
{
    for (int i = 0; i < SIM_DEVICES; i++) {
        if (devices[i].is_open)
            protect(&devices[i], PROT_NONE);
        devices[i].is_open = false;
    }
}

/* "12 bytes behind the 64 bytes that a.c:3 allocated" */
static const char *describe(const void *p)
{
    static char text[500];
    int device = sim_device_of(p);
    if (sim_is_shared(p)) {
        size_t k = (size_t)((const char *)p - shared.at);
        snprintf(text, sizeof text, "%s the block's shared memory (%zu)",
                 shared.state[k] == UNKNOWN ? "outside of the arrays in" : "a byte of", k);
        return text;
    }
    if (device < 0) {
        snprintf(text, sizeof text, "%p, memory of the host", p);
        return text;
    }
    const struct device *d = &devices[device];
    const char *at = p;
    size_t i = 0;
    while (i + 1 < d->n && d->blocks[i + 1].at <= at)
        i++;
    if (i + 1 < d->n && d->blocks[i].at + d->blocks[i].n <= at &&
        d->blocks[i + 1].at - at < at - (d->blocks[i].at + d->blocks[i].n))
        i++;
    if (i >= d->n) {
        snprintf(text, sizeof text, "%p, where device %d has no memory", p, device);
        return text;
    }
    const struct sim_allocation *b = &d->blocks[i];
    char where[100];
    if (at < b->at)
        snprintf(where, sizeof where, "%zu bytes before", (size_t)(b->at - at));
    else if (at >= b->at + b->n)
        snprintf(where, sizeof where, "%zu bytes behind the end of", (size_t)(at - b->at - b->n));
    else
        snprintf(where, sizeof where, "byte %zu of", (size_t)(at - b->at));
    snprintf(text, sizeof text, "%s the %zu bytes of device %d that %s allocated", where, b->n,
             device, sim_place(b->made));
    if (b->freed) {
        size_t n = strlen(text);
        snprintf(text + n, sizeof text - n, " and %s freed", sim_place(b->freed));
    }
    return text;
}

static struct sigaction old_fault;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *c = context;
    if (sim_device_of(info->si_addr) >= 0) {
        /* sim_place() takes addresses behind a call. */
        const char *pc = (const char *)c->uc_mcontext.gregs[REG_RIP] + 1;
        sim_report("memory", pc, "the host uses %s", describe(info->si_addr));
    }
    sigaction(sig, &old_fault, NULL); /* the access happens again, and is somebody else's matter */
}

void sim_shadow_init(void)
{
    is_checking = sim_setting("CUDASIM_CHECK", 1) != 0;
    device_memory = reserve(SIM_DEVICES * DEVICE_ROOM, PROT_NONE);
    for (int i = 0; i < SIM_DEVICES; i++)
        make_space(&devices[i].space, device_memory + (size_t)i * DEVICE_ROOM, DEVICE_ROOM);
    make_space(&shared, reserve(SIM_SHARED_ROOM, PROT_READ | PROT_WRITE), SIM_SHARED_ROOM);
    sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO},
              &old_fault);
}

/* ---- allocations ----------------------------------------------------------------------------- */

size_t sim_device_used(int device)
{
    return devices[device].live;
}

void *sim_device_alloc(int device, size_t n, const void *pc)
{
    struct device *d = &devices[device];
    size_t at = d->used ? d->used : PAGE, end = (at + n + GAP + ALIGN - 1) & ~(ALIGN - 1);
    if (end > DEVICE_ROOM || n > DEVICE_ROOM)
        return NULL;
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 64;
        void *p = realloc(d->blocks, cap * sizeof *d->blocks);
        if (!p)
            return NULL;
        d->blocks = p;
        d->cap = cap;
    }
    char *p = d->space.at + at;
    d->blocks[d->n++] = (struct sim_allocation){p, n, pc, NULL};
    d->used = end;
    d->live += n;
    if (d->is_open)
        protect(d, PROT_READ | PROT_WRITE); /* the range has grown */
    return p;
}

size_t sim_device_free(int device, void *p, const void *pc)
{
    struct device *d = &devices[device];
    for (size_t i = d->n; i-- > 0;) {
        struct sim_allocation *b = &d->blocks[i];
        if (b->at != p)
            continue;
        if (b->freed)
            sim_report("runtime", pc, "memory is freed twice: %s", describe(p));
        b->freed = pc;
        d->live -= b->n;
        size_t at = (size_t)(b->at - d->space.at);
        /* Whole pages of nobody else go back to the system. */
        size_t from = (at + PAGE - 1) & ~(PAGE - 1), to = (at + b->n) & ~(PAGE - 1);
        if (from < to) {
            memset(d->space.state + at, UNKNOWN, from - at);
            memset(d->space.state + to, UNKNOWN, at + b->n - to);
            madvise(d->space.state + from, to - from, MADV_DONTNEED);
            madvise(d->space.at + from, to - from, MADV_DONTNEED);
            madvise(d->space.pairs + from / 2, (to - from) / 2 * sizeof *d->space.pairs,
                    MADV_DONTNEED);
        } else {
            memset(d->space.state + at, UNKNOWN, b->n);
        }
        return b->n;
    }
    sim_report("runtime", pc, "what is freed was never allocated: %s", describe(p));
}

void sim_check_leaks(void)
{
    for (int i = 0; i < SIM_DEVICES; i++)
        for (size_t k = 0; k < devices[i].n; k++)
            if (!devices[i].blocks[k].freed)
                sim_report("runtime", devices[i].blocks[k].made,
                           "%zu bytes of device %d were not freed", devices[i].blocks[k].n, i);
}

void *sim_shared_alloc(size_t n, size_t gap)
{
    size_t at = shared_used;
    shared_used = (at + n + gap + 15) & ~(size_t)15;
    memset(shared.at + at, POISON, n);
    memset(shared.state + at, UNWRITTEN, n);
    return shared.at + at;
}

void sim_shared_reset(void)
{
    memset(shared.state, UNKNOWN, shared_used);
    shared_used = 0;
}

/* ---- order of work --------------------------------------------------------------------------- */

struct sim_actor sim_begin_work(int stream, int device, uint32_t n_runs, bool is_kernel,
                                const char *name)
{
    struct device *d = &devices[device];
    if (d->n_works == d->works_cap) {
        d->works_cap = d->works_cap ? 2 * d->works_cap : 1024;
        d->works = realloc(d->works, d->works_cap * sizeof *d->works);
    }
    if (!d->works || next_run > UINT32_MAX - n_runs) {
        fprintf(stderr, "cudasim: too much work for one process\n");
        abort();
    }
    d->works[d->n_works++] = (struct work){next_run, sim_stamp(stream), stream, is_kernel, name};
    size_t *n = &d->n_before[stream];
    while (*n + 1 < d->n_works && sim_is_before(d->works[*n].stream, d->works[*n].stamp))
        ++*n;
    struct sim_actor a = {
        .run = next_run, .first_run = next_run, .all_before = d->works[*n].run, .device = device};
    next_run += n_runs;
    return a;
}

/* What a run of the actor's device belongs to; mostly it is that of the last time. */
static const struct work *work_of(uint32_t run)
{
    static size_t last;
    const struct device *d = &devices[sim_actor.device];
    const struct work *works = d->works;
    if (last < d->n_works && works[last].run <= run &&
        (last + 1 == d->n_works || run < works[last + 1].run))
        return &works[last];
    size_t low = 0, high = d->n_works;
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (works[mid].run <= run)
            low = mid;
        else
            high = mid;
    }
    last = low;
    return &works[low];
}

/* ---- races ----------------------------------------------------------------------------------- */

/* NULL if `was` happened before what the actor does now; else what is missing. */
static const char *missing_order(const struct use *was)
{
    const struct sim_actor *a = &sim_actor;
    if (was->run < a->all_before)
        return NULL;
    if (was->who == MANY_BLOCKS && was->run >= a->first_run)
        return "in another block of the launch";
    if (was->run == a->run) {
        bool same_warp = was->thread / 32 == a->thread / 32;
        if (was->epoch != a->epoch)
            return NULL;
        if (was->who == ONE_THREAD && was->thread == a->thread)
            return NULL;
        if (was->who != MANY_WARPS && same_warp && was->step != a->step)
            return NULL;
        return "without a barrier between";
    }
    if (was->run >= a->first_run)
        return "in another block of the launch";
    const struct work *w = work_of(was->run);
    return sim_is_before(w->stream, w->stamp) ? NULL
                                              : "in another stream, without an event between";
}

static _Noreturn void report_race(const struct use *was, const char *did, const char *why,
                                  const void *p, size_t n, enum sim_use use, const void *pc)
{
    /* The upper half of the other's address is that of this one: both are in the same program or
     * module. */
    uintptr_t other = ((uintptr_t)pc & ~(uintptr_t)UINT32_MAX) | was->pc;
    sim_report("race", pc, "%s of %zu bytes, %s; thread %u of run %u of %s %s at %s, %s",
               use == SIM_WRITE ? "a write" : "a read", n, describe(p), was->thread,
               was->run - work_of(was->run)->run, work_of(was->run)->name, did,
               sim_place((const void *)other), why);
}

static void remember(struct use *u, uint8_t bytes, const void *pc)
{
    const struct sim_actor *a = &sim_actor;
    uint8_t who = ONE_THREAD;
    if (u->run == a->run && u->epoch == a->epoch) {
        if (u->who == MANY_WARPS || u->thread / 32 != a->thread / 32)
            who = MANY_WARPS;
        else if (u->step == a->step && (u->who == ONE_WARP || u->thread != a->thread))
            who = ONE_WARP;
    }
    *u = (struct use){a->run, (uint32_t)(uintptr_t)pc, a->thread, a->epoch, a->step, bytes, who};
}

/* Reads may go on side by side; the one that a later write is least ordered behind must stay. */
static void remember_read(struct use *u, uint8_t bytes, const void *pc)
{
    const struct sim_actor *a = &sim_actor;
    bool same_launch = u->run >= a->first_run;
    if (same_launch && (u->run != a->run || u->who == MANY_BLOCKS))
        u->who = MANY_BLOCKS;
    else if (!u->run || same_launch || !missing_order(u))
        remember(u, bytes, pc);
}

/* Bytes of one pair. */
static void check_race(struct pair *s, uint8_t bytes, enum sim_use use, const void *p, size_t n,
                       const void *pc)
{
    const char *why;
    if (sim_is_shared(p)) { /* each block has its own */
        s->write.run = s->write.run == sim_actor.run ? s->write.run : 0;
        s->read.run = s->read.run == sim_actor.run ? s->read.run : 0;
    }
    if (s->write.run && (s->write.bytes & bytes) && (why = missing_order(&s->write)) != NULL)
        report_race(&s->write, "wrote", why, p, n, use, pc);
    if (use == SIM_READ) {
        remember_read(&s->read, bytes, pc);
        return;
    }
    if (s->read.run && (s->read.bytes & bytes) && (why = missing_order(&s->read)) != NULL)
        report_race(&s->read, "read", why, p, n, use, pc);
    remember(&s->write, bytes, pc);
}

/* Before a thread has waited for the work before its launch: what kernels make is not there yet,
 * and may still be read. */
static void check_early(const struct pair *s, enum sim_use use, const void *p, size_t n,
                        const void *pc)
{
    if (sim_is_shared(p))
        return;
    if (use == SIM_WRITE)
        sim_report("race", pc,
                   "a write of %zu bytes before the thread has waited for the work before its "
                   "launch: %s",
                   n, describe(p));
    if (s->write.run && work_of(s->write.run)->is_kernel)
        sim_report("race", pc,
                   "a read of %zu bytes that %s wrote, before the thread has waited for it: %s", n,
                   work_of(s->write.run)->name, describe(p));
}

/* ---- accesses -------------------------------------------------------------------------------- */

/* Whether an address lies in an allocation that was not freed. */
static bool is_live(const char *at)
{
    int device = sim_device_of(at);
    if (device < 0)
        return false;
    const struct device *d = &devices[device];
    size_t low = 0, high = d->n; /* blocks before low begin at or before `at` */
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (d->blocks[mid].at <= at)
            low = mid + 1;
        else
            high = mid;
    }
    const struct sim_allocation *b = low ? &d->blocks[low - 1] : NULL;
    return b && !b->freed && (size_t)(at - b->at) < b->n;
}

static void check_states(uint8_t *state, const void *p, size_t n, enum sim_use use, const void *pc)
{
    const char *did = use == SIM_WRITE ? "a write" : "a read";
    for (size_t i = 0; i < n; i++) {
        if (state[i] == WRITTEN)
            continue;
        const char *at = (const char *)p + i;
        if (state[i] == UNKNOWN && !is_live(at))
            sim_report("memory", pc, "%s of %zu bytes goes to %s", did, n, describe(at));
        if (use == SIM_READ)
            sim_report("init", pc, "%s of %zu bytes, of which byte %zu was never written: %s", did,
                       n, i, describe(at));
        state[i] = WRITTEN;
    }
}

/* The space of an access, or NULL if it is the thread's own memory. */
static struct space *space_for(const void *p, size_t n, bool is_element, const void *pc)
{
    struct space *s = space_of(p);
    if (!s) {
        if (!sim_current || !sim_is_private(p))
            sim_report("memory", pc, "%zu bytes are used at %s", n, describe(p));
        return NULL;
    }
    if (s != &shared && s != &devices[sim_actor.device].space)
        sim_report("memory", pc, "device %d uses another device's memory: %s", sim_actor.device,
                   describe(p));
    if (is_element && (uintptr_t)p % n)
        sim_report("memory", pc, "%zu bytes are used at %p, which is no multiple of %zu: %s", n, p,
                   n, describe(p));
    return s;
}

/* Whether all n bytes were written; n is known where this is compiled, but for ranges. */
static inline bool all_written(const uint8_t *state, size_t n)
{
    const uint64_t all = WRITTEN * UINT64_C(0x0101010101010101);
    uint64_t x = all, y = all;
    if (n > 16)
        return false;
    memcpy(&x, state, n < 8 ? n : 8);
    if (n > 8)
        memcpy(&y, state + 8, n - 8);
    return x == all && y == all;
}

static inline __attribute__((always_inline)) void
check_access(const void *p, size_t n, enum sim_use use, bool is_element, const void *pc)
{
    struct space *s = space_for(p, n, is_element, pc);
    if (!s || !n || !is_checking)
        return;
    size_t at = (size_t)((const char *)p - s->at);
    if (!all_written(s->state + at, n))
        check_states(s->state + at, p, n, use, pc);
    for (size_t i = at / 2; i <= (at + n - 1) / 2; i++) {
        uint8_t bytes = (uint8_t)((2 * i >= at ? 1 : 0) | (2 * i + 1 < at + n ? 2 : 0));
        if (sim_actor.is_early)
            check_early(&s->pairs[i], use, p, n, pc);
        check_race(&s->pairs[i], bytes, use, p, n, pc);
    }
}

void sim_access(const void *p, size_t n, enum sim_use use, bool is_element, const void *pc)
{
    check_access(p, n, use, is_element, pc);
}

void sim_access_atomic(const void *p, size_t n, const void *pc)
{
    struct space *s = space_for(p, n, true, pc);
    if (s && is_checking)
        check_states(s->state + ((const char *)p - s->at), p, n, SIM_READ, pc);
}

void sim_forget(const void *p, size_t n)
{
    struct space *s = space_of(p);
    memset(s->state + ((const char *)p - s->at), UNWRITTEN, n);
}

/* ---- the calls of -fsanitize=thread; its run-time library is not linked ---------------------- */

#define HOOK(name, use, n, is_element)                                                             \
    SIM_API void name(void *p);                                                                    \
    void name(void *p)                                                                             \
    {                                                                                              \
        if (sim_current)                                                                           \
            check_access(p, n, use, is_element, SIM_CALLER);                                       \
    }
HOOK(__tsan_read1, SIM_READ, 1, true)
HOOK(__tsan_read2, SIM_READ, 2, true)
HOOK(__tsan_read4, SIM_READ, 4, true)
HOOK(__tsan_read8, SIM_READ, 8, true)
HOOK(__tsan_read16, SIM_READ, 16, true)
HOOK(__tsan_write1, SIM_WRITE, 1, true)
HOOK(__tsan_write2, SIM_WRITE, 2, true)
HOOK(__tsan_write4, SIM_WRITE, 4, true)
HOOK(__tsan_write8, SIM_WRITE, 8, true)
HOOK(__tsan_write16, SIM_WRITE, 16, true)
HOOK(__tsan_volatile_read4, SIM_READ, 4, true)
HOOK(__tsan_volatile_write4, SIM_WRITE, 4, true)

#define RANGE_HOOK(name, use)                                                                      \
    SIM_API void name(void *p, unsigned long n);                                                   \
    void name(void *p, unsigned long n)                                                            \
    {                                                                                              \
        if (sim_current)                                                                           \
            sim_access(p, n, use, false, SIM_CALLER);                                              \
    }
RANGE_HOOK(__tsan_read_range, SIM_READ)
RANGE_HOOK(__tsan_write_range, SIM_WRITE)

SIM_API void __tsan_init(void);
void __tsan_init(void)
{
}
