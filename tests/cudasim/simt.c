/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* simt.c - kernels: blocks one after another, the threads of a block as fibers of one host thread.
 *
 * A thread runs until it has to wait for others, in a barrier or in a word of its warp; then the
 * next one that can goes on.  Which is next, CUDASIM_ORDER says: forward, reverse, or a number,
 * from which a random order is made.  A kernel without races gives the same bits in each. */
#include "sim.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if !defined(__x86_64__)
#error "the switch of stacks is written for x86-64"
#endif

#define MAX_THREADS 1024
#define STACK ((size_t)256 << 10)
#define SHARED_GAP 64 /* bytes of nobody between arrays */

enum state { READY, AT_BARRIER, AT_WORD, RETURNED };

struct copy {
    void *to;
    unsigned char bytes[16];
    unsigned group;
};

struct sim_thread {
    struct cudasim_thread self;
    void *sp; /* of the stack while it does not run */
    struct sim_warp *warp;
    uint32_t index, lane;
    enum state state;
    bool is_early; /* it has not waited for the work before its launch */
    /* what it brings to a word of its warp, and takes from it */
    uint64_t value, result;
    unsigned by;
    const void *in[2]; /* fragments, or an address */
    void *out;
    /* asynchronous copies that were not waited for; groups that were committed */
    struct copy *copies;
    unsigned n_copies, copies_cap, group;
};

typedef void combine_fn(struct sim_thread *lanes);

struct sim_warp {
    uint32_t arrived, returned; /* a bit for each lane */
    combine_fn *word;           /* in which they wait */
    int line;
    const void *pc;
    uint16_t step;
};

static struct {
    const struct cudasim_launch *l;
    const void *pc; /* of the launch */
    uint32_t n, n_returned, n_arrived;
    int line; /* of the barrier in which threads wait */
    const void *barrier;
    uint64_t number; /* of all blocks that have run */
    size_t shared_static;
    char *dynamic;
    struct sim_thread *threads;
    struct sim_warp warps[MAX_THREADS / 32];
    uint32_t order[MAX_THREADS];
    uint32_t at;     /* place in the order */
    void *scheduler; /* its stack */
    char *stacks;    /* threads, then their stacks */
} block;

__thread struct sim_thread *sim_current;
static uint64_t random_state;

/* ---- stacks ---------------------------------------------------------------------------------- */

/* Keep the registers that a function must keep and the stack in *from, and go on where `to` was
 * kept. */
void sim_switch(void **from, void *to);
__asm__(".text\n"
        ".type sim_switch, @function\n"
        "sim_switch:\n"
        "    pushq %rbp\n"
        "    pushq %rbx\n"
        "    pushq %r12\n"
        "    pushq %r13\n"
        "    pushq %r14\n"
        "    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n"
        "    popq %r14\n"
        "    popq %r13\n"
        "    popq %r12\n"
        "    popq %rbx\n"
        "    popq %rbp\n"
        "    popq %rcx\n"
        "    jmp *%rcx\n" /* a ret would be predicted to go to where the call was */
        ".size sim_switch, .-sim_switch\n");

static size_t threads_size(void)
{
    return (MAX_THREADS * sizeof(struct sim_thread) + 4095) & ~(size_t)4095;
}

static void make_stacks(void)
{
    size_t n = threads_size() + MAX_THREADS * STACK;
    block.stacks =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (block.stacks == MAP_FAILED) {
        perror("cudasim: stacks");
        abort();
    }
    block.threads = (void *)block.stacks;
}

/* Look for a part of the program, or of a module, that holds constants. */
struct constants {
    uintptr_t at, begin, end;
};

static int find_constants(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct constants *c = arg;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = (uintptr_t)info->dlpi_addr + p->p_vaddr, end = begin + p->p_memsz;
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W) || c->at < begin || c->at >= end)
            continue;
        c->begin = begin;
        c->end = end;
        return 1;
    }
    return 0;
}

/* Memory that only the thread sees, or that nobody writes: stacks, the arguments, constants. */
bool sim_is_private(const void *p)
{
    static struct constants last;
    const char *at = p;
    if ((size_t)(at - block.stacks) < threads_size() + MAX_THREADS * STACK)
        return true;
    if ((size_t)(at - (const char *)block.l->args) < block.l->args_size)
        return true;
    last.at = (uintptr_t)p;
    if (last.at >= last.begin && last.at < last.end)
        return true;
    return dl_iterate_phdr(find_constants, &last) != 0;
}

