/* Copyright 2026 The bridge authors. SPDX-License-Identifier: Apache-2.0 */
/* cudasim.h - what words.h calls of the simulator: the simulated thread, words that need the others
 * of its warp or block, launches.
 *
 * `line` is that of the caller's source, by which the simulator tells whether threads meet at the
 * same place; where it is in the program it knows from the return address. */
#ifndef CUDASIM_H
#define CUDASIM_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct cudasim_index {
    unsigned x, y, z;
};
/* Of the simulated thread that runs. */
struct cudasim_thread {
    struct cudasim_index thread, block, block_dim, grid_dim;
};
const struct cudasim_thread *cudasim_self(void) __attribute__((const));

/* ---- memory ---------------------------------------------------------------------------------- */

/* An array in shared memory: one per place in the source and instance of its template. */
struct cudasim_shared {
    uint64_t block; /* the last block that had it */
    void *at;
};
void *cudasim_shared_array(struct cudasim_shared *s, size_t size);
/* The room whose size the launch said. */
void *cudasim_dynamic_shared(void);
/* 16 bytes of global memory, or zeros, into shared memory; they arrive when they are waited for. */
void cudasim_copy16(void *shared, const void *global, int is_valid);
void cudasim_copy_commit(void);
void cudasim_copy_wait(unsigned n);
int32_t cudasim_atomic_add(int32_t *p, int32_t v);
void cudasim_atomic_add_float(float *p);

/* ---- threads that meet ----------------------------------------------------------------------- */

void cudasim_sync(int line);
void cudasim_sync_warp(int line);
enum cudasim_shuffle { CUDASIM_IDX, CUDASIM_XOR, CUDASIM_UP, CUDASIM_DOWN };
uint64_t cudasim_shuffled(enum cudasim_shuffle how, uint64_t v, unsigned by, int line);
uint32_t cudasim_ballot(int is, int line);
/* mma.m16n8k16 and ldmatrix.m8n8.x4 of PTX. */
void cudasim_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], int line);
void cudasim_ldmatrix_x4(uint32_t r[4], const void *row, int is_transposed, int line);

/* ---- launch ---------------------------------------------------------------------------------- */

struct cudasim_launch {
    const char *name;
    const void *kernel;
    void (*call)(const void *args); /* runs the kernel as one thread */
    void *args;                     /* made by malloc; the simulator frees it */
    size_t args_size;
    struct cudasim_index grid, block;
    size_t dynamic;
    int is_early; /* its threads wait for what was enqueued before */
    cudaStream_t stream;
};
void cudasim_wait_previous(void);
void cudasim_launch_kernel(const struct cudasim_launch *l);

#ifdef __cplusplus
}
#endif
#endif