/* ---- order ----------------------------------------------------------------------------------- */

enum order { FORWARD, REVERSE, RANDOM };

static enum order order(void)
{
    static int is_read;
    static enum order o;
    if (!is_read) {
        const char *text = getenv("CUDASIM_ORDER");
        is_read = 1;
        if (text && !strcmp(text, "reverse")) {
            o = REVERSE;
        } else if (text && *text && strcmp(text, "forward")) {
            o = RANDOM;
            random_state = 0x9e3779b97f4a7c15u * (uint64_t)(sim_setting("CUDASIM_ORDER", 0) + 1);
        }
    }
    return o;
}

static uint32_t random_below(uint32_t n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((random_state >> 33) % n);
}

/* 0 .. n - 1 in the order that was asked for. */
static void fill_order(uint32_t *a, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        a[i] = order() == REVERSE ? n - 1 - i : i;
    if (order() == RANDOM)
        for (uint32_t i = n; i > 1; i--) {
            uint32_t j = random_below(i), t = a[i - 1];
            a[i - 1] = a[j];
            a[j] = t;
        }
}

/* ---- waiting --------------------------------------------------------------------------------- */

/* The next thread that can go on, from the block's place in the order; NULL: none can. */
static struct sim_thread *next_thread(void)
{
    if (order() == RANDOM)
        block.at = random_below(block.n);
    for (uint32_t k = 0; k < block.n; k++) {
        struct sim_thread *t = &block.threads[block.order[block.at]];
        block.at = block.at + 1 == block.n ? 0 : block.at + 1;
        if (t->state == READY)
            return t;
    }
    return NULL;
}

/* Go on with t, and keep this stack in *from. */
static void resume(void **from, struct sim_thread *t)
{
    sim_actor.thread = (uint16_t)t->index;
    sim_actor.step = t->warp->step;
    sim_actor.is_early = t->is_early;
    sim_current = t;
    sim_switch(from, t->sp);
}

/* The thread cannot go on: the next one does, or if none can, run_block(). */
static void yield(void)
{
    struct sim_thread *t = sim_current, *next = next_thread();
    if (next)
        resume(&t->sp, next);
    else
        sim_switch(&t->sp, block.scheduler);
}

static uint32_t lane_bit(const struct sim_thread *t)
{
    return UINT32_C(1) << t->lane;
}

static void release_barrier(void)
{
    for (uint32_t i = 0; i < block.n; i++)
        if (block.threads[i].state == AT_BARRIER)
            block.threads[i].state = READY;
    block.n_arrived = 0;
    sim_actor.epoch++;
}

SIM_API void cudasim_sync(int line)
{
    struct sim_thread *t = sim_current;
    if (block.n_returned)
        sim_report("sync", SIM_CALLER, "a barrier after %u of %u threads have returned",
                   block.n_returned, block.n);
    if (block.n_arrived && block.line != line)
        sim_report("sync", SIM_CALLER, "threads of a block meet in two barriers, the other at %s",
                   sim_place(block.barrier));
    block.line = line;
    block.barrier = SIM_CALLER;
    t->state = AT_BARRIER;
    if (++block.n_arrived == block.n)
        release_barrier();
    else
        yield();
}

/* The thread brings what it has set in itself; the last lane to come combines all of it. */
static void meet(combine_fn *word, int line, const void *pc)
{
    struct sim_thread *t = sim_current;
    struct sim_warp *w = t->warp;
    if (w->returned)
        sim_report("sync", pc, "a word of a warp after lanes %08x have returned", w->returned);
    if (w->arrived && (w->word != word || w->line != line))
        sim_report("sync", pc, "lanes of a warp meet in two words, the other at %s",
                   sim_place(w->pc));
    w->word = word;
    w->line = line;
    w->pc = pc;
    w->arrived |= lane_bit(t);
    t->state = AT_WORD;
    if (w->arrived != UINT32_MAX) {
        yield();
        return;
    }
    struct sim_thread *lanes = t - t->lane;
    word(lanes);
    for (int i = 0; i < 32; i++)
        lanes[i].state = READY;
    w->arrived = 0;
}

SIM_API void cudasim_wait_previous(void)
{
    sim_current->is_early = sim_actor.is_early = false;
}

static void thread_returns(struct sim_thread *t)
{
    if (t->is_early)
        sim_report("sync", block.pc,
                   "a thread returns that has not waited for the work before its launch");
    t->state = RETURNED;
    t->warp->returned |= lane_bit(t);
    block.n_returned++;
    if (t->warp->arrived)
        sim_report("sync", t->warp->pc, "lanes %08x of a warp wait in a word, but another returns",
                   t->warp->arrived);
    if (block.n_arrived)
        sim_report("sync", block.barrier, "%u threads wait in a barrier, but another returns",
                   block.n_arrived);
}

static _Noreturn void report_stuck(void)
{
    for (uint32_t i = 0; i < block.n; i++) {
        struct sim_thread *t = &block.threads[i];
        if (t->state == AT_WORD) {
            sim_current = t;
            sim_report("sync", t->warp->pc,
                       "lanes %08x of a warp wait in a word, others in the barrier at %s",
                       t->warp->arrived, sim_place(block.barrier));
        }
    }
    sim_report("sync", block.barrier, "nothing goes on: %u of %u threads wait in a barrier",
               block.n_arrived, block.n);
}

/* ---- words of a warp ------------------------------------------------------------------------- */

static void combine_nothing(struct sim_thread *lanes)
{
    lanes->warp->step++;
}

SIM_API void cudasim_sync_warp(int line)
{
    meet(combine_nothing, line, SIM_CALLER);
    sim_actor.step = sim_current->warp->step;
}

/* Lanes that a shuffle takes from; one that is outside keeps its own, as the manual says. */
static void take(struct sim_thread *lanes, enum cudasim_shuffle how)
{
    for (unsigned i = 0; i < 32; i++) {
        unsigned by = lanes[i].by;
        unsigned from = how == CUDASIM_IDX   ? by % 32
                        : how == CUDASIM_XOR ? i ^ by
                        : how == CUDASIM_UP  ? i - by
                                             : i + by;
        lanes[i].result = lanes[from < 32 ? from : i].value;
    }
}
static void combine_idx(struct sim_thread *lanes)
{
    take(lanes, CUDASIM_IDX);
}
static void combine_xor(struct sim_thread *lanes)
{
    take(lanes, CUDASIM_XOR);
}
static void combine_up(struct sim_thread *lanes)
{
    take(lanes, CUDASIM_UP);
}
static void combine_down(struct sim_thread *lanes)
{
    take(lanes, CUDASIM_DOWN);
}

SIM_API uint64_t cudasim_shuffled(enum cudasim_shuffle how, uint64_t v, unsigned by, int line)
{
    static combine_fn *const words[] = {combine_idx, combine_xor, combine_up, combine_down};
    struct sim_thread *t = sim_current;
    t->value = v;
    t->by = by;
    meet(words[how], line, SIM_CALLER);
    return t->result;
}

static void combine_ballot(struct sim_thread *lanes)
{
    uint64_t all = 0;
    for (int i = 0; i < 32; i++)
        all |= lanes[i].value << i;
    for (int i = 0; i < 32; i++)
        lanes[i].result = all;
}

SIM_API uint32_t cudasim_ballot(int is, int line)
{
    struct sim_thread *t = sim_current;
    t->value = is != 0;
    meet(combine_ballot, line, SIM_CALLER);
    return (uint32_t)t->result;
}

static float half_of(uint32_t word, unsigned upper)
{
    uint32_t bits = upper ? word & 0xffff0000u : word << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* PTX, "matrix fragments for mma.m16n8k16": lane l has g = l / 4, c = l % 4.
 *   a[i], half h: row g + 8 (i % 2), column 2c + h + 8 (i / 2)
 *   b[i], half h: row 2c + h + 8i, column g
 *   d[i]:         row g + 8 (i / 2), column 2c + i % 2 */
static void combine_mma(struct sim_thread *lanes)
{
    float a[16][16], b[16][8];
    for (unsigned l = 0; l < 32; l++) {
        const uint32_t *la = lanes[l].in[0], *lb = lanes[l].in[1];
        unsigned g = l / 4, c = l % 4;
        for (unsigned h = 0; h < 2; h++) {
            for (unsigned i = 0; i < 4; i++)
                a[g + 8 * (i % 2)][2 * c + h + 8 * (i / 2)] = half_of(la[i], h);
            for (unsigned i = 0; i < 2; i++)
                b[2 * c + h + 8 * i][g] = half_of(lb[i], h);
        }
    }
    for (unsigned l = 0; l < 32; l++) {
        float *d = lanes[l].out;
        for (unsigned i = 0; i < 4; i++) {
            unsigned row = l / 4 + 8 * (i / 2), col = 2 * (l % 4) + i % 2;
            double sum = d[i];
            for (unsigned k = 0; k < 16; k++)
                sum += (double)a[row][k] * (double)b[k][col];
            d[i] = (float)sum;
        }
    }
}

SIM_API void cudasim_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], int line)
{
    struct sim_thread *t = sim_current;
    t->in[0] = a;
    t->in[1] = b;
    t->out = d;
    meet(combine_mma, line, SIM_CALLER);
}

/* Lane l has of matrix i the elements 2 (l % 4) and the next of row l / 4; transposed: of column
 * l / 4.  Lane 8i + r says where row r of matrix i lies. */
static void load_matrices(struct sim_thread *lanes, bool is_transposed)
{
    for (unsigned l = 0; l < 32; l++) {
        uint32_t *r = lanes[l].out;
        for (unsigned i = 0; i < 4; i++) {
            uint16_t half[2];
            for (unsigned h = 0; h < 2; h++) {
                unsigned row = is_transposed ? 2 * (l % 4) + h : l / 4;
                unsigned col = is_transposed ? l / 4 : 2 * (l % 4) + h;
                memcpy(&half[h], (const char *)lanes[8 * i + row].in[0] + 2 * col, 2);
            }
            r[i] = half[0] | (uint32_t)half[1] << 16;
        }
    }
}
static void combine_ldmatrix(struct sim_thread *lanes)
{
    load_matrices(lanes, false);
}
static void combine_ldmatrix_trans(struct sim_thread *lanes)
{
    load_matrices(lanes, true);
}

SIM_API void cudasim_ldmatrix_x4(uint32_t r[4], const void *row, int is_transposed, int line)
{
    struct sim_thread *t = sim_current;
    if (!sim_is_shared(row))
        sim_report("memory", SIM_CALLER, "ldmatrix reads shared memory only");
    sim_access(row, 16, SIM_READ, true, SIM_CALLER);
    t->in[0] = row;
    t->out = r;
    meet(is_transposed ? combine_ldmatrix_trans : combine_ldmatrix, line, SIM_CALLER);
}

/* ---- shared memory and what moves there ------------------------------------------------------ */

static void add_static(size_t n, const void *pc)
{
    block.shared_static += n;
    if (block.shared_static > sim_limits().shared)
        sim_report("runtime", pc, "arrays in shared memory take %zu bytes, a block may have %zu",
                   block.shared_static, sim_limits().shared);
    if (block.shared_static + block.l->dynamic > sim_limits().shared_asked)
        sim_report("runtime", pc, "shared memory of %zu and %zu bytes, a block may have %zu",
                   block.shared_static, block.l->dynamic, sim_limits().shared_asked);
}

SIM_API void *cudasim_shared_array(struct cudasim_shared *s, size_t size)
{
    if (s->block != block.number) {
        s->block = block.number;
        s->at = sim_shared_alloc(size, SHARED_GAP);
        add_static(size, SIM_CALLER);
    }
    return s->at;
}

SIM_API void *cudasim_dynamic_shared(void)
{
    return block.dynamic;
}

SIM_API void cudasim_copy16(void *shared, const void *global, int is_valid)
{
    struct sim_thread *t = sim_current;
    if (!sim_is_shared(shared))
        sim_report("memory", SIM_CALLER, "an asynchronous copy goes to shared memory only");
    if (is_valid) {
        if (sim_device_of(global) < 0)
            sim_report("memory", SIM_CALLER, "an asynchronous copy comes from global memory only");
        sim_access(global, 16, SIM_READ, true, SIM_CALLER);
    }
    sim_access(shared, 16, SIM_WRITE, true, SIM_CALLER);
    sim_forget(shared, 16);
    memset(shared, 0xff, 16);
    if (t->n_copies == t->copies_cap) {
        t->copies_cap = t->copies_cap ? 2 * t->copies_cap : 16;
        t->copies = realloc(t->copies, t->copies_cap * sizeof *t->copies);
        if (!t->copies)
            abort();
    }
    struct copy *c = &t->copies[t->n_copies++];
    *c = (struct copy){.to = shared, .group = t->group};
    if (is_valid)
        memcpy(c->bytes, global, 16);
}

SIM_API void cudasim_copy_commit(void)
{
    sim_current->group++;
}

SIM_API void cudasim_copy_wait(unsigned n)
{
    struct sim_thread *t = sim_current;
    unsigned kept = 0;
    for (unsigned i = 0; i < t->n_copies; i++) {
        struct copy *c = &t->copies[i];
        if (c->group + n >= t->group) {
            t->copies[kept++] = *c;
            continue;
        }
        sim_access(c->to, 16, SIM_WRITE, true, SIM_CALLER);
        memcpy(c->to, c->bytes, 16);
    }
    t->n_copies = kept;
}

SIM_API int32_t cudasim_atomic_add(int32_t *p, int32_t v)
{
    int32_t old = *p;
    sim_access_atomic(p, sizeof *p, SIM_CALLER);
    *p = old + v;
    return old;
}

SIM_API void cudasim_atomic_add_float(float *p)
{
    sim_report("race", SIM_CALLER,
               "floats are added atomically at %p: their order, and so the sum, "
               "differs from run to run",
               (void *)p);
}

/* ---- launches -------------------------------------------------------------------------------- */

SIM_API const struct cudasim_thread *cudasim_self(void)
{
    return &sim_current->self;
}

const char *sim_who(void)
{
    static char text[300];
    const struct cudasim_thread *s = &sim_current->self;
    snprintf(text, sizeof text, "kernel %s, block (%u,%u,%u), thread (%u,%u,%u), launched at %s",
             block.l->name, s->block.x, s->block.y, s->block.z, s->thread.x, s->thread.y,
             s->thread.z, sim_place(block.pc));
    return text;
}

static void thread_main(void)
{
    struct sim_thread *t = sim_current;
    block.l->call(block.l->args);
    thread_returns(t);
    yield();
    abort(); /* nobody goes on with a thread that has returned */
}

/* A stack on which a switch goes to thread_main: six registers, and where to return to. */
static void start_thread(struct sim_thread *t)
{
    /* Tops of stacks that lie a power of two apart would share few lines of the cache. */
    char *top = block.stacks + threads_size() + (t->index + 1) * STACK - 64 * (1 + t->index % 61);
    void **sp = (void **)(void *)top;
    *--sp = NULL; /* the stack is as after a call */
    *--sp = (void *)(uintptr_t)thread_main;
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    t->sp = sp;
}

static struct cudasim_index index_of(uint64_t i, struct cudasim_index dim)
{
    return (struct cudasim_index){(unsigned)(i % dim.x), (unsigned)(i / dim.x % dim.y),
                                  (unsigned)(i / dim.x / dim.y)};
}

static void start_block(const struct cudasim_launch *l, uint64_t number)
{
    struct cudasim_index at = index_of(number, l->grid);
    block.n = l->block.x * l->block.y * l->block.z;
    block.n_returned = block.n_arrived = 0;
    block.shared_static = 0;
    block.number++;
    sim_shared_reset();
    block.dynamic = sim_shared_alloc(l->dynamic, SHARED_GAP);
    memset(block.warps, 0, sizeof block.warps);
    block.at = 0;
    struct cudasim_index thread = {0, 0, 0};
    for (uint32_t i = 0; i < block.n; i++) {
        struct sim_thread *t = &block.threads[i];
        t->self = (struct cudasim_thread){thread, at, l->block, l->grid};
        if (++thread.x == l->block.x) {
            thread.x = 0;
            thread.z += ++thread.y == l->block.y;
            thread.y = thread.y == l->block.y ? 0 : thread.y;
        }
        t->warp = &block.warps[i / 32];
        t->index = i;
        t->lane = i % 32;
        t->state = READY;
        t->is_early = l->is_early;
        t->n_copies = t->group = 0;
        start_thread(t);
    }
    for (uint32_t i = block.n; i % 32; i++) /* a warp that is not full */
        block.warps[i / 32].returned |= UINT32_C(1) << i % 32;
    fill_order(block.order, block.n);
}

static void run_block(const struct cudasim_launch *l, uint64_t number)
{
    struct sim_thread *t;
    start_block(l, number);
    sim_actor.epoch = 0;
    while ((t = next_thread()) != NULL)
        resume(&block.scheduler, t);
    sim_current = NULL;
    if (block.n_returned < block.n)
        report_stuck();
}

void sim_run_launch(const struct cudasim_launch *l, int device, int stream, const void *pc)
{
    uint32_t n = l->grid.x * l->grid.y * l->grid.z;
    const struct sim_actor first = sim_begin_work(stream, device, n, true, l->name);
    if (!block.stacks)
        make_stacks();
    block.l = l;
    block.pc = pc;
    uint32_t *blocks = malloc(n * sizeof *blocks);
    if (!blocks)
        abort();
    fill_order(blocks, n);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t b = blocks[i];
        sim_actor = first;
        sim_actor.run += b;
        run_block(l, b);
    }
    free(blocks);
}
